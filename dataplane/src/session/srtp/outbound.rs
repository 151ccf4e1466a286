//! Sealing what goes to a peer.
//!
//! Promises: copy and encryption are one pass into the send buffer; an index that would repeat under the key is refused. The
//! index of an RTP stream is its owner's, so that one context serves any number of streams without looking them up.

use kernels::{CmSha1Key, GcmKey, Suite, TagJob};

use super::{
    Cipher, ENCRYPTED, INDEX_BYTES, Protocol, RTCP_CLEAR_BYTES, RTCP_INDEX_END, RTP_INDEX_END, roll_over,
};
use crate::base::drops::DropReason;
use crate::base::handoff::{MasterKey, SrtpProfile};
use crate::base::ids::Ssrc;

/// What we protect with.
pub struct Outbound {
    pub(super) rtp: Cipher,
    pub(super) rtcp: Cipher,
    /// Next SRTCP index. One count for all our SSRCs: it grows for each of them, which is what the RFC wants of each.
    pub(super) rtcp_index: u32,
}

impl Outbound {
    /// A context that protects with `master`.
    #[must_use]
    pub fn new(suite: Suite, profile: SrtpProfile, master: &MasterKey) -> Self {
        Self {
            rtp: Cipher::new(suite, profile, master, Protocol::Rtp),
            rtcp: Cipher::new(suite, profile, master, Protocol::Rtcp),
            rtcp_index: 0,
        }
    }

    /// Bytes that sealing adds to an RTP packet.
    #[must_use]
    pub const fn rtp_overhead_bytes(&self) -> usize {
        tag_bytes(&self.rtp)
    }

    /// Bytes that sealing adds to an RTCP packet.
    #[must_use]
    pub const fn rtcp_overhead_bytes(&self) -> usize {
        tag_bytes(&self.rtcp) + INDEX_BYTES
    }

    /// Whether tags are made apart from encryption, so that those of many packets can be made together:
    /// [`Self::encrypt_rtp_behind`] and then [`Self::tag_job`], instead of [`Self::seal_rtp_behind`].
    #[inline]
    #[must_use]
    pub const fn has_separate_tags(&self) -> bool {
        matches!(self.rtp, Cipher::CmSha1 { .. })
    }

    /// Seals one RTP packet: `header` and then the encryption of the two payload parts go to `out`. Answers the datagram's bytes.
    /// `index` is roll-over counter and sequence number of the stream; it never repeats for one `ssrc`.
    ///
    /// # Errors
    /// `KeyExhausted` from index 2^48 on; `TooLong` when `out` is too small. Nothing of `out` counts then.
    pub fn seal_rtp(
        &self,
        ssrc: Ssrc,
        index: u64,
        header: &[u8],
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        out.get_mut(..header.len()).ok_or(DropReason::TooLong)?.copy_from_slice(header);
        self.seal_rtp_behind(ssrc, index, header.len(), payload, out)
    }

