//! Packets into groups that left together, and how the time between groups changed on the way (draft-ietf-rmcat-gcc-02
//! sections 5.1 and 5.2); the delay above the lowest seen, which is what stands in queues.
//!
//! Path: once per packet that feedback reports as received.
//! Promises: the receiver's clock is only ever compared with itself, so its origin does not matter and its drift not much.

/// Packets sent within this time are one group: a pacer sends in bursts, and what a burst does to itself is no congestion.
const GROUP_US: u64 = 5_000;
/// A group that arrives in one clump (a radio link held it) grows to at most this.
const CLUMP_US_MAX: u64 = 100_000;
/// After a longer pause groups begin anew: clocks drift, routes change.
const PAUSE_US: u64 = 2_000_000;

/// What the link did to the distance between two groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Variation {
    /// Between their last packets when they left.
    pub send_us: u64,
    /// Between them when they arrived.
    pub arrival_us: u64,
    /// When the later one had arrived, receiver's clock.
    pub at_us: u64,
}

impl Variation {
    /// How much longer the later group took, microseconds.
    pub(super) const fn growth_us(&self) -> i64 {
        self.arrival_us as i64 - self.send_us as i64
    }
}

#[derive(Clone, Copy, Debug)]
struct Group {
    sent_first_us: u64,
    sent_last_us: u64,
    arrived_first_us: u64,
    arrived_last_us: u64,
}

impl Group {
    const fn new(sent_us: u64, arrival_us: u64) -> Self {
        Self {
            sent_first_us: sent_us,
            sent_last_us: sent_us,
            arrived_first_us: arrival_us,
            arrived_last_us: arrival_us,
        }
    }

    const fn takes(&self, sent_us: u64, arrival_us: u64) -> bool {
        if sent_us - self.sent_first_us <= GROUP_US {
            return true;
        }
        let arrival_gap_us = arrival_us.saturating_sub(self.arrived_last_us);
        arrival_gap_us <= GROUP_US
            && arrival_gap_us < sent_us.saturating_sub(self.sent_last_us)
            && arrival_us.saturating_sub(self.arrived_first_us) < CLUMP_US_MAX
    }
}

/// Makes groups of packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
    /// Mean of |growth|, microseconds.
    noise_us: u64,
}

impl Groups {
    /// Takes a received packet; answers the variation when it begins a new group.
    pub(super) fn handle_packet(&mut self, sent_us: u64, arrival_us: u64) -> Option<Variation> {
        let Some(group) = &mut self.current else {
            self.current = Some(Group::new(sent_us, arrival_us));
            return None;
        };
        if sent_us < group.sent_first_us {
            return None;
        }
        if group.takes(sent_us, arrival_us) {
            group.sent_last_us = group.sent_last_us.max(sent_us);
            group.arrived_last_us = group.arrived_last_us.max(arrival_us);
            return None;
        }
        let ended = *group;
        self.current = Some(Group::new(sent_us, arrival_us));
        let previous = self.previous.replace(ended)?;
        let send_us = ended.sent_last_us.checked_sub(previous.sent_last_us)?;
        let arrival_us = ended.arrived_last_us.checked_sub(previous.arrived_last_us)?;
        if send_us > PAUSE_US || arrival_us > 2 * PAUSE_US {
            return None;
        }
        let variation = Variation { send_us, arrival_us, at_us: ended.arrived_last_us };
        self.noise_us = (self.noise_us * 15 + variation.growth_us().unsigned_abs().min(100_000)) / 16;
        Some(variation)
    }

    /// The next group is compared with nothing before it.
    pub(super) fn interrupt(&mut self) {
        (self.current, self.previous) = (None, None);
    }

    /// Mean change from group to group, microseconds: jitter.
    pub(super) const fn noise_us(&self) -> u64 {
        self.noise_us
    }
}

/// Spans of the lowest delay: 10 x 2 s.
const SPANS: usize = 10;
const SPAN_US: u64 = 2_000_000;

