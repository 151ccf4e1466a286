//! `/api/v1/users/me/programs`: what the caller allowed OAuth clients, and taking it back.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::caller::Asked;
use crate::http::conditional::{self, IfMatch};
use crate::http::problem::{Problem, ProblemDocument};
use crate::service::ServiceError;
use crate::service::accounts::Visitor;
use crate::service::oauth::tables::ClientId;

/// The routes, below `/api/v1`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(revoke))
}

/// A program that acts for the caller.
#[derive(Serialize, ToSchema)]
pub struct ProgramInfo {
    /// `client_<decimal>`.
    client_id: String,
    /// What people are shown.
    name: String,
    /// When it last got a token.
    last_used_at: String,
}

/// The programs that act for the caller.
#[derive(Serialize, ToSchema)]
pub struct ProgramList {
    /// The programs, the latest used first.
    items: Vec<ProgramInfo>,
    /// Always `null`: the list is complete.
    next_cursor: Option<String>,
}

/// The programs that act for the caller.
#[utoipa::path(get, path = "/users/me/programs", operation_id = "listPrograms", tag = "accounts", security(("bearer" = []), ("session" = [])),
    responses((status = 200, body = ProgramList), (status = 401, body = ProblemDocument),
        (status = 403, body = ProblemDocument)))]
async fn list(State(app): State<App>, Asked(caller): Asked) -> Result<Json<ProgramList>, Problem> {
    let programs = app.service.programs(caller)?;
    let items = programs.into_iter().map(|program| ProgramInfo {
        client_id: program.client.to_string(),
        name: program.name,
        last_used_at: program.used_at.to_string(),
    });
    Ok(Json(ProgramList { items: items.collect(), next_cursor: None }))
}

/// Take back what a program was allowed: it gets no more tokens, and those it has end within 15 minutes.
#[utoipa::path(delete, path = "/users/me/programs/{id}", operation_id = "revokeProgram", tag = "accounts", params(("id" = String, Path), IfMatch),
    security(("bearer" = []), ("session" = [])),
    responses((status = 204), (status = 401, body = ProblemDocument), (status = 403, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
async fn revoke(
    State(app): State<App>,
    Asked(caller): Asked,
    visitor: Visitor,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    caller.account()?;
    let id = ClientId::parse(&id).ok_or(ServiceError::NoSuchClient)?;
    app.service.revoke_program(caller, &visitor, id, &conditional::seen(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
