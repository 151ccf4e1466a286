//! Opening what a peer protected.
//!
//! Promises: an index is estimated and checked before any crypto and taken only after authentication; a stream's state exists
//! only after a packet of it authenticated, and there are at most [`SSRCS_PER_PEER`] of each protocol. A stream that ended leaves
//! its highest index behind, so that room is made and yet nothing of it can be played again.

use kernels::{CmSha1Key, GcmKey, Suite};

use super::replay::ReplayWindow;
use super::{Cipher, ENCRYPTED, INDEX_BYTES, Protocol, RTCP_CLEAR_BYTES, RTP_INDEX_END, roll_over};
use crate::base::drops::DropReason;
use crate::base::handoff::{MasterKey, SrtpProfile};
use crate::base::ids::{Seq, Ssrc};
use crate::base::limits::{RETIRED_SSRCS_PER_PEER, SRTCP_WINDOW_WORDS, SRTP_WINDOW_WORDS, SSRCS_PER_PEER};
use crate::wire::rtp;

/// Streams that a new context has room for: most peers send fewer.
const STREAMS_AT_FIRST: usize = 8;

/// What a peer protects with, and what was already received.
pub struct Inbound {
    pub(super) rtp: Cipher,
    pub(super) rtcp: Cipher,
    rtp_streams: Streams<SRTP_WINDOW_WORDS>,
    rtcp_streams: Streams<SRTCP_WINDOW_WORDS>,
}

/// A packet opened in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedRtp {
    /// Bytes of the RTP header with extensions; the plaintext payload (and padding) follows.
    pub header_bytes: usize,
    /// Bytes of the whole plaintext packet: it is now `packet[..bytes]`.
    pub bytes: usize,
    /// Roll-over counter and sequence number, 48 bits.
    pub index: u64,
    /// Nothing of its stream that was seen before is as new.
    pub newest: bool,
}

/// A datagram opened in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedRtcp {
    /// Bytes of the plain compound: it is now `packet[..bytes]`.
    pub bytes: usize,
    /// Nothing of its sender that was seen before is as new.
    pub newest: bool,
}

impl Inbound {
    /// A context for what is protected with `master`.
    #[must_use]
    pub fn new(suite: Suite, profile: SrtpProfile, master: &MasterKey) -> Self {
        Self {
            rtp: Cipher::new(suite, profile, master, Protocol::Rtp),
            rtcp: Cipher::new(suite, profile, master, Protocol::Rtcp),
            rtp_streams: Streams::new(),
            rtcp_streams: Streams::new(),
        }
    }

