//! `/v1` of OpenAI's surface, not streamed: keys, errors, pass-through, history, models, embeddings.

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT, ErrorShape, Malformed, StaleHeaders};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::stand::{Answer, CALLED_ONCE, PROVIDER_KEY, Stand, ask, builder, client};

/// The envelope of an error; panics when the answer is none.
fn error_of(answer: &Answer) -> Value {
    let body = answer.json();
    let error = &body["error"];
    let fields: Vec<&String> = error.as_object().unwrap_or_else(|| panic!("{answer:?}")).keys().collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{answer:?}");
    assert_eq!(body.as_object().unwrap().len(), 1);
    assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string(), "{answer:?}");
    error.clone()
}

#[tokio::test]
async fn wire_01_both_headers_carry_the_key_on_every_surface() {
    let stand = Stand::start().await;
    let key = stand.server.key();
    for path in ["/v1/models", "/api/conversations"] {
        let get = || stand.client.get(format!("{}{path}", stand.server.url()));
        for request in [
            get().bearer_auth(key),
            get().header("authorization", format!("bearer {key}")),
            get().header("x-api-key", key),
            get().header("authorization", "Basic eDp5").header("x-api-key", key),
        ] {
            assert_eq!(Answer::of(request).await.status, 200, "{path}");
        }
        assert_eq!(Answer::of(get()).await.status, 401, "{path}");
    }
    for (path, body) in [
        ("/v1/chat/completions", ask("gpt-4o", "x")),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "x"})),
        ("/api/chat", ask("gpt-4o", "x")),
    ] {
        let url = format!("{}{path}", stand.server.url());
        let answer = Answer::of(stand.client.post(url).header("x-api-key", key).body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn wire_03_errors_have_openais_envelope_and_every_answer_its_request_id() {
    let stand = Stand::start().await;
    let refused = Answer::of(stand.client.get(format!("{}/v1/models", stand.server.url()))).await;
    assert_eq!((refused.status, error_of(&refused)["type"].as_str()), (401, Some("authentication_error")));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let wrong = stand.chat(json!({"messages": []})).await;
    assert_eq!((wrong.status, error_of(&wrong)["param"].as_str()), (400, Some("messages")));
    let good = stand.chat(ask("gpt-4o", "x")).await;
    let ids: Vec<_> = [&refused, &wrong, &good].map(|answer| answer.header("x-request-id").unwrap()).into();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[tokio::test]
async fn wire_05_06_a_providers_wish_for_a_pause_reaches_the_client() {
    let stand = Stand::start().await;
    let pause = Behaviour::error(429)
        .header("retry-after", "7")
        .header("retry-after-ms", "6543")
        .header("x-should-retry", "true")
        .error_message("slow down");
    stand.mock.script(pause);
    for stream in [false, true] {
        let mut body = ask("gpt-4o", "x");
        body["stream"] = json!(stream);
        let answer = stand.chat(body).await;
        assert_eq!(answer.status, 429);
        let passed = ["retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-remaining-requests"];
        let passed = passed.map(|name| answer.header(name).unwrap_or("missing"));
        assert_eq!(passed, ["7", "6543", "true", "9999"]);
        let error = error_of(&answer);
        assert_eq!(
            (error["message"].as_str(), error["code"].as_str()),
            (Some("slow down"), Some("rate_limit_exceeded"))
        );
    }
}

#[tokio::test]
async fn wire_06_rate_limits_go_out_on_success_but_no_order_to_retry() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().header("retry-after", "7"));
    let answer = stand.chat(ask("gpt-4o", "x")).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-tokens")), (200, Some("2000000")));
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn wire_08_headers_that_describe_the_providers_bytes_are_not_passed_on() {
    let stand = Stand::start().await;
    for stream in [false, true] {
        stand.mock.script_once(Behaviour::new().stale_headers(StaleHeaders::Gzip));
        let mut body = ask("gpt-4o", "x");
        body["stream"] = json!(stream);
        let answer = stand.chat(body).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None));
        assert!(answer.header("openai-version").is_none());
        let text =
            if stream { answer.streamed_text() } else { answer.json()["choices"][0]["message"]["content"].to_string() };
        assert!(text.contains(DEFAULT_CONTENT), "{answer:?}");
    }
}

