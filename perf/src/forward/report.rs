//! What a run found out, as one JSON object and as a table.

use std::fmt::Write as _;

use dataplane::base::counters::{Counters, Stage};
use dataplane::base::drops::DropReason;
use serde::Serialize;
use serde_json::{Map, Value};
use tools::client::delay::Delays;
use tools::client::stamp::mix;

use super::options::{Net, Options};
use super::search::Holds;
use super::seats::Seats;
use crate::meter::{self, Used};

/// Raw findings of a run.
pub struct Outcome {
    /// The worker's thread, over the window.
    pub server: Used,
    /// The clients' thread, over the window.
    pub clients: Used,
    /// How cycles were counted.
    pub cycles_source: &'static str,
    /// Packets that clients authenticated within the window, retransmissions included.
    pub received_in_window: u64,
    /// The server's counters over the window, if it is kaigi.
    pub counters_in_window: Option<Counters>,
    /// The server's counters over the whole run, if it is kaigi.
    pub counters_total: Option<Counters>,
    /// Delays of packets in the window.
    pub delays: Delays,
    /// Sums over the whole run.
    pub totals: Totals,
    /// Bytes the server holds for its participants at the window's end.
    pub memory_bytes: Option<u64>,
    /// The window's parts.
    pub intervals: Vec<Interval>,
}

/// One part of the window.
#[derive(Clone, Debug, Serialize)]
pub struct Interval {
    /// Packets per second that clients authenticated.
    pub forwarded_pps: f64,
    /// Cycles per packet, user and kernel.
    pub cycles_per_packet: f64,
    /// Median delay.
    pub delay_us_p50: u64,
    /// 99th percentile of delay.
    pub delay_us_p99: u64,
    /// Bytes the server holds at the end.
    pub memory_bytes: Option<u64>,
    /// Resident memory of this process at the end, bytes.
    pub resident_bytes: Option<u64>,
}

impl Interval {
    /// Puts a part's findings together.
    pub fn new(server: &Used, received: u64, delays: &Delays, memory_bytes: Option<u64>) -> Self {
        Self {
            forwarded_pps: (received as f64 / server.seconds.max(1e-9)).round(),
            cycles_per_packet: (server.cycles / received.max(1) as f64).round(),
            delay_us_p50: delays.permille_us(500),
            delay_us_p99: delays.permille_us(990),
            memory_bytes,
            resident_bytes: meter::resident_bytes("self"),
        }
    }
}

/// Sums over the whole run, once every repair had its time.
#[derive(Default)]
pub struct Totals {
    sent: u64,
    expected: u64,
    received: u64,
    repaired: u64,
    frames: u64,
    foreign: u64,
    corrupt: u64,
    discontinuities: u64,
    duplicates: u64,
    bad_tags: u64,
    send_failed: u64,
    content_hash: u64,
    expected_hash: u64,
}

/// All delays measured so far.
pub fn delays(seats: &Seats) -> Delays {
    let mut delays = Delays::default();
    for (_, reception) in seats.iter().flat_map(|seat| seat.client.receptions()) {
        delays.merge(&reception.delays);
    }
    delays
}

impl Totals {
    /// Adds everybody up.
    pub fn of(options: &Options, seats: &Seats) -> Self {
        let mut totals = Self { send_failed: seats.send_failed, ..Self::default() };
        let fan_out = u64::from(options.fan_out());
        for seat in seats.iter() {
            let statistics = seat.client.statistics();
            totals.bad_tags += statistics.bad_tag + statistics.malformed;
            for source in seat.client.sources() {
                totals.sent += source.packets;
                let expected = source.content_hash.wrapping_mul(fan_out);
                totals.expected_hash = totals.expected_hash.wrapping_add(expected);
            }
            for (_, reception) in seat.client.receptions() {
                totals.received += reception.packets;
                totals.repaired += reception.repaired;
                totals.frames += reception.frames;
                totals.foreign += reception.foreign_room + reception.foreign_track;
                totals.corrupt += reception.corrupt + reception.unstamped + reception.wrong_pt;
                totals.discontinuities += reception.discontinuities;
                totals.duplicates += reception.duplicates;
                totals.content_hash = totals.content_hash.wrapping_add(reception.content_hash);
            }
        }
        totals.expected = totals.sent * fan_out;
        totals
    }
}

