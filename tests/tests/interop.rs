//! A WebRTC implementation that is not ours (str0m) meets through the real daemon: join over `/rtc`, publish, subscribe; over UDP, and
//! over TCP with sockets and frames (RFC 4571) of the test's own, as str0m has neither.
//!
//! Each participant is two connections, as protocol v0 wants. Frames carry a text with publisher and number, so that what
//! arrives is compared byte for byte with what was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tests::daemon::{Daemon, Scratch};
use tests::livekit::{Received, Signalling};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Everything here takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a participant reaches the daemon.
#[derive(Clone, Copy)]
struct Access {
    protocol: Protocol,
    dtls: DtlsVersion,
}

const UDP: Access = Access { protocol: Protocol::Udp, dtls: DtlsVersion::Dtls12 };

/// The socket of a connection.
enum Way {
    Udp(UdpSocket),
    /// Made when the daemon has said where to; with what was read of the next frame.
    Tcp(Option<(TcpStream, Vec<u8>)>),
}

impl Way {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr().ok(),
            Self::Tcp(connection) => connection.as_ref().and_then(|(stream, _)| stream.local_addr().ok()),
        }
    }

    async fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        match self {
            Self::Udp(socket) => _ = socket.send_to(datagram, to).await,
            Self::Tcp(connection) => {
                let (stream, _) = connection.as_mut().expect("without a candidate nothing is sent");
                assert_eq!(stream.peer_addr().expect("it stands"), to);
                let length = u16::try_from(datagram.len()).expect("a datagram").to_be_bytes();
                stream.write_all(&[&length, datagram].concat()).await.expect("the connection stands");
            }
        }
    }

    /// The next datagram; may be given up at any time without losing one.
    async fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        match self {
            Self::Udp(socket) => {
                let mut datagram = [0; 2_000];
                let (count, from) = socket.recv_from(&mut datagram).await.expect("loopback works");
                (from, datagram[..count].to_vec())
            }
            Self::Tcp(Some((stream, read))) => loop {
                let length = read.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
                if let Some(end) = length.map(|length| 2 + length).filter(|end| *end <= read.len()) {
                    let frame: Vec<u8> = read.drain(..end).skip(2).collect();
                    return (stream.peer_addr().expect("it stands"), frame);
                }
                let count = stream.read_buf(read).await.expect("the connection stands");
                assert_ne!(count, 0, "the daemon closed the connection");
            },
            Self::Tcp(None) => std::future::pending().await,
        }
    }
}

/// The address in the daemon's TCP candidate.
fn tcp_address(sdp: &str) -> SocketAddr {
    let is_tcp = |candidate: &&str| candidate.contains(" tcp ") && candidate.ends_with("tcptype passive");
    let candidate = sdp.lines().filter(|line| line.starts_with("a=candidate:")).find(is_tcp);
    let parts: Vec<&str> = candidate.expect("TCP is offered").split(' ').collect();
    SocketAddr::new(parts[4].parse().expect("an address"), parts[5].parse().expect("a port"))
}

/// One str0m connection with its socket.
struct Peer {
    rtc: Rtc,
    way: Way,
    wake: Instant,
}

impl Peer {
    async fn new(access: Access) -> Self {
        let now = Instant::now();
        let rtc = RtcConfig::new().set_dtls_version(access.dtls).build(now);
        let way = match access.protocol {
            Protocol::Udp => Way::Udp(UdpSocket::bind("127.0.0.1:0").await.expect("a loopback socket")),
            _ => Way::Tcp(None),
        };
        let mut this = Self { rtc, way, wake: now };
        if let Some(address) = this.way.address() {
            this.rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host candidate"));
        }
        this
    }

    /// Connects to where a description says, if that is still to be done.
    async fn connect(&mut self, sdp: &str) {
        if let Way::Tcp(connection @ None) = &mut self.way {
            let stream = TcpStream::connect(tcp_address(sdp)).await.expect("the port listens");
            stream.set_nodelay(true).expect("it can be set");
            let address = stream.local_addr().expect("a connected socket has an address");
            *connection = Some((stream, Vec::new()));
            let active = Candidate::builder().tcp().host(address).tcptype(TcpType::Active).build();
            self.rtc.add_local_candidate(active.expect("a host candidate"));
        }
    }

