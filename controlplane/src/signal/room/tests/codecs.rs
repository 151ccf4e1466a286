//! Publications with several codecs, and subscribers that decode only some.

use super::*;
use crate::signal::dynacast::{REMIND_MS, SETTLE_MS};

const NONE: [bool; 3] = [false; 3];
const ALL: [bool; 3] = [true; 3];

/// The publisher's answer to the wish for a backup.
fn second_announcement(sid: &str, codec: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: COPY.into(),
        sid: sid.into(),
        r#type: proto::TrackType::Video.into(),
        simulcast_codecs: vec![codec_wish(codec, COPY)],
        layers: vec![proto::VideoLayer { width: 320, height: 180, ..Default::default() }],
        ..Default::default()
    }
}

/// A camera in AV1 with VP8 as backup, a receiver of both and one without AV1, who waits.
fn mixed() -> (Stage, String) {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["av1", "vp8"]);
    stage.join(2);
    stage.join(3);
    stage.answer(2);
    stage.answer_without(3, &["AV1"]);
    let sid = stage.camera_sid(1);
    (stage, sid)
}

fn sends_backup(stage: &mut Stage, sid: &str) -> TrackId {
    stage.request(1, Message::AddTrack(second_announcement(sid, "vp8")));
    let published = stage.published();
    published.iter().rfind(|(_, codec)| *codec == Codec::Vp8).map(|(track, _)| *track).expect("VP8 is sent")
}

fn reason_of(stage: &Stage, user: u64) -> (Option<Reason>, Vec<&'static str>) {
    let view = stage.room.media(UserId(user)).expect("a member");
    let received = view.receives.into_iter().next().expect("one track");
    (received.reason, received.missing_codecs)
}

#[test]
fn who_lacks_the_codec_waits_for_the_backup_and_gets_it_when_it_comes() {
    let (mut stage, sid) = mixed();
    let told = qualities(&stage.take(1));
    assert_eq!(told, [[("av1".to_owned(), ALL), ("vp8".to_owned(), ALL)]]);
    assert_eq!(stage.subscribes().len(), 1, "one receives, one waits");
    assert_eq!(reason_of(&stage, 3), (Some(Reason::CodecMissing), vec!["AV1"]));
    let backup = sends_backup(&mut stage, &sid);
    let replies = stage.take(1);
    let Some(Reply::TrackPublished(published)) = replies.first() else { panic!("no response") };
    assert_eq!(published.cid, COPY);
    let (first, second) = match stage.subscribes()[..] {
        [first, second] => (first, second),
        _ => panic!("two receive"),
    };
    assert_eq!((first.track, second.track), (stage.published()[0].0, backup));
    assert_ne!(first.track, backup);
    assert!(second.formats.iter().all(|f| f.codec == Codec::Vp8));
    assert_eq!(reason_of(&stage, 3).0, None);
}

#[test]
fn others_are_told_section_name_and_kind_of_each_codec() {
    let (mut stage, sid) = mixed();
    sends_backup(&mut stage, &sid);
    let (_, track) = stage.room.track(&sid).expect("it is published");
    let codecs: Vec<_> =
        track.info.codecs.iter().map(|c| (c.mime_type.as_str(), c.mid.as_str(), c.cid.as_str())).collect();
    assert_eq!(codecs, [("video/AV1", "1", ""), ("video/VP8", "2", COPY)]);
    assert_eq!((track.info.mime_type.as_str(), track.info.mid.as_str()), ("video/AV1", "1"));
}

#[test]
fn a_backup_that_nobody_needs_is_switched_off_and_back_on_when_somebody_does() {
    let (mut stage, sid) = mixed();
    sends_backup(&mut stage, &sid);
    stage.take(1);
    stage.request(3, Message::Leave(proto::LeaveRequest::default()));
    stage.advance(SETTLE_MS);
    assert_eq!(qualities(&stage.take(1)), [[("av1".to_owned(), ALL), ("vp8".to_owned(), NONE)]]);
    stage.join(4);
    stage.answer_without(4, &["AV1"]);
    assert_eq!(qualities(&stage.take(1)), [[("av1".to_owned(), ALL), ("vp8".to_owned(), ALL)]]);
    assert_eq!(stage.subscribes().len(), 3, "it was only switched off, not gone");
}

#[test]
fn a_publisher_that_did_not_hear_is_asked_again() {
    let (mut stage, sid) = mixed();
    assert_eq!(qualities(&stage.take(1)).len(), 1);
    stage.advance(REMIND_MS);
    assert_eq!(qualities(&stage.take(1)).len(), 1);
    sends_backup(&mut stage, &sid);
    stage.advance(60_000);
    assert!(qualities(&stage.take(1)).is_empty());
}

