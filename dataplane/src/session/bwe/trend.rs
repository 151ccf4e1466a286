//! Whether delay grows: the slope of a line through the last groups against a threshold that learns the link's noise
//! (draft-ietf-rmcat-gcc-02 sections 5.3 and 5.4, with a least-squares line in place of the Kalman filter).
//!
//! Path: once per group. Memory: 20 points x 16 B.
//! Promises: additions, multiplications and divisions of IEEE doubles only, so every machine computes the same.

use super::LinkState;
use super::arrival::Variation;

/// Points of the line.
const POINTS: usize = 20;
/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Scales a slope to the threshold's units.
const GAIN: f64 = 4.0;
/// A slope counts for more the longer groups have been watched, up to this many.
const COUNT_MAX: u32 = 60;
/// Threshold at the start, and its limits.
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// How fast the threshold follows a larger and a smaller slope, per millisecond.
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// A slope this far beyond the threshold is congestion and teaches nothing about noise.
const OUTLIER: f64 = 15.0;
/// Overuse lasts this long before it is believed, milliseconds.
const OVERUSE_MS: f64 = 10.0;

/// The detector.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    /// Arrival and smoothed delay, milliseconds since the first group.
    points: [(f64, f64); POINTS],
    count: u32,
    first_us: u64,
    delay_ms: f64,
    smoothed_ms: f64,
    slope_before: f64,
    threshold: f64,
    over_ms: f64,
    over_count: u32,
    judged_us: Option<u64>,
    state: LinkState,
}

impl Trend {
    pub(super) const fn new() -> Self {
        Self {
            points: [(0.0, 0.0); POINTS],
            count: 0,
            first_us: 0,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            slope_before: 0.0,
            threshold: THRESHOLD,
            over_ms: 0.0,
            over_count: 0,
            judged_us: None,
            state: LinkState::Normal,
        }
    }

    /// Forgets the groups, not what was learned about noise.
    pub(super) const fn restart(&mut self) {
        *self = Self { threshold: self.threshold, ..Self::new() };
    }

    pub(super) const fn state(&self) -> LinkState {
        self.state
    }

    /// Takes the next group.
    pub(super) fn handle_variation(&mut self, variation: Variation) {
        if self.count == 0 {
            self.first_us = variation.at_us;
        }
        self.delay_ms += variation.growth_us() as f64 / 1_000.0;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        let at_ms = variation.at_us.saturating_sub(self.first_us) as f64 / 1_000.0;
        self.points[self.count as usize % POINTS] = (at_ms, self.smoothed_ms);
        self.count = self.count.saturating_add(1);
        let slope = if self.count as usize >= POINTS { self.slope() } else { 0.0 };
        self.judge(slope, variation);
    }

    /// Least squares; zero when all groups arrived at once.
    fn slope(&self) -> f64 {
        let count = POINTS as f64;
        let (x_sum, y_sum) = self.points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x_mean, y_mean) = (x_sum / count, y_sum / count);
        let (mut over, mut under) = (0.0, 0.0);
        for (x, y) in &self.points {
            over += (x - x_mean) * (y - y_mean);
            under += (x - x_mean) * (x - x_mean);
        }
        if under > 0.0 { over / under } else { 0.0 }
    }

    fn judge(&mut self, slope: f64, variation: Variation) {
        let scaled = f64::from(self.count.min(COUNT_MAX)) * slope * GAIN;
        let send_ms = variation.send_us as f64 / 1_000.0;
        if scaled > self.threshold {
            self.over_ms += if self.over_count == 0 { send_ms / 2.0 } else { send_ms };
            self.over_count += 1;
            if self.over_ms > OVERUSE_MS && self.over_count > 1 && slope >= self.slope_before {
                (self.over_ms, self.over_count) = (0.0, 0);
                self.state = LinkState::Overusing;
            }
        } else {
            (self.over_ms, self.over_count) = (0.0, 0);
            self.state = if scaled < -self.threshold { LinkState::Underusing } else { LinkState::Normal };
        }
        self.slope_before = slope;
        self.learn(scaled.abs(), variation.at_us);
    }

    fn learn(&mut self, scaled: f64, at_us: u64) {
        let passed_us = at_us.saturating_sub(self.judged_us.unwrap_or(at_us));
        self.judged_us = Some(at_us);
        if scaled > self.threshold + OUTLIER {
            return;
        }
        let rate = if scaled < self.threshold { FALL } else { RISE };
        let passed_ms = (passed_us as f64 / 1_000.0).min(100.0);
        self.threshold = (self.threshold + rate * (scaled - self.threshold) * passed_ms)
            .clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// Groups every 20 ms, each `growth_us(n)` later than the one before; answers the states that were seen.
    fn run(
        trend: &mut Trend,
        from: u64,
        count: u64,
        mut growth_us: impl FnMut(u64) -> i64,
    ) -> Vec<LinkState> {
        let mut at_us = from * 20_000;
        (0..count)
            .map(|n| {
                let arrival_us = 20_000_u64.saturating_add_signed(growth_us(n));
                at_us += arrival_us;
                trend.handle_variation(Variation { send_us: 20_000, arrival_us, at_us });
                trend.state()
            })
            .collect()
    }

    #[test]
    fn a_growing_queue_is_overuse_and_a_draining_one_is_underuse() {
        let mut trend = Trend::new();
        assert!(run(&mut trend, 1, 100, |_| 0).iter().all(|state| *state == LinkState::Normal));
        let states = run(&mut trend, 101, 30, |_| 4_000);
        let found = states.iter().position(|state| *state == LinkState::Overusing);
        assert!(found.is_some_and(|at| at <= 10), "{found:?}");
        let states = run(&mut trend, 151, 60, |_| -4_000);
        assert_eq!(states.last(), Some(&LinkState::Underusing));
        assert_eq!(run(&mut trend, 300, 100, |_| 0).last(), Some(&LinkState::Normal));
    }

    #[test]
    fn jitter_without_growth_is_rarely_taken_for_overuse() {
        let mut rng = Rng::new(1);
        let mut trend = Trend::new();
        let mut before = 0;
        let states = run(&mut trend, 1, 5_000, |_| {
            let jitter = rng.below(15_000) as i64;
            let growth = jitter - before;
            before = jitter;
            growth
        });
        let over = states.iter().filter(|state| **state == LinkState::Overusing).count();
        println!("{over} of 5,000 groups");
        assert!(over < 250, "{over}");
    }
}
