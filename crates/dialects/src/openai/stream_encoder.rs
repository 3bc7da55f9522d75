//! Canonical events as chunks of OpenAI's stream.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{error, message, usage};
use crate::canonical::{ChatEvent, FinishReason, Usage};
use crate::sse::write_event;
use crate::stream::StreamFailure;

/// The last bytes of a stream that is complete, and of no other.
pub const END_OF_STREAM: &[u8] = b"data: [DONE]\n\n";

/// A comment line, in a stream that is silent.
pub const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Writes the chunks of one stream.
#[derive(Debug)]
pub struct StreamEncoder {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    has_role: Vec<u32>,
    usage: Option<Usage>,
}

impl StreamEncoder {
    /// For one stream.
    #[must_use]
    pub const fn new(created: i64, include_usage: bool) -> Self {
        Self { id: String::new(), model: String::new(), created, include_usage, has_role: Vec::new(), usage: None }
    }

    /// Writes an event.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            ChatEvent::Text { choice, delta } => self.delta(*choice, json!({"content": delta}), out),
            ChatEvent::Refusal { choice, delta } => self.delta(*choice, json!({"refusal": delta}), out),
            ChatEvent::Thinking { choice, delta } => self.delta(*choice, json!({"reasoning_content": delta}), out),
            ChatEvent::ThinkingSignature { choice, signature } => {
                let block = json!({"type": "thinking", "thinking": "", "signature": signature});
                self.delta(*choice, json!({"thinking_blocks": [block]}), out);
            }
            ChatEvent::RedactedThinking { choice, data } => {
                let block = json!({"type": "redacted_thinking", "data": data});
                self.delta(*choice, json!({"thinking_blocks": [block]}), out);
            }
            ChatEvent::ToolCall { choice, index, id, name, signature } => {
                let mut call =
                    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                if let (Some(signature), Some(fields)) = (signature, call.as_object_mut()) {
                    fields.insert("extra_content".to_owned(), message::signature_field(signature));
                }
                self.delta(*choice, json!({"tool_calls": [call]}), out);
            }
            ChatEvent::ToolArguments { choice, index, delta } => {
                let call = json!({"index": index, "function": {"arguments": delta}});
                self.delta(*choice, json!({"tool_calls": [call]}), out);
            }
            ChatEvent::Finish { choice, reason } => {
                let delta = self.with_role(*choice, json!({}));
                let choices =
                    json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": finish_name(reason)}]);
                self.chunk(&choices, None, out);
            }
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Tier(_) | ChatEvent::Other { .. } => {}
            ChatEvent::Ping => out.extend_from_slice(b": ping\n\n"),
        }
    }

    /// Writes the usage chunk, if it was asked for and is known, and the end.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let (true, Some(usage)) = (self.include_usage, self.usage) {
            self.chunk(&json!([]), Some(usage::encode(&usage)), out);
        }
        out.extend_from_slice(END_OF_STREAM);
    }

    fn delta(&mut self, choice: u32, delta: Value, out: &mut Vec<u8>) {
        let delta = self.with_role(choice, delta);
        let choices = json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": null}]);
        self.chunk(&choices, None, out);
    }

    /// The first delta of an answer names the role.
    fn with_role(&mut self, choice: u32, mut delta: Value) -> Value {
        if !self.has_role.contains(&choice) {
            self.has_role.push(choice);
            if let Some(fields) = delta.as_object_mut() {
                fields.shift_insert(0, "role".to_owned(), Value::from("assistant"));
            }
        }
        delta
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        });
        if let (true, Some(fields)) = (self.include_usage, chunk.as_object_mut()) {
            fields.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        write_event(out, None, chunk.to_string().as_bytes());
    }
}

/// An event for a failure in the middle of a stream. No [`END_OF_STREAM`] follows it.
#[must_use]
pub fn failure(failure: &StreamFailure<'_>) -> Vec<u8> {
    let kind = if failure.is_upstream { "upstream_error" } else { "server_error" };
    let mut out = Vec::new();
    write_event(&mut out, None, &error::encode(failure.message, kind, None, Some(failure.code)));
    out
}

/// OpenAI's word for why an answer ended.
#[must_use]
pub fn finish_name(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop | FinishReason::Pause => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(reason) => reason,
    }
}

/// Why an answer ended, from OpenAI's word.
#[must_use]
pub fn finish_of(name: &str) -> FinishReason {
    match name {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}
