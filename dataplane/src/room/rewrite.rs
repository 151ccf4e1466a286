//! Continuity of one stream: content numbers and timestamps of changing layers become one unbroken sequence for the receiver.
//!
//! Place: [`Rewrite::place`] when a packet is released, [`Rewrite::commit`] once a send buffer took it, [`Rewrite::find`] for NACK.
//! A *run* is a stretch of one layer that is forwarded without a break; within it, numbers differ by a constant, so that gaps of
//! the link stay gaps and late or repeated packets find their old number without per-packet memory.
//! Promises: O(1); nothing changes before `commit`; within a stream no sequence number is used for two packets.

use crate::base::ids::Seq;
use crate::base::time::Micros;

/// Extended numbers begin one round up, so that subtracting never underflows.
const ROUND: u64 = 0x1_0000;
/// Runs remembered for late packets and retransmissions.
const RUNS: usize = 4;
/// A timestamp aligned by sender reports is believed when it is this close to the elapsed time.
const ALIGN_TOLERANCE_US: u64 = 500_000;

/// A stretch of one layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    layer: u8,
    /// Which of the layer's clocks the timestamps are of; changes when the publisher restarts.
    epoch: u32,
    content_first: u64,
    content_end: u64,
    out_first: u64,
    offsets: Offsets,
}

/// What is added to the fields of a run's packets, each modulo its width.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offsets {
    /// RTP timestamp.
    pub timestamp: u32,
    /// VP8 picture id, 15 bits.
    pub picture: u16,
    /// VP8 TL0PICIDX.
    pub tl0: u8,
}

/// Fields of one received packet that are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields {
    /// Layer it came from.
    pub layer: u8,
    /// Clock of the layer.
    pub epoch: u32,
    /// Content number in its layer.
    pub content: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// VP8 picture id, if any.
    pub picture: Option<u16>,
    /// VP8 TL0PICIDX, if any.
    pub tl0: Option<u8>,
}

/// Where a packet goes in the receiver's sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    out: u64,
    /// What to add to its fields.
    pub offsets: Offsets,
    starts: bool,
}

impl Placed {
    /// The sequence number to write.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        Seq(self.out as u16)
    }

    /// Roll-over counter and sequence number, for SRTP; begins below 2^16.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.out - ROUND
    }
}

/// Continuity of one stream.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Newest first.
    runs: [Option<Run>; RUNS],
    /// The next new sequence number, extended.
    out_next: u64,
    timestamp_last: u32,
    sent_last: Option<Micros>,
    picture_last: u16,
    tl0_last: u8,
}

impl Rewrite {
    /// A stream whose first packet has these numbers.
    #[must_use]
    pub const fn new(first: Seq, timestamp: u32) -> Self {
        Self {
            runs: [None; RUNS],
            out_next: ROUND + first.0 as u64,
            timestamp_last: timestamp,
            sent_last: None,
            picture_last: 0,
            tl0_last: 0,
        }
    }

    /// Places a packet of the running stretch; `None` when it belongs to none that is remembered.
    #[must_use]
    pub fn place(&self, fields: &Fields) -> Option<Placed> {
        let newest = self.runs[0]?;
        let fits = |run: &Run| run.layer == fields.layer && run.epoch == fields.epoch;
        if fits(&newest) && fields.content >= newest.content_first {
            let out = newest.out_first + (fields.content - newest.content_first);
            return Some(Placed { out, offsets: newest.offsets, starts: false });
        }
        let late = |run: &&Run| fits(run) && (run.content_first..run.content_end).contains(&fields.content);
        self.runs[1..].iter().flatten().find(late).map(|run| Placed {
            out: run.out_first + (fields.content - run.content_first),
            offsets: run.offsets,
            starts: false,
        })
    }

