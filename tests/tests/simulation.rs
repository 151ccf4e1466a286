//! Whole rooms without a socket: seed in, hash out. Engine and clients share a virtual clock and seeded, faulty links.
//!
//! Two rooms live in one engine. Every payload is stamped with room, publisher and track, so a packet that strays is seen. What the
//! links lose is recorded, so a gap that no link made is seen too. `SIMULATION_SEEDS` sets how many seeds run (50 unless set).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dataplane::base::counters::Counters;
use dataplane::base::drops::DropReason;
use dataplane::base::handoff::{
    AssistReply, AssistRequest, DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile,
};
use dataplane::base::ids::{
    CoreId, Label, MeetingId, Mid, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag,
};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::net::Path;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::{
    Command, IceCredentials, OpenPeer, Publish, RemotePeer, Report, SignalledSsrc, Subscribe,
};
use dataplane::engine::{Engine, EngineConfig, EngineSizes};
use dataplane::io::sim::{LinkConfig, Network};
use dataplane::wire::demux::{Protocol, classify};
use dataplane::wire::rtp;
use kernels::Suite;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::receiver::{ReceiveConfig, Reception};
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use tools::client::{Client, ClientConfig, ClientState, Remote, Security, SourceId, TRANSMIT_BYTES_MIN};

const CORE: CoreId = CoreId(0);
const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
/// Media plays until here; then what is missing has time to be repaired.
const PLAY_US: u64 = 4_000_000;
const REPAIR_US: u64 = 1_500_000;
/// The last of the room joins here, and must see everybody soon.
const LATE_JOIN_US: u64 = 1_500_000;

/// A participant: one association that sends and receives.
struct Guest {
    client: Client,
    path: Path,
    meeting: u64,
    keys: SrtpKeys,
    sources: Vec<SourceId>,
    /// Stamped publisher of each stream it receives.
    streams: BTreeMap<u32, (u32, MediaKind)>,
}

struct World {
    engine: Engine,
    network: Network,
    /// By peer number.
    guests: BTreeMap<u32, Guest>,
    engine_due: Micros,
    /// Packets lost on their way, by SSRC: to the server with the sender's number, from it with the receiver's.
    lost: BTreeMap<(bool, u32, u32), u64>,
    ended: Vec<u32>,
    speakers: u64,
}

/// What a run comes to: equal only for equal runs.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    hash: u64,
    packets: u64,
    repaired: u64,
    link_losses: u64,
    counters: Counters,
}

fn label(text: &str) -> Mid {
    Label::new(text.as_bytes()).expect("short")
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in [
        (1, Extension::AudioLevel),
        (2, Extension::AbsSendTime),
        (3, Extension::TransportCc),
        (4, Extension::Mid),
        (10, Extension::Rid),
        (11, Extension::RepairedRid),
    ] {
        map.set(extension, id);
    }
    map
}

fn formats(kind: MediaKind) -> Vec<Format> {
    match kind {
        MediaKind::Audio => {
            vec![Format { codec: Codec::Opus, pt: OPUS, rtx_pt: None, nack: false, pli: false }]
        }
        MediaKind::Video => {
            vec![Format { codec: Codec::Vp8, pt: VP8, rtx_pt: Some(VP8_RTX), nack: true, pli: true }]
        }
    }
}

fn keys(rng: &mut Rng, peer: u32) -> SrtpKeys {
    let mut master = || MasterKey {
        key: std::array::from_fn(|_| rng.next_u64() as u8),
        salt: std::array::from_fn(|_| rng.next_u64() as u8),
    };
    let profile = [SrtpProfile::AeadAes256Gcm, SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80];
    SrtpKeys { profile: profile[peer as usize % 3], remote: master(), local: master() }
}

fn swapped(keys: &SrtpKeys) -> SrtpKeys {
    SrtpKeys { profile: keys.profile, remote: keys.local.clone(), local: keys.remote.clone() }
}

/// Media SSRC of a publisher's layer; its retransmissions are one above.
fn published_ssrc(peer: u32, kind: MediaKind, layer: u32) -> u32 {
    100_000 + peer * 1_000 + layer * 10 + if kind == MediaKind::Video { 500 } else { 0 }
}

