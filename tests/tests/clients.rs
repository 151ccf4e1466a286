//! Clients that give no transport-wide feedback meet through the real daemon: aiortc, which answers with REMB, NACK and reports, and
//! GStreamer's webrtcbin, which has no header extensions and answers with reports alone.
//!
//! `tests/clients` has both as small Python programs on one signalling driver; each prints twice a second what it has received. Pictures
//! are judged by frames that were decoded, sound by the energy of its samples.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
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
        let python = folder.join(".venv/bin/python");
        assert!(python.exists(), "the Python packages are missing: run tools/setup.sh test");
        let program = match kind {
            Kind::Aiortc => "aiortc_client.py",
            Kind::GStreamer => "gstreamer_client.py",
        };
        let log = meeting.scratch.join(&format!("{name}.log"));
        let mut child = Command::new(python)
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
        let flags = ["--demo", "--cores", "0", "--node-ip", "127.0.0.1"];
        let daemon = Daemon::start(&scratch.join("data"), &flags);
        let body = json!({
            "topic": "Test", "start_time": "2030-01-01T00:00:00Z", "duration": 30, "recording_enabled": false
        });
        let id = daemon.call_json("POST", "/api/v1/meetings", None, &body).field("id");
        Self { daemon, id, scratch }
    }

    fn token(&self, name: &str) -> String {
        let path = format!("/api/v1/meetings/{}/join", self.id);
        self.daemon.call_json("POST", &path, None, &json!({ "name": name })).field("session_token")
    }

    /// Where the one core takes media, as it tells a participant who leaves again.
    async fn media_address(&self) -> String {
        let mut signalling =
            Signalling::open(self.daemon.address, &self.token("Scout"), "").await.expect("let in");
        signalling.join().await;
        let sdp = signalling.until(|reply| if let Reply::Offer(offer) = reply { Some(offer.sdp) } else { None });
        let sdp = sdp.await;
        signalling.send(Request::Leave(proto::LeaveRequest::default())).await;
        let candidate = sdp.lines().find(|line| line.starts_with("a=candidate:")).expect("a candidate");
        let words: Vec<&str> = candidate.split(' ').collect();
        format!("{}:{}", words[4], words[5])
    }

    /// The value of a counter with these words in its name and labels, summed.
    fn counted(&self, words: &[&str]) -> u64 {
        let metrics = self.daemon.call("GET", "/metrics", None).text();
        let lines = metrics.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// Waits until `done`; everybody's state is told when that takes too long, or when somebody has ended.
async fn until(what: &str, patience: Duration, clients: &mut [Client], mut done: impl FnMut(&[Client]) -> bool) {
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
    until("both see and hear", PATIENCE, &mut clients, |all| sees(&all[0], "Gus") && sees(&all[1], "Ada")).await;
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
    until("the picture goes on", PATIENCE, &mut clients, |all| all[0].got("Gus", "video").frames > before + 30).await;
    for reason in ["bad_tag", "unknown_payload_type", "unknown_ssrc"] {
        assert_eq!(meeting.counted(&["kaigi_packets_dropped_total", reason]), 0, "{reason}");
    }
    for client in clients {
        client.leave().await;
    }
    let log = meeting.daemon.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}