#[test]
fn who_decodes_no_codec_is_told_which_it_lacks() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["av1", "vp9"]);
    stage.join(2);
    let replies = stage.answer_without(2, &["AV1", "VP9"]);
    assert!(replies.iter().any(|reply| matches!(reply, Reply::Join(_))));
    let sid = stage.camera_sid(1);
    let refused = |replies: &[Reply]| {
        let error = proto::SubscriptionError::SeCodecUnsupported;
        replies.iter().any(|r| matches!(r, Reply::SubscriptionResponse(s) if s.err == i32::from(error)))
    };
    assert!(refused(&stage.take(2)));
    assert!(stage.subscribes().is_empty());
    assert_eq!(reason_of(&stage, 2), (Some(Reason::CodecMissing), vec!["AV1", "VP9"]));
    assert_eq!(stage.room.reasons().counts().map(|(_, count)| count).sum::<u32>(), 1);
    // It is not offered the same again, unless it asks.
    stage.advance(60_000);
    stage.answer(2);
    assert!(stage.subscribes().is_empty());
    let ask = proto::UpdateSubscription { track_sids: vec![sid], subscribe: true, ..Default::default() };
    stage.request(2, Message::Subscription(ask));
    stage.advance(5_000);
    stage.answer(2);
    assert_eq!(stage.subscribes().len(), 1);
    assert_eq!(stage.room.reasons().counts().map(|(_, count)| count).sum::<u32>(), 0);
}

#[test]
fn regression_moves_everybody_to_the_backup_as_new_streams() {
    let mut stage = Stage::new();
    stage.join(1);
    let request = proto::AddTrackRequest {
        cid: CAMERA.into(),
        r#type: proto::TrackType::Video.into(),
        simulcast_codecs: vec![codec_wish("av1", ""), codec_wish("vp8", "")],
        backup_codec_policy: proto::BackupCodecPolicy::Regression.into(),
        ..Default::default()
    };
    stage.request(1, Message::AddTrack(request));
    stage.publish(1, CHROMIUM, &[]);
    stage.join(2);
    stage.join(3);
    stage.answer(2);
    stage.answer_without(3, &["AV1"]);
    let sid = stage.camera_sid(1);
    let backup = sends_backup(&mut stage, &sid);
    for _ in 0..5 {
        stage.advance(1_000);
        stage.answer(2);
    }
    let subscribes = stage.subscribes();
    assert_eq!(subscribes.iter().filter(|s| s.track == backup).count(), 2);
    let mut ssrcs: Vec<u32> = subscribes.iter().map(|s| s.ssrc.0).collect();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 3, "another codec never reuses a stream's numbers");
    stage.advance(SETTLE_MS);
    let last = qualities(&stage.take(1)).pop().expect("told");
    assert_eq!(last, [("av1".to_owned(), NONE), ("vp8".to_owned(), ALL)]);
}

#[test]
fn a_backup_that_ends_leaves_its_receivers_waiting_and_the_others_alone() {
    let (mut stage, sid) = mixed();
    let backup = sends_backup(&mut stage, &sid);
    stage.take(1);
    let mut sections = CHROMIUM.split("m=video").collect::<Vec<_>>();
    let ended = sections[2].replacen("a=sendrecv", "a=inactive", 1).replacen("a=sendonly", "a=inactive", 1);
    sections[2] = &ended;
    stage.publish(1, &sections.join("m=video"), &[]);
    let unpublished = |c: &Command| matches!(c, Command::Unpublish { .. });
    assert_eq!(stage.count(unpublished), 1);
    assert!(stage.commands.iter().any(|c| matches!(c, Command::Unpublish { track } if *track == backup)));
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 1);
    for _ in 0..5 {
        stage.advance(1_000);
        stage.answer_without(3, &["AV1"]);
    }
    assert_eq!(reason_of(&stage, 3).0, Some(Reason::CodecMissing));
    assert_eq!(reason_of(&stage, 2).0, None);
    let again = sends_backup(&mut stage, &sid);
    stage.publish(1, CHROMIUM, &[]);
    let again = stage.published().last().map_or(again, |(track, _)| *track);
    assert_ne!(again, backup, "numbers are never used twice");
}

#[test]
fn a_second_codec_that_nobody_announced_or_of_somebody_elses_track_is_not_taken() {
    let (mut stage, sid) = mixed();
    stage.take(1);
    stage.take(2);
    stage.request(1, Message::AddTrack(second_announcement(&sid, "vp9")));
    stage.request(2, Message::AddTrack(second_announcement(&sid, "vp8")));
    stage.request(1, Message::AddTrack(second_announcement("TR_nobody", "vp8")));
    assert_eq!(stage.published().len(), 1);
    let answered = |replies: Vec<Reply>| replies.iter().any(|r| matches!(r, Reply::TrackPublished(_)));
    assert!(!answered(stage.take(1)) && !answered(stage.take(2)));
}

#[test]
fn the_end_of_the_publication_ends_all_its_codecs() {
    let (mut stage, sid) = mixed();
    sends_backup(&mut stage, &sid);
    stage.request(1, Message::Leave(proto::LeaveRequest::default()));
    assert_eq!(stage.count(|c| matches!(c, Command::Unpublish { .. })), 2);
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 2);
    assert!(stage.room.tracks.is_empty() && stage.room.streams.is_empty());
}
