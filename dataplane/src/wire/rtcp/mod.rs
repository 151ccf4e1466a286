//! RTCP compound packets: bytes to a sequence of small events (RFC 3550, 4585, 5104, 5506; transport-wide feedback; REMB).
//!
//! Path: every RTCP datagram after SRTCP opened it. `rtcp-types` reads and validates each packet; this walks the compound,
//! because its own walk and its SDES type allocate, and adds REMB.
//! Promises: no allocation; the whole compound is validated before the first event, so a bad one has no effect at all.
//! Not here: what an event means for a stream (`session`, `room`). Writing is in [`write`], transport-wide feedback in [`twcc`].

pub mod twcc;
pub mod write;

use rtcp_types::prelude::*;
use rtcp_types::{Bye, PayloadFeedback, ReceiverReport, SenderReport, TransportFeedback};

use crate::base::drops::DropReason;
use crate::base::ids::{Seq, Ssrc};
use crate::base::limits::TWCC_STATUSES_PER_DATAGRAM;
use twcc::TwccFeedback;
pub use write::RtcpWriter;

/// Sender report.
pub(crate) const PT_SR: u8 = 200;
/// Receiver report.
pub(crate) const PT_RR: u8 = 201;
/// Source description.
pub(crate) const PT_SDES: u8 = 202;
/// Goodbye.
pub(crate) const PT_BYE: u8 = 203;
/// Transport-layer feedback (RFC 4585).
pub(crate) const PT_RTPFB: u8 = 205;
/// Payload-specific feedback (RFC 4585).
pub(crate) const PT_PSFB: u8 = 206;

/// Feedback formats of [`PT_RTPFB`] and [`PT_PSFB`].
pub(crate) const FMT_NACK: u8 = 1;
pub(crate) const FMT_TWCC: u8 = 15;
pub(crate) const FMT_PLI: u8 = 1;
pub(crate) const FMT_FIR: u8 = 4;
pub(crate) const FMT_AFB: u8 = 15;

/// Sender's part of a sender report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SenderInfo {
    /// 32.32 fixed-point NTP time of the report.
    pub ntp: u64,
    /// The same moment in units of the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the stream began, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent since the stream began, modulo 2^32.
    pub octets: u32,
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// The stream the block is about.
    pub ssrc: Ssrc,
    /// Loss since the previous report, parts per 256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began: 24 bits, signed (duplicates make it negative).
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the stream's RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 if none came.
    pub last_sr: u32,
    /// Delay since that report, 1/65,536 s; 0 if none came.
    pub delay_since_last_sr: u32,
}

/// Sequence numbers that a generic NACK asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NackList<'a> {
    fci: &'a [u8],
}

impl<'a> NackList<'a> {
    /// The sequence numbers, each entry's PID and then its bitmask upwards (RFC 4585 section 6.2.1).
    pub fn iter(self) -> impl Iterator<Item = Seq> + 'a {
        self.fci.chunks_exact(4).flat_map(|entry| {
            let pid = Seq(u16::from_be_bytes([entry[0], entry[1]]));
            let mask = u16::from_be_bytes([entry[2], entry[3]]);
            std::iter::once(pid)
                .chain((0..16).filter(move |bit| mask >> bit & 1 != 0).map(move |bit| pid.plus(bit + 1)))
        })
    }
}

/// Streams that a REMB is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SsrcList<'a> {
    bytes: &'a [u8],
}

