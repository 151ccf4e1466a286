//! The rate: grows while the link is calm, falls below what arrives when it is not (draft-ietf-rmcat-gcc-02 section 5.5).
//!
//! Path: a few times a second, with feedback. Not here: whether the link is calm (`trend`, `loss`), proof by probes (`probe`).

use crate::base::limits::{BWE_BPS_MAX, BWE_BPS_MIN, BWE_BPS_START};
use crate::base::time::Micros;

/// What is kept of the arriving rate when delay grows, thousandths: the rest empties the queue, a short one in a little time.
const KEEP_MAX: u64 = 950;
const SHORT_QUEUE_US: u64 = 30_000;
/// With a queue this deep the rate is given up for a moment, so that it is empty again in about a second; never less than half.
const KEEP: u64 = 850;
const DEEP_QUEUE_US: u64 = 100_000;
const KEEP_MIN: u64 = 500;
/// Kept of the rate at least while the queue is short.
const STEP_MIN: u64 = 800;
/// Taken again once a deep queue is empty, thousandths of what the full link carried.
const RESTORE: u64 = 900;
/// A queue this short is empty.
const EMPTY_QUEUE_US: u64 = 30_000;
/// Growth far from the last congestion, thousandths per second.
const GROWTH: u64 = 80;
/// Growth near it: one packet per response time, within these thousandths per second; beyond it less.
const CAREFUL_BITS: u64 = 9_600;
const BEYOND: u64 = 15;
const CAREFUL_MIN: u64 = 30;
const CAREFUL_MAX: u64 = 60;

/// The rate of one peer.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    bps: u64,
    /// What arrived when the link was full; 0 while unknown.
    capacity_bps: u64,
    grown: Micros,
    fallen: Option<Micros>,
    /// To be taken again once the queue is empty; 0 for nothing.
    restore_bps: u64,
}

impl Rate {
    pub(super) const fn new() -> Self {
        Self { bps: BWE_BPS_START, capacity_bps: 0, grown: Micros(0), fallen: None, restore_bps: 0 }
    }

    pub(super) const fn bps(&self) -> u64 {
        self.bps
    }

    /// Sets the rate, within what is allowed.
    pub(super) fn set(&mut self, bps: u64) {
        self.bps = bps.clamp(BWE_BPS_MIN, BWE_BPS_MAX);
    }

    /// Time passes without growth.
    pub(super) const fn hold(&mut self, now: Micros) {
        self.grown = now;
    }

    /// Grows for the time since the last call, up to `limit_bps`; above it the rate stays.
    pub(super) fn grow(&mut self, now: Micros, acked_bps: u64, limit_bps: u64, rtt_us: u32) {
        let passed_us = now.since_us(self.grown).min(500_000);
        self.grown = now;
        if acked_bps * 100 > self.capacity_bps * 115 {
            self.capacity_bps = 0;
        }
        if self.bps >= limit_bps {
            return;
        }
        let near = self.capacity_bps > 0 && self.bps * 4 > self.capacity_bps * 3;
        let per_second = if near && self.bps > self.capacity_bps {
            self.bps * BEYOND / 1_000
        } else if near {
            let response_us = 100_000 + u64::from(rtt_us);
            (CAREFUL_BITS * 1_000_000 / response_us)
                .clamp(self.bps * CAREFUL_MIN / 1_000, self.bps * CAREFUL_MAX / 1_000)
        } else {
            self.bps * GROWTH / 1_000
        };
        self.set((self.bps + (per_second * passed_us / 1_000_000).max(1)).min(limit_bps));
    }

