//! Who asks and where: the Bearer token or the browser's session, and the address the client used.
//!
//! A browser sends its cookie with every request to us, also with those another site makes it send. So a cookie counts for a
//! request that changes something only if the browser says that the request comes from a page of ours.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::cookie;
use super::problem::{Kind, Problem};
use crate::app::App;
use crate::auth::TokenError;
use crate::service::accounts::sessions::OwnSession;
use crate::service::{Caller, ServiceError};

/// Longest token looked at; ours are under 1 KiB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest address a client can have asked at: a name of 253 characters (RFC 1035), a colon and a port.
const AUTHORITY_BYTES_MAX: usize = 253 + 6;

/// The caller of a request. A header that is there must count: a bad token never becomes a guest. A session that has ended
/// is none: its browser may still come in as a guest.
pub struct Asked(pub Caller);

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        OfBrowser::from_request_parts(parts, app).await.map(|asked| Self(asked.caller))
    }
}

/// The caller, and the session it asks in if it is a signed-in browser.
pub struct OfBrowser {
    /// Who asks.
    pub caller: Caller,
    /// By which session.
    pub own: Option<OwnSession>,
}

impl FromRequestParts<App> for OfBrowser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(token) = bearer(&parts.headers)? {
            let caller = app.service.authenticate(token)?;
            counted(app, caller)?;
            return Ok(Self { caller, own: None });
        }
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        let own = match cookie::read(&parts.headers, origin.secure) {
            Some(value) => app.service.session(value).await?,
            None => None,
        };
        if own.is_some() && !parts.method.is_safe() && comes_from(parts, &origin) != Some(true) {
            return Err(cross_site());
        }
        let caller = own.map_or(Caller::Nobody, |own| Caller::User(own.user));
        counted(app, caller)?;
        Ok(Self { caller, own })
    }
}

/// Takes one from the allowance of who asks; strangers have that of their address alone.
fn counted(app: &App, caller: Caller) -> Result<(), Problem> {
    caller.person().map_or(Ok(()), |user| app.guard.user(user)).map_err(Into::into)
}

/// A request that no page of another site made; programs, which say nothing about pages, are fine. Guards what sets a cookie.
pub struct OwnPage;

impl FromRequestParts<App> for OwnPage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(origin) = Origin::from_request_parts(parts, app).await;
        if comes_from(parts, &origin) == Some(false) { Err(cross_site()) } else { Ok(Self) }
    }
}

/// Whether a page of this origin made the request, by `Sec-Fetch-Site` (W3C Fetch Metadata), else by `Origin` (RFC 6454).
/// `None` where the client says neither.
fn comes_from(parts: &Parts, origin: &Origin) -> Option<bool> {
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return Some(site == "same-origin");
    }
    text("origin").map(|from| from.eq_ignore_ascii_case(&origin.page("")))
}

fn cross_site() -> Problem {
    Problem::new(Kind::CrossSite, "the request was not made by a page of this server")
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
    /// Whether clients reach it over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

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
            .filter(|authority| {
                !authority.as_str().contains('@') && authority.as_str().len() <= AUTHORITY_BYTES_MAX
            })
            .map_or_else(|| format!("localhost:{}", app.config.listen.port()), |a| a.to_string());
        Ok(Self { secure: app.config.tls.is_some(), authority })
    }
}
