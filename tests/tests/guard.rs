//! Requests that come too fast, that are no requests of ours, and addresses that go on sending them; and that nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE};
use tests::home::{Home, JSON, MEETINGS, problem};
use tests::http::{self, Answer};
use tests::livekit::Signalling;

const PROXY: [&str; 2] = ["--trusted-proxy", "127.0.0.0/8"];
/// The limits outside demo mode, which has none.
const LIMITED: [&str; 5] = ["--demo", "--requests-per-address", "500", "--requests-per-user", "100"];

/// A request of somebody behind the proxy that this test is.
fn from(daemon: &Daemon, address: &str, token: Option<&str>, path: &str) -> Answer {
    daemon.send("GET", path, token, &[("x-forwarded-for", address)], b"")
}

fn refused(daemon: &Daemon, reason: &str) -> u64 {
    let name = format!("kaigi_requests_refused_total{{reason=\"{reason}\"}} ");
    let metrics = daemon.call("GET", "/metrics", None).text();
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).expect("it is counted")
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").and_then(|text| text.parse().ok()).expect("a time")
}

/// Asks until it is refused; how many were answered, and the refusal.
fn until_refused(mut ask: impl FnMut() -> Answer) -> (usize, Answer) {
    for count in 0..2_000 {
        let answer = ask();
        if answer.status == 429 {
            return (count, answer);
        }
    }
    panic!("it is never refused");
}

#[test]
fn an_address_that_asks_too_fast_waits_and_its_neighbours_with_a_token_do_not() {
    let home = Home::with("rates", &[&["--demo", "--requests-per-address", "5"], &PROXY[..]].concat());
    let daemon = &home.daemon;
    let token = daemon.token("ada");
    let (count, answer) = until_refused(|| from(daemon, "192.0.2.1", None, "/j/1"));
    assert!((100..400).contains(&count), "{count}");
    problem(&answer, 429, "too-many-requests");
    assert!((1..=2).contains(&retry_after(&answer)), "{answer:?}");
    // Others, and who is known, are not meant.
    assert_eq!(from(daemon, "192.0.2.2", None, "/j/1").status, 200);
    assert_eq!(from(daemon, "192.0.2.1", Some(&token), MEETINGS).status, 200);
    problem(&from(daemon, "192.0.2.1", Some("a.b.c"), MEETINGS), 429, "too-many-requests");
    // Who watches the server sees it.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(from(daemon, "192.0.2.1", None, path).status, 200, "{path}");
    }
    assert!(refused(daemon, "address_rate") >= 2);
    // A host has all of its /64.
    let (count, _) = until_refused(|| from(daemon, &format!("2001:db8::{:x}", rand()), None, "/j/1"));
    assert!((100..400).contains(&count), "{count}");
    assert_eq!(from(daemon, "2001:db8:0:1::1", None, "/j/1").status, 200);
    // Time heals.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(from(daemon, "192.0.2.1", None, "/j/1").status, 200);
}

fn rand() -> u16 {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    (nanos % 65_521) as u16
}

#[test]
fn an_account_that_asks_too_fast_waits_wherever_it_asks_from() {
    let home = Home::with("user-rates", &[&["--requests-per-user", "5", "--demo"], &PROXY[..]].concat());
    let daemon = &home.daemon;
    let (ada, bob) = (daemon.token("ada"), daemon.token("bob"));
    let mut at = 0;
    let (count, answer) = until_refused(|| {
        at += 1;
        from(daemon, &format!("192.0.2.{}", at % 200), Some(&ada), MEETINGS)
    });
    assert!((100..400).contains(&count), "{count}");
    problem(&answer, 429, "too-many-requests");
    assert!(retry_after(&answer) >= 1);
    assert_eq!(from(daemon, "192.0.2.1", Some(&bob), MEETINGS).status, 200);
    assert!(refused(daemon, "user_rate") >= 1);
}

