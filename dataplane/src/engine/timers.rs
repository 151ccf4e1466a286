//! A timer wheel: one deadline per entry, re-armed in O(1), found without looking at entries that are not due.
//!
//! Place: the engine keeps one wheel for peers and one for meetings; entries are table indices.
//! Promises: no allocation except in [`Wheel::admit`]; a deadline fires at most 1 ms late, never early; the order of firing
//! depends on deadlines and the order of arming alone.
//! Sketch: 1,024 slots of 1 ms. A deadline beyond the wheel waits in its farthest slot and is looked at once per second.

use crate::base::time::Micros;

const SLOTS: u64 = 1_024;
const WORDS: usize = (SLOTS / 64) as usize;
const NONE: u32 = u32::MAX;
const TICK_US: u64 = 1_000;

/// Deadlines of entries numbered from zero.
#[derive(Debug)]
pub struct Wheel {
    heads: Vec<u32>,
    occupied: [u64; WORDS],
    /// Bit n: word n of `occupied` is not zero.
    words: u16,
    nodes: Vec<Node>,
    /// The first tick that was not yet looked at.
    cursor: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    /// Slot it hangs in, or `NONE`.
    slot: u32,
    /// Tick of its deadline.
    tick: u64,
}

const IDLE: Node = Node { previous: NONE, next: NONE, slot: NONE, tick: 0 };

impl Default for Wheel {
    fn default() -> Self {
        Self {
            heads: vec![NONE; SLOTS as usize],
            occupied: [0; WORDS],
            words: 0,
            nodes: Vec::new(),
            cursor: 0,
        }
    }
}

