//! Traces on their way into the store, whoever sends them: the chat path, Langfuse's SDKs, OpenTelemetry's.

mod call;
mod export;
mod pricing;
mod privacy;
mod retention;

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceBatch;
use privet_store::{Store, StoreError, TraceStore};

pub(crate) use call::{CallTrace, ChatFacts, Ended};
pub use export::Export;
pub use pricing::BookPricing;
pub use privacy::{BadPattern, ContentPolicy, MaskKind, Masks, PrivacySettings};
use privacy::{Privacy, Sender};
pub use retention::Retention;

/// Where traces go.
pub struct Traces {
    /// What is kept of them.
    pub store: Arc<TraceStore>,
    /// Whether requests to models leave traces by themselves.
    pub requests: bool,
    privacy: Privacy,
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
        let batch = self.privacy.apply(project, batch, sender).await?;
        self.store.write(project, batch).await
    }

    /// Writes the trace of a call. A failure is logged and counted.
    pub(crate) async fn record_call(&self, traced: Option<(ProjectId, TraceBatch)>) {
        let Some((project, batch)) = traced else { return };
        if let Err(error) = self.write(project, batch, Sender::Gateway).await {
            metrics::counter!("privet_trace_failures_total").increment(1);
            tracing::error!(%error, "the trace of a call was not written");
        }
    }
}
