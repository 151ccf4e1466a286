//! What a peer's timer does: feedback, requests, reports, and the end of a peer that went silent.

use super::Engine;
use super::peers::Srtp;
use crate::base::counters::Counters;
use crate::base::drops::DropReason;
use crate::base::limits::{
    LAYER_CHECK_US, QUALITY_INTERVAL_US, REPORT_INTERVAL_US, SPEAKERS_INTERVAL_US, TWCC_INTERVAL_US,
};
use crate::base::net::{Path, SendBuffers};
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::PeerEnd;
use crate::room::Turn;
use crate::room::rtcp_out::{CompoundSink, Compounds};

/// Seals compounds straight into send buffers.
struct Sealer<'a, B: SendBuffers> {
    srtp: &'a mut Srtp,
    path: Path,
    buffers: &'a mut B,
    refused: Option<DropReason>,
}

impl<B: SendBuffers> CompoundSink for Sealer<'_, B> {
    fn compound(&mut self, bytes: &[u8]) {
        let outbound = &mut self.srtp.outbound;
        let room = bytes.len() + outbound.rtcp_overhead_bytes();
        let refused = &mut self.refused;
        let sent = self.buffers.send(&self.path, room, |out| {
            outbound.seal_rtcp(bytes, out).unwrap_or_else(|reason| {
                *refused = Some(reason);
                0
            })
        });
        if sent.is_err() {
            self.refused = Some(DropReason::SendBuffersFull);
        }
    }
}

impl Engine {
    /// Runs every timer that is due, and peers that have something urgent.
    pub(super) fn run_timers(&mut self, now: Micros, buffers: &mut impl SendBuffers) {
        while let Some((index, ssrc)) = self.rooms.poll_retired() {
            let peer = self.peers.key_at(index).and_then(|key| self.peers.get_mut(key));
            if let Some(srtp) = peer.and_then(|peer| peer.srtp.as_mut()) {
                srtp.inbound.retire(ssrc);
            }
        }
        while let Some(index) = self.rooms.poll_urgent() {
            if let Some(key) = self.peers.key_at(index) {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.due.requests = now;
                    peer.due.share = now;
                    peer.due.layers = peer.due.layers.min(now.after_us(LAYER_CHECK_US));
                }
                self.peer_timer(now, key, buffers);
            }
        }
        while let Some(index) = self.peer_timers.pop_due(now) {
            if let Some(key) = self.peers.key_at(index) {
                self.peer_timer(now, key, buffers);
            }
        }
        while let Some(meeting) = self.rooms.poll_listening() {
            self.speaker_timers.admit(meeting);
            self.speaker_timers.arm(meeting, now.after_us(SPEAKERS_INTERVAL_US));
        }
        while let Some(meeting) = self.speaker_timers.pop_due(now) {
            let (rooms, mut turn) = self.rooms(now);
            if rooms.judge_speakers(&mut turn, meeting) {
                self.speaker_timers.arm(meeting, now.after_us(SPEAKERS_INTERVAL_US));
            }
        }
    }

    fn peer_timer(&mut self, now: Micros, key: Key, buffers: &mut impl SendBuffers) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.ends() <= now {
            let end = if peer.srtp.is_some() || peer.ice.consent_ends().is_some_and(|at| at <= now) {
                PeerEnd::ConsentExpired
            } else {
                PeerEnd::HandshakeTimeout
            };
            self.end_peer(key, end);
            return;
        }
        let index = key.index();
        let mut turn = Turn { now, counters: &mut self.counters, reports: &mut self.reports };
        let (Some(srtp), Some(path)) = (&mut peer.srtp, peer.ice.path()) else {
            // Nothing can be said yet; what became due is said when keys and path are there.
            peer.due.postpone(now);
            self.arm(key);
            return;
        };
        let mut sealer = Sealer { srtp, path, buffers, refused: None };
        let mut out = Compounds::new(&mut sealer);
        if peer.due.requests <= now {
            peer.due.requests = self.rooms.write_requests(&mut turn, index, &mut out);
        }
        if peer.due.arrivals <= now {
            self.rooms.write_arrivals(index, &mut peer.arrivals, &mut out);
            // Armed again by the next arrival.
            peer.due.arrivals =
                if peer.arrivals.has_pending() { now.after_us(TWCC_INTERVAL_US) } else { Micros::NEVER };
        }
        if peer.due.reports <= now {
            self.rooms.write_reports(&mut turn, index, &mut out);
            peer.due.reports = now.after_us(REPORT_INTERVAL_US);
            if peer.due.layers == Micros::NEVER {
                peer.due.layers = now;
            }
        }
        out.finish();
        if peer.due.layers <= now {
            let publishes = self.rooms.judge_layers(now, index);
            peer.due.layers = if publishes { now.after_us(LAYER_CHECK_US) } else { Micros::NEVER };
        }
        if peer.due.share <= now {
            peer.due.share = self.rooms.share(&mut turn, index);
        }
        if peer.due.quality <= now {
            self.rooms.report_quality(&mut turn, index);
            peer.due.quality = now.after_us(QUALITY_INTERVAL_US);
        }
        count_refusal(&mut self.counters, sealer.refused);
        self.arm(key);
    }
}

fn count_refusal(counters: &mut Counters, refused: Option<DropReason>) {
    if let Some(reason) = refused {
        counters.drop(reason);
    }
}