/// Delay above the lowest of the last 20 s.
#[derive(Clone, Debug)]
pub(super) struct QueueDelay {
    /// Lowest transit time of each span; the origin is arbitrary.
    lowest_us: [i64; SPANS],
    span: u64,
    /// Lowest transit time of the newest feedback.
    newest_us: Option<i64>,
}

impl QueueDelay {
    pub(super) const fn new() -> Self {
        Self { lowest_us: [i64::MAX; SPANS], span: 0, newest_us: None }
    }

    /// Begins a feedback packet.
    pub(super) const fn begin(&mut self) {
        self.newest_us = None;
    }

    /// Takes the transit time of a packet sent at `sent_us`.
    pub(super) fn handle_packet(&mut self, sent_us: u64, transit_us: i64) {
        let span = sent_us / SPAN_US;
        if span > self.span {
            for passed in (self.span + 1..=span).rev().take(SPANS) {
                self.lowest_us[passed as usize % SPANS] = i64::MAX;
            }
            self.span = span;
        }
        let lowest = &mut self.lowest_us[self.span as usize % SPANS];
        *lowest = transit_us.min(*lowest);
        self.newest_us = Some(self.newest_us.map_or(transit_us, |newest| newest.min(transit_us)));
    }

    /// Microseconds that the quickest packet of the newest feedback stood in queues.
    pub(super) fn queue_us(&self) -> u64 {
        let lowest = self.lowest_us.iter().copied().min().unwrap_or(i64::MAX);
        self.newest_us.map_or(0, |newest| newest.saturating_sub(lowest).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_group_and_the_next_burst_ends_it() {
        let mut groups = Groups::default();
        let burst = |groups: &mut Groups, sent_us: u64, late_us: u64| {
            (0..4)
                .filter_map(|n| groups.handle_packet(sent_us + n * 1_000, sent_us + late_us + n * 2_000))
                .last()
        };
        assert_eq!(burst(&mut groups, 0, 7_000_000), None);
        assert_eq!(burst(&mut groups, 20_000, 7_000_000), None);
        let variation = burst(&mut groups, 40_000, 7_003_000).expect("the second is compared with the first");
        assert_eq!((variation.send_us, variation.growth_us()), (20_000, 0));
        let variation = burst(&mut groups, 60_000, 7_003_000).expect("the third took longer");
        assert_eq!((variation.send_us, variation.growth_us()), (20_000, 3_000));
        assert!(groups.noise_us() > 0);
    }

    #[test]
    fn a_pause_an_old_packet_and_an_interruption_say_nothing() {
        let mut groups = Groups::default();
        for sent_us in [0, 10_000, 20_000] {
            groups.handle_packet(sent_us, sent_us);
        }
        assert_eq!(groups.handle_packet(5_000, 30_000), None, "from before the group");
        groups.handle_packet(100_000_000, 100_000_000);
        assert_eq!(groups.handle_packet(100_010_000, 100_010_000), None, "across the pause");
        assert!(groups.handle_packet(100_020_000, 100_020_000).is_some());
        groups.interrupt();
        assert_eq!(groups.handle_packet(100_030_000, 100_090_000), None);
        assert_eq!(groups.handle_packet(100_040_000, 100_100_000), None);
    }

    #[test]
    fn what_stands_in_the_queue_is_measured_from_the_lowest_delay() {
        let mut queue = QueueDelay::new();
        assert_eq!(queue.queue_us(), 0);
        for step in 0..100 {
            queue.begin();
            queue.handle_packet(step * 100_000, -5_000_000 + step as i64 * 1_000);
            assert_eq!(queue.queue_us(), step * 1_000);
        }
        // What was long ago is forgotten: the route may have changed.
        queue.begin();
        queue.handle_packet(100 * SPAN_US, -4_000_000);
        assert_eq!(queue.queue_us(), 0);
    }
}
