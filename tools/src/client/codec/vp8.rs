//! A VP8 payload around a stamp: descriptor (RFC 7741 section 4.2), frame header on the first packet, then the stamp.
//!
//! Promises: with temporal layers the descriptor has all its fields, without them those that browsers send.

use super::{Descriptor, Frame};
use crate::client::stamp::{Stamp, StampError};

/// Bytes of the descriptor we write: X, I with 15 bits, L, T and K.
pub const DESCRIPTOR_BYTES: usize = 6;
/// Uncompressed frame header of a keyframe; delta frames are given the same room.
pub const FRAME_HEADER_BYTES: usize = 10;
/// Picture ids are 15 bits here.
pub const PICTURE_MASK: u16 = 0x7fff;

/// Fills all of `payload`.
pub(super) fn write(frame: &Frame, stamp: &Stamp, payload: &mut [u8]) {
    let start = stamp.packet == 0;
    let layered = frame.scalability.temporal_layers > 1;
    // N: nothing refers to pictures of the highest of several temporal layers.
    let unreferenced = layered && stamp.temporal + 1 == frame.scalability.temporal_layers;
    payload[0] = 0x80 | u8::from(unreferenced) << 5 | u8::from(start) << 4;
    payload[1] = 0xe0 | u8::from(layered) << 4;
    payload[2..4].copy_from_slice(&(0x8000 | frame.picture).to_be_bytes());
    payload[4] = frame.tl0;
    payload[5] =
        stamp.temporal << 6 | u8::from(frame.sync) << 5 | if layered { frame.key_index & 0x1f } else { 0 };
    let mut at = DESCRIPTOR_BYTES;
    if start {
        let [width, height] = [frame.size.0, frame.size.1].map(|side| (side & 0x3fff).to_le_bytes());
        // Frame tag: not a keyframe in bit 0, version 0, shown; then start code and size (RFC 6386 section 9.1).
        let tag = 0x10 | u8::from(!stamp.keyframe);
        let header = [tag, 0, 0, 0x9d, 0x01, 0x2a, width[0], width[1], height[0], height[1]];
        payload[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header);
        at += FRAME_HEADER_BYTES;
    }
    stamp.write(&mut payload[at..]);
}

/// Reads a descriptor, whatever fields it has.
pub(super) fn describe(payload: &[u8]) -> Result<Descriptor, StampError> {
    let byte = |at: usize| payload.get(at).copied().ok_or(StampError::Missing);
    let first = byte(0)?;
    let mut descriptor = Descriptor { start: first & 0x17 == 0x10, ..Descriptor::default() };
    let mut at = 1;
    if first & 0x80 != 0 {
        let present = byte(1)?;
        at = 2;
        if present & 0x80 != 0 {
            let high = byte(at)?;
            if high & 0x80 != 0 {
                descriptor.picture = Some(u16::from_be_bytes([high & 0x7f, byte(at + 1)?]));
                at += 2;
            } else {
                descriptor.picture = Some(u16::from(high));
                at += 1;
            }
        }
        if present & 0x40 != 0 {
            descriptor.tl0 = Some(byte(at)?);
            at += 1;
        }
        if present & 0x30 != 0 {
            let layers = byte(at)?;
            at += 1;
            if present & 0x20 != 0 {
                descriptor.temporal = layers >> 6;
            }
            descriptor.key_index = (present & 0x10 != 0).then_some(layers & 0x1f);
        }
    }
    descriptor.keyframe_start = descriptor.start && byte(at)? & 1 == 0;
    descriptor.bytes = at;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::super::{VideoCodec, dependency::Dependency, read, scalability::Scalability};
    use super::*;
    use dataplane::wire::vp8::Vp8Descriptor;

    fn frame(scalability: Scalability) -> Frame {
        Frame {
            scalability,
            active_spatial: 1,
            picture: 0x7ffe,
            tl0: 200,
            key_index: 17,
            sync: false,
            size: (640, 360),
            dependency: Dependency::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_cuts_are_caught() {
        for (packet, keyframe, temporal) in [(0, true, 0), (0, false, 2), (1, true, 0), (3, false, 1)] {
            let stamp = Stamp { room: 5, packet, packet_count: 4, keyframe, temporal, ..Stamp::default() };
            let mut payload = vec![0; VideoCodec::Vp8.payload_bytes_min() + 30];
            write(&frame(Scalability::L1T3), &stamp, &mut payload);
            let descriptor = describe(&payload).expect("we wrote it");
            assert_eq!(read(VideoCodec::Vp8, &descriptor, &payload), Ok(stamp));
            assert_eq!((descriptor.start, descriptor.picture), (packet == 0, Some(0x7ffe)));
            assert_eq!((descriptor.tl0, descriptor.key_index), (Some(200), Some(17)));
            assert_eq!(descriptor.keyframe_start, packet == 0 && keyframe);
            for cut in 0..payload.len() {
                let whole =
                    describe(&payload[..cut]).and_then(|d| read(VideoCodec::Vp8, &d, &payload[..cut]));
                assert!(whole.is_err());
            }
        }
    }

    #[test]
    fn the_forwarder_reads_the_same() {
        for scalability in [Scalability::L1T1, Scalability::L1T2, Scalability::L1T3] {
            for temporal in 0..scalability.temporal_layers {
                let stamp = Stamp { packet_count: 1, keyframe: temporal == 0, temporal, ..Stamp::default() };
                let mut payload = vec![0; VideoCodec::Vp8.payload_bytes_min()];
                write(&frame(scalability), &stamp, &mut payload);
                let read = Vp8Descriptor::parse(&payload).expect("valid");
                assert_eq!(usize::from(read.bytes), DESCRIPTOR_BYTES);
                assert_eq!(read.is_keyframe_start(&payload), temporal == 0);
                assert_eq!(read.keyframe_size(&payload), (temporal == 0).then_some((640, 360)));
                assert_eq!((read.picture_id.map(|id| id.value), read.tl0_index), (Some(0x7ffe), Some(200)));
                let layer = read.layer.expect("the T bit is set");
                assert_eq!((layer.temporal, layer.sync), (Some(temporal), false));
                assert_eq!(layer.key_index, (scalability.temporal_layers > 1).then_some(17));
            }
        }
    }

    #[test]
    fn shorter_descriptors_are_read_too() {
        for (payload, picture, tl0) in [
            (&[0x00, 1][..], None, None),
            (&[0x80, 0x00, 1], None, None),
            (&[0x80, 0x80, 0x05, 1], Some(5), None),
            (&[0x80, 0x40, 0x05, 1], None, Some(5)),
            (&[0x80, 0xa0, 0x85, 0x06, 0x20, 1], Some(0x506), None),
        ] {
            let read = describe(payload).expect("whole");
            assert_eq!((read.picture, read.tl0, read.bytes), (picture, tl0, payload.len() - 1));
        }
    }
}
