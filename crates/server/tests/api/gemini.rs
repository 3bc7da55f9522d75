//! `/v1beta/models` and its methods, not streamed: keys, errors, pass-through, history, models, counts.

use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, PROVIDER_KEY, Stand};

pub(crate) const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

/// A request of one content.
pub(crate) fn say(content: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": content}]}], "generationConfig": {"maxOutputTokens": 100}})
}

pub(crate) fn with_tool(content: &str) -> Value {
    let mut body = say(content);
    body["tools"] = json!([{"functionDeclarations": [{"name": "weather", "description": "The weather.",
        "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}]}]);
    body
}

pub(crate) fn text_of(answer: &Value) -> String {
    let parts = answer["candidates"][0]["content"]["parts"].as_array().unwrap_or_else(|| panic!("{answer}"));
    parts.iter().filter(|part| part["thought"] != true).filter_map(|part| part["text"].as_str()).collect()
}

impl Stand {
    /// `POST /v1beta/models/{model}:generateContent`.
    pub(crate) async fn generate(&self, model: &str, body: &Value) -> Answer {
        Answer::of(self.post(&format!("/v1beta/models/{model}:generateContent"), body.to_string())).await
    }

    async fn count_of(&self, model: &str, body: &Value) -> Answer {
        Answer::of(self.post(&format!("/v1beta/models/{model}:countTokens"), body.to_string())).await
    }
}

/// The envelope of an error; panics when the answer is none.
fn error_of(answer: &Answer) -> Value {
    let body = answer.json();
    let fields: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "message", "status", "details"], "{answer:?}");
    assert_eq!(body["error"]["code"], answer.status, "{answer:?}");
    assert_eq!(body["error"]["details"][1]["requestId"].as_str(), answer.header("x-request-id"), "{answer:?}");
    body["error"].clone()
}

fn kind_of(answer: &Answer) -> (u16, String) {
    (answer.status, error_of(answer)["status"].as_str().unwrap().to_owned())
}

/// The stable code and the field.
fn facts_of(answer: &Answer) -> Value {
    error_of(answer)["details"][0]["metadata"].clone()
}

#[tokio::test]
async fn wire_01_a_key_is_taken_from_each_of_its_places() {
    let stand = Stand::start().await;
    let key = stand.server.key();
    for method in ["generateContent", "countTokens"] {
        let url = format!("{}/v1beta/models/gemini-2.5-flash:{method}", stand.server.url());
        let post = |url: &str| stand.client.post(url).body(json!({"contents": say("x")["contents"]}).to_string());
        for request in [
            post(&url).header("x-goog-api-key", key),
            post(&url).header("x-api-key", key),
            post(&url).bearer_auth(key),
            post(&format!("{url}?key={key}")),
            post(&format!("{url}?alt=json&key={key}")),
        ] {
            assert_eq!(Answer::of(request).await.status, 200, "{method}");
        }
        for request in [post(&url), post(&format!("{url}?key=wrong")), post(&url).header("x-goog-api-key", "wrong")] {
            assert_eq!(kind_of(&Answer::of(request).await), (401, "UNAUTHENTICATED".to_owned()), "{method}");
        }
    }
    // A key in a header that is wrong is not mended by one in the query.
    let url = format!("{}/v1beta/models?key={key}", stand.server.url());
    assert_eq!(Answer::of(stand.client.get(&url)).await.status, 200);
    assert_eq!(Answer::of(stand.client.get(&url).bearer_auth("wrong")).await.status, 401);
    let elsewhere = format!("{}/api/conversations?key={key}", stand.server.url());
    assert_eq!(Answer::of(stand.client.get(elsewhere)).await.status, 401, "the query is for clients of Gemini's");
}

#[tokio::test]
async fn fault_28_a_key_in_the_query_is_told_nowhere() {
    let stand = Stand::start().await;
    let key = stand.server.key();
    let ask = async |path: &str, body: &str| {
        Answer::of(stand.client.post(format!("{}{path}?key={key}", stand.server.url())).body(body.to_owned())).await
    };
    let good = ask("/v1beta/models/gemini-2.5-flash:generateContent", &say("x").to_string()).await;
    assert_eq!(good.status, 200);
    for (path, body) in [
        ("/v1beta/models/nobody:generateContent", say("x").to_string()),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "{".to_owned()),
        ("/v1beta/models/gemini-2.5-flash", "{}".to_owned()),
        ("/v1beta/nowhere", "{}".to_owned()),
    ] {
        let refused = ask(path, &body).await;
        assert!((400..500).contains(&refused.status) && !refused.text().contains(key), "{refused:?}");
    }
    let sent = stand.sent();
    assert!(!sent.path.contains(key) && !format!("{:?}", sent.headers).contains(key), "{sent:?}");
    let trace = stand.get(&format!("/api/traces/{}", good.header("x-privet-trace-id").unwrap())).await;
    assert!(trace.status == 200 && !trace.text().contains(key), "{trace:?}");
    assert!(!stand.server.logs().contains(key));
    assert!(!stand.get("/metrics").await.text().contains(key));
}

#[tokio::test]
async fn wire_02_models_have_geminis_shape() {
    let stand = Stand::start().await;
    let all = stand.get("/v1beta/models").await.json();
    let names: Vec<&str> =
        all["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"models/openai/gpt-4o") && names.contains(&"models/gemini/gemini-2.5-flash"), "{names:?}");
    assert_eq!(all.get("nextPageToken"), None);
    assert_eq!(all["models"][0]["supportedGenerationMethods"], json!(["generateContent", "countTokens"]));
    let of_openai = stand.get("/v1/models").await.json();
    assert_eq!(of_openai["data"].as_array().unwrap().len(), names.len());

    // Page by page, as the official clients go through a list.
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = stand.get(&format!("/v1beta/models?pageSize=3&pageToken={token}")).await.json();
        seen.extend(page["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextPageToken"].as_str() else { break };
        token = next.to_owned();
    }
    assert_eq!(seen, names);
    for path in ["/v1beta/models/openai/gpt-4o", "/v1beta/models/openai%2Fgpt-4o"] {
        let one = stand.get(path).await.json();
        assert_eq!(
            (&one["name"], &one["displayName"]),
            (&json!("models/openai/gpt-4o"), &json!("openai/gpt-4o")),
            "{path}"
        );
    }
    assert_eq!(kind_of(&stand.get("/v1beta/models/nothing").await), (404, "NOT_FOUND".to_owned()));
    for wrong in ["pageSize=x", "pageToken=x", "pageToken=9999"] {
        assert_eq!(kind_of(&stand.get(&format!("/v1beta/models?{wrong}")).await), (400, "INVALID_ARGUMENT".to_owned()));
    }
    // Under `/v1`, which is OpenAI's too, its clients are known by the header of their key.
    let ask = async |path: &str| {
        let request = stand.client.get(format!("{}{path}", stand.server.url()));
        Answer::of(request.header("x-goog-api-key", stand.server.key())).await
    };
    assert_eq!(ask("/v1/models").await.json(), all);
    assert_eq!(ask("/v1/models/openai/gpt-4o").await.json()["name"], "models/openai/gpt-4o");
    assert_eq!(kind_of(&ask("/v1/models/nothing").await), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn the_path_names_any_model_and_its_method() {
    let stand = Stand::with_config("[models]\nfast = \"openai/gpt-4o\"\n").await;
    for name in
        ["fast", "gpt-4o", "openai/gpt-4o", "openai%2Fgpt-4o", "openai/org/llama3:8b", "openai/org%2Fllama3%3A8b"]
    {
        for prefix in ["/v1beta", "/v1"] {
            let answer =
                Answer::of(stand.post(&format!("{prefix}/models/{name}:generateContent"), say("x").to_string())).await;
            assert_eq!(answer.status, 200, "{prefix} {name}: {answer:?}");
            let model = &stand.sent().body["model"];
            assert!(*model == "gpt-4o" || *model == "org/llama3:8b", "{name}: {model}");
        }
    }
    for path in [
        "/v1beta/models/gpt-4o",
        "/v1beta/models/gpt-4o:predict",
        "/v1beta/models/:generateContent",
        "/v1/models/gpt-4o:embedContent",
    ] {
        let answer = Answer::of(stand.post(path, say("x").to_string())).await;
        assert_eq!(kind_of(&answer), (404, "NOT_FOUND".to_owned()), "{path}");
        assert!(error_of(&answer)["message"].as_str().unwrap().contains(":generateContent"), "{answer:?}");
    }
}

#[tokio::test]
async fn wire_03_errors_have_googles_envelope() {
    let stand = Stand::with_config("[server]\nbody_bytes_max = 100000\n").await;
    let wrong = stand.generate("gpt-4o", &json!({"contents": [{"role": "robot", "parts": []}]})).await;
    assert_eq!(kind_of(&wrong), (400, "INVALID_ARGUMENT".to_owned()));
    assert_eq!(facts_of(&wrong), json!({"code": "invalid_request", "param": "contents[0].role"}));
    let broken = Answer::of(stand.post("/v1beta/models/gpt-4o:generateContent", "{\"contents\": [")).await;
    assert_eq!(kind_of(&broken), (400, "INVALID_ARGUMENT".to_owned()));
    assert_eq!(kind_of(&stand.generate("nobody/model", &say("x")).await), (404, "NOT_FOUND".to_owned()));
    assert_eq!(
        kind_of(&stand.generate("gpt-4o", &say(&"x".repeat(200_000))).await),
        (413, "INVALID_ARGUMENT".to_owned())
    );
    let put = Answer::of(stand.request(Method::PUT, "/v1beta/models/gpt-4o:generateContent")).await;
    assert_eq!(kind_of(&put), (405, "UNIMPLEMENTED".to_owned()));
    assert_eq!(kind_of(&stand.get("/v1beta/files").await), (404, "NOT_FOUND".to_owned()));
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn wire_03_a_providers_failure_has_its_status() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in MODELS {
        for (status, expected, kind) in [
            (400, 400, "INVALID_ARGUMENT"),
            (401, 502, "UNAVAILABLE"),
            (404, 404, "NOT_FOUND"),
            (429, 429, "RESOURCE_EXHAUSTED"),
            (500, 502, "UNAVAILABLE"),
            (503, 503, "UNAVAILABLE"),
        ] {
            stand.mock.script_once(Behaviour::error(status).error_message("said so"));
            let answer = stand.generate(model, &say("x")).await;
            assert_eq!(kind_of(&answer), (expected, kind.to_owned()), "{model} {status}");
            assert!(!answer.text().contains(PROVIDER_KEY));
        }
    }
    stand.mock.script_once(Behaviour::error(429).header("retry-after", "27"));
    let limited = stand.generate("gemini-2.5-flash", &say("x")).await;
    assert_eq!(limited.header("retry-after"), Some("27"));
    assert_eq!(error_of(&limited)["details"][2]["retryDelay"], "27s");
}

#[tokio::test]
async fn wire_04_an_exhausted_budget_is_402_and_not_to_be_repeated() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "0.000001/day"]).await;
    for model in MODELS {
        let url = format!("{}/v1beta/models/{model}:generateContent", stand.server.url());
        let refused =
            Answer::of(stand.client.post(url).header("x-goog-api-key", &key.text).body(say("x").to_string())).await;
        assert_eq!(kind_of(&refused), (402, "RESOURCE_EXHAUSTED".to_owned()));
        assert_eq!(
            (refused.header("x-should-retry"), refused.header("x-privet-gate")),
            (Some("false"), Some("budget"))
        );
    }
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn wire_30_what_nobody_can_bound_is_refused_under_a_budget_and_the_rest_is_billed_to_the_nano() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "5.00/day"]).await;
    let ask = async |model: &str, body: &Value| {
        let url = format!("{}/v1beta/models/{model}:generateContent", stand.server.url());
        Answer::of(stand.client.post(url).bearer_auth(&key.text).body(body.to_string())).await
    };
    for (field, value) in [("tools", json!([{"googleSearch": {}}])), ("cachedContent", json!("cachedContents/1"))] {
        let mut body = say("x");
        body[field] = value;
        let refused = ask("gemini-2.5-flash", &body).await;
        assert_eq!((refused.status, &facts_of(&refused)["code"]), (400, &json!("field_unbounded")), "{refused:?}");
    }
    assert_eq!(stand.mock.stats().calls, 0);
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("Hello.").usage(Usage {
            input_tokens: 100,
            cached_tokens: 60,
            output_tokens: 57,
            reasoning_tokens: 50,
            ..Usage::default()
        }));
        assert_eq!(ask(model, &say("x")).await.status, 200);
    }
    let bill = i64::try_from(stand.mock.stats().bill_nanos).unwrap();
    assert_eq!((stand.usage(&key).await["settled_nanos"].as_i64(), bill > 0), (Some(bill), true));
}

