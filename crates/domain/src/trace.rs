//! Traces: what a request or an agent's run did, step by step.
//!
//! A *trace* is one run; its *observations* are the steps (a span, a call of a model, a tool …); *scores* judge either. They
//! arrive in pieces, out of order and more than once: a *patch* is one piece, and `fold` joins pieces to records so that the
//! outcome does not depend on the order of their arrival.

mod fold;
mod parent;
mod patch;
mod readable;
mod record;
mod score;
mod score_config;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use parent::TraceParent;
pub use patch::{ObservationPatch, PatchKind, TracePatch};
pub use readable::mend_surrogates;
pub use record::{Observation, Origins, TOTAL, Trace, is_output};
pub use score::{Score, ScoreSource, ScoreTarget, ScoreType};
pub use score_config::{ScoreCategory, ScoreConfig, ScoreConfigFault};

/// The longest id of a trace, an observation, a session or a score, in bytes.
pub const ID_BYTES_MAX: usize = 200;

/// The environment of what names none.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// A text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to {ID_BYTES_MAX} bytes and no control characters")]
pub struct BadTraceId;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// As it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadTraceId;

            fn from_str(text: &str) -> Result<Self, BadTraceId> {
                let is_id = !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.chars().any(char::is_control);
                is_id.then(|| Self(text.into())).ok_or(BadTraceId)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadTraceId;

            fn try_from(text: String) -> Result<Self, BadTraceId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_id! {
    /// A trace's id: 32 hexadecimal digits where OpenTelemetry or Privet made it, any text where another client did.
    TraceId
}
text_id! {
    /// An observation's id: 16 hexadecimal digits where OpenTelemetry or Privet made it, any text where another client did.
    ObservationId
}
text_id! {
    /// A score's id.
    ScoreId
}

impl TraceId {
    /// From the 16 bytes of OpenTelemetry's form (a UUID's bytes will do).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&bytes).into())
    }
}

impl ObservationId {
    /// From the 8 bytes of OpenTelemetry's form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&bytes).into())
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the API and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            /// Upper and lower case are the same.
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let named = Self::ALL.iter().copied().find(|one| one.as_str().eq_ignore_ascii_case(text));
                named.ok_or_else(|| UnknownName {
                    name: text.chars().take(40).collect(),
                    known: [$($name,)*].join(", "),
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

/// A word that is none of those allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is none of {known}")]
pub struct UnknownName {
    /// What was given, shortened.
    pub name: String,
    /// What there is.
    pub known: String,
}

names! {
    /// What kind of step an observation is.
    ObservationType {
        /// Some work with a beginning and an end.
        Span = "SPAN",
        /// A call of a model.
        Generation = "GENERATION",
        /// A moment.
        Event = "EVENT",
        /// An agent's run.
        Agent = "AGENT",
        /// A tool's run.
        Tool = "TOOL",
        /// A link between steps.
        Chain = "CHAIN",
        /// A search for context.
        Retriever = "RETRIEVER",
        /// A judgement.
        Evaluator = "EVALUATOR",
        /// A call of an embedding model.
        Embedding = "EMBEDDING",
        /// A check of input or output.
        Guardrail = "GUARDRAIL",
    }
}

names! {
    /// How serious an observation is.
    Level {
        /// For the curious.
        Debug = "DEBUG",
        /// As usual.
        Default = "DEFAULT",
        /// Something is odd.
        Warning = "WARNING",
        /// It failed.
        Error = "ERROR",
    }
}

/// Any JSON value, kept as its text. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// From a text that is JSON already, of a sensible depth; otherwise it becomes a JSON string.
    #[must_use]
    pub fn from_json_or_text(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|| Self::string(text))
    }

    /// From a text that is JSON. `None` for what some reader would refuse: no JSON, nested too deep, a number beyond all bounds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mended = mend_surrogates(text.as_bytes());
        let text = std::str::from_utf8(&mended).ok()?.trim_matches([' ', '\t', '\r', '\n']);
        readable::is_readable(text).then(|| Self(text.into()))
    }

    /// A text, as a JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }

    /// Of a value.
    #[must_use]
    pub fn of(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }

    /// From raw JSON.
    #[must_use]
    pub fn raw(raw: &serde_json::value::RawValue) -> Self {
        Self(raw.get().into())
    }

    /// From what the database holds, which is JSON since only JSON was written.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both share one text.
    #[must_use]
    pub fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a clone of it is somewhere.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty, which JSON never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which version of which prompt a generation was made with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PromptLink {
    /// The prompt's name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// What arrived together: it is written together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceBatch {
    /// What is said of traces. An observation's trace need not be among them: it is made.
    pub traces: Vec<TracePatch>,
    /// What is said of observations.
    pub observations: Vec<ObservationPatch>,
    /// Judgements.
    pub scores: Vec<Score>,
}

impl TraceBatch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty() && self.observations.is_empty() && self.scores.is_empty()
    }
}
