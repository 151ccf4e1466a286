//! Points for what no honest client does, per network. Who gathers many in a short time is refused for a while, everybody else
//! never notices.
//!
//! Sans-IO: the time is an argument. Points wear off by [`FORGIVEN_PER_SECOND`]; at [`PENALTY_AT`] a penalty of [`PENALTY`] begins,
//! during which nothing is counted, so it has an end whatever comes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Network;

/// Points at which it is enough: ten requests of a scanner, or two hundred addresses that lead nowhere.
const PENALTY_AT: f64 = 200.0;
const FORGIVEN_PER_SECOND: f64 = 2.0;
/// Long enough to make scanning pointless, short enough for whoever shares the address.
const PENALTY: Duration = Duration::from_secs(60);
/// Networks remembered: 16 Ki x 64 B = 1 MiB. When it is full, more are not watched until some are forgiven.
const NETWORKS_MAX: usize = 16 * 1_024;

struct Record {
    points: f64,
    at: Instant,
    until: Option<Instant>,
}

impl Record {
    fn points_at(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.points - since * FORGIVEN_PER_SECOND).max(0.0)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now) && self.points_at(now) <= 0.0
    }
}

/// All networks with points.
#[derive(Default)]
pub struct Mischief(HashMap<Network, Record>);

impl Mischief {
    /// Seconds that are left of a network's penalty, if it has one.
    #[must_use]
    pub fn penalty(&self, network: Network, now: Instant) -> Option<u64> {
        let until = self.0.get(&network)?.until.filter(|until| *until > now)?;
        Some((until - now).as_secs() + 1)
    }

    /// Adds points to a network.
    pub fn add(&mut self, network: Network, points: u32, now: Instant) {
        if self.penalty(network, now).is_some() {
            return;
        }
        if self.0.len() >= NETWORKS_MAX && !self.0.contains_key(&network) {
            self.0.retain(|_, record| !record.is_over(now));
            if self.0.len() >= NETWORKS_MAX {
                return;
            }
        }
        let record = self.0.entry(network).or_insert(Record { points: 0.0, at: now, until: None });
        record.points = record.points_at(now) + f64::from(points);
        (record.at, record.until) = (now, None);
        if record.points >= PENALTY_AT {
            record.until = Some(now + PENALTY);
            // It is paid for.
            record.points = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(n: u32) -> Network {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn many_points_in_a_short_time_are_a_penalty_that_ends() {
        let mut mischief = Mischief::default();
        let start = Instant::now();
        for _ in 0..9 {
            mischief.add(network(1), 20, start);
        }
        assert_eq!(mischief.penalty(network(1), start), None);
        mischief.add(network(1), 20, start);
        assert_eq!(mischief.penalty(network(1), start), Some(61));
        assert_eq!(mischief.penalty(network(2), start), None);
        // Going on does not make it longer.
        let later = start + Duration::from_secs(59);
        mischief.add(network(1), 1_000, later);
        assert_eq!(mischief.penalty(network(1), later), Some(2));
        assert_eq!(mischief.penalty(network(1), start + PENALTY), None);
        mischief.add(network(1), 20, start + PENALTY);
        assert_eq!(mischief.penalty(network(1), start + PENALTY), None, "it begins anew");
    }

    #[test]
    fn who_mistypes_now_and_then_is_never_refused() {
        let mut mischief = Mischief::default();
        let start = Instant::now();
        for second in 0..10_000 {
            let now = start + Duration::from_secs(second);
            mischief.add(network(1), 2, now);
            assert_eq!(mischief.penalty(network(1), now), None);
        }
    }

    #[test]
    fn memory_is_bounded_and_the_forgiven_make_room() {
        let mut mischief = Mischief::default();
        let start = Instant::now();
        for n in 0..20_000 {
            mischief.add(network(n), 20, start);
        }
        assert_eq!(mischief.0.len(), NETWORKS_MAX);
        let later = start + Duration::from_secs(11);
        mischief.add(network(50_000), 20, later);
        assert_eq!(mischief.0.len(), 1);
    }
}
