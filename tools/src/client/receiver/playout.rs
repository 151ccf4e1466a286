//! What a listener would have heard: an adaptive playout buffer for audio, in the manner of NetEq, that counts frames which
//! are not there when they are due.
//!
//! Path: after `Receiver` admitted a packet. Memory: 512 frames.
//! Promises: silence that was not sent is no loss; every number counts once, as played or concealed.
//! Not here: how a gap sounds.

use dataplane::base::time::Micros;

use super::config::Reception;

/// What the buffer holds at least, and at most.
const DELAY_US_MIN: u64 = 100_000;
const DELAY_US_MAX: u64 = 200_000;
/// 20 ms of 48 kHz.
const FRAME_TICKS: u32 = 960;
/// Frames between the last one played and the newest one.
const FRAMES: u64 = 512;
/// The buffer shrinks by this much with every frame that came with more to spare than it needs.
const SHRINK_US: u64 = 200;

#[derive(Clone, Copy, Default)]
struct Slot {
    index: u64,
    came: bool,
    /// Repeated by a later packet.
    repeated: bool,
    timestamp: u32,
}

/// The playout buffer of one stream.
pub(super) struct Playout {
    slots: Box<[Slot; FRAMES as usize]>,
    /// The first number that was neither played nor concealed, and one above the highest that came.
    next: u64,
    end: u64,
    /// When media time `anchor` is played.
    anchor: (u32, Micros),
    delay_us: u64,
}

impl Default for Playout {
    fn default() -> Self {
        Self {
            slots: Box::new([Slot::default(); FRAMES as usize]),
            next: 0,
            end: 0,
            anchor: (0, Micros(0)),
            delay_us: DELAY_US_MIN,
        }
    }
}

impl Playout {
    /// Takes a packet; `repeats` says whether it brings the frame before it as well.
    pub(super) fn insert(
        &mut self,
        now: Micros,
        index: u64,
        timestamp: u32,
        repeats: bool,
        reception: &mut Reception,
    ) {
        self.settle(now, reception);
        if self.end == 0 {
            (self.next, self.end) = (index, index);
            self.anchor = (timestamp, now.after_us(self.delay_us));
        }
        if index >= self.end {
            self.extend(now, index, timestamp, reception);
        }
        let due = self.due(timestamp);
        if now > due {
            // Too late by this much: the buffer grows.
            self.delay(now.since_us(due));
        } else if due.since_us(now) > DELAY_US_MIN && self.delay_us > DELAY_US_MIN {
            self.delay_us -= SHRINK_US;
            self.anchor.1 = Micros(self.anchor.1.0.saturating_sub(SHRINK_US));
        }
        self.mark(index, false);
        if repeats {
            self.mark(index.saturating_sub(1), true);
        }
    }

    /// Plays or conceals what is due.
    pub(super) fn settle(&mut self, now: Micros, reception: &mut Reception) {
        while self.next < self.end {
            let slot = self.slots[(self.next % FRAMES) as usize];
            if self.due(slot.timestamp) > now {
                break;
            }
            self.count(slot, reception);
        }
    }

    fn count(&mut self, slot: Slot, reception: &mut Reception) {
        reception.played_frames += u64::from(slot.came || slot.repeated);
        reception.redundant_frames += u64::from(slot.repeated && !slot.came);
        reception.concealed_frames += u64::from(!slot.came && !slot.repeated);
        self.next += 1;
    }

    /// Numbers up to `index` are known now; those before it have not come.
    fn extend(&mut self, now: Micros, index: u64, timestamp: u32, reception: &mut Reception) {
        let empty = self.next == self.end;
        for skipped in self.end..=index {
            if skipped - self.next >= FRAMES {
                let slot = self.slots[(self.next % FRAMES) as usize];
                self.count(slot, reception);
            }
            let before = (index - skipped) as u32;
            let timestamp = timestamp.wrapping_sub(before.wrapping_mul(FRAME_TICKS));
            self.slots[(skipped % FRAMES) as usize] =
                Slot { index: skipped, came: false, repeated: false, timestamp };
        }
        self.end = index + 1;
        // After silence the buffer is empty and fills anew. A frame that ends no silence is merely late.
        let silence = self.due(timestamp).after_us(DELAY_US_MAX) < now
            || self.due(timestamp) > now.after_us(2 * DELAY_US_MAX);
        if empty && silence {
            self.anchor = (timestamp, now.after_us(self.delay_us));
        }
    }

