//! One core's loop: receive, engine, lanes, send, sleep.
//!
//! Place: the thread that `boot` pinned. It owns one backend and one engine and is the only place where the two meet.
//! A turn: commands and assist replies in; one `flush`; requests and reports out; one call of the backend, which sends, or sleeps
//! if there was nothing to send; then every arrival goes to the engine.
//! Promises: an idle core sleeps in the kernel until a datagram, a ring or a timer; a turn takes a bounded number of everything; a
//! worker that ends, for whatever reason, says so on its lane.
//! Not here: what anything means (`engine`), how bytes travel (`io`).

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::counters::{SharedCounters, Stage};
use crate::base::drops::DropReason;
use crate::base::limits::{BLOCKED_US, IDLE_US_MAX, LANE_ITEMS_PER_TURN, PUBLISH_US};
use crate::base::time::Micros;
use crate::command::Report;
use crate::engine::Engine;
use crate::io::{Backend, Turn, cycles};
use crate::lane::{AssistLanes, Bell, Sent, WorkerEnd};

/// The packet plane's clock: every core counts from the same origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// NTP time of the origin, microseconds.
    ntp_us: u64,
}

/// From 1900, where NTP time begins, to 1970: 70 years with 17 leap days (RFC 5905 section 6, figure 4).
const NTP_UNIX_OFFSET_US: u64 = (70 * 365 + 17) * 86_400 * 1_000_000;

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "sender reports name wall time; the worker reads it once"
        )]
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: read_clock(), ntp_us: NTP_UNIX_OFFSET_US + unix.as_micros() as u64 }
    }

    /// NTP time minus [`Micros`], microseconds.
    #[must_use]
    pub const fn ntp_offset_us(&self) -> u64 {
        self.ntp_us
    }

    /// Microseconds since the origin.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros(read_clock().saturating_duration_since(self.origin).as_micros() as u64)
    }
}

fn read_clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the worker reads the clock for the sans-IO engine")]
    Instant::now()
}

/// What joins a worker to the rest of the process.
pub struct Links {
    /// To the control plane.
    pub lane: WorkerEnd,
    /// To the assist threads.
    pub assists: AssistLanes,
    /// Wakes this worker.
    pub bell: Arc<Bell>,
    /// Where the counters are published.
    pub counters: Arc<SharedCounters>,
    /// The time.
    pub clock: Clock,
}

/// See the module.
pub struct Worker<B> {
    engine: Engine,
    backend: B,
    links: Links,
    published: Micros,
    /// Something happened that is not published yet.
    unpublished: bool,
    /// Where the last stage ended.
    mark: u64,
}

impl<B: Backend> Worker<B> {
    /// A worker that has not turned yet.
    #[must_use]
    pub fn new(mut engine: Engine, backend: B, links: Links) -> Self {
        engine.set_wall_clock(links.clock.ntp_offset_us());
        engine.set_cycles(cycles::now);
        let published = links.clock.now();
        Self { engine, backend, links, published, unpublished: true, mark: cycles::now() }
    }

