//! Accounts over HTTP, against the real daemon: set-up, sign-in, sessions, codes, roles, the audit log.

use std::time::Instant;

use serde_json::{Value, json};
use tests::daemon::{Daemon, PATIENCE, assert_one_line, run};
use tests::home::{Home, JSON, problem};
use tests::http::Answer;
use tests::people::{App, Office, PASSWORD};

const USERS: &str = "/api/v1/users";
const ME: &str = "/api/v1/users/me";
const SESSIONS: &str = "/api/v1/users/me/sessions";
const TOTP: &str = "/api/v1/users/me/totp";
const SESSION: &str = "/api/v1/session";
const AUDIT: &str = "/api/v1/audit";

fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().expect("a list").clone()
}

#[test]
fn the_first_account_is_made_once_by_the_printed_link() {
    let office = Office::closed("setup", &[]);
    let token = office.setup_token();
    let data = office.daemon.data.to_str().expect("ASCII").to_owned();
    problem(&office.set_up("x"), 403, "link-dead");
    problem(&office.set_up(""), 403, "link-dead");
    for (field, value) in
        [("password", "short"), ("password", "passwordpassword"), ("email", "ada"), ("name", " ")]
    {
        let mut body =
            json!({"token": token, "name": "ada", "email": "ada@example.org", "password": PASSWORD});
        body[field] = json!(value);
        let answer = office.daemon.call_json("POST", "/api/v1/setup", None, &body);
        assert_eq!(problem(&answer, 422, "invalid-fields"), [format!("/{field}")], "{value}");
    }
    // The operator asks for another link; the printed one is dead then.
    let link = run(&["setup-link", "--data", &data]);
    assert!(link.status.success(), "{link:?}");
    let link = String::from_utf8_lossy(&link.stdout).trim().to_owned();
    assert!(link.starts_with(&format!("http://{}/setup#", office.daemon.address)), "{link}");
    assert_eq!(office.daemon.call("GET", "/setup", None).status, 200);
    problem(&office.set_up(&token), 403, "link-dead");
    let token = link.split_once('#').expect("a fragment").1;
    let made = office.set_up(token);
    assert_eq!((made.field("role").as_str(), made.field("email").as_str()), ("admin", "ada@example.org"));
    assert_eq!(office.browser(&made).me().field("name"), "ada", "who sets up is signed in");
    problem(&office.set_up(token), 409, "already-set-up");
    let refused = run(&["setup-link", "--data", &data]);
    assert_eq!(refused.status.code(), Some(1));
    assert_one_line(&refused.stderr, &["set up already"]);
    assert!(!office.daemon.log().contains(token));
}

#[test]
fn a_link_of_before_a_restart_is_dead_and_demo_mode_needs_none() {
    let office = Office::closed("restarted", &[]);
    let token = office.setup_token();
    office.daemon.signal("TERM");
    let mut daemon = office.daemon;
    daemon.wait();
    let data = daemon.data.clone();
    drop(daemon);
    let office = Office { daemon: Daemon::start(&data, &[]), scratch: office.scratch };
    problem(&office.set_up(&token), 403, "link-dead");
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let stopped = run(&["setup-link", "--data", office.scratch.join("nobody").to_str().expect("ASCII")]);
    assert_eq!(stopped.status.code(), Some(1));
    assert_one_line(&stopped.stderr, &["no server runs"]);
    let demo = Home::demo("setup-demo");
    let link = run(&["setup-link", "--data", demo.daemon.data.to_str().expect("ASCII")]);
    assert!(String::from_utf8_lossy(&link.stdout).contains("/setup#"), "{link:?}");
}

