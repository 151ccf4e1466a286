//! The io_uring backend: one ring, one socket, one thread.
//!
//! Path: arrivals come by a multishot RECVMSG into a provided buffer ring; a turn's sends leave by one `io_uring_enter`.
//! Sketch, per 1,200-byte datagram: receive ~2.8 k cycles (0.5 k with GRO x8), send 7-8 k (2.6 k with GSO x4).
//! Promises: one system call per turn while there is work; no allocation after [`Uring::new`]; the kernel writes only into memory
//! that lives as long as the ring, and reads a turn's sends only until their completions: until then no buffer is lent.
//! A full send queue of the socket is back-pressure, not loss: the engine keeps what it has, and its own bounds apply.
//! Needs Linux 6.1 (single issuer, deferred task work). Not `Send`: the ring belongs to the thread that made it.
#![expect(unsafe_code, reason = "the memory behind submission entries is shared with the kernel")]

mod buffers;
mod pages;

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use self::buffers::{BufferId, RxBuffers};
use super::address::{CONTROL_BYTES, NAME_BYTES, read_control, read_name};
use super::outbox::{Outbox, empty_header};
use super::socket::UdpSocket;
use super::{Backend, IoCounts, Turn};
use crate::base::limits::{
    GSO_BYTES_MAX, IDLE_US_MAX, RX_BUFFER_BYTES, RX_BUFFERS_PER_CORE, RX_BUFFERS_PER_TURN, SENDS_PER_TURN,
};
use crate::base::net::{BuffersFull, Datagram, Path, SendBuffers};

/// Every send of a turn plus the re-armed receive, wake-up and watch.
const SUBMISSIONS: u32 = (SENDS_PER_TURN + 3).next_power_of_two() as u32;
/// Every send, every receive buffer and the ends of receive and wake-up complete without an overflow.
const COMPLETIONS: u32 = 4 * SUBMISSIONS;
const _: () = assert!(COMPLETIONS as usize >= SENDS_PER_TURN + RX_BUFFERS_PER_CORE as usize + 16);
/// What `io_uring_recvmsg_out` takes: four u32.
const OUT_BYTES: usize = 16;
/// Where the payload begins in a receive buffer: on a cache line.
const PAYLOAD_OFFSET: usize = OUT_BYTES + NAME_BYTES + CONTROL_BYTES;
const _: () = assert!(PAYLOAD_OFFSET.is_multiple_of(64) && PAYLOAD_OFFSET + 65_535 <= RX_BUFFER_BYTES);
const _: () = assert!(GSO_BYTES_MAX <= 65_507);

const SOCKET: Fixed = Fixed(0);
const WAKE: Fixed = Fixed(1);
/// User data: sends use their index.
const RECEIVE_TAG: u64 = 1 << 32;
const WAKE_TAG: u64 = 2 << 32;
const WATCH_TAG: u64 = 3 << 32;
/// Shortest wait for a full send queue: 500 us of 1 Gbit/s are 50 datagrams.
const STALLED_US: u64 = 500;
/// A receive that fails this often in a row will not come back.
const RECEIVE_FAILURES_MAX: u32 = 16;

/// Everything the kernel may write to or read from at any time.
struct Shared {
    buffers: RxBuffers,
    outbox: Outbox,
    receive_header: Box<libc::msghdr>,
    wake_count: Box<u64>,
}

/// An arrival that is not handed to the engine yet.
struct Filled {
    id: BufferId,
    bytes: usize,
}

/// See the module.
pub struct Uring {
    ring: IoUring,
    shared: ManuallyDrop<Shared>,
    socket: UdpSocket,
    filled: VecDeque<Filled>,
    receiving: bool,
    waking: bool,
    /// A descriptor that ends sleeps.
    watched: Option<RawFd>,
    watching: bool,
    receive_failures: u32,
    overflow_seen: u32,
    counts: IoCounts,
    one_thread: PhantomData<*const ()>,
}

fn build(submissions: u32, completions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork()
        .build(submissions)
}

/// Whether this host allows what the backend needs.
///
/// # Errors
/// What the kernel answers: `EPERM` or `EACCES` where io_uring is forbidden, `ENOSYS` or `EINVAL` where it is too old.
pub fn probe() -> io::Result<()> {
    let ring = build(4, 8)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    for code in [opcode::SendMsg::CODE, opcode::RecvMsgMulti::CODE, opcode::Read::CODE, opcode::PollAdd::CODE]
    {
        if !probe.is_supported(code) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
    }
    Ok(())
}

