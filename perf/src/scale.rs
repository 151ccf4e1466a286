//! `kaigi-perf scale`: cycles of a forwarded packet and memory of a participant as one core's packets spread over more meetings.
//!
//! Promises: every row forwards the same packets per second in the same bursts to the same number of receivers, so what differs is
//! how many meetings, peers and keys they touch. Verdicts are ratios between rows of one run.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::forward::options::{Options as Load, Site};
use crate::forward::report::Report;
use crate::forward::{self};

/// Options of `kaigi-perf scale`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Numbers of meetings to compare
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000], value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pub meetings: Vec<u32>,
    /// Packets per second that the server sends in each row, over all meetings
    #[arg(long, default_value_t = 60_000)]
    pub total_pps: u32,
    /// Receivers of each meeting's one camera
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub subscribers: u32,
    /// Packets of each video frame
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub burst: u32,
    #[command(flatten)]
    pub site: Site,
}

/// One number of meetings.
#[derive(Serialize)]
pub struct Row {
    meetings: u32,
    participants: u32,
    /// Divided by the first row's.
    cycles_ratio: f64,
    report: Report,
}

/// All of them.
#[derive(Serialize)]
pub struct Results {
    benchmark: &'static str,
    total_pps: u32,
    rows: Vec<Row>,
}

impl Options {
    fn load(&self, meetings: u32) -> Result<Load> {
        let pps = self.total_pps / (meetings * self.subscribers);
        if pps == 0 {
            bail!(
                "{} packets/s are less than one for each of {meetings} meetings: raise --total-pps",
                self.total_pps
            );
        }
        let load = Load {
            meetings,
            publishers: 1,
            subscribers: self.subscribers,
            burst: self.burst,
            pps,
            ..self.site.load()
        };
        load.check()?;
        Ok(load)
    }
}

/// Measures every row; `each` sees them all.
pub fn run(options: &Options, mut each: impl FnMut(&Report)) -> Result<Results> {
    // What cannot be run is said before anything is.
    let loads =
        options.meetings.iter().map(|&meetings| options.load(meetings)).collect::<Result<Vec<_>>>()?;
    let mut rows: Vec<Row> = Vec::new();
    for load in loads {
        let report = forward::once(&load)?;
        each(&report);
        if let Some(defect) = report.defect() {
            bail!(defect);
        }
        let first = rows.first().map_or(report.cycles_per_packet(), |row| row.report.cycles_per_packet());
        rows.push(Row {
            meetings: load.meetings,
            participants: load.associations(),
            cycles_ratio: (report.cycles_per_packet() / first.max(1.0) * 1e3).round() / 1e3,
            report,
        });
    }
    Ok(Results { benchmark: "scale", total_pps: options.total_pps, rows })
}

impl Results {
    /// What was measured, in one line.
    pub fn key(&self) -> String {
        let meetings: Vec<_> = self.rows.iter().map(|row| row.meetings.to_string()).collect();
        let o = self.rows.first().map(|row| row.report.options());
        let how =
            o.map(|o| format!("1 -> {}, bursts of {}, {:?}, {:?}", o.subscribers, o.burst, o.profile, o.net));
        format!(
            "{} packets/s over {} meetings, {}",
            self.total_pps,
            meetings.join("/"),
            how.unwrap_or_default()
        )
        .to_lowercase()
    }

    /// The human table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>8} {:>12} {:>11} {:>8} {:>6} {:>12} {:>8} {:>8} {:>8}  {}\n",
            "meetings",
            "participants",
            "packets/s",
            "cycles",
            "ratio",
            "KiB/person",
            "loss %",
            "p50 us",
            "p99 us",
            "result"
        );
        for Row { meetings, participants, cycles_ratio, report } in &self.rows {
            let memory = report.memory_bytes_per_participant().map_or(0, |bytes| bytes / 1_024);
            let _ = writeln!(
                text,
                "{meetings:>8} {participants:>12} {:>11.0} {:>8.0} {cycles_ratio:>6.2} {memory:>12} {:>8.3} {:>8} {:>8}  {}{}",
                report.forwarded_pps(),
                report.cycles_per_packet(),
                report.loss() * 100.0,
                report.delay_us(500),
                report.delay_us(990),
                report.hash(),
                if report.is_complete() { "" } else { " (content is missing)" },
            );
        }
        let mut noted: Vec<&String> = self.rows.iter().flat_map(|row| row.report.notes()).collect();
        noted.sort();
        noted.dedup();
        noted.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_same_rate_and_what_is_too_thin_is_said() {
        let options = Options {
            meetings: vec![10, 100],
            total_pps: 6_000,
            subscribers: 2,
            burst: 3,
            site: Site::for_tests(),
        };
        for meetings in [10, 100, 1_000] {
            let load = options.load(meetings).expect("3 packets/s at least");
            assert_eq!(load.streams() * u64::from(load.pps), 6_000);
        }
        assert!(options.load(3_001).expect_err("less than one").to_string().contains("--total-pps"));
    }
}
