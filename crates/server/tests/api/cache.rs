//! Answers kept for the same question: who asks for that, what is the same, what it costs, and with what they go.

use privet_testkit::upstream::{Behaviour, Usage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand, ask, ask_streamed};

impl Stand {
    async fn cached(&self, wish: &str, body: &Value) -> Answer {
        Answer::of(self.post("/v1/chat/completions", body.to_string()).header("x-privet-cache", wish)).await
    }
}

/// What the cache did.
fn told(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-privet-cache")
}

fn content(answer: &Answer) -> String {
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_same_question_is_answered_once_whole_or_streamed() {
    let stand = Stand::start().await;
    stand.mock.script_model("gpt-4o", Behaviour::text("Zażółć 🌱").chunks(5));
    let asked = stand.mock.stats().calls;
    let first = stand.cached("on", &ask("openai/gpt-4o", "who?")).await;
    assert_eq!(told(&first), Some("miss"));
    let again = stand.cached("on", &ask("openai/gpt-4o", "who?")).await;
    assert_eq!((told(&again), content(&again)), (Some("hit"), content(&first)));
    assert!(again.header("age").unwrap().parse::<u64>().unwrap() < 60);
    assert_eq!(again.header("x-privet-model"), Some("gpt-4o"));
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(again.json()["usage"][count], first.json()["usage"][count], "{count}");
    }
    let streamed = stand.cached("on", &ask_streamed("openai/gpt-4o", "who?")).await;
    assert_eq!((told(&streamed), streamed.streamed_text()), (Some("hit"), content(&first)));
    assert!(streamed.is_done() && streamed.header("content-type") == Some("text/event-stream"), "{streamed:?}");
    let body = json!({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "who?"}], "max_tokens": 99});
    let messages = |body: &Value| {
        let request = stand.post("/v1/messages", body.to_string()).header("anthropic-version", "2023-06-01");
        Answer::of(request.header("x-privet-cache", "on"))
    };
    assert_eq!(told(&messages(&body).await), Some("miss"), "another limit is another question");
    let chat = json!({"max_tokens": 99, "messages": [{"content": "who?", "role": "user"}], "model": "openai/gpt-4o"});
    assert_eq!(told(&stand.cached("on", &chat).await), Some("miss"), "of another dialect");
    let chat = json!({"messages": [{"role": "user", "content": "who?"}], "model": "openai/gpt-4o", "max_tokens": 99});
    assert_eq!(told(&stand.cached("on", &chat).await), Some("hit"), "in another order");
    assert_eq!(stand.mock.stats().calls - asked, 3);
}

#[tokio::test]
async fn a_streamed_answer_is_kept_and_a_tool_call_comes_back_as_it_was() {
    let stand = Stand::start().await;
    stand.mock.script_model("gpt-4o", Behaviour::new().tool_call_with_id("call_1", "weather", json!({"city": "Oslo"})));
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let question = |stream: bool| {
        let mut body = if stream { ask_streamed("openai/gpt-4o", "x") } else { ask("openai/gpt-4o", "x") };
        body["tools"] = tools.clone();
        body
    };
    assert_eq!(told(&stand.cached("on", &question(true)).await), Some("miss"));
    let whole = stand.cached("on", &question(false)).await;
    assert_eq!(told(&whole), Some("hit"));
    let choice = &whole.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["tool_calls"][0]["id"], "call_1");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Oslo\"}");
}

#[tokio::test]
async fn nothing_is_kept_or_found_unless_it_is_asked_for_and_whatever_differs_is_another_question() {
    let stand = Stand::start().await;
    let question = ask("openai/gpt-4o", "x");
    assert_eq!(told(&stand.chat(question.clone()).await), None);
    assert_eq!(told(&stand.cached("on", &question).await), Some("miss"), "it was not kept without being asked for");
    assert_eq!(told(&stand.chat(question.clone()).await), None);
    assert_eq!(told(&stand.cached("off", &question).await), None);
    for (name, value) in [
        ("temperature", json!(0.5)),
        ("seed", json!(1)),
        ("user", json!("eve")),
        ("logit_bias", json!({"1": 2})),
        ("response_format", json!({"type": "json_object"})),
        // What only the provider reads, in the middle of what is known.
        ("response_format", json!({"type": "json_object", "schema": {"required": ["a"]}})),
        ("messages", json!([{"role": "user", "content": [{"type": "text", "text": "x", "min_pixels": 1}]}])),
        ("messages", json!([{"role": "user", "content": [{"type": "text", "text": "x", "min_pixels": 2}]}])),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("model", json!("openai/gpt-4o-mini")),
    ] {
        let mut other = question.clone();
        other[name] = value;
        assert_eq!(told(&stand.cached("on", &other).await), Some("miss"), "{name}");
        assert_eq!(told(&stand.cached("on", &other).await), Some("hit"), "{name}");
    }
    // What describes the trace makes no difference; what only the provider's own bytes hold is not kept.
    let mut described = question.clone();
    described["metadata"] = json!({"trace_name": "t"});
    assert_eq!(told(&stand.cached("on", &described).await), Some("hit"));
    for (name, value) in [("logprobs", json!(true)), ("future_field", json!(1))] {
        let mut other = question.clone();
        other[name] = value;
        assert_eq!(told(&stand.cached("on", &other).await), Some("bypass"), "{name}");
    }
    let mut unstored = question.clone();
    unstored["store"] = json!(false);
    assert_eq!(told(&stand.cached("on", &unstored).await), None);
    let wrong = stand.cached("sometimes", &question).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("x-privet-cache")));
}

