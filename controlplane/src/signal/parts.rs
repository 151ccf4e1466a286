//! How many parts a protobuf message has, counted before it is decoded.
//!
//! An empty message in a list is two bytes on the wire and up to 600 in memory: 4 MiB of them would be more than a gigabyte.
//! Promises: no schema, no allocation; work is bounded by [`PARTS_MAX`], depth by [`DEPTH_MAX`]. What is no protobuf has few parts:
//! the decoder refuses it at the same place.

/// Most fields of a message with all messages in it: 32,768 x 600 B = 20 MB decoded. The state of a client that comes back into
/// the largest meeting has about 12,000.
pub const PARTS_MAX: usize = 32_768;
/// How deep messages are looked into; the protocol's are at most eight deep.
const DEPTH_MAX: usize = 16;

/// Whether a message has no more parts than may be decoded.
#[must_use]
pub fn are_few(message: &[u8]) -> bool {
    let mut left = PARTS_MAX + 1;
    let _ = count(message, DEPTH_MAX, &mut left);
    left > 0
}

/// Takes one off `left` for each field, as far as the bytes are fields.
fn count(mut bytes: &[u8], depth: usize, left: &mut usize) -> Option<()> {
    while !bytes.is_empty() && *left > 0 {
        let (key, rest) = number(bytes)?;
        *left -= 1;
        bytes = match key & 7 {
            0 => number(rest)?.1,
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = number(rest)?;
                let (inner, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if depth > 0 {
                    // Text that is no message stops being one soon.
                    let _ = count(inner, depth - 1, left);
                }
                rest
            }
            // Begin and end of a group: its fields are counted like those around it.
            3 | 4 => rest,
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(())
}

/// A variable-length number and what comes after it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;
    use prost::Message as _;
    use proto::signal_request::Message;

    use super::*;

    fn request(message: Message) -> Vec<u8> {
        proto::SignalRequest { message: Some(message) }.encode_to_vec()
    }

    fn counted(bytes: &[u8]) -> usize {
        let mut left = PARTS_MAX + 1;
        let _ = count(bytes, DEPTH_MAX, &mut left);
        PARTS_MAX + 1 - left
    }

    #[test]
    fn the_largest_messages_of_real_clients_have_few_parts() {
        let sdp = "v=0\r\n".repeat(200_000);
        let description =
            proto::SessionDescription { r#type: "offer".into(), sdp, id: 7, ..Default::default() };
        let offer = request(Message::Offer(description.clone()));
        assert!(counted(&offer) < 10, "text is one part");
        let states = (0..1_000)
            .map(|n| proto::DataChannelReceiveState { publisher_sid: format!("PA_{n}"), last_seq: n });
        let subscription = proto::UpdateSubscription {
            track_sids: (0..1_000).map(|n| format!("TR_{n}")).collect(),
            ..Default::default()
        };
        let back = proto::SyncState {
            answer: Some(description.clone()),
            offer: Some(description),
            subscription: Some(subscription),
            track_sids_disabled: (0..1_000).map(|n| format!("TR_{n}")).collect(),
            datachannel_receive_states: states.collect(),
            ..Default::default()
        };
        let bytes = request(Message::SyncState(back));
        assert!(are_few(&bytes) && counted(&bytes) < PARTS_MAX / 2, "{}", counted(&bytes));
    }

    #[test]
    fn a_message_that_would_be_large_in_memory_is_seen_at_any_depth() {
        let tracks = vec![proto::TrackPublishedResponse::default(); 100_000];
        let wide = proto::SyncState { publish_tracks: tracks, ..Default::default() };
        assert!(!are_few(&request(Message::SyncState(wide))));
        let layers = vec![proto::VideoLayer::default(); 100_000];
        let codec = proto::SimulcastCodec { layers, ..Default::default() };
        let deep = proto::AddTrackRequest { simulcast_codecs: vec![codec], ..Default::default() };
        let bytes = request(Message::AddTrack(deep));
        assert!(!are_few(&bytes));
        // A group in front, which decoders pass over, hides nothing.
        assert!(!are_few(&[&[0xfb, 0x07, 0xfc, 0x07][..], &bytes].concat()));
        assert!(are_few(&[]) && are_few(&[0xff; 100_000]));
    }

    #[test]
    fn any_bytes_give_an_answer() {
        let mut nested = Vec::new();
        for _ in 0..100 {
            let length = [nested.len() as u8 | 0x80, (nested.len() >> 7) as u8];
            nested = [&[0x0a][..], &length, &nested].concat();
        }
        assert_eq!(counted(&nested), DEPTH_MAX + 1, "no deeper than that");
        let bytes = request(Message::Mute(proto::MuteTrackRequest { sid: "TR_x".into(), muted: true }));
        for at in 0..bytes.len() {
            assert!(are_few(&bytes[..at]));
            for value in 0..=u8::MAX {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                assert!(are_few(&wrong));
            }
        }
        assert!(are_few(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]));
    }
}
