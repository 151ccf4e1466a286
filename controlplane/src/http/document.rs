//! What every operation of the API document has in common, added to what each route says of itself.
//!
//! Promises: every response has a description (OpenAPI requires one), errors are declared as problem documents, and what may
//! happen to any call (a bad token, a body that cannot be taken) is listed with every call.

use axum::http::StatusCode;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::problem::MEDIA_TYPE;

/// May happen to every call.
const ANY_CALL: [&str; 3] = ["400", "401", "404"];
/// May happen to every call that may carry a body.
const WITH_BODY: [&str; 5] = ["408", "413", "415", "422", "503"];

/// Completes the document that the routes made.
pub fn complete(document: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("kaigi")));
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    schemes.insert("session".to_owned(), session.into());
    for (path, item) in &mut document.paths.paths {
        let PathItem { get, post, patch, delete, .. } = item;
        for operation in [&mut *get, &mut *delete].into_iter().flatten() {
            // A list is there even when it is empty.
            let known = if path.contains('{') { &ANY_CALL[..] } else { &ANY_CALL[..2] };
            common(operation, known);
        }
        for operation in [post, patch].into_iter().flatten() {
            let known = if path.contains('{') { &ANY_CALL[..] } else { &ANY_CALL[..2] };
            common(operation, known);
            common(operation, &WITH_BODY);
        }
        for operation in [get, &mut item.post, &mut item.patch, delete].into_iter().flatten() {
            describe(operation);
        }
    }
}

/// Adds responses the route did not list itself.
fn common(operation: &mut Operation, codes: &[&str]) {
    for code in codes {
        operation.responses.responses.entry((*code).to_owned()).or_insert_with(|| {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            ResponseBuilder::new().content(MEDIA_TYPE, problem).build().into()
        });
    }
}

fn describe(operation: &mut Operation) {
    for (code, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let status = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let Some(status) = status else { continue };
        if response.description.is_empty() {
            status.canonical_reason().unwrap_or_default().clone_into(&mut response.description);
        }
        if status.is_client_error() || status.is_server_error() {
            as_problem(response);
        }
    }
}

fn as_problem(response: &mut Response) {
    if let Some(content) = response.content.shift_remove("application/json") {
        response.content.insert(MEDIA_TYPE.to_owned(), content);
    }
}
