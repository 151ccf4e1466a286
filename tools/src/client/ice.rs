//! The client's ICE side: controlling, one pair, every check nominates (RFC 8445 section 8.1.1 with an ICE-lite peer).
//!
//! Path: opens the way for `dtls`; afterwards each check is also consent (RFC 7675). Promises: only a response with the right
//! transaction and MESSAGE-INTEGRITY counts. Not here: candidates and addresses; the driver knows where to send.

use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::IceCredentials;
use dataplane::wire::stun::{BindingRequest, Class, Role, StunMessage, TransactionId, write_request};
use kernels::{HmacSha1, Suite};

/// Until the first answer a check goes out this often.
const CHECK_INTERVAL_US: u64 = 50_000;
/// Unanswered for this long, checks slow down to twice this (RFC 8445 section 14: the server may be starting).
const IMPATIENT_US: u64 = 2_000_000;
/// Keepalive and consent, as Chromium does on a stable path.
const KEEPALIVE_US: u64 = 2_500_000;
/// Consent is lost this long after the last answer.
const CONSENT_US: u64 = 30_000_000;
/// Requests that may be unanswered at a time; an answer to an older one does not count.
const OUTSTANDING: usize = 8;
/// Priority of a peer-reflexive candidate of component 1 (RFC 8445 section 5.1.2.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// The server's side as its description said.
struct Remote {
    ufrag: String,
    hmac: HmacSha1,
}

/// A controlling agent with one pair.
pub(super) struct Agent {
    local: IceCredentials,
    remote: Option<Remote>,
    suite: Suite,
    tie_breaker: u64,
    /// The other side nominates: it offered, and is no ICE-lite server.
    controlled: bool,
    next_check: Micros,
    first_check: Option<Micros>,
    outstanding: [Option<(TransactionId, Micros)>; OUTSTANDING],
    next_slot: usize,
    answered: Option<Micros>,
    /// Round-trip time of the last answered check, microseconds.
    rtt_us: Option<u64>,
    /// Answers that failed authentication or named no request of ours.
    pub(super) refused: u64,
    /// Error responses.
    pub(super) errors: u64,
}

impl Agent {
    pub(super) fn new(local: IceCredentials, suite: Suite, rng: &mut Rng) -> Self {
        Self {
            local,
            remote: None,
            suite,
            tie_breaker: rng.next_u64(),
            controlled: false,
            next_check: Micros::NEVER,
            first_check: None,
            outstanding: [None; OUTSTANDING],
            next_slot: 0,
            answered: None,
            rtt_us: None,
            refused: 0,
            errors: 0,
        }
    }

    /// The server's credentials; new ones are an ICE restart: checks begin again.
    pub(super) fn set_remote(&mut self, now: Micros, remote: &IceCredentials) {
        let hmac = HmacSha1::new(self.suite, remote.pwd.as_bytes());
        self.remote = Some(Remote { ufrag: remote.ufrag.clone(), hmac });
        self.outstanding = [None; OUTSTANDING];
        self.first_check = None;
        self.next_check = now;
    }

    /// New credentials of our own, before [`Self::set_remote`] restarts.
    pub(super) fn set_local(&mut self, local: IceCredentials) {
        self.local = local;
    }

    /// Lets the other side nominate.
    pub(super) const fn set_controlled(&mut self) {
        self.controlled = true;
    }

