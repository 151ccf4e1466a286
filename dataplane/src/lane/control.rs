//! The lane between the control plane and one core: commands in, reports out.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::Bell;
use super::overflow::Overflow;
use crate::base::limits::{COMMAND_LANE, REPORT_LANE};
use crate::command::{Command, Report};

struct Shared {
    commands: ArrayQueue<Command>,
    reports: ArrayQueue<Report>,
    /// A command was refused and its sender waits for room.
    starved: AtomicBool,
    /// The worker is gone; nothing will be pushed any more.
    stopped: AtomicBool,
    samples_dropped: AtomicU64,
    core: Arc<Bell>,
    control: Arc<Bell>,
}

/// Makes a lane. `core` wakes the worker; `control` wakes the control plane, its descriptor must not block.
#[must_use]
pub fn control(core: Arc<Bell>, control: Arc<Bell>) -> (ControlEnd, WorkerEnd) {
    control.arm();
    let shared = Arc::new(Shared {
        commands: ArrayQueue::new(COMMAND_LANE),
        reports: ArrayQueue::new(REPORT_LANE),
        starved: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        samples_dropped: AtomicU64::new(0),
        core,
        control,
    });
    let worker = WorkerEnd { shared: shared.clone(), overflow: Overflow::default(), unrung: false };
    (ControlEnd { shared, stop_told: AtomicBool::new(false) }, worker)
}

/// The control plane's end. Any thread may use it; commands of one thread arrive in its order.
pub struct ControlEnd {
    shared: Arc<Shared>,
    stop_told: AtomicBool,
}

impl ControlEnd {
    /// Sends a command.
    ///
    /// # Errors
    /// The command comes back if the lane is full or the core has stopped. [`ControlEnd::reports_fd`] becomes readable when
    /// there is room again.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        if self.is_stopped() {
            return Err(command);
        }
        let mut refused = self.shared.commands.push(command);
        if let Err(command) = refused {
            // Announce first, try again after: the core may have made room in between and seen no announcement.
            self.shared.starved.store(true, Ordering::SeqCst);
            refused = self.shared.commands.push(command);
        }
        refused?;
        self.shared.core.ring();
        Ok(())
    }

    /// Whether the core has stopped: it takes no more commands.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// The next report, oldest first. [`Report::Stopped`] comes exactly once, as the last one, also when the worker panicked.
    #[must_use]
    pub fn try_report(&self) -> Option<Report> {
        // Loaded before the pop: once it is set the queue holds all there will ever be.
        let stopped = self.is_stopped();
        if let Some(report) = self.shared.reports.pop() {
            return Some(report);
        }
        (stopped && !self.stop_told.swap(true, Ordering::AcqRel)).then_some(Report::Stopped)
    }

    /// A descriptor that becomes readable when there are reports (or room for a refused command). The order that misses nothing:
    /// wait until it is readable, [`ControlEnd::reports_clear`], then [`ControlEnd::try_report`] until `None`.
    #[must_use]
    pub fn reports_fd(&self) -> BorrowedFd<'_> {
        self.shared.control.as_fd()
    }

    /// Makes the descriptor unreadable until there is something new.
    pub fn reports_clear(&self) {
        self.shared.control.clear();
    }

    /// Samples (speakers, quality) dropped because the control plane was late.
    #[must_use]
    pub fn samples_dropped(&self) -> u64 {
        self.shared.samples_dropped.load(Ordering::Relaxed)
    }
}

/// The worker's end. Dropping it, by return or by panic, tells the control plane that the core has stopped.
pub struct WorkerEnd {
    shared: Arc<Shared>,
    overflow: Overflow,
    unrung: bool,
}

