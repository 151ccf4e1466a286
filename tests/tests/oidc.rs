//! Signing in by an OpenID Connect provider, against the real daemon: PyPI's `oidc-provider-mock`, and a provider that lies.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch, run};
use tests::home::problem;
use tests::http::Answer;
use tests::people::{App, Office, PASSWORD};
use tests::provider::{Mock, Puppet};
use tests::signing;

const ME: &str = "/api/v1/users/me";
/// A browser that keeps the cookies it is told to keep.
struct Jar<'a> {
    office: &'a Office,
    cookies: Vec<(String, String)>,
}

impl<'a> Jar<'a> {
    fn new(office: &'a Office) -> Self {
        Self { office, cookies: Vec::new() }
    }

    fn send(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let cookie =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let origin = format!("http://{}", self.office.daemon.address);
        let mut headers = vec![("cookie", cookie.as_str()), ("origin", &origin)];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        if !body.is_null() {
            headers.push(("content-type", "application/json"));
        }
        let answer = self.office.daemon.send(method, path, None, &headers, text.as_bytes());
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    /// Opens an address; where it leads.
    fn led(&mut self, path: &str) -> String {
        let answer = self.send("GET", path, &Value::Null);
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.header("location").expect("a location").to_owned()
    }

    /// Goes to the provider; its address with everything in it.
    fn leave(&mut self) -> String {
        self.led("/signin/provider?next=%2Fj%2F7")
    }

    /// Opens a callback; where it leads.
    fn come_back(&mut self, callback: &str) -> String {
        let own = format!("http://{}", self.office.daemon.address);
        let path = callback.strip_prefix(&own).unwrap_or_else(|| panic!("not ours: {callback}")).to_owned();
        self.led(&path)
    }

    /// Signs in there as somebody and comes back; where that leads.
    fn sign_in(&mut self, mock: &Mock, subject: &str) -> String {
        let away = self.leave();
        self.come_back(&mock.decide(&away, &format!("sub={subject}")))
    }

    fn me(&mut self) -> Answer {
        self.send("GET", ME, &Value::Null)
    }
}

fn with_provider(name: &str, issuer: &str, more: &[&str]) -> Office {
    let scratch = Scratch::new(name);
    let secret = scratch.join("secret");
    std::fs::write(&secret, "the client's own secret\n").expect("writes");
    let secret = secret.to_str().expect("ASCII");
    let provider = ["--oidc-issuer", issuer, "--oidc-client-id", "kaigi", "--oidc-name", "Example ID"];
    let flags = [&provider[..], &["--oidc-secret-file", secret], more].concat();
    Office { daemon: Daemon::start(&scratch.join("data"), &flags), scratch }
}

fn parameter(address: &str, name: &str) -> String {
    let url = url::Url::parse(address).unwrap_or_else(|error| panic!("{error}: {address}"));
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no {name} in {address}"))
}

fn assert_problem(led: &str, slug: &str) {
    assert!(led.starts_with(&format!("/signin?problem={slug}&")), "{led}");
}

#[test]
fn somebody_signs_in_by_the_provider_and_is_the_same_person_next_time() {
    let mock = Mock::start();
    mock.user("subject-11", &json!({"email": "chiyo@example.org", "email_verified": true, "name": "Chiyo"}));
    let office = with_provider("provider", &mock.issuer(), &["--oidc-create"]);
    let options = office.daemon.call("GET", "/api/v1/sign-in-options", None).json();
    assert_eq!(options, json!({"provider": {"name": "Example ID", "url": "/signin/provider"}}));
    let mut browser = Jar::new(&office);
    let away = browser.leave();
    assert_eq!(parameter(&away, "code_challenge_method"), "S256");
    assert_eq!(parameter(&away, "client_id"), "kaigi");
    assert!(parameter(&away, "scope").split(' ').any(|scope| scope == "openid"));
    assert!(parameter(&away, "nonce").len() >= 16 && parameter(&away, "state").len() >= 16, "{away}");
    let callback = mock.decide(&away, "sub=subject-11");
    assert_eq!(browser.come_back(&callback), "/j/7");
    let me = browser.me().json();
    assert_eq!(
        (&me["email"], &me["name"], &me["role"]),
        (&json!("chiyo@example.org"), &json!("Chiyo"), &json!("user"))
    );
    assert_eq!(me["has_password"], false);
    // The callback counts once, also for the browser it was made for.
    assert_problem(&browser.come_back(&callback), "sign-in-expired");
    let mut other = Jar::new(&office);
    assert_eq!(other.sign_in(&mock, "subject-11"), "/j/7");
    assert_eq!(other.me().json()["id"], me["id"]);
    // A new address is the same person.
    mock.user("subject-11", &json!({"email": "new@example.org", "email_verified": true}));
    let mut third = Jar::new(&office);
    assert_eq!(third.sign_in(&mock, "subject-11"), "/j/7");
    assert_eq!(third.me().json()["id"], me["id"]);
    // Names of people at a provider are not in the clear on the disk.
    let data = office.daemon.data.clone();
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("lists").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                let bytes = std::fs::read(entry.path()).expect("reads");
                assert!(!bytes.windows(10).any(|window| window == b"subject-11"), "{:?}", entry.path());
            }
        }
    }
}

