//! The estimator in a closed loop: a sender that obeys it, a link with a bottleneck, a receiver that sends feedback as browsers do.
//! Virtual time in steps of 1 ms, everything from a seed.

mod feedback;
mod links;

use std::collections::BTreeMap;

use super::*;
use crate::base::ids::Ssrc;
use crate::base::rng::Rng;
use crate::session::twcc::{FEEDBACK_BYTES_MAX, TwccRecorder};
use crate::wire::rtcp::{RtcpEvent, RtcpWriter, parse};

/// One direction with a bottleneck; order is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Path {
    rate_bps: u64,
    queue_us_max: u64,
    delay_us: u64,
    jitter_us: u64,
    loss_ppm: u32,
}

const GOOD: Path =
    Path { rate_bps: 5_000_000, queue_us_max: 300_000, delay_us: 20_000, jitter_us: 1_000, loss_ppm: 0 };

/// What happens to feedback on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Return {
    loss_ppm: u32,
    /// Up to this much more delay each, so order is not kept.
    late_us: u64,
    duplicate_ppm: u32,
}

/// One tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Tenth {
    sent_bytes: u64,
    delivered_bytes: u64,
    estimate_bps: u64,
    queue_us: u64,
}

struct Loop {
    now_us: u64,
    rng: Rng,
    estimator: Estimator,
    path: Path,
    back: Return,
    /// A burst of losses begins, parts per million of packets, and takes so many.
    burst_ppm: u32,
    burst_packets: u32,
    burst_left: u32,
    /// Bytes that pass an idle bottleneck at once.
    bucket_bytes: u64,
    free_us: u64,
    latest_us: u64,
    /// Arrival by time and order: number and bytes.
    flying: BTreeMap<(u64, u64), (Seq, usize)>,
    feedback: BTreeMap<(u64, u64), Vec<u8>>,
    order: u64,
    recorder: TwccRecorder,
    feedback_every_us: u64,
    seq: Seq,
    wanted_bps: u64,
    /// What media could use at most, whatever is wanted: the layers there are.
    media_bps: u64,
    /// Bits that media may send, millionths; bytes waiting for the pacer.
    media_level: u64,
    media_bytes: u64,
    frame_us: u64,
    pace_level: u64,
    /// Packets of a cluster: when, size.
    cluster: Option<(Probe, Vec<(u64, usize)>)>,
    probes: u32,
    faults: u32,
    tenths: Vec<Tenth>,
}

impl Loop {
    fn new(seed: u64, path: Path, wanted_bps: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut estimator = Estimator::new();
        let now_us = 10_000_000 + rng.below(1 << 36);
        estimator.set_demand(wanted_bps);
        Self {
            now_us,
            estimator,
            path,
            back: Return::default(),
            burst_ppm: 0,
            burst_packets: 0,
            burst_left: 0,
            bucket_bytes: 0,
            free_us: 0,
            latest_us: 0,
            flying: BTreeMap::new(),
            feedback: BTreeMap::new(),
            order: 0,
            recorder: TwccRecorder::new(),
            feedback_every_us: 100_000,
            seq: Seq(rng.next_u64() as u16),
            rng,
            wanted_bps,
            media_bps: u64::MAX,
            media_level: 0,
            media_bytes: 0,
            frame_us: 33_000,
            pace_level: 0,
            cluster: None,
            probes: 0,
            faults: 0,
            tenths: Vec::new(),
        }
    }

    fn want(&mut self, wanted_bps: u64) {
        self.wanted_bps = wanted_bps;
        self.estimator.set_demand(wanted_bps);
    }

    fn tenth(&mut self) -> &mut Tenth {
        self.tenths.last_mut().expect("begun by step")
    }

