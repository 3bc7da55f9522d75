//! A client's reading of a stream of chat chunks, with the demands of the official SDKs as assertions.

use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamOptions, StreamTranslation};
use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use serde_json::Value;

/// One tool call as a client puts it together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// One answer as a client puts it together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Option<String>,
    pub(crate) deltas: usize,
}

/// All that a client saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) choices: Vec<Reading>,
    pub(crate) usage: Option<Value>,
    pub(crate) done: bool,
    pub(crate) id: Option<String>,
}

/// A stream that was relayed to its end.
#[derive(Debug)]
pub(crate) struct Relayed {
    /// What went out while it ran.
    pub(crate) live: String,
    /// What was held back.
    pub(crate) closing: String,
    pub(crate) answer: Answer,
    pub(crate) outcome: Result<(), UpstreamFault>,
}

impl Relayed {
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.live, self.closing)
    }
}

pub(crate) fn options() -> StreamOptions {
    StreamOptions { include_usage: false, choices: 1, created: 1_760_000_000 }
}

pub(crate) fn with_usage() -> StreamOptions {
    StreamOptions { include_usage: true, ..options() }
}

/// Relays a whole stream that arrives in pieces.
pub(crate) fn relay_pieces(dialect: Dialect, options: StreamOptions, pieces: &[&[u8]]) -> Relayed {
    let mut decoder = SseDecoder::default();
    let mut translation = StreamTranslation::new(Inbound::OpenAiChat, dialect, options);
    let mut live = Vec::new();
    let mut outcome = Ok(());
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
    let closing = if outcome.is_ok() { translation.closing().to_vec() } else { Vec::new() };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Relayed { live: text(live), closing: text(closing), answer: translation.answer(), outcome }
}

pub(crate) fn relay(dialect: Dialect, options: StreamOptions, stream: &str) -> Relayed {
    relay_pieces(dialect, options, &[stream.as_bytes()])
}

/// Reads what a client gets, and fails where an official SDK would.
pub(crate) fn read(bytes: &str) -> Seen {
    let mut decoder = SseDecoder::default();
    decoder.push(bytes.as_bytes());
    decoder.finish();
    let mut seen = Seen::default();
    while let Some(event) = decoder.next_event() {
        let event = event.unwrap();
        assert_eq!(event.event, None, "chat chunks have no event line");
        assert!(!seen.done, "nothing follows [DONE]");
        if &event.data[..] == b"[DONE]" {
            seen.done = true;
            continue;
        }
        chunk(&mut seen, &serde_json::from_slice(&event.data).unwrap());
    }
    seen
}

fn chunk(seen: &mut Seen, chunk: &Value) {
    assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
    let id = chunk["id"].as_str().unwrap().to_owned();
    assert_eq!(*seen.id.get_or_insert_with(|| id.clone()), id, "one id in all chunks");
    assert!(chunk["created"].is_i64() && chunk["model"].is_string(), "{chunk}");
    let choices = chunk["choices"].as_array().unwrap();
    if choices.is_empty() {
        assert!(seen.usage.is_none(), "usage comes once");
        seen.usage = Some(chunk["usage"].clone());
        assert!(chunk["usage"].is_object(), "a chunk without choices carries usage: {chunk}");
    }
    for choice in choices {
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        if seen.choices.len() <= index {
            seen.choices.resize_with(index + 1, Reading::default);
        }
        read_choice(&mut seen.choices[index], choice);
    }
}

fn read_choice(reading: &mut Reading, choice: &Value) {
    let delta = &choice["delta"];
    assert!(delta.is_object(), "{choice}");
    assert_eq!(reading.finish, None, "nothing follows the finish: {choice}");
    if reading.deltas == 0 {
        assert_eq!(delta["role"], "assistant", "the role is in the first delta: {choice}");
    }
    reading.deltas += 1;
    reading.text += delta["content"].as_str().unwrap_or_default();
    reading.refusal += delta["refusal"].as_str().unwrap_or_default();
    reading.reasoning += delta["reasoning_content"].as_str().unwrap_or_default();
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
        let name = call["function"]["name"].as_str().unwrap_or_default();
        if index == reading.calls.len() {
            assert_eq!(call["type"], "function", "{call}");
            let id = call["id"].as_str().unwrap();
            assert!(!id.is_empty() && !name.is_empty(), "a call begins with its id and name: {call}");
            reading.calls.push(Call { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
        }
        assert!(index < reading.calls.len(), "indexes run from 0 without gaps: {call}");
        reading.calls[index].arguments += call["function"]["arguments"].as_str().unwrap_or_default();
    }
    if let Some(finish) = choice["finish_reason"].as_str() {
        reading.finish = Some(finish.to_owned());
    }
}

/// The same reading of the collected answer: what is stored is what the client saw.
pub(crate) fn of_answer(answer: &Answer) -> Vec<Reading> {
    use privet_dialects::canonical::Part;
    let readings = answer.messages.iter().map(|message| {
        let mut reading = Reading::default();
        for part in &message.parts {
            match part {
                Part::Text { text } => reading.text += text,
                Part::Thinking { text, .. } => reading.reasoning += text,
                Part::Refusal { text } => reading.refusal += text,
                Part::ToolCall { id, name, arguments, .. } => {
                    reading.calls.push(Call { id: id.clone(), name: name.clone(), arguments: arguments.clone() });
                }
                _ => {}
            }
        }
        reading
    });
    readings.collect()
}

/// A reading without what the collected answer does not have.
pub(crate) fn content(readings: &[Reading]) -> Vec<Reading> {
    readings.iter().map(|reading| Reading { finish: None, deltas: 0, ..reading.clone() }).collect()
}
