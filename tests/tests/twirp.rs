//! `/twirp/livekit.RoomService` against the real daemon: whom it lets in, both encodings, bad input, and what happens in a room.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use serde_json::{Value, json};
use tests::home::{MEETINGS, merge};
use tests::http::Answer;
use tests::livekit::Signalling;
use tests::people::{Office, PASSWORD};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// A server of somebody's with its API key.
struct Server<'a> {
    office: &'a Office,
    key: String,
    secret: String,
    owner: String,
}

impl<'a> Server<'a> {
    fn of(office: &'a Office, owner: &str) -> Self {
        let owner = office.daemon.token(owner);
        let path = "/api/v1/users/me/api-keys";
        let made = office.daemon.call_json("POST", path, Some(&owner), &json!({"name": "Our site"}));
        Self { office, key: made.field("key"), secret: made.field("secret"), owner }
    }

    fn meeting(&self) -> String {
        self.office.daemon.call_json("POST", MEETINGS, Some(&self.owner), &json!({"topic": "x"})).field("id")
    }

    fn token(&self, identity: &str, grant: Value) -> String {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({"iss": self.key, "sub": identity, "exp": now + 600, "video": grant});
        let secret = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).expect("signs")
    }

    fn admin(&self, room: &str) -> String {
        self.token("", json!({"roomCreate": true, "roomList": true, "roomAdmin": true, "room": room}))
    }

    fn send(&self, method: &str, token: &str, media_type: &str, body: &[u8]) -> Answer {
        let path = format!("/twirp/livekit.RoomService/{method}");
        self.office.daemon.send("POST", &path, Some(token), &[("content-type", media_type)], body)
    }

    /// A call about a room, as its admin.
    fn call(&self, method: &str, room: &str, extra: Value) -> Answer {
        let mut body = json!({ "room": room });
        merge(&mut body, extra);
        self.send(method, &self.admin(room), JSON, body.to_string().as_bytes())
    }

    async fn join(&self, room: &str, identity: &str) -> (Signalling, proto::JoinResponse) {
        let token = self.token(identity, json!({"room": room, "roomJoin": true}));
        let mut client = Signalling::open(self.office.daemon.address, &token, "").await.expect("let in");
        let join = client.join().await;
        (client, join)
    }
}

/// Asserts an error in Twirp's words; its message.
fn error(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some(JSON), "{answer:?}");
    assert_eq!(answer.field("code"), code, "{answer:?}");
    assert!(answer.json()["meta"].is_object(), "{answer:?}");
    answer.field("msg")
}

