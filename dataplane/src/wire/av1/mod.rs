//! AV1 aggregation header (AV1 RTP specification section 4.4).
//!
//! Path: read for every received AV1 packet. The dependency descriptor, which also serves encrypted frames and layers, is in
//! [`dependency`].

pub mod dependency;

use crate::base::drops::DropReason;

/// The byte in front of the OBU elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AggregationHeader {
    /// The first element continues one of the packet before (Z bit).
    pub continues: bool,
    /// The last element goes on in the next packet (Y bit).
    pub continued: bool,
    /// Number of elements if it is at most three, else 0: each has its size in front (W field).
    pub elements: u8,
    /// The packet begins a coded video sequence: a keyframe with its sequence header (N bit).
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Reads the first byte of a payload.
    ///
    /// # Errors
    /// `Truncated` when nothing follows the header; `Malformed` when a new sequence continues an old element.
    pub const fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let [byte, _, ..] = *payload else { return Err(DropReason::Truncated) };
        let header = Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: byte >> 4 & 3,
            new_sequence: byte & 0x08 != 0,
        };
        if header.continues && header.new_sequence { Err(DropReason::Malformed) } else { Ok(header) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_where_the_specification_draws_them() {
        assert_eq!(
            AggregationHeader::parse(&[0x68, 0x0a]),
            Ok(AggregationHeader { continues: false, continued: true, elements: 2, new_sequence: true })
        );
        assert_eq!(
            AggregationHeader::parse(&[0x90, 0x0a]),
            Ok(AggregationHeader { continues: true, continued: false, elements: 1, new_sequence: false })
        );
        assert_eq!(AggregationHeader::parse(&[0x88, 0x0a]), Err(DropReason::Malformed));
        assert_eq!(AggregationHeader::parse(&[0x08]), Err(DropReason::Truncated));
        assert_eq!(AggregationHeader::parse(&[]), Err(DropReason::Truncated));
    }
}
