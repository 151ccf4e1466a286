//! Replay protection (RFC 3711 section 3.3.2): which indices of one stream were already taken.
//!
//! Promises: `check` changes nothing; only `commit`, called after authentication, does. The window is `WORDS` x 64 indices wide.

/// A sliding window of taken indices below and at the highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    /// Highest index taken.
    highest: u64,
    /// Bit `index % (WORDS x 64)` says that the index, within the window, was taken.
    taken: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// How many indices the window spans.
    pub(super) const INDICES: u64 = WORDS as u64 * 64;

    /// The window after a stream's first packet.
    pub(super) const fn starting_at(index: u64) -> Self {
        let mut window = Self { highest: index, taken: [0; WORDS] };
        window.mark(index);
        window
    }

    /// The window of a stream that was put away: nothing up to `highest` is new.
    pub(super) const fn resumed_at(highest: u64) -> Self {
        Self { highest, taken: [u64::MAX; WORDS] }
    }

    /// Highest index taken.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` is new and not older than the window.
    pub(super) const fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let (word, bit) = Self::place(index);
        self.highest - index < Self::INDICES && self.taken[word] & bit == 0
    }

    /// Takes an authenticated index for which [`Self::is_new`] held.
    pub(super) fn commit(&mut self, index: u64) {
        if index > self.highest {
            // What falls out of the window frees its bits for what comes in.
            if index - self.highest >= Self::INDICES {
                self.taken = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    let (word, bit) = Self::place(skipped);
                    self.taken[word] &= !bit;
                }
            }
            self.highest = index;
        }
        self.mark(index);
    }

    const fn mark(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.taken[word] |= bit;
    }

    const fn place(index: u64) -> (usize, u64) {
        ((index / 64) as usize % WORDS, 1 << (index % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn the_window_equals_a_set_that_remembers_everything() {
        let mut rng = Rng::new(20);
        for _ in 0..50 {
            let mut now = rng.below(1_000);
            let mut window = ReplayWindow::<2>::starting_at(now);
            let mut seen = BTreeSet::from([now]);
            for _ in 0..2_000 {
                let step = if rng.chance_ppm(10_000) { rng.below(400) } else { rng.below(4) };
                let index = (now + step).saturating_sub(rng.below(160));
                let highest = *seen.last().expect("never empty");
                let expected = index > highest || (highest - index < 128 && !seen.contains(&index));
                assert_eq!(window.is_new(index), expected, "{index} with highest {highest}");
                if expected {
                    window.commit(index);
                    seen.insert(index);
                }
                now = now.max(index);
                assert_eq!(window.highest(), *seen.last().expect("never empty"));
            }
        }
    }

    #[test]
    fn checking_changes_nothing() {
        let window = ReplayWindow::<16>::starting_at(5);
        assert!(window.is_new(6) && window.is_new(6) && !window.is_new(5) && window.is_new(4));
        assert_eq!(ReplayWindow::<16>::INDICES, 1_024);
        let mut resumed = ReplayWindow::<2>::resumed_at(500);
        assert!((300..=500).all(|index| !resumed.is_new(index)));
        resumed.commit(503);
        assert!(resumed.is_new(501) && resumed.is_new(502) && !resumed.is_new(500));
    }
}
