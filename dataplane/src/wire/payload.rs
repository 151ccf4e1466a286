//! What routing needs to know of one media payload, whatever the codec.
//!
//! Path: once per received video packet, before layers are chosen. Reads descriptors and the first clear bytes only.
//! Not here: rewriting (`room::rewrite` with [`super::vp8`]), layer choice (`room::layers`).

use super::av1::{AggregationHeader, dependency};
use super::h264::H264Payload;
use super::vp8::Vp8Descriptor;
use super::vp9::Vp9Descriptor;
use crate::base::drops::DropReason;
use crate::base::media::Codec;

/// One payload as routing sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PayloadInfo {
    /// A receiver that has nothing can start with this packet.
    pub keyframe_start: bool,
    /// The packet begins a frame (for H.264 only: a NAL unit).
    pub frame_start: bool,
    /// The packet ends a frame of its spatial layer; false where only the RTP marker tells.
    pub frame_end: bool,
    /// The frame is no reference of the spatial layer above.
    pub not_for_upper: bool,
    /// Spatial layer within the stream; 0 without SVC.
    pub spatial: u8,
    /// Temporal layer; 0 without temporal layers.
    pub temporal: u8,
    /// A receiver of lower temporal layers may switch up to this one here.
    pub switch_up: bool,
    /// Width and height, when the packet tells.
    pub size: Option<(u16, u16)>,
    /// The VP8 descriptor, for rewriting.
    pub vp8: Option<Vp8Descriptor>,
}

/// Describes a payload (padding excluded). For AV1, `dependency` is the dependency descriptor's value if the packet has one; its
/// layers need the structure that the caller remembers, see [`dependency`]. Audio has nothing to describe.
///
/// # Errors
/// `Truncated` or `Malformed` when the payload contradicts its codec's format.
pub fn describe(codec: Codec, payload: &[u8], dependency: Option<&[u8]>) -> Result<PayloadInfo, DropReason> {
    match codec {
        Codec::Opus | Codec::Red => Ok(PayloadInfo { frame_start: true, ..PayloadInfo::default() }),
        Codec::Vp8 => {
            let descriptor = Vp8Descriptor::parse(payload)?;
            Ok(PayloadInfo {
                keyframe_start: descriptor.is_keyframe_start(payload),
                frame_start: descriptor.is_frame_start(),
                frame_end: false,
                not_for_upper: false,
                spatial: 0,
                temporal: descriptor.layer.and_then(|layer| layer.temporal).unwrap_or(0),
                switch_up: descriptor.layer.is_some_and(|layer| layer.sync),
                size: descriptor.keyframe_size(payload),
                vp8: Some(descriptor),
            })
        }
        Codec::Vp9 { .. } => {
            let descriptor = Vp9Descriptor::parse(payload)?;
            Ok(PayloadInfo {
                keyframe_start: descriptor.is_keyframe_start(),
                frame_start: descriptor.frame_start,
                frame_end: descriptor.frame_end,
                not_for_upper: descriptor.not_for_upper,
                spatial: descriptor.spatial,
                temporal: descriptor.temporal,
                switch_up: descriptor.switch_up,
                size: descriptor.size,
                vp8: None,
            })
        }
        Codec::H264 { .. } => {
            let found = H264Payload::parse(payload)?;
            Ok(PayloadInfo {
                keyframe_start: found.is_keyframe_start(),
                frame_start: found.nal_start,
                ..PayloadInfo::default()
            })
        }
        Codec::Av1 { .. } => {
            let header = AggregationHeader::parse(payload)?;
            let descriptor = match dependency {
                Some(value) => Some(dependency::Descriptor::parse(value)?),
                None => None,
            };
            Ok(PayloadInfo {
                keyframe_start: header.new_sequence
                    || descriptor.is_some_and(|d| d.has_structure && d.frame_start),
                frame_start: descriptor.map_or(!header.continues, |d| d.frame_start),
                frame_end: descriptor.is_some_and(|d| d.frame_end),
                ..PayloadInfo::default()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const CODECS: [Codec; 6] = [
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::Vp9 { profile: 0 },
        Codec::H264 { profile_level_id: 0x42_e01f, packetization_mode: 1 },
        Codec::Av1 { profile: 0 },
    ];

    #[test]
    fn every_codec_shows_where_a_receiver_can_start() {
        let payloads: [(Codec, &[u8], &[u8]); 4] = [
            (Codec::Vp8, &[0x10, 0x50, 0, 0], &[0x10, 0x51, 0, 0]),
            (CODECS[3], &[0x8c, 0x12, 0xff], &[0xcc, 0x12, 0xff]),
            (CODECS[4], &[0x65, 0x88], &[0x41, 0x88]),
            (CODECS[5], &[0x18, 0x0a], &[0x10, 0x32]),
        ];
        for (codec, key, delta) in payloads {
            assert!(describe(codec, key, None).expect("valid").keyframe_start, "{codec:?}");
            let delta = describe(codec, delta, None).expect("valid");
            assert!(!delta.keyframe_start && delta.frame_start, "{codec:?}");
        }
    }

    #[test]
    fn a_keyframe_is_seen_through_end_to_end_encryption() {
        // Behind the descriptor the first ten bytes of a VP8 keyframe stay clear; the rest is noise.
        let mut payload =
            vec![0x90, 0x80, 0x81, 0x02, 0x50, 0x2a, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];
        payload.extend_from_slice(&[0x5a; 100]);
        let info = describe(Codec::Vp8, &payload, None).expect("valid");
        assert!(info.keyframe_start);
        assert_eq!(info.size, Some((320, 180)));
        // H.264 keeps NAL headers clear.
        let info = describe(CODECS[4], &[0x7c, 0x85, 0x5a, 0x5a, 0x5a], None).expect("valid");
        assert!(info.keyframe_start);
    }

    #[test]
    fn the_dependency_descriptor_decides_for_av1() {
        // A structure flag in the fourth byte.
        let info = describe(CODECS[5], &[0x10, 0x32], Some(&[0x80, 0, 1, 0x80])).expect("valid");
        assert!(info.keyframe_start && info.frame_start);
        let info = describe(CODECS[5], &[0x10, 0x32], Some(&[0x00, 0, 1])).expect("valid");
        assert!(!info.keyframe_start && !info.frame_start);
        assert_eq!(describe(CODECS[5], &[0x10, 0x32], Some(&[0x80])), Err(DropReason::Truncated));
    }

    #[test]
    fn random_payloads_of_every_codec_never_panic() {
        let mut rng = Rng::new(12);
        for _ in 0..20_000 {
            let payload: Vec<u8> = (0..rng.below(30)).map(|_| rng.next_u64() as u8).collect();
            for codec in CODECS {
                let dependency = payload.get(..rng.below(8) as usize);
                let _ = describe(codec, &payload, dependency);
            }
        }
    }
}
