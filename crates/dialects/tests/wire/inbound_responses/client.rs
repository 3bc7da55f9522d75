//! A client's reading of a stream of the Responses API, with the demands of the official SDKs as assertions.

use std::sync::Arc;

use privet_dialects::Dialect;
use privet_dialects::incoming::Incoming;
use privet_dialects::responses::incoming::{Birth, IncomingResponses, Referenced};
use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamOptions, StreamTranslation};
use privet_dialects::translate::Asker;
use privet_domain::id::ResponseId;
use serde_json::{Value, json};

use crate::client::Relayed;

/// The response of these tests.
pub(crate) const ID: &str = "resp_0199c0de000070008000000000000001";

pub(crate) fn birth() -> Birth {
    let id: ResponseId = "0199c0de-0000-7000-8000-000000000001".parse().unwrap();
    Birth { id, at: 1_760_000_000 }
}

pub(super) fn parse(body: &Value) -> IncomingResponses {
    let read = IncomingResponses::parse(body.to_string().into(), birth(), &Referenced::new());
    read.unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// A client that asked this.
pub(super) fn asker(more: &Value) -> Asker {
    let mut body = json!({"model": "m", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Incoming::from(parse(&body)).asker()
}

/// Relays a whole stream that arrives in pieces.
pub(crate) fn relay_pieces(asker: &Asker, dialect: Dialect, pieces: &[&[u8]]) -> Relayed {
    let options = StreamOptions { include_usage: true, choices: 1, created: 0 };
    let mut decoder = SseDecoder::default();
    let mut translation = StreamTranslation::new(asker.clone(), dialect, options);
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

pub(super) fn relay(more: &Value, dialect: Dialect, stream: &str) -> Relayed {
    relay_pieces(&asker(more), dialect, &[stream.as_bytes()])
}

/// What the record of this answer is, made whole as when it is read later.
pub(super) fn read_later(asker: &Asker, relayed: &Relayed) -> Value {
    use privet_dialects::responses::echo::{is_cut, with_output};
    use privet_dialects::responses::output::{ItemStyle, kept_items};
    let echo: &Arc<_> = asker.echo.as_ref().unwrap();
    let record = echo.record(&relayed.answer, None);
    let style = ItemStyle { response: echo.id, seals: echo.seals, is_cut: is_cut(&record) };
    let output = kept_items(&relayed.answer.messages, style);
    with_output(record, output)
}

/// All that a client saw, put together as the SDKs do it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// The response as the last event has it.
    pub(super) response: Value,
    /// The items, put together from their pieces.
    pub(super) items: Vec<Value>,
    /// The items as they were when they were done.
    pub(super) done: Vec<Value>,
    pub(super) kinds: Vec<String>,
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
        assert_eq!(data["sequence_number"], seen.kinds.len(), "numbers grow without holes: {data}");
        assert!(!seen.is_ended(), "nothing follows the end: {data}");
        seen.event(&kind, &data);
        seen.kinds.push(kind);
    }
    seen
}

impl Seen {
    pub(super) fn is_ended(&self) -> bool {
        matches!(
            self.kinds.last().map(String::as_str),
            Some("response.completed" | "response.incomplete" | "response.failed")
        )
    }

    fn event(&mut self, kind: &str, data: &Value) {
        assert_eq!(kind == "response.created", self.kinds.is_empty(), "one response.created, and first");
        assert_eq!(kind == "response.in_progress", self.kinds.len() == 1, "response.in_progress is second");
        match kind {
            "response.created" | "response.in_progress" => {
                assert_eq!(
                    (&data["response"]["status"], &data["response"]["output"]),
                    (&json!("in_progress"), &json!([]))
                );
                self.response(data);
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                assert_eq!(data["response"]["status"], kind.strip_prefix("response.").unwrap());
                self.response(data);
                if kind != "response.failed" {
                    assert_eq!(data["response"]["output"], Value::Array(self.done.clone()), "{data}");
                }
            }
            "response.output_item.added" => {
                assert_eq!(data["output_index"], self.items.len(), "{data}");
                self.items.push(data["item"].clone());
                self.done.push(Value::Null);
            }
            "response.output_item.done" => {
                let index = data["output_index"].as_u64().unwrap() as usize;
                assert!(self.done[index].is_null(), "once: {data}");
                assert_eq!(self.items[index]["id"], data["item"]["id"], "{data}");
                for member in ["content", "arguments", "summary"] {
                    assert_eq!(self.items[index][member], data["item"][member], "{data}");
                }
                self.done[index] = data["item"].clone();
            }
            other => self.piece(other, data),
        }
    }

    fn response(&mut self, data: &Value) {
        assert!(self.response.is_null() || self.response["id"] == data["response"]["id"], "one id: {data}");
        assert!(data["response"]["id"].as_str().unwrap().starts_with("resp_"), "{data}");
        self.response = data["response"].clone();
    }

    fn piece(&mut self, kind: &str, data: &Value) {
        let index = data["output_index"].as_u64().unwrap_or_else(|| panic!("{data}")) as usize;
        assert!(self.done[index].is_null(), "nothing follows the end of an item: {data}");
        let item = &mut self.items[index];
        assert_eq!(item["id"], data["item_id"], "{data}");
        let (list, place) = match (&data["content_index"], &data["summary_index"]) {
            (Value::Null, Value::Null) => ("", 0),
            (Value::Null, place) => ("summary", place.as_u64().unwrap() as usize),
            (place, _) => ("content", place.as_u64().unwrap() as usize),
        };
        let add = |into: &mut Value| {
            let text = format!("{}{}", into.as_str().unwrap(), data["delta"].as_str().unwrap());
            *into = json!(text);
        };
        match kind {
            "response.content_part.added" | "response.reasoning_summary_part.added" => {
                assert_eq!(item[list].as_array().unwrap().len(), place, "{data}");
                item[list].as_array_mut().unwrap().push(data["part"].clone());
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                assert_eq!(item[list][place], data["part"], "{data}");
            }
            "response.output_text.delta" | "response.reasoning_summary_text.delta" => {
                add(&mut item[list][place]["text"])
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => {
                assert_eq!(item[list][place]["text"], data["text"], "{data}");
            }
            "response.refusal.delta" => add(&mut item[list][place]["refusal"]),
            "response.refusal.done" => assert_eq!(item[list][place]["refusal"], data["refusal"], "{data}"),
            "response.function_call_arguments.delta" => add(&mut item["arguments"]),
            "response.function_call_arguments.done" => assert_eq!(item["arguments"], data["arguments"], "{data}"),
            other => panic!("an event that nobody knows: {other}"),
        }
    }
}
