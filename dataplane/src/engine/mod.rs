//! The sans-IO engine of one core: many `handle_*` in a loop turn, then one `flush`.
//!
//! Place: driven by `worker` (or by a test with a virtual clock), between the I/O backend and the rooms.
//! Promises: no clock, socket, thread, lock or log; time, bytes and randomness are arguments, so the same inputs give the same
//! outputs. Whatever the network sends is answered, forwarded or dropped with a reason, and never panics.
//! Not here: sockets (`io`), handshakes (`assist`), rules about meetings (the control plane).

use crate::base::counters::Counters;
use crate::base::handoff::{AssistReply, AssistRequest};
use crate::base::ids::CoreId;
use crate::base::net::{Path, SendBuffers};
use crate::base::time::Micros;
use crate::command::{Command, Report};

/// What an engine is built from.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// The core it runs on; local ufrags name it.
    pub core: CoreId,
    /// The kernels it seals and opens with.
    pub suite: kernels::Suite,
    /// Seed of everything random that is not a secret.
    pub seed: u64,
}

/// All state of one core.
pub struct Engine {
    config: EngineConfig,
    counters: Counters,
    stopped: bool,
}

impl Engine {
    /// An engine without peers.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self { config, counters: Counters::default(), stopped: false }
    }

    /// Takes one command. May allocate: commands are not the packet path.
    pub fn handle_command(&mut self, now: Micros, command: Command) {
        let _ = now;
        if matches!(command, Command::Shutdown) {
            self.stopped = true;
        }
    }

    /// Takes one received datagram. The bytes are opened in place.
    pub fn handle_datagram(&mut self, now: Micros, path: Path, bytes: &mut [u8]) {
        let _ = (now, path, &self.config);
        self.counters.packets_received += 1;
        self.counters.bytes_received += bytes.len() as u64;
    }

    /// Takes one reply of an assist thread.
    pub fn handle_assist(&mut self, now: Micros, reply: AssistReply) {
        let _ = (now, reply);
    }

    /// Runs what is due at `now`, seals and hands over everything queued; returns when the engine next wants to run.
    #[must_use = "the caller sleeps until this time"]
    pub fn flush(&mut self, now: Micros, buffers: &mut impl SendBuffers) -> Micros {
        let _ = (now, buffers);
        Micros::NEVER
    }

    /// The next request to the assist threads.
    pub fn poll_assist(&mut self) -> Option<AssistRequest> {
        None
    }

    /// The next report to the control plane.
    pub fn poll_report(&mut self) -> Option<Report> {
        None
    }

    /// What this core counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For the worker to count what the engine cannot see: sends, cycles, kernel drops.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Whether `Shutdown` was handled and the last datagrams were flushed.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }
}
