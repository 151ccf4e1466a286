//! Publishers and players over HTTP.

use dataplane::base::media::MediaKind;
use dataplane::command::{OpenStream, Retarget};

use super::super::sessions::{Entering, Matches, Opened, Patched, Protocol, SessionError, Subject};
use super::*;
use crate::sdp::SdpError;
use crate::sdp::attributes::Setup;
use crate::sdp::description::Description;
use crate::sdp::fragment::Fragment;
use crate::signal::grant::GrantChange;

const AIORTC: &str = include_str!("../../../../tests/data/clients/aiortc_offer.sdp");

fn receiving(offer: &str) -> String {
    offer.replace("a=sendrecv", "a=recvonly").replace("a=sendonly", "a=recvonly")
}

fn fragment(ufrag: &str) -> Fragment {
    let text = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\n");
    Fragment::parse(&text).expect("a fragment")
}

impl Stage {
    fn enter(&mut self, user: u64, protocol: Protocol, offer: &str) -> Result<Opened, SessionError> {
        let entering = Entering {
            protocol,
            admission: admission(user),
            offer: Description::parse(offer)?,
            since_accept: Duration::ZERO,
            wall_ms: 1_000,
        };
        let entered = self.room.enter(self.now_ms, entering);
        self.settle();
        entered
    }

    fn whip(&mut self, user: u64, offer: &str) -> Opened {
        self.enter(user, Protocol::Whip, offer).expect("a session")
    }

    fn whep(&mut self, user: u64, offer: &str) -> Opened {
        self.enter(user, Protocol::Whep, &receiving(offer)).expect("a session")
    }

    fn leave(&mut self, user: u64, protocol: Protocol, resource: &str) -> Result<(), SessionError> {
        let subject = Subject { protocol, resource: resource.to_owned(), user: UserId(user) };
        let left = self.room.leave(self.now_ms, &subject);
        self.settle();
        left
    }

    fn opened_streams(&self) -> Vec<&OpenStream> {
        let opened = self.commands.iter().filter_map(|command| match command {
            Command::OpenStream(open) => Some(&**open),
            _ => None,
        });
        opened.collect()
    }

    /// What a kind of stream was told to show, in order, since the last call.
    fn shown(&mut self, kind: MediaKind) -> Vec<Option<TrackId>> {
        let streams: Vec<StreamId> =
            self.opened_streams().iter().filter(|open| open.kind == kind).map(|open| open.stream).collect();
        let (taken, kept) = std::mem::take(&mut self.commands).into_iter().partition(
            |command| matches!(command, Command::Retarget(retarget) if streams.contains(&retarget.stream)),
        );
        self.commands = kept;
        let onto = |command| match command {
            Command::Retarget(retarget) => {
                let Retarget { onto, .. } = *retarget;
                Some(onto.map(|(track, _)| track))
            }
            _ => None,
        };
        let taken: Vec<Command> = taken;
        taken.into_iter().filter_map(onto).collect()
    }

    /// Numbers of the tracks of a kind that a person publishes.
    fn tracks_of(&self, user: u64, kind: MediaKind) -> Vec<TrackId> {
        let member = self.room.members.values().find(|m| m.admission.user == UserId(user)).expect("is here");
        member.tracks.iter().filter(|t| t.kind == kind).map(|t| t.id()).collect()
    }

    /// One report of loudness, 300 ms after the one before.
    fn speak(&mut self, voices: &[(TrackId, u8)]) {
        self.now_ms += 300;
        let mut levels = [SpeakerLevel { track: TrackId(0), level: 127 }; SPEAKERS_MAX];
        for (slot, (track, level)) in levels.iter_mut().zip(voices) {
            *slot = SpeakerLevel { track: *track, level: *level };
        }
        let count = voices.len() as u8;
        self.report(Report::Speakers { meeting: MeetingId(9), levels, count });
    }
}

