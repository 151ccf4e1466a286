//! Handshakes in memory: dimpl and sctp-proto as the client, a seeded lossy link, time that only the test moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Config, Dtls, Output};
use sctp_proto::{
    Association as Sctp, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Protocol, StreamEvent,
};

use super::dcep::{Message, Open, Reliability};
use super::dtls::fingerprint;
use super::*;
use crate::base::handoff::{DtlsVersion, Fingerprint, MasterKey, SrtpKeys, SrtpProfile};
use crate::base::ids::MeetingId;
use crate::base::limits::CHANNEL_BACKLOG_BYTES;
use crate::base::rng::Rng;

const PEER: PeerId = PeerId(7);
const MEETING: MeetingId = MeetingId(1);
const HONEST: PeerId = PeerId(3_000);

pub(super) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time")]
    Instant::now()
}

/// The client's half of SCTP.
pub(super) struct Channels {
    endpoint: Endpoint,
    handle: sctp_proto::AssociationHandle,
    pub(super) association: Sctp,
    pub(super) connected: bool,
    pub(super) got: Vec<(u16, Protocol, Vec<u8>)>,
}

impl Channels {
    pub(super) fn new() -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), None);
        let remote = "127.0.0.1:5000".parse().expect("an address");
        let (handle, association) =
            endpoint.connect(ClientConfig::default(), remote).expect("a fresh endpoint connects");
        Self { endpoint, handle, association, connected: false, got: Vec::new() }
    }

    pub(super) fn handle(&mut self, now: Instant, bytes: &[u8]) {
        let remote = "127.0.0.1:5000".parse().expect("an address");
        if let Some((_, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, remote, None, None, Bytes::copy_from_slice(bytes))
        {
            self.association.handle_event(event);
        }
    }

    pub(super) fn follow(&mut self) {
        while let Some(event) = self.association.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::Stream(StreamEvent::Readable { id }) => {
                    let mut stream = self.association.stream(id).expect("it is readable");
                    while let Ok(Some(chunks)) = stream.read_sctp() {
                        let mut bytes = vec![0; chunks.len()];
                        chunks.read(&mut bytes).expect("the buffer is as long");
                        self.got.push((id, chunks.ppi, bytes));
                    }
                }
                _ => {}
            }
        }
        while let Some(event) = self.association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.association.handle_event(event);
            }
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.association.poll_transmit(now) {
            if let Payload::RawEncode(raw) = transmit.payload {
                packets.extend(raw.into_iter().map(|bytes| bytes.to_vec()));
            }
        }
        packets
    }

    pub(super) fn write(&mut self, id: u16, protocol: Protocol, bytes: &[u8]) {
        let opened = self.association.stream(id).is_ok();
        if !opened {
            self.association.open_stream(id, Protocol::Binary).expect("the id is free");
        }
        let mut stream = self.association.stream(id).expect("it is open");
        stream.write_with_ppi(bytes, protocol).expect("there is room");
    }
}

/// A browser: DTLS client with SCTP inside.
struct Client {
    dtls: Dtls,
    fingerprint: Fingerprint,
    server: Option<Fingerprint>,
    connected: bool,
    keys: Option<(Vec<u8>, dimpl::SrtpProfile)>,
    closed: bool,
    channels: Option<Channels>,
    due: Instant,
}

impl Client {
    fn new(version: DtlsVersion, now: Instant) -> Self {
        let certificate = generate_self_signed_certificate().expect("the crypto library works");
        let fingerprint = fingerprint(&certificate.certificate).expect("SHA-256");
        let config = Config::builder().flight_start_rto(Duration::from_millis(50)).flight_retries(9);
        let config = Arc::new(config.build().expect("valid parameters"));
        let mut dtls = match version {
            DtlsVersion::V12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::V13 => Dtls::new_13(config, certificate, now),
        };
        dtls.set_active(true);
        dtls.handle_timeout(now).expect("a fresh client");
        Self {
            dtls,
            fingerprint,
            server: None,
            connected: false,
            keys: None,
            closed: false,
            channels: None,
            due: now,
        }
    }

    fn handle(&mut self, now: Instant, bytes: &[u8]) {
        self.dtls.handle_timeout(now).expect("the client's patience is longer than the test");
        self.dtls.handle_packet(bytes).expect("the server speaks DTLS");
    }

