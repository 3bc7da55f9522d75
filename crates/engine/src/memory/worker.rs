//! The worker: follows the outbox, has the vectors made that are missing, and puts them into the index.
//!
//! All of it can be repeated: a task is acknowledged after its vectors are in, and claimed again by anybody when its lease is over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::memory::embedder::{EmbedError, Purpose};
use privet_domain::memory::{
    ContentHash, Embedding, IndexError, IndexedMemory, IndexedPart, MemoryId, VectorIndex as _,
};
use privet_domain::scope::Scopes;
use privet_domain::time::Timestamp;
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

/// What stayed without vectors.
pub(super) struct Unembedded {
    /// Whose texts: other projects' have their vectors.
    pub(super) projects: HashSet<ProjectId>,
    /// The last reason.
    pub(super) error: EmbedError,
}

impl Unembedded {
    fn joined(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(mut one), Some(other)) => {
                one.projects.extend(other.projects);
                Some(Self { error: other.error, ..one })
            }
            (one, other) => one.or(other),
        }
    }
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
            match self.backfill(engine).await {
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
            let left = self.embed_memories(engine, embedder, &mut memories).await?;
            unembedded = Unembedded::joined(unembedded, left);
        }
        self.index.put(memories).await?;
        Ok(unembedded)
    }

    /// Gives the memories the embedder's vectors, made or known already. What fails in one project holds up no other's, and what was
    /// made before it is kept.
    pub(super) async fn embed_memories(
        &self,
        engine: &Arc<Engine>,
        embedder: &Embedder,
        memories: &mut [IndexedMemory],
    ) -> Result<Option<Unembedded>, StepError> {
        let mut known: HashMap<ContentHash, Embedding> = self.known_vectors(embedder, memories).await?;
        let parts = memories.iter().flat_map(|memory| &memory.parts);
        let unknown: Vec<i64> = parts.filter(|part| !known.contains_key(&part.hash)).map(|part| part.number).collect();
        let refused = self.store.refusals(embedder.id, &unknown).await?;
        let mut missing: HashMap<ProjectId, HashMap<ContentHash, String>> = HashMap::new();
        for memory in memories.iter() {
            let is_missing = |part: &&IndexedPart| !known.contains_key(&part.hash) && !refused.contains(&part.number);
            for part in memory.parts.iter().filter(is_missing) {
                let of_project = missing.entry(memory.scope.project).or_default();
                of_project.entry(part.hash).or_insert_with(|| part.text.clone());
            }
        }
        let (mut unembedded, mut refusing) = (None, HashSet::new());
        for (project, texts) in missing {
            let caller = self.payer(project).await?;
            let (hashes, texts): (Vec<ContentHash>, Vec<String>) = texts.into_iter().unzip();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (embedded, failure) = self.embed_or_skip(engine, &caller, embedder, &texts).await;
            for (hash, embedding) in hashes.into_iter().zip(embedded) {
                match embedding {
                    Some(embedding) => drop(known.insert(hash, embedding)),
                    None => drop(refusing.insert(hash)),
                }
            }
            let left = failure.map(|error| Unembedded { projects: HashSet::from([project]), error });
            unembedded = Unembedded::joined(unembedded, left);
        }
        let parts = memories.iter().flat_map(|memory| &memory.parts);
        let refusing: Vec<i64> = parts.filter(|part| refusing.contains(&part.hash)).map(|part| part.number).collect();
        self.store.note_refusals(embedder.id, &refusing).await?;
        for part in memories.iter_mut().flat_map(|memory| &mut memory.parts) {
            if let Some(embedding) = known.get(&part.hash) {
                part.vectors.push((embedder.id, embedding.clone()));
            }
        }
        Ok(unembedded)
    }

    /// The vectors of texts, up to the first that could not be made, and why. Of several texts one may be at fault: then each is tried
    /// alone, and one that is refused stays without a vector.
    async fn embed_or_skip(
        &self,
        engine: &Arc<Engine>,
        caller: &Caller,
        embedder: &Embedder,
        texts: &[&str],
    ) -> (Vec<Option<Embedding>>, Option<EmbedError>) {
        let embed = async |texts: &[&str], made: &mut Vec<Embedding>| {
            let purpose = Purpose::Memory;
            let to_embed = ToEmbed { caller, embedder, purpose, texts, trace: RequestTrace::default() };
            engine.embed_texts(&self.settings, to_embed, made).await
        };
        let mut made = Vec::with_capacity(texts.len());
        let done = embed(texts, &mut made).await;
        let mut embeddings: Vec<Option<Embedding>> = made.into_iter().map(Some).collect();
        match done {
            Ok(()) => return (embeddings, None),
            Err(EmbedError::Refused { reason }) => tracing::debug!(reason, "each text is embedded alone"),
            Err(error) => return (embeddings, Some(error)),
        }
        for text in texts.get(embeddings.len()..).unwrap_or_default() {
            let mut alone = Vec::with_capacity(1);
            match embed(&[*text], &mut alone).await {
                Ok(()) => embeddings.push(alone.pop()),
                Err(EmbedError::Refused { reason }) => {
                    tracing::warn!(reason, "a memory stays without a vector: its words alone find it");
                    embeddings.push(None);
                }
                Err(error) => return (embeddings, Some(error)),
            }
        }
        (embeddings, None)
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
