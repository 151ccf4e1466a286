//! One TCP connection of a core: frames in, a bounded queue of frames out.
//!
//! Promises: a frame is queued whole or not at all; a turn's frames leave with one write; memory is taken as it is used and bounded
//! by one frame in and [`TCP_QUEUE_BYTES`] out.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::counts::TcpEnd;
use super::frame::{LENGTH_BYTES, Reassembly, length_field};
use crate::base::limits::{
    TCP_CONGESTED_BYTES, TCP_FRAME_BYTES_MAX, TCP_IDLE_US, TCP_PROOF_US, TCP_QUEUE_BYTES, TCP_READ_BYTES,
    TCP_STALLED_US, TCP_UNPROVED_BYTES_MAX, TCP_UNPROVED_READ_BYTES,
};
use crate::base::net::Path;
use crate::base::time::Micros;

/// See the module.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) path: Path,
    /// It is in the list of those to write.
    pub(super) listed: bool,
    /// The other side sends no more: what is read next may be the end.
    pub(super) is_ending: bool,
    /// Read before it was proved.
    unproved_bytes: usize,
    incoming: Reassembly,
    queue: Queue,
    opened: Micros,
    /// When something was last sent on it, since its peer authenticated.
    answered: Option<Micros>,
    /// The queue was empty or lost a byte.
    moved: Micros,
}

/// What a look at a connection found.
pub(super) enum Reading {
    /// Everything there was.
    Drained,
    /// There may be more.
    More,
    /// The end.
    Ended(TcpEnd),
}

impl Connection {
    pub(super) fn new(now: Micros, stream: TcpStream, path: Path, read_before: Vec<u8>) -> Self {
        Self {
            stream,
            path,
            listed: false,
            is_ending: false,
            unproved_bytes: 0,
            incoming: Reassembly::with(read_before),
            queue: Queue::default(),
            opened: now,
            answered: None,
            moved: now,
        }
    }

    pub(super) const fn is_proved(&self) -> bool {
        self.answered.is_some()
    }

    pub(super) const fn opened(&self) -> Micros {
        self.opened
    }

    pub(super) fn is_congested(&self) -> bool {
        self.queue.bytes() > TCP_CONGESTED_BYTES
    }

    /// Queues a datagram; false when there is no room.
    pub(super) fn push(
        &mut self,
        now: Micros,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        if self.queue.bytes() == 0 {
            self.moved = now;
        }
        let queued = self.queue.push(bytes_max, fill);
        if queued && self.is_proved() {
            self.answered = Some(now);
        }
        queued
    }

    /// Its peer has authenticated.
    pub(super) const fn prove(&mut self, now: Micros) {
        self.answered = Some(now);
    }

    /// Reads once and gives every whole frame to `sink`; adds empty frames to `malformed`. A connection that nobody has proved is read
    /// in small pieces, and not for long: whatever it says costs its core work.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        malformed: &mut u64,
        mut sink: impl FnMut(Path, &mut [u8]),
    ) -> Reading {
        let held = self.incoming.begin(buffer);
        let most =
            if self.is_proved() { buffer.len() } else { buffer.len().min(held + TCP_UNPROVED_READ_BYTES) };
        let (read, outcome) = match self.stream.read(&mut buffer[held..most]) {
            Ok(0) => (0, Reading::Ended(TcpEnd::Closed)),
            // A short read emptied the socket; what comes later is told about.
            Ok(count) if held + count < most && !self.is_ending => (count, Reading::Drained),
            Ok(count) => (count, Reading::More),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (0, Reading::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => (0, Reading::More),
            Err(_) => (0, Reading::Ended(TcpEnd::Failed)),
        };
        if !self.is_proved() {
            self.unproved_bytes += read;
            if self.unproved_bytes > TCP_UNPROVED_BYTES_MAX {
                return Reading::Ended(TcpEnd::Unproved);
            }
        }
        let path = self.path;
        match self.incoming.take(&mut buffer[..held + read], TCP_FRAME_BYTES_MAX, |frame| sink(path, frame)) {
            Ok(empty) => {
                *malformed += empty;
                outcome
            }
            Err(_) => Reading::Ended(TcpEnd::FrameTooLong),
        }
    }

    /// Writes what is queued, as far as the kernel takes it.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn write(&mut self, now: Micros) -> Result<(), TcpEnd> {
        while self.queue.bytes() > 0 {
            match self.stream.write(self.queue.waiting()) {
                Ok(count) => {
                    self.queue.left(count);
                    self.moved = now;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted => {}
                    _ => return Err(TcpEnd::Failed),
                },
            }
        }
        Ok(())
    }

    /// Why it should end now, if it should.
    pub(super) fn overdue(&self, now: Micros) -> Option<TcpEnd> {
        match self.answered {
            None => (now.since_us(self.opened) >= TCP_PROOF_US).then_some(TcpEnd::Unproved),
            Some(_) if self.queue.bytes() > 0 && now.since_us(self.moved) >= TCP_STALLED_US => {
                Some(TcpEnd::Stalled)
            }
            Some(at) => (now.since_us(at) >= TCP_IDLE_US).then_some(TcpEnd::Idle),
        }
    }
}

