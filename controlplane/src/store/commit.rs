//! The committer: the one thread that writes, one group after another until the store is dropped.
//!
//! A group is whatever waits. Its batches are checked in order against the store and each other; what they write goes into the
//! journal (one write, one `fdatasync`), then into sled as one batch, then all are answered, then sled is synced while the next
//! group gathers. So an acknowledgement waits for one sync, a lone write for no timer, and sled is never ahead of the journal.
//! Promises: nothing is tried below the reserve of free space; after an error that leaves the disk in an unknown state nothing
//! more is written.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::backup::Moment;
use super::engine::{Engine, State};
use super::journal::Journal;
use super::space::Space;
use super::vault::Vault;
use super::watch::Watchers;
use super::{Batch, Change, Entry, GROUP_BYTES_MAX, StoreError};

/// Batches of one group. 256 x ~4 writes of ~1 KiB is ~1 MiB of journal, a few milliseconds on a disk.
const GROUP_MAX: usize = 256;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What waits for the committer.
pub(super) enum Work {
    Write(Batch, Answer<()>),
    Moment(Answer<Moment>),
    Everything(Answer<Vec<Entry>>),
    /// The next group begins a new segment of the journal.
    Turn(Answer<()>),
}

/// What the committer needs and owns.
pub(super) struct Committer {
    pub(super) engine: Arc<Engine>,
    pub(super) vault: Arc<Vault>,
    pub(super) journal: Journal,
    pub(super) state: State,
    pub(super) space: Arc<Space>,
    pub(super) watchers: Watchers,
    /// Set by the first failure that leaves the disk in an unknown state.
    pub(super) broken: Arc<OnceLock<StoreError>>,
    /// The latest moment that was given to a group: moments never go back.
    pub(super) at: i64,
}

/// Batches that become durable together.
#[derive(Default)]
struct Group {
    batches: Vec<(Batch, Answer<()>)>,
    bytes: usize,
}

impl Committer {
    /// Works until nobody can send any more.
    pub(super) fn run(mut self, waiting: &Receiver<Work>) {
        while let Ok(first) = waiting.recv() {
            let mut group = Group::default();
            let mut next = Some(first);
            let mut other = None;
            while let Some(work) = next {
                match work {
                    Work::Write(batch, answer) => {
                        group.bytes += batch.bytes();
                        group.batches.push((batch, answer));
                    }
                    work => {
                        other = Some(work);
                        break;
                    }
                }
                let full = group.batches.len() >= GROUP_MAX || group.bytes >= GROUP_BYTES_MAX;
                next = if full { None } else { waiting.try_recv().ok() };
            }
            if !group.batches.is_empty() {
                self.commit(group);
            }
            match other {
                Some(Work::Moment(answer)) => drop(answer.send(self.moment())),
                Some(Work::Everything(answer)) => drop(answer.send(self.engine.everything(&self.vault))),
                Some(Work::Turn(answer)) => {
                    self.journal.turn();
                    let _ = answer.send(Ok(()));
                }
                Some(Work::Write(..)) | None => {}
            }
        }
    }

    fn commit(&mut self, group: Group) {
        let refused = self.broken.get().cloned().map_or_else(|| self.space.check(), Err);
        if let Err(error) = refused {
            for (_, answer) in group.batches {
                let _ = answer.send(Err(error.clone()));
            }
            return;
        }
        let mut latest: HashMap<Vec<u8>, Option<Vec<u8>>> = HashMap::new();
        let mut changes: Vec<Change> = Vec::new();
        let mut accepted = Vec::with_capacity(group.batches.len());
        for (batch, answer) in group.batches {
            match self.holds(&batch, &latest) {
                Ok(()) => {
                    latest.extend(batch.writes.iter().cloned());
                    changes.extend(batch.writes);
                    accepted.push(answer);
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let written = self.write(&changes);
        if written.is_ok() {
            // Before the answers: whoever watches from an answer on sees nothing of before it.
            self.watchers.tell(changes);
        }
        for answer in accepted {
            let _ = answer.send(written.clone());
        }
        if written.is_ok() {
            // The journal has the group: a failure here costs nothing that was acknowledged, and ends writing.
            let _ = self.noting(self.engine.sync());
            self.space.load_ballast();
        }
    }

    /// Whether the conditions of a batch hold after the batches before it.
    fn holds(&self, batch: &Batch, latest: &HashMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), StoreError> {
        for (key, wanted) in &batch.conditions {
            let found = match latest.get(key) {
                Some(value) => value.clone(),
                None => self.engine.value(&self.vault, key)?,
            };
            if found != *wanted {
                return Err(StoreError::Conflict);
            }
        }
        Ok(())
    }

    /// Makes a group durable, then visible.
    fn write(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.at = now().max(self.at);
        let appended = self.journal.append(&self.state.place, self.at, changes);
        let place = self.noting(appended)?;
        let applied = self.engine.write(&self.vault, changes, place, self.state.sum);
        // The journal and sled differ now unless it was applied: no group may follow.
        self.state = applied.map_err(|error| {
            let error = StoreError::Failed { reason: error.to_string().into() };
            self.broken.get_or_init(|| error).clone()
        })?;
        Ok(())
    }

    /// Remembers a failure that leaves the disk in an unknown state.
    fn noting<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Failed { .. }) = &result {
            self.broken.get_or_init(|| error.clone());
        }
        result
    }

    fn moment(&self) -> Result<Moment, StoreError> {
        let entries = self.engine.everything(&self.vault)?;
        Ok(Moment { entries, place: self.state.place, at: now().max(self.at) })
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
