//! Which protocol a datagram speaks, by its first bytes (RFC 7983 section 7, RFC 5761 section 4).
//!
//! Path: the first look at every received datagram. Cost: two comparisons.
//! Not here: whether the rest of the datagram is well-formed.

/// Protocol of one datagram on a bundled ICE component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// STUN: first byte 0 to 3.
    Stun,
    /// DTLS: first byte 20 to 63.
    Dtls,
    /// RTP: first byte 128 to 191 and not in the RTCP range.
    Rtp,
    /// RTCP: as RTP, with a packet type of 192 to 223.
    Rtcp,
    /// Everything else, ZRTP and TURN channels included.
    Unknown,
}

/// Shortest RTCP packet: header and sender SSRC.
const RTCP_BYTES_MIN: usize = 8;
/// Shortest RTP packet: the fixed header.
const RTP_BYTES_MIN: usize = 12;

/// Classifies a datagram. The second byte of RTP is marker and payload type; payload types 64 to 95 with the marker set
/// would read as 192 to 223 and are therefore never negotiated (RFC 5761 section 4).
#[must_use]
pub fn classify(datagram: &[u8]) -> Protocol {
    match *datagram {
        [0..=3, ..] => Protocol::Stun,
        [20..=63, ..] => Protocol::Dtls,
        [128..=191, 192..=223, ..] if datagram.len() >= RTCP_BYTES_MIN => Protocol::Rtcp,
        [128..=191, second, ..] if !(192..=223).contains(&second) && datagram.len() >= RTP_BYTES_MIN => {
            Protocol::Rtp
        }
        _ => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(first: u8, second: u8) -> [u8; 16] {
        let mut datagram = [0; 16];
        datagram[..2].copy_from_slice(&[first, second]);
        datagram
    }

    #[test]
    fn the_first_byte_decides_as_rfc_7983_says() {
        for first in 0..=255 {
            let expected = match first {
                0..=3 => Protocol::Stun,
                20..=63 => Protocol::Dtls,
                128..=191 => Protocol::Rtp,
                _ => Protocol::Unknown,
            };
            assert_eq!(classify(&padded(first, 96)), expected, "first byte {first}");
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        for second in 0..=255 {
            let expected = if (192..=223).contains(&second) { Protocol::Rtcp } else { Protocol::Rtp };
            assert_eq!(classify(&padded(0x80, second)), expected, "second byte {second}");
        }
    }

    #[test]
    fn what_is_too_short_for_a_header_is_unknown() {
        assert_eq!(classify(&[]), Protocol::Unknown);
        assert_eq!(classify(&[0x80]), Protocol::Unknown);
        assert_eq!(classify(&padded(0x80, 96)[..11]), Protocol::Unknown);
        assert_eq!(classify(&padded(0x80, 200)[..7]), Protocol::Unknown);
        assert_eq!(classify(&padded(0x80, 200)[..8]), Protocol::Rtcp);
    }
}
