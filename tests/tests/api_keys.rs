//! API keys against the real daemon: tokens as LiveKit's server SDKs make them open `/rtc` of their owner's meetings.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use livekit_protocol as proto;
use proto::signal_response::Message as Reply;
use serde_json::{Value, json};
use tests::home::{MEETINGS, merge, problem};
use tests::livekit::Signalling;
use tests::people::{Browser, Office, PASSWORD};

const KEYS: &str = "/api/v1/users/me/api-keys";

/// A key as its owner got it.
struct Key {
    name: String,
    secret: String,
}

impl Key {
    fn new(browser: &Browser<'_>) -> Self {
        let made = browser.call("POST", KEYS, &json!({"name": "Our site"}));
        assert_eq!(made.status, 200, "{made:?}");
        Self { name: made.field("key"), secret: made.field("secret") }
    }

    /// A token for a room, with more of the `video` grant.
    fn token(&self, room: &str, identity: &str, video: Value) -> String {
        let mut grant = json!({"room": room, "roomJoin": true});
        merge(&mut grant, video);
        self.sign(Algorithm::HS256, &self.claims(identity, grant))
    }

    fn claims(&self, identity: &str, grant: Value) -> Value {
        let now = jsonwebtoken::get_current_timestamp();
        json!({"iss": self.name, "sub": identity, "name": "Ada L.", "nbf": now, "exp": now + 600, "video": grant})
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signs")
    }
}

fn meeting(browser: &Browser<'_>) -> String {
    browser.call("POST", MEETINGS, &json!({"topic": "x"})).field("id")
}

