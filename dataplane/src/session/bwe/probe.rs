//! Probes: short clusters of packets at a higher rate that prove, or disprove, what media does not fill.
//!
//! Path: planned when the estimate limits what is wanted, evaluated as feedback reports their packets.
//! A cluster is small (15 ms): on a link that is full it adds a queue of 15-45 ms for a moment. The ladder never skips a rung: each rate
//! is tried only when the one before arrived.
//! Promises: one cluster at a time; nothing is probed beyond what is wanted.
//! Not here: padding and pacing (the pacer sends a [`Probe`] and tags its packets).

use crate::base::limits::BWE_BPS_MAX;
use crate::base::time::Micros;

/// Packets of a cluster: ten survive two losses. On a slow link as many as take no longer than the longest cluster, and five, which
/// are enough when media made most of them.
const PACKETS: u64 = 10;
const PACKETS_MIN: u64 = 5;
/// What the smallest packet takes that a probe is made of: 224 bytes of padding, headers, extensions, tag.
const PACKET_BYTES_MIN: u64 = 270;
/// Length of a cluster; longer where jitter would hide the rate, and after a cluster that filled the link: then little more is tried,
/// and what is found must be exact.
const DURATION_US: u64 = 15_000;
const DURATION_US_EXACT: u64 = 30_000;
const DURATION_US_MAX: u64 = 60_000;
/// First wait after a probe that found nothing, and its limit: each failure waits half as long again.
const INTERVAL_US: u64 = 2_000_000;
const INTERVAL_US_MAX: u64 = 4_000_000;
/// Links that let a short burst through and nothing more: each lie waits twice as long, up to this, and then the second rung waits for
/// media to prove the first.
const DISTRUST_US_MAX: u64 = 5_000_000;
const DISTRUST_RUNG_US: u64 = 800_000;
/// A rate that probing raised and that falls back within this time was no rate.
const PROOF_US: u64 = 3_000_000;
/// Wait after the rate fell.
const SETTLE_US: u64 = 1_000_000;
/// Feedback about a cluster comes within this and a round trip, or not at all.
const ANSWER_US: u64 = 1_000_000;
/// A cluster of which too much was lost, or that never was complete, says nothing about the link: the next comes soon. The wait
/// doubles each time, up to that of a failure.
const RETRY_US: u64 = 200_000;
/// What is sent of a cluster is sent within so many times its length.
const SENDING_FACTOR: u64 = 4;

/// How much more than the rate is tried, halves: at first and far below what the link once carried, else, and after a failure.
const FACTOR_FIRST: u64 = 6;
const FACTOR: u64 = 4;
const FACTOR_EXACT: u64 = 3;

/// Names a cluster; its packets carry it into [`Estimator::handle_sent`](super::Estimator::handle_sent).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterId(pub(super) u8);

/// A cluster to be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Tag of every packet sent while the cluster lasts, media too.
    pub cluster: ClusterId,
    /// At which rate the packets leave.
    pub rate_bps: u64,
    /// Bytes of the whole cluster, to be spread over its packets: small ones on a slow link.
    pub bytes: usize,
    /// Packets at least; a cluster with fewer is not evaluated.
    pub packets_min: u32,
    /// How long sending it takes at that rate.
    pub duration_us: u64,
}

/// What a cluster showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Proof {
    /// The rate that arrived.
    pub bps: u64,
    /// The link was not full: more may fit.
    pub more: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: u8,
    rate_bps: u64,
    bytes: u64,
    begun: Micros,
    sending_until: Micros,
    sent_packets: u32,
    missing: u32,
    /// Of the packets that arrived: times and sizes at the ends.
    packets: u32,
    received_bytes: u64,
    sent_first_us: u64,
    sent_last: (u64, u64),
    arrived_first: (u64, u64),
    arrived_last_us: u64,
}

/// Plan and evaluation.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    cluster: Option<Cluster>,
    last_id: u8,
    next_at: Micros,
    interval_us: u64,
    retry_us: u64,
    /// Factor of the next cluster, halves.
    factor: u64,
    /// The rate before the last great fall: below it rungs are wider.
    good_bps: u64,
    /// Whether the last cluster was the rung of a ladder.
    climbing: bool,
    /// Whether probes lied about this link.
    distrusted: bool,
    /// When probing last raised the rate, and from which.
    raised: Option<(Micros, u64)>,
}

