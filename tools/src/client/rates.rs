//! Received bytes over time, in steps of 100 ms.
//!
//! Memory: the last two minutes, 1,200 x 4 B. Not here: what was sent (`dataplane::io::sim` and the test's own meter).

use std::collections::VecDeque;

use dataplane::base::time::Micros;

/// One step.
pub const STEP_US: u64 = 100_000;
const STEPS_MAX: usize = 1_200;

/// Bytes by step.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Number of the first step in the list.
    first: u64,
    steps: VecDeque<u32>,
}

impl Rates {
    /// Counts bytes at `now`, which never goes back.
    pub fn insert(&mut self, now: Micros, bytes: usize) {
        let step = now.0 / STEP_US;
        if self.steps.is_empty() {
            self.first = step;
        }
        while self.first + (self.steps.len() as u64) <= step {
            self.steps.push_back(0);
            if self.steps.len() > STEPS_MAX {
                self.steps.pop_front();
                self.first += 1;
            }
        }
        if let Some(last) = self.steps.back_mut() {
            *last = last.saturating_add(bytes as u32);
        }
    }

    /// Bytes of each step from `from` on, silent ones included, as far as there was anything.
    pub fn since(&self, from: Micros) -> impl Iterator<Item = u32> + '_ {
        let skipped = (from.0 / STEP_US).saturating_sub(self.first);
        self.steps.iter().copied().skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// Mean bits per second between two moments that are whole steps.
    #[must_use]
    pub fn mean_bps(&self, from: Micros, to: Micros) -> u64 {
        let steps = (to.0 / STEP_US).saturating_sub(from.0 / STEP_US);
        // Before the first step there was nothing.
        let early = self.first.saturating_sub(from.0 / STEP_US).min(steps);
        let bytes: u64 = self.since(from).take((steps - early) as usize).map(u64::from).sum();
        (bytes * 8 * 1_000_000).checked_div(steps * STEP_US).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_fall_into_their_steps() {
        let mut rates = Rates::default();
        for (at_ms, bytes) in [(250, 10), (299, 5), (300, 1), (700, 2)] {
            rates.insert(Micros(0).after_ms(at_ms), bytes);
        }
        assert_eq!(rates.since(Micros(0)).collect::<Vec<_>>(), [15, 1, 0, 0, 0, 2]);
        assert_eq!(rates.since(Micros(600_000)).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(rates.mean_bps(Micros(0), Micros(800_000)), 18 * 10);
        assert_eq!(rates.mean_bps(Micros(300_000), Micros(400_000)), 80);
        assert_eq!(rates.mean_bps(Micros(900_000), Micros(1_000_000)), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut rates = Rates::default();
        (0..10_000).for_each(|n| rates.insert(Micros(n * STEP_US), 1));
        assert_eq!(rates.since(Micros(0)).count(), STEPS_MAX);
        assert_eq!(rates.mean_bps(Micros(9_990 * STEP_US), Micros(10_000 * STEP_US)), 80);
    }
}
