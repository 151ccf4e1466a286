//! The embedded engine: sled in `DATA/store`, sealed, one writer thread, group commit, a journal before it.
//!
//! Path: `commit` queues a batch -> the committer gathers what waits -> journal, synced -> sled -> all are answered. While the
//! disk works the next group gathers, so nothing waits for a timer and a lone write waits for one sync.
//! Promises: an answered batch survives power loss; a batch is recovered whole or not at all; opening applies what the journal
//! has and sled lacks, and refuses a store that is not what its own sum says. Opening reads every entry once (about 1 us each).
//! Not here: the group itself (`commit`), sled (`engine`), bringing back a lost store (`recover`).

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::backup::{self, Moment};
use super::commit::{Committer, Work, now};
use super::engine::Engine;
use super::journal::{self, Journal};
use super::layout::Layout;
use super::master::KeySource;
use super::opening::{begin, catch_up, seal_all, unreadable};
use super::recover;
use super::space::Space;
use super::vault::{self, Vault};
use super::watch::{Watch, Watchers};
use super::{Batch, COMMIT_QUEUE, Commit, Entry, Pending, Snapshot, Store, StoreError};

/// The layout of keys and records this program writes: 1 was not sealed.
pub const FORMAT: u32 = 2;
const UNSEALED: u32 = 1;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory, which exists.
    pub data: PathBuf,
    /// Where the master key is.
    pub key: KeySource,
    /// Tables (first bytes of keys) whose keys are names and therefore hidden: found by the whole key, in no order.
    pub hidden: &'static [u8],
    /// Where backups lie; without them there is no base to bring a lost store back from.
    pub backups: Option<PathBuf>,
}

/// A store on the local disk.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    vault: Arc<Vault>,
    options: StoreOptions,
    space: Arc<Space>,
    watchers: Watchers,
    broken: Arc<OnceLock<StoreError>>,
    queue: Option<SyncSender<Work>>,
    committer: Option<JoinHandle<()>>,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens or creates the store.
    ///
    /// # Errors
    /// `Locked`, `Corrupt`, `Newer`, `Unreadable` or what is wrong with its keys, each with a remedy.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let layout = Layout::new(&options.data);
        let lock = layout.lock()?;
        let space = Arc::new(Space::open(&options.data));
        layout.settle()?;
        layout.make(&layout.store())?;
        let engine = Engine::open(&layout.store())?;
        let format = engine.format()?;
        if let Some(found) = format.filter(|format| *format > FORMAT) {
            return Err(StoreError::Newer { path: layout.store(), found, known: FORMAT });
        }
        let vault =
            Vault::open(&options.data, &options.key, options.hidden, format.is_some_and(|f| f > UNSEALED))?;
        let vault = Arc::new(vault);
        let has_journal =
            journal::begins_in(&layout.journal()).map_err(|error| unreadable(&layout, &error))?;
        let (engine, state) = match format {
            None if has_journal => return Err(engine.corrupt("it is empty, and its journal is not")),
            None => {
                let state = begin(Vec::new(), &vault, options)?;
                engine.begin(FORMAT, &state)?;
                (engine, state)
            }
            Some(UNSEALED) => seal_all(engine, &vault, &layout, options)?,
            Some(_) => {
                let state = engine.state()?;
                let state = catch_up(&engine, &vault, &layout, options, state)?;
                (engine, state)
            }
        };
        engine.sync()?;
        let is_kept = options.backups.is_some();
        let journal = Journal::open(&layout.journal(), Arc::clone(&vault), is_kept)
            .map_err(|error| unreadable(&layout, &error))?;
        space.load_ballast();

        let engine = Arc::new(engine);
        let (watchers, broken) = (Watchers::default(), Arc::default());
        let (queue, waiting) = sync_channel(COMMIT_QUEUE);
        let committer = Committer {
            engine: Arc::clone(&engine),
            vault: Arc::clone(&vault),
            journal,
            state,
            space: Arc::clone(&space),
            watchers: watchers.clone(),
            broken: Arc::clone(&broken),
            at: 0,
        };
        let committer = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || committer.run(&waiting))
            .map_err(|error| unreadable(&layout, &error))?;
        Ok(Self {
            engine,
            vault,
            options: options.clone(),
            space,
            watchers,
            broken,
            queue: Some(queue),
            committer: Some(committer),
            _lock: lock,
        })
    }

    /// Everything as of one moment between two batches, for a backup.
    ///
    /// # Errors
    /// The future resolves to `Busy`, or `Corrupt` or `Failed` when something cannot be read.
    pub fn moment(&self) -> Pending<Moment> {
        let (answer, result) = oneshot::channel();
        self.queue(Work::Moment(answer), result)
    }

    /// The lines of a backup of this moment, sealed.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn backup_lines(&self, moment: &Moment) -> Result<Vec<String>, StoreError> {
        backup::lines(moment, &self.vault)
    }

    /// Files a backup and removes those older than `days` but one, and the part of the journal that no backup leads to. Takes
    /// as long as writing everything; call it where that does not matter.
    ///
    /// # Errors
    /// `Backups`, or what [`EmbeddedStore::moment`] says.
    pub fn file_backup(&self, folder: &Path, days: u32) -> Result<PathBuf, StoreError> {
        self.space.check()?;
        let moment = self.moment().wait()?;
        let path = backup::file(&moment, &self.vault, folder)?;
        let oldest = now() - i64::from(days) * recover::DAY_MS;
        recover::prune(folder, &Layout::new(&self.options.data).journal(), oldest)?;
        Ok(path)
    }

    /// When the newest backup in `folder` was made, milliseconds since 1970.
    ///
    /// # Errors
    /// `Backups`.
    pub fn newest_backup(folder: &Path) -> Result<Option<i64>, StoreError> {
        Ok(backup::filed(folder)?.last().map(|filed| filed.at))
    }

    /// Wraps the store's keys anew: with the master key at `to`, or with a new one in the place of the old; with `data_key` new
    /// values are sealed under a new key from now on. Whole or not at all.
    ///
    /// # Errors
    /// `KeyUnavailable`, `KeyNotOurs`, `NoRandomness`, `Unreadable`.
    pub fn rotate_key(&self, to: Option<&KeySource>, data_key: bool) -> Result<(), StoreError> {
        self.vault.rotate(to, data_key)?;
        let (answer, result) = oneshot::channel();
        self.queue(Work::Turn(answer), result).wait()
    }

    /// A secret that lives in a file of its own, sealed with the newest data key and bound to the file's name. A new master key
    /// changes nothing about it.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn seal_file(&self, name: &str, clear: &[u8]) -> Result<Vec<u8>, StoreError> {
        let place = vault::place_of_file(name);
        self.vault.seal(&place, &place, clear)
    }

    /// What such a file holds; `None` for what is not that.
    #[must_use]
    pub fn open_file(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let opened = self.vault.open_entry(&vault::place_of_file(name), sealed);
        opened.ok().map(|(_, clear)| Zeroizing::new(clear))
    }

    /// Opens every entry, which it answers, and reads the whole journal.
    ///
    /// # Errors
    /// `Corrupt` or `Journal` with the first thing that is not what was written.
    pub fn check(&self) -> Result<Vec<Entry>, StoreError> {
        let moment = self.moment().wait()?;
        recover::check_journal(&self.options, &self.vault, &moment)?;
        Ok(moment.entries)
    }

    fn queue<T>(&self, work: Work, result: oneshot::Receiver<Result<T, StoreError>>) -> Pending<T> {
        match self.queue.as_ref().map(|queue| queue.try_send(work)) {
            Some(Ok(())) => Pending::waiting(result),
            Some(Err(TrySendError::Full(_))) => Pending::done(Err(StoreError::Busy)),
            Some(Err(TrySendError::Disconnected(_))) | None => Pending::done(Err(super::gone())),
        }
    }
}

