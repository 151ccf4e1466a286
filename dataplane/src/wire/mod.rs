//! Wire formats: bytes to types and back, with no memory of the past.
//!
//! Path: `engine` classifies with [`demux`]; `session` and `room` read and write the rest.
//! Promises: pure functions, no allocation, and no input from the network can panic any of them.
//! Not here: keys and MACs (a caller hands in its HMAC), state of streams (`session`), policy (`room`).

pub mod av1;
pub mod demux;
pub mod ext;
pub mod h264;
pub mod payload;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod vp8;
pub mod vp9;

/// The output buffer is too small for what was to be written; nothing in it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSpace;
