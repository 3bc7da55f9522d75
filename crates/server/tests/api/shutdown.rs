//! SIGTERM and SIGINT: what is under way finishes, or ends with an explicit word; nothing is left half.

use std::time::{Duration, Instant};

use privet_testkit::upstream::Behaviour;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::stand::{Answer, Stand, ask, ask_streamed, events};

#[tokio::test]
async fn fault_34_a_running_stream_finishes_after_sigterm() {
    let mut stand = Stand::start().await;
    stand.mock.script(Behaviour::text("one two three four five six").chunk_delay_ms(100));
    let mut response =
        stand.post("/v1/chat/completions", ask_streamed("gpt-4o", "x").to_string()).send().await.unwrap();
    let id = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
    let mut read = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let reading = tokio::spawn(async move {
        while let Some(chunk) = response.chunk().await.unwrap() {
            read += std::str::from_utf8(&chunk).unwrap();
        }
        read
    });
    let status = stand.server.terminate().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stand.server.logs());
    let read = reading.await.unwrap();
    assert!(read.ends_with("data: [DONE]\n\n"), "{read}");
    stand.server.restart().await;
    assert_eq!(stand.thread(&id).await, ["user: x", "assistant: one two three four five six"]);
}

#[tokio::test]
async fn fault_34_a_stream_that_takes_too_long_ends_with_an_explicit_event_and_is_kept() {
    let mut stand = Stand::with_config("[server]\ndrain_timeout = \"500ms\"\n").await;
    stand.mock.script(Behaviour::text("one two three four").hang_after_chunks(2));
    for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
        let response = stand.post("/v1/chat/completions", ask_streamed(model, "x").to_string()).send().await.unwrap();
        let id = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
        let reading = tokio::spawn(response.text());
        let started = Instant::now();
        let status = stand.server.terminate().await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", stand.server.logs());
        let elapsed = started.elapsed();
        assert!(elapsed >= Duration::from_millis(450) && elapsed < Duration::from_secs(4), "{model}: {elapsed:?}");
        let read = reading.await.unwrap().unwrap();
        assert_eq!(events(&read).last().unwrap()["error"]["code"], "server_shutdown", "{model}: {read}");
        assert!(!read.contains("[DONE]"), "{model}: {read}");
        stand.mock.wait_for(|stats| stats.in_flight == 0).await;
        stand.server.restart().await;
        let thread = stand.thread(&id).await;
        assert!(thread[1].starts_with("assistant: one two") && thread[1].ends_with('…'), "{model}: {thread:?}");
    }
}

#[tokio::test]
async fn fault_34_calls_without_output_end_with_503_and_leave_nothing() {
    let mut stand = Stand::with_config("[server]\ndrain_timeout = \"300ms\"\n").await;
    stand.mock.script(Behaviour::new().hang());
    let mut asking = Vec::new();
    for (path, body) in [
        ("/v1/chat/completions", ask("gpt-4o", "x")),
        ("/v1/chat/completions", ask_streamed("gpt-4o", "x")),
        ("/api/chat", ask("gpt-4o", "x")),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "x"})),
    ] {
        asking.push((path, tokio::spawn(Answer::of(stand.post(path, body.to_string())))));
    }
    stand.mock.wait_for(|stats| stats.in_flight == 4).await;
    let started = Instant::now();
    assert_eq!(stand.server.terminate().await.unwrap().code(), Some(0), "{}", stand.server.logs());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    for (path, asking) in asking {
        let answer = asking.await.unwrap();
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(answer.text().contains("shutting down"), "{path}: {answer:?}");
    }
    stand.server.restart().await;
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn while_draining_no_new_connection_is_taken_and_the_stream_goes_on() {
    let mut stand = Stand::start().await;
    stand.mock.script(Behaviour::text("one two three four five six").chunk_delay_ms(150));
    let response = stand.post("/v1/chat/completions", ask_streamed("gpt-4o", "x").to_string()).send().await.unwrap();
    let url = stand.server.url().to_owned();
    let reading = tokio::spawn(response.text());
    let asking = async {
        let refused = async {
            while tokio::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), refused).await.is_ok()
    };
    let (status, refused) = tokio::join!(stand.server.terminate(), asking);
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(refused, "new connections were taken");
    assert!(reading.await.unwrap().unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut stand = Stand::start().await;
    let mut idle = Vec::new();
    for said in [&b""[..], b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", b"PRI *"] {
        let mut stream = stand.connect().await;
        stream.write_all(said).await.unwrap();
        idle.push(stream);
    }
    stand.get("/healthz").await;
    let started = Instant::now();
    assert_eq!(stand.server.terminate().await.unwrap().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(stand.server.logs().contains("stopped"), "{}", stand.server.logs());
}
