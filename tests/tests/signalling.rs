//! `/rtc` and its neighbours against the real daemon: who is let in, what a bad client gets, what survives a dropped socket.

use std::io::Write as _;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use serde_json::json;
use tests::daemon::{Daemon, Scratch};
use tests::livekit::{Received, Signalling, wrap};
use tokio_tungstenite::tungstenite::Message;

struct Meeting {
    daemon: Daemon,
    id: String,
    host_token: String,
    _scratch: Scratch,
}

impl Meeting {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let daemon = Daemon::start(&scratch.join("data"), &["--demo", "--cores", "0"]);
        let (id, host_token) = daemon.create_hosted_meeting();
        Self { daemon, id, host_token, _scratch: scratch }
    }

    fn token(&self, name: &str) -> String {
        self.daemon.session_token(&self.id, name)
    }

    async fn open(&self, token: &str) -> Signalling {
        Signalling::open(self.daemon.address, token, "").await.expect("let in")
    }

    fn end(&self) {
        let path = format!("/api/v1/meetings/{}/end", self.id);
        assert_eq!(self.daemon.call("POST", &path, Some(&self.host_token)).status, 200);
    }
}

fn sid(join: &proto::JoinResponse) -> String {
    join.participant.as_ref().map(|p| p.sid.clone()).unwrap_or_default()
}

/// What a client with nothing to say asks for.
fn plain_request() -> proto::JoinRequest {
    let settings = proto::ConnectionSettings { auto_subscribe: true, ..Default::default() };
    proto::JoinRequest { connection_settings: Some(settings), ..Default::default() }
}

