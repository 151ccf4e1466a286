//! How busy each core is: packets forwarded per second, and rooms as a stand-in for what they have not begun to send.

use std::time::{Duration, Instant};

use dataplane::base::ids::CoreId;

/// Rates are measured over at least this time.
const INTERVAL_MIN: Duration = Duration::from_millis(500);
/// What a room counts for before its packets show: four people with camera and microphone are about 2,000 packets/s forwarded.
const PACKETS_PER_ROOM: u64 = 500;

/// Load figures of all cores.
pub struct Loads {
    cores: Vec<Load>,
    measured: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    forwarded: u64,
    per_second: u64,
    rooms: u64,
}

impl Loads {
    /// Idle cores.
    pub fn new(count: usize) -> Self {
        Self { cores: vec![Load::default(); count], measured: None }
    }

    /// Takes new totals of forwarded packets if the last measure is old enough.
    pub fn refresh(&mut self, now: Instant, totals: impl FnOnce() -> Vec<u64>) {
        let elapsed = self.measured.map(|at| now.saturating_duration_since(at));
        if elapsed.is_some_and(|elapsed| elapsed < INTERVAL_MIN) {
            return;
        }
        self.measured = Some(now);
        for (load, total) in self.cores.iter_mut().zip(totals()) {
            let packets = total.saturating_sub(load.forwarded);
            load.forwarded = total;
            load.per_second = elapsed.map_or(0, |elapsed| {
                let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
                packets.saturating_mul(1000) / milliseconds
            });
        }
    }

    /// A core's load; smaller takes the next room.
    pub fn score(&self, core: CoreId) -> u64 {
        self.cores
            .get(usize::from(core.0))
            .map_or(u64::MAX, |load| load.per_second.saturating_add(load.rooms * PACKETS_PER_ROOM))
    }

    /// A room came to a core.
    pub fn add_room(&mut self, core: CoreId) {
        if let Some(load) = self.cores.get_mut(usize::from(core.0)) {
            load.rooms += 1;
        }
    }

    /// A room left a core.
    pub fn remove_room(&mut self, core: CoreId) {
        if let Some(load) = self.cores.get_mut(usize::from(core.0)) {
            load.rooms = load.rooms.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_core_takes_fewer_rooms_than_an_idle_one() {
        let mut loads = Loads::new(2);
        let start = Instant::now();
        loads.refresh(start, || vec![0, 0]);
        loads.refresh(start + Duration::from_secs(2), || vec![20_000, 0]);
        assert_eq!(loads.score(CoreId(0)), 10_000);
        for _ in 0..10 {
            let core = if loads.score(CoreId(0)) < loads.score(CoreId(1)) { CoreId(0) } else { CoreId(1) };
            assert_eq!(core, CoreId(1));
            loads.add_room(core);
        }
        loads.refresh(start + Duration::from_secs(2), || vec![0, 0]);
        assert_eq!(loads.score(CoreId(0)), 10_000, "too early to measure again");
    }

    #[test]
    fn rooms_spread_while_nothing_is_sent() {
        let mut loads = Loads::new(2);
        loads.add_room(CoreId(0));
        assert!(loads.score(CoreId(1)) < loads.score(CoreId(0)));
        loads.remove_room(CoreId(0));
        assert_eq!(loads.score(CoreId(0)), loads.score(CoreId(1)));
        assert_eq!(loads.score(CoreId(9)), u64::MAX);
    }
}
