//! What stands between the network and the routes: how fast somebody may ask, which requests are no requests of ours, and
//! what becomes of an address that goes on sending those.
//!
//! Path: `http` asks here once per request, before routing. Promises: memory is bounded whoever asks; every refusal has a
//! reason and is counted; who shows a token or session that counts is never refused for what a neighbour behind the same
//! address did. Not here: status codes and who a token belongs to (`http`), guessing passwords (`service::accounts::throttle`).

pub mod client;
pub mod filter;
pub mod mischief;
pub mod rates;
pub mod scanners;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ipnet::IpNet;

use crate::config::Config;
use crate::ids::UserId;
use crate::metrics::Metrics;
pub use crate::metrics::Refusal;
pub use crate::service::accounts::throttle::Network;
use mischief::Mischief;
use rates::{Rate, Rates};

/// Requests of machines that watch the server (`/healthz`, `/readyz`, `/metrics`): their own allowance, so that neither a flood
/// hides the server from them nor they become a flood.
const WATCHING: Rate = Rate { per_second: 50, at_once: 500 };
/// WebSockets one person may open: a client that reconnects at every step, not one that does nothing else.
const SOCKETS: Rate = Rate { per_second: 5, at_once: 50 };
/// Sign-ins by the provider that one network begins: an office at nine o'clock, not one that fills the table of those on their way.
const SIGN_INS: Rate = Rate { per_second: 5, at_once: 200 };
/// Seconds' worth of requests that may come at once: an office of a hundred opens a page of 25 files, twice over.
const AT_ONCE_SECONDS: u32 = 20;

/// All of it.
pub struct Guard {
    trusted: Vec<IpNet>,
    addresses: Rates<Network>,
    users: Rates<UserId>,
    watchers: Rates<Network>,
    sockets: Rates<UserId>,
    sign_ins: Rates<Network>,
    /// Penalties; none where requests of networks are not limited.
    mischief: Option<Mutex<Mischief>>,
    metrics: Arc<Metrics>,
}

/// Why not now: the reason and the seconds after which it is worth another try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// As counted.
    pub reason: Refusal,
    /// At least one.
    pub seconds: u64,
}

impl Guard {
    /// As the operator configured it.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            addresses: Rates::new(of(config.requests_per_address)),
            users: Rates::new(of(config.requests_per_user)),
            watchers: Rates::new(of(config.requests_per_address).map(|_| WATCHING)),
            sockets: Rates::new(Some(SOCKETS)),
            sign_ins: Rates::new(Some(SIGN_INS)),
            mischief: of(config.requests_per_address).map(|_| Mutex::default()),
            metrics,
        }
    }

    /// Proxies whose word about the client counts.
    #[must_use]
    pub fn trusted(&self) -> &[IpNet] {
        &self.trusted
    }

    /// One more request from this address.
    ///
    /// # Errors
    /// A penalty, or too many requests; neither is for a caller who is known.
    pub fn request(&self, from: IpAddr) -> Result<(), Wait> {
        let network = Network::from(from);
        if let Some(seconds) = self.mischief().and_then(|mischief| mischief.penalty(network, Instant::now()))
        {
            return Err(Wait { reason: Refusal::Penalty, seconds });
        }
        self.addresses.take(network).map_err(|seconds| Wait { reason: Refusal::AddressRate, seconds })
    }

    /// One more request of somebody who watches the server.
    ///
    /// # Errors
    /// Too many.
    pub fn watching(&self, from: IpAddr) -> Result<(), Wait> {
        let taken = self.watchers.take(from.into());
        taken.map_err(|seconds| Wait { reason: Refusal::AddressRate, seconds })
    }

    /// One more request of this person.
    ///
    /// # Errors
    /// Too many.
    pub fn user(&self, user: UserId) -> Result<(), Wait> {
        self.users.take(user).map_err(|seconds| Wait { reason: Refusal::UserRate, seconds })
    }

    /// One more WebSocket of this person.
    ///
    /// # Errors
    /// Too many.
    pub fn socket(&self, user: UserId) -> Result<(), Wait> {
        self.sockets.take(user).map_err(|seconds| Wait { reason: Refusal::SocketRate, seconds })
    }

    /// One more sign-in by the provider begins at this address.
    ///
    /// # Errors
    /// Too many.
    pub fn sign_in(&self, from: IpAddr) -> Result<(), Wait> {
        let taken = self.sign_ins.take(from.into());
        taken.map_err(|seconds| Wait { reason: Refusal::AddressRate, seconds })
    }

    /// Somebody at this address sent what no honest client sends, or asked for what is not there.
    pub fn mischief_of(&self, from: IpAddr, points: u32) {
        if let Some(mut mischief) = self.mischief() {
            mischief.add(from.into(), points, Instant::now());
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Refusal) {
        self.metrics.request_refused(reason);
    }

    fn mischief(&self) -> Option<std::sync::MutexGuard<'_, Mischief>> {
        let mischief = self.mischief.as_ref()?;
        Some(mischief.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The rate of a configured number a second; 0 is none.
#[must_use]
pub const fn of(per_second: u32) -> Option<Rate> {
    if per_second == 0 {
        return None;
    }
    Some(Rate { per_second, at_once: per_second.saturating_mul(AT_ONCE_SECONDS) })
}
