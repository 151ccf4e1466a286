//! Scalability modes as browsers name them, and the order of temporal layers with what each frame refers to.
//!
//! Place: `source` walks a pattern, one step per picture; the descriptors' writers take templates from it. The steps are those
//! of libwebrtc: `DefaultTemporalLayers` for VP8, the `ScalabilityStructure` family for VP9 and AV1.
//! Promises: a pattern begins with the base layer and depends on nothing before it. Not here: bytes.

/// Spatial and temporal layers of one encoding, for example `L3T3_KEY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scalability {
    /// Spatial layers, 1 to [`SPATIAL_MAX`].
    pub spatial_layers: u8,
    /// Temporal layers, 1 to [`TEMPORAL_MAX`].
    pub temporal_layers: u8,
    /// Spatial layers refer to each other in key pictures only (`_KEY`).
    pub key_pictures_only: bool,
}

/// Spatial layers that a pattern has at most.
pub const SPATIAL_MAX: usize = 3;
/// Temporal layers that a pattern has at most.
pub const TEMPORAL_MAX: usize = 3;

impl Scalability {
    /// One layer of each kind.
    pub const L1T1: Self = Self::new(1, 1);
    /// Two temporal layers.
    pub const L1T2: Self = Self::new(1, 2);
    /// Three temporal layers.
    pub const L1T3: Self = Self::new(1, 3);
    /// Three spatial and three temporal layers; every picture is predicted from the layer below.
    pub const L3T3: Self = Self::new(3, 3);
    /// Three spatial and three temporal layers; only key pictures are predicted from the layer below.
    pub const L3T3_KEY: Self = Self { key_pictures_only: true, ..Self::L3T3 };

    const fn new(spatial_layers: u8, temporal_layers: u8) -> Self {
        Self { spatial_layers, temporal_layers, key_pictures_only: false }
    }

    /// The steps of VP8, where a picture may refer to two earlier ones.
    #[must_use]
    pub const fn vp8_steps(self) -> &'static [Step] {
        match self.temporal_layers {
            0 | 1 => &ONE,
            2 => &VP8_TWO,
            _ => &VP8_THREE,
        }
    }

    /// The steps of VP9 and AV1.
    #[must_use]
    pub const fn svc_steps(self) -> &'static [Step] {
        match self.temporal_layers {
            0 | 1 => &ONE,
            2 => &SVC_TWO,
            _ => &SVC_THREE,
        }
    }

    /// How large a picture of a temporal layer is, percent of the mean. libvpx gives the base layer 40 % of the bits with three
    /// layers (a quarter of the pictures) and 60 % with two.
    #[must_use]
    pub const fn temporal_percent(self, temporal: u8) -> usize {
        match (self.temporal_layers, temporal) {
            (0 | 1, _) => 100,
            (2, 0) => 120,
            (_, 0) => 160,
            _ => 80,
        }
    }

    /// Which share of a picture a spatial layer takes, percent: about three times what the layer below does.
    #[must_use]
    pub const fn spatial_percent(self, spatial: u8) -> usize {
        match (self.spatial_layers, spatial) {
            (0 | 1, _) => 100,
            (2, 0) => 25,
            (2, _) => 75,
            (_, 0) => 8,
            (_, 1) => 25,
            _ => 67,
        }
    }
}

/// One picture of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its temporal layer.
    pub temporal: u8,
    /// The earlier pictures it refers to: how many pictures back; 0 is none.
    pub refers: [u16; 2],
    /// It refers to the base layer alone: a receiver may begin with its temporal layer here.
    pub sync: bool,
}

const fn step(temporal: u8, refers: [u16; 2], sync: bool) -> Step {
    Step { temporal, refers, sync }
}

const ONE: [Step; 1] = [step(0, [1, 0], true)];
const VP8_TWO: [Step; 4] =
    [step(0, [2, 0], true), step(1, [1, 0], true), step(0, [2, 0], true), step(1, [1, 2], false)];
const VP8_THREE: [Step; 8] = [
    step(0, [4, 0], true),
    step(2, [1, 0], true),
    step(1, [2, 0], true),
    step(2, [3, 1], false),
    step(0, [4, 0], true),
    step(2, [1, 3], false),
    step(1, [2, 4], false),
    step(2, [3, 1], false),
];
const SVC_TWO: [Step; 2] = [step(0, [2, 0], true), step(1, [1, 0], true)];
const SVC_THREE: [Step; 4] =
    [step(0, [4, 0], true), step(2, [1, 0], true), step(1, [2, 0], true), step(2, [1, 0], false)];

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Scalability; 5] =
        [Scalability::L1T1, Scalability::L1T2, Scalability::L1T3, Scalability::L3T3, Scalability::L3T3_KEY];

    #[test]
    fn no_step_refers_to_a_higher_layer_and_sync_steps_refer_to_the_base_alone() {
        for mode in MODES {
            for steps in [mode.vp8_steps(), mode.svc_steps()] {
                // The second time round, so that the farthest reference is within the pattern.
                for at in steps.len()..2 * steps.len() {
                    let step = steps[at % steps.len()];
                    for back in step.refers.into_iter().filter(|&back| back != 0) {
                        let referred = steps[(at - usize::from(back)) % steps.len()];
                        assert!(referred.temporal <= step.temporal, "{mode:?} step {at}");
                        assert!(!step.sync || referred.temporal == 0, "{mode:?} step {at}");
                    }
                }
                assert!(
                    steps[0].temporal == 0 && steps.iter().any(|s| s.temporal + 1 == mode.temporal_layers)
                );
            }
        }
    }

    #[test]
    fn shares_add_up_to_the_mean() {
        for mode in MODES {
            for steps in [mode.vp8_steps(), mode.svc_steps()] {
                let sum: usize = steps.iter().map(|step| mode.temporal_percent(step.temporal)).sum();
                assert_eq!(sum, 100 * steps.len());
            }
            assert_eq!((0..mode.spatial_layers).map(|s| mode.spatial_percent(s)).sum::<usize>(), 100);
        }
    }
}
