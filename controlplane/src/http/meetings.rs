//! `/api/v1/meetings`: create, list, read, change, delete, end, join, participants.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dataplane::base::ids::MeetingId;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Fields;
use super::caller::{Asked, Origin};
use super::conditional::{self, IfMatch};
use super::once::{self, IdempotencyKey};
use super::paging::{PageParams, PageQuery, page};
use super::problem::{Kind, Problem, ProblemDocument};
use crate::app::App;
use crate::ids::parse_meeting;
use crate::service::meetings::Created;
use crate::service::once::Begun;
use crate::service::{
    JoinRequest, Meeting, MeetingChange, MeetingStatus, NewMeeting, ParticipantState, ParticipantView, Seen,
    ServiceError,
};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, change, delete))
        .routes(routes!(end))
        .routes(routes!(join))
        .routes(routes!(participants))
}

/// A meeting to be made.
#[derive(ToSchema)]
pub struct CreateMeeting {
    /// Topic, 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub topic: String,
    /// Planned start (RFC 3339); now if left out.
    #[schema(format = DateTime)]
    pub start_time: Option<String>,
    /// Planned length, 1 to 1440 minutes.
    #[schema(default = 60, minimum = 1, maximum = 1440)]
    pub duration: Option<i64>,
    /// Whether it is to be recorded.
    #[schema(default = false)]
    pub recording_enabled: Option<bool>,
    /// A passcode joining takes, 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub passcode: Option<String>,
    /// Whether guests wait for the host; only `false` for now.
    #[schema(default = false)]
    pub waiting_room: Option<bool>,
}

/// Changes to a meeting; what is left out stays.
#[derive(ToSchema)]
pub struct ChangeMeeting {
    /// New topic.
    #[schema(min_length = 1, max_length = 500)]
    pub topic: Option<String>,
    /// New start; not while the meeting is in progress.
    #[schema(format = DateTime)]
    pub start_time: Option<String>,
    /// New length, minutes.
    #[schema(minimum = 1, maximum = 1440)]
    pub duration: Option<i64>,
    /// Whether it is to be recorded.
    pub recording_enabled: Option<bool>,
    /// New passcode; `null` takes it away.
    #[schema(min_length = 1, max_length = 64)]
    pub passcode: Option<String>,
    /// Whether guests wait for the host; only `false` for now.
    pub waiting_room: Option<bool>,
}

/// How to join.
#[derive(ToSchema)]
pub struct JoinMeeting {
    /// Name to show, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The passcode, if the meeting has one.
    #[schema(max_length = 64)]
    pub passcode: Option<String>,
}

/// A meeting just made.
#[derive(Serialize, ToSchema)]
pub struct MeetingCreated {
    /// `meeting_<decimal>`.
    id: String,
    /// The link to give out.
    join_url: String,
    /// Planned start.
    start_time: String,
    /// The Bearer for host actions on this meeting (demo mode).
    #[serde(skip_serializing_if = "Option::is_none")]
    host_token: Option<String>,
}

/// A meeting.
#[derive(Serialize, ToSchema)]
pub struct MeetingInfo {
    /// `meeting_<decimal>`.
    id: String,
    /// Topic.
    topic: String,
    /// `user_<decimal>` of who made it.
    host_id: String,
    /// Where it is in its life.
    status: MeetingStatus,
    /// Planned start.
    start_time: String,
    /// Planned length, minutes.
    duration: u32,
    /// When it was ended.
    end_time: Option<String>,
    /// When it was made.
    created_at: String,
    /// Most people at a time.
    max_participants: u32,
    /// Whether it is to be recorded.
    recording_enabled: bool,
    /// Whether joining takes a passcode.
    passcode_required: bool,
    /// Whether guests wait for the host.
    waiting_room: bool,
    /// The link to give out.
    join_url: String,
}

/// One page of meetings.
#[derive(Serialize, ToSchema)]
pub struct MeetingList {
    /// The meetings, newest first.
    items: Vec<MeetingInfo>,
    /// Ask with this cursor for the next page.
    next_cursor: Option<String>,
}

/// A join that was granted.
#[derive(Serialize, ToSchema)]
pub struct MeetingJoined {
    /// `meeting_<decimal>`.
    meeting_id: String,
    /// The first argument of a LiveKit client's `connect(url, token)`.
    media_server_url: String,
    /// The second.
    session_token: String,
}

