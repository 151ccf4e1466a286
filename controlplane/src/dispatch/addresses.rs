//! Which addresses of this host to offer as candidates, when the operator named none.
//!
//! Read from the kernel's tables in `/proc/net`, so that only addresses of interfaces that are up are found. Loopback comes
//! last: it helps browsers on this host that accept it, and costs others one failed check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Most addresses offered: every one is a candidate pair for each of a client's own.
const ADDRESSES_MAX: usize = 8;

/// This host's addresses, best first.
#[must_use]
pub fn of_this_host() -> Vec<IpAddr> {
    let v4 = std::fs::read_to_string("/proc/net/fib_trie")
        .map_or_else(|_| Vec::new(), |text| from_fib_trie(&text));
    let v6 = std::fs::read_to_string("/proc/net/if_inet6")
        .map_or_else(|_| Vec::new(), |text| from_if_inet6(&text));
    let mut addresses: Vec<IpAddr> =
        v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect();
    if addresses.iter().all(IpAddr::is_loopback) {
        addresses.extend(by_route());
    }
    if addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    // A stable sort keeps IPv4 before IPv6 among the rest.
    addresses.sort_by_key(IpAddr::is_loopback);
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// Local IPv4 addresses: a `|-- address` line followed by a `/32 host LOCAL` line.
fn from_fib_trie(text: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last.take()
        {
            // The whole of 127/8 is ours; one of it is enough.
            let is_usable = !Ipv4Addr::is_loopback(&address) || address == Ipv4Addr::LOCALHOST;
            if is_usable && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// Global IPv6 addresses: `address index prefix scope flags name`, scope 00 is global; tentative and failed ones are left out.
fn from_if_inet6(text: &str) -> Vec<Ipv6Addr> {
    const FAILED: u8 = 0x08;
    const TENTATIVE: u8 = 0x40;
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u128::from_str_radix(words.next()?, 16).ok().map(Ipv6Addr::from)?;
            let scope = words.nth(2)?;
            let flags = u8::from_str_radix(words.next()?, 16).ok()?;
            (scope == "00" && flags & (FAILED | TENTATIVE) == 0).then_some(address)
        })
        .collect()
}

/// The address the default route would use, for hosts whose tables cannot be read. Nothing is sent.
fn by_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_found_in_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.0\n           /8 host LOCAL\n        |-- 127.0.0.1\n           /32 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 192.0.2.7\n        /32 host LOCAL\n";
        assert_eq!(from_fib_trie(trie), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 7)]);
        assert!(from_fib_trie("junk\n/32 host LOCAL\n").is_empty());
        let inet6 = "fe800000000000000000000000000001 02 40 20 80     eth0\n\
                     20010db8000000000000000000000002 02 40 00 80     eth0\n\
                     20010db8000000000000000000000003 02 40 00 40     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(from_if_inet6(inet6), ["2001:db8::2".parse::<Ipv6Addr>().expect("an address")]);
    }

    #[test]
    fn this_host_has_an_address_and_loopback_comes_last() {
        let addresses = of_this_host();
        assert!(!addresses.is_empty() && addresses.len() <= ADDRESSES_MAX);
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }
}
