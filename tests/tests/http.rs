//! The HTTP API as a stranger sees it: every code of the contract, every kind of bad input, against the real daemon.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE, Scratch, run};
use tests::http::{self, Answer};

const MEETINGS: &str = "/api/v1/meetings";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A daemon and the directory it lives in.
struct Home {
    daemon: Daemon,
    scratch: Scratch,
}

impl Home {
    fn demo(name: &str) -> Self {
        Self::with(name, &["--demo"])
    }

    fn with(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        Self { daemon: Daemon::start(&scratch.join("data"), flags), scratch }
    }

    /// A meeting made by a guest: its path and its host token.
    fn meeting(&self, extra: Value) -> (String, String) {
        let mut body = json!({"topic": "Team Meeting"});
        merge(&mut body, extra);
        let created = self.daemon.call_json("POST", MEETINGS, None, &body);
        assert_eq!(created.status, 200, "{created:?}");
        (format!("{MEETINGS}/{}", created.field("id")), created.field("host_token"))
    }
}

fn merge(into: &mut Value, extra: Value) {
    if let (Some(into), Value::Object(extra)) = (into.as_object_mut(), extra) {
        into.extend(extra);
    }
}

/// Asserts a problem document of this status and type and returns its pointers.
fn problem(answer: &Answer, status: u16, slug: &str) -> Vec<String> {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let document = answer.json();
    assert_eq!(document["type"], format!("/problems/{slug}"), "{document}");
    assert_eq!(document["status"], status, "{document}");
    assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer").to_owned()).collect()
}

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
fn a_body_that_cannot_be_read_says_why() {
    let home = Home::demo("bodies");
    let (path, host) = home.meeting(json!({}));
    let (join, end) = (format!("{path}/join"), format!("{path}/end"));
    for (method, at) in
        [("POST", MEETINGS), ("PATCH", path.as_str()), ("POST", join.as_str()), ("POST", end.as_str())]
    {
        let send =
            |headers: &[(&str, &str)], body: &[u8]| home.daemon.send(method, at, Some(&host), headers, body);
        for malformed in ["{", "{\"topic\":}", "topic=x", "{\"a\":1}{", "\u{0}", "{\"topic\":\"\\ud800\"}"] {
            problem(&send(&[JSON], malformed.as_bytes()), 400, "malformed-json");
        }
        problem(&send(&[JSON], &[0xff, 0xfe, b'{', b'}']), 400, "malformed-json");
        problem(&send(&[JSON], "[".repeat(30_000).as_bytes()), 400, "malformed-json");
        for wrong in ["[]", "\"x\"", "1", "null", "true"] {
            assert_eq!(problem(&send(&[JSON], wrong.as_bytes()), 422, "invalid-fields"), [""]);
        }
        problem(&send(&[("content-type", "text/plain")], b"{}"), 415, "unsupported-media-type");
        problem(&send(&[], b"{}"), 415, "unsupported-media-type");
        let large = format!("{{\"topic\":\"{}\"}}", "x".repeat(70_000));
        problem(&send(&[JSON], large.as_bytes()), 413, "body-too-large");
        let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        problem(&send(&[JSON, ("transfer-encoding", "chunked")], chunk.as_bytes()), 413, "body-too-large");
        assert_eq!(
            problem(&send(&[JSON], b"{\"colour\":1}"), 422, "invalid-fields").last().map(String::as_str),
            Some("/colour")
        );
    }
    problem(&home.daemon.send("POST", MEETINGS, None, &[JSON], b""), 400, "malformed-json");
    // A parameter on the media type is fine.
    let fine =
        home.daemon.send("POST", &join, None, &[("content-type", "application/json; charset=utf-8")], b"{}");
    assert_eq!(fine.status, 200, "{fine:?}");
}