impl Uring {
    /// A ring on `socket` that `wake` (a blocking eventfd) wakes. Make it on the thread that uses it.
    ///
    /// # Errors
    /// io_uring is forbidden or too old, or memory is short.
    pub fn new(socket: UdpSocket, wake: BorrowedFd<'_>) -> io::Result<Self> {
        let ring = build(SUBMISSIONS, COMPLETIONS)?;
        ring.submitter().register_files(&[socket.as_fd().as_raw_fd(), wake.as_raw_fd()])?;
        let mut receive_header = Box::new(empty_header());
        receive_header.msg_namelen = NAME_BYTES as libc::socklen_t;
        receive_header.msg_controllen = CONTROL_BYTES as _;
        let shared = Shared {
            buffers: RxBuffers::new()?,
            outbox: Outbox::new(socket.family()),
            receive_header,
            wake_count: Box::new(0),
        };
        let mut uring = Self {
            ring,
            shared: ManuallyDrop::new(shared),
            socket,
            filled: VecDeque::with_capacity(usize::from(RX_BUFFERS_PER_CORE)),
            receiving: false,
            waking: false,
            watched: None,
            watching: false,
            receive_failures: 0,
            overflow_seen: 0,
            counts: IoCounts::default(),
            one_thread: PhantomData,
        };
        // SAFETY: `shared` is dropped only by our own `drop`, after every receive has ended (otherwise it is leaked).
        unsafe { uring.shared.buffers.register(&uring.ring.submitter()) }?;
        uring.arm();
        uring.enter(0)?;
        Ok(uring)
    }

    /// The port peers send to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.socket.port()
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: callers pass entries whose pointers lead into `shared`, which outlives the operation:
        // * the receive header and the wake-up count are boxes that nobody else touches;
        // * headers and datagrams of sends stay unchanged while they are in flight: the outbox sees to that.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the queue holds every send of a turn, the receive and the wake-up");
    }

    /// Starts receive and wake-up where they are not running.
    fn arm(&mut self) {
        if !self.receiving {
            let header = &raw const *self.shared.receive_header;
            let entry = opcode::RecvMsgMulti::new(SOCKET, header, buffers::GROUP).build();
            self.push(&entry.user_data(RECEIVE_TAG));
            self.receiving = true;
        }
        if !self.waking {
            let count = (&raw mut *self.shared.wake_count).cast();
            let entry = opcode::Read::new(WAKE, count, size_of::<u64>() as u32).build();
            self.push(&entry.user_data(WAKE_TAG));
            self.waking = true;
        }
        if let Some(fd) = self.watched
            && !self.watching
        {
            // Completes at once if the descriptor is readable already.
            let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).build();
            self.push(&entry.user_data(WATCH_TAG));
            self.watching = true;
        }
    }

    /// Queues what `send` collected.
    fn queue_sends(&mut self) {
        for index in 0..self.shared.outbox.launch() {
            let entry = opcode::SendMsg::new(SOCKET, self.shared.outbox.header(index)).build();
            self.push(&entry.user_data(index as u64));
        }
    }

    /// One `io_uring_enter`: submits everything queued, runs deferred work, waits at most `wait_us` for a completion.
    fn enter(&mut self, wait_us: u64) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let result = if wait_us == 0 {
            submitter.submit()
        } else {
            let wait = Timespec::from(Duration::from_micros(wait_us));
            submitter.submit_with_args(1, &SubmitArgs::new().timespec(&wait))
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is over; a signal came; completions must be reaped first. Each is an ordinary turn.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Whether the kernel has completions that an enter would bring.
    fn has_deferred_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow() || !queue.is_empty()
    }

    /// Takes all completions.
    fn reap(&mut self) -> io::Result<()> {
        let mut completions = self.ring.completion();
        for completion in &mut completions {
            let result = completion.result();
            match completion.user_data() {
                RECEIVE_TAG => {
                    self.receiving = cqueue::more(completion.flags());
                    match (usize::try_from(result), cqueue::buffer_select(completion.flags())) {
                        (Ok(bytes), Some(id)) => {
                            self.receive_failures = 0;
                            self.filled.push_back(Filled { id: RxBuffers::claim(id), bytes });
                        }
                        // The ring of buffers ran empty; what the socket queues meanwhile comes after re-arming.
                        _ if result == -libc::ENOBUFS => {}
                        _ => {
                            self.receive_failures += 1;
                            if self.receive_failures > RECEIVE_FAILURES_MAX {
                                return Err(io::Error::from_raw_os_error(-result));
                            }
                        }
                    }
                }
                WAKE_TAG => {
                    self.waking = false;
                    if result < 0 && result != -libc::ECANCELED {
                        return Err(io::Error::from_raw_os_error(-result));
                    }
                }
                WATCH_TAG => {
                    self.watching = false;
                    if result < 0 && result != -libc::ECANCELED {
                        return Err(io::Error::from_raw_os_error(-result));
                    }
                }
                index => self.shared.outbox.complete(index as usize, (-result).max(0)),
            }
        }
        Ok(())
    }

    /// Whether no operation is left that the kernel could still complete.
    fn is_idle(&self) -> bool {
        !self.receiving && !self.waking && !self.watching && self.shared.outbox.in_flight() == 0
    }

    fn cancel_everything(&mut self) {
        let second = Timespec::from(Duration::from_secs(1));
        // Not found is fine; anything else shows below, when the ends do not come.
        let _ = self.ring.submitter().register_sync_cancel(Some(second), CancelBuilder::any());
        for _ in 0..100 {
            let ended = self.reap().is_ok() && self.is_idle();
            if ended || self.enter(10_000).is_err() {
                break;
            }
        }
    }
}