#[tokio::test]
async fn wire_07_a_repeated_request_is_answered_as_before() {
    let stand = Stand::start().await;
    for (n, method) in ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"].iter().enumerate()
    {
        let mut body = say("x");
        let ask = async |body: &Value| {
            let request = stand.post(&format!("/v1beta/models/gpt-4o:{method}"), body.to_string());
            Answer::of(request.header("idempotency-key", format!("k-{n}"))).await
        };
        let (first, again) = (ask(&body).await, ask(&body).await);
        assert_eq!((first.status, &first.body, again.header("idempotency-replayed")), (200, &again.body, Some("true")));
        assert_eq!(first.header("content-type"), again.header("content-type"));
        body["store"] = json!(false);
        assert_eq!(kind_of(&ask(&body).await), (409, "ABORTED".to_owned()));
    }
    assert_eq!(stand.mock.stats().calls, 3);
    // The other form of the same stream is another request.
    let other = stand.post("/v1beta/models/gpt-4o:streamGenerateContent?alt=sse", say("x").to_string());
    assert_eq!(Answer::of(other.header("idempotency-key", "k-1")).await.status, 409);
}

#[tokio::test]
async fn wire_22_a_model_of_any_provider_answers_with_a_candidate_and_its_tokens() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("Hello.").usage(Usage {
            input_tokens: 100,
            cached_tokens: 60,
            output_tokens: 7,
            ..Usage::default()
        }));
        let answer = stand.generate(model, &say("x")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        let body = answer.json();
        assert_eq!(
            (text_of(&body).as_str(), &body["candidates"][0]["finishReason"]),
            ("Hello.", &json!("STOP")),
            "{model}"
        );
        let usage = &body["usageMetadata"];
        let told = ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "totalTokenCount"];
        assert_eq!(told.map(|name| usage[name].as_u64().unwrap()), [100, 60, 7, 107], "{model}");
        assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: Hello."], "{model}");
    }
}

