//! `/v1/messages` streamed: what Anthropic's clients may rely on, from all three kinds of provider.

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT, ErrorShape, Framing, Malformed, ToolIndex, Usage};
use serde_json::{Value, json};

use crate::anthropic::{MODELS, say, with_tool};
use crate::stand::{Answer, CALLED_ONCE, Stand};

fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

/// A stream as the official clients put it together.
#[derive(Debug, Default)]
struct Seen {
    message: Value,
    blocks: Vec<Value>,
    open: Option<usize>,
    is_complete: bool,
    error: Option<Value>,
}

impl Seen {
    /// Fails where a client would.
    fn of(answer: &Answer) -> Self {
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{answer:?}");
        let mut seen = Self::default();
        for event in answer.text().split("\n\n").filter(|event| !event.trim().is_empty() && !event.starts_with(':')) {
            let (line, data) = event.split_once('\n').unwrap_or_else(|| panic!("{event}"));
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(line.strip_prefix("event: "), data["type"].as_str(), "{event}");
            assert!(!seen.is_complete && seen.error.is_none(), "nothing follows the end: {event}");
            seen.event(&data);
        }
        seen
    }

    fn event(&mut self, data: &Value) {
        match data["type"].as_str().unwrap() {
            "ping" => {}
            "error" => self.error = Some(data.clone()),
            "message_start" => {
                assert_eq!(self.message, Value::Null, "one message_start");
                self.message = data["message"].clone();
            }
            "content_block_start" => {
                assert_eq!((self.open, &data["index"]), (None, &json!(self.blocks.len())), "{data}");
                self.open = Some(self.blocks.len());
                self.blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(self.open.map(|open| json!(open)).as_ref(), Some(&data["index"]), "{data}");
                let (delta, block) = (&data["delta"], self.blocks.last_mut().unwrap());
                let (kind, from, into) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", "text", "text"),
                    "thinking_delta" => ("thinking", "thinking", "thinking"),
                    "signature_delta" => ("thinking", "signature", "signature"),
                    "input_json_delta" => ("tool_use", "partial_json", "partial"),
                    other => panic!("{other}"),
                };
                assert_eq!(block["type"], kind, "{data}");
                let text = format!("{}{}", block[into].as_str().unwrap_or_default(), delta[from].as_str().unwrap());
                block[into] = json!(text);
            }
            "content_block_stop" => assert_eq!(self.open.take().map(|open| json!(open)).as_ref(), Some(&data["index"])),
            "message_delta" => {
                assert_eq!(self.open, None, "{data}");
                for (name, value) in
                    data["delta"].as_object().unwrap().iter().chain([(&"usage".to_owned(), &data["usage"])])
                {
                    self.message[name] = value.clone();
                }
            }
            "message_stop" => self.is_complete = true,
            other => panic!("{other}"),
        }
    }

    fn text(&self) -> String {
        self.blocks.iter().filter_map(|block| block["text"].as_str()).collect()
    }

    /// Name and input of each call.
    fn calls(&self) -> Vec<(String, Value)> {
        let calls = self.blocks.iter().filter(|block| block["type"] == "tool_use");
        calls
            .map(|block| {
                let input = block["partial"]
                    .as_str()
                    .map_or(json!({}), |partial| serde_json::from_str(partial).unwrap_or(json!(partial)));
                (block["name"].as_str().unwrap().to_owned(), input)
            })
            .collect()
    }
}

#[tokio::test]
async fn wire_18_and_19_a_stream_of_any_provider_is_a_message() {
    let stand = Stand::start().await;
    for model in MODELS {
        for framing in [
            Framing::default(),
            Framing { crlf: true, no_space: true, comments: true, split_bytes: Some(7), ..Framing::default() },
        ] {
            let usage = Usage { input_tokens: 100, cached_tokens: 60, output_tokens: 7, ..Usage::default() };
            stand.mock.script_once(Behaviour::new().usage(usage).framing(framing).pings(2, 0));
            let answer = stand.messages(&streamed(say(model, "x"))).await;
            let seen = Seen::of(&answer);
            assert!(seen.is_complete && seen.text() == DEFAULT_CONTENT, "{model}: {}", answer.text());
            assert_eq!(seen.message["stop_reason"], "end_turn", "{model}");
            let usage = &seen.message["usage"];
            assert_eq!(
                (&usage["input_tokens"], &usage["cache_read_input_tokens"], &usage["output_tokens"]),
                (&json!(40), &json!(60), &json!(7)),
                "{model}: wire 20 and 22"
            );
            // The end comes when the answer is kept.
            let thread = stand.thread(&answer.conversation()).await;
            assert_eq!(thread, ["user: x".to_owned(), format!("assistant: {DEFAULT_CONTENT}")], "{model}");
        }
    }
}

