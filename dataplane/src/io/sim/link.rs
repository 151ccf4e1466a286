//! One direction of a simulated link: rate, delay, jitter, loss, bursts, reordering, duplication.
//!
//! Promises: what happens to the n-th datagram depends on the seed, the datagrams before it and their times, and on nothing else.

use std::collections::VecDeque;

use crate::base::rng::Rng;
use crate::base::time::Micros;

/// How a link treats datagrams. The default is perfect and instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkConfig {
    /// Bits per second; 0 is no limit.
    pub rate_bps: u64,
    /// Longest time a datagram waits for the link, microseconds; what would wait longer is lost. 0 is no limit.
    pub queue_us_max: u64,
    /// Propagation delay, microseconds.
    pub delay_us: u64,
    /// Up to this much more delay per datagram, microseconds; order is kept.
    pub jitter_us: u64,
    /// Lost datagrams, parts per million.
    pub loss_ppm: u32,
    /// A burst of losses begins, parts per million of datagrams.
    pub burst_ppm: u32,
    /// Datagrams that a burst takes.
    pub burst_datagrams: u32,
    /// Datagrams that are overtaken by later ones, parts per million.
    pub reorder_ppm: u32,
    /// How much later those come, microseconds.
    pub reorder_us: u64,
    /// Datagrams that come twice, parts per million.
    pub duplicate_ppm: u32,
}

/// What a link did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkCounts {
    /// Datagrams put in.
    pub sent: u64,
    /// Datagrams lost, for whatever reason.
    pub lost: u64,
    /// Datagrams that came twice.
    pub duplicated: u64,
    /// Datagrams held back so that later ones overtake them.
    pub reordered: u64,
}

/// One direction.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    /// When the last bit of the queue leaves.
    free_at: Micros,
    /// The latest arrival so far, which jitter does not undercut.
    latest: Micros,
    burst_left: u32,
    /// What waits for the link: when its last bit leaves, and its bytes.
    waiting: VecDeque<(Micros, usize)>,
    counts: LinkCounts,
}

impl Link {
    /// A link that behaves as `config` says and as `seed` decides.
    #[must_use]
    pub const fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            free_at: Micros(0),
            latest: Micros(0),
            burst_left: 0,
            waiting: VecDeque::new(),
            counts: LinkCounts { sent: 0, lost: 0, duplicated: 0, reordered: 0 },
        }
    }

    /// Changes how the link behaves from now on.
    pub const fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Puts a datagram in: when it arrives, and when its copy does.
    pub fn pass(&mut self, now: Micros, bytes: usize) -> [Option<Micros>; 2] {
        self.counts.sent += 1;
        let config = self.config;
        // Every draw is made for every datagram, so that one setting does not shift the luck of another.
        let [lost, burst, reordered, duplicated] =
            [config.loss_ppm, config.burst_ppm, config.reorder_ppm, config.duplicate_ppm]
                .map(|parts| self.rng.chance_ppm(parts));
        let jitter = self.rng.below(config.jitter_us + 1);
        if burst {
            self.burst_left = config.burst_datagrams;
        }
        let in_burst = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        let starts = self.free_at.max(now);
        let full = config.queue_us_max > 0 && starts.since_us(now) > config.queue_us_max;
        if lost || in_burst || full {
            self.counts.lost += 1;
            return [None, None];
        }
        let takes_us = (bytes as u64 * 8_000_000).checked_div(config.rate_bps).unwrap_or(0);
        self.free_at = starts.after_us(takes_us);
        while self.waiting.front().is_some_and(|(leaves, _)| *leaves <= now) {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.free_at, bytes));
        let mut at = self.free_at.after_us(config.delay_us + jitter);
        if reordered {
            self.counts.reordered += 1;
            at = at.after_us(config.reorder_us);
        } else {
            at = at.max(self.latest);
            self.latest = at;
        }
        self.counts.duplicated += u64::from(duplicated);
        [Some(at), duplicated.then(|| at.after_us(config.delay_us / 2))]
    }

    /// Nothing that is put in leaves before `until`.
    pub fn stall(&mut self, until: Micros) {
        self.free_at = self.free_at.max(until);
    }

    /// Bytes that have not left yet.
    #[must_use]
    pub fn waiting_bytes(&self, now: Micros) -> usize {
        self.waiting.iter().filter(|(leaves, _)| *leaves > now).map(|(_, bytes)| bytes).sum()
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> LinkCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: LinkConfig, seed: u64) -> (Vec<[Option<Micros>; 2]>, LinkCounts) {
        let mut link = Link::new(config, seed);
        let arrivals = (0..10_000).map(|n| link.pass(Micros(n * 1_000), 1_000)).collect();
        (arrivals, link.counts())
    }

    #[test]
    fn a_perfect_link_delivers_at_once() {
        let (arrivals, counts) = run(LinkConfig::default(), 1);
        assert!(arrivals.iter().enumerate().all(|(n, at)| *at == [Some(Micros(n as u64 * 1_000)), None]));
        assert_eq!(counts.lost, 0);
    }

    #[test]
    fn faults_come_at_their_rates_and_from_the_seed() {
        let config = LinkConfig {
            loss_ppm: 20_000,
            duplicate_ppm: 10_000,
            reorder_ppm: 10_000,
            reorder_us: 5_000,
            jitter_us: 500,
            delay_us: 20_000,
            ..LinkConfig::default()
        };
        let (arrivals, counts) = run(config, 1);
        assert!((150..250).contains(&counts.lost), "{counts:?}");
        assert!(
            (60..140).contains(&counts.duplicated) && (60..140).contains(&counts.reordered),
            "{counts:?}"
        );
        assert_eq!(arrivals, run(config, 1).0);
        assert_ne!(arrivals, run(config, 2).0);
        let first: Vec<Micros> = arrivals.iter().filter_map(|at| at[0]).collect();
        let overtaken = first.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        assert!(overtaken > 0 && overtaken <= counts.reordered, "jitter alone keeps the order");
    }

    #[test]
    fn a_slow_link_queues_and_then_drops() {
        // 1,000 bytes each millisecond are 8 Mbit/s: twice what it takes.
        let config = LinkConfig { rate_bps: 4_000_000, queue_us_max: 50_000, ..LinkConfig::default() };
        let (arrivals, counts) = run(config, 1);
        assert!((4_900..5_050).contains(&counts.lost), "{counts:?}");
        let late =
            |(n, at): (usize, &[Option<Micros>; 2])| at[0].map(|at| at.since_us(Micros(n as u64 * 1_000)));
        let worst = arrivals.iter().enumerate().filter_map(late).max();
        assert!(worst.is_some_and(|late| (50_000..=54_000).contains(&late)), "{worst:?}");
    }

    #[test]
    fn bursts_take_neighbours() {
        let config = LinkConfig { burst_ppm: 1_000, burst_datagrams: 10, ..LinkConfig::default() };
        let (arrivals, counts) = run(config, 3);
        assert!(counts.lost >= 50, "{counts:?}");
        let runs =
            arrivals.windows(2).filter(|pair| pair[0][0].is_some() && pair[1][0].is_none()).count() as u64;
        assert!(counts.lost >= 8 * runs, "{} in {runs} bursts", counts.lost);
    }
}
