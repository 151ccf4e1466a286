//! `kaigi-perf report`: one self-contained HTML page from the records, which explains itself to a stranger.
//!
//! Promises: inline SVG and one style sheet, no script, no request to anywhere; every drawing has its numbers beside it; figures of
//! others are marked as quoted; what was not recorded is named with the command that records it. Records of different hosts are
//! never in one drawing. Not here: measuring.

mod plot;
mod sections;
pub mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::record::Run;
use text::escape;

/// Options of `kaigi-perf report`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// The page to write
    #[arg(long, default_value = "target/kaigi-perf-report.html")]
    pub out: PathBuf,
    /// Directory of the records
    #[arg(long, default_value = crate::RECORDS)]
    pub records: PathBuf,
    /// Only hosts of this class
    #[arg(long)]
    pub host: Option<String>,
    /// Say as JSON what was written
    #[arg(long)]
    pub json: bool,
}

/// What was written.
#[derive(Serialize)]
pub struct Written {
    path: PathBuf,
    bytes: usize,
    hosts: Vec<String>,
    runs: usize,
}

impl Written {
    /// In words.
    pub fn line(&self) -> String {
        let (path, hosts) = (self.path.display(), self.hosts.join(", "));
        format!("{path}: {} bytes from {} records of {hosts}", self.bytes, self.runs)
    }
}

/// Runs of one kind of machine: the newest of each key.
pub struct HostRuns<'a> {
    class: &'a str,
    runs: Vec<&'a Run>,
}

impl<'a> HostRuns<'a> {
    /// Runs of a benchmark, in the order of their keys.
    fn of(&self, benchmark: &str) -> Vec<&'a Run> {
        self.runs.iter().copied().filter(|run| run.benchmark == benchmark).collect()
    }

    /// The newest run of a benchmark.
    fn newest(&self, benchmark: &str) -> Option<&'a Run> {
        self.of(benchmark).into_iter().max_by(|a, b| a.date.cmp(&b.date))
    }
}

/// Reads the records and writes the page.
pub fn run(options: &Options) -> Result<Written> {
    let runs = crate::record::read(&options.records)?;
    let hosts = hosts(&runs, options.host.as_deref());
    if hosts.is_empty() {
        bail!(
            "no records in {}: measure with kaigi-perf forward --record first (from the repository's root)",
            options.records.display()
        );
    }
    let html = page(&hosts);
    if let Some(directory) = options.out.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(&options.out, &html).with_context(|| format!("cannot write {}", options.out.display()))?;
    Ok(Written {
        path: options.out.clone(),
        bytes: html.len(),
        hosts: hosts.iter().map(|host| host.class.to_owned()).collect(),
        runs: hosts.iter().map(|host| host.runs.len()).sum(),
    })
}

/// The newest run of each benchmark and key, by kind of machine; the machine with the newest record first.
fn hosts<'a>(runs: &'a [Run], only: Option<&str>) -> Vec<HostRuns<'a>> {
    let mut newest: BTreeMap<(&str, &str, &str), &Run> = BTreeMap::new();
    for run in runs.iter().filter(|run| only.is_none_or(|class| class == run.host_class)) {
        let key = (run.host_class.as_str(), run.benchmark.as_str(), run.key.as_str());
        let kept = newest.entry(key).or_insert(run);
        if run.date > kept.date {
            *kept = run;
        }
    }
    let mut hosts: Vec<HostRuns<'a>> = Vec::new();
    for ((class, _, _), run) in newest {
        match hosts.iter_mut().find(|host| host.class == class) {
            Some(host) => host.runs.push(run),
            None => hosts.push(HostRuns { class, runs: vec![run] }),
        }
    }
    let date = |host: &HostRuns<'_>| host.runs.iter().map(|run| run.date.clone()).max();
    hosts.sort_by_key(|host| std::cmp::Reverse(date(host)));
    hosts
}