#[test]
fn a_whip_publisher_is_a_participant_like_any_other() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.answer(1);
    let opened = stage.whip(2, CHROMIUM);
    let answer = Description::parse(&opened.answer).expect("a description");
    assert_eq!(answer.transport.ufrag, opened.tag, "the ICE session is the entity");
    assert!(opened.answer.contains("a=simulcast:recv q;h;f\r\n"), "{}", opened.answer);
    let mut seen = stage.take(1);
    stage.advance(1_000);
    seen.extend(stage.take(1));
    let infos: Vec<proto::ParticipantInfo> = seen
        .iter()
        .filter_map(|reply| if let Reply::Update(update) = reply { Some(update) } else { None })
        .flat_map(|update| update.participants.clone())
        .collect();
    let info = infos.last().expect("the others hear of it");
    assert_eq!((info.identity.as_str(), info.is_publisher), ("user_2", true));
    assert!(info.tracks.iter().any(|track| track.r#type == i32::from(proto::TrackType::Audio)));
    assert!(info.tracks.iter().any(|track| track.mime_type == "video/VP8" && track.codecs.len() == 1));
    assert!(seen.iter().any(|reply| matches!(reply, Reply::Offer(_))), "and are offered its tracks");
    let published = stage.count(|c| matches!(c, Command::Publish(_)));
    assert_eq!(published, answer.sections.iter().filter(|section| !section.rejected).count());
    assert_eq!(stage.media, [(true, true)]);
    assert_eq!(stage.leave(2, Protocol::Whip, &opened.resource), Ok(()));
    assert_eq!(stage.count(|c| matches!(c, Command::Unpublish { .. })), published);
    assert_eq!((stage.left, stage.room.people().len()), (1, 1));
    assert_eq!(
        stage.leave(2, Protocol::Whip, &opened.resource),
        Err(SessionError::NoSuchSession),
        "it is gone"
    );
}

#[test]
fn a_session_ends_with_its_transport_its_person_and_its_person_s_next_session() {
    let mut stage = Stage::new();
    let first = stage.whip(2, FIREFOX);
    let second = stage.whep(2, CHROMIUM);
    assert_eq!((stage.left, stage.room.people().len()), (1, 1), "nobody is here twice");
    assert_eq!(stage.leave(2, Protocol::Whip, &first.resource), Err(SessionError::NoSuchSession));
    assert_eq!(stage.leave(2, Protocol::Whip, &second.resource), Err(SessionError::NoSuchSession));
    assert_eq!(stage.leave(3, Protocol::Whep, &second.resource), Err(SessionError::NotYours));
    stage.room.remove_user(stage.now_ms, UserId(2));
    stage.settle();
    assert_eq!((stage.left, stage.room.is_empty()), (2, true));
    stage.whip(2, FIREFOX);
    let peer = stage.commands.iter().rev().find_map(|command| match command {
        Command::OpenPeer(open) => Some(open.peer),
        _ => None,
    });
    let end = PeerEnd::ConsentExpired;
    stage.report(Report::PeerEnded { peer: peer.expect("a connection"), end });
    stage.advance(2_000);
    assert_eq!((stage.left, stage.room.is_empty()), (3, true));
    let opened = stage.count(|c| matches!(c, Command::OpenPeer(_)));
    assert!(stage.count(|c| matches!(c, Command::ClosePeer { .. })) >= opened);
}

#[test]
fn refused_offers_say_why_and_change_nothing() {
    let mut stage = Stage::new();
    let unknown: String = AIORTC
        .replace("opus/48000", "speex/16000")
        .replace("PCMU/8000", "G729/8000")
        .replace("VP8/90000", "theora/90000")
        .replace("H264/90000", "H266/90000");
    let cases = [
        (Protocol::Whip, AIORTC.replace("a=setup:actpass", "a=setup:passive"), SdpError::Setup.into()),
        (Protocol::Whip, AIORTC.replace("a=ice-ufrag", "a=x-ufrag"), SdpError::Ice.into()),
        (Protocol::Whip, AIORTC.replace("sha-256", "sha-1"), SdpError::Fingerprint.into()),
        (Protocol::Whip, CHROMIUM.replace("a=group:BUNDLE", "a=group:LS"), SessionError::NotBundled),
        (Protocol::Whip, receiving(CHROMIUM), SessionError::Direction(Protocol::Whip)),
        (
            Protocol::Whep,
            receiving(CHROMIUM).replace("a=recvonly", "a=sendonly"),
            SessionError::Direction(Protocol::Whep),
        ),
        (Protocol::Whip, unknown.clone(), SessionError::NoCommonFormat),
        (Protocol::Whep, receiving(&unknown), SessionError::NoCommonFormat),
    ];
    for (protocol, offer, error) in cases {
        assert_eq!(stage.enter(2, protocol, &offer), Err(error), "{error}");
        assert!(stage.commands.is_empty() && stage.room.is_empty(), "{error}");
    }
}

#[test]
fn a_session_that_cannot_begin_is_counted_out_by_whoever_counted_it_in() {
    let mut stage = Stage::new();
    stage.join(9);
    for (nth, protocol) in [Protocol::Whip, Protocol::Whep].into_iter().enumerate() {
        stage.whip(2, AIORTC);
        assert_eq!(stage.left, nth);
        let offer = if protocol == Protocol::Whip { AIORTC.to_owned() } else { receiving(AIORTC) };
        let mut offer = Description::parse(&offer).expect("a description");
        // As if the check had let it pass.
        offer.transport.setup = Setup::Passive;
        let admission = admission(2);
        let entering = Entering { protocol, admission, offer, since_accept: Duration::ZERO, wall_ms: 1_000 };
        assert_eq!(stage.room.open_session(stage.now_ms, entering), Err(SdpError::Setup.into()));
        stage.settle();
        assert_eq!(stage.left, nth + 1, "only the session before it left");
        assert_eq!(stage.room.people().len(), 1);
        let closed = stage.count(|c| matches!(c, Command::ClosePeer { .. }));
        assert!(closed > nth, "its transport is gone");
    }
}

#[test]
fn who_may_not_publish_does_not_by_another_door_either() {
    let mut stage = Stage::new();
    let opened = stage.whip(1, AIORTC);
    let nothing = GrantChange { publish: Some(false), subscribe: Some(false), ..GrantChange::default() };
    stage.room.permit(stage.now_ms, UserId(1), nothing);
    assert!(stage.leave(1, Protocol::Whip, &opened.resource).is_err(), "an encoder is sent away");
    for protocol in [Protocol::Whip, Protocol::Whep] {
        let offer = if protocol == Protocol::Whip { AIORTC.to_owned() } else { receiving(AIORTC) };
        assert_eq!(stage.enter(1, protocol, &offer), Err(SessionError::NotAllowed(protocol)));
    }
    stage.whip(2, AIORTC);
}

#[test]
fn fragments_trickle_or_restart_on_the_condition_that_the_rfc_wants() {
    let mut stage = Stage::new();
    for (user, protocol) in [(2, Protocol::Whip), (3, Protocol::Whep)] {
        let offer = if protocol == Protocol::Whip { AIORTC.to_owned() } else { receiving(AIORTC) };
        let opened = stage.enter(user, protocol, &offer).expect("a session");
        let theirs = Description::parse(&offer).expect("a description").transport.ufrag;
        let subject = Subject { protocol, resource: opened.resource.clone(), user: UserId(user) };
        let mut patch = |matches: &Matches, fragment: &Fragment| {
            let patched = stage.room.patch(stage.now_ms, &subject, matches, fragment);
            stage.settle();
            patched
        };
        let tagged = Matches::Tags(vec![opened.tag.clone()]);
        let stale = Matches::Tags(vec!["x".into()]);
        let bare = Fragment { ufrag: None };
        assert_eq!(patch(&tagged, &bare), Ok(Patched::Noted));
        assert_eq!(patch(&tagged, &fragment(&theirs)), Ok(Patched::Noted));
        assert_eq!(patch(&Matches::Any, &fragment(&theirs)), Ok(Patched::Noted), "nothing begins anew");
        assert_eq!(patch(&stale, &bare), Err(SessionError::OtherIceSession));
        assert_eq!(patch(&tagged, &fragment("other")), Err(SessionError::OtherIceSession));
        let Ok(Patched::Restarted { tag, fragment: ours }) = patch(&Matches::Any, &fragment("fresh")) else {
            panic!("no restart")
        };
        assert!(tag != opened.tag && ours.contains(&format!("a=ice-ufrag:{tag}\r\n")), "{ours}");
        assert!(ours.contains("a=ice-pwd:") && ours.contains("a=candidate:"), "{ours}");
        assert_eq!(patch(&tagged, &bare), Err(SessionError::OtherIceSession), "the tag is of before");
        assert_eq!(patch(&Matches::Tags(vec![tag]), &fragment("fresh")), Ok(Patched::Noted));
        let limited = (0..100).filter(|_| patch(&tagged, &bare) == Err(SessionError::TooMany)).count();
        assert!(limited >= 50, "{limited}");
    }
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 2);
    let remotes = stage.commands.iter().filter(|c| matches!(c, Command::RemotePeer(r) if r.ufrag == "fresh"));
    assert_eq!(remotes.count(), 2);
}

