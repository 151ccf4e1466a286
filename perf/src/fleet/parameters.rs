//! Every number the model assumes: its flag, its default, and where the default comes from.
//!
//! Promises: nothing else in `fleet` holds a number of its own, except units. "The reference design" is a published style of system
//! design of a Zoom-like service on cloud machines, whose figures the model is held against.

use clap::Args;
use serde::Serialize;

/// One row of the table of assumptions.
#[derive(Clone, Debug, Serialize)]
pub struct Assumption {
    /// Its flag, without the dashes.
    pub flag: String,
    /// The value in use.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Where the default comes from.
    pub origin: &'static str,
    /// Whether the command line gave another value than the default.
    pub changed: bool,
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident = $default:expr, $unit:literal, $origin:literal;)*) => {
        /// The model's assumptions.
        #[derive(Args, Clone, Debug)]
        pub struct Parameters {
            $($(#[$doc])* #[arg(long, value_name = $unit, default_value_t = $default, value_parser = number, help_heading = "Assumptions")] pub $name: f64,)*
        }

        impl Default for Parameters {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Parameters {
            /// All of them, in the order of their declaration.
            pub fn table(&self) -> Vec<Assumption> {
                vec![$(Assumption {
                    flag: stringify!($name).replace('_', "-"),
                    value: self.$name,
                    unit: $unit,
                    origin: $origin,
                    changed: self.$name != $default,
                },)*]
            }
        }
    };
}

parameters! {
    /// People who use the service in a month
    monthly_users = 300e6, "people", "reference design: scale";
    /// Meetings a day
    meetings_per_day = 30e6, "meetings", "reference design: scale";
    /// Joins a day
    joins_per_day = 1e9, "joins", "reference design: scale";
    /// Peak over mean
    peak_factor = 3.0, "x", "reference design: traffic estimate";
    /// Connections at the same time at the peak, as the reference design says
    peak_connections = 5e6, "connections", "reference design: scale; its joins amount to more, see the column \"joins x stay\"";
    /// Minutes a participant stays, for the column that counts joins
    stay_minutes = 40.0, "minutes", "assumed: a typical meeting";
    /// Share of meetings that are recorded
    recorded_share = 0.1, "share", "reference design: storage estimate";
    /// Size of one recording
    recording_mb = 500.0, "MB", "reference design: storage estimate";
    /// Recordings the reference design pays for
    recordings_kept_pb = 50.0, "PB", "reference design: cost estimate; 33 days of its 1.5 PB a day";
    /// Traffic to participants in a month that the reference design pays for
    traffic_pb = 200.0, "PB/month", "reference design: cost estimate";

    /// Other people's videos each participant is sent
    videos_received = 9.0, "streams", "assumed: a gallery of nine; more people than that share places";
    /// Mean rate of one of them
    video_kbps = 300.0, "kbit/s", "assumed: simulcast, one large picture and eight small ones";
    /// Voices each participant is sent
    audios_received = 2.0, "streams", "assumed: seldom do more than two speak; the appliance sends at most the 8 loudest";
    /// Packets per second of one voice
    audio_pps = 50.0, "packets/s", "Opus frames of 20 ms";
    /// Rate of one voice
    audio_kbps = 32.0, "kbit/s", "Opus speech";
    /// RTP payload of a full video packet
    payload_bytes = 1150.0, "bytes", "what browsers send within 1,200 B of UDP payload";
    /// Ethernet, IP, UDP, RTP with extensions and the SRTP tag of one packet
    overhead_bytes = 94.0, "bytes", "14 + 20 + 8 + 12 + 24 + 16 B; preamble and gaps are not billed";

    /// Virtual CPUs of one media server
    server_cpus = 8.0, "CPUs", "reference design: c5.2xlarge";
    /// CPUs of them that do not forward: control plane, kernel, assist threads
    server_cpus_reserved = 1.0, "CPUs", "the appliance's default layout";
    /// Clock of one of them
    clock_ghz = 2.5, "GHz", "assumed: below the 3.4 GHz the instance sustains, because cycles were measured on another CPU";
    /// Share of the CPUs in use at the peak
    cpu_use = 0.6, "share", "assumed: what is left absorbs bursts and a fallen neighbour";
    /// Network one media server sustains
    server_gbps = 2.5, "Gbit/s", "vendor's table: c5.2xlarge sustains 2.5 of its \"up to 10\" Gbit/s";
    /// Share of the network in use at the peak
    network_use = 0.8, "share", "assumed";
    /// Servers kept for failures, over those needed
    spare = 0.25, "share", "assumed: one of four zones may fall";

    /// Requests per second (reads) at the peak one control server answers
    control_requests_per_server = 5000.0, "requests/s", "assumed; not yet measured at this scale";
    /// Databases
    databases = 50.0, "servers", "reference design: the cluster mode keeps its database";
    /// Caches
    caches = 100.0, "servers", "reference design: the cluster mode keeps its cache";

    /// Hours in a month
    month_hours = 730.0, "hours", "reference design: cost estimate";
    /// Application servers of the reference design
    design_app_servers = 1000.0, "servers", "reference design: cost estimate";
    /// Media servers of the reference design
    design_media_servers = 10_000.0, "servers", "reference design: cost estimate";
    /// Price of an application server
    app_server_hour = 0.192, "$/hour", "reference design: m5.xlarge";
    /// Price of a media server
    media_server_hour = 0.34, "$/hour", "reference design: c5.2xlarge";
    /// Price of a database
    database_hour = 0.76, "$/hour", "reference design: db.r5.2xlarge";
    /// Price of a cache
    cache_hour = 0.175, "$/hour", "reference design: cache.r5.xlarge";
    /// Price of storage
    storage_gb_month = 0.023, "$/GB-month", "reference design: object storage";
    /// Price of traffic to participants
    traffic_gb = 0.09, "$/GB", "reference design: cloud egress";

    /// Cores of one bare-metal server
    metal_cpus = 64.0, "CPUs", "assumed: one socket, 32 cores, 64 hardware threads";
    /// Network of one bare-metal server
    metal_gbps = 50.0, "Gbit/s", "assumed: two 25 Gbit/s ports";
    /// Rent of one bare-metal server
    metal_month = 700.0, "$/month", "assumed: list prices of hosters for such a machine are 400 to 1,000";
    /// Price of transit, by the peak
    transit_mbps_month = 0.15, "$/Mbit/s-month", "assumed: transit bought by the 100 Gbit/s port";
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a number of at least 0 is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        parameters: Parameters,
    }

    #[test]
    fn each_assumption_has_a_flag_a_unit_and_an_origin() {
        let line = ["x", "--peak-connections", "7", "--stay-minutes", "1.5"];
        let given = Cli::try_parse_from(line).map(|cli| cli.parameters).expect("valid flags");
        let table = given.table();
        let changed: Vec<_> = table.iter().filter(|row| row.changed).map(|row| row.flag.as_str()).collect();
        assert_eq!(changed, ["peak-connections", "stay-minutes"]);
        assert!(table.iter().all(|row| !row.unit.is_empty() && !row.origin.is_empty()));
        for bad in ["-1", "NaN", "inf", "many"] {
            assert!(Cli::try_parse_from(["x", &format!("--stay-minutes={bad}")]).is_err(), "{bad}");
        }
    }
}
