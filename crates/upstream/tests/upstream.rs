//! The mock upstream judged from outside: its dialects, its faults, its bill.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Once;
use std::time::Duration;

use privet_upstream::{
    Behaviour, DEFAULT_CONTENT, ErrorShape, Framing, Malformed, MockUpstream, Price, StaleHeaders, ToolIndex, Usage,
};
use reqwest::{Client, Response};
use serde_json::{Value, json};

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::builder().no_proxy().no_gzip().build().unwrap()
}

fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "two words"}]})
}

async fn post(mock: &MockUpstream, path: &str, body: &Value) -> Response {
    client().post(mock.base_url() + path).json(body).send().await.unwrap()
}

async fn openai(mock: &MockUpstream, stream: bool) -> Response {
    post(mock, "/v1/chat/completions", &chat("m", stream)).await
}

async fn text(mock: &MockUpstream, path: &str, body: &Value) -> String {
    post(mock, path, body).await.text().await.unwrap()
}

/// The data of all events, JSON alone.
fn events(stream: &str) -> Vec<Value> {
    let data = |event: &str| event.lines().filter_map(|line| line.strip_prefix("data:")).collect::<Vec<_>>().join("\n");
    stream.replace("\r\n", "\n").split("\n\n").filter_map(|event| serde_json::from_str(&data(event)).ok()).collect()
}

fn openai_text(stream: &str) -> String {
    events(stream).iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect()
}

/// The words of [`DEFAULT_CONTENT`], and those of the question with its role.
const OUTPUT: u64 = 9;
const INPUT: u64 = 3;

#[tokio::test]
async fn fast_reply_equals_the_composed_one() {
    let mock = MockUpstream::start().await;
    let fast: Value = openai(&mock, false).await.json().await.unwrap();
    mock.script(Behaviour::new());
    let mut composed: Value = openai(&mock, false).await.json().await.unwrap();
    composed["id"] = fast["id"].clone();
    assert_eq!(fast.to_string(), composed.to_string());
    assert_eq!(fast["choices"][0]["message"]["content"], DEFAULT_CONTENT);
    let stats = mock.stats();
    assert_eq!((stats.calls, stats.completed, stats.in_flight), (2, 2, 0));
    assert_eq!((stats.input_tokens, stats.output_tokens), (2 * INPUT, 2 * OUTPUT));
    assert_eq!(stats.bill_nanos, 2 * (INPUT * 1000 + OUTPUT * 2000));
    assert_eq!(stats.by_model["m"].bill_nanos, stats.bill_nanos);
}

#[tokio::test]
async fn openai_stream_sends_role_text_finish_usage_and_end() {
    let mock = MockUpstream::start().await;
    let mut body = chat("m", true);
    let plain = text(&mock, "/v1/chat/completions", &body).await;
    assert_eq!(openai_text(&plain), DEFAULT_CONTENT);
    assert!(plain.ends_with("data: [DONE]\n\n"));
    assert!(events(&plain).iter().all(|event| event.get("usage").is_none()));
    body["stream_options"] = json!({"include_usage": true});
    let all = events(&text(&mock, "/v1/chat/completions", &body).await);
    assert_eq!(all[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(all[all.len() - 2]["choices"][0]["finish_reason"], "stop");
    let last = &all[all.len() - 1];
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], INPUT + OUTPUT);
    assert_eq!(mock.stats().completed, 2);
}

