//! How one receiver's link is shared among its video streams: a pure function of what each could be and what each is worth.
//!
//! Place: `budget` calls it a few times a second and when something changed. The caller has already taken audio off the budget:
//! video pauses before audio suffers.
//! Rule: in order of worth (shared screens, then what the receiver named, then the active speaker, then the rest by size) everybody
//! gets its lowest rung; then each group climbs, rung by rung and in turn, before the next group does. A camera climbs whole
//! (smooth before sharp), a screen takes sharpness first. Going up needs a little more room than staying, so that nothing flaps.
//! Promises: the sum of what is granted is within the budget; less is never granted without a reason; no allocation.

use super::ladder::{Ladder, RUNGS_MAX, Rung};
use crate::base::media::Content;
use crate::base::reason::Reason;
use crate::command::Wanted;

/// Percent of the budget that must hold a rung above the present one.
const CLIMB_PERCENT: u64 = 95;

/// A shared screen, the priority that the client named, an active speaker, the priority that its size tells.
type Worth = (bool, u8, bool, u8);

/// One stream that wants a share.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// What it shows.
    pub content: Content,
    /// What the receiver wants of it.
    pub wanted: Wanted,
    /// Its publisher speaks.
    pub speaks: bool,
    /// What its publisher offers; without rungs nothing comes and nothing is granted.
    pub ladder: Ladder,
    /// Qualities the publisher could offer, sending or not.
    pub quality_count: u8,
    /// Rung granted before, as quality and temporal layer; `None` when nothing was.
    pub current: Option<(u8, u8)>,
}

/// What a stream gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// `None` pauses it.
    pub rung: Option<Rung>,
    /// Why it is not everything.
    pub reason: Option<Reason>,
    /// How many of its steps it holds, and which rungs are steps: what `allocate` works with.
    step: u8,
    steps: Steps,
}

/// Which rungs of a ladder a stream may stand on: bit n is rung n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Steps(u16);

const _: () = assert!(RUNGS_MAX <= u16::BITS as usize, "one bit each");

impl Steps {
    const fn count(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// Step `step` of a demand, the first being 1.
    fn rung(self, demand: &Demand, step: u8) -> Option<&Rung> {
        let above = (1..step).fold(self.0, |bits, _| bits & bits.wrapping_sub(1));
        let index = if step == 0 { u16::BITS } else { above.trailing_zeros() };
        demand.ladder.rungs().get(index as usize)
    }

    fn cost(self, demand: &Demand, step: u8) -> u64 {
        self.rung(demand, step).map_or(0, |rung| u64::from(rung.bitrate_bps))
    }
}

impl Demand {
    /// What decides who comes first; larger is more.
    #[must_use]
    pub const fn worth(&self) -> Worth {
        let priority = self.wanted.priority;
        let (named, derived) = if priority >= Wanted::NAMED { (priority, 0) } else { (0, priority) };
        (matches!(self.content, Content::Screen), named, self.speaks, derived)
    }

    /// The rungs it may stand on, from least to most.
    fn steps(&self) -> Steps {
        if !self.wanted.enabled {
            return Steps::default();
        }
        let rungs = self.ladder.rungs();
        let lowest = rungs.first().map_or(0, |rung| rung.quality);
        // When even the lowest quality is above what is wanted, it is better than nothing.
        let top = self.wanted.layer_max.max(lowest);
        let may =
            |rung: &Rung| rung.quality <= top && self.is_slow_enough(rung) && self.is_step(rung, lowest);
        let bits = rungs.iter().enumerate().filter(|(_, rung)| may(rung)).map(|(index, _)| 1 << index);
        Steps(bits.fold(0, |all, bit: u16| all | bit))
    }

    /// Whether a rung has no more frames per second than are wanted.
    const fn is_slow_enough(&self, rung: &Rung) -> bool {
        let fps_max = self.wanted.fps_max;
        fps_max == 0
            || rung.temporal == 0
            || rung.fps <= fps_max.saturating_add(fps_max / 8).saturating_add(1)
    }

