//! The 256-bit unit: VAES and VPCLMULQDQ on AVX2 registers, two blocks a register. AMD since Zen 3, Intel since Ice Lake.
#![expect(unsafe_code, reason = "each method is an instruction that its token proves present")]

use super::Aesni;
use super::vector::{Block, Vector};
use std::arch::x86_64::*;

/// Proof that this CPU has AVX2, VAES and VPCLMULQDQ beside what [`Aesni`] proves: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Vaes(Aesni);

impl Vaes {
    pub(crate) fn detect() -> Option<Self> {
        let single = Aesni::detect()?;
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        present.then_some(Self(single))
    }
}

/// Bytes of a register.
const BYTES: usize = 32;

impl Vector for Vaes {
    type Register = __m256i;
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn single(self) -> Aesni {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn load(self, blocks: &[Block]) -> __m256i {
        let source: &[Block; 2] = blocks.first_chunk().expect("a register's worth of blocks");
        // SAFETY: `source` is readable for 32 bytes at any alignment; the token proves AVX2.
        unsafe { _mm256_loadu_si256(source.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, blocks: &mut [Block], register: __m256i) {
        let target: &mut [Block; 2] = blocks.first_chunk_mut().expect("a register's worth of blocks");
        // SAFETY: `target` is writable for 32 bytes at any alignment; the token proves AVX2.
        unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), register) }
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8]) -> __m256i {
        if bytes.len() == BYTES {
            return self.load(bytes.as_chunks().0);
        }
        match bytes.split_first_chunk() {
            Some((low, high)) => self.with_top(self.widen(self.0.load_block(low)), self.0.load_bytes(high)),
            None => self.widen(self.0.load_bytes(bytes)),
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8], register: __m256i) {
        if bytes.len() == BYTES {
            return self.store(bytes.as_chunks_mut().0, register);
        }
        let low = self.low(register);
        match bytes.split_first_chunk_mut() {
            Some((room, high)) => {
                *room = self.0.to_bytes(low);
                self.0.store_bytes(high, self.top(register));
            }
            None => self.0.store_bytes(bytes, low),
        }
    }

    #[inline(always)]
    fn keep(self, register: __m256i, bytes: usize) -> __m256i {
        if bytes == BYTES {
            return register;
        }
        let low = self.low(register);
        if bytes >= 16 {
            self.with_top(register, self.0.keep(self.top(register), bytes - 16))
        } else {
            self.widen(self.0.keep(low, bytes))
        }
    }

    #[inline(always)]
    fn with_top(self, register: __m256i, block: __m128i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_inserti128_si256::<1>(register, block) }
    }

    #[inline(always)]
    fn top(self, register: __m256i) -> __m128i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_extracti128_si256::<1>(register) }
    }

    #[inline(always)]
    fn with_last(self, register: __m256i, place: usize, block: __m128i) -> __m256i {
        if place == 0 { self.widen(block) } else { self.with_top(register, block) }
    }

    #[inline(always)]
    fn low(self, register: __m256i) -> __m128i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_castsi256_si128(register) }
    }

    #[inline(always)]
    fn splat(self, block: __m128i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_broadcastsi128_si256(block) }
    }

    #[inline(always)]
    fn widen(self, block: __m128i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_zextsi128_si256(block) }
    }

    #[inline(always)]
    fn fold(self, register: __m256i) -> __m128i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn fold(register: __m256i) -> __m128i {
            _mm_xor_si128(_mm256_castsi256_si128(register), _mm256_extracti128_si256::<1>(register))
        }
        // SAFETY: the token proves AVX2.
        unsafe { fold(register) }
    }

    #[inline(always)]
    fn reverse(self, register: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn reverse(register: __m256i) -> __m256i {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm256_shuffle_epi8(register, _mm256_broadcastsi128_si256(order))
        }
        // SAFETY: the token proves AVX2.
        unsafe { reverse(register) }
    }

    #[inline(always)]
    fn swap(self, register: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_shuffle_epi32::<0x4e>(register) }
    }

    #[inline(always)]
    fn raise(self, register: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_slli_si256::<8>(register) }
    }

    #[inline(always)]
    fn lower(self, register: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_srli_si256::<8>(register) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn round(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: the token proves VAES.
        unsafe { _mm256_aesenc_epi128(state, key) }
    }

    #[inline(always)]
    fn last_round(self, state: __m256i, key: __m256i) -> __m256i {
        // SAFETY: the token proves VAES.
        unsafe { _mm256_aesenclast_epi128(state, key) }
    }

    #[inline(always)]
    fn multiply_low(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves VPCLMULQDQ.
        unsafe { _mm256_clmulepi64_epi128::<0x00>(a, b) }
    }

    #[inline(always)]
    fn multiply_high(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves VPCLMULQDQ.
        unsafe { _mm256_clmulepi64_epi128::<0x11>(a, b) }
    }

    #[inline(always)]
    fn multiply_cross(self, a: __m256i, b: __m256i) -> __m256i {
        #[inline]
        #[target_feature(enable = "avx2,vpclmulqdq")]
        fn cross(a: __m256i, b: __m256i) -> __m256i {
            _mm256_xor_si256(_mm256_clmulepi64_epi128::<0x01>(a, b), _mm256_clmulepi64_epi128::<0x10>(a, b))
        }
        // SAFETY: the token proves AVX2 and VPCLMULQDQ.
        unsafe { cross(a, b) }
    }
}
