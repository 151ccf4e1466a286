//! When a peer's next packet may leave: a token bucket that spreads bursts over time instead of filling the queue of its link.
//!
//! Place: `engine::flush` asks before each video packet; audio passes always and is counted.
//! Promises: O(1); over any time the bytes let through are at most the rate times that time plus one burst.
//! Sketch: a burst of 40 ms lets an ordinary frame leave at once, as one GSO send; a keyframe is spread.
//! Not here: the queue (`room::queue`), the rate (`session::bwe` and `room::budget`).

use crate::base::limits::DATAGRAM_BYTES_MAX;
use crate::base::time::Micros;

/// What may leave at once, in time at the present rate.
pub const BURST_US: u64 = 40_000;
/// And at least this many bytes: four full packets, a frame of 1.4 Mbit/s at 30 frames per second.
const BURST_BYTES_MIN: i64 = 4 * DATAGRAM_BYTES_MAX as i64;
/// The same for a link that is full: a burst stands in its queue, and audio behind it.
pub const BURST_US_FULL: u64 = 10_000;

/// The same for repairs, which are a part of the rate.
pub const BURST_US_REPAIR: u64 = 500_000;

/// A token bucket in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// Bits per second; 0 is no limit.
    rate_bps: u64,
    /// What may leave at once: in time at the rate, and at least so many bytes.
    burst_us: u64,
    burst_bytes_min: i64,
    level_bytes: i64,
    /// Millionths of a byte not yet in the level.
    rest: u64,
    filled: Micros,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            rate_bps: 0,
            burst_us: BURST_US,
            burst_bytes_min: BURST_BYTES_MIN,
            level_bytes: BURST_BYTES_MIN,
            rest: 0,
            filled: Micros(0),
        }
    }
}

impl Pacer {
    /// Sets the rate from now on; 0 is no limit.
    pub fn set_rate(&mut self, now: Micros, rate_bps: u64) {
        self.set(now, rate_bps, BURST_US, BURST_BYTES_MIN);
    }

    /// Sets the rate of a link that is nearly full: little leaves at once, because it would stand in the link's queue.
    pub fn set_full_rate(&mut self, now: Micros, rate_bps: u64) {
        self.set(now, rate_bps, BURST_US_FULL, 1);
    }

    /// Sets the rate of a probe: packets leave evenly, because what is measured is how they are spaced when they arrive.
    pub fn set_even_rate(&mut self, now: Micros, rate_bps: u64) {
        self.set(now, rate_bps, 0, 1);
    }

    /// Sets the rate of repairs: those of a burst of losses may leave at once.
    pub fn set_repair_rate(&mut self, now: Micros, rate_bps: u64) {
        self.set(now, rate_bps, BURST_US_REPAIR, BURST_BYTES_MIN);
    }

    fn set(&mut self, now: Micros, rate_bps: u64, burst_us: u64, burst_bytes_min: i64) {
        self.fill(now);
        self.rate_bps = rate_bps;
        (self.burst_us, self.burst_bytes_min) = (burst_us, burst_bytes_min);
        self.level_bytes = self.level_bytes.min(self.burst_bytes());
    }

    /// The rate, bits per second; 0 is no limit.
    #[must_use]
    pub const fn rate_bps(&self) -> u64 {
        self.rate_bps
    }

    /// Whether a packet may leave now.
    #[inline]
    pub fn is_open(&mut self, now: Micros) -> bool {
        self.fill(now);
        self.is_still_open()
    }

    /// As [`Self::is_open`], at the moment that was asked for last.
    #[inline]
    #[must_use]
    pub const fn is_still_open(&self) -> bool {
        self.rate_bps == 0 || self.level_bytes > 0
    }

    /// A datagram of `bytes` left.
    #[inline]
    pub fn take(&mut self, bytes: usize) {
        if self.rate_bps == 0 {
            return;
        }
        self.level_bytes -= bytes as i64;
        if self.level_bytes >= 0 {
            return;
        }
        // Audio passes a closed pacer: at most one burst of debt, so that video is not shut out for long.
        let debt_max = -BURST_BYTES_MIN.max((self.rate_bps.saturating_mul(BURST_US) / 8_000_000) as i64);
        if self.level_bytes < debt_max {
            self.level_bytes = debt_max;
        }
    }

