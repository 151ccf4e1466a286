//! The CPU's cycle counter, read at batch boundaries to book where a core's time goes.
#![expect(unsafe_code, reason = "the time-stamp counter is an intrinsic")]

/// Cycles since an arbitrary origin. On x86-64 the constant-rate time-stamp counter, elsewhere nanoseconds.
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 CPU has RDTSC; it reads a register and touches no memory.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec of this frame, written before the call returns.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}
