//! Getting in and out: set-up, invitations, sign-in, sign-out. What signs in sets the session's cookie.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::UserInfo;
use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::{OfBrowser, Origin, OwnPage};
use crate::http::cookie;
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::service::Role;
use crate::service::accounts::Visitor;
use crate::service::accounts::input::NewAccount;
use crate::service::accounts::signin::{Credentials, SignedIn};

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(set_up)).routes(routes!(accept)).routes(routes!(sign_in, sign_out))
}

/// The first account.
#[derive(ToSchema)]
pub struct SetUp {
    /// What the printed link ends in.
    pub token: String,
    /// Name, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// The address to sign in with.
    #[schema(max_length = 254)]
    pub email: String,
    /// At least 12 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: String,
}

/// A password set by an invitation.
#[derive(ToSchema)]
pub struct AcceptInvitation {
    /// What the link ends in.
    pub token: String,
    /// At least 12 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: String,
}

/// What somebody signs in with.
#[derive(ToSchema)]
pub struct SignIn {
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// Six digits of the authenticator app, or a recovery code; where the account has them.
    pub code: Option<String>,
}

/// Make the first account, an admin, with the set-up link's token. Signs in.
#[utoipa::path(post, path = "/setup", operation_id = "setUp", tag = "accounts", request_body = SetUp, security(()),
    responses((status = 200, body = UserInfo), (status = 403, body = ProblemDocument),
        (status = 409, body = ProblemDocument)))]
async fn set_up(
    State(app): State<App>,
    _ours: OwnPage,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::read(&headers, body).await?;
    let token = fields.required_text("token");
    let new = NewAccount {
        name: fields.required_text("name"),
        email: fields.required_text("email"),
        password: Some(fields.required_text("password")),
        role: Role::Admin,
    };
    fields.finish()?;
    let signed_in = app.service.set_up(&visitor, &token, new).await?;
    tracing::info!(user = %signed_in.user.user_id, "the first account was made");
    welcome(&signed_in, &origin)
}

/// Set a password with an invitation's token. Signs in, unless the account takes codes.
#[utoipa::path(post, path = "/invitation", operation_id = "acceptInvitation", tag = "accounts", request_body = AcceptInvitation, security(()),
    responses((status = 200, body = UserInfo), (status = 403, body = ProblemDocument)))]
async fn accept(
    State(app): State<App>,
    _ours: OwnPage,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::read(&headers, body).await?;
    let (token, password) = (fields.required_text("token"), fields.required_text("password"));
    fields.finish()?;
    let signed_in = app.service.accept_invitation(&visitor, &token, password).await?;
    tracing::info!(user = %signed_in.user.user_id, "an invitation was accepted");
    welcome(&signed_in, &origin)
}

/// Sign in: sets a cookie that stands for the account.
#[utoipa::path(post, path = "/session", operation_id = "signIn", tag = "accounts", request_body = SignIn, security(()),
    responses((status = 200, body = UserInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 429, body = ProblemDocument)))]
async fn sign_in(
    State(app): State<App>,
    _ours: OwnPage,
    origin: Origin,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::read(&headers, body).await?;
    let given = Credentials {
        email: fields.required_text("email"),
        password: fields.required_text("password"),
        code: fields.text("code"),
    };
    fields.finish()?;
    let signed_in = app.service.sign_in(&visitor, given).await.inspect_err(|error| {
        tracing::info!(ip = %visitor.ip, %error, "a sign-in was refused");
    })?;
    tracing::info!(user = %signed_in.user.user_id, ip = %visitor.ip, "signed in");
    welcome(&signed_in, &origin)
}

/// Sign out: the cookie's session is over. Fine also without one.
#[utoipa::path(delete, path = "/session", operation_id = "signOut", tag = "accounts", security((), ("session" = [])),
    responses((status = 204), (status = 403, body = ProblemDocument)))]
async fn sign_out(
    State(app): State<App>,
    OfBrowser { own, .. }: OfBrowser,
    origin: Origin,
) -> Result<Response, Problem> {
    if let Some(own) = own {
        app.service.sign_out(own).await?;
    }
    Ok(with_cookie(StatusCode::NO_CONTENT.into_response(), cookie::forget(origin.is_secure())))
}

pub(super) fn welcome(signed_in: &SignedIn, origin: &Origin) -> Result<Response, Problem> {
    let kept = cookie::keep(&signed_in.cookie, origin.is_secure());
    let kept = kept.ok_or_else(|| Problem::new(Kind::Internal, "the session has no cookie"))?;
    let mut answer = Json(UserInfo::from(&signed_in.user)).into_response();
    answer.headers_mut().append(header::SET_COOKIE, kept);
    Ok(answer)
}

fn with_cookie(mut answer: Response, value: Option<HeaderValue>) -> Response {
    if let Some(value) = value {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
    answer
}
