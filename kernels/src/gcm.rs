//! AES-GCM with a 12-byte IV and a 16-byte tag: AEAD_AES_128_GCM and AEAD_AES_256_GCM of SRTP (RFC 7714).
//! Path: one open per received packet, one seal per receiver.

use crate::compare::equal;
use crate::detect::AesUnit;
use crate::many::{OpenJob, SealJob, SealKey};
use crate::schedule::{KeyBytes, ROUND_KEYS_128, ROUND_KEYS_256};
use crate::text::Text;
#[cfg(target_arch = "x86_64")]
use crate::x86_64;
use crate::{BLOCK_BYTES, BadTag, KeyLength, Suite, scalar};
use std::fmt;

/// One AES-128 or AES-256 key of GCM, expanded for its kernel; zeroed on drop.
#[derive(Clone)]
pub struct GcmKey(Kernel);

#[derive(Clone)]
enum Kernel {
    Scalar(scalar::Gcm),
    #[cfg(target_arch = "x86_64")]
    Aesni128(x86_64::Gcm<x86_64::Aesni, ROUND_KEYS_128>),
    #[cfg(target_arch = "x86_64")]
    Aesni256(x86_64::Gcm<x86_64::Aesni, ROUND_KEYS_256>),
    #[cfg(target_arch = "x86_64")]
    Vaes128(x86_64::Gcm<x86_64::Vaes, ROUND_KEYS_128>),
    #[cfg(target_arch = "x86_64")]
    Vaes256(x86_64::Gcm<x86_64::Vaes, ROUND_KEYS_256>),
    #[cfg(target_arch = "x86_64")]
    Wide128(x86_64::Gcm<x86_64::Vaes512, ROUND_KEYS_128>),
    #[cfg(target_arch = "x86_64")]
    Wide256(x86_64::Gcm<x86_64::Vaes512, ROUND_KEYS_256>),
}

/// Evaluates `$call` with `$gcm` bound to the kernel of `$key`: the one dispatch of a call.
macro_rules! dispatch {
    ($key:expr, $gcm:ident => $call:expr) => {
        match &$key.0 {
            Kernel::Scalar($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Aesni128($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Aesni256($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes128($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes256($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide128($gcm) => $call,
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide256($gcm) => $call,
        }
    };
}

impl GcmKey {
    /// Bytes of the tag behind the ciphertext.
    pub const TAG_BYTES: usize = BLOCK_BYTES;

    /// Expands `key`: 16 bytes are AES-128, 32 bytes AES-256.
    ///
    /// # Errors
    /// [`KeyLength`] for any other length.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyLength> {
        let key = KeyBytes::new(key)?;
        Ok(Self(match (suite.aes, key) {
            (AesUnit::Scalar, key) => Kernel::Scalar(scalar::Gcm::new(key)),
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Aesni(unit), KeyBytes::Aes128(key)) => {
                Kernel::Aesni128(x86_64::Gcm::<x86_64::Aesni, _>::new(unit, key))
            }
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Aesni(unit), KeyBytes::Aes256(key)) => {
                Kernel::Aesni256(x86_64::Gcm::<x86_64::Aesni, _>::new(unit, key))
            }
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Vaes(unit), KeyBytes::Aes128(key)) => {
                Kernel::Vaes128(x86_64::Gcm::<x86_64::Vaes, _>::new(unit, key))
            }
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Vaes(unit), KeyBytes::Aes256(key)) => {
                Kernel::Vaes256(x86_64::Gcm::<x86_64::Vaes, _>::new(unit, key))
            }
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Vaes512(unit), KeyBytes::Aes128(key)) => {
                Kernel::Wide128(x86_64::Gcm::<x86_64::Vaes512, _>::new(unit, key))
            }
            #[cfg(target_arch = "x86_64")]
            (AesUnit::Vaes512(unit), KeyBytes::Aes256(key)) => {
                Kernel::Wide256(x86_64::Gcm::<x86_64::Vaes512, _>::new(unit, key))
            }
        }))
    }

    /// Seals `payload`, a prefix and a body taken as one, into `out` as ciphertext || tag, copying and encrypting in one
    /// pass. Returns the bytes written: prefix + body + 16; `out` may be longer and keeps its other bytes.
    /// An `iv` must never repeat under one key.
    ///
    /// # Panics
    /// When `out` has no room.
    #[inline]
    pub fn seal(&self, iv: &[u8; 12], aad: &[u8], payload: &[&[u8]; 2], out: &mut [u8]) -> usize {
        let [prefix, body] = *payload;
        let text_bytes = prefix.len() + body.len();
        let (text, rest) = out.split_at_mut(text_bytes);
        let tag = if prefix.is_empty() {
            dispatch!(self, gcm => gcm.seal_apart(iv, aad, body, text))
        } else {
            self.seal_text(iv, aad, Text::apart(prefix, body, text))
        };
        rest[..Self::TAG_BYTES].copy_from_slice(&tag);
        text_bytes + Self::TAG_BYTES
    }

    /// Encrypts `text` where it lies and returns its tag.
    pub fn seal_in_place(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; Self::TAG_BYTES] {
        self.seal_text(iv, aad, Text::in_place(text))
    }

    /// Opens ciphertext || tag in place and returns the bytes of plaintext, which start at `buf[0]`.
    ///
    /// # Errors
    /// [`BadTag`], with all of `buf` zeroed, when the tag does not verify or `buf` is shorter than one.
    #[inline]
    pub fn open_in_place(&self, iv: &[u8; 12], aad: &[u8], buf: &mut [u8]) -> Result<usize, BadTag> {
        let Some((text, tag)) = buf.split_last_chunk_mut::<{ Self::TAG_BYTES }>() else {
            buf.fill(0);
            return Err(BadTag);
        };
        let text_bytes = text.len();
        let expected = dispatch!(self, gcm => gcm.open(iv, aad, text));
        if equal(&expected, tag) {
            Ok(text_bytes)
        } else {
            buf.fill(0);
            Err(BadTag)
        }
    }

    #[inline]
    fn seal_text(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> [u8; Self::TAG_BYTES] {
        dispatch!(self, gcm => gcm.seal(iv, aad, text))
    }
}

impl SealKey for GcmKey {
    type Iv = [u8; 12];
    type Trailer = ();
    const TAG_BYTES: usize = Self::TAG_BYTES;

    #[inline]
    fn seal_job(job: SealJob<'_, Self>, body: &[u8]) {
        job.key.seal(&job.iv, job.header, &[job.prefix, body], job.out);
    }

    #[inline]
    fn open_job(job: OpenJob<'_, Self>) -> Result<usize, BadTag> {
        job.key.open_in_place(&job.iv, job.header, job.buf)
    }
}

impl fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcmKey(..)")
    }
}
