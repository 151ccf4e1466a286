//! Clients without transport-wide feedback: loss and round trip from receiver reports, and the receiver's own estimate (REMB) if it
//! makes one.
//!
//! Path: about once a second. The round trip above the lowest seen is what stands in queues, so the reports close the loop that
//! transport-wide feedback would, a second late. A REMB that falls is followed at once, one that stands is a limit and approached
//! slowly; one that rises below our rate, or stands well above what it gets, knows nothing beyond that and is no limit. Some clients
//! (aiortc) estimate each stream by itself: what the others get comes on top, and each estimate has a past of its own.
//! Promises: no single number from the network moves the rate beyond its limits, or up by more than a third for each second since the
//! one before, and never to more than twice.
//! Not here: probes. Without them a rate is found by exceeding it, so a link of this kind is overrun for a second now and then.

use crate::base::ids::Ssrc;
use crate::base::time::Micros;

/// Reports are judged no more often than this.
const REPORTS_US: u64 = 900_000;
/// A REMB counts for this long, and one that did not move for so long stands.
const REMB_US: u64 = 5_000_000;
const REMB_STANDS_US: u64 = 3_000_000;
/// What stands above this much of what its streams get, percent, was never reached: such an estimate grows to half more and stops.
const REMB_REACHED_PERCENT: u64 = 125;
/// A REMB that falls while reports of no more than this ago say that nothing waits and nothing is lost is doubted until the next.
const DOUBT_US: u64 = 2_500_000;
/// Estimates of one peer that are told apart; the longest silent gives way.
const REMBS: usize = 8;
/// More than this is a lie or a receiver that measures nothing.
const REMB_BPS_MAX: u64 = 10_000_000_000;
/// More packets than this no stream gets in the time of a report, 10 s of 5 Mbit/s: the report says nothing about how many.
const PACKETS_MAX: u32 = 5_000;
/// Loss in 256ths: growth below 5 %, fall above 10 %.
const CALM: u32 = 13;
const CONGESTED: u32 = 26;
/// Round trip above the lowest: growth below the first, fall above the second.
const QUEUE_US_CALM: u32 = 25_000;
const QUEUE_US_CONGESTED: u32 = 50_000;
/// The lowest round trip is that of the last 10 to 20 s.
const LOWEST_US: u64 = 10_000_000;
/// A fall shows in the reports after this long. Loss of more than a quarter, in 256ths, is no rest of what was sent before.
const EFFECT_US: u64 = 2_000_000;
const OVERRUN: u32 = 64;
/// Growth per second, thousandths: before the first congestion, below what the link carried then, near that, and beyond. What grows
/// faster exceeds the link by more than a tenth before reports show it.
const GROWTH_FIRST: u64 = 350;
const GROWTH_BELOW: u64 = 80;
const GROWTH_NEAR: u64 = 20;
const GROWTH_BEYOND: u64 = 40;
/// Reports may be seconds apart (RFC 3550 section 6.2: five); one makes up for that long, and for so much growth, thousandths, before
/// the first congestion and after it.
const REPORTED_US_MAX: u64 = 5_000_000;
const GROWTH_FIRST_MAX: u64 = 1_000;
const GROWTH_MAX: u64 = 150;
/// Near is within these of what the link carried when it was full, percent.
const NEAR_PERCENT: u64 = 80;
const BEYOND_PERCENT: u64 = 115;
/// For this long after a congestion, what is sent proves the rate up to this much more, thousandths.
const UNPROVEN_US: u64 = 10_000_000;
const UNPROVEN: u64 = 1_250;
/// Kept of what arrived when the link was full, thousandths: at least, and once its queue is empty.
const KEEP_MIN: u64 = 600;
const KEEP: u64 = 930;

