//! Arrivals of a peer's packets by transport-wide sequence number, and the feedback made of them.
//!
//! Path: records every received packet that has the extension; about every 50 ms the engine writes feedback.
//! Promises: memory for [`TWCC_ARRIVALS_PER_PEER`](WINDOW) arrivals, taken at construction; one store per packet; each feedback is at most
//! [`FEEDBACK_BYTES_MAX`] bytes and ends with a packet that arrived. A packet that arrives after later ones were reported is
//! reported when it comes.
//! Not here: chunk coding (`wire::rtcp::twcc`), estimating from the peer's feedback (`session::bwe`).

use crate::base::ids::{Seq, Ssrc};
use crate::base::limits::TWCC_ARRIVALS_PER_PEER as WINDOW;
use crate::base::time::Micros;
use crate::wire::NoSpace;
use crate::wire::rtcp::RtcpWriter;
use crate::wire::rtcp::twcc::{DELTA_TICK_US, REFERENCE_TICK_US, Status};

/// Arrivals in one feedback packet, so that it stays below [`FEEDBACK_BYTES_MAX`].
const ARRIVALS_PER_FEEDBACK: usize = 400;
/// 20 B of headers, two bytes for each seven statuses (1,024 / 7 = 147), two bytes for each arrival, padding.
pub const FEEDBACK_BYTES_MAX: usize = 20 + 2 * 147 + 2 * ARRIVALS_PER_FEEDBACK + 4;
/// Delta units in one reference unit.
const TICKS_PER_REFERENCE: u64 = REFERENCE_TICK_US / DELTA_TICK_US;

/// Tick of a slot without an arrival.
const NOT_RECEIVED: u64 = u64::MAX;

/// Arrival record of one peer.
#[derive(Debug)]
pub struct TwccRecorder {
    /// Arrival in 250 us ticks, by extended number modulo [`WINDOW`].
    arrivals: Box<[u64; WINDOW]>,
    /// First number not yet reported, and the newest that arrived. Extended; `None` before the first packet.
    range: Option<(u64, u64)>,
    feedback_count: u8,
}

impl Default for TwccRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl TwccRecorder {
    /// A recorder that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { arrivals: Box::new([NOT_RECEIVED; WINDOW]), range: None, feedback_count: 0 }
    }

    /// Records one arrival. What is older than the window, and a number that came before, is ignored.
    pub fn record(&mut self, now: Micros, seq: Seq) {
        let tick = now.0 / DELTA_TICK_US;
        let Some((begin, newest)) = self.range else {
            // One circle above zero, so that what comes late from before the first has a number.
            let first = 0x1_0000 + u64::from(seq.0);
            self.arrivals[place(first)] = tick;
            self.range = Some((first, first));
            return;
        };
        let number = extend(newest, seq);
        if number > newest {
            if number - newest >= WINDOW as u64 {
                self.arrivals.fill(NOT_RECEIVED);
            } else {
                (newest + 1..number).for_each(|skipped| self.arrivals[place(skipped)] = NOT_RECEIVED);
            }
            self.arrivals[place(number)] = tick;
            self.range = Some((begin.max(number + 1 - WINDOW as u64), number));
        } else if newest - number < WINDOW as u64 && self.arrivals[place(number)] == NOT_RECEIVED {
            self.arrivals[place(number)] = tick;
            self.range = Some((begin.min(number), newest));
        }
    }

    /// Whether there is something to report.
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        match self.range {
            Some((begin, newest)) => begin <= newest,
            None => false,
        }
    }

    /// Writes one feedback packet. While [`Self::has_pending`] holds afterwards, there is more for the next.
    ///
    /// # Errors
    /// [`NoSpace`] when the compound has fewer than [`FEEDBACK_BYTES_MAX`] bytes left and this one needs more; it stays pending.
    pub fn write_feedback(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        writer: &mut RtcpWriter<'_>,
    ) -> Result<(), NoSpace> {
        let Some((begin, newest)) = self.range else { return Ok(()) };
        let mut statuses: [Status; WINDOW] = [None; WINDOW];
        let (mut count, mut arrivals) = (0, 0);
        let mut reference = 0;
        let mut previous = 0;
        for (at, number) in (begin..=newest).enumerate() {
            let tick = self.arrivals[place(number)];
            if tick == NOT_RECEIVED {
                continue;
            }
            if arrivals == 0 {
                reference = tick / TICKS_PER_REFERENCE;
                previous = reference * TICKS_PER_REFERENCE;
            }
            // Deltas are signed: arrivals may be out of order. What does not fit begins the next feedback.
            let Ok(delta) = i16::try_from(tick as i64 - previous as i64) else { break };
            statuses[at] = Some(delta);
            previous = tick;
            arrivals += 1;
            count = at + 1;
            if arrivals == ARRIVALS_PER_FEEDBACK {
                break;
            }
        }
        // 24 bits, wrapping.
        let reference_ticks = (reference & 0xff_ffff) as i32;
        writer.twcc(
            (sender, media),
            Seq(begin as u16),
            reference_ticks,
            self.feedback_count,
            &statuses[..count],
        )?;
        if count > 0 {
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.range = Some((begin + count as u64, newest));
        }
        Ok(())
    }
}

