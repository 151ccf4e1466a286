//! What a client expects of a stream, and what the stream brought.

use dataplane::base::ids::Ssrc;
use dataplane::base::media::MediaKind;
use dataplane::base::time::Micros;

use crate::client::codec::VideoCodec;
use crate::client::delay::Delays;

/// A stream that the client expects.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveConfig {
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions.
    pub rtx: Option<Ssrc>,
    /// Audio or video.
    pub kind: MediaKind,
    /// How video is packetised.
    pub codec: VideoCodec,
    /// Payload type.
    pub pt: u8,
    /// Payload type of retransmissions.
    pub rtx_pt: Option<u8>,
    /// Payload type of redundant audio, taken beside `pt`.
    pub red_pt: Option<u8>,
    /// Opus carries the frame before in its own redundancy (RFC 6716 section 2.1.7), as browsers negotiate with `useinbandfec`.
    pub fec: bool,
    /// Identifier of the transport-wide sequence number extension, if negotiated.
    pub transport_cc: Option<u8>,
    /// Identifier of the absolute send time, if negotiated.
    pub abs_send_time: Option<u8>,
    /// Identifier of the dependency descriptor, if negotiated.
    pub dependency: Option<u8>,
    /// Whether missing packets are asked for.
    pub nack: bool,
    /// Publisher and track that are to be heard, as stamped; `None` holds the stream to the first track it hears.
    pub expected: Option<(u32, u32)>,
}

/// Spatial layers told apart in [`Reception::layer_packets`].
pub const SPATIAL_LAYERS: usize = 4;
/// Temporal layers told apart there.
pub const TEMPORAL_LAYERS: usize = 4;

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
    /// Picture ids, base layer and keyframe indices, markers or timestamps that do not follow in packets that follow each other.
    pub discontinuities: u64,
    /// Packets with an older timestamp than one with a lower number: must stay zero.
    pub backward_timestamps: u64,
    /// Dependency descriptors whose flags or frame numbers contradict their packets: must stay zero.
    pub descriptor_errors: u64,
    /// Changes of simulcast layer.
    pub layer_switches: u64,
    /// Last simulcast layer.
    pub layer: Option<u8>,
    /// Last spatial layer seen in a whole picture.
    pub spatial: Option<u8>,
    /// Packets by simulcast layer or spatial layer, and by temporal layer.
    pub layer_packets: [[u64; TEMPORAL_LAYERS]; SPATIAL_LAYERS],
    /// Frames of which every packet came (audio: packets).
    pub frames: u64,
    /// Pictures that could be decoded: everything they refer to was decoded, on every spatial layer that came.
    pub decoded_frames: u64,
    /// Pictures that came, but not all they refer to.
    pub undecodable_frames: u64,
    /// Those for which no loss accounts: what they refer to was never sent. Must stay zero.
    pub unexplained_frames: u64,
    /// Pictures that were given up because packets of them stayed away, or came too late to be shown.
    pub skipped_frames: u64,
    /// Pictures that another one follows before their end, without a gap: the sender gave them up and began anew.
    pub cut_frames: u64,
    /// Times without a decodable picture for more than 500 ms and three times the mean.
    pub freezes: u64,
    /// Their time, microseconds.
    pub frozen_us: u64,
    /// When each began and how long it took, microseconds; the first [`FREEZES_MAX`].
    pub freeze_list: Vec<(Micros, u64)>,
    /// When the last picture was decoded.
    pub last_decoded: Option<Micros>,
    /// When the first picture was decoded.
    pub first_decoded: Option<Micros>,
    /// Audio frames that were there when they were to be played.
    pub played_frames: u64,
    /// Audio frames that were not.
    pub concealed_frames: u64,
    /// Audio frames that only the redundancy of a later packet brought in time.
    pub redundant_frames: u64,
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
    /// Sum over packets of [`crate::client::stamp::Stamp::content_hash`]: equal for equal content in any order.
    pub content_hash: u64,
    /// Running hash over packets in order of arrival, times included: equal only for equal runs.
    pub order_hash: u64,
    /// Send to arrival, original packets only.
    pub delays: Delays,
}

/// Freezes listed one by one.
pub const FREEZES_MAX: usize = 64;
