//! Paths, keys, consent, and leaving without a trace.

use super::*;
use crate::base::limits::{CONSENT_US, HANDSHAKE_US, PATHS_PER_PEER};

#[test]
fn a_peer_joins_by_check_and_keys_and_leaves_nothing_behind() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    assert_eq!(house.client(1).answers, 1);
    assert!(house.has_report(|report| matches!(report, Report::PeerPath { peer: PeerId(1) })));
    assert!(house.has_report(|report| matches!(report, Report::PeerReady { peer: PeerId(2), .. })));
    assert!(matches!(house.requests[0], AssistRequest::Open { peer: PeerId(1), .. }));
    assert!(matches!(house.requests[1], AssistRequest::OpenChannel { label: "_reliable", .. }));
    assert!(matches!(house.requests[2], AssistRequest::Expect { .. }));
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    house.subscribe(2, 200, 2, MediaKind::Video);
    for index in 1..20 {
        house.send_rtp(1, &Media { index, ..MEDIA });
        let payload = vp8(index as u8, index == 1);
        house.send_rtp(1, &Media { index, ssrc: 2, pt: VP8, payload: &payload, ..MEDIA });
    }
    assert_eq!((house.engine.counters().peers, house.engine.counters().meetings), (2, 1));
    house.command(Command::ClosePeer { peer: PeerId(1) });
    assert_eq!(house.engine.sizes().rooms.streams, 0);
    house.command(Command::ClosePeer { peer: PeerId(2) });
    house.run(1_000);
    assert_eq!(house.engine.sizes(), EngineSizes::default());
    assert_eq!((house.engine.counters().peers, house.engine.counters().meetings), (0, 0));
    assert!(!house.has_report(|report| matches!(report, Report::PeerEnded { .. })), "they were closed");
    let closed = house.requests.iter().filter(|request| matches!(request, AssistRequest::Close { .. }));
    assert_eq!(closed.count(), 2);
}

#[test]
fn a_peer_that_falls_silent_ends_when_its_consent_does() {
    let mut house = House::new();
    house.join(1, 10);
    house.run(CONSENT_US / 1_000 - 1_000);
    house.check(1);
    house.run(CONSENT_US / 1_000 - 1_000);
    assert!(!house.has_report(|report| matches!(report, Report::PeerEnded { .. })), "a check renewed it");
    house.run(2_000);
    let expired = |report: &Report| {
        matches!(report, Report::PeerEnded { peer: PeerId(1), end: PeerEnd::ConsentExpired })
    };
    assert!(house.has_report(expired));
    assert_eq!(house.engine.sizes(), EngineSizes::default());
}

#[test]
fn who_sends_no_checks_but_reports_stays() {
    let mut house = House::new();
    house.join(1, 10);
    for _ in 0..10 {
        house.run(CONSENT_US / 4_000);
        house.send_rtcp(1, |writer| writer.sdes_cname(Ssrc(9), b"libnice").expect("fits"));
    }
    let is_end = |report: &Report| matches!(report, Report::PeerEnded { .. });
    assert!(!house.has_report(is_end), "its reports renewed its consent");
    house.run(CONSENT_US / 1_000 + 1_000);
    assert!(house.has_report(is_end));
}

#[test]
fn a_peer_that_never_gets_keys_ends() {
    let mut house = House::new();
    house.open(1, 10);
    house.open(2, 10);
    house.run(HANDSHAKE_US / 2_000);
    house.check(1);
    house.run(HANDSHAKE_US / 2_000 + 10);
    for id in [1, 2] {
        assert!(house.has_report(|report| matches!(
            report,
            Report::PeerEnded { peer, end: PeerEnd::HandshakeTimeout } if *peer == PeerId(id)
        )));
    }
    assert_eq!(house.engine.sizes(), EngineSizes::default());
}

#[test]
fn media_follows_a_nominated_check_to_a_new_address() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    house.send_rtp(1, &MEDIA);
    house.flush();
    house.client(2).path = path(77);
    house.check(2);
    house.send_rtp(1, &Media { index: 2, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 2, "the second came to the new address");
    let paths = house.reports.iter().filter(|report| matches!(report, Report::PeerPath { .. })).count();
    assert_eq!(paths, 2, "a switch is no news to the control plane");
}