    /// Places the first packet of a new stretch. `aligned` is its timestamp in the receiver's sequence as sender reports tell,
    /// if they do; else the time since the last packet counts.
    #[must_use]
    pub fn place_start(&self, now: Micros, clock_hz: u32, fields: &Fields, aligned: Option<u32>) -> Placed {
        let out = self.out_next;
        let continued = self.runs[0].filter(|run| run.layer == fields.layer && run.epoch == fields.epoch);
        let timestamp = match (continued, self.sent_last) {
            (Some(run), _) => run.offsets.timestamp,
            (None, None) => self.timestamp_last.wrapping_sub(fields.timestamp),
            (None, Some(sent)) => {
                let elapsed_us = now.since_us(sent);
                let ticks =
                    |us: u64| (us.saturating_mul(u64::from(clock_hz)) / 1_000_000).min(1 << 31) as u32;
                let believed =
                    aligned.map(|aligned| aligned.wrapping_sub(self.timestamp_last)).filter(|&ahead| {
                        let slack = ticks(ALIGN_TOLERANCE_US);
                        let expected = ticks(elapsed_us);
                        // Two's complement: behind is a huge number.
                        ahead.wrapping_sub(expected.wrapping_sub(slack)) <= 2 * slack
                    });
                let ahead = match believed {
                    // A frame of the same moment or an earlier one was already sent: the receiver's clock must not go back.
                    Some(ahead) if ahead == 0 || ahead > i32::MAX as u32 => 1,
                    Some(ahead) => ahead,
                    None => ticks(elapsed_us).max(1),
                };
                self.timestamp_last.wrapping_add(ahead).wrapping_sub(fields.timestamp)
            }
        };
        let next = |last: u16| if self.sent_last.is_some() { last.wrapping_add(1) } else { last };
        let picture = fields.picture.map_or(0, |id| next(self.picture_last).wrapping_sub(id) & 0x7fff);
        let tl0 = fields.tl0.map_or(0, |index| (next(u16::from(self.tl0_last)) as u8).wrapping_sub(index));
        Placed { out, offsets: Offsets { timestamp, picture, tl0 }, starts: true }
    }

    /// A send buffer took the packet.
    pub fn commit(&mut self, now: Micros, fields: &Fields, placed: &Placed) {
        if placed.starts {
            self.runs.rotate_right(1);
            self.runs[0] = Some(Run {
                layer: fields.layer,
                epoch: fields.epoch,
                content_first: fields.content,
                content_end: fields.content,
                out_first: placed.out,
                offsets: placed.offsets,
            });
        }
        if placed.out < self.out_next {
            return;
        }
        if let Some(run) = &mut self.runs[0] {
            run.content_end = fields.content + 1;
        }
        self.out_next = placed.out + 1;
        self.timestamp_last = fields.timestamp.wrapping_add(placed.offsets.timestamp);
        self.sent_last = Some(now);
        if let Some(id) = fields.picture {
            self.picture_last = id.wrapping_add(placed.offsets.picture) & 0x7fff;
        }
        if let Some(index) = fields.tl0 {
            self.tl0_last = index.wrapping_add(placed.offsets.tl0);
        }
    }

    /// Layer, clock and content number of the packet that was or would have been sent under `seq`.
    #[must_use]
    pub fn find(&self, seq: Seq) -> Option<(u8, u32, u64)> {
        let behind = (self.out_next as u16).wrapping_sub(seq.0);
        // At most half the circle behind what comes next.
        if behind == 0 || behind > 0x8000 {
            return None;
        }
        let out = self.out_next - u64::from(behind);
        self.runs.iter().flatten().find_map(|run| {
            let content = run.content_first + out.checked_sub(run.out_first)?;
            (content < run.content_end).then_some((run.layer, run.epoch, content))
        })
    }

