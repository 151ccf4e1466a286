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

    /// `block` in a register.
    #[inline(always)]
    pub(super) fn load_block(self, block: &Block) -> __m128i {
        self.load(std::slice::from_ref(block))
    }

    /// `number`, little-endian, in a register.
    #[inline(always)]
    pub(super) fn load_number(self, number: u128) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_set_epi64x((number >> 64) as i64, number as i64) }
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

/// `bytes`, at most a block, as a little-endian number. Reads no byte beyond them: two loads that overlap.
#[inline(always)]
fn number(bytes: &[u8]) -> u128 {
    let count = bytes.len();
    if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        assert!(count <= 16, "a block at most");
        // The head's eight bytes, and of the tail's the ones after them.
        let high = u128::from(u64::from_le_bytes(*tail)) << 64 >> (8 * (16 - count));
        u128::from(u64::from_le_bytes(*head)) | (high & !u128::from(u64::MAX))
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let high = u64::from(u32::from_le_bytes(*tail)) << (8 * (count - 4));
        u128::from(u64::from(u32::from_le_bytes(*head)) | high)
    } else if let [first, .., last] = bytes {
        // Two bytes or three: the middle one is one of the outer two, or the one between them.
        let middle = u32::from(bytes[count / 2]) << (8 * (count / 2));
        u128::from(u32::from(*first) | middle | u32::from(*last) << (8 * (count - 1)))
    } else {
        bytes.first().map_or(0, |byte| u128::from(*byte))
    }
}

/// The first bytes of `number`, little-endian, to all of `bytes`, at most a block.
#[inline(always)]
fn spread(number: u128, bytes: &mut [u8]) {
    let count = bytes.len();
    if count >= 8 {
        let tail = (number >> (8 * (count - 8))) as u64;
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        bytes[count - 8..].copy_from_slice(&tail.to_le_bytes());
    } else if count >= 4 {
        let tail = (number as u64 >> (8 * (count - 4))) as u32;
        bytes[..4].copy_from_slice(&(number as u32).to_le_bytes());
        bytes[count - 4..].copy_from_slice(&tail.to_le_bytes());
    } else if let [first, .., _] = bytes {
        *first = number as u8;
        bytes[count / 2] = (number as u32 >> (8 * (count / 2))) as u8;
        bytes[count - 1] = (number as u32 >> (8 * (count - 1))) as u8;
    } else if let [only] = bytes {
        *only = number as u8;
    }
}

/// A block whose first `bytes` bytes are all ones.
#[inline(always)]
fn mask(bytes: usize) -> &'static Block {
    static ONES_THEN_ZEROS: [u8; 32] = {
        let mut bytes = [0; 32];
        let mut at = 0;
        while at < 16 {
            bytes[at] = 0xff;
            at += 1;
        }
        bytes
    };
    ONES_THEN_ZEROS[16 - bytes..].first_chunk().expect("16 of the 32 bytes")
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
    fn load_bytes(self, bytes: &[u8]) -> __m128i {
        match bytes.try_into() {
            Ok(block) => self.load_block(block),
            Err(_) => self.load_number(number(bytes)),
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8], register: __m128i) {
        let block = self.to_bytes(register);
        match <&mut Block>::try_from(&mut *bytes) {
            Ok(room) => *room = block,
            Err(_) => spread(u128::from_le_bytes(block), bytes),
        }
    }

    #[inline(always)]
    fn keep(self, register: __m128i, bytes: usize) -> __m128i {
        let mask = self.load_block(mask(bytes));
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_and_si128(register, mask) }
    }

    #[inline(always)]
    fn with_top(self, _: __m128i, block: __m128i) -> __m128i {
        block
    }

    #[inline(always)]
    fn top(self, register: __m128i) -> __m128i {
        register
    }

    #[inline(always)]
    fn with_last(self, _: __m128i, _: usize, block: __m128i) -> __m128i {
        block
    }

    #[inline(always)]
    fn low(self, register: __m128i) -> __m128i {
        register
    }

    #[inline(always)]
    fn splat(self, block: __m128i) -> __m128i {
        block
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
    fn swap(self, register: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_shuffle_epi32::<0x4e>(register) }
    }

    #[inline(always)]
    fn raise(self, register: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_slli_si128::<8>(register) }
    }

    #[inline(always)]
    fn lower(self, register: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_srli_si128::<8>(register) }
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
