//! `/api/v1/users`, `/api/v1/audit`: what admins do.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::UserInfo;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{Asked, Origin};
use crate::http::conditional::{self, IfMatch};
use crate::http::once::{self, IdempotencyKey};
use crate::http::paging::{PageParams, PageQuery, page};
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::ids::UserId;
use crate::service::accounts::Visitor;
use crate::service::accounts::admin::Invited;
use crate::service::accounts::input::{AccountChange, NewAccount};
use crate::service::accounts::tables::{Action, AuditEntry, Outcome};
use crate::service::once::Begun;
use crate::service::{Caller, Role, ServiceError};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, change))
        .routes(routes!(invite))
        .routes(routes!(reset_totp))
        .routes(routes!(audit))
}

/// An account to be made.
#[derive(ToSchema)]
pub struct CreateUser {
    /// Name, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// The address to sign in with.
    #[schema(max_length = 254)]
    pub email: String,
    /// Its first password; left out, the answer has a link by which its owner sets one.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: Option<String>,
    /// What it may do; `user` if left out.
    pub role: Option<Role>,
}

/// Changes to an account; what is left out stays.
#[derive(ToSchema)]
pub struct ChangeUser {
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it is disabled: its password, sessions and tokens stop counting.
    pub disabled: Option<bool>,
}

/// An account with the link by which its password is set.
#[derive(Serialize, ToSchema)]
pub struct UserInvited {
    /// The account.
    user: UserInfo,
    /// Counts once, for seven days. Nobody can see it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation_url: Option<String>,
}

/// One page of accounts.
#[derive(Serialize, ToSchema)]
pub struct UserList {
    /// The accounts.
    items: Vec<UserInfo>,
    /// Ask with this cursor for the next page.
    next_cursor: Option<String>,
}

/// A line of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditInfo {
    /// When.
    at: String,
    /// `user_<decimal>` of who did it; `null` for the operator, on the machine itself, and for `fail_sign_in`.
    actor: Option<String>,
    /// What.
    action: Action,
    /// `user_<decimal>` of whom it was done to, if to anybody.
    target: Option<String>,
    /// From which network address; `null` for the operator.
    ip: Option<String>,
    /// How it ended.
    outcome: Outcome,
    /// How many such acts the line stands for: failed sign-ins come together.
    count: u32,
}

/// One page of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditList {
    /// The lines, newest first.
    items: Vec<AuditInfo>,
    /// Ask with this cursor for the next page.
    next_cursor: Option<String>,
}

impl UserInvited {
    fn new(invited: &Invited, origin: &Origin) -> Self {
        let invitation_url = invited.link.as_ref().map(|link| origin.page(&format!("/invitation#{link}")));
        Self { user: UserInfo::from(&invited.user), invitation_url }
    }
}

impl From<AuditEntry> for AuditInfo {
    fn from(entry: AuditEntry) -> Self {
        Self {
            at: entry.at.to_string(),
            actor: entry.actor.map(|user| user.to_string()),
            action: entry.action,
            target: entry.target.map(|user| user.to_string()),
            ip: entry.ip,
            outcome: entry.outcome,
            count: entry.count.unwrap_or(1),
        }
    }
}

/// All accounts. For admins.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "admin", params(PageParams), security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
async fn list(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    query: PageQuery,
) -> Result<Json<UserList>, Problem> {
    let (cursor, limit) = page(query)?;
    let page = app.service.accounts(caller, &visitor, cursor.as_deref(), limit).await?;
    Ok(Json(UserList { items: page.items.iter().map(Into::into).collect(), next_cursor: page.next_cursor }))
}

/// Make an account. For admins.
#[utoipa::path(post, path = "/users", operation_id = "createUser", tag = "admin", params(IdempotencyKey),
    request_body = CreateUser,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInvited), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