    /// As [`Self::seal_rtp`], with the header in the first `header_bytes` of `out` already.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn seal_rtp_behind(
        &self,
        ssrc: Ssrc,
        index: u64,
        header_bytes: usize,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let (header, sealed) = self.behind(index, header_bytes, payload, out)?;
        let written = match &self.rtp {
            Cipher::Gcm { key, salt } => key.seal(&salt.rtp_iv(ssrc, index), header, &payload, sealed),
            Cipher::CmSha1 { key, salt } => {
                key.seal(&salt.iv(ssrc, index), header, &payload, &roll_over(index), sealed)
            }
        };
        Ok(header_bytes + written)
    }

    /// As [`Self::seal_rtp_behind`], but the tag's bytes, the last ones of the datagram, are still to be written.
    ///
    /// # Errors
    /// As there; a profile without separate tags is sealed whole.
    pub fn encrypt_rtp_behind(
        &self,
        ssrc: Ssrc,
        index: u64,
        header_bytes: usize,
        payload: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let Cipher::CmSha1 { key, salt } = &self.rtp else {
            return self.seal_rtp_behind(ssrc, index, header_bytes, payload, out);
        };
        let (_, sealed) = self.behind(index, header_bytes, payload, out)?;
        let text_bytes = key.encrypt(&salt.iv(ssrc, index), &payload, sealed);
        Ok(header_bytes + text_bytes + CmSha1Key::TAG_BYTES)
    }

    /// What makes the tag of a datagram that [`Self::encrypt_rtp_behind`] wrote under `index`; `None` for a profile without separate
    /// tags.
    #[must_use]
    pub fn tag_job<'a>(&'a self, index: u64, datagram: &'a [u8]) -> Option<TagJob<'a>> {
        let Cipher::CmSha1 { key, .. } = &self.rtp else { return None };
        let covered = datagram.get(..datagram.len().checked_sub(CmSha1Key::TAG_BYTES)?)?;
        Some(TagJob { key, covered, trailer: roll_over(index) })
    }

    /// Header and room of a packet that is to be sealed.
    #[inline]
    fn behind<'o>(
        &self,
        index: u64,
        header_bytes: usize,
        payload: [&[u8]; 2],
        out: &'o mut [u8],
    ) -> Result<(&'o [u8], &'o mut [u8]), DropReason> {
        if index >= RTP_INDEX_END {
            return Err(DropReason::KeyExhausted);
        }
        let (header, sealed) = out.split_at_mut_checked(header_bytes).ok_or(DropReason::TooLong)?;
        if sealed.len() < payload[0].len() + payload[1].len() + self.rtp_overhead_bytes() {
            return Err(DropReason::TooLong);
        }
        Ok((header, sealed))
    }

    /// Seals one RTCP compound (at least a header and a sender SSRC) into `out`; answers the datagram's bytes.
    ///
    /// # Errors
    /// `KeyExhausted` after 2^31 datagrams; `Truncated` for less than eight bytes; `TooLong` when `out` is too small.
    pub fn seal_rtcp(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, DropReason> {
        if self.rtcp_index >= RTCP_INDEX_END {
            return Err(DropReason::KeyExhausted);
        }
        let &[_, _, _, _, a, b, c, d, ..] = plain else { return Err(DropReason::Truncated) };
        let bytes = plain.len() + self.rtcp_overhead_bytes();
        let out = out.get_mut(..bytes).ok_or(DropReason::TooLong)?;
        let ssrc = Ssrc(u32::from_be_bytes([a, b, c, d]));
        let index = self.rtcp_index;
        let word = (ENCRYPTED | index).to_be_bytes();
        let (clear, text) = plain.split_at(RTCP_CLEAR_BYTES);
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut associated = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
                associated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
                associated[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
                let (head, rest) = out.split_at_mut(RTCP_CLEAR_BYTES);
                head.copy_from_slice(clear);
                let written = key.seal(&salt.rtcp_iv(ssrc, index), &associated, &[&[], text], rest);
                rest[written..].copy_from_slice(&word);
            }
            Cipher::CmSha1 { key, salt } => {
                let (covered, tag) = out.split_at_mut(plain.len() + INDEX_BYTES);
                covered[..plain.len()].copy_from_slice(plain);
                key.ctr_in_place(
                    &salt.iv(ssrc, u64::from(index)),
                    &mut covered[RTCP_CLEAR_BYTES..plain.len()],
                );
                covered[plain.len()..].copy_from_slice(&word);
                tag.copy_from_slice(&key.tag(&[covered]));
            }
        }
        self.rtcp_index += 1;
        Ok(bytes)
    }
}

const fn tag_bytes(cipher: &Cipher) -> usize {
    match cipher {
        Cipher::Gcm { .. } => GcmKey::TAG_BYTES,
        Cipher::CmSha1 { .. } => CmSha1Key::TAG_BYTES,
    }
}