impl Wheel {
    /// Makes room for the entry `index`, unarmed.
    pub fn admit(&mut self, index: usize) {
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE);
        }
        self.disarm(index);
    }

    /// Sets the deadline of an admitted entry, replacing any other.
    pub fn arm(&mut self, index: usize, at: Micros) {
        self.disarm(index);
        if at != Micros::NEVER {
            self.link(index, at.0.div_ceil(TICK_US));
        }
    }

    /// Sets the deadline of an admitted entry unless an earlier one stands.
    pub fn arm_by(&mut self, index: usize, at: Micros) {
        let tick = at.0.div_ceil(TICK_US);
        match self.nodes.get(index) {
            Some(node) if node.slot == NONE || node.tick > tick => self.arm(index, at),
            _ => {}
        }
    }

    /// Takes the deadline of an entry away.
    pub fn disarm(&mut self, index: usize) {
        let Some(&Node { previous, next, slot, .. }) = self.nodes.get(index) else { return };
        if slot == NONE {
            return;
        }
        if previous == NONE {
            self.heads[slot as usize] = next;
            if next == NONE {
                let word = slot as usize / 64;
                self.occupied[word] &= !(1 << (slot % 64));
                self.words &= !(u16::from(self.occupied[word] == 0) << word);
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        self.nodes[index] = IDLE;
    }

    /// Takes one entry that is due at `now`; it is unarmed then.
    pub fn pop_due(&mut self, now: Micros) -> Option<usize> {
        let tick_now = now.0 / TICK_US;
        // After a long sleep every slot is looked at once.
        self.cursor = self.cursor.max((tick_now + 1).saturating_sub(SLOTS));
        while self.cursor <= tick_now {
            let Some(tick) = self.first_occupied().filter(|tick| *tick <= tick_now) else {
                self.cursor = tick_now + 1;
                break;
            };
            self.cursor = tick;
            let slot = (tick % SLOTS) as usize;
            let mut index = self.heads[slot];
            while index != NONE {
                let node = self.nodes[index as usize];
                if node.tick <= tick_now {
                    self.disarm(index as usize);
                    return Some(index as usize);
                }
                index = node.next;
            }
            // Only deadlines of later rounds are left: hang them where they belong now.
            let mut index = self.heads[slot];
            self.cursor = tick + 1;
            while index != NONE {
                let node = self.nodes[index as usize];
                self.disarm(index as usize);
                self.link(index as usize, node.tick);
                index = node.next;
            }
        }
        None
    }

    /// When [`Wheel::pop_due`] is next worth a call.
    #[must_use]
    pub fn next(&self) -> Micros {
        self.first_occupied().map_or(Micros::NEVER, |tick| Micros(tick * TICK_US))
    }

    fn link(&mut self, index: usize, tick: u64) {
        let hung = tick.clamp(self.cursor, self.cursor + SLOTS - 1);
        let slot = (hung % SLOTS) as usize;
        let next = self.heads[slot];
        self.nodes[index] = Node { previous: NONE, next, slot: slot as u32, tick };
        if next != NONE {
            self.nodes[next as usize].previous = index as u32;
        }
        self.heads[slot] = index as u32;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.words |= 1 << (slot / 64);
    }

    /// First tick from the cursor on, one round ahead at most, whose slot holds anything.
    fn first_occupied(&self) -> Option<u64> {
        if self.words == 0 {
            return None;
        }
        let start = (self.cursor % SLOTS) as usize;
        let first_word = start / 64;
        // The rest of the cursor's own word, then the other words, in the end its beginning.
        let here = self.occupied[first_word] & u64::MAX << (start % 64);
        let (word_index, word) = if here != 0 {
            (first_word, here)
        } else {
            let ahead = self.words.rotate_right(first_word as u32 + 1).trailing_zeros() as usize;
            let word_index = (first_word + 1 + ahead) % WORDS;
            (word_index, self.occupied[word_index])
        };
        let slot = word_index as u64 * 64 + u64::from(word.trailing_zeros());
        Some(self.cursor + (slot + SLOTS - start as u64) % SLOTS)
    }
}

const _: () = assert!(WORDS == u16::BITS as usize, "one bit each");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn entries_fire_in_time_and_never_early() {
        let mut rng = Rng::new(4);
        let mut wheel = Wheel::default();
        let mut deadlines = vec![None; 200];
        (0..200).for_each(|index| wheel.admit(index));
        let mut now = Micros(0);
        for _ in 0..20_000 {
            for _ in 0..rng.below(4) {
                let index = rng.below(200) as usize;
                if rng.chance_ppm(200_000) {
                    wheel.disarm(index);
                    deadlines[index] = None;
                } else {
                    let at = now.after_us(rng.below(3_000_000));
                    wheel.arm(index, at);
                    deadlines[index] = Some(at);
                }
            }
            let step = if rng.chance_ppm(1_000) { 5_000_000 } else { 3_000 };
            now = now.after_us(rng.below(step));
            while let Some(index) = wheel.pop_due(now) {
                let at = deadlines[index].take().expect("only armed entries fire");
                assert!(at <= now, "entry {index} fired early");
            }
            for (index, at) in deadlines.iter().enumerate() {
                let late = at.is_some_and(|at| at.after_us(TICK_US) <= now);
                assert!(!late, "entry {index} is late");
            }
            let next = deadlines.iter().flatten().min();
            assert!(next.is_none_or(|at| wheel.next() <= at.after_us(TICK_US)));
        }
    }

    #[test]
    fn an_earlier_deadline_stands() {
        let mut wheel = Wheel::default();
        wheel.admit(0);
        assert_eq!(wheel.next(), Micros::NEVER);
        wheel.arm(0, Micros(5_000));
        wheel.arm_by(0, Micros(9_000));
        assert_eq!(wheel.next(), Micros(5_000));
        wheel.arm_by(0, Micros(2_500));
        assert_eq!(wheel.next(), Micros(3_000));
        assert_eq!(wheel.pop_due(Micros(2_999)), None);
        assert_eq!(wheel.pop_due(Micros(3_000)), Some(0));
        assert_eq!(wheel.pop_due(Micros(90_000)), None);
    }
}
