//! Message headers of a turn's sends: what the kernel reads of each SENDMSG besides the datagrams themselves.
#![expect(unsafe_code, reason = "sendmsg with a prepared header, for what GSO refused")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::base::limits::SENDS_PER_TURN;
use crate::io::address::{Family, NAME_BYTES, SEND_CONTROL_BYTES, write_name, write_send_control};
use crate::io::batch::{Batch, Send};

struct Slot {
    header: libc::msghdr,
    vector: libc::iovec,
    name: [u8; NAME_BYTES],
    control: [u8; SEND_CONTROL_BYTES],
}

/// One slot per send of a turn. The slots never move: the kernel is given pointers to them.
pub(super) struct Slots(Box<[Slot]>);

impl Slots {
    pub(super) fn new() -> Self {
        let slot = || Slot {
            header: empty_header(),
            vector: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            name: [0; NAME_BYTES],
            control: [0; SEND_CONTROL_BYTES],
        };
        Self((0..SENDS_PER_TURN).map(|_| slot()).collect())
    }

    /// Writes the header of the `index`th send and answers a pointer to it; `None` if the socket cannot reach the address.
    /// Slot and batch must stay as they are until the send completes.
    pub(super) fn prepare(
        &mut self,
        index: usize,
        family: Family,
        send: &Send,
        bytes: &[u8],
    ) -> Option<*const libc::msghdr> {
        let slot = &mut self.0[index];
        let name_bytes = write_name(family, send.path.remote, &mut slot.name)?;
        let scope = match send.path.remote {
            std::net::SocketAddr::V6(v6) => v6.scope_id(),
            std::net::SocketAddr::V4(_) => 0,
        };
        let segment_bytes = (send.count > 1).then_some(send.segment_bytes as u16);
        let control_bytes =
            write_send_control(family, send.path.local.ip(), scope, segment_bytes, &mut slot.control);
        slot.vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        slot.header.msg_name = (&raw mut slot.name).cast();
        slot.header.msg_namelen = name_bytes as libc::socklen_t;
        slot.header.msg_iov = &raw mut slot.vector;
        slot.header.msg_iovlen = 1;
        slot.header.msg_control = (&raw mut slot.control).cast();
        slot.header.msg_controllen = control_bytes as _;
        Some(&raw const slot.header)
    }
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

/// Sends the datagrams of a refused GSO send one by one, by system call: this happens once per boot or per odd path.
/// Answers how many left, and the last refusal.
pub(super) fn send_singly(
    slots: &mut Slots,
    socket: BorrowedFd<'_>,
    family: Family,
    batch: &Batch,
    index: usize,
) -> (usize, Option<io::Error>) {
    let send = batch.sends()[index];
    let mut sent = 0;
    let mut refusal = None;
    for datagram in batch.bytes(&send).chunks(send.segment_bytes) {
        let single = Send { bytes: datagram.len(), segment_bytes: datagram.len(), count: 1, ..send };
        let Some(header) = slots.prepare(index, family, &single, datagram) else { continue };
        // SAFETY:
        // * the header and everything it points to (name, control, vector, datagram) live in `slots` and `batch`, borrowed here;
        // * the kernel only reads them, and no longer than the call;
        // * the descriptor is open: it is borrowed.
        let result = unsafe { libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT) };
        if result >= 0 {
            sent += 1;
        } else {
            refusal = Some(io::Error::last_os_error());
        }
    }
    (sent, refusal)
}
