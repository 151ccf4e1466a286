//! What the header of a stream's packets reads like: payload types, extensions and identifiers as the receiver negotiated them.
//!
//! Place: built once per subscription (or change of the track); used for every packet released.
//! Copied from the publisher's packet: marker, audio level, dependency descriptor, video orientation, playout delay, capture time
//! and content type. Written by us: mid until the receiver has reported, transport-wide sequence number, absolute send time.
//! Most packets have nothing to copy and go to receivers who have reported: their header is made once, and what is each packet's own
//! is put in ([`UsualHeader`]).

use crate::base::ids::{Mid, PayloadType, Seq, Ssrc};
use crate::base::media::{Codec, Extension, ExtensionMap, Format};
use crate::base::time::Micros;
use crate::wire::NoSpace;
use crate::wire::ext::{AbsSendTime, Element, transport_cc_value, write_block};
use crate::wire::rtp::{FIXED_HEADER_BYTES, HEADER_BYTES_MAX, HeaderFields, RtpHeader, write_header};

/// Formats of one media section that are mapped.
pub const FORMATS_MAX: usize = 16;

/// Extensions whose value passes through.
const PASSED: [Extension; 6] = [
    Extension::AudioLevel,
    Extension::DependencyDescriptor,
    Extension::VideoOrientation,
    Extension::PlayoutDelay,
    Extension::AbsCaptureTime,
    Extension::VideoContentType,
];

/// Whether an element of a publisher with these extensions passes through to receivers that negotiated it.
#[must_use]
pub fn is_passed(published: &ExtensionMap, id: u8) -> bool {
    published.extension(id).is_some_and(|extension| PASSED.contains(&extension))
}

/// Those and the three we write.
const ELEMENTS_MAX: usize = PASSED.len() + 3;

/// How one of the publisher's formats is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The publisher's payload type.
    from: u8,
    /// The receiver's.
    pub pt: PayloadType,
    /// The receiver's for retransmissions.
    pub rtx: Option<PayloadType>,
    /// The payload is redundant audio and the receiver takes plain Opus: only the primary block goes out.
    pub primary_only: bool,
}

/// The header of packets that have nothing of the publisher's to copy: made once for a stream, its block and its send time once for
/// those that leave together, and what is each packet's own with the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsualHeader {
    bytes: [u8; USUAL_BYTES_MAX],
    length: u8,
    /// Where the values lie; 0 where the extension lacks.
    abs_send_time_at: u8,
    transport_cc_at: u8,
}

/// The fixed header; then profile and length, two elements in the two-byte form with three and two bytes of value, padded.
pub const USUAL_BYTES_MAX: usize = FIXED_HEADER_BYTES + 16;

/// Marker bit, beside the payload type.
const MARKER: u8 = 0x80;

impl UsualHeader {
    fn new(abs_send_time: u8, transport_cc: u8) -> Self {
        let mut elements = [Element { id: 0, value: &[] }; 2];
        let mut count = 0;
        for (id, value) in [(abs_send_time, &[0_u8; 3][..]), (transport_cc, &[0; 2])] {
            if id != 0 {
                elements[count] = Element { id, value };
                count += 1;
            }
        }
        let mut bytes = [0; USUAL_BYTES_MAX];
        // It fits, by the constant's arithmetic.
        let block = write_block(&elements[..count], &mut bytes[FIXED_HEADER_BYTES..]).unwrap_or(0);
        bytes[0] = 0x80 | u8::from(block != 0) << 4;
        let head = if bytes[FIXED_HEADER_BYTES] == 0xbe { 1 } else { 2 };
        let mut at = FIXED_HEADER_BYTES as u8 + 4 + head;
        let mut place = |id, value_bytes| {
            let here = if id == 0 { 0 } else { at };
            at += if id == 0 { 0 } else { value_bytes + head };
            here
        };
        let (abs_send_time_at, transport_cc_at) = (place(abs_send_time, 3), place(transport_cc, 2));
        Self { bytes, length: (FIXED_HEADER_BYTES + block) as u8, abs_send_time_at, transport_cc_at }
    }

    /// The header of packets of `ssrc` that leave now.
    #[inline]
    #[must_use]
    pub fn leaving(&self, ssrc: Ssrc, now: Micros) -> Self {
        let mut header = *self;
        header.bytes[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
        if self.abs_send_time_at != 0
            && let Some(slot) = header.bytes.get_mut(usize::from(self.abs_send_time_at)..)
            && let Some(slot) = slot.first_chunk_mut()
        {
            *slot = AbsSendTime::at(now).to_value();
        }
        header
    }

    /// Bytes it takes.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length as usize
    }

