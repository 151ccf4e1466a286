//! A publisher whose packets contradict each other, their codec or what was signalled.

use super::*;
use crate::base::limits::SSRCS_PER_PEER;
use crate::base::rng::Rng;

fn voice(index: u64) -> Media<'static> {
    Media { ssrc: ABUSER[0], index, timestamp: index as u32 * 960, ..MEDIA }
}

/// The abuser's picture as a packet of its own.
fn picture(index: u64, payload: &[u8]) -> Media<'_> {
    Media { ssrc: ABUSER[1], index, timestamp: index as u32 * 3_000, pt: VP8, payload, marker: true, ..MEDIA }
}

#[test]
fn two_publishers_with_one_ssrc_are_told_apart() {
    let played = play(|house, step| {
        let index = step + 1;
        // 4 sends under the SSRCs of 1: never signalled, then announced as its own.
        if step == STEPS / 2 {
            house.publish(4, 43, MediaKind::Audio, &[1]);
            house.publish(4, 44, MediaKind::Video, &[2]);
            house.subscribe(3, 500, 44, MediaKind::Video);
        }
        house.send_rtp(4, &Media { ssrc: 1, index, payload: b"not theirs", ..MEDIA });
        camera(house, 4, 2, step);
    });
    played.assert_unmoved("the SSRC of another");
    assert!(played.received(3, 500).len() > 90, "and its own track is its own");
    assert!(!played.received(2, HONEST[0]).iter().any(|(_, _, payload)| payload == b"not theirs"));
}

#[test]
fn one_ssrc_for_two_tracks_belongs_to_the_last_that_claimed_it() {
    let played = play(|house, step| {
        let index = step + 1;
        if step % 20 == 10 {
            // The camera claims the voice's SSRC, the voice claims it back.
            house.publish(4, ABUSER[1], MediaKind::Video, &[ABUSER[0]]);
        } else if step % 20 == 0 {
            house.publish(4, ABUSER[0], MediaKind::Audio, &[ABUSER[0]]);
        }
        house.send_rtp(4, &voice(index));
    });
    played.assert_unharmed("one SSRC for two tracks");
    let heard = played.received(2, OF_ABUSER[0]).len() as u64;
    assert!((STEPS / 3..=2 * STEPS / 3).contains(&heard), "{heard} while the voice had it");
    assert!(played.house.dropped(DropReason::UnknownPayloadType) >= STEPS / 3, "Opus is no video");
}

#[test]
fn payload_types_that_were_never_negotiated_are_dropped() {
    let played = play(|house, step| {
        for (nth, pt) in [0, 13, 34, 63, 127].into_iter().enumerate() {
            let index = 5 * step + 1 + nth as u64;
            house.send_rtp(4, &Media { pt, ..voice(index) });
            house.send_rtp(4, &Media { pt, ..picture(index, &vp8(1, true)) });
        }
    });
    played.assert_unmoved("payload types");
    assert_eq!(played.house.dropped(DropReason::UnknownPayloadType), 10 * STEPS);
    assert!(played.received(2, OF_ABUSER[0]).is_empty());
}

#[test]
fn huge_extension_blocks_cost_their_own_packet_at_most() {
    let one_byte_each: Vec<u8> = (1..=14).flat_map(|id| [id << 4 | 15].into_iter().chain([id; 16])).collect();
    let two_bytes_each: Vec<u8> = (0..=255).flat_map(|id| [id, 1, 0]).collect();
    let longest: Vec<u8> = (1..=5).flat_map(|id| [id, 255].into_iter().chain([id; 255])).collect();
    let many: Vec<u8> = [9, 0].repeat(640);
    let beyond = vec![0x1f, 1, 2, 3];
    let blocks: [(u16, &[u8]); 6] = [
        (0xbede, &one_byte_each),
        (0x1000, &two_bytes_each),
        (0x1000, &longest),
        (0x100f, &many),
        (0xbede, &beyond),
        (0xabcd, &longest),
    ];
    let played = play(|house, step| {
        let mut index = 8 * step + 1;
        for (profile, block) in blocks {
            let mut padded = block.to_vec();
            padded.resize(block.len().next_multiple_of(4), 0);
            let words = (padded.len() / 4) as u16;
            let header = extended(ABUSER[0], index, OPUS, profile, words, &padded);
            send_header(house, 4, index, &header, b"voice");
            index += 1;
        }
        // It claims more than there is: not even the tag can be found.
        let header = extended(ABUSER[0], index, OPUS, 0xbede, 0xffff, &[0x10, 1, 0, 0]);
        let path = house.client(4).path;
        house.engine.handle_datagram(house.now, path, &mut header.clone());
        // And as long as the packet: no payload is left.
        let header = extended(ABUSER[0], index, OPUS, 0x1000, 64, &[0; 256]);
        send_header(house, 4, index, &header, &[]);
    });
    played.assert_unharmed("extension blocks");
    assert_eq!(played.house.dropped(DropReason::Truncated), STEPS);
    let heard = played.received(2, OF_ABUSER[0]);
    assert_eq!(heard.len() as u64, 5 * STEPS, "what can be read is forwarded, with our header");
    assert_eq!(played.house.dropped(DropReason::TooLong), STEPS, "an audio level of 255 bytes");
    assert!(heard.iter().all(|(_, _, payload)| payload == b"voice"));
    let client = played.house.clients.iter().find(|client| client.id == PeerId(2)).expect("joined");
    assert!(client.rtp.iter().all(|(header, _)| header.extension().len() < 300));
}

