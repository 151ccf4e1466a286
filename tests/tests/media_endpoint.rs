//! `GET /api/v1/meetings/{id}/participants/{pid}/media` of the real daemon: who may ask, and what the answer says.

use std::fmt::Write as _;

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use serde_json::{Value, json};
use tests::daemon::{Daemon, Scratch};
use tests::livekit::Signalling;

const OFFER: &str = include_str!("../../controlplane/tests/data/clients/chromium_offer.sdp");
const CAMERA: &str = "7f2e8c92-b97f-4143-b3d7-83fb40ff0fb4";

struct Meeting {
    daemon: Daemon,
    id: String,
    host_token: String,
    _scratch: Scratch,
}

/// Somebody in a meeting.
struct Person {
    id: String,
    token: String,
    signalling: Signalling,
}

impl Meeting {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let daemon = Daemon::start(&scratch.join("data"), &["--demo", "--cores", "0"]);
        let (id, host_token) = daemon.create_hosted_meeting();
        Self { daemon, id, host_token, _scratch: scratch }
    }

    async fn enter(&self, name: &str) -> Person {
        let token = self.daemon.session_token(&self.id, name);
        let mut signalling = Signalling::open(self.daemon.address, &token, "").await.expect("let in");
        let join = signalling.join().await;
        let id = join.participant.expect("oneself").identity;
        Person { id, token, signalling }
    }

    /// Status and body of the endpoint.
    fn media(&self, person: &str, token: Option<&str>) -> (u16, Value) {
        let path = format!("/api/v1/meetings/{}/participants/{person}/media", self.id);
        let answer = self.daemon.call("GET", &path, token);
        (answer.status, answer.json())
    }
}

