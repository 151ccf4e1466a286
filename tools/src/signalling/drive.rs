//! Gives a [`Participant`] its WebSocket and its two UDP sockets, on a tokio task.
//!
//! Promises: the task ends when told, when the server ends it, or when the socket breaks; whatever the end, the participant
//! comes back with its statistics. Not here: what to publish and when to stop.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dataplane::base::time::Micros;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use url::Url;

use super::participant::{Leg, Participant};
use crate::client::TRANSMIT_BYTES_MIN;

/// Largest datagram we read.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Datagrams read from one socket before the other things get their turn.
const READS_PER_TURN: usize = 64;

/// A join request that wants every track and says nothing else.
const JOIN_REQUEST: &str = "EgQSAggB";

/// Why a session is over.
#[derive(Debug)]
pub enum SessionEnd {
    /// It was told to stop.
    Told,
    /// The participant ended it: see [`Participant::end`].
    Ended,
    /// The WebSocket broke or closed.
    Socket(String),
    /// A UDP socket broke.
    Udp(io::Error),
}

/// An open signalling connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    host: Option<IpAddr>,
}

impl Socket {
    /// Connects to `media_server_url` with `session_token`, as a client SDK would; with `single` by protocol v1.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn connect(media_server_url: &str, session_token: &str, single: bool) -> Result<Self, String> {
        let mut url = Url::parse(media_server_url).map_err(|error| format!("{media_server_url}: {error}"))?;
        let path = format!("{}/{}", url.path().trim_end_matches('/'), if single { "rtc/v1" } else { "rtc" });
        url.set_path(&path);
        url.query_pairs_mut().append_pair("access_token", session_token);
        if single {
            url.query_pairs_mut().append_pair("join_request", JOIN_REQUEST);
        } else {
            url.query_pairs_mut()
                .append_pair("auto_subscribe", "1")
                .append_pair("protocol", "15")
                .append_pair("sdk", "kaigi-synthetic");
        }
        let host = match url.host() {
            Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(url::Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            _ => None,
        };
        // The token is in the URL: it must not be in the error.
        let connected = tokio::time::timeout(Duration::from_secs(15), connect_async(url.as_str())).await;
        match connected {
            Ok(Ok((stream, _))) => Ok(Self { stream, host }),
            Ok(Err(error)) => Err(format!("{media_server_url}{path}: {error}")),
            Err(_) => Err(format!("{media_server_url}{path}: no answer within 15 s")),
        }
    }
}

/// The clock of a run: the participant's times are microseconds since `origin`.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Micros) -> Instant {
        // A day from now is as good as never.
        self.0 + Duration::from_micros(at.0.min(self.now().0 + 86_400_000_000))
    }
}