#[tokio::test]
async fn wire_08_malformed_output_of_the_provider_is_502() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
        for behaviour in [
            Behaviour::new().malformed(Malformed::BadJson),
            Behaviour::new().malformed(Malformed::BadUtf8),
            Behaviour::new().malformed(Malformed::GarbageLine),
            Behaviour::new().raw_body("{}"),
            Behaviour::new().raw_body("[]"),
            Behaviour::new().raw_body(""),
            Behaviour::new().raw_body("null"),
            Behaviour::new().stale_headers(StaleHeaders::FalseGzip),
            Behaviour::new().cut_after_chunks(0),
        ] {
            stand.mock.script_once(behaviour.clone());
            let answer = stand.chat(ask(model, "x")).await;
            assert_eq!(answer.status, 502, "{model} {behaviour:?}: {answer:?}");
            error_of(&answer);
        }
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn wire_15_an_error_inside_a_200_is_the_error_that_it_is() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for (model, shape, expected) in [
        ("gpt-4o", ErrorShape::Native, 502),
        ("gpt-4o", ErrorShape::Vllm, 502),
        ("gpt-4o", ErrorShape::Flat, 502),
        ("claude-sonnet-4-5", ErrorShape::Native, 503),
        ("gemini-2.5-flash", ErrorShape::Native, 503),
    ] {
        stand.mock.script_once(Behaviour::new().error_inside_200(0, shape));
        let answer = stand.chat(ask(model, "x")).await;
        assert_eq!(answer.status, expected, "{model} {shape:?}: {answer:?}");
        assert!(error_of(&answer)["message"].as_str().unwrap().contains("the mock fails inside a 200"), "{answer:?}");
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn the_providers_refusal_is_told_in_its_own_words_with_its_status() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for (model, status) in [("gpt-4o", 400), ("claude-sonnet-4-5", 413), ("gemini-2.5-flash", 422), ("gpt-4o", 404)] {
        stand.mock.script_once(Behaviour::error(status).error_message("your image is too blue"));
        let answer = stand.chat(ask(model, "x")).await;
        assert_eq!(answer.status, status, "{model}");
        assert_eq!(error_of(&answer)["message"], "your image is too blue", "{model}");
    }
    for (status, expected) in [(500, 502), (502, 502), (503, 503), (529, 503), (504, 504)] {
        stand.mock.script_once(Behaviour::error(status));
        assert_eq!(stand.chat(ask("gpt-4o", "x")).await.status, expected);
    }
}

/// What a raw upstream read: the body of the request, to the byte.
async fn one_exchange(listener: TcpListener, answer: &'static str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        let count = stream.read(&mut piece).await.unwrap();
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
                return body.to_owned();
            }
        }
        assert!(count > 0, "the request was cut");
    }
}

#[tokio::test]
async fn wire_27_request_and_answer_pass_to_the_byte() {
    const ANSWER: &str = "{\"id\":\"x\", \"created\":1e3,\"future\":{\"a\":1.50,\"a2\":[ ]},\"choices\":[{\"index\":0,\"message\":\
        {\"role\":\"assistant\",\"content\":\"\\u0041\\/\",\"audio\":null},\"logprobs\":{\"content\":[{\"token\":\"A\",\
        \"logprob\":-0.10}]},\"finish_reason\":\"stop\"}]}\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let mock = privet_testkit::upstream::MockUpstream::start().await;
    let server = builder(&mock).env("OPENAI_BASE_URL", url).start().await;
    let upstream = tokio::spawn(one_exchange(listener, ANSWER));
    let body = "{ \"model\" : \"gpt-4o\",\"temperature\":1.0,\"top_p\":1E0,\"seed\":12345678901234567890123,\n\"messages\":\
        [ {\"content\":\"caf\\u00e9 \\/ \u{1f600}\",\"role\":\"user\",\"unknown\":null} ],\"n\":2,\"logprobs\":true,\"top_logprobs\":2,\
        \"future_field\":{\"b\":0.10,\"a\":-0},\"logit_bias\":{\"50256\":-1e2},\"metadata\":{\"k\":\"v\"},\"max_tokens\":5 }";
    let answer =
        Answer::of(client().post(format!("{}/v1/chat/completions", server.url())).bearer_auth(server.key()).body(body))
            .await;
    assert_eq!(answer.text(), ANSWER);
    assert_eq!(upstream.await.unwrap(), body);
}

