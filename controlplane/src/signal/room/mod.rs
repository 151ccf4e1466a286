//! One meeting's room: who is in it, what they publish, who receives what. Sans-IO: inputs in, effects out.
//!
//! Place: `actor` feeds it from sockets, reports and clocks and carries out its effects in order. Members' sockets may drop
//! and come back ([`GRACE_MS`]) while their media goes on.
//! Promises: no socket, task or clock in here; time is an argument in milliseconds; effects come out in an order that clients
//! need (an update before the offer that carries its tracks, a command before the message that relies on it).
//! Rooms by noun: `people` (who is there), `tracks` (what they send), `streams` (what they receive), `channels` (what they say);
//! beside them one participant's state (`member`, `peer`), reports of the packet core (`watching`), and what all of it looks like
//! from outside (`media`).

mod channels;
pub mod media;
mod member;
mod peer;
mod people;
mod streams;
#[cfg(test)]
mod tests;
mod tracks;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dataplane::base::handoff::{DtlsVersion, Fingerprint, SrtpProfile};
use dataplane::base::ids::{CoreId, MeetingId, ParticipantId, PeerId, StreamId, TrackId};
use dataplane::command::{Command, Report};
use livekit_protocol as proto;
use proto::signal_request::Message;

pub use self::channels::Counts;
use self::member::Member;
pub use self::member::{Client, Latest};
use self::peer::Side;
pub use self::people::{administration, sessions};
pub use self::streams::Tally;
use super::floor::Floor;
use super::grant::Grant;
use super::messages::{self, Farewell};
use super::negotiation::Next;
use super::track::Track;
use crate::dispatch::Ids;
use crate::ids::UserId;
use crate::sdp::lines::Candidate;
use crate::service::Admission;

/// How long a member whose socket dropped is kept, milliseconds.
pub const GRACE_MS: u64 = 20_000;
/// How long after a closed media path the signal connection may still say that it left, milliseconds.
const FAREWELL_MS: u64 = 1_500;
/// How often link qualities and the room's figures go out, milliseconds.
const QUALITY_MS: u64 = 2_000;
/// How often clients get a fresh token, milliseconds.
const TOKEN_MS: u64 = 10 * 60 * 1000;

/// A participant in one room; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey(u64);

impl MemberKey {
    /// A key for tests of what is told apart by it.
    #[cfg(test)]
    pub(in crate::signal) const fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// A key that no participant gets.
    const fn of_nobody() -> Self {
        Self(u64::MAX)
    }

    /// Its number on the packet plane, within the meeting.
    #[must_use]
    pub const fn participant(self) -> ParticipantId {
        ParticipantId(self.0 as u32)
    }
}

/// One socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Why a socket is closed by us, with the WebSocket status (RFC 6455 section 7.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hangup {
    /// All is said.
    Normal,
    /// A description that cannot be used.
    BadDescription(crate::sdp::SdpError),
}

/// What a room wants done, in order.
pub enum Effect {
    /// Tell the packet core.
    Command(Command),
    /// Tell a client.
    Send(ConnectionId, Box<proto::SignalResponse>),
    /// Close a socket after what was sent to it.
    Close(ConnectionId, Hangup),
    /// Somebody's media became ready this long after the socket was accepted.
    Ready(Duration),
    /// A receiver's link is believed to carry this much, bits per second.
    LinkEstimate(u32),
    /// One association has its media keys.
    Keyed(DtlsVersion, SrtpProfile),
    /// Which media a member sends.
    Media {
        /// Who.
        admission: Arc<Admission>,
        /// An unmuted microphone or other audio.
        audio: bool,
        /// An unmuted camera or screen.
        video: bool,
    },
    /// A member is gone for good.
    Left(Arc<Admission>),
    /// A member needs a fresh token.
    Renew(ConnectionId, Arc<Admission>),
}

