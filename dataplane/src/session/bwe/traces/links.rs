//! Links of all kinds: found, used, left in time, found again.

use super::*;

#[test]
fn a_link_of_5_mbit_is_found_within_three_seconds() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, GOOD, 8_000_000);
        let found = lane.until_ms(5_000, |bps| bps >= 4_250_000);
        println!("seed {seed}: {found:?} ms, {} probes", lane.probes);
        lane.run_ms(1);
        lane.trace("ramp");
        assert!(found.is_some_and(|ms| ms < 3_000), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_link_that_shrinks_is_left_in_two_seconds_and_found_again_in_ten() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, Path { queue_us_max: 500_000, ..GOOD }, 4_000_000);
        lane.run_ms(10_000);
        lane.path.rate_bps = 300_000;
        let below = lane.until_ms(5_000, |bps| bps < 300_000);
        let drained = (0..5_000).find(|_| {
            lane.step();
            lane.free_us.saturating_sub(lane.now_us) < 60_000
        });
        lane.run_ms(15_000);
        let (share, over, queue_us) = (lane.utilisation(10), lane.overshoot_ms(10), lane.queue_us_max(10));
        lane.path.rate_bps = 5_000_000;
        let back = lane.until_ms(20_000, |bps| bps >= 4_000_000);
        println!(
            "seed {seed}: below after {below:?} ms, empty {drained:?} ms later; {share} % used, over {over} ms, queue {} ms; back after {back:?} ms",
            queue_us / 1_000
        );
        lane.trace("shrink");
        assert!(below.is_some_and(|ms| ms < 2_000), "seed {seed}: {below:?}");
        assert!(drained.is_some_and(|ms| ms < 2_500), "seed {seed}: {drained:?}");
        assert!(share >= 80, "seed {seed}: {share} %");
        assert!(back.is_some_and(|ms| ms < 10_000), "seed {seed}: {back:?}");
    }
}

#[test]
fn a_connection_that_stalls_is_taken_up_where_it_was() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, Path { queue_us_max: u64::MAX / 2, ..GOOD }, 4_000_000);
        lane.run_ms(8_000 + 100 * seed);
        let before = lane.estimator.estimate_bps();
        assert!(before >= 4_000_000, "seed {seed}: {before}");
        // Sound goes on and waits.
        let stall_us = 1_000_000 * seed;
        lane.free_us = lane.now_us + stall_us;
        lane.media_bps = 30_000;
        for _ in 0..stall_us / 1_000 {
            lane.estimator.watch_connection(Micros(lane.now_us), true);
            lane.step();
        }
        lane.estimator.watch_connection(Micros(lane.now_us), false);
        lane.media_bps = u64::MAX;
        let mut least = u64::MAX;
        for _ in 0..5_000 {
            lane.step();
            least = least.min(lane.estimator.estimate_bps());
        }
        lane.trace("stall");
        assert!(least >= before / 2, "seed {seed}: {least} of {before}");
        assert!(lane.estimator.estimate_bps() >= before * 9 / 10 && lane.faults == 0, "seed {seed}");
    }
}

#[test]
fn what_a_stalled_connection_drops_is_not_the_links_loss() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, Path { queue_us_max: u64::MAX / 2, ..GOOD }, 4_000_000);
        lane.run_ms(8_000 + 100 * seed);
        let before = lane.estimator.estimate_bps();
        lane.free_us = lane.now_us + 3_000_000;
        (lane.media_bps, lane.path.loss_ppm) = (600_000, 900_000);
        for _ in 0..3_000 {
            lane.estimator.watch_connection(Micros(lane.now_us), true);
            lane.step();
        }
        lane.estimator.watch_connection(Micros(lane.now_us), false);
        (lane.media_bps, lane.path.loss_ppm) = (u64::MAX, GOOD.loss_ppm);
        let least = (0..5_000).map(|_| {
            lane.step();
            lane.estimator.estimate_bps()
        });
        let least = least.min().expect("five seconds of it");
        assert!(least >= before * 3 / 4, "seed {seed}: {least} of {before}");
    }
}

#[test]
fn a_connection_that_is_slow_is_not_taken_for_one_that_stalls() {
    for seed in 1..=10 {
        let path = Path { rate_bps: 100_000, queue_us_max: u64::MAX / 2, ..GOOD };
        let mut lane = Loop::new(seed, path, 2_000_000);
        // The kernel takes 8 KiB at a time, and pictures wait meanwhile.
        let mut taken = 0;
        for _ in 0..20_000 {
            let waits_us = lane.free_us.saturating_sub(lane.now_us);
            if waits_us < 650_000 {
                taken = 20;
            }
            let congested = taken == 0;
            taken -= u64::from(!congested);
            if waits_us > 0 {
                lane.estimator.watch_connection(Micros(lane.now_us), congested);
            }
            lane.media_bps = if congested { 20_000 } else { u64::MAX };
            lane.step();
        }
        lane.trace("slow connection");
        let found = lane.estimator.estimate_bps();
        assert!(found < 130_000, "seed {seed}: {found}");
    }
}

