//! How much one peer may say over its data channels: rates, and what may be on its way to others at a time.
//!
//! What is not allowed stays in the peer's own SCTP queue: unread messages close its window. What it says costs once when it is read and
//! once for every copy that is made of it, so a person who floods a large meeting is slowed down more than one who floods a friend; and
//! what meets a long queue at a receiver counts as on its way for longer, so a queue does not grow to where others wait in it.
//! Promises: `O(1)`; time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::limits::{
    CHANNEL_BACKLOG_BYTES, CHANNEL_BYTES_BURST, CHANNEL_BYTES_PER_SECOND, CHANNEL_COPIED_BYTES_BURST,
    CHANNEL_COPIED_BYTES_PER_SECOND, CHANNEL_COPIES_BURST, CHANNEL_COPIES_PER_SECOND, CHANNEL_HOLD_MS_MAX,
    CHANNEL_IN_FLIGHT_BYTES, CHANNEL_IN_FLIGHT_MESSAGES, CHANNEL_MESSAGES_BURST, CHANNEL_MESSAGES_PER_SECOND,
};

/// Messages that are remembered for having met a long queue: 64 B each are 64 KiB.
const HELD_MAX: usize = 1_024;

/// A token bucket that may be overdrawn: a message is read as a whole, and its copies are known afterwards.
struct Bucket {
    per_second: u64,
    burst: i64,
    level: i64,
    filled: Instant,
}

impl Bucket {
    const fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second as u64, burst: burst as i64, level: burst as i64, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed_us = now.saturating_duration_since(self.filled).as_micros();
        let gained = elapsed_us.saturating_mul(u128::from(self.per_second)) / 1_000_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.level = self.level.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(self.burst);
            // A part of a token counts with the next one.
            let spent_us = u128::from(gained) * 1_000_000 / u128::from(self.per_second);
            self.filled += Duration::from_micros(u64::try_from(spent_us).unwrap_or(0));
        }
    }

    fn charge(&mut self, now: Instant, tokens: u64) {
        self.fill(now);
        self.level = self.level.saturating_sub(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// When it next holds something; `None` if it does now.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        let missing = u64::try_from(1_i64.saturating_sub(self.level)).ok().filter(|missing| *missing > 0)?;
        Some(now + Duration::from_micros(missing.saturating_mul(1_000_000) / self.per_second + 1))
    }
}

/// Whether a peer's next message may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Permit {
    /// It may.
    Now,
    /// Not before this time: the peer says more than its rates allow.
    NotBefore(Instant),
    /// Not before what was read has been passed on.
    Busy,
}

/// See the module.
pub(super) struct Allowance {
    messages: Bucket,
    bytes: Bucket,
    copies: Bucket,
    copied_bytes: Bucket,
    messages_in_flight: u32,
    bytes_in_flight: u64,
    /// Messages that met a long queue, and until when their bytes count as on their way; at most [`HELD_MAX`].
    held: VecDeque<(Instant, u32)>,
}

impl Allowance {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            messages: Bucket::new(CHANNEL_MESSAGES_PER_SECOND, CHANNEL_MESSAGES_BURST, now),
            bytes: Bucket::new(CHANNEL_BYTES_PER_SECOND, CHANNEL_BYTES_BURST, now),
            copies: Bucket::new(CHANNEL_COPIES_PER_SECOND, CHANNEL_COPIES_BURST, now),
            copied_bytes: Bucket::new(CHANNEL_COPIED_BYTES_PER_SECOND, CHANNEL_COPIED_BYTES_BURST, now),
            messages_in_flight: 0,
            bytes_in_flight: 0,
            held: VecDeque::new(),
        }
    }

    /// Whether the next message may be read.
    pub(super) fn permit(&mut self, now: Instant) -> Permit {
        while let Some(&(due, bytes)) = self.held.front()
            && due <= now
        {
            self.held.pop_front();
            self.arrived(bytes);
        }
        let buckets = [&mut self.messages, &mut self.bytes, &mut self.copies, &mut self.copied_bytes];
        if let Some(due) = buckets.into_iter().filter_map(|bucket| bucket.due(now)).max() {
            return Permit::NotBefore(due);
        }
        let busy = self.messages_in_flight >= CHANNEL_IN_FLIGHT_MESSAGES
            || self.bytes_in_flight >= CHANNEL_IN_FLIGHT_BYTES;
        if busy { Permit::Busy } else { Permit::Now }
    }

    /// When the next message that met a long queue no longer counts as on its way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }

    /// A message was read and goes nowhere.
    pub(super) fn read(&mut self, now: Instant, bytes: usize) {
        self.messages.charge(now, 1);
        self.bytes.charge(now, bytes as u64);
    }

    /// A message was read and goes to whoever routes it.
    pub(super) fn sent_on(&mut self, now: Instant, bytes: usize) {
        self.read(now, bytes);
        self.messages_in_flight += 1;
        self.bytes_in_flight += bytes as u64;
    }

    /// A message that was sent on has been copied to so many others, the slowest of which has `backlog` bytes waiting.
    pub(super) fn passed(&mut self, now: Instant, bytes: u32, copies: u32, backlog: usize) {
        self.messages_in_flight = self.messages_in_flight.saturating_sub(1);
        if backlog > CHANNEL_BACKLOG_BYTES && self.held.len() < HELD_MAX {
            let queue_ms = backlog as u64 * 1_000 / u64::from(CHANNEL_BYTES_PER_SECOND);
            let due = now + Duration::from_millis(queue_ms.min(CHANNEL_HOLD_MS_MAX));
            self.held.push_back((due, bytes));
        } else {
            self.arrived(bytes);
        }
        self.copies.charge(now, u64::from(copies));
        self.copied_bytes.charge(now, u64::from(bytes) * u64::from(copies));
    }
}

