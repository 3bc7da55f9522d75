//! Hostile and mistaken requests: each is answered 4xx in its surface's own shape, and the server goes on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stand::{Answer, Stand, ask};

/// An error says what is wrong in a few words, and does not repeat a megabyte of what it was given.
const ANSWER_BYTES_MAX: usize = 2048;

/// Checks that an answer is an error in the shape of its path's surface.
fn check(path: &str, what: &str, answer: &Answer) {
    let excerpt: String = format!("{answer:?}").chars().take(600).collect();
    assert!((400..500).contains(&answer.status), "{path}, {what}: {excerpt}");
    assert!(answer.body.len() <= ANSWER_BYTES_MAX, "{path}, {what}: {} bytes: {excerpt}", answer.body.len());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}, {what}: {excerpt}");
    let body = answer.json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let message = if path.starts_with("/v1beta") {
        assert_eq!(keys(&body), ["error"], "{path}, {what}");
        assert_eq!(keys(&body["error"]), ["code", "message", "status", "details"], "{path}, {what}");
        &body["error"]["message"]
    } else if path.starts_with("/v1") {
        assert_eq!(keys(&body), ["error"], "{path}, {what}");
        assert_eq!(keys(&body["error"]), ["message", "type", "param", "code"], "{path}, {what}");
        &body["error"]["message"]
    } else if path == "/api/chat" {
        assert_eq!(keys(&body), ["error"], "{path}, {what}");
        &body["error"]
    } else {
        assert_eq!(keys(&body), ["error", "code"], "{path}, {what}");
        &body["error"]
    };
    let words = message.as_str().unwrap_or_else(|| panic!("{path}, {what}: {excerpt}")).split_whitespace().count();
    assert!(words >= 3, "{path}, {what}: no sentence: {excerpt}");
}

async fn still_serves(stand: &Stand) {
    let answer = stand.chat(ask("gpt-4o", "still there?")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!stand.server.logs().contains("panicked"), "{}", stand.server.logs());
}

/// Bodies that are no JSON, or more of it than is sensible. No endpoint takes any of them.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let member = |n: usize| format!("\"k{n}\":{n}");
    let million = (0..1_000_000).map(member).collect::<Vec<_>>().join(",");
    let inside =
        |content: &[u8]| [&b"{\"messages\":[{\"role\":\"user\",\"content\":\""[..], content, b"\"}]}"].concat();
    vec![
        ("half an object", b"{\"messages\": [".to_vec()),
        ("a word", b"hello".to_vec()),
        ("single quotes", b"{'messages': []}".to_vec()),
        ("a trailing comma", b"{\"messages\": [],}".to_vec()),
        ("something behind it", b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]} x".to_vec()),
        ("UTF-16", "{}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("bytes that are no UTF-8", inside(b"\xff\xfe")),
        ("a surrogate in UTF-8", inside(b"\xed\xa0\x80")),
        ("a lone high surrogate", inside(b"\\ud800")),
        ("a lone low surrogate", inside(b"\\udc00 x")),
        ("a bare NUL", inside(b"\0")),
        ("a bare line feed", inside(b"\n")),
        ("50,000 arrays in one another", b"[".repeat(50_000)),
        ("50,000 objects in one another", b"{\"a\":".repeat(50_000)),
        ("50,000 deep inside the content", inside(&[&b"\",\"x\":"[..], &b"[".repeat(50_000), b"\""].concat())),
        ("a million keys", format!("{{{million}}}").into_bytes()),
        ("a million items", format!("{{\"messages\":[{}0]}}", "0,".repeat(1_000_000)).into_bytes()),
    ]
}

#[tokio::test]
async fn broken_bodies_are_refused_on_every_surface() {
    let stand = Stand::start().await;
    for (what, body) in broken_bodies() {
        for path in [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/images/generations",
            "/v1/moderations",
            "/v1/audio/speech",
            "/v1/audio/transcriptions",
            "/v1beta/models/gpt-4o:generateContent",
            "/v1beta/models/gpt-4o:countTokens",
            "/api/chat",
            "/api/conversations",
        ] {
            let answer = Answer::of(stand.post(path, body.clone())).await;
            check(path, what, &answer);
            assert_eq!(answer.status, 400, "{path}, {what}");
        }
    }
    assert_eq!(stand.mock.stats().calls, 0, "nothing broken reaches a provider");
    still_serves(&stand).await;
}

