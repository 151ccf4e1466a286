//! Meetings over the HTTP API: their shapes, their life, who manages them and who gets in, against the real daemon.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch, assert_one_line, run};
use tests::home::{Home, MEETINGS, problem};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn creating_and_joining_answer_in_the_shapes_of_the_source() {
    let home = Home::demo("shapes");
    let host = home.daemon.token("host");
    let body = json!({"topic": "Team Meeting", "start_time": "2024-01-15T10:00:00Z", "duration": 60, "recording_enabled": true});
    let created = home.daemon.call_json("POST", MEETINGS, Some(&host), &body);
    assert_eq!(created.status, 200);
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(
        BTreeSet::from_iter(keys(&created.json())),
        BTreeSet::from(["id", "join_url", "start_time", "host_token"])
    );
    let id = created.field("id");
    let number: u64 = id.strip_prefix("meeting_").and_then(|n| n.parse().ok()).expect("meeting_<decimal>");
    assert!(number < 1 << 63);
    assert_eq!(created.field("join_url"), format!("http://{}/j/{number}", home.daemon.address));
    assert_eq!(created.field("start_time"), "2024-01-15T10:00:00Z");

    let read = home.daemon.call("GET", &format!("{MEETINGS}/{id}"), Some(&host)).json();
    assert_eq!(read["topic"], "Team Meeting");
    assert_eq!(read["status"], "scheduled");
    assert_eq!((&read["duration"], &read["recording_enabled"]), (&json!(60), &json!(true)));
    assert_eq!(read["max_participants"], 100);
    let host_number: u64 = read["host_id"]
        .as_str()
        .and_then(|h| h.strip_prefix("user_"))
        .and_then(|n| n.parse().ok())
        .expect("user_<decimal>");
    assert_eq!(number % 8, host_number % 8, "the number of a meeting carries its host's shard");

    // The source's join has no body at all.
    let joined = home.daemon.call("POST", &format!("{MEETINGS}/{id}/join"), Some(&host));
    assert_eq!(joined.status, 200, "{joined:?}");
    assert_eq!(
        BTreeSet::from_iter(keys(&joined.json())),
        BTreeSet::from(["meeting_id", "media_server_url", "session_token"])
    );
    assert_eq!(joined.field("meeting_id"), id);
    assert_eq!(joined.field("media_server_url"), format!("ws://{}", home.daemon.address));
    assert_eq!(joined.field("session_token").split('.').count(), 3);
    assert_eq!(home.daemon.call("GET", &format!("{MEETINGS}/{id}"), None).field("status"), "in_progress");
}

#[test]
fn only_a_topic_is_needed_and_the_rest_has_defaults() {
    let home = Home::demo("defaults");
    let (path, _) = home.meeting(json!({"passcode": null, "start_time": null, "waiting_room": false}));
    let read = home.daemon.call("GET", &path, None).json();
    assert_eq!((&read["duration"], &read["recording_enabled"]), (&json!(60), &json!(false)));
    assert_eq!((&read["passcode_required"], &read["end_time"]), (&json!(false), &Value::Null));
}

#[test]
fn what_comes_later_is_refused_rather_than_ignored() {
    let home = Home::demo("later");
    let answer = home.daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x", "waiting_room": true}));
    assert_eq!(problem(&answer, 422, "not-yet-supported"), ["/waiting_room"]);
}

