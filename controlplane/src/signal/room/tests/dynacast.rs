//! What publishers are told to send.

use super::*;
use crate::signal::dynacast::SETTLE_MS;

const OFF: [bool; 3] = [false; 3];
const LOW: [bool; 3] = [true, false, false];
const MEDIUM: [bool; 3] = [true, true, false];
const ALL: [bool; 3] = [true; 3];

/// What a publisher of a VP8 camera was told since it was last asked.
fn told(stage: &mut Stage, connection: u64) -> Vec<[bool; 3]> {
    let told = qualities(&stage.take(connection));
    told.into_iter().map(|codecs| codecs.first().expect("one codec").1).collect()
}

fn watched() -> (Stage, String) {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["vp8"]);
    stage.join(2);
    stage.answer(2);
    stage.take(1);
    let sid = stage.camera_sid(1);
    (stage, sid)
}

#[test]
fn a_picture_nobody_watches_is_switched_off_and_comes_back_with_the_first_subscriber() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["vp8"]);
    stage.advance(SETTLE_MS - 1);
    assert_eq!(told(&mut stage, 1), [[false; 3]; 0]);
    stage.advance(1);
    assert_eq!(told(&mut stage, 1), [OFF]);
    stage.advance(60_000);
    stage.join(2);
    assert_eq!(told(&mut stage, 1), [ALL], "before the subscriber has even answered");
}

#[test]
fn a_new_picture_stays_on_while_people_subscribe() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.answer(2);
    stage.advance(5_000);
    stage.publish_camera(1, &["vp8"]);
    stage.take(1);
    stage.advance(9_000);
    stage.answer(2);
    stage.advance(9_000);
    assert_eq!(told(&mut stage, 1), [[false; 3]; 0]);
}

#[test]
fn small_tiles_switch_large_layers_off_and_a_pinned_one_brings_them_back_at_once() {
    let (mut stage, sid) = watched();
    stage.show(2, &sid, 300, 170);
    stage.advance(SETTLE_MS);
    assert_eq!(told(&mut stage, 1), [LOW]);
    stage.show(2, &sid, 600, 340);
    assert_eq!(told(&mut stage, 1), [MEDIUM]);
    stage.show(2, &sid, 1200, 700);
    assert_eq!(told(&mut stage, 1), [ALL]);
    stage.advance(60_000);
    assert_eq!(told(&mut stage, 1), [[false; 3]; 0]);
}

#[test]
fn the_best_that_anybody_wants_counts() {
    let (mut stage, sid) = watched();
    stage.join(3);
    stage.answer(3);
    stage.show(2, &sid, 300, 170);
    stage.show(3, &sid, 600, 340);
    stage.advance(SETTLE_MS);
    assert_eq!(told(&mut stage, 1), [MEDIUM]);
    stage.request(3, Message::Leave(proto::LeaveRequest::default()));
    stage.advance(SETTLE_MS);
    assert_eq!(told(&mut stage, 1), [LOW]);
    let pause = proto::UpdateTrackSettings { track_sids: vec![sid], disabled: true, ..Default::default() };
    stage.request(2, Message::TrackSetting(pause));
    stage.advance(SETTLE_MS);
    assert_eq!(told(&mut stage, 1), [OFF]);
}

#[test]
fn the_room_wakes_up_when_less_has_settled() {
    let (mut stage, sid) = watched();
    stage.advance(1_000);
    stage.show(2, &sid, 300, 170);
    assert!(stage.room.next_time(stage.now_ms) <= stage.now_ms + SETTLE_MS);
    let mut steps = 0;
    while told(&mut stage, 1).is_empty() {
        let next = stage.room.next_time(stage.now_ms);
        stage.advance((next - stage.now_ms).max(1));
        steps += 1;
        assert!(steps < 20, "it sleeps through the time");
    }
}

#[test]
fn a_publisher_that_comes_back_is_told_again() {
    let (mut stage, track) = watched();
    stage.show(2, &track, 300, 170);
    stage.advance(SETTLE_MS);
    assert_eq!(told(&mut stage, 1), [LOW]);
    let member = stage.room.members.values().find(|m| m.admission.user == UserId(1)).expect("a member");
    let sid = member.sid.clone();
    stage.room.disconnected(stage.now_ms, ConnectionId(1));
    stage.show(2, &track, 1200, 700);
    assert!(stage.room.resume(stage.now_ms, ConnectionId(7), &sid, UserId(1), false));
    stage.settle();
    assert_eq!(told(&mut stage, 7), [ALL], "also what it missed");
}

#[test]
fn old_clients_read_the_qualities_of_the_primary_in_the_field_they_know() {
    let (mut stage, sid) = watched();
    stage.show(2, &sid, 300, 170);
    stage.advance(SETTLE_MS);
    let replies = stage.take(1);
    let update = replies.iter().find_map(|reply| match reply {
        Reply::SubscribedQualityUpdate(update) => Some(update),
        _ => None,
    });
    let update = update.expect("the publisher was told");
    assert_eq!(update.track_sid, sid);
    #[expect(deprecated, reason = "the field of older clients is what this is about")]
    let old: Vec<bool> = update.subscribed_qualities.iter().map(|quality| quality.enabled).collect();
    assert_eq!(old, LOW);
}

#[test]
fn audio_is_never_switched_off() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &[(MICROPHONE, proto::TrackType::Audio)]);
    stage.advance(60_000);
    assert!(qualities(&stage.take(1)).is_empty());
}
