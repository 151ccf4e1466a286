//! A whole engine with two participants who hold keys and send anything at all: each other's media, RTCP, at any pace.
//!
//! Input: operations of two bytes, an action and a length, each followed by so many bytes. The engine lives on from input to input, as
//! it does in service; its participants do not, and leave nothing behind.

use std::cell::RefCell;
use std::collections::BTreeMap;

use dataplane::base::handoff::{AssistReply, DtlsVersion, MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{
    CoreId, Label, MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag,
};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::net::{BuffersFull, Path, SendBuffers};
use dataplane::base::time::Micros;
use dataplane::command::{Command, IceCredentials, OpenPeer, Publish, SignalledSsrc, Subscribe, Wanted};
use dataplane::engine::{Engine, EngineConfig, EngineSizes, Rules};
use dataplane::session::srtp::{Inbound, Outbound};
use dataplane::wire::demux::{Protocol, classify};
use dataplane::wire::rtp::{self, RtpHeader};
use dataplane::wire::stun::{BindingRequest, Role, TransactionId, write_request};
use kernels::{HmacSha1, Suite};

const CORE: CoreId = CoreId(1);
const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;
const PWD: &str = "a password of 22 bytes";
/// Turns that may follow each other without time passing.
const TURNS_MAX: u32 = 4;

thread_local! {
    static HOUSE: RefCell<House> = RefCell::new(House::new());
}

struct House {
    engine: Engine,
    now: Micros,
    /// The next number of a peer.
    peers: u32,
}

/// One participant: it publishes a camera, and receives the other's.
struct Guest {
    id: PeerId,
    path: Path,
    inbound: Inbound,
    outbound: Outbound,
    /// Highest SRTP index by SSRC.
    indices: BTreeMap<u32, u64>,
}

/// What left in one turn.
#[derive(Default)]
struct Wire(Vec<(Path, Vec<u8>)>);

impl SendBuffers for Wire {
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        let mut bytes = vec![0; bytes_max];
        let length = fill(&mut bytes);
        bytes.truncate(length);
        if length > 0 {
            self.0.push((*path, bytes));
        }
        Ok(())
    }
}

/// Nothing panics or spins, every packet that leaves is well-formed and has an SRTP index of its own, and who leaves leaves nothing.
pub fn engine(data: &[u8]) {
    HOUSE.with_borrow_mut(|house| house.run(data));
}

impl House {
    fn new() -> Self {
        let config = EngineConfig {
            core: CORE,
            suite: Suite::detect(),
            seed: 7,
            rules: Rules { audio_streams_max: 1, ..Rules::default() },
        };
        Self { engine: Engine::new(config), now: Micros(1_000_000), peers: 1 }
    }

    fn run(&mut self, data: &[u8]) {
        let first = self.peers;
        self.peers += 2;
        let mut guests = [first, first + 1].map(|id| self.join(id, first));
        for id in [first, first + 1] {
            self.publish(id, first);
        }
        self.settle(&mut guests);
        let mut rest = data;
        while let [action, length, tail @ ..] = rest {
            let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
            rest = tail;
            let from = usize::from(action >> 3 & 1);
            match action % 8 {
                0..=2 => self.send_rtp(&mut guests[from], bytes),
                3 | 4 => self.send_rtcp(&mut guests[from], bytes),
                5 => self.order(&guests[from], bytes),
                _ => {
                    self.now = self.now.after_us(u64::from(*length) * 1_000);
                    self.settle(&mut guests);
                }
            }
        }
        self.settle(&mut guests);
        for guest in &guests {
            self.engine.handle_command(self.now, Command::ClosePeer { peer: guest.id });
        }
        self.settle(&mut guests);
        assert_eq!(self.engine.sizes(), EngineSizes::default(), "something was left behind");
        self.now = self.now.after_us(1_000);
    }

