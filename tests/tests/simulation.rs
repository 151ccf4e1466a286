//! Whole rooms without a socket: seed in, hash out. Engine and clients share a virtual clock and seeded, faulty links.
//!
//! Two rooms live in one engine. Every payload is stamped with room, publisher and track, so a packet that strays is seen. What the
//! links lose is recorded, so a gap that no link made is seen too. `SIMULATION_SEEDS` sets how many seeds run (50 unless set).

use dataplane::base::counters::Counters;
use dataplane::base::drops::DropReason;
use dataplane::base::ids::Ssrc;
use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::engine::EngineSizes;
use dataplane::io::sim::LinkConfig;
use tests::world::{Camera, Microphone, Terms, World};
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::receiver::Reception;
use tools::client::{ClientState, Feedback};

/// Media plays until here; then what is missing has time to be repaired.
const PLAY_US: u64 = 4_000_000;
const REPAIR_US: u64 = 1_500_000;
/// The last of the room joins here, and must see everybody soon.
const LATE_JOIN_US: u64 = 1_500_000;

/// What a run comes to: equal only for equal runs.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    hash: u64,
    packets: u64,
    repaired: u64,
    link_losses: u64,
    duplicates: u64,
    counters: Counters,
}

/// Everybody has a camera and a microphone. Every other guest sends two simulcast layers that only mid and rid tell apart; the rest
/// signal their SSRCs.
fn terms(peer: u32) -> Terms {
    let simulcast = peer.is_multiple_of(2);
    let encodings = if simulcast { vec![(900, 4_000), (1_800, 8_000)] } else { vec![(900, 4_000)] };
    Terms {
        microphone: Some(Microphone { frame_bytes: 80, level: 20 + peer as u8 }),
        camera: Some(Camera {
            codec: VideoCodec::Vp8,
            scalability: Scalability::L1T1,
            encodings,
            rids: simulcast,
            interval_us: 66_667,
            ramp_us: 0,
        }),
        red: false,
        audio_nack: false,
        feedback: Feedback::TransportWide,
    }
}

fn faulty(rng: &mut Rng) -> LinkConfig {
    LinkConfig {
        rate_bps: 20_000_000,
        queue_us_max: 200_000,
        delay_us: 2_000 + rng.below(40_000),
        jitter_us: rng.below(6_000),
        loss_ppm: rng.below(30_000) as u32,
        burst_ppm: rng.below(1_000) as u32,
        burst_datagrams: 1 + rng.below(5) as u32,
        reorder_ppm: rng.below(20_000) as u32,
        reorder_us: 1_000 + rng.below(15_000),
        duplicate_ppm: rng.below(10_000) as u32,
    }
}

fn judge(seed: u64, world: &World, perfect: bool) -> (u64, u64, u64, u64) {
    let (mut hash, mut packets, mut repaired, mut duplicates) = (0_u64, 0, 0, 0);
    for (peer, guest) in &world.guests {
        let statistics = guest.client.statistics();
        let ready = statistics.ready.unwrap_or_else(|| panic!("seed {seed}: peer {peer} never got ready"));
        assert_eq!(guest.client.state(), ClientState::Ready, "seed {seed}: peer {peer}");
        for (what, count) in [
            ("bad tags", statistics.bad_tag),
            ("malformed", statistics.malformed),
            ("unknown SSRC", statistics.unknown_ssrc),
            ("refused", statistics.refused),
        ] {
            assert_eq!(count, 0, "seed {seed}: peer {peer}: {what}");
        }
        hash = hash.rotate_left(5) ^ statistics.datagrams_received ^ (statistics.bytes_sent << 20);
        for (ssrc, reception) in guest.client.receptions() {
            let Some(&(publisher, kind)) = guest.streams.get(&ssrc.0) else { continue };
            let name = format!("seed {seed}: peer {peer} hears {kind:?} of {publisher}");
            judge_stream(&name, world, *peer, ssrc, reception, perfect);
            // Everybody hears everybody, soon after both are there.
            let both = ready.max(world.guests[&publisher].client.statistics().ready.expect("judged above"));
            let waited = reception.first.map_or(u64::MAX, |first| first.since_us(both));
            // A keyframe is asked for every half second at most, and comes with the next frame.
            let allowed = if perfect { 700_000 } else { 2_000_000 };
            assert!(waited < allowed, "{name}: first packet after {waited} us");
            hash = hash.rotate_left(5) ^ reception.order_hash ^ reception.content_hash;
            packets += reception.packets;
            repaired += reception.repaired;
            duplicates += reception.duplicates;
        }
    }
    (hash, packets, repaired, duplicates)
}

