//! Clients we did not write publish by WHIP and play by WHEP through the real daemon: ffmpeg's muxer, aiortc, GStreamer's webrtcbin.
//!
//! `tools/setup.sh test` brings them. Each runs as a process that prints a line of JSON for what happens and ends its session when its
//! standard input closes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_response::Message as Reply;
use serde_json::Value;
use tests::daemon::{Daemon, Scratch};
use tests::livekit::Signalling;

/// Python and its imports alone take seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// A client as a process.
struct Client {
    name: &'static str,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Client {
    /// Starts one of `tests/clients`.
    fn python(script: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new(tests::python::interpreter());
        command.arg(repository().join("tests/clients").join(script)).args(arguments);
        Self::start(script, command)
    }

    fn start(name: &'static str, mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client is installed");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, heard) = (child.stdout.take().expect("piped"), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.lock().expect("no panic").push(line);
            }
        });
        Self { name, child, lines }
    }

    /// The newest line once it is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let last = self.lines.lock().expect("no panic").last().cloned().unwrap_or_default();
            if wanted(&last) {
                return last;
            }
            let ended = self.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "{} ended ({ended:?}) before {what}: {last}", self.name);
            assert!(begun.elapsed() < PATIENCE, "{}: no {what}: {last}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many frames it has decoded by now.
    fn frames(&self) -> u64 {
        let lines = self.lines.lock().expect("no panic");
        lines.last().and_then(|line| line["frames"].as_u64()).unwrap_or(0)
    }

    /// Waits for more frames than it has now.
    fn until_more(&mut self, more: u64) -> Value {
        let before = self.frames();
        self.until("picture", |line| line["frames"].as_u64().is_some_and(|frames| frames >= before + more))
    }

    /// Lets it end its session; the last thing it says.
    fn end(mut self) -> Value {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        while self.child.try_wait().expect("our own child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        // Its last line may still be on its way.
        std::thread::sleep(Duration::from_millis(200));
        self.lines.lock().expect("no panic").last().cloned().unwrap_or_default()
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
    _scratch: Scratch,
}

impl Meeting {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let daemon = Daemon::start(&scratch.join("data"), &["--demo", "--cores", "0"]);
        let id = daemon.create_meeting();
        Self { daemon, id, _scratch: scratch }
    }

    fn token(&self, name: &str) -> String {
        self.daemon.session_token(&self.id, name)
    }

    fn door(&self, door: &str) -> String {
        format!("http://{}/{door}/{}", self.daemon.address, self.id)
    }

    fn publish(&self, name: &str, brightness: &str) -> Client {
        Client::python("whip.py", &[&self.door("whip"), &self.token(name), brightness])
    }

    fn play(&self, script: &'static str) -> Client {
        let mut player = Client::python(script, &[&self.door("whep"), &self.token(script)]);
        player.until("session", |line| line["opened"].is_string() || line["frames"].is_u64());
        player
    }

    /// ffmpeg with a test picture as H264 and a tone.
    fn ffmpeg(&self, name: &str) -> Client {
        let asked = Command::new(tests::python::interpreter())
            .args(["-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"])
            .output()
            .expect("python runs");
        let program = String::from_utf8(asked.stdout).expect("a path");
        let mut command = Command::new(program.trim());
        command.args(["-hide_banner", "-loglevel", "warning", "-re"]);
        command.args([
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=320x180:rate=15",
            "-f",
            "lavfi",
            "-i",
            "sine=sample_rate=48000",
        ]);
        command.args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-profile:v",
            "baseline",
        ]);
        command.args(["-pix_fmt", "yuv420p", "-g", "15", "-bf", "0", "-c:a", "libopus", "-ac", "2"]);
        // We are the DTLS server: ffmpeg's other role is refused.
        command.args(["-f", "whip", "-whip_flags", "dtls_active", "-authorization", &self.token(name)]);
        command.arg(self.door("whip"));
        Client::start("ffmpeg", command)
    }

    fn state(&self, name: &str) -> String {
        let path = format!("/api/v1/meetings/{}/participants", self.id);
        let list = self.daemon.call("GET", &path, None).json();
        let of = list["items"].as_array().expect("a list").iter().find(|item| item["name"] == name);
        of.expect("it joined")["state"].as_str().expect("a state").to_owned()
    }

    fn until_state(&self, name: &str, wanted: &str) {
        let begun = Instant::now();
        while self.state(name) != wanted {
            assert!(begun.elapsed() < PATIENCE, "{name} is not {wanted} but {}", self.state(name));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn encoders_publish_and_players_are_shown_what_they_can_decode() {
    let meeting = Meeting::new("whip-clients");
    let mut aiortc = meeting.play("whep.py");
    let mut gstreamer = meeting.play("whep_gstreamer.py");

    // ffmpeg sends H264, which aiortc decodes and our GStreamer player does not take.
    let mut ffmpeg = meeting.ffmpeg("Encoder");
    aiortc.until_more(15);
    assert_eq!(gstreamer.frames(), 0, "it waits");

    let mut grey = meeting.publish("Grey", "200");
    grey.until("session", |line| line["trickled"] == 204);
    assert_eq!([meeting.state("Encoder"), meeting.state("Grey")], ["connected", "connected"]);
    gstreamer.until_more(15);
    let heard = gstreamer.until("sound", |line| line["sounds"].as_u64() > Some(20));
    println!("GStreamer: {heard}");
    let is_grey = |line: &Value| line["brightness"].as_i64().is_some_and(|b| (195..=205).contains(&b));
    let seen = aiortc.until_more(5);
    assert!(!is_grey(&seen), "nobody speaks: who was first stays: {seen}");

    // ffmpeg ends its session by itself.
    ffmpeg.child.stdin.as_mut().expect("piped").write_all(b"q").expect("it runs");
    ffmpeg.end();
    meeting.until_state("Encoder", "left");
    aiortc.until("the other picture", is_grey);
    let seen = aiortc.until_more(15);
    assert!(is_grey(&seen) && seen["backwards"] == 0, "{seen}");
    assert!(seen["sound"].as_f64() > Some(1.0), "{seen}");
    println!("aiortc: {seen}");

    for player in [aiortc, gstreamer] {
        assert_eq!(player.end()["closed"], 200);
    }
    assert_eq!(grey.end()["closed"], 200);
    meeting.until_state("Grey", "left");
}

/// How the room is told that somebody is gone.
async fn until_gone(observer: &mut Signalling, name: &str) -> proto::DisconnectReason {
    observer
        .until(|reply| {
            let Reply::Update(update) = reply else { return None };
            let gone = |info: &&proto::ParticipantInfo| {
                info.name == name && info.state() == proto::participant_info::State::Disconnected
            };
            update.participants.iter().find(gone).map(proto::ParticipantInfo::disconnect_reason)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_leaves_after_half_a_minute() {
    let meeting = Meeting::new("whip-killed");
    let mut player = meeting.play("whep.py");
    let mut publisher = meeting.publish("Encoder", "200");
    player.until_more(15);
    publisher.child.kill().expect("it runs");
    let killed = Instant::now();
    // An observer without media is itself let stay for half a minute, and nothing is said for longer than one waits for a word.
    tokio::time::sleep(Duration::from_secs(18)).await;
    let token = meeting.token("Observer");
    let mut observer = Signalling::open(meeting.daemon.address, &token, "").await.expect("let in");
    let others = observer.join().await.other_participants;
    assert!(others.iter().any(|info| info.name == "Encoder"), "{others:?}");
    assert_eq!(meeting.state("Encoder"), "connected");
    let reason = tokio::time::timeout(Duration::from_secs(30), until_gone(&mut observer, "Encoder")).await;
    println!("gone after {:.1} s: {reason:?}", killed.elapsed().as_secs_f64());
    assert!(reason.is_ok(), "45 s after its end it is still there");
    meeting.until_state("Encoder", "left");
    assert_eq!(player.end()["closed"], 200);
}
