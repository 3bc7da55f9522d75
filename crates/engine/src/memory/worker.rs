//! The worker: follows the outbox, has the vectors made that are missing, and puts them into the index.
//!
//! All of it can be repeated: a task is acknowledged after its vectors are in, and claimed again by anybody when its lease is over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::memory::embedder::EmbedError;
use privet_domain::memory::{IndexError, MemoryId, VectorIndex as _};
use privet_domain::scope::Scopes;
use privet_domain::time::Timestamp;
use privet_store::{EmbedderState, OutboxTask, ShownProject, StoreError};

use super::vectors::{Trial, Unembedded};
use super::{Memory, PrepareError};
use crate::Engine;
use crate::keyring::Caller;

/// So many memories are taken at once.
const STEP: u32 = 64;
/// Nobody else takes them before.
const LEASE: Duration = Duration::from_secs(120);
/// The outbox is looked at this often, where nothing is heard of it.
const POLL: Duration = Duration::from_secs(1);
/// What comes shortly after is done together with it.
const GATHER: Duration = Duration::from_millis(200);
/// After a failure of the embedder or the database.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Texts that failed so often together are tried alone.
const ALONE_AFTER: u32 = 3;
/// Who pays for the vectors and descriptions of what is remembered.
const PAYER: &str = "memory";

impl From<PrepareError> for StepError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Index(error) => Self::Index(error),
            PrepareError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

/// When what was there before an embedder is embedded again after a failure: later each time, and never in the way of the outbox.
#[derive(Default)]
struct BackfillPause {
    failures: u32,
    until: Option<Instant>,
}

impl BackfillPause {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn failed(&mut self, error: &StepError) {
        self.failures += 1;
        self.until = Instant::now().checked_add(told(error, self.failures));
    }
}

/// Tells of a failure; gives how long to wait: twice as long each time, or as long as the provider asks for.
fn told(error: &StepError, failures: u32) -> Duration {
    let pause = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let StepError::Embed(error) = error else {
        tracing::warn!(%error, "the memory's outbox waits");
        return pause;
    };
    metrics::counter!("privet_memory_embed_failures_total").increment(1);
    tracing::warn!(%error, "memories wait for their vectors; they are found by their words meanwhile");
    match error {
        EmbedError::RateLimited { retry_after: Some(wait), .. } => (*wait).max(PAUSE),
        _ => pause,
    }
}

fn ids_of(tasks: &[OutboxTask]) -> Vec<MemoryId> {
    tasks.iter().map(|task| task.memory).collect()
}

