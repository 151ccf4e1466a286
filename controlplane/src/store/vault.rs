//! What the disk sees of an entry: its value sealed, its key plain or, in tables whose keys are names, hidden.
//!
//! Path: `embedded` -> here -> sled. A sealed value is version 1, key id 4, nonce 24, then sealed: length 2 and text of a hidden
//! key (else 0), and the value; tag 16. The key it lies under is authenticated with it, so values cannot change places. A hidden
//! key is its table byte and an HMAC of the whole: found when it is asked for, read by nobody without the master key.
//! Not here: the cipher (`seal`), the keys and their wrapping (`keyring`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::files::{sync_parent, write_whole};
use super::keyring::{KeyId, Keyring, Unwrap, random_nonce};
use super::master::{KeySource, MasterKey};
use super::seal::{SEAL_NONCE_BYTES, TAG_BYTES};
use super::{Entry, StoreError};

const VERSION: u8 = 2;
const HEAD_BYTES: usize = 1 + 4 + SEAL_NONCE_BYTES;
/// What sealing adds to a value whose key is not hidden.
pub(super) const SEAL_BYTES: usize = HEAD_BYTES + 2 + TAG_BYTES;
/// The file of the wrapped keys.
const KEYS_NAME: &str = "keys";
/// A new master key on its way to replace the one beside the data.
const NEXT_SUFFIX: &str = ".next";

/// The open keys of a data directory. Shared: a new master or data key counts at once.
pub(super) struct Vault {
    data: PathBuf,
    hidden: &'static [u8],
    ring: RwLock<Held>,
}

struct Held {
    ring: Arc<Keyring>,
    master: MasterKey,
    source: KeySource,
}

/// An entry that is not what was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tampered;

impl Vault {
    /// Opens the keys of `data`, or makes them where nothing is sealed yet. Keys of the tables `hidden` are hidden.
    pub(super) fn open(
        data: &Path,
        source: &KeySource,
        hidden: &'static [u8],
        sealed_store: bool,
    ) -> Result<Self, StoreError> {
        let path = data.join(KEYS_NAME);
        let wrapped = match fs::read(&path) {
            Ok(wrapped) => Some(wrapped),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !sealed_store => None,
            Err(error) => return Err(StoreError::KeysLost { path, reason: error.to_string().into() }),
        };
        let held = match wrapped {
            Some(wrapped) => unwrap(&wrapped, source, &path)?,
            None => {
                let master = MasterKey::load_or_make(source, data, true)?;
                let ring = Keyring::generate()?;
                write_whole(&path, &ring.wrap(&master)?).map_err(|error| StoreError::KeysLost {
                    path,
                    reason: format!("it cannot be written: {error}").into(),
                })?;
                Held { ring: Arc::new(ring), master, source: source.clone() }
            }
        };
        Ok(Self { data: data.to_owned(), hidden, ring: RwLock::new(held) })
    }

    /// The same, where a backup brings its keys along: they become the directory's if it has none.
    pub(super) fn adopt(
        data: &Path,
        source: &KeySource,
        hidden: &'static [u8],
        wrapped: &[u8],
    ) -> Result<Self, StoreError> {
        let path = data.join(KEYS_NAME);
        if !path.exists() {
            let held = unwrap(wrapped, source, &path)?;
            let kept = write_whole(&path, &held.ring.wrap(&held.master)?);
            kept.map_err(|error| StoreError::KeysLost { path, reason: error.to_string().into() })?;
        }
        Self::open(data, source, hidden, true)
    }

