//! WHIP and WHEP over HTTP: every status code of RFC 9725 and of draft-ietf-wish-whep that this server gives, on the real daemon.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use tests::daemon::{Daemon, PATIENCE, Scratch};
use tests::http::{self, Answer};

const OFFER: &str = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const DOORS: [&str; 2] = ["whip", "whep"];

struct House {
    daemon: Daemon,
    meeting: String,
    host: String,
    _scratch: Scratch,
}

impl House {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let daemon = Daemon::start(&scratch.join("data"), &["--demo"]);
        let (meeting, host) = daemon.create_hosted_meeting();
        Self { daemon, meeting, host, _scratch: scratch }
    }

    /// Somebody who joins in a millisecond of their own: those of one millisecond are listed in no particular order.
    fn token(&self) -> String {
        std::thread::sleep(Duration::from_millis(2));
        self.daemon.session_token(&self.meeting, "Encoder")
    }

    fn post(&self, door: &str, token: &str, offer: &str) -> Answer {
        let path = format!("/{door}/{}", self.meeting);
        self.daemon.send("POST", &path, Some(token), &[SDP], offer.as_bytes())
    }

    fn patch(&self, session: &str, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.daemon.send("PATCH", session, Some(token), headers, body.as_bytes())
    }

    /// A member of every participant, oldest first.
    fn participants(&self, member: &str) -> Vec<String> {
        let path = format!("/api/v1/meetings/{}/participants", self.meeting);
        let list = self.daemon.call("GET", &path, Some(&self.host)).json();
        let of = |item: &Value| item[member].as_str().expect("a text").to_owned();
        list["items"].as_array().expect("a list").iter().map(of).collect()
    }

    fn states(&self) -> Vec<String> {
        self.participants("state")
    }

    /// Everybody who is connected, as the daemon counts them.
    fn counted(&self) -> String {
        let metrics = self.daemon.call("GET", "/metrics", None).text();
        let counted = metrics.lines().find_map(|line| line.strip_prefix("kaigi_participants "));
        counted.expect("it is counted").to_owned()
    }

    fn until_states(&self, wanted: &[&str]) {
        let begun = Instant::now();
        while self.states() != wanted {
            assert!(begun.elapsed() < PATIENCE, "{:?} are not {wanted:?}", self.states());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn offer(door: &str) -> String {
    if door == "whip" { OFFER.to_owned() } else { OFFER.replace("a=sendrecv", "a=recvonly") }
}

/// Asserts status and the type of the problem.
fn assert_problem(answer: &Answer, status: u16, slug: &str) {
    assert_eq!(answer.status, status, "{slug}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{slug}");
    assert_eq!(answer.field("type"), format!("/problems/{slug}"));
    let retry = status == 429 || status == 503;
    assert_eq!(answer.header("retry-after").is_some(), retry, "{slug}");
}

#[test]
fn a_session_begins_is_patched_and_ends() {
    let house = House::new("whip-session");
    for door in DOORS {
        let token = house.token();
        let created = house.post(door, &token, &offer(door));
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("content-type"), Some("application/sdp"));
        assert_eq!(created.header("content-length"), Some(created.body.len().to_string().as_str()));
        assert_eq!(created.header("transfer-encoding"), None);
        assert_eq!(created.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
        let exposed = created.header("access-control-expose-headers").unwrap_or_default();
        for header in ["location", "etag", "link", "accept-patch"] {
            assert!(exposed.contains(header), "{exposed}");
        }
        assert_eq!(created.header("access-control-allow-origin"), Some("*"));
        let session = created.header("location").expect("a location").to_owned();
        assert!(session.starts_with(&format!("/{door}/{}/", house.meeting)), "{session}");
        let tag = created.header("etag").expect("a tag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");
        assert!(created.text().contains("a=setup:passive\r\n") && created.text().contains("a=candidate:"));

        // Trickle.
        let trickled = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n";
        let tagged = [FRAGMENT, ("if-match", tag.as_str())];
        let noted = house.patch(&session, &token, &tagged, trickled);
        assert_eq!((noted.status, noted.body.len(), noted.header("etag")), (204, 0, None), "{noted:?}");
        assert_problem(&house.patch(&session, &token, &[FRAGMENT], trickled), 428, "precondition-required");
        let stale = [FRAGMENT, ("if-match", "\"stale\"")];
        assert_problem(&house.patch(&session, &token, &stale, trickled), 412, "precondition-failed");
        let json = [("content-type", "application/json"), ("if-match", tag.as_str())];
        assert_problem(&house.patch(&session, &token, &json, "{}"), 415, "unsupported-media-type");
        assert_problem(&house.patch(&session, &token, &tagged, "candidates"), 400, "malformed-description");
        let long = "a=x\r\n".repeat(100_000);
        assert_problem(&house.patch(&session, &token, &tagged, &long), 413, "body-too-large");

        // Restart.
        let fresh = "a=ice-ufrag:fresh\r\na=ice-pwd:0123456789012345678901\r\n";
        assert_problem(&house.patch(&session, &token, &tagged, fresh), 412, "precondition-failed");
        let restarted = house.patch(&session, &token, &[FRAGMENT, ("if-match", "*")], fresh);
        assert_eq!(restarted.status, 200, "{restarted:?}");
        assert_eq!(restarted.header("content-type"), Some("application/trickle-ice-sdpfrag"));
        assert_eq!(restarted.header("content-length"), Some(restarted.body.len().to_string().as_str()));
        let new_tag = restarted.header("etag").expect("a tag").to_owned();
        assert!(new_tag != tag && restarted.text().contains("a=ice-ufrag:"), "{restarted:?}");
        assert_problem(&house.patch(&session, &token, &tagged, trickled), 412, "precondition-failed");
        let tagged = [FRAGMENT, ("if-match", new_tag.as_str())];
        assert_eq!(house.patch(&session, &token, &tagged, trickled).status, 204);

        // Other people, other methods.
        let stranger = house.token();
        assert_problem(&house.patch(&session, &stranger, &tagged, trickled), 403, "token-out-of-scope");
        assert_problem(&house.daemon.call("DELETE", &session, Some(&stranger)), 403, "token-out-of-scope");
        assert_problem(&house.daemon.call("DELETE", &session, None), 401, "token-required");
        for method in ["GET", "POST", "PUT"] {
            let refused = house.daemon.call(method, &session, Some(&token));
            assert_problem(&refused, 405, "method-not-allowed");
            let allowed = refused.header("allow").unwrap_or_default();
            assert!(allowed.contains("PATCH") && allowed.contains("DELETE"), "{allowed}");
        }
        let limited = (0..200).map(|_| house.patch(&session, &token, &tagged, trickled));
        let limited: Vec<Answer> = limited.filter(|answer| answer.status != 204).collect();
        assert_problem(limited.first().expect("a flood is stopped"), 429, "too-many-requests");

        // An entity tag says nothing to a DELETE.
        let ended = house.daemon.send("DELETE", &session, Some(&token), &[("if-match", "\"stale\"")], b"");
        assert_eq!(ended.status, 200, "{ended:?}");
        assert_problem(&house.daemon.call("DELETE", &session, Some(&token)), 404, "session-not-found");
        assert_problem(&house.patch(&session, &token, &tagged, trickled), 404, "session-not-found");
    }
}

#[test]
fn refusals_say_precisely_why() {
    let house = House::new("whip-refusals");
    let daemon = &house.daemon;
    let other = daemon.create_meeting();
    for door in DOORS {
        let token = house.token();
        let path = format!("/{door}/{}", house.meeting);
        let good = offer(door);
        let post =
            |path: &str, token: Option<&str>| daemon.send("POST", path, token, &[SDP], good.as_bytes());
        assert_problem(&post(&path, None), 401, "token-required");
        assert_problem(&post(&path, Some("nonsense")), 401, "token-invalid");
        assert_problem(&post(&path, Some(&house.host)), 401, "token-invalid");
        assert_problem(&post(&format!("/{door}/{other}"), Some(&token)), 403, "token-out-of-scope");
        for nothing in ["meeting_1234567", "meeting_x", "x"] {
            assert_problem(&post(&format!("/{door}/{nothing}"), Some(&token)), 404, "meeting-not-found");
        }
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let refused = daemon.call(method, &path, Some(&token));
            assert_problem(&refused, 405, "method-not-allowed");
            assert_eq!(refused.header("allow"), Some("POST"));
        }
        let plain =
            daemon.send("POST", &path, Some(&token), &[("content-type", "text/plain")], good.as_bytes());
        assert_problem(&plain, 415, "unsupported-media-type");
        assert_problem(
            &daemon.send("POST", &path, Some(&token), &[], good.as_bytes()),
            415,
            "unsupported-media-type",
        );
        let wrong_way = if door == "whip" { "a=recvonly" } else { "a=sendonly" };
        let codecs = ["opus/48000", "red/48000", "VP8/90000", "VP9/90000", "H264/90000", "AV1/90000"];
        let unknown = codecs.iter().fold(good.clone(), |offer, codec| offer.replace(codec, "theora/90000"));
        let lines = |from: &str, to: &str| good.replace(from, to);
        let cases = [
            ("a".repeat(1_000_000), 413, "body-too-large"),
            (String::new(), 400, "malformed-description"),
            ("hello".into(), 400, "malformed-description"),
            (lines("a=mid:", "a=x-mid:"), 400, "malformed-description"),
            (lines("a=ice-ufrag:", "a=x-ufrag:"), 422, "unusable-description"),
            (lines("a=fingerprint:sha-256", "a=fingerprint:md5"), 422, "unusable-description"),
            (lines("a=setup:actpass", "a=setup:passive"), 422, "unusable-description"),
            (lines("a=group:BUNDLE", "a=x-group:BUNDLE"), 422, "unusable-description"),
            (
                lines("a=sendrecv", wrong_way)
                    .replace("a=sendonly", wrong_way)
                    .replace("a=recvonly", wrong_way),
                422,
                "unusable-description",
            ),
            (unknown, 406, "no-common-format"),
        ];
        for (body, status, slug) in cases {
            assert_problem(&house.post(door, &token, &body), status, slug);
        }
        let binary = daemon.send("POST", &path, Some(&token), &[SDP], &[0xff, 0xfe, 0x00]);
        assert_problem(&binary, 400, "malformed-description");
        // What a browser offers as sendrecv is answered in one direction.
        assert_eq!(house.post(door, &token, OFFER).status, 201);
    }
    assert!(!daemon.log().contains("panic"), "{}", daemon.log());
}

#[test]
fn any_page_may_ask_what_the_doors_take() {
    let house = House::new("whip-cors");
    let preflight = [
        ("origin", "https://example.org"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,if-match"),
    ];
    for door in DOORS {
        for (path, header, media_type) in [
            (format!("/{door}/{}", house.meeting), "accept-post", "application/sdp"),
            (format!("/{door}/{}/x", house.meeting), "accept-patch", "application/trickle-ice-sdpfrag"),
        ] {
            for headers in [&preflight[..], &[]] {
                let answer = house.daemon.send("OPTIONS", &path, None, headers, b"");
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(answer.header(header), Some(media_type), "{answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
                assert_eq!(answer.header("access-control-allow-methods"), Some("*"));
                let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
                assert!(
                    ["authorization", "content-type", "if-match"].iter().all(|name| allowed.contains(name))
                );
            }
        }
    }
}

#[test]
fn sessions_follow_their_meeting_and_the_server() {
    let mut house = House::new("whip-life");
    let (publisher, player) = (house.token(), house.token());
    let published = house.post("whip", &publisher, OFFER);
    let played = house.post("whep", &player, &offer("whep"));
    assert_eq!((published.status, played.status), (201, 201));
    house.until_states(&["connected", "connected"]);
    let again = house.post("whip", &publisher, OFFER);
    assert_eq!(again.status, 201, "the newer session wins");
    let session = |answer: &Answer| answer.header("location").expect("a location").to_owned();
    let old = house.daemon.call("DELETE", &session(&published), Some(&publisher));
    assert_problem(&old, 404, "session-not-found");
    house.until_states(&["connected", "connected"]);
    assert_eq!(house.daemon.call("DELETE", &session(&again), Some(&publisher)).status, 200);
    house.until_states(&["left", "connected"]);
    assert_eq!(house.post("whip", &publisher, OFFER).status, 201, "it may come back");
    let end = format!("/api/v1/meetings/{}/end", house.meeting);
    assert_eq!(house.daemon.call("POST", &end, Some(&house.host)).status, 200);
    house.until_states(&["left", "left"]);
    assert_problem(&house.post("whip", &publisher, OFFER), 410, "meeting-ended");
    assert_problem(&house.daemon.call("DELETE", &session(&played), Some(&player)), 410, "meeting-ended");

    // A server that goes away says so for as long as it answers.
    let meeting = house.daemon.create_meeting();
    let token = house.daemon.session_token(&meeting, "Encoder");
    let (address, path) = (house.daemon.address, format!("/whip/{meeting}"));
    house.daemon.signal("TERM");
    let begun = Instant::now();
    let refused = loop {
        let bearer = format!("Bearer {token}");
        let answer =
            http::request(address, "POST", &path, &[SDP, ("authorization", &bearer)], OFFER.as_bytes());
        match answer {
            Ok(answer) if answer.status == 503 => break answer,
            _ => assert!(begun.elapsed() < PATIENCE, "no 503: {answer:?}"),
        }
    };
    assert_problem(&refused, 503, "draining");
    assert!(house.daemon.wait().success());
}

#[test]
fn a_refused_session_leaves_the_same_persons_earlier_one_alone() {
    let house = House::new("whip-earlier");
    for (index, door) in DOORS.into_iter().enumerate() {
        let token = house.token();
        let opened = house.post(door, &token, &offer(door));
        assert_eq!(opened.status, 201, "{opened:?}");
        let session = opened.header("location").expect("a location").to_owned();
        let tag = opened.header("etag").expect("a tag").to_owned();
        let stands = |after: &str| {
            let trickled = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n";
            let noted = house.patch(&session, &token, &[FRAGMENT, ("if-match", &tag)], trickled);
            assert_eq!(noted.status, 204, "after {after}: {noted:?}");
            assert_eq!(house.states()[index], "connected", "after {after}");
            assert_eq!(house.counted(), "1", "after {after}");
        };
        stands("nothing");
        let good = offer(door);
        let codecs = ["opus/48000", "red/48000", "VP8/90000", "VP9/90000", "H264/90000", "AV1/90000"];
        let unknown = codecs.iter().fold(good.clone(), |offer, codec| offer.replace(codec, "theora/90000"));
        for other in DOORS {
            for (body, status, slug) in [
                ("a".repeat(1_000_000), 413, "body-too-large"),
                ("hello".into(), 400, "malformed-description"),
                (good.replace("a=setup:actpass", "a=setup:passive"), 422, "unusable-description"),
                (unknown.clone(), 406, "no-common-format"),
            ] {
                assert_problem(&house.post(other, &token, &body), status, slug);
                stands(slug);
            }
        }
        // The room itself refuses what the host does not allow: then the person was counted already.
        let (other, right) = if door == "whip" { ("whep", "can_subscribe") } else { ("whip", "can_publish") };
        let identity = &house.participants("id")[index];
        let path = format!("/api/v1/meetings/{}/participants/{identity}/permissions", house.meeting);
        let changed = house.daemon.call_json("PATCH", &path, Some(&house.host), &json!({ right: false }));
        assert_eq!(changed.status, 200, "{changed:?}");
        for _ in 0..3 {
            assert_problem(&house.post(other, &token, &offer(other)), 403, "token-out-of-scope");
            stands("a refusal by the host");
        }
        assert_eq!(house.daemon.call("DELETE", &session, Some(&token)).status, 200);
        house.until_states(&["left", "left"][..=index]);
        assert_eq!(house.counted(), "0");
    }
}

/// A request as bytes on a connection that is closed when this is dropped.
fn begin(house: &House, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.daemon.address).expect("it listens");
    let head = format!(
        "POST /whip/{} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/sdp\r\ncontent-length: {}\r\n\r\n",
        house.meeting,
        OFFER.len()
    );
    stream.write_all(&[head.as_bytes(), OFFER.as_bytes()].concat()).expect("it reads");
    stream
}

/// Whoever hangs up before the answer has a session or none, depending on when; nobody can ever use it.
#[test]
fn a_request_given_up_before_its_answer_leaves_nobody_in_the_meeting() {
    let house = House::new("whip-aborted");
    let tokens: Vec<String> = (0..20).map(|_| house.token()).collect();
    for (index, token) in tokens.iter().enumerate() {
        let stream = begin(&house, token);
        std::thread::sleep(Duration::from_millis(index as u64));
        drop(stream);
    }
    let begun = Instant::now();
    while !house.states().iter().any(|state| state == "connected") {
        assert!(begun.elapsed() < PATIENCE, "nobody came as far as a session: {:?}", house.states());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A session whose media never begins lasts 30 seconds.
    while house.counted() != "0" || house.states().iter().any(|state| state == "connected") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {:?}", house.counted(), house.states());
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("nobody is left after {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(house.post("whip", &tokens[0], OFFER).status, 201, "who gave up may try again");
}

#[test]
fn a_full_meeting_takes_no_more_sessions() {
    let house = House::new("whip-full");
    let tokens: Vec<String> = (0..101).map(|_| house.token()).collect();
    let statuses: Vec<u16> = tokens
        .iter()
        .map(|token| {
            loop {
                let answer = house.post("whep", token, &offer("whep"));
                // A flood is slowed down, not turned away.
                if answer.status != 429 {
                    break answer.status;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        })
        .collect();
    assert!(statuses[..100].iter().all(|status| *status == 201), "{statuses:?}");
    assert_eq!(statuses[100], 409);
}
