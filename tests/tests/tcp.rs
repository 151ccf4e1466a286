//! Media over the TCP port (RFC 6544, RFC 4571): real connections, real handshakes, on every backend; and what is no media.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dataplane::base::counters::Counters;
use dataplane::base::drops::DropReason;
use dataplane::base::ids::{CoreId, PeerId, Ssrc, local_ufrag};
use dataplane::base::media::MediaKind;
use dataplane::base::time::Micros;
use dataplane::boot::{CoreEnd, Plane, PlaneConfig, start};
use dataplane::command::{Command, PeerEnd, Report};
use dataplane::engine::Rules;
use dataplane::io::IoChoice;
use dataplane::io::tcp::TcpEnd;
use dataplane::io::tcp::frame::{Reassembly, length_field};
use dataplane::io::uring;
use kernels::{HmacSha1, Suite};
use tests::world::dtls::{Host, server_ice};
use tests::world::{Camera, Guest, Microphone, Terms, commands, stream_number};
use tools::client::codec::VideoCodec;
use tools::client::codec::scalability::Scalability;
use tools::client::dtls::Identity;
use tools::client::{Feedback, TRANSMIT_BYTES_MIN};

/// Long enough for a busy machine; nothing here waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);
const MEETING: u64 = 1;

/// How a guest reaches the core.
enum Way {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, incoming: Reassembly, outgoing: Vec<u8>, reads: bool, closed: bool },
}