#[test]
fn beyond_the_rate_of_an_address_a_token_is_good_for_its_own_rate_alone() {
    let rates = ["--demo", "--requests-per-address", "5", "--requests-per-user", "5"];
    let home = Home::with("known", &[&rates[..], &PROXY].concat());
    let daemon = &home.daemon;
    let meeting = daemon.create_meeting();
    let guest = daemon.session_token(&meeting, "Guest");
    // A route that looks at no account.
    let validate = format!("/rtc/validate?access_token={guest}");
    let (count, answer) = until_refused(|| from(daemon, "192.0.2.1", None, &validate));
    assert!((200..800).contains(&count), "{count}");
    problem(&answer, 429, "too-many-requests");
    assert!(refused(daemon, "user_rate") >= 1);
    // In a query it counts where it is read alone.
    let elsewhere = format!("/j/1?access_token={guest}");
    problem(&from(daemon, "192.0.2.1", None, &elsewhere), 429, "too-many-requests");
    assert!(refused(daemon, "address_rate") >= 1);
}

#[test]
fn whoever_is_no_trusted_proxy_cannot_choose_an_address() {
    let home = Home::with("forged", &["--demo", "--requests-per-address", "5"]);
    let mut at = 0;
    let (count, _) = until_refused(|| {
        at += 1;
        let address = format!("192.0.2.{}", at % 200);
        let forwarded = format!("for={address}");
        let headers = [("x-forwarded-for", address.as_str()), ("forwarded", &forwarded)];
        home.daemon.send("GET", "/j/1", None, &headers, b"")
    });
    assert!(count < 400, "{count}");
}