    fn send(&mut self, at_us: u64, bytes: usize, cluster: Option<ClusterId>) {
        self.estimator.handle_sent(Micros(at_us), self.seq, bytes, cluster);
        self.tenth().sent_bytes += bytes as u64;
        let lost = self.rng.chance_ppm(self.path.loss_ppm) || self.burst_left > 0;
        let jitter_us = self.rng.below(self.path.jitter_us + 1);
        self.burst_left = self.burst_left.saturating_sub(1);
        if self.rng.chance_ppm(self.burst_ppm) {
            self.burst_left = self.burst_packets;
        }
        // What the bucket holds passes as if the link had been free for as long as the bucket took to fill.
        let bucket_us = self.bucket_bytes * 8_000_000 / self.path.rate_bps;
        let starts_us = self.free_us.max(at_us - bucket_us);
        if !lost && starts_us.saturating_sub(at_us) <= self.path.queue_us_max {
            self.free_us = starts_us + bytes as u64 * 8_000_000 / self.path.rate_bps;
            let leaves_us = self.free_us.max(at_us);
            self.latest_us = self.latest_us.max(leaves_us + self.path.delay_us + jitter_us);
            self.order += 1;
            self.flying.insert((self.latest_us, self.order), (self.seq, bytes));
        }
        self.seq = self.seq.plus(1);
    }

    fn step(&mut self) {
        self.now_us += 1_000;
        let now = Micros(self.now_us);
        if self.now_us % 100_000 < 1_000 || self.tenths.is_empty() {
            self.tenths.push(Tenth::default());
        }
        while let Some((&(at_us, order), &(seq, bytes))) = self.flying.first_key_value()
            && at_us <= self.now_us
        {
            self.flying.remove(&(at_us, order));
            // A clock of its own, a little fast.
            self.recorder.record(Micros(777_000_000 + at_us + at_us / 50_000), seq);
            self.tenth().delivered_bytes += bytes as u64;
        }
        if self.now_us % self.feedback_every_us < 1_000 {
            while self.recorder.has_pending() {
                let mut out = vec![0; FEEDBACK_BYTES_MAX];
                let mut writer = RtcpWriter::new(&mut out);
                self.recorder.write_feedback(Ssrc(1), Ssrc(2), &mut writer).expect("the promised space");
                let bytes = writer.bytes();
                out.truncate(bytes);
                if self.rng.chance_ppm(self.back.loss_ppm) {
                    continue;
                }
                let copies = 1 + u64::from(self.rng.chance_ppm(self.back.duplicate_ppm));
                for _ in 0..copies {
                    let late_us = self.rng.below(self.back.late_us + 1);
                    self.order += 1;
                    self.feedback
                        .insert((self.now_us + self.path.delay_us + late_us, self.order), out.clone());
                }
            }
        }
        while let Some((&key, _)) = self.feedback.first_key_value()
            && key.0 <= self.now_us
        {
            let bytes = self.feedback.remove(&key).expect("just seen");
            let (estimator, faults) = (&mut self.estimator, &mut self.faults);
            parse(&bytes, |event| {
                if let RtcpEvent::Twcc { feedback, .. } = event {
                    *faults += u32::from(estimator.handle_feedback(now, feedback).fault.is_some());
                }
            })
            .expect("well-formed");
        }
        if now >= self.estimator.next_timeout() {
            self.estimator.handle_timeout(now);
        }
        self.send_probe(now);
        assert!(self.cluster.is_some() || self.estimator.next_timeout() > now, "nobody wakes for nothing");
        self.send_media();
        let (estimate_bps, queue_us) =
            (self.estimator.estimate_bps(), self.free_us.saturating_sub(self.now_us));
        let tenth = self.tenth();
        tenth.estimate_bps = estimate_bps;
        tenth.queue_us = tenth.queue_us.max(queue_us);
    }