    /// Sends what is to be sent and collects what happened.
    async fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.rtc.poll_output().expect("the connection works") {
                Output::Timeout(at) => {
                    self.wake = at;
                    return events;
                }
                Output::Transmit(send) => self.way.send(send.destination, &send.contents).await,
                Output::Event(event) => events.push(event),
            }
        }
    }

    fn input(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Ok(contents) = bytes.try_into() else { return };
        let proto = if matches!(self.way, Way::Udp(_)) { Protocol::Udp } else { Protocol::Tcp };
        let destination = self.way.address().expect("something came");
        let receive = Receive { proto, source: from, destination, contents };
        self.rtc.handle_input(Input::Receive(Instant::now(), receive)).expect("the datagram is taken");
    }
}

/// What one participant sends on one media section.
struct Sending {
    mid: Mid,
    kind: MediaKind,
    next: Instant,
    sent: u64,
    keyframe: bool,
}

enum Happening {
    Publisher(SocketAddr, Vec<u8>),
    Subscriber(SocketAddr, Vec<u8>),
    Signal(Received),
    Time,
}

/// What a participant got of one track.
#[derive(Default, Debug)]
struct Got {
    frames: u64,
    foreign: u64,
    keyframes: u64,
    first: Option<Duration>,
}

struct Participant {
    name: String,
    signalling: Signalling,
    publisher: Peer,
    subscriber: Peer,
    pending: Option<SdpPendingOffer>,
    sending: Vec<Sending>,
    began: Instant,
    /// By publisher's name and kind.
    got: BTreeMap<(String, &'static str), Got>,
    channels: Vec<String>,
    connected: bool,
}

fn kind_name(kind: MediaKind) -> &'static str {
    if kind == MediaKind::Audio { "audio" } else { "video" }
}

/// A frame of VP8's outer form (RFC 6386 section 9.1) with a text where the partitions would be.
fn frame(kind: MediaKind, keyframe: bool, name: &str, number: u64) -> Vec<u8> {
    let mut bytes = match (kind, keyframe) {
        (MediaKind::Audio, _) => Vec::new(),
        (MediaKind::Video, true) => vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 1, 180, 0],
        (MediaKind::Video, false) => vec![0x11, 0, 0],
    };
    bytes.extend_from_slice(format!("{name} {number};").as_bytes());
    // Some frames are larger than a packet.
    bytes.resize(bytes.len() + if keyframe { 4_000 } else { 100 }, b'.');
    bytes
}

/// Publisher and number, if the frame is whole.
fn read_frame(kind: MediaKind, bytes: &[u8]) -> Option<(String, u64, bool)> {
    let keyframe = kind == MediaKind::Video && bytes.first()? & 1 == 0;
    let start = match (kind, keyframe) {
        (MediaKind::Audio, _) => 0,
        (MediaKind::Video, true) => 10,
        (MediaKind::Video, false) => 3,
    };
    let text: Vec<u8> = bytes.get(start..)?.iter().copied().take_while(|b| *b != b';').collect();
    let (name, number) = std::str::from_utf8(&text).ok()?.split_once(' ')?;
    let number = number.parse().ok()?;
    (frame(kind, keyframe, name, number) == bytes).then(|| (name.to_owned(), number, keyframe))
}

impl Participant {
    async fn join(meeting: &Meeting, name: &str, publishes: bool, access: Access) -> Self {
        let began = Instant::now();
        let mut signalling =
            Signalling::open(meeting.daemon.address, &meeting.token(name), "").await.expect("let in");
        signalling.join().await;
        let mut this = Self {
            name: name.to_owned(),
            signalling,
            publisher: Peer::new(access).await,
            subscriber: Peer::new(access).await,
            pending: None,
            sending: Vec::new(),
            began,
            got: BTreeMap::new(),
            channels: Vec::new(),
            connected: false,
        };
        if publishes {
            this.publish().await;
        }
        this
    }

