//! Loss: shown always, acted on only when it is more than a bad radio link makes and lasts (draft-ietf-rmcat-gcc-02 section 6).
//!
//! Path: counted per reported packet, judged when a window is full. A queue that overflows shows as delay first; loss alone is
//! either random, and then a lower rate would not help, or a policer's, and then it is large.
//! Promises: random loss up to 10 % costs little; a window lost for half costs at once.

use crate::base::time::Micros;

/// A window is full with this many packets after this time; with fewer after a long time.
const PACKETS: u32 = 60;
const WINDOW_US: u64 = 300_000;
const PACKETS_MIN: u32 = 20;
const WINDOW_US_MAX: u64 = 3_000_000;
/// Loss that is congestion, thousandths, above what the link loses anyway.
const CONGESTION: u32 = 100;
/// What a link is believed to lose anyway, at most.
const USUAL_MAX: u32 = 50;
/// So much counts for two windows, and so much is beyond doubt at once.
const LARGE: u32 = 300;
const OBVIOUS: u32 = 500;
/// Windows in a row that are enough: a burst touches two.
const WINDOWS: u32 = 3;
/// If too high a rate made the loss, a rate lower by as much ends it; what is still lost then is not lost for the rate. For this long
/// loss takes no more than that.
const EPISODE_US: u64 = 10_000_000;
/// Loss below this lets the rate grow whatever came before.
const CALM: u32 = 20;

/// What a full window asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// The rate falls to this, bits per second.
    Congested(u64),
}

/// Loss of one peer's link.
#[derive(Clone, Debug, Default)]
pub(super) struct Loss {
    received: u32,
    lost: u32,
    begun: Option<Micros>,
    /// Loss of the last window, thousandths.
    last: u32,
    /// Windows in a row that were congested, the bad ones twice.
    congested: u32,
    /// Mean over windows, 16 x thousandths.
    mean_16: u32,
    episode: Option<Episode>,
}

/// What loss may take from the rate until it ends.
#[derive(Clone, Copy, Debug)]
struct Episode {
    begun: Micros,
    rate_bps: u64,
    /// Largest loss of a window, thousandths.
    worst: u32,
}

impl Loss {
    /// Counts a packet that arrived; `late` if it had been counted as lost.
    pub(super) const fn handle_received(&mut self, late: bool) {
        self.received += 1;
        if late {
            self.lost = self.lost.saturating_sub(1);
        }
    }

    /// Counts a packet that was reported missing.
    pub(super) const fn handle_lost(&mut self) {
        self.lost += 1;
    }

    /// Ends the window if it is full.
    pub(super) fn judge(&mut self, now: Micros, rate_bps: u64) -> Option<Verdict> {
        let passed_us = now.since_us(*self.begun.get_or_insert(now));
        let total = self.received + self.lost;
        let full = (total >= PACKETS && passed_us >= WINDOW_US)
            || (total >= PACKETS_MIN && passed_us >= WINDOW_US_MAX);
        if !full {
            return None;
        }
        self.last = self.lost * 1_000 / total;
        let usual = (self.mean_16 / 16).min(USUAL_MAX);
        self.mean_16 = self.mean_16 - self.mean_16 / 8 + 2 * self.last;
        (self.received, self.lost, self.begun) = (0, 0, Some(now));
        if self.last <= CONGESTION + usual {
            self.congested = 0;
            return Some(Verdict::Fine);
        }
        self.congested = self.congested.saturating_add(if self.last >= LARGE { 2 } else { 1 });
        let certain = self.congested >= WINDOWS || self.last >= OBVIOUS;
        Some(if certain { Verdict::Congested(self.target_bps(now, rate_bps)) } else { Verdict::Fine })
    }

    /// Half of the loss less, but not below what the episode leaves.
    fn target_bps(&mut self, now: Micros, rate_bps: u64) -> u64 {
        let fresh = Episode { begun: now, rate_bps, worst: 0 };
        let episode = match &mut self.episode {
            Some(episode) if now.since_us(episode.begun) < EPISODE_US => episode,
            other => other.insert(fresh),
        };
        episode.worst = episode.worst.max(self.last);
        let left_bps = episode.rate_bps * u64::from(1_000 - episode.worst.min(1_000)) / 1_000;
        (rate_bps * u64::from(2_000 - self.last.min(1_000)) / 2_000).max(left_bps).min(rate_bps)
    }

    /// Whether the rate may grow.
    pub(super) const fn is_calm(&self) -> bool {
        self.congested == 0 || self.last <= CALM
    }

    /// Whether the last window lost more than links do that are not full.
    pub(super) const fn is_large(&self) -> bool {
        self.last > USUAL_MAX
    }

    /// Mean loss in 256ths, as receiver reports have it.
    pub(super) fn fraction(&self) -> u8 {
        (self.mean_16 * 16 / 1_000).min(255) as u8
    }

    /// Forgets the window.
    pub(super) const fn restart(&mut self) {
        (self.received, self.lost, self.begun) = (0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// Windows of 100 packets every 500 ms; answers the verdicts.
    fn run(loss: &mut Loss, windows: u64, mut lost: impl FnMut() -> bool) -> Vec<Verdict> {
        let from = Micros(1_000_000);
        let mut rate_bps = 1_000_000;
        loss.begun = Some(from);
        (1..=windows)
            .filter_map(|window| {
                (0..100).for_each(|_| if lost() { loss.handle_lost() } else { loss.handle_received(false) });
                let verdict = loss.judge(from.after_ms(500 * window), rate_bps);
                if let Some(Verdict::Congested(bps)) = verdict {
                    rate_bps = bps;
                }
                verdict
            })
            .collect()
    }

    #[test]
    fn five_percent_at_random_is_no_congestion_even_in_bursts() {
        let mut rng = Rng::new(3);
        let mut loss = Loss::default();
        assert!(run(&mut loss, 200, || rng.chance_ppm(50_000)).iter().all(|v| *v == Verdict::Fine));
        assert!((8..18).contains(&loss.fraction()), "{}", loss.fraction());
        let mut burst = 0;
        let verdicts = run(&mut loss, 200, || {
            burst = if burst > 0 {
                burst - 1
            } else if rng.chance_ppm(5_000) {
                10
            } else {
                0
            };
            burst > 0
        });
        let congested = verdicts.iter().filter(|verdict| **verdict != Verdict::Fine).count();
        assert!(congested < 10, "{congested} of 200");
    }

    #[test]
    fn a_policer_is_congestion_at_once_and_lasting_loss_in_the_third_window() {
        let mut loss = Loss::default();
        assert!(matches!(run(&mut loss, 1, || true)[..], [Verdict::Congested(500_000)]));
        let mut rng = Rng::new(4);
        let mut loss = Loss::default();
        let verdicts = run(&mut loss, 12, || rng.chance_ppm(250_000));
        assert_eq!(verdicts[0], Verdict::Fine);
        assert!(verdicts[2..].iter().all(|verdict| matches!(verdict, Verdict::Congested(_))), "{verdicts:?}");
        assert!(
            matches!(verdicts[11], Verdict::Congested(600_000..750_000)),
            "no more than was lost: {verdicts:?}"
        );
        assert!(!loss.is_calm());
    }

    #[test]
    fn a_packet_that_comes_late_was_not_lost() {
        let mut loss = Loss::default();
        loss.judge(Micros(0), 0);
        (0..100).for_each(|_| loss.handle_lost());
        (0..100).for_each(|_| loss.handle_received(true));
        assert_eq!(loss.judge(Micros(1_000_000), 0), Some(Verdict::Fine));
        assert_eq!(loss.fraction(), 0);
    }
}
