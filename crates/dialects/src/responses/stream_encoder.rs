//! Canonical events as those of a response.
//!
//! Items are told apart by their place, so that calls whose pieces come by turns can all be open. A text or a thought ends where something
//! else begins, a call when its arguments are a whole object, all at the answer's end. `sequence_number` counts every event from 0.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::echo::{Echo, Standing, Status};
use super::id::{ItemPlace, Side};
use super::output::{Draft, IN_PROGRESS, Said, summary_text, whole};
use super::seal;
use crate::Dialect;
use crate::canonical::{ChatEvent, FinishReason, Usage};
use crate::sse::write_event;
use crate::stream::StreamFailure;

/// What says that a stream lives. There is no event for it.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Writes the events of one stream.
#[derive(Debug, Default)]
pub struct StreamEncoder {
    echo: Arc<Echo>,
    model: String,
    usage: Option<Usage>,
    tier: Option<String>,
    finish: Option<FinishReason>,
    /// The items of the answer, also those that the client is not told of.
    items: Vec<Item>,
    /// How many the client is told of.
    shown: u32,
    has_begun: bool,
    sequence: u64,
}

#[derive(Debug)]
struct Item {
    draft: Draft,
    id: String,
    /// Of a call, which of the answer it is.
    call: Option<u32>,
    /// Of a thought, its signature.
    signature: Option<String>,
    /// Its place in the output, once the client was told of it.
    place: Option<u32>,
    is_closed: bool,
}

impl StreamEncoder {
    /// For a response.
    #[must_use]
    pub fn new(echo: Arc<Echo>) -> Self {
        Self { echo, ..Self::default() }
    }