    /// The keys as they are now.
    pub(super) fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner).ring)
    }

    /// The keys wrapped for a backup.
    pub(super) fn wrapped(&self) -> Result<(Arc<Keyring>, Vec<u8>), StoreError> {
        let held = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Ok((Arc::clone(&held.ring), held.ring.wrap(&held.master)?))
    }

    /// Opens keys wrapped elsewhere by the same master key.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Keyring, Unwrap> {
        Keyring::unwrap(wrapped, &self.ring.read().unwrap_or_else(PoisonError::into_inner).master)
    }

    /// Wraps the keys anew: with the master key at `to`, or with a new one in the place of the old file; with `data_key` also
    /// adds a data key. Whole or not at all; a crash leaves a store that opens.
    pub(super) fn rotate(&self, to: Option<&KeySource>, data_key: bool) -> Result<(), StoreError> {
        let mut held = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        let (master, source) = match to {
            Some(to) => (MasterKey::load(to)?, to.clone()),
            None => {
                let KeySource::File(path) = &held.source else {
                    return Err(StoreError::KeyNotOurs { key: held.source.to_string().into() });
                };
                let master = MasterKey::generate()?;
                let fresh = with_suffix(path);
                master.write(&fresh)?;
                next = Some((fresh, path.clone()));
                (master, held.source.clone())
            }
        };
        let mut ring = Keyring::unwrap(&held.ring.wrap(&held.master)?, &held.master)
            .map_err(|_| StoreError::NoRandomness)?;
        if data_key {
            ring.add_key()?;
        }
        let path = self.data.join(KEYS_NAME);
        write_whole(&path, &ring.wrap(&master)?)
            .map_err(|error| StoreError::Unreadable { path, reason: error.to_string().into() })?;
        *held = Held { ring: Arc::new(ring), master, source };
        match next {
            Some((fresh, path)) => take_place(&fresh, &path),
            None => Ok(()),
        }
    }

    /// The key an entry lies under on the disk.
    pub(super) fn place(&self, key: &[u8]) -> Vec<u8> {
        match key.first() {
            Some(table) if self.hidden.contains(table) => {
                let mut hidden = vec![*table];
                hidden.extend_from_slice(self.ring().hide(key).as_ref());
                hidden
            }
            _ => key.to_vec(),
        }
    }

    /// Seals a value that is to lie under `place`, the place of `key`.
    pub(super) fn seal(&self, place: &[u8], key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let ring = self.ring();
        let (id, sealing) = ring.newest().ok_or(StoreError::NoRandomness)?;
        let nonce = random_nonce()?;
        let hidden = if place == key { &[] } else { key };
        let length = u16::try_from(hidden.len()).map_err(|_| StoreError::TooLarge)?;
        let mut text = Vec::with_capacity(value.len() + hidden.len() + SEAL_BYTES);
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(hidden);
        text.extend_from_slice(value);
        sealing.seal(&nonce, &context(id, place), &mut text).ok_or(StoreError::NoRandomness)?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// The entry that lies under `place`.
    pub(super) fn open_entry(&self, place: &[u8], sealed: &[u8]) -> Result<Entry, Tampered> {
        let (version, rest) = sealed.split_first().ok_or(Tampered)?;
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(Tampered)?;
        let (nonce, sealed) = rest.split_first_chunk::<SEAL_NONCE_BYTES>().ok_or(Tampered)?;
        let id = KeyId::from_be_bytes(*id);
        if *version != VERSION {
            return Err(Tampered);
        }
        let ring = self.ring();
        let key = ring.key(id).ok_or(Tampered)?;
        let text = key.open(nonce, &context(id, place), sealed).ok_or(Tampered)?;
        let (length, rest) = text.split_first_chunk::<2>().ok_or(Tampered)?;
        let (hidden, value) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Tampered)?;
        let key = if hidden.is_empty() { place } else { hidden };
        Ok((key.to_vec(), value.to_vec()))
    }
}

/// The place that stands for a file of its own: no entry lies there, as its first byte is the number of no table.
pub(super) fn place_of_file(name: &str) -> Vec<u8> {
    [&[0xff], name.as_bytes()].concat()
}

/// What is authenticated with a value: what it is, the key's name and its place.
fn context(id: KeyId, place: &[u8]) -> Vec<u8> {
    [b"kaigi value".as_slice(), &id.to_be_bytes(), place].concat()
}

fn unwrap(wrapped: &[u8], source: &KeySource, path: &Path) -> Result<Held, StoreError> {
    let damaged = || StoreError::KeysLost { path: path.to_owned(), reason: "it is damaged".into() };
    let master = MasterKey::load(source)?;
    match Keyring::unwrap(wrapped, &master) {
        Ok(ring) => Ok(Held { ring: Arc::new(ring), master, source: source.clone() }),
        Err(Unwrap::Damaged) => Err(damaged()),
        Err(Unwrap::OtherMaster) => {
            // A rotation that was cut off right before its last step.
            if let KeySource::File(file) = source {
                let fresh = with_suffix(file);
                if let Ok(master) = MasterKey::load(&KeySource::File(fresh.clone()))
                    && let Ok(ring) = Keyring::unwrap(wrapped, &master)
                {
                    take_place(&fresh, file)?;
                    return Ok(Held { ring: Arc::new(ring), master, source: source.clone() });
                }
            }
            Err(StoreError::WrongKey { key: source.to_string().into() })
        }
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NEXT_SUFFIX);
    name.into()
}

