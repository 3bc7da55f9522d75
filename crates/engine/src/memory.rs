//! Memory: what was said or read is kept, found again by its words and its meaning, and told to a model as data.
//!
//! `remember` makes memories of the messages of a turn; the store keeps them in the turn's own transaction, with an entry in the
//! outbox. `worker` follows the outbox and has vectors made by the embedder (`embedding`); `describer` has further descriptions made by a
//! model (`describing`), where that is asked for. `recall` searches, joins what the legs
//! found, and packs what fits; `quote` writes it for a prompt.

mod backfill;
pub mod check;
mod describer;
mod describing;
mod description;
pub mod document;
mod embedding;
mod expiry;
mod index;
mod patience;
pub mod quote;
mod recall;
mod remember;
mod second_look;
mod vectors;
mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use privet_domain::id::{EmbedderId, ProjectId};
use privet_domain::memory::embedder::{EmbedLimits, Prefixes};
use privet_domain::memory::fusion::{Recency, Weights};
use privet_domain::memory::pack::PackBudget;
use privet_domain::memory::{ContentHash, Embedding, Memory as Record, MemoryId, NewMemory, Representation};
use privet_domain::time::Timestamp;
use privet_store::{Embedder, EmbedderState, MemoryUpdate, NewEmbedder, Store, StoreError};
use serde_json::Value;
use tokio::sync::Notify;

use crate::traces::candidate;

pub use describer::DescriberSettings;
pub use index::{MemoryIndex, PrepareError};
use patience::Patience;
use quote::QuoteFormat;
pub use recall::{Considered, Found, RecallError, RecallRequest, Recollection, legs};
pub(crate) use remember::of_messages;
pub use remember::scope_of;

/// So many embedded questions are remembered: the same is often asked twice, once to search and once to chat.
const QUESTIONS_KEPT: usize = 64;

/// What makes the vectors, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderSettings {
    /// Its name, by which re-indexing speaks of it.
    pub name: String,
    /// Whose model.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// How many dimensions its vectors have.
    pub dimensions: usize,
}

/// How memory works.
#[derive(Clone, Debug)]
pub struct MemorySettings {
    /// What makes vectors; without it memory is found by its words alone.
    pub embedder: Option<EmbedderSettings>,
    /// What describes memories in other words; without it nobody does.
    pub describer: Option<DescriberSettings>,
    /// What is put before texts.
    pub prefixes: Prefixes,
    /// What one call of the embedder takes.
    pub limits: EmbedLimits,
    /// How much each leg counts.
    pub weights: Weights<Representation>,
    /// How much less the old counts, if at all.
    pub recency: Option<Recency>,
    /// What a prompt is given.
    pub budget: PackBudget,
    /// So many candidates each leg gives.
    pub leg_candidates: usize,
    /// How recalled texts are written.
    pub format: QuoteFormat<'static>,
    /// The model that judges the best candidates anew, as a client would name it.
    pub reranker: Option<String>,
    /// A question is searched by its words alone when its embedding takes longer, and keeps its order when the reranker does.
    pub question_timeout: Duration,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            embedder: None,
            describer: None,
            prefixes: Prefixes::default(),
            limits: EmbedLimits::default(),
            weights: Weights::measured(Representation::Text, Representation::Window, Representation::DESCRIPTIONS),
            recency: None,
            budget: PackBudget::default(),
            leg_candidates: 50,
            format: QuoteFormat::Entries,
            reranker: None,
            question_timeout: Duration::from_secs(3),
        }
    }
}

/// How a memory was found, and why it is in or out: as the API tells it, and the trace.
#[must_use]
pub fn explained(one: &Considered) -> Value {
    candidate(one, false)
}

/// Which memories have vectors, of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// None are made: memory is found by its words alone.
    Off,
    /// Of this embedder.
    Of(Embedder),
    /// Of this one, though the configuration names another: everything must be embedded anew before it can be used.
    Other(Embedder),
}

/// The memory of all projects.
pub struct Memory {
    pub(crate) settings: MemorySettings,
    pub(crate) store: Arc<Store>,
    pub(crate) index: MemoryIndex,
    active: RwLock<Option<Embedder>>,
    /// The embedder whose vectors this process makes of what was there before it, and when it last noted how far it is.
    backfilled: Mutex<Option<(EmbedderId, Timestamp)>>,
    questions: Mutex<VecDeque<(ContentHash, Embedding)>>,
    patience: Patience,
    reranker_patience: Patience,
    /// Something was put into the outbox by this process.
    pub(crate) written: Notify,
    /// Something waits for its description.
    undescribed: Notify,
}

