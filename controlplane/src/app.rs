//! What every route and operator command shares: the parts of the appliance, and why it may fail to start.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use dataplane::boot::{BootError, Plane};
use zeroize::Zeroizing;

use crate::auth::key::KeyError;
use crate::auth::sealing::Sealing;
use crate::auth::{KeyRing, Tokens};
use crate::config::{Config, ConfigError};
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::service::{Limits, Service, records};
use crate::store::{EmbeddedStore, Store, StoreError};
use crate::tls::TlsError;

/// What routes share; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// How the appliance was started; `listen` has the port it really has.
    pub config: Arc<Config>,
    /// Rules about meetings.
    pub service: Service,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may ask how much, and what is no request of ours.
    pub guard: Arc<Guard>,
    /// By whom people may sign in, if by anybody.
    pub provider: Option<Arc<Provider>>,
    /// The packet plane.
    pub plane: Arc<Plane>,
    /// The store below the service, for backups and keys.
    pub store: Arc<EmbeddedStore>,
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
    /// The store is not what was written.
    #[error("{error}; bring back everything that was acknowledged with `{command}`")]
    Damaged {
        /// What is wrong with it.
        error: StoreError,
        /// What brings it back.
        command: String,
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

/// The store of a data directory.
///
/// # Errors
/// `Store`, or `Damaged` with the command that brings it back.
pub fn open_store(config: &Config) -> Result<Arc<EmbeddedStore>, Failure> {
    let opened = EmbeddedStore::open(&config.store_options(records::NAMED_TABLES));
    opened.map(Arc::new).map_err(|error| damaged(config, error))
}

/// What is wrong with a store, with the command that brings it back where there is one.
#[must_use]
pub fn damaged(config: &Config, error: StoreError) -> Failure {
    if !error.asks_for_restore() {
        return error.into();
    }
    if config.backup_days == 0 {
        return Failure::Refused(format!(
            "{error}; no backups are kept here (--backup-days 0): move the data directory aside, keep its master key, and \
             bring back a backup of your own with `kaigid restore FILE`"
        ));
    }
    Failure::Damaged { error, command: config.restore_command() }
}

/// The service over the store and key of a data directory.
///
/// # Errors
/// `Key`.
pub fn open_service(config: &Config, store: &Arc<EmbeddedStore>) -> Result<Service, Failure> {
    let keys = KeyRing::load_or_create(&config.data, Arc::new(SealedByStore(Arc::clone(store))))?;
    let limits = Limits { meetings_per_day: config.meetings_per_day };
    Ok(Service::with_limits(Arc::clone(store) as Arc<dyn Store>, Tokens::new(keys), config.demo, limits))
}

/// The store's keys seal those that sign.
struct SealedByStore(Arc<EmbeddedStore>);

impl Sealing for SealedByStore {
    fn seal(&self, name: &str, clear: &[u8]) -> Option<Vec<u8>> {
        self.0.seal_file(name, clear).ok()
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.open_file(name, sealed)
    }
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