#[tokio::test]
async fn wire_11_parallel_calls_are_blocks_of_their_own_whatever_the_provider_does() {
    let stand = Stand::start().await;
    for model in MODELS {
        for index in [ToolIndex::Normal, ToolIndex::Omit, ToolIndex::Repeat, ToolIndex::Gap, ToolIndex::Interleaved] {
            let script = Behaviour::new()
                .tool_call_with_id("call_a", "weather", json!({"city": "Oslo"}))
                .tool_call_with_id("call_b", "weather", json!({"city": "Tromsø", "days": [1, 2]}));
            stand.mock.script_once(script.tool_index(index));
            let answer = stand.messages(&streamed(with_tool(model, "x"))).await;
            let seen = Seen::of(&answer);
            let expected = [json!({"city": "Oslo"}), json!({"city": "Tromsø", "days": [1, 2]})]
                .map(|input| ("weather".to_owned(), input));
            assert_eq!(seen.calls(), expected, "{model} {index:?}: {}", answer.text());
            assert_eq!(seen.message["stop_reason"], "tool_use", "{model}");
        }
    }
}

#[tokio::test]
async fn wire_12_and_13_arguments_that_are_missing_or_cut() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::new().tool_call("weather", json!({})).empty_arguments());
        let seen = Seen::of(&stand.messages(&streamed(with_tool(model, "x"))).await);
        assert_eq!(seen.calls(), [("weather".to_owned(), json!({}))], "{model}");
    }
    for (model, word) in [("gpt-4o", "length"), ("claude-sonnet-4-5", "max_tokens")] {
        stand.mock.script_once(Behaviour::new().tool_call("weather", json!("{\"a\": \"unfini")).finish_reason(word));
        let seen = Seen::of(&stand.messages(&streamed(with_tool(model, "x"))).await);
        assert_eq!(
            (seen.calls()[0].1.as_str(), seen.message["stop_reason"].as_str()),
            (Some("{\"a\": \"unfini"), Some("max_tokens")),
            "{model}"
        );
    }
}

#[tokio::test]
async fn wire_14_a_failure_before_there_is_content_is_a_real_status() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in MODELS {
        for (behaviour, status, kind) in [
            (Behaviour::error(500), 502, "api_error"),
            (Behaviour::error(429), 429, "rate_limit_error"),
            (Behaviour::error(529), 529, "overloaded_error"),
            (Behaviour::new().cut_after_chunks(0), 502, "api_error"),
            (Behaviour::new().error_inside_200(0, ErrorShape::Native), 0, ""),
        ] {
            stand.mock.script_once(behaviour.clone());
            let answer = stand.messages(&streamed(say(model, "x"))).await;
            let error = answer.json()["error"].clone();
            if status == 0 {
                assert!(answer.status >= 500, "{model}: {answer:?}");
                continue;
            }
            assert_eq!((answer.status, &error["type"]), (status, &json!(kind)), "{model} {behaviour:?}");
        }
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn wire_14_a_cut_or_an_error_later_is_an_error_event_and_no_clean_end() {
    let stand = Stand::start().await;
    for model in MODELS {
        for (behaviour, code) in [
            (Behaviour::text("one two three four").cut_after_chunks(2), "upstream_cut"),
            (Behaviour::text("one two three four").error_inside_200(2, ErrorShape::Native), "upstream_error"),
        ] {
            stand.mock.script_once(behaviour);
            let answer = stand.messages(&streamed(say(model, "x"))).await;
            let seen = Seen::of(&answer);
            let error = seen.error.as_ref().unwrap_or_else(|| panic!("{model}: {}", answer.text()));
            assert_eq!(
                (&error["error"]["type"], &error["error"]["details"]["error_code"]),
                (&json!("api_error"), &json!(code)),
                "{model}"
            );
            assert_eq!(error["request_id"].as_str(), answer.header("request-id"));
            assert!(!seen.is_complete && seen.message["stop_reason"].is_null(), "{model}");
            let thread = stand.thread(&answer.conversation()).await;
            assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
        }
    }
}

#[tokio::test]
async fn wire_16_a_bad_line_does_not_kill_a_stream() {
    let stand = Stand::start().await;
    for model in MODELS {
        for malformed in [Malformed::BadJson, Malformed::BadUtf8, Malformed::GarbageLine] {
            stand.mock.script_once(Behaviour::new().malformed(malformed));
            let answer = stand.messages(&streamed(say(model, "x"))).await;
            let seen = Seen::of(&answer);
            assert!(seen.is_complete && seen.text() == DEFAULT_CONTENT, "{model} {malformed:?}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn wire_19_and_21_thinking_is_a_block_of_its_own_with_its_signature() {
    let stand = Stand::start().await;
    let model = "claude-sonnet-4-5";
    stand.mock.script_once(Behaviour::text("Yes.").thinking("Hm, well.", "EqQB+/==").redacted_thinking("EmwK=="));
    let mut body = streamed(say(model, "Is it?"));
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    let first = stand.messages(&body).await;
    let seen = Seen::of(&first);
    let thought = json!({"type": "thinking", "thinking": "Hm, well.", "signature": "EqQB+/=="});
    assert_eq!((&seen.blocks[0], &seen.blocks[1]), (&thought, &json!({"type": "redacted_thinking", "data": "EmwK=="})));
    let request =
        stand.post("/v1/messages", say(model, "Sure?").to_string()).header("x-conversation-id", first.conversation());
    assert_eq!(Answer::of(request).await.status, 200);
    assert_eq!(stand.sent().body["messages"][1]["content"][0], thought, "and goes back from what is kept");
}

#[tokio::test]
async fn wire_24_every_reason_to_stop_arrives() {
    let stand = Stand::start().await;
    for word in [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ] {
        stand.mock.script_once(Behaviour::new().finish_reason(word));
        let seen = Seen::of(&stand.messages(&streamed(say("claude-sonnet-4-5", "x"))).await);
        assert_eq!((seen.message["stop_reason"].as_str(), seen.is_complete), (Some(word), true));
    }
    for (model, behaviour, word) in [
        ("gpt-4o", Behaviour::new().finish_reason("length"), "max_tokens"),
        ("gpt-4o", Behaviour::new().finish_reason("content_filter"), "refusal"),
        ("gpt-4o", Behaviour::new().refusal("No."), "refusal"),
        ("gemini-2.5-flash", Behaviour::new().finish_reason("MAX_TOKENS"), "max_tokens"),
        ("gemini-2.5-flash", Behaviour::new().finish_reason("SAFETY"), "refusal"),
    ] {
        stand.mock.script_once(behaviour);
        let seen = Seen::of(&stand.messages(&streamed(say(model, "x"))).await);
        assert_eq!(seen.message["stop_reason"], word, "{model}");
    }
}

/// What Claude Code sends, in its shape: instructions in blocks, caches, many tools, thinking, betas.
fn claude_code(model: &str) -> Value {
    let tools: Vec<Value> = (0..40)
        .map(|index| {
            json!({"name": format!("Tool{index}"), "description": "Does a thing. ".repeat(40),
                "input_schema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {
                    "path": {"type": "string", "description": "A path"}, "edits": {"type": "array", "items": {"type": "object", "properties": {"old": {"type": "string"}}}}},
                    "required": ["path"], "additionalProperties": false}})
        })
        .collect();
    let cached = json!({"type": "ephemeral"});
    json!({
        "model": model, "max_tokens": 32_000, "stream": true, "temperature": 1,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": cached},
            {"type": "text", "text": "# Environment\n".repeat(200), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>\nBe careful.\n</system-reminder>"}, {"type": "text", "text": "Fix it."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "I look.", "signature": "EqQB+/=="},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "toolu_01", "name": "Tool1", "input": {"path": "a.rs", "edits": []}},
                {"type": "tool_use", "id": "toolu_02", "name": "Tool2", "input": {"path": "b.png"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "fn main() {}"},
                {"type": "tool_result", "tool_use_id": "toolu_02", "is_error": true, "content": [{"type": "text", "text": "<error>"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}], "cache_control": cached}]},
        ],
        "tools": tools,
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "user_abc_account__session_0198c0de-0000-7000-8000-000000000000"},
    })
}

