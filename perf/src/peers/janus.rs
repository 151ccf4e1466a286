//! Janus with its videoroom plugin, as Debian packages it, signalled over its HTTP API.
//!
//! Configured as its authors advise for throughput: one event loop (the harness gives it one CPU), no other plugin. Its
//! SRTP library is Debian's rebuilt with OpenSSL where that can be done; Debian's own links NSS and is several times slower.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dataplane::base::counters::Counters;
use dataplane::base::time::Micros;
use serde_json::{Value, json};

use super::http::Http;
use super::process::Process;
use super::session::Sessions;
use crate::forward::link::Link;
use crate::forward::options::{Kind, Options};
use crate::forward::server::{Joined, Place, Server};
use crate::meter::Meter;

const NAME: &str = "janus";
const PORT: u16 = 8088;
/// It loads certificates and plugins in less.
const START: Duration = Duration::from_secs(20);
/// Events of other transactions that are skipped while one is waited for.
const EVENTS_SKIPPED_MAX: usize = 10_000;

/// `JANUS_VIDEOROOM_ERROR_NO_SUCH_FEED`.
const NO_SUCH_FEED: u64 = 428;

/// The videoroom plugin does not do what it was asked for.
#[derive(Debug)]
struct Refused {
    code: u64,
    error: String,
}

impl Refused {
    fn code_of(error: &anyhow::Error) -> Option<u64> {
        error.downcast_ref::<Self>().map(|refused| refused.code)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Janus's videoroom refuses: {} ({})", self.error, self.code)
    }
}

impl std::error::Error for Refused {}

/// What is installed.
pub struct Installation {
    program: PathBuf,
    /// Directory of plugins and transports.
    library: PathBuf,
    version: String,
    /// Directory of the rebuilt SRTP library.
    srtp: Option<PathBuf>,
}

impl Installation {
    /// Finds it, and builds the SRTP library into `directory` if it is not there yet. The second value says what is not as it should be.
    pub fn find(directory: &Path) -> Result<(Self, Option<String>)> {
        let program = ["/usr/bin/janus", "/usr/local/bin/janus", "/opt/janus/bin/janus"]
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file());
        let program =
            program.ok_or_else(|| anyhow!("Janus is not installed: install the Debian package janus"))?;
        let multiarch = format!("/usr/lib/{}-linux-gnu/janus", std::env::consts::ARCH);
        let library = [multiarch.as_str(), "/usr/lib/janus", "/usr/local/lib/janus", "/opt/janus/lib/janus"]
            .iter()
            .map(PathBuf::from)
            .find(|path| path.join("plugins/libjanus_videoroom.so").is_file())
            .ok_or_else(|| anyhow!("Janus's videoroom plugin is not installed"))?;
        let output = Command::new(&program).arg("-V").output().context("cannot run janus")?;
        let version = version(&String::from_utf8_lossy(&output.stdout));
        let built = directory.join("libsrtp2.so.1");
        let mut note = None;
        if !built.is_file() {
            eprintln!("kaigi-perf: building libsrtp2 with OpenSSL for Janus");
            let script = Command::new("perf/peers/libsrtp.sh").arg(directory).output();
            note = match script {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(error) => Some(format!("perf/peers/libsrtp.sh: {error}")),
            };
        }
        let srtp = match built.is_file() {
            true => Some(fs::canonicalize(directory).context("the directory of libsrtp2 has gone")?),
            false => None,
        };
        let note = note.map(|why| {
            format!("Janus uses the system's libsrtp2, which on Debian links NSS and is several times slower ({why})")
        });
        Ok((Self { program, library, version, srtp }, note))
    }

    /// Its version and SRTP library.
    fn name(&self) -> String {
        let srtp = if self.srtp.is_some() { "libsrtp with OpenSSL" } else { "the system's libsrtp" };
        format!("janus {} (videoroom, one event loop, {srtp})", self.version)
    }
}

fn version(text: &str) -> String {
    let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.map_or("of unknown version", |(version, _)| version).to_owned()
}

/// The running server.
pub struct Janus {
    options: Options,
    name: String,
    process: Process,
    sessions: Sessions,
    http: Http,
    session: String,
    transaction: u64,
    rooms: u32,
    /// Dropped after the process.
    _scratch: Scratch,
}

