//! Bringing a store back: the newest backup before a moment, and the journal from there on.
//!
//! Promises: what was acknowledged before the moment is there, what came after it is not; the store that was there is set
//! aside, never deleted; a crash in the middle leaves the journal and the backups as they were, and the command can be repeated.
//! A restored store begins a new history with a backup of its own as base; older histories stay as long as their backups.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{self, BackupError, Moment};
use super::commit::now;
use super::embedded::{FORMAT, StoreOptions};
use super::engine::{Engine, State};
use super::journal;
use super::keyring::Keyring;
use super::layout::Layout;
use super::place::{Place, Sum};
use super::vault::Vault;
use super::{Entry, StoreError};

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Entries written per batch while building a store.
const BUILD_CHUNK: usize = 256;

/// Why a store cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store, its keys or its journal.
    #[error("{error}{}{}", if .error.remedy().is_empty() { "" } else { "; " }, .error.remedy())]
    Store {
        /// What is wrong.
        error: StoreError,
    },
    /// A file that is no backup.
    #[error("cannot restore {}: {error}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: BackupError,
    },
    /// A file that cannot be read.
    #[error("cannot restore {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No backup is old enough.
    #[error("there is no backup of before that moment in {}; name another directory with --backups", path.display())]
    NoBackup {
        /// Where backups are looked for.
        path: PathBuf,
    },
    /// There is a store already.
    #[error("{} exists; stop kaigid and move it aside first, nothing is overwritten", path.display())]
    Exists {
        /// The store.
        path: PathBuf,
    },
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store { error }
    }
}

/// What was brought back.
#[derive(Debug)]
pub struct Restored {
    /// Entries of the store now.
    pub entries: usize,
    /// The backup it began with.
    pub backup: PathBuf,
    /// Groups of writes that the journal added.
    pub groups: u64,
    /// Whether the journal ends before the backup: then only the backup came back.
    pub lacks_journal: bool,
    /// Where the store is that was there before.
    pub set_aside: Option<PathBuf>,
}

/// Brings back exactly what one backup holds, into a directory without a store.
///
/// # Errors
/// See [`RestoreError`].
pub fn from_file(options: &StoreOptions, file: &Path) -> Result<Restored, RestoreError> {
    let layout = Layout::new(&options.data);
    let in_the_way = || match layout.store().exists() {
        true => Err(RestoreError::Exists { path: layout.store() }),
        false => Ok(()),
    };
    in_the_way()?;
    let _lock = layout.lock()?;
    layout.settle()?;
    in_the_way()?;
    let (vault, moment, _) = read_base(options, file)?;
    let entries = moment.entries.len();
    install(moment.entries, &vault, &layout, options)?;
    Ok(Restored { entries, backup: file.to_owned(), groups: 0, lacks_journal: false, set_aside: None })
}

/// Brings back what was there at the moment `until` (milliseconds since 1970), or all there is: the newest backup of before it
/// and the journal. The present store is set aside.
///
/// # Errors
/// See [`RestoreError`].
pub fn from_journal(options: &StoreOptions, until: Option<i64>) -> Result<Restored, RestoreError> {
    let folder = options.backups.clone().unwrap_or_default();
    let layout = Layout::new(&options.data);
    let _lock = layout.lock()?;
    layout.settle()?;
    let filed = backup::filed(&folder)?;
    let old_enough = || filed.iter().rev().filter(|filed| until.is_none_or(|until| filed.at <= until));
    let newest = old_enough().next().ok_or(RestoreError::NoBackup { path: folder })?;
    // Where the newest is damaged, an older one of its history leads to the same through more of the journal.
    let mut same_history = old_enough().filter(|filed| filed.place.history == newest.place.history);
    let readable = same_history.find_map(|filed| Some((filed, read_base(options, &filed.path).ok()?)));
    let (base, (vault, moment, brought)) = match readable {
        Some(readable) => readable,
        None => (newest, read_base(options, &newest.path)?),
    };
    let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = moment.entries.into_iter().collect();
    let mut groups = 0;
    let own = vault.ring();
    let rings: Vec<&Keyring> = std::iter::once(&*own).chain(brought.as_ref()).collect();
    let replayed = journal::replay(&layout.journal(), &rings, &moment.place, until, &mut |frame, _| {
        groups += 1;
        for (key, value) in frame.writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    })?;
    let set_aside = layout.set_aside(now())?;
    let count = entries.len();
    install(entries.into_iter().collect(), &vault, &layout, options)?;
    let (backup, lacks_journal) = (base.path.clone(), replayed.behind);
    Ok(Restored { entries: count, backup, groups, lacks_journal, set_aside })
}

