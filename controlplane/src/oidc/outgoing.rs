//! Requests to the provider: one connection each, bounded in time and size, following nothing.
//!
//! Promises: an answer within [`PATIENCE`] or none; no more than [`ANSWER_BYTES_MAX`] are read; a redirect is an answer like any
//! other, so nobody can send us to another place; without TLS only to this host itself.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From looking the name up to the last byte.
const PATIENCE: Duration = Duration::from_secs(8);
/// Discovery documents and key sets are a few KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Why there is no answer; in words for the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// A client that trusts what this machine trusts.
pub struct Outgoing {
    tls: TlsConnector,
}

impl Outgoing {
    /// With the certificates of the system; none there is found out by the first request.
    #[must_use]
    pub fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// In words.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Err(_) => Err(NoAnswer(format!("{host} did not answer within {} s", PATIENCE.as_secs()))),
            Ok(done) => done.map_err(|error| NoAnswer(format!("{host}: {error}"))),
        }
    }

    async fn exchange(
        &self,
        request: HttpRequest,
    ) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("no host in the address")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let secure = uri.scheme_str() == Some("https");
        if !secure && !is_this_host(bare) {
            return Err("only https is asked, but for this host itself".into());
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await?;
        if secure {
            let name = ServerName::try_from(bare.to_owned())?;
            talk(self.tls.connect(name, stream).await?, request).await
        } else {
            talk(stream, request).await
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Outgoing {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a name means this host.
#[must_use]
pub fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: HttpRequest,
) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, which ends with the answer or the sender.
    let driven = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("no host in the address")?;
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    parts.uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answer = sender.send_request(hyper::Request::from_parts(parts, Full::new(Bytes::from(body)))).await?;
    let (head, body) = answer.into_parts();
    let bytes = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    driven.abort();
    Ok(HttpResponse::from_parts(head, bytes.to_vec()))
}
