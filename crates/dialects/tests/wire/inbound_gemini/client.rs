//! A client's reading of Gemini's stream, with the demands of the official SDKs as assertions.

use privet_dialects::canonical::Part;
use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamOptions, StreamTranslation};
use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, Inbound};
use serde_json::{Value, json};

use crate::client::Relayed;

pub(super) const OPTIONS: StreamOptions = StreamOptions { include_usage: true, choices: 1, created: 0 };

/// All that a client saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// The contents of the first candidate, piece by piece, as the SDKs keep them for the next turn.
    pub(super) contents: Vec<Value>,
    pub(super) finish: Option<String>,
    pub(super) usage: Value,
    pub(super) ids: Vec<String>,
}

impl Seen {
    pub(super) fn parts(&self) -> Vec<Value> {
        self.contents.iter().flat_map(|content| content["parts"].as_array().unwrap().clone()).collect()
    }

    /// The text, or the thoughts.
    pub(super) fn text(&self, is_thought: bool) -> String {
        let parts = self.parts().into_iter().filter(|part| (part["thought"] == true) == is_thought);
        parts.map(|part| part["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Name and arguments of each call.
    pub(super) fn calls(&self) -> Vec<(String, Value)> {
        let calls = self.parts().into_iter().filter_map(|part| part.get("functionCall").cloned());
        calls
            .map(|call| {
                (call["name"].as_str().unwrap().to_owned(), call.get("args").cloned().unwrap_or_else(|| json!({})))
            })
            .collect()
    }
}

/// Relays a whole stream that arrives in pieces.
pub(crate) fn relay_pieces(dialect: Dialect, pieces: &[&[u8]]) -> Relayed {
    let mut decoder = SseDecoder::default();
    let mut translation = StreamTranslation::new(Inbound::Gemini, dialect, OPTIONS);
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
    // Python's takes any line that is not of an event for JSON of its own.
    assert!(bytes.lines().all(|line| line.is_empty() || line.starts_with("data: ")), "{bytes}");
    let mut seen = Seen::default();
    for event in bytes.split("\n\n").map(str::trim).filter(|event| !event.is_empty()) {
        let data: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert!(data.get("error").is_none(), "an error is raised: {data}");
        seen.ids.extend(data["responseId"].as_str().map(str::to_owned));
        if data.get("usageMetadata").is_some() {
            seen.usage = data["usageMetadata"].clone();
        }
        let Some(candidate) = data["candidates"].get(0) else { continue };
        assert!(seen.finish.is_none(), "nothing follows the finish: {data}");
        seen.finish = candidate["finishReason"].as_str().map(str::to_owned);
        let content = &candidate["content"];
        // The SDKs forget an answer with a piece that has no content, or an empty part.
        let parts = content["parts"].as_array().unwrap_or_else(|| panic!("a piece has parts: {data}"));
        assert!(
            !parts.is_empty() && parts.iter().all(|part| *part != json!({})) && content["role"] == "model",
            "{data}"
        );
        seen.contents.push(content.clone());
    }
    seen
}

/// Name and arguments of each call that was collected.
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
