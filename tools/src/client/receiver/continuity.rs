//! Whether packets that follow each other read as one stream: timestamps, markers, picture ids, layer indices.
//!
//! Promises: only neighbours are compared, so that loss and reordering are never taken for a fault of the forwarder.

use dataplane::base::media::MediaKind;

use super::config::Reception;
use crate::client::codec::{Descriptor, VideoCodec, vp8};

/// What is compared of a packet.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) keyframe: bool,
    pub(super) descriptor: Descriptor,
}

/// Compares each packet with the one before it.
pub(super) struct Continuity {
    kind: MediaKind,
    codec: VideoCodec,
    previous: Option<Facts>,
}

impl Continuity {
    pub(super) const fn new(kind: MediaKind, codec: VideoCodec) -> Self {
        Self { kind, codec, previous: None }
    }

    /// Padding took this number: the packet after it follows the one before.
    pub(super) fn pad(&mut self, index: u64) {
        if let Some(previous) = &mut self.previous
            && index == previous.index + 1
        {
            previous.index = index;
        }
    }

    pub(super) fn check(&mut self, facts: Facts, reception: &mut Reception) {
        let Some(previous) = self.previous else {
            self.previous = Some(facts);
            return;
        };
        if facts.index < previous.index {
            return;
        }
        let forward = facts.timestamp.wrapping_sub(previous.timestamp) < 0x8000_0000;
        reception.backward_timestamps += u64::from(!forward);
        if facts.index == previous.index + 1 {
            let same = facts.timestamp == previous.timestamp;
            // A stream may begin anew with a keyframe in the middle of a picture.
            let ended = previous.marker || !same && facts.keyframe && facts.descriptor.start;
            let follows = match (self.kind, self.codec) {
                (MediaKind::Audio, _) => true,
                (MediaKind::Video, VideoCodec::Vp8) => {
                    facts.descriptor.start != same && ended != same && vp8_follows(&previous, &facts, same)
                }
                (MediaKind::Video, _) => ended != same && layers_follow(&previous, &facts, same),
            };
            reception.discontinuities += u64::from(!(forward && follows));
        }
        self.previous = Some(facts);
    }
}

/// Numbers that a receiver of VP8 relies on (RFC 7741 section 4.2).
fn vp8_follows(previous: &Facts, facts: &Facts, same: bool) -> bool {
    let (before, now) = (&previous.descriptor, &facts.descriptor);
    let picture = match (before.picture, now.picture) {
        (Some(before), Some(now)) => now.wrapping_sub(before) & vp8::PICTURE_MASK == u16::from(!same),
        _ => true,
    };
    let new_base = !same && now.temporal == 0;
    let base = match (before.tl0, now.tl0) {
        (Some(before), Some(now)) => now.wrapping_sub(before) == u8::from(new_base),
        _ => true,
    };
    let key = match (before.key_index, now.key_index) {
        (Some(before), Some(now)) => (before != now) == (!same && facts.keyframe),
        _ => true,
    };
    picture && base && key
}

/// VP9 and AV1: spatial layers of a picture come in order, and picture ids change with the picture.
fn layers_follow(previous: &Facts, facts: &Facts, same: bool) -> bool {
    let (before, now) = (&previous.descriptor, &facts.descriptor);
    let picture = match (before.picture, now.picture) {
        (Some(before), Some(now)) => {
            let step = now.wrapping_sub(before) & vp8::PICTURE_MASK;
            if same { step == 0 } else { step != 0 && step < 0x4000 }
        }
        _ => true,
    };
    picture && (!same || now.spatial >= before.spatial)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of one packet.
    fn facts(index: u64, picture: u16, tl0: u8, temporal: u8, key_index: u8) -> Facts {
        let descriptor = Descriptor {
            start: true,
            picture: Some(picture),
            tl0: Some(tl0),
            key_index: Some(key_index),
            temporal,
            ..Descriptor::default()
        };
        Facts { index, timestamp: index as u32 * 3_000, marker: true, keyframe: index == 0, descriptor }
    }

    fn breaks(packets: &[Facts]) -> u64 {
        let mut continuity = Continuity::new(MediaKind::Video, VideoCodec::Vp8);
        let mut reception = Reception::default();
        packets.iter().for_each(|facts| continuity.check(*facts, &mut reception));
        reception.discontinuities
    }

    #[test]
    fn numbers_that_follow_are_no_break_and_others_are() {
        let good =
            [facts(0, 0x7fff, 255, 0, 3), facts(1, 0, 255, 2, 3), facts(2, 1, 0, 0, 3), facts(3, 2, 0, 1, 3)];
        assert_eq!(breaks(&good), 0);
        let with = |change: fn(&mut Facts)| {
            let mut packets = good;
            change(&mut packets[2]);
            breaks(&packets[..3])
        };
        assert_eq!(with(|facts| facts.descriptor.picture = Some(2)), 1);
        assert_eq!(with(|facts| facts.descriptor.tl0 = Some(255)), 1);
        assert_eq!(with(|facts| facts.descriptor.key_index = Some(4)), 1);
        assert_eq!(with(|facts| facts.timestamp -= 3_000), 1);
        assert_eq!(with(|facts| facts.index = 9), 0, "behind a gap anything may come");
    }
}
