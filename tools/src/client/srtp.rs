//! Both directions of SRTP of one association, around `dataplane::session::srtp`.
//!
//! Path: the last step before the wire and the first after it. Promises: the index of a sent packet is the one nearest to the
//! highest of its stream, as the receiver will estimate it. Not here: cryptography and replay windows.

use dataplane::base::drops::DropReason;
use dataplane::base::handoff::SrtpKeys;
use dataplane::base::ids::Ssrc;
use dataplane::session::srtp::{Inbound, Outbound};
use dataplane::wire::rtp;
use kernels::Suite;

/// Contexts of one association.
pub(super) struct Pair {
    inbound: Inbound,
    outbound: Outbound,
    /// Streams we send, each with its highest index: a handful.
    sent: Vec<(Ssrc, u64)>,
}

impl Pair {
    pub(super) fn new(suite: Suite, keys: &SrtpKeys) -> Self {
        Self {
            inbound: Inbound::new(suite, keys.profile, &keys.remote),
            outbound: Outbound::new(suite, keys.profile, &keys.local),
            sent: Vec::new(),
        }
    }

    /// Opens in place; answers the plain packet.
    pub(super) fn open_rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
        let bytes = self.inbound.open_rtp(packet)?.bytes;
        Ok(&packet[..bytes])
    }

    /// Opens in place; answers the plain compound.
    pub(super) fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
        let bytes = self.inbound.open_rtcp(packet)?.bytes;
        Ok(&packet[..bytes])
    }

    /// Seals a plain packet into `out`; answers its bytes.
    pub(super) fn seal_rtp(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, DropReason> {
        let header_bytes = rtp::header_bytes(plain)?;
        let ssrc = rtp::ssrc(plain).ok_or(DropReason::Truncated)?;
        let seq = rtp::seq(plain).ok_or(DropReason::Truncated)?;
        let index = match self.sent.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, highest)) => {
                let distance = i64::from(seq.0.wrapping_sub(*highest as u16) as i16);
                let index = highest.checked_add_signed(distance).ok_or(DropReason::TooLate)?;
                *highest = index.max(*highest);
                index
            }
            None => {
                self.sent.push((ssrc, u64::from(seq.0)));
                u64::from(seq.0)
            }
        };
        let (header, payload) = plain.split_at(header_bytes);
        self.outbound.seal_rtp(ssrc, index, header, [&[], payload], out)
    }

    /// Seals a plain compound into `out`; answers its bytes.
    pub(super) fn seal_rtcp(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, DropReason> {
        self.outbound.seal_rtcp(plain, out)
    }
}
