//! Why the packet plane cannot start, in an operator's words.

use std::io;
use std::net::SocketAddr;

use crate::io::IoChoice;

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
