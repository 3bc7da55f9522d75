//! Anthropic's wire format: messages, streamed or not, models.
//! Batches and files are not spoken.

use serde_json::{Value, json};

use super::answer::{Answer, AnswerCall, Finish, pieces};
use super::behaviour::{Behaviour, Usage};
use super::event::Event;

pub(super) fn reply(answer: &Answer) -> Value {
    let content: Vec<Value> = blocks(answer).into_iter().map(|block| block.whole).collect();
    let mut reply = message(answer, json!(content), json!(stop_reason(answer)));
    if answer.report_usage {
        reply["usage"] = usage(answer.usage);
    }
    reply
}

pub(super) fn events(answer: &Answer, behaviour: &Behaviour) -> Vec<Event> {
    let mut start = message(answer, json!([]), Value::Null);
    if answer.report_usage {
        start["usage"] = usage(Usage { output_tokens: answer.usage.output_tokens.min(1), ..answer.usage });
    }
    let mut events = vec![Event::named("message_start", json!({"message": start}))];
    for (index, block) in blocks(answer).into_iter().enumerate() {
        events.push(Event::named("content_block_start", json!({"index": index, "content_block": block.opening})));
        for (kind, key, text) in block.deltas {
            let parts = match kind {
                "signature_delta" => vec![text],
                "input_json_delta" => pieces(&text, Some(behaviour.chunks.unwrap_or(2))),
                _ => pieces(&text, behaviour.chunks),
            };
            for part in parts {
                let delta = json!({"type": kind, key: part});
                let mut event = Event::named("content_block_delta", json!({"index": index, "delta": delta}));
                event.content = kind != "signature_delta";
                events.push(event);
            }
        }
        events.push(Event::named("content_block_stop", json!({"index": index})));
    }
    if behaviour.repeat_usage && answer.report_usage {
        let half = Usage { output_tokens: answer.usage.output_tokens / 2, ..answer.usage };
        let delta = json!({"delta": {"stop_reason": null, "stop_sequence": null}, "usage": usage(half)});
        events.push(Event::named("message_delta", delta));
    }
    let mut delta = json!({"delta": {"stop_reason": stop_reason(answer), "stop_sequence": null}});
    if answer.report_usage {
        delta["usage"] = usage(answer.usage);
    }
    events.push(Event::named("message_delta", delta));
    if !behaviour.omit_end {
        events.push(Event::named("message_stop", json!({})));
    }
    events
}

pub(super) fn ping() -> Event {
    Event::named("ping", json!({}))
}

pub(super) fn model(name: &str) -> Value {
    json!({"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"})
}

pub(super) fn models(names: &[&str]) -> Value {
    let data: Vec<Value> = names.iter().map(|name| model(name)).collect();
    json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()})
}

/// A content block: as a whole, as it opens in a stream, and what its deltas carry.
struct Block {
    whole: Value,
    opening: Value,
    deltas: Vec<(&'static str, &'static str, String)>,
}

fn blocks(answer: &Answer) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(thinking) = &answer.thinking {
        let signature = answer.signature.clone().unwrap_or_else(|| "bW9jay1zaWduYXR1cmU=".to_owned());
        blocks.push(Block {
            whole: json!({"type": "thinking", "thinking": thinking, "signature": signature}),
            opening: json!({"type": "thinking", "thinking": "", "signature": ""}),
            deltas: vec![("thinking_delta", "thinking", thinking.clone()), ("signature_delta", "signature", signature)],
        });
    }
    if let Some(data) = &answer.redacted_thinking {
        let block = json!({"type": "redacted_thinking", "data": data});
        blocks.push(Block { whole: block.clone(), opening: block, deltas: Vec::new() });
    }
    if let Some(text) = answer.text.as_ref().or(answer.refusal.as_ref()) {
        blocks.push(Block {
            whole: json!({"type": "text", "text": text}),
            opening: json!({"type": "text", "text": ""}),
            deltas: vec![("text_delta", "text", text.clone())],
        });
    }
    blocks.extend(answer.calls.iter().enumerate().map(|(n, call)| tool_use(answer, n, call)));
    blocks
}

fn tool_use(answer: &Answer, n: usize, call: &AnswerCall) -> Block {
    let id = call.id.clone().unwrap_or_else(|| format!("toolu_mock_{}_{n}", answer.serial));
    let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    let block = |input: Value| json!({"type": "tool_use", "id": id, "name": call.name, "input": input});
    Block {
        whole: block(input),
        opening: block(json!({})),
        deltas: vec![("input_json_delta", "partial_json", call.arguments.clone())],
    }
}

fn message(answer: &Answer, content: Value, stop_reason: Value) -> Value {
    json!({
        "id": format!("msg_mock_{}", answer.serial),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
    })
}

fn stop_reason(answer: &Answer) -> String {
    answer.finish_word(|finish| match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::Refusal => "refusal",
    })
}

/// `input_tokens` leaves out what was read from or written to the cache.
fn usage(usage: Usage) -> Value {
    let fresh = usage.input_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens);
    json!({
        "input_tokens": fresh,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    })
}