    /// Everything the client has to send.
    fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut buffer = vec![0; 20_000];
        loop {
            loop {
                match self.dtls.poll_output(&mut buffer) {
                    Output::Packet(bytes) => out.push(bytes.to_vec()),
                    Output::PeerCert(der) => self.server = fingerprint(der),
                    Output::Connected => self.connected = true,
                    Output::KeyingMaterial(material, profile) => {
                        self.keys = Some((material.to_vec(), profile));
                    }
                    Output::ApplicationData(bytes) => {
                        if let Some(channels) = &mut self.channels {
                            channels.handle(now, bytes);
                        }
                    }
                    Output::CloseNotify => self.closed = true,
                    Output::Timeout(due) => {
                        self.due = due;
                        break;
                    }
                    _ => {}
                }
            }
            let Some(channels) = self.channels.as_mut().filter(|_| self.connected && !self.closed) else {
                break;
            };
            channels.follow();
            let packets = channels.poll(now);
            if packets.is_empty() {
                if let Some(due) = channels.association.poll_timeout() {
                    self.due = self.due.min(due);
                }
                break;
            }
            for packet in packets {
                self.dtls.send_application_data(&packet).expect("it is connected");
                // Its queue is short: take each record out at once.
                while let Output::Packet(bytes) = self.dtls.poll_output(&mut buffer) {
                    out.push(bytes.to_vec());
                }
            }
        }
        out
    }

    fn timeout(&mut self, now: Instant) {
        self.dtls.handle_timeout(now).expect("the client's patience is longer than the test");
        if let Some(channels) = &mut self.channels {
            channels.association.handle_timeout(now);
        }
    }
}

/// What the core would see.
#[derive(Default)]
struct Seen {
    keys: Option<(DtlsVersion, Box<SrtpKeys>)>,
    opened: Vec<(u16, Box<str>)>,
    messages: Vec<(u16, Box<[u8]>)>,
    closed: Option<AssistClose>,
}

/// Client and server on a link that loses, doubles and delays by its seed.
struct World {
    now: Instant,
    client: Client,
    assist: Assist,
    identity: Identity,
    seen: Seen,
    rng: Rng,
    loss_ppm: u32,
    to_server: VecDeque<(Instant, Vec<u8>)>,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    stop_polling: bool,
    peer: PeerId,
}

impl World {
    fn new(version: DtlsVersion, client: DtlsVersion, seed: u64, loss_ppm: u32) -> Self {
        let now = start();
        let identity = Identity::generate().expect("the crypto library works");
        let mut assist = Assist::new(identity.clone());
        assist.handle_request(now, AssistRequest::Open { peer: PEER, meeting: MEETING, version });
        Self {
            now,
            client: Client::new(client, now),
            assist,
            identity,
            seen: Seen::default(),
            rng: Rng::new(seed),
            loss_ppm,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            stop_polling: false,
            peer: PEER,
        }
    }

    fn request(&mut self, request: AssistRequest) {
        self.assist.handle_request(self.now, request);
    }

    fn expect_client(&mut self) {
        let (peer, fingerprint) = (self.peer, self.client.fingerprint);
        self.request(AssistRequest::Expect { peer, fingerprint });
    }

    fn link(&mut self, bytes: Vec<u8>) -> Vec<(Instant, Vec<u8>)> {
        let copies = if self.rng.chance_ppm(self.loss_ppm) { 0 } else { 1 };
        let copies = copies + u64::from(self.rng.chance_ppm(self.loss_ppm));
        (0..copies)
            .map(|_| (self.now + Duration::from_micros(1_000 + self.rng.below(20_000)), bytes.clone()))
            .collect()
    }

