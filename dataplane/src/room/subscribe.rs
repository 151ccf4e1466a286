//! Commands about tracks and streams. They may allocate; packets may not.

use super::Rooms;
use super::rewrite::Rewrite;
use super::router::Source;
use super::stream::{CNAME_BYTES, Limit, Stream};
use super::template::Template;
use super::track::{Layer, Track, clock_hz};
use crate::base::ids::{Mid, Seq, Ssrc, StreamId, TrackId};
use crate::base::limits::{
    KEYFRAME_WISH_US, KEYFRAME_WISHES_BURST, LAYERS_PER_TRACK, SSRCS_PER_PEER, STREAMS_PER_PEER,
    TRACKS_PER_PEER,
};
use crate::base::media::{Codec, Extension, ExtensionMap, Format, MediaKind};
use crate::base::rate::RateLimit;
use crate::base::slab::Key;
use crate::base::table::SeededState;
use crate::base::time::Micros;
use crate::command::{Publish, Subscribe, Wanted};
use crate::session::reports::SenderStats;

/// A stream as its receiver knows it.
pub(super) struct Receiving {
    pub(super) id: StreamId,
    pub(super) member: usize,
    pub(super) mid: Mid,
    pub(super) ssrc: Ssrc,
    pub(super) rtx: Option<Ssrc>,
    pub(super) formats: Vec<Format>,
    pub(super) extensions: ExtensionMap,
}

impl Rooms {
    /// A track begins, or its parameters change.
    pub fn publish(&mut self, index: usize, publish: Publish) {
        let Some(member) = self.member_mut(index) else { return };
        for (extension, _) in Extension::ALL {
            if let Some(id) = publish.extensions.id(extension) {
                member.extensions.set(extension, id);
            }
        }
        let key = match self.by_track.get(&publish.track).copied() {
            Some(key) if self.tracks.get(key).is_some_and(|track| track.member == index) => key,
            Some(_) => return,
            None => match self.insert_track(index, &publish) {
                Some(key) => key,
                None => return,
            },
        };
        let Some(track) = self.tracks.get_mut(key) else { return };
        // With rids they count; a list of SSRCs alone is one layer each, lowest first.
        let named = if publish.rids.is_empty() { publish.ssrcs.len() } else { publish.rids.len() };
        let layers = named.clamp(1, LAYERS_PER_TRACK);
        while track.layers.len() < layers {
            track.layers.push(Layer::new(publish.kind));
        }
        let scalable = |format: &Format| matches!(format.codec, Codec::Vp9 { .. } | Codec::Av1 { .. });
        if publish.kind == MediaKind::Video && track.svc.is_none() && publish.formats.iter().any(scalable) {
            track.svc = Some(Box::default());
        }
        track.mid = publish.mid;
        track.content = publish.content;
        track.formats = publish.formats;
        track.extensions = publish.extensions;
        track.rids = publish.rids;
        track.rids.truncate(LAYERS_PER_TRACK);
        track.repairs.clear();
        track
            .repairs
            .extend(publish.ssrcs.iter().filter_map(|signalled| Some((signalled.ssrc, signalled.rtx?))));
        let layers = track.layers.len();
        // The order of SSRCs says nothing about the order of rids: those packets say which they are.
        let learned = layers > 1 && !track.rids.is_empty() && track.extensions.id(Extension::Rid).is_some();
        for (nth, signalled) in publish.ssrcs.iter().enumerate() {
            let layer = match signalled.rid {
                Some(rid) => self.tracks.get(key).and_then(|track| track.layer_of(rid)),
                None => (!learned && nth < layers).then_some(nth as u8),
            };
            if let Some(layer) = layer {
                self.bind_source(index, key, layer, signalled.ssrc, false);
                if let Some(rtx) = signalled.rtx {
                    self.bind_source(index, key, layer, rtx, true);
                }
            }
        }
        // So that learning an SSRC later does not allocate.
        self.sources.reserve(4 * LAYERS_PER_TRACK);
        self.retired.reserve(2 * LAYERS_PER_TRACK);
        self.rebuild_templates(key);
    }

