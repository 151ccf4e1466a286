//! Packets of this turn that are encrypted and have no tag yet (AES_CM_128_HMAC_SHA1_80): their tags are made together, in the lanes of
//! the SHA-1 kernel, whoever they go to.
//!
//! Place: `flush` notes them while it fills the send buffers and finishes them before the turn ends, or when there are
//! [`UNTAGGED_MAX`]. Promises: no allocation after construction; nothing leaves without its tag.

use super::peers::Peers;
use crate::base::net::{Datagram, SendBuffers};
use crate::base::slab::Key;
use kernels::{CmSha1Key, TagJob};

/// Packets waiting for tags, at most: four calls of the widest kernel, 64 x 1.2 KB that are still in the cache.
const UNTAGGED_MAX: usize = 64;

/// One packet without its tag.
struct Untagged {
    peer: Key,
    datagram: Datagram,
    index: u64,
}

impl Untagged {
    fn job<'a>(&self, peers: &'a Peers, buffers: &'a impl SendBuffers) -> Option<TagJob<'a>> {
        let srtp = peers.get(self.peer)?.srtp.as_ref()?;
        srtp.outbound.tag_job(self.index, buffers.datagram(self.datagram))
    }
}

/// See the module.
pub(super) struct Tags {
    waiting: Vec<Untagged>,
}

impl Default for Tags {
    fn default() -> Self {
        Self { waiting: Vec::with_capacity(UNTAGGED_MAX) }
    }
}

impl Tags {
    /// Notes the last datagram: it goes to `peer`, and `index` is what it was encrypted under.
    pub(super) fn note(&mut self, peers: &Peers, buffers: &mut impl SendBuffers, (peer, index): (Key, u64)) {
        let Some(datagram) = buffers.last() else { return };
        self.waiting.push(Untagged { peer, datagram, index });
        if self.waiting.len() == UNTAGGED_MAX {
            self.finish(peers, buffers);
        }
    }

    /// Makes the tags of all that wait.
    pub(super) fn finish(&mut self, peers: &Peers, buffers: &mut impl SendBuffers) {
        if self.waiting.is_empty() {
            return;
        }
        // Lanes work together as far as their packets are equally long.
        self.waiting.sort_unstable_by_key(|untagged| untagged.datagram.bytes);
        let mut tags = [[0; CmSha1Key::TAG_BYTES]; UNTAGGED_MAX];
        let jobs = self.waiting.iter().filter_map(|untagged| untagged.job(peers, buffers));
        CmSha1Key::tag_many(jobs, |nth, tag| tags[nth] = tag);
        let tagged = |untagged: &&Untagged| untagged.job(peers, buffers).is_some();
        debug_assert!(self.waiting.iter().all(|untagged| tagged(&untagged)), "peers stay for the turn");
        for (untagged, tag) in self.waiting.drain(..).zip(tags) {
            if let Some(room) = buffers.datagram_mut(untagged.datagram).last_chunk_mut() {
                *room = tag;
            }
        }
    }
}
