//! What the packet core says about streams.

use super::*;

const FULL: Delivery = Delivery {
    paused: false,
    layer: 2,
    temporal: 2,
    layer_count: 3,
    temporal_count: 3,
    bitrate_bps: 1_700_000,
    reason: None,
};
const PAUSED: Delivery =
    Delivery { paused: true, layer: 0, bitrate_bps: 0, reason: Some(Reason::LinkEstimate), ..FULL };

fn watched() -> (Stage, String, StreamId) {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["vp8"]);
    stage.join(2);
    stage.answer(2);
    stage.take(2);
    let stream = stage.subscribes()[0].stream;
    let sid = stage.camera_sid(1);
    (stage, sid, stream)
}

fn states(stage: &mut Stage, connection: u64) -> Vec<(String, i32)> {
    let told = |reply| match reply {
        Reply::StreamStateUpdate(update) => update.stream_states,
        _ => Vec::new(),
    };
    let states = stage.take(connection).into_iter().flat_map(told);
    states.map(|state| (state.track_sid, state.state)).collect()
}

fn counted(stage: &Stage) -> Vec<(&'static str, u32)> {
    let counts = stage.room.reasons().counts();
    counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.name(), count)).collect()
}

#[test]
fn a_pause_and_its_end_are_told_to_the_receiver_once() {
    let (mut stage, sid, stream) = watched();
    let (paused, active) = (i32::from(proto::StreamState::Paused), i32::from(proto::StreamState::Active));
    for delivery in [FULL, PAUSED, PAUSED, FULL, FULL] {
        stage.report(Report::Delivery { stream, delivery });
    }
    assert_eq!(states(&mut stage, 2), [(sid.clone(), paused), (sid, active)]);
    assert!(states(&mut stage, 1).is_empty());
}

#[test]
fn a_voice_that_is_not_among_the_loudest_is_counted_and_nobody_is_told() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &[(MICROPHONE, proto::TrackType::Audio)]);
    stage.join(2);
    stage.answer(2);
    let stream = stage.subscribes()[0].stream;
    let delivery = Delivery { reason: Some(Reason::Admission), ..PAUSED };
    stage.report(Report::Delivery { stream, delivery });
    assert_eq!(counted(&stage), [("admission", 1)]);
    assert!(states(&mut stage, 2).is_empty());
}

#[test]
fn a_receiver_that_comes_back_is_told_what_is_paused() {
    let (mut stage, track, stream) = watched();
    let member = stage.room.members.values().find(|m| m.admission.user == UserId(2)).expect("a member");
    let sid = member.sid.clone();
    stage.room.disconnected(stage.now_ms, ConnectionId(2));
    stage.report(Report::Delivery { stream, delivery: PAUSED });
    assert!(stage.room.resume(stage.now_ms, ConnectionId(7), &sid, UserId(2), false));
    stage.settle();
    assert_eq!(states(&mut stage, 7), [(track, i32::from(proto::StreamState::Paused))]);
}

#[test]
fn reduced_streams_are_counted_by_reason_until_they_end() {
    let (mut stage, _, stream) = watched();
    assert_eq!(counted(&stage), []);
    stage.report(Report::Delivery { stream, delivery: PAUSED });
    assert_eq!(counted(&stage), [("link_estimate", 1)]);
    let priority = Delivery { reason: Some(Reason::Priority), ..FULL };
    stage.report(Report::Delivery { stream, delivery: priority });
    assert_eq!(counted(&stage), [("priority", 1)]);
    stage.request(1, Message::Leave(proto::LeaveRequest::default()));
    assert_eq!(counted(&stage), []);
    stage.report(Report::Delivery { stream, delivery: PAUSED });
    assert_eq!(counted(&stage), [], "the stream is gone");
}

#[test]
fn a_receiver_that_leaves_takes_its_reasons_with_it() {
    let (mut stage, _, stream) = watched();
    stage.report(Report::Delivery { stream, delivery: PAUSED });
    stage.room.remove_user(stage.now_ms, UserId(2));
    assert_eq!(counted(&stage), []);
}

#[test]
fn whoever_asks_sees_what_a_participant_receives_and_why_it_is_not_more() {
    let (mut stage, sid, stream) = watched();
    stage.show(2, &sid, 1280, 720);
    let delivery = Delivery { layer: 0, bitrate_bps: 150_000, reason: Some(Reason::LinkEstimate), ..FULL };
    stage.report(Report::Delivery { stream, delivery });
    let peer = stage.peers().pop().expect("the subscriber's connection is the last");
    let quality = |peer| Report::Quality {
        peer,
        loss_up: 0,
        loss_down: 13,
        rtt_us: 80_000,
        estimate_bps: 280_000,
        sent_bps: 190_000,
    };
    stage.report(quality(peer));
    let view = stage.room.media(UserId(2)).expect("a member");
    assert_eq!((view.link.estimate_bps, view.link.sent_bps, view.link.loss_down), (280_000, 190_000, 13));
    let [received] = &view.receives[..] else { panic!("{} tracks", view.receives.len()) };
    assert_eq!((received.track_id.as_str(), received.from.as_str()), (sid.as_str(), "user_1"));
    assert_eq!((received.codec.as_str(), received.size), ("video/VP8", Some((320, 180))));
    assert_eq!(received.reason, Some(Reason::LinkEstimate));
    assert_eq!(received.delivery, Some(delivery));
    assert!(received.missing_codecs.is_empty());
    let published = stage.room.media(UserId(1)).expect("a member").publishes;
    let [camera] = &published[..] else { panic!("{} tracks", published.len()) };
    assert_eq!((camera.subscribers, camera.layers.len()), (1, 3));
    assert!(camera.layers.iter().all(|layer| layer.wanted));
    assert!(stage.room.media(UserId(9)).is_none());
}
