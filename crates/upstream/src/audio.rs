//! Speech and recordings in OpenAI's form: a second of silence is spoken, and the default sentence is heard. A form is read as JSON
//! of its parts, so that tests see it as they see other bodies; a file stands in it as its name and its size.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use super::behaviour::Usage;
use super::event::Event;

/// What is spoken: the bytes of no format, in which no text could be.
pub(super) const SOUND: &[u8] = &[0xff, 0xfb, 0x90, 0x00, 0x80, 0xfe];
/// What a recording is taken for, where nothing is scripted.
const SECONDS: u64 = 2;
const TOKENS_PER_SECOND: u64 = 10;

/// Whether a model is priced by characters or seconds; the others are by tokens.
pub(super) fn is_by_units(model: &str) -> bool {
    !model.contains("gpt-")
}

/// What a call counts as, where nothing is scripted.
pub(super) fn count(model: &str, body: &Value, input_tokens: u64) -> Usage {
    let spoken = body.get("input").and_then(Value::as_str).map(|input| input.chars().count() as u64);
    let (input_tokens, output_tokens) = match (is_by_units(model), spoken) {
        (true, spoken) => (spoken.unwrap_or(SECONDS), 0),
        (false, Some(characters)) => (input_tokens, characters * 2),
        (false, None) => (SECONDS * TOKENS_PER_SECOND, 10),
    };
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// What the provider says that it counted, in the form of the model's price.
fn told(model: &str, usage: Usage) -> Value {
    let Usage { input_tokens, output_tokens, .. } = usage;
    if is_by_units(model) {
        return json!({"type": "duration", "seconds": input_tokens});
    }
    json!({
        "type": "tokens", "input_tokens": input_tokens, "output_tokens": output_tokens,
        "total_tokens": input_tokens.saturating_add(output_tokens),
        "input_token_details": {"text_tokens": 0, "audio_tokens": input_tokens},
    })
}

/// A transcript as JSON.
pub(super) fn transcript(model: &str, text: &str, usage: Option<Usage>) -> Value {
    let mut reply = json!({"text": text});
    if let (Some(usage), Some(fields)) = (usage, reply.as_object_mut()) {
        fields.insert("usage".to_owned(), told(model, usage));
    }
    reply
}

/// A transcript as events, word by word.
pub(super) fn transcript_events(model: &str, text: &str, usage: Option<Usage>) -> Vec<Event> {
    let words = text.split_inclusive(' ').map(|word| json!({"type": "transcript.text.delta", "delta": word}));
    let mut done = json!({"type": "transcript.text.done", "text": text});
    if let (Some(usage), Some(fields)) = (usage, done.as_object_mut()) {
        fields.insert("usage".to_owned(), told(model, usage));
    }
    let mut events: Vec<Event> = words.map(|json| Event { content: true, ..Event::json(json) }).collect();
    events.push(Event::json(done));
    events
}

/// Speech as events.
pub(super) fn speech_events(usage: Option<Usage>) -> Vec<Event> {
    let delta = json!({"type": "speech.audio.delta", "audio": "//uQAID+"});
    let mut done = json!({"type": "speech.audio.done"});
    if let (Some(Usage { input_tokens, output_tokens, .. }), Some(fields)) = (usage, done.as_object_mut()) {
        let total = input_tokens.saturating_add(output_tokens);
        let usage = json!({"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total});
        fields.insert("usage".to_owned(), usage);
    }
    vec![Event { content: true, ..Event::json(delta) }, Event::json(done)]
}

/// A form as JSON of its parts; a body of another type as it is.
pub(super) fn read_form(headers: &HeaderMap, body: Bytes) -> Bytes {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some((_, boundary)) = kind.split_once("boundary=") else { return body };
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut parts = Map::new();
    for part in split(&body, delimiter.as_bytes()) {
        let Some(at) = find(part, b"\r\n\r\n") else { continue };
        let (head, bytes) = (String::from_utf8_lossy(&part[..at]), &part[at + 4..]);
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let Some(name) = quoted(&head, " name=\"") else { continue };
        let value = match quoted(&head, "filename=\"") {
            Some(file) => json!({"file": file, "bytes": bytes.len(), "head": head.trim()}),
            None => json!(String::from_utf8_lossy(bytes)),
        };
        match parts.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
            None => drop(parts.insert(name, value)),
        }
    }
    Bytes::from(Value::Object(parts).to_string())
}

fn quoted(head: &str, before: &str) -> Option<String> {
    let (_, rest) = head.split_once(before)?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn split<'a>(mut bytes: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(bytes, delimiter) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + delimiter.len()..];
    }
    parts
}
