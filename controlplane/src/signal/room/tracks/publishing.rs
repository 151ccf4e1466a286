//! What members publish: announcements, the publisher's offers, mutes.

use dataplane::base::ids::{PeerId, TrackId};
use dataplane::base::limits::TRACKS_PER_PEER;
use dataplane::base::media::MediaKind;
use dataplane::command::{Command, RemotePeer};
use livekit_protocol as proto;

use super::matching::{Matches, take_ended};
use crate::sdp::SdpError;
use crate::sdp::answer::{Preferences, answer};
use crate::sdp::description::{Description, Section, SectionKind};
use crate::sdp::lines::LocalTransport;
use crate::signal::ids;
use crate::signal::messages::{self, Farewell};
use crate::signal::room::peer::{Remote, Side};
use crate::signal::room::{Effect, Hangup, Member, MemberKey, Room};
use crate::signal::slots::Slots;
use crate::signal::track::{Track, audio_features};

impl Room {
    pub(in crate::signal::room) fn add_track(&mut self, key: MemberKey, request: proto::AddTrackRequest) {
        if !self.may_publish(key, &request) {
            return;
        }
        if !request.sid.is_empty() {
            self.add_backup(key, &request);
            return;
        }
        let Some(member) = self.members.get_mut(&key) else { return };
        let cid = request.cid.clone();
        let known = member.tracks.iter().find(|t| !t.is_published() && t.primary.is_called(&cid));
        if let Some(track) = known {
            let message = messages::track_published(&cid, track.info.clone());
            self.send(key, message);
            return;
        }
        let codecs: usize = member.tracks.iter().map(|track| track.variants().count()).sum();
        let Some(track) = Track::announced(|| self.ids.track(), request) else { return };
        if codecs + track.variants().count() > TRACKS_PER_PEER {
            return;
        }
        let message = messages::track_published(&cid, track.info.clone());
        let id = track.id();
        self.tracks.extend(track.variants().map(|variant| (variant.id, key)));
        member.tracks.push(track);
        self.send(key, message);
        self.claim(key, id);
    }

