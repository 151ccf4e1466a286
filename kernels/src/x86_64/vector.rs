//! Blocks of memory to and from vector registers, and the grid of groups that kernels work in.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

use crate::BLOCK_BYTES;
use crate::text::GROUP_BYTES;
use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// Blocks in flight: enough to hide the latency of `aesenc` (4 cycles, two per cycle on Zen 3 and later), and half of the
/// sixteen vector registers.
pub(super) const LANES: usize = 8;

/// A group of [`LANES`] blocks in memory.
pub(super) type Group = [[u8; BLOCK_BYTES]; LANES];

const _: () = assert!(GROUP_BYTES == size_of::<Group>(), "`Text` cuts where these kernels do");

/// The block at `bytes`, at any alignment.
#[inline(always)]
pub(super) fn load(bytes: &[u8; BLOCK_BYTES]) -> __m128i {
    // SAFETY: a reference to 16 bytes is readable for 16 bytes, at any alignment; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Writes `block` to `bytes`, at any alignment.
#[inline(always)]
pub(super) fn store(bytes: &mut [u8; BLOCK_BYTES], block: __m128i) {
    // SAFETY: a unique reference to 16 bytes is writable for 16 bytes, at any alignment; SSE2 is part of x86-64.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

/// `bytes` as whole groups, and fewer bytes than a group behind them.
#[inline]
pub(super) fn groups(bytes: &[u8]) -> (&[Group], &[u8]) {
    let (whole, tail) = bytes.split_at(bytes.len() - bytes.len() % GROUP_BYTES);
    (whole.as_chunks().0.as_chunks().0, tail)
}

/// As [`groups`], to write to.
#[inline]
pub(super) fn groups_mut(bytes: &mut [u8]) -> (&mut [Group], &mut [u8]) {
    let (whole, tail) = bytes.split_at_mut(bytes.len() - bytes.len() % GROUP_BYTES);
    (whole.as_chunks_mut().0.as_chunks_mut().0, tail)
}
