//! Two requests at once in one conversation, and a provider or a client that does not let go.

use std::time::{Duration, Instant};

use privet_testkit::upstream::{Behaviour, MockUpstream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::stand::{Answer, Stand, ask_streamed, builder, client};

#[tokio::test]
async fn a_first_request_that_fails_leaves_what_another_said_in_its_conversation() {
    let stand = Stand::start().await;
    stand.mock.script_model("failing", Behaviour::error(500).first_byte_delay_ms(1_000));
    let body = json!({"model": "openai/failing", "messages": [{"role": "user", "content": "first"}]});
    let failing = tokio::spawn(Answer::of(stand.post("/api/chat", body.to_string())));
    let id = loop {
        let listed = stand.get("/api/conversations").await.json();
        if let Some(id) = listed["data"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    let body = json!({"conversation_id": id, "messages": [{"role": "user", "content": "second"}]});
    assert_eq!(stand.lesson(body).await.status, 200);
    assert_eq!(failing.await.unwrap().status, 500);
    let thread = stand.thread(&id).await;
    assert_eq!(thread.len(), 3, "{thread:?}");
    assert_eq!(thread[..2], ["user: first", "user: second"]);
    assert!(thread[2].starts_with("assistant: "), "{thread:?}");
}

/// A provider that sends a whole stream and then keeps its connection open.
async fn provider_that_stays() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 16_384];
                let _ = stream.read(&mut request).await.unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
                     data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"all of it\"}}]}\n\n\
                     data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                     data: [DONE]\n\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                // Open until the other side leaves.
                let _ = stream.read(&mut request).await;
            });
        }
    });
    format!("http://{address}/v1")
}

#[tokio::test]
async fn a_stream_is_complete_at_its_last_word_although_the_provider_stays_connected() {
    let mock = MockUpstream::start().await;
    let server = builder(&mock).env("OPENAI_BASE_URL", provider_that_stays().await).start().await;
    let stand = Stand { mock, server, client: client() };
    let started = Instant::now();
    let answer = Answer::of(stand.post("/v1/chat/completions", ask_streamed("openai/m", "x").to_string())).await;
    assert!(answer.is_done(), "{}", answer.text());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: all of it"]);
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let mut stand = Stand::with_config("[server]\ndrain_timeout = \"300ms\"\n").await;
    stand.mock.script(Behaviour::text("word ".repeat(200_000)));
    let mut connection = stand.connect().await;
    let body = ask_streamed("gpt-4o", "x").to_string();
    let key = stand.server.key();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut first = [0; 16];
    connection.read_exact(&mut first).await.unwrap();
    let started = Instant::now();
    let status = stand.server.terminate().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stand.server.logs());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
