//! Clients with one connection for both directions (protocol v1).

use super::*;
use crate::sdp::attributes::Direction;
use crate::sdp::description::{Description, SectionKind};

/// An offer with a data section and so many sections in which the client only receives; before them, on request, its camera.
fn offer(id: u32, camera: bool, audios: usize, videos: usize) -> proto::SessionDescription {
    let parts: Vec<String> = CHROMIUM
        .split("\nm=")
        .enumerate()
        .map(|(n, part)| if n == 0 { part.into() } else { format!("m={part}") })
        .collect();
    let receiving = |part: &String| {
        let dropped = ["a=ssrc", "a=msid:", "a=rid:", "a=simulcast:", "a=mid:"];
        let kept = part.lines().map(str::trim_end).filter(|l| !dropped.iter().any(|d| l.starts_with(d)));
        kept.map(|l| if l == "a=sendrecv" { "a=recvonly" } else { l }.to_owned()).collect::<Vec<_>>()
    };
    let lines = |part: &String| {
        part.lines().map(str::trim_end).filter(|l| !l.starts_with("a=mid:")).map(str::to_owned).collect()
    };
    let mut sections: Vec<Vec<String>> = vec![lines(&parts[4])];
    if camera {
        let video: Vec<String> = lines(&parts[2]);
        sections.push(
            video.into_iter().map(|l| if l == "a=sendrecv" { "a=sendonly".into() } else { l }).collect(),
        );
    }
    sections.extend(std::iter::repeat_n(receiving(&parts[1]), audios));
    sections.extend(std::iter::repeat_n(receiving(&parts[2]), videos));
    let mids: Vec<String> = (0..sections.len()).map(|mid| format!("m{mid}")).collect();
    let head = parts[0].lines().map(str::trim_end).filter(|l| !l.is_empty()).map(|l| {
        if l.starts_with("a=group:") { format!("a=group:BUNDLE {}", mids.join(" ")) } else { l.to_owned() }
    });
    let body = sections.into_iter().zip(&mids).flat_map(|(section, mid)| {
        section.into_iter().filter(|l| !l.is_empty()).chain([format!("a=mid:{mid}")])
    });
    let sdp: String = head.chain(body).map(|line| line + "\r\n").collect();
    proto::SessionDescription { r#type: "offer".into(), sdp, id, ..Default::default() }
}

impl Stage {
    fn join_single(&mut self, connection: u64) {
        self.join_with(
            connection,
            connection,
            Client { auto_subscribe: true, client_protocol: 0, single: true },
        );
    }

    fn offer(&mut self, connection: u64, description: proto::SessionDescription) {
        self.request(connection, Message::Offer(description));
    }

    fn participant(&self, user: u64) -> String {
        let member = self.room.members.values().find(|m| m.admission.user == UserId(user));
        member.map(|m| m.sid.clone()).expect("a member")
    }
}

fn answers(replies: &[Reply]) -> Vec<&proto::SessionDescription> {
    replies.iter().filter_map(|r| if let Reply::Answer(answer) = r { Some(answer) } else { None }).collect()
}

fn requirements(replies: &[Reply]) -> Vec<(u32, u32)> {
    let asked = |r: &Reply| match r {
        Reply::MediaSectionsRequirement(more) => Some((more.num_audios, more.num_videos)),
        _ => None,
    };
    replies.iter().filter_map(asked).collect()
}

#[test]
fn one_connection_is_answered_with_every_track_and_no_offer_is_sent() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    stage.join_single(2);
    let replies = stage.take(2);
    let Reply::Join(join) = &replies[0] else { panic!("the first message is not join") };
    assert!(!join.subscriber_primary);
    assert!(requirements(&replies).is_empty(), "a client that joins offers by itself");
    assert_eq!(stage.peers().len(), 3, "two for the first, one for the second");
    stage.offer(2, offer(1, false, 3, 3));
    let replies = stage.take(2);
    let [answer] = answers(&replies)[..] else { panic!("one answer") };
    assert_eq!((answer.id, answer.mid_to_track_id.len()), (1, 2));
    let parsed = Description::parse(&answer.sdp).expect("a description");
    let directions: Vec<Direction> = parsed.sections[1..].iter().map(|s| s.direction).collect();
    use Direction::{Inactive, SendOnly};
    assert_eq!(directions, [SendOnly, Inactive, Inactive, SendOnly, Inactive, Inactive]);
    for section in parsed.sections.iter().filter(|s| s.direction == SendOnly) {
        assert_eq!(section.track.as_ref(), answer.mid_to_track_id.get(section.mid.as_str()));
        assert_eq!(section.ssrcs.len(), 1);
        assert_eq!(section.ssrcs[0].rtx.is_some(), section.kind != SectionKind::Media(MediaKind::Audio));
        // Refused in one section, the extension would be left out of those in which the client sends layers.
        let keeps_rid = section.extensions.iter().any(|e| e.extension == Extension::Rid);
        assert_eq!(keeps_rid, section.kind == SectionKind::Media(MediaKind::Video));
    }
    let peer = stage.peers()[2];
    let subscribes = stage.subscribes();
    assert_eq!(subscribes.len(), 2);
    for subscribe in subscribes {
        assert_eq!(subscribe.peer, peer);
        assert_eq!(subscribe.extensions.id(Extension::Mid), Some(4), "the client's numbers");
        assert_eq!(subscribe.extensions.id(Extension::TransportCc), Some(3));
        assert_eq!(subscribe.extensions.id(Extension::Rid), None);
    }
    assert!(stage.count(|c| matches!(c, Command::RemotePeer(_))) == 2);
    assert_eq!(stage.answer(2).iter().filter(|r| matches!(r, Reply::Offer(_))).count(), 0);
}