    /// Delay grows: falls below what arrives. Answers false while an earlier fall cannot have had its effect yet.
    pub(super) fn fall(&mut self, now: Micros, acked_bps: u64, queue_us: u64, rtt_us: u32) -> bool {
        self.grown = now;
        let effect_us = u64::from(rtt_us).clamp(100_000, 300_000);
        if self.fallen.is_some_and(|at| now.since_us(at) < effect_us) && acked_bps * 2 > self.bps {
            return false;
        }
        self.fallen = Some(now);
        // 30 ms of queue take 5 %, 100 ms 15 %, 450 ms and more take half.
        let keep = if queue_us < DEEP_QUEUE_US {
            let short_us = queue_us.saturating_sub(SHORT_QUEUE_US);
            KEEP_MAX - (KEEP_MAX - KEEP) * short_us / (DEEP_QUEUE_US - SHORT_QUEUE_US)
        } else {
            KEEP.saturating_sub((queue_us - DEEP_QUEUE_US) / 1_000).max(KEEP_MIN)
        };
        self.restore_bps = if keep < KEEP { acked_bps * RESTORE / 1_000 } else { 0 };
        let far = self.capacity_bps == 0 || acked_bps * 100 < self.capacity_bps * 85;
        self.capacity_bps = if far { acked_bps } else { (self.capacity_bps * 7 + acked_bps) / 8 };
        // What arrived is measured over moments: a short queue is no reason to believe a small part of the rate.
        let least_bps = if queue_us < DEEP_QUEUE_US { self.bps * STEP_MIN / 1_000 } else { 0 };
        self.set(self.bps.min((acked_bps * keep / 1_000).max(least_bps)));
        true
    }

    /// Takes again what a deep queue made us give up, once it is empty.
    pub(super) fn restore(&mut self, queue_us: u64) {
        if self.restore_bps > 0 && queue_us < EMPTY_QUEUE_US {
            self.set(self.bps.max(self.restore_bps));
            self.restore_bps = 0;
        }
    }

    /// Multiplies by so many thousandths, at most one.
    pub(super) fn scale(&mut self, now: Micros, thousandths: u64) {
        self.grown = now;
        self.restore_bps = 0;
        self.set(self.bps * thousandths.min(1_000) / 1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(rate: &mut Rate, from_s: u64, seconds: u64, acked_bps: u64) {
        (0..=seconds * 10).for_each(|step| {
            rate.grow(Micros(from_s * 1_000_000).after_ms(step * 100), acked_bps, u64::MAX, 50_000);
        });
    }

    #[test]
    fn growth_is_eight_percent_a_second_and_careful_near_the_last_congestion() {
        let mut rate = Rate::new();
        rate.hold(Micros(0));
        grow(&mut rate, 0, 1, 600_000);
        assert!((645_000..655_000).contains(&rate.bps()), "{}", rate.bps());
        assert!(rate.fall(Micros(1_000_000), 600_000, 0, 50_000));
        assert_eq!(rate.bps(), 570_000);
        grow(&mut rate, 1, 1, 570_000);
        assert!((587_000..605_000).contains(&rate.bps()), "{}", rate.bps());
    }

    #[test]
    fn a_rate_above_its_limit_stays() {
        let mut rate = Rate::new();
        rate.grow(Micros(1_000_000), 10_000, 100_000, 50_000);
        assert_eq!(rate.bps(), BWE_BPS_START);
    }

    #[test]
    fn it_falls_once_per_effect_and_deeper_for_a_deep_queue() {
        let mut rate = Rate::new();
        assert!(rate.fall(Micros(0), 600_000, 65_000, 50_000));
        assert_eq!(rate.bps(), 540_000);
        assert!(!rate.fall(Micros(50_000), 400_000, 50_000, 50_000));
        assert!(rate.fall(Micros(60_000), 200_000, 1_000_000, 50_000), "far below: at once");
        assert_eq!(rate.bps(), 100_000);
        rate.restore(100_000);
        assert_eq!(rate.bps(), 100_000);
        rate.restore(10_000);
        assert_eq!(rate.bps(), 180_000);
    }

    #[test]
    fn a_short_queue_takes_a_fifth_at_most() {
        let mut rate = Rate::new();
        assert!(rate.fall(Micros(0), 100_000, 50_000, 50_000));
        assert_eq!(rate.bps(), 480_000);
    }

    #[test]
    fn no_arithmetic_leaves_the_allowed_range() {
        let mut rate = Rate::new();
        rate.set(u64::MAX);
        assert_eq!(rate.bps(), BWE_BPS_MAX);
        rate.fall(Micros(0), 0, u64::MAX, u32::MAX);
        assert_eq!(rate.bps(), BWE_BPS_MIN);
        rate.scale(Micros(1), 0);
        assert_eq!(rate.bps(), BWE_BPS_MIN);
    }
}
