//! Streams that roam: one SSRC at the receiver that shows one track after the other, such as whoever speaks.
//!
//! Place: commands bring a stream to another track; a picture goes there with the keyframe that [`super::router`] is about to queue.
//! Promises: sequence numbers, timestamps and picture ids go on across tracks; no number of the stream's SSRC is ever given to two
//! packets, also when a track ends under it, because the stream and its continuity outlive their tracks; until the new picture can
//! be shown the old one goes on; nothing is allocated when a packet moves a stream.
//! Not here: whom to show (the control plane).

use super::Rooms;
use super::layers::{Choice, choose};
use super::router::Arrived;
use super::stream::Next;
use super::subscribe::Receiving;
use super::template::Template;
use crate::base::limits::STREAMS_PER_PEER;
use crate::base::media::{Extension, MediaKind};
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::command::{OpenStream, Retarget};

impl Rooms {
    /// A stream that roams begins.
    pub fn open_stream(&mut self, index: usize, open: OpenStream) {
        let OpenStream { stream: id, kind, mid, ssrc, rtx, extensions, .. } = open;
        let Some(member) = self.member(index) else { return };
        if self.by_stream.contains_key(&id) || member.streams.len() >= STREAMS_PER_PEER {
            return;
        }
        let receiving = Receiving { id, member: index, mid, ssrc, rtx, formats: Vec::new(), extensions };
        // Sound and picture of whoever is shown belong together: one name, the receiver's own.
        let Some(key) = self.insert_stream(receiving, kind, index) else { return };
        if let Some(stream) = self.streams.get_mut(key) {
            stream.roams = Some(kind);
        }
        self.begin_link(index);
    }

    /// A stream that roams is to show another track, or nothing. Ignored for other streams and for tracks it cannot show.
    pub fn retarget(&mut self, now: Micros, retarget: Retarget) {
        let Some(key) = self.by_stream.get(&retarget.stream).copied() else { return };
        let Some(stream) = self.streams.get(key) else { return };
        let Some(kind) = stream.roams else { return };
        let (shown, member) = (stream.track, stream.member);
        let Some((track, formats)) = retarget.onto else {
            self.stay(key);
            self.move_on(key);
            return;
        };
        let meeting = self.member(member).map(|member| member.meeting);
        let Some(next) = self.by_track.get(&track).copied() else { return };
        let Some(track) = self.tracks.get_mut(next) else { return };
        if track.kind != kind || Some(track.meeting) != meeting {
            return;
        }
        self.stay(key);
        if next == shown {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.formats = formats;
            }
            self.rebuild_templates(next);
            return;
        }
        let Some(track) = self.tracks.get_mut(next) else { return };
        track.arriving.push(key);
        // So that a packet that brings them all here does not allocate.
        track.streams.reserve(track.arriving.len());
        let is_showing = self.tracks.get(shown).is_some_and(|shown| !shown.muted);
        let Some(stream) = self.streams.get_mut(key) else { return };
        let waits = kind == MediaKind::Video && is_showing && stream.current.is_some();
        stream.next = Some(Box::new(Next { track: next, formats }));
        if waits {
            self.want_keyframe_of(next, key);
        } else if let Some(key) = self.move_on(key) {
            self.begin_picture(now, key);
        }
    }

    /// A packet of a track that streams are coming to: a keyframe brings them, another packet says that one is needed.
    pub(super) fn bring_arriving(&mut self, arrived: &Arrived) {
        let mut nth = 0;
        loop {
            let Some(track) = self.tracks.get(arrived.key) else { return };
            let Some(key) = track.arriving.get(nth).copied() else { return };
            let Some(stream) = self.streams.get(key) else { return };
            let begins = arrived.info.keyframe_start
                && (track.is_scalable
                    || choose(track.active, stream.limit, None, arrived.layer, true) == Choice::Switch);
            if begins {
                // It is not among those who are coming any more.
                self.move_on(key);
            } else {
                nth += 1;
                self.want_keyframe_of(arrived.key, key);
            }
        }
    }

    /// A stream that roams leaves what it shows for where it was going, if anywhere. What was queued of the old track is forgotten
    /// and leaves no gap. The stream's key from now on.
    pub(super) fn move_on(&mut self, key: Key) -> Option<Key> {
        let (shown, next, index) = {
            let stream = self.streams.get_mut(key)?;
            (stream.track, stream.next.take(), stream.member)
        };
        if let Some(track) = self.tracks.get_mut(shown) {
            track.streams.retain(|other| *other != key);
        }
        if let Some(track) = next.as_ref().and_then(|next| self.tracks.get_mut(next.track)) {
            track.arriving.retain(|other| *other != key);
        }
        // What is queued carries the old key.
        let moved = self.streams.rename(key)?;
        let (id, ssrcs) = {
            let stream = self.streams.get_mut(moved)?;
            stream.track = Key::NOWHERE;
            stream.current = None;
            stream.decided = None;
            stream.queued = None;
            stream.stale = false;
            stream.told = None;
            // Numbers of the old track are not found any more, so nothing of it is ever written again.
            stream.header_changed = false;
            stream.rewrite.leave();
            (stream.id, [Some(stream.ssrc), stream.rtx])
        };
        self.by_stream.insert(id, moved);
        for ssrc in ssrcs.into_iter().flatten() {
            self.sinks.insert((index as u32, ssrc), moved);
        }
        if let Some(place) =
            self.member_mut(index).and_then(|member| member.streams.iter_mut().find(|other| **other == key))
        {
            *place = moved;
        }
        let Some(next) = next else { return Some(moved) };
        let Next { track: to, formats } = *next;
        let (Some(track), Some(stream)) = (self.tracks.get_mut(to), self.streams.get_mut(moved)) else {
            return Some(moved);
        };
        // As in `rebuild_templates`: layers with SSRCs of their own number their frames each for itself.
        let mut extensions = track.extensions;
        if track.layers.len() > 1 {
            extensions.set(Extension::DependencyDescriptor, 0);
        }
        stream.formats = formats;
        stream.template =
            Template::new((&track.formats, &extensions), (&stream.formats, &stream.extensions), stream.mid);
        stream.track = to;
        track.streams.push(moved);
        self.mark_urgent(index);
        Some(moved)
    }

    /// A stream is not going anywhere any more.
    pub(super) fn stay(&mut self, key: Key) {
        let Some(next) = self.streams.get_mut(key).and_then(|stream| stream.next.take()) else { return };
        if let Some(track) = self.tracks.get_mut(next.track) {
            track.arriving.retain(|other| *other != key);
        }
    }

    /// Asks for a keyframe of the layer that a stream would show of a track.
    fn want_keyframe_of(&mut self, to: Key, key: Key) {
        let Some(limit) = self.streams.get(key).map(|stream| stream.limit) else { return };
        let Some(track) = self.tracks.get_mut(to).filter(|track| !track.muted) else { return };
        let Some(target) = track.active.target(limit) else { return };
        let publisher = track.member;
        let layer = if track.is_scalable { 0 } else { target };
        if let Some(layer) = track.layers.get_mut(usize::from(layer))
            && layer.want_keyframe()
        {
            self.mark_urgent(publisher);
        }
    }
}