/// Bytes in order, without wrap: what is at the front moves only when the end is reached.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn left(&mut self, count: usize) {
        self.start += count;
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            // What a burst took is not kept by thousands of idle connections.
            self.bytes.shrink_to(TCP_CONGESTED_BYTES);
        }
    }

    /// Appends one frame; false when it does not fit.
    fn push(&mut self, bytes_max: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let room = LENGTH_BYTES + bytes_max;
        if self.bytes() + room > TCP_QUEUE_BYTES {
            return false;
        }
        if self.bytes.len() + room > TCP_QUEUE_BYTES {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let at = self.bytes.len();
        self.bytes.resize(at + room, 0);
        let count = fill(&mut self.bytes[at + LENGTH_BYTES..]);
        assert!(count <= bytes_max, "the engine wrote more than it asked for");
        match length_field(count) {
            Some(length) if count > 0 => {
                self.bytes[at..at + LENGTH_BYTES].copy_from_slice(&length);
                self.bytes.truncate(at + LENGTH_BYTES + count);
            }
            _ => self.bytes.truncate(at),
        }
        true
    }
}

/// A buffer for [`Connection::read`].
pub(super) fn read_buffer() -> Box<[u8]> {
    vec![0; TCP_READ_BYTES].into_boxed_slice()
}

/// What an accepted connection is set to. Refusals cost latency, not function.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(crate::base::limits::TCP_UNSENT_BYTES)?;
    socket.set_tcp_user_timeout(Some(std::time::Duration::from_micros(TCP_IDLE_US)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(queue: &mut Queue, byte: u8, count: usize) -> bool {
        queue.push(count, |out| {
            out.fill(byte);
            count
        })
    }

    #[test]
    fn frames_are_queued_whole_and_leave_in_order_however_they_are_cut() {
        let mut queue = Queue::default();
        let (mut sent, mut taken) = (Vec::new(), 0_u8);
        for round in 0..2_000_usize {
            if datagram(&mut queue, taken, 1 + round % 1_400) {
                taken = taken.wrapping_add(1);
            }
            let count = queue.bytes().min(round * 7 % 1_300);
            sent.extend_from_slice(&queue.waiting()[..count]);
            queue.left(count);
            assert!(queue.bytes.len() <= TCP_QUEUE_BYTES);
        }
        sent.extend_from_slice(queue.waiting());
        let mut expected = 0_u8;
        let mut reassembly = Reassembly::default();
        let read = reassembly.take(&mut sent, 1_400, |frame| {
            assert!(frame.iter().all(|byte| *byte == expected), "a frame is one datagram");
            expected = expected.wrapping_add(1);
        });
        assert_eq!((read, reassembly.held_bytes(), expected), (Ok(0), 0, taken));
    }

    #[test]
    fn a_full_queue_refuses_and_a_cancelled_datagram_leaves_nothing() {
        let mut queue = Queue::default();
        assert!(queue.push(1_400, |_| 0));
        assert_eq!(queue.bytes(), 0);
        let mut taken = 0;
        while datagram(&mut queue, 1, 1_000) {
            taken += 1;
        }
        assert_eq!(taken, TCP_QUEUE_BYTES / (1_000 + LENGTH_BYTES));
        queue.left(1_002);
        assert!(datagram(&mut queue, 1, 1_000) && !datagram(&mut queue, 1, 1_000));
    }
}
