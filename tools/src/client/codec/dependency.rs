//! The dependency descriptor (AV1 RTP specification appendix A) as libwebrtc writes it: templates of the scalability mode with
//! every keyframe, frame numbers, and what a layer that is switched off changes.
//!
//! Path: `source` numbers each frame here and writes the value into the header extension of each of its packets.
//! Promises: templates equal those of libwebrtc's `ScalabilityStructure` classes; a frame that no template describes carries its
//! differences itself. Not here: reading (`dataplane::wire::av1::dependency`), VP8, which has no descriptor here.

use std::collections::VecDeque;

use super::Frame;
use super::scalability::{SPATIAL_MAX, Scalability, Step, TEMPORAL_MAX};

/// Longest value: 15 templates of 55 bits, 9 targets, three sizes.
pub const DEPENDENCY_BYTES_MAX: usize = 160;
/// Decode targets: one for each pair of layers.
const TARGETS_MAX: usize = SPATIAL_MAX * TEMPORAL_MAX;
/// Template identifiers are six bits.
const TEMPLATE_IDS: u8 = 64;
/// Pictures remembered: the farthest reference is four back.
const PICTURES: usize = 5;

/// What a frame means to a decode target, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Indication {
    NotPresent,
    Discardable,
    Switch,
    Required,
}

/// What the descriptor of one frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dependency {
    /// Frame number.
    pub number: u16,
    /// Identifier of the first template of the sequence.
    id_offset: u8,
    /// Its template, from 0.
    template: u8,
    /// The differences of the template are not the frame's.
    custom_diffs: bool,
    /// The chains of the template are not the frame's.
    custom_chains: bool,
    diffs: [u16; 3],
    chains: [u16; SPATIAL_MAX],
    /// Its first packet carries the templates.
    structure: bool,
    /// It tells how many spatial layers are sent.
    announces: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: [Indication; TARGETS_MAX],
    /// Frames it refers to, how many frame numbers back; 0 is none.
    diffs: [u16; 3],
    /// The frame before it in each chain, how many frame numbers back; 0 is none.
    chains: [u16; SPATIAL_MAX],
}

/// Numbers the frames of one encoding.
#[derive(Debug)]
pub struct Numbering {
    scalability: Scalability,
    templates: Vec<Template>,
    id_offset: u8,
    next: u64,
    /// Frame numbers of the last pictures, the newest first.
    pictures: VecDeque<[u64; SPATIAL_MAX]>,
    /// Last frame of each chain.
    chains: [u64; SPATIAL_MAX],
    announced: u8,
    /// Spatial layers of the last key picture.
    structured: u8,
}

impl Numbering {
    /// Numbers from zero on.
    #[must_use]
    pub fn new(scalability: Scalability) -> Self {
        let mut numbering = Self::without_templates(scalability);
        numbering.templates = templates(scalability);
        numbering
    }

    fn without_templates(scalability: Scalability) -> Self {
        Self {
            scalability,
            templates: Vec::new(),
            id_offset: 0,
            next: 0,
            pictures: VecDeque::with_capacity(PICTURES + 1),
            chains: [0; SPATIAL_MAX],
            announced: scalability.spatial_layers,
            structured: scalability.spatial_layers,
        }
    }

    /// A picture begins; its frames follow from the lowest spatial layer up. As in libwebrtc templates get new identifiers when a
    /// keyframe brings another structure, and keep them otherwise.
    pub fn begin_picture(&mut self, keyframe: bool, active_spatial: u8) {
        self.pictures.push_front([0; SPATIAL_MAX]);
        self.pictures.truncate(PICTURES);
        if keyframe && active_spatial != self.structured {
            self.structured = active_spatial;
            let count = self.templates.len() as u8;
            self.id_offset = (self.id_offset + count) % TEMPLATE_IDS;
        }
    }