/// What clients without transport-wide feedback told.
#[derive(Clone, Debug, Default)]
pub(super) struct Fallback {
    /// Of the reports that are judged together: packets, and 256 times those lost.
    packets: u32,
    lost_256: u32,
    /// Lowest round trip of the reports that are judged together; 0 for none.
    trip_us: u32,
    judged: Option<Micros>,
    /// What stood in queues then.
    queue_us: u32,
    fraction: u8,
    /// Lowest round trips of this and the last span, and when this began.
    lowest_us: [u32; 2],
    span: Option<Micros>,
    /// What arrived when the link was last full; 0 before it ever was.
    capacity_bps: u64,
    congested: Option<Micros>,
    /// To be taken again once the queue is empty; 0 for nothing.
    restore_bps: u64,
    rembs: [Option<Remb>; REMBS],
    /// Whether the last reports were calm.
    calm: bool,
    /// What a REMB asked for that is doubted.
    doubted_bps: Option<u64>,
}

/// A receiver's own estimate (REMB), and what is sent meanwhile, bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiverEstimate {
    /// The first stream it is about; `None` when it is about all.
    pub about: Option<Ssrc>,
    /// For the streams it is about.
    pub bps: u64,
    /// What these get; 0 for nothing, or if that is not known.
    pub listed_bps: u64,
    /// What all others get.
    pub others_bps: u64,
}

#[derive(Clone, Copy, Debug)]
struct Remb {
    about: Option<Ssrc>,
    at: Micros,
    /// When it last moved, and where it stood then.
    moved: Micros,
    bps: u64,
}

/// What is known of the sender when reports are judged, bits per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// The rate.
    pub rate_bps: u64,
    /// What was sent lately.
    pub sent_bps: u64,
}

/// Whether a receiver can have estimated this rate.
pub(super) const fn is_possible(bps: u64) -> bool {
    bps > 0 && bps <= REMB_BPS_MAX
}

impl Fallback {
    /// Takes a receiver's estimate; answers the rate it asks for at once, if it asks for another.
    pub(super) fn handle_remb(
        &mut self,
        now: Micros,
        estimate: ReceiverEstimate,
        rate_bps: u64,
    ) -> Option<u64> {
        let ReceiverEstimate { about, bps, listed_bps, others_bps } = estimate;
        if !is_possible(bps) {
            return None;
        }
        let slot = self.remb_slot(about);
        let before = slot.filter(|remb| remb.about == about && now.since_us(remb.at) < REMB_US);
        let (falls, rises) = before
            .map_or((false, false), |before| (bps * 100 < before.bps * 97, bps * 100 > before.bps * 101));
        let stood = before.filter(|_| !falls && !rises);
        let remb =
            stood.map_or(Remb { about, at: now, moved: now, bps }, |before| Remb { at: now, ..before });
        *slot = Some(remb);
        let total_bps = bps.saturating_add(others_bps);
        if total_bps >= rate_bps || rises {
            return None;
        }
        if falls {
            // A busy receiver takes its own pauses for a queue; its round trips, of which the lowest counts, seldom do.
            if self.calm && self.judged.is_some_and(|at| now.since_us(at) < DOUBT_US) {
                self.doubted_bps = Some(self.doubted_bps.map_or(total_bps, |bps| bps.min(total_bps)));
                return None;
            }
            return Some(self.fall(now, total_bps));
        }
        let reached = listed_bps == 0 || bps * 100 < listed_bps.saturating_mul(REMB_REACHED_PERCENT);
        (reached && now.since_us(remb.moved) >= REMB_STANDS_US).then(|| total_bps.max(rate_bps * 19 / 20))
    }

    /// The receiver's estimate is what its link carries.
    fn fall(&mut self, now: Micros, total_bps: u64) -> u64 {
        self.capacity_bps = total_bps;
        self.congested = Some(now);
        self.restore_bps = 0;
        total_bps
    }

    /// Where the estimate about this stream is kept: its place, else a free one, else that of the longest silent.
    fn remb_slot(&mut self, about: Option<Ssrc>) -> &mut Option<Remb> {
        let place = |remb: &Option<Remb>| match remb {
            Some(remb) if remb.about == about => (0, Micros(0)),
            None => (1, Micros(0)),
            Some(remb) => (2, remb.at),
        };
        let found = (0..REMBS).min_by_key(|nth| place(&self.rembs[*nth])).unwrap_or(0);
        &mut self.rembs[found]
    }

