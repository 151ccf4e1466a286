//! Clients without transport-wide feedback: the receiver's own estimate (REMB) if it makes one, loss from receiver reports always.
//!
//! Path: about once a second. A falling REMB is followed at once. One that stands or rises below our rate is approached slowly: such
//! receivers know nothing beyond one and a half times what they get, so a rate that only followed them would never rise.
//! Promises: no single number from the network moves the rate beyond its limits or up by more than a tenth.

use crate::base::time::Micros;

/// Reports are judged together this often.
const REPORTS_US: u64 = 900_000;
/// A REMB counts for this long.
const REMB_US: u64 = 5_000_000;
/// More than this is a lie or a receiver that measures nothing.
const REMB_BPS_MAX: u64 = 10_000_000_000;
/// Loss in 256ths: growth below 2 %, fall above 10 %.
const CALM: u32 = 5;
const CONGESTED: u32 = 26;

/// How the rate moves, thousandths of what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Move(pub u64);

/// What clients without transport-wide feedback told.
#[derive(Clone, Debug, Default)]
pub(super) struct Fallback {
    fraction_sum: u32,
    reports: u32,
    begun: Option<Micros>,
    remb: Option<(Micros, u64)>,
    fraction: u8,
}

impl Fallback {
    /// Takes a receiver's estimate; answers the rate it asks for at once.
    pub(super) fn handle_remb(&mut self, now: Micros, bps: u64, rate_bps: u64) -> Option<u64> {
        if bps == 0 || bps > REMB_BPS_MAX {
            return None;
        }
        let before = self.fresh_remb(now);
        self.remb = Some((now, bps));
        let falls = before.is_none_or(|before| bps * 100 < before * 97);
        if bps < rate_bps {
            return Some(if falls { bps } else { bps.max(rate_bps * 19 / 20) });
        }
        // It sees more than we believe.
        Some(bps.min(rate_bps * 11 / 10))
    }

    /// Takes one report block; answers a move when a second's worth is there.
    pub(super) fn handle_report(&mut self, now: Micros, fraction_lost: u8) -> Option<Move> {
        self.fraction_sum += u32::from(fraction_lost);
        self.reports += 1;
        if now.since_us(*self.begun.get_or_insert(now)) < REPORTS_US {
            return None;
        }
        let fraction = self.fraction_sum / self.reports;
        (self.fraction_sum, self.reports, self.begun) = (0, 0, Some(now));
        self.fraction = fraction.min(255) as u8;
        match fraction {
            _ if fraction > CONGESTED => Some(Move(1_000 - u64::from(fraction) * 500 / 256)),
            _ if fraction < CALM => Some(Move(1_080)),
            _ => None,
        }
    }

    /// Loss of the last reports, 256ths.
    pub(super) const fn fraction(&self) -> u8 {
        self.fraction
    }

    fn fresh_remb(&self, now: Micros) -> Option<u64> {
        self.remb.filter(|(at, _)| now.since_us(*at) < REMB_US).map(|(_, bps)| bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_or_falling_receiver_estimate_is_taken_and_a_standing_one_approached() {
        let mut fallback = Fallback::default();
        assert_eq!(fallback.handle_remb(Micros(0), 300_000, 600_000), Some(300_000));
        assert_eq!(fallback.handle_remb(Micros(1_000_000), 305_000, 500_000), Some(475_000));
        assert_eq!(fallback.handle_remb(Micros(2_000_000), 250_000, 475_000), Some(250_000));
        assert_eq!(fallback.handle_remb(Micros(3_000_000), 5_000_000, 250_000), Some(275_000));
        for absurd in [0, u64::MAX, REMB_BPS_MAX + 1] {
            assert_eq!(fallback.handle_remb(Micros(4_000_000), absurd, 250_000), None);
        }
    }

    #[test]
    fn reports_are_judged_together_once_a_second() {
        let mut fallback = Fallback::default();
        // The first report of a second ends the one before.
        let mut second = |at_s: u64, fraction: u8| {
            let at = Micros(at_s * 1_000_000);
            let moves = (0..4).filter_map(|n| fallback.handle_report(at.after_ms(n), fraction));
            moves.last()
        };
        assert_eq!(second(0, 0), None);
        assert_eq!(second(1, 0), Some(Move(1_080)));
        assert_eq!(second(2, 10), Some(Move(1_080)));
        assert_eq!(second(3, 10), None, "between: hold");
        assert!(second(4, 255).is_some_and(|Move(thousandths)| thousandths > 800));
        assert!(second(5, 255).is_some_and(|Move(thousandths)| thousandths < 600));
    }
}
