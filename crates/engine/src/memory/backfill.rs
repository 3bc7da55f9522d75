//! Vectors of what was written before their embedder was there: page after page, resumed where it stopped. When a new embedder has
//! come to the end, recall uses it from one moment to the next; until then it uses the one before, and both get what is written.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::id::ProjectId;
use privet_domain::memory::{MemoryId, VectorIndex as _};
use privet_domain::time::Timestamp;
use privet_store::{EMBEDDER_COMPLETE, Embedder, EmbedderState, StoreError};

use super::Memory;
use super::vectors::{Trial, Unembedded};
use super::worker::StepError;
use crate::Engine;
use crate::budget::Sharing;

/// So many representations are looked at in one step.
const PAGE: u32 = 64;
/// Another server goes on after so long a silence of the one that made the vectors.
const LEASE: Duration = Duration::from_secs(30);
/// A new embedder that refused more than one in so many texts is not used.
const REFUSED_ONE_IN: u64 = 100;

impl Memory {
    /// Makes some of the vectors that are missing of what was there before an embedder. Gives whether there may be more to do.
    /// A page that fails twice is left to the outbox, where each text waits by itself.
    pub(super) async fn backfill(&self, engine: &Arc<Engine>, trial: Trial) -> Result<bool, StepError> {
        let embedders = self.store.embedders().await?;
        let Some(embedder) = embedders.into_iter().find(|embedder| {
            let is_complete = embedder.progress == EMBEDDER_COMPLETE;
            match embedder.state {
                EmbedderState::Active => !is_complete,
                EmbedderState::Building => true,
                EmbedderState::Old => false,
            }
        }) else {
            return Ok(false);
        };
        if !self.holds_backfill(&embedder, engine.clock.now()).await? {
            return Ok(false);
        }
        if embedder.progress == EMBEDDER_COMPLETE {
            self.switch(&embedder, engine.clock.now()).await?;
            return Ok(true);
        }
        let (mut memories, next) = self.store.memories_from(embedder.progress, PAGE).await?;
        let unembedded = self.embed_memories(engine, &embedder, &mut memories, trial).await?;
        let left: Vec<(MemoryId, ProjectId)> = match &unembedded {
            Some(Unembedded { projects, .. }) => {
                let of_failed = memories.iter().filter(|memory| projects.contains(&memory.scope.project));
                of_failed.map(|memory| (memory.id, memory.scope.project)).collect()
            }
            None => Vec::new(),
        };
        let failed_all = left.len() == memories.len();
        // What could be embedded is kept, whatever became of the rest.
        self.index.put(memories).await?;
        if let Some(Unembedded { error, .. }) = unembedded {
            if failed_all && trial == Trial::Together {
                return Err(error.into());
            }
            tracing::warn!(%error, memories = left.len(), "memories are left to the outbox: they wait there for their vectors");
            self.store.enqueue_memories(&left, engine.clock.now()).await?;
        }
        let progress = next.unwrap_or(EMBEDDER_COMPLETE);
        let now = engine.clock.now();
        self.store.advance_embedder(embedder.id, progress, now).await?;
        self.note_backfill(embedder.id, now);
        Ok(true)
    }

    /// Several servers share a PostgreSQL: one of them makes the vectors. SQLite has one server.
    async fn holds_backfill(&self, embedder: &Embedder, now: Timestamp) -> Result<bool, StoreError> {
        if Sharing::of(&self.store) == Sharing::Alone {
            return Ok(true);
        }
        let is_ours = self.backfilled() == Some((embedder.id, embedder.updated_at));
        let is_left = embedder.progress == 0 || embedder.updated_at.after(LEASE) <= now;
        if !is_ours && !is_left {
            return Ok(false);
        }
        let is_claimed = self.store.claim_embedder(embedder, now).await?;
        if is_claimed {
            self.note_backfill(embedder.id, now);
        }
        Ok(is_claimed)
    }

    /// Uses a new embedder, unless it refused too much.
    async fn switch(&self, embedder: &Embedder, now: Timestamp) -> Result<(), StepError> {
        let check = self.store.check_memory(Some(embedder.id)).await?;
        if check.refused.saturating_mul(REFUSED_ONE_IN) > check.representations {
            tracing::error!(
                embedder = embedder.name,
                refused = check.refused,
                of = check.representations,
                "the embedder refused too many texts: recall stays with the one before; try again with privet memory reindex"
            );
            self.store.retire_embedder(embedder.id, now).await?;
            return Ok(());
        }
        // What waits in the outbox gets its vectors there; what neither has one nor waits is made first.
        if self.store.resume_embedder(embedder.id, now).await? {
            return Ok(());
        }
        // The codes are read before they are needed.
        self.index.prepare(embedder.id, embedder.dimensions).await?;
        self.store.activate_embedder(embedder.id, now).await?;
        self.follow_active().await?;
        tracing::info!(
            embedder = embedder.name,
            "recall uses the new embedder; privet memory reindex --finish drops the old vectors"
        );
        Ok(())
    }
}