#[tokio::test]
async fn parallel_tool_calls_are_numbered_as_scripted() {
    let mock = MockUpstream::start().await;
    let script = |index| {
        Behaviour::new().tool_call("first", json!({"a": 1})).tool_call("second", json!({"b": 2})).tool_index(index)
    };
    for (index, expected) in [
        (ToolIndex::Normal, "0 0 0 1 1 1"),
        (ToolIndex::Omit, "- - - - - -"),
        (ToolIndex::Repeat, "0 0 0 0 0 0"),
        (ToolIndex::Gap, "0 0 0 2 2 2"),
        (ToolIndex::Interleaved, "0 1 0 1 0 1"),
    ] {
        mock.script(script(index));
        let stream = openai(&mock, true).await.text().await.unwrap();
        let numbers: Vec<String> = events(&stream)
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0).cloned())
            .map(|call| call.get("index").map_or("-".to_owned(), ToString::to_string))
            .collect();
        assert_eq!(numbers.join(" "), expected, "{index:?}");
    }
    mock.script(Behaviour::new().tool_call("f", json!({"a": 1})).empty_arguments());
    let reply: Value = openai(&mock, false).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "");
    assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn anthropic_blocks_open_fill_sign_and_close_in_order() {
    let mock = MockUpstream::start().await;
    let usage = Usage { input_tokens: 100, cached_tokens: 60, cache_write_tokens: 30, ..Usage::default() };
    mock.script(
        Behaviour::text("Hi")
            .thinking("Let me see", "c2ln")
            .redacted_thinking("cmVk")
            .tool_call("f", json!({"a": 1}))
            .usage(Usage { output_tokens: 8, ..usage }),
    );
    let body = json!({"model": "c", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}], "stream": true});
    let stream = text(&mock, "/v1/messages", &body).await;
    let names: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let kinds: Vec<Value> = events(&stream).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(names, kinds, "each event's name is its type");
    let all = events(&stream);
    let opened: Vec<&Value> = all.iter().map(|e| &e["content_block"]["type"]).filter(|t| t.is_string()).collect();
    assert_eq!(opened, ["thinking", "redacted_thinking", "text", "tool_use"]);
    assert_eq!((names[0], names[names.len() - 1]), ("message_start", "message_stop"));
    assert_eq!(all[0]["message"]["usage"]["input_tokens"], 10);
    assert_eq!(all[all.len() - 2]["usage"]["output_tokens"], 8);
    assert_eq!(all[all.len() - 2]["delta"]["stop_reason"], "tool_use");

    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let reply: Value = post(&mock, "/v1/messages", &whole).await.json().await.unwrap();
    assert_eq!(reply["content"][0], json!({"type": "thinking", "thinking": "Let me see", "signature": "c2ln"}));
    assert_eq!(reply["content"][3]["input"], json!({"a": 1}));
    assert_eq!(reply["usage"]["cache_read_input_tokens"], 60);
}

