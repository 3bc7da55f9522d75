//! Messages that conventions spread over attributes, one for each field: `gen_ai.prompt.0.role`, `llm.input_messages.0.message.content`.

use std::collections::BTreeMap;

use privet_domain::trace::JsonText;
use serde_json::{Map, Value};

use super::attributes::Attributes;

/// Puts the messages together whose fields stand under `PREFIX.N.FIELD`, or `PREFIX.N.message.FIELD`.
pub(super) fn take_spread(attributes: &mut Attributes, prefix: &str) -> Option<JsonText> {
    let fields = attributes.take_prefixed(prefix);
    let mut messages: BTreeMap<u32, Map<String, Value>> = BTreeMap::new();
    for (name, value) in fields {
        let Some((number, field)) = name.split_once('.') else { continue };
        let Ok(number) = number.parse() else { continue };
        let field = field.strip_prefix("message.").unwrap_or(field);
        messages.entry(number).or_default().insert(field.to_owned(), value);
    }
    let messages: Vec<Value> = messages.into_values().map(Value::Object).collect();
    (!messages.is_empty()).then(|| JsonText::of(&Value::Array(messages)))
}
