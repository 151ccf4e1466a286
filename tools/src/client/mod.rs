//! The synthetic WebRTC client: ICE controlling, DTLS client, SRTP, RTCP feedback and stamped media, without any I/O.
//!
//! Place: driven by the simulator (virtual clock, injected keys), by tests over loopback, by `kaigi-perf` and by `kaigi-load`.
//! One client is one association with one path; a LiveKit v0 participant is two of them.
//! Promises: time, bytes and the seed are arguments, so with injected keys the same inputs give the same outputs; every
//! packet is authenticated; nothing is believed that the server did not protect.
//! Not here: sockets and addresses (the driver sends what [`Client::poll_transmit`] writes), signalling (`signalling`),
//! codecs and congestion control of what is sent: a source keeps its configured rate.
//!
//! A driver's loop: [`Client::handle_datagram`] for each received datagram, [`Client::handle_timeout`] when
//! [`Client::next_timeout`] is due, then [`Client::poll_transmit`] until it answers `None`.

pub mod codec;
mod config;
pub mod delay;
pub mod dtls;
mod feedback;
mod ice;
mod offer;
pub mod rates;
pub mod receiver;
mod red;
mod remb;
mod reports;
pub mod source;
mod srtp;
pub mod stamp;
mod statistics;

use std::collections::{HashMap, VecDeque};

use dataplane::base::handoff::{DtlsVersion, SrtpKeys, SrtpProfile};
use dataplane::base::ids::{Seq, Ssrc};
use dataplane::base::rng::Rng;
use dataplane::base::time::Micros;
use dataplane::command::IceCredentials;
use dataplane::wire::demux::{Protocol, classify};
use dataplane::wire::ext::{AbsSendTime, parse_transport_cc};
use dataplane::wire::rtcp::twcc::Status;
use dataplane::wire::rtcp::{self, RtcpEvent, RtcpWriter};
use dataplane::wire::rtp::RtpHeader;
use kernels::Suite;

pub use config::{ClientConfig, ClientError, ClientState, Feedback, Remote, Security};
use dtls::{Handshake, Identity};
use feedback::Arrivals;
use ice::Agent;
use rates::Rates;
use receiver::{Arrived, ReceiveConfig, Receiver, Reception};
use remb::Estimate;
use source::{AudioConfig, Pending, Source, SourceStatistics, VideoConfig};
use srtp::Pair;
pub use statistics::ClientStatistics;

/// Smallest buffer for [`Client::poll_transmit`].
pub const TRANSMIT_BYTES_MIN: usize = 1_500;
/// RTCP compounds stay below this, SRTCP trailer not counted.
const RTCP_BYTES_MAX: usize = 1_200;
/// Receiver and sender reports.
const REPORT_INTERVAL_US: u64 = 1_000_000;
/// REMB while packets arrive.
const REMB_INTERVAL_US: u64 = 1_000_000;

enum Keys {
    /// Waits for the server's description, then makes the handshake.
    Identity { identity: Identity, version: DtlsVersion, profile: Option<SrtpProfile> },
    /// Shaking hands, and the association after it.
    Dtls(Box<Handshake>),
    /// Waits for a path, then takes the keys.
    Given(Box<SrtpKeys>),
    /// Given keys are in use.
    Taken,
}

/// Handle of a source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SourceId(usize);

/// One synthetic client.
pub struct Client {
    room: u64,
    publisher: u32,
    suite: Suite,
    rng: Rng,
    state: ClientState,
    agent: Agent,
    keys: Keys,
    profile: Option<SrtpProfile>,
    srtp: Option<Pair>,
    sources: Vec<Source>,
    receivers: Vec<Receiver>,
    /// Media and retransmission SSRCs to the receiver's index.
    by_ssrc: HashMap<u32, usize>,
    /// Sequence numbers to lose on purpose, for NACK load: parts per million of received media packets.
    drop_ppm: u32,
    records: VecDeque<Box<[u8]>>,
    pending: VecDeque<Pending>,
    next_transport_seq: Seq,
    feedback: Feedback,
    arrivals: Arrivals,
    estimate: Estimate,
    next_remb: Micros,
    rates: Rates,
    /// The SSRC of our reports when we send no media.
    report_ssrc: Ssrc,
    next_report: Micros,
    next_twcc: Micros,
    nacks: Vec<Seq>,
    statuses: Vec<Status>,
    /// One packet in the clear, on its way to SRTP.
    plain: Box<[u8; TRANSMIT_BYTES_MIN]>,
    statistics: ClientStatistics,
}

