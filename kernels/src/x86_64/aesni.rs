//! The 128-bit unit: AES-NI and PCLMULQDQ, one block a register. Every x86-64 server CPU since 2010 has it.
#![expect(unsafe_code, reason = "each method is an instruction that its token proves present")]

use super::vector::{Block, Vector};
use std::arch::x86_64::*;

/// Proof that this CPU has AES-NI, PCLMULQDQ, SSSE3 and SSE 4.1: only `detect` makes one.
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

    /// The S-box on the four bytes of a word.
    #[inline(always)]
    pub(super) fn sub_word(self, word: [u8; 4]) -> [u8; 4] {
        // SAFETY: the token proves AES-NI.
        unsafe { sub_word(word) }
    }

    /// The product of `low` and 1/x^64 modulo the field polynomial of GHASH, reflected.
    #[inline(always)]
    pub(super) fn shift_64(self, low: __m128i) -> __m128i {
        // SAFETY: the token proves PCLMULQDQ.
        unsafe { shift_64(low) }
    }

    /// The halves of `middle` added where they belong in `(low, high)`.
    #[inline(always)]
    pub(super) fn carry(self, low: __m128i, middle: __m128i, high: __m128i) -> (__m128i, __m128i) {
        // SAFETY: the shifts and xors are SSE2, part of x86-64.
        unsafe { carry(low, middle, high) }
    }

    /// The block in the register.
    #[inline(always)]
    pub(super) fn to_bytes(self, register: __m128i) -> Block {
        let mut block = [[0; 16]];
        self.store(&mut block, register);
        block[0]
    }
}

#[inline]
#[target_feature(enable = "aes")]
fn sub_word(word: [u8; 4]) -> [u8; 4] {
    // AESKEYGENASSIST puts SubWord of its word 1 into word 0.
    let words = _mm_set1_epi32(i32::from_le_bytes(word));
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(words)).to_le_bytes()
}

#[inline]
#[target_feature(enable = "pclmulqdq")]
fn shift_64(low: __m128i) -> __m128i {
    let polynomial = _mm_set_epi64x(0, 0xc2 << 56);
    _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x00>(low, polynomial))
}

#[inline]
#[target_feature(enable = "sse2")]
fn carry(low: __m128i, middle: __m128i, high: __m128i) -> (__m128i, __m128i) {
    (_mm_xor_si128(low, _mm_slli_si128::<8>(middle)), _mm_xor_si128(high, _mm_srli_si128::<8>(middle)))
}

impl Vector for Aesni {
    type Register = __m128i;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn single(self) -> Aesni {
        self
    }

    #[inline(always)]
    fn zero(self) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_setzero_si128() }
    }

    #[inline(always)]
    fn load(self, blocks: &[Block]) -> __m128i {
        let source = &blocks[0];
        // SAFETY: `source` is readable for 16 bytes at any alignment; SSE2 is part of x86-64.
        unsafe { _mm_loadu_si128(source.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, blocks: &mut [Block], register: __m128i) {
        let target = &mut blocks[0];
        // SAFETY: `target` is writable for 16 bytes at any alignment; SSE2 is part of x86-64.
        unsafe { _mm_storeu_si128(target.as_mut_ptr().cast(), register) }
    }

    #[inline(always)]
    fn splat(self, block: &Block) -> __m128i {
        self.load(std::slice::from_ref(block))
    }

    #[inline(always)]
    fn count_from(self, first: u128) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_set_epi64x((first >> 64) as i64, first as i64) }
    }

    #[inline(always)]
    fn widen(self, block: __m128i) -> __m128i {
        block
    }

    #[inline(always)]
    fn fold(self, register: __m128i) -> __m128i {
        register
    }

    #[inline(always)]
    fn reverse(self, register: __m128i) -> __m128i {
        #[inline]
        #[target_feature(enable = "ssse3")]
        fn reverse(register: __m128i) -> __m128i {
            _mm_shuffle_epi8(register, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
        }
        // SAFETY: the token proves SSSE3.
        unsafe { reverse(register) }
    }

    #[inline(always)]
    fn add(self, register: __m128i, count: u64) -> __m128i {
        #[inline]
        #[target_feature(enable = "sse2")]
        fn add(register: __m128i, count: u64) -> __m128i {
            _mm_add_epi64(register, _mm_set_epi64x(0, count as i64))
        }
        // SAFETY: SSE2 is part of x86-64.
        unsafe { add(register, count) }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn round(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: the token proves AES-NI.
        unsafe { _mm_aesenc_si128(state, key) }
    }

    #[inline(always)]
    fn last_round(self, state: __m128i, key: __m128i) -> __m128i {
        // SAFETY: the token proves AES-NI.
        unsafe { _mm_aesenclast_si128(state, key) }
    }

    #[inline(always)]
    fn multiply_low(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the token proves PCLMULQDQ.
        unsafe { _mm_clmulepi64_si128::<0x00>(a, b) }
    }

    #[inline(always)]
    fn multiply_high(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the token proves PCLMULQDQ.
        unsafe { _mm_clmulepi64_si128::<0x11>(a, b) }
    }

    #[inline(always)]
    fn multiply_cross(self, a: __m128i, b: __m128i) -> __m128i {
        #[inline]
        #[target_feature(enable = "pclmulqdq")]
        fn cross(a: __m128i, b: __m128i) -> __m128i {
            _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b))
        }
        // SAFETY: the token proves PCLMULQDQ.
        unsafe { cross(a, b) }
    }
}
