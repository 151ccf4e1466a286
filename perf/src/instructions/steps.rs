//! Counting instructions: a child process stops at marks, and between two of them it takes one instruction after the other.
//!
//! Promises: what marks themselves cost is measured by empty pairs and taken off; signals other than marks reach the child.
#![expect(unsafe_code, reason = "ptrace and raise have no safe form")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

/// What the instructions between two marks are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing: what marks cost.
    Empty,
    /// A datagram with media.
    Receive,
    /// A datagram with anything else.
    Rtcp,
    /// The end of a turn.
    Send,
}

const STAGES: usize = 4;
/// Signal that ends a stage; those that begin one are the real-time signals from the first on.
const END: i32 = libc::SIGUSR2;
/// Empty pairs that tell what a pair costs.
const EMPTY_PAIRS: u32 = 16;

fn begin_signal(stage: Stage) -> i32 {
    libc::SIGRTMIN() + stage as i32
}

/// The counted side.
pub struct Marks {
    on: bool,
}

impl Marks {
    /// Marks that nobody sees.
    pub const fn off() -> Self {
        Self { on: false }
    }

    /// Marks from now on. Without a process that counts, the first one ends this one.
    pub fn on() -> Self {
        let marks = Self { on: true };
        for _ in 0..EMPTY_PAIRS {
            marks.around(Stage::Empty, || ());
        }
        marks
    }

    /// Does `work` between two marks.
    pub fn around<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        // SAFETY: raise takes no memory; the counting process swallows both signals.
        unsafe { libc::raise(begin_signal(stage)) };
        let result = work();
        // SAFETY: as above.
        unsafe { libc::raise(END) };
        result
    }
}

/// Instructions and pairs of marks by stage.
#[derive(Default)]
pub struct Counts {
    instructions: [u64; STAGES],
    pairs: [u64; STAGES],
}

impl Counts {
    /// Instructions of a stage, without those of its marks.
    pub fn of(&self, stage: Stage) -> u64 {
        let [empty, pairs] = [self.instructions[Stage::Empty as usize], self.pairs[Stage::Empty as usize]];
        let marks = empty.checked_div(pairs).unwrap_or(0) * self.pairs[stage as usize];
        self.instructions[stage as usize].saturating_sub(marks)
    }
}

/// Runs a command to its end and counts between its marks.
///
/// # Errors
/// It cannot be started, may not be traced, or does not end well.
pub fn count(command: &mut Command) -> io::Result<(Child, Counts)> {
    // SAFETY: the request concerns the calling process alone and reads no memory.
    let be_traced = || check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) });
    // SAFETY: between fork and exec the closure makes one system call that allocates nothing.
    let traced = unsafe { command.pre_exec(be_traced) };
    let mut child = traced.spawn()?;
    match follow(child.id() as libc::pid_t) {
        Ok(counts) => Ok((child, counts)),
        Err(error) => {
            // It may be stopped for good. One that has ended was waited for: its number is not its own any more.
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(error)
        }
    }
}

/// Counts until the child has ended; `BrokenPipe` when it ended badly.
fn follow(pid: libc::pid_t) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut stage = None;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live int; the child is ours and nobody else waits for it before this returns.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            return Ok(counts);
        }
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the counted process failed"));
        }
        let mut pass_on = 0;
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => {
                if let Some(stage) = stage {
                    counts.instructions[stage as usize] += 1;
                }
            }
            END => stage = None,
            signal => match [Stage::Empty, Stage::Receive, Stage::Rtcp, Stage::Send]
                .into_iter()
                .find(|stage| begin_signal(*stage) == signal)
            {
                Some(begun) => {
                    counts.pairs[begun as usize] += 1;
                    stage = Some(begun);
                }
                None => pass_on = signal,
            },
        }
        let request = if stage.is_some() { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        // SAFETY: the child is stopped and traced by us; the request reads no memory.
        check(unsafe { libc::ptrace(request, pid, 0, pass_on) })?;
    }
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
