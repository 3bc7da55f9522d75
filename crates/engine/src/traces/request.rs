//! Where a request stands in its client's trace, and where its own trace and its way over the targets are told.

use std::sync::{Arc, OnceLock};

use privet_domain::trace::{TraceId, TraceParent};

use crate::completion::{CacheTold, StructuredTold};
use crate::course::Notes;
use crate::router::Target;

/// What whoever answers a request and whoever traces it tell each other.
#[derive(Clone, Debug, Default)]
pub struct RequestTrace {
    parent: Option<TraceParent>,
    id: Arc<OnceLock<TraceId>>,
    way: Arc<OnceLock<WayTold>>,
}

/// The way of a request over the targets, for the headers of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayTold {
    /// The provider and its model that answered, if one did.
    pub answered_by: Option<(String, String)>,
    /// All calls and what came of them, where there was more than one.
    pub attempts: Option<String>,
    /// What the cache did, where it was asked.
    pub cache: Option<CacheTold>,
    /// How the answer came to keep to its schema, where its model does not by itself.
    pub structured: Option<StructuredTold>,
}

impl WayTold {
    pub(crate) fn of(answered_by: Option<&Target>, notes: &Notes) -> Self {
        Self {
            answered_by: answered_by.map(|target| (target.provider.name().to_owned(), target.model.clone())),
            attempts: notes.is_worth_telling().then(|| notes.header()),
            cache: None,
            structured: None,
        }
    }
}

impl RequestTrace {
    /// Of a request that is part of its client's trace, or of none.
    #[must_use]
    pub fn new(parent: Option<TraceParent>) -> Self {
        Self { parent, ..Self::default() }
    }

    /// The trace that the request leaves, once it is known that it leaves one.
    #[must_use]
    pub fn id(&self) -> Option<&TraceId> {
        self.id.get()
    }

    /// The way that the request took, once it is known.
    #[must_use]
    pub fn way(&self) -> Option<&WayTold> {
        self.way.get()
    }

    /// The request took this way.
    pub(crate) fn tell_way(&self, way: WayTold) {
        // It is told once: when an answer begins, or when there is none.
        let _ = self.way.set(way);
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