    /// A camera's upper qualities come with all temporal layers that are wanted; a screen's, and the lowest, with any.
    fn is_step(&self, rung: &Rung, lowest: u8) -> bool {
        let above = |other: &Rung| {
            other.quality == rung.quality && other.temporal > rung.temporal && self.is_slow_enough(other)
        };
        match self.content {
            Content::Screen => true,
            Content::Camera => rung.quality == lowest || !self.ladder.rungs().iter().any(above),
        }
    }

    /// The step it stands on now; 0 for none.
    fn current_step(&self, steps: Steps) -> u8 {
        let Some(current) = self.current else { return 0 };
        let below =
            |step: &u8| steps.rung(self, *step).is_some_and(|rung| (rung.quality, rung.temporal) <= current);
        (1..=steps.count()).filter(below).count() as u8
    }

    /// Bits per second of all that is wanted.
    #[must_use]
    pub fn cost_max(&self) -> u64 {
        let steps = self.steps();
        (1..=steps.count()).map(|step| steps.cost(self, step)).max().unwrap_or(0)
    }
}

/// What there is to share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bits per second; `None` without a limit.
    pub bps: Option<u64>,
    /// Whether what does not fit is paused. Before a link has been tried its budget is a guess, and everybody gets a lowest rung.
    pub pauses: bool,
}

/// Shares a budget; `grants` has one entry per demand.
pub fn allocate(budget: Budget, demands: &[Demand], grants: &mut [Grant]) {
    let budget_bps = budget.bps;
    for (demand, grant) in demands.iter().zip(grants.iter_mut()) {
        *grant = Grant { steps: demand.steps(), ..Grant::default() };
    }
    let mut spent = 0;
    // First everybody's lowest rung, then each group climbs as far as it can.
    for step_max in [1, u8::MAX] {
        let mut group = demands.iter().map(Demand::worth).max();
        while let Some(worth) = group {
            climb(budget_bps, demands, grants, worth, step_max, &mut spent);
            group = demands.iter().map(Demand::worth).filter(|other| *other < worth).max();
        }
    }
    let left_bps = budget_bps.map_or(u64::MAX, |budget| (budget * CLIMB_PERCENT / 100).saturating_sub(spent));
    // What more important streams hold.
    let mut taken_bps = 0;
    let mut group = demands.iter().map(Demand::worth).max();
    while let Some(worth) = group {
        let mut held_bps = 0;
        for (demand, grant) in demands.iter().zip(grants.iter_mut()).filter(|(d, _)| d.worth() == worth) {
            if !budget.pauses && grant.step == 0 && grant.steps.count() > 0 {
                grant.step = 1;
            }
            grant.rung = grant.steps.rung(demand, grant.step).copied();
            grant.reason = reason(demand, grant, left_bps, taken_bps);
            held_bps += grant.steps.cost(demand, grant.step);
        }
        taken_bps += held_bps;
        group = demands.iter().map(Demand::worth).filter(|other| *other < worth).max();
    }
}

/// Raises the streams of one worth in turn, one step each round, up to `step_max`.
fn climb(
    budget_bps: Option<u64>,
    demands: &[Demand],
    grants: &mut [Grant],
    worth: Worth,
    step_max: u8,
    spent: &mut u64,
) {
    loop {
        let mut raised = false;
        for (demand, grant) in demands.iter().zip(grants.iter_mut()).filter(|(d, _)| d.worth() == worth) {
            let next = grant.step + 1;
            if next > step_max || next > grant.steps.count() {
                continue;
            }
            let (now, then) = (grant.steps.cost(demand, grant.step), grant.steps.cost(demand, next));
            let total = *spent + then.saturating_sub(now);
            let is_new = next > demand.current_step(grant.steps);
            let fits = budget_bps.is_none_or(|budget| {
                let limit = if is_new { budget * CLIMB_PERCENT / 100 } else { budget };
                total <= limit
            });
            if fits {
                grant.step = next;
                *spent = total;
                raised = true;
            }
        }
        if !raised || step_max == 1 {
            return;
        }
    }
}

