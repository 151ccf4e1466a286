//! One participant of a room and its two connections to the packet plane.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dataplane::base::handoff::Fingerprint;
use dataplane::base::ids::{Mid, ParticipantId, PeerId, Ssrc, StreamId, TrackId};
use dataplane::base::media::{ExtensionMap, Format};
use dataplane::base::reason::Reason;
use dataplane::command::{Delivery, IceCredentials, Wanted};
use livekit_protocol as proto;
use proto::participant_info::State;

use super::data::MemberData;
use super::sessions::HttpSession;
use super::{ConnectionId, FAREWELL_MS, GRACE_MS};
use crate::sdp::answer::Accepted;
use crate::sdp::description::Section;
use crate::sdp::offer::OfferSection;
use crate::service::Admission;
use crate::signal::allowed::Allowed;
use crate::signal::grant::Grant;
use crate::signal::ids;
use crate::signal::negotiation::{Negotiation, Next};
use crate::signal::sections::Sections;
use crate::signal::settings::Settings;
use crate::signal::slots::Slots;
use crate::signal::track::Track;

/// A participant in one room; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey(pub(super) u64);

impl MemberKey {
    /// A key for tests of what is told apart by it.
    #[cfg(test)]
    pub(in crate::signal) const fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// Its number on the packet plane, within the meeting.
    #[must_use]
    pub const fn participant(self) -> ParticipantId {
        ParticipantId(self.0 as u32)
    }
}

/// Which of the two connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Media from the client; the client offers.
    Publisher,
    /// Media to the client; we offer.
    Subscriber,
    /// Both directions on one connection (protocol v1); the client offers.
    Both,
}

/// What a client said about itself when it connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Whether it gets every track unless it says otherwise.
    pub auto_subscribe: bool,
    /// Its client protocol version, which others are told.
    pub client_protocol: i32,
    /// Whether it has one connection for both directions (protocol v1).
    pub single: bool,
}

/// The client's side of one connection as last described.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its ICE username fragment.
    pub ufrag: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
}

/// Our end of one connection.
pub struct Peer {
    /// Its number on the packet plane.
    pub id: PeerId,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// Number of the session in descriptions.
    pub session: u64,
    /// Number of the last description.
    pub version: u64,
    /// The client's side, once described.
    pub remote: Option<Remote>,
    /// Whether media can flow.
    pub ready: bool,
}

/// What feeds a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Supply {
    /// The client has not answered yet.
    Offered,
    /// The client decodes only a backup codec, which the publisher was asked for and does not send yet.
    Waiting(TrackId),
    /// This codec of the track.
    Sent(TrackId),
}

/// What an answer took of a stream's media section.
pub struct Taken {
    /// The section.
    pub mid: Mid,
    /// Formats, ours.
    pub formats: Vec<Format>,
    /// Extension identifiers.
    pub extensions: ExtensionMap,
}

/// A track on its way to a subscriber.
pub struct Stream {
    /// Its number on the packet plane.
    pub id: StreamId,
    /// The track, by its primary's number.
    pub track: TrackId,
    /// The SSRC the client sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions, for video.
    pub rtx: Option<Ssrc>,
    /// Its place among the sections.
    pub place: usize,
    /// What feeds it.
    pub supply: Supply,
    /// What the client's answer took.
    pub taken: Option<Taken>,
    /// What the packet plane was told that is wanted.
    pub wanted: Wanted,
    /// What the packet plane said that is sent.
    pub delivery: Option<Delivery>,
}

impl Stream {
    /// The codec of the track that is sent, if one is.
    #[must_use]
    pub const fn sent(&self) -> Option<TrackId> {
        match self.supply {
            Supply::Sent(id) => Some(id),
            Supply::Offered | Supply::Waiting(_) => None,
        }
    }

    /// Why it is less than there could be.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.supply {
            Supply::Offered => None,
            Supply::Waiting(_) => Some(Reason::CodecMissing),
            Supply::Sent(_) => self.delivery.and_then(|delivery| delivery.reason),
        }
    }
}

/// The subscriber connection; with one connection for both directions, that one.
pub struct Subscriber {
    /// Our end.
    pub peer: Peer,
    /// Sections of the client's offers, if it is the one who offers.
    pub slots: Option<Slots>,
    /// When to offer.
    pub negotiation: Negotiation,
    /// Its media sections.
    pub sections: Sections,
    /// The sections of the last offer.
    pub offered: Vec<OfferSection>,
    /// Streams by track id of the protocol.
    pub streams: BTreeMap<String, Stream>,
    /// Explicit wishes by track id: true to receive.
    pub wishes: HashMap<String, bool>,
    /// Tracks of which it decodes no codec.
    pub undecodable: BTreeSet<String>,
    /// Tracks it was told that it may not have.
    pub denied: BTreeSet<String>,
    /// What the client last said about a track, by track id.
    pub settings: HashMap<String, Settings>,
}

impl Subscriber {
    /// What its negotiation has to do; nothing before the first offer of a client that offers itself.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Next {
        if self.slots.is_some() && self.peer.remote.is_none() {
            return Next::Idle;
        }
        self.negotiation.next(now_ms)
    }
}

/// How good a link was over the last interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Worst loss either way, parts per 256.
    pub loss: u8,
    /// Round-trip time, microseconds.
    pub rtt_us: u32,
}

