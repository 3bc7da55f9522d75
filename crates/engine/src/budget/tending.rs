//! What a server does for its slices where others share the budgets: signs of life, and giving back what it does not use.

use std::time::Duration;

use privet_domain::time::Timestamp;
use privet_store::StoreError;

use super::{Budgets, Sharing};

/// A server that gives no sign of life for so long is fenced by the others.
pub const LEASE: Duration = Duration::from_secs(10);
/// Signs of life come so often.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// What was not used for so long is returned even if nobody wants it.
const IDLE: Duration = Duration::from_secs(5);

impl Budgets {
    /// Tends the slices, for ever. For a server that is alone there is nothing to do.
    pub async fn tend(&self) {
        if self.sharing == Sharing::Alone {
            return;
        }
        let mut looked_at = self.clock.now();
        loop {
            tokio::time::sleep(TEND_INTERVAL).await;
            let now = self.clock.now();
            match self.tend_once(looked_at).await {
                Ok(()) => looked_at = now,
                Err(error) => tracing::error!(%error, "the shares of the budgets could not be tended"),
            }
        }
    }

    /// One round: a sign of life, fencing the dead, returning what is wanted elsewhere since then or idle.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tend_once(&self, since: Timestamp) -> Result<(), StoreError> {
        let now = self.clock.now();
        let replica_id = self.replica_id();
        match self.store.renew_replica(replica_id, now.after(LEASE)).await {
            Err(StoreError::Fenced) => return self.begin_anew(replica_id).await,
            renewed => renewed?,
        }
        let fenced = self.store.fence_replicas(replica_id, now, now).await?;
        if fenced > 0 {
            tracing::warn!(fenced, "servers without a sign of life were fenced");
        }
        let wanted = self.store.wanted_windows(since).await?;
        self.return_unused(&wanted, IDLE).await
    }

    /// Ends, and returns all that is free: nothing can be held after it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire(&self) -> Result<(), StoreError> {
        self.store.retire_replica(self.replica_id(), self.clock.now()).await
    }

    async fn return_unused(&self, wanted: &[privet_store::Charge], idle: Duration) -> Result<(), StoreError> {
        let _one_at_a_time = self.growing.lock().await;
        let (replica_id, unused) = {
            let mut slices = self.lock();
            (slices.replica_id, slices.take_unused(wanted, idle))
        };
        for (charge, amount) in unused {
            // What cannot be returned now is not spent either: fencing brings it back one day.
            self.store.return_grant(replica_id, &charge, amount).await?;
        }
        Ok(())
    }
}
