//! `If-Match` on everything that changes something, against the real daemon: who did not see the present state changes nothing.

use serde_json::{Value, json};
use tests::home::{JSON, MEETINGS, problem};
use tests::http::Answer;
use tests::livekit::Signalling;
use tests::people::{App, Office, PASSWORD};

struct Table {
    office: Office,
    token: String,
}

impl Table {
    fn open(name: &str) -> Self {
        let office = Office::open(name);
        let token = office.daemon.token("ada");
        Self { office, token }
    }

    fn get(&self, path: &str) -> Answer {
        self.office.daemon.call("GET", path, Some(&self.token))
    }

    fn make(&self, path: &str, body: &Value) -> Answer {
        let made = self.office.daemon.call_json("POST", path, Some(&self.token), body);
        assert_eq!(made.status, 200, "{made:?}");
        made
    }

    fn send(&self, method: &str, path: &str, tag: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut headers = vec![("if-match", tag)];
        if !body.is_null() {
            headers.push(JSON);
        }
        self.office.daemon.send(method, path, Some(&self.token), &headers, text.as_bytes())
    }

    /// A change by a tag that is not the present one is refused, and what is there stays as it is.
    fn refuses(&self, method: &str, path: &str, body: &Value, stale: &str) {
        for tag in [stale, "\"x\"", "W/\"x\"", "x", ""] {
            problem(&self.send(method, path, tag, body), 412, "changed-meanwhile");
        }
    }
}

fn tag(answer: &Answer) -> String {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("no tag: {answer:?}"));
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "a strong tag: {tag}");
    tag.to_owned()
}

#[test]
fn a_meeting_is_changed_and_deleted_only_as_it_was_seen() {
    let table = Table::open("if-match-meeting");
    let path = format!("{MEETINGS}/{}", table.make(MEETINGS, &json!({"topic": "x"})).field("id"));
    let seen = tag(&table.get(&path));
    assert_eq!(tag(&table.get(&path)), seen, "the same state has the same tag");
    let renamed = table.send("PATCH", &path, &seen, &json!({"topic": "y"}));
    assert_eq!((renamed.status, renamed.field("topic").as_str()), (200, "y"));
    let second = tag(&renamed);
    assert_ne!(second, seen);
    assert_eq!(tag(&table.get(&path)), second);
    table.refuses("PATCH", &path, &json!({"topic": "z"}), &seen);
    table.refuses("DELETE", &path, &Value::Null, &seen);
    assert_eq!(tag(&table.get(&path)), second, "nothing happened");
    // A passcode shows in the tag, though nobody sees it; so does the first join.
    let hidden = tag(&table.send("PATCH", &path, &second, &json!({"passcode": "4711"})));
    let other = tag(&table.send("PATCH", &path, &hidden, &json!({"passcode": "4712"})));
    assert!(hidden != second && other != hidden);
    table.make(&format!("{path}/join"), &json!({}));
    table.refuses("DELETE", &path, &Value::Null, &other);
    let now = tag(&table.get(&path));
    let listed = format!("\"x\", {now}");
    assert_eq!(table.send("PATCH", &path, &listed, &json!({"duration": 5})).status, 200, "one of several");
    assert_eq!(table.send("PATCH", &path, "*", &json!({"duration": 6})).status, 200);
    // What is not the caller's, or not there, is said first.
    let stranger = table.office.daemon.send("DELETE", &path, None, &[("if-match", "\"x\"")], b"");
    problem(&stranger, 401, "token-required");
    assert_eq!(table.send("DELETE", &path, "*", &Value::Null).status, 204);
    problem(&table.send("DELETE", &path, "*", &Value::Null), 404, "meeting-not-found");
}

