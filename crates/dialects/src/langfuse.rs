//! What Langfuse's SDKs send besides spans: batches of events, and scores (<https://api.reference.langfuse.com>).

mod ingestion;
mod observation;
mod score;
mod usage;

use privet_domain::money::Nanos;
use serde_json::{Map, Value};

pub use ingestion::{Accepted, BadBatch, Batch, Rejected, decode_batch};
pub use score::{ScoreBody, decode_score};

const NANOS_PER_DOLLAR: f64 = 1e9;
/// More than this costs nothing that is traced.
const DOLLARS_MAX: f64 = 1e9;

/// A text is too long, or a number none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

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
