//! A VP9 payload around a stamp: descriptor (RFC 9628 section 4.2), then the stamp.
//!
//! Promises: layer indices on every packet, the scalability structure on the first packet of a key picture; in flexible mode
//! every frame names what it refers to, otherwise the structure carries the group of pictures.

use super::scalability::SPATIAL_MAX;
use super::{Descriptor, Frame};
use crate::client::stamp::{Stamp, StampError};

/// Longest descriptor: flags, picture id, layers, TL0PICIDX, two references; a structure of three sizes and four pictures
/// with a reference each.
pub const DESCRIPTOR_BYTES_MAX: usize = 1 + 2 + 1 + 1 + 2 + (1 + 4 * SPATIAL_MAX + 1 + 2 * 4);

/// Fills all of `payload`.
pub(super) fn write(flexible: bool, frame: &Frame, stamp: &Stamp, payload: &mut [u8]) {
    let first = stamp.packet == 0;
    let last = stamp.packet + 1 == stamp.packet_count;
    let key_only = frame.scalability.key_pictures_only;
    // Nothing above refers to the highest layer, nor to any in a delta picture when layers meet in key pictures only.
    let not_for_upper = stamp.spatial + 1 >= frame.active_spatial || key_only && !stamp.keyframe;
    let structure = first && stamp.keyframe && stamp.spatial == 0;
    payload[0] = 0x80
        | u8::from(!stamp.keyframe) << 6
        | 0x20
        | u8::from(flexible) << 4
        | u8::from(first) << 3
        | u8::from(last) << 2
        | u8::from(structure) << 1
        | u8::from(not_for_upper);
    payload[1..3].copy_from_slice(&(0x8000 | frame.picture).to_be_bytes());
    // U is set on every frame: in these patterns nothing that follows refers to a higher temporal layer before it.
    payload[3] = stamp.temporal << 5 | 0x10 | stamp.spatial << 1 | u8::from(stamp.inter_layer);
    let mut at = 4;
    if !flexible {
        payload[at] = frame.tl0;
        at += 1;
    } else if !stamp.keyframe {
        let count = stamp.refers.iter().filter(|&&back| back != 0).count();
        for (index, back) in stamp.refers[..count].iter().enumerate() {
            payload[at] = (*back as u8) << 1 | u8::from(index + 1 < count);
            at += 1;
        }
    }
    if structure {
        at += write_structure(flexible, frame, &mut payload[at..]);
    }
    stamp.write(&mut payload[at..]);
}

/// The scalability structure: sizes, and the group of pictures when frames do not name their references themselves.
fn write_structure(flexible: bool, frame: &Frame, out: &mut [u8]) -> usize {
    let layers = frame.active_spatial;
    out[0] = (layers - 1) << 5 | 0x10 | u8::from(!flexible) << 3;
    let mut at = 1;
    for spatial in 0..layers {
        let (width, height) = frame.layer_size(spatial);
        out[at..at + 2].copy_from_slice(&width.to_be_bytes());
        out[at + 2..at + 4].copy_from_slice(&height.to_be_bytes());
        at += 4;
    }
    if !flexible {
        let steps = frame.scalability.svc_steps();
        out[at] = steps.len() as u8;
        at += 1;
        for step in steps {
            out[at] = step.temporal << 5 | 0x10 | 1 << 2;
            out[at + 1] = step.refers[0] as u8;
            at += 2;
        }
    }
    at
}

impl Frame {
    /// Width and height of a spatial layer: each is half of the one above.
    #[must_use]
    pub const fn layer_size(&self, spatial: u8) -> (u16, u16) {
        let halvings = self.scalability.spatial_layers.saturating_sub(1).saturating_sub(spatial);
        (self.size.0 >> halvings, self.size.1 >> halvings)
    }
}

