//! Counters of one core: plain numbers while they count, copied to a shared page a few times a second, read on scrape.
//!
//! Promises: counting is one add to memory only this core writes; nobody shares a cache line with the packet path.

use std::sync::atomic::{AtomicU64, Ordering};

use super::drops::DropReason;

/// Where the cycles of a loop turn went: the label `stage` of `kaigi_cycles_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// Reaping completions and giving buffers back.
    Receive,
    /// Demultiplexing and SRTP open.
    Open,
    /// Choosing receivers and layers.
    Route,
    /// Writing headers.
    Rewrite,
    /// SRTP seal.
    Seal,
    /// Handing datagrams to the kernel.
    Send,
    /// RTCP, STUN, timers and lanes.
    Rtcp,
    /// Waiting.
    Idle,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All stages with their label values, in the order of their discriminants.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Receive, "receive"),
        (Self::Open, "open"),
        (Self::Route, "route"),
        (Self::Rewrite, "rewrite"),
        (Self::Seal, "seal"),
        (Self::Send, "send"),
        (Self::Rtcp, "rtcp"),
        (Self::Idle, "idle"),
    ];
}

/// Upper bounds of the forward-delay histogram, microseconds; the last bucket is everything above.
pub const DELAY_BOUNDS_US: [u64; 12] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000];

/// One core's counters since boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Datagrams received, of every protocol.
    pub packets_received: u64,
    /// Bytes of those datagrams.
    pub bytes_received: u64,
    /// RTP packets sent to subscribers, retransmissions not counted.
    pub packets_forwarded: u64,
    /// Bytes of those, as sent.
    pub bytes_forwarded: u64,
    /// RTP packets retransmitted to subscribers.
    pub packets_retransmitted: u64,
    /// RTP packets sent to subscribers only to probe their links.
    pub packets_padding: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests: u64,
    /// Streams that began with a keyframe that was still remembered, instead of asking for one.
    pub keyframes_replayed: u64,
    /// Transport-wide feedback that speaks of packets never sent or of impossible times.
    pub feedback_refused: u64,
    /// Datagrams per GSO send are `datagrams_sent / sends`.
    pub sends: u64,
    /// Datagrams handed to the kernel, of every protocol.
    pub datagrams_sent: u64,
    /// Peers with keys at this moment.
    pub peers: u64,
    /// Meetings at this moment.
    pub meetings: u64,
    /// Dropped packets by [`DropReason`].
    pub dropped: [u64; DropReason::COUNT],
    /// Cycles by [`Stage`].
    pub cycles: [u64; Stage::COUNT],
    /// Forward delay (received to handed over) by bucket of [`DELAY_BOUNDS_US`], the last for all above.
    pub delay_buckets: [u64; DELAY_BOUNDS_US.len() + 1],
    /// Sum of all forward delays, microseconds.
    pub delay_sum_us: u64,
}

const SCALARS: usize = 13;
const WORDS: usize = SCALARS + DropReason::COUNT + Stage::COUNT + DELAY_BOUNDS_US.len() + 1 + 1;

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets_received: 0,
            bytes_received: 0,
            packets_forwarded: 0,
            bytes_forwarded: 0,
            packets_retransmitted: 0,
            packets_padding: 0,
            keyframe_requests: 0,
            keyframes_replayed: 0,
            feedback_refused: 0,
            sends: 0,
            datagrams_sent: 0,
            peers: 0,
            meetings: 0,
            dropped: [0; DropReason::COUNT],
            cycles: [0; Stage::COUNT],
            delay_buckets: [0; DELAY_BOUNDS_US.len() + 1],
            delay_sum_us: 0,
        }
    }
}

impl Counters {
    /// Counts one dropped packet.
    pub const fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// How many were dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Records one forward delay.
    pub fn delay(&mut self, microseconds: u64) {
        self.delays(microseconds, 1);
    }

    /// Notes the same forward delay of several packets.
    pub fn delays(&mut self, microseconds: u64, packets: u32) {
        let bucket =
            DELAY_BOUNDS_US.iter().position(|&bound| microseconds <= bound).unwrap_or(DELAY_BOUNDS_US.len());
        self.delay_buckets[bucket] += u64::from(packets);
        self.delay_sum_us += microseconds * u64::from(packets);
    }

    fn words(&mut self) -> impl Iterator<Item = &mut u64> {
        [
            &mut self.packets_received,
            &mut self.bytes_received,
            &mut self.packets_forwarded,
            &mut self.bytes_forwarded,
            &mut self.packets_retransmitted,
            &mut self.packets_padding,
            &mut self.keyframe_requests,
            &mut self.keyframes_replayed,
            &mut self.feedback_refused,
            &mut self.sends,
            &mut self.datagrams_sent,
            &mut self.peers,
            &mut self.meetings,
        ]
        .into_iter()
        .chain(self.dropped.iter_mut())
        .chain(self.cycles.iter_mut())
        .chain(self.delay_buckets.iter_mut())
        .chain(std::iter::once(&mut self.delay_sum_us))
    }
}

/// The page a core publishes its counters on and a scrape reads.
pub struct SharedCounters([AtomicU64; WORDS]);

impl Default for SharedCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl SharedCounters {
    /// Copies a core's counters to the page. Only the core that owns them calls this.
    pub fn publish(&self, counters: &Counters) {
        let mut copy = counters.clone();
        for (word, value) in self.0.iter().zip(copy.words()) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    /// The last published counters. Each number is whole; two numbers may be from neighbouring publications.
    #[must_use]
    pub fn read(&self) -> Counters {
        let mut counters = Counters::default();
        for (word, value) in self.0.iter().zip(counters.words()) {
            *value = word.load(Ordering::Relaxed);
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_read() {
        let mut counters = Counters::default();
        let mut count = 0;
        for word in counters.words() {
            count += 1;
            *word = count;
        }
        assert_eq!(count as usize, WORDS);
        let page = SharedCounters::default();
        page.publish(&counters);
        assert_eq!(page.read(), counters);
    }

    #[test]
    fn a_delay_lands_in_the_bucket_that_holds_it() {
        let mut counters = Counters::default();
        counters.delay(10);
        counters.delay(11);
        counters.delay(1_000_000);
        assert_eq!(counters.delay_buckets[0], 1);
        assert_eq!(counters.delay_buckets[1], 1);
        assert_eq!(counters.delay_buckets[DELAY_BOUNDS_US.len()], 1);
        assert_eq!(counters.delay_sum_us, 1_000_021);
    }
}
