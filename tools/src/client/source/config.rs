//! What a synthetic track is made of.

use dataplane::base::ids::{Mid, Rid, Ssrc};
use dataplane::base::media::ExtensionMap;

use crate::client::codec::VideoCodec;
use crate::client::codec::scalability::Scalability;
use crate::client::stamp::Stamp;

/// What audio and video have in common.
#[derive(Clone, Debug)]
pub struct TrackConfig {
    /// The number stamped into every payload.
    pub track: u32,
    /// Media section, sent in the extension when it is negotiated.
    pub mid: Option<Mid>,
    /// Payload type.
    pub pt: u8,
    /// Payload type of retransmissions; without it NACKs about video are not answered.
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
    /// Size of one encoded frame, at least [`crate::client::stamp::STAMP_BYTES`].
    pub payload_bytes: usize,
    /// Level as in RFC 6464: 0 is loudest, 127 silence.
    pub level: u8,
    /// Payload type of redundant audio (RFC 2198); with it every packet repeats the frame before.
    pub red_pt: Option<u8>,
    /// Whether a NACK is answered, by the same packet once more.
    pub nack: bool,
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
    /// Bytes of a delta picture, mean over temporal layers, all spatial layers together.
    pub frame_bytes: usize,
    /// Bytes of a key picture.
    pub keyframe_bytes: usize,
}

/// Synthetic video.
#[derive(Clone, Debug)]
pub struct VideoConfig {
    /// The track.
    pub track: TrackConfig,
    /// How it is packetised.
    pub codec: VideoCodec,
    /// Layers within each encoding.
    pub scalability: Scalability,
    /// Simulcast layers from lowest to highest; one without simulcast, at most 255.
    pub encodings: Vec<Encoding>,
    /// Width and height of the highest layer; each layer below has half of the one above.
    pub size: (u16, u16),
    /// Time between frames, microseconds.
    pub frame_interval_us: u64,
    /// Largest RTP payload; a frame is cut into equal packets of at most this size.
    pub payload_bytes_max: usize,
    /// Frames vary in size by up to this share, percent.
    pub size_jitter_percent: u8,
    /// Pictures grow from a quarter to their full size over this time, as while an encoder's own estimate rises; 0 is at once.
    pub ramp_us: u64,
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
    /// Keyframes sent, each simulcast layer counted.
    pub keyframes: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// Packets a NACK named that were no longer remembered.
    pub forgotten: u64,
    /// Order-independent sum of [`crate::client::stamp::Stamp::content_hash`] over packets sent.
    pub content_hash: u64,
}

impl SourceStatistics {
    pub(super) fn count(&mut self, stamp: &Stamp) {
        self.packets += 1;
        self.content_hash = self.content_hash.wrapping_add(stamp.content_hash());
    }
}