#[test]
fn accounts_and_what_they_own_are_changed_only_as_they_were_seen() {
    let table = Table::open("if-match-accounts");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD});
    let made = table.make("/api/v1/users", &new).json();
    let path = format!("/api/v1/users/{}", made["user"]["id"].as_str().expect("an id"));
    let seen = tag(&table.get(&path));
    let disabled = table.send("PATCH", &path, &seen, &json!({"disabled": true}));
    assert_eq!(disabled.json()["disabled"], true, "{disabled:?}");
    assert_eq!(tag(&table.get(&path)), tag(&disabled));
    table.refuses("PATCH", &path, &json!({"disabled": false}), &seen);
    assert_eq!(table.get(&path).json()["disabled"], true);
    assert_eq!(table.send("PATCH", &path, "*", &json!({"disabled": false})).status, 200);
    problem(&table.get("/api/v1/users/user_1"), 404, "user-not-found");
    let uninvited = tag(&table.get(&path));
    table.make(&format!("{path}/invitation"), &json!({}));
    table.refuses("PATCH", &path, &json!({"role": "admin"}), &uninvited);
    // What never changes has no tag that anybody could have seen.
    let key = table.make("/api/v1/users/me/api-keys", &json!({"name": "x"})).field("key");
    let client =
        table.make("/api/v1/oauth-clients", &json!({"name": "x", "confidential": true})).field("client_id");
    let session = table.get("/api/v1/users/me/sessions").json()["items"][0]["id"].clone();
    for path in [
        format!("/api/v1/users/me/api-keys/{key}"),
        format!("/api/v1/oauth-clients/{client}"),
        format!("/api/v1/users/me/sessions/{}", session.as_str().expect("an id")),
    ] {
        table.refuses("DELETE", &path, &Value::Null, "\"stale\"");
        assert_eq!(table.send("DELETE", &path, "*", &Value::Null).status, 204, "{path}");
    }
    // The second factor is part of the account's state.
    let totp = "/api/v1/users/me/totp";
    let app = App::scan(&table.make(totp, &json!({})).field("uri"));
    let before = tag(&table.get("/api/v1/users/me"));
    let verified = table.make(&format!("{totp}/verify"), &json!({"code": app.code(0)})).json();
    let code = json!({"code": app.code(1)});
    problem(&table.send("DELETE", totp, &before, &code), 412, "changed-meanwhile");
    let before = tag(&table.get("/api/v1/users/me"));
    let recovery = verified["recovery_codes"][0].as_str().expect("a code");
    assert_eq!(table.office.ask("ada", PASSWORD, Some(recovery)).status, 200);
    problem(&table.send("DELETE", totp, &before, &code), 412, "changed-meanwhile");
    let now = tag(&table.get("/api/v1/users/me"));
    assert_eq!(table.send("DELETE", totp, &now, &code).status, 204, "the code was not used up");
}

#[test]
fn a_strong_tag_is_of_the_bytes_that_are_sent() {
    let table = Table::open("tags-and-encodings");
    let path = format!("{MEETINGS}/{}", table.make(MEETINGS, &json!({"topic": "x"})).field("id"));
    let packed = |path: &str| {
        table.office.daemon.send("GET", path, Some(&table.token), &[("accept-encoding", "gzip")], b"")
    };
    let shown = packed(&path);
    assert_eq!(shown.header("content-encoding"), None, "{shown:?}");
    assert_eq!(tag(&shown), tag(&table.get(&path)));
    // What has no tag is packed.
    assert_eq!(packed(MEETINGS).header("content-encoding"), Some("gzip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_changed_only_as_they_were_seen() {
    let table = Table::open("if-match-permissions");
    let meeting = table.make(MEETINGS, &json!({"topic": "x"})).field("id");
    let session = table.office.daemon.session_token(&meeting, "Guest");
    let mut guest = Signalling::open(table.office.daemon.address, &session, "").await.expect("let in");
    let identity = guest.join().await.participant.expect("itself").identity;
    let path = format!("{MEETINGS}/{meeting}/participants/{identity}/permissions");
    let silent = table.send("PATCH", &path, "*", &json!({"can_publish": false}));
    assert_eq!((silent.status, silent.json()["can_publish"].as_bool()), (200, Some(false)));
    let seen = tag(&silent);
    let deaf = table.send("PATCH", &path, &seen, &json!({"can_subscribe": false}));
    assert_eq!(deaf.status, 200, "{deaf:?}");
    table.refuses("PATCH", &path, &json!({"can_publish": true}), &seen);
    let now = table.send("PATCH", &path, &tag(&deaf), &json!({}));
    assert_eq!((now.json()["can_publish"].as_bool(), tag(&now)), (Some(false), tag(&deaf)));
}
