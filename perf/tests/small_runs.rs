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

#[test]
fn a_suite_this_cpu_lacks_is_an_error_with_its_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_kaigi-perf"))
        .args(["kernels", "--suite", "abacus"])
        .output()
        .expect("the program was built with this test");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("abacus"));
}
