//! VP8 payload descriptor and the clear first bytes of a frame (RFC 7741).
//!
//! Path: read for every received VP8 packet (keyframes, temporal layers); its fields are rewritten for every sent one, because
//! a receiver that misses layers must not see gaps in them.
//! Promises: reads the descriptor and at most ten bytes behind it, which end-to-end encryption leaves clear.

use crate::base::drops::DropReason;
use crate::wire::NoSpace;

/// Longest descriptor: two fixed bytes, two of picture id, one of TL0PICIDX, one of TID and KEYIDX.
pub const DESCRIPTOR_BYTES_MAX: usize = 6;

/// Picture number, 7 or 15 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PictureId {
    /// The number.
    pub value: u16,
    /// Whether it has 15 bits (M bit).
    pub wide: bool,
}

/// TID, Y and KEYIDX: they share one byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LayerByte {
    /// Temporal layer, 0 to 3; `None` when the T bit says it does not count.
    pub temporal: Option<u8>,
    /// Layer sync: a receiver may switch up to this layer here.
    pub sync: bool,
    /// Temporal key frame index, 5 bits; `None` when the K bit says it does not count.
    pub key_index: Option<u8>,
}

/// How far the numbers of a descriptor are moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// Picture id, of 15 or 7 bits.
    pub picture: u16,
    /// TL0PICIDX.
    pub tl0: u8,
    /// KEYIDX, of 5 bits.
    pub key_index: u8,
}

/// A parsed descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vp8Descriptor {
    /// Nothing refers to this frame (N bit).
    pub non_reference: bool,
    /// The packet begins a partition (S bit).
    pub partition_start: bool,
    /// Partition index, 0 to 7.
    pub partition: u8,
    /// Picture number.
    pub picture_id: Option<PictureId>,
    /// Temporal level zero index.
    pub tl0_index: Option<u8>,
    /// Temporal layer and key index.
    pub layer: Option<LayerByte>,
    /// Bytes of the descriptor.
    pub bytes: u8,
}