impl<'a> SsrcList<'a> {
    /// The SSRCs in order.
    pub fn iter(self) -> impl Iterator<Item = Ssrc> + Clone + 'a {
        self.bytes
            .chunks_exact(4)
            .map(|bytes| Ssrc(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
    }
}

/// One thing that a compound packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpEvent<'a> {
    /// Sender part of a sender report.
    SenderReport {
        /// The stream it describes.
        sender: Ssrc,
        /// What it says.
        info: SenderInfo,
    },
    /// One block of a sender or receiver report.
    ReportBlock {
        /// Who reports.
        reporter: Ssrc,
        /// What it reports.
        block: ReportBlock,
    },
    /// A stream ends.
    Bye {
        /// The stream.
        ssrc: Ssrc,
    },
    /// Packets are missing.
    Nack {
        /// Who misses them.
        sender: Ssrc,
        /// The stream they belong to.
        media: Ssrc,
        /// Which ones.
        list: NackList<'a>,
    },
    /// Picture loss indication: a keyframe is wanted.
    Pli {
        /// Who wants it.
        sender: Ssrc,
        /// Of which stream.
        media: Ssrc,
    },
    /// Full intra request: a keyframe is wanted.
    Fir {
        /// Who wants it.
        sender: Ssrc,
        /// Of which stream.
        media: Ssrc,
        /// Command sequence number: the same number repeats the same request.
        command: u8,
    },
    /// Transport-wide congestion control feedback.
    Twcc {
        /// Who received the packets.
        sender: Ssrc,
        /// Any stream of the transport.
        media: Ssrc,
        /// Arrivals.
        feedback: TwccFeedback<'a>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb).
    Remb {
        /// Who estimates.
        sender: Ssrc,
        /// Bits per second.
        bitrate_bps: u64,
        /// Streams that share the estimate.
        ssrcs: SsrcList<'a>,
    },
    /// A packet type or format we do not act on.
    Ignored {
        /// RTCP packet type.
        packet_type: u8,
        /// Count or format field.
        format: u8,
    },
}

/// Validates a decrypted RTCP datagram and hands each event to `visit`, in order.
///
/// As RFC 3550 appendix A.2: version 2 throughout and lengths that add up. Reduced-size packets are taken (RFC 5506), so the
/// first packet may be of any type; padding may end any packet, because browsers pad transport-wide feedback wherever it stands.
///
/// # Errors
/// `Truncated` or `Malformed`, before any event.
pub fn parse<'a>(datagram: &'a [u8], mut visit: impl FnMut(RtcpEvent<'a>)) -> Result<(), DropReason> {
    let mut statuses_left = TWCC_STATUSES_PER_DATAGRAM;
    walk(datagram, |packet| {
        let mut problem = Ok(());
        events(packet, |event| {
            if let RtcpEvent::Twcc { feedback, .. } = event {
                match feedback.validate(statuses_left) {
                    Ok(count) => statuses_left -= count,
                    Err(reason) => problem = Err(reason),
                }
            }
        })?;
        problem
    })?;
    walk(datagram, |packet| events(packet, &mut visit))
}

/// One packet of a compound, padding taken off.
#[derive(Clone, Copy)]
struct Packet<'a> {
    packet_type: u8,
    /// Count or format, 5 bits.
    format: u8,
    whole: &'a [u8],
    /// What follows the 4-byte header, padding excluded.
    body: &'a [u8],
}

fn walk<'a>(
    datagram: &'a [u8],
    mut each: impl FnMut(Packet<'a>) -> Result<(), DropReason>,
) -> Result<(), DropReason> {
    let mut rest = datagram;
    loop {
        let &[first, packet_type, high, low, ..] = rest else { return Err(DropReason::Truncated) };
        if first >> 6 != 2 {
            return Err(DropReason::Malformed);
        }
        let bytes = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let (whole, after) = rest.split_at_checked(bytes).ok_or(DropReason::Truncated)?;
        let mut body = &whole[4..];
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(DropReason::Malformed)?);
            if padding == 0 || padding > body.len() {
                return Err(DropReason::Malformed);
            }
            body = &body[..body.len() - padding];
        }
        each(Packet { packet_type, format: first & 31, whole, body })?;
        if after.is_empty() {
            return Ok(());
        }
        rest = after;
    }
}

