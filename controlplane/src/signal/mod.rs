//! Signalling: the LiveKit client protocol over WebSocket, v0 (two connections per participant) at `/rtc` and v1 (one) at
//! `/rtc/v1`.
//!
//! Path: `door` checks the token and upgrades; `socket` reads and writes frames within bounds; `actor` runs one `room` per
//! meeting and brings its commands to the room's core through `dispatch`. Rooms are sans-IO; sockets and cores reach them by
//! bounded queues.
//! `whip` is the door for WHIP and WHEP, whose sessions live in the same rooms; `twirp` is for servers of the host's.
//! Not here: data tracks (refused, never an error).

mod actor;
pub mod allowed;
mod arrivals;
mod door;
pub mod dynacast;
mod floor;
pub mod grant;
pub mod ids;
pub mod join_request;
mod media;
pub mod messages;
pub mod negotiation;
pub mod packet;
mod parts;
mod permissions;
mod reduced;
pub mod room;
pub mod sections;
pub mod settings;
pub mod slots;
mod socket;
pub mod track;
mod twirp;
pub mod variant;
mod whip;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dataplane::base::ids::MeetingId;
use dataplane::base::time::Micros;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::dispatch::Dispatch;
use crate::http::routes::{Route, Routes};
use crate::ids::UserId;
use crate::metrics::Metrics;
use crate::service::{Admission, MeetingEvent, MeetingStatus, Seen, Service, ServiceError};
use actor::{Input, RoomActor};
use arrivals::Arrivals;
use grant::{Grant, GrantChange};
use room::ConnectionId;
use room::media::MediaView;

/// Messages waiting for a room: a few per member of a large meeting.
const ROOM_INBOX: usize = 2_048;

/// The signalling routes. Without a packet plane (`signal` absent) the token is checked and nobody let in.
pub fn router(app: App, signal: Option<Signal>) -> axum::Router {
    doors().into_router().with_state(door::Door { app, signal })
}

/// The routes of all doors for media.
fn doors() -> Routes<door::Door> {
    door::routes().merge(whip::routes()).merge(twirp::routes())
}

/// What there is of them.
#[must_use]
pub fn known_doors() -> Vec<Route> {
    doors().known().to_vec()
}

/// The routes of the API that rooms answer.
pub fn api(signal: Option<Signal>) -> utoipa_axum::router::OpenApiRouter<App> {
    media::router(signal.clone()).merge(permissions::router(signal))
}

/// All rooms of this server. Cheap to clone.
#[derive(Clone)]
pub struct Signal(Arc<Inner>);

struct Inner {
    service: Service,
    dispatch: Dispatch,
    metrics: Arc<Metrics>,
    rooms: Mutex<HashMap<MeetingId, mpsc::Sender<Input>>>,
    began: Instant,
    /// Sessions over HTTP that may begin.
    arrivals: Mutex<Arrivals>,
    next_connection: AtomicU64,
    followers: Mutex<Vec<JoinHandle<()>>>,
}

/// The room cannot take it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomRefusal {
    /// There is no such room.
    NoRoom,
    /// Its queue is full, or no core runs.
    Busy,
}

impl Signal {
    /// Begins to follow what the service says about meetings. Call within a tokio runtime.
    #[must_use]
    pub fn start(service: Service, dispatch: Dispatch, metrics: Arc<Metrics>) -> Self {
        let signal = Self(Arc::new(Inner {
            service,
            dispatch,
            metrics,
            rooms: Mutex::default(),
            began: Instant::now(),
            arrivals: Mutex::default(),
            next_connection: AtomicU64::new(0),
            followers: Mutex::default(),
        }));
        let followers = [
            tokio::spawn(follow_meetings(signal.clone(), signal.0.service.meeting_events())),
            tokio::spawn(follow_drain(signal.clone())),
        ];
        lock(&signal.0.followers).extend(followers);
        signal
    }

    /// Lets go of the service and the packet plane. Rooms that are left end with their cores.
    pub fn stop(&self) {
        for follower in lock(&self.0.followers).drain(..) {
            follower.abort();
        }
        self.0.dispatch.stop();
    }

    /// What one person receives and publishes; `None` if it is not in the meeting's room.
    ///
    /// # Errors
    /// `Busy` when the room has too much to do.
    async fn media(&self, meeting: MeetingId, user: UserId) -> Result<Option<MediaView>, ServiceError> {
        let (answer, answered) = oneshot::channel();
        match self.tell(meeting, Input::Media(user, answer)) {
            // A room that ends without answering has nobody in it.
            Ok(_) => Ok(answered.await.unwrap_or(None)),
            Err(RoomRefusal::NoRoom) => Ok(None),
            Err(RoomRefusal::Busy) => Err(ServiceError::Busy),
        }
    }

