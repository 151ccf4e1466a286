//! `Idempotency-Key` against the real daemon: what is asked for twice is made once, and answered alike, also by one that was killed in
//! between. `KAIGI_SOAK_ROUNDS` sets the number of kills.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE, Scratch};
use tests::home::{Home, JSON, MEETINGS, problem};
use tests::http::{self, Answer};
use tests::people::{Office, PASSWORD};

const USERS: &str = "/api/v1/users";
const KEYS: &str = "/api/v1/users/me/api-keys";
const CLIENTS: &str = "/api/v1/oauth-clients";

fn post(daemon: &Daemon, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [JSON, ("idempotency-key", key)];
    daemon.send("POST", path, Some(token), &headers, body.to_string().as_bytes())
}

fn count(daemon: &Daemon, token: &str, path: &str) -> usize {
    let list = daemon.call("GET", &format!("{path}?limit=100"), Some(token));
    list.json()["items"].as_array().unwrap_or_else(|| panic!("{list:?}")).len()
}

#[test]
fn what_is_made_is_made_once_and_answered_alike_also_after_a_crash() {
    let office = Office::open("once");
    let ada = office.daemon.token("ada");
    let bob = json!({"name": "bob", "email": "bob@example.org"});
    let invited = post(&office.daemon, &ada, USERS, "u", &bob);
    let invitation = format!("{USERS}/{}/invitation", invited.json()["user"]["id"].as_str().expect("an id"));
    let calls = [
        (MEETINGS, "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", json!({"topic": "x"}), Some(MEETINGS)),
        (KEYS, "key", json!({"name": "x"}), Some(KEYS)),
        (USERS, "u", bob, Some(USERS)),
        (invitation.as_str(), "again", json!({}), None),
        (CLIENTS, "client", json!({"name": "x", "confidential": true}), Some(CLIENTS)),
    ];
    let first: Vec<Answer> =
        calls.iter().map(|(path, key, body, _)| post(&office.daemon, &ada, path, key, body)).collect();
    for answer in &first {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(first[2].body, invited.body);
    let counts: Vec<_> =
        calls.iter().map(|call| call.3.map(|list| count(&office.daemon, &ada, list))).collect();

    let (data, scratch) = (office.daemon.data.clone(), office.scratch);
    office.daemon.kill();
    let office = Office { daemon: Daemon::start(&data, &[]), scratch };
    for ((path, key, body, _), first) in calls.iter().zip(&first) {
        let again = post(&office.daemon, &ada, path, key, body);
        assert_eq!((again.status, again.text()), (200, first.text()), "{path}");
        assert_eq!(again.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(again.header("cache-control"), Some("no-store"), "{path}");
        let mut other = body.clone();
        other["name"] = json!("another");
        problem(&post(&office.daemon, &ada, path, key, &other), 422, "idempotency-key-reused");
    }
    let after: Vec<_> =
        calls.iter().map(|call| call.3.map(|list| count(&office.daemon, &ada, list))).collect();
    assert_eq!(counts, after);
    // The invitation that was answered again still counts: it was not replaced.
    let link = first[3].field("invitation_url");
    let accept =
        json!({"token": link.split_once('#').expect("a link").1, "password": "a long enough password"});
    assert_eq!(office.daemon.call_json("POST", "/api/v1/invitation", None, &accept).status, 200);
}

#[test]
fn a_key_is_its_callers_own_and_has_a_form() {
    let home = Home::demo("keys");
    let (ada, bob) = (home.daemon.token("ada"), home.daemon.token("bob"));
    let body = json!({"topic": "x"});
    let of_ada = post(&home.daemon, &ada, MEETINGS, "key", &body).field("id");
    assert_ne!(post(&home.daemon, &bob, MEETINGS, "key", &body).field("id"), of_ada);
    // A refused request keeps nothing: the same key is good for what was meant.
    problem(&post(&home.daemon, &ada, MEETINGS, "fresh", &json!({"topic": ""})), 422, "invalid-fields");
    assert_eq!(post(&home.daemon, &ada, MEETINGS, "fresh", &body).status, 200);
    for bad in ["", "\"", "two words", &"k".repeat(256)] {
        problem(&post(&home.daemon, &ada, MEETINGS, bad, &body), 400, "idempotency-key-malformed");
    }
    // Who shows no token has no keys, rather than a key that does nothing.
    let headers = [JSON, ("idempotency-key", "key")];
    let nobody = home.daemon.send("POST", MEETINGS, None, &headers, body.to_string().as_bytes());
    problem(&nobody, 401, "token-required");
    // Pages elsewhere may send it.
    let asked = [
        ("origin", "https://elsewhere.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "idempotency-key"),
    ];
    let preflight = home.daemon.send("OPTIONS", MEETINGS, None, &asked, b"");
    let allowed = preflight.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
    assert!(allowed.contains("idempotency-key"), "{allowed}");
    let log = home.daemon.log();
    assert!(!log.contains("fresh"), "{log}");
}

#[test]
fn who_is_no_admin_any_more_hears_no_answer_of_before() {
    let office = Office::open("once-demoted");
    let ada = office.daemon.token("ada");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD, "role": "admin"});
    let bob_id = office.daemon.call_json("POST", USERS, Some(&ada), &new).json()["user"]["id"].clone();
    let path = format!("{USERS}/{}", bob_id.as_str().expect("an id"));
    let bob = office.daemon.token("bob");
    let eve = json!({"name": "eve", "email": "eve@example.org"});
    let made = post(&office.daemon, &bob, USERS, "u", &eve);
    let invitation = format!("{USERS}/{}/invitation", made.json()["user"]["id"].as_str().expect("an id"));
    let calls = [
        (USERS, "u", eve),
        (invitation.as_str(), "i", json!({})),
        (CLIENTS, "c", json!({"name": "x", "confidential": true})),
    ];
    for (path, key, body) in &calls {
        assert_eq!(post(&office.daemon, &bob, path, key, body).status, 200, "{path}");
    }
    let demoted = office.daemon.call_json("PATCH", &path, Some(&ada), &json!({"role": "user"}));
    assert_eq!(demoted.status, 200, "{demoted:?}");
    for (path, key, body) in &calls {
        problem(&post(&office.daemon, &bob, path, key, body), 403, "not-admin");
    }
}

#[test]
fn a_client_that_hangs_up_takes_nothing_back_and_gives_no_turn_away() {
    let home = Home::demo("hung-up");
    let ada = home.daemon.token("ada");
    for round in 0..5 {
        let key = format!("round-{round}");
        // A passcode takes its time to hash: the client is gone meanwhile.
        let body = json!({"topic": key, "passcode": "4711"});
        let text = body.to_string();
        let head = format!(
            "POST {MEETINGS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ada}\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        let mut stream = TcpStream::connect(home.daemon.address).expect("connects");
        stream.write_all(&[head.as_bytes(), text.as_bytes()].concat()).expect("is sent");
        std::thread::sleep(Duration::from_millis(3));
        drop(stream);
        let begun = Instant::now();
        while count(&home.daemon, &ada, MEETINGS) <= round {
            assert!(begun.elapsed() < PATIENCE, "what was begun did not come to its end");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The turn ends right after the write.
        let again = loop {
            let again = post(&home.daemon, &ada, MEETINGS, &key, &body);
            if again.status != 409 {
                break again;
            }
            assert!(begun.elapsed() < PATIENCE, "{again:?}");
        };
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(count(&home.daemon, &ada, MEETINGS), round + 1);
    }
}

#[test]
fn an_address_nobody_has_is_not_repeated_in_an_answer() {
    let home = Home::demo("long-host");
    let ada = home.daemon.token("ada");
    let body = json!({"topic": "x"}).to_string();
    for extra in ["", "idempotency-key: key\r\n"] {
        let head = format!(
            "POST {MEETINGS} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {ada}\r\n\
             content-type: application/json\r\n{extra}content-length: {}\r\n\r\n{body}",
            "x".repeat(6_100),
            body.len()
        );
        let made = http::exchange(home.daemon.address, head.as_bytes()).expect("an answer");
        assert_eq!(made.status, 200, "{extra}: {made:?}");
        assert!(made.body.len() < 2_000, "{made:?}");
    }
}

#[test]
fn of_many_at_once_one_makes_it_and_the_others_wait_or_hear_of_it() {
    let home = Home::demo("at-once");
    let ada = home.daemon.token("ada");
    for round in 0..10 {
        let key = format!("round-{round}");
        // A passcode takes its time to hash: the others arrive meanwhile.
        let body = json!({"topic": key, "passcode": "4711"});
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let ask = || post(&home.daemon, &ada, MEETINGS, &key, &body);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let mut made: Vec<String> = Vec::new();
        for answer in &answers {
            match answer.status {
                200 => made.push(answer.field("id")),
                _ => assert_eq!(problem(answer, 409, "idempotency-key-in-use"), Vec::<String>::new()),
            }
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 1, "{answers:?}");
    }
    assert_eq!(count(&home.daemon, &ada, MEETINGS), 10);
}

/// Those who ask at once, and the last answers of each that are asked for again: fewer than are kept.
const ASKING: usize = 4;
const ASKED_AGAIN: usize = 20;

/// Makes meetings until the daemon dies: what each request was named, and the id it was answered with.
fn make_until_killed(address: SocketAddr, token: &str, name: &str) -> Vec<(String, Option<String>)> {
    let bearer = format!("Bearer {token}");
    let mut asked = Vec::new();
    loop {
        let key = format!("{name}-{}", asked.len());
        let body = json!({ "topic": key }).to_string();
        let headers = [JSON, ("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        let answer = http::request(address, "POST", MEETINGS, &headers, body.as_bytes()).ok();
        // Half an answer is none.
        let id = answer.as_ref().and_then(|answer| {
            let body: Value = serde_json::from_slice(&answer.body).ok()?;
            body["id"].as_str().map(str::to_owned)
        });
        let dead = id.is_none();
        asked.push((key, id));
        if dead {
            return asked;
        }
    }
}

#[test]
fn a_request_repeated_after_kill_9_makes_nothing_twice() {
    let rounds: u64 =
        std::env::var("KAIGI_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let scratch = Scratch::new("once-killed");
    let data = scratch.join("data");
    let (mut doubtful, mut made) = (0, 0);
    for round in 0..rounds {
        let daemon = Daemon::start(&data, &["--demo"]);
        let who = format!("user {round}");
        let (token, address) = (daemon.token(&who), daemon.address);
        let asked: Vec<Vec<_>> = std::thread::scope(|scope| {
            let token = &token;
            let threads: Vec<_> = (0..ASKING)
                .map(|nth| scope.spawn(move || make_until_killed(address, token, &format!("{round}-{nth}"))))
                .collect();
            std::thread::sleep(Duration::from_millis(40 + round * 37 % 200));
            daemon.kill();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let daemon = Daemon::start(&data, &["--demo"]);
        for (key, id) in asked.iter().flat_map(|asked| asked.iter().rev().take(ASKED_AGAIN)) {
            let again = post(&daemon, &token, MEETINGS, key, &json!({ "topic": key }));
            assert_eq!(again.status, 200, "round {round}: {again:?}");
            match id {
                Some(id) => assert_eq!(&again.field("id"), id, "round {round}: {key} was answered before"),
                None => doubtful += 1,
            }
        }
        let (mut topics, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = daemon.call("GET", &format!("{MEETINGS}?limit=100{cursor}"), Some(&token)).json();
            let items = page["items"].as_array().expect("a list").iter();
            topics.extend(items.map(|item| item["topic"].as_str().expect("a topic").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let wanted: BTreeSet<&String> = asked.iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(topics.iter().collect::<BTreeSet<_>>(), wanted, "round {round}");
        assert_eq!(topics.len(), wanted.len(), "round {round}: some were made twice");
        made += topics.len();
        daemon.kill();
    }
    println!("{rounds} kills, {made} meetings, {doubtful} requests without an answer asked again");
}