/// Runs a participant until `stop` is ready, then says goodbye. `each` sees it after every turn.
pub async fn run(
    mut participant: Participant,
    socket: Socket,
    clock: Clock,
    stop: impl Future<Output = ()>,
    mut each: impl FnMut(&Participant),
) -> (Participant, SessionEnd) {
    let Socket { mut stream, host } = socket;
    let mut sockets: [Option<UdpSocket>; 2] = [None, None];
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut out = vec![0; TRANSMIT_BYTES_MIN];
    tokio::pin!(stop);
    let end = loop {
        let now = clock.now();
        participant.handle_timeout(now);
        let mut due = participant.next_timeout();
        let mut broken = None;
        for (leg, socket) in participant.legs_mut().into_iter().zip(&mut sockets) {
            match turn(leg, socket, host, now, &mut out).await {
                Ok(next) => due = due.min(next),
                Err(error) => broken = Some(error),
            }
        }
        if let Some(error) = broken {
            break SessionEnd::Udp(error);
        }
        if let Err(error) = send_requests(&mut participant, &mut stream).await {
            break SessionEnd::Socket(error);
        }
        each(&participant);
        if participant.end().is_some() {
            break SessionEnd::Ended;
        }
        let [publisher, subscriber] = &sockets;
        tokio::select! {
            () = &mut stop => break SessionEnd::Told,
            message = stream.next() => match message {
                Some(Ok(Message::Binary(bytes))) => match proto::SignalResponse::decode(bytes) {
                    Ok(response) => participant.handle_response(clock.now(), response),
                    Err(_) => break SessionEnd::Socket("the server sent what is not the protocol".to_owned()),
                },
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map_or_else(String::new, |frame| frame.reason.to_string());
                    break SessionEnd::Socket(format!("the server closed the connection {reason}"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break SessionEnd::Socket(error.to_string()),
                None => break SessionEnd::Socket("the connection is gone".to_owned()),
            },
            () = readable(publisher) => {}
            () = readable(subscriber) => {}
            () = tokio::time::sleep_until(clock.instant(due).into()) => {}
        }
        for (leg, socket) in participant.legs_mut().into_iter().zip(&sockets) {
            read(leg, socket.as_ref(), clock, &mut buffer);
        }
    };
    if matches!(end, SessionEnd::Told) {
        participant.leave();
        let now = clock.now();
        for (leg, socket) in participant.legs_mut().into_iter().zip(&mut sockets) {
            // The server notices a missing goodbye by itself.
            let _ = turn(leg, socket, host, now, &mut out).await;
        }
        let _ = send_requests(&mut participant, &mut stream).await;
        let _ = stream.close(None).await;
    }
    (participant, end)
}

/// Lets a leg send what it has; opens its socket once the server has said where it is.
async fn turn(
    leg: &mut Leg,
    socket: &mut Option<UdpSocket>,
    host: Option<IpAddr>,
    now: Micros,
    out: &mut [u8],
) -> io::Result<Micros> {
    if socket.is_none() {
        let Some(address) = choose(&leg.candidates, host) else { return Ok(Micros::NEVER) };
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let opened = UdpSocket::bind((any, 0)).await?;
        opened.connect(address).await?;
        *socket = Some(opened);
    }
    let Some(socket) = socket else { return Ok(Micros::NEVER) };
    leg.client.handle_timeout(now);
    while let Some(bytes) = leg.client.poll_transmit(now, out) {
        match socket.send(&out[..bytes]).await {
            // Nobody listens there (yet): checks go on and will tell.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            sent => _ = sent?,
        }
    }
    Ok(leg.client.next_timeout())
}

fn read(leg: &mut Leg, socket: Option<&UdpSocket>, clock: Clock, buffer: &mut [u8]) {
    let Some(socket) = socket else { return };
    for _ in 0..READS_PER_TURN {
        let Ok(bytes) = socket.try_recv(buffer) else { return };
        leg.client.handle_datagram(clock.now(), &mut buffer[..bytes]);
    }
}

async fn readable(socket: &Option<UdpSocket>) {
    match socket {
        // An error shows again, and is handled, when something is sent.
        Some(socket) => _ = socket.readable().await,
        None => std::future::pending().await,
    }
}

async fn send_requests(
    participant: &mut Participant,
    stream: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
) -> Result<(), String> {
    while let Some(request) = participant.poll_request() {
        let message = Message::Binary(request.encode_to_vec().into());
        stream.send(message).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The candidate on the address that signalling used, else one like it (loopback or not), else the first.
fn choose(candidates: &[SocketAddr], host: Option<IpAddr>) -> Option<SocketAddr> {
    let is_local = host.is_some_and(|ip| ip.is_loopback());
    let same = candidates.iter().find(|candidate| Some(candidate.ip()) == host);
    let alike = || candidates.iter().find(|candidate| candidate.ip().is_loopback() == is_local);
    same.or_else(alike).or_else(|| candidates.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_nearest_to_the_signalling_address_is_chosen() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let ip = |text: &str| -> Option<IpAddr> { text.parse().ok() };
        let all = [address("10.0.0.1:1"), address("192.168.0.1:1"), address("127.0.0.1:1")];
        assert_eq!(choose(&all, ip("192.168.0.1")), Some(all[1]));
        assert_eq!(choose(&all, ip("127.0.0.1")), Some(all[2]));
        assert_eq!(choose(&all, ip("172.16.0.1")), Some(all[0]));
        assert_eq!(choose(&all[1..], None), Some(all[1]), "a name is somewhere else");
        assert_eq!(choose(&all[..1], ip("127.0.0.1")), Some(all[0]));
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn the_join_request_is_one_that_a_server_reads() {
        let opening = controlplane::signal::join_request::read(JOIN_REQUEST).expect("a join request");
        assert!(opening.client.auto_subscribe && opening.client.single);
        assert_eq!((opening.resume, opening.messages.len()), (None, 0));
    }

    #[tokio::test]
    async fn a_refused_connection_does_not_show_the_token() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let error = Socket::connect(&format!("ws://{address}"), "secret-token", false)
            .await
            .err()
            .unwrap_or_default();
        assert!(error.contains(&address.to_string()) && !error.contains("secret"), "{error}");
    }
}
