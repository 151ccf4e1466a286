//! Opus-like audio: talk spurts and silence, with redundancy when it is negotiated.

use dataplane::base::time::Micros;

use super::config::AudioConfig;
use super::stream::{Packet, Stream};
use crate::client::red;
use crate::client::stamp::{STAMP_BYTES, Stamp};

/// An Opus frame.
pub(super) const INTERVAL_US: u64 = 20_000;
pub(super) const CLOCK_HZ: u64 = 48_000;
/// Packets remembered: a second, and a power of two.
pub(super) const HISTORY: usize = 64;
/// In silence every twentieth frame is sent (RFC 7587 section 3.1.3: 400 ms).
const SILENT_FRAMES: u32 = 20;
/// Silence as in RFC 6464.
pub(super) const LEVEL_SILENCE: u8 = 127;

/// A microphone.
pub(super) struct Audio {
    pub(super) level: u8,
    pub(super) frame_bytes: usize,
    pub(super) opus_pt: u8,
    pub(super) red_pt: Option<u8>,
    /// Frames of silence so far; `None` while somebody speaks.
    pub(super) silence: Option<u32>,
    /// Timestamp of the last packet, within a talk spurt.
    pub(super) previous: Option<u32>,
}

impl Audio {
    pub(super) fn new(config: &AudioConfig) -> Self {
        Self {
            level: config.level,
            frame_bytes: config.payload_bytes.max(STAMP_BYTES),
            opus_pt: config.track.pt,
            red_pt: config.red_pt,
            silence: None,
            previous: None,
        }
    }

    /// Silence is sent as discontinuous transmission: a packet now and then, with the lowest level.
    pub(super) const fn set_silent(&mut self, silent: bool) {
        if self.silence.is_some() != silent {
            self.silence = if silent { Some(0) } else { None };
            self.previous = None;
        }
    }

    /// The frame captured at `captured`; `None` in silence that is not sent. `stamp` says whose it is.
    pub(super) fn packet(&mut self, captured: Micros, stamp: Stamp, stream: &mut Stream) -> Option<Packet> {
        if let Some(silence) = &mut self.silence {
            let sent = silence.is_multiple_of(SILENT_FRAMES);
            *silence += 1;
            if !sent {
                return None;
            }
        }
        let timestamp = stream.timestamp(captured, CLOCK_HZ);
        let speaking = self.silence.is_none();
        // RFC 7587 section 4.1: the marker begins a talk spurt.
        let marker = speaking && self.previous.is_none();
        let offset = self.previous.map(|previous| timestamp.wrapping_sub(previous));
        let redundant = offset.filter(|&offset| self.red_pt.is_some() && red::is_repeatable(offset));
        self.previous = speaking.then_some(timestamp);
        let payload_bytes = match self.red_pt {
            Some(_) => red::payload_bytes(self.frame_bytes, redundant.is_some()),
            None => self.frame_bytes,
        };
        let stamp = Stamp { packet_count: 1, keyframe: stamp.frame == 0, ..stamp };
        Some(Packet {
            seq: stream.take_seq(),
            timestamp,
            stamp,
            payload_bytes: payload_bytes as u16,
            marker,
            frame: None,
            level: if speaking { self.level } else { LEVEL_SILENCE },
            redundant,
            transport_seq: None,
        })
    }

    /// Fills a payload.
    pub(super) fn write(&self, packet: &Packet, payload: &mut [u8]) {
        if self.red_pt.is_none() {
            packet.stamp.write(payload);
            return;
        }
        let (redundant, primary) = red::split(packet.redundant, self.opus_pt, payload);
        if packet.redundant.is_some() {
            let frame = packet.stamp.frame.wrapping_sub(1);
            Stamp { frame, keyframe: frame == 0, ..packet.stamp }.write(redundant);
        }
        packet.stamp.write(primary);
    }
}
