//! An impairment relay: real datagrams of real clients through the simulator's links, on a real clock.
//!
//! Place: between the sockets of clients and a server that knows nothing of it. Clients are told the relay's address instead of the
//! server's (`e2e/lib/relay.mjs` does that inside a page); the server sees one address of the relay per client socket. An *access*
//! is one person's way to the server: all their sockets share its two links, one per direction.
//! Promises: what happens to the n-th datagram of a direction depends on the seed and on the times of those before it; a datagram
//! leaves up to 1 ms after its time, never before; every table is bounded, and full means a counted refusal.
//! Not here: the lines that control it ([`control`]), the process (`kaigi-relay`).

pub mod control;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane::base::time::Micros;
use dataplane::io::sim::{Link, LinkConfig, LinkCounts};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};

/// Accesses of one relay.
pub const ACCESSES_MAX: usize = 64;
/// Sockets of clients behind one access: two connections of a page, and again with every reload.
pub const CLIENTS_MAX: usize = 63;
/// Datagrams on their way: a second of 20 Mbit/s in both directions of 8 accesses, 8 x 2 x 20e6 / 8 / 1,200 = 33,333.
pub const FLYING_MAX: usize = 40_000;
/// What one read may return; no path carries more.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Tokens of one access: its own socket, and the upstream socket of each client.
const TOKENS: usize = CLIENTS_MAX + 1;
const WAKE: Token = Token(ACCESSES_MAX * TOKENS);

/// One direction of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// What the link did.
    pub link: LinkCounts,
    /// Bytes put in, of datagrams without their headers.
    pub sent_bytes: u64,
    /// Datagrams that left the relay, copies included.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Datagrams the relay had no room for, or the host would not send.
    pub refused: u64,
}

/// The relay.
pub struct Relay {
    poll: Poll,
    events: Events,
    origin: Instant,
    accesses: Vec<Access>,
    flying: BinaryHeap<Reverse<Flying>>,
    /// Orders datagrams that are due in the same microsecond.
    number: u64,
    buffer: Box<[u8]>,
}

struct Access {
    name: String,
    socket: UdpSocket,
    server: SocketAddr,
    up: Direction,
    down: Direction,
    clients: Vec<Client>,
}

struct Direction {
    link: Link,
    counts: Counts,
}

struct Client {
    remote: SocketAddr,
    upstream: UdpSocket,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Micros,
    number: u64,
    access: usize,
    client: usize,
    up: bool,
    bytes: Vec<u8>,
}

