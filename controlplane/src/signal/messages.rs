//! Messages of the LiveKit client protocol that we send, with all fields its clients look at.
//!
//! Promises: pure functions from values to `SignalResponse`.

use std::time::Duration;

use livekit_protocol as proto;
use proto::signal_response::Message;

use super::dynacast::Quality;
use super::slots::Count;

/// How often clients are to ping, seconds.
pub const PING_INTERVAL_S: i32 = 5;
/// How long clients wait for an answer before they call the connection lost, seconds.
pub const PING_TIMEOUT_S: i32 = 15;
/// The server version we show: what the protocol subset corresponds to.
const SERVER_VERSION: &str = "1.8.0";
/// The protocol version we show.
const PROTOCOL: i32 = 15;

/// Codecs that publishers may use, most wanted first.
const PUBLISH_CODECS: [&str; 5] = ["video/VP8", "video/H264", "video/VP9", "video/AV1", "audio/opus"];

fn response(message: Message) -> proto::SignalResponse {
    proto::SignalResponse { message: Some(message) }
}

fn server_info() -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard.into(),
        version: SERVER_VERSION.into(),
        protocol: PROTOCOL,
        ..Default::default()
    }
}

fn enabled_codecs() -> Vec<proto::Codec> {
    PUBLISH_CODECS
        .iter()
        .map(|mime| proto::Codec { mime: (*mime).into(), fmtp_line: String::new() })
        .collect()
}

/// A room as clients see it.
#[must_use]
pub fn room(sid: &str, name: &str, created_ms: i64, people: usize, publishers: usize) -> proto::Room {
    proto::Room {
        sid: sid.into(),
        name: name.into(),
        creation_time: created_ms / 1000,
        creation_time_ms: created_ms,
        enabled_codecs: enabled_codecs(),
        num_participants: u32::try_from(people).unwrap_or(u32::MAX),
        num_publishers: u32::try_from(publishers).unwrap_or(u32::MAX),
        ..Default::default()
    }
}

/// The first message of a connection. `subscriber_primary` is for clients with two connections.
#[must_use]
pub fn join(
    room: proto::Room,
    participant: proto::ParticipantInfo,
    other_participants: Vec<proto::ParticipantInfo>,
    subscriber_primary: bool,
) -> proto::SignalResponse {
    response(Message::Join(proto::JoinResponse {
        room: Some(room),
        participant: Some(participant),
        other_participants,
        server_version: SERVER_VERSION.into(),
        ice_servers: Vec::new(),
        subscriber_primary,
        ping_timeout: PING_TIMEOUT_S,
        ping_interval: PING_INTERVAL_S,
        server_info: Some(server_info()),
        enabled_publish_codecs: enabled_codecs(),
        fast_publish: false,
        ..Default::default()
    }))
}

/// The first message of a connection that continues an earlier one. `last_message` is the number of the last reliable data packet that
/// came from this client: it repeats those after it.
#[must_use]
pub fn reconnect(last_message: u32) -> proto::SignalResponse {
    response(Message::Reconnect(proto::ReconnectResponse {
        server_info: Some(server_info()),
        last_message_seq: last_message,
        ..Default::default()
    }))
}

/// What participants are now.
#[must_use]
pub fn update(participants: Vec<proto::ParticipantInfo>) -> proto::SignalResponse {
    response(Message::Update(proto::ParticipantUpdate { participants }))
}

/// The room's own figures changed.
#[must_use]
pub fn room_update(room: proto::Room) -> proto::SignalResponse {
    response(Message::RoomUpdate(proto::RoomUpdate { room: Some(room) }))
}

/// A publication was taken.
#[must_use]
pub fn track_published(cid: &str, track: proto::TrackInfo) -> proto::SignalResponse {
    response(Message::TrackPublished(proto::TrackPublishedResponse { cid: cid.into(), track: Some(track) }))
}

/// Somebody receives this publication for the first time.
#[must_use]
pub fn track_subscribed(track_sid: &str) -> proto::SignalResponse {
    response(Message::TrackSubscribed(proto::TrackSubscribed { track_sid: track_sid.into() }))
}