#[tokio::test]
async fn what_is_of_geminis_dialect_passes_to_the_byte_both_ways() {
    let stand = Stand::start().await;
    let raw = "{ \"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\\u0048i\",\"thoughtSignature\":\"c2ln\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"avgLogprobs\":-1.50}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":1},\"future\":{\"a\":1.0} }\n";
    stand.mock.script_once(Behaviour::new().raw_body(raw));
    let body = "{ \"contents\" : [ {\"parts\":[{\"text\":\"\\u0068i\"}]} ], \"generation_config\":{\"max_output_tokens\":5},\"future\":{\"a\":[1.50]} }";
    let answer = Answer::of(stand.post("/v1beta/models/gemini-2.5-flash:generateContent", body)).await;
    assert_eq!((answer.status, answer.text()), (200, raw));
    let sent = stand.sent();
    assert_eq!(sent.body, serde_json::from_str::<Value>(body).unwrap());
    assert_eq!(
        (sent.path.as_str(), &*sent.headers["x-goog-api-key"]),
        ("/v1beta/models/gemini-2.5-flash:generateContent", PROVIDER_KEY)
    );
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: hi", "assistant: Hi"]);
}

#[tokio::test]
async fn wire_26_what_a_model_cannot_do_is_a_400_that_names_the_field_and_never_dropped() {
    let stand = Stand::start().await;
    for model in ["gpt-4o", "claude-sonnet-4-5"] {
        let mut body = say("x");
        body["tools"] = json!([{"googleSearch": {}}]);
        let answer = stand.generate(model, &body).await;
        let facts = json!({"code": "unsupported_by_provider", "param": "tools[0].googleSearch"});
        assert_eq!((answer.status, facts_of(&answer)), (400, facts));
    }
    assert_eq!((stand.mock.stats().calls, stand.conversations().await), (0, 0));
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
        let mut body = with_tool("And in Oslo?");
        let first = stand.generate(model, &body).await;
        let content = first.json()["candidates"][0]["content"].clone();
        let calls: Vec<&Value> =
            content["parts"].as_array().unwrap().iter().filter_map(|part| part.get("functionCall")).collect();
        assert_eq!((first.status, &calls[0]["args"]), (200, &json!({"city": "Oslo", "days": [1, 2]})), "{model}");
        // Without ids, as a client may send them: by their names and their order.
        let result = |response: Value| json!({"functionResponse": {"name": "weather", "response": response}});
        let results =
            [result(json!({"degrees": "17 degrees"})), result(json!({"error": "no city"})), json!({"text": "Well?"})];
        body["contents"].as_array_mut().unwrap().extend([content, json!({"role": "user", "parts": results})]);
        stand.mock.script_once(Behaviour::text("17 degrees it is."));
        let path = format!("/v1beta/models/{model}:generateContent");
        let request = stand.post(&path, body.to_string()).header("x-conversation-id", first.conversation());
        let second = Answer::of(request).await;
        assert_eq!((second.status, text_of(&second.json()).as_str()), (200, "17 degrees it is."), "{second:?}");
        let sent = stand.sent().body.to_string();
        assert!(
            sent.contains("17 degrees") && sent.contains("no city") && sent.matches("And in Oslo?").count() == 1,
            "{model}: {sent}"
        );
        let thread = stand.thread(&first.conversation()).await;
        assert_eq!(thread.len(), 5, "{model}: {thread:?}");
        assert_eq!((thread[0].as_str(), thread[3].as_str()), ("user: And in Oslo?", "user: Well?"));
    }
}