    /// Moves time to the next thing that happens, and lets it happen.
    fn step(&mut self) {
        for bytes in self.client.poll(self.now) {
            let arrivals = self.link(bytes);
            self.to_server.extend(arrivals);
        }
        while !self.stop_polling
            && let Some(reply) = self.assist.poll_reply(self.now)
        {
            match reply {
                // Left over from somebody else.
                AssistReply::Datagram { peer, .. } | AssistReply::Closed { peer, .. }
                    if peer != self.peer => {}
                AssistReply::Datagram { bytes, .. } => {
                    assert!(bytes.len() <= 1200, "{} bytes do not fit every path", bytes.len());
                    let arrivals = self.link(bytes.into_vec());
                    self.to_client.extend(arrivals);
                }
                AssistReply::Keys { version, keys, .. } => {
                    assert!(self.seen.keys.is_none(), "keys are released once");
                    self.seen.keys = Some((version, keys));
                }
                AssistReply::ChannelOpen { channel, label, .. } => self.seen.opened.push((channel, label)),
                AssistReply::Message { channel, bytes, .. } => {
                    let peer = self.peer;
                    let passed = AssistRequest::MessagePassed { peer, bytes: bytes.len() as u32, copies: 1 };
                    self.seen.messages.push((channel, bytes));
                    self.request(passed);
                }
                AssistReply::ChannelClosed { .. }
                | AssistReply::ChannelsEnded { .. }
                | AssistReply::ChannelDrops(_) => {}
                AssistReply::Closed { reason, .. } => self.seen.closed = Some(reason),
            }
        }
        let mut next = self.client.due;
        next = next.min(self.assist.poll_timeout().unwrap_or(next));
        for (due, _) in self.to_server.iter().chain(&self.to_client) {
            next = next.min(*due);
        }
        self.now = self.now.max(next);
        if let Some(at) = self.to_server.iter().position(|(due, _)| *due <= self.now) {
            let (_, bytes) = self.to_server.remove(at).expect("the position is in it");
            let peer = self.peer;
            self.request(AssistRequest::Datagram { peer, bytes: bytes.into() });
        }
        if let Some(at) = self.to_client.iter().position(|(due, _)| *due <= self.now) {
            let (_, bytes) = self.to_client.remove(at).expect("the position is in it");
            if !self.client.closed {
                self.client.handle(self.now, &bytes);
            }
        }
        self.assist.handle_timeout(self.now);
        if self.client.due <= self.now {
            self.client.timeout(self.now);
        }
    }

    fn run(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(29);
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            assert!(self.now < end, "{what}: not in time");
            self.step();
        }
        panic!("{what}: not in 20,000 steps");
    }

    fn connect(&mut self) {
        self.expect_client();
        self.run("handshake", |world| world.client.connected && world.seen.keys.is_some());
    }
}

fn half(key: &MasterKey, profile: SrtpProfile) -> (&[u8], &[u8]) {
    (&key.key[..profile.key_bytes()], &key.salt[..profile.salt_bytes()])
}

fn check_keys(world: &World, profile: SrtpProfile) {
    let (_, keys) = world.seen.keys.as_ref().expect("keys came");
    let (material, _) = world.client.keys.as_ref().expect("the client has keys");
    assert_eq!(keys.profile, profile);
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let (client, server) = (half(&keys.remote, profile), half(&keys.local, profile));
    let expected = [client.0, server.0, client.1, server.1].concat();
    assert_eq!(material.len(), 2 * (key + salt));
    assert_eq!(*material, expected, "client key, server key, client salt, server salt");
}

#[test]
fn both_versions_give_both_sides_the_same_keys_and_the_certificate_of_this_boot() {
    for version in [DtlsVersion::V12, DtlsVersion::V13] {
        let mut world = World::new(version, version, 1, 0);
        world.connect();
        assert_eq!(world.seen.keys.as_ref().map(|(spoken, _)| *spoken), Some(version));
        assert_eq!(world.client.server, Some(world.identity.fingerprint()));
        check_keys(&world, SrtpProfile::AeadAes256Gcm);
    }
}

#[test]
fn a_client_that_knows_only_1_2_is_served_when_1_3_is_asked_for() {
    let mut world = World::new(DtlsVersion::V13, DtlsVersion::V12, 1, 0);
    world.connect();
    assert_eq!(world.seen.keys.as_ref().map(|(spoken, _)| *spoken), Some(DtlsVersion::V12));
    check_keys(&world, SrtpProfile::AeadAes256Gcm);
}

#[test]
fn a_lossy_link_only_delays_the_handshake() {
    for version in [DtlsVersion::V12, DtlsVersion::V13] {
        for seed in 1..=12 {
            let mut world = World::new(version, version, seed, 200_000);
            world.connect();
            check_keys(&world, SrtpProfile::AeadAes256Gcm);
            assert_eq!(world.seen.closed, None, "seed {seed}");
        }
    }
}

#[test]
fn keys_wait_for_the_promised_certificate() {
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
    world.client.channels = Some(Channels::new());
    world.run("handshake", |world| world.client.connected);
    for _ in 0..5 {
        world.step();
    }
    assert!(world.seen.keys.is_none(), "nobody promised a certificate yet");
    world.expect_client();
    world.run("keys", |world| world.seen.keys.is_some());
    // The SCTP packets that came too early were held, not lost.
    world.run("SCTP", |world| world.client.channels.as_ref().is_some_and(|channels| channels.connected));
}

