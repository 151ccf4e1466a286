//! Data channel establishment messages (RFC 8832 section 5): bytes <-> types.

use crate::base::limits::CHANNEL_LABEL_BYTES_MAX;

const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
const OPEN_HEADER_BYTES: usize = 12;
/// Channel types (RFC 8832 section 8.2.2): the lowest bits say how, the highest says unordered.
const UNORDERED: u8 = 0x80;

/// How much a channel tries (RFC 8832 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reliability {
    /// Until it arrives.
    Reliable,
    /// This many retransmissions.
    Retransmits(u32),
    /// This many milliseconds.
    LifetimeMs(u32),
}

/// A DATA_CHANNEL_OPEN message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Open {
    pub(super) unordered: bool,
    pub(super) reliability: Reliability,
    /// At most [`CHANNEL_LABEL_BYTES_MAX`] bytes are kept.
    pub(super) label: Box<str>,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Open(Open),
    Ack,
}

impl Message {
    /// `None` if it is neither, or shorter than it claims. A label that is not UTF-8 is shown with replacement characters.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            ACK => Some(Self::Ack),
            OPEN => {
                let (header, rest) = bytes.split_first_chunk::<OPEN_HEADER_BYTES>()?;
                let label_bytes = usize::from(u16::from_be_bytes([header[8], header[9]]));
                let protocol_bytes = usize::from(u16::from_be_bytes([header[10], header[11]]));
                if rest.len() < label_bytes + protocol_bytes {
                    return None;
                }
                let value = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let reliability = match header[1] & !UNORDERED {
                    0 => Reliability::Reliable,
                    1 => Reliability::Retransmits(value),
                    2 => Reliability::LifetimeMs(value),
                    _ => return None,
                };
                Some(Self::Open(Open {
                    unordered: header[1] & UNORDERED != 0,
                    reliability,
                    label: shortened(&String::from_utf8_lossy(&rest[..label_bytes])).into(),
                }))
            }
            _ => None,
        }
    }

    /// The message's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(open) => {
                let (kind, value) = match open.reliability {
                    Reliability::Reliable => (0, 0),
                    Reliability::Retransmits(count) => (1, count),
                    Reliability::LifetimeMs(milliseconds) => (2, milliseconds),
                };
                let label = shortened(&open.label).as_bytes();
                let mut bytes = vec![OPEN, kind | if open.unordered { UNORDERED } else { 0 }, 0, 0];
                bytes.extend_from_slice(&value.to_be_bytes());
                bytes.extend_from_slice(&(label.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
                bytes.extend_from_slice(label);
                bytes
            }
        }
    }
}

fn shortened(label: &str) -> &str {
    &label[..label.floor_char_boundary(CHANNEL_LABEL_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens() -> Vec<Message> {
        let mut opens = Vec::new();
        for label in ["", "_reliable", "_lossy", "chat 会議"] {
            for reliability in
                [Reliability::Reliable, Reliability::Retransmits(0), Reliability::LifetimeMs(300)]
            {
                for unordered in [false, true] {
                    opens.push(Message::Open(Open { unordered, reliability, label: label.into() }));
                }
            }
        }
        opens
    }

    #[test]
    fn messages_go_there_and_back() {
        for message in opens().into_iter().chain([Message::Ack]) {
            assert_eq!(Message::parse(&message.to_bytes()), Some(message));
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_refused() {
        for message in opens() {
            let bytes = message.to_bytes();
            for end in 0..bytes.len() {
                assert_eq!(Message::parse(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn what_is_no_establishment_message_is_refused_and_a_long_label_is_cut_at_a_character() {
        assert_eq!(Message::parse(&[3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Message::parse(&[4; 40]), None);
        let mut bytes = vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 90, 0, 0];
        bytes.extend("会".repeat(30).as_bytes());
        let Some(Message::Open(open)) = Message::parse(&bytes) else { panic!("it is an open") };
        assert_eq!(&*open.label, "会".repeat(21));
    }
}
