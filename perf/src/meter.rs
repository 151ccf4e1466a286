//! Where a thread's cycles go: hardware counters where the host has them, else the time-stamp counter times CPU time.
//!
//! Promises: a sample is cumulative, so a window is the difference of two. With hardware counters user and kernel are exact;
//! without, the sum is exact to the scheduler's nanoseconds and the split is that of the kernel's ticks (4 ms at 250 Hz), good
//! to a few percent over seconds. Interrupts and softirqs that run on the thread's time count as the thread's kernel share,
//! for that is what they take from it.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dataplane::io::cycles;

use crate::sys::{Counter, CounterKind};

/// Measures one thread.
pub struct Meter {
    tid: i32,
    counters: Option<[Counter; 4]>,
    /// Time-stamp-counter cycles per second.
    tsc_hz: f64,
}

/// Cumulative counts of a thread.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// CPU time, nanoseconds.
    cpu_ns: u64,
    ticks_user: u64,
    ticks_kernel: u64,
    /// User cycles, kernel cycles, user instructions, kernel instructions.
    counts: Option<[u64; 4]>,
    at: Instant,
}

/// What a thread used between two samples.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Cycles in user mode.
    pub cycles_user: f64,
    /// Cycles in kernel mode.
    pub cycles_kernel: f64,
    /// Instructions in user and kernel mode, with hardware counters.
    pub instructions: Option<(f64, f64)>,
    /// Share of one CPU.
    pub cpu_share: f64,
    /// Length of the window, seconds.
    pub seconds: f64,
}

impl Meter {
    /// Measures the thread of this process that is called `name`.
    pub fn of_thread(name: &str, tsc_hz: f64) -> Result<Self> {
        for entry in fs::read_dir("/proc/self/task").context("cannot list the threads")? {
            let path = entry?.path();
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            let tid = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
            if let (true, Some(tid)) = (comm.trim_end() == name, tid) {
                return Ok(Self::of_tid(tid, tsc_hz));
            }
        }
        anyhow::bail!("no thread is called {name}")
    }

    /// Measures a thread by its id.
    fn of_tid(tid: i32, tsc_hz: f64) -> Self {
        let kinds = [
            CounterKind::CyclesUser,
            CounterKind::CyclesKernel,
            CounterKind::InstructionsUser,
            CounterKind::InstructionsKernel,
        ];
        let counters: io::Result<Vec<Counter>> =
            kinds.into_iter().map(|kind| Counter::of_thread(tid, kind)).collect();
        Self { tid, counters: counters.ok().and_then(|counters| counters.try_into().ok()), tsc_hz }
    }

    /// `perf_event` or `tsc_cpu_time`: how cycles are counted here.
    pub const fn source(&self) -> &'static str {
        if self.counters.is_some() { "perf_event" } else { "tsc_cpu_time" }
    }

    /// The counts so far.
    pub fn sample(&self) -> Result<Sample> {
        let counts = match &self.counters {
            Some(counters) => {
                let mut counts = [0; 4];
                for (count, counter) in counts.iter_mut().zip(counters) {
                    *count = counter.read().context("cannot read a hardware counter")?;
                }
                Some(counts)
            }
            None => None,
        };
        let schedstat = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.tid))
            .context("cannot read the thread's CPU time: the kernel needs CONFIG_SCHED_INFO")?;
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", self.tid))?;
        let (ticks_user, ticks_kernel) = ticks(&stat).context("unexpected /proc/self/task/*/stat")?;
        let cpu_ns = schedstat.split_whitespace().next().and_then(|n| n.parse().ok());
        Ok(Sample {
            cpu_ns: cpu_ns.context("unexpected /proc/self/task/*/schedstat")?,
            ticks_user,
            ticks_kernel,
            counts,
            at: Instant::now(),
        })
    }

    /// What was used between two samples.
    pub fn between(&self, from: &Sample, to: &Sample) -> Used {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu_s = to.cpu_ns.saturating_sub(from.cpu_ns) as f64 / 1e9;
        let cpu_share = cpu_s / seconds.max(1e-9);
        if let (Some(from), Some(to)) = (from.counts, to.counts) {
            let used: Vec<f64> = from.iter().zip(to).map(|(a, b)| b.saturating_sub(*a) as f64).collect();
            return Used {
                cycles_user: used[0],
                cycles_kernel: used[1],
                instructions: Some((used[2], used[3])),
                cpu_share,
                seconds,
            };
        }
        let user = to.ticks_user.saturating_sub(from.ticks_user) as f64;
        let kernel = to.ticks_kernel.saturating_sub(from.ticks_kernel) as f64;
        let user_share = if user + kernel == 0.0 { 0.0 } else { user / (user + kernel) };
        let cycles = cpu_s * self.tsc_hz;
        Used {
            cycles_user: cycles * user_share,
            cycles_kernel: cycles * (1.0 - user_share),
            instructions: None,
            cpu_share,
            seconds,
        }
    }
}

/// utime and stime of a stat line: fields 14 and 15, counted after the name, which may hold spaces and brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Rate of the time-stamp counter, measured for a twentieth of a second.
pub fn tsc_hz() -> f64 {
    let (start, ticks) = (Instant::now(), cycles::now());
    std::thread::sleep(Duration::from_millis(50));
    let ticks = cycles::now() - ticks;
    ticks as f64 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_fields_are_found_behind_any_name() {
        let stat = "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 777 888 0 0 20";
        assert_eq!(ticks(stat), Some((777, 888)));
        assert_eq!(ticks("12 (short) R 1"), None);
    }

    #[test]
    fn a_busy_thread_uses_cycles() {
        let worker = std::thread::Builder::new().name("busy".into()).spawn(|| {
            let meter = Meter::of_thread("busy", 1e9).expect("that is us");
            let before = meter.sample().expect("it runs");
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let used = meter.between(&before, &meter.sample().expect("it runs"));
                if used.cycles_user + used.cycles_kernel > 0.0 || Instant::now() > deadline {
                    return used;
                }
            }
        });
        let used = worker.expect("threads can be made").join().expect("it does not panic");
        assert!(used.cycles_user + used.cycles_kernel > 0.0);
        assert!(used.cpu_share > 0.0 && used.seconds > 0.0);
        assert!(Meter::of_thread("no such thread", 1e9).is_err());
    }
}
