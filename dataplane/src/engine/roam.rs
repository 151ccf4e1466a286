//! A peer whose address changed (NAT rebinding, Wi-Fi to LTE), followed on its first authenticated packet instead of its next check.
//!
//! Place: the way of a media packet from an address nobody proved. Promises: only a packet that opens under a peer's keys moves
//! that peer, never one that was seen before; what is looked at per second and per packet is bounded, so a flood of forgeries
//! costs little and only puts the honest back to waiting for their next check.
//! A peer that returns to an address it has proved is followed by `session::ice` alone, without a search.
//! The move is provisional: consent is not renewed by it, the old path stays known, and the next nominated check, from wherever,
//! decides. A captured and replayed packet can do no more here than a captured check can with ICE-lite anyway.

use super::Engine;
use crate::base::drops::DropReason;
use crate::base::ids::Ssrc;
use crate::base::limits::{ROAM_TRIES_PER_PACKET, SLOT_BYTES};
use crate::base::net::Path;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::wire::demux::Protocol;

/// Peers whose packet it may be, the likeliest first.
type Candidates = [Option<Key>; ROAM_TRIES_PER_PACKET];

impl Engine {
    /// A media packet from an unknown address: whose is it?
    pub(super) fn roam(
        &mut self,
        now: Micros,
        path: Path,
        protocol: Protocol,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        // A connection begins with a check.
        if path.is_tcp() || bytes.len() > SLOT_BYTES || !self.roams.take(now) {
            return Err(DropReason::UnknownPeer);
        }
        for key in self.known_by(path, protocol, bytes).into_iter().flatten() {
            // A failed opening leaves nothing to open again.
            let mut copy = [0; SLOT_BYTES];
            let packet = &mut copy[..bytes.len()];
            packet.copy_from_slice(bytes);
            let handled = match protocol {
                Protocol::Rtp => self.rtp(now, key, None, packet),
                _ => self.rtcp(now, key, None, packet),
            };
            if handled.is_ok() {
                self.follow(now, key, path);
                return Ok(());
            }
        }
        Err(DropReason::UnknownPeer)
    }

    /// Peers that have sent under this SSRC before; those of the same host first, for a NAT that forgot changes only the port. (Browsers
    /// that only receive all report under the same SSRC.)
    fn known_by(&self, path: Path, protocol: Protocol, bytes: &[u8]) -> Candidates {
        let mut found = [None; ROAM_TRIES_PER_PACKET];
        let at = if protocol == Protocol::Rtp { 8 } else { 4 };
        let Some(ssrc) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return found };
        let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
        let mut free = found.iter_mut();
        for same_host in [true, false] {
            let peers = self.peers.keys().filter(|key| {
                let Some(peer) = self.peers.get(*key) else { return false };
                let Some((srtp, selected)) = peer.srtp.as_ref().zip(peer.ice.path()) else { return false };
                let knows = match protocol {
                    Protocol::Rtp => srtp.inbound.knows_rtp(ssrc),
                    _ => srtp.inbound.knows_rtcp(ssrc),
                };
                knows && (selected.remote.ip() == path.remote.ip()) == same_host
            });
            for (key, place) in peers.zip(&mut free) {
                *place = Some(key);
            }
        }
        found
    }

    fn follow(&mut self, now: Micros, key: Key, path: Path) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Some(forgotten) = peer.ice.follow(now, path) {
            self.peers.unbind_path(key, forgotten);
        }
        self.peers.bind_path(key, path);
    }
}
