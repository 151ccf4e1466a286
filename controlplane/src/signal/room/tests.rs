mod codecs;
mod data;
mod deliveries;
mod dynacast;
mod permissions;
mod sessions;
mod settings;
mod single;

use std::collections::{BTreeMap, VecDeque};

use dataplane::base::handoff::SrtpProfile;
use dataplane::base::media::{Codec, Extension, MediaKind};
use dataplane::base::reason::Reason;
use dataplane::command::{Delivery, PeerEnd, SPEAKERS_MAX, SpeakerLevel, Subscribe, Wanted};
use proto::signal_response::Message as Reply;

use super::*;
use crate::service::May;
use crate::service::timestamp::Timestamp;

const CHROMIUM: &str = include_str!("../../../tests/data/clients/chromium_offer.sdp");
const FIREFOX: &str = include_str!("../../../tests/data/clients/firefox_offer.sdp");
const MICROPHONE: &str = "0fbc0238-b60d-4f76-99c1-d690e6e3c84b";
const CAMERA: &str = "7f2e8c92-b97f-4143-b3d7-83fb40ff0fb4";
/// The track of the offer's third section, which stands for the copy of the camera that a backup codec is made of.
const COPY: &str = "d73ed8e4-fc00-425a-aa76-a7a5f84594eb";

/// A room with clients that answer offers as browsers do.
struct Stage {
    room: Room,
    now_ms: u64,
    replies: BTreeMap<u64, VecDeque<Reply>>,
    commands: Vec<Command>,
    closed: Vec<ConnectionId>,
    left: usize,
    ready: usize,
    media: Vec<(bool, bool)>,
    offers: usize,
}

fn admission(user: u64) -> Arc<Admission> {
    Arc::new(Admission {
        meeting: MeetingId(9),
        user: UserId(user),
        identity: format!("user_{user}"),
        name: format!("User {user}"),
        host: false,
        joined_at: Timestamp(0),
        topic: "Test".into(),
        created_at: Timestamp(0),
        max_participants: 100,
        may: May::ALL,
        newcomer: None,
    })
}

impl Stage {
    fn new() -> Self {
        let plane = Plane {
            core: CoreId(1),
            fingerprint: Fingerprint([1; 32]),
            candidates: vec![Candidate::udp("192.0.2.1:7883".parse().expect("an address"))],
            dtls: DtlsVersion::V12,
        };
        Self {
            room: Room::new(MeetingId(9), 1_000, plane, Arc::default()),
            now_ms: 0,
            replies: BTreeMap::new(),
            commands: Vec::new(),
            closed: Vec::new(),
            left: 0,
            ready: 0,
            media: Vec::new(),
            offers: 0,
        }
    }

    fn settle(&mut self) {
        for effect in self.room.take_effects() {
            match effect {
                Effect::Command(command) => self.commands.push(command),
                Effect::Send(connection, message) => {
                    let reply = message.message.expect("we send no empty messages");
                    self.offers += usize::from(matches!(reply, Reply::Offer(_)));
                    self.replies.entry(connection.0).or_default().push_back(reply);
                }
                Effect::Close(connection, _) => self.closed.push(connection),
                Effect::Ready(_) => self.ready += 1,
                Effect::Keyed(dtls, _) => assert_eq!(dtls, DtlsVersion::V12),
                Effect::Media { audio, video, .. } => self.media.push((audio, video)),
                Effect::Left(_) => self.left += 1,
                Effect::Renew(..) | Effect::LinkEstimate(_) => {}
            }
        }
    }

    fn join_as(&mut self, connection: u64, user: u64, auto_subscribe: bool) {
        self.join_with(connection, user, Client { auto_subscribe, client_protocol: 0, single: false });
    }

    fn join_with(&mut self, connection: u64, user: u64, client: Client) {
        let joining = Joining {
            connection: ConnectionId(connection),
            admission: admission(user),
            client,
            since_accept: Duration::ZERO,
            wall_ms: 1_000,
        };
        self.room.join(self.now_ms, joining);
        self.settle();
    }

    fn join(&mut self, connection: u64) {
        self.join_as(connection, connection, true);
    }

    fn request(&mut self, connection: u64, message: Message) {
        self.room.handle_request(self.now_ms, ConnectionId(connection), message);
        self.settle();
    }

