//! The worker: follows the outbox, has the vectors made that are missing, and puts them into the index.
//!
//! All of it can be repeated: a task is acknowledged after its vectors are in, and claimed again by anybody when its lease is over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::memory::embedder::{EmbedError, Purpose};
use privet_domain::memory::{ContentHash, Embedding, IndexError, IndexedMemory, MemoryId, VectorIndex as _};
use privet_domain::scope::Scopes;
use privet_store::{Embedder, EmbedderState, OutboxTask, ShownProject, StoreError};

use super::embedding::ToEmbed;
use super::{Memory, PrepareError};
use crate::Engine;
use crate::keyring::Caller;
use crate::traces::RequestTrace;

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
/// Who pays for the vectors of what is remembered.
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
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let pause = match self.step(engine).await {
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
    async fn step(&self, engine: &Arc<Engine>) -> Result<bool, StepError> {
        if self.settings.embedder.is_none() && !self.index.is_given_words() {
            return Ok(self.store.weave_outbox(STEP, engine.clock.now()).await? == STEP as usize);
        }
        let tasks = self.index_some(engine).await?;
        Ok(self.backfill(engine).await? || tasks >= STEP as usize)
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
        if self.store.weave_windows(&ids_of(&tasks), now).await? {
            // A question's window came with its answer's: both are done together.
            let beside = self.store.claim_outbox(STEP, LEASE, now).await?;
            self.store.weave_windows(&ids_of(&beside), now).await?;
            tasks.extend(beside);
        }
        match self.index_tasks(engine, &tasks).await {
            Ok(()) => self.store.acknowledge_outbox(&tasks).await?,
            Err(error) => {
                self.store.retry_outbox(&tasks, engine.clock.now()).await?;
                return Err(error);
            }
        }
        let depth = self.store.outbox_depth().await?;
        metrics::gauge!("privet_memory_outbox").set(depth.tasks as f64);
        Ok(tasks.len())
    }

    async fn index_tasks(&self, engine: &Arc<Engine>, tasks: &[OutboxTask]) -> Result<(), StepError> {
        let ids = ids_of(tasks);
        let mut memories = self.store.memories_to_index(&ids).await?;
        let there: HashSet<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        let gone: Vec<MemoryId> = ids.into_iter().filter(|id| !there.contains(id)).collect();
        if !gone.is_empty() {
            self.index.remove(&gone).await?;
        }
        // An embedder that fails holds up no other one's vectors.
        let mut failure = None;
        let known = if self.settings.embedder.is_some() { self.store.embedders().await? } else { Vec::new() };
        for embedder in known.iter().filter(|embedder| embedder.state != EmbedderState::Old) {
            if let Err(error) = self.embed_memories(engine, embedder, &mut memories).await {
                failure = Some(error);
            }
        }
        self.index.put(memories).await?;
        failure.map_or(Ok(()), Err)
    }

    /// Gives the memories the embedder's vectors, made or known already.
    pub(super) async fn embed_memories(
        &self,
        engine: &Arc<Engine>,
        embedder: &Embedder,
        memories: &mut [IndexedMemory],
    ) -> Result<(), StepError> {
        let mut known: HashMap<ContentHash, Embedding> = self.known_vectors(embedder, memories).await?;
        let mut missing: HashMap<ProjectId, HashMap<ContentHash, String>> = HashMap::new();
        for memory in memories.iter() {
            for part in memory.parts.iter().filter(|part| !known.contains_key(&part.hash)) {
                let of_project = missing.entry(memory.scope.project).or_default();
                of_project.entry(part.hash).or_insert_with(|| part.text.clone());
            }
        }
        for (project, texts) in missing {
            let caller = self.payer(project).await?;
            let (hashes, texts): (Vec<ContentHash>, Vec<String>) = texts.into_iter().unzip();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let embedded = self.embed_or_skip(engine, &caller, embedder, &texts).await?;
            known.extend(hashes.into_iter().zip(embedded).filter_map(|(hash, embedding)| Some((hash, embedding?))));
        }
        for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
            if let Some(embedding) = known.get(&part.hash) {
                part.vectors.push((embedder.id, embedding.clone()));
            }
        }
        Ok(())
    }

    /// Of several texts one may be at fault: then each is tried alone, and one that is refused stays without a vector.
    async fn embed_or_skip(
        &self,
        engine: &Arc<Engine>,
        caller: &Caller,
        embedder: &Embedder,
        texts: &[&str],
    ) -> Result<Vec<Option<Embedding>>, EmbedError> {
        let embed = async |texts: &[&str]| {
            let purpose = Purpose::Memory;
            let to_embed = ToEmbed { caller, embedder, purpose, texts, trace: RequestTrace::default() };
            engine.embed_texts(&self.settings, to_embed).await
        };
        match embed(texts).await {
            Ok(embeddings) => return Ok(embeddings.into_iter().map(Some).collect()),
            Err(EmbedError::Refused { reason }) => tracing::debug!(reason, "each text is embedded alone"),
            Err(error) => return Err(error),
        }
        let mut embeddings = Vec::with_capacity(texts.len());
        for text in texts {
            embeddings.push(match embed(&[*text]).await {
                Ok(mut embedded) => embedded.pop(),
                Err(EmbedError::Refused { reason }) => {
                    tracing::warn!(reason, "a memory stays without a vector: its words alone find it");
                    None
                }
                Err(error) => return Err(error),
            });
        }
        Ok(embeddings)
    }

    /// The project pays for the vectors of what it remembers.
    async fn payer(&self, project: ProjectId) -> Result<Caller, StoreError> {
        let name: Arc<str> = self.store.project_name(project).await?.unwrap_or_default().into();
        let nobody = ApiKeyId::from(uuid::Uuid::nil());
        Ok(Caller {
            key_id: nobody,
            family_id: nobody,
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
