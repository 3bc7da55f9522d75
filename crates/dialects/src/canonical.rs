//! The canonical form: what a chat request, an answer and a stream *mean*, whatever dialect they were written in.
//!
//! A dialect decodes into these types and encodes from them. Same-dialect traffic does not pass through here
//! (see `openai::chat_request::IncomingChat::forward`): it is passed on as bytes. What a dialect cannot express is an
//! [`crate::Unsupported`] error at encoding, never a silent loss.
//!
//! The serialised form of [`Message`] is also what the store keeps for messages that are more than plain text.

pub use privet_domain::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Dialect;

/// Who speaks. `Developer` is OpenAI's newer name for `System`; both are kept apart so that a round trip is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from whoever runs the application.
    System,
    /// Instructions, under OpenAI's newer name.
    Developer,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role's name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The speaker's name, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The content in order. A plain string content is one [`Part::Text`].
    pub parts: Vec<Part>,
    /// Fields of the message that have no canonical meaning, kept for a target of the same dialect.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of one text part.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, parts: vec![Part::Text { text: text.into() }], extra: Map::new() }
    }

    /// The text parts, joined by a newline; tool results count with their text. What a person would read.
    #[must_use]
    pub fn plain_text(&self) -> String {
        let mut texts: Vec<&str> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } => texts.push(text),
                Part::ToolResult { content, .. } => {
                    texts.extend(content.iter().filter_map(|inner| match inner {
                        Part::Text { text } => Some(text.as_str()),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        texts.join("\n")
    }

    /// Forgets how its provider wrote it: it says something else now, or is told in other words.
    pub fn forget_wire(&mut self) {
        self.extra.shift_remove(WIRE_OUTPUT);
    }

    /// Whether the message is exactly one text part without anything else: role, name and text say it all.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.extra.is_empty() && matches!(self.parts.as_slice(), [Part::Text { .. }])
    }
}

/// Among the fields of an answer without canonical meaning: its items as a provider of the Responses API wrote them, for one that speaks it.
/// The parts say the same as far as they can.
pub const WIRE_OUTPUT: &str = "responses_output";

/// A piece of a message's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Where its bytes are.
        source: Source,
        /// OpenAI's `detail`: `low`, `high` or `auto`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// Sound.
    Audio {
        /// Base64 of the bytes.
        data: String,
        /// `wav`, `mp3`, …
        format: String,
    },
    /// A document such as a PDF.
    File {
        /// Where its bytes are.
        source: Source,
        /// The file's name, where given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filename: Option<String>,
    },
    /// The assistant calls a tool.
    ToolCall {
        /// The call's id, by which its result refers to it.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments, JSON as text exactly as the model wrote it (it may be cut).
        arguments: String,
        /// Gemini's `thoughtSignature`, which must go back with the call unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// What a tool answered.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The answer: text and, for some providers, images.
        content: Vec<Part>,
        /// Whether the tool failed.
        #[serde(default)]
        is_error: bool,
    },
    /// The model's reasoning, shown.
    Thinking {
        /// The reasoning.
        text: String,
        /// The provider's signature, which must go back unchanged to the byte.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Reasoning that the provider encrypted; it must go back unchanged.
    RedactedThinking {
        /// The provider's bytes, as text.
        data: String,
    },
    /// The model declines, in words.
    Refusal {
        /// The words.
        text: String,
    },
    /// A part that has no canonical meaning, kept for a target of the same dialect.
    Other {
        /// Whose it is.
        #[serde(default, skip_serializing_if = "is_openai")]
        dialect: Dialect,
        /// The part as it came.
        value: Value,
    },
}

/// Parts were kept before there were others than OpenAI's: those say nothing of their dialect.
fn is_openai(dialect: &Dialect) -> bool {
    *dialect == Dialect::OpenAiChat
}

/// Where the bytes of an image or file are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// At a URL that the provider fetches.
    Url {
        /// The URL (never `data:`, that is [`Source::Base64`]).
        url: String,
    },
    /// In the request.
    Base64 {
        /// The media type, such as `image/png`.
        media_type: String,
        /// Base64 of the bytes.
        data: String,
    },
    /// Uploaded to the provider before.
    FileId {
        /// The provider's id.
        id: String,
    },
}

