//! One receiver's link: what it is believed to carry, how fast packets leave for it, and what its streams get of it.
//!
//! Place: `release` tells it what was sent, `rtcp_in` what came back; a few times a second, and when the estimate falls or a wish
//! changes, [`Rooms::share`] divides the link anew. `flush` asks the pacer.
//! Promises: no allocation but for the first stream of a receiver; a receiver that sends no feedback of any kind is
//! limited for its first seconds alone (`UNHEARD_US`).
//! Not here: estimating (`session::bwe`), the rule of sharing (`allocate`).

use super::allocate::{Budget, Demand, Grant, allocate};
use super::queue::{Held, Item, Role};
use super::stream::Stream;
use super::track::Track;
use super::{Member, Rooms, Turn};
use crate::base::ids::Seq;
use crate::base::limits::{
    DELIVERY_INTERVAL_US, SHARE_INTERVAL_US, SHARE_US_MIN, STREAMS_PER_PEER, TEMPORAL_LAYERS_MAX,
};
use crate::base::media::{Extension, MediaKind};
use crate::base::reason::Reason;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{Delivery, Report};
use crate::session::bwe::{ClusterId, Estimator, Probe};
use crate::session::pacer::Pacer;

/// Taken off the budget for one audio stream at most: redundant stereo at its best. What calls itself audio and is more must not black
/// out everybody's pictures.
const AUDIO_BPS_MAX: u64 = 256_000;
/// How much faster than the estimate packets may leave, percent, when the link carries all that is wanted, and when it does not.
const PACING_PERCENT: (u64, u64) = (125, 110);
/// The same without transport-wide feedback: a rate that is too high shows a second later.
const PACING_PERCENT_BLIND: u64 = 103;
/// Part of the rate that repairs may take, percent: twice what a very bad radio link loses. A link that loses more is overrun, and
/// what is sent again, and lost again, keeps it so.
const REPAIR_PERCENT: u64 = 25;
/// What repairs take of the link is measured over about this time.
const REPAIRED_US: u64 = 1_000_000;
/// Part of the rate that repairs take without streams giving way, percent: the estimate is a little below what the link carries.
const REPAIRED_FREE_PERCENT: u64 = 10;
/// What is wanted is told to the estimator with this much on top, percent, so that the next rung can be climbed.
const DEMAND_PERCENT: u64 = 115;
/// Packets looked back at for padding: the largest of the newest.
const PADDING_PACKETS: u64 = 8;
/// Probes up to this rate are made of padding alone, in small packets, so that one on a slow link is not a single large packet.
const SMALL_PADDING_BPS: u64 = 3_000_000;
/// A link counts as tried this long after its first packet: two or three feedbacks and the first probes.
const TRIED_US: u64 = 1_500_000;
/// A receiver that says nothing about its link, in reports or otherwise, is limited for this long: five reports.
const UNHEARD_US: u64 = 5_000_000;
/// The estimator is not asked more often than this by a timer.
const PACE_INTERVAL_US_MIN: u64 = 5_000;

/// What is known of a receiver's link.
#[derive(Default)]
pub struct ReceiverLink {
    /// From its first stream on.
    estimator: Option<Box<Estimator>>,
    /// Whether it may be limited at all.
    limits: bool,
    /// Whether it is limited: from the start, and on if the receiver says something of any kind about its link.
    is_limited: bool,
    is_heard: bool,
    pacer: Pacer,
    /// Pacing rate outside of probes, and whether the link is nearly full at it.
    pace_bps: u64,
    is_full: bool,
    /// What may be sent again, how much was since the last sharing, and how much lately is, bits per second.
    repairs: Pacer,
    repaired_bytes: u64,
    repaired_bps: u64,
    probe: Option<ActiveProbe>,
    /// When the first packet left.
    begun: Option<Micros>,
    /// When it was last divided.
    shared: Option<Micros>,
    /// Estimate at the last sharing.
    shared_bps: u64,
    /// What its streams would take if the link carried everything, at the last sharing.
    wanted_bps: u64,
    /// What they take of it.
    granted_bps: u64,
}

