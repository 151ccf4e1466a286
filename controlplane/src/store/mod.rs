//! What survives a restart: a small ordered key-value interface and its engines.
//!
//! Path: `service` -> here -> disk. Promises: a batch is applied whole or not at all, conditions and writes of one batch are
//! one step (compare-and-set), and a batch that was answered with `Ok` survives power loss (where the engine has a disk).
//! A read may see a batch a few milliseconds before it is durable; nobody is told it succeeded before that.
//! Not here: what keys and records mean (`service::records`).

#[cfg(test)]
mod contract;
pub mod embedded;
pub mod memory;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;

/// Longest key, bytes: table, two numbers and a 100-character name in UTF-8 fit.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, bytes. The embedded engine keeps up to 17 entries in one page and pages above 128 KiB leave its log for
/// files of their own, which group commit does not sync: 17 x (6 KiB + 512 B) = 110 KiB stays below.
pub const VALUE_BYTES_MAX: usize = 6 * 1024;
const _: () = assert!(17 * (VALUE_BYTES_MAX + KEY_BYTES_MAX) < 128 * 1024);

/// Batches waiting for the committer; one flush takes them all. Full means [`StoreError::Busy`].
pub const COMMIT_QUEUE: usize = 4_096;

/// Why the store refused or failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the batch did not hold; nothing was written.
    #[error("a condition of the write did not hold")]
    Conflict,
    /// A key or value is longer than the store takes.
    #[error("a key or value is longer than the store takes")]
    TooLarge,
    /// Too many writes are waiting.
    #[error("too many writes are waiting for the disk")]
    Busy,
    /// The disk failed; the store takes no more writes until it is opened again, for what reached the disk is unknown.
    #[error("the store failed and takes no more writes: {reason}")]
    Failed {
        /// What the system said.
        reason: Arc<str>,
    },
    /// Another process has the store open.
    #[error("another kaigid uses the data directory {}", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// What is on the disk is not what was written.
    #[error("the store in {} is damaged ({reason})", path.display())]
    Corrupt {
        /// The store's directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The store was written by a newer kaigid.
    #[error("the store in {} has format {found}, this kaigid knows up to {known}", path.display())]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// It could not be opened.
    #[error("cannot open the store in {}: {reason}", path.display())]
    Unreadable {
        /// The store's directory.
        path: PathBuf,
        /// What the system said.
        reason: Arc<str>,
    },
}

impl StoreError {
    /// What an operator does about it; empty when there is nothing to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Conflict | Self::TooLarge | Self::Busy => "",
            Self::Failed { .. } => "look at the disk (full, failing?) and restart kaigid",
            Self::Locked { .. } => "stop the other one, or give this one its own directory with --data",
            Self::Corrupt { .. } => {
                "move the data directory aside and bring back a backup with `kaigid restore FILE`"
            }
            Self::Newer { .. } => "run the newer kaigid, or restore a backup made by this one",
            Self::Unreadable { .. } => {
                "check that the directory exists and belongs to the user kaigid runs as"
            }
        }
    }
}

/// Key and value bytes of one entry.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Writes that happen together, and what must hold for them to happen.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    pub(crate) conditions: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
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
        self.writes.iter().all(|(key, value)| {
            key.len() <= KEY_BYTES_MAX && value.as_ref().is_none_or(|v| v.len() <= VALUE_BYTES_MAX)
        })
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
    /// The future resolves to `Conflict` if a condition did not hold, `TooLarge`, `Busy`, or `Failed`.
    fn commit(&self, batch: Batch) -> Commit;

    /// Everything the store holds, as of one moment between two batches. Writes wait while it is taken.
    ///
    /// # Errors
    /// The future resolves to `Busy`, or `Failed` when the engine cannot read.
    fn snapshot(&self) -> Snapshot;
}