#[test]
fn a_sign_in_counts_in_the_browser_that_began_it_with_its_state_alone() {
    let mock = Mock::start();
    mock.user("1", &json!({"email": "ada@example.org", "email_verified": true}));
    let office = with_provider("bound", &mock.issuer(), &["--oidc-create"]);
    let mut victim = Jar::new(&office);
    let mut attacker = Jar::new(&office);
    // Somebody else's callback, in a browser that began nothing, and in one that began something.
    let stolen = mock.decide(&attacker.leave(), "sub=1");
    assert_problem(&victim.come_back(&stolen), "sign-in-expired");
    let own = victim.leave();
    assert_problem(&victim.come_back(&stolen), "sign-in-expired");
    // That used it up: the own one counts no more either.
    assert_problem(&victim.come_back(&mock.decide(&own, "sub=1")), "sign-in-expired");
    problem(&victim.me(), 401, "token-required");
    for tamper in ["state", "code"] {
        let callback = mock.decide(&victim.leave(), "sub=1");
        let bad = callback.replace(&parameter(&callback, tamper), "AAAAAAAAAAAAAAAAAAAAAA");
        let slug = if tamper == "state" { "sign-in-expired" } else { "provider-token-invalid" };
        assert_problem(&victim.come_back(&bad), slug);
        let callback = mock.decide(&victim.leave(), "sub=1");
        assert_problem(&victim.come_back(&format!("{callback}&{tamper}=x")), "provider-token-invalid");
    }
    let callback = mock.decide(&victim.leave(), "sub=1");
    assert_problem(
        &victim.come_back(&format!("{callback}&iss=https%3A%2F%2Fevil.example")),
        "provider-token-invalid",
    );
    let denied = mock.decide(&victim.leave(), "action=deny");
    assert_problem(&victim.come_back(&denied), "provider-refused");
    problem(&victim.me(), 401, "token-required");
    for next in ["https://evil.example", "//evil.example", "/%5cevil.example"] {
        let away = victim.led(&format!("/signin/provider?next={next}"));
        assert_eq!(victim.come_back(&mock.decide(&away, "sub=1")), "/account", "{next}");
    }
}

