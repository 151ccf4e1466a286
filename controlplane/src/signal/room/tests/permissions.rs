//! What the host lets people do, and what publishers let them receive.

use super::*;
use crate::signal::grant::GrantChange;

fn infos(replies: &[Reply], user: u64) -> Vec<&proto::ParticipantInfo> {
    let identity = format!("user_{user}");
    let updates =
        replies.iter().filter_map(|r| if let Reply::Update(update) = r { Some(update) } else { None });
    updates.flat_map(|update| &update.participants).filter(|info| info.identity == identity).collect()
}

fn allowed(replies: &[Reply]) -> Vec<(String, bool)> {
    let told = |r: &Reply| match r {
        Reply::SubscriptionPermissionUpdate(update) => Some((update.track_sid.clone(), update.allowed)),
        _ => None,
    };
    replies.iter().filter_map(told).collect()
}

impl Stage {
    fn permit(&mut self, user: u64, change: GrantChange) -> Option<Grant> {
        let grant = self.room.permit(self.now_ms, UserId(user), change);
        self.settle();
        grant
    }

    fn allow(&mut self, connection: u64, track_permissions: Vec<proto::TrackPermission>) {
        let message = proto::SubscriptionPermission { all_participants: false, track_permissions };
        self.request(connection, Message::SubscriptionPermission(message));
    }
}

#[test]
fn who_may_no_longer_publish_loses_its_tracks_and_everybody_hears() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.answer(2);
    stage.publish(1, CHROMIUM, &both());
    stage.advance(1_000);
    stage.answer(2);
    assert_eq!(stage.subscribes().len(), 2);
    stage.take(1);
    stage.take(2);
    let change = GrantChange { publish: Some(false), ..Default::default() };
    assert_eq!(stage.permit(1, change), Some(Grant { publish: false, ..Grant::ALL }));
    assert_eq!(stage.count(|c| matches!(c, Command::Unpublish { .. })), 2);
    let mine = stage.take(1);
    let unpublished = mine.iter().filter(|r| matches!(r, Reply::TrackUnpublished(_))).count();
    assert_eq!(unpublished, 2);
    for replies in [&mine, &stage.take(2)] {
        let told = infos(replies, 1);
        let last = told.last().expect("an update");
        assert!(
            last.tracks.is_empty()
                && last.permission.as_ref().is_some_and(|p| !p.can_publish && p.can_subscribe)
        );
    }
    assert_eq!(stage.media, [(true, true), (false, false)]);
    // What it announces now is refused, and what it offers is not passed on.
    stage.publish(1, CHROMIUM, &both());
    let replies = stage.take(1);
    let refused = replies.iter().filter(|r| {
        matches!(r, Reply::RequestResponse(r) if r.reason == i32::from(proto::request_response::Reason::NotAllowed))
    });
    assert_eq!(refused.count(), 2);
    assert!(!replies.iter().any(|r| matches!(r, Reply::TrackPublished(_))));
    assert_eq!(stage.published().len(), 2, "those from before");
    // It keeps to it when it comes back, until the host changes it.
    stage.request(1, Message::Leave(proto::LeaveRequest::default()));
    stage.join_as(5, 1, true);
    stage.publish(5, CHROMIUM, &both());
    assert_eq!(stage.published().len(), 2);
    stage.permit(1, GrantChange { publish: Some(true), ..Default::default() });
    stage.publish(5, CHROMIUM, &both());
    let tracks: BTreeSet<TrackId> = stage.published().into_iter().map(|(track, _)| track).collect();
    assert_eq!(tracks.len(), 4);
    assert_eq!(stage.permit(77, change), None, "nobody");
}

#[test]
fn who_may_not_receive_loses_its_streams_until_it_may_again() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.answer(2);
    stage.publish(1, CHROMIUM, &both());
    stage.advance(1_000);
    stage.answer(2);
    stage.permit(2, GrantChange { subscribe: Some(false), ..Default::default() });
    stage.advance(1_000);
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 2);
    stage.advance(1_000);
    stage.answer(2);
    assert_eq!(stage.subscribes().len(), 2);
    stage.permit(2, GrantChange { subscribe: Some(true), ..Default::default() });
    stage.advance(1_000);
    stage.answer(2);
    assert_eq!(stage.subscribes().len(), 4);
}

#[test]
fn who_may_not_change_its_metadata_is_told() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.permit(1, GrantChange { update_metadata: Some(false), ..Default::default() });
    stage.take(1);
    let request =
        proto::UpdateParticipantMetadata { metadata: "new".into(), request_id: 4, ..Default::default() };
    stage.request(1, Message::UpdateMetadata(request));
    let replies = stage.take(1);
    let [Reply::RequestResponse(response)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(
        (response.request_id, response.reason),
        (4, i32::from(proto::request_response::Reason::NotAllowed))
    );
}

#[test]
fn a_publisher_says_who_receives_what() {
    let mut stage = Stage::new();
    for connection in 1..=3 {
        stage.join(connection);
        stage.answer(connection);
    }
    stage.publish(1, CHROMIUM, &both());
    stage.advance(1_000);
    for connection in 2..=3 {
        stage.answer(connection);
    }
    assert_eq!(stage.subscribes().len(), 4);
    let camera = stage.camera_sid(1);
    // The second may have the camera only, the third nothing.
    let only_camera = proto::TrackPermission {
        participant_identity: "user_2".into(),
        track_sids: vec![camera.clone()],
        ..Default::default()
    };
    stage.allow(1, vec![only_camera.clone()]);
    assert_eq!(stage.count(|c| matches!(c, Command::Unsubscribe { .. })), 3);
    let second = allowed(&stage.take(2));
    assert!(second.len() == 1 && second[0].0 != camera && !second[0].1);
    assert_eq!(allowed(&stage.take(3)).len(), 2);
    // Saying it again changes nothing, and asking for it neither.
    stage.allow(1, vec![only_camera]);
    let ask =
        proto::UpdateSubscription { track_sids: vec![camera.clone()], subscribe: true, ..Default::default() };
    stage.request(3, Message::Subscription(ask));
    assert!(allowed(&stage.take(2)).is_empty() && allowed(&stage.take(3)).is_empty());
    // Somebody who comes later hears of it, and then of the change of mind.
    stage.join(4);
    assert_eq!(allowed(&stage.take(4)).len(), 2);
    let all = proto::SubscriptionPermission { all_participants: true, track_permissions: vec![] };
    stage.request(1, Message::SubscriptionPermission(all));
    assert_eq!(allowed(&stage.take(4)).iter().filter(|(_, allowed)| *allowed).count(), 2);
    let before = stage.subscribes().len();
    // Offers that were passed over above are written again.
    stage.advance(11_000);
    for connection in 2..=4 {
        stage.answer(connection);
    }
    assert!(stage.subscribes().len() > before);
}