/// What the packet plane is to its peers.
pub struct Plane {
    /// The core this room lives on.
    pub core: CoreId,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Where the core listens.
    pub candidates: Vec<Candidate>,
    /// The DTLS version to speak.
    pub dtls: DtlsVersion,
}

/// Somebody comes in.
pub struct Joining {
    /// The socket.
    pub connection: ConnectionId,
    /// Who.
    pub admission: Arc<Admission>,
    /// What the client said about itself.
    pub client: Client,
    /// How long ago the socket was accepted.
    pub since_accept: Duration,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
}

/// The state of one room.
pub struct Room {
    meeting: MeetingId,
    sid: String,
    plane: Plane,
    ids: Arc<Ids>,
    members: BTreeMap<MemberKey, Member>,
    next_member: u64,
    connections: HashMap<ConnectionId, MemberKey>,
    peers: HashMap<PeerId, (MemberKey, Side)>,
    tracks: HashMap<TrackId, MemberKey>,
    /// Who receives each stream, and of which track.
    streams: HashMap<StreamId, (MemberKey, TrackId)>,
    /// Tracks of which more or less may be wanted than their publishers were told.
    touched: BTreeSet<TrackId>,
    /// What people may do whose grant the host changed, also while they are away.
    grants: HashMap<UserId, Grant>,
    /// Why streams are reduced.
    reasons: Tally,
    data: channels::Router,
    created_ms: i64,
    /// People and publishers as last told.
    told: (usize, usize),
    quality_at: u64,
    token_at: u64,
    /// Whom players are shown.
    floor: Floor,
    effects: Vec<Effect>,
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new(meeting: MeetingId, created_ms: i64, plane: Plane, ids: Arc<Ids>) -> Self {
        Self {
            meeting,
            sid: super::ids::sid("RM_"),
            plane,
            ids,
            members: BTreeMap::new(),
            next_member: 0,
            connections: HashMap::new(),
            peers: HashMap::new(),
            tracks: HashMap::new(),
            streams: HashMap::new(),
            touched: BTreeSet::new(),
            grants: HashMap::new(),
            reasons: Tally::default(),
            data: channels::Router::default(),
            created_ms,
            told: (0, 0),
            quality_at: QUALITY_MS,
            token_at: TOKEN_MS,
            floor: Floor::default(),
            effects: Vec::new(),
        }
    }

    /// Takes one message of a client.
    pub fn handle_request(&mut self, now_ms: u64, connection: ConnectionId, message: Message) {
        let Some(&key) = self.connections.get(&connection) else { return };
        match message {
            Message::AddTrack(request) => self.add_track(key, request),
            Message::Offer(description) => self.publisher_offer(key, &description),
            Message::Answer(description) => self.subscriber_answer(key, &description),
            Message::Mute(request) => self.mute_by_client(key, &request.sid, request.muted),
            Message::Subscription(request) => self.update_subscription(key, &request),
            Message::TrackSetting(settings) => self.track_settings(key, &settings),
            Message::SyncState(state) => {
                if let Some(subscription) = state.subscription {
                    self.update_subscription(key, &subscription);
                }
                self.pause_tracks(key, &state.track_sids_disabled);
                self.receive_states(now_ms, key, &state.datachannel_receive_states);
            }
            Message::UpdateMetadata(request) => self.update_metadata(key, request),
            Message::UpdateAudioTrack(request) => self.update_audio_track(key, &request),
            Message::UpdateVideoTrack(request) => self.update_video_track(key, &request),
            Message::SubscriptionPermission(request) => self.subscription_permission(key, request),
            Message::PublishDataTrackRequest(request) => self.refuse_data_track(key, request),
            Message::Leave(_) => self.remove(key, None),
            // Our candidates are in our descriptions and theirs are learned from their checks.
            Message::Trickle(_) => {}
            // Pings are answered by the socket; the rest asks for what this server does not offer.
            _ => {}
        }
        self.handle_time(now_ms);
    }