impl Client {
    /// A client that waits for [`Self::set_remote`].
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let mut rng = Rng::new(config.seed);
        let agent = Agent::new(config.ice, config.suite, &mut rng);
        let keys = match config.security {
            Security::Dtls { identity, version, profile } => Keys::Identity { identity, version, profile },
            Security::Keys(keys) => Keys::Given(keys),
        };
        let report_ssrc = Ssrc(rng.next_u64() as u32);
        let next_transport_seq = Seq(rng.next_u64() as u16);
        Self {
            room: config.room,
            publisher: config.publisher,
            suite: config.suite,
            rng,
            state: ClientState::New,
            agent,
            keys,
            profile: None,
            srtp: None,
            sources: Vec::new(),
            receivers: Vec::new(),
            by_ssrc: HashMap::new(),
            drop_ppm: 0,
            records: VecDeque::new(),
            pending: VecDeque::new(),
            next_transport_seq,
            feedback: Feedback::default(),
            arrivals: Arrivals::default(),
            estimate: Estimate::default(),
            next_remb: Micros::NEVER,
            rates: Rates::default(),
            report_ssrc,
            next_report: Micros::NEVER,
            next_twcc: Micros::NEVER,
            nacks: Vec::new(),
            statuses: Vec::new(),
            plain: Box::new([0; TRANSMIT_BYTES_MIN]),
            statistics: ClientStatistics::default(),
        }
    }

    /// The server's description is known: checks begin. Called again with other ICE credentials it restarts ICE; keys stay.
    pub fn set_remote(&mut self, now: Micros, remote: &Remote) {
        self.agent.set_remote(now, &remote.ice);
        if let Keys::Identity { identity, version, profile } = &self.keys {
            match Handshake::new(now, identity, *version, *profile, remote.fingerprint) {
                Ok(handshake) => self.keys = Keys::Dtls(Box::new(handshake)),
                Err(error) => self.fail(ClientError::Dtls(error)),
            }
        }
        if self.state == ClientState::New {
            self.state = ClientState::Checking;
        }
    }

    /// New credentials of our own for an ICE restart; checks go out after [`Self::set_remote`].
    pub fn set_local_ice(&mut self, ice: IceCredentials) {
        self.agent.set_local(ice);
    }

    /// Lets the server nominate, before [`Self::set_remote`]: for servers that offer and are not ICE-lite. Kaigi is.
    pub const fn set_controlled(&mut self) {
        self.agent.set_controlled();
    }

    /// Our ICE credentials.
    #[must_use]
    pub const fn local_ice(&self) -> &IceCredentials {
        self.agent.local()
    }

    /// The address changed (roaming): a check goes out at once instead of with the next keepalive.
    pub fn check_path(&mut self, now: Micros) {
        self.agent.check_now(now);
    }

    /// Adds an audio track; it plays once the client is ready.
    pub fn publish_audio(&mut self, now: Micros, config: AudioConfig) -> SourceId {
        let source = Source::audio(config, self.room, self.publisher, &mut self.rng);
        self.add_source(now, source)
    }

    /// Adds a video track; it plays once the client is ready.
    pub fn publish_video(&mut self, now: Micros, config: VideoConfig) -> SourceId {
        let source = Source::video(config, self.room, self.publisher, &mut self.rng);
        self.add_source(now, source)
    }

    fn add_source(&mut self, now: Micros, mut source: Source) -> SourceId {
        if self.state == ClientState::Ready {
            source.start(now);
        }
        self.sources.push(source);
        SourceId(self.sources.len() - 1)
    }

    /// Stops and starts the frames of a track.
    pub fn set_muted(&mut self, source: SourceId, muted: bool) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.set_muted(muted);
        }
    }

    /// Sets the audio level of a track from its next packet on: 0 is loudest, 127 silence.
    pub fn set_level(&mut self, source: SourceId, level: u8) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.set_level(level);
        }
    }

    /// Silence of an audio track: discontinuous transmission, a packet every 400 ms.
    pub fn set_silent(&mut self, source: SourceId, silent: bool) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.set_silent(silent);
        }
    }

    /// Pauses or resumes one layer of a track: a simulcast layer, or a spatial layer of its only encoding with all above it. What
    /// resumes begins with a keyframe.
    pub fn set_layer_active(&mut self, source: SourceId, layer: u8, active: bool) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.set_layer_active(layer, active);
        }
    }

    /// What the server is told about the path to us, from now on.
    pub const fn set_feedback(&mut self, feedback: Feedback) {
        self.feedback = feedback;
    }

    /// Makes the next frame of a track a keyframe on every layer.
    pub fn send_keyframe(&mut self, source: SourceId) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.request_keyframe();
        }
    }

    /// Expects a stream. A second call for the same SSRC is ignored.
    pub fn receive(&mut self, config: ReceiveConfig) {
        if self.by_ssrc.contains_key(&config.ssrc.0) {
            return;
        }
        let index = self.receivers.len();
        self.by_ssrc.insert(config.ssrc.0, index);
        if let Some(rtx) = config.rtx {
            self.by_ssrc.insert(rtx.0, index);
        }
        self.receivers.push(Receiver::new(config, self.room));
    }

    /// No longer expects a stream; its statistics stay.
    pub fn forget(&mut self, ssrc: Ssrc) {
        if let Some(index) = self.by_ssrc.remove(&ssrc.0) {
            self.by_ssrc.retain(|_, other| *other != index);
        }
    }

    /// Asks for a keyframe of a received stream until one comes, every 500 ms.
    pub fn request_keyframe(&mut self, ssrc: Ssrc) {
        if let Some(&index) = self.by_ssrc.get(&ssrc.0) {
            self.receivers[index].request_keyframe();
        }
    }

    /// Loses this share of received media packets on purpose, before SRTP, as if the link had: load for NACK and RTX.
    pub const fn set_drop_ppm(&mut self, parts_per_million: u32) {
        self.drop_ppm = parts_per_million;
    }

    /// Ends the association: close_notify is left for [`Self::poll_transmit`].
    pub fn close(&mut self) {
        if let Keys::Dtls(handshake) = &mut self.keys {
            handshake.close(&mut self.records);
        }
        self.fail(ClientError::Closed);
    }

    /// Takes one received datagram. SRTP is opened in place.
    pub fn handle_datagram(&mut self, now: Micros, bytes: &mut [u8]) {
        self.statistics.datagrams_received += 1;
        self.statistics.bytes_received += bytes.len() as u64;
        self.rates.insert(now, bytes.len());
        match classify(bytes) {
            Protocol::Stun => {
                if self.agent.handle_datagram(now, bytes) && self.state == ClientState::Checking {
                    self.state = ClientState::Handshaking;
                    self.statistics.connected.get_or_insert(now);
                }
            }
            Protocol::Dtls => {
                if let Keys::Dtls(handshake) = &mut self.keys {
                    handshake.handle_datagram(now, bytes, &mut self.records);
                }
            }
            Protocol::Rtp => self.handle_rtp(now, bytes),
            Protocol::Rtcp => self.handle_rtcp(now, bytes),
            Protocol::Unknown => self.statistics.unknown += 1,
        }
        self.advance(now);
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Micros) {
        if matches!(self.state, ClientState::Failed(_)) {
            return;
        }
        if self.agent.is_expired(now) {
            self.fail(ClientError::ConsentExpired);
            return;
        }
        if let Keys::Dtls(handshake) = &mut self.keys
            && self.agent.is_connected()
        {
            handshake.handle_timeout(now, &mut self.records);
        }
        self.advance(now);
        if self.state == ClientState::Ready {
            for (index, source) in self.sources.iter_mut().enumerate() {
                source.handle_timeout(now, index, &mut self.rng, &mut self.pending);
            }
        }
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_transmit`] is next due.
    #[must_use]
    pub fn next_timeout(&self) -> Micros {
        if !self.records.is_empty() {
            return Micros(0);
        }
        if matches!(self.state, ClientState::Failed(_)) {
            return Micros::NEVER;
        }
        let mut next = self.agent.next_timeout();
        if let Keys::Dtls(handshake) = &self.keys
            && self.agent.is_connected()
        {
            next = next.min(handshake.next_timeout());
        }
        if self.state != ClientState::Ready {
            return next;
        }
        if !self.pending.is_empty() {
            return Micros(0);
        }
        next = next.min(self.next_report).min(self.next_remb);
        if !self.arrivals.is_empty() {
            next = next.min(self.next_twcc);
        }
        let due = self.sources.iter().map(Source::next_due);
        let requests = self.receivers.iter().map(Receiver::next_request);
        due.chain(requests).fold(next, Micros::min)
    }

    /// Writes the next datagram to send into `out`, at least [`TRANSMIT_BYTES_MIN`] long; `None` when there is none now.
    pub fn poll_transmit(&mut self, now: Micros, out: &mut [u8]) -> Option<usize> {
        let bytes = self.next_datagram(now, out)?;
        self.statistics.datagrams_sent += 1;
        self.statistics.bytes_sent += bytes as u64;
        Some(bytes)
    }

    /// How far the association is.
    #[must_use]
    pub const fn state(&self) -> ClientState {
        self.state
    }

    /// The SRTP profile in use, once ready.
    #[must_use]
    pub const fn profile(&self) -> Option<SrtpProfile> {
        self.profile
    }

    /// Round-trip time of the last connectivity check, microseconds.
    #[must_use]
    pub const fn rtt_us(&self) -> Option<u64> {
        self.agent.rtt_us()
    }

    /// What happened on the association.
    #[must_use]
    pub const fn statistics(&self) -> &ClientStatistics {
        &self.statistics
    }

    /// What each stream brought, in the order of [`Self::receive`].
    pub fn receptions(&self) -> impl Iterator<Item = (Ssrc, &Reception)> {
        self.receivers.iter().map(|receiver| (receiver.config().ssrc, &receiver.reception))
    }

    /// What one stream brought.
    #[must_use]
    pub fn reception(&self, ssrc: Ssrc) -> Option<&Reception> {
        self.receptions().find(|(other, _)| *other == ssrc).map(|(_, reception)| reception)
    }

    /// Counts what is due by `now`, such as audio that was to be played: call it before streams are judged.
    pub fn settle(&mut self, now: Micros) {
        self.receivers.iter_mut().for_each(|receiver| receiver.settle(now));
    }

    /// What the path is believed to carry, bits per second: what [`Feedback::Remb`] tells the server.
    #[must_use]
    pub const fn estimate_bps(&self) -> u64 {
        self.estimate.bps()
    }

    /// Bytes received over time, of every protocol.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Packets that are missing and may still come, over all streams.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.receivers.iter().map(Receiver::missing).sum()
    }

    /// Forgets delays measured so far: the warm-up is over.
    pub fn clear_delays(&mut self) {
        self.receivers.iter_mut().for_each(|receiver| receiver.reception.delays.clear());
    }

    /// What a source did.
    #[must_use]
    pub fn source(&self, source: SourceId) -> Option<&SourceStatistics> {
        self.sources.get(source.0).map(|source| &source.statistics)
    }

    /// What every source did, in the order of publication.
    pub fn sources(&self) -> impl Iterator<Item = &SourceStatistics> {
        self.sources.iter().map(|source| &source.statistics)
    }

    fn fail(&mut self, error: ClientError) {
        if !matches!(self.state, ClientState::Failed(_)) {
            self.state = ClientState::Failed(error);
        }
    }

    /// Takes keys when there are some and a path, and starts the media.
    fn advance(&mut self, now: Micros) {
        if !self.agent.is_connected() {
            return;
        }
        let keys = match &mut self.keys {
            Keys::Dtls(handshake) => {
                if let Some(error) = handshake.error() {
                    self.fail(ClientError::Dtls(error));
                    return;
                }
                handshake.take_keys().map(Box::new)
            }
            Keys::Given(_) => match std::mem::replace(&mut self.keys, Keys::Taken) {
                Keys::Given(keys) => Some(keys),
                _ => None,
            },
            Keys::Identity { .. } | Keys::Taken => None,
        };
        let Some(keys) = keys else { return };
        self.profile = Some(keys.profile);
        self.srtp = Some(Pair::new(self.suite, &keys));
        self.state = ClientState::Ready;
        self.statistics.ready = Some(now);
        self.next_report = now.after_us(REPORT_INTERVAL_US / 2 + self.rng.below(REPORT_INTERVAL_US));
        self.next_twcc = now;
        if self.feedback == Feedback::Remb {
            self.next_remb = now.after_us(REMB_INTERVAL_US);
        }
        self.sources.iter_mut().for_each(|source| source.start(now));
    }

    fn handle_rtp(&mut self, now: Micros, bytes: &mut [u8]) {
        if self.drop_ppm != 0 && self.rng.chance_ppm(self.drop_ppm) {
            self.statistics.dropped_on_purpose += 1;
            return;
        }
        let Some(srtp) = &mut self.srtp else {
            self.statistics.early += 1;
            return;
        };
        let packet = match srtp.open_rtp(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                self.statistics.refuse(error);
                return;
            }
        };
        let Ok(header) = RtpHeader::parse(packet) else {
            self.statistics.malformed += 1;
            return;
        };
        let Some(&index) = self.by_ssrc.get(&header.ssrc.0) else {
            self.statistics.unknown_ssrc += 1;
            return;
        };
        let receiver = &mut self.receivers[index];
        let config = *receiver.config();
        let extension = |id: Option<u8>| id.and_then(|id| header.elements(packet).find(id));
        match self.feedback {
            Feedback::TransportWide => {
                if let Some(seq) = extension(config.transport_cc).and_then(parse_transport_cc) {
                    self.arrivals.insert(now, seq, config.ssrc);
                }
            }
            Feedback::Remb => {
                if let Some(sent) = extension(config.abs_send_time).and_then(AbsSendTime::parse) {
                    self.estimate.insert(now, sent.0, packet.len());
                }
            }
            Feedback::ReportsOnly => {}
        }
        self.statistics.rtp_received += 1;
        let payload = &packet[header.payload()];
        let mut arrived = Arrived {
            seq: header.seq,
            pt: header.pt.0,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
            dependency: extension(config.dependency),
            retransmission: false,
        };
        if header.ssrc == config.ssrc {
            if ![Some(config.pt), config.red_pt].contains(&Some(header.pt.0)) {
                receiver.reception.wrong_pt += 1;
            } else if payload.is_empty() {
                self.statistics.padding += 1;
                receiver.handle_padding(now, header.seq);
            } else {
                receiver.handle_packet(now, &arrived);
            }
        } else if Some(header.pt.0) != config.rtx_pt {
            receiver.reception.wrong_pt += 1;
        } else if let [high, low, payload @ ..] = payload {
            // RFC 4588 section 4: the original sequence number, then the original payload.
            arrived.seq = Seq(u16::from_be_bytes([*high, *low]));
            arrived.payload = payload;
            arrived.retransmission = true;
            if payload.is_empty() {
                self.statistics.padding += 1;
                receiver.handle_padding(now, arrived.seq);
            } else {
                receiver.handle_packet(now, &arrived);
            }
        } else {
            self.statistics.padding += 1;
        }
    }

    fn handle_rtcp(&mut self, now: Micros, bytes: &mut [u8]) {
        let Some(srtp) = &mut self.srtp else {
            self.statistics.early += 1;
            return;
        };
        let packet = match srtp.open_rtcp(bytes) {
            Ok(packet) => packet,
            Err(error) => {
                self.statistics.refuse(error);
                return;
            }
        };
        self.statistics.rtcp_received += 1;
        let Self { sources, receivers, by_ssrc, pending, statistics, .. } = self;
        let parsed = rtcp::parse(packet, |event| match event {
            RtcpEvent::SenderReport { sender, info } => {
                statistics.sender_reports += 1;
                match by_ssrc.get(&sender.0) {
                    Some(&index) => receivers[index].handle_sender_report(now, info.ntp),
                    None => statistics.rtcp_unknown_ssrc += 1,
                }
            }
            RtcpEvent::ReportBlock { .. } => statistics.report_blocks += 1,
            RtcpEvent::Nack { media, list, .. } => {
                statistics.nacks_received += 1;
                let mut sources = sources.iter_mut().enumerate();
                if !sources.any(|(index, source)| source.handle_nack(media, list.iter(), index, pending)) {
                    statistics.rtcp_unknown_ssrc += 1;
                }
            }
            RtcpEvent::Pli { media, .. } | RtcpEvent::Fir { media, .. } => {
                statistics.keyframe_requests += 1;
                if !sources.iter_mut().any(|source| source.handle_keyframe_request(media)) {
                    statistics.rtcp_unknown_ssrc += 1;
                }
            }
            RtcpEvent::Twcc { feedback, .. } => {
                statistics.twcc_received += 1;
                for (_, status) in feedback.packets() {
                    statistics.twcc_reported += 1;
                    statistics.twcc_missing += u64::from(status.is_none());
                }
            }
            RtcpEvent::Remb { .. } => statistics.remb_received += 1,
            RtcpEvent::Bye { .. } | RtcpEvent::Ignored { .. } => {}
        });
        if parsed.is_err() {
            self.statistics.malformed += 1;
        }
    }

    fn next_datagram(&mut self, now: Micros, out: &mut [u8]) -> Option<usize> {
        if let Some(record) = self.records.pop_front() {
            out.get_mut(..record.len())?.copy_from_slice(&record);
            return Some(record.len());
        }
        if matches!(self.state, ClientState::Failed(_)) {
            return None;
        }
        if let Some(bytes) = self.agent.poll(now, &mut self.rng, out) {
            return Some(bytes);
        }
        if self.state != ClientState::Ready {
            return None;
        }
        while let Some(pending) = self.pending.pop_front() {
            let Some(source) = self.sources.get_mut(pending.source) else { continue };
            let transport_seq = || {
                let seq = self.next_transport_seq;
                self.next_transport_seq = seq.plus(1);
                seq
            };
            let bytes = source.write(now, &pending, transport_seq, &mut self.plain[..]);
            match self.srtp.as_mut()?.seal_rtp(&self.plain[..bytes], out) {
                Ok(bytes) => {
                    self.statistics.rtp_sent += 1;
                    return Some(bytes);
                }
                Err(_) => self.statistics.unsealed += 1,
            }
        }
        let bytes = self.write_rtcp(now);
        if bytes == 0 {
            return None;
        }
        match self.srtp.as_mut()?.seal_rtcp(&self.plain[..bytes], out) {
            Ok(bytes) => {
                self.statistics.rtcp_sent += 1;
                Some(bytes)
            }
            Err(_) => {
                self.statistics.unsealed += 1;
                None
            }
        }
    }

    /// Writes one compound with what is due; 0 when nothing is.
    fn write_rtcp(&mut self, now: Micros) -> usize {
        let mut writer = RtcpWriter::new(&mut self.plain[..RTCP_BYTES_MAX]);
        if now >= self.next_report {
            self.next_report = now.after_us(REPORT_INTERVAL_US);
            let turn = self.statistics.rtcp_sent as usize;
            reports::write(now, self.report_ssrc, &self.sources, &mut self.receivers, turn, &mut writer);
        }
        if now >= self.next_twcc && !self.arrivals.is_empty() {
            self.arrivals.write(self.report_ssrc, &mut self.statuses, &mut writer);
            if self.arrivals.is_empty() {
                self.next_twcc = now.after_us(feedback::interval_us(now, &self.rates));
            }
        }
        if now >= self.next_remb {
            self.next_remb = now.after_us(REMB_INTERVAL_US);
            let ssrcs: Vec<Ssrc> =
                self.receivers.iter().map(|receiver| receiver.config().ssrc).take(64).collect();
            let _ = writer.remb(self.report_ssrc, self.estimate.bps(), &ssrcs);
        }
        for receiver in &mut self.receivers {
            if now < receiver.next_request() {
                continue;
            }
            let media = receiver.config().ssrc;
            self.nacks.clear();
            receiver.take_nacks(now, &mut self.nacks);
            // A list that does not fit is asked for again with the next interval.
            let _ = writer.nack(self.report_ssrc, media, self.nacks.iter().copied());
            if receiver.take_pli(now) {
                let _ = writer.pli(self.report_ssrc, media);
            }
        }
        writer.bytes()
    }
}

#[cfg(test)]
mod tests;
