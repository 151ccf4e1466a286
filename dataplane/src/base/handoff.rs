//! The border between a packet core and the assist threads: handshakes and data channels as plain data.
//!
//! Plain data so that the assist side can later be a process that outlives an upgrade. Requests go out of the engine, replies
//! come back in; both travel over bounded lanes.

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::ids::{MeetingId, PeerId};

/// SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SrtpProfile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl SrtpProfile {
    /// Master key bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Master salt bytes.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}

/// Master key and salt of one direction, in arrays large enough for every profile.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    /// Master key; the first `key_bytes()` count.
    pub key: [u8; 32],
    /// Master salt; the first `salt_bytes()` count.
    pub salt: [u8; 14],
}

/// What a handshake yields: keys for both directions.
#[derive(Clone)]
pub struct SrtpKeys {
    /// The negotiated profile.
    pub profile: SrtpProfile,
    /// What the peer protects with: we open with it.
    pub remote: MasterKey,
    /// What we protect with.
    pub local: MasterKey,
}

/// DTLS protocol version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DtlsVersion {
    /// DTLS 1.2 (RFC 6347).
    V12,
    /// DTLS 1.3 (RFC 9147).
    V13,
}

/// SHA-256 fingerprint of a certificate, `a=fingerprint` (RFC 8122).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint(pub [u8; 32]);

/// From a packet core to its assist thread.
pub enum AssistRequest {
    /// A peer exists; expect its ClientHello.
    Open {
        /// The peer.
        peer: PeerId,
        /// Its meeting: all peers of one are with the same thread.
        meeting: MeetingId,
        /// The version to speak.
        version: DtlsVersion,
    },
    /// The certificate the signalling promised. Keys are released only when it matches.
    Expect {
        /// The peer.
        peer: PeerId,
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// A received DTLS datagram.
    Datagram {
        /// The peer.
        peer: PeerId,
        /// The whole datagram.
        bytes: Box<[u8]>,
    },
    /// Open a data channel to the peer with this label once the SCTP association stands (RFC 8832).
    OpenChannel {
        /// The peer.
        peer: PeerId,
        /// The channel's label.
        label: &'static str,
        /// Ordered and reliable, or unordered without retransmission.
        reliable: bool,
    },
    /// Send a message on an open data channel. A channel that may lose messages loses this one when too much waits for the peer.
    SendMessage {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
        /// Its bytes, shared with all its other receivers.
        bytes: Bytes,
        /// It was said by a peer: [`AssistRequest::MessagePassed`] follows its last copy. Otherwise nobody is slowed down by what it meets.
        answers: bool,
    },
    /// A message of this peer has been routed: its sender may say more.
    MessagePassed {
        /// Who sent it.
        peer: PeerId,
        /// Its bytes as received.
        bytes: u32,
        /// How many receivers it had.
        copies: u32,
    },
    /// The peer is gone: forget it (after a close_notify if it is still there to hear it).
    Close {
        /// The peer.
        peer: PeerId,
    },
}

impl AssistRequest {
    /// Whom it is about.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        match self {
            Self::Open { peer, .. }
            | Self::Expect { peer, .. }
            | Self::Datagram { peer, .. }
            | Self::OpenChannel { peer, .. }
            | Self::SendMessage { peer, .. }
            | Self::MessagePassed { peer, .. }
            | Self::Close { peer } => *peer,
        }
    }
}

/// From an assist thread to a packet core.
pub enum AssistReply {
    /// Send this DTLS datagram to the peer.
    Datagram {
        /// The peer.
        peer: PeerId,
        /// The whole datagram.
        bytes: Box<[u8]>,
    },
    /// The handshake is done and the certificate is the promised one.
    Keys {
        /// The peer.
        peer: PeerId,
        /// The version that was spoken.
        version: DtlsVersion,
        /// SRTP keys.
        keys: Box<SrtpKeys>,
    },
    /// A data channel is open.
    ChannelOpen {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
        /// The channel's label, at most 64 bytes are kept.
        label: Box<str>,
        /// Whether we opened it.
        ours: bool,
    },
    /// The peer closed a data channel.
    ChannelClosed {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
    },
    /// All data channels of a peer are over; its media goes on.
    ChannelsEnded {
        /// The peer.
        peer: PeerId,
        /// Why.
        end: ChannelsEnd,
    },
    /// Data-channel messages that were dropped since the last time.
    ChannelDrops(ChannelDrops),
    /// A message on a data channel.
    Message {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
        /// Binary or UTF-8 payload.
        bytes: Box<[u8]>,
    },
    /// The association failed or was closed by the peer.
    Closed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: AssistClose,
    },
}

/// Why an association ended on the assist side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssistClose {
    /// The peer sent close_notify.
    CloseNotify,
    /// The handshake failed or timed out.
    HandshakeFailed,
    /// The certificate is not the one signalled.
    FingerprintMismatch,
    /// No SRTP profile in common.
    NoSrtpProfile,
}

/// Why the data channels of a peer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelsEnd {
    /// The peer ended its SCTP association.
    ByPeer,
    /// More waited for it than a peer may have waiting.
    SlowReceiver,
    /// It used stream numbers that were not negotiated.
    Violation,
}

/// Data-channel messages that were dropped, by reason: see the `Channel…` variants of [`super::drops::DropReason`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelDrops {
    /// Of peers over their rate.
    pub throttled: u32,
    /// For peers whose queue is full.
    pub full: u32,
    /// For channels that are not open.
    pub closed: u32,
    /// Not taken.
    pub refused: u32,
}
