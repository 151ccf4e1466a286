//! What opening a store does beside opening it: beginning a history, sealing what was not, applying what the journal has.

use std::fs::{self, File};
use std::io;

use super::backup::{self, Moment};
use super::commit::now;
use super::embedded::{FORMAT, StoreOptions};
use super::engine::{Engine, State};
use super::journal;
use super::layout::Layout;
use super::place::{Place, Sum};
use super::recover;
use super::vault::Vault;
use super::{Entry, StoreError};

/// Begins a history whose base holds `entries`; the base is filed where backups are.
pub(super) fn begin(entries: Vec<Entry>, vault: &Vault, options: &StoreOptions) -> Result<State, StoreError> {
    let moment = Moment { entries, place: Place::begin()?, at: now() };
    if let Some(folder) = &options.backups {
        backup::file(&moment, vault, folder)?;
    }
    Ok(State { place: moment.place, sum: Sum::default() })
}

/// Seals a store of the former format: builds another beside it, which takes its place.
pub(super) fn seal_all(
    engine: Engine,
    vault: &Vault,
    layout: &Layout,
    options: &StoreOptions,
) -> Result<(Engine, State), StoreError> {
    let entries = engine.raw().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())));
    let entries = entries.collect::<Result<Vec<Entry>, _>>()?;
    drop(engine);
    tracing::info!(entries = entries.len(), "sealing the store");
    recover::install(entries, vault, layout, options)?;
    let engine = Engine::open(&layout.store())?;
    let state = engine.state()?;
    Ok((engine, state))
}

/// Applies what the journal has and sled lacks, and cuts a torn tail.
pub(super) fn catch_up(
    engine: &Engine,
    vault: &Vault,
    layout: &Layout,
    options: &StoreOptions,
    mut state: State,
) -> Result<State, StoreError> {
    let ring = vault.ring();
    let from = state.place;
    let replayed = journal::replay(&layout.journal(), &[&ring], &from, None, &mut |frame, place| {
        state = engine.write(vault, &frame.writes, place, state.sum)?;
        Ok(())
    })?;
    if let Some((path, bytes)) = replayed.torn {
        let cut = if bytes == 0 {
            fs::remove_file(&path)
        } else {
            File::options().write(true).open(&path).and_then(|file| {
                file.set_len(bytes)?;
                file.sync_all()
            })
        };
        cut.map_err(|error| unreadable(layout, &error))?;
    }
    if replayed.behind {
        // The store is whole and its journal is not: everything from here on can be brought back again.
        tracing::warn!("the journal lacks what the store has; a new one begins with a backup");
        let place = begin(engine.everything(vault)?, vault, options)?.place;
        state.place = place;
        engine.begin(FORMAT, &state)?;
    }
    Ok(state)
}

pub(super) fn unreadable(layout: &Layout, error: &io::Error) -> StoreError {
    StoreError::Unreadable { path: layout.store(), reason: error.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::super::EmbeddedStore;
    use super::super::contract::{entry, everything, holds, options, put, raw, scratch, write_unsealed};
    use super::*;

    #[test]
    fn a_store_of_the_former_format_is_sealed_and_leaves_nothing_unsealed() {
        let data = scratch("migrate");
        let mut entries: Vec<Entry> = (0..1_000).map(entry).collect();
        entries.insert(0, (b"\x02Rear Admiral".to_vec(), b"1".to_vec()));
        write_unsealed(&data, &entries);
        assert!(holds(&data, b"Grace Hopper"));
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        assert_eq!(everything(&store), entries);
        drop(store);
        assert!(!holds(&data, b"Grace Hopper") && !holds(&data, b"Rear Admiral"));
        let store = EmbeddedStore::open(&options(&data)).expect("opens again");
        assert_eq!(everything(&store), entries);
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn sealing_that_was_killed_at_any_step_is_finished_by_the_next_start() {
        let entries: Vec<Entry> = (0..100).map(entry).collect();
        // A whole sealed store, to put where each step leaves it.
        let sealed = scratch("sealed-store");
        write_unsealed(&sealed, &entries);
        drop(EmbeddedStore::open(&options(&sealed)).expect("opens"));
        for step in ["building", "built", "old moved", "new in place"] {
            let data = scratch("killed");
            for name in ["master.key", "keys"] {
                fs::copy(sealed.join(name), data.join(name)).expect("copies");
            }
            write_unsealed(&data, &entries);
            let place = |name: &str| {
                let target = data.join(name);
                fs::create_dir_all(&target).expect("makes");
                for file in ["db", "conf"] {
                    fs::copy(sealed.join("store").join(file), target.join(file)).expect("copies");
                }
            };
            let away = || fs::rename(data.join("store"), data.join("store.old")).expect("renames");
            match step {
                "building" => {
                    place("store.partial");
                    File::options()
                        .write(true)
                        .open(data.join("store.partial/db"))
                        .and_then(|file| file.set_len(1_000))
                        .expect("cuts");
                }
                "built" => place("store.new"),
                "old moved" => {
                    away();
                    place("store.new");
                }
                _ => {
                    away();
                    place("store");
                }
            }
            let store = EmbeddedStore::open(&options(&data)).expect(step);
            assert_eq!(everything(&store), entries, "{step}");
            drop(store);
            for name in ["store.partial", "store.new", "store.old"] {
                assert!(!data.join(name).exists(), "{step}: {name}");
            }
            assert!(!holds(&data, b"Grace Hopper"), "{step}");
            fs::remove_dir_all(data).expect("removes");
        }
        fs::remove_dir_all(sealed).expect("removes");
    }

    #[test]
    fn what_the_journal_has_and_sled_lost_is_there_after_opening() {
        let data = scratch("catch-up");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        drop(store);
        let before = scratch("catch-up-before");
        for file in ["db", "conf"] {
            fs::copy(data.join("store").join(file), before.join(file)).expect("copies");
        }
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        (2..50).for_each(|n| put(&store, n));
        drop(store);
        fs::remove_dir_all(data.join("store")).expect("removes");
        fs::rename(&before, data.join("store")).expect("an older state of sled");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        assert_eq!(everything(&store), (1..50).map(entry).collect::<Vec<_>>());
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn an_entry_that_was_changed_behind_the_stores_back_is_damage() {
        let data = scratch("behind");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        (1..10).for_each(|n| put(&store, n));
        drop(store);
        let db = raw(&data.join("store"));
        db.remove(entry(4).0).expect("removes");
        db.flush().expect("flushes");
        drop(db);
        assert!(matches!(EmbeddedStore::open(&options(&data)), Err(StoreError::Corrupt { .. })));
        let restored = recover::from_journal(&options(&data), None).expect("comes back");
        assert_eq!((restored.entries, restored.groups), (9, 9));
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        assert_eq!(everything(&store), (1..10).map(entry).collect::<Vec<_>>());
        assert_eq!(store.check().map(|entries| entries.len()), Ok(9));
        drop(store);
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_lost_store_with_a_journal_is_not_begun_anew() {
        let data = scratch("gone");
        let store = EmbeddedStore::open(&options(&data)).expect("opens");
        put(&store, 1);
        drop(store);
        fs::remove_dir_all(data.join("store")).expect("removes");
        assert!(matches!(EmbeddedStore::open(&options(&data)), Err(StoreError::Corrupt { .. })));
        fs::remove_dir_all(data).expect("removes");
    }
}
