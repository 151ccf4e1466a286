//! One received stream: what came, what is missing, and whether it is what it should be.
//!
//! Path: after SRTP opened a packet; `feedback` turns what is missing into NACKs and reports. Memory: a 4,096-packet window
//! (512 B) and at most 512 missing packets per stream.
//! Promises: each sequence number counts once; a packet is lost only when it stayed away for [`GIVE_UP_US`]; state depends on
//! input alone. Not here: decryption and RTCP formats.

use dataplane::base::ids::{Seq, Ssrc};
use dataplane::base::media::MediaKind;
use dataplane::base::time::Micros;
use dataplane::wire::rtcp::ReportBlock;

use super::delay::Delays;
use super::stamp::{Stamp, StampError, mix};
use super::vp8;

/// Sequence numbers remembered for telling duplicates.
const WINDOW: u64 = 4_096;
/// Missing packets remembered; older ones count as lost.
const MISSING_MAX: usize = 512;
/// A gap waits this long before it is asked for: reordering heals by itself.
const NACK_AFTER_US: u64 = 10_000;
/// It is asked for again after this long.
const NACK_AGAIN_US: u64 = 60_000;
/// A keyframe is asked for again after this long.
const PLI_INTERVAL_US: u64 = 500_000;
/// A packet still missing after this long is lost.
pub const GIVE_UP_US: u64 = 1_000_000;

/// A stream that the client expects.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveConfig {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions.
    pub rtx: Option<Ssrc>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Payload type.
    pub pt: u8,
    /// Payload type of retransmissions.
    pub rtx_pt: Option<u8>,
    /// Identifier of the transport-wide sequence number extension, if negotiated.
    pub transport_cc: Option<u8>,
    /// Whether missing packets are asked for.
    pub nack: bool,
    /// Publisher and track that are to be heard, as stamped; `None` holds the stream to the first track it hears.
    pub expected: Option<(u32, u32)>,
}

/// What one stream has brought so far.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    /// Different packets, first copies and repairs together.
    pub packets: u64,
    /// Payload bytes of those.
    pub bytes: u64,
    /// Packets that came only by retransmission.
    pub repaired: u64,
    /// Copies of packets already counted.
    pub duplicates: u64,
    /// Packets too old to tell.
    pub too_old: u64,
    /// Packets that stayed away after every request.
    pub lost: u64,
    /// Packets with a number below an earlier one's.
    pub reordered: u64,
    /// Packets of another room: must stay zero.
    pub foreign_room: u64,
    /// Packets of another publisher or track than the stream's: must stay zero.
    pub foreign_track: u64,
    /// Stamps or fills that were damaged although the packet authenticated: must stay zero.
    pub corrupt: u64,
    /// Payloads without a stamp.
    pub unstamped: u64,
    /// Packets with a payload type that was not negotiated.
    pub wrong_pt: u64,
    /// Video: first packets of keyframes.
    pub keyframes: u64,
    /// Video: the very first packet was not one of a keyframe.
    pub began_without_keyframe: bool,
    /// Picture ids or timestamps that do not follow in packets that follow each other.
    pub discontinuities: u64,
    /// Changes of simulcast layer.
    pub layer_switches: u64,
    /// Last simulcast layer.
    pub layer: Option<u8>,
    /// Frames of which every packet came (audio: packets).
    pub frames: u64,
    /// NACKs sent, counted in packets asked for.
    pub nacks: u64,
    /// Keyframe requests sent.
    pub plis: u64,
    /// Publisher and track of the stream.
    pub heard: Option<(u32, u32)>,
    /// When the first packet came.
    pub first: Option<Micros>,
    /// When the last packet came.
    pub last: Option<Micros>,
    /// Sum over packets of [`Stamp::content_hash`]: equal for equal content in any order.
    pub content_hash: u64,
    /// Running hash over packets in order of arrival, times included: equal only for equal runs.
    pub order_hash: u64,
    /// Send to arrival, original packets only.
    pub delays: Delays,
}

