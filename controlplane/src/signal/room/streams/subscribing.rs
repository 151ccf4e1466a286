//! Who receives what: wishes, streams, our offers and the clients' answers.

use dataplane::base::ids::{Ssrc, TrackId};
use dataplane::base::media::MediaKind;
use dataplane::command::{Command, RemotePeer, Wanted};
use livekit_protocol as proto;

use super::codecs::offered_codecs;
use super::stream::{Stream, Supply, Taken};
use crate::sdp::SdpError;
use crate::sdp::description::Description;
use crate::sdp::lines::LocalTransport;
use crate::sdp::offer::{self, Sending};
use crate::sdp::table;
use crate::signal::ids;
use crate::signal::messages;
use crate::signal::negotiation::Next;
use crate::signal::room::peer::Remote;
use crate::signal::room::{Effect, MemberKey, Room};
use crate::signal::settings::Settings;
use crate::signal::track::Track;

/// Most wishes kept of one member; tracks come and go, so twice what it can receive at a time.
const WISHES_MAX: usize = 1_024;

impl Room {
    /// Gives a new member what is there.
    pub(in crate::signal::room) fn subscribe_member(&mut self, key: MemberKey) {
        let tracks: Vec<TrackId> = self
            .members
            .iter()
            .filter(|(other, _)| **other != key)
            .flat_map(|(_, m)| m.tracks.iter().filter(|t| t.is_published()).map(Track::id))
            .collect();
        for track in tracks {
            self.reconcile(key, track);
        }
    }

    /// Gives a new track to everybody who wants it.
    pub(in crate::signal::room) fn subscribe_track(&mut self, track: TrackId) {
        let keys: Vec<MemberKey> = self.members.keys().copied().collect();
        for key in keys {
            self.reconcile(key, track);
        }
    }

    /// Begins or ends the stream of one track to one member, as that member wishes and can.
    pub(in crate::signal::room) fn reconcile(&mut self, key: MemberKey, id: TrackId) {
        let Some((publisher, track)) = self.track_by_id(id) else { return };
        if publisher == key || !track.is_published() {
            return;
        }
        let (id, sid, kind) = (track.id(), track.info.sid.clone(), track.kind);
        let codecs = offered_codecs(track);
        let stereo = track.preferences(id).stereo;
        let Some(participant) = self.members.get(&publisher).map(|m| m.sid.clone()) else { return };
        let is_let = self.is_let(key, publisher, &sid);
        let Some(member) = self.members.get_mut(&key) else { return };
        let subscriber = &mut member.subscriber;
        let wish = subscriber.wishes.get(&sid).copied().unwrap_or(member.client.auto_subscribe);
        let wish = wish && is_let && member.grant.subscribe;
        let has = subscriber.streams.contains_key(&sid);
        if wish == has || subscriber.undecodable.contains(&sid) {
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
        let place = match &mut subscriber.slots {
            // Its place is a section of the client's next offer.
            Some(slots) => slots.wait(stream, kind, codecs, sending).then_some(0),
            None => subscriber.sections.assign(stream, kind, codecs, sending),
        };
        let Some(place) = place else {
            let message = messages::subscription_refused(&sid, proto::SubscriptionError::SeUnknown);
            self.send(key, message);
            return;
        };
        let new = Stream {
            id: stream,
            track: id,
            ssrc,
            rtx,
            place,
            supply: Supply::Offered,
            taken: None,
            wanted: Wanted::ALL,
            delivery: None,
        };
        subscriber.streams.insert(sid, new);
        subscriber.negotiation.request();
        self.streams.insert(stream, (key, id));
        self.touched.insert(id);
    }

    pub(in crate::signal::room) fn end_stream(&mut self, key: MemberKey, sid: &str) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(stream) = member.subscriber.streams.remove(sid) else { return };
        match &mut member.subscriber.slots {
            Some(slots) => slots.release(stream.id),
            None => member.subscriber.sections.release(stream.id),
        }
        member.subscriber.negotiation.request();
        self.streams.remove(&stream.id);
        self.reasons.replace(stream.reason(), None);
        self.touched.insert(stream.track);
        if stream.sent().is_some() {
            self.command(Command::Unsubscribe { stream: stream.id });
        }
    }

    /// Ends every stream of a track, and forgets who could not decode it.
    pub(in crate::signal::room) fn drop_streams_of(&mut self, sid: &str) {
        self.forget_undecodable(sid, None);
        let keys: Vec<MemberKey> = self.members.keys().copied().collect();
        for key in keys {
            self.end_stream(key, sid);
        }
    }

