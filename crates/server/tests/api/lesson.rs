//! `/api/chat` as the lesson's applications answer it, to the byte, and its flaws mended.

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, CALLED_ONCE, SEEDED_PROMPT, Stand};

const FAILURE: &str = r#"{"error":"An error occurred while processing your request"}"#;
const NO_MESSAGES: &str = r#"{"error":"Invalid request: messages must be a non-empty array"}"#;
const BAD_MESSAGE: &str = r#"{"error":"Invalid request: each message must have a non-empty content and a role of either \"user\" or \"assistant\""}"#;

fn say(content: &str) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn say_in(conversation: &str, content: &str) -> Value {
    json!({"conversation_id": conversation, "messages": [{"role": "user", "content": content}]})
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["conversation_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_without_a_key_or_with_a_wrong_one_is_refused_in_the_lessons_words() {
    let stand = Stand::start().await;
    let url = format!("{}/api/chat", stand.server.url());
    let post = || stand.client.post(&url).header("content-type", "application/json").body(say("hey").to_string());
    let none = r#"{"error":"Unauthorized: No token provided"}"#;
    let wrong = r#"{"error":"Unauthorized: Invalid token"}"#;
    for (request, expected) in [
        (post(), none),
        (post().header("authorization", "Basic dXNlcjpwYXNz"), none),
        (post().header("authorization", "Bearer "), none),
        (post().bearer_auth("wrong"), wrong),
        (post().bearer_auth(format!("{}x", stand.server.key())), wrong),
        (post().header("x-api-key", "wrong"), wrong),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.text()), (401, expected));
    }
    assert_eq!(stand.mock.stats().calls, 0);
}

#[tokio::test]
async fn the_key_is_checked_before_the_body() {
    let stand = Stand::start().await;
    let answer = Answer::of(stand.client.post(format!("{}/api/chat", stand.server.url())).body("{")).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn wrong_messages_are_refused_in_the_lessons_words() {
    let stand = Stand::start().await;
    let one = |role: Value, content: Value| json!({"messages": [{"role": role, "content": content}]});
    for (body, expected) in [
        (json!({}), NO_MESSAGES),
        (json!({"messages": null}), NO_MESSAGES),
        (json!({"messages": "hey"}), NO_MESSAGES),
        (json!({"messages": {"0": "hey"}}), NO_MESSAGES),
        (json!({"messages": []}), NO_MESSAGES),
        (json!([]), NO_MESSAGES),
        (json!(null), NO_MESSAGES),
        (one(json!("user"), json!("")), BAD_MESSAGE),
        (one(json!("user"), json!(" \t\n")), BAD_MESSAGE),
        (one(json!("user"), json!(7)), BAD_MESSAGE),
        (one(json!("user"), json!(["hey"])), BAD_MESSAGE),
        (one(json!("system"), json!("hey")), BAD_MESSAGE),
        (one(json!(null), json!("hey")), BAD_MESSAGE),
        (json!({"messages": ["hey"]}), BAD_MESSAGE),
        (json!({"messages": [{"role": "user"}]}), BAD_MESSAGE),
        (json!({"messages": [{"role": "user", "content": "hey"}, {"role": "tool", "content": "x"}]}), BAD_MESSAGE),
    ] {
        let answer = stand.lesson(body.clone()).await;
        assert_eq!((answer.status, answer.text()), (400, expected), "{body}");
    }
    assert_eq!((stand.mock.stats().calls, stand.conversations().await), (0, 0));
}

#[tokio::test]
async fn malformed_json_is_the_clients_fault() {
    let stand = Stand::start().await;
    for body in
        ["", "{", "{\"messages\": [}", "hello", "{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}]}"]
    {
        let answer = Answer::of(stand.post("/api/chat", body)).await;
        assert_eq!(answer.status, 400, "{body}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("Invalid request: the body is not valid JSON: "), "{error}");
        assert_eq!(answer.json().as_object().unwrap().len(), 1, "the lesson's errors have one field");
    }
}

#[tokio::test]
async fn the_answer_is_the_providers_object_with_the_conversation_added_at_its_end() {
    let stand = Stand::start().await;
    let body = "{ \"id\":\"chatcmpl-1\", \"object\":\"chat.completion\", \"created\":1.0e9,\"model\":\"gpt-4o\",\n\
                \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"caf\\u00e9\"},\
                \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2},\
                \"future\":[1.50] }";
    stand.mock.script(Behaviour::new().raw_body(body));
    let answer = stand.lesson(say("hey")).await;
    let id = id_of(&answer);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-conversation-id"), Some(id.as_str()));
    let expected = format!("{},\"conversation_id\":\"{id}\"}}", body.trim_end_matches('}').trim_end());
    assert_eq!(answer.text(), expected);
    assert_eq!(stand.thread(&id).await, ["user: hey", "assistant: café"]);
}

#[tokio::test]
async fn the_provider_is_asked_with_the_lessons_parameters() {
    let stand = Stand::start().await;
    stand.lesson(say("hey")).await;
    let sent = stand.sent();
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/v1/chat/completions"));
    let mut body = sent.body;
    let prompt = body["messages"].as_array_mut().unwrap().remove(0);
    assert_eq!(prompt["role"], "system");
    assert!(prompt["content"].as_str().unwrap().starts_with(SEEDED_PROMPT), "{prompt}");
    assert_eq!(
        body,
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hey"}], "temperature": 0,
               "max_tokens": 4096, "response_format": {"type": "text"}})
    );
}

