//! Time on the packet path: microseconds of one monotonic clock, handed in as an argument, never read here.

/// Microseconds since the process's (or the simulator's) origin. Monotonic; wraps after half a million years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// The far future: "no timer".
    pub const NEVER: Self = Self(u64::MAX);

    /// This time plus a number of milliseconds.
    #[must_use]
    pub const fn after_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds.saturating_mul(1000)))
    }

    /// This time plus a number of microseconds.
    #[must_use]
    pub const fn after_us(self, microseconds: u64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }

    /// Microseconds from `earlier` to this time; zero if `earlier` is later.
    #[must_use]
    pub const fn since_us(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
