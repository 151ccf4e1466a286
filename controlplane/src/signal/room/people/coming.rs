//! Coming, going, dropping and coming back.

use std::sync::Arc;

use dataplane::base::reason::Reason;
use dataplane::command::{Command, OpenPeer};
use livekit_protocol as proto;
use proto::participant_info::State;
use proto::request_response;

use crate::ids::UserId;
use crate::service::Admission;
use crate::signal::ids;
use crate::signal::messages::{self, Farewell};
use crate::signal::room::administration::Words;
use crate::signal::room::peer::{Peer, Side};
use crate::signal::room::{ConnectionId, Effect, Hangup, Joining, Member, MemberKey, Room};

/// Data channels that the server opens on the subscriber connection: clients wait for them by these names.
const CHANNELS: &[(&str, bool)] = &[("_reliable", true), ("_lossy", false)];
/// Longest metadata, name and attributes together, bytes.
const METADATA_BYTES_MAX: usize = 16 * 1024;

impl Room {
    /// Lets somebody in. Another connection of the same person ends.
    pub fn join(&mut self, now_ms: u64, joining: Joining) {
        let Joining { connection, admission, client, since_accept, wall_ms } = joining;
        self.end_earlier(&admission);
        let key = MemberKey(self.next_member);
        self.next_member += 1;
        let peer = self.open_peer(key, if client.single { Side::Both } else { Side::Subscriber });
        let others = self.members.values().map(Member::info).collect();
        let accepted_ms = now_ms.saturating_sub(u64::try_from(since_accept.as_millis()).unwrap_or(0));
        let mut member = Member::new(admission, client, peer, self.data.member(), (accepted_ms, wall_ms));
        member.connection = Some(connection);
        member.grant = self.grant_of(&member.admission);
        let info = member.info();
        self.members.insert(key, member);
        self.connections.insert(connection, key);
        let room = self.info();
        self.send(key, messages::join(room, info.clone(), others, !client.single));
        self.broadcast(Some(key), &messages::update(vec![info]));
        self.subscribe_member(key);
        // Even without a track: the connection carries the data channels.
        if let Some(member) = self.members.get_mut(&key) {
            member.subscriber.negotiation.request();
        }
        self.handle_time(now_ms);
    }

    /// Nobody is here twice: an earlier session of the same person ends.
    pub(in crate::signal::room) fn end_earlier(&mut self, admission: &Admission) {
        let same = self.members.iter().find(|(_, m)| m.admission.identity == admission.identity);
        if let Some(key) = same.map(|(key, _)| *key) {
            self.remove(key, Some(Farewell::DuplicateIdentity));
        }
    }

    /// Continues a member's session on a new socket. False if there is none of that id, person and protocol version.
    pub fn resume(
        &mut self,
        now_ms: u64,
        connection: ConnectionId,
        sid: &str,
        user: UserId,
        single: bool,
    ) -> bool {
        let is_theirs = |m: &Member| {
            m.sid == sid
                && m.admission.user == user
                && m.client.single == single
                && m.ended_ms.is_none()
                && m.http.is_none()
        };
        let found = self.members.iter().find(|(_, m)| is_theirs(m));
        let Some(key) = found.map(|(key, _)| *key) else { return false };
        let others: Vec<_> = self.members.values().map(Member::info).collect();
        let Some(member) = self.members.get_mut(&key) else { return false };
        if let Some(old) = member.connection.replace(connection) {
            self.connections.remove(&old);
            self.effects.push(Effect::Close(old, Hangup::Normal));
        }
        member.dropped_ms = None;
        self.connections.insert(connection, key);
        // The client restarts its own offerer; ours is ours to restart.
        let subscriber = &mut member.subscriber;
        match &mut subscriber.slots {
            Some(slots) => {
                slots.forget_request();
                subscriber.negotiation.expect_offer(now_ms);
            }
            None => {
                let peer = &mut subscriber.peer;
                peer.ice = ids::ice(self.plane.core, peer.id);
                let restart = Command::RestartIce { peer: peer.id, local: peer.ice.clone() };
                subscriber.negotiation.restart();
                self.effects.push(Effect::Command(restart));
            }
        }
        let last_message = member.data.last_sequence();
        self.send(key, messages::reconnect(last_message));
        self.send(key, messages::update(others));
        self.repeat_qualities(key);
        self.repeat_stream_states(key);
        self.handle_time(now_ms);
        true
    }

    /// A socket is gone without a word.
    pub fn disconnected(&mut self, now_ms: u64, connection: ConnectionId) {
        if let Some(key) = self.connections.remove(&connection)
            && let Some(member) = self.members.get_mut(&key)
        {
            member.connection = None;
            member.dropped_ms = Some(now_ms);
        }
        self.handle_time(now_ms);
    }

    /// Ends the session of one person.
    pub fn remove_user(&mut self, now_ms: u64, user: UserId) {
        let found = self.members.iter().find(|(_, m)| m.admission.user == user);
        if let Some(key) = found.map(|(key, _)| *key) {
            self.remove(key, Some(Farewell::ParticipantRemoved));
        }
        self.handle_time(now_ms);
    }

    /// Ends every session.
    pub fn remove_all(&mut self, farewell: Farewell) {
        while let Some(key) = self.members.keys().next().copied() {
            self.remove(key, Some(farewell));
        }
    }

    /// Takes a member out, with everything it published and received, tells the others, and has it counted out.
    pub(in crate::signal::room) fn remove(&mut self, key: MemberKey, farewell: Option<Farewell>) {
        if let Some(admission) = self.take_out(key, farewell) {
            self.effects.push(Effect::Left(admission));
        }
    }

