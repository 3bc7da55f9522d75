//! Providers that fail: refusing, silent, slow, cut, malformed; and clients that leave.

use std::time::{Duration, Instant};

use privet_testkit::upstream::{Behaviour, ErrorShape, Malformed, MockUpstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stand::{Answer, CALLED_ONCE, PROVIDER_KEY, Stand, ask, ask_streamed, builder, client};

/// Limits short enough to wait for, long enough that a busy machine does not pass them by accident.
const SHORT: &str = "[providers.openai]\nfirst_byte_timeout = \"400ms\"\nidle_timeout = \"500ms\"\ntotal_timeout = \"900ms\"\n\
                     [providers.anthropic]\nfirst_byte_timeout = \"400ms\"\nidle_timeout = \"500ms\"\ntotal_timeout = \"900ms\"\n\
                     [providers.gemini]\nfirst_byte_timeout = \"400ms\"\nidle_timeout = \"500ms\"\ntotal_timeout = \"900ms\"\n";
/// A model of each dialect.
const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];
/// How much later than its limit a timeout may fire here.
const SLACK: Duration = Duration::from_millis(1500);

fn code(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

/// The code of the error event that a stream ended in.
fn last_code(answer: &Answer) -> String {
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
    let last = answer.events().pop().unwrap_or_else(|| panic!("no event: {answer:?}"));
    last["error"]["code"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// Asserts that a limit fired when it should.
fn fired(started: Instant, limit_ms: u64) {
    let (limit, elapsed) = (Duration::from_millis(limit_ms), started.elapsed());
    assert!(elapsed >= limit.mul_f64(0.9) && elapsed < limit + SLACK, "after {elapsed:?} and not {limit:?}");
}

#[tokio::test]
async fn a_provider_that_refuses_the_connection_is_502() {
    let mock = MockUpstream::start().await;
    let server = builder(&mock).env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1").start().await;
    for stream in [false, true] {
        let mut body = ask("gpt-4o", "x");
        body["stream"] = json!(stream);
        let url = format!("{}/v1/chat/completions", server.url());
        let answer = Answer::of(client().post(url).bearer_auth(server.key()).body(body.to_string())).await;
        assert_eq!((answer.status, code(&answer)), (502, json!("upstream_unreachable")), "{answer:?}");
        assert!(answer.text().contains("`openai`"), "{answer:?}");
    }
    let list = Answer::of(client().get(format!("{}/api/conversations", server.url())).bearer_auth(server.key())).await;
    assert_eq!(list.json()["data"], json!([]), "a failed turn leaves nothing");
}

#[tokio::test]
async fn fault_14_a_provider_that_never_answers_is_504_after_the_first_byte_limit() {
    let stand = Stand::with_config(SHORT).await;
    stand.mock.script(Behaviour::new().hang());
    for model in MODELS {
        for stream in [false, true] {
            let mut body = ask(model, "x");
            body["stream"] = json!(stream);
            let started = Instant::now();
            let answer = stand.chat(body).await;
            fired(started, 400);
            assert_eq!(
                (answer.status, code(&answer)),
                (504, json!("upstream_timeout")),
                "{model} {stream}: {answer:?}"
            );
        }
    }
    stand.mock.wait_for(|stats| stats.cancelled == 6 && stats.in_flight == 0).await;
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn fault_14_silence_in_the_middle_ends_after_the_idle_limit() {
    let stand = Stand::with_config(SHORT).await;
    stand.mock.script(Behaviour::text("one two three").hang_after_chunks(2));
    for model in MODELS {
        let started = Instant::now();
        let answer = stand.chat(ask_streamed(model, "x")).await;
        fired(started, 500);
        assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_timeout"), "{model}");
        let thread = stand.thread(&answer.conversation()).await;
        assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
    }
    let started = Instant::now();
    let answer = stand.chat(ask("gpt-4o", "x")).await;
    fired(started, 500);
    assert_eq!((answer.status, code(&answer)), (504, json!("upstream_timeout")), "{answer:?}");
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
}

#[tokio::test]
async fn fault_14_18_one_byte_after_another_is_cut_at_the_total_limit() {
    let stand = Stand::with_config(SHORT).await;
    for model in MODELS {
        stand.mock.script(Behaviour::new().slow_drip_ms(20));
        for stream in [false, true] {
            let mut body = ask(model, "x");
            body["stream"] = json!(stream);
            let started = Instant::now();
            let answer = stand.chat(body).await;
            fired(started, 900);
            let told = (answer.status, code(&answer));
            assert_eq!(told, (504, json!("upstream_timeout")), "{model}: nothing was said: {answer:?}");
        }
        stand.mock.script(Behaviour::text("word ".repeat(100)).chunk_delay_ms(50));
        let started = Instant::now();
        let answer = stand.chat(ask_streamed(model, "x")).await;
        fired(started, 900);
        assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_timeout"), "{model}");
        assert!(stand.thread(&answer.conversation()).await[1].ends_with('…'));
    }
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
}

/// A server whose queue of connections is full: whoever connects waits.
async fn full_queue() -> (tokio::net::TcpListener, Vec<tokio::task::JoinHandle<std::io::Result<tokio::net::TcpStream>>>)
{
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = (0..4).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    (listener, waiting)
}

#[tokio::test]
async fn fault_14_a_connection_that_does_not_come_is_504_after_its_limit() {
    let mock = MockUpstream::start().await;
    let (listener, waiting) = full_queue().await;
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    let mut server = builder(&mock).config_toml("[[timeouts]]\nmodel = \"*\"\nconnect = \"400ms\"\n");
    for (provider, path) in [("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GEMINI", "")] {
        server = server.env(format!("{provider}_BASE_URL"), format!("{nobody}{path}"));
    }
    let server = server.start().await;
    for model in MODELS {
        let started = Instant::now();
        let request = client().post(format!("{}/v1/chat/completions", server.url())).bearer_auth(server.key());
        let answer = Answer::of(request.body(ask(model, "x").to_string())).await;
        fired(started, 400);
        assert_eq!((answer.status, code(&answer)), (504, json!("upstream_timeout")), "{model}: {answer:?}");
        assert!(answer.text().contains("no connection"), "{answer:?}");
    }
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn fault_15_nothing_is_asked_twice_after_the_first_streamed_byte() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::text("one two three").cut_after_chunks(1));
    for (calls, model) in (1..).zip(MODELS) {
        let answer = stand.chat(ask_streamed(model, "x")).await;
        assert_eq!(last_code(&answer), "upstream_cut", "{model}");
        assert_eq!(stand.mock.stats().calls, calls, "{model}");
    }
}

#[tokio::test]
async fn fault_16_a_cut_stream_ends_in_an_error_event_and_is_kept_and_billed() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    for model in MODELS {
        stand.mock.reset();
        stand.mock.script(Behaviour::text("one two three").cut_after_chunks(2));
        let before = stand.usage(&key).await["settled_nanos"].as_u64().unwrap();
        let answer = stand.chat_as(&key, ask_streamed(model, "x")).await;
        assert_eq!((answer.status, last_code(&answer).as_str()), (200, "upstream_cut"), "{model}");
        let thread = stand.thread(&answer.conversation()).await;
        assert_eq!(thread, ["user: x", "assistant: one two …"], "{model}");
        let usage = stand.usage(&key).await;
        let (settled, bill) = (usage["settled_nanos"].as_u64().unwrap() - before, stand.mock.stats().bill_nanos);
        assert!(bill > 0 && settled >= bill, "{model}: {settled} of {bill}");
        assert_eq!(usage["held_nanos"], 0);
    }
}

#[tokio::test]
async fn fault_16_a_cut_answer_can_be_continued() {
    let stand = Stand::start().await;
    stand.mock.script_once(Behaviour::text("one two three").cut_after_chunks(2));
    let id = stand.chat(ask_streamed("gpt-4o", "count")).await.conversation();
    let mut body = ask("gpt-4o", "go on");
    body["metadata"] = json!({"conversation_id": id});
    assert_eq!(stand.chat(body).await.status, 200);
    assert_eq!(stand.sent_thread(), ["user: count", "assistant: one two ", "user: go on"]);
}

#[tokio::test]
async fn fault_16_a_cut_tool_call_is_kept_in_a_form_that_can_go_on() {
    let stand = Stand::start().await;
    let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
    for model in MODELS {
        stand.mock.script_once(
            Behaviour::text("let me").tool_call("add", json!({"a": "a long argument"})).chunks(4).cut_after_chunks(6),
        );
        let mut body = ask_streamed(model, "x");
        body["tools"] = tools.clone();
        let first = stand.chat(body).await;
        assert_eq!(first.status, 200, "{model}: {first:?}");
        let mut body = ask(model, "go on");
        body["metadata"] = json!({"conversation_id": first.conversation()});
        let second = stand.chat(body).await;
        assert_eq!(second.status, 200, "{model}: {second:?}");
        let sent = stand.sent().body.to_string();
        assert!(sent.contains("go on"), "{model}: {sent}");
    }
}

#[tokio::test]
async fn fault_17_a_line_of_10_mb_is_a_typed_error() {
    let stand = Stand::start().await;
    for model in MODELS {
        stand.mock.script(Behaviour::text("one two three").malformed(Malformed::HugeLine));
        let streamed = stand.chat(ask_streamed(model, "x")).await;
        assert_eq!((streamed.status, last_code(&streamed).as_str()), (200, "upstream_error"), "{model}");
        let whole = stand.chat(ask(model, "x")).await;
        assert_eq!((whole.status, code(&whole)), (502, json!("upstream_malformed")), "{model}: {whole:?}");
        assert!(whole.body.len() < 2048, "{model}: the 10 MB are not repeated");
    }
    assert!(!stand.server.logs().contains("aaaaaaaaaaaaaaaa"), "nor logged");
}

#[tokio::test]
async fn fault_17_an_answer_without_usage_is_an_answer() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().no_usage());
    for model in MODELS {
        assert_eq!(stand.chat(ask(model, "x")).await.status, 200, "{model}");
        let mut body = ask_streamed(model, "x");
        body["stream_options"] = json!({"include_usage": true});
        let answer = stand.chat(body).await;
        assert!(answer.is_done(), "{model}: {}", answer.text());
    }
}

