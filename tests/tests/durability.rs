//! What was acknowledged survives kill -9 and power loss, at whatever moment they come, and no batch is there in part.
//!
//! A few clients create, rename, join, end and delete meetings as fast as they can; the daemon is killed at a random moment;
//! `kaigid check` must find nothing that does not fit together, and a new daemon on the same data must show every change that was
//! answered. `KAIGI_SOAK_ROUNDS` sets the number of rounds. For power loss a small library remembers what was not
//! synced, bytes and names, and the test takes it away (`tests::power_loss`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE, Scratch, run};
use tests::home::MEETINGS;
use tests::http::{self, Answer};
use tests::power_loss::{self, Lost};

const CLIENTS: usize = 4;
/// The kill comes within this time after the first acknowledgement.
const KILL_WITHIN_MS: u64 = 400;

/// A meeting as its only client knows it.
#[derive(Clone, Debug)]
struct Meeting {
    id: String,
    host_token: String,
    topic: String,
    people: BTreeSet<String>,
    status: &'static str,
    is_deleted: bool,
    /// What was asked for when the daemon died: it may have happened.
    doubtful: Option<Change>,
}

/// What a client does to one of its meetings.
#[derive(Clone, Debug)]
enum Change {
    Rename(String),
    Join(String),
    End,
    Delete,
}

fn rounds() -> u64 {
    std::env::var("KAIGI_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn no_acknowledged_change_is_lost_and_no_batch_is_halved_by_kill_9() {
    let scratch = Scratch::new("durability");
    let data = scratch.join("data");
    let mut kept = Vec::new();
    let mut latest = Vec::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        let daemon = Daemon::start(&data, &["--demo"]);
        // Those of earlier rounds are looked at in the end: looking at all each time would grow with the square.
        check(&daemon, &latest, round);
        kept.append(&mut latest);
        let delay = Duration::from_millis(random.next() % KILL_WITHIN_MS);
        let fresh = work_until_killed(daemon, &mut random, delay, round);
        assert!(!fresh.is_empty(), "round {round}: nothing was acknowledged, so nothing was tested");
        latest = fresh;
        fits_together(&data, round);
    }
    kept.append(&mut latest);
    let daemon = Daemon::start(&data, &["--demo"]);
    check(&daemon, &kept, rounds());
    println!("{} kills, {} meetings, no acknowledged change lost", rounds(), kept.len());
}

#[test]
fn no_acknowledged_change_is_lost_by_a_power_loss_that_takes_what_was_not_synced() {
    let scratch = Scratch::new("power");
    let library = match power_loss::library(&scratch) {
        Ok(library) => library,
        Err(reason) => return eprintln!("SKIPPED: no power loss can be simulated ({reason})"),
    };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut lost, mut restored) = (Lost::default(), 0);
    for round in 0..rounds() {
        let data = scratch.join(&format!("data-{round}"));
        fs::create_dir_all(&data).expect("makes");
        let watched = data.canonicalize().expect("is there");
        let setting = [("LD_PRELOAD", library.as_path()), ("KAIGI_POWER_DATA", watched.as_path())];
        let daemon = Daemon::start_with(&data, &["--demo"], &setting);
        let delay = Duration::from_millis(random.next() % KILL_WITHIN_MS);
        let kept = work_until_killed(daemon, &mut random, delay, round);
        // The disk loses all that was not synced, or in odd rounds any part of it, as caches that reorder do.
        let mut numbers = || random.next();
        let Lost { bytes, names } = power_loss::lose(&data, (round % 2 == 1).then_some(&mut numbers));
        lost = Lost { bytes: lost.bytes + bytes, names: lost.names + names };
        let found = run(&["check", "--data", data.to_str().expect("ASCII")]);
        if String::from_utf8_lossy(&found.stdout).contains("FAIL store") {
            restored += 1;
            let back = run(&["restore", "--data", data.to_str().expect("ASCII")]);
            assert!(back.status.success(), "round {round}: {back:?}");
        }
        fits_together(&data, round);
        let daemon = Daemon::start(&data, &["--demo"]);
        check(&daemon, &kept, round);
    }
    assert!(lost.bytes > 0, "nothing was ever lost, so nothing was tested");
    println!(
        "{} power losses took {} bytes and {} names, {restored} stores were restored, nothing lost",
        rounds(),
        lost.bytes,
        lost.names
    );
}

#[test]
fn a_meeting_in_progress_can_be_rejoined_after_kill_9() {
    let scratch = Scratch::new("rejoin");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo"]);
    let created = daemon.call_json("POST", MEETINGS, None, &json!({"topic": "survives"}));
    let id = created.field("id");
    let join = format!("/api/v1/meetings/{id}/join");
    let session = daemon.call_json("POST", &join, None, &json!({"name": "Ada"})).field("session_token");
    let data = daemon.data.clone();
    daemon.kill();

    let daemon = Daemon::start(&data, &["--demo"]);
    assert_eq!(daemon.call("GET", &format!("/api/v1/meetings/{id}"), None).field("status"), "in_progress");
    let again = daemon.call("POST", &join, Some(&session));
    assert_eq!(again.status, 200, "{again:?}");
    let people = daemon.call("GET", &format!("/api/v1/meetings/{id}/participants"), Some(&session)).json();
    assert_eq!(people["items"].as_array().map(Vec::len), Some(1), "{people}");
    assert_eq!(people["items"][0]["name"], "Ada");
    assert_eq!(people["items"][0]["joined_at_history"].as_array().map(Vec::len), Some(2));
    // The token of before the crash still ends the meeting.
    let ended =
        daemon.call("POST", &format!("/api/v1/meetings/{id}/end"), Some(&created.field("host_token")));
    assert_eq!(ended.status, 200, "{ended:?}");
}

