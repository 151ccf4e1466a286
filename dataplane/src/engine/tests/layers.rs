//! Temporal and spatial layers, and voices of a large meeting: what is left out leaves no trace in what is sent.

use super::*;
use crate::command::{Delivery, Wanted};
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;

/// A VP8 packet of one frame: picture id, TL0PICIDX, temporal layer, sync bit and KEYIDX; large enough to have a rate.
fn vp8_temporal(picture: u16, tl0: u8, temporal: u8, sync: bool, keyframe: bool) -> Vec<u8> {
    let [high, low] = picture.to_be_bytes();
    let mut payload =
        vec![0x90, 0xf0, 0x80 | high, low, tl0, temporal << 6 | u8::from(sync) << 5 | 7, u8::from(!keyframe)];
    payload.resize(400, 0);
    payload
}

/// One layer frame of VP9 in a packet: two spatial layers, the upper one refers to the lower.
fn vp9(picture: u8, spatial: u8, keyframe: bool) -> Vec<u8> {
    let inter = if keyframe { 0 } else { 0x40 };
    let mut payload = vec![
        0x80 | inter | 0x20 | 0x08 | 0x04,
        picture & 0x7f,
        0x10 | spatial << 1 | u8::from(spatial > 0),
        1,
    ];
    payload.resize(300 + 600 * usize::from(spatial), 0);
    payload
}

fn deliveries(house: &mut House, stream: u32) -> Vec<Delivery> {
    let reports = std::mem::take(&mut house.reports);
    let of_stream = reports.iter().filter_map(|report| match report {
        Report::Delivery { stream: StreamId(id), delivery } if *id == stream => Some(*delivery),
        _ => None,
    });
    of_stream.collect()
}

#[test]
fn temporal_layers_are_left_out_without_gaps_and_come_back_at_a_sync() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    let (mut index, mut tl0) = (0_u64, 100_u8);
    let mut play = |house: &mut House, frames: u64| {
        for _ in 0..frames {
            // T0 T2 T1 T2: the first T2 and the T1 refer to T0 alone.
            let (temporal, sync) = [(0, false), (2, true), (1, true), (2, false)][(index % 4) as usize];
            tl0 = tl0.wrapping_add(u8::from(temporal == 0));
            let payload = vp8_temporal((0x7ff0 + index as u16) & 0x7fff, tl0, temporal, sync, index == 0);
            index += 1;
            let timestamp = index as u32 * 3_000;
            house.send_rtp(
                1,
                &Media { index, timestamp, ssrc: 2, pt: VP8, payload: &payload, marker: true, ..MEDIA },
            );
            house.run(33);
        }
    };
    play(&mut house, 60);
    let full = house.client(2).payloads(200).len();
    assert_eq!(full, 60);
    house.command(Command::Want { stream: StreamId(200), wanted: Wanted { fps_max: 7, ..Wanted::ALL } });
    play(&mut house, 60);
    let base = house.client(2).payloads(200).len() - full;
    assert!((13..=24).contains(&base), "a quarter of the frames, and a few until the wish was heard: {base}");
    house.command(Command::Want { stream: StreamId(200), wanted: Wanted::ALL });
    play(&mut house, 40);
    let received = house.client(2).payloads(200);
    assert!(received.len() - full - base > 30, "{}", received.len() - full - base);
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "sequence numbers");
    let read: Vec<Vp8Descriptor> =
        received.iter().map(|(_, payload)| Vp8Descriptor::parse(payload).expect("ours")).collect();
    let pictures: Vec<u16> = read.iter().filter_map(|vp8| Some(vp8.picture_id?.value)).collect();
    assert!(pictures.windows(2).all(|pair| pair[1] == (pair[0] + 1) & 0x7fff), "{pictures:?}");
    let zero: Vec<u8> = read
        .iter()
        .filter(|vp8| vp8.layer.and_then(|layer| layer.temporal) == Some(0))
        .filter_map(|vp8| vp8.tl0_index)
        .collect();
    assert!(zero.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "no base frame is ever left out");
    let reasons: Vec<_> = deliveries(&mut house, 200).iter().filter_map(|delivery| delivery.reason).collect();
    assert!(reasons.contains(&crate::base::reason::Reason::ClientAskedLess), "{reasons:?}");
}

