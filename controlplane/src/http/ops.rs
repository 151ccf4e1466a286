//! Doors for operators and machines: health, readiness, metrics, public keys, problem pages.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Problem};
use crate::app::App;
use crate::plane;

/// The process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The server takes new meetings.
pub async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.service.is_draining() {
        return Err(Problem::new(Kind::Draining, "the server is draining"));
    }
    app.service.ready().map_err(|error| Problem { kind: Kind::StorageFailed, ..error.into() })?;
    if let Some(fault) = plane::fault(&app.plane) {
        return Err(Problem::new(Kind::MediaFailed, fault));
    }
    Ok("ready\n")
}

/// Prometheus text format.
pub async fn metrics(State(app): State<App>) -> Response {
    let (meetings, people) = app.service.live_totals();
    let text = app.metrics.text(meetings, people, app.service.is_draining());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT), (header::CACHE_CONTROL, "no-store")], text)
        .into_response()
}

/// The keys that verify our tokens (RFC 7517).
pub async fn jwks(State(app): State<App>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.service.jwks())).into_response()
}

/// What a problem type means.
pub async fn problem_page(Path(slug): Path<String>) -> Result<String, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.slug() == slug);
    let kind = kind.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such problem type"))?;
    Ok(format!("{} ({})\n\n{}\n", kind.title(), kind.status().as_u16(), kind.meaning()))
}
