//! One room's share of the gauge `kaigi_streams_reduced`: taken back when the room ends, however it ends.

use std::sync::Arc;

use super::room::Tally;
use crate::metrics::Metrics;

/// What a room has added to the gauge.
pub struct Reduced {
    metrics: Arc<Metrics>,
    shown: Tally,
}

impl Reduced {
    /// Nothing added yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, shown: Tally::default() }
    }

    /// Makes the gauge show these numbers for the room.
    pub fn show(&mut self, tally: Tally) {
        for ((reason, now), (_, before)) in tally.counts().zip(self.shown.counts()) {
            if now != before {
                self.metrics.streams_reduced(reason, i64::from(now) - i64::from(before));
            }
        }
        self.shown = tally;
    }
}

impl Drop for Reduced {
    fn drop(&mut self) {
        self.show(Tally::default());
    }
}
