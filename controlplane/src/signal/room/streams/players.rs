//! What players are shown: the newest shared screen, else whoever has the floor, else anybody with a picture; and the loudest
//! voices, one in each audio section.
//!
//! Players say nothing, so that each of their streams roams (`Command::Retarget`) among what can be shown in formats they took.
//! Promises: a stream is moved only when something clearly better is there; a player that is alone waits and is shown the first
//! that comes; nobody is shown what is muted.

use dataplane::base::ids::{StreamId, TrackId};
use dataplane::base::media::{Format, MediaKind};
use dataplane::base::reason::Reason;
use dataplane::command::{Command, Delivery, Retarget, SPEAKERS_MAX, SpeakerLevel};
use livekit_protocol as proto;

use crate::sdp::play;
use crate::signal::floor::MARGIN;
use crate::signal::room::{Effect, Member, MemberKey, Room};
use crate::signal::variant::Variant;

/// A track, and the formats it is sent in.
type Shown = (TrackId, Vec<Format>);

/// One stream of a player.
struct Slot {
    stream: StreamId,
    kind: MediaKind,
    /// What the player takes.
    formats: Vec<Format>,
    /// What it was told to show.
    shows: Option<Shown>,
    /// What the packet core last said about it, while it shows something.
    delivery: Option<Delivery>,
}

/// Whom a player is shown.
#[derive(Default)]
pub struct Player(Vec<Slot>);

/// What can be shown.
#[derive(Clone)]
struct Candidate {
    publisher: MemberKey,
    /// The track's id in the protocol, by which publishers say who may receive it.
    sid: String,
    track: TrackId,
    formats: Vec<Format>,
    /// How loud it is, of audio.
    loudness: i32,
}

impl Player {
    /// Adds a stream that shows nothing yet.
    pub fn add(&mut self, stream: StreamId, kind: MediaKind, formats: Vec<Format>) {
        self.0.push(Slot { stream, kind, formats, shows: None, delivery: None });
    }

    /// Tracks it is shown, and what the packet core said about each.
    pub fn shown(&self) -> impl Iterator<Item = (TrackId, Option<Delivery>)> {
        self.0.iter().filter_map(|slot| Some((slot.track()?, slot.delivery)))
    }

    fn shows(&self, track: TrackId) -> bool {
        self.0.iter().any(|slot| slot.track() == Some(track))
    }
}

impl Slot {
    fn track(&self) -> Option<TrackId> {
        self.shows.as_ref().map(|(track, _)| *track)
    }

    /// Why it gets no more.
    fn reason(&self) -> Option<Reason> {
        self.delivery?.reason
    }

    /// A candidate as it can be shown here.
    fn fitting(&self, candidate: &Candidate) -> Option<Shown> {
        let formats = play::formats(&candidate.formats, &self.formats);
        (!formats.is_empty()).then_some((candidate.track, formats))
    }
}

impl Room {
    /// The packet core says who is how loud.
    pub(in crate::signal::room) fn hear(
        &mut self,
        now_ms: u64,
        levels: &[SpeakerLevel; SPEAKERS_MAX],
        count: u8,
    ) {
        let heard: Vec<(TrackId, MemberKey, u8)> = levels
            .iter()
            .take(usize::from(count))
            .filter_map(|SpeakerLevel { track, level }| Some((*track, *self.tracks.get(track)?, *level)))
            .collect();
        self.floor.hear(now_ms, &heard);
    }

    /// Whether a player is shown one codec of a track.
    pub(in crate::signal::room) fn is_played(&self, variant: TrackId) -> bool {
        self.players().any(|(_, player)| player.shows(variant))
    }

    /// A player's stream is sent otherwise than before. It is told nothing: it has no signalling.
    pub(super) fn delivered_to_player(&mut self, id: StreamId, delivery: Delivery) {
        let players = self.members.values_mut().filter_map(|member| member.http.as_mut()?.player.as_mut());
        let slot = players.flat_map(|player| player.0.iter_mut()).find(|slot| slot.stream == id);
        // What was said before the stream came to show nothing is old.
        let Some(slot) = slot.filter(|slot| slot.shows.is_some()) else { return };
        let before = slot.reason();
        slot.delivery = Some(delivery);
        self.reasons.replace(before, delivery.reason);
    }

    /// How many players are shown one codec of a track.
    pub(in crate::signal::room) fn players_shown(&self, variant: TrackId) -> usize {
        self.players().filter(|(_, player)| player.shows(variant)).count()
    }

    /// A member is gone: what it was shown is wanted less.
    pub(in crate::signal::room) fn end_player(&mut self, member: &Member) {
        let Some(player) = member.http.as_ref().and_then(|http| http.player.as_ref()) else { return };
        for slot in &player.0 {
            self.touched.extend(slot.track().and_then(|track| self.primary_of(track)));
            self.reasons.replace(slot.reason(), None);
            self.effects.push(Effect::Command(Command::Unsubscribe { stream: slot.stream }));
        }
    }

