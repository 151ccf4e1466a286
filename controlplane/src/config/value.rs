//! Values of configuration keys, read from text. Each parser's error is what the text should have been.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The I/O backend of the dataplane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Io {
    /// The best one that works here.
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
    /// AF_XDP.
    Xdp,
}

/// DTLS version spoken to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtls {
    /// 1.2, which gives AEAD_AES_256_GCM with both browsers.
    V1_2,
    /// 1.3.
    V1_3,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Least severe line that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Only what needs a hand.
    Error,
    /// And what may.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level as the log filter names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// CPU numbers, in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cores(pub Vec<u16>);

/// Most workers: the core number is a byte.
const CORES_MAX: usize = 255;

/// Most audio tracks forwarded to one participant: nobody follows more voices, and each costs every receiver a decoder.
const AUDIO_STREAMS_MAX: u8 = 8;

/// Where clients reach this server: scheme and authority, no path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl {
    /// TLS in front or here.
    pub secure: bool,
    /// Host and, if not the scheme's, port.
    pub authority: String,
}

impl PublicUrl {
    /// Reads `http(s)://host[:port]`.
    ///
    /// # Errors
    /// What it should have been.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "a URL like https://meet.example.org (no path)".to_owned();
        let uri: axum::http::Uri = text.parse().map_err(|_| wanted())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wanted()),
        };
        let authority = uri.authority().ok_or_else(wanted)?;
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
            return Err(wanted());
        }
        Ok(Self { secure, authority: authority.to_string() })
    }
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address and port like 0.0.0.0:7880 or [::]:7880".to_owned())
}

/// A number of days, a hundred years at most.
pub(super) fn days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days <= 36_500);
    days.ok_or_else(|| "a number of days from 0 to 36500".into())
}

/// A number of requests a second.
pub(super) fn requests(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count <= 1_000_000);
    count.ok_or_else(|| "a number of requests a second from 0 (any number) to 1000000".into())
}

/// Networks and addresses; none is fine, and trusts nobody.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let network = |part: &str| part.parse().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from));
    let networks: Option<Vec<IpNet>> = parts.map(network).collect();
    networks
        .ok_or_else(|| "a network like 10.0.0.0/8 or an address like 192.0.2.1; several with commas".into())
}

/// This host itself.
pub(super) fn loopback() -> Vec<IpNet> {
    let net = |ip: IpAddr, bits| IpNet::new(ip, bits).ok().map(|net| net.trunc());
    [net(Ipv4Addr::LOCALHOST.into(), 8), net(Ipv6Addr::LOCALHOST.into(), 128)].into_iter().flatten().collect()
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port, 0 to 65535".to_owned())
}

pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let parsed: Result<Vec<IpAddr>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    parsed.map_err(|_| "an IP address".to_owned())
}

pub(super) fn cores(text: &str) -> Result<Cores, String> {
    let wanted = || "a list of CPU numbers like 0-3,6 without repetition".to_owned();
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u16 = first.trim().parse().map_err(|_| wanted())?;
        let last: u16 = last.trim().parse().map_err(|_| wanted())?;
        if first > last || usize::from(last - first) >= CORES_MAX {
            return Err(wanted());
        }
        cores.extend(first..=last);
    }
    let mut distinct = cores.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() == cores.len() && cores.len() <= CORES_MAX { Ok(Cores(cores)) } else { Err(wanted()) }
}

pub(super) fn io(text: &str) -> Result<Io, String> {
    match text {
        "auto" => Ok(Io::Auto),
        "uring" => Ok(Io::Uring),
        "epoll" => Ok(Io::Epoll),
        "xdp" => Ok(Io::Xdp),
        _ => Err("one of auto, uring, epoll, xdp".to_owned()),
    }
}

pub(super) fn dtls(text: &str) -> Result<Dtls, String> {
    match text {
        "1.2" => Ok(Dtls::V1_2),
        "1.3" => Ok(Dtls::V1_3),
        _ => Err("one of 1.2, 1.3".to_owned()),
    }
}

pub(super) fn audio_streams(text: &str) -> Result<u8, String> {
    let count = text.parse().ok().filter(|count| (1..=AUDIO_STREAMS_MAX).contains(count));
    count.ok_or_else(|| format!("a number of audio tracks, 1 to {AUDIO_STREAMS_MAX}"))
}

pub(super) fn meetings(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "a number of meetings, 0 for any number".to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("one of text, json".to_owned()),
    }
}

pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err("one of error, warn, info, debug, trace".to_owned()),
    }
}

/// The issuer of an OpenID Connect provider (OpenID Connect Discovery 1.0 section 4.1), letter by letter as it names itself.
pub(super) fn issuer(text: &str) -> Result<String, String> {
    let wanted = || "an issuer like https://id.example.org (http only for one on this host)".to_owned();
    let uri: axum::http::Uri = text.parse().map_err(|_| wanted())?;
    let host = uri.host().ok_or_else(wanted)?.trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let fine = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_local,
        _ => false,
    };
    let plain =
        uri.query().is_none() && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if fine && plain { Ok(text.to_owned()) } else { Err(wanted()) }
}

/// Some text.
pub(super) fn word(text: &str) -> Result<String, String> {
    let word = text.trim();
    let fine = !word.is_empty() && word.len() <= 200 && !word.contains(char::is_control);
    if fine { Ok(word.to_owned()) } else { Err("a text of at most 200 bytes".to_owned()) }
}

/// Domains of addresses, in small letters.
pub(super) fn domains(text: &str) -> Result<Vec<String>, String> {
    let fits = |domain: &str| !domain.is_empty() && !domain.contains(['@', '*', '/', ' ']);
    let domains: Vec<String> = text.split(',').map(|domain| domain.trim().to_lowercase()).collect();
    if domains.iter().all(|domain| fits(domain)) {
        Ok(domains)
    } else {
        Err("a domain like example.org; several with commas".to_owned())
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_networks_are_networks_or_addresses_or_nobody() {
        let shown = |text: &str| {
            networks(text).map(|nets| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let wanted = "10.0.0.0/8 192.0.2.1/32 2001:db8::/32".to_owned();
        assert_eq!(shown("10.0.0.0/8, 192.0.2.1,2001:db8::/32"), Ok(wanted));
        assert_eq!(shown(""), Ok(String::new()));
        assert!(shown("10.0.0.0/33").is_err() && shown("proxy.example.org").is_err());
        assert!(loopback().iter().any(|net| net.contains(&IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3)))));
        assert!(requests("0").is_ok() && requests("-1").is_err() && requests("1000001").is_err());
    }
}