#[test]
fn an_office_that_opens_the_page_at_once_is_not_hindered_and_the_limits_are_shown() {
    let home = Home::with("office", &LIMITED);
    let limits = |daemon: &Daemon| {
        let limits = daemon.call("GET", "/api/v1/limits", None).json();
        (limits["requests_per_address"].clone(), limits["requests_per_user"].clone())
    };
    assert_eq!(limits(&home.daemon), (json!(500), json!(100)));
    let (meeting, _) = home.meeting(json!({}));
    // A hundred people with a page of 25 files each, from one address.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    for _ in 0..24 {
                        assert_eq!(home.daemon.call("GET", "/j/1", None).status, 200);
                    }
                    let joined = home.daemon.call_json("POST", &format!("{meeting}/join"), None, &json!({}));
                    assert_eq!(joined.status, 200, "{joined:?}");
                }
            });
        }
    });
    let open = Home::demo("unlimited");
    assert_eq!(limits(&open.daemon), (Value::Null, Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_opens_so_many_sockets_and_no_more() {
    let home = Home::demo("sockets");
    let daemon = &home.daemon;
    let meeting = daemon.create_meeting();
    let (mallory, ada) = (daemon.session_token(&meeting, "Mallory"), daemon.session_token(&meeting, "Ada"));
    let begun = Instant::now();
    let mut opened = 0_u64;
    let status = loop {
        match Signalling::open(daemon.address, &mallory, "").await {
            Ok(_) => opened += 1,
            Err(status) => break status,
        }
        assert!(opened <= 50 + 5 * (begun.elapsed().as_secs() + 1), "{opened}");
    };
    assert!(status == 429 && opened >= 50, "{status} after {opened}");
    assert!(Signalling::open(daemon.address, &ada, "").await.is_ok());
    assert_eq!(refused(daemon, "socket_rate"), 1);
}

#[test]
fn a_head_that_servers_disagree_about_is_refused_with_its_reason() {
    let home = Home::with("heads", &[&LIMITED[..], &PROXY].concat());
    let daemon = &home.daemon;
    let host = format!("host: {}\r\n", daemon.address);
    let sent = std::cell::Cell::new(0);
    let raw = |head: &str| {
        // Each from an address of its own, which it does not get into trouble.
        sent.set(sent.get() + 1);
        let bytes = format!("{head}x-forwarded-for: 192.0.2.{}\r\nconnection: close\r\n\r\n", sent.get());
        http::exchange(daemon.address, bytes.as_bytes()).unwrap_or_else(|error| panic!("{error}: {head:?}"))
    };
    let before = refused(daemon, "host");
    for head in [
        "GET / HTTP/1.1\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}host: elsewhere.example\r\n"),
        format!("GET / HTTP/1.1\r\n{host}{host}"),
        format!("GET http://elsewhere.example/ HTTP/1.1\r\n{host}"),
        "GET / HTTP/1.1\r\nhost: user@here\r\n".to_owned(),
    ] {
        problem(&raw(&head), 400, "malformed-request");
    }
    assert_eq!(refused(daemon, "host"), before + 5);
    for (path, status, slug, reason) in [
        ("/%252e%252e/%252e%252e/etc/passwd", 404, "not-found", "path"),
        ("/a%00.html", 404, "not-found", "path"),
        ("/..%5c..%5cwindows", 404, "not-found", "path"),
        ("/api/v1/meetings/x%0d%0aset-cookie:a", 404, "meeting-not-found", "path"),
        ("/%c0%ae%c0%ae/etc", 400, "malformed-request", "path_encoding"),
        ("/a/../../etc/passwd", 404, "not-found", "traversal"),
        ("/api/v1/%2e%2e/metrics", 404, "not-found", "traversal"),
        ("/wp-login.php", 404, "not-found", "scanner"),
        ("/.git/config", 404, "not-found", "scanner"),
    ] {
        let before = refused(daemon, reason);
        problem(&raw(&format!("GET {path} HTTP/1.1\r\n{host}")), status, slug);
        assert_eq!(refused(daemon, reason), before + 1, "{path}");
    }
    // What hyper does not let through: framing that disagrees with itself, and heads without end.
    let many: String = (0..150).map(|n| format!("x-{n}: y\r\n")).collect();
    for head in [
        format!("POST {MEETINGS} HTTP/1.1\r\n{host}content-length: 2\r\ncontent-length: 3\r\n"),
        format!("POST {MEETINGS} HTTP/1.1\r\n{host}content-length: -1\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a b: c\r\n"),
        format!("GET /\u{0} HTTP/1.1\r\n{host}"),
        format!("GET / HTTP/1.1\r\n{host}x: a\u{0}b\r\n"),
    ] {
        assert_eq!(raw(&head).status, 400, "{head:?}");
    }
    assert_eq!(raw(&format!("GET / HTTP/1.1\r\n{host}{many}")).status, 431);
    assert_eq!(raw(&format!("GET / HTTP/1.1\r\n{host}x: {}\r\n", "y".repeat(300_000))).status, 431);
    assert_eq!(raw(&format!("GET /{} HTTP/1.1\r\n{host}", "y".repeat(70_000))).status, 414);
    assert_eq!(daemon.call("GET", "/healthz", None).status, 200);
}

#[test]
fn methods_media_types_and_bodies_no_route_takes_are_counted() {
    let home = Home::demo("bodies-counted");
    let daemon = &home.daemon;
    for (method, path) in
        [("TRACE", "/"), ("POST", "/j/1"), ("BREW", MEETINGS), ("TRACE", "/whip/meeting_1"), ("POST", "/rtc")]
    {
        let answer = daemon.call(method, path, None);
        problem(&answer, 405, "method-not-allowed");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("OPTIONS")), "{answer:?}");
    }
    let large = vec![b'x'; 1_000_000];
    for media_type in ["text/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"] {
        let answer = daemon.send("POST", MEETINGS, None, &[("content-type", media_type)], &large);
        problem(&answer, 415, "unsupported-media-type");
    }
    let deep = format!("{{\"topic\":{}{}}}", "[".repeat(40), "]".repeat(40));
    problem(&daemon.send("POST", MEETINGS, None, &[JSON], deep.as_bytes()), 400, "malformed-json");
    let fine = format!("{{\"topic\":{}{}}}", "[".repeat(20), "]".repeat(20));
    problem(&daemon.send("POST", MEETINGS, None, &[JSON], fine.as_bytes()), 422, "invalid-fields");
    // Brackets in a text are no nesting.
    home.meeting(json!({"topic": "[\"{".repeat(60)}));
    let long = vec![b' '; 70_000];
    problem(&daemon.send("POST", MEETINGS, None, &[JSON], &long), 413, "body-too-large");
    for (reason, count) in [("method", 5), ("content_type", 3), ("body_depth", 1), ("body_size", 1)] {
        assert_eq!(refused(daemon, reason), count, "{reason}");
    }
}