    fn send_probe(&mut self, now: Micros) {
        if self.cluster.is_none() {
            self.cluster = self.estimator.poll_probe(now).map(|probe| {
                self.probes += 1;
                let packets = (probe.bytes as u64 / 1_200).max(u64::from(probe.packets_min));
                let bytes = (probe.bytes as u64 / packets).max(20);
                let at = |packet| now.0 + packet * bytes * 8_000_000 / probe.rate_bps;
                (probe, (0..packets).map(|packet| (at(packet), bytes as usize)).collect())
            });
        }
        let Some((probe, mut packets)) = self.cluster.take() else { return };
        while packets.first().is_some_and(|(at_us, _)| *at_us <= self.now_us) {
            let (at_us, bytes) = packets.remove(0);
            self.send(at_us, bytes, Some(probe.cluster));
        }
        self.cluster = (!packets.is_empty()).then_some((probe, packets));
    }

    /// Frames at the rate that is allowed, paced at two and a half times of it.
    fn send_media(&mut self) {
        let rate_bps = self.estimator.estimate_bps().min(self.wanted_bps).min(self.media_bps);
        self.media_level += rate_bps * 1_000 / 8;
        if self.now_us % self.frame_us < 1_000 {
            self.media_bytes += self.media_level / 1_000_000;
            self.media_level %= 1_000_000;
        }
        let pace = self.estimator.estimate_bps() * 5 / 2 * 1_000 / 8;
        self.pace_level = (self.pace_level + pace).min(pace.max(1_200_000_000));
        while self.media_bytes > 0 {
            let bytes = self.media_bytes.min(1_200);
            if self.pace_level < bytes * 1_000_000 {
                break;
            }
            self.pace_level -= bytes * 1_000_000;
            self.media_bytes -= bytes;
            let cluster = self.cluster.as_ref().map(|(probe, _)| probe.cluster);
            self.send(self.now_us, bytes as usize, cluster);
        }
    }

    fn run_ms(&mut self, milliseconds: u64) {
        (0..milliseconds).for_each(|_| self.step());
    }

    /// Steps until the estimate meets a condition; answers how long it took.
    fn until_ms(&mut self, limit_ms: u64, met: impl Fn(u64) -> bool) -> Option<u64> {
        (0..limit_ms).find(|_| {
            self.step();
            met(self.estimator.estimate_bps())
        })
    }

    /// Delivered share of the link in the last `seconds`, per cent.
    fn utilisation(&self, seconds: usize) -> u64 {
        let last = &self.tenths[self.tenths.len() - seconds * 10..];
        last.iter().map(|tenth| tenth.delivered_bytes * 8).sum::<u64>() * 100
            / (self.path.rate_bps * seconds as u64)
    }

    /// Longest time in the last `seconds` that more than 1.1 times the link was sent, milliseconds.
    fn overshoot_ms(&self, seconds: usize) -> usize {
        let last = &self.tenths[self.tenths.len() - seconds * 10..];
        // Averaged over half a second: frames come in lumps.
        let over = last.windows(5).map(|tenths| {
            tenths.iter().map(|tenth| tenth.sent_bytes * 8).sum::<u64>() * 10
                > self.path.rate_bps * 5 * 11 / 10
        });
        let (mut run, mut longest) = (0, 0);
        for is_over in over {
            run = if is_over { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest * 100
    }

    fn queue_us_max(&self, seconds: usize) -> u64 {
        self.tenths[self.tenths.len() - seconds * 10..].iter().map(|tenth| tenth.queue_us).max().unwrap_or(0)
    }

    fn trace(&self, name: &str) {
        if std::env::var_os("BWE_TRACE").is_none() {
            return;
        }
        for (at, tenth) in self.tenths.iter().enumerate() {
            println!(
                "{name} {:5.1} s: sent {:6} delivered {:6} estimate {:6} kbit/s queue {:4} ms",
                at as f64 / 10.0,
                tenth.sent_bytes * 8 / 100,
                tenth.delivered_bytes * 8 / 100,
                tenth.estimate_bps / 1_000,
                tenth.queue_us / 1_000
            );
        }
    }
}

/// Links of all kinds that are tried.
fn kinds() -> u64 {
    std::env::var("BWE_KINDS").ok().and_then(|count| count.parse().ok()).unwrap_or(40)
}