    /// The publisher answers our wish for another codec of a track that is there.
    fn add_backup(&mut self, key: MemberKey, request: &proto::AddTrackRequest) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == request.sid) else { return };
        let Some(id) = track.backup_announced(request) else { return };
        let is_published = track.variant(id).is_some_and(|variant| variant.published.is_some());
        let message = messages::track_published(&request.cid, track.info.clone());
        self.send(key, message);
        if !is_published {
            self.claim(key, id);
        }
    }

    /// Gives what was just announced the section that an earlier offer sent without an announcement.
    fn claim(&mut self, key: MemberKey, id: TrackId) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(peer) = member.upstream().map(|p| p.id) else { return };
        let Some(track) = member.tracks.iter_mut().find(|t| t.variant(id).is_some()) else { return };
        let Some(variant) = track.variant(id) else { return };
        let of_kind = |section: &Section| section.kind == SectionKind::Media(track.kind);
        let by_name = |section: &Section| section.track.as_deref().is_some_and(|cid| variant.is_called(cid));
        let unclaimed = &mut member.unclaimed;
        let found = unclaimed.iter().position(|(s, _)| of_kind(s) && by_name(s));
        let Some(index) = found.or_else(|| unclaimed.iter().position(|(s, _)| of_kind(s))) else { return };
        let (section, accepted) = unclaimed.remove(index);
        track.negotiated(id, accepted, &section);
        let commands: Vec<Command> = published(track, id, peer, true).collect();
        self.effects.extend(commands.into_iter().map(Effect::Command));
        self.announce(key);
        self.note_media(key);
        self.codec_began(id);
    }

    pub(in crate::signal::room) fn publisher_offer(
        &mut self,
        key: MemberKey,
        description: &proto::SessionDescription,
    ) {
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
    pub(in crate::signal::room) fn refuse(&mut self, key: MemberKey, error: SdpError) {
        if let Some(connection) = self.members.get_mut(&key).and_then(|m| m.connection.take()) {
            self.connections.remove(&connection);
            let message = messages::leave(Farewell::JoinFailure);
            self.effects.push(Effect::Send(connection, Box::new(message)));
            self.effects.push(Effect::Close(connection, Hangup::BadDescription(error)));
        }
        self.remove(key, None);
    }

    /// Takes a publisher's offer: what it sends, what it no longer sends. The answer, which was sent to its socket if it has one.
    pub(in crate::signal::room) fn take_offer(
        &mut self,
        key: MemberKey,
        offer: &Description,
        id: u32,
    ) -> Result<String, SdpError> {
        if !self.members.contains_key(&key) {
            return Ok(String::new());
        }
        self.publisher_transport(key, offer)?;
        self.place_streams(key, offer);
        let Some(member) = self.members.get_mut(&key) else { return Ok(String::new()) };
        let ended = take_ended(member, offer, &self.ids);
        let Member { publisher, subscriber, .. } = member;
        let Some(peer) = (if member.client.single { Some(&mut subscriber.peer) } else { publisher.as_mut() })
        else {
            return Ok(String::new());
        };
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
        let slots = subscriber.slots.as_ref();
        let matches = Matches::of(tracks, offer);
        let answered = answer(offer, &local, |section| {
            if let Some(carries) = slots.and_then(|slots| slots.carries(section.mid)) {
                return Preferences { carries: Some(carries), ..Preferences::default() };
            }
            let carried = matches.carried(section.mid);
            let track = carried.and_then(|id| Some((tracks.iter().find(|t| t.variant(id).is_some())?, id)));
            track.map_or_else(Preferences::default, |(track, id)| track.preferences(id))
        })?;
        let to_client = slots.map(Slots::tracks).unwrap_or_default();
        let mut commands = Vec::new();
        let mut changed = Vec::new();
        member.unclaimed.clear();
        for accepted in answered.accepted {
            let Some(section) = offer.sections.iter().find(|s| s.mid == accepted.mid) else { continue };
            let carried = matches.carried(accepted.mid);
            let track = carried.and_then(|id| member.tracks.iter_mut().find(|t| t.variant(id).is_some()));
            let (Some(id), Some(track)) = (carried, track) else {
                member.unclaimed.push((section.clone(), accepted));
                continue;
            };
            let formats = |track: &Track| track.variant(id).map(|v| v.formats().to_vec()).unwrap_or_default();
            let formats_before = formats(track);
            if track.negotiated(id, accepted, section) {
                let is_new = formats_before.is_empty();
                commands.extend(published(track, id, peer_id, is_new));
                changed.push((id, is_new, formats_before != formats(track)));
            }
        }
        for track in &ended.tracks {
            self.retire(track);
        }
        for command in commands {
            self.command(command);
        }
        self.send(key, messages::answer(answered.sdp.clone(), id, to_client));
        self.begin_placed(key, offer);
        if !changed.is_empty() || !ended.tracks.is_empty() || !ended.backups.is_empty() {
            self.announce(key);
            self.note_media(key);
        }
        for (track, backup) in ended.backups {
            self.codec_ended(key, track, &backup);
        }
        for (id, is_new, other_formats) in changed {
            if is_new {
                self.codec_began(id);
            } else if other_formats {
                self.codec_changed(id);
            }
        }
        Ok(answered.sdp)
    }

    /// Opens the publisher connection at its first offer and follows the client's ICE restarts.
    fn publisher_transport(&mut self, key: MemberKey, offer: &Description) -> Result<(), SdpError> {
        let theirs =
            Remote { ufrag: offer.transport.ufrag.clone(), fingerprint: offer.transport.fingerprint };
        if self.members.get(&key).is_some_and(|m| m.upstream().is_none()) {
            let peer = self.open_peer(key, Side::Publisher);
            if let Some(member) = self.members.get_mut(&key) {
                member.publisher = Some(peer);
            }
        }
        let core = self.plane.core;
        let Some(peer) = self.members.get_mut(&key).and_then(Member::upstream_mut) else { return Ok(()) };
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
    pub(in crate::signal::room) fn retire(&mut self, track: &Track) {
        self.drop_streams_of(&track.info.sid);
        for member in self.members.values_mut() {
            member.subscriber.wishes.remove(&track.info.sid);
            member.subscriber.denied.remove(&track.info.sid);
            member.subscriber.settings.remove(&track.info.sid);
        }
        for variant in track.variants() {
            self.tracks.remove(&variant.id);
            self.floor.forget_voice(variant.id);
            if variant.published.is_some() {
                self.command(Command::Unpublish { track: variant.id });
            }
        }
    }

    pub(in crate::signal::room) fn mute_by_client(&mut self, key: MemberKey, sid: &str, muted: bool) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == sid) else { return };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        let published: Vec<TrackId> =
            track.variants().filter(|v| v.published.is_some()).map(|v| v.id).collect();
        let needs_keyframe = !muted && track.kind == MediaKind::Video;
        if published.is_empty() {
            return;
        }
        for track in published {
            self.command(Command::Mute { track, muted });
            if needs_keyframe {
                self.command(Command::RequestKeyframe { track });
            }
        }
        self.announce(key);
        self.note_media(key);
    }

    pub(in crate::signal::room) fn update_audio_track(
        &mut self,
        key: MemberKey,
        request: &proto::UpdateLocalAudioTrack,
    ) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == request.track_sid) {
            track.info.audio_features = audio_features(&request.features);
            self.announce(key);
        }
    }

    pub(in crate::signal::room) fn update_video_track(
        &mut self,
        key: MemberKey,
        request: &proto::UpdateLocalVideoTrack,
    ) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if let Some(track) = member.tracks.iter_mut().find(|t| t.info.sid == request.track_sid) {
            track.info.width = request.width;
            track.info.height = request.height;
            self.announce(key);
        }
    }

    /// Has the store told which media a member sends, when that changed.
    pub(in crate::signal::room) fn note_media(&mut self, key: MemberKey) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let sends = |kind| member.tracks.iter().any(|t| t.is_published() && t.kind == kind && !t.info.muted);
        let media = (sends(MediaKind::Audio), sends(MediaKind::Video));
        if media != member.media {
            member.media = media;
            let admission = member.admission.clone();
            self.effects.push(Effect::Media { admission, audio: media.0, video: media.1 });
        }
    }
}

/// Commands for a codec of a track whose parameters are known or changed.
fn published(
    track: &Track,
    id: TrackId,
    peer: PeerId,
    is_new: bool,
) -> impl Iterator<Item = Command> + use<> {
    let mute = (is_new && track.info.muted).then_some(Command::Mute { track: id, muted: true });
    track.publish(id, peer).map(|publish| Command::Publish(Box::new(publish))).into_iter().chain(mute)
}
