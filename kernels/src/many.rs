//! Many packets in one call. [`seal_many`] is one payload under many keys, the fan-out of one packet to its receivers: each job has
//! its own key, header and prefix; the body is shared and is copied into each job's buffer by encrypting it. [`open_many`] is
//! what arrived together.
//! The jobs come as an iterator so that the caller needs no storage for them and a kernel may take several at a time.

use crate::BadTag;
use crate::sha1::LANES_MAX;

/// What to seal for one receiver.
#[derive(Debug)]
pub struct SealJob<'a, K: SealKey> {
    /// The receiver's key.
    pub key: &'a K,
    /// Initialisation vector of this packet.
    pub iv: K::Iv,
    /// Authenticated and not encrypted: the RTP header with its extensions. Not written to `out`.
    pub header: &'a [u8],
    /// Bytes of this receiver before the shared body, such as a rewritten VP8 payload descriptor.
    pub prefix: &'a [u8],
    /// Authenticated after the ciphertext and not sent: the roll-over counter (AES_CM_128_HMAC_SHA1_80), nothing (GCM).
    pub trailer: K::Trailer,
    /// Takes prefix + body + tag bytes as ciphertext || tag; may be longer and keeps its other bytes.
    pub out: &'a mut [u8],
}

/// A key that [`seal_many`] can use: [`GcmKey`](crate::GcmKey) or [`CmSha1Key`](crate::CmSha1Key).
pub trait SealKey: Sized {
    /// Initialisation vector: 12 bytes for GCM, a counter block of 16 for AES-CM.
    type Iv;
    /// What the tag covers after the ciphertext.
    type Trailer;
    /// Bytes a sealed payload is longer than the payload.
    const TAG_BYTES: usize;

    /// Seals `job.prefix || body` into `job.out`.
    ///
    /// # Panics
    /// When `job.out` has no room.
    fn seal_job(job: SealJob<'_, Self>, body: &[u8]);

    /// Seals `body` for every job: several at a time where the kernel gains from it.
    ///
    /// # Panics
    /// When a job's `out` has no room.
    fn seal_jobs<'a>(body: &[u8], jobs: impl Iterator<Item = SealJob<'a, Self>>)
    where
        Self: 'a,
    {
        for job in jobs {
            Self::seal_job(job, body);
        }
    }

    /// Opens one packet in place.
    ///
    /// # Errors
    /// [`BadTag`], with all of `job.buf` zeroed, when the tag does not verify or the buffer is shorter than one.
    fn open_job(job: OpenJob<'_, Self>) -> Result<usize, BadTag>;

    /// Opens every packet in place, several at a time where the kernel gains from it, and hands `opened` the index of each in
    /// turn with what [`SealKey::open_job`] answers.
    fn open_jobs<'a>(
        jobs: impl Iterator<Item = OpenJob<'a, Self>>,
        mut opened: impl FnMut(usize, Result<usize, BadTag>),
    ) where
        Self: 'a,
    {
        for (index, job) in jobs.enumerate() {
            opened(index, Self::open_job(job));
        }
    }
}

/// One packet to open.
#[derive(Debug)]
pub struct OpenJob<'a, K: SealKey> {
    /// The sender's key.
    pub key: &'a K,
    /// Initialisation vector of this packet.
    pub iv: K::Iv,
    /// Authenticated and not encrypted: the RTP header with its extensions.
    pub header: &'a [u8],
    /// Authenticated after the ciphertext and not sent: the roll-over counter (AES_CM_128_HMAC_SHA1_80), nothing (GCM).
    pub trailer: K::Trailer,
    /// Ciphertext || tag; the plaintext takes the ciphertext's place.
    pub buf: &'a mut [u8],
}

/// Seals `body` for every job. Each job writes `prefix + body + K::TAG_BYTES` bytes.
///
/// # Panics
/// When a job's `out` has no room.
pub fn seal_many<'a, K: SealKey + 'a>(body: &[u8], jobs: impl IntoIterator<Item = SealJob<'a, K>>) {
    K::seal_jobs(body, jobs.into_iter());
}

/// Opens every packet in place. `opened` gets the index of each job, in their order, and the bytes of its plaintext, which start at
/// the buffer's first byte; or [`BadTag`], with all of its buffer zeroed.
pub fn open_many<'a, K: SealKey + 'a>(
    jobs: impl IntoIterator<Item = OpenJob<'a, K>>,
    opened: impl FnMut(usize, Result<usize, BadTag>),
) {
    K::open_jobs(jobs.into_iter(), opened);
}

/// Calls `each` with groups of at most `lanes` jobs, which it takes out of their slots, and their number.
pub(crate) fn in_groups<J>(
    mut jobs: impl Iterator<Item = J>,
    lanes: impl Fn(&J) -> usize,
    mut each: impl FnMut(&mut [Option<J>]),
) {
    while let Some(first) = jobs.next() {
        let lanes = lanes(&first);
        let mut group: [Option<J>; LANES_MAX] = std::array::from_fn(|_| None);
        group[0] = Some(first);
        let mut count = 1;
        while count < lanes
            && let Some(job) = jobs.next()
        {
            group[count] = Some(job);
            count += 1;
        }
        each(&mut group[..count]);
    }
}
