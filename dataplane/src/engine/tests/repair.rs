//! Loss repair and reports in both directions.

use super::*;

fn video_house() -> House {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house
}

fn frame(house: &mut House, index: u64) {
    let payload = vp8(index as u8, index == 1);
    let timestamp = index as u32 * 3_000;
    house.send_rtp(1, &Media { index, timestamp, ssrc: 2, pt: VP8, payload: &payload, ..MEDIA });
}

#[test]
fn what_a_receiver_missed_is_sent_again_on_its_retransmission_stream() {
    let mut house = video_house();
    (1..=10).for_each(|index| frame(&mut house, index));
    house.flush();
    let received = house.client(2).payloads(200);
    let (seq, payload) = received[4].clone();
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), [Seq(seq), Seq(seq + 1)]).expect("fits"));
    house.flush();
    let again = house.client(2).payloads(201);
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].1[..2], seq.to_be_bytes(), "original sequence number");
    assert_eq!(again[0].1[2..], payload, "the payload as it was sent, descriptor rewritten");
    assert_eq!(again[1].0, again[0].0.wrapping_add(1));
    assert_eq!(house.engine.counters().packets_retransmitted, 2);
    assert_eq!(house.engine.counters().packets_forwarded, 10);
    // Numbers that were never sent, and a flood.
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), [Seq(seq + 1_000)]).expect("fits"));
    assert_eq!(house.dropped(DropReason::NotCached), 1);
    for _ in 0..100 {
        let all = received.iter().map(|(seq, _)| Seq(*seq));
        house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), all).expect("fits"));
    }
    house.flush();
    assert!(house.dropped(DropReason::RateLimited) > 0);
    assert!(house.engine.counters().packets_retransmitted <= 2 + 256);
}

#[test]
fn what_a_connection_drops_is_not_counted_as_sent_and_is_lost_as_on_any_network() {
    let mut house = House::new();
    house.join(1, 10);
    house.open(2, 10);
    house.client(2).path = Path::tcp([10, 0, 0, 1].into(), path(2).remote);
    house.check(2);
    house.keys(2);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let say = |house: &mut House, index| {
        frame(house, index);
        house.send_rtp(1, &Media { index, timestamp: index as u32 * 960, ..MEDIA });
        house.flush();
    };
    (1..=3).for_each(|index| say(&mut house, index));
    assert_eq!(house.engine.counters().packets_forwarded, 6);
    let bytes = house.engine.counters().bytes_forwarded;
    house.gone = vec![house.client(2).path];
    (4..=6).for_each(|index| say(&mut house, index));
    assert_eq!(house.engine.counters().packets_forwarded, 6, "nothing of it was sent");
    assert_eq!(house.engine.counters().bytes_forwarded, bytes);
    house.gone.clear();
    (7..=9).for_each(|index| say(&mut house, index));
    assert_eq!(house.engine.counters().packets_forwarded, 12);
    for stream in [100, 200] {
        let seqs: Vec<u16> = house.client(2).payloads(stream).iter().map(|(seq, _)| *seq).collect();
        let steps: Vec<u16> = seqs.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(steps, [1, 1, 4, 1, 1], "the receiver sees what is missing");
    }
    // And gets it when it asks.
    let last = house.client(2).payloads(200)[2].0;
    let missing = (1..=3).map(|step| Seq(last).plus(step));
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), missing).expect("fits"));
    house.flush();
    assert_eq!(house.client(2).payloads(201).len(), 3);
}