    fn advance(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
        self.room.handle_time(self.now_ms);
        self.settle();
    }

    fn report(&mut self, report: Report) {
        self.room.handle_report(self.now_ms, report);
        self.settle();
    }

    fn take(&mut self, connection: u64) -> Vec<Reply> {
        self.replies.remove(&connection).unwrap_or_default().into()
    }

    /// Answers every offer a client got, oldest first; the rest of its messages are handed back.
    fn answer(&mut self, connection: u64) -> Vec<Reply> {
        let mut rest = Vec::new();
        for reply in self.take(connection) {
            match reply {
                Reply::Offer(offer) => {
                    let answer = answer_to(&offer, connection);
                    self.request(connection, Message::Answer(answer));
                }
                other => rest.push(other),
            }
        }
        rest
    }

    fn publish(&mut self, connection: u64, offer: &str, tracks: &[(&str, proto::TrackType)]) {
        for (cid, kind) in tracks {
            let request =
                proto::AddTrackRequest { cid: (*cid).into(), r#type: (*kind).into(), ..Default::default() };
            self.request(connection, Message::AddTrack(request));
        }
        let description = proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.into(),
            id: 77,
            ..Default::default()
        };
        self.request(connection, Message::Offer(description));
    }

    /// Answers every offer a client got as one that lacks these codecs would; the rest of its messages are handed back.
    fn answer_without(&mut self, connection: u64, codecs: &[&str]) -> Vec<Reply> {
        let mut rest = Vec::new();
        for reply in self.take(connection) {
            match reply {
                Reply::Offer(offer) => {
                    let mut answer = answer_to(&offer, connection);
                    answer.sdp = without_codecs(&answer.sdp, codecs);
                    self.request(connection, Message::Answer(answer));
                }
                other => rest.push(other),
            }
        }
        rest
    }