    pub(super) const fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// A check goes out at once: the address changed.
    pub(super) fn check_now(&mut self, now: Micros) {
        if self.remote.is_some() {
            self.next_check = now;
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.answered.is_some()
    }

    pub(super) fn is_expired(&self, now: Micros) -> bool {
        self.answered.is_some_and(|at| now.since_us(at) >= CONSENT_US)
    }

    pub(super) const fn rtt_us(&self) -> Option<u64> {
        self.rtt_us
    }

    pub(super) const fn next_timeout(&self) -> Micros {
        self.next_check
    }

    /// Writes the check that is due, if any. Answers its bytes.
    pub(super) fn poll(&mut self, now: Micros, rng: &mut Rng, out: &mut [u8]) -> Option<usize> {
        let remote = self.remote.as_ref().filter(|_| now >= self.next_check)?;
        let mut transaction = TransactionId([0; 12]);
        transaction.0[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        transaction.0[8..].copy_from_slice(&(rng.next_u64() as u32).to_be_bytes());
        let request = BindingRequest {
            transaction,
            remote_ufrag: remote.ufrag.as_bytes(),
            local_ufrag: self.local.ufrag.as_bytes(),
            priority: PRIORITY,
            role: match self.controlled {
                true => Role::Controlled(self.tie_breaker),
                false => Role::Controlling(self.tie_breaker),
            },
            use_candidate: !self.controlled,
        };
        let bytes = write_request(&request, &|parts| remote.hmac.mac(parts), out).ok()?;
        self.outstanding[self.next_slot] = Some((transaction, now));
        self.next_slot = (self.next_slot + 1) % OUTSTANDING;
        let since = now.since_us(*self.first_check.get_or_insert(now));
        let interval_us = match self.answered {
            Some(_) => KEEPALIVE_US,
            None if since < IMPATIENT_US => CHECK_INTERVAL_US,
            None => IMPATIENT_US,
        };
        self.next_check = now.after_us(interval_us);
        Some(bytes)
    }

    /// Takes a STUN datagram. Answers true when it is the first answer of the server.
    pub(super) fn handle_datagram(&mut self, now: Micros, bytes: &[u8]) -> bool {
        let Some(remote) = &self.remote else { return false };
        let Ok(message) = StunMessage::parse(bytes) else {
            self.refused += 1;
            return false;
        };
        let (class, transaction) = (message.class, message.transaction);
        let asked = self.outstanding.iter_mut().find(|slot| slot.is_some_and(|(id, _)| id == transaction));
        let authentic =
            message.is_binding_response() && message.authenticate(|parts| remote.hmac.mac(parts)).is_ok();
        let (Some(slot), true) = (asked, authentic) else {
            self.refused += 1;
            return false;
        };
        let sent = slot.take().map_or(now, |(_, sent)| sent);
        if class == Class::Error {
            self.errors += 1;
            return false;
        }
        self.rtt_us = Some(now.since_us(sent));
        self.next_check = sent.after_us(KEEPALIVE_US).max(now);
        self.answered.replace(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::stun::write_success;

    const PWD: &str = "a password of the server";

    fn credentials(ufrag: &str, pwd: &str) -> IceCredentials {
        IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }
    }

    fn agent() -> (Agent, Rng) {
        let mut rng = Rng::new(1);
        let mut agent =
            Agent::new(credentials("mine", "a password of the client"), Suite::detect(), &mut rng);
        agent.set_remote(Micros(0), &credentials("theirs", PWD));
        (agent, rng)
    }

    fn answer(request: &[u8], pwd: &str) -> Vec<u8> {
        let theirs = HmacSha1::new(Suite::detect(), PWD.as_bytes());
        let hmac = HmacSha1::new(Suite::detect(), pwd.as_bytes());
        let message = StunMessage::parse(request).expect("the agent writes valid requests");
        assert_eq!(message.ufrags(), Some((&b"theirs"[..], &b"mine"[..])));
        assert!(message.use_candidate);
        let request = message.authenticate(|parts| theirs.mac(parts)).expect("the agent knows the password");
        let mut out = [0; 128];
        let mapped = ([127, 0, 0, 1], 9).into();
        let bytes = write_success(&request, mapped, &|parts| hmac.mac(parts), &mut out).expect("fits");
        out[..bytes].to_vec()
    }

    #[test]
    fn the_first_authenticated_answer_connects_and_keepalives_follow() {
        let (mut agent, mut rng) = agent();
        let mut out = [0; 256];
        let bytes = agent.poll(Micros(0), &mut rng, &mut out).expect("a check is due at once");
        assert!(agent.poll(Micros(1_000), &mut rng, &mut out.clone()).is_none());
        assert!(!agent.handle_datagram(Micros(2_000), &answer(&out[..bytes], "a wrong password")));
        assert!(!agent.is_connected());
        let good = answer(&out[..bytes], PWD);
        assert!(agent.handle_datagram(Micros(3_000), &good));
        assert!(agent.is_connected());
        assert_eq!(agent.rtt_us(), Some(3_000));
        assert!(!agent.handle_datagram(Micros(4_000), &good), "an answer counts once");
        assert_eq!(agent.next_timeout(), Micros(KEEPALIVE_US));
        assert!(agent.poll(Micros(KEEPALIVE_US), &mut rng, &mut out).is_some());
        assert!(!agent.is_expired(Micros(CONSENT_US)));
        assert!(agent.is_expired(Micros(CONSENT_US + 3_000)));
    }

    #[test]
    fn a_controlled_agent_does_not_nominate() {
        let (mut agent, mut rng) = agent();
        agent.set_controlled();
        let mut out = [0; 256];
        let bytes = agent.poll(Micros(0), &mut rng, &mut out).expect("a check is due at once");
        let message = StunMessage::parse(&out[..bytes]).expect("the agent writes valid requests");
        assert!(!message.use_candidate);
    }

    #[test]
    fn damaged_answers_at_every_byte_are_refused() {
        let (mut agent, mut rng) = agent();
        let mut out = [0; 256];
        let bytes = agent.poll(Micros(0), &mut rng, &mut out).expect("a check is due at once");
        let good = answer(&out[..bytes], PWD);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!agent.handle_datagram(Micros(1), &bad), "byte {at}");
            assert!(!agent.handle_datagram(Micros(1), &good[..at]), "cut at {at}");
        }
        assert!(agent.handle_datagram(Micros(1), &good));
    }
}