#[tokio::test]
async fn a_result_alone_goes_on_in_the_conversation_of_its_call() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::new().tool_call("weather", json!({"city": "Oslo"})));
        let first = stand.generate(model, &with_tool("And in Oslo?")).await;
        let mut more = with_tool("x");
        more["contents"] = json!([{"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "17 degrees"}}}]}]);
        more["metadata"] = json!({"conversation_id": first.conversation(), "user_id": "ada"});
        let second = stand.generate(model, &more).await;
        assert_eq!(second.status, 200, "{model}: {second:?}");
        let sent = stand.sent().body.to_string();
        assert!(
            sent.contains("And in Oslo?") && sent.contains("17 degrees") && !sent.contains("conversation_id"),
            "{sent}"
        );
        assert!(!sent.contains("call_of:"), "{model}: {sent}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_through_any_surface_and_a_prompt_leads_it() {
    let stand = Stand::start().await;
    let prompt = json!({"name": "pirate", "prompt": "Speak like {{who}}.", "labels": ["production"]});
    let editor = stand.create_key(&["--scopes", "prompts"]).await;
    let made = stand.client.post(format!("{}/api/prompts", stand.server.url())).bearer_auth(&editor.text);
    assert_eq!(Answer::of(made.body(prompt.to_string())).await.status, 201);
    for model in MODELS {
        let mut body = say("My cat is Filemon.");
        body["systemInstruction"] = json!({"parts": [{"text": "Be brief."}]});
        let first = stand.generate(model, &body).await;
        let id = first.conversation();
        let path = format!("/v1beta/models/{model}:generateContent");
        let more = stand.post(&path, say("And my cat?").to_string()).header("x-conversation-id", &id);
        let more = Answer::of(more.header("x-privet-prompt", r#"{"name":"pirate","variables":{"who":"Ada"}}"#)).await;
        assert_eq!((more.status, more.conversation()), (200, id.clone()), "{more:?}");
        let sent = stand.sent().body.to_string();
        assert!(
            sent.contains("Filemon") && sent.contains("Be brief.") && sent.contains("Speak like Ada."),
            "{model}: {sent}"
        );
        let third = stand.chat(json!({"model": "gpt-4o", "metadata": {"conversation_id": id}, "messages": [{"role": "user", "content": "x"}]})).await;
        assert_eq!(third.status, 200, "{third:?}");
        assert_eq!(stand.thread(&id).await.len(), 7, "{model}");
    }
    let mut unkept = say("x");
    unkept["store"] = json!(false);
    let answer = stand.generate("gemini-2.5-flash", &unkept).await;
    assert_eq!((answer.status, answer.header("x-conversation-id")), (200, None));
}

#[tokio::test]
async fn wire_21_thinking_goes_to_the_client_and_back_to_the_provider_to_the_byte() {
    let stand = Stand::start().await;
    let model = "claude-sonnet-4-5";
    stand.mock.script_once(Behaviour::text("Yes.").thinking("Hm.", "EqQB+/==").redacted_thinking("EmwK=="));
    let mut body = say("x");
    body["generationConfig"] =
        json!({"maxOutputTokens": 4096, "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": true}});
    let content = stand.generate(model, &body).await.json()["candidates"][0]["content"].clone();
    assert_eq!((&content["parts"][0]["text"], &content["parts"][0]["thought"]), (&json!("Hm."), &json!(true)));
    let mut parts = content["parts"].clone();
    for part in parts.as_array_mut().unwrap() {
        // Google's client for Python writes base64 in the alphabet for URLs.
        if let Some(signature) = part.get("thoughtSignature").and_then(Value::as_str) {
            part["thoughtSignature"] = json!(signature.replace('+', "-").replace('/', "_"));
        }
    }
    let thread = [json!({"role": "model", "parts": parts}), json!({"role": "user", "parts": [{"text": "Sure?"}]})];
    body["contents"].as_array_mut().unwrap().extend(thread);
    assert_eq!(stand.generate(model, &body).await.status, 200);
    let blocks = stand.sent().body["messages"][1]["content"].clone();
    let blocks = blocks.as_array().unwrap();
    assert!(blocks.contains(&json!({"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="})), "{blocks:?}");
    assert!(blocks.contains(&json!({"type": "redacted_thinking", "data": "EmwK=="})), "{blocks:?}");
    // Gemini would refuse what another signed.
    assert_eq!(stand.generate("gemini-2.5-flash", &body).await.status, 200);
    assert!(!stand.sent().body.to_string().contains("thoughtSignature"), "{:?}", stand.sent().body);
}

#[tokio::test]
async fn wire_25_tokens_are_counted_where_the_provider_counts() {
    let stand = Stand::start().await;
    let contents = json!({"contents": say("x")["contents"]});
    let whole = json!({"generateContentRequest": {"model": "models/x", "contents": say("x")["contents"], "systemInstruction": {"parts": [{"text": "s"}]}}});
    for model in ["claude-sonnet-4-5", "gemini-2.5-flash"] {
        for body in [&contents, &whole] {
            let counted = stand.count_of(model, body).await;
            assert!(
                counted.status == 200 && counted.json()["totalTokens"].as_u64().unwrap() > 0,
                "{model}: {counted:?}"
            );
        }
    }
    assert_eq!(stand.sent().body["generateContentRequest"]["model"], "models/gemini-2.5-flash");
    let refused = stand.count_of("gpt-4o", &contents).await;
    assert_eq!((refused.status, &facts_of(&refused)["code"]), (400, &json!("unsupported_by_provider")));
    assert_eq!((stand.conversations().await, stand.mock.stats().bill_nanos), (0, 0));
}
