//! A provider that is spoken to in the Responses API (`api = "responses"`): clients of every dialect, faults, money.

use std::time::{Duration, Instant};

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT, ErrorShape, Malformed, Usage};
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask, ask_streamed};

const API: &str = "[providers.openai]\napi = \"responses\"\n";
/// The same, called once: its retries would heal what is scripted once.
const ONCE: &str = "[routing]\nretries = 0\n[providers.openai]\napi = \"responses\"\n";
/// Limits short enough to wait for, long enough that a busy machine does not pass them by accident.
const SHORT: &str = "[routing]\nretries = 0\n[providers.openai]\napi = \"responses\"\nfirst_byte_timeout = \"400ms\"\nidle_timeout = \"500ms\"\n";
const MODEL: &str = "gpt-4o";

fn code(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

/// The code of the error event that a stream of chat chunks ended in.
fn last_code(answer: &Answer) -> String {
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
    let last = answer.events().pop().unwrap_or_else(|| panic!("no event: {answer:?}"));
    last["error"]["code"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

async fn respond(stand: &Stand, body: &Value) -> Answer {
    Answer::of(stand.post("/v1/responses", body.to_string())).await
}

#[tokio::test]
async fn clients_of_every_dialect_are_answered_and_the_provider_keeps_nothing() {
    let stand = Stand::with_config(API).await;
    for stream in [false, true] {
        let said = json!([{"role": "user", "content": "x"}]);
        for (path, body, end) in [
            ("/v1/chat/completions", json!({"messages": said}), "[DONE]"),
            ("/v1/messages", json!({"messages": said, "max_tokens": 100}), "message_stop"),
            ("/v1/responses", json!({"input": said}), "response.completed"),
        ] {
            let mut body = body;
            (body["model"], body["stream"]) = (json!(MODEL), json!(stream));
            let answer = Answer::of(stand.post(path, body.to_string())).await;
            assert_eq!(answer.status, 200, "{path} {stream}: {answer:?}");
            assert!(answer.text().contains(end) == stream, "{path} {stream}: {answer:?}");
            let sent = stand.sent();
            assert_eq!((sent.path.as_str(), &sent.body["store"]), ("/v1/responses", &json!(false)), "{path}");
            let thread = stand.thread(&answer.conversation()).await;
            assert_eq!(thread, ["user: x".to_owned(), format!("assistant: {DEFAULT_CONTENT}")], "{path} {stream}");
        }
    }
}

#[tokio::test]
async fn wire_21_reasoning_goes_round_encrypted_with_what_the_model_called() {
    let stand = Stand::with_config(API).await;
    let tools = json!([{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": false}]);
    let output = json!([{"type": "function_call_output", "call_id": "call_1", "output": "17"}]);
    for stream in [false, true] {
        stand.mock.script_once(Behaviour::new().thinking("Hm.", "gAAAAABo+/==").tool_call_with_id(
            "call_1",
            "weather",
            json!({"city": "Oslo"}),
        ));
        let body = json!({"model": "gpt-5", "input": "And in Oslo?", "tools": tools, "stream": stream, "reasoning": {"effort": "low", "summary": "auto"}});
        let first = respond(&stand, &body).await;
        let sent = stand.sent().body;
        assert_eq!(
            (&sent["include"], &sent["reasoning"]),
            (&json!(["reasoning.encrypted_content"]), &json!({"effort": "low", "summary": "auto"}))
        );
        let text = first.text();
        let id = &text[text.find("resp_").unwrap()..][..37];
        let body = json!({"model": "gpt-5", "input": output, "tools": tools, "previous_response_id": id});
        let second = respond(&stand, &body).await;
        assert_eq!(second.status, 200, "{second:?}");
        let sent = stand.sent().body;
        let kinds: Vec<&str> =
            sent["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["message", "reasoning", "function_call", "function_call_output"], "{stream}");
        assert_eq!(sent["input"][1]["encrypted_content"], "gAAAAABo+/==", "{stream}");
        // No other provider is told of it.
        let other = json!({"model": "claude-sonnet-4-5", "input": output, "tools": tools, "previous_response_id": id});
        assert_eq!(respond(&stand, &other).await.status, 200);
        assert!(!stand.sent().body.to_string().contains("gAAAAABo"), "{}", stand.sent().body);
    }
}

#[tokio::test]
async fn a_loop_of_tools_goes_round_for_a_client_of_chat_completions() {
    let stand = Stand::with_config(API).await;
    let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
    for stream in [false, true] {
        stand.mock.script_once(Behaviour::text("Let me add.").tool_call_with_id("call_1", "add", json!({"a": 1})));
        let mut body = ask(MODEL, "1 + 1?");
        (body["tools"], body["stream"]) = (tools.clone(), json!(stream));
        let first = stand.chat(body).await;
        assert!(first.text().contains("call_1") && first.text().contains("tool_calls"), "{first:?}");
        let more = json!({"model": MODEL, "tools": tools, "metadata": {"conversation_id": first.conversation()},
            "messages": [{"role": "tool", "tool_call_id": "call_1", "content": "2"}]});
        let second = stand.chat(more).await;
        assert_eq!(second.status, 200, "{second:?}");
        let sent = stand.sent().body;
        let kinds: Vec<&str> =
            sent["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["message", "message", "function_call", "function_call_output"], "{stream}");
    }
}

#[tokio::test]
async fn what_is_charged_is_what_the_provider_bills() {
    let stand = Stand::with_config(ONCE).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let usage = Usage { input_tokens: 20, cached_tokens: 5, output_tokens: 50, ..Usage::default() };
    stand.mock.script(Behaviour::text("ok").usage(usage));
    for (calls, stream) in [(1, false), (2, true)] {
        let mut body = ask(MODEL, "x");
        body["stream"] = json!(stream);
        assert_eq!(stand.chat_as(&key, body).await.status, 200);
        let used = stand.usage(&key).await;
        assert_eq!(used["settled_nanos"].as_u64().unwrap(), stand.mock.stats().bill_nanos, "{calls}: {used}");
        assert_eq!(used["held_nanos"], 0);
    }
    // The output is bounded, and the tier is one whose price holds.
    let sent = stand.sent().body;
    assert!(sent["max_output_tokens"].is_u64() && sent["service_tier"] == "default", "{sent}");
}

#[tokio::test]
async fn fault_14_silence_is_504_before_the_first_byte_and_an_error_event_after_it() {
    let stand = Stand::with_config(SHORT).await;
    stand.mock.script(Behaviour::new().hang());
    for stream in [false, true] {
        let mut body = ask(MODEL, "x");
        body["stream"] = json!(stream);
        let answer = stand.chat(body).await;
        assert_eq!((answer.status, code(&answer)), (504, json!("upstream_timeout")), "{stream}: {answer:?}");
    }
    stand.mock.wait_for(|stats| stats.cancelled == 2 && stats.in_flight == 0).await;
    assert_eq!(stand.conversations().await, 0);
    stand.mock.script(Behaviour::text("one two three").hang_after_chunks(2));
    let answer = stand.chat(ask_streamed(MODEL, "x")).await;
    assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_timeout"));
    let thread = stand.thread(&answer.conversation()).await;
    assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{thread:?}");
}

#[tokio::test]
async fn fault_15_and_16_a_cut_stream_is_asked_once_kept_and_billed() {
    let stand = Stand::with_config(API).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    stand.mock.script(Behaviour::text("one two three").cut_after_chunks(2));
    let answer = stand.chat_as(&key, ask_streamed(MODEL, "x")).await;
    assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_cut"));
    assert_eq!(stand.mock.stats().calls, 1, "nothing is asked twice after the first byte");
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: one two …"]);
    let used = stand.usage(&key).await;
    let (settled, bill) = (used["settled_nanos"].as_u64().unwrap(), stand.mock.stats().bill_nanos);
    assert!(bill > 0 && settled >= bill && used["held_nanos"] == 0, "{used} of {bill}");
    // An end that is left out is no end.
    stand.mock.script(Behaviour::text("one two three").omit_end());
    let answer = stand.chat_as(&key, ask_streamed(MODEL, "x")).await;
    assert_eq!(last_code(&answer), "upstream_cut", "{answer:?}");
}

#[tokio::test]
async fn fault_17_what_is_malformed_is_a_typed_error_and_what_lacks_usage_an_answer() {
    let stand = Stand::with_config(ONCE).await;
    stand.mock.script(Behaviour::text("one two three").malformed(Malformed::HugeLine));
    let streamed = stand.chat(ask_streamed(MODEL, "x")).await;
    assert_eq!((streamed.status, last_code(&streamed).as_str()), (200, "upstream_error"));
    let whole = stand.chat(ask(MODEL, "x")).await;
    assert_eq!((whole.status, code(&whole)), (502, json!("upstream_malformed")), "{whole:?}");
    stand.mock.script(Behaviour::new().no_usage());
    assert_eq!(stand.chat(ask(MODEL, "x")).await.status, 200);
    assert!(stand.chat(ask_streamed(MODEL, "x")).await.is_done());
    // Chat completions in answer to a question in the other API.
    stand.mock.script(Behaviour::new().raw_body(r#"{"choices":[{"message":{"content":"x"}}]}"#));
    assert_eq!(stand.chat(ask(MODEL, "x")).await.status, 502);
}

#[tokio::test]
async fn fault_18_an_error_inside_a_200_is_seen() {
    let stand = Stand::with_config(ONCE).await;
    for shape in [ErrorShape::Native, ErrorShape::Vllm, ErrorShape::Flat] {
        stand.mock.script(Behaviour::text("one two three").error_inside_200(0, shape));
        for stream in [false, true] {
            let mut body = ask(MODEL, "x");
            body["stream"] = json!(stream);
            let answer = stand.chat(body).await;
            assert_eq!(answer.status, 502, "{shape:?} {stream}: {answer:?}");
            assert!(answer.text().contains("the mock fails inside a 200"), "{shape:?} {stream}: {answer:?}");
        }
        stand.mock.script(Behaviour::text("one two three").error_inside_200(2, shape));
        let answer = stand.chat(ask_streamed(MODEL, "x")).await;
        assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_error"), "{shape:?}");
    }
    for (status, expected) in [(400, 400), (401, 502), (404, 404), (429, 429), (500, 502)] {
        stand.mock.script(Behaviour::error(status).error_message("said so"));
        let answer = stand.chat(ask(MODEL, "x")).await;
        assert!(answer.status == expected, "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_cancels_the_provider_and_the_part_is_kept() {
    let stand = Stand::with_config(API).await;
    stand.mock.script_once(Behaviour::text("one two three four").hang_after_chunks(2));
    let request = stand.post("/v1/responses", json!({"model": MODEL, "input": "x", "stream": true}).to_string());
    let mut response = request.send().await.unwrap();
    let id = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
    let mut read = String::new();
    while !read.contains("two") {
        read += &String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap());
    }
    drop(response);
    let left = Instant::now();
    stand.mock.wait_for(|stats| stats.cancelled == 1).await;
    assert!(left.elapsed() < Duration::from_millis(500), "{:?}", left.elapsed());
    let kept = async {
        loop {
            let thread = stand.thread(&id).await;
            if thread.len() == 2 {
                return thread;
            }
            tokio::task::yield_now().await;
        }
    };
    let thread = tokio::time::timeout(Duration::from_secs(10), kept).await.unwrap();
    assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{thread:?}");
}

#[tokio::test]
async fn such_a_provider_counts_tokens() {
    let stand = Stand::with_config(API).await;
    for (path, body) in [
        ("/v1/responses/input_tokens", json!({"model": MODEL, "input": "How many are these?"})),
        (
            "/v1/messages/count_tokens",
            json!({"model": MODEL, "messages": [{"role": "user", "content": "How many are these?"}]}),
        ),
    ] {
        let counted = Answer::of(stand.post(path, body.to_string())).await;
        assert_eq!(counted.status, 200, "{path}: {counted:?}");
        assert!(counted.json()["input_tokens"].as_u64().is_some_and(|tokens| tokens >= 4), "{path}: {counted:?}");
        let sent = stand.sent();
        assert_eq!((sent.path.as_str(), sent.body.get("store")), ("/v1/responses/input_tokens", None));
    }
}

/// A whole answer of a model that searched.
fn searched() -> Value {
    json!({"id": "resp_theirs", "object": "response", "created_at": 1, "status": "completed", "model": MODEL, "store": false, "output": [
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "Found.", "annotations": [{"type": "url_citation", "url": "https://x", "start_index": 0, "end_index": 5}]}]},
    ], "usage": {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}})
}

#[tokio::test]
async fn a_tool_that_the_provider_runs_passes_and_its_call_goes_back_as_it_came() {
    let stand = Stand::with_config(API).await;
    stand.mock.script_once(Behaviour::new().raw_body(searched().to_string()));
    let tools = json!([{"type": "web_search", "filters": {"allowed_domains": ["x"]}}]);
    let body = json!({"model": MODEL, "input": "x", "tools": tools, "include": ["web_search_call.action.sources"]});
    let first = respond(&stand, &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    let sent = stand.sent().body;
    assert_eq!((&sent["tools"], &sent["include"], &sent["input"]), (&tools, &body["include"], &json!("x")));
    let told = first.json();
    assert!(told["output"][1]["content"] == searched()["output"][1]["content"] && told["store"] == true, "{told}");
    let id = told["id"].as_str().unwrap();
    assert!(id.starts_with("resp_") && id != "resp_theirs", "{told}");
    let kept = stand.get(&format!("/v1/responses/{id}")).await;
    assert_eq!(kept.json()["output"], told["output"], "annotations are kept too");
    // By the response, by its items, or by the items themselves: the provider gets what it wrote.
    let reference = |place: usize| json!({"type": "item_reference", "id": told["output"][place]["id"]});
    for body in [
        json!({"model": MODEL, "input": "more", "previous_response_id": id}),
        json!({"model": MODEL, "input": [{"role": "user", "content": "x"}, reference(0), reference(1)]}),
        json!({"model": MODEL, "input": [{"role": "user", "content": "x"}, told["output"][0], told["output"][1]]}),
    ] {
        let answer = respond(&stand, &body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        let sent = stand.sent().body;
        assert_eq!(
            &sent["input"].as_array().unwrap()[1..3],
            searched()["output"].as_array().unwrap().as_slice(),
            "{body}"
        );
        assert_eq!((sent.get("previous_response_id"), &sent["store"]), (None, &json!(false)));
    }
    let other = json!({"model": "claude-sonnet-4-5", "input": "more", "previous_response_id": id});
    let refused = respond(&stand, &other).await;
    assert!(refused.status == 400 && refused.text().contains("web_search_call"), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_bounded_is_refused_under_a_budget() {
    let stand = Stand::with_config(API).await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for (more, is_refused) in [
        (json!({"tools": [{"type": "web_search"}]}), true),
        (json!({"prompt": {"id": "pmpt_1"}}), true),
        (json!({"context_management": [{"type": "compaction"}]}), true),
        (json!({"models": ["dearer"]}), true),
        (json!({"input": [{"role": "user", "content": "x", "file_ids": ["f"]}]}), true),
        (json!({"tools": [{"type": "custom", "name": "grep"}], "truncation": "auto"}), false),
    ] {
        let mut body = json!({"model": MODEL, "input": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let calls = stand.mock.stats().calls;
        let request = stand.client.post(format!("{}/v1/responses", stand.server.url())).bearer_auth(&key.text);
        let answer = Answer::of(request.header("content-type", "application/json").body(body.to_string())).await;
        assert_eq!(
            (answer.status == 200, stand.mock.stats().calls == calls),
            (!is_refused, is_refused),
            "{more}: {answer:?}"
        );
        if !is_refused {
            let sent = stand.sent().body;
            assert!(sent["max_output_tokens"].is_u64() && sent["service_tier"] == "default", "{sent}");
        }
    }
}

#[tokio::test]
async fn wire_29_a_streams_end_is_told_when_it_is_kept_and_its_cut_is_a_failure() {
    let stand = Stand::with_config(ONCE).await;
    stand.mock.script_once(Behaviour::text("one two three"));
    let answer = respond(&stand, &json!({"model": MODEL, "input": "x", "stream": true})).await;
    let last = answer.events().pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["store"]), (&json!("response.completed"), &json!(true)), "{answer:?}");
    let id = last["response"]["id"].as_str().unwrap();
    assert_eq!(stand.get(&format!("/v1/responses/{id}")).await.json()["output"], last["response"]["output"]);
    stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(2));
    let cut = respond(&stand, &json!({"model": MODEL, "input": "x", "stream": true})).await;
    let events = cut.events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{cut:?}");
    }
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["id"]),
        (&json!("response.failed"), &events[0]["response"]["id"]),
        "{cut:?}"
    );
}