impl Way {
    fn udp(core: &CoreEnd) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(("127.0.0.1", core.udp_port)).expect("loopback is there");
        socket.set_nonblocking(true).expect("it can be set");
        Self::Udp(socket)
    }

    fn tcp(port: u16) -> Self {
        Self::with(connect(port))
    }

    /// A connection that the kernel buffers little of, so that not reading shows soon.
    fn narrow(port: u16) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a descriptor is free");
        socket.set_recv_buffer_size(8 * 1024).expect("it can be set");
        let server: SocketAddr = ([127, 0, 0, 1], port).into();
        socket.connect(&server.into()).expect("the port listens");
        socket.set_tcp_nodelay(true).expect("it can be set");
        Self::with(socket.into())
    }

    fn with(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).expect("it can be set");
        Self::Tcp {
            stream,
            incoming: Reassembly::default(),
            outgoing: Vec::new(),
            reads: true,
            closed: false,
        }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp { stream, .. } => stream.local_addr(),
        }
        .expect("it is bound")
    }

    fn receive(&mut self, mut sink: impl FnMut(&mut [u8])) {
        match self {
            Self::Udp(socket) => {
                let mut datagram = [0; 2_048];
                while let Ok(bytes) = socket.recv(&mut datagram) {
                    sink(&mut datagram[..bytes]);
                }
            }
            Self::Tcp { stream, incoming, reads: true, closed, .. } => loop {
                let mut buffer = [0; 32_768];
                // Small reads: frames come cut.
                let held = incoming.begin(&mut buffer);
                let room = (held + 700).min(buffer.len());
                let read = stream.read(&mut buffer[held..room]);
                *closed |= matches!(&read, Ok(0))
                    || matches!(&read, Err(error) if error.kind() != ErrorKind::WouldBlock);
                let count = *read.as_ref().unwrap_or(&0);
                let empty = incoming.take(&mut buffer[..held + count], 16_384, &mut sink);
                assert_eq!(empty, Ok(0), "the core sends whole frames");
                if count == 0 {
                    return;
                }
            },
            Self::Tcp { .. } => {}
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => _ = socket.send(bytes),
            Self::Tcp { outgoing, .. } => {
                outgoing.extend(length_field(bytes.len()).expect("a datagram"));
                outgoing.extend_from_slice(bytes);
            }
        }
    }

    /// Writes in odd pieces, so that frames arrive cut.
    fn flush(&mut self) {
        let Self::Tcp { stream, outgoing, .. } = self else { return };
        while !outgoing.is_empty() {
            let piece = outgoing.len().min(333);
            match stream.write(&outgoing[..piece]) {
                Ok(count) => _ = outgoing.drain(..count),
                Err(_) => return,
            }
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port listens");
    stream.set_nodelay(true).expect("it can be set");
    stream
}

struct Seat {
    peer: u32,
    guest: Guest,
    way: Way,
}

/// A plane with its TCP port, and guests.
struct House {
    plane: Plane,
    identity: Identity,
    seats: Vec<Seat>,
    ended: Vec<(u32, PeerEnd)>,
    origin: Instant,
}

fn backends() -> Vec<IoChoice> {
    let uring = uring::probe().is_ok().then_some(IoChoice::Uring);
    uring.into_iter().chain([IoChoice::Epoll]).collect()
}

impl House {
    fn new(io: IoChoice, cores: usize) -> Self {
        Self::with(io, cores, Rules::default())
    }

    fn with(io: IoChoice, cores: usize, rules: Rules) -> Self {
        let config = PlaneConfig {
            cpus: vec![0; cores],
            udp_port: 0,
            tcp_port: Some(0),
            io,
            suite: None,
            assist_threads: 1,
            seed: 1,
            rules,
            bind: None,
        };
        let plane = start(&config).expect("this host can start cores on its first CPU");
        let identity = Identity::generate().expect("a certificate can be made");
        Self { plane, identity, seats: Vec::new(), ended: Vec::new(), origin: Instant::now() }
    }

    fn port(&self) -> u16 {
        self.plane.tcp_port().expect("it was asked for")
    }

    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    fn core(&self, core: u8) -> &CoreEnd {
        &self.plane.cores()[usize::from(core)]
    }

    fn ended(&self, end: TcpEnd) -> u64 {
        self.plane.tcp_counts().expect("it was asked for").ended(end)
    }

    fn open(&self) -> u64 {
        self.plane.tcp_counts().expect("it was asked for").open()
    }

    fn counters(&self, core: u8) -> Counters {
        self.core(core).counters.read()
    }

    fn join(&mut self, core: u8, peer: u32, way: Way, terms: Terms) {
        let host = Host { plane: &self.plane, identity: &self.identity, meeting: MEETING };
        let guest = host.join(self.now(), core, peer, way.local(), terms);
        self.seats.push(Seat { peer, guest, way });
    }

    fn subscribe(&mut self, core: u8, receiver: u32, publisher: u32, kind: MediaKind) {
        let codec = self.seat(publisher).guest.codec();
        let seat = self.seat(receiver);
        seat.guest.receive(receiver, publisher, kind, codec);
        let terms = seat.guest.terms.clone();
        let command = commands::subscribe(receiver, publisher, kind, &terms);
        assert!(self.core(core).lane.send(command).is_ok(), "the lane has room");
    }

    fn seat(&mut self, peer: u32) -> &mut Seat {
        self.seats.iter_mut().find(|seat| seat.peer == peer).expect("it joined")
    }

    /// Whether a guest takes what its connection brings.
    fn read(&mut self, peer: u32, yes: bool) {
        if let Way::Tcp { reads, .. } = &mut self.seat(peer).way {
            *reads = yes;
        }
    }

    fn turn(&mut self) {
        let origin = self.origin;
        for Seat { guest, way, .. } in &mut self.seats {
            let now = Micros(origin.elapsed().as_micros() as u64);
            way.receive(|datagram| guest.client.handle_datagram(now, datagram));
            if guest.client.next_timeout() <= now {
                guest.client.handle_timeout(now);
            }
            let mut datagram = [0; TRANSMIT_BYTES_MIN];
            while let Some(bytes) = guest.client.poll_transmit(now, &mut datagram) {
                way.send(&datagram[..bytes]);
            }
            way.flush();
        }
        for core in self.plane.cores() {
            while let Some(report) = core.lane.try_report() {
                match report {
                    Report::Stopped => panic!("core {} stopped: {:?}", core.id.0, core.fault()),
                    Report::PeerEnded { peer, end } => self.ended.push((peer.0, end)),
                    _ => {}
                }
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }

    /// Turns until something holds.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what}: not in time, {:?}", self.plane.tcp_counts());
            self.turn();
        }
    }

    fn pictures(&mut self, receiver: u32, publisher: u32) -> u64 {
        let ssrc = Ssrc(stream_number(receiver, publisher, MediaKind::Video));
        self.seat(receiver).guest.client.reception(ssrc).map_or(0, |reception| reception.frames)
    }

    fn sounds(&mut self, receiver: u32, publisher: u32) -> u64 {
        let ssrc = Ssrc(stream_number(receiver, publisher, MediaKind::Audio));
        self.seat(receiver).guest.client.reception(ssrc).map_or(0, |reception| reception.packets)
    }
}

fn camera(bytes: usize) -> Camera {
    Camera {
        codec: VideoCodec::Vp8,
        scalability: Scalability::L1T1,
        encodings: vec![(bytes, 5 * bytes)],
        rids: false,
        interval_us: 50_000,
        ramp_us: 0,
    }
}

fn publishes(bytes: usize) -> Terms {
    Terms {
        microphone: Some(Microphone { frame_bytes: 80, level: 20 }),
        camera: Some(camera(bytes)),
        ..receives()
    }
}

fn receives() -> Terms {
    Terms { microphone: None, camera: None, red: false, audio_nack: false, feedback: Feedback::TransportWide }
}

#[test]
fn people_on_tcp_and_on_udp_meet_on_every_core_and_backend() {
    for io in backends() {
        let mut house = House::new(io, 2);
        let port = house.port();
        // The same port for both cores: the username of the first check says which.
        for (core, base) in [(0, 10), (1, 20)] {
            let udp = Way::udp(house.core(core));
            house.join(core, base + 1, Way::tcp(port), publishes(2_000));
            house.join(core, base + 2, Way::tcp(port), receives());
            house.join(core, base + 3, udp, publishes(2_000));
            for (receiver, publisher) in [(2, 1), (3, 1), (1, 3)] {
                for kind in [MediaKind::Audio, MediaKind::Video] {
                    house.subscribe(core, base + receiver, base + publisher, kind);
                }
            }
        }
        let ways = [(12, 11), (13, 11), (11, 13), (22, 21), (23, 21), (21, 23)];
        house.until("pictures and sound both ways", |house| {
            ways.iter().all(|&(to, from)| house.pictures(to, from) > 20 && house.sounds(to, from) > 20)
        });
        for (to, from) in ways {
            let ssrc = Ssrc(stream_number(to, from, MediaKind::Video));
            let reception = house.seat(to).guest.client.reception(ssrc).expect("it has pictures");
            assert_eq!((reception.unexplained_frames, reception.corrupt), (0, 0), "{to} from {from}");
        }
        assert_eq!((house.open(), house.ended.len()), (4, 0), "{io}");
        // Who goes is noticed, also by what is still sent to him.
        house.seats.retain(|seat| seat.peer != 12);
        house.until("the end of a connection", |house| house.open() == 3);
        assert_eq!(house.ended(TcpEnd::Closed) + house.ended(TcpEnd::Failed), 1, "{io}");
        house
            .until("a drop that is counted", |house| house.counters(0).dropped(DropReason::TcpQueueFull) > 0);
        let before = house.pictures(13, 11);
        house.until("the others' pictures", |house| house.pictures(13, 11) > before + 20);
        let counts = house.plane.tcp_counts().expect("it was asked for");
        house.plane.stop();
        assert_eq!(
            (counts.open(), counts.ended(TcpEnd::Forgotten)),
            (0, 3),
            "{io}: they end with their peers"
        );
    }
}

/// What the other side does with a connection before `PATIENCE` ends: whether it closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = length_field(bytes.len()).expect("short").to_vec();
    frame.extend_from_slice(bytes);
    frame
}

