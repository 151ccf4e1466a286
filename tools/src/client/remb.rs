//! Receiver-side bandwidth estimation for clients without transport-wide feedback: what they tell by REMB.
//!
//! Path: fed with every packet that carries an absolute send time; `Client` sends the result. A plain form of what libwebrtc
//! did before transport-wide feedback: queueing delay over the least of the last seconds decides whether the estimate falls to
//! a share of what comes or grows. Promises: state depends on input alone.

use std::collections::VecDeque;

use dataplane::base::time::Micros;

/// The estimate before anything is known.
const START_BPS: u64 = 300_000;
const MIN_BPS: u64 = 30_000;
/// Queueing delay above which the link is overused, and below which the estimate grows.
const OVERUSE_US: u64 = 60_000;
const CALM_US: u64 = 25_000;
/// Growth a second, percent, while the link is calm, and the share of the received rate that is taken in overuse.
const GROWTH_PERCENT: u64 = 8;
const BACKOFF_PERCENT: u64 = 85;
/// The estimate is at most this share of what came: nothing is known of more.
const AHEAD_PERCENT: u64 = 150;
/// After a fall the queue is given this long to drain.
const HOLD_US: u64 = 500_000;
const STEP_US: u64 = 200_000;
/// The least delay is that of the last so many steps: clocks drift, routes change.
const STEPS: usize = 50;

/// The estimate of one client.
#[derive(Debug)]
pub(super) struct Estimate {
    bps: u64,
    /// Least transit time of each step, relative to `origin`, microseconds.
    least: VecDeque<i64>,
    step_started: Micros,
    step_bytes: u64,
    step_least_us: Option<i64>,
    received_bps: u64,
    hold_until: Micros,
    /// Absolute send time is modulo 64 s: last value and its extension in units of 2^-18 s.
    sent: Option<(u32, i64)>,
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            bps: START_BPS,
            least: VecDeque::with_capacity(STEPS),
            step_started: Micros(0),
            step_bytes: 0,
            step_least_us: None,
            received_bps: 0,
            hold_until: Micros(0),
            sent: None,
        }
    }
}

impl Estimate {
    /// Takes a packet with its absolute send time (24 bits).
    pub(super) fn insert(&mut self, now: Micros, sent: u32, bytes: usize) {
        let extended = match self.sent {
            None => i64::from(sent),
            // The signed distance on a circle of 24 bits.
            Some((last, extended)) => extended + i64::from((sent.wrapping_sub(last) << 8) as i32 >> 8),
        };
        self.sent = Some((sent, extended));
        let transit_us = now.0 as i64 - ((extended * 1_000_000) >> 18);
        self.step_bytes += bytes as u64;
        self.step_least_us = Some(self.step_least_us.map_or(transit_us, |least| least.min(transit_us)));
        let step_us = now.since_us(self.step_started);
        if step_us >= STEP_US {
            self.end_step(now, step_us);
        }
    }

    fn end_step(&mut self, now: Micros, step_us: u64) {
        let rate_bps = self.step_bytes * 8_000_000 / step_us;
        self.received_bps =
            if self.received_bps == 0 { rate_bps } else { (2 * self.received_bps + rate_bps) / 3 };
        let Some(least_us) = self.step_least_us.take() else { return };
        if self.least.len() == STEPS {
            self.least.pop_front();
        }
        self.least.push_back(least_us);
        let base_us = self.least.iter().copied().min().unwrap_or(least_us);
        // Even the fastest packet of the step had to wait this long.
        let queue_us = least_us.abs_diff(base_us);
        (self.step_started, self.step_bytes) = (now, 0);
        if queue_us > OVERUSE_US && now >= self.hold_until {
            self.bps = (self.received_bps * BACKOFF_PERCENT / 100).clamp(MIN_BPS, self.bps);
            self.hold_until = now.after_us(HOLD_US);
        } else if queue_us < CALM_US {
            let grown = self.bps + self.bps * GROWTH_PERCENT * step_us / 100_000_000 + 1_000;
            let ceiling = self.received_bps * AHEAD_PERCENT / 100;
            self.bps = grown.min(ceiling.max(self.bps)).max(MIN_BPS);
        }
    }

    /// Bits per second that the link is believed to carry.
    pub(super) const fn bps(&self) -> u64 {
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::io::sim::{Link, LinkConfig};
    use dataplane::wire::ext::AbsSendTime;

    /// Sends what the estimate allows, at most `wanted_bps`, through a link for so many seconds.
    fn run(link_bps: u64, wanted_bps: u64, seconds: u64) -> u64 {
        let config = LinkConfig {
            rate_bps: link_bps,
            queue_us_max: 500_000,
            delay_us: 30_000,
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, 1);
        let mut estimate = Estimate::default();
        let mut arrivals = VecDeque::new();
        let mut credit = 0;
        for ms in 0..seconds * 1_000 {
            let now = Micros(0).after_ms(ms);
            credit += estimate.bps().min(wanted_bps) / 8_000;
            while credit >= 1_000 {
                credit -= 1_000;
                if let [Some(at), _] = link.pass(now, 1_000) {
                    arrivals.push_back((at, AbsSendTime::at(now).0));
                }
            }
            while arrivals.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((at, sent)) = arrivals.pop_front() {
                    estimate.insert(at, sent, 1_000);
                }
            }
        }
        estimate.bps()
    }

    #[test]
    fn the_estimate_settles_near_the_link() {
        for link_bps in [500_000, 2_000_000] {
            let found = run(link_bps, 10_000_000, 100);
            assert!((link_bps * 6 / 10..link_bps * 11 / 10).contains(&found), "{found} of {link_bps}");
        }
    }

    #[test]
    fn what_is_not_sent_proves_nothing() {
        let found = run(20_000_000, 400_000, 60);
        assert!((500_000..700_000).contains(&found), "{found}");
    }
}
