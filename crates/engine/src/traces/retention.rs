//! How long traces stay: by age, and by the room they may take.

use std::time::Duration;

use privet_domain::time::{Clock, Timestamp};
use privet_store::{Expired, StoreError, TraceStore};

/// What is too old or too much is looked for so often.
const INTERVAL: Duration = Duration::from_secs(60);
/// Between two steps, so that writing comes to its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// Where the room is too small, what was written within so long after the oldest goes first.
const OLDEST_SPAN: Duration = Duration::from_secs(600);

/// How long traces stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What was last written longer ago expires; `None` is never.
    pub keep: Option<Duration>,
    /// Above so many bytes the oldest goes first.
    pub bytes_max: u64,
}

impl Retention {
    /// Lets expire what should, for ever.
    pub async fn follow(self, store: &TraceStore, clock: &dyn Clock) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.apply(store, clock.now()).await {
                tracing::error!(%error, "old traces are not deleted now; they will be later");
            }
        }
    }

    /// Lets expire what should by now.
    ///
    /// # Errors
    /// When the database fails; what was deleted until then stays deleted.
    pub async fn apply(self, store: &TraceStore, now: Timestamp) -> Result<(), StoreError> {
        if let Some(keep) = self.keep {
            expire(store, now.before(keep)).await?;
        }
        let mut used = store.bytes_used().await?;
        while used > self.bytes_max {
            let Some(oldest) = store.oldest().await? else { break };
            expire(store, oldest.after(OLDEST_SPAN)).await?;
            let before = used;
            used = store.bytes_used().await?;
            if oldest.after(OLDEST_SPAN) > now && used >= before {
                tracing::warn!(
                    used,
                    max = self.bytes_max,
                    "`traces.disk_max` is too small for what came in the last minutes"
                );
                break;
            }
        }
        metrics::gauge!("privet_traces_bytes").set(used as f64);
        while store.give_back().await? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Deletes all that was last touched before, step by step.
async fn expire(store: &TraceStore, before: Timestamp) -> Result<(), StoreError> {
    loop {
        let Expired { traces, scores, bodies } = store.expire(before).await?;
        metrics::counter!("privet_traces_expired_total").increment(traces);
        if traces == 0 && scores == 0 && bodies == 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
