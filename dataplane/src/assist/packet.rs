//! What an SCTP packet carries, looked at before the library takes it (RFC 9260 section 3).
//!
//! The library keeps state for every stream number that arrives and looks through all of them for each chunk; and it books a message
//! of one byte as one byte, whatever it costs to keep. So both are counted here first.

/// Common header: ports, verification tag, checksum.
const HEADER_BYTES: usize = 12;
/// Type, flags and length of a chunk.
const CHUNK_HEADER_BYTES: usize = 4;
const DATA: u8 = 0;
/// Interleaved data (RFC 8260 section 2.1): the stream stands in the same place.
const I_DATA: u8 = 64;

/// The data of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Survey {
    /// How many chunks carry data.
    pub(super) chunks: u32,
    /// The highest stream they name.
    pub(super) stream_max: Option<u16>,
}

impl Survey {
    /// Looks at every chunk up to the first that is cut or lies about its length; the library refuses the packet for that.
    pub(super) fn of(packet: &[u8]) -> Self {
        let mut survey = Self::default();
        let mut at = HEADER_BYTES;
        while let Some(&[kind, _, high, low]) =
            packet.get(at..).and_then(|rest| rest.first_chunk::<CHUNK_HEADER_BYTES>())
        {
            let bytes = usize::from(u16::from_be_bytes([high, low]));
            if bytes < CHUNK_HEADER_BYTES {
                break;
            }
            if matches!(kind, DATA | I_DATA) {
                // After the header: the transmission sequence number, then the stream.
                let stream = packet.get(at + 8..).and_then(|rest| rest.first_chunk::<2>());
                let Some(stream) = stream else { break };
                survey.chunks += 1;
                survey.stream_max = survey.stream_max.max(Some(u16::from_be_bytes(*stream)));
            }
            at += bytes.next_multiple_of(4);
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: u8, stream: u16, payload: usize) -> Vec<u8> {
        let mut bytes = vec![kind, 3];
        bytes.extend((16 + payload as u16).to_be_bytes());
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(stream.to_be_bytes());
        bytes.resize((16 + payload).next_multiple_of(4), 0);
        bytes
    }

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; HEADER_BYTES], chunks.concat()].concat()
    }

    #[test]
    fn data_of_both_kinds_is_counted_and_the_highest_stream_found() {
        let sack = vec![3, 0, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = packet(&[sack, chunk(DATA, 2, 5), chunk(I_DATA, 700, 9), chunk(DATA, 3, 0)]);
        assert_eq!(Survey::of(&bytes), Survey { chunks: 3, stream_max: Some(700) });
        assert_eq!(Survey::of(&packet(&[])), Survey::default());
    }

    #[test]
    fn a_packet_cut_anywhere_or_with_any_length_field_is_walked_to_an_end() {
        let whole = packet(&[chunk(DATA, 2, 5), chunk(DATA, 9, 9)]);
        for end in 0..whole.len() {
            assert!(Survey::of(&whole[..end]).chunks <= 2);
        }
        for length in 0..=u8::MAX {
            let mut bytes = whole.clone();
            bytes[HEADER_BYTES + 3] = length;
            assert!(Survey::of(&bytes).chunks <= 2 + 1, "length {length}");
        }
    }
}