#[test]
fn the_same_connection_publishes() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.answer(1);
    stage.join_single(2);
    let request = proto::AddTrackRequest {
        cid: CAMERA.into(),
        r#type: proto::TrackType::Video.into(),
        ..Default::default()
    };
    stage.request(2, Message::AddTrack(request));
    stage.offer(2, offer(1, true, 0, 1));
    let [track] = stage.published()[..] else { panic!("one track") };
    let published = stage.commands.iter().find_map(|c| match c {
        Command::Publish(publish) => Some((publish.peer, publish.rids.len())),
        _ => None,
    });
    assert_eq!(published, Some((stage.peers()[1], 3)));
    assert_eq!(stage.peers().len(), 2, "no second connection is opened");
    stage.advance(1_000);
    stage.answer(1);
    assert_eq!(stage.subscribes().iter().map(|s| s.track).collect::<Vec<_>>(), [track.0]);
    // What it publishes is not what it receives.
    stage.publish(1, CHROMIUM, &both()[..1]);
    stage.offer(2, offer(2, true, 1, 1));
    let replies = stage.take(2);
    let last = answers(&replies).pop().expect("an answer");
    assert_eq!(last.mid_to_track_id.keys().collect::<Vec<_>>(), ["m2"]);
}

#[test]
fn missing_sections_are_asked_for_once_and_a_crossing_offer_is_no_fulfilment() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join_single(2);
    stage.offer(2, offer(1, false, 0, 0));
    stage.advance(1_000);
    stage.take(2);
    stage.publish(1, CHROMIUM, &both());
    assert_eq!(requirements(&stage.take(2)), [(1, 1)]);
    stage.offer(2, offer(2, false, 0, 0));
    stage.advance(2_000);
    assert!(requirements(&stage.take(2)).is_empty() && stage.subscribes().is_empty());
    stage.offer(2, offer(3, false, 1, 1));
    assert_eq!(stage.subscribes().len(), 2);
    stage.advance(5_000);
    assert!(requirements(&stage.take(2)).is_empty());
    // Nobody answers for ever: it is asked again.
    stage.join(3);
    stage.publish(3, FIREFOX, &[("any", proto::TrackType::Audio)]);
    assert_eq!(requirements(&stage.take(2)), [(1, 0)]);
    stage.advance(11_000);
    assert_eq!(requirements(&stage.take(2)), [(1, 0)]);
}

