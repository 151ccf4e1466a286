//! What a video track offers: its qualities with their temporal layers, and what each costs, measured.
//!
//! Place: `router` counts every packet once; about five times a second [`Rates::close`] ends an interval and the track's [`Ladder`]
//! is built anew, which `allocate` climbs for every receiver. A *quality* is a simulcast layer or a spatial layer of an SVC stream.
//! Promises: no allocation; a keyframe moves a rate little, a new layer counts from its first interval on.
//! Memory: 4 x 4 x 12 B of counters and 16 rungs x 12 B a track.

use crate::base::limits::{QUALITIES_MAX, TEMPORAL_LAYERS_MAX};
use crate::base::time::Micros;

/// What a payload is sent with: header 12 B, our extensions ~16 B, authentication tag 16 B. What the publisher's header held does not
/// matter.
const OVERHEAD_BYTES: u32 = 44;
/// A rate follows its intervals by an eighth: of 200 ms each, a time constant of 1.6 s.
const SMOOTHING: u32 = 8;
/// A temporal layer that sent nothing for this many intervals is gone.
const SILENT_INTERVALS: u8 = 8;

/// One way of sending a track, and what it costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rung {
    /// Quality: simulcast layer or spatial layer, 0-based from the lowest.
    pub quality: u8,
    /// Highest temporal layer, 0-based.
    pub temporal: u8,
    /// Bits per second.
    pub bitrate_bps: u32,
    /// Frames per second.
    pub fps: u8,
}

/// Ways of one track, at most.
pub const RUNGS_MAX: usize = QUALITIES_MAX * TEMPORAL_LAYERS_MAX;

/// All ways, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ladder {
    rungs: [Rung; RUNGS_MAX],
    count: u8,
}

impl Ladder {
    /// The rungs, by quality, then by temporal layer.
    #[must_use]
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs[..usize::from(self.count)]
    }

    /// Adds a rung above the others.
    pub fn push(&mut self, rung: Rung) {
        if let Some(slot) = self.rungs.get_mut(usize::from(self.count)) {
            *slot = rung;
            self.count += 1;
        }
    }

    /// The rung of a quality and temporal layer.
    #[must_use]
    pub fn find(&self, quality: u8, temporal: u8) -> Option<&Rung> {
        self.rungs().iter().find(|rung| (rung.quality, rung.temporal) == (quality, temporal))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// Of the interval that runs.
    bytes: u32,
    frames: u16,
    /// Of the last intervals, smoothed.
    bps: u32,
    /// Frames per second, sixteenths.
    fps_16: u16,
    /// Intervals seen, to the first eight; then those since the last packet.
    age: u8,
    silent: u8,
}

/// Counted bytes and frames of every quality and temporal layer.
#[derive(Clone, Debug)]
pub struct Rates {
    cells: [[Cell; TEMPORAL_LAYERS_MAX]; QUALITIES_MAX],
    begun: Option<Micros>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { cells: [[Cell::default(); TEMPORAL_LAYERS_MAX]; QUALITIES_MAX], begun: None }
    }
}

impl Rates {
    /// Counts one packet by its payload.
    pub fn count(&mut self, now: Micros, quality: u8, temporal: u8, bytes: usize, frame_start: bool) {
        self.begun.get_or_insert(now);
        let quality = usize::from(quality).min(QUALITIES_MAX - 1);
        let cell = &mut self.cells[quality][usize::from(temporal).min(TEMPORAL_LAYERS_MAX - 1)];
        cell.bytes = cell.bytes.saturating_add(bytes as u32 + OVERHEAD_BYTES);
        cell.frames = cell.frames.saturating_add(u16::from(frame_start));
    }

    /// Ends the interval; nothing when it has hardly begun.
    pub fn close(&mut self, now: Micros) {
        let Some(begun) = self.begun else { return };
        let us = now.since_us(begun);
        if us < 100_000 {
            return;
        }
        self.begun = Some(now);
        for cell in self.cells.iter_mut().flatten() {
            if cell.bytes == 0 {
                cell.silent = cell.silent.saturating_add(1);
                if cell.silent >= SILENT_INTERVALS {
                    *cell = Cell { silent: SILENT_INTERVALS, ..Cell::default() };
                    continue;
                }
            } else {
                cell.silent = 0;
            }
            if cell.age == 0 && cell.bytes == 0 {
                continue;
            }
            let fresh_bps = (u64::from(cell.bytes) * 8_000_000 / us).min(u64::from(u32::MAX / 2)) as u32;
            let fresh_fps = (u64::from(cell.frames) * 16_000_000 / us).min(60 * 16) as u16;
            cell.age = (cell.age + 1).min(SMOOTHING as u8);
            let part = i64::from(cell.age);
            cell.bps = (i64::from(cell.bps) + (i64::from(fresh_bps) - i64::from(cell.bps)) / part) as u32;
            cell.fps_16 =
                (i64::from(cell.fps_16) + (i64::from(fresh_fps) - i64::from(cell.fps_16)) / part) as u16;
            (cell.bytes, cell.frames) = (0, 0);
        }
    }

