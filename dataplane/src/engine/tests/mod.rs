//! The engine driven by small hand-made peers: STUN from the writer, SRTP from the other end's contexts.

mod abuse;
mod chaos;
mod faults;
mod hostile;
mod joining;
mod layers;
mod media;
mod memory;
mod repair;
mod roaming;

use super::*;
use crate::base::handoff::{DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use crate::base::ids::{
    Label, MeetingId, ParticipantId, PayloadType, PeerId, Rid, Seq, Ssrc, StreamId, TrackId, local_ufrag,
};
use crate::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use crate::base::net::{BuffersFull, Datagram};
use crate::command::{IceCredentials, OpenPeer, Publish, RemotePeer, SignalledSsrc, Subscribe};
use crate::wire::demux::{Protocol, classify};
use crate::wire::ext::{AudioLevel, Element, transport_cc_value};
use crate::wire::rtcp::{self, RtcpEvent, RtcpWriter};
use crate::wire::rtp::{HeaderFields, RtpHeader, write_header};
use crate::wire::stun::{BindingRequest, Class, Role, StunMessage, TransactionId, write_request};
use kernels::{HmacSha1, Suite};

const CORE: CoreId = CoreId(3);
const PWD: &str = "a password of 22 bytes";
const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
const VP9: u8 = 98;
const VP9_RTX: u8 = 99;

/// Everything an engine sent, in order; takes at most `room` datagrams per turn.
#[derive(Default)]
struct Wire {
    sent: Vec<(Path, Vec<u8>)>,
    room: usize,
    /// TCP connections that are gone.
    gone: Vec<Path>,
    kept: Vec<Path>,
    closed: Vec<Path>,
}

impl SendBuffers for Wire {
    const KEEPS_DATAGRAMS: bool = true;

    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        if self.room == 0 {
            return Err(BuffersFull);
        }
        self.room -= 1;
        if self.gone.contains(path) {
            return Ok(());
        }
        let mut bytes = vec![0; bytes_max];
        let length = fill(&mut bytes);
        assert!(length <= bytes_max, "more was written than asked for");
        bytes.truncate(length);
        if length > 0 {
            self.sent.push((*path, bytes));
        }
        Ok(())
    }

    fn last(&self) -> Option<Datagram> {
        let (_, bytes) = self.sent.last()?;
        Some(Datagram { at: self.sent.len() - 1, bytes: bytes.len() })
    }

    fn datagram(&self, datagram: Datagram) -> &[u8] {
        &self.sent[datagram.at].1
    }

    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        &mut self.sent[datagram.at].1
    }

    fn keep(&mut self, path: &Path) {
        self.kept.push(*path);
    }

    fn close(&mut self, path: &Path) {
        self.closed.push(*path);
    }
}

/// One end of an association, as a browser would be.
struct Client {
    id: PeerId,
    path: Path,
    srtp: Option<Srtp>,
    random: u32,
    pwd: &'static str,
    /// Plain packets received: RTP by header and payload, RTCP compounds.
    rtp: Vec<(RtpHeader, Vec<u8>)>,
    rtcp: Vec<Vec<u8>>,
    answers: usize,
}

struct House {
    engine: Engine,
    now: Micros,
    clients: Vec<Client>,
    reports: Vec<Report>,
    requests: Vec<AssistRequest>,
    /// Datagrams one flush may send.
    room: usize,
    /// TCP connections that are gone.
    gone: Vec<Path>,
    /// TCP connections that the engine has a peer for, and those it closed.
    kept: Vec<Path>,
    closed: Vec<Path>,
}

fn path(id: u32) -> Path {
    Path {
        local: ([10, 0, 0, 1], 7885).into(),
        remote: ([192, 0, 2, (id % 250) as u8], 40_000 + id as u16).into(),
    }
}

fn master(seed: u32) -> MasterKey {
    let mut rng = crate::base::rng::Rng::new(u64::from(seed));
    MasterKey {
        key: std::array::from_fn(|_| rng.next_u64() as u8),
        salt: std::array::from_fn(|_| rng.next_u64() as u8),
    }
}

