//! A streamed answer of a provider that is spoken to in the Responses API, event by event.
//!
//! What counts are the pieces. A server that sends an item whole, or the response alone, is read all the same.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::output::whole;
use super::response::{PARAGRAPH, Wire, WireUsage, fault, parts};
use super::seal;
use crate::canonical::{ChatEvent, Part};
use crate::openai::error;
use crate::sse::SseEvent;
use crate::{Dialect, UpstreamFault};

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    has_started: bool,
    has_output: bool,
    is_complete: bool,
    /// The calls by their place in the output: which of the answer each is, and whether arguments came.
    calls: HashMap<u64, (u32, bool)>,
    /// The places of the messages whose words came.
    said: HashSet<u64>,
}

/// An answer of this dialect is one.
const CHOICE: u32 = 0;

impl StreamDecoder {
    /// Reads an event. One that cannot be read is skipped: it does not end the stream.
    ///
    /// # Errors
    /// When the event reports an error.
    pub fn event(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        let Ok(value) = serde_json::from_slice::<Value>(&event.data) else { return Ok(()) };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if !kind.starts_with("response.") && kind != "error" {
            // Servers that fail in the middle say so in a shape of their own.
            return error::reported(&value).map_or(Ok(()), |(status, error)| Err(fault(status, error)));
        }
        let before = out.len();
        let read = self.read(kind, &value, out);
        self.has_output |= out.iter().skip(before).any(|event| !matches!(event, ChatEvent::Start { .. }));
        read
    }

    /// Whether the end of the answer was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn read(&mut self, kind: &str, value: &Value, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        let place = value.get("output_index").and_then(Value::as_u64).unwrap_or(0);
        let delta = || value.get("delta").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => self.start(value, out),
            "response.output_item.added" => self.added(place, value, out),
            "response.output_item.done" => self.done(place, value, out),
            "response.output_text.delta" => {
                self.said.insert(place);
                out.push(ChatEvent::Text { choice: CHOICE, delta: delta() });
            }
            "response.refusal.delta" => {
                self.said.insert(place);
                out.push(ChatEvent::Refusal { choice: CHOICE, delta: delta() });
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.said.insert(place);
                out.push(ChatEvent::Thinking { choice: CHOICE, delta: delta() });
            }
            "response.reasoning_summary_part.added"
                if value.get("summary_index").and_then(Value::as_u64).is_some_and(|index| index > 0) =>
            {
                out.push(ChatEvent::Thinking { choice: CHOICE, delta: PARAGRAPH.to_owned() });
            }
            "response.function_call_arguments.delta" => self.argue(place, &delta(), out),
            "response.completed" | "response.incomplete" => self.end(value, out)?,
            "response.failed" | "response.cancelled" => {
                let wire = wire(value);
                out.extend(wire.usage.and_then(WireUsage::count).map(ChatEvent::Usage));
                return Err(wire.failure());
            }
            "error" => return Err(fault(None, error::decode(value.to_string().as_bytes()))),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, value: &Value, out: &mut Vec<ChatEvent>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let wire = wire(value);
        let (id, model) = (wire.id.unwrap_or_default(), wire.model.unwrap_or_default());
        out.push(ChatEvent::Start { id, model });
    }

    fn added(&mut self, place: u64, value: &Value, out: &mut Vec<ChatEvent>) {
        let item = value.get("item").unwrap_or(&Value::Null);
        if item.get("type").and_then(Value::as_str) == Some("function_call") && !self.calls.contains_key(&place) {
            self.call(place, item, out);
        }
    }

    fn call(&mut self, place: u64, item: &Value, out: &mut Vec<ChatEvent>) {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.insert(place, (index, false));
        let (id, name) = (text("call_id"), text("name"));
        out.push(ChatEvent::ToolCall { choice: CHOICE, index, id, name, signature: None });
        self.argue(place, &text("arguments"), out);
    }

    fn argue(&mut self, place: u64, delta: &str, out: &mut Vec<ChatEvent>) {
        if let Some((index, has_arguments)) = self.calls.get_mut(&place).filter(|_| !delta.is_empty()) {
            *has_arguments = true;
            out.push(ChatEvent::ToolArguments { choice: CHOICE, index: *index, delta: delta.to_owned() });
        }
    }

    /// The end of an item, with what did not come in pieces.
    fn done(&mut self, place: u64, value: &Value, out: &mut Vec<ChatEvent>) {
        let item = value.get("item").unwrap_or(&Value::Null);
        match item.get("type").and_then(Value::as_str) {
            Some("function_call") => {
                if !self.calls.contains_key(&place) {
                    self.call(place, item, out);
                }
                if self.calls.get(&place).is_some_and(|(_, has_arguments)| !has_arguments) {
                    let arguments = item.get("arguments").and_then(Value::as_str).unwrap_or_default();
                    self.argue(place, whole(arguments), out);
                }
            }
            Some("reasoning") => {
                if !self.said.contains(&place) {
                    self.words(std::slice::from_ref(item), out);
                } else if let Some(sealed) = item.get("encrypted_content").and_then(Value::as_str) {
                    out.push(ChatEvent::ThinkingSignature { choice: CHOICE, signature: seal::marked(sealed) });
                }
            }
            Some("message") if !self.said.contains(&place) => self.words(std::slice::from_ref(item), out),
            Some("message") | None => {}
            // Of tools that only a client of this dialect can have asked for.
            Some(_) => {
                let (dialect, value) = (Dialect::OpenAiResponses, item.clone());
                out.push(ChatEvent::Other { choice: CHOICE, dialect, value });
            }
        }
    }

    /// Whole items as events.
    fn words(&mut self, items: &[Value], out: &mut Vec<ChatEvent>) {
        for part in parts(items) {
            match part {
                Part::Text { text } => out.push(ChatEvent::Text { choice: CHOICE, delta: text }),
                Part::Refusal { text } => out.push(ChatEvent::Refusal { choice: CHOICE, delta: text }),
                Part::Thinking { text, signature } => {
                    if !text.is_empty() {
                        out.push(ChatEvent::Thinking { choice: CHOICE, delta: text });
                    }
                    let signed = |signature| ChatEvent::ThinkingSignature { choice: CHOICE, signature };
                    out.extend(signature.map(signed));
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, value: &Value, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        self.start(value, out);
        let wire = wire(value);
        if let Some(output) = wire.output.as_ref().filter(|_| !self.has_output) {
            for (place, item) in (0..).zip(output) {
                self.done(place, &serde_json::json!({"item": item}), out);
            }
        }
        let reason = wire.finish(!self.calls.is_empty())?;
        self.is_complete = true;
        out.push(ChatEvent::Finish { choice: CHOICE, reason });
        out.extend(wire.service_tier.map(ChatEvent::Tier));
        out.extend(wire.usage.and_then(WireUsage::count).map(ChatEvent::Usage));
        Ok(())
    }
}

/// The response that an event holds; one that cannot be read says nothing.
fn wire(value: &Value) -> Wire {
    value.get("response").and_then(|response| serde_json::from_value(response.clone()).ok()).unwrap_or_default()
}
