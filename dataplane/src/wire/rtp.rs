//! RTP packets: header to type and back (RFC 3550 section 5.1).
//!
//! Path: every received packet after SRTP opened it, every sent packet before it is sealed. `rtp-rs` is the validating
//! reader; the writer is ours because it writes into a lent buffer.
//! Not here: sequence-number state (`session`), rewriting policy (`room`).

use std::ops::Range;

use rtp_rs::{RtpReader, RtpReaderError};

use super::NoSpace;
use super::ext::{self, Element, Elements};
use crate::base::drops::DropReason;
use crate::base::ids::{PayloadType, Seq, Ssrc};

/// Bytes of the fixed header.
pub const FIXED_HEADER_BYTES: usize = 12;

/// A validated header: all ranges lie within the packet it was parsed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// Sequence number.
    pub seq: Seq,
    /// Media timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub pt: PayloadType,
    /// Number of contributing sources.
    pub csrc_count: u8,
    /// Padding bytes at the end of the packet, the count itself included; 0 without padding.
    pub padding_bytes: u8,
    extension_profile: u16,
    extension_start: u16,
    payload_start: u32,
    payload_end: u32,
}

impl RtpHeader {
    /// Parses and validates a whole decrypted packet.
    ///
    /// # Errors
    /// `Truncated` when the packet is shorter than its header claims, `Malformed` for a wrong version or padding count.
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let reader = RtpReader::new(packet).map_err(|error| match error {
            RtpReaderError::BufferTooShort(_) | RtpReaderError::HeadersTruncated { .. } => {
                DropReason::Truncated
            }
            RtpReaderError::UnsupportedVersion(_) | RtpReaderError::PaddingLengthInvalid(_) => {
                DropReason::Malformed
            }
        })?;
        let padding_bytes = reader.padding().unwrap_or(0);
        let payload_start = reader.payload_offset();
        let extension = reader.extension();
        Ok(Self {
            ssrc: Ssrc(reader.ssrc()),
            seq: Seq(u16::from(reader.sequence_number())),
            timestamp: reader.timestamp(),
            marker: reader.mark(),
            pt: PayloadType(reader.payload_type()),
            csrc_count: reader.csrc_count(),
            padding_bytes,
            extension_profile: extension.map_or(0, |(profile, _)| profile),
            // Without an extension the range is empty at the payload; with one it starts below 12 + 60 + 4.
            extension_start: extension
                .map_or(u16::MAX, |_| (FIXED_HEADER_BYTES + 4 * usize::from(reader.csrc_count()) + 4) as u16),
            // The longest header is 12 + 60 + 4 + 4 x 65,535 bytes; packets are datagrams or GRO segments.
            payload_start: payload_start as u32,
            payload_end: (packet.len() - usize::from(padding_bytes)) as u32,
        })
    }

    /// Where the payload lies, padding excluded. Empty for a padding-only packet.
    #[must_use]
    pub const fn payload(&self) -> Range<usize> {
        self.payload_start as usize..self.payload_end as usize
    }

    /// Bytes of the whole header: fixed part, contributing sources and extension block.
    #[must_use]
    pub const fn header_bytes(&self) -> usize {
        self.payload_start as usize
    }

    /// Where the extension elements lie; empty without an extension.
    #[must_use]
    pub const fn extension(&self) -> Range<usize> {
        if self.extension_start == u16::MAX {
            self.payload_start as usize..self.payload_start as usize
        } else {
            self.extension_start as usize..self.payload_start as usize
        }
    }

    /// The extension elements of `packet`, which is the one this header was parsed from.
    #[must_use]
    pub fn elements<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        Elements::new(self.extension_profile, packet.get(self.extension()).unwrap_or(&[]))
    }
}

/// Length of the header of a packet whose payload may still be encrypted, so its padding count is not looked at.
///
/// # Errors
/// `Truncated` or `Malformed` as [`RtpHeader::parse`].
pub fn header_bytes(packet: &[u8]) -> Result<usize, DropReason> {
    let first = *packet.get(..FIXED_HEADER_BYTES).ok_or(DropReason::Truncated)?.first().unwrap_or(&0);
    if first >> 6 != 2 {
        return Err(DropReason::Malformed);
    }
    let mut bytes = FIXED_HEADER_BYTES + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        match packet.get(bytes..bytes + 4) {
            Some(&[_, _, high, low]) => bytes += 4 + 4 * usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(DropReason::Truncated),
        }
    }
    if bytes > packet.len() { Err(DropReason::Truncated) } else { Ok(bytes) }
}

/// SSRC of a packet of at least the fixed header.
#[must_use]
pub const fn ssrc(packet: &[u8]) -> Option<Ssrc> {
    match *packet {
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => Some(Ssrc(u32::from_be_bytes([a, b, c, d]))),
        _ => None,
    }
}