fn page(hosts: &[HostRuns<'_>]) -> String {
    let mut html = String::from(HEAD);
    html.push_str(sections::INTRODUCTION);
    for host in hosts {
        let _ = write!(html, "<h1 class=\"host\">Host class {}</h1>\n{}", escape(host.class), machine(host));
        for section in sections::ALL {
            let _ = writeln!(html, "<section><h2>{}</h2>\n<p>{}</p>", section.title, section.about);
            let body = (section.body)(host);
            if body.is_empty() {
                let _ = writeln!(
                    html,
                    "<p class=\"missing\">Not recorded on this host yet. <code>{}</code> records it.</p>",
                    escape(section.command)
                );
            } else {
                let _ = writeln!(
                    html,
                    "{body}<p class=\"repeat\">Repeat: <code>{}</code></p>",
                    escape(section.command)
                );
            }
            html.push_str("</section>\n");
        }
    }
    html.push_str(sections::CLOSING);
    html.push_str("</main></body></html>\n");
    html
}

/// What the machine is, from its newest record.
fn machine(host: &HostRuns<'_>) -> String {
    let Some(run) = host.runs.iter().max_by(|a, b| a.date.cmp(&b.date)) else { return String::new() };
    let field = |name: &str| escape(run.host[name].as_str().unwrap_or("unknown"));
    let commit = match run.host["commit"].as_str() {
        Some(commit) if !commit.is_empty() => format!(" at commit <code>{}</code>", escape(commit)),
        _ => String::new(),
    };
    let optimised = run.host["optimised"] != Value::Bool(false);
    format!(
        "<p class=\"machine\">{} &middot; Linux {} &middot; {} &middot; newest record {}{commit}{}</p>\n",
        field("cpu"),
        field("kernel"),
        field("compiler"),
        escape(&run.date),
        if optimised { "" } else { " &middot; <b>unoptimised build</b>" }
    )
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>kaigi: benchmark report</title>
<style>
:root { --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --page: #ffffff; --panel: #f6f8fa; --c0: #1f6feb; --c1: #bf5b00; --c2: #1a7f37; --c3: #8250df; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4ae; --line: #3d444d; --page: #0d1117; --panel: #161b22; --c0: #4493f8; --c1: #f0883e; --c2: #3fb950; --c3: #ab7df8; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h1.host { margin-top: 3.5rem; padding-top: 1.5rem; border-top: 2px solid var(--line); font-size: 1.5rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0 .8rem; }
.machine, .repeat, .soft { color: var(--soft); font-size: .9rem; }
.missing { border-left: 3px solid var(--line); padding-left: .8rem; color: var(--soft); }
.finding { font-size: 1.1rem; }
code { font: .86em ui-monospace, monospace; background: var(--panel); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; }
pre code { background: none; padding: 0; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg .title { font-weight: 600; font-size: 14px; } svg .unit { font-weight: 400; fill: var(--soft); }
svg .axis, svg .label { fill: var(--soft); font-size: 12px; } svg .value { font-variant-numeric: tabular-nums; font-size: 12px; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .box { fill: var(--panel); stroke: var(--line); } svg .wire { stroke: var(--soft); stroke-width: 2; fill: none; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.l0, .l1, .l2, .l3 { fill: none; stroke-width: 2; } .l0 { stroke: var(--c0); } .l1 { stroke: var(--c1); } .l2 { stroke: var(--c2); } .l3 { stroke: var(--c3); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .28rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; } th { font-weight: 600; color: var(--soft); }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 7rem; }
</style></head><body><main>
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(benchmark: &str, class: &str, date: &str, key: &str, result: Value) -> Run {
        Run {
            benchmark: benchmark.to_owned(),
            host_class: class.to_owned(),
            date: date.to_owned(),
            key: key.to_owned(),
            host: json!({ "cpu": "a <cpu>", "kernel": "6", "compiler": "rustc", "commit": "c", "optimised": true }),
            result,
        }
    }

    fn forward(pps: f64) -> Value {
        json!({ "forwarded_pps": pps, "cycles_per_packet_user": 900.0, "cycles_per_packet_kernel": 2_000.0,
                "delay_us_p50": 700, "delay_us_p99": 1_500, "loss": 0.0, "search": true, "notes": ["a note"] })
    }

    #[test]
    fn a_page_stands_alone_and_says_what_is_missing() {
        let runs = [run("forward", "zen", "2030-01-02", "highest <x>", forward(900_000.0))];
        let html = page(&hosts(&runs, None));
        for forbidden in ["<script", "http://", "https://", "src=", "<link", "@import", "url("] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("<svg") && html.contains("900,000") && html.contains("highest &lt;x&gt;"));
        assert!(html.contains("a &lt;cpu&gt;") && html.contains("a note"));
        for section in sections::ALL.iter().filter(|section| section.command.contains("--record")) {
            assert!(html.contains(section.command), "{}", section.command);
        }
        assert!(html.contains("Not recorded on this host yet"));
    }

    #[test]
    fn the_newest_of_each_key_counts_and_hosts_are_apart() {
        let runs = [
            run("forward", "old", "2030-01-01", "k", forward(1.0)),
            run("forward", "new", "2030-01-02", "k", forward(2.0)),
            run("forward", "new", "2030-01-03", "k", forward(3.0)),
            run("forward", "new", "2030-01-02", "l", forward(4.0)),
        ];
        let found = hosts(&runs, None);
        let shape: Vec<_> = found.iter().map(|host| (host.class, host.runs.len())).collect();
        assert_eq!(shape, [("new", 2), ("old", 1)]);
        assert_eq!(found[0].newest("forward").map(|run| run.date.as_str()), Some("2030-01-03"));
        assert_eq!(hosts(&runs, Some("old")).len(), 1);
        assert!(hosts(&runs, Some("none")).is_empty());
    }

    #[test]
    fn records_of_another_shape_do_not_stop_the_page() {
        let names = ["forward", "kernels", "peers", "scale", "latency", "soak", "fleet"];
        for broken in
            [json!(null), json!([]), json!({}), json!("text"), json!({ "rows": [1], "comparisons": [{}] })]
        {
            let runs: Vec<_> =
                names.iter().map(|name| run(name, "zen", "2030-01-01", "k", broken.clone())).collect();
            assert!(page(&hosts(&runs, None)).ends_with("</html>\n"));
        }
    }
}
