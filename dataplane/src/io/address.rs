//! Socket addresses and control messages as the kernel lays them out, in plain bytes.
//!
//! Place: between [`Path`](crate::base::net::Path) and `msghdr`. Promises: no unsafe, no panic on any bytes; an IPv4 peer is an
//! IPv4 address on either kind of socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// What the socket speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// An IPv6 socket that also takes IPv4, as v4-mapped addresses.
    Dual,
    /// An IPv4 socket.
    V4,
}

/// Bytes of the larger socket address, `sockaddr_in6`.
pub const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// Room for PKTINFO, UDP_GRO and SO_RXQ_OVFL of one arrival (88 bytes); the rest puts the payload on a cache line, see `uring`.
pub const CONTROL_BYTES: usize = 148;
/// Room for PKTINFO and UDP_SEGMENT of one send.
pub const SEND_CONTROL_BYTES: usize = 2 * HEADER_BYTES + align(PKTINFO_V6_BYTES) + align(2);

const HEADER_BYTES: usize = align(size_of::<libc::cmsghdr>());
const PKTINFO_V6_BYTES: usize = size_of::<libc::in6_pktinfo>();
const PKTINFO_V4_BYTES: usize = size_of::<libc::in_pktinfo>();
const _: () = assert!(PKTINFO_V6_BYTES == 20 && PKTINFO_V4_BYTES == 12, "the layouts written below");
const _: () = assert!(4 * HEADER_BYTES + align(PKTINFO_V6_BYTES) + 2 * align(4) <= CONTROL_BYTES);

const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(size_of::<usize>())
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Writes `address` as a socket address of the socket's family and answers its length. An IPv6 address cannot be written for an
/// IPv4 socket: `None`.
#[must_use]
pub fn write_name(family: Family, address: SocketAddr, name: &mut [u8; NAME_BYTES]) -> Option<usize> {
    *name = [0; NAME_BYTES];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match (family, address) {
        (Family::V4, SocketAddr::V4(v4)) => {
            name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            Some(size_of::<libc::sockaddr_in>())
        }
        (Family::V4, SocketAddr::V6(_)) => None,
        (Family::Dual, address) => {
            name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[8..24].copy_from_slice(&mapped(address.ip()).octets());
            if let SocketAddr::V6(v6) = address {
                name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            }
            Some(NAME_BYTES)
        }
    }
}

/// Reads a socket address; v4-mapped becomes IPv4. `None` if it is neither.
#[must_use]
pub fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(take(name, 2)?);
    match libc::c_int::from(u16::from_ne_bytes(take(name, 0)?)) {
        libc::AF_INET => Some(SocketAddr::new(Ipv4Addr::from(take::<4>(name, 4)?).into(), port)),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(take::<16>(name, 8)?);
            let scope = u32::from_ne_bytes(take(name, 24)?);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), port),
                None => SocketAddrV6::new(ip, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

/// What the control messages of one arrival say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrival {
    /// The address the peer sent to.
    pub local: Option<IpAddr>,
    /// Size of each datagram of a UDP_GRO super-packet.
    pub segment_bytes: Option<usize>,
    /// The socket's count of dropped datagrams so far, modulo 2^32; absent while it is zero.
    pub overflow: Option<u32>,
}

/// Reads control messages; unknown ones are passed over, a broken one ends the reading.
#[must_use]
pub fn read_control(mut control: &[u8]) -> Arrival {
    let mut arrival = Arrival::default();
    while let Some(len) = take(control, 0).map(usize::from_ne_bytes) {
        let (Some(level), Some(kind)) = (
            take(control, size_of::<usize>()).map(i32::from_ne_bytes),
            take(control, size_of::<usize>() + 4).map(i32::from_ne_bytes),
        ) else {
            break;
        };
        let Some(data) = control.get(HEADER_BYTES..len) else { break };
        match (level, kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                arrival.local = take::<16>(data, 0).map(|octets| {
                    let ip = Ipv6Addr::from(octets);
                    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
                });
            }
            // in_pktinfo: interface, local address to answer from, address of the header. The last is what the peer asked.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                arrival.local = take::<4>(data, 8).map(|octets| Ipv4Addr::from(octets).into());
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                arrival.segment_bytes =
                    take(data, 0).map(i32::from_ne_bytes).and_then(|bytes| usize::try_from(bytes).ok());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                arrival.overflow = take(data, 0).map(u32::from_ne_bytes);
            }
            _ => {}
        }
        let Some(rest) = control.get(align(len)..) else { break };
        control = rest;
    }
    arrival
}

