//! Signalling of synthetic participants: the LiveKit client protocol, v0 and v1, and its session descriptions.
//!
//! Place: between `http` (which gives a session token) and `client` (which moves the media). [`Participant`] is sans-IO;
//! [`drive`] gives it a WebSocket and sockets.
//! Not here: anything about meetings.

pub mod description;
pub mod drive;
pub mod participant;
mod single;

pub use participant::{Leg, Participant, ParticipantConfig};
