//! Sequence numbers of one received stream: which came, which are missing, when to ask for them.
//!
//! Memory: a window of 4,096 numbers (512 B) and at most 512 missing ones. Promises: each number counts once; one is lost only
//! when it stayed away for [`GIVE_UP_US`]. What a retransmission brought counts as missing in reports, as with browsers.

use dataplane::base::ids::Seq;
use dataplane::base::time::Micros;

use super::config::Reception;

/// Sequence numbers remembered for telling duplicates.
const WINDOW: u64 = 4_096;
/// Missing packets remembered; older ones count as lost.
const MISSING_MAX: usize = 512;
/// A gap waits this long before it is asked for: reordering heals by itself.
const NACK_AFTER_US: u64 = 10_000;
/// It is asked for again after this long.
const NACK_AGAIN_US: u64 = 60_000;
/// A packet still missing after this long is lost.
pub const GIVE_UP_US: u64 = 1_000_000;
/// The same when nobody is asked for it.
const GIVE_UP_UNASKED_US: u64 = 200_000;

struct Missing {
    index: u64,
    since: Micros,
    ask_at: Micros,
}

/// The numbers of one stream.
pub(super) struct Window {
    nack: bool,
    /// Extended number of the first packet, of the highest, and those seen below it.
    base: u64,
    highest: Option<u64>,
    seen: Box<[u64; WINDOW as usize / 64]>,
    missing: Vec<Missing>,
    /// Numbers that came without being asked for.
    received: u64,
}

impl Window {
    pub(super) fn new(nack: bool) -> Self {
        Self {
            nack,
            base: 0,
            highest: None,
            seen: Box::new([0; WINDOW as usize / 64]),
            missing: Vec::new(),
            received: 0,
        }
    }

    /// Counts the packet's number; `None` when it was seen before or is too old. Answers the extended number.
    pub(super) fn admit(
        &mut self,
        now: Micros,
        seq: Seq,
        retransmission: bool,
        reception: &mut Reception,
    ) -> Option<u64> {
        let index = self.place(now, seq, reception)?;
        self.received += u64::from(!retransmission);
        Some(index)
    }

    fn place(&mut self, now: Micros, seq: Seq, reception: &mut Reception) -> Option<u64> {
        let Some(highest) = self.highest else {
            // One circle of room below the first packet, for those it overtook.
            let index = 0x1_0000 + u64::from(seq.0);
            (self.base, self.highest) = (index, Some(index));
            self.mark(index);
            return Some(index);
        };
        let ahead = seq.steps_from(Seq(highest as u16));
        if ahead != 0 && ahead < 0x8000 {
            let index = highest + u64::from(ahead);
            for skipped in highest + 1..index {
                self.unmark(skipped);
                self.miss(now, skipped, reception);
            }
            self.unmark(index);
            self.mark(index);
            self.highest = Some(index);
            return Some(index);
        }
        let index = highest.wrapping_sub(u64::from(0_u16.wrapping_sub(ahead)));
        if index + WINDOW <= highest {
            reception.too_old += 1;
            return None;
        }
        if self.is_marked(index) {
            reception.duplicates += 1;
            return None;
        }
        self.mark(index);
        reception.reordered += 1;
        if index < self.base {
            self.base = index;
        } else if let Some(at) = self.missing.iter().position(|missing| missing.index == index) {
            self.missing.remove(at);
        } else {
            // It was given up as lost and came after all.
            reception.lost = reception.lost.saturating_sub(1);
        }
        Some(index)
    }

    fn miss(&mut self, now: Micros, index: u64, reception: &mut Reception) {
        if self.missing.len() == MISSING_MAX {
            self.missing.remove(0);
            reception.lost += 1;
        }
        self.missing.push(Missing { index, since: now, ask_at: now.after_us(NACK_AFTER_US) });
    }

    /// Sequence numbers to ask for now; they are asked for again later. Gives up those missing for too long.
    pub(super) fn take_nacks(&mut self, now: Micros, out: &mut Vec<Seq>, reception: &mut Reception) {
        let before = self.missing.len();
        let give_up_us = self.give_up_us();
        self.missing.retain(|missing| now.since_us(missing.since) < give_up_us);
        reception.lost += (before - self.missing.len()) as u64;
        if !self.nack {
            return;
        }
        for missing in &mut self.missing {
            if now >= missing.ask_at {
                missing.ask_at = now.after_us(NACK_AGAIN_US);
                out.push(Seq(missing.index as u16));
                reception.nacks += 1;
            }
        }
    }

    /// When [`Self::take_nacks`] has something to do.
    pub(super) fn next_due(&self) -> Micros {
        let due = |missing: &Missing| {
            let end = missing.since.after_us(self.give_up_us());
            if self.nack { missing.ask_at.min(end) } else { end }
        };
        self.missing.iter().map(due).fold(Micros::NEVER, Micros::min)
    }

    /// The lowest number that may still come, once something has.
    pub(super) fn open(&self) -> Option<u64> {
        let above = self.highest? + 1;
        Some(self.missing.iter().map(|missing| missing.index).fold(above, u64::min))
    }

    /// How many are missing and may still come.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Highest number, numbers up to there, and those that came by themselves.
    pub(super) fn counts(&self) -> Option<(u64, u64, u64)> {
        let highest = self.highest?;
        Some((highest, highest - self.base + 1, self.received))
    }

    const fn give_up_us(&self) -> u64 {
        if self.nack { GIVE_UP_US } else { GIVE_UP_UNASKED_US }
    }

    fn mark(&mut self, index: u64) {
        self.seen[(index % WINDOW) as usize / 64] |= 1 << (index % 64);
    }

    fn unmark(&mut self, index: u64) {
        self.seen[(index % WINDOW) as usize / 64] &= !(1 << (index % 64));
    }

    fn is_marked(&self, index: u64) -> bool {
        self.seen[(index % WINDOW) as usize / 64] >> (index % 64) & 1 != 0
    }
}
