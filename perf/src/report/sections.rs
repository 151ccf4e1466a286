//! The page's sections: what each is about and how it is drawn from the records.

use std::fmt::Write as _;

use serde_json::Value;

use super::HostRuns;
use super::plot::{Bar, Line, bars, lines};
use super::text::{cell, escape, number, short, table};

/// One section of a host.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// What was measured and how to read it; HTML.
    pub about: &'static str,
    /// The command that records it.
    pub command: &'static str,
    /// Its drawings and tables; empty when there is no record.
    pub body: fn(&HostRuns<'_>) -> String,
}

/// All of them, in their order.
pub const ALL: &[Section] = &[
    Section {
        title: "Against other servers",
        about: "Each server got the same load from the same clients over the same link, pinned to the same CPU. A search raised the load \
                until more than one packet in a thousand was lost or the 99th percentile of delay passed 100 ms; the highest load that \
                held is drawn. Then all servers ran at one common load, 70 % of what the weakest held, where cycles and delays are \
                compared.",
        command: "sudo target/release/kaigi-perf peers --search --record",
        body: peers,
    },
    Section {
        title: "What one core forwards",
        about: "Packets per second that clients received and authenticated, and what each cost the server's CPU, kernel included. \
                \"Highest\" rows come from a search, the others ran at a fixed rate.",
        command: "sudo target/release/kaigi-perf forward --subscribers 100 --search --record",
        body: forward,
    },
    Section {
        title: "Delay",
        about: "From a publisher's release of a packet to a subscriber's read: link, clients' queues and server together, so the server \
                adds at most this. Shares are of what one core holds.",
        command: "sudo target/release/kaigi-perf latency --subscribers 100 --record",
        body: latency,
    },
    Section {
        title: "More meetings on one core",
        about: "The same packets per second, spread over more and more meetings: what rises is the price of touching more peers, keys \
                and caches. Memory is what the server's allocator holds for each participant.",
        command: "sudo target/release/kaigi-perf scale --record",
        body: scale,
    },
    Section {
        title: "A long run",
        about: "One load for a long time, in equal parts. Memory must not grow after the first quarter, and no packet may be lost.",
        command: "sudo target/release/kaigi-perf soak --seconds 3600 --subscribers 100 --record",
        body: soak,
    },
    Section {
        title: "Crypto kernels",
        about: "Cycles to seal or open one SRTP packet: the best of kaigi's suites on this CPU beside ring and aws-lc given the same \
                packet, rounds of all alternating, median round. Lower is better.",
        command: "target/release/kaigi-perf kernels --record",
        body: kernels,
    },
    Section {
        title: "A whole service",
        about: "Servers, network and money for a service of the scale of a published reference design (300 million people a month, 30 \
                million meetings and a billion joins a day), computed from the cycles measured here. Nothing in this section is \
                measured; every assumption is a flag of the command and is printed by it.",
        command: "target/release/kaigi-perf fleet --record",
        body: fleet,
    },
];

/// What the page is about.
pub const INTRODUCTION: &str = r#"<h1>kaigi: benchmark report</h1>
<p>kaigi is a selective forwarding unit (SFU): the server of a video meeting. Each participant sends one encrypted copy of camera and
voice; the server decrypts each packet once and sends it to everyone else, encrypted anew for each. What such a server costs is decided by
the price of one forwarded packet. This page says what that price is, how it was measured, and beside whom.</p>
<h2>How it is measured</h2>
<figure><svg viewBox="0 0 860 190" role="img" aria-label="Clients on one CPU, the server on another, joined by a veth pair">
<rect class="box" x="1" y="10" width="330" height="150" rx="8"/><rect class="box" x="529" y="10" width="330" height="150" rx="8"/>
<path class="wire" d="M331 85 H529"/>
<text class="title" x="20" y="38">Clients</text><text class="axis" x="20" y="60">network namespace, one thread, CPU 1</text>
<text class="axis" x="20" y="82">real ICE, DTLS 1.2 and SRTP, one socket each</text><text class="axis" x="20" y="104">authenticate every packet, check its content</text>
<text class="axis" x="20" y="126">receiver reports, NACK, transport-wide feedback</text>
<text class="title" x="548" y="38">Server</text><text class="axis" x="548" y="60">network namespace, pinned to CPU 0</text>
<text class="axis" x="548" y="82">kaigi's packet plane, or a peer as a process</text><text class="axis" x="548" y="104">metered: cycles of its threads, user + kernel</text>
<text class="axis" x="548" y="126">softirq work on its time counts as its own</text>
<text class="label" x="430" y="76" text-anchor="middle">veth pair</text><text class="label" x="430" y="104" text-anchor="middle">no NIC, no switch</text>
<text class="axis" x="430" y="182" text-anchor="middle">a packet counts when the client it was for has authenticated it; each payload carries who sent it, where it belongs, and when it left</text>
</svg></figure>
<p>After everybody has joined there is one second of warm-up, then the measured window, then time for repairs. A run that mixes or damages
content is an error, whatever its speed; packets that were lost are reported and never guessed. Each result carries a hash of what all
receivers authenticated: two lossless runs of one load have the same hash, whichever server forwarded it.</p>
<p class="soft">Cycles come from hardware counters where the host has them (<code>perf_event</code>), else from CPU time and the
time-stamp counter (<code>tsc_cpu_time</code>). Compare ratios within one run; absolute figures of different machines, or of one machine on
different days, do not compare. A veth pair hands a batch on whole, as a network card that segments does; where a figure had the kernel cut
batches first, it says &ldquo;segmentation by software&rdquo;.</p>
"#;

