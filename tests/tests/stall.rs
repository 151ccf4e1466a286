//! A receiver on TCP takes nothing for a while and then all of it: its pictures come back soon, as good as before.
//!
//! How long it stalls, when, and what it is sent come from the seed. `STALL_SEEDS` sets how many seeds run (8 unless set), `STALL_PRINT`
//! prints the course of each.

use dataplane::base::ids::Ssrc;
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::io::sim::LinkConfig;
use tests::world::{Camera, Microphone, Terms, World, stream_number};
use tools::client::Feedback;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;

const MEETING: u64 = 1;
const PUBLISHER: u32 = 1;
const RECEIVER: u32 = 2;
/// The estimate has found the link by then.
const SETTLED_US: u64 = 12_000_000;
/// A little less than after what time a connection that takes nothing ends.
const STALL_US_MAX: u64 = 8_000_000;
/// So long after a stall the picture is there again, and so long the best of it.
const BACK_US: u64 = 2_000_000;
const BEST_US: u64 = 4_000_000;
/// Pictures are counted over this time.
const STEP_US: u64 = 500_000;
/// 20 pictures a second.
const INTERVAL_US: u64 = 50_000;
/// 150 kbit/s, 500 kbit/s, 1.5 Mbit/s; keyframes are five times a delta picture.
const SIMULCAST: [(usize, usize); 3] = [(940, 4_700), (3_125, 15_600), (9_375, 46_900)];
/// 800 kbit/s.
const SINGLE: [(usize, usize); 1] = [(5_000, 25_000)];

fn camera(encodings: &[(usize, usize)]) -> Camera {
    Camera {
        codec: VideoCodec::Vp8,
        scalability: Scalability::L1T1,
        encodings: encodings.to_vec(),
        rids: encodings.len() > 1,
        interval_us: INTERVAL_US,
        ramp_us: 0,
    }
}

fn terms(camera: Option<Camera>) -> Terms {
    Terms {
        microphone: camera.as_ref().map(|_| Microphone { frame_bytes: 80, level: 20 }),
        camera,
        red: false,
        audio_nack: false,
        feedback: Feedback::TransportWide,
    }
}

struct Stage {
    world: World,
    stream: u32,
}

impl Stage {
    fn frames(&self) -> u64 {
        let client = &self.world.guests[&RECEIVER].client;
        client.reception(Ssrc(self.stream)).map_or(0, |reception| reception.frames)
    }

    fn run(&mut self, time_us: u64) {
        let end = self.world.network.now().after_us(time_us);
        self.world.run(end);
    }

    /// Pictures that arrive in some time.
    fn frames_in(&mut self, time_us: u64) -> u64 {
        let before = self.frames();
        self.run(time_us);
        self.frames() - before
    }
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, 8);
    let link =
        LinkConfig { rate_bps: 3_000_000, delay_us: 20_000, jitter_us: 2_000, ..LinkConfig::default() };
    let up = LinkConfig { delay_us: 20_000, ..LinkConfig::default() };
    let encodings = if seed.is_multiple_of(2) { &SIMULCAST[..] } else { &SINGLE[..] };
    world.join(PUBLISHER, MEETING, terms(Some(camera(encodings))), &mut rng, [up, up]);
    world.join_over_tcp(RECEIVER, MEETING, terms(None), &mut rng, [up, link]);
    for kind in [MediaKind::Audio, MediaKind::Video] {
        world.subscribe(RECEIVER, PUBLISHER, kind);
    }
    let stream = stream_number(RECEIVER, PUBLISHER, MediaKind::Video);
    let mut stage = Stage { world, stream };
    stage.run(SETTLED_US + rng.below(500_000));
    let best = stage.world.deliveries.get(&stream).copied().expect("it is sent something");
    assert_eq!(best.reason, None, "seed {seed}: the link carries everything");
    for nth in 0..3 {
        let stall_us = 300_000 + rng.below(STALL_US_MAX);
        stage.world.stall(RECEIVER, stall_us);
        stage.run(stall_us);
        let mut course = Vec::new();
        for _ in 0..BEST_US / STEP_US {
            course.push(stage.frames_in(STEP_US));
        }
        let what = format!("seed {seed}, stall {nth} of {} ms: {course:?}", stall_us / 1_000);
        let delivery = stage.world.deliveries[&stream];
        if std::env::var_os("STALL_PRINT").is_some() {
            println!("{what} {delivery:?}");
            let samples = &stage.world.qualities[&RECEIVER];
            let told: Vec<u32> = samples.iter().rev().take(8).map(|q| q.estimate_bps / 1_000).collect();
            println!("   {told:?} kbit/s, newest first");
        }
        // Ten are all of them.
        let back = &course[(BACK_US / STEP_US) as usize..];
        assert!(back.iter().all(|frames| *frames >= 8), "{what}");
        assert_eq!((delivery.layer, delivery.reason), (best.layer, None), "{what}");
        stage.run(3_000_000);
    }
    let client = &stage.world.guests[&RECEIVER].client;
    let reception = client.reception(Ssrc(stream)).expect("it has pictures");
    assert_eq!((reception.unexplained_frames, reception.corrupt), (0, 0), "seed {seed}");
}

#[test]
fn pictures_are_back_within_two_seconds_of_a_stall() {
    let seeds = std::env::var("STALL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    (1..=seeds).for_each(run);
}