#[test]
fn a_track_that_ends_leaves_a_section_that_is_used_again() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    stage.join_single(2);
    stage.offer(2, offer(1, false, 1, 1));
    assert_eq!(stage.subscribes().len(), 2);
    stage.take(2);
    stage.request(1, Message::Leave(proto::LeaveRequest::default()));
    stage.advance(1_000);
    assert_eq!(requirements(&stage.take(2)), [(0, 0)], "an offer, without more sections");
    stage.offer(2, offer(2, false, 1, 1));
    let replies = stage.take(2);
    assert!(answers(&replies)[0].mid_to_track_id.is_empty());
    stage.join(3);
    stage.publish(3, CHROMIUM, &both());
    stage.advance(1_000);
    assert_eq!(requirements(&stage.take(2)), [(0, 0)]);
    stage.offer(2, offer(3, false, 1, 1));
    let replies = stage.take(2);
    assert_eq!(answers(&replies)[0].mid_to_track_id.len(), 2);
    assert_eq!(stage.subscribes().len(), 4);
}

#[test]
fn who_decodes_no_codec_of_a_track_is_told_before_the_answer() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish_camera(1, &["H264"]);
    stage.join_single(2);
    let mut without = offer(1, false, 1, 1);
    without.sdp = without_codecs(&without.sdp, &["H264"]);
    stage.offer(2, without);
    let replies = stage.take(2);
    let refused = replies.iter().position(|r| matches!(r, Reply::SubscriptionResponse(_)));
    let answered = replies.iter().position(|r| matches!(r, Reply::Answer(_)));
    assert!(refused.is_some() && refused < answered);
    assert!(answers(&replies)[0].mid_to_track_id.is_empty() && stage.subscribes().is_empty());
    assert!(requirements(&replies).is_empty());
}

#[test]
fn a_session_is_resumed_by_the_clients_own_restart() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    stage.join_single(2);
    stage.offer(2, offer(1, false, 3, 3));
    let sid = stage.participant(2);
    stage.room.disconnected(stage.now_ms, ConnectionId(2));
    assert!(
        !stage.room.resume(stage.now_ms, ConnectionId(7), &sid, UserId(2), false),
        "by the other protocol"
    );
    assert!(stage.room.resume(stage.now_ms, ConnectionId(7), &sid, UserId(2), true));
    stage.settle();
    let replies = stage.take(7);
    assert!(matches!(replies[0], Reply::Reconnect(_)));
    assert!(requirements(&replies).is_empty());
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 0);
    let mut restart = offer(2, false, 3, 3);
    restart.sdp = restart.sdp.replace("a=ice-ufrag:h6ao", "a=ice-ufrag:again");
    stage.offer(7, restart);
    assert_eq!(stage.count(|c| matches!(c, Command::RestartIce { .. })), 1);
    let replies = stage.take(7);
    assert_eq!(answers(&replies)[0].mid_to_track_id.len(), 2);
    assert_eq!(stage.subscribes().len(), 2, "streams go on as they were");
}

#[test]
fn a_client_that_never_offers_costs_nothing() {
    let mut stage = Stage::new();
    stage.join_single(2);
    stage.join(1);
    stage.publish(1, CHROMIUM, &both());
    assert!(stage.room.next_time(stage.now_ms) > stage.now_ms, "no busy loop");
    stage.advance(15_000);
    assert!(requirements(&stage.take(2)).is_empty());
    // An answer nobody waits for is passed over.
    stage.request(
        2,
        Message::Answer(proto::SessionDescription { sdp: CHROMIUM.into(), ..Default::default() }),
    );
    assert!(stage.closed.is_empty());
}
