//! Members with one connection for both directions (protocol v1): they offer, and our answers say what they receive.
//!
//! Order of one offer: streams are given to its free sections, and refused in which the client decodes nothing; the answer names
//! them; then they begin. What found no section is asked for.

use dataplane::base::ids::{Mid, StreamId};
use dataplane::base::media::Codec;

use super::codecs::is_decodable;
use super::stream::{Stream, Supply, Taken};
use crate::sdp::answer;
use crate::sdp::description::Description;
use crate::signal::messages;
use crate::signal::negotiation::Next;
use crate::signal::room::{Member, MemberKey, Room};

impl Room {
    /// Gives streams that wait to the sections of a client's offer, before it is answered.
    pub(in crate::signal::room) fn place_streams(&mut self, key: MemberKey, offer: &Description) {
        let Some(slots) = self.members.get_mut(&key).and_then(|m| m.subscriber.slots.as_mut()) else {
            return;
        };
        let lost = slots.offered(offer);
        let placed: Vec<(StreamId, Mid, Vec<Codec>)> =
            slots.placed().map(|(stream, mid, codecs)| (stream, mid, codecs.to_vec())).collect();
        for stream in lost {
            let Some(sid) = self.members.get(&key).and_then(|m| sid_of(m, stream)) else { continue };
            let Some(track) = self.track(&sid).map(|(_, track)| track.id()) else { continue };
            self.end_stream(key, &sid);
            self.reconcile(key, track);
        }
        for (stream, mid, codecs) in placed {
            let Some(section) = offer.sections.iter().find(|section| section.mid == mid) else { continue };
            let Some(sid) = self.members.get(&key).and_then(|m| sid_of(m, stream)) else { continue };
            let formats = answer::taken_formats(section, &codecs);
            let Some((_, track)) = self.track(&sid) else { continue };
            if !is_decodable(track, &formats) {
                self.refuse_stream(key, &sid);
                continue;
            }
            let extensions = answer::taken_extensions(section);
            let member = self.members.get_mut(&key);
            if let Some(stream) = member.and_then(|m| m.subscriber.streams.get_mut(&sid)) {
                stream.taken = Some(Taken { mid, formats, extensions });
            }
        }
    }

    /// Begins the streams that the answer just sent names for the first time.
    pub(in crate::signal::room) fn begin_placed(&mut self, key: MemberKey, offer: &Description) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(slots) = &mut member.subscriber.slots else { return };
        let begun = slots.answered();
        // An offer that crossed our request is not its fulfilment: the one that is follows.
        if slots.is_met() {
            slots.forget_request();
            let is_waiting = slots.is_waiting();
            member.subscriber.negotiation.settle();
            if is_waiting {
                member.subscriber.negotiation.request();
            }
        }
        for (stream, mid) in begun {
            debug_assert!(offer.sections.iter().any(|section| section.mid == mid), "only what was offered");
            let Some(member) = self.members.get(&key) else { return };
            let Some(sid) = sid_of(member, stream) else { continue };
            let is_new = |stream: &Stream| stream.supply == Supply::Offered;
            if member.subscriber.streams.get(&sid).is_some_and(is_new) {
                self.supply(key, &sid);
            }
        }
    }

    /// Asks the client for an offer when one is due, with the receiving sections that are missing.
    pub(in crate::signal::room) fn request_offer(&mut self, now_ms: u64, key: MemberKey) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let subscriber = &mut member.subscriber;
        if !matches!(subscriber.next(now_ms), Next::Offer(_)) {
            return;
        }
        let Some(slots) = &mut subscriber.slots else { return };
        let _ = subscriber.negotiation.poll(now_ms, slots.count());
        let more = slots.request();
        self.send(key, messages::media_sections(more));
    }
}

/// The track that a stream carries.
fn sid_of(member: &Member, id: StreamId) -> Option<String> {
    let found = member.subscriber.streams.iter().find(|(_, stream)| stream.id == id);
    found.map(|(sid, _)| sid.clone())
}
