//! Requests leave traces by themselves: the lesson's flow, every dialect, failures, clients' own traces, feedback.

use std::time::Duration;

use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::stand::{Answer, CALLED_ONCE, PROVIDER_KEY, Stand, ask, ask_streamed};

const TRACE_HEADER: &str = "x-privet-trace-id";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PARENT_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_SPAN: &str = "00f067aa0ba902b7";
const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

impl Stand {
    /// The trace that an answer names.
    async fn told_trace(&self, answer: &Answer) -> Value {
        let id = answer.header(TRACE_HEADER).unwrap_or_else(|| panic!("no trace: {answer:?}"));
        self.trace(id).await
    }

    async fn traces_where(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/public/traces?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].as_array().unwrap().clone()
    }

    /// Traces, once there are so many.
    async fn traces_when(&self, count: usize) -> Vec<Value> {
        let enough = async {
            loop {
                let traces = self.traces_where("fields=core,io").await;
                if traces.len() >= count {
                    return traces;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough).await.unwrap()
    }

    async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").await;
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

/// The one call of a trace: what was recalled for it is a step of its own.
fn step(trace: &Value) -> &Value {
    let observations = trace["observations"].as_array().unwrap().iter();
    let calls: Vec<&Value> = observations.filter(|step| step["type"] != "RETRIEVER").collect();
    assert_eq!(calls.len(), 1, "{trace}");
    calls[0]
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[tokio::test]
async fn the_lessons_flow_leaves_a_named_trace_with_its_session_and_one_answer() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::text("It is noon.").usage(Usage {
        input_tokens: 30,
        output_tokens: 4,
        ..Usage::default()
    }));
    let question = "What time is it on the other side of the world, and who asks?";
    let first = stand.lesson(json!({"messages": [said("user", question)]})).await;
    let conversation = first.conversation();
    let trace = stand.told_trace(&first).await;
    assert_eq!(trace["name"], question.chars().take(45).collect::<String>());
    assert_eq!((&trace["sessionId"], &trace["userId"]), (&json!(conversation), &json!("owner")));
    let sent = stand.sent().body["messages"].clone();
    assert_eq!((&trace["input"], &sent[0]["role"]), (&sent, &json!("system")), "with the prompt in front");
    assert_eq!(trace["input"][1], said("user", question));
    assert_eq!(trace["output"], said("assistant", "It is noon."));
    let id = first.header("x-request-id").unwrap().replace('-', "");
    assert_eq!(trace["id"], id, "the id of the request");

    let generation = step(&trace);
    assert_eq!((&generation["name"], &generation["type"]), (&json!("Answer"), &json!("GENERATION")));
    assert_eq!((&generation["promptName"], &generation["promptVersion"]), (&json!("Answer"), &json!(1)));
    assert_eq!((&generation["model"], &generation["metadata"]["provider"]), (&json!("gpt-4o"), &json!("openai")));
    let parameters = json!({"temperature": 0, "max_tokens": 4096, "response_format": {"type": "text"}});
    assert_eq!(generation["modelParameters"], parameters);
    assert_eq!((&generation["input"], &generation["output"]), (&trace["input"], &trace["output"]));
    assert_eq!((&generation["level"], &generation["statusMessage"]), (&json!("DEFAULT"), &Value::Null));
    assert_eq!(generation["usageDetails"], json!({"input": 30, "output": 4, "total": 34}));
    let explained = stand.get(&format!("/api/usage/{}", first.header("x-request-id").unwrap())).await.json();
    assert_eq!(generation["costDetails"]["total"], 0.000_115, "what the ledger says: {explained}");

    let second = stand.lesson(json!({"conversation_id": conversation, "messages": [said("user", "And here?")]})).await;
    let trace = stand.told_trace(&second).await;
    let prompt = sent[0].clone();
    let thread = [prompt, said("user", question), said("assistant", "It is noon."), said("user", "And here?")];
    assert_eq!((&trace["name"], &trace["input"]), (&json!("And here?"), &json!(thread)));
    assert_eq!(stand.traces_where(&format!("sessionId={conversation}")).await.len(), 2);
}

#[tokio::test]
async fn a_failing_provider_is_the_output_of_the_lessons_trace() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    stand.mock.script(Behaviour::error(500).error_message(format!("bad key {PROVIDER_KEY}")));
    let answer = stand.lesson(json!({"messages": [said("user", "hey")]})).await;
    assert_eq!(answer.status, 500);
    let trace = stand.told_trace(&answer).await;
    let generation = step(&trace);
    let reason = generation["statusMessage"].as_str().unwrap();
    assert!(reason.contains("openai") && reason.contains("500"), "{reason}");
    assert_eq!((&generation["level"], &generation["output"]), (&json!("ERROR"), &json!(reason)));
    assert_eq!((&trace["output"], &trace["name"]), (&json!(reason), &json!("hey")));
    assert_eq!((&generation["usageDetails"], &generation["costDetails"]), (&json!({}), &json!({})));
    assert!(!trace.to_string().contains(PROVIDER_KEY), "{trace}");
}