    fn join(&mut self, id: u32, meeting: u32) -> Guest {
        let peer = PeerId(id);
        let ours = local_ufrag(CORE, peer, id);
        self.engine.handle_command(
            self.now,
            Command::OpenPeer(Box::new(OpenPeer {
                peer,
                meeting: MeetingId(u64::from(meeting)),
                participant: ParticipantId(id),
                local: IceCredentials { ufrag: ours.clone(), pwd: PWD.to_owned() },
                dtls: DtlsVersion::V12,
                channels: &[],
            })),
        );
        let path = Path {
            local: ([10, 0, 0, 1], 7_882).into(),
            remote: ([192, 0, 2, 1], 1_024 + (id % 60_000) as u16).into(),
        };
        let hmac = HmacSha1::new(Suite::detect(), PWD.as_bytes());
        let request = BindingRequest {
            transaction: TransactionId([1; 12]),
            remote_ufrag: ours.as_bytes(),
            local_ufrag: b"them",
            priority: 100,
            role: Role::Controlling(1),
            use_candidate: true,
        };
        let mut bytes = [0; 300];
        let length =
            write_request(&request, &|parts| hmac.mac(parts), &mut bytes).expect("200 bytes are enough");
        self.engine.handle_datagram(self.now, path, &mut bytes[..length]);
        let [remote, local] = [1, 2].map(|byte| MasterKey { key: [byte; 32], salt: [byte; 14] });
        let guest = Guest {
            id: peer,
            path,
            inbound: Inbound::new(Suite::detect(), PROFILE, &local),
            outbound: Outbound::new(Suite::detect(), PROFILE, &remote),
            indices: BTreeMap::new(),
        };
        let keys = Box::new(SrtpKeys { profile: PROFILE, remote, local });
        self.engine.handle_assist(self.now, AssistReply::Keys { peer, version: DtlsVersion::V12, keys });
        guest
    }

    /// One publishes SSRCs 1 to 3 as layers and voice 4; the other one stream 1 and voice 4. Everybody gets everything.
    fn publish(&mut self, id: u32, first: u32) {
        let layered = id == first;
        let rids: Vec<Label> = if layered { labels(&["q", "h", "f"]) } else { Vec::new() };
        let ssrcs: Vec<SignalledSsrc> = if layered {
            Vec::new()
        } else {
            vec![SignalledSsrc { ssrc: Ssrc(1), rtx: Some(Ssrc(2)), rid: None }]
        };
        for (track, kind, mid, ssrcs, rids) in [
            (2 * id, MediaKind::Video, "v", ssrcs, rids),
            (
                2 * id + 1,
                MediaKind::Audio,
                "a",
                vec![SignalledSsrc { ssrc: Ssrc(4), rtx: None, rid: None }],
                Vec::new(),
            ),
        ] {
            self.engine.handle_command(
                self.now,
                Command::Publish(Box::new(Publish {
                    track: TrackId(track),
                    peer: PeerId(id),
                    kind,
                    content: Content::Camera,
                    mid: labels(&[mid])[0],
                    formats: formats(kind),
                    extensions: extensions(),
                    ssrcs,
                    rids,
                })),
            );
            let receiver = if layered { first + 1 } else { first };
            self.engine.handle_command(
                self.now,
                Command::Subscribe(Box::new(Subscribe {
                    stream: StreamId(track),
                    peer: PeerId(receiver),
                    track: TrackId(track),
                    mid: labels(&[mid])[0],
                    ssrc: Ssrc(if kind == MediaKind::Video { 16 } else { 18 }),
                    rtx: (kind == MediaKind::Video).then_some(Ssrc(17)),
                    formats: formats(kind),
                    extensions: extensions(),
                })),
            );
        }
    }

    /// The bytes are a plain packet; what is no packet is none of the engine's business.
    fn send_rtp(&mut self, guest: &mut Guest, bytes: &[u8]) {
        let mut plain = bytes.to_vec();
        // A handful of SSRCs, so that what is known of them matters.
        if let Some(ssrc) = plain.get_mut(8..12) {
            ssrc.copy_from_slice(&[0, 0, 0, ssrc[3] & 15]);
        }
        let (Ok(header_bytes), Some(ssrc), Some(seq)) =
            (rtp::header_bytes(&plain), rtp::ssrc(&plain), rtp::seq(&plain))
        else {
            return;
        };
        let highest = guest.indices.get(&ssrc.0).copied().unwrap_or(u64::from(seq.0));
        let ahead = seq.0.wrapping_sub(highest as u16);
        let index = if ahead < 0x8000 {
            highest + u64::from(ahead)
        } else {
            match highest.checked_sub(u64::from(0_u16.wrapping_sub(ahead))) {
                Some(index) => index,
                None => return,
            }
        };
        guest.indices.insert(ssrc.0, highest.max(index));
        let (header, payload) = plain.split_at(header_bytes);
        let mut out = vec![0; plain.len() + 64];
        let Ok(sealed) = guest.outbound.seal_rtp(ssrc, index, header, [payload, &[]], &mut out) else {
            return;
        };
        self.engine.handle_datagram(self.now, guest.path, &mut out[..sealed]);
    }