#[tokio::test]
async fn wire_27_the_output_limit_goes_by_the_name_that_the_model_wants() {
    let stand = Stand::start().await;
    for (model, given, expected) in [
        ("gpt-5-mini", "max_tokens", "max_completion_tokens"),
        ("o3", "max_tokens", "max_completion_tokens"),
        ("o3", "max_completion_tokens", "max_completion_tokens"),
        ("gpt-4o", "max_tokens", "max_tokens"),
        ("claude-sonnet-4-5", "max_completion_tokens", "max_tokens"),
    ] {
        let mut body = ask(model, "x");
        body[given] = json!(50);
        assert_eq!(stand.chat(body).await.status, 200, "{model}");
        let sent = stand.sent().body;
        let named: Vec<&str> =
            sent.as_object().unwrap().keys().map(String::as_str).filter(|key| key.starts_with("max_")).collect();
        assert_eq!((named, &sent[expected]), (vec![expected], &json!(50)), "{model} {given}");
    }
    let mut body = ask("gemini-2.5-flash", "x");
    body["max_completion_tokens"] = json!(50);
    assert_eq!(stand.chat(body).await.status, 200);
    assert_eq!(stand.sent().body["generationConfig"]["maxOutputTokens"], 50);
}

#[tokio::test]
async fn each_provider_is_asked_at_its_own_path_with_its_own_key() {
    let stand = Stand::start().await;
    for (model, path, header, value) in [
        ("gpt-4o", "/v1/chat/completions", "authorization", format!("Bearer {PROVIDER_KEY}")),
        ("claude-sonnet-4-5", "/v1/messages", "x-api-key", PROVIDER_KEY.to_owned()),
        (
            "gemini-2.5-flash",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "x-goog-api-key",
            PROVIDER_KEY.to_owned(),
        ),
    ] {
        let answer = stand.chat(ask(model, "x")).await;
        assert_eq!(answer.json()["choices"][0]["message"]["content"], DEFAULT_CONTENT, "{answer:?}");
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
        let sent = stand.sent();
        assert_eq!((sent.path.as_str(), sent.headers.get(header)), (path, Some(&value)));
        let own_key = stand.server.key();
        assert!(sent.headers.values().all(|value| !value.contains(own_key)), "the client's key stays here");
    }
}

#[tokio::test]
async fn wire_12_a_call_without_arguments_has_an_empty_object() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().tool_call("now", json!({})).empty_arguments());
    for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
        let mut body = ask(model, "x");
        body["tools"] = json!([{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]);
        let answer = stand.chat(body).await.json();
        let call = &answer["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(
            (&call["function"]["arguments"], &call["type"]),
            (&json!("{}"), &json!("function")),
            "{model} {answer}"
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{model}");
        assert!(!call["id"].as_str().unwrap().is_empty(), "{model}");
    }
}

