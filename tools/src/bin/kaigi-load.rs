//! `kaigi-load`: fills meetings of a running server with synthetic participants and says what they experienced.
//!
//! Place: outside; it uses the public HTTP API, the LiveKit protocol and UDP like any client. Promises: exit status 1 when
//! somebody could not join, hears nothing of a publisher, or hears a foreign room. Not here: measuring the server's cost
//! (`kaigi-perf`).

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tools::client::delay::Delays;
use tools::client::dtls::Identity;
use tools::client::stamp::mix;
use tools::http::Api;
use tools::signalling::drive::{self, Clock, SessionEnd, Socket};
use tools::signalling::participant::Video;
use tools::signalling::{Participant, ParticipantConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fills meetings of a running kaigi server with synthetic participants
#[derive(Parser, Clone)]
#[command(name = "kaigi-load", version)]
struct Options {
    /// The server's HTTP address
    #[arg(long, default_value = "http://127.0.0.1:7880", env = "KAIGI_URL")]
    url: String,
    /// Access token for creating meetings; demo mode needs none
    #[arg(long, env = "KAIGI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Join this meeting instead of creating any
    #[arg(long, conflicts_with = "meetings")]
    meeting: Option<String>,
    /// Meetings to create
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    meetings: u32,
    /// Participants of each meeting
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    participants: u32,
    /// How many of them publish; all by default
    #[arg(long)]
    publishers: Option<u32>,
    /// Publish no video
    #[arg(long)]
    audio_only: bool,
    /// Video frames per second
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Video bitrate, kbit/s
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    kbps: u32,
    /// How long to stay once everybody is in
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Joins under way at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    joins_at_once: u32,
    /// Give up joining after this many seconds
    #[arg(long, default_value_t = 30)]
    join_timeout: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What everybody experienced.
#[derive(Serialize, Default)]
struct Report {
    benchmark: &'static str,
    meetings: usize,
    participants: usize,
    publishers: usize,
    seconds: u64,
    joined: usize,
    join_ms_p50: u64,
    join_ms_p95: u64,
    join_ms_max: u64,
    packets_sent: u64,
    packets_received: u64,
    packets_repaired: u64,
    packets_lost: u64,
    loss: f64,
    delay_us_p50: u64,
    delay_us_p99: u64,
    /// Pairs of listener and publisher with no packet between them.
    silent: usize,
    foreign: u64,
    corrupt: u64,
    errors: Vec<String>,
}

/// One participant's run.
#[derive(Default)]
struct Experience {
    participant: Option<Participant>,
    join: Option<Duration>,
    error: Option<String>,
}

/// What tasks share.
struct Shared {
    api: Api,
    clock: Clock,
    joins: Semaphore,
    ready: AtomicUsize,
    changed: Notify,
    stop: watch::Receiver<bool>,
    join_timeout: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(report) => {
            if options.json {
                println!("{}", serde_json::to_string(&report).unwrap_or_default());
            } else {
                print_table(&report);
            }
            if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("kaigi-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<Report> {
    let api = Api::new(&options.url, options.token.clone())?;
    api.text("/healthz").await?;
    let meetings = meetings(options, &api).await?;
    let publishers = options.publishers.unwrap_or(options.participants).min(options.participants);
    let Ok(identity) = Identity::generate() else { bail!("cannot make a certificate") };
    let (stop_sender, stop) = watch::channel(false);
    let shared = Arc::new(Shared {
        api: api.with_token(None),
        clock: Clock::start(),
        joins: Semaphore::new(options.joins_at_once as usize),
        ready: AtomicUsize::new(0),
        changed: Notify::new(),
        stop,
        join_timeout: Duration::from_secs(options.join_timeout),
    });
    let video =
        (!options.audio_only).then_some(Video { fps: options.fps, bitrate_bps: options.kbps * 1_000 });
    let mut tasks = JoinSet::new();
    for meeting in &meetings {
        let room = meeting.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte)));
        for number in 0..options.participants {
            let publishes = number < publishers;
            let config = ParticipantConfig {
                room,
                number,
                audio: publishes,
                video: video.filter(|_| publishes),
                identity: identity.clone(),
                seed: mix(room, u64::from(number)),
            };
            tasks.spawn(attend(shared.clone(), meeting.clone(), config));
        }
    }
    let total = tasks.len();
    let mut experiences = Vec::with_capacity(total);
    let started = Instant::now();
    // Joins that fail end their task at once: ready and ended together make everybody.
    while shared.ready.load(Ordering::Relaxed) + experiences.len() < total {
        if started.elapsed() > shared.join_timeout + Duration::from_secs(60) {
            break;
        }
        tokio::select! {
            Some(done) = tasks.join_next() => experiences.push(done.context("a participant's task panicked")?),
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(options.seconds)) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Everybody may be gone already.
    let _ = stop_sender.send(true);
    while let Some(done) = tasks.join_next().await {
        experiences.push(done.context("a participant's task panicked")?);
    }
    Ok(Report::new(options, meetings.len(), publishers as usize, &experiences))
}

async fn meetings(options: &Options, api: &Api) -> Result<Vec<String>> {
    if let Some(meeting) = &options.meeting {
        return Ok(vec![meeting.clone()]);
    }
    let mut meetings = Vec::new();
    for number in 0..options.meetings {
        let body = json!({ "topic": format!("load {number}") });
        let created = api.call(Method::POST, "/api/v1/meetings", Some(&body)).await?;
        let id = created["id"].as_str().context("the answer to creating a meeting has no id")?;
        meetings.push(id.to_owned());
    }
    Ok(meetings)
}

/// One participant from the first request to the goodbye.
async fn attend(shared: Arc<Shared>, meeting: String, config: ParticipantConfig) -> Experience {
    let mut experience = Experience::default();
    let number = config.number;
    let publishes = config.audio || config.video.is_some();
    let permit = shared.joins.acquire().await;
    let began = Instant::now();
    let opened = async {
        let path = format!("/api/v1/meetings/{meeting}/join");
        let body = json!({ "name": format!("load {number}") });
        let joined = shared.api.call(Method::POST, &path, Some(&body)).await.map_err(|e| e.to_string())?;
        let text = |key: &str| joined[key].as_str().unwrap_or_default().to_owned();
        Socket::connect(&text("media_server_url"), &text("session_token")).await
    };
    let socket = match opened.await {
        Ok(socket) => socket,
        Err(error) => {
            experience.error = Some(error);
            return experience;
        }
    };
    let mut permit = permit.ok();
    let mut join = None;
    let mut told = shared.stop.clone();
    let deadline = began + shared.join_timeout;
    let is_ready = AtomicUsize::new(0);
    let stop = async {
        tokio::select! {
            _ = told.wait_for(|stop| *stop) => {}
            () = async {
                tokio::time::sleep_until(deadline.into()).await;
                if is_ready.load(Ordering::Relaxed) != 0 {
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    };
    let (participant, end) =
        drive::run(Participant::new(config), socket, shared.clock, stop, |participant| {
            if join.is_none() && participant.is_ready() {
                join = Some(began.elapsed());
                is_ready.store(1, Ordering::Relaxed);
                permit = None;
                shared.ready.fetch_add(1, Ordering::Relaxed);
                shared.changed.notify_one();
            }
        })
        .await;
    experience.join = join;
    experience.error = match end {
        SessionEnd::Told if join.is_none() => {
            let [publisher, subscriber] =
                [participant.publisher(), participant.subscriber()].map(|leg| leg.client.state());
            let publisher = if publishes { format!("publisher {publisher:?}, ") } else { String::new() };
            Some(format!("no media path: {publisher}subscriber {subscriber:?}"))
        }
        SessionEnd::Told => None,
        SessionEnd::Ended => Some(format!("the session ended: {:?}", participant.end())),
        SessionEnd::Socket(error) => Some(error),
        SessionEnd::Udp(error) => Some(format!("UDP: {error}")),
    };
    if join.is_some() && experience.error.is_some() {
        // It counts once: as one that ended, no longer as one that is ready.
        shared.ready.fetch_sub(1, Ordering::Relaxed);
    }
    experience.participant = Some(participant);
    experience
}

impl Report {
    fn new(options: &Options, meetings: usize, publishers: usize, experiences: &[Experience]) -> Self {
        let mut report = Self {
            benchmark: "load",
            meetings,
            participants: experiences.len(),
            publishers: publishers * meetings,
            seconds: options.seconds,
            ..Self::default()
        };
        let mut joins: Vec<u64> = experiences
            .iter()
            .filter_map(|experience| experience.join)
            .map(|join| u64::try_from(join.as_millis()).unwrap_or(u64::MAX))
            .collect();
        joins.sort_unstable();
        report.joined = joins.len();
        let at = |percent: usize| joins.get((joins.len().saturating_sub(1)) * percent / 100).copied();
        report.join_ms_p50 = at(50).unwrap_or(0);
        report.join_ms_p95 = at(95).unwrap_or(0);
        report.join_ms_max = at(100).unwrap_or(0);
        let mut delays = Delays::default();
        for experience in experiences {
            if let Some(error) = &experience.error
                && !report.errors.contains(error)
            {
                report.errors.push(error.clone());
            }
            let Some(participant) = &experience.participant else { continue };
            report.add(participant, publishers as u32, &mut delays);
        }
        let of = report.packets_received + report.packets_lost;
        report.loss = if of == 0 { 0.0 } else { report.packets_lost as f64 / of as f64 };
        report.delay_us_p50 = delays.permille_us(500);
        report.delay_us_p99 = delays.permille_us(990);
        report
    }

    fn add(&mut self, participant: &Participant, publishers: u32, delays: &mut Delays) {
        self.packets_sent +=
            participant.publisher().client.sources().map(|source| source.packets).sum::<u64>();
        let client = &participant.subscriber().client;
        self.packets_lost += client.missing() as u64;
        let mut heard = BTreeSet::new();
        for (_, reception) in client.receptions() {
            self.packets_received += reception.packets;
            self.packets_repaired += reception.repaired;
            self.packets_lost += reception.lost;
            self.foreign += reception.foreign_room + reception.foreign_track;
            self.corrupt += reception.corrupt;
            delays.merge(&reception.delays);
            if let (Some((publisher, _)), true) = (reception.heard, reception.packets > 0) {
                heard.insert(publisher);
            }
        }
        let own = participant.number();
        self.silent += (0..publishers).filter(|&number| number != own && !heard.contains(&number)).count();
    }

    fn is_fine(&self) -> bool {
        self.joined == self.participants
            && self.silent == 0
            && self.foreign == 0
            && self.corrupt == 0
            && self.errors.is_empty()
    }
}

fn print_table(report: &Report) {
    let Report { meetings, participants, publishers, joined, seconds, .. } = report;
    println!(
        "{:<22} {meetings} meetings, {participants} participants, {publishers} publish, {seconds} s",
        "load"
    );
    println!(
        "{:<22} {joined} of {participants}; {} / {} / {} ms (p50 / p95 / max)",
        "joined", report.join_ms_p50, report.join_ms_p95, report.join_ms_max
    );
    println!("{:<22} {}", "packets sent", report.packets_sent);
    println!(
        "{:<22} {} ({} by retransmission)",
        "packets received", report.packets_received, report.packets_repaired
    );
    println!("{:<22} {} ({:.4} %)", "packets lost", report.packets_lost, report.loss * 100.0);
    println!("{:<22} {} / {} us", "delay p50 / p99", report.delay_us_p50, report.delay_us_p99);
    for (count, what) in [
        (report.silent as u64, "pairs of listener and publisher without a packet"),
        (report.foreign, "packets of a foreign room or track"),
        (report.corrupt, "damaged packets"),
    ] {
        if count != 0 {
            println!("{:<22} {count} {what}", "WRONG");
        }
    }
    for error in &report.errors {
        println!("{:<22} {error}", "error");
    }
}
