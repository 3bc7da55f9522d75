//! Attributes: names and JSON values. Whoever understands one takes it; what is left is told as it came.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use privet_domain::trace::JsonText;
use serde_json::{Map, Value};

use super::wire::{AnyValue, AnyValueKind, KeyValue};
use crate::json_limits::{self, JsonLimits};

/// Deeper values are cut off: nobody reads them.
const DEPTH_MAX: usize = 32;

/// Attributes by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    pub(super) fn of(attributes: Vec<KeyValue>) -> Self {
        Self(attributes.into_iter().map(|attribute| (attribute.key, json(attribute.value, DEPTH_MAX))).collect())
    }

    /// The first of these that is there and is not null. All of them are taken.
    pub(super) fn take(&mut self, names: &[&str]) -> Option<Value> {
        let mut found = None;
        for name in names {
            let value = self.0.remove(*name).filter(|value| !value.is_null());
            found = found.or(value);
        }
        found
    }

    /// As [`Attributes::take`], as text.
    pub(super) fn take_text(&mut self, names: &[&str]) -> Option<String> {
        self.take(names).map(text).filter(|text| !text.is_empty())
    }

    /// As [`Attributes::take`], as a whole number.
    pub(super) fn take_count(&mut self, names: &[&str]) -> Option<u64> {
        match self.take(names)? {
            Value::Number(number) => {
                number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
            }
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// As [`Attributes::take`], as a number.
    pub(super) fn take_float(&mut self, names: &[&str]) -> Option<f64> {
        match self.take(names)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// As [`Attributes::take`], as a content: a text that is JSON is that JSON.
    pub(super) fn take_content(&mut self, names: &[&str]) -> Option<JsonText> {
        self.take(names).map(|value| match value {
            Value::String(text) => JsonText::from_json_or_text(&text),
            value => JsonText::of(&value),
        })
    }

    /// As [`Attributes::take`], as an object: itself, or the text of one.
    pub(super) fn take_object(&mut self, names: &[&str]) -> Option<Map<String, Value>> {
        match decoded(self.take(names)?) {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// All attributes whose names begin so, without that beginning.
    pub(super) fn take_prefixed(&mut self, prefix: &str) -> Map<String, Value> {
        let names: Vec<String> = self
            .0
            .range(prefix.to_owned()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(prefix))
            .cloned()
            .collect();
        let mut taken = Map::new();
        for name in names {
            if let (Some(value), Some(rest)) = (self.0.remove(&name), name.strip_prefix(prefix)) {
                taken.insert(rest.to_owned(), value);
            }
        }
        taken
    }

    /// A value that stays.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(*name)).cloned().map(text).filter(|text| !text.is_empty())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn into_object(self) -> Map<String, Value> {
        self.0.into_iter().collect()
    }
}

/// The text of a value.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

/// The value that a text is the JSON of; any other value as it is, and a text that nests deeper than what it will stand in may.
pub(super) fn decoded(value: Value) -> Value {
    match value {
        Value::String(text) if json_limits::check(text.as_bytes(), &JsonLimits::default()).is_ok() => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        value => value,
    }
}

fn json(value: Option<AnyValue>, depth: usize) -> Value {
    let Some(kind) = value.and_then(|value| value.value).filter(|_| depth > 0) else { return Value::Null };
    match kind {
        AnyValueKind::StringValue(text) => Value::String(text),
        AnyValueKind::BoolValue(truth) => Value::Bool(truth),
        AnyValueKind::IntValue(number) => Value::from(number),
        // JSON has neither infinity nor what is not a number.
        AnyValueKind::DoubleValue(number) => serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number),
        AnyValueKind::ArrayValue(list) => list.values.into_iter().map(|value| json(Some(value), depth - 1)).collect(),
        AnyValueKind::KvlistValue(list) => {
            Value::Object(list.values.into_iter().map(|one| (one.key, json(one.value, depth - 1))).collect())
        }
        AnyValueKind::BytesValue(bytes) => Value::String(BASE64_STANDARD.encode(bytes)),
    }
}