#[test]
fn rooms_are_the_owners_meetings_in_either_encoding() {
    let office = Office::open("twirp-rooms");
    let server = Server::of(&office, "ada");
    let token = server.admin("");
    let made = server.send("CreateRoom", &token, "application/json; charset=utf-8", br#"{"name":"Weekly"}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let room = made.field("name");
    assert_eq!(
        (made.header("content-type"), made.json()["maxParticipants"].as_u64()),
        (Some(JSON), Some(100))
    );
    let meeting = office.daemon.call("GET", &format!("{MEETINGS}/{room}"), None);
    assert_eq!(meeting.field("topic"), "Weekly");
    // The same in protobuf; a name that is a room's is that room.
    let same = proto::CreateRoomRequest { name: room.clone(), ..Default::default() }.encode_to_vec();
    let again = server.send("CreateRoom", &token, PROTOBUF, &same);
    assert_eq!(again.header("content-type"), Some(PROTOBUF), "{again:?}");
    assert_eq!(proto::Room::decode(again.body.as_slice()).expect("a room").name, room);
    let other = server.meeting();
    let listed = server.send("ListRooms", &token, PROTOBUF, b"");
    let names = |answer: &Answer| -> Vec<String> {
        let rooms = proto::ListRoomsResponse::decode(answer.body.as_slice()).expect("rooms").rooms;
        rooms.into_iter().map(|room| room.name).collect()
    };
    assert_eq!(names(&listed), [other.clone(), room.clone()]);
    let ask = proto::ListRoomsRequest { names: vec![room.clone(), "lobby".into(), "meeting_1".into()] };
    assert_eq!(
        names(&server.send("ListRooms", &token, PROTOBUF, &ask.encode_to_vec())),
        std::slice::from_ref(&room)
    );
    assert_eq!(server.call("DeleteRoom", &room, json!({})).status, 200);
    assert_eq!(names(&server.send("ListRooms", &token, PROTOBUF, b"")), [other]);
    error(&server.call("DeleteRoom", &room, json!({})), 404, "not_found");
    assert_eq!(office.daemon.call("GET", &format!("{MEETINGS}/{room}"), None).field("status"), "ended");
}

#[test]
fn a_call_takes_its_grant_and_a_room_of_the_keys_owner() {
    let office = Office::open("twirp-grants");
    let server = Server::of(&office, "ada");
    let new = json!({"name": "bob", "email": "bob@example.org", "password": PASSWORD});
    assert_eq!(office.daemon.call_json("POST", "/api/v1/users", Some(&server.owner), &new).status, 200);
    let bob = Server::of(&office, "bob");
    let (room, other) = (server.meeting(), bob.meeting());
    let about = json!({"room": room, "identity": "x", "name": "x", "muted": true}).to_string();
    for (method, lacking) in [
        ("CreateRoom", json!({"roomList": true, "roomAdmin": true, "room": room})),
        ("DeleteRoom", json!({"roomList": true, "roomAdmin": true, "room": room})),
        ("ListRooms", json!({"roomCreate": true, "roomAdmin": true, "room": room})),
        ("ListParticipants", json!({"roomCreate": true, "roomList": true, "room": room})),
        ("GetParticipant", json!({"roomAdmin": true, "room": other})),
        ("RemoveParticipant", json!({"roomAdmin": true})),
        ("MutePublishedTrack", json!({"roomJoin": true, "room": room})),
        ("UpdateParticipant", json!({})),
        ("UpdateSubscriptions", json!({"roomCreate": true, "room": room})),
        ("SendData", json!({"roomList": true, "room": room})),
        ("UpdateRoomMetadata", json!({"roomAdmin": false, "room": room})),
    ] {
        let answer = server.send(method, &server.token("", lacking), JSON, about.as_bytes());
        let message = error(&answer, 403, "permission_denied");
        assert!(message.contains("does not grant"), "{method}: {message}");
    }
    // A grant that names a room of somebody else's opens nothing.
    error(&server.call("ListParticipants", &other, json!({})), 403, "permission_denied");
    error(&server.call("DeleteRoom", &other, json!({})), 403, "permission_denied");
    for unknown in ["meeting_1", "lobby", ""] {
        error(&server.call("ListParticipants", unknown, json!({})), 404, "not_found");
    }
    // Tokens that no key made, and the token of a join.
    let session = office.daemon.session_token(&room, "Guest");
    for token in [session.as_str(), &server.owner, "x"] {
        error(&server.send("ListRooms", token, JSON, b"{}"), 401, "unauthenticated");
    }
    let stranger =
        Server { secret: bob.secret.clone(), key: server.key.clone(), office: &office, owner: String::new() };
    error(&stranger.send("ListRooms", &stranger.admin(&room), JSON, b"{}"), 401, "unauthenticated");
    let bare = office.daemon.send(
        "POST",
        "/twirp/livekit.RoomService/ListRooms",
        None,
        &[("content-type", JSON)],
        b"{}",
    );
    error(&bare, 401, "unauthenticated");
    assert_eq!(bare.header("www-authenticate"), Some("Bearer"));
    assert!(!office.daemon.log().contains(&server.secret));
}

#[test]
fn bad_input_is_refused_in_twirps_words() {
    let office = Office::open("twirp-bad");
    let server = Server::of(&office, "ada");
    let room = server.meeting();
    let token = server.admin(&room);
    for media_type in ["text/plain", "application/x-protobuf", ""] {
        error(&server.send("ListRooms", &token, media_type, b"{}"), 404, "bad_route");
    }
    for garbage in ["", "{", "[]", "null", r#"{"names":5}"#, "\u{feff}{}"] {
        error(&server.send("ListRooms", &token, JSON, garbage.as_bytes()), 400, "malformed");
    }
    for garbage in [&b"\x0a\xff"[..], b"\xff\xff\xff\xff", b"\x0a\x02\xff\xfe"] {
        error(&server.send("ListRooms", &token, PROTOBUF, garbage), 400, "malformed");
    }
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(100_000));
    error(&server.send("CreateRoom", &token, JSON, huge.as_bytes()), 400, "invalid_argument");
    for name in [String::new(), " ".to_owned(), "x".repeat(501), "a\nb".to_owned()] {
        let body = json!({ "name": name }).to_string();
        error(&server.send("CreateRoom", &token, JSON, body.as_bytes()), 400, "invalid_argument");
    }
    let names: Vec<String> = (0..101).map(|nth| format!("meeting_{nth}")).collect();
    let many = json!({ "names": names }).to_string();
    error(&server.send("ListRooms", &token, JSON, many.as_bytes()), 400, "invalid_argument");
    // What a room here does not have is refused by name.
    for (field, value) in
        [("metadata", json!("x")), ("emptyTimeout", json!(60)), ("maxParticipants", json!(2))]
    {
        let body = json!({"name": "x", field: value}).to_string();
        let answer = server.send("CreateRoom", &token, JSON, body.as_bytes());
        error(&answer, 501, "unimplemented");
        assert!(answer.json()["meta"]["argument"].is_string(), "{answer:?}");
        // Nor is it passed over where the room is there already.
        let body = json!({"name": room, field: value}).to_string();
        error(&server.send("CreateRoom", &token, JSON, body.as_bytes()), 501, "unimplemented");
    }
    for method in ["UpdateRoomMetadata", "PerformRpc", "MoveParticipant", "ForwardParticipant", "Nonsense"] {
        error(&server.call(method, &room, json!({})), 501, "unimplemented");
    }
    let get = office.daemon.call("GET", "/twirp/livekit.RoomService/ListRooms", Some(&token));
    assert_eq!(get.status, 405, "{get:?}");
}