#[test]
fn another_certificate_than_the_promised_one_gets_no_keys() {
    for early in [true, false] {
        let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
        let wrong = AssistRequest::Expect { peer: PEER, fingerprint: Fingerprint([0xab; 32]) };
        if early {
            world.request(wrong);
        } else {
            world.run("handshake", |world| world.client.connected);
            world.request(wrong);
        }
        world.run("refusal", |world| world.seen.closed.is_some());
        assert_eq!(world.seen.closed, Some(AssistClose::FingerprintMismatch));
        assert!(world.seen.keys.is_none());
        assert!(world.assist.is_empty());
    }
}

#[test]
fn a_certificate_promised_anew_must_still_be_the_same() {
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
    world.connect();
    world.expect_client();
    world.step();
    assert!(world.seen.closed.is_none());
    world.request(AssistRequest::Expect { peer: PEER, fingerprint: Fingerprint([1; 32]) });
    world.step();
    assert_eq!(world.seen.closed, Some(AssistClose::FingerprintMismatch));
}

#[test]
fn channels_open_both_ways_and_carry_messages() {
    for seed in 1..=4 {
        let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, seed, 100_000);
        world.client.channels = Some(Channels::new());
        for (label, reliable) in [("_reliable", true), ("_lossy", false)] {
            world.request(AssistRequest::OpenChannel { peer: PEER, label, reliable });
        }
        world.connect();
        world.run("SCTP", |world| world.client.channels.as_ref().is_some_and(|channels| channels.connected));
        // The client acknowledges ours and opens its own.
        world.run("our opens", |world| {
            let got = &world.client.channels.as_ref().expect("the test made it").got;
            got.iter().filter(|(_, protocol, _)| *protocol == Protocol::Dcep).count() == 2
        });
        let channels = world.client.channels.as_mut().expect("the test made it");
        let mut opens: Vec<_> = channels
            .got
            .drain(..)
            .map(|(id, _, bytes)| match Message::parse(&bytes) {
                Some(Message::Open(open)) => (id, open.label, open.unordered, open.reliability),
                _ => panic!("it is an open"),
            })
            .collect();
        opens.sort_by_key(|open| open.0);
        assert_eq!(
            opens,
            [
                (1, "_reliable".into(), false, Reliability::Reliable),
                (3, "_lossy".into(), true, Reliability::Retransmits(0)),
            ],
            "the DTLS server opens odd streams"
        );
        for id in [1, 3] {
            channels.write(id, Protocol::Dcep, &Message::Ack.to_bytes());
        }
        let open = Open { unordered: false, reliability: Reliability::Reliable, label: "chat".into() };
        channels.write(2, Protocol::Dcep, &Message::Open(open).to_bytes());
        channels.write(2, Protocol::String, b"hello");
        channels.write(2, Protocol::StringEmpty, &[0]);
        channels.write(2, Protocol::Binary, &[9; 30_000]);
        world.run("our channels and its messages", |world| {
            world.seen.opened.len() == 3 && world.seen.messages.len() == 3
        });
        let mut opened = world.seen.opened.clone();
        opened.sort();
        assert_eq!(opened, [(1, "_reliable".into()), (2, "chat".into()), (3, "_lossy".into())]);
        let sizes: Vec<_> = world.seen.messages.iter().map(|(id, bytes)| (*id, bytes.len())).collect();
        assert_eq!(sizes, [(2, 5), (2, 0), (2, 30_000)]);
        world.run("our acknowledgement", |world| {
            let got = &world.client.channels.as_ref().expect("the test made it").got;
            got.iter().any(|(id, _, bytes)| (*id, bytes) == (2, &Message::Ack.to_bytes()))
        });
    }
}

#[test]
fn messages_wait_with_their_sender_while_nobody_reads() {
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
    world.client.channels = Some(Channels::new());
    world.connect();
    world.run("SCTP", |world| world.client.channels.as_ref().is_some_and(|channels| channels.connected));
    let channels = world.client.channels.as_mut().expect("the test made it");
    let open = Open { unordered: false, reliability: Reliability::Reliable, label: "flood".into() };
    channels.write(0, Protocol::Dcep, &Message::Open(open).to_bytes());
    const COUNT: usize = 40;
    for _ in 0..COUNT {
        channels.write(0, Protocol::Binary, &[1; 16_000]);
    }
    // Read nothing for a while: replies stay inside, so does everything beyond the window.
    for _ in 0..40 {
        world.stop_polling = !world.stop_polling;
        world.step();
    }
    world.stop_polling = false;
    world.run("all messages", |world| world.seen.messages.len() == COUNT);
}

