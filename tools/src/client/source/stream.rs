//! One SSRC being sent: its numbers, and the packets that may be asked for again.

use dataplane::base::ids::Seq;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::wire::rtcp::SenderInfo;

use super::config::Encoding;
use super::encoder::Encoder;
use crate::client::codec::Frame;
use crate::client::stamp::Stamp;

/// One packet as it was first sent; writing it again gives the same payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) seq: Seq,
    pub(super) timestamp: u32,
    pub(super) stamp: Stamp,
    pub(super) payload_bytes: u16,
    pub(super) marker: bool,
    /// Video.
    pub(super) frame: Option<Frame>,
    /// Audio: its level, and how much older the frame is that it repeats.
    pub(super) level: u8,
    pub(super) redundant: Option<u32>,
    /// Its transport-wide number, so that it can be sent again bit by bit.
    pub(super) transport_seq: Option<Seq>,
}

/// A packet waiting to be written: which source and encoding, and whether as a retransmission.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Pending {
    pub(in crate::client) source: usize,
    pub(super) encoding: usize,
    pub(super) packet: Packet,
    pub(super) again: bool,
}

/// One SSRC being sent.
pub(super) struct Stream {
    pub(super) encoding: Encoding,
    pub(super) next_seq: Seq,
    pub(super) rtx_next_seq: Seq,
    pub(super) timestamp_offset: u32,
    /// Video.
    pub(super) encoder: Option<Encoder>,
    pub(super) active: bool,
    pub(super) sent: SenderInfo,
    pub(super) history: Vec<Option<Packet>>,
}

impl Stream {
    pub(super) fn new(encoding: Encoding, encoder: Option<Encoder>, history: usize, rng: &mut Rng) -> Self {
        Self {
            encoding,
            // From the lower half, so that an early loss cannot hide the first roll-over (RFC 3711 section 3.3.1).
            next_seq: Seq(rng.below(0x8000) as u16),
            rtx_next_seq: Seq(rng.below(0x8000) as u16),
            timestamp_offset: rng.next_u64() as u32,
            encoder,
            active: true,
            sent: SenderInfo::default(),
            history: vec![None; history],
        }
    }

    pub(super) fn request_keyframe(&mut self) {
        if let Some(encoder) = &mut self.encoder {
            encoder.request_keyframe();
        }
    }

    pub(super) fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq = seq.plus(1);
        seq
    }

    pub(super) fn timestamp(&self, at: Micros, clock_hz: u64) -> u32 {
        let ticks = u128::from(at.0) * u128::from(clock_hz) / 1_000_000;
        self.timestamp_offset.wrapping_add(ticks as u32)
    }

    pub(super) fn remember(&mut self, packet: Packet) {
        let slots = self.history.len().max(1);
        if let Some(slot) = self.history.get_mut(usize::from(packet.seq.0) % slots) {
            *slot = Some(packet);
        }
    }

    pub(super) fn remembered(&self, seq: Seq) -> Option<Packet> {
        let slots = self.history.len().max(1);
        self.history.get(usize::from(seq.0) % slots).copied().flatten().filter(|packet| packet.seq == seq)
    }
}
