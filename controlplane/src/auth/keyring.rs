//! The keys of a data directory: the one that signs (`DATA/signing.key`), and the public halves of those that did before
//! (`DATA/retired.keys`), which go on verifying until the last token they may have signed has ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::key::{KeyError, SigningKey, VerifyingKey};
use super::sealing::Sealing;
use super::{ACCESS_TTL_MAX, HOST_TTL, SESSION_TTL};

/// How long a retired key verifies, seconds: as long as the longest token it may have signed.
const RETIRED_SECONDS: u64 = ACCESS_TTL_MAX.as_secs();
const _: () = assert!(RETIRED_SECONDS >= HOST_TTL.as_secs() && RETIRED_SECONDS >= SESSION_TTL.as_secs());
/// Retired keys that are kept; whoever rotates more often than this in a year ends old tokens early.
const RETIRED_MAX: usize = 64;

/// The public half of a key that signs no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Retired {
    /// The public key, base64url.
    x: String,
    /// Until when it verifies, seconds since 1970.
    until: u64,
}

/// The key that signs and those that still verify.
pub struct KeyRing {
    active: SigningKey,
    retired: Vec<(VerifyingKey, Retired)>,
    /// Where the keys live and what seals them; `None` for keys in memory.
    home: Option<(PathBuf, Arc<dyn Sealing>)>,
}

impl KeyRing {
    /// The keys of a data directory; the first is made on the first start.
    ///
    /// # Errors
    /// See [`KeyError`]; each says what to do.
    pub fn load_or_create(data: &Path, sealing: Arc<dyn Sealing>) -> Result<Self, KeyError> {
        let active = SigningKey::load_or_create(data, &*sealing)?;
        let path = data.join("retired.keys");
        let stored: Vec<Retired> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| KeyError::NotRetiredKeys { path })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(KeyError::File { path, error }),
        };
        let now = jsonwebtoken::get_current_timestamp();
        let retired = stored.into_iter().filter(|key| key.until > now);
        let retired = retired.filter_map(|key| Some((VerifyingKey::from_x(&key.x)?, key))).collect();
        Ok(Self { active, retired, home: Some((data.to_owned(), sealing)) })
    }

    /// One key that lives in memory only.
    #[must_use]
    pub const fn of(active: SigningKey) -> Self {
        Self { active, retired: Vec::new(), home: None }
    }

    /// The same keys with a new one that signs. Durable before this returns: first the old public half, then the new key, so
    /// that a crash in between leaves tokens valid.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn rotated(&self) -> Result<Self, KeyError> {
        let until = jsonwebtoken::get_current_timestamp().saturating_add(RETIRED_SECONDS);
        let old = Retired { x: self.active.public_x().to_owned(), until };
        let mut stored: Vec<Retired> = self.retired.iter().map(|(_, key)| key.clone()).collect();
        stored.insert(0, old);
        stored.truncate(RETIRED_MAX);
        let retired =
            stored.iter().filter_map(|key| Some((VerifyingKey::from_x(&key.x)?, key.clone()))).collect();
        let active = match &self.home {
            Some((data, sealing)) => {
                let text = serde_json::to_vec(&stored).expect("a list of plain structs");
                write_whole(data, "retired.keys", &text)?;
                SigningKey::replace(data, &**sealing)?
            }
            None => SigningKey::generate()?,
        };
        Ok(Self { active, retired, home: self.home.clone() })
    }

    pub(super) const fn active(&self) -> &SigningKey {
        &self.active
    }

    /// The key of this name, if it verifies; the one that signs for tokens that name none.
    pub(super) fn verifying(&self, id: Option<&str>) -> Option<&VerifyingKey> {
        let Some(id) = id else { return Some(self.active.verifying()) };
        let now = jsonwebtoken::get_current_timestamp();
        let retired = self.retired.iter().filter(|(_, key)| key.until > now).map(|(key, _)| key);
        std::iter::once(self.active.verifying()).chain(retired).find(|key| key.id() == id)
    }

    /// All keys that verify, the one that signs first.
    pub(super) fn all(&self) -> impl Iterator<Item = &VerifyingKey> {
        std::iter::once(self.active.verifying()).chain(self.retired.iter().map(|(key, _)| key))
    }
}

/// Writes a file of the data directory, private and durable; it appears whole or not at all.
pub(super) fn write_whole(data: &Path, name: &str, bytes: &[u8]) -> Result<(), KeyError> {
    let path = data.join(name);
    let failed = |error| KeyError::File { path: path.clone(), error };
    let fresh = data.join(format!("{name}.new"));
    let _ = fs::remove_file(&fresh);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&fresh, &path).map_err(failed)?;
    File::open(data).and_then(|directory| directory.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::sealing::Marking;
    use super::*;

    #[test]
    fn a_rotated_key_goes_on_verifying_across_restarts_and_signs_no_more() {
        let data = std::env::temp_dir().join(format!("kaigi-keyring-{}", std::process::id()));
        fs::create_dir_all(&data).expect("writable");
        let first = KeyRing::load_or_create(&data, Arc::new(Marking(1))).expect("made");
        let second = first.rotated().expect("rotates");
        let third =
            KeyRing::load_or_create(&data, Arc::new(Marking(1))).expect("loads").rotated().expect("rotates");
        let loaded = KeyRing::load_or_create(&data, Arc::new(Marking(1))).expect("loads");
        assert_eq!(loaded.active().id(), third.active().id());
        for ring in [&first, &second, &third] {
            assert!(loaded.verifying(Some(ring.active().id())).is_some());
        }
        assert_eq!(loaded.all().count(), 3);
        assert!(loaded.verifying(Some("x")).is_none());
        fs::write(data.join("retired.keys"), b"something else").expect("writes");
        assert!(matches!(
            KeyRing::load_or_create(&data, Arc::new(Marking(1))),
            Err(KeyError::NotRetiredKeys { .. })
        ));
        fs::remove_dir_all(data).expect("removes");
    }

    #[test]
    fn a_retired_key_ends_with_its_last_token() {
        let ring = KeyRing::of(SigningKey::generate().expect("randomness"));
        let old = ring.active().id().to_owned();
        let mut ring = ring.rotated().expect("rotates");
        assert!(ring.verifying(Some(&old)).is_some());
        ring.retired[0].1.until = jsonwebtoken::get_current_timestamp();
        assert!(ring.verifying(Some(&old)).is_none());
    }
}
