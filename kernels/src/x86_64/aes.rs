//! AES over any vector width: key expansion, several registers in flight, and counter blocks.

use super::Aesni;
use super::vector::{Block, Vector};
use crate::schedule::RoundKeys;

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

/// Encrypts the blocks of `N` registers, round by round.
#[inline(always)]
pub(super) fn encrypt<V: Vector, const N: usize, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    mut blocks: [V::Register; N],
) -> [V::Register; N] {
    whiten(unit, keys, &mut blocks);
    for round in 1..KEYS - 1 {
        middle_round(unit, keys, round, &mut blocks);
    }
    last_round(unit, keys, &mut blocks);
    blocks
}

/// The first round key, before the rounds.
#[inline(always)]
pub(super) fn whiten<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    blocks: &mut [V::Register],
) {
    let key = unit.splat(&keys.0[0]);
    for block in blocks {
        *block = unit.xor(*block, key);
    }
}

/// Round `round` of 1 to `KEYS - 2`.
#[inline(always)]
pub(super) fn middle_round<V: Vector, const KEYS: usize>(
    unit: V,
    keys: &RoundKeys<KEYS>,
    round: usize,
    blocks: &mut [V::Register],
) {
    let key = unit.splat(&keys.0[round]);
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
    let key = unit.splat(&keys.0[KEYS - 1]);
    for block in blocks {
        *block = unit.last_round(*block, key);
    }
}

/// The next counter block: a big-endian number of 128 bits. GCM counts in the low 32 bits alone; no text is long enough
/// (64 GiB) for the difference to show.
pub(super) struct Counter(u128);

impl Counter {
    #[inline(always)]
    pub(super) fn new(first: &Block) -> Self {
        Self(u128::from_be_bytes(*first))
    }

    /// The next `N` registers of counter blocks, ready to encrypt.
    #[inline(always)]
    pub(super) fn blocks<V: Vector, const N: usize>(&mut self, unit: V) -> [V::Register; N] {
        let first = self.0;
        let mut blocks = [unit.zero(); N];
        let count = (N * V::BLOCKS) as u64;
        self.0 = first.wrapping_add(count.into());
        if (first as u64).checked_add(count).is_some() {
            let mut counter = unit.count_from(first);
            for block in &mut blocks {
                *block = unit.reverse(counter);
                counter = unit.add(counter, V::BLOCKS as u64);
            }
        } else {
            // The low half wraps among these: rare, and never in SRTP, whose IV ends in 16 zero bits.
            for (index, block) in (0..).zip(&mut blocks) {
                *block = wrapping(unit, first.wrapping_add(index * V::BLOCKS as u128));
            }
        }
        blocks
    }
}

/// A register of counter blocks from `first` on, by way of memory.
#[cold]
#[inline(never)]
fn wrapping<V: Vector>(unit: V, first: u128) -> V::Register {
    let mut blocks = [[0; 16]; FLIGHT];
    for (index, block) in (0..).zip(&mut blocks) {
        *block = first.wrapping_add(index).to_be_bytes();
    }
    unit.load(&blocks)
}