#[tokio::test]
async fn gemini_streams_parts_with_signature_and_growing_usage() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::text("one two").thinking("hm", "c2ln").tool_call("f", json!({"a": 1})));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]});
    let all = events(&text(&mock, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", &body).await);
    let parts: Vec<&Value> = all.iter().map(|event| &event["candidates"][0]["content"]["parts"][0]).collect();
    assert_eq!(parts[0], &json!({"text": "hm", "thought": true}));
    assert_eq!(parts[3]["functionCall"], json!({"name": "f", "args": {"a": 1}}));
    assert_eq!(parts[3]["thoughtSignature"], "c2ln");
    assert_eq!(all[3]["candidates"][0]["finishReason"], "STOP");
    let totals: Vec<u64> = all.iter().map(|e| e["usageMetadata"]["totalTokenCount"].as_u64().unwrap()).collect();
    assert!(totals.is_sorted() && totals[0] < totals[3], "{totals:?}");
    let stats = mock.stats();
    assert_eq!(stats.input_tokens + stats.output_tokens, totals[3]);
    assert_eq!(stats.calls_by_dialect["gemini"], 1);
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let reply: Value = post(&mock, path, &body).await.json().await.unwrap();
    assert_eq!(reply["candidates"][0]["content"]["parts"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn embeddings_come_in_both_dialects_and_near_texts_are_near() {
    let mock = MockUpstream::start().await;
    let input = ["a red fox", "the red fox", "tax law"];
    let body = json!({"model": "e", "input": input, "dimensions": 64});
    let reply: Value = post(&mock, "/v1/embeddings", &body).await.json().await.unwrap();
    let vectors: Vec<Vec<f64>> =
        (0..3).map(|n| serde_json::from_value(reply["data"][n]["embedding"].clone()).unwrap()).collect();
    let dot = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum::<f64>();
    assert!(dot(0, 1) > 0.6 && dot(0, 2) < 0.4, "{} {}", dot(0, 1), dot(0, 2));
    assert_eq!(reply["usage"]["prompt_tokens"], 8);
    let body = json!({"model": "e", "input": "x", "encoding_format": "base64"});
    let reply: Value = post(&mock, "/v1/embeddings", &body).await.json().await.unwrap();
    assert_eq!(reply["data"][0]["embedding"].as_str().unwrap().len(), 44, "8 floats");
    let request = json!({"model": "models/g", "content": {"parts": [{"text": "x"}]}});
    let body = json!({"requests": [request, request]});
    let reply: Value = post(&mock, "/v1beta/models/g:batchEmbedContents", &body).await.json().await.unwrap();
    assert_eq!(reply["embeddings"][1]["values"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn lists_of_models_have_the_shape_of_the_client() {
    let mock = MockUpstream::start().await;
    let get = |path: &str| client().get(mock.base_url() + path);
    let openai: Value = get("/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!((&openai["object"], &openai["data"][0]["object"]), (&json!("list"), &json!("model")));
    let request = get("/v1/models").header("anthropic-version", "2023-06-01");
    let anthropic: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&anthropic["has_more"], &anthropic["data"][0]["type"]), (&json!(false), &json!("model")));
    let gemini: Value = get("/v1beta/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(gemini["models"][0]["name"], "models/gemini-2.5-flash");
    assert_eq!(mock.stats().calls, 0);
}

#[tokio::test]
async fn error_answers_have_each_dialects_shape_and_cost_nothing() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::error(429).header("retry-after", "7").error_message("slow down"));
    let reply = openai(&mock, true).await;
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert!(reply.headers().contains_key("x-ratelimit-remaining-requests"));
    let body: Value = reply.json().await.unwrap();
    let expected = json!({"message": "slow down", "type": "requests", "param": null, "code": "rate_limit_exceeded"});
    assert_eq!(body, json!({ "error": expected }));
    let anthropic: Value = post(&mock, "/v1/messages", &chat("c", false)).await.json().await.unwrap();
    assert_eq!(anthropic["error"]["type"], "rate_limit_error");
    let gemini: Value = post(&mock, "/v1beta/models/g:generateContent", &json!({})).await.json().await.unwrap();
    assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    let stats = mock.stats();
    assert_eq!((stats.calls, stats.failed, stats.bill_nanos), (3, 3, 0));
}

#[tokio::test]
async fn client_that_leaves_is_seen_at_once_and_pays_for_what_was_produced() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::text("1 2 3 4").chunks(4).usage(usage(10, 40)).hang_after_chunks(2));
    let mut reply = openai(&mock, true).await;
    let mut seen = String::new();
    while openai_text(&seen).len() < 2 {
        seen.push_str(&String::from_utf8_lossy(&reply.chunk().await.unwrap().unwrap()));
    }
    let left = std::time::Instant::now();
    drop(reply);
    let stats = mock.wait_for(|stats| stats.in_flight == 0).await;
    assert!(left.elapsed() < Duration::from_millis(100), "{:?}", left.elapsed());
    assert_eq!((stats.cancelled, stats.completed), (1, 0));
    assert_eq!((stats.input_tokens, stats.output_tokens), (10, 20));
    assert_eq!(stats.bill_nanos, 10 * 1000 + 20 * 2000);
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

#[tokio::test]
async fn client_that_leaves_before_the_answer_is_seen_and_pays_nothing_or_all() {
    let mock = MockUpstream::start().await;
    let hang = Behaviour::new().hang().usage(usage(5, 7));
    for (script, bill_nanos) in [(hang.clone(), 0), (hang.bill_in_full_on_cancel(), 5 * 1000 + 7 * 2000)] {
        mock.reset();
        mock.script(script);
        let request = client().post(mock.base_url() + "/v1/chat/completions").json(&chat("m", false)).send();
        tokio::select! {
            _ = request => panic!("a hanging call was answered"),
            _ = mock.wait_for(|stats| stats.in_flight == 1) => {}
        }
        let stats = mock.wait_for(|stats| stats.in_flight == 0).await;
        assert_eq!((stats.cancelled, stats.bill_nanos), (1, bill_nanos));
    }
}

#[tokio::test]
async fn cut_stream_breaks_off_and_bills_what_was_sent() {
    let mock = MockUpstream::start().await;
    for (chunks, text, output_tokens) in [(0, "", 0), (1, "a ", 10), (3, "a b c ", 30)] {
        mock.reset();
        mock.script(Behaviour::text("a b c d").usage(usage(10, 40)).cut_after_chunks(chunks));
        let mut reply = openai(&mock, true).await;
        let mut seen = String::new();
        let error = loop {
            match reply.chunk().await {
                Ok(Some(chunk)) => seen.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) => panic!("a cut stream ended cleanly"),
                Err(error) => break error,
            }
        };
        assert!(error.is_body() || error.is_decode(), "{error:?}");
        assert_eq!(openai_text(&seen), text);
        let stats = mock.wait_for(|stats| stats.in_flight == 0).await;
        assert_eq!((stats.failed, stats.output_tokens), (1, output_tokens));
        assert_eq!(stats.input_tokens, if chunks == 0 { 0 } else { 10 });
    }
}

#[tokio::test]
async fn a_failed_answer_can_be_billed_in_full_and_an_error_status_never_is() {
    let mock = MockUpstream::start().await;
    let cut = Behaviour::text("a b c d").usage(usage(10, 40)).bill_in_full_on_failure();
    for (script, stream, bill_nanos) in [
        (cut.clone().cut_after_chunks(0), true, 10 * 1000 + 40 * 2000),
        (cut.clone().cut_after_chunks(0), false, 10 * 1000 + 40 * 2000),
        (cut.status(500), false, 0),
    ] {
        mock.reset();
        mock.script(script);
        // Its body may break off.
        let _cut = openai(&mock, stream).await.bytes().await;
        let stats = mock.wait_for(|stats| stats.in_flight == 0).await;
        assert_eq!((stats.failed, stats.bill_nanos), (1, bill_nanos));
    }
}

#[tokio::test]
async fn malformed_output_is_what_it_says() {
    let mock = MockUpstream::start().await;
    for malformed in [Malformed::BadJson, Malformed::BadUtf8, Malformed::GarbageLine, Malformed::HugeLine] {
        mock.script(Behaviour::new().malformed(malformed));
        let whole = openai(&mock, false).await.bytes().await.unwrap();
        assert!(serde_json::from_slice::<Value>(&whole).is_err(), "{malformed:?}");
        let stream = openai(&mock, true).await.bytes().await.unwrap();
        assert_eq!(std::str::from_utf8(&stream).is_err(), malformed == Malformed::BadUtf8);
        let lines = String::from_utf8_lossy(&stream).into_owned();
        assert_eq!(lines.lines().any(|line| line.len() >= 10 * 1024 * 1024), malformed == Malformed::HugeLine);
        assert!(openai_text(&lines).ends_with("sentence."), "the stream goes on after {malformed:?}");
    }
}

#[tokio::test]
async fn error_inside_a_stream_comes_in_the_scripted_shape() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::text("a b").error_inside_200(0, ErrorShape::Vllm));
    let stream = openai(&mock, true).await.text().await.unwrap();
    assert_eq!(events(&stream)[0]["error"]["object"], "error");
    assert!(stream.ends_with("data: [DONE]\n\n"));
    assert_eq!((mock.stats().failed, mock.stats().bill_nanos), (1, 0));
    mock.script(Behaviour::text("a b").usage(usage(1, 2)).error_inside_200(1, ErrorShape::Native));
    let stream = text(&mock, "/v1/messages", &chat("c", true)).await;
    let last = events(&stream).pop().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    assert!(stream.contains("event: error\n"));
    assert_eq!(mock.stats().output_tokens, 1);
}

#[tokio::test]
async fn every_framing_carries_the_same_text() {
    let mock = MockUpstream::start().await;
    let framings = [
        Framing { crlf: true, ..Framing::default() },
        Framing { no_space: true, ..Framing::default() },
        Framing { multi_line_data: true, ..Framing::default() },
        Framing { comments: true, ..Framing::default() },
        Framing { split_bytes: Some(7), ..Framing::default() },
        Framing { crlf: true, no_space: true, multi_line_data: true, comments: true, split_bytes: Some(3) },
    ];
    for framing in framings {
        mock.script(Behaviour::new().framing(framing));
        let stream = openai(&mock, true).await.text().await.unwrap();
        assert_eq!(openai_text(&stream), DEFAULT_CONTENT, "{framing:?}");
    }
}

#[tokio::test]
async fn gzipped_answers_are_gzipped_and_false_ones_are_not() {
    let mock = MockUpstream::start().await;
    let unzip = |bytes: &[u8]| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text).map(|_| text)
    };
    for stream in [false, true] {
        mock.script(Behaviour::new().stale_headers(StaleHeaders::Gzip));
        let reply = openai(&mock, stream).await;
        assert_eq!(reply.headers()["content-encoding"], "gzip");
        assert!(unzip(&reply.bytes().await.unwrap()).unwrap().contains("assistant"));
        mock.script(Behaviour::new().stale_headers(StaleHeaders::FalseGzip));
        let reply = openai(&mock, stream).await;
        assert_eq!(reply.headers()["content-encoding"], "gzip");
        assert!(unzip(&reply.bytes().await.unwrap()).is_err());
    }
}

