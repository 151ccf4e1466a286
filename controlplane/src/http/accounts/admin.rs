//! `/api/v1/users`, `/api/v1/audit`: what admins do.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::UserInfo;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{Asked, Origin};
use crate::http::paging::{PageParams, PageQuery, page};
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::ids::UserId;
use crate::service::accounts::Visitor;
use crate::service::accounts::admin::Invited;
use crate::service::accounts::input::{AccountChange, NewAccount};
use crate::service::accounts::tables::{Action, AuditEntry, Outcome};
use crate::service::{Caller, Role, ServiceError};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(change))
        .routes(routes!(invite))
        .routes(routes!(reset_totp))
        .routes(routes!(audit))
}

/// An account to be made.
#[derive(ToSchema)]
pub struct CreateUser {
    /// Name, 1 to 100 characters.
    pub name: String,
    /// The address to sign in with.
    pub email: String,
    /// Its first password; left out, the answer has a link by which its owner sets one.
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
#[utoipa::path(get, path = "/users", tag = "admin", params(PageParams), security(("bearer" = []), ("session" = [])),
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
#[utoipa::path(post, path = "/users", tag = "admin", request_body = CreateUser,
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
) -> Result<Json<UserInvited>, Problem> {
    caller.account()?;
    let mut fields = Fields::read(&headers, body).await?;
    let new = NewAccount {
        name: fields.required_text("name"),
        email: fields.required_text("email"),
        password: fields.text("password"),
        role: fields.value("role", "must be admin or user").unwrap_or_default(),
    };
    fields.finish()?;
    Ok(invited(app.service.create_account(caller, &visitor, new).await?, &origin))
}

/// Change what an account may do. For admins; the last one stays.
#[utoipa::path(patch, path = "/users/{id}", tag = "admin", params(("id" = String, Path)), request_body = ChangeUser,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument)))]
async fn change(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UserInfo>, Problem> {
    let user = user_id(caller, &id)?;
    let mut fields = Fields::read(&headers, body).await?;
    let change = AccountChange {
        role: fields.value("role", "must be admin or user"),
        disabled: fields.switch("disabled"),
    };
    fields.finish()?;
    let user = app.service.change_account(caller, &visitor, user, change).await?;
    Ok(Json(UserInfo::from(&user)))
}

/// A new link by which an account's password is set. For admins.
#[utoipa::path(post, path = "/users/{id}/invitation", tag = "admin", params(("id" = String, Path)),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInvited), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument)))]
async fn invite(
    State(app): State<App>,
    Asked(caller): Asked,
    origin: Origin,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UserInvited>, Problem> {
    let user = user_id(caller, &id)?;
    Fields::read_optional(&headers, body).await?.finish()?;
    Ok(invited(app.service.invite_again(caller, &visitor, user).await?, &origin))
}

/// Take the codes off an account whose owner lost telephone and recovery codes. For admins; not for the own.
#[utoipa::path(delete, path = "/users/{id}/totp", tag = "admin", params(("id" = String, Path)),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = UserInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument)))]
async fn reset_totp(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Json<UserInfo>, Problem> {
    let user = user_id(caller, &id)?;
    Ok(Json(UserInfo::from(&app.service.reset_totp(caller, &visitor, user).await?)))
}

/// Who did what, newest first. For admins.
#[utoipa::path(get, path = "/audit", tag = "admin", params(PageParams), security(("bearer" = []), ("session" = [])),
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

fn invited(invited: Invited, origin: &Origin) -> Json<UserInvited> {
    let invitation_url = invited.link.map(|link| origin.page(&format!("/invitation#{link}")));
    Json(UserInvited { user: UserInfo::from(&invited.user), invitation_url })
}

/// A number that cannot be one is an account that does not exist; strangers are not told so.
fn user_id(caller: Caller, text: &str) -> Result<UserId, Problem> {
    caller.account()?;
    UserId::parse(text).ok_or_else(|| Problem::new(Kind::UserNotFound, ServiceError::NoSuchUser.to_string()))
}