#[test]
fn strangers_are_refused_with_a_reason_and_hinder_nobody() {
    let mut house = House::new(IoChoice::Auto, 1);
    let port = house.port();
    let mut said = Vec::new();
    let lies: [(&[u8], TcpEnd); 6] = [
        (&[0xff, 0xff], TcpEnd::FrameTooLong),
        (&[0, 0], TcpEnd::NotStun),
        (b"GET / HTTP/1.1\r\n\r\n", TcpEnd::FrameTooLong),
        (&framed(b"\x80\x60 not a check at all"), TcpEnd::NotStun),
        (&framed(&check(CoreId(0), PeerId(1), false)), TcpEnd::NotStun),
        (&framed(&check(CoreId(7), PeerId(1), true)), TcpEnd::NotStun),
    ];
    for (bytes, end) in &lies {
        let mut stream = connect(port);
        stream.write_all(bytes).expect("it is open");
        assert!(is_closed(&mut stream), "{end:?}: {bytes:?}");
        said.push(*end);
    }
    for end in [TcpEnd::FrameTooLong, TcpEnd::NotStun] {
        let expected = said.iter().filter(|seen| **seen == end).count() as u64;
        assert_eq!(house.ended(end), expected, "{end:?}");
    }

    // These wait: half a frame, nothing at all, and a check with a guessed password. Their time is looked at below.
    let waited = Instant::now();
    let mut silent = connect(port);
    let mut half = connect(port);
    half.write_all(&[0, 100, 0, 1]).expect("it is open");
    let mut guess = connect(port);
    guess.write_all(&framed(&check(CoreId(0), PeerId(1), true))).expect("it is open");
    house.until("the guess is with the core", |house| {
        house.counters(0).dropped(DropReason::StunUnknownUser) == 1
    });

    // Somebody joins while these wait.
    house.join(0, 1, Way::tcp(port), publishes(2_000));
    house.join(0, 2, Way::tcp(port), receives());
    house.subscribe(0, 2, 1, MediaKind::Video);
    house.until("pictures", |house| house.pictures(2, 1) > 5);

    for (name, stream) in [("silent", &mut silent), ("half", &mut half), ("guess", &mut guess)] {
        // Meanwhile the meeting goes on.
        stream.set_nonblocking(true).expect("it can be set");
        house.until(name, |_| match stream.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        });
        assert!(waited.elapsed() >= Duration::from_secs(9), "{name}: after {:?}", waited.elapsed());
    }
    assert_eq!((house.ended(TcpEnd::Silent), house.ended(TcpEnd::Unproved)), (2, 1));
    assert_eq!((house.open(), house.ended.len()), (2, 0));
}