    /// Opens one SRTP packet in place (RFC 3711 section 3.3, RFC 7714 section 8).
    /// `packet` is header || ciphertext || tag; on success its first [`OpenedRtp::bytes`] are header || plaintext.
    ///
    /// # Errors
    /// `Truncated`, `Malformed`, `Replayed`, `TooManySsrcs` and `KeyExhausted` before any crypto; `BadTag` with the payload zeroed.
    /// State changes only on success.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<OpenedRtp, DropReason> {
        let header_bytes = rtp::header_bytes(packet)?;
        let ssrc = rtp::ssrc(packet).ok_or(DropReason::Truncated)?;
        let seq = rtp::seq(packet).ok_or(DropReason::Truncated)?;
        let stream = self.rtp_streams.find(ssrc)?;
        let (index, newest) = match stream.window(&self.rtp_streams) {
            Some(window) => {
                let index = estimate(window.highest(), seq)?;
                if !window.is_new(index) {
                    return Err(DropReason::Replayed);
                }
                (index, index > window.highest())
            }
            // A sender's roll-over counter begins at zero (RFC 3711 section 3.2.1).
            None => (u64::from(seq.0), true),
        };
        let (header, sealed) = packet.split_at_mut(header_bytes);
        let opened = match &self.rtp {
            Cipher::Gcm { key, salt } => {
                if sealed.len() < GcmKey::TAG_BYTES {
                    return Err(DropReason::Truncated);
                }
                key.open_in_place(&salt.rtp_iv(ssrc, index), header, sealed)
            }
            Cipher::CmSha1 { key, salt } => {
                if sealed.len() < CmSha1Key::TAG_BYTES {
                    return Err(DropReason::Truncated);
                }
                key.open_in_place(&salt.iv(ssrc, index), header, sealed, &roll_over(index))
            }
        };
        let payload_bytes = opened.map_err(|_| DropReason::BadTag)?;
        self.rtp_streams.take(stream, ssrc, index);
        Ok(OpenedRtp { header_bytes, bytes: header_bytes + payload_bytes, index, newest })
    }

    /// Opens one SRTCP datagram in place (RFC 3711 section 3.4, RFC 7714 section 9). Packets that are authenticated but not encrypted are not negotiated and not taken.
    ///
    /// # Errors
    /// As [`Self::open_rtp`]; a clear encrypted flag is `Malformed`.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, DropReason> {
        let tag_bytes = match &self.rtcp {
            Cipher::Gcm { .. } => GcmKey::TAG_BYTES,
            Cipher::CmSha1 { .. } => CmSha1Key::TAG_BYTES,
        };
        if packet.len() < RTCP_CLEAR_BYTES + tag_bytes + INDEX_BYTES {
            return Err(DropReason::Truncated);
        }
        let plain_bytes = packet.len() - tag_bytes - INDEX_BYTES;
        let word_at = match &self.rtcp {
            Cipher::Gcm { .. } => plain_bytes + tag_bytes,
            Cipher::CmSha1 { .. } => plain_bytes,
        };
        let ssrc = Ssrc(read_u32(packet, 4));
        let word = read_u32(packet, word_at);
        if word & ENCRYPTED == 0 {
            return Err(DropReason::Malformed);
        }
        let index = word & !ENCRYPTED;
        let stream = self.rtcp_streams.find(ssrc)?;
        let window = stream.window(&self.rtcp_streams);
        if window.is_some_and(|window| !window.is_new(u64::from(index))) {
            return Err(DropReason::Replayed);
        }
        let newest = window.is_none_or(|window| u64::from(index) > window.highest());
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let (clear, rest) = packet.split_at_mut(RTCP_CLEAR_BYTES);
                let mut associated = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
                associated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
                associated[RTCP_CLEAR_BYTES..].copy_from_slice(&word.to_be_bytes());
                let sealed = &mut rest[..plain_bytes - RTCP_CLEAR_BYTES + tag_bytes];
                key.open_in_place(&salt.rtcp_iv(ssrc, index), &associated, sealed)
                    .map_err(|_| DropReason::BadTag)?;
            }
            Cipher::CmSha1 { key, salt } => {
                let (covered, tag) = packet.split_at_mut(plain_bytes + INDEX_BYTES);
                let authentic = tag.first_chunk().is_some_and(|tag| key.verify(&[covered], tag));
                let text = &mut covered[RTCP_CLEAR_BYTES..plain_bytes];
                if !authentic {
                    text.fill(0);
                    return Err(DropReason::BadTag);
                }
                key.ctr_in_place(&salt.iv(ssrc, u64::from(index)), text);
            }
        }
        self.rtcp_streams.take(stream, ssrc, u64::from(index));
        Ok(OpenedRtcp { bytes: plain_bytes, newest })
    }

    /// Whether RTP of this SSRC has authenticated here.
    #[must_use]
    pub fn knows_rtp(&self, ssrc: Ssrc) -> bool {
        self.rtp_streams.ssrcs.contains(&ssrc)
    }

    /// Whether RTCP of this SSRC has authenticated here.
    #[must_use]
    pub fn knows_rtcp(&self, ssrc: Ssrc) -> bool {
        self.rtcp_streams.ssrcs.contains(&ssrc)
    }

    /// A stream ended: makes room for another. Should it go on after all, it does so where it was.
    pub fn retire(&mut self, ssrc: Ssrc) {
        self.rtp_streams.retire(ssrc);
        self.rtcp_streams.retire(ssrc);
    }
}

/// The index that `seq` most likely has (RFC 3711 section 3.3.1): the one nearest to the highest so far.
fn estimate(highest: u64, seq: Seq) -> Result<u64, DropReason> {
    let roll_over = highest >> 16;
    let last = highest as u16;
    let seq = seq.0;
    let roll_over = if last < 0x8000 && seq > last && seq - last > 0x8000 {
        // From before the stream's first roll-over, or from before its beginning.
        roll_over.checked_sub(1).ok_or(DropReason::Replayed)?
    } else if last >= 0x8000 && seq < last - 0x8000 {
        roll_over + 1
    } else {
        roll_over
    };
    let index = roll_over << 16 | u64::from(seq);
    if index >= RTP_INDEX_END { Err(DropReason::KeyExhausted) } else { Ok(index) }
}

