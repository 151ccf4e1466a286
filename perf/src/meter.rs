//! Where a thread's or a process's cycles go: hardware counters where the host has them, else the time-stamp counter times CPU time.
//!
//! Promises: a sample is cumulative, so a window is the difference of two. With hardware counters user and kernel are told
//! apart; without, there is only their sum, exact to the scheduler's nanoseconds (the kernel's own split is by ticks of 4 ms, too
//! coarse for a worker that sleeps between bursts). Interrupts and softirqs that run on the thread's time count, for that is what
//! they take from it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dataplane::io::cycles;

use crate::sys::{Counter, CounterKind};

/// Measures one thread, or all threads of a process together.
pub struct Meter {
    threads: Vec<Thread>,
    /// Time-stamp-counter cycles per second.
    tsc_hz: f64,
}

struct Thread {
    /// Its directory in /proc.
    path: PathBuf,
    counters: Option<[Counter; 4]>,
}

/// Cumulative counts of everything that is measured.
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

/// What was used between two samples.
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
        for path in threads("self")? {
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if comm.trim_end() == name {
                return Ok(Self { threads: vec![Thread::new(path)], tsc_hz });
            }
        }
        bail!("no thread is called {name}")
    }

    /// Measures all threads that a process has now.
    pub fn of_process(pid: u32, tsc_hz: f64) -> Result<Self> {
        let threads = threads(&pid.to_string())?.into_iter().map(Thread::new).collect();
        Ok(Self { threads, tsc_hz })
    }

    /// `perf_event` or `tsc_cpu_time`: how cycles are counted here.
    pub fn source(&self) -> &'static str {
        let counted = self.threads.iter().all(|thread| thread.counters.is_some());
        if counted { "perf_event" } else { "tsc_cpu_time" }
    }

    /// The counts so far. A thread that has ended counts no more.
    pub fn sample(&self) -> Result<Sample> {
        let mut sample = Sample { cpu_ns: 0, wait_ns: 0, counts: Some([0; 4]), at: Instant::now() };
        let mut living = 0;
        for thread in &self.threads {
            let Some((cpu_ns, wait_ns)) = thread.times()? else { continue };
            living += 1;
            sample.cpu_ns += cpu_ns;
            sample.wait_ns += wait_ns;
            match (&thread.counters, &mut sample.counts) {
                (Some(counters), Some(counts)) => {
                    for (count, counter) in counts.iter_mut().zip(counters) {
                        *count += counter.read().context("cannot read a hardware counter")?;
                    }
                }
                _ => sample.counts = None,
            }
        }
        if living == 0 {
            bail!("what is measured has ended");
        }
        Ok(sample)
    }

    /// What was used between two samples.
    pub fn between(&self, from: &Sample, to: &Sample) -> Used {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu_s = to.cpu_ns.saturating_sub(from.cpu_ns) as f64 / 1e9;
        let wait_s = to.wait_ns.saturating_sub(from.wait_ns) as f64 / 1e9;
        let counts = from.counts.zip(to.counts).map(|(from, to)| {
            let mut used = [0.0; 4];
            for (used, (from, to)) in used.iter_mut().zip(from.iter().zip(to)) {
                *used = to.saturating_sub(*from) as f64;
            }
            used
        });
        Used {
            cycles: counts.map_or(cpu_s * self.tsc_hz, |used| used[0] + used[1]),
            cycles_user: counts.map(|used| used[0]),
            instructions: counts.map(|used| (used[2], used[3])),
            cpu_share: cpu_s / seconds.max(1e-9),
            wait_share: wait_s / seconds.max(1e-9),
            seconds,
        }
    }
}

impl Thread {
    fn new(path: PathBuf) -> Self {
        let kinds = [
            CounterKind::CyclesUser,
            CounterKind::CyclesKernel,
            CounterKind::InstructionsUser,
            CounterKind::InstructionsKernel,
        ];
        let tid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let counters: io::Result<Vec<Counter>> =
            kinds.into_iter().map(|kind| Counter::of_thread(tid.unwrap_or(-1), kind)).collect();
        Self { path, counters: counters.ok().and_then(|counters| counters.try_into().ok()) }
    }

    /// CPU time and time it waited for the CPU, nanoseconds; `None` when it has ended.
    fn times(&self) -> Result<Option<(u64, u64)>> {
        let schedstat = match fs::read_to_string(self.path.join("schedstat")) {
            Ok(text) => text,
            Err(_) if !self.path.exists() => return Ok(None),
            Err(error) => {
                return Err(error)
                    .context("cannot read a thread's CPU time: the kernel needs CONFIG_SCHED_INFO");
            }
        };
        let mut fields = schedstat.split_whitespace().map(str::parse);
        let (Some(Ok(cpu_ns)), Some(Ok(wait_ns))) = (fields.next(), fields.next()) else {
            bail!("unexpected /proc/*/task/*/schedstat");
        };
        Ok(Some((cpu_ns, wait_ns)))
    }
}

/// Directories of a process's threads.
fn threads(process: &str) -> Result<Vec<PathBuf>> {
    let path = format!("/proc/{process}/task");
    let entries = fs::read_dir(&path).with_context(|| format!("cannot list the threads in {path}"))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

/// Resident memory of a process, bytes; `self` is this one.
pub fn resident_bytes(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
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

    #[test]
    fn a_process_is_its_threads_and_one_that_ended_cannot_be_sampled() {
        let meter = Meter::of_process(std::process::id(), 1e9).expect("that is us");
        assert!(meter.sample().is_ok());
        assert!(resident_bytes("self").is_some_and(|bytes| bytes > 1 << 20));
        let gone = Thread { path: PathBuf::from("/proc/self/task/0"), counters: None };
        assert!(Meter { threads: vec![gone], tsc_hz: 1e9 }.sample().is_err());
    }
}
