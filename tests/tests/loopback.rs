//! The I/O backends on the loopback interface of this host: real sockets, real io_uring.
//!
//! A host that forbids io_uring skips these tests and says so.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::base::counters::Stage;
use dataplane::base::net::{BuffersFull, Path};
use dataplane::boot::{BootError, Plane, PlaneConfig, start};
use dataplane::command::{Command, Report};
use dataplane::io::epoll::Epoll;
use dataplane::io::uring::{Uring, probe};
use dataplane::io::wake::event_fd;
use dataplane::io::{Backend, IoChoice, IoCounts, Turn, socket};
use dataplane::lane::Bell;

/// Long enough for a busy machine; nothing here waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend that the tests below can make.
trait Make: Backend + Sized {
    fn refusal() -> Option<std::io::Error>;
    fn make(socket: socket::UdpSocket, wake: BorrowedFd<'_>) -> std::io::Result<Self>;
}

impl Make for Uring {
    fn refusal() -> Option<std::io::Error> {
        probe().err()
    }

    fn make(socket: socket::UdpSocket, wake: BorrowedFd<'_>) -> std::io::Result<Self> {
        Self::new(socket, wake)
    }
}

impl Make for Epoll {
    fn refusal() -> Option<std::io::Error> {
        None
    }

    fn make(socket: socket::UdpSocket, wake: BorrowedFd<'_>) -> std::io::Result<Self> {
        Self::new(socket, wake)
    }
}

/// Runs each of these once per backend.
macro_rules! on_every_backend {
    ($($name:ident,)+) => {
        mod uring { $(#[test] fn $name() { if super::allowed() { super::$name::<super::Uring>(); } })+ }
        mod epoll { $(#[test] fn $name() { super::$name::<super::Epoll>(); })+ }
    };
}

on_every_backend! {
    datagrams_of_every_size_arrive_whole_and_name_both_ends,
    datagrams_of_every_size_leave_whole_and_in_order,
    a_burst_to_one_peer_leaves_as_few_sends,
    a_coalesced_burst_is_split_into_its_datagrams,
    an_answer_leaves_from_the_address_that_was_asked,
    a_socket_bound_to_one_address_answers_from_it,
    a_burst_larger_than_the_buffer_ring_is_recovered,
    another_thread_wakes_a_sleeper_again_and_again,
    a_wait_without_anything_ends_by_itself,
    what_cannot_be_sent_is_counted_and_hurts_nobody_else,
    a_full_turn_refuses_more_and_the_next_turn_takes_it,
    backends_come_and_go_without_leaving_anything,
}

fn allowed() -> bool {
    match Uring::refusal() {
        None => true,
        Some(error) => {
            eprintln!("SKIPPED: this host does not let us use io_uring ({error})");
            false
        }
    }
}

struct Bench<B> {
    backend: B,
    port: u16,
    bell: Arc<Bell>,
    counts: IoCounts,
}

impl<B: Make> Bench<B> {
    fn new() -> Self {
        Self::on(None)
    }

    fn on(address: Option<IpAddr>) -> Self {
        let socket = socket::UdpSocket::bind(address, 0).expect("a port is free");
        let port = socket.port();
        let bell = Arc::new(Bell::new(event_fd(true).expect("a descriptor is free")));
        let backend = B::make(socket, bell.as_fd()).expect("the host allows it");
        Self { backend, port, bell, counts: IoCounts::default() }
    }

    fn address(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().expect("an address"), self.port)
    }

    fn turn(&mut self, wait_us: u64) -> Turn {
        let turn = self.backend.turn(wait_us).expect("the ring works");
        let counts = self.backend.take_counts();
        self.counts.sends += counts.sends;
        self.counts.datagrams_sent += counts.datagrams_sent;
        self.counts.send_failed += counts.send_failed;
        self.counts.too_big += counts.too_big;
        self.counts.kernel_overflow += counts.kernel_overflow;
        self.counts.malformed += counts.malformed;
        turn
    }

    /// Turns until `count` datagrams came or patience ends.
    fn collect(&mut self, count: usize) -> Vec<(Path, Vec<u8>)> {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while seen.len() < count && Instant::now() < end {
            self.turn(20_000);
            self.backend.receive(|path, bytes| seen.push((path, bytes.to_vec())));
        }
        seen
    }

    fn send(&mut self, path: &Path, bytes: &[u8]) {
        let taken = self.backend.send(path, bytes.len(), |buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        assert_eq!(taken, Ok(()));
    }
}

fn peer(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a port is free");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    socket
}

fn datagram(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (number + index * 7) as u8).collect()
}

fn datagrams_of_every_size_arrive_whole_and_name_both_ends<B: Make>() {
    let mut bench = Bench::<B>::new();
    let to = bench.address("127.0.0.1");
    let peer = peer("127.0.0.1");
    let from = peer.local_addr().expect("it is bound");
    for bytes in (0..=1452).step_by(23).chain([1452, 9_000, 65_507]) {
        let sent = datagram(bytes, bytes);
        peer.send_to(&sent, to).expect("loopback takes it");
        let seen = bench.collect(1);
        assert_eq!(seen.len(), 1, "{bytes} bytes");
        assert_eq!(seen[0].0, Path { local: to, remote: from }, "v4 on both ends, not v4-mapped");
        assert_eq!(seen[0].1, sent);
    }
    assert_eq!(bench.counts.malformed, 0);
}

fn datagrams_of_every_size_leave_whole_and_in_order<B: Make>() {
    let mut bench = Bench::<B>::new();
    let peer = peer("127.0.0.1");
    let path = Path { local: bench.address("127.0.0.1"), remote: peer.local_addr().expect("it is bound") };
    let mut buffer = [0; 2048];
    for bytes in (1..=1452).step_by(19).chain([1452]) {
        let sent = datagram(bytes, bytes);
        bench.send(&path, &sent);
        assert_eq!(bench.turn(0), Turn::Sent);
        let (got, from) = peer.recv_from(&mut buffer).expect("it arrives");
        assert_eq!((&buffer[..got], from), (&sent[..], path.local));
    }
    assert_eq!(bench.counts.send_failed, 0);
}

fn a_burst_to_one_peer_leaves_as_few_sends<B: Make>() {
    let mut bench = Bench::<B>::new();
    let peers = [peer("127.0.0.1"), peer("127.0.0.1")];
    let local = bench.address("127.0.0.1");
    for peer in &peers {
        let path = Path { local, remote: peer.local_addr().expect("it is bound") };
        for number in 0..20 {
            // The last one is shorter: it still belongs to the run.
            bench.send(&path, &datagram(number, if number == 19 { 400 } else { 1200 }));
        }
    }
    bench.turn(0);
    assert_eq!((bench.counts.datagrams_sent, bench.counts.sends), (40, 2));
    let mut buffer = [0; 2048];
    for peer in &peers {
        for number in 0..20 {
            let (got, _) = peer.recv_from(&mut buffer).expect("it arrives");
            assert_eq!(&buffer[..got], datagram(number, if number == 19 { 400 } else { 1200 }));
        }
    }
}

fn a_coalesced_burst_is_split_into_its_datagrams<B: Make>() {
    // Two backends: what one sends by GSO the other receives by GRO.
    let (mut left, mut right) = (Bench::<B>::new(), Bench::<B>::new());
    let path = Path { local: left.address("127.0.0.1"), remote: right.address("127.0.0.1") };
    for number in 0..50 {
        left.send(&path, &datagram(number, 1000));
    }
    left.turn(0);
    let seen = right.collect(50);
    assert_eq!(seen.len(), 50);
    for (number, (_, bytes)) in seen.iter().enumerate() {
        assert_eq!(bytes, &datagram(number, 1000));
    }
    assert_eq!(left.counts.sends, 1);
}

fn an_answer_leaves_from_the_address_that_was_asked<B: Make>() {
    let mut bench = Bench::<B>::new();
    let mut asked = vec!["127.0.0.1", "127.0.0.2", "127.9.8.7"];
    if UdpSocket::bind("[::1]:0").is_ok() {
        asked.push("::1");
    }
    for ip in asked {
        let peer = peer(if ip.contains(':') { "::1" } else { "127.0.0.1" });
        peer.send_to(b"question", bench.address(ip)).expect("loopback takes it");
        let seen = bench.collect(1);
        assert_eq!(seen[0].0.local, bench.address(ip));
        bench.send(&seen[0].0, b"answer");
        bench.turn(0);
        let mut buffer = [0; 64];
        let (got, from) = peer.recv_from(&mut buffer).expect("it arrives");
        assert_eq!((&buffer[..got], from), (&b"answer"[..], bench.address(ip)));
    }
}

fn a_socket_bound_to_one_address_answers_from_it<B: Make>() {
    let mut bench = Bench::<B>::on(Some("127.0.0.3".parse().expect("an address")));
    let peer = peer("127.0.0.1");
    peer.send_to(b"question", bench.address("127.0.0.3")).expect("loopback takes it");
    let seen = bench.collect(1);
    bench.send(&seen[0].0, b"answer");
    bench.turn(0);
    let mut buffer = [0; 64];
    assert_eq!(peer.recv_from(&mut buffer).expect("it arrives").1, bench.address("127.0.0.3"));
}

fn a_burst_larger_than_the_buffer_ring_is_recovered<B: Make>() {
    let mut bench = Bench::<B>::new();
    let to = bench.address("127.0.0.1");
    // Several peers, so that GRO cannot join what they send.
    let peers: Vec<_> = (0..8).map(|_| peer("127.0.0.1")).collect();
    const COUNT: usize = 1_000;
    for round in 0..3 {
        for number in 0..COUNT {
            let bytes = (round * COUNT + number).to_le_bytes();
            peers[number % peers.len()].send_to(&bytes, to).expect("loopback takes it");
        }
        let seen = bench.collect(COUNT);
        let numbers: HashSet<Vec<u8>> = seen.into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(numbers.len(), COUNT, "round {round}: 1,000 datagrams through 256 buffers");
    }
}

fn another_thread_wakes_a_sleeper_again_and_again<B: Make>() {
    let mut bench = Bench::<B>::new();
    for _ in 0..5 {
        let started = Instant::now();
        bench.bell.arm();
        let bell = bench.bell.clone();
        let ringer = std::thread::spawn(move || bell.ring());
        // The sleep is a minute long: only the ring can end it in time.
        assert_eq!(bench.turn(60_000_000), Turn::Waited);
        assert!(started.elapsed() < Duration::from_secs(30), "the ring ended the sleep");
        ringer.join().expect("it only rings");
        // A bell that is not armed wakes nobody.
        bench.bell.ring();
        let started = Instant::now();
        assert_eq!(bench.turn(20_000), Turn::Waited);
        assert!(started.elapsed() >= Duration::from_millis(19));
    }
}

fn a_wait_without_anything_ends_by_itself<B: Make>() {
    let mut bench = Bench::<B>::new();
    let started = Instant::now();
    assert_eq!(bench.turn(50_000), Turn::Waited);
    assert!(started.elapsed() >= Duration::from_millis(49));
    assert_eq!(bench.turn(0), Turn::Polled);
}

fn what_cannot_be_sent_is_counted_and_hurts_nobody_else<B: Make>() {
    let mut bench = Bench::<B>::new();
    let peer = peer("127.0.0.1");
    let good = Path { local: bench.address("127.0.0.1"), remote: peer.local_addr().expect("it is bound") };
    // Not an address of this host, and a port nobody can have.
    let foreign = Path { local: bench.address("192.0.2.1"), ..good };
    let nowhere = Path { remote: "127.0.0.1:0".parse().expect("an address"), ..good };
    for path in [foreign, nowhere] {
        for _ in 0..4 {
            bench.send(&path, &[1; 500]);
        }
    }
    bench.send(&good, b"still here");
    bench.send(&good, b"still here");
    bench.turn(0);
    assert_eq!(bench.counts.send_failed, 8);
    let mut buffer = [0; 64];
    for _ in 0..2 {
        let (got, _) = peer.recv_from(&mut buffer).expect("it arrives");
        assert_eq!(&buffer[..got], b"still here");
    }
    // GSO was not blamed for addresses.
    let before = bench.counts.sends;
    for _ in 0..10 {
        bench.send(&good, &[2; 100]);
    }
    bench.turn(0);
    assert_eq!(bench.counts.sends - before, 1);
}

fn a_full_turn_refuses_more_and_the_next_turn_takes_it<B: Make>() {
    let mut bench = Bench::<B>::new();
    let peer = peer("127.0.0.1");
    let path = Path { local: bench.address("127.0.0.1"), remote: peer.local_addr().expect("it is bound") };
    let mut taken = 0_u64;
    // Two sizes in turn, so that nothing joins.
    while bench.backend.send(&path, 40, |_| 20 + taken as usize % 2 * 20).is_ok() {
        taken += 1;
    }
    assert_eq!(bench.backend.send(&path, 40, |_| unreachable!("nothing is lent")), Err(BuffersFull));
    bench.turn(0);
    assert_eq!(bench.counts.datagrams_sent, taken);
    bench.send(&path, b"again");
}

fn backends_come_and_go_without_leaving_anything<B: Make>() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
    drop(Bench::<B>::new());
    let before = descriptors();
    for _ in 0..20 {
        let mut bench = Bench::<B>::new();
        let to = bench.address("127.0.0.1");
        peer("127.0.0.1").send_to(b"left unread", to).expect("loopback takes it");
        bench.turn(1_000);
    }
    // Other tests of this process open and close descriptors at the same time.
    assert!(descriptors() < before + 60, "{before} descriptors before, {} after", descriptors());
}

/// A plane on the CPUs this process may use, as many as asked for (a CPU may carry two workers in a test).
fn plane(cores: usize, io: IoChoice) -> Plane {
    start(&PlaneConfig { io, ..plane_config(cores) }).expect("the probe allowed it")
}

/// The backends of this host.
fn backends() -> Vec<IoChoice> {
    let uring = allowed().then_some(IoChoice::Uring);
    uring.into_iter().chain([IoChoice::Epoll]).collect()
}

fn plane_config(cores: usize) -> PlaneConfig {
    PlaneConfig {
        cpus: allowed_cpus().into_iter().cycle().take(cores).collect(),
        udp_port: 0,
        tcp_port: None,
        io: IoChoice::Auto,
        suite: None,
        assist_threads: 2,
        seed: 1,
        rules: Default::default(),
        bind: None,
    }
}

fn allowed_cpus() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("Linux says it");
    list.trim()
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<usize>().expect("a number");
            number(first)..=number(last)
        })
        .collect()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is there");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

#[test]
fn a_plane_has_a_port_and_a_named_thread_per_core_and_stops_when_told() {
    for io in backends() {
        let plane = plane(2, io);
        assert_eq!((plane.io_name(), plane.io_refused(), plane.io_trial()), (io.name(), None, None));
        assert!(!plane.suite_name().is_empty());
        let ports: HashSet<u16> = plane.cores().iter().map(|core| core.udp_port).collect();
        assert_eq!(ports.len(), 2);
        // A thread takes its name itself, as the first thing it does.
        for name in ["kaigi-core-0", "kaigi-core-1", "kaigi-assist-0", "kaigi-assist-1"] {
            until(name, || thread_names().iter().any(|seen| seen == name));
        }
        // One core alone can be told, and says so.
        let core = &plane.cores()[1];
        assert!(core.lane.send(Command::Shutdown).is_ok());
        let mut reports = Vec::new();
        until("the report", || {
            reports.extend(core.lane.try_report());
            !reports.is_empty()
        });
        assert!(matches!(reports[..], [Report::Stopped]));
        assert_eq!(core.fault(), None, "it was told to");
        plane.stop();
    }
}

#[test]
fn every_datagram_reaches_the_core_of_its_port_and_junk_harms_nobody() {
    for io in backends() {
        let plane = plane(2, io);
        let peer = peer("127.0.0.1");
        peer.set_nonblocking(true).expect("it can be set");
        let mut sent = [0_u64; 2];
        let mut sent_bytes = 0;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        // One first byte of each class of RFC 7983 (STUN, ZRTP, DTLS, TURN, RTP and RTCP) and some of none.
        for first in [0_u8, 1, 16, 20, 22, 63, 64, 100, 128, 144, 191, 192, 255] {
            for length in (0..200).chain([500, 1200, 1452, 9_000]) {
                let mut bytes: Vec<u8> = (0..length)
                    .map(|_| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random as u8
                    })
                    .collect();
                if let Some(byte) = bytes.first_mut() {
                    *byte = first;
                }
                let core = length % 2;
                let to = SocketAddr::from(([127, 0, 0, 1], plane.cores()[core].udp_port));
                peer.send_to(&bytes, to).expect("loopback takes it");
                sent[core] += 1;
                sent_bytes += length;
                if sent[core] % 100 == 0 {
                    until("the core keeps up", || {
                        plane.cores()[core].counters.read().packets_received >= sent[core] - 100
                    });
                }
            }
        }
        for (core, sent) in plane.cores().iter().zip(sent) {
            until("all datagrams", || core.counters.read().packets_received == sent);
            assert_eq!(core.fault(), None);
            assert!(core.lane.try_report().is_none(), "junk is no news");
        }
        let mut answered = 0;
        let mut buffer = [0; 2048];
        while let Ok((bytes, _)) = peer.recv_from(&mut buffer) {
            answered += bytes;
        }
        assert!(answered <= sent_bytes, "junk is never amplified");
    }
}

