//! AES in counter mode with a 128-bit counter block: the cipher of SRTP's AES-CM (RFC 3711 section 4.1.1) and the key stream
//! of its key derivation (section 4.3; RFC 6188 for AES-256).

use crate::detect::AesUnit;
use crate::schedule::KeyBytes;
use crate::text::Text;
#[cfg(target_arch = "x86_64")]
use crate::x86_64;
use crate::{BLOCK_BYTES, KeyLength, Suite, scalar};
use std::fmt;

/// AES-128 or AES-256 in counter mode; the round keys are zeroed on drop.
#[derive(Clone)]
pub struct AesCtr(Kernel);

#[derive(Clone)]
enum Kernel {
    Scalar(scalar::Aes),
    #[cfg(target_arch = "x86_64")]
    Aesni(x86_64::Ctr<x86_64::Aesni>),
    #[cfg(target_arch = "x86_64")]
    Vaes(x86_64::Ctr<x86_64::Vaes>),
    #[cfg(target_arch = "x86_64")]
    Vaes512(x86_64::Ctr<x86_64::Vaes512>),
}

impl AesCtr {
    /// Expands `key`.
    ///
    /// # Errors
    /// [`KeyLength`] unless `key` has 16 or 32 bytes.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyLength> {
        let key = KeyBytes::new(key)?;
        Ok(Self(match suite.aes {
            AesUnit::Scalar => Kernel::Scalar(scalar::Aes::new(key)),
            #[cfg(target_arch = "x86_64")]
            AesUnit::Aesni(unit) => Kernel::Aesni(x86_64::Ctr::new(unit, key)),
            #[cfg(target_arch = "x86_64")]
            AesUnit::Vaes(unit) => Kernel::Vaes(x86_64::Ctr::new(unit, key)),
            #[cfg(target_arch = "x86_64")]
            AesUnit::Vaes512(unit) => Kernel::Vaes512(x86_64::Ctr::new(unit, key)),
        }))
    }

    /// Xors the key stream that starts at counter block `iv` onto `text`: encrypts and decrypts alike.
    /// The counter is the whole block, big-endian, modulo 2^128.
    pub fn apply(&self, iv: &[u8; BLOCK_BYTES], text: &mut [u8]) {
        self.apply_text(iv, Text::in_place(text));
    }

    /// Fills `out` with the key stream that starts at counter block `iv`.
    pub fn keystream(&self, iv: &[u8; BLOCK_BYTES], out: &mut [u8]) {
        out.fill(0);
        self.apply(iv, out);
    }

    pub(crate) fn apply_text(&self, iv: &[u8; BLOCK_BYTES], text: Text<'_>) {
        match &self.0 {
            Kernel::Scalar(aes) => apply_scalar(aes, iv, text),
            #[cfg(target_arch = "x86_64")]
            Kernel::Aesni(aes) => aes.apply(iv, text),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes(aes) => aes.apply(iv, text),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes512(aes) => aes.apply(iv, text),
        }
    }

    /// As [`Self::apply_text`], from `source` to `room`, which is as long.
    #[inline]
    pub(crate) fn apply_apart(&self, iv: &[u8; BLOCK_BYTES], source: &[u8], room: &mut [u8]) {
        match &self.0 {
            Kernel::Scalar(aes) => apply_scalar(aes, iv, Text::apart(&[], source, room)),
            #[cfg(target_arch = "x86_64")]
            Kernel::Aesni(aes) => aes.apply_apart(iv, source, room),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes(aes) => aes.apply_apart(iv, source, room),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes512(aes) => aes.apply_apart(iv, source, room),
        }
    }
}

/// Out of the way of the callers, whose other arms are a jump.
#[inline(never)]
fn apply_scalar(aes: &scalar::Aes, iv: &[u8; BLOCK_BYTES], text: Text<'_>) {
    let first = u128::from_be_bytes(*iv);
    let counters = (0..).map(|index| first.wrapping_add(index).to_be_bytes());
    aes.ctr(counters, text.gathered());
}

impl fmt::Debug for AesCtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesCtr(..)")
    }
}
