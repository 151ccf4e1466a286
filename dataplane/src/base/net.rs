//! Addresses of a datagram and the lending of send buffers: the whole of what the engine knows about networks.

use std::net::{IpAddr, SocketAddr};

/// Both ends of a datagram. `local` is the address the peer used (PKTINFO), and replies leave from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address and port, as the peer addressed it.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

impl Path {
    /// The path of a TCP connection (RFC 6544). Its mark is a local port of 0, which no UDP socket has: the packet path pays one
    /// comparison for it, and tables of paths need no other key. All connections come to one port, so nothing is lost.
    #[must_use]
    pub const fn tcp(local: IpAddr, remote: SocketAddr) -> Self {
        Self { local: SocketAddr::new(local, 0), remote }
    }

    /// Whether this is a TCP connection.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.local.port() == 0
    }
}

/// No buffer is left in this loop turn; the datagram was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuffersFull;

/// Where a datagram of this turn lies in its backend, until the turn is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Where it begins, as the backend counts.
    pub at: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// Buffers of one loop turn, lent by an I/O backend. Consecutive datagrams of equal size on one path leave as one GSO send,
/// so write a peer's packets one after the other.
pub trait SendBuffers {
    /// Whether datagrams of the turn stay where they are until it is submitted, and [`Self::last`] tells where.
    const KEEPS_DATAGRAMS: bool = false;

    /// Lends at least `bytes_max` bytes for one datagram on `path`; `fill` writes it and answers its length
    /// (0 cancels, never more than `bytes_max`). The bytes leave at the backend's next submit. A TCP connection that is gone or full
    /// counts the datagram as dropped and does not call `fill`: it is lost as on any network.
    ///
    /// # Errors
    /// [`BuffersFull`] without calling `fill`: the datagram is to be given again.
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull>;

    /// As [`Self::send`], on a UDP path that is that of the call before: backends need not compare them.
    ///
    /// # Errors
    /// As there.
    #[inline]
    fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.send(path, bytes_max, fill)
    }

    /// The datagram that the last call of [`Self::send`] or [`Self::send_again`] took, on a UDP path.
    fn last(&self) -> Option<Datagram> {
        None
    }

    /// What [`Self::last`] answered in this turn.
    fn datagram(&self, datagram: Datagram) -> &[u8] {
        let _ = datagram;
        &[]
    }

    /// The same, to be changed.
    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        let _ = datagram;
        &mut []
    }

    /// The peer at the other end of a TCP path has authenticated: its connection stays until [`Self::close`] or its own end. A UDP path
    /// has nothing to keep.
    fn keep(&mut self, path: &Path) {
        let _ = path;
    }

    /// No peer has this TCP path any more: its connection ends. What waits there leaves as far as the kernel takes it at
    /// once.
    fn close(&mut self, path: &Path) {
        let _ = path;
    }

    /// Whether so much waits on this TCP path that pictures should not be added. A UDP path has no queue of its own.
    fn is_congested(&self, path: &Path) -> bool {
        let _ = path;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_path_is_told_from_a_udp_path_by_its_local_port() {
        let remote = ([192, 0, 2, 7], 7).into();
        let udp = Path { local: ([192, 0, 2, 1], 7882).into(), remote };
        let tcp = Path::tcp(udp.local.ip(), remote);
        assert!(tcp.is_tcp() && !udp.is_tcp() && tcp != udp);
    }
}
