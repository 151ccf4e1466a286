//! Addresses of a datagram and the lending of send buffers: the whole of what the engine knows about networks.

use std::net::SocketAddr;

/// Both ends of a datagram. `local` is the address the peer used (PKTINFO), and replies leave from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address and port, as the peer addressed it.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

/// No buffer is left in this loop turn; the datagram was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuffersFull;

/// Buffers of one loop turn, lent by an I/O backend. Consecutive datagrams of equal size on one path leave as one GSO send,
/// so write a peer's packets one after the other.
pub trait SendBuffers {
    /// Lends at least `bytes_max` bytes for one datagram on `path`; `fill` writes it and answers its length
    /// (0 cancels, never more than `bytes_max`). The bytes leave at the backend's next submit.
    ///
    /// # Errors
    /// [`BuffersFull`] without calling `fill`.
    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull>;
}
