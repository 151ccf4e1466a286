//! Bad input: counted, without effect, without an answer.

use super::*;
use crate::base::limits::DTLS_PER_SECOND;
use crate::base::rng::Rng;

/// What must not change by anything unauthenticated.
fn fingerprint(house: &House) -> (EngineSizes, u64, u64) {
    let counters = house.engine.counters();
    (house.engine.sizes(), counters.packets_forwarded, counters.packets_retransmitted)
}

fn stranger() -> Path {
    Path { local: ([10, 0, 0, 1], 7885).into(), remote: ([203, 0, 113, 9], 9).into() }
}

/// One flush; nothing may be sent to `path`.
fn silent(house: &mut House, path: Path) {
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let _ = house.engine.flush(house.now, &mut wire);
    assert!(wire.sent.iter().all(|(to, _)| *to != path), "an unauthenticated datagram was answered");
}

#[test]
fn stun_with_wrong_integrity_or_user_creates_no_state_and_gets_no_answer() {
    let mut house = House::new();
    house.open(1, 10);
    let before = fingerprint(&house);
    let good = house.check_bytes(1, true);
    house.client(1).pwd = "another one of 22 byte";
    let mut wrong_password = house.check_bytes(1, true);
    house.engine.handle_datagram(house.now, stranger(), &mut wrong_password);
    assert_eq!(house.dropped(DropReason::StunBadIntegrity), 1);
    house.client(1).random = 999;
    let mut wrong_user = house.check_bytes(1, true);
    house.engine.handle_datagram(house.now, stranger(), &mut wrong_user);
    assert_eq!(house.dropped(DropReason::StunUnknownUser), 1);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        house.engine.handle_datagram(house.now, stranger(), &mut changed);
    }
    silent(&mut house, stranger());
    assert_eq!(fingerprint(&house), before);
    assert!(!house.has_report(|report| matches!(report, Report::PeerPath { .. })));
}

#[test]
fn a_flood_of_wrong_passwords_does_not_shut_out_proven_paths() {
    let mut house = House::new();
    house.join(1, 10);
    house.open(2, 10);
    house.client(2).pwd = "another one of 22 byte";
    let wrong = house.check_bytes(2, true);
    for _ in 0..STUN_FAILURES_PER_SECOND {
        house.engine.handle_datagram(house.now, stranger(), &mut wrong.clone());
    }
    assert!(house.dropped(DropReason::RateLimited) > 0);
    let answers = house.client(1).answers;
    house.check(1);
    house.flush();
    assert_eq!(house.client(1).answers, answers + 1);
    house.now = house.now.after_ms(1_000);
    house.client(2).pwd = PWD;
    house.check(2);
    house.flush();
    assert_eq!(house.client(2).answers, 1, "a second later everybody is heard again");
}

#[test]
fn replayed_and_forged_media_is_dropped_without_effect() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let (path, original) = house.seal_rtp(1, &MEDIA);
    house.engine.handle_datagram(house.now, path, &mut original.clone());
    house.engine.handle_datagram(house.now, path, &mut original.clone());
    assert_eq!(house.dropped(DropReason::Replayed), 1);
    for at in 0..original.len() {
        let mut forged = original.clone();
        forged[at] ^= 1;
        house.engine.handle_datagram(house.now, path, &mut forged);
        let mut truncated = original[..at].to_vec();
        house.engine.handle_datagram(house.now, path, &mut truncated);
    }
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 1, "the original, once");
    assert!(house.dropped(DropReason::BadTag) > 0);
    // Forgeries with a far index do not move the window.
    house.send_rtp(1, &Media { index: 2, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 2);
    // The right packet from a stranger's address, once it has been seen. (Never seen, it is a peer that moved: `joining`.)
    let (path, mut stolen) = house.seal_rtp(1, &Media { index: 3, ..MEDIA });
    house.engine.handle_datagram(house.now, path, &mut stolen.clone());
    house.engine.handle_datagram(house.now, stranger(), &mut stolen);
    assert_eq!(house.dropped(DropReason::UnknownPeer), 1);
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 3);
}

