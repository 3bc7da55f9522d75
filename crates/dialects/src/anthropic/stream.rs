//! A streamed answer of the Messages API, event by event.
//!
//! It does not judge whether the stream ended well: [`StreamDecoder::is_complete`] says whether `message_stop` came.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::block::is_plain_call;
use super::wire::{Block, WireUsage, fault, finish};
use crate::canonical::ChatEvent;
use crate::sse::SseEvent;
use crate::{Dialect, UpstreamFault};

/// Anthropic gives one answer.
const CHOICE: u32 = 0;

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    usage: WireUsage,
    /// The calls whose block has not ended.
    open: Vec<OpenCall>,
    /// The blocks without canonical meaning that have not ended.
    others: Vec<OpenBlock>,
    calls: u32,
    finished: bool,
    complete: bool,
}

#[derive(Debug)]
struct OpenCall {
    /// Anthropic counts blocks of all kinds.
    block: u64,
    /// The canonical form counts calls alone.
    index: u32,
    /// Arguments that came with the block's start, where a server does that.
    early: Option<String>,
    has_arguments: bool,
}

/// A block as it grows.
#[derive(Debug)]
struct OpenBlock {
    block: u64,
    value: Value,
    /// The pieces of its `input`.
    input: String,
}

/// What an event is to whoever passes it on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing that can be read.
    Nothing,
    /// The beginning of the message.
    Start,
    /// A sign of life.
    Ping,
    /// Anything else, by its type.
    Event(String),
}

impl StreamDecoder {
    /// Reads an event. One that cannot be read is skipped: it does not end the stream.
    ///
    /// # Errors
    /// When the event reports an error.
    pub fn event(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        self.read(event, out).map(drop)
    }

    /// The same, and says what it was.
    pub(super) fn read(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<Seen, UpstreamFault> {
        if event.event.as_deref() == Some("error") {
            return Err(fault(&event.data));
        }
        let Ok(wire) = serde_json::from_slice::<Wire>(&event.data) else { return Ok(Seen::Nothing) };
        match wire.kind.as_str() {
            "message_start" => {
                self.start(wire.message.unwrap_or_default(), out);
                return Ok(Seen::Start);
            }
            "content_block_start" => {
                let Some(block) = wire.content_block else { return Ok(Seen::Nothing) };
                match serde_json::from_str::<Block>(block.get()) {
                    Ok(known) if is_known(&known) => self.block_start(wire.index, known, out),
                    _ => {
                        let value = serde_json::from_str(block.get()).unwrap_or_default();
                        self.others.push(OpenBlock { block: wire.index, value, input: String::new() });
                    }
                }
            }
            "content_block_delta" => self.block_delta(wire.index, wire.delta.unwrap_or_default(), out),
            "content_block_stop" => self.close(Some(wire.index), out),
            "message_delta" => self.message_delta(wire.delta.unwrap_or_default(), wire.usage, out),
            "message_stop" => {
                self.close(None, out);
                self.complete = true;
            }
            "ping" => {
                out.push(ChatEvent::Ping);
                return Ok(Seen::Ping);
            }
            "error" => return Err(fault(&event.data)),
            _ => {}
        }
        Ok(Seen::Event(wire.kind))
    }

    /// Whether the end of the message was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    fn start(&mut self, message: WireMessage, out: &mut Vec<ChatEvent>) {
        out.push(ChatEvent::Start { id: message.id, model: message.model });
        self.count(message.usage, out);
    }

    fn count(&mut self, usage: Option<WireUsage>, out: &mut Vec<ChatEvent>) {
        if let Some(usage) = usage {
            out.extend(usage.tier().map(ChatEvent::Tier));
            self.usage.update(usage);
            out.push(ChatEvent::Usage(self.usage.canonical()));
        }
    }

