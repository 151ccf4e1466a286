//! VP9 payload descriptor (RFC 9628).
//!
//! Path: read for every received VP9 packet. All of it lies in front of the frame, so end-to-end encryption leaves it clear.
//! Promises: bounded by the payload; at most three references and eight layers are looked at.

use crate::base::drops::DropReason;

/// A parsed descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vp9Descriptor {
    /// Picture number, 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// The frame refers to frames of earlier pictures (P bit).
    pub inter_picture: bool,
    /// Flexible mode (F bit).
    pub flexible: bool,
    /// The packet begins a layer frame (B bit).
    pub frame_start: bool,
    /// The packet ends a layer frame (E bit).
    pub frame_end: bool,
    /// No upper spatial layer refers to this frame (Z bit).
    pub not_for_upper: bool,
    /// Temporal layer; 0 without layer indices.
    pub temporal: u8,
    /// A receiver may switch up to this temporal layer here (U bit).
    pub switch_up: bool,
    /// Spatial layer; 0 without layer indices.
    pub spatial: u8,
    /// The frame refers to the spatial layer below (D bit).
    pub inter_layer: bool,
    /// Whether layer indices are there at all (L bit).
    pub has_layers: bool,
    /// Size of the highest spatial layer, from the scalability structure.
    pub size: Option<(u16, u16)>,
    /// Spatial layers of the scalability structure, if it is there (V bit).
    pub spatial_layers: Option<u8>,
    /// Bytes of the descriptor.
    pub bytes: u16,
}

impl Vp9Descriptor {
    /// Parses the descriptor at the beginning of a payload.
    ///
    /// # Errors
    /// `Truncated` when the payload ends within it, `Malformed` for more than three references.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let mut reader = payload.iter().copied();
        let mut next = || reader.next().ok_or(DropReason::Truncated);
        let first = next()?;
        let mut descriptor = Self {
            picture_id: None,
            inter_picture: first & 0x40 != 0,
            flexible: first & 0x10 != 0,
            frame_start: first & 0x08 != 0,
            frame_end: first & 0x04 != 0,
            not_for_upper: first & 0x01 != 0,
            temporal: 0,
            switch_up: false,
            spatial: 0,
            inter_layer: false,
            has_layers: first & 0x20 != 0,
            size: None,
            spatial_layers: None,
            bytes: 0,
        };
        if first & 0x80 != 0 {
            let high = next()?;
            descriptor.picture_id = Some(if high & 0x80 == 0 {
                u16::from(high)
            } else {
                u16::from_be_bytes([high & 0x7f, next()?])
            });
        }
        if descriptor.has_layers {
            let byte = next()?;
            descriptor.temporal = byte >> 5;
            descriptor.switch_up = byte & 0x10 != 0;
            descriptor.spatial = byte >> 1 & 7;
            descriptor.inter_layer = byte & 1 != 0;
            if !descriptor.flexible {
                // TL0PICIDX.
                next()?;
            }
        }
        if descriptor.flexible && descriptor.inter_picture {
            // P_DIFF with a bit that says another follows: at most three (RFC 9628 section 4.2).
            for count in 1.. {
                if next()? & 1 == 0 {
                    break;
                }
                if count == 3 {
                    return Err(DropReason::Malformed);
                }
            }
        }
        if first & 0x02 != 0 {
            let structure = next()?;
            let layers = (structure >> 5) + 1;
            descriptor.spatial_layers = Some(layers);
            if structure & 0x10 != 0 {
                for _ in 0..layers {
                    let width = u16::from_be_bytes([next()?, next()?]);
                    let height = u16::from_be_bytes([next()?, next()?]);
                    descriptor.size = Some((width, height));
                }
            }
            if structure & 0x08 != 0 {
                for _ in 0..next()? {
                    let references = next()? >> 2 & 3;
                    for _ in 0..references {
                        next()?;
                    }
                }
            }
        }
        // At most 1 + 2 + 2 + 3 + 1 + 32 + 1 + 255 x 4 bytes.
        descriptor.bytes = (payload.len() - reader.len()) as u16;
        Ok(descriptor)
    }

    /// Whether the packet begins a keyframe: the lowest spatial layer of a picture that refers to no earlier one.
    #[must_use]
    pub const fn is_keyframe_start(&self) -> bool {
        self.frame_start && !self.inter_picture && self.spatial == 0 && !self.inter_layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// I L B E V set, picture 0x1234, layer indices with TL0PICIDX, structure of two spatial layers with sizes and one group.
    const KEYFRAME: [u8; 19] = [
        0xae, 0x92, 0x34, 0x10, 0x09, 0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x01, 0x04, 0x01,
        0x82, 0x49,
    ];

    #[test]
    fn a_keyframe_tells_its_structure() {
        let descriptor = Vp9Descriptor::parse(&KEYFRAME).expect("valid");
        assert_eq!(descriptor.picture_id, Some(0x1234));
        assert!(descriptor.is_keyframe_start() && descriptor.frame_end && descriptor.switch_up);
        assert_eq!(descriptor.spatial_layers, Some(2));
        assert_eq!(descriptor.size, Some((640, 360)));
        assert_eq!(usize::from(descriptor.bytes), KEYFRAME.len() - 2);
    }

    #[test]
    fn upper_layers_and_dependent_pictures_begin_no_keyframe() {
        // An upper spatial layer of a key picture: D and SID 1.
        let upper = Vp9Descriptor::parse(&[0xac, 0x92, 0x34, 0x03, 0x09, 0xff]).expect("valid");
        assert_eq!((upper.spatial, upper.inter_layer), (1, true));
        assert!(!upper.is_keyframe_start());
        let delta = Vp9Descriptor::parse(&[0xec, 0x12, 0x40, 0x09, 0xff]).expect("valid");
        assert_eq!((delta.picture_id, delta.temporal), (Some(0x12), 2));
        assert!(!delta.is_keyframe_start());
    }

    #[test]
    fn flexible_mode_has_up_to_three_references_and_no_tl0_index() {
        let descriptor = Vp9Descriptor::parse(&[0xf8, 0x12, 0x20, 0x03, 0x05, 0x06, 0xff]).expect("valid");
        assert!(descriptor.flexible && descriptor.frame_start);
        assert_eq!((descriptor.temporal, descriptor.bytes), (1, 6));
        let four = [0xf8, 0x12, 0x20, 0x03, 0x05, 0x07, 0x02, 0xff];
        assert_eq!(Vp9Descriptor::parse(&four), Err(DropReason::Malformed));
    }

    #[test]
    fn a_payload_cut_within_its_descriptor_is_refused() {
        for length in 0..KEYFRAME.len() {
            assert_eq!(Vp9Descriptor::parse(&KEYFRAME[..length]).is_ok(), length >= 17, "cut at {length}");
        }
    }

    #[test]
    fn random_payloads_parse_to_descriptors_inside_themselves() {
        let mut rng = Rng::new(9);
        for _ in 0..50_000 {
            let payload: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            if let Ok(descriptor) = Vp9Descriptor::parse(&payload) {
                assert!(usize::from(descriptor.bytes) <= payload.len());
            }
        }
    }
}
