//! The packet path allocates nothing once a room stands: an allocator that counts watches every call of the engine.
//!
//! Media of real clients with losses, so that feedback, retransmissions, keyframe requests and reports of all kinds are among it.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane::base::handoff::{AssistReply, DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{
    CoreId, Label, MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag,
};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::net::{BuffersFull, Path, SendBuffers};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::{
    Command, IceCredentials, OpenPeer, Publish, RemotePeer, Report, SignalledSsrc, Subscribe,
};
use dataplane::engine::{Engine, EngineConfig};
use kernels::Suite;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::receiver::ReceiveConfig;
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use tools::client::{Client, ClientConfig, Remote, Security, TRANSMIT_BYTES_MIN};

thread_local! {
    /// Allocations since counting began on this thread; `None` while nobody counts.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

fn count() {
    COUNT.with(|count| count.set(count.get().map(|so_far| so_far + 1)));
}

// SAFETY: every call goes to `System` with the arguments it came with, so what `System` promises holds; counting touches a
// thread-local that needs neither allocation nor destruction (`const` initialiser of a `Copy` value).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout, as the caller promises of us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and the caller promises that `bytes` is a valid size.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and answers how often it allocated.
fn allocations(work: impl FnOnce()) -> u64 {
    COUNT.with(|count| count.set(Some(0)));
    work();
    COUNT.with(|count| count.take()).unwrap_or(0)
}

const CORE: CoreId = CoreId(0);
const SERVER_PWD: &str = "the password of the server";
const CLIENTS: u32 = 4;
const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;

/// Buffers of a turn in memory that is there before.
struct Arena {
    bytes: Vec<u8>,
    used: usize,
    sent: Vec<(Path, usize, usize)>,
}

impl SendBuffers for Arena {
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        let out = self.bytes.get_mut(self.used..self.used + bytes_max).ok_or(BuffersFull)?;
        if self.sent.len() == self.sent.capacity() {
            return Err(BuffersFull);
        }
        let length = fill(out);
        self.sent.push((*path, self.used, length));
        self.used += length;
        Ok(())
    }
}

fn path(peer: u32) -> Path {
    Path { local: ([10, 0, 0, 1], 7_882).into(), remote: ([192, 0, 2, peer as u8], 40_000).into() }
}

fn keys(peer: u32) -> SrtpKeys {
    let master = |salt: u8| MasterKey { key: [peer as u8; 32], salt: [salt; 14] };
    SrtpKeys { profile: SrtpProfile::AeadAes256Gcm, remote: master(1), local: master(2) }
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
    let video = kind == MediaKind::Video;
    let (codec, pt) = if video { (Codec::Vp8, VP8) } else { (Codec::Opus, OPUS) };
    vec![Format { codec, pt, rtx_pt: video.then_some(VP8_RTX), nack: video, pli: video }]
}

fn label(text: &str) -> Label {
    Label::new(text.as_bytes()).expect("short")
}

/// Client and engine know each other; media follows once the path is checked.
fn join(engine: &mut Engine, peer: u32) -> Client {
    let now = Micros(0);
    let server = IceCredentials { ufrag: local_ufrag(CORE, PeerId(peer), 1), pwd: SERVER_PWD.to_owned() };
    let own = IceCredentials { ufrag: format!("c{peer}"), pwd: "a password of the client".to_owned() };
    let theirs = keys(peer);
    let mut client = Client::new(ClientConfig {
        room: 1,
        publisher: peer,
        ice: own.clone(),
        security: Security::Keys(Box::new(SrtpKeys {
            profile: theirs.profile,
            remote: theirs.local.clone(),
            local: theirs.remote.clone(),
        })),
        suite: Suite::detect(),
        seed: u64::from(peer),
    });
    engine.handle_command(
        now,
        Command::OpenPeer(Box::new(OpenPeer {
            peer: PeerId(peer),
            meeting: MeetingId(1),
            participant: ParticipantId(peer),
            local: server.clone(),
            dtls: DtlsVersion::V12,
            channels: &[],
        })),
    );
    engine.handle_command(
        now,
        Command::RemotePeer(Box::new(RemotePeer {
            peer: PeerId(peer),
            ufrag: own.ufrag,
            fingerprint: Fingerprint([0; 32]),
        })),
    );
    for kind in [MediaKind::Audio, MediaKind::Video] {
        publish(engine, &mut client, peer, kind);
    }
    client.set_remote(now, &Remote { ice: server, fingerprint: None });
    client
}

fn track(peer: u32, kind: MediaKind) -> u32 {
    2 * peer + u32::from(kind == MediaKind::Video)
}