    /// The same for one whom somebody else counts out.
    pub(in crate::signal::room) fn take_out(
        &mut self,
        key: MemberKey,
        farewell: Option<Farewell>,
    ) -> Option<Arc<Admission>> {
        let mut member = self.members.remove(&key)?;
        for track in std::mem::take(&mut member.tracks) {
            self.retire(&track);
        }
        self.floor.forget(key);
        self.end_player(&member);
        for _ in &member.subscriber.undecodable {
            self.reasons.replace(Some(Reason::CodecMissing), None);
        }
        for stream in member.subscriber.streams.values() {
            self.streams.remove(&stream.id);
            self.reasons.replace(stream.reason(), None);
            self.touched.insert(stream.track);
            if stream.sent().is_some() {
                self.effects.push(Effect::Command(Command::Unsubscribe { stream: stream.id }));
            }
        }
        for peer in [member.publisher.as_ref(), Some(&member.subscriber.peer)].into_iter().flatten() {
            self.peers.remove(&peer.id);
            self.effects.push(Effect::Command(Command::ClosePeer { peer: peer.id }));
        }
        if let Some(connection) = member.connection {
            self.connections.remove(&connection);
            match farewell {
                Some(farewell) => self.say_farewell(connection, farewell),
                None => self.effects.push(Effect::Close(connection, Hangup::Normal)),
            }
        }
        member.version += 1;
        member.state = State::Disconnected;
        let mut info = member.info();
        info.disconnect_reason = match farewell {
            None => proto::DisconnectReason::ClientInitiated,
            Some(Farewell::DuplicateIdentity) => proto::DisconnectReason::DuplicateIdentity,
            Some(Farewell::ParticipantRemoved) => proto::DisconnectReason::ParticipantRemoved,
            Some(_) => proto::DisconnectReason::UnknownReason,
        }
        .into();
        self.broadcast(None, &messages::update(vec![info]));
        Some(member.admission)
    }

    /// Removes who has been away too long or lost a media path.
    pub(in crate::signal::room) fn end_overdue(&mut self, now_ms: u64) {
        let overdue: Vec<MemberKey> = self
            .members
            .iter()
            .filter(|(_, m)| m.overdue_at().is_some_and(|at| now_ms >= at))
            .map(|(key, _)| *key)
            .collect();
        for key in overdue {
            self.remove(key, Some(Farewell::MediaFailure));
        }
    }

    pub(in crate::signal::room) fn update_metadata(
        &mut self,
        key: MemberKey,
        request: proto::UpdateParticipantMetadata,
    ) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if !member.grant.update_metadata {
            let reason = request_response::Reason::NotAllowed;
            let message = messages::request_response(request.request_id, reason, "may not change metadata");
            self.send(key, message);
            return;
        }
        let id = request.request_id;
        let words = Words { name: request.name, metadata: request.metadata, attributes: request.attributes };
        if !self.set_words(key, words) {
            let reason = request_response::Reason::LimitExceeded;
            self.send(key, messages::request_response(id, reason, "too long"));
        } else if id != 0 {
            self.send(key, messages::request_response(id, request_response::Reason::Ok, ""));
        }
    }

    /// Changes what others read of somebody; false where it would be too long, and nothing changes.
    pub(in crate::signal::room) fn set_words(&mut self, key: MemberKey, words: Words) -> bool {
        let Some(member) = self.members.get_mut(&key) else { return true };
        let mut attributes = member.attributes.clone();
        for (name, value) in words.attributes {
            if value.is_empty() {
                attributes.remove(&name);
            } else {
                attributes.insert(name, value);
            }
        }
        let bytes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes + words.metadata.len() + words.name.len() > METADATA_BYTES_MAX {
            return false;
        }
        if !words.metadata.is_empty() {
            member.metadata = words.metadata;
        }
        if !words.name.is_empty() {
            member.name = words.name;
        }
        member.attributes = attributes;
        self.announce(key);
        true
    }

    /// Makes our end of a connection and tells the core.
    pub(in crate::signal::room) fn open_peer(&mut self, key: MemberKey, side: Side) -> Peer {
        self.open_peer_with(key, side, if side == Side::Subscriber { CHANNELS } else { &[] })
    }

    /// The same with these data channels.
    pub(in crate::signal::room) fn open_peer_with(
        &mut self,
        key: MemberKey,
        side: Side,
        channels: &'static [(&'static str, bool)],
    ) -> Peer {
        let peer = self.unopened_peer();
        let (id, ice) = (peer.id, peer.ice.clone());
        self.peers.insert(id, (key, side));
        self.command(Command::OpenPeer(Box::new(OpenPeer {
            peer: id,
            meeting: self.meeting,
            participant: key.participant(),
            local: ice,
            dtls: self.plane.dtls,
            channels,
        })));
        peer
    }

    /// Our end of a connection that the core does not know: the side that a member does without.
    pub(in crate::signal::room) fn unopened_peer(&self) -> Peer {
        let id = self.ids.peer();
        let ice = ids::ice(self.plane.core, id);
        Peer { id, ice, session: u64::from(ids::number()), version: 0, remote: None, ready: false }
    }

    /// The admission of a member, for tests and lists.
    #[must_use]
    pub fn people(&self) -> Vec<Arc<Admission>> {
        self.members.values().map(|m| m.admission.clone()).collect()
    }
}
