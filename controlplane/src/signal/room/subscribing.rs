//! Who receives what: wishes, streams, our offers and the clients' answers.

use dataplane::base::ids::{Ssrc, TrackId};
use dataplane::base::media::MediaKind;
use dataplane::command::{Command, RemotePeer, Subscribe, Wanted};
use livekit_protocol as proto;

use super::Room;
use super::member::{MemberKey, Remote, Stream};
use crate::sdp::SdpError;
use crate::sdp::description::Description;
use crate::sdp::lines::LocalTransport;
use crate::sdp::offer::{self, Sending};
use crate::sdp::table;
use crate::signal::ids;
use crate::signal::messages;
use crate::signal::negotiation::Next;
use crate::signal::track::LAYER_ANY;

/// Most wishes kept of one member; tracks come and go, so twice what it can receive at a time.
const WISHES_MAX: usize = 1_024;

impl Room {
    /// Gives a new member what is there.
    pub(super) fn subscribe_member(&mut self, key: MemberKey) {
        let tracks: Vec<TrackId> = self
            .members
            .iter()
            .filter(|(other, _)| **other != key)
            .flat_map(|(_, m)| m.tracks.iter().filter(|t| t.published.is_some()).map(|t| t.id))
            .collect();
        for track in tracks {
            self.reconcile(key, track);
        }
    }

    /// Gives a new track to everybody who wants it.
    pub(super) fn subscribe_track(&mut self, track: TrackId) {
        let keys: Vec<MemberKey> = self.members.keys().copied().collect();
        for key in keys {
            self.reconcile(key, track);
        }
    }

    /// Begins or ends the stream of one track to one member, as that member wishes.
    fn reconcile(&mut self, key: MemberKey, id: TrackId) {
        let Some((publisher, track)) = self.track_by_id(id) else { return };
        if publisher == key || track.published.is_none() {
            return;
        }
        let sid = track.info.sid.clone();
        let kind = track.kind;
        let codecs = track.formats().iter().map(|f| f.codec).collect();
        let stereo = track.preferences().stereo;
        let Some(participant) = self.members.get(&publisher).map(|m| m.sid.clone()) else { return };
        let Some(member) = self.members.get_mut(&key) else { return };
        let wish = member.subscriber.wishes.get(&sid).copied().unwrap_or(member.client.auto_subscribe);
        let has = member.subscriber.streams.contains_key(&sid);
        if wish == has {
            return;
        }
        if !wish {
            self.end_stream(key, &sid);
            return;
        }
        let stream = self.ids.stream();
        let rtx = (kind == MediaKind::Video).then(|| Ssrc(ids::number()));
        let ssrc = Ssrc(ids::number());
        let sending = Sending { participant, track: sid.clone(), ssrc, rtx, stereo };
        let subscriber = &mut member.subscriber;
        let Some(place) = subscriber.sections.assign(stream, kind, codecs, sending) else {
            let message = messages::subscription_refused(&sid, proto::SubscriptionError::SeUnknown);
            self.send(key, message);
            return;
        };
        subscriber.streams.insert(sid, Stream { id: stream, track: id, ssrc, rtx, place, sent: false });
        subscriber.negotiation.request();
        self.streams.insert(stream, key);
    }

