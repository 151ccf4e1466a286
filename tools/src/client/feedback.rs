//! Transport-wide feedback about what we received (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Path: every received packet with the extension is noted; `Client` sends the feedback. Memory: at most 2,048 arrivals.
//! Promises: each number is reported once, missing ones as missing. Not here: estimating a bandwidth from it.

use dataplane::base::ids::{Seq, Ssrc};
use dataplane::base::time::Micros;
use dataplane::wire::rtcp::RtcpWriter;
use dataplane::wire::rtcp::twcc::{DELTA_TICK_US, REFERENCE_TICK_US, Status};

use super::rates::Rates;

/// Arrivals that wait for the next report; more are forgotten.
const ARRIVALS_MAX: usize = 2_048;
/// What one feedback is reckoned to cost: 68 bytes.
const FEEDBACK_BITS: u64 = 68 * 8;
const INTERVAL_US_MIN: u64 = 50_000;
const INTERVAL_US_MAX: u64 = 250_000;
/// The received rate is that of this time.
const WINDOW_US: u64 = 1_000_000;
/// Numbers in one feedback packet: 512 deltas of two bytes still fit a datagram.
const STATUSES_MAX: usize = 400;

/// How often feedback goes out: as often as 5 % of the received rate pays for, as in libwebrtc's `RemoteEstimatorProxy`.
pub(super) fn interval_us(now: Micros, rates: &Rates) -> u64 {
    let received_bps = rates.mean_bps(Micros(now.0.saturating_sub(WINDOW_US)), now);
    (FEEDBACK_BITS * 1_000_000 * 20)
        .checked_div(received_bps)
        .unwrap_or(u64::MAX)
        .clamp(INTERVAL_US_MIN, INTERVAL_US_MAX)
}

/// Arrivals since the last feedback.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Extended transport-wide numbers with their arrival.
    list: Vec<(u64, Micros)>,
    highest: Option<u64>,
    /// First number not yet reported.
    next: u64,
    count: u8,
    media: Ssrc0,
}

/// The SSRC that feedback names: any of the transport.
#[derive(Clone, Copy)]
struct Ssrc0(Ssrc);

impl Default for Ssrc0 {
    fn default() -> Self {
        Self(Ssrc(0))
    }
}

