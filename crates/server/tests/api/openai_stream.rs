//! `/v1/chat/completions` streamed: what clients may rely on, from all three kinds of provider.

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT, ErrorShape, Framing, Malformed, StaleHeaders, ToolIndex};
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, Stand, ask_streamed};

const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

/// Tool calls put together as a client does: by index, in order of appearance.
fn calls(answer: &Answer) -> Vec<(u64, String, String, String)> {
    let mut calls: Vec<(u64, String, String, String)> = Vec::new();
    for event in answer.events() {
        for delta in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = delta["index"].as_u64().unwrap_or_else(|| panic!("a call without an index: {event}"));
            if !calls.iter().any(|call| call.0 == index) {
                calls.push((index, String::new(), String::new(), String::new()));
            }
            let call = calls.iter_mut().find(|call| call.0 == index).unwrap();
            call.1 += delta["id"].as_str().unwrap_or_default();
            call.2 += delta["function"]["name"].as_str().unwrap_or_default();
            call.3 += delta["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    calls
}

fn with_tools(model: &str) -> Value {
    let mut body = ask_streamed(model, "x");
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    body["tools"] = json!([tool("first"), tool("second")]);
    body
}

#[tokio::test]
async fn wire_09_usage_goes_out_only_when_asked_for_and_is_always_asked_upstream() {
    let stand = Stand::start().await;
    for model in MODELS {
        for (options, expected) in
            [(json!(null), false), (json!({"include_usage": false}), false), (json!({"include_usage": true}), true)]
        {
            let mut body = ask_streamed(model, "x");
            body["stream_options"] = options.clone();
            let answer = stand.chat(body).await;
            let with_usage: Vec<Value> =
                answer.events().into_iter().filter(|event| event["usage"].is_object()).collect();
            assert_eq!(with_usage.len(), usize::from(expected), "{model} {options}: {}", answer.text());
            if expected {
                assert_eq!(with_usage[0]["choices"], json!([]), "{model}");
                let usage = &with_usage[0]["usage"];
                let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
                assert_eq!(usage["total_tokens"].as_u64().unwrap(), sum, "{model}");
            } else {
                assert!(
                    answer.events().iter().all(|event| event["choices"] != json!([])),
                    "{model}: {}",
                    answer.text()
                );
            }
            if model == "gpt-4o" {
                assert_eq!(stand.sent().body["stream_options"], json!({"include_usage": true}));
            }
        }
    }
}

#[tokio::test]
async fn wire_10_the_role_comes_first_and_done_comes_last() {
    let stand = Stand::start().await;
    for model in MODELS {
        for behaviour in [Behaviour::new(), Behaviour::new().omit_role()] {
            stand.mock.script_once(behaviour);
            let answer = stand.chat(ask_streamed(model, "x")).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
            assert_eq!(answer.header("x-accel-buffering"), Some("no"));
            let events = answer.events();
            assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant", "{model}: {}", answer.text());
            assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"), "{model}");
            assert!(events.iter().all(|event| event["id"] == events[0]["id"]), "{model}");
            let finishes: Vec<&Value> =
                events.iter().map(|e| &e["choices"][0]["finish_reason"]).filter(|f| f.is_string()).collect();
            assert_eq!(finishes, ["stop"], "{model}");
            assert_eq!(answer.streamed_text(), DEFAULT_CONTENT, "{model}");
            assert!(answer.is_done() && answer.text().matches("[DONE]").count() == 1, "{model}");
            let thread = stand.thread(&answer.conversation()).await;
            assert_eq!(thread, ["user: x".to_owned(), format!("assistant: {DEFAULT_CONTENT}")], "{model}");
        }
    }
}

#[tokio::test]
async fn wire_11_calls_are_numbered_from_0_without_gaps_whatever_the_provider_does() {
    let stand = Stand::start().await;
    for model in MODELS {
        for index in [ToolIndex::Normal, ToolIndex::Omit, ToolIndex::Repeat, ToolIndex::Gap, ToolIndex::Interleaved] {
            let script = Behaviour::new().tool_call_with_id("call_a", "first", json!({"a": 1})).tool_call_with_id(
                "call_b",
                "second",
                json!({"b": "two"}),
            );
            stand.mock.script_once(script.tool_index(index));
            let answer = stand.chat(with_tools(model)).await;
            let calls = calls(&answer);
            let heads: Vec<(u64, &str)> = calls.iter().map(|call| (call.0, call.2.as_str())).collect();
            assert_eq!(heads, [(0, "first"), (1, "second")], "{model} {index:?}: {}", answer.text());
            let arguments: Vec<Value> = calls.iter().map(|call| serde_json::from_str(&call.3).unwrap()).collect();
            assert_eq!(arguments, [json!({"a": 1}), json!({"b": "two"})], "{model} {index:?}");
            assert_ne!(calls[0].1, calls[1].1, "{model} {index:?}");
            assert!(!calls[0].1.is_empty() && !calls[1].1.is_empty(), "{model} {index:?}");
            assert!(answer.text().contains("\"finish_reason\":\"tool_calls\""), "{model}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn wire_12_a_streamed_call_without_arguments_has_an_empty_object() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::new().tool_call("first", json!({})).empty_arguments());
        let answer = stand.chat(with_tools(model)).await;
        let calls = calls(&answer);
        assert_eq!((calls.len(), calls[0].3.as_str()), (1, "{}"), "{model}: {}", answer.text());
    }
}

#[tokio::test]
async fn wire_13_cut_arguments_arrive_as_they_are_with_length() {
    let stand = Stand::start().await;
    for (model, word) in [("gpt-4o", "length"), ("claude-sonnet-4-5", "max_tokens")] {
        let cut = Behaviour::new().tool_call("first", json!("{\"a\": \"unfini")).finish_reason(word);
        stand.mock.script_once(cut);
        let answer = stand.chat(with_tools(model)).await;
        assert_eq!(calls(&answer)[0].3, "{\"a\": \"unfini", "{model}");
        assert!(
            answer.text().contains("\"finish_reason\":\"length\"") && answer.is_done(),
            "{model}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn wire_14_a_failure_before_the_first_byte_is_a_real_status() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let silent = Behaviour::new().header("content-type", "text/event-stream").raw_body(": nothing\n\n");
    for model in MODELS {
        for (behaviour, status) in [(Behaviour::error(500), 502), (Behaviour::error(429), 429), (silent.clone(), 502)] {
            stand.mock.script_once(behaviour.clone());
            let answer = stand.chat(ask_streamed(model, "x")).await;
            assert_eq!(answer.status, status, "{model} {behaviour:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.json()["error"]["message"].is_string(), "{model}: {answer:?}");
        }
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn wire_14_a_cut_in_the_middle_is_an_error_event_and_the_part_is_kept_as_incomplete() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("one two three four").cut_after_chunks(2));
        let answer = stand.chat(ask_streamed(model, "x")).await;
        assert_eq!(answer.status, 200);
        let events = answer.events();
        assert_eq!(events.last().unwrap()["error"]["code"], "upstream_cut", "{model}: {}", answer.text());
        assert!(!answer.text().contains("[DONE]"), "{model}");
        assert!(!answer.text().contains("\"finish_reason\":\"stop\""), "{model}");
        let thread = stand.thread(&answer.conversation()).await;
        assert_eq!(thread[0], "user: x");
        assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
    }
}

#[tokio::test]
async fn wire_14_a_stream_that_just_stops_is_no_clean_ending() {
    let stand = Stand::start().await;
    let chunk = json!({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "half"}, "finish_reason": null}]});
    let raw = Behaviour::new().header("content-type", "text/event-stream").raw_body(format!("data: {chunk}\n\n"));
    stand.mock.script_once(raw);
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert_eq!(answer.events().last().unwrap()["error"]["code"], "upstream_cut", "{}", answer.text());
    assert!(!answer.text().contains("[DONE]"));
    assert_eq!(stand.thread(&answer.conversation()).await[1], "assistant: half…");
}

#[tokio::test]
async fn an_end_mark_that_is_missing_after_a_finish_is_forgiven() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().omit_end());
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert!(answer.is_done() && answer.streamed_text() == DEFAULT_CONTENT, "{}", answer.text());
}

#[tokio::test]
async fn wire_15_an_error_inside_a_200_stream_before_output_is_a_real_status() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for (model, shape, status) in
        [("claude-sonnet-4-5", ErrorShape::Native, 503), ("gemini-2.5-flash", ErrorShape::Native, 503)]
    {
        stand.mock.script_once(Behaviour::new().error_inside_200(0, shape));
        let answer = stand.chat(ask_streamed(model, "x")).await;
        assert_eq!(answer.status, status, "{model} {shape:?}: {answer:?}");
    }
    // vLLM's first and only event.
    let error = json!({"error": {"object": "error", "message": "out of memory", "type": "InternalServerError", "param": null, "code": 500}});
    let flat =
        json!({"object": "error", "message": "out of memory", "type": "BadRequestError", "param": null, "code": 400});
    for (event, status) in [(error, 502), (flat, 400)] {
        let raw = Behaviour::new().header("content-type", "text/event-stream");
        stand.mock.script_once(raw.raw_body(format!("data: {event}\n\ndata: [DONE]\n\n")));
        let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
        assert_eq!(answer.status, status, "{event}: {answer:?}");
        assert!(answer.text().contains("out of memory"), "{answer:?}");
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn wire_15_an_error_inside_a_200_stream_after_output_is_an_error_event() {
    let stand = Stand::start().await;
    for (model, shape) in [
        ("gpt-4o", ErrorShape::Native),
        ("gpt-4o", ErrorShape::Vllm),
        ("gpt-4o", ErrorShape::Flat),
        ("claude-sonnet-4-5", ErrorShape::Native),
        ("gemini-2.5-flash", ErrorShape::Native),
    ] {
        stand.mock.script_once(Behaviour::text("one two three").error_inside_200(1, shape));
        let answer = stand.chat(ask_streamed(model, "x")).await;
        let last = answer.events().pop().unwrap();
        let message =
            last["error"]["message"].as_str().unwrap_or_else(|| panic!("{model} {shape:?}: {}", answer.text()));
        assert!(message.contains("the mock fails inside a 200"), "{message}");
        assert!(!answer.text().contains("[DONE]"), "{model} {shape:?}");
        let thread = stand.thread(&answer.conversation()).await;
        assert!(thread[1].starts_with("assistant: one") && thread[1].ends_with('…'), "{model} {shape:?}: {thread:?}");
    }
}

#[tokio::test]
async fn wire_16_every_framing_of_events_is_read() {
    let stand = Stand::start().await;
    let framings = [
        Framing { crlf: true, ..Framing::default() },
        Framing { no_space: true, ..Framing::default() },
        Framing { comments: true, ..Framing::default() },
        Framing { multi_line_data: true, ..Framing::default() },
        Framing { split_bytes: Some(1), ..Framing::default() },
        Framing { split_bytes: Some(7), crlf: true, comments: true, multi_line_data: true, no_space: true },
    ];
    for model in MODELS {
        for framing in framings {
            stand.mock.script_once(Behaviour::text("größer 😀 done").framing(framing).pings(2, 0));
            let answer = stand.chat(ask_streamed(model, "x")).await;
            assert_eq!(answer.streamed_text(), "größer 😀 done", "{model} {framing:?}: {}", answer.text());
            assert!(answer.is_done(), "{model} {framing:?}");
        }
    }
}

#[tokio::test]
async fn wire_16_one_bad_line_does_not_kill_a_stream() {
    let stand = Stand::start().await;
    for model in MODELS {
        for malformed in [Malformed::BadJson, Malformed::BadUtf8, Malformed::GarbageLine] {
            stand.mock.script_once(Behaviour::text("one two three").malformed(malformed));
            let answer = stand.chat(ask_streamed(model, "x")).await;
            assert_eq!(answer.streamed_text(), "one two three", "{model} {malformed:?}: {}", answer.text());
            assert!(answer.is_done(), "{model} {malformed:?}");
        }
    }
}

#[tokio::test]
async fn wire_08_a_gzipped_stream_is_unpacked() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::new().stale_headers(StaleHeaders::Gzip));
        let answer = stand.chat(ask_streamed(model, "x")).await;
        assert_eq!(answer.header("content-encoding"), None);
        assert!(answer.streamed_text() == DEFAULT_CONTENT && answer.is_done(), "{model}: {answer:?}");
    }
}

