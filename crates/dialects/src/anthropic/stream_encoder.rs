//! Canonical events as Anthropic's.
//!
//! Blocks stand one behind the other: while one is open, what belongs to the next waits. A text or a thought ends where something
//! else begins, a call when its arguments are a whole object: so calls whose pieces come by turns stay apart.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Said, marked, stop_reason, usage};
use crate::canonical::{ChatEvent, FinishReason, Usage};
use crate::sse::write_event;

/// What says that a stream lives, once it has begun.
pub(super) const PING: Bytes = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
/// What says it before: `message_start` is the first event.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Writes the events of one stream.
#[derive(Debug, Default)]
pub struct StreamEncoder {
    id: String,
    model: String,
    has_begun: bool,
    usage: Option<Usage>,
    said: Said,
    finish: Option<FinishReason>,
    /// The first of them is the one that is open.
    blocks: VecDeque<Block>,
    /// Blocks that are written, and closed.
    closed: u32,
}

#[derive(Debug)]
struct Block {
    content: Content,
    is_open: bool,
    /// What is not written yet.
    waiting: String,
}

#[derive(Debug)]
enum Content {
    Text,
    /// With the signature, once it is there.
    Thinking(Option<String>),
    /// Written with its beginning.
    Whole(Value),
    Call {
        /// Which call of the answer it is.
        index: u32,
        id: String,
        name: String,
        arguments: String,
    },
}

impl StreamEncoder {
    /// Writes an event. Whoever asks in this dialect gets one answer.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            ChatEvent::Text { choice: 0, delta } => self.text(delta, out),
            ChatEvent::Refusal { choice: 0, delta } => {
                self.said.refuses = true;
                self.text(delta, out);
            }
            ChatEvent::Thinking { choice: 0, delta } => self.add(Content::Thinking(None), delta, out),
            ChatEvent::ThinkingSignature { choice: 0, signature } => self.sign(signature, out),
            ChatEvent::RedactedThinking { choice: 0, data } => {
                self.add(Content::Whole(json!({"type": "redacted_thinking", "data": data})), "", out);
            }
            ChatEvent::Other { choice: 0, value, .. } => self.add(Content::Whole(value.clone()), "", out),
            ChatEvent::ToolCall { choice: 0, index, id, name, signature } => {
                if let Some(signature) = signature {
                    self.sign(&marked(signature), out);
                }
                self.said.calls = true;
                let (id, name) = (id.clone(), name.clone());
                self.add(Content::Call { index: *index, id, name, arguments: String::new() }, "", out);
            }
            ChatEvent::ToolArguments { choice: 0, index, delta } => self.arguments(*index, delta, out),
            ChatEvent::Finish { choice: 0, reason } => {
                self.finish = Some(reason.clone());
                self.write(out);
            }
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Ping if self.has_begun && self.finish.is_none() => out.extend_from_slice(&PING),
            // Of further answers, which nobody asked for.
            _ => {}
        }
    }

    /// Writes the end of the message, with what is known of its tokens by now.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // Some servers do not say why they end.
        let finish = self.finish.get_or_insert(FinishReason::Stop).clone();
        self.write(out);
        self.begin(out);
        let reason = stop_reason(&finish, self.said);
        let usage = usage(&self.usage.unwrap_or_default());
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        send(out, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}));
        send(out, "message_stop", &json!({"type": "message_stop"}));
    }

    /// What says that the stream lives.
    #[must_use]
    pub fn keep_alive(&self) -> Bytes {
        if self.has_begun { PING } else { COMMENT }
    }

    fn text(&mut self, delta: &str, out: &mut Vec<u8>) {
        if !delta.is_empty() {
            self.add(Content::Text, delta, out);
        }
    }

    /// Adds to the last block if it is of the same kind and not at its end, or else makes a new one.
    fn add(&mut self, content: Content, delta: &str, out: &mut Vec<u8>) {
        match (self.blocks.back_mut(), &content) {
            (Some(Block { content: Content::Text, waiting, .. }), Content::Text)
            | (Some(Block { content: Content::Thinking(None), waiting, .. }), Content::Thinking(None)) => {
                waiting.push_str(delta);
            }
            _ => self.blocks.push_back(Block { content, is_open: false, waiting: delta.to_owned() }),
        }
        self.write(out);
    }

    /// Signs the thought that was shown last; where none was, one that is not shown.
    fn sign(&mut self, signature: &str, out: &mut Vec<u8>) {
        match self.blocks.back_mut() {
            Some(Block { content: Content::Thinking(signed), .. }) => {
                signed.get_or_insert_default().push_str(signature);
            }
            _ => {
                let content = Content::Thinking(Some(signature.to_owned()));
                self.blocks.push_back(Block { content, is_open: false, waiting: String::new() });
            }
        }
        self.write(out);
    }

    fn arguments(&mut self, call: u32, delta: &str, out: &mut Vec<u8>) {
        let block = self
            .blocks
            .iter_mut()
            .find(|block| matches!(&block.content, Content::Call { index, .. } if *index == call));
        if let Some(Block { content: Content::Call { arguments, .. }, waiting, .. }) = block {
            arguments.push_str(delta);
            waiting.push_str(delta);
            self.write(out);
        }
    }

    /// Writes what can be written of the open block, and closes those that are at their end.
    fn write(&mut self, out: &mut Vec<u8>) {
        let has_finished = self.finish.is_some();
        if !self.blocks.is_empty() {
            self.begin(out);
        }
        while let Some(block) = self.blocks.front_mut() {
            block.write(self.closed, out);
            if !(has_finished || self.blocks.len() > 1) {
                return;
            }
            let Some(block) = self.blocks.front().filter(|block| has_finished || block.is_whole()) else { return };
            block.close(self.closed, out);
            self.blocks.pop_front();
            self.closed += 1;
        }
    }

    /// Writes `message_start`, once. Of the tokens it says what is known: some providers count the input at once, others at the end.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let counted = self.usage.map(|counted| Usage { output: 0, reasoning: 0, ..counted });
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(&counted.unwrap_or_default()),
        });
        send(out, "message_start", &json!({"type": "message_start", "message": message}));
    }
}

