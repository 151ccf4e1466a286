//! Sender and receiver reports: what is counted of a stream and what the counts become (RFC 3550 sections 6.4, A.3 and A.8).
//!
//! Path: counted with every packet, read about once a second. Time on the wire is NTP: microseconds of our clock plus an offset that
//! the caller knows.
//! Promises: a few words per stream, no allocation; arithmetic wraps where the RFC's does and saturates elsewhere.
//! Not here: when reports go out (`engine`), their bytes (`wire::rtcp`).

use crate::base::ids::Ssrc;
use crate::base::time::Micros;
use crate::wire::rtcp::{ReportBlock, SenderInfo};

/// Seconds from 1900 (NTP) to 1970 (Unix): add `wall clock - Micros origin` to make an NTP offset.
pub const NTP_UNIX_OFFSET_US: u64 = 2_208_988_800 * 1_000_000;

/// 32.32 fixed-point NTP time of `now`; `ntp_offset_us` is NTP time minus our clock.
#[must_use]
pub const fn ntp(now: Micros, ntp_offset_us: u64) -> u64 {
    let us = now.0.wrapping_add(ntp_offset_us);
    ((us / 1_000_000) << 32) | (((us % 1_000_000) << 32) / 1_000_000)
}

/// Microseconds since 1900 of a 32.32 fixed-point NTP time.
#[must_use]
pub const fn ntp_us(ntp: u64) -> u64 {
    (ntp >> 32) * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}

/// Middle 32 bits: 16.16 fixed-point seconds.
const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// What was received of one stream.
#[derive(Clone, Debug)]
pub struct ReceptionStats {
    clock_hz: u32,
    /// Lowest and highest index, `None` before the first packet.
    range: Option<(u64, u64)>,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Relative transit time of the newest packet, clock units.
    transit: u32,
    /// Jitter in sixteenths of a clock unit.
    jitter_16: u32,
    /// Middle of the last sender report's NTP time and when it came.
    last_sr: Option<(u32, Micros)>,
}

impl ReceptionStats {
    /// Statistics of a stream with this RTP clock.
    #[must_use]
    pub const fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            range: None,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: 0,
            jitter_16: 0,
            last_sr: None,
        }
    }

    /// Statistics of another stream with the same clock.
    #[must_use]
    pub const fn restarted(&self) -> Self {
        Self::new(self.clock_hz)
    }

    /// Counts a packet; `index` is roll-over counter and sequence number. Duplicates do not come here (SRTP refuses them).
    pub const fn handle_packet(&mut self, now: Micros, index: u64, timestamp: u32) {
        self.received += 1;
        let transit = clock_units(now.0, self.clock_hz).wrapping_sub(timestamp);
        match self.range {
            None => {
                self.range = Some((index, index));
                self.transit = transit;
            }
            Some((lowest, highest)) => {
                let in_order = index > highest;
                self.range = Some((
                    if index < lowest { index } else { lowest },
                    if in_order { index } else { highest },
                ));
                // Retransmissions would be counted as jitter: only packets in order are.
                if in_order {
                    let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
                    self.transit = transit;
                    self.jitter_16 = self
                        .jitter_16
                        .saturating_add(difference)
                        .saturating_sub((self.jitter_16.saturating_add(8)) >> 4);
                }
            }
        }
    }

    /// Remembers the sender's report, for the round trip that it measures.
    pub const fn handle_sender_report(&mut self, now: Micros, info: &SenderInfo) {
        self.last_sr = Some((middle(info.ntp), now));
    }

    /// The block about this stream, counting loss since the last call; `None` before the first packet.
    pub fn report_block(&mut self, now: Micros, ssrc: Ssrc) -> Option<ReportBlock> {
        let (lowest, highest) = self.range?;
        let expected = highest - lowest + 1;
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received - self.received_prior;
        (self.expected_prior, self.received_prior) = (expected, self.received);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let lost = (expected as i64).saturating_sub(self.received as i64);
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            Some((middle, at)) => (middle, ((now.since_us(at) << 16) / 1_000_000) as u32),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            // All lost would be 256: the field says 255.
            fraction_lost: (lost_interval << 8).checked_div(expected_interval).unwrap_or(0).min(255) as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: highest as u32,
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    /// Packets received.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }
}

