//! Coming, going, dropping and coming back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dataplane::base::reason::Reason;
use dataplane::command::{Command, OpenPeer};
use livekit_protocol as proto;
use proto::participant_info::State;
use proto::request_response;

use super::member::{Latest, Member, MemberKey, Peer, Side, Subscriber};
use super::{ConnectionId, Effect, Hangup, Joining, Room};
use crate::ids::UserId;
use crate::signal::ids;
use crate::signal::messages::{self, Farewell};
use crate::signal::negotiation::Negotiation;
use crate::signal::sections::Sections;

/// Data channels that the server opens on the subscriber connection: clients wait for them by these names.
const CHANNELS: &[(&str, bool)] = &[("_reliable", true), ("_lossy", false)];
/// Longest metadata, name and attributes together, bytes.
const METADATA_BYTES_MAX: usize = 16 * 1024;

impl Room {
    /// Lets somebody in. Another connection of the same person ends.
    pub fn join(&mut self, now_ms: u64, joining: Joining) {
        let Joining { connection, admission, client, since_accept, wall_ms } = joining;
        let same = self.members.iter().find(|(_, m)| m.admission.identity == admission.identity);
        if let Some(key) = same.map(|(key, _)| *key) {
            self.remove(key, Some(Farewell::DuplicateIdentity));
        }
        let key = MemberKey(self.next_member);
        self.next_member += 1;
        let peer = self.open_peer(key, Side::Subscriber);
        let others = self.members.values().map(Member::info).collect();
        let accepted_ms = now_ms.saturating_sub(u64::try_from(since_accept.as_millis()).unwrap_or(0));
        let member = Member {
            sid: ids::sid("PA_"),
            name: admission.name.clone(),
            admission,
            client,
            connection: Some(connection),
            dropped_ms: None,
            ended_ms: None,
            accepted_ms,
            ready_told: false,
            joined_ms: wall_ms,
            state: State::Joined,
            version: 1,
            metadata: String::new(),
            attributes: HashMap::new(),
            publisher: None,
            subscriber: Subscriber {
                peer,
                negotiation: Negotiation::default(),
                sections: Sections::default(),
                offered: Vec::new(),
                streams: BTreeMap::new(),
                wishes: HashMap::new(),
                undecodable: BTreeSet::new(),
                settings: HashMap::new(),
            },
            tracks: Vec::new(),
            unclaimed: Vec::new(),
            media: (false, false),
            speaking: None,
            link: None,
            latest: Latest::default(),
            quality: None,
            data: self.data.member(),
        };
        let info = member.info();
        self.members.insert(key, member);
        self.connections.insert(connection, key);
        let room = self.info();
        self.send(key, messages::join(room, info.clone(), others));
        self.broadcast(Some(key), &messages::update(vec![info]));
        self.subscribe_member(key);
        // Even without a track: the connection carries the data channels.
        if let Some(member) = self.members.get_mut(&key) {
            member.subscriber.negotiation.request();
        }
        self.handle_time(now_ms);
    }

    /// Continues a member's session on a new socket. False if there is none of that id and person.
    pub fn resume(&mut self, now_ms: u64, connection: ConnectionId, sid: &str, user: UserId) -> bool {
        let found = self
            .members
            .iter()
            .find(|(_, m)| m.sid == sid && m.admission.user == user && m.ended_ms.is_none());
        let Some(key) = found.map(|(key, _)| *key) else { return false };
        let others: Vec<_> = self.members.values().map(Member::info).collect();
        let Some(member) = self.members.get_mut(&key) else { return false };
        if let Some(old) = member.connection.replace(connection) {
            self.connections.remove(&old);
            self.effects.push(Effect::Close(old, Hangup::Normal));
        }
        member.dropped_ms = None;
        // The client restarts its own offerer; ours is ours to restart.
        let peer = &mut member.subscriber.peer;
        peer.ice = ids::ice(self.plane.core, peer.id);
        let restart = Command::RestartIce { peer: peer.id, local: peer.ice.clone() };
        member.subscriber.negotiation.restart();
        let last_message = member.data.last_sequence();
        self.connections.insert(connection, key);
        self.effects.push(Effect::Command(restart));
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

    /// Takes a member out, with everything it published and received, and tells the others.
    pub(super) fn remove(&mut self, key: MemberKey, farewell: Option<Farewell>) {
        let Some(mut member) = self.members.remove(&key) else { return };
        for track in std::mem::take(&mut member.tracks) {
            self.retire(&track);
        }
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
        self.effects.push(Effect::Left(member.admission.clone()));
    }

    /// Removes who has been away too long or lost a media path.
    pub(super) fn end_overdue(&mut self, now_ms: u64) {
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

    pub(super) fn update_metadata(&mut self, key: MemberKey, request: proto::UpdateParticipantMetadata) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let mut attributes = member.attributes.clone();
        for (name, value) in request.attributes {
            if value.is_empty() {
                attributes.remove(&name);
            } else {
                attributes.insert(name, value);
            }
        }
        let bytes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes + request.metadata.len() + request.name.len() > METADATA_BYTES_MAX {
            let message = messages::request_response(
                request.request_id,
                request_response::Reason::LimitExceeded,
                "too long",
            );
            self.send(key, message);
            return;
        }
        if !request.metadata.is_empty() {
            member.metadata = request.metadata;
        }
        if !request.name.is_empty() {
            member.name = request.name;
        }
        member.attributes = attributes;
        self.announce(key);
        if request.request_id != 0 {
            self.send(key, messages::request_response(request.request_id, request_response::Reason::Ok, ""));
        }
    }

    /// Makes our end of a connection and tells the core.
    pub(super) fn open_peer(&mut self, key: MemberKey, side: Side) -> Peer {
        let id = self.ids.peer();
        let ice = ids::ice(self.plane.core, id);
        self.peers.insert(id, (key, side));
        self.command(Command::OpenPeer(Box::new(OpenPeer {
            peer: id,
            meeting: self.meeting,
            participant: key.participant(),
            local: ice.clone(),
            dtls: self.plane.dtls,
            channels: if side == Side::Subscriber { CHANNELS } else { &[] },
        })));
        Peer { id, ice, session: u64::from(ids::number()), version: 0, remote: None, ready: false }
    }

    /// The admission of a member, for tests and lists.
    #[must_use]
    pub fn people(&self) -> Vec<Arc<crate::service::Admission>> {
        self.members.values().map(|m| m.admission.clone()).collect()
    }
}