    /// Writes one packet's; what lies behind [`Self::length`] in `out` is not the header's.
    #[inline]
    pub fn write(&self, own: &Own, out: &mut [u8; USUAL_BYTES_MAX]) {
        *out = self.bytes;
        out[1] = own.pt.0 & !MARKER | if own.marker { MARKER } else { 0 };
        out[2..4].copy_from_slice(&own.seq.0.to_be_bytes());
        out[4..8].copy_from_slice(&own.timestamp.to_be_bytes());
        if self.transport_cc_at != 0
            && let Some(slot) = out.get_mut(usize::from(self.transport_cc_at)..)
            && let Some(slot) = slot.first_chunk_mut()
        {
            *slot = transport_cc_value(own.transport_seq);
        }
    }
}

/// What a usual header says of one packet.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub pt: PayloadType,
    /// Sequence number.
    pub seq: Seq,
    /// Timestamp.
    pub timestamp: u32,
    /// Transport-wide number.
    pub transport_seq: Seq,
}

/// Header of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    formats: [Option<Mapped>; FORMATS_MAX],
    /// Publisher's identifier and receiver's, 0 if either lacks the extension.
    passed: [(u8, u8); PASSED.len()],
    transport_cc: u8,
    abs_send_time: u8,
    mid: u8,
    mid_value: Mid,
    usual: UsualHeader,
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Which SSRC, media or retransmission.
    pub ssrc: Ssrc,
    /// Sequence number.
    pub seq: Seq,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload type.
    pub pt: PayloadType,
    /// What follows the header is padding.
    pub is_padding: bool,
    /// It ends a picture at this receiver, whatever the publisher's marker says.
    pub ends_picture: bool,
    /// When it leaves.
    pub now: Micros,
    /// Transport-wide number of this packet.
    pub transport_seq: Seq,
    /// The receiver has not reported yet: tell it the mid.
    pub with_mid: bool,
    /// The same packet may be sent again under the same number: write nothing that would differ then.
    pub repeatable: bool,
}

impl Template {
    /// The header of a stream from `published` to `received` parameters.
    #[must_use]
    pub fn new(
        published: (&[Format], &ExtensionMap),
        received: (&[Format], &ExtensionMap),
        mid: Mid,
    ) -> Self {
        let mut formats = [None; FORMATS_MAX];
        let mapped = published.0.iter().filter_map(|format| map_format(format, received.0));
        formats.iter_mut().zip(mapped).for_each(|(slot, mapped)| *slot = Some(mapped));
        let id = |extension| received.1.id(extension).unwrap_or(0);
        let (transport_cc, abs_send_time) = (id(Extension::TransportCc), id(Extension::AbsSendTime));
        Self {
            formats,
            passed: PASSED.map(|extension| (published.1.id(extension).unwrap_or(0), id(extension))),
            transport_cc,
            abs_send_time,
            usual: UsualHeader::new(abs_send_time, transport_cc),
            mid: id(Extension::Mid),
            mid_value: mid,
        }
    }

    /// How a payload type of the publisher is written; `None` when the receiver cannot take it.
    #[inline]
    #[must_use]
    pub fn format(&self, pt: PayloadType) -> Option<Mapped> {
        self.formats.iter().flatten().find(|mapped| mapped.from == pt.0).copied()
    }

    /// A payload type of the receiver for retransmissions.
    #[must_use]
    pub fn rtx(&self) -> Option<PayloadType> {
        self.formats.iter().flatten().find_map(|mapped| mapped.rtx)
    }

    /// The header of packets that need not tell the receiver their mid and have nothing to copy.
    #[inline]
    #[must_use]
    pub const fn usual(&self) -> &UsualHeader {
        &self.usual
    }

    /// Whether the receiver knows an extension for the mid.
    #[inline]
    #[must_use]
    pub const fn has_mid(&self) -> bool {
        self.mid != 0
    }

    /// Whether packets carry a transport-wide number.
    #[must_use]
    pub const fn has_transport_cc(&self) -> bool {
        self.transport_cc != 0
    }

