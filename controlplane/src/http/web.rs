//! The web client, embedded in the binary: pages that are always fresh, hashed assets that never change.

use std::borrow::Cow;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::{Kind, Problem};

/// The built client. The build script leaves a page that says how to build it where there is none.
#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Files;

/// What pages may load and do: everything from here, media and sockets, nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; worker-src 'self' blob:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const PAGE_PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), geolocation=()";
/// A year: the name changes with the content.
const FOREVER: &str = "public, max-age=31536000, immutable";
const ALWAYS_ASK: &str = "no-cache";

/// The page of every address that is one of the client's.
pub async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    serve("index.html", &headers)
}

/// A file of the client.
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    serve(&format!("assets/{path}"), &headers)
}

/// A file at the root of the client (icons, manifest), else nothing.
pub fn root_file(path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    match path.strip_prefix('/') {
        Some(name) if !name.is_empty() => serve(name, headers),
        _ => Err(not_found()),
    }
}

fn serve(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    // A build with debug assertions reads the directory, where such a name would lead elsewhere.
    if name.split('/').any(|part| part == "..") {
        return Err(not_found());
    }
    let file = Files::get(name).ok_or_else(not_found)?;
    let etag = etag(&file);
    let mut answer = if headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (encoding, bytes) = encoded(name, file.data, headers);
        let mut answer = bytes.into_owned().into_response();
        if let Some(encoding) = encoding {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
        answer
    };
    let answered = answer.headers_mut();
    let caching = if name.starts_with("assets/") { FOREVER } else { ALWAYS_ASK };
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    answered.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answered.insert(header::ETAG, etag);
    }
    if name.ends_with(".html") {
        answered.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        answered.insert("permissions-policy", HeaderValue::from_static(PAGE_PERMISSIONS));
    }
    Ok(answer)
}

/// The file as compressed when the client was built, where that exists and the browser takes it; else the compression layer
/// does it.
fn encoded(
    name: &str,
    plain: Cow<'static, [u8]>,
    headers: &HeaderMap,
) -> (Option<&'static str>, Cow<'static, [u8]>) {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    for (encoding, suffix) in [("br", "br"), ("gzip", "gz")] {
        if let (true, Some(file)) = (takes(accepted, encoding), Files::get(&format!("{name}.{suffix}"))) {
            return (Some(encoding), file.data);
        }
    }
    (None, plain)
}

/// Whether an `Accept-Encoding` names this encoding with a weight above 0 (RFC 9110 section 12.5.3).
fn takes(accepted: &str, encoding: &str) -> bool {
    accepted.split(',').any(|part| {
        let mut parts = part.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        named && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Weak: the same content may leave in several encodings.
    format!("W/\"{hex}\"")
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "there is nothing at this address")
}