/// What was last reported of a member's connections, each figure by the side that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latest {
    /// Loss of what it sends, parts per 256.
    pub loss_up: u8,
    /// Loss of what it is sent, parts per 256.
    pub loss_down: u8,
    /// Round-trip time, microseconds; 0 if unknown.
    pub rtt_us: u32,
    /// What its link is believed to carry to it, bits per second; 0 if unknown.
    pub estimate_bps: u32,
    /// What it is sent, bits per second.
    pub sent_bps: u32,
}

/// A participant.
pub struct Member {
    /// Participant id, new with every join.
    pub sid: String,
    /// Who it is.
    pub admission: Arc<Admission>,
    /// What its client said.
    pub client: Client,
    /// What it may do.
    pub grant: Grant,
    /// Who may receive its tracks.
    pub allowed: Allowed,
    /// Its socket; `None` while it is away.
    pub connection: Option<ConnectionId>,
    /// When its socket dropped.
    pub dropped_ms: Option<u64>,
    /// When one of its peers ended.
    pub ended_ms: Option<u64>,
    /// When its socket was accepted, and whether ready was told since.
    pub accepted_ms: u64,
    /// Whether it was told how long the join took.
    pub ready_told: bool,
    /// When it joined, milliseconds since the Unix epoch.
    pub joined_ms: i64,
    /// The protocol's state.
    pub state: State,
    /// Grows with every change that others are told.
    pub version: u32,
    /// Free text of the client.
    pub metadata: String,
    /// Shown name.
    pub name: String,
    /// Free key-value pairs of the client.
    pub attributes: HashMap<String, String>,
    /// Publisher connection, from its first offer on.
    pub publisher: Option<Peer>,
    /// Subscriber connection.
    pub subscriber: Subscriber,
    /// Announced and published tracks.
    pub tracks: Vec<Track>,
    /// Sections of its last offer that send what it has not announced.
    pub unclaimed: Vec<(Section, Accepted)>,
    /// Media last noted in the store: audio, video.
    pub media: (bool, bool),
    /// The loudness last told, by track.
    pub speaking: Option<u8>,
    /// Link figures since the last tick.
    pub link: Option<Link>,
    /// What was last reported of its connections.
    pub latest: Latest,
    /// Quality last told.
    pub quality: Option<proto::ConnectionQuality>,
    /// Its session over HTTP, if it has one instead of a socket.
    pub http: Option<HttpSession>,
    /// Its data channels.
    pub data: MemberData,
}

impl Member {
    /// Somebody who has just come and says and does nothing yet; `peer` is its subscriber connection.
    pub fn new(
        admission: Arc<Admission>,
        client: Client,
        peer: Peer,
        data: MemberData,
        (accepted_ms, joined_ms): (u64, i64),
    ) -> Self {
        Self {
            sid: ids::sid("PA_"),
            name: admission.name.clone(),
            grant: Grant::ALL,
            allowed: Allowed::default(),
            admission,
            client,
            connection: None,
            dropped_ms: None,
            ended_ms: None,
            accepted_ms,
            ready_told: false,
            joined_ms,
            state: State::Joined,
            version: 1,
            metadata: String::new(),
            attributes: HashMap::new(),
            publisher: None,
            subscriber: Subscriber {
                peer,
                slots: client.single.then(Slots::default),
                negotiation: Negotiation::default(),
                sections: Sections::default(),
                offered: Vec::new(),
                streams: BTreeMap::new(),
                wishes: HashMap::new(),
                undecodable: BTreeSet::new(),
                denied: BTreeSet::new(),
                settings: HashMap::new(),
            },
            tracks: Vec::new(),
            unclaimed: Vec::new(),
            media: (false, false),
            speaking: None,
            link: None,
            latest: Latest::default(),
            quality: None,
            http: None,
            data,
        }
    }

    /// Whether it publishes anything.
    pub fn is_publisher(&self) -> bool {
        self.tracks.iter().any(|track| track.is_published())
    }

    /// When it must be removed if nothing changes.
    pub fn overdue_at(&self) -> Option<u64> {
        let dropped = self.dropped_ms.map(|at| at + GRACE_MS);
        let ended = self.ended_ms.map(|at| at + FAREWELL_MS);
        [dropped, ended].into_iter().flatten().min()
    }

    /// Our end of the connection on which the client sends, from its first offer on.
    pub const fn upstream(&self) -> Option<&Peer> {
        if self.client.single { Some(&self.subscriber.peer) } else { self.publisher.as_ref() }
    }

    /// See [`Member::upstream`].
    pub const fn upstream_mut(&mut self) -> Option<&mut Peer> {
        if self.client.single { Some(&mut self.subscriber.peer) } else { self.publisher.as_mut() }
    }

    /// What others see.
    pub fn info(&self) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: self.sid.clone(),
            identity: self.admission.identity.clone(),
            name: self.name.clone(),
            state: self.state.into(),
            tracks: self.tracks.iter().filter(|t| t.is_published()).map(|t| t.info.clone()).collect(),
            metadata: self.metadata.clone(),
            joined_at: self.joined_ms / 1000,
            joined_at_ms: self.joined_ms,
            version: self.version,
            permission: Some(self.grant.permission()),
            is_publisher: self.is_publisher(),
            attributes: self.attributes.clone(),
            client_protocol: self.client.client_protocol,
            ..Default::default()
        }
    }
}
