//! The border between the planes: `Command` in, `Report` out, plain data over bounded lanes.
//!
//! Promises: no SDP, JSON, user or rule about meetings is in here; no socket, packet or key either. Order of commands to one
//! core is the order of their effects. A command about something already gone is ignored.

use bytes::Bytes;

use crate::base::handoff::{AssistClose, ChannelsEnd, DtlsVersion, Fingerprint, SrtpProfile};
use crate::base::ids::{MeetingId, Mid, ParticipantId, PeerId, Rid, Ssrc, StreamId, TrackId};
use crate::base::media::{Content, ExtensionMap, Format, MediaKind};
use crate::base::reason::Reason;

/// ICE username fragment and password (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Username fragment; ours come from [`crate::base::ids::local_ufrag`].
    pub ufrag: String,
    /// Password, at least 22 characters.
    pub pwd: String,
}

/// A new association on this core.
pub struct OpenPeer {
    /// Its number, never used before.
    pub peer: PeerId,
    /// The meeting it belongs to; created by its first peer, gone with its last.
    pub meeting: MeetingId,
    /// Whose it is: both associations of a v0 participant name the same.
    pub participant: ParticipantId,
    /// Our credentials.
    pub local: IceCredentials,
    /// The DTLS version to speak.
    pub dtls: DtlsVersion,
    /// Data channels we open once the association stands: label and whether reliable.
    pub channels: &'static [(&'static str, bool)],
}

/// What the answer or offer of the peer said about its transport.
pub struct RemotePeer {
    /// The peer.
    pub peer: PeerId,
    /// Its ICE credentials: the second half of the STUN username.
    pub ufrag: String,
    /// Its certificate.
    pub fingerprint: Fingerprint,
}

/// One layer whose SSRC the SDP named (`a=ssrc`, `a=ssrc-group:FID`); otherwise it is learned from mid and rid on first sight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignalledSsrc {
    /// The media SSRC.
    pub ssrc: Ssrc,
    /// Its retransmission SSRC (RFC 4588).
    pub rtx: Option<Ssrc>,
    /// Its layer, when the SDP ties them.
    pub rid: Option<Rid>,
}

/// A track that a peer publishes.
pub struct Publish {
    /// The track.
    pub track: TrackId,
    /// Who sends it.
    pub peer: PeerId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows, for video.
    pub content: Content,
    /// Its media section.
    pub mid: Mid,
    /// Negotiated formats.
    pub formats: Vec<Format>,
    /// Negotiated header extensions.
    pub extensions: ExtensionMap,
    /// SSRCs the SDP named; may be empty.
    pub ssrcs: Vec<SignalledSsrc>,
    /// Simulcast layers from lowest to highest; empty without simulcast.
    pub rids: Vec<Rid>,
}

/// A track as sent to a subscriber.
pub struct Subscribe {
    /// The stream.
    pub stream: StreamId,
    /// Who receives it.
    pub peer: PeerId,
    /// What is sent.
    pub track: TrackId,
    /// Its media section at the receiver.
    pub mid: Mid,
    /// The SSRC the receiver sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions the receiver sees.
    pub rtx: Option<Ssrc>,
    /// Formats the receiver takes; a codec equal to the publisher's names the payload type to write.
    pub formats: Vec<Format>,
    /// Header extensions the receiver takes.
    pub extensions: ExtensionMap,
}

/// A stream that roams: it is bound to no track, shows what [`Retarget`] names, one track after the other, and outlives them. Its
/// receiver sees one SSRC whose sequence numbers and timestamps go on.
pub struct OpenStream {
    /// The stream.
    pub stream: StreamId,
    /// Who receives it.
    pub peer: PeerId,
    /// What it can show.
    pub kind: MediaKind,
    /// Its media section at the receiver.
    pub mid: Mid,
    /// The SSRC the receiver sees.
    pub ssrc: Ssrc,
    /// The SSRC of retransmissions the receiver sees.
    pub rtx: Option<Ssrc>,
    /// Header extensions the receiver takes.
    pub extensions: ExtensionMap,
}

/// What a stream that roams shows from now on; a picture changes with the first keyframe of the new track, and the old one goes on
/// until then.
pub struct Retarget {
    /// The stream.
    pub stream: StreamId,
    /// The track of the same kind, and formats the receiver takes as in [`Subscribe::formats`]; `None` shows nothing.
    pub onto: Option<(TrackId, Vec<Format>)>,
}

/// What a subscriber wants of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// False pauses the stream.
    pub enabled: bool,
    /// Highest layer wanted, 0-based from the lowest: a simulcast layer, or a spatial layer of an SVC stream.
    pub layer_max: u8,
    /// Frames per second that are enough; 0 is as many as there are.
    pub fps_max: u8,
    /// How much it matters among what this receiver watches: [`Wanted::ORDINARY`] unless the client says more (pinned, large).
    pub priority: u8,
}

impl Wanted {
    /// Priority of a stream nobody said anything about.
    pub const ORDINARY: u8 = 0;
    /// From here on the client named a priority itself: it outweighs who speaks. Below, it follows from the size of the picture.
    pub const NAMED: u8 = 128;
    /// Everything of a stream, with ordinary priority.
    pub const ALL: Self = Self { enabled: true, layer_max: u8::MAX, fps_max: 0, priority: Self::ORDINARY };
    /// Nothing for now.
    pub const NOTHING: Self = Self { enabled: false, ..Self::ALL };
}

