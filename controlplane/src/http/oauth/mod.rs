//! The authorization server over HTTP, at the root: `/oauth/authorize`, `/oauth/token`, `/oauth/revoke`, its metadata (RFC 8414);
//! and `/api/v1/oauth-clients` for admins.

pub mod authorize;
pub mod clients;
pub mod programs;
pub mod token;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::caller::Origin;
use super::routes::Routes;
use crate::app::App;
use crate::service::oauth::SCOPE;

/// The routes at the root.
pub fn routes() -> Routes<App> {
    Routes::default()
        .get("/.well-known/oauth-authorization-server", metadata)
        .get("/oauth/authorize", authorize::ask)
        .post("/oauth/authorize", authorize::decide)
        .post("/oauth/token", token::token)
        .post("/oauth/revoke", token::revoke)
}

/// What clients need to know of this server (RFC 8414).
async fn metadata(State(_app): State<App>, origin: Origin) -> Response {
    Json(json!({
        "issuer": origin.page(""),
        "authorization_endpoint": origin.page("/oauth/authorize"),
        "token_endpoint": origin.page("/oauth/token"),
        "revocation_endpoint": origin.page("/oauth/revoke"),
        "jwks_uri": origin.page("/oauth/jwks.json"),
        "service_documentation": origin.page("/api/v1/openapi.json"),
        "scopes_supported": [SCOPE],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "authorization_response_iss_parameter_supported": true,
    }))
    .into_response()
}

/// An address with more parameters in its query.
pub(in crate::http) fn with_query(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut address = uri.to_owned();
    for (at, (name, value)) in parameters.iter().enumerate() {
        let first = at == 0 && !uri.contains('?');
        address.push(if first { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                address.push(char::from(byte));
            } else {
                address.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_behind_those_that_are_there() {
        assert_eq!(
            with_query("https://a/b", &[("code", "x"), ("state", "a b&c=ü")]),
            "https://a/b?code=x&state=a%20b%26c%3D%C3%BC"
        );
        assert_eq!(with_query("https://a/b?c=d", &[("code", "x")]), "https://a/b?c=d&code=x");
    }
}
