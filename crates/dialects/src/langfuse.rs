//! What Langfuse's SDKs send besides spans: batches of events, and scores (<https://api.reference.langfuse.com>).

mod ingestion;
mod observation;
mod score;
mod usage;

use privet_domain::money::Nanos;
use privet_domain::trace::JsonText;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::traced_text::{ENVIRONMENT_BYTES_MAX, NAME_BYTES_MAX, PROSE_BYTES_MAX, kept, shortened};

pub use ingestion::{Accepted, Allowed, BadBatch, Batch, Rejected, decode_batch};
pub(crate) use observation::flat;
pub use score::{Scores, decode_scores};

const NANOS_PER_DOLLAR: f64 = 1e9;
/// More than this costs nothing that is traced.
const DOLLARS_MAX: f64 = 1e9;

/// What was sent cannot be kept: the sentence says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// JSON of another shape. The parser's words may repeat all that was sent.
    fn shape(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        Self(format!("`body`: {}", shortened(what)))
    }
}

/// A name (of a user, a model …) that is given and not empty.
fn name(field: &str, text: Option<String>) -> Result<Option<String>, Invalid> {
    kept(field, text, NAME_BYTES_MAX).map_err(Invalid)
}

/// An environment that is given and not empty.
fn environment(text: Option<String>) -> Result<Option<String>, Invalid> {
    kept("environment", text, ENVIRONMENT_BYTES_MAX).map_err(Invalid)
}

/// A longer text that is given and not empty.
fn prose(field: &str, text: Option<String>) -> Result<Option<String>, Invalid> {
    kept(field, text, PROSE_BYTES_MAX).map_err(Invalid)
}

/// A content as it came; null is none.
fn content(field: &str, value: Option<&RawValue>) -> Result<Option<JsonText>, Invalid> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
    let readable = JsonText::parse(value.get());
    let refusal = || Invalid(format!("`{field}` holds a number that is beyond all bounds; send it as a text"));
    readable.map(Some).ok_or_else(refusal)
}

/// An amount of US dollars as JSON has it, rounded to whole nano-dollars.
///
/// # Errors
/// When it is no amount: negative, not a number, or beyond a billion.
pub fn amount(dollars: f64) -> Result<Nanos, Invalid> {
    if !(0.0..=DOLLARS_MAX).contains(&dollars) {
        return Err(Invalid(format!("a cost must be a number of dollars from 0 to {DOLLARS_MAX}, not {dollars}")));
    }
    Ok(Nanos::new((dollars * NANOS_PER_DOLLAR).round() as i64))
}

/// Metadata as an object; anything else stands under `metadata`, as in Langfuse.
fn metadata(value: Option<Value>) -> Map<String, Value> {
    match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(members)) => members,
        Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_nano_dollars_and_never_silently_nothing() {
        assert_eq!(amount(0.000_123_456_7), Ok(Nanos::new(123_457)));
        assert_eq!(amount(0.0), Ok(Nanos::ZERO));
        for wrong in [-0.1, f64::NAN, f64::INFINITY, 1e12] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }
}