#[tokio::test]
async fn wrong_chat_requests_are_refused_with_the_field_at_fault() {
    let stand = Stand::start().await;
    let with = |field: &str, value: Value| {
        let mut body = ask("gpt-4o", "x");
        body[field] = value;
        body
    };
    let message = |message: Value| json!({"model": "gpt-4o", "messages": [message]});
    for (param, body) in [
        (None, json!(null)),
        (None, json!([])),
        (None, json!("x")),
        (Some("messages"), json!({"model": "gpt-4o"})),
        (Some("messages"), json!({"model": "gpt-4o", "messages": []})),
        (Some("messages"), json!({"model": "gpt-4o", "messages": {}})),
        (Some("messages[0]"), message(json!("x"))),
        (Some("messages[0].role"), message(json!({"content": "x"}))),
        (Some("messages[0].role"), message(json!({"role": "wizard", "content": "x"}))),
        (Some("messages[0].content"), message(json!({"role": "user"}))),
        (Some("messages[0].content"), message(json!({"role": "user", "content": 7}))),
        (Some("messages[0].content"), message(json!({"role": "user", "content": null}))),
        (Some("messages[0].content[0].type"), message(json!({"role": "user", "content": [7]}))),
        (Some("messages[0].tool_call_id"), message(json!({"role": "tool", "content": "x"}))),
        (Some("messages[0].tool_calls"), message(json!({"role": "assistant", "tool_calls": "x"}))),
        (Some("model"), with("model", json!(7))),
        (Some("model"), with("model", json!(["gpt-4o"]))),
        (Some("stream"), with("stream", json!("yes"))),
        (Some("stream_options"), with("stream_options", json!("usage"))),
        (Some("n"), with("n", json!(0))),
        (Some("n"), with("n", json!(-1))),
        (Some("n"), with("n", json!(1.5))),
        (Some("n"), with("n", json!(4_294_967_296_u64))),
        (Some("store"), with("store", json!("no"))),
        (Some("metadata"), with("metadata", json!("x"))),
        (Some("conversation_id"), with("conversation_id", json!("not-a-uuid"))),
        (Some("conversation_id"), with("conversation_id", json!(7))),
        (Some("conversation_id"), with("metadata", json!({"conversation_id": 7}))),
        (Some("conversation_id"), with("metadata", json!({"conversation_id": "../../etc/passwd"}))),
        (Some("conversation_id"), with("metadata", json!({"conversation_id": "x".repeat(100_000)}))),
    ] {
        let what: String = body.to_string().chars().take(200).collect();
        let answer = stand.chat(body).await;
        check("/v1/chat/completions", &what, &answer);
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, param), "{what}: {answer:?}");
    }
    assert_eq!((stand.mock.stats().calls, stand.conversations().await), (0, 0));
    still_serves(&stand).await;
}

#[tokio::test]
async fn a_member_named_twice_is_refused() {
    let stand = Stand::start().await;
    let body = r#"{"messages":[{"role":"user","content":"one"}],"messages":[{"role":"user","content":"two"}]}"#;
    for path in ["/v1/chat/completions", "/api/chat"] {
        let answer = Answer::of(stand.post(path, body)).await;
        check(path, "duplicate key", &answer);
    }
    let body = r#"{"model":"text-embedding-3-small","input":"a","input":"b"}"#;
    check("/v1/embeddings", "duplicate key", &Answer::of(stand.post("/v1/embeddings", body)).await);
    let body = r#"{"id":"01890000-0000-7000-8000-000000000001","id":"01890000-0000-7000-8000-000000000002"}"#;
    check("/api/conversations", "duplicate key", &Answer::of(stand.post("/api/conversations", body)).await);
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn wrong_embeddings_requests_are_refused_with_the_field_at_fault() {
    let stand = Stand::start().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"model": "text-embedding-3-small", "input": "x"});
        body[field] = value;
        body
    };
    for (param, body) in [
        ("model", json!({"input": "x"})),
        ("model", with("model", json!(7))),
        ("input", json!({"model": "text-embedding-3-small"})),
        ("input", with("input", json!([]))),
        ("input", with("input", json!({}))),
        ("input", with("input", json!([null]))),
        ("encoding_format", with("encoding_format", json!("hex"))),
        ("dimensions", with("dimensions", json!("many"))),
        ("dimensions", with("dimensions", json!(-1))),
    ] {
        let answer = Answer::of(stand.post("/v1/embeddings", body.to_string())).await;
        check("/v1/embeddings", &body.to_string(), &answer);
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(param)), "{body}");
    }
}

