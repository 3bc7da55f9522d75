//! `/v1/messages` and what belongs to it, not streamed: keys, errors, pass-through, history, models, counts.

use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, PROVIDER_KEY, Stand};

pub(crate) const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

/// A request of one message.
pub(crate) fn say(model: &str, content: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": content}]})
}

pub(crate) fn with_tool(model: &str, content: &str) -> Value {
    let mut body = say(model, content);
    body["tools"] = json!([{"name": "weather", "description": "The weather.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]);
    body
}

impl Stand {
    /// `POST /v1/messages`, as Anthropic's clients do.
    pub(crate) async fn messages(&self, body: &Value) -> Answer {
        Answer::of(self.post("/v1/messages", body.to_string()).header("anthropic-version", "2023-06-01")).await
    }

    async fn count(&self, body: &Value) -> Answer {
        Answer::of(self.post("/v1/messages/count_tokens", body.to_string())).await
    }
}

/// The envelope of an error; panics when the answer is none.
fn error_of(answer: &Answer) -> Value {
    let body = answer.json();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["type", "error", "request_id"], "{answer:?}");
    assert_eq!(
        (&body["type"], body["request_id"].as_str()),
        (&json!("error"), answer.header("request-id")),
        "{answer:?}"
    );
    assert!(body["error"]["message"].is_string() && body["error"]["details"]["error_code"].is_string(), "{answer:?}");
    body["error"].clone()
}

fn kind_of(answer: &Answer) -> (u16, String) {
    (answer.status, error_of(answer)["type"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn wire_01_both_headers_carry_the_key() {
    let stand = Stand::start().await;
    let key = stand.server.key();
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let post = || {
            stand.client.post(format!("{}{path}", stand.server.url())).body(say("claude-sonnet-4-5", "x").to_string())
        };
        for request in [post().header("x-api-key", key), post().bearer_auth(key)] {
            assert_eq!(Answer::of(request).await.status, 200, "{path}");
        }
        assert_eq!(kind_of(&Answer::of(post()).await), (401, "authentication_error".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn wire_02_models_have_the_shape_of_whoever_asks() {
    let stand = Stand::start().await;
    let list =
        async |path: &str| Answer::of(stand.request(Method::GET, path).header("anthropic-version", "2023-06-01")).await;
    let all = list("/v1/models").await.json();
    let ids: Vec<&str> = all["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    let of_openai = stand.get("/v1/models").await.json();
    assert_eq!(of_openai["object"], "list");
    assert_eq!(ids.len(), of_openai["data"].as_array().unwrap().len());
    assert!(ids.contains(&"anthropic/claude-sonnet-4-5") && ids.contains(&"openai/gpt-4o"), "{ids:?}");
    assert_eq!(
        (&all["has_more"], &all["first_id"], &all["last_id"]),
        (&json!(false), &json!(ids[0]), &json!(ids[ids.len() - 1]))
    );
    let model = &all["data"][0];
    assert_eq!(
        (&model["type"], &model["display_name"], &model["created_at"]),
        (&json!("model"), &json!(ids[0]), &json!("1970-01-01T00:00:00Z"))
    );

    // Page by page, as the official clients go through a list.
    let mut seen = Vec::new();
    let mut path = "/v1/models?limit=3".to_owned();
    loop {
        let page = list(&path).await.json();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 3);
        seen.extend(data.iter().map(|model| model["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/models?limit=3&after_id={}", page["last_id"].as_str().unwrap());
    }
    assert_eq!(seen, ids);
    let before = list(&format!("/v1/models?limit=2&before_id={}", ids[3])).await.json();
    assert_eq!((&before["first_id"], &before["has_more"]), (&json!(ids[1]), &json!(true)));

    let one = list("/v1/models/anthropic/claude-sonnet-4-5").await.json();
    assert_eq!((&one["id"], &one["type"]), (&json!("anthropic/claude-sonnet-4-5"), &json!("model")));
    assert_eq!(kind_of(&list("/v1/models/nothing").await), (404, "not_found_error".to_owned()));
    assert_eq!(kind_of(&list("/v1/models?limit=x").await), (400, "invalid_request_error".to_owned()));
    assert!(stand.get("/v1/models/nothing").await.json()["error"]["code"].is_string());
}

#[tokio::test]
async fn wire_03_errors_have_anthropics_envelope_and_every_answer_its_request_id() {
    let stand = Stand::with_config("[server]\nbody_bytes_max = 100000\n").await;
    let wrong = stand
        .messages(&json!({"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "robot", "content": "x"}]}))
        .await;
    assert_eq!(kind_of(&wrong), (400, "invalid_request_error".to_owned()));
    assert_eq!(error_of(&wrong)["details"]["param"], "messages[0].role");
    let missing = stand.messages(&json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!((missing.status, &error_of(&missing)["details"]["param"]), (400, &json!("max_tokens")));
    assert_eq!(kind_of(&stand.messages(&say("nobody/model", "x")).await), (404, "not_found_error".to_owned()));
    let large = stand.messages(&say("gpt-4o", &"x".repeat(200_000))).await;
    assert_eq!(kind_of(&large), (413, "request_too_large".to_owned()));
    assert_eq!(
        kind_of(&Answer::of(stand.request(Method::GET, "/v1/messages")).await),
        (405, "invalid_request_error".to_owned())
    );
    assert_eq!(
        kind_of(&Answer::of(stand.request(Method::GET, "/v1/messages/x")).await),
        (404, "not_found_error".to_owned())
    );
    let good = stand.messages(&say("gpt-4o", "x")).await;
    assert!(good.status == 200 && good.header("request-id") == good.header("x-request-id"), "{good:?}");
    assert_eq!(stand.mock.stats().calls, 1);
}

#[tokio::test]
async fn wire_03_a_providers_failure_has_its_status_and_type() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in MODELS {
        for (status, expected, kind) in [
            (400, 400, "invalid_request_error"),
            (401, 502, "api_error"),
            (404, 404, "not_found_error"),
            (413, 413, "request_too_large"),
            (429, 429, "rate_limit_error"),
            (500, 502, "api_error"),
            (529, 529, "overloaded_error"),
        ] {
            stand.mock.script_once(Behaviour::error(status).error_message("said so"));
            let answer = stand.messages(&say(model, "x")).await;
            assert_eq!(kind_of(&answer), (expected, kind.to_owned()), "{model} {status}");
            assert!(!answer.text().contains(PROVIDER_KEY));
        }
    }
    stand.mock.script_once(Behaviour::error(429).header("retry-after", "27").header("retry-after-ms", "27000"));
    let limited = stand.messages(&say("claude-sonnet-4-5", "x")).await;
    assert_eq!((limited.header("retry-after"), limited.header("retry-after-ms")), (Some("27"), Some("27000")));
}

#[tokio::test]
async fn wire_04_an_exhausted_budget_is_402_and_not_to_be_repeated() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "0.000001/day"]).await;
    for model in ["gpt-4o", "claude-sonnet-4-5"] {
        let request = stand.client.post(format!("{}/v1/messages", stand.server.url())).header("x-api-key", &key.text);
        let refused = Answer::of(request.body(say(model, "x").to_string())).await;
        assert_eq!(kind_of(&refused), (402, "billing_error".to_owned()));
        assert_eq!(
            (refused.header("x-should-retry"), refused.header("x-privet-gate")),
            (Some("false"), Some("budget"))
        );
    }
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn wire_05_and_06_limits_of_the_key_are_told_in_anthropics_headers_too() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--rate", "2/20s", "--token-rate", "100000/1m"]).await;
    let ask = async || {
        let request = stand.client.post(format!("{}/v1/messages", stand.server.url())).header("x-api-key", &key.text);
        Answer::of(request.body(say("claude-sonnet-4-5", "x").to_string())).await
    };
    stand.mock.script(
        Behaviour::new()
            .header("anthropic-ratelimit-requests-limit", "9999")
            .header("anthropic-ratelimit-input-tokens-limit", "9999"),
    );
    let first = ask().await;
    assert_eq!((first.status, first.header("anthropic-ratelimit-requests-limit")), (200, Some("2")), "{first:?}");
    assert_eq!(first.header("anthropic-ratelimit-requests-remaining"), Some("1"));
    assert_eq!(
        (first.header("anthropic-ratelimit-tokens-limit"), first.header("anthropic-ratelimit-input-tokens-limit")),
        (Some("100000"), None)
    );
    assert!(first.header("anthropic-ratelimit-requests-reset").unwrap().ends_with('Z'), "{first:?}");
    ask().await;
    let refused = ask().await;
    assert_eq!(kind_of(&refused), (429, "rate_limit_error".to_owned()));
    assert_eq!(
        (refused.header("x-privet-gate"), refused.header("anthropic-ratelimit-requests-remaining")),
        (Some("rate"), Some("0"))
    );
    // Anthropic's clients do not heed more than a minute.
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds) && refused.header("x-ratelimit-limit-requests") == Some("2"), "{refused:?}");

    stand.mock.script(Behaviour::new().header("anthropic-ratelimit-tokens-remaining", "77"));
    let passed = stand.messages(&say("claude-sonnet-4-5", "x")).await;
    assert_eq!(
        passed.header("anthropic-ratelimit-tokens-remaining"),
        Some("77"),
        "no limit of its own: the provider's is told"
    );
}

#[tokio::test]
async fn wire_07_a_repeated_request_is_answered_as_before() {
    let stand = Stand::start().await;
    for stream in [false, true] {
        let mut body = say("gemini-2.5-flash", "x");
        body["stream"] = stream.into();
        let ask = async |body: &Value| {
            let request = stand.post("/v1/messages", body.to_string()).header("idempotency-key", format!("k-{stream}"));
            Answer::of(request).await
        };
        let (first, again) = (ask(&body).await, ask(&body).await);
        assert_eq!((first.status, &first.body, again.header("idempotency-replayed")), (200, &again.body, Some("true")));
        body["max_tokens"] = 5.into();
        assert_eq!(kind_of(&ask(&body).await), (409, "invalid_request_error".to_owned()));
    }
    assert_eq!(stand.mock.stats().calls, 2);
}

#[tokio::test]
async fn a_model_of_any_provider_answers_with_a_message() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("Hello.").usage(Usage {
            input_tokens: 100,
            cached_tokens: 60,
            output_tokens: 7,
            ..Usage::default()
        }));
        let answer = stand.messages(&say(model, "x")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        let message = answer.json();
        assert_eq!(
            (&message["type"], &message["role"], &message["stop_reason"]),
            (&json!("message"), &json!("assistant"), &json!("end_turn")),
            "{message}"
        );
        assert_eq!(message["content"], json!([{"type": "text", "text": "Hello."}]), "{model}");
        let usage = &message["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["cache_read_input_tokens"], &usage["output_tokens"]),
            (&json!(40), &json!(60), &json!(7)),
            "{model}: wire 22"
        );
        assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: Hello."], "{model}");
    }
}

#[tokio::test]
async fn what_is_of_anthropics_dialect_passes_to_the_byte_both_ways() {
    let stand = Stand::start().await;
    let raw = "{ \"id\":\"msg_1\", \"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[{\"type\":\"text\",\"text\":\"\\u0048i\",\"citations\":null}],\"stop_reason\":\"model_context_window_exceeded\",\"stop_sequence\":null,\"stop_details\":{\"a\":1.0},\"usage\":{\"input_tokens\":3,\"output_tokens\":1,\"iterations\":[]} }\n";
    stand.mock.script_once(Behaviour::new().raw_body(raw));
    let body = "{ \"model\" : \"claude-sonnet-4-5\",\"max_tokens\":5, \"messages\":[ {\"role\":\"user\",\"content\":\"\\u0068i\"} ], \"future\":{\"a\":[1.50]} }";
    let answer = Answer::of(stand.post("/v1/messages", body)).await;
    assert_eq!((answer.status, answer.text()), (200, raw));
    assert_eq!(stand.sent().body, serde_json::from_str::<Value>(body).unwrap());
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: hi", "assistant: Hi"]);
}

#[tokio::test]
async fn wire_25_version_and_betas_go_to_anthropic_and_to_no_other() {
    let stand = Stand::start().await;
    let ask = async |model: &str, path: &str| {
        let request = stand.post(path, say(model, "x").to_string()).header("anthropic-version", "2099-01-01");
        let answer = Answer::of(request.header("anthropic-beta", "a-1,b-2").header("anthropic-beta", "c-3")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stand.sent()
    };
    for (path, forwarded) in [
        ("/v1/messages?beta=true&x=1", "/v1/messages?beta=true"),
        ("/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true"),
        ("/v1/messages", "/v1/messages"),
    ] {
        let sent = ask("claude-sonnet-4-5", path).await;
        assert_eq!(sent.path, forwarded);
        assert_eq!(sent.headers["anthropic-version"], "2099-01-01");
        assert_eq!(sent.headers["anthropic-beta"], "c-3", "the last of several is what is recorded");
        assert_eq!(sent.headers["x-api-key"], PROVIDER_KEY);
    }
    for model in ["gpt-4o", "gemini-2.5-flash"] {
        let sent = ask(model, "/v1/messages?beta=true").await;
        assert!(
            !sent.headers.contains_key("anthropic-beta") && !sent.headers.contains_key("anthropic-version"),
            "{sent:?}"
        );
        assert!(!sent.path.contains("beta=true"));
    }
    // A client that says no version gets the one that is spoken here.
    Answer::of(stand.post("/v1/messages", say("claude-sonnet-4-5", "x").to_string())).await;
    assert_eq!(stand.sent().headers["anthropic-version"], "2023-06-01");
}

#[tokio::test]
async fn wire_26_what_a_model_cannot_do_is_a_400_that_names_the_field_and_never_dropped() {
    let stand = Stand::start().await;
    for model in ["gpt-4o", "gemini-2.5-flash"] {
        let mut body = say(model, "x");
        body["tools"] = json!([{"type": "web_search_20250305", "name": "web_search"}]);
        let answer = stand.messages(&body).await;
        assert_eq!(
            (answer.status, &error_of(&answer)["details"]),
            (400, &json!({"error_code": "unsupported_by_provider", "param": "tools[0].type"}))
        );
    }
    let mut held = say("gpt-4o", "x");
    held["thread"] = json!({"type": "create"});
    let refused = stand.messages(&held).await;
    // By this code the official clients send the whole conversation instead.
    assert_eq!(
        (refused.status, &error_of(&refused)["details"]["error_code"]),
        (400, &json!("thread_unsupported_request"))
    );
    assert_eq!(stand.mock.stats().calls, 0);
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn a_loop_of_tools_goes_round_at_every_provider_and_is_kept_once() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(
            Behaviour::new()
                .tool_call("weather", json!({"city": "Oslo", "days": [1, 2]}))
                .tool_call("weather", json!({})),
        );
        let mut body = with_tool(model, "And in Oslo?");
        let first = stand.messages(&body).await;
        let message = first.json();
        assert_eq!((first.status, &message["stop_reason"]), (200, &json!("tool_use")), "{message}");
        let calls: Vec<&Value> =
            message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").collect();
        assert_eq!(
            (&calls[0]["input"], &calls[1]["input"]),
            (&json!({"city": "Oslo", "days": [1, 2]}), &json!({})),
            "{model}"
        );
        let results = json!([
            {"type": "tool_result", "tool_use_id": calls[0]["id"], "content": [{"type": "text", "text": "17 degrees"}]},
            {"type": "tool_result", "tool_use_id": calls[1]["id"], "content": "no city", "is_error": true},
            {"type": "text", "text": "Well?"},
        ]);
        body["messages"].as_array_mut().unwrap().extend([
            json!({"role": "assistant", "content": message["content"]}),
            json!({"role": "user", "content": results}),
        ]);
        stand.mock.script_once(Behaviour::text("17 degrees it is."));
        let request = stand.post("/v1/messages", body.to_string()).header("x-conversation-id", first.conversation());
        let second = Answer::of(request).await;
        assert_eq!(
            (second.status, &second.json()["content"][0]["text"]),
            (200, &json!("17 degrees it is.")),
            "{second:?}"
        );
        let sent = stand.sent().body.to_string();
        assert!(
            sent.contains("17 degrees") && sent.contains("no city") && sent.matches("And in Oslo?").count() == 1,
            "{model}: {sent}"
        );
        let thread = stand.thread(&first.conversation()).await;
        assert_eq!(thread.len(), 5, "{model}: {thread:?}");
        assert_eq!(
            (thread[0].as_str(), thread[3].as_str(), thread[4].as_str()),
            ("user: And in Oslo?", "user: Well?", "assistant: 17 degrees it is.")
        );
        assert!(thread[2].starts_with("tool: 17 degrees"), "{thread:?}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_with_what_is_new_alone_through_either_surface() {
    let stand = Stand::start().await;
    for model in MODELS {
        let mut body = say(model, "My cat is Filemon.");
        body["system"] = json!([{"type": "text", "text": "Be brief."}]);
        let first = stand.messages(&body).await;
        let id = first.conversation();
        let mut more = say(model, "And my cat?");
        more["metadata"] = json!({"conversation_id": id, "user_id": "ada"});
        let second = stand.messages(&more).await;
        assert_eq!((second.status, second.conversation()), (200, id.clone()), "{second:?}");
        let sent = stand.sent().body.to_string();
        assert!(
            sent.contains("Filemon") && sent.contains("Be brief.") && !sent.contains("conversation_id"),
            "{model}: {sent}"
        );
        let third = stand.chat(json!({"model": "gpt-4o", "metadata": {"conversation_id": id}, "messages": [{"role": "user", "content": "x"}]})).await;
        assert_eq!(third.status, 200, "{third:?}");
        assert_eq!(stand.sent_thread().len(), 6, "{model}: {:?}", stand.sent_thread());
        assert_eq!(stand.thread(&id).await.len(), 7, "{model}");
    }
    let unknown = json!({"metadata": {"conversation_id": "0198c0de-0000-7000-8000-000000000000"}, "model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(kind_of(&stand.messages(&unknown).await), (404, "not_found_error".to_owned()));
    let mut unkept = say("claude-sonnet-4-5", "x");
    unkept["store"] = json!(false);
    let answer = stand.messages(&unkept).await;
    assert_eq!((answer.status, answer.header("x-conversation-id"), stand.sent().body.get("store")), (200, None, None));
}

#[tokio::test]
async fn wire_21_thinking_goes_to_the_client_and_back_to_the_provider_to_the_byte() {
    let stand = Stand::start().await;
    let model = "claude-sonnet-4-5";
    stand.mock.script_once(Behaviour::text("Yes.").thinking("Hm.", "EqQB+/==").redacted_thinking("EmwK=="));
    let mut body = say(model, "Is it?");
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    let first = stand.messages(&body).await;
    let content = first.json()["content"].clone();
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="}));
    assert_eq!(content[1], json!({"type": "redacted_thinking", "data": "EmwK=="}));
    // Sent back whole, and from what is kept.
    let mut whole = body.clone();
    whole["messages"]
        .as_array_mut()
        .unwrap()
        .extend([json!({"role": "assistant", "content": content}), json!({"role": "user", "content": "Sure?"})]);
    stand.messages(&whole).await;
    assert_eq!(stand.sent().body["messages"][1]["content"], content);
    let request =
        stand.post("/v1/messages", say(model, "Sure?").to_string()).header("x-conversation-id", first.conversation());
    assert_eq!(Answer::of(request).await.status, 200);
    assert_eq!(stand.sent().body["messages"][1]["content"], content);
}

#[tokio::test]
async fn wire_21_another_providers_reasoning_is_shown_and_not_sent_to_anthropic() {
    let stand = Stand::start().await;
    stand
        .mock
        .script_once(Behaviour::text("Yes.").thinking("Hm.", "c2ln").tool_call("weather", json!({"city": "Oslo"})));
    let mut body = with_tool("gemini-2.5-flash", "Is it?");
    let content = stand.messages(&body).await.json()["content"].clone();
    let call = content.as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap().clone();
    assert!(content.to_string().contains("gemini:c2ln"), "{content}");
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": content}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "17"}]}),
    ]);
    stand.messages(&body).await;
    let sent = stand.sent().body.to_string();
    assert!(sent.contains("\"thoughtSignature\":\"c2ln\""), "{sent}");
    body["model"] = json!("claude-sonnet-4-5");
    stand.messages(&body).await;
    let sent = stand.sent().body.to_string();
    assert!(!sent.contains("gemini:") && !sent.contains("Hm.") && sent.contains("tool_use"), "{sent}");
}

#[tokio::test]
async fn a_prompt_and_what_is_remembered_lead_the_thread() {
    let stand = Stand::start().await;
    let made = json!({"name": "led", "labels": ["production"], "prompt": [
        {"role": "system", "content": "Answer {{how}}."}, {"role": "user", "content": "What was said before:\n{{context}}"}]});
    let key = stand.create_key(&["--scopes", "prompts"]).await;
    let create = stand.client.post(format!("{}/api/prompts", stand.server.url())).bearer_auth(&key.text);
    let created = Answer::of(create.header("content-type", "application/json").body(made.to_string())).await;
    assert_eq!(created.status, 201, "{created:?}");
    stand.messages(&say("gpt-4o", "The password of the shed is marmalade.")).await;
    for model in MODELS {
        let mut body = say(model, "What is the password of the shed?");
        body["system"] = json!("Own instruction.");
        body["metadata"] = json!({"prompt": {"name": "led", "variables": {"how": "briefly"}}});
        let answer = stand.messages(&body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = stand.sent_chat().body.to_string();
        let at = |text: &str| sent.find(text).unwrap_or_else(|| panic!("{model}: no `{text}` in {sent}"));
        assert!(at("marmalade") < at("What is the password of the shed?"), "{model}: {sent}");
        assert!(at("Answer briefly.") != at("Own instruction.") && !sent.contains("\"prompt\""), "{model}: {sent}");
        let trace = stand.trace(answer.header("x-privet-trace-id").unwrap()).await;
        let generation =
            trace["observations"].as_array().unwrap().iter().find(|one| one["type"] == "GENERATION").unwrap();
        assert_eq!(
            (&generation["promptName"], &generation["promptVersion"]),
            (&json!("led"), &json!(1)),
            "{generation}"
        );
        let kinds = trace["observations"].as_array().unwrap().iter().filter(|one| one["type"] == "RETRIEVER").count();
        assert_eq!(kinds, 1, "{trace}");
    }
}

#[tokio::test]
async fn every_message_leaves_a_trace_with_its_tokens_and_what_it_cost() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("Warsaw.").usage(Usage {
            input_tokens: 10,
            output_tokens: 5,
            ..Usage::default()
        }));
        let mut body = with_tool(model, "What is the capital of Poland?");
        body["temperature"] = json!(0.5);
        body["metadata"] = json!({"user_id": "ada", "trace_name": "capital", "plan": "pro"});
        let answer = stand.messages(&body).await;
        let trace = stand.trace(answer.header("x-privet-trace-id").unwrap()).await;
        assert_eq!(
            (&trace["name"], &trace["userId"], &trace["metadata"]),
            (&json!("capital"), &json!("ada"), &json!({"plan": "pro"})),
            "{trace}"
        );
        let generation = &trace["observations"][0];
        assert_eq!((&generation["type"], &generation["model"]), (&json!("GENERATION"), &json!(model)));
        assert_eq!(generation["modelParameters"], json!({"temperature": 0.5, "max_tokens": 100}), "{generation}");
        assert_eq!((&generation["usage"]["input"], &generation["usage"]["output"]), (&json!(10), &json!(5)));
        assert_eq!(trace["input"]["tools"], body["tools"]);
        assert_eq!((&trace["output"]["role"], &trace["output"]["content"]), (&json!("assistant"), &json!("Warsaw.")));
        assert!(trace["totalCost"].as_f64().unwrap() > 0.0, "{trace}");
    }
}

#[tokio::test]
async fn fields_that_nobody_can_bound_are_refused_under_a_budget_and_pass_without() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "5/day"]).await;
    for (more, param) in [
        (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0]"),
        (json!({"fallbacks": [{"model": "claude-opus-4-1"}]}), "fallbacks"),
        (json!({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}), "mcp_servers"),
        (json!({"speed": "fast"}), "service_tier"),
    ] {
        let mut body = say("claude-sonnet-4-5", "x");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = stand.client.post(format!("{}/v1/messages", stand.server.url())).header("x-api-key", &key.text);
        let refused = Answer::of(request.body(body.to_string())).await;
        assert_eq!((refused.status, &error_of(&refused)["details"]["param"]), (400, &json!(param)), "{refused:?}");
        assert_eq!(stand.messages(&body).await.status, 200, "{body}");
        assert_eq!(stand.sent().body, body);
    }
}

#[tokio::test]
async fn wire_30_the_hold_covers_the_prompt_the_thinking_and_the_cache() {
    let stand = Stand::start().await;
    // 100 tokens of output at 15 $ a million are 0.0015 $.
    let key = stand.create_key(&["--budget", "0.01/day"]).await;
    let ask = async |more: Value| {
        let mut body = say("claude-sonnet-4-5", "x");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = stand.client.post(format!("{}/v1/messages", stand.server.url())).header("x-api-key", &key.text);
        Answer::of(request.body(body.to_string())).await.status
    };
    assert_eq!(ask(json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}})).await, 402, "thought is output");
    assert_eq!(ask(json!({"system": "word ".repeat(2_000)})).await, 402, "instructions are input");
    assert_eq!(
        ask(json!({"tools": [{"name": "f", "description": "word ".repeat(2_000), "input_schema": {}}]})).await,
        402
    );
    let system = "word ".repeat(500);
    assert_eq!(
        ask(json!({"system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}))
            .await,
        402,
        "a write to the cache is dearer"
    );
    assert_eq!(ask(json!({"system": system})).await, 200);
    assert_eq!(stand.mock.stats().calls, 1);
}

#[tokio::test]
async fn wire_25_tokens_are_counted_by_whoever_counts_them() {
    let stand = Stand::with_config("[providers.offline]\nkind = \"offline\"\n").await;
    let mut body = with_tool("claude-sonnet-4-5", "one two three");
    body["system"] = json!("four five");
    let of_anthropic = stand.count(&body).await;
    assert_eq!((of_anthropic.status, stand.sent().path.as_str()), (200, "/v1/messages/count_tokens"));
    assert_eq!(stand.sent().body, body);
    assert!(of_anthropic.json()["input_tokens"].as_u64().unwrap() >= 5, "{of_anthropic:?}");

    body["model"] = json!("gemini-2.5-flash");
    let of_gemini = stand.count(&body).await;
    assert_eq!(
        (of_gemini.status, stand.sent().path.as_str()),
        (200, "/v1beta/models/gemini-2.5-flash:countTokens"),
        "{of_gemini:?}"
    );
    let asked = stand.sent().body["generateContentRequest"].clone();
    assert_eq!((&asked["model"], asked["contents"].is_array()), (&json!("models/gemini-2.5-flash"), true), "{asked}");
    assert!(asked["systemInstruction"].is_object() && asked["tools"].is_array(), "{asked}");
    assert!(of_gemini.json()["input_tokens"].as_u64().unwrap() >= 5, "{of_gemini:?}");

    body["model"] = json!("offline/echo");
    let offline = stand.count(&body).await;
    body["max_tokens"] = json!(5);
    let answered = stand.messages(&body).await.json();
    assert_eq!(offline.json(), json!({"input_tokens": answered["usage"]["input_tokens"]}), "{offline:?}");

    body["model"] = json!("gpt-4o");
    let refused = stand.count(&body).await;
    assert_eq!(
        (refused.status, error_of(&refused)["details"]["error_code"].as_str()),
        (400, Some("unsupported_by_provider"))
    );
    assert!(error_of(&refused)["message"].as_str().unwrap().contains("count of tokens"), "{refused:?}");

    stand.mock.script_once(Behaviour::error(529));
    let key = stand.create_key(&["--models", "openai/*", "--rate", "3/1m"]).await;
    let ask = async |model: &str| {
        let request =
            stand.client.post(format!("{}/v1/messages/count_tokens", stand.server.url())).bearer_auth(&key.text);
        Answer::of(request.body(say(model, "x").to_string())).await
    };
    assert_eq!(kind_of(&ask("claude-sonnet-4-5").await), (403, "permission_error".to_owned()));
    for _ in 0..2 {
        ask("claude-sonnet-4-5").await;
    }
    assert_eq!(kind_of(&ask("claude-sonnet-4-5").await), (429, "rate_limit_error".to_owned()));
    assert_eq!(stand.usage(&key).await["settled_nanos"], json!(0));
    assert_eq!(stand.conversations().await, 1, "only the message is kept");
    assert!(stand.privet(&["kill", "--provider", "anthropic", "--reason", "test"]).await.status.success());
    let stopped = stand.count(&say("claude-sonnet-4-5", "x")).await;
    assert_eq!((stopped.status, stopped.header("x-privet-gate")), (503, Some("switch")), "{stopped:?}");
}
