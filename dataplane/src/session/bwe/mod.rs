//! Send-side bandwidth estimation of one receiver: how many bits per second its link carries, from its feedback
//! (Google congestion control, draft-ietf-rmcat-gcc-02 and what browsers made of it).
//!
//! Path: [`Estimator::handle_sent`] for every packet, a few stores; [`Estimator::handle_feedback`] ten times a second. The allocation
//! reads [`Estimator::estimate_bps`] and says what it would send if it could ([`Estimator::set_demand`]); the pacer asks for
//! [`Estimator::poll_probe`].
//! Memory: 64 KiB of sent packets, taken at construction and touched as packets are sent, and 2.5 KiB else per peer; nothing later.
//! Promises: the rate stays within [`BWE_BPS_MIN`] and [`BWE_BPS_MAX`]; what a receiver says can only move its own rate; feedback that
//! cannot be true changes nothing. Sending little neither lowers the estimate nor, without probes, raises it.
//! Not here: pacing and padding (`session::pacer`), dividing the rate (`room`), parsing (`wire::rtcp`).

mod acked;
mod aimd;
mod arrival;
mod fallback;
mod feedback;
mod history;
mod loss;
mod probe;
#[cfg(test)]
mod traces;
mod trend;

use crate::base::ids::Seq;
use crate::base::limits::BWE_BPS_MAX;
use crate::base::time::Micros;
use crate::wire::rtcp::twcc::TwccFeedback;

use acked::RateWindow;
use aimd::Rate;
use arrival::{Groups, QueueDelay};
pub use fallback::ReceiverEstimate;
use fallback::{Fallback, Sending};
pub use feedback::{FeedbackFault, FeedbackOutcome};
use history::SentHistory;
use loss::{Loss, Verdict};
use probe::Probes;
pub use probe::{ClusterId, Probe};
use trend::Trend;

/// The acknowledged rate is measured over this time, and not before a part of it has passed.
const ACKED_WINDOW_US: u64 = 300_000;
const ACKED_SPAN_US_MIN: u64 = 120_000;
/// The sent rate is measured over this time.
const SENT_WINDOW_US: u64 = 500_000;
/// Without probes the rate grows to one and a half times what arrives, and a little.
const UNPROVEN_BPS: u64 = 10_000;
/// A slope without at least this much queue is noise, or a burst that passes.
const QUEUE_US_MIN: u64 = 25_000;
/// What is sent says nothing about the link while it is less than this of the rate, percent: then a slope needs more queue.
const FILLED_PERCENT: u64 = 75;
const QUEUE_US_UNFILLED: u64 = 60_000;
/// What arrives is measured where it came fastest: the rest of the time the link may have been idle. Over this time at least then.
const FILLED_SPAN_US_MIN: u64 = 200_000;
const PEAK_SPAN_US_MIN: u64 = 50_000;
/// A queue this deep is emptied before the rate grows.
const QUEUE_US_CALM: u64 = 60_000;
/// It is gone below this; until then the rate does not grow.
const QUEUE_US_GONE: u64 = 35_000;
/// A queue this deep soon after a probe raised the rate: the probe was wrong, and the slope need not be waited for.
const QUEUE_US_DOUBT: u64 = 30_000;
/// One that stands this long is congestion although delay does not grow any more.
const STANDING_US: u64 = 700_000;
/// After so many falls that changed nothing it is the route that became longer: delay moved by less than this, and little was lost.
const STANDING_FALLS: u8 = 3;
const ROUTE_US: u64 = 15_000;
/// Packets in flight and no feedback for this long: the link may be gone. Feedback a second late is still in time.
const SILENCE_US: u64 = 1_500_000;
/// Unless nothing was sent for this long: then there is nothing to hear of.
const PAUSE_US: u64 = 1_000_000;
/// The rate falls to three quarters then, and again this much later.
const SILENCE_STEP_US: u64 = 500_000;
const SILENCE_KEEP: u64 = 750;
/// A TCP connection that is congested for this long without a break has stalled. It is looked at while something waits for it; when
/// nothing does for this long, what was seen is old.
const STALL_US: u64 = 500_000;
const UNWATCHED_US: u64 = 500_000;
/// Kernels take some 8 KiB at a time, so that a slow connection, of 130 kbit/s and less, is congested as long; but then again and again.
/// One that was congested for this long, so lately, is slow and does not stall.
const SLOW_US: u64 = 250_000;
const SLOW_AGAIN_US: u64 = 1_000_000;
/// After this long without packets the last ones say nothing about the link.
const QUIET_US: u64 = 2_000_000;
/// After this long without feedback the client counts as one that sends none.
const FEEDBACK_LOST_US: u64 = 5_000_000;
/// Round trip assumed before the first is measured.
const RTT_US: u32 = 100_000;
/// Round trips beyond this are not believed.
const RTT_US_MAX: u32 = 5_000_000;

