//! `/api/v1/users/me`: the caller's own account and its sessions.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::UserInfo;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{Asked, OfBrowser};
use crate::http::conditional::{self, IfMatch};
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::service::ServiceError;
use crate::service::accounts::Visitor;
use crate::service::accounts::input::ProfileChange;
use crate::service::accounts::sessions::OwnSession;
use crate::service::accounts::tables::{Session, SessionId};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read, change)).routes(routes!(sessions)).routes(routes!(end_session))
}

/// Changes to the own account; what is left out stays.
#[derive(ToSchema)]
pub struct ChangeProfile {
    /// New name, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// New password, at least 12 characters; ends every other session.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: Option<String>,
    /// The present password, for a new one.
    pub current_password: Option<String>,
}

/// A browser that is signed in.
#[derive(Serialize, ToSchema)]
pub struct SessionInfo {
    /// `session_<decimal>`.
    id: String,
    /// When it began.
    created_at: String,
    /// When it was last used, to five minutes.
    last_seen_at: String,
    /// The network address it began from.
    ip: String,
    /// Browser and system it began in.
    user_agent: String,
    /// Whether it is the one that asks.
    current: bool,
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
pub struct SessionList {
    /// The sessions, the latest used first.
    items: Vec<SessionInfo>,
    /// Always `null`: the list is complete.
    next_cursor: Option<String>,
}

impl SessionInfo {
    fn new(session: Session, own: Option<OwnSession>) -> Self {
        Self {
            id: session.session_id.to_string(),
            created_at: session.created_at.to_string(),
            last_seen_at: session.seen_at.to_string(),
            current: own.is_some_and(|own| own.session == session.session_id),
            ip: session.ip,
            user_agent: session.agent,
        }
    }
}

/// The caller's own account, with an `ETag`.
#[utoipa::path(get, path = "/users/me", operation_id = "readAccount", tag = "accounts", security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument)))]
async fn read(State(app): State<App>, Asked(caller): Asked) -> Result<Response, Problem> {
    Ok(super::tagged(&app.service.own_account(caller)?))
}

/// Change the caller's own account. With `If-Match`, only if it is as the caller saw it.
#[utoipa::path(patch, path = "/users/me", operation_id = "changeAccount", tag = "accounts", params(IfMatch),
    request_body = ChangeProfile,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 412, body = ProblemDocument), (status = 429, body = ProblemDocument)))]
async fn change(
    State(app): State<App>,
    OfBrowser { caller, own }: OfBrowser,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::read(&headers, body).await?;
    let change = ProfileChange {
        name: fields.text("name"),
        password: fields.text("password"),
        current_password: fields.text("current_password"),
        seen: conditional::seen(&headers),
    };
    fields.finish()?;
    Ok(super::tagged(&app.service.change_profile(caller, own, &visitor, change).await?))
}

/// Where the caller is signed in.
#[utoipa::path(get, path = "/users/me/sessions", operation_id = "listSessions", tag = "accounts", security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = SessionList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument)))]
async fn sessions(
    State(app): State<App>,
    OfBrowser { caller, own }: OfBrowser,
) -> Result<Json<SessionList>, Problem> {
    let sessions = app.service.sessions(caller)?;
    let items = sessions.into_iter().map(|session| SessionInfo::new(session, own)).collect();
    Ok(Json(SessionList { items, next_cursor: None }))
}

/// End one of the caller's own sessions.
#[utoipa::path(delete, path = "/users/me/sessions/{id}", operation_id = "endSession", tag = "accounts", params(("id" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn end_session(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    // A stranger learns nothing from the number's form.
    caller.account()?;
    let unknown = || Problem::new(Kind::SessionNotFound, ServiceError::NoSuchSession.to_string());
    let id = SessionId::parse(&id).ok_or_else(unknown)?;
    app.service.end_session(caller, &visitor, id, &conditional::seen(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
