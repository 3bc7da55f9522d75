//! What of a project's traces may be written: everything, everything but what was said, or everything with private things
//! replaced. Applied before anything is written, whoever sent it.
//!
//! Ids are never changed: by a user's id the user's data is found and erased.

mod json;
mod masks;
mod only_metadata;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use privet_domain::id::ProjectId;
use privet_domain::trace::{JsonText, TraceBatch};
use privet_store::{Store, StoreError};

pub use masks::{BadPattern, MaskKind, Masks};

/// A batch with more content than this is masked off the runtime's threads, in bytes.
const INLINE_BYTES: usize = 64 * 1024;

/// What of traces is written.
#[derive(Clone, Debug, Default)]
pub enum ContentPolicy {
    /// All of it.
    #[default]
    All,
    /// Names, ids, times, models, tokens and costs, and nothing that was said.
    Metadata,
    /// All of it, with what the masks find replaced.
    Mask(Arc<Masks>),
}

/// Who sent a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// This server, of a call that went through it: what its observations' metadata say is its own.
    Gateway,
    /// A client.
    Client,
}

/// What of the traces of which project is written.
#[derive(Clone, Debug, Default)]
pub struct PrivacySettings {
    /// For projects that are not named.
    pub default: ContentPolicy,
    /// By the names of projects.
    pub projects: HashMap<String, ContentPolicy>,
}

/// The policies, by the ids of projects.
pub(crate) struct Privacy {
    settings: PrivacySettings,
    store: Arc<Store>,
    known: Mutex<HashMap<ProjectId, ContentPolicy>>,
}

impl Privacy {
    pub(crate) fn new(settings: PrivacySettings, store: Arc<Store>) -> Self {
        Self { settings, store, known: Mutex::default() }
    }

    /// What may be written of a batch.
    ///
    /// # Errors
    /// When the project's name cannot be read: then nothing may be written.
    pub(crate) async fn apply(
        &self,
        project: ProjectId,
        batch: TraceBatch,
        sender: Sender,
    ) -> Result<TraceBatch, StoreError> {
        match self.policy(project).await? {
            ContentPolicy::All => Ok(batch),
            ContentPolicy::Metadata => Ok(only_metadata::of(batch, sender)),
            ContentPolicy::Mask(masks) if content_bytes(&batch) <= INLINE_BYTES => Ok(masks.batch(batch)),
            ContentPolicy::Mask(masks) => tokio::task::spawn_blocking(move || masks.batch(batch))
                .await
                .map_err(|error| StoreError::Unavailable(format!("a trace could not be masked: {error}"))),
        }
    }

    async fn policy(&self, project: ProjectId) -> Result<ContentPolicy, StoreError> {
        if self.settings.projects.is_empty() {
            return Ok(self.settings.default.clone());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&project).cloned();
        if let Some(policy) = known {
            return Ok(policy);
        }
        // A project keeps its name, and there are few of them.
        let name = self.store.project_name(project).await?;
        let named = name.and_then(|name| self.settings.projects.get(&name).cloned());
        let policy = named.unwrap_or_else(|| self.settings.default.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(project, policy.clone());
        Ok(policy)
    }
}

/// Roughly the bytes of what was said.
fn content_bytes(batch: &TraceBatch) -> usize {
    let content = |json: &Option<JsonText>| json.as_ref().map_or(0, JsonText::len);
    let traces = batch.traces.iter().map(|patch| content(&patch.input) + content(&patch.output));
    let observations = batch.observations.iter().map(|patch| content(&patch.input) + content(&patch.output));
    traces.chain(observations).sum()
}