#[test]
fn an_account_keeps_its_code_and_stays_out_while_disabled() {
    let mock = Mock::start();
    mock.user("1", &json!({"email": "ada@example.org", "email_verified": true}));
    let office = with_provider("second-factor", &mock.issuer(), &["--oidc-domain", "example.org"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let ada = office.sign_in("ada");
    let app = App::scan(&ada.call("POST", "/api/v1/users/me/totp", &Value::Null).field("uri"));
    let verified = ada.call("POST", "/api/v1/users/me/totp/verify", &json!({"code": app.code(-1)}));
    assert_eq!(verified.status, 200, "{verified:?}");
    let mut browser = Jar::new(&office);
    let code = |browser: &mut Jar<'_>, code: &str| {
        browser.send("POST", "/api/v1/session/code", &json!({"code": code}))
    };
    problem(&code(&mut browser, &app.code(0)), 403, "sign-in-expired");
    assert_eq!(browser.sign_in(&mock, "1"), "/signin?step=code&next=%2Fj%2F7");
    problem(&browser.me(), 401, "token-required");
    problem(&code(&mut browser, "000000"), 403, "totp-wrong");
    // Another browser cannot give the code for this one.
    problem(&code(&mut Jar::new(&office), &app.code(0)), 403, "sign-in-expired");
    let welcome = code(&mut browser, &app.code(0));
    assert_eq!(welcome.status, 200, "{welcome:?}");
    assert_eq!(browser.me().json()["email"], "ada@example.org");
    problem(&code(&mut browser, &app.code(1)), 403, "sign-in-expired");
    // The audit log has the first visit and the sign-in.
    let lines = ada.call("GET", "/api/v1/audit", &Value::Null).json();
    let actions: Vec<&str> =
        lines["items"].as_array().expect("lines").iter().filter_map(|l| l["action"].as_str()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "link_provider").count(), 1, "{actions:?}");
    // Somebody else of the company, invited and then disabled.
    mock.user("2", &json!({"email": "bob@example.org", "email_verified": true}));
    let mut other = Jar::new(&office);
    assert_problem(&other.sign_in(&mock, "2"), "provider-unknown-user");
    let bob = ada.call("POST", "/api/v1/users", &json!({"name": "bob", "email": "bob@example.org"}));
    let id = bob.json()["user"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(other.sign_in(&mock, "2"), "/j/7");
    let disabled = ada.call("PATCH", &format!("/api/v1/users/{id}"), &json!({"disabled": true}));
    assert_eq!(disabled.status, 200, "{disabled:?}");
    problem(&other.me(), 401, "token-required");
    assert_problem(&other.sign_in(&mock, "2"), "account-disabled");
    // Addresses that the provider does not vouch for, or of elsewhere.
    for claims in [
        json!({"email": "ada@example.org", "email_verified": false}),
        json!({"email": "ada@example.org"}),
        json!({"email": "ada@elsewhere.example", "email_verified": true}),
        json!({}),
    ] {
        mock.user("3", &claims);
        assert_problem(&Jar::new(&office).sign_in(&mock, "3"), "provider-address");
    }
}

#[test]
fn who_has_an_account_is_not_taken_for_it_by_an_address_alone() {
    let mock = Mock::start();
    mock.user("1", &json!({"email": "ada@example.org", "email_verified": true}));
    let office = with_provider("taken", &mock.issuer(), &["--oidc-create"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    assert_problem(&Jar::new(&office).sign_in(&mock, "1"), "provider-address-taken");
}

#[test]
fn an_account_is_one_persons_there_until_an_admin_invites_to_it_anew() {
    let mock = Mock::start();
    for number in ["1", "2"] {
        mock.user(number, &json!({"email": "bob@example.org", "email_verified": true}));
    }
    let office = with_provider("handed-on", &mock.issuer(), &["--oidc-domain", "example.org"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let ada = office.sign_in("ada");
    let bob = ada.call("POST", "/api/v1/users", &json!({"name": "bob", "email": "bob@example.org"}));
    let id = bob.json()["user"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(Jar::new(&office).sign_in(&mock, "1"), "/j/7");
    // The address has gone to somebody else there: the account has not.
    assert_problem(&Jar::new(&office).sign_in(&mock, "2"), "provider-address-taken");
    assert_eq!(Jar::new(&office).sign_in(&mock, "1"), "/j/7");
    let again = ada.call("POST", &format!("/api/v1/users/{id}/invitation"), &Value::Null);
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(Jar::new(&office).sign_in(&mock, "2"), "/j/7");
    assert_problem(&Jar::new(&office).sign_in(&mock, "1"), "provider-address-taken");
}

/// An ID token of the puppet's.
fn id_token(
    puppet: &Puppet,
    nonce: &str,
    change: impl Fn(&mut Value),
    header: Header,
    key: &EncodingKey,
) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut claims = json!({
        "iss": puppet.issuer(), "sub": "1", "aud": "kaigi", "iat": now, "exp": now + 300, "nonce": nonce,
        "email": "ada@example.org", "email_verified": true,
    });
    change(&mut claims);
    jsonwebtoken::encode(&header, &claims, key).expect("signs")
}

#[test]
fn an_id_token_that_does_not_count_lets_nobody_in() {
    let puppet = Puppet::start();
    let der = signing::pkcs8();
    let (own, shared) =
        (EncodingKey::from_ed_der(&der), EncodingKey::from_secret(b"the client's own secret"));
    let public = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "1", "x": signing::PUBLIC});
    puppet.says.lock().expect("no panic").keys = json!({"keys": [public]});
    let office = with_provider("liar", &puppet.issuer(), &["--oidc-create"]);
    let header = |algorithm, kid: &str| Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    let good = || header(Algorithm::EdDSA, "1");
    let come_back = |token: &dyn Fn(&str) -> (u16, Value)| {
        let mut browser = Jar::new(&office);
        let away = browser.leave();
        puppet.says.lock().expect("no panic").token = token(&parameter(&away, "nonce"));
        let state = parameter(&away, "state");
        browser.led(&format!("/signin/callback?code=x&state={state}"))
    };
    let says =
        |id_token: String| (200, json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token}));
    assert_eq!(come_back(&|nonce| says(id_token(&puppet, nonce, |_| {}, good(), &own))), "/j/7");
    let changes: [(&str, Value); 8] = [
        ("nonce", json!("another")),
        ("nonce", Value::Null),
        ("iss", json!("https://evil.example")),
        ("aud", json!("somebody-else")),
        ("aud", json!(["kaigi", "somebody-else"])),
        ("exp", json!(1_700_000_000)),
        ("sub", Value::Null),
        ("exp", Value::Null),
    ];
    for (name, value) in changes {
        let led = come_back(&|nonce| {
            let change = |claims: &mut Value| match value.is_null() {
                true => drop(claims.as_object_mut().expect("an object").remove(name)),
                false => claims[name] = value.clone(),
            };
            says(id_token(&puppet, nonce, change, good(), &own))
        });
        assert_problem(&led, "provider-token-invalid");
    }
    // Signed by nobody, by the secret that we know too, by somebody else; cut; none.
    let none = |nonce: &str| {
        let token = id_token(&puppet, nonce, |_| {}, good(), &own);
        format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).expect("three parts"))
    };
    let hmac = |nonce: &str| id_token(&puppet, nonce, |_| {}, header(Algorithm::HS256, "1"), &shared);
    let strange = |nonce: &str| id_token(&puppet, nonce, |_| {}, header(Algorithm::EdDSA, "2"), &own);
    let forged = |nonce: &str| {
        let token = id_token(&puppet, nonce, |_| {}, good(), &own);
        let other = id_token(&puppet, nonce, |claims| claims["sub"] = json!("2"), good(), &own);
        format!(
            "{}.{}",
            other.rsplit_once('.').expect("a signature").0,
            token.rsplit_once('.').expect("a signature").1
        )
    };
    let made: [&dyn Fn(&str) -> String; 4] = [&none, &hmac, &strange, &forged];
    for make in made {
        assert_problem(&come_back(&|nonce| says(make(nonce))), "provider-token-invalid");
    }
    for answer in [
        (200, json!({"access_token": "a", "token_type": "Bearer"})),
        (200, json!("nonsense")),
        (400, json!({"error": "invalid_grant"})),
    ] {
        assert_problem(&come_back(&|_| answer.clone()), "provider-token-invalid");
    }
    // Led elsewhere, to where nobody answers: nobody goes there, or the provider would be out of reach.
    assert_problem(&come_back(&|_| (302, Value::Null)), "provider-token-invalid");
    let huge = json!({"access_token": "a".repeat(400_000), "token_type": "Bearer"});
    assert_problem(&come_back(&|_| (200, huge.clone())), "provider-unreachable");
}

