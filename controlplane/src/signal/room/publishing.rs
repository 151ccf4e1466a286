//! What members publish: announcements, the publisher's offers, mutes.

use dataplane::base::ids::{Mid, PeerId, TrackId};
use dataplane::base::limits::TRACKS_PER_PEER;
use dataplane::base::media::MediaKind;
use dataplane::command::{Command, RemotePeer};
use livekit_protocol as proto;

use super::member::{Member, MemberKey, Remote, Side};
use super::{Effect, Hangup, Room};
use crate::sdp::SdpError;
use crate::sdp::answer::{Accepted, Preferences, answer};
use crate::sdp::description::{Description, Section, SectionKind};
use crate::sdp::lines::LocalTransport;
use crate::signal::ids;
use crate::signal::messages::{self, Farewell};
use crate::signal::track::Track;

impl Room {
    pub(super) fn add_track(&mut self, key: MemberKey, request: proto::AddTrackRequest) {
        let Some(member) = self.members.get_mut(&key) else { return };
        // A second codec of a track that is there: we never ask for one, so nobody waits for it.
        if !request.sid.is_empty() {
            return;
        }
        let cid = request.cid.clone();
        let known = member.tracks.iter().find(|t| t.published.is_none() && t.is_called(&cid));
        if let Some(track) = known {
            let message = messages::track_published(&cid, track.info.clone());
            self.send(key, message);
            return;
        }
        if member.tracks.len() >= TRACKS_PER_PEER {
            return;
        }
        let Some(track) = Track::announced(self.ids.track(), request) else { return };
        let message = messages::track_published(&cid, track.info.clone());
        let id = track.id;
        self.tracks.insert(id, key);
        member.tracks.push(track);
        self.send(key, message);
        self.claim(key, id);
    }