struct ActiveProbe {
    probe: Probe,
    bytes_left: usize,
    packets_left: u32,
    until: Micros,
}

/// Scratch of one sharing.
#[derive(Default)]
pub struct Sharing {
    streams: Vec<Key>,
    demands: Vec<Demand>,
    grants: Vec<Grant>,
}

impl Sharing {
    /// Makes room for a receiver of that many streams.
    fn reserve(&mut self, streams: usize) {
        self.streams.reserve(streams.saturating_sub(self.streams.len()));
        self.demands.reserve(streams.saturating_sub(self.demands.len()));
        self.grants.reserve(streams.saturating_sub(self.grants.len()));
    }
}

impl ReceiverLink {
    /// A datagram of `bytes` left, with a transport-wide number or without.
    #[inline]
    pub fn handle_sent(&mut self, now: Micros, seq: Option<Seq>, bytes: usize) {
        self.begun.get_or_insert(now);
        let cluster = self.probe.as_ref().map(|active| active.probe.cluster);
        self.count_sent(now, seq, bytes, cluster);
        if let Some(active) = &mut self.probe {
            active.bytes_left = active.bytes_left.saturating_sub(bytes);
            active.packets_left = active.packets_left.saturating_sub(1);
            if active.bytes_left == 0 && active.packets_left == 0 {
                self.end_probe(now);
            }
        }
    }

    /// Begins a turn of packets as most are, and fills the pacer for it: true if packets have left before and no probe is under way.
    /// Then [`Self::usually_paced_until`] and [`Self::handle_usually_sent`] do for this turn.
    #[inline]
    pub fn begin_usual_turn(&mut self, now: Micros) -> bool {
        let is_usual = self.probe.is_none() && self.begun.is_some();
        if is_usual {
            let _ = self.pacer.is_open(now);
        }
        is_usual
    }

    /// As [`Self::paced_until`].
    #[inline]
    #[must_use]
    pub const fn usually_paced_until(&self, now: Micros) -> Option<Micros> {
        if self.pacer.is_still_open() { None } else { Some(self.pacer.opens_at(now)) }
    }

    /// As [`Self::handle_sent`].
    #[inline]
    pub fn handle_usually_sent(&mut self, now: Micros, seq: Option<Seq>, bytes: usize) {
        self.count_sent(now, seq, bytes, None);
    }

    #[inline]
    fn count_sent(&mut self, now: Micros, seq: Option<Seq>, bytes: usize, cluster: Option<ClusterId>) {
        self.pacer.take(bytes);
        match (&mut self.estimator, seq) {
            (Some(estimator), Some(seq)) => estimator.handle_sent(now, seq, bytes, cluster),
            (Some(estimator), None) => estimator.handle_sent_unnumbered(now, bytes),
            (None, _) => {}
        }
    }

    /// The estimator, once there is a stream.
    pub fn estimator(&mut self) -> Option<&mut Estimator> {
        self.estimator.as_deref_mut()
    }

    /// A link nothing is known of; `limits` tells whether it is ever to be limited.
    #[must_use]
    pub fn new(limits: bool) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The receiver said something about its link: what it is sent is limited.
    pub const fn limit(&mut self) {
        (self.is_limited, self.is_heard) = (self.limits, true);
    }

    /// Bits per second the link is believed to carry; 0 when it is not limited.
    #[must_use]
    pub fn rate_bps(&self) -> u64 {
        self.estimator.as_ref().filter(|_| self.is_limited).map_or(0, |estimator| estimator.estimate_bps())
    }

    /// Bits per second that its streams were given when the link was last divided, sound included.
    #[must_use]
    pub const fn granted_bps(&self) -> u64 {
        self.granted_bps
    }

    /// Bits per second sent lately.
    #[must_use]
    pub fn sent_bps(&self, now: Micros) -> u64 {
        self.estimator.as_ref().map_or(0, |estimator| estimator.sent_bps(now))
    }

