//! Transport-wide congestion control feedback: chunk and delta coding (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Path: read by the bandwidth estimator, written from the arrival recorder of `session::twcc`. `rtcp-types` reads;
//! the writer is ours because the library's collects into vectors.
//! Not here: arrival times and what to report (`session::twcc`).

use rtcp_types::prelude::*;
use rtcp_types::{Twcc, TwccPacketStatus};

use crate::base::drops::DropReason;
use crate::base::ids::Seq;
use crate::wire::NoSpace;

/// Microseconds of one receive-delta unit.
pub const DELTA_TICK_US: u64 = 250;
/// Microseconds of one reference-time unit.
pub const REFERENCE_TICK_US: u64 = 64_000;
/// Bytes before the chunks: base, status count, reference time, feedback count.
const FCI_HEADER_BYTES: usize = 8;

/// The control information of one feedback packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TwccFeedback<'a> {
    fci: &'a [u8],
}

impl<'a> TwccFeedback<'a> {
    pub(super) const fn new(fci: &'a [u8]) -> Result<Self, DropReason> {
        if fci.len() < FCI_HEADER_BYTES { Err(DropReason::Malformed) } else { Ok(Self { fci }) }
    }

    /// Transport-wide sequence number of the first status.
    #[must_use]
    pub const fn base(self) -> Seq {
        Seq(u16::from_be_bytes([self.fci[0], self.fci[1]]))
    }

    /// How many packets the feedback lists, received or not.
    #[must_use]
    pub const fn status_count(self) -> u16 {
        u16::from_be_bytes([self.fci[2], self.fci[3]])
    }

    /// Reference time in units of 64 ms, 24 bits, signed.
    #[must_use]
    pub const fn reference_ticks(self) -> i32 {
        i32::from_be_bytes([self.fci[4], self.fci[5], self.fci[6], 0]) >> 8
    }

    /// Number of this feedback packet, modulo 256.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.fci[7]
    }

    /// Every listed packet in order: its number and, if it arrived, the time since the previous arrival (since the reference
    /// time for the first) in units of 250 us.
    pub fn packets(self) -> impl Iterator<Item = (Seq, Option<i16>)> + 'a {
        Twcc::parse(self.fci).into_iter().flat_map(|twcc| twcc.packets()).map_while(Result::ok).map(
            |(seq, status)| match status {
                TwccPacketStatus::NotReceived => (Seq(seq), None),
                TwccPacketStatus::Received { delta } => (Seq(seq), Some(delta)),
            },
        )
    }

    /// Checks that all statuses and their deltas are there and that they are at most `statuses_max`; answers how many.
    pub(super) fn validate(self, statuses_max: usize) -> Result<usize, DropReason> {
        let count = usize::from(self.status_count());
        if count == 0 || count > statuses_max {
            return Err(DropReason::Malformed);
        }
        // Chunk by chunk: whoever takes the packets one by one pays for it then.
        let (mut left, mut delta_bytes, mut at) = (count, 0, FCI_HEADER_BYTES);
        while left > 0 {
            let Some(&chunk) = self.fci.get(at..).and_then(|rest| rest.first_chunk()) else {
                return Err(DropReason::Malformed);
            };
            let covers = Covers::of(u16::from_be_bytes(chunk), left).ok_or(DropReason::Malformed)?;
            left -= covers.statuses;
            delta_bytes += covers.delta_bytes;
            at += 2;
        }
        if self.fci.len() - at < delta_bytes { Err(DropReason::Malformed) } else { Ok(count) }
    }
}

/// How many statuses a chunk has, and how many bytes their deltas take.
struct Covers {
    statuses: usize,
    delta_bytes: usize,
}

