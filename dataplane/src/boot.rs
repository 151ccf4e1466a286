//! Boot: pins one worker per core, gives it socket, ring and lanes, starts the assist threads, and stops them all again.
//!
//! Place: the top of the dataplane; the control plane calls [`start`] once. Everything that can fail for an operator's reason
//! fails here, with a remedy. Threads: `kaigi-core-N`, pinned, one per CPU named; `kaigi-assist-N`, not pinned.
//! Promises: nothing stays behind when starting fails; a worker that ends by itself says why ([`CoreEnd::fault`]) and that
//! (`Report::Stopped`).
#![expect(
    unsafe_code,
    reason = "pinning a thread to a CPU is a system call that the standard library does not have"
)]

use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kernels::Suite;

use crate::assist::{self, Identity, Stop};
use crate::base::counters::SharedCounters;
use crate::base::handoff::Fingerprint;
use crate::base::ids::CoreId;
use crate::command::Command;
use crate::engine::{Engine, EngineConfig, Rules, core_of_check};
use crate::io::epoll::Epoll;
use crate::io::socket::UdpSocket;
use crate::io::tcp::{Door, DoorStop, Handovers, TcpCounts, WithTcp};
use crate::io::uring::{self, Uring};
use crate::io::wake::event_fd;
use crate::io::{Backend, IoChoice};
use crate::lane::{self, AssistEnd, AssistLanes, Bell, ControlEnd, ThreadBell};
use crate::worker::{Clock, Links, Worker};

/// How the packet plane is laid out on this machine.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// The kernel's numbers of the CPUs to pin a worker to; the index here is the [`CoreId`].
    pub cpus: Vec<usize>,
    /// First of a contiguous range of UDP ports, one per core; 0 lets the kernel choose each (tests).
    pub udp_port: u16,
    /// The one TCP port for networks that block UDP; 0 lets the kernel choose (tests), `None` serves none.
    pub tcp_port: Option<u16>,
    /// The I/O backend.
    pub io: IoChoice,
    /// Forces a crypto suite by name; `None` takes the best this CPU has.
    pub suite: Option<String>,
    /// Threads for handshakes and data channels, at least one.
    pub assist_threads: usize,
    /// Seed of everything random that is no secret; from the operating system outside of tests.
    pub seed: u64,
    /// What the operator decided about all meetings.
    pub rules: Rules,
    /// Address to listen on; `None` is every address of both families.
    pub bind: Option<IpAddr>,
}

