//! AES_CM_128_HMAC_SHA1_80 (RFC 3711 sections 4.1.1 and 4.2.1): AES-128 in counter mode, then the first 80 bits of HMAC-SHA1
//! over header, ciphertext and a trailer that is authenticated but not sent (the roll-over counter).
//! SRTCP puts its index word between ciphertext and tag: it uses [`CmSha1Key::ctr_in_place`], [`CmSha1Key::tag`] and
//! [`CmSha1Key::verify`].

use crate::compare::equal;
use crate::hmac::{self, HEADER_BYTES_MAX, Message};
use crate::many::{OpenJob, SealJob, SealKey, in_groups};
use crate::sha1::LANES_MAX;
use crate::text::Text;
use crate::{AesCtr, BLOCK_BYTES, BadTag, HmacSha1, Suite};
use std::fmt;

/// Session encryption key and session authentication key of one direction; zeroed on drop.
#[derive(Clone)]
pub struct CmSha1Key {
    ctr: AesCtr,
    hmac: HmacSha1,
}

impl CmSha1Key {
    /// Bytes of the truncated tag.
    pub const TAG_BYTES: usize = 10;

    /// Expands the session encryption key `enc` and the session authentication key `auth`.
    pub fn new(suite: Suite, enc: &[u8; 16], auth: &[u8; 20]) -> Self {
        let ctr = AesCtr::new(suite, enc).expect("16 bytes are an AES-128 key");
        Self { ctr, hmac: HmacSha1::new(suite, auth) }
    }

    /// Seals `payload`, a prefix and a body taken as one, into `out` as ciphertext || tag. The tag covers
    /// header || ciphertext || trailer. Returns the bytes written: prefix + body + 10; `out` may be longer.
    /// The counter blocks from `iv` on must never repeat under one key.
    ///
    /// # Panics
    /// When `out` has no room.
    pub fn seal(
        &self,
        iv: &[u8; BLOCK_BYTES],
        header: &[u8],
        payload: &[&[u8]; 2],
        trailer: &[u8],
        out: &mut [u8],
    ) -> usize {
        let text_bytes = self.encrypt(iv, payload, out);
        let (text, rest) = out.split_at_mut(text_bytes);
        rest[..Self::TAG_BYTES].copy_from_slice(&self.tag(&[header, text, trailer]));
        text_bytes + Self::TAG_BYTES
    }

    /// The first half of [`Self::seal`]: encrypts `payload` into `out` and returns its bytes. Its tag is still to be made:
    /// [`Self::tag_many`] makes those of many packets together.
    ///
    /// # Panics
    /// When `out` has no room.
    #[inline]
    pub fn encrypt(&self, iv: &[u8; BLOCK_BYTES], payload: &[&[u8]; 2], out: &mut [u8]) -> usize {
        let [prefix, body] = *payload;
        let text_bytes = prefix.len() + body.len();
        self.encrypt_text(iv, payload, &mut out[..text_bytes]);
        text_bytes
    }

    /// Encrypts `payload` into `room`, which is as long.
    #[inline]
    fn encrypt_text(&self, iv: &[u8; BLOCK_BYTES], [prefix, body]: &[&[u8]; 2], room: &mut [u8]) {
        if prefix.is_empty() {
            self.ctr.apply_apart(iv, body, room);
        } else {
            self.ctr.apply_text(iv, Text::apart(prefix, body, room));
        }
    }

    /// Makes the tags of `jobs`, of any keys of one suite, several at a time where the kernel gains from it, and hands `made` the
    /// index of each in turn with its tag.
    pub fn tag_many<'a>(
        jobs: impl IntoIterator<Item = TagJob<'a>>,
        mut made: impl FnMut(usize, [u8; Self::TAG_BYTES]),
    ) {
        let mut index = 0;
        in_groups(
            jobs.into_iter().map(|job| Message {
                key: &job.key.hmac,
                header: &[],
                text: job.covered,
                trailer: job.trailer,
            }),
            |first| hmac::lanes(first.key),
            |group| {
                for mac in &hmac::macs(group)[..group.len()] {
                    made(index, *mac.first_chunk().expect("a MAC of 20 bytes has a first 10"));
                    index += 1;
                }
            },
        );
    }

    /// Opens ciphertext || tag in place and returns the bytes of plaintext, which start at `buf[0]`. The tag is verified
    /// before anything is decrypted.
    ///
    /// # Errors
    /// [`BadTag`], with all of `buf` zeroed, when the tag does not verify or `buf` is shorter than one.
    pub fn open_in_place(
        &self,
        iv: &[u8; BLOCK_BYTES],
        header: &[u8],
        buf: &mut [u8],
        trailer: &[u8],
    ) -> Result<usize, BadTag> {
        match buf.split_last_chunk_mut() {
            Some((text, tag)) if self.verify(&[header, text, trailer], tag) => {
                self.ctr.apply(iv, text);
                Ok(text.len())
            }
            _ => {
                buf.fill(0);
                Err(BadTag)
            }
        }
    }

    /// Encrypts or decrypts `text` where it lies, without a tag.
    pub fn ctr_in_place(&self, iv: &[u8; BLOCK_BYTES], text: &mut [u8]) {
        self.ctr.apply(iv, text);
    }

    /// The tag of the concatenation of `parts`.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; Self::TAG_BYTES] {
        *self.hmac.mac(parts).first_chunk().expect("a MAC of 20 bytes has a first 10")
    }

    /// True when `tag` is the tag of `parts`. Constant time in the content.
    #[must_use = "an unchecked tag protects nothing"]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8; Self::TAG_BYTES]) -> bool {
        equal(&self.tag(parts), tag)
    }
}