/// Reads a backup with the keys of the data directory, or, where it has none, with those the backup brings along.
fn read_base(options: &StoreOptions, file: &Path) -> Result<(Vault, Moment, Option<Keyring>), RestoreError> {
    let text =
        fs::read_to_string(file).map_err(|error| RestoreError::File { path: file.to_owned(), error })?;
    let wrong = |error| RestoreError::Backup { path: file.to_owned(), error };
    let vault = match backup::wrapped_keys(&text).map_err(wrong)? {
        Some(wrapped) => Vault::adopt(&options.data, &options.key, options.hidden, &wrapped)?,
        None => Vault::open(&options.data, &options.key, options.hidden, false)?,
    };
    let (moment, brought) = backup::read(&text, &vault).map_err(wrong)?;
    Ok((vault, moment, brought))
}

/// Builds a store of these entries, at the beginning of a new history, and lets it take the place of the present one.
pub(super) fn install(
    entries: Vec<Entry>,
    vault: &Vault,
    layout: &Layout,
    options: &StoreOptions,
) -> Result<(), StoreError> {
    let moment = Moment { entries, place: Place::begin()?, at: now() };
    if let Some(folder) = &options.backups {
        backup::file(&moment, vault, folder)?;
    }
    layout.make(&layout.partial())?;
    let engine = Engine::open(&layout.partial())?;
    let mut state = State { place: moment.place, sum: Sum::default() };
    for chunk in moment.entries.chunks(BUILD_CHUNK) {
        let writes: Vec<_> = chunk.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        state = engine.write(vault, &writes, moment.place, state.sum)?;
    }
    engine.begin(FORMAT, &state)?;
    drop(engine);
    layout.install()
}

/// Removes backups of before `oldest` (milliseconds since 1970) except the newest, and the journal that no backup leads to.
pub(super) fn prune(folder: &Path, journal: &Path, oldest: i64) -> Result<(), StoreError> {
    let mut filed = backup::filed(folder)?;
    let newest = filed.pop();
    let (old, mut kept): (Vec<_>, Vec<_>) = filed.into_iter().partition(|filed| filed.at < oldest);
    for filed in old {
        fs::remove_file(&filed.path).map_err(|error| StoreError::from_backup_folder(folder, &error))?;
    }
    kept.extend(newest);
    let kept: Vec<_> = kept.iter().map(|filed| (filed.place.history, filed.place.seq)).collect();
    journal::trim(journal, &kept)
        .map(drop)
        .map_err(|error| StoreError::Journal { path: journal.to_owned(), reason: error.to_string().into() })
}

