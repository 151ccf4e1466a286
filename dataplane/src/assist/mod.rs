//! Handshakes and data channels, off the packet cores.
//!
//! Place: an assist thread takes [`AssistRequest`]s off a lane, answers [`AssistReply`]s, and owns every DTLS association and
//! SCTP association of its peers. A handshake costs milliseconds; here it disturbs nobody's media.
//! Promises: sans-IO except for `thread` (time is an argument); whatever the network sends cannot end the thread: an
//! association that fails, even by a panic of the libraries below, is closed and reported, and the others go on. Keys leave
//! only after the certificate was compared with the one the signalling promised.
//! Not here: which datagrams are DTLS (`engine`), what messages mean (the control plane).

mod allowance;
mod association;
mod dcep;
mod dtls;
mod packet;
mod sctp;
mod thread;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub use dtls::{Identity, IdentityError};
pub use sctp::{Channels, Received};
pub use thread::{Stop, run};

use self::association::Association;
use crate::base::handoff::{AssistClose, AssistReply, AssistRequest, ChannelDrops};
use crate::base::ids::PeerId;
use crate::base::limits::{ASSIST_BYTES_MAX, ASSOCIATIONS_PER_ASSIST};

/// Every association one thread keeps for one core. Sans-IO: requests and time in, replies out.
pub struct Assist {
    identity: Identity,
    associations: BTreeMap<PeerId, Association>,
    /// When each association next wants to run; one entry each at most.
    timers: BTreeSet<(Instant, PeerId)>,
    replies: VecDeque<AssistReply>,
    /// Associations with data that nobody read yet. Reading waits until its reader asks: that is the peer's back-pressure.
    readable: VecDeque<PeerId>,
    drops: ChannelDrops,
    /// The longest queue that the copies of a message met whose sender is about to be told: all its receivers are here, for a meeting
    /// has one thread.
    backlog: usize,
    associations_max: usize,
}

impl Assist {
    /// No associations yet. All of them will show the same certificate.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            associations: BTreeMap::new(),
            timers: BTreeSet::new(),
            replies: VecDeque::new(),
            readable: VecDeque::new(),
            drops: ChannelDrops::default(),
            backlog: 0,
            associations_max: ASSOCIATIONS_PER_ASSIST,
        }
    }

    /// Takes one request. A request for a peer that is gone is ignored.
    pub fn handle_request(&mut self, now: Instant, request: AssistRequest) {
        match request {
            AssistRequest::Open { peer, version, .. } => {
                let full = self.associations.len() >= self.associations_max;
                match self.associations.entry(peer) {
                    Entry::Occupied(_) => {}
                    Entry::Vacant(_) if full => {
                        self.replies
                            .push_back(AssistReply::Closed { peer, reason: AssistClose::HandshakeFailed });
                    }
                    Entry::Vacant(vacant) => {
                        vacant.insert(Association::new(peer, version, &self.identity, now));
                    }
                }
            }
            AssistRequest::Expect { peer, fingerprint } => {
                self.run(peer, now, |association, now, replies| {
                    association.expect(fingerprint, now, replies)
                });
            }
            AssistRequest::Datagram { peer, bytes } => {
                if bytes.len() <= ASSIST_BYTES_MAX {
                    self.run(peer, now, |association, now, replies| {
                        association.handle_datagram(&bytes, now, replies)
                    });
                }
            }
            AssistRequest::OpenChannel { peer, label, reliable } => {
                self.run(peer, now, |association, now, replies| {
                    association.open_channel(label, reliable, now, replies)
                });
            }
            AssistRequest::SendMessage { peer, channel, bytes, answers } => {
                let mut waiting = 0;
                self.run(peer, now, |association, now, replies| {
                    waiting = association.send(channel, bytes, now, replies)?;
                    Ok(())
                });
                if answers {
                    self.backlog = self.backlog.max(waiting);
                }
            }
            AssistRequest::MessagePassed { peer, bytes, copies } => {
                let backlog = std::mem::take(&mut self.backlog);
                self.run(peer, now, |association, now, replies| {
                    association.passed((bytes, copies, backlog), now, replies)
                });
            }
            AssistRequest::Close { peer } => {
                self.run(peer, now, |association, now, replies| {
                    association.close(now, replies);
                    Ok(())
                });
                self.forget(peer);
            }
        }
    }

    /// Runs every association whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, peer)) = self.timers.first()
            && due <= now
        {
            self.run(peer, now, |association, now, replies| association.handle_timeout(now, replies));
            // A library that asks for a time that is over gets it once per turn, not in a loop.
            if let Some(association) = self.associations.get_mut(&peer)
                && let Some(again) = association.due
                && again <= now
            {
                let later = now + std::time::Duration::from_millis(1);
                self.timers.remove(&(again, peer));
                self.timers.insert((later, peer));
                association.due = Some(later);
            }
        }
    }

    /// When an association next wants to run.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    /// The next reply. Data-channel messages are read here, one at a time: who does not poll closes the senders' windows.
    pub fn poll_reply(&mut self, now: Instant) -> Option<AssistReply> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Some(reply);
            }
            let Some(peer) = self.readable.pop_front() else {
                let drops = std::mem::take(&mut self.drops);
                return (drops != ChannelDrops::default()).then_some(AssistReply::ChannelDrops(drops));
            };
            self.run(peer, now, Association::read);
        }
    }

    /// How many associations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.associations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.associations.is_empty()
    }

    /// Lets one association act, then files its timer and its unread data, or its end.
    fn run(
        &mut self,
        peer: PeerId,
        now: Instant,
        act: impl FnOnce(&mut Association, Instant, &mut VecDeque<AssistReply>) -> Result<(), AssistClose>,
    ) {
        let Some(association) = self.associations.get_mut(&peer) else { return };
        if let Some(due) = association.due {
            self.timers.remove(&(due, peer));
        }
        let replies = &mut self.replies;
        // The libraries below are not ours: a panic in one association must not take the others with it. Nothing of the
        // association is used after one, so a broken invariant in it harms nobody.
        let result = catch_unwind(AssertUnwindSafe(|| act(association, now, replies)))
            .unwrap_or(Err(AssistClose::HandshakeFailed));
        match result {
            Ok(()) => {
                association.take_drops(&mut self.drops);
                if let Some(due) = association.due {
                    self.timers.insert((due, peer));
                }
                if association.take_readable(now) {
                    self.readable.push_back(peer);
                }
            }
            Err(reason) => {
                self.associations.remove(&peer);
                self.replies.push_back(AssistReply::Closed { peer, reason });
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        if let Some(association) = self.associations.remove(&peer)
            && let Some(due) = association.due
        {
            self.timers.remove(&(due, peer));
        }
    }
}

#[cfg(test)]
mod channel_tests;
#[cfg(test)]
mod tests;