#[tokio::test]
async fn dripping_body_arrives_byte_by_byte_and_whole() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::new().raw_body("{\"a\":1}").slow_drip_ms(1));
    let mut reply = openai(&mock, false).await;
    let mut pieces = Vec::new();
    while let Some(piece) = reply.chunk().await.unwrap() {
        pieces.push(piece);
    }
    assert_eq!(pieces.concat(), b"{\"a\":1}");
    assert!(pieces.len() > 1);
    mock.wait_for(|stats| stats.completed == 1).await;
}

#[tokio::test]
async fn structured_output_and_forced_tools_follow_the_schema() {
    let mock = MockUpstream::start().await;
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {"$ref": "#/$defs/age"}}},
        "$defs": {"age": {"type": "integer"}},
    });
    let expected = json!({"name": "text", "ages": [1]});
    let mut body = chat("m", false);
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "p", "schema": schema}});
    let reply: Value = post(&mock, "/v1/chat/completions", &body).await.json().await.unwrap();
    let content = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(content).unwrap(), expected);
    let mut body = chat("c", false);
    body["tools"] = json!([{"name": "save", "input_schema": schema}]);
    body["tool_choice"] = json!({"type": "tool", "name": "save"});
    let reply: Value = post(&mock, "/v1/messages", &body).await.json().await.unwrap();
    assert_eq!((&reply["content"][0]["name"], &reply["content"][0]["input"]), (&json!("save"), &expected));
}