/// Windows of the streams of one protocol, found by SSRC.
struct Streams<const WORDS: usize> {
    /// Apart from the windows: 256 of them are 16 cache lines to look through.
    ssrcs: Vec<Ssrc>,
    windows: Vec<ReplayWindow<WORDS>>,
    /// Ended streams and the highest index of each, oldest first; a peer that ends more in one meeting loses the oldest.
    retired: Vec<(Ssrc, u64)>,
}

/// Where a stream's state is.
#[derive(Clone, Copy)]
enum Place<const WORDS: usize> {
    Live(usize),
    /// Put away; this would be its window again.
    Retired(ReplayWindow<WORDS>),
    New,
}

impl<const WORDS: usize> Place<WORDS> {
    fn window<'a>(&'a self, streams: &'a Streams<WORDS>) -> Option<&'a ReplayWindow<WORDS>> {
        match self {
            Self::Live(at) => streams.windows.get(*at),
            Self::Retired(window) => Some(window),
            Self::New => None,
        }
    }
}

impl<const WORDS: usize> Streams<WORDS> {
    fn new() -> Self {
        Self {
            ssrcs: Vec::with_capacity(STREAMS_AT_FIRST),
            windows: Vec::with_capacity(STREAMS_AT_FIRST),
            retired: Vec::new(),
        }
    }

    fn find(&self, ssrc: Ssrc) -> Result<Place<WORDS>, DropReason> {
        if let Some(at) = self.ssrcs.iter().position(|&known| known == ssrc) {
            return Ok(Place::Live(at));
        }
        if self.ssrcs.len() >= SSRCS_PER_PEER {
            return Err(DropReason::TooManySsrcs);
        }
        Ok(match self.retired.iter().find(|(known, _)| *known == ssrc) {
            Some(&(_, highest)) => Place::Retired(ReplayWindow::resumed_at(highest)),
            None => Place::New,
        })
    }

    /// Takes an authenticated index of the stream whose place was found for it.
    fn take(&mut self, place: Place<WORDS>, ssrc: Ssrc, index: u64) {
        let window = match place {
            Place::Live(at) => return self.windows[at].commit(index),
            Place::Retired(mut window) => {
                self.retired.retain(|(known, _)| *known != ssrc);
                window.commit(index);
                window
            }
            Place::New => ReplayWindow::starting_at(index),
        };
        self.ssrcs.push(ssrc);
        self.windows.push(window);
    }

    fn retire(&mut self, ssrc: Ssrc) {
        let Some(at) = self.ssrcs.iter().position(|&known| known == ssrc) else { return };
        self.ssrcs.swap_remove(at);
        let window = self.windows.swap_remove(at);
        if self.retired.len() >= RETIRED_SSRCS_PER_PEER {
            self.retired.remove(0);
        }
        self.retired.push((ssrc, window.highest()));
    }
}

/// Four bytes of a packet whose length was checked.
fn read_u32(packet: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&packet[at..at + 4]);
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_estimate_is_the_nearest_index() {
        let mut rng = Rng::new(21);
        for _ in 0..100_000 {
            let highest = (1 << 16) + rng.below(RTP_INDEX_END - (1 << 18));
            let distance = rng.below(0x8000);
            assert_eq!(estimate(highest, Seq((highest + distance) as u16)), Ok(highest + distance));
            assert_eq!(estimate(highest, Seq((highest - distance) as u16)), Ok(highest - distance));
        }
    }

    #[test]
    fn what_was_before_the_beginning_is_old_and_what_is_beyond_the_end_exhausts_the_key() {
        assert_eq!(estimate(5, Seq(65_530)), Err(DropReason::Replayed));
        assert_eq!(estimate(5, Seq(0)), Ok(0));
        assert_eq!(estimate(RTP_INDEX_END - 1, Seq(65_535)), Ok(RTP_INDEX_END - 1));
        assert_eq!(estimate(RTP_INDEX_END - 1, Seq(0)), Err(DropReason::KeyExhausted));
    }
}
