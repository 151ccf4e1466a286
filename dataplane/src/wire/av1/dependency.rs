//! Dependency descriptor header extension (AV1 RTP specification appendix A).
//!
//! Path: read for every packet that carries it; the template structure comes with keyframes and is remembered by the caller.
//! Promises: fixed-size results, every count checked, no allocation.
//! Not here: choosing layers (`room`).

use crate::base::drops::DropReason;

/// Templates in one structure: the identifier has six bits.
pub const TEMPLATES_MAX: usize = 64;
/// Decode targets in one structure: the count has five bits.
pub const DECODE_TARGETS_MAX: usize = 32;
/// Spatial layers: two bits of next-layer steps could count on, the codec ends at four.
pub const SPATIAL_LAYERS_MAX: usize = 4;

/// What a frame means to one decode target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Indication {
    /// Not part of the target.
    NotPresent = 0,
    /// Part of it; nothing in the target refers to it.
    Discardable = 1,
    /// Part of it; the target can begin to be decoded here if it was not.
    Switch = 2,
    /// Part of it.
    Required = 3,
}

impl Indication {
    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// One template: the layer of its frames and what they mean to each decode target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Two bits per decode target, the first lowest.
    indications: u64,
}

impl Template {
    /// What its frames mean to every decode target: two bits each as in [`Indication`], the first lowest.
    #[must_use]
    pub const fn indications(&self) -> u64 {
        self.indications
    }

    /// What its frames mean to this decode target.
    #[must_use]
    pub const fn indication(&self, target: usize) -> Indication {
        if target < DECODE_TARGETS_MAX {
            Indication::from_bits(self.indications >> (2 * target))
        } else {
            Indication::NotPresent
        }
    }
}

/// The template dependency structure of a coded video sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Structure {
    /// First template identifier.
    id_offset: u8,
    template_count: u8,
    decode_target_count: u8,
    templates: [Template; TEMPLATES_MAX],
    /// Size of each spatial layer, if the structure tells.
    sizes: [(u16, u16); SPATIAL_LAYERS_MAX],
    size_count: u8,
}

impl Structure {
    /// The templates in order.
    #[must_use]
    pub fn templates(&self) -> &[Template] {
        &self.templates[..usize::from(self.template_count)]
    }

    /// Number of decode targets.
    #[must_use]
    pub const fn decode_target_count(&self) -> usize {
        self.decode_target_count as usize
    }

    /// Width and height of each spatial layer from the lowest; empty if the structure does not tell.
    #[must_use]
    pub fn sizes(&self) -> &[(u16, u16)] {
        &self.sizes[..usize::from(self.size_count)]
    }

    /// The template with this identifier.
    #[must_use]
    pub fn template(&self, id: u8) -> Option<&Template> {
        self.templates().get(self.index(id)?)
    }

    /// Where the template with this identifier stands among [`Structure::templates`].
    #[must_use]
    pub fn index(&self, id: u8) -> Option<usize> {
        let index = (id + TEMPLATES_MAX as u8 - self.id_offset) % TEMPLATES_MAX as u8;
        (index < self.template_count).then_some(usize::from(index))
    }
}

/// The fields that every descriptor has, and the structure if it carries one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// First packet of its frame.
    pub frame_start: bool,
    /// Last packet of its frame.
    pub frame_end: bool,
    /// Template that the frame follows.
    pub template: u8,
    /// Frame number, modulo 2^16.
    pub frame: u16,
    /// A template structure follows: the frame begins a coded video sequence.
    pub has_structure: bool,
    /// Decode targets that are still sent, one bit each; `None` when the descriptor does not change them.
    pub active_targets: Option<u32>,
}

impl Descriptor {
    /// Reads the fields that need no structure: layer lookup takes `template` to a remembered [`Structure`].
    ///
    /// # Errors
    /// `Truncated` when the value is shorter than its flags demand. `active_targets` is `Some` only through
    /// [`Descriptor::parse_with_structure`], because its length is the structure's.
    pub const fn parse(value: &[u8]) -> Result<Self, DropReason> {
        let [first, high, low, ..] = *value else { return Err(DropReason::Truncated) };
        Ok(Self {
            frame_start: first & 0x80 != 0,
            frame_end: first & 0x40 != 0,
            template: first & 0x3f,
            frame: u16::from_be_bytes([high, low]),
            has_structure: value.len() > 3 && value[3] & 0x80 != 0,
            active_targets: None,
        })
    }