#[test]
fn media_follows_an_authenticated_packet_at_once_and_the_next_nominated_check_decides() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let report = |house: &mut House| {
        house.send_rtcp(2, |writer| writer.receiver_report(Ssrc(1), &[]).expect("fits"));
    };
    report(&mut house);
    house.send_rtp(1, &MEDIA);
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 1);
    // The publisher's address changes: its next packet is forwarded as if nothing had happened.
    house.client(1).path = path(76);
    house.send_rtp(1, &Media { index: 2, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 2);
    // The receiver's changes: its next report moves what it is sent.
    let second = house.client(2).path;
    house.client(2).path = path(77);
    report(&mut house);
    house.send_rtp(1, &Media { index: 3, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 3, "the third came to the new address");
    // A nominated check from the old address takes it back, and consent was not renewed by media.
    house.client(2).path = second;
    house.check(2);
    house.send_rtp(1, &Media { index: 4, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 4);
    house.check(2);
    house.run(CONSENT_US / 1_000);
    assert!(house.has_report(|report| {
        matches!(report, Report::PeerEnded { peer: PeerId(1), end: PeerEnd::ConsentExpired })
    }));
}

#[test]
fn a_peer_that_returns_to_an_address_it_had_is_followed_at_once_and_never_by_what_is_old() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    house.publish(2, 3, MediaKind::Audio, &[3]);
    let (wifi, mobile) = (house.client(2).path, path(77));
    let mut said = 0;
    // Whether what is sent to the second peer goes to where it is.
    let mut hears = |house: &mut House| {
        said += 1;
        let before = house.client(2).payloads(100).len();
        house.send_rtp(1, &Media { index: said, ..MEDIA });
        house.flush();
        house.client(2).payloads(100).len() > before
    };
    let talk = |house: &mut House, index| house.send_rtp(2, &Media { ssrc: 3, index, ..MEDIA });
    let second = |house: &House| {
        let key = house.engine.peers.key_of(PeerId(2)).expect("opened");
        house.engine.peers.get(key).and_then(|peer| peer.ice.path())
    };
    talk(&mut house, 1);
    assert!(hears(&mut house));
    // Some packets of the first path are late.
    let late: Vec<_> = (2..5).map(|index| house.seal_rtp(2, &Media { ssrc: 3, index, ..MEDIA })).collect();
    house.client(2).path = mobile;
    talk(&mut house, 5);
    assert!(hears(&mut house), "to an address nobody knew");
    // Now the first path is as well known as the second, and long enough ago.
    house.run(2_000);
    for (path, mut bytes) in late {
        house.engine.handle_datagram(house.now, path, &mut bytes);
        assert_eq!(second(&house), Some(mobile), "an old packet that comes late moves nobody");
    }
    house.client(2).path = wifi;
    talk(&mut house, 6);
    assert_eq!(second(&house), Some(wifi));
    assert!(hears(&mut house), "back, without a check");
    // Seen packets and forgeries move nobody.
    house.run(2_000);
    house.client(2).path = mobile;
    talk(&mut house, 6);
    let (_, mut forged) = house.seal_rtp(2, &Media { ssrc: 3, index: 7, ..MEDIA });
    forged[20] ^= 1;
    house.engine.handle_datagram(house.now, mobile, &mut forged);
    assert_eq!(second(&house), Some(wifi));
    // A report moves it too.
    house.send_rtcp(2, |writer| writer.receiver_report(Ssrc(3), &[]).expect("fits"));
    assert_eq!(second(&house), Some(mobile));
    // Two paths that are both alive: the peer is not thrown to and fro with every packet.
    let mut moves = 0;
    for index in 8..208 {
        let before = second(&house);
        house.client(2).path = if index % 2 == 0 { wifi } else { mobile };
        talk(&mut house, index);
        moves += u32::from(second(&house) != before);
        house.now = house.now.after_ms(10);
    }
    assert!((1..=5).contains(&moves), "{moves} moves in two seconds");
    // A nominated check decides whatever packets said.
    house.client(2).path = wifi;
    house.check(2);
    assert_eq!(second(&house), Some(wifi));
}

#[test]
fn what_is_forged_or_was_seen_moves_nobody_and_a_flood_of_it_is_bounded() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let (home, seen) = house.seal_rtp(1, &MEDIA);
    house.engine.handle_datagram(house.now, home, &mut seen.clone());
    let paths = house.engine.sizes().paths;
    for attempt in 0..1_000_u32 {
        let mut bytes =
            if attempt % 2 == 0 { seen.clone() } else { house.seal_rtp(1, &Media { index: 9, ..MEDIA }).1 };
        if attempt % 2 == 1 {
            bytes[20] ^= 1;
        }
        house.engine.handle_datagram(house.now, path(90), &mut bytes);
    }
    assert_eq!(house.dropped(DropReason::UnknownPeer), 1_000);
    assert_eq!(house.engine.sizes().paths, paths);
    // The budget of this moment is spent: an honest packet waits for its peer's check, or for the next moment.
    house.client(1).path = path(91);
    house.send_rtp(1, &Media { index: 2, ..MEDIA });
    assert_eq!(house.engine.sizes().paths, paths);
    house.client(1).path = home;
    house.run(1_000);
    house.client(1).path = path(91);
    house.send_rtp(1, &Media { index: 3, ..MEDIA });
    assert_eq!(house.engine.sizes().paths, paths + 1);
}