impl Store for EmbeddedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.value(&self.vault, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        // Hidden keys lie in an order of their own: their whole table is looked through.
        let is_hidden = prefix.first().is_some_and(|table| self.options.hidden.contains(table));
        let lies = if is_hidden { &prefix[..1] } else { prefix };
        let start = match after.map(|after| self.vault.place(after)) {
            Some(after) if after.as_slice() >= lies => Bound::Excluded(after),
            _ => Bound::Included(lies.to_vec()),
        };
        let mut entries = Vec::new();
        for entry in self.engine.db.range::<Vec<u8>, _>((start, Bound::Unbounded)) {
            let (place, sealed) = entry.map_err(|error| self.engine.reading(&error))?;
            if entries.len() >= limit || !place.starts_with(lies) {
                break;
            }
            // The store's own entries sort before every table.
            if place.first() == Some(&0) {
                continue;
            }
            let entry = self.engine.opened(&self.vault, &place, &sealed)?;
            if entry.0.starts_with(prefix) {
                entries.push(entry);
            }
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
        self.queue(Work::Everything(answer), result)
    }

    fn watch(&self, prefix: &[u8]) -> Watch {
        self.watchers.watch(prefix)
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.broken.get().cloned().map_or_else(|| self.space.check(), Err)
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

#[cfg(test)]
mod tests {
    use super::super::contract::{entry, holds, options, put, scratch, write_unsealed};
    use std::fs;

    use super::*;

    #[test]
    fn a_second_opener_is_told_who_has_the_store() {
        let data = scratch("locked");
        let first = EmbeddedStore::open(&options(&data)).expect("opens");
        match EmbeddedStore::open(&options(&data)) {
            Err(StoreError::Locked { path }) => assert_eq!(path, data),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened twice"),
        }
        drop(first);
        EmbeddedStore::open(&options(&data)).expect("opens again once the first is gone");
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_store_of_a_newer_kaigid_is_refused() {
        let data = scratch("newer");
        write_unsealed(&data, &[(b"\0format".to_vec(), (FORMAT + 1).to_be_bytes().to_vec())]);
        assert!(matches!(
            EmbeddedStore::open(&options(&data)),
            Err(StoreError::Newer { found: 3, known: 2, .. })
        ));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn what_was_acknowledged_is_there_after_reopening() {
        let data = scratch("reopen");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        for n in 0u32..100 {
            store.commit(Batch::new().put(entry(n).0, vec![7; 5_000])).wait().expect("commits");
        }
        drop(store);
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        for n in 0u32..100 {
            assert_eq!(store.get(&entry(n).0).expect("reads"), Some(vec![7; 5_000]));
        }
        let blobs = fs::read_dir(data.join("store/blobs")).expect("lists").count();
        assert_eq!(blobs, 0, "values of this size stay in the log that group commit syncs");
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn nothing_on_the_disk_shows_a_value_or_a_hidden_key() {
        let data = scratch("sealed");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        store.commit(Batch::new().put(b"\x02Rear Admiral".to_vec(), "1")).wait().expect("commits");
        store.file_backup(&data.join("backups"), 30).expect("files");
        assert_eq!(store.get(b"\x02Rear Admiral"), Ok(Some(b"1".to_vec())));
        drop(store);
        for name in ["Grace Hopper", "Rear Admiral"] {
            assert!(!holds(&data, name.as_bytes()), "{name}");
        }
        fs::remove_dir_all(data).expect("removes");
    }
}
