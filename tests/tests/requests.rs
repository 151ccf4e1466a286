//! Requests over HTTP that cannot be taken: bodies, fields, tokens, addresses, sizes. Each is refused with a problem document.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::daemon::PATIENCE;
use tests::home::{Home, JSON, MEETINGS, problem};
use tests::{http, signing};

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
fn a_token_that_does_not_count_is_401_and_never_a_guest() {
    let home = Home::with_known_key("tokens");
    let (path, _) = home.meeting(json!({}));
    let good = home.daemon.token("ada");
    let claims = |exp: i64, aud: &str| {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp()).expect("before the year 292 billion");
        json!({"iss": "kaigi", "sub": "user_1", "aud": aud, "iat": now - 7_200, "nbf": now - 7_200, "exp": now + exp, "jti": "x"})
    };
    let key = signing::pkcs8();
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