#[test]
fn a_peer_holds_as_many_connections_as_it_has_paths_and_none_once_it_has_ended() {
    let mut house = House::new();
    house.join(1, 10);
    house.open(2, 10);
    let connection = |port: u16| Path::tcp([10, 0, 0, 1].into(), ([192, 0, 2, 2], port).into());
    for port in 1..=50 {
        house.client(2).path = connection(port);
        house.check(2);
        house.flush();
        assert!(house.kept.len() <= PATHS_PER_PEER);
        house.now = house.now.after_ms(100);
    }
    assert_eq!(house.closed.len(), 50 - PATHS_PER_PEER);
    assert!(house.kept.contains(&connection(50)), "the one in use stays");
    // A check that is answered with an error keeps nothing.
    house.client(2).path = connection(60);
    let mut wrong = house.check_by(2, Role::Controlled(1), true);
    house.engine.handle_datagram(house.now, connection(60), &mut wrong);
    house.flush();
    assert!(!house.kept.contains(&connection(60)));
    // Somebody else connects from the same addresses: the connection is his.
    let taken = connection(50);
    house.client(1).path = taken;
    house.check(1);
    house.command(Command::ClosePeer { peer: PeerId(2) });
    house.flush();
    assert_eq!(house.kept, [taken]);
    house.command(Command::ClosePeer { peer: PeerId(1) });
    house.flush();
    assert_eq!((house.kept.len(), house.closed.len()), (0, 50));
}

#[test]
fn an_ice_restart_keeps_media_on_the_old_path_until_the_new_one_is_nominated() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let local = IceCredentials { ufrag: local_ufrag(CORE, PeerId(2), 99), pwd: PWD.to_owned() };
    house.command(Command::RestartIce { peer: PeerId(2), local });
    house.send_rtp(1, &MEDIA);
    house.flush();
    house.client(2).random = 99;
    house.client(2).path = path(78);
    house.check(2);
    house.send_rtp(1, &Media { index: 2, ..MEDIA });
    house.flush();
    assert_eq!(house.client(2).payloads(100).len(), 2);
}

#[test]
fn an_address_belongs_to_the_peer_that_proved_it_last() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    let address = house.client(1).path;
    house.client(1).path = path(200);
    house.client(2).path = address;
    house.check(2);
    house.flush();
    house.client(1).path = address;
    house.send_rtp(1, &MEDIA);
    assert_eq!(house.dropped(DropReason::BadTag), 1, "opened with the other peer's keys");
}

