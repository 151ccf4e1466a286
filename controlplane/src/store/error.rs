//! Why the store refuses or fails, and what an operator does about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store refused or failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the batch did not hold; nothing was written.
    #[error("a condition of the write did not hold")]
    Conflict,
    /// A key, a value or a batch is longer than the store takes.
    #[error("a key, a value or a batch is longer than the store takes")]
    TooLarge,
    /// Too many writes are waiting.
    #[error("too many writes are waiting for the disk")]
    Busy,
    /// The disk is too full to write; nothing was written. Writing goes on by itself once there is space.
    #[error("the disk is full: {free_bytes} bytes are left, and the last 64 MiB are not written")]
    NoSpace {
        /// What is left.
        free_bytes: u64,
    },
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
    /// The journal is not what was written.
    #[error("the journal in {} is damaged ({reason})", path.display())]
    Journal {
        /// The journal's directory.
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
    /// Backups cannot be written or read.
    #[error("cannot use the backups in {}: {reason}", path.display())]
    Backups {
        /// Their directory.
        path: PathBuf,
        /// What the system said.
        reason: Arc<str>,
    },
    /// There is no master key where it should be.
    #[error("cannot use the store's master key {key}: {reason}")]
    KeyUnavailable {
        /// Its place.
        key: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// The master key is not the one that wrapped the store's keys.
    #[error("the master key {key} is not the one this store is sealed under")]
    WrongKey {
        /// Its place.
        key: Arc<str>,
    },
    /// A new master key cannot be put where the old one came from.
    #[error("the master key comes from {key}, where no new one can be put")]
    KeyNotOurs {
        /// Its place.
        key: Arc<str>,
    },
    /// The file of wrapped keys is missing or damaged.
    #[error("cannot use the store's wrapped keys in {}: {reason}", path.display())]
    KeysLost {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness to seal with")]
    NoRandomness,
}

impl StoreError {
    /// What an operator does about it; empty when there is nothing to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Conflict | Self::TooLarge | Self::Busy | Self::NoRandomness => "",
            Self::NoSpace { .. } => "free some space; writing goes on by itself",
            Self::Failed { .. } => "look at the disk (full, failing?) and restart kaigid",
            Self::Locked { .. } => "stop the other one, or give this one its own directory with --data",
            Self::Corrupt { .. } | Self::KeysLost { .. } => {
                "bring back everything from the backups and the journal with `kaigid restore`"
            }
            Self::Journal { .. } => {
                "a moment before the damage can be brought back with `kaigid restore --until`; a store that opens needs its \
                 journal only for going back: move the directory aside"
            }
            Self::Newer { .. } => "run the newer kaigid, or restore a backup made by this one",
            Self::Unreadable { .. } => {
                "check that the directory exists and belongs to the user kaigid runs as"
            }
            Self::Backups { .. } => {
                "check the directory's owner and free space, or name another with --backups"
            }
            Self::KeyUnavailable { .. } => {
                "bring the key back to its place, or name its place with --store-key; `openssl rand -hex 32` \
                 makes one for a new store"
            }
            Self::WrongKey { .. } => "name the key of this store with --store-key",
            Self::KeyNotOurs { .. } => "make one there yourself and name its place with --to",
        }
    }

    /// Whether bringing back backup and journal is the way out.
    #[must_use]
    pub const fn asks_for_restore(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::KeysLost { .. })
    }

    /// A write that the file system refused.
    pub(super) fn from_disk(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { free_bytes: 0 },
            _ => Self::Failed { reason: error.to_string().into() },
        }
    }

    pub(super) fn from_backup_folder(folder: &Path, error: &io::Error) -> Self {
        Self::Backups { path: folder.to_owned(), reason: error.to_string().into() }
    }
}