#[test]
fn a_thousand_half_open_connections_do_not_hinder_others() {
    let mut house = House::new(IoChoice::Auto, 1);
    let port = house.port();
    let crowd: Vec<TcpStream> = (0..1_000).map(|_| connect(port)).collect();
    house.until("they are all in", |house| {
        house.plane.tcp_counts().expect("it was asked for").accepted() >= 1_000
    });
    assert!(house.open() <= 512, "{} are kept waiting", house.open());
    house.join(0, 1, Way::tcp(port), publishes(2_000));
    house.join(0, 2, Way::tcp(port), receives());
    house.subscribe(0, 2, 1, MediaKind::Video);
    house.until("pictures", |house| house.pictures(2, 1) > 20);
    // None of the guests had to give way; some of the crowd did.
    assert!(house.ended(TcpEnd::PushedOut) >= 488, "{:?}", house.plane.tcp_counts());
    drop(crowd);
    house.until("the crowd is gone", |house| house.open() == 2);
}

#[test]
fn a_participant_holds_a_few_connections_and_they_end_with_it() {
    const MOST: u64 = 4;
    const TRIED: usize = 40;
    let mut house = House::new(IoChoice::Auto, 1);
    let port = house.port();
    house.join(0, 1, Way::tcp(port), publishes(2_000));
    house.join(0, 2, Way::udp(house.core(0)), receives());
    house.subscribe(0, 2, 1, MediaKind::Video);
    house.until("pictures", |house| house.pictures(2, 1) > 5);
    // It proves one more after the other, each by a good check whose answer shows that it counts.
    let password = server_ice(0, 1).pwd;
    let hmac = HmacSha1::new(Suite::scalar(), password.as_bytes());
    let ufrag = local_ufrag(CoreId(0), PeerId(1), 7);
    let good = framed(&request(&ufrag, "guest1", false, &|parts| hmac.mac(parts)));
    let mut more = Vec::new();
    for _ in 0..TRIED {
        let mut stream = connect(port);
        stream.write_all(&good).expect("it is open");
        stream.set_nonblocking(true).expect("it can be set");
        house.until("an answer", |_| stream.read(&mut [0; 256]).is_ok_and(|count| count > 20));
        more.push(stream);
    }
    house.until("the end of all but a few", |house| house.open() <= MOST);
    assert!(house.ended(TcpEnd::Forgotten) >= TRIED as u64 - MOST);
    let before = house.pictures(2, 1);
    house.until("its media goes on", |house| house.pictures(2, 1) > before + 20);
    let lane = &house.core(0).lane;
    assert!(lane.send(Command::ClosePeer { peer: PeerId(1) }).is_ok(), "the lane has room");
    house.until("the end of the last", |house| house.open() == 0);
    assert_eq!(house.ended(TcpEnd::Idle), 0, "nobody waited for it");
}

