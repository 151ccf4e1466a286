//! Synthetic media: an audio or video track that is sent as a browser would, with stamped payloads instead of pictures.
//!
//! Path: `Client::handle_timeout` asks each source for what is due; packets are queued as descriptions and written when the
//! driver polls, so that sequence numbers of the transport and send times are those of release, and a retransmission is
//! the same description written again. Memory: 512 x 64 B per encoding with retransmission.
//! Promises: sequence numbers and timestamps are continuous, keyframes come at the start and on request, content depends on
//! the configuration alone. Not here: SRTP, pacing, bandwidth estimation (a source keeps its configured rate).

use std::collections::VecDeque;

use dataplane::base::ids::{Mid, PayloadType, Rid, Seq, Ssrc};
use dataplane::base::media::{Extension, ExtensionMap};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::wire::ext::{AbsSendTime, AudioLevel, Element, transport_cc_value};
use dataplane::wire::rtcp::SenderInfo;
use dataplane::wire::rtp::{self, HeaderFields};

use super::stamp::{STAMP_BYTES, Stamp};
use super::vp8;

/// Packets remembered per encoding for retransmission.
const HISTORY: usize = 512;
/// An Opus frame.
const AUDIO_INTERVAL_US: u64 = 20_000;
/// Smallest video payload: descriptor, frame header and stamp.
pub const VIDEO_PAYLOAD_BYTES_MIN: usize = vp8::DESCRIPTOR_BYTES + vp8::FRAME_HEADER_BYTES + STAMP_BYTES;

/// What audio and video have in common.
#[derive(Clone, Debug)]
pub struct TrackConfig {
    /// The number stamped into every payload.
    pub track: u32,
    /// Media section, sent in the extension when it is negotiated.
    pub mid: Option<Mid>,
    /// Payload type.
    pub pt: u8,
    /// Payload type of retransmissions; without it NACKs are not answered.
    pub rtx_pt: Option<u8>,
    /// Negotiated header extensions.
    pub extensions: ExtensionMap,
    /// When the first frame is due, after the client became ready, microseconds.
    pub phase_us: u64,
    /// The track falls silent after this many frames.
    pub frames_max: Option<u32>,
}

/// Opus-like audio: one packet every 20 ms.
#[derive(Clone, Debug)]
pub struct AudioConfig {
    /// The track.
    pub track: TrackConfig,
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// RTP payload size, at least [`STAMP_BYTES`].
    pub payload_bytes: usize,
    /// Level as in RFC 6464: 0 is loudest, 127 silence.
    pub level: u8,
}

/// One simulcast layer, or the only encoding.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions.
    pub rtx: Option<Ssrc>,
    /// Its name, sent in the extension when it is negotiated.
    pub rid: Option<Rid>,
    /// Bytes of a delta frame.
    pub frame_bytes: usize,
    /// Bytes of a keyframe.
    pub keyframe_bytes: usize,
}

/// VP8-like video.
#[derive(Clone, Debug)]
pub struct VideoConfig {
    /// The track.
    pub track: TrackConfig,
    /// Layers from lowest to highest; one without simulcast, at most 255.
    pub encodings: Vec<Encoding>,
    /// Time between frames, microseconds.
    pub frame_interval_us: u64,
    /// Largest RTP payload; a frame is cut into equal packets of at most this size.
    pub payload_bytes_max: usize,
    /// Frames vary in size by up to this share, percent.
    pub size_jitter_percent: u8,
}

/// One packet as it was first sent; writing it again gives the same payload.
#[derive(Clone, Copy, Debug)]
struct Packet {
    seq: Seq,
    timestamp: u32,
    stamp: Stamp,
    payload_bytes: u16,
    picture: u16,
    marker: bool,
}

/// A packet waiting to be written: which source and encoding, and whether as a retransmission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) source: usize,
    encoding: usize,
    packet: Packet,
    retransmission: bool,
}

struct Stream {
    encoding: Encoding,
    next_seq: Seq,
    rtx_next_seq: Seq,
    timestamp_offset: u32,
    next_picture: u16,
    keyframe_wanted: bool,
    sent: SenderInfo,
    history: Vec<Option<Packet>>,
}

/// What a source has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceStatistics {
    /// Frames, all layers of one moment counted once.
    pub frames: u32,
    /// RTP packets, retransmissions not counted.
    pub packets: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Keyframes sent.
    pub keyframes: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// Packets a NACK named that were no longer remembered.
    pub forgotten: u64,
    /// Order-independent sum of [`Stamp::content_hash`] over packets sent.
    pub content_hash: u64,
}

