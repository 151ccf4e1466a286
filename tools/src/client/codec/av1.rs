//! An AV1 payload around a stamp: aggregation header (AV1 RTP specification section 4.4), then the stamp as one OBU element.
//!
//! Promises: N is set on the first packet of a coded video sequence, Z and Y tell which packets continue a frame. Layers are
//! the dependency descriptor's ([`super::dependency`]).

use super::Descriptor;
use crate::client::stamp::{Stamp, StampError};

/// Bytes of the aggregation header.
pub const HEADER_BYTES: usize = 1;

/// Fills all of `payload`.
pub(super) fn write(stamp: &Stamp, payload: &mut [u8]) {
    let continues = stamp.packet != 0;
    let continued = stamp.packet + 1 != stamp.packet_count;
    let new_sequence = !continues && stamp.keyframe && stamp.spatial == 0;
    // One element without a size in front (W is 1).
    payload[0] = u8::from(continues) << 7 | u8::from(continued) << 6 | 1 << 4 | u8::from(new_sequence) << 3;
    stamp.write(&mut payload[HEADER_BYTES..]);
}

/// Reads the aggregation header.
pub(super) fn describe(payload: &[u8]) -> Result<Descriptor, StampError> {
    let [header, _, ..] = *payload else { return Err(StampError::Missing) };
    Ok(Descriptor {
        start: header & 0x80 == 0,
        end: Some(header & 0x40 == 0),
        keyframe_start: header & 0x08 != 0,
        bytes: HEADER_BYTES,
        ..Descriptor::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::{VideoCodec, read};
    use super::*;
    use dataplane::wire::av1::AggregationHeader;

    #[test]
    fn the_forwarder_reads_what_is_written() {
        for (packet, keyframe, spatial) in
            [(0, true, 0), (0, true, 1), (0, false, 0), (1, true, 0), (2, false, 2)]
        {
            let stamp = Stamp { packet, packet_count: 3, keyframe, spatial, ..Stamp::default() };
            let mut payload = vec![0; VideoCodec::Av1.payload_bytes_min() + 5];
            write(&stamp, &mut payload);
            let header = AggregationHeader::parse(&payload).expect("valid");
            assert_eq!((header.continues, header.continued, header.elements), (packet != 0, packet != 2, 1));
            assert_eq!(header.new_sequence, packet == 0 && keyframe && spatial == 0);
            let descriptor = describe(&payload).expect("valid");
            assert_eq!(read(VideoCodec::Av1, &descriptor, &payload), Ok(stamp));
            assert!(describe(&payload[..1]).is_err());
        }
    }
}
