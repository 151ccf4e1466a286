//! `kaigi-load`: fills meetings of a running server with synthetic participants and says what they experienced.
//!
//! Promises: exit status 1 when somebody could not join, hears nothing of a publisher, or hears a foreign room; 2 for usage.

use std::process::ExitCode;

use clap::Parser;
use tools::load::{self, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match load::run(&options).await {
        Ok(report) => {
            if options.json {
                println!("{}", serde_json::to_string(&report).unwrap_or_default());
            } else {
                print!("{}", report.table());
            }
            if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("kaigi-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
