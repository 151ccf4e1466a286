//! A small client of the HTTP API: JSON in, JSON out, problem documents as errors.
//!
//! Place: under `kaigi` and `kaigi-load`. Promises: every failure says what was asked of whom and what to try. Plain HTTP only:
//! on the server itself the API listens on loopback, and TLS in front of it is somebody else's.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use url::Url;

/// Answers longer than this are not ours.
const BODY_BYTES_MAX: usize = 4 << 20;
/// The server answers in milliseconds; this is for one that does not answer at all.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The API of one server.
#[derive(Clone)]
pub struct Api {
    base: Url,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why a call did not give what was asked for.
#[derive(Debug)]
pub enum ApiError {
    /// The URL cannot be used.
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answered.
    Unreachable {
        /// Who was asked.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server refused.
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Stable end of the problem's type, empty without one.
        problem: String,
        /// What the server says about it.
        detail: String,
    },
    /// The answer is not what the API promises.
    Unexpected {
        /// Who was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, reason } => write!(f, "{url} is not a usable --url: {reason}"),
            Self::Unreachable { url, reason } => {
                write!(
                    f,
                    "cannot reach {url} ({reason}): is the server running there? choose another with --url"
                )
            }
            Self::Refused { status, detail, .. } => {
                write!(f, "{detail} ({})", status.as_u16())?;
                match *status {
                    StatusCode::UNAUTHORIZED => {
                        f.write_str(": give a token with --token (kaigid token --user NAME prints one)")
                    }
                    StatusCode::FORBIDDEN => f.write_str(": the token must be the host's"),
                    _ => Ok(()),
                }
            }
            Self::Unexpected { url, reason } => write!(f, "{url} is not a kaigi server: {reason}"),
        }
    }
}

impl std::error::Error for ApiError {}

impl Api {
    /// The API at `url`, such as `http://127.0.0.1:7880`.
    ///
    /// # Errors
    /// [`ApiError::Url`].
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ApiError> {
        let unusable = |reason: String| ApiError::Url { url: url.to_owned(), reason };
        let base = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
        match base.scheme() {
            "http" => {}
            "https" => return Err(unusable("use the server's own http:// address".to_owned())),
            scheme => return Err(unusable(format!("{scheme}:// is not http://"))),
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_nodelay(true);
        Ok(Self { base, token, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// The same server, asked by somebody else.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// Where the server is.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// Calls `path` (absolute) and answers the JSON of a success; `null` for an empty body.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let (url, bytes) = self.send(method, path, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| ApiError::Unexpected { url, reason: "the answer is not JSON".to_owned() })
    }

    /// Calls `path` and answers the text of a success.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn text(&self, path: &str) -> Result<String, ApiError> {
        let (_, bytes) = self.send(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(String, Bytes), ApiError> {
        let url = self
            .base
            .join(path)
            .map_err(|error| ApiError::Url { url: path.to_owned(), reason: error.to_string() })?;
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| ApiError::Url { url: url.to_string(), reason: error.to_string() })?;
        let unreachable = |reason: String| ApiError::Unreachable { url: url.to_string(), reason };
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(cause(&error)))?;
            let status = response.status();
            let collected = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let bytes = collected.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok((status, bytes))
        };
        let (status, bytes) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", TIMEOUT.as_secs())))??;
        if status.is_success() { Ok((url.to_string(), bytes)) } else { Err(refused(status, &bytes)) }
    }
}

/// The innermost error: what the system said, without the library's wrapping.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// An error answer: an RFC 9457 document if the server speaks our API, else its status.
fn refused(status: StatusCode, bytes: &[u8]) -> ApiError {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let mut detail = text("detail");
    if detail.is_empty() {
        detail = text("title");
    }
    if detail.is_empty() {
        detail = status.canonical_reason().unwrap_or("the server refused").to_owned();
    }
    for error in document["errors"].as_array().into_iter().flatten() {
        let part = |key: &str| error[key].as_str().unwrap_or_default();
        detail.push_str(&format!("; {} {}", part("pointer"), part("detail")));
    }
    let problem = text("type").rsplit('/').next().unwrap_or_default().to_owned();
    ApiError::Refused { status, problem, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_urls_are_refused_with_a_reason() {
        for (url, word) in [("127.0.0.1:7880", "URL"), ("https://x", "http://"), ("ftp://x", "ftp")] {
            let error = Api::new(url, None).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(url) && error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn problem_documents_become_readable_errors() {
        let body = br#"{"type":"/problems/invalid-fields","title":"t","status":422,
            "errors":[{"pointer":"/topic","detail":"is missing"}]}"#;
        let error = refused(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(error.to_string(), "t; /topic is missing (422)");
        assert!(matches!(error, ApiError::Refused { problem, .. } if problem == "invalid-fields"));
        let plain = refused(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(plain.to_string(), "Bad Gateway (502)");
        assert!(refused(StatusCode::UNAUTHORIZED, b"").to_string().contains("--token"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let api = Api::new(&format!("http://{address}"), None).expect("a URL");
        let error = api.text("/healthz").await.expect_err("nobody listens").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--url"), "{error}");
    }
}