    /// Announces and offers a camera that can be sent as these codecs.
    fn publish_camera(&mut self, connection: u64, codecs: &[&str]) {
        let layers = [(0, 320, 180), (1, 640, 360), (2, 1280, 720)];
        let request = proto::AddTrackRequest {
            cid: CAMERA.into(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            layers: layers
                .map(|(quality, width, height)| proto::VideoLayer {
                    quality,
                    width,
                    height,
                    ..Default::default()
                })
                .into(),
            simulcast_codecs: codecs.iter().map(|codec| codec_wish(codec, "")).collect(),
            ..Default::default()
        };
        self.request(connection, Message::AddTrack(request));
        self.publish(connection, CHROMIUM, &[]);
    }

    /// The id of the camera that a member publishes.
    fn camera_sid(&self, connection: u64) -> String {
        let member = self.room.members.values().find(|m| m.connection == Some(ConnectionId(connection)));
        let camera = member.and_then(|m| m.tracks.iter().find(|t| t.primary.is_called(CAMERA)));
        camera.map(|track| track.info.sid.clone()).expect("it publishes a camera")
    }

    /// What a client says about the size it shows a camera at.
    fn show(&mut self, connection: u64, sid: &str, width: u32, height: u32) {
        let track_sids = vec![sid.to_owned()];
        let settings = proto::UpdateTrackSettings { track_sids, width, height, ..Default::default() };
        self.request(connection, Message::TrackSetting(settings));
    }

    /// The codecs of tracks published to the packet plane, by their numbers there.
    fn published(&self) -> Vec<(TrackId, Codec)> {
        self.commands
            .iter()
            .filter_map(|c| match c {
                Command::Publish(publish) => Some((publish.track, publish.formats.first()?.codec)),
                _ => None,
            })
            .collect()
    }

    fn subscribes(&self) -> Vec<&Subscribe> {
        self.commands
            .iter()
            .filter_map(|c| match c {
                Command::Subscribe(subscribe) => Some(&**subscribe),
                _ => None,
            })
            .collect()
    }

    fn count(&self, wanted: fn(&Command) -> bool) -> usize {
        self.commands.iter().filter(|c| wanted(c)).count()
    }

    fn peers(&self) -> Vec<PeerId> {
        self.commands
            .iter()
            .filter_map(|c| match c {
                Command::OpenPeer(open) => Some(open.peer),
                _ => None,
            })
            .collect()
    }
}

/// What a browser would answer: the same sections, seen from the other side.
fn answer_to(offer: &proto::SessionDescription, user: u64) -> proto::SessionDescription {
    let sdp: String = offer
        .sdp
        .lines()
        .filter(|l| !l.starts_with("a=ssrc") && !l.starts_with("a=msid:") && *l != "a=ice-lite")
        .map(|l| match l {
            "a=sendonly" => "a=recvonly\r\n".to_owned(),
            "a=setup:actpass" => "a=setup:active\r\n".to_owned(),
            l if l.starts_with("a=ice-ufrag") => format!("a=ice-ufrag:user{user}\r\n"),
            l => format!("{l}\r\n"),
        })
        .collect();
    proto::SessionDescription { r#type: "answer".into(), sdp, id: offer.id, ..Default::default() }
}

fn codec_wish(codec: &str, cid: &str) -> proto::SimulcastCodec {
    proto::SimulcastCodec { codec: codec.into(), cid: cid.into(), ..Default::default() }
}

/// An answer of a browser that lacks these codecs: their payload types are gone, with those of their retransmissions.
fn without_codecs(sdp: &str, codecs: &[&str]) -> String {
    let lacks = |line: &str| codecs.iter().any(|codec| line.contains(&format!(" {codec}/90000")));
    let number = |line: &str| line.split([':', ' ']).nth(1).unwrap_or_default().to_owned();
    let mut gone: Vec<String> =
        sdp.lines().filter(|l| l.starts_with("a=rtpmap:") && lacks(l)).map(number).collect();
    let of_gone = |line: &&str| gone.iter().any(|pt| line.ends_with(&format!("apt={pt}")));
    let repairs: Vec<String> = sdp.lines().filter(of_gone).map(number).collect();
    gone.extend(repairs);
    let stays = |line: &&str| {
        let about = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|prefix| line.starts_with(prefix));
        !about || !gone.contains(&number(line))
    };
    let mut written = String::new();
    for line in sdp.lines().filter(stays) {
        if line.starts_with("m=video") {
            let kept: Vec<&str> = line.split(' ').filter(|word| !gone.iter().any(|pt| pt == word)).collect();
            // A section without formats is rejected and names one all the same.
            let line =
                if kept.len() > 3 { kept.join(" ") } else { "m=video 0 UDP/TLS/RTP/SAVPF 0".to_owned() };
            written.push_str(&line);
        } else {
            written.push_str(line);
        }
        written.push_str("\r\n");
    }
    written
}

/// What publishers were told: per codec whether low, medium and high are wanted.
fn qualities(replies: &[Reply]) -> Vec<Vec<(String, [bool; 3])>> {
    let told = |update: &proto::SubscribedQualityUpdate| {
        let codecs = update.subscribed_codecs.iter();
        codecs
            .map(|codec| {
                let mut wanted = [false; 3];
                for quality in &codec.qualities {
                    wanted[usize::try_from(quality.quality).expect("low, medium or high")] = quality.enabled;
                }
                (codec.codec.clone(), wanted)
            })
            .collect()
    };
    replies
        .iter()
        .filter_map(|reply| match reply {
            Reply::SubscribedQualityUpdate(update) => Some(told(update)),
            _ => None,
        })
        .collect()
}

fn both() -> [(&'static str, proto::TrackType); 2] {
    [(MICROPHONE, proto::TrackType::Audio), (CAMERA, proto::TrackType::Video)]
}

#[test]
fn a_join_is_answered_with_everything_and_an_offer_even_when_alone() {
    let mut stage = Stage::new();
    stage.join(1);
    let replies = stage.take(1);
    let Reply::Join(join) = &replies[0] else { panic!("the first message is not join") };
    assert!(join.subscriber_primary);
    assert_eq!(join.participant.as_ref().map(|p| p.identity.as_str()), Some("user_1"));
    assert_eq!(join.room.as_ref().map(|r| r.name.as_str()), Some("meeting_9"));
    assert!(join.ping_interval > 0 && join.ping_timeout > join.ping_interval);
    assert!(!join.enabled_publish_codecs.is_empty() && join.other_participants.is_empty());
    let Reply::Offer(offer) = &replies[1] else { panic!("no offer follows") };
    assert!(offer.id > 0 && offer.sdp.contains("m=application"));
    assert!(matches!(&stage.commands[0], Command::OpenPeer(open) if open.channels.len() == 2));
}

#[test]
fn a_publication_reaches_the_others_as_update_then_offer_then_stream() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.answer(1);
    stage.answer(2);
    stage.advance(3_000);
    stage.take(2);
    stage.publish(1, CHROMIUM, &both());
    let replies = stage.take(1);
    let published = replies.iter().filter(|r| matches!(r, Reply::TrackPublished(_))).count();
    assert_eq!(published, 2);
    let Some(Reply::Answer(answer)) = replies.iter().find(|r| matches!(r, Reply::Answer(_))) else {
        panic!("no answer")
    };
    assert_eq!(answer.id, 77);
    assert_eq!(stage.count(|c| matches!(c, Command::Publish(_))), 2);
    assert_eq!(stage.media, [(true, true)]);
    let names: Vec<_> = stage.replies[&2]
        .iter()
        .map(|r| match r {
            Reply::Update(update) => format!("update {}", update.participants[0].tracks.len()),
            Reply::Offer(_) => "offer".to_owned(),
            _ => "other".to_owned(),
        })
        .collect();
    assert_eq!(names, ["update 2", "offer"]);
    assert!(stage.subscribes().is_empty(), "nothing is sent before the answer");
    stage.answer(2);
    let subscribes = stage.subscribes();
    assert_eq!(subscribes.len(), 2);
    for subscribe in subscribes {
        assert!(!subscribe.formats.is_empty());
        assert!(subscribe.extensions.id(dataplane::base::media::Extension::TransportCc).is_some());
    }
    assert!(stage.take(1).iter().any(|r| matches!(r, Reply::TrackSubscribed(_))));
}

#[test]
fn a_late_joiner_is_offered_what_is_there_in_the_first_offer() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.answer(1);
    stage.publish(1, CHROMIUM, &both());
    stage.join(2);
    let offers: Vec<_> = stage.take(2).into_iter().filter(|r| matches!(r, Reply::Offer(_))).collect();
    let [Reply::Offer(offer)] = &offers[..] else { panic!("{} offers", offers.len()) };
    assert_eq!(offer.sdp.matches("a=sendonly").count(), 2);
    assert_eq!(offer.mid_to_track_id.len(), 2);
}