#[test]
fn a_day_has_as_many_meetings_over_this_door() {
    let office = Office::closed("twirp-limit", &["--meetings-per-day", "1"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let server = Server::of(&office, "ada");
    let make = || server.send("CreateRoom", &server.admin(""), JSON, br#"{"name":"x"}"#);
    assert_eq!(make().status, 200);
    let refused = make();
    if refused.status == 200 {
        println!("skipped: midnight UTC came in between");
        return;
    }
    error(&refused, 429, "resource_exhausted");
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("a time");
    assert!((1..=86_401).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_listed_changed_told_and_sent_away() {
    let office = Office::open("twirp-people");
    let server = Server::of(&office, "ada");
    let room = server.meeting();
    // JSON of protobuf leaves out what is empty.
    assert_eq!(server.call("ListParticipants", &room, json!({})).json(), json!({}));
    let (mut aoi, _) = server.join(&room, "aoi").await;
    let (mut ben, joined) = server.join(&room, "ben").await;
    assert_eq!(joined.other_participants[0].identity, "aoi");
    let listed = server.call("ListParticipants", &room, json!({})).json();
    let identities: Vec<_> =
        listed["participants"].as_array().expect("people").iter().map(|one| &one["identity"]).collect();
    assert_eq!(identities, ["aoi", "ben"]);
    let rooms = server.send("ListRooms", &server.admin(""), JSON, b"{}").json();
    assert_eq!(rooms["rooms"][0]["numParticipants"], 2, "{rooms}");
    assert!(rooms["rooms"][0]["sid"].as_str().is_some_and(|sid| sid.starts_with("RM_")), "{rooms}");
    let one = server.call("GetParticipant", &room, json!({"identity": "ben"}));
    assert_eq!(one.field("identity"), "ben");
    for (method, extra) in [
        ("GetParticipant", json!({"identity": "eve"})),
        ("RemoveParticipant", json!({"identity": "eve"})),
        ("UpdateParticipant", json!({"identity": "eve", "name": "x"})),
        ("MutePublishedTrack", json!({"identity": "aoi", "trackSid": "TR_x", "muted": true})),
    ] {
        error(&server.call(method, &room, extra), 404, "not_found");
    }
    // A name, an attribute and a permission: everybody hears of it.
    let change = json!({
        "identity": "aoi", "name": "Aoi", "attributes": {"seat": "7"},
        "permission": {"canSubscribe": true, "canPublish": false, "canPublishData": true},
    });
    let changed = server.call("UpdateParticipant", &room, change).json();
    assert_eq!((&changed["name"], &changed["attributes"]["seat"]), (&json!("Aoi"), &json!("7")), "{changed}");
    let told = ben.until(|reply| match reply {
        Reply::Update(update) => update
            .participants
            .into_iter()
            .find(|one| one.name == "Aoi" && !one.permission.as_ref().is_none_or(|may| may.can_publish)),
        _ => None,
    });
    let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("an update");
    assert_eq!(told.attributes["seat"], "7");
    let long = json!({"identity": "aoi", "metadata": "x".repeat(60_000)});
    error(&server.call("UpdateParticipant", &room, long), 400, "invalid_argument");
    for unknown in ["hidden", "recorder", "agent", "canManageAgentSession", "canSubscribeMetrics"] {
        let asked = json!({"identity": "aoi", "permission": {unknown: true}});
        error(&server.call("UpdateParticipant", &room, asked), 501, "unimplemented");
    }
    error(
        &server.call("MutePublishedTrack", &room, json!({"identity": "aoi", "muted": false})),
        501,
        "unimplemented",
    );
    assert_eq!(server.call("SendData", &room, json!({"data": "aGk=", "kind": "LOSSY"})).status, 200);
    assert_eq!(server.call("UpdateSubscriptions", &room, json!({"identity": "ben"})).status, 200);
    // Whoever is sent away may come back.
    assert_eq!(server.call("RemoveParticipant", &room, json!({"identity": "aoi"})).status, 200);
    let left = aoi.until(|reply| match reply {
        Reply::Leave(leave) => Some(leave.reason()),
        _ => None,
    });
    let reason = tokio::time::timeout(Duration::from_secs(20), left).await.expect("a word");
    assert_eq!(reason, proto::DisconnectReason::ParticipantRemoved);
    let (_back, _) = server.join(&room, "aoi").await;
    // The end is the end for everybody.
    assert_eq!(server.call("DeleteRoom", &room, json!({})).status, 200);
    let ended = ben.until(|reply| match reply {
        Reply::Leave(leave) => Some(leave.reason()),
        _ => None,
    });
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("a word");
    assert_eq!(ended, proto::DisconnectReason::RoomDeleted);
    error(&server.call("ListParticipants", &room, json!({})), 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_with_numbers_nobody_knows_is_listed_in_json() {
    let office = Office::open("twirp-numbers");
    let server = Server::of(&office, "ada");
    let room = server.meeting();
    let (mut aoi, _) = server.join(&room, "aoi").await;
    let cid = "7f2e8c92-b97f-4143-b3d7-83fb40ff0fb4".to_owned();
    let layer = proto::VideoLayer { quality: 99, ..Default::default() };
    let track = proto::AddTrackRequest {
        cid,
        r#type: proto::TrackType::Video.into(),
        source: 99,
        encryption: -1,
        audio_features: vec![99],
        layers: vec![layer],
        ..Default::default()
    };
    aoi.send(Request::AddTrack(track)).await;
    let sdp = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp").to_owned();
    let offer = proto::SessionDescription { r#type: "offer".into(), sdp, ..Default::default() };
    aoi.send(Request::Offer(offer)).await;
    let answered = aoi.until(|reply| matches!(reply, Reply::Answer(_)).then_some(()));
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an answer");
    let listed = server.call("ListParticipants", &room, json!({}));
    assert_eq!(listed.status, 200, "{listed:?}");
    let track = &listed.json()["participants"][0]["tracks"][0];
    assert_eq!(track["type"], "VIDEO", "{track}");
    let one = server.call("GetParticipant", &room, json!({"identity": "aoi"}));
    assert_eq!(one.status, 200, "{one:?}");
}

#[test]
fn a_room_that_goes_on_is_listed_behind_many_that_ended() {
    let office = Office::closed("twirp-ended", &["--meetings-per-day", "0"]);
    assert_eq!(office.set_up(&office.setup_token()).status, 200);
    let server = Server::of(&office, "ada");
    let oldest = server.meeting();
    for _ in 0..101 {
        let room = server.meeting();
        assert_eq!(server.call("DeleteRoom", &room, json!({})).status, 200);
    }
    let listed = server.send("ListRooms", &server.admin(""), JSON, b"{}").json();
    let names: Vec<_> = listed["rooms"].as_array().expect("rooms").iter().map(|room| &room["name"]).collect();
    assert_eq!(names, [oldest.as_str()]);
}

#[test]
fn an_encoder_is_muted_unmuted_and_shown_as_it_was_last() {
    let office = Office::open("twirp-encoder");
    let server = Server::of(&office, "ada");
    let room = server.meeting();
    let token = server.token("encoder", json!({"room": room, "roomJoin": true}));
    let offer = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
    let sdp = [("content-type", "application/sdp")];
    let begun = office.daemon.send("POST", &format!("/whip/{room}"), Some(&token), &sdp, offer.as_bytes());
    assert_eq!(begun.status, 201, "{begun:?}");
    let person = server.call("GetParticipant", &room, json!({"identity": "encoder"})).json();
    let sid = person["tracks"][0]["sid"].as_str().expect("a track");
    for muted in [true, false] {
        let asked = json!({"identity": "encoder", "trackSid": sid, "muted": muted});
        let answer = server.call("MutePublishedTrack", &room, asked);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["track"]["muted"].as_bool().unwrap_or_default(), muted, "{answer:?}");
    }
    // Who may publish no more is gone, and its answer tells of it.
    let change = json!({"identity": "encoder", "name": "Studio", "permission": {"canSubscribe": true}});
    let changed = server.call("UpdateParticipant", &room, change);
    assert_eq!((changed.status, changed.field("name").as_str()), (200, "Studio"), "{changed:?}");
    assert_eq!(changed.json()["permission"]["canPublish"].as_bool(), None, "{changed:?}");
    error(&server.call("GetParticipant", &room, json!({"identity": "encoder"})), 404, "not_found");
}
