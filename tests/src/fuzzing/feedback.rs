//! A receiver that says anything at all to the bandwidth estimator that watches its link.
//!
//! Input: operations of four bytes each; one that takes forged feedback is followed by that feedback.

use dataplane::base::ids::{Seq, Ssrc};
use dataplane::base::limits::{BWE_BPS_MAX, BWE_BPS_MIN};
use dataplane::base::time::Micros;
use dataplane::session::bwe::{ClusterId, Estimator, ReceiverEstimate};
use dataplane::wire::rtcp::{RtcpEvent, RtcpWriter, parse};

/// A link and what is known of it.
struct Lane {
    estimator: Estimator,
    now: Micros,
    next: Seq,
    probe: Option<ClusterId>,
}

/// The rate stays within its limits, refused feedback moves nothing, and no timeout lies in the past once it was handled.
pub fn feedback(data: &[u8]) {
    let mut lane =
        Lane { estimator: Estimator::new(), now: Micros(1_000_000), next: Seq(65_000), probe: None };
    let mut rest = data;
    while let [operation, a, b, c, tail @ ..] = rest {
        rest = tail;
        match operation % 8 {
            0 => lane.send(*a % 64, usize::from(*b) * 6, u64::from(*c) * 100),
            1 => lane.wait(u64::from(*a) * 10_000 + u64::from(*b) * 100),
            2 => {
                let (fci, tail) = rest.split_at(usize::from(*a).min(rest.len()));
                rest = tail;
                lane.hear(&forged(fci));
            }
            3 => lane.answer(u16::from(*a), u16::from(*b), *c),
            4 => {
                let estimate = ReceiverEstimate {
                    about: (c % 11 > 0).then_some(Ssrc(u32::from(c % 11))),
                    bps: u64::from(*a) << (b % 57),
                    listed_bps: u64::from(*c) << (a % 50),
                    others_bps: u64::from(*b) << (c % 50),
                };
                let _ = lane.estimator.handle_remb(lane.now, estimate);
            }
            5 => {
                lane.estimator.handle_report(u32::from(*c), *a, u32::from(*b) << (c % 25));
                lane.estimator.judge_reports(lane.now);
            }
            6 => lane.estimator.set_demand(u64::from(*a) << (b % 57)),
            _ => lane.next = lane.next.plus(u16::from_be_bytes([*a, *b])),
        }
        lane.check();
    }
}

impl Lane {
    fn send(&mut self, count: u8, bytes: usize, every_us: u64) {
        for _ in 0..count {
            self.estimator.handle_sent(self.now, self.next, bytes, self.probe);
            self.next = self.next.plus(1);
            self.now = self.now.after_us(every_us);
        }
    }

    fn wait(&mut self, us: u64) {
        self.now = self.now.after_us(us);
        if self.estimator.next_timeout() <= self.now {
            self.estimator.handle_timeout(self.now);
            self.probe = self.estimator.poll_probe(self.now).map(|probe| probe.cluster);
            assert!(self.estimator.next_timeout() > self.now, "the engine would spin");
        }
    }

    /// What a receiver would say of the last `count` packets, all arrived at an even pace but every `lost`th.
    fn answer(&mut self, count: u16, pace_ticks: u16, lost: u8) {
        let every = usize::from(lost % 16) + 2;
        let statuses: Vec<Option<i16>> = (0..usize::from(count))
            .map(|nth| (nth == 0 || nth % every != 0).then_some(if nth == 0 { 0 } else { pace_ticks as i16 }))
            .collect();
        let mut out = vec![0; 2_000];
        let mut writer = RtcpWriter::new(&mut out);
        let reference = (self.now.0 / 64_000) as i32 & 0xff_ffff;
        let base = self.next.plus(0_u16.wrapping_sub(count));
        if writer.twcc((Ssrc(1), Ssrc(2)), base, reference, 0, &statuses).is_ok() {
            let bytes = writer.bytes();
            self.hear(&out[..bytes]);
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        let estimator = &mut self.estimator;
        let now = self.now;
        let _ = parse(datagram, |event| {
            let RtcpEvent::Twcc { feedback, .. } = event else { return };
            let before =
                (estimator.estimate_bps(), estimator.rtt_us(), estimator.acked_bps(), estimator.loss());
            let outcome = estimator.handle_feedback(now, feedback);
            if outcome.fault.is_some() {
                let after =
                    (estimator.estimate_bps(), estimator.rtt_us(), estimator.acked_bps(), estimator.loss());
                assert_eq!((before, outcome.received, outcome.lost), (after, 0, 0), "refused without effect");
            }
        });
    }

    fn check(&self) {
        assert!((BWE_BPS_MIN..=BWE_BPS_MAX).contains(&self.estimator.estimate_bps()));
        assert!(self.estimator.rtt_us() <= 5_000_000);
        let _ = (self.estimator.sent_bps(self.now), self.estimator.queue_us(), self.estimator.next_timeout());
    }
}

/// Any bytes as the control information of transport-wide feedback.
fn forged(fci: &[u8]) -> Vec<u8> {
    let words = fci.len().div_ceil(4);
    let mut datagram = vec![0x8f, 205];
    datagram.extend_from_slice(&(words as u16 + 2).to_be_bytes());
    datagram.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2]);
    datagram.extend_from_slice(fci);
    datagram.resize(12 + 4 * words, 0);
    datagram
}