/// Reads the journal from the oldest backup of the store's history to its end.
pub(super) fn check_journal(
    options: &StoreOptions,
    vault: &Vault,
    moment: &Moment,
) -> Result<(), StoreError> {
    let filed = options.backups.as_deref().map(backup::filed).transpose()?.unwrap_or_default();
    let oldest = filed.iter().find(|filed| filed.place.history == moment.place.history);
    let from = oldest.map_or(moment.place, |filed| filed.place);
    let journal = Layout::new(&options.data).journal();
    journal::replay(&journal, &[&vault.ring()], &from, None, &mut |_, _| Ok(())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::contract::{entry, everything, options, put, scratch};
    use super::super::{Batch, EmbeddedStore, Store};
    use super::*;

    #[test]
    fn a_backup_taken_under_load_is_what_the_journal_says_of_its_moment() {
        let data = scratch("under-load");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        let moments: Vec<Moment> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0u32..4)
                .map(|writer| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..200 {
                            // Two entries that come and go together, and a third of everybody's.
                            let (one, other) =
                                (entry(writer * 1_000 + n / 3), entry(writer * 1_000 + 500 + n / 3));
                            let batch = Batch::new().put(entry(9_999).0, n.to_be_bytes());
                            let batch = match n % 3 {
                                0 => batch.put(one.0, one.1).put(other.0, other.1),
                                1 => batch.put(one.0, "again").put(other.0, "again"),
                                _ => batch.delete(one.0).delete(other.0),
                            };
                            store.commit(batch).wait().expect("commits");
                        }
                    })
                })
                .collect();
            let mut moments = Vec::new();
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                moments.push(store.moment().wait().expect("reads"));
            }
            moments
        });
        let text: Vec<String> =
            moments.iter().map(|moment| store.backup_lines(moment).expect("seals").join("\n")).collect();
        let vault = Vault::open(&data, &options(&data).key, options(&data).hidden, true).expect("opens");
        let base = backup::filed(&data.join("backups")).expect("lists")[0].place;
        let mut model = BTreeMap::new();
        let mut at = 0;
        let mut seen = 0;
        let compare = |model: &BTreeMap<Vec<u8>, Vec<u8>>, seq: u64, at: &mut usize| {
            while moments.get(*at).is_some_and(|moment| moment.place.seq == seq) {
                let (read, _) = backup::read(&text[*at], &vault).expect("reads");
                assert!(read.entries.iter().map(|(k, v)| (k, v)).eq(model.iter()), "moment {at}");
                *at += 1;
            }
        };
        compare(&model, 0, &mut at);
        journal::replay(&data.join("journal"), &[&vault.ring()], &base, None, &mut |frame, place| {
            for (key, value) in frame.writes {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            seen = place.seq;
            compare(&model, place.seq, &mut at);
            Ok(())
        })
        .expect("reads");
        assert!(at == moments.len() && at > 2 && seen > 100, "{at} of {} moments", moments.len());
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_damaged_backup_is_passed_over_for_an_older_one_and_a_lost_journal_is_told() {
        let data = scratch("older-base");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let newest = store.file_backup(&data.join("backups"), 30).expect("files");
        put(&store, 2);
        drop(store);
        let whole = fs::read(&newest).expect("reads");
        fs::write(&newest, &whole[..whole.len() - 9]).expect("cuts");
        let restored = from_journal(&options(&data), None).expect("comes back");
        assert_eq!((restored.entries, restored.groups, restored.lacks_journal), (2, 2, false));
        fs::remove_dir_all(&data).expect("removes");

        let data = scratch("no-journal");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        std::thread::sleep(std::time::Duration::from_millis(5));
        store.file_backup(&data.join("backups"), 30).expect("files");
        drop(store);
        fs::remove_dir_all(data.join("journal")).expect("removes");
        let restored = from_journal(&options(&data), None).expect("comes back");
        assert_eq!((restored.entries, restored.groups, restored.lacks_journal), (1, 0, true));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_restore_can_be_undone_by_another() {
        let data = scratch("undone");
        // A moment that is neither what came before nor what comes after.
        let tick = || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let moment = now();
            std::thread::sleep(std::time::Duration::from_millis(5));
            moment
        };
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        let first = tick();
        put(&store, 2);
        drop(store);
        let second = tick();
        let holds = || {
            let store = EmbeddedStore::open(&options(&data)).expect("opens");
            everything(&store)
        };
        from_journal(&options(&data), Some(first)).expect("goes back");
        assert_eq!(holds(), [entry(1)]);
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 3);
        drop(store);
        assert_eq!(holds(), [entry(1), entry(3)]);
        from_journal(&options(&data), Some(second)).expect("undoes it");
        assert_eq!(holds(), [entry(1), entry(2)]);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn old_backups_go_with_the_journal_that_only_they_lead_to_and_the_newest_stays() {
        let data = scratch("prune");
        let (folder, journal) = (data.join("backups"), data.join("journal"));
        for n in 1..=3 {
            // Every start begins another segment.
            let store = EmbeddedStore::open(&options(&data)).expect("opens");
            put(&store, n);
            std::thread::sleep(std::time::Duration::from_millis(2));
            store.file_backup(&folder, 30).expect("files");
        }
        let count = |folder: &Path| fs::read_dir(folder).expect("lists").count();
        assert_eq!((count(&folder), count(&journal)), (4, 3));
        let third = backup::filed(&folder).expect("lists")[2].at;
        prune(&folder, &journal, third).expect("prunes");
        assert_eq!((count(&folder), count(&journal)), (2, 1), "what follows the second backup");
        prune(&folder, &journal, i64::MAX).expect("prunes");
        assert_eq!((count(&folder), count(&journal)), (1, 1));
        let restored = from_journal(&options(&data), None).expect("comes back");
        assert_eq!(restored.entries, 3);
        fs::remove_dir_all(data).expect("removes");
    }
}