#[test]
fn an_idle_core_sleeps() {
    for io in backends() {
        let plane = plane(1, io);
        until("idle cycles", || {
            let cycles = plane.cores()[0].counters.read().cycles;
            let idle = cycles[Stage::Idle as usize];
            idle > 0 && idle > 9 * (cycles.iter().sum::<u64>() - idle)
        });
    }
}

#[test]
fn reports_wake_a_control_plane_that_sleeps_on_the_descriptor() {
    for io in backends() {
        let plane = plane(1, io);
        let core = &plane.cores()[0];
        assert!(core.lane.try_report().is_none());
        assert!(core.lane.send(Command::Shutdown).is_ok());
        let mut poll =
            libc::pollfd { fd: core.lane.reports_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd of this frame, and the descriptor is borrowed from the plane above.
        let ready = unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as i32) };
        assert_eq!(ready, 1);
        core.lane.reports_clear();
        assert!(matches!(core.lane.try_report(), Some(Report::Stopped)));
    }
}

#[test]
fn auto_takes_what_is_cheaper_of_what_the_host_allows() {
    let plane = plane(1, IoChoice::Auto);
    if backends()[0] == IoChoice::Epoll {
        assert_eq!(plane.io_name(), "epoll");
        assert!(plane.io_refused().is_some() && plane.io_trial().is_none(), "a second choice is explained");
        return;
    }
    assert_eq!(plane.io_refused(), None);
    // A machine that is too busy to tell keeps the first choice.
    let Some(trial) = plane.io_trial() else { return assert_eq!(plane.io_name(), "uring") };
    println!("{}: {trial}", plane.io_name());
    let figures: Vec<f64> = trial.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [epoll, uring] = figures[..] else { panic!("{trial}") };
    // The words are rounded.
    assert!(plane.io_name() == "epoll" || epoll > uring * 0.97, "{trial}");
    assert!(plane.io_name() == "uring" || epoll < uring * 0.99, "{trial}");
}

#[test]
fn a_port_in_use_is_an_operators_error_with_a_remedy() {
    let taken = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let error = start(&PlaneConfig { udp_port: port, ..plane_config(1) }).err().expect("the port is taken");
    assert!(matches!(error, BootError::PortInUse(_)));
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("--udp-port"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_cpu_that_is_not_there_is_an_operators_error_and_leaves_no_thread() {
    for cpu in [1_000, 100_000] {
        let mut config = plane_config(2);
        config.cpus[1] = cpu;
        let error = start(&config).err().expect("there is no such CPU");
        assert!(matches!(error, BootError::Pin { cpu: named, .. } if named == cpu), "{error}");
        assert!(error.to_string().contains("--cores"), "{error}");
    }
}
