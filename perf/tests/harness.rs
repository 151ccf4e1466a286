//! Small versions of every benchmark, over loopback and without root: what they deliver is checked by its hash, never by its speed.
//!
//! Hashes are of rooms, publishers, tracks, frames and packets, so they change only when a load changes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// A busy machine may lose packets, which is no fault of the harness; five times in a row it does not.
const ATTEMPTS: usize = 5;
/// One load at a time: beside another one, none is complete on a small machine.
static ALONE: Mutex<()> = Mutex::new(());
const LOOPBACK: [&str; 8] = ["--net", "loopback", "--io", "epoll", "--cpu-clients", "0", "--cpu-server", "0"];

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kaigi-perf"));
    command.args(arguments);
    command
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs over loopback until everything that was sent came, and answers the JSON.
fn complete(arguments: &[&str], is_complete: impl Fn(&Value) -> bool) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last = Value::Null;
    for _ in 0..ATTEMPTS {
        let all: Vec<&str> = arguments.iter().chain(&LOOPBACK).chain(&["--json"]).copied().collect();
        let output = program(&all).output().expect("the program was built");
        last = json(&output);
        if output.status.success() && is_complete(&last) {
            return last;
        }
    }
    panic!("{arguments:?} stayed incomplete: {last:#}");
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("kaigi-perf-test-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("the temporary directory is writable");
    path
}

#[test]
fn meetings_where_everyone_sends_deliver_everything() {
    let load = [
        "forward",
        "--meetings",
        "2",
        "--publishers",
        "3",
        "--everyone",
        "--pps",
        "90",
        "--burst",
        "3",
        "--seconds",
        "1",
    ];
    let report = complete(&load, |report| report["result_complete"] == true);
    assert_eq!(report["packets_expected"], report["packets_received"]);
    assert_eq!(
        (&report["foreign"], &report["corrupt"], &report["bad_tags"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(report["result_hash"], HASH_EVERYONE);
    assert!(report["memory_bytes_per_participant"].as_u64() > Some(1_000));
    // Instructions are known exactly where hardware counts them.
    let counted = report["cycles_source"] == "perf_event";
    assert_eq!(report["instructions_per_packet_user"].is_number(), counted);
    assert!(report["cycles_per_packet"].as_f64() > Some(0.0));
}

#[test]
fn kaigi_and_a_peer_deliver_the_same_content() {
    let load = [
        "peers",
        "--systems",
        "kaigi,str0m",
        "--scenarios",
        "video",
        "--size",
        "90",
        "--subscribers",
        "4",
        "--seconds",
        "1",
    ];
    let results = complete(&load, |results| results["comparisons"][0]["same_content"] == true);
    let systems = results["comparisons"][0]["systems"].as_array().expect("a list");
    assert_eq!(systems.len(), 2);
    for row in systems {
        assert_eq!(row["common"]["report"]["result_hash"], HASH_PEERS, "{}", row["system"]);
    }
    assert_eq!(results["comparisons"][0]["ratios"][0]["peer"], "str0m");
    assert!(results["quoted_not_measured"].as_array().is_some_and(|quoted| !quoted.is_empty()));
}

#[test]
fn janus_delivers_the_same_content() {
    if !Path::new("/usr/bin/janus").is_file() || !is_root() {
        eprintln!("SKIPPED: needs root and the Debian package janus");
        return;
    }
    let load = [
        "peers",
        "--systems",
        "janus",
        "--scenarios",
        "video",
        "--size",
        "90",
        "--subscribers",
        "4",
        "--seconds",
        "1",
        "--json",
    ];
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for attempt in 1..=ATTEMPTS {
        let output = program(&load).output().expect("the program was built");
        let results = json(&output);
        let report = &results["comparisons"][0]["systems"][0]["common"]["report"];
        if report["result_complete"] == true || attempt == ATTEMPTS {
            assert_eq!(report["result_hash"], HASH_PEERS, "{results:#}");
            return;
        }
    }
}

#[test]
fn a_missing_peer_is_named_and_the_others_are_measured() {
    let load = ["peers", "--systems", "kaigi,janus", "--scenarios", "audio", "--size", "1", "--seconds", "1"];
    let results = complete(&load, |results| {
        results["comparisons"][0]["systems"][0]["common"]["report"]["result_complete"] == true
    });
    assert_eq!(results["missing"][0]["system"], "janus");
    assert!(results["missing"][0]["why"].as_str().is_some_and(|why| why.contains("loopback")));
    let none = program(&["peers", "--systems", "janus", "--net", "loopback"]).output().expect("it was built");
    assert!(!none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("--net veth"));
}

#[test]
fn the_same_rate_over_more_meetings_delivers_everything() {
    let load = ["scale", "--meetings", "2,6", "--total-pps", "360", "--seconds", "1"];
    let rows_complete = |results: &Value| {
        results["rows"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["report"]["result_complete"] == true))
    };
    let results = complete(&load, rows_complete);
    let hashes: Vec<_> = (0..2).map(|row| results["rows"][row]["report"]["result_hash"].clone()).collect();
    assert_eq!(hashes, HASHES_SCALE);
    assert_eq!(results["rows"][1]["participants"], 18);
}

#[test]
fn latency_is_measured_at_each_share() {
    let load = ["latency", "--capacity", "300", "--at", "30,60", "--subscribers", "3", "--seconds", "1"];
    let results = complete(&load, |results| {
        results["rows"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["report"]["result_complete"] == true))
    });
    let rows = results["rows"].as_array().expect("a list");
    let asked: Vec<_> = rows.iter().map(|row| row["report"]["pps"].as_u64()).collect();
    assert_eq!(asked, [Some(90), Some(180)]);
    for (row, hash) in rows.iter().zip(HASHES_LATENCY) {
        assert_eq!(row["report"]["result_hash"], hash);
        let delay = |name: &str| row["report"][name].as_u64().expect("a number");
        assert!(
            delay("delay_us_p50") <= delay("delay_us_p99") && delay("delay_us_p99") <= delay("delay_us_p999")
        );
    }
}

#[test]
fn a_short_soak_does_not_drift() {
    let load = ["soak", "--seconds", "4", "--parts", "8", "--subscribers", "3"];
    let results = complete(&load, |results| results["report"]["result_complete"] == true);
    assert_eq!(results["drifts"].as_array().map(Vec::len), Some(0));
    assert_eq!(results["report"]["intervals"].as_array().map(Vec::len), Some(8));
    assert_eq!(results["report"]["result_hash"], HASH_SOAK);
}

#[test]
fn a_load_beyond_the_machine_is_reported_as_such() {
    let load = ["forward", "--pps", "60000", "--burst", "50", "--subscribers", "30", "--seconds", "1"];
    let all: Vec<&str> = load.iter().chain(&LOOPBACK).chain(&["--json"]).copied().collect();
    let report = json(&program(&all).output().expect("the program was built"));
    let notes = report["notes"].as_array().expect("a list");
    let says = |part: &str| notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains(part)));
    assert!(says("packets were lost") || says("did not come about"), "{report:#}");
}