enum Kind {
    Audio { level: u8, payload_bytes: usize },
    Video { interval_us: u64, payload_bytes_max: usize, jitter_percent: u8 },
}

/// One published track.
pub(super) struct Source {
    track: TrackConfig,
    kind: Kind,
    room: u64,
    publisher: u32,
    streams: Vec<Stream>,
    next_due: Micros,
    muted: bool,
    pub(super) statistics: SourceStatistics,
}

impl Source {
    pub(super) fn audio(config: AudioConfig, room: u64, publisher: u32, rng: &mut Rng) -> Self {
        let payload_bytes = config.payload_bytes.max(STAMP_BYTES);
        let encoding = Encoding {
            ssrc: config.ssrc,
            rtx: None,
            rid: None,
            frame_bytes: payload_bytes,
            keyframe_bytes: payload_bytes,
        };
        let kind = Kind::Audio { level: config.level, payload_bytes };
        Self::new(config.track, kind, room, publisher, &[encoding], rng)
    }

    pub(super) fn video(config: VideoConfig, room: u64, publisher: u32, rng: &mut Rng) -> Self {
        let kind = Kind::Video {
            interval_us: config.frame_interval_us.max(1),
            payload_bytes_max: config.payload_bytes_max.max(VIDEO_PAYLOAD_BYTES_MIN),
            jitter_percent: config.size_jitter_percent.min(90),
        };
        Self::new(config.track, kind, room, publisher, &config.encodings, rng)
    }

    fn new(
        track: TrackConfig,
        kind: Kind,
        room: u64,
        publisher: u32,
        encodings: &[Encoding],
        rng: &mut Rng,
    ) -> Self {
        let streams = encodings
            .iter()
            .map(|&encoding| Stream {
                encoding,
                // From the lower half, so that an early loss cannot hide the first roll-over (RFC 3711 section 3.3.1).
                next_seq: Seq(rng.below(0x8000) as u16),
                rtx_next_seq: Seq(rng.below(0x8000) as u16),
                timestamp_offset: rng.next_u64() as u32,
                next_picture: rng.next_u64() as u16 & vp8::PICTURE_MASK,
                keyframe_wanted: true,
                sent: SenderInfo::default(),
                history: vec![None; if track.rtx_pt.is_some() { HISTORY } else { 0 }],
            })
            .collect();
        Self {
            track,
            kind,
            room,
            publisher,
            streams,
            next_due: Micros::NEVER,
            muted: false,
            statistics: SourceStatistics::default(),
        }
    }

    /// Media may flow from now on.
    pub(super) fn start(&mut self, now: Micros) {
        if self.next_due == Micros::NEVER && !self.is_finished() {
            self.next_due = now.after_us(self.track.phase_us);
        }
    }

    pub(super) const fn next_due(&self) -> Micros {
        self.next_due
    }

    pub(super) const fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub(super) const fn set_level(&mut self, to: u8) {
        if let Kind::Audio { level, .. } = &mut self.kind {
            *level = to;
        }
    }