    async fn publish(&mut self) {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let (r#type, source) = match kind {
                MediaKind::Audio => (proto::TrackType::Audio, proto::TrackSource::Microphone),
                MediaKind::Video => (proto::TrackType::Video, proto::TrackSource::Camera),
            };
            let request = proto::AddTrackRequest {
                cid: format!("{}-{}", self.name, kind_name(kind)),
                r#type: r#type.into(),
                source: source.into(),
                disable_red: true,
                ..Default::default()
            };
            self.signalling.send(Request::AddTrack(request)).await;
        }
        let mut change = self.publisher.rtc.sdp_api();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let cid = format!("{}-{}", self.name, kind_name(kind));
            let mid = change.add_media(kind, Direction::SendOnly, Some("stream".into()), Some(cid), None);
            let next = Instant::now();
            self.sending.push(Sending { mid, kind, next, sent: 0, keyframe: true });
        }
        let (offer, pending) = change.apply().expect("there is something to offer");
        self.pending = Some(pending);
        self.publisher.drain().await;
        let sdp = offer.to_sdp_string();
        let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id: 1, ..Default::default() };
        self.signalling.send(Request::Offer(offer)).await;
    }

    async fn signal(&mut self, reply: Reply) {
        match reply {
            Reply::Offer(offer) => {
                // Left the choice, str0m (made for servers) takes the server's role, which clients must leave to us.
                let sdp = offer.sdp.replace("a=setup:actpass", "a=setup:passive");
                self.subscriber.connect(&sdp).await;
                let offered = SdpOffer::from_sdp_string(&sdp).expect("str0m reads our offers");
                let answer =
                    self.subscriber.rtc.sdp_api().accept_offer(offered).expect("str0m takes our offers");
                self.subscriber_events().await;
                let answer = proto::SessionDescription {
                    r#type: "answer".into(),
                    sdp: answer.to_sdp_string(),
                    id: offer.id,
                    ..Default::default()
                };
                self.signalling.send(Request::Answer(answer)).await;
            }
            Reply::Answer(answer) => {
                assert_eq!(answer.id, 1);
                self.publisher.connect(&answer.sdp).await;
                let answer = SdpAnswer::from_sdp_string(&answer.sdp).expect("str0m reads our answers");
                let pending = self.pending.take().expect("one offer is open");
                self.publisher.rtc.sdp_api().accept_answer(pending, answer).expect("str0m takes our answers");
                self.publisher_events().await;
            }
            _ => {}
        }
    }

    async fn publisher_events(&mut self) {
        for event in self.publisher.drain().await {
            if let Event::KeyframeRequest(request) = event
                && let Some(sending) = self.sending.iter_mut().find(|s| s.mid == request.mid)
            {
                sending.keyframe = true;
            }
        }
    }

    async fn subscriber_events(&mut self) {
        for event in self.subscriber.drain().await {
            match event {
                Event::Connected => self.connected = true,
                Event::ChannelOpen(_, label) => self.channels.push(label),
                Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    panic!("{} lost ICE", self.name)
                }
                Event::MediaData(data) => {
                    let kind = if data.params.spec().codec == Codec::Opus {
                        MediaKind::Audio
                    } else {
                        MediaKind::Video
                    };
                    let since = self.began.elapsed();
                    let Some((name, _, keyframe)) = read_frame(kind, &data.data) else {
                        self.got.entry(("?".into(), kind_name(kind))).or_default().foreign += 1;
                        continue;
                    };
                    let got = self.got.entry((name, kind_name(kind))).or_default();
                    got.frames += 1;
                    got.keyframes += u64::from(keyframe);
                    got.first.get_or_insert(since);
                }
                _ => {}
            }
        }
    }

    /// Writes the frames that are due.
    async fn media(&mut self) {
        let now = Instant::now();
        for index in 0..self.sending.len() {
            let sending = &mut self.sending[index];
            if now < sending.next {
                continue;
            }
            let interval = if sending.kind == MediaKind::Audio { 20 } else { 66 };
            sending.next = now + Duration::from_millis(interval);
            let keyframe = std::mem::take(&mut sending.keyframe) && sending.kind == MediaKind::Video;
            let (mid, kind, number) = (sending.mid, sending.kind, sending.sent);
            let Some(writer) = self.publisher.rtc.writer(mid) else { continue };
            let Some(pt) = writer.payload_params().next().map(|p| p.pt()) else { continue };
            let time = match kind {
                MediaKind::Audio => MediaTime::new(number * 960, Frequency::FORTY_EIGHT_KHZ),
                MediaKind::Video => MediaTime::from_90khz(number * 5_940),
            };
            let data: Arc<[u8]> = frame(kind, keyframe, &self.name, number).into();
            if writer.write(pt, now, time, data).is_ok() {
                self.sending[index].sent += 1;
            }
            self.publisher_events().await;
        }
    }

    /// Waits for the next thing; may be given up at any time without losing one.
    async fn wait(&mut self) -> Happening {
        let media = self.sending.iter().map(|s| s.next).min().unwrap_or(self.publisher.wake);
        let wake = self.publisher.wake.min(self.subscriber.wake).min(media);
        tokio::select! {
            (from, datagram) = self.publisher.way.receive() => Happening::Publisher(from, datagram),
            (from, datagram) = self.subscriber.way.receive() => Happening::Subscriber(from, datagram),
            received = self.signalling.receive() => Happening::Signal(received),
            () = tokio::time::sleep_until(wake.into()) => Happening::Time,
        }
    }

    async fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Publisher(from, bytes) => {
                self.publisher.input(from, &bytes);
                self.publisher_events().await;
            }
            Happening::Subscriber(from, bytes) => {
                self.subscriber.input(from, &bytes);
                self.subscriber_events().await;
            }
            Happening::Signal(Received::Reply(reply)) => self.signal(*reply).await,
            Happening::Signal(Received::Closed(why)) => panic!("{} was closed: {why:?}", self.name),
            Happening::Time => {
                let now = Instant::now();
                self.publisher.rtc.handle_input(Input::Timeout(now)).expect("time passes");
                self.publisher_events().await;
                self.subscriber.rtc.handle_input(Input::Timeout(now)).expect("time passes");
                self.subscriber_events().await;
                self.media().await;
            }
        }
    }

    fn got(&self, name: &str, kind: &'static str) -> u64 {
        self.got.get(&(name.to_owned(), kind)).map_or(0, |got| got.frames)
    }
}