fn take_place(fresh: &Path, path: &Path) -> Result<(), StoreError> {
    fs::rename(fresh, path).and_then(|()| sync_parent(path)).map_err(|error| StoreError::KeyUnavailable {
        key: KeySource::File(path.to_owned()).to_string().into(),
        reason: error.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::scratch;

    const HIDDEN: &[u8] = &[2];

    fn vault(data: &Path) -> Vault {
        Vault::open(data, &KeySource::beside(data), HIDDEN, false).expect("opens")
    }

    #[test]
    fn a_sealed_value_with_any_byte_changed_or_missing_does_not_open() {
        let data = scratch("tamper");
        let vault = vault(&data);
        for key in [b"\x01plain".as_slice(), b"\x02Ada"] {
            let place = vault.place(key);
            let sealed = vault.seal(&place, key, b"the value").expect("seals");
            assert_eq!(vault.open_entry(&place, &sealed), Ok((key.to_vec(), b"the value".to_vec())));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(vault.open_entry(&place, &changed), Err(Tampered), "byte {at} bit {bit}");
                }
                assert_eq!(vault.open_entry(&place, &sealed[..at]), Err(Tampered), "cut at {at}");
            }
        }
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn values_that_change_places_do_not_open() {
        let data = scratch("swap");
        let vault = vault(&data);
        let one = vault.seal(b"one", b"one", b"1").expect("seals");
        let two = vault.seal(b"two", b"two", b"1").expect("seals");
        assert_eq!(vault.open_entry(b"two", &one), Err(Tampered));
        assert_eq!(vault.open_entry(b"one", &two), Err(Tampered));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_hidden_key_is_found_again_and_shows_nothing() {
        let data = scratch("hidden");
        let place = vault(&data).place(b"\x02Grace Hopper");
        assert_eq!(place, vault(&data).place(b"\x02Grace Hopper"), "the same after reopening");
        assert_ne!(place, vault(&data).place(b"\x02Grace Hoppes"));
        assert_eq!((place[0], place.len()), (2, 33));
        assert!(!place.windows(5).any(|part| part == b"Grace"));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_wrong_or_missing_master_key_is_told_with_a_remedy() {
        let data = scratch("wrong-key");
        drop(vault(&data));
        let other = data.join("other.key");
        MasterKey::generate().and_then(|key| key.write(&other)).expect("writes");
        let wrong = Vault::open(&data, &KeySource::File(other), HIDDEN, true).err().expect("refused");
        assert!(matches!(wrong, StoreError::WrongKey { .. }) && !wrong.remedy().is_empty(), "{wrong}");
        fs::remove_file(data.join("master.key")).expect("removes");
        let missing = Vault::open(&data, &KeySource::beside(&data), HIDDEN, true).err().expect("refused");
        assert!(matches!(missing, StoreError::KeyUnavailable { .. }), "{missing}");
        assert!(!data.join("master.key").exists(), "no new key takes the place of a lost one");
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn after_a_rotation_older_values_open_and_the_old_master_key_does_not_count() {
        let data = scratch("rotate");
        let vault = vault(&data);
        let old = fs::read(data.join("master.key")).expect("reads");
        let before = vault.seal(b"k", b"k", b"before").expect("seals");
        vault.rotate(None, true).expect("rotates");
        let after = vault.seal(b"k", b"k", b"after").expect("seals");
        assert_ne!(before[1..5], after[1..5], "a new data key");
        assert_eq!(vault.open_entry(b"k", &before), Ok((b"k".to_vec(), b"before".to_vec())));
        drop(vault);
        let again = Vault::open(&data, &KeySource::beside(&data), HIDDEN, true).expect("opens");
        assert_eq!(again.open_entry(b"k", &before), Ok((b"k".to_vec(), b"before".to_vec())));
        assert_eq!(again.open_entry(b"k", &after), Ok((b"k".to_vec(), b"after".to_vec())));
        fs::write(data.join("master.key"), old).expect("writes");
        let refused = Vault::open(&data, &KeySource::beside(&data), HIDDEN, true);
        assert!(matches!(refused, Err(StoreError::WrongKey { .. })));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_rotation_cut_off_before_its_last_step_is_finished_by_the_next_start() {
        let data = scratch("cut-rotation");
        let vault = vault(&data);
        let old = fs::read(data.join("master.key")).expect("reads");
        let sealed = vault.seal(b"k", b"k", b"v").expect("seals");
        vault.rotate(None, false).expect("rotates");
        drop(vault);
        // As it was between the new keys file and the rename of the new master key.
        fs::rename(data.join("master.key"), data.join("master.key.next")).expect("renames");
        fs::write(data.join("master.key"), old).expect("writes");
        let vault = Vault::open(&data, &KeySource::beside(&data), HIDDEN, true).expect("opens");
        assert_eq!(vault.open_entry(b"k", &sealed), Ok((b"k".to_vec(), b"v".to_vec())));
        assert!(!data.join("master.key.next").exists());
        fs::remove_dir_all(data).expect("removes");
    }
}
