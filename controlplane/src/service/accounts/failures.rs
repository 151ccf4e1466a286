//! Failed sign-ins, as the audit log has them: the first of an account from a network at once, then one line a minute that says how
//! many it stands for. Whoever guesses writes little, however much and from wherever.
//!
//! Sans-IO: the time is an argument. What was not written when the guessing stops, and when the server does, is not in the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::throttle::Network;
use crate::ids::UserId;

/// From one line about an account and a network to the next.
const PAUSE: Duration = Duration::from_secs(60);
/// Lines an hour in all: with 300 B each, 4.3 MB a day at most.
const LINES_PER_HOUR: u32 = 600;
const HOUR: Duration = Duration::from_secs(3_600);
/// Pairs of accounts and networks that are told apart: 4,096 x 80 B. Beyond them everybody is somebody who failed once.
const PAIRS_MAX: usize = 4_096;

/// The account that was tried, if there is one, and from where.
pub type Pair = (Option<UserId>, Network);

struct Seen {
    written_at: Instant,
    unwritten: u32,
}

/// See the module.
#[derive(Default)]
pub struct Failures {
    known: HashMap<Pair, Seen>,
    hour: Option<(Instant, u32)>,
}

impl Failures {
    /// Counts a failure; how many the line stands for that is to be written now, if one is.
    pub fn count(&mut self, pair: Pair, now: Instant) -> Option<u32> {
        if self.known.len() >= PAIRS_MAX && !self.known.contains_key(&pair) {
            self.known.retain(|_, seen| now.saturating_duration_since(seen.written_at) < PAUSE);
        }
        let due =
            self.known.get(&pair).is_none_or(|seen| now.saturating_duration_since(seen.written_at) >= PAUSE);
        let written = due && self.take_line(now);
        let unwritten = self.known.get(&pair).map_or(0, |seen| seen.unwritten).saturating_add(1);
        let is_new = !self.known.contains_key(&pair);
        if !is_new || (self.known.len() < PAIRS_MAX && written) {
            let seen = self.known.entry(pair).or_insert(Seen { written_at: now, unwritten: 0 });
            seen.unwritten = if written { 0 } else { unwritten };
            if written {
                seen.written_at = now;
            }
        }
        written.then_some(unwritten)
    }

    fn take_line(&mut self, now: Instant) -> bool {
        let fresh = |(begun, _): &(Instant, u32)| now.saturating_duration_since(*begun) < HOUR;
        let (begun, lines) = self.hour.filter(fresh).unwrap_or((now, 0));
        let may = lines < LINES_PER_HOUR;
        self.hour = Some((begun, lines + u32::from(may)));
        may
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn pair(n: u32) -> Pair {
        (None, IpAddr::from(n.to_be_bytes()).into())
    }

    #[test]
    fn the_first_is_written_at_once_and_the_others_together() {
        let mut failures = Failures::default();
        let start = Instant::now();
        assert_eq!(failures.count(pair(1), start), Some(1));
        for n in 0..40 {
            assert_eq!(failures.count(pair(1), start + Duration::from_secs(n)), None);
        }
        assert_eq!(failures.count(pair(2), start), Some(1), "others have lines of their own");
        assert_eq!(failures.count(pair(1), start + PAUSE), Some(41));
        assert_eq!(failures.count(pair(1), start + PAUSE), None);
        assert_eq!(failures.count(pair(1), start + 2 * PAUSE), Some(2));
    }

    #[test]
    fn lines_and_memory_are_bounded_whoever_guesses_from_wherever() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let mut lines = 0;
        for n in 0..50_000 {
            lines +=
                u32::from(failures.count(pair(n), start + Duration::from_millis(u64::from(n))).is_some());
        }
        assert_eq!(lines, LINES_PER_HOUR);
        assert!(failures.known.len() <= PAIRS_MAX);
        assert_eq!(failures.count(pair(60_000), start + HOUR), Some(1), "the next hour has its own");
    }
}
