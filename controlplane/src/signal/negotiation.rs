//! When to offer: one offer in flight per peer, changes coalesced, a growing pause between offers that follow each other.
//!
//! Fifty people joining a room of fifty would mean 2,500 offers if each change sent one. Here a change only marks the peer; an
//! offer goes out when none is in flight and the pause since the last one is over, and carries everything that changed
//! meanwhile. The pause starts at [`PAUSE_FIRST_MS`], doubles with every offer up to [`PAUSE_MAX_MS`] and is forgotten after a
//! quiet [`QUIET_MS`]: a lone change goes out at once, a storm costs each peer about one offer per second.
//! Not here: what an offer says.

/// Pause after the first offer of a busy time, milliseconds.
pub const PAUSE_FIRST_MS: u64 = 40;
/// Longest pause, milliseconds.
pub const PAUSE_MAX_MS: u64 = 1_000;
/// A peer without offers for this long starts over with the first pause, milliseconds.
pub const QUIET_MS: u64 = 2_000;
/// An offer without an answer for this long is written again with a new number, milliseconds.
pub const ANSWER_MS_MAX: u64 = 10_000;

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing until something changes or an answer comes.
    Idle,
    /// Ask again at this time, milliseconds.
    At(u64),
    /// Send an offer with this number now.
    Offer(u32),
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: u32,
    sent_ms: u64,
}

/// The state of one peer's negotiation.
#[derive(Debug, Default)]
pub struct Negotiation {
    changed: bool,
    in_flight: Option<InFlight>,
    last_id: u32,
    last_sent_ms: Option<u64>,
    pause_ms: u64,
}

impl Negotiation {
    /// Something changed that the peer must be offered.
    pub fn request(&mut self) {
        self.changed = true;
    }

    /// What [`Negotiation::poll`] would say at `now_ms`.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Next {
        // Zero means "no number" in the protocol.
        let offer = Next::Offer(self.last_id.checked_add(1).unwrap_or(1));
        if let Some(InFlight { sent_ms, .. }) = self.in_flight {
            let give_up_ms = sent_ms + ANSWER_MS_MAX;
            return if now_ms < give_up_ms { Next::At(give_up_ms) } else { offer };
        }
        if !self.changed {
            return Next::Idle;
        }
        match self.last_sent_ms {
            Some(last_ms) if now_ms < last_ms + self.pause_ms => Next::At(last_ms + self.pause_ms),
            _ => offer,
        }
    }

    /// What to do at `now_ms`. An [`Next::Offer`] counts as sent.
    pub fn poll(&mut self, now_ms: u64) -> Next {
        let next = self.next(now_ms);
        let Next::Offer(id) = next else { return next };
        let is_busy = self.last_sent_ms.is_some_and(|last_ms| now_ms < last_ms + QUIET_MS);
        self.pause_ms =
            if is_busy { (self.pause_ms * 2).clamp(PAUSE_FIRST_MS, PAUSE_MAX_MS) } else { PAUSE_FIRST_MS };
        self.changed = false;
        self.last_id = id;
        self.in_flight = Some(InFlight { id: self.last_id, sent_ms: now_ms });
        self.last_sent_ms = Some(now_ms);
        next
    }

    /// An answer came. False if it is not for the offer in flight; clients that do not number answers send 0.
    #[must_use]
    pub fn answered(&mut self, id: u32) -> bool {
        let fits = self.in_flight.is_some_and(|offer| id == 0 || id == offer.id);
        if fits {
            self.in_flight = None;
        }
        fits
    }

    /// The connection to the client was replaced: what was in flight is lost and must be offered again, without a pause.
    pub fn restart(&mut self) {
        self.in_flight = None;
        self.last_sent_ms = None;
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_change_is_offered_at_once() {
        let mut negotiation = Negotiation::default();
        assert_eq!(negotiation.poll(0), Next::Idle);
        negotiation.request();
        assert_eq!(negotiation.poll(0), Next::Offer(1));
        assert!(negotiation.answered(1));
        assert_eq!(negotiation.poll(1), Next::Idle);
        negotiation.request();
        assert_eq!(negotiation.poll(60_000), Next::Offer(2));
    }

    #[test]
    fn changes_during_an_offer_wait_for_its_answer_and_go_together() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0), Next::Offer(1));
        for now in 1..100 {
            negotiation.request();
            assert!(matches!(negotiation.poll(now), Next::At(_)));
        }
        assert!(negotiation.answered(1));
        assert_eq!(negotiation.poll(100), Next::Offer(2));
        assert!(negotiation.answered(2));
        assert_eq!(negotiation.poll(5_000), Next::Idle);
    }

    #[test]
    fn an_answer_to_an_older_offer_is_not_taken() {
        let mut negotiation = Negotiation::default();
        assert!(!negotiation.answered(0));
        negotiation.request();
        assert_eq!(negotiation.poll(0), Next::Offer(1));
        assert!(!negotiation.answered(7));
        assert!(negotiation.answered(0));
        assert!(!negotiation.answered(1));
    }

    #[test]
    fn an_offer_that_nobody_answers_is_written_again() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0), Next::Offer(1));
        assert_eq!(negotiation.poll(1), Next::At(ANSWER_MS_MAX));
        assert_eq!(negotiation.poll(ANSWER_MS_MAX), Next::Offer(2));
    }

    #[test]
    fn after_a_new_connection_the_offer_comes_at_once() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0), Next::Offer(1));
        negotiation.restart();
        assert!(!negotiation.answered(1));
        assert_eq!(negotiation.poll(1), Next::Offer(2));
    }

    #[test]
    fn a_storm_of_changes_costs_few_offers() {
        // 100 changes within 5 s, answers after 20 ms: the pauses are 40, 80, 160, 320, 640 and 1,000 ms.
        let mut negotiation = Negotiation::default();
        let mut offers = 0;
        let mut answer_at = None;
        for now in 0..8_000 {
            if now < 5_000 && now % 50 == 0 {
                negotiation.request();
            }
            if answer_at == Some(now) {
                assert!(negotiation.answered(0));
            }
            if let Next::Offer(_) = negotiation.poll(now) {
                offers += 1;
                answer_at = Some(now + 20);
            }
        }
        assert!((5..=11).contains(&offers), "{offers}");
    }
}
