//! The arithmetic: from a load and the cycles of a packet to servers, network and money.
//!
//! Promises: pure functions of their arguments. Units are in the names; bytes are decimal, as they are billed.

use serde::Serialize;

use super::parameters::Parameters;

const SECONDS_PER_DAY: f64 = 86_400.0;
const SECONDS_PER_HOUR: f64 = 3_600.0;
const BITS_PER_BYTE: f64 = 8.0;
const GB: f64 = 1e9;
const PB: f64 = 1e15;

/// Measured cycles of one forwarded packet on one CPU, user and kernel together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cycles {
    /// A video packet, sent in a burst.
    pub video: f64,
    /// An audio packet, sent alone.
    pub audio: f64,
}

/// What the participants ask for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Load {
    /// Connections at the peak.
    pub peak_connections: f64,
    /// Connections on average.
    pub mean_connections: f64,
    /// Video packets sent to each per second.
    pub video_pps: f64,
    /// Audio packets sent to each per second.
    pub audio_pps: f64,
    /// Bits sent to each per second, headers included.
    pub bps: f64,
}

/// A kind of media server.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// CPUs that forward.
    pub cpus: f64,
    /// Cycles per second of one.
    pub hz: f64,
    /// Bits per second it sustains.
    pub bps: f64,
}

/// How many servers of a kind a load needs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Fleet {
    /// Connections one server's CPUs carry.
    pub connections_by_cpu: f64,
    /// Connections one server's network carries.
    pub connections_by_network: f64,
    /// What is full first.
    pub limit: Limit,
    /// Servers, spares included.
    pub servers: f64,
}

/// What is full first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The CPUs.
    Cpu,
    /// The network.
    Network,
}

/// Money per month, dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Cost {
    /// Media servers.
    pub media: f64,
    /// Application or control servers.
    pub control: f64,
    /// Databases.
    pub databases: f64,
    /// Caches.
    pub caches: f64,
    /// Storage of recordings.
    pub storage: f64,
    /// Traffic to participants.
    pub traffic: f64,
}

impl Cost {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.media + self.control + self.databases + self.caches + self.storage + self.traffic
    }
}

impl Load {
    /// The reference design's connections and its own traffic, spread over them.
    pub fn of_the_design(p: &Parameters) -> Self {
        let mean = p.peak_connections / p.peak_factor;
        let bps = p.traffic_pb * PB * BITS_PER_BYTE / (mean * p.month_hours * SECONDS_PER_HOUR);
        let audio_pps = p.audios_received * p.audio_pps;
        let audio_bps = audio_bps(p);
        let packet_bits = (p.payload_bytes + p.overhead_bytes) * BITS_PER_BYTE;
        Self {
            peak_connections: p.peak_connections,
            mean_connections: mean,
            video_pps: (bps - audio_bps).max(0.0) / packet_bits,
            audio_pps,
            bps: bps.max(audio_bps),
        }
    }

    /// The reference design's connections, each with the media assumed here.
    pub fn of_connections(p: &Parameters) -> Self {
        let video_pps = p.videos_received * p.video_kbps * 1e3 / (p.payload_bytes * BITS_PER_BYTE);
        let packet_bits = (p.payload_bytes + p.overhead_bytes) * BITS_PER_BYTE;
        Self {
            peak_connections: p.peak_connections,
            mean_connections: p.peak_connections / p.peak_factor,
            video_pps,
            audio_pps: p.audios_received * p.audio_pps,
            bps: video_pps * packet_bits + audio_bps(p),
        }
    }

    /// As many connections as the joins of a day amount to (Little's law), each with the media assumed here.
    pub fn of_joins(p: &Parameters) -> Self {
        let mean = p.joins_per_day * p.stay_minutes * 60.0 / SECONDS_PER_DAY;
        Self { peak_connections: mean * p.peak_factor, mean_connections: mean, ..Self::of_connections(p) }
    }

    /// Traffic of a month, PB.
    pub fn traffic_pb(&self, p: &Parameters) -> f64 {
        self.mean_connections * self.bps / BITS_PER_BYTE * p.month_hours * SECONDS_PER_HOUR / PB
    }

    /// Network at the peak, bits per second.
    pub fn peak_bps(&self) -> f64 {
        self.peak_connections * self.bps
    }
}

