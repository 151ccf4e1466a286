//! One publisher and its receivers around a real engine, in memory and virtual time: real SRTP, reports, feedback and a lost packet
//! now and then.

use anyhow::{Result, anyhow, bail};
use dataplane::base::handoff::{AssistReply, DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{
    CoreId, Label, MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag,
};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::net::{BuffersFull, Datagram, Path, SendBuffers};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::{
    Command, IceCredentials, OpenPeer, Publish, RemotePeer, Report, SignalledSsrc, Subscribe,
};
use dataplane::engine::{Engine, EngineConfig, Rules};
use dataplane::io::batch::Batch;
use dataplane::wire::demux::{Protocol, classify};
use kernels::Suite;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::receiver::ReceiveConfig;
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use tools::client::{Client, ClientConfig, Remote, Security, TRANSMIT_BYTES_MIN};

use super::Options;
use super::steps::{Marks, Stage};
use crate::forward::options::Kind;

/// Of the meeting, before anything counts: everybody is there and the estimates stand.
pub const WARM_UP_MS: u64 = 3_000;
/// All receivers join within this time: the longest interval of their timers.
const JOINING_MS: u32 = 1_000;
/// One packet in a hundred is lost on its way to a receiver.
const LOST_PPM: u32 = 10_000;
/// Packets of a frame.
const BURST: usize = 9;
const PT: u8 = 96;
const RTX_PT: u8 = 97;
const PUBLISHED: Ssrc = Ssrc(0x1000_0000);
const PUBLISHED_RTX: Ssrc = Ssrc(0x2000_0000);
const RECEIVED: Ssrc = Ssrc(0x3000_0000);
const RECEIVED_RTX: Ssrc = Ssrc(0x4000_0000);
const TRACK: TrackId = TrackId(1);
const PWD: &str = "the password of the server";

struct Sink(Batch);

impl SendBuffers for Sink {
    const KEEPS_DATAGRAMS: bool = true;

    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.0.send(path, bytes_max, fill)
    }

    #[inline]
    fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.0.send_again(path, bytes_max, fill)
    }

    fn last(&self) -> Option<Datagram> {
        self.0.last()
    }

    fn datagram(&self, datagram: Datagram) -> &[u8] {
        self.0.datagram(datagram)
    }

    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        self.0.datagram_mut(datagram)
    }
}

/// See the module.
pub struct Meeting<'a> {
    options: &'a Options,
    suite: Suite,
    engine: Engine,
    /// The publisher is first.
    clients: Vec<Client>,
    now: Micros,
    sink: Sink,
    rng: Rng,
}

impl<'a> Meeting<'a> {
    /// Everybody is known to everybody, nobody has said anything.
    pub fn new(options: &'a Options) -> Result<Self> {
        let suite = Suite::detect();
        let rules = Rules { rate_control: options.rate_control, ..Rules::default() };
        let engine = Engine::new(EngineConfig { core: CoreId(0), suite, seed: 1, rules });
        let mut meeting = Self {
            options,
            suite,
            engine,
            clients: Vec::new(),
            now: Micros(0),
            sink: Sink(Batch::default()),
            rng: Rng::new(7),
        };
        meeting.join(0);
        meeting.publish()?;
        // Not all at once: their timers should not be due together.
        let apart_ms = u64::from(JOINING_MS / options.subscribers.max(1)).max(1);
        for number in 1..=options.subscribers {
            meeting.join(number);
            meeting.subscribe(number)?;
            meeting.run(&Marks::off(), apart_ms)?;
        }
        Ok(meeting)
    }

    /// Packets that receivers were sent so far.
    pub fn forwarded(&mut self) -> u64 {
        self.engine.counters().packets_forwarded
    }

