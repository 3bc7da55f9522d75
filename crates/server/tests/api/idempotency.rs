//! Idempotency-Key: a request that is sent again is answered as before, and the provider is called once.

use futures_util::future::join_all;
use privet_testkit::postgres::fresh_database;
use privet_testkit::upstream::{Behaviour, MockUpstream};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, Stand, ask, ask_streamed, builder, client};

impl Stand {
    fn keyed(&self, path: &str, key: &str, body: &Value) -> RequestBuilder {
        self.post(path, body.to_string()).header("idempotency-key", key)
    }

    async fn keyed_chat(&self, key: &str, body: &Value) -> Answer {
        Answer::of(self.keyed("/v1/chat/completions", key, body)).await
    }

    fn calls(&self) -> u64 {
        self.mock.stats().calls
    }
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn is_replay_of(again: &Answer, first: &Answer) {
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    for name in ["content-type", "x-conversation-id", "cache-control", "x-accel-buffering"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!(again.header("x-original-request-id"), first.header("x-request-id"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
}

#[tokio::test]
async fn wire_07_a_repeated_request_is_answered_as_before_on_every_paid_route() {
    let stand = Stand::start().await;
    let lesson = json!({"messages": [{"role": "user", "content": "x"}], "model": "openai/gpt-4o"});
    let embeddings = json!({"model": "text-embedding-3-small", "input": "x"});
    let routes = [
        ("/api/chat", lesson),
        ("/v1/chat/completions", ask("gpt-4o", "x")),
        ("/v1/chat/completions", ask_streamed("gpt-4o", "x")),
        ("/v1/embeddings", embeddings),
    ];
    for (number, (path, body)) in (1..).zip(&routes) {
        let key = format!("order-{number}");
        let first = Answer::of(stand.keyed(path, &key, body)).await;
        assert_eq!(first.status, 200, "{path}: {first:?}");
        for _ in 0..2 {
            is_replay_of(&Answer::of(stand.keyed(path, &key, body)).await, &first);
        }
        assert_eq!(stand.calls(), number, "{path}");
    }
    assert_eq!(stand.conversations().await, 3);
}

#[tokio::test]
async fn wire_07_a_stream_is_replayed_as_a_stream_of_the_same_bytes() {
    let stand = Stand::start().await;
    for model in ["openai/m", "anthropic/m", "gemini/m"] {
        let body = ask_streamed(model, "x");
        let first = stand.keyed_chat(model, &body).await;
        assert!(first.is_done(), "{first:?}");
        let again = stand.keyed_chat(model, &body).await;
        is_replay_of(&again, &first);
        assert_eq!(again.header("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(stand.calls(), 3);
}

#[tokio::test]
async fn wire_07_the_key_of_another_request_is_refused() {
    let stand = Stand::start().await;
    let (body, key) = (ask("gpt-4o", "x"), "order-1");
    assert_eq!(stand.keyed_chat(key, &body).await.status, 200);
    let elsewhere = stand.keyed("/v1/chat/completions", key, &body).header("x-conversation-id", "made-up");
    for request in [
        stand.keyed("/v1/chat/completions", key, &ask("gpt-4o", "y")),
        stand.keyed("/v1/embeddings", key, &body),
        elsewhere,
    ] {
        let refused = Answer::of(request).await;
        assert_eq!((refused.status, code(&refused).as_str()), (409, "idempotency_mismatch"));
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    assert_eq!(stand.calls(), 1);
}

#[tokio::test]
async fn wire_07_a_key_that_is_none_is_refused() {
    let stand = Stand::start().await;
    let body = ask("gpt-4o", "x");
    let long = "k".repeat(256);
    for wrong in ["", "two words", "\u{17c}", long.as_str()] {
        let refused = Answer::of(stand.keyed("/v1/chat/completions", wrong, &body)).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.text().contains("Idempotency-Key"), "{refused:?}");
    }
    let twice = stand.keyed("/v1/chat/completions", "a", &body).header("idempotency-key", "b");
    assert_eq!(Answer::of(twice).await.status, 400);
    assert_eq!(stand.calls(), 0);
    assert_eq!(stand.keyed_chat(&"k".repeat(255), &body).await.status, 200);
}

#[tokio::test]
async fn wire_07_a_request_that_is_still_being_answered_is_not_made_twice() {
    let stand = Stand::start().await;
    stand.mock.script_once(Behaviour::new().first_byte_delay_ms(2_000));
    let body = ask("gpt-4o", "x");
    let first = tokio::spawn(Answer::of(stand.keyed("/v1/chat/completions", "order-1", &body)));
    stand.mock.wait_for(|stats| stats.in_flight == 1).await;
    let refused = stand.keyed_chat("order-1", &body).await;
    assert_eq!((refused.status, code(&refused).as_str()), (409, "idempotency_in_flight"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let other = stand.keyed_chat("order-1", &ask("gpt-4o", "y")).await;
    assert_eq!((other.status, code(&other).as_str()), (409, "idempotency_mismatch"));
    let first = first.await.unwrap();
    is_replay_of(&stand.keyed_chat("order-1", &body).await, &first);
    assert_eq!(stand.calls(), 1);
}

#[tokio::test]
async fn fault_07_one_key_sent_fifty_times_at_once_makes_one_call() {
    let database = fresh_database().await;
    for url in [None, Some(&database.url)] {
        let mock = MockUpstream::start().await;
        let builder = url.iter().fold(builder(&mock), |builder, url| builder.database_url(url.as_str()));
        let server = builder.start().await;
        let stand = Stand { mock, server, client: client() };
        stand.mock.script(Behaviour::new().first_byte_delay_ms(100));
        for body in [ask("gpt-4o", "x"), ask_streamed("gpt-4o", "x")] {
            let (key, before) = (format!("order-{}", body["stream"]), stand.calls());
            let answers = join_all((0..50).map(|_| stand.keyed_chat(&key, &body))).await;
            let firsts: Vec<&Answer> = answers
                .iter()
                .filter(|answer| answer.status == 200 && answer.header("idempotency-replayed").is_none())
                .collect();
            assert_eq!(firsts.len(), 1);
            for answer in &answers {
                match answer.status {
                    200 => assert_eq!(answer.text(), firsts[0].text()),
                    status => assert_eq!((status, code(answer).as_str()), (409, "idempotency_in_flight")),
                }
            }
            assert_eq!(stand.calls() - before, 1);
            is_replay_of(&stand.keyed_chat(&key, &body).await, firsts[0]);
        }
    }
}

#[tokio::test]
async fn fault_07_a_failed_call_can_be_made_again_with_its_key() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let (body, streamed) = (ask("gpt-4o", "x"), ask_streamed("gpt-4o", "x"));
    stand.mock.script_once(Behaviour::error(500));
    assert_eq!(stand.keyed_chat("failed", &body).await.status, 502);
    assert_eq!(stand.keyed_chat("failed", &body).await.status, 200);

    let mut cut = Behaviour::text("one two three four");
    cut.cut_after_chunks = Some(2);
    stand.mock.script_once(cut);
    let answer = stand.keyed_chat("cut", &streamed).await;
    assert!(answer.status == 200 && !answer.is_done(), "{answer:?}");
    let answer = stand.keyed_chat("cut", &streamed).await;
    assert!(answer.is_done() && answer.header("idempotency-replayed").is_none(), "{answer:?}");

    // Refused before any provider was asked: another body may follow.
    assert_eq!(stand.keyed_chat("refused", &ask("nobody/knows", "x")).await.status, 404);
    assert_eq!(stand.keyed_chat("refused", &body).await.status, 200);
    assert_eq!(stand.calls(), 5);
}

#[tokio::test]
async fn fault_07_a_client_that_leaves_cancels_the_call_and_may_come_back() {
    let stand = Stand::start().await;
    for body in [ask("gpt-4o", "x"), ask_streamed("gpt-4o", "x")] {
        let key = format!("order-{}", body["stream"]);
        let mut hanging = Behaviour::text("one two three");
        if body["stream"].is_null() {
            hanging.hang = true;
        } else {
            hanging.hang_after_chunks = Some(1);
        }
        stand.mock.reset();
        stand.mock.script_once(hanging);
        let request = stand.keyed("/v1/chat/completions", &key, &body);
        if body["stream"].is_null() {
            let leaving = tokio::spawn(Answer::of(request));
            stand.mock.wait_for(|stats| stats.in_flight == 1).await;
            leaving.abort();
        } else {
            let mut response = request.send().await.unwrap();
            assert!(response.chunk().await.unwrap().is_some());
        }
        stand.mock.wait_for(|stats| stats.cancelled == 1).await;
        let answer = loop {
            // The row is forgotten a moment after the provider was let go.
            let answer = stand.keyed_chat(&key, &body).await;
            if answer.status != 409 {
                break answer;
            }
        };
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, None));
        assert_eq!(stand.calls(), 2);
    }
}

#[tokio::test]
async fn fault_07_kept_answers_survive_a_kill_and_attempts_of_the_dead_do_not_block() {
    let mut stand = Stand::start().await;
    let body = ask_streamed("gpt-4o", "x");
    let first = stand.keyed_chat("kept", &body).await;
    assert!(first.is_done());
    let mut hanging = Behaviour::new();
    hanging.hang = true;
    stand.mock.script_once(hanging);
    let lost = stand.keyed("/v1/chat/completions", "lost", &body).send();
    let lost = tokio::spawn(lost);
    stand.mock.wait_for(|stats| stats.in_flight == 1).await;
    stand.server.kill_dash_9().await.unwrap();
    assert!(lost.await.unwrap().is_err());
    stand.server.restart().await;

    is_replay_of(&stand.keyed_chat("kept", &body).await, &first);
    let again = stand.keyed_chat("lost", &body).await;
    assert!(again.is_done() && again.header("idempotency-replayed").is_none(), "{again:?}");
    is_replay_of(&stand.keyed_chat("lost", &body).await, &again);
    assert_eq!(stand.calls(), 3);
}

#[tokio::test]
async fn wire_07_another_api_key_has_idempotency_keys_of_its_own() {
    let stand = Stand::start().await;
    let body = ask("gpt-4o", "x");
    let first = stand.keyed_chat("order-1", &body).await;
    let other = stand.key_of_project("other").await;
    let request = || {
        let request = stand.client.post(format!("{}/v1/chat/completions", stand.server.url())).bearer_auth(&other);
        request.header("idempotency-key", "order-1").body(body.to_string())
    };
    // A key made by the command line is known to the server in a moment.
    let theirs = loop {
        let answer = Answer::of(request()).await;
        if answer.status != 401 {
            break answer;
        }
    };
    assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (200, None));
    assert_ne!(theirs.conversation(), first.conversation());
    is_replay_of(&Answer::of(request()).await, &theirs);
    assert_eq!(stand.calls(), 2);
}

#[tokio::test]
async fn wire_07_an_answer_that_is_too_large_to_keep_is_not_asked_for_twice() {
    let stand = Stand::start().await;
    let mut large = Behaviour::text("word ".repeat(300_000));
    large.chunks = Some(20);
    stand.mock.script(large);
    for body in [ask("gpt-4o", "x"), ask_streamed("gpt-4o", "x")] {
        let key = format!("order-{}", body["stream"]);
        let answer = stand.keyed_chat(&key, &body).await;
        assert!(answer.status == 200 && answer.body.len() > 1_048_576);
        let refused = stand.keyed_chat(&key, &body).await;
        assert_eq!((refused.status, code(&refused).as_str()), (409, "idempotency_unavailable"));
        assert!(refused.text().contains(answer.header("x-request-id").unwrap()), "{refused:?}");
    }
    assert_eq!(stand.calls(), 2);
}
