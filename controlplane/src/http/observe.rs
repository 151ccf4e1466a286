//! Around every request: time it, catch our own panics, keep API answers out of caches.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::problem::{Kind, MEDIA_TYPE, Problem};
use crate::app::App;

/// Counts and times the request; a panic in a handler is a 500 and a line in the log, not a lost connection.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = method_label(request.method());
    // The path alone: a query may carry a token.
    let path = request.uri().path().to_owned();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        tracing::error!(method, path, "a handler panicked; this is a bug");
        Problem::new(Kind::Internal, "the server made a mistake").into_response()
    });
    let status = response.status();
    let seconds = begun.elapsed().as_secs_f64();
    if let Ok(histogram) = app.metrics.http_seconds.get_metric_with_label_values(&[method, class(status)]) {
        histogram.observe(seconds);
    }
    tracing::debug!(method, path, status = status.as_u16(), seconds, "answered");
    response
}

/// A request the framework refused before a handler saw it (an address that is no UTF-8, a query that cannot be read) is
/// answered like every other error. Errors of OAuth are JSON of their own.
pub async fn refuse_in_our_words(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let declared = response.headers().get(header::CONTENT_TYPE);
    let ours = declared.is_some_and(|value| value == MEDIA_TYPE || value == "application/json");
    if response.status() == StatusCode::BAD_REQUEST && !ours {
        return Problem::new(Kind::MalformedRequest, "the address or the query cannot be read")
            .into_response();
    }
    response
}

/// What says nothing about caching is not to be kept.
pub async fn keep_answers_fresh(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The media type of session descriptions (RFC 8866 section 8.1).
pub const DESCRIPTION: &str = "application/sdp";
/// The media type of pieces of them about ICE (RFC 8840 section 10).
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Whoever asks what a media door takes is told its media type, also by a preflight (RFC 9725 section 4.1).
pub async fn tell_media_types(request: Request, next: Next) -> Response {
    let asks = *request.method() == Method::OPTIONS;
    let path = request.uri().path();
    let door = path.strip_prefix("/whip/").or_else(|| path.strip_prefix("/whep/"));
    let told = door.filter(|_| asks).map(|rest| match rest.contains('/') {
        false => (HeaderName::from_static("accept-post"), DESCRIPTION),
        true => (HeaderName::from_static("accept-patch"), FRAGMENT),
    });
    let mut response = next.run(request).await;
    if let Some((name, media_type)) = told {
        response.headers_mut().insert(name, HeaderValue::from_static(media_type));
    }
    response
}

/// A bounded set of label values, whatever methods clients invent.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