/// What delay says about the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkState {
    /// Delay stands.
    #[default]
    Normal,
    /// Delay grows: more is sent than the link carries.
    Overusing,
    /// Delay shrinks: a queue empties.
    Underusing,
}

/// The estimator of one peer. Rates in bits per second of the sizes given to [`Self::handle_sent`].
#[derive(Debug)]
pub struct Estimator {
    history: SentHistory,
    sent: RateWindow,
    acked: RateWindow,
    groups: Groups,
    queue: QueueDelay,
    trend: Trend,
    loss: Loss,
    rate: Rate,
    probes: Probes,
    fallback: Fallback,
    /// Acknowledged rate of the last feedback that allowed to measure it.
    acked_bps: Option<u64>,
    wanted_bps: u64,
    rtt_us: u32,
    /// Reference time of the last feedback, 64 ms ticks, without wraps.
    reference_ticks: Option<i64>,
    /// Transit time of the newest packet; the origin is arbitrary.
    transit_us: Option<i64>,
    jumps: u8,
    /// Since when the queue has been deep, how deep it was then, and how often the rate fell for that without effect.
    deep: Option<Micros>,
    deep_us: u64,
    deep_falls: u8,
    /// Newest number, extended, that feedback reported.
    reported: u64,
    /// When feedback last came.
    heard: Micros,
    /// Since when packets wait for feedback.
    waiting: Option<Micros>,
    /// How often the rate fell for silence since the last feedback.
    silences: u32,
    has_feedback: bool,
    /// Since when the connection has been congested without a break, and when that was last seen.
    congested: Option<(Micros, Micros)>,
    /// When it last ceased to be congested for long.
    choked: Option<Micros>,
    /// It takes nothing: packets wait with us and not in the network.
    stalled: bool,
    /// When the last stall ended: packets from before it say nothing about the link.
    resumed: Option<Micros>,
}

const _: () = assert!(size_of::<Estimator>() <= 2_560, "the arithmetic of the module header");

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}

impl Estimator {
    /// An estimator that knows nothing: the rate is [`BWE_BPS_START`](crate::base::limits::BWE_BPS_START).
    #[must_use]
    pub fn new() -> Self {
        Self {
            history: SentHistory::new(),
            sent: RateWindow::default(),
            acked: RateWindow::default(),
            groups: Groups::default(),
            queue: QueueDelay::new(),
            trend: Trend::new(),
            loss: Loss::default(),
            rate: Rate::new(),
            probes: Probes::new(),
            fallback: Fallback::default(),
            acked_bps: None,
            wanted_bps: 0,
            rtt_us: RTT_US,
            reference_ticks: None,
            transit_us: None,
            jumps: 0,
            deep: None,
            deep_us: 0,
            deep_falls: 0,
            reported: 0,
            heard: Micros(0),
            waiting: None,
            silences: 0,
            has_feedback: false,
            congested: None,
            choked: None,
            stalled: false,
            resumed: None,
        }
    }

    /// A packet leaves with this transport-wide number. `bytes` counts what the link carries: the UDP payload and, if the caller wants
    /// the estimate to include them, headers below. Numbers come in the order of sending. A few stores; no allocation.
    pub fn handle_sent(&mut self, now: Micros, seq: Seq, bytes: usize, probe: Option<ClusterId>) {
        self.history.insert(now, seq, bytes, probe.map_or(0, |cluster| cluster.0));
        self.sent.add(now.0, bytes.min(usize::from(u16::MAX)) as u32);
        if self.waiting.is_none() {
            self.waiting = Some(now);
        }
        if let Some(cluster) = probe {
            self.probes.handle_sent(cluster);
        }
    }

