//! `kaigid rotate-key`: another master key, and if wanted another data key, while a server runs or on the files.

use super::{Request, ask};
use crate::app::{Failure, open_store};
use crate::config::Config;
use crate::store::{EmbeddedStore, KeySource};

/// Wraps the store's keys anew.
///
/// # Errors
/// What the store or the running server says; then the old key still counts.
pub fn rotate(config: &Config, to: Option<&KeySource>, data_key: bool) -> Result<(), Failure> {
    // A running server may have another working directory.
    let to = to.map(|to| match to {
        KeySource::File(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            KeySource::File(absolute).to_string()
        }
        other => other.to_string(),
    });
    let request = Request::RotateKey { to: to.clone(), data_key };
    if ask(&config.data, &request)?.is_some() {
        return Ok(());
    }
    rotate_store(&*open_store(config)?, to.as_deref(), data_key).map_err(Failure::Refused)
}

/// The same on an open store.
pub(super) fn rotate_store(store: &EmbeddedStore, to: Option<&str>, data_key: bool) -> Result<(), String> {
    let to = to.map(KeySource::parse).transpose().map_err(|wanted| format!("--to is not {wanted}"))?;
    store.rotate_key(to.as_ref(), data_key).map_err(|error| match error.remedy() {
        "" => error.to_string(),
        remedy => format!("{error}; {remedy}"),
    })
}
