//! Deleting traces with all that belongs to them. The sums of days stay; contents that nothing else refers to go within a minute,
//! when erasures are finished.

use privet_domain::id::ProjectId;
use privet_domain::trace::TraceId;

use super::TraceStore;
use super::erasure::{ErasedTraces, TraceKey};
use super::stored_id::pack;
use crate::error::StoreError;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletedTraces {
    /// How many traces.
    pub traces: u64,
    /// How many observations.
    pub observations: u64,
    /// How many scores, of the traces and of their observations.
    pub scores: u64,
}

impl TraceStore {
    /// Deletes traces with their observations and scores. Those that are not there are left out.
    ///
    /// # Errors
    /// When the database fails; then some of them may be deleted.
    pub async fn delete_traces(&self, project: ProjectId, ids: &[TraceId]) -> Result<DeletedTraces, StoreError> {
        let traces: Vec<TraceKey> = ids.iter().map(|id| (project.as_uuid(), pack(id.as_str()))).collect();
        let mut erased = ErasedTraces::default();
        self.erase_traces(&traces, &mut erased).await?;
        Ok(DeletedTraces { traces: erased.traces, observations: erased.observations, scores: erased.scores })
    }
}
