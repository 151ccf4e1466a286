//! Two network namespaces joined by a veth pair: the server's side and the clients' side of a link without a NIC.
//!
//! Promises: what was made is removed on drop, also after an error or ctrl-c. Names carry the process id, so runs do not
//! meet. Needs root and `ip` (iproute2). Not here: who enters which namespace (`forward`).

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sys;

/// Address of the server's end.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 113, 0, 1));
/// Address of the clients' end.
pub const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 113, 0, 2));

/// The pair; dropping it removes it.
pub struct Veth {
    server: Namespace,
    clients: Namespace,
}

struct Namespace(String);

impl Veth {
    /// Makes both namespaces and the link. With `segments` the kernel cuts the server's GSO sends before they reach the link.
    pub fn new(segments: bool) -> Result<Self> {
        if !sys::is_root() {
            bail!(
                "network namespaces need root: run as root, or choose --net loopback (its figures are not comparable)"
            );
        }
        let id = std::process::id();
        let server = Namespace::new(format!("kaigi-perf-{id}-s"))?;
        let clients = Namespace::new(format!("kaigi-perf-{id}-c"))?;
        let pair = Self { server, clients };
        let (s, c) = (&pair.server.0, &pair.clients.0);
        ip(&["-n", s, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", c])?;
        if segments {
            ip(&["-n", s, "link", "set", "veth0", "gso_max_segs", "1"])?;
        }
        for (namespace, address) in [(s, SERVER), (c, CLIENTS)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", "veth0"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", "veth0", "up"])?;
        }
        Ok(pair)
    }

    /// Moves the calling thread to the server's side.
    pub fn enter_server(&self) -> Result<()> {
        self.server.enter()
    }

    /// Moves the calling thread to the clients' side.
    pub fn enter_clients(&self) -> Result<()> {
        self.clients.enter()
    }
}

impl Namespace {
    fn new(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        Ok(Self(name))
    }

    fn enter(&self) -> Result<()> {
        let path = format!("/var/run/netns/{}", self.0);
        let file = File::open(&path).with_context(|| format!("cannot open the namespace {path}"))?;
        sys::enter_namespace(&file).with_context(|| format!("cannot enter the namespace {path}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the link goes with it. Nothing can be done about a failure here but to say so.
        if let Err(error) = ip(&["netns", "del", &self.0]) {
            eprintln!("kaigi-perf: {error:#}; remove it with: ip netns del {}", self.0);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let line = || format!("ip {}", arguments.join(" "));
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {} (install the Debian package iproute2)", line()))?;
    if !output.status.success() {
        bail!("{}: {}", line(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
