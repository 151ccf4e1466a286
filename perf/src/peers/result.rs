//! What a comparison found out, and what others have published.

use std::fmt::Write as _;

use serde::Serialize;

use super::System;
use super::scenario::Scenario;
use crate::forward::report::Report;
use crate::forward::search::Holds;

/// One run at one size of a scenario.
#[derive(Clone, Serialize)]
pub struct Measured {
    /// The scenario's size.
    pub size: u32,
    /// What came out.
    pub report: Report,
}

impl Holds for Measured {
    fn holds(&self) -> bool {
        self.report.holds()
    }
}

/// One system under one scenario.
#[derive(Clone, Serialize)]
pub struct Row {
    /// Which.
    pub system: System,
    /// The largest load it held.
    pub highest: Option<Measured>,
    /// At 70 % of that.
    pub own: Option<Measured>,
    /// At the load all systems were given.
    pub common: Measured,
}

impl Row {
    /// Its runs, each with what it was.
    fn runs(&self) -> impl Iterator<Item = (&'static str, &Measured)> {
        let parts = [
            ("highest", self.highest.as_ref()),
            ("70 % of own", self.own.as_ref()),
            ("common", Some(&self.common)),
        ];
        parts.into_iter().filter_map(|(load, measured)| Some((load, measured?)))
    }
}

/// Kaigi divided by a peer; above 1 kaigi has more.
#[derive(Clone, Serialize)]
pub struct Ratio {
    /// The peer.
    pub peer: System,
    /// Packets per second one core held.
    pub packets_per_second: Option<f64>,
    /// Cycles per packet at the common load.
    pub cycles_per_packet: f64,
    /// Instructions per packet at the common load, where the host counts them.
    pub instructions_per_packet: Option<f64>,
    /// Median delay at the common load.
    pub delay_p50: f64,
    /// 99th percentile of delay at the common load.
    pub delay_p99: f64,
}

/// All systems under one scenario.
#[derive(Clone, Serialize)]
pub struct Comparison {
    scenario: Scenario,
    description: String,
    unit: &'static str,
    systems: Vec<Row>,
    ratios: Vec<Ratio>,
    same_content: bool,
}

impl Comparison {
    /// Adds the ratios.
    pub fn new(scenario: Scenario, description: String, systems: Vec<Row>) -> Self {
        let kaigi = systems.iter().find(|row| row.system == System::Kaigi);
        let ratios = systems
            .iter()
            .filter(|row| row.system != System::Kaigi)
            .filter_map(|peer| Some(Ratio::new(kaigi?, peer)))
            .collect();
        let hashes: Vec<_> = systems.iter().filter(|row| row.common.report.is_complete()).collect();
        let same_content = hashes.len() == systems.len()
            && hashes.windows(2).all(|two| two[0].common.report.hash() == two[1].common.report.hash());
        Self { scenario, description, unit: scenario.unit(), systems, ratios, same_content }
    }
}

impl Ratio {
    fn new(kaigi: &Row, peer: &Row) -> Self {
        let (ours, theirs) = (&kaigi.common.report, &peer.common.report);
        let of = |ours: f64, theirs: f64| if theirs > 0.0 { ours / theirs } else { 0.0 };
        let pair = |value: fn(&Report) -> Option<f64>| Some(of(value(ours)?, value(theirs)?));
        let highest = kaigi.highest.as_ref().zip(peer.highest.as_ref());
        Self {
            peer: peer.system,
            packets_per_second: highest
                .map(|(ours, theirs)| of(ours.report.forwarded_pps(), theirs.report.forwarded_pps())),
            cycles_per_packet: of(ours.cycles_per_packet(), theirs.cycles_per_packet()),
            instructions_per_packet: pair(Report::instructions_per_packet),
            delay_p50: of(ours.delay_us(500) as f64, theirs.delay_us(500) as f64),
            delay_p99: of(ours.delay_us(990) as f64, theirs.delay_us(990) as f64),
        }
    }
}

/// A system that could not be run.
#[derive(Clone, Serialize)]
pub struct Missing {
    /// Which.
    pub system: System,
    /// Why, and what would help.
    pub why: String,
}

