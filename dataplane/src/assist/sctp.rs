//! The data channels of one peer: an SCTP association (RFC 8831) with DCEP on top (RFC 8832), inside DTLS.
//!
//! We wait for the peer's INIT: every browser sends one. As the DTLS server we open odd streams.
//! Promises: sans-IO; what a peer says is read only as its [`Allowance`] permits, so a flood waits in the peer's own queue, and what may
//! be lost of it is dropped; what is sent to a peer waits in a bounded queue, and when that is full messages that may be lost are, then
//! the channels end. Bytes of a sent message are shared, not copied.
//! Not here: what messages mean, and who receives them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, Stream, StreamEvent, Transmit, TransportConfig,
};

use super::allowance::{Allowance, Permit};
use super::dcep::{Message, Open, Reliability};
use super::dtls::DTLS_BYTES_MAX;
use super::packet::Survey;
use crate::base::handoff::{ChannelDrops, ChannelsEnd};
use crate::base::limits::{
    CHANNEL_LOSSY_BYTES, CHANNEL_MESSAGE_BYTES_MAX, CHANNEL_QUEUE_BYTES, CHANNEL_RELIABLE_BYTES,
    CHANNEL_SEND_BYTES_MAX, CHANNEL_STREAMS, CHANNEL_UNREAD_CHUNKS, CHANNELS_PER_PEER,
};

/// A DTLS record adds up to 37 bytes (1.2 with GCM), SCTP 28 and padding 3.
const PAYLOAD_BYTES_MAX: u32 = DTLS_BYTES_MAX as u32 - 37 - 28 - 3;
/// SCTP wants an address; inside DTLS there is none.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

static ENDPOINT: LazyLock<Arc<EndpointConfig>> = LazyLock::new(|| {
    let mut config = EndpointConfig::new();
    config.max_payload_size(PAYLOAD_BYTES_MAX);
    Arc::new(config)
});

static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let transport = TransportConfig::default()
        // ICE decides when a peer is gone, not SCTP.
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(1_000)
        // A lost last packet costs a message this long; browsers take the same. And after a link was away for long, the first
        // try must not be as long in coming.
        .with_rto_min_ms(400)
        .with_rto_max_ms(4_000)
        .with_max_num_inbound_streams(CHANNEL_STREAMS)
        .with_max_num_outbound_streams(CHANNEL_STREAMS)
        .with_max_send_message_size(CHANNEL_SEND_BYTES_MAX)
        .with_max_receive_message_size(CHANNEL_MESSAGE_BYTES_MAX)
        .with_max_receive_buffer_size(CHANNEL_QUEUE_BYTES);
    let mut config = ServerConfig::new();
    config.transport = Arc::new(transport);
    Arc::new(config)
});