    /// Takes one report block: what fraction of how many packets was lost, and its round trip, 0 for none.
    pub(super) fn handle_report(&mut self, packets: u32, fraction_lost: u8, trip_us: u32) {
        let packets = if (1..=PACKETS_MAX).contains(&packets) { packets } else { 1 };
        self.packets = self.packets.saturating_add(packets);
        self.lost_256 = self.lost_256.saturating_add(packets * u32::from(fraction_lost));
        if trip_us > 0 && (self.trip_us == 0 || trip_us < self.trip_us) {
            self.trip_us = trip_us;
        }
    }

    /// Judges the reports of about a second, once all blocks of a datagram are taken; answers the rate that follows.
    pub(super) fn judge(&mut self, now: Micros, sending: Sending) -> Option<u64> {
        if self.packets == 0 || self.judged.is_some_and(|at| now.since_us(at) < REPORTS_US) {
            return None;
        }
        let fraction = self.lost_256 / self.packets;
        self.fraction = fraction.min(255) as u8;
        let queue_us = self.queue_us(now);
        let passed_us = self.judged.map_or(0, |at| now.since_us(at)).clamp(1_000_000, REPORTED_US_MAX);
        // What the queue grew by was sent and did not arrive.
        let grown_us = u64::from(queue_us.saturating_sub(std::mem::replace(&mut self.queue_us, queue_us)));
        let sent_bps = sending.sent_bps * passed_us / (passed_us + grown_us.min(passed_us));
        let sending = Sending { sent_bps, ..sending };
        (self.packets, self.lost_256, self.trip_us, self.judged) = (0, 0, 0, Some(now));
        self.calm = fraction <= CALM && queue_us <= QUEUE_US_CALM;
        let doubted_bps = self.doubted_bps.take().filter(|bps| !self.calm && *bps < sending.rate_bps);
        if let Some(bps) = doubted_bps {
            return Some(self.fall(now, bps));
        }
        self.moved(now, passed_us, fraction, queue_us, sending)
    }

    /// Loss of the last reports, 256ths.
    pub(super) const fn fraction(&self) -> u8 {
        self.fraction
    }

    /// Round trip above the lowest.
    fn queue_us(&mut self, now: Micros) -> u32 {
        if self.trip_us == 0 {
            return 0;
        }
        if self.span.is_none_or(|begun| now.since_us(begun) >= LOWEST_US) {
            self.span = Some(now);
            self.lowest_us = [u32::MAX, self.lowest_us[0].max(1)];
            if self.lowest_us[1] == 1 {
                self.lowest_us[1] = u32::MAX;
            }
        }
        self.lowest_us[0] = self.lowest_us[0].min(self.trip_us);
        self.trip_us - self.lowest_us[0].min(self.lowest_us[1])
    }

