//! A stream of the Responses API passed on as its own bytes: read to collect the answer, changed only in what is Privet's to say
//! ([`super::told`]) and where a client would stumble.
//!
//! What is mended: a stream that does not begin with `response.created`, a second one, numbers with holes, and a call without arguments. What
//! is unknown passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::echo::{Echo, Standing, Status};
use super::id::{ItemPlace, Side};
use super::output::{IN_PROGRESS, SEALED_MEMBER, whole};
use super::stream::StreamDecoder;
use super::stream_encoder::{begin, write};
use super::told;
use crate::UpstreamFault;
use crate::collect::Collector;
use crate::raw_object::RawObject;
use crate::sse::{SseEvent, write_event};
use crate::stream::StreamFailure;

/// A stream being relayed.
#[derive(Debug)]
pub struct Relay {
    echo: Arc<Echo>,
    decoder: StreamDecoder,
    model: String,
    has_begun: bool,
    /// Whether a tool is at work that the provider runs: the model is answering, though it has said nothing.
    is_at_work: bool,
    /// The number of the next event that the client is told of.
    sequence: u64,
    /// The items as they were told last, by their places, with their providers' ids.
    items: BTreeMap<u64, Value>,
    /// The places of the calls that were given arguments.
    argued: BTreeSet<usize>,
}

/// The items of other types are of tools that the provider runs.
const SAID: [&str; 3] = ["message", "reasoning", "function_call"];

impl Relay {
    /// For a response.
    #[must_use]
    pub fn new(echo: Arc<Echo>) -> Self {
        let decoder = StreamDecoder::default();
        let (model, items, argued) = (String::new(), BTreeMap::new(), BTreeSet::new());
        Self { echo, decoder, model, has_begun: false, is_at_work: false, sequence: 0, items, argued }
    }

    /// Takes in an event: collects it, and writes it for the client.
    ///
    /// # Errors
    /// When it reports an error. An event that cannot be read is skipped.
    pub fn event(
        &mut self,
        event: &SseEvent,
        collector: &mut Collector,
        out: &mut Vec<u8>,
    ) -> Result<(), UpstreamFault> {
        let mut events = Vec::new();
        let read = self.decoder.event(event, &mut events);
        for event in &events {
            collector.event(event);
        }
        read?;
        let Ok(object) = RawObject::parse(event.data.clone()) else { return Ok(()) };
        let Ok(Some(kind)) = object.decode::<String>("type") else { return Ok(()) };
        let begins = kind == "response.created";
        if !self.has_begun && !kind.starts_with("response.") || self.has_begun && begins {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_begun, true) && !begins {
            self.sequence = begin(&self.echo, &self.model, out);
        }
        self.note(&kind, &object, collector);
        if kind == told::ARGUED && told::lacks_arguments(&object) {
            self.argue(&object, out);
        }
        if kind == "response.output_item.done" {
            self.argue_at_its_end(&object, out);
        }
        let told = told::event(&object, &self.echo, self.sequence);
        // After the last word nothing is told, unless that it cannot be said.
        self.sequence += u64::from(!self.decoder.is_complete());
        write_event(out, Some(event.event.as_deref().unwrap_or(&kind)), &told);
        Ok(())
    }

    /// Keeps what a failure would say, and the items for whoever goes on from the answer.
    fn note(&mut self, kind: &str, object: &RawObject, collector: &mut Collector) {
        let member = |name: &str| object.decode::<Value>(name).ok().flatten().unwrap_or_default();
        match kind {
            "response.created" => {
                let response = member("response");
                self.model = response.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
            }
            "response.output_item.added" => {
                let item = member("item");
                self.is_at_work |= item.get("type").and_then(Value::as_str).is_some_and(|kind| !SAID.contains(&kind));
                self.keep(member("output_index").as_u64(), item);
            }
            "response.output_item.done" => self.keep(member("output_index").as_u64(), member("item")),
            _ if self.decoder.is_complete() => {
                let told = member("response").get_mut("output").and_then(Value::as_array_mut).map(std::mem::take);
                let told = told.filter(|items| !items.is_empty());
                // Some servers say at the end that there is an answer, and not which.
                let items = told.unwrap_or_else(|| self.items.values().cloned().collect());
                collector.wire_output(0, items);
            }
            _ => {}
        }
    }

    /// The piece that gives a call without arguments its own, before they are whole.
    fn argue(&mut self, object: &RawObject, out: &mut Vec<u8>) {
        let Ok(Some(index)) = object.decode::<usize>("output_index") else { return };
        let own = object.decode::<String>("item_id").ok().flatten().unwrap_or_default();
        self.give_arguments(index, &own, out);
    }

    /// The same where nothing told of them before the call's end.
    fn argue_at_its_end(&mut self, object: &RawObject, out: &mut Vec<u8>) {
        let Ok(Some(index)) = object.decode::<usize>("output_index") else { return };
        let Some(Ok(item)) = object.get_bytes("item").map(RawObject::parse) else { return };
        let text = |name: &str| item.decode::<String>(name).ok().flatten().unwrap_or_default();
        if text("type") != "function_call" || !told::lacks_arguments(&item) || self.argued.contains(&index) {
            return;
        }
        let id = self.give_arguments(index, &text("id"), out);
        let whole = json!({"item_id": id, "output_index": index, "name": text("name"), "arguments": whole("")});
        write(out, told::ARGUED, self.sequence, whole);
        self.sequence += 1;
    }

    fn give_arguments(&mut self, index: usize, own: &str, out: &mut Vec<u8>) -> String {
        let id = ItemPlace { response: self.echo.id, side: Side::Output, index }.mark(own);
        self.argued.insert(index);
        let piece = json!({"item_id": id, "output_index": index, "delta": whole("")});
        write(out, "response.function_call_arguments.delta", self.sequence, piece);
        self.sequence += 1;
        id
    }

    fn keep(&mut self, place: Option<u64>, item: Value) {
        let next = self.items.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        self.items.insert(place.unwrap_or(next), item);
    }

    /// Whether the end of the response was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// Whether the provider does something for the answer of which it tells the client.
    #[must_use]
    pub const fn is_at_work(&self) -> bool {
        self.is_at_work
    }

    /// The event of a failure after which nothing follows.
    #[must_use]
    pub fn failure(&self, failure: &StreamFailure<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let sequence = if self.has_begun { self.sequence } else { begin(&self.echo, &self.model, &mut out) };
        let output = self.items.iter().map(|(place, item)| {
            let mut item = item.clone();
            let index = usize::try_from(*place).unwrap_or(usize::MAX);
            let place = ItemPlace { response: self.echo.id, side: Side::Output, index };
            if let Some(fields) = item.as_object_mut() {
                if let Some(id) = fields.get("id").and_then(Value::as_str).map(|own| place.mark(own)) {
                    fields.insert("id".to_owned(), json!(id));
                }
                if fields.get("status").and_then(Value::as_str) == Some(IN_PROGRESS) {
                    fields.insert("status".to_owned(), json!("incomplete"));
                }
                if !self.echo.seals && fields.get("type").and_then(Value::as_str) == Some("reasoning") {
                    fields.shift_remove(SEALED_MEMBER);
                }
            }
            item
        });
        let standing = Standing {
            status: Status::Failed(failure.message.to_owned()),
            model: &self.model,
            output: output.collect(),
            ..Standing::default()
        };
        let response = self.echo.response(standing);
        write(&mut out, "response.failed", sequence, json!({"response": response}));
        out
    }
}
