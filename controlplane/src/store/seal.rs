//! Sealing of one value: XAES-256-GCM (C2SP), AES-256-GCM with a key of its own for every random nonce half.
//!
//! Promises: what was changed, swapped with another key's value or sealed under another key does not open. Plain AES-256-GCM
//! takes 2^32 random nonces of 96 bits before one may repeat (NIST SP 800-38D); here a nonce has 192 bits: the first half picks a
//! subkey by CMAC (NIST SP 800-108), the second is GCM's. After 2^40 values two nonces are alike with probability
//! 2^80 / 2^193 = 2^-113. Cost: two AES blocks and a key schedule per value, under a microsecond.
//! Not here: which key (`keyring`), what is inside (`vault`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a nonce: one half picks the subkey, the other is GCM's.
pub(super) const SEAL_NONCE_BYTES: usize = 24;
/// Bytes of an authentication tag.
pub(super) const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;

/// A key ready to seal and open values.
pub(super) struct SealingKey {
    cipher: EncryptingKey,
    /// CMAC's first subkey (NIST SP 800-38B).
    k1: [u8; BLOCK_BYTES],
}

impl SealingKey {
    /// Prepares a key; `None` when the cryptographic library refuses, which it does only without memory.
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Option<Self> {
        let cipher = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
        let mut zero = [0; BLOCK_BYTES];
        cipher.encrypt(&mut zero).ok()?;
        let doubled = u128::from_be_bytes(zero) << 1;
        let carried = if zero[0] & 0x80 == 0 { doubled } else { doubled ^ 0x87 };
        Some(Self { cipher, k1: carried.to_be_bytes() })
    }

    /// Seals `text` in place of itself under `nonce`, bound to `context`, and appends the tag.
    pub(super) fn seal(
        &self,
        nonce: &[u8; SEAL_NONCE_BYTES],
        context: &[u8],
        text: &mut Vec<u8>,
    ) -> Option<()> {
        let (key, nonce) = self.subkey(nonce)?;
        key.seal_in_place_append_tag(nonce, Aad::from(context), text).ok()
    }

    /// Opens what [`SealingKey::seal`] made; `None` when it is not that.
    pub(super) fn open(
        &self,
        nonce: &[u8; SEAL_NONCE_BYTES],
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (key, nonce) = self.subkey(nonce)?;
        let mut text = sealed.to_vec();
        let bytes = key.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
        text.truncate(bytes);
        Some(text)
    }

    fn subkey(&self, nonce: &[u8; SEAL_NONCE_BYTES]) -> Option<(LessSafeKey, Nonce)> {
        let (picks, own) = nonce.split_at(SEAL_NONCE_BYTES - NONCE_LEN);
        let mut blocks = Zeroizing::new([0; 2 * BLOCK_BYTES]);
        for (block, number) in blocks.chunks_exact_mut(BLOCK_BYTES).zip(1u8..) {
            block[..4].copy_from_slice(&[0, number, b'X', 0]);
            block[4..].copy_from_slice(picks);
            for (byte, mask) in block.iter_mut().zip(self.k1) {
                *byte ^= mask;
            }
        }
        self.cipher.encrypt(blocks.as_mut_slice()).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, blocks.as_slice()).ok()?);
        Some((key, Nonce::try_assume_unique_for_key(own).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_published_vectors_hold() {
        for (key, context, sealed) in [
            ([1; 32], "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            ([3; 32], "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ] {
            let key = SealingKey::new(&key).expect("a key");
            let mut text = b"XAES-256-GCM".to_vec();
            key.seal(b"ABCDEFGHIJKLMNOPQRSTUVWX", context.as_bytes(), &mut text).expect("seals");
            assert_eq!(hex(&text), sealed);
            let opened = key.open(b"ABCDEFGHIJKLMNOPQRSTUVWX", context.as_bytes(), &text);
            assert_eq!(opened.as_deref(), Some(b"XAES-256-GCM".as_slice()));
        }
    }
}
