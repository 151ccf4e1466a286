//! Session descriptions (RFC 8866, RFC 8829) as far as an ICE-lite forwarder needs them.
//!
//! `description` reads what a client wrote into typed media sections; `answer` writes answers to publishers; `offer` writes
//! offers to subscribers; `play` writes answers to players; `fragment` reads and writes pieces about ICE alone; `table` holds the
//! payload types and extension numbers that our own offers use.
//!
//! Promises: any text gives a value or a typed error, never a panic; every list has a bound; what is written is ASCII lines
//! built from typed values, so that nothing a client sent can break out of its line.
//! Not here: when to offer (`signal::negotiation`), which track goes to which section (`signal::sections`).

pub mod answer;
pub mod attributes;
pub mod description;
pub mod fragment;
pub mod lines;
pub mod offer;
pub mod play;
pub mod table;

/// Longest description taken, bytes: an answer with [`SECTIONS_MAX`] sections of about 2 KiB.
pub const SDP_BYTES_MAX: usize = 1024 * 1024;
/// Most media sections of one description: 250 participants with camera and microphone.
pub const SECTIONS_MAX: usize = 512;
/// Most formats kept of one section; browsers list about 40.
pub const FORMATS_MAX: usize = 64;
/// Most SSRCs kept of one section: three layers with retransmissions, twice.
pub const SSRCS_MAX: usize = 12;
/// Most attributes of one section; Chromium writes about 120 for video with simulcast.
pub const ATTRIBUTES_MAX: usize = 512;
/// Longest format parameters kept, bytes.
pub const FMTP_BYTES_MAX: usize = 256;
/// Longest user fragment or password (RFC 8839 section 5.4), bytes.
pub const ICE_BYTES_MAX: usize = 256;

/// Why a description was refused: the client's fault, told to it and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`SDP_BYTES_MAX`].
    #[error("the description is too long")]
    TooLong,
    /// Not the grammar of RFC 8866.
    #[error("the description does not parse")]
    Syntax,
    /// More than [`SECTIONS_MAX`] media sections, or none.
    #[error("the number of media sections is out of bounds")]
    SectionCount,
    /// More than [`ATTRIBUTES_MAX`] attributes in one section.
    #[error("a media section has too many attributes")]
    AttributeCount,
    /// A section without `a=mid`, with one that is too long, or with one used twice.
    #[error("a media section has no usable a=mid")]
    Mid,
    /// No usable `a=ice-ufrag` and `a=ice-pwd`.
    #[error("no usable ICE credentials")]
    Ice,
    /// No usable `a=fingerprint:sha-256`.
    #[error("no SHA-256 certificate fingerprint")]
    Fingerprint,
    /// An `a=setup` that leaves us no server role.
    #[error("a=setup leaves no DTLS server role to this side")]
    Setup,
    /// The answer's sections are not the offer's.
    #[error("the answer does not fit the offer")]
    Mismatch,
}
