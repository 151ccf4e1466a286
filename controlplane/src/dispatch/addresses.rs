//! Which addresses to offer as candidates: this host's, when the operator named none; and what is doubtful about those named.
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

/// What cannot be right about the addresses that the operator announces, each with the reason. `own` are this host's.
///
/// Doubts are told, not enforced: networks are stranger than this list, and clients try every candidate.
#[must_use]
pub fn doubts(announced: &[IpAddr], own: &[IpAddr]) -> Vec<String> {
    let mut doubts: Vec<String> =
        announced.iter().filter_map(|ip| doubt(*ip, own).map(|why| format!("{ip} {why}"))).collect();
    for (index, ip) in announced.iter().enumerate() {
        if announced[..index].contains(ip) {
            doubts.push(format!("{ip} is named twice; clients would try it twice"));
        }
    }
    if announced.len() > ADDRESSES_MAX {
        doubts.push(format!(
            "names {} addresses; each is a pair to check for every address of a client, name at most {ADDRESSES_MAX}",
            announced.len()
        ));
    }
    doubts
}

fn doubt(ip: IpAddr, own: &[IpAddr]) -> Option<&'static str> {
    let canonical = ip.to_canonical();
    if canonical.is_unspecified() {
        return Some("is no address clients can send to; name the one they reach this machine at");
    }
    if canonical.is_multicast() || canonical == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some("is a group or broadcast address, not a machine's");
    }
    if is_documentation(canonical) {
        return Some("is reserved for documentation and reaches nobody; name the real one");
    }
    if canonical != ip {
        return Some("is an IPv4 address in IPv6 notation, which clients do not take; write it as IPv4");
    }
    if is_link_local(ip) {
        return Some("is link-local: clients would need to know the interface");
    }
    if ip.is_loopback() && own.iter().any(|ip| !ip.is_loopback()) {
        return Some("is this machine's loopback address: only browsers on this machine will have media");
    }
    if ip.is_ipv6() && !has_ipv6(own) {
        return Some(
            "is IPv6, and this machine has no IPv6 address: nothing will arrive there unless a NAT translates it",
        );
    }
    if ip.is_ipv4() && !own.is_empty() && own.iter().all(IpAddr::is_ipv6) {
        return Some(
            "is IPv4, and this machine has no IPv4 address: nothing will arrive there unless a NAT translates it",
        );
    }
    None
}

fn has_ipv6(own: &[IpAddr]) -> bool {
    own.iter().any(IpAddr::is_ipv6)
}

/// RFC 5737, RFC 3849 and RFC 9637.
fn is_documentation(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_documentation(),
        IpAddr::V6(v6) => v6.segments()[..2] == [0x2001, 0xdb8] || v6.segments()[0] & 0xfff0 == 0x3ff0,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
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
    fn announced_addresses_that_cannot_be_right_are_named_with_the_reason() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let own = [address("10.0.0.5"), address("127.0.0.1")];
        for (announced, says) in [
            ("0.0.0.0", "no address clients can send to"),
            ("::", "no address clients can send to"),
            ("224.0.0.251", "group"),
            ("ff02::1", "group"),
            ("255.255.255.255", "broadcast"),
            ("192.0.2.7", "documentation"),
            ("203.0.113.9", "documentation"),
            ("2001:db8::1", "documentation"),
            ("3fff:1::1", "documentation"),
            ("::ffff:198.51.100.1", "documentation"),
            ("::ffff:10.0.0.5", "write it as IPv4"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("127.0.0.1", "loopback"),
            ("2a00:1450::1", "no IPv6 address"),
        ] {
            let doubts = doubts(&[address(announced)], &own);
            assert!(doubts.len() == 1 && doubts[0].starts_with(announced), "{doubts:?}");
            assert!(doubts.concat().contains(says), "{announced}: {doubts:?}");
        }
        // A public address that no interface has is what NAT is about; loopback alone is a machine without a network.
        assert!(doubts(&[address("8.8.8.8"), address("10.0.0.5")], &own).is_empty());
        assert!(doubts(&[address("127.0.0.1")], &[address("127.0.0.1")]).is_empty());
        assert!(doubts(&[address("2a00:1450::1")], &[address("fd00::1")]).is_empty());
        assert!(doubts(&[address("10.0.0.5"); 2], &own).concat().contains("twice"));
        assert!(doubts(&[address("10.0.0.5")], &[address("fd00::1")]).concat().contains("no IPv4"));
        assert!(doubts(&[], &own).is_empty());
    }

    #[test]
    fn this_host_has_an_address_and_loopback_comes_last() {
        let addresses = of_this_host();
        assert!(!addresses.is_empty() && addresses.len() <= ADDRESSES_MAX);
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }
}