    /// The next frame of the picture.
    pub fn frame(&mut self, step: Step, keyframe: bool, spatial: u8, active_spatial: u8) -> Dependency {
        let template = self.template(step, keyframe, spatial);
        let same_layer =
            |other: &&Template| (other.spatial, other.temporal) == (template.spatial, template.temporal);
        let matching = |other: &&Template| same_layer(other) && other.indications == template.indications;
        let exact = self.templates.iter().position(|other| *other == template);
        let index = exact.or_else(|| self.templates.iter().position(|other| matching(&other))).unwrap_or(0);
        let chosen = self.templates.get(index).unwrap_or(&template);
        let structure = keyframe && spatial == 0;
        let announces = if structure {
            active_spatial != self.scalability.spatial_layers
        } else {
            !keyframe && active_spatial != self.announced
        };
        if spatial + 1 == active_spatial {
            self.announced = active_spatial;
        }
        Dependency {
            number: (self.next - 1) as u16,
            id_offset: self.id_offset,
            template: index as u8,
            custom_diffs: chosen.diffs != template.diffs,
            custom_chains: chosen.chains != template.chains,
            diffs: template.diffs,
            chains: template.chains,
            structure,
            announces,
        }
    }

    /// Takes a number and describes the frame as a template would.
    fn template(&mut self, step: Step, keyframe: bool, spatial: u8) -> Template {
        let number = self.next;
        self.next += 1;
        let layer = usize::from(spatial);
        let inter_layer = spatial > 0 && (keyframe || !self.scalability.key_pictures_only);
        let mut diffs = [0; 3];
        let earlier = step.refers.iter().filter(|&&back| back != 0 && !keyframe);
        let earlier = earlier.filter_map(|&back| Some(self.pictures.get(usize::from(back))?[layer]));
        let below = inter_layer.then(|| self.pictures[0][layer - 1]);
        for (diff, referred) in diffs.iter_mut().zip(earlier.chain(below)) {
            *diff = (number - referred) as u16;
        }
        if let Some(picture) = self.pictures.front_mut() {
            picture[layer] = number;
        }
        let mut chains = [0; SPATIAL_MAX];
        let chain_count = usize::from(self.scalability.spatial_layers);
        for (chain, diff) in chains[..chain_count].iter_mut().enumerate() {
            if !(keyframe && spatial == 0) {
                *diff = (number - self.chains[chain]) as u16;
            }
            let whole = keyframe || !self.scalability.key_pictures_only;
            if step.temporal == 0 && (if whole { layer <= chain } else { layer == chain }) {
                self.chains[chain] = number;
            }
        }
        Template {
            spatial,
            temporal: step.temporal,
            indications: indications(self.scalability, keyframe, spatial, step.temporal),
            diffs,
            chains,
        }
    }
}

/// What a frame means to each decode target; targets are ordered by spatial, then by temporal layer.
fn indications(
    scalability: Scalability,
    keyframe: bool,
    spatial: u8,
    temporal: u8,
) -> [Indication; TARGETS_MAX] {
    let mut all = [Indication::NotPresent; TARGETS_MAX];
    let mut at = 0;
    for target_spatial in 0..scalability.spatial_layers {
        for target_temporal in 0..scalability.temporal_layers {
            let within_picture = keyframe || !scalability.key_pictures_only;
            let shown = if within_picture { target_spatial >= spatial } else { target_spatial == spatial };
            all[at] = if !shown || target_temporal < temporal {
                Indication::NotPresent
            } else if keyframe {
                Indication::Switch
            } else if target_spatial == spatial {
                let highest = target_temporal == temporal && temporal > 0;
                if highest { Indication::Discardable } else { Indication::Switch }
            } else {
                Indication::Required
            };
            at += 1;
        }
    }
    all
}

/// The templates of a mode: a key picture, one round of the pattern, and the base layer after it.
fn templates(scalability: Scalability) -> Vec<Template> {
    let mut numbering = Numbering::without_templates(scalability);
    let steps = scalability.svc_steps();
    let mut all: Vec<Template> = Vec::new();
    for picture in 0..=steps.len() {
        let (step, keyframe) = (steps[picture % steps.len()], picture == 0);
        numbering.begin_picture(keyframe, scalability.spatial_layers);
        for spatial in 0..scalability.spatial_layers {
            let template = numbering.template(step, keyframe, spatial);
            if !all.contains(&template) {
                all.push(template);
            }
        }
    }
    all.sort_by_key(|template| (template.spatial, template.temporal));
    all
}

