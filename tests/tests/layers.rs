//! One stream, three links: each receiver gets the layer that its link carries, and decodes all of it.
//!
//! The browsers' side of the same is `e2e/svc.test.mjs`; here the receivers are synthetic and the clock is virtual.

use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::engine::EngineSizes;
use dataplane::io::sim::LinkConfig;
use tests::world::{Camera, Terms, World, stream_number};
use tools::client::Feedback;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;

const MEETING: u64 = 1;
const PUBLISHER: u32 = 1;
/// Links of the receivers, bits per second. The layers take about 0.2, 0.6 and 1.8 Mbit/s each with those below it.
const LINKS_BPS: [u64; 3] = [350_000, 1_100_000, 10_000_000];
/// Estimates have settled by then.
const SETTLED_US: u64 = 12_000_000;
const END_US: u64 = 20_000_000;

fn publisher(codec: VideoCodec, scalability: Scalability) -> Terms {
    let encodings = match codec {
        VideoCodec::Vp8 => vec![(940, 4_700), (3_125, 15_600), (9_375, 46_900)],
        _ => vec![(11_250, 56_000)],
    };
    Terms {
        microphone: None,
        camera: Some(Camera {
            rids: encodings.len() > 1,
            encodings,
            codec,
            scalability,
            interval_us: 50_000,
            ramp_us: 0,
        }),
        red: false,
        audio_nack: false,
        feedback: Feedback::TransportWide,
    }
}

/// Highest layer and packets of it that each receiver got once everything had settled.
fn run(name: &str, codec: VideoCodec, scalability: Scalability) {
    let mut rng = Rng::new(11);
    let mut world = World::new(11, 3);
    world.set_step_us(1_000);
    let near = LinkConfig { delay_us: 10_000, ..LinkConfig::default() };
    let terms = publisher(codec, scalability);
    world.join(PUBLISHER, MEETING, terms.clone(), &mut rng, [near, near]);
    for (receiver, rate_bps) in (2..).zip(LINKS_BPS) {
        let down = LinkConfig { rate_bps, queue_us_max: 200_000, delay_us: 20_000, ..LinkConfig::default() };
        let terms = Terms { camera: None, ..terms.clone() };
        world.join(receiver, MEETING, terms, &mut rng, [near, down]);
        world.subscribe(receiver, PUBLISHER, MediaKind::Video);
    }
    world.run(Micros(SETTLED_US));
    let reception = |world: &World, receiver: u32| {
        let ssrc = dataplane::base::ids::Ssrc(stream_number(receiver, PUBLISHER, MediaKind::Video));
        world.guests[&receiver].client.reception(ssrc).expect("subscribed").clone()
    };
    let before: Vec<_> = (2..5).map(|receiver| reception(&world, receiver)).collect();
    world.run(Micros(END_US));
    let mut shown = Vec::new();
    for (receiver, before) in (2..5).zip(&before) {
        let after = reception(&world, receiver);
        let packets = |layer: usize| {
            after.layer_packets[layer].iter().sum::<u64>() - before.layer_packets[layer].iter().sum::<u64>()
        };
        let counts = [0, 1, 2].map(packets);
        let decoded = after.decoded_frames - before.decoded_frames;
        println!(
            "{name}: {} kbit/s: packets by layer {counts:?}, {decoded} pictures decoded, {} not, {} freezes",
            LINKS_BPS[receiver as usize - 2] / 1_000,
            after.undecodable_frames - before.undecodable_frames,
            after.freezes - before.freezes,
        );
        // What most packets above the lowest are of.
        shown.push((0..3).rev().find(|&layer| counts[layer] > counts.iter().sum::<u64>() / 10).unwrap_or(0));
        assert!(decoded > 40, "{name}: receiver {receiver} decodes");
        assert_eq!(after.unexplained_frames, 0, "{name}: receiver {receiver} misses what was never sent");
        assert_eq!(after.undecodable_frames, before.undecodable_frames, "{name}: receiver {receiver}");
    }
    assert_eq!(shown[0], 0, "{name}: the slowest link gets the lowest layer");
    assert!(shown[0] < shown[1] && shown[1] < shown[2], "{name}: three links, three layers: {shown:?}");
    (1..5).for_each(|peer| world.leave(peer));
    world.run(Micros(END_US + 1_000_000));
    assert_eq!(world.engine.sizes(), EngineSizes::default(), "{name}: something is left behind");
}

#[test]
fn three_links_get_three_layers_of_vp8_simulcast() {
    run("VP8 L1T3 x 3", VideoCodec::Vp8, Scalability::L1T3);
}

#[test]
fn three_links_get_three_layers_of_vp9_with_and_without_inter_layer_prediction() {
    run("VP9 L3T3", VideoCodec::Vp9 { flexible: true }, Scalability::L3T3);
    run("VP9 L3T3_KEY", VideoCodec::Vp9 { flexible: true }, Scalability::L3T3_KEY);
}

#[test]
fn three_links_get_three_layers_of_av1() {
    run("AV1 L3T3", VideoCodec::Av1, Scalability::L3T3);
}