    /// Gives a track just announced the section that an earlier offer sent without an announcement.
    fn claim(&mut self, key: MemberKey, id: TrackId) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(peer) = member.publisher.as_ref().map(|p| p.id) else { return };
        let Some(track) = member.tracks.iter_mut().find(|t| t.id == id) else { return };
        let of_kind = |section: &Section| section.kind == SectionKind::Media(track.kind);
        let by_name = |section: &Section| section.track.as_deref().is_some_and(|cid| track.is_called(cid));
        let unclaimed = &mut member.unclaimed;
        let found = unclaimed.iter().position(|(s, _)| of_kind(s) && by_name(s));
        let Some(index) = found.or_else(|| unclaimed.iter().position(|(s, _)| of_kind(s))) else { return };
        let (section, accepted) = unclaimed.remove(index);
        track.negotiated(accepted, &section);
        let commands: Vec<Command> = published(track, peer, true).collect();
        self.effects.extend(commands.into_iter().map(Effect::Command));
        self.announce(key);
        self.note_media(key);
        self.subscribe_track(id);
    }

    pub(super) fn publisher_offer(&mut self, key: MemberKey, description: &proto::SessionDescription) {
        match Description::parse(&description.sdp) {
            Ok(offer) => {
                if let Err(error) = self.take_offer(key, &offer, description.id) {
                    self.refuse(key, error);
                }
            }
            Err(error) => self.refuse(key, error),
        }
    }

    /// Ends the session of a client whose descriptions cannot be used.
    pub(super) fn refuse(&mut self, key: MemberKey, error: SdpError) {
        if let Some(connection) = self.members.get_mut(&key).and_then(|m| m.connection.take()) {
            self.connections.remove(&connection);
            let message = messages::leave(Farewell::JoinFailure);
            self.effects.push(Effect::Send(connection, Box::new(message)));
            self.effects.push(Effect::Close(connection, Hangup::BadDescription(error)));
        }
        self.remove(key, None);
    }

    fn take_offer(&mut self, key: MemberKey, offer: &Description, id: u32) -> Result<(), SdpError> {
        if !self.members.contains_key(&key) {
            return Ok(());
        }
        self.publisher_transport(key, offer)?;
        let Some(member) = self.members.get_mut(&key) else { return Ok(()) };
        let ended = match_tracks(member, offer);
        let Some(peer) = member.publisher.as_mut() else { return Ok(()) };
        peer.version += 1;
        let local = LocalTransport {
            ice: &peer.ice,
            fingerprint: self.plane.fingerprint,
            candidates: &self.plane.candidates,
            session: peer.session,
            version: peer.version,
        };
        let peer_id = peer.id;
        let tracks = &member.tracks;
        let mids = Matches::of(tracks, offer);
        let answered = answer(offer, &local, |section| {
            mids.track(tracks, section).map_or_else(Preferences::default, Track::preferences)
        })?;
        let mut commands = Vec::new();
        let mut changed = Vec::new();
        member.unclaimed.clear();
        for accepted in answered.accepted {
            let Some(section) = offer.sections.iter().find(|s| s.mid == accepted.mid) else { continue };
            let Some(index) = mids.index(accepted.mid) else {
                member.unclaimed.push((section.clone(), accepted));
                continue;
            };
            let track = &mut member.tracks[index];
            let formats_before: Vec<_> = track.formats().to_vec();
            let is_new = track.published.is_none();
            if track.negotiated(accepted, section) {
                commands.extend(published(track, peer_id, is_new));
                changed.push((track.id, is_new, formats_before != track.formats()));
            }
        }
        for track in &ended {
            self.retire(track);
        }
        for command in commands {
            self.command(command);
        }
        self.send(key, messages::answer(answered.sdp, id));
        if !changed.is_empty() || !ended.is_empty() {
            self.announce(key);
            self.note_media(key);
        }
        for (track, is_new, other_formats) in changed {
            if !is_new && other_formats {
                self.drop_streams_of(track);
            }
            if is_new || other_formats {
                self.subscribe_track(track);
            }
        }
        Ok(())
    }

    /// Opens the publisher connection at its first offer and follows the client's ICE restarts.
    fn publisher_transport(&mut self, key: MemberKey, offer: &Description) -> Result<(), SdpError> {
        let theirs =
            Remote { ufrag: offer.transport.ufrag.clone(), fingerprint: offer.transport.fingerprint };
        if self.members.get(&key).is_some_and(|m| m.publisher.is_none()) {
            let peer = self.open_peer(key, Side::Publisher);
            if let Some(member) = self.members.get_mut(&key) {
                member.publisher = Some(peer);
            }
        }
        let core = self.plane.core;
        let Some(peer) = self.members.get_mut(&key).and_then(|m| m.publisher.as_mut()) else { return Ok(()) };
        if peer.remote.as_ref() == Some(&theirs) {
            return Ok(());
        }
        let mut commands = Vec::new();
        if let Some(before) = &peer.remote {
            // Another certificate is another association, which a standing connection cannot become.
            if before.fingerprint != theirs.fingerprint {
                return Err(SdpError::Fingerprint);
            }
            peer.ice = ids::ice(core, peer.id);
            commands.push(Command::RestartIce { peer: peer.id, local: peer.ice.clone() });
        }
        commands.push(Command::RemotePeer(Box::new(RemotePeer {
            peer: peer.id,
            ufrag: theirs.ufrag.clone(),
            fingerprint: theirs.fingerprint,
        })));
        peer.remote = Some(theirs);
        for command in commands {
            self.command(command);
        }
        Ok(())
    }

    /// A track is no more: its streams end at everybody's.
    pub(super) fn retire(&mut self, track: &Track) {
        self.drop_streams_of(track.id);
        self.tracks.remove(&track.id);
        for member in self.members.values_mut() {
            member.subscriber.wishes.remove(&track.info.sid);
            member.subscriber.wanted.remove(&track.info.sid);
        }
        if track.published.is_some() {
            self.command(Command::Unpublish { track: track.id });
        }
    }

    pub(super) fn mute_by_client(&mut self, key: MemberKey, sid: &str, muted: bool) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == sid) else { return };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        let id = track.id;
        let is_published = track.published.is_some();
        let needs_keyframe = !muted && track.kind == MediaKind::Video;
        if !is_published {
            return;
        }
        self.command(Command::Mute { track: id, muted });
        if needs_keyframe {
            self.command(Command::RequestKeyframe { track: id });
        }
        self.announce(key);
        self.note_media(key);
    }

    pub(super) fn update_audio_track(&mut self, key: MemberKey, request: proto::UpdateLocalAudioTrack) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == request.track_sid) {
            track.info.audio_features = request.features.into_iter().take(8).collect();
            self.announce(key);
        }
    }

    pub(super) fn update_video_track(&mut self, key: MemberKey, request: &proto::UpdateLocalVideoTrack) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == request.track_sid) {
            track.info.width = request.width;
            track.info.height = request.height;
            self.announce(key);
        }
    }

    /// Has the store told which media a member sends, when that changed.
    fn note_media(&mut self, key: MemberKey) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let sends =
            |kind| member.tracks.iter().any(|t| t.published.is_some() && t.kind == kind && !t.info.muted);
        let media = (sends(MediaKind::Audio), sends(MediaKind::Video));
        if media != member.media {
            member.media = media;
            let admission = member.admission.clone();
            self.effects.push(Effect::Media { admission, audio: media.0, video: media.1 });
        }
    }
}

