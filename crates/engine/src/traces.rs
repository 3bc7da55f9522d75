//! Traces on their way into the store, whoever sends them: the chat path, Langfuse's SDKs, OpenTelemetry's.

mod call;
pub mod export;
pub mod feedback;
pub mod figures;
mod pace;
mod pricing;
mod request;
mod retention;

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceBatch;
use privet_store::{StoreError, TraceStore};

use crate::Engine;
use crate::completion::CompletionError;
pub(crate) use call::{CallTrace, ChatFacts, Ended};
pub(crate) use pace::RefusalPace;
pub use pricing::BookPricing;
pub use request::RequestTrace;
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
        let observations = u64::try_from(batch.observations.len()).unwrap_or(0);
        let written = self.store.write(project, batch).await;
        match written {
            Ok(()) => metrics::counter!("privet_trace_observations_total").increment(observations),
            Err(_) => metrics::counter!("privet_trace_failures_total").increment(1),
        }
        written
    }

    /// Writes the trace of a call. A failure is logged and counted, and harms nobody.
    pub(crate) async fn record_call(&self, traced: Option<(ProjectId, TraceBatch)>) {
        let Some((project, batch)) = traced else { return };
        if let Err(error) = self.record(project, batch).await {
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
