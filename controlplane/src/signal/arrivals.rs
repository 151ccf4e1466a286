//! How many sessions over HTTP may begin in each meeting: an allowance that outlives the room, which ends with its last session.
//!
//! Bounds: [`MEETINGS_MAX`] meetings have an allowance of their own, each for as long as it is not whole again; all beyond them
//! share one. Time is an argument.

use std::collections::HashMap;

use dataplane::base::ids::MeetingId;
use dataplane::base::rate::RateLimit;
use dataplane::base::time::Micros;

/// Sessions of one meeting that may begin, per second and at once: a hundred cameras that come back after a power cut.
const ARRIVALS: (u32, u32) = (10, 100);
/// After this long without an arrival an allowance is as good as new.
const WHOLE_US: u64 = ARRIVALS.1 as u64 * 1_000_000 / ARRIVALS.0 as u64;
/// Meetings with an allowance of their own: 4,096 x 64 B = 256 KiB.
const MEETINGS_MAX: usize = 4_096;

struct Allowance {
    left: RateLimit,
    asked: Micros,
}

/// See the module.
pub struct Arrivals {
    meetings: HashMap<MeetingId, Allowance>,
    others: RateLimit,
    /// When those that are whole again are next looked for.
    expire_at: Micros,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { meetings: HashMap::new(), others: full(), expire_at: Micros(0) }
    }
}

const fn full() -> RateLimit {
    RateLimit::new(ARRIVALS.0, ARRIVALS.1)
}

impl Arrivals {
    /// Whether one more session of a meeting may begin now. One that may is counted.
    pub fn take(&mut self, now: Micros, meeting: MeetingId) -> bool {
        if now >= self.expire_at {
            self.expire_at = Micros(now.0 + WHOLE_US);
            self.meetings.retain(|_, allowance| now.since_us(allowance.asked) < WHOLE_US);
        }
        if self.meetings.len() >= MEETINGS_MAX && !self.meetings.contains_key(&meeting) {
            return self.others.take(now);
        }
        let allowance = self.meetings.entry(meeting).or_insert(Allowance { left: full(), asked: now });
        allowance.asked = now;
        allowance.left.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(arrivals: &mut Arrivals, now: Micros, meeting: u64, asked: usize) -> usize {
        (0..asked).filter(|_| arrivals.take(now, MeetingId(meeting))).count()
    }

    #[test]
    fn each_meeting_has_its_own_allowance_and_gets_it_back_in_time_only() {
        let mut arrivals = Arrivals::default();
        let start = Micros(7);
        assert_eq!(begun(&mut arrivals, start, 1, 200), 100);
        assert_eq!(begun(&mut arrivals, start, 2, 200), 100);
        assert_eq!(begun(&mut arrivals, start.after_ms(1_000), 1, 200), 10);
        assert_eq!(begun(&mut arrivals, start.after_ms(60_000), 1, 200), 100);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_only_what_is_whole() {
        let mut arrivals = Arrivals::default();
        let start = Micros(7);
        assert!(arrivals.take(start, MeetingId(1)), "what is whole again is looked for ten seconds from now");
        assert_eq!(begun(&mut arrivals, start.after_ms(9_999), 1, 200), 100);
        for meeting in 2..20_000 {
            arrivals.take(start.after_ms(9_999), MeetingId(meeting));
        }
        assert_eq!(arrivals.meetings.len(), MEETINGS_MAX);
        assert_eq!(begun(&mut arrivals, start.after_ms(9_999), 30_000, 200), 0, "what the others left");
        assert_eq!(begun(&mut arrivals, start.after_ms(11_000), 1, 200), 10, "nobody is forgotten early");
        arrivals.take(start.after_ms(60_000), MeetingId(1));
        assert_eq!(arrivals.meetings.len(), 1);
    }
}
