//! The epoll backend: mio, recvmmsg and sendmmsg, with the same GRO and GSO as `uring`.
//!
//! For kernels and containers that forbid io_uring (Docker's default profile does). Sketch, per 1,200-byte datagram: receive
//! ~3.0 k cycles, send 7.2-8 k without GSO. Its sleeps end on whole milliseconds, rounded up.
//! Promises: no allocation after [`Epoll::new`]; the kernel reads and writes our memory only inside the calls of this file.
#![expect(unsafe_code, reason = "recvmmsg and sendmmsg")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::address::{CONTROL_BYTES, NAME_BYTES, read_control, read_name};
use super::outbox::{Outbox, empty_header};
use super::socket::UdpSocket;
use super::{Backend, IoCounts, Turn};
use crate::base::limits::{IDLE_US_MAX, RX_BUFFER_BYTES, RX_BUFFERS_PER_TURN};
use crate::base::net::{BuffersFull, Datagram, Path, SendBuffers};

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
const WATCHED: Token = Token(2);
/// Shortest wait for a full send queue.
const STALLED_US: u64 = 1_000;

/// What one arrival is written into besides its bytes.
#[derive(Clone)]
struct Parts {
    vector: libc::iovec,
    name: [u8; NAME_BYTES],
    control: [u8; CONTROL_BYTES],
}

/// See the module.
pub struct Epoll {
    poll: Poll,
    events: Events,
    socket: UdpSocket,
    outbox: Outbox,
    /// First send that the kernel did not take yet.
    next_send: usize,
    data: Box<[u8]>,
    parts: Box<[Parts]>,
    headers: Box<[libc::mmsghdr]>,
    /// There may be arrivals. The kernel tells a sleeper once, when the socket becomes readable; who does not sleep asks.
    readable: bool,
    /// Room in the send queue is told about: only while it is full, for every datagram that leaves makes some.
    watches_room: bool,
    overflow_seen: u32,
    counts: IoCounts,
}

impl Epoll {
    /// A poll on `socket` that `wake` (an eventfd) wakes.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(socket: UdpSocket, wake: BorrowedFd<'_>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let socket_fd = socket.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&socket_fd), SOCKET, Interest::READABLE)?;
        // Told about at every write, so the count need not be read.
        poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), WAKE, Interest::READABLE)?;
        let empty = Parts {
            vector: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            name: [0; NAME_BYTES],
            control: [0; CONTROL_BYTES],
        };
        let header = || libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 };
        let outbox = Outbox::new(socket.family());
        Ok(Self {
            poll,
            events: Events::with_capacity(4),
            socket,
            outbox,
            next_send: 0,
            data: vec![0; RX_BUFFERS_PER_TURN * RX_BUFFER_BYTES].into_boxed_slice(),
            parts: vec![empty; RX_BUFFERS_PER_TURN].into_boxed_slice(),
            headers: (0..RX_BUFFERS_PER_TURN).map(|_| header()).collect(),
            readable: false,
            watches_room: false,
            overflow_seen: 0,
            counts: IoCounts::default(),
        })
    }

    /// The port peers send to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.socket.port()
    }

    /// Gives the kernel what it did not take yet, until it has taken all or its queue is full.
    fn send_pending(&mut self) -> io::Result<()> {
        while self.outbox.in_flight() > 0 {
            let headers = self.outbox.headers_from(self.next_send);
            // SAFETY:
            // * the headers and all they point to live in the outbox, which is borrowed for the call;
            // * the kernel reads them, writes only `msg_len`, and keeps nothing after the call;
            // * the descriptor is open: the socket is ours.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(sent @ 1..) = usize::try_from(sent) {
                for index in self.next_send..self.next_send + sent {
                    self.outbox.complete(index, 0);
                }
                self.next_send += sent;
                continue;
            }
            // The error is that of the first header.
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN) => break,
                Some(libc::EINTR) => {}
                error => {
                    self.outbox.complete(self.next_send, error.unwrap_or(libc::EIO));
                    self.next_send += 1;
                }
            }
        }
        self.outbox.settle(self.socket.as_fd());
        self.watch_room(self.outbox.in_flight() > 0)
    }

    fn watch_room(&mut self, watch: bool) -> io::Result<()> {
        if self.watches_room != watch {
            self.watches_room = watch;
            let interest = if watch { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let fd = self.socket.as_fd().as_raw_fd();
            self.poll.registry().reregister(&mut SourceFd(&fd), SOCKET, interest)?;
        }
        Ok(())
    }

    fn wait(&mut self, wait_us: u64) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::from_micros(wait_us))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            // An error condition is read like an arrival.
            self.readable |= event.token() == SOCKET && (event.is_readable() || event.is_error());
        }
        Ok(())
    }

    /// Fills the buffers with what has arrived and answers how many.
    fn fill(&mut self) -> usize {
        let parts = self.parts.iter_mut();
        for ((header, parts), data) in
            self.headers.iter_mut().zip(parts).zip(self.data.chunks_exact_mut(RX_BUFFER_BYTES))
        {
            parts.vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
            header.msg_hdr = libc::msghdr {
                msg_name: (&raw mut parts.name).cast(),
                msg_namelen: NAME_BYTES as libc::socklen_t,
                msg_iov: &raw mut parts.vector,
                msg_iovlen: 1,
                msg_control: (&raw mut parts.control).cast(),
                msg_controllen: CONTROL_BYTES as _,
                ..empty_header()
            };
        }
        // SAFETY:
        // * every header points to a name, control and data buffer of its own, of the length it states, all in `self`, and
        //   nobody else refers to them during the call;
        // * the kernel writes at most those lengths and keeps nothing after the call;
        // * the descriptor is open: the socket is ours; no timeout is passed.
        let filled = unsafe {
            libc::recvmmsg(
                self.socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(filled).unwrap_or(0)
    }
}

impl SendBuffers for Epoll {
    const KEEPS_DATAGRAMS: bool = true;

    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.outbox.send(path, bytes_max, fill)
    }

    #[inline]
    fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.outbox.send_again(path, bytes_max, fill)
    }

    fn last(&self) -> Option<Datagram> {
        self.outbox.batch().last()
    }

    fn datagram(&self, datagram: Datagram) -> &[u8] {
        self.outbox.batch().datagram(datagram)
    }

    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        self.outbox.batch_mut().datagram_mut(datagram)
    }
}

