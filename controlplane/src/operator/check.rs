//! `kaigid check`: looks at configuration, store and host, and says what would go wrong.

use std::fmt;
use std::fs;
use std::net::{TcpListener, UdpSocket};

use dataplane::io::uring;

use super::{Request, ask};
use crate::app::{Failure, damaged, open_store};
use crate::config::{Config, Io};
use crate::oidc::Provider;
use crate::plane::allowed_cpus;
use crate::service::consistency::{Consistency, look_at};
use crate::store::{KeySource, StoreError};
use crate::tls::TlsSlot;

/// What was found about one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Good, doubtful or wrong.
    pub verdict: Verdict,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found and, if it is not good, what to do.
    pub detail: String,
}

/// How good it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Good.
    Good,
    /// Works, not well.
    Doubtful,
    /// Does not work.
    Wrong,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Doubtful => "warn",
            Verdict::Wrong => "FAIL",
        };
        write!(f, "{verdict} {}: {}", self.subject, self.detail)
    }
}

/// Socket buffers the packet plane wants per core: 100 ms of 1 Gbit/s is 12.5 MB; 4 MiB is a third of that.
const RMEM_WANTED: u64 = 4 * 1024 * 1024;
/// Descriptors for the most connections the server takes, and some.
const DESCRIPTORS_WANTED: u64 = 16_384;

/// All findings, in the order in which starting would meet them.
#[must_use]
pub fn check(config: &Config) -> Vec<Finding> {
    let running = matches!(ask(&config.data, &Request::Ping), Ok(Some(_)));
    let mut findings =
        vec![good("config", format!("data in {}, listening on {}", config.data.display(), config.listen))];
    findings.push(certificate(config));
    findings.push(store_key(config));
    findings.extend(provider(config));
    findings.extend(store(config, running));
    if running {
        findings.push(good("ports", "a server runs on this data directory and has them".to_owned()));
    } else {
        findings.push(http_port(config));
        findings.push(udp_ports(config));
        findings.push(tcp_port(config));
    }
    findings.push(cores(config));
    findings.push(uring(config));
    findings.push(rmem());
    findings.push(descriptors());
    findings
}

fn good(subject: &'static str, detail: String) -> Finding {
    Finding { verdict: Verdict::Good, subject, detail }
}

fn doubtful(subject: &'static str, detail: String) -> Finding {
    Finding { verdict: Verdict::Doubtful, subject, detail }
}

fn wrong(subject: &'static str, detail: String) -> Finding {
    Finding { verdict: Verdict::Wrong, subject, detail }
}

fn certificate(config: &Config) -> Finding {
    match &config.tls {
        None if config.public_url.as_ref().is_some_and(|public| public.secure) => {
            good("tls", "something in front speaks TLS".to_owned())
        }
        None => doubtful(
            "tls",
            "none: browsers give cameras to localhost only; give --tls-cert and --tls-key".to_owned(),
        ),
        Some(files) => match TlsSlot::load(files) {
            Ok(_) => good("tls", format!("{} loads", files.cert.display())),
            Err(error) => wrong("tls", error.to_string()),
        },
    }
}

fn store_key(config: &Config) -> Finding {
    if config.store_key == KeySource::beside(&config.data) {
        let detail = "lies beside the data, so a stolen disk includes it; keep it elsewhere with --store-key";
        return doubtful("store-key", detail.to_owned());
    }
    good("store-key", config.store_key.to_string())
}