#[test]
fn an_offer_before_its_announcement_is_not_lost_nor_is_one_whose_ids_differ() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, FIREFOX, &[("another-name", proto::TrackType::Audio)]);
    assert_eq!(stage.count(|c| matches!(c, Command::Publish(_))), 1);
    // The camera is announced only now; the offer that sends it was answered already.
    let request = proto::AddTrackRequest {
        cid: "yet-another".into(),
        r#type: proto::TrackType::Video.into(),
        ..Default::default()
    };
    stage.request(1, Message::AddTrack(request));
    assert_eq!(stage.count(|c| matches!(c, Command::Publish(_))), 2);
}

#[test]
fn fifty_joins_into_a_room_of_fifty_cost_far_fewer_than_2500_offers() {
    let mut stage = Stage::new();
    let offer = |n: u64| CHROMIUM.replace("h6ao", &format!("usr{n}"));
    for n in 1..=50 {
        stage.join(n);
        stage.answer(n);
        stage.publish(n, &offer(n), &both());
    }
    for _ in 0..500 {
        stage.advance(20);
        for n in 1..=50 {
            stage.answer(n);
        }
    }
    stage.offers = 0;
    // Fifty more within five seconds, everybody answers within 20 ms.
    for step in 0..500 {
        stage.advance(20);
        if step < 250 && step % 5 == 0 {
            let n = 51 + step / 5;
            stage.join(n);
            stage.publish(n, &offer(n), &both());
        }
        for n in 1..=100 {
            stage.answer(n);
        }
    }
    assert!(stage.offers <= 1_000, "{} offers", stage.offers);
    // Everybody receives everybody: 100 x 99 x 2 streams.
    assert_eq!(stage.subscribes().len(), 100 * 99 * 2);
}

#[test]
fn a_newer_connection_of_the_same_person_wins() {
    let mut stage = Stage::new();
    stage.join_as(1, 7, true);
    stage.take(1);
    stage.join_as(2, 7, true);
    let Some(Reply::Leave(leave)) = stage.take(1).pop() else { panic!("no leave") };
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::DuplicateIdentity));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert_eq!(stage.closed, [ConnectionId(1)]);
    assert_eq!(stage.left, 1);
    assert_eq!(stage.room.people().len(), 1);
}

