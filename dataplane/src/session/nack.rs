//! Gaps in one received stream and when to ask for them again (RFC 4585 section 6.2.1).
//!
//! Path: fed with every packet of a publisher's layer, asked a few times a second which sequence numbers to NACK.
//! Promises: at most [`NACK_GAPS_PER_STREAM`] gaps are remembered, all memory is taken at construction; while nothing is
//! missing a packet costs one comparison.
//! Not here: writing the RTCP (`wire::rtcp`), the keyframe request when a gap is given up (`room`).

use crate::base::ids::Seq;
use crate::base::limits::NACK_GAPS_PER_STREAM;
use crate::base::time::Micros;

/// A packet this many packets late counts as lost, however little time went by.
const REORDER_PACKETS: u16 = 3;
/// A packet this late counts as lost, however few packets came since.
const REORDER_US: u64 = 10_000;
/// The same packet is not asked for again before a round trip, and never sooner than this.
const RETRY_US_MIN: u64 = 20_000;
/// A packet is asked for this often.
const TRIES_MAX: u8 = 10;
/// A packet missing for this long would come too late to be shown.
const AGE_US_MAX: u64 = 1_000_000;

/// What a packet was to the gap list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Newer than all before.
    Newest,
    /// It fills a gap: late or retransmitted.
    FillsGap,
    /// Neither: a duplicate, or older than what is remembered.
    Old,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: Seq,
    since: Micros,
    /// When it is next asked for, if it is.
    ask_at: Micros,
    tries: u8,
}

/// Gap list of one stream.
#[derive(Debug)]
pub struct NackTracker {
    newest: Option<Seq>,
    /// In circular order.
    missing: Vec<Missing>,
    given_up: bool,
}

