//! The simulated backend: a virtual clock and seeded links instead of sockets.
//!
//! Place: a test owns one [`Network`] with one server side and many remote addresses; it gives every arrival to the engine or to a
//! client, and lends [`Network::server`] to `flush`. Whole rooms run without a socket, a thread or a wait.
//! A TCP path (`Path::is_tcp`) is a link whose config loses nothing: its queue is what waits in the connection.
//! Promises: the same seed and the same datagrams give the same arrivals, at the same microsecond and in the same order.
//! Not here: the loop (a test's), clients (`tools`).

mod link;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use crate::base::limits::{DATAGRAM_BYTES_MAX, TCP_CONGESTED_BYTES};
use crate::base::net::{BuffersFull, Path, SendBuffers};
use crate::base::time::Micros;

pub use link::{Link, LinkConfig, LinkCounts};

/// A datagram that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When.
    pub at: Micros,
    /// Where: the server, or the client at `path.remote`.
    pub at_server: bool,
    /// Its addresses, as the server sees them.
    pub path: Path,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All links between one server and its clients.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    now: Micros,
    links: BTreeMap<SocketAddr, Access>,
    flying: BinaryHeap<Reverse<Flying>>,
    /// Orders datagrams that arrive in the same microsecond.
    count: u64,
    /// Datagrams the server may send in one turn.
    buffers: usize,
    too_long: u64,
    nowhere: u64,
    losses: Vec<Loss>,
}

/// A datagram that a link lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// It was on its way to the server.
    pub to_server: bool,
    /// Its addresses, as the server sees them.
    pub path: Path,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Both directions of one client's access.
#[derive(Debug)]
struct Access {
    up: Link,
    down: Link,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Micros,
    number: u64,
    at_server: bool,
    local: SocketAddr,
    remote: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    /// A network without clients, at time zero.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Micros(0),
            links: BTreeMap::new(),
            flying: BinaryHeap::new(),
            count: 0,
            buffers: usize::MAX,
            too_long: 0,
            nowhere: 0,
            losses: Vec::new(),
        }
    }

    /// Connects a client's address; a second call changes how its links behave.
    pub fn connect(&mut self, remote: SocketAddr, up: LinkConfig, down: LinkConfig) {
        if let Some(access) = self.links.get_mut(&remote) {
            access.up.set_config(up);
            access.down.set_config(down);
            return;
        }
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(2 * self.links.len() as u64);
        let access = Access { up: Link::new(up, seed), down: Link::new(down, seed + 1) };
        self.links.insert(remote, access);
    }

    /// A client takes nothing more before `until`; then all of it, in order.
    pub fn stall(&mut self, remote: SocketAddr, until: Micros) {
        if let Some(access) = self.links.get_mut(&remote) {
            access.down.stall(until);
        }
    }

    /// Unplugs an address: what is on its way arrives, nothing more is sent.
    pub fn disconnect(&mut self, remote: SocketAddr) {
        self.links.remove(&remote);
    }

    /// The virtual clock.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// Moves the clock on; it never goes back.
    pub fn advance(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Micros {
        self.flying.peek().map_or(Micros::NEVER, |Reverse(flying)| flying.at)
    }

    /// The next datagram that has arrived by now.
    pub fn poll_arrival(&mut self) -> Option<Arrival> {
        let due = self.next_arrival() <= self.now;
        let Reverse(flying) = if due { self.flying.pop()? } else { return None };
        let Flying { at, at_server, local, remote, bytes, .. } = flying;
        Some(Arrival { at, at_server, path: Path { local, remote }, bytes })
    }

    /// A client sends to the server.
    pub fn send_up(&mut self, path: Path, bytes: &[u8]) {
        self.send(true, path, bytes);
    }

    /// The server's send buffers for one turn: it takes as many datagrams as [`Network::set_buffers`] says.
    pub const fn server(&mut self) -> ServerBuffers<'_> {
        let left = self.buffers;
        ServerBuffers { network: self, left }
    }

    /// Bounds what the server may send in one turn.
    pub const fn set_buffers(&mut self, datagrams: usize) {
        self.buffers = datagrams;
    }

    /// What the links of an address did, up and down.
    #[must_use]
    pub fn counts(&self, remote: SocketAddr) -> Option<(LinkCounts, LinkCounts)> {
        self.links.get(&remote).map(|access| (access.up.counts(), access.down.counts()))
    }

    /// What the links lost since the last call, in order.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// Datagrams that no path would have carried, and datagrams to addresses that are not connected.
    #[must_use]
    pub const fn refused(&self) -> (u64, u64) {
        (self.too_long, self.nowhere)
    }

    fn send(&mut self, at_server: bool, path: Path, bytes: &[u8]) {
        let Some(access) = self.links.get_mut(&path.remote) else {
            self.nowhere += 1;
            return;
        };
        if bytes.len() > DATAGRAM_BYTES_MAX {
            self.too_long += 1;
            return;
        }
        let link = if at_server { &mut access.up } else { &mut access.down };
        let arrivals = link.pass(self.now, bytes.len());
        if arrivals[0].is_none() {
            self.losses.push(Loss { to_server: at_server, path, bytes: bytes.to_vec() });
        }
        for at in arrivals.into_iter().flatten() {
            self.count += 1;
            let Path { local, remote } = path;
            let number = self.count;
            self.flying.push(Reverse(Flying { at, number, at_server, local, remote, bytes: bytes.to_vec() }));
        }
    }
}

