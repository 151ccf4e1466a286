//! Who asks and where: the Bearer token and the address the client used.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::problem::Problem;
use crate::app::App;
use crate::auth::TokenError;
use crate::service::{Caller, ServiceError};

/// Longest token looked at; ours are under 1 KiB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The caller of a request. A header that is there must count: a bad token never becomes a guest.
pub struct Asked(pub Caller);

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match bearer(&parts.headers)? {
            None => Ok(Self(Caller::Nobody)),
            Some(token) => Ok(Self(app.service.authenticate(token)?)),
        }
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750), if there is a header.
///
/// # Errors
/// `BadToken` for another scheme or a token nobody would issue.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ServiceError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = ServiceError::BadToken(TokenError::Malformed);
    let text = value.to_str().map_err(|_| malformed.clone())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(|| malformed.clone())?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(malformed);
    }
    Ok(Some(token))
}

/// Where clients reach this server: `--public-url`, else the address this client asked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    secure: bool,
    authority: String,
}

impl Origin {
    /// The origin for links to pages.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "https" } else { "http" }, self.authority)
    }

    /// What a LiveKit client connects to; it adds `/rtc` itself.
    #[must_use]
    pub fn media(&self) -> String {
        format!("{}://{}", if self.secure { "wss" } else { "ws" }, self.authority)
    }
}

impl FromRequestParts<App> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        if let Some(public) = &app.config.public_url {
            return Ok(Self { secure: public.secure, authority: public.authority.clone() });
        }
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let asked = host.or(parts.uri.authority().map(Authority::as_str));
        let authority = asked
            .and_then(|text| text.parse::<Authority>().ok())
            .filter(|authority| !authority.as_str().contains('@'))
            .map_or_else(|| format!("localhost:{}", app.config.listen.port()), |a| a.to_string());
        Ok(Self { secure: app.config.tls.is_some(), authority })
    }
}