    fn insert_track(&mut self, index: usize, publish: &Publish) -> Option<Key> {
        let member = self.member(index)?;
        if member.tracks.len() >= TRACKS_PER_PEER {
            return None;
        }
        let meeting = member.meeting;
        let track = Track {
            id: publish.track,
            member: index,
            meeting,
            kind: publish.kind,
            content: publish.content,
            mid: publish.mid,
            formats: Vec::new(),
            extensions: publish.extensions,
            rids: Vec::new(),
            repairs: Vec::new(),
            layers: Vec::new(),
            active: Default::default(),
            streams: Vec::new(),
            arriving: Vec::new(),
            muted: false,
            started: false,
            svc: None,
            is_scalable: false,
            heard: Default::default(),
            rates: Default::default(),
            ladder: Default::default(),
            meter: Default::default(),
            voice: Default::default(),
            audio_bps: 0,
        };
        let key = self.tracks.insert(track).ok()?;
        self.by_track.insert(publish.track, key);
        self.member_mut(index)?.tracks.push(key);
        let meeting = self.meetings.get_mut(meeting)?;
        meeting.tracks.push(key);
        meeting.voices += usize::from(publish.kind == MediaKind::Audio);
        Some(key)
    }

    /// A track ends; streams of it go with it.
    pub fn unpublish(&mut self, track: TrackId) {
        if let Some(key) = self.by_track.get(&track).copied() {
            self.remove_track(key);
        }
    }

    /// Mutes or unmutes at the server.
    pub fn mute(&mut self, now: Micros, track: TrackId, muted: bool) {
        let Some(key) = self.by_track.get(&track).copied() else { return };
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.muted == muted {
            return;
        }
        track.muted = muted;
        if muted {
            self.free_place(key);
        }
        let streams = self.tracks.get(key).map(|track| track.streams.clone()).unwrap_or_default();
        for key in streams {
            // What was muted leaves no gap, and video starts again at a keyframe.
            if let Some(stream) = self.streams.get_mut(key) {
                stream.current = None;
            }
            if !muted {
                self.begin_picture(now, key);
            }
        }
    }

    /// A stream begins. Ignored when track and receiver are not in one meeting.
    pub fn subscribe(&mut self, now: Micros, index: usize, subscribe: Subscribe) {
        let Some(track_key) = self.by_track.get(&subscribe.track).copied() else { return };
        let Some(member) = self.member(index) else { return };
        let Some(track) = self.tracks.get(track_key) else { return };
        if track.meeting != member.meeting
            || self.by_stream.contains_key(&subscribe.stream)
            || member.streams.len() >= STREAMS_PER_PEER
        {
            return;
        }
        let (publisher, kind) = (track.member, track.kind);
        let Subscribe { stream: id, mid, ssrc, rtx, formats, extensions, .. } = subscribe;
        let receiving = Receiving { id, member: index, mid, ssrc, rtx, formats, extensions };
        let Some(key) = self.insert_stream(receiving, kind, publisher) else { return };
        if let Some(stream) = self.streams.get_mut(key) {
            stream.track = track_key;
        }
        if let Some(track) = self.tracks.get_mut(track_key) {
            track.streams.push(key);
        }
        self.rebuild_templates(track_key);
        self.begin_link(index);
        self.begin_picture(now, key);
    }

