//! SHA-1 compression of eight messages side by side, a message in each 32-bit lane of AVX2 registers: for CPUs without the SHA
//! instructions. A single message has nothing to gain and takes the scalar kernel.
//! Sketch: 80 rounds of about 11 instructions and 64 schedule words of 6, three issued per cycle: 420 cycles for eight blocks.
#![expect(unsafe_code, reason = "a function compiled for CPU features is entered from code that is not")]

use crate::scalar::ScalarSha1;
use crate::sha1::{BLOCK_BYTES, Compress, CompressMany, LANES_MAX, State};
use std::arch::x86_64::*;

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
    const LANES: usize = LANES_MAX;

    fn compress_many<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
        const { assert!(N >= 1 && N <= LANES_MAX, "a message per lane at most") };
        if N == 1 {
            return self.compress(&mut states[0], blocks[0]);
        }
        // Lanes without a message repeat the first one.
        let mut all = std::array::from_fn(|lane| states[lane % N]);
        // SAFETY: `compress` needs AVX2, which `self` proves.
        unsafe { compress(&mut all, std::array::from_fn(|lane| blocks[lane % N])) };
        states.copy_from_slice(&all[..N]);
    }
}

#[target_feature(enable = "avx2")]
fn compress(states: &mut [State; LANES_MAX], blocks: [&[[u8; BLOCK_BYTES]]; LANES_MAX]) {
    let mut words: [__m256i; 5] = std::array::from_fn(|word| {
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(|lane| states[lane][word] as i32);
        _mm256_setr_epi32(a, b, c, d, e, f, g, h)
    });
    let count = blocks[0].len();
    let blocks = blocks.map(|blocks| &blocks[..count]);
    for index in 0..count {
        let block = blocks.map(|blocks| &blocks[index]);
        // Word `t` of every message at `schedule[t % 16]`.
        let mut schedule = [_mm256_setzero_si256(); 16];
        let halves = schedule.as_chunks_mut::<8>().0;
        for (half, words) in halves.iter_mut().enumerate() {
            *words = transpose(block.map(|block| load(&block.as_chunks().0[half])));
        }
        let [mut a, mut b, mut c, mut d, mut e] = words;
        macro_rules! rounds {
            ($from:literal..$to:literal, $constant:literal, $mix:expr) => {
                for t in $from..$to {
                    if t >= 16 {
                        // FIPS 180-4 section 6.1.2, step 1.
                        let sum = xor(
                            xor(schedule[(t + 13) % 16], schedule[(t + 8) % 16]),
                            xor(schedule[(t + 2) % 16], schedule[t % 16]),
                        );
                        schedule[t % 16] = rotate::<1, 31>(sum);
                    }
                    let constant = _mm256_set1_epi32({
                        const CONSTANT: u32 = $constant;
                        CONSTANT
                    } as i32);
                    let sum =
                        add(add(rotate::<5, 27>(a), $mix(b, c, d)), add(add(e, constant), schedule[t % 16]));
                    (a, b, c, d, e) = (sum, a, rotate::<30, 2>(b), c, d);
                }
            };
        }
        rounds!(0..20, 0x5a82_7999, choose);
        rounds!(20..40, 0x6ed9_eba1, parity);
        rounds!(40..60, 0x8f1b_bcdc, majority);
        rounds!(60..80, 0xca62_c1d6, parity);
        for (word, sum) in words.iter_mut().zip([a, b, c, d, e]) {
            *word = add(*word, sum);
        }
    }
    for (word, values) in words.into_iter().enumerate() {
        for (state, value) in states.iter_mut().zip(lanes(values)) {
            state[word] = value;
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(d, _mm256_and_si256(b, xor(c, d)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn parity(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(b, xor(c, d))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(_mm256_and_si256(b, c), _mm256_and_si256(d, xor(b, c)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

/// Each lane rotated left by `LEFT`, which is 32 - `RIGHT`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
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

/// The eight words of a register, lowest first.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes(register: __m256i) -> [u32; 8] {
    let mut words = [0; 8];
    // SAFETY: `words` is writable for 32 bytes, at any alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), register) };
    words
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` is readable for 32 bytes, at any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
