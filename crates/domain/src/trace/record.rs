//! Records: what is known of a trace and of an observation once all patches are joined.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{JsonText, Level, ObservationId, ObservationType, PromptLink, TraceId};
use crate::money::Nanos;
use crate::time::NanoTimestamp;

/// When the patch was, by which each field of a trace was set: a later one may change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub(super) BTreeMap<char, i64>);

impl Origins {
    /// For the database: the one time, where all fields have the same, else each with its letter; empty without any.
    #[must_use]
    pub fn to_stored(&self) -> String {
        let mut times = self.0.values();
        let Some(first) = times.next() else { return String::new() };
        if times.all(|time| time == first) {
            let letters: String = self.0.keys().collect();
            return format!("{letters}{first}");
        }
        let each: Vec<String> = self.0.iter().map(|(field, time)| format!("{field}{time}")).collect();
        each.join(",")
    }

    /// From the database. What cannot be read counts as never set.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        let mut origins = BTreeMap::new();
        for part in text.split(',') {
            let digits = part.find(|c: char| c == '-' || c.is_ascii_digit()).unwrap_or(part.len());
            let (letters, time) = part.split_at(digits);
            if let Ok(time) = time.parse() {
                origins.extend(letters.chars().map(|letter| (letter, time)));
            }
        }
        Self(origins)
    }
}

/// What is known of a trace. `C` is its content: JSON, or whatever the store keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace<C = JsonText> {
    /// Its id.
    pub id: TraceId,
    /// When it began.
    pub timestamp: NanoTimestamp,
    /// What it is called.
    pub name: Option<String>,
    /// For whom it ran.
    pub user_id: Option<String>,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// The release of the application.
    pub release: Option<String>,
    /// The version of this kind of trace.
    pub version: Option<String>,
    /// The environment.
    pub environment: String,
    /// What went in.
    pub input: Option<C>,
    /// What came out.
    pub output: Option<C>,
    /// Whether anybody with its link may see it.
    pub public: bool,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// Which patch set which field.
    pub origins: Origins,
}

/// What is known of an observation. `C` is its content: JSON, or whatever the store keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<C = JsonText> {
    /// Its id.
    pub id: ObservationId,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The latest patch that it is made of.
    pub folded_at: NanoTimestamp,
    /// The observation that it is part of.
    pub parent_id: Option<ObservationId>,
    /// What kind of step it is.
    pub observation_type: ObservationType,
    /// What it is called.
    pub name: Option<String>,
    /// When it began.
    pub start: NanoTimestamp,
    /// When it ended.
    pub end: Option<NanoTimestamp>,
    /// When the first token came.
    pub completion_start: Option<NanoTimestamp>,
    /// How serious it is.
    pub level: Level,
    /// What went wrong, or else is to be said of it.
    pub status_message: Option<String>,
    /// The version of this kind of step.
    pub version: Option<String>,
    /// The environment.
    pub environment: String,
    /// What went in.
    pub input: Option<C>,
    /// What came out.
    pub output: Option<C>,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// The model.
    pub model: Option<String>,
    /// Its parameters.
    pub model_parameters: Map<String, Value>,
    /// How much was used, by kind, in tokens.
    pub usage: BTreeMap<String, u64>,
    /// What it cost, by kind.
    pub cost: BTreeMap<String, Nanos>,
    /// The prompt it was made with.
    pub prompt: Option<PromptLink>,
}

impl<C> Observation<C> {
    /// What it cost in all: the kind `total` where there is one, else the sum.
    #[must_use]
    pub fn total_cost(&self) -> Nanos {
        let total = self.cost.get(TOTAL).copied();
        total.unwrap_or_else(|| self.cost.values().copied().sum())
    }

    /// Tokens that went in: every kind that is neither the total nor came out.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        self.tokens_of(|kind| kind != TOTAL && !is_output(kind))
    }

    /// Tokens that came out: the kinds that name output, completion or reasoning.
    #[must_use]
    pub fn output_tokens(&self) -> u64 {
        self.tokens_of(is_output)
    }

    /// All tokens: the kind `total` where there is one, else what went in and came out.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        let total = self.usage.get(TOTAL).copied();
        total.unwrap_or_else(|| self.input_tokens().saturating_add(self.output_tokens()))
    }

    fn tokens_of(&self, wanted: fn(&str) -> bool) -> u64 {
        let kinds = self.usage.iter().filter(|(kind, _)| wanted(kind));
        kinds.fold(0, |sum, (_, tokens)| sum.saturating_add(*tokens))
    }
}

/// The kind under which the sum of all kinds stands.
pub const TOTAL: &str = "total";

/// Whether a kind of usage, named as Langfuse names them, is of what came out.
#[must_use]
pub fn is_output(kind: &str) -> bool {
    ["output", "completion", "reasoning"].iter().any(|part| kind.contains(part))
}