    /// Writes the header for a packet whose own header is `header`; answers its bytes.
    ///
    /// # Errors
    /// [`NoSpace`] when `out` is too small.
    pub fn write(
        &self,
        header: &RtpHeader,
        packet: &[u8],
        sent: &Sent,
        out: &mut [u8; HEADER_BYTES_MAX],
    ) -> Result<usize, NoSpace> {
        let fields = HeaderFields {
            ssrc: sent.ssrc,
            seq: sent.seq,
            timestamp: sent.timestamp,
            marker: header.marker || sent.ends_picture,
            pt: sent.pt,
            padding: sent.is_padding,
        };
        let transport = transport_cc_value(sent.transport_seq);
        let time = AbsSendTime::at(sent.now).to_value();
        let mut elements = [Element { id: 0, value: &[] }; ELEMENTS_MAX];
        let mut count = 0;
        let mut put = |id, value| {
            elements[count] = Element { id, value };
            count += 1;
        };
        if self.mid != 0 && (sent.with_mid || sent.repeatable) {
            put(self.mid, self.mid_value.as_bytes());
        }
        if self.abs_send_time != 0 && !sent.repeatable {
            put(self.abs_send_time, &time);
        }
        if self.transport_cc != 0 && !sent.repeatable {
            put(self.transport_cc, &transport);
        }
        let mut taken = 0_u8;
        for element in header.elements(packet) {
            let found = self.passed.iter().position(|&(from, to)| from == element.id && to != 0);
            if let Some(index) = found.filter(|index| taken & 1 << index == 0) {
                taken |= 1 << index;
                put(self.passed[index].1, element.value);
            }
        }
        write_header(&fields, &elements[..count], out)
    }
}

/// Whether two formats carry the same bitstream. Levels of H.264 may differ: the sender keeps to what it negotiated with us.
fn same_codec(a: Codec, b: Codec) -> bool {
    match (a, b) {
        (
            Codec::H264 { profile_level_id: a, packetization_mode: a_mode },
            Codec::H264 { profile_level_id: b, packetization_mode: b_mode },
        ) => a_mode == b_mode && a >> 16 == b >> 16,
        _ => a == b,
    }
}

fn map_format(published: &Format, received: &[Format]) -> Option<Mapped> {
    let exact = received.iter().find(|format| format.codec == published.codec);
    let found = exact.or_else(|| received.iter().find(|format| same_codec(format.codec, published.codec)));
    let mapped = |format: &Format, primary_only| Mapped {
        from: published.pt,
        pt: PayloadType(format.pt),
        rtx: format.rtx_pt.map(PayloadType),
        primary_only,
    };
    match found {
        Some(format) => Some(mapped(format, false)),
        None if published.codec == Codec::Red => {
            received.iter().find(|format| format.codec == Codec::Opus).map(|format| mapped(format, true))
        }
        None => None,
    }
}

