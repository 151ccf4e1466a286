//! One payload, many keys: the fan-out of one packet to its receivers.
//! Each job has its own key, header and prefix; the body is shared and is copied into each job's buffer by encrypting it.
//! The jobs come as an iterator so that the caller needs no storage for them and a kernel may take several at a time.

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
}

/// Seals `body` for every job. Each job writes `prefix + body + K::TAG_BYTES` bytes.
///
/// # Panics
/// When a job's `out` has no room.
pub fn seal_many<'a, K: SealKey + 'a>(body: &[u8], jobs: impl IntoIterator<Item = SealJob<'a, K>>) {
    for job in jobs {
        K::seal_job(job, body);
    }
}