    pub(super) fn request_keyframe(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.keyframe_wanted = true);
    }

    fn is_finished(&self) -> bool {
        self.track.frames_max.is_some_and(|max| self.statistics.frames >= max)
    }

    /// Queues every frame due by `now`; after a long sleep all that were missed, so that content never depends on timing.
    pub(super) fn handle_timeout(
        &mut self,
        now: Micros,
        index: usize,
        rng: &mut Rng,
        queue: &mut VecDeque<Pending>,
    ) {
        let interval_us = match self.kind {
            Kind::Audio { .. } => AUDIO_INTERVAL_US,
            Kind::Video { interval_us, .. } => interval_us,
        };
        while now >= self.next_due {
            let due = self.next_due;
            if !self.muted {
                self.queue_frame(due, index, rng, queue);
            }
            self.next_due = if self.is_finished() { Micros::NEVER } else { due.after_us(interval_us) };
        }
    }

    fn queue_frame(&mut self, captured: Micros, index: usize, rng: &mut Rng, queue: &mut VecDeque<Pending>) {
        let frame = self.statistics.frames;
        self.statistics.frames += 1;
        for (layer, stream) in self.streams.iter_mut().enumerate() {
            let (clock_hz, payload_bytes_max, keyframe, frame_bytes) = match self.kind {
                Kind::Audio { payload_bytes, .. } => (48_000, payload_bytes, frame == 0, payload_bytes),
                Kind::Video { payload_bytes_max, jitter_percent, .. } => {
                    let keyframe = std::mem::take(&mut stream.keyframe_wanted);
                    let mean =
                        if keyframe { stream.encoding.keyframe_bytes } else { stream.encoding.frame_bytes };
                    let spread = mean * usize::from(jitter_percent) / 100;
                    let bytes = mean - spread + rng.below(2 * spread as u64 + 1) as usize;
                    (90_000, payload_bytes_max, keyframe, bytes.max(VIDEO_PAYLOAD_BYTES_MIN))
                }
            };
            let packet_count = frame_bytes.div_ceil(payload_bytes_max);
            let payload_bytes = match self.kind {
                Kind::Audio { .. } => frame_bytes,
                Kind::Video { .. } => frame_bytes.div_ceil(packet_count).max(VIDEO_PAYLOAD_BYTES_MIN),
            };
            self.statistics.keyframes += u64::from(keyframe && matches!(self.kind, Kind::Video { .. }));
            let timestamp = stream.timestamp(captured, clock_hz);
            for packet in 0..packet_count {
                let seq = stream.next_seq;
                stream.next_seq = seq.plus(1);
                let stamp = Stamp {
                    room: self.room,
                    publisher: self.publisher,
                    track: self.track.track,
                    frame,
                    packet: packet as u16,
                    packet_count: packet_count as u16,
                    layer: layer as u8,
                    keyframe,
                    sent: Micros(0),
                };
                self.statistics.packets += 1;
                self.statistics.content_hash =
                    self.statistics.content_hash.wrapping_add(stamp.content_hash());
                let packet = Packet {
                    seq,
                    timestamp,
                    stamp,
                    payload_bytes: payload_bytes as u16,
                    picture: stream.next_picture,
                    marker: match self.kind {
                        // RFC 7587 section 4.1: the marker begins a talk spurt.
                        Kind::Audio { .. } => frame == 0,
                        Kind::Video { .. } => packet + 1 == packet_count,
                    },
                };
                queue.push_back(Pending { source: index, encoding: layer, packet, retransmission: false });
            }
            stream.next_picture = (stream.next_picture + 1) & vp8::PICTURE_MASK;
        }
    }

    /// Queues retransmissions of what a NACK names. False when the SSRC is not of this source.
    pub(super) fn handle_nack(
        &mut self,
        ssrc: Ssrc,
        seqs: impl Iterator<Item = Seq>,
        index: usize,
        queue: &mut VecDeque<Pending>,
    ) -> bool {
        let Some(encoding) = self.streams.iter().position(|stream| stream.encoding.ssrc == ssrc) else {
            return false;
        };
        let stream = &self.streams[encoding];
        for seq in seqs {
            match stream.remembered(seq) {
                Some(packet) if stream.encoding.rtx.is_some() => {
                    queue.push_back(Pending { source: index, encoding, packet, retransmission: true });
                }
                _ => self.statistics.forgotten += 1,
            }
        }
        true
    }

    /// A keyframe request for one SSRC. False when it is not of this source.
    pub(super) fn handle_keyframe_request(&mut self, ssrc: Ssrc) -> bool {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.encoding.ssrc == ssrc) else {
            return false;
        };
        stream.keyframe_wanted = true;
        self.statistics.keyframe_requests += 1;
        true
    }

    /// Writes a queued packet in the clear at the moment of its release. Answers its bytes; 0 when `out` is too small.
    pub(super) fn write(
        &mut self,
        now: Micros,
        pending: &Pending,
        transport_seq: impl FnOnce() -> Seq,
        out: &mut [u8],
    ) -> usize {
        let Some(stream) = self.streams.get_mut(pending.encoding) else { return 0 };
        let mut packet = pending.packet;
        if !pending.retransmission {
            packet.stamp.sent = now;
            stream.remember(packet);
        }
        let (ssrc, seq, pt) = if pending.retransmission {
            let (Some(ssrc), Some(pt)) = (stream.encoding.rtx, self.track.rtx_pt) else { return 0 };
            let seq = stream.rtx_next_seq;
            stream.rtx_next_seq = seq.plus(1);
            (ssrc, seq, pt)
        } else {
            (stream.encoding.ssrc, packet.seq, self.track.pt)
        };
        let fields = HeaderFields {
            ssrc,
            seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            pt: PayloadType(pt),
            padding: false,
        };
        let level = match self.kind {
            Kind::Audio { level, .. } => Some(AudioLevel { voice: level < 127, level }),
            Kind::Video { .. } => None,
        };
        let transport_cc = self.track.extensions.id(Extension::TransportCc).map(|_| transport_seq());
        let values = Values {
            mid: self.track.mid,
            rid: stream.encoding.rid,
            retransmission: pending.retransmission,
            level,
            transport_cc,
            now,
        };
        let Some(header) = values.write(&self.track.extensions, &fields, out) else { return 0 };
        let osn_bytes = if pending.retransmission { 2 } else { 0 };
        let end = header + osn_bytes + usize::from(packet.payload_bytes);
        let Some(payload) = out.get_mut(header..end) else { return 0 };
        let (osn, payload) = payload.split_at_mut(osn_bytes);
        osn.copy_from_slice(&packet.seq.0.to_be_bytes()[..osn_bytes]);
        match self.kind {
            Kind::Audio { .. } => packet.stamp.write(payload),
            Kind::Video { .. } => vp8::write(&packet.stamp, packet.picture, payload),
        }
        if pending.retransmission {
            self.statistics.retransmitted += 1;
        } else {
            stream.sent.packets = stream.sent.packets.wrapping_add(1);
            stream.sent.octets = stream.sent.octets.wrapping_add(u32::from(packet.payload_bytes));
        }
        end
    }

    /// A sender report for each encoding that has sent something.
    pub(super) fn sender_reports(&self, now: Micros) -> impl Iterator<Item = (Ssrc, SenderInfo)> + '_ {
        let clock_hz = match self.kind {
            Kind::Audio { .. } => 48_000,
            Kind::Video { .. } => 90_000,
        };
        self.streams.iter().filter(|stream| stream.sent.packets != 0).map(move |stream| {
            let info =
                SenderInfo { ntp: ntp(now), rtp_timestamp: stream.timestamp(now, clock_hz), ..stream.sent };
            (stream.encoding.ssrc, info)
        })
    }
}

