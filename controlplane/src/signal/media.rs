//! `GET /api/v1/meetings/{id}/participants/{pid}/media`: what a participant is sent, and why it is not more.
//!
//! For the host and for the participant itself. The room answers; somebody who is not connected receives nothing.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use dataplane::base::media::MediaKind;
use dataplane::base::reason::Reason;
use dataplane::command::Wanted;
use livekit_protocol as proto;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Signal;
use super::dynacast::Quality;
use super::room::Latest;
use super::room::media::{Layer, MediaView, Publishes, Receives};
use crate::app::App;
use crate::http::caller::Asked;
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::ids::{UserId, parse_meeting};
use crate::service::ServiceError;

/// The routes, below `/api/v1`. Without a packet plane nobody is in a room.
pub fn router(signal: Option<Signal>) -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(media)).layer(Extension(signal))
}

/// What a participant receives and publishes.
#[derive(Serialize, ToSchema)]
pub struct ParticipantMedia {
    /// `user_<decimal>`.
    participant_id: String,
    /// Whether the participant is connected; if not, everything else is empty.
    connected: bool,
    /// Its connections to this server, as last measured.
    link: Option<LinkState>,
    /// Tracks on their way to it.
    receives: Vec<ReceivedTrack>,
    /// What it sends, one entry for each codec of a track.
    publishes: Vec<PublishedTrack>,
}

/// A participant's connections.
#[derive(Serialize, ToSchema)]
pub struct LinkState {
    /// What its link is believed to carry to it, bits per second; `null` until it is known.
    estimate_bps: Option<u32>,
    /// What it is sent, bits per second.
    sent_bps: u32,
    /// Share of its packets that did not arrive here, 0 to 1.
    loss_up: f64,
    /// Share of our packets that did not arrive there, 0 to 1.
    loss_down: f64,
    /// Round-trip time, milliseconds; `null` until it is known.
    rtt_ms: Option<f64>,
}

/// A track on its way to the participant.
#[derive(Serialize, ToSchema)]
pub struct ReceivedTrack {
    /// `TR_…`.
    track_id: String,
    /// `user_<decimal>` of the publisher.
    from: String,
    /// The publisher's name.
    from_name: String,
    /// `video` or `audio`.
    kind: &'static str,
    /// `camera`, `microphone`, `screen_share`, `screen_share_audio` or `unknown`.
    source: &'static str,
    /// MIME type of the codec sent.
    codec: String,
    /// What the participant's client asked for.
    wanted: WantedMedia,
    /// Nothing is sent although it is wanted.
    paused: bool,
    /// The layer sent, 0 is the smallest; `null` until something was sent.
    layer: Option<u8>,
    /// The temporal layer sent, 0 is the slowest.
    temporal_layer: Option<u8>,
    /// Layers the publisher sends now.
    layers_available: Option<u8>,
    /// Width of the layer sent, as the publisher announced it.
    width: Option<u32>,
    /// Its height.
    height: Option<u32>,
    /// Bits per second of what is sent.
    bitrate_bps: u32,
    /// Why it is not more, `null` if it is all there is: `link_estimate`, `publisher_sends_less`, `client_asked_less`,
    /// `priority`, `admission` or `codec_missing`.
    reason: Option<&'static str>,
    /// The same in a sentence, with what can be done about it.
    reason_text: Option<String>,
    /// Codecs of which it would have to decode one; only with `codec_missing`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_codecs: Vec<&'static str>,
}

/// What a client asked for of one track.
#[derive(Serialize, ToSchema)]
pub struct WantedMedia {
    /// `false` while the client has paused it.
    enabled: bool,
    /// The highest layer it has a use for; `null` is every layer.
    layer: Option<u8>,
    /// Frames per second that are enough; `null` is as many as there are.
    fps: Option<u8>,
}

/// A codec of a track the participant sends.
#[derive(Serialize, ToSchema)]
pub struct PublishedTrack {
    /// `TR_…`.
    track_id: String,
    /// `video` or `audio`.
    kind: &'static str,
    /// As in `receives`.
    source: &'static str,
    /// MIME type.
    codec: String,
    /// Its layers from the smallest; empty for audio.
    layers: Vec<PublishedLayer>,
    /// Participants who are sent this codec.
    subscribers: usize,
}

/// A layer of a published video.
#[derive(Serialize, ToSchema)]
pub struct PublishedLayer {
    /// `low`, `medium` or `high`.
    quality: &'static str,
    /// Announced width.
    width: u32,
    /// Announced height.
    height: u32,
    /// Whether anybody wants it; the publisher was told to switch it off otherwise.
    wanted: bool,
}

/// What a participant is sent, what it sends, and why it is not more. For the host and the participant itself.
#[utoipa::path(get, path = "/meetings/{id}/participants/{pid}/media", operation_id = "readParticipantMedia", tag = "meetings",
    params(("id" = String, Path), ("pid" = String, Path, description = "`user_<decimal>`")), security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = ParticipantMedia), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
async fn media(
    State(app): State<App>,
    Extension(signal): Extension<Option<Signal>>,
    Asked(caller): Asked,
    Path((id, pid)): Path<(String, String)>,
) -> Result<Json<ParticipantMedia>, Problem> {
    let meeting = parse_meeting(&id)
        .ok_or_else(|| Problem::new(Kind::MeetingNotFound, ServiceError::NoSuchMeeting.to_string()))?;
    // A number that cannot be one belongs to nobody, which only those may learn who may see everybody.
    let person = UserId::parse(&pid).unwrap_or(UserId(0));
    app.service.may_see_media(caller, meeting, person)?;
    let view = match signal {
        Some(signal) => signal.media(meeting, person).await?,
        None => None,
    };
    Ok(Json(ParticipantMedia::new(person, view)))
}

