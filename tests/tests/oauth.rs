//! The authorization server over HTTP, against the real daemon: codes with PKCE, refresh tokens, clients, keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch, run};
use tests::home::{MEETINGS, problem};
use tests::http::Answer;
use tests::people::{Browser, Office};
use tests::signing;

const CLIENTS: &str = "/api/v1/oauth-clients";
const REDIRECT: &str = "https://app.example/callback";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn register(browser: &Browser<'_>, first_party: bool) -> String {
    let new = json!({"name": "An app", "redirect_uris": [REDIRECT], "first_party": first_party});
    browser.call("POST", CLIENTS, &new).field("client_id")
}

fn query(client: &str, redirect: &str, method: &str) -> String {
    let redirect = redirect.replace(':', "%3A").replace('/', "%2F").replace('?', "%3F").replace('#', "%23");
    format!(
        "/oauth/authorize?response_type=code&client_id={client}&redirect_uri={redirect}&state=s%26t%3D1&code_challenge={CHALLENGE}&code_challenge_method={method}"
    )
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("location").expect("a location").to_owned()
}

/// A parameter of an address, as it is written there.
fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').expect("a query").1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {address}")).to_owned()
}

fn post(office: &Office, path: &str, form: &str, basic: Option<(&str, &str)>) -> Answer {
    let header = basic.map(|(id, secret)| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    if let Some(header) = &header {
        headers.push(("authorization", header));
    }
    office.daemon.send("POST", path, None, &headers, form.as_bytes())
}

fn token(office: &Office, form: &str) -> Answer {
    post(office, "/oauth/token", form, None)
}

fn redeem(office: &Office, client: &str, code: &str) -> Answer {
    let redirect = REDIRECT.replace(':', "%3A").replace('/', "%2F");
    token(
        office,
        &format!(
            "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={redirect}&code_verifier={VERIFIER}"
        ),
    )
}

fn refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.field("error"), error, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
}

#[test]
fn a_persons_own_client_gets_a_code_and_meetings_alone() {
    let office = Office::open("oauth");
    let ada = office.sign_in("ada");
    let client = register(&ada, true);
    let path = query(&client, REDIRECT, "S256");
    // Who is not signed in signs in first and comes back.
    let away = location(&office.daemon.call("GET", &path, None));
    assert!(away.starts_with("/signin?next=%2Foauth%2Fauthorize%3F"), "{away}");
    let back = location(&ada.send("GET", &path, &[], &Value::Null));
    assert!(back.starts_with(&format!("{REDIRECT}?code=")), "{back}");
    assert_eq!(parameter(&back, "state"), "s%26t%3D1");
    assert_eq!(parameter(&back, "iss"), format!("http%3A%2F%2F127.0.0.1%3A{}", office.daemon.address.port()));
    let granted = redeem(&office, &client, &parameter(&back, "code"));
    assert_eq!(granted.status, 200, "{granted:?}");
    assert_eq!(granted.header("cache-control"), Some("no-store"));
    let answer = granted.json();
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"], &answer["scope"]),
        (&json!("Bearer"), &json!(900), &json!("meetings"))
    );
    let access = granted.field("access_token");
    let made = office.daemon.call_json("POST", MEETINGS, Some(&access), &json!({"topic": "x"}));
    assert_eq!(made.status, 200, "{made:?}");
    let listed = ada.call("GET", MEETINGS, &Value::Null).json();
    assert_eq!(listed["items"][0]["id"], made.json()["id"], "it is her meeting");
    for (method, path) in [
        ("GET", "/api/v1/users/me"),
        ("GET", "/api/v1/users/me/sessions"),
        ("POST", "/api/v1/users/me/totp"),
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/audit"),
        ("GET", CLIENTS),
    ] {
        problem(&office.daemon.call(method, path, Some(&access)), 403, "token-out-of-scope");
    }
}

