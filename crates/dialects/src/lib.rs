//! The wire dialects of language-model APIs: OpenAI, Anthropic, Gemini, and the canonical form between them.
//!
//! Pure: bytes in, bytes out. No I/O, no clock, no randomness. Each dialect decodes to and encodes from [`canonical`];
//! [`incoming`] is a request of any of them, [`translate`] pairs the client's with the provider's. There is no code for a pair of
//! two dialects: a stream's way is [`stream`]. Besides, what arrives of traces: [`otlp`] and [`langfuse`].

pub mod anthropic;
pub mod canonical;
pub mod collect;
pub mod count;
pub mod gemini;
mod hints;
pub mod incoming;
pub mod json_limits;
pub mod langfuse;
pub mod linked_media;
pub mod needs;
pub mod openai;
pub mod otlp;
pub mod raw_object;
mod replay;
pub mod request_size;
pub mod responses;
pub mod shaping;
pub mod sse;
pub mod stream;
mod traced_text;
pub mod translate;
pub mod unbounded_field;

use serde::{Deserialize, Serialize};

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// OpenAI's chat completions.
    #[default]
    #[serde(rename = "openai")]
    OpenAiChat,
    /// Anthropic's messages.
    #[serde(rename = "anthropic")]
    AnthropicMessages,
    /// Gemini's `generateContent`.
    #[serde(rename = "gemini")]
    Gemini,
    /// OpenAI's responses.
    #[serde(rename = "openai-responses")]
    OpenAiResponses,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OpenAiChat, Self::AnthropicMessages, Self::Gemini, Self::OpenAiResponses];

    /// Its name. One that is added stands in [`Self::ALL`] too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai",
            Self::AnthropicMessages => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiResponses => "openai-responses",
        }
    }

    /// Whether it is one of OpenAI's two: what both say has the same words.
    #[must_use]
    pub const fn is_openais(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiResponses)
    }
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inbound {
    /// OpenAI's chat completions.
    OpenAiChat,
    /// Anthropic's messages.
    AnthropicMessages,
    /// OpenAI's responses.
    OpenAiResponses,
    /// Gemini's `generateContent`.
    Gemini,
}

impl Inbound {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OpenAiChat, Self::AnthropicMessages, Self::OpenAiResponses, Self::Gemini];

    /// The dialect of a provider that speaks the same. One that is added stands in [`Self::ALL`] too.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAiChat => Dialect::OpenAiChat,
            Self::AnthropicMessages => Dialect::AnthropicMessages,
            Self::OpenAiResponses => Dialect::OpenAiResponses,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

/// The client's request is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// A sentence that says what to change.
    pub message: String,
    /// The field, where one is at fault.
    pub param: Option<String>,
}

impl BadRequest {
    /// Without a field.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None }
    }

    /// With the field at fault.
    #[must_use]
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

/// The target dialect cannot express what the request asks: a 400, never a silent loss.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The field.
    pub param: String,
    /// A sentence that says what cannot be done, and what can.
    pub message: String,
}

impl Unsupported {
    /// What cannot be done, and what can.
    #[must_use]
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }

    /// With other names of fields, in its words too: pairs of a name and what it is called.
    pub(crate) fn renamed(self, names: &[(&str, &str)]) -> Self {
        let param =
            names.iter().find(|(name, _)| *name == self.param).map_or(self.param, |(_, called)| (*called).to_owned());
        let quoted = |name: &str| format!("`{name}`");
        let message =
            names.iter().fold(self.message, |message, (name, called)| message.replace(&quoted(name), &quoted(called)));
        Self { param, message }
    }
}

/// The provider's answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// It is not in the provider's dialect.
    #[error("its answer is malformed: {0}")]
    Malformed(String),
    /// It says an error, also inside a 200.
    #[error("it reported an error: {message}")]
    Reported {
        /// The HTTP status that belongs to the error, where the provider says it.
        status: Option<u16>,
        /// The provider's type of error.
        kind: String,
        /// What it said.
        message: String,
    },
    /// It ended without its proper end.
    #[error("its answer was cut in the middle")]
    Cut,
}