/// What the server sends in one turn.
#[derive(Debug)]
pub struct ServerBuffers<'n> {
    network: &'n mut Network,
    left: usize,
}

impl SendBuffers for ServerBuffers<'_> {
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        if self.left == 0 {
            return Err(BuffersFull);
        }
        let mut bytes = vec![0; bytes_max];
        let length = fill(&mut bytes);
        if let Some(bytes) = bytes.get(..length).filter(|bytes| !bytes.is_empty()) {
            self.left -= 1;
            self.network.send(false, *path, bytes);
        }
        Ok(())
    }

    fn is_congested(&self, path: &Path) -> bool {
        let waits = |access: &Access| access.down.waiting_bytes(self.network.now) > TCP_CONGESTED_BYTES;
        path.is_tcp() && self.network.links.get(&path.remote).is_some_and(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { local: ([10, 0, 0, 1], 7_882).into(), remote: ([192, 0, 2, 1], port).into() }
    }

    #[test]
    fn datagrams_arrive_in_time_and_at_their_end() {
        let mut network = Network::new(1);
        let slow = LinkConfig { delay_us: 3_000, ..LinkConfig::default() };
        network.connect(path(1).remote, slow, LinkConfig::default());
        network.send_up(path(1), b"up");
        network.send_up(path(2), b"unconnected");
        network
            .server()
            .send(&path(1), 9, |out| {
                out[..4].copy_from_slice(b"down");
                4
            })
            .expect("room");
        let down = network.poll_arrival().expect("instant");
        assert!(!down.at_server && down.bytes == b"down" && down.path == path(1));
        assert_eq!((network.poll_arrival(), network.next_arrival()), (None, Micros(3_000)));
        network.advance(Micros(3_000));
        assert!(network.poll_arrival().is_some_and(|arrival| arrival.at_server && arrival.bytes == b"up"));
        assert_eq!(network.refused(), (0, 1));
    }

    #[test]
    fn a_turn_has_a_bounded_number_of_buffers() {
        let mut network = Network::new(1);
        network.connect(path(1).remote, LinkConfig::default(), LinkConfig::default());
        network.set_buffers(2);
        let mut server = network.server();
        assert_eq!([(); 4].map(|()| server.send(&path(1), 1, |_| 1).is_ok()), [true, true, false, false]);
        assert!(network.server().send(&path(1), 1, |_| 1).is_ok());
    }
}