#[test]
fn a_dropped_socket_may_come_back_within_the_grace_and_not_after() {
    let mut stage = Stage::new();
    stage.join(1);
    let Some(Reply::Join(join)) = stage.answer(1).into_iter().next() else { panic!("no join") };
    let sid = join.participant.map(|p| p.sid).unwrap_or_default();
    stage.room.disconnected(stage.now_ms, ConnectionId(1));
    stage.advance(GRACE_MS - 1);
    assert!(!stage.room.resume(stage.now_ms, ConnectionId(2), &sid, UserId(8), false), "another person");
    assert!(stage.room.resume(stage.now_ms, ConnectionId(2), &sid, UserId(1), false));
    stage.settle();
    let replies = stage.take(2);
    assert!(matches!(replies[0], Reply::Reconnect(_)));
    assert!(replies.iter().any(|r| matches!(r, Reply::Offer(_))));
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 1);
    assert_eq!(stage.count(|c| matches!(c, Command::ClosePeer { .. })), 0);
    stage.room.disconnected(stage.now_ms, ConnectionId(2));
    stage.advance(GRACE_MS);
    assert_eq!(stage.count(|c| matches!(c, Command::ClosePeer { .. })), 1);
    assert!(stage.room.is_empty());
    assert!(!stage.room.resume(stage.now_ms, ConnectionId(3), &sid, UserId(1), false));
}

#[test]
fn an_unpublished_track_leaves_an_inactive_section_that_is_used_again() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.answer(1);
    stage.publish(1, CHROMIUM, &both());
    stage.advance(5_000);
    stage.answer(2);
    stage.advance(5_000);
    stage.answer(2);
    let streams = stage.subscribes().len();
    assert_eq!(streams, 2);
    // Only the microphone goes on.
    let muted = CHROMIUM
        .replacen("a=sendrecv", "a=KEEP", 1)
        .replace("a=sendrecv", "a=inactive")
        .replace("a=KEEP", "a=sendrecv");
    stage.publish(1, &muted, &[]);
    assert_eq!(stage.count(|c| matches!(c, Command::Unpublish { .. })), 1);
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 1);
    stage.advance(5_000);
    let offered = stage.take(2);
    let Some(Reply::Offer(offer)) = offered.iter().find(|r| matches!(r, Reply::Offer(_))) else {
        panic!("no offer")
    };
    assert_eq!(offer.sdp.matches("a=inactive").count(), 1);
    let answer = answer_to(offer, 2);
    stage.request(2, Message::Answer(answer));
    stage.publish(1, CHROMIUM, &[(CAMERA, proto::TrackType::Video)]);
    stage.advance(5_000);
    stage.answer(2);
    let subscribes = stage.subscribes();
    assert_eq!(subscribes.len(), 3);
    let videos: Vec<_> = subscribes.iter().filter(|s| s.rtx.is_some()).collect();
    assert_eq!(videos[0].mid, videos[1].mid, "the section is used again");
    assert_ne!(videos[0].stream, videos[1].stream);
}

#[test]
fn who_does_not_subscribe_by_itself_gets_what_it_asks_for() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.answer(1);
    stage.publish(1, CHROMIUM, &both());
    stage.join_as(2, 2, false);
    let Some(Reply::Join(join)) = stage.answer(2).into_iter().next() else { panic!("no join") };
    assert!(stage.subscribes().is_empty());
    let camera = join.other_participants[0].tracks[1].sid.clone();
    let subscription = |subscribe| {
        Message::Subscription(proto::UpdateSubscription {
            track_sids: vec![camera.clone()],
            subscribe,
            ..Default::default()
        })
    };
    let settings = proto::UpdateTrackSettings {
        track_sids: vec![camera.clone()],
        quality: proto::VideoQuality::Low.into(),
        ..Default::default()
    };
    stage.request(2, Message::TrackSetting(settings));
    stage.request(2, subscription(true));
    stage.advance(5_000);
    stage.answer(2);
    assert_eq!(stage.subscribes().len(), 1);
    let stream = stage.subscribes()[0].stream;
    let wanted = Wanted { layer_max: 0, ..Wanted::ALL };
    assert!(
        stage
            .commands
            .iter()
            .any(|c| matches!(c, Command::Want { stream: s, wanted: w } if *s == stream && *w == wanted))
    );
    stage.request(2, subscription(false));
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 1);
}

