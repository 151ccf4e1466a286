//! Peers of a core: found by number (commands, ICE usernames) and by path (every other datagram).
//!
//! Promises: a path is in the table only after an authenticated STUN check came from it; the latest peer that proves a path has it.

use std::collections::VecDeque;

use crate::base::ids::PeerId;
use crate::base::limits::{
    CONSENT_US, DTLS_PER_SECOND, EARLY_PACKETS_PER_PEER, HANDSHAKE_US, LAYER_CHECK_US, PATHS_PER_PEER,
    PEERS_PER_CORE, QUALITY_INTERVAL_US, REPORT_INTERVAL_US, RTCP_PER_SECOND, SHARE_INTERVAL_US,
};
use crate::base::net::Path;
use crate::base::rate::RateLimit;
use crate::base::slab::{Key, Slab};
use crate::base::table::{SeededState, Table};
use crate::base::time::Micros;
use crate::room::pool::Slot;
use crate::session::ice::Ice;
use crate::session::srtp::{Inbound, Outbound};
use crate::session::twcc::TwccRecorder;

/// Room for paths that a turn gives up: checks give up one each. When many peers end at once it grows, to four for each of them.
const RELEASED_AT_FIRST: usize = 64;

/// One association.
pub struct Peer {
    /// Its number.
    pub id: PeerId,
    /// Paths.
    pub ice: Ice,
    /// Keys, once the handshake is done.
    pub srtp: Option<Box<Srtp>>,
    /// Packets that came before the keys.
    pub early: Early,
    /// Arrivals for transport-wide feedback.
    pub arrivals: TwccRecorder,
    /// Bounds handshake and data-channel datagrams.
    pub dtls_rate: RateLimit,
    /// Bounds RTCP datagrams.
    pub rtcp_rate: RateLimit,
    /// Its deadlines.
    pub due: Due,
    opened: Micros,
}

/// Contexts of both directions.
pub struct Srtp {
    /// Opens what the peer sends.
    pub inbound: Inbound,
    /// Seals what we send.
    pub outbound: Outbound,
}

/// Packets held until keys arrive, oldest first; each owns one pool reference.
#[derive(Default)]
pub struct Early {
    slots: Vec<Slot>,
}

impl Early {
    /// Holds a packet; false when there are too many.
    pub fn push(&mut self, slot: Slot) -> bool {
        let room = self.slots.len() < EARLY_PACKETS_PER_PEER;
        if room {
            self.slots.push(slot);
        }
        room
    }

    /// Takes all of them.
    pub fn take(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.slots)
    }
}

/// When the parts of a peer's upkeep are due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Transport-wide feedback.
    pub arrivals: Micros,
    /// NACKs and keyframe requests.
    pub requests: Micros,
    /// Sender and receiver reports.
    pub reports: Micros,
    /// Quality report to the control plane.
    pub quality: Micros,
    /// Looking for silent layers and measuring all of them.
    pub layers: Micros,
    /// Dividing its link among its streams.
    pub share: Micros,
}

impl Due {
    const NOTHING: Self = Self {
        arrivals: Micros::NEVER,
        requests: Micros::NEVER,
        reports: Micros::NEVER,
        quality: Micros::NEVER,
        layers: Micros::NEVER,
        share: Micros::NEVER,
    };

    /// What is due cannot be done: requests and arrivals come up again by themselves, the rest after its interval. None is in the
    /// past afterwards, or the timer would fire again within the turn.
    pub fn postpone(&mut self, now: Micros) {
        let later = |due: &mut Micros, at: Micros| {
            if *due <= now {
                *due = at;
            }
        };
        later(&mut self.requests, Micros::NEVER);
        later(&mut self.arrivals, Micros::NEVER);
        later(&mut self.reports, now.after_us(REPORT_INTERVAL_US));
        later(&mut self.quality, now.after_us(QUALITY_INTERVAL_US));
        later(&mut self.layers, now.after_us(LAYER_CHECK_US));
        later(&mut self.share, now.after_us(SHARE_INTERVAL_US));
    }

    /// The first of them.
    pub fn first(&self) -> Micros {
        self.arrivals.min(self.requests).min(self.reports).min(self.quality).min(self.layers).min(self.share)
    }
}

