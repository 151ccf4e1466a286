//! `kaigi-perf fleet`: how many servers, how much network and how much money a service of the reference design's scale needs,
//! from the measured cycles of a packet, beside what the design itself says.
//!
//! Promises: every assumption is a flag with its origin, printed with the result; nothing is measured here. Not here: whether
//! the measured cycles hold on other machines; the clock assumed for them is a parameter.

pub mod cycles;
pub mod model;
pub mod parameters;
mod table;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::record::Run;
use cycles::Measured;
use model::{Cost, Cycles, Fleet, Load, Machine};
use parameters::{Assumption, Parameters};

/// Options of `kaigi-perf fleet`.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Options {
    /// Cycles of a forwarded video packet, user and kernel; without it the newest suitable record is used
    #[arg(long, value_name = "CYCLES")]
    pub cycles_per_video_packet: Option<f64>,
    /// Cycles of a forwarded audio packet; without it the newest suitable record, else those of a video packet
    #[arg(long, value_name = "CYCLES")]
    pub cycles_per_audio_packet: Option<f64>,
    /// The assumptions.
    #[command(flatten)]
    pub parameters: Parameters,
}

/// One column of the comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// The load it stands for.
    pub load: Load,
    /// Traffic of a month.
    pub traffic_pb_per_month: f64,
    /// Network at the peak.
    pub peak_gbps: f64,
    /// On the reference design's machines.
    pub cloud: Place,
    /// On bare metal.
    pub metal: Place,
}

/// A fleet of one kind of machine and what it costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Place {
    /// Media servers.
    pub fleet: Fleet,
    /// Money per month.
    pub cost: Cost,
    /// The sum.
    pub total: f64,
    /// The sum for each person who uses the service.
    pub per_user: f64,
}

/// The reference design's own figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Design {
    /// Media servers.
    pub media_servers: f64,
    /// Connections per media server that they mean.
    pub connections_per_server: f64,
    /// Traffic of a month.
    pub traffic_pb_per_month: f64,
    /// Network at the peak that this means.
    pub peak_gbps: f64,
    /// Money per month.
    pub cost: Cost,
    /// The sum.
    pub total: f64,
    /// Money per month and person.
    pub per_user: f64,
    /// Minutes a participant stays, as its joins and its connections mean.
    pub implied_stay_minutes: f64,
    /// Traffic of one connection that its month means, kbit/s.
    pub implied_kbps: f64,
}

/// The whole comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    benchmark: &'static str,
    /// Cycles of a packet.
    pub cycles: Cycles,
    /// Where the cycles were measured.
    pub measured: Vec<Measured>,
    /// Joins per second at the peak.
    pub reads_per_second: f64,
    /// Meetings created per second at the peak.
    pub writes_per_second: f64,
    /// Control servers for them.
    pub control_servers: f64,
    /// Recordings of a day.
    pub recordings_pb_per_day: f64,
    /// Network that recordings take at the peak.
    pub recordings_gbps: f64,
    /// The reference.
    pub design: Design,
    /// Ours, by load.
    pub columns: Vec<Column>,
    /// Every assumption.
    pub assumptions: Vec<Assumption>,
    /// What limits the comparison.
    pub notes: Vec<String>,
}

impl Report {
    /// What was computed, in one line.
    pub fn key(&self) -> String {
        let changed = self.assumptions.iter().filter(|row| row.changed);
        let changed: Vec<_> = changed.map(|row| format!("--{} {}", row.flag, row.value)).collect();
        format!("the reference design's scale {}", changed.join(" ")).trim_end().to_owned()
    }
}