    /// Reads the descriptor with its structure, if it carries one.
    ///
    /// # Errors
    /// `Truncated` or `Malformed`.
    pub fn parse_with_structure(value: &[u8]) -> Result<(Self, Option<Structure>), DropReason> {
        let mut descriptor = Self::parse(value)?;
        if value.len() == 3 {
            return Ok((descriptor, None));
        }
        let mut bits = Bits { bytes: value, at: 24 };
        let structure_present = bits.read(1)? != 0;
        let active_present = bits.read(1)? != 0;
        // Custom dependencies, frame differences and chains: routing does not read them.
        bits.read(3)?;
        let structure = if structure_present { Some(structure(&mut bits)?) } else { None };
        if let Some(structure) = &structure {
            let all = u64::MAX >> (64 - structure.decode_target_count());
            descriptor.active_targets = Some(if active_present {
                bits.read(structure.decode_target_count() as u32)? as u32
            } else {
                all as u32
            });
        }
        Ok((descriptor, structure))
    }

    /// Decode targets that this descriptor switches on or off, given the structure remembered from the last keyframe.
    ///
    /// # Errors
    /// `Truncated` when the value ends within the mask.
    pub fn active_targets_change(value: &[u8], structure: &Structure) -> Result<Option<u32>, DropReason> {
        if value.len() <= 3 {
            return Ok(None);
        }
        let mut bits = Bits { bytes: value, at: 24 };
        // Structure present, or mask not present.
        if bits.read(2)? != 0b01 {
            return Ok(None);
        }
        bits.read(3)?;
        Ok(Some(bits.read(structure.decode_target_count() as u32)? as u32))
    }

    /// What the frame means to each decode target, two bits each, the first lowest (see [`Template::indications`]), when the
    /// descriptor says so itself instead of following its template. Only for descriptors without a structure.
    ///
    /// # Errors
    /// `Truncated` when the value ends within them.
    pub fn custom_indications(value: &[u8], structure: &Structure) -> Result<Option<u64>, DropReason> {
        if value.len() <= 3 {
            return Ok(None);
        }
        let mut bits = Bits { bytes: value, at: 24 };
        let (structure_present, active_present) = (bits.read(1)? != 0, bits.read(1)? != 0);
        let custom = bits.read(1)? != 0;
        bits.read(2)?;
        if structure_present || !custom {
            return Ok(None);
        }
        let count = structure.decode_target_count() as u32;
        if active_present {
            bits.read(count)?;
        }
        let mut indications = 0;
        for target in 0..count {
            indications |= bits.read(2)? << (2 * target);
        }
        Ok(Some(indications))
    }
}

/// `template_dependency_structure()` of the specification.
fn structure(bits: &mut Bits<'_>) -> Result<Structure, DropReason> {
    let id_offset = bits.read(6)? as u8;
    let decode_target_count = bits.read(5)? as u8 + 1;
    let none = Template { spatial: 0, temporal: 0, indications: 0 };
    let mut structure = Structure {
        id_offset,
        template_count: 0,
        decode_target_count,
        templates: [none; TEMPLATES_MAX],
        sizes: [(0, 0); SPATIAL_LAYERS_MAX],
        size_count: 0,
    };
    template_layers(bits, &mut structure)?;
    let count = usize::from(structure.template_count);
    for template in &mut structure.templates[..count] {
        for target in 0..decode_target_count {
            template.indications |= bits.read(2)? << (2 * target);
        }
    }
    // Frame differences: a flag, then four bits, until the flag says stop.
    for _ in 0..count {
        while bits.read(1)? != 0 {
            bits.read(4)?;
        }
    }
    let chains = bits.non_symmetric(u32::from(decode_target_count) + 1)?;
    if chains != 0 {
        for _ in 0..decode_target_count {
            bits.non_symmetric(chains)?;
        }
        for _ in 0..count {
            for _ in 0..chains {
                bits.read(4)?;
            }
        }
    }
    if bits.read(1)? != 0 {
        let layers = structure.templates[..count].iter().map(|t| t.spatial).max().unwrap_or(0) + 1;
        for size in &mut structure.sizes[..usize::from(layers)] {
            *size = (bits.read(16)? as u16, bits.read(16)? as u16);
            // The field is the size minus one.
            *size = (size.0.saturating_add(1), size.1.saturating_add(1));
        }
        structure.size_count = layers;
    }
    Ok(structure)
}

