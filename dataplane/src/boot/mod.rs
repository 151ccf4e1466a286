//! Boot: pins one worker per core, gives it socket, ring and lanes, starts the assist threads, and stops them all again.
//!
//! Place: the top of the dataplane; the control plane calls [`start`] once. Everything that can fail for an operator's reason
//! fails here, with a remedy. Threads: `kaigi-core-N`, pinned, one per CPU named; `kaigi-assist-N` and `kaigi-tcp`, not pinned.
//! Promises: nothing stays behind when starting fails; a worker that ends by itself says why ([`CoreEnd::fault`]) and that
//! (`Report::Stopped`).

mod error;
mod host;
mod plan;
mod plane;
mod ports;
mod threads;
mod trial;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, mpsc};

use kernels::Suite;

use crate::assist::Identity;
use crate::base::ids::CoreId;
use crate::engine::{EngineConfig, Rules};
use crate::io::tcp::{Handovers, TcpCounts};
use crate::io::wake::event_fd;
use crate::io::{IoChoice, uring};
use crate::lane::{self, AssistEnd, AssistLanes, Bell, ThreadBell};
use crate::worker::{Clock, Links};

pub use error::BootError;
use plan::Plan;
pub use plane::{CoreEnd, Plane};
use threads::{Assists, Tcp, spawn};
use trial::Trial;

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
    let ChosenIo { io, refused: io_refused, trial: io_trial } = choose_io(config.io)?;
    let identity = Identity::generate().map_err(|error| BootError::Resource {
        what: "a DTLS certificate",
        source: io::Error::other(error),
    })?;
    let sockets = ports::bind_all(config)?;
    let door = config.tcp_port.map(|port| ports::bind_tcp(config.bind, port)).transpose()?;
    let tcp_counts = Arc::<TcpCounts>::default();
    let mut handovers = Vec::new();
    host::raise_descriptors();

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

    let assists = Assists::start(&identity, thread_bells, assist_ends)?;
    let fingerprint = identity.fingerprint();
    let mut plane = Plane {
        cores,
        workers: Vec::new(),
        assists,
        tcp: None,
        fingerprint,
        io,
        io_refused,
        io_trial,
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

/// The backend that moves the packets, and what `auto` found out.
struct ChosenIo {
    io: IoChoice,
    /// Why io_uring could not be taken.
    refused: Option<String>,
    /// What sending costs with each.
    trial: Option<String>,
}

fn choose_io(choice: IoChoice) -> Result<ChosenIo, BootError> {
    let chosen = |io| ChosenIo { io, refused: None, trial: None };
    match choice {
        IoChoice::Uring => {
            uring::probe().map_err(|source| BootError::UringRefused { source })?;
            Ok(chosen(choice))
        }
        IoChoice::Auto => Ok(match uring::probe() {
            Err(source) => {
                let refused = Some(BootError::UringRefused { source }.to_string());
                ChosenIo { refused, ..chosen(IoChoice::Epoll) }
            }
            Ok(()) => match Trial::run() {
                Ok(trial) => ChosenIo { trial: Some(trial.in_words()), ..chosen(trial.winner()) },
                // The machine is too busy to tell.
                Err(_) => chosen(IoChoice::Uring),
            },
        }),
        IoChoice::Epoll => Ok(chosen(choice)),
        IoChoice::Xdp => Err(BootError::NotBuilt(choice)),
    }
}

fn new_bell(blocking: bool) -> Result<Arc<Bell>, BootError> {
    let fd =
        event_fd(blocking).map_err(|source| BootError::Resource { what: "a wake-up descriptor", source })?;
    Ok(Arc::new(Bell::new(fd)))
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
