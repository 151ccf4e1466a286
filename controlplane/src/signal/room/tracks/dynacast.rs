//! What publishers are told to send: for each codec of each video track the best that any subscriber wants.
//!
//! A stream counts from the moment it is offered, so that a picture is on its way before the answer is. A new track is sent
//! in full until that has settled, so that everybody had the chance to subscribe.

use dataplane::base::ids::TrackId;
use dataplane::base::media::MediaKind;

use crate::signal::dynacast::Quality;
use crate::signal::messages;
use crate::signal::room::streams::{Supply, is_regressed};
use crate::signal::room::{MemberKey, Room};
use crate::signal::settings::Settings;
use crate::signal::track::Track;

impl Room {
    /// Tells publishers what changed in what is wanted of them.
    pub(in crate::signal::room) fn tell_qualities(&mut self, now_ms: u64) {
        let mut touched = std::mem::take(&mut self.touched);
        for track in self.members.values().flat_map(|member| &member.tracks) {
            let due = |at: Option<u64>| at.is_some_and(|at| now_ms >= at);
            if track.variants().any(|variant| due(variant.dynacast.next())) {
                touched.insert(track.id());
            }
        }
        for id in touched {
            let Some((key, track)) = self.track_by_id(id) else { continue };
            if track.kind != MediaKind::Video || !track.is_published() {
                continue;
            }
            let wanted: Vec<Quality> = track.variants().map(|v| self.quality_wanted(track, v.id)).collect();
            let Some(member) = self.members.get_mut(&key) else { continue };
            let Some(track) = member.tracks.iter_mut().find(|track| track.id() == id) else { continue };
            let mut is_new = false;
            for (variant, wanted) in track.variants_mut().zip(wanted) {
                let is_coming = variant.is_coming();
                is_new |= variant.dynacast.want(now_ms, wanted, is_coming);
            }
            if is_new {
                let message = told(track);
                self.send(key, message);
            }
        }
    }

    /// Tells a publisher again what it was told: it may have been away.
    pub(in crate::signal::room) fn repeat_qualities(&mut self, key: MemberKey) {
        let Some(member) = self.members.get(&key) else { return };
        let videos = member.tracks.iter().filter(|t| t.kind == MediaKind::Video && t.is_published());
        let messages: Vec<_> = videos.map(told).collect();
        for message in messages {
            self.send(key, message);
        }
    }

    /// The best that anybody wants of one codec of a track.
    fn quality_wanted(&self, track: &Track, variant: TrackId) -> Quality {
        let sizes = track.sizes(variant);
        let first = || match track.backups.iter().find(|backup| backup.published.is_some()) {
            Some(backup) if is_regressed(track) => backup.id,
            _ => track.id(),
        };
        let best = self.members.values().filter_map(|member| {
            let stream = member.subscriber.streams.get(&track.info.sid)?;
            let fed_by = match stream.supply {
                Supply::Offered => first(),
                Supply::Waiting(id) | Supply::Sent(id) => id,
            };
            let settings = member.subscriber.settings.get(&track.info.sid).copied();
            let wanted = settings.unwrap_or(Settings::unsaid()).of_video(&sizes);
            (fed_by == variant && wanted.enabled)
                .then(|| Quality::of_layer(usize::from(wanted.layer_max), sizes.len()))
        });
        let best = best.max().unwrap_or(Quality::Off);
        // Players do not say how large they are.
        if self.is_played(variant) { Quality::High } else { best }
    }
}

/// The message that says what its publisher was told last about a track.
fn told(track: &Track) -> livekit_protocol::SignalResponse {
    let codecs: Vec<(&str, Quality)> =
        track.variants().filter_map(|v| Some((v.codec()?, v.dynacast.told()))).collect();
    messages::subscribed_quality(&track.info.sid, &codecs)
}
