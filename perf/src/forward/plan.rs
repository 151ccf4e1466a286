//! Who is in the meeting and what the server is told about it: commands straight through the lane, no control plane.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use dataplane::base::handoff::{DtlsVersion, Fingerprint};
use dataplane::base::ids::{Label, MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format, MediaKind};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::boot::CoreEnd;
use dataplane::command::{
    Command, IceCredentials, OpenPeer, Publish, RemotePeer, Report, SignalledSsrc, Subscribe,
};
use kernels::Suite;
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::dtls::Identity;
use tools::client::receiver::ReceiveConfig;
use tools::client::source::{AudioConfig, Encoding, TrackConfig, VideoConfig};
use tools::client::{Client, ClientConfig, Remote, Security};

use super::options::{Kind, Options};

const ROOM: u64 = 1;
const PT: u8 = 96;
const RTX_PT: u8 = 97;
const TRANSPORT_CC: u8 = 3;
/// SSRC ranges: media and retransmissions as published, then as subscribed.
const PUBLISHED: u32 = 0x1000_0000;
const PUBLISHED_RTX: u32 = 0x2000_0000;
const SUBSCRIBED: u32 = 0x3000_0000;
const SUBSCRIBED_RTX: u32 = 0x4000_0000;

/// The participants, by number: publishers first, then subscribers.
pub struct Plan<'a> {
    options: &'a Options,
    core: &'a CoreEnd,
    fingerprint: Fingerprint,
    identity: Identity,
}

impl<'a> Plan<'a> {
    /// A plan for one core of the plane, whose certificate has this fingerprint.
    pub fn new(options: &'a Options, core: &'a CoreEnd, fingerprint: Fingerprint) -> Result<Self> {
        let Ok(identity) = Identity::generate() else { bail!("cannot make a certificate for the clients") };
        Ok(Self { options, core, fingerprint, identity })
    }

    /// How many participants there are.
    pub const fn count(&self) -> u32 {
        self.options.publishers + self.options.subscribers
    }

    /// How many streams the server sends.
    pub const fn streams(&self) -> u64 {
        self.options.publishers as u64 * self.options.subscribers as u64
    }

    /// Whether a participant publishes.
    pub const fn is_publisher(&self, number: u32) -> bool {
        number < self.options.publishers
    }

