//! RTCP packets written one after the other into a lent buffer: one compound datagram.
//!
//! Path: `session` and `engine` write here, then SRTCP seals. `rtcp-types` has builders, but they collect into vectors and
//! sets; its parser is the test oracle of these.
//! Promises: a packet that does not fit leaves the compound as it was.

use super::{
    FMT_AFB, FMT_FIR, FMT_NACK, FMT_PLI, FMT_TWCC, PT_BYE, PT_PSFB, PT_RR, PT_RTPFB, PT_SDES, PT_SR,
    ReportBlock, SenderInfo, twcc,
};
use crate::base::ids::{Seq, Ssrc};
use crate::wire::NoSpace;

/// Report blocks, BYE sources and SDES chunks that one packet can hold: the count is five bits.
pub const BLOCKS_PER_PACKET: usize = 31;

/// Writes one compound.
#[derive(Debug)]
pub struct RtcpWriter<'b> {
    out: &'b mut [u8],
    used: usize,
}

impl<'b> RtcpWriter<'b> {
    /// Writes from the beginning of `out`.
    #[must_use]
    pub const fn new(out: &'b mut [u8]) -> Self {
        Self { out, used: 0 }
    }

    /// Bytes of the compound so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.used
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Sender report with up to [`BLOCKS_PER_PACKET`] blocks.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn sender_report(
        &mut self,
        ssrc: Ssrc,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), NoSpace> {
        self.packet(PT_SR, count(blocks.len())?, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            body.put(&info.ntp.to_be_bytes())?;
            body.put(&info.rtp_timestamp.to_be_bytes())?;
            body.put(&info.packets.to_be_bytes())?;
            body.put(&info.octets.to_be_bytes())?;
            blocks.iter().try_for_each(|block| put_block(body, block))
        })
    }

    /// Receiver report with up to [`BLOCKS_PER_PACKET`] blocks.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn receiver_report(&mut self, ssrc: Ssrc, blocks: &[ReportBlock]) -> Result<(), NoSpace> {
        self.packet(PT_RR, count(blocks.len())?, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            blocks.iter().try_for_each(|block| put_block(body, block))
        })
    }

    /// Source description with one CNAME of at most 255 bytes.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit or the name is too long.
    pub fn sdes_cname(&mut self, ssrc: Ssrc, cname: &[u8]) -> Result<(), NoSpace> {
        let bytes = u8::try_from(cname.len()).map_err(|_| NoSpace)?;
        self.packet(PT_SDES, 1, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            body.put(&[1, bytes])?;
            body.put(cname)?;
            // The list of items ends with at least one zero byte and at a 32-bit boundary.
            body.put(&[0])?;
            body.align()
        })
    }

    /// Generic NACK for sequence numbers in circular order; does nothing when there are none.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn nack(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        missing: impl IntoIterator<Item = Seq>,
    ) -> Result<(), NoSpace> {
        let mut missing = missing.into_iter().peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        self.feedback(PT_RTPFB, FMT_NACK, sender, media, |body| {
            let mut missing = missing;
            while let Some(pid) = missing.next() {
                let mut mask = 0_u16;
                while let Some(next) = missing.peek() {
                    match next.steps_from(pid) {
                        0 => {}
                        steps @ 1..=16 => mask |= 1 << (steps - 1),
                        _ => break,
                    }
                    missing.next();
                }
                body.put(&pid.0.to_be_bytes())?;
                body.put(&mask.to_be_bytes())?;
            }
            Ok(())
        })
    }

    /// Picture loss indication.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn pli(&mut self, sender: Ssrc, media: Ssrc) -> Result<(), NoSpace> {
        self.feedback(PT_PSFB, FMT_PLI, sender, media, |_| Ok(()))
    }

    /// Full intra request for one stream; `command` changes with each new request.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn fir(&mut self, sender: Ssrc, media: Ssrc, command: u8) -> Result<(), NoSpace> {
        // The media source of the header is unused: the entries name the streams (RFC 5104 section 4.3.1.2).
        self.feedback(PT_PSFB, FMT_FIR, sender, Ssrc(0), |body| {
            body.put(&media.0.to_be_bytes())?;
            body.put(&[command, 0, 0, 0])
        })
    }

    /// Transport-wide feedback for the packets from `base` on; see [`twcc`] for the units. Does nothing for an empty list.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn twcc(
        &mut self,
        (sender, media): (Ssrc, Ssrc),
        base: Seq,
        reference_ticks: i32,
        feedback_count: u8,
        statuses: &[twcc::Status],
    ) -> Result<(), NoSpace> {
        if statuses.is_empty() {
            return Ok(());
        }
        self.feedback(PT_RTPFB, FMT_TWCC, sender, media, |body| {
            let bytes = twcc::write_fci(base, reference_ticks, feedback_count, statuses, body.rest())?;
            body.used += bytes;
            body.align()
        })
    }

    /// Receiver estimated maximum bitrate; the mantissa keeps 18 bits.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn remb(&mut self, sender: Ssrc, bitrate_bps: u64, ssrcs: &[Ssrc]) -> Result<(), NoSpace> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| NoSpace)?;
        let exponent = 46_u32.saturating_sub(bitrate_bps.leading_zeros());
        let mantissa = (bitrate_bps >> exponent) as u32;
        self.feedback(PT_PSFB, FMT_AFB, sender, Ssrc(0), |body| {
            body.put(b"REMB")?;
            body.put(&(u32::from(count) << 24 | exponent << 18 | mantissa).to_be_bytes())?;
            ssrcs.iter().try_for_each(|ssrc| body.put(&ssrc.0.to_be_bytes()))
        })
    }

    /// Goodbye of up to [`BLOCKS_PER_PACKET`] streams.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn bye(&mut self, ssrcs: &[Ssrc]) -> Result<(), NoSpace> {
        self.packet(PT_BYE, count(ssrcs.len())?, |body| {
            ssrcs.iter().try_for_each(|ssrc| body.put(&ssrc.0.to_be_bytes()))
        })
    }

    fn feedback(
        &mut self,
        packet_type: u8,
        format: u8,
        sender: Ssrc,
        media: Ssrc,
        fill: impl FnOnce(&mut Body<'_>) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        self.packet(packet_type, format, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&media.0.to_be_bytes())?;
            fill(body)
        })
    }

    /// Header, then what `fill` writes; `fill` ends at a 32-bit boundary.
    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        fill: impl FnOnce(&mut Body<'_>) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        let out = self.out.get_mut(self.used..).unwrap_or(&mut []);
        let mut body = Body { out, used: 0 };
        body.put(&[0x80 | count, packet_type, 0, 0])?;
        fill(&mut body)?;
        let bytes = body.used;
        let words = u16::try_from(bytes / 4 - 1).map_err(|_| NoSpace)?;
        body.out[2..4].copy_from_slice(&words.to_be_bytes());
        self.used += bytes;
        Ok(())
    }
}