fn audio_bps(p: &Parameters) -> f64 {
    p.audios_received * (p.audio_kbps * 1e3 + p.audio_pps * p.overhead_bytes * BITS_PER_BYTE)
}

impl Machine {
    /// The reference design's media server.
    pub fn cloud(p: &Parameters) -> Self {
        Self {
            cpus: (p.server_cpus - p.server_cpus_reserved).max(0.0),
            hz: p.clock_ghz * 1e9,
            bps: p.server_gbps * 1e9,
        }
    }

    /// A bare-metal server.
    pub fn metal(p: &Parameters) -> Self {
        Self {
            cpus: (p.metal_cpus - p.server_cpus_reserved).max(0.0),
            hz: p.clock_ghz * 1e9,
            bps: p.metal_gbps * 1e9,
        }
    }
}

impl Fleet {
    /// Servers for the peak of a load.
    pub fn new(p: &Parameters, load: &Load, machine: Machine, cycles: Cycles) -> Self {
        let cycles_per_connection = load.video_pps * cycles.video + load.audio_pps * cycles.audio;
        let by_cpu = machine.cpus * machine.hz * p.cpu_use / cycles_per_connection;
        let by_network = machine.bps * p.network_use / load.bps;
        let carried = by_cpu.min(by_network);
        Self {
            connections_by_cpu: by_cpu.floor(),
            connections_by_network: by_network.floor(),
            limit: if by_cpu < by_network { Limit::Cpu } else { Limit::Network },
            servers: (load.peak_connections / carried * (1.0 + p.spare)).ceil(),
        }
    }
}

/// Servers for the control plane's requests at the peak, two at least.
pub fn control_servers(p: &Parameters) -> f64 {
    (reads_per_second(p) / p.control_requests_per_server * (1.0 + p.spare)).ceil().max(2.0)
}

/// Joins per second at the peak.
pub fn reads_per_second(p: &Parameters) -> f64 {
    p.joins_per_day / SECONDS_PER_DAY * p.peak_factor
}

/// Meetings created per second at the peak.
pub fn writes_per_second(p: &Parameters) -> f64 {
    p.meetings_per_day / SECONDS_PER_DAY * p.peak_factor
}

/// Recordings of a day, PB.
pub fn recordings_pb_per_day(p: &Parameters) -> f64 {
    p.meetings_per_day * p.recorded_share * p.recording_mb * 1e6 / PB
}

/// Network that recordings take at the peak, bits per second.
pub fn recordings_bps(p: &Parameters) -> f64 {
    recordings_pb_per_day(p) * PB * BITS_PER_BYTE / SECONDS_PER_DAY * p.peak_factor
}

/// What the reference design pays.
pub fn design_cost(p: &Parameters) -> Cost {
    Cost {
        media: p.design_media_servers * p.media_server_hour * p.month_hours,
        control: p.design_app_servers * p.app_server_hour * p.month_hours,
        traffic: p.traffic_pb * PB / GB * p.traffic_gb,
        ..shared_cost(p)
    }
}

/// What a load costs on the reference design's machines at its prices.
pub fn cloud_cost(p: &Parameters, load: &Load, fleet: &Fleet) -> Cost {
    Cost {
        media: fleet.servers * p.media_server_hour * p.month_hours,
        control: control_servers(p) * p.app_server_hour * p.month_hours,
        traffic: load.traffic_pb(p) * PB / GB * p.traffic_gb,
        ..shared_cost(p)
    }
}

/// What it costs on bare metal with bought transit. Databases, caches and storage keep their prices.
pub fn metal_cost(p: &Parameters, load: &Load, fleet: &Fleet) -> Cost {
    Cost {
        media: fleet.servers * p.metal_month,
        control: control_servers(p) * p.app_server_hour * p.month_hours,
        traffic: load.peak_bps() / 1e6 * p.transit_mbps_month,
        ..shared_cost(p)
    }
}