/// Microseconds as units of an RTP clock, modulo 2^32.
const fn clock_units(us: u64, clock_hz: u32) -> u32 {
    (us as u128 * clock_hz as u128 / 1_000_000) as u32
}

/// A moment at which a stream's RTP clock, as its receiver sees it, showed `timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockAnchor {
    /// The moment, our clock.
    pub at: Micros,
    /// RTP timestamp of that moment.
    pub timestamp: u32,
}

/// What was sent of one stream.
#[derive(Clone, Debug)]
pub struct SenderStats {
    clock_hz: u32,
    packets: u32,
    octets: u32,
    newest: Option<ClockAnchor>,
}

impl SenderStats {
    /// Statistics of a stream with this RTP clock.
    #[must_use]
    pub const fn new(clock_hz: u32) -> Self {
        Self { clock_hz, packets: 0, octets: 0, newest: None }
    }

    /// Counts a sent packet; `payload_bytes` are without header, extensions and padding.
    pub const fn handle_sent(&mut self, now: Micros, timestamp: u32, payload_bytes: usize) {
        self.see(now, timestamp);
        self.count(1, payload_bytes);
    }

    /// Notes when a frame leaves: the first packet of a frame is the nearest to its moment.
    pub const fn see(&mut self, now: Micros, timestamp: u32) {
        let newer = match self.newest {
            Some(newest) => timestamp.wrapping_sub(newest.timestamp) as i32 > 0,
            None => true,
        };
        if newer {
            self.newest = Some(ClockAnchor { at: now, timestamp });
        }
    }

    /// Counts sent packets whose frames were noted.
    pub const fn count(&mut self, packets: u32, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(packets);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    /// The sender part of a report; `None` before the first packet. `anchor` ties the RTP clock to ours, as translated from the
    /// publisher's own reports ([`SourceClock`]), so that a receiver can play its streams in step; without one the newest
    /// packet's moment has to do.
    #[must_use]
    pub fn sender_info(
        &self,
        now: Micros,
        ntp_offset_us: u64,
        anchor: Option<ClockAnchor>,
    ) -> Option<SenderInfo> {
        let anchor = anchor.or(self.newest).filter(|_| self.newest.is_some())?;
        Some(SenderInfo {
            ntp: ntp(now, ntp_offset_us),
            rtp_timestamp: anchor.timestamp.wrapping_add(clock_units(now.since_us(anchor.at), self.clock_hz)),
            packets: self.packets,
            octets: self.octets,
        })
    }

    /// Packets sent, modulo 2^32.
    #[must_use]
    pub const fn packets(&self) -> u32 {
        self.packets
    }
}

/// Round-trip time from a report block about one of our streams (RFC 3550 section 6.4.1), microseconds; `None` when the block
/// answers no sender report of ours or its times contradict the clock.
#[must_use]
pub const fn round_trip_us(now: Micros, ntp_offset_us: u64, block: &ReportBlock) -> Option<u32> {
    if block.last_sr == 0 {
        return None;
    }
    let trip =
        middle(ntp(now, ntp_offset_us)).wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
    // A negative trip is a clock step or a lie; more than 2^20 units, 16 s, is no trip at all.
    if trip >= 1 << 20 {
        return None;
    }
    Some(((trip as u64 * 1_000_000) >> 16) as u32)
}

/// How a publisher's NTP clock relates to ours, from its sender reports. One per peer: its streams share it, so that what was in
/// step at the publisher stays in step at the receiver.
#[derive(Clone, Debug, Default)]
pub struct SourceClock {
    /// Our clock minus its NTP time, microseconds: the smallest seen, which had the least delay on its way.
    offset_us: Option<i64>,
}

/// The offset follows upwards (clock drift, route change) by this part of the difference per report.
const OFFSET_RISE_DIVISOR: i64 = 32;
/// A difference beyond this is a clock step: follow at once.
const OFFSET_STEP_US: i64 = 1_000_000;

impl SourceClock {
    /// A clock that has seen no report.
    #[must_use]
    pub const fn new() -> Self {
        Self { offset_us: None }
    }

