//! GHASH by carry-less multiplication, up to forty blocks under one reduction.
//!
//! Blocks are byte-reversed, which makes the polynomial of SP 800-38D bit-reflected: the product of two reflected 128-bit
//! polynomials comes out one bit too low. Multiplying the hash key by x once, when the key is built, puts it right for
//! every product, powers of the key included.

use super::Aesni;
use super::vector::{Block, Vector};
use crate::BLOCK_BYTES;
use std::arch::x86_64::__m128i;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Powers kept. A run is at most the header of a packet (7 blocks are 112 bytes; longer ones are a run of their own), the widest
/// unit's step of 32 blocks, and the lengths. A kernel reads only as many as its runs are long.
pub(super) const POWERS: usize = 40;

/// Zeros behind the powers: the end of a run may be loaded as a register, which has four blocks at most.
const PADDING: usize = 3;

/// Powers of the hash key, the highest first and H^1 last, each times x; then the padding.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(align(16))]
pub(super) struct Powers([Block; POWERS + PADDING]);

impl Powers {
    /// `hash_key` is the encryption of the zero block.
    #[inline(always)]
    pub(super) fn new(unit: Aesni, hash_key: Block) -> Self {
        // Times x modulo x^128 + x^7 + x^2 + x + 1, reflected: the bit shifted out comes back as 0xc2...01.
        let key = u128::from_be_bytes(hash_key);
        let carry = (key >> 127).wrapping_neg();
        let key = key << 1 ^ (carry & (0xc2 << 120 | 1));
        let first = unit.load_number(key);

        let mut powers = [[0; BLOCK_BYTES]; POWERS + PADDING];
        let mut power = first;
        for block in powers[..POWERS].iter_mut().rev() {
            *block = unit.to_bytes(power);
            let mut product = Product::zero(unit);
            product.add(power, first);
            power = product.reduce();
        }
        Self(powers)
    }

    /// From H^`power` on downwards to H^1, and the padding.
    #[inline(always)]
    pub(super) fn from(&self, power: usize) -> &[Block] {
        &self.0[POWERS - power..]
    }

    /// The sum of the products of `bytes`, the last block padded with zeros, with `behind` blocks of the run to come after them.
    #[inline(always)]
    pub(super) fn begin<V: Vector>(&self, unit: V, bytes: &[u8], behind: usize) -> Product<V> {
        let blocks = bytes.len().div_ceil(BLOCK_BYTES);
        if blocks + behind > POWERS {
            return self.begin_long(unit, bytes, behind);
        }
        let mut product = Product::zero(unit);
        if bytes.len() <= V::BLOCKS * BLOCK_BYTES {
            // Any RTP header with four blocks to a register.
            let block = unit.reverse(unit.load_bytes(bytes));
            product.add_at(self, block, blocks + behind);
        } else {
            self.extend(unit, &mut product, unit.zero(), bytes, blocks + behind);
        }
        product
    }

    /// As [`Self::begin`], for more bytes than one run takes.
    #[cold]
    #[inline(always)]
    fn begin_long<V: Vector>(&self, unit: V, bytes: &[u8], behind: usize) -> Product<V> {
        let mut carried = unit.zero();
        let mut rest = bytes;
        let room = POWERS - behind;
        while rest.len() > room * BLOCK_BYTES {
            let (run, later) = rest.split_at(rest.len().min(POWERS * BLOCK_BYTES));
            let mut product = Product::zero(unit);
            self.extend(unit, &mut product, carried, run, run.len().div_ceil(BLOCK_BYTES));
            carried = unit.widen(product.reduce());
            rest = later;
        }
        let mut product = Product::zero(unit);
        if rest.is_empty() {
            // All of it is in `carried`, which the run's next block would take: H^behind stands in for that block.
            product.add_at(self, carried, behind);
        } else {
            self.extend(unit, &mut product, carried, rest, rest.len().div_ceil(BLOCK_BYTES) + behind);
        }
        product
    }

    /// Adds the products of `bytes`, padded with zeros; the first block, with `carried` added, meets H^`power`.
    #[inline(always)]
    fn extend<V: Vector>(
        &self,
        unit: V,
        product: &mut Product<V>,
        mut carried: V::Register,
        bytes: &[u8],
        mut power: usize,
    ) {
        for bytes in bytes.chunks(V::BLOCKS * BLOCK_BYTES) {
            // A register's blocks beyond the bytes are zero, so the powers they meet do not matter.
            let blocks = unit.xor(unit.reverse(unit.load_bytes(bytes)), carried);
            product.add_at(self, blocks, power);
            carried = unit.zero();
            power = power.saturating_sub(V::BLOCKS);
        }
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

    /// Adds the products of reversed `blocks` and the powers from H^`power` on downwards.
    #[inline(always)]
    pub(super) fn add_at(&mut self, powers: &Powers, blocks: V::Register, power: usize) {
        self.add(blocks, self.unit.load(powers.from(power)));
    }

    /// The sum over all blocks modulo the field polynomial: Montgomery's reduction, 64 bits at a time, in every place of the
    /// register before the places are added up, which spares two of three folds.
    #[inline(always)]
    pub(super) fn reduce(self) -> __m128i {
        let unit = self.unit;
        let polynomial = unit.splat(unit.single().load_number(0xc2 << 56));
        let low = unit.xor(self.low, unit.raise(self.middle));
        let high = unit.xor(self.high, unit.lower(self.middle));
        // Twice the product of `low` and 1/x^64, reflected.
        let low = unit.xor(unit.swap(low), unit.multiply_low(low, polynomial));
        let low = unit.xor(unit.swap(low), unit.multiply_low(low, polynomial));
        unit.fold(unit.xor(high, low))
    }
}
