//! One core's UDP socket and its options.
//!
//! One unconnected socket per core and port: connected sockets per client cost the kernel a walk over all of them for every
//! unknown address. Both address families on one socket where the host has IPv6.
#![expect(unsafe_code, reason = "setsockopt for options that socket2 does not know")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::Family;
use crate::base::limits::SOCKET_QUEUE_BYTES;

/// A bound socket: blocking, close-on-exec, with arrivals labelled by the address they came to.
pub struct UdpSocket {
    socket: Socket,
    family: Family,
    port: u16,
}

impl UdpSocket {
    /// Binds `port` (0: the kernel's choice) on `address`, or on every address of both families.
    ///
    /// # Errors
    /// As the kernel says; the port in use is `AddrInUse`.
    pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<Self> {
        let (family, ip) = match address {
            Some(ip @ IpAddr::V4(_)) => (Family::V4, ip),
            Some(ip @ IpAddr::V6(_)) => (Family::Dual, ip),
            None => match Self::open(Family::Dual, Ipv6Addr::UNSPECIFIED.into(), port) {
                Err(error) if lacks_ipv6(&error) => (Family::V4, Ipv4Addr::UNSPECIFIED.into()),
                result => return result,
            },
        };
        Self::open(family, ip, port)
    }

    fn open(family: Family, ip: IpAddr, port: u16) -> io::Result<Self> {
        let domain = if family == Family::Dual { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == Family::Dual {
            socket.set_only_v6(false)?;
        }
        let fd = socket.as_fd();
        // The forced form passes rmem_max but needs a privilege; the plain form is clamped and does not fail.
        let queue_bytes = SOCKET_QUEUE_BYTES as libc::c_int;
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            set(fd, libc::SOL_SOCKET, forced, queue_bytes)
                .or_else(|_| set(fd, libc::SOL_SOCKET, plain, queue_bytes))?;
        }
        set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        // Linux before 5.0 has no UDP_GRO; without it every datagram arrives alone, which is only slower.
        let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        // Don't fragment, and do not believe ICMP about the path either: probing is not ours, and DF saves the IP identifier.
        set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        match family {
            Family::V4 => set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            Family::Dual => {
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
        socket.bind(&SocketAddr::new(ip, port).into())?;
        let bound = socket.local_addr()?.as_socket().map_or(port, |address| address.port());
        Ok(Self { socket, family, port: bound })
    }

    /// What it speaks.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The port it is bound to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn set(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY:
    // * the pointer and length name a live c_int of this frame, and every option set here takes one;
    // * the descriptor is open: it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused() {
        let first = UdpSocket::bind(None, 0).expect("some port is free");
        let second = UdpSocket::bind(None, first.port());
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
