//! Anonymous memory that the kernel also reads or writes: page aligned, zero at first, resident only where touched.
#![expect(unsafe_code, reason = "mmap, and slices of memory that is shared with the kernel")]

use std::io;
use std::ptr::{self, NonNull};

/// One mapping, unmapped on drop.
pub(super) struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { base, bytes })
    }

    /// The first byte; what is reachable from it is `bytes` long.
    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// A part of the mapping.
    ///
    /// # Safety
    /// Until the slice is gone the kernel must not read or write this part.
    pub(super) unsafe fn slice_mut(&mut self, offset: usize, bytes: usize) -> &mut [u8] {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "inside the mapping");
        // SAFETY: `offset` is at most `bytes` of this mapping, see the assertion.
        let start = unsafe { self.base.add(offset) };
        // SAFETY:
        // * in bounds and initialised: the assertion above, and anonymous memory starts as zeros;
        // * sole user: the slice borrows the mapping mutably, and the caller keeps the kernel away.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `new`; no slice outlives the borrow of self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