#[test]
fn signing_in_gives_a_session_and_signing_out_ends_it() {
    let office = Office::open("signin");
    let answer = office.ask("Ada", PASSWORD, None);
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.starts_with("kaigi=") && set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    assert!(!answer.text().contains("argon2"), "{answer:?}");
    let browser = office.browser(&answer);
    assert_eq!(browser.me().field("email"), "ada@example.org");
    // The account makes meetings, which a guest may not here.
    let made = browser.call("POST", "/api/v1/meetings", &json!({"topic": "x"}));
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(items(&browser.call("GET", "/api/v1/meetings", &Value::Null)).len(), 1);
    let out = browser.call("DELETE", SESSION, &Value::Null);
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")), "{out:?}");
    problem(&browser.me(), 401, "token-required");
    assert_eq!(browser.call("DELETE", SESSION, &Value::Null).status, 204, "out is out");
    // A session that has ended does not keep its browser from joining as a guest.
    let join = format!("/api/v1/meetings/{}/join", made.field("id"));
    assert_eq!(browser.call("POST", &join, &json!({"name": "Guest"})).status, 200);
}

#[test]
fn over_tls_the_cookie_is_for_this_host_and_tls_alone() {
    let office = Office::public("secure", "https");
    let answer = office.set_up(&office.setup_token());
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(
        set.starts_with("__Host-kaigi=") && set.contains("; Secure") && set.contains("; Path=/"),
        "{set}"
    );
    assert!(!set.contains("Domain"), "{set}");
    let browser = office.browser(&answer);
    let patch = |origin: &str| browser.send("PATCH", ME, &[("origin", origin)], &json!({"name": "Ada L."}));
    assert_eq!(patch(&format!("https://{}", office.daemon.address)).status, 200);
    problem(&patch(&format!("http://{}", office.daemon.address)), 403, "cross-site");
}

#[test]
fn who_signs_in_wrongly_learns_nothing() {
    let office = Office::open("unknown");
    let wrong = office.ask("ada", "a wrong long password", None);
    problem(&wrong, 401, "credentials-wrong");
    let unknown = office.ask("nobody", PASSWORD, None);
    problem(&unknown, 401, "credentials-wrong");
    assert_eq!(wrong.text(), unknown.text());
    // Somebody whom the operator made for scripts has no password to guess.
    let data = office.daemon.data.to_str().expect("ASCII");
    assert!(run(&["token", "--user", "bot", "--demo", "--data", data]).status.success());
    assert_eq!(office.ask("bot", PASSWORD, None).text(), wrong.text());
    assert_eq!(office.ask("ada", &"x".repeat(5_000), None).text(), wrong.text());
    let none = office.daemon.call_json("POST", SESSION, None, &json!({"email": "", "password": ""}));
    assert_eq!(none.text(), wrong.text());
    let fields = office.daemon.call_json("POST", SESSION, None, &json!({"email": 1, "pass": ""}));
    assert_eq!(problem(&fields, 422, "invalid-fields"), ["/email", "/password", "/pass"]);
}

#[test]
fn guessing_is_slowed_down_and_keeps_nobody_else_out() {
    let office = Office::public("guesses", "http");
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let from = |address: &str, password: &str| {
        let body = json!({"email": "ada@example.org", "password": password}).to_string();
        let headers = [JSON, ("x-forwarded-for", address)];
        office.daemon.send("POST", SESSION, None, &headers, body.as_bytes())
    };
    for _ in 0..5 {
        problem(&from("192.0.2.1", "a wrong long password"), 401, "credentials-wrong");
    }
    let slowed = from("192.0.2.1", "a wrong long password");
    problem(&slowed, 429, "too-many-attempts");
    let wait: u64 = slowed.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    problem(&from("192.0.2.1", PASSWORD), 429, "too-many-attempts");
    // The account's owner, elsewhere.
    assert_eq!(from("192.0.2.2", PASSWORD).status, 200);
    std::thread::sleep(std::time::Duration::from_secs(wait));
    problem(&from("192.0.2.1", "a wrong long password"), 401, "credentials-wrong");
    let again = from("192.0.2.1", PASSWORD);
    let longer: u64 = again.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!(again.status == 429 && longer >= wait, "{again:?}");
}

