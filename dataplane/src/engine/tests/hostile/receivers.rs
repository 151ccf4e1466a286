//! A receiver that lies about its link, or asks for more than it should.

use super::*;
use crate::base::limits::{
    BWE_BPS_MAX, BWE_BPS_MIN, KEYFRAME_WISHES_BURST, RESENDS_BURST, RESENDS_PER_SECOND, RTCP_PER_SECOND,
};
use crate::wire::rtcp::ReportBlock;

const SECONDS: u64 = STEPS / 50;

/// Base, reference time and statuses of forged feedback, by step.
type Forge = fn(u64) -> (u16, i32, Vec<Option<i16>>);

/// The rate that the liar's link was last believed to carry.
fn rate_of_liar(played: &Played) -> u64 {
    let last = played.house.reports.iter().rev().find_map(|report| match report {
        Report::Quality { peer: PeerId(3), estimate_bps, .. } => Some(u64::from(*estimate_bps)),
        _ => None,
    });
    last.expect("reported every two seconds")
}

fn block(ssrc: u32, fraction_lost: u8) -> ReportBlock {
    ReportBlock {
        ssrc: Ssrc(ssrc),
        fraction_lost,
        cumulative_lost: 0x7f_ffff,
        highest_seq: u32::MAX,
        jitter: u32::MAX,
        last_sr: 0,
        delay_since_last_sr: 0,
    }
}

#[test]
fn an_absurd_remb_moves_nobody_but_its_sender() {
    for bps in [0, 1, 1 << 63] {
        let played = play(|house, _| {
            for _ in 0..5 {
                house.send_rtcp(3, |writer| writer.remb(Ssrc(9), bps, &[Ssrc(LIAR[1])]).expect("fits"));
            }
        });
        played.assert_unmoved("REMB");
        let rate = rate_of_liar(&played);
        match bps {
            1 => assert_eq!(rate, BWE_BPS_MIN, "it gets what it asked for, as far as that goes"),
            _ => {
                assert!(rate < BWE_BPS_MAX, "{rate} for {bps}");
                assert_eq!(played.feedback_refused(), 5 * STEPS, "{bps}");
            }
        }
    }
}

#[test]
fn a_remb_that_jumps_up_and_down_moves_nobody_but_its_sender() {
    let mut played = play(|house, step| {
        let bps = if step % 2 == 0 { 10_000 } else { 1_000_000_000 };
        house.send_rtcp(3, |writer| {
            for _ in 0..40 {
                writer.remb(Ssrc(9), bps, &[]).expect("fits");
            }
        });
    });
    played.assert_unmoved("REMB up and down");
    assert!(played.keyframe_requests() as u64 <= 2 + 2 * SECONDS);
}

#[test]
fn forged_arrivals_are_refused_whole() {
    let forgeries: [(&str, Forge); 5] = [
        ("numbers that were never sent", |step| (30_000 + step as u16, 100, vec![Some(0); 20])),
        ("thousands of packets", |_| (1, 100, vec![Some(1); 400])),
        ("thousands of missing packets", |_| {
            (0x7000, 100, {
                let mut statuses = vec![None; 8_000];
                statuses.push(Some(0));
                statuses
            })
        }),
        ("duplicates", |_| (1, 100, vec![Some(4); 2])),
        ("absurd times", |step| {
            (1 + step as u16, if step % 2 == 0 { 0x7f_ffff } else { -0x80_0000 }, vec![Some(i16::MIN)])
        }),
    ];
    for (name, forge) in forgeries {
        let played = play(|house, step| {
            if step < 10 {
                return;
            }
            let (base, reference, statuses) = forge(step);
            for _ in 0..3 {
                house.send_rtcp(3, |writer| {
                    writer.twcc((Ssrc(9), Ssrc(0)), Seq(base), reference, 0, &statuses).expect("fits");
                });
            }
        });
        println!("{name}: {} refused", played.feedback_refused());
        assert!(played.feedback_refused() >= STEPS, "{name}: {} refused", played.feedback_refused());
        played.assert_unmoved(name);
    }
}

