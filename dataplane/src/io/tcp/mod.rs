//! ICE-TCP (RFC 6544, passive; frames of RFC 4571): media over one TCP port, for networks that block UDP.
//!
//! Place: [`Door`] accepts on a thread of its own and hands each connection to the core that its first STUN check names; there
//! [`WithTcp`] serves it beside the UDP backend. To the engine a connection is a [`Path`] like any other
//! ([`Path::is_tcp`]); it says which it has a peer for ([`SendBuffers::keep`], [`SendBuffers::close`]) and asks
//! [`SendBuffers::is_congested`] before it adds pictures.
//! Promises: without a connection a turn costs one look at two lengths, and a UDP datagram one comparison; a connection's memory and
//! time are bounded, and its end is counted with a reason ([`TcpEnd`]).
//! Not here: what frames mean (`engine`), who may connect (an authenticated check decides that, as with UDP).

mod connection;
mod connections;
mod counts;
mod door;
pub mod frame;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

pub use counts::{TcpCounts, TcpEnd};
pub use door::{Door, DoorStop, Handovers, Route};

use self::connections::Connections;
use super::{Backend, IoCounts, Turn};
use crate::base::net::{BuffersFull, Datagram, Path, SendBuffers};

/// A UDP backend and the TCP connections of its core.
pub struct WithTcp<B> {
    // Dropped first: it watches a descriptor of the connections.
    udp: B,
    tcp: Option<Connections>,
}

impl<B: Backend> WithTcp<B> {
    /// UDP alone.
    #[must_use]
    pub const fn without(udp: B) -> Self {
        Self { udp, tcp: None }
    }

    /// Both; connections come by `handovers`.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(mut udp: B, handovers: Arc<Handovers>, counts: Arc<TcpCounts>, seed: u64) -> io::Result<Self> {
        let tcp = Connections::new(handovers, counts, seed)?;
        udp.watch(tcp.raw_fd())?;
        Ok(Self { udp, tcp: Some(tcp) })
    }

    /// The connections, if there is anything to do for them.
    fn busy(&mut self) -> Option<&mut Connections> {
        self.tcp.as_mut().filter(|tcp| !tcp.is_idle())
    }
}

impl<B: Backend> SendBuffers for WithTcp<B> {
    const KEEPS_DATAGRAMS: bool = B::KEEPS_DATAGRAMS;

    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        match &mut self.tcp {
            Some(tcp) if path.is_tcp() => {
                tcp.send(path, bytes_max, fill);
                Ok(())
            }
            _ => self.udp.send(path, bytes_max, fill),
        }
    }

    #[inline]
    fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.udp.send_again(path, bytes_max, fill)
    }

    fn last(&self) -> Option<Datagram> {
        self.udp.last()
    }

    fn datagram(&self, datagram: Datagram) -> &[u8] {
        self.udp.datagram(datagram)
    }

    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        self.udp.datagram_mut(datagram)
    }

    fn keep(&mut self, path: &Path) {
        if let Some(tcp) = &mut self.tcp {
            tcp.keep(path);
        }
    }

    fn close(&mut self, path: &Path) {
        if let Some(tcp) = &mut self.tcp {
            tcp.close(path);
        }
    }

    fn is_congested(&self, path: &Path) -> bool {
        path.is_tcp() && self.tcp.as_ref().is_some_and(|tcp| tcp.is_congested(path))
    }
}

impl<B: Backend> Backend for WithTcp<B> {
    fn turn(&mut self, wait_us: u64) -> io::Result<Turn> {
        let wait_us = match self.busy() {
            Some(tcp) => {
                tcp.turn();
                if tcp.has_work() { 0 } else { wait_us }
            }
            None => wait_us,
        };
        self.udp.turn(wait_us)
    }

    fn receive(&mut self, mut sink: impl FnMut(Path, &mut [u8])) {
        self.udp.receive(&mut sink);
        if let Some(tcp) = self.busy() {
            tcp.receive(sink);
        }
    }

    fn take_counts(&mut self) -> IoCounts {
        let mut counts = self.udp.take_counts();
        if let Some(tcp) = &mut self.tcp {
            let dropped = tcp.take_dropped();
            counts.tcp_queue_full += dropped.queue_full;
            counts.malformed += dropped.malformed;
        }
        counts
    }

    fn watch(&mut self, fd: RawFd) -> io::Result<()> {
        self.udp.watch(fd)
    }

    fn has_newcomers(&self) -> bool {
        self.tcp.as_ref().is_some_and(Connections::has_handovers)
    }
}