#[test]
fn a_slow_link_that_also_loses_five_percent_is_used() {
    for seed in 1..=20 {
        let path = Path {
            rate_bps: 300_000,
            queue_us_max: 300_000,
            delay_us: 80_000,
            jitter_us: 5_000,
            loss_ppm: 50_000,
        };
        let mut lane = Loop::new(seed, path, 4_000_000);
        lane.run_ms(30_000);
        let (share, over, queue_us) = (lane.utilisation(20), lane.overshoot_ms(20), lane.queue_us_max(20));
        println!(
            "seed {seed}: {share} % used, over {over} ms, queue {} ms, {} probes",
            queue_us / 1_000,
            lane.probes
        );
        lane.trace("slow");
        assert!(share >= 80, "seed {seed}: {share} %");
        assert!(over <= 1_000, "seed {seed}: {over} ms");
    }
}

#[test]
fn links_of_all_kinds_are_used_and_not_overrun() {
    let mut wrong = Vec::new();
    for seed in 1..=kinds() {
        let mut rng = Rng::new(1_000 + seed);
        // As many slow links as fast ones.
        let spread_bps = (150_000 << rng.below(7)).min(7_850_000);
        let path = Path {
            rate_bps: 150_000 + rng.below(spread_bps),
            queue_us_max: 200_000 + rng.below(300_000),
            delay_us: 5_000 + rng.below(145_000),
            jitter_us: rng.below(15_001),
            loss_ppm: rng.below(50_001) as u32,
        };
        let mut lane = Loop::new(seed, path, 10_000_000);
        lane.run_ms(40_000);
        let (share, over, queue_us) = (lane.utilisation(25), lane.overshoot_ms(25), lane.queue_us_max(25));
        println!(
            "seed {seed}: {:5} kbit/s {:3} ms jitter {:2} ms loss {:.1} %: {share} % used, over {over} ms, queue {} ms, {} probes",
            path.rate_bps / 1_000,
            path.delay_us / 1_000,
            path.jitter_us / 1_000,
            f64::from(path.loss_ppm) / 10_000.0,
            queue_us / 1_000,
            lane.probes
        );
        lane.trace(&format!("kinds {seed}"));
        if share < 80 || over > 1_000 {
            wrong.push((seed, path, share, over));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sending_little_keeps_the_estimate_and_wanting_more_raises_it() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, GOOD, 50_000);
        lane.run_ms(20_000);
        assert_eq!(lane.estimator.estimate_bps(), crate::base::limits::BWE_BPS_START, "seed {seed}");
        lane.want(3_000_000);
        let found = lane.until_ms(5_000, |bps| bps >= 3_000_000);
        assert!(found.is_some_and(|ms| ms < 2_000), "seed {seed}: {found:?}");
        lane.run_ms(1_000);
        let before = lane.estimator.estimate_bps();
        lane.want(50_000);
        lane.run_ms(60_000);
        assert_eq!(lane.estimator.estimate_bps(), before, "seed {seed}");
    }
}

#[test]
fn random_loss_without_delay_costs_little() {
    for (loss_ppm, least) in [(50_000, 80), (80_000, 80), (100_000, 80)] {
        for seed in 1..=10 {
            let path = Path { rate_bps: 2_000_000, delay_us: 50_000, loss_ppm, ..GOOD };
            let mut lane = Loop::new(seed, path, 4_000_000);
            lane.run_ms(60_000);
            let share = lane.utilisation(45);
            println!("{} % loss, seed {seed}: {share} % used", loss_ppm / 10_000);
            lane.trace("loss");
            assert!(share >= least, "{loss_ppm} ppm, seed {seed}: {share} %");
        }
    }
}

#[test]
fn bursts_of_loss_do_not_collapse_the_rate() {
    for seed in 1..=10 {
        let path = Path { rate_bps: 2_000_000, delay_us: 50_000, ..GOOD };
        let mut lane = Loop::new(seed, path, 4_000_000);
        // Twelve packets in a row, 5 % of all.
        lane.burst_ppm = 4_200;
        lane.burst_packets = 12;
        lane.run_ms(60_000);
        let share = lane.utilisation(45);
        println!("seed {seed}: {share} % used, loss {}/256", lane.estimator.loss());
        lane.trace("burst");
        assert!(share >= 75, "seed {seed}: {share} %");
    }
}

