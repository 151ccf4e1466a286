//! STUN messages as ICE uses them (RFC 8489, RFC 8445): parse, authenticate.
//!
//! Path: connectivity checks and consent, a few per second and peer. The caller hands in HMAC-SHA1 keyed with the short-term
//! password, so that no key and no crypto is here.
//! Promises: a message without a right FINGERPRINT is refused; only an [`Authenticated`] request can be answered, so nobody
//! is amplified towards a stranger. Own parser: the library's formats strings for its errors, does not check FINGERPRINT and
//! cannot name unknown attributes.
//! Not here: what a check means (`session::ice`). Writing is in [`write`].

pub mod write;

use std::net::{IpAddr, SocketAddr};

use crate::base::drops::DropReason;
pub use write::{BindingRequest, ErrorCode, write_error, write_request, write_success};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 20;
/// Bytes 4 to 7 of every message.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// What the CRC-32 of FINGERPRINT is XORed with: "STUN".
pub const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// MESSAGE-INTEGRITY: attribute header and HMAC-SHA1.
pub(crate) const INTEGRITY_BYTES: usize = 24;
/// FINGERPRINT: attribute header and CRC-32.
pub(crate) const FINGERPRINT_BYTES: usize = 8;
/// Unknown attributes that an error response can list.
pub const UNKNOWN_MAX: usize = 4;
/// Longest USERNAME (RFC 8489 section 14.3).
const USERNAME_BYTES_MAX: usize = 512;

pub(crate) mod attribute {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// Method of connectivity checks; no other is spoken.
pub(crate) const METHOD_BINDING: u16 = 0x0001;

/// Class of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// Answers a request.
    Success,
    /// Refuses a request.
    Error,
}

/// Identifies request and response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

/// ICE role that the sender claims, with its tie-breaker (RFC 8445 section 7.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// A parsed message with a right FINGERPRINT. Nothing in it is authenticated yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StunMessage<'a> {
    /// Class.
    pub class: Class,
    /// Method; 1 is binding.
    pub method: u16,
    /// Transaction.
    pub transaction: TransactionId,
    /// USERNAME: receiver's ufrag, colon, sender's ufrag.
    pub username: Option<&'a [u8]>,
    /// PRIORITY.
    pub priority: Option<u32>,
    /// USE-CANDIDATE is there.
    pub use_candidate: bool,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<Role>,
    /// XOR-MAPPED-ADDRESS of a response.
    pub mapped: Option<SocketAddr>,
    /// ERROR-CODE of an error response.
    pub error_code: Option<u16>,
    /// Comprehension-required attributes that are not understood, the first [`UNKNOWN_MAX`].
    unknown: [u16; UNKNOWN_MAX],
    unknown_count: u8,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins.
    integrity_at: Option<usize>,
}

