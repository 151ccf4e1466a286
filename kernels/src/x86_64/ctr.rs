//! AES counter mode with AES-NI, eight blocks in flight, copy fused.
//! Sketch: 1200 B are 75 blocks of 10 `aesenc`, two per cycle: 375 cycles, and 8 blocks more at most for the tail.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::aes::{Aesni, encrypt, reverse};
use super::vector::{LANES, groups, groups_mut, load, store};
use crate::schedule::{ROUND_KEYS_128, ROUND_KEYS_256, RoundKeys};
use crate::text::Text;
use crate::{BLOCK_BYTES, KeyLength};
use std::arch::x86_64::*;

/// An expanded key of either length.
#[derive(Clone)]
pub(crate) struct AesniCtr {
    proof: Aesni,
    keys: Keys,
}

#[derive(Clone)]
enum Keys {
    Aes128(RoundKeys<ROUND_KEYS_128>),
    Aes256(RoundKeys<ROUND_KEYS_256>),
}

impl AesniCtr {
    pub(crate) fn new(proof: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        let keys = if let Ok(key) = <&[u8; 16]>::try_from(key) {
            Keys::Aes128(proof.expand(key))
        } else if let Ok(key) = <&[u8; 32]>::try_from(key) {
            Keys::Aes256(proof.expand(key))
        } else {
            return Err(KeyLength);
        };
        Ok(Self { proof, keys })
    }

    /// Xors the key stream from counter block `iv` on onto `text`.
    pub(crate) fn apply(&self, iv: &[u8; BLOCK_BYTES], text: Text<'_>) {
        let Self { proof: Aesni { .. }, keys } = self;
        match keys {
            // SAFETY: `apply` needs AES-NI and SSE 4.1, which the token `proof` proves.
            Keys::Aes128(keys) => unsafe { apply(keys, iv, text) },
            // SAFETY: as above.
            Keys::Aes256(keys) => unsafe { apply(keys, iv, text) },
        }
    }
}

#[target_feature(enable = "aes,sse4.1,ssse3")]
fn apply<const KEYS: usize>(keys: &RoundKeys<KEYS>, iv: &[u8; BLOCK_BYTES], text: Text<'_>) {
    let mut counter = u128::from_be_bytes(*iv);
    let (filled, rest, room) = text.parts();

    let (in_place, filled_tail) = groups_mut(filled);
    for group in in_place {
        let keystream = encrypt(keys, counter_blocks(counter));
        for (block, keystream) in group.iter_mut().zip(keystream) {
            let text = load(block);
            store(block, _mm_xor_si128(text, keystream));
        }
        counter = counter.wrapping_add(LANES as u128);
    }
    let (sources, rest_tail) = groups(rest);
    let (apart, room_tail) = groups_mut(room);
    for (source, group) in sources.iter().zip(apart) {
        let keystream = encrypt(keys, counter_blocks(counter));
        for ((source, block), keystream) in source.iter().zip(group).zip(keystream) {
            store(block, _mm_xor_si128(load(source), keystream));
        }
        counter = counter.wrapping_add(LANES as u128);
    }
    room_tail.copy_from_slice(rest_tail);
    // One of the tails is empty: `Text` cuts on the grid of groups.
    let tail = if filled_tail.is_empty() { room_tail } else { filled_tail };
    if !tail.is_empty() {
        let mut keystream = [[0; BLOCK_BYTES]; LANES];
        for (bytes, block) in keystream.iter_mut().zip(encrypt(keys, counter_blocks(counter))) {
            store(bytes, block);
        }
        for (byte, key) in tail.iter_mut().zip(keystream.as_flattened()) {
            *byte ^= key;
        }
    }
}

/// The counter blocks `first` and the seven after it.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn counter_blocks(first: u128) -> [__m128i; LANES] {
    let mut blocks = [_mm_setzero_si128(); LANES];
    let (high, low) = ((first >> 64) as i64, first as u64);
    if low.checked_add(LANES as u64).is_some() {
        let mut counter = _mm_set_epi64x(high, low as i64);
        for block in &mut blocks {
            *block = reverse(counter);
            counter = _mm_add_epi64(counter, _mm_set_epi64x(0, 1));
        }
    } else {
        // The low half wraps inside this group: rare, and never in SRTP, whose IV ends in 16 zero bits.
        for (index, block) in (0..).zip(&mut blocks) {
            *block = load(&first.wrapping_add(index).to_be_bytes());
        }
    }
    blocks
}
