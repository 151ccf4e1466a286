//! What the kernels ask of a vector unit, and nothing more: one register holds `BLOCKS` blocks of 16 bytes, lowest first, and
//! every operation acts on each block by itself.

use super::Aesni;
use crate::BLOCK_BYTES;
use std::arch::x86_64::__m128i;

/// A block in memory.
pub(super) type Block = [u8; BLOCK_BYTES];

/// A vector unit. A value is the proof that this CPU has its instructions: only `detect` makes one. The methods are safe for
/// that reason; they are instructions once inlined into a function compiled for the unit's features.
pub(crate) trait Vector: Copy {
    /// Some blocks in a register.
    type Register: Copy;

    /// Blocks per register.
    const BLOCKS: usize;

    /// The unit for single blocks, which every wider one includes.
    fn single(self) -> Aesni;

    /// All bits zero.
    fn zero(self) -> Self::Register;

    /// The first `BLOCKS` blocks of `blocks`.
    ///
    /// # Panics
    /// When there are fewer.
    fn load(self, blocks: &[Block]) -> Self::Register;

    /// Writes the first `BLOCKS` blocks of `blocks`.
    ///
    /// # Panics
    /// When there are fewer.
    fn store(self, blocks: &mut [Block], register: Self::Register);

    /// `bytes`, at most a register's worth, and zeros beyond them.
    ///
    /// # Panics
    /// When there are more.
    fn load_bytes(self, bytes: &[u8]) -> Self::Register;

    /// Writes the first bytes of `register` to all of `bytes`, at most a register's worth.
    ///
    /// # Panics
    /// When there are more.
    fn store_bytes(self, bytes: &mut [u8], register: Self::Register);

    /// The first `bytes` bytes of `register`, at most a register's worth, and zeros beyond them.
    fn keep(self, register: Self::Register, bytes: usize) -> Self::Register;

    /// `register` with `block` in its highest place.
    fn with_top(self, register: Self::Register, block: __m128i) -> Self::Register;

    /// `register` with `block` in place `place`, counted from the lowest, above which it is zero.
    fn with_last(self, register: Self::Register, place: usize, block: __m128i) -> Self::Register;

    /// The block in the lowest place.
    fn low(self, register: Self::Register) -> __m128i;

    /// The block in the highest place.
    fn top(self, register: Self::Register) -> __m128i;

    /// `block` in every place.
    fn splat(self, block: __m128i) -> Self::Register;

    /// `block` in the lowest place, zeros above.
    fn widen(self, block: __m128i) -> Self::Register;

    /// All blocks xored together.
    fn fold(self, register: Self::Register) -> __m128i;

    /// The bytes of each block in reverse.
    fn reverse(self, register: Self::Register) -> Self::Register;

    /// The halves of each block swapped.
    fn swap(self, register: Self::Register) -> Self::Register;

    /// The low half of each block moved to its high half, zero below.
    fn raise(self, register: Self::Register) -> Self::Register;

    /// The high half of each block moved to its low half, zero above.
    fn lower(self, register: Self::Register) -> Self::Register;

    /// Bitwise xor.
    fn xor(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// One middle round of AES encryption.
    fn round(self, state: Self::Register, key: Self::Register) -> Self::Register;

    /// The last round of AES encryption.
    fn last_round(self, state: Self::Register, key: Self::Register) -> Self::Register;

    /// Carry-less product of the low halves.
    fn multiply_low(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// Carry-less product of the high halves.
    fn multiply_high(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// Sum of the two carry-less products of unlike halves.
    fn multiply_cross(self, a: Self::Register, b: Self::Register) -> Self::Register;
}
