//! Continuity of one stream: content numbers and timestamps of changing layers become one unbroken sequence for the receiver.
//!
//! Place: [`Rewrite::begin`] and [`Rewrite::skip`] when a packet is chosen or left out, [`Rewrite::place`] when it is released,
//! [`Rewrite::commit`] once a send buffer took it, [`Rewrite::find`] for NACK.
//! A *run* is a stretch of one layer that is forwarded without a break; within it, numbers differ by a constant less what was
//! left out (temporal and spatial layers), so that gaps of the link stay gaps and late or repeated packets find their old number.
//! Promises: no allocation; nothing that was sent changes its number; within a stream no sequence number is used for two packets.
//! Memory: five runs of ~200 B.

use super::skips::Skips;
use crate::base::ids::Seq;
use crate::base::limits::RTX_PACKETS_PER_LAYER;
use crate::base::time::Micros;

/// Extended numbers begin one round up, so that subtracting never underflows.
const ROUND: u64 = 0x1_0000;
/// Runs remembered for late packets and retransmissions, and runs that were begun and not released yet.
const RUNS: usize = 5;
/// A timestamp aligned by sender reports is believed when it is this close to the elapsed time.
const ALIGN_TOLERANCE_US: u64 = 500_000;
/// Words of the window over packets: as far back as the retransmission cache.
const PACKET_WORDS: usize = RTX_PACKETS_PER_LAYER / 64;
/// Words of the window over pictures: 256 pictures are 8 s at 30 frames per second.
const PICTURE_WORDS: usize = 4;

/// A stretch of one layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    start: RunStart,
    content_end: u64,
    out_first: u64,
    offsets: Offsets,
    /// Its first packet left: numbers and offsets count.
    started: bool,
    packets: Skips<PACKET_WORDS>,
    pictures: Skips<PICTURE_WORDS>,
}

/// What begins a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunStart {
    /// Layer it comes from.
    pub layer: u8,
    /// Which of the layer's clocks the timestamps are of; changes when the publisher restarts.
    pub epoch: u32,
    /// Highest spatial layer forwarded, of an SVC stream: its frames end pictures.
    pub spatial: u8,
    /// Content number of the first packet.
    pub content: u64,
    /// Extended VP8 picture id of the first packet, if any.
    pub picture: Option<u64>,
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
    /// VP8 KEYIDX, 5 bits.
    pub key_index: u8,
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
    /// Extended VP8 picture id, if any.
    pub picture: Option<u64>,
    /// VP8 TL0PICIDX, if any.
    pub tl0: Option<u8>,
    /// VP8 KEYIDX, if any.
    pub key_index: Option<u8>,
}

/// Where a packet goes in the receiver's sequence; the default is nowhere, for what is not of the sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Placed {
    out: u64,
    /// What to add to its fields.
    pub offsets: Offsets,
    /// Highest spatial layer of its run.
    pub spatial: u8,
    run: usize,
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

/// See [`Rewrite::ahead`].
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    content_min: u64,
    picture_min: u64,
    out: u64,
    offsets: Offsets,
    /// Whether a VP8 descriptor reads the same as the publisher's.
    pub keeps_vp8: bool,
    spatial: u8,
}

impl Ahead {
    /// What to add to the packets' fields.
    #[inline]
    #[must_use]
    pub const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Roll-over counter and sequence number of a packet; `None` when it does not come behind everything.
    #[inline]
    #[must_use]
    pub fn index(&self, content: u64, picture: Option<u64>) -> Option<u64> {
        let follows =
            content >= self.content_min && picture.is_none_or(|picture| picture >= self.picture_min);
        follows.then(|| content.wrapping_add(self.out).wrapping_sub(ROUND))
    }