fn events<'a>(packet: Packet<'a>, mut visit: impl FnMut(RtcpEvent<'a>)) -> Result<(), DropReason> {
    let malformed = |_| DropReason::Malformed;
    match packet.packet_type {
        PT_SR => {
            let report = SenderReport::parse(packet.whole).map_err(malformed)?;
            let sender = Ssrc(report.ssrc());
            visit(RtcpEvent::SenderReport {
                sender,
                info: SenderInfo {
                    ntp: report.ntp_timestamp(),
                    rtp_timestamp: report.rtp_timestamp(),
                    packets: report.packet_count(),
                    octets: report.octet_count(),
                },
            });
            for block in report.report_blocks() {
                visit(RtcpEvent::ReportBlock { reporter: sender, block: report_block(&block) });
            }
        }
        PT_RR => {
            let report = ReceiverReport::parse(packet.whole).map_err(malformed)?;
            let reporter = Ssrc(report.ssrc());
            for block in report.report_blocks() {
                visit(RtcpEvent::ReportBlock { reporter, block: report_block(&block) });
            }
        }
        PT_BYE => {
            let bye = Bye::parse(packet.whole).map_err(malformed)?;
            for ssrc in bye.ssrcs() {
                visit(RtcpEvent::Bye { ssrc: Ssrc(ssrc) });
            }
        }
        PT_RTPFB => {
            let feedback = TransportFeedback::parse(packet.whole).map_err(malformed)?;
            let (sender, media) = (Ssrc(feedback.sender_ssrc()), Ssrc(feedback.media_ssrc()));
            // The library hands out the control information with its padding; ours is without.
            let fci = packet.body.get(8..).ok_or(DropReason::Malformed)?;
            match packet.format {
                FMT_NACK if fci.len() % 4 == 0 => {
                    visit(RtcpEvent::Nack { sender, media, list: NackList { fci } });
                }
                FMT_TWCC => visit(RtcpEvent::Twcc { sender, media, feedback: TwccFeedback::new(fci)? }),
                FMT_NACK => return Err(DropReason::Malformed),
                format => visit(RtcpEvent::Ignored { packet_type: PT_RTPFB, format }),
            }
        }
        PT_PSFB => {
            let feedback = PayloadFeedback::parse(packet.whole).map_err(malformed)?;
            let (sender, media) = (Ssrc(feedback.sender_ssrc()), Ssrc(feedback.media_ssrc()));
            let fci = packet.body.get(8..).ok_or(DropReason::Malformed)?;
            match packet.format {
                FMT_PLI => visit(RtcpEvent::Pli { sender, media }),
                FMT_FIR if fci.len() % 8 == 0 => {
                    for entry in fci.chunks_exact(8) {
                        let media = Ssrc(u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]));
                        visit(RtcpEvent::Fir { sender, media, command: entry[4] });
                    }
                }
                FMT_FIR => return Err(DropReason::Malformed),
                FMT_AFB => visit(remb(sender, fci)?),
                format => visit(RtcpEvent::Ignored { packet_type: PT_PSFB, format }),
            }
        }
        packet_type => visit(RtcpEvent::Ignored { packet_type, format: packet.format }),
    }
    Ok(())
}

fn report_block(block: &rtcp_types::ReportBlock<'_>) -> ReportBlock {
    ReportBlock {
        ssrc: Ssrc(block.ssrc()),
        fraction_lost: block.fraction_lost(),
        // Sign-extends 24 bits.
        cumulative_lost: (block.cumulative_lost() << 8) as i32 >> 8,
        highest_seq: block.extended_sequence_number(),
        jitter: block.interarrival_jitter(),
        last_sr: block.last_sender_report_timestamp(),
        delay_since_last_sr: block.delay_since_last_sender_report_timestamp(),
    }
}

/// Application-layer feedback: REMB if it says so, else ignored.
fn remb(sender: Ssrc, fci: &[u8]) -> Result<RtcpEvent<'_>, DropReason> {
    let [b'R', b'E', b'M', b'B', count, exponent_mantissa, middle, low, ssrcs @ ..] = fci else {
        return Ok(RtcpEvent::Ignored { packet_type: PT_PSFB, format: FMT_AFB });
    };
    let bytes = ssrcs.get(..4 * usize::from(*count)).ok_or(DropReason::Malformed)?;
    let mantissa = u64::from(u32::from_be_bytes([0, exponent_mantissa & 3, *middle, *low]));
    let exponent = u32::from(exponent_mantissa >> 2);
    // 18 bits shifted by up to 63: saturate instead of losing the top.
    let bitrate_bps =
        if mantissa != 0 && exponent > mantissa.leading_zeros() { u64::MAX } else { mantissa << exponent };
    Ok(RtcpEvent::Remb { sender, bitrate_bps, ssrcs: SsrcList { bytes } })
}

#[cfg(test)]
mod tests;
