//! Slows guessing down: after some free attempts each one costs twice the wait of the one before.
//!
//! Sans-IO: the time is an argument. An attempt is counted before it is looked at, so many at once are not free; who was right
//! has it taken back. Waits are per account and network address together, so guessing at somebody's account from elsewhere
//! does not keep that somebody out. Lives in memory: a restart forgets, and a restart is the operator's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::ids::UserId;

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Whoever did nothing for this long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Attempts remembered: 16 Ki x 400 B with the longest addresses = 6.5 MB. When it is full the oldest goes.
const ENTRIES_MAX: usize = 16 * 1_024;

/// What is slowed down.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Guess {
    /// Passwords of one account from one network; the account by its normalised address, whether it exists or not.
    Password(String, Network),
    /// Passwords of any account from one network.
    From(Network),
    /// One-time codes of one account from anywhere: who gets here knows the password.
    Code(UserId),
    /// Refused acts of one account that are written down.
    Refused(UserId),
}

impl Guess {
    /// Attempts before the first wait.
    const fn free(&self) -> u32 {
        match self {
            Self::Password(..) | Self::Code(_) => 5,
            // A school or an office behind one address.
            Self::From(_) => 50,
            Self::Refused(_) => 20,
        }
    }
}

/// Where somebody guesses from: an IPv4 address, or the 64-bit prefix of an IPv6 one, of which a host has all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

struct Attempts {
    count: u32,
    latest: Instant,
    wait: Duration,
}

/// All who guessed lately.
#[derive(Default)]
pub struct Throttle(HashMap<Guess, Attempts>);

impl Throttle {
    /// Counts an attempt at `now`.
    ///
    /// # Errors
    /// How many seconds to wait; then the attempt is not counted and must not be looked at.
    pub fn attempt(&mut self, guess: Guess, now: Instant) -> Result<(), u64> {
        if !self.0.contains_key(&guess) && self.0.len() >= ENTRIES_MAX {
            self.make_room(now);
        }
        let free = guess.free();
        let attempts =
            self.0.entry(guess).or_insert(Attempts { count: 0, latest: now, wait: Duration::ZERO });
        let since = now.saturating_duration_since(attempts.latest);
        if since > FORGOTTEN_AFTER {
            attempts.count = 0;
            attempts.wait = Duration::ZERO;
        }
        if since < attempts.wait {
            return Err((attempts.wait - since).as_secs() + 1);
        }
        attempts.count = attempts.count.saturating_add(1);
        attempts.latest = now;
        if let Some(over) = attempts.count.checked_sub(free) {
            // The attempt after the last free one waits a second.
            attempts.wait = Duration::from_secs(1_u64 << over.min(20)).min(WAIT_MAX);
        }
        Ok(())
    }

    /// Takes the latest attempt back: it was no guess.
    pub fn take_back(&mut self, guess: &Guess) {
        if let Some(attempts) = self.0.get_mut(guess) {
            attempts.count = attempts.count.saturating_sub(1);
            if attempts.count < guess.free() {
                attempts.wait = Duration::ZERO;
            }
        }
    }

    /// Forgets all attempts: the last one was right.
    pub fn forget(&mut self, guess: &Guess) {
        self.0.remove(guess);
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, attempts| now.saturating_duration_since(attempts.latest) <= FORGOTTEN_AFTER);
        if self.0.len() >= ENTRIES_MAX {
            let oldest =
                self.0.iter().min_by_key(|(_, attempts)| attempts.latest).map(|(guess, _)| guess.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(address: &str) -> Guess {
        let address: IpAddr = address.parse().expect("an address");
        Guess::Password("ada@example.org".to_owned(), address.into())
    }

    #[test]
    fn waits_double_after_the_free_attempts_up_to_a_limit() {
        let mut throttle = Throttle::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            assert_eq!(throttle.attempt(password("192.0.2.1"), now), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = throttle.attempt(password("192.0.2.1"), now).expect_err("must wait");
            waits.push(wait - 1);
            now += Duration::from_secs(wait);
            assert_eq!(throttle.attempt(password("192.0.2.1"), now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn the_owner_of_a_guessed_account_comes_in_from_elsewhere() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..100 {
            let _ = throttle.attempt(password("192.0.2.1"), now);
        }
        assert!(throttle.attempt(password("192.0.2.1"), now).is_err());
        assert_eq!(throttle.attempt(password("192.0.2.2"), now), Ok(()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_guesser() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }

    #[test]
    fn a_right_attempt_is_forgotten_and_time_heals() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(throttle.attempt(password("192.0.2.1"), now), Ok(()));
        }
        throttle.take_back(&password("192.0.2.1"));
        assert_eq!(throttle.attempt(password("192.0.2.1"), now), Ok(()));
        assert!(throttle.attempt(password("192.0.2.1"), now).is_err());
        throttle.forget(&password("192.0.2.1"));
        assert_eq!(throttle.attempt(password("192.0.2.1"), now), Ok(()));
        for _ in 0..50 {
            let _ = throttle.attempt(password("192.0.2.1"), now);
        }
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        for _ in 0..5 {
            assert_eq!(throttle.attempt(password("192.0.2.1"), later), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded_whoever_guesses() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..20_000_u32 {
            let _ = throttle.attempt(Guess::From(IpAddr::from(n.to_be_bytes()).into()), now);
        }
        assert_eq!(throttle.0.len(), ENTRIES_MAX);
    }
}