impl Default for NackTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl NackTracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { newest: None, missing: Vec::with_capacity(NACK_GAPS_PER_STREAM), given_up: false }
    }

    /// Another stream begins: forgets everything and keeps the memory.
    pub fn restart(&mut self) {
        self.newest = None;
        self.missing.clear();
        self.given_up = false;
    }

    /// Takes one received packet, retransmissions included.
    pub fn handle_packet(&mut self, now: Micros, seq: Seq) -> Arrival {
        let Some(newest) = self.newest else {
            self.newest = Some(seq);
            return Arrival::Newest;
        };
        if !seq.is_ahead_of(newest) {
            return match self.missing.iter().position(|missing| missing.seq == seq) {
                Some(at) => {
                    self.missing.remove(at);
                    Arrival::FillsGap
                }
                None => Arrival::Old,
            };
        }
        self.newest = Some(seq);
        let gap = usize::from(seq.steps_from(newest)) - 1;
        if self.missing.len() + gap > NACK_GAPS_PER_STREAM {
            self.missing.clear();
            self.given_up = true;
        } else {
            self.missing.extend((1..=gap as u16).map(|step| Missing {
                seq: newest.plus(step),
                since: now,
                ask_at: now.after_us(REORDER_US),
                tries: 0,
            }));
        }
        // Packets that are now several packets late are asked for without waiting longer.
        for missing in self.missing.iter_mut().filter(|missing| missing.tries == 0) {
            if seq.steps_from(missing.seq) >= REORDER_PACKETS {
                missing.ask_at = missing.ask_at.min(now);
            }
        }
        Arrival::Newest
    }

    /// A keyframe begins at `seq`: what is missing before it is no longer wanted.
    pub fn handle_keyframe(&mut self, seq: Seq) {
        self.missing.retain(|missing| missing.seq.is_ahead_of(seq));
        self.given_up = false;
    }

    /// Writes what is to be asked for at `now` into `out`, in circular order, and counts it as asked; answers how many.
    /// What does not fit into `out` stays due.
    pub fn poll_nack(&mut self, now: Micros, rtt_us: u64, out: &mut [Seq]) -> usize {
        let before = self.missing.len();
        self.missing.retain(|missing| {
            now.since_us(missing.since) < AGE_US_MAX && (missing.tries < TRIES_MAX || missing.ask_at > now)
        });
        self.given_up |= self.missing.len() < before;
        let mut count = 0;
        for missing in self.missing.iter_mut().filter(|missing| missing.ask_at <= now) {
            let Some(slot) = out.get_mut(count) else { break };
            *slot = missing.seq;
            count += 1;
            missing.tries += 1;
            missing.ask_at = now.after_us(rtt_us.max(RETRY_US_MIN));
        }
        count
    }

    /// When [`Self::poll_nack`] next has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Micros {
        self.missing.iter().map(|missing| missing.ask_at).min().unwrap_or(Micros::NEVER)
    }

    /// Whether a gap was given up since the last call: only a keyframe repairs the picture.
    pub fn take_given_up(&mut self) -> bool {
        std::mem::take(&mut self.given_up)
    }

    /// Whether [`Self::take_given_up`] has something to say.
    #[must_use]
    pub const fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Gaps remembered now.
    #[must_use]
    pub fn missing_count(&self) -> usize {
        self.missing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const RTT_US: u64 = 50_000;

    fn asked(tracker: &mut NackTracker, now: Micros) -> Vec<u16> {
        let mut out = [Seq(0); NACK_GAPS_PER_STREAM];
        let count = tracker.poll_nack(now, RTT_US, &mut out);
        out[..count].iter().map(|seq| seq.0).collect()
    }

    #[test]
    fn a_gap_is_asked_for_after_the_reordering_tolerance() {
        let mut tracker = NackTracker::new();
        assert_eq!(tracker.handle_packet(Micros(0), Seq(65_534)), Arrival::Newest);
        assert_eq!(tracker.next_timeout(), Micros::NEVER);
        assert_eq!(tracker.handle_packet(Micros(0), Seq(1)), Arrival::Newest);
        // 65535 is two packets late, 0 one.
        assert!(asked(&mut tracker, Micros(0)).is_empty());
        assert_eq!(tracker.next_timeout(), Micros(REORDER_US));
        assert_eq!(asked(&mut tracker, Micros(REORDER_US)), [65_535, 0]);
        assert!(asked(&mut tracker, Micros(REORDER_US)).is_empty(), "not twice at once");
        assert_eq!(tracker.handle_packet(Micros(0), Seq(4)), Arrival::Newest);
        assert_eq!(tracker.handle_packet(Micros(0), Seq(5)), Arrival::Newest);
        assert_eq!(asked(&mut tracker, Micros(1)), [2], "three packets later there is no waiting");
    }

    #[test]
    fn what_arrives_late_is_not_asked_for() {
        let mut tracker = NackTracker::new();
        for seq in [10, 12, 11] {
            tracker.handle_packet(Micros(0), Seq(seq));
        }
        assert_eq!(tracker.missing_count(), 0);
        assert_eq!(tracker.handle_packet(Micros(0), Seq(11)), Arrival::Old);
        assert_eq!(tracker.handle_packet(Micros(0), Seq(9)), Arrival::Old);
        tracker.handle_packet(Micros(0), Seq(14));
        assert_eq!(tracker.handle_packet(Micros(0), Seq(13)), Arrival::FillsGap);
        assert!(asked(&mut tracker, Micros(1_000_000)).is_empty());
        assert!(!tracker.take_given_up());
    }

    #[test]
    fn a_gap_is_asked_for_each_round_trip_until_it_is_given_up() {
        let mut tracker = NackTracker::new();
        tracker.handle_packet(Micros(0), Seq(1));
        tracker.handle_packet(Micros(0), Seq(3));
        let mut times = Vec::new();
        for now in (0..2_000_000).step_by(1_000) {
            if !asked(&mut tracker, Micros(now)).is_empty() {
                times.push(now);
            }
        }
        assert_eq!(times.len(), usize::from(TRIES_MAX));
        assert_eq!(times[0], REORDER_US);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == RTT_US));
        assert!(tracker.take_given_up() && !tracker.take_given_up());
        assert_eq!(tracker.missing_count(), 0);
    }

    #[test]
    fn a_long_round_trip_gives_up_by_age() {
        let mut tracker = NackTracker::new();
        tracker.handle_packet(Micros(0), Seq(1));
        tracker.handle_packet(Micros(0), Seq(3));
        let mut out = [Seq(0); 4];
        let tries: usize =
            (0..2_000).map(|ms| tracker.poll_nack(Micros(ms * 1_000), 400_000, &mut out)).sum();
        assert_eq!(tries, 3);
        assert!(tracker.take_given_up());
    }

    #[test]
    fn a_gap_larger_than_the_list_is_given_up_at_once() {
        let mut tracker = NackTracker::new();
        tracker.handle_packet(Micros(0), Seq(0));
        tracker.handle_packet(Micros(0), Seq(NACK_GAPS_PER_STREAM as u16 + 1));
        assert_eq!(tracker.missing_count(), NACK_GAPS_PER_STREAM);
        tracker.handle_packet(Micros(0), Seq(NACK_GAPS_PER_STREAM as u16 + 3));
        assert_eq!(tracker.missing_count(), 0);
        assert!(tracker.take_given_up());
    }

    #[test]
    fn a_keyframe_makes_older_gaps_irrelevant() {
        let mut tracker = NackTracker::new();
        for seq in [1, 4, 6, 8] {
            tracker.handle_packet(Micros(0), Seq(seq));
        }
        tracker.handle_keyframe(Seq(6));
        assert_eq!(asked(&mut tracker, Micros(REORDER_US)), [7]);
    }

    #[test]
    fn what_does_not_fit_stays_due() {
        let mut tracker = NackTracker::new();
        tracker.handle_packet(Micros(0), Seq(0));
        tracker.handle_packet(Micros(0), Seq(6));
        let mut out = [Seq(0); 3];
        let now = Micros(REORDER_US);
        assert_eq!(tracker.poll_nack(now, RTT_US, &mut out), 3);
        assert_eq!(tracker.poll_nack(now, RTT_US, &mut out), 2);
        assert_eq!(out[..2], [Seq(4), Seq(5)]);
    }

    #[test]
    fn every_lost_packet_is_asked_for_and_no_other_and_memory_does_not_grow() {
        let mut rng = Rng::new(40);
        let mut tracker = NackTracker::new();
        let capacity = tracker.missing.capacity();
        let mut now = Micros(0);
        let (mut lost, mut nacked) = (Vec::new(), Vec::new());
        for step in 0..100_000_u32 {
            now = now.after_us(1_000);
            let seq = step as u16;
            if step > 0 && step < 99_000 && rng.chance_ppm(50_000) {
                lost.push(seq);
            } else {
                tracker.handle_packet(now, Seq(seq));
            }
            for seq in asked(&mut tracker, now) {
                nacked.push(seq);
                // The retransmission arrives.
                assert_eq!(tracker.handle_packet(now, Seq(seq)), Arrival::FillsGap);
            }
        }
        assert_eq!(nacked, lost);
        assert_eq!(tracker.missing.capacity(), capacity);
        assert!(!tracker.take_given_up());
    }
}
