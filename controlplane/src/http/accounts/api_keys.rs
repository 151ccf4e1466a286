//! `/api/v1/users/me/api-keys`: keys with which a server of the caller's makes tokens for `/rtc`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::body::Fields;
use crate::http::caller::Asked;
use crate::http::conditional::{self, IfMatch};
use crate::http::once::{self, IdempotencyKey};
use crate::http::problem::{Problem, ProblemDocument};
use crate::service::accounts::Visitor;
use crate::service::accounts::api_keys::ApiKey;
use crate::service::once::Begun;

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

/// A key to be made.
#[derive(ToSchema)]
pub struct CreateApiKey {
    /// What its owner calls it, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
}

/// A key.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyInfo {
    /// The issuer of its tokens: what LiveKit's SDKs call the API key.
    key: String,
    /// What its owner calls it.
    name: String,
    /// When it was made.
    created_at: String,
    /// What tokens are signed with, told once: nobody can see it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// The caller's keys.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyList {
    /// The keys.
    items: Vec<ApiKeyInfo>,
    /// Always `null`: the list is complete.
    next_cursor: Option<String>,
}

impl ApiKeyInfo {
    fn new(key: &ApiKey, shown: bool) -> Self {
        Self {
            key: key.key.to_string(),
            name: key.name.clone(),
            created_at: key.created_at.to_string(),
            secret: shown.then(|| key.secret.clone()),
        }
    }
}

/// The caller's API keys.
#[utoipa::path(get, path = "/users/me/api-keys", operation_id = "listApiKeys", tag = "accounts", security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = ApiKeyList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument)))]
async fn list(State(app): State<App>, Asked(caller): Asked) -> Result<Json<ApiKeyList>, Problem> {
    let keys = app.service.api_keys(caller)?;
    let items = keys.iter().map(|key| ApiKeyInfo::new(key, false)).collect();
    Ok(Json(ApiKeyList { items, next_cursor: None }))
}

/// Make an API key; the secret is in this answer and in no other.
#[utoipa::path(post, path = "/users/me/api-keys", operation_id = "createApiKey", tag = "accounts", params(IdempotencyKey),
    request_body = CreateApiKey,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = ApiKeyInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
async fn create(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.account()?;
    let mut fields = Fields::read(&headers, body).await?;
    let turn = match once::begin(&app, caller, &headers, "POST /users/me/api-keys", &fields)? {
        Begun::First(turn) => turn,
        Begun::Again(answer) => return Ok(once::again(answer)),
    };
    let name = fields.required_text("name");
    fields.finish()?;
    once::to_its_end(async move {
        let answer = |key: &ApiKey| once::encoded(ApiKeyInfo::new(key, true));
        let key = app.service.create_api_key(caller, &visitor, &name, &turn.keep(&answer)).await?;
        Ok(once::answered(ApiKeyInfo::new(&key, true)))
    })
    .await
}

/// Delete one of the caller's own API keys: its tokens open nothing any more.
#[utoipa::path(delete, path = "/users/me/api-keys/{key}", operation_id = "deleteApiKey", tag = "accounts", params(("key" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn delete(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    app.service.delete_api_key(caller, &visitor, &key, &conditional::seen(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