impl Relay {
    /// A relay without accesses.
    ///
    /// # Errors
    /// When the host gives no event queue.
    pub fn new() -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            origin: Instant::now(),
            accesses: Vec::new(),
            flying: BinaryHeap::new(),
            number: 0,
            buffer: vec![0; DATAGRAM_BYTES_MAX].into(),
        })
    }

    /// Ends the sleep of [`Relay::turn`] from another thread; there is one per relay.
    ///
    /// # Errors
    /// When the host gives no event descriptor.
    pub fn waker(&self) -> Result<Waker> {
        Waker::new(self.poll.registry(), WAKE)
    }

    /// Opens an access to `server`, perfect and instant until [`Relay::set`]: the address that clients are to send to.
    ///
    /// # Errors
    /// When the name is taken, the table full or the address not ours.
    pub fn add(
        &mut self,
        name: &str,
        listen: SocketAddr,
        server: SocketAddr,
        seed: u64,
    ) -> Result<SocketAddr> {
        if self.accesses.len() == ACCESSES_MAX || self.accesses.iter().any(|access| access.name == name) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("no room for an access named {name}")));
        }
        let mut socket = UdpSocket::bind(listen)?;
        let token = Token(self.accesses.len() * TOKENS);
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr()?;
        let [up, down] = [0, 1].map(|way| Direction {
            link: Link::new(LinkConfig::default(), seed.wrapping_mul(2).wrapping_add(way)),
            counts: Counts::default(),
        });
        self.accesses.push(Access { name: name.to_owned(), socket, server, up, down, clients: Vec::new() });
        Ok(address)
    }

    /// Changes one direction of an access from now on; what is on its way arrives as it would have.
    ///
    /// # Errors
    /// When there is no such access.
    pub fn set(&mut self, name: &str, way: Way, config: LinkConfig) -> Result<()> {
        let access = self.access_mut(name)?;
        access.direction_mut(way).link.set_config(config);
        Ok(())
    }

    /// Gives every client of an access a new address towards the server, as a NAT does that forgot its bindings.
    ///
    /// # Errors
    /// When there is no such access, or no free port.
    pub fn rebind(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let access = &mut self.accesses[index];
        for (number, client) in access.clients.iter_mut().enumerate() {
            let mut fresh = upstream(access.socket.local_addr()?.ip(), access.server)?;
            self.poll.registry().deregister(&mut client.upstream)?;
            let token = Token(index * TOKENS + 1 + number);
            self.poll.registry().register(&mut fresh, token, Interest::READABLE)?;
            client.upstream = fresh;
        }
        Ok(())
    }

    /// What became of the datagrams of an access.
    ///
    /// # Errors
    /// When there is no such access.
    pub fn counts(&self, name: &str, way: Way) -> Result<Counts> {
        let access = &self.accesses[self.index(name)?];
        let direction = if way == Way::Up { &access.up } else { &access.down };
        Ok(Counts { link: direction.link.counts(), ..direction.counts })
    }

    /// Addresses of an access that the server sees, one per client socket.
    ///
    /// # Errors
    /// When there is no such access.
    pub fn upstream_addresses(&self, name: &str) -> Result<Vec<SocketAddr>> {
        let access = &self.accesses[self.index(name)?];
        access.clients.iter().map(|client| client.upstream.local_addr()).collect()
    }

    /// Sleeps until something arrives or is due, at most `wait_max`; takes all that arrived and sends all that is due.
    ///
    /// # Errors
    /// When the event queue fails; what single datagrams meet is counted.
    pub fn turn(&mut self, wait_max: Duration) -> Result<()> {
        let due = self.flying.peek().map(|Reverse(flying)| flying.at.since_us(self.now()));
        let wait = due.map_or(wait_max, |us| Duration::from_micros(us).min(wait_max));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for token in ready.into_iter().filter(|token| *token != WAKE.0) {
            self.receive(token / TOKENS, token % TOKENS);
        }
        while self.flying.peek().is_some_and(|Reverse(flying)| flying.at <= self.now()) {
            if let Some(Reverse(flying)) = self.flying.pop() {
                self.deliver(&flying);
            }
        }
        Ok(())
    }

    /// Reads a socket until it is empty: events come once per arrival, not once per datagram.
    fn receive(&mut self, access: usize, socket: usize) {
        loop {
            let owner = &mut self.accesses[access];
            let (read, up) = match socket.checked_sub(1) {
                None => (owner.socket.recv_from(&mut self.buffer), true),
                Some(client) => {
                    let Client { upstream, remote } = &owner.clients[client];
                    (upstream.recv(&mut self.buffer).map(|bytes| (bytes, *remote)), false)
                }
            };
            let (bytes, remote) = match read {
                Ok(read) => read,
                // A closed port at the other end is told once; it does not end the access.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(_) => return,
            };
            let client = socket.checked_sub(1).or_else(|| self.client(access, remote));
            self.send(access, client, up, bytes);
        }
    }

    /// The client of this address; a new one gets an upstream socket of its own.
    fn client(&mut self, index: usize, remote: SocketAddr) -> Option<usize> {
        let access = &mut self.accesses[index];
        if let Some(client) = access.clients.iter().position(|client| client.remote == remote) {
            return Some(client);
        }
        let client = access.clients.len();
        if client == CLIENTS_MAX {
            return None;
        }
        let mut upstream = upstream(access.socket.local_addr().ok()?.ip(), access.server).ok()?;
        let token = Token(index * TOKENS + 1 + client);
        self.poll.registry().register(&mut upstream, token, Interest::READABLE).ok()?;
        access.clients.push(Client { remote, upstream });
        Some(client)
    }

    /// Puts what the buffer holds on its link.
    fn send(&mut self, access: usize, client: Option<usize>, up: bool, bytes: usize) {
        let now = self.now();
        let is_full = self.flying.len() >= FLYING_MAX;
        let owner = &mut self.accesses[access];
        let direction = owner.direction_mut(if up { Way::Up } else { Way::Down });
        direction.counts.sent_bytes += bytes as u64;
        let Some(client) = client.filter(|_| !is_full) else {
            direction.counts.refused += 1;
            return;
        };
        for at in direction.link.pass(now, bytes).into_iter().flatten() {
            self.number += 1;
            let bytes = self.buffer[..bytes].to_vec();
            self.flying.push(Reverse(Flying { at, number: self.number, access, client, up, bytes }));
        }
    }

    fn deliver(&mut self, flying: &Flying) {
        let access = &mut self.accesses[flying.access];
        let client = &access.clients[flying.client];
        let sent = if flying.up {
            client.upstream.send(&flying.bytes)
        } else {
            access.socket.send_to(&flying.bytes, client.remote)
        };
        let counts = &mut access.direction_mut(if flying.up { Way::Up } else { Way::Down }).counts;
        if sent.is_ok() {
            counts.delivered += 1;
            counts.delivered_bytes += flying.bytes.len() as u64;
        } else {
            counts.refused += 1;
        }
    }

    fn now(&self) -> Micros {
        Micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.accesses.iter().position(|access| access.name == name);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no access is named {name}")))
    }

    fn access_mut(&mut self, name: &str) -> Result<&mut Access> {
        let index = self.index(name)?;
        Ok(&mut self.accesses[index])
    }
}

