//! Request bodies: bounded and declared. JSON is an object, read field by field so that every fault has its JSON pointer; session
//! descriptions are text.

use std::time::Duration;

use aws_lc_rs::digest::{self, Digest, SHA256};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::{Kind, Problem};
use crate::guard::Refusal;
use crate::service::FieldError;
use crate::service::timestamp::Timestamp;

/// Longest body of an API call: a topic of 500 four-byte characters, escaped, fits ten times.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// This much of a body that is too long is read and thrown away: most clients send everything before they read an answer,
/// and would see a reset instead of the 413.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Objects and lists inside each other; nothing the API takes has more than three.
const DEPTH_MAX: usize = 32;
/// A body that trickles in longer than this is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The members of a JSON object; each is taken at most once, what is left over is unknown.
pub struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
    digest: Digest,
}

impl Fields {
    /// Reads a body that must be there.
    ///
    /// # Errors
    /// Too large, too slow, not declared as JSON, not JSON, not an object.
    pub async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = collect(headers, body).await?;
        declared_json(headers)?;
        Self::parse(&bytes)
    }

    /// Reads a body that may be left out altogether.
    ///
    /// # Errors
    /// As [`Fields::read`], if there is one.
    pub async fn read_optional(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = collect(headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self { map: Map::new(), errors: Vec::new(), digest: digest(&bytes) });
        }
        declared_json(headers)?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if depth(bytes) > DEPTH_MAX {
            let deep = Problem::new(
                Kind::MalformedJson,
                format!("the body is nested deeper than {DEPTH_MAX} levels"),
            );
            return Err(Problem { reason: Some(Refusal::BodyDepth), ..deep });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            // Its text would quote the input, and input may be a passcode.
            let place = format!("line {} column {}", error.line(), error.column());
            Problem::new(Kind::MalformedJson, format!("the body is not JSON: error at {place}"))
        })?;
        match value {
            Value::Object(map) => Ok(Self { map, errors: Vec::new(), digest: digest(bytes) }),
            _ => Err(Problem::fields(vec![FieldError::new("", "must be an object")])),
        }
    }

    /// A hash of the body as it came: the same for the same request.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        self.digest.as_ref()
    }

    /// A string that must be there.
    pub fn required_text(&mut self, name: &str) -> String {
        match self.map.get(name) {
            None | Some(Value::Null) => {
                self.map.remove(name);
                self.fault(name, "is required");
                String::new()
            }
            Some(_) => self.text(name).unwrap_or_default(),
        }
    }

    /// A string; `null` counts as left out.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, "must be a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// A string that `null` takes away: left out, `null`, or text.
    pub fn nullable_text(&mut self, name: &str) -> Option<Option<String>> {
        if self.map.get(name).is_some_and(Value::is_null) {
            self.map.remove(name);
            return Some(None);
        }
        self.text(name).map(Some)
    }

    /// A boolean.
    pub fn switch(&mut self, name: &str) -> Option<bool> {
        self.take(name, "must be true or false", |value| value.as_bool())
    }

    /// An integer.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        self.take(name, "must be an integer", |value| value.as_i64())
    }

    /// One of the words a type has.
    pub fn value<T: DeserializeOwned>(&mut self, name: &str, wanted: &str) -> Option<T> {
        self.take(name, wanted, |value| serde_json::from_value(value).ok())
    }

    /// A point in time.
    pub fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.take(name, "must be a time like 2024-01-15T10:00:00Z (RFC 3339)", |value| {
            Timestamp::parse(value.as_str()?)
        })
    }

    /// Nothing is left over and nothing was wrong.
    ///
    /// # Errors
    /// All faults at once.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.map).keys() {
            self.fault(name, "is not a field this call knows");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::fields(self.errors)) }
    }

    fn take<T>(&mut self, name: &str, wanted: &str, read: impl Fn(Value) -> Option<T>) -> Option<T> {
        let value = self.map.remove(name).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.fault(name, wanted);
        }
        read
    }

    fn fault(&mut self, name: &str, detail: &str) {
        let short: String = name.chars().take(64).collect();
        let escaped = short.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError::new(format!("/{escaped}"), detail));
    }
}

