//! The task around one room: takes inputs one by one and carries out the room's effects in order.
//!
//! Promises: the room never waits for a slow client (its queue overflows and it is dropped) nor for the store (a scribe task
//! writes behind, in order); it waits for its core's lane, as the design wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dataplane::base::handoff::{DtlsVersion, SrtpProfile};
use dataplane::base::ids::{CoreId, MeetingId};
use dataplane::command::Report;
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message;
use tokio::sync::{mpsc, oneshot};

use super::Signal;
use super::grant::{Grant, GrantChange};
use super::messages::{self, Farewell};
use super::packet::{Channel, Refusal};
use super::reduced::Reduced;
use super::room::media::MediaView;
use super::room::sessions::{Entering, Matches, Opened, Patched, SessionError, Subject};
use super::room::{Client, ConnectionId, Counts, Effect, Hangup, Joining, Plane, Room};
use crate::dispatch::{Dispatch, FromCore};
use crate::ids::UserId;
use crate::sdp::fragment::Fragment;
use crate::sdp::lines::Candidate;
use crate::service::timestamp::Timestamp;
use crate::service::{Admission, Seen, Service, ServiceError};

/// Notes waiting to be written to the store.
const NOTES: usize = 1_024;
/// Reports waiting for a room.
const REPORTS: usize = 1_024;

/// What goes to a client's socket.
pub enum Outgoing {
    /// A binary frame.
    Frame(Bytes),
    /// The end, after the frames before it.
    Close(Hangup),
}

/// Where a room sends what its clients get.
pub type Outbox = mpsc::Sender<Outgoing>;

/// What a room takes.
pub enum Input {
    /// Somebody comes in.
    Join {
        /// The socket.
        connection: ConnectionId,
        /// Who; counted as joined.
        admission: Arc<Admission>,
        /// What the client said.
        client: Client,
        /// What it says at once.
        messages: Vec<Message>,
        /// When its socket was accepted.
        accepted: Instant,
        /// Its socket's queue.
        outbox: Outbox,
    },
    /// Somebody comes back.
    Resume {
        /// The new socket.
        connection: ConnectionId,
        /// Who.
        user: UserId,
        /// The participant id of the session.
        sid: String,
        /// Whether the client has one connection for both directions.
        single: bool,
        /// What it says at once.
        messages: Vec<Message>,
        /// The socket's queue.
        outbox: Outbox,
    },
    /// A message of a client.
    Request(ConnectionId, Box<Message>),
    /// A socket is gone.
    Gone(ConnectionId),
    /// Somebody asks what one person receives and publishes; the answer is `None` if it is not in the room.
    Media(UserId, oneshot::Sender<Option<MediaView>>),
    /// Somebody comes over HTTP.
    Enter(Box<Entering>, oneshot::Sender<Result<Opened, SessionError>>),
    /// A fragment about the ICE of a session over HTTP.
    Patch {
        /// The session.
        subject: Subject,
        /// On what condition.
        matches: Matches,
        /// What it says.
        fragment: Fragment,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Patched, SessionError>>,
    },
    /// A session over HTTP ends.
    Delete {
        /// The session.
        subject: Subject,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), SessionError>>,
    },
    /// What one person may do changes; the answer is what it may now, `None` if it is not in the room.
    Permit(UserId, GrantChange, Seen, oneshot::Sender<Result<Option<Grant>, ServiceError>>),
    /// Something is done to the room from outside.
    Visit(Visit),
    /// One person must go.
    Remove(UserId),
    /// The meeting is over.
    End,
    /// The server is going away.
    Drain,
}

/// What is done, at the room's present time.
pub type Visit = Box<dyn FnOnce(&mut Room, u64) + Send>;

enum Note {
    Media(Arc<Admission>, bool, bool),
    Left(Arc<Admission>, Timestamp),
}

/// A room with its sockets and its core.
pub struct RoomActor {
    meeting: MeetingId,
    room: Room,
    began: Instant,
    reports: mpsc::Receiver<FromCore>,
    outboxes: HashMap<ConnectionId, Outbox>,
    notes: mpsc::Sender<Note>,
    reduced: Reduced,
    /// Answers to requests over HTTP, which wait until what they rely on is carried out.
    replies: Vec<Box<dyn FnOnce() + Send>>,
}

