//! The server: accepts connections, speaks TLS where a certificate is given, hands requests to the router, stops gracefully.
//!
//! Promises: handshakes, headers and idle connections are bounded in time and number; stopping lets running requests finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::tls::TlsSlot;

/// HTTP connections at a time; more wait in the kernel's backlog. Upgraded WebSockets no longer count.
const CONNECTIONS_MAX: usize = 8_192;
/// A TLS handshake, or the head of a request, that takes longer is given up; so is a connection that never asks anything.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request. A join request in a query is the longest that is honest.
const HEAD_BYTES_MAX: usize = 96 * 1_024;
/// Requests in flight on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// HTTP/2 connections are asked for a sign of life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Running requests get this long once the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refuses a connection (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` turns true, then lets running requests finish for a bounded time.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsSlot>>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, address, place)) = accepted else { break };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, address, tls, router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Some((stream, address, place)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<TlsSlot>>,
    router: Router,
    watcher: Watcher,
) {
    // Small frames of signalling must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    match tls {
        None => requests(stream, address, router, watcher).await,
        Some(slot) => {
            let handshake = TlsAcceptor::from(slot.current()).accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => requests(stream, address, router, watcher).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    router: Router,
    watcher: Watcher,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&asked);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asking.store(true, Ordering::Relaxed);
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(address));
            let answer: Result<_, Infallible> = router.oneshot(request).await;
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_headers(100)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(32 * 1024);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection.into_owned()));
    // hyper's own limit begins with the HTTP version, which a silent client never tells.
    let ended = match tokio::time::timeout(HANDSHAKE_TIMEOUT, &mut connection).await {
        Ok(ended) => ended,
        Err(_) if asked.load(Ordering::Relaxed) => connection.await,
        Err(_) => return tracing::debug!(%address, "connection closed: nothing was asked"),
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended with an error");
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "servers of these tests have a route of their own")]
mod tests {
    use axum::routing::get;
    use http_body_util::{BodyExt, Empty};
    use hyper::Version;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::config::TlsFiles;

    /// Certificate and key of `localhost` in files that go with it.
    struct Certificate {
        files: TlsFiles,
        der: CertificateDer<'static>,
    }

    impl Certificate {
        fn new(name: &str) -> Self {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let file = |end: &str| {
                std::env::temp_dir().join(format!("kaigi-tls-{name}-{}.{end}", std::process::id()))
            };
            let files = TlsFiles { cert: file("crt"), key: file("key") };
            std::fs::write(&files.cert, made.cert.pem()).expect("writes");
            std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("writes");
            Self { files, der: made.cert.der().clone() }
        }
    }

    impl Drop for Certificate {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.files.cert);
            let _ = std::fs::remove_file(&self.files.key);
        }
    }

    struct Running {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn start(tls: Option<Arc<TlsSlot>>, router: Router) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = watch::channel(false);
        Running { address, stop, task: tokio::spawn(serve(listener, tls, router, stopped)) }
    }

    /// The HTTP version, status and text that a client with this ALPN list gets; an error if it does not trust the server.
    async fn fetch(
        address: SocketAddr,
        trusted: &CertificateDer<'static>,
        alpn: &[&str],
    ) -> Result<(Version, String), ()> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).map_err(drop)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").map_err(drop)?;
        let stream = TcpStream::connect(address).await.map_err(drop)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(drop)?;
        let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let request = hyper::Request::get("https://localhost/").header("host", "localhost");
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(drop)?;
        let response = if second {
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(drop)?;
            tokio::spawn(connection);
            send.send_request(request).await.map_err(drop)?
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.map_err(drop)?;
            tokio::spawn(connection);
            send.send_request(request).await.map_err(drop)?
        };
        let version = response.version();
        let body = response.into_body().collect().await.map_err(drop)?.to_bytes();
        Ok((version, String::from_utf8_lossy(&body).into_owned()))
    }

    #[tokio::test]
    async fn tls_speaks_both_versions_of_http_and_changes_certificates_while_running() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (old, new) = (Certificate::new("old"), Certificate::new("new"));
        let slot = Arc::new(TlsSlot::load(&old.files).expect("loads"));
        let server = start(Some(Arc::clone(&slot)), Router::new().route("/", get(async || "hello"))).await;
        let hello = |version| Ok((version, "hello".to_owned()));
        assert_eq!(fetch(server.address, &old.der, &["h2", "http/1.1"]).await, hello(Version::HTTP_2));
        assert_eq!(fetch(server.address, &old.der, &["http/1.1"]).await, hello(Version::HTTP_11));
        assert_eq!(fetch(server.address, &old.der, &[]).await, hello(Version::HTTP_11));
        slot.reload(&new.files).expect("loads");
        assert_eq!(fetch(server.address, &old.der, &["h2"]).await, Err(()), "the old certificate is gone");
        assert_eq!(fetch(server.address, &new.der, &["h2"]).await, hello(Version::HTTP_2));
        assert!(slot.reload(&TlsFiles { cert: new.files.key.clone(), key: new.files.key.clone() }).is_err());
        assert!(slot.reload(&TlsFiles { cert: old.files.cert.clone(), key: new.files.key.clone() }).is_err());
        assert_eq!(
            fetch(server.address, &new.der, &["h2"]).await,
            hello(Version::HTTP_2),
            "a bad reload changes nothing"
        );
        server.stop.send_replace(true);
        server.task.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed_and_one_that_asks_slowly_is_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let slow = get(async || {
            tokio::time::sleep(HANDSHAKE_TIMEOUT * 2).await;
            "worth waiting for"
        });
        let server = start(None, Router::new().route("/", slow)).await;
        let address = server.address;
        let client = async |bytes: &'static [u8]| {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(bytes).await.expect("sends");
            let mut answer = Vec::new();
            let read = tokio::time::timeout(HANDSHAKE_TIMEOUT * 3, stream.read_to_end(&mut answer));
            // An end or a reset: closed all the same.
            let _ = read.await.expect("the server closes");
            String::from_utf8_lossy(&answer).into_owned()
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let (silent, begun, second, asked) = tokio::join!(
            client(b""),
            client(b"PRI * HT"),
            client(preface),
            client(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        );
        assert!(!(silent + &begun + &second).contains("HTTP/1.1"), "nobody asked anything");
        assert!(asked.ends_with("worth waiting for"), "{asked}");
        server.stop.send_replace(true);
        server.task.await.expect("no panic");
    }

    #[tokio::test]
    async fn stopping_lets_a_running_request_finish_and_takes_no_new_one() {
        let (begun, mut running) = tokio::sync::mpsc::channel::<()>(1);
        let release = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&release);
        let slow = get(move || async move {
            let _ = begun.send(()).await;
            let _ = gate.acquire().await;
            "finished"
        });
        let server = start(None, Router::new().route("/", slow)).await;
        let address = server.address;
        let request = tokio::spawn(async move {
            let io = TokioIo::new(TcpStream::connect(address).await.expect("connects"));
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.expect("handshake");
            tokio::spawn(connection);
            let request = hyper::Request::get("/").header("host", "x").body(Empty::<bytes::Bytes>::new());
            let response = send.send_request(request.expect("a request")).await.expect("an answer");
            response.into_body().collect().await.expect("a body").to_bytes()
        });
        running.recv().await.expect("the request arrives");
        server.stop.send_replace(true);
        let refused = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STOP_TIMEOUT, refused).await.expect("the listener closes at once");
        release.add_permits(1);
        assert_eq!(&request.await.expect("no panic")[..], b"finished");
        server.task.await.expect("no panic");
    }
}
