//! SRTP and STUN cryptography as pure functions on bytes.
//!
//! Path: the bottom of the packet path. `dataplane::session::srtp` opens each received packet once and seals it once per
//! receiver; `dataplane::session::ice` checks and signs STUN with [`HmacSha1`].
//!
//! Promises:
//! * no allocation, no lock, no I/O, no global state: a key is plain data that holds its own kernel;
//! * the kernel is chosen when a key is built ([`Suite`]); a call dispatches once, never inside a loop;
//! * time depends on lengths, never on keys or content; tags are compared in constant time;
//! * a failed open leaves no plaintext: the buffer is zeroed; keys are zeroed on drop;
//! * no length that the network controls can panic. A wrong `out` length is the caller's bug and asserts.
//!
//! Not here: packet formats, sequence numbers, key derivation and replay windows (`dataplane::session::srtp`), TLS and
//! certificates (`rustls`, `dimpl`).
//!
//! `scalar` is the specification: constant time by construction, never tuned. Every other kernel equals it byte for byte
//! (`tests/differential.rs`).
#![deny(unsafe_code)]

mod cm_sha1;
mod compare;
mod ctr;
mod detect;
mod gcm;
mod hmac;
mod many;
mod scalar;
mod schedule;
mod sha1;
mod text;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use cm_sha1::{CmSha1Key, TagJob};
pub use ctr::AesCtr;
pub use detect::Suite;
pub use gcm::GcmKey;
pub use hmac::HmacSha1;
pub use many::{OpenJob, SealJob, SealKey, open_many, seal_many};

use std::fmt;

/// AES block, and GCM tag, in bytes.
pub const BLOCK_BYTES: usize = 16;

/// The authentication tag did not verify, or the input was too short to hold one. The buffer has been zeroed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTag;

impl fmt::Display for BadTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the authentication tag did not verify")
    }
}

impl std::error::Error for BadTag {}

/// The key is neither 16 bytes (AES-128) nor 32 bytes (AES-256) long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyLength;

impl fmt::Display for KeyLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AES key here is 16 or 32 bytes long")
    }
}

impl std::error::Error for KeyLength {}