#[tokio::test]
async fn a_tools_result_goes_back_with_the_conversation_by_every_provider() {
    let stand = Stand::start().await;
    for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
        stand.mock.script_once(Behaviour::new().tool_call("add", json!({"a": 1})));
        let mut body = ask(model, "add");
        body["tools"] = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
        let first = stand.chat(body.clone()).await;
        let id = first.json()["choices"][0]["message"]["tool_calls"][0]["id"].as_str().unwrap().to_owned();
        body["messages"] = json!([{"role": "tool", "tool_call_id": id, "content": "42"}]);
        body["metadata"] = json!({"conversation_id": first.conversation()});
        let second = stand.chat(body).await;
        assert_eq!(second.status, 200, "{model}: {second:?}");
        let sent = stand.sent().body.to_string();
        assert!(sent.contains("42") && sent.contains("add"), "{model}: {sent}");
        assert_eq!(stand.thread(&first.conversation()).await.len(), 4, "{model}");
    }
}

#[tokio::test]
async fn several_answers_all_reach_the_client_and_the_first_goes_on() {
    let stand = Stand::start().await;
    let choice = |index: u32, text: &str| json!({"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice(0, "a"), choice(1, "b")]});
    stand.mock.script(Behaviour::new().raw_body(body.to_string()));
    let mut request = ask("gpt-4o", "x");
    request["n"] = json!(2);
    let answer = stand.chat(request).await;
    assert_eq!(answer.json(), body);
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: a"]);
}

#[tokio::test]
async fn a_conversation_is_named_by_header_or_metadata_and_the_provider_never_hears_of_it() {
    let stand = Stand::start().await;
    let first = stand.chat(ask("gpt-4o", "one")).await;
    let id = first.conversation();
    let by_header = Answer::of(
        stand.post("/v1/chat/completions", ask("gpt-4o", "two").to_string()).header("x-conversation-id", &id),
    )
    .await;
    assert_eq!(by_header.conversation(), id);
    let mut body = ask("gpt-4o", "three");
    body["metadata"] = json!({"conversation_id": id, "team": "a"});
    assert_eq!(stand.chat(body).await.conversation(), id);
    let answered = format!("assistant: {DEFAULT_CONTENT}");
    assert_eq!(stand.sent_thread(), ["user: one", &answered, "user: two", &answered, "user: three"]);
    assert_eq!(stand.sent().body["metadata"], json!({"team": "a"}));
    assert!(!stand.sent().headers.contains_key("x-conversation-id"));
    assert_eq!(stand.thread(&id).await.len(), 6);

    let unknown = "01890000-0000-7000-8000-000000000000";
    let request =
        stand.post("/v1/chat/completions", ask("gpt-4o", "x").to_string()).header("x-conversation-id", unknown);
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, error_of(&answer)["code"].as_str()), (404, Some("conversation_not_found")));
}

#[tokio::test]
async fn what_says_store_false_is_not_kept() {
    let stand = Stand::start().await;
    let mut body = ask("gpt-4o", "secret");
    body["store"] = json!(false);
    let answer = stand.chat(body.clone()).await;
    assert_eq!((answer.status, answer.header("x-conversation-id")), (200, None));
    assert_eq!(stand.conversations().await, 0);
    let id = stand.chat(ask("gpt-4o", "one")).await.conversation();
    body["metadata"] = json!({"conversation_id": id});
    assert_eq!(stand.chat(body).await.status, 200);
    assert_eq!(stand.sent_thread().len(), 3, "a conversation can be read without being added to");
    assert_eq!(stand.thread(&id).await.len(), 2);
}

#[tokio::test]
async fn history_modes_say_what_is_kept() {
    for (mode, plain, lesson) in [("all", 1, 2), ("continued", 0, 1), ("none", 0, 0)] {
        let stand = Stand::with_config(&format!("[history]\nrecord = \"{mode}\"\n")).await;
        assert_eq!(stand.chat(ask("gpt-4o", "x")).await.status, 200);
        assert_eq!(stand.conversations().await, plain, "{mode}");
        let answer = stand.lesson(json!({"messages": [{"role": "user", "content": "x"}]})).await;
        assert_eq!(answer.status, 200);
        assert_eq!(stand.conversations().await, lesson, "{mode}");
        let made = Answer::of(stand.post("/api/conversations", "")).await.json()["id"].as_str().unwrap().to_owned();
        let mut body = ask("gpt-4o", "x");
        body["metadata"] = json!({"conversation_id": made});
        let continued = stand.chat(body).await;
        if mode == "none" {
            assert_eq!((continued.status, error_of(&continued)["code"].as_str()), (400, Some("history_off")));
        } else {
            assert_eq!((continued.status, continued.conversation()), (200, made.clone()));
            assert_eq!(stand.thread(&made).await.len(), 2, "{mode}");
        }
    }
}

