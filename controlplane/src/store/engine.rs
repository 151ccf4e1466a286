//! sled with what we ask of it: one tree, sealed values, one atomic batch per group, `fdatasync`, typed errors.
//!
//! sled's own flush is `sync_file_range`, which orders pages but neither empties the disk's cache nor writes the file's size; the
//! `fdatasync` on its log does. Each group carries place and sum in the same batch, so that both are true of what is there.
//! Not here: conditions and order of groups (`commit`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::Write;
use super::layout::patiently;
use super::place::{PLACE_BYTES, Place, Sum};
use super::vault::Vault;
use super::{Entry, StoreError};

/// Memory sled may use for pages.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Keys of the store's own begin with a byte that sorts before every table.
const OWN: u8 = 0;
/// Where the format is kept.
const FORMAT_KEY: &[u8] = b"\0format";
/// Where place and sum are kept.
const PLACE_KEY: &[u8] = b"\0place";

/// What a store says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) place: Place,
    pub(super) sum: Sum,
}

/// An open sled.
pub(super) struct Engine {
    pub(super) db: sled::Db,
    log: File,
    path: PathBuf,
}

impl Engine {
    /// Opens or creates a sled in the directory `path`, which exists.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        patiently(|| Self::try_open(path))
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        // sled asserts on some kinds of damage instead of returning an error.
        let opened =
            catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| corrupt(path, "sled panicked"))?;
        let db = opened.map_err(|error| opening(path, &error))?;
        let log = File::options().read(true).write(true).open(path.join("db"));
        let log = log.map_err(|error| unreadable(path, &error))?;
        super::files::sync_directory(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self { db, log, path: path.to_owned() })
    }

    /// The format, if the store has one yet.
    pub(super) fn format(&self) -> Result<Option<u32>, StoreError> {
        let bytes = self.db.get(FORMAT_KEY).map_err(|error| self.reading(&error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let format = bytes.as_ref().try_into().map(u32::from_be_bytes);
        format.map(Some).map_err(|_| corrupt(&self.path, "its format is unreadable"))
    }

    /// Writes format and state: from then on the store counts.
    pub(super) fn begin(&self, format: u32, state: &State) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(FORMAT_KEY, &format.to_be_bytes());
        batch.insert(PLACE_KEY, encode(state));
        self.db.apply_batch(batch).map_err(|error| failed(&error))?;
        self.sync()
    }

    /// What the store says of itself, compared with what is there.
    pub(super) fn state(&self) -> Result<State, StoreError> {
        let bytes = self.db.get(PLACE_KEY).map_err(|error| self.reading(&error))?;
        let state = bytes.and_then(|bytes| {
            let (place, sum) = bytes.split_at_checked(PLACE_BYTES)?;
            Some(State { place: Place::decode(place)?, sum: Sum::decode(sum)? })
        });
        let state = state.ok_or_else(|| corrupt(&self.path, "it does not say where it is"))?;
        let mut sum = Sum::default();
        for entry in self.raw() {
            let (place, sealed) = entry?;
            sum.add(&place, &sealed);
        }
        if sum == state.sum {
            Ok(state)
        } else {
            Err(corrupt(&self.path, "entries are missing or are not the latest"))
        }
    }

    /// Applies a group: whole or not at all. Later writes of a key win.
    pub(super) fn write(
        &self,
        vault: &Vault,
        writes: &[Write],
        place: Place,
        sum: Sum,
    ) -> Result<State, StoreError> {
        let latest: BTreeMap<&[u8], Option<&[u8]>> =
            writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        let mut state = State { place, sum };
        let mut batch = sled::Batch::default();
        for (key, value) in latest {
            let lies = vault.place(key);
            if let Some(before) = self.db.get(&lies).map_err(|error| failed(&error))? {
                state.sum.subtract(&lies, &before);
            }
            match value {
                Some(value) => {
                    let sealed = vault.seal(&lies, key, value)?;
                    state.sum.add(&lies, &sealed);
                    batch.insert(lies, sealed);
                }
                None => batch.remove(lies),
            }
        }
        batch.insert(PLACE_KEY, encode(&state));
        self.db.apply_batch(batch).map_err(|error| failed(&error))?;
        Ok(state)
    }

    /// Everything applied is durable once this returns.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| failed(&error))?;
        self.log.sync_data().map_err(|error| StoreError::Failed { reason: error.to_string().into() })
    }

    /// All entries but the store's own, as they lie there.
    pub(super) fn raw(&self) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> + '_ {
        self.db.range([OWN + 1]..).map(|entry| entry.map_err(|error| self.reading(&error)))
    }

    /// All entries but the store's own, opened, in key order.
    pub(super) fn everything(&self, vault: &Vault) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for entry in self.raw() {
            let (place, sealed) = entry?;
            entries.push(self.opened(vault, &place, &sealed)?);
        }
        entries.sort();
        Ok(entries)
    }

    /// An entry, opened.
    pub(super) fn opened(&self, vault: &Vault, place: &[u8], sealed: &[u8]) -> Result<Entry, StoreError> {
        vault
            .open_entry(place, sealed)
            .map_err(|_| corrupt(&self.path, "an entry is not what was sealed there"))
    }

    /// The value of `key`.
    pub(super) fn value(&self, vault: &Vault, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let place = vault.place(key);
        let Some(sealed) = self.db.get(&place).map_err(|error| self.reading(&error))? else {
            return Ok(None);
        };
        Ok(Some(self.opened(vault, &place, &sealed)?.1))
    }

    /// An error while reading.
    pub(super) fn reading(&self, error: &sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => corrupt(&self.path, "a page failed its checksum"),
            other => failed(other),
        }
    }

    /// The store is damaged in this way.
    pub(super) fn corrupt(&self, reason: &str) -> StoreError {
        corrupt(&self.path, reason)
    }
}

fn encode(state: &State) -> Vec<u8> {
    [state.place.encode().as_slice(), &state.sum.encode()].concat()
}

fn opening(path: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
            StoreError::Locked { path: path.parent().unwrap_or(path).to_owned() }
        }
        sled::Error::Io(io) => unreadable(path, io),
        sled::Error::Corruption { .. } => corrupt(path, "a page failed its checksum"),
        other => corrupt(path, &other.to_string()),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), reason: error.to_string().into() }
}

fn corrupt(path: &Path, reason: &str) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), reason: Arc::from(reason) }
}

fn failed(error: &sled::Error) -> StoreError {
    StoreError::Failed { reason: error.to_string().into() }
}
