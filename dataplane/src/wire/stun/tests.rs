use super::write::ErrorCode;
use super::*;
use crate::base::rng::Rng;

/// HMAC-SHA1 of an independent library.
fn hmac(password: &'static [u8]) -> impl Fn(&[&[u8]]) -> [u8; 20] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    move |parts| {
        let mut context = aws_lc_rs::hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
    }
}

const VECTOR_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1, with the errata-free bytes of the RFC.
const VECTOR_REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
    0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
    0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
    0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
    0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
    0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 section 2.2.
const VECTOR_RESPONSE_V4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
    0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00,
    0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53,
    0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 section 2.3.
const VECTOR_RESPONSE_V6: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
    0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1,
    0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e,
    0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41, 0x80,
    0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

fn request() -> BindingRequest<'static> {
    BindingRequest {
        transaction: TransactionId(*b"transaction!"),
        remote_ufrag: b"0100000007deadbeef",
        local_ufrag: b"abcd",
        priority: 0x6e00_01ff,
        role: Role::Controlling(42),
        use_candidate: true,
    }
}

fn written(request: &BindingRequest<'_>) -> Vec<u8> {
    let mut out = vec![0xff; 256];
    let bytes = write_request(request, &hmac(VECTOR_PASSWORD), &mut out).expect("256 bytes are enough");
    out.truncate(bytes);
    out
}

/// Puts an attribute in front of the others and makes integrity and fingerprint right again.
fn with_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let original = written(&request());
    let body = &original[HEADER_BYTES..original.len() - INTEGRITY_BYTES - FINGERPRINT_BYTES];
    let mut message = original[..HEADER_BYTES].to_vec();
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
    message.extend_from_slice(body);
    seal(message)
}

fn seal(mut message: Vec<u8>) -> Vec<u8> {
    let set_length = |message: &mut Vec<u8>, more: usize| {
        let length = (message.len() + more - HEADER_BYTES) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    };
    set_length(&mut message, INTEGRITY_BYTES);
    let tag = hmac(VECTOR_PASSWORD)(&[&message]);
    message.extend_from_slice(&[0, 8, 0, 20]);
    message.extend_from_slice(&tag);
    set_length(&mut message, FINGERPRINT_BYTES);
    let crc = crc32(&message) ^ FINGERPRINT_XOR;
    message.extend_from_slice(&[0x80, 0x28, 0, 4]);
    message.extend_from_slice(&crc.to_be_bytes());
    message
}

