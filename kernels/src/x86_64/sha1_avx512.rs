//! SHA-1 compression of sixteen messages side by side, a message in each 32-bit lane of AVX-512 registers. Few messages, and a single
//! one, take the SHA instructions.
//! Sketch: 80 rounds of 7 instructions, 64 schedule words of 3 and 100 to turn blocks into lanes are 850 for sixteen blocks,
//! where the SHA instructions need about 115 for each.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::Shani;
use super::sha1_lanes::{self, Lanes, WORDS};
use crate::sha1::{BLOCK_BYTES, Compress, CompressMany, LANES_MAX, State};
use std::arch::x86_64::*;

/// Messages side by side.
const LANES: usize = LANES_MAX;
/// From so many messages on the lanes are quicker, measured.
const WORTH: usize = 8;

/// Proof that this CPU has AVX-512 F and BW and the SHA instructions: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(Shani);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        Shani::detect().filter(|_| has).map(Self)
    }
}

impl Compress for Avx512 {
    fn compress(self, state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
        self.0.compress(state, blocks);
    }
}

impl CompressMany for Avx512 {
    const LANES: usize = LANES;

    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
        #[target_feature(enable = "avx512f,avx512bw")]
        fn enter(unit: Avx512, states: &mut [State; LANES], blocks: [&[[u8; BLOCK_BYTES]]; LANES]) {
            sha1_lanes::compress(unit, states, blocks);
        }
        if N < WORTH {
            let (fours, rest) = states.as_chunks_mut::<{ Shani::LANES }>();
            let (blocks, last) = blocks.as_chunks();
            for (states, blocks) in fours.iter_mut().zip(blocks) {
                self.0.compress_many(states, *blocks);
            }
            for (state, blocks) in rest.iter_mut().zip(last) {
                self.0.compress(state, blocks);
            }
            return;
        }
        // Lanes without a message repeat another one.
        let mut all = std::array::from_fn(|lane| states[lane % N]);
        // SAFETY: `enter` needs AVX-512 F and BW, which `self` proves.
        unsafe { enter(self, &mut all, std::array::from_fn(|lane| blocks[lane % N])) };
        states.copy_from_slice(&all[..N]);
    }
}

impl Lanes<LANES> for Avx512 {
    type Register = __m512i;

    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_epi32(word as i32) }
    }

    #[inline(always)]
    fn gather(self, words: [u32; LANES]) -> __m512i {
        // SAFETY: `words` is readable for 64 bytes, at any alignment; the token proves AVX-512 F.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn scatter(self, register: __m512i) -> [u32; LANES] {
        let mut words = [0_u32; LANES];
        // SAFETY: `words` is writable for 64 bytes, at any alignment; the token proves AVX-512 F.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) };
        words
    }

    #[inline(always)]
    fn words(self, blocks: [&[u8; BLOCK_BYTES]; LANES]) -> [__m512i; WORDS] {
        // SAFETY: a block is readable for 64 bytes, at any alignment; the token proves AVX-512 F.
        let rows = blocks.map(|block| unsafe { _mm512_loadu_si512(block.as_ptr().cast()) });
        // SAFETY: the token proves AVX-512 F and BW.
        unsafe { transpose(rows) }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, x: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_rol_epi32::<LEFT>(x) }
    }

    #[inline(always)]
    fn choose(self, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<0xca>(b, c, d) }
    }

    #[inline(always)]
    fn parity(self, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<0x96>(b, c, d) }
    }

    #[inline(always)]
    fn majority(self, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_ternarylogic_epi32::<0xe8>(b, c, d) }
    }
}

/// Rows of sixteen big-endian words, a message each, to a register for each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [__m512i; LANES]) -> [__m512i; WORDS] {
    let order = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    // Pairs of rows, then fours: register `4 * f + w` has, in each 128-bit part p, word 4 p + w of rows 4 f to 4 f + 3.
    let mut fours = [rows[0]; LANES];
    for (four, rows) in fours.as_chunks_mut::<4>().0.iter_mut().zip(rows.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let (ab0, ab1) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd0, cd1) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab0, cd0),
            _mm512_unpackhi_epi64(ab0, cd0),
            _mm512_unpacklo_epi64(ab1, cd1),
            _mm512_unpackhi_epi64(ab1, cd1),
        ];
    }
    // Then the parts themselves: 4 x 4 of them for each w.
    let mut words = [rows[0]; WORDS];
    for w in 0..4 {
        let (a, b, c, d) = (fours[w], fours[4 + w], fours[8 + w], fours[12 + w]);
        let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
        words[w] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<0x88>(ab_low, cd_low), order);
        words[4 + w] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low), order);
        words[8 + w] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<0x88>(ab_high, cd_high), order);
        words[12 + w] = _mm512_shuffle_epi8(_mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high), order);
    }
    words
}