    /// A packet leaves without a transport-wide number: nobody will report it, but reports are judged by what was sent.
    pub fn handle_sent_unnumbered(&mut self, now: Micros, bytes: usize) {
        self.sent.add(now.0, bytes.min(usize::from(u16::MAX)) as u32);
    }

    /// Takes transport-wide feedback. Costs as much as it lists packets; no allocation.
    pub fn handle_feedback(&mut self, now: Micros, feedback: TwccFeedback<'_>) -> FeedbackOutcome {
        let reference = self.unwrap_reference(feedback.reference_ticks());
        if let Err(fault) = self.check(reference, feedback) {
            return FeedbackOutcome::ignored(fault);
        }
        self.reference_ticks = Some(reference);
        let outcome = self.absorb(now, reference, feedback);
        self.waiting = match self.history.newest() {
            Some(newest) if newest > self.reported => Some(now),
            _ => None,
        };
        self.silences = 0;
        self.heard = now;
        if !self.has_feedback {
            self.has_feedback = true;
            self.rate.hold(now);
        }
        if outcome.received > 0 {
            self.adapt(now);
        }
        outcome
    }

    /// Takes a receiver's own estimate (REMB). Without effect while transport-wide feedback comes.
    ///
    /// # Errors
    /// `Absurd` for an estimate that nobody can have made.
    pub fn handle_remb(&mut self, now: Micros, estimate: ReceiverEstimate) -> Result<(), FeedbackFault> {
        if self.has_feedback {
            return Ok(());
        }
        if !fallback::is_possible(estimate.bps) {
            return Err(FeedbackFault::Absurd);
        }
        if let Some(bps) = self.fallback.handle_remb(now, estimate, self.rate.bps()) {
            self.rate.set(bps);
        }
        Ok(())
    }

    /// Takes one block of a receiver report: what fraction, in 256ths, of how many packets was lost, and the round trip it measured, 0
    /// for none.
    pub fn handle_report(&mut self, packets: u32, fraction_lost: u8, rtt_us: u32) {
        if self.has_feedback {
            return;
        }
        if rtt_us > 0 {
            self.measure_rtt(u64::from(rtt_us));
        }
        self.fallback.handle_report(packets, fraction_lost, rtt_us.min(RTT_US_MAX));
    }

    /// All blocks of a datagram are taken: moves the rate as they ask, but only while there is no transport-wide feedback.
    pub fn judge_reports(&mut self, now: Micros) {
        if self.has_feedback {
            return;
        }
        let rate_bps = self.rate.bps();
        let sending = Sending { rate_bps, sent_bps: self.sent_bps(now) };
        let Some(bps) = self.fallback.judge(now, sending) else { return };
        if bps < rate_bps {
            self.rate.set(bps);
        } else if rate_bps < self.enough_bps() {
            self.rate.set(bps.min(self.enough_bps()));
        }
    }

    /// What would be sent if the link carried it. Growth and probing stop a quarter above; zero, as at the start, stops both.
    pub fn set_demand(&mut self, wanted_bps: u64) {
        self.wanted_bps = wanted_bps;
    }

    /// Does what is due. Call when [`Self::next_timeout`] has come, then ask [`Self::poll_probe`].
    pub fn handle_timeout(&mut self, now: Micros) {
        if self.congested.is_some_and(|(_, seen)| now.since_us(seen) >= UNWATCHED_US) {
            // Nobody looked, so that it takes packets again is not known: a stall that goes on is seen anew.
            self.congested = None;
            if self.stalled {
                self.resume(now);
            }
        }
        self.probes.handle_timeout(now, self.rtt_us);
        if now < self.silence_deadline() {
            return;
        }
        // Nothing followed the last packets, so a receiver that lost them cannot know.
        if self.history.newest_at().is_none_or(|at| now.since_us(at) >= PAUSE_US) {
            (self.waiting, self.silences) = (None, 0);
            return;
        }
        // Who asks late falls once: what would have been heard in between is not known.
        let silent_us = self.waiting.map_or(0, |since| now.since_us(since)).saturating_sub(SILENCE_US);
        self.silences = (silent_us / SILENCE_STEP_US).min(u64::from(u32::MAX - 1)) as u32 + 1;
        let before = self.rate.bps();
        self.rate.scale(now, SILENCE_KEEP);
        self.probes.handle_fall(now, before, self.rate.bps());
        self.acked.clear();
        self.groups.interrupt();
        self.trend.restart();
        self.loss.restart();
        if self.waiting.is_some_and(|since| now.since_us(since) >= FEEDBACK_LOST_US) {
            self.has_feedback = false;
            self.acked_bps = None;
        }
    }