    /// Layer, clock and timestamp offset of the running stretch, for sender reports.
    #[must_use]
    pub fn clock(&self) -> Option<(u8, u32, u32)> {
        self.runs[0].map(|run| (run.layer, run.epoch, run.offsets.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 90_000;

    fn fields(layer: u8, content: u64, timestamp: u32) -> Fields {
        Fields { layer, epoch: 0, content, timestamp, picture: None, tl0: None }
    }

    fn start(rewrite: &mut Rewrite, now: Micros, fields: &Fields, aligned: Option<u32>) -> (u16, u32) {
        let placed = rewrite.place_start(now, HZ, fields, aligned);
        rewrite.commit(now, fields, &placed);
        (placed.seq().0, fields.timestamp.wrapping_add(placed.offsets.timestamp))
    }

    fn go(rewrite: &mut Rewrite, now: Micros, fields: &Fields) -> Option<(u16, u32)> {
        let placed = rewrite.place(fields)?;
        rewrite.commit(now, fields, &placed);
        Some((placed.seq().0, fields.timestamp.wrapping_add(placed.offsets.timestamp)))
    }

    #[test]
    fn a_switch_continues_numbers_and_time() {
        let mut rewrite = Rewrite::new(Seq(65_534), 1_000);
        assert_eq!(start(&mut rewrite, Micros(0), &fields(0, 10, 5_000), None), (65_534, 1_000));
        assert_eq!(go(&mut rewrite, Micros(0), &fields(0, 11, 5_000)), Some((65_535, 1_000)));
        assert_eq!(go(&mut rewrite, Micros(33_000), &fields(0, 13, 8_000)), Some((1, 4_000)));
        // Without sender reports the elapsed time counts: 33.3 ms are 2,997 ticks.
        let (seq, timestamp) = start(&mut rewrite, Micros(66_300), &fields(2, 500, 77), None);
        assert_eq!((seq, timestamp), (2, 4_000 + 2_997));
        assert_eq!(go(&mut rewrite, Micros(66_300), &fields(2, 501, 77)), Some((3, timestamp)));
        // A late packet of the first stretch still finds its gap; one behind its end does not.
        assert_eq!(go(&mut rewrite, Micros(66_300), &fields(0, 12, 8_000)), Some((0, 4_000)));
        assert_eq!(go(&mut rewrite, Micros(66_300), &fields(0, 14, 8_000)), None);
    }

    #[test]
    fn sender_reports_align_the_new_layer_unless_they_are_absurd() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        start(&mut rewrite, Micros(0), &fields(0, 1, 0), None);
        assert_eq!(start(&mut rewrite, Micros(33_000), &fields(1, 1, 900), Some(3_003)).1, 3_003);
        assert_eq!(
            start(&mut rewrite, Micros(66_000), &fields(2, 1, 44), Some(3_003)).1,
            3_004,
            "same moment"
        );
        assert_eq!(
            start(&mut rewrite, Micros(66_000), &fields(1, 9, 44), Some(2_000)).1,
            3_005,
            "never back"
        );
        assert_eq!(
            start(&mut rewrite, Micros(99_000), &fields(0, 9, 44), Some(900_000)).1,
            3_005 + 2_970,
            "absurd"
        );
    }

    #[test]
    fn a_pause_on_one_layer_leaves_no_gap_and_keeps_the_clock() {
        let mut rewrite = Rewrite::new(Seq(5), 100);
        start(&mut rewrite, Micros(0), &fields(0, 1, 0), None);
        assert_eq!(start(&mut rewrite, Micros(9_000_000), &fields(0, 40, 810_000), None), (6, 810_100));
        assert_eq!(rewrite.find(Seq(5)), Some((0, 0, 1)));
        assert_eq!(rewrite.find(Seq(6)), Some((0, 0, 40)));
        assert_eq!((rewrite.find(Seq(7)), rewrite.find(Seq(4))), (None, None));
    }

    #[test]
    fn lost_packets_are_found_by_their_number_in_every_remembered_run() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        start(&mut rewrite, Micros(0), &fields(0, 1, 0), None);
        go(&mut rewrite, Micros(0), &fields(0, 9, 0));
        start(&mut rewrite, Micros(0), &fields(1, 100, 0), None);
        assert_eq!(rewrite.find(Seq(4)), Some((0, 0, 5)), "a gap of the link: it may be cached by now");
        assert_eq!(rewrite.find(Seq(8)), Some((0, 0, 9)));
        assert_eq!(rewrite.find(Seq(9)), Some((1, 0, 100)));
    }

    #[test]
    fn picture_numbers_go_on_across_runs() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        let mut vp8 = Fields { picture: Some(0x7fff), tl0: Some(255), ..fields(0, 1, 0) };
        let placed = rewrite.place_start(Micros(0), HZ, &vp8, None);
        rewrite.commit(Micros(0), &vp8, &placed);
        let first = (
            0x7fff_u16.wrapping_add(placed.offsets.picture) & 0x7fff,
            255_u8.wrapping_add(placed.offsets.tl0),
        );
        vp8 = Fields { picture: Some(77), tl0: Some(3), ..fields(1, 1, 0) };
        let placed = rewrite.place_start(Micros(33_000), HZ, &vp8, None);
        let second =
            (77_u16.wrapping_add(placed.offsets.picture) & 0x7fff, 3_u8.wrapping_add(placed.offsets.tl0));
        assert_eq!(second, (first.0 + 1, first.1 + 1));
    }

    #[test]
    fn nothing_changes_before_commit() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        let packet = fields(0, 1, 0);
        let (a, b) = (
            rewrite.place_start(Micros(0), HZ, &packet, None),
            rewrite.place_start(Micros(0), HZ, &packet, None),
        );
        assert_eq!(a, b);
        assert_eq!(rewrite.place(&packet), None);
        rewrite.commit(Micros(0), &packet, &a);
        assert!(rewrite.place(&packet).is_some());
    }
}
