//! The running packet plane as the control plane sees it: its cores, what was chosen at boot, and its end.

use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::threads::{Assists, Tcp};
use crate::base::counters::SharedCounters;
use crate::base::handoff::Fingerprint;
use crate::base::ids::CoreId;
use crate::command::Command;
use crate::io::IoChoice;
use crate::io::tcp::TcpCounts;
use crate::lane::ControlEnd;

/// One core as the control plane sees it. Any thread may use it.
pub struct CoreEnd {
    /// Its index.
    pub id: CoreId,
    /// The kernel's CPU number.
    pub cpu: usize,
    /// The UDP port its peers are told.
    pub udp_port: u16,
    /// Commands in, reports out.
    pub lane: ControlEnd,
    /// Its counters, published every 100 ms.
    pub counters: Arc<SharedCounters>,
    pub(super) fault: Arc<OnceLock<String>>,
}

impl CoreEnd {
    /// Why the worker ended, if it ended by itself. Set before [`crate::command::Report::Stopped`] is seen.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }
}

/// The running packet plane. Dropping it stops it.
pub struct Plane {
    pub(super) cores: Vec<CoreEnd>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) assists: Assists,
    pub(super) tcp: Option<Tcp>,
    pub(super) fingerprint: Fingerprint,
    pub(super) io: IoChoice,
    pub(super) io_refused: Option<String>,
    pub(super) io_trial: Option<String>,
    pub(super) suite_name: &'static str,
}

impl Plane {
    /// Its cores, in the order of `cpus`.
    #[must_use]
    pub fn cores(&self) -> &[CoreEnd] {
        &self.cores
    }

    /// SHA-256 of this boot's DTLS certificate, for `a=fingerprint`.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The TCP port peers are told, if one is served.
    #[must_use]
    pub fn tcp_port(&self) -> Option<u16> {
        self.tcp.as_ref().map(|tcp| tcp.port())
    }

    /// What became of TCP connections.
    #[must_use]
    pub fn tcp_counts(&self) -> Option<Arc<TcpCounts>> {
        self.tcp.as_ref().map(|tcp| tcp.counts())
    }

    /// The I/O backend in use: what `auto` chose.
    #[must_use]
    pub const fn io_name(&self) -> &'static str {
        self.io.name()
    }

    /// Why `auto` could not choose io_uring, with the remedy; for one line of the log.
    #[must_use]
    pub fn io_refused(&self) -> Option<&str> {
        self.io_refused.as_deref()
    }

    /// What `auto` measured and chose by; for the log.
    #[must_use]
    pub fn io_trial(&self) -> Option<&str> {
        self.io_trial.as_deref()
    }

    /// The crypto suite in use.
    #[must_use]
    pub const fn suite_name(&self) -> &'static str {
        self.suite_name
    }

    /// Closes every peer, stops every thread and waits for them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(tcp) = &mut self.tcp {
            tcp.stop();
        }
        for core in &self.cores {
            let mut command = Command::Shutdown;
            // A full lane is emptied by its worker, and one that has stopped needs no command.
            while let Err(refused) = core.lane.send(command) {
                if core.lane.is_stopped() {
                    break;
                }
                command = refused;
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        for worker in self.workers.drain(..) {
            // Its panics are caught and told as a fault.
            let _ = worker.join();
        }
        self.assists.stop();
    }
}