struct Missing {
    index: u64,
    since: Micros,
    ask_at: Micros,
}

/// One SSRC being received.
pub(super) struct Receiver {
    config: ReceiveConfig,
    room: u64,
    /// Extended number of the first packet, of the highest, and the window of those seen below it.
    base: u64,
    highest: Option<u64>,
    seen: Box<[u64; WINDOW as usize / 64]>,
    missing: Vec<Missing>,
    frame: FrameCount,
    previous: Option<Previous>,
    jitter: u32,
    previous_transit: Option<u32>,
    reported_expected: u64,
    reported_received: u64,
    last_sr: Option<(u32, Micros)>,
    keyframe_wanted: bool,
    next_pli: Micros,
    pub(super) reception: Reception,
}

/// The packet before, for checks of continuity.
#[derive(Clone, Copy)]
struct Previous {
    index: u64,
    picture: Option<u16>,
    timestamp: u32,
    ended: bool,
}

/// Counts frames whose packets all came: the last few frames, each with what is still missing.
#[derive(Default)]
struct FrameCount {
    frames: [(u32, u16); 16],
}

impl FrameCount {
    /// True when this packet completes its frame.
    fn insert(&mut self, stamp: &Stamp) -> bool {
        let key = stamp.frame.wrapping_mul(4).wrapping_add(u32::from(stamp.layer & 3));
        let slot = &mut self.frames[stamp.frame as usize % 16];
        if slot.1 == 0 || slot.0 != key {
            *slot = (key, stamp.packet_count);
        }
        slot.1 = slot.1.saturating_sub(1);
        slot.1 == 0
    }
}

impl Receiver {
    pub(super) fn new(config: ReceiveConfig, room: u64) -> Self {
        Self {
            config,
            room,
            base: 0,
            highest: None,
            seen: Box::new([0; WINDOW as usize / 64]),
            missing: Vec::with_capacity(MISSING_MAX),
            frame: FrameCount::default(),
            previous: None,
            jitter: 0,
            previous_transit: None,
            reported_expected: 0,
            reported_received: 0,
            last_sr: None,
            keyframe_wanted: false,
            next_pli: Micros(0),
            reception: Reception { heard: config.expected, ..Reception::default() },
        }
    }

    pub(super) const fn config(&self) -> &ReceiveConfig {
        &self.config
    }