/// Sequence number of a packet of at least the fixed header.
#[must_use]
pub const fn seq(packet: &[u8]) -> Option<Seq> {
    match *packet {
        [_, _, high, low, ..] => Some(Seq(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

/// What a sent header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderFields {
    /// Synchronisation source.
    pub ssrc: Ssrc,
    /// Sequence number.
    pub seq: Seq,
    /// Media timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub pt: PayloadType,
    /// Whether the payload ends in padding (whose last byte counts it).
    pub padding: bool,
}

/// A buffer of this size holds the header with every extension we negotiate: 12 + 4 + 11 elements of at most 18 bytes = 214.
pub const HEADER_BYTES_MAX: usize = 256;

/// Writes the fixed header and an extension block; no contributing sources. Answers the header's bytes.
///
/// # Errors
/// [`NoSpace`] when `out` is too small.
pub fn write_header(
    fields: &HeaderFields,
    elements: &[Element<'_>],
    out: &mut [u8],
) -> Result<usize, NoSpace> {
    let (fixed, rest) = out.split_first_chunk_mut::<FIXED_HEADER_BYTES>().ok_or(NoSpace)?;
    let block = ext::write_block(elements, rest)?;
    let first = 0x80 | u8::from(fields.padding) << 5 | u8::from(block != 0) << 4;
    let second = u8::from(fields.marker) << 7 | (fields.pt.0 & 0x7f);
    let [s0, s1] = fields.seq.0.to_be_bytes();
    let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
    let [x0, x1, x2, x3] = fields.ssrc.0.to_be_bytes();
    *fixed = [first, second, s0, s1, t0, t1, t2, t3, x0, x1, x2, x3];
    Ok(FIXED_HEADER_BYTES + block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn fields() -> HeaderFields {
        HeaderFields {
            ssrc: Ssrc(0xdead_beef),
            seq: Seq(65_535),
            timestamp: 0x0102_0304,
            marker: true,
            pt: PayloadType(111),
            padding: false,
        }
    }

    fn packet() -> Vec<u8> {
        let mut out = vec![0; 64];
        let elements = [Element { id: 1, value: &[0x85] }, Element { id: 3, value: &[0x12, 0x34] }];
        let bytes = write_header(&fields(), &elements, &mut out).expect("64 bytes are enough");
        out.truncate(bytes);
        out.extend_from_slice(b"payload");
        out
    }

    #[test]
    fn a_written_header_is_read_back() {
        let packet = packet();
        let header = RtpHeader::parse(&packet).expect("we wrote it");
        let fields = fields();
        assert_eq!(
            (header.ssrc, header.seq, header.timestamp, header.marker, header.pt),
            (fields.ssrc, fields.seq, fields.timestamp, fields.marker, fields.pt)
        );
        assert_eq!(&packet[header.payload()], b"payload");
        assert_eq!(header.header_bytes(), 12 + 4 + 8);
        assert_eq!(header_bytes(&packet), Ok(header.header_bytes()));
        assert_eq!(header.elements(&packet).find(3), Some(&[0x12, 0x34][..]));
        assert_eq!(header.padding_bytes, 0);
        assert_eq!((ssrc(&packet), seq(&packet)), (Some(fields.ssrc), Some(fields.seq)));
    }

    #[test]
    fn padding_and_contributing_sources_are_not_payload() {
        let mut packet = vec![0xa2, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 7, 7, 0, 0, 3];
        let header = RtpHeader::parse(&packet).expect("valid");
        assert_eq!((header.csrc_count, header.padding_bytes), (2, 3));
        assert_eq!(&packet[header.payload()], &[7, 7]);
        assert!(header.extension().is_empty());
        assert_eq!(header.elements(&packet).count(), 0);
        *packet.last_mut().expect("not empty") = 5;
        assert!(RtpHeader::parse(&packet).expect("padding only").payload().is_empty());
        for bad in [0, 6] {
            *packet.last_mut().expect("not empty") = bad;
            assert_eq!(RtpHeader::parse(&packet), Err(DropReason::Malformed));
        }
    }

    #[test]
    fn a_packet_cut_at_any_byte_is_refused_or_keeps_its_header() {
        let packet = packet();
        let header = RtpHeader::parse(&packet).expect("valid").header_bytes();
        for length in 0..packet.len() {
            let cut = &packet[..length];
            assert_eq!(RtpHeader::parse(cut).is_ok(), length >= header, "cut at {length}");
            assert_eq!(header_bytes(cut).is_ok(), length >= header, "cut at {length}");
        }
        assert_eq!(RtpHeader::parse(&[0x40; 12]), Err(DropReason::Malformed));
        assert_eq!(header_bytes(&[0x40; 12]), Err(DropReason::Malformed));
    }

    #[test]
    fn a_buffer_too_small_for_the_header_is_refused() {
        let elements = [Element { id: 1, value: &[1, 2, 3] }];
        for length in 0..20 {
            assert_eq!(write_header(&fields(), &elements, &mut vec![0; length]), Err(NoSpace));
        }
        assert_eq!(write_header(&fields(), &elements, &mut [0; 20]), Ok(20));
    }

    #[test]
    fn mutated_packets_parse_to_ranges_inside_themselves() {
        let mut rng = Rng::new(3);
        let original = packet();
        for _ in 0..50_000 {
            let mut packet = original.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(packet.len() as u64) as usize;
                packet[at] = rng.next_u64() as u8;
            }
            packet.truncate(rng.below(packet.len() as u64 + 1) as usize);
            if let Ok(header) = RtpHeader::parse(&packet) {
                assert!(packet.get(header.payload()).is_some());
                assert!(packet.get(header.extension()).is_some());
                assert_eq!(header_bytes(&packet), Ok(header.header_bytes()));
                header.elements(&packet).for_each(|element| assert!(element.id != 0));
            }
        }
    }
}
