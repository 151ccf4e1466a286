//! Media sections of one subscriber: which stream goes where, and when a place may be used again.
//!
//! A section never disappears from a description (RFC 8829 section 5.2.2), so places are reused, by kind. A place whose stream
//! ended must first have been answered as inactive: a browser that sees one stream replaced by another in one step never
//! tells its page that a track was added.

use dataplane::base::ids::{Mid, StreamId};
use dataplane::base::media::{Codec, MediaKind};

use crate::sdp::SECTIONS_MAX;
use crate::sdp::offer::{OfferSection, Sending};
use crate::sdp::table;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// Answered as inactive, or never offered.
    Free,
    /// Carries this stream.
    Stream(StreamId),
    /// Its stream ended; the client may not know yet.
    Ending,
}

struct Slot {
    section: OfferSection,
    used: Use,
    /// Whether the last offer sent showed it with a stream.
    shown: bool,
}

/// Sections of one subscriber's connection, in order, without the data section.
#[derive(Default)]
pub struct Sections {
    slots: Vec<Slot>,
}

impl Sections {
    /// Gives a stream a place; `None` if there are too many.
    pub fn assign(
        &mut self,
        stream: StreamId,
        kind: MediaKind,
        codecs: Vec<Codec>,
        sending: Sending,
    ) -> Option<usize> {
        let free = self.slots.iter().position(|s| s.used == Use::Free && s.section.kind == kind);
        let index = match free {
            Some(index) => index,
            // One section of a description is the data section.
            None if self.slots.len() + 1 < SECTIONS_MAX => {
                let mid = table::mid(self.slots.len() + 1);
                let section = OfferSection { mid, kind, codecs: Vec::new(), sending: None };
                self.slots.push(Slot { section, used: Use::Free, shown: false });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index];
        slot.used = Use::Stream(stream);
        slot.section.codecs = codecs;
        slot.section.sending = Some(sending);
        Some(index)
    }

    /// Takes a stream off its place.
    pub fn release(&mut self, stream: StreamId) {
        if let Some(slot) = self.slots.iter_mut().find(|s| s.used == Use::Stream(stream)) {
            slot.section.sending = None;
            slot.used = if slot.shown { Use::Ending } else { Use::Free };
        }
    }

    /// The sections as they are to be offered now.
    pub fn offered(&mut self) -> Vec<OfferSection> {
        for slot in &mut self.slots {
            slot.shown |= slot.section.sending.is_some();
        }
        self.slots.iter().map(|s| s.section.clone()).collect()
    }

    /// The client answered this offer: places it knows to be inactive are free.
    pub fn answered(&mut self, offered: &[OfferSection]) {
        for (slot, offered) in self.slots.iter_mut().zip(offered) {
            if offered.sending.is_none() && slot.used == Use::Ending {
                slot.used = Use::Free;
                slot.shown = false;
            }
        }
    }

    /// The tag of a place.
    #[must_use]
    pub fn mid(&self, index: usize) -> Mid {
        self.slots.get(index).map(|s| s.section.mid).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use dataplane::base::ids::Ssrc;

    use super::*;

    fn sending(track: &str) -> Sending {
        Sending { participant: "PA_x".into(), track: track.into(), ssrc: Ssrc(1), rtx: None, stereo: false }
    }

    fn assign(sections: &mut Sections, stream: u32, kind: MediaKind) -> Option<usize> {
        sections.assign(StreamId(stream), kind, vec![Codec::Vp8], sending("TR_x"))
    }

    #[test]
    fn a_place_is_reused_only_after_the_client_knew_it_empty() {
        let mut sections = Sections::default();
        assert_eq!(assign(&mut sections, 1, MediaKind::Video), Some(0));
        let first = sections.offered();
        sections.answered(&first);
        sections.release(StreamId(1));
        assert_eq!(assign(&mut sections, 2, MediaKind::Video), Some(1), "the old place is still ending");
        let second = sections.offered();
        assert!(second[0].sending.is_none() && second[1].sending.is_some());
        sections.answered(&second);
        assert_eq!(assign(&mut sections, 3, MediaKind::Video), Some(0));
        assert_eq!(sections.count(), 2);
    }

    #[test]
    fn an_answer_to_an_older_offer_frees_nothing() {
        let mut sections = Sections::default();
        assert_eq!(assign(&mut sections, 1, MediaKind::Video), Some(0));
        let older = sections.offered();
        sections.release(StreamId(1));
        sections.answered(&older);
        assert_eq!(assign(&mut sections, 2, MediaKind::Video), Some(1));
    }

    #[test]
    fn a_place_never_shown_is_free_at_once_and_kinds_do_not_mix() {
        let mut sections = Sections::default();
        assert_eq!(assign(&mut sections, 1, MediaKind::Video), Some(0));
        sections.release(StreamId(1));
        assert_eq!(assign(&mut sections, 2, MediaKind::Audio), Some(1));
        assert_eq!(assign(&mut sections, 3, MediaKind::Video), Some(0));
    }

    #[test]
    fn the_number_of_sections_has_a_bound() {
        let mut sections = Sections::default();
        for stream in 1..SECTIONS_MAX as u32 {
            assert!(assign(&mut sections, stream, MediaKind::Audio).is_some());
        }
        assert_eq!(assign(&mut sections, 1_000_000, MediaKind::Audio), None);
    }
}