#[test]
fn a_player_waits_and_is_shown_the_first_then_whoever_speaks_and_a_screen_before_all() {
    let mut stage = Stage::new();
    let player = stage.whep(9, CHROMIUM);
    assert!(player.answer.contains("a=sendonly\r\n") && player.answer.contains("a=ssrc-group:FID "));
    assert_eq!(stage.opened_streams().len(), 2, "one picture and one voice");
    stage.whip(2, AIORTC);
    let (voice2, camera2) =
        (stage.tracks_of(2, MediaKind::Audio)[0], stage.tracks_of(2, MediaKind::Video)[0]);
    assert_eq!(stage.shown(MediaKind::Video), [Some(camera2)]);
    assert_eq!(stage.shown(MediaKind::Audio), [Some(voice2)]);
    stage.join(3);
    stage.publish(3, CHROMIUM, &[(MICROPHONE, proto::TrackType::Audio), (CAMERA, proto::TrackType::Video)]);
    let (voice3, camera3) =
        (stage.tracks_of(3, MediaKind::Audio)[0], stage.tracks_of(3, MediaKind::Video)[0]);
    assert!(stage.shown(MediaKind::Video).is_empty(), "coming changes nothing");
    for _ in 0..10 {
        stage.speak(&[(voice2, 30)]);
    }
    stage.speak(&[(voice3, 10), (voice2, 30)]);
    assert!(stage.shown(MediaKind::Video).is_empty(), "a word in between");
    for _ in 0..10 {
        stage.speak(&[(voice3, 25)]);
    }
    assert_eq!(stage.shown(MediaKind::Video), [Some(camera3)]);
    assert_eq!(stage.shown(MediaKind::Audio), [Some(voice3)]);
    // A screen, and what it is shown instead when it ends or is hidden.
    let screen = proto::AddTrackRequest {
        cid: COPY.into(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::ScreenShare.into(),
        ..Default::default()
    };
    stage.request(3, Message::AddTrack(screen));
    let screen = stage.tracks_of(3, MediaKind::Video)[1];
    assert_eq!(stage.shown(MediaKind::Video), [Some(screen)]);
    let member = stage.room.members.values().find(|m| m.admission.user == UserId(3)).expect("is here");
    let sid = member.tracks.iter().find(|t| t.id() == screen).expect("published").info.sid.clone();
    let mute = proto::MuteTrackRequest { sid, muted: true };
    stage.request(3, Message::Mute(mute));
    assert_eq!(stage.shown(MediaKind::Video), [Some(camera3)]);
    stage.request(3, Message::Leave(proto::LeaveRequest::default()));
    assert_eq!(stage.shown(MediaKind::Video), [Some(camera2)]);
    assert_eq!(stage.shown(MediaKind::Audio), [Some(voice2)]);
    stage.room.remove_user(stage.now_ms, UserId(2));
    stage.settle();
    assert_eq!(stage.shown(MediaKind::Video), [None]);
    assert_eq!(stage.leave(9, Protocol::Whep, &player.resource), Ok(()));
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 2);
    assert!(stage.room.is_empty());
}