    fn block_start(&mut self, block: u64, content: Block, out: &mut Vec<ChatEvent>) {
        match content.kind.as_str() {
            "text" => text(content.text, out),
            "thinking" => {
                thinking(content.thinking, out);
                signature(content.signature, out);
            }
            "redacted_thinking" => {
                out.extend(content.data.map(|data| ChatEvent::RedactedThinking { choice: CHOICE, data }));
            }
            "tool_use" => {
                let early = content.arguments().map(str::to_owned);
                let (Some(id), Some(name)) = (content.id, content.name) else { return };
                let index = self.calls;
                self.calls += 1;
                self.open.push(OpenCall { block, index, early, has_arguments: false });
                out.push(ChatEvent::ToolCall { choice: CHOICE, index, id, name, signature: None });
            }
            _ => {}
        }
    }

    fn block_delta(&mut self, block: u64, delta: Delta, out: &mut Vec<ChatEvent>) {
        match delta.kind.as_str() {
            "text_delta" => text(delta.text, out),
            "thinking_delta" => thinking(delta.thinking, out),
            "signature_delta" => signature(delta.signature, out),
            "input_json_delta" => {
                if let Some(other) = self.others.iter_mut().rev().find(|other| other.block == block) {
                    other.input.push_str(&delta.partial_json.unwrap_or_default());
                    return;
                }
                let Some(call) = self.open.iter_mut().rev().find(|call| call.block == block) else { return };
                let Some(delta) = delta.partial_json.filter(|json| !json.is_empty()) else { return };
                call.has_arguments = true;
                out.push(ChatEvent::ToolArguments { choice: CHOICE, index: call.index, delta });
            }
            _ => {}
        }
    }

    fn message_delta(&mut self, delta: Delta, usage: Option<WireUsage>, out: &mut Vec<ChatEvent>) {
        if let Some(reason) = delta.stop_reason
            && !self.finished
        {
            self.close(None, out);
            self.finished = true;
            out.push(ChatEvent::Finish { choice: CHOICE, reason: finish(&reason) });
        }
        // Without its output it is no count of the whole message.
        self.count(usage.filter(WireUsage::has_output), out);
    }

    /// Ends a block, or all. A call without arguments has an empty object: clients parse an empty text as JSON and fail.
    fn close(&mut self, block: Option<u64>, out: &mut Vec<ChatEvent>) {
        self.open.retain_mut(|call| {
            let closes = block.is_none_or(|block| block == call.block);
            if closes && !call.has_arguments {
                let delta = call.early.take().unwrap_or_else(|| "{}".to_owned());
                out.push(ChatEvent::ToolArguments { choice: CHOICE, index: call.index, delta });
            }
            !closes
        });
        self.others.retain_mut(|other| {
            let closes = block.is_none_or(|block| block == other.block);
            if closes {
                if let (Ok(input), Some(fields)) = (serde_json::from_str(&other.input), other.value.as_object_mut()) {
                    fields.insert("input".to_owned(), input);
                }
                let value = std::mem::take(&mut other.value);
                out.push(ChatEvent::Other { choice: CHOICE, dialect: Dialect::AnthropicMessages, value });
            }
            !closes
        });
    }
}

/// Whether a block has a canonical meaning.
fn is_known(block: &Block) -> bool {
    match block.kind.as_str() {
        "text" | "thinking" | "redacted_thinking" => true,
        "tool_use" => is_plain_call(block.caller.as_ref(), block.toolset_name.as_ref()),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    index: u64,
    message: Option<WireMessage>,
    content_block: Option<Box<RawValue>>,
    delta: Option<Delta>,
    usage: Option<WireUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMessage {
    id: String,
    model: String,
    usage: Option<WireUsage>,
}

/// The delta of a block, or of the message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

fn text(delta: Option<String>, out: &mut Vec<ChatEvent>) {
    out.extend(said(delta).map(|delta| ChatEvent::Text { choice: CHOICE, delta }));
}

fn thinking(delta: Option<String>, out: &mut Vec<ChatEvent>) {
    out.extend(said(delta).map(|delta| ChatEvent::Thinking { choice: CHOICE, delta }));
}

fn signature(signature: Option<String>, out: &mut Vec<ChatEvent>) {
    out.extend(said(signature).map(|signature| ChatEvent::ThinkingSignature { choice: CHOICE, signature }));
}

fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