    /// Whether the estimate has fallen so far since the last sharing that the next should come at once.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.is_limited && self.rate_bps() < self.shared_bps / 100 * 92
    }

    /// Whether the estimate is more than a guess: packets have been on their way for long enough.
    #[must_use]
    pub fn is_tried(&self, now: Micros) -> bool {
        self.begun.is_some_and(|begun| now.since_us(begun) >= TRIED_US)
    }

    /// Whether a packet of `bytes` may be sent again; then it is counted.
    pub fn take_repair(&mut self, now: Micros, bytes: usize) -> bool {
        let may = self.repairs.is_open(now);
        if may {
            self.repairs.take(bytes);
            self.repaired_bytes += bytes as u64;
        }
        may
    }

    /// What repairs lately take of the link, bits per second, at a sharing; the last one was `passed_us` ago.
    fn measure_repairs(&mut self, passed_us: u64) -> u64 {
        let passed_us = passed_us.clamp(1, REPAIRED_US);
        let bps = std::mem::take(&mut self.repaired_bytes) * 8_000_000 / passed_us;
        self.repaired_bps = (self.repaired_bps * (REPAIRED_US - passed_us) + bps * passed_us) / REPAIRED_US;
        self.repaired_bps
    }

    /// When a packet that can wait may leave, if not now.
    #[inline]
    pub fn paced_until(&mut self, now: Micros) -> Option<Micros> {
        if self.probe.as_ref().is_some_and(|active| active.until <= now) {
            self.end_probe(now);
        }
        if self.pacer.is_open(now) { None } else { Some(self.pacer.opens_at(now)) }
    }

    /// Whether a probe runs that wants more packets.
    #[must_use]
    pub const fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    fn end_probe(&mut self, now: Micros) {
        self.probe = None;
        self.set_pace(now);
    }

    fn set_pace(&mut self, now: Micros) {
        if self.is_full {
            self.pacer.set_full_rate(now, self.pace_bps);
        } else {
            self.pacer.set_rate(now, self.pace_bps);
        }
    }
}