    /// Takes one opened packet. `seq` is the original number, also for a retransmission.
    pub(super) fn handle_packet(
        &mut self,
        now: Micros,
        seq: Seq,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        retransmission: bool,
    ) {
        let Some(index) = self.admit(now, seq) else { return };
        let reception = &mut self.reception;
        reception.packets += 1;
        reception.bytes += payload.len() as u64;
        reception.repaired += u64::from(retransmission);
        reception.first.get_or_insert(now);
        reception.last = Some(now);
        let (stamp, picture, start) = match self.config.kind {
            MediaKind::Audio => (Stamp::read(payload), None, true),
            MediaKind::Video => match vp8::read(payload) {
                Ok(vp8) => (Ok(vp8.stamp), vp8.picture, vp8.start),
                Err(error) => (Err(error), None, false),
            },
        };
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(StampError::Missing) => {
                reception.unstamped += 1;
                return;
            }
            Err(StampError::Corrupt) => {
                reception.corrupt += 1;
                return;
            }
        };
        if stamp.room != self.room {
            reception.foreign_room += 1;
        }
        let heard = *reception.heard.get_or_insert((stamp.publisher, stamp.track));
        if heard != (stamp.publisher, stamp.track) {
            reception.foreign_track += 1;
        }
        if self.config.kind == MediaKind::Video {
            if reception.packets == 1 {
                reception.began_without_keyframe = !(stamp.keyframe && start);
            }
            reception.keyframes += u64::from(stamp.keyframe && start);
            self.keyframe_wanted &= !(stamp.keyframe && start);
            if reception.layer != Some(stamp.layer) {
                reception.layer_switches += u64::from(reception.layer.is_some());
                reception.layer = Some(stamp.layer);
            }
        }
        reception.content_hash = reception.content_hash.wrapping_add(stamp.content_hash());
        reception.order_hash = mix(mix(mix(reception.order_hash, stamp.content_hash()), index), now.0);
        reception.frames += u64::from(self.frame.insert(&stamp));
        if !retransmission {
            reception.delays.insert(now.since_us(stamp.sent));
            self.check_continuity(index, picture, timestamp, marker, start);
        }
        self.update_jitter(now, timestamp);
    }

    /// Counts the packet's number; `None` when it was seen before or is too old. Answers the extended number.
    fn admit(&mut self, now: Micros, seq: Seq) -> Option<u64> {
        let Some(highest) = self.highest else {
            // One circle of room below the first packet, for those it overtook.
            let index = 0x1_0000 + u64::from(seq.0);
            (self.base, self.highest) = (index, Some(index));
            self.mark(index);
            return Some(index);
        };
        let ahead = seq.steps_from(Seq(highest as u16));
        if ahead != 0 && ahead < 0x8000 {
            let index = highest + u64::from(ahead);
            for skipped in highest + 1..index {
                self.unmark(skipped);
                self.miss(now, skipped);
            }
            self.unmark(index);
            self.mark(index);
            self.highest = Some(index);
            return Some(index);
        }
        let index = highest.wrapping_sub(u64::from(0_u16.wrapping_sub(ahead)));
        if index + WINDOW <= highest {
            self.reception.too_old += 1;
            return None;
        }
        if self.is_marked(index) {
            self.reception.duplicates += 1;
            return None;
        }
        self.mark(index);
        self.reception.reordered += 1;
        if index < self.base {
            self.base = index;
        } else if let Some(at) = self.missing.iter().position(|missing| missing.index == index) {
            self.missing.remove(at);
        } else {
            // It was given up as lost and came after all.
            self.reception.lost = self.reception.lost.saturating_sub(1);
        }
        Some(index)
    }

    fn miss(&mut self, now: Micros, index: u64) {
        if self.missing.len() == MISSING_MAX {
            self.missing.remove(0);
            self.give_up(1);
        }
        self.missing.push(Missing { index, since: now, ask_at: now.after_us(NACK_AFTER_US) });
    }

    fn give_up(&mut self, count: u64) {
        self.reception.lost += count;
        if count != 0 {
            self.request_keyframe();
        }
    }

    fn check_continuity(
        &mut self,
        index: u64,
        picture: Option<u16>,
        timestamp: u32,
        marker: bool,
        start: bool,
    ) {
        if let Some(previous) = self.previous
            && index == previous.index + 1
        {
            let same_frame = timestamp == previous.timestamp;
            let forward = timestamp.wrapping_sub(previous.timestamp) < 0x8000_0000;
            let picture_follows = match (picture, previous.picture) {
                (Some(now), Some(before)) => {
                    let step = now.wrapping_sub(before) & vp8::PICTURE_MASK;
                    step == u16::from(!same_frame)
                }
                _ => true,
            };
            let frame_follows = match self.config.kind {
                MediaKind::Audio => true,
                MediaKind::Video => start != same_frame && previous.ended == start,
            };
            self.reception.discontinuities += u64::from(!(forward && picture_follows && frame_follows));
        }
        if self.previous.is_none_or(|previous| index > previous.index) {
            self.previous = Some(Previous { index, picture, timestamp, ended: marker });
        }
    }

    /// RFC 3550 appendix A.8.
    fn update_jitter(&mut self, now: Micros, timestamp: u32) {
        let clock_hz = match self.config.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        };
        let arrival = (u128::from(now.0) * clock_hz / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(previous) = self.previous_transit.replace(transit) {
            let distance = (transit.wrapping_sub(previous) as i32).unsigned_abs();
            // The register holds sixteen times the jitter.
            self.jitter = self.jitter.saturating_add(distance).saturating_sub((self.jitter + 8) >> 4);
        }
    }

    pub(super) const fn handle_sender_report(&mut self, now: Micros, ntp: u64) {
        self.last_sr = Some(((ntp >> 16) as u32, now));
    }

    /// Sequence numbers to ask for now; they are asked for again later. Gives up those missing for too long.
    pub(super) fn take_nacks(&mut self, now: Micros, out: &mut Vec<Seq>) {
        let before = self.missing.len();
        self.missing.retain(|missing| now.since_us(missing.since) < GIVE_UP_US);
        self.give_up((before - self.missing.len()) as u64);
        if !self.config.nack {
            return;
        }
        for missing in &mut self.missing {
            if now >= missing.ask_at {
                missing.ask_at = now.after_us(NACK_AGAIN_US);
                out.push(Seq(missing.index as u16));
                self.reception.nacks += 1;
            }
        }
    }

    /// When [`Self::take_nacks`] or [`Self::take_pli`] has something to do.
    pub(super) fn next_request(&self) -> Micros {
        let due = |missing: &Missing| {
            let end = missing.since.after_us(GIVE_UP_US);
            if self.config.nack { missing.ask_at.min(end) } else { end }
        };
        let pli = if self.keyframe_wanted { self.next_pli } else { Micros::NEVER };
        self.missing.iter().map(due).fold(pli, Micros::min)
    }

    /// Whether packets are missing that may still come.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// A keyframe is needed until one comes.
    pub(super) fn request_keyframe(&mut self) {
        self.keyframe_wanted = self.config.kind == MediaKind::Video;
    }

    /// Whether to send a keyframe request now; repeated until a keyframe comes.
    pub(super) fn take_pli(&mut self, now: Micros) -> bool {
        let due = self.keyframe_wanted && now >= self.next_pli;
        if due {
            self.next_pli = now.after_us(PLI_INTERVAL_US);
            self.reception.plis += 1;
        }
        due
    }

    /// A report block, once packets have come.
    pub(super) fn report_block(&mut self, now: Micros) -> Option<ReportBlock> {
        let highest = self.highest?;
        let expected = highest - self.base + 1;
        let received = self.reception.packets;
        let expected_since = expected.saturating_sub(self.reported_expected);
        let received_since = received.saturating_sub(self.reported_received);
        (self.reported_expected, self.reported_received) = (expected, received);
        let lost_since = expected_since.saturating_sub(received_since);
        let (last_sr, delay_since_last_sr) = self
            .last_sr
            .map_or((0, 0), |(sr, at)| (sr, ((u128::from(now.since_us(at)) << 16) / 1_000_000) as u32));
        Some(ReportBlock {
            ssrc: self.config.ssrc,
            fraction_lost: (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255) as u8,
            cumulative_lost: expected.saturating_sub(received).min(0x7f_ffff) as i32,
            // The extended number starts one circle up.
            highest_seq: (highest - 0x1_0000) as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    fn mark(&mut self, index: u64) {
        self.seen[(index % WINDOW) as usize / 64] |= 1 << (index % 64);
    }

    fn unmark(&mut self, index: u64) {
        self.seen[(index % WINDOW) as usize / 64] &= !(1 << (index % 64));
    }

    fn is_marked(&self, index: u64) -> bool {
        self.seen[(index % WINDOW) as usize / 64] >> (index % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> Receiver {
        let config = ReceiveConfig {
            ssrc: Ssrc(1),
            rtx: Some(Ssrc(2)),
            kind: MediaKind::Audio,
            pt: 111,
            rtx_pt: None,
            transport_cc: None,
            nack: true,
            expected: None,
        };
        Receiver::new(config, 5)
    }

    fn feed(receiver: &mut Receiver, now_ms: u64, seq: u16, stamp: Stamp) {
        let mut payload = [0; 80];
        stamp.write(&mut payload);
        let now = Micros(0).after_ms(now_ms);
        receiver.handle_packet(now, Seq(seq), u32::from(seq) * 960, false, &payload, false);
    }

    fn stamp(frame: u32) -> Stamp {
        Stamp { room: 5, publisher: 1, track: 1, frame, packet_count: 1, ..Stamp::default() }
    }

    #[test]
    fn order_and_duplicates_do_not_change_what_was_heard() {
        let mut in_order = receiver();
        (0..10).for_each(|n| feed(&mut in_order, n, (65_530 + n) as u16, stamp(n as u32)));
        let mut mixed = receiver();
        for n in [1_u64, 0, 3, 2, 2, 5, 4, 9, 8, 8, 7, 6] {
            feed(&mut mixed, n, (65_530 + n) as u16, stamp(n as u32));
        }
        let (one, two) = (&in_order.reception, &mixed.reception);
        assert_eq!((one.packets, one.duplicates, one.lost), (10, 0, 0));
        assert_eq!((two.packets, two.duplicates, two.lost), (10, 2, 0));
        assert_eq!(one.content_hash, two.content_hash);
        assert_ne!(one.order_hash, two.order_hash);
        assert_eq!(mixed.missing(), 0);
    }

    #[test]
    fn a_gap_is_asked_for_then_given_up() {
        let mut receiver = receiver();
        feed(&mut receiver, 0, 10, stamp(0));
        feed(&mut receiver, 1, 13, stamp(3));
        let mut asked = Vec::new();
        receiver.take_nacks(Micros(5_000), &mut asked);
        assert!(asked.is_empty(), "reordering is given time");
        assert_eq!(receiver.next_request(), Micros(11_000));
        receiver.take_nacks(Micros(11_000), &mut asked);
        assert_eq!(asked, [Seq(11), Seq(12)]);
        feed(&mut receiver, 20, 11, stamp(1));
        assert_eq!((receiver.missing(), receiver.reception.lost), (1, 0));
        receiver.take_nacks(Micros(1_001_000), &mut asked);
        assert_eq!((receiver.missing(), receiver.reception.lost), (0, 1));
        feed(&mut receiver, 1_100, 12, stamp(2));
        assert_eq!(receiver.reception.lost, 0, "it came after all");
    }

    #[test]
    fn foreign_rooms_and_tracks_are_noticed() {
        let mut receiver = receiver();
        feed(&mut receiver, 0, 1, stamp(0));
        feed(&mut receiver, 1, 2, Stamp { room: 6, ..stamp(1) });
        feed(&mut receiver, 2, 3, Stamp { track: 2, ..stamp(1) });
        assert_eq!((receiver.reception.foreign_room, receiver.reception.foreign_track), (1, 1));
        receiver.handle_packet(Micros(3), Seq(4), 0, false, &[1; 60], false);
        assert_eq!(receiver.reception.unstamped, 1);
    }

    #[test]
    fn reports_say_what_was_lost_since_the_last_one() {
        let mut receiver = receiver();
        assert!(receiver.report_block(Micros(0)).is_none());
        (0..100_u64).filter(|n| n % 4 != 3).for_each(|n| feed(&mut receiver, n, n as u16, stamp(n as u32)));
        receiver.handle_sender_report(Micros(0), 0x1234_5678_9abc_def0);
        let block = receiver.report_block(Micros(500_000)).expect("packets came");
        // 0 to 98 were expected, every fourth is missing.
        assert_eq!((block.cumulative_lost, block.highest_seq), (24, 98));
        assert_eq!(u64::from(block.fraction_lost), 24 * 256 / 99);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_9abc, 32_768));
        let block = receiver.report_block(Micros(600_000)).expect("packets came");
        assert_eq!((block.cumulative_lost, block.fraction_lost), (24, 0));
    }
}