/// Asks the provider people sign in by who it is.
fn provider(config: &Config) -> Option<Finding> {
    let oidc = config.oidc.as_ref()?;
    let provider = match Provider::new(oidc) {
        Ok(provider) => provider,
        Err(error) => return Some(wrong("oidc", error.to_string())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(|error| error.to_string());
    let asked =
        asked.and_then(|runtime| runtime.block_on(provider.probe()).map_err(|trouble| trouble.to_string()));
    Some(match asked {
        Ok(()) => good("oidc", format!("{} answers, as {}", oidc.issuer, oidc.client_id)),
        Err(error) => wrong("oidc", format!("{}: {error}; passwords work all the same", oidc.issuer)),
    })
}

fn store(config: &Config, running: bool) -> Vec<Finding> {
    if running {
        return vec![good("store", "open in the running server".to_owned())];
    }
    if !config.data.join("keys").exists() && !config.data.join("store").exists() {
        return vec![good("store", "none yet: the first start makes it".to_owned())];
    }
    let checked = open_store(config).and_then(|store| store.check().map_err(|error| damaged(config, error)));
    match checked {
        Ok(entries) => {
            let opens = format!("opens, and so do its {} entries and its journal", entries.len());
            vec![good("store", opens), records(&look_at(&entries))]
        }
        Err(Failure::Store { error: error @ StoreError::Locked { .. } }) => {
            vec![doubtful("store", format!("{error}, which is starting or stopping"))]
        }
        Err(failure) => vec![wrong("store", failure.to_string())],
    }
}

fn records(found: &Consistency) -> Finding {
    let Consistency { users, meetings, participants, leftovers, faults } = found;
    if faults.is_empty() {
        let counts = format!("{users} users, {meetings} meetings, {participants} participants fit together");
        let more = format!("; {leftovers} of deleted meetings are left over");
        return good("records", if *leftovers == 0 { counts } else { counts + &more });
    }
    let remedy = "kaigid restore --until goes back to before it was so";
    wrong("records", format!("{}; {remedy}", faults.join("; ")))
}

fn http_port(config: &Config) -> Finding {
    match TcpListener::bind(config.listen) {
        Ok(_) => good("http", format!("{} is free", config.listen)),
        Err(error) => wrong(
            "http",
            format!("cannot listen on {}: {error}; choose another with --listen", config.listen),
        ),
    }
}

fn udp_ports(config: &Config) -> Finding {
    let first = usize::from(config.udp_port);
    let count = config.cores.as_ref().map_or_else(|| allowed_cpus().len(), |cores| cores.0.len());
    for port in first..first + count {
        let Ok(port) = u16::try_from(port) else {
            return wrong(
                "udp",
                format!("{count} ports from {first} on do not fit; choose a lower --udp-port"),
            );
        };
        if let Err(error) = UdpSocket::bind(("0.0.0.0", port)) {
            return wrong("udp", format!("cannot use port {port}: {error}; choose others with --udp-port"));
        }
    }
    good("udp", format!("{count} ports from {first} on are free"))
}

fn tcp_port(config: &Config) -> Finding {
    let port = config.tcp_port;
    match TcpListener::bind(("0.0.0.0", port)) {
        Ok(_) => good("tcp", format!("port {port} is free")),
        Err(error) => {
            wrong("tcp", format!("cannot use port {port}: {error}; choose another with --tcp-port"))
        }
    }
}

fn cores(config: &Config) -> Finding {
    let allowed = allowed_cpus();
    match &config.cores {
        None => good("cores", format!("media runs on {} CPUs", allowed.len())),
        Some(cores) => match cores.0.iter().find(|cpu| !allowed.contains(&usize::from(**cpu))) {
            None => good("cores", format!("media runs on {} CPUs", cores.0.len())),
            Some(cpu) => {
                wrong("cores", format!("this process may not run on CPU {cpu}; --cores may name {allowed:?}"))
            }
        },
    }
}

fn uring(config: &Config) -> Finding {
    if config.io == Io::Epoll {
        return good("io_uring", "not asked for".to_owned());
    }
    match uring::probe() {
        Ok(()) => good("io_uring", "works here".to_owned()),
        Err(error) if config.io == Io::Uring => wrong(
            "io_uring",
            format!(
                "{error}; set the sysctl kernel.io_uring_disabled to 0, use Linux 6.1 or newer, or --io epoll"
            ),
        ),
        Err(error) => doubtful("io_uring", format!("{error}; epoll is used instead, at more CPU per packet")),
    }
}

fn rmem() -> Finding {
    let path = "/proc/sys/net/core/rmem_max";
    match number(path) {
        Some(bytes) if bytes >= RMEM_WANTED => good("rmem_max", format!("{bytes} bytes")),
        Some(bytes) => doubtful(
            "rmem_max",
            format!(
                "{bytes} bytes: bursts may be lost; set the sysctl net.core.rmem_max to {RMEM_WANTED} or more"
            ),
        ),
        None => doubtful("rmem_max", format!("cannot read {path}")),
    }
}

fn descriptors() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    match line.and_then(|line| line.split_whitespace().nth(3)) {
        Some("unlimited") => good("descriptors", "unlimited".to_owned()),
        Some(soft) if soft.parse().is_ok_and(|soft: u64| soft >= DESCRIPTORS_WANTED) => {
            good("descriptors", soft.to_owned())
        }
        Some(soft) => {
            doubtful("descriptors", format!("{soft}; allow {DESCRIPTORS_WANTED} (ulimit -n, LimitNOFILE)"))
        }
        None => doubtful("descriptors", "cannot read /proc/self/limits".to_owned()),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
