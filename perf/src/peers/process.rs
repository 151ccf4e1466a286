//! A peer as a child process: in the server's namespace, on the server's CPU, ended with the run.

use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result, bail};

use crate::forward::link::Link;
use crate::meter::{self, Meter};
use crate::sys;

/// A running child; dropping it ends it.
pub struct Process {
    child: Child,
    name: &'static str,
    /// Resident memory before anybody joined.
    resident_before: u64,
}

impl Process {
    /// Starts it on the server's side of a link. The child inherits namespace and CPU from the thread that makes it.
    pub fn start(name: &'static str, link: &Link, cpu: usize, command: &mut Command) -> Result<Self> {
        let child = link.on_server(|| {
            sys::pin(cpu)
                .with_context(|| format!("cannot pin {name} to CPU {cpu}: choose one with --cpu-server"))?;
            command.spawn().with_context(|| format!("cannot start {name}"))
        })?;
        Ok(Self { child, name, resident_before: 0 })
    }

    /// It is up: what it takes from now on is for its participants.
    pub fn settle(&mut self) {
        self.resident_before = self.resident_bytes().unwrap_or_default();
    }

    /// The child, for its pipes.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// An error when it has ended.
    pub fn check(&mut self) -> Result<()> {
        let ended: Option<ExitStatus> = self.child.try_wait().context("cannot ask for a child")?;
        if let Some(status) = ended {
            bail!("{} has ended: {status}", self.name);
        }
        Ok(())
    }

    /// A meter of all its threads.
    pub fn meter(&self, tsc_hz: f64) -> Result<Meter> {
        Meter::of_process(self.child.id(), tsc_hz)
    }

    /// Resident memory since [`Self::settle`], bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        Some(self.resident_bytes()?.saturating_sub(self.resident_before))
    }

    fn resident_bytes(&self) -> Option<u64> {
        meter::resident_bytes(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that has ended already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
