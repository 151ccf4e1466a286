//! Whether a browser could decode what came: frames are put together, taken in order, and held against what they refer to.
//!
//! Path: after `Receiver` admitted a packet. Memory: at most 256 frames that wait and 64 that are remembered.
//! Promises: a picture counts as decoded only when every frame that it and its layers refer to was; a picture that cannot be
//! decoded although no packet is missing is counted apart, for then it was never sent whole. Not here: NACK (`Receiver`).

use std::collections::{BTreeMap, VecDeque};

use dataplane::base::time::Micros;

use super::Arrived;
use super::config::{FREEZES_MAX, Reception};
use crate::client::stamp::Stamp;

/// Frames that wait for packets; more are given up from the oldest on.
const WAITING_MAX: usize = 256;
/// Frames remembered as decoded: four pictures back on three spatial layers, and a reserve.
const DECODED_MAX: usize = 64;
/// A gap holds up later pictures that do not need it for this long: what a jitter buffer has in hand.
const PATIENCE_US: u64 = 250_000;
/// No decodable picture for this long, although packets come, asks for a keyframe.
const STUCK_US: u64 = 1_000_000;
/// A shorter time without a picture is no freeze.
const FREEZE_US: u64 = 500_000;

/// A frame of which some packets have come.
struct Assembly {
    stamp: Stamp,
    have: u16,
    /// The last packet of the frame ends its picture.
    ends_picture: bool,
    timestamp: u32,
    /// First number behind it.
    end: u64,
    /// Another frame begins before its last packet: it was not sent whole.
    cut: bool,
    /// A retransmission brought some of it.
    repaired: bool,
}

impl Assembly {
    const fn is_whole(&self) -> bool {
        self.have == self.stamp.packet_count && !self.cut
    }
}

/// The picture whose frames are being taken.
struct Picture {
    timestamp: u32,
    decodable: bool,
    spatial: u8,
}

/// What the decoder of one stream holds.
pub(super) struct Decoder {
    /// By the number of their first packet.
    waiting: BTreeMap<u64, Assembly>,
    /// First packet after what was taken.
    next: Option<u64>,
    /// Since when the frame that is next is not there.
    blocked: Option<Micros>,
    /// Encoding, frame number and spatial layer of what was decoded since the last keyframe.
    decoded: VecDeque<(u8, u32, u8)>,
    picture: Option<Picture>,
    /// Packets were lost since the last keyframe, or may have been before the first.
    lossy: bool,
    /// Mean time between pictures, microseconds.
    interval_us: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: None,
            blocked: None,
            decoded: VecDeque::with_capacity(DECODED_MAX),
            picture: None,
            lossy: true,
            interval_us: 0,
        }
    }
}

impl Decoder {
    /// Takes a packet that was not there before.
    pub(super) fn insert(&mut self, index: u64, packet: &Arrived<'_>, stamp: &Stamp) {
        let start = index.saturating_sub(u64::from(stamp.packet));
        let overlaps = || {
            self.waiting
                .range(..=index)
                .next_back()
                .is_some_and(|(&at, frame)| at != start && frame.end > start)
        };
        if packet.retransmission && (self.next.is_some_and(|next| start < next) || overlaps()) {
            // The rest of its frame was left out: it fills a gap and is of no use.
            self.pad(index);
            return;
        }
        if self.next.is_some_and(|next| start < next) {
            return;
        }
        if self.next.is_none() {
            // What overtook the first packet is taken as lost.
            self.next = Some(start);
        }
        if let Some((_, before)) = self.waiting.range_mut(..start).next_back()
            && before.end > start
        {
            (before.end, before.cut) = (start, true);
        }
        let end = start + u64::from(stamp.packet_count);
        let new = Assembly {
            stamp: *stamp,
            have: 0,
            ends_picture: false,
            timestamp: packet.timestamp,
            end,
            cut: false,
            repaired: false,
        };
        let frame = self.waiting.entry(start).or_insert(new);
        frame.have += 1;
        frame.ends_picture |= packet.marker;
        frame.repaired |= packet.retransmission;
        if self.waiting.len() > WAITING_MAX
            && let Some((_, frame)) = self.waiting.pop_first()
        {
            self.pass(frame.end);
            self.lossy = true;
        }
    }

    /// A number without a frame: padding.
    pub(super) fn pad(&mut self, index: u64) {
        if self.next == Some(index) {
            self.next = Some(index + 1);
        } else if self.next.is_some_and(|next| index > next) {
            let stamp = Stamp { packet_count: 0, ..Stamp::default() };
            let new = Assembly {
                stamp,
                have: 0,
                ends_picture: false,
                timestamp: 0,
                end: index + 1,
                cut: false,
                repaired: false,
            };
            self.waiting.entry(index).or_insert(new);
        }
    }

