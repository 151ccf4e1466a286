//! From one opened packet to the queues of its receivers.
//!
//! Cost: two table look-ups, one copy, then per receiver a few comparisons and one queue entry of 56 bytes.

use super::audio::Move;
use super::order::Place;
use super::queue::{Class, Held, Item, Role};
use super::select::{Verdict, goes_on, run_start, select};
use super::svc::Marks;
use super::template::is_passed;
use super::track::{CachedMeta, Track};
use super::{Rooms, Turn};
use crate::base::drops::DropReason;
use crate::base::ids::{PayloadType, Ssrc};
use crate::base::limits::{PLACES_PER_PARTICIPANT, QUALITIES_MAX};
use crate::base::media::{Codec, Extension, MediaKind};
use crate::base::slab::{Key, Slab};
use crate::command::Report;
use crate::wire::ext::{AudioLevel, parse_label};
use crate::wire::payload::{PayloadInfo, describe};
use crate::wire::rtp::RtpHeader;

/// What an SSRC of a publisher means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its track.
    pub track: Key,
    /// Its layer.
    pub layer: u8,
    /// It carries retransmissions (RFC 4588).
    pub repair: bool,
}

impl Rooms {
    /// Takes a packet that the peer at `index` sent, opened: header || payload || padding. Retransmissions are unwrapped in place.
    /// `srtp_index` is its roll-over counter and sequence number.
    pub fn handle_rtp(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        header: RtpHeader,
        srtp_index: u64,
        packet: &mut [u8],
    ) {
        if let Err(reason) = self.route(turn, index, header, srtp_index, packet) {
            turn.counters.drop(reason);
        }
    }

    fn route(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        mut header: RtpHeader,
        srtp_index: u64,
        mut packet: &mut [u8],
    ) -> Result<(), DropReason> {
        let source = match self.sources.get(&(index as u32, header.ssrc)) {
            Some(source) => *source,
            None => self.learn(index, packet, &header)?,
        };
        if source.repair {
            packet = self.unwrap_repair(&source, packet, &header)?;
            header = RtpHeader::parse(packet)?;
        }
        let track = self.tracks.get_mut(source.track).ok_or(DropReason::UnknownSsrc)?;
        let codec = track.codec(header.pt).ok_or(DropReason::UnknownPayloadType)?;
        let kind = track.kind;
        track.is_scalable = track.layers.len() == 1 && matches!(codec, Codec::Vp9 { .. } | Codec::Av1 { .. });
        let layer = track.layers.get_mut(usize::from(source.layer)).ok_or(DropReason::UnknownSsrc)?;
        let padding_only = header.payload().is_empty();
        if !source.repair {
            layer.stats.handle_packet(turn.now, srtp_index, header.timestamp);
        }
        let mut missing = false;
        if let Some(video) = &mut layer.video {
            let before = video.gaps.missing_count();
            video.gaps.handle_packet(turn.now, header.seq);
            missing = video.gaps.missing_count() > before || video.gaps.has_given_up();
        }
        let content = match layer.order.place(header.seq, padding_only) {
            Place::At(content) => content,
            Place::Restarted(content) => {
                layer.begin_epoch(content);
                content
            }
            Place::Removed => return Err(DropReason::Padding),
            Place::TooLate => return Err(DropReason::TooLate),
        };
        let mut info = PayloadInfo::default();
        let (mut marks, mut picture) = (Marks::default(), None);
        if let Some(video) = &mut layer.video {
            if video.cache.find(content).is_some() {
                return Err(DropReason::RtxDuplicate);
            }
            let dependency = track
                .extensions
                .id(Extension::DependencyDescriptor)
                .and_then(|id| header.elements(packet).find(id));
            // A payload that cannot be read is no keyframe; whether it can be shown is for the receivers to find out.
            info = describe(codec, &packet[header.payload()], dependency).unwrap_or_default();
            marks = match &mut track.svc {
                Some(svc) if track.is_scalable => svc.read(&info, dependency),
                _ => Marks { temporal: info.temporal, starts: info.frame_start, ..Marks::default() },
            };
            picture = info.vp8.and_then(|vp8| vp8.picture_id).map(|id| layer.pictures.extend(id));
            let late = layer.newest.is_some_and(|newest| content < newest);
            let passes = header.elements(packet).any(|element| is_passed(&track.extensions, element.id));
            let meta = CachedMeta { header: Some(header), vp8: info.vp8, picture, marks, late, passes };
            video.cache.insert(content, packet, meta)?;
            if info.keyframe_start {
                video.gaps.handle_keyframe(header.seq);
                layer.keyframe_came();
                layer.keyframe_first = Some((content, turn.now));
            }
        }
        layer.last_packet = Some(turn.now);
        layer.newest = Some(layer.newest.map_or(content, |newest| newest.max(content)));
        let epoch = layer.epoch_of(content);
        let quality = if track.is_scalable { marks.spatial } else { source.layer };
        if let Some(heard) = track.heard.get_mut(usize::from(quality)) {
            *heard = Some(turn.now);
        }
        track.rates.count(turn.now, quality, marks.temporal, header.payload().len(), marks.starts);
        let newly_active = track.active.set(quality.min(QUALITIES_MAX as u8 - 1), true);
        if !track.started {
            track.started = true;
            turn.reports.state(Report::TrackStarted { track: track.id });
        }
        let meeting = track.meeting;
        let awaited = !track.arriving.is_empty();
        if kind == MediaKind::Audio && !track.muted {
            let level = track
                .extensions
                .id(Extension::AudioLevel)
                .and_then(|id| header.elements(packet).find(id))
                .and_then(AudioLevel::parse);
            track.voice.hear(turn.now, level.map(|level| level.level), header.payload().len());
            if let Some(level) = level {
                track.meter.hear(level.level);
                self.listen(meeting);
            }
            self.give_place(turn, source.track, meeting);
        }
        let arrived = Arrived {
            key: source.track,
            layer: source.layer,
            epoch,
            content,
            timestamp: header.timestamp,
            pt: header.pt,
            info,
            marks,
            picture,
        };
        if awaited {
            self.bring_arriving(&arrived);
        }
        let keyframe_needed = self.fan_out(turn, &arrived, packet)?;
        if missing || keyframe_needed || newly_active {
            self.mark_urgent(index);
        }
        Ok(())
    }