impl Backend for Epoll {
    fn turn(&mut self, wait_us: u64) -> io::Result<Turn> {
        if self.outbox.in_flight() > 0 {
            // The socket's send queue is full: nothing can be sent before there is room.
            self.wait(wait_us.clamp(STALLED_US, IDLE_US_MAX))?;
            self.send_pending()?;
            return Ok(Turn::Waited);
        }
        if self.outbox.launch() > 0 {
            self.next_send = 0;
            self.send_pending()?;
            self.readable = true;
            return Ok(Turn::Sent);
        }
        if self.readable || wait_us == 0 {
            self.readable = true;
            return Ok(Turn::Polled);
        }
        self.wait(wait_us)?;
        Ok(Turn::Waited)
    }

    fn receive(&mut self, mut sink: impl FnMut(Path, &mut [u8])) {
        if !self.readable {
            return;
        }
        let filled = self.fill();
        // Fewer than there is room for: the queue was empty, and the next arrival is told about.
        self.readable = filled == self.headers.len();
        let port = self.socket.port();
        let buffers = self.data.chunks_exact_mut(RX_BUFFER_BYTES);
        for ((header, parts), data) in self.headers.iter().zip(&self.parts).zip(buffers).take(filled) {
            let control_bytes = CONTROL_BYTES.min(header.msg_hdr.msg_controllen as _);
            let arrival = read_control(&parts.control[..control_bytes]);
            let name_bytes = NAME_BYTES.min(header.msg_hdr.msg_namelen as usize);
            let remote = read_name(&parts.name[..name_bytes]);
            let cut = header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
            let (Some(ip), Some(remote), false) = (arrival.local, remote, cut) else {
                self.counts.malformed += 1;
                continue;
            };
            if let Some(overflow) = arrival.overflow {
                self.counts.kernel_overflow += u64::from(overflow.wrapping_sub(self.overflow_seen));
                self.overflow_seen = overflow;
            }
            let path = Path { local: SocketAddr::new(ip, port), remote };
            let payload = &mut data[..header.msg_len as usize];
            if payload.is_empty() {
                sink(path, payload);
                continue;
            }
            let segment_bytes = arrival.segment_bytes.filter(|&bytes| bytes > 0).unwrap_or(payload.len());
            for datagram in payload.chunks_mut(segment_bytes) {
                sink(path, datagram);
            }
        }
    }

    fn take_counts(&mut self) -> IoCounts {
        let mut counts = self.outbox.take_counts();
        let received = std::mem::take(&mut self.counts);
        counts.kernel_overflow = received.kernel_overflow;
        counts.malformed = received.malformed;
        counts
    }
    fn watch(&mut self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), WATCHED, Interest::READABLE)
    }
}
