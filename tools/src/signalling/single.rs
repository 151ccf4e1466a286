//! What a participant with one connection (protocol v1) offers to receive in, and when it offers.
//!
//! Promises: one offer in flight; sections are only added, so that their places stay. Not here: what is published.

use dataplane::base::media::MediaKind;
use livekit_protocol as proto;

/// See the module.
pub struct Single {
    receiving: Vec<MediaKind>,
    in_flight: bool,
    again: bool,
}

impl Default for Single {
    /// Room for one other participant, as SDKs offer it at first.
    fn default() -> Self {
        Self { receiving: vec![MediaKind::Audio, MediaKind::Video], in_flight: false, again: false }
    }
}

impl Single {
    /// The server asks for an offer with so many sections more. Whether to offer now.
    #[must_use]
    pub fn must_offer(&mut self, more: &proto::MediaSectionsRequirement) -> bool {
        for (kind, count) in [(MediaKind::Audio, more.num_audios), (MediaKind::Video, more.num_videos)] {
            self.receiving.extend(std::iter::repeat_n(kind, count as usize));
        }
        self.again = self.in_flight;
        !self.in_flight
    }

    /// Sections of an offer that is sent now.
    pub fn offered(&mut self) -> &[MediaKind] {
        self.in_flight = true;
        self.again = false;
        &self.receiving
    }

    /// The offer was answered. Whether to offer again.
    #[must_use]
    pub fn answered(&mut self) -> bool {
        self.in_flight = false;
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_in_the_meantime_is_offered_once_after_the_answer() {
        let mut single = Single::default();
        let more = proto::MediaSectionsRequirement { num_audios: 1, num_videos: 2 };
        assert_eq!(single.offered().len(), 2);
        assert!(!single.must_offer(&more) && !single.must_offer(&more));
        assert!(single.answered());
        assert_eq!(single.offered().len(), 8);
        assert!(!single.answered());
        assert!(single.must_offer(&proto::MediaSectionsRequirement::default()), "also without more sections");
    }
}
