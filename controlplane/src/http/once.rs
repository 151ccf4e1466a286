//! `Idempotency-Key` on calls that make something: the same request again is answered as before.
//!
//! Promises: a call that has its turn comes to its end also when its client hangs up; only then is its key free.
//!
//! The key is a string of structured fields (RFC 8941 section 3.3.3), as the draft has it, or the same without its quotes, as many
//! clients send it.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument;
use utoipa::IntoParams;

use super::body::Fields;
use super::problem::{Kind, Problem};
use crate::app::App;
use crate::service::once::{Begun, Request, Turn};
use crate::service::{Caller, ServiceError};

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// Longest key, characters.
const KEY_CHARS_MAX: usize = 255;

/// The header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header to OpenAPI; it is read from the headers themselves")]
pub struct IdempotencyKey {
    /// A name for this request that the caller uses for no other, best a random UUID. The same request with it is answered as the
    /// first one was, for 24 hours; another request with it is refused. Keys are each caller's own, and the latest 128 count.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!#-\\[\\]-~]+$")]
    idempotency_key: Option<String>,
}

/// Begins a call that makes something, or finds how it was answered.
///
/// # Errors
/// `IdempotencyKeyMalformed`, `IdempotencyKeyInUse`, `IdempotencyKeyReused`, `TokenRequired` for a key of nobody's.
pub fn begin(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    call: &str,
    fields: &Fields,
) -> Result<Begun, Problem> {
    let Some(key) = key(headers)? else { return Ok(Begun::First(Turn::free())) };
    Ok(app.service.once(caller, Request { key, call, body: fields.digest() })?)
}

/// Makes what a call makes to its end: a client that hangs up would drop the call, and with it its turn, while its write is on its way.
///
/// # Errors
/// The call's own.
pub async fn to_its_end(
    call: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    match tokio::spawn(call.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away.
            Err(_) => Err(ServiceError::Draining.into()),
        },
    }
}

/// The answer of before.
pub fn again(answer: Vec<u8>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], answer).into_response()
}

/// An answer as it is kept.
pub fn encoded(answer: impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&answer).expect("answers are plain structs with string keys")
}

/// An answer as it is sent the first time.
pub fn answered(answer: impl Serialize) -> Response {
    Json(answer).into_response()
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let malformed = || {
        let detail = format!(
            "Idempotency-Key is one string of 1 to {KEY_CHARS_MAX} visible ASCII characters other than \" and \\"
        );
        Problem::new(Kind::IdempotencyKeyMalformed, detail)
    };
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed())?.trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let fine = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    let fits = (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(fine);
    if fits && values.next().is_none() { Ok(Some(key)) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_string_with_or_without_quotes() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, value.parse().expect("a value"));
            }
            key(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.kind)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["\"8e03978e-40d5\""]), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(of(&["8e03978e-40d5"]), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(of(&[&"k".repeat(255)]), Ok(Some("k".repeat(255))));
        for bad in ["", "\"", "\"\"", "\"a", "a b", "a\"b", "a\\b", "é", &"k".repeat(256)] {
            assert_eq!(of(&[bad]), Err(Kind::IdempotencyKeyMalformed), "{bad}");
        }
        assert_eq!(of(&["a", "a"]), Err(Kind::IdempotencyKeyMalformed));
    }
}
