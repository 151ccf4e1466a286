//! How many sessions over HTTP may begin in each meeting, and by each person in it: allowances that outlive the room, which ends with
//! its last session. Nobody can use up what the others of a meeting have.
//!
//! Bounds: [`MEETINGS_MAX`] meetings and [`PEOPLE_MAX`] people have an allowance of their own, each for as long as it is not whole
//! again; all beyond them share one. Time is an argument.

use std::collections::HashMap;
use std::hash::Hash;

use dataplane::base::ids::MeetingId;
use dataplane::base::rate::RateLimit;
use dataplane::base::time::Micros;

use crate::ids::UserId;

/// Sessions of one meeting that may begin, per second and at once: a hundred cameras that come back after a power cut.
const OF_A_MEETING: (u32, u32) = (10, 100);
/// The same of one person in it: an encoder that tries again and again.
const OF_A_PERSON: (u32, u32) = (2, 20);
/// After this long without an arrival every allowance is as good as new.
const WHOLE_US: u64 = 10_000_000;
const _: () = assert!(
    OF_A_MEETING.1 as u64 * 1_000_000 <= WHOLE_US * OF_A_MEETING.0 as u64
        && OF_A_PERSON.1 as u64 * 1_000_000 <= WHOLE_US * OF_A_PERSON.0 as u64,
    "they are whole again by then"
);
/// Meetings with an allowance of their own: 4,096 x 64 B = 256 KiB.
const MEETINGS_MAX: usize = 4_096;
/// People with one: 16,384 x 64 B = 1 MiB.
const PEOPLE_MAX: usize = 16_384;

/// Allowances of one kind.
struct Allowances<K> {
    of_each: (u32, u32),
    count_max: usize,
    known: HashMap<K, Allowance>,
    others: RateLimit,
}

struct Allowance {
    left: RateLimit,
    asked: Micros,
}

impl<K: Hash + Eq> Allowances<K> {
    fn new(of_each: (u32, u32), count_max: usize) -> Self {
        let others = RateLimit::new(of_each.0, of_each.1);
        Self { of_each, count_max, known: HashMap::new(), others }
    }

    fn take(&mut self, now: Micros, key: K) -> bool {
        if self.known.len() >= self.count_max && !self.known.contains_key(&key) {
            return self.others.take(now);
        }
        let (rate, burst) = self.of_each;
        let fresh = || Allowance { left: RateLimit::new(rate, burst), asked: now };
        let allowance = self.known.entry(key).or_insert_with(fresh);
        allowance.asked = now;
        allowance.left.take(now)
    }

    fn expire(&mut self, now: Micros) {
        self.known.retain(|_, allowance| now.since_us(allowance.asked) < WHOLE_US);
    }
}

/// See the module.
pub struct Arrivals {
    meetings: Allowances<MeetingId>,
    people: Allowances<(MeetingId, UserId)>,
    /// When those that are whole again are next looked for.
    expire_at: Micros,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            meetings: Allowances::new(OF_A_MEETING, MEETINGS_MAX),
            people: Allowances::new(OF_A_PERSON, PEOPLE_MAX),
            expire_at: Micros(0),
        }
    }
}

impl Arrivals {
    /// Whether one more session of a person may begin in a meeting now. One that may is counted; one that is too many for the person
    /// takes nothing from the meeting.
    pub fn take(&mut self, now: Micros, meeting: MeetingId, person: UserId) -> bool {
        if now >= self.expire_at {
            self.expire_at = Micros(now.0 + WHOLE_US);
            self.meetings.expire(now);
            self.people.expire(now);
        }
        self.people.take(now, (meeting, person)) && self.meetings.take(now, meeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that begin when each of so many people asks ten times.
    fn begun(arrivals: &mut Arrivals, now: Micros, meeting: u64, people: u64) -> usize {
        let asked = (0..people).flat_map(|person| [person; 10]);
        asked.filter(|person| arrivals.take(now, MeetingId(meeting), UserId(*person))).count()
    }

    #[test]
    fn each_meeting_has_its_own_allowance_and_gets_it_back_in_time_only() {
        let mut arrivals = Arrivals::default();
        let start = Micros(7);
        assert_eq!(begun(&mut arrivals, start, 1, 20), 100);
        assert_eq!(begun(&mut arrivals, start, 2, 20), 100);
        assert_eq!(begun(&mut arrivals, start.after_ms(1_000), 1, 20), 10);
        assert_eq!(begun(&mut arrivals, start.after_ms(60_000), 1, 20), 100);
    }

    #[test]
    fn one_person_leaves_the_others_their_share() {
        let mut arrivals = Arrivals::default();
        let start = Micros(7);
        let mut taken = |now, person| arrivals.take(now, MeetingId(1), UserId(person));
        assert_eq!((0..500).filter(|_| taken(start, 1)).count(), 20);
        assert_eq!((0..500).filter(|_| taken(start.after_ms(1_000), 1)).count(), 2);
        assert_eq!((2..10).filter(|person| taken(start.after_ms(1_000), *person)).count(), 8);
    }

    #[test]
    fn the_tables_are_bounded_and_forget_only_what_is_whole() {
        let mut arrivals = Arrivals::default();
        let start = Micros(7);
        assert_eq!(begun(&mut arrivals, start, 1, 0), 0);
        assert!(arrivals.take(start, MeetingId(1), UserId(0)), "the next search is ten seconds from now");
        assert_eq!(begun(&mut arrivals, start.after_ms(9_999), 1, 20), 100);
        for meeting in 2..30_000 {
            arrivals.take(start.after_ms(9_999), MeetingId(meeting), UserId(1));
        }
        assert_eq!(arrivals.meetings.known.len(), MEETINGS_MAX);
        assert_eq!(arrivals.people.known.len(), PEOPLE_MAX);
        assert_eq!(begun(&mut arrivals, start.after_ms(9_999), 40_000, 20), 0, "what the others left");
        assert_eq!(begun(&mut arrivals, start.after_ms(11_000), 1, 20), 10, "nobody is forgotten early");
        arrivals.take(start.after_ms(60_000), MeetingId(1), UserId(1));
        assert_eq!((arrivals.meetings.known.len(), arrivals.people.known.len()), (1, 1));
    }
}
