//! Memories whose time is over: recalled no more from that moment on, and deleted soon after.

use std::time::Duration;

use crate::Engine;

/// It is looked for them this often.
const PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// Deletes what has expired until the future is dropped, also where nothing is remembered any more: a time that was set is kept.
    pub async fn expire_memories(&self) {
        loop {
            match self.store.expire_memories(self.clock.now()).await {
                Ok(0) => tokio::time::sleep(PAUSE).await,
                // Their vectors go by the outbox.
                Ok(_) => {
                    if let Some(memory) = &self.memory {
                        memory.written.notify_one();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "expired memories wait to be deleted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
