//! SHA-1 compression with the SHA instructions.
//! Sketch: 20 dependent `sha1rnds4` of 6 cycles (Zen 3) are about 125 cycles per block of 64 bytes: the chain is the cost, so
//! only several messages side by side go faster.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use crate::sha1::{BLOCK_BYTES, Compress, State};
use std::arch::x86_64::*;

/// Proof that this CPU has the SHA instructions, SSSE3 and SSE 4.1: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Shani(());

impl Shani {
    pub(crate) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        present.then_some(Self(()))
    }
}

impl Compress for Shani {
    #[inline]
    fn compress(self, state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
        // SAFETY: `compress` needs the SHA instructions, SSSE3 and SSE 4.1, which `self` proves.
        unsafe { compress(state, blocks) }
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress(state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
    // `a` in the highest lane; the message words likewise, from big-endian.
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let [a, b, c, d, e] = state.map(|word| word as i32);
    let mut abcd = _mm_set_epi32(a, b, c, d);
    let mut e = _mm_set_epi32(e, 0, 0, 0);

    for block in blocks {
        let (abcd_before, e_before) = (abcd, e);
        let mut schedule = [_mm_setzero_si128(); 4];
        for (words, bytes) in schedule.iter_mut().zip(block.as_chunks().0) {
            *words = _mm_shuffle_epi8(load(bytes), order);
        }
        // The four words of rounds 4t to 4t + 3 come from those of the last sixteen rounds (FIPS 180-4 section 6.1.2).
        macro_rules! words {
            ($t:expr) => {{
                if $t >= 4 {
                    let [w16, w12, w8, w4] = [
                        schedule[$t % 4],
                        schedule[($t + 1) % 4],
                        schedule[($t + 2) % 4],
                        schedule[($t + 3) % 4],
                    ];
                    let sum = _mm_xor_si128(_mm_sha1msg1_epu32(w16, w12), w8);
                    schedule[$t % 4] = _mm_sha1msg2_epu32(sum, w4);
                }
                schedule[$t % 4]
            }};
        }
        // Four rounds under function and constant `F`; `e` becomes the `abcd` before them, which the next four rotate.
        macro_rules! four_rounds {
            ($f:literal: $($t:literal)*) => {$(
                let words = words!($t);
                let with_e = if $t == 0 { _mm_add_epi32(e, words) } else { _mm_sha1nexte_epu32(e, words) };
                e = abcd;
                abcd = _mm_sha1rnds4_epu32::<$f>(abcd, with_e);
            )*};
        }
        four_rounds!(0: 0 1 2 3 4);
        four_rounds!(1: 5 6 7 8 9);
        four_rounds!(2: 10 11 12 13 14);
        four_rounds!(3: 15 16 17 18 19);
        e = _mm_sha1nexte_epu32(e, e_before);
        abcd = _mm_add_epi32(abcd, abcd_before);
    }

    *state = [
        _mm_extract_epi32::<3>(abcd),
        _mm_extract_epi32::<2>(abcd),
        _mm_extract_epi32::<1>(abcd),
        _mm_extract_epi32::<0>(abcd),
        _mm_extract_epi32::<3>(e),
    ]
    .map(|word| word as u32);
}

#[inline(always)]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: `bytes` is readable for 16 bytes, at any alignment; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