/// One packet being written.
struct Body<'b> {
    out: &'b mut [u8],
    used: usize,
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), NoSpace> {
        let end = self.used + bytes.len();
        self.out.get_mut(self.used..end).ok_or(NoSpace)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    fn align(&mut self) -> Result<(), NoSpace> {
        let missing = self.used.next_multiple_of(4) - self.used;
        self.put(&[0; 3][..missing])
    }

    fn rest(&mut self) -> &mut [u8] {
        &mut self.out[self.used..]
    }
}

fn count(items: usize) -> Result<u8, NoSpace> {
    if items > BLOCKS_PER_PACKET { Err(NoSpace) } else { Ok(items as u8) }
}

fn put_block(body: &mut Body<'_>, block: &ReportBlock) -> Result<(), NoSpace> {
    body.put(&block.ssrc.0.to_be_bytes())?;
    // Clamps to the 24 bits of the field (RFC 3550 section 6.4.1).
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
    body.put(&(u32::from(block.fraction_lost) << 24 | lost).to_be_bytes())?;
    body.put(&block.highest_seq.to_be_bytes())?;
    body.put(&block.jitter.to_be_bytes())?;
    body.put(&block.last_sr.to_be_bytes())?;
    body.put(&block.delay_since_last_sr.to_be_bytes())
}
