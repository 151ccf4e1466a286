//! What every operation of the API document has in common, added to what each route says of itself.
//!
//! Promises: every response has a description (OpenAPI requires one), errors are declared as problem documents, what may
//! happen to any call (a bad token, a body that cannot be taken, a full disk) is listed with every call, and bodies have no
//! fields but those listed.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::problem::MEDIA_TYPE;

/// May happen to every call: what cannot be read, a token that does not count, a disabled account, somebody who asks too fast, a server
/// that has too much to do.
const ANY_CALL: [&str; 5] = ["400", "401", "403", "429", "503"];
/// May happen to every call that names something; a list is there even when it is empty.
const NAMED: [&str; 1] = ["404"];
/// May happen to every call that may carry a body.
const WITH_BODY: [&str; 4] = ["408", "413", "415", "422"];
/// May happen to every call that writes; what admins alone may do is written down also when it is refused.
const WRITES: [&str; 1] = ["507"];

/// Completes the document that the routes made.
pub fn complete(document: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("kaigi")));
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    schemes.insert("session".to_owned(), session.into());
    let mut bodies = BTreeSet::new();
    for (path, item) in &mut document.paths.paths {
        let PathItem { get, post, patch, delete, .. } = item;
        for (method, operation) in [("get", get), ("post", post), ("patch", patch), ("delete", delete)] {
            let Some(operation) = operation else { continue };
            common(operation, &ANY_CALL);
            if path.contains('{') {
                common(operation, &NAMED);
            }
            let is_audited = operation.tags.iter().flatten().any(|tag| tag == "admin");
            if method != "get" || is_audited {
                common(operation, &WRITES);
            }
            if operation.request_body.is_some() || !matches!(method, "get" | "delete") {
                common(operation, &WITH_BODY);
            }
            bodies.extend(body(operation));
            describe(operation);
        }
    }
    for name in bodies {
        let schemas = document.components.as_mut().map(|components| &mut components.schemas);
        if let Some(RefOr::T(Schema::Object(object))) = schemas.and_then(|schemas| schemas.get_mut(&name)) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
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

/// The name of the body's schema. A body that may be left out is not `null` for that.
fn body(operation: &mut Operation) -> Option<String> {
    let RefOr::T(body) = operation.request_body.as_mut()? else { return None };
    let Some(RefOr::T(content)) = body.content.get_mut("application/json") else { return None };
    if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
        content.schema = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
    }
    match &content.schema {
        Some(RefOr::Ref(schema)) => schema.ref_location.rsplit('/').next().map(str::to_owned),
        _ => None,
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