/// Runs everybody until `done`.
async fn run(people: &mut [Participant], done: impl Fn(&[Participant]) -> bool) {
    let begun = Instant::now();
    while !done(people) {
        let state: Vec<_> = people.iter().map(|p| (&p.name, p.connected, &p.got, &p.channels)).collect();
        assert!(begun.elapsed() < PATIENCE, "nothing more happens: {state:?}");
        let waits = people.iter_mut().map(|p| Box::pin(p.wait()));
        let (happening, index, _) = futures_util::future::select_all(waits).await;
        people[index].handle(happening).await;
    }
}

struct Meeting {
    daemon: Daemon,
    id: String,
    _scratch: Scratch,
}

impl Meeting {
    fn new(name: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let mut all = vec!["--demo", "--node-ip", "127.0.0.1", "--log-level", "debug"];
        all.extend_from_slice(flags);
        let daemon = Daemon::start(&scratch.join("data"), &all);
        let id = daemon.create_meeting();
        Self { daemon, id, _scratch: scratch }
    }

    fn token(&self, name: &str) -> String {
        self.daemon.session_token(&self.id, name)
    }
}

/// They meet; the daemon then, and what it logged.
async fn two_people_and_a_latecomer(name: &str, flags: &[&str], access: Access, spoken: &str) -> Meeting {
    let meeting = Meeting::new(name, flags);
    let mut people = Vec::new();
    for name in ["Ada", "Bob"] {
        people.push(Participant::join(&meeting, name, true, access).await);
    }
    run(&mut people, |people| {
        people
            .iter()
            .zip(["Bob", "Ada"])
            .all(|(p, other)| p.got(other, "video") >= 30 && p.got(other, "audio") >= 80)
    })
    .await;
    // Somebody who only watches comes while the meeting runs: no keyframe is due, so one must be asked for.
    people.push(Participant::join(&meeting, "Cid", false, access).await);
    run(&mut people, |people| ["Ada", "Bob"].iter().all(|n| people[2].got(n, "video") >= 15)).await;
    for person in &people {
        let mut channels = person.channels.clone();
        channels.sort_unstable();
        assert_eq!(channels, ["_lossy", "_reliable"], "{}", person.name);
        assert!(person.got.keys().all(|(name, _)| *name != "?" && *name != person.name), "{:?}", person.got);
    }
    for name in ["Ada", "Bob"] {
        let got = &people[2].got[&(name.to_owned(), "video")];
        assert!(got.keyframes >= 1);
        let first = got.first.expect("frames came");
        assert!(first < Duration::from_secs(2), "the first picture of {name} took {first:?}");
    }
    let log = meeting.daemon.log();
    let ready: Vec<&str> = log.lines().filter(|l| l.contains("media ready")).collect();
    assert!(ready.len() >= 5, "{log}");
    assert!(ready.iter().all(|l| l.contains(spoken)), "{ready:?}");
    meeting
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_meets_over_dtls_1_2_with_aes_256_gcm() {
    two_people_and_a_latecomer("interop-12", &[], UDP, "dtls=1.2 srtp=AEAD_AES_256_GCM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_meets_over_dtls_1_3() {
    let access = Access { dtls: DtlsVersion::Dtls13, ..UDP };
    two_people_and_a_latecomer("interop-13", &["--dtls", "1.3"], access, "dtls=1.3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_client_meets_over_tcp_alone() {
    let access = Access { protocol: Protocol::Tcp, ..UDP };
    let meeting = two_people_and_a_latecomer("interop-tcp", &[], access, "dtls=1.2").await;
    let metrics = meeting.daemon.call("GET", "/metrics", None).text();
    let accepted =
        metrics.lines().find_map(|line| line.strip_prefix("kaigi_tcp_connections_accepted_total "));
    // Both directions of two people, and the latecomer, who publishes nothing.
    assert!(accepted.is_some_and(|count| count.parse().is_ok_and(|count: u32| count >= 5)), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_alone_without_media_gets_a_connection_and_its_channels() {
    let meeting = Meeting::new("interop-alone", &[]);
    let mut people = vec![Participant::join(&meeting, "Ada", false, UDP).await];
    run(&mut people, |people| people[0].connected && people[0].channels.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn meetings_side_by_side_hear_nothing_of_each_other() {
    let meeting = Meeting::new("interop-two", &[]);
    let other = meeting.daemon.create_meeting();
    let mut people = Vec::new();
    for name in ["Ada", "Bob"] {
        people.push(Participant::join(&meeting, name, true, UDP).await);
    }
    let meeting = Meeting { id: other, ..meeting };
    for name in ["Eve", "Fay"] {
        people.push(Participant::join(&meeting, name, true, UDP).await);
    }
    run(&mut people, |people| {
        let pairs = [(0, "Bob"), (1, "Ada"), (2, "Fay"), (3, "Eve")];
        pairs.iter().all(|(index, name)| people[*index].got(name, "video") >= 15)
    })
    .await;
    for (person, other) in people.iter().zip(["Bob", "Ada", "Fay", "Eve"]) {
        assert!(person.got.keys().all(|(name, _)| name == other), "{}: {:?}", person.name, person.got);
    }
    // Rooms without load are spread, and a room's packets stay on its core.
    let metrics = meeting.daemon.call("GET", "/metrics", None).text();
    let busy = metrics
        .lines()
        .filter(|l| l.starts_with("kaigi_packets_forwarded_total") && !l.ends_with(" 0"))
        .count();
    let cores = metrics.lines().filter(|l| l.starts_with("kaigi_packets_forwarded_total")).count();
    assert_eq!(busy, cores.min(2), "{metrics}");
}
