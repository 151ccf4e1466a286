//! What is asked of the host for the process and its threads: CPUs, exact timers, descriptors.
#![expect(
    unsafe_code,
    reason = "pinning a thread to a CPU is a system call that the standard library does not have"
)]

use std::io;

/// Ties the calling thread to one CPU and lets its timers be exact.
pub(super) fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a set of CPUs is plain bits, and zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below CPU_SETSIZE, checked above, so it lies inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer and size are those of a live set; the kernel only reads it. Thread 0 is the caller.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this option takes a number and no pointer. By default the kernel may be 50 us late; a pacer wants 1 us.
    // Where it is refused, timers are only less exact.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
    Ok(())
}

/// A TCP connection takes a descriptor, and the usual soft limit of 1,024 is meant for programs that call select. Where it cannot be
/// raised, connections beyond it are refused one by one.
pub(super) fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a live, initialised structure, which the kernel fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 && limit.rlim_cur < limit.rlim_max
    {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is that of a live, initialised structure, which the kernel only reads.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}