#[tokio::test]
async fn a_key_may_ask_for_it_and_projects_and_times_keep_apart() {
    let stand = Stand::start().await;
    let key = stand.create_key(&["--cache", "1s"]).await;
    let question = ask("openai/gpt-4o", "x");
    assert_eq!(told(&stand.chat_as(&key, question.clone()).await), Some("miss"));
    assert_eq!(told(&stand.chat_as(&key, question.clone()).await), Some("hit"));
    let foreign = stand.create_key(&["--cache", "1h", "--project", "foreign"]).await;
    assert_eq!(told(&stand.chat_as(&foreign, question.clone()).await), Some("miss"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while told(&stand.chat_as(&key, question.clone()).await) == Some("hit") {
        assert!(std::time::Instant::now() < until, "an answer counts no longer than it should");
        tokio::task::yield_now().await;
    }
    let listed = stand.privet(&["keys", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("cache 1s") && listed.contains("cache 1h"), "{listed}");
}

#[tokio::test]
async fn refreshing_asks_anew_and_cut_answers_are_not_kept() {
    let stand = Stand::start().await;
    let question = ask("openai/gpt-4o", "x");
    stand.mock.script_model("gpt-4o", Behaviour::text("old"));
    assert_eq!(told(&stand.cached("10m", &question).await), Some("miss"));
    stand.mock.script_model("gpt-4o", Behaviour::text("new"));
    let refreshed = stand.cached("refresh", &question).await;
    assert_eq!((told(&refreshed), content(&refreshed).as_str()), (Some("refresh"), "new"));
    assert_eq!(content(&stand.cached("on", &question).await), "new");
    stand.mock.script_model("gpt-4o", Behaviour::text("cut").finish_reason("length"));
    let other = ask("openai/gpt-4o", "y");
    assert_eq!(told(&stand.cached("on", &other).await), Some("miss"));
    assert_eq!(told(&stand.cached("on", &other).await), Some("miss"));
}

#[tokio::test]
async fn a_hit_costs_nothing_is_a_turn_of_its_conversation_and_is_told_in_its_trace() {
    let stand = Stand::start().await;
    let dear = Behaviour::text("dear").usage(Usage { input_tokens: 10, output_tokens: 90_000, ..Usage::default() });
    stand.mock.script_model("gpt-4o", dear);
    let key = stand.create_key(&["--budget", "1.00/total", "--cache", "1h"]).await;
    let mut question = ask("openai/gpt-4o", "x");
    question["max_tokens"] = json!(16_000);
    assert_eq!(told(&stand.chat_as(&key, question.clone()).await), Some("miss"));
    let before = stand.usage(&key).await;
    // The rest of the budget would not pay for another.
    let other = stand
        .chat_as(
            &key,
            json!({"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "y"}], "max_tokens": 16_000}),
        )
        .await;
    assert_eq!(other.status, 402, "{other:?}");
    let hit = stand.chat_as(&key, question.clone()).await;
    assert_eq!(told(&hit), Some("hit"));
    let after = stand.usage(&key).await;
    assert_eq!(after["settled_nanos"], before["settled_nanos"]);
    assert_eq!(after["held_nanos"], 0);
    assert_eq!(stand.thread(&hit.conversation()).await, ["user: x", "assistant: dear"]);
    let trace = hit.header("x-privet-trace-id").unwrap().to_owned();
    let observation = loop {
        let found = stand.get(&format!("/api/public/observations?traceId={trace}")).await.json();
        match found["data"].get(0) {
            Some(observation) => break observation.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(observation["metadata"]["cache"], "hit", "{observation}");
    assert_eq!(observation["calculatedTotalCost"], 0.0, "{observation}");
}

#[tokio::test]
async fn an_answer_goes_with_its_response() {
    let stand = Stand::start().await;
    let ask = || {
        let body = json!({"model": "openai/gpt-4o", "input": "x"});
        Answer::of(stand.post("/v1/responses", body.to_string()).header("x-privet-cache", "on"))
    };
    let first = ask().await;
    let second = ask().await;
    assert_eq!((told(&first), told(&second)), (Some("miss"), Some("hit")));
    assert_ne!(first.json()["id"], second.json()["id"], "each is a response of its own");
    for id in [first, second].map(|answer| answer.json()["id"].as_str().unwrap().to_owned()) {
        assert_eq!(Answer::of(stand.request(Method::DELETE, &format!("/v1/responses/{id}"))).await.status, 200);
    }
    assert_eq!(told(&ask().await), Some("miss"));
}

#[tokio::test]
async fn an_answer_goes_with_the_conversation_that_it_was_given_in() {
    let stand = Stand::start().await;
    let question = ask("openai/gpt-4o", "x");
    let first = stand.cached("on", &question).await;
    assert_eq!(told(&stand.cached("on", &question).await), Some("hit"));
    let path = format!("/api/conversations/{}", first.conversation());
    assert_eq!(Answer::of(stand.request(Method::DELETE, &path)).await.status, 204);
    assert_eq!(told(&stand.cached("on", &question).await), Some("miss"));
}