/// Whether an embedder is the one that the configuration names.
fn is_of(embedder: &Embedder, wanted: &EmbedderSettings) -> bool {
    (&embedder.provider, &embedder.model, embedder.dimensions) == (&wanted.provider, &wanted.model, wanted.dimensions)
}

impl Memory {
    /// The memory that this store keeps.
    #[must_use]
    pub fn new(store: Arc<Store>, index: MemoryIndex, settings: MemorySettings) -> Self {
        Self {
            settings,
            store,
            index,
            active: RwLock::default(),
            backfilled: Mutex::default(),
            questions: Mutex::default(),
            patience: Patience::default(),
            reranker_patience: Patience::default(),
            written: Notify::new(),
            undescribed: Notify::new(),
        }
    }

    /// Sees which embedder is active; the first that the configuration names becomes it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(&self, now: Timestamp) -> Result<Vectors, StoreError> {
        let Some(wanted) = &self.settings.embedder else { return Ok(Vectors::Off) };
        let known = self.store.embedders().await?;
        let active = known.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
        let active = match active {
            // One that has made nothing yet was named by mistake: as it is named now it is the first.
            Some(active) if !is_of(&active, wanted) && self.store.forget_unused_embedder(active.id).await? => {
                self.first(wanted, now).await?
            }
            Some(active) => active,
            None => self.first(wanted, now).await?,
        };
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(active.clone());
        self.store.resume_embedder(active.id, now).await?;
        Ok(if is_of(&active, wanted) { Vectors::Of(active) } else { Vectors::Other(active) })
    }

    async fn first(&self, wanted: &EmbedderSettings, now: Timestamp) -> Result<Embedder, StoreError> {
        let new = NewEmbedder {
            name: wanted.name.clone(),
            provider: wanted.provider.clone(),
            model: wanted.model.clone(),
            dimensions: wanted.dimensions,
            state: EmbedderState::Active,
        };
        let active = match self.store.create_embedder(&new, now).await {
            Ok(active) => active,
            // Another server was faster.
            Err(StoreError::Exists(_)) => {
                let known = self.store.embedders().await?;
                let found = known.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
                found.ok_or_else(|| StoreError::Damaged("no embedder is active".to_owned()))?
            }
            Err(error) => return Err(error),
        };
        Ok(active)
    }

    /// Remembers something. Its vectors come a little later.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project is unknown, or the database fails.
    pub async fn add(&self, memories: &[NewMemory], now: Timestamp) -> Result<(), StoreError> {
        self.store.add_memories(memories, now).await?;
        self.written.notify_one();
        Ok(())
    }

    /// Changes a memory.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project has none of this id, or the database fails.
    pub async fn change(
        &self,
        project: ProjectId,
        id: MemoryId,
        update: &MemoryUpdate,
        now: Timestamp,
    ) -> Result<Record, StoreError> {
        let changed = self.store.update_memory(project, id, update, now).await?;
        self.written.notify_one();
        Ok(changed)
    }

    /// The embedder that recall uses.
    #[must_use]
    pub fn active(&self) -> Option<Embedder> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads anew which embedder is active: another process may have switched.
    pub(crate) async fn follow_active(&self) -> Result<(), StoreError> {
        if self.settings.embedder.is_none() {
            return Ok(());
        }
        let known = self.store.embedders().await?;
        if let MemoryIndex::Embedded(index) = &self.index {
            let used = known.iter().filter(|embedder| embedder.state != EmbedderState::Old);
            index.keep_codes(&used.map(|embedder| embedder.id).collect::<Vec<_>>());
        }
        let active = known.into_iter().find(|embedder| embedder.state == EmbedderState::Active);
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = active;
        Ok(())
    }

    fn backfilled(&self) -> Option<(EmbedderId, Timestamp)> {
        *self.backfilled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_backfill(&self, embedder: EmbedderId, at: Timestamp) {
        *self.backfilled.lock().unwrap_or_else(PoisonError::into_inner) = Some((embedder, at));
    }

    fn known_question(&self, hash: ContentHash) -> Option<Embedding> {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.iter().find(|(known, _)| *known == hash).map(|(_, embedding)| embedding.clone())
    }

    fn keep_question(&self, hash: ContentHash, embedding: Embedding) {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() >= QUESTIONS_KEPT {
            questions.pop_front();
        }
        questions.push_back((hash, embedding));
    }
}
