//! Structured output of models that keep to no schema by themselves, and requests beyond what a model can do.

use privet_testkit::upstream::{Behaviour, Usage};
use serde_json::{Value, json};

use crate::routing::attempts;
use crate::stand::{Answer, Stand, ask};

/// It has no structured output, as the price book says.
const PLAIN: &str = "openai/gpt-3.5-turbo";
const PLAIN_MODEL: &str = "gpt-3.5-turbo";

fn question(model: &str, stream: bool) -> Value {
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]});
    let mut body = ask(model, "How old?");
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "age", "schema": schema}});
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

fn told(answer: &Answer) -> Option<&str> {
    answer.header("x-privet-structured-output")
}

fn content(answer: &Answer) -> String {
    match answer.header("content-type") {
        Some("text/event-stream") => answer.streamed_text(),
        _ => answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(),
    }
}

#[tokio::test]
async fn a_model_without_structured_output_gets_the_schema_in_words_and_the_client_what_fits() {
    let stand = Stand::start().await;
    stand.mock.script_model(PLAIN_MODEL, Behaviour::text("```json\n{\"age\": 7}\n```"));
    for stream in [false, true] {
        let answer = stand.chat(question(PLAIN, stream)).await;
        assert_eq!(
            (answer.status, told(&answer), content(&answer)),
            (200, Some("emulated"), "{\"age\": 7}".to_owned())
        );
        assert!(!stream || answer.is_done());
        let sent = stand.sent_chat().body;
        assert!(sent.get("response_format").is_none() && sent.get("stream") != Some(&json!(true)), "{sent}");
        assert!(sent["messages"][0]["content"].as_str().unwrap().contains("JSON Schema"), "{sent}");
        assert_eq!(stand.thread(&answer.conversation()).await, ["user: How old?", "assistant: {\"age\": 7}"]);
    }
    let native = stand.chat(question("openai/gpt-4o", false)).await;
    assert_eq!((native.status, told(&native)), (200, None));
    assert_eq!(stand.sent_chat().body["response_format"]["type"], "json_schema");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_once_more_and_both_calls_are_paid() {
    let stand = Stand::start().await;
    let ten = Usage { input_tokens: 10, output_tokens: 10, ..Usage::default() };
    stand.mock.script_model_once(PLAIN_MODEL, Behaviour::text("I am seven").usage(ten));
    stand.mock.script_model(PLAIN_MODEL, Behaviour::text("{\"age\":7}").usage(ten));
    let key = stand.create_key(&["--budget", "1.00/day"]).await;
    let answer = stand.chat_as(&key, question(PLAIN, false)).await;
    assert_eq!((answer.status, told(&answer), content(&answer)), (200, Some("repaired"), "{\"age\":7}".to_owned()));
    let calls = attempts(&answer);
    assert!(calls.len() == 2 && calls[0].ends_with("then=repair"), "{calls:?}");
    let said: Vec<Value> = stand.sent_chat().body["messages"].as_array().unwrap().clone();
    let roles: Vec<&str> = said.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!(said[2]["content"], "I am seven");
    // $0.50 and $1.50 a million.
    assert_eq!(stand.usage(&key).await["settled_nanos"], 2 * (10 * 500 + 10 * 1_500));
    assert_eq!(stand.thread(&answer.conversation()).await, ["user: How old?", "assistant: {\"age\":7}"]);
}

#[tokio::test]
async fn what_never_fits_is_an_error_and_goes_to_the_fallback() {
    let toml = format!("[models]\nsafe = [\"{PLAIN}\", \"openai/gpt-4o\"]\n");
    let stand = Stand::with_config(&toml).await;
    stand.mock.script_model(PLAIN_MODEL, Behaviour::text("{\"age\":\"seven\"}"));
    stand.mock.script_model("gpt-4o", Behaviour::text("{\"age\":8}"));
    let failed = stand.chat(question(PLAIN, false)).await;
    assert_eq!(failed.status, 502, "{failed:?}");
    let message = failed.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("does not keep to the schema") && message.contains("/age"), "{message}");
    let asked = stand.mock.stats().calls;
    let answer = stand.chat(question("safe", false)).await;
    assert_eq!((answer.status, told(&answer), content(&answer)), (200, None, "{\"age\":8}".to_owned()));
    assert_eq!(stand.mock.stats().calls - asked, 3, "one, its repair, and the fallback");
}

#[tokio::test]
async fn a_provider_may_be_set_to_it_and_a_bad_schema_is_refused() {
    let stand = Stand::with_config("[providers.openai]\nstructured_output = \"emulated\"\n").await;
    stand.mock.script_model("gpt-4o", Behaviour::text("{\"age\":1}"));
    assert_eq!(told(&stand.chat(question("openai/gpt-4o", false)).await), Some("emulated"));
    let mut bad = question("openai/gpt-4o", false);
    bad["response_format"]["json_schema"]["schema"] = json!({"type": "nonsense"});
    let answer = stand.chat(bad).await;
    assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("response_format")));
}

#[tokio::test]
async fn a_schema_that_cannot_be_checked_here_goes_to_a_model_that_keeps_to_it_by_itself() {
    let toml =
        format!("[models]\nsafe = [\"{PLAIN}\", \"openai/gpt-4o\"]\nnative = [\"openai/gpt-4o\", \"{PLAIN}\"]\n");
    let stand = Stand::with_config(&toml).await;
    stand.mock.script_model("gpt-4o", Behaviour::text("{\"age\":8}"));
    for (model, status) in [(PLAIN, 400), ("safe", 200), ("native", 200)] {
        let mut body = question(model, false);
        body["response_format"]["json_schema"]["schema"] = json!({"$dynamicRef": "#a", "$dynamicAnchor": "a"});
        let answer = stand.chat(body).await;
        assert_eq!((answer.status, told(&answer)), (status, None), "{model}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_beyond_a_model_is_refused_before_it_is_sent_and_passed_to_one_that_can() {
    let toml = format!("[models]\nsafe = [\"{PLAIN}\", \"openai/gpt-4o\"]\n");
    let stand = Stand::with_config(&toml).await;
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}});
    let seen = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": [picture]}]});
    let asked = stand.mock.stats().calls;
    let refused = stand.chat(seen(PLAIN)).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, error["code"].as_str()), (400, Some("beyond_the_model")), "{refused:?}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(PLAIN) && message.contains("see pictures"), "{message}");
    let mut long = ask(PLAIN, "x");
    long["max_tokens"] = json!(5_000);
    let refused = stand.chat(long.clone()).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (400, Some("beyond_the_model")));
    let mut thinking = ask(PLAIN, "x");
    thinking["reasoning_effort"] = json!("low");
    assert_eq!(stand.chat(thinking).await.status, 400);
    assert_eq!(stand.mock.stats().calls, asked, "nobody was asked");
    let answer = stand.chat(seen("safe")).await;
    assert_eq!((answer.status, answer.header("x-privet-model")), (200, Some("gpt-4o")), "{answer:?}");
    long["model"] = json!("safe");
    assert_eq!(stand.chat(long).await.header("x-privet-model"), Some("gpt-4o"));
}
