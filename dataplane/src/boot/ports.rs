//! The ports that peers reach: one UDP port per core and the TCP port, bound before anything is started, so that one in use leaves nothing
//! behind.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::PlaneConfig;
use super::error::BootError;
use crate::io::socket::UdpSocket;
use crate::io::tcp::Door;

pub(super) fn bind_all(config: &PlaneConfig) -> Result<Vec<UdpSocket>, BootError> {
    let ports = (0..config.cpus.len()).map(|index| match config.udp_port {
        0 => 0,
        first => first + index as u16,
    });
    ports
        .map(|port| {
            UdpSocket::bind(config.bind, port).map_err(|source| {
                let ip = config.bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
                let address = SocketAddr::new(ip, port);
                match source.kind() {
                    io::ErrorKind::AddrInUse => BootError::PortInUse(address),
                    io::ErrorKind::PermissionDenied => BootError::PortForbidden(address),
                    _ => BootError::Socket { address, source },
                }
            })
        })
        .collect()
}

pub(super) fn bind_tcp(bind: Option<IpAddr>, port: u16) -> Result<Door, BootError> {
    Door::bind(bind, port).map_err(|source| {
        let address = SocketAddr::new(bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), port);
        match source.kind() {
            io::ErrorKind::AddrInUse => BootError::TcpPortInUse(address),
            io::ErrorKind::PermissionDenied => BootError::TcpPortForbidden(address),
            _ => BootError::TcpSocket { address, source },
        }
    })
}