fn leave_reason(reply: Reply) -> Option<proto::LeaveRequest> {
    match reply {
        Reply::Leave(leave) => Some(leave),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validators_say_why_and_never_404() {
    let meeting = Meeting::new("validate");
    let token = meeting.token("Ada");
    let validate = |token: &str| {
        let path = format!("/rtc/validate?access_token={token}");
        meeting.daemon.call("GET", &path, None).status
    };
    assert_eq!(validate(&token), 200);
    assert_eq!(validate(""), 401);
    assert_eq!(validate("nonsense"), 401);
    assert_eq!(validate("a&access_token=b"), 401, "an unreadable query");
    let plain = meeting.daemon.call("GET", &format!("/rtc?access_token={token}"), None);
    assert_eq!((plain.status, plain.header("content-type")), (426, Some("application/problem+json")));
    assert_eq!(validate(&meeting.host_token), 401, "a token for another purpose");
    assert_eq!(meeting.daemon.call("GET", "/rtc/validate", Some(&token)).status, 200, "as a header");
    let request = wrap(0, plain_request().encode_to_vec());
    let v1 = |route: &str, token: &str, request: &str| {
        let path = format!("/rtc/v1{route}?access_token={token}&join_request={request}");
        let answer = meeting.daemon.send("GET", &path, None, &[("origin", "https://example.org")], b"");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        (answer.status, answer.text())
    };
    assert_eq!(v1("/validate", &token, &request).0, 200);
    assert_eq!(v1("", &token, &request).0, 426);
    for route in ["", "/validate"] {
        assert_eq!(v1(route, "", &request).0, 401);
        assert_eq!(v1(route, "nonsense", "garbage").0, 401, "nothing is inflated for strangers");
        for (broken, says) in [
            ("", "no join_request"),
            ("%25%25%25", "not base64"),
            (&wrap(1, vec![7; 40]), "does not inflate"),
            (&wrap(9, vec![]), "compression"),
            (&wrap(0, vec![0x0a, 0x7f, 1]), "not a JoinRequest"),
        ] {
            let (status, text) = v1(route, &token, broken);
            assert!(status == 400 && text.contains(says), "{broken}: {status} {text}");
        }
    }
    assert_eq!(Signalling::open(meeting.daemon.address, "nonsense", "").await.err(), Some(401));
    meeting.end();
    assert_eq!(validate(&token), 403);
    assert_eq!(Signalling::open(meeting.daemon.address, &token, "").await.err(), Some(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_request_that_inflates_to_100_mb_is_refused_cheaply() {
    let meeting = Meeting::new("bomb");
    let token = meeting.token("Mallory");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 100_000_000]).expect("to memory");
    let bomb = wrap(1, encoder.finish().expect("to memory"));
    for route in ["", "/validate"] {
        let path = format!("/rtc/v1{route}?access_token={token}&join_request={bomb}");
        let answer = meeting.daemon.call("GET", &path, None);
        assert!(answer.status == 400 || answer.status == 414 || answer.status == 431, "{}", answer.status);
    }
    let faults = meeting.daemon.call("GET", "/metrics", None).text();
    println!(
        "{}",
        faults.lines().filter(|l| l.starts_with("kaigi_signal_faults")).collect::<Vec<_>>().join("\n")
    );
    // And everybody else is served.
    let request = plain_request();
    let joined = Signalling::open_v1(meeting.daemon.address, &meeting.token("Ada"), &request).await;
    joined.expect("let in").join().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_in_the_join_request_is_answered_right_after_the_join() {
    let meeting = Meeting::new("one-connection");
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    ada.join().await;
    let offer = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
    let request = proto::JoinRequest {
        connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
        metadata: "from the request".into(),
        participant_attributes: [("colour".to_owned(), "green".to_owned())].into(),
        add_track_requests: vec![proto::AddTrackRequest {
            cid: "7f2e8c92-b97f-4143-b3d7-83fb40ff0fb4".into(),
            r#type: proto::TrackType::Video.into(),
            ..Default::default()
        }],
        publisher_offer: Some(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.into(),
            id: 9,
            ..Default::default()
        }),
        ..Default::default()
    };
    let token = meeting.token("Bob");
    let mut bob = Signalling::open_v1(meeting.daemon.address, &token, &request).await.expect("let in");
    let joined = bob.join().await;
    assert!(!joined.subscriber_primary);
    let answer = bob
        .until(|reply| match reply {
            Reply::Answer(answer) => Some(answer),
            Reply::Offer(_) => panic!("the client is the one who offers"),
            _ => None,
        })
        .await;
    assert_eq!(answer.id, 9);
    let told = ada
        .until(|reply| match reply {
            Reply::Update(update) => update.participants.into_iter().find(|p| !p.tracks.is_empty()),
            _ => None,
        })
        .await;
    assert_eq!((told.name.as_str(), told.metadata.as_str()), ("Bob", "from the request"));
    assert_eq!(told.attributes.get("colour").map(String::as_str), Some("green"));
    // The session goes on over a new socket, by the same protocol only.
    let again = proto::JoinRequest { reconnect: true, participant_sid: sid(&joined), ..Default::default() };
    drop(bob);
    let query = format!("&reconnect=1&sid={}", sid(&joined));
    let mut other = Signalling::open(meeting.daemon.address, &token, &query).await.expect("let in");
    assert_eq!(other.until(leave_reason).await.action, i32::from(proto::leave_request::Action::Reconnect));
    let mut bob = Signalling::open_v1(meeting.daemon.address, &token, &again).await.expect("let in");
    let Received::Reply(first) = bob.receive().await else { panic!("closed") };
    assert!(matches!(*first, Reply::Reconnect(_)), "{first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_changes_what_somebody_may_do() {
    let meeting = Meeting::new("permit");
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    let joined = ada.join().await;
    let identity = joined.participant.map(|p| p.identity).unwrap_or_default();
    let path = format!("/api/v1/meetings/{}/participants/{identity}/permissions", meeting.id);
    let change = |token: Option<&str>, path: &str, body: &serde_json::Value| {
        meeting.daemon.call_json("PATCH", path, token, body)
    };
    let host = Some(meeting.host_token.as_str());
    let mute = json!({ "can_publish": false, "can_update_metadata": false });
    assert_eq!(change(None, &path, &mute).status, 401);
    assert_eq!(change(Some(&meeting.token("Bob")), &path, &mute).status, 403);
    assert_eq!(change(host, &path, &json!({ "can_publish": "no" })).status, 422);
    assert_eq!(change(host, &path, &json!({ "can_fly": true })).status, 422);
    let nobody = format!("/api/v1/meetings/{}/participants/user_1/permissions", meeting.id);
    assert_eq!(change(host, &nobody, &mute).status, 404);
    let answer = change(host, &path, &mute);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["can_publish"], &body["can_subscribe"]), (&json!(false), &json!(true)));
    let told = ada
        .until(|reply| match reply {
            Reply::Update(update) => update.participants.into_iter().find(|p| p.identity == identity),
            _ => None,
        })
        .await;
    assert!(told.permission.is_some_and(|p| !p.can_publish && p.can_subscribe && !p.can_update_metadata));
    ada.send(Request::Leave(proto::LeaveRequest::default())).await;
    ada.closed().await;
    assert_eq!(change(host, &path, &mute).status, 409, "somebody who left");
    meeting.end();
    assert_eq!(change(host, &path, &mute).status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_sends_its_people_to_its_successor() {
    let mut meeting = Meeting::new("drain");
    let token = meeting.token("Ada");
    let mut ada = meeting.open(&token).await;
    ada.join().await;
    meeting.daemon.signal("TERM");
    let leave = ada.until(leave_reason).await;
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::ServerShutdown));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Reconnect));
    ada.closed().await;
    assert!(meeting.daemon.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_closed_with_a_reason() {
    let meeting = Meeting::new("garbage");
    let cases: [(Message, u16); 3] = [
        (Message::Text("{\"ping\":1}".into()), 1003),
        (Message::Binary(vec![0xff; 64].into()), 1007),
        (Message::Binary(vec![0x0a, 0x7f, 0x01].into()), 1007),
    ];
    for (frame, code) in cases {
        let mut client = meeting.open(&meeting.token("Mallory")).await;
        client.join().await;
        client.send_frame(frame).await.expect("the connection stands");
        let (status, reason) = client.closed().await.expect("a status");
        assert_eq!(status, code);
        assert!(!reason.is_empty());
    }
    let mut client = meeting.open(&meeting.token("Mallory")).await;
    client.join().await;
    let long = vec![0; 5 * 1024 * 1024];
    client.send_frame(Message::Binary(long.into())).await.expect("the connection stands");
    assert_eq!(client.closed().await.map(|(code, _)| code), Some(1009));
    let mut client = meeting.open(&meeting.token("Mallory")).await;
    client.join().await;
    let huge = vec![0; 16 * 1024 * 1024];
    let _ = client.send_frame(Message::Binary(huge.into())).await;
    client.closed().await;
    let mut client = meeting.open(&meeting.token("Mallory")).await;
    client.join().await;
    for timestamp in 0..2_000 {
        let ping = Request::PingReq(proto::Ping { timestamp, rtt: 0 });
        let bytes = prost::Message::encode_to_vec(&proto::SignalRequest { message: Some(ping) });
        if client.send_frame(Message::Binary(bytes.into())).await.is_err() {
            break;
        }
    }
    assert!(matches!(client.closed().await, None | Some((1008, _))), "a flood is not read on");
    let metrics = meeting.daemon.call("GET", "/metrics", None).text();
    for line in [
        "kaigi_signal_faults_total{reason=\"text\"} 1",
        "kaigi_signal_faults_total{reason=\"malformed\"} 2",
        "kaigi_signal_faults_total{reason=\"too_long\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing");
    }
    // Everybody else is still served, and what the protocol has not is ignored.
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    ada.join().await;
    ada.send_frame(Message::Binary(Vec::new().into())).await.expect("the connection stands");
    ada.send_frame(Message::Binary(vec![0xfa, 0x07, 0x00].into())).await.expect("the connection stands");
    ada.send(Request::PingReq(proto::Ping { timestamp: 77, rtt: 0 })).await;
    let echoed = ada
        .until(|reply| match reply {
            Reply::PongResp(pong) => Some(pong.last_ping_timestamp),
            _ => None,
        })
        .await;
    assert_eq!(echoed, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_cannot_be_used_ends_the_connection_with_its_reason() {
    let meeting = Meeting::new("bad-sdp");
    let mut client = meeting.open(&meeting.token("Mallory")).await;
    client.join().await;
    client
        .send(Request::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: "v=0\r\nnonsense".into(),
            id: 1,
            ..Default::default()
        }))
        .await;
    let leave = client.until(leave_reason).await;
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    let (status, reason) = client.closed().await.expect("a status");
    assert_eq!(status, 1007);
    assert!(reason.contains("description"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_connection_of_a_person_wins() {
    let meeting = Meeting::new("duplicate");
    let token = meeting.token("Ada");
    let mut first = meeting.open(&token).await;
    let joined = first.join().await;
    let mut second = meeting.open(&token).await;
    let again = second.join().await;
    assert_ne!(sid(&joined), sid(&again));
    assert!(again.other_participants.is_empty());
    let leave = first.until(leave_reason).await;
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::DuplicateIdentity));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert_eq!(first.closed().await.map(|(code, _)| code), Some(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_each_other_come_and_go() {
    let meeting = Meeting::new("presence");
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    ada.join().await;
    let mut bob = meeting.open(&meeting.token("Bob")).await;
    let joined = bob.join().await;
    assert_eq!(joined.other_participants.len(), 1);
    assert_eq!(joined.other_participants[0].name, "Ada");
    let states = |wanted: proto::participant_info::State| {
        move |reply: Reply| match reply {
            Reply::Update(update) => {
                update.participants.into_iter().find(|p| p.name == "Bob" && p.state == i32::from(wanted))
            }
            _ => None,
        }
    };
    ada.until(states(proto::participant_info::State::Joined)).await;
    bob.send(Request::Leave(proto::LeaveRequest::default())).await;
    ada.until(states(proto::participant_info::State::Disconnected)).await;
    bob.closed().await;
    // The row in the store follows.
    let path = format!("/api/v1/meetings/{}/participants", meeting.id);
    let begun = Instant::now();
    loop {
        let rows = meeting.daemon.call("GET", &path, Some(&meeting.host_token)).json();
        let left = rows["items"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["name"] == "Bob" && row["state"] == "left"));
        if left {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{rows}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_on_a_new_socket_and_only_by_its_person() {
    let meeting = Meeting::new("resume");
    let token = meeting.token("Ada");
    let mut bob = meeting.open(&meeting.token("Bob")).await;
    bob.join().await;
    let mut ada = meeting.open(&token).await;
    let id = sid(&ada.join().await);
    drop(ada);
    let query = format!("&reconnect=1&sid={id}");
    let mut mallory =
        Signalling::open(meeting.daemon.address, &meeting.token("Mallory"), &query).await.expect("let in");
    let leave = mallory.until(leave_reason).await;
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::StateMismatch));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Reconnect));
    let mut ada = Signalling::open(meeting.daemon.address, &token, &query).await.expect("let in");
    let Received::Reply(first) = ada.receive().await else { panic!("closed") };
    assert!(matches!(*first, Reply::Reconnect(_)), "{first:?}");
    let others = ada
        .until(|reply| match reply {
            Reply::Update(update) => Some(update.participants.len()),
            _ => None,
        })
        .await;
    assert_eq!(others, 2);
    ada.until(|reply| matches!(reply, Reply::Offer(_)).then_some(())).await;
    // Bob was told nothing of it: the next he hears is that somebody else leaves.
    ada.send(Request::Leave(proto::LeaveRequest::default())).await;
    let gone = bob
        .until(|reply| match reply {
            Reply::Update(update) => update
                .participants
                .into_iter()
                .find(|p| p.state == i32::from(proto::participant_info::State::Disconnected)),
            _ => None,
        })
        .await;
    assert_eq!(gone.sid, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_meeting_and_a_removal_reach_the_people() {
    let meeting = Meeting::new("end");
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    ada.join().await;
    meeting.end();
    let leave = ada.until(leave_reason).await;
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::RoomDeleted));
    ada.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_end_and_many_joins_at_once_nobody_stays_in_the_meeting() {
    let meeting = Meeting::new("end-and-joins");
    let address = meeting.daemon.address;
    for round in 0..20 {
        let (id, host) = meeting.daemon.create_hosted_meeting();
        let mut people = Vec::new();
        for person in 0..8 {
            let token = meeting.daemon.session_token(&id, &format!("Person {person}"));
            people.push(tokio::spawn(async move {
                // Some come a little later than the end is asked for.
                tokio::time::sleep(Duration::from_micros(300 * person)).await;
                if let Ok(mut socket) = Signalling::open(address, &token, "").await {
                    let leave = socket.until(leave_reason).await;
                    assert_eq!(leave.reason(), proto::DisconnectReason::RoomDeleted);
                    socket.closed().await;
                }
            }));
        }
        let path = format!("/api/v1/meetings/{id}/end");
        assert_eq!(meeting.daemon.call("POST", &path, Some(&host)).status, 200);
        for person in people {
            let told = tokio::time::timeout(tests::daemon::PATIENCE, person).await;
            told.unwrap_or_else(|_| panic!("round {round}: somebody stays")).expect("no panic");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_answered_and_told_to_the_others() {
    let meeting = Meeting::new("publish");
    let mut ada = meeting.open(&meeting.token("Ada")).await;
    ada.join().await;
    let mut bob = meeting.open(&meeting.token("Bob")).await;
    bob.join().await;
    let offer = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
    let camera = "7f2e8c92-b97f-4143-b3d7-83fb40ff0fb4";
    ada.send(Request::AddTrack(proto::AddTrackRequest {
        cid: camera.into(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        encryption: proto::encryption::Type::Gcm.into(),
        ..Default::default()
    }))
    .await;
    let published = ada
        .until(|reply| match reply {
            Reply::TrackPublished(published) => Some(published),
            _ => None,
        })
        .await;
    assert_eq!(published.cid, camera);
    let track = published.track.map(|t| t.sid).unwrap_or_default();
    ada.send(Request::Offer(proto::SessionDescription {
        r#type: "offer".into(),
        sdp: offer.into(),
        id: 5,
        ..Default::default()
    }))
    .await;
    let answer = ada
        .until(|reply| match reply {
            Reply::Answer(answer) => Some(answer),
            _ => None,
        })
        .await;
    assert_eq!((answer.id, answer.r#type.as_str()), (5, "answer"));
    let told = bob
        .until(|reply| match reply {
            Reply::Update(update) => update.participants.into_iter().find(|p| !p.tracks.is_empty()),
            _ => None,
        })
        .await;
    assert_eq!(told.tracks[0].sid, track);
    assert_eq!(told.tracks[0].encryption, i32::from(proto::encryption::Type::Gcm));
    let offered = bob
        .until(|reply| match reply {
            Reply::Offer(offer) => Some(offer),
            _ => None,
        })
        .await;
    assert!(offered.sdp.contains("m=application"));
    let rows = meeting.daemon.call(
        "GET",
        &format!("/api/v1/meetings/{}/participants", meeting.id),
        Some(&meeting.host_token),
    );
    assert_eq!(rows.status, 200);
}
