//! Who gets what: meetings, layers, mutes, speakers.

use super::*;
use crate::command::Wanted;

#[test]
fn audio_reaches_everybody_in_the_meeting_who_subscribed_and_nobody_else() {
    let mut house = House::new();
    for (id, meeting) in [(1, 10), (2, 10), (3, 10), (4, 11)] {
        house.join(id, meeting);
    }
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    // A subscription across meetings is refused even when asked for.
    house.subscribe(4, 300, 1, MediaKind::Audio);
    for index in 1..=5 {
        house.send_rtp(1, &Media { index, timestamp: index as u32 * 960, marker: index == 1, ..MEDIA });
    }
    house.flush();
    let received = house.client(2).payloads(100);
    assert_eq!(received.len(), 5);
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
    assert!(received.iter().all(|(_, payload)| payload == b"payload"));
    let headers: Vec<RtpHeader> = house.client(2).rtp.iter().map(|(header, _)| *header).collect();
    assert!(headers[0].marker && !headers[1].marker);
    assert_eq!(headers[4].timestamp.wrapping_sub(headers[0].timestamp), 4 * 960);
    assert!(
        house.client(1).rtp.is_empty() && house.client(3).rtp.is_empty() && house.client(4).rtp.is_empty()
    );
    assert_eq!(house.engine.counters().packets_forwarded, 5);
    assert_eq!(house.engine.counters().delay_buckets.iter().sum::<u64>(), 5);
    assert!(house.has_report(|report| matches!(report, Report::TrackStarted { track: TrackId(1) })));
    assert!(house.has_report(|report| matches!(report, Report::StreamStarted { stream: StreamId(100) })));
}

#[test]
fn video_starts_at_a_keyframe_that_is_asked_for_at_once_and_not_too_often() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    let mut index = 0;
    let mut frame = |house: &mut House, keyframe| {
        index += 1;
        let payload = vp8(index as u8, keyframe);
        let timestamp = index as u32 * 3_000;
        house.send_rtp(1, &Media { index, timestamp, ssrc: 2, pt: VP8, payload: &payload, ..MEDIA });
        house.run(33);
    };
    frame(&mut house, true);
    // Long enough for the keyframe to be too old to begin with.
    house.run(4_000);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.flush();
    let plis = |house: &mut House| {
        house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { media: Ssrc(2), .. }))
    };
    assert_eq!(plis(&mut house), 1, "a late joiner asks at once");
    for _ in 0..30 {
        frame(&mut house, false);
    }
    assert!(house.client(2).payloads(200).is_empty());
    assert_eq!(house.dropped(DropReason::WaitingForKeyframe), 30);
    assert_eq!(plis(&mut house), 2, "one second: throttled to two more at most");
    // Requests of the receiver fall under the same throttle.
    for _ in 0..10 {
        house.send_rtcp(2, |writer| writer.pli(Ssrc(9), Ssrc(200)).expect("fits"));
        house.send_rtcp(2, |writer| writer.fir(Ssrc(9), Ssrc(200), 1).expect("fits"));
    }
    house.flush();
    assert!(plis(&mut house) <= 3);
    frame(&mut house, true);
    frame(&mut house, false);
    assert_eq!(house.client(2).payloads(200).len(), 2);
}

#[test]
fn a_joiner_sees_the_last_keyframe_at_once_and_the_publisher_is_asked_for_nothing() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.join(3, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    let frame = |house: &mut House, index: u64| {
        let payload = vp8(index as u8, index == 1);
        let timestamp = index as u32 * 3_000;
        house.send_rtp(1, &Media { index, timestamp, ssrc: 2, pt: VP8, payload: &payload, ..MEDIA });
        house.run(33);
    };
    (1..=20).for_each(|index| frame(&mut house, index));
    for (id, stream) in [(2, 200), (3, 300)] {
        house.subscribe(id, stream, 2, MediaKind::Video);
        house.run(5);
        let seen: Vec<u8> =
            house.client(id).payloads(stream).iter().map(|(_, payload)| payload[11]).collect();
        assert_eq!(seen, (1..=20).collect::<Vec<u8>>(), "everything since the keyframe");
    }
    frame(&mut house, 21);
    let numbers: Vec<u16> = house.client(2).payloads(200).iter().map(|(seq, _)| *seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    assert_eq!(numbers.len(), 21);
    assert_eq!(house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { .. })), 0);
}

