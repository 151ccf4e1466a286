//! Clients that give no transport-wide feedback meet through the real daemon: aiortc, which answers with REMB, NACK and reports, and
//! GStreamer's webrtcbin, which has no header extensions and answers with reports alone.
//!
//! `tests/clients` has both as small Python programs on one signalling driver; each prints twice a second what it has received. Pictures
//! are judged by frames that were decoded, sound by the energy of its samples.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch};
use tests::livekit::Signalling;

/// Starting Python, joining and a first picture on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// What a client that goes away is waited for.
const GOODBYE: Duration = Duration::from_secs(10);

/// A running client and its last line.
struct Client {
    name: String,
    child: Child,
    latest: Arc<Mutex<Value>>,
    log: PathBuf,
}

/// What a client has received of one track so far.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Got {
    frames: u64,
    width: u64,
    energy: f64,
    paused: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Aiortc,
    GStreamer,
}

impl Client {
    fn start(meeting: &Meeting, kind: Kind, name: &str, arguments: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let program = match kind {
            Kind::Aiortc => "aiortc_client.py",
            Kind::GStreamer => "gstreamer_client.py",
        };
        let log = meeting.scratch.join(&format!("{name}.log"));
        let mut child = Command::new(tests::python::interpreter())
            .arg(folder.join(program))
            .args(["--url", &format!("ws://{}", meeting.daemon.address)])
            .args(["--token", &meeting.token(name), "--name", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the scratch directory is writable"))
            .spawn()
            .expect("Python runs");
        let latest = Arc::new(Mutex::new(Value::Null));
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let shared = Arc::clone(&latest);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).expect("a line is JSON");
                *shared.lock().expect("nobody panics with it") = value;
            }
        });
        Self { name: name.to_owned(), child, latest, log }
    }

    /// What came of this person's track of this kind; nothing yet is a default.
    fn got(&self, from: &str, kind: &str) -> Got {
        let latest = self.latest.lock().expect("nobody panics with it");
        let tracks = latest["received"].as_array().map_or(&[][..], Vec::as_slice);
        let found = tracks.iter().find(|one| one["from"] == from && one["kind"] == kind);
        found.map_or_else(Got::default, |one| Got {
            frames: one["frames"].as_u64().unwrap_or(0),
            width: one["width"].as_u64().unwrap_or(0),
            energy: one["energy"].as_f64().unwrap_or(0.0),
            paused: one["paused"] == true,
        })
    }

    /// Its last line and what it complained of.
    fn state(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        let latest = self.latest.lock().expect("nobody panics with it");
        format!("{}: {latest}\n{}", self.name, lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    /// Leaves the meeting; the client must end by itself and without a fault.
    async fn leave(mut self) {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("our own child") {
                Some(status) => break status,
                None => assert!(begun.elapsed() < GOODBYE, "it does not end\n{}", self.state()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(status.success(), "{status}\n{}", self.state());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Meeting {
    daemon: Daemon,
    id: String,
    scratch: Scratch,
}

impl Meeting {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let flags = ["--demo", "--cores", "0"];
        let daemon = Daemon::start(&scratch.join("data"), &flags);
        let id = daemon.create_meeting();
        Self { daemon, id, scratch }
    }

    fn token(&self, name: &str) -> String {
        self.daemon.session_token(&self.id, name)
    }

    /// Where the one core takes media, as it tells a participant who leaves again: not at 127.0.0.1, where these clients, which
    /// gather addresses of interfaces, do not look.
    async fn media_address(&self) -> String {
        let mut signalling =
            Signalling::open(self.daemon.address, &self.token("Scout"), "").await.expect("let in");
        signalling.join().await;
        let sdp =
            signalling.until(|reply| if let Reply::Offer(offer) = reply { Some(offer.sdp) } else { None });
        let sdp = sdp.await;
        signalling.send(Request::Leave(proto::LeaveRequest::default())).await;
        let candidates = sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
        let addresses = candidates.filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            Some((words.get(4)?.parse::<Ipv4Addr>().ok()?, (*words.get(5)?).to_owned()))
        });
        let found = addresses.filter(|(address, _)| !address.is_loopback()).collect::<Vec<_>>();
        let (address, port) = found.first().expect("an address of this host other than loopback");
        format!("{address}:{port}")
    }

    /// The value of a counter with these words in its name and labels, summed.
    fn counted(&self, words: &[&str]) -> u64 {
        let metrics = self.daemon.call("GET", "/metrics", None).text();
        let lines = metrics.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// Waits until `done`; everybody's state is told when that takes too long, or when somebody has ended.
async fn until(
    what: &str,
    patience: Duration,
    clients: &mut [Client],
    mut done: impl FnMut(&[Client]) -> bool,
) {
    let begun = Instant::now();
    while !done(clients) {
        let ended = clients.iter_mut().any(|one| one.child.try_wait().expect("our own child").is_some());
        if ended || begun.elapsed() > patience {
            let states: Vec<String> = clients.iter().map(Client::state).collect();
            panic!("{what}: not after {:?}\n{}", begun.elapsed(), states.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Frames per second of each pair while `seconds` pass.
async fn rates(seconds: u64, clients: &[Client], pairs: &[(usize, &str, &str)]) -> Vec<f64> {
    let frames = || pairs.iter().map(|(index, from, kind)| clients[*index].got(from, kind).frames);
    let (begun, before): (_, Vec<u64>) = (Instant::now(), frames().collect());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let passed = begun.elapsed().as_secs_f64();
    frames().zip(before).map(|(now, before)| (now - before) as f64 / passed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn aiortc_and_gstreamer_see_and_hear_each_other() {
    let meeting = Meeting::new("clients-meet");
    let publishes = ["--video-kbps", "300", "--audio"];
    let mut clients = vec![
        Client::start(&meeting, Kind::Aiortc, "Ada", &publishes),
        Client::start(&meeting, Kind::GStreamer, "Gus", &publishes),
    ];
    // Three seconds of picture and sound, both ways.
    let sees = |client: &Client, from: &str| {
        let (video, audio) = (client.got(from, "video"), client.got(from, "audio"));
        video.frames >= 45 && video.width == 320 && audio.frames >= 150 && audio.energy > 0.01
    };
    until("both see and hear", PATIENCE, &mut clients, |all| sees(&all[0], "Gus") && sees(&all[1], "Ada"))
        .await;
    // Latecomers of both kinds need a keyframe of both, and the first two an offer with nothing new for them.
    clients.push(Client::start(&meeting, Kind::Aiortc, "Una", &[]));
    clients.push(Client::start(&meeting, Kind::GStreamer, "Guy", &[]));
    until("latecomers see and hear", PATIENCE, &mut clients, |all| {
        all[2..].iter().all(|one| sees(one, "Gus") && sees(one, "Ada"))
    })
    .await;
    let before = clients[0].got("Gus", "video").frames;
    for latecomer in clients.split_off(2) {
        latecomer.leave().await;
    }
    until("the picture goes on", PATIENCE, &mut clients, |all| {
        all[0].got("Gus", "video").frames > before + 30
    })
    .await;
    for reason in ["bad_tag", "unknown_payload_type", "unknown_ssrc"] {
        assert_eq!(meeting.counted(&["kaigi_packets_dropped_total", reason]), 0, "{reason}");
    }
    for client in clients {
        client.leave().await;
    }
    let log = meeting.daemon.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// The relay's process; see `kaigi-relay`.
struct Relay {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Relay {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kaigi-relay"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the relay runs");
        let input = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, answers }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.input, "{request}").expect("the relay reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the relay answers");
        let answer: Value = serde_json::from_str(&line).expect("an answer is JSON");
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer
    }

    /// A way to the server: the address that a client is to send to.
    fn access(&mut self, name: &str, server: &str) -> String {
        let (listen, _) = server.rsplit_once(':').expect("an address with a port");
        let request = json!({ "do": "add", "name": name, "listen": listen, "server": server, "seed": 1 });
        self.ask(&request)["address"].as_str().expect("an address").to_owned()
    }

    /// Changes what comes to the client; an empty link is perfect.
    fn set(&mut self, name: &str, down: &Value) {
        self.ask(&json!({ "do": "set", "name": name, "down": down }));
    }

    /// Bytes that the server has offered to the link towards the client so far.
    fn offered(&mut self, name: &str) -> u64 {
        let counts = self.ask(&json!({ "do": "counts", "name": name }));
        counts["down"]["sent_bytes"].as_u64().expect("a number")
    }

    /// The same in kilobits per second while a second passes, for each name.
    async fn offered_kbps(&mut self, names: &[&str]) -> Vec<f64> {
        let begun = Instant::now();
        let before: Vec<u64> = names.iter().map(|name| self.offered(name)).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let passed = begun.elapsed().as_secs_f64();
        names
            .iter()
            .zip(before)
            .map(|(name, was)| (self.offered(name) - was) as f64 / 125.0 / passed)
            .collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a narrow link carries, and what may be offered to it once that is known.
const NARROW_KBPS: f64 = 400.0;
const OFFERED_KBPS_MAX: f64 = 1.25 * NARROW_KBPS;
/// The two behind narrow links, and how soon less is offered. Who only reports does so up to nine seconds apart (RFC 3550 section
/// 6.2), and two reports may be needed.
const NARROW: [(&str, Kind, Duration); 2] = [
    ("Estimating", Kind::Aiortc, Duration::from_secs(20)),
    ("Reporting", Kind::GStreamer, Duration::from_secs(45)),
];
/// Without probes a link is found by climbing, a few percent per second.
const BACK_WITHIN: Duration = Duration::from_secs(150);

/// A small camera with sound and a large one; of a narrow link only the small one and the sound fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_link_costs_its_owner_a_picture_no_sound_and_nobody_else_anything() {
    let meeting = Meeting::new("clients-narrow");
    let mut relay = Relay::start();
    let server = meeting.media_address().await;
    let mut clients = vec![
        Client::start(&meeting, Kind::Aiortc, "Small", &["--video-kbps", "100", "--audio"]),
        Client::start(&meeting, Kind::GStreamer, "Large", &["--video-kbps", "400"]),
        Client::start(&meeting, Kind::GStreamer, "Wide", &[]),
    ];
    for (name, kind, _) in NARROW {
        let route = relay.access(name, &server);
        clients.push(Client::start(&meeting, kind, name, &["--route", &route]));
    }
    let names = NARROW.map(|(name, ..)| name);
    let receivers = [2, 3, 4];
    let pairs: Vec<(usize, &str, &str)> = receivers
        .iter()
        .flat_map(|index| {
            [("Small", "audio"), ("Small", "video"), ("Large", "video")].map(|(a, b)| (*index, a, b))
        })
        .collect();
    // More frames of everything in the last two seconds than any pause allows, and more than the narrow links will carry.
    let begun = Instant::now();
    let before = loop {
        let fps = rates(2, &clients, &pairs).await;
        let before = relay.offered_kbps(&names).await;
        if fps.iter().all(|fps| *fps > 8.0) && before.iter().all(|kbps| *kbps > OFFERED_KBPS_MAX) {
            break before;
        }
        let late = begun.elapsed() > BACK_WITHIN;
        let what = format!("everything flows: {fps:.1?}, {before:.0?} kbit/s");
        until(&what, Duration::ZERO, &mut clients, |_| !late).await;
    };

    for name in names {
        relay.set(name, &json!({ "rate_bps": NARROW_KBPS as u64 * 1_000, "queue_us_max": 300_000 }));
    }
    let begun = Instant::now();
    let mut offered: Vec<Vec<f64>> = Vec::new();
    let mut below = [None; NARROW.len()];
    while below.contains(&None) {
        offered.push(relay.offered_kbps(&names).await);
        for (nth, (name, _, within)) in NARROW.iter().enumerate() {
            // Twice in a row: once may be a pause of a publisher.
            let calm = offered.iter().rev().take(2).filter(|kbps| kbps[nth] < OFFERED_KBPS_MAX).count() == 2;
            if calm && below[nth].is_none() {
                below[nth] = Some(begun.elapsed());
            }
            assert!(
                below[nth].is_some() || begun.elapsed() < *within,
                "{name}: {offered:.0?} kbit/s are offered"
            );
        }
    }
    let limited = rates(5, &clients, &pairs).await;
    println!(
        "{names:?}: {before:.0?} kbit/s, then by the second {offered:.0?}, below after {below:.1?}; {limited:.1?}"
    );
    // A publisher's own rate varies on a busy machine.
    assert!(limited[..3].iter().all(|fps| *fps > 8.0), "others notice nothing: {limited:.1?}");
    assert!(!clients[2].got("Large", "video").paused, "for others nothing is paused");
    for (nth, (name, ..)) in NARROW.iter().enumerate() {
        let [sound, _, large] = limited[3 + 3 * nth..][..3] else { unreachable!("three per receiver") };
        assert!(sound > 40.0, "{name}: sound goes on: {limited:.1?}");
        let paused = clients[3 + nth].got("Large", "video").paused;
        assert!(paused && large < 2.0, "{name}: what does not fit is paused: {limited:.1?}");
        relay.set(name, &json!({}));
    }
    let begun = Instant::now();
    let frames: Vec<u64> = clients.iter().map(|one| one.got("Large", "video").frames).collect();
    until("everything is back", BACK_WITHIN, &mut clients, |all| {
        all[3..].iter().zip(&frames[3..]).all(|(one, before)| {
            let got = one.got("Large", "video");
            !got.paused && got.frames > before + 30
        })
    })
    .await;
    println!("back {:.1?} after the limit was lifted", begun.elapsed());
    for client in clients {
        client.leave().await;
    }
    let log = meeting.daemon.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}