#[test]
fn without_root_the_harness_says_what_it_can_still_do() {
    let mut command = program(&["forward", "--seconds", "1"]);
    if is_root() {
        command.uid(65_534).gid(65_534);
    }
    // The build directory may be closed to others.
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED: the program cannot be run as another user here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("need root") && said.contains("--net loopback"), "{said}");
}

#[test]
fn fleet_and_report_are_made_from_records() {
    let directory = scratch("report");
    let run = |arguments: &[&str]| program(arguments).current_dir(&directory).output().expect("it was built");
    let nothing = run(&["report"]);
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--record"));
    assert!(!run(&["fleet"]).status.success(), "no cycles were measured");
    let fleet = run(&["fleet", "--cycles-per-video-packet", "4000", "--json", "--record"]);
    let total = json(&fleet)["design"]["total"].as_f64().expect("a number");
    let written = run(&["report", "--out", "page.html", "--json"]);
    let runs = json(&written)["runs"].as_u64();
    let page = fs::read_to_string(directory.join("page.html"));
    fs::remove_dir_all(&directory).expect("we made it");
    assert!((total - 21_812_675.0).abs() < 1.0);
    assert_eq!(runs, Some(1));
    assert!(page.expect("it was written").contains("A whole service"));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

const HASH_EVERYONE: &str = "92c99c1fd2ff1fbf";
const HASH_PEERS: &str = "b5d2dbf948783514";
const HASHES_SCALE: [&str; 2] = ["9dcb23e6921d0ed6", "a015fe161fcb9df0"];
const HASHES_LATENCY: [&str; 2] = ["5269853a38251143", "0255438f04fdcdad"];
const HASH_SOAK: &str = "cdf19e4c73e46c00";
