//! Whose voices a large meeting forwards: the loudest few, with hysteresis, per receiver excluding itself.
//!
//! Place: `router` asks for every audio packet before it looks at receivers, so that a voice nobody is to hear costs no fan-out.
//! With N streams for each receiver, N + 1 tracks hold *places*: the first N go to everybody, the last only to those whose own
//! voice holds one of the first N. While a meeting has no more audio tracks than places, everything is forwarded.
//! Promises: O(N) for a packet of a track without a place, O(1) otherwise; a click takes no place, a breath loses none; a voice is
//! heard ~60 ms after it began. A place changes hands only for a voice louder by [`MARGIN`] than its smoothed holder.
//! Not here: who is told to be speaking (`speaker`), which changes more slowly.

use crate::base::ids::ParticipantId;
use crate::base::limits::AUDIO_STREAMS_MAX;
use crate::base::slab::Key;
use crate::base::time::Micros;

/// Loudness (127 less the level of RFC 6464) from which a sound is taken for a voice: -40 dBov.
const VOICE: u8 = 127 - 40;
/// How much louder a voice must be than a holder to take its place.
const MARGIN: u8 = 6;
/// Silence without packets (DTX) loses one unit of loudness in this time.
const FADE_US: u64 = 6_000;
/// Loudness of packets that do not tell: a payload as large as speech, and what DTX sends in silence.
const UNTOLD: (u8, u8) = (100, 0);
/// Largest payload that DTX sends in silence (RFC 7587 section 3.1.3), a little more for redundancy headers.
const SILENCE_BYTES_MAX: usize = 8;

/// What is remembered of one track's voice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Voice {
    /// Smoothed loudness.
    loudness: u8,
    heard: Option<Micros>,
    place: Option<u8>,
    /// How often it got a place or lost it: a stream that was left out goes on without a gap.
    spurt: u32,
}

impl Voice {
    /// Takes one packet's loudness: `level` as in RFC 6464, or the size of its payload.
    pub fn hear(&mut self, now: Micros, level: Option<u8>, payload_bytes: usize) {
        let fresh = match level {
            Some(level) => 127 - level.min(127),
            None if payload_bytes > SILENCE_BYTES_MAX => UNTOLD.0,
            None => UNTOLD.1,
        };
        let before = self.at(now);
        // Up by half in 20 ms, down by a sixteenth: three packets make a voice, a quarter of a second of silence unmakes it.
        self.loudness = if fresh > before {
            before + (fresh - before).div_ceil(2)
        } else {
            before - (before - fresh).div_ceil(16)
        };
        self.heard = Some(now);
    }

    /// Its place, if it holds one.
    #[must_use]
    pub const fn place(&self) -> Option<u8> {
        self.place
    }

    /// Changes whenever it gets or loses a place.
    #[must_use]
    pub const fn spurt(&self) -> u32 {
        self.spurt
    }

    /// Gives it a place or takes it away.
    pub const fn set_place(&mut self, place: Option<u8>) {
        if self.place.is_some() != place.is_some() {
            self.spurt = self.spurt.wrapping_add(1);
        }
        self.place = place;
    }

    /// Loudness now: silence may send no packets.
    fn at(&self, now: Micros) -> u8 {
        let silent_us = self.heard.map_or(0, |heard| now.since_us(heard)).saturating_sub(40_000);
        self.loudness.saturating_sub((silent_us / FADE_US).min(127) as u8)
    }
}

/// Holders of a meeting's places.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    holders: [Option<(Key, ParticipantId)>; AUDIO_STREAMS_MAX + 1],
    /// Streams for each receiver.
    streams: u8,
}

/// What is to be done about a packet's track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Nothing changes.
    Stay,
    /// It takes this free place.
    Take(u8),
    /// It takes the place of another, which takes its own (none, if it had none).
    Swap(u8),
}

impl Places {
    /// Places for `streams` streams to each receiver, 1 to [`AUDIO_STREAMS_MAX`].
    #[must_use]
    pub fn new(streams: u8) -> Self {
        Self { holders: [None; AUDIO_STREAMS_MAX + 1], streams: streams.clamp(1, AUDIO_STREAMS_MAX as u8) }
    }