impl Rooms {
    /// The receiver at `index` has its first stream: from now on its link is watched. Commands may allocate.
    pub(super) fn begin_link(&mut self, index: usize) {
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return };
        member.link.is_limited =
            member.link.limits && (member.link.is_limited || member.link.begun.is_none());
        let with_feedback = member
            .streams
            .last()
            .and_then(|key| self.streams.get(*key))
            .is_some_and(|stream| stream.extensions.id(Extension::TransportCc).is_some());
        if with_feedback {
            member.link.limit();
        }
        if member.link.limits && member.link.estimator.is_none() {
            member.link.estimator = Some(Box::new(Estimator::new()));
        }
        let streams = STREAMS_PER_PEER.min(member.streams.len());
        self.sharing.reserve(streams);
        self.mark_urgent(index);
    }

    /// Whether a packet that can wait may leave for the peer at `index`; else when it may.
    pub fn paced_until(&mut self, now: Micros, index: usize) -> Option<Micros> {
        self.members.get_mut(index)?.as_mut()?.link.paced_until(now)
    }

    /// Whether the TCP connection of the peer at `index`, for which something waits, is congested.
    pub fn watch_connection(&mut self, now: Micros, index: usize, congested: bool) {
        if let Some(estimator) = self.member_mut(index).and_then(|member| member.link.estimator()) {
            estimator.watch_connection(now, congested);
        }
    }

    /// Whether a probe runs towards the peer at `index`.
    #[must_use]
    pub fn is_probing(&self, index: usize) -> bool {
        self.member(index).is_some_and(|member| member.link.is_probing())
    }

    /// Whether an item is not to be sent any more: it waited longer than `patience_us`, or follows one that did. Then its stream
    /// begins anew.
    pub fn is_expired(&mut self, now: Micros, item: &Item, patience_us: u64) -> bool {
        let Some(stream) = self.streams.get(item.stream) else { return false };
        // Only a keyframe can be shown without what was dropped; once it has left, `commit` lets the rest follow.
        if stream.stale && item.role != Role::KeyStart {
            return true;
        }
        if now.since_us(item.received) <= patience_us {
            return false;
        }
        self.begin_anew(item.stream);
        true
    }

    /// A packet of the stream is not to be had any more: nothing of it is sent until a keyframe.
    pub(super) fn begin_anew(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.stale = true;
        stream.current = None;
        self.want_keyframe_for(key);
    }

    /// The next packet of a probe that media alone does not fill; `None` when none is wanted or nothing can be repeated.
    pub fn padding(&mut self, now: Micros, index: usize) -> Option<Item> {
        let member = self.members.get_mut(index)?.as_mut()?;
        if !member.link.is_probing() || !member.link.pacer.is_open(now) {
            return None;
        }
        let member = self.member(index)?;
        let is_small =
            member.link.probe.as_ref().is_some_and(|active| active.probe.rate_bps <= SMALL_PADDING_BPS);
        let repairable = member.streams.iter().filter_map(|key| Some((key, self.streams.get(*key)?)));
        let repairable = repairable.filter(|(_, stream)| stream.rtx.is_some());
        let found = repairable.clone().filter(|_| !is_small).find_map(|(key, stream)| {
            let track = self.tracks.get(stream.track).filter(|track| track.kind == MediaKind::Video)?;
            let (layer, epoch, newest) = stream.rewrite.newest()?;
            let of_layer = track.layers.get(usize::from(layer))?;
            let cache = &of_layer.video.as_ref()?.cache;
            let size = |content: &u64| Some((cache.find(*content)?.0.len(), *content));
            let known = (newest.saturating_sub(PADDING_PACKETS - 1)..=newest)
                .filter(|content| of_layer.epoch_of(*content) == epoch)
                .filter(|content| stream.rewrite.was_sent(layer, epoch, *content));
            let (_, content) = known.filter_map(|content| size(&content)).max()?;
            Some((*key, layer, content, Held::Cached))
        });
        // Else padding without content, under the retransmission stream of any stream.
        let empty = || repairable.clone().map(|(key, _)| (*key, 0, 0, Held::Nothing)).next();
        let Some((stream, layer, content, held)) = found.or_else(empty) else {
            // No retransmission stream: the probe ends with what media gave it.
            self.member_mut(index)?.link.end_probe(now);
            return None;
        };
        Some(Item { stream, content, received: now, held, layer, role: Role::Padding })
    }

    /// Divides the link of the receiver at `index` among its streams. Answers when to do so again.
    pub fn share(&mut self, turn: &mut Turn<'_>, index: usize) -> Micros {
        let now = turn.now;
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return Micros::NEVER };
        if member.streams.is_empty() {
            return Micros::NEVER;
        }
        // Every datagram of a peer can ask for it.
        let earliest = member.link.shared.map_or(now, |shared| shared.after_us(SHARE_US_MIN));
        if earliest > now {
            return earliest;
        }
        let passed_us = member.link.shared.map_or(0, |shared| now.since_us(shared));
        member.link.shared = Some(now);
        let repaired_bps = member.link.measure_repairs(passed_us);
        if !member.link.is_heard && member.link.begun.is_some_and(|begun| now.since_us(begun) >= UNHEARD_US) {
            member.link.is_limited = false;
        }
        if let Some(estimator) = member.link.estimator.as_deref_mut().filter(|_| member.link.is_limited) {
            estimator.handle_timeout(now);
        }
        let mut sharing = std::mem::take(&mut self.sharing);
        let audio_bps = self.collect(index, &mut sharing);
        let wanted_bps = sharing.demands.iter().map(Demand::cost_max).sum::<u64>() + audio_bps;
        let rate_bps = self.member(index).map_or(0, |member| member.link.rate_bps());
        let repaired_bps = repaired_bps.saturating_sub(rate_bps * REPAIRED_FREE_PERCENT / 100);
        let budget = Budget {
            bps: (rate_bps > 0).then(|| rate_bps.saturating_sub(audio_bps + repaired_bps)),
            pauses: self.member(index).is_some_and(|member| member.link.is_tried(now)),
        };
        allocate(budget, &sharing.demands, &mut sharing.grants);
        let granted = sharing.grants.iter().filter_map(|grant| grant.rung);
        let granted_bps = granted.map(|rung| u64::from(rung.bitrate_bps)).sum::<u64>() + audio_bps;
        for nth in 0..sharing.streams.len() {
            self.grant(turn, sharing.streams[nth], &sharing.demands[nth], &sharing.grants[nth]);
        }
        self.sharing = sharing;
        self.tell_audio(turn, index);
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return Micros::NEVER };
        member.link.shared_bps = rate_bps;
        member.link.wanted_bps = wanted_bps;
        member.link.granted_bps = granted_bps;
        let due = self.pace(now, index);
        now.after_us(SHARE_INTERVAL_US).min(due)
    }

    /// Fills the scratch with the video streams of a receiver; answers what its audio takes.
    fn collect(&self, index: usize, sharing: &mut Sharing) -> u64 {
        sharing.streams.clear();
        sharing.demands.clear();
        let mut audio_bps = 0;
        let Some(member) = self.member(index) else { return 0 };
        for key in &member.streams {
            let Some(stream) = self.streams.get(*key) else { continue };
            let Some(track) = self.tracks.get(stream.track) else { continue };
            if track.kind == MediaKind::Audio {
                if stream.wanted.enabled && !track.muted && self.is_heard(track, member) {
                    audio_bps += u64::from(track.audio_bps).min(AUDIO_BPS_MAX);
                }
                continue;
            }
            sharing.streams.push(*key);
            sharing.demands.push(Demand {
                content: track.content,
                wanted: stream.wanted,
                speaks: self.speaks(track),
                ladder: if track.muted { Default::default() } else { track.ladder },
                quality_count: track.quality_count(),
                current: stream.granted,
            });
        }
        sharing.grants.clear();
        sharing.grants.resize(sharing.demands.len(), Grant::default());
        audio_bps
    }

    fn is_heard(&self, track: &Track, member: &Member) -> bool {
        let Some(meeting) = self.meetings.get(track.meeting).filter(|meeting| meeting.is_crowded()) else {
            return true;
        };
        track.voice.place().is_some_and(|place| meeting.places.reaches(place, member.participant))
    }

    /// Whether the participant who publishes a track is the loudest speaker.
    fn speaks(&self, track: &Track) -> bool {
        let loudest = self.meetings.get(track.meeting).and_then(|meeting| meeting.speakers[0]);
        let loudest = loudest.and_then(|id| self.tracks.get(*self.by_track.get(&id)?));
        let participant = |track: &Track| self.member(track.member).map(|member| member.participant);
        loudest.is_some_and(|loudest| participant(loudest) == participant(track))
    }

    fn grant(&mut self, turn: &mut Turn<'_>, key: Key, demand: &Demand, grant: &Grant) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        // Nothing is known of a track that sends nothing: it begins with whatever comes.
        let unknown = demand.ladder.rungs().is_empty();
        let granted = match grant.rung {
            Some(rung) => {
                let all = demand
                    .ladder
                    .rungs()
                    .last()
                    .is_some_and(|top| (top.quality, top.temporal) == (rung.quality, rung.temporal));
                Some((
                    if all { u8::MAX } else { rung.quality },
                    temporal_limit(demand, rung.quality, rung.temporal),
                ))
            }
            None if unknown => Some((u8::MAX, u8::MAX)),
            None => None,
        };
        let was_paused = stream.granted.is_none();
        if stream.granted != granted {
            stream.granted = granted;
            stream.relimit();
        }
        if was_paused && granted.is_some() {
            self.begin_picture(turn.now, key);
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        let highest = |quality: u8| {
            let of_quality = demand.ladder.rungs().iter().filter(|rung| rung.quality == quality);
            of_quality.map(|rung| rung.temporal + 1).max().unwrap_or(0)
        };
        let (layer, temporal, bitrate_bps) =
            grant.rung.map_or((0, 0, 0), |rung| (rung.quality, rung.temporal, rung.bitrate_bps));
        let delivery = Delivery {
            paused: stream.wanted.enabled && granted.is_none(),
            layer,
            temporal,
            layer_count: demand.ladder.rungs().last().map_or(0, |top| top.quality + 1),
            temporal_count: highest(layer),
            bitrate_bps,
            reason: grant.reason,
        };
        tell(turn, stream, delivery);
    }

    /// What audio streams get: all, or nothing because others are louder.
    fn tell_audio(&mut self, turn: &mut Turn<'_>, index: usize) {
        let count = self.member(index).map_or(0, |member| member.streams.len());
        for nth in 0..count {
            let Some(member) = self.member(index) else { return };
            let key = member.streams[nth];
            let Some(stream) = self.streams.get(key) else { continue };
            let Some(track) = self.tracks.get(stream.track).filter(|track| track.kind == MediaKind::Audio)
            else {
                continue;
            };
            let heard = self.is_heard(track, member);
            let reason = match (stream.wanted.enabled, heard) {
                (false, _) => Some(Reason::ClientAskedLess),
                (true, false) => Some(Reason::Admission),
                (true, true) => None,
            };
            let delivery = Delivery {
                paused: false,
                layer: 0,
                temporal: 0,
                layer_count: 1,
                temporal_count: 1,
                bitrate_bps: if reason.is_none() { track.audio_bps } else { 0 },
                reason,
            };
            if let Some(stream) = self.streams.get_mut(key) {
                tell(turn, stream, delivery);
            }
        }
    }

    /// Sets how fast packets leave, and begins a probe if one is due. Answers when the estimator wants to be asked again.
    pub(super) fn pace(&mut self, now: Micros, index: usize) -> Micros {
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return Micros::NEVER };
        let link = &mut member.link;
        let rate_bps = link.rate_bps();
        let is_tried = link.is_tried(now);
        let Some(estimator) = link.estimator.as_deref_mut().filter(|_| link.is_limited) else {
            return Micros::NEVER;
        };
        let demand_bps = link.wanted_bps * DEMAND_PERCENT / 100;
        estimator.set_demand(demand_bps);
        link.is_full = rate_bps < demand_bps;
        let percent = match (link.is_full, estimator.has_feedback() || !is_tried) {
            (false, _) => PACING_PERCENT.0,
            (true, true) => PACING_PERCENT.1,
            (true, false) => PACING_PERCENT_BLIND,
        };
        // While the rate is a guess, what everybody gets all the same must leave.
        let floor_bps = if is_tried { 0 } else { link.granted_bps };
        link.pace_bps = rate_bps.max(floor_bps) * percent / 100;
        link.repairs.set_repair_rate(now, link.pace_bps * REPAIR_PERCENT / 100);
        if link.probe.is_none()
            && let Some(probe) = estimator.poll_probe(now)
        {
            link.probe = Some(ActiveProbe {
                probe,
                bytes_left: probe.bytes,
                packets_left: probe.packets_min,
                until: now.after_us(4 * probe.duration_us),
            });
        }
        let due = estimator.next_timeout().max(now.after_us(PACE_INTERVAL_US_MIN));
        match &link.probe {
            Some(active) => {
                link.pacer.set_even_rate(now, active.probe.rate_bps);
                self.queue.list(index);
            }
            None => link.set_pace(now),
        }
        due
    }
}

/// Tells the control plane what a stream gets, when that changed and was not told just now.
fn tell(turn: &mut Turn<'_>, stream: &mut Stream, delivery: Delivery) {
    // The rate alone is no news.
    let news = |told: &Delivery| Delivery { bitrate_bps: delivery.bitrate_bps, ..*told } != delivery;
    let due = stream.told.as_ref().is_none_or(|(told, at)| {
        news(told) && turn.now.since_us(*at) >= DELIVERY_INTERVAL_US
            || told.bitrate_bps.abs_diff(delivery.bitrate_bps) > told.bitrate_bps / 4
                && turn.now.since_us(*at) >= 4 * DELIVERY_INTERVAL_US
    });
    if due {
        stream.told = Some((delivery, turn.now));
        turn.reports.state(Report::Delivery { stream: stream.id, delivery });
    }
}

/// The highest temporal layer a grant lets through: without bound when it is the highest there is.
fn temporal_limit(demand: &Demand, quality: u8, temporal: u8) -> u8 {
    let more = demand.ladder.rungs().iter().any(|rung| rung.quality == quality && rung.temporal > temporal);
    if more { temporal } else { TEMPORAL_LAYERS_MAX as u8 }
}
