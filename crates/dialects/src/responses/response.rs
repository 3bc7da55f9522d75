//! A whole answer of a provider that is spoken to in the Responses API.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::echo::Echo;
use super::output::whole;
use super::seal::{self, Meaning};
use super::told;
use crate::canonical::{ChatResponse, Choice, FinishReason, Message, Part, Role, Usage, WIRE_OUTPUT};
use crate::openai::error;
use crate::raw_object::RawObject;
use crate::translate::{Answer, WholeAnswer};
use crate::{Dialect, UpstreamFault};

/// A response, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) status: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) incomplete_details: Option<Incomplete>,
    pub(super) output: Option<Vec<Value>>,
    pub(super) usage: Option<WireUsage>,
    pub(super) service_tier: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete {
    reason: Option<String>,
}

/// The `usage` object. `input_tokens` includes cached ones, `output_tokens` includes reasoning.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// The count; `None` for an object that counts nothing.
    pub(super) fn count(self) -> Option<Usage> {
        let input = self.input_tokens?;
        let details = self.input_tokens_details.unwrap_or_default();
        Some(Usage {
            input,
            cached_input: details.cached_tokens.unwrap_or(0),
            cache_write_5m: details.cache_write_tokens.unwrap_or(0),
            output: self.output_tokens.unwrap_or(0),
            reasoning: self.output_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            ..Usage::default()
        })
    }
}

/// Passes an answer on to a client of the same API as its own bytes, but for what is Privet's to say.
///
/// # Errors
/// As [`decode`].
pub fn pass(body: Bytes, echo: &Echo) -> Result<WholeAnswer, UpstreamFault> {
    let mut response = decode(&body)?;
    let object = RawObject::parse(body).map_err(|error| UpstreamFault::Malformed(error.message))?;
    if let (Some(choice), Ok(Some(items))) = (response.choices.first_mut(), object.decode::<Value>("output")) {
        choice.message.extra.insert(WIRE_OUTPUT.to_owned(), items);
    }
    Ok(WholeAnswer { body: told::response(&object, echo), answer: Answer::from(response) })
}

/// Reads an answer.
///
/// # Errors
/// When it is none, or reports an error in spite of its status.
pub fn decode(body: &Bytes) -> Result<ChatResponse, UpstreamFault> {
    let malformed = |error: serde_json::Error| UpstreamFault::Malformed(error.to_string());
    let value: Value = serde_json::from_slice(body).map_err(malformed)?;
    let reported = error::reported(&value);
    let wire: Wire = serde_json::from_value(value).map_err(malformed)?;
    if let Some((status, error)) = reported {
        return Err(fault(status, error));
    }
    let Some(output) = &wire.output else { return Err(UpstreamFault::Malformed("it has no `output`".to_owned())) };
    let parts = parts(output);
    let finish = wire.finish(parts.iter().any(|part| matches!(part, Part::ToolCall { .. })))?;
    let message = Message { role: Role::Assistant, name: None, parts, extra: Map::new() };
    Ok(ChatResponse {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        created: None,
        choices: vec![Choice { message, finish: Some(finish), logprobs: None }],
        usage: wire.usage.and_then(WireUsage::count),
        tier: wire.service_tier,
    })
}

impl Wire {
    /// Why it ended.
    ///
    /// # Errors
    /// When it has not ended, or not by itself.
    pub(super) fn finish(&self, has_calls: bool) -> Result<FinishReason, UpstreamFault> {
        let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        match self.status.as_deref() {
            // Servers that say no status have answered.
            None | Some("completed") if has_calls => Ok(FinishReason::ToolCalls),
            None | Some("completed") => Ok(FinishReason::Stop),
            Some("incomplete") => Ok(match reason {
                None | Some("max_output_tokens" | "max_tokens") => FinishReason::Length,
                Some("content_filter") => FinishReason::ContentFilter,
                Some(other) => FinishReason::Other(other.to_owned()),
            }),
            Some(status) => Err(UpstreamFault::Malformed(format!("its status is `{status}`"))),
        }
    }

    /// What a response that failed reports.
    pub(super) fn failure(&self) -> UpstreamFault {
        let body = self.error.as_ref().map(Value::to_string).unwrap_or_default();
        fault(None, error::decode(body.as_bytes()))
    }
}

/// The items of an answer as parts.
pub(super) fn parts(output: &[Value]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(output.len());
    for item in output {
        let text = |field: &str| item.get(field).and_then(Value::as_str);
        match text("type") {
            Some("message") => {
                let content = item.get("content").and_then(Value::as_array).into_iter().flatten();
                parts.extend(content.filter_map(|part| {
                    let text = |field: &str| part.get(field).and_then(Value::as_str).map(str::to_owned);
                    match part.get("type").and_then(Value::as_str) {
                        Some("output_text") => Some(Part::Text { text: text("text")? }),
                        Some("refusal") => Some(Part::Refusal { text: text("refusal")? }),
                        _ => None,
                    }
                }));
            }
            Some("reasoning") => match reasoning(item) {
                Meaning::Part(part) => parts.push(part),
                Meaning::OfNextCall(_) | Meaning::Nothing => {}
            },
            Some("function_call") => parts.push(Part::ToolCall {
                id: text("call_id").unwrap_or_default().to_owned(),
                name: text("name").unwrap_or_default().to_owned(),
                arguments: whole(text("arguments").unwrap_or_default()).to_owned(),
                signature: None,
            }),
            // Of tools that only a client of this dialect can have asked for.
            Some(_) => parts.push(Part::Other { dialect: Dialect::OpenAiResponses, value: item.clone() }),
            None => {}
        }
    }
    parts
}

fn reasoning(item: &Value) -> Meaning {
    let texts = |field: &str| -> Vec<&str> {
        let texts = item.get(field).and_then(Value::as_array).into_iter().flatten();
        texts.filter_map(|part| part.get("text")?.as_str()).collect()
    };
    let (summary, content) = (texts("summary"), texts("content"));
    let shown = if summary.is_empty() { content } else { summary };
    let sealed = item.get("encrypted_content").and_then(Value::as_str).filter(|sealed| !sealed.is_empty());
    seal::of_provider(shown.join(PARAGRAPH), sealed)
}

/// What stands between two summaries.
pub(super) const PARAGRAPH: &str = "\n\n";

/// The fault that an error reports.
pub(super) fn fault(status: Option<u16>, error: error::WireError) -> UpstreamFault {
    // An event says in its type that it is an error, and in its code which.
    let kind = error.kind.filter(|kind| kind != "error").or(error.code).unwrap_or_else(|| "server_error".to_owned());
    let status = status.or(match kind.as_str() {
        "rate_limit_exceeded" => Some(429),
        "server_error" => Some(500),
        _ => None,
    });
    UpstreamFault::Reported { status, kind, message: error.message }
}
