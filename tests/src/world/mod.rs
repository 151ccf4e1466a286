//! A simulated server with its guests: one engine, many clients, a virtual clock and seeded links.
//!
//! Place: under the whole-room simulations. Promises: equal calls with an equal seed give equal runs; what the links lose and what
//! the server puts into them is recorded. Not here: what a run is judged by (each test's own).

pub mod commands;
pub mod dtls;
mod guest;
mod meter;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use dataplane::base::handoff::{AssistReply, AssistRequest, DtlsVersion, Fingerprint};
use dataplane::base::ids::{CoreId, PeerId, StreamId, local_ufrag};
use dataplane::base::media::MediaKind;
use dataplane::base::net::Path;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::{Command, Delivery, IceCredentials, Report, SpeakerLevel, Wanted};
use dataplane::engine::{Engine, EngineConfig, Rules};
use dataplane::io::sim::{LinkConfig, Network};
use dataplane::wire::demux::{Protocol, classify};
use dataplane::wire::rtp;
use kernels::Suite;
use tools::client::rates::Rates;
use tools::client::{Client, ClientConfig, Remote, Security, TRANSMIT_BYTES_MIN};

pub use guest::{Camera, Guest, Microphone, Terms, published_ssrc, stream_number, track_number};
use guest::{keys, swapped};
use meter::Metered;

const CORE: CoreId = CoreId(0);
/// Turns that one run may take: more means that time stands still.
const TURNS_MAX: u64 = 50_000_000;

/// A sample of a peer's link as the engine reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// When.
    pub at: Micros,
    /// What the link is believed to carry, bits per second; 0 if nothing is known.
    pub estimate_bps: u32,
    /// What was sent, bits per second.
    pub sent_bps: u32,
}

/// The engine, its guests and what lies between them.
pub struct World {
    /// The server.
    pub engine: Engine,
    /// All links.
    pub network: Network,
    /// Guests by peer number.
    pub guests: BTreeMap<u32, Guest>,
    /// Peers that ended by themselves.
    pub ended: Vec<u32>,
    /// Reports about speakers so far.
    pub speakers: u64,
    /// The last of them, by meeting.
    pub loudest: BTreeMap<u64, Vec<SpeakerLevel>>,
    /// What each stream gets, by its number.
    pub deliveries: BTreeMap<u32, Delivery>,
    /// What is known of each peer's link, in order of time.
    pub qualities: BTreeMap<u32, Vec<Quality>>,
    /// Packets lost on their way, by SSRC: to the server with the sender's number, from it with the receiver's.
    pub lost: BTreeMap<(bool, u32, u32), u64>,
    peers: BTreeMap<SocketAddr, u32>,
    /// What the server put into the link of each peer.
    meters: BTreeMap<SocketAddr, Rates>,
    engine_due: Micros,
    /// Events are taken together in steps of this time.
    step_us: u64,
    /// Told when the engine begins and ends to work.
    probe: fn(bool),
    turns: u64,
}

impl World {
    /// A server without guests that forwards `audio_streams_max` voices.
    #[must_use]
    pub fn new(seed: u64, audio_streams_max: u8) -> Self {
        let rules = Rules { audio_streams_max, ..Rules::default() };
        let config = EngineConfig { core: CORE, suite: Suite::detect(), seed, rules };
        Self {
            engine: Engine::new(config),
            network: Network::new(seed),
            guests: BTreeMap::new(),
            ended: Vec::new(),
            speakers: 0,
            loudest: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            qualities: BTreeMap::new(),
            lost: BTreeMap::new(),
            peers: BTreeMap::new(),
            meters: BTreeMap::new(),
            engine_due: Micros(0),
            step_us: 1,
            probe: |_| {},
            turns: 0,
        }
    }

    /// Takes events together in steps of so many microseconds, as a busy core does: long runs need fewer turns.
    pub const fn set_step_us(&mut self, step_us: u64) {
        self.step_us = step_us;
    }

    /// Has `probe` told when the engine begins (true) and ends to work: to take its time or count its memory.
    pub const fn set_probe(&mut self, probe: fn(bool)) {
        self.probe = probe;
    }

    /// Gives the server a command.
    pub fn command(&mut self, command: impl FnOnce() -> Command) {
        let now = self.network.now();
        // What the command is made of becomes the engine's.
        (self.probe)(true);
        self.engine.handle_command(now, command());
        (self.probe)(false);
        self.engine_due = now;
    }

