//! The data channels of one peer: an SCTP association (RFC 8831) with DCEP on top (RFC 8832), inside DTLS.
//!
//! We wait for the peer's INIT: every browser sends one. As the DTLS server we open odd streams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, Stream, StreamEvent, Transmit, TransportConfig,
};

use super::dcep::{Message, Open, Reliability};
use super::dtls::DTLS_BYTES_MAX;
use crate::base::limits::{CHANNEL_MESSAGE_BYTES_MAX, CHANNEL_QUEUE_BYTES, CHANNELS_PER_PEER};

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
        .with_max_receive_message_size(CHANNEL_MESSAGE_BYTES_MAX)
        .with_max_receive_buffer_size(CHANNEL_QUEUE_BYTES);
    let mut config = ServerConfig::new();
    config.transport = Arc::new(transport);
    Arc::new(config)
});

/// What a reader gets.
pub(super) enum Received {
    /// A channel is open.
    Open {
        /// Its stream.
        channel: u16,
        /// Its label.
        label: Box<str>,
    },
    /// A message came.
    Message {
        /// Its stream.
        channel: u16,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
}

/// A channel we know.
enum Channel {
    /// We asked for it and wait for the acknowledgement.
    Asked(Box<str>),
    /// Both sides know it.
    Open,
}

/// See the module.
pub(super) struct Channels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    connected: bool,
    /// Asked for before the association stood.
    wanted: VecDeque<(&'static str, bool)>,
    channels: BTreeMap<u16, Channel>,
    readable: BTreeSet<u16>,
    packets: VecDeque<Vec<u8>>,
}

impl Channels {
    pub(super) fn new() -> Self {
        Self {
            endpoint: Endpoint::new(ENDPOINT.clone(), Some(SERVER.clone())),
            association: None,
            connected: false,
            wanted: VecDeque::new(),
            channels: BTreeMap::new(),
            readable: BTreeSet::new(),
            packets: VecDeque::new(),
        }
    }

    /// Opens a channel, now or when the association stands.
    pub(super) fn open(&mut self, label: &'static str, reliable: bool) {
        if self.wanted.len() + self.channels.len() < CHANNELS_PER_PEER {
            self.wanted.push_back((label, reliable));
        }
        self.open_wanted();
    }

    /// Takes one SCTP packet.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
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
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.follow();
    }

    /// When it next wants to run.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref()?.1.poll_timeout()
    }

    /// The next SCTP packet to send.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
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

    /// Whether there is something to read.
    pub(super) fn is_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Reads the next message. Establishment messages are answered here.
    pub(super) fn read(&mut self) -> Option<Received> {
        while let Some(&channel) = self.readable.first() {
            let Some((protocol, bytes)) = self.read_stream(channel) else {
                self.readable.remove(&channel);
                continue;
            };
            match protocol {
                PayloadProtocolIdentifier::Dcep => {
                    if let Some(label) = self.handle_establishment(channel, &bytes) {
                        return Some(Received::Open { channel, label });
                    }
                }
                // An empty message is sent as one byte (RFC 8831 section 6.6).
                PayloadProtocolIdentifier::StringEmpty | PayloadProtocolIdentifier::BinaryEmpty
                    if self.channels.contains_key(&channel) =>
                {
                    return Some(Received::Message { channel, bytes: Box::default() });
                }
                PayloadProtocolIdentifier::String | PayloadProtocolIdentifier::Binary
                    if self.channels.contains_key(&channel) =>
                {
                    return Some(Received::Message { channel, bytes: bytes.into() });
                }
                // On a stream that nobody opened, or of a protocol WebRTC does not have.
                _ => {}
            }
        }
        None
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

    /// Answers an establishment message; the label of the channel it opens, if it does.
    fn handle_establishment(&mut self, channel: u16, bytes: &[u8]) -> Option<Box<str>> {
        match Message::parse(bytes)? {
            Message::Ack => match self.channels.insert(channel, Channel::Open) {
                Some(Channel::Asked(label)) => Some(label),
                Some(Channel::Open) => None,
                // Nobody asked.
                None => {
                    self.channels.remove(&channel);
                    None
                }
            },
            Message::Open(open) => {
                let known = self.channels.contains_key(&channel);
                if known || self.channels.len() >= CHANNELS_PER_PEER {
                    return None;
                }
                let mut stream = self.stream(channel)?;
                let (kind, value) = reliability_of(open.reliability);
                stream.set_reliability_params(open.unordered, kind, value).ok()?;
                stream.write_with_ppi(&Message::Ack.to_bytes(), PayloadProtocolIdentifier::Dcep).ok()?;
                self.channels.insert(channel, Channel::Open);
                Some(open.label)
            }
        }
    }

    /// Follows what the association says.
    fn follow(&mut self) {
        let Some((handle, association)) = &mut self.association else { return };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::Stream(StreamEvent::Opened { id } | StreamEvent::Readable { id }) => {
                    self.readable.insert(id);
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.channels.remove(&id);
                    self.readable.remove(&id);
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => {
                    // The peer ended its channels; its media goes on.
                    self.connected = false;
                    self.channels.clear();
                    self.readable.clear();
                }
                _ => {}
            }
        }
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        self.open_wanted();
    }

    fn open_wanted(&mut self) {
        if !self.connected {
            return;
        }
        while let Some((label, reliable)) = self.wanted.pop_front() {
            let taken = |id: &u16| self.channels.contains_key(id);
            let Some(id) = (1..2 * CHANNELS_PER_PEER as u16).step_by(2).find(|id| !taken(id)) else { return };
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
                self.channels.insert(id, Channel::Asked(label.into()));
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
