//! The benchmarks, run small: that they run, that their JSON is the contract's, and that their results do not depend on time.

use std::process::Command;

use serde_json::Value;

fn kaigi_perf(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_kaigi-perf"))
        .args(arguments)
        .output()
        .expect("the program was built with this test");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kaigi-perf {}: {errors}", arguments.join(" "));
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is one JSON object")).collect()
}

#[test]
fn kernels_prints_one_object_per_kernel_and_size() {
    let rows = kaigi_perf(&["kernels", "--json", "--rounds", "1", "--bytes", "160,161"]);
    for kernel in ["aead_aes_128_gcm", "aead_aes_256_gcm", "aes_cm_128_hmac_sha1_80"] {
        for bytes in [160, 161] {
            let of_kernel: Vec<&Value> =
                rows.iter().filter(|row| row["kernel"] == kernel && row["bytes"] == bytes).collect();
            assert!(of_kernel.len() >= 2, "seal and open of at least one suite");
            for row in of_kernel {
                assert!(row["cycles_per_packet"].as_u64().is_some_and(|cycles| cycles > 0));
                assert!(row["aws_lc"].as_u64().is_some());
                assert_eq!(row["ring"].is_null(), kernel.starts_with("aes_cm"));
                assert_eq!(row["equal"], true);
            }
        }
    }
}

/// The run of these tests: loopback, both threads wherever there is a CPU, a few hundred packets.
fn forward(extra: &[&str]) -> Value {
    let mut arguments =
        vec!["forward", "--json", "--net", "loopback", "--seconds", "1", "--subscribers", "3"];
    arguments.extend(["--pps", "120", "--burst", "4", "--payload", "600", "--cpu-clients", last_cpu()]);
    arguments.extend(extra);
    let mut rows = kaigi_perf(&arguments);
    assert_eq!(rows.len(), 1, "one JSON object");
    rows.remove(0)
}

/// CPU 1 if there is one.
fn last_cpu() -> &'static str {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cpus > 1 { "1" } else { "0" }
}

#[test]
fn forward_delivers_everything_and_its_hash_does_not_depend_on_time_or_profile() {
    let first = forward(&["--profile", "gcm"]);
    for key in [
        "forwarded_pps",
        "cycles_per_packet_user",
        "cycles_per_packet_kernel",
        "loss",
        "delay_us_p50",
        "delay_us_p99",
        "gso_segments_mean",
    ] {
        assert!(first[key].is_number(), "{key}: {}", first[key]);
    }
    assert!(first["io"].is_string() && first["result_hash"].is_string());
    // 2.25 s at 30 frames of 4 packets, for each of 3 subscribers.
    assert_eq!(first["packets_sent"], 67 * 4);
    assert_eq!(first["packets_received"], 67 * 4 * 3);
    assert_eq!(first["loss"], 0.0);
    assert_eq!(first["result_complete"], true);
    assert_eq!(first["discontinuities"], 0);
    let second = forward(&["--profile", "cm"]);
    assert_eq!(second["result_hash"], first["result_hash"]);
    let more = forward(&["--publishers", "2"]);
    assert_eq!(more["packets_received"], 67 * 4 * 3 * 2);
    assert_ne!(more["result_hash"], first["result_hash"]);
}

#[test]
fn what_subscribers_lose_is_repaired_by_retransmission() {
    let lossy = forward(&["--nack", "5"]);
    assert!(lossy["packets_repaired"].as_u64().is_some_and(|count| count > 0));
    assert_eq!(lossy["packets_received"], lossy["packets_expected"]);
    assert_eq!(lossy["result_complete"], true);
}

#[test]
fn audio_is_forwarded_too() {
    let audio = forward(&["--kind", "audio"]);
    assert_eq!(audio["packets_sent"], 2_250_000 / 20_000);
    assert_eq!(audio["result_complete"], true);
}

#[test]
fn a_suite_this_cpu_lacks_is_an_error_with_its_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_kaigi-perf"))
        .args(["kernels", "--suite", "abacus"])
        .output()
        .expect("the program was built with this test");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("abacus"));
}

#[test]
fn instructions_are_counted_one_by_one_and_stay_in_bounds() {
    let arguments = ["instructions", "--json", "--subscribers", "2", "--milliseconds", "20"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_kaigi-perf")).args(arguments).output().expect("it was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ptrace must be allowed") {
        eprintln!("SKIPPED: {errors}");
        return;
    }
    assert!(output.status.success(), "{errors}");
    let counted: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(counted["forwarded"], 18, "a picture of nine packets, to two");
    assert!(counted["feedback"].as_u64() > Some(0));
    let of = |part: &str| counted[part].as_f64().expect("a number");
    let parts = ["receive", "rtcp", "send"].map(of);
    assert!(parts.iter().all(|part| *part > 50.0), "{counted}");
    let all = of("instructions_per_packet");
    assert!((all - parts.iter().sum::<f64>()).abs() < 1.0, "{counted}");
    // Twice what this profile took when it was written (11,500, of which turns without anything to send are half).
    assert!(all < 23_000.0, "{counted}");
}

#[test]
fn the_store_acknowledges_writes_and_keeps_them() {
    let directory = std::env::temp_dir().join(format!("kaigi-perf-store-{}", std::process::id()));
    let directory_text = directory.to_str().expect("ASCII");
    let arguments = ["store", "--json", "--seconds", "1", "--writers", "4", "--directory", directory_text];
    let rows = kaigi_perf(&arguments);
    for part in ["raw_sync", "one_writer", "all_writers", "reads"] {
        assert!(rows[0][part]["per_second"].as_f64() > Some(0.0), "{}", rows[0]);
    }
    assert!(rows[0]["writes_found_after_reopening"].as_u64() > Some(1));
    std::fs::remove_dir(&directory).expect("nothing is left in it");
}