    /// The ladder of the qualities that `offered` says; `needs(top, lower)` tells whether a receiver of quality `top` also gets the
    /// frames of `lower`.
    #[must_use]
    pub fn ladder(&self, offered: impl Fn(u8) -> bool, needs: impl Fn(u8, u8) -> bool) -> Ladder {
        let mut ladder = Ladder::default();
        for quality in (0..QUALITIES_MAX as u8).filter(|quality| offered(*quality)) {
            let own = &self.cells[usize::from(quality)];
            let highest = own.iter().rposition(|cell| cell.age > 0).unwrap_or(0);
            let (mut bitrate_bps, mut fps_16) = (0_u32, 0);
            for (temporal, cell) in own.iter().enumerate().take(highest + 1) {
                for lower in 0..=quality {
                    if lower == quality || needs(quality, lower) {
                        bitrate_bps =
                            bitrate_bps.saturating_add(self.cells[usize::from(lower)][temporal].bps);
                    }
                }
                fps_16 += cell.fps_16;
                let fps = (fps_16.div_ceil(16)).min(255) as u8;
                ladder.push(Rung { quality, temporal: temporal as u8, bitrate_bps, fps });
            }
        }
        ladder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three qualities of two temporal layers at 20 frames per second: 100, 300 and 900 bytes a frame.
    fn play(rates: &mut Rates, from_ms: u64, through_ms: u64) {
        for ms in (from_ms..through_ms).step_by(50) {
            let now = Micros(0).after_ms(ms);
            let temporal = (ms / 50 % 2) as u8;
            for (quality, bytes) in [(0, 100), (1, 300), (2, 900)] {
                rates.count(now, quality, temporal, bytes - OVERHEAD_BYTES as usize, true);
            }
            if ms % 200 == 150 {
                rates.close(Micros(0).after_ms(ms + 50));
            }
        }
    }

    #[test]
    fn rungs_add_up_temporal_layers_and_what_a_quality_needs() {
        let mut rates = Rates::default();
        play(&mut rates, 0, 4_000);
        let simulcast = rates.ladder(|quality| quality < 3, |_, _| false);
        let costs: Vec<_> = simulcast
            .rungs()
            .iter()
            .map(|rung| (rung.quality, rung.temporal, rung.bitrate_bps, rung.fps))
            .collect();
        assert_eq!(
            costs,
            [
                (0, 0, 8_000, 10),
                (0, 1, 16_000, 20),
                (1, 0, 24_000, 10),
                (1, 1, 48_000, 20),
                (2, 0, 72_000, 10),
                (2, 1, 144_000, 20)
            ]
        );
        let svc = rates.ladder(|quality| quality < 3, |_, _| true);
        assert_eq!(svc.find(2, 1).map(|rung| rung.bitrate_bps), Some(208_000));
        assert_eq!(svc.find(1, 0).map(|rung| rung.bitrate_bps), Some(32_000));
    }

    #[test]
    fn a_layer_that_falls_silent_leaves_the_ladder() {
        let mut rates = Rates::default();
        play(&mut rates, 0, 1_000);
        for interval in 0..u64::from(SILENT_INTERVALS) {
            let now = Micros(0).after_ms(1_000 + interval * 200);
            rates.count(now, 0, 0, 76, true);
            rates.close(now.after_ms(200));
        }
        let ladder = rates.ladder(|quality| quality == 0, |_, _| false);
        assert_eq!(ladder.rungs().len(), 1, "its second temporal layer is gone");
    }

    #[test]
    fn a_keyframe_moves_a_rate_little() {
        let mut rates = Rates::default();
        play(&mut rates, 0, 4_000);
        rates.count(Micros(4_010_000), 2, 0, 9_000, true);
        play(&mut rates, 4_000, 4_200);
        let cost =
            rates.ladder(|quality| quality == 2, |_, _| false).find(2, 0).expect("it sends").bitrate_bps;
        assert!((72_000..130_000).contains(&cost), "{cost}");
    }
}