    fn end_stream(&mut self, key: MemberKey, sid: &str) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(stream) = member.subscriber.streams.remove(sid) else { return };
        member.subscriber.sections.release(stream.id);
        member.subscriber.negotiation.request();
        self.streams.remove(&stream.id);
        if stream.sent {
            self.command(Command::Unsubscribe { stream: stream.id });
        }
    }

    /// Ends every stream of a track.
    pub(super) fn drop_streams_of(&mut self, track: TrackId) {
        let streams: Vec<(MemberKey, String)> = self
            .members
            .iter()
            .flat_map(|(key, m)| {
                m.subscriber.streams.iter().map(move |(sid, stream)| (*key, sid, stream.track))
            })
            .filter(|(_, _, of)| *of == track)
            .map(|(key, sid, _)| (key, sid.clone()))
            .collect();
        for (key, sid) in streams {
            self.end_stream(key, &sid);
        }
    }

    pub(super) fn update_subscription(&mut self, key: MemberKey, request: &proto::UpdateSubscription) {
        let grouped = request.participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in request.track_sids.iter().chain(grouped).take(WISHES_MAX) {
            let Some(track) = self.track(sid).map(|(_, track)| track.id) else { continue };
            let Some(member) = self.members.get_mut(&key) else { return };
            let wishes = &mut member.subscriber.wishes;
            if wishes.len() < WISHES_MAX || wishes.contains_key(sid) {
                wishes.insert(sid.clone(), request.subscribe);
            }
            self.reconcile(key, track);
        }
    }

    pub(super) fn track_settings(&mut self, key: MemberKey, settings: &proto::UpdateTrackSettings) {
        for sid in settings.track_sids.iter().take(WISHES_MAX) {
            let Some((_, track)) = self.track(sid) else { continue };
            let wanted = track.wanted(settings);
            let Some(member) = self.members.get_mut(&key) else { return };
            let before = member.subscriber.wanted.insert(sid.clone(), wanted);
            let stream = member.subscriber.streams.get(sid).filter(|s| s.sent).map(|s| s.id);
            if let Some(stream) = stream.filter(|_| before != Some(wanted)) {
                self.command(Command::Want { stream, wanted });
            }
        }
    }

    /// Sends the offers that are due.
    pub(super) fn send_offers(&mut self, now_ms: u64) {
        let keys: Vec<MemberKey> =
            self.members.iter().filter(|(_, m)| m.connection.is_some()).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(member) = self.members.get_mut(&key) else { continue };
            let subscriber = &mut member.subscriber;
            let Next::Offer(id) = subscriber.negotiation.poll(now_ms, subscriber.sections.count()) else {
                continue;
            };
            subscriber.offered = subscriber.sections.offered();
            subscriber.peer.version += 1;
            let local = LocalTransport {
                ice: &subscriber.peer.ice,
                fingerprint: self.plane.fingerprint,
                candidates: &self.plane.candidates,
                session: subscriber.peer.session,
                version: subscriber.peer.version,
            };
            let sdp = offer::offer(&local, &subscriber.offered);
            let tracks = subscriber.offered.iter().filter_map(|section| {
                Some((section.mid.as_str().to_owned(), section.sending.as_ref()?.track.clone()))
            });
            let message = messages::offer(sdp, id, tracks);
            self.send(key, message);
        }
    }

    pub(super) fn subscriber_answer(&mut self, key: MemberKey, description: &proto::SessionDescription) {
        match Description::parse(&description.sdp) {
            Ok(answer) => {
                if let Err(error) = self.take_answer(key, &answer, description.id) {
                    self.refuse(key, error);
                }
            }
            Err(error) => self.refuse(key, error),
        }
    }

    fn take_answer(&mut self, key: MemberKey, answer: &Description, id: u32) -> Result<(), SdpError> {
        let Some(member) = self.members.get_mut(&key) else { return Ok(()) };
        let subscriber = &mut member.subscriber;
        if !subscriber.negotiation.answered(id) {
            return Ok(());
        }
        offer::check_answer(answer, &subscriber.offered)?;
        let mut commands = Vec::new();
        let theirs =
            Remote { ufrag: answer.transport.ufrag.clone(), fingerprint: answer.transport.fingerprint };
        if subscriber.peer.remote.as_ref() != Some(&theirs) {
            if subscriber.peer.remote.as_ref().is_some_and(|r| r.fingerprint != theirs.fingerprint) {
                return Err(SdpError::Fingerprint);
            }
            commands.push(Command::RemotePeer(Box::new(RemotePeer {
                peer: subscriber.peer.id,
                ufrag: theirs.ufrag.clone(),
                fingerprint: theirs.fingerprint,
            })));
            subscriber.peer.remote = Some(theirs);
        }
        subscriber.sections.answered(&subscriber.offered);
        let peer = subscriber.peer.id;
        let mut begin: Vec<(String, TrackId, Subscribe)> = Vec::new();
        let mut refused = Vec::new();
        for (sid, stream) in &mut subscriber.streams {
            if stream.sent {
                continue;
            }
            // An answer to an offer from before this stream says nothing about it.
            let offered = subscriber.offered.get(stream.place).and_then(|s| s.sending.as_ref());
            if offered.is_none_or(|sending| sending.ssrc != stream.ssrc) {
                continue;
            }
            let Some(section) = answer.sections.get(stream.place + 1) else { continue };
            let kind = subscriber.offered[stream.place].kind;
            begin.push((
                sid.clone(),
                stream.track,
                Subscribe {
                    stream: stream.id,
                    peer,
                    track: stream.track,
                    mid: section.mid,
                    ssrc: stream.ssrc,
                    rtx: stream.rtx,
                    formats: Vec::new(),
                    extensions: table::accepted_extensions(kind, &section.extensions),
                },
            ));
        }
        for (sid, track, mut subscribe) in begin {
            let Some((publisher, published)) = self.track_by_id(track) else { continue };
            let place = answer.sections.iter().find(|s| s.mid == subscribe.mid);
            subscribe.formats =
                place.map_or_else(Vec::new, |s| offer::accepted_formats(published.formats(), s));
            let tell_publisher = !published.subscribed;
            if subscribe.formats.is_empty() {
                refused.push(sid);
                continue;
            }
            if subscribe.formats.iter().all(|f| f.rtx_pt.is_none()) {
                subscribe.rtx = None;
            }
            let Some(member) = self.members.get_mut(&key) else { continue };
            if let Some(stream) = member.subscriber.streams.get_mut(&sid) {
                stream.sent = true;
            }
            let wanted = member.subscriber.wanted.get(&sid).copied();
            let stream = subscribe.stream;
            commands.push(Command::Subscribe(Box::new(subscribe)));
            let usual = Wanted { layer_max: LAYER_ANY, ..Wanted::ALL };
            commands.extend(wanted.filter(|w| *w != usual).map(|wanted| Command::Want { stream, wanted }));
            if tell_publisher {
                self.send(publisher, messages::track_subscribed(&sid));
                let tracks = self.members.get_mut(&publisher).map(|m| &mut m.tracks);
                if let Some(track) = tracks.and_then(|t| t.iter_mut().find(|t| t.id == track)) {
                    track.subscribed = true;
                }
            }
        }
        for command in commands {
            self.command(command);
        }
        for sid in refused {
            let message = messages::subscription_refused(&sid, proto::SubscriptionError::SeCodecUnsupported);
            self.send(key, message);
            if let Some(member) = self.members.get_mut(&key) {
                member.subscriber.wishes.insert(sid.clone(), false);
            }
            self.end_stream(key, &sid);
        }
        Ok(())
    }
}