#[tokio::test]
async fn every_failure_of_the_provider_is_500_in_the_lessons_words_and_leaves_nothing() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for behaviour in [
        Behaviour::error(500),
        Behaviour::error(429).header("retry-after", "7"),
        Behaviour::error(401),
        Behaviour::error(400),
        Behaviour::new().raw_body("<html>"),
        Behaviour::new().cut_after_chunks(0),
    ] {
        stand.mock.script_once(behaviour.clone());
        let answer = stand.lesson(say("hey")).await;
        assert_eq!((answer.status, answer.text()), (500, FAILURE), "{behaviour:?}");
    }
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn the_root_greets_programs_and_browsers() {
    let stand = Stand::start().await;
    let plain = Answer::of(stand.client.get(stand.server.url())).await;
    assert_eq!((plain.status, plain.text()), (200, "Hello World"));
    let page = Answer::of(stand.client.get(stand.server.url()).header("accept", "text/html,*/*;q=0.8")).await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("/docs/"));
}

#[tokio::test]
async fn a_conversation_is_continued_by_the_new_message_alone() {
    let stand = Stand::start().await;
    let id = id_of(&stand.lesson(say("one")).await);
    let second = stand.lesson(say_in(&id, "two")).await;
    assert_eq!(id_of(&second), id);
    let answered = format!("assistant: {DEFAULT_CONTENT}");
    assert_eq!(stand.sent_thread(), ["user: one", &answered, "user: two"]);
    assert_eq!(stand.thread(&id).await, ["user: one", &answered, "user: two", &answered]);
}

#[tokio::test]
async fn a_conversation_is_continued_by_the_whole_thread_and_nothing_is_stored_twice() {
    let stand = Stand::start().await;
    let id = id_of(&stand.lesson(say("one")).await);
    let thread = json!([
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": DEFAULT_CONTENT},
        {"role": "user", "content": "two"},
    ]);
    stand.lesson(json!({"conversation_id": id, "messages": thread})).await;
    let answered = format!("assistant: {DEFAULT_CONTENT}");
    assert_eq!(stand.sent_thread(), ["user: one", &answered, "user: two"]);
    assert_eq!(stand.thread(&id).await, ["user: one", &answered, "user: two", &answered]);
}

