//! How fast bytes passed one point lately: sent bytes by our clock, acknowledged ones by the receiver's.
//!
//! Path: one add per packet. Memory: 32 buckets x 16 B.
//! Promises: a rate is bytes between two packets over the time between them, so it is exact for a full link even when a window
//! holds only a handful of packets.

/// Microseconds of one bucket.
const BUCKET_US: u64 = 25_000;
/// How many there are: 800 ms.
const BUCKETS: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The newest time in it.
    last_us: u64,
    /// Bytes in it.
    bytes: u32,
    /// Which bucket of all time this is, low half, plus one; 0 for none.
    stamp: u32,
}

/// Bytes over the last 800 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct RateWindow {
    buckets: [Bucket; BUCKETS],
    newest_us: u64,
}

impl RateWindow {
    /// Counts bytes that passed at `at_us`.
    pub(super) fn add(&mut self, at_us: u64, bytes: u32) {
        let index = at_us / BUCKET_US;
        let stamp = stamp(index);
        let bucket = &mut self.buckets[index as usize % BUCKETS];
        if bucket.stamp == stamp {
            bucket.bytes = bucket.bytes.saturating_add(bytes);
            bucket.last_us = bucket.last_us.max(at_us);
        } else if at_us >= self.newest_us {
            *bucket = Bucket { last_us: at_us, bytes, stamp };
        }
        self.newest_us = self.newest_us.max(at_us);
    }

    /// Forgets everything: what came between is not known.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bits per second of about the last `window_us` before the newest packet; `None` while they span less than `span_us_min`.
    pub(super) fn bps(&self, window_us: u64, span_us_min: u64) -> Option<u64> {
        self.fold(window_us, span_us_min, |_, whole| whole)
    }

    /// The same of the part of the window, `span_us_min` long at least, up to the newest packet in which most came.
    pub(super) fn peak_bps(&self, window_us: u64, span_us_min: u64) -> Option<u64> {
        self.fold(window_us, span_us_min, u64::max)
    }

    fn fold(&self, window_us: u64, span_us_min: u64, join: impl Fn(u64, u64) -> u64) -> Option<u64> {
        let newest = self.newest_us / BUCKET_US;
        let mut bytes = 0_u64;
        let mut rate = None;
        for index in (newest.saturating_sub(BUCKETS as u64 - 1)..=newest).rev() {
            let bucket = &self.buckets[index as usize % BUCKETS];
            if bucket.stamp != stamp(index) {
                continue;
            }
            let span_us = self.newest_us - bucket.last_us;
            if span_us >= span_us_min && span_us > 0 {
                let longer = bytes * 8_000_000 / span_us;
                rate = Some(rate.map_or(longer, |shorter| join(shorter, longer)));
            }
            if span_us >= window_us {
                break;
            }
            bytes += u64::from(bucket.bytes);
        }
        rate
    }

    /// Bits per second of the last `window_us` before `now_us`.
    pub(super) fn bps_until(&self, now_us: u64, window_us: u64) -> u64 {
        let (newest, oldest) = (now_us / BUCKET_US, now_us.saturating_sub(window_us) / BUCKET_US);
        let bytes: u64 = (oldest + 1..=newest)
            .map(|index| (index, &self.buckets[index as usize % BUCKETS]))
            .filter(|(index, bucket)| bucket.stamp == stamp(*index))
            .map(|(_, bucket)| u64::from(bucket.bytes))
            .sum();
        bytes * 8_000_000 / now_us.saturating_sub((oldest + 1) * BUCKET_US).max(BUCKET_US)
    }
}

const fn stamp(index: u64) -> u32 {
    (index as u32).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_at_any_packet_size() {
        for (bytes, every_us) in [(1_200, 64_000), (1_200, 2_000), (100, 20_000)] {
            let mut window = RateWindow::default();
            for packet in 0..400 {
                window.add(1_000_000 + packet * every_us, bytes);
            }
            let expected = u64::from(bytes) * 8_000_000 / every_us;
            assert_eq!(window.bps(300_000, 100_000), Some(expected));
            let until = window.bps_until(1_000_000 + 399 * every_us, 500_000);
            assert!(until.abs_diff(expected) * 4 < expected, "{until} of {expected}");
        }
    }

    #[test]
    fn a_burst_after_a_pause_has_the_rate_at_which_it_came() {
        let mut window = RateWindow::default();
        window.add(1_000_000, 100);
        (1..=40).for_each(|packet| window.add(1_200_000 + packet * 2_000, 1_000));
        let whole = window.bps(300_000, 50_000).expect("long enough");
        let peak = window.peak_bps(300_000, 50_000).expect("long enough");
        assert!(whole < 1_500_000 && (3_900_000..4_100_000).contains(&peak), "{whole} {peak}");
    }

    #[test]
    fn too_short_a_span_has_no_rate_and_an_old_one_is_forgotten() {
        let mut window = RateWindow::default();
        assert_eq!(window.bps(300_000, 100_000), None);
        window.add(0, 100);
        window.add(90_000, 100);
        assert_eq!(window.bps(300_000, 100_000), None);
        window.add(120_000, 100);
        assert!(window.bps(300_000, 100_000).is_some());
        window.add(60_000_000, 100);
        assert_eq!(window.bps(300_000, 100_000), None);
        assert_eq!(window.bps_until(120_000_000, 500_000), 0);
    }

    #[test]
    fn a_slower_link_shows_within_one_window() {
        let mut window = RateWindow::default();
        (0..500).for_each(|packet| window.add(packet * 2_000, 1_250));
        (1..=10).for_each(|packet| window.add(1_000_000 + packet * 33_333, 1_250));
        let rate = window.bps(200_000, 100_000).expect("long enough");
        assert!((290_000..=310_000).contains(&rate), "{rate}");
    }
}