#[test]
fn the_request_of_rfc_5769_authenticates() {
    let message = StunMessage::parse(&VECTOR_REQUEST).expect("a valid vector");
    assert!(message.is_binding_request());
    assert_eq!(message.ufrags(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate);
    assert!(message.unknown_attributes().is_empty());
    assert!(message.authenticate(hmac(VECTOR_PASSWORD)).is_ok());
    assert_eq!(message.authenticate(hmac(b"another password")), Err(DropReason::StunBadIntegrity));
}

#[test]
fn the_responses_of_rfc_5769_authenticate() {
    for (vector, address) in [
        (&VECTOR_RESPONSE_V4[..], "192.0.2.1:32853"),
        (&VECTOR_RESPONSE_V6[..], "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = StunMessage::parse(vector).expect("a valid vector");
        assert_eq!(message.class, Class::Success);
        assert!(message.is_binding_response());
        assert_eq!(message.mapped.map(|mapped| mapped.to_string()), Some(address.to_owned()));
        assert!(message.authenticate(hmac(VECTOR_PASSWORD)).is_ok());
    }
}

#[test]
fn a_written_request_is_read_back_here_and_by_an_independent_parser() {
    let bytes = written(&request());
    let message = StunMessage::parse(&bytes).expect("we wrote it");
    assert_eq!(message.ufrags(), Some((&b"0100000007deadbeef"[..], &b"abcd"[..])));
    assert_eq!((message.priority, message.role), (Some(0x6e00_01ff), Some(Role::Controlling(42))));
    assert!(message.use_candidate);
    assert!(message.authenticate(hmac(VECTOR_PASSWORD)).is_ok());

    let theirs = is::stun::StunMessage::parse(&bytes).expect("well-formed");
    assert_eq!(theirs.split_username(), Some(("0100000007deadbeef", "abcd")));
    assert!(theirs.use_candidate());
    assert_eq!(theirs.ice_controlling(), Some(42));
    assert!(theirs.verify(VECTOR_PASSWORD, |_, parts| hmac(VECTOR_PASSWORD)(parts)));
}

#[test]
fn a_success_response_tells_the_mapped_address() {
    let bytes = written(&request());
    let request = StunMessage::parse(&bytes)
        .and_then(|message| message.authenticate(hmac(VECTOR_PASSWORD)))
        .expect("we wrote it");
    for (address, length) in [("192.0.2.7:4000", 64), ("[2001:db8::1]:65535", 76)] {
        let address = address.parse().expect("an address");
        let mut out = [0xff; 128];
        let bytes = write_success(&request, address, &hmac(VECTOR_PASSWORD), &mut out).expect("fits");
        assert_eq!(bytes, length);
        let response = StunMessage::parse(&out[..bytes]).expect("we wrote it");
        assert_eq!((response.class, response.mapped), (Class::Success, Some(address)));
        assert_eq!(response.transaction, request.message().transaction);
        assert!(response.authenticate(hmac(VECTOR_PASSWORD)).is_ok());
        let theirs = is::stun::StunMessage::parse(&out[..bytes]).expect("well-formed");
        assert_eq!(theirs.mapped_address(), Some(address));
        for short in 0..bytes {
            assert!(write_success(&request, address, &hmac(VECTOR_PASSWORD), &mut out[..short]).is_err());
        }
    }
}

#[test]
fn an_error_response_names_the_code_and_the_unknown_attributes() {
    let bytes = with_attribute(0x7abc, b"what?");
    let request = StunMessage::parse(&bytes)
        .and_then(|message| message.authenticate(hmac(VECTOR_PASSWORD)))
        .expect("well-formed and authentic");
    assert_eq!(request.message().unknown_attributes(), [0x7abc]);
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::Unauthenticated,
        ErrorCode::UnknownAttribute,
        ErrorCode::RoleConflict,
    ] {
        let mut out = [0xff; 128];
        let bytes = write_error(&request, code, &hmac(VECTOR_PASSWORD), &mut out).expect("fits");
        let response = StunMessage::parse(&out[..bytes]).expect("we wrote it");
        assert_eq!((response.class, response.error_code), (Class::Error, Some(code as u16)));
        assert!(response.authenticate(hmac(VECTOR_PASSWORD)).is_ok());
        let listed = out[..bytes].windows(6).any(|window| window == [0, 0x0a, 0, 2, 0x7a, 0xbc]);
        assert_eq!(listed, code == ErrorCode::UnknownAttribute);
    }
}

#[test]
fn attributes_after_integrity_do_not_count() {
    let mut message = written(&request());
    message.truncate(message.len() - FINGERPRINT_BYTES);
    // A second priority that integrity does not cover.
    message.extend_from_slice(&[0, 0x24, 0, 4, 1, 2, 3, 4]);
    let length = (message.len() + FINGERPRINT_BYTES - HEADER_BYTES) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32(&message) ^ FINGERPRINT_XOR;
    message.extend_from_slice(&[0x80, 0x28, 0, 4]);
    message.extend_from_slice(&crc.to_be_bytes());
    let parsed = StunMessage::parse(&message).expect("well-formed");
    assert_eq!(parsed.priority, Some(0x6e00_01ff));
    assert!(parsed.authenticate(hmac(VECTOR_PASSWORD)).is_ok());
}

#[test]
fn a_message_without_fingerprint_or_integrity_is_refused() {
    let full = written(&request());
    let mut without_fingerprint = full[..full.len() - FINGERPRINT_BYTES].to_vec();
    let length = (without_fingerprint.len() - HEADER_BYTES) as u16;
    without_fingerprint[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(StunMessage::parse(&without_fingerprint), Err(DropReason::StunBadIntegrity));

    let mut bare = full[..HEADER_BYTES].to_vec();
    bare[2..4].copy_from_slice(&8_u16.to_be_bytes());
    let crc = crc32(&bare) ^ FINGERPRINT_XOR;
    bare.extend_from_slice(&[0x80, 0x28, 0, 4]);
    bare.extend_from_slice(&crc.to_be_bytes());
    let message = StunMessage::parse(&bare).expect("well-formed");
    assert_eq!(message.authenticate(hmac(VECTOR_PASSWORD)), Err(DropReason::StunBadIntegrity));
}

#[test]
fn a_message_cut_at_any_byte_is_refused() {
    for vector in [&VECTOR_REQUEST[..], &VECTOR_RESPONSE_V4, &VECTOR_RESPONSE_V6] {
        for length in 0..vector.len() {
            assert!(StunMessage::parse(&vector[..length]).is_err(), "cut at {length}");
        }
    }
}

#[test]
fn one_changed_byte_is_always_noticed() {
    for at in 0..VECTOR_REQUEST.len() {
        for change in [1, 0x80, 0xff] {
            let mut message = VECTOR_REQUEST;
            message[at] ^= change;
            let authentic =
                StunMessage::parse(&message).and_then(|message| message.authenticate(hmac(VECTOR_PASSWORD)));
            assert!(authentic.is_err(), "byte {at} changed");
        }
    }
}

#[test]
fn wrong_lengths_of_known_attributes_are_refused() {
    for (kind, bytes) in [
        (attribute::PRIORITY, 3),
        (attribute::USE_CANDIDATE, 1),
        (attribute::ICE_CONTROLLED, 4),
        (attribute::ICE_CONTROLLING, 12),
        (attribute::XOR_MAPPED_ADDRESS, 7),
        (attribute::ERROR_CODE, 3),
        (attribute::USERNAME, 513),
    ] {
        let message = with_attribute(kind, &vec![1; bytes]);
        assert_eq!(StunMessage::parse(&message), Err(DropReason::Malformed), "attribute {kind:#06x}");
    }
}

#[test]
fn mutated_messages_with_a_right_fingerprint_never_panic() {
    let mut rng = Rng::new(7);
    for round in 0..20_000 {
        let mut message = VECTOR_REQUEST[..VECTOR_REQUEST.len() - FINGERPRINT_BYTES].to_vec();
        for _ in 0..=rng.below(5) {
            let at = rng.below(message.len() as u64) as usize;
            message[at] = rng.next_u64() as u8;
        }
        message.truncate((HEADER_BYTES + rng.below(80) as usize) & !3);
        message[..8].copy_from_slice(&VECTOR_REQUEST[..8]);
        let length = (message.len() + FINGERPRINT_BYTES - HEADER_BYTES) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32(&message) ^ FINGERPRINT_XOR;
        message.extend_from_slice(&[0x80, 0x28, 0, 4]);
        message.extend_from_slice(&crc.to_be_bytes());
        if let Ok(message) = StunMessage::parse(&message) {
            assert!(message.authenticate(|_| [0; 20]).is_err(), "round {round}");
        }
    }
}

#[test]
fn classes_and_methods_are_interleaved_as_the_rfc_draws_them() {
    for (message_type, expected) in [
        (0x0001, (Class::Request, 1)),
        (0x0011, (Class::Indication, 1)),
        (0x0101, (Class::Success, 1)),
        (0x0111, (Class::Error, 1)),
        (0x3eef, (Class::Request, 0xfff)),
    ] {
        assert_eq!((class(message_type), method(message_type)), expected, "{message_type:#06x}");
    }
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