/// The contract's JSON object and what else helps to read it.
#[derive(Clone, Serialize)]
pub struct Report {
    benchmark: &'static str,
    system: String,
    #[serde(flatten)]
    options: Options,
    io: Option<&'static str>,
    suite: Option<&'static str>,
    forwarded_pps: f64,
    cycles_per_packet: f64,
    cycles_per_packet_user: Option<f64>,
    cycles_per_packet_kernel: Option<f64>,
    cycles_source: &'static str,
    instructions_per_packet_user: Option<f64>,
    instructions_per_packet_kernel: Option<f64>,
    loss: f64,
    delay_us_p50: u64,
    delay_us_p99: u64,
    delay_us_p999: u64,
    delay_us_max: u64,
    gso_segments_mean: Option<f64>,
    memory_bytes: Option<u64>,
    memory_bytes_per_participant: Option<u64>,
    server_cpu_percent: f64,
    clients_cpu_percent: f64,
    server_wait_percent: f64,
    clients_wait_percent: f64,
    packets_sent: u64,
    packets_expected: u64,
    packets_received: u64,
    packets_repaired: u64,
    packets_duplicate: u64,
    frames_whole: u64,
    discontinuities: u64,
    foreign: u64,
    corrupt: u64,
    bad_tags: u64,
    clients_send_failed: u64,
    server_drops: Map<String, Value>,
    server_cycles_percent: Map<String, Value>,
    result_hash: String,
    result_complete: bool,
    #[serde(skip_serializing_if = "is_single")]
    intervals: Vec<Interval>,
    notes: Vec<String>,
}

/// One part is the window itself.
fn is_single(intervals: &[Interval]) -> bool {
    intervals.len() <= 1
}

impl Report {
    /// Puts the findings together; `kaigi` is its I/O backend and crypto suite.
    pub fn new(
        options: &Options,
        system: String,
        kaigi: Option<(&'static str, &'static str)>,
        outcome: &Outcome,
    ) -> Self {
        let Outcome { server, clients, totals, delays, .. } = outcome;
        let packets = outcome.received_in_window.max(1) as f64;
        let per_packet = |cycles: f64| (cycles / packets).round();
        let window = outcome.counters_in_window.as_ref();
        let user = server.cycles_user.or_else(|| window.map(user_cycles)).map(|user| user.min(server.cycles));
        Self {
            benchmark: "forward",
            system,
            options: options.clone(),
            io: kaigi.map(|(io, _)| io),
            suite: kaigi.map(|(_, suite)| suite),
            forwarded_pps: (outcome.received_in_window as f64 / server.seconds.max(1e-9)).round(),
            cycles_per_packet: per_packet(server.cycles),
            cycles_per_packet_user: user.map(per_packet),
            cycles_per_packet_kernel: user.map(|user| per_packet(server.cycles - user)),
            cycles_source: outcome.cycles_source,
            instructions_per_packet_user: server.instructions.map(|(user, _)| per_packet(user)),
            instructions_per_packet_kernel: server.instructions.map(|(_, kernel)| per_packet(kernel)),
            loss: share(totals.expected.saturating_sub(totals.received), totals.expected),
            delay_us_p50: delays.permille_us(500),
            delay_us_p99: delays.permille_us(990),
            delay_us_p999: delays.permille_us(999),
            delay_us_max: delays.max_us(),
            gso_segments_mean: window
                .map(|window| hundredths(window.datagrams_sent as f64 / window.sends.max(1) as f64)),
            memory_bytes: outcome.memory_bytes,
            memory_bytes_per_participant: outcome
                .memory_bytes
                .map(|bytes| bytes / u64::from(options.associations())),
            server_cpu_percent: hundredths(server.cpu_share * 100.0),
            clients_cpu_percent: hundredths(clients.cpu_share * 100.0),
            server_wait_percent: hundredths(server.wait_share * 100.0),
            clients_wait_percent: hundredths(clients.wait_share * 100.0),
            packets_sent: totals.sent,
            packets_expected: totals.expected,
            packets_received: totals.received,
            packets_repaired: totals.repaired,
            packets_duplicate: totals.duplicates,
            frames_whole: totals.frames,
            discontinuities: totals.discontinuities,
            foreign: totals.foreign,
            corrupt: totals.corrupt,
            bad_tags: totals.bad_tags,
            clients_send_failed: totals.send_failed,
            server_drops: outcome.counters_total.as_ref().map(drops).unwrap_or_default(),
            server_cycles_percent: window.map(stages).unwrap_or_default(),
            result_hash: format!("{:016x}", mix(totals.content_hash, u64::from(options.payload))),
            result_complete: totals.content_hash == totals.expected_hash
                && totals.received == totals.expected,
            intervals: outcome.intervals.clone(),
            notes: notes(options, outcome),
        }
    }