impl Covers {
    /// Of a chunk with `left` statuses to come, of which it may have room for more; `None` when one of them has the reserved symbol.
    fn of(chunk: u16, left: usize) -> Option<Self> {
        /// The lower bits of seven symbols of two bits.
        const LOWER: u16 = 0x1555;
        let (statuses, small, large, reserved) = if chunk & 0x8000 == 0 {
            let run = usize::from(chunk & RUN_MAX as u16).min(left);
            let of = |symbol| if chunk >> 13 == symbol { run } else { 0 };
            (run, of(1), of(2), of(3))
        } else if chunk & 0x4000 == 0 {
            let covered = left.min(14);
            let received = (chunk & 0x3fff) >> (14 - covered);
            (covered, received.count_ones() as usize, 0, 0)
        } else {
            let covered = left.min(7);
            let symbols = (chunk & 0x3fff) >> (14 - 2 * covered);
            let (low, high) = (symbols & LOWER, symbols >> 1 & LOWER);
            let count = |bits: u16| bits.count_ones() as usize;
            (covered, count(low & !high), count(high & !low), count(low & high))
        };
        (reserved == 0).then_some(Self { statuses, delta_bytes: small + 2 * large })
    }
}

/// What is to be reported of one packet: arrival delta in units of 250 us, or nothing.
pub type Status = Option<i16>;

/// Two-bit symbols of the chunks.
const fn symbol(status: Status) -> u16 {
    match status {
        None => 0,
        Some(0..=255) => 1,
        Some(_) => 2,
    }
}

/// Longest run that a run-length chunk can hold.
const RUN_MAX: usize = 0x1fff;

/// Encodes the next chunk of a list; answers it and how many statuses it covers.
fn chunk(statuses: &[Status]) -> (u16, usize) {
    let first = symbol(statuses[0]);
    let run = statuses.iter().take(RUN_MAX).take_while(|&&status| symbol(status) == first).count();
    let small = statuses.iter().take(14).take_while(|&&status| symbol(status) < 2).count();
    // One chunk is two bytes whatever its kind: take the one that covers most.
    if run >= 14 || run == statuses.len() || (run > 7 && run >= small) {
        (first << 13 | run as u16, run)
    } else if small == 14 || (small == statuses.len() && small > 7) {
        let bits = statuses[..small]
            .iter()
            .enumerate()
            .fold(0, |bits, (index, &status)| bits | symbol(status) << (13 - index));
        (0x8000 | bits, small)
    } else {
        let covered = statuses.len().min(7);
        let bits = statuses[..covered]
            .iter()
            .enumerate()
            .fold(0, |bits, (index, &status)| bits | symbol(status) << (12 - 2 * index));
        (0xc000 | bits, covered)
    }
}

/// Writes the control information for consecutive packets from `base`; answers its bytes before padding.
/// `statuses` is not empty and at most 65,535 long.
pub(super) fn write_fci(
    base: Seq,
    reference_ticks: i32,
    count: u8,
    statuses: &[Status],
    out: &mut [u8],
) -> Result<usize, NoSpace> {
    let status_count = u16::try_from(statuses.len()).map_err(|_| NoSpace)?;
    let header = out.get_mut(..FCI_HEADER_BYTES).ok_or(NoSpace)?;
    header[..2].copy_from_slice(&base.0.to_be_bytes());
    header[2..4].copy_from_slice(&status_count.to_be_bytes());
    header[4..7].copy_from_slice(&reference_ticks.to_be_bytes()[1..]);
    header[7] = count;
    let mut at = FCI_HEADER_BYTES;
    let mut rest = statuses;
    while !rest.is_empty() {
        let (chunk, covered) = chunk(rest);
        out.get_mut(at..at + 2).ok_or(NoSpace)?.copy_from_slice(&chunk.to_be_bytes());
        at += 2;
        rest = &rest[covered..];
    }
    for delta in statuses.iter().flatten() {
        match u8::try_from(*delta) {
            Ok(small) => {
                *out.get_mut(at).ok_or(NoSpace)? = small;
                at += 1;
            }
            Err(_) => {
                out.get_mut(at..at + 2).ok_or(NoSpace)?.copy_from_slice(&delta.to_be_bytes());
                at += 2;
            }
        }
    }
    Ok(at)
}
