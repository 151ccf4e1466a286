//! The authorization server (RFC 6749 as RFC 9700 wants it): programs that act for people, or for themselves.
//!
//! Promises: codes only with PKCE S256, only to a redirect URI that was registered letter by letter, each once; a refresh token
//! counts once, and showing an old one ends its family; a code that is shown again ends what it became. Clients get to
//! meetings and to neither accounts nor administration. Not here: forms and redirects (`http::oauth`).

pub mod authorize;
pub mod clients;
pub mod grants;
pub mod programs;
pub mod tables;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::GrantError;

/// The one scope: the person's meetings.
pub const SCOPE: &str = "meetings";

/// Whether a scope that is asked for can be given; none asked for is that one.
///
/// # Errors
/// `InvalidScope`.
pub fn check_scope(scope: Option<&str>) -> Result<(), GrantError> {
    match scope {
        None | Some("" | SCOPE) => Ok(()),
        Some(_) => Err(GrantError::InvalidScope),
    }
}

/// The challenge of a verifier (RFC 7636 section 4.2, S256).
fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}
