//! What RTCP of a peer means for its room: reports, and requests for packets and keyframes.
//!
//! Promises: an SSRC that is not the peer's (or not one we send to it) has no effect; what a peer can ask for is bounded.

use super::queue::{Class, Held, Item, Role};
use super::select::is_part;
use super::{Rooms, Turn};
use crate::base::drops::DropReason;
use crate::base::ids::{Seq, Ssrc};
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::session::bwe::ReceiverEstimate;
use crate::session::reports::round_trip_us;
use crate::wire::rtcp::twcc::TwccFeedback;
use crate::wire::rtcp::{self, ReportBlock, RtcpEvent, SenderInfo, SsrcList};

/// RTCP packet type of source descriptions.
const SDES: u8 = 202;

impl Rooms {
    /// Takes a decrypted RTCP datagram of the peer at `index`.
    pub fn handle_rtcp(&mut self, turn: &mut Turn<'_>, index: usize, datagram: &[u8]) {
        let parsed = rtcp::parse(datagram, |event| {
            if let Err(reason) = self.handle_event(turn, index, event) {
                turn.counters.drop(reason);
            }
        });
        if let Err(reason) = parsed {
            turn.counters.drop(reason);
        }
        if let Some(estimator) = self.member_mut(index).and_then(|member| member.link.estimator()) {
            estimator.judge_reports(turn.now);
            self.share_if_fallen(index);
        }
    }

    fn handle_event(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        event: RtcpEvent<'_>,
    ) -> Result<(), DropReason> {
        match event {
            RtcpEvent::SenderReport { sender, info } => self.sender_report(turn, index, sender, &info),
            RtcpEvent::ReportBlock { block, .. } => self.report_block(turn, index, &block),
            RtcpEvent::Nack { media, list, .. } => {
                let key = self.sink(index, media)?;
                for seq in list.iter() {
                    if let Err(reason) = self.resend(turn, index, key, seq) {
                        turn.counters.drop(reason);
                        if reason == DropReason::RateLimited || reason == DropReason::QueueFull {
                            break;
                        }
                    }
                }
                Ok(())
            }
            RtcpEvent::Pli { media, .. } | RtcpEvent::Fir { media, .. } => {
                let key = self.sink(index, media)?;
                self.keyframe_for(turn.now, key)
            }
            RtcpEvent::Twcc { feedback, .. } => self.transport_feedback(turn, index, feedback),
            RtcpEvent::Remb { bitrate_bps, ssrcs, .. } => {
                let estimate = self.receiver_estimate(index, bitrate_bps, ssrcs);
                if let Some(member) = self.members.get_mut(index).and_then(Option::as_mut)
                    && let Some(estimator) = member.link.estimator()
                {
                    if estimator.handle_remb(turn.now, estimate).is_err() {
                        turn.counters.feedback_refused += 1;
                        return Ok(());
                    }
                    member.link.limit();
                }
                Ok(())
            }
            // The source says goodbye; its track stays until signalling ends it.
            RtcpEvent::Bye { .. } => Ok(()),
            // Every report comes with names, which say nothing that signalling did not.
            RtcpEvent::Ignored { packet_type: SDES, .. } => Ok(()),
            RtcpEvent::Ignored { .. } => Err(DropReason::RtcpIgnored),
        }
    }

    /// A receiver's estimate and what it gets of the streams it lists; about everything if it lists none of ours.
    fn receiver_estimate(&self, index: usize, bps: u64, ssrcs: SsrcList<'_>) -> ReceiverEstimate {
        let granted_bps = self.member(index).map_or(0, |member| member.link.granted_bps());
        let listed = ssrcs.iter().filter_map(|ssrc| {
            let stream = self.streams.get(self.sink(index, ssrc).ok()?)?;
            (stream.ssrc == ssrc).then_some(stream)
        });
        let Some(first) = listed.clone().next() else {
            return ReceiverEstimate { bps, listed_bps: granted_bps, ..ReceiverEstimate::default() };
        };
        let told = listed.filter_map(|stream| stream.told.as_ref());
        let rates =
            told.map(|(delivery, _)| if delivery.paused { 0 } else { u64::from(delivery.bitrate_bps) });
        // One that is listed twice counts twice, and never for more than everything.
        let listed_bps = rates.sum::<u64>().min(granted_bps);
        ReceiverEstimate { about: Some(first.ssrc), bps, listed_bps, others_bps: granted_bps - listed_bps }
    }

    /// What arrived of what we sent, and when.
    fn transport_feedback(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        feedback: TwccFeedback<'_>,
    ) -> Result<(), DropReason> {
        let member =
            self.members.get_mut(index).and_then(Option::as_mut).ok_or(DropReason::RtcpUnknownSsrc)?;
        let Some(estimator) = member.link.estimator() else { return Err(DropReason::RtcpUnknownSsrc) };
        let outcome = estimator.handle_feedback(turn.now, feedback);
        if outcome.fault.is_some() {
            turn.counters.feedback_refused += 1;
        }
        // A probe may be due, and the pacer follows the estimate.
        self.pace(turn.now, index);
        Ok(())
    }

    /// An estimate that has fallen is acted upon in this turn.
    fn share_if_fallen(&mut self, index: usize) {
        if self.member(index).is_some_and(|member| member.link.has_fallen()) {
            self.mark_urgent(index);
        }
    }

