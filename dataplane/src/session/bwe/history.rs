//! What was sent to one peer lately, found by transport-wide sequence number.
//!
//! Path: one store per sent packet, one look-up per packet that feedback names. Memory: 4,096 x 16 B = 64 KiB, touched as it fills.
//! Promises: O(1) and no allocation after construction; the oldest is overwritten; a number that was never sent is told from one that was sent too long ago.
//! Not here: reading feedback (the estimator).

use crate::base::ids::Seq;
use crate::base::limits::BWE_SENT_PER_PEER as WINDOW;
use crate::base::time::Micros;

/// What became of a packet, as far as the receiver said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Fate {
    /// No packet has this slot.
    Empty,
    /// Nothing was said about it yet.
    InFlight,
    /// It arrived.
    Received,
    /// It had not arrived when later packets had.
    Lost,
}

/// One sent packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it left, our clock.
    pub at: Micros,
    /// Low half of its extended number.
    number: u32,
    /// Its size.
    pub bytes: u16,
    /// The probe cluster it belongs to, 0 for none.
    pub cluster: u8,
    /// What became of it.
    pub fate: Fate,
}

const _: () = assert!(size_of::<Sent>() == 16, "the arithmetic of the module header");

const EMPTY: Sent = Sent { at: Micros(0), number: 0, bytes: 0, cluster: 0, fate: Fate::Empty };

/// Why a number finds no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absent {
    /// It was never sent.
    NeverSent,
    /// Its slot went to a newer packet.
    TooOld,
}

/// The last packets sent.
#[derive(Debug)]
pub(super) struct SentHistory {
    /// Capacity for all, filled as packets are sent: who only publishes costs nothing.
    slots: Vec<Sent>,
    /// First and newest number, extended; `None` before the first packet.
    range: Option<(u64, u64)>,
}

impl SentHistory {
    pub(super) fn new() -> Self {
        Self { slots: Vec::with_capacity(WINDOW), range: None }
    }

    /// Keeps a packet. Numbers only grow: one that does not is not kept.
    pub(super) fn insert(&mut self, now: Micros, seq: Seq, bytes: usize, cluster: u8) {
        let number = match self.range {
            // One circle above zero, so that there is room below the first.
            None => {
                let first = 0x1_0000 + u64::from(seq.0);
                self.range = Some((first, first));
                first
            }
            Some((first, newest)) => {
                let ahead = seq.0.wrapping_sub(newest as u16);
                if ahead == 0 || ahead >= 0x8000 {
                    return;
                }
                let number = newest + u64::from(ahead);
                self.range = Some((first, number));
                number
            }
        };
        let at = place(number - self.range.map_or(number, |(first, _)| first));
        if at >= self.slots.len() {
            self.slots.resize(at + 1, EMPTY);
        }
        self.slots[at] = Sent {
            at: now,
            number: number as u32,
            bytes: bytes.min(usize::from(u16::MAX)) as u16,
            cluster,
            fate: Fate::InFlight,
        };
    }

    /// The extended number that `seq` means, and its packet.
    pub(super) fn find(&mut self, seq: Seq) -> Result<(u64, &mut Sent), Absent> {
        let (first, newest) = self.range.ok_or(Absent::NeverSent)?;
        let back = u64::from((newest as u16).wrapping_sub(seq.0));
        if back >= 0x8000 || newest - back < first {
            return Err(Absent::NeverSent);
        }
        let number = newest - back;
        if back >= WINDOW as u64 {
            return Err(Absent::TooOld);
        }
        let sent = self.slots.get_mut(place(number - first)).ok_or(Absent::NeverSent)?;
        if sent.fate == Fate::Empty || sent.number != number as u32 {
            return Err(Absent::NeverSent);
        }
        Ok((number, sent))
    }

    /// The newest number, extended.
    pub(super) fn newest(&self) -> Option<u64> {
        self.range.map(|(_, newest)| newest)
    }

    /// When the newest packet left.
    pub(super) fn newest_at(&self) -> Option<Micros> {
        let (first, newest) = self.range?;
        self.slots.get(place(newest - first)).map(|sent| sent.at)
    }
}

/// Slot of the packet so many numbers after the first.
const fn place(distance: u64) -> usize {
    distance as usize & (WINDOW - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_until_its_slot_is_taken_and_across_the_wrap() {
        let mut history = SentHistory::new();
        assert_eq!(history.find(Seq(0)).err(), Some(Absent::NeverSent));
        let first = Seq(60_000);
        for step in 0..20_000 {
            history.insert(Micros(u64::from(step)), first.plus(step), 100, 0);
            assert_eq!(history.find(first.plus(step)).map(|(_, sent)| sent.at), Ok(Micros(u64::from(step))));
            assert_eq!(history.find(first.plus(step + 1)).err(), Some(Absent::NeverSent));
        }
        let newest = first.plus(19_999);
        let oldest = newest.plus(0_u16.wrapping_sub(WINDOW as u16 - 1));
        assert_eq!(history.find(oldest).map(|(_, sent)| sent.at.0), Ok(20_000 - WINDOW as u64));
        assert_eq!(history.find(oldest.plus(u16::MAX)).err(), Some(Absent::TooOld));
        assert_eq!(history.find(first.plus(u16::MAX)).err(), Some(Absent::NeverSent));
        assert_eq!(history.newest(), Some(0x1_0000 + 60_000 + 19_999));
        assert_eq!(history.newest_at(), Some(Micros(19_999)));
    }

    #[test]
    fn a_number_left_out_was_never_sent() {
        let mut history = SentHistory::new();
        history.insert(Micros(1), Seq(1), 10, 0);
        history.insert(Micros(2), Seq(3), 10, 7);
        history.insert(Micros(3), Seq(2), 10, 0);
        assert_eq!(history.find(Seq(2)).err(), Some(Absent::NeverSent));
        assert_eq!(history.find(Seq(3)).map(|(_, sent)| (sent.at, sent.cluster)), Ok((Micros(2), 7)));
    }
}
