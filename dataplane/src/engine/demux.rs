//! From a datagram to the peer it is of and the part of the peer that understands it (RFC 7983).
//!
//! Cost for media: one table look-up, one SRTP open, then `room::router`.

use super::Engine;
use super::outbox::Answer;
use crate::base::counters::Stage;
use crate::base::drops::DropReason;
use crate::base::handoff::AssistRequest;
use crate::base::ids::{CoreId, parse_local_ufrag};
use crate::base::limits::{ASSIST_BYTES_MAX, EARLY_PACKETS_PER_CORE, TWCC_INTERVAL_US};
use crate::base::media::Extension;
use crate::base::net::Path;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::Report;
use crate::room::Turn;
use crate::room::pool::Slot;
use crate::session::ice::ANSWER_BYTES_MAX;
use crate::wire::demux::{Protocol, classify};
use crate::wire::ext::parse_transport_cc;
use crate::wire::rtp::RtpHeader;
use crate::wire::stun::StunMessage;

/// Which core a connection is for, by its first datagram: a binding request that names a peer of ours. Whether the peer exists and
/// the request is authentic is that core's to find out.
#[must_use]
pub fn core_of_check(bytes: &[u8]) -> Option<CoreId> {
    let message = StunMessage::parse(bytes).ok().filter(StunMessage::is_binding_request)?;
    let (ours, _) = message.ufrags()?;
    parse_local_ufrag(ours).map(|(core, _)| core)
}

impl Engine {
    pub(super) fn demux(&mut self, now: Micros, path: Path, bytes: &mut [u8]) -> Result<(), DropReason> {
        let protocol = classify(bytes);
        match protocol {
            Protocol::Stun => return self.stun(now, path, bytes),
            Protocol::Unknown => return Err(DropReason::UnknownProtocol),
            Protocol::Dtls | Protocol::Rtp | Protocol::Rtcp => {}
        }
        let Some(key) = self.peers.key_by_path(&path) else {
            return match protocol {
                Protocol::Dtls => Err(DropReason::UnknownPeer),
                _ => self.roam(now, path, protocol, bytes),
            };
        };
        match protocol {
            Protocol::Dtls => self.dtls(now, key, bytes),
            Protocol::Rtp => self.rtp(now, key, Some(&path), bytes),
            _ => self.rtcp(now, key, Some(&path), bytes),
        }
    }

    fn stun(&mut self, now: Micros, path: Path, bytes: &[u8]) -> Result<(), DropReason> {
        let message = StunMessage::parse(bytes)?;
        if !message.is_binding_request() {
            return Err(DropReason::StunUnexpected);
        }
        let (ours, _) = message.ufrags().ok_or(DropReason::StunUnknownUser)?;
        let (core, peer) = parse_local_ufrag(ours).ok_or(DropReason::StunUnknownUser)?;
        if core != self.config.core {
            return Err(DropReason::StunUnknownUser);
        }
        let key = self.peers.key_of(peer).ok_or(DropReason::StunUnknownUser)?;
        // When guesses of passwords use up their budget, only paths that proved themselves are still heard.
        if !self.stun_failures.has_token(now) && self.peers.key_by_path(&path) != Some(key) {
            return Err(DropReason::RateLimited);
        }
        let found = self.peers.get_mut(key).ok_or(DropReason::StunUnknownUser)?;
        let had_path = found.ice.path().is_some();
        let mut answer = [0; ANSWER_BYTES_MAX];
        let checked = found.ice.check(now, path, message, &mut answer).inspect_err(|reason| {
            if *reason == DropReason::StunBadIntegrity {
                self.stun_failures.take(now);
            }
        })?;
        let has_keys = found.srtp.is_some();
        if let Some(forgotten) = checked.forgotten {
            self.peers.unbind_path(key, forgotten);
        }
        if checked.learned
            && let Some(loser) = self.peers.bind_path(key, path)
            && self.peers.get(loser).is_some_and(|peer| peer.ice.path().is_none())
        {
            self.rooms.set_ready(now, loser.index(), false);
        }
        if checked.switched {
            if !had_path {
                self.reports.state(Report::PeerPath { peer });
            }
            if has_keys {
                self.rooms.set_ready(now, key.index(), true);
            }
        }
        let answer = Answer { path, bytes: answer, length: checked.answer_bytes, keeps: checked.accepted };
        if self.outbox.push_answer(answer) { Ok(()) } else { Err(DropReason::RateLimited) }
    }

