//! The 512-bit unit: VAES and VPCLMULQDQ on AVX-512 registers, four blocks a register. AMD since Zen 4, Intel since Ice Lake.
//! Masks take the place of the narrower units' care at the end of a text.
#![expect(unsafe_code, reason = "each method is an instruction that its token proves present")]

use super::vector::{Block, Vector};
use super::{Aesni, Vaes};
use std::arch::x86_64::*;

/// Proof that this CPU has AVX-512 F, BW and VL and BMI2 beside what [`Vaes`] proves: only `detect` makes one.
#[derive(Clone, Copy)]
pub(crate) struct Vaes512(Vaes);

impl Vaes512 {
    pub(crate) fn detect() -> Option<Self> {
        let half = Vaes::detect()?;
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2");
        present.then_some(Self(half))
    }

    /// The lowest `bytes` of 64 bits set.
    #[inline(always)]
    fn mask(self, bytes: usize) -> __mmask64 {
        assert!(bytes <= 64, "a register's worth at most");
        // SAFETY: the token proves BMI2.
        unsafe { _bzhi_u64(u64::MAX, bytes as u32) }
    }
}

impl Vector for Vaes512 {
    type Register = __m512i;
    const BLOCKS: usize = 4;

    #[inline(always)]
    fn single(self) -> Aesni {
        self.0.single()
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load(self, blocks: &[Block]) -> __m512i {
        let source: &[Block; 4] = blocks.first_chunk().expect("a register's worth of blocks");
        // SAFETY: `source` is readable for 64 bytes at any alignment; the token proves AVX-512 F.
        unsafe { _mm512_loadu_si512(source.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, blocks: &mut [Block], register: __m512i) {
        let target: &mut [Block; 4] = blocks.first_chunk_mut().expect("a register's worth of blocks");
        // SAFETY: `target` is writable for 64 bytes at any alignment; the token proves AVX-512 F.
        unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), register) }
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8]) -> __m512i {
        let mask = self.mask(bytes.len());
        // SAFETY: only bytes under `mask` are read, and those are `bytes`; the token proves AVX-512 BW.
        unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8], register: __m512i) {
        let mask = self.mask(bytes.len());
        // SAFETY: only bytes under `mask` are written, and those are `bytes`; the token proves AVX-512 BW.
        unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, register) }
    }

    #[inline(always)]
    fn keep(self, register: __m512i, bytes: usize) -> __m512i {
        let mask = self.mask(bytes);
        // SAFETY: the token proves AVX-512 BW.
        unsafe { _mm512_maskz_mov_epi8(mask, register) }
    }

    #[inline(always)]
    fn with_top(self, register: __m512i, block: __m128i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_inserti32x4::<3>(register, block) }
    }

    #[inline(always)]
    fn top(self, register: __m512i) -> __m128i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_extracti32x4_epi32::<3>(register) }
    }

    #[inline(always)]
    fn with_last(self, register: __m512i, place: usize, block: __m128i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mask_broadcast_i32x4(register, 0b1111 << (4 * place), block) }
    }

    #[inline(always)]
    fn low(self, register: __m512i) -> __m128i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_castsi512_si128(register) }
    }

    #[inline(always)]
    fn splat(self, block: __m128i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_broadcast_i32x4(block) }
    }

    #[inline(always)]
    fn widen(self, block: __m128i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_zextsi128_si512(block) }
    }

    #[inline(always)]
    fn fold(self, register: __m512i) -> __m128i {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn halve(register: __m512i) -> __m256i {
            _mm256_xor_si256(_mm512_castsi512_si256(register), _mm512_extracti64x4_epi64::<1>(register))
        }
        // SAFETY: the token proves AVX-512 F.
        let half = unsafe { halve(register) };
        self.0.fold(half)
    }

    #[inline(always)]
    fn reverse(self, register: __m512i) -> __m512i {
        #[inline]
        #[target_feature(enable = "avx512bw")]
        fn reverse(register: __m512i) -> __m512i {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_shuffle_epi8(register, _mm512_broadcast_i32x4(order))
        }
        // SAFETY: the token proves AVX-512 BW.
        unsafe { reverse(register) }
    }

    #[inline(always)]
    fn swap(self, register: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_shuffle_epi32::<0x4e>(register) }
    }

    #[inline(always)]
    fn raise(self, register: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe { _mm512_bslli_epi128::<8>(register) }
    }

    #[inline(always)]
    fn lower(self, register: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 BW.
        unsafe { _mm512_bsrli_epi128::<8>(register) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn round(self, state: __m512i, key: __m512i) -> __m512i {
        // SAFETY: the token proves VAES and AVX-512 F.
        unsafe { _mm512_aesenc_epi128(state, key) }
    }

    #[inline(always)]
    fn last_round(self, state: __m512i, key: __m512i) -> __m512i {
        // SAFETY: the token proves VAES and AVX-512 F.
        unsafe { _mm512_aesenclast_epi128(state, key) }
    }

    #[inline(always)]
    fn multiply_low(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves VPCLMULQDQ and AVX-512 F.
        unsafe { _mm512_clmulepi64_epi128::<0x00>(a, b) }
    }

    #[inline(always)]
    fn multiply_high(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves VPCLMULQDQ and AVX-512 F.
        unsafe { _mm512_clmulepi64_epi128::<0x11>(a, b) }
    }

    #[inline(always)]
    fn multiply_cross(self, a: __m512i, b: __m512i) -> __m512i {
        #[inline]
        #[target_feature(enable = "avx512f,vpclmulqdq")]
        fn cross(a: __m512i, b: __m512i) -> __m512i {
            _mm512_xor_si512(_mm512_clmulepi64_epi128::<0x01>(a, b), _mm512_clmulepi64_epi128::<0x10>(a, b))
        }
        // SAFETY: the token proves VPCLMULQDQ and AVX-512 F.
        unsafe { cross(a, b) }
    }
}
