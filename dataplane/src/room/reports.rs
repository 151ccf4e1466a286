//! What waits to be told to the control plane. State is never lost and each piece of state is told once; samples give way.

use std::collections::VecDeque;

use crate::base::limits::REPORT_LANE;
use crate::command::Report;

/// Reports in order.
pub struct ReportQueue {
    waiting: VecDeque<Report>,
}

impl Default for ReportQueue {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(REPORT_LANE) }
    }
}

impl ReportQueue {
    /// A change of state, or a message. There are at most a few per peer, track and stream, and so many messages of a peer until they are
    /// answered, so the queue is bounded by their tables.
    pub fn state(&mut self, report: Report) {
        self.waiting.push_back(report);
    }

    /// A sample: dropped when the control plane is behind. Answers whether it was taken.
    pub fn sample(&mut self, report: Report) -> bool {
        let room = self.waiting.len() < REPORT_LANE / 2;
        if room {
            self.waiting.push_back(report);
        }
        room
    }

    /// The oldest report.
    pub fn poll(&mut self) -> Option<Report> {
        self.waiting.pop_front()
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.waiting.len()
    }
}