    pub(in crate::signal::room) fn update_subscription(
        &mut self,
        key: MemberKey,
        request: &proto::UpdateSubscription,
    ) {
        let grouped = request.participant_tracks.iter().flat_map(|p| &p.track_sids);
        for sid in request.track_sids.iter().chain(grouped).take(WISHES_MAX) {
            let Some(track) = self.track(sid).map(|(_, track)| track.id()) else { continue };
            if request.subscribe {
                self.forget_undecodable(sid, Some(key));
            }
            let Some(member) = self.members.get_mut(&key) else { return };
            let wishes = &mut member.subscriber.wishes;
            if wishes.len() < WISHES_MAX || wishes.contains_key(sid) {
                wishes.insert(sid.clone(), request.subscribe);
            }
            self.reconcile(key, track);
        }
    }

    pub(in crate::signal::room) fn track_settings(
        &mut self,
        key: MemberKey,
        message: &proto::UpdateTrackSettings,
    ) {
        let settings = Settings::read(message);
        for sid in message.track_sids.iter().take(WISHES_MAX) {
            self.settle(key, sid, settings);
        }
    }

    /// Pauses the tracks that a client which comes back says it had paused.
    pub(in crate::signal::room) fn pause_tracks(&mut self, key: MemberKey, sids: &[String]) {
        for sid in sids.iter().take(WISHES_MAX) {
            let said = self.members.get(&key).and_then(|m| m.subscriber.settings.get(sid)).copied();
            self.settle(key, sid, said.unwrap_or(Settings::unsaid()).paused());
        }
    }

    /// Keeps one member's settings for a track and tells the packet plane what they mean.
    fn settle(&mut self, key: MemberKey, sid: &str, settings: Settings) {
        let Some((publisher, track)) = self.track(sid) else { return };
        if publisher == key {
            return;
        }
        let id = track.id();
        let stream = self.members.get(&key).and_then(|m| m.subscriber.streams.get(sid));
        let sent = stream.and_then(Stream::sent);
        let wanted = track.wanted(sent.unwrap_or(id), &settings);
        let Some(member) = self.members.get_mut(&key) else { return };
        member.subscriber.settings.insert(sid.to_owned(), settings);
        self.touched.insert(id);
        let Some(stream) = member.subscriber.streams.get_mut(sid).filter(|_| sent.is_some()) else { return };
        if std::mem::replace(&mut stream.wanted, wanted) != wanted {
            let stream = stream.id;
            self.command(Command::Want { stream, wanted });
        }
    }

    /// Sends the offers that are due.
    pub(in crate::signal::room) fn send_offers(&mut self, now_ms: u64) {
        let keys: Vec<MemberKey> =
            self.members.iter().filter(|(_, m)| m.connection.is_some()).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(member) = self.members.get_mut(&key) else { continue };
            let subscriber = &mut member.subscriber;
            if subscriber.slots.is_some() {
                self.request_offer(now_ms, key);
                continue;
            }
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

    pub(in crate::signal::room) fn subscriber_answer(
        &mut self,
        key: MemberKey,
        description: &proto::SessionDescription,
    ) {
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
        // A client that offers itself answers nothing.
        if subscriber.slots.is_some() || !subscriber.negotiation.answered(id) {
            return Ok(());
        }
        offer::check_answer(answer, &subscriber.offered)?;
        let theirs =
            Remote { ufrag: answer.transport.ufrag.clone(), fingerprint: answer.transport.fingerprint };
        if subscriber.peer.remote.as_ref() != Some(&theirs) {
            if subscriber.peer.remote.as_ref().is_some_and(|r| r.fingerprint != theirs.fingerprint) {
                return Err(SdpError::Fingerprint);
            }
            let command = Command::RemotePeer(Box::new(RemotePeer {
                peer: subscriber.peer.id,
                ufrag: theirs.ufrag.clone(),
                fingerprint: theirs.fingerprint,
            }));
            subscriber.peer.remote = Some(theirs);
            self.effects.push(Effect::Command(command));
        }
        subscriber.sections.answered(&subscriber.offered);
        let mut answered = Vec::new();
        for (sid, stream) in &mut subscriber.streams {
            if stream.supply != Supply::Offered {
                continue;
            }
            // An answer to an offer from before this stream says nothing about it.
            let offered = subscriber.offered.get(stream.place);
            let Some(offered) =
                offered.filter(|o| o.sending.as_ref().is_some_and(|sending| sending.ssrc == stream.ssrc))
            else {
                continue;
            };
            let Some(section) = answer.sections.get(stream.place + 1) else { continue };
            stream.taken = Some(Taken {
                mid: section.mid,
                formats: offer::taken_formats(section),
                extensions: table::accepted_extensions(offered.kind, &section.extensions),
            });
            answered.push(sid.clone());
        }
        for sid in answered {
            self.supply(key, &sid);
        }
        Ok(())
    }
}
