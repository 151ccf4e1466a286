//! The embedded engine: sled in `DATA/store`, one writer thread, group commit.
//!
//! Path: `commit` queues a batch -> the committer applies everything that waits -> one `flush` and one `fdatasync` -> all are
//! answered. While the disk works the next group gathers, so nothing waits for a timer and a lone write waits for one sync.
//! Promises: an answered batch survives power loss. sled's own flush is `sync_file_range`, which orders pages but does not
//! empty the disk's cache nor write the file's size; the `fdatasync` on its log does. A batch is one sled batch on one tree,
//! recovered whole or not at all. After a failed sync the store takes no more writes: what reached the disk is unknown then.

use std::fs::{self, File, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Batch, COMMIT_QUEUE, Commit, Entry, Pending, Snapshot, Store, StoreError};

/// Batches applied before one sync. 256 x ~4 writes of ~1 KiB is ~1 MiB of log, a few milliseconds on a disk.
const GROUP_MAX: usize = 256;
/// Memory sled may use for pages.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// The layout of keys and records this program writes.
pub const FORMAT: u32 = 1;
/// Where the format is kept; sorts before every table.
const FORMAT_KEY: &[u8] = b"\0format";

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What waits for the committer.
enum Work {
    Write(Batch, Answer<()>),
    Snapshot(Answer<Vec<Entry>>),
}

/// A store on the local disk.
pub struct EmbeddedStore {
    db: sled::Db,
    path: PathBuf,
    queue: Option<SyncSender<Work>>,
    committer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens or creates the store under the data directory `data`, which must exist.
    ///
    /// # Errors
    /// `Locked`, `Corrupt`, `Newer` or `Unreadable`, each with a remedy.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let path = data.join("store");
        let unreadable = |error: io::Error| StoreError::Unreadable {
            path: path.clone(),
            reason: error.to_string().into(),
        };
        fs::create_dir_all(&path).map_err(unreadable)?;
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(unreadable)?;
        let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        // sled asserts on some kinds of damage instead of returning an error.
        let opened =
            catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| corrupt(&path, "sled panicked"))?;
        let db = opened.map_err(|error| opening(data, &path, &error))?;
        let log = File::options().read(true).write(true).open(path.join("db")).map_err(unreadable)?;
        // The files' names must be as durable as their contents.
        for directory in [&path, data] {
            File::open(directory).and_then(|d| d.sync_all()).map_err(unreadable)?;
        }
        check_format(&db, &path)?;
        sync(&db, &log)?;

        let (queue, waiting) = sync_channel(COMMIT_QUEUE);
        let committer = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn({
                let db = db.clone();
                move || commit_groups(&db, &log, &waiting)
            })
            .map_err(unreadable)?;
        Ok(Self { db, path, queue: Some(queue), committer: Some(committer) })
    }

    fn queue<T>(&self, work: Work, result: oneshot::Receiver<Result<T, StoreError>>) -> Pending<T> {
        match self.queue.as_ref().map(|queue| queue.try_send(work)) {
            Some(Ok(())) => Pending::waiting(result),
            Some(Err(TrySendError::Full(_))) => Pending::done(Err(StoreError::Busy)),
            Some(Err(TrySendError::Disconnected(_))) | None => Pending::done(Err(super::gone())),
        }
    }

    fn reading(&self, error: &sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => corrupt(&self.path, "a page failed its checksum"),
            other => failed(other),
        }
    }
}

impl Store for EmbeddedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get(key).map_err(|e| self.reading(&e))?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut entries = Vec::new();
        for entry in self.db.range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
            let (key, value) = entry.map_err(|e| self.reading(&e))?;
            if !key.starts_with(prefix) {
                break;
            }
            entries.push((key.to_vec(), value.to_vec()));
        }
        Ok(entries)
    }

    fn commit(&self, batch: Batch) -> Commit {
        if !batch.fits() {
            return Commit::done(Err(StoreError::TooLarge));
        }
        let (answer, result) = oneshot::channel();
        self.queue(Work::Write(batch, answer), result)
    }

    fn snapshot(&self) -> Snapshot {
        let (answer, result) = oneshot::channel();
        self.queue(Work::Snapshot(answer), result)
    }
}

impl Drop for EmbeddedStore {
    /// Commits what is queued, then closes.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
    }
}