#[test]
fn a_mute_stops_forwarding_tells_others_and_is_noted() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.publish(1, CHROMIUM, &both());
    let sid = stage
        .take(1)
        .into_iter()
        .find_map(|r| match r {
            Reply::TrackPublished(published) => published.track.map(|t| t.sid),
            _ => None,
        })
        .expect("a track was published");
    stage.take(2);
    stage.request(1, Message::Mute(proto::MuteTrackRequest { sid, muted: true }));
    assert_eq!(stage.count(|c| matches!(c, Command::Mute { muted: true, .. })), 1);
    assert_eq!(stage.media, [(true, true), (false, true)]);
    let Some(Reply::Update(update)) = stage.take(2).pop() else { panic!("no update") };
    assert!(update.participants[0].tracks.iter().any(|t| t.muted));
}

#[test]
fn descriptions_that_cannot_be_used_end_the_session_and_nothing_else() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.publish(1, "v=nonsense", &both());
    assert_eq!(stage.closed, [ConnectionId(1)]);
    assert_eq!(stage.room.people().len(), 1);
    let passive = CHROMIUM.replace("a=setup:actpass", "a=setup:passive");
    stage.publish(2, &passive, &both());
    assert!(stage.room.is_empty());
}

#[test]
fn an_ice_restart_by_the_client_gets_new_credentials_and_another_certificate_is_refused() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    stage.publish(1, CHROMIUM, &[]);
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 0);
    stage.publish(1, &CHROMIUM.replace("h6ao", "newu"), &[]);
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 1);
    assert_eq!(stage.count(|c| matches!(c, Command::RemotePeer(_))), 2);
    assert_eq!(stage.count(|c| matches!(c, Command::Publish(_))), 2, "the tracks go on");
    stage.publish(1, &CHROMIUM.replace("sha-256 9A", "sha-256 9B"), &[]);
    assert_eq!(stage.closed, [ConnectionId(1)]);
}

#[test]
fn readiness_is_told_once_and_a_lost_media_path_asks_for_a_new_join() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    let peers = stage.peers();
    for peer in &peers {
        let profile = SrtpProfile::AeadAes256Gcm;
        stage.report(Report::PeerReady { peer: *peer, dtls: DtlsVersion::V12, profile });
    }
    assert_eq!(stage.ready, 1);
    stage.report(Report::PeerEnded { peer: peers[0], end: PeerEnd::ConsentExpired });
    stage.take(1);
    stage.advance(2_000);
    let Some(Reply::Leave(leave)) = stage.take(1).pop() else { panic!("no leave") };
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Reconnect));
    assert!(stage.room.is_empty());
}

#[test]
fn speakers_are_told_when_they_change() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.publish(1, CHROMIUM, &both());
    let track = stage
        .commands
        .iter()
        .find_map(|c| match c {
            Command::Publish(publish) if publish.kind == dataplane::base::media::MediaKind::Audio => {
                Some(publish.track)
            }
            _ => None,
        })
        .expect("audio is published");
    stage.take(2);
    let mut levels = [SpeakerLevel { track, level: 127 }; SPEAKERS_MAX];
    levels[0].level = 20;
    let speakers = |count| Report::Speakers { meeting: MeetingId(9), levels, count };
    stage.report(speakers(1));
    stage.report(speakers(1));
    stage.report(speakers(0));
    let told: Vec<bool> = stage
        .take(2)
        .into_iter()
        .filter_map(|r| match r {
            Reply::SpeakersChanged(changed) => Some(changed.speakers[0].active),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn the_end_of_the_meeting_sends_everybody_away() {
    let mut stage = Stage::new();
    for n in 1..=3 {
        stage.join(n);
    }
    stage.room.remove_all(Farewell::RoomDeleted);
    stage.settle();
    assert!(stage.room.is_empty());
    assert_eq!(stage.left, 3);
    for n in 1..=3 {
        let leave = stage.take(n).into_iter().find_map(|r| match r {
            Reply::Leave(leave) => Some(leave.reason),
            _ => None,
        });
        assert_eq!(leave, Some(proto::DisconnectReason::RoomDeleted.into()));
    }
}
