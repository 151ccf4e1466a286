//! Fifty join within a second: the publisher is hardly asked for keyframes, and everybody has a picture soon. Once on the virtual
//! clock, where every packet is judged, and once over loopback with real sockets and handshakes.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dataplane::base::media::MediaKind;
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::boot::{CoreEnd, Plane, PlaneConfig, start};
use dataplane::command::{Command, Report};
use dataplane::engine::EngineSizes;
use dataplane::io::IoChoice;
use dataplane::io::sim::LinkConfig;
use tests::world::dtls::Host;
use tests::world::{Camera, Guest, Terms, World, commands, stream_number};
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::dtls::Identity;
use tools::client::{ClientState, Feedback, TRANSMIT_BYTES_MIN};

const MEETING: u64 = 1;
const PUBLISHER: u32 = 1;
const JOINERS: u32 = 50;
/// The publisher is alone until then.
const ALONE_US: u64 = 3_000_000;
const JOINS_US: u64 = 1_000_000;
/// A layer is asked for a keyframe at most once in this time.
const REQUEST_US: u64 = 500_000;
/// The last to join has a picture within this time.
const PICTURE_US: u64 = 2_000_000;

fn camera(codec: VideoCodec, scalability: Scalability, layers: usize) -> Camera {
    let encodings = [(940, 4_700), (3_125, 15_600), (9_375, 46_900)];
    Camera {
        codec,
        scalability,
        encodings: encodings[3 - layers..].to_vec(),
        rids: layers > 1,
        interval_us: 50_000,
        ramp_us: 0,
    }
}

