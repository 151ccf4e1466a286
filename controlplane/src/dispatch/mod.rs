//! From decisions to lanes: gives out numbers, chooses cores, brings `Command`s to them and their `Report`s to rooms.
//!
//! Place: between `signal` (one actor per room) and the packet cores. Promises: commands of one room arrive in its order and
//! wait while a lane is full; state reports wait for a full room, samples do not; numbers are never used twice; nothing is
//! restarted here, a stopped core only gets no more rooms.
//! Not here: what to command, and what a report means.

pub mod addresses;
mod load;
mod routes;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dataplane::base::handoff::{DtlsVersion, Fingerprint};
use dataplane::base::ids::{CoreId, MeetingId, PeerId, StreamId, TrackId};
use dataplane::boot::{CoreEnd, Plane};
use dataplane::command::{Command, Report};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use load::Loads;
use routes::Routes;

/// A command that found its lane full is tried again after this time.
const RETRY: Duration = Duration::from_millis(2);

/// Gives out the numbers of peers, tracks and streams. 2^32 of each last for years of thousands of joins per second.
pub struct Ids {
    peers: AtomicU32,
    tracks: AtomicU32,
    streams: AtomicU32,
}

impl Default for Ids {
    fn default() -> Self {
        Self { peers: AtomicU32::new(1), tracks: AtomicU32::new(1), streams: AtomicU32::new(1) }
    }
}

impl Ids {
    /// A peer's number.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId(self.peers.fetch_add(1, Ordering::Relaxed))
    }

    /// A track's number.
    #[must_use]
    pub fn track(&self) -> TrackId {
        TrackId(self.tracks.fetch_add(1, Ordering::Relaxed))
    }

    /// A stream's number.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId(self.streams.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a room gets from its core.
pub enum FromCore {
    /// Something happened.
    Report(Report),
    /// The core has stopped: nothing of this room goes on.
    Stopped,
}

/// Where a room takes what its core says.
pub type RoomInbox = mpsc::Sender<FromCore>;

/// The cores, as the control plane uses them. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch(Arc<Inner>);

struct Inner {
    plane: Arc<Plane>,
    ids: Arc<Ids>,
    dtls: DtlsVersion,
    addresses: Vec<IpAddr>,
    routes: Mutex<Routes>,
    loads: Mutex<Loads>,
    stopped: Vec<AtomicBool>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

impl Dispatch {
    /// Begins to read reports. `addresses` are offered as candidates, best first. Call within a tokio runtime.
    ///
    /// # Errors
    /// When a lane's descriptor cannot be watched.
    pub fn start(plane: Arc<Plane>, addresses: Vec<IpAddr>, dtls: DtlsVersion) -> io::Result<Self> {
        let count = plane.cores().len();
        let dispatch = Self(Arc::new(Inner {
            ids: Arc::default(),
            dtls,
            addresses,
            routes: Mutex::default(),
            loads: Mutex::new(Loads::new(count)),
            stopped: (0..count).map(|_| AtomicBool::new(false)).collect(),
            readers: Mutex::default(),
            plane,
        }));
        for core in dispatch.0.plane.cores() {
            let bell = watch(core.lane.reports_fd().try_clone_to_owned()?)?;
            let reader = tokio::spawn(read_reports(dispatch.clone(), core.id, bell));
            lock(&dispatch.0.readers).push(reader);
        }
        Ok(dispatch)
    }

    /// Stops reading reports, so that the plane can be stopped by its last owner.
    pub fn stop(&self) {
        for reader in lock(&self.0.readers).drain(..) {
            reader.abort();
        }
    }

    /// The numbers' source.
    #[must_use]
    pub fn ids(&self) -> Arc<Ids> {
        self.0.ids.clone()
    }

    /// The certificate of all peers.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.plane.fingerprint()
    }

    /// The DTLS version to speak.
    #[must_use]
    pub fn dtls(&self) -> DtlsVersion {
        self.0.dtls
    }

