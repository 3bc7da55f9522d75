//! Traces on their way into the store, whoever sends them: the chat path, Langfuse's SDKs, OpenTelemetry's.

mod pricing;

use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceBatch;
use privet_store::{StoreError, TraceStore};

pub use pricing::BookPricing;

/// Where traces go.
pub struct Traces {
    /// What is kept of them.
    pub store: Arc<TraceStore>,
}

impl Traces {
    /// Into this store.
    #[must_use]
    pub const fn new(store: Arc<TraceStore>) -> Self {
        Self { store }
    }

    /// Writes what arrived together. When this returns, it survives the end of the process; while too much is waiting to be
    /// written, this waits.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is written.
    pub async fn record(&self, project: ProjectId, batch: TraceBatch) -> Result<(), StoreError> {
        self.store.write(project, batch).await
    }
}