    fn due(&self, timestamp: u32) -> Micros {
        let ticks = timestamp.wrapping_sub(self.anchor.0) as i32;
        Micros(self.anchor.1.0.saturating_add_signed(i64::from(ticks) * 1_000 / 48))
    }

    fn delay(&mut self, more_us: u64) {
        let grown = (self.delay_us + more_us).min(DELAY_US_MAX);
        self.anchor.1 = self.anchor.1.after_us(grown - self.delay_us);
        self.delay_us = grown;
    }

    fn mark(&mut self, index: u64, repeated: bool) {
        let slot = &mut self.slots[(index % FRAMES) as usize];
        if slot.index == index && index >= self.next {
            if repeated {
                slot.repeated = true;
            } else {
                slot.came = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(frames: impl Iterator<Item = (u64, u64)>, repeats: bool) -> Reception {
        let (mut playout, mut reception) = (Playout::default(), Reception::default());
        let mut end = Micros(0);
        for (index, at_ms) in frames {
            end = Micros(0).after_ms(at_ms);
            playout.insert(end, 1_000 + index, index as u32 * 960, repeats, &mut reception);
        }
        playout.settle(end.after_us(1_000_000), &mut reception);
        reception
    }

    #[test]
    fn steady_audio_is_played_whole_and_losses_are_concealed() {
        let whole = run((0..500).map(|n| (n, 20 * n)), false);
        assert_eq!((whole.played_frames, whole.concealed_frames), (500, 0));
        let lossy = run((0..500).filter(|n| n % 50 != 7).map(|n| (n, 20 * n)), false);
        assert_eq!((lossy.played_frames, lossy.concealed_frames), (490, 10));
        let redundant = run((0..500).filter(|n| n % 50 != 7).map(|n| (n, 20 * n)), true);
        assert_eq!((redundant.played_frames, redundant.concealed_frames), (500, 0));
        assert_eq!(redundant.redundant_frames, 10);
    }

    #[test]
    fn a_repair_counts_when_it_comes_in_time() {
        // Number 100 comes 60 ms late, number 200 comes 600 ms late.
        let late = |n: u64| {
            20 * n
                + if n == 100 {
                    60
                } else if n == 200 {
                    600
                } else {
                    0
                }
        };
        let mut frames: Vec<_> = (0..500).map(|n| (n, late(n))).collect();
        frames.sort_by_key(|(_, at)| *at);
        let reception = run(frames.into_iter(), false);
        assert_eq!((reception.played_frames, reception.concealed_frames), (499, 1));
    }

    #[test]
    fn the_buffer_grows_with_jitter_until_nothing_is_late() {
        let jitter = |n: u64| 20 * n + if n % 10 < 5 { 0 } else { 20 * (n % 10 - 4) + 60 };
        let reception = run((0..1_000).map(|n| (n, jitter(n))), false);
        assert!(reception.concealed_frames <= 10, "{} concealed", reception.concealed_frames);
    }

    #[test]
    fn silence_is_no_loss() {
        // The number goes on, the clock jumps by ten seconds.
        let (mut playout, mut reception) = (Playout::default(), Reception::default());
        for n in 0..100_u64 {
            let pause = if n < 50 { 0 } else { 500 };
            let at = Micros(0).after_ms(20 * (n + pause));
            playout.insert(at, n + 1, ((n + pause) * 960) as u32, false, &mut reception);
        }
        playout.settle(Micros(60_000_000), &mut reception);
        assert_eq!((reception.played_frames, reception.concealed_frames), (100, 0));
    }
}