    fn sink(&self, index: usize, ssrc: Ssrc) -> Result<Key, DropReason> {
        self.sinks.get(&(index as u32, ssrc)).copied().ok_or(DropReason::RtcpUnknownSsrc)
    }

    fn sender_report(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        sender: Ssrc,
        info: &SenderInfo,
    ) -> Result<(), DropReason> {
        let source = *self.sources.get(&(index as u32, sender)).ok_or(DropReason::RtcpUnknownSsrc)?;
        if source.repair {
            return Ok(());
        }
        if let Some(member) = self.member_mut(index) {
            member.clock.handle_sender_report(turn.now, info);
        }
        let track = self.tracks.get_mut(source.track).ok_or(DropReason::RtcpUnknownSsrc)?;
        if let Some(layer) = track.layers.get_mut(usize::from(source.layer)) {
            layer.sender_report(turn.now, info);
        }
        Ok(())
    }

    fn report_block(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        block: &ReportBlock,
    ) -> Result<(), DropReason> {
        let key = self.sink(index, block.ssrc)?;
        let is_media = self.streams.get(key).is_some_and(|stream| stream.ssrc == block.ssrc);
        let trip = round_trip_us(turn.now, self.ntp_offset_us, block);
        if let Some(trip) = trip
            && let Some(member) = self.member_mut(index)
        {
            member.rtt_us = if member.rtt_us == 0 {
                trip.max(1)
            } else {
                (7 * u64::from(member.rtt_us) / 8) as u32 + trip / 8
            };
        }
        if is_media {
            let stream = self.streams.get_mut(key).ok_or(DropReason::RtcpUnknownSsrc)?;
            let before = stream.reported_seq.replace(block.highest_seq);
            let packets = before.map_or(1, |before| block.highest_seq.wrapping_sub(before));
            let member = self.member_mut(index).ok_or(DropReason::RtcpUnknownSsrc)?;
            if let Some(estimator) = member.link.estimator() {
                estimator.handle_report(packets, block.fraction_lost, trip.unwrap_or(0));
            }
            // A receiver that has nothing better to say.
            member.link.limit();
        }
        let stream = self.streams.get_mut(key).ok_or(DropReason::RtcpUnknownSsrc)?;
        if stream.ssrc == block.ssrc {
            stream.unconfirmed = false;
            stream.loss = block.fraction_lost;
        }
        Ok(())
    }

    /// The receiver missed a packet: queue it once more if it is still cached.
    fn resend(&mut self, turn: &mut Turn<'_>, index: usize, key: Key, seq: Seq) -> Result<(), DropReason> {
        // First of all, because one datagram can ask for thousands of packets that are not there.
        let member = self.member_mut(index).ok_or(DropReason::RtcpUnknownSsrc)?;
        if !member.resends.take(turn.now) {
            return Err(DropReason::RateLimited);
        }
        let stream = self.streams.get(key).ok_or(DropReason::RtcpUnknownSsrc)?;
        let track = self.tracks.get(stream.track).ok_or(DropReason::NotCached)?;
        let (layer_index, epoch, content) = stream.rewrite.find(seq).ok_or(DropReason::NotCached)?;
        let layer = track.layers.get(usize::from(layer_index)).ok_or(DropReason::NotCached)?;
        let video = layer.video.as_ref().ok_or(DropReason::NotCached)?;
        let found = video.cache.find(content).filter(|_| layer.epoch_of(content) == epoch);
        let (packet, meta) = found.ok_or(DropReason::NotCached)?;
        // What came late and is of a layer that this receiver does not get would be half a frame to it.
        let part = stream.current.is_none_or(|running| is_part(track, running, &meta.marks));
        let role = if part || !meta.late || stream.rtx.is_none() { Role::Resend } else { Role::Vacant };
        let bytes = packet.len();
        let link = self.member_mut(index).map(|member| &mut member.link);
        if !link.is_some_and(|link| link.take_repair(turn.now, bytes)) {
            return Err(DropReason::RateLimited);
        }
        let item =
            Item { stream: key, content, received: turn.now, held: Held::Cached, layer: layer_index, role };
        self.queue.push(index, Class::Repair, item).map_err(|_| DropReason::QueueFull)
    }

    /// The receiver lost the picture: the layer that runs, or should run, needs a keyframe. A keyframe costs everybody who watches the
    /// layer, so one receiver can bring about only so many; a wish that stands already costs nothing.
    fn keyframe_for(&mut self, now: Micros, key: Key) -> Result<(), DropReason> {
        let stream = self.streams.get_mut(key).ok_or(DropReason::RtcpUnknownSsrc)?;
        let Some(layer) = stream.current.map(|current| current.layer) else {
            self.want_keyframe_for(key);
            return Ok(());
        };
        let Some(track) = self.tracks.get_mut(stream.track) else { return Ok(()) };
        let publisher = track.member;
        let Some(layer) = track.layers.get_mut(usize::from(layer)) else { return Ok(()) };
        if layer.video.is_none() || layer.wants_keyframe() {
            return Ok(());
        }
        if !stream.wishes.take(now) {
            return Err(DropReason::RateLimited);
        }
        layer.want_keyframe();
        self.mark_urgent(publisher);
        Ok(())
    }
}