fn track_number(peer: u32, kind: MediaKind) -> u32 {
    2 * peer + u32::from(kind == MediaKind::Video)
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

impl World {
    fn new(seed: u64) -> Self {
        let config = EngineConfig { core: CORE, suite: Suite::detect(), seed, audio_streams_max: 8 };
        Self {
            engine: Engine::new(config),
            network: Network::new(seed),
            guests: BTreeMap::new(),
            engine_due: Micros(0),
            lost: BTreeMap::new(),
            ended: Vec::new(),
            speakers: 0,
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.network.now();
        self.engine.handle_command(now, command);
        self.engine_due = now;
    }

    /// Somebody joins, publishes camera and microphone, and gets those of everybody in the meeting, as they get his.
    fn join(&mut self, peer: u32, meeting: u64, rng: &mut Rng, links: [LinkConfig; 2]) {
        let now = self.network.now();
        let remote: SocketAddr = ([192, 0, 2, peer as u8], 40_000).into();
        let path = Path { local: ([10, 0, 0, 1], 7_882).into(), remote };
        self.network.connect(remote, links[0], links[1]);
        let server_ice = IceCredentials {
            ufrag: local_ufrag(CORE, PeerId(peer), 7),
            pwd: format!("password of peer {peer:08}"),
        };
        let client_ice =
            IceCredentials { ufrag: format!("guest{peer}"), pwd: "a password of the client".to_owned() };
        let keys = keys(rng, peer);
        let mut client = Client::new(ClientConfig {
            room: meeting,
            publisher: peer,
            ice: client_ice.clone(),
            security: Security::Keys(Box::new(swapped(&keys))),
            suite: Suite::detect(),
            seed: rng.next_u64(),
        });
        self.command(Command::OpenPeer(Box::new(OpenPeer {
            peer: PeerId(peer),
            meeting: MeetingId(meeting),
            participant: ParticipantId(peer),
            local: server_ice.clone(),
            dtls: DtlsVersion::V12,
            channels: &[],
        })));
        self.command(Command::RemotePeer(Box::new(RemotePeer {
            peer: PeerId(peer),
            ufrag: client_ice.ufrag,
            fingerprint: Fingerprint([0; 32]),
        })));
        let kinds = [MediaKind::Audio, MediaKind::Video];
        let sources = kinds.map(|kind| self.publish(peer, kind, &mut client, rng)).to_vec();
        client.set_remote(now, &Remote { ice: server_ice, fingerprint: None });
        self.guests.insert(peer, Guest { client, path, meeting, keys, sources, streams: BTreeMap::new() });
        let others: Vec<u32> = self
            .guests
            .iter()
            .filter(|(id, guest)| guest.meeting == meeting && **id != peer)
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                self.subscribe(other, peer, kind);
                self.subscribe(peer, other, kind);
            }
        }
    }

    /// Every other guest sends two simulcast layers that only mid and rid tell apart; the rest signal their SSRCs.
    fn publish(&mut self, peer: u32, kind: MediaKind, client: &mut Client, rng: &mut Rng) -> SourceId {
        let now = self.network.now();
        let track = track_number(peer, kind);
        let mid = label(&track.to_string());
        let config = TrackConfig {
            track,
            mid: Some(mid),
            pt: if kind == MediaKind::Audio { OPUS } else { VP8 },
            rtx_pt: (kind == MediaKind::Video).then_some(VP8_RTX),
            extensions: extensions(),
            phase_us: rng.below(60_000),
            frames_max: None,
        };
        let simulcast = kind == MediaKind::Video && peer.is_multiple_of(2);
        let rids: &[&str] = if simulcast { &["l", "h"] } else { &[] };
        let source = match kind {
            MediaKind::Audio => {
                let ssrc = Ssrc(published_ssrc(peer, kind, 0));
                let level = 20 + peer as u8;
                client.publish_audio(
                    now,
                    AudioConfig { track: config, ssrc, payload_bytes: 80, level, red_pt: None, nack: false },
                )
            }
            MediaKind::Video => {
                let encoding = |layer: usize| {
                    let ssrc = published_ssrc(peer, kind, layer as u32);
                    Encoding {
                        ssrc: Ssrc(ssrc),
                        rtx: Some(Ssrc(ssrc + 1)),
                        rid: rids.get(layer).map(|rid| label(rid)),
                        frame_bytes: 900 * (layer + 1),
                        keyframe_bytes: 4_000 * (layer + 1),
                    }
                };
                client.publish_video(
                    now,
                    VideoConfig {
                        track: config,
                        codec: VideoCodec::Vp8,
                        scalability: Scalability::L1T1,
                        size: (640, 360),
                        ramp_us: 0,
                        encodings: (0..rids.len().max(1)).map(encoding).collect(),
                        frame_interval_us: 66_667,
                        payload_bytes_max: 1_100,
                        size_jitter_percent: 30,
                    },
                )
            }
        };
        let ssrc = Ssrc(published_ssrc(peer, kind, 0));
        let rtx = (kind == MediaKind::Video).then_some(Ssrc(ssrc.0 + 1));
        self.command(Command::Publish(Box::new(Publish {
            track: TrackId(track),
            peer: PeerId(peer),
            kind,
            content: Content::Camera,
            mid,
            formats: formats(kind),
            extensions: extensions(),
            ssrcs: if simulcast { Vec::new() } else { vec![SignalledSsrc { ssrc, rtx, rid: None }] },
            rids: rids.iter().map(|rid| label(rid)).collect(),
        })));
        source
    }

    fn subscribe(&mut self, receiver: u32, publisher: u32, kind: MediaKind) {
        let number = receiver * 10_000 + track_number(publisher, kind) * 10;
        let video = kind == MediaKind::Video;
        let rtx = video.then_some(Ssrc(number + 1));
        self.command(Command::Subscribe(Box::new(Subscribe {
            stream: StreamId(number),
            peer: PeerId(receiver),
            track: TrackId(track_number(publisher, kind)),
            mid: label(&format!("s{publisher}")),
            ssrc: Ssrc(number),
            rtx,
            formats: formats(kind),
            extensions: extensions(),
        })));
        let guest = self.guests.get_mut(&receiver).expect("joined");
        guest.client.receive(ReceiveConfig {
            ssrc: Ssrc(number),
            rtx,
            kind,
            codec: VideoCodec::Vp8,
            pt: if video { VP8 } else { OPUS },
            rtx_pt: video.then_some(VP8_RTX),
            red_pt: None,
            transport_cc: Some(3),
            abs_send_time: None,
            dependency: None,
            nack: video,
            expected: Some((publisher, track_number(publisher, kind))),
        });
        guest.streams.insert(number, (publisher, kind));
    }

    /// Runs until `end` of the virtual clock.
    fn run(&mut self, end: Micros) {
        let mut datagram = [0; TRANSMIT_BYTES_MIN];
        let mut turns = 0_u64;
        loop {
            let clients = self.guests.values().map(|guest| guest.client.next_timeout()).min();
            let next = self.network.next_arrival().min(self.engine_due).min(clients.unwrap_or(Micros::NEVER));
            if next > end {
                self.network.advance(end);
                return;
            }
            self.network.advance(next);
            let now = self.network.now();
            turns += 1;
            assert!(turns < 5_000_000, "time does not move at {now:?}");
            let mut flush = self.engine_due <= now;
            while let Some(mut arrival) = self.network.poll_arrival() {
                if arrival.at_server {
                    self.engine.handle_datagram(now, arrival.path, &mut arrival.bytes);
                    flush = true;
                } else if let Some(guest) = self.guests.values_mut().find(|guest| guest.path == arrival.path)
                {
                    guest.client.handle_datagram(now, &mut arrival.bytes);
                }
            }
            for guest in self.guests.values_mut() {
                if guest.client.next_timeout() <= now {
                    guest.client.handle_timeout(now);
                }
                while let Some(bytes) = guest.client.poll_transmit(now, &mut datagram) {
                    self.network.send_up(guest.path, &datagram[..bytes]);
                }
            }
            if flush {
                self.flush(now);
            }
            self.note_losses();
        }
    }

    fn flush(&mut self, now: Micros) {
        self.engine_due = self.engine.flush(now, &mut self.network.server());
        while let Some(request) = self.engine.poll_assist() {
            assert!(!matches!(request, AssistRequest::Datagram { .. }), "nobody speaks DTLS here");
        }
        while let Some(report) = self.engine.poll_report() {
            match report {
                // The path is there: the handshake is done in no time.
                Report::PeerPath { peer } => {
                    let keys = Box::new(self.guests[&peer.0].keys.clone());
                    self.engine
                        .handle_assist(now, AssistReply::Keys { peer, version: DtlsVersion::V12, keys });
                    self.engine_due = now;
                }
                Report::PeerEnded { peer, .. } => self.ended.push(peer.0),
                Report::Speakers { .. } => self.speakers += 1,
                _ => {}
            }
        }
    }

    fn note_losses(&mut self) {
        for loss in self.network.take_losses() {
            if classify(&loss.bytes) != Protocol::Rtp {
                continue;
            }
            let guest = self.guests.iter().find(|(_, guest)| guest.path == loss.path);
            if let (Some((peer, _)), Some(ssrc)) = (guest, rtp::ssrc(&loss.bytes)) {
                *self.lost.entry((loss.to_server, *peer, ssrc.0)).or_default() += 1;
            }
        }
    }

    fn mute_all(&mut self) {
        for guest in self.guests.values_mut() {
            for source in &guest.sources {
                guest.client.set_muted(*source, true);
            }
        }
    }

    fn leave(&mut self, peer: u32) {
        self.command(Command::ClosePeer { peer: PeerId(peer) });
        if let Some(guest) = self.guests.remove(&peer) {
            self.network.disconnect(guest.path.remote);
        }
    }

    /// Packets of a track that were lost on the way to the server, all layers.
    fn lost_up(&self, publisher: u32, kind: MediaKind) -> u64 {
        (0..3)
            .filter_map(|layer| self.lost.get(&(true, publisher, published_ssrc(publisher, kind, layer))))
            .sum()
    }

    fn has_reordered(&self, receiver: u32) -> bool {
        let remote = self.guests[&receiver].path.remote;
        self.network.counts(remote).is_some_and(|(_, down)| down.reordered > 0)
    }

    fn lost_down(&self, receiver: u32, ssrc: u32) -> u64 {
        self.lost.get(&(false, receiver, ssrc)).copied().unwrap_or(0)
    }
}

