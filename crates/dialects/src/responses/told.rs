//! What of a provider's response is Privet's to say, edited in its own bytes: the ids, and what the response repeats of what was said to
//! Privet and not to the provider. Every other member stays as it came.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::echo::Echo;
use super::id::{ItemPlace, Side};
use super::output::SEALED_MEMBER;
use crate::raw_object::{Edits, RawObject};

/// The event of an item of which more follows.
const ADDED: &str = "response.output_item.added";
/// The event of arguments that are whole.
pub(super) const ARGUED: &str = "response.function_call_arguments.done";
/// The arguments of a call that has none, which official clients read as JSON.
const NO_ARGUMENTS: &[u8] = b"\"{}\"";

/// The response object.
pub(super) fn response(object: &RawObject, echo: &Echo) -> Bytes {
    let mut edits = Edits::default();
    for (name, own) in echo.own() {
        let told: Option<Value> = object.decode(name).ok().flatten();
        // What neither says needs no word.
        let says_nothing = object.get(name).is_none() && own == json!({});
        if told.unwrap_or_default() != own && !says_nothing {
            edits.set(name, own.to_string().into_bytes());
        }
    }
    let items: Vec<&RawValue> =
        object.get("output").and_then(|output| serde_json::from_slice(output).ok()).unwrap_or_default();
    let marked: Vec<Option<Bytes>> =
        items.iter().enumerate().map(|(index, raw)| item(raw, echo, (index, true))).collect();
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
        let own = response(&told, echo);
        if own != told.body() {
            edits.set("response", own.to_vec());
        }
    }
    let place = object.decode::<usize>("output_index").ok().flatten();
    if let Some(index) = place {
        let raw = object.get("item").and_then(|item| serde_json::from_slice::<&RawValue>(item).ok());
        let is_whole = object.decode::<String>("type") != Ok(Some(ADDED.to_owned()));
        if let Some(marked) = raw.and_then(|raw| item(raw, echo, (index, is_whole))) {
            edits.set("item", marked.to_vec());
        }
        if let Some(own) = object.decode::<String>("item_id").ok().flatten() {
            let marked = place_of(echo, index).mark(&own);
            if marked != own {
                edits.set("item_id", json!(marked).to_string().into_bytes());
            }
        }
    }
    if lacks_arguments(object) && object.decode::<String>("type") == Ok(Some(ARGUED.to_owned())) {
        edits.set("arguments", NO_ARGUMENTS.to_vec());
    }
    object.render(&edits)
}

/// Whether a call has no arguments, be it an empty object.
pub(super) fn lacks_arguments(object: &RawObject) -> bool {
    object.decode::<String>("arguments").is_ok_and(|arguments| arguments.is_none_or(|text| text.trim().is_empty()))
}

/// An item that must change: its id, what was encrypted for Privet alone, and a call without arguments. `None` leaves it. Of one that is not
/// whole the arguments are to come.
fn item(raw: &RawValue, echo: &Echo, (index, is_whole): (usize, bool)) -> Option<Bytes> {
    let object = RawObject::parse(Bytes::copy_from_slice(raw.get().as_bytes())).ok()?;
    let text = |name: &str| object.decode::<String>(name).ok().flatten();
    let mut edits = Edits::default();
    let marked = text("id").map(|own| (place_of(echo, index).mark(&own), own)).filter(|(marked, own)| marked != own);
    let hides = !echo.seals && text("type").as_deref() == Some("reasoning") && object.get(SEALED_MEMBER).is_some();
    let lacks = is_whole && text("type").as_deref() == Some("function_call") && lacks_arguments(&object);
    if marked.is_none() && !hides && !lacks {
        return None;
    }
    if lacks {
        edits.set("arguments", NO_ARGUMENTS.to_vec());
    }
    if let Some((marked, _)) = marked {
        edits.set("id", json!(marked).to_string().into_bytes());
    }
    if hides {
        edits.remove(SEALED_MEMBER);
    }
    Some(object.render(&edits))
}

fn place_of(echo: &Echo, index: usize) -> ItemPlace {
    ItemPlace { response: echo.id, side: Side::Output, index }
}
