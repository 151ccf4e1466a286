//! Video payloads as browsers packetise them: descriptors of VP8, VP9 and AV1 around a stamp, and back.
//!
//! Path: between `source` and the wire, and back in `receiver`. Written by hand and not by `dataplane::wire`, so that the
//! forwarder's reading and rewriting is judged by something else than itself; the tests hold both against each other.
//! Promises: reading takes any input; writing fills the whole payload. Not here: which frame comes next (`source`).

pub mod av1;
pub mod dependency;
pub mod scalability;
pub mod vp8;
pub mod vp9;

use super::stamp::{STAMP_BYTES, Stamp, StampError};
use dependency::Dependency;
use scalability::Scalability;

/// How video is packetised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VideoCodec {
    /// VP8 (RFC 7741): simulcast and temporal layers.
    #[default]
    Vp8,
    /// VP9 (RFC 9628): spatial and temporal layers in one stream.
    Vp9 {
        /// Every packet says what its frame refers to, as Chromium does with spatial layers.
        flexible: bool,
    },
    /// AV1 (AV1 RTP specification): layers by the dependency descriptor.
    Av1,
}

impl VideoCodec {
    /// The smallest payload: the longest descriptor and a stamp.
    #[must_use]
    pub const fn payload_bytes_min(self) -> usize {
        STAMP_BYTES
            + match self {
                Self::Vp8 => vp8::DESCRIPTOR_BYTES + vp8::FRAME_HEADER_BYTES,
                Self::Vp9 { .. } => vp9::DESCRIPTOR_BYTES_MAX,
                Self::Av1 => av1::HEADER_BYTES,
            }
    }
}

/// One frame: a picture, or one spatial layer of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Layers of its encoding.
    pub scalability: Scalability,
    /// Spatial layers that the encoding sends now.
    pub active_spatial: u8,
    /// Picture id, 15 bits.
    pub picture: u16,
    /// Number of the last picture of the base temporal layer.
    pub tl0: u8,
    /// Number of the last keyframe.
    pub key_index: u8,
    /// It refers to the base temporal layer alone.
    pub sync: bool,
    /// Width and height of the highest spatial layer.
    pub size: (u16, u16),
    /// What the dependency descriptor says of it.
    pub dependency: Dependency,
}

/// Fills all of `payload`, at least [`VideoCodec::payload_bytes_min`].
pub fn write(codec: VideoCodec, frame: &Frame, stamp: &Stamp, payload: &mut [u8]) {
    match codec {
        VideoCodec::Vp8 => vp8::write(frame, stamp, payload),
        VideoCodec::Vp9 { flexible } => vp9::write(flexible, frame, stamp, payload),
        VideoCodec::Av1 => av1::write(stamp, payload),
    }
}

/// What a payload's descriptor says, of whatever sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descriptor {
    /// First packet of a frame.
    pub start: bool,
    /// Last packet of a frame, when the descriptor tells.
    pub end: Option<bool>,
    /// First packet of a keyframe.
    pub keyframe_start: bool,
    /// Picture id, when present.
    pub picture: Option<u16>,
    /// Number of the last picture of the base temporal layer, when present.
    pub tl0: Option<u8>,
    /// Number of the last keyframe, when present.
    pub key_index: Option<u8>,
    /// Spatial layer; 0 when the descriptor does not tell.
    pub spatial: u8,
    /// Temporal layer; 0 when the descriptor does not tell.
    pub temporal: u8,
    /// Earlier pictures that the frame refers to, how many picture ids back; 0 is none. `None` when the descriptor does not tell.
    pub refers: Option<[u16; 2]>,
    /// Where the frame's bytes begin.
    pub bytes: usize,
}

/// Reads a payload's descriptor.
///
/// # Errors
/// `Missing` when it is cut.
pub fn describe(codec: VideoCodec, payload: &[u8]) -> Result<Descriptor, StampError> {
    match codec {
        VideoCodec::Vp8 => vp8::describe(payload),
        VideoCodec::Vp9 { .. } => vp9::describe(payload),
        VideoCodec::Av1 => av1::describe(payload),
    }
}

/// Reads the stamp behind a descriptor and holds them against each other.
///
/// # Errors
/// `Missing` when there is none, `Corrupt` when stamp and descriptor contradict each other, else what [`Stamp::read`] says.
pub fn read(codec: VideoCodec, descriptor: &Descriptor, payload: &[u8]) -> Result<Stamp, StampError> {
    let header_bytes = if codec == VideoCodec::Vp8 && descriptor.start { vp8::FRAME_HEADER_BYTES } else { 0 };
    let body = payload.get(descriptor.bytes + header_bytes..).ok_or(StampError::Missing)?;
    let stamp = Stamp::read(body)?;
    let first = stamp.packet == 0;
    let last = stamp.packet + 1 == stamp.packet_count;
    // AV1's own header tells keyframes by their sequence header; of its layers the dependency descriptor speaks.
    let (spatial, temporal) = match codec {
        VideoCodec::Vp8 => (0, stamp.temporal),
        VideoCodec::Vp9 { .. } => (stamp.spatial, stamp.temporal),
        VideoCodec::Av1 => (0, 0),
    };
    let consistent = descriptor.start == first
        && descriptor.end.is_none_or(|end| end == last)
        && descriptor.keyframe_start == (first && stamp.keyframe && stamp.spatial == 0)
        && (descriptor.spatial, descriptor.temporal) == (spatial, temporal);
    if consistent { Ok(stamp) } else { Err(StampError::Corrupt) }
}
