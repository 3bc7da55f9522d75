//! Traces on their way into the store, whoever sends them: the chat path, Langfuse's SDKs, OpenTelemetry's.

mod call;
pub mod export;
mod pricing;
mod retention;

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceBatch;
use privet_store::{StoreError, TraceStore};

pub(crate) use call::{CallTrace, ChatFacts, Ended};
pub use pricing::BookPricing;
pub use retention::Retention;

/// Where traces go.
pub struct Traces {
    /// What is kept of them.
    pub store: Arc<TraceStore>,
    /// Whether requests to models leave traces by themselves.
    pub requests: bool,
}

impl Traces {
    /// Writes what arrived together. When this returns, it survives the end of the process; while too much is waiting to be
    /// written, this waits.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is written.
    pub async fn record(&self, project: ProjectId, batch: TraceBatch) -> Result<(), StoreError> {
        self.store.write(project, batch).await
    }

    /// Writes the trace of a call. A failure is logged and counted.
    pub(crate) async fn record_call(&self, traced: Option<(ProjectId, TraceBatch)>) {
        let Some((project, batch)) = traced else { return };
        if let Err(error) = self.record(project, batch).await {
            metrics::counter!("privet_trace_failures_total").increment(1);
            tracing::error!(%error, "the trace of a call was not written");
        }
    }
}