/// What a subscriber is sent of a stream, and why not more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Nothing is sent although the receiver wants it.
    pub paused: bool,
    /// Layer sent (see [`Wanted::layer_max`]).
    pub layer: u8,
    /// Temporal layer sent, 0-based from the lowest.
    pub temporal: u8,
    /// Layers the publisher sends now.
    pub layer_count: u8,
    /// Temporal layers the publisher sends now.
    pub temporal_count: u8,
    /// Bits per second of what is sent, as the publisher sends it now.
    pub bitrate_bps: u32,
    /// Why it is not more; `None` when it is all there is.
    pub reason: Option<Reason>,
}

/// A data-channel message, routed.
pub struct Relay {
    /// Who sent it and how many bytes were received: it may say more now. `None` for what is not an answer to [`Report::Message`].
    pub from: Option<(PeerId, u32)>,
    /// Who receives it, and on which SCTP stream; may be nobody.
    pub to: Vec<(PeerId, u16)>,
    /// Its bytes, kept once for all receivers.
    pub bytes: Bytes,
}

/// From the control plane to a core.
pub enum Command {
    /// A new association.
    OpenPeer(Box<OpenPeer>),
    /// The peer's side of the transport is known.
    RemotePeer(Box<RemotePeer>),
    /// New local credentials after an ICE restart by the client; the old path stays until the new one is nominated.
    RestartIce {
        /// The peer.
        peer: PeerId,
        /// Our new credentials.
        local: IceCredentials,
    },
    /// Ends an association; its tracks and streams go with it. No report follows.
    ClosePeer {
        /// The peer.
        peer: PeerId,
    },
    /// A track begins or its parameters change (same id).
    Publish(Box<Publish>),
    /// A track ends; streams of it go with it.
    Unpublish {
        /// The track.
        track: TrackId,
    },
    /// Mutes or unmutes a track at the server.
    Mute {
        /// The track.
        track: TrackId,
        /// True stops forwarding.
        muted: bool,
    },
    /// A stream begins.
    Subscribe(Box<Subscribe>),
    /// A stream that roams begins; it shows nothing yet.
    OpenStream(Box<OpenStream>),
    /// A stream that roams shows another track.
    Retarget(Box<Retarget>),
    /// A stream ends.
    Unsubscribe {
        /// The stream.
        stream: StreamId,
    },
    /// What the subscriber wants of a stream.
    Want {
        /// The stream.
        stream: StreamId,
        /// What it wants.
        wanted: Wanted,
    },
    /// Ask the publisher for a keyframe, throttled like every request.
    RequestKeyframe {
        /// The track.
        track: TrackId,
    },
    /// Sends a data-channel message. Every [`Report::Message`] is answered by one of these, also when nobody receives it.
    Relay(Box<Relay>),
    /// Close every peer and stop the worker.
    Shutdown,
}

/// Why a peer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerEnd {
    /// No authenticated STUN check for 30 s.
    ConsentExpired,
    /// It never finished its handshake.
    HandshakeTimeout,
    /// The assist side ended it.
    Assist(AssistClose),
    /// The core has no room for it.
    NoRoom,
}

/// Loudness of one audio track over the last interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpeakerLevel {
    /// The track.
    pub track: TrackId,
    /// Level as in RFC 6464: 0 is loudest, 127 silence.
    pub level: u8,
}

/// Most speakers in one report.
pub const SPEAKERS_MAX: usize = 16;

/// From a core to the control plane. State reports are never lost; samples (`Speakers`, `Quality`) may be.
pub enum Report {
    /// A first authenticated check nominated a path.
    PeerPath {
        /// The peer.
        peer: PeerId,
    },
    /// Keys are installed: media can flow.
    PeerReady {
        /// The peer.
        peer: PeerId,
        /// The DTLS version spoken.
        dtls: DtlsVersion,
        /// The SRTP profile in use.
        profile: SrtpProfile,
    },
    /// The peer ended by itself; its tracks and streams are gone.
    PeerEnded {
        /// The peer.
        peer: PeerId,
        /// Why.
        end: PeerEnd,
    },
    /// A data channel is open.
    ChannelOpen {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
        /// Its label.
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
    /// A data-channel message; routing it is the control plane's. Its sender may have a bounded number of them unanswered: each is
    /// answered by a [`Command::Relay`].
    Message {
        /// The peer.
        peer: PeerId,
        /// SCTP stream identifier.
        channel: u16,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
    /// First packet of a published track.
    TrackStarted {
        /// The track.
        track: TrackId,
    },
    /// First packet of a stream left for its subscriber.
    StreamStarted {
        /// The stream.
        stream: StreamId,
    },
    /// Speakers of a meeting, loudest first; silence is left out.
    Speakers {
        /// The meeting.
        meeting: MeetingId,
        /// The first `count` entries.
        levels: [SpeakerLevel; SPEAKERS_MAX],
        /// How many entries count.
        count: u8,
    },
    /// How a peer's link does, from its receiver reports and ours, over the last interval.
    Quality {
        /// The peer.
        peer: PeerId,
        /// Loss of what it sends to us, parts per 256 (RFC 3550 section 6.4.1).
        loss_up: u8,
        /// Loss of what we send to it, parts per 256.
        loss_down: u8,
        /// Round-trip time, microseconds; 0 if unknown.
        rtt_us: u32,
        /// What its link is believed to carry from us, bits per second; 0 if nothing is known.
        estimate_bps: u32,
        /// What was sent to it, bits per second.
        sent_bps: u32,
    },
    /// What a stream gets has changed. State: the latest counts, at most two a second for each stream.
    Delivery {
        /// The stream.
        stream: StreamId,
        /// What it gets.
        delivery: Delivery,
    },
    /// The worker has stopped.
    Stopped,
}
