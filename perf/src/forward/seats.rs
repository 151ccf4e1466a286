//! The clients with their sockets, on one thread and one CPU: sends what is due, receives what came, authenticates all of it.
//!
//! Promises: one loop, no other thread; the time of arrival is read once per system call, so a delay includes the wait in the
//! socket's queue, as it should. Not here: what clients mean (`plan`), when phases end (`forward`).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dataplane::base::time::Micros;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tools::client::{Client, ClientState, TRANSMIT_BYTES_MIN};

use super::checks::{ANSWER_BYTES_MAX, Checks};
use crate::sys;

/// The clients' CPU may be away for a while: 4 MiB are 1,800 packets with the kernel's bookkeeping.
const RECEIVE_BUFFER_BYTES: i32 = 4 << 20;
/// Largest super-datagram that UDP_GRO builds.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;
/// Reads of one socket before the others get their turn.
const READS_PER_TURN: usize = 64;

/// A client and the socket it uses.
pub struct Seat {
    /// The client.
    pub client: Client,
    checks: Option<Checks>,
    socket: UdpSocket,
    due: Micros,
    /// The socket may have more to read.
    ready: bool,
}

/// All of them.
pub struct Seats {
    seats: Vec<Seat>,
    poll: Poll,
    events: Events,
    origin_us: u64,
    buffer: Vec<u8>,
    out: Vec<u8>,
    /// Datagrams the kernel refused to send.
    pub send_failed: u64,
}

impl Seats {
    /// No clients yet; the clock starts now.
    pub fn new() -> Result<Self> {
        Ok(Self {
            seats: Vec::new(),
            poll: Poll::new().context("cannot make an epoll instance")?,
            events: Events::with_capacity(1_024),
            origin_us: sys::monotonic_us(),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            out: vec![0; TRANSMIT_BYTES_MIN],
            send_failed: 0,
        })
    }

    /// Microseconds since the clock started.
    pub fn now(&self) -> Micros {
        Micros(sys::monotonic_us() - self.origin_us)
    }

    /// A socket for a client on `local`.
    pub fn socket(local: IpAddr) -> Result<UdpSocket> {
        UdpSocket::bind((local, 0))
            .context("cannot open a client's socket: raise the limit of open files (ulimit -n)")
    }

    /// Gives a client a socket of its own, connected to the server.
    pub fn add(
        &mut self,
        client: Client,
        checks: Option<Checks>,
        socket: UdpSocket,
        server: SocketAddr,
    ) -> Result<()> {
        socket.connect(server).with_context(|| format!("cannot reach {server}"))?;
        sys::prepare_socket(&socket, RECEIVE_BUFFER_BYTES).context("cannot prepare a client's socket")?;
        let token = Token(self.seats.len());
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        self.seats.push(Seat { client, checks, socket, due: Micros(0), ready: false });
        Ok(())
    }

    /// The seats in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// The same, to change clients; whoever is changed is looked at in the next turn.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.iter_mut().for_each(|seat| seat.due = Micros(0));
        self.seats.iter_mut()
    }

    /// How many clients are ready.
    pub fn ready(&self) -> usize {
        self.seats.iter().filter(|seat| seat.client.state() == ClientState::Ready).count()
    }

    /// Turns until `until`, or until `stop` says so (asked once per turn).
    pub fn run(&mut self, until: Micros, mut stop: impl FnMut(&Self) -> bool) -> Result<()> {
        loop {
            if sys::interrupted() {
                bail!("interrupted");
            }
            let now = self.now();
            if now >= until || stop(self) {
                return Ok(());
            }
            self.turn(now, until)?;
        }
    }

    fn turn(&mut self, now: Micros, until: Micros) -> Result<()> {
        let mut next = until;
        for seat in &mut self.seats {
            if now >= seat.due {
                seat.client.handle_timeout(now);
                while let Some(bytes) = seat.client.poll_transmit(now, &mut self.out) {
                    if seat.socket.send(&self.out[..bytes]).is_err() {
                        self.send_failed += 1;
                    }
                }
                seat.due = seat.client.next_timeout();
            }
            next = next.min(if seat.ready { Micros(0) } else { seat.due });
        }
        // epoll counts milliseconds: less than one is spent polling.
        let wait = Duration::from_millis(next.since_us(self.now()) / 1_000);
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result.context("cannot wait for packets")?,
        }
        for event in &self.events {
            self.seats[event.token().0].ready = true;
        }
        for seat in self.seats.iter_mut().filter(|seat| seat.ready) {
            seat.read(self.origin_us, &mut self.buffer)?;
        }
        Ok(())
    }
}

impl Seat {
    fn read(&mut self, origin_us: u64, buffer: &mut [u8]) -> Result<()> {
        for _ in 0..READS_PER_TURN {
            let received = sys::receive(&self.socket, buffer).context("cannot receive")?;
            let Some((bytes, segment)) = received else {
                self.ready = false;
                break;
            };
            let now = Micros(sys::monotonic_us() - origin_us);
            for datagram in buffer[..bytes].chunks_mut(segment) {
                let mut answer = [0; ANSWER_BYTES_MAX];
                if let Some(bytes) =
                    self.checks.as_ref().and_then(|checks| checks.answer(datagram, &mut answer))
                {
                    // A lost answer is asked for again.
                    let _ = self.socket.send(&answer[..bytes]);
                    continue;
                }
                self.client.handle_datagram(now, datagram);
            }
        }
        self.due = self.client.next_timeout();
        Ok(())
    }
}
