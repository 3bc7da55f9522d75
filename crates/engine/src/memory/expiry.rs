//! Memories whose time is over: recalled no more from that moment on, and deleted soon after.

use std::time::Duration;

use privet_domain::time::Clock;

use super::Memory;

/// It is looked for them this often.
const PAUSE: Duration = Duration::from_secs(5);

impl Memory {
    /// Deletes what has expired until the future is dropped.
    pub async fn expire(&self, clock: &dyn Clock) {
        loop {
            match self.store.expire_memories(clock.now()).await {
                Ok(0) => tokio::time::sleep(PAUSE).await,
                // Their vectors go by the outbox.
                Ok(_) => self.written.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "expired memories wait to be deleted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