#[test]
fn a_queue_that_the_control_planes_own_message_met_slows_nobody_down() {
    for answers in [false, true] {
        let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
        world.client.channels = Some(Channels::new());
        world.request(AssistRequest::OpenChannel { peer: PEER, label: "_reliable", reliable: true });
        world.connect();
        world.run("our channel", |world| !world.client.channels.as_ref().expect("made").got.is_empty());
        let channels = world.client.channels.as_mut().expect("the test made it");
        channels.write(1, Protocol::Dcep, &Message::Ack.to_bytes());
        let open = Open { unordered: false, reliability: Reliability::Reliable, label: "chat".into() };
        channels.write(0, Protocol::Dcep, &Message::Open(open).to_bytes());
        world.run("both channels", |world| world.seen.opened.len() == 2);
        // More waits for it than what slows a sender down.
        for _ in 0..20 {
            let bytes = Bytes::from(vec![1; 16_000]);
            world.request(AssistRequest::SendMessage { peer: PEER, channel: 1, bytes, answers });
        }
        assert_eq!(world.assist.backlog > CHANNEL_BACKLOG_BYTES, answers);
    }
}

#[test]
fn a_goodbye_is_answered_and_ours_is_heard() {
    for version in [DtlsVersion::V12, DtlsVersion::V13] {
        let mut world = World::new(version, version, 1, 0);
        world.connect();
        world.client.dtls.close().expect("it is connected");
        world.run("its goodbye", |world| world.seen.closed.is_some());
        assert_eq!(world.seen.closed, Some(AssistClose::CloseNotify));
        assert!(world.assist.is_empty() && world.assist.poll_timeout().is_none());

        let mut world = World::new(version, version, 1, 0);
        world.connect();
        world.request(AssistRequest::Close { peer: PEER });
        assert!(world.assist.is_empty() && world.assist.poll_timeout().is_none());
        world.run("our goodbye", |world| world.client.closed);
        assert!(world.seen.closed.is_none(), "who closes needs no report");
    }
}

fn hello(text: &str) -> Vec<Vec<u8>> {
    text.lines()
        .map(|line| {
            let digits: Vec<u8> =
                line.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
            digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        })
        .collect()
}

/// What Chromium and Firefox send first: a post-quantum ClientHello in two datagrams, repeated.
fn browser_hellos() -> [(&'static str, Vec<Vec<u8>>); 3] {
    [
        ("chromium", hello(include_str!("../../../tests/data/clients/chromium_clienthello_openssl.hex"))),
        (
            "chromium, unanswered",
            hello(include_str!("../../../tests/data/clients/chromium_clienthello_raw.hex")),
        ),
        ("firefox", hello(include_str!("../../../tests/data/clients/firefox_clienthello_openssl.hex"))),
    ]
}

#[test]
fn the_hellos_of_real_browsers_are_answered_in_both_versions_and_any_order() {
    for version in [DtlsVersion::V12, DtlsVersion::V13] {
        for (browser, datagrams) in browser_hellos() {
            for swapped in [false, true] {
                let now = start();
                let mut assist = Assist::new(Identity::generate().expect("the crypto library works"));
                assist.handle_request(now, AssistRequest::Open { peer: PEER, meeting: MEETING, version });
                let mut order: Vec<_> = datagrams.iter().take(2).collect();
                if swapped {
                    order.reverse();
                }
                let mut answered = 0;
                for bytes in order {
                    assert_eq!(answered, 0, "{browser}: half a ClientHello has no answer");
                    let bytes = bytes.clone().into();
                    assist.handle_request(now, AssistRequest::Datagram { peer: PEER, bytes });
                    while let Some(reply) = assist.poll_reply(now) {
                        match reply {
                            AssistReply::Datagram { bytes, .. } => {
                                // Handshake record with a ServerHello.
                                if answered == 0 {
                                    assert_eq!((bytes[0], bytes[13]), (22, 2), "{browser} {version:?}");
                                }
                                answered += 1;
                            }
                            _ => panic!("{browser} {version:?}: nothing but datagrams yet"),
                        }
                    }
                }
                assert!(answered > 0, "{browser} {version:?} swapped {swapped}");
            }
        }
    }
}

#[test]
fn no_datagram_of_any_length_or_content_ends_more_than_its_own_association() {
    let now = start();
    let identity = Identity::generate().expect("the crypto library works");
    let mut rng = Rng::new(3);
    let hellos: Vec<Vec<u8>> = browser_hellos().into_iter().flat_map(|(_, datagrams)| datagrams).collect();
    let mut assist = Assist::new(identity);
    let feed = |assist: &mut Assist, peer: u32, bytes: Vec<u8>| {
        let peer = PeerId(peer);
        assist.handle_request(now, AssistRequest::Open { peer, meeting: MEETING, version: DtlsVersion::V12 });
        assist.handle_request(now, AssistRequest::Datagram { peer, bytes: bytes.into() });
        while assist.poll_reply(now).is_some() {}
    };
    for (index, hello) in hellos.iter().enumerate() {
        for end in 0..hello.len() {
            feed(&mut assist, index as u32, hello[..end].to_vec());
        }
        for _ in 0..200 {
            let mut bytes = hello.clone();
            for _ in 0..=rng.below(8) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            feed(&mut assist, index as u32 + 100, bytes);
        }
    }
    for length in 0..1500 {
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = 20 + (length % 44) as u8;
        }
        feed(&mut assist, 1_000, bytes);
    }
    feed(&mut assist, 2_000, Vec::new());
    // Somebody who is unknown, and an honest one afterwards.
    assist.handle_request(now, AssistRequest::Datagram { peer: PeerId(9_999), bytes: Box::new([22]) });
    assert!(assist.poll_reply(now).is_none());
    // The thread goes on: an honest client is served as if nothing had been.
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 5, 0);
    world.identity = assist.identity.clone();
    world.assist = assist;
    world.request(AssistRequest::Open { peer: HONEST, meeting: MEETING, version: DtlsVersion::V12 });
    world.peer = HONEST;
    world.connect();
    check_keys(&world, SrtpProfile::AeadAes256Gcm);
}