#[test]
fn what_a_player_is_shown_and_why_it_is_not_more_is_there_for_whoever_asks() {
    let mut stage = Stage::new();
    let player = stage.whep(9, CHROMIUM);
    let stream = |stage: &Stage, kind| {
        stage.opened_streams().iter().find(|open| open.kind == kind).expect("one of each").stream
    };
    let (picture, voice) = (stream(&stage, MediaKind::Video), stream(&stage, MediaKind::Audio));
    let reduced = |stage: &Stage| stage.room.reasons().counts().map(|(_, count)| count).sum::<u32>();
    let delivery = Delivery {
        paused: false,
        layer: 0,
        temporal: 0,
        layer_count: 3,
        temporal_count: 1,
        bitrate_bps: 150_000,
        reason: Some(Reason::LinkEstimate),
    };
    stage.report(Report::Delivery { stream: picture, delivery });
    assert_eq!(reduced(&stage), 0, "it shows nothing yet");
    assert!(stage.room.media(UserId(9)).expect("a member").receives.is_empty());
    stage.join(1);
    stage.publish(1, CHROMIUM, &[(MICROPHONE, proto::TrackType::Audio), (CAMERA, proto::TrackType::Video)]);
    stage.report(Report::Delivery { stream: picture, delivery });
    stage.report(Report::Delivery { stream: voice, delivery: Delivery { reason: None, ..delivery } });
    let view = stage.room.media(UserId(9)).expect("a member");
    assert_eq!(view.receives.len(), 2);
    let of_kind = |kind| view.receives.iter().find(|received| received.kind == kind).expect("one of each");
    let received = of_kind(MediaKind::Video);
    assert_eq!((received.track_id.as_str(), received.from.as_str()), (&*stage.camera_sid(1), "user_1"));
    assert_eq!((received.delivery, received.reason), (Some(delivery), delivery.reason));
    assert_eq!(of_kind(MediaKind::Audio).reason, None);
    assert!(stage.room.media(UserId(1)).expect("a member").publishes.iter().all(|p| p.subscribers == 1));
    assert_eq!(reduced(&stage), 1);
    // Nothing more to be shown, and the end of the session, take it back.
    stage.room.remove_user(stage.now_ms, UserId(1));
    stage.settle();
    assert_eq!(reduced(&stage), 0);
    stage.join(1);
    stage.publish(1, CHROMIUM, &[(MICROPHONE, proto::TrackType::Audio), (CAMERA, proto::TrackType::Video)]);
    stage.report(Report::Delivery { stream: picture, delivery });
    assert_eq!(reduced(&stage), 1);
    assert_eq!(stage.leave(9, Protocol::Whep, &player.resource), Ok(()));
    assert_eq!(reduced(&stage), 0);
}