fn judge(seed: u64, world: &World, perfect: bool) -> (u64, u64, u64) {
    let (mut hash, mut packets, mut repaired) = (0_u64, 0, 0);
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
            let allowed = if perfect { 500_000 } else { 2_000_000 };
            assert!(waited < allowed, "{name}: first packet after {waited} us");
            hash = hash.rotate_left(5) ^ reception.order_hash ^ reception.content_hash;
            packets += reception.packets;
            repaired += reception.repaired;
        }
    }
    (hash, packets, repaired)
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
        assert_eq!((reception.lost, reception.duplicates, reception.reordered), (0, 0, 0), "{name}");
    }
}

/// Six in one room, one of them late, three in another; the second of the six leaves in the middle.
fn run(seed: u64, perfect: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed);
    if seed.is_multiple_of(3) {
        // A backend that takes few datagrams per turn loses nothing either.
        world.network.set_buffers(7);
    }
    let links = |rng: &mut Rng| {
        if perfect { [LinkConfig::default(); 2] } else { [faulty(rng), faulty(rng)] }
    };
    for (peer, meeting) in [(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (7, 20), (8, 20), (9, 20)] {
        let links = links(&mut rng);
        world.join(peer, meeting, &mut rng, links);
    }
    world.run(Micros(LATE_JOIN_US));
    let late = links(&mut rng);
    world.join(6, 10, &mut rng, late);
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
    let (hash, packets, repaired) = judge(seed, &world, perfect);
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
    Outcome { hash, packets, repaired, link_losses, counters }
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
    }
}