/// How to repeat it and what it does not say.
pub const CLOSING: &str = r#"<h1 class="host">Repeating it</h1>
<p>On a Debian machine with two CPUs, as root (network namespaces need it), from the repository's root:</p>
<pre><code>tools/setup.sh peers                 # Janus and what builds its SRTP library
cargo build --release -p perf
target/release/kaigi-perf kernels --record
target/release/kaigi-perf forward --subscribers 100 --search --record
target/release/kaigi-perf peers --search --record
target/release/kaigi-perf latency --subscribers 100 --record
target/release/kaigi-perf scale --record
target/release/kaigi-perf soak --seconds 3600 --subscribers 100 --record
target/release/kaigi-perf fleet --record
target/release/kaigi-perf report</code></pre>
<p>Leave the machine alone meanwhile, or run under <code>chrt -f 10</code>: a run on whose CPUs something else ran says so in its notes.</p>
<h2>What this does not say</h2>
<ul>
<li>Nothing here crosses a network card: a real driver adds its own cycles to every server alike, and takes batches whole only if it segments UDP.</li>
<li>Clients share one CPU. Where it was full, the server may hold more than is drawn; the run's notes say where.</li>
<li>kaigi is driven by commands, peers by their signalling; signalling is over before the window begins, and is not compared.</li>
<li>The str0m server is ours and naive on purpose: one thread, one socket, one system call per packet. It shows what batching is worth, not what str0m could do.</li>
</ul>
"#;

fn rows<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn notes(values: &[&Value]) -> String {
    let mut notes: Vec<&str> =
        values.iter().flat_map(|value| rows(value, "notes")).filter_map(Value::as_str).collect();
    notes.sort_unstable();
    notes.dedup();
    notes.iter().fold(String::new(), |mut html, note| {
        let _ = writeln!(html, "<p class=\"soft\">Note: {}</p>", escape(note));
        html
    })
}

fn peers(host: &HostRuns<'_>) -> String {
    let mut html = String::new();
    for run in host.of("peers") {
        let comparisons = rows(&run.result, "comparisons");
        for comparison in comparisons {
            html.push_str(&comparison_html(comparison));
        }
        for missing in rows(&run.result, "missing") {
            let (system, why) = (text(missing, "system"), text(missing, "why"));
            let _ = writeln!(
                html,
                "<p class=\"missing\">{} was not measured: {}</p>",
                escape(system),
                escape(why)
            );
        }
        html.push_str(&notes(&[&run.result]));
        let quoted = rows(&run.result, "quoted_not_measured");
        if !quoted.is_empty() {
            let list =
                |row: &Value| ["system", "figure", "source"].map(|name| text(row, name).to_owned()).to_vec();
            html.push_str("<h3>Quoted, not measured</h3>\n<p class=\"soft\">Other people's figures and other days' figures, to place those above. Machines and loads differ.</p>\n<ul class=\"soft\">");
            for row in quoted.iter().map(list) {
                let _ =
                    writeln!(html, "<li>{}: {} ({})</li>", escape(&row[0]), escape(&row[1]), escape(&row[2]));
            }
            html.push_str("</ul>\n");
        }
    }
    html
}

