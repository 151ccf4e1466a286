//! `kaigi-without-uring PROGRAM ARGUMENT…`: runs a program as a container does that forbids io_uring, by a seccomp filter under
//! which `io_uring_setup` answers EPERM.
#![expect(unsafe_code, reason = "prctl takes the filter by pointer")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Where the number of the system call stands in what a filter looks at (`seccomp_data.nr`).
const NUMBER_AT: u32 = 0;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: kaigi-without-uring PROGRAM ARGUMENT…")?;
    forbid().context("this kernel takes no seccomp filter")?;
    Err(Command::new(&program).args(arguments).exec()).with_context(|| format!("{}", program.display()))
}

/// Installs the filter, for this process and all it becomes.
fn forbid() -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER_AT),
        // Another call skips the refusal.
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32)
        },
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: this option takes numbers and no pointer.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the pointer is that of a live program, whose pointer and length are those of a live array; the kernel copies both.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