#[test]
fn simulcast_is_learned_from_mid_and_rid_and_layers_switch_at_keyframes() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish_layers(1, 2, MediaKind::Video, Vec::new(), &["q", "h", "f"]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    let send = |house: &mut House, layer: u32, index: u64, keyframe: bool| {
        let rid = ["q", "h", "f"][layer as usize];
        let payload = vp8(index as u8, keyframe);
        house.send_rtp(
            1,
            &Media {
                ssrc: 1_000 + layer,
                index: index + 100 * u64::from(layer),
                timestamp: index as u32 * 3_000 + layer * 777_777,
                pt: VP8,
                payload: &payload,
                labels: &[(4, "m2"), (10, rid)],
                ..MEDIA
            },
        );
    };
    // Layer 0 first, as browsers ramp up; then all.
    for index in 1..=3 {
        send(&mut house, 0, index, index == 1);
        house.run(33);
    }
    for index in 4..=20 {
        for layer in 0..3 {
            send(&mut house, layer, index, index == 8);
        }
        house.run(33);
    }
    let client = house.client(2);
    let received = client.payloads(200);
    // 1-7 of layer 0 (and of its keyframe 8, which came before that of a better layer), then the best one.
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "no gaps at switches");
    let pictures: Vec<u8> = received.iter().map(|(_, payload)| payload[11]).collect();
    assert_eq!(&pictures[..7], &[1, 2, 3, 4, 5, 6, 7]);
    assert!(pictures.ends_with(&[9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]));
    // Picture ids as rewritten go on without a break, whatever the layer.
    let ids: Vec<u16> =
        received.iter().map(|(_, payload)| u16::from_be_bytes([payload[2] & 0x7f, payload[3]])).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == (pair[0] + 1) & 0x7fff), "{ids:?}");
    let stamps: Vec<u32> = client.rtp.iter().map(|(header, _)| header.timestamp).collect();
    assert!(
        stamps.windows(2).all(|pair| (pair[1].wrapping_sub(pair[0])) < 6_000),
        "time goes on: {stamps:?}"
    );

    // Less is wanted: the old layer runs until the keyframe of the new one.
    house.command(Command::Want { stream: StreamId(200), wanted: Wanted { layer_max: 0, ..Wanted::ALL } });
    let before = house.client(2).payloads(200).len();
    for index in 21..=24 {
        for layer in 0..3 {
            send(&mut house, layer, index, index == 23);
        }
        house.run(33);
    }
    assert_eq!(house.client(2).payloads(200).len() - before, 4);
    assert_eq!(house.engine.sizes().rooms.sources, 3);
}

#[test]
fn ssrcs_in_the_description_do_not_decide_layers_but_bring_their_retransmissions() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    // As one browser offers: SSRCs with FID pairs, highest first, and rids that say otherwise.
    let ssrcs = [1_002, 1_001].map(|ssrc| SignalledSsrc {
        ssrc: Ssrc(ssrc),
        rtx: Some(Ssrc(ssrc + 50_000)),
        rid: None,
    });
    house.publish_layers(1, 2, MediaKind::Video, ssrcs.to_vec(), &["q", "h"]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    for (ssrc, rid) in [(1_001, "q"), (1_002, "h")] {
        let payload = vp8(1, true);
        let labels = [(4, "m2"), (10, rid)];
        house.send_rtp(1, &Media { ssrc, pt: VP8, payload: &payload, labels: &labels, ..MEDIA });
    }
    house.flush();
    let layer = |house: &House, ssrc| house.engine.rooms.source(house.peer_index(1), Ssrc(ssrc));
    let found = [1_001, 1_002, 51_001, 51_002]
        .map(|ssrc| layer(&house, ssrc).map(|source| (source.layer, source.repair)));
    assert_eq!(found, [Some((0, false)), Some((1, false)), Some((0, true)), Some((1, true))]);
}

#[test]
fn a_stream_falls_back_when_its_layer_falls_silent() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2, 3]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    let mut index = 0;
    let mut frame = |house: &mut House, layers: &[u32], keyframe| {
        index += 1;
        for layer in layers {
            let payload = vp8(index as u8, keyframe);
            let timestamp = index as u32 * 3_000;
            house.send_rtp(
                1,
                &Media { index, timestamp, ssrc: 2 + layer, pt: VP8, payload: &payload, ..MEDIA },
            );
        }
        house.run(33);
    };
    frame(&mut house, &[0, 1], true);
    frame(&mut house, &[0, 1], false);
    let asked = |house: &mut House| {
        house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { media: Ssrc(2), .. }))
    };
    let before = asked(&mut house);
    for _ in 0..40 {
        frame(&mut house, &[0], false);
    }
    assert!(asked(&mut house) > before, "a keyframe of the lower layer is asked for");
    let count = house.client(2).payloads(200).len();
    frame(&mut house, &[0], true);
    frame(&mut house, &[0], false);
    assert_eq!(house.client(2).payloads(200).len(), count + 2);
    // And the whole track may pause without losing its layer.
    house.run(5_000);
    frame(&mut house, &[0], false);
    assert_eq!(house.client(2).payloads(200).len(), count + 3);
}