fn formats(kind: MediaKind) -> Vec<Format> {
    match kind {
        MediaKind::Audio => {
            vec![Format { codec: Codec::Opus, pt: OPUS, rtx_pt: None, nack: false, pli: false }]
        }
        MediaKind::Video => {
            let vp9 = Codec::Vp9 { profile: 0 };
            vec![
                Format { codec: Codec::Vp8, pt: VP8, rtx_pt: Some(VP8_RTX), nack: true, pli: true },
                Format { codec: vp9, pt: VP9, rtx_pt: Some(VP9_RTX), nack: true, pli: true },
            ]
        }
    }
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::AudioLevel, 1);
    map.set(Extension::AbsSendTime, 2);
    map.set(Extension::TransportCc, 3);
    map.set(Extension::Mid, 4);
    map.set(Extension::Rid, 10);
    map.set(Extension::RepairedRid, 11);
    map
}

fn label(text: &str) -> Label {
    Label::new(text.as_bytes()).expect("short")
}

impl House {
    fn new() -> Self {
        let config = EngineConfig {
            core: CORE,
            suite: Suite::detect(),
            seed: 7,
            rules: Rules { audio_streams_max: 8, ..Rules::default() },
        };
        Self {
            engine: Engine::new(config),
            now: Micros(1_000_000),
            clients: Vec::new(),
            reports: Vec::new(),
            requests: Vec::new(),
            room: usize::MAX,
            gone: Vec::new(),
            kept: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn command(&mut self, command: Command) {
        self.engine.handle_command(self.now, command);
    }

    /// A peer that signalling knows and nothing else happened to. Answers its number.
    fn open(&mut self, id: u32, meeting: u64) -> u32 {
        let peer = PeerId(id);
        self.command(Command::OpenPeer(Box::new(OpenPeer {
            peer,
            meeting: MeetingId(meeting),
            participant: ParticipantId(id),
            local: IceCredentials { ufrag: local_ufrag(CORE, peer, id), pwd: PWD.to_owned() },
            dtls: DtlsVersion::V12,
            channels: &[("_reliable", true)],
        })));
        self.command(Command::RemotePeer(Box::new(RemotePeer {
            peer,
            ufrag: format!("them{id}"),
            fingerprint: Fingerprint([7; 32]),
        })));
        self.clients.push(Client {
            id: peer,
            path: path(id),
            srtp: None,
            random: id,
            pwd: PWD,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            answers: 0,
        });
        id
    }

    fn client(&mut self, id: u32) -> &mut Client {
        self.clients.iter_mut().find(|client| client.id == PeerId(id)).expect("opened")
    }

    fn check_bytes(&mut self, id: u32, nominates: bool) -> Vec<u8> {
        self.check_by(id, Role::Controlling(1), nominates)
    }

    fn check_by(&mut self, id: u32, role: Role, nominates: bool) -> Vec<u8> {
        let client = self.client(id);
        let hmac = HmacSha1::new(Suite::scalar(), client.pwd.as_bytes());
        let (ours, theirs) = (local_ufrag(CORE, client.id, client.random), format!("them{id}"));
        let request = BindingRequest {
            transaction: TransactionId([id as u8; 12]),
            remote_ufrag: ours.as_bytes(),
            local_ufrag: theirs.as_bytes(),
            priority: 100,
            role,
            use_candidate: nominates,
        };
        let mut bytes = vec![0; 300];
        let length = write_request(&request, &|parts| hmac.mac(parts), &mut bytes).expect("fits");
        bytes.truncate(length);
        bytes
    }

    fn check(&mut self, id: u32) {
        let mut bytes = self.check_bytes(id, true);
        let path = self.client(id).path;
        self.engine.handle_datagram(self.now, path, &mut bytes);
    }

    fn keys(&mut self, id: u32) {
        // All of them meet.
        let profiles = [SrtpProfile::Aes128CmSha1_80, SrtpProfile::AeadAes256Gcm, SrtpProfile::AeadAes128Gcm];
        let profile = profiles[id as usize % profiles.len()];
        let (remote, local) = (master(2 * id), master(2 * id + 1));
        let suite = Suite::detect();
        self.client(id).srtp = Some(Srtp {
            inbound: Inbound::new(suite, profile, &local),
            outbound: Outbound::new(suite, profile, &remote),
        });
        let keys = Box::new(SrtpKeys { profile, remote, local });
        self.engine
            .handle_assist(self.now, AssistReply::Keys { peer: PeerId(id), version: DtlsVersion::V12, keys });
    }

    /// A peer with path and keys.
    fn join(&mut self, id: u32, meeting: u64) -> u32 {
        self.open(id, meeting);
        self.check(id);
        self.keys(id);
        self.flush();
        id
    }

    fn publish(&mut self, id: u32, track: u32, kind: MediaKind, ssrcs: &[u32]) {
        let ssrcs = ssrcs
            .iter()
            .map(|ssrc| SignalledSsrc { ssrc: Ssrc(*ssrc), rtx: Some(Ssrc(ssrc + 50_000)), rid: None })
            .collect();
        self.publish_layers(id, track, kind, ssrcs, &[]);
    }

    fn publish_layers(
        &mut self,
        id: u32,
        track: u32,
        kind: MediaKind,
        ssrcs: Vec<SignalledSsrc>,
        rids: &[&str],
    ) {
        self.command(Command::Publish(Box::new(Publish {
            track: TrackId(track),
            peer: PeerId(id),
            kind,
            content: Content::Camera,
            mid: label(&format!("m{track}")),
            formats: formats(kind),
            extensions: extensions(),
            ssrcs,
            rids: rids.iter().map(|rid| label(rid) as Rid).collect(),
        })));
    }

    /// The stream has the SSRC `stream` and retransmits on `stream` + 1.
    fn subscribe(&mut self, id: u32, stream: u32, track: u32, kind: MediaKind) {
        self.command(Command::Subscribe(Box::new(Subscribe {
            stream: StreamId(stream),
            peer: PeerId(id),
            track: TrackId(track),
            mid: label("s"),
            ssrc: Ssrc(stream),
            rtx: (kind == MediaKind::Video).then_some(Ssrc(stream + 1)),
            formats: formats(kind),
            extensions: extensions(),
        })));
    }

    /// Ends the turn: what was sent reaches the clients.
    fn flush(&mut self) -> Micros {
        let mut wire = Wire { room: self.room, gone: self.gone.clone(), ..Wire::default() };
        let next = self.engine.flush(self.now, &mut wire);
        while let Some(report) = self.engine.poll_report() {
            self.reports.push(report);
        }
        while let Some(request) = self.engine.poll_assist() {
            self.requests.push(request);
        }
        for path in wire.kept {
            if !self.kept.contains(&path) {
                self.kept.push(path);
            }
        }
        self.kept.retain(|path| !wire.closed.contains(path));
        self.closed.extend(wire.closed);
        for (path, bytes) in wire.sent {
            let client = self.clients.iter_mut().find(|client| client.path == path);
            client.expect("engines send to authenticated paths only").receive(bytes);
        }
        next
    }

    /// Lets time pass, in turns as the engine wants them.
    fn run(&mut self, milliseconds: u64) {
        let end = self.now.after_ms(milliseconds);
        loop {
            let next = self.flush();
            assert!(next > self.now || self.room != usize::MAX, "the engine does not spin");
            if next >= end {
                break;
            }
            self.now = next;
        }
        self.now = end;
        self.flush();
    }

    fn send_rtp(&mut self, id: u32, packet: &Media<'_>) {
        let (path, mut bytes) = self.seal_rtp(id, packet);
        self.engine.handle_datagram(self.now, path, &mut bytes);
    }

    fn seal_rtp(&mut self, id: u32, packet: &Media<'_>) -> (Path, Vec<u8>) {
        let client = self.client(id);
        let mut header = [0; 256];
        let level = AudioLevel { voice: true, level: packet.level }.to_value();
        let transport = transport_cc_value(Seq(packet.index as u16));
        let mut elements = vec![Element { id: 3, value: &transport }];
        if packet.pt == OPUS {
            elements.push(Element { id: 1, value: &level });
        }
        elements.extend(packet.labels.iter().map(|(id, value)| Element { id: *id, value: value.as_bytes() }));
        let fields = HeaderFields {
            ssrc: Ssrc(packet.ssrc),
            seq: Seq(packet.index as u16),
            timestamp: packet.timestamp,
            marker: packet.marker,
            pt: PayloadType(packet.pt),
            padding: packet.padding,
        };
        let length = write_header(&fields, &elements, &mut header).expect("fits");
        let mut out = vec![0; 1_500];
        let outbound = &client.srtp.as_ref().expect("has keys").outbound;
        let bytes = outbound
            .seal_rtp(Ssrc(packet.ssrc), packet.index, &header[..length], [&[], packet.payload], &mut out)
            .expect("fits");
        out.truncate(bytes);
        (client.path, out)
    }

    fn send_rtcp(&mut self, id: u32, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let client = self.client(id);
        let mut plain = [0; 1_200];
        let mut writer = RtcpWriter::new(&mut plain);
        write(&mut writer);
        let length = writer.bytes();
        let mut out = vec![0; 1_300];
        let bytes = client
            .srtp
            .as_mut()
            .expect("has keys")
            .outbound
            .seal_rtcp(&plain[..length], &mut out)
            .expect("fits");
        let path = client.path;
        self.engine.handle_datagram(self.now, path, &mut out[..bytes]);
    }

    fn peer_index(&self, id: u32) -> usize {
        self.engine.peers.key_of(PeerId(id)).expect("opened").index()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.counters().dropped[reason as usize]
    }

    fn has_report(&self, test: impl Fn(&Report) -> bool) -> bool {
        self.reports.iter().any(test)
    }
}

/// One packet to send.
#[derive(Clone, Copy)]
struct Media<'a> {
    ssrc: u32,
    index: u64,
    timestamp: u32,
    pt: u8,
    payload: &'a [u8],
    marker: bool,
    padding: bool,
    labels: &'a [(u8, &'a str)],
    /// Audio level, RFC 6464.
    level: u8,
}

