//! AES key expansion (FIPS 197 section 5.2) for both key lengths, over any constant-time S-box.
//! Path: once per key, never per packet.

use crate::{BLOCK_BYTES, KeyLength};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Round keys of AES-128 (10 rounds) or AES-256 (14 rounds): one more round key than rounds.
pub(crate) const ROUND_KEYS_128: usize = 11;
/// See [`ROUND_KEYS_128`].
pub(crate) const ROUND_KEYS_256: usize = 15;

/// A key whose length has been checked.
#[derive(Clone, Copy)]
pub(crate) enum KeyBytes<'a> {
    Aes128(&'a [u8; 16]),
    Aes256(&'a [u8; 32]),
}

impl<'a> KeyBytes<'a> {
    pub(crate) fn new(key: &'a [u8]) -> Result<Self, KeyLength> {
        if let Ok(key) = key.try_into() {
            Ok(Self::Aes128(key))
        } else if let Ok(key) = key.try_into() {
            Ok(Self::Aes256(key))
        } else {
            Err(KeyLength)
        }
    }
}

/// Expanded key: `KEYS` round keys in the order encryption uses them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(align(16))]
pub(crate) struct RoundKeys<const KEYS: usize>(pub(crate) [[u8; BLOCK_BYTES]; KEYS]);

impl<const KEYS: usize> RoundKeys<KEYS> {
    /// Expands `key`; `sub_word` is the S-box on each byte of a word, in constant time.
    pub(crate) fn expand<const BYTES: usize>(
        key: &[u8; BYTES],
        sub_word: impl Fn([u8; 4]) -> [u8; 4],
    ) -> Self {
        const { assert!(KEYS == BYTES / 4 + 7, "rounds = key words + 6, and one key more than rounds") };
        let words_per_key = BYTES / 4;
        let mut words = [[0u8; 4]; 4 * ROUND_KEYS_256];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = *bytes;
        }
        let mut round_constant = 1u8;
        for index in words_per_key..4 * KEYS {
            let mut word = words[index - 1];
            if index % words_per_key == 0 {
                word.rotate_left(1);
                word = sub_word(word);
                word[0] ^= round_constant;
                // Doubling in GF(2^8). The constants are public, but a mask costs nothing.
                round_constant = (round_constant << 1) ^ (0x1b & (round_constant >> 7).wrapping_neg());
            } else if words_per_key > 6 && index % words_per_key == 4 {
                word = sub_word(word);
            }
            for (byte, earlier) in word.iter_mut().zip(words[index - words_per_key]) {
                *byte ^= earlier;
            }
            words[index] = word;
        }
        let mut keys = [[0; BLOCK_BYTES]; KEYS];
        for (bytes, word) in keys.as_flattened_mut().as_chunks_mut::<4>().0.iter_mut().zip(&words) {
            *bytes = *word;
        }
        words.zeroize();
        Self(keys)
    }
}