/// An answer to the client's offer `id`, with the track of each media section that carries one to it.
#[must_use]
pub fn answer(sdp: String, id: u32, tracks: Vec<(String, String)>) -> proto::SignalResponse {
    response(Message::Answer(proto::SessionDescription {
        r#type: "answer".into(),
        sdp,
        id,
        mid_to_track_id: tracks.into_iter().collect(),
    }))
}

/// A client that offers itself is to offer, with so many receiving sections more.
#[must_use]
pub fn media_sections(more: Count) -> proto::SignalResponse {
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    response(Message::MediaSectionsRequirement(proto::MediaSectionsRequirement {
        num_audios: number(more.audios),
        num_videos: number(more.videos),
    }))
}

/// An offer to the subscriber, with the track of each media section.
#[must_use]
pub fn offer(sdp: String, id: u32, tracks: impl Iterator<Item = (String, String)>) -> proto::SignalResponse {
    response(Message::Offer(proto::SessionDescription {
        r#type: "offer".into(),
        sdp,
        id,
        mid_to_track_id: tracks.collect(),
    }))
}

/// The server muted a track.
#[must_use]
pub fn mute(sid: &str, muted: bool) -> proto::SignalResponse {
    response(Message::Mute(proto::MuteTrackRequest { sid: sid.into(), muted }))
}

/// Which qualities of a track somebody wants, by codec, the primary first.
#[must_use]
#[expect(
    deprecated,
    reason = "older clients read the qualities of the primary codec in the deprecated field"
)]
pub fn subscribed_quality(track_sid: &str, codecs: &[(&str, Quality)]) -> proto::SignalResponse {
    let qualities = |wanted: Quality| -> Vec<proto::SubscribedQuality> {
        [
            (proto::VideoQuality::Low, Quality::Low),
            (proto::VideoQuality::Medium, Quality::Medium),
            (proto::VideoQuality::High, Quality::High),
        ]
        .map(|(quality, of)| proto::SubscribedQuality { quality: quality.into(), enabled: wanted >= of })
        .into()
    };
    response(Message::SubscribedQualityUpdate(proto::SubscribedQualityUpdate {
        track_sid: track_sid.into(),
        subscribed_qualities: codecs.first().map_or_else(Vec::new, |(_, wanted)| qualities(*wanted)),
        subscribed_codecs: codecs
            .iter()
            .map(|(codec, wanted)| proto::SubscribedCodec {
                codec: codec.to_ascii_lowercase(),
                qualities: qualities(*wanted),
            })
            .collect(),
    }))
}

/// Whether streams are held back: publisher, track, and true for a pause.
#[must_use]
pub fn stream_states<'a>(states: impl Iterator<Item = (&'a str, &'a str, bool)>) -> proto::SignalResponse {
    let state = |paused| if paused { proto::StreamState::Paused } else { proto::StreamState::Active };
    response(Message::StreamStateUpdate(proto::StreamStateUpdate {
        stream_states: states
            .map(|(participant, track, paused)| proto::StreamStateInfo {
                participant_sid: participant.into(),
                track_sid: track.into(),
                state: state(paused).into(),
            })
            .collect(),
    }))
}

/// Speakers whose state changed.
#[must_use]
pub fn speakers(speakers: Vec<proto::SpeakerInfo>) -> proto::SignalResponse {
    response(Message::SpeakersChanged(proto::SpeakersChanged { speakers }))
}

/// How participants' links do.
#[must_use]
pub fn quality(updates: Vec<proto::ConnectionQualityInfo>) -> proto::SignalResponse {
    response(Message::ConnectionQuality(proto::ConnectionQualityUpdate { updates }))
}

/// A token for the next connection.
#[must_use]
pub fn refresh_token(token: String) -> proto::SignalResponse {
    response(Message::RefreshToken(token))
}

