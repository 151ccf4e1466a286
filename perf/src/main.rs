//! `kaigi-perf`, the benchmark harness: how fast the packet plane forwards and its kernels run, on the machine at hand.
//!
//! Promises: figures come from counters and from ratios within one run, never from a timed assertion; each run prints a hash
//! of its result. Not here: verdicts (whoever compares records has those).
#![deny(unsafe_code)]

mod account;
mod fleet;
mod forward;
mod instructions;
mod kernels;
mod latency;
mod meter;
mod netns;
mod openssl;
mod peers;
mod record;
mod report;
mod scale;
mod soak;
mod store;
mod sys;

use std::path::Path;
use std::process::ExitCode;

use ::kernels::Suite;
use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use forward::report::Report;
use openssl::OpenSsl;
use record::Host;

#[global_allocator]
static ALLOCATOR: account::Accounting = account::Accounting;

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
    /// Count the engine's instructions per forwarded packet, one by one
    Instructions {
        #[command(flatten)]
        options: instructions::Options,
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
    /// Servers, network and money for a service of 300 million people, beside a reference design's
    Fleet {
        #[command(flatten)]
        options: Box<fleet::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// Cycles per packet and memory per participant at 10, 100 and 1,000 meetings on one core
    Scale {
        #[command(flatten)]
        options: Box<scale::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// Delay through the server at 10 % and 70 % of what one core holds
    Latency {
        #[command(flatten)]
        options: Box<latency::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// A long run whose counters and memory must not drift
    Soak {
        #[command(flatten)]
        options: Box<soak::Options>,
        #[command(flatten)]
        output: Output,
    },
    /// Acknowledged writes and reads a second of the store, beside what the disk syncs
    Store {
        #[command(flatten)]
        options: store::Options,
        #[command(flatten)]
        output: Output,
    },
    /// One self-contained HTML page from the records
    Report {
        #[command(flatten)]
        options: report::Options,
    },
    /// Kaigi, Janus and a naive SFU on str0m under the same load
    Peers {
        #[command(flatten)]
        options: Box<peers::Options>,
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
            let report = forward::run(&options, print_step)?;
            print(&output, &report, Report::table)?;
            if let Some(defect) = report.defect() {
                bail!(defect);
            }
            keep(&output, "forward", &report.key(), &report)
        }
        Command::Instructions { options, output } => {
            let Some(counted) = instructions::run(&options)? else { return Ok(()) };
            if output.json {
                println!("{}", serde_json::to_string(&counted)?);
            } else {
                print!("{}", counted.table());
            }
            keep(&output, "instructions", &counted.key(), &counted)
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
        Command::Scale { options, output } => {
            let results = scale::run(&options, print_step)?;
            print(&output, &results, scale::Results::table)?;
            keep(&output, "scale", &results.key(), &results)
        }
        Command::Latency { options, output } => {
            let results = latency::run(&options, print_step)?;
            print(&output, &results, latency::Results::table)?;
            keep(&output, "latency", &results.key(), &results)
        }
        Command::Soak { options, output } => {
            let results = soak::run(&options)?;
            print(&output, &results, soak::Results::table)?;
            if let Some(defect) = results.report().defect() {
                bail!(defect);
            }
            if let Some(drift) = results.drift() {
                bail!("it drifts: {drift}");
            }
            keep(&output, "soak", &results.key(), &results)
        }
        Command::Store { options, output } => {
            let results = store::run(&options)?;
            print(&output, &results, store::Results::table)?;
            keep(&output, "store", &results.key(), &results)
        }
        Command::Report { options } => {
            let written = report::run(&options)?;
            println!("{}", if options.json { serde_json::to_string(&written)? } else { written.line() });
            Ok(())
        }
        Command::Peers { options, output } => {
            let results = peers::run(&options, print_step)?;
            print(&output, &results, peers::result::Results::table)?;
            keep(&output, "peers", &results.key(), &results)
        }
        Command::Fleet { options, output } => {
            let report = fleet::run(&options, &record::read(Path::new(RECORDS))?)?;
            print(&output, &report, fleet::Report::table)?;
            keep(&output, "fleet", &report.key(), &report)
        }
    }
}

/// One line of a run with several, while it goes on.
fn print_step(report: &Report) {
    eprintln!("{}", report.step());
}

/// Prints a result as it is wanted.
fn print<T: serde::Serialize>(output: &Output, result: &T, table: impl Fn(&T) -> String) -> Result<()> {
    if output.json {
        println!("{}", serde_json::to_string(result)?);
    } else {
        print!("{}", table(result));
    }
    Ok(())
}

/// Writes the record if one is wanted.
fn keep<T: serde::Serialize>(output: &Output, benchmark: &str, key: &str, result: &T) -> Result<()> {
    if output.record {
        let path = record::write(Path::new(RECORDS), &Host::detect(), benchmark, key, result)?;
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}