fn publish(engine: &mut Engine, client: &mut Client, peer: u32, kind: MediaKind) {
    let track = track(peer, kind);
    let config = TrackConfig {
        track,
        mid: Some(label(&track.to_string())),
        pt: formats(kind)[0].pt,
        rtx_pt: formats(kind)[0].rtx_pt,
        extensions: extensions(),
        phase_us: u64::from(track) * 1_000,
        frames_max: None,
    };
    let rids: &[&str] = if kind == MediaKind::Video { &["l", "h"] } else { &[] };
    let mut ssrcs = Vec::new();
    if kind == MediaKind::Audio {
        let ssrc = Ssrc(1_000 + track);
        ssrcs.push(SignalledSsrc { ssrc, rtx: None, rid: None });
        client.publish_audio(
            Micros(0),
            AudioConfig { track: config, ssrc, payload_bytes: 80, level: 30, red_pt: None, nack: false },
        );
    } else {
        let encoding = |(layer, rid): (usize, &&str)| Encoding {
            ssrc: Ssrc(2_000 + 10 * track + 2 * layer as u32),
            rtx: Some(Ssrc(2_001 + 10 * track + 2 * layer as u32)),
            rid: Some(label(rid)),
            frame_bytes: 2_000 * (layer + 1),
            keyframe_bytes: 6_000 * (layer + 1),
        };
        client.publish_video(
            Micros(0),
            VideoConfig {
                track: config,
                codec: VideoCodec::Vp8,
                scalability: Scalability::L1T1,
                size: (640, 360),
                ramp_us: 0,
                encodings: rids.iter().enumerate().map(encoding).collect(),
                frame_interval_us: 33_333,
                payload_bytes_max: 1_100,
                size_jitter_percent: 20,
            },
        );
    }
    engine.handle_command(
        Micros(0),
        Command::Publish(Box::new(Publish {
            track: TrackId(track),
            peer: PeerId(peer),
            kind,
            content: Content::Camera,
            mid: label(&track.to_string()),
            formats: formats(kind),
            extensions: extensions(),
            ssrcs,
            rids: rids.iter().map(|rid| label(rid)).collect(),
        })),
    );
}

fn subscribe(engine: &mut Engine, client: &mut Client, receiver: u32, publisher: u32, kind: MediaKind) {
    let number = 100_000 * receiver + 10 * track(publisher, kind);
    let rtx = (kind == MediaKind::Video).then_some(Ssrc(number + 1));
    engine.handle_command(
        Micros(0),
        Command::Subscribe(Box::new(Subscribe {
            stream: StreamId(number),
            peer: PeerId(receiver),
            track: TrackId(track(publisher, kind)),
            mid: label("s"),
            ssrc: Ssrc(number),
            rtx,
            formats: formats(kind),
            extensions: extensions(),
        })),
    );
    client.receive(ReceiveConfig {
        ssrc: Ssrc(number),
        rtx,
        kind,
        codec: VideoCodec::Vp8,
        pt: formats(kind)[0].pt,
        rtx_pt: formats(kind)[0].rtx_pt,
        red_pt: None,
        fec: false,
        transport_cc: Some(3),
        abs_send_time: None,
        dependency: None,
        nack: rtx.is_some(),
        expected: Some((publisher, track(publisher, kind))),
    });
}

#[test]
fn a_standing_room_is_served_without_allocation() {
    let mut engine =
        Engine::new(EngineConfig { core: CORE, suite: Suite::detect(), seed: 1, rules: Default::default() });
    let mut clients: Vec<Client> = (1..=CLIENTS).map(|peer| join(&mut engine, peer)).collect();
    for (client, receiver) in clients.iter_mut().zip(1..) {
        for publisher in (1..=CLIENTS).filter(|publisher| *publisher != receiver) {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                subscribe(&mut engine, client, receiver, publisher, kind);
            }
        }
    }
    let mut arena = Arena { bytes: vec![0; 8 << 20], used: 0, sent: Vec::with_capacity(8_192) };
    let mut datagram = [0; TRANSMIT_BYTES_MIN];
    let mut rng = Rng::new(5);
    let mut allocated = 0;
    let boxed = allocations(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert_eq!(boxed, 1, "the allocator counts");
    // Two seconds to begin, five that count; a turn each millisecond.
    for millisecond in 0..7_000 {
        let now = Micros(0).after_ms(millisecond);
        let counts = millisecond > 2_000;
        for (client, peer) in clients.iter_mut().zip(1..) {
            client.handle_timeout(now);
            while let Some(bytes) = client.poll_transmit(now, &mut datagram) {
                // One datagram in fifty is lost on its way up.
                if rng.chance_ppm(20_000) {
                    continue;
                }
                let during = allocations(|| engine.handle_datagram(now, path(peer), &mut datagram[..bytes]));
                allocated += if counts { during } else { 0 };
            }
        }
        arena.used = 0;
        arena.sent.clear();
        let during = allocations(|| {
            let _ = engine.flush(now, &mut arena);
        });
        allocated += if counts { during } else { 0 };
        let mut ready = Vec::new();
        let during = allocations(|| {
            while let Some(report) = engine.poll_report() {
                if let Report::PeerPath { peer } = report {
                    ready.push(peer);
                }
            }
        });
        allocated += if counts { during } else { 0 };
        for peer in ready {
            let keys = Box::new(keys(peer.0));
            engine.handle_assist(now, AssistReply::Keys { peer, version: DtlsVersion::V12, keys });
        }
        for &(path, start, length) in &arena.sent {
            // And one in fifty on its way down.
            if rng.chance_ppm(20_000) {
                continue;
            }
            let index = usize::from(match path.remote.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => 0,
            });
            let client = clients.get_mut(index.wrapping_sub(1)).expect("sent to a client");
            client.handle_datagram(now, &mut arena.bytes[start..start + length]);
        }
    }
    let counters = engine.counters();
    assert!(counters.packets_forwarded > 10_000, "{} forwarded", counters.packets_forwarded);
    assert!(counters.packets_retransmitted > 20, "{} retransmitted", counters.packets_retransmitted);
    let nacks: u64 = clients.iter().map(|client| client.statistics().nacks_received).sum();
    let feedback: u64 = clients.iter().map(|client| client.statistics().twcc_received).sum();
    assert!(nacks > 0 && feedback > 0, "{nacks} NACKs and {feedback} feedbacks to publishers");
    assert_eq!(allocated, 0, "the packet path allocated");
}
