//! Identities: who and what a packet, a command or a report is about.
//!
//! Numbers given out by the control plane are never reused while the process lives, so a late command or report cannot
//! reach a stranger.

use std::fmt;

/// Index of a worker core, 0-based in the order of `--cores` (not the kernel's CPU number).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct CoreId(pub u8);

/// A meeting: the public 63-bit number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct MeetingId(pub u64);

/// One ICE/DTLS/SRTP association. A participant has one (WHIP, WHEP, v1) or two (v0).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// One participant of a meeting: what ties the two associations of a v0 client together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ParticipantId(pub u32);

/// One published track: an audio source, or a video source with all its layers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// One subscription: one track as sent to one peer, with its own SSRC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Synchronisation source of an RTP stream (RFC 3550 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ssrc(pub u32);

/// RTP payload type, 7 bits (RFC 3550 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PayloadType(pub u8);

/// RTP sequence number. No `Ord`: order on a circle needs a reference point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seq(pub u16);

impl Seq {
    /// Whether this number comes after `other`, looking at most half the circle ahead.
    #[must_use]
    pub const fn is_ahead_of(self, other: Self) -> bool {
        let distance = self.0.wrapping_sub(other.0);
        distance != 0 && distance < 0x8000
    }

    /// The number `steps` further on the circle.
    #[must_use]
    pub const fn plus(self, steps: u16) -> Self {
        Self(self.0.wrapping_add(steps))
    }

    /// Steps from `other` to this number, modulo 2^16.
    #[must_use]
    pub const fn steps_from(self, other: Self) -> u16 {
        self.0.wrapping_sub(other.0)
    }
}

/// A short ASCII label of at most 16 bytes held inline: `a=mid` (RFC 9143) and `a=rid` (RFC 8851) values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Label {
    bytes: [u8; 16],
    len: u8,
}

/// Media section identification tag, `a=mid`.
pub type Mid = Label;
/// RTP stream identifier, `a=rid`: one simulcast layer.
pub type Rid = Label;

impl Label {
    /// A label from 1 to 16 bytes of printable ASCII; `None` for anything else.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, len: text.len() as u8 })
    }

    /// The label's bytes, all printable ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for MeetingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meeting_{}", self.0)
    }
}

/// Local ICE user fragments name the core and the peer, so that any packet that carries one can be routed without a table:
/// two hex digits of core, eight of peer, then the random rest.
pub const UFRAG_PREFIX_BYTES: usize = 10;

/// Writes the local ufrag for a peer; `random` makes it differ between ICE restarts.
#[must_use]
pub fn local_ufrag(core: CoreId, peer: PeerId, random: u32) -> String {
    format!("{:02x}{:08x}{random:08x}", core.0, peer.0)
}

/// Reads core and peer out of a local ufrag; `None` if it is not one of ours.
#[must_use]
pub fn parse_local_ufrag(ufrag: &[u8]) -> Option<(CoreId, PeerId)> {
    let prefix = ufrag.get(..UFRAG_PREFIX_BYTES)?;
    let mut value: u64 = 0;
    for &byte in prefix {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some((CoreId((value >> 32) as u8), PeerId(value as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ufrag_names_its_core_and_peer() {
        for (core, peer) in [(0, 0), (1, 7), (255, u32::MAX)] {
            let ufrag = local_ufrag(CoreId(core), PeerId(peer), 0xdead_beef);
            assert_eq!(parse_local_ufrag(ufrag.as_bytes()), Some((CoreId(core), PeerId(peer))));
        }
        for bad in [&b""[..], b"00000000", b"zz00000000", b"00ABCDEF00"] {
            assert_eq!(parse_local_ufrag(bad), None);
        }
    }

    #[test]
    fn sequence_numbers_are_ordered_on_the_circle() {
        assert!(Seq(0).is_ahead_of(Seq(65_535)));
        assert!(!Seq(65_535).is_ahead_of(Seq(0)));
        assert!(!Seq(5).is_ahead_of(Seq(5)));
        assert_eq!(Seq(2).steps_from(Seq(65_534)), 4);
    }

    #[test]
    fn labels_hold_only_short_printable_ascii() {
        assert_eq!(Label::new(b"q").map(|l| l.as_str().to_owned()), Some("q".to_owned()));
        assert!(Label::new(b"").is_none());
        assert!(Label::new(b"01234567890123456").is_none());
        assert!(Label::new(b"a b").is_none());
        assert!(Label::new(&[0xff]).is_none());
    }
}
