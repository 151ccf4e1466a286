//! A token bucket: how floods are bounded.

use super::time::Micros;

/// Allows so many events in each period on average and `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    events: u32,
    /// Also how much of the level one token is.
    period_us: u32,
    burst: u32,
    level: u64,
    filled: Micros,
}

impl RateLimit {
    /// A full bucket that allows `per_second` events on average.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self::per(1_000_000, per_second, burst)
    }

    /// A full bucket that allows `events` in each `period_us` on average.
    #[must_use]
    pub const fn per(period_us: u32, events: u32, burst: u32) -> Self {
        Self { events, period_us, burst, level: burst as u64 * period_us as u64, filled: Micros(0) }
    }

    /// Takes one token; false if there is none.
    pub const fn take(&mut self, now: Micros) -> bool {
        self.fill(now);
        if self.level < self.period_us as u64 {
            return false;
        }
        self.level -= self.period_us as u64;
        true
    }

    /// Whether there is a token, without taking it.
    pub const fn has_token(&mut self, now: Micros) -> bool {
        self.fill(now);
        self.level >= self.period_us as u64
    }

    const fn fill(&mut self, now: Micros) {
        let full = self.burst as u64 * self.period_us as u64;
        // Microseconds x events: a period's worth of microseconds makes one token for each event.
        let gained = now.since_us(self.filled).saturating_mul(self.events as u64);
        let level = self.level.saturating_add(gained);
        self.level = if level > full { full } else { level };
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut limit = RateLimit::new(10, 3);
        let now = Micros(5);
        assert_eq!((0..10).filter(|_| limit.take(now)).count(), 3);
        assert!(!limit.take(now.after_ms(99)));
        assert!(limit.take(now.after_ms(100)));
        assert!(!limit.has_token(now.after_ms(100)));
        let passed = (0..10_000).filter(|ms| limit.take(Micros(1_000_000).after_ms(*ms))).count();
        assert!((99..=104).contains(&passed), "{passed}");
    }
}
