//! OpenAI's Responses API, streamed or not. Nothing is kept: neither `previous_response_id` nor tools of the server's own are spoken.

use serde_json::{Value, json};

use super::answer::{Answer, AnswerCall, Finish, pieces};
use super::behaviour::{Behaviour, Usage};
use super::event::Event;
use super::openai::CREATED;

pub(super) fn reply(answer: &Answer) -> Value {
    let output = items(answer).into_iter().map(|item| item.whole).collect();
    response(answer, status(answer), output, answer.report_usage)
}

pub(super) fn events(answer: &Answer, behaviour: &Behaviour) -> Vec<Event> {
    let begun = response(answer, "in_progress", Vec::new(), false);
    let mut events = vec![
        Event::named("response.created", json!({"response": begun})),
        Event::named("response.in_progress", json!({"response": begun})),
    ];
    let items = items(answer);
    for (index, item) in items.iter().enumerate() {
        events.push(Event::named("response.output_item.added", json!({"output_index": index, "item": item.opening})));
        let id = &item.whole["id"];
        if let Some((kind, text)) = &item.pieces {
            let parts = match *kind {
                "response.function_call_arguments.delta" => pieces(text, Some(behaviour.chunks.unwrap_or(2))),
                _ => pieces(text, behaviour.chunks),
            };
            for part in parts {
                let mut event = json!({"item_id": id, "output_index": index, "delta": part});
                let place = if kind.contains("summary") { "summary_index" } else { "content_index" };
                event[place] = json!(0);
                let mut event = Event::named(kind, event);
                event.content = true;
                events.push(event);
            }
        }
        events.push(Event::named("response.output_item.done", json!({"output_index": index, "item": item.whole})));
    }
    if !behaviour.omit_end {
        let output = items.into_iter().map(|item| item.whole).collect();
        let ended = response(answer, status(answer), output, answer.report_usage);
        let name = if status(answer) == "completed" { "response.completed" } else { "response.incomplete" };
        events.push(Event::named(name, json!({"response": ended})));
    }
    for (number, event) in events.iter_mut().enumerate() {
        event.json["sequence_number"] = json!(number);
    }
    events
}

/// An item: as a whole, as it opens in a stream, and what comes in pieces.
struct Item {
    whole: Value,
    opening: Value,
    pieces: Option<(&'static str, String)>,
}

fn items(answer: &Answer) -> Vec<Item> {
    let mut items = Vec::new();
    let id = |prefix: &str, n: usize| format!("{prefix}_mock_{}_{n}", answer.serial);
    if let Some(thinking) = &answer.thinking {
        let signature = answer.signature.clone().unwrap_or_else(|| "gAAAAABtb2Nr".to_owned());
        let item = |summary: Value, sealed: Value| json!({"id": id("rs", 0), "type": "reasoning", "summary": summary, "encrypted_content": sealed});
        let summary = json!([{"type": "summary_text", "text": thinking}]);
        items.push(Item {
            whole: item(summary, json!(signature)),
            opening: item(json!([]), Value::Null),
            pieces: Some(("response.reasoning_summary_text.delta", thinking.clone())),
        });
    }
    let message = |content: Value, status: &str| json!({"id": id("msg", 1), "type": "message", "status": status, "role": "assistant", "content": content});
    if let Some(text) = &answer.text {
        let content = json!([{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]);
        let (whole, opening) = (message(content, "completed"), message(json!([]), "in_progress"));
        items.push(Item { whole, opening, pieces: Some(("response.output_text.delta", text.clone())) });
    }
    if let Some(refusal) = &answer.refusal {
        let content = json!([{"type": "refusal", "refusal": refusal}]);
        let (whole, opening) = (message(content, "completed"), message(json!([]), "in_progress"));
        items.push(Item { whole, opening, pieces: Some(("response.refusal.delta", refusal.clone())) });
    }
    items.extend(answer.calls.iter().enumerate().map(|(n, call)| call_item(answer, n, call)));
    items
}

fn call_item(answer: &Answer, n: usize, call: &AnswerCall) -> Item {
    let call_id = call.id.clone().unwrap_or_else(|| format!("call_mock_{}_{n}", answer.serial));
    let item = |arguments: &str, status: &str| {
        json!({
            "id": format!("fc_mock_{}_{n}", answer.serial), "type": "function_call", "status": status, "arguments": arguments,
            "call_id": call_id, "name": call.name,
        })
    };
    Item {
        whole: item(&call.arguments, "completed"),
        opening: item("", "in_progress"),
        pieces: Some(("response.function_call_arguments.delta", call.arguments.clone())),
    }
}

fn response(answer: &Answer, status: &str, output: Vec<Value>, report_usage: bool) -> Value {
    let reason = (status == "incomplete").then(|| json!({"reason": reason(answer)}));
    json!({
        "id": format!("resp_mock_{}", answer.serial),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": null,
        "incomplete_details": reason,
        "model": answer.model,
        "output": output,
        "service_tier": "default",
        "usage": report_usage.then(|| usage(answer.usage)),
    })
}

fn status(answer: &Answer) -> &'static str {
    if reason(answer).is_empty() { "completed" } else { "incomplete" }
}

/// Why it is incomplete; nothing where it is not.
fn reason(answer: &Answer) -> String {
    answer.finish_word(|finish| match finish {
        Finish::Stop | Finish::ToolCalls | Finish::Refusal => "",
        Finish::Length => "max_output_tokens",
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}