/// Computes the comparison from flags and records.
pub fn run(options: &Options, runs: &[Run]) -> Result<Report> {
    let p = &options.parameters;
    let (cycles, measured, mut notes) = cycles::choose(options, runs)?;
    if p.server_cpus <= p.server_cpus_reserved || p.metal_cpus <= p.server_cpus_reserved {
        bail!("no CPU is left to forward: --server-cpus and --metal-cpus must exceed --server-cpus-reserved");
    }
    let divisors = [
        ("monthly-users", p.monthly_users),
        ("peak-factor", p.peak_factor),
        ("peak-connections", p.peak_connections),
        ("payload-bytes", p.payload_bytes),
        ("month-hours", p.month_hours),
        ("clock-ghz", p.clock_ghz),
        ("cpu-use", p.cpu_use),
        ("network-use", p.network_use),
        ("server-gbps", p.server_gbps),
        ("metal-gbps", p.metal_gbps),
        ("traffic-pb", p.traffic_pb),
        ("joins-per-day", p.joins_per_day),
        ("stay-minutes", p.stay_minutes),
        ("control-requests-per-server", p.control_requests_per_server),
        ("design-media-servers", p.design_media_servers),
    ];
    if let Some((flag, _)) = divisors.iter().find(|(_, value)| *value == 0.0) {
        bail!("--{flag} must be more than 0");
    }
    if p.videos_received * p.video_kbps + p.audios_received * p.audio_pps == 0.0 {
        bail!("participants receive nothing: raise --videos-received or --audios-received");
    }
    let design_load = Load::of_the_design(p);
    let design_cost = model::design_cost(p);
    let columns: Vec<Column> = [
        ("its own traffic", design_load),
        ("its connections, real video", Load::of_connections(p)),
        ("joins x stay, real video", Load::of_joins(p)),
    ]
    .into_iter()
    .map(|(name, load)| column(p, name, load, cycles))
    .collect();
    if design_load.bps < columns[1].load.bps {
        notes.push(format!(
            "the reference's {:.0} PB a month are {:.0} kbit/s for each connection; {} videos of {} kbit/s need {:.0}",
            p.traffic_pb,
            design_load.bps / 1e3,
            p.videos_received,
            p.video_kbps,
            columns[1].load.bps / 1e3
        ));
    }
    notes.push(
        "ingress (one camera and one voice each) is in the measured cycles, not in the network: egress is several times it"
            .to_owned(),
    );
    notes.push("the fleet is sized for the peak and paid all month, as the reference does".to_owned());
    if measured.iter().any(|measured| measured.key.contains("segmentation by device")) {
        notes.push(
            "the cycles were measured on a link that takes a batch whole, as a NIC that segments UDP does; its driver is not in them"
                .to_owned(),
        );
    }
    let mean = p.peak_connections / p.peak_factor;
    Ok(Report {
        benchmark: "fleet",
        cycles,
        measured,
        reads_per_second: model::reads_per_second(p),
        writes_per_second: model::writes_per_second(p),
        control_servers: model::control_servers(p),
        recordings_pb_per_day: model::recordings_pb_per_day(p),
        recordings_gbps: model::recordings_bps(p) / 1e9,
        design: Design {
            media_servers: p.design_media_servers,
            connections_per_server: p.peak_connections / p.design_media_servers,
            traffic_pb_per_month: p.traffic_pb,
            peak_gbps: design_load.peak_bps() / 1e9,
            cost: design_cost,
            total: design_cost.total(),
            per_user: design_cost.total() / p.monthly_users,
            implied_stay_minutes: mean * 24.0 * 60.0 / p.joins_per_day,
            implied_kbps: design_load.bps / 1e3,
        },
        columns,
        assumptions: p.table(),
        notes,
    })
}

fn column(p: &Parameters, name: &'static str, load: Load, cycles: Cycles) -> Column {
    let place = |machine: Machine, cost: fn(&Parameters, &Load, &Fleet) -> Cost| {
        let fleet = Fleet::new(p, &load, machine, cycles);
        let cost = cost(p, &load, &fleet);
        Place { fleet, cost, total: cost.total(), per_user: cost.total() / p.monthly_users }
    };
    Column {
        name,
        load,
        traffic_pb_per_month: load.traffic_pb(p),
        peak_gbps: load.peak_bps() / 1e9,
        cloud: place(Machine::cloud(p), model::cloud_cost),
        metal: place(Machine::metal(p), model::metal_cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(video: f64) -> Options {
        Options { cycles_per_video_packet: Some(video), ..Options::default() }
    }

    #[test]
    fn a_comparison_names_its_assumptions_and_the_references_sum() {
        let report = run(&options(4_614.0), &[]).expect("the defaults are valid");
        assert_eq!(report.columns.len(), 3);
        assert!((report.design.total - 21_812_675.0).abs() < 0.01);
        assert!((report.design.implied_stay_minutes - 2.4).abs() < 1e-9);
        let table = report.table();
        for row in &report.assumptions {
            assert!(table.contains(&format!("--{}", row.flag)), "{} is not printed", row.flag);
        }
        let json = serde_json::to_value(&report).expect("it serialises");
        assert_eq!(json["columns"][0]["traffic_pb_per_month"].as_f64().map(f64::round), Some(200.0));
    }

    #[test]
    fn twice_the_cycles_need_twice_the_cpu() {
        let (one, two) = (run(&options(4_000.0), &[]), run(&options(8_000.0), &[]));
        let by_cpu = |report: &Result<Report>| {
            report.as_ref().expect("valid").columns[1].cloud.fleet.connections_by_cpu
        };
        assert!((by_cpu(&one) / by_cpu(&two) - 2.0).abs() < 0.01);
    }

    #[test]
    fn what_cannot_be_computed_is_said() {
        let none = run(&Options::default(), &[]).expect_err("nothing was measured").to_string();
        assert!(none.contains("--cycles-per-video-packet") && none.contains("forward --record"), "{none}");
        let idle =
            Options { parameters: Parameters { cpu_use: 0.0, ..Parameters::default() }, ..options(4_000.0) };
        assert!(run(&idle, &[]).expect_err("no division by zero").to_string().contains("--cpu-use"));
        let small = Options {
            parameters: Parameters { server_cpus: 1.0, ..Parameters::default() },
            ..options(4_000.0)
        };
        assert!(run(&small, &[]).is_err());
        assert!(run(&options(0.0), &[]).is_err());
    }
}