#[test]
fn a_third_partys_client_is_allowed_by_the_person_on_our_own_page() {
    let office = Office::open("consent");
    let ada = office.sign_in("ada");
    let client = register(&ada, false);
    let path = query(&client, REDIRECT, "S256");
    let page = ada.send("GET", &path, &[], &Value::Null);
    assert_eq!((page.status, page.header("x-frame-options")), (200, Some("DENY")));
    let ask = json!({
        "response_type": "code", "client_id": client, "redirect_uri": REDIRECT, "state": "x",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    let with = |approve: bool| {
        let mut body = ask.clone();
        body["approve"] = json!(approve);
        body
    };
    let shown = ada.call("POST", "/oauth/authorize", &ask);
    assert_eq!(shown.field("client_name"), "An app");
    let denied = ada.call("POST", "/oauth/authorize", &with(false)).field("redirect_to");
    assert_eq!(
        (parameter(&denied, "error"), parameter(&denied, "state")),
        ("access_denied".into(), "x".into())
    );
    let evil = [("origin", "https://app.example")];
    problem(&ada.send("POST", "/oauth/authorize", &evil, &with(true)), 403, "cross-site");
    let nobody = office.daemon.call_json("POST", "/oauth/authorize", None, &with(true));
    problem(&nobody, 401, "token-required");
    let allowed = ada.call("POST", "/oauth/authorize", &with(true)).field("redirect_to");
    assert_eq!(redeem(&office, &client, &parameter(&allowed, "code")).status, 200);
}

#[test]
fn a_request_that_is_not_as_registered_is_sent_nowhere() {
    let office = Office::open("redirects");
    let ada = office.sign_in("ada");
    let client = register(&ada, true);
    let at = |path: &str| ada.send("GET", path, &[], &Value::Null);
    for redirect in [
        "https://evil.example/callback",
        "https://app.example/callback/",
        "https://app.example/callback?x",
        "https://app.example.evil.example/callback",
        "https://app.example/callback#x",
        "HTTPS://app.example/callback",
        "",
    ] {
        problem(&at(&query(&client, redirect, "S256")), 404, "client-not-found");
    }
    problem(&at(&query("client_1", REDIRECT, "S256")), 404, "client-not-found");
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", query(&client, REDIRECT, "S256"));
    problem(&at(&twice), 400, "malformed-request");
    // What else is wrong is told to the client, without a code.
    let good = query(&client, REDIRECT, "S256");
    for (from, to, error) in [
        ("method=S256", "method=plain", "invalid_request"),
        ("&code_challenge_method=S256", "", "invalid_request"),
        (CHALLENGE, "short", "invalid_request"),
        ("response_type=code", "response_type=token", "unsupported_response_type"),
        ("&state=", "&scope=admin&state=", "invalid_scope"),
    ] {
        let back = location(&at(&good.replace(from, to)));
        assert!(back.starts_with(&format!("{REDIRECT}?error={error}&")) && !back.contains("code="), "{back}");
        assert_eq!(parameter(&back, "state"), "s%26t%3D1");
    }
    for uris in
        [json!(["http://app.example/"]), json!(["javascript:alert(1)"]), json!(["https://a/#b"]), json!([])]
    {
        let answer = ada.call("POST", CLIENTS, &json!({"name": "x", "redirect_uris": uris}));
        let pointers = problem(&answer, 422, "invalid-fields");
        assert!(pointers[0].starts_with("/redirect_uris"), "{pointers:?}");
    }
    let answer = ada.call("POST", CLIENTS, &json!({"name": "x", "redirect_uris": "https://a/"}));
    assert_eq!(problem(&answer, 422, "invalid-fields"), ["/redirect_uris"]);
}

#[test]
fn codes_and_refresh_tokens_count_once() {
    let office = Office::open("replay");
    let ada = office.sign_in("ada");
    let client = register(&ada, true);
    let code = || {
        parameter(&location(&ada.send("GET", &query(&client, REDIRECT, "S256"), &[], &Value::Null)), "code")
    };
    let refresh = |token_: &str| {
        token(&office, &format!("grant_type=refresh_token&client_id={client}&refresh_token={token_}"))
    };
    let first = code();
    let without = format!(
        "grant_type=authorization_code&client_id={client}&code={first}&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback"
    );
    refused(&token(&office, &without), 400, "invalid_request");
    refused(&token(&office, &format!("{without}&code_verifier={CHALLENGE}")), 400, "invalid_grant");
    let granted = redeem(&office, &client, &first);
    let begun = granted.field("refresh_token");
    let next = refresh(&begun);
    assert_eq!(next.status, 200, "{next:?}");
    let next = next.field("refresh_token");
    refused(&refresh(&begun), 400, "invalid_grant");
    refused(&refresh(&next), 400, "invalid_grant");
    // The same with a code that is shown again.
    let second = code();
    let begun = redeem(&office, &client, &second).field("refresh_token");
    refused(&redeem(&office, &client, &second), 400, "invalid_grant");
    refused(&refresh(&begun), 400, "invalid_grant");
    // And by the client's own word.
    let begun = redeem(&office, &client, &code()).field("refresh_token");
    for shown in [begun.as_str(), &begun, "x"] {
        let answer = post(&office, "/oauth/revoke", &format!("client_id={client}&token={shown}"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    refused(&refresh(&begun), 400, "invalid_grant");
    assert!(office.daemon.log().contains("shown twice"), "{}", office.daemon.log());
}

#[test]
fn a_client_with_a_secret_acts_for_itself() {
    let office = Office::open("robot");
    let ada = office.sign_in("ada");
    let made = ada.call("POST", CLIENTS, &json!({"name": "A robot", "confidential": true}));
    let (id, secret) = (made.field("client_id"), made.field("client_secret"));
    let form = "grant_type=client_credentials";
    let by_header = post(&office, "/oauth/token", form, Some((&id, &secret)));
    assert_eq!(by_header.status, 200, "{by_header:?}");
    let by_form = token(&office, &format!("{form}&client_id={id}&client_secret={secret}"));
    assert_eq!(by_form.status, 200, "{by_form:?}");
    assert!(by_form.json().get("refresh_token").is_none());
    let access = by_header.field("access_token");
    let meeting = office.daemon.call_json("POST", MEETINGS, Some(&access), &json!({"topic": "x"}));
    assert_eq!(meeting.status, 200, "{meeting:?}");
    let wrong = post(&office, "/oauth/token", form, Some((&id, "x")));
    refused(&wrong, 401, "invalid_client");
    assert!(wrong.header("www-authenticate").is_some_and(|value| value.starts_with("Basic")), "{wrong:?}");
    refused(&token(&office, &format!("{form}&client_id={id}")), 401, "invalid_client");
    refused(&token(&office, form), 401, "invalid_client");
    let named_twice =
        post(&office, "/oauth/token", &format!("{form}&client_secret={secret}"), Some((&id, &secret)));
    refused(&named_twice, 400, "invalid_request");
    refused(
        &post(&office, "/oauth/token", "grant_type=password&username=a", Some((&id, &secret))),
        400,
        "unsupported_grant_type",
    );
    refused(&post(&office, "/oauth/token", "x=1&x=2", Some((&id, &secret))), 400, "invalid_request");
    let json_body =
        office.daemon.call_json("POST", "/oauth/token", None, &json!({"grant_type": "client_credentials"}));
    problem(&json_body, 415, "unsupported-media-type");
    // The secret is told once, and the client is gone with all it was given.
    let listed = ada.call("GET", CLIENTS, &Value::Null);
    assert!(!listed.text().contains(&secret) && listed.text().contains(&id), "{listed:?}");
    assert!(!office.daemon.log().contains(&secret));
    assert_eq!(ada.call("DELETE", &format!("{CLIENTS}/{id}"), &Value::Null).status, 204);
    problem(&ada.call("DELETE", &format!("{CLIENTS}/{id}"), &Value::Null), 404, "client-not-found");
    problem(&office.daemon.call("GET", MEETINGS, Some(&access)), 401, "token-invalid");
}

#[test]
fn the_server_describes_itself_and_keys_rotate_under_standing_tokens() {
    let scratch = Scratch::new("keys");
    signing::plant(&scratch.join("data"));
    let office = Office { daemon: Daemon::start(&scratch.join("data"), &[]), scratch };
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let described = office.daemon.call("GET", "/.well-known/oauth-authorization-server", None).json();
    let base = format!("http://{}", office.daemon.address);
    assert_eq!(described["issuer"], base);
    assert_eq!(described["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(described["response_types_supported"], json!(["code"]));
    for name in ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"] {
        assert!(described[name].as_str().is_some_and(|at| at.starts_with(&base)), "{name}");
    }
    let keys = || {
        office.daemon.call("GET", "/oauth/jwks.json", None).json()["keys"].as_array().expect("keys").clone()
    };
    let before = office.daemon.token("ada");
    let old_key = signing::pkcs8();
    // It was in the clear, as versions before kept it; now nothing of it is.
    let file = || std::fs::read(office.daemon.data.join("signing.key")).expect("a key");
    let secret = &old_key[16..];
    let is_clear = |file: &[u8]| file.windows(secret.len()).any(|window| window == secret);
    assert!(!is_clear(&file()));
    assert_eq!(keys()[0]["x"], signing::PUBLIC);
    assert_eq!(keys().len(), 1);
    let data = office.daemon.data.to_str().expect("ASCII");
    let sealed = file();
    let rotated = run(&["rotate-signing-key", "--data", data]);
    assert!(rotated.status.success(), "{rotated:?}");
    assert_ne!(file(), sealed);
    let after = office.daemon.token("ada");
    let me = |token: &str| office.daemon.call("GET", "/api/v1/users/me", Some(token)).status;
    assert_eq!((me(&before), me(&after)), (200, 200));
    let kid = |token: &str| {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url");
        serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].clone()
    };
    assert_ne!(kid(&before), kid(&after));
    assert_eq!(keys().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>(), [kid(&after), kid(&before)]);
    // A token by the old key that says it is by the new one, or by one nobody knows.
    let payload = URL_SAFE_NO_PAD.decode(before.split('.').nth(1).expect("three parts")).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("JSON");
    let signed = |kid: Option<&str>, claims: &Value| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&old_key)).expect("signs")
    };
    let new_kid = kid(&after);
    let mut audience = claims.clone();
    audience["aud"] = json!("somebody-else");
    for forged in [
        signed(new_kid.as_str(), &claims),
        signed(Some("x"), &claims),
        signed(None, &claims),
        signed(kid(&before).as_str(), &audience),
    ] {
        problem(&office.daemon.call("GET", "/api/v1/users/me", Some(&forged)), 401, "token-invalid");
    }
    assert_eq!(me(&signed(kid(&before).as_str(), &claims)), 200, "the retired key verifies");
}

#[test]
fn a_person_sees_what_it_allowed_and_takes_it_back() {
    const PROGRAMS: &str = "/api/v1/users/me/programs";
    let office = Office::open("programs");
    let ada = office.sign_in("ada");
    let programs =
        |browser: &Browser<'_>| browser.call("GET", PROGRAMS, &Value::Null).json()["items"].clone();
    assert_eq!(programs(&ada), json!([]));
    let client = register(&ada, true);
    let grant = || {
        let authorized = ada.call("GET", &query(&client, REDIRECT, "S256"), &Value::Null);
        let code = parameter(&location(&authorized), "code");
        let form = format!(
            "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={REDIRECT}&code_verifier={VERIFIER}"
        );
        token(&office, &form).json()
    };
    let (first, second) = (grant(), grant());
    let listed = programs(&ada);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "one program, however many grants: {listed}");
    assert_eq!((&listed[0]["client_id"], &listed[0]["name"]), (&json!(client), &json!("An app")));
    // A token of the program's manages no programs, and others have none of hers.
    let access = first["access_token"].as_str().expect("a token");
    problem(&office.daemon.call("GET", PROGRAMS, Some(access)), 403, "token-out-of-scope");
    problem(&office.daemon.call("GET", PROGRAMS, None), 401, "token-required");
    let invited = ada.call(
        "POST",
        "/api/v1/users",
        &json!({
            "name": "bob", "email": "bob@example.org", "password": tests::people::PASSWORD
        }),
    );
    assert_eq!(invited.status, 200, "{invited:?}");
    let bob = office.sign_in("bob");
    let own = format!("{PROGRAMS}/{client}");
    problem(&bob.call("DELETE", &own, &Value::Null), 404, "client-not-found");
    for bad in ["client_1", "client_x", "x"] {
        problem(&ada.call("DELETE", &format!("{PROGRAMS}/{bad}"), &Value::Null), 404, "client-not-found");
    }
    let evil = ada.send("DELETE", &own, &[("origin", "https://evil.example")], &Value::Null);
    problem(&evil, 403, "cross-site");
    assert_eq!(ada.call("DELETE", &own, &Value::Null).status, 204);
    assert_eq!(programs(&ada), json!([]));
    for granted in [first, second] {
        let refresh = granted["refresh_token"].as_str().expect("a refresh token");
        let refused =
            token(&office, &format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}"));
        assert_eq!((refused.status, refused.field("error")), (400, "invalid_grant".to_owned()));
    }
    problem(&ada.call("DELETE", &own, &Value::Null), 404, "client-not-found");
    // A new password takes everything back.
    let _ = grant();
    let change =
        json!({"password": "another long enough password", "current_password": tests::people::PASSWORD});
    assert_eq!(ada.call("PATCH", "/api/v1/users/me", &change).status, 200);
    assert_eq!(programs(&ada), json!([]));
}
