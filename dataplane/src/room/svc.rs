//! Scalable video in one stream (VP9, AV1): which packets belong to which decode target, and where a receiver may change targets.
//!
//! Place: `router` reads every packet of such a track once; for each receiver the answer is then one bit of a mask.
//! The dependency descriptor tells all of it (AV1 RTP specification appendix A). Without one the VP9 payload descriptor has to do
//! (RFC 9628): its targets are a grid of spatial and temporal layers, each target being everything below and left of it.
//! Promises: bounded by the wire types; one allocation, when the track is published. What cannot be read belongs to every target.
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
        let index = structure.index(short.template)?;
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