/// The committer thread: one group after another until the store is dropped.
fn commit_groups(db: &sled::Db, log: &File, waiting: &Receiver<Work>) {
    let mut broken: Option<StoreError> = None;
    let mut group = Vec::with_capacity(GROUP_MAX);
    while let Ok(first) = waiting.recv() {
        let more = waiting.try_iter().take(GROUP_MAX - 1);
        let mut wrote = false;
        for work in std::iter::once(first).chain(more) {
            let (batch, answer) = match work {
                Work::Write(batch, answer) => (batch, answer),
                Work::Snapshot(answer) => {
                    let _ = answer.send(everything(db));
                    continue;
                }
            };
            let result = match &broken {
                Some(error) => Err(error.clone()),
                None => apply(db, batch),
            };
            wrote |= result.is_ok();
            if let Err(error @ StoreError::Failed { .. }) = &result {
                broken = Some(error.clone());
            }
            group.push((answer, result));
        }
        let synced = if wrote { sync(db, log) } else { Ok(()) };
        if let Err(error) = &synced {
            broken = Some(error.clone());
        }
        for (answer, result) in group.drain(..) {
            let _ = answer.send(result.and(synced.clone()));
        }
    }
}

/// Checks the conditions and applies the writes. Only the committer writes, so nothing changes in between.
fn apply(db: &sled::Db, batch: Batch) -> Result<(), StoreError> {
    for (key, value) in &batch.conditions {
        let found = db.get(key).map_err(|e| failed(&e))?;
        if found.as_deref() != value.as_deref() {
            return Err(StoreError::Conflict);
        }
    }
    let mut writes = sled::Batch::default();
    for (key, value) in batch.writes {
        match value {
            Some(value) => writes.insert(key, value),
            None => writes.remove(key),
        }
    }
    db.apply_batch(writes).map_err(|e| failed(&e))
}

/// All entries but the store's own.
fn everything(db: &sled::Db) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for entry in db.iter() {
        let (key, value) = entry.map_err(|e| failed(&e))?;
        if key != FORMAT_KEY {
            entries.push((key.to_vec(), value.to_vec()));
        }
    }
    Ok(entries)
}

fn sync(db: &sled::Db, log: &File) -> Result<(), StoreError> {
    db.flush().map_err(|e| failed(&e))?;
    log.sync_data().map_err(|e| StoreError::Failed { reason: e.to_string().into() })
}

fn check_format(db: &sled::Db, path: &Path) -> Result<(), StoreError> {
    match db.get(FORMAT_KEY).map_err(|e| failed(&e))? {
        None => {
            db.insert(FORMAT_KEY, &FORMAT.to_be_bytes()).map_err(|e| failed(&e))?;
            Ok(())
        }
        Some(bytes) => {
            let bytes: [u8; 4] =
                bytes.as_ref().try_into().map_err(|_| corrupt(path, "its format is unreadable"))?;
            let found = u32::from_be_bytes(bytes);
            if found > FORMAT {
                return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
            }
            Ok(())
        }
    }
}

fn opening(data: &Path, path: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            StoreError::Locked { path: data.to_owned() }
        }
        sled::Error::Io(io) => {
            StoreError::Unreadable { path: path.to_owned(), reason: io.to_string().into() }
        }
        sled::Error::Corruption { .. } => corrupt(path, "a page failed its checksum"),
        other => corrupt(path, &other.to_string()),
    }
}

fn corrupt(path: &Path, reason: &str) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), reason: Arc::from(reason) }
}

fn failed(error: &sled::Error) -> StoreError {
    StoreError::Failed { reason: error.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_has_the_store() {
        let data = super::super::contract::scratch("locked");
        let first = EmbeddedStore::open(&data).expect("opens");
        match EmbeddedStore::open(&data) {
            Err(StoreError::Locked { path }) => assert_eq!(path, data),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened twice"),
        }
        drop(first);
        EmbeddedStore::open(&data).expect("opens again once the first is gone");
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_store_of_a_newer_kaigid_is_refused() {
        let data = super::super::contract::scratch("newer");
        let store = EmbeddedStore::open(&data).expect("opens");
        store.commit(Batch::new().put(FORMAT_KEY, (FORMAT + 1).to_be_bytes())).wait().expect("writes");
        drop(store);
        assert!(matches!(EmbeddedStore::open(&data), Err(StoreError::Newer { found: 2, known: 1, .. })));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn what_was_acknowledged_is_there_after_reopening() {
        let data = super::super::contract::scratch("reopen");
        let store = EmbeddedStore::open(&data).expect("opens");
        for n in 0u32..100 {
            store.commit(Batch::new().put(n.to_be_bytes(), vec![7; 5_000])).wait().expect("commits");
        }
        drop(store);
        let store = EmbeddedStore::open(&data).expect("opens");
        for n in 0u32..100 {
            assert_eq!(store.get(&n.to_be_bytes()).expect("reads"), Some(vec![7; 5_000]));
        }
        let blobs = fs::read_dir(data.join("store/blobs")).expect("lists").count();
        assert_eq!(blobs, 0, "values of this size stay in the log that group commit syncs");
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }
}