/// Writes the value for one packet of a frame; answers its bytes, or `None` when `out` is too small.
pub fn write(frame: &Frame, first: bool, last: bool, out: &mut [u8]) -> Option<usize> {
    let dependency = &frame.dependency;
    let scalability = frame.scalability;
    let mut pen = Pen { out, at: 0 };
    pen.put(u32::from(first), 1)?;
    pen.put(u32::from(last), 1)?;
    pen.put(u32::from((dependency.id_offset + dependency.template) % TEMPLATE_IDS), 6)?;
    pen.put(u32::from(dependency.number), 16)?;
    let structure = dependency.structure && first;
    let Dependency { announces, custom_diffs, custom_chains, .. } = *dependency;
    if !(structure || announces || custom_diffs || custom_chains) {
        return Some(3);
    }
    // Indications are never the frame's own: the template was chosen by them.
    for flag in [structure, announces, false, custom_diffs, custom_chains] {
        pen.put(u32::from(flag), 1)?;
    }
    if structure {
        write_structure(frame, &mut pen)?;
    }
    if announces {
        let targets = u32::from(scalability.spatial_layers * scalability.temporal_layers);
        let active = u32::from(frame.active_spatial * scalability.temporal_layers);
        pen.put((1 << active) - 1, targets)?;
    }
    if custom_diffs {
        for diff in dependency.diffs.into_iter().filter(|&diff| diff != 0) {
            let nibbles = if diff <= 16 { 1 } else { 2 };
            pen.put(nibbles, 2)?;
            pen.put(u32::from(diff - 1), 4 * nibbles)?;
        }
        pen.put(0, 2)?;
    }
    if custom_chains {
        for &diff in &dependency.chains[..usize::from(scalability.spatial_layers)] {
            pen.put(u32::from(diff), 8)?;
        }
    }
    Some(pen.at.div_ceil(8))
}

fn write_structure(frame: &Frame, pen: &mut Pen<'_>) -> Option<()> {
    let scalability = frame.scalability;
    let (layers, per_layer) = (scalability.spatial_layers, scalability.temporal_layers);
    let targets = layers * per_layer;
    let templates = templates(scalability);
    pen.put(u32::from(frame.dependency.id_offset), 6)?;
    pen.put(u32::from(targets - 1), 5)?;
    for (index, template) in templates.iter().enumerate() {
        let step = match templates.get(index + 1) {
            None => 3,
            Some(next) if next.spatial != template.spatial => 2,
            Some(next) => u32::from(next.temporal != template.temporal),
        };
        pen.put(step, 2)?;
    }
    for template in &templates {
        for indication in &template.indications[..usize::from(targets)] {
            pen.put(*indication as u32, 2)?;
        }
    }
    for template in &templates {
        for diff in template.diffs.into_iter().filter(|&diff| diff != 0) {
            pen.put(1, 1)?;
            pen.put(u32::from(diff - 1), 4)?;
        }
        pen.put(0, 1)?;
    }
    pen.put_below(u32::from(layers), u32::from(targets) + 1)?;
    for target in 0..targets {
        pen.put_below(u32::from(target / per_layer), u32::from(layers))?;
    }
    for template in &templates {
        for &diff in &template.chains[..usize::from(layers)] {
            pen.put(u32::from(diff), 4)?;
        }
    }
    pen.put(1, 1)?;
    for spatial in 0..layers {
        let (width, height) = frame.layer_size(spatial);
        pen.put(u32::from(width.saturating_sub(1)), 16)?;
        pen.put(u32::from(height.saturating_sub(1)), 16)?;
    }
    Some(())
}