    /// Does what is due.
    pub fn handle_time(&mut self, now_ms: u64) {
        self.end_overdue(now_ms);
        self.send_qualities(now_ms);
        if now_ms >= self.token_at {
            self.token_at = now_ms + TOKEN_MS;
            for member in self.members.values() {
                if let Some(connection) = member.connection {
                    self.effects.push(Effect::Renew(connection, member.admission.clone()));
                }
            }
        }
        self.direct_players();
        self.catch_up_overdue(now_ms);
        self.tell_qualities(now_ms);
        self.send_offers(now_ms);
    }

    /// When [`Room::handle_time`] next has something to do.
    #[must_use]
    pub fn next_time(&self, now_ms: u64) -> u64 {
        let mut next = self.quality_at.min(self.token_at);
        for member in self.members.values() {
            next = next.min(member.overdue_at().unwrap_or(u64::MAX));
            next = next.min(member.data.overdue_at().unwrap_or(u64::MAX));
            let variants = member.tracks.iter().flat_map(Track::variants);
            next = variants.filter_map(|variant| variant.dynacast.next()).fold(next, u64::min);
            if member.connection.is_none() {
                continue;
            }
            match member.subscriber.next(now_ms) {
                Next::Idle => {}
                Next::At(at) => next = next.min(at),
                Next::Offer(_) => next = now_ms,
            }
        }
        next
    }

    /// What is to be done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether nobody is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The core it lives on.
    #[must_use]
    pub const fn core(&self) -> CoreId {
        self.plane.core
    }

    /// Takes one report of the core.
    pub fn handle_report(&mut self, now_ms: u64, report: Report) {
        // Messages come by the thousand, and nothing becomes due by them.
        let is_message = matches!(report, Report::Message { .. });
        self.watch(now_ms, report);
        if !is_message {
            self.handle_time(now_ms);
        }
    }

    /// How many streams are sent with less than there could be, by reason.
    #[must_use]
    pub const fn reasons(&self) -> Tally {
        self.reasons
    }

    /// The room as clients see it.
    #[must_use]
    pub fn info(&self) -> proto::Room {
        let (people, publishers) = self.count();
        messages::room(&self.sid, &self.meeting.to_string(), self.created_ms, people, publishers)
    }

    /// People and publishers.
    fn count(&self) -> (usize, usize) {
        (self.members.len(), self.members.values().filter(|m| m.is_publisher()).count())
    }

    fn command(&mut self, command: Command) {
        self.effects.push(Effect::Command(command));
    }

    fn send(&mut self, key: MemberKey, message: proto::SignalResponse) {
        if let Some(connection) = self.members.get(&key).and_then(|m| m.connection) {
            self.effects.push(Effect::Send(connection, Box::new(message)));
        }
    }

    /// Sends to everybody but `except`.
    fn broadcast(&mut self, except: Option<MemberKey>, message: &proto::SignalResponse) {
        for (key, member) in &self.members {
            if Some(*key) == except {
                continue;
            }
            if let Some(connection) = member.connection {
                self.effects.push(Effect::Send(connection, Box::new(message.clone())));
            }
        }
    }

    /// Tells everybody what a member is now.
    fn announce(&mut self, key: MemberKey) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.version += 1;
        let message = messages::update(vec![member.info()]);
        self.broadcast(None, &message);
    }

    fn say_farewell(&mut self, connection: ConnectionId, farewell: Farewell) {
        self.effects.push(Effect::Send(connection, Box::new(messages::leave(farewell))));
        self.effects.push(Effect::Close(connection, Hangup::Normal));
    }

    fn track(&self, sid: &str) -> Option<(MemberKey, &Track)> {
        self.members.iter().find_map(|(key, member)| {
            member.tracks.iter().find(|track| track.info.sid == sid).map(|track| (*key, track))
        })
    }

    fn track_by_id(&self, id: TrackId) -> Option<(MemberKey, &Track)> {
        let key = *self.tracks.get(&id)?;
        let track = self.members.get(&key)?.tracks.iter().find(|track| track.variant(id).is_some())?;
        Some((key, track))
    }
}