impl Stream {
    fn timestamp(&self, at: Micros, clock_hz: u64) -> u32 {
        let ticks = u128::from(at.0) * u128::from(clock_hz) / 1_000_000;
        self.timestamp_offset.wrapping_add(ticks as u32)
    }

    fn remember(&mut self, packet: Packet) {
        if let Some(slot) = self.history.get_mut(usize::from(packet.seq.0) % HISTORY) {
            *slot = Some(packet);
        }
    }

    fn remembered(&self, seq: Seq) -> Option<Packet> {
        self.history.get(usize::from(seq.0) % HISTORY).copied().flatten().filter(|packet| packet.seq == seq)
    }
}

/// 32.32 fixed-point NTP time: the client's clock started with the NTP era's second 0x8000_0000.
pub(super) fn ntp(now: Micros) -> u64 {
    let seconds = 0x8000_0000 + now.0 / 1_000_000;
    let fraction = ((now.0 % 1_000_000) << 32) / 1_000_000;
    seconds << 32 | fraction
}

/// Values of the header extensions of one packet.
struct Values {
    mid: Option<Mid>,
    rid: Option<Rid>,
    retransmission: bool,
    level: Option<AudioLevel>,
    transport_cc: Option<Seq>,
    now: Micros,
}

impl Values {
    fn write(&self, map: &ExtensionMap, fields: &HeaderFields, out: &mut [u8]) -> Option<usize> {
        let level = self.level.map(AudioLevel::to_value);
        let transport_cc = self.transport_cc.map(transport_cc_value);
        let abs_send_time = AbsSendTime::at(self.now).to_value();
        let rid = if self.retransmission { Extension::RepairedRid } else { Extension::Rid };
        let candidates = [
            (Extension::Mid, self.mid.as_ref().map(|mid| mid.as_bytes())),
            (rid, self.rid.as_ref().map(|rid| rid.as_bytes())),
            (Extension::AudioLevel, level.as_ref().map(|value| &value[..])),
            (Extension::TransportCc, transport_cc.as_ref().map(|value| &value[..])),
            (Extension::AbsSendTime, Some(&abs_send_time[..])),
        ];
        let mut elements = [Element { id: 0, value: &[] }; 5];
        let mut count = 0;
        for (extension, value) in candidates {
            if let (Some(id), Some(value)) = (map.id(extension), value) {
                elements[count] = Element { id, value };
                count += 1;
            }
        }
        rtp::write_header(fields, &elements[..count], out).ok()
    }
}