impl Allowance {
    fn arrived(&mut self, bytes: u32) {
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(u64::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time")]
        Instant::now()
    }

    /// Reads messages of `bytes` for `seconds`, each copied `copies` times at once; how many.
    fn read_for(seconds: u64, bytes: u32, copies: u32) -> u32 {
        let mut now = start();
        let end = now + Duration::from_secs(seconds);
        let mut allowance = Allowance::new(now);
        let mut count = 0;
        while now < end {
            match allowance.permit(now) {
                Permit::Now => {
                    allowance.sent_on(now, bytes as usize);
                    allowance.passed(now, bytes, copies, 0);
                    count += 1;
                }
                Permit::NotBefore(due) => {
                    assert!(due > now, "time moves on");
                    now = due;
                }
                Permit::Busy => panic!("everything was passed on"),
            }
        }
        count
    }

    #[test]
    fn each_of_the_four_rates_holds_after_its_burst() {
        let seconds = 10;
        let expected = |rate: u32, burst: u32, cost: u32| (rate * seconds as u32 + burst) / cost;
        for (bytes, copies, allowed) in [
            (10, 1, expected(CHANNEL_MESSAGES_PER_SECOND, CHANNEL_MESSAGES_BURST, 1)),
            (60_000, 1, expected(CHANNEL_BYTES_PER_SECOND, CHANNEL_BYTES_BURST, 60_000)),
            (10, 99, expected(CHANNEL_COPIES_PER_SECOND, CHANNEL_COPIES_BURST, 99)),
            (1_000, 99, expected(CHANNEL_COPIED_BYTES_PER_SECOND, CHANNEL_COPIED_BYTES_BURST, 99_000)),
        ] {
            let count = read_for(seconds, bytes, copies);
            assert!(
                count.abs_diff(allowed) <= 2 + allowed / 100,
                "{bytes} B x {copies}: {count} of {allowed}"
            );
        }
    }

    #[test]
    fn only_so_much_is_on_its_way_at_a_time() {
        let now = start();
        let mut allowance = Allowance::new(now);
        for _ in 0..CHANNEL_IN_FLIGHT_MESSAGES {
            assert_eq!(allowance.permit(now), Permit::Now);
            allowance.sent_on(now, 1);
        }
        assert_eq!(allowance.permit(now), Permit::Busy);
        allowance.passed(now, 1, 0, 0);
        assert_eq!(allowance.permit(now), Permit::Now);
        allowance.sent_on(now, CHANNEL_IN_FLIGHT_BYTES as usize);
        allowance.passed(now, 1, 0, 0);
        assert_eq!(allowance.permit(now), Permit::Busy, "by bytes too");
    }

    #[test]
    fn who_fills_a_slow_receivers_queue_is_slowed_down_to_what_it_takes() {
        // A receiver that takes 100 KiB a second; messages of 1,000 bytes as fast as they may come.
        let mut now = start();
        let mut allowance = Allowance::new(now);
        let (mut queue, mut worst, mut said) = (0, 0, 0);
        for millisecond in 0..20_000 {
            while allowance.permit(now) == Permit::Now {
                allowance.sent_on(now, 1_000);
                queue += 1_000;
                said += 1;
                allowance.passed(now, 1_000, 1, queue);
            }
            if millisecond > 10_000 {
                worst = worst.max(queue);
            }
            queue = queue.saturating_sub(102);
            now += Duration::from_millis(1);
        }
        assert!(said > 1_900 && said < 2_700, "{said} KB in 20 s");
        assert!(worst < 500_000, "{worst} bytes wait");
    }

    #[test]
    fn a_bucket_that_is_asked_often_fills_as_fast_as_one_that_is_not() {
        let begun = start();
        let mut bucket = Bucket::new(1_000, 100, begun);
        bucket.charge(begun, 2_000);
        (1..=1_000).for_each(|ask| bucket.fill(begun + Duration::from_micros(1_900 * ask)));
        assert_eq!(bucket.level, 0);
    }
}
