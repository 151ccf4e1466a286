//! Eventfds: the descriptors that wake a sleeping thread.
#![expect(unsafe_code, reason = "the standard library has no eventfd")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// An eventfd with count zero. A backend reads the blocking form through its ring; a thread that reads it directly takes the other.
///
/// # Errors
/// The process has no descriptors left.
pub fn event_fd(blocking: bool) -> io::Result<OwnedFd> {
    let flags = libc::EFD_CLOEXEC | if blocking { 0 } else { libc::EFD_NONBLOCK };
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
