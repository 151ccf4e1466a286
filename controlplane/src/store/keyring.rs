//! The data keys of a store and how they are wrapped: `DATA/keys`, sealed by the master key.
//!
//! Every value says which data key sealed it; new values take the newest. So a new master key costs one small file, and a new
//! data key nothing: older values stay readable. The key that hides names stays for ever, or names would no longer be found.
//! File: magic 8, version 1, fingerprint of the master key 8, nonce 24, then sealed: names key 32, newest id 4, and id 4 and
//! key 32 of each. Not here: where the master key comes from (`master`), what is sealed (`vault`).

use std::collections::BTreeMap;

use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use super::StoreError;
use super::master::{MasterKey, derive};
use super::seal::{KEY_BYTES, SEAL_NONCE_BYTES, SealingKey};

const MAGIC: &[u8; 8] = b"kaigikey";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 1 + 8;
const ENTRY_BYTES: usize = 4 + KEY_BYTES;
/// Data keys of one store: one a day for ten years.
const KEYS_MAX: usize = 3_650;

/// Names one data key.
pub(super) type KeyId = u32;

/// Why wrapped keys do not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unwrap {
    /// Another master key wrapped them.
    OtherMaster,
    /// They are not what was written.
    Damaged,
}

struct DataKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    ready: SealingKey,
}

/// All keys of one store, open.
pub(super) struct Keyring {
    names: Zeroizing<[u8; KEY_BYTES]>,
    hiding: hmac::Key,
    newest: KeyId,
    keys: BTreeMap<KeyId, DataKey>,
}

impl Keyring {
    /// New random keys.
    pub(super) fn generate() -> Result<Self, StoreError> {
        let mut ring = Self::empty(random_key()?);
        ring.add_key()?;
        Ok(ring)
    }

    /// Opens wrapped keys.
    pub(super) fn unwrap(wrapped: &[u8], master: &MasterKey) -> Result<Self, Unwrap> {
        let head = wrapped.get(..HEAD_BYTES).ok_or(Unwrap::Damaged)?;
        if !head.starts_with(MAGIC) || head[MAGIC.len()] != VERSION {
            return Err(Unwrap::Damaged);
        }
        if head[MAGIC.len() + 1..] != master.fingerprint() {
            return Err(Unwrap::OtherMaster);
        }
        let (nonce, sealed) =
            wrapped[HEAD_BYTES..].split_first_chunk::<SEAL_NONCE_BYTES>().ok_or(Unwrap::Damaged)?;
        let wrapping = wrapping(master).ok_or(Unwrap::Damaged)?;
        let text = Zeroizing::new(wrapping.open(nonce, head, sealed).ok_or(Unwrap::Damaged)?);
        Self::decode(&text).ok_or(Unwrap::Damaged)
    }

    /// The keys as the file and backups hold them.
    pub(super) fn wrap(&self, master: &MasterKey) -> Result<Vec<u8>, StoreError> {
        let mut wrapped = Vec::with_capacity(HEAD_BYTES + SEAL_NONCE_BYTES);
        wrapped.extend_from_slice(MAGIC);
        wrapped.push(VERSION);
        wrapped.extend_from_slice(&master.fingerprint());
        let mut text = Zeroizing::new(Vec::new());
        text.extend_from_slice(self.names.as_slice());
        text.extend_from_slice(&self.newest.to_be_bytes());
        for (id, key) in &self.keys {
            text.extend_from_slice(&id.to_be_bytes());
            text.extend_from_slice(key.bytes.as_slice());
        }
        let nonce = random_nonce()?;
        let key = wrapping(master).ok_or(StoreError::NoRandomness)?;
        let mut sealed = std::mem::take(&mut *text);
        key.seal(&nonce, &wrapped, &mut sealed).ok_or(StoreError::NoRandomness)?;
        wrapped.extend_from_slice(&nonce);
        wrapped.append(&mut sealed);
        Ok(wrapped)
    }

