//! The provided buffer ring: where the kernel puts arrivals without being asked for each one.
//!
//! Memory: RX_BUFFERS_PER_CORE x RX_BUFFER_BYTES of address space; resident only as far as arrivals ever reached.
#![expect(unsafe_code, reason = "a ring of buffer descriptors shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::pages::Pages;
use crate::base::limits::{RX_BUFFER_BYTES, RX_BUFFERS_PER_CORE};

/// The buffer group named in the receive.
pub(super) const GROUP: u16 = 0;
const MASK: u16 = RX_BUFFERS_PER_CORE - 1;

/// A buffer that the kernel filled and has not got back. Not `Clone`: whoever holds it is the only one who may touch the buffer.
pub(super) struct BufferId(u16);

/// The buffers of one core.
pub(super) struct RxBuffers {
    ring: Pages,
    data: Pages,
    /// Entries ever written, modulo 2^16; the kernel sees it at the ring's tail.
    tail: u16,
}

impl RxBuffers {
    /// Buffers, all of them with the kernel once they are registered.
    pub(super) fn new() -> io::Result<Self> {
        let entries = usize::from(RX_BUFFERS_PER_CORE);
        let mut buffers = Self {
            ring: Pages::new(entries * size_of::<BufRingEntry>())?,
            data: Pages::new(entries * RX_BUFFER_BYTES)?,
            tail: 0,
        };
        for id in 0..RX_BUFFERS_PER_CORE {
            buffers.give_back(BufferId(id));
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Registers the ring with the kernel.
    ///
    /// # Safety
    /// The buffers must outlive the io_uring, or every receive on it.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let ring = self.ring.base().as_ptr() as u64;
        // SAFETY:
        // * valid: `ring` is a page-aligned mapping of RX_BUFFERS_PER_CORE entries, all initialised by `new`;
        // * lifetime: the caller's promise.
        unsafe { submitter.register_buf_ring_with_flags(ring, RX_BUFFERS_PER_CORE, GROUP, 0) }
    }

    /// The buffer that a completion names. Call once per completion: it makes the id unique.
    pub(super) fn claim(id: u16) -> BufferId {
        assert!(id < RX_BUFFERS_PER_CORE, "the kernel answers with ids it was given");
        BufferId(id)
    }

    /// The first `bytes` of a filled buffer.
    pub(super) fn bytes(&mut self, id: &BufferId, bytes: usize) -> &mut [u8] {
        assert!(bytes <= RX_BUFFER_BYTES, "the kernel fills no more than it was given");
        // SAFETY: a live `BufferId` means the kernel completed this buffer and has not got it back, so it does not write it.
        unsafe { self.data.slice_mut(usize::from(id.0) * RX_BUFFER_BYTES, bytes) }
    }

    /// Gives a buffer back; the kernel sees it after `publish`.
    pub(super) fn give_back(&mut self, id: BufferId) {
        let index = usize::from(self.tail & MASK);
        // SAFETY: `index` is below RX_BUFFERS_PER_CORE, the number of entries of the mapping.
        let entry = unsafe { self.ring.base().cast::<BufRingEntry>().add(index) };
        // SAFETY: `id` is below RX_BUFFERS_PER_CORE (see `claim` and `new`), so the buffer lies inside the mapping.
        let data = unsafe { self.data.base().add(usize::from(id.0) * RX_BUFFER_BYTES) };
        // SAFETY:
        // * aligned and initialised: the mapping is page aligned and zero at first, any bits are a valid entry;
        // * sole writer: the kernel reads entries only up to the published tail, and this one is at or beyond it: there are as
        //   many entries as buffers, and this buffer was not in the ring. The setters leave the tail, which shares the first
        //   entry's bytes, alone.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(data.as_ptr() as u64);
        entry.set_len(RX_BUFFER_BYTES as u32);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(super) fn publish(&mut self) {
        let base = self.ring.base().cast::<BufRingEntry>();
        // SAFETY: the argument is the first entry of the ring, initialised by `new`.
        let tail = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: the tail is an aligned u16 inside the live mapping, and both sides only ever access it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel's acquire of the tail sees the entries written before.
        tail.store(self.tail, Ordering::Release);
    }
}
