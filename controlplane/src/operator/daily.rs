//! The daily backup of a running server, and what it makes superfluous.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::app::App;
use crate::store::{EmbeddedStore, StoreError};

/// Age of the newest backup at which another is made.
const BACKUP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the newest one's age is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long after a failure nothing is tried: a full disk stays full for a while.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// Makes backups until it is dropped; none with `--backup-days 0`.
pub struct DailyBackups(Option<JoinHandle<()>>);

impl DailyBackups {
    /// Starts looking.
    #[must_use]
    pub fn start(app: &App) -> Self {
        if app.config.backup_days == 0 {
            return Self(None);
        }
        let (config, store) = (Arc::clone(&app.config), Arc::clone(&app.store));
        Self(Some(tokio::spawn(async move {
            loop {
                let (config, store) = (Arc::clone(&config), Arc::clone(&store));
                let made = tokio::task::spawn_blocking(move || {
                    if is_due(EmbeddedStore::newest_backup(&config.backups)?) {
                        let path = store.file_backup(&config.backups, config.backup_days)?;
                        tracing::info!(path = %path.display(), "backup made");
                    }
                    Ok::<(), StoreError>(())
                });
                let pause = match made.await {
                    Ok(Ok(())) => LOOK_EVERY,
                    Ok(Err(error)) => {
                        tracing::error!("no backup was made: {error}; {}", error.remedy());
                        PAUSE
                    }
                    Err(_) => PAUSE,
                };
                tokio::time::sleep(pause).await;
            }
        })))
    }

    /// Stops looking; a backup that is being made is finished.
    pub fn stop(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Drop for DailyBackups {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the newest backup, of `newest` milliseconds since 1970, is too old. One of the future says nothing.
fn is_due(newest: Option<i64>) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let made = newest.and_then(|at| u64::try_from(at).ok()).map(Duration::from_millis);
    made.is_none_or(|made| now.saturating_sub(made) >= BACKUP_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_due_a_day_after_the_last() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let ago = |hours: u64| i64::try_from((now - Duration::from_secs(hours * 3_600)).as_millis()).ok();
        assert!(is_due(None) && is_due(ago(25)));
        assert!(!is_due(ago(23)) && !is_due(ago(0)));
    }
}
