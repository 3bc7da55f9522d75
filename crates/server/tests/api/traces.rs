//! Traces through the real binary: those that requests leave by themselves, those that others send, and reading them back.

use std::io::Write as _;

use privet_testkit::upstream::Behaviour;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask, ask_streamed};

const MODELS: [&str; 3] = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"];

impl Stand {
    /// The trace of an answered request.
    async fn trace_of(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").unwrap().replace('-', "");
        self.trace(&id).await
    }

    pub(crate) async fn trace(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/public/traces/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Sends a batch of events.
    async fn ingest(&self, batch: Value) -> Answer {
        Answer::of(self.post("/api/public/ingestion", json!({"batch": batch}).to_string())).await
    }

    async fn send_spans(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, "/v1/traces").header("content-type", content_type).body(body);
        Answer::of(request).await
    }
}

fn event(id: &str, kind: &str, body: Value) -> Value {
    json!({"id": id, "type": kind, "timestamp": "2026-11-25T10:00:00.000Z", "body": body})
}

fn spans(spans: Value) -> String {
    json!({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "test"}, "spans": spans}]}]})
        .to_string()
}

fn span(name: &str, span_id: &str, attributes: Value) -> Value {
    json!({
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": span_id, "name": name,
        "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000500000000", "attributes": attributes,
    })
}

#[tokio::test]
async fn every_chat_leaves_a_trace_with_its_tokens_and_what_it_cost() {
    let stand = Stand::start().await;
    for model in MODELS {
        for stream in [false, true] {
            let body = if stream {
                ask_streamed(model, "What is the capital of Poland, and how many people live there?")
            } else {
                ask(model, "What is the capital of Poland, and how many people live there?")
            };
            let answer = stand.chat(body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let trace = stand.trace_of(&answer).await;
            assert_eq!(trace["name"], "What is the capital of Poland, and how many p", "the first 45 characters");
            assert_eq!((&trace["userId"], &trace["sessionId"]), (&json!("owner"), &json!(answer.conversation())));
            let [generation] = trace["observations"].as_array().unwrap().as_slice() else { panic!("{trace}") };
            assert_eq!((&generation["type"], &generation["name"]), (&json!("GENERATION"), &json!("chat")));
            assert_eq!(
                format!(
                    "{}/{}",
                    generation["metadata"]["provider"].as_str().unwrap(),
                    generation["model"].as_str().unwrap()
                ),
                model
            );
            assert_eq!(generation["input"][0]["role"], "user");
            assert_eq!((&trace["output"], &generation["output"]["role"]), (&generation["output"], &json!("assistant")));
            let explained = stand.get(&format!("/api/usage/{}", answer.header("x-request-id").unwrap())).await.json();
            let usage = &explained["facts"]["usage"];
            assert_eq!(generation["usage"]["input"], usage["input"], "{explained}");
            assert_eq!(generation["usage"]["output"], usage["output"]);
            let cost = explained["facts"]["cost_nanos"].as_f64().unwrap() / 1e9;
            assert!(cost > 0.0 && (trace["totalCost"].as_f64().unwrap() - cost).abs() < 1e-12, "{trace}");
            assert_eq!(generation["timeToFirstToken"].is_number(), stream, "{generation}");
        }
    }
}

#[tokio::test]
async fn an_agents_turns_share_their_thread_and_read_back_whole() {
    let stand = Stand::start().await;
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    for turn in 0..5 {
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        let answer = stand.chat(json!({"model": MODELS[0], "messages": messages, "tools": tools})).await;
        let trace = stand.trace_of(&answer).await;
        assert_eq!(trace["input"], json!({"messages": messages, "tools": tools}));
        let message = answer.json()["choices"][0]["message"]["content"].clone();
        assert_eq!(trace["output"], json!({"role": "assistant", "content": message}));
        messages.push(json!({"role": "assistant", "content": message}));
    }
}

#[tokio::test]
async fn a_failure_is_an_error_and_a_cut_stream_keeps_what_came() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::error(500));
    let failed = stand.chat(ask(MODELS[0], "hey")).await;
    let trace = stand.trace_of(&failed).await;
    let generation = &trace["observations"][0];
    assert_eq!(generation["level"], "ERROR");
    assert_eq!((&generation["output"], &trace["output"]), (&generation["statusMessage"], &generation["statusMessage"]));
    stand.mock.reset();
    stand.mock.script(Behaviour::text("one two three four five six").cut_after_chunks(3));
    let cut = stand.chat(ask_streamed(MODELS[0], "hey")).await;
    let generation = stand.trace_of(&cut).await["observations"][0].clone();
    assert_eq!(generation["level"], "WARNING", "{generation}");
    assert!(generation["output"]["content"].as_str().unwrap().starts_with("one"), "{generation}");
    assert!(generation["statusMessage"].is_string());
}

