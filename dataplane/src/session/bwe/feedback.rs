//! Transport-wide feedback: what can be true is taken into the measurements, packet by packet; what cannot be is refused whole.
//!
//! Path: twice over the packets of each feedback, first to judge, then to take.
//! Promises: a receiver is believed about packets it was sent, once each, at times its own clock can have shown. Refused feedback
//! changes nothing but a count.
//! Not here: what follows for the rate (the estimator).

use super::Estimator;
use super::arrival::QueueDelay;
use super::history::{Absent, Fate};
use crate::base::time::Micros;
use crate::wire::rtcp::twcc::{DELTA_TICK_US, REFERENCE_TICK_US, TwccFeedback};

/// Transit time never changes by this much from one feedback to the next unless somebody lies or a clock was set.
const TRANSIT_JUMP_US: u64 = 10_000_000;
/// After so many in a row a clock was set.
const JUMPS: u8 = 3;
/// The receiver's clock begins here, so that differences cannot go below zero.
const ARRIVAL_ORIGIN_TICKS: i64 = 1 << 40;

/// Why feedback, or a part of it, was ignored. Each variant is worth a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedbackFault {
    /// It reports the arrival of a number that was never sent.
    NeverSent,
    /// All it reports was sent too long ago.
    TooOld,
    /// All it reports was reported before.
    Repeated,
    /// Its arrival times are impossible.
    Absurd,
}

/// What one feedback packet told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeedbackOutcome {
    /// Packets newly known to have arrived.
    pub received: u16,
    /// Packets newly reported missing.
    pub lost: u16,
    /// Why nothing was learned of it.
    pub fault: Option<FeedbackFault>,
}

impl FeedbackOutcome {
    pub(super) const fn ignored(fault: FeedbackFault) -> Self {
        Self { received: 0, lost: 0, fault: Some(fault) }
    }
}

impl Estimator {
    /// Reference times wrap at 24 bits: the one nearest to the last is meant.
    pub(super) fn unwrap_reference(&self, raw: i32) -> i64 {
        match self.reference_ticks {
            // A clock set again and again in one direction would leave the range after weeks.
            Some(last) if last.abs_diff(ARRIVAL_ORIGIN_TICKS) < ARRIVAL_ORIGIN_TICKS as u64 / 2 => {
                last + i64::from(raw.wrapping_sub(last as i32) << 8 >> 8)
            }
            _ => ARRIVAL_ORIGIN_TICKS + i64::from(raw),
        }
    }

    /// Whether feedback can be true and says something new. Changes only the count of jumps.
    pub(super) fn check(&mut self, reference: i64, feedback: TwccFeedback<'_>) -> Result<(), FeedbackFault> {
        let (mut known, mut fresh, mut jumped) = (false, false, false);
        let (stalled, resumed) = (self.stalled, self.resumed);
        let mut arrival_us = reference * REFERENCE_TICK_US as i64;
        for (seq, delta) in feedback.packets() {
            let Some(delta) = delta else { continue };
            arrival_us += i64::from(delta) * DELTA_TICK_US as i64;
            match self.history.find(seq) {
                Err(Absent::NeverSent) => return Err(FeedbackFault::NeverSent),
                Err(Absent::TooOld) => {}
                Ok((_, sent)) => {
                    known = true;
                    fresh |= sent.fate != Fate::Received;
                    let transit_us = arrival_us - sent.at.0 as i64;
                    let usual_us = self.transit_us.unwrap_or(transit_us);
                    let stood = stalled || resumed.is_some_and(|at| sent.at <= at);
                    jumped |= !stood && transit_us.abs_diff(usual_us) > TRANSIT_JUMP_US;
                }
            }
        }
        match (known, fresh, jumped) {
            (false, ..) => Err(FeedbackFault::TooOld),
            (_, false, _) => Err(FeedbackFault::Repeated),
            (.., true) => {
                self.jumps += 1;
                if self.jumps < JUMPS {
                    return Err(FeedbackFault::Absurd);
                }
                self.restart_clock();
                Ok(())
            }
            _ => {
                self.jumps = 0;
                Ok(())
            }
        }
    }

    /// The receiver's clock was set: nothing measured by it before can be compared.
    fn restart_clock(&mut self) {
        self.jumps = 0;
        self.transit_us = None;
        self.queue = QueueDelay::new();
        self.acked.clear();
        self.groups.interrupt();
        self.trend.restart();
    }

    /// Takes every packet of checked feedback into the measurements.
    pub(super) fn absorb(
        &mut self,
        now: Micros,
        reference: i64,
        feedback: TwccFeedback<'_>,
    ) -> FeedbackOutcome {
        let mut outcome = FeedbackOutcome::default();
        let mut arrival_us = reference * REFERENCE_TICK_US as i64;
        // The quickest way from sending to hearing of it, less what the packet waited at the receiver.
        let mut transit_us_max = i64::MIN;
        let mut arrival_us_max = i64::MIN;
        let (stalled, resumed) = (self.stalled, self.resumed);
        self.queue.begin();
        for (seq, delta) in feedback.packets() {
            if let Some(delta) = delta {
                arrival_us += i64::from(delta) * DELTA_TICK_US as i64;
            }
            let Ok((number, sent)) = self.history.find(seq) else { continue };
            // Feedback between this and the last was lost: a hole in what is known, not in what arrived.
            if number > self.reported + 1 && outcome == FeedbackOutcome::default() {
                self.acked.clear();
            }
            self.reported = self.reported.max(number);
            // What stood in a connection that took nothing came when it did, and not when the link let it; or was dropped there.
            let stood = stalled || resumed.is_some_and(|at| sent.at <= at);
            if delta.is_none() {
                if sent.fate == Fate::InFlight {
                    sent.fate = Fate::Lost;
                    outcome.lost = outcome.lost.saturating_add(1);
                    match sent.cluster {
                        _ if stood => {}
                        0 => self.loss.handle_lost(),
                        cluster => self.probes.handle_missing(cluster),
                    }
                }
                continue;
            }
            if sent.fate == Fate::Received {
                continue;
            }
            let late = sent.fate == Fate::Lost;
            sent.fate = Fate::Received;
            outcome.received = outcome.received.saturating_add(1);
            let (sent_us, bytes, cluster) = (sent.at.0, sent.bytes, sent.cluster);
            if stood {
                self.loss.handle_received(late);
                continue;
            }
            let (transit_us, at_us) = (arrival_us - sent_us as i64, arrival_us.max(0) as u64);
            self.transit_us = Some(transit_us);
            transit_us_max = transit_us_max.max(now.0 as i64 - sent_us as i64 - arrival_us);
            arrival_us_max = arrival_us_max.max(arrival_us);
            self.acked.add(at_us, u32::from(bytes));
            if cluster != 0 {
                // The queue that a probe makes says nothing about media.
                self.groups.interrupt();
                self.probes.handle_received(cluster, sent_us, at_us, u64::from(bytes));
                continue;
            }
            self.loss.handle_received(late);
            self.queue.handle_packet(sent_us, transit_us);
            if let Some(variation) = self.groups.handle_packet(sent_us, at_us) {
                self.trend.handle_variation(variation);
            }
        }
        if transit_us_max > i64::MIN {
            self.measure_rtt((transit_us_max + arrival_us_max).max(0) as u64);
        }
        outcome
    }
}
