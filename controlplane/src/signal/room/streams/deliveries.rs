//! What the packet core says about streams: kept for whoever asks, counted by reason, and pauses told to the receiver.

use dataplane::base::ids::StreamId;
use dataplane::base::media::MediaKind;
use dataplane::base::reason::Reason;
use dataplane::command::Delivery;

use crate::signal::messages;
use crate::signal::room::{MemberKey, Room};

/// How many streams are sent with less than there could be, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally([u32; Reason::COUNT]);

impl Tally {
    /// A stream is reduced for another reason than before, or no longer.
    pub(in crate::signal::room) const fn replace(&mut self, before: Option<Reason>, after: Option<Reason>) {
        if let Some(before) = before {
            self.0[before as usize] = self.0[before as usize].saturating_sub(1);
        }
        if let Some(after) = after {
            self.0[after as usize] += 1;
        }
    }

    /// The number of each reason.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u32)> + use<> {
        Reason::ALL.iter().copied().zip(self.0)
    }
}

impl Room {
    /// A stream is sent otherwise than before.
    pub(in crate::signal::room) fn delivered(&mut self, id: StreamId, delivery: Delivery) {
        let Some((key, track)) = self.streams.get(&id).copied() else {
            return self.delivered_to_player(id, delivery);
        };
        let Some((publisher, track)) = self.track_by_id(track) else { return };
        let (sid, kind) = (track.info.sid.clone(), track.kind);
        let Some(publisher) = self.members.get(&publisher).map(|m| m.sid.clone()) else { return };
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(stream) = member.subscriber.streams.get_mut(&sid).filter(|s| s.id == id) else { return };
        let was_paused = stream.delivery.is_some_and(|before| before.paused);
        let before = stream.reason();
        stream.delivery = Some(delivery);
        self.reasons.replace(before, stream.reason());
        // Voices come and go with who speaks: no pause that a person has to be told of.
        if kind == MediaKind::Video && was_paused != delivery.paused {
            let state = (publisher.as_str(), sid.as_str(), delivery.paused);
            self.send(key, messages::stream_states(std::iter::once(state)));
        }
    }

    /// Tells a receiver again which of its streams are held back: it may have been away.
    pub(in crate::signal::room) fn repeat_stream_states(&mut self, key: MemberKey) {
        let Some(member) = self.members.get(&key) else { return };
        let states: Vec<(&str, &str, bool)> = member
            .subscriber
            .streams
            .iter()
            .filter_map(|(sid, stream)| {
                let paused = stream.delivery?.paused;
                let (publisher, track) = self.track_by_id(stream.track)?;
                let publisher = self.members.get(&publisher).filter(|_| track.kind == MediaKind::Video)?;
                Some((publisher.sid.as_str(), sid.as_str(), paused))
            })
            .collect();
        if !states.is_empty() {
            let message = messages::stream_states(states.into_iter());
            self.send(key, message);
        }
    }
}