    /// Somebody joins and publishes what the terms say; streams follow with [`World::subscribe`].
    pub fn join(&mut self, peer: u32, meeting: u64, terms: Terms, rng: &mut Rng, links: [LinkConfig; 2]) {
        let path = Path { local: ([10, 0, 0, 1], 7_882).into(), remote: address_of(peer) };
        self.join_by(path, peer, meeting, terms, rng, links);
    }

    /// The same over a TCP connection, whose links must not lose anything.
    pub fn join_over_tcp(
        &mut self,
        peer: u32,
        meeting: u64,
        terms: Terms,
        rng: &mut Rng,
        links: [LinkConfig; 2],
    ) {
        let path = Path::tcp([10, 0, 0, 1].into(), address_of(peer));
        self.join_by(path, peer, meeting, terms, rng, links);
    }

    /// A guest takes nothing from its connection for so long; then all of it.
    pub fn stall(&mut self, peer: u32, time_us: u64) {
        let until = self.network.now().after_us(time_us);
        self.network.stall(address_of(peer), until);
    }

    fn join_by(
        &mut self,
        path: Path,
        peer: u32,
        meeting: u64,
        terms: Terms,
        rng: &mut Rng,
        links: [LinkConfig; 2],
    ) {
        let now = self.network.now();
        let remote = path.remote;
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
        client.set_feedback(terms.feedback);
        self.command(|| commands::open(peer, meeting, &server_ice));
        self.command(|| commands::remote(peer, &client_ice, Fingerprint([0; 32])));
        let mut guest = Guest::new(client, path, meeting, keys, terms);
        for kind in guest.kinds() {
            guest.publish(now, peer, kind, rng);
            self.command(|| commands::publish(peer, kind, &guest));
        }
        guest.client.set_remote(now, &Remote { ice: server_ice, fingerprint: None });
        self.peers.insert(remote, peer);
        self.guests.insert(peer, guest);
    }