#[tokio::test]
async fn names_that_do_not_exist_are_not_found_and_not_repeated_at_length() {
    let stand = Stand::start().await;
    for name in ["x".repeat(1_000_000), "openai/".to_owned(), "/".to_owned(), "\u{202e}gpt\0".to_owned()] {
        let what: String = name.chars().take(20).collect();
        let answer = stand.chat(ask(&name, "x")).await;
        check("/v1/chat/completions", &what, &answer);
        assert_eq!(answer.status, 404, "{what}");
        let body = json!({"model": name, "messages": [{"role": "user", "content": "x"}]});
        check("/api/chat", &what, &stand.lesson(body).await);
    }
    still_serves(&stand).await;
}

#[tokio::test]
async fn wrong_conversation_headers_are_refused() {
    let stand = Stand::start().await;
    for id in [&b"not-a-uuid"[..], b"", b"\xff\xfe", b"00000000-0000-0000-0000-00000000000g", b"' OR 1=1 --"] {
        let request = stand.post("/v1/chat/completions", ask("gpt-4o", "x").to_string());
        let answer = Answer::of(request.header("x-conversation-id", id)).await;
        check("/v1/chat/completions", &String::from_utf8_lossy(id), &answer);
        assert_eq!(answer.status, 400);
    }
    for id in [json!("not-a-uuid"), json!(""), json!(7), json!(["x"])] {
        let body = json!({"conversation_id": id, "messages": [{"role": "user", "content": "x"}]});
        let answer = stand.lesson(body).await;
        check("/api/chat", &id.to_string(), &answer);
        assert_eq!(answer.status, 400, "{id}");
    }
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn wrong_queries_and_paths_are_refused() {
    let stand = Stand::start().await;
    for (status, path) in [
        (400, "/api/conversations?limit=0"),
        (400, "/api/conversations?limit=501"),
        (400, "/api/conversations?limit=-1"),
        (400, "/api/conversations?limit=many"),
        (400, "/api/conversations?limit=99999999999999999999"),
        (400, "/api/conversations?limit=1&limit=2"),
        (400, "/api/conversations?cursor=x"),
        (400, "/api/conversations?cursor=%00"),
        (404, "/api/conversations/not-a-uuid"),
        (404, "/api/conversations/01890000-0000-7000-8000-000000000000"),
        (404, "/api/conversations/..%2F..%2Fetc%2Fpasswd"),
        (400, "/api/conversations/%ff"),
        (404, "/api/messages/%00"),
        (400, "/api/messages/%ff"),
        (404, "/v1/models/%00"),
        (400, "/v1/models/%ff"),
        (400, "/v1/models/openai/%ff"),
        (404, "/v1/models/openai/nothing"),
        (404, "/nothing"),
        (404, "/api"),
        (404, "/api/nothing"),
        (404, "/v1"),
        (404, "/v1/nothing"),
        (404, "/v1/chat/completions/x"),
    ] {
        let answer = stand.get(path).await;
        check(path, "GET", &answer);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let long = format!("/api/{}", "x".repeat(20_000));
    check(&long, "a long path", &stand.get(&long).await);
    still_serves(&stand).await;
}

#[tokio::test]
async fn wrong_methods_are_refused_with_those_that_are_right() {
    let stand = Stand::start().await;
    let odd = Method::from_bytes(b"BREW").unwrap();
    for (method, path, allowed) in [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::PUT, "/v1/chat/completions", "POST"),
        (Method::DELETE, "/v1/embeddings", "POST"),
        (Method::GET, "/api/chat", "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::OPTIONS, "/api/messages/01890000-0000-7000-8000-000000000000", "GET,HEAD,PATCH,DELETE"),
        (odd, "/api/chat", "POST"),
    ] {
        let answer = Answer::of(stand.request(method.clone(), path)).await;
        let surface = if path == "/api/chat" { "/api" } else { path };
        check(surface, method.as_str(), &answer);
        assert_eq!(answer.status, 405, "{method} {path}");
        let mut named: Vec<&str> = answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        let mut allowed: Vec<&str> = allowed.split(',').collect();
        named.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(named, allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_bodies_of_the_conversations_api_are_refused() {
    let stand = Stand::start().await;
    let id = stand.chat(ask("gpt-4o", "x")).await.conversation();
    let read = stand.get(&format!("/api/conversations/{id}")).await.json();
    let message = format!("/api/messages/{}", read["messages"][0]["uuid"].as_str().unwrap());
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"content\":7}",
        "{\"content\":\"\\u0000\"}",
        "{\"content\":\"x\",\"role\":\"user\"}",
    ] {
        let answer = Answer::of(stand.request(Method::PATCH, &message).body(body)).await;
        check(&message, body, &answer);
        assert_eq!(answer.status, 400, "{body}");
    }
    for body in ["7", "[]", "{\"id\":7}", "{\"id\":\"x\"}", "{\"name\":\"x\"}"] {
        let answer = Answer::of(stand.post("/api/conversations", body)).await;
        check("/api/conversations", body, &answer);
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(stand.thread(&id).await[0], "user: x");
}

#[tokio::test]
async fn odd_text_makes_the_round_trip_unchanged() {
    let stand = Stand::start().await;
    let marks = "\u{0301}".repeat(500_000);
    for text in [
        "\u{0}between\u{0}",
        "\u{202e}right to left\u{2066}",
        "\u{feff}mark",
        "\u{1f468}\u{200d}\u{1f469}",
        "\u{ffff}",
        marks.as_str(),
    ] {
        let answer = stand.chat(ask("gpt-4o", text)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(stand.sent().body["messages"][0]["content"], text);
        let id = answer.conversation();
        let mut body = ask("gpt-4o", "and?");
        body["metadata"] = json!({"conversation_id": id});
        assert_eq!(stand.chat(body).await.status, 200);
        assert_eq!(stand.sent().body["messages"][0]["content"], text, "remembered as it was said");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_it_is_sent() {
    let stand = Stand::with_config("[server]\nbody_bytes_max = 100000\n").await;
    for path in ["/v1/chat/completions", "/api/chat", "/v1/embeddings", "/api/conversations"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\ncontent-length: 1000000000\r\n\r\n",
            stand.server.key()
        );
        let answer = stand.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        assert!(answer.contains("server.body_bytes_max"), "{path}: {answer}");
    }
    still_serves(&stand).await;
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_and_cut() {
    let stand = Stand::with_config("[server]\nbody_bytes_max = 100000\n").await;
    let mut stream = stand.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        stand.server.key()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let mut answer = Vec::new();
    let mut piece = [0_u8; 4096];
    // Four chunks pass the limit; an endless body would go on for ever.
    for _ in 0..4 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    while !String::from_utf8_lossy(&answer).contains("body_too_large") {
        let count = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    still_serves(&stand).await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_reads_why() {
    let stand = Stand::with_config("[server]\nbody_bytes_max = 100000\n").await;
    for bytes in [100_001, 1_000_000, 20_000_000] {
        let answer = Answer::of(stand.post("/v1/chat/completions", vec![b' '; bytes])).await;
        check("/v1/chat/completions", "a large body", &answer);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("body_too_large")), "{bytes}");
    }
}

#[tokio::test]
async fn a_slow_body_is_408_in_time() {
    let stand = Stand::with_config("[server]\nbody_timeout = \"400ms\"\n").await;
    for path in ["/v1/chat/completions", "/api/chat"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{\"mess",
            stand.server.key()
        );
        let started = Instant::now();
        let answer = stand.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
        assert!(answer.contains("0.4 s"), "{path}: {answer}");
        let elapsed = started.elapsed();
        assert!(elapsed >= Duration::from_millis(400) && elapsed < Duration::from_secs(3), "{path}: {elapsed:?}");
    }
    still_serves(&stand).await;
}

#[tokio::test]
async fn hostile_heads_are_refused_and_the_server_goes_on() {
    let stand = Stand::start().await;
    let many: String = (0..1000).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, head) in [
        ("1,000 headers", format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n")),
        ("a header of 100 KB", format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "y".repeat(100_000))),
        ("a path of 100 KB", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(100_000))),
        ("no HTTP", "HELO mail.example.org\r\n\r\n".to_owned()),
        ("a NUL in a header", "GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: \0\r\n\r\n".to_owned()),
        (
            "two lengths",
            "POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx".to_owned(),
        ),
        ("a negative length", "POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned()),
        (
            "a bad chunk",
            format!(
                "POST /api/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                stand.server.key()
            ),
        ),
    ] {
        let answer = stand.raw(head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    still_serves(&stand).await;
}
