//! Content numbers of one layer: the publisher's sequence numbers without wrap, without padding and without restarts.
//!
//! Place: once per received packet; every stream of the layer and its retransmission cache count in content numbers.
//! Promises: a number once given is never given to another packet; gaps that the link made stay gaps, so that a late packet finds
//! its place; padding-only packets that come in order take no number; a restarted sequence goes on behind the last number.

use crate::base::ids::Seq;
use crate::base::limits::RTX_PACKETS_PER_LAYER;

/// A jump ahead beyond this is a new beginning of the sequence (RFC 3550 appendix A.1: `MAX_DROPOUT`).
const AHEAD_MAX: u16 = 3_000;
/// A packet further behind than this finds no place: within this distance the retransmission cache still knows whether the packet
/// was there before, so that no sequence number is ever sealed twice.
const BEHIND_MAX: u16 = RTX_PACKETS_PER_LAYER as u16 - 1;
/// Padding packets remembered for the sake of late packets around them.
const REMOVED: usize = 32;

/// Numbering of one layer.
#[derive(Clone, Debug)]
pub struct Order {
    /// Highest sequence number, extended to 64 bits.
    highest: u64,
    /// Extended number minus content number at the highest.
    offset: u64,
    /// Extended numbers below this belong to a former sequence.
    floor: u64,
    begun: bool,
    /// Extended numbers of the latest padding packets; a ring.
    removed: [u64; REMOVED],
    removed_count: usize,
}

/// Where a packet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It has this content number.
    At(u64),
    /// It has this content number and begins the sequence anew: timestamps may have jumped.
    Restarted(u64),
    /// Padding: no number.
    Removed,
    /// Too old to be placed.
    TooLate,
}

impl Default for Order {
    fn default() -> Self {
        Self { highest: 0, offset: 0, floor: 0, begun: false, removed: [0; REMOVED], removed_count: 0 }
    }
}

impl Order {
    /// The source began anew (another SSRC): the next packet restarts the sequence.
    pub fn restart(&mut self) {
        if self.begun {
            // Content numbers go on; the extended number is chosen by the next packet.
            self.highest -= self.offset;
            self.offset = 0;
            self.begun = false;
        }
    }

    /// Places the packet with sequence number `seq`.
    pub fn place(&mut self, seq: Seq, padding_only: bool) -> Place {
        if !self.begun {
            return self.begin(seq, padding_only);
        }
        let distance = seq.0.wrapping_sub(self.highest as u16);
        if distance == 0 {
            return Place::TooLate;
        }
        if distance < 0x8000 {
            if distance > AHEAD_MAX {
                self.restart();
                return self.begin(seq, padding_only);
            }
            self.highest += u64::from(distance);
            if padding_only {
                self.remove();
                return Place::Removed;
            }
            return Place::At(self.highest - self.offset);
        }
        let behind = (self.highest as u16).wrapping_sub(seq.0);
        self.late(u64::from(behind))
    }

    fn begin(&mut self, seq: Seq, padding_only: bool) -> Place {
        let content = self.highest + 1;
        // Any extended number with the right low bits above the content number, and never so low that late ones underflow.
        let extended = (content & !0xffff) + 0x2_0000 + u64::from(seq.0);
        let first_ever = self.highest == 0;
        *self = Self {
            highest: extended,
            offset: extended - content,
            floor: extended,
            begun: true,
            ..Self::default()
        };
        if padding_only {
            self.remove();
            return Place::Removed;
        }
        if first_ever { Place::At(content) } else { Place::Restarted(content) }
    }

    /// The highest number is padding: whatever follows moves one down.
    fn remove(&mut self) {
        self.offset += 1;
        self.removed[self.removed_count % REMOVED] = self.highest;
        self.removed_count += 1;
    }

    fn late(&self, behind: u64) -> Place {
        if behind > u64::from(BEHIND_MAX) {
            return Place::TooLate;
        }
        let extended = self.highest - behind;
        let known = &self.removed[..self.removed_count.min(REMOVED)];
        let oldest = known.iter().copied().min().unwrap_or(0);
        if extended < self.floor || (self.removed_count > REMOVED && extended < oldest) {
            return Place::TooLate;
        }
        let removed_after = known.iter().filter(|&&removed| removed > extended).count() as u64;
        Place::At(extended - (self.offset - removed_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(order: &mut Order, packets: &[(u16, bool)]) -> Vec<Place> {
        packets.iter().map(|&(seq, padding)| order.place(Seq(seq), padding)).collect()
    }

    #[test]
    fn gaps_stay_and_late_packets_fill_them_across_the_wrap() {
        let mut order = Order::default();
        let found =
            places(&mut order, &[(65_534, false), (1, false), (65_535, false), (0, false), (2, false)]);
        assert_eq!(found, [1, 4, 2, 3, 5].map(Place::At));
    }

    #[test]
    fn padding_takes_no_number_and_late_packets_around_it_keep_theirs() {
        let mut order = Order::default();
        let packets = [
            (10, false),
            (12, true),
            (13, false),
            (11, false),
            (14, true),
            (15, true),
            (17, false),
            (16, false),
        ];
        let at = Place::At;
        let expected = [at(1), Place::Removed, at(3), at(2), Place::Removed, Place::Removed, at(5), at(4)];
        assert_eq!(places(&mut order, &packets), expected);
    }

    #[test]
    fn a_restart_goes_on_behind_the_last_number() {
        let mut order = Order::default();
        assert_eq!(
            places(
                &mut order,
                &[(100, false), (101, false), (20_000, false), (20_001, false), (19_999, false)]
            ),
            [Place::At(1), Place::At(2), Place::Restarted(3), Place::At(4), Place::TooLate]
        );
        order.restart();
        assert_eq!(
            places(&mut order, &[(7, false), (8, false), (9, true), (10, false)]),
            [Place::Restarted(5), Place::At(6), Place::Removed, Place::At(7)]
        );
    }

    #[test]
    fn what_is_too_old_is_refused() {
        let mut order = Order::default();
        order.place(Seq(1_000), false);
        assert_eq!(order.place(Seq(999), false), Place::TooLate, "before the first");
        order.place(Seq(2_000), false);
        assert_eq!(order.place(Seq(1_488), false), Place::TooLate);
        assert_eq!(order.place(Seq(1_489), false), Place::At(490));
        for seq in 2_001..2_050 {
            assert_eq!(order.place(Seq(seq), true), Place::Removed);
        }
        assert_eq!(
            order.place(Seq(1_999), false),
            Place::TooLate,
            "more padding since then than is remembered"
        );
        assert_eq!(order.place(Seq(2_050), false), Place::At(1_002));
    }

    #[test]
    fn no_number_is_given_twice() {
        let mut rng = crate::base::rng::Rng::new(9);
        let mut order = Order::default();
        let mut given = std::collections::HashSet::new();
        let mut seen = std::collections::HashSet::new();
        let mut head = 0_u64;
        for _ in 0..100_000 {
            let back = rng.below(20);
            head += rng.below(3);
            let extended = head.saturating_sub(back);
            if !seen.insert(extended) {
                continue;
            }
            if let Place::At(content) | Place::Restarted(content) =
                order.place(Seq(extended as u16), rng.chance_ppm(100_000))
            {
                assert!(given.insert(content), "{content} was given twice");
            }
        }
        assert!(given.len() > 30_000);
    }
}
