//! One client's WebSocket: frames in, frames out, within bounds.
//!
//! Bounds: frame size, messages per second, silence, a write that does not end. A client that breaks the protocol is closed
//! with a status and a reason (RFC 6455 section 7.4); its session may be resumed until the room's grace is over.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use bytes::Bytes;
use futures_util::StreamExt;
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::actor::{Input, Outgoing};
use super::join_request::Opening;
use super::messages::{self, Farewell, PING_TIMEOUT_S};
use super::parts;
use super::room::{ConnectionId, Hangup};
use super::{RoomRefusal, Signal};
use crate::metrics::Fault;
use crate::sdp::SDP_BYTES_MAX;
use crate::service::{Admission, ServiceError};

/// Largest message taken: a description of the largest size and its envelope. Sync states carry four.
pub const MESSAGE_BYTES_MAX: usize = 4 * SDP_BYTES_MAX;
/// Where the WebSocket layer itself gives up, which it does without a word: longer messages up to here are told why.
pub const FRAME_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Messages waiting for a client that reads slowly: a large room's worth of updates.
const OUTBOX: usize = 1_024;
/// Messages a client may send at once, and per second after that.
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 100.0;
/// A frame that the client does not take for this long ends the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The other side gets this long to complete a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A client that pings is silent for at most the ping interval; this leaves it two missed ones more than it grants us.
const SILENCE_MAX: Duration = Duration::from_secs(2 * PING_TIMEOUT_S as u64);

/// What a client asked for when it connected.
pub struct Asked {
    /// Who.
    pub admission: Admission,
    /// What it said when it connected.
    pub opening: Opening,
}

/// Why a connection ends from our side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The other side closed, or nothing can be written any more.
    Gone,
    /// We are done.
    Room(Hangup),
    /// The queue to the client overflowed.
    SlowReader,
    /// A text frame.
    Text,
    /// A message longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// A message of more parts than [`parts::PARTS_MAX`].
    TooManyParts,
    /// Not a message of the protocol.
    Malformed,
    /// Too many messages.
    TooFast,
    /// Nothing heard.
    Silent,
}

impl End {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::Room(Hangup::Normal) => (close_code::NORMAL, "the session is over".into()),
            Self::Room(Hangup::BadDescription(error)) => (close_code::INVALID, error.to_string()),
            Self::SlowReader => (close_code::AGAIN, "messages were not read in time".into()),
            Self::Text => (close_code::UNSUPPORTED, "only binary protobuf is spoken here".into()),
            Self::TooLong => (close_code::SIZE, "the message is too long".into()),
            Self::TooManyParts => (close_code::SIZE, "the message has too many parts".into()),
            Self::Malformed => (close_code::INVALID, "not a SignalRequest".into()),
            Self::TooFast => (close_code::POLICY, "too many messages".into()),
            Self::Silent => (close_code::AWAY, "nothing was heard for too long".into()),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }

    /// The client's fault, as counted; `None` if there was none.
    const fn fault(self) -> Option<Fault> {
        match self {
            Self::Gone | Self::Room(Hangup::Normal) => None,
            Self::Room(Hangup::BadDescription(_)) => Some(Fault::Description),
            Self::SlowReader => Some(Fault::SlowReader),
            Self::Text => Some(Fault::Text),
            Self::TooLong | Self::TooManyParts => Some(Fault::TooLong),
            Self::Malformed => Some(Fault::Malformed),
            Self::TooFast => Some(Fault::TooFast),
            Self::Silent => Some(Fault::Silent),
        }
    }
}

/// Serves one client until it or the room ends the connection.
pub async fn serve(signal: Signal, mut socket: WebSocket, asked: Asked, accepted: Instant) {
    let (outbox, mut outgoing) = mpsc::channel(OUTBOX);
    let connection = signal.connection();
    let inbox = match enter(&signal, connection, asked, accepted, outbox).await {
        Ok(inbox) => inbox,
        Err(farewell) => {
            let leave = Bytes::from(messages::leave(farewell).encode_to_vec());
            let _ = timeout(WRITE_TIMEOUT, socket.send(Frame::Binary(leave))).await;
            close(&mut socket, End::Room(Hangup::Normal)).await;
            return;
        }
    };
    let end = talk(&mut socket, connection, &inbox, &mut outgoing).await;
    // Also after a hang-up by the room, which has then forgotten the connection.
    let _ = inbox.send(Input::Gone(connection)).await;
    if let Some(fault) = end.fault() {
        signal.0.metrics.signal_fault(fault);
    }
    tracing::debug!(connection = connection.0, ?end, "signal connection ended");
    close(&mut socket, end).await;
}

