//! The cookie of a signed-in browser: HttpOnly, SameSite=Lax, for this host alone; with TLS also Secure and `__Host-`
//! (RFC 6265bis section 4.1.3).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::service::accounts::sessions::AGE_MAX_MS;

/// Longest cookie value looked at; ours are under 100 bytes.
const VALUE_BYTES_MAX: usize = 256;

/// How long a sign-in by the provider may take, seconds.
const SIGN_IN_AGE_S: i64 = crate::oidc::pending::AGE_MAX.as_secs() as i64;

const fn name(secure: bool) -> &'static str {
    if secure { "__Host-kaigi" } else { "kaigi" }
}

/// The name of what a browser keeps while its owner is at the provider.
const fn sign_in_name(secure: bool) -> &'static str {
    if secure { "__Host-kaigi-sign-in" } else { "kaigi-sign-in" }
}

/// The session a browser sends, if it sends one.
#[must_use]
pub fn read(headers: &HeaderMap, secure: bool) -> Option<&str> {
    value_of(headers, name(secure))
}

/// The sign-in by the provider that a browser began.
#[must_use]
pub fn read_sign_in(headers: &HeaderMap, secure: bool) -> Option<&str> {
    value_of(headers, sign_in_name(secure))
}

fn value_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .filter(|value| value.len() <= VALUE_BYTES_MAX)
}

/// Tells the browser to keep a session.
#[must_use]
pub fn keep(value: &str, secure: bool) -> Option<HeaderValue> {
    set(name(secure), value, AGE_MAX_MS / 1_000, secure)
}

/// Tells the browser to forget it.
#[must_use]
pub fn forget(secure: bool) -> Option<HeaderValue> {
    set(name(secure), "", 0, secure)
}

/// Tells the browser to keep a sign-in that was begun.
#[must_use]
pub fn keep_sign_in(value: &str, secure: bool) -> Option<HeaderValue> {
    set(sign_in_name(secure), value, SIGN_IN_AGE_S, secure)
}

/// Tells the browser to forget it.
#[must_use]
pub fn forget_sign_in(secure: bool) -> Option<HeaderValue> {
    set(sign_in_name(secure), "", 0, secure)
}

fn set(name: &str, value: &str, age_s: i64, secure: bool) -> Option<HeaderValue> {
    let end = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{end}");
    HeaderValue::from_str(&text).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookie_is_found_among_others_and_under_its_own_name_only() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; kaigi=1.2.x; c"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-kaigi=3.4.y"));
        assert_eq!(read(&headers, false), Some("1.2.x"));
        assert_eq!(read(&headers, true), Some("3.4.y"));
        assert_eq!(read(&HeaderMap::new(), true), None);
    }

    #[test]
    fn a_cookie_is_bound_to_the_host_and_to_tls_where_there_is_tls() {
        let text = |value: Option<HeaderValue>| value.and_then(|v| v.to_str().ok().map(str::to_owned));
        assert_eq!(
            text(keep("v", true)).as_deref(),
            Some("__Host-kaigi=v; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure")
        );
        assert_eq!(text(forget(false)).as_deref(), Some("kaigi=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
    }
}