    /// Queues a reference for every stream of the track that takes the packet. Answers whether its layer should send a keyframe.
    fn fan_out(&mut self, turn: &mut Turn<'_>, arrived: &Arrived, packet: &[u8]) -> Result<bool, DropReason> {
        let Some(track) = self.tracks.get_mut(arrived.key) else { return Ok(false) };
        if track.muted || track.streams.is_empty() {
            return Err(DropReason::NoSubscriber);
        }
        let (mut place, class) =
            (None, if track.kind == MediaKind::Video { Class::Video } else { Class::Audio });
        if track.kind == MediaKind::Audio
            && let Some(meeting) = self.meetings.get(track.meeting).filter(|meeting| meeting.is_crowded())
        {
            let Some(held) = track.voice.place() else { return Err(DropReason::NotAmongSpeakers) };
            place = Some((held, &meeting.places));
        }
        let mut held = (track.kind == MediaKind::Video).then_some(Held::Cached);
        let mut pooled = None;
        let mut keyframe_needed = false;
        let may_go_on = class == Class::Video && !track.is_scalable && track.active.count() > 0;
        for &key in &track.streams {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if may_go_on
                && goes_on(stream, arrived)
                && self.queue.extend(stream.member, key, arrived.layer, arrived.content, turn.now)
            {
                stream.note_queued_behind(arrived.content);
                continue;
            }
            let Some(member) = self.members.get(stream.member).and_then(Option::as_ref).filter(|m| m.ready)
            else {
                turn.counters.drop(DropReason::NoPath);
                continue;
            };
            if place.is_some_and(|(place, places)| !places.reaches(place, member.participant)) {
                stream.current = None;
                turn.counters.drop(DropReason::NotAmongSpeakers);
                continue;
            }
            if stream.template.format(arrived.pt).is_none() {
                // Neither this packet nor a keyframe of its codec would help.
                turn.counters.drop(DropReason::CodecNotNegotiated);
                continue;
            }
            let before = stream.current;
            let selected = select(track, stream, arrived);
            keyframe_needed |= selected.keyframe_needed;
            let role = match selected.verdict {
                Verdict::Forward => Role::Media,
                Verdict::Begin if !stream.may_begin(arrived.layer, arrived.epoch, arrived.content) => {
                    stream.current = None;
                    turn.counters.drop(DropReason::TooLate);
                    continue;
                }
                Verdict::Begin if arrived.info.keyframe_start => Role::KeyStart,
                Verdict::Begin => Role::RunStart,
                Verdict::LeaveOut => {
                    stream.rewrite.skip(arrived.layer, arrived.epoch, arrived.content, arrived.picture);
                    turn.counters.drop(DropReason::LayerNotSelected);
                    continue;
                }
                Verdict::NotSelected => {
                    let waits = selected.keyframe_needed && before.is_none();
                    let reason =
                        if waits { DropReason::WaitingForKeyframe } else { DropReason::LayerNotSelected };
                    turn.counters.drop(reason);
                    continue;
                }
                Verdict::Paused => {
                    turn.counters.drop(DropReason::NoSubscriber);
                    continue;
                }
            };
            let held = match held {
                Some(held) => held,
                None => {
                    let Some(slot) = self.pool.store(packet) else { return Err(DropReason::QueueFull) };
                    pooled = Some(slot);
                    *held.insert(Held::Pooled(slot))
                }
            };
            let item = Item {
                stream: key,
                content: arrived.content,
                received: turn.now,
                held,
                layer: arrived.layer,
                role,
            };
            if self.queue.push(stream.member, class, item).is_err() {
                turn.counters.drop(DropReason::QueueFull);
                // Nothing has begun.
                if role.starts_run() {
                    stream.current = None;
                }
                continue;
            }
            stream.note_queued(arrived.layer, arrived.epoch, arrived.content);
            if role.starts_run() {
                stream.rewrite.begin(run_start(track, stream, arrived));
            }
            if let Some(slot) = pooled {
                self.pool.retain(slot);
            }
        }
        // The reference that storing gave.
        if let Some(slot) = pooled {
            self.pool.release(slot);
        }
        let needed = keyframe_needed
            && track.layers.get_mut(usize::from(arrived.layer)).is_some_and(|layer| layer.want_keyframe());
        Ok(needed)
    }