impl Memory {
    /// Follows the outbox until the future is dropped.
    pub async fn follow(&self, engine: &Arc<Engine>) {
        let (mut failures, mut backfill) = (0, BackfillPause::default());
        loop {
            let began = Instant::now();
            let pause = match self.step(engine, &mut backfill).await {
                Ok(is_more) => {
                    failures = 0;
                    if is_more {
                        // Chats write by the same connection: they get as much of its time.
                        tokio::time::sleep(began.elapsed().min(GATHER)).await;
                        continue;
                    }
                    let _ = tokio::time::timeout(POLL, self.written.notified()).await;
                    GATHER
                }
                Err(error) => {
                    // A server that has lost its collection is given it again.
                    if matches!(error, StepError::Index(_))
                        && let Err(error) = self.prepare_index().await
                    {
                        tracing::debug!(%error, "the index is not ready");
                    }
                    failures += 1;
                    told(&error, failures)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Does some of what waits. Gives whether there may be more to do.
    async fn step(&self, engine: &Arc<Engine>, pause: &mut BackfillPause) -> Result<bool, StepError> {
        if self.settings.embedder.is_none() && !self.index.is_given_words() {
            let describes_from = self.settings.describer.as_ref().map(|describer| describer.bytes_min);
            let done = self.store.weave_outbox(STEP, describes_from, engine.clock.now()).await?;
            if done > 0 && describes_from.is_some() {
                self.undescribed.notify_one();
            }
            return Ok(done == STEP as usize);
        }
        let tasks = self.index_some(engine).await?;
        let mut is_more = tasks >= STEP as usize;
        if pause.is_over() {
            let trial = if pause.failures == 0 { Trial::Together } else { Trial::Alone };
            match self.backfill(engine, trial).await {
                Ok(was_done) => {
                    *pause = BackfillPause::default();
                    is_more |= was_done;
                }
                Err(error) => pause.failed(&error),
            }
        }
        Ok(is_more)
    }

    /// Does tasks of the outbox; gives how many.
    async fn index_some(&self, engine: &Arc<Engine>) -> Result<usize, StepError> {
        let now = engine.clock.now();
        let mut tasks = self.store.claim_outbox(STEP, LEASE, now).await?;
        // After the claim: then no embedder that is being built misses what was written before it was there.
        self.follow_active().await?;
        if tasks.is_empty() {
            return Ok(0);
        }
        let unembedded = match self.index_tasks(engine, &mut tasks, now).await {
            Ok(unembedded) => unembedded,
            Err(error) => {
                self.store.retry_outbox(&tasks, engine.clock.now()).await?;
                return Err(error);
            }
        };
        let count = tasks.len();
        let waits = |task: &OutboxTask| unembedded.as_ref().is_some_and(|left| left.projects.contains(&task.project));
        let (waiting, done): (Vec<OutboxTask>, Vec<OutboxTask>) = tasks.into_iter().partition(waits);
        // Before the tasks end: a crash in between repeats it.
        self.queue_descriptions(engine, &ids_of(&done)).await?;
        self.store.acknowledge_outbox(&done).await?;
        if let Some(Unembedded { error, .. }) = unembedded {
            self.store.retry_outbox(&waiting, engine.clock.now()).await?;
            metrics::counter!("privet_memory_embed_failures_total").increment(1);
            let attempts = waiting.iter().map(|task| task.attempts).max().unwrap_or_default();
            tracing::warn!(%error, attempts, "memories wait for their vectors; they are found by their words meanwhile");
        }
        let depth = self.store.outbox_depth().await?;
        metrics::gauge!("privet_memory_outbox").set(depth.tasks as f64);
        Ok(count)
    }

    /// Windows, vectors, index. A question's window is made with its answer's: then its own task is done too.
    async fn index_tasks(
        &self,
        engine: &Arc<Engine>,
        tasks: &mut Vec<OutboxTask>,
        now: Timestamp,
    ) -> Result<Option<Unembedded>, StepError> {
        if self.store.weave_windows(&ids_of(tasks), now).await? {
            let beside = self.store.claim_outbox(STEP, LEASE, now).await?;
            tasks.extend(&beside);
            self.store.weave_windows(&ids_of(&beside), now).await?;
        }
        let failed_often = tasks.iter().any(|task| task.attempts >= ALONE_AFTER);
        let trial = if failed_often { Trial::Alone } else { Trial::Together };
        let ids = ids_of(tasks);
        let mut memories = self.store.memories_to_index(&ids).await?;
        let there: HashSet<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        let gone: Vec<MemoryId> = ids.into_iter().filter(|id| !there.contains(id)).collect();
        if !gone.is_empty() {
            self.index.remove(&gone).await?;
        }
        let mut unembedded = None;
        let known = if self.settings.embedder.is_some() { self.store.embedders().await? } else { Vec::new() };
        for embedder in known.iter().filter(|embedder| embedder.state != EmbedderState::Old) {
            let left = self.embed_memories(engine, embedder, &mut memories, trial).await?;
            unembedded = Unembedded::joined(unembedded, left);
        }
        self.index.put(memories).await?;
        Ok(unembedded)
    }

    /// The project pays for the vectors and the descriptions of what it remembers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn payer(&self, project: ProjectId) -> Result<Caller, StoreError> {
        let name: Arc<str> = self.store.project_name(project).await?.unwrap_or_default().into();
        let nobody = ApiKeyId::from(uuid::Uuid::nil());
        Ok(Caller {
            key_id: nobody,
            // Budgets and rates are known by it: each project has its own.
            family_id: ApiKeyId::from(project.as_uuid()),
            key_name: PAYER.into(),
            project_id: project,
            project: name.clone(),
            project_shown: Arc::new(ShownProject { id: project.to_string(), name: name.to_string() }),
            user_id: PAYER.into(),
            scopes: Scopes::default(),
            limits: Arc::default(),
        })
    }
}
