//! One peer on the assist side: its DTLS session, the proof of who it is, then its data channels.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use dimpl::{Dtls, Output};

use super::dtls::{Identity, fingerprint, spoken, srtp_keys};
use super::sctp::{Channels, Received};
use crate::base::handoff::{AssistClose, AssistReply, ChannelDrops, DtlsVersion, Fingerprint, SrtpKeys};
use crate::base::ids::PeerId;
use crate::base::limits::EARLY_DATA_PER_ASSOCIATION;

/// A DTLS record is at most this long (RFC 6347 section 4.1.1 and 4.3.1), so is anything dimpl hands out.
const RECORD_BYTES_MAX: usize = 16_384 + 2_048 + 64;

/// What must come together before keys are released, in whatever order it comes.
#[derive(Default)]
struct Proof {
    /// What the signalling promised.
    promised: Option<Fingerprint>,
    /// What the handshake showed.
    shown: Option<Fingerprint>,
    finished: bool,
    keys: Option<Box<SrtpKeys>>,
    /// Application data that came before the promise.
    held: Vec<Vec<u8>>,
}

enum State {
    /// The handshake runs, or is done and the promised fingerprint is not known yet.
    Proving(Proof),
    /// The certificate is the promised one and the keys are released.
    Proved { shown: Fingerprint, channels: Box<Channels> },
}

/// What one round of DTLS output brought.
#[derive(Default)]
struct Round {
    data: Vec<Vec<u8>>,
    closed: bool,
}

/// See the module.
pub(super) struct Association {
    peer: PeerId,
    dtls: Dtls,
    state: State,
    /// Channels asked for before there was anything to open them on.
    wanted: Vec<(&'static str, bool)>,
    /// When it next wants to run.
    pub(super) due: Option<Instant>,
    /// Whether it is already in the list of those with unread data.
    listed: bool,
}

impl Association {
    pub(super) fn new(peer: PeerId, version: DtlsVersion, identity: &Identity, now: Instant) -> Self {
        Self {
            peer,
            dtls: identity.server(version, now),
            state: State::Proving(Proof::default()),
            wanted: Vec::new(),
            due: None,
            listed: false,
        }
    }

    /// The signalling promised this certificate.
    pub(super) fn expect(
        &mut self,
        promised: Fingerprint,
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        match &mut self.state {
            State::Proving(proof) => proof.promised = Some(promised),
            State::Proved { shown, .. } if *shown != promised => {
                return Err(AssistClose::FingerprintMismatch);
            }
            State::Proved { .. } => {}
        }
        self.follow(now, replies)
    }

    /// Takes one datagram.
    pub(super) fn handle_datagram(
        &mut self,
        bytes: &[u8],
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        self.dtls.handle_timeout(now).map_err(|_| AssistClose::HandshakeFailed)?;
        let result = self.dtls.handle_packet(bytes);
        // Even a failed handshake may have something to say: its alert.
        let followed = self.follow(now, replies);
        result.map_err(|_| AssistClose::HandshakeFailed)?;
        followed
    }

    /// Runs what is due.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        self.dtls.handle_timeout(now).map_err(|_| AssistClose::HandshakeFailed)?;
        if let State::Proved { channels, .. } = &mut self.state {
            channels.handle_timeout(now);
        }
        self.follow(now, replies)
    }

    /// Opens a channel, now or when there is an association to open it on.
    pub(super) fn open_channel(
        &mut self,
        label: &'static str,
        reliable: bool,
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        match &mut self.state {
            State::Proving(_) => self.wanted.push((label, reliable)),
            State::Proved { channels, .. } => channels.open(label, reliable),
        }
        self.follow(now, replies)
    }

    /// Reads one message and answers what its reading makes possible.
    pub(super) fn read(
        &mut self,
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        self.listed = false;
        let State::Proved { channels, .. } = &mut self.state else { return Ok(()) };
        let peer = self.peer;
        match channels.read(now) {
            Some(Received::Open { channel, label, ours }) => {
                replies.push_back(AssistReply::ChannelOpen { peer, channel, label, ours });
            }
            Some(Received::Closed { channel }) => {
                replies.push_back(AssistReply::ChannelClosed { peer, channel });
            }
            Some(Received::Ended(end)) => replies.push_back(AssistReply::ChannelsEnded { peer, end }),
            Some(Received::Message { channel, bytes }) => {
                replies.push_back(AssistReply::Message { peer, channel, bytes });
            }
            None => {}
        }
        self.follow(now, replies)
    }

