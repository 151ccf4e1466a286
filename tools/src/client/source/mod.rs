//! Synthetic media: an audio or video track that is sent as a browser would, with stamped payloads instead of pictures.
//!
//! Path: `Client::handle_timeout` asks each source for what is due; packets are queued as descriptions and written when the
//! driver polls, so that sequence numbers of the transport and send times are those of release, and a retransmission is
//! the same description written again. Memory: 512 x 144 B per encoding with retransmission.
//! Promises: sequence numbers and timestamps are continuous, keyframes come at the start and on request, content depends on
//! the configuration alone. Not here: SRTP, pacing, bandwidth estimation (a source keeps its configured rate).

mod audio;
mod config;
mod encoder;
mod header;
mod stream;
mod video;

use std::collections::VecDeque;

use dataplane::base::ids::{PayloadType, Seq, Ssrc};
use dataplane::base::media::Extension;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::wire::ext::AudioLevel;
use dataplane::wire::rtcp::SenderInfo;
use dataplane::wire::rtp::HeaderFields;

use super::codec::dependency::DEPENDENCY_BYTES_MAX;
use super::stamp::Stamp;
use audio::{Audio, LEVEL_SILENCE};
pub use config::{AudioConfig, Encoding, SourceStatistics, TrackConfig, VideoConfig};
use encoder::Encoder;
use header::Values;
pub(super) use stream::Pending;
use stream::{Packet, Stream};
use video::Video;