    /// The kernels in use.
    pub fn suite_name(&self) -> &'static str {
        self.suite.name()
    }

    /// Goes on for so many milliseconds, a turn each, with marks around every call of the engine. Answers how many datagrams of
    /// feedback came.
    pub fn run(&mut self, marks: &Marks, milliseconds: u64) -> Result<u64> {
        let mut feedback = 0;
        let mut datagram = [0; TRANSMIT_BYTES_MIN];
        for _ in 0..milliseconds {
            self.now = self.now.after_ms(1);
            let now = self.now;
            for (client, number) in self.clients.iter_mut().zip(0..) {
                client.handle_timeout(now);
                while let Some(bytes) = client.poll_transmit(now, &mut datagram) {
                    let datagram = &mut datagram[..bytes];
                    let is_media = classify(datagram) == Protocol::Rtp;
                    feedback += u64::from(!is_media);
                    let stage = if is_media { Stage::Receive } else { Stage::Rtcp };
                    let engine = &mut self.engine;
                    marks.around(stage, || engine.handle_datagram(now, path(number), datagram));
                }
            }
            self.sink.0.clear();
            let (engine, sink) = (&mut self.engine, &mut self.sink);
            marks.around(Stage::Send, || engine.flush(now, sink));
            while self.engine.poll_assist().is_some() {}
            self.read_reports()?;
            self.deliver();
        }
        Ok(feedback)
    }

    fn read_reports(&mut self) -> Result<()> {
        while let Some(report) = self.engine.poll_report() {
            match report {
                Report::PeerPath { peer } => {
                    let keys = Box::new(self.keys(peer.0));
                    let reply = AssistReply::Keys { peer, version: DtlsVersion::V12, keys };
                    self.engine.handle_assist(self.now, reply);
                }
                Report::PeerEnded { peer, end } => bail!("the engine ended client {}: {end:?}", peer.0),
                _ => {}
            }
        }
        Ok(())
    }

    fn deliver(&mut self) {
        for send in self.sink.0.sends() {
            let number = usize::from(send.path.remote.port() - 1);
            let Some(client) = self.clients.get_mut(number) else { continue };
            for datagram in self.sink.0.bytes(send).chunks(send.segment_bytes) {
                if number == 0 || !self.rng.chance_ppm(LOST_PPM) {
                    client.handle_datagram(self.now, &mut datagram.to_vec());
                }
            }
        }
    }

    fn keys(&self, peer: u32) -> SrtpKeys {
        let profile = self.options.profile.srtp();
        let bytes = if profile == SrtpProfile::AeadAes256Gcm { 32 } else { 16 };
        let master = |salt| {
            let mut key = [0; 32];
            key[..bytes].fill(peer as u8);
            MasterKey { key, salt: [salt; 14] }
        };
        SrtpKeys { profile, remote: master(1), local: master(2) }
    }

    fn join(&mut self, number: u32) {
        let peer = PeerId(number);
        let server = IceCredentials { ufrag: local_ufrag(CoreId(0), peer, 1), pwd: PWD.to_owned() };
        let ice = IceCredentials { ufrag: format!("c{number}"), pwd: "a password of the client".to_owned() };
        let SrtpKeys { profile, remote, local } = self.keys(number);
        let theirs = SrtpKeys { profile, remote: local, local: remote };
        let mut client = Client::new(ClientConfig {
            room: 1,
            publisher: number,
            ice: ice.clone(),
            security: Security::Keys(Box::new(theirs)),
            suite: self.suite,
            seed: u64::from(number) + 1,
        });
        self.command(Command::OpenPeer(Box::new(OpenPeer {
            peer,
            meeting: MeetingId(1),
            participant: ParticipantId(number),
            local: server.clone(),
            dtls: DtlsVersion::V12,
            channels: &[],
        })));
        self.command(Command::RemotePeer(Box::new(RemotePeer {
            peer,
            ufrag: ice.ufrag,
            fingerprint: Fingerprint([0; 32]),
        })));
        client.set_remote(self.now, &Remote { ice: server, fingerprint: None });
        self.clients.push(client);
    }

    fn publish(&mut self) -> Result<()> {
        let rtx = self.format().rtx_pt.map(|_| PUBLISHED_RTX);
        self.command(Command::Publish(Box::new(Publish {
            track: TRACK,
            peer: PeerId(0),
            kind: self.kind(),
            content: Content::Camera,
            mid: mid()?,
            formats: vec![self.format()],
            extensions: extensions(),
            ssrcs: vec![SignalledSsrc { ssrc: PUBLISHED, rtx, rid: None }],
            rids: Vec::new(),
        })));
        let track = TrackConfig {
            track: TRACK.0,
            mid: Some(mid()?),
            pt: PT,
            rtx_pt: self.format().rtx_pt,
            extensions: extensions(),
            phase_us: 0,
            frames_max: None,
        };
        let payload_bytes = usize::from(self.options.payload);
        let Some(client) = self.clients.first_mut() else { bail!("nobody publishes") };
        if self.options.kind == Kind::Audio {
            let audio =
                AudioConfig { track, ssrc: PUBLISHED, payload_bytes, level: 30, red_pt: None, nack: false };
            client.publish_audio(self.now, audio);
            return Ok(());
        }
        let frame_bytes = payload_bytes * BURST;
        let encoding = Encoding { ssrc: PUBLISHED, rtx, rid: None, frame_bytes, keyframe_bytes: frame_bytes };
        client.publish_video(
            self.now,
            VideoConfig {
                track,
                codec: VideoCodec::Vp8,
                scalability: Scalability::L1T1,
                encodings: vec![encoding],
                size: (640, 360),
                ramp_us: 0,
                frame_interval_us: 33_333,
                payload_bytes_max: payload_bytes,
                size_jitter_percent: 0,
            },
        );
        Ok(())
    }

    fn subscribe(&mut self, number: u32) -> Result<()> {
        let format = self.format();
        let rtx = format.rtx_pt.map(|_| RECEIVED_RTX);
        self.command(Command::Subscribe(Box::new(Subscribe {
            stream: StreamId(number),
            peer: PeerId(number),
            track: TRACK,
            mid: mid()?,
            ssrc: RECEIVED,
            rtx,
            formats: vec![format],
            extensions: extensions(),
        })));
        let kind = self.kind();
        let client =
            self.clients.get_mut(number as usize).ok_or_else(|| anyhow!("client {number} is missing"))?;
        client.receive(ReceiveConfig {
            ssrc: RECEIVED,
            rtx,
            kind,
            codec: VideoCodec::Vp8,
            pt: PT,
            rtx_pt: format.rtx_pt,
            red_pt: None,
            fec: false,
            transport_cc: extensions().id(Extension::TransportCc),
            abs_send_time: None,
            dependency: None,
            nack: rtx.is_some(),
            expected: Some((0, TRACK.0)),
        });
        Ok(())
    }

    fn command(&mut self, command: Command) {
        self.engine.handle_command(self.now, command);
    }

    const fn kind(&self) -> MediaKind {
        match self.options.kind {
            Kind::Video => MediaKind::Video,
            Kind::Audio => MediaKind::Audio,
        }
    }

    const fn format(&self) -> Format {
        match self.options.kind {
            Kind::Video => Format { codec: Codec::Vp8, pt: PT, rtx_pt: Some(RTX_PT), nack: true, pli: true },
            Kind::Audio => Format { codec: Codec::Opus, pt: PT, rtx_pt: None, nack: false, pli: false },
        }
    }
}

/// Client `number`'s port is one more than its number.
fn path(number: u16) -> Path {
    Path { local: ([10, 0, 0, 1], 7_882).into(), remote: ([192, 0, 2, 1], number + 1).into() }
}

fn mid() -> Result<Label> {
    Label::new(b"0").ok_or_else(|| anyhow!("a mid is at most 16 bytes"))
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 1);
    map.set(Extension::AudioLevel, 2);
    map.set(Extension::TransportCc, 3);
    map.set(Extension::AbsSendTime, 4);
    map
}
