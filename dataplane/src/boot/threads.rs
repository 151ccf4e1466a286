//! The threads beside the cores: the TCP door and the assist threads. Each ends, and is waited for, when its owner is dropped.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::BootError;
use crate::assist::{self, Identity, Stop};
use crate::engine::core_of_check;
use crate::io::tcp::{Door, DoorStop, Handovers, TcpCounts};
use crate::lane::{AssistEnd, ThreadBell};

/// The TCP port and the thread behind it.
pub(super) struct Tcp {
    port: u16,
    counts: Arc<TcpCounts>,
    stop: DoorStop,
    thread: Option<JoinHandle<()>>,
}

impl Tcp {
    pub(super) fn start(
        door: Door,
        cores: Vec<Arc<Handovers>>,
        counts: Arc<TcpCounts>,
    ) -> Result<Self, BootError> {
        let stop =
            door.stop().map_err(|source| BootError::Resource { what: "a wake-up descriptor", source })?;
        let port = door.port();
        let thread = spawn("kaigi-tcp".into(), {
            let (stop, counts) = (stop.clone(), counts.clone());
            move || door.run(&stop, core_of_check, &cores, &counts)
        })?;
        Ok(Self { port, counts, stop, thread: Some(thread) })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn counts(&self) -> Arc<TcpCounts> {
        self.counts.clone()
    }

    pub(super) fn stop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // Whatever ended it, it has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.stop();
    }
}
/// The assist threads.
pub(super) struct Assists {
    stop: Stop,
    threads: Vec<(Arc<ThreadBell>, JoinHandle<()>)>,
}

impl Assists {
    /// One thread for each bell, which serves its ends of the lanes.
    pub(super) fn start(
        identity: &Identity,
        bells: Vec<Arc<ThreadBell>>,
        ends: Vec<Vec<AssistEnd>>,
    ) -> Result<Self, BootError> {
        let mut assists = Self { stop: Stop::default(), threads: Vec::new() };
        for (index, (bell, ends)) in bells.into_iter().zip(ends).enumerate() {
            let (identity, stop, own_bell) = (identity.clone(), assists.stop.clone(), bell.clone());
            let thread = spawn(format!("kaigi-assist-{index}"), move || {
                assist::run(&identity, ends, &own_bell, &stop);
            })?;
            assists.threads.push((bell, thread));
        }
        Ok(assists)
    }

    pub(super) fn stop(&mut self) {
        self.stop.set();
        for (bell, _) in &self.threads {
            bell.ring();
        }
        for (_, thread) in self.threads.drain(..) {
            // Whatever ended it, it has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Assists {
    fn drop(&mut self) {
        self.stop();
    }
}
/// A thread with a name.
pub(super) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BootError> {
    thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|source| BootError::Resource { what: "a thread", source })
}