impl ParticipantMedia {
    fn new(person: UserId, view: Option<MediaView>) -> Self {
        let participant_id = person.to_string();
        let Some(MediaView { link, receives, publishes }) = view else {
            let (receives, publishes) = (Vec::new(), Vec::new());
            return Self { participant_id, connected: false, link: None, receives, publishes };
        };
        Self {
            participant_id,
            connected: true,
            link: Some(link.into()),
            receives: receives.into_iter().map(Into::into).collect(),
            publishes: publishes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Latest> for LinkState {
    fn from(latest: Latest) -> Self {
        let share = |parts: u8| f64::from(parts) / 256.0;
        Self {
            estimate_bps: (latest.estimate_bps > 0).then_some(latest.estimate_bps),
            sent_bps: latest.sent_bps,
            loss_up: share(latest.loss_up),
            loss_down: share(latest.loss_down),
            rtt_ms: (latest.rtt_us > 0).then_some(f64::from(latest.rtt_us) / 1_000.0),
        }
    }
}

impl From<Receives> for ReceivedTrack {
    fn from(track: Receives) -> Self {
        let Receives { delivery, reason, missing_codecs, wanted, .. } = &track;
        let text = reason.map(|reason| reason_text(reason, track.kind, missing_codecs));
        Self {
            reason: reason.map(Reason::name),
            reason_text: text,
            wanted: WantedMedia {
                enabled: wanted.enabled,
                layer: (wanted.layer_max != Wanted::ALL.layer_max).then_some(wanted.layer_max),
                fps: (wanted.fps_max > 0).then_some(wanted.fps_max),
            },
            paused: delivery.is_some_and(|delivery| delivery.paused),
            layer: delivery.map(|delivery| delivery.layer),
            temporal_layer: delivery.map(|delivery| delivery.temporal),
            layers_available: delivery.map(|delivery| delivery.layer_count),
            width: track.size.map(|(width, _)| width),
            height: track.size.map(|(_, height)| height),
            bitrate_bps: delivery.map_or(0, |delivery| delivery.bitrate_bps),
            kind: kind_name(track.kind),
            source: source_name(track.source),
            track_id: track.track_id,
            from: track.from,
            from_name: track.from_name,
            codec: track.codec,
            missing_codecs: track.missing_codecs,
        }
    }
}

impl From<Publishes> for PublishedTrack {
    fn from(track: Publishes) -> Self {
        Self {
            track_id: track.track_id,
            kind: kind_name(track.kind),
            source: source_name(track.source),
            codec: track.codec,
            layers: track.layers.into_iter().map(Into::into).collect(),
            subscribers: track.subscribers,
        }
    }
}

impl From<Layer> for PublishedLayer {
    fn from(Layer { quality, size: (width, height), wanted }: Layer) -> Self {
        let quality = match quality {
            Quality::Off | Quality::Low => "low",
            Quality::Medium => "medium",
            Quality::High => "high",
        };
        Self { quality, width, height, wanted }
    }
}

const fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

const fn source_name(source: proto::TrackSource) -> &'static str {
    match source {
        proto::TrackSource::Camera => "camera",
        proto::TrackSource::Microphone => "microphone",
        proto::TrackSource::ScreenShare => "screen_share",
        proto::TrackSource::ScreenShareAudio => "screen_share_audio",
        proto::TrackSource::Unknown => "unknown",
    }
}

/// Why a track is less than it could be, for people, with what can be done about it.
fn reason_text(reason: Reason, kind: MediaKind, missing: &[&str]) -> String {
    let text = match (reason, kind) {
        (Reason::LinkEstimate, _) => {
            "The receiver's connection cannot carry more; a faster or less busy network would help."
        }
        (Reason::PublisherSendsLess, _) => {
            "The publisher does not send more; its camera, its computer or its own connection is the limit."
        }
        (Reason::ClientAskedLess, MediaKind::Video) => {
            "The receiver asked for no more, because it shows the video small or not at all; a larger tile gets more."
        }
        (Reason::ClientAskedLess, MediaKind::Audio) => "The receiver has paused this track.",
        (Reason::Priority, _) => {
            "The receiver's connection is used for something more important; pin this video to put it first."
        }
        (Reason::Admission, _) => {
            "Only the loudest speakers of the meeting are forwarded; it is heard as soon as it is one of them."
        }
        (Reason::CodecMissing, _) => {
            let codecs = missing.join(" or ");
            let codecs = if codecs.is_empty() { "the publisher's codec" } else { &codecs };
            return format!(
                "The receiver cannot decode {codecs}; another browser can, or the publisher has to use another codec."
            );
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_sentence_and_a_missing_codec_is_named() {
        for reason in Reason::ALL {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let text = reason_text(*reason, kind, &[]);
                assert!(text.ends_with('.') && text.len() > 20, "{}", reason.name());
            }
        }
        let text = reason_text(Reason::CodecMissing, MediaKind::Video, &["AV1", "VP9"]);
        assert!(text.contains("AV1 or VP9"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_null() {
        let link = LinkState::from(Latest { loss_up: 64, ..Latest::default() });
        let json = serde_json::to_value(&link).expect("numbers are JSON");
        assert!(json["estimate_bps"].is_null() && json["rtt_ms"].is_null());
        assert!((json["loss_up"].as_f64().unwrap_or_default() - 0.25).abs() < f64::EPSILON);
    }
}
