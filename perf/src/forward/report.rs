//! What a run found out, as one JSON object and as a table.

use std::fmt::Write as _;

use dataplane::base::counters::{Counters, Stage};
use dataplane::base::drops::DropReason;
use serde::Serialize;
use serde_json::{Map, Value};
use tools::client::delay::Delays;
use tools::client::stamp::mix;

use super::options::{Net, Options};
use super::seats::Seats;
use crate::meter::Used;

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
    /// The server's counters over the window.
    pub counters_in_window: Counters,
    /// The server's counters over the whole run.
    pub counters_total: Counters,
    /// Delays of packets in the window.
    pub delays: Delays,
    /// Sums over the whole run.
    pub totals: Totals,
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
        let subscribers = u64::from(options.subscribers);
        for seat in seats.iter() {
            let statistics = seat.client.statistics();
            totals.bad_tags += statistics.bad_tag + statistics.malformed;
            for source in seat.client.sources() {
                totals.sent += source.packets;
                let expected = source.content_hash.wrapping_mul(subscribers);
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
        totals.expected = totals.sent * subscribers;
        totals
    }
}

/// The contract's JSON object and what else helps to read it.
#[derive(Serialize)]
pub struct Report {
    benchmark: &'static str,
    #[serde(flatten)]
    options: Options,
    io: &'static str,
    suite: &'static str,
    forwarded_pps: f64,
    cycles_per_packet_user: f64,
    cycles_per_packet_kernel: f64,
    cycles_source: &'static str,
    instructions_per_packet_user: Option<f64>,
    instructions_per_packet_kernel: Option<f64>,
    loss: f64,
    delay_us_p50: u64,
    delay_us_p99: u64,
    delay_us_max: u64,
    gso_segments_mean: f64,
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
    notes: Vec<&'static str>,
}

impl Report {
    /// Puts the findings together.
    pub fn new(options: &Options, io: &'static str, suite: &'static str, outcome: &Outcome) -> Self {
        let Outcome { server, clients, totals, delays, .. } = outcome;
        let packets = outcome.received_in_window.max(1) as f64;
        let per_packet = |cycles: f64| (cycles / packets).round();
        let window = &outcome.counters_in_window;
        let user = server.cycles_user.unwrap_or_else(|| user_cycles(window)).min(server.cycles);
        Self {
            benchmark: "forward",
            options: options.clone(),
            io,
            suite,
            forwarded_pps: (outcome.received_in_window as f64 / server.seconds.max(1e-9)).round(),
            cycles_per_packet_user: per_packet(user),
            cycles_per_packet_kernel: per_packet(server.cycles - user),
            cycles_source: outcome.cycles_source,
            instructions_per_packet_user: server.instructions.map(|(user, _)| per_packet(user)),
            instructions_per_packet_kernel: server.instructions.map(|(_, kernel)| per_packet(kernel)),
            loss: share(totals.expected.saturating_sub(totals.received), totals.expected),
            delay_us_p50: delays.permille_us(500),
            delay_us_p99: delays.permille_us(990),
            delay_us_max: delays.max_us(),
            gso_segments_mean: hundredths(window.datagrams_sent as f64 / window.sends.max(1) as f64),
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
            server_drops: drops(&outcome.counters_total),
            server_cycles_percent: stages(window),
            result_hash: format!("{:016x}", mix(totals.content_hash, u64::from(options.payload))),
            result_complete: totals.content_hash == totals.expected_hash
                && totals.received == totals.expected,
            notes: notes(options, server, clients),
        }
    }

    /// Whether the rate was held: at most one packet in a thousand lost, the 99th percentile within 100 ms.
    pub const fn holds(&self) -> bool {
        self.packets_lost() * 1_000 <= self.packets_expected && self.delay_us_p99 <= 100_000
    }

    /// What was measured, in one line: the same for runs that can be compared.
    pub fn key(&self) -> String {
        let o = &self.options;
        format!(
            "{} x {:?} {} pps in bursts of {} -> {}, {} B, {:?}, nack {} %, {:?}, segmentation by {:?}, {}, {}{}",
            o.publishers,
            o.kind,
            if o.search { "highest".to_owned() } else { o.pps.to_string() },
            o.burst,
            o.subscribers,
            o.payload,
            o.profile,
            o.nack,
            o.net,
            o.segmentation,
            self.io,
            self.suite,
            if cfg!(debug_assertions) { ", unoptimised" } else { "" },
        )
        .to_lowercase()
    }

    /// Packets per second of each publisher.
    pub const fn pps(&self) -> u32 {
        self.options.pps
    }

    /// One line of a search.
    pub fn step(&self) -> String {
        format!(
            "--pps {:<7} {:>9.0} packets/s  loss {:.4} %  p99 {} us  server {:.0} %  {}",
            self.options.pps,
            self.forwarded_pps,
            self.loss * 100.0,
            self.delay_us_p99,
            self.server_cpu_percent,
            if self.holds() { "held" } else { "not held" }
        )
    }

    const fn packets_lost(&self) -> u64 {
        self.packets_expected.saturating_sub(self.packets_received)
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
        let (user, kernel) = (self.cycles_per_packet_user, self.cycles_per_packet_kernel);
        let complete = if self.result_complete { "all content" } else { "content is missing" };
        let mut lines = vec![
            (
                "load",
                format!(
                    "{} x {:?} -> {} subscribers, {} B payload, {:?}, {} s",
                    o.publishers, o.kind, o.subscribers, o.payload, o.profile, o.seconds
                ),
            ),
            ("server", format!("{} on CPU {}, {}, over {:?}", self.io, o.cpu_server, self.suite, o.net)),
            ("forwarded", format!("{:.0} packets/s", self.forwarded_pps)),
            ("cycles per packet", format!("{user:.0} user + {kernel:.0} kernel ({})", self.cycles_source)),
            ("loss", format!("{:.4} %", self.loss * 100.0)),
            (
                "delay p50 / p99 / max",
                format!("{} / {} / {} us", self.delay_us_p50, self.delay_us_p99, self.delay_us_max),
            ),
            ("datagrams per send", format!("{:.2}", self.gso_segments_mean)),
            (
                "CPU server / clients",
                format!("{:.0} % / {:.0} %", self.server_cpu_percent, self.clients_cpu_percent),
            ),
            ("repaired by RTX", self.packets_repaired.to_string()),
            ("result", format!("{} ({complete})", self.result_hash)),
        ];
        lines.extend(self.notes.iter().map(|note| ("note", (*note).to_owned())));
        lines.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<24} {value}");
            text
        })
    }
}

fn notes(options: &Options, server: &Used, clients: &Used) -> Vec<&'static str> {
    let mut notes = Vec::new();
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
    notes
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
