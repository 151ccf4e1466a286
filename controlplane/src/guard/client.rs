//! Whose request it is: the address of the socket, or what proxies that are trusted say of it.
//!
//! Each proxy appends whom it heard from. So the list is read from its end, over trusted proxies, and the first address that is
//! not one of them is the client's; everything before is the client's own word. `X-Forwarded-For` counts, else `Forwarded`
//! (RFC 7239); from anybody who is not trusted, neither does.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Addresses of a list that are looked at; nobody has more proxies of their own.
const HOPS_MAX: usize = 16;

/// The client behind a connection from `peer`.
#[must_use]
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    for hop in hops(headers).into_iter().rev().take(HOPS_MAX) {
        // What cannot be read ends what can be known.
        let Some(ip) = hop else { break };
        client = ip;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// Everybody the proxies named, in their order.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(str::trim).collect::<Vec<_>>()
    };
    let named = all("x-forwarded-for");
    if !named.is_empty() {
        return named.into_iter().map(node).collect();
    }
    let element = |text: &str| {
        let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
        let told = pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case("for"))?.1;
        node(told.trim_matches('"'))
    };
    all("forwarded").into_iter().map(element).collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn from(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted: Vec<IpNet> = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48"]
            .map(|net| net.parse().expect("a network"))
            .to_vec();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        address(peer.parse().expect("an address"), &map, &trusted).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_clients() {
        let list = "x-forwarded-for";
        assert_eq!(from("127.0.0.1", &[(list, "203.0.113.9, 192.0.2.7")]), "192.0.2.7");
        assert_eq!(from("127.0.0.1", &[(list, "203.0.113.9, 192.0.2.7, 10.1.2.3")]), "192.0.2.7");
        assert_eq!(from("127.0.0.1", &[(list, "192.0.2.7"), (list, "10.1.2.3")]), "192.0.2.7");
        assert_eq!(from("::ffff:127.0.0.1", &[(list, "[2001:db8::7]:443")]), "2001:db8::7");
        assert_eq!(from("2001:db8:1::5", &[(list, "2001:db8::7")]), "2001:db8::7");
        assert_eq!(
            from("10.0.0.1", &[("forwarded", "for=192.0.2.7;proto=https, for=\"10.0.0.9:80\"")]),
            "192.0.2.7"
        );
        assert_eq!(from("10.0.0.1", &[("forwarded", "For=\"[2001:db8::7]\"")]), "2001:db8::7");
        assert_eq!(from("10.0.0.1", &[(list, "192.0.2.7"), ("forwarded", "for=203.0.113.9")]), "192.0.2.7");
    }

    #[test]
    fn nobody_else_is_believed() {
        let list = "x-forwarded-for";
        assert_eq!(from("203.0.113.1", &[(list, "192.0.2.7")]), "203.0.113.1");
        assert_eq!(from("203.0.113.1", &[("forwarded", "for=192.0.2.7")]), "203.0.113.1");
        // What cannot be read is not looked behind.
        assert_eq!(from("127.0.0.1", &[(list, "192.0.2.7, nonsense")]), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &[(list, "192.0.2.7, unknown, 10.0.0.1")]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
    }
}