#[test]
fn an_address_that_is_not_in_the_token_is_asked_for() {
    let puppet = Puppet::start();
    let key = EncodingKey::from_ed_der(&signing::pkcs8());
    let public = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "1", "x": signing::PUBLIC});
    {
        let mut says = puppet.says.lock().expect("no panic");
        says.keys = json!({"keys": [public]});
        says.discovery["userinfo_endpoint"] = json!(format!("{}/person", puppet.issuer()));
    }
    let office = with_provider("bare", &puppet.issuer(), &["--oidc-create"]);
    let come_back = |person: (u16, Value)| {
        let mut browser = Jar::new(&office);
        let away = browser.leave();
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::EdDSA) };
        let bare = |claims: &mut Value| {
            claims.as_object_mut().expect("an object").retain(|name, _| !name.starts_with("email"));
        };
        let token = id_token(&puppet, &parameter(&away, "nonce"), bare, header, &key);
        let mut says = puppet.says.lock().expect("no panic");
        says.token = (200, json!({"access_token": "a", "token_type": "Bearer", "id_token": token}));
        says.person = person;
        drop(says);
        browser.led(&format!("/signin/callback?code=x&state={}", parameter(&away, "state")))
    };
    let of = |subject: &str| json!({"sub": subject, "email": "ada@example.org", "email_verified": true});
    assert_problem(&come_back((200, of("2"))), "provider-token-invalid");
    assert_problem(&come_back((500, Value::Null)), "provider-token-invalid");
    assert_problem(&come_back((200, json!({"sub": "1"}))), "provider-address");
    assert_eq!(come_back((200, of("1"))), "/j/7");
}