#[tokio::test]
async fn every_dialect_leaves_the_same_trace_whole_and_streamed() {
    let stand = Stand::start().await;
    for model in MODELS {
        let usage = Usage { input_tokens: 20, cached_tokens: 8, output_tokens: 5, ..Usage::default() };
        stand.mock.script(Behaviour::text("one two three").usage(usage));
        for body in [ask(model, "count"), ask_streamed(model, "count")] {
            let mut body = body;
            body["max_tokens"] = json!(50);
            let answer = stand.chat(body.clone()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let trace = stand.told_trace(&answer).await;
            let generation = step(&trace);
            assert_eq!(trace["sessionId"], answer.conversation());
            assert_eq!(generation["output"], said("assistant", "one two three"), "{model}");
            assert_eq!(generation["usageDetails"]["input"], 12, "{model}: {generation}");
            assert_eq!(generation["usageDetails"]["input_cached_tokens"], 8, "{model}");
            assert_eq!(generation["usageDetails"]["total"], 25, "{model}");
            assert_eq!(
                (&generation["name"], &generation["modelParameters"]["max_tokens"]),
                (&json!("chat"), &json!(50))
            );
            assert!(generation["costDetails"]["total"].as_f64().unwrap() > 0.0, "{generation}");
            let is_timed = generation["timeToFirstToken"].is_number();
            assert_eq!(is_timed, body["stream"] == true, "{model}: {generation}");
            assert!(generation["latency"].as_f64().unwrap() >= generation["timeToFirstToken"].as_f64().unwrap_or(0.0));
        }
    }
    assert!(stand.get("/metrics").await.text().contains("privet_time_to_first_token_seconds"));
    assert_eq!(stand.metric("privet_trace_observations_total").await, 6);
}

#[tokio::test]
async fn calls_of_tools_are_part_of_the_trace() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().tool_call_with_id("c1", "clock", json!({"zone": "UTC"})));
    let mut body = ask("gpt-4o", "what time is it?");
    body["tools"] = json!([{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]);
    let trace = stand.told_trace(&stand.chat(body.clone()).await).await;
    assert_eq!(trace["input"], json!({"messages": body["messages"], "tools": body["tools"]}));
    assert_eq!(trace["output"]["tool_calls"][0]["function"]["name"], "clock");
}

#[tokio::test]
async fn a_cut_stream_is_a_warning_that_keeps_what_came() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(2));
        let answer = stand.chat(ask_streamed(model, "count")).await;
        let trace = stand.told_trace(&answer).await;
        let generation = step(&trace);
        assert_eq!(generation["level"], "WARNING", "{generation}");
        assert!(!generation["statusMessage"].as_str().unwrap().is_empty());
        let kept = generation["output"]["content"].as_str().unwrap();
        assert!(kept.starts_with("one two"), "{model}: {generation}");
        assert_eq!(generation["metadata"]["usage_source"], "bounded", "{model}: nobody counted to the end");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_a_warning() {
    let stand = Stand::start().await;
    stand.mock.script_once(Behaviour::text("one two three four").hang_after_chunks(2));
    let mut response =
        stand.post("/v1/chat/completions", ask_streamed("gpt-4o", "x").to_string()).send().await.unwrap();
    let mut read = String::new();
    while !read.contains("two") {
        read += &String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap());
    }
    drop(response);
    let traces = stand.traces_when(1).await;
    let trace = stand.trace(traces[0]["id"].as_str().unwrap()).await;
    assert_eq!(step(&trace)["level"], "WARNING");
    assert!(trace["output"]["content"].as_str().unwrap().starts_with("one two"), "{trace}");
}