#[test]
fn a_library_panic_ends_one_association_and_reports_it() {
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
    world.assist.handle_request(
        world.now,
        AssistRequest::Open { peer: PeerId(8), meeting: MEETING, version: DtlsVersion::V12 },
    );
    world.assist.run(PeerId(8), world.now, |_, _, _| {
        std::panic::resume_unwind(Box::new("what a bug in a library would do"));
    });
    assert!(matches!(
        world.assist.poll_reply(world.now),
        Some(AssistReply::Closed { peer: PeerId(8), reason: AssistClose::HandshakeFailed })
    ));
    assert_eq!(world.assist.len(), 1);
    world.connect();
}

#[test]
fn a_handshake_that_never_goes_on_ends_by_itself() {
    let mut world = World::new(DtlsVersion::V12, DtlsVersion::V12, 1, 0);
    world.expect_client();
    // One ClientHello arrives, then the client is gone.
    let bytes = world.client.poll(world.now).remove(0);
    world.request(AssistRequest::Datagram { peer: PEER, bytes: bytes.into() });
    let begun = world.now;
    while world.seen.closed.is_none() {
        while let Some(reply) = world.assist.poll_reply(world.now) {
            if let AssistReply::Closed { reason, .. } = reply {
                world.seen.closed = Some(reason);
            }
        }
        if let Some(due) = world.assist.poll_timeout() {
            world.now = world.now.max(due);
            world.assist.handle_timeout(world.now);
        }
        assert!(world.now - begun < Duration::from_secs(60), "it has an end");
    }
    assert_eq!(world.seen.closed, Some(AssistClose::HandshakeFailed));
}

#[test]
fn the_number_of_associations_is_bounded() {
    let now = start();
    let mut assist = Assist::new(Identity::generate().expect("the crypto library works"));
    assist.associations_max = 3;
    let version = DtlsVersion::V12;
    for peer in (0..3).chain(0..3) {
        assist.handle_request(now, AssistRequest::Open { peer: PeerId(peer), meeting: MEETING, version });
        assert!(assist.poll_reply(now).is_none(), "opening twice is opening once");
    }
    assist.handle_request(now, AssistRequest::Open { peer: PeerId(3), meeting: MEETING, version });
    assert!(matches!(assist.poll_reply(now), Some(AssistReply::Closed { peer: PeerId(3), .. })));
    assert_eq!(assist.len(), 3);
    for peer in 0..3 {
        assist.handle_request(now, AssistRequest::Close { peer: PeerId(peer) });
    }
    assert!(assist.is_empty() && assist.poll_reply(now).is_none() && assist.poll_timeout().is_none());
}
