//! The join request of protocol v1: the query parameter `join_request` of `/rtc/v1`.
//!
//! base64 (either alphabet) of a `WrappedJoinRequest`, whose content may be gzip'd. Promises: any text gives a request or a typed
//! error; what is inflated and what is decoded is bounded, and a bomb costs no
//! more than a request of that size.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message;
use proto::wrapped_join_request::Compression;

use super::parts;
use super::room::Client;
use crate::sdp::SDP_BYTES_MAX;

/// Largest request taken, inflated, bytes: a description of the largest size, and as much for everything beside it.
pub const JOIN_REQUEST_BYTES_MAX: usize = 2 * SDP_BYTES_MAX;
/// Most tracks a request may announce; the room has a bound of its own.
const TRACKS_MAX: usize = 64;

/// The URL's alphabet; the other one is rewritten to it. Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a join request cannot be read: the client's fault, told to it and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinRequestError {
    /// There is none.
    #[error("the query has no join_request")]
    Missing,
    /// Not base64.
    #[error("join_request is not base64")]
    Base64,
    /// Not a `WrappedJoinRequest`.
    #[error("join_request is not a WrappedJoinRequest")]
    Wrapper,
    /// A compression that is not known here.
    #[error("the compression of join_request is not known here")]
    Compression,
    /// Not gzip (RFC 1952), or cut.
    #[error("join_request does not inflate")]
    Gzip,
    /// More than [`JOIN_REQUEST_BYTES_MAX`].
    #[error("join_request is too long")]
    TooLong,
    /// Of more parts than [`parts::PARTS_MAX`].
    #[error("join_request has too many parts")]
    TooManyParts,
    /// Not a `JoinRequest`.
    #[error("join_request is not a JoinRequest")]
    Malformed,
}

/// What a client says when it connects: what it is, what it continues, and what it would say first.
#[derive(Clone, PartialEq, Debug)]
pub struct Opening {
    /// What it says about itself.
    pub client: Client,
    /// The participant id of a session that it wants to continue.
    pub resume: Option<String>,
    /// Messages that its request stands for, in order.
    pub messages: Vec<Message>,
}

/// Reads a join request.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str) -> Result<Opening, JoinRequestError> {
    decode(text).map(opening)
}

fn decode(text: &str) -> Result<proto::JoinRequest, JoinRequestError> {
    if text.is_empty() {
        return Err(JoinRequestError::Missing);
    }
    let text: Vec<u8> = text
        .bytes()
        .map(|byte| match byte {
            // A plus sign that was not escaped reads as a space.
            b'+' | b' ' => b'-',
            b'/' => b'_',
            other => other,
        })
        .collect();
    let bytes = BASE64.decode(text).map_err(|_| JoinRequestError::Base64)?;
    let wrapped = proto::WrappedJoinRequest::decode(&*bytes).map_err(|_| JoinRequestError::Wrapper)?;
    let request = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) if wrapped.join_request.len() > JOIN_REQUEST_BYTES_MAX => {
            return Err(JoinRequestError::TooLong);
        }
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => inflate(&wrapped.join_request)?,
        Err(_) => return Err(JoinRequestError::Compression),
    };
    if !parts::are_few(&request) {
        return Err(JoinRequestError::TooManyParts);
    }
    proto::JoinRequest::decode(&*request).map_err(|_| JoinRequestError::Malformed)
}

/// Inflates at most one byte more than may be.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, JoinRequestError> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(JOIN_REQUEST_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = flate2::read::GzDecoder::new(bytes).take(limit);
    reader.read_to_end(&mut inflated).map_err(|_| JoinRequestError::Gzip)?;
    if inflated.len() > JOIN_REQUEST_BYTES_MAX { Err(JoinRequestError::TooLong) } else { Ok(inflated) }
}