#[test]
fn only_the_host_manages_a_meeting() {
    let home = Home::demo("hosts");
    let (ada, bob) = (home.daemon.token("ada"), home.daemon.token("bob"));
    let created = home.daemon.call_json("POST", MEETINGS, Some(&ada), &json!({"topic": "Ada's"}));
    let path = format!("{MEETINGS}/{}", created.field("id"));
    let session = home.daemon.call("POST", &format!("{path}/join"), None).field("session_token");
    let (_, other_host) = home.meeting(json!({}));
    let actions = [("PATCH", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/end"))];
    for (method, at) in &actions {
        let call = |token: Option<&str>| home.daemon.call_json(method, at, token, &json!({}));
        problem(&call(None), 401, "token-required");
        problem(&call(Some(&bob)), 403, "not-host");
        problem(&call(Some(&other_host)), 403, "not-host");
        problem(&call(Some(&session)), 403, "token-out-of-scope");
    }
    let listed =
        |token: &str| home.daemon.call("GET", MEETINGS, Some(token)).json()["items"].as_array().map(Vec::len);
    assert_eq!((listed(&ada), listed(&bob)), (Some(1), Some(0)));
    problem(&home.daemon.call("GET", MEETINGS, Some(&other_host)), 403, "token-out-of-scope");

    let changed =
        home.daemon.call_json("PATCH", &path, Some(&ada), &json!({"topic": "Ours", "duration": 30}));
    assert_eq!((changed.status, changed.field("topic")), (200, "Ours".to_owned()));
    // Both kinds of host token work.
    assert_eq!(
        home.daemon.call("POST", &format!("{path}/end"), Some(&created.field("host_token"))).status,
        200
    );
}

#[test]
fn an_ended_meeting_is_gone_for_everything_but_reading() {
    let home = Home::demo("ended");
    let (path, host) = home.meeting(json!({}));
    let session = home.daemon.call("POST", &format!("{path}/join"), None).field("session_token");
    let ended = home.daemon.call("POST", &format!("{path}/end"), Some(&host));
    assert_eq!((ended.status, ended.field("status")), (200, "ended".to_owned()));
    for (method, at, token) in [
        ("POST", format!("{path}/join"), None),
        ("POST", format!("{path}/join"), Some(&session)),
        ("POST", format!("{path}/join"), Some(&host)),
        ("POST", format!("{path}/end"), Some(&host)),
        ("PATCH", path.clone(), Some(&host)),
    ] {
        let answer = home.daemon.call_json(method, &at, token.map(String::as_str), &json!({}));
        problem(&answer, 410, "meeting-ended");
    }
    let read = home.daemon.call("GET", &path, None);
    assert_eq!((read.status, read.field("status")), (200, "ended".to_owned()));
    assert!(read.json()["end_time"].is_string());
    let people = home.daemon.call("GET", &format!("{path}/participants"), Some(&host));
    assert_eq!(people.json()["items"][0]["state"], "left");
}

#[test]
fn a_deleted_meeting_is_as_unknown_as_one_that_never_was() {
    let home = Home::demo("deleted");
    let (path, host) = home.meeting(json!({}));
    let ada = home.daemon.token("ada");
    home.daemon.call("POST", &format!("{path}/join"), None);
    let deleted = home.daemon.call("DELETE", &path, Some(&host));
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    let unknown = [
        "meeting_1",
        "meeting_9223372036854775807",
        "meeting_9223372036854775808",
        "meeting_x",
        "1",
        "meeting_",
        "%00",
    ];
    let unknown = unknown.map(|id| format!("{MEETINGS}/{id}"));
    for at in unknown.iter().chain([&path]) {
        for (method, suffix) in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/join"),
            ("POST", "/end"),
            ("GET", "/participants"),
        ] {
            let answer = home.daemon.call_json(method, &format!("{at}{suffix}"), Some(&ada), &json!({}));
            problem(&answer, 404, "meeting-not-found");
        }
    }
}

#[test]
fn a_state_that_forbids_a_change_is_a_conflict() {
    let home = Home::demo("conflict");
    let (path, host) = home.meeting(json!({"start_time": "2030-01-01T00:00:00Z"}));
    let move_it = |to: &str| home.daemon.call_json("PATCH", &path, Some(&host), &json!({"start_time": to}));
    assert_eq!(move_it("2030-01-02T00:00:00Z").field("start_time"), "2030-01-02T00:00:00Z");
    home.daemon.call("POST", &format!("{path}/join"), None);
    problem(&move_it("2030-01-03T00:00:00Z"), 409, "meeting-in-progress");
    assert_eq!(move_it("2030-01-02T00:00:00Z").status, 200, "the same start is no change");
}

#[test]
fn a_list_is_paged_newest_first_without_gap_or_repetition() {
    let home = Home::demo("pages");
    let ada = home.daemon.token("ada");
    let made: Vec<String> = (0..45)
        .map(|n| {
            home.daemon.call_json("POST", MEETINGS, Some(&ada), &json!({"topic": format!("{n}")})).field("id")
        })
        .collect();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    let mut sizes = Vec::new();
    loop {
        let page = home.daemon.call("GET", &format!("{MEETINGS}{cursor}"), Some(&ada)).json();
        let items = page["items"].as_array().expect("items").clone();
        sizes.push(items.len());
        seen.extend(items.iter().map(|item| item["id"].as_str().expect("id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => break,
        }
    }
    assert_eq!(sizes, [20, 20, 5]);
    assert_eq!(BTreeSet::from_iter(&seen), BTreeSet::from_iter(&made));
    let three = home.daemon.call("GET", &format!("{MEETINGS}?limit=3"), Some(&ada)).json();
    assert_eq!(three["items"].as_array().map(Vec::len), Some(3));
    for bad in ["limit=0", "limit=101", "limit=x", "limit=-1", "cursor=!", "cursor=AAAA", "page=2"] {
        let answer = home.daemon.call("GET", &format!("{MEETINGS}?{bad}"), Some(&ada));
        let name = bad.split('=').next().expect("a name");
        assert_eq!(problem(&answer, 422, "invalid-fields"), [format!("/{name}")]);
    }
}

#[test]
fn a_passcode_opens_the_door_and_nothing_else_does() {
    let home = Home::demo("passcode");
    let (path, host) = home.meeting(json!({"passcode": "s3cret 会議"}));
    assert_eq!(home.daemon.call("GET", &path, None).json()["passcode_required"], true);
    let join = |token: Option<&str>, body: Value| {
        home.daemon.call_json("POST", &format!("{path}/join"), token, &body)
    };
    problem(&join(None, json!({})), 403, "passcode-required");
    problem(&join(None, json!({"passcode": "wrong"})), 403, "passcode-wrong");
    problem(&join(Some(&home.daemon.token("bob")), json!({})), 403, "passcode-required");
    problem(&home.daemon.call("GET", &format!("{path}/participants"), None), 401, "token-required");
    let joined = join(None, json!({"passcode": "s3cret 会議", "name": "Guest"}));
    assert_eq!(joined.status, 200);
    // The host knows it, and so does whoever was in before.
    assert_eq!(join(Some(&host), json!({})).status, 200);
    assert_eq!(join(Some(&joined.field("session_token")), json!({})).status, 200);
    // Taking it away opens the door.
    assert_eq!(home.daemon.call_json("PATCH", &path, Some(&host), &json!({"passcode": null})).status, 200);
    assert_eq!(join(None, json!({})).status, 200);
}

#[test]
fn rejoining_is_the_same_participant_with_one_more_join_in_the_history() {
    let home = Home::demo("rejoin");
    let (path, host) = home.meeting(json!({}));
    let ada = home.daemon.token("ada");
    let join = |token: Option<&str>, body: Value| {
        home.daemon.call_json("POST", &format!("{path}/join"), token, &body)
    };
    let people =
        || home.daemon.call("GET", &format!("{path}/participants"), Some(&host)).json()["items"].clone();
    assert_eq!(join(Some(&ada), json!({})).status, 200);
    assert_eq!(join(Some(&ada), json!({"name": "Ada L."})).status, 200);
    let guest = join(None, json!({"name": "Bob"})).field("session_token");
    assert_eq!(join(Some(&guest), json!({})).status, 200);
    assert_eq!(
        join(None, json!({"name": "Bob"})).status,
        200,
        "the same name without a token is another guest"
    );
    let rows = people();
    let mut shown: Vec<(&str, usize)> = rows
        .as_array()
        .expect("items")
        .iter()
        .map(|row| {
            (row["name"].as_str().expect("name"), row["joined_at_history"].as_array().map_or(0, Vec::len))
        })
        .collect();
    // Oldest first, but joins within a millisecond are of the same age.
    shown.sort_unstable();
    assert_eq!(shown, [("Ada L.", 2), ("Bob", 1), ("Bob", 2)]);
    assert!(rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["role"] == "participant")));
    join(Some(&host), json!({"name": "Boss"}));
    let rows = people();
    let boss = rows.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "Boss"));
    assert_eq!(boss.map(|row| &row["role"]), Some(&json!("host")));
    // A session of another meeting is no ticket here.
    let (other, _) = home.meeting(json!({}));
    problem(&home.daemon.call("POST", &format!("{other}/join"), Some(&guest)), 403, "token-out-of-scope");
}