    /// Finds out what a new SSRC is by mid, rid and payload type (RFC 8843 section 9.2, RFC 8853 section 5.6), and remembers it.
    fn learn(&mut self, index: usize, packet: &[u8], header: &RtpHeader) -> Result<Source, DropReason> {
        let member = self.member(index).ok_or(DropReason::UnknownSsrc)?;
        let label = |extension| {
            let id = member.extensions.id(extension)?;
            header.elements(packet).find(id).and_then(parse_label)
        };
        let mid = label(Extension::Mid);
        let (rid, repaired) = (label(Extension::Rid), label(Extension::RepairedRid));
        let mut fitting = member.tracks.iter().filter_map(|key| Some((*key, self.tracks.get(*key)?))).filter(
            |(_, track)| match mid {
                Some(mid) => track.mid == mid,
                None => track.has_payload_type(header.pt),
            },
        );
        let (key, track) = fitting.next().ok_or(DropReason::UnknownSsrc)?;
        if mid.is_none() && fitting.next().is_some() {
            return Err(DropReason::UnknownSsrc);
        }
        let repair = repaired.is_some() || track.repaired(header.pt).is_some();
        let layer = match repaired.or(rid) {
            Some(rid) => track.layer_of(rid),
            None => (track.layers.len() == 1).then_some(0),
        };
        let layer = layer.ok_or(DropReason::UnknownSsrc)?;
        let paired = track.repairs.iter().find(|(media, _)| *media == header.ssrc).map(|(_, rtx)| *rtx);
        if !self.bind_source(index, key, layer, header.ssrc, repair) {
            return Err(DropReason::TooManySsrcs);
        }
        if let Some(rtx) = paired {
            self.bind_source(index, key, layer, rtx, true);
        }
        Ok(Source { track: key, layer, repair })
    }

