//! `kaigi-perf soak`: a long run in which nothing may drift: no memory, no lost packet, no growing cost.
//!
//! Promises: memory is judged by what the server's allocator holds and what the process has resident, packets by content; both are
//! counts, so a verdict does not depend on the machine's mood. Cycles and delays are shown over time and only noted.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::forward;
use crate::forward::options::Options as Load;
use crate::forward::report::{Interval, Report};
use crate::forward::search::Holds;

/// The server's tables reach their size while media begins to flow; after the first quarter it may hold this much more.
const GROWTH_BYTES_MAX: u64 = 64 * 1_024;
/// The same for pages of the whole process, clients and statistics included.
const RESIDENT_GROWTH_BYTES_MAX: u64 = 4 << 20;
/// Cycles per packet of the last quarter over those of the first, above which a note says so.
const CYCLES_RATIO_NOTED: f64 = 1.25;

/// Options of `kaigi-perf soak`; the load is that of `forward`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Parts of the run that are compared
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=1_000))]
    pub parts: u32,
    #[command(flatten)]
    pub load: Load,
}

/// The run and its verdict.
#[derive(Serialize)]
pub struct Results {
    benchmark: &'static str,
    report: Report,
    drifts: Vec<String>,
    notes: Vec<String>,
}

/// Runs for `--seconds`.
pub fn run(options: &Options) -> Result<Results> {
    let load = Load { search: false, ..options.load.clone() };
    let report = forward::intervals(&load, options.parts)?;
    let mut drifts = memory_drifts(report.intervals());
    // Losing on purpose loses the last packets too; and an overloaded run says so itself.
    if load.nack == 0.0 && report.holds() && !report.is_complete() {
        drifts.push(format!("{:.4} % of the packets never came", report.loss() * 100.0));
    }
    let mut notes = cycles_note(report.intervals());
    if !report.holds() {
        notes.push("the load was not held: packets were lost or late, choose a lower --pps".to_owned());
    }
    Ok(Results { benchmark: "soak", report, drifts, notes })
}

/// Mean of a quarter of the parts; `None` when one of them lacks the value.
fn quarter(intervals: &[Interval], last: bool, value: impl Fn(&Interval) -> Option<f64>) -> Option<f64> {
    let count = (intervals.len() / 4).max(1);
    // What the first part holds still grows with it: the second quarter is where nothing may grow any more.
    let from = if last { intervals.len().checked_sub(count)? } else { count };
    let values = intervals.get(from..from + count)?.iter().map(value).collect::<Option<Vec<f64>>>()?;
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

fn memory_drifts(intervals: &[Interval]) -> Vec<String> {
    let mut drifts = Vec::new();
    let mut judge = |name: &str, allowed: u64, value: fn(&Interval) -> Option<u64>| {
        let of = |last| quarter(intervals, last, |part| value(part).map(|bytes| bytes as f64));
        if let (Some(first), Some(last)) = (of(false), of(true))
            && last > first + allowed as f64
        {
            drifts.push(format!("{name} grew from {first:.0} to {last:.0} bytes"));
        }
    };
    judge("the server's memory", GROWTH_BYTES_MAX, |part| part.memory_bytes);
    judge("the process", RESIDENT_GROWTH_BYTES_MAX, |part| part.resident_bytes);
    drifts
}

fn cycles_note(intervals: &[Interval]) -> Vec<String> {
    let of = |last| quarter(intervals, last, |part| Some(part.cycles_per_packet));
    let (first, last) = (of(false).unwrap_or_default(), of(true).unwrap_or_default());
    let grew = first > 0.0 && last / first > CYCLES_RATIO_NOTED;
    let note =
        format!("cycles per packet went from {first:.0} to {last:.0}: another load on this CPU, or a drift");
    if grew { vec![note] } else { Vec::new() }
}

impl Results {
    /// What was measured, in one line.
    pub fn key(&self) -> String {
        format!("{} s of {}", self.report.options().seconds, self.report.key())
    }

    /// The run.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// What drifted, if anything did.
    pub fn drift(&self) -> Option<String> {
        (!self.drifts.is_empty()).then(|| self.drifts.join("; "))
    }

    /// The human table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>5} {:>11} {:>8} {:>9} {:>9} {:>13} {:>13}\n",
            "part", "packets/s", "cycles", "p50 us", "p99 us", "server KiB", "process KiB"
        );
        for (number, part) in self.report.intervals().iter().enumerate() {
            let kib = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| (bytes / 1_024).to_string());
            let _ = writeln!(
                text,
                "{number:>5} {:>11.0} {:>8.0} {:>9} {:>9} {:>13} {:>13}",
                part.forwarded_pps,
                part.cycles_per_packet,
                part.delay_us_p50,
                part.delay_us_p99,
                kib(part.memory_bytes),
                kib(part.resident_bytes)
            );
        }
        text.push('\n');
        text.push_str(&self.report.table());
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let verdict = self.drift().unwrap_or_else(|| "nothing drifted".to_owned());
        let _ = writeln!(text, "{verdict}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(memory: u64, cycles: f64) -> Interval {
        Interval {
            forwarded_pps: 1_000.0,
            cycles_per_packet: cycles,
            delay_us_p50: 1,
            delay_us_p99: 2,
            memory_bytes: Some(memory),
            resident_bytes: Some(100 << 20),
        }
    }

    #[test]
    fn growth_after_the_first_quarter_is_a_drift() {
        let steady: Vec<_> = (0..20).map(|n| part(if n == 0 { 0 } else { 5 << 20 }, 4_000.0)).collect();
        assert!(memory_drifts(&steady).is_empty() && cycles_note(&steady).is_empty());
        let leaking: Vec<_> = (0..20).map(|n| part(n * 10_000, 4_000.0)).collect();
        assert_eq!(memory_drifts(&leaking).len(), 1);
        let dearer: Vec<_> = (0..20).map(|n| part(0, 4_000.0 + f64::from(n) * 200.0)).collect();
        assert_eq!(cycles_note(&dearer).len(), 1);
        assert!(memory_drifts(&[]).is_empty());
    }
}