#[test]
fn a_policer_that_only_drops_is_obeyed() {
    for seed in 1..=10 {
        let path = Path { rate_bps: 1_000_000, queue_us_max: 20_000, delay_us: 40_000, ..GOOD };
        let mut lane = Loop::new(seed, path, 4_000_000);
        // Audio and slices: a whole frame at once would not fit its queue at any rate.
        lane.frame_us = 10_000;
        lane.run_ms(30_000);
        let (share, over) = (lane.utilisation(20), lane.overshoot_ms(20));
        let sent: u64 = lane.tenths[100..].iter().map(|tenth| tenth.sent_bytes * 8 / 20).sum();
        println!("seed {seed}: {share} % used, sent {} kbit/s, over {over} ms", sent / 1_000);
        lane.trace("policer");
        assert!(share >= 75, "seed {seed}: {share} %");
        assert!(sent <= 1_150_000, "seed {seed}: {sent}");
    }
}

#[test]
fn a_bucket_that_lets_bursts_through_is_not_believed_for_long() {
    for seed in 1..=10 {
        let path = Path { rate_bps: 300_000, delay_us: 80_000, loss_ppm: 50_000, ..GOOD };
        let mut lane = Loop::new(seed, path, 4_000_000);
        lane.bucket_bytes = 8_000;
        lane.run_ms(40_000);
        let (share, over, queue_us) = (lane.utilisation(20), lane.overshoot_ms(20), lane.queue_us_max(20));
        println!(
            "seed {seed}: {share} % used, over {over} ms, queue {} ms, {} probes",
            queue_us / 1_000,
            lane.probes
        );
        lane.trace("bucket");
        assert!(share >= 75, "seed {seed}: {share} %");
        assert!(over <= 2_000, "seed {seed}: {over} ms");
    }
}

#[test]
fn layers_that_do_not_fill_the_link_are_no_limit_for_finding_it() {
    for (link_bps, found_bps) in [(5_000_000, 3_500_000), (1_000_000, 750_000)] {
        for seed in 1..=10 {
            let mut lane = Loop::new(seed, Path { rate_bps: link_bps, ..GOOD }, 3_500_000);
            lane.media_bps = 250_000;
            let found = lane.until_ms(20_000, |bps| bps >= found_bps);
            lane.run_ms(20_000);
            let highest = lane.tenths[100..].iter().map(|tenth| tenth.estimate_bps).max().expect("ran");
            println!("seed {seed}: {found:?} ms, at most {} kbit/s of {}", highest / 1_000, link_bps / 1_000);
            assert!(found.is_some_and(|ms| ms < 5_000), "seed {seed}: {found:?}");
            assert!(highest <= (link_bps * 5 / 4).min(3_500_000 * 5 / 4), "seed {seed}: {highest}");
        }
    }
}

#[test]
fn a_link_that_is_gone_for_a_while_is_found_again() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, GOOD, 3_000_000);
        lane.run_ms(5_000);
        lane.path.loss_ppm = 1_000_000;
        lane.run_ms(4_000);
        let during = lane.estimator.estimate_bps();
        lane.path.loss_ppm = 0;
        let back = lane.until_ms(15_000, |bps| bps >= 2_700_000);
        println!("seed {seed}: {during} bit/s while gone, back after {back:?} ms");
        lane.trace("gone");
        assert!(during < 1_500_000, "seed {seed}: {during}");
        assert!(back.is_some_and(|ms| ms < 10_000), "seed {seed}: {back:?}");
    }
}

#[test]
fn a_longer_route_is_not_taken_for_a_queue() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, GOOD, 3_000_000);
        lane.run_ms(10_000);
        lane.path.delay_us += 150_000;
        lane.run_ms(25_000);
        let (share, bps) = (lane.utilisation(10), lane.estimator.estimate_bps());
        println!("seed {seed}: {share} % used, {} kbit/s", bps / 1_000);
        lane.trace("route");
        assert!(bps >= 2_700_000, "seed {seed}: {bps}");
    }
}

#[test]
fn a_receiver_whose_media_is_all_paused_is_found_by_padding_alone() {
    for seed in 1..=10 {
        let mut lane = Loop::new(seed, GOOD, 4_000_000);
        lane.run_ms(5_000);
        lane.path.rate_bps = 100_000;
        // Until the rate falls: then delay grows and all media is paused at once.
        assert!(lane.until_ms(5_000, |bps| bps < 1_000_000).is_some(), "seed {seed}");
        lane.media_bps = 0;
        lane.media_bytes = 0;
        lane.run_ms(5_000);
        lane.path.rate_bps = 5_000_000;
        let back = lane.until_ms(20_000, |bps| bps >= 4_000_000);
        println!("seed {seed}: {back:?} ms");
        lane.trace("padding");
        assert!(back.is_some_and(|ms| ms < 12_000), "seed {seed}: {back:?}");
    }
}