    /// Takes every frame that can be taken. `open` is the lowest number that may still come. True when only a keyframe helps.
    pub(super) fn advance(&mut self, now: Micros, open: u64, reception: &mut Reception) -> bool {
        let mut keyframe_wanted = false;
        while let (Some(next), Some((&start, frame))) = (self.next, self.waiting.first_key_value()) {
            let (end, cut) = (frame.end, frame.cut);
            if start > next && open >= start {
                // What lies before it will not come.
                self.lossy = true;
                self.pass(start);
            } else if start == next && frame.stamp.packet_count == 0 {
                self.waiting.pop_first();
                self.pass(start + 1);
            } else if start == next && frame.is_whole() {
                let Some((_, frame)) = self.waiting.pop_first() else { break };
                self.pass(end);
                keyframe_wanted |= self.take(now, &frame, reception);
            } else if start == next && open >= end {
                self.waiting.pop_first();
                self.lossy |= !cut;
                self.pass(end);
                reception.cut_frames += u64::from(cut);
                reception.skipped_frames += u64::from(!cut);
            } else {
                let waited_us = now.since_us(*self.blocked.get_or_insert(now));
                let whole = |frame: &Assembly| frame.is_whole() && self.is_decodable(&frame.stamp);
                let later = self.waiting.iter().find(|(_, frame)| whole(frame)).map(|(&start, _)| start);
                match later {
                    Some(later) if waited_us >= PATIENCE_US => self.skip_to(later, reception),
                    _ => {
                        keyframe_wanted |= waited_us >= STUCK_US;
                        break;
                    }
                }
            }
        }
        keyframe_wanted
    }

    fn skip_to(&mut self, start: u64, reception: &mut Reception) {
        let kept = self.waiting.split_off(&start);
        let skipped = std::mem::replace(&mut self.waiting, kept);
        let frames = skipped.values().filter(|frame| frame.stamp.packet_count != 0).count();
        reception.skipped_frames += frames as u64;
        self.pass(start);
        self.lossy = true;
    }

    fn pass(&mut self, next: u64) {
        self.next = Some(next);
        self.blocked = None;
    }

    fn is_decodable(&self, stamp: &Stamp) -> bool {
        if stamp.keyframe && stamp.spatial == 0 {
            return true;
        }
        let known = |frame: u32, spatial: u8| self.decoded.contains(&(stamp.layer, frame, spatial));
        let mut refers = stamp.refers.iter().filter(|&&back| back != 0).peekable();
        let alone = refers.peek().is_none() && !stamp.inter_layer;
        !alone
            && refers.all(|&back| known(stamp.frame.wrapping_sub(u32::from(back)), stamp.spatial))
            && (!stamp.inter_layer || known(stamp.frame, stamp.spatial.wrapping_sub(1)))
    }

    /// Takes the next frame; true when only a keyframe helps.
    fn take(&mut self, now: Micros, frame: &Assembly, reception: &mut Reception) -> bool {
        let stamp = &frame.stamp;
        let decodable = self.is_decodable(stamp);
        if stamp.keyframe && stamp.spatial == 0 {
            self.decoded.clear();
            self.lossy = false;
        }
        if decodable {
            if self.decoded.len() == DECODED_MAX {
                self.decoded.pop_front();
            }
            self.decoded.push_back((stamp.layer, stamp.frame, stamp.spatial));
        }
        let same = self.picture.as_ref().is_some_and(|picture| picture.timestamp == frame.timestamp);
        if !same && self.picture.take().is_some() {
            // Its last frame did not come.
            reception.skipped_frames += 1;
        }
        let fresh = Picture { timestamp: frame.timestamp, decodable: true, spatial: 0 };
        let picture = self.picture.get_or_insert(fresh);
        picture.decodable &= decodable;
        picture.spatial = stamp.spatial;
        if !frame.ends_picture {
            return false;
        }
        let (decodable, spatial) = (picture.decodable, picture.spatial);
        self.picture = None;
        if decodable {
            reception.spatial = Some(spatial);
            self.show(now, reception);
            return false;
        }
        reception.undecodable_frames += 1;
        // What fills a gap may be of a temporal layer that is left out.
        let filler = frame.repaired && stamp.temporal > 0;
        reception.unexplained_frames += u64::from(!self.lossy && !filler);
        // A picture of a higher temporal layer can be left out; without the base layer nothing follows.
        let idle_us = reception.last_decoded.map_or(u64::MAX, |last| now.since_us(last));
        stamp.temporal == 0 || idle_us >= FREEZE_US
    }