impl WorkerEnd {
    /// The next command.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.shared.commands.pop()
    }

    /// Whether a command waits.
    #[must_use]
    pub fn has_command(&self) -> bool {
        !self.shared.commands.is_empty()
    }

    /// Sends a report: state waits while the lane is full, a sample is dropped and counted.
    pub fn report(&mut self, report: Report) {
        let is_sample = matches!(report, Report::Speakers { .. } | Report::Quality { .. });
        let refused = if self.overflow.is_empty() { self.shared.reports.push(report) } else { Err(report) };
        match refused {
            Ok(()) => self.unrung = true,
            Err(_) if is_sample => {
                self.shared.samples_dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(report) => self.overflow.push(report),
        }
    }

    /// Ends a turn: moves on what waits and wakes the control plane if there is something for it.
    pub fn flush(&mut self) {
        while let Some(report) = self.overflow.pop() {
            if let Err(report) = self.shared.reports.push(report) {
                self.overflow.put_back(report);
                break;
            }
            self.unrung = true;
        }
        if self.shared.starved.load(Ordering::Relaxed) && !self.shared.commands.is_full() {
            self.shared.starved.store(false, Ordering::SeqCst);
            self.unrung = true;
        }
        if std::mem::take(&mut self.unrung) {
            self.shared.control.ring();
        }
    }

    /// How many state reports wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.overflow.len()
    }
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        self.flush();
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.control.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::tests::bell_on_a_pipe;
    use super::*;
    use crate::base::ids::{MeetingId, PeerId, TrackId};
    use crate::command::{PeerEnd, SPEAKERS_MAX, SpeakerLevel};

    fn lane() -> (ControlEnd, WorkerEnd, [std::io::PipeReader; 2]) {
        let (core, core_reader) = bell_on_a_pipe();
        let (plane, plane_reader) = bell_on_a_pipe();
        let (control_end, worker_end) = control(core, plane);
        (control_end, worker_end, [core_reader, plane_reader])
    }

    fn request(track: u32) -> Command {
        Command::RequestKeyframe { track: TrackId(track) }
    }

    #[test]
    fn a_full_lane_gives_the_command_back_and_calls_when_there_is_room() {
        let (control, mut worker, [_core, mut plane]) = lane();
        for number in 0..COMMAND_LANE {
            assert!(control.send(request(number as u32)).is_ok());
        }
        let refused = control.send(request(9_999_999));
        assert!(matches!(refused, Err(Command::RequestKeyframe { track: TrackId(9_999_999) })));
        worker.flush();
        assert!(matches!(worker.poll_command(), Some(Command::RequestKeyframe { track: TrackId(0) })));
        worker.flush();
        let mut rung = [0; 8];
        std::io::Read::read_exact(&mut plane, &mut rung).expect("room was announced");
        assert!(control.send(request(1)).is_ok());
    }

    #[test]
    fn state_reports_survive_a_full_lane_and_samples_do_not() {
        let (control, mut worker, _readers) = lane();
        let level = SpeakerLevel { track: TrackId(0), level: 0 };
        let speakers = || Report::Speakers { meeting: MeetingId(1), levels: [level; SPEAKERS_MAX], count: 0 };
        for number in 0..REPORT_LANE + 100 {
            worker.report(Report::TrackStarted { track: TrackId(number as u32) });
        }
        worker.report(speakers());
        worker.report(Report::PeerPath { peer: PeerId(5) });
        worker.report(Report::PeerEnded { peer: PeerId(5), end: PeerEnd::NoRoom });
        assert_eq!(control.samples_dropped(), 1);
        let mut started = 0;
        let mut ended = 0;
        loop {
            worker.flush();
            match control.try_report() {
                Some(Report::TrackStarted { track }) => {
                    assert_eq!(track, TrackId(started));
                    started += 1;
                }
                Some(Report::PeerEnded { .. }) => ended += 1,
                Some(_) => panic!("nothing else was kept"),
                None => break,
            }
        }
        assert_eq!((started as usize, ended), (REPORT_LANE + 100, 1));
    }

    #[test]
    fn a_worker_that_panics_is_reported_as_stopped_exactly_once() {
        let (control, mut worker, _readers) = lane();
        worker.report(Report::PeerPath { peer: PeerId(1) });
        let panicked = std::thread::spawn(move || {
            let _worker = worker;
            std::panic::resume_unwind(Box::new("the thread dies without a message on stderr"));
        });
        assert!(panicked.join().is_err());
        assert!(matches!(control.try_report(), Some(Report::PeerPath { .. })));
        assert!(matches!(control.try_report(), Some(Report::Stopped)));
        assert!(control.try_report().is_none());
        assert!(control.send(request(1)).is_err(), "nobody would read it");
    }
}