#[test]
fn a_player_is_sent_only_what_it_decodes_in_its_own_payload_types() {
    let mut stage = Stage::new();
    let only_h264 = without_codecs(&receiving(CHROMIUM), &["VP8", "VP9", "AV1"]);
    stage.whep(9, &only_h264);
    stage.whip(2, AIORTC);
    assert_eq!(stage.shown(MediaKind::Video), [], "VP8 is all there is");
    stage.whip(3, &without_codecs(CHROMIUM, &["VP8", "VP9", "AV1"]));
    let camera = stage.tracks_of(3, MediaKind::Video)[0];
    let onto: Vec<_> = stage
        .commands
        .iter()
        .filter_map(|command| if let Command::Retarget(to) = command { to.onto.clone() } else { None })
        .filter(|(track, _)| *track == camera)
        .collect();
    assert_eq!(onto.len(), 1);
    let offered = Description::parse(&only_h264).expect("a description");
    let types: Vec<u8> = offered.sections[1].formats.iter().map(|f| f.format.pt).collect();
    assert!(onto[0].1.iter().all(|format| types.contains(&format.pt)), "{:?}", onto[0].1);
    assert!(onto[0].1.iter().all(|format| matches!(format.codec, Codec::H264 { .. })));
}

#[test]
fn several_audio_sections_carry_the_loudest_voices_each_in_its_place() {
    let mut stage = Stage::new();
    let offer = receiving(CHROMIUM);
    let (head, audio) = offer.split_at(offer.find("m=audio").expect("audio"));
    let audio = &audio[..audio[1..].find("m=").map_or(audio.len(), |end| end + 1)];
    let mids = ["a=group:BUNDLE 0 x1", "a=mid:0", "a=mid:x1"];
    let group = head.lines().find(|line| line.starts_with("a=group:BUNDLE")).expect("a bundle");
    let two = head.replace(group, mids[0]) + audio + &audio.replace(mids[1], mids[2]);
    stage.whep(9, &two);
    let mut voices = Vec::new();
    for user in 2..=4 {
        stage.whip(user, AIORTC);
        voices.push(stage.tracks_of(user, MediaKind::Audio)[0]);
    }
    assert_eq!(stage.shown(MediaKind::Audio), [Some(voices[0]), Some(voices[1])]);
    for _ in 0..10 {
        stage.speak(&[(voices[2], 20), (voices[1], 30)]);
    }
    assert_eq!(stage.shown(MediaKind::Audio), [Some(voices[2])], "in the place of the silent one");
    for _ in 0..10 {
        stage.speak(&[(voices[0], 45), (voices[2], 20), (voices[1], 44)]);
    }
    assert!(stage.shown(MediaKind::Audio).is_empty(), "not clearly louder");
}

#[test]
fn a_player_is_shown_only_what_it_may_have() {
    let mut stage = Stage::new();
    stage.whep(9, CHROMIUM);
    stage.join(3);
    stage.publish(3, CHROMIUM, &[(CAMERA, proto::TrackType::Video)]);
    let camera = stage.tracks_of(3, MediaKind::Video)[0];
    assert_eq!(stage.shown(MediaKind::Video), [Some(camera)]);
    for (all_participants, shown) in [(false, None), (true, Some(camera))] {
        let word = proto::SubscriptionPermission { all_participants, track_permissions: vec![] };
        stage.request(3, Message::SubscriptionPermission(word));
        assert_eq!(stage.shown(MediaKind::Video), [shown], "as its publisher says");
    }
    let change = GrantChange { subscribe: Some(false), ..GrantChange::default() };
    stage.room.permit(stage.now_ms, UserId(9), change);
    stage.settle();
    assert_eq!(stage.shown(MediaKind::Video), [None], "as the host says");
}