#[test]
fn a_field_that_cannot_be_taken_is_named_by_its_pointer() {
    let home = Home::demo("fields");
    let (path, host) = home.meeting(json!({}));
    let long = "x".repeat(501);
    let create = [
        (json!({}), "/topic"),
        (json!({"topic": 5}), "/topic"),
        (json!({"topic": ""}), "/topic"),
        (json!({"topic": "  \t "}), "/topic"),
        (json!({"topic": long}), "/topic"),
        (json!({"topic": "a\u{7}b"}), "/topic"),
        (json!({"topic": ["x"]}), "/topic"),
        (json!({"topic": "x", "start_time": "tomorrow"}), "/start_time"),
        (json!({"topic": "x", "start_time": 1_700_000_000}), "/start_time"),
        (json!({"topic": "x", "start_time": "2024-02-30T10:00:00Z"}), "/start_time"),
        (json!({"topic": "x", "duration": 0}), "/duration"),
        (json!({"topic": "x", "duration": -5}), "/duration"),
        (json!({"topic": "x", "duration": 1441}), "/duration"),
        (json!({"topic": "x", "duration": 1.5}), "/duration"),
        (json!({"topic": "x", "duration": "60"}), "/duration"),
        (json!({"topic": "x", "duration": u64::MAX}), "/duration"),
        (json!({"topic": "x", "recording_enabled": "true"}), "/recording_enabled"),
        (json!({"topic": "x", "passcode": ""}), "/passcode"),
        (json!({"topic": "x", "passcode": 1234}), "/passcode"),
        (json!({"topic": "x", "passcode": "x".repeat(65)}), "/passcode"),
        (json!({"topic": "x", "a/b~c": 1}), "/a~1b~0c"),
        (json!({"topic": "x", "Topic": "y"}), "/Topic"),
    ];
    for (body, pointer) in create {
        let answer = home.daemon.call_json("POST", MEETINGS, None, &body);
        assert_eq!(problem(&answer, 422, "invalid-fields"), [pointer], "{body}");
    }
    for (body, pointer) in [
        (json!({"topic": ""}), "/topic"),
        (json!({"duration": 0}), "/duration"),
        (json!({"status": "ended"}), "/status"),
        (json!({"id": "meeting_1"}), "/id"),
    ] {
        let answer = home.daemon.call_json("PATCH", &path, Some(&host), &body);
        assert_eq!(problem(&answer, 422, "invalid-fields"), [pointer], "{body}");
    }
    for (body, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": 1}), "/name"),
        (json!({"name": "x".repeat(101)}), "/name"),
    ] {
        let answer = home.daemon.call_json("POST", &format!("{path}/join"), None, &body);
        assert_eq!(problem(&answer, 422, "invalid-fields"), [pointer], "{body}");
    }
    let several = home.daemon.call_json("POST", MEETINGS, None, &json!({"duration": "x", "a": 1, "b": 2}));
    assert_eq!(problem(&several, 422, "invalid-fields"), ["/topic", "/duration", "/a", "/b"]);
    // The longest topic is 500 characters, not bytes.
    home.meeting(json!({"topic": "\u{1f600}".repeat(500)}));
}

#[test]
fn what_comes_later_is_refused_rather_than_ignored() {
    let home = Home::demo("later");
    let answer = home.daemon.call_json("POST", MEETINGS, None, &json!({"topic": "x", "waiting_room": true}));
    assert_eq!(problem(&answer, 422, "not-yet-supported"), ["/waiting_room"]);
}