/// A participant.
#[derive(Serialize, ToSchema)]
pub struct ParticipantInfo {
    /// `user_<decimal>`: the identity in the meeting, the same at every rejoin.
    id: String,
    /// The identity in the meeting of somebody whom an API key let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// Name shown.
    name: String,
    /// `host` or `participant`.
    role: &'static str,
    /// Where the participant is now.
    state: ParticipantState,
    /// The latest join.
    joined_at: String,
    /// When the participant left.
    left_at: Option<String>,
    /// All joins, oldest first.
    joined_at_history: Vec<String>,
    /// Sends sound.
    audio_enabled: bool,
    /// Sends pictures.
    video_enabled: bool,
}

/// The participants of a meeting.
#[derive(Serialize, ToSchema)]
pub struct ParticipantList {
    /// The participants in the order of their first join.
    items: Vec<ParticipantInfo>,
    /// Always `null`: the list is complete.
    next_cursor: Option<String>,
}

impl MeetingCreated {
    fn new(created: &Created, origin: &Origin) -> Self {
        let id = created.meeting.meeting_id.id();
        Self {
            id: id.to_string(),
            join_url: join_url(origin, id),
            start_time: created.meeting.start_time.to_string(),
            host_token: created.host_token.clone(),
        }
    }
}

impl MeetingInfo {
    fn new(meeting: Meeting, origin: &Origin) -> Self {
        let id = meeting.meeting_id.id();
        Self {
            id: id.to_string(),
            topic: meeting.meeting_topic,
            host_id: meeting.host_id.to_string(),
            status: meeting.status,
            start_time: meeting.start_time.to_string(),
            duration: meeting.duration,
            end_time: meeting.end_time.map(|t| t.to_string()),
            created_at: meeting.created_at.to_string(),
            max_participants: meeting.max_participants,
            recording_enabled: meeting.recording_enabled,
            passcode_required: meeting.passcode.is_some(),
            waiting_room: meeting.waiting_room,
            join_url: join_url(origin, id),
        }
    }
}

impl From<ParticipantView> for ParticipantInfo {
    fn from(view: ParticipantView) -> Self {
        Self {
            id: view.row.user_id.to_string(),
            identity: view.row.outside.map(|who| who.identity),
            name: view.row.name,
            role: if view.host { "host" } else { "participant" },
            state: view.state,
            joined_at: view.row.joined_at.to_string(),
            left_at: view.row.left_at.map(|t| t.to_string()),
            joined_at_history: view.row.joined_history.iter().map(ToString::to_string).collect(),
            audio_enabled: view.row.audio_enabled,
            video_enabled: view.row.video_enabled,
        }
    }
}

/// Make a meeting.
#[utoipa::path(post, path = "/meetings", operation_id = "createMeeting", tag = "meetings", params(IdempotencyKey), request_body = CreateMeeting, security((), ("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingCreated), (status = 400, body = ProblemDocument),
        (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument), (status = 413, body = ProblemDocument),
        (status = 415, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 429, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
async fn create(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let fields = Fields::read(&headers, body).await?;
    let turn = match once::begin(&app, caller, &headers, "POST /meetings", &fields)? {
        Begun::First(turn) => turn,
        Begun::Again(answer) => return Ok(once::again(answer)),
    };
    let new = new_meeting(fields)?;
    once::to_its_end(async move {
        let answer = |created: &Created| once::encoded(MeetingCreated::new(created, &origin));
        let created = app.service.create_meeting_once(caller, new, &turn.keep(&answer)).await?;
        let (id, host) = (created.meeting.meeting_id.id(), created.meeting.host_id);
        tracing::info!(meeting = %id, %host, "meeting created");
        Ok(once::answered(MeetingCreated::new(&created, &origin)))
    })
    .await
}

/// The caller's own meetings, newest first.
#[utoipa::path(get, path = "/meetings", operation_id = "listMeetings", tag = "meetings", params(PageParams), security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument),
        (status = 422, body = ProblemDocument)))]
async fn list(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    query: PageQuery,
) -> Result<Json<MeetingList>, Problem> {
    let (cursor, limit) = page(query)?;
    let page = app.service.meetings(caller, cursor.as_deref(), limit)?;
    let items = page.items.into_iter().map(|meeting| MeetingInfo::new(meeting, &origin)).collect();
    Ok(Json(MeetingList { items, next_cursor: page.next_cursor }))
}

/// One meeting, with an `ETag`. Whoever has its number may look.
#[utoipa::path(get, path = "/meetings/{id}", operation_id = "readMeeting", tag = "meetings", params(("id" = String, Path)), security((), ("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingInfo, headers(("ETag" = String))), (status = 404, body = ProblemDocument)))]
async fn read(
    State(app): State<App>,
    Asked(_caller): Asked,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(shown(app.service.meeting(meeting_id(&id)?)?, &origin))
}

