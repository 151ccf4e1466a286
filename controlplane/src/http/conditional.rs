//! Conditional requests (RFC 9110 section 13): entity tags on answers, and `If-Match` on every PATCH and DELETE of the API but the one
//! that ends the caller's own session; those of WHIP and WHEP have tags of their own (`signal::whip`).
//!
//! Promises: what the caller may not do, or what is not there, is said before what was changed meanwhile (section 13.2.1); the tag is
//! compared in the step that changes the thing.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::IntoParams;

use crate::service::Seen;

/// Entity tags looked at in one request; of more, the first ones count.
const TAGS_MAX: usize = 64;

/// The condition.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header to OpenAPI; it is read from the headers themselves")]
pub struct IfMatch {
    /// The `ETag` of the state the caller saw: in another state nothing happens, and the answer is 412. `*` is any state.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The tags of `If-Match`; `None` without one, and for `*` alone (section 13.1.1). Weak ones match nothing (section 8.8.3.2), and neither
/// does what is no tag, as `*` in a list is none.
#[must_use]
pub fn tags(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    values.peek()?;
    let members = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    // Empty members are none (section 5.6.1).
    let members: Vec<&str> =
        members.map(str::trim).filter(|member| !member.is_empty()).take(TAGS_MAX).collect();
    if members == ["*"] {
        return None;
    }
    let tag =
        |member: &&str| member.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).map(str::to_owned);
    Some(members.iter().filter_map(tag).collect())
}

/// What the caller has seen.
#[must_use]
pub fn seen(headers: &HeaderMap) -> Seen {
    tags(headers).map_or_else(Seen::default, Seen::one_of)
}

/// An answer with the tag of what it shows.
pub fn tagged(tag: &str, body: impl Serialize) -> Response {
    let mut answer = Json(body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_tags_and_what_is_none_match_nothing() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().expect("a value"));
            }
            tags(&headers)
        };
        let some = |tags: &[&str]| Some(tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&["\"a\""]), some(&["a"]));
        assert_eq!(of(&["\"a\", \"b\"", "W/\"c\""]), some(&["a", "b"]));
        assert_eq!(of(&["", "a", "\""]), some(&[]));
        for listed in [&["*, \"a\""][..], &["\"a\",*"], &["\"a\"", "*"], &["*", "\"a\""]] {
            assert_eq!(of(listed), some(&["a"]), "{listed:?}");
        }
        assert_eq!(of(&["*", "*"]), some(&[]));
        assert_eq!(of(&[" *,", ""]), None);
        let many = vec!["\"x\""; TAGS_MAX + 1].join(",");
        assert_eq!(of(&[&many]).map(|tags| tags.len()), Some(TAGS_MAX));
    }
}