impl Arrivals {
    pub(super) fn insert(&mut self, now: Micros, seq: Seq, media: Ssrc) {
        self.media = Ssrc0(media);
        let index = match self.highest {
            None => {
                let index = 0x1_0000 + u64::from(seq.0);
                self.next = index;
                index
            }
            // The signed distance on the circle.
            Some(highest) => {
                let distance = i64::from(seq.steps_from(Seq(highest as u16)) as i16);
                highest.wrapping_add_signed(distance)
            }
        };
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        if index >= self.next && self.list.len() < ARRIVALS_MAX {
            self.list.push((index, now));
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes feedback for everything since the last; may leave a rest for the next call when there is much.
    pub(super) fn write(&mut self, sender: Ssrc, statuses: &mut Vec<Status>, writer: &mut RtcpWriter<'_>) {
        self.list.sort_unstable();
        self.list.dedup_by_key(|arrival| arrival.0);
        let Some(&(_, first_arrival)) = self.list.first() else { return };
        let base = self.next;
        let reference = first_arrival.0 / REFERENCE_TICK_US;
        let mut at_ticks = (reference * REFERENCE_TICK_US / DELTA_TICK_US) as i64;
        statuses.clear();
        let mut reported = 0;
        for &(index, arrival) in &self.list {
            let gap = (index - (base + statuses.len() as u64)) as usize;
            let arrival_ticks = (arrival.0 / DELTA_TICK_US) as i64;
            let delta = i16::try_from(arrival_ticks - at_ticks);
            let (true, Ok(delta)) = (statuses.len() + gap < STATUSES_MAX, delta) else { break };
            statuses.extend(std::iter::repeat_n(None, gap));
            statuses.push(Some(delta));
            at_ticks = arrival_ticks;
            reported += 1;
        }
        if reported == 0 {
            // A gap or a pause longer than one packet can say: begin anew at the first arrival.
            self.next = self.list[0].0;
            return;
        }
        self.next = base + statuses.len() as u64;
        self.list.drain(..reported);
        // 24 bits on the circle.
        let reference_ticks = (reference & 0xff_ffff) as i32;
        let pair = (sender, self.media.0);
        if writer.twcc(pair, Seq(base as u16), reference_ticks, self.count, statuses).is_ok() {
            self.count = self.count.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::rtcp::{self, RtcpEvent};

    fn read(datagram: &[u8]) -> Vec<(u16, Option<u64>)> {
        let mut out = Vec::new();
        rtcp::parse(datagram, |event| {
            if let RtcpEvent::Twcc { feedback, .. } = event {
                let mut at = feedback.reference_ticks() as u64 * REFERENCE_TICK_US;
                for (seq, delta) in feedback.packets() {
                    let arrival = delta.map(|delta| {
                        at = at.wrapping_add_signed(i64::from(delta) * DELTA_TICK_US as i64);
                        at
                    });
                    out.push((seq.0, arrival));
                }
            }
        })
        .expect("valid feedback");
        out
    }

    #[test]
    fn feedback_tells_every_arrival_and_gap_across_the_wrap() {
        let mut arrivals = Arrivals::default();
        let times = [(65_534, 1_000_000), (0, 1_001_000), (65_535, 1_002_000), (3, 1_500_000)];
        for (seq, at) in times {
            arrivals.insert(Micros(at), Seq(seq), Ssrc(9));
        }
        let (mut buffer, mut statuses) = ([0; 1_200], Vec::new());
        let mut writer = RtcpWriter::new(&mut buffer);
        arrivals.write(Ssrc(1), &mut statuses, &mut writer);
        let bytes = writer.bytes();
        assert_eq!(
            read(&buffer[..bytes]),
            [
                (65_534, Some(1_000_000)),
                (65_535, Some(1_002_000)),
                (0, Some(1_001_000)),
                (1, None),
                (2, None),
                (3, Some(1_500_000)),
            ]
        );
        assert!(arrivals.is_empty());
        arrivals.insert(Micros(1_600_000), Seq(2), Ssrc(9));
        assert!(arrivals.is_empty(), "reported as missing once, not again");
        arrivals.insert(Micros(1_700_000), Seq(5), Ssrc(9));
        let mut writer = RtcpWriter::new(&mut buffer);
        arrivals.write(Ssrc(1), &mut statuses, &mut writer);
        let bytes = writer.bytes();
        assert_eq!(read(&buffer[..bytes]), [(4, None), (5, Some(1_700_000))]);
    }

    #[test]
    fn feedback_comes_more_often_the_more_is_received() {
        let every_us = |bytes: usize| {
            let mut rates = Rates::default();
            (0..10).for_each(|step| rates.insert(Micros(step * 100_000), bytes));
            interval_us(Micros(1_000_000), &rates)
        };
        assert_eq!([0, 100, 1_000, 3_000].map(every_us), [250_000, 250_000, 136_000, 50_000]);
    }

    #[test]
    fn much_is_told_in_several_packets_and_pauses_do_not_stall_it() {
        let mut arrivals = Arrivals::default();
        (0..1_000_u64).for_each(|n| arrivals.insert(Micros(n * 250), Seq(n as u16), Ssrc(9)));
        arrivals.insert(Micros(3_600_000_000), Seq(1_000), Ssrc(9));
        let mut told = Vec::new();
        for _ in 0..10 {
            let (mut buffer, mut statuses) = ([0; 1_400], Vec::new());
            let mut writer = RtcpWriter::new(&mut buffer);
            arrivals.write(Ssrc(1), &mut statuses, &mut writer);
            let bytes = writer.bytes();
            if bytes != 0 {
                told.extend(read(&buffer[..bytes]).into_iter().filter(|(_, at)| at.is_some()));
            }
        }
        assert_eq!(told.len(), 1_001);
        assert!(arrivals.is_empty());
    }
}
