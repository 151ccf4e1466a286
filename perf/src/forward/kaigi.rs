//! Kaigi's packet plane under a load: commands straight through the lane, no control plane.
//!
//! Promises: the plane lives in this process and is stopped on drop. What is allocated for it on the clients' thread (commands) is
//! booked as the server's, because the server keeps it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dataplane::base::counters::Counters;
use dataplane::base::handoff::DtlsVersion;
use dataplane::base::ids::{Label, MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId, local_ufrag};
use dataplane::base::media::{Codec, Content, Extension, ExtensionMap, Format};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::boot::{self, CoreEnd, Plane, PlaneConfig};
use dataplane::command::{
    Command, IceCredentials, OpenPeer, Publish, RemotePeer, Report, SignalledSsrc, Subscribe,
};
use dataplane::engine::Rules;
use kernels::Suite;
use tools::client::codec::VideoCodec;
use tools::client::dtls::Identity;
use tools::client::receiver::ReceiveConfig;
use tools::client::{Client, ClientConfig, Remote, Security};

use super::link::Link;
use super::options::{Kind, Options};
use super::server::{Joined, Place, Sends, Server};
use crate::account;
use crate::meter::Meter;

const PT: u8 = 96;
const RTX_PT: u8 = 97;
const TRANSPORT_CC: u8 = 3;
/// SSRC ranges: media and retransmissions as published, then as subscribed.
const PUBLISHED: u32 = 0x1000_0000;
const PUBLISHED_RTX: u32 = 0x2000_0000;
const SUBSCRIBED: u32 = 0x3000_0000;
const SUBSCRIBED_RTX: u32 = 0x4000_0000;

/// The worker's thread, as `dataplane::boot` names it.
const WORKER_THREAD: &str = "kaigi-core-0";
/// How long the server may take for its commands: a fixed part, and ten times what a subscription takes.
const SETTLE_US: u64 = 300_000;
/// See [`SETTLE_US`].
const SETTLE_US_PER_STREAM: u64 = 100;

/// The plane and what it was told.
pub struct Kaigi<'a> {
    options: &'a Options,
    plane: Option<Plane>,
    address: IpAddr,
    identity: Identity,
    /// Bytes booked for the server before anybody joined.
    booked_before: i64,
}

impl<'a> Kaigi<'a> {
    /// Starts the plane on the server's side of a link.
    pub fn start(options: &'a Options, link: &Link) -> Result<Self> {
        let config = PlaneConfig {
            cpus: vec![options.cpu_server],
            udp_port: 0,
            tcp_port: Some(0),
            io: options.io,
            suite: options.suite.clone(),
            assist_threads: 1,
            seed: 1,
            // Clients on one thread answer late under load, and what is measured is the packet path.
            rules: Rules { rate_control: options.rate_control, ..Rules::default() },
            bind: Some(link.server()),
        };
        let plane = link.on_server(|| boot::start(&config).context("the packet plane does not start"))?;
        if plane.cores().is_empty() {
            bail!("the packet plane has no core");
        }
        let Ok(identity) = Identity::generate() else { bail!("cannot make a certificate for the clients") };
        let address = link.server();
        Ok(Self { options, plane: Some(plane), address, identity, booked_before: account::server_bytes() })
    }