/// What a browser would answer, without these codecs' formats.
fn answer(offer: &proto::SessionDescription, without: &[&str]) -> proto::SessionDescription {
    let lacks = |line: &&str| without.iter().any(|codec| line.contains(&format!(" {codec}/90000")));
    let number = |line: &str| line.split([':', ' ']).nth(1).unwrap_or_default().to_owned();
    let rtpmaps = offer.sdp.lines().filter(|line| line.starts_with("a=rtpmap:"));
    let gone: Vec<String> = rtpmaps.filter(lacks).map(number).collect();
    let mut sdp = String::new();
    for line in offer.sdp.lines() {
        let of_format = line.starts_with("a=rtpmap:") || line.starts_with("a=fmtp:");
        if line.starts_with("a=ssrc") || line == "a=ice-lite" || of_format && gone.contains(&number(line)) {
            continue;
        }
        let line = match line {
            "a=sendonly" => "a=recvonly",
            "a=setup:actpass" => "a=setup:active",
            line => line,
        };
        if line.starts_with("m=video") {
            let kept: Vec<&str> = line.split(' ').filter(|word| !gone.iter().any(|pt| pt == word)).collect();
            // A section of which nothing is taken is rejected, and names a format all the same (RFC 3264 section 6).
            let line =
                if kept.len() > 3 { kept.join(" ") } else { "m=video 0 UDP/TLS/RTP/SAVPF 0".to_owned() };
            let _ = write!(sdp, "{line}\r\n");
        } else {
            let _ = write!(sdp, "{line}\r\n");
        }
    }
    proto::SessionDescription { r#type: "answer".into(), sdp, id: offer.id, ..Default::default() }
}

impl Person {
    async fn publish_camera(&mut self, codec: &str) {
        let layers = [(0, 320, 180), (1, 640, 360), (2, 1280, 720)].map(|(quality, width, height)| {
            proto::VideoLayer { quality, width, height, ..Default::default() }
        });
        let announcement = proto::AddTrackRequest {
            cid: CAMERA.into(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            simulcast_codecs: vec![proto::SimulcastCodec { codec: codec.into(), ..Default::default() }],
            layers: layers.into(),
            ..Default::default()
        };
        self.signalling.send(Request::AddTrack(announcement)).await;
        let offer = proto::SessionDescription {
            r#type: "offer".into(),
            sdp: OFFER.into(),
            id: 1,
            ..Default::default()
        };
        self.signalling.send(Request::Offer(offer)).await;
        self.signalling.until(|reply| matches!(reply, Reply::Answer(_)).then_some(())).await;
    }

    /// Answers offers until one carries a camera, as a browser without these codecs.
    async fn receive(&mut self, without: &[&str]) {
        loop {
            let offer = self
                .signalling
                .until(|reply| if let Reply::Offer(offer) = reply { Some(offer) } else { None })
                .await;
            let carries = offer.sdp.contains("m=video");
            self.signalling.send(Request::Answer(answer(&offer, without))).await;
            if carries {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_and_the_host_see_what_it_receives_and_what_is_sent_of_it() {
    let meeting = Meeting::new("media");
    let mut ada = meeting.enter("Ada").await;
    let mut bob = meeting.enter("Bob").await;
    ada.publish_camera("vp8").await;
    bob.receive(&[]).await;
    // The publisher hears of its first subscriber when the stream has begun.
    ada.signalling.until(|reply| matches!(reply, Reply::TrackSubscribed(_)).then_some(())).await;
    for token in [&bob.token, &meeting.host_token] {
        let (status, media) = meeting.media(&bob.id, Some(token));
        assert_eq!(status, 200, "{media}");
        assert_eq!((&media["participant_id"], &media["connected"]), (&json!(bob.id), &json!(true)));
        assert!(media["link"]["sent_bps"].is_u64() && media["link"]["loss_down"].is_f64(), "{media}");
        let camera = &media["receives"][0];
        assert_eq!(camera["from"], json!(ada.id));
        assert_eq!(camera["from_name"], "Ada");
        assert_eq!((&camera["kind"], &camera["source"]), (&json!("video"), &json!("camera")));
        assert_eq!(camera["codec"], "video/VP8");
        assert_eq!(camera["wanted"], json!({ "enabled": true, "layer": null, "fps": null }));
        assert_eq!((&camera["paused"], &camera["bitrate_bps"]), (&json!(false), &json!(0)));
        assert!(camera["reason"].is_null() && camera.get("missing_codecs").is_none(), "{camera}");
        assert_eq!(media["publishes"], json!([]));
    }
    let (_, own) = meeting.media(&ada.id, Some(&ada.token));
    let camera = &own["publishes"][0];
    assert_eq!((&camera["codec"], &camera["subscribers"]), (&json!("video/VP8"), &json!(1)));
    let layer = |quality, width, height| json!({ "quality": quality, "width": width, "height": height, "wanted": true });
    let layers = [layer("low", 320, 180), layer("medium", 640, 360), layer("high", 1280, 720)];
    assert_eq!(camera["layers"], json!(layers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_is_missing_is_named() {
    let meeting = Meeting::new("media-codec");
    let mut ada = meeting.enter("Ada").await;
    let mut bob = meeting.enter("Bob").await;
    ada.publish_camera("av1").await;
    bob.receive(&["AV1", "rtx"]).await;
    let refused =
        |reply| if let Reply::SubscriptionResponse(answer) = reply { Some(answer.err) } else { None };
    let error = bob.signalling.until(refused).await;
    assert_eq!(error, i32::from(proto::SubscriptionError::SeCodecUnsupported));
    let (_, media) = meeting.media(&bob.id, Some(&bob.token));
    let camera = &media["receives"][0];
    assert_eq!((&camera["reason"], &camera["missing_codecs"]), (&json!("codec_missing"), &json!(["AV1"])));
    assert!(camera["reason_text"].as_str().is_some_and(|text| text.contains("AV1")), "{camera}");
    let metrics = meeting.daemon.call("GET", "/metrics", None).text();
    assert!(metrics.contains("kaigi_streams_reduced{reason=\"codec_missing\"} 1"), "{metrics}");
    assert!(metrics.contains("kaigi_streams_reduced{reason=\"link_estimate\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_host_and_the_participant_itself_may_ask() {
    let meeting = Meeting::new("media-who");
    let ada = meeting.enter("Ada").await;
    let bob = meeting.enter("Bob").await;
    let kind =
        |(status, problem): (u16, Value)| (status, problem["type"].as_str().unwrap_or_default().to_owned());
    let problem = |status: u16, slug: &str| (status, format!("/problems/{slug}"));
    assert_eq!(kind(meeting.media(&ada.id, None)), problem(401, "token-required"));
    assert_eq!(kind(meeting.media(&ada.id, Some("nonsense"))), problem(401, "token-invalid"));
    assert_eq!(kind(meeting.media(&ada.id, Some(&bob.token))), problem(403, "not-host"));
    let other = Meeting::new("media-other");
    assert_eq!(kind(meeting.media(&ada.id, Some(&other.host_token))), problem(401, "token-invalid"));
    for nobody in ["user_1", "user_x", "%20"] {
        let (token, expected) = (&meeting.host_token, problem(404, "participant-not-found"));
        assert_eq!(kind(meeting.media(nobody, Some(token))), expected, "{nobody}");
        assert_eq!(meeting.media(nobody, Some(&bob.token)).0, 403, "{nobody}");
    }
    let elsewhere = "/api/v1/meetings/meeting_8/participants/user_1/media";
    assert_eq!(meeting.daemon.call("GET", elsewhere, Some(&bob.token)).status, 404);
    let path = format!("/api/v1/meetings/{}/participants/{}/media", meeting.id, ada.id);
    assert_eq!(meeting.daemon.call("POST", &path, Some(&ada.token)).status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_connected_receives_nothing_and_an_ended_meeting_can_be_read() {
    let meeting = Meeting::new("media-gone");
    let mut ada = meeting.enter("Ada").await;
    ada.signalling.send(Request::Leave(proto::LeaveRequest::default())).await;
    ada.signalling.closed().await;
    let empty = json!({
        "participant_id": ada.id, "connected": false, "link": null, "receives": [], "publishes": []
    });
    assert_eq!(meeting.media(&ada.id, Some(&ada.token)), (200, empty.clone()));
    let end = format!("/api/v1/meetings/{}/end", meeting.id);
    assert_eq!(meeting.daemon.call("POST", &end, Some(&meeting.host_token)).status, 200);
    assert_eq!(meeting.media(&ada.id, Some(&meeting.host_token)), (200, empty));
}

#[test]
fn the_document_describes_the_endpoint() {
    let meeting = Meeting::new("media-document");
    let document = meeting.daemon.call("GET", "/api/v1/openapi.json", None).json();
    let get = &document["paths"]["/api/v1/meetings/{id}/participants/{pid}/media"]["get"];
    for status in ["200", "401", "403", "404"] {
        assert!(get["responses"][status].is_object(), "{status}");
    }
    let schema = &document["components"]["schemas"]["ReceivedTrack"]["properties"];
    for field in ["track_id", "wanted", "paused", "layer", "reason", "reason_text", "missing_codecs"] {
        assert!(schema[field].is_object(), "{field}");
    }
}