impl RoomActor {
    /// A new room on the least loaded core; `None` if no core runs.
    pub fn new(signal: &Signal, admission: &Admission) -> Option<Self> {
        let (inbox, reports) = mpsc::channel(REPORTS);
        let dispatch = &signal.0.dispatch;
        let core = dispatch.open_room(admission.meeting, inbox)?;
        let plane = Plane {
            core,
            fingerprint: dispatch.fingerprint(),
            candidates: candidates(dispatch, core),
            dtls: dispatch.dtls(),
        };
        let (notes, written) = mpsc::channel(NOTES);
        tokio::spawn(write_notes(signal.0.service.clone(), written));
        Some(Self {
            meeting: admission.meeting,
            room: Room::new(admission.meeting, admission.created_at.0, plane, dispatch.ids()),
            began: Instant::now(),
            reports,
            outboxes: HashMap::new(),
            notes,
            reduced: Reduced::new(signal.0.metrics.clone()),
            replies: Vec::new(),
        })
    }

    /// Runs until the room is empty.
    pub async fn run(mut self, signal: Signal, mut inputs: mpsc::Receiver<Input>) {
        tracing::info!(meeting = %self.meeting, core = self.room.core().0, "room opened");
        loop {
            let wake = self.began + std::time::Duration::from_millis(self.room.next_time(self.now_ms()));
            tokio::select! {
                Some(input) = inputs.recv() => self.take(input),
                Some(report) = self.reports.recv() => match report {
                    FromCore::Report(report) => {
                        self.log(&report);
                        let now_ms = self.now_ms();
                        self.room.handle_report(now_ms, report);
                    }
                    FromCore::Stopped => self.room.remove_all(Farewell::MediaFailure),
                },
                () = tokio::time::sleep_until(wake.into()) => {
                    let now_ms = self.now_ms();
                    self.room.handle_time(now_ms);
                }
            }
            self.carry_out(&signal).await;
            self.replies.drain(..).for_each(|reply| reply());
            self.reduced.show(self.room.reasons());
            self.count_data(&signal);
            if self.room.is_empty() && signal.retire(self.meeting, &inputs) {
                break;
            }
        }
        tracing::info!(meeting = %self.meeting, "room closed");
    }

    fn count_data(&mut self, signal: &Signal) {
        let counts = self.room.take_data_counts();
        if counts == Counts::default() {
            return;
        }
        let data = &signal.0.metrics.data;
        for channel in Channel::ALL {
            let index = channel as usize;
            data.messages.with_label_values(&[channel.name()]).inc_by(counts.received[index]);
            data.copies.with_label_values(&[channel.name()]).inc_by(counts.sent[index]);
        }
        for refusal in Refusal::ALL {
            data.refused.with_label_values(&[refusal.name()]).inc_by(counts.refused[refusal as usize]);
        }
        data.slow_receivers.inc_by(counts.slow);
    }

    fn log(&self, report: &Report) {
        match report {
            Report::PeerReady { peer, dtls, profile } => {
                let dtls = match dtls {
                    DtlsVersion::V12 => "1.2",
                    DtlsVersion::V13 => "1.3",
                };
                let srtp = match profile {
                    SrtpProfile::Aes128CmSha1_80 => "AES128_CM_HMAC_SHA1_80",
                    SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
                    SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
                };
                tracing::debug!(meeting = %self.meeting, peer = peer.0, dtls = %dtls, srtp = %srtp, "media ready");
            }
            Report::ChannelsEnded { peer, end } => {
                tracing::debug!(meeting = %self.meeting, peer = peer.0, ?end, "data channels ended");
            }
            Report::PeerEnded { peer, end } => {
                tracing::debug!(meeting = %self.meeting, peer = peer.0, ?end, "media ended");
            }
            _ => {}
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, input: Input) {
        let now_ms = self.now_ms();
        match input {
            Input::Join { connection, admission, client, messages, accepted, outbox } => {
                self.outboxes.insert(connection, outbox);
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.room.join(
                    now_ms,
                    Joining {
                        connection,
                        admission,
                        client,
                        since_accept: accepted.elapsed(),
                        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
                    },
                );
                self.hear(connection, messages);
            }
            Input::Resume { connection, user, sid, single, messages, outbox } => {
                if self.room.resume(now_ms, connection, &sid, user, single) {
                    self.outboxes.insert(connection, outbox);
                    self.hear(connection, messages);
                } else {
                    let leave = messages::leave(Farewell::StateMismatch).encode_to_vec();
                    let _ = outbox.try_send(Outgoing::Frame(leave.into()));
                    let _ = outbox.try_send(Outgoing::Close(Hangup::Normal));
                }
            }
            Input::Request(connection, message) => self.room.handle_request(now_ms, connection, *message),
            Input::Gone(connection) => {
                self.outboxes.remove(&connection);
                self.room.disconnected(now_ms, connection);
            }
            Input::Media(user, answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.room.media(user));
            }
            Input::Enter(entering, answer) => {
                let entered = self.room.enter(now_ms, *entering);
                self.reply(answer, entered);
            }
            Input::Patch { subject, matches, fragment, answer } => {
                let patched = self.room.patch(now_ms, &subject, &matches, &fragment);
                self.reply(answer, patched);
            }
            Input::Delete { subject, answer } => {
                let left = self.room.leave(now_ms, &subject);
                self.reply(answer, left);
            }
            Input::Permit(user, change, seen, answer) => {
                let holds = self.room.granted(user).map_or(Ok(()), |grant| seen.holds(Some(&grant.tag())));
                let _ = answer.send(holds.map(|()| self.room.permit(now_ms, user, change)));
            }
            Input::Visit(visit) => visit(&mut self.room, now_ms),
            Input::Remove(user) => self.room.remove_user(now_ms, user),
            Input::End => self.room.remove_all(Farewell::RoomDeleted),
            Input::Drain => self.room.remove_all(Farewell::ServerShutdown),
        }
    }

