//! GHASH by carry-less multiplication, up to seventeen blocks under one reduction.
//!
//! Blocks are byte-reversed, which makes the polynomial of SP 800-38D bit-reflected: the product of two reflected 128-bit
//! polynomials comes out one bit too low. Multiplying the hash key by x once, when the key is built, puts it right for
//! every product, powers of the key included.

use super::Aesni;
use super::vector::{Block, Vector};
use crate::BLOCK_BYTES;
use std::arch::x86_64::__m128i;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Powers kept: a run is at most a step of sixteen blocks and the lengths.
pub(super) const POWERS: usize = 17;

/// Powers of the hash key, the highest first and H^1 last, each times x.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(align(16))]
pub(super) struct Powers([Block; POWERS]);

impl Powers {
    /// `hash_key` is the encryption of the zero block.
    #[inline(always)]
    pub(super) fn new(unit: Aesni, hash_key: Block) -> Self {
        // Times x modulo x^128 + x^7 + x^2 + x + 1, reflected: the bit shifted out comes back as 0xc2...01.
        let key = u128::from_be_bytes(hash_key);
        let carry = (key >> 127).wrapping_neg();
        let key = key << 1 ^ (carry & (0xc2 << 120 | 1));
        let first = unit.count_from(key);

        let mut powers = [[0; BLOCK_BYTES]; POWERS];
        let mut power = first;
        for block in powers.iter_mut().rev() {
            *block = unit.to_bytes(power);
            let mut product = Product::zero(unit);
            product.add(power, first);
            power = product.reduce();
        }
        Self(powers)
    }

    /// A register of powers from H^`power` on downwards.
    #[inline(always)]
    pub(super) fn from<V: Vector>(&self, unit: V, power: usize) -> V::Register {
        unit.load(&self.0[POWERS - power..])
    }

    /// The hash `sum` after `bytes`, the last block padded with zeros.
    #[inline(always)]
    pub(super) fn absorb_bytes(&self, unit: Aesni, mut sum: __m128i, bytes: &[u8]) -> __m128i {
        for chunk in bytes.chunks(POWERS * BLOCK_BYTES) {
            let mut product = Product::zero(unit);
            let mut power = chunk.len().div_ceil(BLOCK_BYTES);
            for bytes in chunk.chunks(BLOCK_BYTES) {
                let mut block = [[0; BLOCK_BYTES]];
                block[0][..bytes.len()].copy_from_slice(bytes);
                let block = unit.reverse(unit.load(&block));
                product.add(unit.xor(block, sum), self.from(unit, power));
                sum = unit.zero();
                power -= 1;
            }
            sum = product.reduce();
        }
        sum
    }
}

/// A sum of 256-bit products, not yet reduced, over the blocks of a register.
pub(super) struct Product<V: Vector> {
    unit: V,
    low: V::Register,
    middle: V::Register,
    high: V::Register,
}

impl<V: Vector> Product<V> {
    #[inline(always)]
    pub(super) fn zero(unit: V) -> Self {
        let zero = unit.zero();
        Self { unit, low: zero, middle: zero, high: zero }
    }

    /// Adds the products of reversed `blocks` and `powers`.
    #[inline(always)]
    pub(super) fn add(&mut self, blocks: V::Register, powers: V::Register) {
        let unit = self.unit;
        self.low = unit.xor(self.low, unit.multiply_low(blocks, powers));
        self.middle = unit.xor(self.middle, unit.multiply_cross(blocks, powers));
        self.high = unit.xor(self.high, unit.multiply_high(blocks, powers));
    }

    /// The sum over all blocks modulo the field polynomial: Montgomery's reduction, 64 bits at a time.
    #[inline(always)]
    pub(super) fn reduce(self) -> __m128i {
        let (unit, single) = (self.unit, self.unit.single());
        let (low, high) = single.carry(unit.fold(self.low), unit.fold(self.middle), unit.fold(self.high));
        single.xor(high, single.shift_64(single.shift_64(low)))
    }
}