#[test]
fn a_page_of_another_site_cannot_use_a_session() {
    let office = Office::open("crosssite");
    let browser = office.sign_in("ada");
    let own = format!("http://{}", office.daemon.address);
    let evil = "https://evil.example";
    for (method, path, body) in [
        ("PATCH", ME, json!({"name": "Eve"})),
        ("POST", TOTP, Value::Null),
        ("DELETE", SESSION, Value::Null),
        ("POST", USERS, json!({"name": "eve", "email": "eve@example.org"})),
        ("POST", "/api/v1/meetings", json!({"topic": "x"})),
    ] {
        for headers in [
            vec![],
            vec![("origin", evil)],
            vec![("origin", "null")],
            vec![("origin", own.as_str()), ("sec-fetch-site", "cross-site")],
            vec![("sec-fetch-site", "same-site")],
            vec![("sec-fetch-site", "none")],
        ] {
            problem(&browser.send(method, path, &headers, &body), 403, "cross-site");
        }
    }
    let good = browser.send("PATCH", ME, &[("sec-fetch-site", "same-origin")], &json!({"name": "Ada L."}));
    assert_eq!(good.field("name"), "Ada L.");
    // A form is no JSON, and signing somebody in from elsewhere is refused too.
    let form =
        [("origin", own.as_str()), ("content-type", "text/plain"), ("cookie", browser.cookie.as_str())];
    let answer = office.daemon.send("PATCH", ME, None, &form, b"{\"name\":\"Eve\"}");
    problem(&answer, 415, "unsupported-media-type");
    let login = json!({"email": "ada@example.org", "password": PASSWORD}).to_string();
    let answer = office.daemon.send("POST", SESSION, None, &[JSON, ("origin", evil)], login.as_bytes());
    problem(&answer, 403, "cross-site");
    assert!(answer.header("access-control-allow-credentials").is_none(), "{answer:?}");
    // A Bearer token says by itself who asks.
    let token = office.daemon.token("Ada L.");
    let body = json!({"name": "ada"}).to_string();
    let answer = office.daemon.send("PATCH", ME, Some(&token), &[JSON, ("origin", evil)], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn sessions_are_listed_and_ended_and_outlive_a_restart() {
    let office = Office::open("sessions");
    let laptop = office.sign_in("ada");
    let phone = office.sign_in("ada");
    let listed = items(&phone.call("GET", SESSIONS, &Value::Null));
    // The one of the set-up is the third.
    assert_eq!(listed.len(), 3);
    assert_eq!(listed.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(listed.iter().all(|session| session["ip"] == "127.0.0.1" && session["created_at"].is_string()));
    let text = phone.call("GET", SESSIONS, &Value::Null).text();
    let secret = phone.cookie.rsplit('.').next().expect("a secret");
    assert!(!text.contains(secret), "{text}");
    let of_laptop = items(&laptop.call("GET", SESSIONS, &Value::Null));
    let id = of_laptop.iter().find(|session| session["current"] == true).expect("its own")["id"].clone();
    let path = format!("{SESSIONS}/{}", id.as_str().expect("an id"));
    let ended = phone.call("DELETE", &path, &Value::Null);
    assert_eq!(ended.status, 204, "{ended:?}");
    problem(&laptop.me(), 401, "token-required");
    problem(&phone.call("DELETE", &path, &Value::Null), 404, "session-not-found");
    for odd in ["x", "session_", "session_1", "session_-1", "meeting_1"] {
        problem(&phone.call("DELETE", &format!("{SESSIONS}/{odd}"), &Value::Null), 404, "session-not-found");
    }
    let cookie = phone.cookie;
    let data = office.daemon.data.clone();
    office.daemon.kill();
    let office = Office { daemon: Daemon::start(&data, &[]), scratch: office.scratch };
    let answer = office.daemon.send("GET", ME, None, &[("cookie", &cookie)], b"");
    assert_eq!(answer.status, 200, "acknowledged is durable: {answer:?}");
}

#[test]
fn a_new_password_takes_the_old_one_and_ends_every_other_session() {
    let office = Office::open("password");
    let (here, there) = (office.sign_in("ada"), office.sign_in("ada"));
    let new = "another long password";
    let change = |body: Value| here.call("PATCH", ME, &body);
    let missing = change(json!({"password": new}));
    assert_eq!(problem(&missing, 422, "invalid-fields"), ["/current_password"]);
    problem(&change(json!({"password": new, "current_password": "wrong"})), 403, "password-wrong");
    let short = change(json!({"password": "short", "current_password": PASSWORD}));
    assert_eq!(problem(&short, 422, "invalid-fields"), ["/password"]);
    assert_eq!(there.me().status, 200);
    assert_eq!(change(json!({"password": new, "current_password": PASSWORD})).status, 200);
    assert_eq!(here.me().status, 200);
    problem(&there.me(), 401, "token-required");
    problem(&office.ask("ada", PASSWORD, None), 401, "credentials-wrong");
    assert_eq!(office.ask("ada", new, None).status, 200);
}

#[test]
fn a_profile_changes_only_as_the_caller_saw_it() {
    let office = Office::open("profile");
    let browser = office.sign_in("ada");
    let origin = format!("http://{}", office.daemon.address);
    let rename = |tag: &str, name: &str| {
        browser.send("PATCH", ME, &[("origin", &origin), ("if-match", tag)], &json!({ "name": name }))
    };
    let seen = browser.me().header("etag").expect("a tag").to_owned();
    let renamed = rename(&seen, "Ada L.");
    assert_eq!(renamed.status, 200, "{renamed:?}");
    assert_ne!(renamed.header("etag"), Some(seen.as_str()));
    problem(&rename(&seen, "Eve"), 412, "changed-meanwhile");
    problem(&rename("W/\"x\"", "Eve"), 412, "changed-meanwhile");
    assert_eq!(rename("*", "Ada").status, 200);
    assert_eq!(browser.me().field("name"), "Ada");
    for (body, pointer) in [(json!({"name": ""}), "/name"), (json!({"role": "admin"}), "/role")] {
        let answer = browser.call("PATCH", ME, &body);
        assert_eq!(problem(&answer, 422, "invalid-fields"), [pointer]);
    }
}

#[test]
fn codes_of_an_authenticator_app_are_asked_for_and_count_once() {
    let office = Office::open("totp");
    let browser = office.sign_in("ada");
    let verify = |code: &str| browser.call("POST", &format!("{TOTP}/verify"), &json!({ "code": code }));
    problem(&verify("000000"), 409, "totp-not-started");
    let offered = browser.call("POST", TOTP, &Value::Null);
    let app = App::scan(&offered.field("uri"));
    assert_eq!(office.ask("ada", PASSWORD, None).status, 200, "nothing changes before a code was shown");
    problem(&verify("12345"), 403, "totp-wrong");
    let enabled = verify(&app.code(-1));
    assert_eq!(enabled.status, 200, "{enabled:?}");
    let recovery: Vec<String> = enabled.json()["recovery_codes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|code| code.as_str().expect("text").to_owned())
        .collect();
    assert_eq!(recovery.len(), 10);
    problem(&browser.call("POST", TOTP, &Value::Null), 409, "totp-already-on");
    problem(&office.ask("ada", PASSWORD, None), 401, "totp-required");
    problem(&office.ask("ada", "a wrong long password", Some(&app.code(0))), 401, "credentials-wrong");
    // The step of the enrolment is used up, and so is each after it.
    problem(&office.ask("ada", PASSWORD, Some(&app.code(-1))), 403, "totp-wrong");
    let code = app.code(1);
    assert_eq!(office.ask("ada", PASSWORD, Some(&code)).status, 200);
    problem(&office.ask("ada", PASSWORD, Some(&code)), 403, "totp-wrong");
    assert_eq!(office.ask("ada", PASSWORD, Some(&recovery[0])).status, 200);
    problem(&office.ask("ada", PASSWORD, Some(&recovery[0])), 403, "totp-wrong");
    let me = browser.me().json();
    assert_eq!((&me["totp_enabled"], &me["recovery_codes_left"]), (&json!(true), &json!(9)));
    problem(&browser.call("DELETE", TOTP, &json!({"code": "123"})), 403, "totp-wrong");
    let removed = browser.call("DELETE", TOTP, &json!({"code": recovery[1].to_lowercase()}));
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(office.ask("ada", PASSWORD, None).status, 200);
    problem(&browser.call("DELETE", TOTP, &json!({"code": recovery[2]})), 409, "totp-not-started");
}

#[test]
fn guessing_codes_is_slowed_down() {
    let office = Office::open("codes");
    let browser = office.sign_in("ada");
    let app = App::scan(&browser.call("POST", TOTP, &Value::Null).field("uri"));
    let verified = browser.call("POST", &format!("{TOTP}/verify"), &json!({"code": app.code(0)}));
    assert_eq!(verified.status, 200, "{verified:?}");
    let mut answers: Vec<u16> =
        (0..7).map(|n| office.ask("ada", PASSWORD, Some(&format!("00000{n}"))).status).collect();
    answers.dedup();
    assert_eq!(answers, [403, 429]);
    // Also by the other door.
    problem(&browser.call("DELETE", TOTP, &json!({"code": "000009"})), 429, "too-many-attempts");
}

#[test]
fn admins_invite_and_nobody_else_manages_anybody() {
    let office = Office::open("roles");
    let ada = office.sign_in("ada");
    let new = json!({"name": "bob", "email": "Bob@Example.org"});
    let made = ada.call("POST", USERS, &new);
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.json()["user"]["has_password"], false);
    problem(&office.ask("bob", PASSWORD, None), 401, "credentials-wrong");
    let url = made.field("invitation_url");
    let token = url.split_once("/invitation#").expect("a link").1.to_owned();
    let accept = |token: &str, password: &str| {
        let body = json!({"token": token, "password": password});
        office.daemon.call_json("POST", "/api/v1/invitation", None, &body)
    };
    assert_eq!(problem(&accept(&token, "short"), 422, "invalid-fields"), ["/password"]);
    for dead in ["", "x", "1.x", &token[..token.len() - 1]] {
        problem(&accept(dead, PASSWORD), 403, "link-dead");
    }
    let bob = office.browser(&accept(&token, PASSWORD));
    problem(&accept(&token, "yet another password"), 403, "link-dead");
    let bob_id = bob.me().field("id");
    let bob_path = format!("{USERS}/{bob_id}");
    for (method, path, body) in [
        ("GET", USERS, Value::Null),
        ("POST", USERS, json!({"name": "eve", "email": "eve@example.org"})),
        ("PATCH", bob_path.as_str(), json!({"role": "admin"})),
        ("POST", &format!("{bob_path}/invitation"), Value::Null),
        ("GET", AUDIT, Value::Null),
    ] {
        problem(&bob.call(method, path, &body), 403, "not-admin");
        problem(&office.daemon.send(method, path, None, &[JSON], b"{}"), 401, "token-required");
    }
    // Nobody ends a session of somebody else.
    let of_bob = items(&bob.call("GET", SESSIONS, &Value::Null))[0]["id"].clone();
    let path = format!("{SESSIONS}/{}", of_bob.as_str().expect("an id"));
    problem(&ada.call("DELETE", &path, &Value::Null), 404, "session-not-found");
    for odd in ["user_1", "x", "user_0"] {
        let answer = ada.call("PATCH", &format!("{USERS}/{odd}"), &json!({"disabled": true}));
        problem(&answer, 404, "user-not-found");
    }
    problem(&ada.call("POST", USERS, &new), 409, "name-taken");
    let same = json!({"name": "bobby", "email": "bob@example.org"});
    problem(&ada.call("POST", USERS, &same), 409, "email-taken");
    let role = ada.call("PATCH", &bob_path, &json!({"role": "king"}));
    assert_eq!(problem(&role, 422, "invalid-fields"), ["/role"]);
    // A forgotten password: a new link ends what was.
    let again = ada.call("POST", &format!("{bob_path}/invitation"), &Value::Null).field("invitation_url");
    let again = again.split_once('#').expect("a link").1;
    assert_eq!(accept(again, "yet another password").status, 200);
    problem(&bob.me(), 401, "token-required");
}

#[test]
fn a_disabled_account_is_out_at_once_and_the_last_admin_stays() {
    let office = Office::open("disabled");
    let ada = office.sign_in("ada");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD});
    let bob_id = ada.call("POST", USERS, &new).json()["user"]["id"].as_str().expect("an id").to_owned();
    let bob = office.sign_in("bob");
    let token = office.daemon.token("bob");
    let meeting = bob.call("POST", "/api/v1/meetings", &json!({"topic": "x"})).field("id");
    let joined = bob.call("POST", &format!("/api/v1/meetings/{meeting}/join"), &json!({}));
    let validate = format!("/rtc/validate?access_token={}", joined.field("session_token"));
    assert_eq!(office.daemon.call("GET", &validate, None).status, 200);
    let disabled = ada.call("PATCH", &format!("{USERS}/{bob_id}"), &json!({"disabled": true}));
    assert_eq!(disabled.json()["disabled"], true, "{disabled:?}");
    problem(&bob.me(), 401, "token-required");
    problem(&office.daemon.call("GET", ME, Some(&token)), 403, "account-disabled");
    problem(&office.ask("bob", PASSWORD, None), 403, "account-disabled");
    assert_eq!(office.daemon.call("GET", &validate, None).status, 403);
    let ada_id = ada.me().field("id");
    for change in [json!({"role": "user"}), json!({"disabled": true})] {
        problem(&ada.call("PATCH", &format!("{USERS}/{ada_id}"), &change), 409, "last-admin");
    }
    // Every act is in the log, whoever it was done to.
    let lines = items(&ada.call("GET", &format!("{AUDIT}?limit=100"), &Value::Null));
    let last = &lines[0];
    assert_eq!((&last["action"], &last["outcome"]), (&json!("change_user"), &json!("done")));
    assert_eq!((&last["actor"], &last["target"]), (&json!(ada_id), &json!(bob_id)));
    assert_eq!(last["ip"], "127.0.0.1");
    let acts: Vec<&str> = lines.iter().map(|line| line["action"].as_str().expect("an action")).collect();
    assert_eq!(acts, ["change_user", "issue_token", "sign_in", "create_user", "sign_in", "set_up"]);
    let by_operator = &lines[1];
    assert_eq!((&by_operator["actor"], &by_operator["ip"]), (&Value::Null, &Value::Null));
    assert_eq!(by_operator["target"], bob_id);
}

#[test]
fn lists_come_in_pages() {
    let office = Office::open("pages");
    let ada = office.sign_in("ada");
    for n in 0..4 {
        let new = json!({"name": format!("user {n}"), "email": format!("u{n}@example.org")});
        assert_eq!(ada.call("POST", USERS, &new).status, 200);
    }
    for (path, count) in [(USERS, 5), (AUDIT, 6)] {
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let page = ada.call("GET", &format!("{path}?limit=2{cursor}"), &Value::Null);
            assert_eq!(page.status, 200, "{page:?}");
            seen.extend(items(&page).iter().map(ToString::to_string));
            match page.json()["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), count, "{path}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{path}: none twice");
        for bad in ["cursor=!", "limit=0", "limit=101", "colour=red"] {
            problem(&ada.call("GET", &format!("{path}?{bad}"), &Value::Null), 422, "invalid-fields");
        }
    }
}

#[test]
fn no_password_code_or_cookie_is_logged() {
    let office = Office::closed("clear", &["--log-level", "trace", "--log", "json"]);
    let token = office.setup_token();
    assert_eq!(office.set_up(&token).status, 200);
    let browser = office.sign_in("ada");
    let offered = browser.call("POST", TOTP, &Value::Null).field("uri");
    let app = App::scan(&offered);
    let enabled = browser.call("POST", &format!("{TOTP}/verify"), &json!({"code": app.code(0)}));
    let recovery = enabled.json()["recovery_codes"][0].as_str().expect("a code").to_owned();
    let url = browser.call("POST", USERS, &json!({"name": "bob", "email": "bob@example.org"}));
    let invitation = url.field("invitation_url");
    let _ = office.ask("ada", "a wrong long password", None);
    let _ = office.ask("ada", PASSWORD, Some(&recovery));
    let log = office.daemon.log();
    assert!(log.contains("signed in") && log.contains("a sign-in was refused"), "{log}");
    let cookie = browser.cookie.rsplit('.').next().expect("a secret");
    let link = invitation.rsplit('.').next().expect("a secret");
    let plain = recovery.replace('-', "");
    for secret in [PASSWORD, "a wrong long password", &token, cookie, link, &recovery, &plain] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(!log.contains("ada@example.org"), "who signs in is a number in the log");
}

#[test]
fn an_admin_resets_the_codes_of_others_and_nobody_else_does() {
    let office = Office::open("reset");
    let ada = office.sign_in("ada");
    let new = |name: &str| {
        let new = json!({"name": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        ada.call("POST", USERS, &new).json()["user"]["id"].as_str().expect("an id").to_owned()
    };
    let (bob_id, _) = (new("bob"), new("carl"));
    let bob = office.sign_in("bob");
    let app = App::scan(&bob.call("POST", TOTP, &Value::Null).field("uri"));
    let verified = bob.call("POST", &format!("{TOTP}/verify"), &json!({"code": app.code(0)}));
    assert_eq!(verified.status, 200, "{verified:?}");
    problem(&office.ask("bob", PASSWORD, None), 401, "totp-required");
    let reset = format!("{USERS}/{bob_id}/totp");
    problem(&office.sign_in("carl").call("DELETE", &reset, &Value::Null), 403, "not-admin");
    problem(&office.daemon.call("DELETE", &reset, None), 401, "token-required");
    let done = ada.call("DELETE", &reset, &Value::Null);
    assert_eq!((done.status, &done.json()["totp_enabled"]), (200, &json!(false)));
    assert_eq!(office.ask("bob", PASSWORD, None).status, 200);
    problem(&ada.call("DELETE", &reset, &Value::Null), 409, "totp-not-started");
    problem(&ada.call("DELETE", &format!("{USERS}/user_1/totp"), &Value::Null), 404, "user-not-found");
    let own = format!("{USERS}/{}/totp", ada.me().field("id"));
    problem(&ada.call("DELETE", &own, &Value::Null), 409, "own-codes");
    let lines = items(&ada.call("GET", AUDIT, &Value::Null));
    let by = |outcome: &str| {
        lines.iter().filter(|line| line["action"] == "reset_totp" && line["outcome"] == outcome).count()
    };
    assert_eq!((by("done"), by("refused")), (1, 1));
}

#[test]
fn failed_sign_ins_are_written_down_together_and_a_guesser_fills_no_disk() {
    let office = Office::public("failures", "http");
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let from = |address: &str, email: &str, password: &str| {
        let body = json!({"email": email, "password": password}).to_string();
        office.daemon.send("POST", SESSION, None, &[JSON, ("x-forwarded-for", address)], body.as_bytes())
    };
    for _ in 0..4 {
        problem(&from("192.0.2.1", "ada@example.org", "a wrong long password"), 401, "credentials-wrong");
        problem(&from("192.0.2.2", "nobody@example.org", "a wrong long password"), 401, "credentials-wrong");
    }
    let ada = office.browser(&from("192.0.2.3", "ada@example.org", PASSWORD));
    // Nobody waits for the lines.
    let begun = Instant::now();
    let lines = loop {
        let lines = items(&ada.call("GET", AUDIT, &Value::Null));
        if lines.iter().filter(|line| line["action"] == "fail_sign_in").count() >= 2
            || begun.elapsed() > PATIENCE
        {
            break lines;
        }
    };
    let failed: Vec<&Value> = lines.iter().filter(|line| line["action"] == "fail_sign_in").collect();
    assert_eq!(failed.len(), 2, "a line for each account and network: {failed:?}");
    let me = ada.me().field("id");
    let of = |ip: &str| *failed.iter().find(|line| line["ip"] == ip).expect("a line");
    assert_eq!((&of("192.0.2.1")["target"], &of("192.0.2.1")["outcome"]), (&json!(me), &json!("refused")));
    assert_eq!((&of("192.0.2.2")["target"], &of("192.0.2.2")["actor"]), (&Value::Null, &Value::Null));
    assert!(failed.iter().all(|line| line["count"] == 1));
    // What somebody typed is nowhere.
    assert!(!serde_json::to_string(&lines).expect("JSON").contains("nobody@"));
}
