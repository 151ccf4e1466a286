//! The comparison as text.

use std::fmt::Write as _;

use super::model::Cost;
use super::{Column, Report};
use crate::report::text::grouped as thousands;

/// A cost's part.
type Part = fn(&Cost) -> f64;

const PARTS: [(&str, Part); 6] = [
    ("media servers", |cost| cost.media),
    ("control servers", |cost| cost.control),
    ("databases", |cost| cost.databases),
    ("caches", |cost| cost.caches),
    ("recordings", |cost| cost.storage),
    ("traffic", |cost| cost.traffic),
];

impl Report {
    /// The human table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for measured in &self.measured {
            let at = if measured.date.is_empty() {
                String::new()
            } else {
                format!(" ({}, {}, {})", measured.host_class, measured.date, measured.commit)
            };
            let _ = writeln!(
                text,
                "{} packet: {:.0} cycles, {}{at}",
                measured.kind, measured.cycles, measured.key
            );
        }
        let _ = writeln!(
            text,
            "control plane at the peak: {:.0} reads/s, {:.0} writes/s, {:.0} servers",
            self.reads_per_second, self.writes_per_second, self.control_servers
        );
        let _ = writeln!(
            text,
            "recordings: {:.2} PB a day, {:.0} Gbit/s at the peak\n",
            self.recordings_pb_per_day, self.recordings_gbps
        );
        self.row(&mut text, "", "reference", |column| column.name.to_owned());
        let design = &self.design;
        self.row(
            &mut text,
            "connections at the peak",
            &thousands(design.connections_per_server * design.media_servers),
            |c| thousands(c.load.peak_connections),
        );
        self.row(&mut text, "kbit/s to each", &thousands(design.implied_kbps), |c| {
            thousands(c.load.bps / 1e3)
        });
        self.row(&mut text, "packets/s to each", "", |c| {
            format!("{:.0} video + {:.0} audio", c.load.video_pps, c.load.audio_pps)
        });
        self.row(&mut text, "network at the peak, Gbit/s", &thousands(design.peak_gbps), |c| {
            thousands(c.peak_gbps)
        });
        self.row(&mut text, "traffic, PB/month", &thousands(design.traffic_pb_per_month), |c| {
            thousands(c.traffic_pb_per_month)
        });
        let _ = writeln!(text, "\non the reference's machines and prices");
        self.row(&mut text, "connections per server", &thousands(design.connections_per_server), |c| {
            let fleet = c.cloud.fleet;
            format!(
                "{} cpu, {} net",
                thousands(fleet.connections_by_cpu),
                thousands(fleet.connections_by_network)
            )
        });
        self.row(&mut text, "media servers", &thousands(design.media_servers), |c| {
            format!("{} ({:?})", thousands(c.cloud.fleet.servers), c.cloud.fleet.limit).to_lowercase()
        });
        for (name, part) in PARTS {
            self.row(&mut text, &format!("{name}, $/month"), &thousands(part(&design.cost)), |c| {
                thousands(part(&c.cloud.cost))
            });
        }
        self.row(&mut text, "sum, $/month", &thousands(design.total), |c| thousands(c.cloud.total));
        self.row(&mut text, "for each person, $/month", &format!("{:.3}", design.per_user), |c| {
            format!("{:.3}", c.cloud.per_user)
        });
        let _ = writeln!(text, "\non bare metal with bought transit");
        self.row(&mut text, "media servers", "", |c| {
            format!("{} ({:?})", thousands(c.metal.fleet.servers), c.metal.fleet.limit).to_lowercase()
        });
        for (name, part) in PARTS {
            self.row(&mut text, &format!("{name}, $/month"), "", |c| thousands(part(&c.metal.cost)));
        }
        self.row(&mut text, "sum, $/month", "", |c| thousands(c.metal.total));
        self.row(&mut text, "for each person, $/month", "", |c| format!("{:.3}", c.metal.per_user));
        let _ = writeln!(
            text,
            "\nthe reference's connections mean that a participant stays {:.1} minutes",
            design.implied_stay_minutes
        );
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let _ = writeln!(text, "\nassumptions (* changed by a flag)");
        for row in &self.assumptions {
            let mark = if row.changed { "*" } else { " " };
            let _ =
                writeln!(text, "{mark} --{:<30} {:>15} {:<16} {}", row.flag, row.value, row.unit, row.origin);
        }
        text
    }

    fn row(&self, text: &mut String, name: &str, reference: &str, cell: impl Fn(&Column) -> String) {
        let _ = write!(text, "{name:<28} {reference:>12}");
        for column in &self.columns {
            let _ = write!(text, "  {:>27}", cell(column));
        }
        let _ = writeln!(text);
    }
}