fn comparison_html(comparison: &Value) -> String {
    let systems = rows(comparison, "systems");
    if systems.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<h3>{}</h3>\n<p>{}.</p>\n",
        escape(text(comparison, "scenario")),
        escape(text(comparison, "description"))
    );
    for ratio in rows(comparison, "ratios") {
        let times = |name: &str| number(ratio, name).filter(|ratio| *ratio > 0.0);
        if let (Some(rate), Some(cycles)) = (times("packets_per_second"), times("cycles_per_packet")) {
            let _ = writeln!(
                html,
                "<p class=\"finding\">On one core kaigi held {rate:.1} times the packets of {peer}; at the same load a packet cost {cycles:.2} of {peer}'s cycles.</p>",
                peer = escape(text(ratio, "peer"))
            );
        }
    }
    let bar = |part: &'static str, name: &'static str| {
        systems
            .iter()
            .enumerate()
            .filter_map(|(index, row)| {
                Some(Bar::new(text(row, "system"), index, number(&row[part]["report"], name)?))
            })
            .collect::<Vec<_>>()
    };
    html.push_str(&bars(
        "Highest load one core held",
        "packets/s, more is better",
        &[],
        &bar("highest", "forwarded_pps"),
    ));
    html.push_str(&bars(
        "A packet at the common load",
        "cycles, less is better",
        &[],
        &bar("common", "cycles_per_packet"),
    ));
    html.push_str(&bars(
        "Delay p99 at the common load",
        "microseconds, less is better",
        &[],
        &bar("common", "delay_us_p99"),
    ));
    let mut cells = Vec::new();
    for row in systems {
        for (part, name) in [("highest", "highest"), ("own", "70 % of its own"), ("common", "common")] {
            let (measured, report) = (&row[part], &row[part]["report"]);
            if !report.is_object() {
                continue;
            }
            let per_packet =
                ["user", "kernel"].map(|mode| number(report, &format!("instructions_per_packet_{mode}")));
            let instructions = match per_packet {
                [Some(user), Some(kernel)] => short(user + kernel),
                _ => "-".to_owned(),
            };
            cells.push(vec![
                text(report, "system").to_owned(),
                name.to_owned(),
                cell(measured, "size"),
                cell(report, "forwarded_pps"),
                cell(report, "cycles_per_packet"),
                instructions,
                number(report, "loss").map_or("-".to_owned(), |loss| format!("{:.3} %", loss * 100.0)),
                cell(report, "delay_us_p50"),
                cell(report, "delay_us_p99"),
                number(report, "server_cpu_percent").map_or("-".to_owned(), |share| format!("{share:.0}")),
            ]);
        }
    }
    let heading =
        ["system", "load", "size", "packets/s", "cycles", "instr.", "lost", "p50 us", "p99 us", "CPU %"];
    html.push_str(&table(&heading, &cells));
    let same = if comparison["same_content"] == Value::Bool(true) {
        "All systems delivered the same content at the common load (equal result hashes)."
    } else {
        "The systems did not deliver the same content at the common load: something was lost."
    };
    let _ = writeln!(
        html,
        "<p class=\"soft\">Size counts {}; cycles and instructions are per packet, CPU is the server's. {same}</p>",
        escape(text(comparison, "unit"))
    );
    let parts = ["highest", "own", "common"];
    let reports: Vec<&Value> =
        systems.iter().flat_map(|row| parts.iter().map(move |part| &row[*part]["report"])).collect();
    html.push_str(&notes(&reports));
    html
}

fn forward(host: &HostRuns<'_>) -> String {
    let runs: Vec<_> = host.of("forward").into_iter().filter(|run| run.result.is_object()).collect();
    if runs.is_empty() {
        return String::new();
    }
    let name = |index: usize| format!("row {}", index + 1);
    let rates = runs.iter().enumerate().filter_map(|(index, run)| {
        let searched = run.result["search"] == Value::Bool(true);
        Some(Bar::new(name(index), 0, number(&run.result, "forwarded_pps")?)).filter(|_| searched)
    });
    let cycles = runs.iter().enumerate().filter_map(|(index, run)| {
        let part = |mode: &str| number(&run.result, &format!("cycles_per_packet_{mode}"));
        Some(Bar { label: name(index), parts: vec![(0, part("user")?), (1, part("kernel")?)] })
    });
    let mut html = bars("Highest rate that held", "packets/s on one core", &[], &rates.collect::<Vec<_>>());
    html.push_str(&bars("One forwarded packet", "cycles", &["user", "kernel"], &cycles.collect::<Vec<_>>()));
    let cells = runs.iter().enumerate().map(|(index, run)| {
        let r = &run.result;
        vec![
            format!("{}: {}", index + 1, run.key),
            cell(r, "forwarded_pps"),
            cell(r, "cycles_per_packet_user"),
            cell(r, "cycles_per_packet_kernel"),
            number(r, "loss").map_or("-".to_owned(), |loss| format!("{:.3} %", loss * 100.0)),
            cell(r, "delay_us_p50"),
            cell(r, "delay_us_p99"),
            run.date.clone(),
        ]
    });
    let heading = ["load", "packets/s", "cycles user", "cycles kernel", "lost", "p50 us", "p99 us", "day"];
    html.push_str(&table(&heading, &cells.collect::<Vec<_>>()));
    html.push_str(&notes(&runs.iter().map(|run| &run.result).collect::<Vec<_>>()));
    html
}