#[test]
fn spatial_layers_of_one_stream_go_down_at_once_and_up_at_a_keyframe() {
    let mut house = House::new();
    house.join(1, 10);
    house.join(2, 10);
    house.join(3, 10);
    house.publish(1, 2, MediaKind::Video, &[2]);
    house.subscribe(2, 200, 2, MediaKind::Video);
    house.subscribe(3, 300, 2, MediaKind::Video);
    let (mut index, mut picture) = (0_u64, 0_u8);
    let mut play = |house: &mut House, pictures: u32, keyframe: bool| {
        for nth in 0..pictures {
            picture = picture.wrapping_add(1);
            for spatial in 0..2 {
                index += 1;
                let payload = vp9(picture, spatial, keyframe && nth == 0);
                let timestamp = u32::from(picture) * 3_000;
                let marker = spatial == 1;
                house.send_rtp(
                    1,
                    &Media { index, timestamp, ssrc: 2, pt: VP9, payload: &payload, marker, ..MEDIA },
                );
            }
            house.run(33);
        }
    };
    play(&mut house, 30, true);
    assert_eq!(house.client(2).payloads(200).len(), 60);
    house.command(Command::Want { stream: StreamId(200), wanted: Wanted { layer_max: 0, ..Wanted::ALL } });
    play(&mut house, 10, false);
    let spatial = |client: &Client, stream: u32| -> Vec<u8> {
        let read = |(_, payload): (u16, Vec<u8>)| Vp9Descriptor::parse(&payload).expect("ours").spatial;
        client.payloads(stream).into_iter().map(read).collect()
    };
    assert_eq!(spatial(house.client(2), 200)[60..], [0; 10], "down at once");
    let ends: Vec<bool> = house.client(2).rtp[60..].iter().map(|(header, _)| header.marker).collect();
    assert_eq!(ends, [true; 10], "the lower layer ends the picture now");
    assert_eq!(spatial(house.client(3), 300).len(), 80, "others do not notice");
    // Up: not before a keyframe, which is asked for.
    let plis = |house: &mut House| house.client(1).count_rtcp(|event| matches!(event, RtcpEvent::Pli { .. }));
    let before = plis(&mut house);
    house.command(Command::Want { stream: StreamId(200), wanted: Wanted::ALL });
    play(&mut house, 10, false);
    assert_eq!(spatial(house.client(2), 200)[70..], [0; 10]);
    assert!(plis(&mut house) > before);
    play(&mut house, 10, true);
    assert_eq!(spatial(house.client(2), 200)[80..], [0, 1].repeat(10));
    let received = house.client(2).payloads(200);
    assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "no gaps");
    let marked = house.client(2).rtp.iter().rev().take(20).filter(|(header, _)| header.marker).count();
    assert_eq!(marked, 10, "one end for each picture");
}

#[test]
fn a_large_meeting_forwards_its_loudest_voices() {
    let mut house = House::new();
    let people = 12;
    for id in 1..=people {
        house.join(id, 10);
        house.publish(id, id, MediaKind::Audio, &[id]);
    }
    house.join(50, 10);
    for id in 1..=people {
        house.subscribe(50, 1_000 + id, id, MediaKind::Audio);
        house.subscribe(1, 2_000 + id, id, MediaKind::Audio);
    }
    for index in 1..=100_u64 {
        for id in 1..=people {
            // The first nine speak, each quieter than the one before; the rest are silent.
            let level = if id <= 9 { 10 + 2 * id as u8 } else { 127 };
            house.send_rtp(id, &Media { ssrc: id, index, timestamp: index as u32 * 960, level, ..MEDIA });
        }
        house.run(20);
    }
    let heard = |house: &mut House, client: u32, first: u32| -> Vec<usize> {
        (1..=people).map(|id| house.client(client).payloads(first + id).len()).collect()
    };
    let by_listener = heard(&mut house, 50, 1_000);
    assert!(by_listener[..8].iter().all(|count| *count > 90), "{by_listener:?}");
    assert!(by_listener[8..].iter().all(|count| *count < 5), "only eight at a time: {by_listener:?}");
    let by_speaker = heard(&mut house, 1, 2_000);
    assert!(by_speaker[8] > 90, "who is heard hears one more: {by_speaker:?}");
    assert!(house.dropped(DropReason::NotAmongSpeakers) > 0);
    let told = deliveries(&mut house, 1_012);
    assert_eq!(told.last().and_then(|d| d.reason), Some(crate::base::reason::Reason::Admission));
}
