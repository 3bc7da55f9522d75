//! Traces on their way into the store, whoever sends them: the chat path, Langfuse's SDKs, OpenTelemetry's.

mod call;
mod export;
pub mod feedback;
pub mod figures;
mod pace;
mod pricing;
mod privacy;
mod request;
mod retention;
mod score_configs;

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceBatch;
use privet_store::{Store, StoreError, TraceStore};

use crate::Engine;
use crate::completion::CompletionError;
pub(crate) use call::{CallTrace, ChatFacts, Ended, FailedAttempt, candidate, named_user, place_of_recall};
pub use export::Export;
pub(crate) use pace::RefusalPace;
pub use pricing::BookPricing;
pub use privacy::{BadPattern, ContentPolicy, MaskKind, Masks, PrivacySettings};
use privacy::{Privacy, Sender};
pub use request::{RequestTrace, WayTold};
pub use retention::Retention;
pub use score_configs::HeldScores;

/// Where traces go.
pub struct Traces {
    /// What is kept of them.
    pub store: Arc<TraceStore>,
    /// Whether requests to models leave traces by themselves.
    pub requests: bool,
    privacy: Privacy,
}

/// Names that are what somebody said are cut only when what is private in them is masked: half an address is none to a mask.
fn with_names_cut(mut batch: TraceBatch) -> TraceBatch {
    for patch in &mut batch.traces {
        if let (Some(name), Some(chars)) = (&mut patch.name, patch.name_chars_max.take()) {
            *name = name.chars().take(chars).collect();
        }
    }
    batch
}

impl Traces {
    /// Traces into this store, of projects that the other store names.
    #[must_use]
    pub fn new(traces: Arc<TraceStore>, requests: bool, privacy: PrivacySettings, projects: Arc<Store>) -> Self {
        Self { store: traces, requests, privacy: Privacy::new(privacy, projects) }
    }

    /// Writes what arrived together, as far as the project's privacy lets it. When this returns, it survives the end of the process; while too much is waiting to be
    /// written, this waits.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is written.
    pub async fn record(&self, project: ProjectId, batch: TraceBatch) -> Result<(), StoreError> {
        self.write(project, batch, Sender::Client).await
    }

    async fn write(&self, project: ProjectId, batch: TraceBatch, sender: Sender) -> Result<(), StoreError> {
        let observations = u64::try_from(batch.observations.len()).unwrap_or(0);
        let written = match self.privacy.apply(project, batch, sender).await {
            Ok(batch) => self.store.write(project, with_names_cut(batch)).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => metrics::counter!("privet_trace_observations_total").increment(observations),
            Err(_) => metrics::counter!("privet_trace_failures_total").increment(1),
        }
        written
    }

    /// Writes the trace of a call. A failure is logged and counted, and harms nobody.
    pub(crate) async fn record_call(&self, traced: Option<(ProjectId, TraceBatch)>) {
        let Some((project, batch)) = traced else { return };
        if let Err(error) = self.write(project, batch, Sender::Gateway).await {
            tracing::error!(%error, "the trace of a call was not written");
        }
    }
}

impl Engine {
    /// Writes the trace of a call that ends before it was sent, where a limit refused it.
    pub(crate) async fn trace_refusal(&self, error: &CompletionError, begin: impl FnOnce() -> CallTrace) {
        let now = self.clock.now();
        if let CompletionError::Refused(reason) = error
            && self.traces.requests
            && self.refusal_pace.allows(now)
        {
            self.traces.record_call(Some(begin().refused(reason.to_string(), now))).await;
        }
    }
}
