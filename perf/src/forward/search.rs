//! The highest rate that holds.

use anyhow::{Result, bail};

/// Runs of a search: the rate doubles until it breaks, then four halvings find it to 6 %.
const RUNS_MAX: usize = 16;

/// Whether a run held its rate.
pub trait Holds {
    /// At most one packet in a thousand lost, and in time.
    fn holds(&self) -> bool;
}

/// Doubles from `first` until a run does not hold, then halves the gap to one or to 6 %. Answers the best run that held.
pub fn highest<T: Holds>(first: u32, mut run: impl FnMut(u32) -> Result<T>) -> Result<T> {
    let mut low = first;
    let mut held = run(low)?;
    if !held.holds() {
        bail!("not even {first} holds: begin lower");
    }
    let mut broken: Option<u32> = None;
    for _ in 0..RUNS_MAX {
        let next = match broken {
            None => low.saturating_mul(2),
            Some(high) if high <= low + (low / 16).max(1) => break,
            Some(high) => low + (high - low) / 2,
        };
        let report = run(next)?;
        if report.holds() {
            (held, low) = (report, next);
        } else {
            broken = Some(next);
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Probe(u32, u32);

    impl Holds for Probe {
        fn holds(&self) -> bool {
            self.0 <= self.1
        }
    }

    #[test]
    fn the_limit_is_found_to_six_percent_and_small_numbers_exactly() {
        for limit in [1, 2, 3, 7, 15, 16, 17, 100, 999, 12_345] {
            let mut runs = 0;
            let found = highest(1, |rate| {
                runs += 1;
                Ok(Probe(rate, limit))
            });
            let found = found.expect("one holds").0;
            assert!(found <= limit && limit - found <= limit / 16, "{limit}: {found}");
            assert!(runs <= RUNS_MAX + 1);
        }
        assert!(highest(5, |rate| Ok(Probe(rate, 4))).is_err());
    }
}
