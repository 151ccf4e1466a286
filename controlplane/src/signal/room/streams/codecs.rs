//! Which codec of a track each subscriber is sent, and who waits for one that the publisher does not send yet.
//!
//! A subscriber is offered every codec the track is or could be sent as. It gets the primary if it takes it; else a backup that
//! is sent; else it waits for a backup, which `tracks` ask the publisher for; else it is told that there is none.

use dataplane::base::ids::TrackId;
use dataplane::base::media::{Codec, Format};
use dataplane::base::reason::Reason;
use dataplane::command::{Command, Subscribe, Wanted};
use livekit_protocol as proto;

use super::stream::Supply;
use crate::sdp::answer::codec_name;
use crate::sdp::{offer, table};
use crate::signal::messages;
use crate::signal::room::{MemberKey, Room};
use crate::signal::track::Track;
use crate::signal::variant::Variant;

/// Codecs of a track's media section at a subscriber: what is sent, then what could be.
pub(in crate::signal::room) fn offered_codecs(track: &Track) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = track.primary.formats().iter().map(|format| format.codec).collect();
    for backup in &track.backups {
        match backup.codec() {
            _ if backup.published.is_some() => codecs.extend(backup.formats().iter().map(|f| f.codec)),
            Some(name) => codecs.extend(table::codecs_named(name)),
            None => {}
        }
    }
    codecs
}

/// What a subscriber that takes these formats is to be sent.
#[derive(PartialEq, Eq, Debug)]
enum Choice {
    /// This codec, in these formats.
    Send(TrackId, Vec<Format>),
    /// This backup, once it is there.
    Wait(TrackId),
    /// There is no codec for it.
    Nothing,
}

fn choose(track: &Track, taken: &[Format]) -> Choice {
    let backups_first = is_regressed(track);
    let (mut first, mut second): (Vec<&Variant>, Vec<&Variant>) =
        track.variants().partition(|variant| (variant.id != track.id()) == backups_first);
    first.append(&mut second);
    for variant in first.iter().filter(|variant| variant.published.is_some()) {
        let formats = offer::accepted_formats(variant.formats(), taken);
        if !formats.is_empty() {
            return Choice::Send(variant.id, formats);
        }
    }
    let decodes = |variant: &&&Variant| taken.iter().any(|f| variant.codec() == Some(codec_name(f.codec)));
    let waits = first.iter().filter(|variant| variant.published.is_none()).find(decodes);
    waits.map_or(Choice::Nothing, |variant| Choice::Wait(variant.id))
}

/// Whether a subscriber that takes these formats can be sent the track, now or once a backup is there.
pub(in crate::signal::room) fn is_decodable(track: &Track, taken: &[Format]) -> bool {
    choose(track, taken) != Choice::Nothing
}

/// Whether the publisher wants everybody to get its backup codec now that somebody needs it.
pub(in crate::signal::room) fn is_regressed(track: &Track) -> bool {
    track.info.backup_codec_policy == i32::from(proto::BackupCodecPolicy::Regression)
        && track.backups.iter().any(|backup| backup.published.is_some())
}

impl Room {
    /// Begins an answered stream as far as the track's codecs allow.
    pub(in crate::signal::room) fn supply(&mut self, key: MemberKey, sid: &str) {
        let Some(stream) = self.members.get(&key).and_then(|m| m.subscriber.streams.get(sid)) else { return };
        let Some(taken) = &stream.taken else { return };
        let Some((publisher, track)) = self.track_by_id(stream.track) else { return };
        let choice = choose(track, &taken.formats);
        let supply = match &choice {
            Choice::Send(variant, _) => Supply::Sent(*variant),
            Choice::Wait(variant) => Supply::Waiting(*variant),
            Choice::Nothing => {
                self.refuse_stream(key, sid);
                return;
            }
        };
        let (id, tell_publisher) = (track.id(), !track.subscribed);
        let settings = self.members.get(&key).and_then(|m| m.subscriber.settings.get(sid));
        let sent_as = if let Supply::Sent(variant) = supply { variant } else { id };
        let wanted = settings.map_or(Wanted::ALL, |settings| track.wanted(sent_as, settings));
        self.touched.insert(id);
        let Some(subscriber) = self.members.get_mut(&key).map(|m| &mut m.subscriber) else { return };
        let peer = subscriber.peer.id;
        let Some(stream) = subscriber.streams.get_mut(sid) else { return };
        let before = stream.reason();
        stream.supply = supply;
        stream.wanted = wanted;
        self.reasons.replace(before, stream.reason());
        let (Choice::Send(variant, formats), Some(taken)) = (choice, &stream.taken) else { return };
        let subscribe = Subscribe {
            stream: stream.id,
            peer,
            track: variant,
            mid: taken.mid,
            ssrc: stream.ssrc,
            rtx: stream.rtx.filter(|_| formats.iter().any(|f| f.rtx_pt.is_some())),
            formats,
            extensions: taken.extensions,
        };
        let stream = stream.id;
        self.command(Command::Subscribe(Box::new(subscribe)));
        if wanted != Wanted::ALL {
            self.command(Command::Want { stream, wanted });
        }
        if tell_publisher {
            self.send(publisher, messages::track_subscribed(sid));
            let tracks = self.members.get_mut(&publisher).map(|m| &mut m.tracks);
            if let Some(track) = tracks.and_then(|t| t.iter_mut().find(|t| t.id() == id)) {
                track.subscribed = true;
            }
        }
    }