impl Vp8Descriptor {
    /// Parses the descriptor at the beginning of a payload.
    ///
    /// # Errors
    /// `Truncated` when the payload ends within it or right behind it.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let mut reader = payload.iter().copied();
        let mut next = || reader.next().ok_or(DropReason::Truncated);
        let first = next()?;
        let extension = if first & 0x80 != 0 { next()? } else { 0 };
        let picture_id = if extension & 0x80 == 0 {
            None
        } else {
            let high = next()?;
            Some(if high & 0x80 == 0 {
                PictureId { value: u16::from(high), wide: false }
            } else {
                PictureId { value: u16::from_be_bytes([high & 0x7f, next()?]), wide: true }
            })
        };
        let tl0_index = if extension & 0x40 == 0 { None } else { Some(next()?) };
        let layer = if extension & 0x30 == 0 {
            None
        } else {
            let byte = next()?;
            Some(LayerByte {
                temporal: (extension & 0x20 != 0).then_some(byte >> 6),
                sync: byte & 0x20 != 0,
                key_index: (extension & 0x10 != 0).then_some(byte & 0x1f),
            })
        };
        // A descriptor alone is no packet: at least one byte of the frame follows.
        next()?;
        let bytes = payload.len() - reader.len() - 1;
        Ok(Self {
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id,
            tl0_index,
            layer,
            // At most six, counted above.
            bytes: bytes as u8,
        })
    }

    /// Writes the descriptor; answers its bytes, which are `self.bytes` when no field was added or removed and the picture id
    /// kept its width.
    ///
    /// # Errors
    /// [`NoSpace`] when `out` is too small.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoSpace> {
        let mut written = [0; DESCRIPTOR_BYTES_MAX];
        written[0] =
            u8::from(self.non_reference) << 5 | u8::from(self.partition_start) << 4 | self.partition & 7;
        let mut at = 1;
        let extension = u8::from(self.picture_id.is_some()) << 7
            | u8::from(self.tl0_index.is_some()) << 6
            | u8::from(self.layer.is_some_and(|layer| layer.temporal.is_some())) << 5
            | u8::from(self.layer.is_some_and(|layer| layer.key_index.is_some())) << 4;
        if extension != 0 {
            written[0] |= 0x80;
            written[at] = extension;
            at += 1;
        }
        if let Some(id) = self.picture_id {
            let [high, low] = id.value.to_be_bytes();
            if id.wide {
                written[at] = 0x80 | high;
                written[at + 1] = low;
                at += 2;
            } else {
                written[at] = low & 0x7f;
                at += 1;
            }
        }
        if let Some(index) = self.tl0_index {
            written[at] = index;
            at += 1;
        }
        if let Some(layer) = self.layer.filter(|layer| layer.temporal.is_some() || layer.key_index.is_some())
        {
            written[at] = layer.temporal.unwrap_or(0) << 6
                | u8::from(layer.sync) << 5
                | layer.key_index.unwrap_or(0) & 0x1f;
            at += 1;
        }
        out.get_mut(..at).ok_or(NoSpace)?.copy_from_slice(&written[..at]);
        Ok(at)
    }

    /// Writes the descriptor with its numbers moved, each in its own circle, and all else as `payload`, which it was read from, has
    /// it; answers its bytes.
    ///
    /// # Errors
    /// [`NoSpace`] when `payload` is shorter than the descriptor.
    pub fn write_moved(
        &self,
        payload: &[u8],
        by: &Moved,
        out: &mut [u8; DESCRIPTOR_BYTES_MAX],
    ) -> Result<usize, NoSpace> {
        let bytes = usize::from(self.bytes);
        match payload.first_chunk() {
            Some(whole) => *out = *whole,
            None => {
                let own = payload.get(..bytes).ok_or(NoSpace)?;
                out.get_mut(..bytes).ok_or(NoSpace)?.copy_from_slice(own);
            }
        }
        // Behind the two fixed bytes, of which the second says what follows.
        let mut at = 2;
        if let Some(PictureId { value, wide }) = self.picture_id {
            let [high, low] = value.wrapping_add(by.picture).to_be_bytes();
            if wide {
                out[2] = 0x80 | high;
                out[3] = low;
                at = 4;
            } else {
                out[2] = low & 0x7f;
                at = 3;
            }
        }
        if let Some(index) = self.tl0_index {
            out[at] = index.wrapping_add(by.tl0);
            at += 1;
        }
        if let Some(index) = self.layer.and_then(|layer| layer.key_index) {
            out[at] = out[at] & 0xe0 | index.wrapping_add(by.key_index) & 0x1f;
        }
        Ok(bytes)
    }

    /// Whether the packet begins a frame.
    #[must_use]
    pub const fn is_frame_start(&self) -> bool {
        self.partition_start && self.partition == 0
    }

    /// Whether the packet begins a keyframe: the inverse key frame flag of the frame's first byte (RFC 6386 section 9.1).
    #[must_use]
    pub fn is_keyframe_start(&self, payload: &[u8]) -> bool {
        self.is_frame_start() && payload.get(usize::from(self.bytes)).is_some_and(|byte| byte & 1 == 0)
    }

    /// Width and height of a keyframe, from its first packet.
    #[must_use]
    pub fn keyframe_size(&self, payload: &[u8]) -> Option<(u16, u16)> {
        if !self.is_keyframe_start(payload) {
            return None;
        }
        match payload.get(usize::from(self.bytes)..)? {
            // Frame tag, start code, then 14 bits each of width and height with two bits of scale.
            &[_, _, _, 0x9d, 0x01, 0x2a, width_low, width_high, height_low, height_high, ..] => Some((
                u16::from_le_bytes([width_low, width_high]) & 0x3fff,
                u16::from_le_bytes([height_low, height_high]) & 0x3fff,
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// 640x360, as a browser with temporal layers sends it.
    const KEYFRAME: [u8; 16] =
        [0x90, 0xf0, 0x92, 0x34, 0x07, 0x25, 0x50, 0x2a, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];

    #[test]
    fn a_keyframe_tells_its_size_and_numbers() {
        let descriptor = Vp8Descriptor::parse(&KEYFRAME).expect("valid");
        assert_eq!(descriptor.picture_id, Some(PictureId { value: 0x1234, wide: true }));
        assert_eq!(descriptor.tl0_index, Some(7));
        assert_eq!(descriptor.layer, Some(LayerByte { temporal: Some(0), sync: true, key_index: Some(5) }));
        assert_eq!(descriptor.bytes, 6);
        assert!(descriptor.is_keyframe_start(&KEYFRAME));
        assert_eq!(descriptor.keyframe_size(&KEYFRAME), Some((640, 360)));
    }

    #[test]
    fn a_delta_frame_or_a_later_packet_begins_no_keyframe() {
        let mut delta = KEYFRAME;
        delta[6] |= 1;
        let mut later = KEYFRAME;
        later[0] &= !0x10;
        let mut second_partition = KEYFRAME;
        second_partition[0] |= 1;
        for payload in [delta, later, second_partition] {
            let descriptor = Vp8Descriptor::parse(&payload).expect("valid");
            assert!(!descriptor.is_keyframe_start(&payload));
            assert_eq!(descriptor.keyframe_size(&payload), None);
        }
    }

    #[test]
    fn every_descriptor_is_written_as_it_was_read() {
        let mut rng = Rng::new(8);
        for _ in 0..20_000 {
            let payload: Vec<u8> = (0..1 + rng.below(12)).map(|_| rng.next_u64() as u8).collect();
            let Ok(descriptor) = Vp8Descriptor::parse(&payload) else { continue };
            let mut out = [0; DESCRIPTOR_BYTES_MAX];
            let bytes = descriptor.write(&mut out).expect("the buffer holds the longest");
            let again = [&out[..bytes], &[0]].concat();
            let mut expected = descriptor;
            // Reserved bits and an empty extension byte are not kept.
            expected.bytes = bytes as u8;
            assert_eq!(Vp8Descriptor::parse(&again), Ok(expected));
            for short in 0..bytes {
                assert_eq!(descriptor.write(&mut out[..short]), Err(NoSpace));
            }
        }
    }

    #[test]
    fn a_moved_descriptor_says_the_same_with_other_numbers() {
        let mut rng = Rng::new(9);
        for _ in 0..20_000 {
            let payload: Vec<u8> = (0..1 + rng.below(12)).map(|_| rng.next_u64() as u8).collect();
            let Ok(descriptor) = Vp8Descriptor::parse(&payload) else { continue };
            let [a, b, picture] = [rng.next_u64() as u8, rng.next_u64() as u8, rng.next_u64() as u8];
            let by = Moved { picture: u16::from_be_bytes([picture, a]), tl0: b, key_index: a };
            let mut expected = descriptor;
            if let Some(id) = &mut expected.picture_id {
                id.value = id.value.wrapping_add(by.picture) & if id.wide { 0x7fff } else { 0x7f };
            }
            if let Some(index) = &mut expected.tl0_index {
                *index = index.wrapping_add(by.tl0);
            }
            if let Some(index) = expected.layer.as_mut().and_then(|layer| layer.key_index.as_mut()) {
                *index = index.wrapping_add(by.key_index) & 0x1f;
            }
            // What was there before shows nowhere.
            let mut out = [0xaa; DESCRIPTOR_BYTES_MAX];
            let bytes = descriptor.write_moved(&payload, &by, &mut out).expect("it was read from there");
            assert_eq!(bytes, usize::from(descriptor.bytes));
            assert_eq!(Vp8Descriptor::parse(&[&out[..bytes], &[0]].concat()), Ok(expected));
            assert_eq!(descriptor.write_moved(&payload[..bytes - 1], &by, &mut out), Err(NoSpace));
        }
    }

    #[test]
    fn a_payload_cut_within_its_descriptor_is_refused() {
        for length in 0..KEYFRAME.len() {
            let cut = &KEYFRAME[..length];
            let descriptor = Vp8Descriptor::parse(cut);
            assert_eq!(descriptor.is_ok(), length > 6, "cut at {length}");
            if let Ok(descriptor) = descriptor {
                assert!(descriptor.is_keyframe_start(cut));
                assert_eq!(descriptor.keyframe_size(cut).is_some(), length >= 16);
            }
        }
    }
}