fn latency(host: &HostRuns<'_>) -> String {
    let mut html = String::new();
    for run in host.of("latency") {
        let rows = rows(&run.result, "rows");
        let percentiles = [("p50", "delay_us_p50"), ("p99", "delay_us_p99"), ("p99.9", "delay_us_p999")];
        let mut found = Vec::new();
        for row in rows {
            for (series, (name, field)) in percentiles.iter().enumerate() {
                let Some(value) = number(&row["report"], field) else { continue };
                found.push(Bar::new(
                    format!("{name} at {} % of one core", cell(row, "percent")),
                    series,
                    value,
                ));
            }
        }
        html.push_str(&bars("Delay", "microseconds, less is better", &["p50", "p99", "p99.9"], &found));
        let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(&run.key));
        html.push_str(&notes(&rows.iter().map(|row| &row["report"]).collect::<Vec<_>>()));
    }
    html
}

fn scale(host: &HostRuns<'_>) -> String {
    let mut html = String::new();
    for run in host.of("scale") {
        let rows = rows(&run.result, "rows");
        let points = |field: &str| {
            rows.iter()
                .filter_map(|row| Some((number(row, "meetings")?, number(&row["report"], field)?)))
                .collect::<Vec<_>>()
        };
        let cycles = [Line { name: "cycles per packet", points: points("cycles_per_packet") }];
        html.push_str(&lines("One forwarded packet", "cycles", "meetings on the core", true, &cycles));
        let cells = rows.iter().filter(|row| row.is_object()).map(|row| {
            let report = &row["report"];
            let memory = number(report, "memory_bytes_per_participant");
            vec![
                cell(row, "meetings"),
                cell(row, "participants"),
                cell(report, "forwarded_pps"),
                cell(report, "cycles_per_packet"),
                cell(row, "cycles_ratio"),
                memory.map_or("-".to_owned(), |bytes| format!("{:.0} KiB", bytes / 1_024.0)),
                cell(report, "delay_us_p99"),
            ]
        });
        let heading = [
            "meetings",
            "participants",
            "packets/s",
            "cycles/packet",
            "ratio to the first",
            "memory each",
            "p99 us",
        ];
        let cells: Vec<_> = cells.collect();
        if !cells.is_empty() {
            html.push_str(&table(&heading, &cells));
        }
        html.push_str(&notes(&rows.iter().map(|row| &row["report"]).collect::<Vec<_>>()));
    }
    html
}

fn soak(host: &HostRuns<'_>) -> String {
    let mut html = String::new();
    for run in host.of("soak") {
        let report = &run.result["report"];
        let parts = rows(report, "intervals");
        let points = |field: &str, divisor: f64| {
            let values = parts.iter().enumerate();
            values
                .filter_map(|(index, part)| Some(((index + 1) as f64, number(part, field)? / divisor)))
                .collect::<Vec<_>>()
        };
        let memory = [
            Line { name: "server", points: points("memory_bytes", 1_048_576.0) },
            Line { name: "whole process, clients included", points: points("resident_bytes", 1_048_576.0) },
        ];
        html.push_str(&lines("Memory", "MiB", "part of the run", false, &memory));
        let cycles = [Line { name: "cycles", points: points("cycles_per_packet", 1.0) }];
        html.push_str(&lines("One forwarded packet", "cycles", "part of the run", false, &cycles));
        if report.is_object() {
            let drifts: Vec<&str> = rows(&run.result, "drifts").iter().filter_map(Value::as_str).collect();
            let verdict = if drifts.is_empty() { "Nothing drifted.".to_owned() } else { drifts.join("; ") };
            let _ = writeln!(
                html,
                "<p>{} {} packets, {} lost.</p><p class=\"soft\">{}</p>",
                escape(&verdict),
                cell(report, "packets_received"),
                number(report, "loss").map_or("-".to_owned(), |loss| format!("{:.4} %", loss * 100.0)),
                escape(&run.key)
            );
        }
        html.push_str(&notes(&[&run.result, report]));
    }
    html
}