    /// Tells a subscriber that it decodes no codec of a track; it is not offered again until the codecs change or it asks.
    pub(in crate::signal::room) fn refuse_stream(&mut self, key: MemberKey, sid: &str) {
        self.end_stream(key, sid);
        let Some(member) = self.members.get_mut(&key) else { return };
        if member.subscriber.undecodable.insert(sid.to_owned()) {
            self.reasons.replace(None, Some(Reason::CodecMissing));
        }
        let error = proto::SubscriptionError::SeCodecUnsupported;
        self.send(key, messages::subscription_refused(sid, error));
    }

    /// Forgets that a track's codecs were refused, by one member or by all.
    pub(in crate::signal::room) fn forget_undecodable(&mut self, sid: &str, only: Option<MemberKey>) {
        for (key, member) in &mut self.members {
            if only.is_none_or(|only| only == *key) && member.subscriber.undecodable.remove(sid) {
                self.reasons.replace(Some(Reason::CodecMissing), None);
            }
        }
    }

    /// A codec of a track is sent from now on.
    pub(in crate::signal::room) fn codec_began(&mut self, id: TrackId) {
        let Some((_, track)) = self.track_by_id(id) else { return };
        let (primary, sid) = (track.id(), track.info.sid.clone());
        if id == primary {
            self.touched.insert(primary);
            self.subscribe_track(primary);
            return;
        }
        let regressed = is_regressed(track);
        let receivers: Vec<(MemberKey, Supply, bool)> = self
            .members
            .iter()
            .filter_map(|(key, member)| {
                let stream = member.subscriber.streams.get(&sid)?;
                let taken = stream.taken.as_ref().map_or(&[][..], |taken| &taken.formats);
                let moves = matches!(choose(track, taken), Choice::Send(to, _) if to == id);
                Some((*key, stream.supply, moves))
            })
            .collect();
        self.touched.insert(primary);
        for (key, supply, moves) in receivers {
            match supply {
                Supply::Waiting(_) => self.supply(key, &sid),
                // Another codec is another stream: a receiver's numbers and keys never carry two.
                Supply::Sent(from) if regressed && moves && from != id => {
                    self.end_stream(key, &sid);
                    self.reconcile(key, primary);
                }
                Supply::Sent(_) | Supply::Offered => {}
            }
        }
    }

    /// A codec of a track is sent in other formats: everybody is offered the track anew.
    pub(in crate::signal::room) fn codec_changed(&mut self, id: TrackId) {
        let Some((_, track)) = self.track_by_id(id) else { return };
        let (primary, sid) = (track.id(), track.info.sid.clone());
        self.drop_streams_of(&sid);
        self.subscribe_track(primary);
    }

    /// A publisher no longer sends a backup of a track that goes on: whoever got it is offered the track anew.
    pub(in crate::signal::room) fn codec_ended(&mut self, key: MemberKey, track: TrackId, backup: &Variant) {
        self.tracks.remove(&backup.id);
        let Some((_, left)) = self.track_by_id(track) else { return };
        let sid = left.info.sid.clone();
        let numbers: Vec<TrackId> = left.variants().map(|variant| variant.id).collect();
        self.tracks.extend(numbers.into_iter().map(|id| (id, key)));
        let receivers: Vec<MemberKey> = self
            .members
            .iter()
            .filter(|(_, m)| m.subscriber.streams.get(&sid).is_some_and(|s| s.sent() == Some(backup.id)))
            .map(|(key, _)| *key)
            .collect();
        for receiver in receivers {
            self.end_stream(receiver, &sid);
            self.reconcile(receiver, track);
        }
        self.command(Command::Unpublish { track: backup.id });
    }
}
