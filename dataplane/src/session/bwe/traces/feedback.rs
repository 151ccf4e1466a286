//! Feedback that is lost, late, repeated, forged or nonsense; pauses; clients without any.

use super::*;
use crate::base::limits::{BWE_BPS_MAX, BWE_BPS_MIN, BWE_BPS_START};

/// Feeds one hand-made feedback packet.
fn feed(
    estimator: &mut Estimator,
    now: Micros,
    base: Seq,
    reference: i32,
    statuses: &[Option<i16>],
) -> FeedbackOutcome {
    let mut out = vec![0; 70_000];
    let mut writer = RtcpWriter::new(&mut out);
    writer.twcc((Ssrc(1), Ssrc(2)), base, reference, 0, statuses).expect("room");
    let bytes = writer.bytes();
    let mut outcome = None;
    // The parser refuses more statuses than one datagram may list.
    let _ = parse(&out[..bytes], |event| {
        if let RtcpEvent::Twcc { feedback, .. } = event {
            outcome = Some(estimator.handle_feedback(now, feedback));
        }
    });
    outcome.unwrap_or_default()
}

#[test]
fn feedback_that_is_lost_late_or_repeated_still_steers() {
    let ways = [
        Return { loss_ppm: 100_000, ..Return::default() },
        Return { late_us: 1_000_000, ..Return::default() },
        Return { duplicate_ppm: 300_000, late_us: 50_000, ..Return::default() },
        Return { loss_ppm: 50_000, late_us: 300_000, duplicate_ppm: 50_000 },
    ];
    for back in ways {
        for seed in 1..=10 {
            let path = Path { rate_bps: 1_000_000, jitter_us: 5_000, loss_ppm: 10_000, ..GOOD };
            let mut lane = Loop::new(seed, path, 3_000_000);
            lane.back = back;
            lane.run_ms(40_000);
            let (share, over) = (lane.utilisation(25), lane.overshoot_ms(25));
            println!("{back:?} seed {seed}: {share} % used, over {over} ms, {} refused", lane.faults);
            lane.trace("return");
            assert!(share >= 70, "{back:?} seed {seed}: {share} %");
            assert!(over <= 2_000, "{back:?} seed {seed}: {over} ms");
        }
    }
}

#[test]
fn feedback_at_any_pace_steers() {
    for every_us in [50_000, 250_000] {
        for seed in 1..=10 {
            let path =
                Path { rate_bps: 800_000, delay_us: 60_000, jitter_us: 8_000, loss_ppm: 20_000, ..GOOD };
            let mut lane = Loop::new(seed, path, 3_000_000);
            lane.feedback_every_us = every_us;
            lane.frame_us = 66_000;
            lane.run_ms(40_000);
            let (share, over) = (lane.utilisation(25), lane.overshoot_ms(25));
            println!("every {} ms, seed {seed}: {share} % used, over {over} ms", every_us / 1_000);
            assert!(share >= 80, "seed {seed}: {share} %");
            assert!(over <= 1_200, "seed {seed}: {over} ms");
        }
    }
}

#[test]
fn minutes_of_silence_change_nothing_and_numbers_wrap() {
    for seed in 1..=5 {
        let mut lane = Loop::new(seed, GOOD, 3_000_000);
        lane.run_ms(5_000);
        let before = lane.estimator.estimate_bps();
        lane.want(0);
        lane.run_ms(200_000);
        assert_eq!(lane.estimator.estimate_bps(), before, "seed {seed}");
        assert!(lane.estimator.has_feedback());
        lane.want(3_000_000);
        // At ~320 packets a second all numbers are used.
        lane.run_ms(210_000);
        let (share, bps) = (lane.utilisation(200), lane.estimator.estimate_bps());
        println!("seed {seed}: {share} % of the link, {bps} bit/s, {} refused", lane.faults);
        assert!(bps >= before * 9 / 10, "seed {seed}: {bps}");
        assert!(share >= 57, "seed {seed}: {share} % of a link of which 60 % are wanted");
        assert_eq!(lane.faults, 0);
    }
}

