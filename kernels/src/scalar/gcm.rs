//! AES-GCM (SP 800-38D) with a 96-bit IV and a 128-bit tag.

use super::Aes;
use super::ghash::Ghash;
use crate::BLOCK_BYTES;
use crate::schedule::KeyBytes;
use crate::text::Text;
use zeroize::Zeroize;

/// Expanded key and hash key.
#[derive(Clone)]
pub(crate) struct Gcm {
    aes: Aes,
    hash_key: u128,
}

impl Gcm {
    pub(crate) fn new(key: KeyBytes<'_>) -> Self {
        let aes = Aes::new(key);
        let hash_key = u128::from_be_bytes(aes.encrypt(&[0; BLOCK_BYTES]));
        Self { aes, hash_key }
    }

    /// Encrypts and returns the tag.
    pub(crate) fn seal(&self, iv: &[u8; 12], aad: &[u8], text: Text<'_>) -> [u8; BLOCK_BYTES] {
        let text = text.gathered();
        self.aes.ctr((2..).map(|count| counter_block(iv, count)), text);
        self.tag(iv, aad, text)
    }

    /// As [`Self::seal`], from `source` to `room`, which is as long.
    pub(crate) fn seal_apart(
        &self,
        iv: &[u8; 12],
        aad: &[u8],
        source: &[u8],
        room: &mut [u8],
    ) -> [u8; BLOCK_BYTES] {
        self.seal(iv, aad, Text::apart(&[], source, room))
    }

    /// Decrypts and returns the tag that the ciphertext should have had.
    pub(crate) fn open(&self, iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; BLOCK_BYTES] {
        let tag = self.tag(iv, aad, text);
        self.aes.ctr((2..).map(|count| counter_block(iv, count)), text);
        tag
    }

    fn tag(&self, iv: &[u8; 12], aad: &[u8], ciphertext: &[u8]) -> [u8; BLOCK_BYTES] {
        let mut hash = Ghash::new(self.hash_key);
        hash.update(aad);
        hash.update(ciphertext);
        let mask = u128::from_be_bytes(self.aes.encrypt(&counter_block(iv, 1)));
        (hash.finish(aad.len(), ciphertext.len()) ^ mask).to_be_bytes()
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        self.hash_key.zeroize();
    }
}

fn counter_block(iv: &[u8; 12], count: u32) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..12].copy_from_slice(iv);
    block[12..].copy_from_slice(&count.to_be_bytes());
    block
}
