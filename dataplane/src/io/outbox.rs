//! A turn's sends on their way into the kernel: the batch, the message headers over it, and what became of each send.
//!
//! Place: between [`SendBuffers`](crate::base::net::SendBuffers) and a backend's system calls; `uring` and `epoll` share it.
//! Promises: headers, names and control data never move, so that the kernel can be given pointers to them; nothing is overwritten
//! while a send is in flight; what GSO refuses is sent singly, and if that works GSO is not tried again.
#![expect(unsafe_code, reason = "sendmsg with a prepared header, for what GSO refused")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::IoCounts;
use super::address::{Family, NAME_BYTES, SEND_CONTROL_BYTES, write_name, write_send_control};
use super::batch::{Batch, Send};
use crate::base::limits::SENDS_PER_TURN;
use crate::base::net::{BuffersFull, Path};

/// What a header points to besides the datagrams.
struct Parts {
    vector: libc::iovec,
    name: [u8; NAME_BYTES],
    control: [u8; SEND_CONTROL_BYTES],
}

/// See the module.
pub(super) struct Outbox {
    family: Family,
    batch: Batch,
    headers: Box<[libc::mmsghdr]>,
    parts: Box<[Parts]>,
    /// Sends with a header that did not complete yet.
    in_flight: usize,
    /// Sends that GSO refused, by index.
    refused: Vec<usize>,
    counts: IoCounts,
}

impl Outbox {
    pub(super) fn new(family: Family) -> Self {
        let empty = || Parts {
            vector: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            name: [0; NAME_BYTES],
            control: [0; SEND_CONTROL_BYTES],
        };
        Self {
            family,
            batch: Batch::default(),
            headers: (0..SENDS_PER_TURN)
                .map(|_| libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 })
                .collect(),
            parts: (0..SENDS_PER_TURN).map(|_| empty()).collect(),
            in_flight: 0,
            refused: Vec::with_capacity(SENDS_PER_TURN),
            counts: IoCounts::default(),
        }
    }

    /// See [`crate::base::net::SendBuffers::send`].
    pub(super) fn send(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        // The kernel may still read the last turn's bytes.
        if self.in_flight > 0 {
            return Err(BuffersFull);
        }
        self.batch.send(path, bytes_max, fill)
    }

    /// See [`crate::base::net::SendBuffers::send_again`].
    #[inline]
    pub(super) fn send_again(
        &mut self,
        path: &Path,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), BuffersFull> {
        if self.in_flight > 0 {
            return Err(BuffersFull);
        }
        self.batch.send_again(path, bytes_max, fill)
    }

    /// The datagrams of the turn, until it is launched.
    #[inline]
    pub(super) const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The same, to be changed.
    #[inline]
    pub(super) const fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Sends that did not complete yet.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Writes a header over every send of the turn and answers how many there are; from now on they are in flight.
    /// The kernel refuses a send whose address the socket cannot name.
    pub(super) fn launch(&mut self) -> usize {
        debug_assert!(self.in_flight == 0, "a batch is launched once");
        let count = self.batch.sends().len();
        for index in 0..count {
            let send = self.batch.sends()[index];
            self.counts.sends += 1;
            self.counts.datagrams_sent += send.count as u64;
            write_header(
                self.family,
                &mut self.headers[index].msg_hdr,
                &mut self.parts[index],
                &send,
                self.batch.bytes(&send),
            );
        }
        self.in_flight = count;
        count
    }

    /// The header of one send, valid and unchanged until the send completes.
    pub(super) fn header(&self, index: usize) -> *const libc::msghdr {
        &raw const self.headers[index].msg_hdr
    }

    /// The headers from `index` to the end of the turn's sends, for a call that takes many.
    pub(super) fn headers_from(&mut self, index: usize) -> &mut [libc::mmsghdr] {
        &mut self.headers[index..self.batch.sends().len()]
    }

    /// One send completed: with nothing, or with an error number.
    pub(super) fn complete(&mut self, index: usize, error: i32) {
        self.in_flight -= 1;
        let count = self.batch.sends()[index].count;
        match error {
            0 => {}
            libc::EINVAL | libc::EIO if count > 1 => self.refused.push(index),
            libc::EMSGSIZE => {
                self.counts.too_big += count as u64;
                self.counts.send_failed += count as u64;
            }
            _ => self.counts.send_failed += count as u64,
        }
    }

    /// Ends the turn once nothing is in flight: sends again, one by one, what GSO refused, and empties the batch.
    pub(super) fn settle(&mut self, socket: BorrowedFd<'_>) {
        if self.in_flight > 0 {
            return;
        }
        while let Some(index) = self.refused.pop() {
            self.send_singly(index, socket);
        }
        self.batch.clear();
    }

    /// Takes the counts since the last call.
    pub(super) fn take_counts(&mut self) -> IoCounts {
        std::mem::take(&mut self.counts)
    }

    /// By system call and without waiting: this happens once per boot, or on an odd path.
    fn send_singly(&mut self, index: usize, socket: BorrowedFd<'_>) {
        let send = self.batch.sends()[index];
        self.counts.sends += send.count as u64 - 1;
        let mut refused = false;
        for datagram in self.batch.bytes(&send).chunks(send.segment_bytes) {
            let single = Send { bytes: datagram.len(), segment_bytes: datagram.len(), count: 1, ..send };
            let header = &mut self.headers[index].msg_hdr;
            write_header(self.family, header, &mut self.parts[index], &single, datagram);
            // SAFETY:
            // * the header and everything it points to (name, control, vector, datagram) live in `self`, borrowed here;
            // * the kernel only reads them, and no longer than the call;
            // * the descriptor is open: it is borrowed.
            let result = unsafe { libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT) };
            if result < 0 {
                refused = true;
                self.counts.send_failed += 1;
                if io::Error::last_os_error().raw_os_error() == Some(libc::EMSGSIZE) {
                    self.counts.too_big += 1;
                }
            }
        }
        if !refused {
            // The same datagrams leave without GSO: the host or the path cannot do it.
            self.batch.stop_segmenting();
        }
    }
}

fn write_header(family: Family, header: &mut libc::msghdr, parts: &mut Parts, send: &Send, bytes: &[u8]) {
    // An IPv6 address on an IPv4 socket has no name: the send fails with EDESTADDRREQ and is counted.
    let name_bytes = write_name(family, send.path.remote, &mut parts.name).unwrap_or(0);
    let scope = match send.path.remote {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let segment_bytes = (send.count > 1).then_some(send.segment_bytes as u16);
    let control_bytes =
        write_send_control(family, send.path.local.ip(), scope, segment_bytes, &mut parts.control);
    parts.vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    *header = libc::msghdr {
        msg_name: if name_bytes == 0 { ptr::null_mut() } else { (&raw mut parts.name).cast() },
        msg_namelen: name_bytes as libc::socklen_t,
        msg_iov: &raw mut parts.vector,
        msg_iovlen: 1,
        msg_control: (&raw mut parts.control).cast(),
        msg_controllen: control_bytes as _,
        ..empty_header()
    };
}

/// A header that names nothing.
pub(super) const fn empty_header() -> libc::msghdr {
    libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}