/// Change a meeting, as its host. With `If-Match`, only if it is as the caller saw it.
#[utoipa::path(patch, path = "/meetings/{id}", operation_id = "changeMeeting", tag = "meetings", params(("id" = String, Path), IfMatch),
    request_body = ChangeMeeting,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 410, body = ProblemDocument),
        (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
async fn change(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = meeting_id(&id)?;
    let change = meeting_change(Fields::read(&headers, body).await?, conditional::seen(&headers))?;
    Ok(shown(app.service.change_meeting(caller, id, change).await?, &origin))
}

/// Delete a meeting, as its host. It is unknown from then on. With `If-Match`, only if it is as the caller saw it.
#[utoipa::path(delete, path = "/meetings/{id}", operation_id = "deleteMeeting", tag = "meetings", params(("id" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn delete(
    State(app): State<App>,
    Asked(caller): Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let id = meeting_id(&id)?;
    app.service.delete_meeting(caller, id, &conditional::seen(&headers)).await?;
    tracing::info!(meeting = %id, "meeting deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// End a meeting, as its host. Everybody in it is disconnected.
#[utoipa::path(post, path = "/meetings/{id}/end", operation_id = "endMeeting", tag = "meetings", params(("id" = String, Path)), security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 410, body = ProblemDocument)))]
async fn end(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = meeting_id(&id)?;
    Fields::read_optional(&headers, body).await?.finish()?;
    let meeting = app.service.end_meeting(caller, id).await?;
    tracing::info!(meeting = %id, "meeting ended");
    Ok(shown(meeting, &origin))
}

/// Join a meeting, with an account or as a guest.
#[utoipa::path(post, path = "/meetings/{id}/join", operation_id = "joinMeeting", tag = "meetings",
    params(("id" = String, Path)), request_body = Option<JoinMeeting>,
    security((), ("bearer" = []), ("session" = [])),
    responses((status = 200, body = MeetingJoined), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 410, body = ProblemDocument),
        (status = 422, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
async fn join(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = meeting_id(&id)?;
    let request = join_request(Fields::read_optional(&headers, body).await?)?;
    let joined = app.service.join(caller, id, request).await?;
    tracing::info!(meeting = %id, user = %joined.user, "join granted");
    Ok(Json(MeetingJoined {
        meeting_id: joined.meeting.to_string(),
        media_server_url: origin.media(),
        session_token: joined.session_token,
    })
    .into_response())
}

/// Who is and was in a meeting.
#[utoipa::path(get, path = "/meetings/{id}/participants", operation_id = "listParticipants", tag = "meetings", params(("id" = String, Path)),
    security((), ("bearer" = []), ("session" = [])),
    responses((status = 200, body = ParticipantList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument)))]
async fn participants(
    State(app): State<App>,
    Asked(caller): Asked,
    Path(id): Path<String>,
) -> Result<Json<ParticipantList>, Problem> {
    let views = app.service.participants(caller, meeting_id(&id)?)?;
    Ok(Json(ParticipantList { items: views.into_iter().map(Into::into).collect(), next_cursor: None }))
}

fn new_meeting(mut fields: Fields) -> Result<NewMeeting, Problem> {
    let new = NewMeeting {
        topic: fields.required_text("topic"),
        start_time: fields.time("start_time"),
        duration: fields.integer("duration"),
        recording_enabled: fields.switch("recording_enabled").unwrap_or(false),
        passcode: fields.text("passcode"),
        waiting_room: fields.switch("waiting_room").unwrap_or(false),
    };
    fields.finish().map(|()| new)
}

fn meeting_change(mut fields: Fields, seen: Seen) -> Result<MeetingChange, Problem> {
    let change = MeetingChange {
        topic: fields.text("topic"),
        start_time: fields.time("start_time"),
        duration: fields.integer("duration"),
        recording_enabled: fields.switch("recording_enabled"),
        passcode: fields.nullable_text("passcode"),
        waiting_room: fields.switch("waiting_room"),
        seen,
    };
    fields.finish().map(|()| change)
}

fn join_request(mut fields: Fields) -> Result<JoinRequest, Problem> {
    let request = JoinRequest { name: fields.text("name"), passcode: fields.text("passcode") };
    fields.finish().map(|()| request)
}

fn shown(meeting: Meeting, origin: &Origin) -> Response {
    conditional::tagged(&meeting.tag(), MeetingInfo::new(meeting, origin))
}

/// A number that cannot be one is a meeting that does not exist.
fn meeting_id(text: &str) -> Result<MeetingId, Problem> {
    parse_meeting(text)
        .ok_or_else(|| Problem::new(Kind::MeetingNotFound, ServiceError::NoSuchMeeting.to_string()))
}

fn join_url(origin: &Origin, id: MeetingId) -> String {
    origin.page(&format!("/j/{}", id.0))
}
