//! Which track, and which codec of it, each media section of a publisher's offer carries.

use dataplane::base::ids::{Mid, TrackId};

use crate::dispatch::Ids;
use crate::sdp::description::{Description, Section, SectionKind};
use crate::signal::room::Member;
use crate::signal::track::Track;
use crate::signal::variant::Variant;

/// What an offer no longer sends.
#[derive(Default)]
pub struct Ended {
    /// Tracks, off their member.
    pub tracks: Vec<Track>,
    /// Backups of tracks that go on: the track's number and the codec as it was.
    pub backups: Vec<(TrackId, Variant)>,
}

/// Takes off a member what its media sections no longer send.
pub fn take_ended(member: &mut Member, offer: &Description, ids: &Ids) -> Ended {
    let still_sent = |variant: &Variant| {
        let Some(published) = &variant.published else { return true };
        let section = offer.sections.iter().find(|s| s.mid == published.mid);
        section.is_some_and(|s| !s.rejected && s.direction.sends())
    };
    // A section that now carries another announced track has been used again.
    let replaced = |variant: &Variant| {
        let Some(published) = &variant.published else { return false };
        let cid = offer.sections.iter().find(|s| s.mid == published.mid).and_then(|s| s.track.as_deref());
        let waits = |other: &Variant, cid: &str| other.published.is_none() && other.is_called(cid);
        cid.is_some_and(|cid| {
            !variant.is_called(cid)
                && member.tracks.iter().flat_map(Track::variants).any(|other| waits(other, cid))
        })
    };
    let ended: Vec<TrackId> = member
        .tracks
        .iter()
        .flat_map(Track::variants)
        .filter(|variant| !still_sent(variant) || replaced(variant))
        .map(|variant| variant.id)
        .collect();
    let (tracks, mut kept): (Vec<Track>, Vec<Track>) =
        std::mem::take(&mut member.tracks).into_iter().partition(|track| ended.contains(&track.id()));
    let mut backups = Vec::new();
    for track in &mut kept {
        let of = track.id();
        for id in &ended {
            backups.extend(track.backup_ended(*id, || ids.track()).map(|backup| (of, backup)));
        }
    }
    member.tracks = kept;
    Ended { tracks, backups }
}

/// The codec that each sending section carries.
pub struct Matches(Vec<(Mid, TrackId)>);

impl Matches {
    /// What is published keeps its section; then announced tracks are found by the section's track id; what is left goes by
    /// kind, in order, for clients whose descriptions name tracks differently from their announcements.
    pub fn of(tracks: &[Track], offer: &Description) -> Self {
        let all = || tracks.iter().flat_map(|track| track.variants().map(move |variant| (track, variant)));
        let mut found: Vec<(Mid, TrackId)> = Vec::new();
        for (_, variant) in all() {
            if let Some(published) = &variant.published {
                found.push((published.mid, variant.id));
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
                let fits = |track: &Track, variant: &Variant| {
                    let is_called = || section.track.as_deref().is_some_and(|cid| variant.is_called(cid));
                    let is_expected = variant.id == track.id() || variant.is_coming();
                    section.kind == SectionKind::Media(track.kind)
                        && variant.published.is_none()
                        && if by_name { is_called() } else { is_expected }
                };
                let free = |variant: &Variant| found.iter().all(|(_, used)| *used != variant.id);
                let next = all().find(|(track, variant)| free(variant) && fits(track, variant));
                found.extend(next.map(|(_, variant)| (section.mid, variant.id)));
            }
        }
        Self(found)
    }

    /// What the section of this tag carries.
    pub fn carried(&self, mid: Mid) -> Option<TrackId> {
        self.0.iter().find(|(of, _)| *of == mid).map(|(_, id)| *id)
    }
}
