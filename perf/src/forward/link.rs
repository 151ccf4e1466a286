//! The link between server and clients: a veth pair or loopback.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, anyhow};

use super::options::{Net, Segmentation};
use crate::netns::{self, Veth};

/// Name of the clients' thread, by which its CPU time is found.
pub const CLIENTS_THREAD: &str = "perf-clients";

/// A link that exists until it is dropped.
pub enum Link {
    /// Two namespaces.
    Veth(Veth),
    /// 127.0.0.1.
    Loopback,
}

impl Link {
    /// Makes the link.
    pub fn new(net: Net, segmentation: Segmentation) -> Result<Self> {
        match net {
            Net::Veth => Veth::new(segmentation == Segmentation::Software).map(Self::Veth),
            Net::Loopback => Ok(Self::Loopback),
        }
    }

    /// The server's address.
    pub const fn server(&self) -> IpAddr {
        match self {
            Self::Veth(_) => netns::SERVER,
            Self::Loopback => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// The clients' address.
    pub const fn clients(&self) -> IpAddr {
        match self {
            Self::Veth(_) => netns::CLIENTS,
            Self::Loopback => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Runs `body` on a thread of the server's side; threads and sockets it makes stay there.
    pub fn on_server<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.on("perf-server", Veth::enter_server, body)
    }

    /// The same on the clients' side.
    pub fn on_clients<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.on(CLIENTS_THREAD, Veth::enter_clients, body)
    }

    fn on<T: Send>(
        &self,
        name: &str,
        enter: impl FnOnce(&Veth) -> Result<()> + Send,
        body: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        std::thread::scope(|scope| {
            let run = || {
                if let Self::Veth(veth) = self {
                    enter(veth)?;
                }
                body()
            };
            let thread = std::thread::Builder::new().name(name.into()).spawn_scoped(scope, run)?;
            thread.join().map_err(|_| anyhow!("the thread {name} panicked"))?
        })
    }
}