    /// The I/O backend it chose.
    pub fn io(&self) -> &'static str {
        self.plane().map_or("", Plane::io_name)
    }

    /// The crypto suite it chose.
    pub fn suite(&self) -> &'static str {
        self.plane().map_or("", Plane::suite_name)
    }

    fn plane(&self) -> Option<&Plane> {
        self.plane.as_ref()
    }

    fn core(&self) -> Result<&CoreEnd> {
        self.plane()
            .and_then(|plane| plane.cores().first())
            .ok_or_else(|| anyhow!("the packet plane has stopped"))
    }

    /// Sends a command, waiting while the lane is full.
    fn send(&self, command: Command) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let core = self.core()?;
        let mut refused = core.lane.send(command);
        while let Err(command) = refused {
            if Instant::now() > deadline {
                bail!("the server takes no more commands");
            }
            std::thread::sleep(Duration::from_micros(200));
            refused = core.lane.send(command);
        }
        Ok(())
    }

    fn open_peer(&self, place: Place, server: &IceCredentials, client: &IceCredentials) -> Result<()> {
        let peer = PeerId(place.number + 1);
        self.send(Command::OpenPeer(Box::new(OpenPeer {
            peer,
            meeting: MeetingId(place.room()),
            participant: ParticipantId(place.number + 1),
            local: server.clone(),
            dtls: DtlsVersion::V12,
            channels: &[],
        })))?;
        self.send(Command::RemotePeer(Box::new(RemotePeer {
            peer,
            ufrag: client.ufrag.clone(),
            fingerprint: self.identity.fingerprint(),
        })))
    }

    fn publish(&self, place: Place) -> Result<()> {
        self.send(Command::Publish(Box::new(Publish {
            track: TrackId(place.number),
            peer: PeerId(place.number + 1),
            kind: self.options.media_kind(),
            content: Content::Camera,
            mid: mid(0)?,
            formats: vec![self.format()],
            extensions: extensions(),
            ssrcs: vec![SignalledSsrc {
                ssrc: Ssrc(PUBLISHED + place.local),
                rtx: self.rtx(PUBLISHED_RTX + place.local),
                rid: None,
            }],
            rids: Vec::new(),
        })))
    }

    fn subscribe(&self, place: Place, publisher: u32) -> Result<()> {
        let publishers = self.options.publishers;
        let subscriber = place.number - self.options.meetings * publishers;
        self.send(Command::Subscribe(Box::new(Subscribe {
            stream: StreamId(subscriber * publishers + publisher),
            peer: PeerId(place.number + 1),
            track: TrackId(place.meeting * publishers + publisher),
            mid: mid(publisher)?,
            ssrc: Ssrc(SUBSCRIBED + publisher),
            rtx: self.rtx(SUBSCRIBED_RTX + publisher),
            formats: vec![self.format()],
            extensions: extensions(),
        })))
    }

    fn receive_config(&self, publisher: u32) -> ReceiveConfig {
        ReceiveConfig {
            ssrc: Ssrc(SUBSCRIBED + publisher),
            rtx: self.rtx(SUBSCRIBED_RTX + publisher),
            kind: self.options.media_kind(),
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

impl Server for Kaigi<'_> {
    fn name(&self) -> String {
        format!("kaigi ({}, {})", self.io(), self.suite())
    }

    fn join(&mut self, place: Place, _: SocketAddr, now: Micros) -> Result<Joined> {
        let core = self.core()?;
        let mut rng = Rng::new(0x6b61_6967_0000_0000 | u64::from(place.number));
        let server = IceCredentials {
            ufrag: local_ufrag(core.id, PeerId(place.number + 1), rng.next_u64() as u32),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        let ice = IceCredentials {
            ufrag: format!("c{:07x}", place.number),
            pwd: format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
        };
        account::as_server(|| self.open_peer(place, &server, &ice))?;
        let mut client = Client::new(ClientConfig {
            room: place.room(),
            publisher: place.local,
            ice,
            security: Security::Dtls {
                identity: self.identity.clone(),
                version: DtlsVersion::V12,
                profile: Some(self.options.profile.srtp()),
            },
            suite: Suite::detect(),
            seed: u64::from(place.number) + 1,
        });
        let fingerprint = self.plane().map(Plane::fingerprint);
        client.set_remote(now, &Remote { ice: server, fingerprint });
        let sends = place.publishes.then_some(Sends {
            ssrc: Ssrc(PUBLISHED + place.local),
            rtx: self.rtx(PUBLISHED_RTX + place.local).zip(self.format().rtx_pt),
            mid: Some(mid(0)?),
            pt: PT,
            extensions: extensions(),
        });
        let receives = place.receives(self.options).map(|publisher| self.receive_config(publisher)).collect();
        let server = (self.address, core.udp_port).into();
        Ok(Joined { client, server, checks: None, sends, receives })
    }

    /// A peer or worker that ended is an error.
    fn poll(&mut self) -> Result<u32> {
        let mut ready = 0;
        account::as_server(|| {
            while let Some(report) = self.core()?.lane.try_report() {
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
        })
    }

    fn counts_ready(&self) -> bool {
        true
    }

    /// Commands are not answered: a subscription that came after the first keyframe would miss the first frames.
    fn connect(&mut self) -> Result<u64> {
        let places = (0..self.options.associations()).map(|number| Place::new(self.options, number));
        account::as_server(|| {
            for place in places {
                if place.publishes {
                    self.publish(place)?;
                }
                for publisher in place.receives(self.options) {
                    self.subscribe(place, publisher)?;
                }
            }
            Ok(SETTLE_US + self.options.streams() * SETTLE_US_PER_STREAM)
        })
    }

    fn meter(&self, tsc_hz: f64) -> Result<Meter> {
        Meter::of_thread(WORKER_THREAD, tsc_hz)
    }

    fn counters(&self) -> Option<Counters> {
        self.core().ok().map(|core| core.counters.read())
    }

    fn memory_bytes(&self) -> Option<u64> {
        u64::try_from(account::server_bytes() - self.booked_before).ok()
    }
}

impl Drop for Kaigi<'_> {
    fn drop(&mut self) {
        if let Some(plane) = self.plane.take() {
            plane.stop();
        }
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