/// Why the packet plane cannot start, in an operator's words, with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The port is taken.
    #[error("UDP port {} is in use: stop the program that has it (ss -ulpn shows it) or choose other ports with --udp-port", .0.port())]
    PortInUse(SocketAddr),
    /// A port below 1024 without the capability.
    #[error("UDP port {} needs a privilege: choose a port above 1023 with --udp-port or grant CAP_NET_BIND_SERVICE", .0.port())]
    PortForbidden(SocketAddr),
    /// The TCP port is taken.
    #[error("TCP port {} is in use: stop the program that has it (ss -tlpn shows it) or choose another with --tcp-port", .0.port())]
    TcpPortInUse(SocketAddr),
    /// A TCP port below 1024 without the capability.
    #[error("TCP port {} needs a privilege: choose a port above 1023 with --tcp-port or grant CAP_NET_BIND_SERVICE", .0.port())]
    TcpPortForbidden(SocketAddr),
    /// The TCP port cannot be listened on.
    #[error("cannot listen on TCP {address}: {source}")]
    TcpSocket {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// One port per core does not fit below 65536.
    #[error(
        "{cores} cores need {cores} UDP ports from {first} on, and ports end at 65535: choose a lower --udp-port"
    )]
    PortRange {
        /// First port.
        first: u16,
        /// How many are needed.
        cores: usize,
    },
    /// The socket cannot be made.
    #[error("cannot open the UDP socket on {address}: {source}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// io_uring is forbidden or too old.
    #[error(
        "io_uring is not usable here ({source}): set the sysctl kernel.io_uring_disabled to 0, allow io_uring in the container's \
         seccomp profile, use Linux 6.1 or newer, or start with --io epoll"
    )]
    UringRefused {
        /// The system's answer.
        source: io::Error,
    },
    /// The backend does not exist yet.
    #[error("--io {0} is not built yet: use --io uring or --io epoll")]
    NotBuilt(IoChoice),
    /// No CPU named.
    #[error("no CPU to run on: name at least one with --cores")]
    NoCpus,
    /// More CPUs than there are core numbers.
    #[error("{0} CPUs named, at most 256 can be used: name fewer with --cores")]
    TooManyCpus(usize),
    /// The CPU is not ours to use.
    #[error(
        "cannot pin a worker to CPU {cpu} ({source}): name CPUs with --cores that taskset -p or the container's cpuset allows"
    )]
    Pin {
        /// The kernel's number.
        cpu: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// The crypto suite is unknown or needs a CPU this is not.
    #[error("crypto suite {0} is not available on this CPU: leave the choice open")]
    Suite(String),
    /// A thread, descriptor or certificate cannot be made.
    #[error("cannot make {what}: {source}")]
    Resource {
        /// What.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// One core as the control plane sees it. Any thread may use it.
pub struct CoreEnd {
    /// Its index.
    pub id: CoreId,
    /// The kernel's CPU number.
    pub cpu: usize,
    /// The UDP port its peers are told.
    pub udp_port: u16,
    /// Commands in, reports out.
    pub lane: ControlEnd,
    /// Its counters, published every 100 ms.
    pub counters: Arc<SharedCounters>,
    fault: Arc<OnceLock<String>>,
}

impl CoreEnd {
    /// Why the worker ended, if it ended by itself. Set before [`crate::command::Report::Stopped`] is seen.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }
}

/// The running packet plane. Dropping it stops it.
pub struct Plane {
    cores: Vec<CoreEnd>,
    workers: Vec<JoinHandle<()>>,
    assists: Assists,
    tcp: Option<Tcp>,
    fingerprint: Fingerprint,
    io: IoChoice,
    io_note: Option<String>,
    suite_name: &'static str,
}

impl Plane {
    /// Its cores, in the order of `cpus`.
    #[must_use]
    pub fn cores(&self) -> &[CoreEnd] {
        &self.cores
    }

    /// SHA-256 of this boot's DTLS certificate, for `a=fingerprint`.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The TCP port peers are told, if one is served.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp.as_ref().map(|tcp| tcp.port)
    }

    /// What became of TCP connections.
    #[must_use]
    pub fn tcp_counts(&self) -> Option<Arc<TcpCounts>> {
        self.tcp.as_ref().map(|tcp| tcp.counts.clone())
    }

    /// The I/O backend in use: what `auto` chose.
    #[must_use]
    pub const fn io_name(&self) -> &'static str {
        self.io.name()
    }

    /// Why `auto` did not choose io_uring, with the remedy; for one line of the log.
    #[must_use]
    pub fn io_note(&self) -> Option<&str> {
        self.io_note.as_deref()
    }

    /// The crypto suite in use.
    #[must_use]
    pub const fn suite_name(&self) -> &'static str {
        self.suite_name
    }

    /// Closes every peer, stops every thread and waits for them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(tcp) = &mut self.tcp {
            tcp.stop();
        }
        for core in &self.cores {
            let mut command = Command::Shutdown;
            // A full lane is emptied by its worker, and one that has stopped needs no command.
            while let Err(refused) = core.lane.send(command) {
                if core.lane.is_stopped() {
                    break;
                }
                command = refused;
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        for worker in self.workers.drain(..) {
            // Its panics are caught and told as a fault.
            let _ = worker.join();
        }
        self.assists.stop();
    }
}

/// The TCP port and the thread behind it.
struct Tcp {
    port: u16,
    counts: Arc<TcpCounts>,
    stop: DoorStop,
    thread: Option<JoinHandle<()>>,
}