impl SendBuffers for Uring {
    const KEEPS_DATAGRAMS: bool = true;

    fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.shared.outbox.send(path, bytes_max, fill)
    }

    #[inline]
    fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        self.shared.outbox.send_again(path, bytes_max, fill)
    }

    fn last(&self) -> Option<Datagram> {
        self.shared.outbox.batch().last()
    }

    fn datagram(&self, datagram: Datagram) -> &[u8] {
        self.shared.outbox.batch().datagram(datagram)
    }

    fn datagram_mut(&mut self, datagram: Datagram) -> &mut [u8] {
        self.shared.outbox.batch_mut().datagram_mut(datagram)
    }
}

impl Backend for Uring {
    fn turn(&mut self, wait_us: u64) -> io::Result<Turn> {
        self.arm();
        let turn = if self.shared.outbox.in_flight() > 0 {
            // The socket's send queue is full; the kernel goes on by itself when there is room. Nothing can be sent before.
            self.enter(wait_us.clamp(STALLED_US, IDLE_US_MAX))?;
            Turn::Waited
        } else {
            self.queue_sends();
            if self.shared.outbox.in_flight() > 0 {
                self.enter(0)?;
                Turn::Sent
            } else if wait_us == 0 || !self.filled.is_empty() {
                if self.has_deferred_work() {
                    self.enter(0)?;
                }
                Turn::Polled
            } else {
                self.enter(wait_us)?;
                Turn::Waited
            }
        };
        self.reap()?;
        self.shared.outbox.settle(self.socket.as_fd());
        Ok(turn)
    }

    fn receive(&mut self, mut sink: impl FnMut(Path, &mut [u8])) {
        let port = self.socket.port();
        for _ in 0..RX_BUFFERS_PER_TURN {
            let Some(Filled { id, bytes }) = self.filled.pop_front() else { break };
            let message = self.shared.buffers.bytes(&id, bytes);
            match parse(message, port) {
                Some((path, segment_bytes, overflow, payload)) => {
                    if let Some(overflow) = overflow {
                        self.counts.kernel_overflow += u64::from(overflow.wrapping_sub(self.overflow_seen));
                        self.overflow_seen = overflow;
                    }
                    if payload.is_empty() {
                        sink(path, payload);
                    }
                    for datagram in payload.chunks_mut(segment_bytes) {
                        sink(path, datagram);
                    }
                }
                None => self.counts.malformed += 1,
            }
            self.shared.buffers.give_back(id);
        }
        self.shared.buffers.publish();
    }

    fn take_counts(&mut self) -> IoCounts {
        let mut counts = self.shared.outbox.take_counts();
        let received = std::mem::take(&mut self.counts);
        counts.kernel_overflow = received.kernel_overflow;
        counts.malformed = received.malformed;
        counts
    }

    fn watch(&mut self, fd: RawFd) -> io::Result<()> {
        self.watched = Some(fd);
        Ok(())
    }
}

/// Takes apart what a multishot RECVMSG wrote: the path, the size of each datagram, the socket's count of drops, the payload.
fn parse(message: &mut [u8], port: u16) -> Option<(Path, usize, Option<u32>, &mut [u8])> {
    let (head, payload) = message.split_at_mut_checked(PAYLOAD_OFFSET)?;
    let word = |index: usize| {
        let bytes: [u8; 4] = head[4 * index..4 * index + 4].try_into().expect("four bytes of a longer array");
        u32::from_ne_bytes(bytes) as usize
    };
    let (name_bytes, control_bytes, flags) = (word(0), word(1), word(3));
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) as usize != 0 {
        return None;
    }
    let name = &head[OUT_BYTES..][..name_bytes.min(NAME_BYTES)];
    let control = &head[OUT_BYTES + NAME_BYTES..][..control_bytes.min(CONTROL_BYTES)];
    let arrival = read_control(control);
    let path = Path { local: SocketAddr::new(arrival.local?, port), remote: read_name(name)? };
    let segment_bytes = arrival.segment_bytes.filter(|&bytes| bytes > 0).unwrap_or(payload.len().max(1));
    Some((path, segment_bytes, arrival.overflow, payload))
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.cancel_everything();
        let idle = self.is_idle();
        // Never registered is as good as unregistered.
        let unregistered = match self.ring.submitter().unregister_buf_ring(buffers::GROUP) {
            Ok(()) => true,
            Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)),
        };
        if !idle || !unregistered {
            // The kernel may still write: the memory must stay, and the process is about to end anyway.
            return;
        }
        // SAFETY: dropped once, here, and not used afterwards; no operation is left that could reach it.
        unsafe { ManuallyDrop::drop(&mut self.shared) };
    }
}