#[test]
fn packets_that_come_before_their_keys_are_held_and_then_handled() {
    let mut house = House::new();
    house.join(2, 10);
    house.open(1, 10);
    house.check(1);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    // The client has its keys a little earlier than we do.
    let (remote, local) = (master(2), master(3));
    let profile = SrtpProfile::AeadAes256Gcm;
    house.client(1).srtp = Some(Srtp {
        inbound: Inbound::new(Suite::detect(), profile, &local),
        outbound: Outbound::new(Suite::detect(), profile, &remote),
    });
    let early = crate::base::limits::EARLY_PACKETS_PER_PEER as u64;
    for index in 1..=early + 5 {
        house.send_rtp(1, &Media { index, ..MEDIA });
    }
    assert_eq!(house.engine.sizes().early as u64, early);
    assert_eq!(house.dropped(DropReason::NoKeys), 5);
    house.keys(1);
    house.flush();
    assert_eq!(house.client(2).payloads(100).len() as u64, early);
    assert_eq!((house.engine.sizes().early, house.engine.sizes().rooms.pooled), (0, 0));
}

#[test]
fn shutdown_closes_everybody_and_stops_after_a_last_flush() {
    let mut house = House::new();
    house.join(1, 10);
    house.open(2, 11);
    house.command(Command::Shutdown);
    assert!(!house.engine.is_stopped());
    house.flush();
    assert!(house.engine.is_stopped());
    assert!(house.has_report(|report| matches!(report, Report::Stopped)));
    assert_eq!(house.engine.sizes(), EngineSizes::default());
}

#[test]
fn a_message_is_relayed_to_those_who_are_there_and_then_its_sender_may_say_more() {
    let mut house = House::new();
    for peer in 1..=3 {
        house.join(peer, 10);
    }
    for number in 0..2_000_u32 {
        let bytes: Box<[u8]> = number.to_be_bytes().into();
        house.engine.handle_assist(house.now, AssistReply::Message { peer: PeerId(1), channel: 0, bytes });
    }
    house.run(1);
    let told = house.reports.iter().filter(|report| matches!(report, Report::Message { .. }));
    assert_eq!(told.count(), 2_000, "none is lost");
    house.requests.clear();
    let to = vec![(PeerId(2), 1), (PeerId(99), 1), (PeerId(3), 5)];
    let bytes = bytes::Bytes::from_static(b"routed");
    let from = Some((PeerId(1), 4));
    house.command(Command::Relay(Box::new(crate::command::Relay { from, to, bytes })));
    house.run(1);
    assert!(matches!(
        &house.requests[..],
        [
            AssistRequest::SendMessage { peer: PeerId(2), channel: 1, bytes, answers: true },
            AssistRequest::SendMessage { peer: PeerId(3), channel: 5, .. },
            AssistRequest::MessagePassed { peer: PeerId(1), bytes: 4, copies: 2 },
        ] if *bytes == b"routed"[..]
    ));
    // What nobody said, and what somebody said who is gone by now, slows nobody down.
    for from in [None, Some((PeerId(99), 4))] {
        house.requests.clear();
        let (to, bytes) = (vec![(PeerId(2), 1)], bytes::Bytes::from_static(b"news"));
        house.command(Command::Relay(Box::new(crate::command::Relay { from, to, bytes })));
        house.run(1);
        assert!(matches!(&house.requests[..], [AssistRequest::SendMessage { answers: false, .. }]));
    }
    let drops = crate::base::handoff::ChannelDrops { throttled: 1, full: 2, closed: 3, refused: 4 };
    house.engine.handle_assist(house.now, AssistReply::ChannelDrops(drops));
    let counted = [
        DropReason::ChannelThrottled,
        DropReason::ChannelFull,
        DropReason::ChannelClosed,
        DropReason::ChannelRefused,
    ];
    assert_eq!(counted.map(|reason| house.engine.counters().dropped(reason)), [1, 2, 3, 4]);
    house.command(Command::ClosePeer { peer: PeerId(1) });
    let late = AssistReply::ChannelClosed { peer: PeerId(1), channel: 0 };
    house.engine.handle_assist(house.now, late);
    assert!(!house.has_report(|report| matches!(report, Report::ChannelClosed { .. })));
}