impl Tcp {
    fn start(door: Door, cores: Vec<Arc<Handovers>>, counts: Arc<TcpCounts>) -> Result<Self, BootError> {
        let stop =
            door.stop().map_err(|source| BootError::Resource { what: "a wake-up descriptor", source })?;
        let port = door.port();
        let thread = spawn("kaigi-tcp".into(), {
            let (stop, counts) = (stop.clone(), counts.clone());
            move || door.run(&stop, core_of_check, &cores, &counts)
        })?;
        Ok(Self { port, counts, stop, thread: Some(thread) })
    }

    fn stop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // Whatever ended it, it has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The assist threads.
struct Assists {
    stop: Stop,
    threads: Vec<(Arc<ThreadBell>, JoinHandle<()>)>,
}

impl Assists {
    fn stop(&mut self) {
        self.stop.set();
        for (bell, _) in &self.threads {
            bell.ring();
        }
        for (_, thread) in self.threads.drain(..) {
            // Whatever ended it, it has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Assists {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the packet plane.
///
/// # Errors
/// See [`BootError`]. Nothing stays behind.
pub fn start(config: &PlaneConfig) -> Result<Plane, BootError> {
    check_cores(config)?;
    let suite = match &config.suite {
        None => Suite::detect(),
        Some(name) => Suite::by_name(name).ok_or_else(|| BootError::Suite(name.clone()))?,
    };
    let (io, io_note) = choose_io(config.io)?;
    let identity = Identity::generate().map_err(|error| BootError::Resource {
        what: "a DTLS certificate",
        source: io::Error::other(error),
    })?;
    let sockets = bind_all(config)?;
    let door = config.tcp_port.map(|port| bind_tcp(config.bind, port)).transpose()?;
    let tcp_counts = Arc::<TcpCounts>::default();
    let mut handovers = Vec::new();
    raise_descriptors();

    let thread_bells: Vec<Arc<ThreadBell>> =
        (0..config.assist_threads.max(1)).map(|_| Arc::default()).collect();
    let mut assist_ends: Vec<Vec<AssistEnd>> = thread_bells.iter().map(|_| Vec::new()).collect();
    let clock = Clock::start();
    let mut cores = Vec::new();
    let mut plans = Vec::new();
    for (index, (&cpu, socket)) in config.cpus.iter().zip(sockets).enumerate() {
        let bell = new_bell(true)?;
        let (control_end, lane) = lane::control(bell.clone(), new_bell(false)?);
        let mut assists = Vec::new();
        for (thread_bell, ends) in thread_bells.iter().zip(&mut assist_ends) {
            let (core_end, assist_end) = lane::assist(bell.clone(), thread_bell.clone());
            assists.push(core_end);
            ends.push(assist_end);
        }
        let id = CoreId(index as u8);
        let tcp = door.is_some().then(|| {
            let ring = bell.clone();
            let lane = Arc::new(Handovers::new(Box::new(move || ring.ring())));
            handovers.push(lane.clone());
            (lane, tcp_counts.clone())
        });
        let core = CoreEnd {
            id,
            cpu,
            udp_port: socket.port(),
            lane: control_end,
            counters: Arc::default(),
            fault: Arc::default(),
        };
        plans.push(Plan {
            cpu,
            socket,
            tcp,
            links: Links {
                lane,
                assists: AssistLanes::new(assists),
                bell,
                counters: core.counters.clone(),
                clock,
            },
            // Cores must not draw the same numbers: each seed is far from the others on the generator's circle.
            engine: EngineConfig {
                core: id,
                suite,
                seed: config.seed ^ (index as u64) << 56,
                rules: config.rules,
            },
            fault: core.fault.clone(),
            io,
        });
        cores.push(core);
    }

    let mut assists = Assists { stop: Stop::default(), threads: Vec::new() };
    for (index, (bell, ends)) in thread_bells.into_iter().zip(assist_ends).enumerate() {
        let (identity, stop, own_bell) = (identity.clone(), assists.stop.clone(), bell.clone());
        let thread = spawn(format!("kaigi-assist-{index}"), move || {
            assist::run(&identity, ends, &own_bell, &stop);
        })?;
        assists.threads.push((bell, thread));
    }
    let fingerprint = identity.fingerprint();
    let mut plane = Plane {
        cores,
        workers: Vec::new(),
        assists,
        tcp: None,
        fingerprint,
        io,
        io_note,
        suite_name: suite.name(),
    };
    let (ready, started) = mpsc::channel();
    let count = plans.len();
    for (index, plan) in plans.into_iter().enumerate() {
        let ready = ready.clone();
        plane.workers.push(spawn(format!("kaigi-core-{index}"), move || plan.run(&ready))?);
    }
    drop(ready);
    for _ in 0..count {
        // A worker that dies before it answers closes its end.
        started.recv().unwrap_or_else(|_| {
            Err(BootError::Resource { what: "a worker", source: io::Error::other("it ended while starting") })
        })?;
    }
    plane.tcp = door.map(|door| Tcp::start(door, handovers, tcp_counts)).transpose()?;
    Ok(plane)
}

fn check_cores(config: &PlaneConfig) -> Result<(), BootError> {
    let cores = config.cpus.len();
    if cores == 0 {
        return Err(BootError::NoCpus);
    }
    if cores > usize::from(u8::MAX) + 1 {
        return Err(BootError::TooManyCpus(cores));
    }
    if config.udp_port != 0 && usize::from(config.udp_port) + cores - 1 > usize::from(u16::MAX) {
        return Err(BootError::PortRange { first: config.udp_port, cores });
    }
    Ok(())
}

/// The backend, and why `auto` did not take the first.
fn choose_io(choice: IoChoice) -> Result<(IoChoice, Option<String>), BootError> {
    match choice {
        IoChoice::Uring => {
            uring::probe().map_err(|source| BootError::UringRefused { source })?;
            Ok((choice, None))
        }
        IoChoice::Auto => Ok(match uring::probe() {
            Ok(()) => (IoChoice::Uring, None),
            Err(source) => (IoChoice::Epoll, Some(BootError::UringRefused { source }.to_string())),
        }),
        IoChoice::Epoll => Ok((choice, None)),
        IoChoice::Xdp => Err(BootError::NotBuilt(choice)),
    }
}

fn bind_all(config: &PlaneConfig) -> Result<Vec<UdpSocket>, BootError> {
    let ports = (0..config.cpus.len()).map(|index| match config.udp_port {
        0 => 0,
        first => first + index as u16,
    });
    ports
        .map(|port| {
            UdpSocket::bind(config.bind, port).map_err(|source| {
                let ip = config.bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
                let address = SocketAddr::new(ip, port);
                match source.kind() {
                    io::ErrorKind::AddrInUse => BootError::PortInUse(address),
                    io::ErrorKind::PermissionDenied => BootError::PortForbidden(address),
                    _ => BootError::Socket { address, source },
                }
            })
        })
        .collect()
}

fn bind_tcp(bind: Option<IpAddr>, port: u16) -> Result<Door, BootError> {
    Door::bind(bind, port).map_err(|source| {
        let address = SocketAddr::new(bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), port);
        match source.kind() {
            io::ErrorKind::AddrInUse => BootError::TcpPortInUse(address),
            io::ErrorKind::PermissionDenied => BootError::TcpPortForbidden(address),
            _ => BootError::TcpSocket { address, source },
        }
    })
}

fn new_bell(blocking: bool) -> Result<Arc<Bell>, BootError> {
    let fd =
        event_fd(blocking).map_err(|source| BootError::Resource { what: "a wake-up descriptor", source })?;
    Ok(Arc::new(Bell::new(fd)))
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BootError> {
    thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|source| BootError::Resource { what: "a thread", source })
}

/// Where a worker says whether it could begin.
type Ready = mpsc::Sender<Result<(), BootError>>;

/// Everything a worker's thread needs to begin.
struct Plan {
    cpu: usize,
    socket: UdpSocket,
    tcp: Option<(Arc<Handovers>, Arc<TcpCounts>)>,
    links: Links,
    engine: EngineConfig,
    fault: Arc<OnceLock<String>>,
    io: IoChoice,
}

impl Plan {
    /// The whole life of a worker's thread. Nothing that ends it stays untold.
    fn run(self, ready: &Ready) {
        let bell = self.links.bell.clone();
        let wake = bell.as_fd();
        if let Err(source) = pin(self.cpu) {
            // Nobody listens only when another worker has failed first.
            let _ = ready.send(Err(BootError::Pin { cpu: self.cpu, source }));
            return;
        }
        match self.io {
            IoChoice::Epoll => {
                let refused = |source| BootError::Resource { what: "an epoll", source };
                self.run_on(ready, |socket| Epoll::new(socket, wake).map_err(refused));
            }
            _ => {
                let refused = |source| BootError::UringRefused { source };
                self.run_on(ready, |socket| Uring::new(socket, wake).map_err(refused));
            }
        }
    }

    fn run_on<B: Backend>(self, ready: &Ready, open: impl FnOnce(UdpSocket) -> Result<B, BootError>) {
        let seed = self.engine.seed;
        let opened = open(self.socket).and_then(|udp| match self.tcp {
            Some((handovers, counts)) => WithTcp::new(udp, handovers, counts, seed)
                .map_err(|source| BootError::Resource { what: "a poll for TCP connections", source }),
            None => Ok(WithTcp::without(udp)),
        });
        let backend = match opened {
            Ok(backend) => backend,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let mut worker = Worker::new(Engine::new(self.engine), backend, self.links);
        let _ = ready.send(Ok(()));
        // A panic must not become a silent dead core. The worker is not used after one, only dropped.
        let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
        let told = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("the worker panicked: {}", panic_text(&*panic))),
        };
        if let Some(text) = told {
            let _ = self.fault.set(text);
        }
        // Only now the lane says that the core has stopped.
        drop(worker);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Ties the calling thread to one CPU and lets its timers be exact.
fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a set of CPUs is plain bits, and zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below CPU_SETSIZE, checked above, so it lies inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer and size are those of a live set; the kernel only reads it. Thread 0 is the caller.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this option takes a number and no pointer. By default the kernel may be 50 us late; a pacer wants 1 us.
    // Where it is refused, timers are only less exact.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
    Ok(())
}

/// A TCP connection takes a descriptor, and the usual soft limit of 1,024 is meant for programs that call select. Where it cannot be
/// raised, connections beyond it are refused one by one.
fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a live, initialised structure, which the kernel fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 && limit.rlim_cur < limit.rlim_max
    {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is that of a live, initialised structure, which the kernel only reads.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PlaneConfig {
        PlaneConfig {
            cpus: vec![0],
            udp_port: 0,
            tcp_port: None,
            io: IoChoice::Auto,
            suite: None,
            assist_threads: 1,
            seed: 1,
            rules: Rules::default(),
            bind: None,
        }
    }

    fn refusal(config: &PlaneConfig) -> String {
        start(config).err().map(|error| error.to_string()).expect("it must not start")
    }

    #[test]
    fn what_an_operator_got_wrong_is_refused_with_a_remedy() {
        assert!(refusal(&PlaneConfig { cpus: vec![], ..config() }).contains("--cores"));
        assert!(refusal(&PlaneConfig { cpus: vec![0; 300], ..config() }).contains("at most 256"));
        let ports = PlaneConfig { cpus: vec![0, 0], udp_port: 65_535, ..config() };
        assert!(refusal(&ports).contains("lower --udp-port"));
        let suite = PlaneConfig { suite: Some("rot13".into()), ..config() };
        assert!(refusal(&suite).contains("rot13"));
        assert!(refusal(&PlaneConfig { io: IoChoice::Xdp, ..config() }).contains("not built"));
    }
}
