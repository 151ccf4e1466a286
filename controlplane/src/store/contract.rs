//! What every store must do, run over each engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::watch::WATCH_BUFFERED;
use super::{
    Batch, Change, EmbeddedStore, KEY_BYTES_MAX, KeySource, MemoryStore, Store, StoreError, StoreOptions,
    VALUE_BYTES_MAX, Watch, WatchError,
};

/// A fresh directory for one test.
pub(super) fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("kaigi-store-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("the temporary directory is writable");
    path
}

/// How tests open a store: everything in one directory, keys of table 2 hidden.
pub(super) fn options(data: &Path) -> StoreOptions {
    StoreOptions {
        data: data.to_owned(),
        key: KeySource::beside(data),
        hidden: &[2],
        backups: Some(data.join("backups")),
    }
}

/// One of many entries.
pub(super) fn entry(n: u32) -> (Vec<u8>, Vec<u8>) {
    ([&[7], n.to_be_bytes().as_slice()].concat(), format!("Grace Hopper {n}").into_bytes())
}

/// Writes one of many entries.
pub(super) fn put(store: &EmbeddedStore, n: u32) {
    let (key, value) = entry(n);
    store.commit(Batch::new().put(key, value)).wait().expect("commits");
}

/// What a store holds.
pub(super) fn everything(store: &EmbeddedStore) -> Vec<super::Entry> {
    store.snapshot().wait().expect("reads")
}

/// The sled in this directory, as soon as its lock is free.
pub(super) fn raw(store: &Path) -> sled::Db {
    let opened = super::layout::patiently(|| {
        sled::open(store).map_err(|_| StoreError::Locked { path: store.to_owned() })
    });
    opened.expect("opens")
}

/// A store as the former format wrote it.
pub(super) fn write_unsealed(data: &Path, entries: &[super::Entry]) {
    let store = data.join("store");
    std::fs::create_dir_all(&store).expect("makes");
    let db = raw(&store);
    db.insert(b"\0format", &1u32.to_be_bytes()).expect("writes");
    for (key, value) in entries {
        db.insert(key, value.as_slice()).expect("writes");
    }
    db.flush().expect("flushes");
}

/// Whether any file below holds these bytes.
pub(super) fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).expect("lists").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            std::fs::read(path).expect("reads").windows(bytes.len()).any(|part| part == bytes)
        }
    })
}

fn each(test: impl Fn(Arc<dyn Store>)) {
    test(Arc::new(MemoryStore::new()));
    let data = scratch("contract");
    test(Arc::new(EmbeddedStore::open(&options(&data)).expect("opens")));
    std::fs::remove_dir_all(data).expect("removes");
}

#[test]
fn a_value_is_read_back_until_it_is_deleted() {
    each(|store| {
        assert_eq!(store.get(b"a"), Ok(None));
        assert_eq!(store.commit(Batch::new().put("a", "1")).wait(), Ok(()));
        assert_eq!(store.get(b"a"), Ok(Some(b"1".to_vec())));
        assert_eq!(store.commit(Batch::new().delete("a").delete("never there")).wait(), Ok(()));
        assert_eq!(store.get(b"a"), Ok(None));
    });
}

#[test]
fn a_batch_with_a_failed_condition_writes_nothing() {
    each(|store| {
        assert_eq!(store.commit(Batch::new().expect("a", None).put("a", "1")).wait(), Ok(()));
        let twice = Batch::new().put("b", "1").expect("a", None).put("a", "2");
        assert_eq!(store.commit(twice).wait(), Err(StoreError::Conflict));
        assert_eq!(store.get(b"a"), Ok(Some(b"1".to_vec())));
        assert_eq!(store.get(b"b"), Ok(None));
        let swap = Batch::new().expect("a", Some(b"1".to_vec())).put("a", "2");
        assert_eq!(store.commit(swap).wait(), Ok(()));
        assert_eq!(store.get(b"a"), Ok(Some(b"2".to_vec())));
    });
}

#[test]
fn later_writes_of_a_batch_win() {
    each(|store| {
        assert_eq!(store.commit(Batch::new().put("a", "1").delete("a").put("a", "2")).wait(), Ok(()));
        assert_eq!(store.get(b"a"), Ok(Some(b"2".to_vec())));
    });
}

#[test]
fn a_scan_stays_in_its_prefix_and_goes_on_after_a_key() {
    each(|store| {
        let batch = Batch::new().put("a", "").put("b/1", "x").put("b/2", "y").put("b/3", "z").put("c", "");
        assert_eq!(store.commit(batch).wait(), Ok(()));
        let keys = |after: Option<&[u8]>, limit| -> Vec<String> {
            let entries = store.scan(b"b/", after, limit).expect("scans");
            entries.into_iter().map(|(key, _)| String::from_utf8(key).expect("ascii")).collect()
        };
        assert_eq!(keys(None, 10), ["b/1", "b/2", "b/3"]);
        assert_eq!(keys(None, 2), ["b/1", "b/2"]);
        assert_eq!(keys(Some(b"b/2"), 10), ["b/3"]);
        assert_eq!(keys(Some(b"b/3"), 10), [""; 0]);
        assert_eq!(keys(Some(b"a"), 10), ["b/1", "b/2", "b/3"]);
        assert_eq!(keys(Some(b"z"), 10), [""; 0]);
    });
}