#[test]
fn a_scanner_is_sent_away_for_a_while_and_nobody_else_is() {
    let home = Home::with("scanner", &[&LIMITED[..], &PROXY].concat());
    let daemon = &home.daemon;
    let token = daemon.token("ada");
    let meeting = daemon.create_meeting();
    let guest = daemon.session_token(&meeting, "Guest");
    let wanted = ["/.env", "/wp-login.php", "/cgi-bin/x", "/.git/HEAD", "/vendor/phpunit/x.php"];
    let mut scanned = wanted.iter().cycle();
    let (count, _) = until_refused(|| {
        let answer = from(daemon, "192.0.2.1", None, scanned.next().expect("a cycle"));
        assert!(matches!(answer.status, 404 | 429), "{answer:?}");
        answer
    });
    assert!((10..100).contains(&count), "{count}");
    let sent_away = from(daemon, "192.0.2.1", None, "/");
    problem(&sent_away, 429, "too-many-requests");
    assert!((1..=61).contains(&retry_after(&sent_away)), "{sent_away:?}");
    problem(&from(daemon, "192.0.2.1", None, "/api/v1/limits"), 429, "too-many-requests");
    assert!(refused(daemon, "penalty") >= 2);
    // A page elsewhere that has its visitors' browsers ask does not lock out their neighbours.
    let headers = [("x-forwarded-for", "192.0.2.9"), ("sec-fetch-site", "cross-site")];
    for _ in 0..30 {
        assert_eq!(daemon.send("GET", "/.env", None, &headers, b"").status, 404);
    }
    assert_eq!(from(daemon, "192.0.2.9", None, "/").status, 200);
    // Others; and whoever has a token that counts, of whichever kind, also behind that address.
    assert_eq!(from(daemon, "192.0.2.2", None, "/").status, 200);
    assert_eq!(from(daemon, "192.0.2.1", Some(&token), MEETINGS).status, 200);
    let validate = format!("/rtc/validate?access_token={guest}");
    assert_eq!(from(daemon, "192.0.2.1", None, &validate).status, 200);
    problem(&from(daemon, "192.0.2.1", None, "/rtc/validate?access_token=a.b.c"), 429, "too-many-requests");
    assert_eq!(from(daemon, "192.0.2.1", None, "/healthz").status, 200);
}

#[test]
fn people_who_mistype_and_programs_with_mistakes_are_answered_on_and_on() {
    let home = Home::with("honest", &[&LIMITED[..], &PROXY].concat());
    let daemon = &home.daemon;
    // Behind one address: wrong links, old files of a page that was updated, what browsers ask for by themselves.
    for n in 0..100 {
        assert_eq!(from(daemon, "192.0.2.1", None, &format!("/meetin/{n}")).status, 404);
        for path in
            ["/apple-touch-icon-precomposed.png", "/assets/index-0ld.js", "/api/v1/meetings/meeting_7"]
        {
            assert_eq!(from(daemon, "192.0.2.1", None, path).status, 404);
        }
        let body = daemon.send("POST", MEETINGS, None, &[JSON, ("x-forwarded-for", "192.0.2.1")], b"{");
        assert_eq!(body.status, 400, "{body:?}");
    }
    assert_eq!(from(daemon, "192.0.2.1", None, "/").status, 200);
    assert!(refused(daemon, "nowhere") >= 100);
}

#[test]
fn who_sends_a_head_or_a_body_too_slowly_is_given_up() {
    let home = Home::demo("slow");
    let address = home.daemon.address;
    let connect = |head: &str| {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("is set");
        stream.write_all(head.as_bytes()).expect("sends");
        stream
    };
    let mut head = connect("GET / HTTP/1.1\r\nhost: x\r\nx: ");
    let mut body = connect(&format!(
        "POST {MEETINGS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    ));
    let begun = Instant::now();
    // A byte a second is not progress.
    let (mut open, mut answered) = (true, false);
    while open || !answered {
        assert!(begun.elapsed() < PATIENCE, "they are still there");
        std::thread::sleep(Duration::from_millis(500));
        let _ = head.write_all(b"a");
        head.set_read_timeout(Some(Duration::from_millis(10))).expect("is set");
        let mut byte = [0; 1];
        open =
            open && head.read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        let _ = body.write_all(b" ");
        body.set_read_timeout(Some(Duration::from_millis(10))).expect("is set");
        let mut start = [0; 12];
        if !answered && body.peek(&mut start).is_ok_and(|count| count == 12) {
            assert_eq!(&start, b"HTTP/1.1 408");
            answered = true;
        }
    }
    assert_eq!(refused(&home.daemon, "body_slow"), 1);
}