const fn place(number: u64) -> usize {
    number as usize & (WINDOW - 1)
}

/// The number nearest to `newest` whose low 16 bits are `seq`.
const fn extend(newest: u64, seq: Seq) -> u64 {
    let ahead = seq.0.wrapping_sub(newest as u16);
    if ahead < 0x8000 { newest + ahead as u64 } else { newest.saturating_sub(0x1_0000 - ahead as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use rtcp_types::prelude::*;
    use rtcp_types::{TransportFeedback, Twcc, TwccPacketStatus};
    use std::collections::BTreeMap;

    const ME: Ssrc = Ssrc(1);
    const PEER: Ssrc = Ssrc(2);

    /// Feedback as an independent parser reads it: base, reference time, count, statuses.
    fn feedback(recorder: &mut TwccRecorder) -> (u16, u32, u8, Vec<(u16, Option<i16>)>) {
        let mut out = [0; FEEDBACK_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut out);
        recorder.write_feedback(ME, PEER, &mut writer).expect("the promised space is enough");
        let bytes = writer.bytes();
        let packet = TransportFeedback::parse(&out[..bytes]).expect("well-formed");
        let twcc: Twcc<'_> = packet.parse_fci().expect("transport-wide feedback");
        let statuses = twcc
            .packets()
            .map(|packet| match packet.expect("complete") {
                (seq, TwccPacketStatus::NotReceived) => (seq, None),
                (seq, TwccPacketStatus::Received { delta }) => (seq, Some(delta)),
            })
            .collect();
        (twcc.base_sequence_number(), twcc.reference_time(), twcc.feedback_packet_count(), statuses)
    }

    #[test]
    fn arrivals_and_losses_are_reported_once() {
        let mut recorder = TwccRecorder::new();
        assert!(!recorder.has_pending());
        recorder.record(Micros(64_000 * 10 + 1_000), Seq(65_535));
        recorder.record(Micros(64_000 * 10 + 3_000), Seq(2));
        recorder.record(Micros(64_000 * 10 + 2_500), Seq(1));
        assert!(recorder.has_pending());
        assert_eq!(
            feedback(&mut recorder),
            (65_535, 10, 0, vec![(65_535, Some(4)), (0, None), (1, Some(6)), (2, Some(2))])
        );
        assert!(!recorder.has_pending());
        recorder.record(Micros(64_000 * 11), Seq(3));
        assert_eq!(feedback(&mut recorder), (3, 11, 1, vec![(3, Some(0))]));
    }

    #[test]
    fn a_packet_that_comes_after_its_followers_were_reported_is_reported_then() {
        let mut recorder = TwccRecorder::new();
        for seq in [10, 12] {
            recorder.record(Micros(64_000), Seq(seq));
        }
        feedback(&mut recorder);
        recorder.record(Micros(64_500), Seq(11));
        let (base, _, _, statuses) = feedback(&mut recorder);
        assert_eq!((base, statuses), (11, vec![(11, Some(2)), (12, Some(-2))]));
        recorder.record(Micros(70_000), Seq(11));
        assert!(!recorder.has_pending(), "a duplicate is no news");
    }

    #[test]
    fn a_pause_too_long_for_a_delta_begins_another_feedback() {
        let mut recorder = TwccRecorder::new();
        recorder.record(Micros(0), Seq(1));
        recorder.record(Micros(10_000_000), Seq(2));
        assert_eq!(feedback(&mut recorder), (1, 0, 0, vec![(1, Some(0))]));
        assert!(recorder.has_pending());
        assert_eq!(feedback(&mut recorder), (2, 156, 1, vec![(2, Some(64))]));
        assert!(!recorder.has_pending());
    }

    #[test]
    fn a_jump_beyond_the_window_forgets_what_was_before() {
        let mut recorder = TwccRecorder::new();
        recorder.record(Micros(0), Seq(1));
        recorder.record(Micros(0), Seq(5_000));
        recorder.record(Micros(0), Seq(1_000));
        let (base, _, _, statuses) = feedback(&mut recorder);
        assert_eq!(base, 5_000 - (WINDOW as u16 - 1));
        assert_eq!(statuses.len(), WINDOW);
        assert_eq!(statuses.iter().filter(|(_, delta)| delta.is_some()).count(), 1);
    }

    #[test]
    fn the_reference_time_wraps_at_24_bits() {
        let mut recorder = TwccRecorder::new();
        recorder.record(Micros((1 << 24) * 64_000 + 64_000 * 5), Seq(1));
        assert_eq!(feedback(&mut recorder).1, 5);
    }

    #[test]
    fn a_full_compound_keeps_the_feedback_pending() {
        let mut recorder = TwccRecorder::new();
        recorder.record(Micros(0), Seq(1));
        let mut out = [0; 20];
        assert_eq!(recorder.write_feedback(ME, PEER, &mut RtcpWriter::new(&mut out)), Err(NoSpace));
        assert!(recorder.has_pending());
        assert_eq!(feedback(&mut recorder).2, 0);
    }

    #[test]
    fn every_arrival_is_reported_with_its_time_whatever_the_network_does() {
        let mut rng = Rng::new(60);
        for round in 0..20 {
            let mut recorder = TwccRecorder::new();
            let mut now = rng.below(1 << 40);
            let (mut arrived, mut reported) = (BTreeMap::new(), BTreeMap::new());
            let mut unwrapped = 0x1_0000 + rng.below(0x1_0000);
            for _ in 0..3_000 {
                now += rng.below(2_000);
                unwrapped += 1 + if rng.chance_ppm(30_000) { rng.below(50) } else { 0 };
                // Reordered by up to twenty, so never from before the window.
                let number = unwrapped - rng.below(20).min(unwrapped - 0x1_0000);
                recorder.record(Micros(now), Seq(number as u16));
                arrived.entry(number).or_insert(now / DELTA_TICK_US);
                if rng.chance_ppm(30_000) {
                    while recorder.has_pending() {
                        let (base, reference, _, statuses) = feedback(&mut recorder);
                        assert!(statuses.last().is_some_and(|(_, delta)| delta.is_some()));
                        let begin = extend(unwrapped, Seq(base));
                        // The high bits of the reference are the receiver's to know.
                        let high = ((now / REFERENCE_TICK_US) >> 24) << 24;
                        let mut tick = (high | u64::from(reference)) * TICKS_PER_REFERENCE;
                        for (at, (seq, delta)) in statuses.iter().enumerate() {
                            let number = begin + at as u64;
                            assert_eq!(number as u16, *seq);
                            if let Some(delta) = delta {
                                tick = tick.wrapping_add_signed(i64::from(*delta));
                                reported.insert(number, tick);
                            }
                        }
                    }
                }
            }
            while recorder.has_pending() {
                let (base, ..) = feedback(&mut recorder);
                let begin = extend(unwrapped, Seq(base));
                arrived.retain(|&number, _| number < begin || reported.contains_key(&number));
            }
            assert_eq!(reported, arrived, "round {round}");
        }
    }

    #[test]
    fn the_worst_feedback_fits_its_promise() {
        let mut recorder = TwccRecorder::new();
        // Alternating wide deltas: two bytes each and no runs.
        for seq in 0..WINDOW as u16 {
            let late = if seq % 2 == 0 { 0 } else { 1_000_000 };
            recorder.record(Micros(2_000_000 + late), Seq(seq));
        }
        let mut packets = 0;
        while recorder.has_pending() {
            feedback(&mut recorder);
            packets += 1;
        }
        assert_eq!(packets, WINDOW.div_ceil(ARRIVALS_PER_FEEDBACK));
    }
}