#[tokio::test]
async fn the_clients_trace_goes_on_here_and_at_the_provider() {
    let stand = Stand::start().await;
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = stand.post("/v1/chat/completions", ask(MODELS[0], "hey").to_string()).header("traceparent", header);
    assert_eq!(Answer::of(request).await.status, 200);
    let trace = stand.trace("4bf92f3577b34da6a3ce929d0e0e4736").await;
    let generation = &trace["observations"][0];
    assert_eq!(generation["parentObservationId"], "00f067aa0ba902b7");
    let sent = stand.sent().headers["traceparent"].clone();
    assert_eq!(sent, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", generation["id"].as_str().unwrap()));
    // Without one nothing is told to the provider.
    stand.chat(ask(MODELS[0], "hey")).await;
    assert!(!stand.sent().headers.contains_key("traceparent"));
}

#[tokio::test]
async fn what_a_request_says_of_its_trace_is_kept_and_without_storing_its_words_are_not() {
    let stand = Stand::start().await;
    let mut body = ask(MODELS[0], "a secret question");
    body["metadata"] =
        json!({"trace_name": "n", "trace_user_id": "ada", "session_id": "s", "tags": "a, b", "plan": "pro"});
    body["store"] = false.into();
    let answer = stand.chat(body).await;
    let trace = stand.trace_of(&answer).await;
    assert_eq!((&trace["name"], &trace["userId"], &trace["sessionId"]), (&json!("n"), &json!("ada"), &json!("s")));
    assert_eq!((&trace["tags"], &trace["metadata"]), (&json!(["a", "b"]), &json!({"plan": "pro"})));
    assert_eq!((&trace["input"], &trace["output"]), (&Value::Null, &Value::Null));
    assert!(trace["observations"][0]["usage"]["total"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn embeddings_leave_a_trace_too() {
    let stand = Stand::start().await;
    let body = json!({"model": "openai/text-embedding-3-small", "input": ["a", "b"]});
    let answer = Answer::of(stand.post("/v1/embeddings", body.to_string())).await;
    let generation = stand.trace_of(&answer).await["observations"][0].clone();
    assert_eq!((&generation["type"], &generation["input"]), (&json!("EMBEDDING"), &json!(["a", "b"])));
}

#[tokio::test]
async fn one_bad_event_among_good_ones_is_told_and_the_others_are_kept() {
    let stand = Stand::start().await;
    let answer = stand
        .ingest(json!([
            event("1", "trace-create", json!({"id": "t", "name": "n", "tags": ["x"]})),
            event("2", "generation-create", json!({"id": "g", "traceId": "t", "level": "LOUD"})),
            event(
                "3",
                "generation-create",
                json!({"id": "h", "traceId": "t", "model": "gpt-4o", "usage": {"input": 3, "output": 4}})
            ),
            event("4", "score-create", json!({"id": "s", "traceId": "t", "name": "quality", "value": 0.5})),
        ]))
        .await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["successes"].as_array().unwrap().len(), 3);
    assert_eq!((&told["errors"][0]["id"], &told["errors"][0]["status"]), (&json!("2"), &json!(400)));
    let trace = stand.trace("t").await;
    assert_eq!((trace["observations"].as_array().unwrap().len(), &trace["observations"][0]["id"]), (1, &json!("h")));
    assert!(trace["totalCost"].as_f64().unwrap() > 0.0, "by the price book");
    assert_eq!(trace["scores"][0]["value"], 0.5);
    let found = stand.get("/api/public/traces?tags=x&name=n&fromTimestamp=2026-11-25T00:00:00Z").await.json();
    assert_eq!((&found["data"][0]["id"], &found["meta"]["totalItems"]), (&json!("t"), &json!(1)));
    assert_eq!(stand.get("/api/public/traces?tags=y").await.json()["meta"]["totalItems"], 0);
    assert_eq!(stand.get("/api/public/observations?traceId=t&type=GENERATION").await.json()["data"][0]["id"], "h");
    assert_eq!(stand.get("/api/public/v3/scores?traceId=t").await.json()["data"][0]["subject"]["id"], "t");
}

#[tokio::test]
async fn spans_come_as_json_and_packed_and_bad_ones_are_counted() {
    let stand = Stand::start().await;
    let said = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let good = span(
        "root",
        "00f067aa0ba902b7",
        json!([
            said("gen_ai.operation.name", "chat"), said("gen_ai.request.model", "gpt-4o"),
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}}, said("user.id", "ada"),
        ]),
    );
    let bad = json!({"traceId": "00000000000000000000000000000000", "spanId": "00f067aa0ba902b8", "name": "bad"});
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(spans(json!([good, bad])).as_bytes()).unwrap();
    let request = stand.request(Method::POST, "/v1/traces").header("content-encoding", "gzip");
    let request = request.header("content-type", "application/json").body(packed.finish().unwrap());
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, &answer.json()["partialSuccess"]["rejectedSpans"]), (200, &json!("1")), "{answer:?}");
    let trace = stand.trace("4bf92f3577b34da6a3ce929d0e0e4736").await;
    assert_eq!((&trace["name"], &trace["userId"], &trace["latency"]), (&json!("root"), &json!("ada"), &json!(0.5)));
    let generation = &trace["observations"][0];
    assert_eq!((&generation["type"], &generation["usage"]["input"]), (&json!("GENERATION"), &json!(12)));

    for (content_type, body, status) in [
        ("application/json", spans(json!([bad])), 400),
        ("application/json", "{".to_owned(), 400),
        ("application/x-protobuf", "\u{1}\u{2}broken".to_owned(), 400),
        ("text/plain", String::new(), 415),
        ("application/json", "{}".to_owned(), 200),
    ] {
        let answer = stand.send_spans(content_type, body).await;
        assert_eq!(answer.status, status, "{content_type}: {answer:?}");
    }
    let unpacked = stand.request(Method::POST, "/v1/traces").header("content-encoding", "gzip");
    let answer = Answer::of(unpacked.header("content-type", "application/json").body("no gzip")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_packed_or_not() {
    let stand = Stand::start().await;
    let answer = stand.ingest(json!(["x".repeat(40 << 20)])).await;
    assert_eq!(answer.status, 413);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        packed.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = packed.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let request = stand.request(Method::POST, "/api/public/ingestion").header("content-encoding", "gzip");
    let answer = Answer::of(request.header("content-type", "application/json").body(bomb)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.text().contains("server.body_bytes_max"), "{answer:?}");
}

#[tokio::test]
async fn projects_see_nothing_of_each_others_traces() {
    let stand = Stand::start().await;
    let theirs = stand.key_of_project("theirs").await;
    stand
        .ingest(json!([
            event("1", "trace-create", json!({"id": "t", "sessionId": "s", "userId": "ada"})),
            event("2", "span-create", json!({"id": "o", "traceId": "t"})),
            event("3", "score-create", json!({"id": "sc", "traceId": "t", "name": "n", "value": 1})),
        ]))
        .await;
    let ask_theirs = async |method: &str, path: &str| {
        let request = stand.client.request(method.parse().unwrap(), format!("{}{path}", stand.server.url()));
        Answer::of(request.bearer_auth(&theirs)).await
    };
    for path in ["traces/t", "observations/o", "sessions/s", "v2/scores/sc"] {
        assert_eq!(stand.get(&format!("/api/public/{path}")).await.status, 200, "{path}");
        let answer = ask_theirs("GET", &format!("/api/public/{path}")).await;
        assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("LangfuseNotFoundError")), "{path}");
    }
    for path in ["traces", "observations", "v2/observations", "sessions", "v2/scores", "v3/scores"] {
        let answer = ask_theirs("GET", &format!("/api/public/{path}")).await;
        assert_eq!(answer.json()["data"], json!([]), "{path}");
    }
    assert_eq!(ask_theirs("DELETE", "/api/public/traces/t").await.status, 404);
    assert_eq!(ask_theirs("DELETE", "/api/public/scores/sc").await.status, 404);
    let deleted = Answer::of(stand.request(Method::DELETE, "/api/public/traces/t")).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    for path in ["traces/t", "observations/o", "sessions/s", "v2/scores/sc"] {
        assert_eq!(stand.get(&format!("/api/public/{path}")).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn wrong_queries_are_told_apart() {
    let stand = Stand::start().await;
    for query in [
        "traces?limit=0",
        "traces?limit=1000",
        "traces?page=x",
        "traces?orderBy=nothing.desc",
        "traces?filter=no",
        "traces?filter=[{\"type\":\"string\",\"column\":\"nothing\",\"operator\":\"=\",\"value\":\"x\"}]",
        "traces?fromTimestamp=soon",
        "v2/observations?cursor=x",
    ] {
        let answer = stand.get(&format!("/api/public/{query}")).await;
        assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("Invalid request data")), "{query}");
    }
    let filter = r#"[{"type":"number","column":"totalCost","operator":">","value":0},{"type":"arrayOptions","column":"tags","operator":"none of","value":["x"]}]"#;
    let answer = stand.get(&format!("/api/public/traces?filter={filter}&orderBy=totalCost.desc")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
