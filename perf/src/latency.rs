//! `kaigi-perf latency`: how long packets take through the server at shares of what one core holds.
//!
//! Promises: a delay is from the publisher's release to the subscriber's read, so it holds the link, the clients' queues and the
//! server: what the server adds is at most that. Shares are of the capacity found by search in the same run, or given.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::forward::options::Options as Load;
use crate::forward::report::Report;
use crate::forward::{self, search};

/// Options of `kaigi-perf latency`; the load is that of `forward`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Shares of the capacity to measure at, percent
    #[arg(long, value_delimiter = ',', default_values_t = [10, 70], value_parser = clap::value_parser!(u32).range(1..=100))]
    pub at: Vec<u32>,
    /// Packets per second of a publisher that one core holds; without it a search from --pps finds it
    #[arg(long)]
    pub capacity: Option<u32>,
    #[command(flatten)]
    pub load: Load,
}

/// One share.
#[derive(Serialize)]
pub struct Row {
    percent: u32,
    report: Report,
}

/// All of them.
#[derive(Serialize)]
pub struct Results {
    benchmark: &'static str,
    capacity_pps: u32,
    capacity_was_searched: bool,
    rows: Vec<Row>,
}

/// Measures every share; `each` sees all runs.
pub fn run(options: &Options, mut each: impl FnMut(&Report)) -> Result<Results> {
    let load = Load { search: false, ..options.load.clone() };
    let mut at = |pps: u32| {
        let report = forward::once(&Load { pps, ..load.clone() })?;
        each(&report);
        match report.defect() {
            Some(defect) => bail!(defect),
            None => Ok(report),
        }
    };
    let capacity = match options.capacity {
        Some(0) => bail!("--capacity must be more than 0"),
        Some(capacity) => capacity,
        None => search::highest(load.pps, &mut at)?.options().pps,
    };
    let mut rows = Vec::new();
    for &percent in &options.at {
        let report = at((u64::from(capacity) * u64::from(percent) / 100).max(1) as u32)?;
        rows.push(Row { percent, report });
    }
    let capacity_was_searched = options.capacity.is_none();
    Ok(Results { benchmark: "latency", capacity_pps: capacity, capacity_was_searched, rows })
}

impl Results {
    /// What was measured, in one line.
    pub fn key(&self) -> String {
        let shares: Vec<_> = self.rows.iter().map(|row| format!("{} %", row.percent)).collect();
        let o = self.rows.first().map(|row| row.report.options());
        let how = o.map(|o| {
            format!(
                "{} x {:?} -> {}, bursts of {}, {} b, {:?}, {:?}",
                o.publishers,
                o.kind,
                o.fan_out(),
                o.burst,
                o.payload,
                o.profile,
                o.net
            )
        });
        format!("{} of one core, {}", shares.join(" and "), how.unwrap_or_default()).to_lowercase()
    }

    /// The human table.
    pub fn table(&self) -> String {
        let how = if self.capacity_was_searched { "found by search" } else { "given" };
        let mut text = format!("one core holds --pps {} ({how})\n", self.capacity_pps);
        let _ = writeln!(
            text,
            "{:>6} {:>11} {:>9} {:>9} {:>9} {:>9} {:>8}  result",
            "load %", "packets/s", "p50 us", "p99 us", "p99.9 us", "server %", "loss %"
        );
        for Row { percent, report } in &self.rows {
            let _ = writeln!(
                text,
                "{percent:>6} {:>11.0} {:>9} {:>9} {:>9} {:>9.1} {:>8.3}  {}",
                report.forwarded_pps(),
                report.delay_us(500),
                report.delay_us(990),
                report.delay_us(999),
                report.server_cpu_percent(),
                report.loss() * 100.0,
                report.hash()
            );
            for note in report.notes() {
                let _ = writeln!(text, "note: at {percent} %: {note}");
            }
        }
        text
    }
}