    fn send_rtcp(&mut self, guest: &mut Guest, plain: &[u8]) {
        let mut out = vec![0; plain.len() + 64];
        if let Ok(sealed) = guest.outbound.seal_rtcp(plain, &mut out) {
            self.engine.handle_datagram(self.now, guest.path, &mut out[..sealed]);
        }
    }

    /// What signalling may do meanwhile.
    fn order(&mut self, guest: &Guest, bytes: &[u8]) {
        let &[what, value, ..] = bytes else { return };
        // Streams and tracks of one guest have the same numbers.
        let number = 2 * guest.id.0 + u32::from(what >> 4 & 1);
        let command = match what % 4 {
            0 => Command::Want {
                stream: StreamId(number),
                wanted: Wanted {
                    enabled: value & 1 != 0,
                    layer_max: value >> 1 & 3,
                    fps_max: value >> 3,
                    priority: value,
                },
            },
            1 => Command::Mute { track: TrackId(number), muted: value & 1 != 0 },
            2 => Command::RequestKeyframe { track: TrackId(number) },
            _ => Command::Unsubscribe { stream: StreamId(number) },
        };
        self.engine.handle_command(self.now, command);
    }

    /// Turns until nothing is due; what leaves reaches the guests.
    fn settle(&mut self, guests: &mut [Guest; 2]) {
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "the engine spins");
            let mut wire = Wire::default();
            let next = self.engine.flush(self.now, &mut wire);
            while self.engine.poll_report().is_some() {}
            while self.engine.poll_assist().is_some() {}
            for (path, bytes) in wire.0 {
                let guest = guests.iter_mut().find(|guest| guest.path == path);
                guest.expect("only proven paths are sent to").receive(bytes);
            }
            if next > self.now {
                break;
            }
        }
    }
}

impl Guest {
    fn receive(&mut self, mut bytes: Vec<u8>) {
        match classify(&bytes) {
            Protocol::Rtp => {
                let opened = self.inbound.open_rtp(&mut bytes).expect("authentic, under an index of its own");
                RtpHeader::parse(&bytes[..opened.bytes]).expect("well-formed");
            }
            Protocol::Rtcp => {
                self.inbound.open_rtcp(&mut bytes).expect("authentic and new");
            }
            _ => {}
        }
    }
}

fn labels(names: &[&str]) -> Vec<Label> {
    names.iter().map(|name| Label::new(name.as_bytes()).expect("one letter")).collect()
}

fn formats(kind: MediaKind) -> Vec<Format> {
    let video = |codec, pt: u8| Format { codec, pt, rtx_pt: Some(pt + 1), nack: true, pli: true };
    match kind {
        MediaKind::Audio => {
            vec![Format { codec: Codec::Opus, pt: 111, rtx_pt: None, nack: false, pli: false }]
        }
        MediaKind::Video => vec![
            video(Codec::Vp8, 96),
            video(Codec::Vp9 { profile: 0 }, 98),
            video(Codec::Av1 { profile: 0 }, 100),
            video(Codec::H264 { profile_level_id: 0x42_e01f, packetization_mode: 1 }, 102),
        ],
    }
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (extension, id) in [
        (Extension::AudioLevel, 1),
        (Extension::AbsSendTime, 2),
        (Extension::TransportCc, 3),
        (Extension::Mid, 4),
        (Extension::DependencyDescriptor, 5),
        (Extension::Rid, 10),
        (Extension::RepairedRid, 11),
    ] {
        map.set(extension, id);
    }
    map
}
