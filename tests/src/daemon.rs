//! The real `kaigid` as a child process on loopback ports of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Answer};

/// Longest a healthy daemon takes to start or stop on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, removed with it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A fresh directory.
    ///
    /// # Panics
    /// When the temporary directory is not writable.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kaigi-test-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// A path inside.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The daemon's program: `KAIGI_BIN/kaigid` where that is given, else built here in the profile of this test.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            if let Some(folder) = std::env::var_os("KAIGI_BIN") {
                return Path::new(&folder).join("kaigid");
            }
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "--locked", "-p", "controlplane", "--bin", "kaigid"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
            assert!(built.success(), "kaigid does not build");
            // The test itself is target/<profile>/deps/<name>.
            let test = std::env::current_exe().expect("a running program has a path");
            let folder = test.parent().and_then(Path::parent).expect("cargo puts tests into deps/");
            folder.join("kaigid")
        })
        .clone()
}

/// A command of the daemon's program without the environment's configuration.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAIGI_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command of the daemon's program to its end.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

/// Asserts that the last line of what a command complained is the daemon's own and holds all of `words`; lines before it are its log's.
///
/// # Panics
/// When it is not so.
pub fn assert_one_line(stderr: &[u8], words: &[&str]) {
    let text = String::from_utf8_lossy(stderr);
    let own: Vec<&str> = text.lines().filter(|line| line.starts_with("kaigid: ")).collect();
    assert_eq!(own.len(), 1, "{text}");
    assert_eq!(text.lines().last(), Some(own[0]), "{text}");
    for word in words {
        assert!(own[0].contains(word), "{word:?} is not in {text}");
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    /// What it prints after the first line.
    output: Mutex<Option<BufReader<ChildStdout>>>,
    /// Where it answers.
    pub address: SocketAddr,
    /// The line it printed when it was ready.
    pub ready_line: String,
    /// Its data directory.
    pub data: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on `data` with extra flags and waits until it is ready.
    ///
    /// # Panics
    /// With its log, when it does not become ready.
    #[must_use]
    pub fn start(data: &Path, flags: &[&str]) -> Self {
        Self::listening(data, "127.0.0.1:0", flags, &[])
    }

    /// The same with variables of its own.
    ///
    /// # Panics
    /// With its log, when it does not become ready.
    #[must_use]
    pub fn start_with(data: &Path, flags: &[&str], variables: &[(&str, &Path)]) -> Self {
        Self::listening(data, "127.0.0.1:0", flags, variables)
    }

    /// The same, told that clients reach it by this scheme, as behind a proxy on this host.
    ///
    /// # Panics
    /// With its log, when it does not become ready.
    #[must_use]
    pub fn start_public(data: &Path, scheme: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        Self::listening(data, &address, &["--public-url", &format!("{scheme}://{address}")], &[])
    }

    fn listening(data: &Path, address: &str, flags: &[&str], variables: &[(&str, &Path)]) -> Self {
        let log = data.with_extension("log");
        let output =
            File::options().create(true).append(true).open(&log).expect("a log beside the data directory");
        let mut child =
            command(&["serve", "--listen", address, "--udp-port", "0", "--tcp-port", "0", "--data"])
                .arg(data)
                .args(flags)
                .envs(variables.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(output)
                .spawn()
                .expect("the program runs");
        let mut ready_line = String::new();
        let mut output = child.stdout.take().map(BufReader::new);
        if let Some(output) = &mut output {
            let _ = output.read_line(&mut ready_line);
        }
        let ready_line = ready_line.trim().to_owned();
        let address = ready_line
            .split_once("://")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("not ready: {ready_line:?}\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Self { child, output: Mutex::new(output), address, ready_line, data: data.to_owned(), log }
    }

    /// The next line it prints; waits for it.
    ///
    /// # Panics
    /// When it ended.
    #[must_use]
    pub fn next_line(&self) -> String {
        let mut line = String::new();
        if let Some(output) = self.output.lock().expect("no reader panicked").as_mut() {
            let _ = output.read_line(&mut line);
        }
        assert!(line.ends_with('\n'), "it printed no more: {line:?}\n{}", self.log());
        line.trim().to_owned()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9, then waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name: TERM, HUP.
    ///
    /// # Panics
    /// When there is no such signal or no such process.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "kill -s {name}");
    }

    /// Waits until it has exited by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An access token for `user`.
    ///
    /// # Panics
    /// When the daemon gives none.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        let data = self.data.to_str().expect("a test's path is ASCII");
        let output = run(&["token", "--user", user, "--data", data]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Creates a meeting in demo mode; its id.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn create_meeting(&self) -> String {
        self.create_hosted_meeting().0
    }

    /// The same, with the token of its host.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn create_hosted_meeting(&self) -> (String, String) {
        let body = serde_json::json!({
            "topic": "Test", "start_time": "2030-01-01T00:00:00Z", "duration": 30, "recording_enabled": false
        });
        let created = self.call_json("POST", "/api/v1/meetings", None, &body);
        (created.field("id"), created.field("host_token"))
    }

    /// Joins a meeting as a guest; the session token for its media doors.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn session_token(&self, meeting: &str, name: &str) -> String {
        let path = format!("/api/v1/meetings/{meeting}/join");
        self.call_json("POST", &path, None, &serde_json::json!({ "name": name })).field("session_token")
    }

    /// A request without a body.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn call(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        self.send(method, path, token, &[], b"")
    }

    /// A request with a JSON body.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn call_json(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.send(method, path, token, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// A request with everything given.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut all = headers.to_vec();
        if let Some(bearer) = &bearer {
            all.push(("authorization", bearer));
        }
        http::request(self.address, method, path, &all, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
