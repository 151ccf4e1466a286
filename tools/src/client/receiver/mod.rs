//! One received stream: what came, what is missing, and whether it is what it should be.
//!
//! Path: after SRTP opened a packet; `Client` turns what is missing into NACKs and reports. Memory: a 4,096-packet window
//! (512 B), at most 512 missing packets, and what the decoder or the playout buffer holds.
//! Promises: each sequence number counts once; a packet is lost only when it stayed away for [`GIVE_UP_US`]; state depends on
//! input alone. Not here: decryption and RTCP formats.

mod config;
mod continuity;
mod decoder;
mod playout;
mod window;

use dataplane::base::ids::Seq;
use dataplane::base::media::MediaKind;
use dataplane::base::time::Micros;
use dataplane::wire::rtcp::ReportBlock;

use super::codec::{self, Descriptor};
use super::red;
use super::stamp::{Stamp, StampError, mix};
pub use config::{FREEZES_MAX, ReceiveConfig, Reception, SPATIAL_LAYERS, TEMPORAL_LAYERS};
use continuity::{Continuity, Facts};
use decoder::Decoder;
use playout::Playout;
pub use window::GIVE_UP_US;
use window::Window;

/// A keyframe is asked for again after this long.
const PLI_INTERVAL_US: u64 = 500_000;

/// One opened packet. A retransmission has the original's number.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'p> {
    pub(super) seq: Seq,
    pub(super) pt: u8,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: &'p [u8],
    pub(super) dependency: Option<&'p [u8]>,
    pub(super) retransmission: bool,
}

/// One SSRC being received.
pub(super) struct Receiver {
    config: ReceiveConfig,
    room: u64,
    window: Window,
    frame: FrameCount,
    continuity: Continuity,
    decoder: Decoder,
    playout: Option<Playout>,
    /// Frame number of the dependency descriptor of the packet before.
    previous_dependency: Option<(u64, u16)>,
    jitter: u32,
    previous_transit: Option<u32>,
    reported_expected: u64,
    reported_received: u64,
    last_sr: Option<(u32, Micros)>,
    keyframe_wanted: bool,
    next_pli: Micros,
    pub(super) reception: Reception,
}

/// Frames whose packets are counted at a time: 16 pictures of up to four layers.
const FRAMES_COUNTED: usize = 64;

/// Counts frames whose packets all came: the last few frames, each with what is still missing.
struct FrameCount {
    frames: [(u32, u16); FRAMES_COUNTED],
}

