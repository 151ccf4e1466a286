//! `/api/v1/oauth-clients`: which programs may ask to act for people. For admins.

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
use crate::http::paging::{PageParams, PageQuery, page};
use crate::http::problem::{Problem, ProblemDocument};
use crate::service::ServiceError;
use crate::service::accounts::Visitor;
use crate::service::accounts::tables::Action;
use crate::service::oauth::clients::NewClient;
use crate::service::oauth::tables::{Client, ClientId};
use crate::service::once::Begun;

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

/// A client to be registered.
#[derive(ToSchema)]
pub struct CreateOauthClient {
    /// What people are shown, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Where codes may be sent, letter by letter: https, http of the own machine, or a scheme of an app. At most 8.
    #[schema(max_items = 8)]
    pub redirect_uris: Option<Vec<String>>,
    /// Whether it can keep a secret: it gets one, and may act for itself.
    #[schema(default = false)]
    pub confidential: Option<bool>,
    /// Whether it is the operator's own: people are not asked.
    #[schema(default = false)]
    pub first_party: Option<bool>,
}

/// A client.
#[derive(Serialize, ToSchema)]
pub struct OauthClientInfo {
    /// `client_<decimal>`.
    client_id: String,
    /// What people are shown.
    name: String,
    /// Where codes may be sent.
    redirect_uris: Vec<String>,
    /// Whether it has a secret.
    confidential: bool,
    /// Whether people are not asked.
    first_party: bool,
    /// `user_<decimal>` that it is in meetings of its own.
    user_id: String,
    /// When it was made.
    created_at: String,
    /// Its secret, told once: nobody can see it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

/// One page of clients.
#[derive(Serialize, ToSchema)]
pub struct OauthClientList {
    /// The clients.
    items: Vec<OauthClientInfo>,
    /// Ask with this cursor for the next page.
    next_cursor: Option<String>,
}

impl OauthClientInfo {
    fn new(client: &Client, client_secret: Option<String>) -> Self {
        Self {
            client_id: client.client_id.to_string(),
            name: client.name.clone(),
            redirect_uris: client.redirect_uris.clone(),
            confidential: client.secret.is_some(),
            first_party: client.first_party,
            user_id: client.user_id.to_string(),
            created_at: client.created_at.to_string(),
            client_secret,
        }
    }
}

/// All OAuth clients. For admins.
#[utoipa::path(get, path = "/oauth-clients", operation_id = "listOauthClients", tag = "admin", params(PageParams),
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = OauthClientList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
async fn list(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    query: PageQuery,
) -> Result<Json<OauthClientList>, Problem> {
    let (cursor, limit) = page(query)?;
    let page = app.service.oauth_clients(caller, &visitor, cursor.as_deref(), limit).await?;
    let items = page.items.iter().map(|client| OauthClientInfo::new(client, None)).collect();
    Ok(Json(OauthClientList { items, next_cursor: page.next_cursor }))
}

/// Register an OAuth client. For admins.
#[utoipa::path(post, path = "/oauth-clients", operation_id = "createOauthClient", tag = "admin", params(IdempotencyKey),
    request_body = CreateOauthClient,
    security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = OauthClientInfo), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
async fn create(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asks = caller.account()?;
    let mut fields = Fields::read(&headers, body).await?;
    app.service.may_administer(caller, &visitor, Action::CreateOauthClient, asks).await?;
    let turn = match once::begin(&app, caller, &headers, "POST /oauth-clients", &fields)? {
        Begun::First(turn) => turn,
        Begun::Again(answer) => return Ok(once::again(answer)),
    };
    let new = NewClient {
        name: fields.required_text("name"),
        redirect_uris: fields.value("redirect_uris", "must be a list of addresses").unwrap_or_default(),
        confidential: fields.switch("confidential").unwrap_or(false),
        first_party: fields.switch("first_party").unwrap_or(false),
    };
    fields.finish()?;
    once::to_its_end(async move {
        let answer = |(client, secret): &(Client, Option<String>)| {
            once::encoded(OauthClientInfo::new(client, secret.clone()))
        };
        let (client, secret) =
            app.service.create_oauth_client(caller, &visitor, new, &turn.keep(&answer)).await?;
        Ok(once::answered(OauthClientInfo::new(&client, secret)))
    })
    .await
}

/// Delete an OAuth client: whatever it was given counts no more. For admins.
#[utoipa::path(delete, path = "/oauth-clients/{id}", operation_id = "deleteOauthClient", tag = "admin", params(("id" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn delete(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    caller.account()?;
    let id = ClientId::parse(&id).ok_or(ServiceError::NoSuchClient)?;
    app.service.delete_oauth_client(caller, &visitor, id, &conditional::seen(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