async fn create(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asks = caller.account()?;
    let mut fields = Fields::read(&headers, body).await?;
    // Who is no admin any more hears no answer of before.
    app.service.may_administer(caller, &visitor, Action::CreateUser, asks).await?;
    let turn = match once::begin(&app, caller, &headers, "POST /users", &fields)? {
        Begun::First(turn) => turn,
        Begun::Again(answer) => return Ok(once::again(answer)),
    };
    let new = NewAccount {
        name: fields.required_text("name"),
        email: fields.required_text("email"),
        password: fields.text("password"),
        role: fields.value("role", "must be admin or user").unwrap_or_default(),
    };
    fields.finish()?;
    once::to_its_end(async move {
        let answer = |invited: &Invited| once::encoded(UserInvited::new(invited, &origin));
        let invited = app.service.create_account(caller, &visitor, new, &turn.keep(&answer)).await?;
        Ok(once::answered(UserInvited::new(&invited, &origin)))
    })
    .await
}

/// One account, with an `ETag`. For admins.
#[utoipa::path(get, path = "/users/{id}", operation_id = "readUser", tag = "admin", params(("id" = String, Path)),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument)))]
async fn read(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let user = user_id(caller, &id)?;
    Ok(super::tagged(&app.service.account(caller, &visitor, user).await?))
}

/// Change what an account may do. For admins; the last one stays. With `If-Match`, only if it is as the caller saw it.
#[utoipa::path(patch, path = "/users/{id}", operation_id = "changeUser", tag = "admin", params(("id" = String, Path), IfMatch),
    request_body = ChangeUser,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo, headers(("ETag" = String))), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn change(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let user = user_id(caller, &id)?;
    let mut fields = Fields::read(&headers, body).await?;
    let change = AccountChange {
        role: fields.value("role", "must be admin or user"),
        disabled: fields.switch("disabled"),
    };
    fields.finish()?;
    let seen = conditional::seen(&headers);
    Ok(super::tagged(&app.service.change_account(caller, &visitor, user, change, &seen).await?))
}

/// A new link by which an account's password is set. For admins.
#[utoipa::path(post, path = "/users/{id}/invitation", operation_id = "inviteUser", tag = "admin",
    params(("id" = String, Path), IdempotencyKey),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInvited), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
async fn invite(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let user = user_id(caller, &id)?;
    let fields = Fields::read_optional(&headers, body).await?;
    app.service.may_administer(caller, &visitor, Action::Invite, user).await?;
    let turn = match once::begin(&app, caller, &headers, &format!("POST /users/{user}/invitation"), &fields)?
    {
        Begun::First(turn) => turn,
        Begun::Again(answer) => return Ok(once::again(answer)),
    };
    fields.finish()?;
    once::to_its_end(async move {
        let answer = |invited: &Invited| once::encoded(UserInvited::new(invited, &origin));
        let invited = app.service.invite_again(caller, &visitor, user, &turn.keep(&answer)).await?;
        Ok(once::answered(UserInvited::new(&invited, &origin)))
    })
    .await
}

/// Take the codes off an account whose owner lost telephone and recovery codes. For admins; not for the own.
#[utoipa::path(delete, path = "/users/{id}/totp", operation_id = "resetTotp", tag = "admin", params(("id" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn reset_totp(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let user = user_id(caller, &id)?;
    Ok(super::tagged(&app.service.reset_totp(caller, &visitor, user, &conditional::seen(&headers)).await?))
}

/// Who did what, newest first. For admins.
#[utoipa::path(get, path = "/audit", operation_id = "readAuditLog", tag = "admin", params(PageParams), security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = AuditList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
async fn audit(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    query: PageQuery,
) -> Result<Json<AuditList>, Problem> {
    let (cursor, limit) = page(query)?;
    let page = app.service.audit_log(caller, &visitor, cursor.as_deref(), limit).await?;
    let items = page.items.into_iter().map(Into::into).collect();
    Ok(Json(AuditList { items, next_cursor: page.next_cursor }))
}

/// A number that cannot be one is an account that does not exist; strangers are not told so.
fn user_id(caller: Caller, text: &str) -> Result<UserId, Problem> {
    caller.account()?;
    UserId::parse(text).ok_or_else(|| Problem::new(Kind::UserNotFound, ServiceError::NoSuchUser.to_string()))
}