    /// Gives a guest everything the others of his meeting publish, and them what he does.
    pub fn meet(&mut self, peer: u32) {
        let meeting = self.guests.get(&peer).expect("joined").meeting;
        let others: Vec<u32> = self
            .guests
            .iter()
            .filter(|(id, guest)| guest.meeting == meeting && **id != peer)
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            for (receiver, publisher) in [(other, peer), (peer, other)] {
                for kind in self.guests[&publisher].kinds() {
                    self.subscribe(receiver, publisher, kind);
                }
            }
        }
    }

    /// One guest gets a track of another.
    pub fn subscribe(&mut self, receiver: u32, publisher: u32, kind: MediaKind) {
        let codec = self.guests[&publisher].codec();
        let guest = self.guests.get_mut(&receiver).expect("joined");
        guest.receive(receiver, publisher, kind, codec);
        let terms = guest.terms.clone();
        self.command(|| commands::subscribe(receiver, publisher, kind, &terms));
    }

    /// Says what a guest wants of a stream.
    pub fn want(&mut self, receiver: u32, publisher: u32, wanted: Wanted) {
        let stream = StreamId(stream_number(receiver, publisher, MediaKind::Video));
        self.command(|| Command::Want { stream, wanted });
    }

    /// Somebody leaves; what is on its way to him arrives nowhere.
    pub fn leave(&mut self, peer: u32) {
        self.command(|| Command::ClosePeer { peer: PeerId(peer) });
        if let Some(guest) = self.guests.remove(&peer) {
            self.network.disconnect(guest.path.remote);
            self.peers.remove(&guest.path.remote);
        }
    }

    /// Stops all media.
    pub fn mute_all(&mut self) {
        for guest in self.guests.values_mut() {
            guest.mute();
        }
    }

    /// Runs until `end` of the virtual clock.
    pub fn run(&mut self, end: Micros) {
        let mut datagram = [0; TRANSMIT_BYTES_MIN];
        loop {
            let clients = self.guests.values().map(|guest| guest.due).fold(Micros::NEVER, Micros::min);
            let next = self.network.next_arrival().min(self.engine_due).min(clients);
            if next > end {
                self.network.advance(end);
                return;
            }
            self.network.advance(Micros(next.0.next_multiple_of(self.step_us)));
            let now = self.network.now();
            self.turns += 1;
            assert!(self.turns < TURNS_MAX, "time does not move at {now:?}");
            let mut flush = self.engine_due <= now;
            while let Some(mut arrival) = self.network.poll_arrival() {
                if arrival.at_server {
                    (self.probe)(true);
                    self.engine.handle_datagram(now, arrival.path, &mut arrival.bytes);
                    (self.probe)(false);
                    flush = true;
                } else if let Some(guest) =
                    self.peers.get(&arrival.path.remote).and_then(|peer| self.guests.get_mut(peer))
                {
                    guest.client.handle_datagram(now, &mut arrival.bytes);
                    guest.due = now;
                }
            }
            for guest in self.guests.values_mut().filter(|guest| guest.due <= now) {
                if guest.client.next_timeout() <= now {
                    guest.client.handle_timeout(now);
                }
                while let Some(bytes) = guest.client.poll_transmit(now, &mut datagram) {
                    self.network.send_up(guest.path, &datagram[..bytes]);
                }
                guest.due = guest.client.next_timeout();
            }
            if flush {
                self.flush(now);
            }
            self.note_losses();
        }
    }

    /// Bytes that the server put into the link of a peer, over time.
    #[must_use]
    pub fn sent(&self, peer: u32) -> Rates {
        let remote = self.guests.get(&peer).map(|guest| guest.path.remote);
        remote.and_then(|remote| self.meters.get(&remote)).cloned().unwrap_or_default()
    }

    fn flush(&mut self, now: Micros) {
        let Self { engine, network, meters, probe, .. } = self;
        let mut buffers = Metered::new(now, network.server(), meters, *probe);
        (probe)(true);
        self.engine_due = engine.flush(now, &mut buffers);
        (self.probe)(false);
        while let Some(request) = self.engine.poll_assist() {
            assert!(!matches!(request, AssistRequest::Datagram { .. }), "nobody speaks DTLS here");
        }
        while let Some(report) = self.engine.poll_report() {
            self.take_report(now, report);
        }
    }

    fn take_report(&mut self, now: Micros, report: Report) {
        match report {
            // The path is there: the handshake is done in no time.
            Report::PeerPath { peer } => {
                (self.probe)(true);
                let keys = Box::new(self.guests[&peer.0].keys.clone());
                self.engine.handle_assist(now, AssistReply::Keys { peer, version: DtlsVersion::V12, keys });
                (self.probe)(false);
                self.engine_due = now;
            }
            Report::PeerEnded { peer, .. } => self.ended.push(peer.0),
            Report::Speakers { meeting, levels, count } => {
                self.speakers += 1;
                self.loudest.insert(meeting.0, levels[..usize::from(count)].to_vec());
            }
            Report::Delivery { stream, delivery } => {
                self.deliveries.insert(stream.0, delivery);
            }
            Report::Quality { peer, estimate_bps, sent_bps, .. } => {
                let sample = Quality { at: now, estimate_bps, sent_bps };
                self.qualities.entry(peer.0).or_default().push(sample);
            }
            _ => {}
        }
    }

    fn note_losses(&mut self) {
        for loss in self.network.take_losses() {
            if classify(&loss.bytes) != Protocol::Rtp {
                continue;
            }
            if let (Some(peer), Some(ssrc)) = (self.peers.get(&loss.path.remote), rtp::ssrc(&loss.bytes)) {
                *self.lost.entry((loss.to_server, *peer, ssrc.0)).or_default() += 1;
            }
        }
    }

    /// Packets of a track that were lost on the way to the server, all layers.
    #[must_use]
    pub fn lost_up(&self, publisher: u32, kind: MediaKind) -> u64 {
        (0..3)
            .filter_map(|layer| self.lost.get(&(true, publisher, published_ssrc(publisher, kind, layer))))
            .sum()
    }

    /// Packets of a stream that were lost on the way to a peer, retransmissions not counted.
    #[must_use]
    pub fn lost_down(&self, receiver: u32, ssrc: u32) -> u64 {
        self.lost.get(&(false, receiver, ssrc)).copied().unwrap_or(0)
    }

    /// Whether the link to a peer changed the order of datagrams.
    #[must_use]
    pub fn has_reordered(&self, receiver: u32) -> bool {
        let remote = self.guests[&receiver].path.remote;
        self.network.counts(remote).is_some_and(|(_, down)| down.reordered > 0)
    }
}

fn address_of(peer: u32) -> SocketAddr {
    let [high, low] = (peer as u16).to_be_bytes();
    ([192, 0, high, low], 40_000).into()
}

/// The peer whose address this is.
#[must_use]
pub fn peer_of(address: SocketAddr) -> u32 {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [_, _, high, low] = ip.octets();
            u32::from(u16::from_be_bytes([high, low]))
        }
        IpAddr::V6(_) => 0,
    }
}