impl Probes {
    pub(super) const fn new() -> Self {
        Self {
            cluster: None,
            last_id: 0,
            next_at: Micros(0),
            interval_us: INTERVAL_US,
            retry_us: RETRY_US,
            factor: FACTOR_FIRST,
            good_bps: 0,
            climbing: false,
            distrusted: false,
            raised: None,
        }
    }

    /// The rate worth trying for `wanted_bps`; `None` when the estimate is enough.
    fn target_bps(&self, estimate_bps: u64, wanted_bps: u64) -> Option<u64> {
        let enough_bps = (wanted_bps.min(BWE_BPS_MAX) * 5 / 4).min(BWE_BPS_MAX);
        if estimate_bps >= wanted_bps {
            return None;
        }
        Some((estimate_bps * self.factor / 2).min(enough_bps))
            .filter(|target| target * 10 > estimate_bps * 11)
    }

    /// Begins a cluster if one is due.
    pub(super) fn poll(
        &mut self,
        now: Micros,
        estimate_bps: u64,
        wanted_bps: u64,
        noise_us: u64,
    ) -> Option<Probe> {
        if self.cluster.is_some() || now < self.next_at {
            return None;
        }
        let rate_bps = self.target_bps(estimate_bps, wanted_bps)?;
        let least_us = if self.factor == FACTOR_EXACT { DURATION_US_EXACT } else { DURATION_US };
        let duration_us = (4 * noise_us).clamp(least_us, DURATION_US_MAX);
        let packets_min = rate_bps * DURATION_US_MAX / 8_000_000 / PACKET_BYTES_MIN;
        let packets_min = packets_min.clamp(PACKETS_MIN, PACKETS);
        let bytes = (rate_bps * duration_us / 8_000_000).max(packets_min * PACKET_BYTES_MIN);
        let duration_us = bytes * 8_000_000 / rate_bps;
        let packets_min = packets_min as u32;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.cluster = Some(Cluster {
            id: self.last_id,
            rate_bps,
            bytes,
            begun: now,
            sending_until: now.after_us(SENDING_FACTOR * duration_us),
            sent_packets: 0,
            missing: 0,
            packets: 0,
            received_bytes: 0,
            sent_first_us: u64::MAX,
            sent_last: (0, 0),
            arrived_first: (u64::MAX, 0),
            arrived_last_us: 0,
        });
        Some(Probe {
            cluster: ClusterId(self.last_id),
            rate_bps,
            bytes: bytes as usize,
            packets_min,
            duration_us,
        })
    }