#[test]
fn without_a_retransmission_stream_the_very_same_packet_is_sent_again() {
    let mut house = House::new();
    house.join(1, 10);
    house.open(2, 10);
    house.check(2);
    house.keys(2);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.command(Command::Subscribe(Box::new(Subscribe {
        stream: StreamId(200),
        peer: PeerId(2),
        track: TrackId(2),
        mid: label("s"),
        ssrc: Ssrc(200),
        rtx: None,
        formats: formats(MediaKind::Video),
        extensions: extensions(),
    })));
    house.flush();
    (1..=3).for_each(|index| frame(&mut house, index));
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let _ = house.engine.flush(house.now, &mut wire);
    let sent: Vec<_> = wire.sent.into_iter().filter(|(_, bytes)| classify(bytes) == Protocol::Rtp).collect();
    assert_eq!(sent.len(), 3);
    let seq = crate::wire::rtp::seq(&sent[1].1).expect("RTP");
    house.now = house.now.after_ms(100);
    // The report that comes with the request confirms the stream, which must not change the header.
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), [seq]).expect("fits"));
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let _ = house.engine.flush(house.now, &mut wire);
    let again: Vec<_> = wire.sent.into_iter().filter(|(_, bytes)| classify(bytes) == Protocol::Rtp).collect();
    assert_eq!(again, [sent[1].clone()], "one SRTP index never protects two contents");

    // The same track with other extensions: the packet would now read differently, so it stays lost.
    house.command(Command::Publish(Box::new(Publish {
        track: TrackId(2),
        peer: PeerId(1),
        kind: MediaKind::Video,
        content: Content::Camera,
        mid: label("m2"),
        formats: formats(MediaKind::Video),
        extensions: ExtensionMap::default(),
        ssrcs: vec![SignalledSsrc { ssrc: Ssrc(2), rtx: Some(Ssrc(50_002)), rid: None }],
        rids: Vec::new(),
    })));
    house.now = house.now.after_ms(100);
    let before = house.dropped(DropReason::NotCached);
    house.send_rtcp(2, |writer| writer.nack(Ssrc(9), Ssrc(200), [seq]).expect("fits"));
    let mut wire = Wire { room: usize::MAX, ..Wire::default() };
    let _ = house.engine.flush(house.now, &mut wire);
    assert!(!wire.sent.iter().any(|(_, bytes)| classify(bytes) == Protocol::Rtp), "not under the old index");
    assert_eq!(house.dropped(DropReason::NotCached), before + 1);
}

#[test]
fn gaps_of_a_publisher_are_asked_for_and_filled_in_their_place() {
    let mut house = video_house();
    for index in [1, 2, 3, 5, 6, 7, 8] {
        frame(&mut house, index);
    }
    house.run(30);
    let mut asked = Vec::new();
    for compound in &house.client(1).rtcp {
        rtcp::parse(compound, |event| {
            if let RtcpEvent::Nack { media: Ssrc(2), list, .. } = event {
                asked.extend(list.iter());
            }
        })
        .expect("well-formed");
    }
    assert!(asked.contains(&Seq(4)) && asked.iter().all(|seq| *seq == Seq(4)), "{asked:?}");
    let before = house.client(2).payloads(200);
    // The retransmission: original number, then the payload.
    let mut payload = vec![0, 4];
    payload.extend_from_slice(&vp8(4, false));
    let rtx = Media { ssrc: 50_002, index: 1, timestamp: 12_000, pt: VP8_RTX, payload: &payload, ..MEDIA };
    house.send_rtp(1, &rtx);
    house.flush();
    let after = house.client(2).payloads(200);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.last().map(|last| last.0), Some(before[2].0.wrapping_add(1)), "into the gap");
    // Once more is one too many.
    house.send_rtp(1, &Media { index: 2, ..rtx });
    house.flush();
    assert_eq!(house.client(2).payloads(200).len(), after.len());
    assert_eq!(house.dropped(DropReason::TooLate) + house.dropped(DropReason::RtxDuplicate), 1);
    house.run(1_000);
    let total = house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Nack { .. }));
    assert!(total <= 3, "nothing is asked for that came");
}