#[test]
fn the_worst_lies_are_told_apart_and_change_nothing() {
    let mut estimator = Estimator::new();
    let now = Micros(1_000_000_000);
    let nothing = estimator.estimate_bps();
    let fault = |outcome: FeedbackOutcome| outcome.fault;
    assert_eq!(fault(feed(&mut estimator, now, Seq(5), 0, &[Some(1)])), Some(FeedbackFault::NeverSent));
    for step in 0..5_000 {
        estimator.handle_sent(now.after_us(u64::from(step) * 100), Seq(step), 1_000, None);
    }
    let now = now.after_ms(600);
    assert_eq!(
        fault(feed(&mut estimator, now, Seq(4_990), 0, &[Some(1); 20])),
        Some(FeedbackFault::NeverSent)
    );
    assert_eq!(fault(feed(&mut estimator, now, Seq(10), 0, &[Some(1); 20])), Some(FeedbackFault::TooOld));
    let good = feed(&mut estimator, now, Seq(4_900), 1_000, &[Some(1), None, Some(1)]);
    assert_eq!(good, FeedbackOutcome { received: 2, lost: 1, fault: None });
    assert_eq!(
        fault(feed(&mut estimator, now, Seq(4_900), 1_000, &[Some(1), None, Some(1)])),
        Some(FeedbackFault::Repeated)
    );
    let absurd =
        |estimator: &mut Estimator, base| feed(estimator, now, Seq(base), 9_000, &[Some(1); 5]).fault;
    assert_eq!(absurd(&mut estimator, 4_910), Some(FeedbackFault::Absurd));
    assert_eq!(absurd(&mut estimator, 4_920), Some(FeedbackFault::Absurd));
    assert_eq!(absurd(&mut estimator, 4_930), None, "a clock that stays changed was set");
    assert_eq!(estimator.estimate_bps(), nothing);
}

#[test]
fn no_feedback_can_panic_or_leave_the_range() {
    let mut rng = Rng::new(9);
    for _ in 0..300 {
        let mut estimator = Estimator::new();
        let mut now = Micros(rng.below(1 << 40));
        let mut seq = Seq(rng.next_u64() as u16);
        estimator.set_demand(rng.next_u64() >> rng.below(64));
        for _ in 0..60 {
            let mut cluster = estimator.poll_probe(now).map(|probe| probe.cluster);
            for _ in 0..rng.below(200) {
                now = now.after_us(rng.below(2_000));
                seq = seq.plus(if rng.chance_ppm(10_000) { rng.below(70_000) as u16 } else { 1 });
                estimator.handle_sent(now, seq, rng.below(100_000) as usize, cluster);
                cluster = cluster.filter(|_| rng.chance_ppm(900_000));
            }
            now = now.after_us(if rng.chance_ppm(20_000) { rng.below(1 << 36) } else { rng.below(200_000) });
            // Mostly near the truth, so that it gets past the door.
            let reach = if rng.chance_ppm(100_000) { 65_536 } else { 250 };
            let length = if rng.chance_ppm(50_000) { 9_000 } else { 250 };
            let base = Seq(seq.0.wrapping_sub(rng.below(reach) as u16));
            let count = 1 + rng.below(length) as u16;
            let count = if rng.chance_ppm(800_000) { count.min(seq.steps_from(base).max(1)) } else { count };
            let wild = rng.chance_ppm(200_000);
            let statuses: Vec<_> = (0..count)
                .map(|_| {
                    let delta = if wild { rng.next_u64() as i16 } else { rng.below(40) as i16 - 2 };
                    rng.chance_ppm(900_000).then_some(delta)
                })
                .collect();
            let reference = if rng.chance_ppm(100_000) {
                rng.next_u64() as i32 >> 8
            } else {
                (now.0 / 64_000) as i32 & 0x7f_ffff
            };
            feed(&mut estimator, now, base, reference, &statuses);
            if rng.chance_ppm(100_000) {
                let _ = estimator.handle_remb(now, remb(rng.next_u64() >> rng.below(64)));
                estimator.handle_report(rng.next_u64() as u32, rng.next_u64() as u8, rng.next_u64() as u32);
                estimator.judge_reports(now);
            }
            if now >= estimator.next_timeout() {
                estimator.handle_timeout(now);
            }
            assert!((BWE_BPS_MIN..=BWE_BPS_MAX).contains(&estimator.estimate_bps()));
            let _ = (estimator.loss(), estimator.rtt_us(), estimator.sent_bps(now), estimator.acked_bps());
            let _ = (estimator.state(), estimator.queue_us());
        }
    }
}

