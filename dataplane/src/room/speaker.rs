//! Who speaks: RFC 6464 levels of a meeting's audio tracks, judged once per interval with hysteresis.
//!
//! Place: [`Meter::hear`] for every audio packet, [`Meter::judge`] for every track when the meeting's interval ends.
//! Promises: a click does not make a speaker, and a breath does not unmake one.
//! Rule: speaking begins when at least 40 % of an interval's packets (or of the ten that a quiet interval would have) are at
//! -40 dBov or louder; it ends after two intervals with less than 15 %. The level told is smoothed, half old and half new.

/// Levels at or below this number (louder) count as voice.
const LOUD: u8 = 40;
/// Packets of 20 ms in an interval of 300 ms; with DTX fewer come, and silence is what is missing.
const PACKETS_EXPECTED: u32 = 15;
/// Quiet intervals before speaking ends.
const HANGOVER: u8 = 2;
/// RFC 6464: silence.
pub const SILENCE: u8 = 127;

/// Loudness of one audio track.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    packets: u32,
    loud: u32,
    /// Sum of the levels of the loud packets.
    loud_sum: u32,
    level: u8,
    quiet: u8,
    speaking: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self { packets: 0, loud: 0, loud_sum: 0, level: SILENCE, quiet: 0, speaking: false }
    }
}

impl Meter {
    /// One packet's level.
    pub fn hear(&mut self, level: u8) {
        self.packets += 1;
        if level <= LOUD {
            self.loud += 1;
            self.loud_sum += u32::from(level);
        }
    }

    /// Whether anything was heard since the last judgement.
    #[must_use]
    pub const fn heard(&self) -> bool {
        self.packets != 0
    }

    /// Ends an interval: the smoothed level if the track speaks.
    pub fn judge(&mut self) -> Option<u8> {
        let packets = self.packets.max(PACKETS_EXPECTED);
        let (begins, goes_on) = (self.loud * 100 >= packets * 40, self.loud * 100 >= packets * 15);
        if begins || (self.speaking && goes_on) {
            self.speaking = true;
            self.quiet = 0;
        } else if self.speaking {
            self.quiet += 1;
            self.speaking = self.quiet < HANGOVER;
        }
        // The mean of the loud packets: pauses between words do not make a voice quieter.
        let fresh = self.loud_sum.checked_div(self.loud).map_or(SILENCE, |mean| mean as u8);
        self.level = match (self.speaking, self.level) {
            (false, _) => SILENCE,
            (true, SILENCE) => fresh,
            (true, old) => ((u16::from(old) + u16::from(fresh.min(LOUD))) / 2) as u8,
        };
        (self.packets, self.loud, self.loud_sum) = (0, 0, 0);
        self.speaking.then_some(self.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(meter: &mut Meter, levels: &[(u8, u32)]) -> Option<u8> {
        for &(level, count) in levels {
            (0..count).for_each(|_| meter.hear(level));
        }
        meter.judge()
    }

    #[test]
    fn a_voice_is_heard_through_short_pauses_and_then_ends() {
        let mut meter = Meter::default();
        assert_eq!(interval(&mut meter, &[(20, 15)]), Some(20));
        assert_eq!(interval(&mut meter, &[(20, 3), (90, 12)]), Some(20), "a pause between words");
        assert!(interval(&mut meter, &[(90, 15)]).is_some(), "a breath");
        assert_eq!(interval(&mut meter, &[(90, 15)]), None);
        assert_eq!(interval(&mut meter, &[]), None);
    }

    #[test]
    fn a_click_and_noise_make_no_speaker() {
        let mut meter = Meter::default();
        assert_eq!(interval(&mut meter, &[(5, 2), (80, 13)]), None);
        assert_eq!(interval(&mut meter, &[(41, 15)]), None);
        assert_eq!(interval(&mut meter, &[(5, 1)]), None, "one packet in silence");
    }

    #[test]
    fn levels_move_smoothly() {
        let mut meter = Meter::default();
        interval(&mut meter, &[(40, 15)]);
        assert_eq!(interval(&mut meter, &[(10, 15)]), Some(25));
    }
}