    /// Whether the TCP connection that packets leave by is congested now, asked while something waits for it. One that stays so has
    /// stalled. What it takes late is no measure of the link then, and that nobody answers is none either: the rate stays, and nothing is
    /// probed, until it takes packets again; and what leaves from then on says what the link carries.
    pub fn watch_connection(&mut self, now: Micros, congested: bool) {
        if !congested {
            let Some((since, _)) = self.congested.take() else { return };
            if now.since_us(since) >= SLOW_US {
                self.choked = Some(now);
            }
            if self.stalled {
                self.resume(now);
            }
            return;
        }
        let since = self.congested.map_or(now, |(since, _)| since);
        self.congested = Some((since, now));
        let slow = self.choked.is_some_and(|at| since.since_us(at) < SLOW_AGAIN_US);
        if !self.stalled && !slow && now.since_us(since) >= STALL_US {
            self.stalled = true;
            self.probes.abandon();
        }
    }

    /// When [`Self::handle_timeout`] and then [`Self::poll_probe`] want to be called; after both it lies in the future.
    #[must_use]
    pub fn next_timeout(&self) -> Micros {
        let probe = self.probes.next_timeout(self.rate.bps(), self.wanted_bps, self.rtt_us);
        let probe = if self.probes.is_active() { probe } else { probe.max(self.probing_from()) };
        probe.min(self.silence_deadline())
    }

    /// The next probe cluster, if one is due: the pacer sends it with retransmissions or padding, at its rate, and passes its id with
    /// every packet it sends meanwhile.
    pub fn poll_probe(&mut self, now: Micros) -> Option<Probe> {
        if now < self.probing_from() {
            return None;
        }
        self.probes.poll(now, self.rate.bps(), self.wanted_bps, self.groups.noise_us())
    }

    /// What the link carries, bits per second.
    #[must_use]
    pub const fn estimate_bps(&self) -> u64 {
        self.rate.bps()
    }

    /// What delay says.
    #[must_use]
    pub const fn state(&self) -> LinkState {
        self.trend.state()
    }

    /// Lately lost packets, 256ths.
    #[must_use]
    pub fn loss(&self) -> u8 {
        if self.has_feedback { self.loss.fraction() } else { self.fallback.fraction() }
    }

    /// Round trip, smoothed, microseconds.
    #[must_use]
    pub const fn rtt_us(&self) -> u32 {
        self.rtt_us
    }

    /// Microseconds that packets stand in the link's queue.
    #[must_use]
    pub fn queue_us(&self) -> u64 {
        self.queue.queue_us()
    }

    /// Sent in the half second before `now`, bits per second.
    #[must_use]
    pub fn sent_bps(&self, now: Micros) -> u64 {
        self.sent.bps_until(now.0, SENT_WINDOW_US)
    }

    /// What lately arrived, bits per second; 0 while unknown.
    #[must_use]
    pub fn acked_bps(&self) -> u64 {
        self.acked_bps.unwrap_or(0)
    }

    /// Whether the client sends transport-wide feedback.
    #[must_use]
    pub const fn has_feedback(&self) -> bool {
        self.has_feedback
    }

    /// Since when probing is no harm: at once on a calm link, never on one that is not. What was seen of a link says nothing any more
    /// once nothing is on it.
    fn probing_from(&self) -> Micros {
        let calm = self.trend.state() != LinkState::Overusing && self.queue.queue_us() < QUEUE_US_CALM;
        match self.waiting {
            _ if !self.has_feedback || self.silences > 0 || self.stalled => Micros::NEVER,
            _ if calm => Micros(0),
            None => self.heard.after_us(QUIET_US),
            Some(_) => Micros::NEVER,
        }
    }

    fn silence_deadline(&self) -> Micros {
        match self.waiting {
            Some(since) if self.has_feedback && !self.stalled => {
                since.after_us(SILENCE_US + u64::from(self.silences) * SILENCE_STEP_US)
            }
            _ => Micros::NEVER,
        }
    }

