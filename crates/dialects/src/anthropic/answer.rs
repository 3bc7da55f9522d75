//! An answer as an Anthropic client gets it: whole, and the words that it has in common with a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::block::OF_GEMINI;
use crate::Dialect;
use crate::canonical::{ChatResponse, FinishReason, Part, Source, Usage};

/// Arguments that are no object, as cut ones are, under the name that Anthropic's documentation has for them
/// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming>).
const INVALID_JSON: &str = "INVALID_JSON";

/// Writes an answer. A client of this dialect asks for one alone.
#[must_use]
pub fn encode(response: &ChatResponse) -> Bytes {
    let choice = response.choices.first();
    let parts = choice.map(|choice| choice.message.parts.as_slice()).unwrap_or_default();
    let stop = choice.and_then(|choice| choice.finish.as_ref()).map(|finish| stop_reason(finish, Said::of(parts)));
    let body = json!({
        "id": response.id,
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": parts.iter().flat_map(blocks).collect::<Vec<_>>(),
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage(&response.usage.unwrap_or_default()),
    });
    Bytes::from(body.to_string())
}

/// What of an answer decides about the word for its end, since not every provider tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub(super) calls: bool,
    pub(super) refuses: bool,
}

impl Said {
    fn of(parts: &[Part]) -> Self {
        Self {
            calls: parts.iter().any(|part| matches!(part, Part::ToolCall { .. })),
            refuses: parts.iter().any(|part| matches!(part, Part::Refusal { .. })),
        }
    }
}

/// Anthropic's word for why an answer ended; a reason that it has none for keeps its own, so that it does not look like a good end.
pub(super) fn stop_reason(finish: &FinishReason, said: Said) -> String {
    let word = match finish {
        FinishReason::Stop if said.calls => "tool_use",
        FinishReason::Stop if said.refuses => "refusal",
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Other(reason) => reason,
    };
    word.to_owned()
}

/// The `usage` object. Anthropic's input excludes what was read from and written to the cache.
pub(super) fn usage(usage: &Usage) -> Value {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let mut fields = json!({
        "input_tokens": usage.input.saturating_sub(usage.cached_input).saturating_sub(written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_input,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
    });
    if let (true, Some(fields)) = (usage.reasoning > 0, fields.as_object_mut()) {
        fields.insert("output_tokens_details".to_owned(), json!({"thinking_tokens": usage.reasoning}));
    }
    fields
}

/// The blocks of a part. The signature of a call stands before it, in a thinking block: the client sends that back as it is.
fn blocks(part: &Part) -> Vec<Value> {
    match part {
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => Vec::new(),
        Part::Text { text } | Part::Refusal { text } => vec![json!({"type": "text", "text": text})],
        Part::Thinking { text, signature } => {
            vec![thinking(text, signature.as_deref().unwrap_or_default())]
        }
        Part::RedactedThinking { data } => vec![json!({"type": "redacted_thinking", "data": data})],
        Part::ToolCall { id, name, arguments, signature } => {
            let signed = signature.as_ref().map(|signature| thinking("", &marked(signature)));
            let call = json!({"type": "tool_use", "id": id, "name": name, "input": input(arguments)});
            signed.into_iter().chain([call]).collect()
        }
        Part::Image { source: Source::Base64 { media_type, data }, .. } => {
            vec![json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})]
        }
        Part::Image { source: Source::Url { url }, .. } => {
            vec![json!({"type": "image", "source": {"type": "url", "url": url}})]
        }
        Part::Other { dialect: Dialect::AnthropicMessages, value } => vec![value.clone()],
        // No answer holds these, or only one of a dialect that asked for them.
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult { .. } | Part::Other { .. } => {
            Vec::new()
        }
    }
}

fn thinking(text: &str, signature: &str) -> Value {
    json!({"type": "thinking", "thinking": text, "signature": signature})
}

/// A signature of Gemini's, so that it is known for one when it comes back.
pub(super) fn marked(signature: &str) -> String {
    format!("{OF_GEMINI}{signature}")
}

fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ if arguments.trim().is_empty() => json!({}),
        _ => Value::Object(Map::from_iter([(INVALID_JSON.to_owned(), json!(arguments))])),
    }
}