fn judge_stream(name: &str, world: &World, peer: u32, ssrc: Ssrc, reception: &Reception, perfect: bool) {
    let (publisher, kind) = world.guests[&peer].streams[&ssrc.0];
    assert!(reception.packets > 0, "{name}: nothing came");
    for (what, count) in [
        ("foreign room", reception.foreign_room),
        ("foreign track", reception.foreign_track),
        ("corrupt", reception.corrupt),
        ("unstamped", reception.unstamped),
        ("wrong payload type", reception.wrong_pt),
        ("too old", reception.too_old),
    ] {
        assert_eq!(count, 0, "{name}: {what}");
    }
    // A switch of layers may cut a frame whose end was lost; nothing else may.
    let breaks = if perfect { 0 } else { reception.layer_switches };
    assert!(reception.discontinuities <= breaks, "{name}: {} breaks", reception.discontinuities);
    // A stream begins with a keyframe unless the link lost or overtook its first packet.
    let excused = !perfect && (world.lost_down(peer, ssrc.0) > 0 || world.has_reordered(peer));
    assert!(!reception.began_without_keyframe || excused, "{name}: began without a keyframe");
    // No gap but those that links made; and of those, video repairs nearly all.
    let (up, down) = (world.lost_up(publisher, kind), world.lost_down(peer, ssrc.0));
    assert!(reception.lost <= up + down, "{name}: lost {} of {up} up + {down} down", reception.lost);
    if kind == MediaKind::Video {
        assert!(reception.lost <= 2 + (up + down) / 10, "{name}: lost {} of {up} + {down}", reception.lost);
    }
    if perfect {
        assert_eq!((reception.lost, reception.reordered), (0, 0), "{name}");
    }
}

/// Six in one room, one of them late, three in another; the second of the six leaves in the middle.
fn run(seed: u64, perfect: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, 8);
    if seed.is_multiple_of(3) {
        // A backend that takes few datagrams per turn loses nothing either.
        world.network.set_buffers(7);
    }
    let links = |rng: &mut Rng| {
        if perfect { [LinkConfig::default(); 2] } else { [faulty(rng), faulty(rng)] }
    };
    for (peer, meeting) in [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (7, 20), (8, 20), (9, 20)] {
        let links = links(&mut rng);
        world.join(peer, meeting, terms(peer), &mut rng, links);
        world.meet(peer);
    }
    world.run(Micros(LATE_JOIN_US));
    let late = links(&mut rng);
    world.join(6, 10, terms(6), &mut rng, late);
    world.meet(6);
    world.run(Micros(PLAY_US * 3 / 4));
    let gone = world.guests[&2].streams.len();
    world.leave(2);
    assert_eq!(gone, 10, "two tracks of five others");
    // What is on its way still comes.
    world.run(Micros(PLAY_US * 3 / 4 + 400_000));
    for guest in world.guests.values_mut() {
        for (ssrc, _) in guest.streams.iter().filter(|(_, (publisher, _))| *publisher == 2) {
            guest.client.forget(Ssrc(*ssrc));
        }
    }
    world.run(Micros(PLAY_US));
    world.mute_all();
    world.run(Micros(PLAY_US + REPAIR_US));
    let left = world.guests.keys().copied().collect::<Vec<_>>();
    assert_eq!(left, [1, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.ended, Vec::<u32>::new(), "seed {seed}: peers ended by themselves");
    assert!(world.speakers > 0, "seed {seed}: nobody was noticed speaking");
    // Streams of somebody who left cannot be held against his statistics.
    for guest in world.guests.values_mut() {
        guest.streams.retain(|_, (publisher, _)| *publisher != 2);
    }
    let (hash, packets, repaired, duplicates) = judge(seed, &world, perfect);
    let counters = world.engine.counters().clone();
    for reason in
        [DropReason::UnknownSsrc, DropReason::UnknownPayloadType, DropReason::QueueFull, DropReason::BadTag]
    {
        assert_eq!(counters.dropped[reason as usize], 0, "seed {seed}: {reason:?}");
    }
    for peer in left {
        world.leave(peer);
    }
    world.run(Micros(PLAY_US + REPAIR_US + 1_000_000));
    assert_eq!(world.engine.sizes(), EngineSizes::default(), "seed {seed}: something is left behind");
    let link_losses = world.lost.values().sum();
    Outcome { hash, packets, repaired, link_losses, duplicates, counters }
}

fn seeds() -> u64 {
    std::env::var("SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[test]
fn promises_hold_on_bad_networks_and_every_run_repeats() {
    let seeds: Vec<u64> = (1..=seeds()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let totals: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds: Vec<u64> = seeds.iter().copied().skip(part).step_by(threads).collect();
                scope.spawn(move || {
                    let mut total = (0, 0, 0);
                    for seed in seeds {
                        let outcome = run(seed, false);
                        assert_eq!(outcome, run(seed, false), "seed {seed} is not deterministic");
                        total.0 += outcome.packets;
                        total.1 += outcome.repaired;
                        total.2 += outcome.link_losses;
                    }
                    total
                })
            })
            .collect();
        parts.into_iter().map(|part| part.join().expect("a seed failed; see its message above")).collect()
    });
    let sum = |field: fn(&(u64, u64, u64)) -> u64| totals.iter().map(field).sum::<u64>();
    let (packets, repaired, losses) = (sum(|t| t.0), sum(|t| t.1), sum(|t| t.2));
    println!("{} seeds: {packets} packets heard, {losses} lost on links, {repaired} repaired", seeds.len());
    assert!(losses > 0 && repaired > 0, "the links were not faulty");
}

#[test]
fn on_perfect_links_nothing_is_lost_reordered_or_repeated() {
    for seed in [1, 3] {
        let outcome = run(seed, true);
        assert_eq!((outcome.link_losses, outcome.repaired), (0, 0), "seed {seed}");
        assert_eq!(outcome.counters.packets_retransmitted, 0, "seed {seed}");
        // What probes a link repeats what came already, and nothing else does.
        assert!(outcome.duplicates <= outcome.counters.packets_padding, "seed {seed}");
    }
}