#[tokio::test]
async fn a_retry_after_a_failure_is_stored_once() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    let id = id_of(&stand.lesson(say("one")).await);
    stand.mock.script_once(Behaviour::error(500));
    assert_eq!(stand.lesson(say_in(&id, "two")).await.status, 500);
    let answered = format!("assistant: {DEFAULT_CONTENT}");
    assert_eq!(stand.thread(&id).await, ["user: one", &answered], "a failed turn leaves nothing half");
    id_of(&stand.lesson(say_in(&id, "two")).await);
    assert_eq!(stand.sent_thread(), ["user: one", &answered, "user: two"]);
    assert_eq!(stand.thread(&id).await, ["user: one", &answered, "user: two", &answered]);
}

#[tokio::test]
async fn an_unknown_a_foreign_and_a_deleted_conversation_are_not_found() {
    let stand = Stand::start().await;
    let id = id_of(&stand.lesson(say("mine")).await);
    let unknown = "01890000-0000-7000-8000-000000000000";
    let answer = stand.lesson(say_in(unknown, "hey")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains(unknown));

    let foreign = stand.key_of_project("other").await;
    let url = format!("{}/api/chat", stand.server.url());
    let body = say_in(&id, "whose?").to_string();
    let theirs = Answer::of(stand.client.post(url).bearer_auth(&foreign).body(body)).await;
    assert_eq!(theirs.status, 404);
    assert_eq!(theirs.text(), answer.text().replace(unknown, &id), "a foreign conversation looks like an unknown one");

    assert_eq!(Answer::of(stand.request(Method::DELETE, &format!("/api/conversations/{id}"))).await.status, 204);
    assert_eq!(stand.lesson(say_in(&id, "hey")).await.status, 404);
    assert_eq!(stand.mock.stats().calls, 1);
}

#[tokio::test]
async fn the_users_message_is_readable_while_the_provider_still_thinks() {
    let stand = Stand::start().await;
    let id = id_of(&stand.lesson(say("one")).await);
    stand.mock.script_once(Behaviour::new().hang());
    let asking = tokio::spawn(stand.post("/api/chat", say_in(&id, "two").to_string()).send());
    stand.mock.wait_for(|stats| stats.in_flight == 1).await;
    let answered = format!("assistant: {DEFAULT_CONTENT}");
    assert_eq!(stand.thread(&id).await, ["user: one", &answered, "user: two"]);
    asking.abort();
    stand.mock.wait_for(|stats| stats.cancelled == 1).await;
}

#[tokio::test]
async fn a_stream_tells_its_conversation_in_a_header_and_is_kept() {
    let stand = Stand::start().await;
    let answer = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}], "stream": true})).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(answer.streamed_text(), DEFAULT_CONTENT);
    assert!(answer.is_done());
    let thread = stand.thread(&answer.conversation()).await;
    assert_eq!(thread, ["user: hey".to_owned(), format!("assistant: {DEFAULT_CONTENT}")]);
    assert_eq!(stand.sent().body["stream"], true);
}

#[tokio::test]
async fn another_model_can_be_named_and_an_unknown_one_is_not_found() {
    let stand = Stand::start().await;
    stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}], "model": "gpt-4o-mini"})).await;
    assert_eq!(stand.sent().body["model"], "gpt-4o-mini");
    let answer = stand.lesson(json!({"messages": [{"role": "user", "content": "hey"}], "model": "nonsense"})).await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("`nonsense`"));
    assert_eq!(stand.conversations().await, 1);
}

#[tokio::test]
async fn an_edited_message_is_what_the_provider_hears_of_next_time() {
    let stand = Stand::start().await;
    let id = id_of(&stand.lesson(say("one")).await);
    let messages = stand.get(&format!("/api/conversations/{id}")).await.json()["messages"].clone();
    let path = format!("/api/messages/{}", messages[0]["uuid"].as_str().unwrap());
    let edit = stand.request(Method::PATCH, &path).body(json!({"content": "uno"}).to_string());
    assert_eq!(Answer::of(edit).await.status, 200);
    let path = format!("/api/messages/{}", messages[1]["uuid"].as_str().unwrap());
    assert_eq!(Answer::of(stand.request(Method::DELETE, &path)).await.status, 204);
    stand.lesson(say_in(&id, "two")).await;
    assert_eq!(stand.sent_thread(), ["user: uno", "user: two"]);
}
