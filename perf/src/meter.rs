//! Where a thread's cycles go: hardware counters where the host has them, else the time-stamp counter times CPU time.
//!
//! Promises: a sample is cumulative, so a window is the difference of two. With hardware counters user and kernel are told
//! apart; without, there is only their sum, exact to the scheduler's nanoseconds (the kernel's own split is by ticks of 4 ms, too
//! coarse for a worker that sleeps between bursts). Interrupts and softirqs that run on the thread's time count, for that is what
//! they take from it.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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
    /// Time spent runnable but not running, nanoseconds.
    wait_ns: u64,
    /// User cycles, kernel cycles, user instructions, kernel instructions.
    counts: Option<[u64; 4]>,
    at: Instant,
}

/// What a thread used between two samples.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Cycles in both modes.
    pub cycles: f64,
    /// Cycles in user mode, with hardware counters.
    pub cycles_user: Option<f64>,
    /// Instructions in user and kernel mode, with hardware counters.
    pub instructions: Option<(f64, f64)>,
    /// Share of one CPU.
    pub cpu_share: f64,
    /// Share of the time in which it could have run and something else did.
    pub wait_share: f64,
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
        bail!("no thread is called {name}")
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
        let mut fields = schedstat.split_whitespace().map(str::parse);
        let (Some(Ok(cpu_ns)), Some(Ok(wait_ns))) = (fields.next(), fields.next()) else {
            bail!("unexpected /proc/self/task/*/schedstat");
        };
        Ok(Sample { cpu_ns, wait_ns, counts, at: Instant::now() })
    }

    /// What was used between two samples.
    pub fn between(&self, from: &Sample, to: &Sample) -> Used {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu_s = to.cpu_ns.saturating_sub(from.cpu_ns) as f64 / 1e9;
        let cpu_share = cpu_s / seconds.max(1e-9);
        let wait_share = to.wait_ns.saturating_sub(from.wait_ns) as f64 / 1e9 / seconds.max(1e-9);
        if let (Some(from), Some(to)) = (from.counts, to.counts) {
            let used: Vec<f64> = from.iter().zip(to).map(|(a, b)| b.saturating_sub(*a) as f64).collect();
            return Used {
                cycles: used[0] + used[1],
                cycles_user: Some(used[0]),
                instructions: Some((used[2], used[3])),
                cpu_share,
                wait_share,
                seconds,
            };
        }
        Used {
            cycles: cpu_s * self.tsc_hz,
            cycles_user: None,
            instructions: None,
            cpu_share,
            wait_share,
            seconds,
        }
    }
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
    fn a_busy_thread_uses_cycles() {
        let worker = std::thread::Builder::new().name("busy".into()).spawn(|| {
            let meter = Meter::of_thread("busy", 1e9).expect("that is us");
            let before = meter.sample().expect("it runs");
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                let used = meter.between(&before, &meter.sample().expect("it runs"));
                if used.cycles > 0.0 || Instant::now() > deadline {
                    return used;
                }
            }
        });
        let used = worker.expect("threads can be made").join().expect("it does not panic");
        assert!(used.cycles > 0.0);
        assert!(used.cpu_share > 0.0 && used.seconds > 0.0);
        assert!(Meter::of_thread("no such thread", 1e9).is_err());
    }
}