/// The primary block of a redundant payload (RFC 2198 section 3): the last one. `None` when the block headers do not add up.
#[must_use]
pub fn red_primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut at, mut redundant) = (0, 0);
    while let Some(&[first, _, high, low]) = payload.get(at..at + 4).filter(|block| block[0] & 0x80 != 0) {
        let _ = first;
        redundant += usize::from(u16::from_be_bytes([high & 3, low]));
        at += 4;
    }
    let last = payload.get(at)?;
    if last & 0x80 != 0 {
        return None;
    }
    payload.get(at + 1 + redundant..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(codec: Codec, pt: u8) -> Format {
        Format { codec, pt, rtx_pt: None, nack: true, pli: true }
    }

    #[test]
    fn extensions_are_renumbered_written_or_left_out() {
        let (mut from, mut to) = (ExtensionMap::default(), ExtensionMap::default());
        from.set(Extension::AudioLevel, 1);
        from.set(Extension::TransportCc, 3);
        from.set(Extension::Mid, 4);
        from.set(Extension::AbsCaptureTime, 9);
        to.set(Extension::AudioLevel, 7);
        to.set(Extension::TransportCc, 5);
        to.set(Extension::AbsSendTime, 2);
        to.set(Extension::Mid, 6);
        let opus = [format(Codec::Opus, 111)];
        let other = [format(Codec::Opus, 96)];
        let template = Template::new((&opus, &from), (&other, &to), Mid::new(b"a1").expect("short"));
        let mut packet = [0; 128];
        let fields = HeaderFields {
            ssrc: Ssrc(1),
            seq: Seq(2),
            timestamp: 3,
            marker: true,
            pt: PayloadType(111),
            padding: false,
        };
        let elements = [
            Element { id: 1, value: &[0x85] },
            Element { id: 3, value: &[9, 9] },
            Element { id: 4, value: b"0" },
            Element { id: 9, value: &[1, 2, 3, 4, 5, 6, 7, 8] },
            Element { id: 1, value: &[0x11] },
        ];
        let length = write_header(&fields, &elements, &mut packet).expect("fits");
        let packet = &packet[..length];
        let header = RtpHeader::parse(packet).expect("we wrote it");
        let mapped = template.format(header.pt).expect("both speak Opus");
        let mut sent = Sent {
            ssrc: Ssrc(77),
            seq: Seq(1000),
            timestamp: 5_000,
            pt: mapped.pt,
            is_padding: false,
            ends_picture: false,
            now: Micros(500_000),
            transport_seq: Seq(0x0102),
            with_mid: true,
            repeatable: false,
        };
        let mut out = [0; HEADER_BYTES_MAX];
        let length = template.write(&header, packet, &sent, &mut out).expect("fits");
        let read = RtpHeader::parse(&out[..length]).expect("we wrote it");
        assert_eq!((read.ssrc, read.seq, read.timestamp, read.marker), (Ssrc(77), Seq(1000), 5_000, true));
        assert_eq!(read.pt, PayloadType(96));
        let elements = read.elements(&out[..length]);
        assert_eq!(elements.find(7), Some(&[0x85][..]));
        assert_eq!(elements.find(5), Some(&[1, 2][..]));
        assert_eq!(elements.find(6), Some(&b"a1"[..]));
        assert_eq!(elements.find(2), Some(&AbsSendTime::at(Micros(500_000)).to_value()[..]));
        assert_eq!(elements.count(), 4);
        sent.with_mid = false;
        let length = template.write(&header, packet, &sent, &mut out).expect("fits");
        assert_eq!(RtpHeader::parse(&out[..length]).expect("ours").elements(&out[..length]).find(6), None);
    }

    #[test]
    fn a_usual_header_reads_as_one_that_is_written_anew() {
        let formats = [format(Codec::Vp8, 96)];
        let mut packet = [0; 64];
        let fields = HeaderFields {
            ssrc: Ssrc(1),
            seq: Seq(2),
            timestamp: 3,
            marker: true,
            pt: PayloadType(96),
            padding: false,
        };
        let length = write_header(&fields, &[Element { id: 7, value: &[1, 2] }], &mut packet).expect("fits");
        let header = RtpHeader::parse(&packet[..length]).expect("we wrote it");
        // Absent, the ends of the one-byte form, and identifiers that need the other form.
        for (time, transport) in [0, 1, 14, 15, 255].into_iter().flat_map(|a| [0, 2, 13, 16].map(|b| (a, b)))
        {
            let mut received = ExtensionMap::default();
            received.set(Extension::AbsSendTime, time);
            received.set(Extension::TransportCc, transport);
            let nothing = ExtensionMap::default();
            let template = Template::new((&formats, &nothing), (&formats, &received), Mid::default());
            let sent = Sent {
                ssrc: Ssrc(77),
                seq: Seq(1_000),
                timestamp: 5_000,
                pt: PayloadType(97),
                is_padding: false,
                ends_picture: false,
                now: Micros(123_456_789),
                transport_seq: Seq(0xfedc),
                with_mid: true,
                repeatable: false,
            };
            let own = Own {
                marker: header.marker,
                pt: sent.pt,
                seq: sent.seq,
                timestamp: sent.timestamp,
                transport_seq: sent.transport_seq,
            };
            // What was there before must not show.
            let (mut usual, mut anew) = ([0xaa; USUAL_BYTES_MAX], [0x55; HEADER_BYTES_MAX]);
            let leaving = template.usual().leaving(sent.ssrc, sent.now);
            leaving.write(&own, &mut usual);
            let bytes = template.write(&header, &packet[..length], &sent, &mut anew).expect("fits");
            assert_eq!(usual[..leaving.length()], anew[..bytes], "identifiers {time} and {transport}");
        }
    }

    #[test]
    fn formats_map_to_equal_codecs_and_redundant_audio_to_its_primary_block() {
        let h264 = |profile_level_id| Codec::H264 { profile_level_id, packetization_mode: 1 };
        let published = [format(h264(0x42_e01f), 102), format(Codec::Red, 63), format(Codec::Opus, 111)];
        let received = [format(h264(0x64_001f), 120), format(h264(0x42_e034), 121), format(Codec::Opus, 9)];
        let extensions = ExtensionMap::default();
        let template = Template::new((&published, &extensions), (&received, &extensions), Mid::default());
        assert_eq!(template.format(PayloadType(102)).map(|mapped| mapped.pt), Some(PayloadType(121)));
        let red = template.format(PayloadType(63)).expect("its primary block is Opus");
        assert!(red.primary_only && red.pt == PayloadType(9));
        assert_eq!(template.format(PayloadType(96)), None);
    }

    #[test]
    fn the_primary_block_is_what_follows_the_redundant_ones() {
        // One redundant block of 2 bytes, then the primary.
        assert_eq!(red_primary(&[0x80 | 111, 0x0f, 0x00, 2, 111, 1, 2, 3, 4, 5]), Some(&[3, 4, 5][..]));
        assert_eq!(red_primary(&[111, 7]), Some(&[7][..]));
        for bad in [&[][..], &[0x80 | 111], &[0x80 | 111, 0, 0, 9, 111, 1]] {
            assert_eq!(red_primary(bad), None);
        }
    }
}