    /// When it opens; `now` if it is open.
    #[must_use]
    pub const fn opens_at(&self, now: Micros) -> Micros {
        if self.rate_bps == 0 || self.level_bytes > 0 {
            return now;
        }
        // To one byte above nothing.
        let bytes = (1 - self.level_bytes) as u64;
        now.after_us((bytes * 8_000_000).div_ceil(self.rate_bps))
    }

    const fn burst_bytes(&self) -> i64 {
        let burst = (self.rate_bps.saturating_mul(self.burst_us) / 8_000_000) as i64;
        if burst > self.burst_bytes_min { burst } else { self.burst_bytes_min }
    }

    #[inline]
    fn fill(&mut self, now: Micros) {
        // All packets of a turn leave at one moment.
        if now != self.filled {
            self.fill_until(now);
        }
    }

    fn fill_until(&mut self, now: Micros) {
        let us = now.since_us(self.filled).min(1_000_000);
        self.filled = now;
        // Bits per second x microseconds / 8 = millionths of a byte.
        let gained = self.rate_bps.saturating_mul(us) / 8 + self.rest;
        self.rest = gained % 1_000_000;
        self.level_bytes = (self.level_bytes + (gained / 1_000_000) as i64).min(self.burst_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_rate() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Micros(0), 8_000_000);
        let (mut now, mut sent) = (Micros(0), 0_u64);
        while now < Micros(1_000_000) {
            if pacer.is_open(now) {
                pacer.take(1_000);
                sent += 1_000;
            } else {
                now = pacer.opens_at(now);
            }
        }
        // One second at 1 MB/s and a burst of 40 ms.
        assert!((1_000_000..=1_042_000).contains(&sent), "{sent}");
    }

    #[test]
    fn low_rates_let_a_few_packets_through_and_count_fractions() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Micros(0), 50_000);
        let mut sent = 0;
        for millisecond in 0..10_000 {
            while pacer.is_open(Micros(0).after_ms(millisecond)) {
                pacer.take(1_000);
                sent += 1_000;
            }
        }
        // 6,250 B/s for ten seconds, and the smallest burst.
        let most = 62_500 + BURST_BYTES_MIN as u64 + 1_000;
        assert!((62_500..=most).contains(&sent), "{sent}");
    }

    #[test]
    fn audio_can_pass_a_closed_pacer_without_shutting_it_for_long() {
        let mut pacer = Pacer::default();
        pacer.set_rate(Micros(0), 100_000);
        (0..1_000).for_each(|_| pacer.take(200));
        assert!(!pacer.is_open(Micros(0)));
        assert!(pacer.opens_at(Micros(0)) <= Micros(1_000_000));
    }

    #[test]
    fn a_probe_leaves_evenly() {
        let mut pacer = Pacer::default();
        pacer.set_even_rate(Micros(0), 2_000_000);
        let mut sent = Vec::new();
        let mut now = Micros(0);
        while sent.len() < 10 {
            if pacer.is_open(now) {
                pacer.take(500);
                sent.push(now);
            } else {
                now = pacer.opens_at(now);
            }
        }
        assert!(sent.windows(2).all(|pair| (2_000..2_010).contains(&pair[1].since_us(pair[0]))), "{sent:?}");
        pacer.set_rate(now, 2_000_000);
        assert!(pacer.is_open(now.after_ms(40)));
    }

    #[test]
    fn on_a_full_link_hardly_anything_leaves_at_once() {
        let mut pacer = Pacer::default();
        pacer.set_full_rate(Micros(0), 400_000);
        let mut at_once = 0;
        while pacer.is_open(Micros(1_000_000)) {
            pacer.take(1_200);
            at_once += 1;
        }
        assert_eq!(at_once, 1);
        assert!(pacer.opens_at(Micros(1_000_000)) <= Micros(1_024_000));
    }

    #[test]
    fn without_a_rate_it_is_always_open() {
        let mut pacer = Pacer::default();
        (0..1_000).for_each(|_| pacer.take(1_500));
        assert!(pacer.is_open(Micros(0)));
        assert_eq!(pacer.opens_at(Micros(7)), Micros(7));
    }
}
