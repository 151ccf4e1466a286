//! A naive selective forwarding unit on str0m, for comparison: one thread, one UDP socket, one system call per packet.
//!
//! Started by `kaigi-perf peers`; not a server for people. Signalling is one JSON object per line on stdin, one answer per line on
//! stdout: `{"publish": {"room": 1, "feed": 0, "offer": "…"}}` gives `{"answer": "…"}`; `{"subscribe": {"room": 1, "kind": "video",
//! "feeds": [0]}}` gives `{"id": 7, "offer": "…"}`; `{"start": {"id": 7, "answer": "…"}}` gives `{}`. It ends when stdin does.
//!
//! Not naive is what would only measure a bad program: datagrams find their connection by source address, and only connections
//! with something to do are polled.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// Looks at stdin this often while no packet comes.
const IDLE: Duration = Duration::from_millis(10);
/// The socket's queue each way, bytes; what kaigi asks for.
const QUEUE_BYTES: usize = 4 << 20;

/// One connection.
struct Peer {
    rtc: Rtc,
    due: Instant,
    /// What it publishes: room and feed.
    feed: Option<(u64, u64)>,
    /// Where the media of its sections come from, for keyframe requests.
    sources: HashMap<Mid, (u64, u64)>,
    pending: Option<SdpPendingOffer>,
}

/// A publisher and who gets its packets, each with the section.
#[derive(Default)]
struct Feed {
    publisher: usize,
    section: Option<Mid>,
    subscribers: Vec<(usize, Mid)>,
}

struct Sfu {
    socket: UdpSocket,
    address: SocketAddr,
    peers: Vec<Peer>,
    by_source: HashMap<SocketAddr, usize>,
    feeds: HashMap<(u64, u64), Feed>,
    packets: Vec<(usize, RtpPacket)>,
    requests: Vec<(u64, u64)>,
}

fn main() {
    str0m::crypto::from_feature_flags().install_process_default();
    let ip = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1".to_owned());
    let socket = UdpSocket::bind(format!("{ip}:0")).expect("a UDP socket on the address given");
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(QUEUE_BYTES);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(QUEUE_BYTES);
    let address = socket.local_addr().expect("a bound socket has an address");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut sfu = Sfu {
        socket,
        address,
        peers: Vec::new(),
        by_source: HashMap::new(),
        feeds: HashMap::new(),
        packets: Vec::new(),
        requests: Vec::new(),
    };
    println!("{}", json!({ "ready": address.to_string() }));
    sfu.run(&lines);
}

impl Sfu {
    fn run(&mut self, lines: &Receiver<String>) {
        let mut buffer = vec![0; 2_000];
        loop {
            loop {
                match lines.try_recv() {
                    Ok(line) => self.handle_line(&line),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            let mut next = now + IDLE;
            for index in 0..self.peers.len() {
                if self.peers[index].due <= now {
                    let _ = self.peers[index].rtc.handle_input(Input::Timeout(now));
                    self.drain(index);
                }
                next = next.min(self.peers[index].due);
            }
            self.forward();
            let wait = next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).expect("a timeout can be set");
            match self.socket.recv_from(&mut buffer) {
                Ok((bytes, source)) => self.handle_datagram(source, &buffer[..bytes]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // ICMP of a client that has gone.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }

    fn handle_datagram(&mut self, source: SocketAddr, bytes: &[u8]) {
        let Ok(contents) = bytes.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
        let input = Input::Receive(Instant::now(), receive);
        let known = self.by_source.get(&source).copied();
        let Some(index) = known.or_else(|| self.peers.iter().position(|peer| peer.rtc.accepts(&input)))
        else {
            return;
        };
        self.by_source.insert(source, index);
        let _ = self.peers[index].rtc.handle_input(input);
        self.drain(index);
        self.forward();
    }

    /// Sends what a connection has to send, one datagram per call, and collects its media.
    fn drain(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        loop {
            match peer.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    peer.due = at;
                    return;
                }
                Ok(Output::Transmit(send)) => {
                    let _ = self.socket.send_to(&send.contents, send.destination);
                }
                Ok(Output::Event(Event::RtpPacket(packet))) => self.packets.push((index, packet)),
                Ok(Output::Event(Event::KeyframeRequest(request))) => {
                    self.requests.extend(peer.sources.get(&request.mid));
                }
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    peer.due = Instant::now() + Duration::from_secs(3_600);
                    return;
                }
            }
        }
    }

    fn forward(&mut self) {
        for (publisher, packet) in std::mem::take(&mut self.packets) {
            let Some(key) = self.peers[publisher].feed else { continue };
            let Some(feed) = self.feeds.get(&key) else { continue };
            let subscribers = feed.subscribers.clone();
            for (index, mid) in subscribers {
                let peer = &mut self.peers[index];
                let mut api = peer.rtc.direct_api();
                let Some(stream) = api.stream_tx_by_mid(mid, None) else { continue };
                let header = &packet.header;
                let write = RtpWrite::new(
                    header.payload_type,
                    packet.seq_no,
                    header.timestamp,
                    packet.timestamp,
                    Arc::clone(&packet.payload),
                );
                stream.write_rtp(write.marker(header.marker).nackable(true));
                let _ = peer.rtc.handle_input(Input::Timeout(packet.timestamp));
                self.drain(index);
            }
        }
        for key in std::mem::take(&mut self.requests) {
            let Some(feed) = self.feeds.get(&key) else { continue };
            let (publisher, Some(mid)) = (feed.publisher, feed.section) else { continue };
            if let Some(stream) = self.peers[publisher].rtc.direct_api().stream_rx_by_mid(mid, None) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
            }
            self.drain(publisher);
        }
    }

    fn connection(&self) -> Rtc {
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_ice_lite(true)
            .set_dtls_version(DtlsVersion::Dtls12)
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(true, false)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(self.address, "udp").expect("a host candidate"));
        rtc
    }

