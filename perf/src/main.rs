//! `kaigi-perf`, the benchmark harness: how fast the packet plane forwards and its kernels run, on the machine at hand.
//!
//! Promises: figures come from counters and from ratios within one run, never from a timed assertion; each run prints a hash
//! of its result. Not here: verdicts (whoever compares records has those).
#![deny(unsafe_code)]

mod forward;
mod kernels;
mod meter;
mod netns;
mod openssl;
mod record;
mod sys;

use std::path::Path;
use std::process::ExitCode;

use ::kernels::Suite;
use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use openssl::OpenSsl;
use record::Host;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where records are kept, from the repository's root.
const RECORDS: &str = "perf/record";

/// Benchmarks of kaigi
#[derive(Parser)]
#[command(name = "kaigi-perf", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Forward media from publishers to subscribers through one core
    Forward {
        #[command(flatten)]
        options: Box<forward::options::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// Cycles per packet of every crypto suite, beside ring, aws-lc and OpenSSL
    Kernels {
        /// Payload sizes, bytes
        #[arg(long, value_delimiter = ',', default_values_t = [160, 1_200])]
        bytes: Vec<usize>,
        /// Rounds of 200 packets per contestant
        #[arg(long, default_value_t = 300)]
        rounds: usize,
        /// Only this suite
        #[arg(long)]
        suite: Option<String>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
struct Output {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write perf/record/<host-class>/<date>/<benchmark>.json as well (run from the repository's root)
    #[arg(long)]
    record: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kaigi-perf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Forward { options, output } => {
            let report = forward::run(&options, |step| eprintln!("{}", step.step()))?;
            if output.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print!("{}", report.table());
            }
            if let Some(defect) = report.defect() {
                bail!(defect);
            }
            keep(&output, "forward", &report.key(), &report)
        }
        Command::Kernels { bytes, rounds, suite, output } => {
            let suites: Vec<Suite> = match &suite {
                None => Suite::available().collect(),
                Some(name) => match Suite::by_name(name) {
                    Some(suite) => vec![suite],
                    None => bail!("crypto suite {name} is not available on this CPU"),
                },
            };
            match OpenSsl::load() {
                Some(library) => eprintln!("openssl is the system's {}", library.version()),
                None => eprintln!("SKIPPED: no openssl column, this host has no libcrypto.so.3"),
            }
            let mut rows = Vec::new();
            kernels::run(&suites, &bytes, rounds, |row| {
                if output.json {
                    println!("{}", serde_json::to_string(&row).unwrap_or_default());
                } else {
                    if rows.is_empty() {
                        println!("{}", kernels::Row::heading());
                    }
                    println!("{}", row.line());
                }
                rows.push(row);
            });
            if let Some(row) = rows.iter().find(|row| !row.is_equal()) {
                bail!("a kernel's output differs from aws-lc's: {}", row.line());
            }
            keep(&output, "kernels", "every suite, seal and open", &rows)
        }
    }
}

/// Writes the record if one is wanted.
fn keep<T: serde::Serialize>(output: &Output, benchmark: &str, key: &str, result: &T) -> Result<()> {
    if output.record {
        let path = record::write(Path::new(RECORDS), &Host::detect(), benchmark, key, result)?;
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}
