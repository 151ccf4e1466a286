//! A VP8 payload around a stamp: descriptor (RFC 7741 section 4.2), frame header on the first packet, then the stamp.
//!
//! Path: between `source` and the wire, and back in `receiver`. Written by hand and not by `dataplane::wire::vp8`, so that
//! the forwarder's reading and rewriting is judged by something else than itself.

use super::stamp::{Stamp, StampError};

/// Bytes of the descriptor we write: X, I with 15 bits, L, T.
pub const DESCRIPTOR_BYTES: usize = 6;
/// Uncompressed frame header of a keyframe; delta frames are given the same room.
pub const FRAME_HEADER_BYTES: usize = 10;
/// Picture ids are 15 bits here.
pub const PICTURE_MASK: u16 = 0x7fff;

/// A payload as read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vp8Payload {
    /// First packet of a frame.
    pub start: bool,
    /// Picture id, 15 bits, when present.
    pub picture: Option<u16>,
    /// On the first packet: whether the bitstream says keyframe.
    pub keyframe: bool,
    /// What it carries.
    pub stamp: Stamp,
}

/// Fills all of `payload` (at least `VIDEO_PAYLOAD_BYTES_MIN`).
pub fn write(stamp: &Stamp, picture: u16, payload: &mut [u8]) {
    let start = stamp.packet == 0;
    payload[0] = 0x80 | u8::from(start) << 4;
    payload[1] = 0xe0;
    payload[2..4].copy_from_slice(&(0x8000 | picture).to_be_bytes());
    // Every frame is of the base temporal layer: its index runs with the picture id.
    payload[4] = picture as u8;
    payload[5] = 0x20;
    let mut at = DESCRIPTOR_BYTES;
    if start {
        // Frame tag: not a keyframe in bit 0, version 0, shown; then start code and size (RFC 6386 section 9.1).
        let header = [0x10 | u8::from(!stamp.keyframe), 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];
        payload[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header);
        at += FRAME_HEADER_BYTES;
    }
    stamp.write(&mut payload[at..]);
}

/// Reads a payload, whatever fields its descriptor has.
///
/// # Errors
/// `Missing` when the descriptor is cut, else what [`Stamp::read`] says.
pub fn read(payload: &[u8]) -> Result<Vp8Payload, StampError> {
    let byte = |at: usize| payload.get(at).copied().ok_or(StampError::Missing);
    let first = byte(0)?;
    let start = first & 0x17 == 0x10;
    let (mut at, mut picture) = (1, None);
    if first & 0x80 != 0 {
        let present = byte(1)?;
        at = 2;
        if present & 0x80 != 0 {
            let high = byte(at)?;
            if high & 0x80 != 0 {
                picture = Some(u16::from_be_bytes([high & 0x7f, byte(at + 1)?]));
                at += 2;
            } else {
                picture = Some(u16::from(high));
                at += 1;
            }
        }
        at += usize::from(present & 0x40 != 0) + usize::from(present & 0x30 != 0);
    }
    let mut keyframe = false;
    if start {
        keyframe = byte(at)? & 1 == 0;
        at += FRAME_HEADER_BYTES;
    }
    let stamp = Stamp::read(payload.get(at..).ok_or(StampError::Missing)?)?;
    if start != (stamp.packet == 0) || start && keyframe != stamp.keyframe {
        return Err(StampError::Corrupt);
    }
    Ok(Vp8Payload { start, picture, keyframe, stamp })
}

#[cfg(test)]
mod tests {
    use super::super::source::VIDEO_PAYLOAD_BYTES_MIN;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_cuts_are_caught() {
        for (packet, keyframe) in [(0, true), (0, false), (1, true), (3, false)] {
            let stamp = Stamp { room: 5, packet, packet_count: 4, keyframe, ..Stamp::default() };
            let mut payload = vec![0; VIDEO_PAYLOAD_BYTES_MIN + 30];
            write(&stamp, 0x7ffe, &mut payload);
            let read_back = read(&payload).expect("we wrote it");
            assert_eq!(read_back.stamp, stamp);
            assert_eq!((read_back.start, read_back.picture), (packet == 0, Some(0x7ffe)));
            assert_eq!(read_back.keyframe, packet == 0 && keyframe);
            for cut in 0..payload.len() {
                assert!(read(&payload[..cut]).is_err());
            }
        }
    }

    #[test]
    fn shorter_descriptors_are_read_too() {
        let stamp = Stamp { packet: 1, ..Stamp::default() };
        let mut body = vec![0; 60];
        stamp.write(&mut body);
        for (descriptor, picture) in [
            (&[0x00][..], None),
            (&[0x80, 0x00], None),
            (&[0x80, 0x80, 0x05], Some(5)),
            (&[0x80, 0x40, 0x05], None),
            (&[0x80, 0xa0, 0x85, 0x06, 0x20], Some(0x506)),
        ] {
            let payload = [descriptor, &body].concat();
            assert_eq!(read(&payload).map(|p| (p.picture, p.stamp)), Ok((picture, stamp)));
        }
    }
}