fn opening(request: proto::JoinRequest) -> Opening {
    let client = Client {
        auto_subscribe: request.connection_settings.as_ref().is_none_or(|settings| settings.auto_subscribe),
        client_protocol: request.client_info.as_ref().map_or(0, |info| info.client_protocol),
        single: true,
    };
    let resume =
        (request.reconnect && !request.participant_sid.is_empty()).then_some(request.participant_sid);
    let mut messages = Vec::new();
    if !request.metadata.is_empty() || !request.participant_attributes.is_empty() {
        messages.push(Message::UpdateMetadata(proto::UpdateParticipantMetadata {
            metadata: request.metadata,
            attributes: request.participant_attributes,
            ..Default::default()
        }));
    }
    messages.extend(request.sync_state.map(Message::SyncState));
    messages.extend(request.add_track_requests.into_iter().take(TRACKS_MAX).map(Message::AddTrack));
    messages.extend(request.publisher_offer.map(Message::Offer));
    Opening { client, resume, messages }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn wrap(compression: i32, join_request: Vec<u8>) -> Vec<u8> {
        proto::WrappedJoinRequest { compression, join_request }.encode_to_vec()
    }

    fn request() -> proto::JoinRequest {
        proto::JoinRequest {
            client_info: Some(proto::ClientInfo { client_protocol: 3, ..Default::default() }),
            connection_settings: Some(proto::ConnectionSettings {
                auto_subscribe: true,
                ..Default::default()
            }),
            metadata: "there".into(),
            add_track_requests: vec![proto::AddTrackRequest { cid: "camera".into(), ..Default::default() }],
            publisher_offer: Some(proto::SessionDescription {
                id: 1,
                sdp: "v=0".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_request_reads_the_same_in_every_wrapping() {
        let bytes = request().encode_to_vec();
        let plain = wrap(0, bytes.clone());
        let zipped = wrap(1, gzip(&bytes));
        let expected = opening(request());
        for wrapped in [plain, zipped] {
            for engine in [&STANDARD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                let text = engine.encode(&wrapped);
                assert_eq!(read(&text).as_ref(), Ok(&expected));
                assert_eq!(read(&text.replace('+', " ")).as_ref(), Ok(&expected));
            }
        }
        assert_eq!(expected.client, Client { auto_subscribe: true, client_protocol: 3, single: true });
        let kinds: Vec<bool> = expected.messages.iter().map(|m| matches!(m, Message::Offer(_))).collect();
        assert_eq!(kinds, [false, false, true], "the offer comes after what it carries was announced");
    }

    #[test]
    fn a_resumption_names_its_session() {
        let again =
            proto::JoinRequest { reconnect: true, participant_sid: "PA_x".into(), ..Default::default() };
        assert_eq!(opening(again.clone()).resume.as_deref(), Some("PA_x"));
        assert_eq!(opening(proto::JoinRequest { reconnect: false, ..again.clone() }).resume, None);
        assert_eq!(opening(proto::JoinRequest { participant_sid: String::new(), ..again }).resume, None);
    }

    #[test]
    fn a_bomb_is_refused_after_the_bytes_that_may_be() {
        // 100 MB of zeros are 100 kB here.
        let bomb = gzip(&vec![0; 100_000_000]);
        assert!(bomb.len() < 200_000);
        assert_eq!(read(&URL_SAFE.encode(wrap(1, bomb))), Err(JoinRequestError::TooLong));
        let plain = vec![0; JOIN_REQUEST_BYTES_MAX + 1];
        assert_eq!(read(&URL_SAFE.encode(wrap(0, plain))), Err(JoinRequestError::TooLong));
    }

    #[test]
    fn a_request_of_countless_parts_is_refused_before_it_is_decoded() {
        // Two kilobytes in a URL that would be half a gigabyte in memory.
        let tracks = vec![proto::TrackPublishedResponse::default(); 900_000];
        let state = proto::SyncState { publish_tracks: tracks, ..Default::default() };
        let request = proto::JoinRequest { sync_state: Some(state), ..Default::default() };
        let bytes = gzip(&request.encode_to_vec());
        assert!(bytes.len() < 10_000, "{}", bytes.len());
        assert_eq!(read(&URL_SAFE.encode(wrap(1, bytes))), Err(JoinRequestError::TooManyParts));
    }

    #[test]
    fn garbage_is_told_apart() {
        let encoded = |bytes: &[u8]| URL_SAFE.encode(bytes);
        assert_eq!(read(""), Err(JoinRequestError::Missing));
        assert_eq!(read("%%%"), Err(JoinRequestError::Base64));
        assert_eq!(read(&encoded(&[0xff; 20])), Err(JoinRequestError::Wrapper));
        assert_eq!(read(&encoded(&wrap(7, vec![]))), Err(JoinRequestError::Compression));
        assert_eq!(read(&encoded(&wrap(1, vec![1, 2, 3]))), Err(JoinRequestError::Gzip));
        assert_eq!(read(&encoded(&wrap(0, vec![0x0a, 0x7f, 1]))), Err(JoinRequestError::Malformed));
        assert!(read(&encoded(&wrap(0, vec![0xfa, 0x07, 0x00]))).is_ok(), "an unknown field is passed over");
    }

    #[test]
    fn a_request_cut_anywhere_never_panics() {
        let text = URL_SAFE_NO_PAD.encode(wrap(1, gzip(&request().encode_to_vec())));
        for end in 0..text.len() {
            assert!(read(&text[..end]).is_err(), "{end}");
        }
    }
}