impl Access {
    const fn direction_mut(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// A socket that only the server can answer.
fn upstream(ip: IpAddr, server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    socket.connect(server)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Socket;

    use super::*;

    const LOCAL: &str = "127.0.0.1:0";

    /// A relay with one access, a server and a client, all on loopback.
    struct Scene {
        relay: Relay,
        server: Socket,
        client: Socket,
        access: SocketAddr,
    }

    fn socket() -> Socket {
        let socket = Socket::bind(LOCAL).expect("loopback");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        socket
    }

    fn scene() -> Scene {
        let (server, client) = (socket(), socket());
        let mut relay = Relay::new().expect("an event queue");
        let address = server.local_addr().expect("bound");
        let access = relay.add("a", LOCAL.parse().expect("an address"), address, 7).expect("loopback");
        Scene { relay, server, client, access }
    }

    impl Scene {
        /// Turns for `ms` and answers what came to `socket`: the first two bytes as a number, and the sender.
        fn collect(&mut self, at_server: bool, ms: u64) -> Vec<(u16, SocketAddr)> {
            let end = Instant::now() + Duration::from_millis(ms);
            let socket = if at_server { &self.server } else { &self.client };
            let (mut found, mut buffer) = (Vec::new(), [0; 2_000]);
            while Instant::now() < end {
                self.relay.turn(Duration::from_millis(1)).expect("the event queue works");
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    found.push((u16::from_be_bytes([buffer[0], buffer[1]]), from));
                }
            }
            found
        }

        fn send_up(&self, numbers: std::ops::Range<u16>, bytes: usize) {
            for number in numbers {
                let mut datagram = vec![0; bytes];
                datagram[..2].copy_from_slice(&number.to_be_bytes());
                self.client.send_to(&datagram, self.access).expect("loopback");
            }
        }
    }

    #[test]
    fn datagrams_pass_both_ways_and_each_client_has_an_address_of_its_own() {
        let mut scene = scene();
        let other = socket();
        scene.send_up(0..3, 100);
        other.send_to(&[0, 9], scene.access).expect("loopback");
        let came = scene.collect(true, 50);
        let numbers: Vec<u16> = came.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2, 9]);
        assert!(came[0].1 == came[2].1 && came[3].1 != came[0].1, "{came:?}");
        scene.server.send_to(&[0, 5], came[0].1).expect("loopback");
        scene.server.send_to(&[0, 6], came[3].1).expect("loopback");
        assert_eq!(scene.collect(false, 50), [(5, scene.access)]);
        let mut buffer = [0; 2];
        assert_eq!(
            other.recv_from(&mut buffer).map(|(_, from)| (from, buffer)).ok(),
            Some((scene.access, [0, 6]))
        );
        let [up, down] = [Way::Up, Way::Down].map(|way| scene.relay.counts("a", way).expect("it is there"));
        assert_eq!((up.link.sent, up.delivered, up.delivered_bytes), (4, 4, 302));
        assert_eq!((down.link.sent, down.delivered, down.refused), (2, 2, 0));
    }

    #[test]
    fn loss_and_reordering_come_at_their_rates_and_only_in_their_direction() {
        let mut scene = scene();
        let config = LinkConfig {
            loss_ppm: 200_000,
            reorder_ppm: 50_000,
            reorder_us: 20_000,
            ..LinkConfig::default()
        };
        scene.relay.set("a", Way::Up, config).expect("it is there");
        let mut came = Vec::new();
        for batch in 0..20 {
            scene.send_up(batch * 50..batch * 50 + 50, 100);
            came.extend(scene.collect(true, 5).into_iter().map(|(number, _)| number));
        }
        came.extend(scene.collect(true, 100).into_iter().map(|(number, _)| number));
        let counts = scene.relay.counts("a", Way::Up).expect("it is there");
        assert_eq!(counts.link.sent, 1_000);
        assert!((150..250).contains(&counts.link.lost), "{counts:?}");
        assert_eq!(came.len() as u64, counts.link.sent - counts.link.lost);
        let overtaken = came.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        assert!(overtaken > 0 && overtaken <= counts.link.reordered, "{overtaken} of {counts:?}");
        assert_eq!(scene.relay.counts("a", Way::Down).expect("it is there"), Counts::default());
    }

    #[test]
    fn a_slow_link_holds_its_queue_and_refuses_the_rest() {
        let mut scene = scene();
        // 1,000 bytes take 20 ms: 200 ms of queue hold ten of them and the one on the link.
        let config = LinkConfig { rate_bps: 400_000, queue_us_max: 200_000, ..LinkConfig::default() };
        scene.relay.set("a", Way::Up, config).expect("it is there");
        scene.send_up(0..60, 1_000);
        let at_once = scene.collect(true, 10).len();
        let later = scene.collect(true, 400).len();
        let counts = scene.relay.counts("a", Way::Up).expect("it is there");
        assert!(at_once <= 2, "{at_once} of a slow link's datagrams came at once");
        assert!((10..=14).contains(&(at_once + later)), "{counts:?}");
        assert_eq!(counts.link.lost, 60 - counts.delivered);
    }

    #[test]
    fn after_a_rebind_the_server_sees_another_address_that_it_can_answer() {
        let mut scene = scene();
        scene.send_up(0..1, 10);
        let before = scene.collect(true, 50)[0].1;
        scene.relay.rebind("a").expect("a free port");
        scene.send_up(1..2, 10);
        let (number, after) = scene.collect(true, 50)[0];
        assert!(number == 1 && after != before);
        assert_eq!(scene.relay.upstream_addresses("a").expect("it is there"), [after]);
        scene.server.send_to(&[0, 3], before).expect("loopback");
        scene.server.send_to(&[0, 4], after).expect("loopback");
        assert_eq!(scene.collect(false, 50), [(4, scene.access)], "the old binding is gone");
    }

    #[test]
    fn names_are_unique_and_strangers_unknown() {
        let mut scene = scene();
        let any = LOCAL.parse().expect("an address");
        assert!(scene.relay.add("a", any, scene.access, 1).is_err());
        assert!(scene.relay.set("b", Way::Up, LinkConfig::default()).is_err());
        assert!(scene.relay.counts("b", Way::Up).is_err() && scene.relay.rebind("b").is_err());
    }
}
