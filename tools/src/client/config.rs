//! What a client is built from and what can become of it.

use dataplane::base::handoff::{DtlsVersion, Fingerprint, SrtpKeys, SrtpProfile};
use dataplane::command::IceCredentials;
use kernels::Suite;

use super::dtls::{DtlsError, Identity};

/// How SRTP keys come about.
pub enum Security {
    /// A DTLS handshake as the client.
    Dtls {
        /// Our certificate.
        identity: Identity,
        /// The version to speak.
        version: DtlsVersion,
        /// The only profile to offer; `None` offers all.
        profile: Option<SrtpProfile>,
    },
    /// Keys that both sides were given: the simulator.
    Keys(Box<SrtpKeys>),
}

/// What a client is built from.
pub struct ClientConfig {
    /// Stamped into what it sends, and what it expects to hear.
    pub room: u64,
    /// Stamped into what it sends.
    pub publisher: u32,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// Where keys come from.
    pub security: Security,
    /// Kernels for SRTP and STUN.
    pub suite: Suite,
    /// Seed of everything random that is no secret.
    pub seed: u64,
}

/// What the server is told about the path to us, beside receiver reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Feedback {
    /// When each packet came: browsers.
    #[default]
    TransportWide,
    /// What the path is believed to carry: older clients.
    Remb,
    /// Nothing.
    ReportsOnly,
}

/// The server's side of the transport, as its description says.
#[derive(Clone)]
pub struct Remote {
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// Its certificate; `None` takes any.
    pub fingerprint: Option<Fingerprint>,
}

/// How far the association is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientState {
    /// No description of the server yet.
    New,
    /// Connectivity checks are unanswered.
    Checking,
    /// A path is there, keys are not.
    Handshaking,
    /// Media flows.
    Ready,
    /// It is over.
    Failed(ClientError),
}

/// Why an association is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// No authenticated answer for 30 s.
    ConsentExpired,
    /// DTLS failed.
    Dtls(DtlsError),
    /// The driver closed it.
    Closed,
}