const MEDIA: Media<'static> = Media {
    ssrc: 1,
    index: 1,
    timestamp: 0,
    pt: OPUS,
    payload: b"payload",
    marker: false,
    padding: false,
    labels: &[],
    level: 30,
};

/// First packet of a VP8 frame with picture id and TL0PICIDX.
fn vp8(picture: u8, keyframe: bool) -> [u8; 12] {
    [0x90, 0xc0, 0x80, picture, picture, u8::from(!keyframe), 0, 0, 0x9d, 0x01, 0x2a, picture]
}

impl Client {
    fn receive(&mut self, mut bytes: Vec<u8>) {
        match classify(&bytes) {
            Protocol::Stun => {
                let message = StunMessage::parse(&bytes).expect("well-formed");
                let hmac = HmacSha1::new(Suite::scalar(), self.pwd.as_bytes());
                message.authenticate(|parts| hmac.mac(parts)).expect("protected");
                if message.class == Class::Success {
                    assert_eq!(message.mapped, Some(self.path.remote));
                    self.answers += 1;
                }
            }
            Protocol::Rtp => {
                let srtp = self.srtp.as_mut().expect("media only after keys");
                let opened = srtp.inbound.open_rtp(&mut bytes).expect("authentic and new");
                let packet = bytes[..opened.bytes].to_vec();
                self.rtp.push((RtpHeader::parse(&packet).expect("well-formed"), packet));
            }
            Protocol::Rtcp => {
                let srtp = self.srtp.as_mut().expect("media only after keys");
                let length = srtp.inbound.open_rtcp(&mut bytes).expect("authentic and new").bytes;
                self.rtcp.push(bytes[..length].to_vec());
            }
            other => panic!("{other:?} was sent"),
        }
    }

    /// Payloads of received packets of one SSRC, with their sequence numbers.
    fn payloads(&self, ssrc: u32) -> Vec<(u16, Vec<u8>)> {
        self.rtp
            .iter()
            .filter(|(header, _)| header.ssrc == Ssrc(ssrc))
            .map(|(header, packet)| (header.seq.0, packet[header.payload()].to_vec()))
            .collect()
    }

    /// Counts events of received RTCP.
    fn count_rtcp(&self, mut test: impl FnMut(&RtcpEvent<'_>) -> bool) -> usize {
        let mut count = 0;
        for compound in &self.rtcp {
            rtcp::parse(compound, |event| count += usize::from(test(&event))).expect("well-formed");
        }
        count
    }
}
