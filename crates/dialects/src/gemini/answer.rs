//! An answer as a client of Gemini's gets it: whole, and the words that it has in common with a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::signature::{encrypted, signed};
use crate::Dialect;
use crate::canonical::{ChatResponse, Choice, FinishReason, Part, Source, Usage};

/// Arguments that are no object, as cut ones are: there is no place for them in this dialect.
const INVALID_JSON: &str = "INVALID_JSON";

/// Writes an answer.
#[must_use]
pub fn encode(response: &ChatResponse) -> Bytes {
    let candidates = response.choices.iter().enumerate().map(|(index, choice)| candidate(index, choice));
    let mut body = Map::new();
    body.insert("candidates".to_owned(), candidates.collect());
    if let Some(usage) = &response.usage {
        body.insert("usageMetadata".to_owned(), usage_metadata(usage));
    }
    body.insert("modelVersion".to_owned(), json!(response.model));
    body.insert("responseId".to_owned(), json!(response.id));
    Bytes::from(Value::Object(body).to_string())
}

fn candidate(index: usize, choice: &Choice) -> Value {
    let parts: Vec<Value> = choice.message.parts.iter().filter_map(part).collect();
    let refuses = choice.message.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    let mut candidate = Map::new();
    candidate.insert("content".to_owned(), json!({"parts": parts, "role": "model"}));
    if let Some(finish) = &choice.finish {
        set_finish(&mut candidate, finish, refuses);
    }
    candidate.insert("index".to_owned(), json!(index));
    if let Some(result) = choice.logprobs.as_ref().and_then(logprobs_result) {
        candidate.insert("logprobsResult".to_owned(), result);
    }
    Value::Object(candidate)
}

/// Gemini's word for why an answer ended. A reason that it has none for stands beside it, so that it does not look like a good end.
pub(super) fn set_finish(candidate: &mut Map<String, Value>, finish: &FinishReason, refuses: bool) {
    let (word, message) = match finish {
        FinishReason::Stop if refuses => ("SAFETY", Some("the model declined")),
        FinishReason::Stop | FinishReason::ToolCalls => ("STOP", None),
        FinishReason::Length => ("MAX_TOKENS", None),
        FinishReason::ContentFilter => ("SAFETY", None),
        FinishReason::Pause => ("OTHER", Some("the provider paused; send the contents back to go on")),
        FinishReason::Other(reason) => ("OTHER", Some(reason.as_str())),
    };
    candidate.insert("finishReason".to_owned(), json!(word));
    candidate.extend(message.map(|message| ("finishMessage".to_owned(), json!(message))));
}

/// The `usageMetadata`: Gemini's prompt includes what was cached, its candidates exclude thoughts.
pub(super) fn usage_metadata(usage: &Usage) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("promptTokenCount", json!(usage.input));
    set("candidatesTokenCount", json!(usage.output.saturating_sub(usage.reasoning)));
    set("totalTokenCount", json!(usage.input.saturating_add(usage.output)));
    if usage.cached_input > 0 {
        set("cachedContentTokenCount", json!(usage.cached_input));
    }
    if usage.reasoning > 0 {
        set("thoughtsTokenCount", json!(usage.reasoning));
    }
    let of = |text: u64, audio: u64, image: u64| {
        let kinds = [("TEXT", text), ("AUDIO", audio), ("IMAGE", image)];
        let said = kinds.into_iter().filter(|(_, tokens)| *tokens > 0);
        said.map(|(kind, tokens)| json!({"modality": kind, "tokenCount": tokens})).collect::<Value>()
    };
    if usage.audio_input > 0 || usage.image_input > 0 {
        let text = usage.input.saturating_sub(usage.audio_input).saturating_sub(usage.image_input);
        set("promptTokensDetails", of(text, usage.audio_input, usage.image_input));
    }
    if usage.audio_output > 0 || usage.image_output > 0 {
        let spoken = usage.audio_output.saturating_add(usage.image_output).saturating_add(usage.reasoning);
        set("candidatesTokensDetails", of(usage.output.saturating_sub(spoken), usage.audio_output, usage.image_output));
    }
    Value::Object(fields)
}

/// A part of an answer; `None` for what says nothing.
fn part(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return None,
        Part::Text { text } | Part::Refusal { text } => json!({"text": text}),
        Part::Thinking { text, signature } => thought(text, signature.as_deref().map(signed)),
        Part::RedactedThinking { data } => thought("", Some(encrypted(data))),
        Part::ToolCall { id, name, arguments, signature } => call(id, name, arguments, signature.as_deref()),
        Part::Image { source, .. } | Part::File { source, .. } => match source {
            Source::Base64 { media_type, data } => json!({"inlineData": {"mimeType": media_type, "data": data}}),
            Source::Url { url } => json!({"fileData": {"fileUri": url}}),
            Source::FileId { .. } => return None,
        },
        Part::Audio { data, format } => json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}}),
        Part::Other { dialect: Dialect::Gemini, value } => value.clone(),
        // No answer holds these, or only one of a dialect that asked for them.
        Part::ToolResult { .. } | Part::Other { .. } => return None,
    })
}

/// A thought that is shown, or one that is not but must go back.
pub(super) fn thought(text: &str, signature: Option<String>) -> Value {
    let mut part = Map::new();
    part.insert("text".to_owned(), json!(text));
    part.insert("thought".to_owned(), Value::Bool(true));
    part.extend(signature.map(|signature| ("thoughtSignature".to_owned(), json!(signature))));
    Value::Object(part)
}

/// A call with its arguments, which must be an object.
pub(super) fn call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Value {
    let args = match serde_json::from_str(arguments) {
        Ok(Value::Object(args)) => args,
        _ if arguments.trim().is_empty() => Map::new(),
        _ => Map::from_iter([(INVALID_JSON.to_owned(), json!(arguments))]),
    };
    let mut part = json!({"functionCall": {"id": id, "name": name, "args": args}});
    if let (Some(signature), Some(fields)) = (signature, part.as_object_mut()) {
        fields.insert("thoughtSignature".to_owned(), json!(signature));
    }
    part
}

/// Log-probabilities from OpenAI's form, which is the canonical one.
fn logprobs_result(logprobs: &Value) -> Option<Value> {
    let tokens = logprobs.get("content")?.as_array()?;
    let entry = |token: &Value| json!({"token": token.get("token"), "logProbability": token.get("logprob")});
    let top = |token: &Value| {
        let alternatives = token.get("top_logprobs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        json!({"candidates": alternatives.iter().map(entry).collect::<Vec<_>>()})
    };
    Some(json!({
        "chosenCandidates": tokens.iter().map(entry).collect::<Vec<_>>(),
        "topCandidates": tokens.iter().map(top).collect::<Vec<_>>(),
    }))
}
