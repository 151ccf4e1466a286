//! Which backend sends with less of this machine's time: a trial at start, when both are allowed.
//!
//! What a receiver costs is nearly all sending, and whether a ring or one call for many messages is cheaper depends on the kernel. Both send
//! the same datagrams to sockets of our own on loopback, in turns, and the shortest round of each counts: what else runs on the
//! machine makes rounds longer, never shorter.
//! Cost: 2 x 12 rounds of 512 datagrams, some 40 ms.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::base::net::Path;
use crate::io::epoll::Epoll;
use crate::io::socket::UdpSocket;
use crate::io::uring::Uring;
use crate::io::wake::event_fd;
use crate::io::{Backend, IoChoice};

/// Rounds of each backend; the first of each is not counted.
const ROUNDS: usize = 12;
const TURNS: usize = 8;
/// Datagrams of a turn, no two behind each other to one address, so that each is a send of its own.
const DATAGRAMS: usize = 64;
const BYTES: usize = 1_200;
/// A round that takes longer says nothing.
const PATIENCE: Duration = Duration::from_millis(200);
/// io_uring keeps its place against an epoll that is this much cheaper, percent.
const MARGIN: u32 = 2;

/// Time for one send of each backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trial {
    uring: Duration,
    epoll: Duration,
}

impl Trial {
    /// Runs it.
    ///
    /// # Errors
    /// A backend cannot be made or does not send: then nothing is known.
    pub(super) fn run() -> io::Result<Self> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let wake = event_fd(true)?;
        let sinks = [UdpSocket::bind(Some(loopback), 0)?, UdpSocket::bind(Some(loopback), 0)?];
        let to = [sinks[0].port(), sinks[1].port()].map(|port| SocketAddr::new(loopback, port));
        let mut uring = Uring::new(UdpSocket::bind(Some(loopback), 0)?, wake.as_fd())?;
        let mut epoll = Epoll::new(UdpSocket::bind(Some(loopback), 0)?, wake.as_fd())?;
        let mut shortest = [Duration::MAX; 2];
        for nth in 0..ROUNDS {
            let rounds = [round(&mut uring, to)?, round(&mut epoll, to)?];
            if nth > 0 {
                shortest = [0, 1].map(|of| shortest[of].min(rounds[of]));
            }
        }
        let [uring, epoll] = shortest.map(|round| round / (TURNS * DATAGRAMS) as u32);
        Ok(Self { uring, epoll })
    }

    /// The cheaper one.
    pub(super) fn winner(&self) -> IoChoice {
        if self.epoll * 100 < self.uring * (100 - MARGIN) { IoChoice::Epoll } else { IoChoice::Uring }
    }

    /// What was measured, for the log.
    pub(super) fn in_words(&self) -> String {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        format!(
            "a send takes {:.2} us with epoll and {:.2} us with io_uring here",
            us(self.epoll),
            us(self.uring)
        )
    }
}

/// Sends and answers how long that took.
#[expect(clippy::disallowed_methods, reason = "the trial measures time")]
fn round(backend: &mut impl Backend, to: [SocketAddr; 2]) -> io::Result<Duration> {
    let begun = Instant::now();
    let (mut left, local) = (TURNS * DATAGRAMS, SocketAddr::new(to[0].ip(), 0));
    while left > 0 {
        for nth in 0..DATAGRAMS {
            let path = Path { local, remote: to[nth % to.len()] };
            let taken = backend.send(&path, BYTES, |out| out.get(..BYTES).map_or(0, <[u8]>::len));
            left -= usize::from(taken.is_ok()).min(left);
        }
        backend.turn(0)?;
        backend.receive(|_, _| {});
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    }
    // The last turn's sends complete.
    backend.turn(0)?;
    backend.receive(|_, _| {});
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_backend_wins_unless_it_is_hardly_cheaper() {
        let trial =
            |uring, epoll| Trial { uring: Duration::from_nanos(uring), epoll: Duration::from_nanos(epoll) };
        assert_eq!(trial(3_000, 2_500).winner(), IoChoice::Epoll);
        assert_eq!(trial(3_000, 2_950).winner(), IoChoice::Uring);
        assert_eq!(trial(2_500, 3_000).winner(), IoChoice::Uring);
        assert!(trial(3_100, 2_500).in_words().contains("2.50 us with epoll and 3.10 us"));
    }

    #[test]
    fn both_backends_send_all_of_it() {
        if let Err(refused) = crate::io::uring::probe() {
            println!("skipped: io_uring is refused here ({refused})");
            return;
        }
        let trial = Trial::run().expect("loopback takes it");
        println!("{}", trial.in_words());
        assert!(
            trial.uring > Duration::from_nanos(100) && trial.epoll > Duration::from_nanos(100),
            "{trial:?}"
        );
    }
}
