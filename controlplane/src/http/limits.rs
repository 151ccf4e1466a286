//! What this server allows, in numbers: for clients that want to know before they are refused.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::BODY_BYTES_MAX;
use super::caller::Asked;
use super::problem::{Problem, ProblemDocument};
use crate::app::App;
use crate::service::input::{NAME_CHARS_MAX, TOPIC_CHARS_MAX};
use crate::service::meetings::PAGE_MAX;
use crate::service::records::MAX_PARTICIPANTS;

/// The route, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(limits))
}

/// What may be done, and how much of it.
#[derive(Serialize, ToSchema)]
pub struct LimitsInfo {
    /// Meetings an account may create in a day of UTC; null is any number.
    meetings_per_day: Option<u32>,
    /// How many of them the caller has left today; null for who has no account, and without a limit.
    meetings_left_today: Option<u32>,
    /// People in one meeting at a time.
    participants_per_meeting: u32,
    /// Characters of a topic.
    topic_chars: usize,
    /// Characters of a name.
    name_chars: usize,
    /// Items of one page of a list.
    page_items: usize,
    /// Requests a second from one network address, twenty seconds' worth at once; null is any number.
    requests_per_address: Option<u32>,
    /// The same of one account; null is any number.
    requests_per_user: Option<u32>,
    /// Bytes of a request's JSON body.
    body_bytes: usize,
}

/// The limits of this server, and what the caller has left.
#[utoipa::path(get, path = "/limits", operation_id = "readLimits", tag = "server", security((), ("bearer" = []), ("session" = [])),
    responses((status = 200, body = LimitsInfo), (status = 401, body = ProblemDocument)))]
async fn limits(State(app): State<App>, Asked(caller): Asked) -> Result<Json<LimitsInfo>, Problem> {
    Ok(Json(LimitsInfo {
        meetings_per_day: app.service.meetings_per_day(),
        meetings_left_today: app.service.meetings_left(caller)?,
        participants_per_meeting: MAX_PARTICIPANTS,
        topic_chars: TOPIC_CHARS_MAX,
        name_chars: NAME_CHARS_MAX,
        page_items: PAGE_MAX,
        requests_per_address: limited(app.config.requests_per_address),
        requests_per_user: limited(app.config.requests_per_user),
        body_bytes: BODY_BYTES_MAX,
    }))
}

/// 0 is no limit.
fn limited(count: u32) -> Option<u32> {
    (count > 0).then_some(count)
}
