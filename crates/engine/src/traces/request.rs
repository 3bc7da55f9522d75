//! Where a request stands in its client's trace, and where its own trace is told.

use std::sync::{Arc, OnceLock};

use privet_domain::trace::{TraceId, TraceParent};

/// What whoever answers a request and whoever traces it tell each other.
#[derive(Clone, Debug, Default)]
pub struct RequestTrace {
    parent: Option<TraceParent>,
    id: Arc<OnceLock<TraceId>>,
}

impl RequestTrace {
    /// Of a request that is part of its client's trace, or of none.
    #[must_use]
    pub fn new(parent: Option<TraceParent>) -> Self {
        Self { parent, id: Arc::default() }
    }

    /// The trace that the request leaves, once it is known that it leaves one.
    #[must_use]
    pub fn id(&self) -> Option<&TraceId> {
        self.id.get()
    }

    /// The client's trace.
    pub(crate) const fn parent(&self) -> Option<&TraceParent> {
        self.parent.as_ref()
    }

    /// The request leaves this trace.
    pub(crate) fn tell(&self, id: &TraceId) {
        // It is told once: a request is one call.
        let _ = self.id.set(id.clone());
    }
}