fn shared_cost(p: &Parameters) -> Cost {
    Cost {
        databases: p.databases * p.database_hour * p.month_hours,
        caches: p.caches * p.cache_hour * p.month_hours,
        storage: p.recordings_kept_pb * PB / GB * p.storage_gb_month,
        ..Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLES: Cycles = Cycles { video: 4_000.0, audio: 12_000.0 };

    fn near(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() <= wanted.abs() * 1e-9
    }

    #[test]
    fn the_references_own_sums_come_out() {
        let p = Parameters::default();
        let cost = design_cost(&p);
        assert!(near(cost.media, 2_482_000.0) && near(cost.control, 140_160.0));
        assert!(near(cost.databases, 27_740.0) && near(cost.caches, 12_775.0));
        assert!(near(cost.storage, 1_150_000.0) && near(cost.traffic, 18_000_000.0));
        assert!(near(cost.total(), 21_812_675.0));
        // 34,722 and 1,042: the reference rounds on the way, to 34,725 and 1,041.
        assert!((reads_per_second(&p) - 34_725.0).abs() < 5.0);
        assert!((writes_per_second(&p) - 1_041.0).abs() < 1.0);
        assert!(near(recordings_pb_per_day(&p), 1.5));
        assert!((recordings_bps(&p) - 416.7e9).abs() < 0.1e9);
    }

    #[test]
    fn a_load_of_the_references_traffic_has_its_traffic() {
        let p = Parameters::default();
        let load = Load::of_the_design(&p);
        assert!(near(load.traffic_pb(&p), 200.0));
        assert!((load.bps - 365_297.0).abs() < 1.0);
        // Two voices of 32 kbit/s, and 50 packets/s of 94 B around them.
        assert!(near(load.audio_pps, 100.0));
        assert!(near(load.video_pps, (load.bps - 2.0 * (32_000.0 + 37_600.0)) / (1_244.0 * 8.0)));
    }

    #[test]
    fn joins_times_stay_are_connections() {
        let p = Parameters { stay_minutes: 144.0 / 60.0, ..Parameters::default() };
        // A stay of 2.4 minutes is what the reference's five million connections mean.
        assert!(near(Load::of_joins(&p).peak_connections, 5e6));
        let longer = Parameters { stay_minutes: 24.0, ..Parameters::default() };
        assert!(near(Load::of_joins(&longer).peak_connections, 50e6));
        assert_eq!(Load::of_joins(&longer).bps, Load::of_connections(&p).bps);
    }

    #[test]
    fn the_scarcer_of_cpu_and_network_decides() {
        let p = Parameters { cpu_use: 1.0, network_use: 1.0, spare: 0.0, ..Parameters::default() };
        let load = Load {
            peak_connections: 1e6,
            mean_connections: 1e6,
            video_pps: 100.0,
            audio_pps: 50.0,
            bps: 1e6,
        };
        let machine = Machine { cpus: 2.0, hz: 1e9, bps: 10e9 };
        // 100 x 4,000 + 50 x 12,000 = 1 M cycles each: 2,000 connections by CPU, 10,000 by network.
        let fleet = Fleet::new(&p, &load, machine, CYCLES);
        assert_eq!((fleet.connections_by_cpu, fleet.connections_by_network), (2_000.0, 10_000.0));
        assert_eq!((fleet.limit, fleet.servers), (Limit::Cpu, 500.0));
        let slow = Fleet::new(&p, &load, Machine { bps: 1e9, ..machine }, CYCLES);
        assert_eq!((slow.limit, slow.servers), (Limit::Network, 1_000.0));
        let spare = Parameters { spare: 0.25, ..p };
        assert_eq!(Fleet::new(&spare, &load, machine, CYCLES).servers, 625.0);
    }

    #[test]
    fn costs_are_counted_by_the_hour_the_byte_and_the_peak() {
        let p = Parameters::default();
        let load = Load::of_the_design(&p);
        let fleet = Fleet::new(&p, &load, Machine::cloud(&p), CYCLES);
        let cost = cloud_cost(&p, &load, &fleet);
        assert!(near(cost.traffic, 18_000_000.0), "the same traffic costs the same");
        assert!(near(cost.media, fleet.servers * 248.2));
        let metal = Fleet::new(&p, &load, Machine::metal(&p), CYCLES);
        let cost = metal_cost(&p, &load, &metal);
        assert!(near(cost.media, metal.servers * 700.0));
        assert!(near(cost.traffic, 5e6 * load.bps / 1e6 * 0.15));
        assert!(control_servers(&p) == 9.0, "34,722 / 5,000 x 1.25 = 8.7");
    }
}