#[tokio::test]
async fn models_are_found_by_alias_full_name_and_family() {
    let stand = Stand::with_config("default_model = \"fast\"\n[models]\nfast = \"gemini/gemini-2.5-flash\"\n").await;
    for (name, path, model) in [
        ("fast", "/v1beta/models/gemini-2.5-flash:generateContent", None),
        ("openai/gpt-4o-mini", "/v1/chat/completions", Some("gpt-4o-mini")),
        ("openai/some/nested-name", "/v1/chat/completions", Some("some/nested-name")),
        ("claude-haiku-4-5", "/v1/messages", Some("claude-haiku-4-5")),
    ] {
        assert_eq!(stand.chat(ask(name, "x")).await.status, 200, "{name}");
        let sent = stand.sent();
        assert_eq!((sent.path.as_str(), sent.body["model"].as_str()), (path, model));
    }
    let default = stand.chat(json!({"messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!(default.status, 200);
    assert!(stand.sent().path.contains("gemini-2.5-flash"));

    for name in ["nonsense", "nobody/model", ""] {
        let answer = stand.chat(ask(name, "x")).await;
        let error = error_of(&answer);
        assert_eq!((answer.status, &error["param"], &error["code"]), (404, &json!("model"), &json!("model_not_found")));
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("`{name}`")) && message.contains("openai"), "{message}");
    }
}

#[tokio::test]
async fn the_models_of_all_providers_are_listed_and_each_can_be_read() {
    let stand = Stand::with_config("[models]\nfast = \"gemini/gemini-2.5-flash\"\n").await;
    let list = stand.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    for expected in ["fast", "openai/gpt-4o", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"] {
        assert!(ids.contains(&expected), "{expected} is not in {ids:?}");
    }
    for path in ["fast", "openai%2Fgpt-4o", "openai/gpt-4o"] {
        let model = stand.get(&format!("/v1/models/{path}")).await;
        assert_eq!(model.status, 200, "{path}: {model:?}");
        assert_eq!(model.json()["object"], "model");
    }
    let missing = stand.get("/v1/models/nonsense").await;
    assert_eq!((missing.status, error_of(&missing)["param"].as_str()), (404, Some("model")));
}

#[tokio::test]
async fn a_provider_that_does_not_list_its_models_hides_no_other() {
    let mock = privet_testkit::upstream::MockUpstream::start().await;
    let server = builder(&mock).env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9").start().await;
    let list = Answer::of(client().get(format!("{}/v1/models", server.url())).bearer_auth(server.key())).await;
    assert_eq!(list.status, 200);
    assert!(list.text().contains("openai/gpt-4o") && !list.text().contains("claude"), "{list:?}");
}

#[tokio::test]
async fn embeddings_have_openais_shape_from_every_provider_that_has_them() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in ["text-embedding-3-small", "gemini/gemini-embedding-001"] {
        let answer =
            stand.post("/v1/embeddings", json!({"model": model, "input": ["a", "b"], "dimensions": 4}).to_string());
        let answer = Answer::of(answer).await.json();
        let vectors = answer["data"].as_array().unwrap_or_else(|| panic!("{model}: {answer}"));
        assert_eq!((vectors.len(), &answer["object"]), (2, &json!("list")), "{model}");
        for (index, vector) in vectors.iter().enumerate() {
            assert_eq!((&vector["index"], &vector["object"]), (&json!(index), &json!("embedding")), "{model}");
            assert_eq!(vector["embedding"].as_array().unwrap().len(), 4, "{model}");
        }
        assert!(answer["usage"]["total_tokens"].is_u64(), "{model}: {answer}");
        let packed = json!({"model": model, "input": "a", "dimensions": 4, "encoding_format": "base64"}).to_string();
        let packed = Answer::of(stand.post("/v1/embeddings", packed)).await.json();
        assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), 24, "{model}: 16 bytes in base64");
    }
    let none = json!({"model": "claude-sonnet-4-5", "input": "a"}).to_string();
    let none = Answer::of(stand.post("/v1/embeddings", none)).await;
    assert_eq!((none.status, error_of(&none)["code"].as_str()), (400, Some("unsupported_by_provider")));
    let unknown = Answer::of(stand.post("/v1/embeddings", r#"{"model":"nonsense","input":"a"}"#)).await;
    assert_eq!((unknown.status, error_of(&unknown)["param"].as_str()), (404, Some("model")));
    for behaviour in [Behaviour::error(500), Behaviour::new().raw_body("<html>"), Behaviour::new().cut_after_chunks(0)]
    {
        for model in ["text-embedding-3-small", "gemini/gemini-embedding-001"] {
            stand.mock.script_once(behaviour.clone());
            let failed =
                Answer::of(stand.post("/v1/embeddings", json!({"model": model, "input": "a"}).to_string())).await;
            assert_eq!(failed.status, 502, "{model} {behaviour:?}: {failed:?}");
            error_of(&failed);
        }
    }
}

#[tokio::test]
async fn conversations_are_paged_exported_and_made_with_a_chosen_id() {
    let stand = Stand::start().await;
    for n in 0..5 {
        stand.chat(ask("gpt-4o", &format!("question {n}"))).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/conversations?limit=2".to_owned();
    loop {
        let page = stand.get(&path).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/conversations?limit=2&cursor={cursor}");
    }
    assert_eq!(seen.len(), 5);
    let export = stand.get("/api/conversations/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = export.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), seen, "newest first");
    assert_eq!(lines[0]["messages"][0]["content"], "question 4");

    let chosen = json!({"id": "01890000-0000-7000-8000-000000000001"}).to_string();
    assert_eq!(Answer::of(stand.post("/api/conversations", chosen.clone())).await.status, 201);
    assert_eq!(Answer::of(stand.post("/api/conversations", chosen)).await.status, 409);
    let deleted = stand.request(Method::DELETE, "/api/conversations/01890000-0000-7000-8000-000000000001");
    assert_eq!(Answer::of(deleted).await.status, 204);
}

#[tokio::test]
async fn every_stored_thing_is_invisible_to_another_project() {
    let stand = Stand::start().await;
    let id = stand.chat(ask("gpt-4o", "mine")).await.conversation();
    let message =
        stand.get(&format!("/api/conversations/{id}")).await.json()["messages"][0]["uuid"].as_str().unwrap().to_owned();
    let key = stand.key_of_project("other").await;
    for (method, path) in [
        (Method::GET, format!("/api/conversations/{id}")),
        (Method::DELETE, format!("/api/conversations/{id}")),
        (Method::GET, format!("/api/messages/{message}")),
        (Method::PATCH, format!("/api/messages/{message}")),
        (Method::DELETE, format!("/api/messages/{message}")),
    ] {
        let request = stand.client.request(method.clone(), format!("{}{path}", stand.server.url())).bearer_auth(&key);
        let answer = Answer::of(request.body(r#"{"content":"x"}"#)).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    for path in ["/api/conversations", "/api/conversations/export"] {
        let answer = Answer::of(stand.client.get(format!("{}{path}", stand.server.url())).bearer_auth(&key)).await;
        assert!(!answer.text().contains(&id), "{path}");
    }
    assert_eq!(stand.thread(&id).await.len(), 2);
}