/// Writes the control messages of one send: the source address, and the segment size of a GSO send. Answers their length.
#[must_use]
pub fn write_send_control(
    family: Family,
    local: IpAddr,
    scope: u32,
    segment_bytes: Option<u16>,
    control: &mut [u8; SEND_CONTROL_BYTES],
) -> usize {
    let mut writer = Writer { control, len: 0 };
    match (family, local) {
        _ if local.is_unspecified() => {}
        (Family::V4, IpAddr::V4(v4)) => {
            let mut info = [0; PKTINFO_V4_BYTES];
            info[4..8].copy_from_slice(&v4.octets());
            writer.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        (Family::V4, IpAddr::V6(_)) => {}
        (Family::Dual, ip) => {
            let mut info = [0; PKTINFO_V6_BYTES];
            info[..16].copy_from_slice(&mapped(ip).octets());
            // A link-local source is only an address together with its interface.
            if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
                info[16..20].copy_from_slice(&scope.to_ne_bytes());
            }
            writer.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }
    if let Some(bytes) = segment_bytes {
        writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }
    writer.len
}

struct Writer<'a> {
    control: &'a mut [u8; SEND_CONTROL_BYTES],
    len: usize,
}

impl Writer<'_> {
    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let message = &mut self.control[self.len..self.len + HEADER_BYTES + align(data.len())];
        message.fill(0);
        let word = size_of::<usize>();
        message[..word].copy_from_slice(&(HEADER_BYTES + data.len()).to_ne_bytes());
        message[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        message[word + 4..word + 8].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_BYTES..HEADER_BYTES + data.len()].copy_from_slice(data);
        self.len += HEADER_BYTES + align(data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back_on_both_kinds_of_socket() {
        let v4: SocketAddr = "192.0.2.7:7882".parse().expect("an address");
        let v6: SocketAddr = "[2001:db8::1]:9".parse().expect("an address");
        let link: SocketAddr = SocketAddrV6::new("fe80::1".parse().expect("an address"), 5, 0, 3).into();
        let mut name = [0; NAME_BYTES];
        for (family, address) in
            [(Family::V4, v4), (Family::Dual, v4), (Family::Dual, v6), (Family::Dual, link)]
        {
            let len = write_name(family, address, &mut name).expect("the family can say it");
            assert_eq!(read_name(&name[..len]), Some(address));
        }
        assert_eq!(write_name(Family::V4, v6, &mut name), None);
    }

    #[test]
    fn a_source_address_reads_back_as_written() {
        for local in ["127.0.0.2", "2001:db8::2"] {
            let local: IpAddr = local.parse().expect("an address");
            let mut control = [0; SEND_CONTROL_BYTES];
            let len = write_send_control(Family::Dual, local, 0, Some(1200), &mut control);
            assert_eq!(len, SEND_CONTROL_BYTES);
            assert_eq!(read_control(&control[..len]).local, Some(local));
        }
        let mut control = [0; SEND_CONTROL_BYTES];
        assert_eq!(write_send_control(Family::V4, Ipv4Addr::UNSPECIFIED.into(), 0, None, &mut control), 0);
    }

    #[test]
    fn broken_control_messages_and_names_are_passed_over() {
        let mut control = [0; SEND_CONTROL_BYTES];
        let local = "127.0.0.1".parse().expect("an address");
        let len = write_send_control(Family::V4, local, 0, Some(9), &mut control);
        for end in 0..len {
            let _ = read_control(&control[..end]);
        }
        for value in [0, 1, 15, 17, usize::MAX, usize::MAX - 7] {
            control[..size_of::<usize>()].copy_from_slice(&value.to_ne_bytes());
            let _ = read_control(&control);
        }
        for end in 0..NAME_BYTES {
            let _ = read_name(&[10; NAME_BYTES][..end]);
        }
        assert_eq!(read_name(&[0xff; NAME_BYTES]), None);
    }
}
