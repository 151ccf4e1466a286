//! The model of the store: an ordered map in memory. Tests run on it, and it says what the embedded engine must do.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::watch::{Watch, Watchers};
use super::{Batch, Commit, Entry, Snapshot, Store, StoreError};

/// A store that forgets everything when dropped.
#[derive(Default)]
pub struct MemoryStore {
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    watchers: Watchers,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        if !batch.fits() {
            return Err(StoreError::TooLarge);
        }
        let mut map = self.map();
        if batch.conditions.iter().any(|(key, value)| map.get(key) != value.as_ref()) {
            return Err(StoreError::Conflict);
        }
        for (key, value) in &batch.writes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        // Under the lock, so that watchers hear of batches in their order.
        self.watchers.tell(batch.writes);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.map().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(self
            .map()
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: Batch) -> Commit {
        Commit::done(self.apply(batch))
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::done(Ok(self.map().iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }

    fn watch(&self, prefix: &[u8]) -> Watch {
        self.watchers.watch(prefix)
    }

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
