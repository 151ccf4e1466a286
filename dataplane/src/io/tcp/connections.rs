//! The TCP connections of one core, served by its worker between UDP turns.
//!
//! Place: behind [`super::WithTcp`]. Promises: a turn reads a bounded amount from each connection that has something; what proved nothing gives way
//! to what is new; every end is counted with its reason. Memory is taken when a connection comes, never per packet once queues
//! have grown.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, Reading, prepare, read_buffer};
use super::counts::{TcpCounts, TcpEnd};
use super::door::{Handover, Handovers};
use crate::base::limits::{TCP_CONNECTIONS_PER_CORE, TCP_UNPROVED_PER_CORE};
use crate::base::net::Path;
use crate::base::slab::{Key, Slab};
use crate::base::table::{SeededState, Table};
use crate::base::time::Micros;

/// Connections are looked at for being overdue this often.
const SWEEP_US: u64 = 1_000_000;
/// Readiness told in one turn; the rest is told in the next.
const EVENTS: usize = 256;

/// What [`Connections`] counted for the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Dropped {
    /// Datagrams to a connection that is full or gone.
    pub(super) queue_full: u64,
    /// Empty frames.
    pub(super) malformed: u64,
}

/// See the module.
pub(super) struct Connections {
    poll: Poll,
    events: Events,
    handovers: Arc<Handovers>,
    counts: Arc<TcpCounts>,
    table: Slab<Connection>,
    by_path: Table<Path, Key>,
    unproved: usize,
    /// Have something to read.
    readable: Vec<Key>,
    /// Have something to write.
    writable: Vec<Key>,
    buffer: Box<[u8]>,
    origin: Instant,
    now: Micros,
    swept: Micros,
    /// The poll may have events that were not taken.
    undrained: bool,
    dropped: Dropped,
}

