//! What a server is told about a guest, by the simulator and over real lanes alike.

use dataplane::base::handoff::{DtlsVersion, Fingerprint};
use dataplane::base::ids::{MeetingId, ParticipantId, PeerId, Ssrc, StreamId, TrackId};
use dataplane::base::media::{Content, MediaKind};
use dataplane::command::{Command, IceCredentials, OpenPeer, Publish, RemotePeer, Subscribe};

use super::guest::{self, Guest, Terms, stream_number, track_number};

/// Somebody joins.
#[must_use]
pub fn open(peer: u32, meeting: u64, local: &IceCredentials) -> Command {
    Command::OpenPeer(Box::new(OpenPeer {
        peer: PeerId(peer),
        meeting: MeetingId(meeting),
        participant: ParticipantId(peer),
        local: local.clone(),
        dtls: DtlsVersion::V12,
        channels: &[],
    }))
}

/// His side of the transport.
#[must_use]
pub fn remote(peer: u32, ice: &IceCredentials, fingerprint: Fingerprint) -> Command {
    Command::RemotePeer(Box::new(RemotePeer { peer: PeerId(peer), ufrag: ice.ufrag.clone(), fingerprint }))
}

/// A track of his.
#[must_use]
pub fn publish(peer: u32, kind: MediaKind, guest: &Guest) -> Command {
    Command::Publish(Box::new(Publish {
        track: TrackId(track_number(peer, kind)),
        peer: PeerId(peer),
        kind,
        content: Content::Camera,
        mid: guest::mid(peer, kind),
        formats: guest.sent_formats(kind),
        extensions: guest.terms.extensions(),
        ssrcs: guest.signalled(peer, kind),
        rids: guest.rids(kind),
    }))
}

/// A stream to him.
#[must_use]
pub fn subscribe(receiver: u32, publisher: u32, kind: MediaKind, terms: &Terms) -> Command {
    let number = stream_number(receiver, publisher, kind);
    Command::Subscribe(Box::new(Subscribe {
        stream: StreamId(number),
        peer: PeerId(receiver),
        track: TrackId(track_number(publisher, kind)),
        mid: guest::mid(publisher, kind),
        ssrc: Ssrc(number),
        rtx: (kind == MediaKind::Video).then_some(Ssrc(number + 1)),
        formats: guest::formats(kind, terms),
        extensions: terms.extensions(),
    }))
}
