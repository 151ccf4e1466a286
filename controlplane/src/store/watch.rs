//! Watching changes below a prefix: bounded, in order, and whoever falls behind is told.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::Change;

/// Groups a slow watcher may fall behind. A group holds its batches as they were, at most 3 MiB, usually a few KiB.
pub const WATCH_BUFFERED: usize = 256;

/// Why a watch has nothing more to say at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchError {
    /// Some changes were missed: read the prefix again, then go on watching.
    #[error("the watcher fell behind and missed changes")]
    Lagged,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Changes below one prefix, from the call of `watch` on.
pub struct Watch {
    prefix: Vec<u8>,
    groups: broadcast::Receiver<Arc<[Change]>>,
}

impl Watch {
    /// The next changes, in the order in which they took effect; those of one batch come together.
    ///
    /// # Errors
    /// `Lagged` once for each time the watcher fell behind, `Closed` at the end.
    pub async fn next(&mut self) -> Result<Vec<Change>, WatchError> {
        loop {
            let group = self.groups.recv().await.map_err(|error| match error {
                RecvError::Lagged(_) => WatchError::Lagged,
                RecvError::Closed => WatchError::Closed,
            })?;
            let seen: Vec<Change> =
                group.iter().filter(|(key, _)| key.starts_with(&self.prefix)).cloned().collect();
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
    }
}

/// A store's side of its watches.
#[derive(Clone)]
pub(super) struct Watchers(broadcast::Sender<Arc<[Change]>>);

impl Default for Watchers {
    fn default() -> Self {
        Self(broadcast::Sender::new(WATCH_BUFFERED))
    }
}

impl Watchers {
    pub(super) fn watch(&self, prefix: &[u8]) -> Watch {
        Watch { prefix: prefix.to_vec(), groups: self.0.subscribe() }
    }

    /// Tells what took effect.
    pub(super) fn tell(&self, changes: Vec<Change>) {
        // Without a watcher nothing is kept.
        let _ = self.0.send(changes.into());
    }
}
