//! The encoder of one encoding without pictures: which layers the next picture has, what they refer to and how they are numbered.
//!
//! Promises: a keyframe begins the temporal pattern anew; spatial layers come up only with a keyframe and go at once.
//! Not here: sizes and packets ([`super`]).

use crate::client::codec::dependency::Numbering;
use crate::client::codec::scalability::{SPATIAL_MAX, Scalability, Step, TEMPORAL_MAX};
use crate::client::codec::{Frame, VideoCodec, vp8};

/// Layers of one encoding on their way.
pub(super) struct Encoder {
    scalability: Scalability,
    size: (u16, u16),
    steps: &'static [Step],
    next_step: usize,
    picture: u16,
    tl0: u8,
    key_index: u8,
    numbering: Numbering,
    keyframe_wanted: bool,
    /// Spatial layers below this are sent.
    active_spatial: u8,
}

/// One picture; its frames are asked for from the lowest spatial layer up.
#[derive(Clone, Copy)]
pub(super) struct Picture {
    pub(super) keyframe: bool,
    pub(super) step: Step,
    pub(super) spatial_layers: u8,
}

impl Picture {
    /// Earlier frames that its frames refer to.
    pub(super) const fn refers(&self) -> [u16; 2] {
        if self.keyframe { [0, 0] } else { self.step.refers }
    }
}

impl Encoder {
    /// Picture ids begin at `picture`.
    pub(super) fn new(codec: VideoCodec, scalability: Scalability, size: (u16, u16), picture: u16) -> Self {
        let scalability = Scalability {
            spatial_layers: match codec {
                VideoCodec::Vp8 => 1,
                _ => scalability.spatial_layers.clamp(1, SPATIAL_MAX as u8),
            },
            temporal_layers: scalability.temporal_layers.clamp(1, TEMPORAL_MAX as u8),
            ..scalability
        };
        Self {
            scalability,
            size,
            steps: match codec {
                VideoCodec::Vp8 => scalability.vp8_steps(),
                _ => scalability.svc_steps(),
            },
            next_step: 0,
            picture: picture & vp8::PICTURE_MASK,
            tl0: picture as u8,
            key_index: 0,
            numbering: Numbering::new(scalability),
            keyframe_wanted: true,
            active_spatial: scalability.spatial_layers,
        }
    }

    pub(super) const fn scalability(&self) -> Scalability {
        self.scalability
    }

    pub(super) const fn request_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// Sends the spatial layers below `count` from now on.
    pub(super) fn set_active_spatial(&mut self, count: u8) {
        let count = count.min(self.scalability.spatial_layers);
        self.keyframe_wanted |= count > self.active_spatial;
        self.active_spatial = count;
    }

    /// The next picture; `None` while no spatial layer is sent.
    pub(super) fn next_picture(&mut self) -> Option<Picture> {
        if self.active_spatial == 0 {
            return None;
        }
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        if keyframe {
            self.next_step = 0;
            self.key_index = (self.key_index + 1) & 0x1f;
        }
        let step = self.steps[self.next_step];
        self.next_step = (self.next_step + 1) % self.steps.len();
        self.picture = (self.picture + 1) & vp8::PICTURE_MASK;
        if step.temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.numbering.begin_picture(keyframe, self.active_spatial);
        Some(Picture { keyframe, step, spatial_layers: self.active_spatial })
    }

    /// One spatial layer of `picture`.
    pub(super) fn frame(&mut self, picture: &Picture, spatial: u8) -> Frame {
        Frame {
            scalability: self.scalability,
            active_spatial: picture.spatial_layers,
            picture: self.picture,
            tl0: self.tl0,
            key_index: self.key_index,
            sync: picture.step.sync,
            size: self.size,
            dependency: self.numbering.frame(picture.step, picture.keyframe, spatial, picture.spatial_layers),
        }
    }

    /// Whether frames of `spatial` refer to the layer below.
    pub(super) const fn is_inter_layer(&self, picture: &Picture, spatial: u8) -> bool {
        spatial > 0 && (picture.keyframe || !self.scalability.key_pictures_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(encoder: &mut Encoder) -> Option<(bool, u8, u8)> {
        let picture = encoder.next_picture()?;
        (0..picture.spatial_layers).for_each(|spatial| {
            encoder.frame(&picture, spatial);
        });
        Some((picture.keyframe, picture.step.temporal, picture.spatial_layers))
    }

    #[test]
    fn a_keyframe_begins_the_pattern_anew() {
        let mut encoder = Encoder::new(VideoCodec::Vp8, Scalability::L1T3, (640, 360), 5);
        let temporal = |encoder: &mut Encoder| layers(encoder).map(|(_, temporal, _)| temporal);
        assert_eq!([(); 6].map(|()| temporal(&mut encoder)), [0, 2, 1, 2, 0, 2].map(Some));
        encoder.request_keyframe();
        assert_eq!(layers(&mut encoder), Some((true, 0, 1)));
        assert_eq!(layers(&mut encoder), Some((false, 2, 1)));
        assert_eq!((encoder.picture, encoder.key_index), (13, 2));
    }

    #[test]
    fn spatial_layers_go_at_once_and_return_with_a_keyframe() {
        let mut encoder = Encoder::new(VideoCodec::Av1, Scalability::L3T3, (640, 360), 0);
        assert_eq!(layers(&mut encoder), Some((true, 0, 3)));
        encoder.set_active_spatial(1);
        assert_eq!(layers(&mut encoder), Some((false, 2, 1)));
        encoder.set_active_spatial(0);
        assert_eq!(layers(&mut encoder), None);
        encoder.set_active_spatial(2);
        assert_eq!(layers(&mut encoder), Some((true, 0, 2)));
        assert_eq!(layers(&mut encoder), Some((false, 2, 2)));
    }
}