#[test]
fn a_provider_that_fails_keeps_nobody_from_a_password_and_is_seen_by_the_operator() {
    let puppet = Puppet::start();
    // It claims to be somebody else.
    puppet.says.lock().expect("no panic").discovery["issuer"] = json!("https://somebody.example");
    let office = with_provider("away", &puppet.issuer(), &[]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let mut browser = Jar::new(&office);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_problem(&browser.leave(), "provider-unreachable");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    let asked = puppet.asked.lock().expect("no panic").len();
    assert!(asked <= 4, "it is left alone after a failure: {asked}");
    assert_eq!(office.ask("ada", PASSWORD, None).status, 200);
    let data = office.daemon.data.to_str().expect("ASCII").to_owned();
    let check = |issuer: &str| {
        let flags = ["check", "--data", &data, "--oidc-issuer", issuer, "--oidc-client-id", "kaigi"];
        let output = run(&flags);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains(" oidc: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(check(&puppet.issuer()).starts_with("FAIL oidc: "));
    puppet.says.lock().expect("no panic").discovery["issuer"] = json!(puppet.issuer());
    assert!(check(&puppet.issuer()).starts_with("ok   oidc: "));
    let gone = check("http://127.0.0.1:1");
    assert!(gone.starts_with("FAIL oidc: ") && gone.contains("passwords work all the same"), "{gone}");
    for (flags, word) in [
        (vec!["--oidc-issuer", "http://id.example.org", "--oidc-client-id", "x"], "oidc-issuer"),
        (vec!["--oidc-issuer", "https://id.example.org"], "oidc-client-id"),
        (vec!["--oidc-client-id", "x"], "oidc-issuer"),
        (
            vec!["--oidc-issuer", "https://id.example.org", "--oidc-client-id", "x", "--oidc-domain", "@x"],
            "oidc-domain",
        ),
    ] {
        let output = run(&[&["check", "--data", &data], &flags[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(word), "{text}");
    }
}

#[test]
fn without_a_provider_there_is_none() {
    let office = Office::open("no-provider");
    assert_eq!(office.daemon.call("GET", "/api/v1/sign-in-options", None).json(), json!({"provider": null}));
    for path in ["/signin/provider", "/signin/callback?code=x&state=y"] {
        problem(&office.daemon.call("GET", path, None), 404, "not-found");
    }
    let code = office.daemon.call_json("POST", "/api/v1/session/code", None, &json!({"code": "123456"}));
    problem(&code, 403, "sign-in-expired");
}
