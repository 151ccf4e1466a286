//! `kaigid backup` and `kaigid restore`: the whole store as a sealed file, and back; or back from daily backups and the journal.
//!
//! The signing key is not in a backup: tokens given out before a restore elsewhere do not count there. What a backup looks like
//! says `store::backup`, what restoring promises `store::recover`.

use std::path::Path;

use super::{Request, ask};
use crate::app::{Failure, open_store, prepare_data};
use crate::config::Config;
use crate::service::records;
use crate::store::files::write_whole;
use crate::store::recover::{self, RestoreError, Restored};

/// Writes a backup to `file`; says how many entries it holds. The file appears whole or not at all.
///
/// # Errors
/// What the store or the file system says.
pub fn backup(config: &Config, file: &Path) -> Result<usize, Failure> {
    let lines = match ask(&config.data, &Request::Backup)? {
        Some(lines) => lines,
        None => {
            if !config.data.join("store").exists() {
                let path = config.data.display();
                return Err(Failure::Refused(format!(
                    "there is no store in {path}; name its directory with --data"
                )));
            }
            let store = open_store(config)?;
            store.backup_lines(&store.moment().wait()?)?
        }
    };
    write_whole(file, (lines.join("\n") + "\n").as_bytes()).map_err(|error| {
        Failure::Refused(format!(
            "cannot write {}: {error}; check the path and the free space",
            file.display()
        ))
    })?;
    Ok(lines.len().saturating_sub(2))
}

/// Brings back what `file` holds into a data directory without a store; without a file, what the daily backups and the journal
/// hold, up to the moment `until` (milliseconds since 1970) where one is given.
///
/// # Errors
/// What is missing, damaged or in the way.
pub fn restore(config: &Config, file: Option<&Path>, until: Option<i64>) -> Result<Restored, Failure> {
    prepare_data(&config.data)?;
    let options = config.store_options(records::NAMED_TABLES);
    let restored = match file {
        Some(file) => recover::from_file(&options, file),
        None => recover::from_journal(&options, until),
    };
    restored.map_err(|error| match error {
        RestoreError::Store { error } => error.into(),
        other => Failure::Refused(other.to_string()),
    })
}

/// A small runtime for operator commands.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Refused(format!("cannot start: {error}")))
}
