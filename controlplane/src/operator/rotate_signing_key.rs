//! `kaigid rotate-signing-key`: a new key signs tokens; the ones before verify until their tokens have ended.

use super::{Request, ask};
use crate::app::{Failure, open_service, open_store};
use crate::config::Config;

/// Rotates the key, in the running server or in the data directory; the new key's name.
///
/// # Errors
/// `Refused` with the reason; `Key` or `Store` when the data directory cannot be opened, also when somebody else has the directory.
pub fn rotate(config: &Config) -> Result<String, Failure> {
    if let Some(items) = ask(&config.data, &Request::RotateSigningKey)? {
        return items
            .into_iter()
            .next()
            .ok_or_else(|| Failure::Refused("the server named no key".to_owned()));
    }
    // The open store holds the directory's lock, so no server starts meanwhile and signs with the old key.
    let service = open_service(config, &open_store(config)?)?;
    let runtime = super::backup::runtime()?;
    runtime.block_on(service.rotate_signing_key()).map_err(|error| Failure::Refused(error.to_string()))
}