impl Peer {
    /// A peer without path and keys.
    pub fn new(now: Micros, id: PeerId, ice: Ice) -> Self {
        Self {
            id,
            ice,
            srtp: None,
            early: Early::default(),
            arrivals: TwccRecorder::new(),
            dtls_rate: RateLimit::new(DTLS_PER_SECOND, DTLS_PER_SECOND / 4),
            rtcp_rate: RateLimit::new(RTCP_PER_SECOND, RTCP_PER_SECOND / 4),
            due: Due::NOTHING,
            opened: now,
        }
    }

    /// When it ends unless something happens before: a handshake that does not finish, or consent.
    pub fn ends(&self) -> Micros {
        let handshake = if self.srtp.is_some() { Micros::NEVER } else { self.opened.after_us(HANDSHAKE_US) };
        // Keys without a check cannot be: DTLS needs a path. The bound holds all the same.
        let consent = self.ice.consent_ends().unwrap_or(self.opened.after_us(CONSENT_US.max(HANDSHAKE_US)));
        handshake.min(consent)
    }
}

/// All peers.
pub struct Peers {
    slab: Slab<Peer>,
    by_id: Table<PeerId, Key>,
    by_path: Table<Path, Key>,
    /// TCP paths that were given up since they were last asked for.
    released: VecDeque<Path>,
}

impl Peers {
    /// No peers.
    pub fn new(seed: u64) -> Self {
        let state = SeededState::new(seed);
        Self {
            slab: Slab::new(PEERS_PER_CORE),
            by_id: Table::with_hasher(state),
            by_path: Table::with_hasher(state),
            released: VecDeque::with_capacity(RELEASED_AT_FIRST),
        }
    }

    /// Adds a peer; `None` when its number is taken or the table is full.
    pub fn insert(&mut self, peer: Peer) -> Option<Key> {
        let id = peer.id;
        if self.by_id.contains_key(&id) {
            return None;
        }
        let key = self.slab.insert(peer).ok()?;
        self.by_id.insert(id, key);
        // So that learning paths does not allocate: four per peer at most.
        self.by_path.reserve(PATHS_PER_PEER);
        Some(key)
    }

    /// Takes a peer out, with its paths.
    pub fn remove(&mut self, key: Key) -> Option<Peer> {
        let peer = self.slab.remove(key)?;
        self.by_id.remove(&peer.id);
        for path in peer.ice.paths() {
            self.unbind_path(key, path);
        }
        Some(peer)
    }

    /// The peer has proved a path; another that had it before loses it. Answers the loser.
    pub fn bind_path(&mut self, key: Key, path: Path) -> Option<Key> {
        let before = self.by_path.insert(path, key).filter(|before| *before != key)?;
        self.slab.get_mut(before)?.ice.forget(path);
        Some(before)
    }

    /// A path of a peer is given up.
    pub fn unbind_path(&mut self, key: Key, path: Path) {
        if self.by_path.get(&path) == Some(&key) {
            self.by_path.remove(&path);
            if path.is_tcp() {
                self.released.push_back(path);
            }
        }
    }

    /// The next TCP path that nobody has any more.
    pub fn poll_released(&mut self) -> Option<Path> {
        while let Some(path) = self.released.pop_front() {
            if !self.by_path.contains_key(&path) {
                return Some(path);
            }
        }
        None
    }

    /// By number.
    pub fn key_of(&self, id: PeerId) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// By path.
    pub fn key_by_path(&self, path: &Path) -> Option<Key> {
        self.by_path.get(path).copied()
    }

    /// The peer.
    pub fn get(&self, key: Key) -> Option<&Peer> {
        self.slab.get(key)
    }

    /// The peer.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Peer> {
        self.slab.get_mut(key)
    }

    /// Key of the peer at a table index.
    pub fn key_at(&self, index: usize) -> Option<Key> {
        self.slab.key_at(index)
    }

    /// All keys, by index.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slab.keys()
    }

    /// Peers, and known paths.
    pub fn sizes(&self) -> (usize, usize) {
        (self.slab.count(), self.by_path.len())
    }
}