/// Answers to both kinds of ping. `now` is the time since the Unix epoch.
#[must_use]
pub fn pong(now: Duration) -> proto::SignalResponse {
    response(Message::Pong(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)))
}

/// See [`pong`].
#[must_use]
pub fn pong_response(last_ping_timestamp: i64, now: Duration) -> proto::SignalResponse {
    let timestamp = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    response(Message::PongResp(proto::Pong { last_ping_timestamp, timestamp }))
}

/// How a numbered request went.
#[must_use]
pub fn request_response(
    request_id: u32,
    reason: proto::request_response::Reason,
    message: &str,
) -> proto::SignalResponse {
    request_refused(request_id, reason, message, None)
}

/// See [`request_response`], with the request that it answers.
#[must_use]
pub fn request_refused(
    request_id: u32,
    reason: proto::request_response::Reason,
    message: &str,
    request: Option<proto::request_response::Request>,
) -> proto::SignalResponse {
    response(Message::RequestResponse(proto::RequestResponse {
        request_id,
        reason: reason.into(),
        message: message.into(),
        request,
    }))
}

/// The server took a track off its publisher.
#[must_use]
pub fn track_unpublished(track_sid: &str) -> proto::SignalResponse {
    response(Message::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid: track_sid.into() }))
}

/// Whether the publisher of a track lets this client receive it.
#[must_use]
pub fn subscription_permission(participant: &str, track_sid: &str, allowed: bool) -> proto::SignalResponse {
    response(Message::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
        participant_sid: participant.into(),
        track_sid: track_sid.into(),
        allowed,
    }))
}

/// Data tracks are not to be had here.
#[must_use]
pub fn data_track_refused(request: proto::PublishDataTrackRequest) -> proto::SignalResponse {
    response(Message::RequestResponse(proto::RequestResponse {
        reason: proto::request_response::Reason::NotAllowed.into(),
        message: "this server carries no data tracks".into(),
        request: Some(proto::request_response::Request::PublishDataTrack(request)),
        ..Default::default()
    }))
}

/// A subscription cannot be had.
#[must_use]
pub fn subscription_refused(track_sid: &str, error: proto::SubscriptionError) -> proto::SignalResponse {
    response(Message::SubscriptionResponse(proto::SubscriptionResponse {
        track_sid: track_sid.into(),
        err: error.into(),
    }))
}

/// Why a client must go, and what it is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Farewell {
    /// A newer connection of the same person took over.
    DuplicateIdentity,
    /// The meeting ended.
    RoomDeleted,
    /// The host removed this person.
    ParticipantRemoved,
    /// The server is going away; a connection to its successor works.
    ServerShutdown,
    /// There is nothing to resume: join anew.
    StateMismatch,
    /// The media path ended under a standing signal connection: join anew.
    MediaFailure,
    /// It read messages too slowly, and some are lost: join anew.
    SlowReceiver,
    /// What the client sent cannot be used.
    JoinFailure,
}

/// The last message of a connection.
#[must_use]
pub fn leave(farewell: Farewell) -> proto::SignalResponse {
    use proto::DisconnectReason as Reason;
    use proto::leave_request::Action;
    let (reason, action) = match farewell {
        Farewell::DuplicateIdentity => (Reason::DuplicateIdentity, Action::Disconnect),
        Farewell::RoomDeleted => (Reason::RoomDeleted, Action::Disconnect),
        Farewell::ParticipantRemoved => (Reason::ParticipantRemoved, Action::Disconnect),
        Farewell::ServerShutdown => (Reason::ServerShutdown, Action::Reconnect),
        Farewell::StateMismatch => (Reason::StateMismatch, Action::Reconnect),
        Farewell::MediaFailure | Farewell::SlowReceiver => (Reason::MediaFailure, Action::Reconnect),
        Farewell::JoinFailure => (Reason::JoinFailure, Action::Disconnect),
    };
    response(Message::Leave(proto::LeaveRequest {
        can_reconnect: action == Action::Reconnect,
        reason: reason.into(),
        action: action.into(),
        regions: None,
    }))
}
