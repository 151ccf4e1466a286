//! `kaigi-perf store`: acknowledged writes and reads a second of the real store, beside what the disk syncs.
//!
//! Promises: every write is durable before it counts, and all of them are looked for after reopening; the raw rate is one
//! `fdatasync` after another of an appended KiB on the same file system; the four measurements take turns, so that a busy disk
//! is busy for all of them. A write is a participant's join: three records. Beside the reads stands what a cache in front of the store
//! could save at best: the same bytes from a map behind a lock, always there and never outdated. Not here: HTTP, which adds its own time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
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
/// Turns of the four measurements.
const ROUNDS: u32 = 5;
/// Keys read, over and over.
const READ_KEYS: u64 = 1_000;
/// What the reference design asks of its database at peak, in all: reads and writes a second of 300 million people's meetings.
const REFERENCE_PEAK: (f64, f64) = (34_725.0, 1_041.0);
/// Shards it is spread over there, by `host_id % 8`.
const REFERENCE_SHARDS: f64 = 8.0;

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
    us_p50: f64,
    us_p99: f64,
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
    /// The same from a map in memory.
    cached_reads: Rate,
    /// What the reference design asks of one of its eight database nodes at peak.
    reference_node: Reference,
    writes_found_after_reopening: u64,
}

/// A node's share of the reference design's peak.
#[derive(Serialize)]
pub struct Reference {
    reads_per_second: f64,
    writes_per_second: f64,
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
    let window = Duration::from_secs(options.seconds.into()) / ROUNDS;
    let mut raw_file = File::create(directory.join("raw"))?;
    let opening = StoreOptions {
        data: directory.to_owned(),
        key: KeySource::beside(directory),
        hidden: &[],
        backups: Some(directory.join("backups")),
    };
    let store = EmbeddedStore::open(&opening)?;
    // Writer 0 alone, then the others.
    let mut written: Written = (0..=options.writers).map(|writer| (writer, 0)).collect();
    let [mut raw_sync, mut one_writer, mut all_writers, mut reads, mut cached_reads] =
        [histogram()?, histogram()?, histogram()?, histogram()?, histogram()?];
    for _ in 0..ROUNDS {
        raw_sync.add(timed(window, 0, |_| {
            raw_file.write_all(&[0x5a; RAW_BYTES])?;
            Ok(raw_file.sync_data()?)
        })?)?;
        let (alone, others) = written.split_at_mut(1);
        one_writer.add(writes(&store, alone, window)?)?;
        all_writers.add(writes(&store, others, window)?)?;
        reads.add(read(&store, written[0], window)?)?;
        cached_reads.add(read_cached(&store, written[0], window)?)?;
    }
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
        raw_sync: rate(&raw_sync, seconds),
        one_writer: rate(&one_writer, seconds),
        all_writers: rate(&all_writers, seconds),
        reads: rate(&reads, seconds),
        cached_reads: rate(&cached_reads, seconds),
        reference_node: Reference {
            reads_per_second: REFERENCE_PEAK.0 / REFERENCE_SHARDS,
            writes_per_second: REFERENCE_PEAK.1 / REFERENCE_SHARDS,
        },
        writes_found_after_reopening: found,
    })
}

/// Each writer's number and how many writes of it were acknowledged.
type Written = Vec<(u32, u64)>;

/// Lets all these writers write for the window.
fn writes(store: &EmbeddedStore, writers: &mut [(u32, u64)], window: Duration) -> Result<Histogram<u64>> {
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter()
            .map(|&(writer, written)| {
                scope.spawn(move || {
                    timed(window, written, |number| {
                        let batch = (1..=3).fold(Batch::new(), |batch, table| {
                            batch.put(key(table, writer, number), vec![table; RECORD_BYTES])
                        });
                        Ok(store.commit(batch).wait()?)
                    })
                })
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all = histogram()?;
    for ((writer, written), result) in writers.iter_mut().zip(results) {
        let Ok(result) = result else { bail!("writer {writer} panicked") };
        let histogram = result?;
        *written += histogram.len();
        all.add(histogram)?;
    }
    Ok(all)
}

fn read(store: &EmbeddedStore, (writer, written): (u32, u64), window: Duration) -> Result<Histogram<u64>> {
    if written == 0 {
        bail!("nothing was written");
    }
    let keys = written.min(READ_KEYS);
    timed(window, 0, |number| match store.get(&key(1, writer, number % keys))? {
        Some(_) => Ok(()),
        None => bail!("a record is gone"),
    })
}

/// The same keys from a map that has all of them; what it answers is a copy, as the store's answer is.
fn read_cached(
    store: &EmbeddedStore,
    (writer, written): (u32, u64),
    window: Duration,
) -> Result<Histogram<u64>> {
    let keys = written.min(READ_KEYS);
    let mut map = HashMap::new();
    for number in 0..keys {
        let key = key(1, writer, number);
        let Some(value) = store.get(&key)? else { bail!("a record is gone") };
        map.insert(key, value);
    }
    let map = RwLock::new(map);
    timed(window, 0, |number| {
        let held = map.read().unwrap_or_else(PoisonError::into_inner);
        match std::hint::black_box(held.get(&key(1, writer, number % keys)).cloned()) {
            Some(_) => Ok(()),
            None => bail!("a record is gone"),
        }
    })
}

/// Does it over and over for the window, numbered from `first` on; how long each took, in nanoseconds.
fn timed(window: Duration, first: u64, mut work: impl FnMut(u64) -> Result<()>) -> Result<Histogram<u64>> {
    let mut histogram = histogram()?;
    let begun = Instant::now();
    let mut number = first;
    while begun.elapsed() < window {
        let started = Instant::now();
        work(number)?;
        histogram.saturating_record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        number += 1;
    }
    Ok(histogram)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

fn rate(nanoseconds: &Histogram<u64>, seconds: u32) -> Rate {
    let us = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1_000.0;
    Rate { per_second: nanoseconds.len() as f64 / f64::from(seconds), us_p50: us(0.5), us_p99: us(0.99) }
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
            ("reads from a map in memory", &self.cached_reads),
        ];
        let mut text = format!("{:<34} {:>10} {:>9} {:>9}\n", "", "a second", "p50 us", "p99 us");
        for (what, rate) in rows {
            text +=
                &format!("{what:<34} {:>10.0} {:>9.1} {:>9.1}\n", rate.per_second, rate.us_p50, rate.us_p99);
        }
        let Reference { reads_per_second, writes_per_second } = self.reference_node;
        text += &format!("{:<34} {writes_per_second:>10.0}\n", "reference design, writes of a node");
        text += &format!("{:<34} {reads_per_second:>10.0}\n", "reference design, reads of a node");
        text + &format!("{} writers; all {} writes found\n", self.writers, self.writes_found_after_reopening)
    }
}