impl Connections {
    pub(super) fn new(handovers: Arc<Handovers>, counts: Arc<TcpCounts>, seed: u64) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            handovers,
            counts,
            table: Slab::new(TCP_CONNECTIONS_PER_CORE),
            by_path: Table::with_hasher(SeededState::new(seed)),
            unproved: 0,
            readable: Vec::new(),
            writable: Vec::new(),
            buffer: read_buffer(),
            origin: clock(),
            now: Micros(0),
            swept: Micros(0),
            undrained: false,
            dropped: Dropped::default(),
        })
    }

    /// Becomes readable when a connection has news.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Nothing to serve: a turn costs this look.
    pub(super) fn is_idle(&self) -> bool {
        self.table.is_empty() && self.handovers.is_empty()
    }

    pub(super) fn has_handovers(&self) -> bool {
        !self.handovers.is_empty()
    }

    /// Whether [`Connections::receive`] would find something without news from the kernel.
    pub(super) fn has_work(&self) -> bool {
        self.undrained || !self.readable.is_empty() || !self.handovers.is_empty()
    }

    pub(super) fn is_congested(&self, path: &Path) -> bool {
        let key = self.by_path.get(path);
        key.and_then(|key| self.table.get(*key)).is_some_and(Connection::is_congested)
    }

    /// Queues a datagram, or drops and counts it.
    pub(super) fn send(&mut self, path: &Path, bytes_max: usize, fill: impl FnOnce(&mut [u8]) -> usize) {
        let key = self.by_path.get(path).copied();
        let Some((key, connection)) = key.and_then(|key| Some((key, self.table.get_mut(key)?))) else {
            self.dropped.queue_full += 1;
            return;
        };
        if !connection.push(self.now, bytes_max, fill) {
            self.dropped.queue_full += 1;
            return;
        }
        if !connection.listed {
            connection.listed = true;
            self.writable.push(key);
        }
    }

    /// A peer has this path.
    pub(super) fn keep(&mut self, path: &Path) {
        let key = self.by_path.get(path);
        if let Some(connection) = key.and_then(|key| self.table.get_mut(*key))
            && !connection.is_proved()
        {
            connection.prove(self.now);
            self.unproved -= 1;
        }
    }

    /// No peer has this path any more.
    pub(super) fn close(&mut self, path: &Path) {
        let Some(key) = self.by_path.get(path).copied() else { return };
        if let Some(connection) = self.table.get_mut(key) {
            // The last words, as far as they go at once.
            let _ = connection.write(self.now);
        }
        self.end(key, TcpEnd::Forgotten);
    }

    /// Takes new connections, writes what the turn queued, ends what is overdue.
    pub(super) fn turn(&mut self) {
        self.now = Micros(clock().saturating_duration_since(self.origin).as_micros() as u64);
        while let Some(handover) = self.handovers.take() {
            self.adopt(handover);
        }
        self.write();
        if self.now.since_us(self.swept) >= SWEEP_US {
            self.swept = self.now;
            let keys: Vec<Key> = self.table.keys().collect();
            for key in keys {
                if let Some(end) = self.table.get(key).and_then(|connection| connection.overdue(self.now)) {
                    self.end(key, end);
                }
            }
        }
    }

    /// Gives every frame that has arrived to `sink`.
    pub(super) fn receive(&mut self, mut sink: impl FnMut(Path, &mut [u8])) {
        self.look();
        for _ in 0..self.readable.len() {
            let Some(key) = self.readable.pop() else { break };
            self.read(key, &mut sink);
        }
        self.write();
    }

    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Asks the kernel which connections have news.
    fn look(&mut self) {
        // Interrupted or not, what was not told is told again.
        self.undrained = self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_err();
        let mut count = 0;
        for event in &self.events {
            count += 1;
            let Some(key) = self.table.key_at(event.token().0) else { continue };
            let Some(connection) = self.table.get_mut(key) else { continue };
            connection.is_ending |= event.is_read_closed();
            if (event.is_readable() || event.is_read_closed() || event.is_error())
                && !self.readable.contains(&key)
            {
                self.readable.push(key);
            }
            if event.is_writable() && !connection.listed {
                connection.listed = true;
                self.writable.push(key);
            }
        }
        self.undrained |= count == EVENTS;
    }

    fn read(&mut self, key: Key, sink: &mut impl FnMut(Path, &mut [u8])) {
        let Some(connection) = self.table.get_mut(key) else { return };
        match connection.read(&mut self.buffer, &mut self.dropped.malformed, sink) {
            Reading::Drained => {}
            Reading::More => self.readable.insert(0, key),
            Reading::Ended(end) => self.end(key, end),
        }
    }

    fn write(&mut self) {
        while let Some(key) = self.writable.pop() {
            let Some(connection) = self.table.get_mut(key) else { continue };
            connection.listed = false;
            if let Err(end) = connection.write(self.now) {
                self.end(key, end);
            }
        }
    }

    fn adopt(&mut self, handover: Handover) {
        let Handover { stream, path, bytes } = handover;
        if let Some(before) = self.by_path.get(&path).copied() {
            self.end(before, TcpEnd::Replaced);
        }
        if self.unproved >= TCP_UNPROVED_PER_CORE {
            self.push_out();
        }
        // A host that refuses an option serves the connection all the same.
        let _ = prepare(&stream);
        let key = match self.table.insert(Connection::new(self.now, stream, path, bytes)) {
            Ok(key) => key,
            Err(_) => return self.counts.end(TcpEnd::CoreFull),
        };
        self.unproved += 1;
        self.by_path.insert(path, key);
        let token = Token(key.index());
        let registered = self.table.get_mut(key).map(|connection| {
            self.poll.registry().register(
                &mut connection.stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )
        });
        match registered {
            Some(Ok(())) => self.readable.push(key),
            _ => self.end(key, TcpEnd::Failed),
        }
    }

    /// The oldest connection that proved nothing gives way.
    fn push_out(&mut self) {
        let unproved = self.table.keys().filter_map(|key| {
            let connection = self.table.get(key)?;
            (!connection.is_proved()).then(|| (connection.opened(), key))
        });
        if let Some((_, key)) = unproved.min_by_key(|(opened, _)| *opened) {
            self.end(key, TcpEnd::PushedOut);
        }
    }

    fn end(&mut self, key: Key, end: TcpEnd) {
        let Some(mut connection) = self.table.remove(key) else { return };
        self.counts.end(end);
        if !connection.is_proved() {
            self.unproved -= 1;
        }
        if self.by_path.get(&connection.path) == Some(&key) {
            self.by_path.remove(&connection.path);
        }
        // Closing the descriptor does the same; this is only tidier.
        let _ = self.poll.registry().deregister(&mut connection.stream);
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let keys: Vec<Key> = self.table.keys().collect();
        for key in keys {
            if let Some(connection) = self.table.get_mut(key) {
                // The last words of the turn, as far as they go at once.
                let _ = connection.write(self.now);
            }
            self.end(key, TcpEnd::Stopped);
        }
        while self.handovers.take().is_some() {
            self.counts.end(TcpEnd::Stopped);
        }
    }
}

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "deadlines of connections; the engine has its own time")]
    Instant::now()
}
