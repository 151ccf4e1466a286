//! One connection of a participant to the packet plane.

use dataplane::base::handoff::Fingerprint;
use dataplane::base::ids::PeerId;
use dataplane::command::IceCredentials;

/// Which of the two connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Media from the client; the client offers.
    Publisher,
    /// Media to the client; we offer.
    Subscriber,
    /// Both directions on one connection (protocol v1); the client offers.
    Both,
}

/// The client's side of one connection as last described.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its ICE username fragment.
    pub ufrag: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
}

/// Our end of one connection.
pub struct Peer {
    /// Its number on the packet plane.
    pub id: PeerId,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// Number of the session in descriptions.
    pub session: u64,
    /// Number of the last description.
    pub version: u64,
    /// The client's side, once described.
    pub remote: Option<Remote>,
    /// Whether media can flow.
    pub ready: bool,
}
