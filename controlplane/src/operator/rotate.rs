//! `kaigid rotate-signing-key`: a new key signs tokens; the ones before verify until their tokens have ended.

use super::{Request, ask};
use crate::app::{Failure, prepare_data};
use crate::auth::KeyRing;
use crate::config::Config;
use crate::store::EmbeddedStore;

/// Rotates the key, in the running server or in the data directory; the new key's name.
///
/// # Errors
/// `Key`; `Refused` with the server's reason; `Store` when somebody else has the directory.
pub fn rotate(config: &Config) -> Result<String, Failure> {
    if let Some(items) = ask(&config.data, &Request::RotateSigningKey)? {
        return items
            .into_iter()
            .next()
            .ok_or_else(|| Failure::Refused("the server named no key".to_owned()));
    }
    prepare_data(&config.data)?;
    // Holds the directory's lock, so that no server starts meanwhile and signs with the old key.
    let _store = EmbeddedStore::open(&config.data)?;
    let keys = KeyRing::load_or_create(&config.data)?.rotated()?;
    Ok(keys.active_id().to_owned())
}
