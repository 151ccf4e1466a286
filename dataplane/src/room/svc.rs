//! Scalable video in one stream (VP9, AV1): which packets belong to which decode target, and where a receiver may change targets.
//!
//! Place: `router` reads every packet of such a track once; for each receiver the answer is then one bit of a mask.
//! The dependency descriptor tells all of it (AV1 RTP specification appendix A). Without one the VP9 payload descriptor has to do
//! (RFC 9628): its targets are a grid of spatial and temporal layers, each target being everything below and left of it.
//! Promises: bounded by the wire types; one allocation, when the track is published. Without a structure a packet belongs to every
//! target, under a template that the structure does not have to none.
//! Memory: 64 templates x 12 B and 32 targets x 12 B, ~1.2 KiB a track.

use crate::base::limits::{SPATIAL_LAYERS_MAX, TEMPORAL_LAYERS_MAX};
use crate::wire::av1::dependency::{DECODE_TARGETS_MAX, Descriptor, Structure, TEMPLATES_MAX};
use crate::wire::payload::PayloadInfo;

/// What a packet's frame means to the decode targets of its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Targets the frame is part of, one bit each.
    pub present: u32,
    /// Targets that a receiver who has what the frame refers to may change to here.
    pub switch: u32,
    /// The packet begins the frame.
    pub starts: bool,
    /// The packet ends the frame.
    pub ends: bool,
}

/// Layers of one decode target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Its highest spatial layer.
    pub spatial: u8,
    /// Its highest temporal layer.
    pub temporal: u8,
    /// Targets whose frames are all frames of this one: a receiver may change to them at any frame.
    within: u32,
    /// Spatial layers whose frames it is made of besides keyframes, one bit each.
    made_of: u8,
}

/// Decode targets of one stream.
#[derive(Clone, Debug)]
pub struct Svc {
    targets: [Target; DECODE_TARGETS_MAX],
    count: u8,
    /// From the last structure; `None` while payload descriptors have to do.
    structure: Option<Structure>,
    templates: [Marks; TEMPLATES_MAX],
    /// Targets the publisher says it sends.
    active: u32,
}

impl Default for Svc {
    fn default() -> Self {
        let mut svc = Self {
            targets: [Target::default(); DECODE_TARGETS_MAX],
            count: 0,
            structure: None,
            templates: [Marks::default(); TEMPLATES_MAX],
            active: u32::MAX,
        };
        for spatial in 0..SPATIAL_LAYERS_MAX as u8 {
            for temporal in 0..TEMPORAL_LAYERS_MAX as u8 {
                let target = Target { spatial, temporal, within: 0, made_of: (2 << spatial) - 1 };
                svc.targets[usize::from(svc.count)] = target;
                svc.count += 1;
            }
        }
        let targets = svc.targets;
        for target in &mut svc.targets[..usize::from(svc.count)] {
            for (bit, other) in targets[..usize::from(svc.count)].iter().enumerate() {
                if other.spatial <= target.spatial && other.temporal <= target.temporal {
                    target.within |= 1 << bit;
                }
            }
        }
        svc
    }
}

impl Svc {
    /// Reads what a packet is; `dependency` is its dependency descriptor, if it has one.
    pub fn read(&mut self, info: &PayloadInfo, dependency: Option<&[u8]>) -> Marks {
        dependency.and_then(|value| self.read_descriptor(value)).unwrap_or_else(|| self.of_layers(info))
    }