    /// How many places there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.streams as usize + 1
    }

    /// What a packet of this voice changes; `voice_of` answers the voices of holders.
    #[must_use]
    pub fn judge(&self, now: Micros, voice: &Voice, voice_of: impl Fn(Key) -> Option<Voice>) -> Move {
        let loudness = voice.at(now);
        let held = voice.place.map_or(self.streams + 1, |place| place);
        if held < self.streams || loudness < VOICE {
            return Move::Stay;
        }
        let mut weakest = (u8::MAX, held);
        for place in 0..held {
            let Some((key, _)) = self.holders[usize::from(place)] else { return Move::Take(place) };
            let holder = voice_of(key).map_or(0, |holder| holder.at(now));
            if holder < weakest.0 {
                weakest = (holder, place);
            }
        }
        if weakest.1 < held && loudness >= weakest.0.saturating_add(MARGIN) {
            Move::Swap(weakest.1)
        } else {
            Move::Stay
        }
    }

    /// How many places the tracks of a participant hold.
    #[must_use]
    pub fn held_by(&self, participant: ParticipantId) -> usize {
        self.holders.iter().flatten().filter(|(_, of)| *of == participant).count()
    }

    /// Who holds a place.
    #[must_use]
    pub fn holder(&self, place: u8) -> Option<Key> {
        self.holders.get(usize::from(place)).copied().flatten().map(|(key, _)| key)
    }

    /// Gives a place to a track of a participant, or frees it.
    pub fn set(&mut self, place: u8, holder: Option<(Key, ParticipantId)>) {
        if let Some(slot) = self.holders.get_mut(usize::from(place)) {
            *slot = holder;
        }
    }

    /// Whether a receiver is sent what holds this place: the last one goes to those who are heard themselves.
    #[must_use]
    pub fn reaches(&self, place: u8, receiver: ParticipantId) -> bool {
        place < self.streams
            || self.holders[..usize::from(self.streams)].iter().flatten().any(|(_, of)| *of == receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slab::Slab;

    /// A few tracks and what `router` does with them.
    struct Stage {
        places: Places,
        voices: Vec<(Key, Voice)>,
        now: Micros,
    }

    impl Stage {
        fn new(streams: u8, tracks: usize) -> Self {
            let mut slab = Slab::new(tracks);
            let voices = (0..tracks).map(|n| (slab.insert(n).expect("room"), Voice::default())).collect();
            Self { places: Places::new(streams), voices, now: Micros(0) }
        }

        /// 20 ms in which each track sends one packet of its level; `None` sends nothing.
        fn step(&mut self, levels: &[Option<u8>]) {
            self.now = self.now.after_ms(20);
            for (index, level) in levels.iter().enumerate() {
                let Some(level) = level else { continue };
                self.voices[index].1.hear(self.now, Some(*level), 80);
                let (key, voice) = self.voices[index];
                let of =
                    |key: Key| self.voices.iter().find(|(other, _)| *other == key).map(|(_, voice)| *voice);
                let holder = (key, ParticipantId(index as u32));
                match self.places.judge(self.now, &voice, of) {
                    Move::Stay => {}
                    Move::Take(place) => {
                        self.places.set(place, Some(holder));
                        if let Some(before) = voice.place() {
                            self.places.set(before, None);
                        }
                        self.voices[index].1.set_place(Some(place));
                    }
                    Move::Swap(place) => {
                        let other = self.places.holder(place).expect("held");
                        let at = self.voices.iter().position(|(key, _)| *key == other).expect("known");
                        if let Some(before) = voice.place() {
                            self.places.set(before, Some((other, ParticipantId(at as u32))));
                        }
                        self.voices[at].1.set_place(voice.place());
                        self.places.set(place, Some(holder));
                        self.voices[index].1.set_place(Some(place));
                    }
                }
            }
        }

        fn heard(&self, receiver: u32) -> Vec<usize> {
            (0..self.voices.len())
                .filter(|&index| index as u32 != receiver)
                .filter(|&index| {
                    let place = self.voices[index].1.place();
                    place.is_some_and(|place| self.places.reaches(place, ParticipantId(receiver)))
                })
                .collect()
        }
    }

    #[test]
    fn everybody_hears_the_loudest_others() {
        let mut stage = Stage::new(2, 6);
        for _ in 0..10 {
            stage.step(&[Some(20), Some(25), Some(30), Some(127), Some(127), Some(80)]);
        }
        assert_eq!(stage.heard(5), [0, 1], "who does not speak hears the loudest two");
        assert_eq!(stage.heard(0), [1, 2], "who speaks hears the two others");
        assert_eq!(stage.heard(2), [0, 1]);
    }

    #[test]
    fn a_new_voice_is_heard_soon_and_a_click_never() {
        let mut stage = Stage::new(1, 4);
        for _ in 0..20 {
            stage.step(&[Some(30), Some(30), Some(127), Some(127)]);
        }
        stage.step(&[Some(30), Some(30), Some(1), Some(127)]);
        assert!(!stage.heard(3).contains(&2), "a click");
        stage.step(&[Some(30), Some(30), Some(127), Some(127)]);
        // One stops, another begins.
        let mut steps = 0;
        while !stage.heard(3).contains(&2) {
            stage.step(&[Some(127), Some(30), Some(20), Some(127)]);
            steps += 1;
            assert!(steps < 15, "not within 300 ms");
        }
    }

    #[test]
    fn equal_voices_do_not_take_turns() {
        let mut stage = Stage::new(1, 5);
        let mut changes = 0;
        let mut before = Vec::new();
        for step in 0..500 {
            let wobble = (step % 5) as u8;
            stage.step(&[Some(28 + wobble), Some(32 - wobble), Some(30), Some(29 + wobble), Some(127)]);
            if step > 20 {
                let now = stage.heard(4);
                changes += u32::from(now != before && !before.is_empty());
                before = now;
            }
        }
        assert_eq!(changes, 0);
    }

    #[test]
    fn silence_without_packets_fades() {
        let mut stage = Stage::new(1, 3);
        for _ in 0..20 {
            stage.step(&[Some(15), Some(16), None]);
        }
        for _ in 0..15 {
            stage.step(&[None, None, Some(35)]);
        }
        assert!(stage.heard(9).contains(&2), "the loudest of before send nothing any more");
    }

    #[test]
    fn a_voice_that_does_not_tell_its_level_counts_by_its_size() {
        let mut voice = Voice::default();
        (0..5).for_each(|n| voice.hear(Micros(n * 20_000), None, 80));
        assert!(voice.at(Micros(100_000)) >= VOICE);
        (5..40).for_each(|n| voice.hear(Micros(n * 20_000), None, 2));
        assert!(voice.at(Micros(800_000)) < VOICE);
    }
}
