//! The directories of a store, who may open them, and how one store takes the place of another.
//!
//! `DATA/store` is the store, `DATA/journal` its journal, `DATA/lock` is locked while it is open. A store that is built beside
//! the old one (`store.partial`) gets the name `store.new` once it is whole and durable, and from then on counts: whatever
//! a crash leaves, the next opening finishes or takes away.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StoreError;
use super::files::sync_directory;

/// How long a lock is waited for. A lock lives as long as anybody has the file, also a child between fork and exec, and sled's
/// threads may have theirs a moment longer than sled.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// How long until it is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Tries again as long as somebody has the lock, for a moment.
pub(super) fn patiently<T>(attempt: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(StoreError::Locked { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            result => return result,
        }
    }
}

/// Names and order of a data directory.
pub(super) struct Layout {
    data: PathBuf,
}

impl Layout {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    pub(super) fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    /// Where a store is built.
    pub(super) fn partial(&self) -> PathBuf {
        self.data.join("store.partial")
    }

    /// A whole store that is to take the place of the present one.
    fn fresh(&self) -> PathBuf {
        self.data.join("store.new")
    }

    fn old(&self) -> PathBuf {
        self.data.join("store.old")
    }

    /// Keeps others out until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        patiently(|| self.try_lock())
    }

    fn try_lock(&self) -> Result<File, StoreError> {
        let path = self.data.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = opened.map_err(|error| self.unreadable(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: self.data.clone() }),
            Err(TryLockError::Error(error)) => Err(self.unreadable(&error)),
        }
    }

    /// Finishes or takes away what a crash left of building a store.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.try_settle().map_err(|error| self.unreadable(&error))
    }

    fn try_settle(&self) -> io::Result<()> {
        if self.fresh().exists() {
            self.take_place()?;
        }
        for leftover in [self.partial(), self.old()] {
            if leftover.exists() {
                fs::remove_dir_all(leftover)?;
            }
        }
        Ok(())
    }

    /// Makes the store's directory, private to its owner.
    pub(super) fn make(&self, store: &Path) -> Result<(), StoreError> {
        let made = fs::create_dir_all(store)
            .and_then(|()| fs::set_permissions(store, Permissions::from_mode(0o700)))
            .and_then(|()| sync_directory(&self.data));
        made.map_err(|error| self.unreadable(&error))
    }

    /// The store that was built is whole: it takes the present one's place, which goes.
    pub(super) fn install(&self) -> Result<(), StoreError> {
        let installed = sync_directory(&self.partial())
            .and_then(|()| fs::rename(self.partial(), self.fresh()))
            .and_then(|()| sync_directory(&self.data))
            .and_then(|()| self.try_settle());
        installed.map_err(|error| self.unreadable(&error))
    }

    /// Moves the present store out of the way without taking anything from it; answers where it is.
    pub(super) fn set_aside(&self, at: i64) -> Result<Option<PathBuf>, StoreError> {
        if !self.store().exists() {
            return Ok(None);
        }
        let aside = self.data.join(format!("store.damaged-{at}"));
        let moved = fs::rename(self.store(), &aside).and_then(|()| sync_directory(&self.data));
        moved.map_err(|error| self.unreadable(&error)).map(|()| Some(aside))
    }

    fn take_place(&self) -> io::Result<()> {
        if self.store().exists() {
            fs::rename(self.store(), self.old())?;
        }
        fs::rename(self.fresh(), self.store())?;
        sync_directory(&self.data)
    }

    fn unreadable(&self, error: &io::Error) -> StoreError {
        StoreError::Unreadable { path: self.store(), reason: error.to_string().into() }
    }
}