    /// Adds a data key, which seals everything from now on.
    pub(super) fn add_key(&mut self) -> Result<(), StoreError> {
        if self.keys.len() >= KEYS_MAX {
            return Err(StoreError::TooLarge);
        }
        let mut id = [0; 4];
        rand::fill(&mut id).map_err(|_| StoreError::NoRandomness)?;
        let id = KeyId::from_be_bytes(id);
        if self.keys.contains_key(&id) {
            return self.add_key();
        }
        self.insert(id, random_key()?).ok_or(StoreError::NoRandomness)?;
        self.newest = id;
        Ok(())
    }

    /// The key for new values, with its name.
    pub(super) fn newest(&self) -> Option<(KeyId, &SealingKey)> {
        self.keys.get(&self.newest).map(|key| (self.newest, &key.ready))
    }

    /// The key of this name.
    pub(super) fn key(&self, id: KeyId) -> Option<&SealingKey> {
        self.keys.get(&id).map(|key| &key.ready)
    }

    /// A key derived from the data key `id`, for one purpose and one file.
    pub(super) fn derived(
        &self,
        id: KeyId,
        salt: &[u8],
        purpose: &[u8],
    ) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        derive(self.keys.get(&id)?.bytes.as_slice(), salt, purpose)
    }

    /// What stands for a name that nobody may read: HMAC-SHA-256.
    pub(super) fn hide(&self, name: &[u8]) -> hmac::Tag {
        hmac::sign(&self.hiding, name)
    }

    fn empty(names: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hiding = hmac::Key::new(hmac::HMAC_SHA256, names.as_slice());
        Self { names, hiding, newest: 0, keys: BTreeMap::new() }
    }

    fn insert(&mut self, id: KeyId, bytes: Zeroizing<[u8; KEY_BYTES]>) -> Option<()> {
        let ready = SealingKey::new(&bytes)?;
        self.keys.insert(id, DataKey { bytes, ready });
        Some(())
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let (names, rest) = text.split_first_chunk::<KEY_BYTES>()?;
        let (newest, rest) = rest.split_first_chunk::<4>()?;
        let mut ring = Self::empty(Zeroizing::new(*names));
        ring.newest = KeyId::from_be_bytes(*newest);
        for entry in rest.chunks(ENTRY_BYTES) {
            let (id, key) = entry.split_first_chunk::<4>()?;
            ring.insert(KeyId::from_be_bytes(*id), Zeroizing::new(key.try_into().ok()?))?;
        }
        ring.keys.contains_key(&ring.newest).then_some(ring)
    }
}

/// A random nonce of a sealed value.
pub(super) fn random_nonce() -> Result<[u8; SEAL_NONCE_BYTES], StoreError> {
    let mut nonce = [0; SEAL_NONCE_BYTES];
    rand::fill(&mut nonce).map_err(|_| StoreError::NoRandomness)?;
    Ok(nonce)
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(key.as_mut_slice()).map_err(|_| StoreError::NoRandomness)?;
    Ok(key)
}

fn wrapping(master: &MasterKey) -> Option<SealingKey> {
    SealingKey::new(&*master.wrapping()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_keys_open_with_their_master_key_alone() {
        let (master, other) =
            (MasterKey::generate().expect("random"), MasterKey::generate().expect("random"));
        let mut ring = Keyring::generate().expect("random");
        ring.add_key().expect("random");
        let wrapped = ring.wrap(&master).expect("wraps");
        let again = Keyring::unwrap(&wrapped, &master).expect("opens");
        assert_eq!((again.newest, again.keys.len()), (ring.newest, 2));
        assert_eq!(again.hide(b"Ada").as_ref(), ring.hide(b"Ada").as_ref());
        assert_eq!(Keyring::unwrap(&wrapped, &other).err(), Some(Unwrap::OtherMaster));
    }

    #[test]
    fn wrapped_keys_with_any_byte_changed_or_missing_do_not_open() {
        let master = MasterKey::generate().expect("random");
        let wrapped = Keyring::generate().and_then(|ring| ring.wrap(&master)).expect("wraps");
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(Keyring::unwrap(&changed, &master).is_err(), "byte {at}");
            assert!(Keyring::unwrap(&wrapped[..at], &master).is_err(), "cut at {at}");
        }
    }
}