fn kernels(host: &HostRuns<'_>) -> String {
    let Some(run) = host.newest("kernels") else { return String::new() };
    let mut best: Vec<&Value> = Vec::new();
    for row in run.result.as_array().into_iter().flatten().filter(|row| row.is_object()) {
        let same = |other: &&mut &Value| {
            ["kernel", "operation", "bytes"].iter().all(|name| other[*name] == row[*name])
        };
        match best.iter_mut().find(same) {
            Some(kept) if number(row, "cycles_per_packet") < number(kept, "cycles_per_packet") => *kept = row,
            Some(_) => {}
            None => best.push(row),
        }
    }
    let series = ["kaigi", "ring", "aws-lc"];
    let mut html = String::new();
    for operation in ["seal", "open"] {
        let mut found = Vec::new();
        for row in best.iter().filter(|row| text(row, "operation") == operation) {
            for (number_of, (name, field)) in
                [("kaigi", "cycles_per_packet"), ("ring", "ring"), ("aws-lc", "aws_lc")].iter().enumerate()
            {
                let Some(cycles) = number(row, field) else { continue };
                let label = format!("{} {} B, {name}", text(row, "kernel"), cell(row, "bytes"));
                found.push(Bar::new(label, number_of, cycles));
            }
        }
        html.push_str(&bars(
            &format!("To {operation} one packet"),
            "cycles, less is better",
            &series,
            &found,
        ));
    }
    let cells = best.iter().map(|row| {
        let mut cells = vec![format!("{} {}", text(row, "kernel"), text(row, "operation"))];
        cells.extend(["bytes", "cycles_per_packet", "ring", "aws_lc", "ratio"].map(|name| cell(row, name)));
        cells.insert(2, text(row, "suite").to_owned());
        cells
    });
    let cells: Vec<_> = cells.collect();
    if !cells.is_empty() {
        let heading = ["kernel", "bytes", "suite", "kaigi", "ring", "aws-lc", "faster library : kaigi"];
        html.push_str(&table(&heading, &cells));
    }
    html
}

fn fleet(host: &HostRuns<'_>) -> String {
    let Some(run) = host.newest("fleet") else { return String::new() };
    let r = &run.result;
    let columns = rows(r, "columns");
    if columns.is_empty() {
        return String::new();
    }
    let design = &r["design"];
    let mut costs = vec![Bar::new("the reference design", 1, number(design, "total").unwrap_or_default())];
    let mut servers =
        vec![Bar::new("the reference design", 1, number(design, "media_servers").unwrap_or_default())];
    for column in columns {
        for (place, name) in [("cloud", "its machines"), ("metal", "bare metal")] {
            let label = format!("{}, {name}", text(column, "name"));
            costs.push(Bar::new(&label, 0, number(&column[place], "total").unwrap_or_default()));
            servers.push(Bar::new(&label, 0, number(&column[place]["fleet"], "servers").unwrap_or_default()));
        }
    }
    let mut html = bars("Media servers", "spares included", &[], &servers);
    html.push_str(&bars("Cost", "dollars a month", &[], &costs));
    let mut cells = vec![vec![
        "the reference design".to_owned(),
        short(
            number(design, "connections_per_server").unwrap_or_default()
                * number(design, "media_servers").unwrap_or_default(),
        ),
        cell(design, "implied_kbps"),
        cell(design, "peak_gbps"),
        cell(design, "traffic_pb_per_month"),
        cell(design, "media_servers"),
        cell(design, "total"),
    ]];
    for column in columns {
        for (place, name) in [("cloud", "its machines"), ("metal", "bare metal")] {
            cells.push(vec![
                format!("kaigi: {}, {name}", text(column, "name")),
                cell(&column["load"], "peak_connections"),
                number(&column["load"], "bps").map_or("-".to_owned(), |bps| short(bps / 1e3)),
                cell(column, "peak_gbps"),
                cell(column, "traffic_pb_per_month"),
                format!(
                    "{} ({})",
                    cell(&column[place]["fleet"], "servers"),
                    text(&column[place]["fleet"], "limit")
                ),
                cell(&column[place], "total"),
            ]);
        }
    }
    let heading = [
        "service",
        "connections at the peak",
        "kbit/s each",
        "peak Gbit/s",
        "PB/month",
        "media servers",
        "$/month",
    ];
    html.push_str(&table(&heading, &cells));
    html.push_str(&notes(&[r]));
    let changed = rows(r, "assumptions").iter().map(|row| {
        vec![
            format!("--{}", text(row, "flag")),
            cell(row, "value"),
            text(row, "unit").to_owned(),
            text(row, "origin").to_owned(),
        ]
    });
    let _ = writeln!(
        html,
        "<details><summary>Every assumption</summary>{}</details>",
        table(&["flag", "value", "unit", "origin"], &changed.collect::<Vec<_>>())
    );
    html
}