#[test]
fn outside_demo_mode_guests_join_by_link_and_create_nothing() {
    let scratch = Scratch::new("accounts");
    let data = scratch.join("data");
    let text = data.to_str().expect("ASCII");
    // The operator makes a user while no server runs.
    let made = run(&["token", "--user", "ada", "--demo", "--data", text]);
    assert!(made.status.success(), "{made:?}");
    let ada = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let daemon = Daemon::start(&data, &[]);
    assert!(!daemon.ready_line.contains('('), "{}", daemon.ready_line);
    problem(&daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x"})), 401, "token-required");
    let created = daemon.call_json("POST", MEETINGS, Some(&ada), &json!({"topic": "x"}));
    assert_eq!(BTreeSet::from_iter(keys(&created.json())), BTreeSet::from(["id", "join_url", "start_time"]));
    let path = format!("{MEETINGS}/{}", created.field("id"));
    let joined = daemon.call_json("POST", &format!("{path}/join"), None, &json!({"name": "Guest"}));
    assert_eq!(joined.status, 200, "{joined:?}");
    let session = joined.field("session_token");
    problem(
        &daemon.call_json("POST", MEETINGS, Some(&session), &json!({"topic": "x"})),
        403,
        "token-out-of-scope",
    );
    let people = |token: Option<&str>| daemon.call("GET", &format!("{path}/participants"), token);
    problem(&people(None), 401, "token-required");
    assert_eq!(people(Some(&session)).status, 200);
    assert_eq!(people(Some(&ada)).status, 200);
    assert_eq!(daemon.token("ada").split('.').count(), 3);
    let nobody = run(&["token", "--user", "nobody", "--data", text]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_one_line(&nobody.stderr, &["nobody", "--demo"]);
    // What the refusal offers works while the server runs.
    let made = run(&["token", "--user", "nobody", "--demo", "--data", text]);
    assert!(made.status.success(), "{made:?}");
    let somebody = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    assert_eq!(daemon.call("GET", MEETINGS, Some(&somebody)).status, 200);
}
