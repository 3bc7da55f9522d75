//! The latest refusals of known keys, kept so that `privet explain` can say why. In a flood most are counted only.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use privet_store::{Refusal, Store};

/// So many wait to be written; in a flood the oldest of them give way.
const WAITING_MAX: usize = 256;
const WRITE_INTERVAL: Duration = Duration::from_millis(500);

/// The refusals that are not written yet.
#[derive(Default)]
pub struct RefusalLog {
    waiting: Mutex<VecDeque<Refusal>>,
}

impl RefusalLog {
    /// Notes a refusal.
    pub fn note(&self, refusal: Refusal) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(refusal);
    }

    /// Writes what was noted, for ever.
    pub async fn follow(&self, store: &Store) {
        loop {
            tokio::time::sleep(WRITE_INTERVAL).await;
            self.write(store).await;
        }
    }

    /// Writes what was noted.
    pub async fn write(&self, store: &Store) {
        let refusals: Vec<Refusal> = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        if refusals.is_empty() {
            return;
        }
        if let Err(error) = store.keep_refusals(&refusals).await {
            tracing::warn!(%error, count = refusals.len(), "refusals were not kept; `privet explain` will not know them");
        }
    }
}
