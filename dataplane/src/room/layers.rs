//! Which layer of a track a stream forwards: a simulcast layer, or a spatial layer of an SVC stream.
//!
//! Place: asked for every video packet and stream, so the answers are bit operations on a mask of active layers.
//! Rule of this form: the highest active layer up to the wanted one; if none of those is active, the lowest that is.
//! A stream changes layer only at a keyframe of the new one and forwards the old one until then.

use super::stream::Limit;
use crate::base::limits::QUALITIES_MAX;

/// Layers that sent lately: bit n is layer n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ActiveLayers(u8);

const _: () = assert!(QUALITIES_MAX <= 8, "one bit each");

impl ActiveLayers {
    /// Layer `index` sends or has fallen silent; whether that is new.
    pub const fn set(&mut self, index: u8, active: bool) -> bool {
        let before = self.0;
        if active {
            self.0 |= 1 << index;
        } else {
            self.0 &= !(1 << index);
        }
        self.0 != before
    }

    /// How many send.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// Whether layer `index` sends.
    #[must_use]
    pub const fn contains(self, index: u8) -> bool {
        self.0 & 1 << index != 0
    }

    /// The layer a stream should forward; `None` when nothing is active or it is paused.
    #[must_use]
    pub const fn target(self, limit: Limit) -> Option<u8> {
        if !limit.enabled || self.0 == 0 {
            return None;
        }
        let up_to = if limit.quality_max >= 7 { u8::MAX } else { (1 << (limit.quality_max + 1)) - 1 };
        let within = self.0 & up_to;
        Some(if within == 0 { self.0.trailing_zeros() as u8 } else { 7 - within.leading_zeros() as u8 })
    }
}

/// What a stream does with one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Forward: it is the running layer.
    Forward,
    /// Forward and make its layer the running one.
    Switch,
    /// Leave out: another layer runs.
    NotSelected,
    /// Leave out, and the layer should send a keyframe so that the stream can start or switch.
    WaitsForKeyframe,
    /// Leave out: the stream is paused.
    Paused,
}

/// Judges one video packet of `layer` for a stream that runs on `current`.
#[must_use]
pub const fn choose(
    active: ActiveLayers,
    limit: Limit,
    current: Option<u8>,
    layer: u8,
    keyframe_start: bool,
) -> Choice {
    let Some(target) = active.target(limit) else { return Choice::Paused };
    match current {
        Some(current) if current == layer => Choice::Forward,
        _ if layer == target => {
            if keyframe_start {
                Choice::Switch
            } else {
                Choice::WaitsForKeyframe
            }
        }
        // Nothing is shown yet: any wanted layer is better than waiting for the best.
        None if keyframe_start && layer < target => Choice::Switch,
        // A better one than the running one on the way to the target.
        Some(current) if keyframe_start && layer > current && layer < target => Choice::Switch,
        _ => Choice::NotSelected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(layers: &[u8]) -> ActiveLayers {
        let mut active = ActiveLayers::default();
        for &layer in layers {
            active.set(layer, true);
        }
        active
    }

    const fn up_to(quality_max: u8) -> Limit {
        Limit { quality_max, ..Limit::ALL }
    }

    const PAUSED: Limit = Limit { enabled: false, ..Limit::ALL };

    #[test]
    fn the_highest_active_layer_up_to_the_wanted_one_is_the_target() {
        assert_eq!(active(&[0, 1, 2]).target(up_to(2)), Some(2));
        assert_eq!(active(&[0, 1, 2]).target(up_to(1)), Some(1));
        assert_eq!(active(&[0, 2]).target(up_to(1)), Some(0));
        assert_eq!(active(&[2]).target(up_to(0)), Some(2), "better than nothing");
        assert_eq!(active(&[0]).target(up_to(255)), Some(0));
        assert_eq!(active(&[]).target(up_to(2)), None);
        assert_eq!(active(&[0]).target(PAUSED), None);
    }

    #[test]
    fn layers_change_only_at_keyframes_and_the_old_one_runs_until_then() {
        let all = active(&[0, 1, 2]);
        assert_eq!(choose(all, up_to(2), Some(0), 0, false), Choice::Forward);
        assert_eq!(choose(all, up_to(2), Some(0), 2, false), Choice::WaitsForKeyframe);
        assert_eq!(choose(all, up_to(2), Some(0), 2, true), Choice::Switch);
        assert_eq!(choose(all, up_to(2), Some(2), 1, true), Choice::NotSelected);
        assert_eq!(choose(all, up_to(2), None, 0, true), Choice::Switch, "something to look at first");
        assert_eq!(choose(all, up_to(2), None, 1, false), Choice::NotSelected);
        assert_eq!(choose(all, PAUSED, Some(0), 0, true), Choice::Paused);
    }

    #[test]
    fn a_silent_layer_is_left_for_the_next_lower_one() {
        let mut layers = active(&[0, 1, 2]);
        assert!(layers.set(2, false));
        assert!(!layers.set(2, false));
        assert_eq!(choose(layers, up_to(2), Some(2), 1, true), Choice::Switch);
        assert_eq!(choose(layers, up_to(2), Some(2), 1, false), Choice::WaitsForKeyframe);
    }
}
