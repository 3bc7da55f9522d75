//! Patches: what one event or span says of a trace or an observation. `None` says nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{JsonText, Level, ObservationId, ObservationType, PromptLink, TraceId};
use crate::money::Nanos;
use crate::time::NanoTimestamp;

/// What is said of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePatch {
    /// The trace.
    pub id: TraceId,
    /// Its place in the order of patches: the start of the span, or the time of the event. Of two that name the same field
    /// the later holds.
    pub at: NanoTimestamp,
    /// When the trace began. Of several the earliest holds.
    pub timestamp: Option<NanoTimestamp>,
    /// What it is called.
    pub name: Option<String>,
    /// The name is what somebody said: it is cut to so many characters once what is private in it is masked.
    pub name_chars_max: Option<usize>,
    /// For whom it ran.
    pub user_id: Option<String>,
    /// The session (a conversation) it belongs to.
    pub session_id: Option<String>,
    /// The release of the application.
    pub release: Option<String>,
    /// The version of this kind of trace.
    pub version: Option<String>,
    /// The environment, such as `production`.
    pub environment: Option<String>,
    /// What went in.
    pub input: Option<JsonText>,
    /// What came out.
    pub output: Option<JsonText>,
    /// Whether anybody with its link may see it.
    pub public: Option<bool>,
    /// Tags to add.
    pub tags: Vec<String>,
    /// Metadata to merge, key by key.
    pub metadata: Map<String, Value>,
}

impl TracePatch {
    /// A patch that says nothing yet.
    #[must_use]
    pub fn new(id: TraceId, at: NanoTimestamp) -> Self {
        Self {
            id,
            at,
            timestamp: None,
            name: None,
            name_chars_max: None,
            user_id: None,
            session_id: None,
            release: None,
            version: None,
            environment: None,
            input: None,
            output: None,
            public: None,
            tags: Vec::new(),
            metadata: Map::new(),
        }
    }
}

/// Whether a patch begins an observation or changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchKind {
    /// It begins it. Of two patches at one instant this one is the first.
    Create,
    /// It changes it.
    Update,
}

/// What is said of an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservationPatch {
    /// The observation.
    pub id: ObservationId,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The time of the event, or the start of the span: of two patches that name the same field the later holds.
    pub at: NanoTimestamp,
    /// Whether it begins or changes it.
    pub kind: PatchKind,
    /// The observation that it is part of.
    pub parent_id: Option<ObservationId>,
    /// What kind of step it is.
    pub observation_type: Option<ObservationType>,
    /// What it is called.
    pub name: Option<String>,
    /// When it began.
    pub start: Option<NanoTimestamp>,
    /// When it ended.
    pub end: Option<NanoTimestamp>,
    /// When the first token came.
    pub completion_start: Option<NanoTimestamp>,
    /// How serious it is.
    pub level: Option<Level>,
    /// What went wrong, or else is to be said of it.
    pub status_message: Option<String>,
    /// The version of this kind of step.
    pub version: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// What went in.
    pub input: Option<JsonText>,
    /// What came out.
    pub output: Option<JsonText>,
    /// Metadata to merge, key by key.
    pub metadata: Map<String, Value>,
    /// The model.
    pub model: Option<String>,
    /// Its parameters.
    pub model_parameters: Option<Map<String, Value>>,
    /// How much was used, by kind (`input`, `output`, `total`, `input_cached_tokens` …), in tokens.
    pub usage: Option<BTreeMap<String, u64>>,
    /// What it cost, by kind, where the sender says so.
    pub cost: Option<BTreeMap<String, Nanos>>,
    /// The prompt it was made with.
    pub prompt: Option<PromptLink>,
}

impl ObservationPatch {
    /// A patch that says nothing yet.
    #[must_use]
    pub fn new(trace_id: TraceId, id: ObservationId, kind: PatchKind, at: NanoTimestamp) -> Self {
        Self {
            id,
            trace_id,
            at,
            kind,
            parent_id: None,
            observation_type: None,
            name: None,
            start: None,
            end: None,
            completion_start: None,
            level: None,
            status_message: None,
            version: None,
            environment: None,
            input: None,
            output: None,
            metadata: Map::new(),
            model: None,
            model_parameters: None,
            usage: None,
            cost: None,
            prompt: None,
        }
    }
}
