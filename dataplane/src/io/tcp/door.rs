//! The one TCP port: accepts connections, reads the first frame of each, and hands it to the core that frame names.
//!
//! Place: a thread of its own, `kaigi-tcp`, so that strangers cost no packet core anything. What a first frame means is the caller's
//! affair ([`Route`]): this file knows no STUN.
//! Promises: at most [`TCP_HALF_OPEN_MAX`] connections wait here, the oldest gives way to a new one, and none waits longer than
//! [`TCP_PROOF_US`]; a thousand that say nothing hinder nobody. Every refusal is counted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use super::counts::{TcpCounts, TcpEnd};
use super::frame::{LENGTH_BYTES, first};
use crate::base::ids::CoreId;
use crate::base::limits::{TCP_FIRST_FRAME_BYTES_MAX, TCP_HALF_OPEN_MAX, TCP_LANE, TCP_PROOF_US};
use crate::base::net::Path;
use crate::base::slab::{Key, Slab};

/// Which core a connection is for, by its first datagram; `None` for a stranger.
pub type Route = fn(&[u8]) -> Option<CoreId>;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Accepted before those that are here have their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How often deadlines are looked at, and a listener without descriptors is tried again.
const SWEEP: Duration = Duration::from_millis(250);
/// Connections the kernel holds for us.
const BACKLOG: i32 = 1_024;

/// A connection on its way to its core, with the bytes that were read already: the first frame at least.
pub(super) struct Handover {
    pub(super) stream: TcpStream,
    pub(super) path: Path,
    pub(super) bytes: Vec<u8>,
}

/// Connections on their way to one core.
pub struct Handovers {
    queue: ArrayQueue<Handover>,
    ring: Box<dyn Fn() + Send + Sync>,
}

impl Handovers {
    /// An empty lane; `ring` wakes the core.
    #[must_use]
    pub fn new(ring: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { queue: ArrayQueue::new(TCP_LANE), ring }
    }

    pub(super) fn take(&self) -> Option<Handover> {
        self.queue.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn give(&self, handover: Handover) -> Result<(), Handover> {
        self.queue.push(handover)?;
        (self.ring)();
        Ok(())
    }
}

/// The bound port, before its thread runs.
pub struct Door {
    poll: Poll,
    listener: TcpListener,
    port: u16,
}

impl Door {
    /// Listens on `port` (0: the kernel's choice) of `address`, or of every address of both families.
    ///
    /// # Errors
    /// As the kernel says; the port in use is `AddrInUse`.
    pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<Self> {
        let listener = match address {
            Some(ip) => listen(ip, port)?,
            None => match listen(Ipv6Addr::UNSPECIFIED.into(), port) {
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
                {
                    listen(Ipv4Addr::UNSPECIFIED.into(), port)?
                }
                result => result?,
            },
        };
        let port = listener.local_addr()?.as_socket().map_or(port, |address| address.port());
        let mut listener = TcpListener::from_std(listener.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, port })
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What stops [`Door::run`].
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn stop(&self) -> io::Result<DoorStop> {
        let waker = Waker::new(self.poll.registry(), WAKER)?;
        Ok(DoorStop { waker: Arc::new(waker), stopped: Arc::default() })
    }

    /// Serves until told to stop.
    pub fn run(self, stop: &DoorStop, route: Route, cores: &[Arc<Handovers>], counts: &TcpCounts) {
        let mut hall = Hall {
            poll: self.poll,
            waiting: Slab::new(TCP_HALF_OPEN_MAX),
            order: VecDeque::with_capacity(2 * TCP_HALF_OPEN_MAX),
            route,
            cores,
            counts,
            acceptable: false,
            starved: false,
        };
        let mut events = Events::with_capacity(ACCEPTS_PER_TURN);
        while !stop.stopped.load(Ordering::Acquire) {
            let wait = if hall.acceptable { Duration::ZERO } else { SWEEP };
            if let Err(error) = hall.poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                break;
            }
            for event in &events {
                match event.token() {
                    LISTENER => hall.acceptable = true,
                    WAKER => {}
                    Token(index) => hall.look(index),
                }
            }
            if std::mem::take(&mut hall.starved) {
                hall.acceptable = true;
            }
            if hall.acceptable {
                hall.accept(&self.listener);
            }
            hall.sweep();
        }
        for key in hall.waiting.keys().collect::<Vec<_>>() {
            hall.end(key, TcpEnd::Stopped);
        }
    }
}

