//! How a stream gets its first picture: from the last keyframe that is still remembered, or from a new one.
//!
//! Place: when a stream can begin (subscribed, ready, unpaused, unmuted). The retransmission cache of a layer is also the cache of its
//! keyframe: while everything since the keyframe is there, a joiner is sent all of it at once, and the publisher is asked for nothing.
//! Promises: a replay is bounded in packets, age and, at the receiver's rate, time; else the publisher is asked, throttled.

use super::Rooms;
use super::queue::{Class, Held, Item, Role};
use super::router::Arrived;
use super::select::{Verdict, run_start, select};
use crate::base::limits::{KEYFRAME_REPLAY_PACKETS, KEYFRAME_REPLAY_US, QUEUE_PER_PEER};
use crate::base::media::MediaKind;
use crate::base::slab::Key;
use crate::base::time::Micros;
use crate::wire::payload::PayloadInfo;

impl Rooms {
    /// A stream can begin: it is sent what is remembered since the last keyframe, or its publisher is asked for one.
    pub(super) fn begin_picture(&mut self, now: Micros, key: Key) {
        if !self.replay_keyframe(now, key) {
            self.want_keyframe_for(key);
        }
    }

    /// Queues everything since the last keyframe of the layer the stream should show. False when that is not to be had.
    fn replay_keyframe(&mut self, now: Micros, key: Key) -> bool {
        let Some((layer_index, first, end)) = self.replayable(now, key) else { return false };
        let mut began = false;
        for content in first..=end {
            let Some(stream) = self.streams.get_mut(key) else { return false };
            let Some(track) = self.tracks.get(stream.track) else { return false };
            let Some(layer) = track.layers.get(usize::from(layer_index)) else { return false };
            let found = layer.video.as_ref().and_then(|video| video.cache.find(content));
            let Some((_, meta)) = found else { continue };
            let Some(header) = meta.header else { continue };
            let arrived = Arrived {
                key: stream.track,
                layer: layer_index,
                epoch: layer.epoch_of(content),
                content,
                timestamp: header.timestamp,
                pt: header.pt,
                info: PayloadInfo { keyframe_start: content == first, ..PayloadInfo::default() },
                marks: meta.marks,
                picture: meta.picture,
            };
            let role = match select(track, stream, &arrived).verdict {
                Verdict::Forward => Role::Media,
                Verdict::Begin if content == first => Role::KeyStart,
                Verdict::Begin => Role::RunStart,
                Verdict::LeaveOut => {
                    stream.rewrite.skip(arrived.layer, arrived.epoch, content, arrived.picture);
                    continue;
                }
                Verdict::NotSelected | Verdict::Paused => return began,
            };
            let item =
                Item { stream: key, content, received: now, held: Held::Cached, layer: layer_index, role };
            if self.queue.push(stream.member, Class::Video, item).is_err() {
                if !began {
                    stream.current = None;
                }
                return began;
            }
            stream.note_queued(arrived.layer, arrived.epoch, content);
            if role.starts_run() {
                stream.rewrite.begin(run_start(track, stream, &arrived));
                self.keyframes_replayed += u64::from(!began);
                began = true;
            }
        }
        began
    }

    /// Layer, first and last content number of what a stream can begin with at once.
    fn replayable(&self, now: Micros, key: Key) -> Option<(u8, u64, u64)> {
        let stream = self.streams.get(key)?;
        let track = self.tracks.get(stream.track)?;
        let member = self.member(stream.member).filter(|member| member.ready)?;
        if stream.current.is_some() || track.kind != MediaKind::Video || track.muted {
            return None;
        }
        let target = track.active.target(stream.limit)?;
        let layer_index = if track.is_scalable { 0 } else { target };
        let layer = track.layers.get(usize::from(layer_index))?;
        let (first, at) = layer.keyframe_first?;
        // What the receiver has seen since then, or will see, would come again, and its clock would go back.
        if !stream.may_begin(layer_index, layer.epoch_of(first), first)
            || stream.rewrite.sent_last().is_some_and(|sent| sent >= at)
        {
            return None;
        }
        let end = layer.newest?;
        let count = end.checked_sub(first)? + 1;
        let room =
            u64::from(QUEUE_PER_PEER / 2).saturating_sub(u64::from(self.queue.count_of(stream.member)));
        if count > KEYFRAME_REPLAY_PACKETS.min(room) || now.since_us(at) > KEYFRAME_REPLAY_US {
            return None;
        }
        let mut bytes = 0;
        for content in first..=end {
            let (packet, meta) = layer.video.as_ref()?.cache.find(content)?;
            stream.template.format(meta.header?.pt)?;
            bytes += packet.len() as u64;
        }
        // A slow link shows a new keyframe sooner than everything since the old one.
        let rate_bps = member.link.rate_bps();
        let takes_us = (bytes * 8_000_000).checked_div(rate_bps).unwrap_or(0);
        (takes_us <= KEYFRAME_REPLAY_US / 2).then_some((layer_index, first, end))
    }
}