/// Changes meetings from several connections until the daemon dies; what its clients know of them.
fn work_until_killed(daemon: Daemon, random: &mut Random, delay: Duration, round: u64) -> Vec<Meeting> {
    let acknowledged = AtomicU64::new(0);
    let address = daemon.address;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let acknowledged = &acknowledged;
                let name = format!("round {round} client {client}");
                let mut random = Random(random.next());
                scope.spawn(move || {
                    let mut meetings = Vec::new();
                    let ask = |method: &str, path: &str, token: Option<&str>, body: &Value| {
                        let answer = request(address, method, path, token, body)?;
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        Some(answer)
                    };
                    while work(&mut meetings, &mut random, &name, &ask).is_some() {}
                    meetings
                })
            })
            .collect();
        let begun = Instant::now();
        while acknowledged.load(Ordering::Relaxed) == 0 && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        std::thread::sleep(delay);
        daemon.kill();
        clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
    })
}

type Ask<'a> = dyn Fn(&str, &str, Option<&str>, &Value) -> Option<Value> + 'a;

/// Makes a meeting or changes one; `None` when the daemon is gone.
fn work(meetings: &mut Vec<Meeting>, random: &mut Random, name: &str, ask: &Ask<'_>) -> Option<()> {
    let number = random.next();
    let open: Vec<usize> = (0..meetings.len())
        .filter(|at| !meetings[*at].is_deleted && meetings[*at].status != "ended")
        .collect();
    if open.is_empty() || number.is_multiple_of(3) {
        let topic = format!("{name} meeting {}", meetings.len());
        let made = ask("POST", MEETINGS, None, &json!({ "topic": topic }))?;
        let text = |field: &str| made[field].as_str().expect("an acknowledgement names it").to_owned();
        meetings.push(Meeting {
            id: text("id"),
            host_token: text("host_token"),
            topic,
            people: BTreeSet::new(),
            status: "scheduled",
            is_deleted: false,
            doubtful: None,
        });
        return Some(());
    }
    let at = open[usize::try_from(number / 3).unwrap_or(0) % open.len()];
    let meeting = &mut meetings[at];
    let change = match random.next() % 8 {
        0..=2 => Change::Rename(format!("{name} renamed {number}")),
        3..=5 => Change::Join(format!("guest {number}")),
        6 => Change::End,
        _ => Change::Delete,
    };
    let path = format!("{MEETINGS}/{}", meeting.id);
    meeting.doubtful = Some(change.clone());
    let host = Some(meeting.host_token.as_str());
    match &change {
        Change::Rename(topic) => ask("PATCH", &path, host, &json!({ "topic": topic }))?,
        Change::Join(guest) => ask("POST", &format!("{path}/join"), None, &json!({ "name": guest }))?,
        Change::End => ask("POST", &format!("{path}/end"), host, &Value::Null)?,
        Change::Delete => ask("DELETE", &path, host, &Value::Null)?,
    };
    meeting.doubtful = None;
    match change {
        Change::Rename(topic) => meeting.topic = topic,
        Change::Join(guest) => {
            meeting.people.insert(guest);
            meeting.status = "in_progress";
        }
        Change::End => meeting.status = "ended",
        Change::Delete => meeting.is_deleted = true,
    }
    Some(())
}

/// The answer's body; `None` when none came whole.
fn request(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Option<Value> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = Vec::new();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let text = if body.is_null() { String::new() } else { body.to_string() };
    if !text.is_empty() {
        headers.push(("content-type", "application/json"));
    }
    let answer: Answer = http::request(address, method, path, &headers, text.as_bytes()).ok()?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).ok(),
        204 => Some(Value::Null),
        _ => panic!("{method} {path}: {answer:?}"),
    }
}

/// Every meeting is as its client was told, or as the change it had no answer to would have made it.
fn check(daemon: &Daemon, kept: &[Meeting], round: u64) {
    for meeting in kept {
        let path = format!("{MEETINGS}/{}", meeting.id);
        let found = daemon.call("GET", &path, None);
        let said = || format!("before round {round}: {meeting:?}\nis {found:?}\n{}", daemon.log());
        if found.status == 404 {
            assert!(meeting.is_deleted || matches!(meeting.doubtful, Some(Change::Delete)), "{}", said());
            continue;
        }
        assert!(found.status == 200 && !meeting.is_deleted, "{}", said());
        let (mut topics, mut people, mut states) =
            (vec![meeting.topic.clone()], meeting.people.clone(), vec![meeting.status]);
        match &meeting.doubtful {
            Some(Change::Rename(topic)) => topics.push(topic.clone()),
            Some(Change::Join(name)) => {
                people.insert(name.clone());
                states.push("in_progress");
            }
            Some(Change::End) => states.push("ended"),
            Some(Change::Delete) | None => {}
        }
        assert!(topics.contains(&found.field("topic")), "{}", said());
        assert!(states.contains(&found.field("status").as_str()), "{}", said());
        let listed = daemon.call("GET", &format!("{path}/participants"), Some(&meeting.host_token)).json();
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let there: BTreeSet<String> =
            items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect();
        assert!(there.is_superset(&meeting.people) && there.is_subset(&people), "{}\n{listed}", said());
    }
}

/// `kaigid check` opens every entry, reads the whole journal and finds nothing that points at nothing.
fn fits_together(data: &Path, round: u64) {
    let output = run(&["check", "--data", data.to_str().expect("ASCII")]);
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    for subject in ["store", "records"] {
        let is_good = found.lines().any(|line| line.starts_with(&format!("ok   {subject}: ")));
        assert!(is_good, "after round {round}:\n{found}");
    }
}

/// xorshift64: moments differ between rounds and repeat between runs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
