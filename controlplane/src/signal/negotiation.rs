//! When to offer: one offer in flight per peer, changes coalesced, a pause between offers that grows with their size.
//!
//! Fifty people joining a room of fifty would mean 2,500 offers if each change sent one. Here a change only marks the peer; an
//! offer goes out when none is in flight and the pause since the last one is over, and carries everything that changed
//! meanwhile. The pause is [`PAUSE_PER_SECTION_MS`] for each media section, so that both sides spend a bounded share of
//! their time on descriptions: a room of four hears of a change within 80 ms, one of a hundred within a second.
//! A client that offers itself (protocol v1) is asked for an offer by the same rules.
//! Not here: what an offer says.

/// Pause after an offer for each media section it has, milliseconds; a browser takes about a fifth of it to apply one.
pub const PAUSE_PER_SECTION_MS: u64 = 10;
/// Longest pause, milliseconds.
pub const PAUSE_MAX_MS: u64 = 1_000;
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
    pause_until_ms: u64,
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
        if now_ms < self.pause_until_ms { Next::At(self.pause_until_ms) } else { offer }
    }

    /// What to do at `now_ms`. An [`Next::Offer`] counts as sent, with this many media sections.
    pub fn poll(&mut self, now_ms: u64, sections: usize) -> Next {
        let next = self.next(now_ms);
        let Next::Offer(id) = next else { return next };
        let pause_ms = u64::try_from(sections).unwrap_or(u64::MAX).saturating_mul(PAUSE_PER_SECTION_MS);
        self.pause_until_ms = now_ms + pause_ms.min(PAUSE_MAX_MS);
        self.changed = false;
        self.last_id = id;
        self.in_flight = Some(InFlight { id, sent_ms: now_ms });
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

    /// Everything that changed is told: an answer of ours said it, not an offer.
    pub fn settle(&mut self) {
        self.in_flight = None;
        self.changed = false;
    }

    /// The client will offer by itself, with what changed until then.
    pub fn expect_offer(&mut self, now_ms: u64) {
        self.in_flight = Some(InFlight { id: self.last_id, sent_ms: now_ms });
        self.pause_until_ms = 0;
    }

    /// The connection to the client was replaced: what was in flight is lost and must be offered again, without a pause.
    pub fn restart(&mut self) {
        self.in_flight = None;
        self.pause_until_ms = 0;
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_change_is_offered_at_once() {
        let mut negotiation = Negotiation::default();
        assert_eq!(negotiation.poll(0, 4), Next::Idle);
        negotiation.request();
        assert_eq!(negotiation.poll(0, 4), Next::Offer(1));
        assert!(negotiation.answered(1));
        assert_eq!(negotiation.poll(1, 4), Next::Idle);
        negotiation.request();
        assert_eq!(negotiation.poll(60_000, 4), Next::Offer(2));
    }

    #[test]
    fn changes_during_an_offer_wait_for_its_answer_and_go_together() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0, 4), Next::Offer(1));
        for now in 1..100 {
            negotiation.request();
            assert!(matches!(negotiation.poll(now, 4), Next::At(_)));
        }
        assert!(negotiation.answered(1));
        assert_eq!(negotiation.poll(100, 4), Next::Offer(2));
        assert!(negotiation.answered(2));
        assert_eq!(negotiation.poll(5_000, 4), Next::Idle);
    }

    #[test]
    fn an_answer_to_an_older_offer_is_not_taken() {
        let mut negotiation = Negotiation::default();
        assert!(!negotiation.answered(0));
        negotiation.request();
        assert_eq!(negotiation.poll(0, 4), Next::Offer(1));
        assert!(!negotiation.answered(7));
        assert!(negotiation.answered(0));
        assert!(!negotiation.answered(1));
    }

    #[test]
    fn an_offer_that_nobody_answers_is_written_again() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0, 4), Next::Offer(1));
        assert_eq!(negotiation.poll(1, 4), Next::At(ANSWER_MS_MAX));
        assert_eq!(negotiation.poll(ANSWER_MS_MAX, 4), Next::Offer(2));
    }

    #[test]
    fn after_a_new_connection_the_offer_comes_at_once() {
        let mut negotiation = Negotiation::default();
        negotiation.request();
        assert_eq!(negotiation.poll(0, 4), Next::Offer(1));
        negotiation.restart();
        assert!(!negotiation.answered(1));
        assert_eq!(negotiation.poll(1, 4), Next::Offer(2));
    }

    #[test]
    fn a_client_that_is_to_offer_is_asked_again_when_it_does_not() {
        let mut negotiation = Negotiation::default();
        negotiation.expect_offer(0);
        negotiation.request();
        assert_eq!(negotiation.poll(1, 4), Next::At(ANSWER_MS_MAX));
        negotiation.settle();
        assert_eq!(negotiation.poll(2, 4), Next::Idle);
        negotiation.expect_offer(2);
        assert_eq!(negotiation.poll(2 + ANSWER_MS_MAX, 4), Next::Offer(1));
    }

    #[test]
    fn a_storm_of_changes_costs_as_many_offers_as_the_pauses_allow() {
        // A change every 50 ms for 5 s, answers after 20 ms. 100 sections pause for a second, 4 for 40 ms.
        for (sections, fewest, most) in [(100, 5, 7), (4, 90, 101)] {
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
                if let Next::Offer(_) = negotiation.poll(now, sections) {
                    offers += 1;
                    answer_at = Some(now + 20);
                }
            }
            assert!((fewest..=most).contains(&offers), "{offers} with {sections} sections");
        }
    }
}
