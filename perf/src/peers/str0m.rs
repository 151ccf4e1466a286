//! The naive SFU on str0m: `perf/examples/str0m-sfu.rs` as a child, signalled over its pipes.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use dataplane::base::counters::Counters;
use dataplane::base::time::Micros;
use serde_json::{Value, json};

use super::process::Process;
use super::session::Sessions;
use crate::forward::link::Link;
use crate::forward::options::{Kind, Options};
use crate::forward::server::{Joined, Place, Server};
use crate::meter::Meter;

const NAME: &str = "str0m-sfu";

/// The running SFU.
pub struct Str0m {
    options: Options,
    process: Process,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    sessions: Sessions,
}

/// The program, built if need be: beside this one, as cargo puts examples.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let directories = own.ancestors().skip(1).take(2);
    let places: Vec<PathBuf> = directories.map(|directory| directory.join("examples").join(NAME)).collect();
    if let Some(found) = places.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    if !Path::new("perf/Cargo.toml").is_file() {
        bail!("{NAME} is not built: in the repository run cargo build --release -p perf --example {NAME}");
    }
    eprintln!("kaigi-perf: building {NAME}");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let arguments = ["build", "--profile", profile, "--locked", "--quiet", "-p", "perf", "--example", NAME];
    let status = Command::new("cargo").args(arguments).status().context("cannot run cargo to build it")?;
    places
        .into_iter()
        .find(|path| status.success() && path.is_file())
        .ok_or_else(|| anyhow!("{NAME} does not build"))
}

impl Str0m {
    /// Starts it.
    pub fn start(options: &Options, link: &Link, program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(link.server().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(NAME, link, options.cpu_server, &mut command)?;
        let child = process.child();
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, replies) = pipes.ok_or_else(|| anyhow!("{NAME} has no pipes"))?;
        let sessions = Sessions::new(options, link.server())?;
        let mut sfu =
            Self { options: options.clone(), process, requests, replies: BufReader::new(replies), sessions };
        if sfu.reply()?["ready"].is_null() {
            bail!("{NAME} does not become ready");
        }
        sfu.process.settle();
        Ok(sfu)
    }

    fn reply(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        let reply: Value =
            serde_json::from_str(&line).with_context(|| format!("{NAME} has ended or says {line:?}"))?;
        if let Some(error) = reply["error"].as_str() {
            bail!("{NAME} refuses: {error}");
        }
        Ok(reply)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}").with_context(|| format!("{NAME} has ended"))?;
        self.reply()
    }
}

fn text<'a>(reply: &'a Value, name: &str) -> Result<&'a str> {
    reply[name].as_str().ok_or_else(|| anyhow!("{NAME} answers without {name}: {reply}"))
}

impl Server for Str0m {
    fn name(&self) -> String {
        "str0m 0.25 (naive one-thread SFU, aws-lc)".to_owned()
    }

    fn join(&mut self, place: Place, local: SocketAddr, now: Micros) -> Result<Joined> {
        if place.publishes {
            let offer = self.sessions.session(place, local).offer();
            let feed = json!({ "room": place.room(), "feed": place.local, "offer": offer });
            let reply = self.ask(&json!({ "publish": feed }))?;
            return self.sessions.session(place, local).publisher(now, text(&reply, "answer")?);
        }
        let publishers: Vec<u32> = place.receives(&self.options).collect();
        let kind = if self.options.kind == Kind::Audio { "audio" } else { "video" };
        let feeds = json!({ "room": place.room(), "kind": kind, "feeds": publishers });
        let reply = self.ask(&json!({ "subscribe": feeds }))?;
        let session = self.sessions.session(place, local);
        let (answer, joined) = session.subscriber(now, text(&reply, "offer")?, &publishers)?;
        self.ask(&json!({ "start": { "id": reply["id"], "answer": answer } }))?;
        Ok(joined)
    }

    fn poll(&mut self) -> Result<u32> {
        self.process.check()?;
        Ok(0)
    }

    fn counts_ready(&self) -> bool {
        false
    }

    fn connect(&mut self) -> Result<u64> {
        Ok(super::SETTLE_US)
    }

    fn meter(&self, tsc_hz: f64) -> Result<Meter> {
        self.process.meter(tsc_hz)
    }

    fn counters(&self) -> Option<Counters> {
        None
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.process.memory_bytes()
    }
}