    /// Where the packet of this index stands, for [`Rewrite::commit`]: of several that left in order the last one alone is committed.
    #[must_use]
    pub const fn placed(&self, index: u64) -> Placed {
        let out = index.wrapping_add(ROUND);
        Placed { out, offsets: self.offsets, spatial: self.spatial, run: 0, starts: false }
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
    key_index_last: u8,
    /// Extended picture id of the last packet of the newest started run.
    picture_sent: Option<u64>,
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
            key_index_last: 0,
            picture_sent: None,
        }
    }

    /// A run begins with a packet that was chosen; it is released by [`Rewrite::place_start`].
    pub fn begin(&mut self, start: RunStart) {
        self.runs.rotate_right(1);
        self.runs[0] = Some(Run {
            start,
            content_end: start.content,
            out_first: 0,
            offsets: Offsets::default(),
            started: false,
            packets: Skips::new(start.content),
            pictures: Skips::new(start.picture.unwrap_or(0)),
        });
    }

    /// What was sent so far is not repeated any more, and what follows comes from elsewhere: numbers and time go on from there.
    pub fn leave(&mut self) {
        self.runs = [None; RUNS];
        self.picture_sent = None;
    }

    /// A packet of the newest run is left out: what follows closes up. `picture` is its picture when all of it is left out. Without
    /// effect on what was sent already: a packet that comes behind its followers leaves its gap.
    pub fn skip(&mut self, layer: u8, epoch: u32, content: u64, picture: Option<u64>) {
        let Some(run) = &mut self.runs[0] else { return };
        if run.start.layer != layer || run.start.epoch != epoch || content <= run.start.content {
            return;
        }
        if content >= run.content_end {
            run.packets.skip(content);
        }
        let sent = if run.started { self.picture_sent } else { run.start.picture };
        if let (Some(picture), Some(first)) = (picture, run.start.picture)
            && picture > sent.unwrap_or(first).max(first)
        {
            run.pictures.skip(picture);
        }
    }

    /// Whether a packet of the newest run was left out, or is older than what is remembered.
    #[must_use]
    pub fn is_left_out(&self, layer: u8, epoch: u32, content: u64) -> bool {
        let run = self.runs[0].as_ref();
        let run = run.filter(|run| (run.start.layer, run.start.epoch) == (layer, epoch));
        run.is_some_and(|run| run.packets.before(content).is_none())
    }

    /// Places a packet of the running stretch; `None` when it belongs to none that is remembered, or was left out.
    #[must_use]
    pub fn place(&self, fields: &Fields) -> Option<Placed> {
        let mut newest = true;
        for (index, run) in self.runs.iter().enumerate() {
            let Some(run) = run.as_ref() else { continue };
            let fits = run.start.layer == fields.layer && run.start.epoch == fields.epoch;
            if !run.started {
                // What follows a first packet that has not left, or never will, belongs to no earlier run.
                if fits && fields.content >= run.start.content {
                    return None;
                }
                continue;
            }
            let is_newest = std::mem::replace(&mut newest, false);
            if !fits
                || fields.content < run.start.content
                || (!is_newest && fields.content >= run.content_end)
            {
                continue;
            }
            let skipped = run.packets.before(fields.content)?;
            let mut offsets = run.offsets;
            if let Some(picture) = fields.picture.filter(|_| run.start.picture.is_some()) {
                offsets.picture = offsets.picture.wrapping_sub(run.pictures.before(picture)? as u16);
            }
            return Some(Placed {
                out: run.out_first + (fields.content - run.start.content) - skipped,
                offsets,
                spatial: run.start.spatial,
                run: index,
                starts: false,
            });
        }
        None
    }

    /// How packets are placed that come behind everything that was sent or left out of the newest run, if that is of this layer and
    /// clock: the usual case.
    #[must_use]
    pub fn ahead(&self, layer: u8, epoch: u32) -> Option<Ahead> {
        let run = self.runs[0].as_ref().filter(|run| run.started)?;
        if (run.start.layer, run.start.epoch) != (layer, epoch) {
            return None;
        }
        let mut offsets = run.offsets;
        let picture_min = run.start.picture.map_or(0, |_| run.pictures.newest() + 1);
        if run.start.picture.is_some() {
            offsets.picture = offsets.picture.wrapping_sub(run.pictures.total() as u16);
        }
        Some(Ahead {
            content_min: run.content_end.max(run.packets.newest() + 1),
            picture_min,
            // Modulo 2^64: what is added to a content number.
            out: run.out_first.wrapping_sub(run.start.content).wrapping_sub(run.packets.total()),
            offsets,
            keeps_vp8: (offsets.picture & 0x7fff, offsets.tl0, offsets.key_index) == (0, 0, 0),
            spatial: run.start.spatial,
        })
    }

    /// Places the first packet of a run that was begun. `aligned` is its timestamp in the receiver's sequence as sender reports tell,
    /// if they do; else the time since the last packet counts. `None` when the run is gone.
    #[must_use]
    pub fn place_start(
        &self,
        now: Micros,
        clock_hz: u32,
        fields: &Fields,
        aligned: Option<u32>,
    ) -> Option<Placed> {
        let index = self.runs.iter().position(|run| {
            run.is_some_and(|run| {
                let start = run.start;
                !run.started
                    && (start.layer, start.epoch, start.content)
                        == (fields.layer, fields.epoch, fields.content)
            })
        })?;
        let spatial = self.runs[index]?.start.spatial;
        let out = self.out_next;
        let continued =
            self.live().filter(|run| run.start.layer == fields.layer && run.start.epoch == fields.epoch);
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
        // The first run keeps the publisher's numbers: its descriptors leave as they came.
        let (picture, tl0, key_index) = match self.sent_last {
            None => (None, None, None),
            Some(_) => (fields.picture, fields.tl0, fields.key_index),
        };
        let offsets = Offsets {
            timestamp,
            picture: picture
                .map_or(0, |id| self.picture_last.wrapping_add(1).wrapping_sub(id as u16) & 0x7fff),
            tl0: tl0.map_or(0, |index| self.tl0_last.wrapping_add(1).wrapping_sub(index)),
            key_index: key_index
                .map_or(0, |index| self.key_index_last.wrapping_add(1).wrapping_sub(index) & 0x1f),
        };
        Some(Placed { out, offsets, spatial, run: index, starts: true })
    }

    /// A send buffer took the packet.
    #[inline]
    pub fn commit(&mut self, now: Micros, fields: &Fields, placed: &Placed) {
        let Some(run) = self.runs.get_mut(placed.run).and_then(Option::as_mut) else { return };
        if placed.starts {
            run.started = true;
            run.out_first = placed.out;
            run.offsets = placed.offsets;
            self.picture_sent = None;
        }
        if placed.out < self.out_next {
            return;
        }
        run.content_end = fields.content + 1;
        self.out_next = placed.out + 1;
        self.timestamp_last = fields.timestamp.wrapping_add(placed.offsets.timestamp);
        self.sent_last = Some(now);
        if let Some(id) = fields.picture {
            self.picture_sent = Some(id);
            self.picture_last = (id as u16).wrapping_add(placed.offsets.picture) & 0x7fff;
        }
        if let Some(index) = fields.tl0 {
            self.tl0_last = index.wrapping_add(placed.offsets.tl0);
        }
        if let Some(index) = fields.key_index {
            self.key_index_last = index.wrapping_add(placed.offsets.key_index) & 0x1f;
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
        let run = self.runs.iter().flatten().find(|run| run.started && run.out_first <= out)?;
        let content = run.packets.at_rank(run.start.content, out - run.out_first)?;
        (content < run.content_end).then_some((run.start.layer, run.start.epoch, content))
    }

    /// Timestamp of the last packet, as sent.
    #[must_use]
    pub const fn timestamp_last(&self) -> u32 {
        self.timestamp_last
    }

    /// When the last packet was sent.
    #[must_use]
    pub const fn sent_last(&self) -> Option<Micros> {
        self.sent_last
    }

    /// Layer, clock and content number of the newest packet that was sent.
    #[must_use]
    pub fn newest(&self) -> Option<(u8, u32, u64)> {
        self.live().map(|run| (run.start.layer, run.start.epoch, run.content_end - 1))
    }

    /// Whether a packet of the newest stretch was, or could have been, sent.
    #[must_use]
    pub fn was_sent(&self, layer: u8, epoch: u32, content: u64) -> bool {
        self.live().is_some_and(|run| {
            (run.start.layer, run.start.epoch) == (layer, epoch)
                && (run.start.content..run.content_end).contains(&content)
                && run.packets.before(content).is_some()
        })
    }

    /// Layer, clock and timestamp offset of the running stretch, for sender reports.
    #[must_use]
    pub fn clock(&self) -> Option<(u8, u32, u32)> {
        self.live().map(|run| (run.start.layer, run.start.epoch, run.offsets.timestamp))
    }

    /// The newest run of which anything was sent.
    fn live(&self) -> Option<&Run> {
        self.runs.iter().flatten().find(|run| run.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 90_000;

    fn fields(layer: u8, content: u64, timestamp: u32) -> Fields {
        Fields { layer, epoch: 0, content, timestamp, picture: None, tl0: None, key_index: None }
    }

    fn begin(rewrite: &mut Rewrite, fields: &Fields) {
        let &Fields { layer, epoch, content, picture, .. } = fields;
        rewrite.begin(RunStart { layer, epoch, spatial: 0, content, picture });
    }

    fn start(rewrite: &mut Rewrite, now: Micros, fields: &Fields, aligned: Option<u32>) -> (u16, u32) {
        begin(rewrite, fields);
        let placed = rewrite.place_start(now, HZ, fields, aligned).expect("begun");
        rewrite.commit(now, fields, &placed);
        (placed.seq().0, fields.timestamp.wrapping_add(placed.offsets.timestamp))
    }

    fn start_begun(rewrite: &mut Rewrite, fields: &Fields) -> u16 {
        let placed = rewrite.place_start(Micros(0), HZ, fields, None).expect("begun");
        rewrite.commit(Micros(0), fields, &placed);
        placed.seq().0
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
    fn what_follows_a_first_packet_that_never_left_is_not_placed_far_ahead_in_an_earlier_run() {
        let mut rewrite = Rewrite::new(Seq(5), 100);
        start(&mut rewrite, Micros(0), &fields(0, 1, 0), None);
        begin(&mut rewrite, &fields(0, 1_700, 0));
        assert_eq!(rewrite.place(&fields(0, 1_701, 0)), None);
        let late = rewrite.place(&fields(0, 2, 0)).expect("of the first run");
        assert_eq!(late.seq(), Seq(6));
        // The next keyframe goes on without a gap.
        assert_eq!(start(&mut rewrite, Micros(9_000_000), &fields(0, 1_900, 810_000), None).0, 6);
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
        let mut vp8 =
            Fields { picture: Some(0x7fff), tl0: Some(255), key_index: Some(31), ..fields(0, 1, 0) };
        begin(&mut rewrite, &vp8);
        let placed = rewrite.place_start(Micros(0), HZ, &vp8, None).expect("begun");
        rewrite.commit(Micros(0), &vp8, &placed);
        let first = (
            0x7fff_u16.wrapping_add(placed.offsets.picture) & 0x7fff,
            255_u8.wrapping_add(placed.offsets.tl0),
            31_u8.wrapping_add(placed.offsets.key_index) & 0x1f,
        );
        vp8 = Fields { picture: Some(77), tl0: Some(3), key_index: Some(9), ..fields(1, 1, 0) };
        begin(&mut rewrite, &vp8);
        let placed = rewrite.place_start(Micros(33_000), HZ, &vp8, None).expect("begun");
        let second = (
            77_u16.wrapping_add(placed.offsets.picture) & 0x7fff,
            3_u8.wrapping_add(placed.offsets.tl0),
            9_u8.wrapping_add(placed.offsets.key_index) & 0x1f,
        );
        assert_eq!(first, (0x7fff, 255, 31), "the first run keeps the publisher's numbers");
        assert_eq!(second, (0, 0, 0), "the next ones, each in its circle");
    }

    #[test]
    fn nothing_changes_before_commit() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        let packet = fields(0, 1, 0);
        begin(&mut rewrite, &packet);
        let (a, b) = (
            rewrite.place_start(Micros(0), HZ, &packet, None),
            rewrite.place_start(Micros(0), HZ, &packet, None),
        );
        assert_eq!(a, b);
        assert_eq!(rewrite.place(&packet), None);
        rewrite.commit(Micros(0), &packet, &a.expect("begun"));
        assert!(rewrite.place(&packet).is_some());
    }

    #[test]
    fn what_is_left_out_leaves_no_gap_in_packets_and_pictures() {
        let mut rewrite = Rewrite::new(Seq(100), 0);
        let packet = |content: u64| Fields { picture: Some(500 + content), ..fields(0, content, 0) };
        let send = |rewrite: &mut Rewrite, content: u64| {
            let fields = packet(content);
            let placed = rewrite.place(&fields)?;
            rewrite.commit(Micros(0), &fields, &placed);
            Some((placed.seq().0, (500 + content as u16).wrapping_add(placed.offsets.picture) & 0x7fff))
        };
        // The second picture is left out before the first has been released.
        begin(&mut rewrite, &packet(1));
        rewrite.skip(0, 0, 2, Some(502));
        let placed = rewrite.place_start(Micros(0), HZ, &packet(1), None).expect("begun");
        rewrite.commit(Micros(0), &packet(1), &placed);
        let first = (501 + placed.offsets.picture) & 0x7fff;
        assert_eq!(send(&mut rewrite, 3), Some((101, first + 1)));
        rewrite.skip(0, 0, 5, Some(505));
        assert_eq!(send(&mut rewrite, 6), Some((103, first + 3)), "4 is a gap of the link");
        assert_eq!(send(&mut rewrite, 4), Some((102, first + 2)));
        assert_eq!(send(&mut rewrite, 5), None, "left out");
        assert_eq!(rewrite.find(Seq(101)), Some((0, 0, 3)));
        assert_eq!(rewrite.find(Seq(103)), Some((0, 0, 6)));
        // Too late to be left out: its followers have their numbers.
        rewrite.skip(0, 0, 4, Some(504));
        assert_eq!(send(&mut rewrite, 7), Some((104, first + 4)));
    }

    #[test]
    fn runs_begun_one_after_the_other_start_in_order_or_not_at_all() {
        let mut rewrite = Rewrite::new(Seq(0), 0);
        start(&mut rewrite, Micros(0), &fields(0, 1, 0), None);
        begin(&mut rewrite, &fields(1, 40, 0));
        assert_eq!(
            go(&mut rewrite, Micros(0), &fields(0, 2, 0)),
            Some((1, 0)),
            "the old run is live until then"
        );
        begin(&mut rewrite, &fields(1, 50, 0));
        assert_eq!(rewrite.place_start(Micros(0), HZ, &fields(1, 45, 0), None), None, "never begun");
        assert_eq!(start_begun(&mut rewrite, &fields(1, 40, 0)), 2);
        assert_eq!(start_begun(&mut rewrite, &fields(1, 50, 0)), 3);
        assert_eq!(go(&mut rewrite, Micros(0), &fields(1, 41, 0)), None, "its run has ended");
    }
}
