//! I/O backends behind one small interface. The engine cannot tell them apart.
//!
//! Place: between the kernel's sockets and the worker's loop. A backend owns one UDP socket of one core and everything memory that
//! the Linux kernel reads or writes behind our back.
//! Promises: no allocation after construction; what the network sends can be dropped and counted, but never panics; a datagram
//! given to [`SendBuffers::send`] leaves at the next [`Backend::turn`].
//! Not here: what datagrams mean (`engine`), threads and pinning (`boot`), the virtual network (`io::sim` has its own loop).

pub mod address;
pub mod batch;
pub mod cycles;
pub mod epoll;
mod outbox;
pub mod sim;
pub mod socket;
pub mod tcp;
pub mod uring;
pub mod wake;

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::str::FromStr;

use crate::base::net::{Path, SendBuffers};

/// Which backend to use: the value of `--io`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoChoice {
    /// The best this host allows, found by a probe.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// epoll with recvmmsg and sendmmsg.
    Epoll,
    /// AF_XDP.
    Xdp,
}

impl IoChoice {
    /// The value of `--io`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
            Self::Xdp => "xdp",
        }
    }
}

impl fmt::Display for IoChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an I/O backend; one of auto, uring, epoll, xdp")]
pub struct UnknownIo;

impl FromStr for IoChoice {
    type Err = UnknownIo;

    fn from_str(text: &str) -> Result<Self, UnknownIo> {
        [Self::Auto, Self::Uring, Self::Epoll, Self::Xdp]
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or(UnknownIo)
    }
}

/// What a backend counted since it was last asked; the worker adds it to the core's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IoCounts {
    /// Sends handed to the kernel; one may carry several datagrams.
    pub sends: u64,
    /// Datagrams in those sends.
    pub datagrams_sent: u64,
    /// Datagrams the kernel refused.
    pub send_failed: u64,
    /// Of those, datagrams larger than the path takes (EMSGSIZE).
    pub too_big: u64,
    /// Datagrams the kernel dropped because the socket's receive queue was full (SO_RXQ_OVFL).
    pub kernel_overflow: u64,
    /// Received datagrams without a usable address, or cut short.
    pub malformed: u64,
    /// Datagrams to a TCP connection whose queue was full, or that was gone.
    pub tcp_queue_full: u64,
}

/// One core's socket. A loop turn is: `send` for every datagram, [`Backend::turn`] once, [`Backend::receive`] once.
pub trait Backend: SendBuffers {
    /// Hands what was sent since the last turn to the kernel. If there was nothing, sleeps until a datagram or a ring of the
    /// wake-up descriptor arrives or `wait_us` have passed; a wait of zero never sleeps. Answers what it did.
    ///
    /// # Errors
    /// The socket or ring is unusable: the worker stops.
    fn turn(&mut self, wait_us: u64) -> io::Result<Turn>;

    /// Gives every datagram that has arrived (up to a bound) to `sink`, GRO already split. The bytes are the backend's and may be overwritten.
    fn receive(&mut self, sink: impl FnMut(Path, &mut [u8]));

    /// Takes the counts since the last call.
    fn take_counts(&mut self) -> IoCounts;

    /// From now on a sleep also ends when `fd` becomes readable. The caller keeps it open as long as the backend lives, and takes
    /// what made it readable in every turn.
    ///
    /// # Errors
    /// The kernel refuses to watch it.
    fn watch(&mut self, fd: RawFd) -> io::Result<()>;

    /// Whether something waits that a sleep would not notice: asked after the wake-up is armed.
    fn has_newcomers(&self) -> bool {
        false
    }
}

/// What a turn did, so that its cycles are booked under the right stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Sent datagrams and did not wait.
    Sent,
    /// Looked for arrivals and did not wait.
    Polled,
    /// Waited.
    Waited,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_found_by_its_name() {
        for choice in [IoChoice::Auto, IoChoice::Uring, IoChoice::Epoll, IoChoice::Xdp] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("URING".parse::<IoChoice>(), Err(UnknownIo));
    }
}
