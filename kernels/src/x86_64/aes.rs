//! AES with the AES-NI instructions: the feature token, key expansion, and blocks in flight together.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::vector::load;
use crate::schedule::RoundKeys;
use std::arch::x86_64::*;

/// Proof that this CPU has AES-NI, PCLMULQDQ and SSE 4.1: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Aesni(());

impl Aesni {
    pub(crate) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        present.then_some(Self(()))
    }

    /// Expands an AES-128 or AES-256 key.
    pub(super) fn expand<const BYTES: usize, const KEYS: usize>(self, key: &[u8; BYTES]) -> RoundKeys<KEYS> {
        RoundKeys::expand(key, |word| {
            // SAFETY: `sub_word` needs AES-NI, which `self` proves.
            unsafe { sub_word(word) }
        })
    }
}

/// The S-box on the four bytes of a word.
#[target_feature(enable = "aes")]
fn sub_word(word: [u8; 4]) -> [u8; 4] {
    // AESKEYGENASSIST puts SubWord of its word 1 into word 0.
    let words = _mm_set1_epi32(i32::from_le_bytes(word));
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(words)).to_le_bytes()
}

/// Encrypts `N` independent blocks, round by round.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn encrypt<const N: usize, const KEYS: usize>(
    keys: &RoundKeys<KEYS>,
    mut blocks: [__m128i; N],
) -> [__m128i; N] {
    let [first, middle @ .., last] = &keys.0[..] else { unreachable!("there are at least 11 round keys") };
    let key = load(first);
    for block in &mut blocks {
        *block = _mm_xor_si128(*block, key);
    }
    for key in middle {
        let key = load(key);
        for block in &mut blocks {
            *block = _mm_aesenc_si128(*block, key);
        }
    }
    let key = load(last);
    for block in &mut blocks {
        *block = _mm_aesenclast_si128(*block, key);
    }
    blocks
}

/// Reverses the bytes of a block: big-endian counters and GHASH polynomials as little-endian vectors, and back.
#[inline]
#[target_feature(enable = "ssse3")]
pub(super) fn reverse(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}