#[test]
fn a_snapshot_holds_everything_in_order_and_nothing_else() {
    each(|store| {
        drop(store.commit(Batch::new().put("b", "2").put("a", "1")));
        let all = store.snapshot().wait().expect("reads");
        assert_eq!(all, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    });
}

#[test]
fn an_empty_prefix_scans_everything_an_engine_user_wrote() {
    each(|store| {
        assert_eq!(store.commit(Batch::new().put("a", "1").put("b", "2")).wait(), Ok(()));
        let entries = store.scan(b"", Some(b"\0\xff"), 10).expect("scans");
        assert_eq!(entries.len(), 2);
    });
}

#[test]
fn oversize_keys_and_values_are_refused() {
    each(|store| {
        let fits = Batch::new().put(vec![b'k'; KEY_BYTES_MAX], vec![0; VALUE_BYTES_MAX]);
        assert_eq!(store.commit(fits).wait(), Ok(()));
        let long_key = Batch::new().put(vec![b'k'; KEY_BYTES_MAX + 1], "");
        assert_eq!(store.commit(long_key).wait(), Err(StoreError::TooLarge));
        let long_value = Batch::new().put("k", vec![0; VALUE_BYTES_MAX + 1]);
        assert_eq!(store.commit(long_value).wait(), Err(StoreError::TooLarge));
    });
}

#[test]
fn of_many_writers_racing_for_a_key_exactly_one_wins_each_round() {
    each(|store| {
        let wins: usize = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    let store = &store;
                    scope.spawn(move || {
                        (0u8..20)
                            .filter(|n| {
                                store.commit(Batch::new().expect([*n], None).put([*n], "me")).wait().is_ok()
                            })
                            .count()
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("no panic")).sum()
        });
        assert_eq!(wins, 20);
    });
}

#[test]
fn commits_of_one_caller_take_effect_in_order() {
    each(|store| {
        let commits: Vec<_> = (0u8..100).map(|n| store.commit(Batch::new().put("a", [n]))).collect();
        for commit in commits {
            assert_eq!(commit.wait(), Ok(()));
        }
        assert_eq!(store.get(b"a"), Ok(Some(vec![99])));
    });
}

#[test]
fn a_hidden_key_reads_back_like_any_other() {
    each(|store| {
        let names = |entries: Vec<super::Entry>| {
            let mut names: Vec<Vec<u8>> = entries.into_iter().map(|(key, _)| key).collect();
            names.sort();
            names
        };
        let batch = Batch::new().put("\x02Ada", "1").put("\x02Grace", "2").put("\x03x", "3");
        assert_eq!(store.commit(batch).wait(), Ok(()));
        assert_eq!(store.get(b"\x02Ada"), Ok(Some(b"1".to_vec())));
        let taken = Batch::new().expect("\x02Ada", None).put("\x02Ada", "4");
        assert_eq!(store.commit(taken).wait(), Err(StoreError::Conflict));
        let both = [b"\x02Ada".to_vec(), b"\x02Grace".to_vec()];
        assert_eq!(names(store.scan(b"\x02", None, 10).expect("scans")), both);
        assert_eq!(names(store.scan(b"\x02Gr", None, 10).expect("scans")), both[1..]);
        assert_eq!(names(store.snapshot().wait().expect("reads")).len(), 3);
        assert_eq!(store.commit(Batch::new().delete("\x02Ada")).wait(), Ok(()));
        assert_eq!(store.get(b"\x02Ada"), Ok(None));
    });
}

#[test]
fn a_batch_that_is_too_long_as_a_whole_is_refused() {
    each(|store| {
        let batch =
            (0u32..400).fold(Batch::new(), |batch, n| batch.put(n.to_be_bytes(), vec![0; VALUE_BYTES_MAX]));
        assert_eq!(store.commit(batch).wait(), Err(StoreError::TooLarge));
        assert_eq!(store.ready(), Ok(()));
    });
}

fn changes(watch: &mut Watch, count: usize) -> Result<Vec<Change>, WatchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("builds");
    runtime.block_on(async {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.extend(watch.next().await?);
        }
        Ok(seen)
    })
}

#[test]
fn a_watcher_sees_every_change_below_its_prefix_in_order_and_nothing_else() {
    each(|store| {
        assert_eq!(store.commit(Batch::new().put("a/0", "before")).wait(), Ok(()));
        let mut watch = store.watch(b"a/");
        assert_eq!(store.commit(Batch::new().put("a/1", "x").put("b/1", "y")).wait(), Ok(()));
        assert_eq!(store.commit(Batch::new().put("b/2", "y")).wait(), Ok(()));
        let refused = Batch::new().expect("a/1", None).put("a/2", "z");
        assert_eq!(store.commit(refused).wait(), Err(StoreError::Conflict));
        assert_eq!(store.commit(Batch::new().delete("a/1").put("a/3", "w")).wait(), Ok(()));
        let seen = changes(&mut watch, 3).expect("sees");
        let expected: [Change; 3] = [
            (b"a/1".to_vec(), Some(b"x".to_vec())),
            (b"a/1".to_vec(), None),
            (b"a/3".to_vec(), Some(b"w".to_vec())),
        ];
        assert_eq!(seen, expected);
        drop(store);
        assert_eq!(changes(&mut watch, 1), Err(WatchError::Closed));
    });
}

#[test]
fn a_watcher_that_falls_behind_is_told_and_goes_on() {
    each(|store| {
        let mut watch = store.watch(b"a");
        for n in 0..=WATCH_BUFFERED {
            assert_eq!(store.commit(Batch::new().put("a", n.to_string())).wait(), Ok(()));
        }
        assert_eq!(changes(&mut watch, 1), Err(WatchError::Lagged));
        let oldest = changes(&mut watch, 1).expect("goes on");
        assert_eq!(oldest, [(b"a".to_vec(), Some(b"1".to_vec()))]);
    });
}