    /// Counts a packet of a cluster as it leaves.
    pub(super) fn handle_sent(&mut self, id: ClusterId) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == id.0) {
            cluster.sent_packets += 1;
        }
    }

    /// Takes a packet of cluster `id` that arrived.
    pub(super) fn handle_received(&mut self, id: u8, sent_us: u64, arrival_us: u64, bytes: u64) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == id) else { return };
        cluster.packets += 1;
        cluster.received_bytes += bytes;
        cluster.sent_first_us = cluster.sent_first_us.min(sent_us);
        if sent_us >= cluster.sent_last.0 {
            cluster.sent_last = (sent_us, bytes);
        }
        if arrival_us < cluster.arrived_first.0 {
            cluster.arrived_first = (arrival_us, bytes);
        }
        cluster.arrived_last_us = cluster.arrived_last_us.max(arrival_us);
    }

    /// Takes a packet of cluster `id` that was reported missing.
    pub(super) const fn handle_missing(&mut self, id: u8) {
        if let Some(cluster) = &mut self.cluster
            && cluster.id == id
        {
            cluster.missing += 1;
        }
    }

    /// Evaluates the cluster once enough of it was reported. What jitter may have taken from the time between its ends counts for
    /// the link.
    pub(super) fn evaluate(&mut self, now: Micros, noise_us: u64) -> Option<Proof> {
        let cluster = self.cluster?;
        let complete = u64::from(cluster.sent_packets) >= PACKETS_MIN
            && cluster.packets * 5 >= cluster.sent_packets * 4
            && cluster.received_bytes * 5 >= cluster.bytes * 3;
        if !complete {
            let reported = cluster.packets + cluster.missing >= cluster.sent_packets;
            if reported && cluster.sent_packets > 0 && now > cluster.sending_until {
                self.retry(now);
            }
            return None;
        }
        self.cluster = None;
        self.retry_us = RETRY_US;
        let rate = |bytes: u64, us: u64| (bytes * 8_000_000).checked_div(us).unwrap_or(u64::MAX);
        let sent_bps =
            rate(cluster.received_bytes - cluster.sent_last.1, cluster.sent_last.0 - cluster.sent_first_us);
        let arrived_bytes = cluster.received_bytes - cluster.arrived_first.1;
        let arrived_us = cluster.arrived_last_us - cluster.arrived_first.0;
        let arrived_bps = rate(arrived_bytes, arrived_us);
        // A link that is full is not filled to the brim.
        let bps = if arrived_bps < sent_bps / 10 * 9 {
            rate(arrived_bytes, arrived_us + noise_us) / 20 * 19
        } else {
            arrived_bps.min(sent_bps)
        };
        let bps = bps.min(cluster.rate_bps);
        let more = bps * 10 >= cluster.rate_bps * 7;
        if more {
            self.factor = if bps * 2 < self.good_bps { FACTOR_FIRST } else { FACTOR };
            let doubted = self.distrusted && !self.climbing;
            self.next_at = if doubted { now.after_us(DISTRUST_RUNG_US) } else { now };
            self.climbing = true;
        } else {
            self.fail(now);
        }
        Some(Proof { bps, more })
    }

    /// The rate was raised by a probe.
    pub(super) const fn handle_raised(&mut self, now: Micros, before_bps: u64) {
        self.raised = Some((now, before_bps));
    }

    /// Whether a probe raised the rate so lately that media has not proved it yet.
    pub(super) fn is_unproven(&self, now: Micros) -> bool {
        self.raised.is_some_and(|(at, _)| now.since_us(at) < PROOF_US)
    }

    /// The rate fell: what was known about the link is old.
    pub(super) fn handle_fall(&mut self, now: Micros, before_bps: u64, after_bps: u64) {
        (self.cluster, self.climbing) = (None, false);
        self.factor = FACTOR;
        self.next_at = self.next_at.max(now.after_us(SETTLE_US));
        match self.raised {
            Some((at, raised_from_bps)) if now.since_us(at) < PROOF_US => {
                if after_bps * 4 < raised_from_bps * 5 {
                    self.raised = None;
                    self.distrusted = true;
                    self.interval_us = (self.interval_us * 2).min(DISTRUST_US_MAX);
                    self.next_at = now.after_us(self.interval_us);
                }
            }
            _ => {
                self.distrusted &= self.raised.is_none();
                self.good_bps = self.good_bps.max(before_bps);
                if after_bps * 3 < before_bps * 2 {
                    self.interval_us = INTERVAL_US;
                    self.next_at = now.after_us(SETTLE_US);
                }
            }
        }
    }

    /// Gives a cluster up that nobody answers.
    pub(super) fn handle_timeout(&mut self, now: Micros, rtt_us: u32) {
        if self.deadline(rtt_us).is_some_and(|deadline| now >= deadline) {
            self.retry(now);
        }
    }

    /// Gives a cluster up that says nothing about the link, for no fault of its own.
    pub(super) fn abandon(&mut self) {
        self.cluster = None;
    }

    /// Whether a cluster is on its way.
    pub(super) const fn is_active(&self) -> bool {
        self.cluster.is_some()
    }

    /// When something is due.
    pub(super) fn next_timeout(&self, estimate_bps: u64, wanted_bps: u64, rtt_us: u32) -> Micros {
        match self.deadline(rtt_us) {
            Some(deadline) => deadline,
            None if self.target_bps(estimate_bps, wanted_bps).is_some() => self.next_at,
            None => Micros::NEVER,
        }
    }

    fn deadline(&self, rtt_us: u32) -> Option<Micros> {
        Some(self.cluster?.begun.after_us(ANSWER_US + u64::from(rtt_us)))
    }

    fn retry(&mut self, now: Micros) {
        self.cluster = None;
        self.next_at = now.after_us(self.retry_us);
        self.retry_us = (self.retry_us * 2).min(INTERVAL_US);
    }

    fn fail(&mut self, now: Micros) {
        (self.factor, self.climbing) = (FACTOR_EXACT, false);
        self.next_at = now.after_us(self.interval_us);
        if self.interval_us < INTERVAL_US_MAX {
            self.interval_us = (self.interval_us * 3 / 2).min(INTERVAL_US_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends the probe and lets it through a link of `link_bps`; answers what is found.
    fn pass(probes: &mut Probes, now: Micros, probe: Probe, link_bps: u64) -> Option<Proof> {
        let packets = u64::from(probe.packets_min).max(probe.bytes as u64 / 1_200);
        let bytes = probe.bytes as u64 / packets;
        let mut free_us = 0;
        for packet in 0..packets {
            let sent_us = now.0 + packet * bytes * 8_000_000 / probe.rate_bps;
            probes.handle_sent(probe.cluster);
            free_us = sent_us.max(free_us) + bytes * 8_000_000 / link_bps;
            probes.handle_received(probe.cluster.0, sent_us, free_us, bytes);
        }
        probes.evaluate(now.after_ms(100), 0)
    }

    #[test]
    fn the_ladder_climbs_to_what_is_wanted() {
        let mut probes = Probes::new();
        let (mut now, mut estimate) = (Micros(1_000_000), 600_000);
        let mut rungs = Vec::new();
        while let Some(probe) = probes.poll(now, estimate, 10_000_000, 0) {
            let proof = pass(&mut probes, now, probe, 100_000_000).expect("complete");
            rungs.push(probe.rate_bps);
            estimate = proof.bps;
            now = now.after_ms(100);
        }
        assert_eq!(rungs[0], 1_800_000);
        assert!(rungs.len() <= 5 && estimate >= 10_000_000, "{rungs:?}");
        assert_eq!(probes.next_timeout(estimate, 10_000_000, 0), Micros::NEVER);
    }

    #[test]
    fn a_full_link_shows_its_rate_and_is_left_alone_for_a_while() {
        let mut probes = Probes::new();
        let now = Micros(1_000_000);
        let probe = probes.poll(now, 600_000, 5_000_000, 0).expect("due");
        let proof = pass(&mut probes, now, probe, 1_000_000).expect("complete");
        assert!(!proof.more && (900_000..1_000_000).contains(&proof.bps), "{proof:?}");
        assert!(probes.poll(now.after_ms(1_000), 950_000, 5_000_000, 0).is_none());
        assert!(probes.poll(now.after_ms(2_200), 950_000, 5_000_000, 0).is_some());
    }

    #[test]
    fn nothing_is_probed_that_nobody_wants() {
        let mut probes = Probes::new();
        assert!(probes.poll(Micros(1), 600_000, 600_000, 0).is_none());
        assert!(probes.poll(Micros(1), 600_000, 0, 0).is_none());
        let probe = probes.poll(Micros(1), 600_000, 700_000, 0).expect("due");
        assert_eq!(probe.rate_bps, 875_000);
        assert!(probes.poll(Micros(1), 600_000, 700_000, 0).is_none(), "one at a time");
    }

    #[test]
    fn a_cluster_without_answer_is_given_up() {
        let mut probes = Probes::new();
        probes.poll(Micros(0), 600_000, 5_000_000, 0).expect("due");
        let deadline = probes.next_timeout(600_000, 5_000_000, 50_000);
        assert_eq!(deadline, Micros(1_050_000));
        probes.handle_timeout(deadline, 50_000);
        assert_eq!(probes.evaluate(deadline, 0), None);
        assert!(probes.poll(deadline.after_ms(2_000), 600_000, 5_000_000, 0).is_some());
    }

    #[test]
    fn a_link_whose_probes_lie_is_probed_less_often() {
        let mut probes = Probes::new();
        let mut now = Micros(0);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let probe = probes.poll(now, 300_000, 5_000_000, 0).expect("due");
            pass(&mut probes, now, probe, 100_000_000).expect("complete");
            probes.handle_raised(now, 300_000);
            now = now.after_ms(500);
            probes.handle_fall(now, 600_000, 255_000);
            let next = probes.next_timeout(300_000, 5_000_000, 0);
            waits.push(next.since_us(now) / 1_000_000);
            now = next;
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[5] == 5, "{waits:?}");
    }
}