    fn show(&mut self, now: Micros, reception: &mut Reception) {
        reception.decoded_frames += 1;
        reception.first_decoded.get_or_insert(now);
        if let Some(last) = reception.last_decoded.replace(now) {
            let gap_us = now.since_us(last);
            if gap_us > FREEZE_US.max(3 * self.interval_us) {
                reception.freezes += 1;
                reception.frozen_us += gap_us;
                if reception.freeze_list.len() < FREEZES_MAX {
                    reception.freeze_list.push((last, gap_us));
                }
            } else {
                // The mean of about thirty pictures; frozen times are not in it.
                self.interval_us =
                    if self.interval_us == 0 { gap_us } else { (29 * self.interval_us + gap_us) / 30 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        decoder: Decoder,
        reception: Reception,
        now: Micros,
        highest: u64,
        wanted: bool,
    }

    impl Bench {
        fn new() -> Self {
            let (decoder, reception) = (Decoder::default(), Reception::default());
            Self { decoder, reception, now: Micros(0), highest: 0, wanted: false }
        }

        /// A frame of one packet, 40 ms after the one before.
        fn frame(&mut self, index: u64, stamp: Stamp, missing: Option<u64>) {
            self.now = self.now.after_us(40_000);
            let stamp = Stamp { packet_count: 1, ..stamp };
            self.decoder.insert(index, &packet(&stamp, true), &stamp);
            let open = missing.unwrap_or(index.max(self.highest) + 1);
            self.highest = self.highest.max(index);
            self.wanted |= self.decoder.advance(self.now, open, &mut self.reception);
        }

        fn counts(&self) -> (u64, u64, u64) {
            let Reception { decoded_frames, undecodable_frames, unexplained_frames, .. } = self.reception;
            (decoded_frames, undecodable_frames, unexplained_frames)
        }
    }

    fn packet(stamp: &Stamp, marker: bool) -> Arrived<'static> {
        Arrived {
            seq: dataplane::base::ids::Seq(0),
            pt: 96,
            timestamp: stamp.frame * 3_600,
            marker,
            payload: &[],
            dependency: None,
            retransmission: false,
        }
    }

    fn key(frame: u32) -> Stamp {
        Stamp { frame, keyframe: true, ..Stamp::default() }
    }

    fn delta(frame: u32, back: u16, temporal: u8) -> Stamp {
        Stamp { frame, refers: [back, 0], temporal, ..Stamp::default() }
    }

    #[test]
    fn a_reference_that_was_never_sent_is_unexplained() {
        let mut bench = Bench::new();
        bench.frame(10, key(0), None);
        bench.frame(11, delta(2, 2, 1), None);
        assert_eq!(bench.counts(), (2, 0, 0), "leaving out an upper layer harms nothing");
        // Refers to frame 1, which was left out; the numbers have no gap.
        bench.frame(12, delta(3, 2, 2), None);
        assert_eq!((bench.counts(), bench.wanted), ((2, 1, 1), false));
        bench.frame(13, delta(4, 3, 0), None);
        assert_eq!((bench.counts(), bench.wanted), ((2, 2, 2), true));
        bench.frame(14, key(5), None);
        assert_eq!(bench.counts(), (3, 2, 2));
    }

    #[test]
    fn a_lost_reference_explains_what_follows_until_the_next_keyframe() {
        let mut bench = Bench::new();
        bench.frame(10, key(0), None);
        // Number 11 stays away, and then is given up.
        bench.frame(12, delta(2, 1, 0), Some(11));
        assert_eq!(bench.counts(), (1, 0, 0), "it may still come");
        bench.frame(13, delta(3, 1, 0), None);
        assert_eq!((bench.counts(), bench.wanted), ((1, 2, 0), true));
        bench.frame(14, key(4), None);
        bench.frame(15, delta(6, 1, 0), None);
        assert_eq!(bench.counts(), (2, 3, 1), "after the keyframe nothing is excused");
    }

    #[test]
    fn a_repair_in_time_saves_all_and_a_gap_that_nobody_needs_is_passed() {
        let mut bench = Bench::new();
        bench.frame(10, key(0), None);
        bench.frame(12, delta(2, 2, 0), Some(11));
        assert_eq!(bench.counts(), (1, 0, 0), "order is kept while there is time");
        bench.frame(11, delta(1, 1, 1), None);
        assert_eq!(bench.counts(), (3, 0, 0));
        bench.frame(14, delta(4, 2, 0), Some(13));
        for late in 0..7 {
            bench.frame(15 + late, delta(5 + late as u32, 1, 0), Some(13));
        }
        assert_eq!(bench.counts(), (11, 0, 0), "the gap was an upper layer's and is passed after a while");
        assert!(!bench.wanted);
        assert_eq!(bench.reception.freezes, 0);
    }

    #[test]
    fn a_picture_of_several_layers_needs_all_that_came() {
        let mut bench = Bench::new();
        let spatial =
            |stamp: Stamp, spatial| Stamp { spatial, inter_layer: spatial > 0, packet_count: 1, ..stamp };
        let picture = |bench: &mut Bench, index: u64, stamp: Stamp, layers: &[u8]| {
            for (at, &layer) in layers.iter().enumerate() {
                let stamp = spatial(stamp, layer);
                let last = at + 1 == layers.len();
                bench.decoder.insert(index + at as u64, &packet(&stamp, last), &stamp);
            }
            bench.now = bench.now.after_us(40_000);
            let open = index + layers.len() as u64;
            bench.wanted |= bench.decoder.advance(bench.now, open, &mut bench.reception);
        };
        picture(&mut bench, 0, key(0), &[0, 1]);
        picture(&mut bench, 2, delta(1, 1, 0), &[0]);
        picture(&mut bench, 3, delta(2, 1, 0), &[0]);
        assert_eq!(
            (bench.counts(), bench.reception.spatial),
            ((3, 0, 0), Some(0)),
            "a layer may go at any time"
        );
        picture(&mut bench, 4, delta(3, 1, 0), &[0, 1]);
        assert_eq!(bench.counts(), (3, 1, 1), "but not come back without its references");
        picture(&mut bench, 6, key(4), &[0, 1, 2]);
        assert_eq!((bench.counts(), bench.reception.spatial), ((4, 1, 1), Some(2)));
    }

    #[test]
    fn a_long_gap_is_a_freeze() {
        let mut bench = Bench::new();
        (0..10).for_each(|n| bench.frame(n, if n == 0 { key(0) } else { delta(n as u32, 1, 0) }, None));
        bench.now = bench.now.after_us(560_000);
        bench.frame(10, delta(10, 1, 0), None);
        assert_eq!((bench.reception.freezes, bench.reception.frozen_us), (1, 600_000));
        assert_eq!(bench.reception.freeze_list, [(Micros(400_000), 600_000)]);
    }

    #[test]
    fn a_frame_cut_by_a_keyframe_is_passed_and_excuses_nothing() {
        let mut bench = Bench::new();
        bench.frame(0, key(0), None);
        // Two packets of four, then the stream begins anew.
        for number in 0..2 {
            let stamp = Stamp { packet: number, packet_count: 4, ..delta(1, 1, 0) };
            bench.decoder.insert(1 + u64::from(number), &packet(&stamp, false), &stamp);
        }
        bench.frame(3, key(2), None);
        assert_eq!((bench.counts(), bench.reception.cut_frames), ((2, 0, 0), 1));
        bench.frame(4, delta(4, 1, 0), None);
        assert_eq!(bench.counts(), (2, 1, 1));
    }

    #[test]
    fn a_repair_of_what_is_left_out_fills_its_gap_and_harms_nothing() {
        let mut bench = Bench::new();
        bench.frame(0, key(0), None);
        bench.frame(2, delta(2, 2, 0), Some(1));
        // The second packet of three of an upper layer's frame, whose others were left out.
        let stamp = Stamp { packet: 1, packet_count: 3, ..delta(1, 1, 2) };
        let repair = Arrived { retransmission: true, ..packet(&stamp, false) };
        bench.decoder.insert(1, &repair, &stamp);
        bench.decoder.advance(bench.now, 3, &mut bench.reception);
        assert_eq!(bench.counts(), (2, 0, 0));
        // A whole one, which refers to another that was left out.
        bench.frame(4, delta(4, 2, 0), Some(3));
        let stamp = Stamp { packet_count: 1, ..delta(3, 2, 1) };
        let repair = Arrived { retransmission: true, ..packet(&stamp, true) };
        bench.decoder.insert(3, &repair, &stamp);
        bench.decoder.advance(bench.now, 5, &mut bench.reception);
        assert_eq!((bench.counts(), bench.reception.cut_frames), ((3, 1, 0), 0));
    }

    #[test]
    fn padding_leaves_no_gap() {
        let mut bench = Bench::new();
        bench.frame(0, key(0), None);
        bench.decoder.pad(1);
        bench.decoder.pad(3);
        bench.frame(4, delta(2, 1, 0), Some(2));
        bench.frame(2, delta(1, 1, 0), None);
        assert_eq!(bench.counts(), (3, 0, 0));
    }
}