    /// Turns a retransmission into the packet it repeats, in place (RFC 4588 section 4).
    fn unwrap_repair<'p>(
        &self,
        source: &Source,
        packet: &'p mut [u8],
        header: &RtpHeader,
    ) -> Result<&'p mut [u8], DropReason> {
        let track = self.tracks.get(source.track).ok_or(DropReason::UnknownSsrc)?;
        let layer = track.layers.get(usize::from(source.layer)).ok_or(DropReason::UnknownSsrc)?;
        let pt = track.repaired(header.pt).ok_or(DropReason::UnknownPayloadType)?;
        let media = layer.ssrc.ok_or(DropReason::UnknownSsrc)?;
        // Audio has no cache that would tell repeated packets from new ones; nobody negotiates it.
        if layer.video.is_none() {
            return Err(DropReason::RtxDuplicate);
        }
        let start = header.header_bytes();
        let payload = packet.get(header.payload()).unwrap_or(&[]);
        let &[high, low, _, ..] = payload else { return Err(DropReason::Padding) };
        packet.copy_within(..start, 2);
        let unwrapped = packet.get_mut(2..).ok_or(DropReason::Truncated)?;
        unwrapped[1] = unwrapped[1] & 0x80 | pt.0;
        unwrapped[2..4].copy_from_slice(&[high, low]);
        unwrapped[8..12].copy_from_slice(&media.0.to_be_bytes());
        Ok(unwrapped)
    }

    /// A voice takes the place of another in a meeting that has too many.
    fn give_place(&mut self, turn: &mut Turn<'_>, key: Key, meeting: Key) {
        let Some(meeting) = self.meetings.get_mut(meeting).filter(|meeting| meeting.is_crowded()) else {
            return;
        };
        let Some(track) = self.tracks.get(key) else { return };
        let participant = |tracks: &Slab<Track>, key: Key| {
            let member = tracks.get(key)?.member;
            self.members.get(member)?.as_ref().map(|member| member.participant)
        };
        let before = track.voice.place();
        let Some(own) = participant(&self.tracks, key) else { return };
        // Levels are what the publisher says: however many tracks claim to be loud, others keep being heard.
        if before.is_none() && meeting.places.held_by(own) >= PLACES_PER_PARTICIPANT {
            return;
        }
        let moved = meeting.places.judge(turn.now, &track.voice, |key| Some(self.tracks.get(key)?.voice));
        let (taken, other) = match moved {
            Move::Stay => return,
            Move::Take(place) => (place, None),
            Move::Swap(place) => (place, meeting.places.holder(place)),
        };
        let other_holder = other.and_then(|other| Some((other, participant(&self.tracks, other)?)));
        if let Some(before) = before {
            meeting.places.set(before, other_holder);
        }
        meeting.places.set(taken, Some((key, own)));
        if let Some(other) = other.and_then(|other| self.tracks.get_mut(other)) {
            other.voice.set_place(before);
        }
        if let Some(track) = self.tracks.get_mut(key) {
            track.voice.set_place(Some(taken));
        }
    }

    /// The meeting hears a voice: its speakers are judged after an interval.
    fn listen(&mut self, meeting: Key) {
        if let Some(found) = self.meetings.get_mut(meeting)
            && !std::mem::replace(&mut found.listening, true)
        {
            self.listening.push(meeting.index());
        }
    }

    /// The SSRC of a source, for tests and feedback.
    #[must_use]
    pub fn source(&self, index: usize, ssrc: Ssrc) -> Option<Source> {
        self.sources.get(&(index as u32, ssrc)).copied()
    }
}

/// A packet that found its place.
pub struct Arrived {
    /// Its track.
    pub key: Key,
    /// Layer of its track (its SSRC).
    pub layer: u8,
    /// Epoch of the layer.
    pub epoch: u32,
    /// Content number in the layer.
    pub content: u64,
    /// RTP timestamp of the publisher.
    pub timestamp: u32,
    /// Payload type of the publisher.
    pub pt: PayloadType,
    /// What its payload says.
    pub info: PayloadInfo,
    /// Its place among decode targets, or its temporal layer.
    pub marks: Marks,
    /// Extended VP8 picture id.
    pub picture: Option<u64>,
}