/// Commands for a track whose parameters are known or changed.
fn published(track: &Track, peer: PeerId, is_new: bool) -> impl Iterator<Item = Command> + use<> {
    let mute = (is_new && track.info.muted).then_some(Command::Mute { track: track.id, muted: true });
    track.publish(peer).map(|publish| Command::Publish(Box::new(publish))).into_iter().chain(mute)
}

/// Takes the tracks off a member whose media sections no longer send them.
fn match_tracks(member: &mut Member, offer: &Description) -> Vec<Track> {
    let still_sent = |track: &Track| {
        let Some(published) = &track.published else { return true };
        let section = offer.sections.iter().find(|s| s.mid == published.mid);
        section.is_some_and(|s| !s.rejected && s.direction.sends())
    };
    // A section that now carries another announced track has been used again.
    let replaced = |track: &Track| {
        let Some(published) = &track.published else { return false };
        let cid = offer.sections.iter().find(|s| s.mid == published.mid).and_then(|s| s.track.as_deref());
        cid.is_some_and(|cid| {
            !track.is_called(cid) && member.tracks.iter().any(|t| t.published.is_none() && t.is_called(cid))
        })
    };
    let keep: Vec<bool> = member.tracks.iter().map(|t| still_sent(t) && !replaced(t)).collect();
    let mut keep = keep.into_iter();
    let (kept, ended) =
        std::mem::take(&mut member.tracks).into_iter().partition(|_| keep.next().unwrap_or(true));
    member.tracks = kept;
    ended
}

/// Which track each sending section carries.
struct Matches(Vec<(Mid, usize)>);

impl Matches {
    /// Published tracks keep their section; then announced ones are found by the section's track id; what is left goes by
    /// kind, in order, for clients whose descriptions name tracks differently from their announcements.
    fn of(tracks: &[Track], offer: &Description) -> Self {
        let mut found: Vec<(Mid, usize)> = Vec::new();
        for (index, track) in tracks.iter().enumerate() {
            if let Some(Accepted { mid, .. }) = &track.published {
                found.push((*mid, index));
            }
        }
        let sending = |section: &&Section| {
            !section.rejected && section.direction.sends() && matches!(section.kind, SectionKind::Media(_))
        };
        for by_name in [true, false] {
            for section in offer.sections.iter().filter(sending) {
                if found.iter().any(|(mid, _)| *mid == section.mid) {
                    continue;
                }
                let fits = |track: &Track| {
                    section.kind == SectionKind::Media(track.kind)
                        && track.published.is_none()
                        && (!by_name || section.track.as_deref().is_some_and(|cid| track.is_called(cid)))
                };
                let free = |index: usize| found.iter().all(|(_, used)| *used != index);
                let next = (0..tracks.len()).find(|&index| free(index) && fits(&tracks[index]));
                found.extend(next.map(|index| (section.mid, index)));
            }
        }
        Self(found)
    }

    fn index(&self, mid: Mid) -> Option<usize> {
        self.0.iter().find(|(of, _)| *of == mid).map(|(_, index)| *index)
    }

    fn track<'a>(&self, tracks: &'a [Track], section: &Section) -> Option<&'a Track> {
        tracks.get(self.index(section.mid)?)
    }
}
