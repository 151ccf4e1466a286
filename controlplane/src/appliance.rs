//! The life of the appliance from start to stop.
//!
//! Order of starting: data directory, store, key, certificate, HTTP port, packet plane, operator socket; what fails says so in
//! one line and leaves nothing behind. Stopping: nothing new is taken, people get a moment to leave, requests finish, the
//! packet plane closes its peers, the store commits what is queued.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::base::handoff::DtlsVersion;
use dataplane::boot::Plane;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use utoipa::openapi::OpenApi;

use crate::app::{App, Failure, open_service, open_store, prepare_data};
use crate::config::{Config, Dtls};
use crate::dispatch::{Dispatch, addresses};
use crate::guard::Guard;
use crate::http;
use crate::http::routes::Route;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::operator::{DailyBackups, OldAnswers, OperatorSocket, setup_link};
use crate::plane;
use crate::service::Service;
use crate::signal::{self, Signal};
use crate::tls::TlsSlot;

/// While draining, people in meetings get this long to move on.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Even with nobody to wait for, load balancers get a moment to see that the server is not ready.
const DRAIN_MIN: Duration = Duration::from_millis(500);
/// How often draining looks whether everybody is gone.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Every route that the API's document does not have.
#[must_use]
pub fn routes_beside_the_api() -> Vec<Route> {
    let mut routes = http::beside_the_api(OpenApi::default()).known().to_vec();
    routes.extend(signal::known_doors());
    routes
}

/// A running appliance.
pub struct Appliance {
    app: App,
    signal: Signal,
    tls: Option<Arc<TlsSlot>>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    operator: OperatorSocket,
    backups: DailyBackups,
    old_answers: OldAnswers,
}

impl Appliance {
    /// Starts everything; when this returns, requests are answered.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn start(mut config: Config) -> Result<Self, Failure> {
        prepare_data(&config.data)?;
        let store = open_store(&config)?;
        let service = open_service(&config, &store)?;
        let tls = config.tls.as_ref().map(TlsSlot::load).transpose()?.map(Arc::new);
        let provider = config.oidc.as_ref().map(Provider::new).transpose()?.map(Arc::new);
        let listener = listen(config.listen).await?;
        if let Ok(address) = listener.local_addr() {
            config.listen = address;
        }
        let metrics = Arc::new(Metrics::new());
        let plane = Arc::new(plane::start(&config)?);
        metrics.attach_cores(plane.cores().iter().map(|core| Arc::clone(&core.counters)).collect());
        if let Some(counts) = plane.tcp_counts() {
            metrics.attach_tcp(counts);
        }
        metrics.show_plane(plane.io_name(), plane.suite_name());
        let signal = start_signal(&config, &service, &metrics, &plane)?;
        let guard = Arc::new(Guard::new(&config, Arc::clone(&metrics)));
        let app = App { config: Arc::new(config), service, metrics, guard, provider, plane, store };
        let operator = OperatorSocket::open(&app)?;
        let backups = DailyBackups::start(&app);
        let old_answers = OldAnswers::start(app.service.clone());
        let (stop, stopped) = watch::channel(false);
        let doors = signal::router(app.clone(), Some(signal.clone()));
        let router = http::router(app.clone(), signal::api(Some(signal.clone())), doors);
        let server = tokio::spawn(http::server::serve(listener, tls.clone(), router, stopped));
        Ok(Self { app, signal, tls, stop, server, operator, backups, old_answers })
    }

    /// What routes share.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Where people open it.
    #[must_use]
    pub fn url(&self) -> String {
        self.app.config.url()
    }

    /// A link by which the first account is made; `None` once there is one.
    #[must_use]
    pub fn setup_link(&self) -> Option<String> {
        setup_link::new_link(&self.app).ok()
    }

    /// Loads the certificate again, if there is one.
    ///
    /// # Errors
    /// Which file is wrong; the old certificate stays in use.
    pub fn reload_certificate(&self) -> Result<bool, Failure> {
        match (&self.tls, &self.app.config.tls) {
            (Some(slot), Some(files)) => slot.reload(files).map(|()| true).map_err(Into::into),
            _ => Ok(false),
        }
    }

    /// Stops gracefully: drains, finishes requests, closes what is left.
    pub async fn stop(self) {
        let service = &self.app.service;
        service.start_draining();
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(DRAIN_MIN).await;
        while service.live_totals().1 > 0 && begun.elapsed() < DRAIN_MAX {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let (_, people) = service.live_totals();
        if people > 0 {
            tracing::warn!(people, "people are still connected and are cut off");
        }
        self.operator.close();
        self.backups.stop();
        self.old_answers.stop();
        self.stop.send_replace(true);
        if self.server.await.is_err() {
            tracing::error!("the HTTP server panicked while stopping; this is a bug");
        }
        self.signal.stop();
        // The plane stops when its last holder lets go.
        drop(self.app);
    }
}

/// Rooms on top of a running packet plane.
fn start_signal(
    config: &Config,
    service: &Service,
    metrics: &Arc<Metrics>,
    plane: &Arc<Plane>,
) -> Result<Signal, Failure> {
    let own = addresses::of_this_host();
    for doubt in addresses::doubts(&config.node_ip, &own) {
        tracing::warn!("--node-ip {doubt}");
    }
    let addresses = if config.node_ip.is_empty() { own } else { config.node_ip.clone() };
    tracing::info!(?addresses, tcp_port = plane.tcp_port(), "media candidates");
    let dtls = match config.dtls {
        Dtls::V1_2 => DtlsVersion::V12,
        Dtls::V1_3 => DtlsVersion::V13,
    };
    let dispatch = Dispatch::start(Arc::clone(plane), addresses, dtls)
        .map_err(|error| Failure::Refused(format!("cannot watch the packet cores: {error}")))?;
    Ok(Signal::start(service.clone(), dispatch, Arc::clone(metrics)))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::PortInUse(address),
        io::ErrorKind::PermissionDenied => Failure::PortForbidden(address),
        _ => Failure::Listen { address, error },
    })
}
