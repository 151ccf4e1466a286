//! AES over any vector width: key expansion, several registers in flight, and counter blocks.

use super::Aesni;
use super::vector::Vector;
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

/// The next counter blocks: big-endian numbers of 128 bits that do not wrap in their low half. GCM counts in the low 32 bits
/// and no text is long enough (64 GiB) to wrap them; whoever starts elsewhere asks [`Counter::new`] first.
pub(super) struct Counter(u128);

impl Counter {
    /// From `first` on, if `count` blocks leave the high half as it is.
    #[inline(always)]
    pub(super) fn new(first: u128, count: usize) -> Option<Self> {
        (first as u64).checked_add(count as u64)?;
        Some(Self(first))
    }

    /// Count 2 of GCM, whose block encrypts the first of the text, and count 1, whose block masks the tag (SP 800-38D 7.1).
    #[inline(always)]
    pub(super) fn gcm(iv: &[u8; 12]) -> (Self, u128) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *iv;
        let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let low = u64::from(u32::from_be_bytes([i, j, k, l])) << 32;
        let zero = u128::from(high) << 64 | u128::from(low);
        (Self(zero | 2), zero | 1)
    }

    /// The next `N` registers of counter blocks, ready to encrypt. `N` registers are at most a step beyond the count that
    /// was asked for, whose excess is not used: it may wrap.
    #[inline(always)]
    pub(super) fn blocks<V: Vector, const N: usize>(&mut self, unit: V) -> [V::Register; N] {
        let mut blocks = [unit.zero(); N];
        let mut counter = unit.count_from(self.0);
        for block in &mut blocks {
            *block = unit.reverse(counter);
            counter = unit.add(counter, V::BLOCKS as u64);
        }
        self.0 = self.0.wrapping_add((N * V::BLOCKS) as u128);
        blocks
    }
}
