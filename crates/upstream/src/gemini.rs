//! Gemini's wire format: `generateContent`, `streamGenerateContent?alt=sse`, embeddings, models.
//! The streamed JSON array (without `alt=sse`) is not spoken.

use serde_json::{Value, json};

use super::answer::{Answer, Finish, pieces};
use super::behaviour::{Behaviour, Usage};
use super::event::Event;

pub(super) fn reply(answer: &Answer) -> Value {
    let mut parts = Vec::new();
    if let Some(thinking) = &answer.thinking {
        parts.push(json!({"text": thinking, "thought": true}));
    }
    if let Some(text) = &answer.text {
        parts.push(json!({"text": text}));
    }
    parts.extend(calls(answer));
    sign(answer, parts.iter_mut());
    response(answer, parts, Some(finish(answer)), Some(answer.usage))
}

pub(super) fn events(answer: &Answer, behaviour: &Behaviour) -> Vec<Event> {
    let texts = |text: &Option<String>| text.as_deref().map(|t| pieces(t, behaviour.chunks)).unwrap_or_default();
    let thinking = texts(&answer.thinking).into_iter().map(|part| json!({"text": part, "thought": true}));
    let text = texts(&answer.text).into_iter().map(|part| json!({"text": part}));
    let mut parts: Vec<Value> = thinking.chain(text).chain(calls(answer)).collect();
    sign(answer, parts.iter_mut());
    let count = parts.len();
    if count == 0 {
        return vec![Event::json(response(answer, Vec::new(), Some(finish(answer)), Some(answer.usage)))];
    }
    let chunk = |(n, part): (usize, Value)| {
        let last = n + 1 == count;
        let output_tokens = answer.usage.output_tokens * (n as u64 + 1) / count as u64;
        let reasoning_tokens = answer.usage.reasoning_tokens.min(output_tokens);
        let grown = Usage { output_tokens, reasoning_tokens, ..answer.usage };
        let ends = last && !behaviour.omit_end;
        let mut event = Event::json(response(answer, vec![part], ends.then(|| finish(answer)), Some(grown)));
        event.content = true;
        event
    };
    parts.into_iter().enumerate().map(chunk).collect()
}

pub(super) fn embeddings(vectors: &[Vec<f32>], batch: bool, tokens: Option<u64>) -> Value {
    let embeddings: Vec<Value> = vectors.iter().map(|vector| json!({"values": vector})).collect();
    let mut reply = match batch {
        true => json!({"embeddings": embeddings}),
        false => json!({"embedding": embeddings.into_iter().next()}),
    };
    if let Some(tokens) = tokens {
        reply["usageMetadata"] = json!({"promptTokenCount": tokens});
    }
    reply
}

pub(super) fn model(name: &str) -> Value {
    let embeds = name.contains("embedding");
    let methods = if embeds { json!(["embedContent"]) } else { json!(["generateContent", "countTokens"]) };
    json!({
        "name": format!("models/{name}"),
        "baseModelId": name,
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    })
}

pub(super) fn models(names: &[&str]) -> Value {
    json!({"models": names.iter().map(|name| model(name)).collect::<Vec<_>>()})
}

fn calls(answer: &Answer) -> impl Iterator<Item = Value> + '_ {
    answer.calls.iter().map(|call| {
        let mut function = json!({"name": call.name});
        if let Ok(args) = serde_json::from_str::<Value>(&call.arguments) {
            function["args"] = args;
        }
        if let Some(id) = &call.id {
            function["id"] = json!(id);
        }
        json!({"functionCall": function})
    })
}

/// The signature stands on the first function call, or else on the first part that is no thought.
fn sign<'a>(answer: &Answer, parts: impl Iterator<Item = &'a mut Value>) {
    let Some(signature) = &answer.signature else { return };
    let mut parts: Vec<&mut Value> = parts.collect();
    let place = parts
        .iter()
        .position(|part| part.get("functionCall").is_some())
        .or_else(|| parts.iter().position(|part| part.get("thought").is_none()));
    if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
        part["thoughtSignature"] = json!(signature);
    }
}

fn response(answer: &Answer, parts: Vec<Value>, finish: Option<String>, usage: Option<Usage>) -> Value {
    let mut candidate = json!({"index": 0});
    if answer.refusal.is_none() {
        candidate["content"] = json!({"parts": parts, "role": "model"});
    }
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    let mut response = json!({
        "candidates": [candidate],
        "modelVersion": answer.model,
        "responseId": format!("mock-{}", answer.serial),
    });
    if let (Some(usage), true) = (usage, answer.report_usage) {
        response["usageMetadata"] = usage_metadata(usage);
    }
    response
}

fn finish(answer: &Answer) -> String {
    // A function call ends with STOP here.
    answer.finish_word(|finish| match finish {
        Finish::Stop | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Refusal => "SAFETY",
    })
}

fn usage_metadata(usage: Usage) -> Value {
    let mut metadata = json!({
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens.saturating_sub(usage.reasoning_tokens),
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    });
    if usage.cached_tokens > 0 {
        metadata["cachedContentTokenCount"] = json!(usage.cached_tokens);
    }
    if usage.reasoning_tokens > 0 {
        metadata["thoughtsTokenCount"] = json!(usage.reasoning_tokens);
    }
    metadata
}
