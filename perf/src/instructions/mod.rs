//! `kaigi-perf instructions`: user-space instructions per forwarded packet, counted one by one.
//!
//! How: the engine, the real one, serves one meeting in memory in a child process, which stops at marks around every call of the
//! engine; in between this process makes it take one instruction after the other (ptrace). So the count needs no hardware counters,
//! runs the kernels that this CPU has, and is the same whatever else the machine does.
//! Not here: the system calls that carry the datagrams and what prepares them (`forward` measures those in cycles).

mod meeting;
mod steps;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::forward::options::{Kind, Profile};
use meeting::Meeting;
use steps::{Marks, Stage};

/// What is counted.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct Options {
    /// Receivers of the one publisher
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub subscribers: u32,
    /// SRTP profile
    #[arg(long, value_enum, default_value_t = Profile::Gcm128)]
    pub profile: Profile,
    /// Payload bytes of a packet
    #[arg(long, default_value_t = 1_150, value_parser = clap::value_parser!(u16).range(40..=1_200))]
    pub payload: u16,
    /// Pictures in bursts, or a voice
    #[arg(long, value_enum, default_value_t = Kind::Video)]
    pub kind: Kind,
    /// Follow what each receiver's link carries, as the appliance does
    #[arg(long)]
    pub rate_control: bool,
    /// Milliseconds of the meeting that are counted
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(20..=10_000))]
    pub milliseconds: u64,
    /// The counted process itself
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub counted: bool,
}

/// What the counted process says of itself.
#[derive(Serialize, Deserialize)]
struct Said {
    forwarded: u64,
    feedback: u64,
    suite: String,
}

/// Instructions per forwarded packet, by what they were for.
#[derive(Debug, Serialize)]
pub struct Counted {
    #[serde(flatten)]
    options: Options,
    suite: String,
    /// Packets that receivers were sent.
    forwarded: u64,
    /// Datagrams of feedback that the receivers sent meanwhile.
    feedback: u64,
    /// All of the below.
    instructions_per_packet: f64,
    /// Opening and routing what the publisher sends.
    receive: f64,
    /// Reading the receivers' reports, feedback and requests.
    rtcp: f64,
    /// Rewriting, sealing, queueing for the socket, and timers.
    send: f64,
}

impl Counted {
    /// What names a record of it.
    pub fn key(&self) -> String {
        let Options { subscribers, profile, payload, kind, rate_control, .. } = &self.options;
        format!("{kind:?} to {subscribers}, {profile:?}, {payload} B, rate control {rate_control}")
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} packets to {} receivers ({}), {} datagrams of feedback",
            self.forwarded, self.options.subscribers, self.suite, self.feedback
        );
        let rows = [
            ("open and route", self.receive),
            ("read feedback", self.rtcp),
            ("rewrite, seal, queue, timers", self.send),
            ("user instructions per packet", self.instructions_per_packet),
        ];
        for (what, count) in rows {
            let _ = writeln!(text, "  {what:<30} {count:>8.0}");
        }
        text
    }
}

/// Counts; in the counted process, answers nothing once it has said what it sent.
pub fn run(options: &Options) -> Result<Option<Counted>> {
    if options.counted {
        let said = serve(options)?;
        println!("{}", serde_json::to_string(&said)?);
        return Ok(None);
    }
    let mut command = Command::new(std::env::current_exe().context("this program has a path")?);
    command.args(["instructions", "--counted"]);
    for (name, value) in [
        ("--subscribers", options.subscribers.to_string()),
        ("--profile", word(options.profile)),
        ("--payload", options.payload.to_string()),
        ("--kind", word(options.kind)),
        ("--milliseconds", options.milliseconds.to_string()),
    ] {
        command.args([name, &value]);
    }
    if options.rate_control {
        command.arg("--rate-control");
    }
    let (mut child, counts) = match steps::count(command.stdout(Stdio::piped())) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            return Err(error).context(
                "cannot count a child process's instructions: ptrace must be allowed (container: --cap-add SYS_PTRACE)",
            );
        }
        counted => counted.context("counting instructions")?,
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text)?;
    }
    let said: Said = serde_json::from_str(&text).context("the counted process did not finish")?;
    if said.forwarded == 0 {
        bail!("nothing was forwarded in {} ms", options.milliseconds);
    }
    let per_packet = |stage| counts.of(stage) as f64 / said.forwarded as f64;
    let [receive, rtcp, send] = [Stage::Receive, Stage::Rtcp, Stage::Send].map(per_packet);
    Ok(Some(Counted {
        options: options.clone(),
        suite: said.suite,
        forwarded: said.forwarded,
        feedback: said.feedback,
        instructions_per_packet: receive + rtcp + send,
        receive,
        rtcp,
        send,
    }))
}

/// How an option's value is written on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The counted process: a meeting that stands, then the part of it that counts.
fn serve(options: &Options) -> Result<Said> {
    let mut meeting = Meeting::new(options)?;
    meeting.run(&Marks::off(), meeting::WARM_UP_MS)?;
    let before = meeting.forwarded();
    let marks = Marks::on();
    let feedback = meeting.run(&marks, options.milliseconds)?;
    Ok(Said { forwarded: meeting.forwarded() - before, feedback, suite: meeting.suite_name().to_owned() })
}
