//! `/api/v1/users/me/totp`: codes of an authenticator app.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::Asked;
use crate::http::conditional::{self, IfMatch};
use crate::http::problem::{Problem, ProblemDocument};
use crate::service::accounts::Visitor;

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(begin, remove)).routes(routes!(verify))
}

/// A code.
#[derive(ToSchema)]
pub struct Code {
    /// Six digits of the authenticator app, or a recovery code.
    pub code: String,
}

/// What an authenticator app is set up with.
#[derive(Serialize, ToSchema)]
pub struct TotpOffer {
    /// `otpauth://totp/…`: to be shown as a QR code, or read by its `secret`.
    uri: String,
}

/// Codes for the day the telephone is gone. Nobody can see them again.
#[derive(Serialize, ToSchema)]
pub struct RecoveryCodes {
    /// Each counts once.
    recovery_codes: Vec<String>,
}

/// Begin to set up an authenticator app. Signing in stays as it is until a code was verified.
#[utoipa::path(post, path = "/users/me/totp", operation_id = "beginTotp", tag = "accounts", security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = TotpOffer), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
async fn begin(
    State(app): State<App>,
    Asked(caller): Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TotpOffer>, Problem> {
    Fields::read_optional(&headers, body).await?.finish()?;
    Ok(Json(TotpOffer { uri: app.service.begin_totp(caller).await? }))
}

/// Turn codes on by showing one; answers ten recovery codes.
#[utoipa::path(post, path = "/users/me/totp/verify", operation_id = "verifyTotp", tag = "accounts", request_body = Code,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = RecoveryCodes), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 429, body = ProblemDocument)))]
async fn verify(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecoveryCodes>, Problem> {
    let code = code(&headers, body).await?;
    Ok(Json(RecoveryCodes { recovery_codes: app.service.confirm_totp(caller, &visitor, &code).await? }))
}

/// Turn codes off by showing one, in a body. With `If-Match`, only if the account is as the caller saw it.
#[utoipa::path(delete, path = "/users/me/totp", operation_id = "removeTotp", tag = "accounts", params(IfMatch), request_body = Code,
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 429, body = ProblemDocument)))]
async fn remove(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let code = code(&headers, body).await?;
    app.service.remove_totp(caller, &visitor, &code, &conditional::seen(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn code(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    let mut fields = Fields::read(headers, body).await?;
    let code = fields.required_text("code");
    fields.finish().map(|()| code)
}