    /// Takes what a client said with its join.
    fn hear(&mut self, connection: ConnectionId, messages: Vec<Message>) {
        for message in messages {
            self.room.handle_request(self.now_ms(), connection, message);
        }
    }

    async fn carry_out(&mut self, signal: &Signal) {
        loop {
            let effects = self.room.take_effects();
            if effects.is_empty() {
                return;
            }
            let mut stuck = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Command(command) => {
                        signal.0.dispatch.send(self.meeting, self.room.core(), command).await;
                    }
                    Effect::Send(connection, message) => {
                        if !self.push(connection, Outgoing::Frame(message.encode_to_vec().into())) {
                            stuck.push(connection);
                        }
                    }
                    Effect::Close(connection, hangup) => {
                        self.push(connection, Outgoing::Close(hangup));
                        self.outboxes.remove(&connection);
                    }
                    Effect::Renew(connection, admission) => {
                        let token = signal.0.service.renew(&admission);
                        let frame = messages::refresh_token(token).encode_to_vec();
                        if !self.push(connection, Outgoing::Frame(frame.into())) {
                            stuck.push(connection);
                        }
                    }
                    Effect::Ready(took) => signal.0.metrics.join_seconds.observe(took.as_secs_f64()),
                    Effect::LinkEstimate(bps) => signal.0.metrics.link_estimate_bps.observe(f64::from(bps)),
                    Effect::Keyed(dtls, profile) => signal.0.metrics.peer_ready(dtls, profile),
                    Effect::Media { admission, audio, video } => {
                        let _ = self.notes.send(Note::Media(admission, audio, video)).await;
                    }
                    Effect::Left(admission) => {
                        let _ = self.notes.send(Note::Left(admission, Timestamp::now())).await;
                    }
                }
            }
            // A client that does not read loses its socket, which it may resume, and nobody else waits.
            for connection in stuck {
                if self.outboxes.remove(&connection).is_some() {
                    let now_ms = self.now_ms();
                    self.room.disconnected(now_ms, connection);
                }
            }
        }
    }

    fn reply<T: Send + 'static>(&mut self, answer: oneshot::Sender<T>, reply: T) {
        // Whoever asked may have gone.
        self.replies.push(Box::new(move || drop(answer.send(reply))));
    }

    /// False if the client's queue is full.
    fn push(&self, connection: ConnectionId, outgoing: Outgoing) -> bool {
        match self.outboxes.get(&connection) {
            Some(outbox) => !matches!(outbox.try_send(outgoing), Err(mpsc::error::TrySendError::Full(_))),
            None => true,
        }
    }
}

/// Writes a room's notes to the store, in order.
async fn write_notes(service: Service, mut notes: mpsc::Receiver<Note>) {
    while let Some(note) = notes.recv().await {
        let written = match note {
            Note::Media(admission, audio, video) => {
                service.media_enabled(&admission, Some(audio), Some(video)).await
            }
            Note::Left(admission, at) => service.participant_left(&admission, at).await,
        };
        if let Err(error) = written {
            tracing::warn!(%error, "what a participant did was not noted");
        }
    }
}

/// Where peers of a core reach it: by datagrams at its own port, else by a connection to the one TCP port.
fn candidates(dispatch: &Dispatch, core: CoreId) -> Vec<Candidate> {
    let udp = dispatch.udp_addresses(core).into_iter().map(Candidate::udp);
    udp.chain(dispatch.tcp_addresses().into_iter().map(Candidate::tcp)).collect()
}