    fn moved(
        &mut self,
        now: Micros,
        passed_us: u64,
        fraction: u32,
        queue_us: u32,
        sending: Sending,
    ) -> Option<u64> {
        let Sending { rate_bps, sent_bps } = sending;
        if fraction > CONGESTED || queue_us > QUEUE_US_CONGESTED {
            if fraction <= OVERRUN && self.congested.is_some_and(|at| now.since_us(at) < EFFECT_US) {
                return None;
            }
            self.congested = Some(now);
            // A client that reports loss of what was hardly sent reports nothing about the rate.
            let arrived_bps = sent_bps * u64::from(256 - fraction.min(256)) / 256;
            let full_bps =
                if sent_bps * 2 > rate_bps { arrived_bps.clamp(rate_bps / 2, rate_bps) } else { rate_bps };
            self.capacity_bps = full_bps;
            self.restore_bps = full_bps * KEEP / 1_000;
            // What stands in the queue leaves within about a second.
            let keep = 1_000_u64.saturating_sub(u64::from(queue_us) / 1_000).clamp(KEEP_MIN, KEEP);
            let lost = if queue_us > QUEUE_US_CONGESTED { 0 } else { u64::from(fraction) * 500 / 256 };
            return Some(full_bps * (keep - lost.min(keep / 2)) / 1_000);
        }
        if fraction > CALM || queue_us > QUEUE_US_CALM {
            return None;
        }
        let restored_bps = rate_bps.max(std::mem::take(&mut self.restore_bps));
        let Some(congested) = self.congested else {
            let growth = (GROWTH_FIRST * passed_us / 1_000_000).min(GROWTH_FIRST_MAX);
            return Some(rate_bps * (1_000 + growth) / 1_000);
        };
        let growth = match restored_bps * 100 / self.capacity_bps.max(1) {
            ..NEAR_PERCENT => GROWTH_BELOW,
            NEAR_PERCENT..BEYOND_PERCENT => GROWTH_NEAR,
            _ => GROWTH_BEYOND,
        };
        let growth = (growth * passed_us / 1_000_000).min(GROWTH_MAX);
        let unproven = now.since_us(congested) < UNPROVEN_US;
        let proven_bps = if unproven { sent_bps * UNPROVEN / 1_000 } else { u64::MAX };
        let grown_bps = restored_bps * (1_000 + growth) / 1_000;
        Some(grown_bps.min(proven_bps.max(restored_bps)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of `link_bps` with a queue of at most 300 ms, sent what the rate allows and reported about once a second; answers
    /// the rates and what was sent over what the link carries, both by second.
    fn run(
        fallback: &mut Fallback,
        from_s: u64,
        through_s: u64,
        link_bps: u64,
        mut rate_bps: u64,
    ) -> Vec<u64> {
        let mut queue_us = 0_u64;
        (from_s..through_s)
            .map(|second| {
                let sent_bps = rate_bps;
                let grown_us = (queue_us * link_bps / 1_000_000 + sent_bps).saturating_sub(link_bps);
                let full_us = grown_us * 1_000_000 / link_bps;
                queue_us = full_us.min(300_000);
                let lost_bps = (full_us - queue_us) * link_bps / 1_000_000;
                let fraction = (lost_bps * 256 / sent_bps) as u8;
                let now = Micros(second * 1_000_000);
                (0..4).for_each(|_| fallback.handle_report(50, fraction, 80_000 + queue_us as u32));
                if let Some(bps) = fallback.judge(now, Sending { rate_bps, sent_bps }) {
                    rate_bps = bps;
                }
                rate_bps
            })
            .collect()
    }

    #[test]
    fn a_link_is_found_in_seconds_and_hardly_exceeded_from_then_on() {
        for link_bps in [300_000, 1_000_000, 5_000_000] {
            let mut fallback = Fallback::default();
            let rates = run(&mut fallback, 1, 60, link_bps, 600_000);
            let later = &rates[11..];
            let mean_bps = later.iter().sum::<u64>() / later.len() as u64;
            let highest_bps = later.iter().max().copied().unwrap_or(0);
            assert!(mean_bps * 100 >= link_bps * 85, "{mean_bps} of {link_bps}: {rates:?}");
            assert!(highest_bps * 100 <= link_bps * 107, "{highest_bps} of {link_bps}: {rates:?}");
        }
    }

    #[test]
    fn a_link_that_shrinks_is_left_and_found_again() {
        let mut fallback = Fallback::default();
        run(&mut fallback, 1, 20, 3_000_000, 600_000);
        let rates = run(&mut fallback, 20, 40, 500_000, 2_800_000);
        assert!(rates[8..].iter().all(|bps| (300_000..=550_000).contains(bps)), "{rates:?}");
        let rates = run(&mut fallback, 40, 120, 3_000_000, 500_000);
        assert!(rates.last().is_some_and(|bps| *bps > 1_500_000), "{rates:?}");
    }

    #[test]
    fn what_stands_in_a_queue_did_not_arrive() {
        let mut fallback = Fallback::default();
        let sending = Sending { rate_bps: 1_300_000, sent_bps: 1_300_000 };
        fallback.handle_report(50, 0, 80_000);
        fallback.judge(Micros(1_000_000), sending);
        fallback.handle_report(50, 0, 380_000);
        let fallen_bps = fallback.judge(Micros(2_000_000), sending).expect("0.3 s of queue within a second");
        assert!(fallen_bps <= 700_000, "{fallen_bps}: the queue empties");
        assert_eq!(fallback.capacity_bps, 1_000_000, "of a link of 1 Mbit/s");
        fallback.handle_report(50, 0, 80_000);
        let sending = Sending { rate_bps: fallen_bps, sent_bps: fallen_bps };
        let restored_bps = fallback.judge(Micros(4_000_000), sending).expect("the queue is gone");
        assert!((900_000..1_000_000).contains(&restored_bps), "{restored_bps}");
    }

    #[test]
    fn a_link_that_breaks_down_is_left_within_seconds() {
        let mut fallback = Fallback::default();
        run(&mut fallback, 1, 20, 3_000_000, 600_000);
        let rates = run(&mut fallback, 20, 30, 400_000, 2_400_000);
        assert!(rates[4..].iter().all(|bps| (150_000..=500_000).contains(bps)), "{rates:?}");
    }

    #[test]
    fn who_reports_every_five_seconds_gets_a_link_back_as_others_do() {
        let mut fallback = Fallback::default();
        let mut rate_bps = 1_000_000;
        for second in (5..).step_by(5).take(12) {
            let fraction = if second == 5 { 128 } else { 0 };
            fallback.handle_report(200, fraction, 80_000);
            let sending = Sending { rate_bps, sent_bps: rate_bps };
            rate_bps = fallback.judge(Micros(second * 1_000_000), sending).unwrap_or(rate_bps);
            assert!(second > 5 || rate_bps < 500_000, "{rate_bps}");
        }
        assert!((900_000..2_500_000).contains(&rate_bps), "{rate_bps}");
    }

    #[test]
    fn random_loss_of_a_few_percent_is_no_congestion() {
        let mut fallback = Fallback::default();
        let mut rate_bps = 600_000;
        for second in 1..30 {
            fallback.handle_report(50, if second % 3 == 0 { 20 } else { 8 }, 80_000);
            let sending = Sending { rate_bps, sent_bps: rate_bps };
            rate_bps = fallback.judge(Micros(second * 1_000_000), sending).unwrap_or(rate_bps);
        }
        assert!(rate_bps > 10_000_000, "{rate_bps}");
    }

    fn of_all(bps: u64) -> ReceiverEstimate {
        ReceiverEstimate { bps, ..ReceiverEstimate::default() }
    }

    #[test]
    fn a_falling_receiver_estimate_is_taken_a_standing_one_approached_and_a_rising_one_no_limit() {
        let mut fallback = Fallback::default();
        let at = |second: u64| Micros(second * 1_000_000);
        assert_eq!(fallback.handle_remb(at(0), of_all(300_000), 600_000), None, "it may be a beginning");
        assert_eq!(fallback.handle_remb(at(1), of_all(320_000), 600_000), None);
        assert_eq!(fallback.handle_remb(at(2), of_all(250_000), 600_000), Some(250_000));
        assert_eq!(fallback.handle_remb(at(3), of_all(5_000_000), 250_000), None);
        for second in 4..7 {
            let asked = fallback.handle_remb(at(second), of_all(5_000_000), 9_000_000);
            assert_eq!(asked.is_some(), second == 6);
        }
        for absurd in [0, u64::MAX, REMB_BPS_MAX + 1] {
            assert_eq!(fallback.handle_remb(at(7), of_all(absurd), 250_000), None);
        }
    }

    #[test]
    fn estimates_of_single_streams_are_told_apart_and_leave_the_others_their_rates() {
        let mut fallback = Fallback::default();
        let about = |ssrc, bps, listed_bps| ReceiverEstimate {
            about: Some(Ssrc(ssrc)),
            bps,
            listed_bps,
            others_bps: 1_000_000 - listed_bps,
        };
        // Two streams of 150 and 600 kbit/s beside sound: neither estimate is a fall of the other, nor a limit for both.
        for half_second in 0..20 {
            let now = Micros(half_second * 500_000);
            assert_eq!(fallback.handle_remb(now, about(1, 160_000, 150_000), 1_000_000), None, "{now:?}");
            assert_eq!(fallback.handle_remb(now, about(2, 640_000, 600_000), 1_000_000), None, "{now:?}");
        }
        let now = Micros(10_000_000);
        assert_eq!(fallback.handle_remb(now, about(2, 300_000, 600_000), 1_000_000), Some(700_000));
        assert_eq!(fallback.handle_remb(now, about(1, 100_000, 150_000), 700_000), None, "950 and no less");
    }

    #[test]
    fn an_estimate_that_stands_far_above_what_its_stream_gets_is_no_limit() {
        let mut fallback = Fallback::default();
        // 400 kbit/s of which a stream of 250 is sent, and nothing else fits: 650 would.
        let untried =
            ReceiverEstimate { about: Some(Ssrc(1)), bps: 385_000, listed_bps: 250_000, others_bps: 20_000 };
        for second in 0..20 {
            assert_eq!(fallback.handle_remb(Micros(second * 1_000_000), untried, 650_000), None);
        }
        let reached = ReceiverEstimate { listed_bps: 350_000, ..untried };
        assert_eq!(fallback.handle_remb(Micros(20_000_000), reached, 650_000), Some(617_500));
    }

    #[test]
    fn a_fall_that_reports_know_nothing_of_is_doubted_until_they_do() {
        let mut fallback = Fallback::default();
        let at = |ms: u64| Micros(ms * 1_000);
        let sending = Sending { rate_bps: 1_000_000, sent_bps: 900_000 };
        let report = |fallback: &mut Fallback, ms, trip_us| {
            fallback.handle_report(50, 0, trip_us);
            fallback.judge(at(ms), sending)
        };
        assert_eq!(fallback.handle_remb(at(0), of_all(900_000), 1_000_000), None);
        report(&mut fallback, 100, 80_000);
        assert_eq!(fallback.handle_remb(at(500), of_all(700_000), 1_000_000), None, "nothing waits");
        assert!(
            report(&mut fallback, 1_100, 90_000).is_some_and(|bps| bps > 1_000_000),
            "and it was nothing"
        );
        assert_eq!(fallback.handle_remb(at(1_500), of_all(500_000), 1_000_000), None);
        assert_eq!(report(&mut fallback, 2_100, 120_000), Some(500_000), "a queue of 40 ms");
        assert_eq!(fallback.handle_remb(at(2_500), of_all(400_000), 500_000), Some(400_000), "at once then");
    }

    #[test]
    fn of_too_many_estimates_the_longest_silent_is_forgotten() {
        let mut fallback = Fallback::default();
        for ssrc in 0..=REMBS as u32 {
            let estimate =
                ReceiverEstimate { about: Some(Ssrc(ssrc + 1)), bps: 300_000, ..ReceiverEstimate::default() };
            assert_eq!(fallback.handle_remb(Micros(u64::from(ssrc) * 1_000), estimate, 600_000), None);
        }
        let fall =
            |ssrc| ReceiverEstimate { about: Some(Ssrc(ssrc)), bps: 200_000, ..ReceiverEstimate::default() };
        assert_eq!(fallback.handle_remb(Micros(20_000), fall(2), 600_000), Some(200_000));
        assert_eq!(fallback.handle_remb(Micros(20_000), fall(1), 600_000), None, "a beginning again");
    }

    #[test]
    fn blocks_are_judged_together_once_a_second() {
        let mut fallback = Fallback::default();
        let sending = Sending { rate_bps: 600_000, sent_bps: 600_000 };
        assert_eq!(fallback.judge(Micros(0), sending), None, "nothing was reported");
        (0..4).for_each(|_| fallback.handle_report(50, 0, 0));
        assert!(fallback.judge(Micros(0), sending).is_some_and(|bps| bps > 600_000));
        fallback.handle_report(50, 255, 0);
        assert_eq!(fallback.judge(Micros(500_000), sending), None, "too soon");
        assert!(fallback.judge(Micros(1_000_000), sending).is_some_and(|bps| bps < 400_000));
        assert!(fallback.fraction() > 250);
    }
}