fn validate(office: &Office, token: &str) -> u16 {
    office.daemon.call("GET", &format!("/rtc/validate?access_token={token}"), None).status
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_another_system_is_the_same_participant_whenever_it_comes() {
    let office = Office::open("apikey");
    let ada = office.sign_in("ada");
    let (key, room) = (Key::new(&ada), meeting(&ada));
    let token = key.token(&room, "customer-42", json!({}));
    let mut first = Signalling::open(office.daemon.address, &token, "").await.expect("let in");
    let join = first.join().await;
    let participant = join.participant.expect("itself");
    assert_eq!((participant.identity.as_str(), participant.name.as_str()), ("customer-42", "Ada L."));
    assert!(
        participant
            .permission
            .is_some_and(|may| may.can_publish && may.can_subscribe && !may.can_update_metadata)
    );
    // The token it is given for later speaks for the same person.
    let renewed = first.until(|reply| match reply {
        Reply::RefreshToken(token) => Some(token),
        _ => None,
    });
    let renewed = tokio::time::timeout(std::time::Duration::from_millis(300), renewed).await.ok();
    let again = renewed.unwrap_or(token);
    let mut second = Signalling::open(office.daemon.address, &again, "").await.expect("let in");
    assert_eq!(second.join().await.participant.expect("itself").identity, "customer-42");
    let listed = ada.call("GET", &format!("{MEETINGS}/{room}/participants"), &Value::Null).json();
    let people = listed["items"].as_array().expect("people");
    assert_eq!((people.len(), &people[0]["identity"]), (1, &json!("customer-42")), "{listed}");
    assert_eq!((&people[0]["state"], &people[0]["role"]), (&json!("connected"), &json!("participant")));
    let ended = ada.call("GET", &format!("{MEETINGS}/{room}"), &Value::Null);
    assert_eq!(ended.field("status"), "in_progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_does_not_grant_is_not_given() {
    let office = Office::open("apigrants");
    let ada = office.sign_in("ada");
    let (key, room) = (Key::new(&ada), meeting(&ada));
    let token = key.token(&room, "viewer", json!({"canPublish": false, "canPublishData": false}));
    let mut viewer = Signalling::open(office.daemon.address, &token, "").await.expect("let in");
    let may = viewer.join().await.participant.and_then(|p| p.permission).expect("a permission");
    assert!(!may.can_publish && !may.can_publish_data && may.can_subscribe);
    let add = proto::AddTrackRequest { cid: "x".into(), ..Default::default() };
    viewer.send(proto::signal_request::Message::AddTrack(add)).await;
    let refused = viewer.until(|reply| match reply {
        Reply::RequestResponse(response) => Some(response.reason()),
        _ => None,
    });
    assert_eq!(refused.await, proto::request_response::Reason::NotAllowed);
    for grant in [
        json!({"roomJoin": false}),
        json!({"hidden": true}),
        json!({"canPublishSources": ["camera"]}),
        json!({"room": "meeting_1"}),
        json!({"room": "lobby"}),
    ] {
        assert_eq!(validate(&office, &key.token(&room, "viewer", grant.clone())), 403, "{grant}");
    }
}

#[test]
fn a_key_opens_its_owners_meetings_alone_and_only_while_it_stands() {
    let office = Office::open("apiowner");
    let ada = office.sign_in("ada");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD});
    let bob_id = ada.call("POST", "/api/v1/users", &new).json()["user"]["id"].clone();
    let bob = office.sign_in("bob");
    let (key, of_bob) = (Key::new(&ada), Key::new(&bob));
    let (room, other) = (meeting(&ada), meeting(&bob));
    assert_eq!(validate(&office, &key.token(&room, "x", json!({}))), 200);
    assert_eq!(validate(&office, &key.token(&other, "x", json!({}))), 403, "somebody else's meeting");
    let claims = key.claims("x", json!({"room": room, "roomJoin": true}));
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let now = jsonwebtoken::get_current_timestamp();
    for forged in [
        of_bob.sign(Algorithm::HS256, &claims),
        key.sign(Algorithm::HS512, &claims),
        key.sign(Algorithm::HS256, &with("iss", json!("kaigi"))),
        key.sign(Algorithm::HS256, &with("iss", json!(of_bob.name))),
        key.sign(Algorithm::HS256, &with("exp", json!(now - 60))),
        key.sign(Algorithm::HS256, &with("nbf", json!(now + 600))),
        key.sign(Algorithm::HS256, &with("exp", Value::Null)),
        key.sign(Algorithm::HS256, &with("sub", json!(""))),
        key.sign(Algorithm::HS256, &with("sub", json!("user_1"))),
    ] {
        assert_eq!(validate(&office, &forged), 401, "{forged}");
    }
    // It is good for `/rtc` and for nothing of the API.
    let token = key.token(&room, "x", json!({}));
    problem(&office.daemon.call("GET", "/api/v1/users/me", Some(&token)), 401, "token-invalid");
    // The secret is told once, and nobody deletes somebody else's key.
    let listed = ada.call("GET", KEYS, &Value::Null);
    assert!(listed.text().contains(&key.name) && !listed.text().contains(&key.secret), "{listed:?}");
    assert!(!office.daemon.log().contains(&key.secret));
    problem(&bob.call("DELETE", &format!("{KEYS}/{}", key.name), &Value::Null), 404, "key-not-found");
    assert_eq!(ada.call("DELETE", &format!("{KEYS}/{}", key.name), &Value::Null).status, 204);
    assert_eq!(validate(&office, &token), 401);
    problem(&ada.call("DELETE", &format!("{KEYS}/{}", key.name), &Value::Null), 404, "key-not-found");
    // Nor does a key outlive its owner's account.
    assert_eq!(validate(&office, &of_bob.token(&other, "x", json!({}))), 200);
    let path = format!("/api/v1/users/{}", bob_id.as_str().expect("an id"));
    assert_eq!(ada.call("PATCH", &path, &json!({"disabled": true})).status, 200);
    assert_eq!(validate(&office, &of_bob.token(&other, "x", json!({}))), 403);
    for _ in 0..20 {
        Key::new(&ada);
    }
    assert_eq!(problem(&ada.call("POST", KEYS, &json!({"name": "one more"})), 422, "invalid-fields"), [""]);
}