/// Ends the WebSocket in order (RFC 6455 section 7.1.1): our close frame if we began, then what the other side still sends.
/// Reading on is also what sends the answer to the other side's close frame.
async fn close(socket: &mut WebSocket, end: End) {
    if let Some(frame) = end.frame() {
        let _ = timeout(WRITE_TIMEOUT, socket.send(Frame::Close(Some(frame)))).await;
    }
    let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

/// Brings the client into its room.
async fn enter(
    signal: &Signal,
    connection: ConnectionId,
    asked: Asked,
    accepted: Instant,
    outbox: mpsc::Sender<Outgoing>,
) -> Result<mpsc::Sender<Input>, Farewell> {
    let Asked { admission, opening: Opening { client, resume, messages } } = asked;
    if let Some(sid) = resume {
        let (user, single) = (admission.user, client.single);
        let input = Input::Resume { connection, user, sid, single, messages, outbox };
        return signal.tell(admission.meeting, input).map_err(|refusal| match refusal {
            RoomRefusal::NoRoom => Farewell::StateMismatch,
            RoomRefusal::Busy => Farewell::ServerShutdown,
        });
    }
    let service = &signal.0.service;
    service.participant_joined(&admission).await.map_err(|error| match error {
        ServiceError::Ended | ServiceError::NoSuchMeeting => Farewell::RoomDeleted,
        _ => Farewell::JoinFailure,
    })?;
    let admission = Arc::new(admission);
    let input = Input::Join { connection, admission: admission.clone(), client, messages, accepted, outbox };
    match signal.tell_or_begin(&admission, input) {
        Ok(inbox) => Ok(inbox),
        Err(_) => {
            let now = crate::service::timestamp::Timestamp::now();
            let _ = service.participant_left(&admission, now).await;
            Err(Farewell::ServerShutdown)
        }
    }
}

async fn talk(
    socket: &mut WebSocket,
    connection: ConnectionId,
    inbox: &mpsc::Sender<Input>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> End {
    let mut allowance = Allowance::new(Instant::now());
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            next = outgoing.recv() => match next {
                Some(Outgoing::Frame(bytes)) => {
                    if !matches!(timeout(WRITE_TIMEOUT, socket.send(Frame::Binary(bytes))).await, Ok(Ok(()))) {
                        return End::Gone;
                    }
                }
                Some(Outgoing::Close(hangup)) => return End::Room(hangup),
                None => return End::SlowReader,
            },
            frame = socket.next() => {
                let now = Instant::now();
                heard = now;
                let bytes = match frame {
                    Some(Ok(Frame::Binary(bytes))) if bytes.len() > MESSAGE_BYTES_MAX => return End::TooLong,
                    Some(Ok(Frame::Binary(bytes))) => bytes,
                    Some(Ok(Frame::Text(_))) => return End::Text,
                    // Pongs are sent by the WebSocket layer.
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Bytes::new(),
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return End::Gone,
                };
                if !allowance.take(now) {
                    return End::TooFast;
                }
                if !parts::are_few(&bytes) {
                    return End::TooManyParts;
                }
                let Ok(request) = proto::SignalRequest::decode(bytes) else { return End::Malformed };
                let Some(message) = request.message else { continue };
                let reply = match message {
                    Message::Ping(_) => messages::pong(since_epoch()),
                    Message::PingReq(ping) => messages::pong_response(ping.timestamp, since_epoch()),
                    message => {
                        if inbox.send(Input::Request(connection, Box::new(message))).await.is_err() {
                            return End::Gone;
                        }
                        continue;
                    }
                };
                let frame = Frame::Binary(reply.encode_to_vec().into());
                if !matches!(timeout(WRITE_TIMEOUT, socket.send(frame)).await, Ok(Ok(()))) {
                    return End::Gone;
                }
            }
            () = tokio::time::sleep_until((heard + SILENCE_MAX).into()) => return End::Silent,
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A token bucket for messages.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + elapsed * PER_SECOND).min(BURST) - 1.0;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_a_flood_is_not() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!((0..500).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        let mut allowance = Allowance::new(start);
        let pinging = (0..10_000).all(|n| allowance.take(start + Duration::from_millis(20 * n)));
        assert!(pinging);
    }
}