/// A figure of somebody else, or of another day.
#[derive(Clone, Serialize)]
pub struct Quoted {
    /// Of what.
    pub system: &'static str,
    /// The figure.
    pub figure: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

/// Not measured by this program: quoted, so that a reader can place what was.
pub const QUOTED: [Quoted; 6] = [
    Quoted {
        system: "mediasoup 3.27.1, NACK + RTX + TWCC",
        figure: "40,600 packets/s (GCM), 50,200 (CM) on one core; 38,000 to 43,000 cycles per packet",
        source: "measured by this project in November 2026 on a 2-core virtual machine, same topology, 1 publisher to 100 subscribers",
    },
    Quoted {
        system: "mediasoup",
        figure: "over about 500 consumers per worker (core)",
        source: "mediasoup.org, scalability",
    },
    Quoted {
        system: "LiveKit",
        figure: "959,000 audio packets/s (10 to 3,000) at 80 % of 16 vCPU; 763,000 video (150 to 150) at 85 %; 561,000 video (1 to 3,000) at 92 %",
        source: "docs.livekit.io, benchmarking",
    },
    Quoted {
        system: "a 32-core software SFU",
        figure: "192 ten-party meetings",
        source: "Scallop, SIGCOMM 2025",
    },
    Quoted {
        system: "Scallop on a Tofino switch, without encryption",
        figure: "7 to 422 times the meetings of that SFU",
        source: "Scallop, SIGCOMM 2025",
    },
    Quoted {
        system: "SRS 4.0",
        figure: "4,000 players of 600 kbit/s on one core",
        source: "ossrs.io, performance",
    },
];

/// The whole comparison.
#[derive(Clone, Serialize)]
pub struct Results {
    benchmark: &'static str,
    comparisons: Vec<Comparison>,
    missing: Vec<Missing>,
    quoted_not_measured: &'static [Quoted],
    notes: Vec<String>,
}

impl Results {
    /// Puts it together.
    pub fn new(comparisons: Vec<Comparison>, missing: Vec<Missing>, mut notes: Vec<String>) -> Self {
        let has_counters = |row: &Row| row.common.report.instructions_per_packet().is_some();
        if comparisons.iter().any(|comparison| !comparison.systems.iter().all(has_counters)) {
            notes.push(
                "no hardware counters on this host: cycles are CPU time times the time-stamp counter's rate, and instructions are not known"
                    .to_owned(),
            );
        }
        Self { benchmark: "peers", comparisons, missing, quoted_not_measured: &QUOTED, notes }
    }

    /// What was measured, in one line.
    pub fn key(&self) -> String {
        let part = |comparison: &Comparison| {
            let systems: Vec<_> = comparison.systems.iter().map(|row| format!("{:?}", row.system)).collect();
            let common = comparison.systems.first().map(|row| row.common.report.options().profile);
            let searched = comparison.systems.iter().any(|row| row.highest.is_some());
            let how = if searched { "searched" } else { "one load" };
            format!("{:?} {how} {} {common:?}", comparison.scenario, systems.join("/"))
        };
        self.comparisons.iter().map(part).collect::<Vec<_>>().join(", ").to_lowercase()
    }

    /// The human tables.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            let _ = writeln!(text, "{:?}: {}", comparison.scenario, comparison.description);
            let _ = writeln!(
                text,
                "{:<8} {:<12} {:>9} {:>11} {:>9} {:>13} {:>8} {:>9} {:>9} {:>6} {:>6}",
                "system",
                "load",
                "size",
                "packets/s",
                "cycles",
                "instructions",
                "loss %",
                "p50 us",
                "p99 us",
                "srv %",
                "cli %"
            );
            for row in &comparison.systems {
                let name = format!("{:?}", row.system).to_lowercase();
                for (load, Measured { size, report }) in row.runs() {
                    let instructions = report
                        .instructions_per_packet()
                        .map_or("-".to_owned(), |value| format!("{value:.0}"));
                    let _ = writeln!(
                        text,
                        "{name:<8} {load:<12} {size:>9} {:>11.0} {:>9.0} {instructions:>13} {:>8.3} {:>9} {:>9} {:>6.0} {:>6.0}  {}",
                        report.forwarded_pps(),
                        report.cycles_per_packet(),
                        report.loss() * 100.0,
                        report.delay_us(500),
                        report.delay_us(990),
                        report.server_cpu_percent(),
                        report.clients_cpu_percent(),
                        if report.holds() { "" } else { "not held" },
                    );
                }
            }
            for ratio in &comparison.ratios {
                let rate = ratio.packets_per_second.map_or("-".to_owned(), |value| format!("{value:.2}"));
                let instructions =
                    ratio.instructions_per_packet.map_or("-".to_owned(), |value| format!("{value:.2}"));
                let _ = writeln!(
                    text,
                    "kaigi : {:<8} packets/s {rate}, at the common load cycles {:.2}, instructions {instructions}, p50 {:.2}, p99 {:.2}",
                    format!("{:?}", ratio.peer).to_lowercase(),
                    ratio.cycles_per_packet,
                    ratio.delay_p50,
                    ratio.delay_p99
                );
            }
            let content = if comparison.same_content {
                "the same from all systems"
            } else {
                "not the same from all systems"
            };
            let _ =
                writeln!(text, "content at the common load: {content}; size counts {}\n", comparison.unit);
            let runs = comparison.systems.iter().flat_map(Row::runs);
            let mut noted: Vec<&String> = runs.flat_map(|(_, measured)| measured.report.notes()).collect();
            noted.sort();
            noted.dedup();
            for note in noted {
                let _ = writeln!(text, "note: {note}");
            }
        }
        let _ = writeln!(text, "quoted, not measured");
        for quoted in self.quoted_not_measured {
            let _ = writeln!(text, "  {}: {} ({})", quoted.system, quoted.figure, quoted.source);
        }
        for missing in &self.missing {
            let _ = writeln!(text, "missing: {:?}: {}", missing.system, missing.why);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}