/// Reads a descriptor, whatever fields it has.
pub(super) fn describe(payload: &[u8]) -> Result<Descriptor, StampError> {
    let byte = |at: usize| payload.get(at).copied().ok_or(StampError::Missing);
    let first = byte(0)?;
    let [inter_picture, flexible] = [0x40, 0x10].map(|bit| first & bit != 0);
    let mut descriptor =
        Descriptor { start: first & 8 != 0, end: Some(first & 4 != 0), ..Descriptor::default() };
    let mut at = 1;
    if first & 0x80 != 0 {
        let high = byte(at)?;
        let wide = high & 0x80 != 0;
        descriptor.picture =
            Some(if wide { u16::from_be_bytes([high & 0x7f, byte(at + 1)?]) } else { u16::from(high) });
        at += if wide { 2 } else { 1 };
    }
    let mut inter_layer = false;
    if first & 0x20 != 0 {
        let layers = byte(at)?;
        at += 1;
        (descriptor.temporal, descriptor.spatial, inter_layer) =
            (layers >> 5, layers >> 1 & 7, layers & 1 != 0);
        if !flexible {
            descriptor.tl0 = Some(byte(at)?);
            at += 1;
        }
    }
    if flexible {
        let mut refers = [0; 2];
        let mut more = inter_picture;
        let mut count = 0;
        while more {
            let reference = byte(at)?;
            at += 1;
            if let Some(slot) = refers.get_mut(count) {
                *slot = u16::from(reference >> 1);
            }
            count += 1;
            more = reference & 1 != 0 && count < 3;
        }
        descriptor.refers = Some(refers);
    }
    if first & 2 != 0 {
        let structure = byte(at)?;
        at += 1;
        if structure & 0x10 != 0 {
            at += 4 * (usize::from(structure >> 5) + 1);
        }
        if structure & 0x08 != 0 {
            let pictures = byte(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(byte(at)? >> 2 & 3);
            }
        }
    }
    byte(at)?;
    descriptor.keyframe_start = descriptor.start && !inter_picture && descriptor.spatial == 0 && !inter_layer;
    descriptor.bytes = at;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::super::dependency::Dependency;
    use super::super::scalability::Scalability;
    use super::super::{VideoCodec, read};
    use super::*;
    use dataplane::wire::vp9::Vp9Descriptor;

    #[test]
    fn the_forwarder_and_the_receiver_read_what_is_written() {
        for flexible in [true, false] {
            let codec = VideoCodec::Vp9 { flexible };
            for scalability in [Scalability::L3T3, Scalability::L3T3_KEY, Scalability::L1T3] {
                for (keyframe, spatial, temporal, packet) in
                    [(true, 0, 0, 0), (true, 1, 0, 0), (false, 0, 2, 0), (false, 0, 0, 1), (false, 2, 1, 0)]
                {
                    if spatial >= scalability.spatial_layers {
                        continue;
                    }
                    let stamp = Stamp {
                        packet,
                        packet_count: 2,
                        keyframe,
                        spatial,
                        temporal,
                        inter_layer: spatial > 0 && (keyframe || !scalability.key_pictures_only),
                        refers: if keyframe { [0, 0] } else { [4, 1] },
                        ..Stamp::default()
                    };
                    let frame = Frame {
                        scalability,
                        active_spatial: scalability.spatial_layers,
                        picture: 0x1234,
                        tl0: 9,
                        key_index: 0,
                        sync: false,
                        size: (1280, 720),
                        dependency: Dependency::default(),
                    };
                    let mut payload = vec![0; codec.payload_bytes_min() + 3];
                    write(flexible, &frame, &stamp, &mut payload);
                    let theirs = Vp9Descriptor::parse(&payload).expect("valid");
                    let ours = describe(&payload).expect("valid");
                    assert_eq!(usize::from(theirs.bytes), ours.bytes);
                    assert_eq!(theirs.picture_id, Some(0x1234));
                    assert_eq!((theirs.spatial, theirs.temporal), (spatial, temporal));
                    assert_eq!((theirs.frame_start, theirs.frame_end), (packet == 0, packet == 1));
                    assert_eq!((theirs.inter_picture, theirs.inter_layer), (!keyframe, stamp.inter_layer));
                    assert_eq!(theirs.is_keyframe_start(), keyframe && spatial == 0 && packet == 0);
                    let structure = keyframe && spatial == 0;
                    assert_eq!(theirs.spatial_layers, structure.then_some(scalability.spatial_layers));
                    assert_eq!(theirs.size, structure.then_some((1280, 720)));
                    assert_eq!(ours.refers, flexible.then_some(stamp.refers));
                    assert_eq!(read(codec, &ours, &payload), Ok(stamp));
                    for cut in 0..payload.len() {
                        let cut = &payload[..cut];
                        assert!(describe(cut).and_then(|d| read(codec, &d, cut)).is_err());
                    }
                }
            }
        }
    }
}