#[test]
fn a_rid_that_moves_from_ssrc_to_ssrc_takes_its_layer_along_and_no_memory() {
    let mut sizes = Vec::new();
    let played = play(|house, step| {
        if step == 0 {
            house.publish_layers(4, 45, MediaKind::Video, Vec::new(), &["q", "h", "f"]);
            house.subscribe(2, 450, 45, MediaKind::Video);
        }
        // Ten new SSRCs in each step, 2,000 in all; then all rids under one.
        for nth in 0..10 {
            let ssrc = 10_000 + 10 * step as u32 + nth;
            let rid = ["q", "h", "f"][nth as usize % 3];
            let labels = [(4, "m45"), (10, rid)];
            let payload = vp8(step as u8 & 0x7f, true);
            let packet = Media { ssrc, labels: &labels, ..picture(1, &payload) };
            house.send_rtp(4, &packet);
            house.send_rtp(4, &Media { ssrc: 9_999, index: 10 * step + u64::from(nth) + 1, ..packet });
        }
        sizes.push(house.engine.sizes().rooms.sources);
    });
    played.assert_unharmed("rids that move");
    assert!(sizes.iter().all(|sources| *sources <= 20), "{sizes:?}");
    assert!(*sizes.last().expect("ran") < SSRCS_PER_PEER);
    assert!(!played.received(2, 450).is_empty(), "it is shown all the same");
}

#[test]
fn ssrcs_without_meaning_are_refused_once_there_are_too_many() {
    let played = play(|house, step| {
        for nth in 0..10 {
            let ssrc = 10_000 + 10 * step as u32 + nth;
            house.send_rtp(4, &Media { ssrc, labels: &[(4, "none")], ..voice(1) });
        }
    });
    played.assert_unmoved("unknown SSRCs");
    let (unknown, many) =
        (played.house.dropped(DropReason::UnknownSsrc), played.house.dropped(DropReason::TooManySsrcs));
    assert_eq!(unknown + many, 10 * STEPS);
    assert!(unknown <= SSRCS_PER_PEER as u64, "{unknown}");
}

#[test]
fn restarted_sequences_and_jumping_timestamps_stay_with_their_stream() {
    let played = play(|house, step| {
        // The sequence begins anew every ten packets; SRTP follows 32,768 numbers ahead.
        let index = step + 1 + step / 10 * 10_000;
        house.send_rtp(4, &voice(index));
        let timestamp = match step % 4 {
            0 => step as u32 * 1_800,
            1 => (step as u32 * 1_800).wrapping_add(1 << 31),
            2 => (step as u32 * 1_800).wrapping_sub(900_000),
            _ => u32::MAX,
        };
        let payload = vp8(step as u8 & 0x7f, step % 10 == 0);
        house.send_rtp(4, &Media { timestamp, ..picture(index, &payload) });
    });
    played.assert_unharmed("restarts");
    for ssrc in OF_ABUSER {
        let received = played.received(2, ssrc);
        assert!(received.len() > 50, "{}", received.len());
        assert!(received.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "numbers go on");
    }
}