    /// Writes an event. Whoever asks in this dialect gets one answer.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { model, .. } => {
                self.model.clone_from(model);
                self.begin(out);
            }
            ChatEvent::Text { choice: 0, delta } => self.say(delta, false, out),
            ChatEvent::Refusal { choice: 0, delta } => self.say(delta, true, out),
            ChatEvent::Thinking { choice: 0, delta } => self.think(delta, out),
            ChatEvent::ThinkingSignature { choice: 0, signature } => self.sign(signature, out),
            ChatEvent::RedactedThinking { choice: 0, data } => {
                let part = crate::canonical::Part::RedactedThinking { data: data.clone() };
                self.add(Draft::Reasoning { text: String::new(), sealed: seal::of_part(&part) }, None, out);
            }
            ChatEvent::ToolCall { choice: 0, index, id, name, signature } => {
                if let Some(signature) = signature {
                    let sealed = Some(seal::of_call(signature));
                    self.add(Draft::Reasoning { text: String::new(), sealed }, None, out);
                }
                let (call_id, name) = (id.clone(), name.clone());
                self.add(Draft::Call { call_id, name, arguments: String::new() }, Some(*index), out);
                self.show(self.items.len().saturating_sub(1), out);
            }
            ChatEvent::ToolArguments { choice: 0, index, delta } => self.argue(*index, delta, out),
            ChatEvent::Finish { choice: 0, reason } => {
                self.finish = Some(reason.clone());
                self.close_items(true, out);
            }
            ChatEvent::Other { choice: 0, dialect: Dialect::OpenAiResponses, value: Value::Object(fields) } => {
                self.add(Draft::Other(fields.clone()), None, out);
                self.show(self.items.len().saturating_sub(1), out);
            }
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Tier(tier) => self.tier = Some(tier.clone()),
            // A part of another dialect, which nobody asked for; further answers likewise.
            _ => {}
        }
    }

    /// Writes the end of the response.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // Some servers do not say why they end.
        let status = Status::of(Some(self.finish.get_or_insert(FinishReason::Stop)));
        self.begin(out);
        self.close_items(true, out);
        let event = format!("response.{}", status.word());
        let response = self.response(status);
        self.send(&event, json!({"response": response}), out);
    }

    /// The event of a failure after which nothing follows.
    #[must_use]
    pub fn failure(&self, failure: &StreamFailure<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sequence = self.sequence;
        if !self.has_begun {
            sequence = self.write_beginning(&mut out);
        }
        let response = self.response(Status::Failed(failure.message.to_owned()));
        write(&mut out, "response.failed", sequence, json!({"response": response}));
        out
    }

    fn say(&mut self, delta: &str, refuses: bool, out: &mut Vec<u8>) {
        if delta.is_empty() {
            return;
        }
        if !matches!(self.items.last(), Some(Item { draft: Draft::Message(_), is_closed: false, .. })) {
            self.add(Draft::Message(Vec::new()), None, out);
        }
        let index = self.items.len().saturating_sub(1);
        let place = self.show(index, out);
        let goes_on = matches!(self.items.get(index), Some(Item { draft: Draft::Message(pieces), .. })
            if pieces.last().is_some_and(|said| said.refuses == refuses));
        if !goes_on {
            self.close_part(index, out);
            let said = Said { text: String::new(), refuses };
            let part = said.value();
            let Some(Item { draft: Draft::Message(pieces), id, .. }) = self.items.get_mut(index) else { return };
            pieces.push(said);
            let at = pieces.len() - 1;
            let event = json!({"item_id": id, "output_index": place, "content_index": at, "part": part});
            self.send("response.content_part.added", event, out);
        }
        let Some(Item { draft: Draft::Message(pieces), id, .. }) = self.items.get_mut(index) else { return };
        let at = pieces.len().saturating_sub(1);
        if let Some(said) = pieces.last_mut() {
            said.text.push_str(delta);
        }
        let mut event = json!({"item_id": id, "output_index": place, "content_index": at, "delta": delta});
        if refuses {
            return self.send("response.refusal.delta", event, out);
        }
        if let Some(fields) = event.as_object_mut() {
            fields.insert("logprobs".to_owned(), json!([]));
        }
        self.send("response.output_text.delta", event, out);
    }

    fn think(&mut self, delta: &str, out: &mut Vec<u8>) {
        let goes_on = matches!(self.items.last(), Some(item)
            if !item.is_closed && item.signature.is_none() && matches!(item.draft, Draft::Reasoning { sealed: None, .. }));
        if !goes_on {
            self.add(Draft::Reasoning { text: String::new(), sealed: None }, None, out);
        }
        if delta.is_empty() {
            return;
        }
        let index = self.items.len().saturating_sub(1);
        let place = self.show(index, out);
        let Some(Item { draft: Draft::Reasoning { text, .. }, id, .. }) = self.items.get_mut(index) else { return };
        let begins = text.is_empty();
        text.push_str(delta);
        let id = id.clone();
        if begins {
            let part = summary_text(&String::new());
            let event = json!({"item_id": id, "output_index": place, "summary_index": 0, "part": part});
            self.send("response.reasoning_summary_part.added", event, out);
        }
        let event = json!({"item_id": id, "output_index": place, "summary_index": 0, "delta": delta});
        self.send("response.reasoning_summary_text.delta", event, out);
    }

    /// Signs the thought that was shown last; where none was, one that is not shown.
    fn sign(&mut self, more: &str, out: &mut Vec<u8>) {
        let is_thought = |item: &Item| matches!(item.draft, Draft::Reasoning { sealed: None, .. }) && !item.is_closed;
        if !self.items.last().is_some_and(is_thought) {
            self.add(Draft::Reasoning { text: String::new(), sealed: None }, None, out);
        }
        if let Some(item) = self.items.last_mut() {
            item.signature.get_or_insert_default().push_str(more);
        }
    }

    fn argue(&mut self, call: u32, delta: &str, out: &mut Vec<u8>) {
        let item = self.items.iter_mut().find(|item| item.call == Some(call) && !item.is_closed);
        let Some(Item { draft: Draft::Call { arguments, .. }, id, place, .. }) = item else { return };
        if delta.is_empty() {
            return;
        }
        arguments.push_str(delta);
        let event = json!({"item_id": id, "output_index": place, "delta": delta});
        self.send("response.function_call_arguments.delta", event, out);
    }

    /// Begins an item: those before it that can have nothing more are at their end.
    fn add(&mut self, draft: Draft, call: Option<u32>, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_items(false, out);
        let place = ItemPlace { response: self.echo.id, side: Side::Output, index: self.items.len() };
        let id = draft.id(place);
        self.items.push(Item { draft, id, call, signature: None, place: None, is_closed: false });
    }

    /// Tells the client of an item, once.
    fn show(&mut self, index: usize, out: &mut Vec<u8>) -> u32 {
        let (seals, shown) = (self.echo.seals, self.shown);
        let Some(item) = self.items.get_mut(index) else { return shown };
        if let Some(place) = item.place {
            return place;
        }
        item.place = Some(shown);
        let value = item.draft.value(&item.id, IN_PROGRESS, seals);
        self.shown += 1;
        self.send("response.output_item.added", json!({"output_index": shown, "item": value}), out);
        shown
    }

    /// Closes the items that are at their end.
    fn close_items(&mut self, at_end: bool, out: &mut Vec<u8>) {
        let last = self.items.len().saturating_sub(1);
        for index in 0..self.items.len() {
            let is_due = self.items.get(index).is_some_and(|item| !item.is_closed && (at_end || item.is_whole()));
            if is_due {
                let is_cut = index == last && at_end && Status::of(self.finish.as_ref()).is_cut();
                self.close_item(index, if is_cut { "incomplete" } else { "completed" }, out);
            }
        }
    }

    fn close_item(&mut self, index: usize, status: &str, out: &mut Vec<u8>) {
        let seals = self.echo.seals;
        let Some(item) = self.items.get_mut(index) else { return };
        item.is_closed = true;
        if let Draft::Reasoning { sealed, .. } = &mut item.draft
            && let Some(signature) = &item.signature
        {
            *sealed = Some(seal::of_signature(signature));
        }
        if item.place.is_none() && !item.draft.is_shown(seals) {
            return;
        }
        let place = self.show(index, out);
        self.close_part(index, out);
        let Some(item) = self.items.get(index) else { return };
        let (id, value) = (item.id.clone(), item.draft.value(&item.id, status, seals));
        match item.draft.clone() {
            Draft::Message(_) | Draft::Other(_) => {}
            Draft::Reasoning { text, .. } if text.is_empty() => {}
            Draft::Reasoning { text, .. } => {
                let event = json!({"item_id": id, "output_index": place, "summary_index": 0, "text": text});
                self.send("response.reasoning_summary_text.done", event, out);
                let part = summary_text(&text);
                let event = json!({"item_id": id, "output_index": place, "summary_index": 0, "part": part});
                self.send("response.reasoning_summary_part.done", event, out);
            }
            Draft::Call { name, arguments, .. } => {
                let all = whole(&arguments);
                if all != arguments {
                    let event = json!({"item_id": id, "output_index": place, "delta": all});
                    self.send("response.function_call_arguments.delta", event, out);
                }
                let event = json!({"item_id": id, "output_index": place, "name": name, "arguments": all});
                self.send("response.function_call_arguments.done", event, out);
            }
        }
        self.send("response.output_item.done", json!({"output_index": place, "item": value}), out);
    }

    /// Ends the piece of a message that was said last.
    fn close_part(&mut self, index: usize, out: &mut Vec<u8>) {
        let place = self.items.get(index).and_then(|item| item.place);
        let Some((said, at)) = self.said(index) else { return };
        let Some(item) = self.items.get(index) else { return };
        let id = item.id.clone();
        let head = json!({"item_id": id, "output_index": place, "content_index": at});
        let with = |name: &str, value: Value| {
            let mut event = head.clone();
            if let Some(fields) = event.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
            event
        };
        if said.refuses {
            self.send("response.refusal.done", with("refusal", json!(said.text)), out);
        } else {
            let mut event = with("text", json!(said.text));
            if let Some(fields) = event.as_object_mut() {
                fields.insert("logprobs".to_owned(), json!([]));
            }
            self.send("response.output_text.done", event, out);
        }
        self.send("response.content_part.done", with("part", said.value()), out);
    }

    /// The piece of a message that was said last, and its place.
    fn said(&self, index: usize) -> Option<(Said, usize)> {
        match &self.items.get(index)?.draft {
            Draft::Message(pieces) => Some((pieces.last()?.clone(), pieces.len() - 1)),
            Draft::Reasoning { .. } | Draft::Call { .. } | Draft::Other(_) => None,
        }
    }

    /// Writes `response.created` and `response.in_progress`, once.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.sequence = self.write_beginning(out);
        }
    }

    fn write_beginning(&self, out: &mut Vec<u8>) -> u64 {
        begin(&self.echo, &self.model, out)
    }

    /// The response as it stands.
    fn response(&self, status: Status) -> Value {
        let shown = self.items.iter().filter(|item| item.place.is_some());
        let item = |item: &Item| {
            let is_whole =
                item.is_closed && !(status.is_cut() && self.items.last().is_some_and(|last| last.id == item.id));
            item.draft.value(&item.id, if is_whole { "completed" } else { "incomplete" }, self.echo.seals)
        };
        let output = shown.map(item).collect();
        self.echo.response(Standing {
            status,
            model: &self.model,
            output,
            usage: self.usage,
            tier: self.tier.as_deref(),
        })
    }

    fn send(&mut self, event: &str, fields: Value, out: &mut Vec<u8>) {
        write(out, event, self.sequence, fields);
        self.sequence += 1;
    }
}

impl Item {
    /// Whether nothing more can belong to it once something else has begun.
    fn is_whole(&self) -> bool {
        match &self.draft {
            Draft::Message(_) | Draft::Reasoning { .. } | Draft::Other(_) => true,
            Draft::Call { arguments, .. } => {
                arguments.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
            }
        }
    }
}

/// Writes `response.created` and `response.in_progress`, and gives the number of the next event.
pub(super) fn begin(echo: &Echo, model: &str, out: &mut Vec<u8>) -> u64 {
    let begun = echo.response(Standing { model, ..Standing::default() });
    write(out, "response.created", 0, json!({"response": begun}));
    write(out, "response.in_progress", 1, json!({"response": begun}));
    2
}

pub(super) fn write(out: &mut Vec<u8>, event: &str, sequence: u64, fields: Value) {
    let mut data = Map::new();
    data.insert("type".to_owned(), json!(event));
    data.insert("sequence_number".to_owned(), json!(sequence));
    if let Value::Object(fields) = fields {
        data.extend(fields);
    }
    write_event(out, Some(event), Value::Object(data).to_string().as_bytes());
}