    fn resume(&mut self, now: Micros) {
        (self.stalled, self.resumed) = (false, Some(now));
        (self.waiting, self.silences) = (self.waiting.map(|_| now), 0);
        (self.deep, self.deep_falls) = (None, 0);
        self.rate.hold(now);
        self.acked.clear();
        self.groups.interrupt();
        self.trend.restart();
        self.loss.restart();
    }

    /// Moves the rate as the measurements ask.
    fn adapt(&mut self, now: Micros) {
        self.acked_bps = self.acked.bps(ACKED_WINDOW_US, ACKED_SPAN_US_MIN).or(self.acked_bps);
        let before = self.rate.bps();
        let queue_us = self.queue.queue_us();
        let verdict = self.loss.judge(now, before);
        let filled = self.sent_bps(now) * 100 >= before * FILLED_PERCENT;
        let queue_us_min = if filled { QUEUE_US_MIN } else { QUEUE_US_UNFILLED };
        let grows = self.trend.state() == LinkState::Overusing
            && queue_us > queue_us_min.max(2 * self.groups.noise_us());
        let doubtful = self.probes.is_unproven(now) && queue_us > QUEUE_US_DOUBT + 2 * self.groups.noise_us();
        let over = self.stands(now, queue_us) || grows || doubtful;
        let span_us_min = if filled { FILLED_SPAN_US_MIN } else { PEAK_SPAN_US_MIN };
        let arrives_bps = self.acked.peak_bps(ACKED_WINDOW_US, span_us_min).or(self.acked_bps);
        match (over, arrives_bps) {
            (true, Some(acked_bps)) => {
                self.rate.fall(now, acked_bps, queue_us, self.rtt_us);
            }
            (true, None) => self.rate.hold(now),
            (false, _) => self.rate.restore(queue_us),
        }
        if let Some(Verdict::Congested(bps)) = verdict {
            self.rate.set(bps.min(self.rate.bps()));
        }
        if self.rate.bps() < before {
            self.probes.handle_fall(now, before, self.rate.bps());
            return;
        }
        if let Some(proof) = self.probes.evaluate(now, self.groups.noise_us())
            && proof.bps > before
            && !over
        {
            self.rate.set(proof.bps);
            self.probes.handle_raised(now, before);
        }
        let calm = self.trend.state() == LinkState::Normal && queue_us < QUEUE_US_GONE && self.loss.is_calm();
        match self.acked_bps {
            Some(acked_bps) if calm => {
                let limit_bps = (acked_bps * 3 / 2 + UNPROVEN_BPS).min(self.enough_bps());
                self.rate.grow(now, acked_bps, limit_bps, self.rtt_us);
            }
            _ => self.rate.hold(now),
        }
    }

    /// Whether a deep queue has stood for long and does not empty.
    fn stands(&mut self, now: Micros, queue_us: u64) -> bool {
        let begins = queue_us >= QUEUE_US_CALM;
        let ends = queue_us < QUEUE_US_GONE || self.trend.state() == LinkState::Underusing;
        if ends || !begins && self.deep.is_none() {
            self.deep = None;
            if !begins {
                self.deep_falls = 0;
            }
            return false;
        }
        let Some(since) = self.deep else {
            (self.deep, self.deep_us) = (Some(now), queue_us);
            return false;
        };
        if now.since_us(since) < STANDING_US {
            return false;
        }
        // A queue follows what is sent, and one that is full loses packets.
        let follows = queue_us.abs_diff(self.deep_us) > ROUTE_US || self.loss.is_large();
        (self.deep, self.deep_us) = (Some(now), queue_us);
        self.deep_falls = if follows { 0 } else { self.deep_falls + 1 };
        if self.deep_falls > STANDING_FALLS {
            self.deep_falls = 0;
            self.queue = QueueDelay::new();
            return false;
        }
        true
    }

    /// More than this nobody would use.
    fn enough_bps(&self) -> u64 {
        self.wanted_bps.min(BWE_BPS_MAX) * 5 / 4
    }

    fn measure_rtt(&mut self, rtt_us: u64) {
        let rtt_us = rtt_us.min(u64::from(RTT_US_MAX));
        self.rtt_us = ((u64::from(self.rtt_us) * 7 + rtt_us) / 8) as u32;
    }
}