    fn read_descriptor(&mut self, value: &[u8]) -> Option<Marks> {
        let short = Descriptor::parse(value).ok()?;
        if short.has_structure {
            let (full, structure) = Descriptor::parse_with_structure(value).ok()?;
            self.adopt(structure?);
            self.active = full.active_targets.unwrap_or(u32::MAX);
        }
        let structure = self.structure.as_ref()?;
        if let Ok(Some(active)) = Descriptor::active_targets_change(value, structure) {
            self.active = active;
        }
        let Some(index) = structure.index(short.template) else {
            // Of a structure whose beginning was lost: nobody can place it either.
            return Some(Marks::default());
        };
        let mut marks = self.templates[index];
        if let Ok(Some(indications)) = Descriptor::custom_indications(value, structure) {
            (marks.present, marks.switch) = masks(indications);
        }
        (marks.starts, marks.ends) = (short.frame_start, short.frame_end);
        Some(marks)
    }

    /// A new coded video sequence has this structure.
    fn adopt(&mut self, structure: Structure) {
        if self.structure.as_ref() == Some(&structure) {
            return;
        }
        self.templates = [Marks::default(); TEMPLATES_MAX];
        self.count = structure.decode_target_count() as u8;
        self.targets = [Target { within: u32::MAX, ..Target::default() }; DECODE_TARGETS_MAX];
        for (marks, template) in self.templates.iter_mut().zip(structure.templates()) {
            let (present, switch) = masks(template.indications());
            let (spatial, temporal) = (template.spatial, template.temporal);
            *marks = Marks { spatial, temporal, present, switch, ..Marks::default() };
            for (bit, target) in self.targets[..usize::from(self.count)].iter_mut().enumerate() {
                if present >> bit & 1 == 0 {
                    // What this frame is part of has more than the target.
                    target.within &= !present;
                    continue;
                }
                target.spatial = target.spatial.max(spatial);
                target.temporal = target.temporal.max(temporal);
                target.made_of |= 1 << spatial;
            }
        }
        self.note_keyframes(&structure);
        self.structure = Some(structure);
    }

    /// A target is not made of a lower layer whose only frames in it are those that all its upper layers begin with: the template of a
    /// keyframe is the first of its layer (libwebrtc and the specification's examples list them so).
    fn note_keyframes(&mut self, structure: &Structure) {
        for (bit, target) in self.targets[..usize::from(self.count)].iter_mut().enumerate() {
            for spatial in 0..target.spatial {
                let frames = structure.templates().iter().zip(&self.templates);
                let of_layer =
                    frames.filter(|(template, _)| template.spatial == spatial && template.temporal == 0);
                let kept = of_layer.filter(|(_, marks)| marks.present >> bit & 1 != 0).count();
                let all =
                    structure.templates().iter().filter(|t| t.spatial == spatial && t.temporal == 0).count();
                if all > 1 && kept < all {
                    target.made_of &= !(1 << spatial);
                }
            }
        }
    }

    /// The same by layer numbers alone.
    fn of_layers(&self, info: &PayloadInfo) -> Marks {
        let mut marks = Marks {
            spatial: info.spatial,
            temporal: info.temporal,
            starts: info.frame_start,
            ends: info.frame_end,
            ..Marks::default()
        };
        for (bit, target) in self.targets[..usize::from(self.count)].iter().enumerate() {
            let above = info.spatial > target.spatial || info.temporal > target.temporal;
            let unneeded = info.spatial < target.spatial && info.not_for_upper;
            if !above && !unneeded {
                marks.present |= 1 << bit;
                // Up to this temporal layer and no higher: RFC 9628 says no more.
                if info.switch_up && info.temporal == target.temporal && info.spatial == target.spatial {
                    marks.switch |= 1 << bit;
                }
            }
        }
        marks
    }

    /// The best target of at most these layers; the lowest there is when none is that low.
    #[must_use]
    pub fn target(&self, spatial_max: u8, temporal_max: u8) -> u8 {
        let fits = |target: &&Target| target.spatial <= spatial_max && target.temporal <= temporal_max;
        let order = |target: &Target| (target.spatial, target.temporal);
        let known = &self.targets[..usize::from(self.count)];
        let best = known.iter().filter(fits).map(order).max();
        let chosen = best.or_else(|| known.iter().map(order).min());
        known.iter().position(|target| Some(order(target)) == chosen).unwrap_or(0) as u8
    }

