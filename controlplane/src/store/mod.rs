//! What survives a restart: a small ordered key-value interface and its engines.
//!
//! Path: `service` -> here -> disk. Promises: a batch is applied whole or not at all, conditions and writes of one batch are
//! one step (compare-and-set), and a batch that was answered with `Ok` survives power loss (where the engine has a disk).
//! A read sees only what is durable. On the disk values, journal and backups are sealed (`vault`, `journal`, `backup`).
//! Not here: what keys and records mean (`service::records`).

pub mod backup;
mod commit;
#[cfg(test)]
mod contract;
pub mod embedded;
mod engine;
mod error;
pub(crate) mod files;
mod journal;
mod keyring;
mod layout;
pub mod master;
pub mod memory;
mod opening;
mod place;
pub mod recover;
mod seal;
pub mod space;
mod vault;
pub mod watch;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

pub use embedded::{EmbeddedStore, StoreOptions};
pub use error::StoreError;
pub use master::KeySource;
pub use memory::MemoryStore;
pub use watch::{Watch, WatchError};

/// Longest key, bytes: table, two numbers and a 100-character name in UTF-8 fit.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, bytes. The embedded engine keeps up to 17 entries in one page and pages above 128 KiB leave its log for
/// files of their own, which group commit does not sync: 17 x (6 KiB + 2 x 512 B + 47 B of seal) = 120 KiB stays below. A
/// hidden key is sealed with its value, hence twice.
pub const VALUE_BYTES_MAX: usize = 6 * 1024;
const _: () = assert!(17 * (VALUE_BYTES_MAX + 2 * KEY_BYTES_MAX + vault::SEAL_BYTES) < 128 * 1024);
/// Most bytes of keys and values in one batch: 256 of the longest entries fit.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
const _: () = assert!(256 * (VALUE_BYTES_MAX + KEY_BYTES_MAX + 6) < BATCH_BYTES_MAX);
/// The committer gathers until a group is this long; the batch that goes beyond still belongs to it.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// Batches waiting for the committer; one flush takes them all. Full means [`StoreError::Busy`].
pub const COMMIT_QUEUE: usize = 4_096;

/// Key and value bytes of one entry.
pub type Entry = (Vec<u8>, Vec<u8>);
/// A key that was written with its new value, or `None` where it was removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Writes that happen together, and what must hold for them to happen.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    pub(crate) conditions: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) writes: Vec<Change>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The batch happens only if `key` holds exactly `value` (`None`: is absent).
    #[must_use]
    pub fn expect(mut self, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        self.conditions.push((key.into(), value));
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push((key.into(), Some(value.into())));
        self
    }

    /// Removes `key`; nothing happens if it is absent.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.writes.push((key.into(), None));
        self
    }

    fn fits(&self) -> bool {
        self.bytes() <= BATCH_BYTES_MAX
            && self.writes.iter().all(|(key, value)| {
                key.len() <= KEY_BYTES_MAX && value.as_ref().is_none_or(|v| v.len() <= VALUE_BYTES_MAX)
            })
    }

    /// What the writes take in the journal.
    fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 6).sum()
    }
}

/// An answer of the committer on its way; resolves once it is there. Dropping it takes nothing back.
#[must_use = "a write is acknowledged only once this resolves"]
pub struct Pending<T>(Inner<T>);

/// A batch on its way to the disk; resolves once it is durable or refused.
pub type Commit = Pending<()>;
/// All entries of one moment between two batches, in key order.
pub type Snapshot = Pending<Vec<Entry>>;

enum Inner<T> {
    Done(Option<Result<T, StoreError>>),
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
}

impl<T> Pending<T> {
    pub(crate) const fn done(result: Result<T, StoreError>) -> Self {
        Self(Inner::Done(Some(result)))
    }

    pub(crate) const fn waiting(answer: oneshot::Receiver<Result<T, StoreError>>) -> Self {
        Self(Inner::Waiting(answer))
    }

    /// Waits on a thread that runs no async work.
    ///
    /// # Errors
    /// What the future would resolve to.
    pub fn wait(self) -> Result<T, StoreError> {
        match self.0 {
            Inner::Done(result) => result.unwrap_or_else(|| Err(gone())),
            Inner::Waiting(answer) => answer.blocking_recv().unwrap_or_else(|_| Err(gone())),
        }
    }
}

impl<T: Unpin> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Inner::Done(result) => Poll::Ready(result.take().unwrap_or_else(|| Err(gone()))),
            Inner::Waiting(answer) => {
                Pin::new(answer).poll(context).map(|got| got.unwrap_or_else(|_| Err(gone())))
            }
        }
    }
}

fn gone() -> StoreError {
    StoreError::Failed { reason: "the store is closed".into() }
}

/// An ordered key-value store. Calls do not wait for the disk; [`Commit`] does.
pub trait Store: Send + Sync + 'static {
    /// The value at `key`.
    ///
    /// # Errors
    /// `Failed` or `Corrupt` when the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` entries whose keys start with `prefix`, in key order, beginning right after key `after`.
    ///
    /// # Errors
    /// `Failed` or `Corrupt` when the engine cannot read.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Applies a batch. Batches take effect in the order of their calls.
    ///
    /// # Errors
    /// The future resolves to `Conflict` if a condition did not hold, `TooLarge`, `Busy`, `NoSpace`, or `Failed`.
    fn commit(&self, batch: Batch) -> Commit;

    /// Everything the store holds, as of one moment between two batches. Writes wait while it is taken.
    ///
    /// # Errors
    /// The future resolves to `Busy`, or `Failed` when the engine cannot read.
    fn snapshot(&self) -> Snapshot;

    /// Every change below `prefix` from now on, once it is durable. Bounded: whoever falls behind is told so.
    fn watch(&self, prefix: &[u8]) -> Watch;

    /// Whether writes are taken.
    ///
    /// # Errors
    /// `NoSpace` as long as the disk is too full, `Failed` for good.
    fn ready(&self) -> Result<(), StoreError>;
}