impl<'a> StunMessage<'a> {
    /// Parses a datagram and checks its FINGERPRINT.
    ///
    /// # Errors
    /// `Truncated` or `Malformed` by structure; `StunBadIntegrity` when FINGERPRINT is missing, wrong or not the last attribute.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(DropReason::Truncated)?;
        let message_type = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length > body.len() {
            return Err(DropReason::Truncated);
        }
        if message_type >> 14 != 0
            || !length.is_multiple_of(4)
            || length != body.len()
            || header[4..8] != MAGIC_COOKIE
        {
            return Err(DropReason::Malformed);
        }
        let mut transaction = TransactionId([0; 12]);
        transaction.0.copy_from_slice(&header[8..]);
        let mut message = Self {
            class: class(message_type),
            method: method(message_type),
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped: None,
            error_code: None,
            unknown: [0; UNKNOWN_MAX],
            unknown_count: 0,
            bytes,
            integrity_at: None,
        };
        let mut at = HEADER_BYTES;
        let mut fingerprint = false;
        while let Some(&[type_high, type_low, length_high, length_low]) = bytes.get(at..at + 4) {
            // FINGERPRINT is the last attribute (RFC 8489 section 14.7).
            if fingerprint {
                return Err(DropReason::StunBadIntegrity);
            }
            let kind = u16::from_be_bytes([type_high, type_low]);
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let value = bytes.get(at + 4..at + 4 + length).ok_or(DropReason::Malformed)?;
            if kind == attribute::FINGERPRINT {
                let expected = (crc32(&bytes[..at]) ^ FINGERPRINT_XOR).to_be_bytes();
                if value != expected {
                    return Err(DropReason::StunBadIntegrity);
                }
                fingerprint = true;
            } else if message.integrity_at.is_none() {
                // What follows MESSAGE-INTEGRITY is not covered by it and ignored (RFC 8489 section 14.5).
                message.attribute(kind, value, at)?;
            }
            at += 4 + length.next_multiple_of(4);
        }
        if at != bytes.len() {
            return Err(DropReason::Malformed);
        }
        if fingerprint { Ok(message) } else { Err(DropReason::StunBadIntegrity) }
    }

    /// Takes in one attribute; of one that repeats, the first counts (RFC 8489 section 14).
    fn attribute(&mut self, kind: u16, value: &'a [u8], at: usize) -> Result<(), DropReason> {
        match kind {
            attribute::USERNAME => {
                if value.len() > USERNAME_BYTES_MAX {
                    return Err(DropReason::Malformed);
                }
                self.username.get_or_insert(value);
            }
            attribute::PRIORITY => {
                self.priority.get_or_insert(u32::from_be_bytes(exactly(value)?));
            }
            attribute::USE_CANDIDATE => {
                exactly::<0>(value)?;
                self.use_candidate = true;
            }
            attribute::ICE_CONTROLLING => {
                self.role.get_or_insert(Role::Controlling(u64::from_be_bytes(exactly(value)?)));
            }
            attribute::ICE_CONTROLLED => {
                self.role.get_or_insert(Role::Controlled(u64::from_be_bytes(exactly(value)?)));
            }
            attribute::MESSAGE_INTEGRITY => {
                exactly::<20>(value)?;
                self.integrity_at = Some(at);
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = xor_address(value, &self.transaction).ok_or(DropReason::Malformed)?;
                self.mapped.get_or_insert(address);
            }
            attribute::ERROR_CODE => match value {
                [_, _, class, number, ..] if (3..=6).contains(&(class & 7)) && *number < 100 => {
                    self.error_code.get_or_insert(u16::from(class & 7) * 100 + u16::from(*number));
                }
                _ => return Err(DropReason::Malformed),
            },
            attribute::MAPPED_ADDRESS
            | attribute::REALM
            | attribute::NONCE
            | attribute::UNKNOWN_ATTRIBUTES => {}
            // 0x0000 to 0x7fff must be understood (RFC 8489 section 14).
            0..0x8000 => {
                if let Some(slot) = self.unknown.get_mut(usize::from(self.unknown_count)) {
                    *slot = kind;
                    self.unknown_count += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this is a binding request.
    #[must_use]
    pub fn is_binding_request(&self) -> bool {
        self.class == Class::Request && self.method == METHOD_BINDING
    }

    /// Whether this is a success or error response to a binding request.
    #[must_use]
    pub fn is_binding_response(&self) -> bool {
        matches!(self.class, Class::Success | Class::Error) && self.method == METHOD_BINDING
    }

    /// The two halves of USERNAME: the receiver's ufrag and the sender's.
    #[must_use]
    pub fn ufrags(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        Some((&username[..colon], &username[colon + 1..]))
    }

    /// Comprehension-required attributes that are not understood: a request with any is answered with error 420.
    #[must_use]
    pub fn unknown_attributes(&self) -> &[u16] {
        &self.unknown[..usize::from(self.unknown_count)]
    }

    /// Verifies MESSAGE-INTEGRITY. `hmac` is HMAC-SHA1 keyed with the short-term password, over parts in order.
    ///
    /// # Errors
    /// `StunBadIntegrity` when it is missing or wrong. Cost: one HMAC; the comparison takes the same time for every tag.
    pub fn authenticate(
        self,
        hmac: impl FnOnce(&[&[u8]]) -> [u8; 20],
    ) -> Result<Authenticated<'a>, DropReason> {
        let at = self.integrity_at.ok_or(DropReason::StunBadIntegrity)?;
        // The length the sender hashed counts up to and with MESSAGE-INTEGRITY, not what follows.
        let length = ((at + INTEGRITY_BYTES - HEADER_BYTES) as u16).to_be_bytes();
        let expected = hmac(&[&self.bytes[..2], &length, &self.bytes[4..at]]);
        let received = &self.bytes[at + 4..at + INTEGRITY_BYTES];
        let difference = expected
            .iter()
            .zip(received)
            .fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
        if difference == 0 { Ok(Authenticated(self)) } else { Err(DropReason::StunBadIntegrity) }
    }
}

/// A message whose sender knows the password: proof that it may be answered and believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated<'a>(StunMessage<'a>);

impl<'a> Authenticated<'a> {
    /// The message.
    #[must_use]
    pub const fn message(&self) -> &StunMessage<'a> {
        &self.0
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], DropReason> {
    value.try_into().map_err(|_| DropReason::Malformed)
}

/// Class and method are interleaved: M11-M7 C1 M6-M4 C0 M3-M0 (RFC 8489 section 5).
const fn class(message_type: u16) -> Class {
    match (message_type >> 7 & 2) | (message_type >> 4 & 1) {
        0 => Class::Request,
        1 => Class::Indication,
        2 => Class::Success,
        _ => Class::Error,
    }
}

const fn method(message_type: u16) -> u16 {
    message_type & 0xf | (message_type >> 1 & 0x70) | (message_type >> 2 & 0xf80)
}

/// Reads XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
fn xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, port_high, port_low], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([port_high ^ MAGIC_COOKIE[0], port_low ^ MAGIC_COOKIE[1]]);
    let ip = match (family, address.len()) {
        (1, 4) => {
            let mut octets: [u8; 4] = address.try_into().ok()?;
            xor(&mut octets, transaction);
            IpAddr::from(octets)
        }
        (2, 16) => {
            let mut octets: [u8; 16] = address.try_into().ok()?;
            xor(&mut octets, transaction);
            IpAddr::from(octets)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// XORs an address with the magic cookie and the transaction.
pub(crate) fn xor(octets: &mut [u8], transaction: &TransactionId) {
    for (octet, mask) in octets.iter_mut().zip(MAGIC_COOKIE.iter().chain(&transaction.0)) {
        *octet ^= mask;
    }
}

/// CRC-32 as in ITU V.42 (reflected, polynomial 0x04c11db7). FINGERPRINT is this over all before it, XORed with [`FINGERPRINT_XOR`].
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 0 { value >> 1 } else { 0xedb8_8320 ^ (value >> 1) };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests;
