//! GHASH by carry-less multiplication, up to eight blocks under one reduction.
//!
//! Blocks are byte-reversed, which makes the polynomial of SP 800-38D bit-reflected: the product of two reflected 128-bit
//! polynomials comes out one bit too low. Multiplying the hash key by x once, when the key is built, puts it right for
//! every product, powers of the key included.

use super::aes::reverse;
use super::vector::{LANES, load, store};
use crate::BLOCK_BYTES;
use std::arch::x86_64::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Powers of the hash key, H^8 first, each times x; and the xor of both halves of each, for Karatsuba's middle product.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(align(16))]
pub(super) struct Powers {
    powers: [[u8; BLOCK_BYTES]; LANES],
    folded: [[u8; BLOCK_BYTES]; LANES],
}

impl Powers {
    /// `hash_key` is the encryption of the zero block.
    #[target_feature(enable = "pclmulqdq,ssse3")]
    pub(super) fn new(hash_key: [u8; BLOCK_BYTES]) -> Self {
        // Times x modulo x^128 + x^7 + x^2 + x + 1, reflected: the bit shifted out comes back as 0xc2...01.
        let key = u128::from_be_bytes(hash_key);
        let carry = (key >> 127).wrapping_neg();
        let key = key << 1 ^ (carry & (0xc2 << 120 | 1));
        let first = load(&key.to_le_bytes());

        let mut table = Self { powers: [[0; BLOCK_BYTES]; LANES], folded: [[0; BLOCK_BYTES]; LANES] };
        let mut power = first;
        for index in (0..LANES).rev() {
            store(&mut table.powers[index], power);
            store(&mut table.folded[index], fold(power));
            let mut product = Product::zero();
            product.add(power, first, fold(first));
            power = product.reduce();
        }
        table
    }

    /// Adds `block`, the `index`-th of a run that ends with H^1 at index 7.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn add(&self, product: &mut Product, index: usize, block: __m128i) {
        product.add(block, load(&self.powers[index]), load(&self.folded[index]));
    }

    /// The hash `sum` after a run of at most eight (reversed) blocks.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn absorb(&self, sum: __m128i, blocks: &[__m128i]) -> __m128i {
        let mut product = Product::zero();
        let mut carried = sum;
        for (index, block) in (LANES - blocks.len()..).zip(blocks) {
            self.add(&mut product, index, _mm_xor_si128(*block, carried));
            carried = _mm_setzero_si128();
        }
        product.reduce()
    }

    /// The hash `sum` after `bytes`, the last block padded with zeros.
    #[inline]
    #[target_feature(enable = "pclmulqdq,ssse3")]
    pub(super) fn absorb_bytes(&self, mut sum: __m128i, bytes: &[u8]) -> __m128i {
        for chunk in bytes.chunks(LANES * BLOCK_BYTES) {
            let mut padded = [[0; BLOCK_BYTES]; LANES];
            padded.as_flattened_mut()[..chunk.len()].copy_from_slice(chunk);
            let mut blocks = [_mm_setzero_si128(); LANES];
            for (block, bytes) in blocks.iter_mut().zip(&padded) {
                *block = reverse(load(bytes));
            }
            sum = self.absorb(sum, &blocks[..chunk.len().div_ceil(BLOCK_BYTES)]);
        }
        sum
    }
}

/// A sum of 256-bit products, not yet reduced, in Karatsuba's three parts.
pub(super) struct Product {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn zero() -> Self {
        let zero = _mm_setzero_si128();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn add(&mut self, block: __m128i, power: __m128i, folded: __m128i) {
        self.low = _mm_xor_si128(self.low, _mm_clmulepi64_si128::<0x00>(block, power));
        self.high = _mm_xor_si128(self.high, _mm_clmulepi64_si128::<0x11>(block, power));
        self.middle = _mm_xor_si128(self.middle, _mm_clmulepi64_si128::<0x00>(fold(block), folded));
    }

    /// The sum modulo the field polynomial: Montgomery's reduction, 64 bits at a time.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let middle = _mm_xor_si128(self.middle, _mm_xor_si128(self.low, self.high));
        let low = _mm_xor_si128(self.low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(self.high, _mm_srli_si128::<8>(middle));
        _mm_xor_si128(high, shift_64(shift_64(low)))
    }
}

/// `low` divided by x^64 modulo the field polynomial.
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn shift_64(low: __m128i) -> __m128i {
    let polynomial = _mm_set_epi64x(0, 0xc2 << 56);
    _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x00>(low, polynomial))
}

/// Both halves of a block xored together, in the low half.
#[inline]
#[target_feature(enable = "sse2")]
fn fold(block: __m128i) -> __m128i {
    _mm_xor_si128(block, _mm_shuffle_epi32::<0x4e>(block))
}
