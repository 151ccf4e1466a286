//! Who has the floor: the one a player without a choice of its own is shown, and the voices it hears.
//!
//! Fed with the packet core's reports of loudness. Promises: a cough or a word in between changes nothing; whoever took the floor
//! keeps it until somebody else has clearly spoken for a while; bounded by the voices of the room.

use std::collections::BTreeMap;

use dataplane::base::ids::TrackId;

/// Loudness is an average over about three reports, in 256ths of a dB above silence.
const UNIT: i32 = 256;
/// Quieter than this (RFC 6464, -dBov) is no speech.
const SPEECH_LEVEL_MAX: u8 = 50;
/// How much louder than whom it replaces a voice must be, in the units of loudness.
pub const MARGIN: i32 = 10 * UNIT;
/// How long somebody must have been the loudest to be shown, milliseconds.
const FLOOR_MS: u64 = 900;

/// Whose voice a track is.
pub type Speaker = super::room::MemberKey;

struct Voice {
    of: Speaker,
    loudness: i32,
}

/// The voices of one room, and who was shown last.
#[derive(Default)]
pub struct Floor {
    voices: BTreeMap<TrackId, Voice>,
    /// Who had the floor, latest first.
    order: Vec<Speaker>,
    /// Who is louder, and since when.
    challenger: Option<(Speaker, u64)>,
}

impl Floor {
    /// Takes one report: who speaks how loud (RFC 6464); everybody else is silent.
    pub fn hear(&mut self, now_ms: u64, levels: &[(TrackId, Speaker, u8)]) {
        for (track, of, _) in levels {
            self.voices.entry(*track).or_insert(Voice { of: *of, loudness: 0 });
        }
        for (track, voice) in &mut self.voices {
            let level = levels.iter().find(|(t, ..)| t == track).map(|(.., level)| *level);
            let heard = level.filter(|level| *level <= SPEECH_LEVEL_MAX).map_or(0, |level| 127 - level);
            voice.loudness += (i32::from(heard) * UNIT - voice.loudness) * 2 / 5;
        }
        let loudest = self.voices.values().max_by_key(|voice| voice.loudness).filter(|v| v.loudness > MARGIN);
        let Some((speaker, loudness)) = loudest.map(|voice| (voice.of, voice.loudness)) else { return };
        let Some(holder) = self.order.first().copied() else {
            self.order.push(speaker);
            return;
        };
        if speaker == holder || loudness <= self.loudness_of(holder) + MARGIN {
            self.challenger = None;
            return;
        }
        let since = match self.challenger {
            Some((challenger, since)) if challenger == speaker => since,
            _ => now_ms,
        };
        self.challenger = Some((speaker, since));
        if now_ms - since >= FLOOR_MS {
            self.challenger = None;
            self.order.retain(|other| *other != speaker);
            self.order.insert(0, speaker);
        }
    }

    /// Forgets a track that is no more.
    pub fn forget_voice(&mut self, track: TrackId) {
        self.voices.remove(&track);
    }

    /// Forgets somebody who left.
    pub fn forget(&mut self, speaker: Speaker) {
        self.order.retain(|other| *other != speaker);
        self.challenger = self.challenger.filter(|(other, _)| *other != speaker);
    }

    /// Where somebody stands among those who had the floor; whoever never had it comes last.
    #[must_use]
    pub fn place(&self, speaker: Speaker) -> usize {
        self.order.iter().position(|other| *other == speaker).unwrap_or(usize::MAX)
    }

    /// How loud a track is, in 256ths of a dB above silence.
    #[must_use]
    pub fn loudness(&self, track: TrackId) -> i32 {
        self.voices.get(&track).map_or(0, |voice| voice.loudness)
    }

    fn loudness_of(&self, speaker: Speaker) -> i32 {
        self.voices.values().filter(|v| v.of == speaker).map(|v| v.loudness).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::room::MemberKey;

    /// One report every 300 ms: pairs of speaker and level.
    fn hear(floor: &mut Floor, now_ms: &mut u64, reports: usize, levels: &[(u64, u8)]) {
        let of =
            |(speaker, level): &(u64, u8)| (TrackId(*speaker as u32), MemberKey::numbered(*speaker), *level);
        let levels: Vec<_> = levels.iter().map(of).collect();
        for _ in 0..reports {
            *now_ms += 300;
            floor.hear(*now_ms, &levels);
        }
    }

    fn first(floor: &Floor) -> Option<u64> {
        (0..9).find(|speaker| floor.place(MemberKey::numbered(*speaker)) == 0)
    }

    #[test]
    fn the_floor_goes_to_whoever_speaks_for_a_while() {
        let (mut floor, mut now) = (Floor::default(), 0);
        hear(&mut floor, &mut now, 5, &[(1, 90)]);
        assert_eq!(first(&floor), None, "that is no speech");
        hear(&mut floor, &mut now, 1, &[(1, 30)]);
        assert_eq!(first(&floor), Some(1), "the first to speak");
        hear(&mut floor, &mut now, 20, &[(1, 30)]);
        hear(&mut floor, &mut now, 2, &[(1, 30), (2, 10)]);
        assert_eq!(first(&floor), Some(1), "a word in between");
        hear(&mut floor, &mut now, 20, &[(1, 30), (2, 28)]);
        assert_eq!(first(&floor), Some(1), "not clearly louder");
        hear(&mut floor, &mut now, 10, &[(2, 28)]);
        assert_eq!(first(&floor), Some(2));
        assert_eq!(floor.place(MemberKey::numbered(1)), 1);
        hear(&mut floor, &mut now, 20, &[]);
        assert_eq!(first(&floor), Some(2), "silence takes nothing away");
        floor.forget(MemberKey::numbered(2));
        assert_eq!(first(&floor), Some(1));
    }

    #[test]
    fn loudness_follows_and_is_forgotten_with_its_track() {
        let (mut floor, mut now) = (Floor::default(), 0);
        hear(&mut floor, &mut now, 10, &[(1, 20), (2, 40)]);
        assert!(floor.loudness(TrackId(1)) > floor.loudness(TrackId(2)) + MARGIN);
        hear(&mut floor, &mut now, 3, &[(2, 40)]);
        assert!(floor.loudness(TrackId(2)) > floor.loudness(TrackId(1)) + MARGIN);
        floor.forget_voice(TrackId(2));
        assert_eq!(floor.loudness(TrackId(2)), 0);
    }
}