#[tokio::test]
async fn fault_17_an_endless_error_body_is_not_read_for_ever() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::error(400).raw_body("x".repeat(8_000_000)));
    let answer = stand.chat(ask("gpt-4o", "x")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 2048, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn fault_17_a_stream_in_answer_to_a_plain_request_and_the_reverse_are_502() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    stand.mock.script_once(
        Behaviour::new()
            .header("content-type", "text/event-stream")
            .raw_body("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"),
    );
    assert_eq!(stand.chat(ask("gpt-4o", "x")).await.status, 502);
    stand.mock.script_once(Behaviour::new().header("content-type", "text/html").raw_body("<html>welcome</html>"));
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    stand.mock.script_once(Behaviour::new().header("content-type", "text/event-stream").raw_body(""));
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    stand.mock.script_once(
        Behaviour::new()
            .header("content-type", "application/json")
            .raw_body(r#"{"error":{"message":"no streams here","type":"x"}}"#),
    );
    let answer = stand.chat(ask_streamed("gpt-4o", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text().contains("no streams here"), "{answer:?}");
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn a_redirect_of_the_provider_is_not_followed() {
    let stand = Stand::start().await;
    let elsewhere = MockUpstream::start().await;
    stand.mock.script(
        Behaviour::new()
            .status(307)
            .header("location", format!("{}/v1/chat/completions", elsewhere.base_url()))
            .raw_body(""),
    );
    let answer = stand.chat(ask("gpt-4o", "x")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(elsewhere.stats().calls, 0, "the key would have gone along");
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_a_stream_cancels_the_provider_and_the_part_is_kept() {
    let stand = Stand::start().await;
    for model in MODELS {
        let cancelled = stand.mock.stats().cancelled;
        stand.mock.script_once(Behaviour::text("one two three four").hang_after_chunks(2));
        let request = stand.post("/v1/chat/completions", ask_streamed(model, "x").to_string());
        let mut response = request.send().await.unwrap();
        let id = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
        let mut read = String::new();
        while !read.contains("two") {
            read += &String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap());
        }
        drop(response);
        let left = Instant::now();
        stand.mock.wait_for(|stats| stats.cancelled == cancelled + 1).await;
        assert!(left.elapsed() < Duration::from_millis(500), "{model}: {:?}", left.elapsed());
        // The provider is let go before the part is written down.
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
        assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
    }
}

#[tokio::test]
async fn fault_19_a_client_that_leaves_before_the_answer_cancels_the_provider_and_leaves_nothing() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().hang());
    let chats = MODELS.map(|model| [ask(model, "x"), ask_streamed(model, "x")]).into_iter().flatten();
    let others = [
        ("/api/chat", ask("gpt-4o", "x")),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "x"})),
    ];
    for (path, body) in chats.map(|body| ("/v1/chat/completions", body)).chain(others) {
        let before = stand.mock.stats();
        let body = body.to_string();
        let mut stream = stand.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            stand.server.key(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stand.mock.wait_for(|stats| stats.calls == before.calls + 1).await;
        drop(stream);
        let left = Instant::now();
        stand.mock.wait_for(|stats| stats.cancelled == before.cancelled + 1).await;
        assert!(left.elapsed() < Duration::from_millis(500), "{path}: {:?}", left.elapsed());
    }
    let gone = async {
        while stand.conversations().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn fault_18_a_client_that_does_not_read_holds_back_the_provider_and_not_the_memory() {
    let stand = Stand::start().await;
    // 45 MB in 60,000 pieces: more than sockets and queues hold, be the kernel ever so generous.
    stand.mock.script(Behaviour::text("word ".repeat(6_000_000)).chunks(60_000));
    let body = ask_streamed("gpt-4o", "x").to_string();
    let mut stream = stand.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        stand.server.key(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0_u8; 512];
    assert!(stream.read(&mut first).await.unwrap() > 0);
    // Others are served as if nothing were.
    for _ in 0..5 {
        stand.mock.script_model_once("gpt-4o-mini", Behaviour::new());
        assert_eq!(stand.chat(ask("gpt-4o-mini", "x")).await.status, 200);
    }
    assert_eq!(stand.mock.stats().in_flight, 1, "the provider waits for the client");
    drop(stream);
    stand.mock.wait_for(|stats| stats.in_flight == 0).await;
}

#[tokio::test]
async fn a_providers_401_is_our_failure_and_its_key_is_told_to_nobody() {
    let stand = Stand::with_config("[log]\nfilter = \"trace\"\n").await;
    for model in MODELS {
        for (status, stream) in [(401, false), (403, false), (401, true)] {
            let words = format!("Incorrect API key provided: {PROVIDER_KEY}. You can find your key at example.org.");
            stand.mock.script_once(Behaviour::error(status).error_message(words));
            let mut body = ask(model, "x");
            body["stream"] = json!(stream);
            let answer = stand.chat(body).await;
            assert_eq!(answer.status, 502, "{model}: {answer:?}");
            assert!(!answer.text().contains(PROVIDER_KEY), "{answer:?}");
            assert!(answer.header("www-authenticate").is_none());
        }
    }
    stand.mock.script_once(Behaviour::new().error_inside_200(0, ErrorShape::Vllm));
    stand.chat(ask("gpt-4o", "x")).await;
    assert!(!stand.server.logs().contains(PROVIDER_KEY), "the log holds the provider's key");
}