    /// Adds a stream that shows nothing yet.
    pub(super) fn insert_stream(
        &mut self,
        receiving: Receiving,
        kind: MediaKind,
        named_after: usize,
    ) -> Option<Key> {
        let Receiving { id, member: index, mid, ssrc, rtx, formats, extensions } = receiving;
        // First numbers below 2^15, so that a receiver cannot guess the roll-over counter wrongly (RFC 3711 section 3.3.1).
        let first = Seq((self.rng.next_u64() & 0x7fff) as u16);
        let timestamp = self.rng.next_u64() as u32;
        let rtx_index = self.rng.next_u64() & 0x7fff;
        let template = Template::new((&[], &extensions), (&formats, &extensions), mid);
        let stream = Stream {
            id,
            member: index,
            track: Key::NOWHERE,
            roams: None,
            next: None,
            ssrc,
            rtx,
            mid,
            formats,
            extensions,
            wanted: Wanted::ALL,
            granted: Some((u8::MAX, u8::MAX)),
            limit: Limit::ALL,
            current: None,
            decided: None,
            queued: None,
            stale: false,
            told: None,
            rewrite: Rewrite::new(first, timestamp),
            template,
            rtx_index,
            stats: SenderStats::new(clock_hz(kind)),
            header_changed: false,
            unconfirmed: true,
            wishes: RateLimit::per(KEYFRAME_WISH_US, 1, KEYFRAME_WISHES_BURST),
            loss: 0,
            reported_seq: None,
            cname: self.cname(named_after),
        };
        let key = self.streams.insert(stream).ok()?;
        self.by_stream.insert(id, key);
        for ssrc in [Some(ssrc), rtx].into_iter().flatten() {
            self.sinks.insert((index as u32, ssrc), key);
        }
        self.member_mut(index)?.streams.push(key);
        Some(key)
    }

    /// A stream ends.
    pub fn unsubscribe(&mut self, stream: StreamId) {
        if let Some(key) = self.by_stream.get(&stream).copied() {
            self.remove_stream(key);
        }
    }

    /// What the receiver wants of a stream.
    pub fn want(&mut self, now: Micros, stream: StreamId, wanted: Wanted) {
        let Some(key) = self.by_stream.get(&stream).copied() else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        let before = std::mem::replace(&mut stream.wanted, wanted);
        stream.relimit();
        let member = stream.member;
        if wanted.enabled && before != wanted {
            self.begin_picture(now, key);
        }
        self.mark_urgent(member);
    }

    /// The control plane wants a keyframe on every layer of a track.
    pub fn request_keyframe(&mut self, track: TrackId) {
        let Some(key) = self.by_track.get(&track).copied() else { return };
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.kind == MediaKind::Video {
            track.layers.iter_mut().for_each(|layer| {
                layer.want_keyframe();
            });
            let member = track.member;
            self.mark_urgent(member);
        }
    }

    /// Asks for a keyframe on the layer that a stream should show, if it can be sent to.
    pub(super) fn want_keyframe_for(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        let (limit, track_key, member) = (stream.limit, stream.track, stream.member);
        if !self.member(member).is_some_and(|member| member.ready) {
            return;
        }
        let Some(track) = self.tracks.get_mut(track_key) else { return };
        if track.kind != MediaKind::Video || track.muted {
            return;
        }
        let Some(target) = track.active.target(limit) else { return };
        let publisher = track.member;
        let layer = if track.is_scalable { 0 } else { target };
        if let Some(layer) = track.layers.get_mut(usize::from(layer))
            && layer.want_keyframe()
        {
            self.mark_urgent(publisher);
        }
    }

    /// Ties an SSRC of a peer to a layer; a former SSRC of the layer goes. Answers whether the table had room.
    pub(super) fn bind_source(
        &mut self,
        index: usize,
        key: Key,
        layer: u8,
        ssrc: Ssrc,
        repair: bool,
    ) -> bool {
        let Some(track) = self.tracks.get_mut(key) else { return false };
        let Some(slot) = track.layers.get_mut(usize::from(layer)) else { return false };
        let source = Source { track: key, layer, repair };
        let before = if repair { slot.rtx } else { slot.ssrc };
        let holder = self.sources.get(&(index as u32, ssrc)).copied();
        if before == Some(ssrc) && holder == Some(source) {
            return true;
        }
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else { return false };
        // What another claimed since then is no longer this layer's to give up.
        if let Some(before) = before.filter(|before| *before != ssrc)
            && self.sources.get(&(index as u32, before)) == Some(&source)
        {
            self.sources.remove(&(index as u32, before));
            member.sources -= 1;
            self.retired.push((index, before));
        }
        if holder.is_none() && member.sources >= SSRCS_PER_PEER {
            return false;
        }
        if repair {
            slot.rtx = Some(ssrc);
        } else {
            slot.restart(ssrc);
        }
        self.sources.insert((index as u32, ssrc), source);
        match holder.filter(|holder| *holder != source) {
            Some(holder) => self.unbind(holder, ssrc),
            None => {
                if let Some(member) = self.member_mut(index).filter(|_| holder.is_none()) {
                    member.sources += 1;
                }
            }
        }
        true
    }