    /// Sends a message; answers how many bytes wait for the peer.
    pub(super) fn send(
        &mut self,
        channel: u16,
        bytes: Bytes,
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<usize, AssistClose> {
        let State::Proved { channels, .. } = &mut self.state else { return Ok(0) };
        let waiting = channels.send(channel, bytes);
        self.follow(now, replies)?;
        Ok(waiting)
    }

    /// A message of this peer has been passed on to so many others, the slowest of which has `backlog` bytes waiting.
    pub(super) fn passed(
        &mut self,
        (bytes, copies, backlog): (u32, u32, usize),
        now: Instant,
        replies: &mut VecDeque<AssistReply>,
    ) -> Result<(), AssistClose> {
        let State::Proved { channels, .. } = &mut self.state else { return Ok(()) };
        channels.passed(now, bytes, copies, backlog);
        self.follow(now, replies)
    }

    /// Adds what was dropped since the last time.
    pub(super) fn take_drops(&mut self, drops: &mut ChannelDrops) {
        if let State::Proved { channels, .. } = &mut self.state {
            channels.take_drops(drops);
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant, replies: &mut VecDeque<AssistReply>) {
        if self.dtls.close().is_ok() {
            // It is over either way.
            let _ = self.follow(now, replies);
        }
    }

    /// Whether it has unread data and is not listed for that yet; the caller lists it.
    pub(super) fn take_readable(&mut self, now: Instant) -> bool {
        let readable = match &mut self.state {
            State::Proving(_) => false,
            State::Proved { channels, .. } => channels.is_readable(now),
        };
        let unlisted = readable && !self.listed;
        self.listed |= unlisted;
        unlisted
    }

    /// Carries everything as far as it goes: DTLS out, proof, SCTP in, SCTP out, and around again.
    fn follow(&mut self, now: Instant, replies: &mut VecDeque<AssistReply>) -> Result<(), AssistClose> {
        loop {
            let round = self.drain(replies);
            let closed = round.closed;
            self.take_data(round.data, now);
            self.try_prove(now, replies)?;
            if closed {
                // The peer said goodbye: say it back.
                if self.dtls.close().is_ok() {
                    self.drain(replies);
                }
                return Err(AssistClose::CloseNotify);
            }
            let State::Proved { channels, .. } = &mut self.state else { return Ok(()) };
            let Some(packet) = channels.poll_packet(now) else {
                if let Some(due) = channels.poll_timeout(now) {
                    self.due = Some(self.due.map_or(due, |other| other.min(due)));
                }
                return Ok(());
            };
            self.dtls.send_application_data(&packet).map_err(|_| AssistClose::HandshakeFailed)?;
        }
    }

    /// Takes everything DTLS has to say.
    fn drain(&mut self, replies: &mut VecDeque<AssistReply>) -> Round {
        let mut round = Round::default();
        let mut buffer = [0; RECORD_BYTES_MAX];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => {
                    replies.push_back(AssistReply::Datagram { peer: self.peer, bytes: bytes.into() });
                }
                Output::Timeout(due) => {
                    self.due = Some(due);
                    return round;
                }
                Output::PeerCert(der) => {
                    if let State::Proving(proof) = &mut self.state {
                        proof.shown = fingerprint(der);
                    }
                }
                Output::Connected => {
                    if let State::Proving(proof) = &mut self.state {
                        proof.finished = true;
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    if let State::Proving(proof) = &mut self.state {
                        proof.keys = srtp_keys(&material, profile).map(Box::new);
                    }
                }
                Output::ApplicationData(bytes) => round.data.push(bytes.to_vec()),
                Output::CloseNotify => round.closed = true,
                // Nothing is larger than a record.
                Output::BufferTooSmall { .. } => {
                    round.closed = true;
                    return round;
                }
                _ => {}
            }
        }
    }

    fn take_data(&mut self, data: Vec<Vec<u8>>, now: Instant) {
        for packet in data {
            match &mut self.state {
                State::Proving(proof) => {
                    if proof.held.len() < EARLY_DATA_PER_ASSOCIATION {
                        proof.held.push(packet);
                    }
                }
                State::Proved { channels, .. } => channels.handle_packet(now, &packet),
            }
        }
    }

    /// Releases the keys once everything has come together.
    fn try_prove(&mut self, now: Instant, replies: &mut VecDeque<AssistReply>) -> Result<(), AssistClose> {
        let State::Proving(proof) = &mut self.state else { return Ok(()) };
        let (Some(promised), Some(shown)) = (proof.promised, proof.shown) else { return Ok(()) };
        if promised != shown {
            return Err(AssistClose::FingerprintMismatch);
        }
        if !proof.finished {
            return Ok(());
        }
        let keys = proof.keys.take().ok_or(AssistClose::NoSrtpProfile)?;
        let version = spoken(&self.dtls).ok_or(AssistClose::HandshakeFailed)?;
        let held = std::mem::take(&mut proof.held);
        replies.push_back(AssistReply::Keys { peer: self.peer, version, keys });
        let mut channels = Box::new(Channels::new(now));
        for (label, reliable) in self.wanted.drain(..) {
            channels.open(label, reliable);
        }
        for packet in held {
            channels.handle_packet(now, &packet);
        }
        self.state = State::Proved { shown, channels };
        Ok(())
    }
}