fn listen(ip: IpAddr, port: u16) -> io::Result<Socket> {
    let domain = if ip.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if ip.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(ip, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Ends a door's thread.
#[derive(Clone)]
pub struct DoorStop {
    waker: Arc<Waker>,
    stopped: Arc<AtomicBool>,
}

impl DoorStop {
    /// It returns soon.
    pub fn set(&self) {
        self.stopped.store(true, Ordering::Release);
        // A full counter wakes as well.
        let _ = self.waker.wake();
    }
}

/// A connection that has not shown whom it wants.
struct Stranger {
    stream: TcpStream,
    path: Path,
    bytes: Vec<u8>,
    since: Instant,
}

/// Everybody who waits at the door.
struct Hall<'a> {
    poll: Poll,
    waiting: Slab<Stranger>,
    /// Oldest first; some are gone.
    order: VecDeque<Key>,
    route: Route,
    cores: &'a [Arc<Handovers>],
    counts: &'a TcpCounts,
    /// The listener may have more.
    acceptable: bool,
    /// It had more and could not give it: the next look tries again, for the kernel does not tell twice.
    starved: bool,
}

impl Hall<'_> {
    fn accept(&mut self, listener: &TcpListener) {
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.accept() {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        // Who waits longest gives its descriptor; without any, the next look tries again.
                        self.push_out();
                        self.acceptable = !self.waiting.is_empty();
                        self.starved = true;
                        return;
                    }
                    // The connection ended before it was taken.
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => {}
                    _ => {
                        self.acceptable = false;
                        self.starved = error.kind() != ErrorKind::WouldBlock;
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.counts.accept();
        let Ok(local) = stream.local_addr() else { return self.counts.end(TcpEnd::Failed) };
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let path = Path::tcp(local.ip().to_canonical(), canonical(remote));
        if self.waiting.count() >= TCP_HALF_OPEN_MAX {
            self.push_out();
        }
        let stranger = Stranger { stream, path, bytes: Vec::new(), since: clock() };
        let Ok(key) = self.waiting.insert(stranger) else { return self.counts.end(TcpEnd::PushedOut) };
        self.order.push_back(key);
        let registered = self.waiting.get_mut(key).map(|stranger| {
            self.poll.registry().register(&mut stranger.stream, Token(key.index()), Interest::READABLE)
        });
        if !matches!(registered, Some(Ok(()))) {
            self.end(key, TcpEnd::Failed);
        }
    }

    /// Reads a stranger's first frame, as far as it came.
    fn look(&mut self, index: usize) {
        let Some(key) = self.waiting.key_at(index) else { return };
        let Some(stranger) = self.waiting.get_mut(key) else { return };
        loop {
            // Room for the first frame; what comes behind it may come along and is handed over with it.
            let mut buffer = [0; LENGTH_BYTES + TCP_FIRST_FRAME_BYTES_MAX];
            match stranger.stream.read(&mut buffer) {
                Ok(0) => return self.end(key, TcpEnd::Closed),
                Ok(count) => stranger.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(key, TcpEnd::Failed),
            }
            match first(&stranger.bytes, TCP_FIRST_FRAME_BYTES_MAX) {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    let core = (self.route)(&stranger.bytes[frame]);
                    return self.hand_over(key, core);
                }
                Err(_) => return self.end(key, TcpEnd::FrameTooLong),
            }
        }
    }

    fn hand_over(&mut self, key: Key, core: Option<CoreId>) {
        let Some(lane) = core.and_then(|core| self.cores.get(usize::from(core.0))) else {
            return self.end(key, TcpEnd::NotStun);
        };
        let Some(mut stranger) = self.waiting.remove(key) else { return };
        // The core registers the descriptor with its own poll.
        let fresh = self.poll.registry().deregister(&mut stranger.stream);
        let stream = TcpStream::from_std(stranger.stream.into());
        let handover = Handover { stream, path: stranger.path, bytes: stranger.bytes };
        if fresh.is_err() {
            self.counts.end(TcpEnd::Failed);
        } else if lane.give(handover).is_err() {
            self.counts.end(TcpEnd::CoreFull);
        }
    }

    /// Ends whoever waited too long.
    fn sweep(&mut self) {
        let now = clock();
        while let Some(key) = self.order.front().copied() {
            match self.waiting.get(key) {
                None => {}
                Some(stranger)
                    if now.saturating_duration_since(stranger.since)
                        >= Duration::from_micros(TCP_PROOF_US) =>
                {
                    self.end(key, TcpEnd::Silent);
                }
                Some(_) => break,
            }
            self.order.pop_front();
        }
        // Those that left early stand behind one that waits: the list stays as short as the table.
        if self.order.len() > 2 * TCP_HALF_OPEN_MAX - ACCEPTS_PER_TURN {
            self.order.retain(|key| self.waiting.get(*key).is_some());
        }
    }

    fn push_out(&mut self) {
        while let Some(key) = self.order.pop_front() {
            if self.waiting.get(key).is_some() {
                return self.end(key, TcpEnd::PushedOut);
            }
        }
    }

    fn end(&mut self, key: Key, end: TcpEnd) {
        if let Some(mut stranger) = self.waiting.remove(key) {
            self.counts.end(end);
            let _ = self.poll.registry().deregister(&mut stranger.stream);
        }
    }
}

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "deadlines of strangers, on a thread of their own")]
    Instant::now()
}