/// Configuration and log, removed on drop.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Janus {
    /// Starts it. The calling thread must reach the server's side.
    pub fn start(options: &Options, link: &Link, installation: &Installation) -> Result<Self> {
        let scratch = Scratch(std::env::temp_dir().join(format!("kaigi-perf-janus-{}", std::process::id())));
        let directory = &scratch.0;
        let address = SocketAddr::new(link.server(), PORT);
        configure(directory, &installation.library, address)?;
        let mut command = Command::new(&installation.program);
        command.arg("-F").arg(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(path) = &installation.srtp {
            command.env("LD_LIBRARY_PATH", path);
        }
        let mut process = Process::start(NAME, link, options.cpu_server, &mut command)?;
        let mut http = link.on_clients(|| connect(address, &mut process, directory))?;
        process.settle();
        let created = http.post("/janus", &json!({ "janus": "create", "transaction": "0" }))?;
        let session = format!("/janus/{}", id(&created)?);
        Ok(Self {
            options: options.clone(),
            name: installation.name(),
            process,
            sessions: Sessions::new(options, link.server())?,
            http,
            session,
            transaction: 0,
            rooms: 0,
            _scratch: scratch,
        })
    }

    fn post(&mut self, path: &str, mut request: Value) -> Result<Value> {
        self.transaction += 1;
        request["transaction"] = self.transaction.to_string().into();
        let reply = self.http.post(path, &request)?;
        if reply["janus"] == "error" {
            bail!("Janus refuses: {}", reply["error"]["reason"]);
        }
        Ok(reply)
    }

    fn attach(&mut self) -> Result<String> {
        let session = self.session.clone();
        let attached =
            self.post(&session, json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" }))?;
        Ok(format!("{session}/{}", id(&attached)?))
    }

    /// Sends a message to the plugin and waits for its event.
    fn message(&mut self, handle: &str, body: &Value, jsep: Option<Value>) -> Result<Value> {
        let mut request = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        let mut reply = self.post(handle, request)?;
        let (wanted, poll) = (self.transaction.to_string(), self.session.clone());
        for _ in 0..EVENTS_SKIPPED_MAX {
            let is_ours = reply["transaction"] == wanted.as_str() && reply["janus"] != "ack";
            if is_ours {
                let data = &reply["plugindata"]["data"];
                if let Some(error) = data["error"].as_str() {
                    let code = data["error_code"].as_u64().unwrap_or(0);
                    return Err(Refused { code, error: error.to_owned() }.into());
                }
                return Ok(reply);
            }
            reply = self.http.get(&poll)?;
        }
        bail!("Janus does not answer")
    }

    /// Makes the rooms up to a meeting's.
    fn make_room(&mut self, place: Place) -> Result<()> {
        while self.rooms <= place.meeting {
            let handle = self.attach()?;
            let audio = self.options.kind == Kind::Audio;
            let room = json!({
                "request": "create", "room": u64::from(self.rooms) + 1, "publishers": 5_000, "bitrate": 0,
                "audiocodec": "opus", "videocodec": "vp8", "opus_fec": audio, "notify_joining": false,
            });
            self.message(&handle, &room, None)?;
            self.rooms += 1;
        }
        Ok(())
    }
}

impl Server for Janus {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn join(&mut self, place: Place, local: SocketAddr, now: Micros) -> Result<Joined> {
        self.make_room(place)?;
        let handle = self.attach()?;
        let feed = |local: u32| local + 1;
        if place.publishes {
            let offer = self.sessions.session(place, local).offer();
            let body = json!({
                "request": "joinandconfigure", "ptype": "publisher", "room": place.room(), "id": feed(place.local),
            });
            let reply = self.message(&handle, &body, Some(json!({ "type": "offer", "sdp": offer })))?;
            return self.sessions.session(place, local).publisher(now, sdp(&reply)?);
        }
        let publishers: Vec<u32> = place.receives(&self.options).collect();
        let streams: Vec<Value> = publishers.iter().map(|&local| json!({ "feed": feed(local) })).collect();
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": place.room(), "streams": streams,
        });
        let deadline = Instant::now() + START;
        let reply = loop {
            match self.message(&handle, &body, None) {
                // What a publisher offered is worked on after it was answered.
                Err(error) if Refused::code_of(&error) == Some(NO_SUCH_FEED) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                reply => break reply?,
            }
        };
        let session = self.sessions.session(place, local);
        let (answer, joined) = session.subscriber(now, sdp(&reply)?, &publishers)?;
        let jsep = json!({ "type": "answer", "sdp": answer });
        self.message(&handle, &json!({ "request": "start" }), Some(jsep))?;
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

/// Writes the configuration: folders with nothing but the videoroom and the HTTP transport.
fn configure(directory: &Path, library: &Path, address: SocketAddr) -> Result<()> {
    let _ = fs::remove_dir_all(directory);
    for (folder, file) in [("plugins", "libjanus_videoroom.so"), ("transports", "libjanus_http.so")] {
        let folder_here = directory.join(folder);
        fs::create_dir_all(&folder_here).with_context(|| format!("cannot make {}", folder_here.display()))?;
        symlink(library.join(folder).join(file), folder_here.join(file))?;
    }
    fs::create_dir_all(directory.join("none"))?;
    let path = directory.display();
    let main = format!(
        "general: {{\n\
         configs_folder = \"{path}\"\nplugins_folder = \"{path}/plugins\"\ntransports_folder = \"{path}/transports\"\n\
         events_folder = \"{path}/none\"\nloggers_folder = \"{path}/none\"\n\
         log_to_stdout = false\nlog_to_file = \"{path}/janus.log\"\ndebug_level = 3\n\
         session_timeout = 0\nevent_loops = 1\n}}\n\
         media: {{\nipv6 = false\n}}\n\
         nat: {{\nice_tcp = false\nfull_trickle = false\nice_enforce_list = \"{}\"\n}}\n",
        address.ip()
    );
    let http = format!(
        "general: {{\njson = \"compact\"\nbase_path = \"/janus\"\nhttp = true\nport = {}\nip = \"{}\"\nhttps = false\n}}\n\
         admin: {{\nadmin_http = false\nadmin_https = false\n}}\n",
        address.port(),
        address.ip()
    );
    fs::write(directory.join("janus.jcfg"), main)?;
    fs::write(directory.join("janus.transport.http.jcfg"), http)?;
    fs::write(directory.join("janus.plugin.videoroom.jcfg"), "general: {\n}\n")?;
    Ok(())
}

/// Waits until it answers.
fn connect(address: SocketAddr, process: &mut Process, directory: &Path) -> Result<Http> {
    let deadline = Instant::now() + START;
    loop {
        if let Ok(mut http) = Http::connect(address)
            && http.get("/janus/info").is_ok()
        {
            return Ok(http);
        }
        let log = || fs::read_to_string(directory.join("janus.log")).unwrap_or_default();
        process.check().with_context(log)?;
        if Instant::now() > deadline {
            bail!("Janus does not answer at {address}: {}", log());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn id(reply: &Value) -> Result<u64> {
    reply["data"]["id"].as_u64().ok_or_else(|| anyhow!("Janus answers without an id: {reply}"))
}

fn sdp(reply: &Value) -> Result<&str> {
    reply["jsep"]["sdp"].as_str().ok_or_else(|| anyhow!("Janus answers without a description: {reply}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_stands_in_brackets() {
        assert_eq!(version("Janus version: 1102 (1.1.2)\nJanus commit: not-a-git-repo\n"), "1.1.2");
        assert_eq!(version("something else"), "of unknown version");
    }

    #[test]
    fn the_configuration_holds_one_event_loop_one_plugin_and_our_address() {
        let directory = std::env::temp_dir().join(format!("kaigi-perf-configure-{}", std::process::id()));
        let address = "10.0.0.1:8088".parse().expect("an address");
        configure(&directory, Path::new("/usr/lib/janus"), address).expect("the directory is ours");
        let main = fs::read_to_string(directory.join("janus.jcfg")).expect("it was written");
        let plugins = fs::read_dir(directory.join("plugins")).expect("it was made").count();
        fs::remove_dir_all(&directory).expect("we made it");
        assert!(main.contains("event_loops = 1") && main.contains("ice_enforce_list = \"10.0.0.1\""));
        assert_eq!(plugins, 1);
    }
}
