//! One participant of a room: who it is, its connections, and what belongs to it.

use std::collections::HashMap;
use std::sync::Arc;

use livekit_protocol as proto;
use proto::participant_info::State;

use super::channels::MemberData;
use super::peer::Peer;
use super::people::sessions::HttpSession;
use super::streams::Subscriber;
use super::{ConnectionId, FAREWELL_MS, GRACE_MS};
use crate::sdp::answer::Accepted;
use crate::sdp::description::Section;
use crate::service::Admission;
use crate::signal::allowed::Allowed;
use crate::signal::grant::Grant;
use crate::signal::ids;
use crate::signal::track::Track;

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
            subscriber: Subscriber::new(peer, client.single),
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