    /// Layers of a target.
    #[must_use]
    pub fn layers(&self, target: u8) -> Target {
        self.targets.get(usize::from(target)).copied().unwrap_or_default()
    }

    /// Whether every frame of `lower` is a frame of `running`: a receiver may change at any frame.
    #[must_use]
    pub fn is_within(&self, lower: u8, running: u8) -> bool {
        self.layers(running).within >> (lower % 32) & 1 != 0
    }

    /// The best target between `running` and `goal`, of the same size, that a receiver can change to at this frame.
    #[must_use]
    pub fn join(&self, running: u8, goal: u8, marks: &Marks) -> Option<u8> {
        // A descriptor's switch is meant for who has what the frame refers to; a payload descriptor's says that it refers to
        // the lowest temporal layer alone.
        if self.structure.is_some() && marks.present >> running & 1 == 0 {
            return None;
        }
        let fits = |target: &u8| {
            *target != running
                && marks.switch >> target & 1 != 0
                && self.is_within(*target, goal)
                && self.is_within(running, *target)
                && self.layers(*target).spatial == self.layers(goal).spatial
        };
        (0..self.count).filter(fits).max_by_key(|target| self.layers(*target).temporal)
    }

    /// Whether the frames of `spatial` cost a receiver of the layers up to `top` anything besides keyframes.
    #[must_use]
    pub fn is_made_of(&self, top: u8, spatial: u8) -> bool {
        let known = &self.targets[..usize::from(self.count)];
        known.iter().filter(|target| target.spatial == top).any(|target| target.made_of >> spatial & 1 != 0)
    }

    /// Spatial layers the publisher says it sends, one bit each, and how many there could be; `None` when it does not say.
    #[must_use]
    pub fn announced(&self) -> Option<(u8, u8)> {
        self.structure.as_ref()?;
        let known = &self.targets[..usize::from(self.count)];
        let mut sent = 0;
        for (bit, target) in known.iter().enumerate() {
            if self.active >> bit & 1 != 0 {
                sent |= 1 << target.spatial;
            }
        }
        Some((sent, known.iter().map(|target| target.spatial + 1).max().unwrap_or(1)))
    }
}

