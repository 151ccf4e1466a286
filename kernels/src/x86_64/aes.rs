//! AES over any vector width: key expansion, several registers in flight, and counter blocks.

use super::Aesni;
use super::vector::{Block, Vector};
use crate::BLOCK_BYTES;
use crate::schedule::RoundKeys;
use std::arch::x86_64::__m128i;
use std::marker::PhantomData;

/// Registers in flight: enough to hide the latency of a round (4 cycles, two rounds issued per cycle on Zen 3 and later), and
/// half of the sixteen vector registers.
pub(super) const FLIGHT: usize = 8;

/// Expands an AES-128 or AES-256 key.
pub(super) fn expand<const BYTES: usize, const KEYS: usize>(
    unit: Aesni,
    key: &[u8; BYTES],
) -> RoundKeys<KEYS> {
    RoundKeys::expand(key, |word| unit.sub_word(word))
}

/// `block` in every place, with the first round key xored in.
#[inline(always)]
pub(super) fn whitened<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    block: __m128i,
) -> V::Register {
    unit.xor(unit.splat(block), round_key(unit, keys, 0))
}

/// Encrypts the whitened blocks of `N` registers, round by round.
#[inline(always)]
pub(super) fn encrypt<V: Vector, const N: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    mut blocks: [V::Register; N],
) -> [V::Register; N] {
    for round in 1..KEYS - 1 {
        middle_round(unit, keys, round, &mut blocks);
    }
    last_round(unit, keys, &mut blocks);
    blocks
}

/// Round `round` of 1 to `KEYS - 2`.
#[inline(always)]
pub(super) fn middle_round<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    round: usize,
    blocks: &mut [V::Register],
) {
    let key = round_key(unit, keys, round);
    for block in blocks {
        *block = unit.round(*block, key);
    }
}

/// The last round.
#[inline(always)]
pub(super) fn last_round<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    blocks: &mut [V::Register],
) {
    let key = round_key(unit, keys, KEYS - 1);
    for block in blocks {
        *block = unit.last_round(*block, key);
    }
}

#[inline(always)]
fn round_key<V: Vector, const KEYS: usize>(unit: V, keys: &RoundKeys<KEYS>, round: usize) -> V::Register {
    unit.splat(unit.single().load_block(&keys.0[round]))
}

/// Blocks of a text whose counts are kept: 4 KiB are more than any packet on the Internet.
const NEAR: usize = 256;
/// Blocks asked for at once: nine registers of the widest unit.
const RUN: usize = 36;

/// The counts of consecutive blocks as the last 32 bits of a counter block, big-endian, zeros before them.
#[repr(align(64))]
pub(super) struct Counts<const BLOCKS: usize>([Block; BLOCKS]);

impl<const BLOCKS: usize> Counts<BLOCKS> {
    const fn from(first: u32) -> Self {
        let mut counts = [[0; BLOCK_BYTES]; BLOCKS];
        let mut at = 0;
        while at < BLOCKS {
            let [a, b, c, d] = (first + at as u32).to_be_bytes();
            counts[at] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
            at += 1;
        }
        Self(counts)
    }
}

/// Where a mode begins to count.
pub(super) trait Mode {
    /// The count of a text's first block.
    const FIRST: u32;
    /// The counts of its first blocks.
    const NEAR: &'static Counts<{ NEAR + RUN }>;
}

/// GCM: count 1 masks the tag (SP 800-38D 7.1).
pub(super) struct Gcm;
/// AES-CM of SRTP (RFC 3711 4.1.1).
pub(super) struct Cm;

impl Mode for Gcm {
    const FIRST: u32 = 2;
    const NEAR: &'static Counts<{ NEAR + RUN }> = &Counts::from(2);
}

impl Mode for Cm {
    const FIRST: u32 = 0;
    const NEAR: &'static Counts<{ NEAR + RUN }> = &Counts::from(0);
}

/// The counter blocks of one text, whitened. The bits where the count goes are zero in the block it begins from, so that a
/// counter block is that block, whitened once, with the count xored in.
pub(super) struct Counter<V: Vector, M> {
    unit: V,
    base: V::Register,
    mode: PhantomData<M>,
}

impl<V: Vector, M: Mode> Counter<V, M> {
    /// `begin` ends in as many zero bits as the counts need.
    #[inline(always)]
    pub(super) fn new<const KEYS: usize>(unit: V, keys: &RoundKeys<KEYS>, begin: __m128i) -> Self {
        Self { unit, base: whitened(unit, keys, begin), mode: PhantomData }
    }

    /// `N` registers of counter blocks, whitened, from the text's block `at` on.
    #[inline(always)]
    pub(super) fn blocks<const N: usize>(&self, at: usize) -> [V::Register; N] {
        const { assert!(N * V::BLOCKS <= RUN) };
        let far;
        let counts: &[Block] = match M::NEAR.0.get(at..at + N * V::BLOCKS) {
            Some(near) => near,
            None => {
                far = far_counts(M::FIRST + at as u32);
                &far.0[..N * V::BLOCKS]
            }
        };
        let mut blocks = [self.base; N];
        for (index, block) in blocks.iter_mut().enumerate() {
            *block = self.unit.xor(*block, self.unit.load(&counts[index * V::BLOCKS..]));
        }
        blocks
    }

    /// The counter block of `count`, whitened.
    #[inline(always)]
    pub(super) fn block(&self, count: u32) -> __m128i {
        let single = self.unit.single();
        let count = single.load_number(u128::from(count.swap_bytes()) << 96);
        single.xor(self.unit.low(self.base), count)
    }
}

/// The counts of a run beyond those that are kept.
#[cold]
#[inline(never)]
fn far_counts(first: u32) -> Counts<RUN> {
    Counts::from(first)
}