#[test]
fn a_token_that_does_not_count_is_401_and_never_a_guest() {
    let home = Home::demo("tokens");
    let (path, _) = home.meeting(json!({}));
    let good = home.daemon.token("ada");
    let claims = |exp: i64, aud: &str| {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp()).expect("before the year 292 billion");
        json!({"iss": "kaigi", "sub": "user_1", "aud": aud, "iat": now - 7_200, "nbf": now - 7_200, "exp": now + exp, "jti": "x"})
    };
    let key = std::fs::read(home.daemon.data.join("signing.key")).expect("the daemon made a key");
    let sign = |claims: &Value| {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &EncodingKey::from_ed_der(&key))
            .expect("signs")
    };
    let expired = sign(&claims(-3_600, "kaigi-api"));
    let stranger = sign(&claims(3_600, "kaigi-api"));
    let foreign_audience = sign(&claims(3_600, "somebody-else"));
    let hmac = jsonwebtoken::encode(
        &Header::default(),
        &claims(3_600, "kaigi-api"),
        &EncodingKey::from_secret(b"x"),
    )
    .expect("signs");
    let cut = &good[..good.len() - 2];
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).expect("three parts"));
    for bad in
        [expired.as_str(), &stranger, &foreign_audience, &hmac, cut, &none, "x", "a.b.c", &"x".repeat(9_000)]
    {
        for (method, at) in [
            ("POST", MEETINGS.to_owned()),
            ("GET", MEETINGS.to_owned()),
            ("GET", path.clone()),
            ("POST", format!("{path}/join")),
        ] {
            let answer = home.daemon.call(method, &at, Some(bad));
            problem(&answer, 401, "token-invalid");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    for header in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", &good] {
        let answer = home.daemon.send("GET", MEETINGS, None, &[("authorization", header)], b"");
        problem(&answer, 401, "token-invalid");
    }
    problem(&home.daemon.call("GET", MEETINGS, None), 401, "token-required");
    assert_eq!(home.daemon.call("GET", MEETINGS, Some(&good)).status, 200);
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
fn addresses_and_methods_that_do_not_exist_are_problems_too() {
    let home = Home::demo("nowhere");
    let (path, _) = home.meeting(json!({}));
    for at in [
        "/api/v1/nothing",
        "/api/v2/meetings",
        "/api",
        "/nothing",
        "/assets/nothing.js",
        "/j",
        "/..%2f..%2fetc/passwd",
    ] {
        problem(&home.daemon.call("GET", at, None), 404, "not-found");
    }
    let (join, end) = (format!("{path}/join"), format!("{path}/end"));
    for (method, at) in [
        ("PUT", MEETINGS),
        ("DELETE", MEETINGS),
        ("GET", join.as_str()),
        ("GET", end.as_str()),
        ("POST", path.as_str()),
        ("POST", "/healthz"),
        ("DELETE", "/metrics"),
        ("BREW", MEETINGS),
    ] {
        let answer = home.daemon.call(method, at, None);
        problem(&answer, 405, "method-not-allowed");
        assert!(answer.header("allow").is_some_and(|allow| !allow.is_empty()), "{method} {at}: {answer:?}");
    }
}

#[test]
fn an_address_or_query_that_cannot_be_read_is_a_problem_too() {
    let home = Home::demo("unreadable");
    for at in ["/api/v1/meetings/%FF", "/assets/%FF", "/problems/%FF"] {
        problem(&home.daemon.call("GET", at, None), 400, "malformed-request");
    }
    for at in ["/assets/../index.html", "/assets/..%2findex.html", "/assets/%2e%2e/index.html"] {
        problem(&home.daemon.call("GET", at, None), 404, "not-found");
    }
}

#[test]
fn who_sends_far_too_much_reads_the_refusal_and_not_a_reset() {
    use std::io::{Read, Write};
    let home = Home::demo("flooded");
    let body = vec![b' '; 10_000_000];
    for framing in [format!("content-length: {}", body.len()), "transfer-encoding: chunked".to_owned()] {
        let mut stream = std::net::TcpStream::connect(home.daemon.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("is set");
        let head = format!(
            "POST {MEETINGS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sends");
        let sent = if framing.contains("chunked") {
            stream
                .write_all(format!("{:x}\r\n", body.len()).as_bytes())
                .and_then(|()| stream.write_all(&body))
                .and_then(|()| stream.write_all(b"\r\n0\r\n\r\n"))
        } else {
            stream.write_all(&body)
        };
        sent.expect("everything is taken");
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 413", "{framing}");
    }
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
    let shown: Vec<(&str, usize)> = rows
        .as_array()
        .expect("items")
        .iter()
        .map(|row| {
            (row["name"].as_str().expect("name"), row["joined_at_history"].as_array().map_or(0, Vec::len))
        })
        .collect();
    assert_eq!(shown, [("Ada L.", 2), ("Bob", 2), ("Bob", 1)]);
    assert!(rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["role"] == "participant")));
    join(Some(&host), json!({"name": "Boss"}));
    assert_eq!(people()[3]["role"], "host");
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

#[test]
fn sigterm_drains_and_ends_with_status_0() {
    let home = Home::demo("drain");
    assert_eq!(home.daemon.call("GET", "/readyz", None).status, 200);
    home.daemon.signal("TERM");
    let begun = Instant::now();
    loop {
        // Once it drains it says so; the moment before, it is ready.
        let answer = home.daemon.call("GET", "/readyz", None);
        if answer.status == 503 {
            problem(&answer, 503, "draining");
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut daemon = home.daemon;
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.data.join("kaigid.sock").exists());
    assert!(http::request(daemon.address, "GET", "/healthz", &[], b"").is_err());
}

#[test]
fn health_metrics_and_keys_are_there() {
    let home = Home::demo("ops");
    assert_eq!(home.daemon.call("GET", "/healthz", None).status, 200);
    let metrics = home.daemon.call("GET", "/metrics", None);
    assert!(metrics.header("content-type").is_some_and(|t| t.starts_with("text/plain")), "{metrics:?}");
    let text = metrics.text();
    for name in [
        "kaigi_packets_received_total{core=\"0\"}",
        "kaigi_packets_forwarded_total{core=\"0\"}",
        "kaigi_packets_dropped_total{core=\"0\",reason=\"bad_tag\"}",
        "kaigi_cycles_total{core=\"0\",stage=\"seal\"}",
        "kaigi_forward_delay_seconds_bucket{core=\"0\",le=\"0.001\"}",
        "kaigi_meetings ",
        "kaigi_participants ",
        "kaigi_join_seconds_bucket{le=\"0.5\"}",
        "kaigi_recordings_total{state=\"processing\"}",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
    let keys = home.daemon.call("GET", "/oauth/jwks.json", None).json();
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert!(keys["keys"][0].get("d").is_none(), "the private key stays home");
}

#[test]
fn promtool_finds_nothing_to_complain_about_in_the_metrics() {
    let home = Home::demo("promtool");
    let text = home.daemon.call("GET", "/metrics", None).text();
    let file = home.scratch.join("metrics.txt");
    std::fs::write(&file, text).expect("writes");
    let input = std::fs::File::open(&file).expect("opens");
    match Command::new("promtool").args(["check", "metrics"]).stdin(input).output() {
        Ok(output) => {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
        Err(error) => eprintln!("SKIPPED: promtool does not run here ({error}); apt-get install prometheus"),
    }
}

#[test]
fn the_page_is_fresh_guarded_and_compressed() {
    let home = Home::demo("page");
    for path in ["/", "/j/1234567890", "/j/1234567890/"] {
        let page = home.daemon.call("GET", path, None);
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert!(page.header("content-security-policy").is_some_and(|p| p.contains("frame-ancestors 'none'")));
        assert!(page.text().to_lowercase().starts_with("<!doctype html>"));
        let etag = page.header("etag").expect("an etag");
        let again = home.daemon.send("GET", path, None, &[("if-none-match", etag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0));
        for encoding in ["br", "gzip"] {
            let packed = home.daemon.send("GET", path, None, &[("accept-encoding", encoding)], b"");
            assert_eq!(packed.header("content-encoding"), Some(encoding));
            assert!(packed.header("vary").is_some_and(|v| v.contains("accept-encoding")));
        }
        assert_eq!(home.daemon.call("HEAD", path, None).body.len(), 0);
    }
    let answer = home.daemon.call("GET", "/api/v1/meetings/meeting_1", None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn what_the_page_loads_is_kept_forever_and_sent_small() {
    let home = Home::demo("assets");
    let page = home.daemon.call("GET", "/", None).text();
    let assets: BTreeSet<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    if assets.is_empty() {
        assert!(
            page.contains("make run"),
            "a page without assets is the one that says how to build them: {page}"
        );
        eprintln!("SKIPPED: the web client is not built; run make web");
        return;
    }
    for path in assets {
        let plain = home.daemon.call("GET", path, None);
        assert_eq!(plain.status, 200, "{path}");
        assert!(plain.header("cache-control").is_some_and(|c| c.contains("immutable")), "{path}");
        assert_ne!(plain.header("content-type"), Some("application/octet-stream"), "{path}");
        let packed = home.daemon.send("GET", path, None, &[("accept-encoding", "gzip, br")], b"");
        if path.ends_with(".js") || path.ends_with(".css") {
            assert_eq!(packed.header("content-encoding"), Some("br"), "{path}");
            assert!(packed.body.len() < plain.body.len() / 2, "{path}");
            let unwanted =
                home.daemon.send("GET", path, None, &[("accept-encoding", "br;q=0, gzip;q=0.5")], b"");
            assert_eq!(unwanted.header("content-encoding"), Some("gzip"), "{path}");
        }
    }
}

#[test]
fn pages_of_other_origins_may_call_the_api() {
    let home = Home::demo("cors");
    let asked = [
        ("origin", "https://elsewhere.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let preflight = home.daemon.send("OPTIONS", MEETINGS, None, &asked, b"");
    assert_eq!(preflight.status, 200, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    let allowed = preflight.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
    let refused = home.daemon.send("GET", MEETINGS, None, &asked[..1], b"");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

#[test]
fn the_api_describes_itself() {
    let home = Home::demo("openapi");
    let document = home.daemon.call("GET", "/api/v1/openapi.json", None).json();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{document}");
    for (path, method) in [
        ("/api/v1/meetings", "post"),
        ("/api/v1/meetings", "get"),
        ("/api/v1/meetings/{id}", "get"),
        ("/api/v1/meetings/{id}", "patch"),
        ("/api/v1/meetings/{id}", "delete"),
        ("/api/v1/meetings/{id}/end", "post"),
        ("/api/v1/meetings/{id}/join", "post"),
        ("/api/v1/meetings/{id}/participants", "get"),
    ] {
        assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path}");
    }
    // OpenAPI requires a description of every response, and errors are problem documents.
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("401"), "{method} {path}: any token may be bad");
            for (code, response) in responses {
                let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{method} {path} {code}");
                if code.starts_with(['4', '5']) {
                    assert_eq!(
                        keys(&response["content"]),
                        ["application/problem+json"],
                        "{method} {path} {code}"
                    );
                }
            }
        }
    }
    // What the document says can be sent is known to the server: a wrong type is the only complaint.
    for (schema, method, target) in [
        ("CreateMeeting", "POST", MEETINGS.to_owned()),
        ("ChangeMeeting", "PATCH", home.meeting(json!({})).0),
        (
            "ChangePermissions",
            "PATCH",
            format!("{}/participants/user_1/permissions", home.meeting(json!({})).0),
        ),
    ] {
        let properties =
            document["components"]["schemas"][schema]["properties"].as_object().expect("properties");
        let body: serde_json::Map<String, Value> =
            properties.keys().map(|key| (key.clone(), json!({}))).collect();
        let token = home.daemon.token("ada");
        let answer = home.daemon.call_json(method, &target, Some(&token), &Value::Object(body));
        assert!(!answer.text().contains("is not a field"), "{schema}: {answer:?}");
    }
    let page = home.daemon.call("GET", "/problems/meeting-ended", None);
    assert!(page.text().contains("410"), "{page:?}");
}

#[test]
fn no_token_or_passcode_reaches_the_log() {
    let home = Home::with("secrets", &["--demo", "--log-level", "trace", "--log", "json"]);
    let (path, host) = home.meeting(json!({"passcode": "open-sesame-42"}));
    let ada = home.daemon.token("ada");
    let join = format!("{path}/join");
    let joined = home.daemon.call_json("POST", &join, Some(&ada), &json!({"passcode": "open-sesame-42"}));
    home.daemon.call_json("POST", &join, None, &json!({"passcode": "open-sesame-43"}));
    home.daemon.send("POST", &join, None, &[JSON], b"{\"passcode\":\"open-sesame-42\"");
    home.daemon.call("GET", &format!("/rtc/validate?access_token={}", joined.field("session_token")), None);
    home.daemon.call("POST", &format!("{path}/end"), Some(&host));
    let log = home.daemon.log();
    assert!(log.contains("meeting created") && log.contains("answered"), "{log}");
    assert!(
        log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "one JSON object per line: {log}"
    );
    for secret in [ada.as_str(), &host, &joined.field("session_token"), "open-sesame"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        let signature = secret.rsplit('.').next().expect("not empty");
        assert!(!log.contains(signature), "the signature of a token is in the log");
    }
}

#[test]
fn sighup_reloads_what_it_can_and_names_what_it_cannot() {
    let scratch = Scratch::new("hup");
    let file = scratch.join("kaigid.toml");
    std::fs::write(&file, "log-level = 'info'\ndtls = '1.2'\n").expect("writes");
    let daemon = Daemon::start(&scratch.join("data"), &["--config", file.to_str().expect("ASCII"), "--demo"]);
    std::fs::write(&file, "log-level = 'debug'\ndtls = '1.3'\n").expect("writes");
    daemon.signal("HUP");
    wait_for(|| daemon.log().contains("dtls has changed and needs a restart"), &daemon);
    daemon.call("GET", "/healthz", None);
    wait_for(|| daemon.log().contains("answered"), &daemon);
    std::fs::write(&file, "nonsense = 1\n").expect("writes");
    daemon.signal("HUP");
    wait_for(|| daemon.log().contains("not reloaded") && daemon.log().contains("nonsense"), &daemon);
    assert_eq!(daemon.call("GET", "/healthz", None).status, 200);
}

fn wait_for(condition: impl Fn() -> bool, daemon: &Daemon) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::yield_now();
    }
}

#[test]
fn an_operators_mistake_is_one_line_that_says_what_to_do() {
    let home = Home::demo("mistakes");
    let port = home.daemon.address.to_string();
    let used = home.daemon.data.to_str().expect("ASCII").to_owned();
    let fresh = home.scratch.join("fresh");
    let fresh = fresh.to_str().expect("ASCII");
    let file = home.scratch.join("file");
    std::fs::write(&file, "not a certificate\n").expect("writes");
    let file = file.to_str().expect("ASCII");
    let config = home.scratch.join("bad.toml");
    std::fs::write(&config, "listenn = '0.0.0.0:1'\n").expect("writes");
    let config = config.to_str().expect("ASCII");
    let cases: [(&[&str], i32, &[&str]); 10] = [
        (&["--listen", &port, "--data", fresh], 1, &["in use", &port, "--listen"]),
        (&["--listen", "127.0.0.1:0", "--data", &used], 1, &["another kaigid", &used, "--data"]),
        (&["--listen", "127.0.0.1:0", "--data", file], 1, &["data directory", file, "--data"]),
        (&["--listen", "192.0.2.1:7880", "--data", fresh], 1, &["192.0.2.1", "--listen"]),
        (&["--config", config], 2, &["unknown key listenn"]),
        (&["--config", "/nowhere.toml"], 2, &["/nowhere.toml"]),
        (&["--tls-cert", file, "--tls-key", file, "--data", fresh], 2, &["--tls-cert", file]),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", file, "--data", fresh], 2, &["/nowhere.pem"]),
        (&["--tls-cert", file], 2, &["tls-key"]),
        (&["--dtls", "1.1"], 2, &["--dtls", "1.2, 1.3"]),
    ];
    for (flags, status, words) in cases {
        let output = run(&[&["serve"], flags].concat());
        assert_eq!(output.status.code(), Some(status), "{flags:?}: {output:?}");
        assert_one_line(&output.stderr, words);
    }
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["dance"]).status.code(), Some(2));
}

/// The last line is the daemon's own and holds all of `words`; lines before it are its log's.
fn assert_one_line(stderr: &[u8], words: &[&str]) {
    let text = String::from_utf8_lossy(stderr);
    let own: Vec<&str> = text.lines().filter(|line| line.starts_with("kaigid: ")).collect();
    assert_eq!(own.len(), 1, "{text}");
    assert_eq!(text.lines().last(), Some(own[0]), "{text}");
    for word in words {
        assert!(own[0].contains(word), "{word:?} is not in {text}");
    }
}

#[test]
fn a_backup_of_a_running_server_comes_back_elsewhere() {
    let home = Home::demo("backup");
    let (path, _) = home.meeting(json!({"topic": "kept"}));
    let file = home.scratch.join("backup.jsonl");
    let file = file.to_str().expect("ASCII");
    let other = home.scratch.join("other");
    let other_text = other.to_str().expect("ASCII");
    let backup = run(&["backup", file, "--data", home.daemon.data.to_str().expect("ASCII")]);
    assert!(backup.status.success(), "{backup:?}");
    let restored = run(&["restore", file, "--data", other_text]);
    assert!(restored.status.success(), "{restored:?}");
    let daemon = Daemon::start(&other, &["--demo"]);
    assert_eq!(daemon.call("GET", &path, None).field("topic"), "kept");
    let refused = run(&["restore", file, "--data", other_text]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused.stderr, &["nothing is overwritten"]);
    let garbage =
        run(&["restore", "/proc/version", "--data", home.scratch.join("third").to_str().expect("ASCII")]);
    assert_one_line(&garbage.stderr, &["cannot restore"]);
    // With the server stopped the store is read directly, and says the same.
    let address = daemon.address;
    drop(daemon);
    assert!(http::request(address, "GET", "/healthz", &[], b"").is_err());
    let again = home.scratch.join("again.jsonl");
    let again = again.to_str().expect("ASCII");
    assert!(run(&["backup", again, "--data", other_text]).status.success());
    assert_eq!(std::fs::read(again).ok(), std::fs::read(file).ok());
}

#[test]
fn check_looks_at_the_host_and_the_store() {
    let home = Home::demo("check");
    let data = home.daemon.data.to_str().expect("ASCII");
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let running = run(&["check", "--data", data]);
    for subject in ["config", "store", "cores", "io_uring", "rmem_max"] {
        assert!(said(&running).lines().any(|line| line[5..].starts_with(subject)), "{}", said(&running));
    }
    // Its reader may stop reading: `kaigid check | head -1`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let unread = tests::daemon::command(&["check", "--data", data]).stdout(writer).output().expect("runs");
    assert_eq!((unread.status.code(), unread.stderr.len()), (running.status.code(), 0), "{unread:?}");
    let listen = home.daemon.address.to_string();
    let fresh = home.scratch.join("fresh");
    let taken =
        run(&["check", "--data", fresh.to_str().expect("ASCII"), "--listen", &listen, "--udp-port", "0"]);
    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    assert!(said(&taken).contains("FAIL http"), "{}", said(&taken));
}

#[test]
fn what_is_no_http_harms_nobody() {
    let home = Home::demo("garbage");
    let garbage: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://user@h/%zz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"POST /api/v1/meetings HTTP/1.1\r\nhost: a b\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: \"><script>\r\nconnection: close\r\n\r\n",
    ];
    for bytes in garbage {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(home.daemon.address).expect("connects");
        stream.write_all(bytes).expect("sends");
        stream.shutdown(std::net::Shutdown::Write).expect("half closes");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    // A host header that is no host does not end up in links.
    let body = b"{\"topic\":\"x\"}";
    let raw = format!(
        "POST {MEETINGS} HTTP/1.1\r\nhost: evil@\"x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let created = http::exchange(home.daemon.address, &[raw.as_bytes(), body].concat()).expect("an answer");
    assert!(
        created.status == 400 || created.field("join_url").starts_with("http://localhost:"),
        "{created:?}"
    );
    assert_eq!(home.daemon.call("GET", "/healthz", None).status, 200);
}