/// Two bits for each target become one mask of those the frame is part of and one of those it can be joined at.
fn masks(indications: u64) -> (u32, u32) {
    let (mut present, mut switch) = (0, 0);
    for target in 0..DECODE_TARGETS_MAX {
        let indication = indications >> (2 * target) & 3;
        present |= u32::from(indication != 0) << target;
        switch |= u32::from(indication == 2) << target;
    }
    (present, switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Pen(Vec<bool>);

    impl Pen {
        fn put(&mut self, value: u64, count: u32) -> &mut Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |b, (at, bit)| b | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// Two spatial and two temporal layers, a keyframe and a delta template for each lowest temporal layer. Targets are
    /// (0,0) (0,1) (1,0) (1,1). With `key_only` upper layers refer to the lower one in keyframes alone.
    fn keyframe(key_only: bool) -> Vec<u8> {
        let below = if key_only { [2, 2, 0, 0] } else { [2, 2, 3, 3] };
        let below_upper = if key_only { [0, 1, 0, 0] } else { [0, 1, 0, 3] };
        let rows = [[2, 2, 2, 2], below, below_upper, [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 1]];
        let mut pen = Pen::default();
        pen.put(0b11, 2).put(0, 6).put(1, 16).put(0b10_000, 5).put(0, 6).put(3, 5);
        // The next template: same layer, temporal, spatial, same, temporal, none.
        for step in [0, 1, 2, 0, 1, 3] {
            pen.put(step, 2);
        }
        for indication in rows.iter().flatten() {
            pen.put(*indication, 2);
        }
        // No frame differences, no chains, no sizes.
        pen.put(0, 6).put(0, 2).put(0, 1);
        pen.bytes()
    }

    fn read(svc: &mut Svc, value: &[u8]) -> Marks {
        svc.read(&PayloadInfo::default(), Some(value))
    }

    /// A descriptor of three bytes.
    fn short(template: u8) -> [u8; 3] {
        [0xc0 | template, 0, 2]
    }

    #[test]
    fn a_structure_tells_targets_and_what_they_share() {
        let mut full = Svc::default();
        let key = read(&mut full, &keyframe(false));
        assert_eq!((key.present, key.switch, key.starts, key.ends), (0b1111, 0b1111, true, true));
        assert_eq!([(0, 0), (0, 7), (7, 0), (7, 7)].map(|(s, t)| full.target(s, t)), [0, 1, 2, 3]);
        assert_eq!((full.layers(3).spatial, full.layers(3).temporal), (1, 1));
        assert!(
            full.is_within(0, 3) && full.is_within(1, 3) && full.is_within(2, 3) && !full.is_within(3, 1)
        );
        assert!(full.is_made_of(1, 0), "the lower layer is part of every picture of the upper");
        assert_eq!(full.announced(), Some((0b11, 2)));

        let mut key_only = Svc::default();
        read(&mut key_only, &keyframe(true));
        assert!(!key_only.is_within(1, 3), "going down needs frames that were not sent");
        assert!(key_only.is_within(2, 3) && key_only.is_within(0, 1));
        assert!(!key_only.is_made_of(1, 0));
        let delta = read(&mut key_only, &short(1));
        assert_eq!((delta.spatial, delta.present), (0, 0b0011));
    }

    #[test]
    fn more_frames_are_joined_where_the_descriptor_says_so() {
        let mut svc = Svc::default();
        read(&mut svc, &keyframe(false));
        let base_of_upper = read(&mut svc, &short(4));
        assert_eq!(svc.join(2, 3, &base_of_upper), Some(3));
        assert_eq!(svc.join(0, 1, &base_of_upper), None, "another size");
        let upper_temporal = read(&mut svc, &short(5));
        assert_eq!(svc.join(2, 3, &upper_temporal), None, "what it refers to was left out");
    }

    #[test]
    fn without_descriptors_layers_are_a_grid() {
        let mut svc = Svc::default();
        let mut info = PayloadInfo { spatial: 1, temporal: 1, ..PayloadInfo::default() };
        let marks = svc.read(&info, None);
        let within = |target: u8| marks.present >> target & 1 != 0;
        assert!(within(svc.target(1, 1)) && within(svc.target(3, 3)));
        assert!(!within(svc.target(0, 3)) && !within(svc.target(3, 0)));
        assert!(svc.is_within(svc.target(0, 1), svc.target(1, 1)));
        // A temporal layer that may be joined here.
        info.switch_up = true;
        let marks = svc.read(&info, None);
        let (running, goal) = (svc.target(1, 0), svc.target(1, 2));
        assert_eq!(svc.join(running, goal, &marks), Some(svc.target(1, 1)));
        // No reference of the layer above.
        let alone = PayloadInfo { not_for_upper: true, ..PayloadInfo::default() };
        let marks = svc.read(&alone, None);
        assert!(marks.present >> svc.target(0, 0) & 1 != 0 && marks.present >> svc.target(1, 0) & 1 == 0);
        assert_eq!(svc.announced(), None);
    }

    #[test]
    fn descriptors_that_cannot_be_read_count_as_none() {
        let mut rng = crate::base::rng::Rng::new(31);
        let mut svc = Svc::default();
        for _ in 0..20_000 {
            let value: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            let marks = read(&mut svc, &value);
            let (target, other) = (svc.target(marks.spatial, marks.temporal), rng.below(40) as u8);
            let _ = (svc.is_within(target, other), svc.join(target, other, &marks), svc.announced());
        }
    }
}
