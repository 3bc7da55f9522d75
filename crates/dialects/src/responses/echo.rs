//! The response object: what it says of its request, which is the same in every event of a stream and whenever it is read later, and how
//! it stands.

use privet_domain::id::ResponseId;
use serde_json::{Map, Value, json};

use super::id;
use crate::canonical::{FinishReason, Usage};
use crate::translate::Answer;

/// What a response says of its request.
#[derive(Clone, Debug)]
pub struct Echo {
    /// The response's id.
    pub id: ResponseId,
    /// When the request came, in seconds since 1970.
    pub created_at: i64,
    /// Whether the response can be read later.
    pub is_kept: bool,
    /// Whether the client wants what must go back to the provider ([`super::output::SEALED`]).
    pub seals: bool,
    /// The members that repeat the request, by their names.
    pub(super) said: Map<String, Value>,
}

impl Default for Echo {
    /// Of a request that says nothing.
    fn default() -> Self {
        Self { id: ResponseId::NONE, created_at: 0, is_kept: false, seals: false, said: Map::new() }
    }
}

/// How a response stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing<'a> {
    pub(super) status: Status,
    pub(super) model: &'a str,
    pub(super) output: Vec<Value>,
    pub(super) usage: Option<Usage>,
    pub(super) tier: Option<&'a str>,
}

/// Whether a response is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// More follows.
    #[default]
    InProgress,
    /// It is.
    Completed,
    /// It ended before its end, and why.
    Incomplete(String),
    /// It was cut, and what happened.
    Failed(String),
}

impl Status {
    /// How an answer ended. A server that does not say why has ended it well.
    pub(super) fn of(finish: Option<&FinishReason>) -> Self {
        match finish {
            None | Some(FinishReason::Stop | FinishReason::ToolCalls) => Self::Completed,
            Some(FinishReason::Length) => Self::Incomplete("max_output_tokens".to_owned()),
            Some(FinishReason::ContentFilter) => Self::Incomplete("content_filter".to_owned()),
            Some(FinishReason::Pause) => Self::Incomplete("pause".to_owned()),
            Some(FinishReason::Other(reason)) => Self::Incomplete(reason.clone()),
        }
    }

    /// Its word, which is also that of the event that ends a stream.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => INCOMPLETE,
            Self::Failed(_) => FAILED,
        }
    }

    /// Whether the last item was cut.
    pub(super) const fn is_cut(&self) -> bool {
        matches!(self, Self::Incomplete(_) | Self::Failed(_))
    }
}

const INCOMPLETE: &str = "incomplete";
const FAILED: &str = "failed";

impl Echo {
    /// The response's id as clients see it.
    #[must_use]
    pub fn wire_id(&self) -> String {
        id::encode(self.id)
    }

    /// The response without its output, as it is kept: [`with_output`] makes it whole. `failure` says why it was cut.
    #[must_use]
    pub fn record(&self, answer: &Answer, failure: Option<&str>) -> Value {
        let finish = answer.finishes.first().and_then(Option::as_ref);
        let status = failure.map_or_else(|| Status::of(finish), |failure| Status::Failed(failure.to_owned()));
        let (usage, tier) = (answer.usage, answer.tier.as_deref());
        self.response(Standing { status, model: &answer.model, output: Vec::new(), usage, tier })
    }

    /// What the response must say in place of its provider: whose it is, and what was said of the request to Privet and not to the provider.
    pub(super) fn own(&self) -> [(&'static str, Value); 8] {
        let said = |name: &str| self.said.get(name).cloned().unwrap_or_default();
        [
            ("id", json!(self.wire_id())),
            ("created_at", json!(self.created_at)),
            ("store", json!(self.is_kept)),
            ("previous_response_id", said("previous_response_id")),
            ("conversation", said("conversation")),
            ("instructions", said("instructions")),
            ("max_output_tokens", said("max_output_tokens")),
            ("metadata", or(said("metadata"), json!({}))),
        ]
    }

    /// The response object.
    pub(super) fn response(&self, standing: Standing<'_>) -> Value {
        let Standing { status, model, output, usage, tier } = standing;
        let said = |name: &str| self.said.get(name).cloned().unwrap_or_default();
        let (error, incomplete) = match &status {
            Status::Failed(message) => (json!({"code": "server_error", "message": message}), Value::Null),
            Status::Incomplete(reason) => (Value::Null, json!({"reason": reason})),
            Status::InProgress | Status::Completed => (Value::Null, Value::Null),
        };
        json!({
            "id": self.wire_id(),
            "object": "response",
            "created_at": self.created_at,
            "status": status.word(),
            "background": false,
            "error": error,
            "incomplete_details": incomplete,
            "instructions": said("instructions"),
            "max_output_tokens": said("max_output_tokens"),
            "max_tool_calls": said("max_tool_calls"),
            "model": if model.is_empty() { said("model") } else { json!(model) },
            "output": output,
            "parallel_tool_calls": or(said("parallel_tool_calls"), json!(true)),
            "previous_response_id": said("previous_response_id"),
            "conversation": said("conversation"),
            "prompt_cache_key": said("prompt_cache_key"),
            "reasoning": or(said("reasoning"), json!({"effort": null, "summary": null})),
            "safety_identifier": said("safety_identifier"),
            "service_tier": tier.map_or_else(|| said("service_tier"), |tier| json!(tier)),
            "store": self.is_kept,
            "temperature": said("temperature"),
            "text": or(said("text"), json!({"format": {"type": "text"}})),
            "tool_choice": or(said("tool_choice"), json!("auto")),
            "tools": or(said("tools"), json!([])),
            "top_logprobs": or(said("top_logprobs"), json!(0)),
            "top_p": said("top_p"),
            "truncation": or(said("truncation"), json!("disabled")),
            "usage": usage.as_ref().map(usage_object),
            "user": said("user"),
            "metadata": or(said("metadata"), json!({})),
        })
    }
}

/// Puts the items into a response that was kept without them.
#[must_use]
pub fn with_output(mut record: Value, output: Vec<Value>) -> Value {
    if let Some(fields) = record.as_object_mut() {
        fields.insert("output".to_owned(), Value::Array(output));
    }
    record
}

/// Whether a response that was kept was cut.
#[must_use]
pub fn is_cut(record: &Value) -> bool {
    matches!(record.get("status").and_then(Value::as_str), Some(INCOMPLETE | FAILED))
}

fn or(said: Value, otherwise: Value) -> Value {
    if said.is_null() { otherwise } else { said }
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached_input},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input.saturating_add(usage.output),
    })
}