    /// Where a core's peers send datagrams to, best first.
    #[must_use]
    pub fn udp_addresses(&self, core: CoreId) -> Vec<SocketAddr> {
        let port = self.core(core).map_or(0, |core| core.udp_port);
        self.0.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// Where peers of every core connect to when no datagram gets through, best first.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let port = self.0.plane.tcp_port();
        port.map_or_else(Vec::new, |port| {
            self.0.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        })
    }

    /// Takes a new room: the least loaded core that runs, whose reports about the room go to `inbox` from now on.
    /// `None` if no core runs.
    #[must_use]
    pub fn open_room(&self, meeting: MeetingId, inbox: RoomInbox) -> Option<CoreId> {
        let running: Vec<&CoreEnd> =
            self.0.plane.cores().iter().filter(|core| !self.is_stopped(core.id)).collect();
        let mut loads = lock(&self.0.loads);
        let now = Instant::now();
        loads.refresh(now, || self.forwarded());
        let core = running.into_iter().map(|core| core.id).min_by_key(|core| loads.score(*core))?;
        loads.add_room(core);
        drop(loads);
        lock(&self.0.routes).open(meeting, core, inbox);
        Some(core)
    }

    /// A room is over.
    pub fn close_room(&self, meeting: MeetingId) {
        if let Some(core) = lock(&self.0.routes).close(meeting) {
            lock(&self.0.loads).remove_room(core);
        }
    }

    /// Brings a command of a room to its core; waits while the lane is full. False if the core has stopped.
    pub async fn send(&self, meeting: MeetingId, core: CoreId, command: Command) -> bool {
        lock(&self.0.routes).note(meeting, &command);
        let Some(end) = self.core(core) else { return false };
        let mut command = command;
        loop {
            if self.is_stopped(core) {
                return false;
            }
            match end.lane.send(command) {
                Ok(()) => return true,
                Err(refused) => command = refused,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn core(&self, core: CoreId) -> Option<&CoreEnd> {
        self.0.plane.cores().iter().find(|end| end.id == core)
    }

    fn is_stopped(&self, core: CoreId) -> bool {
        self.0.stopped.get(usize::from(core.0)).is_none_or(|stopped| stopped.load(Ordering::Acquire))
    }

    fn forwarded(&self) -> Vec<u64> {
        self.0.plane.cores().iter().map(|core| core.counters.read().packets_forwarded).collect()
    }

    async fn deliver(&self, core: CoreId, report: Report) {
        if matches!(report, Report::Stopped) {
            if let Some(stopped) = self.0.stopped.get(usize::from(core.0)) {
                stopped.store(true, Ordering::Release);
            }
            tracing::error!(core = core.0, "a packet core has stopped; its meetings move to the others");
            let inboxes = lock(&self.0.routes).rooms_on(core);
            for inbox in inboxes {
                let _ = inbox.send(FromCore::Stopped).await;
            }
            return;
        }
        let is_sample = matches!(report, Report::Speakers { .. } | Report::Quality { .. });
        let Some(inbox) = lock(&self.0.routes).inbox(&report) else { return };
        if is_sample {
            let _ = inbox.try_send(FromCore::Report(report));
        } else {
            // An error means that the room has just ended.
            let _ = inbox.send(FromCore::Report(report)).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    deprecated,
    reason = "deprecated for types that may close their descriptor early; an OwnedFd cannot, and the successor is unsafe"
)]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Reads one core's reports until the core stops.
async fn read_reports(dispatch: Dispatch, core: CoreId, bell: AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = bell.readable().await else { return };
        ready.clear_ready();
        let Some(end) = dispatch.core(core) else { return };
        end.lane.reports_clear();
        while let Some(report) = end.lane.try_report() {
            let is_last = matches!(report, Report::Stopped);
            dispatch.deliver(core, report).await;
            if is_last {
                return;
            }
        }
    }
}
