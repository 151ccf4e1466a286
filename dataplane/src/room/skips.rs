//! Numbers left out of a run: how a stream stays continuous for its receiver although temporal or spatial layers are dropped.
//!
//! Place: one window for packets and one for pictures in each run of `rewrite`. A number is skipped when its packet arrives and
//! is not selected; numbers are given at release, when every earlier decision is known.
//! Promises: O(words) for every question; a number that was asked about keeps its answer, because nothing behind a number that
//! left is skipped any more (the caller's promise); what is older than the window has no answer instead of a wrong one.
//! Memory: 8 B for each 64 numbers and two words.

/// A window of the last 64 x `WORDS` numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skips<const WORDS: usize> {
    /// Bit `n % (64 x WORDS)`: number `n` was skipped.
    bits: [u64; WORDS],
    /// Highest number the window knows of.
    newest: u64,
    /// Numbers skipped since the beginning.
    total: u64,
}

impl<const WORDS: usize> Skips<WORDS> {
    const SPAN: u64 = 64 * WORDS as u64;

    /// A window that begins at `first`, which is not skipped.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { bits: [0; WORDS], newest: first, total: 0 }
    }

    /// Highest number the window knows of.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// How many numbers were skipped.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Skips a number; one that is skipped already, or older than the window, stays as it is.
    pub fn skip(&mut self, number: u64) {
        if number > self.newest {
            self.clear(self.newest + 1, number);
            self.newest = number;
        } else if self.newest - number >= Self::SPAN || self.is_skipped(number) {
            return;
        }
        self.bits[Self::word(number)] |= Self::bit(number);
        self.total += 1;
    }

    /// How many numbers below `number` were skipped; `None` when it is skipped itself or older than the window.
    #[must_use]
    pub fn before(&self, number: u64) -> Option<u64> {
        if number > self.newest {
            return Some(self.total);
        }
        if self.newest - number >= Self::SPAN || self.is_skipped(number) {
            return None;
        }
        Some(self.total - self.between(number, self.newest))
    }

    /// The number that is not skipped and has `rank` numbers from `first` on before it that are not either. `None` when it is
    /// older than the window.
    #[must_use]
    pub fn at_rank(&self, first: u64, rank: u64) -> Option<u64> {
        let kept = self.newest + 1 - first - self.total;
        if rank >= kept {
            return Some(self.newest + 1 + (rank - kept));
        }
        let oldest = (self.newest + 1).saturating_sub(Self::SPAN).max(first);
        // Rank grows with the number: the lowest number that has at least this rank behind it.
        let (mut low, mut high) = (oldest, self.newest);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.kept_through(first, middle) > rank { high = middle } else { low = middle + 1 }
        }
        (!self.is_skipped(low) && self.kept_through(first, low) == rank + 1).then_some(low)
    }

    /// Numbers from `first` through `number`, which lies in the window, that are not skipped.
    fn kept_through(&self, first: u64, number: u64) -> u64 {
        number + 1 - first - (self.total - self.between(number, self.newest))
    }

    /// Skipped numbers above `after` up to `end`; both lie in the window.
    fn between(&self, after: u64, end: u64) -> u64 {
        let mut count = 0;
        let mut at = after + 1;
        while at <= end {
            let through = (at | 63).min(end);
            let mask = (u64::MAX >> (63 - (through - at))) << (at % 64);
            count += u64::from((self.bits[Self::word(at)] & mask).count_ones());
            at = through + 1;
        }
        count
    }

    fn clear(&mut self, from: u64, through: u64) {
        if through - from >= Self::SPAN {
            self.bits = [0; WORDS];
            return;
        }
        for number in from..=through {
            self.bits[Self::word(number)] &= !Self::bit(number);
        }
    }

    fn is_skipped(&self, number: u64) -> bool {
        self.bits[Self::word(number)] & Self::bit(number) != 0
    }

    const fn word(number: u64) -> usize {
        (number / 64) as usize % WORDS
    }

    const fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_close_up_behind_those_left_out() {
        let mut skips = Skips::<2>::new(10);
        skips.skip(11);
        skips.skip(13);
        skips.skip(13);
        assert_eq!(
            [10, 11, 12, 13, 14, 99].map(|n| skips.before(n)),
            [Some(0), None, Some(1), None, Some(2), Some(2)]
        );
        assert_eq!(skips.at_rank(10, 0), Some(10));
        assert_eq!(skips.at_rank(10, 1), Some(12));
        assert_eq!(skips.at_rank(10, 2), Some(14), "above the newest number known");
    }

    #[test]
    fn what_is_older_than_the_window_has_no_answer() {
        let mut skips = Skips::<1>::new(0);
        skips.skip(5);
        skips.skip(100);
        assert_eq!((skips.before(36), skips.before(37)), (None, Some(1)));
        skips.skip(3);
        assert_eq!(skips.before(101), Some(2), "too old to be skipped");
        skips.skip(10_000);
        assert_eq!((skips.before(9_999), skips.before(10_001)), (Some(2), Some(3)));
    }

    #[test]
    fn answers_equal_those_of_a_plain_set() {
        let mut rng = Rng::new(77);
        for _ in 0..50 {
            let first = rng.below(1_000);
            let mut skips = Skips::<4>::new(first);
            let mut set = BTreeSet::new();
            let mut head = first;
            for _ in 0..600 {
                head += 1 + rng.below(3);
                let number = head - rng.below(5).min(head - first - 1);
                if number > first {
                    skips.skip(number);
                    set.insert(number);
                }
            }
            for number in skips.newest().saturating_sub(255).max(first)..=skips.newest() {
                let expected = (!set.contains(&number)).then(|| set.range(..number).count() as u64);
                assert_eq!(skips.before(number), expected);
                if let Some(skipped) = expected {
                    assert_eq!(skips.at_rank(first, number - first - skipped), Some(number));
                }
            }
        }
    }
}
