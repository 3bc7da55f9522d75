//! A client's reading of Anthropic's stream, with the demands of the official SDKs as assertions.

use privet_dialects::canonical::Part;
use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamOptions, StreamTranslation};
use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, Inbound};
use serde_json::{Value, json};

use crate::client::Relayed;

/// All that a client saw, put together as the SDKs do it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) message: Value,
    /// The blocks; the pieces of a call's input stand in `partial`.
    pub(super) blocks: Vec<Value>,
    pub(super) is_complete: bool,
    pub(super) pings: usize,
    open: Option<usize>,
}

impl Seen {
    /// The text of all blocks of a kind.
    pub(super) fn text(&self, kind: &str, field: &str) -> String {
        let blocks = self.blocks.iter().filter(|block| block["type"] == kind);
        blocks.map(|block| block[field].as_str().unwrap_or_default()).collect()
    }

    /// Name and input of each call.
    pub(super) fn calls(&self) -> Vec<(String, Value)> {
        let blocks = self.blocks.iter().filter(|block| block["type"] == "tool_use");
        blocks.map(|block| (block["name"].as_str().unwrap().to_owned(), block["input"].clone())).collect()
    }

    /// The blocks as a client sends them back.
    pub(super) fn content(&self) -> Value {
        Value::Array(self.blocks.clone())
    }
}

/// Relays a whole stream that arrives in pieces.
pub(crate) fn relay_pieces(dialect: Dialect, pieces: &[&[u8]]) -> Relayed {
    let options = StreamOptions { include_usage: true, choices: 1, created: 0 };
    let mut decoder = SseDecoder::default();
    let mut translation = StreamTranslation::new(Inbound::AnthropicMessages, dialect, options);
    let (mut live, mut outcome) = (Vec::new(), Ok(()));
    for piece in pieces.iter().map(Some).chain([None]) {
        match piece {
            Some(piece) => decoder.push(piece),
            None => decoder.finish(),
        }
        while let Some(event) = decoder.next_event() {
            if outcome.is_ok() {
                outcome = event.and_then(|event| translation.event(&event, &mut live));
            }
        }
    }
    let outcome = outcome.and_then(|()| translation.end());
    let closing = if outcome.is_ok() { translation.closing() } else { Vec::new() };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Relayed { live: text(live), closing: text(closing), answer: translation.answer(), outcome }
}

pub(crate) fn relay(dialect: Dialect, stream: &str) -> Relayed {
    relay_pieces(dialect, &[stream.as_bytes()])
}

/// Reads what a client gets, and fails where an official SDK would, or would put together something else.
pub(super) fn read(bytes: &str) -> Seen {
    let mut decoder = SseDecoder::default();
    decoder.push(bytes.as_bytes());
    decoder.finish();
    let mut seen = Seen::default();
    while let Some(event) = decoder.next_event() {
        let event = event.unwrap();
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        let kind = event.event.expect("each event has its `event:` line");
        assert_eq!(data["type"], *kind, "the line names the type");
        assert!(!seen.is_complete, "nothing follows message_stop: {data}");
        seen.event(&kind, &data);
    }
    seen
}

impl Seen {
    fn event(&mut self, kind: &str, data: &Value) {
        if kind == "ping" {
            self.pings += 1;
            return;
        }
        assert_eq!(self.message.is_null(), kind == "message_start", "exactly one message_start, and first: {data}");
        match kind {
            "message_start" => {
                let message = &data["message"];
                assert!(message["id"].is_string() && message["model"].is_string(), "{data}");
                assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null), "{data}");
                assert!(
                    message["usage"]["input_tokens"].is_u64() && message["usage"]["output_tokens"].is_u64(),
                    "{data}"
                );
                self.message = message.clone();
            }
            "content_block_start" => {
                assert_eq!(self.open, None, "a block closes before the next opens: {data}");
                assert_eq!(data["index"], self.blocks.len(), "blocks are counted without gaps: {data}");
                self.open = Some(self.blocks.len());
                self.blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => self.delta(data),
            "content_block_stop" => {
                assert_eq!(self.open.take(), data["index"].as_u64().map(|index| index as usize), "{data}");
                let block = self.blocks.last_mut().unwrap();
                if let Some(partial) = block.as_object_mut().unwrap().remove("partial") {
                    let partial = partial.as_str().unwrap();
                    block["input"] = serde_json::from_str(partial).unwrap_or_else(|_| json!(partial));
                }
            }
            "message_delta" => {
                assert_eq!(self.open, None, "all blocks are closed: {data}");
                assert!(data["usage"]["output_tokens"].is_u64(), "{data}");
                let (message, usage) = (self.message.as_object_mut().unwrap(), data["usage"].as_object().unwrap());
                // Set, not added.
                message["usage"].as_object_mut().unwrap().extend(usage.clone());
                message.extend(data["delta"].as_object().unwrap().clone());
            }
            "message_stop" => self.is_complete = true,
            other => panic!("an event that nobody knows: {other}"),
        }
    }

    fn delta(&mut self, data: &Value) {
        let index = data["index"].as_u64().unwrap() as usize;
        assert_eq!(self.open, Some(index), "a piece belongs to the open block: {data}");
        let (delta, block) = (&data["delta"], &mut self.blocks[index]);
        let (of, from, into) = match delta["type"].as_str().unwrap() {
            "text_delta" => ("text", "text", "text"),
            "thinking_delta" => ("thinking", "thinking", "thinking"),
            "signature_delta" => ("thinking", "signature", "signature"),
            "input_json_delta" => ("tool_use", "partial_json", "partial"),
            other => panic!("a piece that nobody knows: {other}"),
        };
        assert_eq!(block["type"], of, "a piece of its block's kind: {data}");
        let more = delta[from].as_str().unwrap();
        let before = block[into].as_str().unwrap_or_default();
        block[into] = json!(format!("{before}{more}"));
    }
}

/// Name and input of each call that was collected.
pub(super) fn calls_of(answer: &Answer) -> Vec<(String, Value)> {
    let parts = answer.messages.iter().flat_map(|message| &message.parts);
    let calls = parts.filter_map(|part| match part {
        Part::ToolCall { name, arguments, .. } => {
            Some((name.clone(), serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments))))
        }
        _ => None,
    });
    calls.collect()
}