fn terms(camera: Option<Camera>) -> Terms {
    Terms { microphone: None, camera, red: false, audio_nack: false, feedback: Feedback::TransportWide }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// Most requests in any stretch of [`REQUEST_US`]; `times` are in order.
fn most_requests(times: &[Micros]) -> usize {
    let within =
        |first: usize| times[first..].iter().take_while(|at| at.since_us(times[first]) < REQUEST_US).count();
    (0..times.len()).map(within).max().unwrap_or(0)
}

fn simulate(name: &str, camera: &Camera, lossy: bool) {
    let layers = camera.encodings.len();
    let mut rng = Rng::new(5);
    let mut world = World::new(5, 3);
    world.set_step_us(250);
    let link = |rng: &mut Rng| LinkConfig {
        rate_bps: 10_000_000,
        queue_us_max: 200_000,
        delay_us: 5_000 + rng.below(40_000),
        loss_ppm: if lossy { rng.below(20_000) as u32 } else { 0 },
        ..LinkConfig::default()
    };
    let perfect = [LinkConfig { delay_us: 20_000, ..LinkConfig::default() }; 2];
    world.join(PUBLISHER, MEETING, terms(Some(camera.clone())), &mut rng, perfect);
    let mut joined = Vec::new();
    let (mut requests, mut asked) = (0, Vec::new());
    let mut at = Micros(0);
    while at < Micros(ALONE_US + JOINS_US + PICTURE_US) {
        at = at.after_us(10_000);
        world.run(at);
        let now = world.guests[&PUBLISHER].client.statistics().keyframe_requests;
        asked.extend((requests..now).map(|_| at));
        requests = now;
        let due = at.0.saturating_sub(ALONE_US) * u64::from(JOINERS) / JOINS_US;
        while at.0 > ALONE_US && (joined.len() as u64) < due.min(u64::from(JOINERS)) {
            let peer = PUBLISHER + 1 + joined.len() as u32;
            let links = [link(&mut rng), link(&mut rng)];
            world.join(peer, MEETING, terms(None), &mut rng, links);
            world.subscribe(peer, PUBLISHER, MediaKind::Video);
            joined.push((peer, at));
        }
    }
    let mut waits_us = Vec::new();
    for (peer, since) in &joined {
        let (_, reception) = world.guests[peer].client.receptions().next().expect("one stream");
        let first = reception.first_decoded.unwrap_or_else(|| panic!("{name}: {peer} has no picture"));
        waits_us.push(first.since_us(*since));
        assert_eq!(reception.unexplained_frames, 0, "{name}: {peer}");
        assert_eq!((reception.backward_timestamps, reception.descriptor_errors), (0, 0), "{name}: {peer}");
    }
    waits_us.sort_unstable();
    let most = most_requests(&asked);
    println!(
        "{name}: {JOINERS} joins in a second, {} keyframe requests for {layers} layers, {most} within {} ms; first picture after {} ms (p50), {} ms (p99)",
        asked.len(),
        REQUEST_US / 1_000,
        percentile(&waits_us, 50) / 1_000,
        percentile(&waits_us, 99) / 1_000,
    );
    assert!(most <= layers, "{name}: {most} keyframe requests within half a second: {asked:?}");
    assert!(percentile(&waits_us, 99) < PICTURE_US, "{name}: {waits_us:?}");
    for peer in PUBLISHER..=PUBLISHER + JOINERS {
        world.leave(peer);
    }
    world.run(at.after_us(1_000_000));
    assert_eq!(world.engine.sizes(), EngineSizes::default(), "{name}: something is left behind");
}

#[test]
fn fifty_simulated_joins_ask_for_few_keyframes() {
    for lossy in [false, true] {
        let loss = if lossy { "lossy" } else { "clean" };
        simulate(&format!("VP8, {loss}"), &camera(VideoCodec::Vp8, Scalability::L1T3, 1), lossy);
        simulate(&format!("VP8 simulcast, {loss}"), &camera(VideoCodec::Vp8, Scalability::L1T3, 3), lossy);
        let vp9 = VideoCodec::Vp9 { flexible: true };
        simulate(&format!("VP9 L3T3_KEY, {loss}"), &camera(vp9, Scalability::L3T3_KEY, 1), lossy);
        simulate(&format!("AV1 L3T3, {loss}"), &camera(VideoCodec::Av1, Scalability::L3T3, 1), lossy);
    }
}

#[test]
fn requests_are_counted_in_every_stretch() {
    let times = [0, 500, 900, 1_000, 1_400].map(|ms| Micros(0).after_ms(ms));
    assert_eq!(most_requests(&times), 2);
    assert_eq!(most_requests(&[]), 0);
    assert_eq!([50, 99, 100].map(|percent| percentile(&[1, 2, 3, 4], percent)), [2, 4, 4]);
}

/// A guest with a socket.
struct Seat {
    guest: Guest,
    socket: UdpSocket,
    joined: Micros,
}

/// Real sockets and handshakes towards one core.
struct Loopback {
    plane: Plane,
    identity: Identity,
    seats: Vec<Seat>,
    origin: Instant,
}

impl Loopback {
    fn new() -> Self {
        let config = PlaneConfig {
            cpus: vec![0],
            udp_port: 0,
            tcp_port: None,
            io: IoChoice::Auto,
            suite: None,
            assist_threads: 1,
            seed: 1,
            rules: Default::default(),
            bind: None,
        };
        let plane = start(&config).expect("this host can start a core on its first CPU");
        let identity = Identity::generate().expect("a certificate can be made");
        Self { plane, identity, seats: Vec::new(), origin: Instant::now() }
    }

    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    fn core(&self) -> &CoreEnd {
        &self.plane.cores()[0]
    }

    fn send(&self, command: Command) {
        assert!(self.core().lane.send(command).is_ok(), "the lane has room");
    }

    fn join(&mut self, peer: u32, camera: Option<Camera>) {
        let now = self.now();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let server: SocketAddr = ([127, 0, 0, 1], self.core().udp_port).into();
        socket.connect(server).expect("loopback is there");
        socket.set_nonblocking(true).expect("it can be set");
        let remote = socket.local_addr().expect("it is bound");
        let host = Host { plane: &self.plane, identity: &self.identity, meeting: MEETING };
        let guest = host.join(now, 0, peer, remote, terms(camera));
        self.seats.push(Seat { guest, socket, joined: now });
    }

    fn subscribe(&mut self, receiver: u32) {
        let codec = self.seats[0].guest.codec();
        let seat = self.seats.last_mut().expect("somebody joined");
        seat.guest.receive(receiver, PUBLISHER, MediaKind::Video, codec);
        let terms = seat.guest.terms.clone();
        self.send(commands::subscribe(receiver, PUBLISHER, MediaKind::Video, &terms));
    }

    /// One turn of all clients; answers how often the publisher has been asked for a keyframe so far.
    fn turn(&mut self) -> u64 {
        let mut datagram = [0; 2_048];
        let origin = self.origin;
        for Seat { guest, socket, .. } in &mut self.seats {
            let now = Micros(origin.elapsed().as_micros() as u64);
            while let Ok(bytes) = socket.recv(&mut datagram) {
                guest.client.handle_datagram(now, &mut datagram[..bytes]);
            }
            if guest.client.next_timeout() <= now {
                guest.client.handle_timeout(now);
            }
            while let Some(bytes) = guest.client.poll_transmit(now, &mut datagram[..TRANSMIT_BYTES_MIN]) {
                let _ = socket.send(&datagram[..bytes]);
            }
        }
        while let Some(report) = self.core().lane.try_report() {
            assert!(
                !matches!(report, Report::PeerEnded { .. } | Report::Stopped),
                "a peer or the core ended"
            );
        }
        std::thread::sleep(Duration::from_micros(200));
        self.seats[0].guest.client.statistics().keyframe_requests
    }
}

#[test]
fn fifty_joins_over_loopback_ask_for_few_keyframes() {
    let mut loopback = Loopback::new();
    loopback.join(PUBLISHER, Some(camera(VideoCodec::Vp8, Scalability::L1T3, 1)));
    let (mut requests, mut asked) = (0, Vec::new());
    let mut first_join = None;
    let mut joiners = 0;
    loop {
        let now_requests = loopback.turn();
        let now = loopback.now();
        asked.extend((requests..now_requests).map(|_| now));
        requests = now_requests;
        let publisher = &loopback.seats[0].guest.client;
        if publisher.sources().next().is_some_and(|source| source.frames > 10) {
            let since = *first_join.get_or_insert(now);
            let due = now.since_us(since) * u64::from(JOINERS) / JOINS_US;
            while joiners < JOINERS && u64::from(joiners) <= due {
                let peer = PUBLISHER + 1 + joiners;
                loopback.join(peer, None);
                loopback.subscribe(peer);
                joiners += 1;
            }
        }
        let pictures = loopback.seats.iter().filter(|seat| picture(seat).is_some()).count();
        if pictures == JOINERS as usize {
            break;
        }
        assert!(
            now < Micros(30_000_000),
            "{pictures} of {JOINERS} have a picture; publisher {:?}",
            publisher_state(&loopback)
        );
    }
    let mut waits_us: Vec<u64> =
        loopback.seats.iter().filter_map(|seat| Some(picture(seat)?.since_us(seat.joined))).collect();
    waits_us.sort_unstable();
    for (seat, peer) in loopback.seats.iter().zip(PUBLISHER..).skip(1) {
        let ssrc = dataplane::base::ids::Ssrc(stream_number(peer, PUBLISHER, MediaKind::Video));
        let reception = seat.guest.client.reception(ssrc).expect("one stream");
        assert_eq!((reception.unexplained_frames, reception.corrupt), (0, 0), "{peer}");
    }
    let most = most_requests(&asked);
    println!(
        "over loopback: {JOINERS} joins in a second, {} keyframe requests, {most} within {} ms; first picture after {} ms (p50), {} ms (p99), DTLS included",
        asked.len(),
        REQUEST_US / 1_000,
        percentile(&waits_us, 50) / 1_000,
        percentile(&waits_us, 99) / 1_000,
    );
    // Counted over their whole span: a busy machine may deliver two a little closer than they were sent.
    let span_us = asked.last().zip(asked.first()).map_or(0, |(last, first)| last.since_us(*first));
    assert!(asked.len() as u64 <= 1 + span_us / REQUEST_US, "more than one in half a second: {asked:?}");
    loopback.plane.stop();
}

fn picture(seat: &Seat) -> Option<Micros> {
    seat.guest.client.receptions().next().and_then(|(_, reception)| reception.first_decoded)
}

fn publisher_state(loopback: &Loopback) -> ClientState {
    loopback.seats[0].guest.client.state()
}