    /// Opens a peer at the server and makes the client for it, its checks about to begin.
    pub fn join(&self, number: u32, now: Micros) -> Result<Client> {
        let peer = PeerId(number + 1);
        let mut rng = Rng::new(0x6b61_6967_0000_0000 | u64::from(number));
        let server = IceCredentials {
            ufrag: local_ufrag(self.core.id, peer, rng.next_u64() as u32),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        let ice = IceCredentials {
            ufrag: format!("c{number:07x}"),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        self.send(Command::OpenPeer(Box::new(OpenPeer {
            peer,
            meeting: MeetingId(ROOM),
            participant: ParticipantId(number + 1),
            local: server.clone(),
            dtls: DtlsVersion::V12,
            channels: &[],
        })))?;
        self.send(Command::RemotePeer(Box::new(RemotePeer {
            peer,
            ufrag: ice.ufrag.clone(),
            fingerprint: self.identity.fingerprint(),
        })))?;
        let mut client = Client::new(ClientConfig {
            room: ROOM,
            publisher: number,
            ice,
            security: Security::Dtls {
                identity: self.identity.clone(),
                version: DtlsVersion::V12,
                profile: Some(self.options.profile.srtp()),
            },
            suite: Suite::detect(),
            seed: u64::from(number) + 1,
        });
        client.set_remote(now, &Remote { ice: server, fingerprint: Some(self.fingerprint) });
        Ok(client)
    }

    /// Tells the server about every track and stream.
    pub fn connect(&self) -> Result<()> {
        let publishers = self.options.publishers;
        for publisher in 0..publishers {
            self.send(Command::Publish(Box::new(Publish {
                track: TrackId(publisher),
                peer: PeerId(publisher + 1),
                kind: self.kind(),
                content: Content::Camera,
                mid: mid(0)?,
                formats: vec![self.format()],
                extensions: extensions(),
                ssrcs: vec![SignalledSsrc {
                    ssrc: Ssrc(PUBLISHED + publisher),
                    rtx: self.rtx(PUBLISHED_RTX + publisher),
                    rid: None,
                }],
                rids: Vec::new(),
            })))?;
        }
        for subscriber in 0..self.options.subscribers {
            for publisher in 0..publishers {
                self.send(Command::Subscribe(Box::new(Subscribe {
                    stream: StreamId(subscriber * publishers + publisher),
                    peer: PeerId(publishers + subscriber + 1),
                    track: TrackId(publisher),
                    mid: mid(publisher)?,
                    ssrc: Ssrc(SUBSCRIBED + publisher),
                    rtx: self.rtx(SUBSCRIBED_RTX + publisher),
                    formats: vec![self.format()],
                    extensions: extensions(),
                })))?;
            }
        }
        Ok(())
    }

    /// Lets a subscriber expect its streams.
    pub fn expect(&self, client: &mut Client) {
        for publisher in 0..self.options.publishers {
            client.receive(ReceiveConfig {
                ssrc: Ssrc(SUBSCRIBED + publisher),
                rtx: self.rtx(SUBSCRIBED_RTX + publisher),
                kind: self.kind(),
                codec: VideoCodec::Vp8,
                pt: PT,
                rtx_pt: self.format().rtx_pt,
                red_pt: None,
                fec: false,
                transport_cc: Some(TRANSPORT_CC),
                abs_send_time: None,
                dependency: None,
                nack: self.options.kind == Kind::Video,
                expected: Some((publisher, publisher)),
            });
        }
    }

    /// Starts a publisher's track; publishers are shifted so that their frames spread over the interval.
    pub fn publish(&self, number: u32, client: &mut Client, now: Micros) -> Result<()> {
        let interval_us = self.options.frame_interval_us();
        let track = TrackConfig {
            track: number,
            mid: Some(mid(0)?),
            pt: PT,
            rtx_pt: self.format().rtx_pt,
            extensions: extensions(),
            phase_us: interval_us * u64::from(number) / u64::from(self.options.publishers),
            frames_max: Some(self.options.frames()),
        };
        let payload_bytes = usize::from(self.options.payload);
        let ssrc = Ssrc(PUBLISHED + number);
        match self.options.kind {
            Kind::Audio => {
                let audio = AudioConfig { track, ssrc, payload_bytes, level: 30, red_pt: None, nack: false };
                client.publish_audio(now, audio);
            }
            Kind::Video => {
                let frame_bytes = payload_bytes * self.options.burst as usize;
                let encoding = Encoding {
                    ssrc,
                    rtx: self.rtx(PUBLISHED_RTX + number),
                    rid: None,
                    frame_bytes,
                    // As large as any frame, so that keyframe requests do not change what is sent.
                    keyframe_bytes: frame_bytes,
                };
                let video = VideoConfig {
                    track,
                    codec: VideoCodec::Vp8,
                    scalability: Scalability::L1T1,
                    encodings: vec![encoding],
                    size: (640, 360),
                    ramp_us: 0,
                    frame_interval_us: interval_us,
                    payload_bytes_max: payload_bytes,
                    size_jitter_percent: 0,
                };
                client.publish_video(now, video);
            }
        }
        Ok(())
    }

    /// What subscribers lose on purpose, parts per million.
    pub fn drop_ppm(&self, number: u32) -> u32 {
        if self.is_publisher(number) { 0 } else { (self.options.nack * 10_000.0) as u32 }
    }

    /// Takes the server's reports and answers how many peers became ready. A peer or worker that ended is an error.
    pub fn drain_reports(&self) -> Result<u32> {
        let mut ready = 0;
        while let Some(report) = self.core.lane.try_report() {
            match report {
                Report::PeerReady { profile, .. } if profile != self.options.profile.srtp() => {
                    bail!("the server agreed on {profile:?}");
                }
                Report::PeerReady { .. } => ready += 1,
                Report::PeerEnded { peer, end } => bail!("the server ended client {}: {end:?}", peer.0),
                Report::Stopped => bail!("the server's worker has stopped"),
                _ => {}
            }
        }
        Ok(ready)
    }

    /// Sends a command, waiting while the lane is full.
    fn send(&self, command: Command) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut refused = self.core.lane.send(command);
        while let Err(command) = refused {
            if Instant::now() > deadline {
                bail!("the server takes no more commands");
            }
            std::thread::sleep(Duration::from_micros(200));
            refused = self.core.lane.send(command);
        }
        Ok(())
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

    fn rtx(&self, ssrc: u32) -> Option<Ssrc> {
        self.format().rtx_pt.map(|_| Ssrc(ssrc))
    }
}

fn mid(section: u32) -> Result<Label> {
    Label::new(section.to_string().as_bytes()).ok_or_else(|| anyhow!("too many media sections"))
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 1);
    map.set(Extension::AudioLevel, 2);
    map.set(Extension::TransportCc, TRANSPORT_CC);
    map.set(Extension::AbsSendTime, 4);
    map
}