#[test]
fn a_client_with_feedback_is_not_moved_by_its_other_reports() {
    let mut lane = Loop::new(1, GOOD, 2_000_000);
    lane.run_ms(5_000);
    let before = lane.estimator.estimate_bps();
    let now = Micros(lane.now_us);
    for absurd in [0, 1, 30_000, u64::MAX] {
        let _ = lane.estimator.handle_remb(now, remb(absurd));
    }
    for second in 0..100 {
        report(&mut lane.estimator, now.after_ms(second * 1_000), 255, 1);
    }
    assert_eq!(lane.estimator.estimate_bps(), before);
}

/// An estimate about everything.
fn remb(bps: u64) -> ReceiverEstimate {
    ReceiverEstimate { bps, ..ReceiverEstimate::default() }
}

/// What one report says of everything sent.
fn report(estimator: &mut Estimator, now: Micros, fraction_lost: u8, rtt_us: u32) {
    estimator.handle_report(50, fraction_lost, rtt_us);
    estimator.judge_reports(now);
}

#[test]
fn a_client_without_feedback_is_steered_by_its_estimate_and_its_reports() {
    let mut estimator = Estimator::new();
    let at = |second: u64| Micros(second * 1_000_000);
    // As much as is allowed, until the end of each second.
    let fill = |estimator: &mut Estimator, second: u64| {
        let bytes = (estimator.estimate_bps() / 800) as usize;
        (0..100).for_each(|n| estimator.handle_sent_unnumbered(at(second).after_ms(10 * n), bytes));
    };
    estimator.set_demand(2_000_000);
    assert!(!estimator.has_feedback() && estimator.poll_probe(at(0)).is_none());
    assert_eq!(estimator.handle_remb(at(1), remb(500_000)), Ok(()));
    assert_eq!(estimator.handle_remb(at(2), remb(400_000)), Ok(()));
    assert_eq!(estimator.estimate_bps(), 400_000);
    for absurd in [0, u64::MAX] {
        assert_eq!(estimator.handle_remb(at(2), remb(absurd)), Err(FeedbackFault::Absurd));
        assert_eq!(estimator.estimate_bps(), 400_000);
    }
    for second in 3..100 {
        fill(&mut estimator, second - 1);
        report(&mut estimator, at(second), 0, 80_000);
    }
    assert_eq!(estimator.estimate_bps(), 2_500_000, "a quarter above what is wanted");
    assert!((60_000..100_000).contains(&estimator.rtt_us()));
    for second in 100..106 {
        fill(&mut estimator, second - 1);
        report(&mut estimator, at(second), 128, 80_000);
    }
    assert!(estimator.estimate_bps() < 1_000_000, "{}", estimator.estimate_bps());
    for second in 106..200 {
        fill(&mut estimator, second - 1);
        report(&mut estimator, at(second), 255, 80_000);
    }
    assert_eq!(estimator.estimate_bps(), BWE_BPS_MIN);
    assert!(estimator.loss() > 250);
}

#[test]
fn a_client_whose_feedback_ends_for_good_falls_back_to_reports() {
    let mut lane = Loop::new(1, GOOD, 2_000_000);
    lane.run_ms(5_000);
    lane.back.loss_ppm = 1_000_000;
    lane.run_ms(8_000);
    assert!(!lane.estimator.has_feedback());
    let low = lane.estimator.estimate_bps();
    assert!(low < BWE_BPS_START);
    let now = Micros(lane.now_us);
    for second in 0..20 {
        report(&mut lane.estimator, now.after_ms(second * 1_000), 0, 50_000);
    }
    assert!(lane.estimator.estimate_bps() > low * 2);
    lane.back.loss_ppm = 0;
    lane.run_ms(5_000);
    assert!(lane.estimator.has_feedback());
    assert!(lane.estimator.estimate_bps() >= 2_000_000, "{}", lane.estimator.estimate_bps());
}