#[tokio::test]
async fn claude_codes_traffic_goes_to_any_provider() {
    let stand = Stand::start().await;
    for model in ["claude-sonnet-4-5", "gpt-5.2", "gemini-2.5-flash"] {
        let body = claude_code(model);
        stand
            .mock
            .script_once(Behaviour::text("Done.").tool_call("Tool3", json!({"path": "c", "edits": [{"old": "é"}]})));
        let request = stand.post("/v1/messages?beta=true", body.to_string()).header("anthropic-version", "2023-06-01");
        let betas = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05";
        let request =
            request.header("anthropic-beta", betas).header("x-app", "cli").header("user-agent", "claude-cli/2.1");
        let answer = Answer::of(request).await;
        let seen = Seen::of(&answer);
        assert!(seen.is_complete && seen.text() == "Done.", "{model}: {}", answer.text());
        assert_eq!(seen.calls(), [("Tool3".to_owned(), json!({"path": "c", "edits": [{"old": "é"}]}))], "{model}");
        let sent = stand.sent();
        if model == "claude-sonnet-4-5" {
            assert_eq!((sent.body, sent.headers["anthropic-beta"].as_str()), (body, betas), "untouched");
        } else {
            let sent = sent.body.to_string();
            for needle in ["You are Claude Code.", "Be careful.", "fn main() {}", "Tool39", "iVBORw0KGgo="] {
                assert!(sent.contains(needle), "{model}: {needle}");
            }
            assert!(!sent.contains("cache_control") && !sent.contains("I look."), "{model}");
        }
    }
}

#[tokio::test]
async fn wire_32_a_client_that_leaves_cancels_the_call_and_the_part_is_kept() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("one two three four").hang_after_chunks(2));
        let request = stand.post("/v1/messages", streamed(say(model, "x")).to_string());
        let mut response = request.send().await.unwrap();
        let conversation = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
        let mut read = String::new();
        while !read.contains("two") {
            read += std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
        }
        let cancelled = stand.mock.stats().cancelled;
        drop(response);
        stand.mock.wait_for(|stats| stats.cancelled > cancelled).await;
        for _ in 0..100 {
            if stand.thread(&conversation).await.len() == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let thread = stand.thread(&conversation).await;
        assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
    }
}