/// Why a stream does not get everything, when `left_bps` are left and more important streams hold `taken_bps`.
fn reason(demand: &Demand, grant: &Grant, left_bps: u64, taken_bps: u64) -> Option<Reason> {
    if !demand.wanted.enabled {
        return Some(Reason::ClientAskedLess);
    }
    if grant.step < grant.steps.count() {
        let cost = |step| grant.steps.cost(demand, step);
        let missing = cost(grant.step + 1).saturating_sub(cost(grant.step));
        return Some(if taken_bps > 0 && left_bps.saturating_add(taken_bps) >= missing {
            Reason::Priority
        } else {
            Reason::LinkEstimate
        });
    }
    let top = demand.ladder.rungs().last()?;
    if grant.rung.is_some_and(|rung| (rung.quality, rung.temporal) < (top.quality, top.temporal))
        || demand.wanted.layer_max.saturating_add(1) < demand.quality_count
    {
        return Some(Reason::ClientAskedLess);
    }
    (top.quality + 1 < demand.quality_count).then_some(Reason::PublisherSendsLess)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three qualities at 100, 400 and 1,600 kbit/s; the lower of two temporal layers has 60 % of each.
    fn camera() -> Demand {
        let mut ladder = Ladder::default();
        for (quality, kbps) in [(0, 100), (1, 400), (2, 1_600)] {
            for (temporal, percent, fps) in [(0, 60, 15), (1, 100, 30)] {
                ladder.push(Rung { quality, temporal, bitrate_bps: kbps * 10 * percent, fps });
            }
        }
        Demand {
            content: Content::Camera,
            wanted: Wanted::ALL,
            speaks: false,
            ladder,
            quality_count: 3,
            current: None,
        }
    }

    /// Quality and temporal layer granted, and why not more.
    type Share = (Option<(u8, u8)>, Option<Reason>);

    fn share(budget_kbps: u64, demands: &[Demand]) -> Vec<Share> {
        let mut grants = vec![Grant::default(); demands.len()];
        allocate(Budget { bps: Some(budget_kbps * 1_000), pauses: true }, demands, &mut grants);
        let total: u64 = grants.iter().filter_map(|g| g.rung).map(|r| u64::from(r.bitrate_bps)).sum();
        assert!(total <= budget_kbps * 1_000);
        grants.iter().map(|g| (g.rung.map(|rung| (rung.quality, rung.temporal)), g.reason)).collect()
    }

    #[test]
    fn a_stream_takes_what_the_link_carries_and_says_why_it_is_not_more() {
        let link = Some(Reason::LinkEstimate);
        assert_eq!(share(2_000, &[camera()]), [(Some((2, 1)), None)]);
        assert_eq!(share(1_000, &[camera()]), [(Some((1, 1)), link)]);
        assert_eq!(share(300, &[camera()]), [(Some((0, 1)), link)]);
        assert_eq!(share(80, &[camera()]), [(Some((0, 0)), link)]);
        assert_eq!(share(40, &[camera()]), [(None, link)]);
    }

    #[test]
    fn everybody_gets_something_before_anybody_gets_more() {
        let found = share(600, &[camera(); 5]);
        assert!(found.iter().all(|(rung, _)| *rung == Some((0, 1))), "{found:?}");
        let found = share(200, &[camera(); 5]);
        assert_eq!(found.iter().filter(|(rung, _)| rung.is_none()).count(), 2, "{found:?}");
    }

    #[test]
    fn a_shared_screen_comes_first_and_is_sharp_before_smooth() {
        let screen = Demand { content: Content::Screen, ..camera() };
        let found = share(1_300, &[camera(), screen]);
        assert_eq!(found[1].0, Some((2, 0)), "1,600 kbit/s do not fit, 960 do");
        assert_eq!(found[0], (Some((0, 1)), Some(Reason::Priority)));
        // Also when the screen has but one way to be sent, which leaves nothing.
        let mut only = Ladder::default();
        only.push(Rung { quality: 0, temporal: 0, bitrate_bps: 1_200_000, fps: 5 });
        let found = share(1_280, &[camera(), Demand { ladder: only, quality_count: 1, ..screen }]);
        assert_eq!(found[0], (None, Some(Reason::Priority)));
    }

    #[test]
    fn pinned_and_speaking_streams_climb_before_the_rest() {
        let pinned = Demand { wanted: Wanted { priority: Wanted::NAMED, ..Wanted::ALL }, ..camera() };
        let speaker = Demand { speaks: true, ..camera() };
        let found = share(2_400, &[camera(), speaker, pinned]);
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [Some((0, 1)), Some((1, 1)), Some((2, 1))]);
        assert_eq!(found[0].1, Some(Reason::Priority));
        let large = Demand { wanted: Wanted { priority: 3, ..Wanted::ALL }, ..camera() };
        let found = share(2_400, &[camera(), large, speaker]);
        assert_eq!(found[2].0, Some((2, 1)), "who speaks comes before a large tile");
        assert_eq!(found[1].0, Some((1, 1)));
    }

    #[test]
    fn what_the_client_asks_for_is_the_top() {
        let small = Demand { wanted: Wanted { layer_max: 0, ..Wanted::ALL }, ..camera() };
        assert_eq!(share(9_000, &[small]), [(Some((0, 1)), Some(Reason::ClientAskedLess))]);
        for content in [Content::Screen, Content::Camera] {
            let slow = Demand { wanted: Wanted { fps_max: 15, ..Wanted::ALL }, content, ..camera() };
            assert_eq!(share(9_000, &[slow]), [(Some((2, 0)), Some(Reason::ClientAskedLess))]);
        }
        let off = Demand { wanted: Wanted::NOTHING, ..camera() };
        assert_eq!(share(9_000, &[off]), [(None, Some(Reason::ClientAskedLess))]);
    }

    #[test]
    fn a_publisher_that_sends_less_is_named() {
        let mut ladder = Ladder::default();
        ladder.push(Rung { quality: 0, temporal: 0, bitrate_bps: 100_000, fps: 15 });
        let short = Demand { ladder, ..camera() };
        assert_eq!(share(9_000, &[short]), [(Some((0, 0)), Some(Reason::PublisherSendsLess))]);
        let silent = Demand { ladder: Ladder::default(), ..camera() };
        assert_eq!(share(9_000, &[silent]), [(None, None)], "a camera that is off is not less than it is");
    }

    #[test]
    fn going_up_needs_more_room_than_staying() {
        let there = Demand { current: Some((1, 1)), ..camera() };
        assert_eq!(share(405, &[there])[0].0, Some((1, 1)));
        assert_eq!(share(405, &[camera()])[0].0, Some((0, 1)));
    }

    #[test]
    fn without_a_limit_everything_is_granted() {
        let mut grants = [Grant::default(); 2];
        allocate(Budget { bps: None, pauses: true }, &[camera(), camera()], &mut grants);
        assert!(grants.iter().all(|g| g.rung.is_some_and(|rung| rung.quality == 2) && g.reason.is_none()));
    }

    #[test]
    fn nobody_is_paused_by_a_guess() {
        let mut grants = [Grant::default(); 3];
        allocate(Budget { bps: Some(100_000), pauses: false }, &[camera(); 3], &mut grants);
        assert!(grants.iter().all(|g| g.rung.is_some_and(|rung| (rung.quality, rung.temporal) == (0, 0))));
        assert!(grants.iter().all(|g| g.reason == Some(Reason::LinkEstimate)));
    }
}
