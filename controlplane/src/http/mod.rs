//! The HTTP edge: routes, parsing, problem documents, the embedded web client, and the server below it all.
//!
//! Path: socket -> TLS -> hyper -> here -> `service`. Promises: every error is a problem document with a stable type; no
//! token, passcode or query string reaches the log; bodies, headers and waiting times are bounded.

pub mod accounts;
pub mod body;
pub mod caller;
pub mod conditional;
pub mod cookie;
pub mod document;
pub mod guarding;
pub mod limits;
pub mod meetings;
pub mod oauth;
pub mod observe;
pub mod once;
pub mod ops;
pub mod paging;
pub mod problem;
pub mod routes;
pub mod server;
pub mod visitor;
pub mod web;

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::cors::{Any, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use problem::{Kind, Problem};
use routes::Routes;

/// How long a browser may remember that it may ask across origins.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);

/// Title and description of the API document.
#[derive(OpenApi)]
#[openapi(info(
    title = "kaigi",
    description = "Meetings of a kaigi appliance. Errors are RFC 9457 problem documents with a stable type."
))]
struct ApiDocument;

/// Everything this server answers: the API, pages and operator routes of this module, and what is given: the part of the API
/// that rooms answer, and the media doors.
pub fn router(app: App, rooms: OpenApiRouter<App>, doors: Router) -> Router {
    let (api, document) = api(rooms);
    let own = api.merge(beside_the_api(document).into_router()).with_state(app.clone());
    own.merge(doors)
        .fallback(elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(observe::refuse_in_our_words))
        .layer(from_fn(observe::keep_answers_fresh))
        .layer(from_fn_with_state(app.clone(), guarding::guard))
        .layer(compression())
        .layer(cors())
        .layer(from_fn(observe::tell_media_types))
        .layer(security_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(security_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(security_header(header::X_FRAME_OPTIONS, "DENY"))
        .layer(from_fn_with_state(app, observe::observe))
}

/// The routes of this module outside the API: the API's document, pages, the authorization server, operators' routes.
pub fn beside_the_api(document: utoipa::openapi::OpenApi) -> Routes<App> {
    let described = move || {
        let document = document.clone();
        async move { axum::Json(document) }
    };
    oauth::routes()
        .merge(accounts::external::pages())
        .get("/api/v1/openapi.json", described)
        .get("/healthz", ops::healthz)
        .get("/readyz", ops::readyz)
        .get("/metrics", ops::metrics)
        .get("/oauth/jwks.json", ops::jwks)
        .get("/problems/{slug}", ops::problem_page)
        .get("/", web::page)
        .get("/j/{number}", web::page)
        .get("/j/{number}/", web::page)
        .get("/setup", web::page)
        .get("/invitation", web::page)
        .get("/signin", web::page)
        .get("/account", web::page)
        .get("/admin", web::page)
        .get("/assets/{*path}", web::asset)
}

/// The API's routes and their document; one cannot change without the other.
fn api(rooms: OpenApiRouter<App>) -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(ApiDocument::openapi())
        .nest(
            "/api/v1",
            meetings::router()
                .merge(limits::router())
                .merge(accounts::router())
                .merge(oauth::clients::router())
                .merge(oauth::programs::router())
                .merge(rooms),
        )
        .split_for_parts();
    document::complete(&mut document);
    (router, document)
}

/// Text is compressed; what already is (fonts, images, sound) is left alone, and what has a strong entity tag: that is of these bytes
/// (RFC 9110 section 8.8.3).
fn compression() -> CompressionLayer<impl Predicate> {
    let unbound = |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
        headers.get(header::ETAG).is_none_or(|tag| tag.as_bytes().starts_with(b"W/"))
    };
    let worthwhile = DefaultPredicate::new()
        .and(unbound)
        .and(NotForContentType::const_new("font/"))
        .and(NotForContentType::const_new("audio/"))
        // Encoders want the length of an answer, which a compressed one does not tell.
        .and(NotForContentType::const_new(observe::DESCRIPTION))
        .and(NotForContentType::const_new(observe::FRAGMENT));
    CompressionLayer::new().compress_when(worthwhile)
}

/// Any page may call the API and the media doors with Bearer tokens. Browsers send no cookie along (no credentials are
/// allowed here), and a session counts for pages of our own alone (`caller`).
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            HeaderName::from_static(once::HEADER),
        ])
        .expose_headers([
            header::LOCATION,
            header::ETAG,
            header::RETRY_AFTER,
            header::LINK,
            HeaderName::from_static("accept-patch"),
            HeaderName::from_static("accept-post"),
        ])
        .max_age(CORS_MAX_AGE)
}

fn security_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

async fn elsewhere(request: Request) -> Result<Response, Problem> {
    web::root_file(request.uri().path(), request.headers())
}

async fn wrong_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "this address does not take that method")
}