#[test]
fn random_and_truncated_datagrams_of_every_class_and_length_are_counted_drops() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.run(100);
    let before = fingerprint(&house);
    let (known, strange) = (house.client(1).path, stranger());
    let mut rng = Rng::new(11);
    // STUN, DTLS, RTP, RTCP, and what is none of them.
    let starts: [[u8; 2]; 6] = [[0, 1], [22, 254], [0x80, VP8], [0x90, OPUS], [0x80, 200], [0xff, 0]];
    let dropped = |house: &House| house.engine.counters().dropped.iter().sum::<u64>();
    for length in 0..=300 {
        for start in starts {
            for (path, is_known) in [(known, true), (strange, false)] {
                let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
                bytes.iter_mut().zip(start).for_each(|(byte, fixed)| *byte = fixed);
                let is_dtls = classify(&bytes) == Protocol::Dtls;
                let count = dropped(&house);
                house.engine.handle_datagram(house.now, path, &mut bytes);
                // Handshake records of a known peer are for the assist side to judge.
                let expected = u64::from(!(is_known && is_dtls));
                assert_eq!(dropped(&house) - count, expected, "start {start:?}, {length} bytes");
                house.engine.poll_assist();
            }
        }
        // So that the bucket for handshakes never runs dry here.
        house.now = house.now.after_ms(5);
        silent(&mut house, strange);
    }
    assert_eq!(fingerprint(&house), before);
}

#[test]
fn authentic_nonsense_is_counted_and_harmless() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.flush();
    // Unknown SSRC, unknown payload type, retransmissions of nothing, payloads that are no VP8.
    house.send_rtp(1, &Media { ssrc: 99, index: 1, ..MEDIA });
    assert_eq!(house.dropped(DropReason::UnknownSsrc), 1);
    house.send_rtp(1, &Media { ssrc: 2, index: 1, pt: 13, ..MEDIA });
    assert_eq!(house.dropped(DropReason::UnknownPayloadType), 1);
    for (index, payload) in [&[][..], &[0], &[0, 1]].into_iter().enumerate() {
        let index = index as u64 + 1;
        house.send_rtp(1, &Media { ssrc: 50_002, index, pt: VP8_RTX, payload, ..MEDIA });
    }
    assert_eq!(house.dropped(DropReason::Padding), 3);
    let mut rng = Rng::new(5);
    for index in 2..400 {
        let payload: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
        let rtx = rng.chance_ppm(300_000);
        let (ssrc, pt) = if rtx { (50_002, VP8_RTX) } else { (2, VP8) };
        let timestamp = rng.next_u64() as u32;
        house.send_rtp(1, &Media { ssrc, pt, index: index + 10, timestamp, payload: &payload, ..MEDIA });
        if rng.chance_ppm(100_000) {
            house.run(20);
        }
    }
    house.run(2_000);
    // RTCP about SSRCs that are not theirs.
    house.send_rtcp(1, |writer| writer.pli(Ssrc(9), Ssrc(200)).expect("fits"));
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(2), [Seq(1)]).expect("fits"));
    house.send_rtcp(2, |writer| writer.bye(&[Ssrc(9)]).expect("fits"));
    assert_eq!(house.dropped(DropReason::RtcpUnknownSsrc), 2);
}

#[test]
fn handshake_datagrams_are_passed_on_and_bounded() {
    let mut house = House::new();
    house.open(1, 10);
    let path = house.client(1).path;
    let mut record = vec![22, 254, 253, 0, 0];
    house.engine.handle_datagram(house.now, path, &mut record);
    assert_eq!(house.dropped(DropReason::UnknownPeer), 1, "no path is proven yet");
    house.check(1);
    house.flush();
    house.requests.clear();
    for _ in 0..DTLS_PER_SECOND {
        house.engine.handle_datagram(house.now, path, &mut record);
    }
    house.flush();
    let passed = house.requests.iter().filter(|request| matches!(request, AssistRequest::Datagram { .. }));
    assert_eq!(passed.count() as u64 + house.dropped(DropReason::RateLimited), u64::from(DTLS_PER_SECOND));
    assert!(house.dropped(DropReason::RateLimited) > 0);
    // A record of ours goes back the same way.
    house
        .engine
        .handle_assist(house.now, AssistReply::Datagram { peer: PeerId(1), bytes: Box::new([22, 254, 253]) });
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let _ = house.engine.flush(house.now, &mut wire);
    assert_eq!(wire.sent, [(path, vec![22, 254, 253])]);
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut house = House::new();
        house.join(1, 10);
        house.join(2, 10);
        house.publish(1, 1, MediaKind::Audio, &[1]);
        house.subscribe(2, 100, 1, MediaKind::Audio);
        for index in 1..50 {
            house.send_rtp(1, &Media { index, ..MEDIA });
            house.run(20);
        }
        let client = house.client(2);
        (client.rtp.iter().map(|(_, packet)| packet.clone()).collect::<Vec<_>>(), client.rtcp.clone())
    };
    assert!(run() == run());
}
