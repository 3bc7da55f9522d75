//! What of an OpenAI request may be left out on the way to another dialect, and what must be refused instead.
//!
//! Only fields without canonical meaning are judged here; each dialect judges the canonical ones.

use serde_json::{Map, Value};

use crate::Unsupported;
use crate::canonical::Message;

/// Top-level fields that change where, how fast or under what label OpenAI works, never what the answer may say:
/// leaving them out is harmless.
///
/// `prediction` only speeds up; `verbosity` and `reasoning_summary` are advice; `stream_options` asks for usage, which always comes.
pub(crate) const HINTS: [&str; 11] = [
    "store",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "stream_options",
    "prediction",
    "verbosity",
    "conversation_id",
    "reasoning_summary",
];

/// Fields of a message that carry content which only OpenAI can read. Any other unknown field of a message is a label.
const MESSAGE_CONTENT: [&str; 2] = ["audio", "function_call"];

/// Refuses what would be lost silently.
pub(crate) fn refuse_unknown(
    extra: &Map<String, Value>,
    messages: &[Message],
    provider: &str,
) -> Result<(), Unsupported> {
    for (field, value) in extra {
        if !HINTS.contains(&field.as_str()) && !is_default(field, value) {
            let message = format!("`{field}` cannot be expressed for {provider}; leave it out or use an OpenAI model.");
            return Err(Unsupported::new(field, message));
        }
    }
    for field in messages.iter().flat_map(|message| message.extra.keys()) {
        if MESSAGE_CONTENT.contains(&field.as_str()) {
            let message = format!("A message's `{field}` cannot be expressed for {provider}; send its text instead.");
            return Err(Unsupported::new("messages", message));
        }
    }
    Ok(())
}

/// Values that ask for what happens anyway.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        _ => value.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Role;
    use serde_json::json;

    fn refused(extra: Value) -> Option<String> {
        let Value::Object(extra) = extra else { panic!("an object") };
        refuse_unknown(&extra, &[], "Anthropic").err().map(|error| error.param)
    }

    #[test]
    fn hints_and_defaults_pass_and_the_rest_is_named() {
        for hint in HINTS {
            assert_eq!(refused(json!({hint: "x"})), None, "{hint}");
        }
        assert_eq!(refused(json!({"logit_bias": {}, "modalities": ["text"]})), None);
        assert_eq!(refused(json!({"store": true, "logit_bias": {"1": 5}})).as_deref(), Some("logit_bias"));
        assert_eq!(refused(json!({"modalities": ["text", "audio"]})).as_deref(), Some("modalities"));
        assert_eq!(refused(json!({"web_search_options": {}})).as_deref(), Some("web_search_options"));
    }

    #[test]
    fn a_message_with_content_of_openais_own_is_refused() {
        let mut message = Message::text(Role::Assistant, "x");
        message.extra.insert("annotations".into(), json!([1]));
        assert!(refuse_unknown(&Map::new(), std::slice::from_ref(&message), "Gemini").is_ok());
        message.extra.insert("audio".into(), json!({"id": "a"}));
        assert_eq!(refuse_unknown(&Map::new(), &[message], "Gemini").unwrap_err().param, "messages");
    }
}