/// Writes bits, the most significant first.
struct Pen<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Pen<'_> {
    fn put(&mut self, value: u32, bits: u32) -> Option<()> {
        for bit in (0..bits).rev() {
            let byte = self.out.get_mut(self.at / 8)?;
            if self.at.is_multiple_of(8) {
                *byte = 0;
            }
            *byte |= ((value >> bit & 1) as u8) << (7 - self.at % 8);
            self.at += 1;
        }
        Some(())
    }

    /// `ns(n)` of the AV1 specification: a number below `bound` in as few bits as it needs.
    fn put_below(&mut self, value: u32, bound: u32) -> Option<()> {
        if bound <= 1 {
            return Some(());
        }
        let width = 32 - bound.leading_zeros();
        let short = (1 << width) - bound;
        if value < short { self.put(value, width - 1) } else { self.put(value + short, width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::av1::dependency as reader;

    /// As libwebrtc's `FrameDependencyTemplate`s: spatial, temporal, indications, frame differences, chain differences.
    type Row = (u8, u8, &'static str, &'static [u16], &'static [u16]);

    const L1T3: [Row; 5] = [
        (0, 0, "SSS", &[], &[0]),
        (0, 0, "SSS", &[4], &[4]),
        (0, 1, "-DS", &[2], &[2]),
        (0, 2, "--D", &[1], &[1]),
        (0, 2, "--D", &[1], &[3]),
    ];
    const L3T3: [Row; 15] = [
        (0, 0, "SSSRRRRRR", &[12], &[12, 11, 10]),
        (0, 0, "SSSSSSSSS", &[], &[0, 0, 0]),
        (0, 1, "-DS-RR-RR", &[6], &[6, 5, 4]),
        (0, 2, "--D--R--R", &[3], &[3, 2, 1]),
        (0, 2, "--D--R--R", &[3], &[9, 8, 7]),
        (1, 0, "---SSSRRR", &[12, 1], &[1, 1, 1]),
        (1, 0, "---SSSSSS", &[1], &[1, 1, 1]),
        (1, 1, "----DS-RR", &[6, 1], &[7, 6, 5]),
        (1, 2, "-----D--R", &[3, 1], &[4, 3, 2]),
        (1, 2, "-----D--R", &[3, 1], &[10, 9, 8]),
        (2, 0, "------SSS", &[12, 1], &[2, 1, 1]),
        (2, 0, "------SSS", &[1], &[2, 1, 1]),
        (2, 1, "-------DS", &[6, 1], &[8, 7, 6]),
        (2, 2, "--------D", &[3, 1], &[5, 4, 3]),
        (2, 2, "--------D", &[3, 1], &[11, 10, 9]),
    ];
    const L3T3_KEY: [Row; 15] = [
        (0, 0, "SSSSSSSSS", &[], &[0, 0, 0]),
        (0, 0, "SSS------", &[12], &[12, 11, 10]),
        (0, 1, "-DS------", &[6], &[6, 5, 4]),
        (0, 2, "--D------", &[3], &[3, 2, 1]),
        (0, 2, "--D------", &[3], &[9, 8, 7]),
        (1, 0, "---SSSSSS", &[1], &[1, 1, 1]),
        (1, 0, "---SSS---", &[12], &[1, 12, 11]),
        (1, 1, "----DS---", &[6], &[7, 6, 5]),
        (1, 2, "-----D---", &[3], &[4, 3, 2]),
        (1, 2, "-----D---", &[3], &[10, 9, 8]),
        (2, 0, "------SSS", &[1], &[2, 1, 1]),
        (2, 0, "------SSS", &[12], &[2, 1, 12]),
        (2, 1, "-------DS", &[6], &[8, 7, 6]),
        (2, 2, "--------D", &[3], &[5, 4, 3]),
        (2, 2, "--------D", &[3], &[11, 10, 9]),
    ];

    fn template(row: &Row) -> Template {
        let mut template = Template {
            spatial: row.0,
            temporal: row.1,
            indications: [Indication::NotPresent; TARGETS_MAX],
            diffs: [0; 3],
            chains: [0; SPATIAL_MAX],
        };
        for (slot, letter) in template.indications.iter_mut().zip(row.2.chars()) {
            *slot = match letter {
                'S' => Indication::Switch,
                'D' => Indication::Discardable,
                'R' => Indication::Required,
                _ => Indication::NotPresent,
            };
        }
        template.diffs[..row.3.len()].copy_from_slice(row.3);
        template.chains[..row.4.len()].copy_from_slice(row.4);
        template
    }

    fn frame(scalability: Scalability, active_spatial: u8, dependency: Dependency) -> Frame {
        Frame {
            scalability,
            active_spatial,
            picture: 0,
            tl0: 0,
            key_index: 0,
            sync: false,
            size: (1280, 720),
            dependency,
        }
    }

    #[test]
    fn templates_are_those_of_libwebrtc() {
        for (scalability, rows) in
            [(Scalability::L1T3, &L1T3[..]), (Scalability::L3T3, &L3T3), (Scalability::L3T3_KEY, &L3T3_KEY)]
        {
            let ours = templates(scalability);
            assert_eq!(ours.len(), rows.len());
            for row in rows {
                assert!(ours.contains(&template(row)), "{scalability:?} lacks {row:?}: {ours:#?}");
            }
        }
    }

    #[test]
    fn the_forwarder_reads_layers_targets_and_sizes() {
        for scalability in [Scalability::L1T3, Scalability::L3T3, Scalability::L3T3_KEY] {
            let mut numbering = Numbering::new(scalability);
            let layers = scalability.spatial_layers;
            let mut known = None;
            for picture in 0..40_usize {
                let keyframe = picture == 0 || picture == 16;
                let step = scalability.svc_steps()[picture % scalability.svc_steps().len()];
                numbering.begin_picture(keyframe, layers);
                for spatial in 0..layers {
                    let dependency = numbering.frame(step, keyframe, spatial, layers);
                    assert!(!dependency.custom_diffs && !dependency.custom_chains);
                    let mut value = [0; DEPENDENCY_BYTES_MAX];
                    let frame = frame(scalability, layers, dependency);
                    let bytes = write(&frame, true, false, &mut value).expect("it fits");
                    let (read, structure) =
                        reader::Descriptor::parse_with_structure(&value[..bytes]).expect("valid");
                    assert_eq!(structure.is_some(), keyframe && spatial == 0);
                    if let Some(structure) = structure {
                        assert_eq!(structure.sizes().last(), Some(&(1280, 720)));
                        assert_eq!(structure.decode_target_count(), usize::from(layers) * 3);
                        known = Some(structure);
                    }
                    let known = known.as_ref().expect("the first frame carries it");
                    let template = known.template(read.template).expect("a template of the structure");
                    assert_eq!((template.spatial, template.temporal), (spatial, step.temporal));
                    assert_eq!(usize::from(read.frame), picture * usize::from(layers) + usize::from(spatial));
                    assert!(read.frame_start && !read.frame_end);
                    for short in 0..bytes {
                        assert!(write(&frame, true, false, &mut value[..short]).is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn a_layer_that_is_switched_off_is_announced_and_its_frames_leave_no_gap() {
        let mut numbering = Numbering::new(Scalability::L3T3);
        let mut value = [0; DEPENDENCY_BYTES_MAX];
        let mut known = None;
        for picture in 0..16_usize {
            // One goes in the middle; a keyframe much later begins a sequence without it.
            let active = if picture < 4 { 3 } else { 2 };
            let keyframe = picture == 0 || picture == 12;
            let step = Scalability::L3T3.svc_steps()[picture % 4];
            numbering.begin_picture(keyframe, active);
            for spatial in 0..active {
                let dependency = numbering.frame(step, keyframe, spatial, active);
                assert_eq!(dependency.id_offset, if picture < 12 { 0 } else { 15 });
                // From the second picture without the layer on frames lie nearer together than in the templates.
                let apart = keyframe || picture <= 4;
                assert_eq!(dependency.custom_diffs, !apart, "picture {picture}");
                let frame = frame(Scalability::L3T3, active, dependency);
                let bytes = write(&frame, true, true, &mut value).expect("it fits");
                let value = &value[..bytes];
                let (_, structure) = reader::Descriptor::parse_with_structure(value).expect("valid");
                known = structure.or(known);
                let known = known.as_ref().expect("the first frame carries it");
                let (full, structure) = reader::Descriptor::parse_with_structure(value).expect("valid");
                let change = reader::Descriptor::active_targets_change(value, known).expect("valid");
                let told = if structure.is_some() { full.active_targets } else { change };
                let expected = match (picture, spatial) {
                    (0, 0) => Some(0b1_1111_1111),
                    (4, _) | (12, 0) => Some(0b11_1111),
                    _ => None,
                };
                assert_eq!(told, expected, "picture {picture}");
            }
        }
    }
}
