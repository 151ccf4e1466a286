//! What is done to a room from outside, by a server of the host's: who is there, and changes to them, by identity.

use std::collections::HashMap;

use livekit_protocol as proto;
use proto::data_packet::Value;

use super::sessions::HttpSession;
use crate::signal::grant::GrantChange;
use crate::signal::messages::{self, Farewell};
use crate::signal::packet::Refusal;
use crate::signal::room::{Member, MemberKey, Room};

/// What others read of somebody; what is empty stays, and so do attributes that are not named.
pub struct Words {
    /// Its name.
    pub name: String,
    /// Free text.
    pub metadata: String,
    /// Free pairs; an empty value takes one away.
    pub attributes: HashMap<String, String>,
}

/// What became of a change.
pub enum Changed {
    /// It is so now.
    Now(Box<proto::ParticipantInfo>),
    /// Nothing was changed.
    TooLong,
}

/// What became of a mute or its end.
pub enum Muted {
    /// It is so now.
    Now(Box<proto::TrackInfo>),
    /// Whoever publishes it is a person, who alone unmutes it.
    OwnToUnmute,
}

impl Room {
    /// Everybody who is here, as others see them.
    pub fn participants(&self) -> Vec<proto::ParticipantInfo> {
        self.members.values().map(Member::info).collect()
    }

    /// Sends somebody away; `None` if it is not here.
    pub fn remove_identity(&mut self, now_ms: u64, identity: &str) -> Option<()> {
        let key = self.identified(identity)?;
        self.remove(key, Some(Farewell::ParticipantRemoved));
        self.handle_time(now_ms);
        Some(())
    }

    /// Mutes a track and tells its publisher, or ends that for one of an encoder's; `None` if either is not here.
    pub fn mute_track(&mut self, now_ms: u64, identity: &str, sid: &str, muted: bool) -> Option<Muted> {
        let key = self.identified(identity)?;
        let is_encoder = self.members.get(&key)?.http.as_ref().is_some_and(HttpSession::publishes);
        if !muted && !is_encoder {
            return Some(Muted::OwnToUnmute);
        }
        self.track_info(key, sid)?;
        self.mute_by_client(key, sid, muted);
        self.send(key, messages::mute(sid, muted));
        self.handle_time(now_ms);
        Some(Muted::Now(Box::new(self.track_info(key, sid)?)))
    }

    /// Changes what others read of somebody and what it may do; `None` if it is not here.
    pub fn change_participant(
        &mut self,
        now_ms: u64,
        identity: &str,
        words: Words,
        grant: Option<GrantChange>,
    ) -> Option<Changed> {
        let key = self.identified(identity)?;
        if !self.set_words(key, words) {
            return Some(Changed::TooLong);
        }
        let member = self.members.get(&key)?;
        let (user, mut last) = (member.admission.user, member.info());
        if let Some(grant) = grant.and_then(|grant| self.permit(now_ms, user, grant)) {
            last.permission = Some(grant.permission());
        }
        self.handle_time(now_ms);
        // An encoder that may not publish any more is gone by now, and shown as it was last.
        let person = self.members.get(&key).map_or(last, Member::info);
        Some(Changed::Now(Box::new(person)))
    }

    /// Subscribes somebody, or ends that; `None` if it is not here.
    pub fn subscribe_identity(
        &mut self,
        now_ms: u64,
        identity: &str,
        wish: &proto::UpdateSubscription,
    ) -> Option<()> {
        let key = self.identified(identity)?;
        self.update_subscription(key, wish);
        self.handle_time(now_ms);
        Some(())
    }

    /// Says something that comes from nobody in the room.
    ///
    /// # Errors
    /// `Destinations`, `TooLong`.
    #[expect(deprecated, reason = "old servers name participant ids, and old clients read them")]
    pub fn say(&mut self, now_ms: u64, asked: proto::SendDataRequest) -> Result<(), Refusal> {
        let lossy = asked.kind == i32::from(proto::data_packet::Kind::Lossy);
        let user = proto::UserPacket {
            payload: asked.data,
            destination_sids: asked.destination_sids,
            topic: asked.topic,
            nonce: asked.nonce,
            ..Default::default()
        };
        let packet = proto::DataPacket {
            destination_identities: asked.destination_identities,
            value: Some(Value::User(user)),
            ..Default::default()
        };
        self.say_as_server(now_ms, lossy, &packet)
    }

    fn identified(&self, identity: &str) -> Option<MemberKey> {
        self.members.iter().find(|(_, member)| member.admission.identity == identity).map(|(key, _)| *key)
    }

    fn track_info(&self, key: MemberKey, sid: &str) -> Option<proto::TrackInfo> {
        let tracks = &self.members.get(&key)?.tracks;
        tracks.iter().find(|track| track.info.sid == sid).map(|track| track.info.clone())
    }
}