    fn add(&mut self, rtc: Rtc, feed: Option<(u64, u64)>) -> usize {
        let (sources, pending) = (HashMap::new(), None);
        self.peers.push(Peer { rtc, due: Instant::now(), feed, sources, pending });
        self.peers.len() - 1
    }

    fn handle_line(&mut self, line: &str) {
        let reply = match serde_json::from_str(line) {
            Ok(request) => self.handle_request(&request).unwrap_or_else(|error| json!({ "error": error })),
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{reply}");
        let _ = std::io::stdout().flush();
    }

    fn handle_request(&mut self, request: &Value) -> Result<Value, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        if let Some(publish) = request.get("publish") {
            let key = (number(&publish["room"]), number(&publish["feed"]));
            let offer = SdpOffer::from_sdp_string(&text(&publish["offer"])).map_err(|e| e.to_string())?;
            let mut rtc = self.connection();
            let answer = rtc.sdp_api().accept_offer(offer).map_err(|e| e.to_string())?.to_sdp_string();
            let publisher = self.add(rtc, Some(key));
            let section = Some(Mid::from("0"));
            self.feeds.insert(key, Feed { publisher, section, subscribers: Vec::new() });
            return Ok(json!({ "answer": answer }));
        }
        if let Some(subscribe) = request.get("subscribe") {
            let room = number(&subscribe["room"]);
            let kind = if subscribe["kind"] == "audio" { MediaKind::Audio } else { MediaKind::Video };
            let feeds: Vec<u64> = subscribe["feeds"].as_array().into_iter().flatten().map(number).collect();
            let mut rtc = self.connection();
            let mut api = rtc.sdp_api();
            let mids: Vec<Mid> =
                feeds.iter().map(|_| api.add_media(kind, Direction::SendOnly, None, None, None)).collect();
            let (offer, pending) = api.apply().ok_or("nothing to offer")?;
            let id = self.add(rtc, None);
            self.peers[id].pending = Some(pending);
            for (feed, mid) in feeds.into_iter().zip(mids) {
                self.peers[id].sources.insert(mid, (room, feed));
                let source = self.feeds.get_mut(&(room, feed)).ok_or("no such feed")?;
                source.subscribers.push((id, mid));
            }
            return Ok(json!({ "id": id, "offer": offer.to_sdp_string() }));
        }
        let start = request.get("start").ok_or("an unknown request")?;
        let peer = self.peers.get_mut(number(&start["id"]) as usize).ok_or("no such connection")?;
        let pending = peer.pending.take().ok_or("nothing was offered")?;
        let answer = SdpAnswer::from_sdp_string(&text(&start["answer"])).map_err(|e| e.to_string())?;
        peer.rtc.sdp_api().accept_answer(pending, answer).map_err(|e| e.to_string())?;
        peer.due = Instant::now();
        Ok(json!({}))
    }
}
