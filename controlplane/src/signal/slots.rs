//! Receiving sections of a client with one connection (protocol v1): the client offers them, the answer fills them.
//!
//! A stream waits until the client's offer has a free section of its kind, in which the client only receives. When there are
//! too few the client is asked for more (`media_sections_requirement`), once per offer that is to bring them. A section whose
//! stream ended is answered inactive before it carries another: a page never hears of a track that replaces another in one
//! step.
//! Not here: when to ask (`negotiation`), what an answer says (`sdp::answer`).

use dataplane::base::ids::{Mid, StreamId};
use dataplane::base::media::{Codec, MediaKind};

use crate::sdp::SECTIONS_MAX;
use crate::sdp::answer::Carried;
use crate::sdp::attributes::Direction;
use crate::sdp::description::{Description, SectionKind};
use crate::sdp::offer::Sending;

/// A stream and what its section says of it.
struct Load {
    stream: StreamId,
    kind: MediaKind,
    codecs: Vec<Codec>,
    sending: Sending,
}

enum Use {
    /// Carries nothing, and the client knows.
    Free,
    /// Carries this stream; true once an answer said so.
    Carries(Load, bool),
    /// Its stream ended; the client may not know yet.
    Ending,
}

struct Slot {
    mid: Mid,
    kind: MediaKind,
    used: Use,
}

/// How many sections of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// For sound.
    pub audios: usize,
    /// For pictures.
    pub videos: usize,
}

impl Count {
    fn add(&mut self, kind: MediaKind) {
        match kind {
            MediaKind::Audio => self.audios += 1,
            MediaKind::Video => self.videos += 1,
        }
    }

    const fn of(self, kind: MediaKind) -> usize {
        match kind {
            MediaKind::Audio => self.audios,
            MediaKind::Video => self.videos,
        }
    }
}

/// The receiving sections of one client, in the order of its offers.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    waiting: Vec<Load>,
    /// Sections there must be in an offer that answers our last request.
    expected: Count,
}

impl Slots {
    /// Takes a stream that is to be carried; false if there are too many.
    #[must_use]
    pub fn wait(&mut self, stream: StreamId, kind: MediaKind, codecs: Vec<Codec>, sending: Sending) -> bool {
        if self.waiting.len() + self.carried().count() + 1 >= SECTIONS_MAX {
            return false;
        }
        self.waiting.push(Load { stream, kind, codecs, sending });
        true
    }

    /// Takes a stream off its section, or off those that wait.
    pub fn release(&mut self, stream: StreamId) {
        self.waiting.retain(|load| load.stream != stream);
        for slot in &mut self.slots {
            match &slot.used {
                Use::Carries(load, shown) if load.stream == stream => {
                    slot.used = if *shown { Use::Ending } else { Use::Free };
                }
                Use::Carries(..) | Use::Free | Use::Ending => {}
            }
        }
    }

    /// Takes the receiving sections of the client's offer and gives those that are free to streams that wait. Streams that the
    /// client knew and whose section is no more: they are let go of and must begin anew.
    #[must_use]
    pub fn offered(&mut self, offer: &Description) -> Vec<StreamId> {
        let mut before = std::mem::take(&mut self.slots);
        for section in &offer.sections {
            let SectionKind::Media(kind) = section.kind else { continue };
            if section.rejected || section.direction != Direction::RecvOnly {
                continue;
            }
            let known = before.iter().position(|slot| slot.mid == section.mid && slot.kind == kind);
            let used = known.map_or(Use::Free, |index| before.swap_remove(index).used);
            self.slots.push(Slot { mid: section.mid, kind, used });
        }
        // The client no longer receives in these.
        let mut lost = Vec::new();
        for slot in before {
            match slot.used {
                Use::Carries(load, true) => lost.push(load.stream),
                Use::Carries(load, false) => self.waiting.push(load),
                Use::Free | Use::Ending => {}
            }
        }
        for load in std::mem::take(&mut self.waiting) {
            let is_free = |slot: &&mut Slot| matches!(slot.used, Use::Free) && slot.kind == load.kind;
            match self.slots.iter_mut().find(is_free) {
                Some(slot) => slot.used = Use::Carries(load, false),
                None => self.waiting.push(load),
            }
        }
        lost
    }