#[tokio::test]
async fn max_tokens_shortens_the_answer_and_its_bill() {
    let mock = MockUpstream::start().await;
    let mut body = chat("m", false);
    body["max_tokens"] = json!(3);
    let reply: Value = post(&mock, "/v1/chat/completions", &body).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["content"], "The mock upstream");
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(mock.stats().output_tokens, 3);
}

#[tokio::test]
async fn narrower_scripts_win_and_single_ones_are_used_up() {
    let mock = MockUpstream::start().await;
    mock.script(Behaviour::text("all"));
    mock.script_model("m", Behaviour::text("model"));
    mock.script_once(Behaviour::text("once"));
    mock.script_model_once("m", Behaviour::new().echo());
    let ask = async |model: &str| {
        let reply: Value = post(&mock, "/v1/chat/completions", &chat(model, false)).await.json().await.unwrap();
        reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask("m").await, r#"{"role":"user","content":"two words"}"#);
    assert_eq!(ask("other").await, "once");
    assert_eq!(ask("m").await, "model");
    assert_eq!(ask("other").await, "all");
}

#[tokio::test]
async fn other_processes_script_read_and_reset_over_http() {
    let mock = MockUpstream::start().await;
    let script = json!({"model": "m", "once": true, "behaviour": {"content": "scripted", "no_usage": true}});
    assert_eq!(post(&mock, "/script", &script).await.status(), 200);
    let price = json!({"model": "m", "price": Price::flat(7, 11)});
    assert_eq!(post(&mock, "/prices", &price).await.status(), 200);
    let reply: Value = openai(&mock, false).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["content"], "scripted");
    assert!(reply.get("usage").is_none());
    let get = async |path: &str| -> Value {
        client().get(mock.base_url() + path).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(get("/stats").await["by_model"]["m"]["bill_nanos"], INPUT * 7 + 11);
    let requests = get("/requests").await;
    assert_eq!(requests.as_array().unwrap().len(), 1);
    assert_eq!(requests[0]["body"], chat("m", false));
    assert_eq!(requests[0]["headers"]["content-type"], "application/json");
    post(&mock, "/reset", &json!({})).await;
    assert_eq!(get("/stats").await["calls"], 0);
    let typo = post(&mock, "/script", &json!({"behaviour": {"contents": "x"}})).await;
    assert_eq!(typo.status(), 400);
}

#[tokio::test]
async fn stopped_mock_refuses_connections() {
    let mock = MockUpstream::start().await;
    let url = mock.base_url() + "/stats";
    mock.stop().await;
    assert!(client().get(url).send().await.unwrap_err().is_connect());
}
