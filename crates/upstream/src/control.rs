//! The mock's own routes, for tests in other processes: `POST /script`, `GET /stats`, `GET /requests`, `POST /reset`,
//! `POST /prices`. Calls to them are neither recorded nor counted.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::ledger::Price;
use super::state::Shared;

/// Body of `POST /script`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// Only calls of this model.
    #[serde(default)]
    model: Option<String>,
    /// Only the next call.
    #[serde(default)]
    once: bool,
    behaviour: Behaviour,
}

/// Body of `POST /prices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelPrice {
    model: String,
    price: Price,
}

pub(super) fn is_control(path: &str) -> bool {
    matches!(path, "/script" | "/stats" | "/requests" | "/reset" | "/prices")
}

/// Status and JSON of a control call.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, body: &Bytes) -> (StatusCode, Value) {
    let done = match (method, path) {
        (&Method::GET, "/stats") => Ok(json!(shared.lock().ledger.stats())),
        (&Method::GET, "/requests") => Ok(json!(shared.lock().requests())),
        (&Method::POST, "/reset") => {
            shared.lock().reset();
            Ok(json!({}))
        }
        (&Method::POST, "/script") => script(shared, body),
        (&Method::POST, "/prices") => set_price(shared, body),
        _ => return (StatusCode::METHOD_NOT_ALLOWED, json!({"error": format!("no {method} on {path}")})),
    };
    match done {
        Ok(value) => (StatusCode::OK, value),
        Err(problem) => (StatusCode::BAD_REQUEST, json!({"error": problem})),
    }
}

fn script(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let script: Script = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    script.behaviour.check()?;
    shared.lock().script(script.model, script.once, script.behaviour);
    Ok(json!({}))
}

fn set_price(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let ModelPrice { model, price } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    shared.lock().ledger.set_price(model, price);
    Ok(json!({}))
}