    /// Takes a report's arrival.
    pub const fn handle_sender_report(&mut self, now: Micros, info: &SenderInfo) {
        let seen = (now.0 as i64).wrapping_sub(ntp_us(info.ntp) as i64);
        self.offset_us = Some(match self.offset_us {
            Some(known) => {
                let rise = seen.wrapping_sub(known);
                if rise <= 0 || rise > OFFSET_STEP_US { seen } else { known + rise / OFFSET_RISE_DIVISOR }
            }
            None => seen,
        });
    }

    /// The moment, on our clock, that a report speaks of, with its RTP timestamp; `None` before the first report.
    #[must_use]
    pub const fn anchor(&self, info: &SenderInfo) -> Option<ClockAnchor> {
        match self.offset_us {
            Some(offset) => {
                let at = (ntp_us(info.ntp) as i64).wrapping_add(offset);
                Some(ClockAnchor {
                    at: Micros(if at < 0 { 0 } else { at as u64 }),
                    timestamp: info.rtp_timestamp,
                })
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: Ssrc = Ssrc(7);
    /// 2026-11-01 in NTP, minus a clock that began an hour before.
    const OFFSET_US: u64 = 3_970_684_800_000_000;

    #[test]
    fn loss_is_counted_between_reports_and_over_all() {
        let mut stats = ReceptionStats::new(90_000);
        assert!(stats.report_block(Micros(0), SSRC).is_none());
        let feed = |stats: &mut ReceptionStats, range: std::ops::Range<u64>, keep: fn(u64) -> bool| {
            range.filter(|&index| keep(index)).for_each(|index| stats.handle_packet(Micros(0), index, 0));
        };
        feed(&mut stats, 65_500..65_600, |index| index % 4 != 0);
        let block = stats.report_block(Micros(0), SSRC).expect("packets came");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (62, 24), "24 of 99 expected");
        assert_eq!(block.highest_seq, 65_599);
        feed(&mut stats, 65_600..65_700, |_| true);
        let block = stats.report_block(Micros(0), SSRC).expect("packets came");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 24));
        // Retransmissions fill old gaps: nothing is lost in this interval, and the total shrinks.
        feed(&mut stats, 65_500..65_600, |index| index % 4 == 0 && index > 65_500);
        let block = stats.report_block(Micros(0), SSRC).expect("packets came");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 0));
        stats.handle_packet(Micros(0), 66_700, 0);
        assert_eq!(stats.report_block(Micros(0), SSRC).map(|b| b.fraction_lost), Some(255));
    }

    #[test]
    fn an_earlier_packet_than_the_first_moves_the_beginning() {
        let mut stats = ReceptionStats::new(48_000);
        stats.handle_packet(Micros(0), 11, 0);
        stats.handle_packet(Micros(0), 10, 0);
        assert_eq!(stats.report_block(Micros(0), SSRC).map(|b| b.cumulative_lost), Some(0));
    }

    #[test]
    fn jitter_is_zero_on_a_steady_path_and_settles_at_the_mean_deviation() {
        let mut steady = ReceptionStats::new(48_000);
        let mut shaky = ReceptionStats::new(48_000);
        for index in 0..2_000_u64 {
            let timestamp = (index as u32).wrapping_mul(960).wrapping_add(u32::MAX - 5_000);
            let now = 20_000 * index;
            steady.handle_packet(Micros(now), index, timestamp);
            // Every other packet 5 ms late: each difference is 5 ms = 240 units.
            shaky.handle_packet(Micros(now + 5_000 * (index % 2)), index, timestamp);
        }
        assert_eq!(steady.report_block(Micros(0), SSRC).map(|b| b.jitter), Some(0));
        let jitter = shaky.report_block(Micros(0), SSRC).expect("packets came").jitter;
        assert!((238..=241).contains(&jitter), "{jitter}");
    }

    #[test]
    fn a_round_trip_is_measured_without_synchronised_clocks() {
        // A sender report leaves at 10 s, takes 30 ms; the answer leaves 500 ms later and takes 50 ms.
        let mut sender = SenderStats::new(90_000);
        sender.handle_sent(Micros(9_999_000), 1_000, 1_200);
        let info = sender.sender_info(Micros(10_000_000), OFFSET_US, None).expect("a packet was sent");
        let mut receiver = ReceptionStats::new(90_000);
        let their = |ours: u64| Micros(ours + 123_456_789);
        receiver.handle_packet(their(10_000_000), 1, 1_000);
        receiver.handle_sender_report(their(10_030_000), &info);
        let block = receiver.report_block(their(10_530_000), SSRC).expect("a packet came");
        let rtt = round_trip_us(Micros(10_580_000), OFFSET_US, &block).expect("it answers our report");
        assert!(rtt.abs_diff(80_000) < 50, "{rtt}");
        assert_eq!(round_trip_us(Micros(10_400_000), OFFSET_US, &block), None, "before it can be");
        let unanswered = ReportBlock { last_sr: 0, ..block };
        assert_eq!(round_trip_us(Micros(10_580_000), OFFSET_US, &unanswered), None);
    }

    #[test]
    fn a_sender_report_continues_the_rtp_clock_to_the_moment_of_the_report() {
        let mut stats = SenderStats::new(48_000);
        assert!(stats.sender_info(Micros(0), OFFSET_US, None).is_none());
        stats.handle_sent(Micros(1_000_000), u32::MAX, 100);
        stats.handle_sent(Micros(1_000_500), u32::MAX, 50);
        let info = stats.sender_info(Micros(1_100_000), OFFSET_US, None).expect("packets were sent");
        assert_eq!((info.packets, info.octets), (2, 150));
        assert_eq!(info.rtp_timestamp, 4_799);
        assert_eq!(info.ntp, ntp(Micros(1_100_000), OFFSET_US));
        let anchor = ClockAnchor { at: Micros(900_000), timestamp: 1_000 };
        let info = stats.sender_info(Micros(1_100_000), OFFSET_US, Some(anchor)).expect("packets were sent");
        assert_eq!(info.rtp_timestamp, 1_000 + 9_600);
    }

    #[test]
    fn ntp_time_survives_its_fixed_point() {
        for us in [0, 1, 999_999, 1_000_000, OFFSET_US + 123_456_789] {
            let back = ntp_us(ntp(Micros(us), 0));
            assert!(us - back <= 1, "{us} became {back}");
        }
        assert_eq!(ntp(Micros(500_000), NTP_UNIX_OFFSET_US), 2_208_988_800 << 32 | 1 << 31);
    }

    #[test]
    fn streams_that_were_in_step_at_the_publisher_stay_in_step() {
        // Audio and video reports of one publisher arrive with different delays.
        let mut clock = SourceClock::new();
        let publisher_ntp = |us: u64| ntp(Micros(us), 2 * OFFSET_US / 3);
        let report = |us: u64, hz: u64| SenderInfo {
            ntp: publisher_ntp(us),
            rtp_timestamp: (us * hz / 1_000_000) as u32,
            ..SenderInfo::default()
        };
        for (second, delay_us) in [(1, 40_000), (2, 25_000), (3, 90_000), (4, 25_500), (5, 60_000)] {
            let info = report(second * 1_000_000, 90_000);
            clock.handle_sender_report(Micros(second * 1_000_000 + delay_us), &info);
        }
        let video = clock.anchor(&report(5_000_000, 90_000)).expect("reports came");
        let audio = clock.anchor(&report(4_700_000, 48_000)).expect("reports came");
        // Fixed-point NTP times are a microsecond coarse.
        assert!(video.at.since_us(audio.at).abs_diff(300_000) <= 1, "{video:?} {audio:?}");
        assert!((25_000..35_000).contains(&(video.at.0 - 5_000_000)), "the least delay counts: {video:?}");
        // A publisher whose clock is set is followed at once.
        clock.handle_sender_report(Micros(6_000_000), &report(3_000_000_000, 90_000));
        let stepped = clock.anchor(&report(3_000_000_000, 90_000)).expect("reports came");
        assert!(stepped.at.0.abs_diff(6_000_000) <= 1, "{stepped:?}");
    }
}
