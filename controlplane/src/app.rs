//! The appliance put together: the parts every route shares, and their life from start to stop.
//!
//! Order of starting: data directory, key, store, certificate, HTTP port, packet plane, operator socket; what fails says so in
//! one line and leaves nothing behind. Stopping: nothing new is taken, people get a moment to leave, requests finish, the
//! packet plane closes its peers, the store commits what is queued.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dataplane::boot::{BootError, Plane};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::auth::key::KeyError;
use crate::auth::{SigningKey, Tokens};
use crate::config::{Config, ConfigError};
use crate::http;
use crate::http::tls::{TlsError, TlsSlot};
use crate::metrics::Metrics;
use crate::operator::OperatorSocket;
use crate::plane;
use crate::service::Service;
use crate::store::{EmbeddedStore, StoreError};

/// While draining, people in meetings get this long to move on.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Even with nobody to wait for, load balancers get a moment to see that the server is not ready.
const DRAIN_MIN: Duration = Duration::from_millis(500);
/// How often draining looks whether everybody is gone.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What routes share; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// How the appliance was started; `listen` has the port it really has.
    pub config: Arc<Config>,
    /// Rules about meetings.
    pub service: Service,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The packet plane; absent in tests of the API alone.
    pub plane: Option<Arc<Plane>>,
}

/// Why the appliance did not start or run: one line for the operator, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Flags, variables or file.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The data directory.
    #[error(
        "cannot use the data directory {path}: {error}; give another with --data or fix its owner and permissions"
    )]
    Data {
        /// The directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The signing key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The store.
    #[error("{error}{}{}", if .error.remedy().is_empty() { "" } else { "; " }, .error.remedy())]
    Store {
        /// What is wrong with it.
        error: StoreError,
    },
    /// The HTTP port is taken.
    #[error(
        "cannot listen on {0}: the port is in use; stop the other program (ss -ltnp shows it) or choose another with --listen"
    )]
    PortInUse(SocketAddr),
    /// The HTTP port needs a privilege.
    #[error(
        "cannot listen on {0}: ports below 1024 need a privilege; grant CAP_NET_BIND_SERVICE or choose another with --listen"
    )]
    PortForbidden(SocketAddr),
    /// The HTTP port cannot be had for another reason.
    #[error("cannot listen on {address}: {error}; give an address of this host with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The packet plane.
    #[error("{0}")]
    Plane(#[from] BootError),
    /// Something an operator asked for was refused.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// The exit status: 2 for usage and configuration, 1 for anything else.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Tls(_) => 2,
            _ => 1,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store { error }
    }
}

/// A running appliance.
pub struct Appliance {
    app: App,
    tls: Option<Arc<TlsSlot>>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    operator: OperatorSocket,
}

impl Appliance {
    /// Starts everything; when this returns, requests are answered.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn start(mut config: Config) -> Result<Self, Failure> {
        prepare_data(&config.data)?;
        let service = open_service(&config)?;
        let tls = config.tls.as_ref().map(TlsSlot::load).transpose()?.map(Arc::new);
        let listener = listen(config.listen).await?;
        if let Ok(address) = listener.local_addr() {
            config.listen = address;
        }
        let metrics = Arc::new(Metrics::new());
        let plane = plane::start(&config)?.map(Arc::new);
        if let Some(plane) = &plane {
            let pages = plane.cores().iter().map(|core| Arc::clone(&core.counters)).collect();
            metrics.attach_cores(pages);
        }
        let app = App { config: Arc::new(config), service, metrics, plane };
        let operator = OperatorSocket::open(&app)?;
        let (stop, stopped) = watch::channel(false);
        let router = http::router(app.clone());
        let server = tokio::spawn(http::server::serve(listener, tls.clone(), router, stopped));
        Ok(Self { app, tls, stop, server, operator })
    }

    /// What routes share.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Where people open it.
    #[must_use]
    pub fn url(&self) -> String {
        let config = &self.app.config;
        if let Some(public) = &config.public_url {
            let scheme = if public.secure { "https" } else { "http" };
            return format!("{scheme}://{}", public.authority);
        }
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        if config.listen.ip().is_unspecified() {
            format!("{scheme}://localhost:{}", config.listen.port())
        } else {
            format!("{scheme}://{}", config.listen)
        }
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
        self.stop.send_replace(true);
        if self.server.await.is_err() {
            tracing::error!("the HTTP server panicked while stopping; this is a bug");
        }
        // The plane stops when its last holder lets go.
        drop(self.app);
    }
}

/// The service over the store and key of a data directory.
///
/// # Errors
/// `Store` or `Key`.
pub fn open_service(config: &Config) -> Result<Service, Failure> {
    let store = EmbeddedStore::open(&config.data)?;
    let key = SigningKey::load_or_create(&config.data)?;
    Ok(Service::new(Arc::new(store), Tokens::new(key), config.demo))
}

/// Makes the data directory, private to this user.
///
/// # Errors
/// `Data`.
pub fn prepare_data(data: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Data { path: data.display().to_string(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let mode = fs::metadata(data).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(data, Permissions::from_mode(mode & 0o700)).map_err(failed)?;
    }
    // Reading tells now what would fail later.
    fs::read_dir(data).map(drop).map_err(failed)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::PortInUse(address),
        io::ErrorKind::PermissionDenied => Failure::PortForbidden(address),
        _ => Failure::Listen { address, error },
    })
}