impl FrameCount {
    /// True when this packet completes its frame.
    fn insert(&mut self, stamp: &Stamp) -> bool {
        let layer = u32::from(stamp.layer & 3) << 2 | u32::from(stamp.spatial & 3);
        let key = stamp.frame.wrapping_mul(16).wrapping_add(layer);
        // Spatial layers of a picture come together, simulcast layers do not.
        let at = stamp.frame.wrapping_mul(4).wrapping_add(u32::from(stamp.spatial & 3));
        let slot = &mut self.frames[at as usize % FRAMES_COUNTED];
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
            window: Window::new(config.nack),
            frame: FrameCount { frames: [(0, 0); FRAMES_COUNTED] },
            continuity: Continuity::new(config.kind, config.codec),
            decoder: Decoder::default(),
            playout: None,
            previous_dependency: None,
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

    /// Takes one opened packet.
    pub(super) fn handle_packet(&mut self, now: Micros, packet: &Arrived<'_>) {
        let again = packet.retransmission;
        let Some(index) = self.window.admit(now, packet.seq, again, &mut self.reception) else { return };
        let reception = &mut self.reception;
        reception.packets += 1;
        reception.bytes += packet.payload.len() as u64;
        reception.repaired += u64::from(packet.retransmission);
        reception.first.get_or_insert(now);
        reception.last = Some(now);
        let stamp = match self.config.kind {
            MediaKind::Audio => self.read_audio(now, index, packet),
            MediaKind::Video => self.read_video(index, packet),
        };
        match stamp {
            Ok(stamp) => self.judge(now, index, packet, &stamp),
            Err(StampError::Missing) => self.reception.unstamped += 1,
            Err(StampError::Corrupt) => self.reception.corrupt += 1,
        }
        self.decode(now);
    }

    /// Takes a packet without payload: a probe that took a number.
    pub(super) fn handle_padding(&mut self, now: Micros, seq: Seq) {
        if let Some(index) = self.window.admit(now, seq, false, &mut self.reception) {
            self.continuity.pad(index);
            self.decoder.pad(index);
            self.decode(now);
        }
    }

    fn judge(&mut self, now: Micros, index: u64, packet: &Arrived<'_>, stamp: &Stamp) {
        let reception = &mut self.reception;
        reception.foreign_room += u64::from(stamp.room != self.room);
        let heard = *reception.heard.get_or_insert((stamp.publisher, stamp.track));
        reception.foreign_track += u64::from(heard != (stamp.publisher, stamp.track));
        if self.config.kind == MediaKind::Video {
            let keyframe_start = stamp.keyframe && stamp.packet == 0 && stamp.spatial == 0;
            if reception.packets == 1 {
                reception.began_without_keyframe = !keyframe_start;
            }
            reception.keyframes += u64::from(keyframe_start);
            self.keyframe_wanted &= !keyframe_start;
            if reception.layer != Some(stamp.layer) {
                reception.layer_switches += u64::from(reception.layer.is_some());
                reception.layer = Some(stamp.layer);
            }
            let row = usize::from(stamp.layer.max(stamp.spatial)) % SPATIAL_LAYERS;
            reception.layer_packets[row][usize::from(stamp.temporal) % TEMPORAL_LAYERS] += 1;
            self.decoder.insert(index, packet, stamp);
        }
        reception.content_hash = reception.content_hash.wrapping_add(stamp.content_hash());
        reception.order_hash = mix(mix(mix(reception.order_hash, stamp.content_hash()), index), now.0);
        reception.frames += u64::from(self.frame.insert(stamp));
        if !packet.retransmission {
            reception.delays.insert(now.since_us(stamp.sent));
        }
        self.check_dependency(index, packet, stamp);
        self.update_jitter(now, packet.timestamp);
    }

    fn read_audio(&mut self, now: Micros, index: u64, packet: &Arrived<'_>) -> Result<Stamp, StampError> {
        let redundant = self.config.red_pt == Some(packet.pt);
        let (repeated, primary) = if redundant {
            red::blocks(packet.payload).ok_or(StampError::Missing)?
        } else {
            (Vec::new(), packet.payload)
        };
        let stamp = Stamp::read(primary)?;
        for (_, block) in &repeated {
            let before = Stamp::read(block)?;
            if (before.track, before.frame.wrapping_add(1)) != (stamp.track, stamp.frame) {
                return Err(StampError::Corrupt);
            }
        }
        // The first packet of a talk spurt has nothing before it.
        let repeats = !repeated.is_empty() || self.config.fec && !packet.marker;
        let playout = self.playout.get_or_insert_default();
        playout.insert(now, index, packet.timestamp, repeats, &mut self.reception);
        if !packet.retransmission {
            let descriptor = Descriptor { start: true, ..Descriptor::default() };
            self.check_continuity(index, packet, false, descriptor);
        }
        Ok(stamp)
    }

    fn read_video(&mut self, index: u64, packet: &Arrived<'_>) -> Result<Stamp, StampError> {
        let descriptor = codec::describe(self.config.codec, packet.payload)?;
        let stamp = codec::read(self.config.codec, &descriptor, packet.payload);
        if !packet.retransmission {
            let keyframe = stamp.is_ok_and(|stamp| stamp.keyframe);
            self.check_continuity(index, packet, keyframe, descriptor);
        }
        if let (Ok(stamp), Some(refers)) = (&stamp, descriptor.refers) {
            self.reception.descriptor_errors += u64::from(refers != stamp.refers);
        }
        stamp
    }

    fn check_continuity(&mut self, index: u64, packet: &Arrived<'_>, keyframe: bool, descriptor: Descriptor) {
        let Arrived { timestamp, marker, .. } = *packet;
        let facts = Facts { index, timestamp, marker, keyframe, descriptor };
        self.continuity.check(facts, &mut self.reception);
    }

    /// The fixed fields of a dependency descriptor: first and last packet of the frame, and one number for each frame.
    fn check_dependency(&mut self, index: u64, packet: &Arrived<'_>, stamp: &Stamp) {
        let Some(&[flags, high, low, ..]) = packet.dependency else { return };
        let number = u16::from_be_bytes([high, low]);
        let first = stamp.packet == 0;
        let last = stamp.packet + 1 == stamp.packet_count;
        let flags_fit = (flags & 0x80 != 0, flags & 0x40 != 0) == (first, last);
        // A retransmission may fill a gap of what was to be left out.
        let follows = packet.retransmission
            || match self.previous_dependency.replace((index, number)) {
                Some((before, previous)) if index == before + 1 => (number != previous) == first,
                _ => true,
            };
        self.reception.descriptor_errors += u64::from(!(flags_fit && follows));
    }

    /// Lets decoder and playout buffer go on with what has come or is given up by now.
    fn decode(&mut self, now: Micros) {
        let Some(open) = self.window.open().filter(|_| self.config.kind == MediaKind::Video) else { return };
        if self.decoder.advance(now, open, &mut self.reception) {
            self.request_keyframe();
        }
    }

    /// Counts everything due by `now`: before the stream is judged.
    pub(super) fn settle(&mut self, now: Micros) {
        if let Some(playout) = &mut self.playout {
            playout.settle(now, &mut self.reception);
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
        self.window.take_nacks(now, out, &mut self.reception);
        self.decode(now);
    }

    /// When [`Self::take_nacks`] or [`Self::take_pli`] has something to do.
    pub(super) fn next_request(&self) -> Micros {
        let pli = if self.keyframe_wanted { self.next_pli } else { Micros::NEVER };
        pli.min(self.window.next_due())
    }

    /// Packets that are missing and may still come.
    pub(super) fn missing(&self) -> usize {
        self.window.missing()
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
        let (highest, expected, received) = self.window.counts()?;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::base::ids::Ssrc;

    fn receiver() -> Receiver {
        let config = ReceiveConfig {
            ssrc: Ssrc(1),
            rtx: Some(Ssrc(2)),
            kind: MediaKind::Audio,
            codec: codec::VideoCodec::default(),
            pt: 111,
            rtx_pt: None,
            red_pt: None,
            fec: false,
            transport_cc: None,
            abs_send_time: None,
            dependency: None,
            nack: true,
            expected: None,
        };
        Receiver::new(config, 5)
    }

    fn feed(receiver: &mut Receiver, now_ms: u64, seq: u16, stamp: Stamp) {
        let mut payload = [0; 80];
        stamp.write(&mut payload);
        let now = Micros(0).after_ms(now_ms);
        receiver.handle_packet(now, &arrived(seq, &payload));
    }

    fn arrived(seq: u16, payload: &[u8]) -> Arrived<'_> {
        Arrived {
            seq: Seq(seq),
            pt: 111,
            timestamp: u32::from(seq) * 960,
            marker: false,
            payload,
            dependency: None,
            retransmission: false,
        }
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
        receiver.handle_packet(Micros(3), &arrived(4, &[1; 60]));
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
