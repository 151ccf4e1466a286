//! The few system calls the harness needs and the standard library lacks: network namespaces per thread, pinning, hardware
//! counters, reading a datagram with its GRO segment size, and a flag for ctrl-c.
//!
//! Promises: every raw call is wrapped here and nowhere else in the crate.
#![expect(
    unsafe_code,
    reason = "setns, sched_setaffinity, perf_event_open, recvmsg with control data and signals have no safe form"
)]

use std::fs::File;
use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Moves the calling thread into a network namespace; threads it makes later are born there.
pub fn enter_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns reads no memory of ours; the descriptor is open, for we hold the file.
    let answer = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    check(answer)
}

/// Whether we run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Pins the calling thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is a plain bit mask, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the index is below CPU_SETSIZE by the test above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer is to a live set of the size given; 0 is the calling thread.
    let answer = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    check(answer)
}

/// Microseconds of CLOCK_MONOTONIC.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, written before the call returns.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on ctrl-c and SIGTERM set a flag instead of ending the process, so that namespaces are removed.
pub fn catch_interrupts() {
    extern "C" fn note(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler has the signature the kernel calls and only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether ctrl-c or SIGTERM came.
pub fn interrupted() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Allows this process to have so many files open.
pub fn allow_files(count: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit, written before the call returns.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur >= count {
        return Ok(());
    }
    limit.rlim_cur = count;
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: the pointer is to a live rlimit, which the call only reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// What a hardware counter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterKind {
    /// CPU cycles in user mode.
    CyclesUser,
    /// CPU cycles in kernel mode.
    CyclesKernel,
    /// Instructions in user mode.
    InstructionsUser,
    /// Instructions in kernel mode.
    InstructionsKernel,
}

/// A running hardware counter of one thread.
pub struct Counter(File);

impl Counter {
    /// Counts for thread `tid`, on any CPU, from now on.
    pub fn of_thread(tid: i32, kind: CounterKind) -> io::Result<Self> {
        const PERF_TYPE_HARDWARE: u32 = 0;
        const EXCLUDE_USER: u64 = 1 << 4;
        const EXCLUDE_KERNEL: u64 = 1 << 5;
        const EXCLUDE_HV: u64 = 1 << 6;
        let (config, exclude) = match kind {
            CounterKind::CyclesUser => (0, EXCLUDE_KERNEL),
            CounterKind::CyclesKernel => (0, EXCLUDE_USER),
            CounterKind::InstructionsUser => (1, EXCLUDE_KERNEL),
            CounterKind::InstructionsKernel => (1, EXCLUDE_USER),
        };
        // struct perf_event_attr of PERF_ATTR_SIZE_VER0: type, size, config, period, sample type, read format, flags,
        // wakeup, breakpoint type, breakpoint address.
        let mut attr = [0_u64; 8];
        attr[0] = u64::from(PERF_TYPE_HARDWARE) | 64 << 32;
        attr[1] = config;
        attr[5] = exclude | EXCLUDE_HV;
        // SAFETY:
        // * the attribute block is 64 bytes, as its size field says, and outlives the call, which only reads it;
        // * the other arguments are plain numbers: thread, any CPU, no group, close-on-exec.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), tid, -1, -1, 8) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor that nobody else owns.
        let owned = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self(File::from(owned)))
    }

    /// The count so far.
    pub fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        io::Read::read_exact(&mut &self.0, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

const SOL_UDP: i32 = 17;
const UDP_GRO: i32 = 104;

/// Prepares a client's socket: non-blocking, GRO, a large receive buffer (beyond the sysctl limit when root).
pub fn prepare_socket(socket: &UdpSocket, receive_buffer_bytes: i32) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    set_option(socket, SOL_UDP, UDP_GRO, 1)?;
    let forced = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, receive_buffer_bytes);
    forced.or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, receive_buffer_bytes))
}

fn set_option(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live int of the size given; the socket is open.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    check(answer)
}

/// Reads one super-datagram: its bytes and the size of its segments (all but the last have it). `None` when nothing waits.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, usize)>> {
    // Room for one cmsg with an int: 16 bytes of header and 8 of data, aligned like a cmsghdr.
    let mut control = [0_u64; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data, for which all zeroes means "no name, no parts, no control".
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY:
    // * the header names one part, which is `buffer`, exclusively borrowed for the call;
    // * control is a live array of the length given, aligned to 8 as cmsghdr needs;
    // * the socket is open.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if got < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            // ICMP of a server that is not there yet.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted => Ok(Some((0, 1))),
            _ => Err(error),
        };
    }
    let bytes = got as usize;
    // The only control message asked for is UDP_GRO: header (length, level, type), then an int.
    let (level, kind) = (control[1] as u32 as i32, (control[1] >> 32) as u32 as i32);
    let has_size = message.msg_controllen >= 20 && (level, kind) == (SOL_UDP, UDP_GRO);
    let segment = if has_size { control[2] as u32 as usize } else { bytes };
    Ok(Some((bytes, segment.max(1))))
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_received_whole_and_an_empty_socket_says_so() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        prepare_socket(&receiver, 1 << 18).expect("the options exist since Linux 5.0");
        let mut buffer = vec![0; 65_536];
        assert!(receive(&receiver, &mut buffer).expect("readable").is_none());
        let sender = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        sender.send_to(&[7; 321], receiver.local_addr().expect("it is bound")).expect("loopback takes it");
        let (bytes, segment) = receive(&receiver, &mut buffer).expect("readable").expect("it was delivered");
        assert_eq!((bytes, segment), (321, 321));
        assert!(buffer[..321].iter().all(|&byte| byte == 7));
    }

    #[test]
    fn time_goes_forward() {
        let first = monotonic_us();
        assert!(monotonic_us() >= first);
    }
}