    /// Turns until the engine has stopped.
    ///
    /// # Errors
    /// The backend is unusable, or an assist thread is gone.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.engine.is_stopped() {
            self.turn()?;
        }
        self.publish();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = self.links.clock.now();
        self.take_in(now);
        self.end_stage(Stage::Rtcp);
        let before = self.engine.counters().cycles[Stage::Rewrite as usize];
        let next = self.engine.flush(now, &mut self.backend);
        let flushed = self.measure();
        self.book(Stage::Seal, flushed, Stage::Rewrite, before);
        self.give_out();
        if now.since_us(self.published) >= PUBLISH_US {
            self.published = now;
            self.unpublished = false;
            self.publish();
            if self.links.assists.is_abandoned() {
                return Err(io::Error::other("an assist thread has ended"));
            }
        }
        self.end_stage(Stage::Rtcp);

        let wait_us = self.wait_us(next);
        let turn = self.backend.turn(wait_us)?;
        self.links.bell.disarm();
        self.unpublished |= turn == Turn::Sent;
        self.end_stage(match turn {
            Turn::Sent => Stage::Send,
            Turn::Polled => Stage::Receive,
            Turn::Waited => Stage::Idle,
        });
        self.receive();
        self.count();
        Ok(())
    }

    /// Commands and assist replies. While reports wait for room, no replies: they make more reports.
    fn take_in(&mut self, now: Micros) {
        for _ in 0..LANE_ITEMS_PER_TURN {
            let Some(command) = self.links.lane.poll_command() else { break };
            self.unpublished = true;
            self.engine.handle_command(now, command);
        }
        if self.links.lane.waiting() > 0 {
            return;
        }
        for index in 0..self.links.assists.count() {
            for _ in 0..LANE_ITEMS_PER_TURN {
                let Some(reply) = self.links.assists.poll_reply(index) else { break };
                self.unpublished = true;
                self.engine.handle_assist(now, reply);
            }
        }
    }

    /// Requests and reports.
    fn give_out(&mut self) {
        while let Some(request) = self.engine.poll_assist() {
            if self.links.assists.request(request) == Sent::Dropped {
                self.engine.counters_mut().drop(DropReason::AssistFull);
            }
        }
        self.links.assists.flush();
        while let Some(report) = self.engine.poll_report() {
            // The lane tells the end itself, also when it comes by a panic.
            if !matches!(report, Report::Stopped) {
                self.links.lane.report(report);
            }
        }
        self.links.lane.flush();
    }

    /// How long the backend may sleep. If it is more than nothing, the bell is armed and the lanes were empty after that.
    fn wait_us(&self, next: Micros) -> u64 {
        let links = &self.links;
        let now = links.clock.now();
        let mut wait_us = next.since_us(now).min(IDLE_US_MAX);
        if self.unpublished {
            // A core that falls silent still shows its last numbers.
            wait_us = wait_us.min(self.published.after_us(PUBLISH_US).since_us(now).max(1));
        }
        if wait_us == 0 || self.engine.is_stopped() {
            return 0;
        }
        links.bell.arm();
        let replies_held = links.lane.waiting() > 0;
        let has_reply = !replies_held && links.assists.has_reply();
        if links.lane.has_command() || has_reply || self.backend.has_newcomers() {
            return 0;
        }
        if replies_held || links.assists.is_blocked() {
            return wait_us.min(BLOCKED_US);
        }
        wait_us
    }

    fn receive(&mut self) {
        let now = self.links.clock.now();
        let engine = &mut self.engine;
        let before = engine.counters().cycles[Stage::Route as usize];
        let mut open = 0;
        let mut received = false;
        self.backend.receive(|path, bytes| {
            let begun = cycles::now();
            engine.handle_datagram(now, path, bytes);
            open += cycles::now().wrapping_sub(begun);
            received = true;
        });
        self.unpublished |= received;
        self.book(Stage::Open, open, Stage::Route, before);
        self.mark = self.mark.wrapping_add(open);
        self.end_stage(Stage::Receive);
    }

    /// Adds what the backend counted.
    fn count(&mut self) {
        let counts = self.backend.take_counts();
        let counters = self.engine.counters_mut();
        counters.sends += counts.sends;
        counters.datagrams_sent += counts.datagrams_sent;
        counters.dropped[DropReason::SendFailed as usize] += counts.send_failed;
        counters.dropped[DropReason::KernelOverflow as usize] += counts.kernel_overflow;
        counters.dropped[DropReason::Malformed as usize] += counts.malformed;
        counters.dropped[DropReason::TcpQueueFull as usize] += counts.tcp_queue_full;
    }

    fn publish(&self) {
        self.links.counters.publish(self.engine.counters());
    }

    fn end_stage(&mut self, stage: Stage) {
        let spent = self.measure();
        self.engine.counters_mut().cycles[stage as usize] += spent;
    }

    /// Cycles since the last stage ended, which ends here.
    fn measure(&mut self) -> u64 {
        let now = cycles::now();
        now.wrapping_sub(std::mem::replace(&mut self.mark, now))
    }

    /// Books `spent` under `stage`, less what the engine booked itself under `inner`, whose count was `before`. The engine samples,
    /// so it may have booked too much: all stages together are what was spent.
    fn book(&mut self, stage: Stage, spent: u64, inner: Stage, before: u64) {
        let counters = &mut self.engine.counters_mut().cycles;
        let within = counters[inner as usize].saturating_sub(before).min(spent);
        counters[inner as usize] = before + within;
        counters[stage as usize] += spent - within;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::CoreId;
    use crate::base::net::{BuffersFull, Path, SendBuffers};
    use crate::command::Command;
    use crate::engine::EngineConfig;
    use crate::io::IoCounts;
    use crate::io::wake::event_fd;
    use crate::lane::{ControlEnd, assist, control};

    /// A backend with a script: what each turn answers.
    struct Scripted {
        turns: Vec<io::Result<Turn>>,
        waits: Vec<u64>,
        arrivals: u32,
    }

    impl SendBuffers for Scripted {
        fn send(
            &mut self,
            _: &Path,
            _: usize,
            _: impl FnOnce(&mut [u8]) -> usize,
        ) -> Result<(), BuffersFull> {
            Err(BuffersFull)
        }
    }

    impl Backend for Scripted {
        fn turn(&mut self, wait_us: u64) -> io::Result<Turn> {
            self.waits.push(wait_us);
            if self.turns.is_empty() { Ok(Turn::Polled) } else { self.turns.remove(0) }
        }

        fn receive(&mut self, mut sink: impl FnMut(Path, &mut [u8])) {
            let path = Path { local: ([127, 0, 0, 1], 1).into(), remote: ([127, 0, 0, 1], 2).into() };
            for _ in 0..std::mem::take(&mut self.arrivals) {
                sink(path, &mut [0xff; 20]);
            }
        }

        fn take_counts(&mut self) -> IoCounts {
            IoCounts { send_failed: 1, ..IoCounts::default() }
        }

        fn watch(&mut self, _: std::os::fd::RawFd) -> io::Result<()> {
            Ok(())
        }
    }

    fn worker(turns: Vec<io::Result<Turn>>) -> (ControlEnd, Worker<Scripted>, crate::lane::AssistEnd) {
        let bell = |blocking| Arc::new(Bell::new(event_fd(blocking).expect("a descriptor is free")));
        let core = bell(true);
        let (control_end, lane) = control(core.clone(), bell(false));
        let (assist_core, assist_end) = assist(core.clone(), Arc::default());
        let links = Links {
            lane,
            assists: AssistLanes::new(vec![assist_core]),
            bell: core,
            counters: Arc::default(),
            clock: Clock::start(),
        };
        let config = EngineConfig {
            core: CoreId(0),
            suite: kernels::Suite::detect(),
            seed: 1,
            rules: Default::default(),
        };
        let backend = Scripted { turns, waits: Vec::new(), arrivals: 3 };
        (control_end, Worker::new(Engine::new(config), backend, links), assist_end)
    }

    #[test]
    fn a_shutdown_ends_the_loop_without_a_sleep_and_is_reported() {
        let (control, mut worker, _assist) = worker(Vec::new());
        assert!(control.send(Command::Shutdown).is_ok());
        assert!(worker.run().is_ok());
        assert_eq!(worker.backend.waits.last(), Some(&0), "the last turn only sends");
        let published = worker.links.counters.read();
        assert_eq!(published.packets_received, 3);
        assert!(published.dropped(DropReason::SendFailed) >= 1);
        assert!(published.cycles.iter().sum::<u64>() > 0);
        drop(worker);
        assert!(matches!(control.try_report(), Some(Report::Stopped)));
        assert!(control.try_report().is_none());
    }

    #[test]
    fn an_idle_worker_asks_to_sleep_and_a_waiting_command_keeps_it_awake() {
        let broken = || Err(io::Error::other("the script ends here"));
        let (_control, mut worker, _assist) = worker(vec![Ok(Turn::Waited), broken()]);
        assert!(worker.run().is_err());
        assert!(worker.backend.waits[0] > 0);
        // A command that comes after the turn has looked is seen by the look after the arming.
        let (control, worker, _assist) = self::worker(Vec::new());
        assert!(control.send(Command::Unpublish { track: crate::base::ids::TrackId(1) }).is_ok());
        assert_eq!(worker.wait_us(Micros::NEVER), 0);
    }

    #[test]
    fn a_worker_whose_assist_thread_is_gone_stops() {
        let (_control, mut worker, assist) = worker(Vec::new());
        drop(assist);
        // Scripted turns do not wait: this spins until the next publication.
        assert!(worker.run().is_err());
    }
}