fn digest(bytes: &[u8]) -> Digest {
    digest::digest(&SHA256, bytes)
}

/// How deep brackets are nested, outside strings; before anything is built of them.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Reads a body nobody wants, as far as such are read, so that its sender sees the answer.
pub async fn discard(headers: &HeaderMap, body: Body) {
    let _ = collect(headers, body).await;
}

/// Reads a body of text that must be there and be of this media type.
///
/// # Errors
/// Too large, too slow, declared as something else, not UTF-8.
pub async fn text(headers: &HeaderMap, body: Body, media_type: &str) -> Result<String, Problem> {
    let bytes = collect(headers, body).await?;
    if essence(headers) != media_type {
        return Err(Problem::new(Kind::UnsupportedMediaType, format!("send Content-Type: {media_type}")));
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(Kind::MalformedDescription, "the body is not UTF-8"))
}

/// Reads a body of bytes.
///
/// # Errors
/// Too large, too slow.
pub async fn bytes(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    collect(headers, body).await
}

async fn collect(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let asks_first = headers.contains_key(header::EXPECT);
    if declared
        .is_some_and(|length: usize| length > DISCARDED_BYTES_MAX || (asks_first && length > BODY_BYTES_MAX))
    {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, read(body)).await {
        Err(_) => Err(Problem::new(Kind::Timeout, "the body did not arrive in time")),
        Ok(read) => read,
    }
}

async fn read(mut body: Body) -> Result<Vec<u8>, Problem> {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Kind::MalformedJson, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > DISCARDED_BYTES_MAX {
            break;
        }
        if length <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        }
    }
    if length > BODY_BYTES_MAX { Err(too_large()) } else { Ok(kept) }
}

fn too_large() -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("the body is longer than {BODY_BYTES_MAX} bytes"))
}

/// The declared media type without its parameters.
#[must_use]
pub fn essence(headers: &HeaderMap) -> String {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn declared_json(headers: &HeaderMap) -> Result<(), Problem> {
    if essence(headers) == "application/json" {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, "send Content-Type: application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).expect("an object")
    }

    #[test]
    fn every_fault_is_listed_with_its_pointer() {
        let mut given =
            fields(r#"{"topic":5,"start_time":"soon","duration":1.5,"a/b~c":1,"recording_enabled":"yes"}"#);
        given.required_text("topic");
        given.time("start_time");
        given.integer("duration");
        given.switch("recording_enabled");
        let problem = given.finish().expect_err("all of it is wrong");
        let pointers: Vec<&str> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/topic", "/start_time", "/duration", "/recording_enabled", "/a~1b~0c"]);
    }

    #[test]
    fn null_counts_as_left_out_where_a_field_is_optional() {
        let mut given = fields(r#"{"topic":null,"passcode":null,"name":null}"#);
        assert_eq!(given.nullable_text("passcode"), Some(None));
        assert_eq!(given.nullable_text("absent"), None);
        assert_eq!(given.text("name"), None);
        assert_eq!(given.required_text("topic"), "");
        let problem = given.finish().expect_err("the topic is required");
        assert_eq!(problem.errors.len(), 1);
    }

    #[test]
    fn what_is_no_object_is_refused_at_its_root() {
        for (json, kind) in [
            ("[]", Kind::InvalidFields),
            ("\"x\"", Kind::InvalidFields),
            ("null", Kind::InvalidFields),
            ("", Kind::MalformedJson),
            ("{", Kind::MalformedJson),
            ("{\"a\":1,}", Kind::MalformedJson),
            ("\u{feff}{}", Kind::MalformedJson),
        ] {
            assert_eq!(Fields::parse(json.as_bytes()).err().map(|p| p.kind), Some(kind), "{json}");
        }
        let deep = "[".repeat(10_000);
        assert_eq!(Fields::parse(deep.as_bytes()).err().map(|p| p.kind), Some(Kind::MalformedJson));
    }
}