    /// A layer lost its SSRC to another of the same peer.
    fn unbind(&mut self, holder: Source, ssrc: Ssrc) {
        let Some(track) = self.tracks.get_mut(holder.track) else { return };
        let Some(slot) = track.layers.get_mut(usize::from(holder.layer)) else { return };
        let held = if holder.repair { &mut slot.rtx } else { &mut slot.ssrc };
        if *held == Some(ssrc) {
            *held = None;
        }
    }

    pub(super) fn remove_track(&mut self, key: Key) {
        self.free_place(key);
        let Some(track) = self.tracks.remove(key) else { return };
        self.by_track.remove(&track.id);
        for stream in track.arriving {
            self.stay(stream);
        }
        for stream in track.streams {
            if self.streams.get(stream).is_some_and(|stream| stream.roams.is_some()) {
                self.move_on(stream);
            } else {
                self.remove_stream(stream);
            }
        }
        let mut freed = 0;
        for layer in &track.layers {
            for ssrc in [layer.ssrc, layer.rtx].into_iter().flatten() {
                let slot = (track.member as u32, ssrc);
                if self.sources.get(&slot).is_some_and(|source| source.track == key) {
                    self.sources.remove(&slot);
                    self.retired.push((track.member, ssrc));
                    freed += 1;
                }
            }
        }
        if let Some(member) = self.member_mut(track.member) {
            member.tracks.retain(|other| *other != key);
            member.sources -= freed;
        }
        if let Some(meeting) = self.meetings.get_mut(track.meeting) {
            meeting.tracks.retain(|other| *other != key);
            meeting.voices -= usize::from(track.kind == MediaKind::Audio);
        }
    }

    /// A voice is heard no more: its place is free.
    fn free_place(&mut self, key: Key) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        if let Some(place) = track.voice.place()
            && let Some(meeting) = self.meetings.get_mut(track.meeting)
        {
            track.voice.set_place(None);
            meeting.places.set(place, None);
        }
    }

    pub(super) fn remove_stream(&mut self, key: Key) {
        self.stay(key);
        let Some(stream) = self.streams.remove(key) else { return };
        self.by_stream.remove(&stream.id);
        for ssrc in [Some(stream.ssrc), stream.rtx].into_iter().flatten() {
            let slot = (stream.member as u32, ssrc);
            if self.sinks.get(&slot) == Some(&key) {
                self.sinks.remove(&slot);
            }
        }
        if let Some(member) = self.member_mut(stream.member) {
            member.streams.retain(|other| *other != key);
        }
        if let Some(track) = self.tracks.get_mut(stream.track) {
            track.streams.retain(|other| *other != key);
        }
    }

    pub(super) fn rebuild_templates(&mut self, key: Key) {
        let Some(track) = self.tracks.get(key) else { return };
        // Layers with SSRCs of their own number their frames each for itself: their payload descriptors say what a receiver needs.
        let mut extensions = track.extensions;
        if track.layers.len() > 1 {
            extensions.set(Extension::DependencyDescriptor, 0);
        }
        for stream_key in &track.streams {
            if let Some(stream) = self.streams.get_mut(*stream_key) {
                let template = Template::new(
                    (&track.formats, &extensions),
                    (&stream.formats, &stream.extensions),
                    stream.mid,
                );
                stream.header_changed |= stream.stats.packets() > 0 && template != stream.template;
                stream.template = template;
            }
        }
    }

    /// One name for all streams of a publisher, different for each (RFC 7022 wants it unguessable across sessions only).
    fn cname(&self, publisher: usize) -> [u8; CNAME_BYTES] {
        use std::hash::BuildHasher;
        let peer = self.member(publisher).map_or(0, |member| member.peer.0);
        let hash = SeededState::new(self.seed).hash_one(peer);
        std::array::from_fn(|nth| {
            let digit = (hash >> (60 - 4 * nth) & 15) as u8;
            if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
        })
    }
}