#[test]
fn mute_pause_and_padding_leave_no_gap() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    let mut index = 0;
    let mut send = |house: &mut House, count: usize| {
        for _ in 0..count {
            index += 1;
            house.send_rtp(1, &Media { index, timestamp: index as u32 * 960, ..MEDIA });
            house.run(20);
        }
    };
    send(&mut house, 3);
    house.command(Command::Mute { track: TrackId(1), muted: true });
    send(&mut house, 10);
    house.command(Command::Mute { track: TrackId(1), muted: false });
    send(&mut house, 3);
    house.command(Command::Want { stream: StreamId(100), wanted: Wanted::NOTHING });
    send(&mut house, 10);
    house.command(Command::Want { stream: StreamId(100), wanted: Wanted { layer_max: 0, ..Wanted::ALL } });
    send(&mut house, 3);
    assert_eq!(house.dropped(DropReason::NoSubscriber), 20);
    let received = house.client(2).payloads(100);
    assert_eq!(received.len(), 9);
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
    let stamps: Vec<u32> = house.client(2).rtp.iter().map(|(header, _)| header.timestamp).collect();
    assert_eq!(stamps[8].wrapping_sub(stamps[0]), 28 * 960, "the clock went on during the silence");

    // Probes of padding only are eaten.
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    for index in 1..=9 {
        let keyframe = vp8(index as u8, index == 1);
        let padding = index % 3 == 0;
        let payload: &[u8] = if padding { &[0, 0, 0, 4] } else { &keyframe };
        house.send_rtp(1, &Media { index, ssrc: 2, pt: VP8, payload, padding, ..MEDIA });
    }
    house.flush();
    let video = house.client(2).payloads(200);
    assert_eq!((video.len(), house.dropped(DropReason::Padding)), (6, 3));
    assert!(video.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
}

#[test]
fn a_publisher_that_begins_anew_continues_the_receivers_sequence() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    house.send_rtp(1, &Media { index: 500, timestamp: 9_000, ..MEDIA });
    house.run(20);
    house.publish(1, 1, MediaKind::Audio, &[7]);
    house.send_rtp(1, &Media { ssrc: 7, index: 20_000, timestamp: 4_000_000, ..MEDIA });
    house.run(20);
    house.send_rtp(1, &Media { ssrc: 7, index: 28_000, timestamp: 99, ..MEDIA });
    house.flush();
    let client = house.client(2);
    let received = client.payloads(100);
    assert_eq!(received.len(), 3);
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
    let stamps: Vec<u32> = client.rtp.iter().map(|(header, _)| header.timestamp).collect();
    assert!(stamps.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == 960), "20 ms each: {stamps:?}");
    assert_eq!(
        house.engine.sizes().rooms.sources,
        2,
        "the old SSRC is forgotten; retransmission has its own"
    );
}

#[test]
fn speakers_are_told_while_they_speak_and_once_when_all_fall_silent() {
    let mut house = House::new();
    house.join(1, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    for index in 1..=50 {
        house.send_rtp(1, &Media { index, ..MEDIA });
        house.run(20);
    }
    let spoken = house
        .reports
        .iter()
        .filter(|report| {
            matches!(report, Report::Speakers { meeting: MeetingId(10), count: 1, levels } if levels[0].level == 30)
        })
        .count();
    assert_eq!(spoken, 3, "every 300 ms in one second");
    house.run(3_000);
    let silent =
        house.reports.iter().filter(|report| matches!(report, Report::Speakers { count: 0, .. })).count();
    assert_eq!(silent, 1);
}

#[test]
fn a_full_backend_loses_nothing_and_leaves_no_gap() {
    let mut house = House::new();
    house.join(1, 10);
    for id in 2..6 {
        house.join(id, 10);
    }
    house.publish(1, 1, MediaKind::Audio, &[1]);
    for id in 2..6 {
        house.subscribe(id, 100 * id, 1, MediaKind::Audio);
    }
    for index in 1..=20 {
        house.send_rtp(1, &Media { index, ..MEDIA });
    }
    house.room = 7;
    let mut turns = 0;
    while house.flush() == house.now {
        turns += 1;
        assert!(turns < 20, "it ends");
    }
    assert!(turns >= 80 / 7);
    for id in 2..6 {
        let received = house.client(id).payloads(100 * id);
        assert_eq!(received.len(), 20);
        assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
    }
    assert_eq!(house.engine.sizes().rooms.pooled, 0);
}

#[test]
fn routing_and_rewriting_are_measured_with_the_cycle_counter_of_the_caller() {
    use crate::base::counters::Stage;
    use std::sync::atomic::{AtomicU64, Ordering};
    static CYCLES: AtomicU64 = AtomicU64::new(0);
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 1, MediaKind::Audio, &[1]);
    house.subscribe(2, 100, 1, MediaKind::Audio);
    // Every look at the counter finds it one further.
    house.engine.set_cycles(|| CYCLES.fetch_add(1, Ordering::Relaxed));
    for index in 1..=32 {
        house.send_rtp(1, &Media { index, ..MEDIA });
    }
    house.flush();
    let spent = |stage: Stage| house.engine.counters().cycles[stage as usize];
    assert_eq!((spent(Stage::Route), spent(Stage::Rewrite)), (32, 32), "each packet cost one cycle of each");
}
