//! `kaigi-perf store`: acknowledged writes and reads a second of the real store, beside what the disk syncs.
//!
//! Promises: every write is durable before it counts, and all of them are looked for after reopening; the raw rate is one
//! `fdatasync` after another of an appended KiB on the same file system, in the same run. A write is a participant's join: three
//! records. Not here: HTTP, which adds its own time.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use controlplane::store::{Batch, EmbeddedStore, KeySource, Store, StoreOptions};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Bytes of a record: a participant with a name and a few joins.
const RECORD_BYTES: usize = 300;
/// Bytes appended before each raw sync.
const RAW_BYTES: usize = 1_024;
/// Keys read, over and over.
const READ_KEYS: u64 = 1_000;

/// Options of `kaigi-perf store`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Directory on the disk to measure; what is made in it is removed
    #[arg(long, default_value = "target/kaigi-perf-store")]
    pub directory: PathBuf,
    /// Writers at once, beside the measurement with one
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub writers: u32,
    /// Length of each of the four measurements
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
}

/// How often, and how long one took.
#[derive(Serialize)]
pub struct Rate {
    per_second: f64,
    us_p50: u64,
    us_p99: u64,
}

/// What was measured.
#[derive(Serialize)]
pub struct Results {
    benchmark: &'static str,
    writers: u32,
    seconds: u32,
    /// One sync after another, nothing else.
    raw_sync: Rate,
    /// Acknowledged writes of one writer.
    one_writer: Rate,
    /// Acknowledged writes of all writers.
    all_writers: Rate,
    reads: Rate,
    writes_found_after_reopening: u64,
}

/// Measures all four.
pub fn run(options: &Options) -> Result<Results> {
    let directory = options.directory.join(std::process::id().to_string());
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let measured = measure(options, &directory);
    fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    measured
}

fn measure(options: &Options, directory: &Path) -> Result<Results> {
    let window = Duration::from_secs(options.seconds.into());
    let raw_sync = raw(&directory.join("raw"), window)?;
    let opening = StoreOptions {
        data: directory.to_owned(),
        key: KeySource::beside(directory),
        hidden: &[],
        backups: Some(directory.join("backups")),
    };
    let store = EmbeddedStore::open(&opening)?;
    let (one_writer, mut written) = writes(&store, 0, 1, window)?;
    let (all_writers, more) = writes(&store, 1, options.writers, window)?;
    written.extend(more);
    let reads = reads(&store, &written, window)?;
    drop(store);
    let store = EmbeddedStore::open(&opening)?;
    let mut found = 0;
    for &(writer, count) in &written {
        for number in 0..count {
            if store.get(&key(1, writer, number))?.is_none() {
                bail!("write {number} of writer {writer} was acknowledged and is gone");
            }
            found += 1;
        }
    }
    let (writers, seconds) = (options.writers, options.seconds);
    let benchmark = "store";
    Ok(Results {
        benchmark,
        writers,
        seconds,
        raw_sync,
        one_writer,
        all_writers,
        reads,
        writes_found_after_reopening: found,
    })
}

fn raw(path: &Path, window: Duration) -> Result<Rate> {
    let mut file = File::create(path)?;
    timed(window, |_| {
        file.write_all(&[0x5a; RAW_BYTES])?;
        file.sync_data()?;
        Ok(())
    })
    .map(|(histogram, _)| rate(&histogram, window))
}

/// Each writer's number and how many writes of it were acknowledged.
type Written = Vec<(u32, u64)>;

fn writes(store: &EmbeddedStore, first: u32, writers: u32, window: Duration) -> Result<(Rate, Written)> {
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (first..first + writers)
            .map(|writer| {
                scope.spawn(move || {
                    timed(window, |number| {
                        let batch = (1..=3).fold(Batch::new(), |batch, table| {
                            batch.put(key(table, writer, number), vec![table; RECORD_BYTES])
                        });
                        store.commit(batch).wait()?;
                        Ok(())
                    })
                })
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all = histogram()?;
    let mut written = Written::new();
    for (writer, result) in (first..).zip(results) {
        let Ok(result) = result else { bail!("writer {writer} panicked") };
        let (histogram, count) = result?;
        all.add(histogram)?;
        written.push((writer, count));
    }
    Ok((rate(&all, window), written))
}

fn reads(store: &EmbeddedStore, written: &[(u32, u64)], window: Duration) -> Result<Rate> {
    let Some(&(writer, count)) = written.iter().find(|(_, count)| *count > 0) else {
        bail!("nothing was written");
    };
    let keys = count.min(READ_KEYS);
    let (histogram, _) = timed(window, |number| match store.get(&key(1, writer, number % keys))? {
        Some(_) => Ok(()),
        None => bail!("a record is gone"),
    })?;
    Ok(rate(&histogram, window))
}

/// Does it over and over for the window; how long each took, in microseconds, and how often it was done.
fn timed(window: Duration, mut work: impl FnMut(u64) -> Result<()>) -> Result<(Histogram<u64>, u64)> {
    let mut histogram = histogram()?;
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < window {
        let started = Instant::now();
        work(number)?;
        histogram.saturating_record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        number += 1;
    }
    Ok((histogram, number))
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn rate(histogram: &Histogram<u64>, window: Duration) -> Rate {
    Rate {
        per_second: histogram.len() as f64 / window.as_secs_f64(),
        us_p50: histogram.value_at_quantile(0.5),
        us_p99: histogram.value_at_quantile(0.99),
    }
}

/// Spread like the store's random numbers.
fn key(table: u8, writer: u32, number: u64) -> Vec<u8> {
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [&[table], spread.to_be_bytes().as_slice(), &writer.to_be_bytes(), &number.to_be_bytes()].concat()
}

impl Results {
    /// What was measured, in one line.
    pub fn key(&self) -> String {
        format!("joins of 3 x {RECORD_BYTES} b, 1 and {} writers", self.writers)
    }

    /// The human table.
    pub fn table(&self) -> String {
        let rows = [
            ("fdatasync alone", &self.raw_sync),
            ("acknowledged writes, one writer", &self.one_writer),
            ("acknowledged writes, all writers", &self.all_writers),
            ("reads", &self.reads),
        ];
        let mut text = format!("{:<34} {:>10} {:>9} {:>9}\n", "", "a second", "p50 us", "p99 us");
        for (what, rate) in rows {
            text += &format!("{what:<34} {:>10.0} {:>9} {:>9}\n", rate.per_second, rate.us_p50, rate.us_p99);
        }
        text + &format!("{} writers; all {} writes found\n", self.writers, self.writes_found_after_reopening)
    }
}
