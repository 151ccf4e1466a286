//! Which of a codec's qualities its publisher is told to send: what somebody wants, and no more once that has settled.
//!
//! More is told at once; less only after [`SETTLE_MS`], so that a layout that changes twice switches no encoder off and on.
//! Sans-IO: time is an argument. Not here: who wants what (`room::tracks`).

/// How long less must be wanted before the publisher is told, milliseconds.
pub const SETTLE_MS: u64 = 2_500;
/// How long a backup may take to be announced before its publisher is asked again, milliseconds: an SDK drops what comes before
/// its own publication has finished.
pub const REMIND_MS: u64 = 2_000;
/// Most repetitions; whoever does not send the codec then never will.
const REMINDERS_MAX: u8 = 5;

/// The qualities of the protocol, as far as they are wanted: one means itself and all below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quality {
    /// Nothing.
    Off,
    /// The lowest layer.
    Low,
    /// And the one above.
    Medium,
    /// Everything.
    High,
}

impl Quality {
    /// The quality that includes layer `index` of `count`, 0-based from the lowest: encodings are called q, h, f from the lowest
    /// up, so the place says which. The best layer is everything, whatever it is called.
    #[must_use]
    pub fn of_layer(index: usize, count: usize) -> Self {
        match index {
            _ if index + 1 >= count => Self::High,
            0 => Self::Low,
            1 => Self::Medium,
            _ => Self::High,
        }
    }
}

/// What the publisher was told about one codec, and when it is told again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dynacast {
    told: Quality,
    lower_at: Option<u64>,
    remind_at: Option<u64>,
    reminders: u8,
}

impl Dynacast {
    /// A codec whose publisher sends everything unless told otherwise.
    #[must_use]
    pub const fn all_on() -> Self {
        Self { told: Quality::High, lower_at: None, remind_at: None, reminders: 0 }
    }

    /// A codec that is sent only when asked for.
    #[must_use]
    pub const fn off() -> Self {
        Self { told: Quality::Off, lower_at: None, remind_at: None, reminders: 0 }
    }

    /// What was last told.
    #[must_use]
    pub const fn told(&self) -> Quality {
        self.told
    }

    /// This much is wanted now; `is_coming` says whether the publisher sends the codec or is about to. True if the publisher
    /// must be told.
    #[must_use]
    pub fn want(&mut self, now_ms: u64, quality: Quality, is_coming: bool) -> bool {
        if quality > self.told {
            *self = Self { told: quality, ..Self::off() };
            if !is_coming {
                self.remind_at = Some(now_ms + REMIND_MS);
            }
            return true;
        }
        if quality == self.told {
            self.lower_at = None;
            return self.must_remind(now_ms, is_coming);
        }
        if now_ms < *self.lower_at.get_or_insert(now_ms + SETTLE_MS) {
            return false;
        }
        *self = Self { told: quality, ..Self::off() };
        true
    }

    fn must_remind(&mut self, now_ms: u64, is_coming: bool) -> bool {
        let Some(at) = self.remind_at else { return false };
        if is_coming || self.reminders == REMINDERS_MAX {
            self.remind_at = None;
        }
        if self.remind_at.is_none() || now_ms < at {
            return false;
        }
        self.reminders += 1;
        self.remind_at = Some(now_ms + REMIND_MS);
        true
    }

    /// When [`Dynacast::want`] must be asked again even if nothing changes.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        [self.lower_at, self.remind_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_told_at_once_and_less_after_it_has_settled() {
        let mut dynacast = Dynacast::all_on();
        assert!(!dynacast.want(0, Quality::High, true));
        assert_eq!(dynacast.next(), None);
        assert!(!dynacast.want(1_000, Quality::Low, true));
        assert_eq!(dynacast.next(), Some(1_000 + SETTLE_MS));
        assert!(!dynacast.want(999 + SETTLE_MS, Quality::Low, true));
        assert!(dynacast.want(1_000 + SETTLE_MS, Quality::Low, true));
        assert_eq!((dynacast.told(), dynacast.next()), (Quality::Low, None));
        assert!(dynacast.want(9_000, Quality::Medium, true));
        assert_eq!(dynacast.told(), Quality::Medium);
    }

    #[test]
    fn a_wish_that_comes_back_in_time_is_never_noticed() {
        let mut dynacast = Dynacast::all_on();
        for round in 0..100 {
            assert!(!dynacast.want(round * 4_000, Quality::Off, true));
            assert!(!dynacast.want(round * 4_000 + SETTLE_MS - 1, Quality::High, true));
        }
        assert_eq!(dynacast.told(), Quality::High);
    }

    #[test]
    fn what_counts_at_the_end_of_the_pause_is_what_is_wanted_then() {
        let mut dynacast = Dynacast::all_on();
        assert!(!dynacast.want(0, Quality::Off, true));
        assert!(!dynacast.want(1_000, Quality::Medium, true));
        assert!(dynacast.want(SETTLE_MS, Quality::Low, true));
        assert_eq!(dynacast.told(), Quality::Low);
    }

    #[test]
    fn a_backup_is_asked_for_again_until_it_is_announced_and_not_for_ever() {
        let mut dynacast = Dynacast::off();
        assert!(dynacast.want(0, Quality::High, false));
        assert!(!dynacast.want(1, Quality::High, false));
        assert!(dynacast.want(REMIND_MS, Quality::High, false));
        assert!(!dynacast.want(REMIND_MS * 2, Quality::High, true));
        assert_eq!(dynacast.next(), None);
        let mut deaf = Dynacast::off();
        let asked = (0..100).filter(|step| deaf.want(step * REMIND_MS, Quality::High, false)).count();
        assert_eq!(asked, 1 + usize::from(REMINDERS_MAX));
        assert_eq!(deaf.next(), None);
    }

    #[test]
    fn a_layer_is_a_quality_by_its_place_and_the_best_is_everything() {
        let of = |count: usize| -> Vec<Quality> { (0..count).map(|i| Quality::of_layer(i, count)).collect() };
        assert_eq!(of(3), [Quality::Low, Quality::Medium, Quality::High]);
        assert_eq!(of(2), [Quality::Low, Quality::High]);
        assert_eq!(of(1), [Quality::High]);
        assert_eq!(Quality::of_layer(255, 3), Quality::High);
        assert_eq!(Quality::of_layer(0, 0), Quality::High);
    }
}
