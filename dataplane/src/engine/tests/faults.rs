//! Things that go wrong in the middle: paths lost, packets that cannot be sent, bursts of loss.

use super::*;
use crate::base::limits::{DATAGRAM_BYTES_MAX, RESENDS_BURST};

fn frame(house: &mut House, index: u64, pt: u8, keyframe: bool) {
    let payload = vp8(index as u8, keyframe);
    let timestamp = index as u32 * 3_000;
    house.send_rtp(1, &Media { index, timestamp, ssrc: 2, pt, payload: &payload, ..MEDIA });
}

fn video_house() -> House {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house
}

#[test]
fn a_peer_that_lost_its_only_path_waits_for_another_and_the_core_goes_on() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let (address, own) = (house.client(2).path, house.client(1).path);
    // One socket proves the passwords of both peers: the first one has no path left.
    house.client(2).path = own;
    house.client(1).path = path(200);
    house.check(2);
    house.run(3_000);
    // It comes back from elsewhere, and everything due is said again.
    house.client(1).path = address;
    house.check(1);
    house.flush();
    house.send_rtp(1, &MEDIA);
    house.run(3_000);
    assert_eq!(house.client(2).payloads(100).len(), 1);
    let reports = house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::ReportBlock { .. }));
    assert!(reports >= 2, "{reports} receiver reports");
}

#[test]
fn a_record_that_no_datagram_can_hold_is_dropped_and_holds_up_nobody() {
    let mut house = House::new();
    house.join(1, 10);
    let bytes = vec![23; DATAGRAM_BYTES_MAX + 1].into();
    house.engine.handle_assist(house.now, AssistReply::Datagram { peer: PeerId(1), bytes });
    assert_eq!((house.dropped(DropReason::TooLong), house.engine.sizes().outbox), (1, 0));
}

#[test]
fn a_stream_whose_first_packet_could_not_be_sent_begins_with_another() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    // Together with our header and the tag it is larger than a datagram.
    let large = [1; DATAGRAM_BYTES_MAX - 20];
    house.send_rtp(1, &Media { payload: &large, ..MEDIA });
    house.flush();
    assert_eq!(house.dropped(DropReason::TooLong), 1);
    for index in 2..=5 {
        house.send_rtp(1, &Media { index, ..MEDIA });
        house.flush();
    }
    assert_eq!(house.client(2).payloads(100).len(), 4);
}

#[test]
fn a_picture_whose_keyframe_could_not_be_sent_begins_at_the_next_one() {
    let mut house = video_house();
    let mut large = [0; DATAGRAM_BYTES_MAX - 20];
    large[..12].copy_from_slice(&vp8(1, true));
    house.send_rtp(1, &Media { index: 1, ssrc: 2, pt: VP8, payload: &large, ..MEDIA });
    house.flush();
    frame(&mut house, 2, VP8, false);
    house.run(600);
    let asked = house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { .. }));
    assert!(asked >= 1, "a keyframe is asked for");
    frame(&mut house, 3, VP8, true);
    frame(&mut house, 4, VP8, false);
    house.flush();
    assert_eq!(house.client(2).payloads(200).len(), 2);
}

#[test]
fn a_codec_that_the_receiver_cannot_take_neither_starts_its_stream_nor_costs_keyframes() {
    const OTHER: u8 = 45;
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    let av1 = Format { codec: Codec::Av1 { profile: 0 }, pt: OTHER, rtx_pt: None, nack: true, pli: true };
    let formats: Vec<_> = formats(MediaKind::Video).into_iter().chain([av1]).collect();
    house.command(Command::Publish(Box::new(Publish {
        track: TrackId(2),
        peer: PeerId(1),
        kind: MediaKind::Video,
        content: Content::Camera,
        mid: label("m2"),
        formats,
        extensions: extensions(),
        ssrcs: vec![SignalledSsrc { ssrc: Ssrc(2), rtx: None, rid: None }],
        rids: Vec::new(),
    })));
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.run(600);
    let asked = house.engine.counters().keyframe_requests;
    for index in 1..=5 {
        // The first one begins a coded video sequence.
        let payload = [if index == 1 { 0x18 } else { 0x10 }, 1, 2, 3];
        house.send_rtp(1, &Media { index, ssrc: 2, pt: OTHER, payload: &payload, ..MEDIA });
        house.run(600);
    }
    assert_eq!(house.dropped(DropReason::CodecNotNegotiated), 5);
    assert_eq!(house.engine.counters().keyframe_requests, asked, "no keyframe of it would help");
    // The publisher falls back to what everybody can take.
    frame(&mut house, 6, VP8, true);
    frame(&mut house, 7, VP8, false);
    house.flush();
    assert_eq!(house.client(2).payloads(200).len(), 2);
}

#[test]
fn requests_for_packets_that_are_gone_are_bounded_like_those_that_are_answered() {
    let mut house = video_house();
    for index in 1..=3 {
        frame(&mut house, index, VP8, index == 1);
    }
    house.flush();
    let sent = house.client(2).payloads(200)[0].0;
    for _ in 0..50 {
        let never_sent = (0..64).map(|step| Seq(sent).plus(1_000 + step));
        house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), never_sent).expect("fits"));
    }
    assert!(house.dropped(DropReason::NotCached) <= u64::from(RESENDS_BURST));
    assert!(house.dropped(DropReason::RateLimited) > 0);
}

#[test]
fn a_burst_of_loss_too_long_to_repair_asks_for_a_keyframe_at_once() {
    let mut house = video_house();
    frame(&mut house, 1, VP8, true);
    house.run(1_000);
    let asked = house.engine.counters().keyframe_requests;
    frame(&mut house, 400, VP8, false);
    house.flush();
    assert_eq!(house.engine.counters().keyframe_requests, asked + 1);
}
