//! Pictures of a synthetic camera, cut into packets: sizes by layer, growth at the start, layers that pause.

use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;

use super::config::{SourceStatistics, VideoConfig};
use super::encoder::Encoder;
use super::stream::{Packet, Stream};
use crate::client::codec::dependency;
use crate::client::codec::{self, VideoCodec};
use crate::client::stamp::Stamp;

pub(super) const CLOCK_HZ: u64 = 90_000;
/// Packets remembered per encoding: two seconds of 3 Mbit/s.
pub(super) const HISTORY: usize = 512;

/// A camera.
pub(super) struct Video {
    pub(super) codec: VideoCodec,
    pub(super) interval_us: u64,
    pub(super) payload_bytes_max: usize,
    pub(super) jitter_percent: usize,
    pub(super) ramp_us: u64,
    pub(super) started: Option<Micros>,
    /// Bit n: layer n is sent.
    pub(super) active_layers: u8,
}

impl Video {
    pub(super) fn new(config: &VideoConfig) -> Self {
        Self {
            codec: config.codec,
            interval_us: config.frame_interval_us.max(1),
            payload_bytes_max: config.payload_bytes_max.max(config.codec.payload_bytes_min()),
            jitter_percent: usize::from(config.size_jitter_percent.min(90)),
            ramp_us: config.ramp_us,
            started: None,
            active_layers: u8::MAX,
        }
    }

    /// Pauses and resumes one layer: a simulcast layer, or a spatial layer of the only encoding and all above it.
    pub(super) fn set_layer_active(&mut self, streams: &mut [Stream], layer: u8, active: bool) {
        let bit = 1_u8.checked_shl(u32::from(layer)).unwrap_or(0);
        self.active_layers = if active { self.active_layers | bit } else { self.active_layers & !bit };
        if let [stream] = streams
            && let Some(encoder) = &mut stream.encoder
            && encoder.scalability().spatial_layers > 1
        {
            encoder.set_active_spatial(self.active_layers.trailing_ones() as u8);
        } else if let Some(stream) = streams.get_mut(usize::from(layer)) {
            if active && !stream.active {
                stream.request_keyframe();
            }
            stream.active = active;
        }
    }

    /// The picture captured at `captured`, on every layer that is sent. `owner` says whose it is.
    pub(super) fn queue(
        &mut self,
        captured: Micros,
        owner: Stamp,
        streams: &mut [Stream],
        rng: &mut Rng,
        statistics: &mut SourceStatistics,
        mut queue: impl FnMut(usize, Packet),
    ) {
        let size_percent = self.size_percent(captured);
        for (layer, stream) in streams.iter_mut().enumerate() {
            let timestamp = stream.timestamp(captured, CLOCK_HZ);
            let picture =
                if stream.active { stream.encoder.as_mut().and_then(Encoder::next_picture) } else { None };
            let (Some(picture), Some(encoder)) = (picture, &mut stream.encoder) else { continue };
            statistics.keyframes += u64::from(picture.keyframe);
            let scalability = encoder.scalability();
            for spatial in 0..picture.spatial_layers {
                let mean = if picture.keyframe {
                    stream.encoding.keyframe_bytes
                } else {
                    stream.encoding.frame_bytes * scalability.temporal_percent(picture.step.temporal) / 100
                };
                let mean = mean * scalability.spatial_percent(spatial) / 100 * size_percent / 100;
                let spread = mean * self.jitter_percent / 100;
                let bytes = mean - spread + rng.below(2 * spread as u64 + 1) as usize;
                let bytes = bytes.max(self.codec.payload_bytes_min());
                let packet_count = bytes.div_ceil(self.payload_bytes_max);
                let payload_bytes = bytes.div_ceil(packet_count).max(self.codec.payload_bytes_min());
                let frame = encoder.frame(&picture, spatial);
                for packet in 0..packet_count {
                    let stamp = Stamp {
                        packet: packet as u16,
                        packet_count: packet_count as u16,
                        layer: layer as u8,
                        keyframe: picture.keyframe,
                        spatial,
                        temporal: picture.step.temporal,
                        inter_layer: encoder.is_inter_layer(&picture, spatial),
                        refers: picture.refers(),
                        ..owner
                    };
                    statistics.count(&stamp);
                    let packet = Packet {
                        seq: stream.next_seq,
                        timestamp,
                        stamp,
                        payload_bytes: payload_bytes as u16,
                        marker: packet + 1 == packet_count && spatial + 1 == picture.spatial_layers,
                        frame: Some(frame),
                        level: 0,
                        redundant: None,
                        transport_seq: None,
                    };
                    stream.next_seq = packet.seq.plus(1);
                    queue(layer, packet);
                }
            }
        }
    }

    /// How large pictures are now, percent of their full size.
    fn size_percent(&mut self, now: Micros) -> usize {
        let started = *self.started.get_or_insert(now);
        let run_us = now.since_us(started).min(self.ramp_us);
        match (75 * run_us).checked_div(self.ramp_us) {
            None => 100,
            Some(grown) => 25 + grown as usize,
        }
    }

    /// The dependency descriptor of a packet; VP8 has none.
    pub(super) fn dependency<'d>(&self, packet: &Packet, out: &'d mut [u8]) -> Option<&'d [u8]> {
        let frame = packet.frame.as_ref().filter(|_| self.codec != VideoCodec::Vp8)?;
        let first = packet.stamp.packet == 0;
        let last = packet.stamp.packet + 1 == packet.stamp.packet_count;
        let bytes = dependency::write(frame, first, last, out)?;
        out.get(..bytes)
    }

    /// Fills a payload.
    pub(super) fn write(&self, packet: &Packet, payload: &mut [u8]) {
        if let Some(frame) = &packet.frame {
            codec::write(self.codec, frame, &packet.stamp, payload);
        }
    }
}