#[test]
fn dependency_descriptors_that_lie_hide_their_own_stream_at_most() {
    let mut rng = Rng::new(3);
    let played = play(|house, step| {
        let mut map = extensions();
        map.set(Extension::DependencyDescriptor, 12);
        if step == 0 {
            house.command(Command::Publish(Box::new(Publish {
                track: TrackId(ABUSER[1]),
                peer: PeerId(4),
                kind: MediaKind::Video,
                content: Content::Camera,
                mid: label("m42"),
                formats: formats(MediaKind::Video),
                extensions: map,
                ssrcs: vec![SignalledSsrc { ssrc: Ssrc(ABUSER[1]), rtx: None, rid: None }],
                rids: Vec::new(),
            })));
        }
        for nth in 0..4 {
            let index = 4 * step + nth + 1;
            let value: Vec<u8> = match rng.below(5) {
                // A template that no structure declared.
                0 => vec![0xc0 | rng.below(64) as u8, 0, 1],
                // Custom targets cut short.
                1 => vec![0xc1, 0, 1, 0b0010_0000 | rng.below(4) as u8],
                // 32 targets and 64 templates, another structure each time.
                2 => largest_structure(rng.next_u64() as u8),
                // One target.
                3 => vec![0xc0, 0, 1, 0x80, rng.below(64) as u8, 0x01, 0x80, 0],
                _ => (0..rng.below(200)).map(|_| rng.next_u64() as u8).collect(),
            };
            let mut block = vec![12, value.len() as u8];
            block.extend_from_slice(&value);
            block.resize(block.len().next_multiple_of(4), 0);
            let words = (block.len() / 4) as u16;
            let header = extended(ABUSER[1], index, VP9, 0x1000, words, &block);
            // A VP9 keyframe, any layer of a frame, or nonsense.
            let payload = [[0x8c, 1, 0, 0], [0xac, 1, 0x1e, 1], [0xff; 4]][rng.below(3) as usize];
            send_header(house, 4, index, &header, &payload);
        }
    });
    played.assert_unharmed("dependency descriptors");
    assert!(!played.received(2, OF_ABUSER[1]).is_empty(), "its keyframes are seen");
}

/// A structure of 32 decode targets and 64 templates, all of layer zero; `salt` varies what they mean.
fn largest_structure(salt: u8) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u64, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
    put(0xc0_0001, 24);
    put(0b10_000, 5);
    put(0, 6);
    put(31, 5);
    (0..63).for_each(|_| put(0, 2));
    put(3, 2);
    for template in 0..64_u64 {
        (0..32).for_each(|target| put((template * 31 + target + u64::from(salt)) % 4, 2));
    }
    // No frame differences, no chains, no sizes.
    put(0, 64);
    put(0, 5);
    put(0, 1);
    bits.chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |b, (at, bit)| b | u8::from(*bit) << (7 - at)))
        .collect()
}

#[test]
fn picture_and_layer_numbers_that_jump_stay_with_their_stream() {
    let mut rng = Rng::new(4);
    let played = play(|house, step| {
        for nth in 0..4 {
            let index = 4 * step + nth + 1;
            let random = rng.next_u64();
            // Long and short picture ids, any TL0PICIDX, layer, sync and KEYIDX, with and without each.
            let mut payload = vec![0x90, random as u8 & 0xf0];
            payload.extend_from_slice(&random.to_be_bytes()[..5]);
            payload.push(u8::from(rng.chance_ppm(800_000)));
            payload.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a, 0]);
            house.send_rtp(4, &picture(index, &payload));
        }
    });
    played.assert_unharmed("VP8 descriptors");
    let received = played.received(2, OF_ABUSER[1]);
    assert!(received.len() > 100, "{}", received.len());
    let mut numbers: Vec<u16> = received.iter().map(|(seq, ..)| *seq).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), received.len(), "no number twice");
}

#[test]
fn voices_that_claim_to_be_the_loudest_take_the_places_of_one_participant() {
    let speakers = 1_001..1_013_u32;
    let run = |liars: u32| {
        let mut house = House::new();
        house.join(1, 20);
        for id in speakers.clone() {
            house.join(id, 20);
            house.publish(id, id, MediaKind::Audio, &[id]);
            house.subscribe(1, 10_000 + id, id, MediaKind::Audio);
        }
        house.join(2, 20);
        for track in 0..liars {
            house.publish(2, 2_000 + track, MediaKind::Audio, &[2_000 + track]);
            house.subscribe(1, 20_000 + track, 2_000 + track, MediaKind::Audio);
        }
        for index in 1..=100_u64 {
            for track in 0..liars {
                house.send_rtp(2, &Media { ssrc: 2_000 + track, index, level: 0, ..MEDIA });
            }
            for id in speakers.clone() {
                // Six speak, the others are silent.
                let level = if id < 1_007 { 30 } else { 127 };
                house.send_rtp(id, &Media { ssrc: id, index, timestamp: index as u32 * 960, level, ..MEDIA });
            }
            house.run(20);
        }
        speakers.clone().take(6).map(|id| house.client(1).payloads(10_000 + id).len()).collect::<Vec<_>>()
    };
    let alone = run(0);
    assert!(alone.iter().all(|count| *count > 90), "{alone:?}");
    let beside = run(20);
    assert!(beside.iter().all(|count| *count > 90), "six voices beside twenty lies: {beside:?}");
}
