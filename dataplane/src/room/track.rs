//! A published track and its layers: what came in, what is remembered of it, and what its publisher should be asked for.

use super::audio::Voice;
use super::ladder::{Ladder, Rates};
use super::layers::ActiveLayers;
use super::order::Order;
use super::speaker::Meter;
use super::svc::{Marks, Svc};
use crate::base::ids::{Mid, PayloadType, Rid, Ssrc, TrackId};
use crate::base::limits::{KEYFRAME_INTERVAL_US, LAYER_SILENT_US, QUALITIES_MAX};
use crate::base::media::{Codec, Content, ExtensionMap, Format, MediaKind};
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::session::nack::NackTracker;
use crate::session::reports::ReceptionStats;
use crate::session::rtx_cache::RtxCache;
use crate::wire::rtcp::SenderInfo;
use crate::wire::rtp::RtpHeader;
use crate::wire::vp8::{PictureId, Vp8Descriptor};

/// A track of a publisher.
pub struct Track {
    /// Its number.
    pub id: TrackId,
    /// Table index of the peer that sends it.
    pub member: usize,
    /// Its meeting.
    pub meeting: Key,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its media section.
    pub mid: Mid,
    /// Negotiated formats.
    pub formats: Vec<Format>,
    /// Negotiated extensions.
    pub extensions: ExtensionMap,
    /// Layer names from lowest to highest; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Media SSRCs that the SDP named with their retransmission SSRCs (FID), for layers that are learned by rid.
    pub repairs: Vec<(Ssrc, Ssrc)>,
    /// One at least; lowest first.
    pub layers: Vec<Layer>,
    /// Layers that send.
    pub active: ActiveLayers,
    /// Who gets it.
    pub streams: Vec<Key>,
    /// Streams of other tracks that come to this one with its next keyframe.
    pub arriving: Vec<Key>,
    /// Muted at the server.
    pub muted: bool,
    /// A packet came.
    pub started: bool,
    /// What it shows, of a video track.
    pub content: Content,
    /// Decode targets, of a track that has a codec that can be scalable.
    pub svc: Option<Box<Svc>>,
    /// Such a codec is being sent, in one stream: qualities are its spatial layers.
    pub is_scalable: bool,
    /// When each spatial layer of an SVC stream last sent.
    pub heard: [Option<Micros>; QUALITIES_MAX],
    /// What was counted of each quality.
    pub rates: Rates,
    /// What it offers; built anew a few times a second.
    pub ladder: Ladder,
    /// Loudness, of an audio track: who is told to be speaking.
    pub meter: Meter,
    /// Loudness, of an audio track: whether it is forwarded.
    pub voice: Voice,
    /// Bits per second, of an audio track.
    pub audio_bps: u32,
}

/// One layer: one SSRC with its retransmission SSRC.
pub struct Layer {
    /// Media SSRC, once signalled or learned.
    pub ssrc: Option<Ssrc>,
    /// Retransmission SSRC, once signalled or learned.
    pub rtx: Option<Ssrc>,
    /// Content numbers.
    pub order: Order,
    /// Statistics for receiver reports.
    pub stats: ReceptionStats,
    /// What only video has: repair and the packets themselves.
    pub video: Option<Video>,
    /// The publisher's last sender report.
    pub clock: Option<SenderInfo>,
    /// Arrival of the last packet.
    pub last_packet: Option<Micros>,
    /// Extended picture ids (VP8).
    pub pictures: PictureIds,
    /// Highest content number so far.
    pub newest: Option<u64>,
    /// Where the last keyframe began, and when.
    pub keyframe_first: Option<(u64, Micros)>,
    /// How often the sequence began anew, and the first content number of the latest beginning.
    epoch: (u32, u64),
    keyframe: KeyframeWish,
}

/// Repair of a video layer.
pub struct Video {
    /// Missing packets.
    pub gaps: NackTracker,
    /// Packets for fan-out and retransmission, by content number.
    pub cache: RtxCache<CachedMeta>,
}

/// What is known of a cached packet without reading it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CachedMeta {
    /// Its header; always there.
    pub header: Option<RtpHeader>,
    /// Its VP8 descriptor.
    pub vp8: Option<Vp8Descriptor>,
    /// Its VP8 picture id, extended.
    pub picture: Option<u64>,
    /// Its place among decode targets, or its temporal layer.
    pub marks: Marks,
    /// It came behind packets that follow it.
    pub late: bool,
    /// It has an extension that receivers may be passed.
    pub passes: bool,
}

