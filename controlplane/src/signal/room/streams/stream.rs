//! A track on its way to a participant, and all that a participant receives.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dataplane::base::ids::{Mid, Ssrc, StreamId, TrackId};
use dataplane::base::media::{ExtensionMap, Format};
use dataplane::base::reason::Reason;
use dataplane::command::{Delivery, Wanted};

use crate::sdp::offer::OfferSection;
use crate::signal::negotiation::{Negotiation, Next};
use crate::signal::room::peer::Peer;
use crate::signal::sections::Sections;
use crate::signal::settings::Settings;
use crate::signal::slots::Slots;

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
    /// Nothing received yet; `single` for a client that offers itself.
    pub fn new(peer: Peer, single: bool) -> Self {
        Self {
            peer,
            slots: single.then(Slots::default),
            negotiation: Negotiation::default(),
            sections: Sections::default(),
            offered: Vec::new(),
            streams: BTreeMap::new(),
            wishes: HashMap::new(),
            undecodable: BTreeSet::new(),
            denied: BTreeSet::new(),
            settings: HashMap::new(),
        }
    }

    /// What its negotiation has to do; nothing before the first offer of a client that offers itself.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Next {
        if self.slots.is_some() && self.peer.remote.is_none() {
            return Next::Idle;
        }
        self.negotiation.next(now_ms)
    }
}
