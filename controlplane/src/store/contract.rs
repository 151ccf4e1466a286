//! What every store must do, run over each engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Batch, EmbeddedStore, KEY_BYTES_MAX, MemoryStore, Store, StoreError, VALUE_BYTES_MAX};

/// A fresh directory for one test.
pub(super) fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("kaigi-store-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("the temporary directory is writable");
    path
}

fn each(test: impl Fn(Arc<dyn Store>)) {
    test(Arc::new(MemoryStore::new()));
    let data = scratch("contract");
    test(Arc::new(EmbeddedStore::open(&data).expect("opens")));
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
