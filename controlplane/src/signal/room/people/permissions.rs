//! Who may do what: the host's grants to participants, and publishers' words about who receives their tracks.

use dataplane::base::ids::TrackId;
use livekit_protocol as proto;
use proto::request_response::{Reason, Request};

use super::sessions::HttpSession;
use crate::ids::UserId;
use crate::service::Admission;
use crate::signal::allowed::Allowed;
use crate::signal::grant::{Grant, GrantChange};
use crate::signal::messages;
use crate::signal::room::{MemberKey, Room};
use crate::signal::track::Track;

impl Room {
    /// What one person may do; `None` if it is not here.
    pub fn granted(&self, user: UserId) -> Option<Grant> {
        self.members.values().find(|member| member.admission.user == user).map(|member| member.grant)
    }

    /// Changes what one person may do, for as long as this room is open; what it may now. `None` if it is not here.
    pub fn permit(&mut self, now_ms: u64, user: UserId, change: GrantChange) -> Option<Grant> {
        let key = self.members.iter().find(|(_, m)| m.admission.user == user).map(|(key, _)| *key)?;
        let member = self.members.get_mut(&key)?;
        let before = member.grant;
        let grant = before.with(change);
        if grant == before {
            return Some(grant);
        }
        member.grant = grant;
        self.grants.insert(user, grant);
        if !grant.publish && member.http.as_ref().is_some_and(HttpSession::publishes) {
            // An encoder hears nothing but the end of its session; it comes again, and is refused until it may.
            self.remove(key, None);
            self.handle_time(now_ms);
            return Some(grant);
        }
        let withdrawn = if grant.publish { Vec::new() } else { std::mem::take(&mut member.tracks) };
        if !grant.publish {
            member.unclaimed.clear();
        }
        for track in &withdrawn {
            self.retire(track);
        }
        self.announce(key);
        for track in &withdrawn {
            self.send(key, messages::track_unpublished(&track.info.sid));
        }
        if !withdrawn.is_empty() {
            self.note_media(key);
        }
        if grant.subscribe != before.subscribe {
            self.subscribe_member(key);
        }
        self.handle_time(now_ms);
        Some(grant)
    }

    /// What a person may do who comes, or comes back.
    pub(in crate::signal::room) fn grant_of(&self, admission: &Admission) -> Grant {
        self.grants.get(&admission.user).copied().unwrap_or(Grant::of(admission.may))
    }

    /// Whether a member may announce tracks; if not, it is told.
    pub(in crate::signal::room) fn may_publish(
        &mut self,
        key: MemberKey,
        request: &proto::AddTrackRequest,
    ) -> bool {
        let may = self.members.get(&key).is_some_and(|m| m.grant.publish);
        if !may {
            let refused = Request::AddTrack(request.clone());
            self.send(
                key,
                messages::request_refused(0, Reason::NotAllowed, "may not publish", Some(refused)),
            );
        }
        may
    }

    /// A publisher says who may receive its tracks.
    pub(in crate::signal::room) fn subscription_permission(
        &mut self,
        key: MemberKey,
        message: proto::SubscriptionPermission,
    ) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.allowed = Allowed::read(message);
        let tracks: Vec<TrackId> = member.tracks.iter().filter(|t| t.is_published()).map(Track::id).collect();
        for track in tracks {
            self.subscribe_track(track);
        }
    }

    /// Whether a publisher lets a subscriber have a track; the subscriber is told when that changes.
    pub(in crate::signal::room) fn is_let(
        &mut self,
        key: MemberKey,
        publisher: MemberKey,
        sid: &str,
    ) -> bool {
        let (Some(from), Some(to)) = (self.members.get(&publisher), self.members.get(&key)) else {
            return false;
        };
        let allowed = from.allowed.lets(&to.admission.identity, &to.sid, sid);
        let message = messages::subscription_permission(&from.sid, sid, allowed);
        let Some(member) = self.members.get_mut(&key) else { return false };
        let denied = &mut member.subscriber.denied;
        let is_news = if allowed { denied.remove(sid) } else { denied.insert(sid.to_owned()) };
        if is_news {
            self.send(key, message);
        }
        allowed
    }
}
