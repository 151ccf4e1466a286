//! `PATCH /api/v1/meetings/{id}/participants/{pid}/permissions`: what a participant may do, changed by the host while it is there.
//!
//! The room answers, and the change lasts as long as the room: somebody who comes back is held to it.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Signal;
use super::grant::{Grant, GrantChange};
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::Asked;
use crate::http::conditional::{self, IfMatch};
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::ids::{UserId, parse_meeting};
use crate::service::ServiceError;

/// The routes, below `/api/v1`. Without a packet plane nobody is in a room.
pub fn router(signal: Option<Signal>) -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(change)).layer(Extension(signal))
}

/// Changes to what a participant may do; what is left out stays.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body to OpenAPI; it is read field by field for exact errors")]
pub struct ChangePermissions {
    /// Send sound and pictures. Taking it away ends the tracks that are there.
    can_publish: Option<bool>,
    /// Receive sound and pictures.
    can_subscribe: Option<bool>,
    /// Send data messages.
    can_publish_data: Option<bool>,
    /// Change the own name, metadata and attributes.
    can_update_metadata: Option<bool>,
}

/// What a participant may do.
#[derive(Serialize, ToSchema)]
pub struct Permissions {
    /// `user_<decimal>`.
    participant_id: String,
    /// Send sound and pictures.
    can_publish: bool,
    /// Receive sound and pictures.
    can_subscribe: bool,
    /// Send data messages.
    can_publish_data: bool,
    /// Change the own name, metadata and attributes.
    can_update_metadata: bool,
}

/// Change what a participant who is connected may do, as the meeting's host. With `If-Match`, only if that is as an answer said before.
#[utoipa::path(patch, path = "/meetings/{id}/participants/{pid}/permissions", operation_id = "changePermissions",
    tag = "meetings", params(("id" = String, Path), ("pid" = String, Path, description = "`user_<decimal>`"), IfMatch),
    request_body = ChangePermissions, security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = Permissions, headers(("ETag" = String))), (status = 400, body = ProblemDocument),
        (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 410, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 415, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 503, body = ProblemDocument)))]
async fn change(
    State(app): State<App>,
    Extension(signal): Extension<Option<Signal>>,
    Asked(caller): Asked,
    Path((id, pid)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let meeting = parse_meeting(&id)
        .ok_or_else(|| Problem::new(Kind::MeetingNotFound, ServiceError::NoSuchMeeting.to_string()))?;
    let mut fields = Fields::read(&headers, body).await?;
    let change = GrantChange {
        publish: fields.switch("can_publish"),
        subscribe: fields.switch("can_subscribe"),
        publish_data: fields.switch("can_publish_data"),
        update_metadata: fields.switch("can_update_metadata"),
    };
    fields.finish()?;
    let person = UserId::parse(&pid).unwrap_or(UserId(0));
    app.service.may_act_on(caller, meeting, person)?;
    let changed = match signal {
        Some(signal) => signal.permit(meeting, person, change, conditional::seen(&headers)).await?,
        None => None,
    };
    let grant = changed.ok_or_else(|| {
        Problem::new(Kind::ParticipantNotConnected, "the participant is not connected to the meeting")
    })?;
    let Grant { publish, subscribe, publish_data, update_metadata } = grant;
    let permissions = Permissions {
        participant_id: person.to_string(),
        can_publish: publish,
        can_subscribe: subscribe,
        can_publish_data: publish_data,
        can_update_metadata: update_metadata,
    };
    Ok(conditional::tagged(&grant.tag(), permissions))
}