#[test]
fn publishers_get_arrival_feedback_and_receiver_reports() {
    let mut house = video_house();
    for index in 1..=30 {
        if index != 7 {
            frame(&mut house, index);
        }
        house.run(33);
    }
    house.run(1_000);
    let feedback = house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Twcc { .. }));
    assert!((10..=30).contains(&feedback), "{feedback} feedbacks for 29 packets in a second");
    let mut lost = 0;
    house.client(1).count_rtcp(|event| {
        if let RtcpEvent::ReportBlock { block, .. } = event {
            lost = lost.max(block.cumulative_lost);
        }
        false
    });
    assert_eq!(lost, 1);
    house.run(1_000);
    assert!(house.has_report(|report| matches!(report, Report::Quality { peer: PeerId(1), .. })));
}

#[test]
fn receivers_get_sender_reports_on_the_publishers_clock_and_answer_with_round_trips() {
    let mut house = video_house();
    (1..=30).for_each(|index| {
        frame(&mut house, index);
        house.run(33);
    });
    // The publisher's clock: this moment is 90,000 ticks on its stream.
    let info = crate::wire::rtcp::SenderInfo { ntp: 77 << 32, rtp_timestamp: 90_000, packets: 30, octets: 9 };
    house.send_rtcp(1, |writer| writer.sender_report(Ssrc(2), &info, &[]).expect("fits"));
    let (came, offset) = {
        let (header, _) = house.client(2).rtp[0];
        (house.now, header.timestamp.wrapping_sub(3_000))
    };
    house.client(2).rtcp.clear();
    house.run(1_050);
    let mut last = None;
    house.client(2).count_rtcp(|event| {
        if let RtcpEvent::SenderReport { sender: Ssrc(200), info } = event {
            last = Some(*info);
        }
        false
    });
    let last = last.expect("one per second");
    assert_eq!(last.packets, 30);
    let since_us = crate::session::reports::ntp_us(last.ntp)
        - crate::session::reports::ntp_us(crate::session::reports::ntp(came, NTP_UNIX_OFFSET_US));
    let expected = 90_000 + offset as u64 + since_us * 90 / 1_000;
    let error = (last.rtp_timestamp as i64) - (expected as u32 as i64);
    assert!(error.abs() < 90, "less than a millisecond: {error}");

    let block = rtcp::ReportBlock {
        ssrc: Ssrc(200),
        fraction_lost: 64,
        cumulative_lost: 9,
        highest_seq: 0,
        jitter: 0,
        last_sr: (last.ntp >> 16) as u32,
        // The rest of the time since it was sent is the way there and back.
        delay_since_last_sr: 0,
    };
    house.send_rtcp(2, |writer| writer.receiver_report(Ssrc(9), &[block]).expect("fits"));
    house.run(2_000);
    assert!(house.has_report(|report| matches!(
        report,
        Report::Quality { peer: PeerId(2), loss_down: 64, rtt_us, .. } if (1..200_000).contains(rtt_us)
    )));
}

#[test]
fn the_mid_is_told_until_the_receiver_reports() {
    let mut house = video_house();
    frame(&mut house, 1);
    house.flush();
    let block = rtcp::ReportBlock {
        ssrc: Ssrc(200),
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_seq: 0,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    };
    house.send_rtcp(2, |writer| writer.receiver_report(Ssrc(9), &[block]).expect("fits"));
    frame(&mut house, 2);
    house.flush();
    let mids: Vec<Option<Vec<u8>>> = house
        .client(2)
        .rtp
        .iter()
        .map(|(header, packet)| header.elements(packet).find(4).map(<[u8]>::to_vec))
        .collect();
    assert_eq!(mids, [Some(b"s".to_vec()), None]);
    // Transport-wide numbers go up by one.
    let numbers: Vec<Vec<u8>> = house
        .client(2)
        .rtp
        .iter()
        .filter_map(|(header, packet)| header.elements(packet).find(3).map(<[u8]>::to_vec))
        .collect();
    assert_eq!(numbers, [vec![0, 1], vec![0, 2]]);
}
