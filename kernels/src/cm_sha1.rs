//! AES_CM_128_HMAC_SHA1_80 (RFC 3711 sections 4.1.1 and 4.2.1): AES-128 in counter mode, then the first 80 bits of HMAC-SHA1
//! over header, ciphertext and a trailer that is authenticated but not sent (the roll-over counter).
//! SRTCP puts its index word between ciphertext and tag: it uses [`CmSha1Key::ctr_in_place`], [`CmSha1Key::tag`] and
//! [`CmSha1Key::verify`].

use crate::compare::equal;
use crate::many::{SealJob, SealKey};
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
        let [prefix, body] = *payload;
        let text_bytes = prefix.len() + body.len();
        let (text, rest) = out.split_at_mut(text_bytes);
        let room = &mut rest[..Self::TAG_BYTES];
        self.ctr.apply_text(iv, Text::apart(prefix, body, text));
        room.copy_from_slice(&self.tag(&[header, text, trailer]));
        text_bytes + Self::TAG_BYTES
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

impl SealKey for CmSha1Key {
    type Iv = [u8; BLOCK_BYTES];
    type Trailer = [u8; 4];
    const TAG_BYTES: usize = Self::TAG_BYTES;

    fn seal_job(job: SealJob<'_, Self>, body: &[u8]) {
        job.key.seal(&job.iv, job.header, &[job.prefix, body], &job.trailer, job.out);
    }
}

impl fmt::Debug for CmSha1Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CmSha1Key(..)")
    }
}