/// `template_layers()`: each template, and by which step the next one's layer differs.
fn template_layers(bits: &mut Bits<'_>, structure: &mut Structure) -> Result<(), DropReason> {
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        let index = usize::from(structure.template_count);
        let template = structure.templates.get_mut(index).ok_or(DropReason::Malformed)?;
        *template = Template { spatial, temporal, indications: 0 };
        structure.template_count += 1;
        match bits.read(2)? {
            0 => {}
            1 => {
                temporal += 1;
                if temporal > 7 {
                    return Err(DropReason::Malformed);
                }
            }
            2 => {
                temporal = 0;
                spatial += 1;
                if usize::from(spatial) >= SPATIAL_LAYERS_MAX {
                    return Err(DropReason::Malformed);
                }
            }
            _ => return Ok(()),
        }
    }
}

/// Bits of a byte slice, most significant first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> Result<u64, DropReason> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8).ok_or(DropReason::Truncated)?;
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    /// `ns(n)` of the AV1 specification: a number below `bound` in as few bits as it needs.
    fn non_symmetric(&mut self, bound: u32) -> Result<u32, DropReason> {
        if bound <= 1 {
            return Ok(0);
        }
        let width = 32 - bound.leading_zeros();
        let short = (1_u32 << width) - bound;
        let value = self.read(width - 1)? as u32;
        if value < short {
            return Ok(value);
        }
        let extra = self.read(1)? as u32;
        Ok((value << 1) - short + extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// Writes bits for the tests.
    #[derive(Default)]
    struct Pen {
        bits: Vec<bool>,
    }

    impl Pen {
        fn put(&mut self, value: u64, count: u32) -> &mut Self {
            self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            self.bits
                .chunks(8)
                .map(|chunk| {
                    chunk
                        .iter()
                        .enumerate()
                        .fold(0, |byte, (index, &bit)| byte | u8::from(bit) << (7 - index))
                })
                .collect()
        }
    }

    /// L2T2: two spatial and two temporal layers, four decode targets, sizes included.
    fn keyframe(id_offset: u64) -> Vec<u8> {
        let mut pen = Pen::default();
        pen.put(0b11, 2).put(id_offset, 6).put(77, 16);
        // Structure present, active targets present, nothing custom.
        pen.put(0b11_000, 5);
        pen.put(id_offset, 6).put(3, 5);
        // Layers: (0,0) (0,1) (1,0) (1,1).
        pen.put(1, 2).put(2, 2).put(1, 2).put(3, 2);
        // Indications of four targets per template.
        for row in [[2, 2, 2, 2], [0, 1, 0, 2], [0, 0, 2, 2], [0, 0, 0, 1]] {
            row.iter().for_each(|&indication| {
                pen.put(indication, 2);
            });
        }
        // Frame differences: none, one, one, two.
        pen.put(0, 1);
        pen.put(0b10_0000, 6).put(0b10_0000, 6).put(0b100_0010_0010, 11);
        // Two chains: ns(5) = 2, each target protected by a chain of ns(2), differences of four bits.
        pen.put(2, 2);
        pen.put(0b0011, 4);
        (0..8).for_each(|_| {
            pen.put(1, 4);
        });
        // Sizes of two layers.
        pen.put(1, 1).put(319, 16).put(179, 16).put(639, 16).put(359, 16);
        pen.put(0b0101, 4);
        pen.bytes()
    }

    #[test]
    fn a_keyframe_tells_layers_targets_and_sizes() {
        for offset in [0, 9, 62] {
            let value = keyframe(offset);
            let (descriptor, structure) = Descriptor::parse_with_structure(&value).expect("valid");
            let structure = structure.expect("it carries one");
            assert!(descriptor.frame_start && descriptor.frame_end && descriptor.has_structure);
            assert_eq!((u64::from(descriptor.template), descriptor.frame), (offset, 77));
            assert_eq!(descriptor.active_targets, Some(0b0101));
            let layers: Vec<_> = structure.templates().iter().map(|t| (t.spatial, t.temporal)).collect();
            assert_eq!(layers, [(0, 0), (0, 1), (1, 0), (1, 1)]);
            assert_eq!(structure.sizes(), [(320, 180), (640, 360)]);
            assert_eq!(structure.decode_target_count(), 4);
            let second = structure.template((offset as u8 + 1) % 64).expect("the second template");
            assert_eq!(
                [0, 1, 2, 3, 32].map(|target| second.indication(target)),
                [
                    Indication::NotPresent,
                    Indication::Discardable,
                    Indication::NotPresent,
                    Indication::Switch,
                    Indication::NotPresent
                ]
            );
            assert!(structure.template((offset as u8 + 4) % 64).is_none());
        }
    }

    #[test]
    fn a_short_descriptor_has_a_frame_number_and_no_structure() {
        let (descriptor, structure) = Descriptor::parse_with_structure(&[0x45, 0x01, 0x02]).expect("valid");
        assert!(structure.is_none() && !descriptor.frame_start && descriptor.frame_end);
        assert_eq!((descriptor.template, descriptor.frame), (5, 0x0102));
        assert_eq!(Descriptor::parse(&[0x45, 0x01]), Err(DropReason::Truncated));
    }

    #[test]
    fn a_later_descriptor_can_switch_targets_off() {
        let (_, structure) = Descriptor::parse_with_structure(&keyframe(0)).expect("valid");
        let structure = structure.expect("it carries one");
        let change = Pen::default().put(0x45_0102, 24).put(0b01_000, 5).put(0b0011, 4).bytes();
        assert_eq!(Descriptor::active_targets_change(&change, &structure), Ok(Some(0b0011)));
        assert_eq!(Descriptor::active_targets_change(&change[..4], &structure), Err(DropReason::Truncated));
        assert_eq!(Descriptor::active_targets_change(&[0x45, 1, 2], &structure), Ok(None));
    }

    #[test]
    fn a_frame_can_say_itself_what_it_means_to_each_target() {
        let (_, structure) = Descriptor::parse_with_structure(&keyframe(0)).expect("valid");
        let structure = structure.expect("it carries one");
        // Active targets present, custom indications: 2 1 0 3.
        let value =
            Pen::default().put(0x45_0102, 24).put(0b01_100, 5).put(0b1111, 4).put(0b10_01_00_11, 8).bytes();
        assert_eq!(Descriptor::custom_indications(&value, &structure), Ok(Some(0b11_00_01_10)));
        assert_eq!(Descriptor::custom_indications(&value[..4], &structure), Err(DropReason::Truncated));
        assert_eq!(Descriptor::custom_indications(&[0x45, 1, 2], &structure), Ok(None));
        assert_eq!(Descriptor::custom_indications(&keyframe(0), &structure), Ok(None));
    }

    #[test]
    fn a_structure_cut_at_any_byte_is_refused() {
        let value = keyframe(0);
        for length in 0..value.len() {
            let result = Descriptor::parse_with_structure(&value[..length]);
            assert_eq!(result.is_ok(), length == 3, "cut at {length}");
        }
    }

    #[test]
    fn numbers_below_a_bound_are_read_as_the_specification_writes_them() {
        // ns(5): 0, 1 and 2 in two bits, 3 and 4 in three.
        let mut bits = Bits { bytes: &[0b0001_1011, 0b0111_0000], at: 0 };
        assert_eq!([0; 5].map(|_| bits.non_symmetric(5)), [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
        assert_eq!(bits.non_symmetric(1), Ok(0));
    }

    #[test]
    fn random_descriptors_never_panic() {
        let mut rng = Rng::new(11);
        for _ in 0..50_000 {
            let mut value: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
            if let Some(flags) = value.get_mut(3) {
                *flags |= 0x80;
            }
            if let Ok((descriptor, Some(structure))) = Descriptor::parse_with_structure(&value) {
                assert!(!structure.templates().is_empty());
                let _ = structure.template(descriptor.template);
                let _ = Descriptor::active_targets_change(&value, &structure);
            }
        }
    }
}
