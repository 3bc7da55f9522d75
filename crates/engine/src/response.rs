//! Responses as the key that made them reads them: the response, what it was asked, and single items that a request refers to.

use std::collections::{HashMap, HashSet};

use privet_dialects::canonical::Message;
use privet_dialects::responses::echo::{is_cut, with_output};
use privet_dialects::responses::id::{ItemPlace, Side};
use privet_dialects::responses::incoming::Referenced;
use privet_dialects::responses::output::{ItemStyle, input_items, kept_items};
use privet_domain::id::ResponseId;
use privet_domain::time::Timestamp;
use privet_store::{OwnMessages, Store, StoreError, StoredMessage};
use serde_json::Value;

use crate::keyring::Caller;
use crate::message;

/// A request refers to items of so many responses at most: each must be read.
const REFERENCED_MAX: usize = 256;

/// A response that a key may read.
#[derive(Clone, Copy, Debug)]
pub struct ResponseWish {
    /// Which.
    pub id: ResponseId,
    /// Whether what must go back to its provider is told.
    pub seals: bool,
}

/// The response with its output.
///
/// # Errors
/// [`StoreError::NotFound`] when it is unknown, deleted, or another key's.
pub async fn read(store: &Store, caller: &Caller, wish: ResponseWish) -> Result<Value, StoreError> {
    let (record, own) = load(store, caller, wish.id).await?;
    let output = output_of(&own, &record, wish);
    Ok(with_output(record, output))
}

/// The items that a response was asked, in order.
///
/// # Errors
/// [`StoreError::NotFound`] when it is unknown, deleted, or another key's.
pub async fn read_input(store: &Store, caller: &Caller, wish: ResponseWish) -> Result<Vec<Value>, StoreError> {
    let (_, own) = load(store, caller, wish.id).await?;
    Ok(input_of(&own, wish))
}

/// Deletes a response, and what was said with it where nobody went on from it.
///
/// # Errors
/// [`StoreError::NotFound`] when it is unknown, deleted, or another key's.
pub async fn delete(store: &Store, caller: &Caller, id: ResponseId, now: Timestamp) -> Result<(), StoreError> {
    store.delete_response(caller.project_id, caller.family_id, id, now).await
}

/// The items with these ids, as far as they are kept and the key may read them.
///
/// # Errors
/// When the store fails.
pub async fn find_items(store: &Store, caller: &Caller, ids: &[String]) -> Result<Referenced, StoreError> {
    let places: Vec<ItemPlace> = ids.iter().filter_map(|id| ItemPlace::decode(id)).collect();
    let mut responses: Vec<ResponseId> = places.iter().map(|place| place.response).collect();
    responses.sort_unstable();
    responses.dedup();
    let asked: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let mut found = HashMap::with_capacity(asked.len());
    for id in responses.into_iter().take(REFERENCED_MAX) {
        let wish = ResponseWish { id, seals: true };
        let (record, own) = match load(store, caller, id).await {
            Ok(loaded) => loaded,
            Err(StoreError::NotFound) => continue,
            Err(error) => return Err(error),
        };
        let asks = |side: Side| places.iter().any(|place| place.response == id && place.side == side);
        let mut items = if asks(Side::Output) { output_of(&own, &record, wish) } else { Vec::new() };
        items.extend(if asks(Side::Input) { input_of(&own, wish) } else { Vec::new() });
        for item in items {
            if let Some(id) = item.get("id").and_then(Value::as_str).filter(|id| asked.contains(id)) {
                found.insert(id.to_owned(), item.clone());
            }
        }
    }
    Ok(found)
}

async fn load(store: &Store, caller: &Caller, id: ResponseId) -> Result<(Value, OwnMessages), StoreError> {
    let found = store.response(caller.project_id, caller.family_id, id).await?;
    let own = store.own_messages(caller.project_id, id).await?;
    // What was written by us is JSON; a row that is not was written by somebody else.
    let record = serde_json::from_str(&found.record).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok((record, own))
}

fn output_of(own: &OwnMessages, record: &Value, wish: ResponseWish) -> Vec<Value> {
    kept_items(&messages(&own.answered), ItemStyle { response: wish.id, seals: wish.seals, is_cut: is_cut(record) })
}

fn input_of(own: &OwnMessages, wish: ResponseWish) -> Vec<Value> {
    input_items(&messages(&own.asked), ItemStyle { response: wish.id, seals: wish.seals, is_cut: false })
}

fn messages(rows: &[StoredMessage]) -> Vec<Message> {
    rows.iter().map(message::from_row).collect()
}