    /// Changes what one person may do; what it may now, `None` if it is not in the meeting's room.
    ///
    /// # Errors
    /// `ChangedMeanwhile`, `Busy` when the room has too much to do.
    async fn permit(
        &self,
        meeting: MeetingId,
        user: UserId,
        change: GrantChange,
        seen: Seen,
    ) -> Result<Option<Grant>, ServiceError> {
        let (answer, answered) = oneshot::channel();
        match self.tell(meeting, Input::Permit(user, change, seen, answer)) {
            Ok(_) => answered.await.unwrap_or(Ok(None)),
            Err(RoomRefusal::NoRoom) => Ok(None),
            Err(RoomRefusal::Busy) => Err(ServiceError::Busy),
        }
    }

    /// Has something done in a meeting's room; `None` if there is none.
    ///
    /// # Errors
    /// `Busy` when the room has too much to do.
    async fn visit<T: Send + 'static>(
        &self,
        meeting: MeetingId,
        does: impl FnOnce(&mut room::Room, u64) -> T + Send + 'static,
    ) -> Result<Option<T>, ServiceError> {
        let (answer, answered) = oneshot::channel();
        let visit = move |room: &mut room::Room, now_ms: u64| {
            let _ = answer.send(does(room, now_ms));
        };
        match self.tell(meeting, Input::Visit(Box::new(visit))) {
            // A room that ends without answering has nobody in it.
            Ok(_) => Ok(answered.await.ok()),
            Err(RoomRefusal::NoRoom) => Ok(None),
            Err(RoomRefusal::Busy) => Err(ServiceError::Busy),
        }
    }

    /// Whether one more session of a person over HTTP may begin in a meeting now.
    fn lets_arrive(&self, meeting: MeetingId, person: UserId) -> bool {
        let now = Micros(u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX));
        lock(&self.0.arrivals).take(now, meeting, person)
    }

    fn connection(&self) -> ConnectionId {
        ConnectionId(self.0.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands an input to the meeting's room if there is one.
    fn tell(&self, meeting: MeetingId, input: Input) -> Result<mpsc::Sender<Input>, RoomRefusal> {
        let rooms = self.rooms();
        let inbox = rooms.get(&meeting).ok_or(RoomRefusal::NoRoom)?;
        // Within the lock: an actor ends only with its queue empty under the same lock, so nothing is lost in one.
        inbox.try_send(input).map_err(|_| RoomRefusal::Busy)?;
        Ok(inbox.clone())
    }

    /// Lets somebody into the meeting's room, which begins if there is none.
    fn tell_or_begin(&self, admission: &Admission, input: Input) -> Result<mpsc::Sender<Input>, RoomRefusal> {
        let inbox = self.hand_over(admission, input)?;
        // The meeting may have ended since it let this one in, and its end been told before this was in the queue.
        if self.has_ended(admission.meeting) {
            let inbox = inbox.clone();
            tokio::spawn(async move {
                let _ = inbox.send(Input::End).await;
            });
        }
        Ok(inbox)
    }

    /// What the store cannot say now is no end: one failed read must not send everybody away.
    fn has_ended(&self, meeting: MeetingId) -> bool {
        match self.0.service.meeting(meeting) {
            Ok(found) => found.status == MeetingStatus::Ended,
            Err(ServiceError::NoSuchMeeting) => true,
            Err(error) => {
                tracing::error!(%meeting, %error, "cannot read whether a meeting has ended; it goes on");
                false
            }
        }
    }

    fn hand_over(&self, admission: &Admission, input: Input) -> Result<mpsc::Sender<Input>, RoomRefusal> {
        let mut rooms = self.rooms();
        if rooms.get(&admission.meeting).is_some_and(mpsc::Sender::is_closed) {
            tracing::error!(meeting = %admission.meeting, "a room ended in a panic; this is a bug");
            rooms.remove(&admission.meeting);
            self.0.dispatch.close_room(admission.meeting);
        }
        if let Some(inbox) = rooms.get(&admission.meeting) {
            inbox.try_send(input).map_err(|_| RoomRefusal::Busy)?;
            return Ok(inbox.clone());
        }
        let actor = RoomActor::new(self, admission).ok_or(RoomRefusal::Busy)?;
        let (inbox, inputs) = mpsc::channel(ROOM_INBOX);
        inbox.try_send(input).map_err(|_| RoomRefusal::Busy)?;
        rooms.insert(admission.meeting, inbox.clone());
        tokio::spawn(actor.run(self.clone(), inputs));
        Ok(inbox)
    }

    /// Ends the room of a meeting if its queue is empty; false if there is still something to do.
    fn retire(&self, meeting: MeetingId, inputs: &mpsc::Receiver<Input>) -> bool {
        let mut rooms = self.rooms();
        if !inputs.is_empty() {
            return false;
        }
        rooms.remove(&meeting);
        self.0.dispatch.close_room(meeting);
        true
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<MeetingId, mpsc::Sender<Input>>> {
        lock(&self.0.rooms)
    }

    fn all_rooms(&self) -> Vec<(MeetingId, mpsc::Sender<Input>)> {
        self.rooms().iter().map(|(meeting, inbox)| (*meeting, inbox.clone())).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings ends of meetings and removals of people to rooms.
async fn follow_meetings(signal: Signal, mut events: broadcast::Receiver<MeetingEvent>) {
    loop {
        let (meeting, input) = match events.recv().await {
            Ok(MeetingEvent::Ended(meeting)) => (meeting, Input::End),
            Ok(MeetingEvent::Removed(meeting, user)) => (meeting, Input::Remove(user)),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                for (meeting, inbox) in signal.all_rooms() {
                    if signal.has_ended(meeting) {
                        let _ = inbox.send(Input::End).await;
                    }
                }
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let inbox = signal.rooms().get(&meeting).cloned();
        if let Some(inbox) = inbox {
            let _ = inbox.send(input).await;
        }
    }
}

/// Sends everybody away when the server drains.
async fn follow_drain(signal: Signal) {
    let mut draining = signal.0.service.draining();
    if draining.wait_for(|draining| *draining).await.is_ok() {
        for (_, inbox) in signal.all_rooms() {
            let _ = inbox.send(Input::Drain).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dataplane::base::handoff::DtlsVersion;
    use dataplane::boot::{self, PlaneConfig};
    use dataplane::engine::Rules;
    use dataplane::io::IoChoice;
    use livekit_protocol as proto;
    use prost::Message as _;
    use proto::signal_response::Message;

    use super::actor::Outgoing;
    use super::room::Client;
    use super::*;
    use crate::service::{Caller, JoinRequest, NewMeeting};

    fn signal(service: &Service) -> Signal {
        let config = PlaneConfig {
            cpus: vec![0],
            udp_port: 0,
            tcp_port: None,
            io: IoChoice::Epoll,
            suite: None,
            assist_threads: 1,
            seed: 1,
            rules: Rules::default(),
            bind: None,
        };
        let plane = boot::start(&config).expect("this host can start a core on its first CPU");
        let addresses = vec![[127, 0, 0, 1].into()];
        let dispatch = Dispatch::start(Arc::new(plane), addresses, DtlsVersion::V12).expect("it starts");
        Signal::start(service.clone(), dispatch, Arc::default())
    }

    #[tokio::test]
    async fn whom_the_end_of_the_meeting_overtakes_is_told_of_it() {
        let service = Service::in_memory(true);
        let signal = signal(&service);
        let meeting = NewMeeting { topic: "Test".into(), ..NewMeeting::default() };
        let created = service.create_meeting(Caller::Nobody, meeting).await.expect("demo");
        let id = created.meeting.meeting_id.id();
        let host = service.authenticate(&created.host_token.expect("demo gives one")).expect("fresh");
        let joined = service.join(Caller::Nobody, id, JoinRequest::default()).await.expect("it is open");
        let admission = Arc::new(service.admit(&joined.session_token).expect("fresh"));
        service.participant_joined(&admission).await.expect("it runs");
        service.end_meeting(host, id).await.expect("its host may");
        // There is no room yet that could be told.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let (outbox, mut outgoing) = mpsc::channel(64);
        let join = Input::Join {
            connection: signal.connection(),
            admission: admission.clone(),
            client: Client { auto_subscribe: true, client_protocol: 0, single: false },
            messages: Vec::new(),
            accepted: Instant::now(),
            outbox,
        };
        signal.tell_or_begin(&admission, join).expect("there is a core");
        let leave = async {
            loop {
                let Some(Outgoing::Frame(bytes)) = outgoing.recv().await else { return None };
                let reply = proto::SignalResponse::decode(bytes).ok().and_then(|reply| reply.message);
                if let Some(Message::Leave(leave)) = reply {
                    return Some(leave.reason());
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(30), leave).await;
        assert_eq!(told, Ok(Some(proto::DisconnectReason::RoomDeleted)));
        signal.stop();
    }
}