#[test]
fn reports_of_total_loss_and_from_the_future_hurt_their_sender_alone() {
    let played = play(|house, step| {
        let future = (house.now.0 >> 4) as u32 | 0x8000_0000;
        house.send_rtcp(3, |writer| {
            let lies = LIAR.map(|ssrc| ReportBlock { last_sr: future, ..block(ssrc, 255) });
            writer.receiver_report(Ssrc(9), &lies).expect("fits");
            let strangers: Vec<ReportBlock> = (0..20).map(|n| block(7_000 + n + step as u32, 255)).collect();
            writer.receiver_report(Ssrc(9), &strangers).expect("fits");
        });
    });
    played.assert_unmoved("receiver reports");
    assert_eq!(played.house.dropped(DropReason::RtcpUnknownSsrc), 20 * STEPS);
    assert!(rate_of_liar(&played) < 200_000, "{}", rate_of_liar(&played));
    let worst = played.house.reports.iter().find_map(|report| match report {
        Report::Quality { peer: PeerId(3), loss_down: 255, rtt_us, .. } => Some(*rtt_us),
        _ => None,
    });
    assert_eq!(worst, Some(0), "a round trip that ends before it began is none");
}

#[test]
fn a_storm_of_nacks_is_bounded_and_repeats_only_to_its_sender() {
    let played = play(|house, _| {
        for first in [0_u16, 0x4000, 0x8000, 0xc000] {
            // All numbers there are, 4,352 in each datagram.
            house.send_rtcp(3, |writer| {
                let numbers = (0..4_352_u16).map(|step| Seq(first.wrapping_add(step)));
                writer.nack(Ssrc(9), Ssrc(LIAR[1]), numbers).expect("fits");
            });
        }
        // What it was sent indeed, and once more.
        let numbers: Vec<u16> = house.client(3).payloads(LIAR[1]).iter().map(|(seq, _)| *seq).collect();
        for _ in 0..4 {
            let numbers = numbers.iter().rev().take(100).map(|seq| Seq(*seq));
            if numbers.len() == 0 {
                break;
            }
            house.send_rtcp(3, |writer| writer.nack(Ssrc(9), Ssrc(LIAR[1]), numbers).expect("fits"));
        }
        // Of another's stream, and of the publisher's own number.
        house.send_rtcp(3, |writer| writer.nack(Ssrc(9), Ssrc(HONEST[1]), [Seq(1)]).expect("fits"));
        house.send_rtcp(3, |writer| writer.nack(Ssrc(9), Ssrc(2), [Seq(1)]).expect("fits"));
    });
    played.assert_unmoved("NACK");
    let resent = played.house.engine.counters().packets_retransmitted;
    let bound = u64::from(RESENDS_BURST) + SECONDS * u64::from(RESENDS_PER_SECOND);
    println!("{resent} of at most {bound} packets repeated");
    assert!(resent <= bound);
    assert!(
        played.house.dropped(DropReason::RateLimited) > 0 && played.house.dropped(DropReason::NotCached) > 0
    );
    assert_eq!(played.house.dropped(DropReason::RtcpUnknownSsrc), 2 * STEPS);
}

#[test]
fn a_storm_of_keyframe_requests_reaches_the_publisher_as_a_few() {
    let mut quiet = play(|_, _| {});
    let before = quiet.keyframe_requests();
    let mut played = play(|house, step| {
        for number in 0..40 {
            house.send_rtcp(3, |writer| {
                for _ in 0..20 {
                    writer.pli(Ssrc(9), Ssrc(LIAR[1])).expect("fits");
                    writer.fir(Ssrc(9), Ssrc(LIAR[1]), (step + number) as u8).expect("fits");
                }
                // Nothing that audio, another's stream or a stranger could answer.
                writer.pli(Ssrc(9), Ssrc(LIAR[0])).expect("fits");
                writer.pli(Ssrc(9), Ssrc(HONEST[1])).expect("fits");
            });
        }
    });
    played.assert_unmoved("PLI");
    let asked = played.keyframe_requests() - before;
    println!("{asked} keyframe requests in {SECONDS} s");
    assert!(asked as u64 <= u64::from(KEYFRAME_WISHES_BURST) + SECONDS / 2, "{asked} in {SECONDS} s");
    let datagrams = 40 * STEPS;
    let heard = u64::from(RTCP_PER_SECOND) * (SECONDS + 1);
    assert!(played.house.dropped(DropReason::RateLimited) >= datagrams - heard);
}

#[test]
fn forged_feedback_does_not_use_up_what_a_peer_may_send() {
    let mut played = play(|house, _| {
        // Somebody who knows a path and has no keys.
        let path = house.client(2).path;
        for _ in 0..50 {
            let mut forged = [0_u8; 60];
            forged[..2].copy_from_slice(&[0x80, 205]);
            forged[59] = 1;
            house.engine.handle_datagram(house.now, path, &mut forged);
        }
    });
    played.assert_unmoved("forged RTCP");
    assert_eq!(played.house.dropped(DropReason::RateLimited), 0);
    assert!(played.house.dropped(DropReason::BadTag) + played.house.dropped(DropReason::Malformed) > 0);
    assert!(played.keyframe_requests() <= 1);
}