#[tokio::test]
async fn a_stream_of_the_same_dialect_passes_as_its_own_bytes() {
    let stand = Stand::start().await;
    let first = r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"\u0041","future":1.50},"logprobs":{"content":[]},"finish_reason":null}],"obfuscation":"abc"}"#;
    let last = r#"{"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"service_tier":null}"#;
    let body = format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n");
    stand.mock.script(Behaviour::new().header("content-type", "text/event-stream").raw_body(body.clone()));
    assert_eq!(stand.chat(ask_streamed("gpt-4o", "x")).await.text(), body);
}

#[tokio::test]
async fn several_streamed_answers_stay_apart_and_the_first_is_kept() {
    let stand = Stand::start().await;
    let event = |index: u32, delta: Value, finish: Value| {
        let choice = json!({"index": index, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "x", "object": "chat.completion.chunk", "choices": [choice]}))
    };
    let body = [
        event(0, json!({"role": "assistant", "content": "a"}), Value::Null),
        event(1, json!({"role": "assistant", "content": "b"}), Value::Null),
        event(1, json!({}), json!("stop")),
        event(0, json!({"content": "A"}), Value::Null),
        event(0, json!({}), json!("stop")),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    stand.mock.script(Behaviour::new().header("content-type", "text/event-stream").raw_body(body.clone()));
    let mut request = ask_streamed("gpt-4o", "x");
    request["n"] = json!(2);
    let answer = stand.chat(request).await;
    assert_eq!(answer.text(), body);
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: aA"]);
}