/// How soon is the simulation's to judge (`stall`); here they must come at all.
#[test]
fn pictures_come_back_after_a_stall_whatever_the_link_was_believed_to_carry() {
    let mut house = House::new(IoChoice::Auto, 1);
    let port = house.port();
    house.join(0, 1, Way::tcp(port), publishes(5_000));
    house.join(0, 2, Way::narrow(port), receives());
    for kind in [MediaKind::Audio, MediaKind::Video] {
        house.subscribe(0, 2, 1, kind);
    }
    house.until("pictures", |house| house.pictures(2, 1) > 60);
    for _ in 0..3 {
        let dropped = house.counters(0).dropped(DropReason::TcpLate);
        house.read(2, false);
        house.until("late pictures are dropped", |house| {
            house.counters(0).dropped(DropReason::TcpLate) > dropped + 5
        });
        let pictures = house.pictures(2, 1);
        house.read(2, true);
        house.until("they are back", |house| house.pictures(2, 1) > pictures + 40);
    }
    let ssrc = Ssrc(stream_number(2, 1, MediaKind::Video));
    let reception = house.seat(2).guest.client.reception(ssrc).expect("it has pictures");
    assert_eq!((reception.unexplained_frames, reception.corrupt), (0, 0));
}

/// A binding request for a peer, with a password that is nobody's; `names` leaves the username out.
fn check(core: CoreId, peer: PeerId, names: bool) -> Vec<u8> {
    let ufrag = if names { local_ufrag(core, peer, 7) } else { "stranger".to_owned() };
    request(&ufrag, "nobody", false, &|_| [0; 20])
}

fn request(ours: &str, theirs: &str, use_candidate: bool, mac: &dyn Fn(&[&[u8]]) -> [u8; 20]) -> Vec<u8> {
    use dataplane::wire::stun::{BindingRequest, Role, TransactionId, write_request};
    let request = BindingRequest {
        transaction: TransactionId([3; 12]),
        remote_ufrag: ours.as_bytes(),
        local_ufrag: theirs.as_bytes(),
        priority: 1,
        role: Role::Controlling(1),
        use_candidate,
    };
    let mut bytes = [0; 256];
    let length = write_request(&request, mac, &mut bytes).expect("it fits");
    bytes[..length].to_vec()
}

#[test]
fn who_does_not_read_loses_pictures_first_then_the_connection_and_disturbs_nobody() {
    // Most of it is waiting: side by side.
    std::thread::scope(|scope| {
        for io in backends() {
            scope.spawn(move || slow_reader(io));
        }
    });
}

fn slow_reader(io: IoChoice) {
    // What a connection drops is judged here, whatever its link is believed to carry.
    let mut house = House::with(io, 1, Rules { rate_control: false, ..Rules::default() });
    let port = house.port();
    let loud = Terms { microphone: Some(Microphone { frame_bytes: 300, level: 20 }), ..publishes(5_000) };
    house.join(0, 1, Way::tcp(port), loud);
    house.join(0, 2, Way::narrow(port), receives());
    house.join(0, 3, Way::tcp(port), receives());
    for receiver in [2, 3] {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            house.subscribe(0, receiver, 1, kind);
        }
    }
    house.until("pictures", |house| house.pictures(2, 1) > 5 && house.pictures(3, 1) > 5);
    house.read(2, false);
    house.until("late pictures are dropped", |house| house.counters(0).dropped(DropReason::TcpLate) > 5);
    let dropped = house.counters(0);
    // The voice of ten seconds fits into the queue that pictures may not fill.
    assert_eq!(dropped.dropped(DropReason::TcpQueueFull), 0, "{io}");
    // Reading again brings sound at once and a picture with the next keyframe; nothing is broken.
    let (pictures, sounds) = (house.pictures(2, 1), house.sounds(2, 1));
    house.read(2, true);
    house.until("it goes on", |house| {
        house.pictures(2, 1) > pictures + 20 && house.sounds(2, 1) > sounds + 20
    });
    let ssrc = Ssrc(stream_number(2, 1, MediaKind::Video));
    let reception = house.seat(2).guest.client.reception(ssrc).expect("it has pictures");
    assert_eq!((reception.unexplained_frames, reception.corrupt), (0, 0), "{io}");
    // Never again, and it is over; only the connection, for the peer may have another path.
    house.read(2, false);
    let others = house.pictures(3, 1);
    house.until("the stalled connection ends", |house| house.ended(TcpEnd::Stalled) == 1);
    let went_on = house.pictures(3, 1) - others;
    assert!(went_on > 20, "{io}: the others had {went_on} pictures meanwhile");
    assert_eq!((house.open(), house.ended.len()), (2, 0), "{io}");
}
