//! What a browser loads and what a program reads about the API: the page, its assets, other origins, the API document.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::home::{Home, MEETINGS};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn the_page_is_fresh_guarded_and_compressed() {
    let home = Home::demo("page");
    for path in
        ["/", "/j/1234567890", "/j/1234567890/", "/setup", "/invitation", "/signin", "/account", "/admin"]
    {
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
        ("/api/v1/setup", "post"),
        ("/api/v1/invitation", "post"),
        ("/api/v1/session", "post"),
        ("/api/v1/session", "delete"),
        ("/api/v1/users/me", "get"),
        ("/api/v1/users/me", "patch"),
        ("/api/v1/users/me/sessions", "get"),
        ("/api/v1/users/me/sessions/{id}", "delete"),
        ("/api/v1/users/me/totp", "post"),
        ("/api/v1/users/me/totp", "delete"),
        ("/api/v1/users/me/totp/verify", "post"),
        ("/api/v1/users/me/api-keys", "get"),
        ("/api/v1/users/me/api-keys", "post"),
        ("/api/v1/users/me/api-keys/{key}", "delete"),
        ("/api/v1/users", "get"),
        ("/api/v1/users", "post"),
        ("/api/v1/users/{id}", "patch"),
        ("/api/v1/users/{id}/invitation", "post"),
        ("/api/v1/audit", "get"),
        ("/api/v1/oauth-clients", "get"),
        ("/api/v1/oauth-clients", "post"),
        ("/api/v1/oauth-clients/{id}", "delete"),
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
        ("SetUp", "POST", "/api/v1/setup".to_owned()),
        ("AcceptInvitation", "POST", "/api/v1/invitation".to_owned()),
        ("SignIn", "POST", "/api/v1/session".to_owned()),
        ("ChangeProfile", "PATCH", "/api/v1/users/me".to_owned()),
        ("Code", "POST", "/api/v1/users/me/totp/verify".to_owned()),
        ("CreateApiKey", "POST", "/api/v1/users/me/api-keys".to_owned()),
        ("CreateUser", "POST", "/api/v1/users".to_owned()),
        ("CreateOauthClient", "POST", "/api/v1/oauth-clients".to_owned()),
        ("ChangeUser", "PATCH", "/api/v1/users/user_1".to_owned()),
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