enum Kind {
    Audio(Audio),
    Video(Video),
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
        let audio = Audio::new(&config);
        let bytes = audio.frame_bytes;
        let encoding =
            Encoding { ssrc: config.ssrc, rtx: None, rid: None, frame_bytes: bytes, keyframe_bytes: bytes };
        let history = if config.nack { audio::HISTORY } else { 0 };
        let streams = vec![Stream::new(encoding, None, history, rng)];
        Self::new(config.track, Kind::Audio(audio), room, publisher, streams)
    }

    pub(super) fn video(config: VideoConfig, room: u64, publisher: u32, rng: &mut Rng) -> Self {
        let history = if config.track.rtx_pt.is_some() { video::HISTORY } else { 0 };
        let layers = config.encodings.len();
        let stream = |(layer, &encoding): (usize, &Encoding)| {
            let halvings = (layers - 1 - layer).min(15);
            let size = (config.size.0 >> halvings, config.size.1 >> halvings);
            let encoder = Encoder::new(config.codec, config.scalability, size, rng.next_u64() as u16);
            Stream::new(encoding, Some(encoder), history, rng)
        };
        let streams = config.encodings.iter().enumerate().map(stream).collect();
        let video = Video::new(&config);
        Self::new(config.track, Kind::Video(video), room, publisher, streams)
    }

    fn new(track: TrackConfig, kind: Kind, room: u64, publisher: u32, streams: Vec<Stream>) -> Self {
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
        if let Kind::Audio(audio) = &mut self.kind {
            audio.level = to;
        }
    }

    pub(super) const fn set_silent(&mut self, silent: bool) {
        if let Kind::Audio(audio) = &mut self.kind {
            audio.set_silent(silent);
        }
    }

    pub(super) fn set_layer_active(&mut self, layer: u8, active: bool) {
        if let Kind::Video(video) = &mut self.kind {
            video.set_layer_active(&mut self.streams, layer, active);
        }
    }

    pub(super) fn request_keyframe(&mut self) {
        self.streams.iter_mut().for_each(Stream::request_keyframe);
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
        let interval_us = match &self.kind {
            Kind::Audio(_) => audio::INTERVAL_US,
            Kind::Video(video) => video.interval_us,
        };
        while now >= self.next_due {
            let due = self.next_due;
            if !self.muted {
                self.capture(due, rng, |encoding, packet| {
                    queue.push_back(Pending { source: index, encoding, packet, again: false });
                });
            }
            self.next_due = if self.is_finished() { Micros::NEVER } else { due.after_us(interval_us) };
        }
    }

    fn capture(&mut self, captured: Micros, rng: &mut Rng, mut queue: impl FnMut(usize, Packet)) {
        let stamp = Stamp {
            room: self.room,
            publisher: self.publisher,
            track: self.track.track,
            frame: self.statistics.frames,
            ..Stamp::default()
        };
        match (&mut self.kind, &mut self.streams[..]) {
            (Kind::Audio(audio), [stream]) => {
                let Some(packet) = audio.packet(captured, stamp, stream) else { return };
                self.statistics.count(&packet.stamp);
                queue(0, packet);
            }
            (Kind::Audio(_), _) => {}
            (Kind::Video(video), streams) => {
                video.queue(captured, stamp, streams, rng, &mut self.statistics, queue);
            }
        }
        self.statistics.frames += 1;
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
        // Audio goes again as it was, video by RTX only.
        let answered = matches!(self.kind, Kind::Audio(_)) || stream.encoding.rtx.is_some();
        for seq in seqs {
            match stream.remembered(seq) {
                Some(packet) if answered => {
                    queue.push_back(Pending { source: index, encoding, packet, again: true });
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
        stream.request_keyframe();
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
        let rtx = pending.again && matches!(self.kind, Kind::Video(_));
        let numbered = self.track.extensions.id(Extension::TransportCc).is_some();
        if !pending.again {
            packet.stamp.sent = now;
            packet.transport_seq = if numbered { Some(transport_seq()) } else { None };
            stream.remember(packet);
        } else if rtx {
            packet.transport_seq = if numbered { Some(transport_seq()) } else { None };
        }
        let (level, red_pt) = match &self.kind {
            Kind::Audio(audio) => {
                let level = AudioLevel { voice: packet.level < LEVEL_SILENCE, level: packet.level };
                (Some(level), audio.red_pt)
            }
            Kind::Video(_) => (None, None),
        };
        let (ssrc, seq, pt) = if rtx {
            let (Some(ssrc), Some(pt)) = (stream.encoding.rtx, self.track.rtx_pt) else { return 0 };
            let seq = stream.rtx_next_seq;
            stream.rtx_next_seq = seq.plus(1);
            (ssrc, seq, pt)
        } else {
            (stream.encoding.ssrc, packet.seq, red_pt.unwrap_or(self.track.pt))
        };
        let fields = HeaderFields {
            ssrc,
            seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            pt: PayloadType(pt),
            padding: false,
        };
        let mut descriptor = [0; DEPENDENCY_BYTES_MAX];
        let values = Values {
            mid: self.track.mid,
            rid: stream.encoding.rid,
            retransmission: rtx,
            level,
            transport_cc: packet.transport_seq,
            dependency: match &self.kind {
                Kind::Audio(_) => None,
                Kind::Video(video) => video.dependency(&packet, &mut descriptor),
            },
            sent: if rtx { now } else { packet.stamp.sent },
        };
        let Some(header) = values.write(&self.track.extensions, &fields, out) else { return 0 };
        let osn_bytes = if rtx { 2 } else { 0 };
        let end = header + osn_bytes + usize::from(packet.payload_bytes);
        let Some(payload) = out.get_mut(header..end) else { return 0 };
        let (osn, payload) = payload.split_at_mut(osn_bytes);
        osn.copy_from_slice(&packet.seq.0.to_be_bytes()[..osn_bytes]);
        match &self.kind {
            Kind::Audio(audio) => audio.write(&packet, payload),
            Kind::Video(video) => video.write(&packet, payload),
        }
        if pending.again {
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
            Kind::Audio(_) => audio::CLOCK_HZ,
            Kind::Video(_) => video::CLOCK_HZ,
        };
        self.streams.iter().filter(|stream| stream.sent.packets != 0).map(move |stream| {
            let info =
                SenderInfo { ntp: ntp(now), rtp_timestamp: stream.timestamp(now, clock_hz), ..stream.sent };
            (stream.encoding.ssrc, info)
        })
    }
}

/// 32.32 fixed-point NTP time: the client's clock started with the NTP era's second 0x8000_0000.
pub(super) fn ntp(now: Micros) -> u64 {
    let seconds = 0x8000_0000 + now.0 / 1_000_000;
    let fraction = ((now.0 % 1_000_000) << 32) / 1_000_000;
    seconds << 32 | fraction
}