#[tokio::test]
async fn embeddings_leave_their_texts_and_not_their_vectors() {
    let stand = Stand::start().await;
    for model in ["text-embedding-3-small", "gemini/gemini-embedding-001"] {
        let body = json!({"model": model, "input": ["a", "b"]});
        let answer = Answer::of(stand.post("/v1/embeddings", body.to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let trace = stand.told_trace(&answer).await;
        let embedding = step(&trace);
        assert_eq!((&embedding["type"], &embedding["name"]), (&json!("EMBEDDING"), &json!("embeddings")));
        assert_eq!((&embedding["input"], &embedding["output"]), (&json!(["a", "b"]), &Value::Null), "{model}");
        assert!(embedding["usageDetails"]["total"].as_u64().unwrap() > 0, "{embedding}");
    }
}

#[tokio::test]
async fn what_a_request_says_of_its_trace_is_kept_and_not_sent_on() {
    let stand = Stand::start().await;
    let mut body = ask("gpt-4o", "hey");
    body["metadata"] = json!({"trace_name": "shop", "session_id": "s1", "trace_user_id": "ada", "tags": "a, b",
                              "environment": "test", "release": "r1", "version": "v1", "order": "17"});
    let trace = stand.told_trace(&stand.chat(body.clone()).await).await;
    for (name, value) in [
        ("name", json!("shop")),
        ("sessionId", json!("s1")),
        ("userId", json!("ada")),
        ("tags", json!(["a", "b"])),
        ("environment", json!("test")),
        ("release", json!("r1")),
        ("version", json!("v1")),
        ("metadata", json!({"order": "17"})),
    ] {
        assert_eq!(trace[name], value, "{name}");
    }
    assert_eq!(stand.sent().body["metadata"], json!({"order": "17"}));
    body["store"] = json!(true);
    stand.chat(body.clone()).await;
    assert_eq!(stand.sent().body["metadata"], body["metadata"], "the provider is to keep it");

    // A key of a user of its own speaks for no other.
    let key = stand.create_key(&["--user", "eve"]).await;
    let trace = stand.told_trace(&stand.chat_as(&key, body).await).await;
    assert_eq!((&trace["userId"], &trace["metadata"]["trace_user_id"]), (&json!("eve"), &json!("ada")));
}

#[tokio::test]
async fn without_store_the_trace_has_figures_and_no_words() {
    let stand = Stand::start().await;
    let mut body = ask("gpt-4o", "a secret of mine");
    body["store"] = json!(false);
    let answer = stand.chat(body).await;
    let trace = stand.told_trace(&answer).await;
    let generation = step(&trace);
    assert!(generation["usageDetails"]["total"].as_u64().unwrap() > 0);
    assert!(!trace.to_string().contains("secret"), "{trace}");
    assert_eq!((&trace["input"], &trace["output"], &generation["output"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_call_that_a_limit_refused_leaves_its_reason_and_a_flood_of_them_little() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--models", "anthropic/*"]).await;
    let answer = stand.chat_as(&key, ask("gpt-4o", "hey")).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let trace = stand.told_trace(&answer).await;
    let generation = step(&trace);
    assert_eq!((&generation["level"], &trace["name"]), (&json!("ERROR"), &json!("hey")));
    assert!(generation["statusMessage"].as_str().unwrap().contains("gpt-4o"), "{generation}");
    assert_eq!((&generation["input"], &generation["usageDetails"]), (&Value::Null, &json!({})));

    let mut traced = 0;
    for _ in 0..100 {
        let answer = stand.chat_as(&key, ask("gpt-4o", "hey")).await;
        traced += usize::from(answer.header(TRACE_HEADER).is_some());
    }
    assert!(traced < 100, "{traced} of 100 refusals were traced");
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn a_clients_trace_goes_on_here_and_at_the_provider() {
    let stand = Stand::start().await;
    for (path, body) in [
        ("/v1/chat/completions", ask("gpt-4o", "hey")),
        ("/v1/chat/completions", ask_streamed("claude-sonnet-4-5", "hey")),
        ("/api/chat", json!({"messages": [said("user", "hey")]})),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "hey"})),
    ] {
        let request = stand.post(path, body.to_string()).header("traceparent", PARENT).header("tracestate", "a=1");
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.header(TRACE_HEADER)), (200, Some(PARENT_TRACE)), "{path}");
        let sent = stand.sent().headers;
        let told = sent["traceparent"].strip_prefix(&format!("00-{PARENT_TRACE}-")).unwrap();
        let span = told.strip_suffix("-01").unwrap();
        assert_eq!(sent["tracestate"], "a=1");
        let trace = stand.trace(PARENT_TRACE).await;
        let steps = trace["observations"].as_array().unwrap();
        let step = steps.iter().find(|step| step["id"] == span).unwrap_or_else(|| panic!("no {span} in {trace}"));
        assert_eq!(step["parentObservationId"], PARENT_SPAN);
        assert_eq!(step["metadata"]["request_id"], answer.header("x-request-id").unwrap());
    }
    let trace = stand.trace(PARENT_TRACE).await;
    let steps = trace["observations"].as_array().unwrap();
    assert_eq!((&trace["name"], steps.len()), (&Value::Null, 5), "four calls, and what was recalled for one: {trace}");
    assert!(steps.iter().all(|step| step["parentObservationId"] == PARENT_SPAN), "{trace}");

    for wrong in ["00-x-y-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
        let request = stand.post("/v1/chat/completions", ask("gpt-4o", "hey").to_string());
        let answer = Answer::of(request.header("traceparent", wrong).header("tracestate", "a=1")).await;
        assert_eq!(step(&stand.told_trace(&answer).await)["parentObservationId"], Value::Null);
        let sent = stand.sent().headers;
        assert!(!sent.contains_key("traceparent") && !sent.contains_key("tracestate"), "{sent:?}");
    }
}

#[tokio::test]
async fn where_requests_are_not_traced_a_clients_trace_passes_as_it_came() {
    let stand = Stand::with_config("[traces]\nrequests = false\n").await;
    let request = stand.post("/v1/chat/completions", ask("gpt-4o", "hey").to_string()).header("traceparent", PARENT);
    let answer = Answer::of(request).await;
    assert_eq!((answer.status, answer.header(TRACE_HEADER)), (200, None));
    assert_eq!(stand.sent().headers["traceparent"], PARENT);
    assert_eq!(stand.traces_where("").await.len(), 0);
}

#[tokio::test]
async fn a_request_that_is_answered_again_leaves_no_second_trace() {
    let stand = Stand::start().await;
    let ask_once = || {
        Answer::of(
            stand.post("/v1/chat/completions", ask("gpt-4o", "hey").to_string()).header("idempotency-key", "one"),
        )
    };
    let (first, again) = (ask_once().await, ask_once().await);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.header(TRACE_HEADER), again.header(TRACE_HEADER));
    assert_eq!(stand.traces_where("").await.len(), 1);
}

#[tokio::test]
async fn projects_do_not_see_each_others_traces() {
    let stand = Stand::start().await;
    let answer = stand.chat(ask("gpt-4o", "hey")).await;
    let (id, other) = (answer.header(TRACE_HEADER).unwrap(), stand.key_of_project("other").await);
    let ask_as_other = |method, path: String, body: Value| {
        let request = stand.client.request(method, format!("{}{path}", stand.server.url())).bearer_auth(&other);
        Answer::of(request.header("content-type", "application/json").body(body.to_string()))
    };
    let read = ask_as_other(Method::GET, format!("/api/public/traces/{id}"), Value::Null).await;
    assert_eq!(read.status, 404, "{read:?}");
    for about in [
        json!({"trace_id": id}),
        json!({"request_id": answer.header("x-request-id").unwrap()}),
        json!({"conversation_id": answer.conversation()}),
    ] {
        let mut body = about;
        body["value"] = json!("up");
        let refused = ask_as_other(Method::POST, "/api/feedback".to_owned(), body).await;
        assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("not_found")), "{refused:?}");
    }
    // The same id of a trace in two projects is two traces.
    let chat = |key: &str| {
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(key);
        Answer::of(request.header("traceparent", PARENT).body(ask("gpt-4o", "x").to_string()))
    };
    for key in [stand.server.key(), &other] {
        assert_eq!(chat(key).await.status, 200);
    }
    assert_eq!(stand.trace(PARENT_TRACE).await["observations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_of_traces_that_fails_harms_no_answer_and_no_money() {
    let stand = Stand::start().await;
    stand.chat(ask("gpt-4o", "before")).await;
    let file = stand.server.data_dir().join("traces.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("DROP TABLE observations").execute(&mut connection).await.unwrap();
    let key = stand.create_key(&[]).await;
    for body in [ask("gpt-4o", "hey"), ask_streamed("gpt-4o", "hey")] {
        let answer = stand.chat_as(&key, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(stand.thread(&answer.conversation()).await.len(), 2);
        let explained = stand.explain(&key, &answer).await;
        assert_eq!(explained["state"], "settled", "{explained}");
    }
    assert_eq!(stand.metric("privet_trace_failures_total").await, 2);
    assert_eq!(stand.server.logs().matches("the trace of a call was not written").count(), 2, "once for each");
}

#[tokio::test]
async fn feedback_is_a_score_that_its_user_may_change() {
    let stand = Stand::start().await;
    let answer = stand.lesson(json!({"messages": [said("user", "hey")]})).await;
    let (trace, request) = (answer.header(TRACE_HEADER).unwrap(), answer.header("x-request-id").unwrap());
    let feedback = async |body: Value| {
        let answer = Answer::of(stand.post("/api/feedback", body.to_string())).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    };
    let up = feedback(json!({"request_id": request, "value": "up", "comment": "good"})).await;
    assert_eq!((&up["trace_id"], &up["name"], &up["user"]), (&json!(trace), &json!("feedback"), &json!("owner")));
    assert_eq!((&up["type"], &up["value"], &up["comment"]), (&json!("BOOLEAN"), &json!(true), &json!("good")));
    let down = feedback(json!({"trace_id": trace, "score": false})).await;
    assert_eq!(down["id"], up["id"], "the same user thinks again");
    let by_other = feedback(json!({"trace_id": trace, "value": 4.5, "user": "ada"})).await;
    let named = feedback(json!({"trace_id": trace, "value": "helpful", "name": "tone"})).await;
    assert_eq!((&by_other["value"], &named["value"]), (&json!(4.5), &json!("helpful")));

    let scores = stand.trace(trace).await["scores"].as_array().unwrap().clone();
    assert_eq!(scores.len(), 3, "{scores:?}");
    let first = scores.iter().find(|score| score["id"] == up["id"]).unwrap();
    assert_eq!(
        (&first["value"], &first["dataType"], &first["source"]),
        (&json!(0.0), &json!("BOOLEAN"), &json!("API"))
    );
    assert_eq!(first["comment"], Value::Null, "the second replaces the first");

    let session = feedback(json!({"conversation_id": answer.conversation(), "value": "up"})).await;
    assert_eq!((&session["conversation_id"], &session["trace_id"]), (&json!(answer.conversation()), &Value::Null));
}

#[tokio::test]
async fn feedback_of_a_request_in_a_clients_trace_finds_it() {
    let stand = Stand::start().await;
    let request = stand.post("/v1/chat/completions", ask("gpt-4o", "hey").to_string()).header("traceparent", PARENT);
    let answer = Answer::of(request).await;
    let body = json!({"request_id": answer.header("x-request-id").unwrap(), "value": 1});
    let kept = Answer::of(stand.post("/api/feedback", body.to_string())).await;
    assert_eq!((kept.status, &kept.json()["trace_id"]), (201, &json!(PARENT_TRACE)), "{kept:?}");
}

#[tokio::test]
async fn wrong_feedback_is_refused_with_the_way_out() {
    let stand = Stand::start().await;
    let trace = stand.chat(ask("gpt-4o", "hey")).await.header(TRACE_HEADER).unwrap().to_owned();
    for (body, status, word) in [
        (json!({"value": 1}), 400, "exactly one of"),
        (json!({"trace_id": trace, "conversation_id": "c", "value": 1}), 400, "exactly one of"),
        (json!({"trace_id": trace}), 400, "value"),
        (json!({"trace_id": trace, "value": null}), 400, "`value`"),
        (json!({"trace_id": trace, "value": [1]}), 400, "`value`"),
        (json!({"trace_id": trace, "value": ""}), 400, "`value`"),
        (json!({"trace_id": trace, "value": 1, "name": ""}), 400, "`name`"),
        (json!({"trace_id": trace, "value": 1, "nmae": "x"}), 400, "nmae"),
        (json!({"trace_id": trace, "value": 1, "comment": "x".repeat(5_001)}), 400, "`comment`"),
        (json!({"request_id": "x", "value": 1}), 400, "`request_id`"),
        (json!({"trace_id": "", "value": 1}), 400, "`trace_id`"),
        (json!({"trace_id": "0".repeat(32), "value": 1}), 404, "x-privet-trace-id"),
        (json!({"request_id": "019aa2c0-0000-7000-8000-000000000001", "value": 1}), 404, "x-request-id"),
        (json!({"conversation_id": "019aa2c0-0000-7000-8000-000000000001", "value": 1}), 404, "x-conversation-id"),
        (json!({"conversation_id": "no uuid", "value": 1}), 404, "x-conversation-id"),
    ] {
        let answer = Answer::of(stand.post("/api/feedback", body.to_string())).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{body}: {answer:?}");
    }
    assert_eq!(stand.trace(&trace).await["scores"], json!([]));
}

#[tokio::test]
async fn who_names_anothers_trace_changes_nothing_that_is_said_of_it() {
    let stand = Stand::start().await;
    let chat = json!({"model": "openai/gpt-4o", "messages": [said("user", "mine")]});
    let theirs = stand.chat(chat.clone()).await.header(TRACE_HEADER).unwrap().to_owned();
    let before = stand.trace(&theirs).await;
    let made = stand.privet(&["keys", "create", "--name", "m", "--user", "mallory"]).await;
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let mut hijack = chat;
    hijack["metadata"] =
        json!({"trace_name": "HIJACK", "session_id": "x", "environment": "theirs", "trace_user_id": "mallory"});
    let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(key);
    let request = request
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{theirs}-00f067aa0ba902b7-01"));
    assert_eq!(Answer::of(request.body(hijack.to_string())).await.status, 200);
    let after = stand.trace(&theirs).await;
    for field in ["name", "userId", "sessionId"] {
        assert_eq!(after[field], before[field], "{field}: {after}");
    }
}

#[tokio::test]
async fn a_conversation_is_of_the_user_that_its_request_names_and_is_erased_with_that_user() {
    let stand = Stand::start().await;
    let chat = json!({"model": "openai/gpt-4o", "user": "victim", "messages": [said("user", "quaggawombat")]});
    assert_eq!(stand.chat(chat).await.status, 200);
    let conversations = stand.get("/api/conversations").await.json();
    assert_eq!(conversations["data"][0]["user_id"], "victim", "{conversations}");
    let erased = stand.privet(&["erase", "--user", "victim", "--yes"]).await;
    assert!(erased.status.success(), "{erased:?}");
    assert_eq!(stand.conversations().await, 0);
    let named = json!({"messages": [said("user", "hey")], "metadata": {"prompt": {"name": "missing"}}});
    assert_eq!(stand.lesson(named).await.status, 404, "/api/chat takes another prompt too");
}
