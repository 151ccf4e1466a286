//! Allowances per key that fill up again with time (`governor`'s GCRA), in bounded memory: [`KEYS_MAX`] keys have one of their own
//! for as long as it is not whole again; all beyond them share one.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

/// Keys with an allowance of their own: 32 Ki x 64 B = 2 MiB.
const KEYS_MAX: usize = 32 * 1_024;
/// How often those that are whole again are looked for.
const SHRINK_EVERY: Duration = Duration::from_secs(10);

/// So many a second, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// What comes back each second; not 0.
    pub per_second: u32,
    /// What a whole allowance is.
    pub at_once: u32,
}

type Limiter<K, C> = RateLimiter<K, Allowances<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// See the module. Without a rate everything is allowed.
pub struct Rates<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    limiter: Option<Limiter<K, C>>,
    clock: C,
    shrunk_at: Mutex<C::Instant>,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// On the machine's clock.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self::on(DefaultClock::default(), rate)
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Rates<K, C> {
    fn on(clock: C, rate: Option<Rate>) -> Self {
        let number = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = |rate: Rate| Quota::per_second(number(rate.per_second)).allow_burst(number(rate.at_once));
        let limiter = rate.map(|rate| RateLimiter::new(quota(rate), Allowances::default(), clock.clone()));
        let shrunk_at = Mutex::new(clock.now());
        Self { limiter, clock, shrunk_at }
    }

    /// Takes one from the allowance of `key`.
    ///
    /// # Errors
    /// How many seconds until there is one again.
    pub fn take(&self, key: K) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let now = self.clock.now();
        self.shrink(limiter, now);
        limiter.check_key(&key).map_err(|until| until.wait_time_from(now).as_secs() + 1)
    }

    fn shrink(&self, limiter: &Limiter<K, C>, now: C::Instant) {
        let mut shrunk_at = self.shrunk_at.lock().unwrap_or_else(PoisonError::into_inner);
        if Duration::from(now.duration_since(*shrunk_at)) >= SHRINK_EVERY {
            *shrunk_at = now;
            limiter.retain_recent();
        }
    }
}

/// When each key's allowance is whole again (GCRA's theoretical arrival time).
struct Allowances<K> {
    known: Mutex<HashMap<K, Nanos>>,
    others: Mutex<Option<Nanos>>,
}

impl<K> Default for Allowances<K> {
    fn default() -> Self {
        Self { known: Mutex::default(), others: Mutex::default() }
    }
}

impl<K> Allowances<K> {
    fn known(&self) -> MutexGuard<'_, HashMap<K, Nanos>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> StateStore for Allowances<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.known();
        if let Some(whole_at) = known.get_mut(key) {
            let (taken, after) = decide(Some(*whole_at))?;
            *whole_at = after;
            return Ok(taken);
        }
        if known.len() < KEYS_MAX {
            let (taken, after) = decide(None)?;
            known.insert(key.clone(), after);
            return Ok(taken);
        }
        drop(known);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, after) = decide(*others)?;
        *others = Some(after);
        Ok(taken)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Allowances<K> {
    fn retain_recent(&self, whole_before: Nanos) {
        self.known().retain(|_, whole_at| *whole_at > whole_before);
    }

    fn shrink_to_fit(&self) {
        self.known().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known().len()
    }

    fn is_empty(&self) -> bool {
        self.known().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rates(per_second: u32, at_once: u32) -> (FakeRelativeClock, Rates<u32, FakeRelativeClock>) {
        let clock = FakeRelativeClock::default();
        (clock.clone(), Rates::on(clock, Some(Rate { per_second, at_once })))
    }

    #[test]
    fn an_allowance_is_used_up_at_once_and_comes_back_with_time() {
        let (clock, rates) = rates(5, 20);
        assert_eq!((0..100).filter(|_| rates.take(1).is_ok()).count(), 20);
        assert_eq!(rates.take(1), Err(1));
        assert_eq!(rates.take(2), Ok(()), "others have their own");
        clock.advance(Duration::from_secs(2));
        assert_eq!((0..100).filter(|_| rates.take(1).is_ok()).count(), 10);
        clock.advance(Duration::from_secs(60));
        assert_eq!((0..100).filter(|_| rates.take(1).is_ok()).count(), 20);
    }

    #[test]
    fn keys_are_bounded_and_only_those_that_are_whole_are_forgotten() {
        let (clock, rates) = rates(1, 20);
        for _ in 0..20 {
            assert_eq!(rates.take(0), Ok(()));
        }
        for key in 1..=100_000 {
            let _ = rates.take(key);
        }
        let known = || rates.limiter.as_ref().map(RateLimiter::len);
        assert_eq!(known(), Some(KEYS_MAX));
        assert!(rates.take(200_000).is_err(), "those beyond share one allowance");
        clock.advance(Duration::from_secs(11));
        assert_eq!((0..100).filter(|_| rates.take(0).is_ok()).count(), 11, "nobody is forgotten early");
        assert_eq!(known(), Some(1));
        assert_eq!(rates.take(200_000), Ok(()));
    }

    #[test]
    fn without_a_rate_everything_is_allowed() {
        let rates: Rates<u32> = Rates::new(None);
        assert!((0..100_000).all(|_| rates.take(1).is_ok()));
    }
}