    /// The options it was made with.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// What was measured, in one line: the same for runs that can be compared.
    pub fn key(&self) -> String {
        let o = &self.options;
        let meetings = match (o.meetings, o.everyone) {
            (1, false) => String::new(),
            (count, false) => format!("{count} meetings of "),
            (count, true) => format!("{count} meetings where everyone sends and receives, of "),
        };
        format!(
            "{meetings}{} x {:?} {} pps in bursts of {} -> {}, {} B, {:?}, nack {} %, {:?}, segmentation by {:?}, {}, {}{}",
            o.publishers,
            o.kind,
            if o.search { "highest".to_owned() } else { o.pps.to_string() },
            o.burst,
            o.fan_out(),
            o.payload,
            o.profile,
            o.nack,
            o.net,
            o.segmentation,
            self.io.unwrap_or(&self.system),
            self.suite.unwrap_or("its own crypto"),
            if cfg!(debug_assertions) { ", unoptimised" } else { "" },
        )
        .to_lowercase()
    }

    /// One line of a search.
    pub fn step(&self) -> String {
        format!(
            "{:<9} --meetings {:<5} --pps {:<7} {:>9.0} packets/s  loss {:.4} %  p99 {} us  server {:.0} %  {}",
            self.system.split(' ').next().unwrap_or_default(),
            self.options.meetings,
            self.options.pps,
            self.forwarded_pps,
            self.loss * 100.0,
            self.delay_us_p99,
            self.server_cpu_percent,
            if self.holds() { "held" } else { "not held" }
        )
    }

    fn system_name(&self) -> String {
        match (self.io, self.suite) {
            (Some(io), Some(suite)) => format!("{} ({io}, {suite})", self.system),
            _ => self.system.clone(),
        }
    }

    const fn packets_lost(&self) -> u64 {
        self.packets_expected.saturating_sub(self.packets_received)
    }

    /// Packets per second that clients authenticated.
    pub const fn forwarded_pps(&self) -> f64 {
        self.forwarded_pps
    }

    /// Cycles per packet, user and kernel together.
    pub const fn cycles_per_packet(&self) -> f64 {
        self.cycles_per_packet
    }

    /// Instructions per packet in both modes, with hardware counters.
    pub fn instructions_per_packet(&self) -> Option<f64> {
        Some(self.instructions_per_packet_user? + self.instructions_per_packet_kernel?)
    }

    /// A percentile of delay: 500, 990 or 999 parts per thousand.
    pub const fn delay_us(&self, permille: u32) -> u64 {
        match permille {
            500 => self.delay_us_p50,
            990 => self.delay_us_p99,
            _ => self.delay_us_p999,
        }
    }

    /// Share of one CPU that the server used.
    pub const fn server_cpu_percent(&self) -> f64 {
        self.server_cpu_percent
    }

    /// Share of one CPU that the clients used.
    pub const fn clients_cpu_percent(&self) -> f64 {
        self.clients_cpu_percent
    }

    /// Share of packets that never came.
    pub const fn loss(&self) -> f64 {
        self.loss
    }

    /// Bytes the server holds for each participant, if that is known.
    pub const fn memory_bytes_per_participant(&self) -> Option<u64> {
        self.memory_bytes_per_participant
    }

    /// The window's parts.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Hash of the content.
    pub fn hash(&self) -> &str {
        &self.result_hash
    }

    /// Whether all content came.
    pub const fn is_complete(&self) -> bool {
        self.result_complete
    }

    /// What makes the run incomparable.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is wrong with the content, if anything is: such a run has no figures worth having.
    pub fn defect(&self) -> Option<String> {
        if self.foreign + self.corrupt + self.bad_tags != 0 {
            return Some(format!(
                "the server mixed or damaged content: {} foreign, {} corrupt, {} with a wrong tag",
                self.foreign, self.corrupt, self.bad_tags
            ));
        }
        (self.packets_received == 0).then(|| "no packet arrived".to_owned())
    }

