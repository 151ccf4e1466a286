//! One participant of a room and its two connections to the packet plane.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dataplane::base::handoff::Fingerprint;
use dataplane::base::ids::{ParticipantId, PeerId, Ssrc, StreamId, TrackId};
use dataplane::command::{IceCredentials, Wanted};
use livekit_protocol as proto;
use proto::participant_info::State;

use super::{ConnectionId, FAREWELL_MS, GRACE_MS};
use crate::sdp::answer::Accepted;
use crate::sdp::description::Section;
use crate::sdp::offer::OfferSection;
use crate::service::Admission;
use crate::signal::negotiation::Negotiation;
use crate::signal::sections::Sections;
use crate::signal::track::Track;

/// A participant in one room; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberKey(pub(super) u64);

impl MemberKey {
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
}

/// What a client said about itself when it connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Whether it gets every track unless it says otherwise.
    pub auto_subscribe: bool,
    /// Its client protocol version, which others are told.
    pub client_protocol: i32,
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

/// A track on its way to a subscriber.
pub struct Stream {
    /// Its number on the packet plane.
    pub id: StreamId,
    /// What is sent.
    pub track: TrackId,
    /// The SSRC the client sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions, for video.
    pub rtx: Option<Ssrc>,
    /// Its place among the sections.
    pub place: usize,
    /// Whether the packet plane was told to send.
    pub sent: bool,
}

/// The subscriber connection.
pub struct Subscriber {
    /// Our end.
    pub peer: Peer,
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
    /// What was wanted of a track, if ever said.
    pub wanted: HashMap<String, Wanted>,
}

/// How good a link was over the last interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Worst loss either way, parts per 256.
    pub loss: u8,
    /// Round-trip time, microseconds.
    pub rtt_us: u32,
}

/// A participant.
pub struct Member {
    /// Participant id, new with every join.
    pub sid: String,
    /// Who it is.
    pub admission: Arc<Admission>,
    /// What its client said.
    pub client: Client,
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
    /// Quality last told.
    pub quality: Option<proto::ConnectionQuality>,
}

impl Member {
    /// Whether it publishes anything.
    pub fn is_publisher(&self) -> bool {
        self.tracks.iter().any(|track| track.published.is_some())
    }

    /// When it must be removed if nothing changes.
    pub fn overdue_at(&self) -> Option<u64> {
        let dropped = self.dropped_ms.map(|at| at + GRACE_MS);
        let ended = self.ended_ms.map(|at| at + FAREWELL_MS);
        [dropped, ended].into_iter().flatten().min()
    }

    /// What others see.
    pub fn info(&self) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: self.sid.clone(),
            identity: self.admission.identity.clone(),
            name: self.name.clone(),
            state: self.state.into(),
            tracks: self.tracks.iter().filter(|t| t.published.is_some()).map(|t| t.info.clone()).collect(),
            metadata: self.metadata.clone(),
            joined_at: self.joined_ms / 1000,
            joined_at_ms: self.joined_ms,
            version: self.version,
            permission: Some(proto::ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                can_update_metadata: true,
                ..Default::default()
            }),
            is_publisher: self.is_publisher(),
            attributes: self.attributes.clone(),
            client_protocol: self.client.client_protocol,
            ..Default::default()
        }
    }
}