/// What a reader gets.
#[derive(Debug)]
pub enum Received {
    /// A channel is open.
    Open {
        /// Its stream.
        channel: u16,
        /// Its label.
        label: Box<str>,
        /// Whether we opened it.
        ours: bool,
    },
    /// The peer closed a channel.
    Closed {
        /// Its stream.
        channel: u16,
    },
    /// All channels are over.
    Ended(ChannelsEnd),
    /// A message came.
    Message {
        /// Its stream.
        channel: u16,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
}

/// A channel we know.
struct Channel {
    /// Its label while we wait for the acknowledgement of what we asked for; `None` once both sides know it.
    asked: Option<Box<str>>,
    /// Every message arrives; else messages may be lost, here too.
    reliable: bool,
}

/// See the module.
pub struct Channels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    connected: bool,
    /// The channels are over for good.
    ended: bool,
    /// Asked for before the association stood.
    wanted: VecDeque<(&'static str, bool)>,
    channels: BTreeMap<u16, Channel>,
    /// Streams with something to read.
    readable: BTreeSet<u16>,
    /// The stream that was read last: the others come first.
    last_read: u16,
    /// Chunks that came since nothing was left to read.
    unread_chunks: u32,
    allowance: Allowance,
    /// Told before messages.
    news: VecDeque<Received>,
    packets: VecDeque<Vec<u8>>,
    drops: ChannelDrops,
}

impl Channels {
    /// Waits for the peer's INIT.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            endpoint: Endpoint::new(ENDPOINT.clone(), Some(SERVER.clone())),
            association: None,
            connected: false,
            ended: false,
            wanted: VecDeque::new(),
            channels: BTreeMap::new(),
            readable: BTreeSet::new(),
            last_read: 0,
            unread_chunks: 0,
            allowance: Allowance::new(now),
            news: VecDeque::new(),
            packets: VecDeque::new(),
            drops: ChannelDrops::default(),
        }
    }

    /// Opens a channel, now or when the association stands.
    pub fn open(&mut self, label: &'static str, reliable: bool) {
        if self.wanted.len() + self.channels.len() < CHANNELS_PER_PEER {
            self.wanted.push_back((label, reliable));
        }
        self.open_wanted();
    }

    /// Takes one SCTP packet.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        if self.ended {
            return;
        }
        let survey = Survey::of(packet);
        if survey.stream_max.is_some_and(|stream| stream >= CHANNEL_STREAMS) {
            self.drops.refused += 1;
            self.end(ChannelsEnd::Violation);
            return;
        }
        if survey.chunks > 0 && !self.readable.is_empty() {
            if self.unread_chunks.saturating_add(survey.chunks) > CHANNEL_UNREAD_CHUNKS {
                // As if the network had lost it: the peer sends it again, later.
                self.drops.refused += 1;
                return;
            }
            self.unread_chunks += survey.chunks;
        }
        let bytes = Bytes::copy_from_slice(packet);
        match self.endpoint.handle(now, NOWHERE, None, None, bytes) {
            Some((handle, DatagramEvent::NewAssociation(association))) if self.association.is_none() => {
                self.association = Some((handle, association));
                // One association per DTLS session: further INITs with other tags would only cost memory.
                self.endpoint.reject_new_associations();
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((known, association)) = &mut self.association
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
        self.follow();
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.follow();
    }

    /// When it next wants to run, or to be read.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let read = match self.allowance.permit(now) {
            Permit::NotBefore(due) if !self.readable.is_empty() => Some(due),
            Permit::Busy if !self.readable.is_empty() => self.allowance.due(),
            _ => None,
        };
        let run = self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        [read, run].into_iter().flatten().min()
    }

    /// The next SCTP packet to send.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Some(packet);
            }
            let transmit = match self.endpoint.poll_transmit() {
                Some(transmit) => transmit,
                None => self.association.as_mut()?.1.poll_transmit(now)?,
            };
            let Transmit { payload: Payload::RawEncode(packets), .. } = transmit else { continue };
            self.packets.extend(packets.into_iter().map(|packet| packet.to_vec()));
        }
    }

    /// Whether there is something that may be read now.
    pub fn is_readable(&mut self, now: Instant) -> bool {
        !self.news.is_empty() || self.next_readable(now).is_some()
    }

    /// Reads the next message. Establishment messages are answered here; what may be lost of a peer over its rate is.
    pub fn read(&mut self, now: Instant) -> Option<Received> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        while let Some((channel, permit)) = self.next_readable(now) {
            let Some((protocol, bytes)) = self.read_stream(channel) else {
                self.readable.remove(&channel);
                if self.readable.is_empty() {
                    self.unread_chunks = 0;
                }
                continue;
            };
            self.last_read = channel;
            let chunks = bytes.len().div_ceil(PAYLOAD_BYTES_MAX as usize).max(1);
            self.unread_chunks = self.unread_chunks.saturating_sub(u32::try_from(chunks).unwrap_or(u32::MAX));
            if permit != Permit::Now {
                self.drops.throttled += 1;
                continue;
            }
            let is_known = self.channels.contains_key(&channel);
            match protocol {
                PayloadProtocolIdentifier::Dcep => {
                    self.allowance.read(now, bytes.len());
                    if let Some(opened) = self.handle_establishment(channel, &bytes) {
                        return Some(opened);
                    }
                }
                // An empty message is sent as one byte (RFC 8831 section 6.6).
                PayloadProtocolIdentifier::StringEmpty | PayloadProtocolIdentifier::BinaryEmpty
                    if is_known =>
                {
                    self.allowance.sent_on(now, 0);
                    return Some(Received::Message { channel, bytes: Box::default() });
                }
                PayloadProtocolIdentifier::String | PayloadProtocolIdentifier::Binary if is_known => {
                    self.allowance.sent_on(now, bytes.len());
                    return Some(Received::Message { channel, bytes: bytes.into() });
                }
                // On a stream that nobody opened, or of a protocol WebRTC does not have.
                _ => {
                    self.allowance.read(now, bytes.len());
                    self.drops.refused += 1;
                }
            }
        }
        None
    }

    /// Sends a message on an open channel. When too much waits, it is dropped if it may be lost, and else all channels end.
    /// Answers how many bytes wait then, if it waits with them.
    pub fn send(&mut self, channel: u16, bytes: Bytes) -> usize {
        let Some(reliable) = self.channels.get(&channel).filter(|c| c.asked.is_none()).map(|c| c.reliable)
        else {
            self.drops.closed += 1;
            return 0;
        };
        let waiting = self.waiting_bytes() + bytes.len();
        if waiting > CHANNEL_RELIABLE_BYTES && reliable {
            self.drops.closed += 1;
            self.end(ChannelsEnd::SlowReceiver);
            return 0;
        }
        if waiting > CHANNEL_LOSSY_BYTES && !reliable {
            self.drops.full += 1;
            return 0;
        }
        let written = self.stream(channel).map(|mut stream| stream.write_chunks(&mut [bytes]));
        if !matches!(written, Some(Ok(_))) {
            self.drops.closed += 1;
            return 0;
        }
        // What may be lost is dropped for a slow receiver, and slows nobody down.
        if reliable { waiting } else { 0 }
    }

    /// A message of this peer has been passed on to so many others, the slowest of which has `backlog` bytes waiting: it may say more,
    /// the later the more wait.
    pub fn passed(&mut self, now: Instant, bytes: u32, copies: u32, backlog: usize) {
        self.allowance.passed(now, bytes, copies, backlog);
    }

    /// Adds what was dropped since the last time.
    pub fn take_drops(&mut self, drops: &mut ChannelDrops) {
        let ChannelDrops { throttled, full, closed, refused } = std::mem::take(&mut self.drops);
        drops.throttled += throttled;
        drops.full += full;
        drops.closed += closed;
        drops.refused += refused;
    }

    /// Bytes on their way to the peer: not acknowledged, or not even sent.
    pub fn waiting_bytes(&mut self) -> usize {
        let Some((_, association)) = &mut self.association else { return 0 };
        let channels = self.channels.keys();
        channels.filter_map(|channel| association.stream(*channel).ok()?.buffered_amount().ok()).sum()
    }

    /// The stream to read now, others than the last one first, and with which permit: without one, what may be lost is still read,
    /// to be dropped.
    fn next_readable(&mut self, now: Instant) -> Option<(u16, Permit)> {
        if self.readable.is_empty() {
            return None;
        }
        let permit = self.allowance.permit(now);
        let may_read = |channel: &&u16| match permit {
            Permit::Now => true,
            Permit::NotBefore(_) => self.channels.get(*channel).is_some_and(|channel| !channel.reliable),
            Permit::Busy => false,
        };
        let after = self.readable.range(self.last_read.saturating_add(1)..);
        let next = after.chain(self.readable.range(..=self.last_read)).find(may_read);
        next.map(|channel| (*channel, permit))
    }

    fn stream(&mut self, channel: u16) -> Option<Stream<'_>> {
        self.association.as_mut()?.1.stream(channel).ok()
    }

    fn read_stream(&mut self, channel: u16) -> Option<(PayloadProtocolIdentifier, Vec<u8>)> {
        let chunks = self.stream(channel)?.read_sctp().ok()??;
        let mut bytes = vec![0; chunks.len()];
        let count = chunks.read(&mut bytes).ok()?;
        bytes.truncate(count);
        Some((chunks.ppi, bytes))
    }

    /// Answers an establishment message; the channel it opens, if it does.
    fn handle_establishment(&mut self, channel: u16, bytes: &[u8]) -> Option<Received> {
        match Message::parse(bytes) {
            Some(Message::Ack) => {
                // Unless nobody asked, or twice.
                let label = self.channels.get_mut(&channel)?.asked.take()?;
                Some(Received::Open { channel, label, ours: true })
            }
            Some(Message::Open(open)) if self.may_open(channel) => {
                let mut stream = self.stream(channel)?;
                let (kind, value) = reliability_of(open.reliability);
                stream.set_reliability_params(open.unordered, kind, value).ok()?;
                stream.set_default_payload_type(PayloadProtocolIdentifier::Binary).ok()?;
                stream.write_with_ppi(&Message::Ack.to_bytes(), PayloadProtocolIdentifier::Dcep).ok()?;
                let reliable = open.reliability == Reliability::Reliable;
                self.channels.insert(channel, Channel { asked: None, reliable });
                Some(Received::Open { channel, label: open.label, ours: false })
            }
            _ => {
                self.drops.refused += 1;
                None
            }
        }
    }

    fn may_open(&self, channel: u16) -> bool {
        !self.channels.contains_key(&channel) && self.channels.len() < CHANNELS_PER_PEER
    }

    /// Follows what the association says.
    fn follow(&mut self) {
        let Some((handle, association)) = &mut self.association else { return };
        let mut lost = false;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::Stream(StreamEvent::Opened { id } | StreamEvent::Readable { id }) => {
                    self.readable.insert(id);
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.readable.remove(&id);
                    if self.channels.remove(&id).is_some_and(|channel| channel.asked.is_none()) {
                        self.news.push_back(Received::Closed { channel: id });
                    }
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => lost = true,
                _ => {}
            }
        }
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        if lost {
            self.end(ChannelsEnd::ByPeer);
            return;
        }
        self.open_wanted();
    }

    /// All channels are over, with everything that waits on them; the peer's media goes on.
    fn end(&mut self, end: ChannelsEnd) {
        self.ended = true;
        self.association = None;
        self.connected = false;
        self.wanted.clear();
        self.channels.clear();
        self.readable.clear();
        self.unread_chunks = 0;
        self.news.push_back(Received::Ended(end));
    }

    fn open_wanted(&mut self) {
        if !self.connected || self.ended {
            return;
        }
        while let Some((label, reliable)) = self.wanted.pop_front() {
            let taken = |id: &u16| self.channels.contains_key(id);
            let Some(id) = (1..CHANNEL_STREAMS).step_by(2).find(|id| !taken(id)) else { return };
            let reliability = if reliable { Reliability::Reliable } else { Reliability::Retransmits(0) };
            let open = Open { unordered: !reliable, reliability, label: label.into() };
            let Some((_, association)) = &mut self.association else { return };
            let Ok(mut stream) = association.open_stream(id, PayloadProtocolIdentifier::Binary) else {
                continue;
            };
            let (kind, value) = reliability_of(reliability);
            let message = Message::Open(open).to_bytes();
            let asked = stream.set_reliability_params(!reliable, kind, value).is_ok()
                && stream.write_with_ppi(&message, PayloadProtocolIdentifier::Dcep).is_ok();
            if asked {
                self.channels.insert(id, Channel { asked: Some(label.into()), reliable });
            }
        }
    }
}

const fn reliability_of(reliability: Reliability) -> (ReliabilityType, u32) {
    match reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
        Reliability::LifetimeMs(milliseconds) => (ReliabilityType::Timed, milliseconds),
    }
}
