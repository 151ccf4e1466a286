//! Filling meetings of a running server with synthetic participants, and what they experienced: the inside of `kaigi-load`.
//!
//! Place: outside of the server; it uses the public HTTP API, the LiveKit protocol and UDP like any client. Promises: a report
//! is fine only when everybody joined, heard every publisher, and heard nothing foreign or damaged. Not here: measuring the
//! server's cost (`kaigi-perf`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::delay::Delays;
use crate::client::dtls::Identity;
use crate::client::stamp::mix;
use crate::http::Api;
use crate::signalling::drive::{self, Clock, SessionEnd, Socket};
use crate::signalling::participant::Video;
use crate::signalling::{Participant, ParticipantConfig};
use anyhow::{Context as _, Result, bail};
use clap::Parser;
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Voices that everybody is to hear, however many speak: the default of the server's `--audio-streams`.
const VOICES_MIN: usize = 3;

/// Fills meetings of a running kaigi server with synthetic participants
#[derive(Parser, Clone, Debug)]
#[command(name = "kaigi-load", version)]
pub struct Options {
    /// The server's HTTP address
    #[arg(long, default_value = "http://127.0.0.1:7880", env = "KAIGI_URL")]
    pub url: String,
    /// Access token for creating meetings; demo mode needs none
    #[arg(long, env = "KAIGI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Join this meeting instead of creating any
    #[arg(long, conflicts_with = "meetings")]
    pub meeting: Option<String>,
    /// Meetings to create
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub meetings: u32,
    /// Participants of each meeting
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub participants: u32,
    /// How many of them publish; all by default
    #[arg(long)]
    pub publishers: Option<u32>,
    /// Publish no video
    #[arg(long)]
    pub audio_only: bool,
    /// Join with one connection for both directions (protocol v1)
    #[arg(long)]
    pub v1: bool,
    /// Video frames per second
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub fps: u32,
    /// Video bitrate, kbit/s
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=50_000))]
    pub kbps: u32,
    /// How long to stay once everybody is in
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Joins under way at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub joins_at_once: u32,
    /// Give up joining after this many seconds
    #[arg(long, default_value_t = 30)]
    pub join_timeout: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What everybody experienced.
#[derive(Serialize, Default, Debug)]
pub struct Report {
    /// Always `load`.
    pub benchmark: &'static str,
    /// Meetings that were filled.
    pub meetings: usize,
    /// Participants of all of them.
    pub participants: usize,
    /// How many of those publish.
    pub publishers: usize,
    /// How long everybody was to stay.
    pub seconds: u64,
    /// Participants whose media paths stood.
    pub joined: usize,
    /// From the first request to media paths: median.
    pub join_ms_p50: u64,
    /// The same, 95th percentile.
    pub join_ms_p95: u64,
    /// The same, longest.
    pub join_ms_max: u64,
    /// RTP packets published.
    pub packets_sent: u64,
    /// RTP packets received, each once.
    pub packets_received: u64,
    /// Of those, by retransmission.
    pub packets_repaired: u64,
    /// Gaps that stayed.
    pub packets_lost: u64,
    /// Lost of lost and received, 0 to 1.
    pub loss: f64,
    /// From release to read, in this process: median, microseconds.
    pub delay_us_p50: u64,
    /// The same, 99th percentile.
    pub delay_us_p99: u64,
    /// Pairs of listener and publisher with no packet between them.
    pub silent: usize,
    /// Packets of a foreign room, or of a track that is not the stream's.
    pub foreign: u64,
    /// Packets with damaged content.
    pub corrupt: u64,
    /// What participants met with, each text once.
    pub errors: Vec<String>,
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

/// Runs the load and answers what everybody experienced.
///
/// # Errors
/// When the server cannot be reached or refuses to make meetings; what single participants meet with is in the report.
pub async fn run(options: &Options) -> Result<Report> {
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
                single: options.v1,
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
    if experiences.len() < total {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(options.seconds)) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
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
    let single = config.single;
    let permit = shared.joins.acquire().await;
    let began = Instant::now();
    let opened = async {
        let path = format!("/api/v1/meetings/{meeting}/join");
        let body = json!({ "name": format!("load {number}") });
        let joined = shared.api.call(Method::POST, &path, Some(&body)).await.map_err(|e| e.to_string())?;
        let text = |key: &str| joined[key].as_str().unwrap_or_default().to_owned();
        Socket::connect(&text("media_server_url"), &text("session_token"), single).await
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

impl Options {
    /// The defaults, for a server at `url`.
    #[must_use]
    pub fn for_server(url: &str) -> Self {
        Self::parse_from(["kaigi-load", "--url", url])
    }
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
        // A large meeting forwards its loudest voices only.
        let unheard_max = if options.audio_only { publishers.saturating_sub(1 + VOICES_MIN) } else { 0 };
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
            report.add(participant, publishers as u32, unheard_max, &mut delays);
        }
        let of = report.packets_received + report.packets_lost;
        report.loss = if of == 0 { 0.0 } else { report.packets_lost as f64 / of as f64 };
        report.delay_us_p50 = delays.permille_us(500);
        report.delay_us_p99 = delays.permille_us(990);
        report
    }

    fn add(&mut self, participant: &Participant, publishers: u32, unheard_max: usize, delays: &mut Delays) {
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
        let others = (0..publishers).filter(|&number| number != own);
        let missed = others.filter(|number| !heard.contains(number)).count();
        self.silent += missed.saturating_sub(unheard_max);
    }

    /// Whether everybody got what they came for.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.joined == self.participants
            && self.silent == 0
            && self.foreign == 0
            && self.corrupt == 0
            && self.errors.is_empty()
    }

    /// The human table.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { meetings, participants, publishers, joined, seconds, .. } = self;
        let mut lines = vec![
            (
                "load",
                format!(
                    "{meetings} meetings, {participants} participants, {publishers} publish, {seconds} s"
                ),
            ),
            (
                "joined",
                format!(
                    "{joined} of {participants}; {} / {} / {} ms (p50 / p95 / max)",
                    self.join_ms_p50, self.join_ms_p95, self.join_ms_max
                ),
            ),
            ("packets sent", self.packets_sent.to_string()),
            (
                "packets received",
                format!("{} ({} by retransmission)", self.packets_received, self.packets_repaired),
            ),
            ("packets lost", format!("{} ({:.4} %)", self.packets_lost, self.loss * 100.0)),
            ("delay p50 / p99", format!("{} / {} us", self.delay_us_p50, self.delay_us_p99)),
        ];
        for (count, what) in [
            (self.silent as u64, "pairs of listener and publisher without a packet"),
            (self.foreign, "packets of a foreign room or track"),
            (self.corrupt, "damaged packets"),
        ] {
            if count != 0 {
                lines.push(("WRONG", format!("{count} {what}")));
            }
        }
        lines.extend(self.errors.iter().map(|error| ("error", error.clone())));
        lines.iter().map(|(name, value)| format!("{name:<22} {value}\n")).collect()
    }
}
