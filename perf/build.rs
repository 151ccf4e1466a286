//! Hands the compiler's version to the program: a record without it cannot be compared.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=KAIGI_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
