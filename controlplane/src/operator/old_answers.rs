//! Answers kept for repeated requests are forgotten once they are old, also those of callers who never come again.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::service::Service;

/// How often old ones are looked for: a day's answers, and an hour's that wait.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks for them until it is dropped.
pub struct OldAnswers(JoinHandle<()>);

impl OldAnswers {
    /// Starts looking.
    #[must_use]
    pub fn start(service: Service) -> Self {
        Self(tokio::spawn(async move {
            loop {
                match service.forget_old_answers().await {
                    Ok(0) => {}
                    Ok(count) => tracing::debug!(count, "old answers forgotten"),
                    Err(error) => {
                        tracing::warn!(%error, "old answers could not be forgotten; they are tried again")
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }))
    }

    /// Stops looking.
    pub fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for OldAnswers {
    fn drop(&mut self) {
        self.stop();
    }
}