    /// Moves players' streams to what they are to show now.
    pub(in crate::signal::room) fn direct_players(&mut self) {
        let keys: Vec<MemberKey> = self.players().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let (videos, audios) = (self.pictures(), self.voices());
        for key in keys {
            let Some(member) = self.members.get(&key) else { continue };
            let may_see = |candidate: &&Candidate| {
                member.grant.subscribe
                    && self.members.get(&candidate.publisher).is_some_and(|publisher| {
                        publisher.allowed.lets(&member.admission.identity, &member.sid, &candidate.sid)
                    })
            };
            let videos: Vec<Candidate> = videos.iter().filter(may_see).cloned().collect();
            let audios: Vec<Candidate> = audios.iter().filter(may_see).cloned().collect();
            let Some(player) = self.members.get_mut(&key).and_then(|m| m.http.as_mut()?.player.as_mut())
            else {
                continue;
            };
            let mut wanted: Vec<Option<Shown>> = vec![None; player.0.len()];
            let of_kind = |kind| player.0.iter().enumerate().filter(move |(_, slot)| slot.kind == kind);
            for (nth, slot) in of_kind(MediaKind::Video) {
                wanted[nth] = videos.iter().find_map(|candidate| slot.fitting(candidate));
            }
            let slots: Vec<(usize, &Slot)> = of_kind(MediaKind::Audio).collect();
            for (nth, shown) in assign(&slots, &audios) {
                wanted[nth] = shown;
            }
            let mut moved = Vec::new();
            for (slot, wanted) in player.0.iter_mut().zip(wanted) {
                if slot.shows != wanted {
                    if wanted.is_none() {
                        self.reasons.replace(slot.reason(), None);
                        slot.delivery = None;
                    }
                    let before = std::mem::replace(&mut slot.shows, wanted.clone());
                    moved.push((slot.stream, before, wanted));
                }
            }
            for (stream, before, onto) in moved {
                for track in [&before, &onto].into_iter().flatten().map(|(track, _)| *track) {
                    self.touched.extend(self.primary_of(track));
                }
                self.command(Command::Retarget(Box::new(Retarget { stream, onto })));
            }
        }
    }

    fn players(&self) -> impl Iterator<Item = (MemberKey, &Player)> {
        self.members.iter().filter_map(|(key, member)| Some((*key, member.http.as_ref()?.player.as_ref()?)))
    }

    fn primary_of(&self, variant: TrackId) -> Option<TrackId> {
        self.track_by_id(variant).map(|(_, track)| track.id())
    }

    /// Pictures that can be shown, first the one that should be.
    fn pictures(&self) -> Vec<Candidate> {
        let mut found = self.candidates(MediaKind::Video);
        found.sort_by_key(|(key, is_screen, candidate)| {
            let newest_first = std::cmp::Reverse(if *is_screen { candidate.track.0 } else { 0 });
            (!is_screen, newest_first, self.floor.place(*key), *key)
        });
        found.into_iter().map(|(.., candidate)| candidate).collect()
    }

    /// Voices that can be heard, loudest first.
    fn voices(&self) -> Vec<Candidate> {
        let mut found: Vec<Candidate> =
            self.candidates(MediaKind::Audio).into_iter().map(|(.., candidate)| candidate).collect();
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.loudness));
        found
    }

    /// Everything of a kind that is published and not muted, in the order of its publishers' coming.
    fn candidates(&self, kind: MediaKind) -> Vec<(MemberKey, bool, Candidate)> {
        let tracks = self.members.iter().flat_map(|(key, m)| m.tracks.iter().map(move |track| (*key, track)));
        let shown =
            tracks.filter(|(_, track)| track.kind == kind && track.is_published() && !track.info.muted);
        shown
            .flat_map(|(key, track)| {
                let sid = &track.info.sid;
                let is_screen = track.info.source == i32::from(proto::TrackSource::ScreenShare);
                let sent = track.variants().filter(|variant| variant.published.is_some());
                sent.map(move |variant: &Variant| {
                    let formats = variant.formats().to_vec();
                    let loudness = self.floor.loudness(variant.id);
                    let (publisher, sid) = (key, sid.clone());
                    (key, is_screen, Candidate { publisher, sid, track: variant.id, formats, loudness })
                })
            })
            .collect()
    }
}

/// Which voice each slot shows: it keeps its own until another one, that no slot shows, is clearly louder.
fn assign(slots: &[(usize, &Slot)], voices: &[Candidate]) -> Vec<(usize, Option<Shown>)> {
    let mut shown: Vec<Option<&Candidate>> = slots
        .iter()
        .map(|(_, slot)| {
            let voice = voices.iter().find(|voice| Some(voice.track) == slot.track())?;
            slot.fitting(voice).map(|_| voice)
        })
        .collect();
    for voice in voices {
        if shown.iter().flatten().any(|other| other.track == voice.track) {
            continue;
        }
        let takes = |nth: &usize| slots[*nth].1.fitting(voice).is_some();
        let free = (0..slots.len()).filter(takes).find(|nth| shown[*nth].is_none());
        let quietest = || {
            let held = (0..slots.len()).filter(takes).filter_map(|nth| Some((shown[nth]?.loudness, nth)));
            held.min().filter(|(loudness, _)| voice.loudness > loudness + MARGIN).map(|(_, nth)| nth)
        };
        if let Some(nth) = free.or_else(quietest) {
            shown[nth] = Some(voice);
        }
    }
    slots.iter().zip(shown).map(|((nth, slot), voice)| (*nth, voice.and_then(|v| slot.fitting(v)))).collect()
}