    /// The human table.
    pub fn table(&self) -> String {
        let o = &self.options;
        let complete = if self.result_complete { "all content" } else { "content is missing" };
        let cycles = match (self.cycles_per_packet_user, self.cycles_per_packet_kernel) {
            (Some(user), Some(kernel)) => format!("{user:.0} user + {kernel:.0} kernel"),
            _ => format!("{:.0}", self.cycles_per_packet),
        };
        let mut lines = vec![
            (
                "load",
                format!(
                    "{} x ({} x {:?} -> {} receivers), {} B payload, {:?}, {} s",
                    o.meetings,
                    o.publishers,
                    o.kind,
                    o.fan_out(),
                    o.payload,
                    o.profile,
                    o.seconds
                ),
            ),
            ("server", format!("{} on CPU {}, over {:?}", self.system_name(), o.cpu_server, o.net)),
            ("forwarded", format!("{:.0} packets/s", self.forwarded_pps)),
            ("cycles per packet", format!("{cycles} ({})", self.cycles_source)),
            ("loss", format!("{:.4} %", self.loss * 100.0)),
            (
                "delay p50 / p99 / max",
                format!("{} / {} / {} us", self.delay_us_p50, self.delay_us_p99, self.delay_us_max),
            ),
            (
                "CPU server / clients",
                format!("{:.0} % / {:.0} %", self.server_cpu_percent, self.clients_cpu_percent),
            ),
            ("repaired by RTX", self.packets_repaired.to_string()),
            ("result", format!("{} ({complete})", self.result_hash)),
        ];
        if let Some(mean) = self.gso_segments_mean {
            lines.push(("datagrams per send", format!("{mean:.2}")));
        }
        if let Some(bytes) = self.memory_bytes_per_participant {
            lines.push(("memory per participant", format!("{} KiB", bytes / 1_024)));
        }
        lines.extend(self.notes.iter().map(|note| ("note", note.clone())));
        lines.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<24} {value}");
            text
        })
    }
}

impl Holds for Report {
    /// At most one packet in a thousand lost, the 99th percentile within 100 ms, and what was asked for was sent.
    fn holds(&self) -> bool {
        reaches(&self.options, self.forwarded_pps)
            && self.packets_lost() * 1_000 <= self.packets_expected
            && self.delay_us_p99 <= 100_000
    }
}

/// Whether the rate asked for came about, less a tenth: the window may begin and end within a frame.
fn reaches(options: &Options, forwarded_pps: f64) -> bool {
    let frame_s = options.frame_interval_us() as f64 / 1e6;
    let frame = options.nominal_pps() * frame_s / f64::from(options.seconds.max(1));
    forwarded_pps + frame >= options.nominal_pps() * 0.9
}

fn notes(options: &Options, outcome: &Outcome) -> Vec<String> {
    let Outcome { server, clients, totals, .. } = outcome;
    let mut notes = Vec::new();
    if totals.received < totals.expected {
        notes.push("packets were lost: cycles per packet are those of the packets that arrived");
    }
    if !reaches(options, outcome.received_in_window as f64 / server.seconds.max(1e-9)) {
        notes.push("the rate asked for did not come about: publishers could not send it, or it was lost");
    }
    if options.net == Net::Loopback {
        notes.push("loopback: one stack in one namespace; not comparable with veth figures");
    }
    if options.cpu_server == options.cpu_clients {
        notes.push("server and clients share a CPU: not comparable with anything");
    }
    if cfg!(debug_assertions) {
        notes.push("unoptimised build: not comparable with anything");
    }
    if clients.cpu_share > 0.90 {
        notes.push("the clients' CPU was full: the server may be able to forward more");
    }
    if server.wait_share.max(clients.wait_share) > 0.05 {
        notes.push(
            "something else ran on these CPUs: delays and the highest rate are worse than they could be",
        );
    }
    notes.into_iter().map(str::to_owned).collect()
}

fn drops(counters: &Counters) -> Map<String, Value> {
    let counted = DropReason::ALL.iter().map(|&reason| (reason, counters.dropped(reason)));
    counted
        .filter(|(_, count)| *count != 0)
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect()
}

/// Cycles of the stages that do not call the kernel, as the worker booked them.
fn user_cycles(counters: &Counters) -> f64 {
    [Stage::Open, Stage::Route, Stage::Rewrite, Stage::Seal, Stage::Rtcp]
        .iter()
        .map(|&stage| counters.cycles[stage as usize] as f64)
        .sum()
}

/// Share of each stage of the worker's loop in its time, waiting included, percent.
fn stages(counters: &Counters) -> Map<String, Value> {
    let total: u64 = counters.cycles.iter().sum();
    Stage::ALL
        .iter()
        .map(|&(stage, name)| {
            let cycles = counters.cycles[stage as usize] as f64;
            (name.to_owned(), hundredths(cycles * 100.0 / total.max(1) as f64).into())
        })
        .collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