    /// The answer to the offer is written: the client knows what each section carries. Streams it hears of for the first time.
    pub fn answered(&mut self) -> Vec<(StreamId, Mid)> {
        let mut new = Vec::new();
        for slot in &mut self.slots {
            match &mut slot.used {
                Use::Carries(load, shown) => {
                    if !std::mem::replace(shown, true) {
                        new.push((load.stream, slot.mid));
                    }
                }
                Use::Ending => slot.used = Use::Free,
                Use::Free => {}
            }
        }
        new
    }

    /// Streams given to a section that no answer has named yet, with the section and the stream's codecs.
    pub fn placed(&self) -> impl Iterator<Item = (StreamId, Mid, &[Codec])> {
        self.slots.iter().filter_map(|slot| match &slot.used {
            Use::Carries(load, false) => Some((load.stream, slot.mid, load.codecs.as_slice())),
            Use::Carries(..) | Use::Free | Use::Ending => None,
        })
    }

    /// What the section of this tag carries.
    #[must_use]
    pub fn carries(&self, mid: Mid) -> Option<Carried<'_>> {
        let (_, load) = self.carried().find(|(of, _)| *of == mid)?;
        Some(Carried { sending: &load.sending, codecs: &load.codecs })
    }

    /// The track of each section that carries one.
    #[must_use]
    pub fn tracks(&self) -> Vec<(String, String)> {
        self.carried().map(|(mid, load)| (mid.as_str().to_owned(), load.sending.track.clone())).collect()
    }

    /// Sections that are needed beyond those there are.
    #[must_use]
    pub fn missing(&self) -> Count {
        let mut wanted = Count::default();
        for load in &self.waiting {
            wanted.add(load.kind);
        }
        let mut free = Count::default();
        for slot in self.slots.iter().filter(|slot| matches!(slot.used, Use::Free)) {
            free.add(slot.kind);
        }
        let missing = |kind| wanted.of(kind).saturating_sub(free.of(kind));
        Count { audios: missing(MediaKind::Audio), videos: missing(MediaKind::Video) }
    }

    /// Whether some stream waits for a section.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The client is asked for an offer; how many sections it must add.
    pub fn request(&mut self) -> Count {
        let missing = self.missing();
        self.expected = self.kinds();
        self.expected.audios += missing.audios;
        self.expected.videos += missing.videos;
        missing
    }

    /// What was asked for may never have reached the client.
    pub fn forget_request(&mut self) {
        self.expected = Count::default();
    }

    /// Whether the last offer brought what was asked for; an offer that crossed the request did not.
    #[must_use]
    pub fn is_met(&self) -> bool {
        let there = self.kinds();
        there.audios >= self.expected.audios && there.videos >= self.expected.videos
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    fn kinds(&self) -> Count {
        let mut count = Count::default();
        for slot in &self.slots {
            count.add(slot.kind);
        }
        count
    }

    fn carried(&self) -> impl Iterator<Item = (Mid, &Load)> {
        self.slots.iter().filter_map(|slot| match &slot.used {
            Use::Carries(load, _) => Some((slot.mid, load)),
            Use::Free | Use::Ending => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use dataplane::base::ids::Ssrc;

    use super::*;

    const FIREFOX: &str = include_str!("../../tests/data/clients/firefox_offer.sdp");

    /// An offer of so many sections in which the client only receives.
    fn offer(audios: usize, videos: usize) -> Description {
        let mut offer = Description::parse(FIREFOX).expect("a description");
        let of = |kind| {
            let found = offer.sections.iter().find(|s| s.kind == SectionKind::Media(kind));
            found.expect("both kinds").clone()
        };
        let (audio, video) = (of(MediaKind::Audio), of(MediaKind::Video));
        let sections = std::iter::repeat_n(audio, audios).chain(std::iter::repeat_n(video, videos));
        offer.sections = sections
            .enumerate()
            .map(|(index, mut section)| {
                section.mid = Mid::new(index.to_string().as_bytes()).expect("short");
                section.direction = Direction::RecvOnly;
                section
            })
            .collect();
        offer
    }

    fn wait(slots: &mut Slots, stream: u32, kind: MediaKind) -> bool {
        let track = format!("TR_{stream}");
        let sending = Sending { participant: "PA_x".into(), track, ssrc: Ssrc(1), rtx: None, stereo: false };
        slots.wait(StreamId(stream), kind, vec![Codec::Vp8], sending)
    }

    fn take(slots: &mut Slots, offer: &Description) {
        assert!(slots.offered(offer).is_empty(), "nothing is lost");
    }

    fn shown(slots: &mut Slots) -> Vec<u32> {
        slots.answered().into_iter().map(|(stream, _)| stream.0).collect()
    }

    #[test]
    fn streams_fill_the_sections_there_are_and_the_rest_is_asked_for() {
        let mut slots = Slots::default();
        for stream in 1..=3 {
            assert!(wait(&mut slots, stream, MediaKind::Video));
        }
        assert!(wait(&mut slots, 4, MediaKind::Audio));
        take(&mut slots, &offer(1, 2));
        assert_eq!(shown(&mut slots), [4, 1, 2]);
        assert_eq!(slots.request(), Count { audios: 0, videos: 1 });
        assert!(!slots.is_met());
        // An offer that crossed the request does not count as its fulfilment, and brings nothing.
        take(&mut slots, &offer(1, 2));
        assert!(!slots.is_met() && shown(&mut slots).is_empty());
        take(&mut slots, &offer(1, 3));
        assert!(slots.is_met());
        assert_eq!(shown(&mut slots), [3]);
        assert_eq!(slots.missing(), Count::default());
        assert_eq!(slots.tracks().len(), 4);
    }

    #[test]
    fn a_section_is_answered_empty_before_it_carries_another_stream() {
        let mut slots = Slots::default();
        assert!(wait(&mut slots, 1, MediaKind::Video));
        take(&mut slots, &offer(0, 1));
        assert_eq!(shown(&mut slots), [1]);
        slots.release(StreamId(1));
        assert!(wait(&mut slots, 2, MediaKind::Video));
        take(&mut slots, &offer(0, 1));
        assert!(shown(&mut slots).is_empty() && slots.is_waiting());
        take(&mut slots, &offer(0, 1));
        assert_eq!(shown(&mut slots), [2]);
    }

    #[test]
    fn a_section_never_named_is_free_at_once() {
        let mut slots = Slots::default();
        assert!(wait(&mut slots, 1, MediaKind::Video));
        take(&mut slots, &offer(0, 1));
        slots.release(StreamId(1));
        assert!(wait(&mut slots, 2, MediaKind::Video));
        take(&mut slots, &offer(0, 1));
        assert_eq!(shown(&mut slots), [2]);
    }

    #[test]
    fn a_section_the_client_takes_back_lets_go_of_its_stream() {
        let mut slots = Slots::default();
        assert!(wait(&mut slots, 1, MediaKind::Video));
        take(&mut slots, &offer(0, 1));
        assert_eq!(shown(&mut slots), [1]);
        let mut sending = offer(0, 2);
        sending.sections[0].direction = Direction::SendRecv;
        assert_eq!(slots.offered(&sending), [StreamId(1)]);
        let left: Vec<&str> = slots.slots.iter().map(|slot| slot.mid.as_str()).collect();
        assert_eq!((left, slots.tracks().len()), (vec!["1"], 0));
    }

    #[test]
    fn the_number_of_streams_has_a_bound() {
        let mut slots = Slots::default();
        for stream in 1..SECTIONS_MAX as u32 {
            assert!(wait(&mut slots, stream, MediaKind::Audio));
        }
        assert!(!wait(&mut slots, 1_000_000, MediaKind::Audio));
    }
}
