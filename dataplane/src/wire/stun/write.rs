//! STUN messages written into a lent buffer: answers to authenticated requests, and requests for the test client.
//!
//! Promises: a response needs an [`Authenticated`] request, which only a right MESSAGE-INTEGRITY gives.

use std::net::{IpAddr, SocketAddr};

use super::{
    Authenticated, Class, FINGERPRINT_BYTES, FINGERPRINT_XOR, HEADER_BYTES, INTEGRITY_BYTES, MAGIC_COOKIE,
    METHOD_BINDING, Role, TransactionId, attribute, crc32, xor,
};
use crate::wire::NoSpace;

/// HMAC-SHA1 with the key of the message's receiver of the request, over parts in order.
type Hmac<'f> = &'f dyn Fn(&[&[u8]]) -> [u8; 20];

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum ErrorCode {
    /// A mandatory attribute is missing or contradicts another.
    BadRequest = 400,
    /// The username does not fit this peer.
    Unauthenticated = 401,
    /// A comprehension-required attribute is not understood.
    UnknownAttribute = 420,
    /// Both ends claim the same role (RFC 8445 section 7.3.1.1).
    RoleConflict = 487,
}

impl ErrorCode {
    const fn reason(self) -> &'static [u8] {
        match self {
            Self::BadRequest => b"Bad Request",
            Self::Unauthenticated => b"Unauthenticated",
            Self::UnknownAttribute => b"Unknown Attribute",
            Self::RoleConflict => b"Role Conflict",
        }
    }
}

/// Writes the success response: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT. Answers its bytes, 64 or 76.
///
/// # Errors
/// [`NoSpace`] when `out` is too small.
pub fn write_success(
    request: &Authenticated<'_>,
    mapped: SocketAddr,
    hmac: &dyn Fn(&[&[u8]]) -> [u8; 20],
    out: &mut [u8],
) -> Result<usize, NoSpace> {
    let transaction = request.message().transaction;
    let mut writer = Writer::new(Class::Success, transaction, out)?;
    let port = mapped.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let [high, low] = port.to_be_bytes();
    match mapped.ip() {
        IpAddr::V4(ip) => {
            let mut octets = ip.octets();
            xor(&mut octets, &transaction);
            writer.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1, high, low], &octets])?;
        }
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            xor(&mut octets, &transaction);
            writer.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2, high, low], &octets])?;
        }
    }
    writer.finish(hmac)
}

/// Writes an error response; with [`ErrorCode::UnknownAttribute`] it lists the request's unknown attributes.
///
/// # Errors
/// [`NoSpace`] when `out` is too small.
pub fn write_error(
    request: &Authenticated<'_>,
    code: ErrorCode,
    hmac: &dyn Fn(&[&[u8]]) -> [u8; 20],
    out: &mut [u8],
) -> Result<usize, NoSpace> {
    let mut writer = Writer::new(Class::Error, request.message().transaction, out)?;
    let number = code as u16;
    let head = [0, 0, (number / 100) as u8, (number % 100) as u8];
    writer.attribute(attribute::ERROR_CODE, &[&head, code.reason()])?;
    if code == ErrorCode::UnknownAttribute {
        let unknown = request.message().unknown_attributes();
        let mut list = [0; 2 * super::UNKNOWN_MAX];
        for (slot, kind) in list.chunks_exact_mut(2).zip(unknown) {
            slot.copy_from_slice(&kind.to_be_bytes());
        }
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &[&list[..2 * unknown.len()]])?;
    }
    writer.finish(hmac)
}

/// A connectivity check to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindingRequest<'a> {
    /// Transaction, new for each request.
    pub transaction: TransactionId,
    /// Ufrag of the one who is asked.
    pub remote_ufrag: &'a [u8],
    /// Ufrag of the one who asks.
    pub local_ufrag: &'a [u8],
    /// Priority of the candidate pair's local side.
    pub priority: u32,
    /// Role and tie-breaker.
    pub role: Role,
    /// Nominates the pair.
    pub use_candidate: bool,
}

/// Writes a binding request; `hmac` is keyed with the password of the one who is asked. Answers its bytes.
///
/// # Errors
/// [`NoSpace`] when `out` is too small.
pub fn write_request(
    request: &BindingRequest<'_>,
    hmac: &dyn Fn(&[&[u8]]) -> [u8; 20],
    out: &mut [u8],
) -> Result<usize, NoSpace> {
    let mut writer = Writer::new(Class::Request, request.transaction, out)?;
    writer.attribute(attribute::USERNAME, &[request.remote_ufrag, b":", request.local_ufrag])?;
    writer.attribute(attribute::PRIORITY, &[&request.priority.to_be_bytes()])?;
    match request.role {
        Role::Controlling(tie) => {
            writer.attribute(attribute::ICE_CONTROLLING, &[&tie.to_be_bytes()])?;
        }
        Role::Controlled(tie) => writer.attribute(attribute::ICE_CONTROLLED, &[&tie.to_be_bytes()])?,
    }
    if request.use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[])?;
    }
    writer.finish(hmac)
}

struct Writer<'b> {
    out: &'b mut [u8],
    used: usize,
}

impl<'b> Writer<'b> {
    fn new(class: Class, transaction: TransactionId, out: &'b mut [u8]) -> Result<Self, NoSpace> {
        let header = out.get_mut(..HEADER_BYTES).ok_or(NoSpace)?;
        let class_bits: u16 = match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        header[..2].copy_from_slice(&(class_bits | METHOD_BINDING).to_be_bytes());
        header[4..8].copy_from_slice(&MAGIC_COOKIE);
        header[8..].copy_from_slice(&transaction.0);
        Ok(Self { out, used: HEADER_BYTES })
    }

    /// One attribute whose value is the parts in order, padded to four bytes.
    fn attribute(&mut self, kind: u16, parts: &[&[u8]]) -> Result<(), NoSpace> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let bytes = 4 + length.next_multiple_of(4);
        let slot = self.out.get_mut(self.used..self.used + bytes).ok_or(NoSpace)?;
        slot.fill(0);
        slot[..2].copy_from_slice(&kind.to_be_bytes());
        slot[2..4].copy_from_slice(&u16::try_from(length).map_err(|_| NoSpace)?.to_be_bytes());
        let mut at = 4;
        for part in parts {
            slot[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.used += bytes;
        Ok(())
    }

    /// MESSAGE-INTEGRITY over all before it, then FINGERPRINT over all before that.
    fn finish(mut self, hmac: Hmac<'_>) -> Result<usize, NoSpace> {
        self.set_length(self.used + INTEGRITY_BYTES)?;
        let tag = hmac(&[&self.out[..self.used]]);
        self.attribute(attribute::MESSAGE_INTEGRITY, &[&tag])?;
        self.set_length(self.used + FINGERPRINT_BYTES)?;
        let fingerprint = crc32(&self.out[..self.used]) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &[&fingerprint.to_be_bytes()])?;
        Ok(self.used)
    }

    fn set_length(&mut self, end: usize) -> Result<(), NoSpace> {
        let length = u16::try_from(end - HEADER_BYTES).map_err(|_| NoSpace)?;
        self.out[2..4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}
