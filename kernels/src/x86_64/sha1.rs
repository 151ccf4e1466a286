//! SHA-1 compression with the SHA instructions.
//! Sketch: 20 dependent `sha1rnds4` of 6 cycles (Zen 3 to 5) are about 125 cycles per block of 64 bytes: the chain is the cost. One
//! can start every two cycles, so four messages side by side take 40 to 50 cycles a block each; more would not fit the registers.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use crate::sha1::{BLOCK_BYTES, Compress, CompressMany, State};
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
        self.compress_many(std::array::from_mut(state), [blocks]);
    }
}

impl CompressMany for Shani {
    const LANES: usize = 4;

    #[inline]
    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
        // SAFETY: `compress` needs the SHA instructions, SSSE3 and SSE 4.1, which `self` proves.
        unsafe { compress(states, blocks) }
    }
}

/// Each line of rounds is written once for all lanes, so that the lanes' instructions alternate.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
    // `a` in the highest lane; the message words likewise, from big-endian.
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let (mut abcd, mut e) = ([_mm_setzero_si128(); N], [_mm_setzero_si128(); N]);
    for lane in 0..N {
        let words = states[lane].map(|word| word as i32);
        abcd[lane] = _mm_set_epi32(words[0], words[1], words[2], words[3]);
        e[lane] = _mm_set_epi32(words[4], 0, 0, 0);
    }

    let count = blocks[0].len();
    let blocks = blocks.map(|blocks| &blocks[..count]);
    for index in 0..count {
        let block = blocks.map(|blocks| &blocks[index]);
        let (abcd_before, e_before) = (abcd, e);
        let mut schedule = [[_mm_setzero_si128(); 4]; N];
        for lane in 0..N {
            for (words, bytes) in schedule[lane].iter_mut().zip(block[lane].as_chunks().0) {
                *words = _mm_shuffle_epi8(load(bytes), order);
            }
        }
        // Four rounds under function and constant `F`; `e` becomes the `abcd` before them, which the next four rotate. From
        // the fifth four on, their words come from those of the last sixteen rounds (FIPS 180-4 section 6.1.2).
        macro_rules! four_rounds {
            ($f:literal: $($t:literal)*) => {$(
                for lane in 0..N {
                    let schedule = &mut schedule[lane];
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
                    let words = schedule[$t % 4];
                    let with_e = if $t == 0 {
                        _mm_add_epi32(e[lane], words)
                    } else {
                        _mm_sha1nexte_epu32(e[lane], words)
                    };
                    e[lane] = abcd[lane];
                    abcd[lane] = _mm_sha1rnds4_epu32::<$f>(abcd[lane], with_e);
                }
            )*};
        }
        four_rounds!(0: 0 1 2 3 4);
        four_rounds!(1: 5 6 7 8 9);
        four_rounds!(2: 10 11 12 13 14);
        four_rounds!(3: 15 16 17 18 19);
        for lane in 0..N {
            e[lane] = _mm_sha1nexte_epu32(e[lane], e_before[lane]);
            abcd[lane] = _mm_add_epi32(abcd[lane], abcd_before[lane]);
        }
    }

    for lane in 0..N {
        states[lane] = [
            _mm_extract_epi32::<3>(abcd[lane]),
            _mm_extract_epi32::<2>(abcd[lane]),
            _mm_extract_epi32::<1>(abcd[lane]),
            _mm_extract_epi32::<0>(abcd[lane]),
            _mm_extract_epi32::<3>(e[lane]),
        ]
        .map(|word| word as u32);
    }
}

#[inline(always)]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: `bytes` is readable for 16 bytes, at any alignment; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
