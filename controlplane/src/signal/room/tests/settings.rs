//! What subscribers say about tracks.

use super::*;

fn wants(stage: &Stage) -> Vec<Wanted> {
    let wanted = |c: &Command| if let Command::Want { wanted, .. } = c { Some(*wanted) } else { None };
    stage.commands.iter().filter_map(wanted).collect()
}

fn watched() -> (Stage, String) {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["vp8"]);
    stage.join(2);
    stage.answer(2);
    let sid = stage.camera_sid(1);
    (stage, sid)
}

#[test]
fn settings_reach_the_packet_plane_when_they_mean_something_else_than_before() {
    let (mut stage, sid) = watched();
    stage.show(2, &sid, 320, 180);
    stage.show(2, &sid, 310, 175);
    stage.show(2, &sid, 1280, 720);
    let [small, smaller, large] = wants(&stage)[..] else { panic!("{:?}", wants(&stage)) };
    assert_eq!((small.layer_max, smaller.layer_max, large.layer_max), (0, 0, u8::MAX));
    assert!(large.priority > small.priority);
    stage.show(2, &sid, 1280, 720);
    assert_eq!(wants(&stage).len(), 3, "nothing new was said");
}

#[test]
fn what_was_said_before_the_answer_counts_with_it() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["vp8"]);
    stage.join(2);
    let sid = stage.camera_sid(1);
    stage.show(2, &sid, 100, 50);
    assert!(wants(&stage).is_empty());
    stage.answer(2);
    assert_eq!(wants(&stage), [Wanted { layer_max: 0, ..Wanted::ALL }]);
}

#[test]
fn nobody_can_set_its_own_tracks_or_those_of_nobody() {
    let (mut stage, sid) = watched();
    stage.show(1, &sid, 320, 180);
    stage.show(2, "TR_nobody", 320, 180);
    assert!(wants(&stage).is_empty());
    let of = |user| stage.room.members.values().find(|m| m.admission.user == UserId(user)).expect("a member");
    assert!(of(1).subscriber.settings.is_empty() && of(2).subscriber.settings.is_empty());
}

#[test]
fn a_client_that_comes_back_says_what_it_had_paused() {
    let (mut stage, sid) = watched();
    stage.show(2, &sid, 320, 180);
    let state = proto::SyncState { track_sids_disabled: vec![sid], ..Default::default() };
    stage.request(2, Message::SyncState(state));
    let last = wants(&stage).pop().expect("a wish");
    assert_eq!((last.enabled, last.layer_max), (false, 0));
}