impl Block {
    /// Opens it, and writes what is there.
    fn write(&mut self, index: u32, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_open, true) {
            let block = match &self.content {
                Content::Text => json!({"type": "text", "text": ""}),
                Content::Thinking(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Content::Whole(block) => block.clone(),
                Content::Call { id, name, .. } => json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            };
            let start = json!({"type": "content_block_start", "index": index, "content_block": block});
            send(out, "content_block_start", &start);
        }
        if self.waiting.is_empty() {
            return;
        }
        let more = std::mem::take(&mut self.waiting);
        match &self.content {
            Content::Text => delta(out, index, json!({"type": "text_delta", "text": more})),
            Content::Thinking(_) => delta(out, index, json!({"type": "thinking_delta", "thinking": more})),
            Content::Call { .. } => delta(out, index, json!({"type": "input_json_delta", "partial_json": more})),
            Content::Whole(_) => {}
        }
    }

    /// Whether nothing more can belong to it once something else has begun.
    fn is_whole(&self) -> bool {
        match &self.content {
            Content::Text | Content::Thinking(_) | Content::Whole(_) => true,
            Content::Call { arguments, .. } => {
                arguments.trim_end().ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
            }
        }
    }

    fn close(&self, index: u32, out: &mut Vec<u8>) {
        if let Content::Thinking(Some(signature)) = &self.content {
            delta(out, index, json!({"type": "signature_delta", "signature": signature}));
        }
        send(out, "content_block_stop", &json!({"type": "content_block_stop", "index": index}));
    }
}

fn delta(out: &mut Vec<u8>, index: u32, delta: Value) {
    send(out, "content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}));
}

fn send(out: &mut Vec<u8>, event: &str, data: &Value) {
    write_event(out, Some(event), data.to_string().as_bytes());
}
