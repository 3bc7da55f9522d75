//! What went into a step and what came out, wherever a convention puts it.

use std::collections::BTreeMap;

use privet_domain::trace::{JsonText, ObservationPatch};
use serde_json::{Map, Value};

use super::attributes::{Attributes, decoded};
use super::wire::Event;

/// The event of an answer, in older conventions.
const CHOICE: &str = "gen_ai.choice";

/// Takes both from the attributes, or from events.
pub(super) fn read(observation: &mut ObservationPatch, attributes: &mut Attributes, events: &[Event]) {
    let plain = ["input.mime_type", "output.mime_type"]
        .map(|name| attributes.take_text(&[name]).is_some_and(|mime_type| mime_type == "text/plain"));
    let input = attributes.take_content(&["langfuse.observation.input", "gen_ai.input.messages"]);
    observation.input = input
        .or_else(|| take_spread(attributes, "gen_ai.prompt."))
        .or_else(|| take_spread(attributes, "llm.input_messages."))
        .or_else(|| take_value(attributes, "input.value", plain[0]))
        .or_else(|| {
            attributes.take_content(&[
                "gen_ai.tool.call.arguments",
                "ai.prompt.messages",
                "ai.prompt",
                "ai.toolCall.args",
                "ai.value",
                "ai.values",
                "traceloop.entity.input",
                "gen_ai.prompt",
            ])
        })
        .or_else(|| said(events, |name| name != CHOICE));
    let output = attributes.take_content(&["langfuse.observation.output", "gen_ai.output.messages"]);
    observation.output = output
        .or_else(|| take_spread(attributes, "gen_ai.completion."))
        .or_else(|| take_spread(attributes, "llm.output_messages."))
        .or_else(|| take_value(attributes, "output.value", plain[1]))
        .or_else(|| take_vercel(attributes))
        .or_else(|| {
            attributes.take_content(&[
                "gen_ai.tool.call.result",
                "ai.toolCall.result",
                "traceloop.entity.output",
                "gen_ai.completion",
            ])
        })
        .or_else(|| said(events, |name| name == CHOICE));
}

/// Whether an event is a message of the conversation, in older conventions.
pub(super) fn is_message(event: &str) -> bool {
    event == CHOICE || event.strip_prefix("gen_ai.").is_some_and(|rest| rest.ends_with(".message"))
}

/// The messages that events tell.
fn said(events: &[Event], wanted: fn(&str) -> bool) -> Option<JsonText> {
    let messages = events.iter().filter(|event| is_message(&event.name) && wanted(&event.name)).map(|event| {
        let role = event.name.strip_prefix("gen_ai.").and_then(|rest| rest.strip_suffix(".message"));
        let role = role.map(|role| ("role".to_owned(), Value::from(role)));
        let fields = Attributes::of(event.attributes.clone()).into_object().into_iter();
        // Objects are told as their JSON; a text that looks like another value stays one.
        let fields = fields.map(|(name, value)| match decoded(value.clone()) {
            structure @ (Value::Array(_) | Value::Object(_)) => (name, structure),
            _ => (name, value),
        });
        Value::Object(role.into_iter().chain(fields).collect())
    });
    let messages: Vec<Value> = messages.collect();
    (!messages.is_empty()).then(|| JsonText::of(&Value::Array(messages)))
}

/// A value that says whether it is JSON.
fn take_value(attributes: &mut Attributes, name: &str, is_plain: bool) -> Option<JsonText> {
    match is_plain {
        true => attributes.take_text(&[name]).map(|text| JsonText::string(&text)),
        false => attributes.take_content(&[name]),
    }
}

/// What Vercel's AI SDK got for an answer: a text, calls of tools, or both.
fn take_vercel(attributes: &mut Attributes) -> Option<JsonText> {
    let text = attributes.take_text(&["ai.response.text", "ai.result.text"]);
    let calls = attributes.take(&["ai.response.toolCalls", "ai.result.toolCalls"]).map(decoded);
    match (text, calls) {
        (Some(text), Some(calls)) => {
            let message = serde_json::json!({"role": "assistant", "content": text, "tool_calls": calls});
            Some(JsonText::of(&message))
        }
        (Some(text), None) => Some(JsonText::from_json_or_text(&text)),
        (None, Some(calls)) => Some(JsonText::of(&calls)),
        (None, None) => attributes.take_content(&["ai.response.object", "ai.result.object"]),
    }
}

/// Puts the messages together whose fields stand one by one under `PREFIX.N.FIELD`, or `PREFIX.N.message.FIELD`.
fn take_spread(attributes: &mut Attributes, prefix: &str) -> Option<JsonText> {
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
