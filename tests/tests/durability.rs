//! What was acknowledged survives kill -9, at whatever moment it comes.
//!
//! A few clients create meetings as fast as they can; the daemon is killed at a random moment; a new one on the same data must
//! know every meeting that was answered with 200. `KAIGI_SOAK_ROUNDS` sets the number of rounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::daemon::{Daemon, PATIENCE, Scratch};
use tests::http;

const CLIENTS: usize = 4;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
/// The kill comes within this time after the first acknowledgement.
const KILL_WITHIN_MS: u64 = 400;

#[test]
fn no_acknowledged_meeting_is_lost_by_kill_9() {
    let rounds: u64 = std::env::var("KAIGI_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let scratch = Scratch::new("durability");
    let data = scratch.join("data");
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut latest = BTreeMap::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let daemon = Daemon::start(&data, &["--demo"]);
        // Those of earlier rounds are looked at in the end: looking at all each time would grow with the square.
        check(&daemon, &latest, round);
        kept.append(&mut latest);
        let fresh = create_until_killed(daemon, &mut random, round);
        assert!(!fresh.is_empty(), "round {round}: nothing was acknowledged, so nothing was tested");
        latest = fresh;
    }
    kept.append(&mut latest);
    let daemon = Daemon::start(&data, &["--demo"]);
    check(&daemon, &kept, rounds);
    println!("{rounds} kills, {} acknowledged meetings, none lost", kept.len());
}

#[test]
fn a_meeting_in_progress_can_be_rejoined_after_kill_9() {
    let scratch = Scratch::new("rejoin");
    let daemon = Daemon::start(&scratch.join("data"), &["--demo"]);
    let created = daemon.call_json("POST", "/api/v1/meetings", None, &json!({"topic": "survives"}));
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

/// Creates meetings from several connections until the daemon dies; the acknowledged ones with their topics.
fn create_until_killed(daemon: Daemon, random: &mut Random, round: u64) -> BTreeMap<String, String> {
    let acknowledged = AtomicU64::new(0);
    let address = daemon.address;
    let delay = Duration::from_millis(random.next() % KILL_WITHIN_MS);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    let mut meetings = Vec::new();
                    for number in 0.. {
                        let topic = format!("round {round} client {client} number {number}");
                        let body = json!({ "topic": topic }).to_string();
                        match http::request(address, "POST", "/api/v1/meetings", &JSON, body.as_bytes()) {
                            // A body cut short by the kill is no acknowledgement anybody could have read.
                            Ok(answer) if answer.status == 200 => {
                                let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body)
                                else {
                                    break;
                                };
                                let id = body["id"]
                                    .as_str()
                                    .expect("an acknowledgement names the meeting")
                                    .to_owned();
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                                meetings.push((id, topic));
                            }
                            Ok(answer) => panic!("{answer:?}"),
                            Err(_) => break,
                        }
                    }
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

fn check(daemon: &Daemon, kept: &BTreeMap<String, String>, round: u64) {
    let lost: Vec<&String> = kept
        .iter()
        .filter(|(id, topic)| {
            let answer = daemon.call("GET", &format!("/api/v1/meetings/{id}"), None);
            answer.status != 200 || answer.field("topic") != **topic
        })
        .map(|(id, _)| id)
        .collect();
    assert!(
        lost.is_empty(),
        "before round {round}, {} of {} are lost: {lost:?}\n{}",
        lost.len(),
        kept.len(),
        daemon.log()
    );
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