    fn dtls(&mut self, now: Micros, key: Key, bytes: &[u8]) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(key).ok_or(DropReason::UnknownPeer)?;
        if bytes.len() > ASSIST_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        if !peer.dtls_rate.take(now) {
            return Err(DropReason::RateLimited);
        }
        let peer = peer.id;
        self.request_datagram(AssistRequest::Datagram { peer, bytes: bytes.into() })
    }

    /// `path` is where it came from, if that is still known.
    pub(super) fn rtp(
        &mut self,
        now: Micros,
        key: Key,
        path: Option<&Path>,
        bytes: &mut [u8],
    ) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(key).ok_or(DropReason::UnknownPeer)?;
        let Some(srtp) = &mut peer.srtp else { return self.hold(key, bytes) };
        let opened = srtp.inbound.open_rtp(bytes)?;
        if let Some(path) = path.filter(|_| opened.newest) {
            peer.ice.come_back(now, path);
        }
        let packet = bytes.get_mut(..opened.bytes).ok_or(DropReason::Truncated)?;
        let begun = (self.cycles)();
        let header = RtpHeader::parse(packet)?;
        let transport_cc = self.rooms.extensions(key.index()).and_then(|map| map.id(Extension::TransportCc));
        if let Some(id) = transport_cc
            && let Some(seq) = header.elements(packet).find(id).and_then(parse_transport_cc)
        {
            peer.arrivals.record(now, seq);
            if peer.due.arrivals == Micros::NEVER {
                peer.due.arrivals = now.after_us(TWCC_INTERVAL_US);
                self.peer_timers.arm_by(key.index(), peer.due.arrivals);
            }
        }
        let mut turn = Turn { now, counters: &mut self.counters, reports: &mut self.reports };
        self.rooms.handle_rtp(&mut turn, key.index(), header, opened.index, packet);
        self.counters.cycles[Stage::Route as usize] += (self.cycles)().wrapping_sub(begun);
        Ok(())
    }

    /// `path` is where it came from, if that is still known.
    pub(super) fn rtcp(
        &mut self,
        now: Micros,
        key: Key,
        path: Option<&Path>,
        bytes: &mut [u8],
    ) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(key).ok_or(DropReason::UnknownPeer)?;
        let Some(srtp) = &mut peer.srtp else { return self.hold(key, bytes) };
        let opened = srtp.inbound.open_rtcp(bytes)?;
        // Everybody who sends or receives media reports about it every few seconds; media itself need not be looked at for this.
        if let Some(path) = path {
            peer.ice.handle_authentic(now, path);
            if opened.newest {
                peer.ice.come_back(now, path);
            }
        }
        // After the tag was checked: forgeries must not use up what the peer may say.
        if !peer.rtcp_rate.take(now) {
            return Err(DropReason::RateLimited);
        }
        let datagram = bytes.get(..opened.bytes).ok_or(DropReason::Truncated)?;
        let mut turn = Turn { now, counters: &mut self.counters, reports: &mut self.reports };
        self.rooms.handle_rtcp(&mut turn, key.index(), datagram);
        Ok(())
    }

    /// Keeps a protected packet until the keys are there.
    fn hold(&mut self, key: Key, bytes: &[u8]) -> Result<(), DropReason> {
        if self.early_count >= EARLY_PACKETS_PER_CORE {
            return Err(DropReason::NoKeys);
        }
        let peer = self.peers.get_mut(key).ok_or(DropReason::UnknownPeer)?;
        let slot = self.rooms.pool().store(bytes).ok_or(DropReason::NoKeys)?;
        if !peer.early.push(slot) {
            self.rooms.pool().release(slot);
            return Err(DropReason::NoKeys);
        }
        self.early_count += 1;
        Ok(())
    }

    /// The keys are there: handles a packet that was held, as if it came now.
    pub(super) fn replay(&mut self, now: Micros, key: Key, slot: Slot) {
        let mut bytes = [0; crate::base::limits::SLOT_BYTES];
        let packet = self.rooms.pool().packet(slot);
        let length = packet.len();
        bytes[..length].copy_from_slice(packet);
        self.rooms.pool().release(slot);
        let packet = &mut bytes[..length];
        let handled = match classify(packet) {
            Protocol::Rtcp => self.rtcp(now, key, None, packet),
            _ => self.rtp(now, key, None, packet),
        };
        if let Err(reason) = handled {
            self.counters.drop(reason);
        }
    }
}
