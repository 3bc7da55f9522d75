//! OpenAI's wire format: chat completions, streamed or not, embeddings, models.
//! The Responses API is in `responses.rs`.

use serde_json::{Value, json};

use super::answer::{Answer, AnswerCall, Finish, pieces};
use super::behaviour::{Behaviour, ToolIndex, Usage};
use super::event::Event;

/// 2026-01-01, so that answers can be compared as they are.
pub(super) const CREATED: u64 = 1_767_225_600;

pub(super) fn reply(answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": answer.refusal});
    if let Some(thinking) = &answer.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    if !answer.calls.is_empty() {
        message["tool_calls"] = answer.calls.iter().enumerate().map(|(n, call)| tool_call(answer, n, call)).collect();
    }
    let mut reply = json!({
        "id": id(answer),
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish(answer)}],
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    });
    if answer.report_usage {
        reply["usage"] = usage(answer.usage);
    }
    reply
}

pub(super) fn events(answer: &Answer, behaviour: &Behaviour, include_usage: bool) -> Vec<Event> {
    let stream = Stream { answer, behaviour, include_usage: include_usage && answer.report_usage };
    let mut events = Vec::new();
    let mut first = json!({"content": "", "refusal": null});
    if !behaviour.omit_role {
        first["role"] = json!("assistant");
    }
    events.push(stream.delta(first, Value::Null, false));
    let text_delta = |key: &'static str, text: &Option<String>| {
        let parts = text.as_deref().map(|text| pieces(text, behaviour.chunks)).unwrap_or_default();
        parts.into_iter().map(move |part| json!({ key: part })).collect::<Vec<_>>()
    };
    let mut deltas = text_delta("reasoning_content", &answer.thinking);
    deltas.extend(text_delta("content", &answer.text));
    deltas.extend(text_delta("refusal", &answer.refusal));
    deltas.extend(tool_deltas(answer, behaviour));
    let count = deltas.len() as u64;
    for (n, delta) in deltas.into_iter().enumerate() {
        let mut event = stream.delta(delta, Value::Null, true);
        if behaviour.repeat_usage && answer.report_usage {
            let mut grown = answer.usage;
            grown.output_tokens = grown.output_tokens * (n as u64 + 1) / count;
            grown.reasoning_tokens = grown.reasoning_tokens.min(grown.output_tokens);
            event.json["usage"] = usage(grown);
        }
        events.push(event);
    }
    events.push(stream.delta(json!({}), json!(finish(answer)), false));
    if stream.include_usage {
        let repeats = if behaviour.repeat_usage { 2 } else { 1 };
        events.extend((0..repeats).map(|_| stream.chunk(json!([]), usage(answer.usage))));
    }
    if !behaviour.omit_end {
        events.push(Event::raw("[DONE]"));
    }
    events
}

pub(super) fn embeddings(model: &str, vectors: &[Vec<f32>], as_base64: bool, tokens: Option<u64>) -> Value {
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(n, vector)| {
            let embedding = if as_base64 { json!(base64_floats(vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": n, "embedding": embedding})
        })
        .collect();
    let mut reply = json!({"object": "list", "data": data, "model": model});
    if let Some(tokens) = tokens {
        reply["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    reply
}

pub(super) fn model(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": "mock"})
}

pub(super) fn models(names: &[&str]) -> Value {
    json!({"object": "list", "data": names.iter().map(|name| model(name)).collect::<Vec<_>>()})
}

struct Stream<'a> {
    answer: &'a Answer,
    behaviour: &'a Behaviour,
    include_usage: bool,
}

impl Stream<'_> {
    fn delta(&self, delta: Value, finish: Value, content: bool) -> Event {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        let mut event = self.chunk(json!([choice]), Value::Null);
        event.content = content;
        event
    }

    fn chunk(&self, choices: Value, usage: Value) -> Event {
        let mut chunk = json!({
            "id": id(self.answer),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
            "choices": choices,
        });
        if self.include_usage || self.behaviour.repeat_usage && !usage.is_null() {
            chunk["usage"] = usage;
        }
        Event::json(chunk)
    }
}

fn tool_deltas(answer: &Answer, behaviour: &Behaviour) -> Vec<Value> {
    let index = |n: usize| match behaviour.tool_index {
        ToolIndex::Normal | ToolIndex::Interleaved => Some(n),
        ToolIndex::Omit => None,
        ToolIndex::Repeat => Some(0),
        ToolIndex::Gap => Some(n * 2),
    };
    let wrap = |n: usize, mut call: Value| {
        if let Some(index) = index(n) {
            call["index"] = json!(index);
        }
        json!({"tool_calls": [call]})
    };
    let per_call: Vec<Vec<Value>> = answer
        .calls
        .iter()
        .enumerate()
        .map(|(n, call)| {
            let mut opening = tool_call(answer, n, call);
            opening["function"]["arguments"] = json!("");
            let fragments = pieces(&call.arguments, Some(behaviour.chunks.unwrap_or(2)));
            let fragments = fragments.into_iter().map(|part| json!({"function": {"arguments": part}}));
            std::iter::once(opening).chain(fragments).map(|call| wrap(n, call)).collect()
        })
        .collect();
    if behaviour.tool_index != ToolIndex::Interleaved {
        return per_call.into_iter().flatten().collect();
    }
    let longest = per_call.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|turn| per_call.iter().filter_map(move |deltas| deltas.get(turn).cloned())).collect()
}

fn tool_call(answer: &Answer, n: usize, call: &AnswerCall) -> Value {
    let id = call.id.clone().unwrap_or_else(|| format!("call_mock_{}_{n}", answer.serial));
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn id(answer: &Answer) -> String {
    format!("chatcmpl-mock-{}", answer.serial)
}

fn finish(answer: &Answer) -> String {
    answer.finish_word(|finish| match finish {
        Finish::Stop | Finish::Refusal => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// Little-endian floats, as the official Python client asks for.
fn base64_floats(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}