/// A packet whose tag is to be made.
#[derive(Debug)]
pub struct TagJob<'a> {
    /// The key.
    pub key: &'a CmSha1Key,
    /// Authenticated: the RTP header with its extensions, and behind it the ciphertext.
    pub covered: &'a [u8],
    /// Authenticated and not sent: the roll-over counter.
    pub trailer: [u8; 4],
}

impl SealKey for CmSha1Key {
    type Iv = [u8; BLOCK_BYTES];
    type Trailer = [u8; 4];
    const TAG_BYTES: usize = Self::TAG_BYTES;

    fn seal_job(job: SealJob<'_, Self>, body: &[u8]) {
        job.key.seal(&job.iv, job.header, &[job.prefix, body], &job.trailer, job.out);
    }

    fn seal_jobs<'a>(body: &[u8], jobs: impl Iterator<Item = SealJob<'a, Self>>) {
        in_groups(
            jobs,
            |first| hmac::lanes(&first.key.hmac),
            |group| {
                if group.len() == 1 || group.iter().flatten().any(|job| job.header.len() > HEADER_BYTES_MAX) {
                    group.iter_mut().filter_map(Option::take).for_each(|job| Self::seal_job(job, body));
                } else {
                    seal_group(body, group);
                }
            },
        );
    }

    fn open_job(job: OpenJob<'_, Self>) -> Result<usize, BadTag> {
        job.key.open_in_place(&job.iv, job.header, job.buf, &job.trailer)
    }

    fn open_jobs<'a>(
        jobs: impl Iterator<Item = OpenJob<'a, Self>>,
        mut opened: impl FnMut(usize, Result<usize, BadTag>),
    ) {
        let mut index = 0;
        in_groups(
            jobs,
            |first| hmac::lanes(&first.key.hmac),
            |group| {
                let is_alone = |job: &OpenJob<'_, Self>| {
                    job.header.len() > HEADER_BYTES_MAX || job.buf.len() < Self::TAG_BYTES
                };
                let alone = group.len() == 1 || group.iter().flatten().any(is_alone);
                let is_good = if alone { [false; LANES_MAX] } else { verify_group(group) };
                for (job, is_good) in group.iter_mut().filter_map(Option::take).zip(is_good) {
                    let answer = if alone { Self::open_job(job) } else { open_verified(job, is_good) };
                    opened(index, answer);
                    index += 1;
                }
            },
        );
    }
}

/// Seals at least two jobs: each is encrypted, then their tags are made together. No header is longer than
/// [`HEADER_BYTES_MAX`].
fn seal_group(body: &[u8], group: &mut [Option<SealJob<'_, CmSha1Key>>]) {
    for job in group.iter_mut().flatten() {
        let (text, rest) = job.out.split_at_mut(job.prefix.len() + body.len());
        assert!(rest.len() >= CmSha1Key::TAG_BYTES, "the buffer takes the tag too");
        job.key.encrypt_text(&job.iv, &[job.prefix, body], text);
    }
    let macs = macs(group, |job| Message {
        key: &job.key.hmac,
        header: job.header,
        text: &job.out[..job.prefix.len() + body.len()],
        trailer: job.trailer,
    });
    for (job, mac) in group.iter_mut().flatten().zip(macs) {
        let at = job.prefix.len() + body.len();
        job.out[at..at + CmSha1Key::TAG_BYTES].copy_from_slice(&mac[..CmSha1Key::TAG_BYTES]);
    }
}

/// Which of at least two jobs have a good tag. No header is longer than [`HEADER_BYTES_MAX`], each buffer holds a tag.
fn verify_group(group: &mut [Option<OpenJob<'_, CmSha1Key>>]) -> [bool; LANES_MAX] {
    let macs = macs(group, |job| Message {
        key: &job.key.hmac,
        header: job.header,
        text: &job.buf[..job.buf.len() - CmSha1Key::TAG_BYTES],
        trailer: job.trailer,
    });
    let mut is_good = [false; LANES_MAX];
    for ((job, mac), is_good) in group.iter().flatten().zip(macs).zip(&mut is_good) {
        let tag = &job.buf[job.buf.len() - CmSha1Key::TAG_BYTES..];
        *is_good = equal(&mac[..CmSha1Key::TAG_BYTES], tag);
    }
    is_good
}

/// Decrypts, or zeroes, what [`verify_group`] has judged.
fn open_verified(job: OpenJob<'_, CmSha1Key>, is_good: bool) -> Result<usize, BadTag> {
    if !is_good {
        job.buf.fill(0);
        return Err(BadTag);
    }
    let text_bytes = job.buf.len() - CmSha1Key::TAG_BYTES;
    job.key.ctr.apply(&job.iv, &mut job.buf[..text_bytes]);
    Ok(text_bytes)
}

/// The MACs of at least two jobs.
fn macs<'j, J>(
    group: &'j [Option<J>],
    message: impl Fn(&'j J) -> Message<'j>,
) -> [[u8; HmacSha1::MAC_BYTES]; LANES_MAX] {
    let lanes: [Option<Message<'_>>; LANES_MAX] =
        std::array::from_fn(|lane| group.get(lane).and_then(Option::as_ref).map(&message));
    hmac::macs(&lanes[..group.len()])
}

impl fmt::Debug for CmSha1Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CmSha1Key(..)")
    }
}
