//! What of a provider's response is Privet's to say, edited in its own bytes: the ids, and what the response repeats of what was said to
//! Privet and not to the provider. Every other member stays as it came.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::echo::Echo;
use super::id::{ItemPlace, Side};
use crate::raw_object::{Edits, RawObject};

/// The response object.
pub(super) fn response(object: &RawObject, echo: &Echo) -> Bytes {
    let mut edits = Edits::default();
    for (name, own) in echo.own() {
        let told: Option<Value> = object.decode(name).ok().flatten();
        // What neither says needs no word.
        if told.unwrap_or_default() != own {
            edits.set(name, own.to_string().into_bytes());
        }
    }
    let items: Vec<&RawValue> =
        object.get("output").and_then(|output| serde_json::from_slice(output).ok()).unwrap_or_default();
    let marked: Vec<Option<Bytes>> = items.iter().enumerate().map(|(index, raw)| item(raw, echo, index)).collect();
    if marked.iter().any(Option::is_some) {
        let texts = items.iter().zip(&marked).map(|(raw, marked)| match marked {
            Some(marked) => marked.to_vec(),
            None => raw.get().as_bytes().to_vec(),
        });
        let mut output = vec![b'['];
        output.extend(texts.collect::<Vec<_>>().join(&b','));
        output.push(b']');
        edits.set("output", output);
    }
    object.render(&edits)
}

/// An event with its number.
pub(super) fn event(object: &RawObject, echo: &Echo, sequence: u64) -> Bytes {
    let mut edits = Edits::default();
    if object.decode::<u64>("sequence_number") != Ok(Some(sequence)) {
        edits.set("sequence_number", json!(sequence).to_string().into_bytes());
    }
    if let Some(Ok(told)) = object.get_bytes("response").map(RawObject::parse) {
        edits.set("response", response(&told, echo).to_vec());
    }
    let place = object.decode::<usize>("output_index").ok().flatten();
    if let Some(index) = place {
        let raw = object.get("item").and_then(|item| serde_json::from_slice::<&RawValue>(item).ok());
        if let Some(marked) = raw.and_then(|raw| item(raw, echo, index)) {
            edits.set("item", marked.to_vec());
        }
        if let Some(own) = object.decode::<String>("item_id").ok().flatten() {
            edits.set("item_id", json!(place_of(echo, index).mark(&own)).to_string().into_bytes());
        }
    }
    object.render(&edits)
}

/// An item with its id; `None` if it has none.
fn item(raw: &RawValue, echo: &Echo, index: usize) -> Option<Bytes> {
    let object = RawObject::parse(Bytes::copy_from_slice(raw.get().as_bytes())).ok()?;
    let own: String = object.decode("id").ok()??;
    let mut edits = Edits::default();
    edits.set("id", json!(place_of(echo, index).mark(&own)).to_string().into_bytes());
    Some(object.render(&edits))
}

fn place_of(echo: &Echo, index: usize) -> ItemPlace {
    ItemPlace { response: echo.id, side: Side::Output, index }
}
