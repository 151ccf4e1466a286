//! SHA-1 compression of eight messages side by side, a message in each 32-bit lane of AVX2 registers: for CPUs without the SHA
//! instructions. A single message has nothing to gain and takes the scalar kernel.
//! Sketch: 80 rounds of about 11 instructions and 64 schedule words of 6, three issued per cycle: 420 cycles for eight blocks.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use super::sha1_lanes::{self, Lanes, WORDS};
use crate::scalar::ScalarSha1;
use crate::sha1::{BLOCK_BYTES, Compress, CompressMany, State};
use std::arch::x86_64::*;

/// Messages side by side.
const LANES: usize = 8;

/// Proof that this CPU has AVX2: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Compress for Avx2 {
    fn compress(self, state: &mut State, blocks: &[[u8; BLOCK_BYTES]]) {
        ScalarSha1.compress(state, blocks);
    }
}

impl CompressMany for Avx2 {
    const LANES: usize = LANES;

    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
        #[target_feature(enable = "avx2")]
        fn enter(unit: Avx2, states: &mut [State; LANES], blocks: [&[[u8; BLOCK_BYTES]]; LANES]) {
            sha1_lanes::compress(unit, states, blocks);
        }
        if N == 1 {
            return self.compress(&mut states[0], blocks[0]);
        }
        // Lanes without a message repeat another one.
        let mut all = std::array::from_fn(|lane| states[lane % N]);
        // SAFETY: `enter` needs AVX2, which `self` proves.
        unsafe { enter(self, &mut all, std::array::from_fn(|lane| blocks[lane % N])) };
        states.copy_from_slice(&all[..N]);
    }
}

impl Lanes<LANES> for Avx2 {
    type Register = __m256i;

    #[inline(always)]
    fn splat(self, word: u32) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_set1_epi32(word as i32) }
    }

    #[inline(always)]
    fn gather(self, words: [u32; LANES]) -> __m256i {
        // SAFETY: `words` is readable for 32 bytes, at any alignment; the token proves AVX2.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline(always)]
    fn scatter(self, register: __m256i) -> [u32; LANES] {
        let mut words = [0; LANES];
        // SAFETY: `words` is writable for 32 bytes, at any alignment; the token proves AVX2.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), register) };
        words
    }

    #[inline(always)]
    fn words(self, blocks: [&[u8; BLOCK_BYTES]; LANES]) -> [__m256i; WORDS] {
        let mut words = [self.splat(0); WORDS];
        for (half, words) in words.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let rows = blocks.map(|block| {
                let bytes: &[u8; 32] = &block.as_chunks().0[half];
                // SAFETY: `bytes` is readable for 32 bytes, at any alignment; the token proves AVX2.
                unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
            });
            // SAFETY: the token proves AVX2.
            *words = unsafe { transpose(rows) };
        }
        words
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, x: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
        }
        // SAFETY: the token proves AVX2.
        unsafe { rotate::<LEFT, RIGHT>(x) }
    }

    #[inline(always)]
    fn choose(self, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn choose(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)))
        }
        // SAFETY: the token proves AVX2.
        unsafe { choose(b, c, d) }
    }

    #[inline(always)]
    fn parity(self, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn parity(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_xor_si256(b, _mm256_xor_si256(c, d))
        }
        // SAFETY: the token proves AVX2.
        unsafe { parity(b, c, d) }
    }

    #[inline(always)]
    fn majority(self, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn majority(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_xor_si256(_mm256_and_si256(b, c), _mm256_and_si256(d, _mm256_xor_si256(b, c)))
        }
        // SAFETY: the token proves AVX2.
        unsafe { majority(b, c, d) }
    }
}

/// Rows of eight big-endian words, a message each, to a register for each word.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let order = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x: __m256i, y: __m256i| (_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y));
    let ((ab0, ab1), (cd0, cd1), (ef0, ef1), (gh0, gh1)) =
        (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    let fours = |x: __m256i, y: __m256i| (_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
    let ((abcd0, abcd1), (abcd2, abcd3)) = (fours(ab0, cd0), fours(ab1, cd1));
    let ((efgh0, efgh1), (efgh2, efgh3)) = (fours(ef0, gh0), fours(ef1, gh1));
    let low = |x, y| _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x20>(x, y), order);
    let high = |x, y| _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x31>(x, y), order);
    [
        low(abcd0, efgh0),
        low(abcd1, efgh1),
        low(abcd2, efgh2),
        low(abcd3, efgh3),
        high(abcd0, efgh0),
        high(abcd1, efgh1),
        high(abcd2, efgh2),
        high(abcd3, efgh3),
    ]
}