/// A chat request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChatRequest {
    /// The provider's own name of the model.
    pub model: String,
    /// The thread, system messages included, in order.
    pub messages: Vec<Message>,
    /// Functions the model may call.
    pub tools: Vec<Tool>,
    /// Whether and which tool must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls may come in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens of output, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// Randomness, as the client's dialect scales it (OpenAI and Gemini 0-2, Anthropic 0-1).
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<u64>,
    /// OpenAI's frequency penalty.
    pub frequency_penalty: Option<f64>,
    /// OpenAI's presence penalty.
    pub presence_penalty: Option<f64>,
    /// The seed of the sampling.
    pub seed: Option<i64>,
    /// Sequences that end the answer.
    pub stop: Vec<String>,
    /// How many answers; `None` is one.
    pub choices: Option<u32>,
    /// Whether log-probabilities are wanted, and how many alternatives.
    pub logprobs: Option<u32>,
    /// The shape of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How much the model thinks.
    pub reasoning: Option<Reasoning>,
    /// The end user, as the application names them.
    pub user: Option<String>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Top-level fields without canonical meaning, as they came.
    pub extra: Map<String, Value>,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tool {
    /// The name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON Schema of the arguments; `None` means no arguments.
    pub parameters: Option<Value>,
    /// Whether the arguments must match the schema exactly.
    pub strict: Option<bool>,
}

/// Which tool must be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The shape of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ResponseFormat {
    /// Text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the match must be exact.
        strict: Option<bool>,
    },
}

/// How much the model thinks before it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reasoning {
    /// By a word: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    Effort(String),
    /// By a number of tokens.
    Budget(u64),
    /// As much as the model sees fit.
    Adaptive,
    /// Not at all.
    Off,
}

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done, or met a stop sequence.
    Stop,
    /// The output limit, or the context window, was reached.
    Length,
    /// It calls tools.
    ToolCalls,
    /// A filter stopped it, or it refused.
    ContentFilter,
    /// The provider paused a long turn; send the thread back to go on (Anthropic's `pause_turn`).
    Pause,
    /// A reason of the provider's that has no canonical name.
    Other(String),
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatResponse {
    /// The provider's id of the answer.
    pub id: String,
    /// The model that answered, by the provider's name.
    pub model: String,
    /// Seconds since 1970, where the provider says it.
    pub created: Option<i64>,
    /// The answers, usually one.
    pub choices: Vec<Choice>,
    /// Tokens, where the provider says them.
    pub usage: Option<Usage>,
    /// The service tier that the provider says it served in.
    pub tier: Option<String>,
}

/// One answer of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The message.
    pub message: Message,
    /// Why it ended.
    pub finish: Option<FinishReason>,
    /// OpenAI's log-probabilities, as they came.
    pub logprobs: Option<Value>,
}

/// A piece of a streamed answer. `choice` is 0 unless several answers were asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// The stream begins.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// The model, by the provider's name.
        model: String,
    },
    /// More text.
    Text {
        /// Which answer.
        choice: u32,
        /// The text.
        delta: String,
    },
    /// More words of a refusal.
    Refusal {
        /// Which answer.
        choice: u32,
        /// The text.
        delta: String,
    },
    /// More shown reasoning.
    Thinking {
        /// Which answer.
        choice: u32,
        /// The text.
        delta: String,
    },
    /// The signature of the reasoning shown before it.
    ThinkingSignature {
        /// Which answer.
        choice: u32,
        /// The signature.
        signature: String,
    },
    /// A part that has no canonical meaning, whole; only a client of the same dialect is told of it.
    Other {
        /// Which answer.
        choice: u32,
        /// Whose it is.
        dialect: Dialect,
        /// The part as it came.
        value: Value,
    },
    /// Encrypted reasoning.
    RedactedThinking {
        /// Which answer.
        choice: u32,
        /// The provider's bytes, as text.
        data: String,
    },
    /// A tool call begins. `index` runs from 0 without gaps in each answer.
    ToolCall {
        /// Which answer.
        choice: u32,
        /// Which call in it.
        index: u32,
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// Gemini's `thoughtSignature`.
        signature: Option<String>,
    },
    /// More of a tool call's arguments.
    ToolArguments {
        /// Which answer.
        choice: u32,
        /// Which call in it.
        index: u32,
        /// JSON text.
        delta: String,
    },
    /// An answer ended.
    Finish {
        /// Which answer.
        choice: u32,
        /// Why.
        reason: FinishReason,
    },
    /// Tokens so far; a later one replaces an earlier one.
    Usage(Usage),
    /// The service tier that the provider says it serves in.
    Tier(String),
    /// The provider is still there.
    Ping,
}