/// Picture ids without wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PictureIds {
    highest: Option<u64>,
}

impl PictureIds {
    /// The number of a picture: equal to its id modulo 2^15 (2^7 when it is short), nearest to the highest before.
    pub fn extend(&mut self, id: PictureId) -> u64 {
        let circle = if id.wide { 0x8000 } else { 0x80 };
        let value = u64::from(id.value);
        let Some(highest) = self.highest else {
            // One round up, so that an earlier one has a number.
            let first = 0x8000 + value;
            self.highest = Some(first);
            return first;
        };
        let ahead = value.wrapping_sub(highest) & (circle - 1);
        if ahead < circle / 2 {
            self.highest = Some(highest + ahead);
            highest + ahead
        } else {
            highest.saturating_sub(circle - ahead)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct KeyframeWish {
    wanted: bool,
    asked: Option<Micros>,
}

/// Ticks per second of a kind's RTP clock.
#[must_use]
pub const fn clock_hz(kind: MediaKind) -> u32 {
    match kind {
        MediaKind::Audio => 48_000,
        MediaKind::Video => 90_000,
    }
}

impl Track {
    /// The format of a media payload type.
    #[must_use]
    pub fn format(&self, pt: PayloadType) -> Option<&Format> {
        self.formats.iter().find(|format| format.pt == pt.0)
    }

    /// Codec of a media payload type.
    #[must_use]
    pub fn codec(&self, pt: PayloadType) -> Option<Codec> {
        self.format(pt).map(|format| format.codec)
    }

    /// The media payload type that a retransmission payload type stands for.
    #[must_use]
    pub fn repaired(&self, pt: PayloadType) -> Option<PayloadType> {
        self.formats.iter().find(|format| format.rtx_pt == Some(pt.0)).map(|format| PayloadType(format.pt))
    }

    /// Whether `pt` is one of its payload types, retransmission included.
    #[must_use]
    pub fn has_payload_type(&self, pt: PayloadType) -> bool {
        self.formats.iter().any(|format| format.pt == pt.0 || format.rtx_pt == Some(pt.0))
    }

    /// Index of the layer called `rid`.
    #[must_use]
    pub fn layer_of(&self, rid: Rid) -> Option<u8> {
        self.rids.iter().position(|known| *known == rid).map(|index| index as u8)
    }

    /// Decode targets, when qualities are spatial layers of one stream.
    #[must_use]
    pub fn scalable(&self) -> Option<&Svc> {
        self.svc.as_deref().filter(|_| self.is_scalable)
    }

    /// Qualities its publisher could send, whether it does or not.
    #[must_use]
    pub fn quality_count(&self) -> u8 {
        match self.scalable() {
            Some(svc) => svc.announced().map_or_else(|| self.active.count(), |(_, count)| count),
            None => self.layers.len() as u8,
        }
    }

    /// Ends an interval of rates and builds the ladder anew.
    pub fn measure(&mut self, now: Micros) {
        self.rates.close(now);
        if self.kind == MediaKind::Audio {
            let all = self.rates.ladder(|quality| quality == 0, |_, _| false);
            self.audio_bps = all.rungs().last().map_or(0, |rung| rung.bitrate_bps);
            return;
        }
        let svc = self.svc.as_deref().filter(|_| self.is_scalable);
        let active = self.active;
        self.ladder = self.rates.ladder(
            |quality| active.contains(quality),
            |top, lower| svc.is_some_and(|svc| svc.is_made_of(top, lower)),
        );
    }

    /// Notes which layers send. A layer is silent when others went on without it; a track that pauses as a whole keeps its layers.
    pub fn judge_layers(&mut self) {
        if let Some(svc) = self.svc.as_deref().filter(|_| self.is_scalable) {
            let Some(newest) = self.heard.iter().flatten().max().copied() else { return };
            let announced = svc.announced().map_or(u8::MAX, |(sent, _)| sent);
            for (index, heard) in self.heard.iter().enumerate() {
                let sends = heard.is_some_and(|at| newest.since_us(at) <= LAYER_SILENT_US);
                self.active.set(index as u8, sends && announced >> index & 1 != 0);
            }
            return;
        }
        let Some(newest) = self.layers.iter().filter_map(|layer| layer.last_packet).max() else { return };
        for (index, layer) in self.layers.iter().enumerate() {
            let sends = layer.last_packet.is_some_and(|at| newest.since_us(at) <= LAYER_SILENT_US);
            self.active.set(index as u8, sends);
        }
    }

    /// What a timestamp of layer `new` would read on the clock of layer `old`, if both told their clocks.
    #[must_use]
    pub fn aligned(&self, old: u8, new: u8, timestamp: u32) -> Option<u32> {
        let clock = |index: u8| self.layers.get(usize::from(index))?.clock;
        let (old, new) = (clock(old)?, clock(new)?);
        let apart = i128::from(new.ntp.wrapping_sub(old.ntp) as i64);
        let ticks = (apart * i128::from(clock_hz(self.kind))) >> 32;
        let since = timestamp.wrapping_sub(new.rtp_timestamp);
        Some(old.rtp_timestamp.wrapping_add(ticks as u32).wrapping_add(since))
    }
}

impl Layer {
    /// A layer that has not sent yet. Video gets its cache now, because commands may allocate and packets may not.
    #[must_use]
    pub fn new(kind: MediaKind) -> Self {
        Self {
            ssrc: None,
            rtx: None,
            order: Order::default(),
            stats: ReceptionStats::new(clock_hz(kind)),
            video: (kind == MediaKind::Video)
                .then(|| Video { gaps: NackTracker::new(), cache: RtxCache::new() }),
            clock: None,
            last_packet: None,
            pictures: PictureIds::default(),
            newest: None,
            keyframe_first: None,
            epoch: (0, 0),
            keyframe: KeyframeWish::default(),
        }
    }

    /// Another SSRC sends this layer from now on. Packets can bring this about: no allocation.
    pub fn restart(&mut self, ssrc: Ssrc) {
        self.ssrc = Some(ssrc);
        self.order.restart();
        self.keyframe_first = None;
        self.stats = self.stats.restarted();
        if let Some(video) = &mut self.video {
            video.gaps.restart();
        }
        self.clock = None;
    }

    /// The sequence begins anew with this content number.
    pub const fn begin_epoch(&mut self, content: u64) {
        self.epoch = (self.epoch.0.wrapping_add(1), content);
        self.keyframe_first = None;
    }

    /// The latest beginning of the sequence.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch.0
    }

    /// Which beginning of the sequence a content number belongs to (the latest two are told apart).
    #[must_use]
    pub const fn epoch_of(&self, content: u64) -> u32 {
        if content >= self.epoch.1 { self.epoch.0 } else { self.epoch.0.wrapping_sub(1) }
    }

    /// Somebody needs a keyframe; whether that is news that the publisher should be woken for.
    pub const fn want_keyframe(&mut self) -> bool {
        !std::mem::replace(&mut self.keyframe.wanted, true)
    }

    /// Whether somebody needs a keyframe that was not asked for yet.
    #[must_use]
    pub const fn wants_keyframe(&self) -> bool {
        self.keyframe.wanted
    }

    /// A keyframe came.
    pub const fn keyframe_came(&mut self) {
        self.keyframe.wanted = false;
    }

    /// Whether to ask for a keyframe now; if so, that is noted.
    pub fn ask_keyframe(&mut self, now: Micros) -> bool {
        let due = self.keyframe_due().is_some_and(|at| at <= now);
        if due {
            self.keyframe = KeyframeWish { wanted: false, asked: Some(now) };
        }
        due
    }

    /// When a wanted keyframe may be asked for.
    #[must_use]
    pub fn keyframe_due(&self) -> Option<Micros> {
        let next = self.keyframe.asked.map_or(Micros(0), |asked| asked.after_us(KEYFRAME_INTERVAL_US));
        (self.keyframe.wanted && self.ssrc.is_some()).then_some(next)
    }

    /// Takes the publisher's sender report.
    pub fn sender_report(&mut self, now: Micros, info: &SenderInfo) {
        self.stats.handle_sender_report(now, info);
        self.clock = Some(*info);
    }
}
