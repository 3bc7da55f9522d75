//! `/v1/responses`: what clients of OpenAI's Responses API may rely on, from all three kinds of provider.

use privet_testkit::upstream::{Behaviour, DEFAULT_CONTENT, ErrorShape, ToolIndex, Usage};
use reqwest::Method;
use serde_json::{Value, json};

use crate::anthropic::MODELS;
use crate::stand::{Answer, CALLED_ONCE, Stand};

fn ask(model: &str, input: impl Into<Value>) -> Value {
    json!({"model": model, "input": input.into()})
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

impl Stand {
    /// `POST /v1/responses`.
    async fn respond(&self, body: &Value) -> Answer {
        Answer::of(self.post("/v1/responses", body.to_string())).await
    }

    /// The same with another key.
    async fn respond_as(&self, key: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}/v1/responses", self.server.url())).bearer_auth(key);
        Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// What the provider was told last, as text.
    fn told(&self) -> String {
        self.sent_chat().body.to_string()
    }
}

/// The id of a response, whole or streamed.
fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let response = match answer.header("content-type") {
        Some("text/event-stream") => ended(answer)["response"].clone(),
        _ => answer.json(),
    };
    response["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// The text of a response.
fn text_of(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter().flat_map(|item| item["content"].as_array());
    items.flatten().filter_map(|part| part["text"].as_str()).collect()
}

fn calls_of(response: &Value) -> Vec<Value> {
    let items = response["output"].as_array().unwrap().iter();
    items.filter(|item| item["type"] == "function_call").cloned().collect()
}

fn error_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// The last event of a stream that is sound: one id, numbers without holes, `response.created` first.
fn ended(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{answer:?}");
    let mut last = Value::Null;
    let mut id = Value::Null;
    let events = answer.text().split("\n\n").filter(|event| !event.trim().is_empty() && !event.starts_with(':'));
    for (number, event) in events.enumerate() {
        let (line, data) = event.split_once('\n').unwrap_or_else(|| panic!("{event}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(line.strip_prefix("event: "), data["type"].as_str(), "{event}");
        assert_eq!(data["sequence_number"], number, "{event}");
        assert_eq!(number == 0, data["type"] == "response.created", "{event}");
        if let Some(response) = data.get("response") {
            assert!(id.is_null() || id == response["id"], "one id: {event}");
            id = response["id"].clone();
        }
        assert!(
            !matches!(last["type"].as_str(), Some("response.completed" | "response.incomplete" | "response.failed")),
            "nothing follows the end: {event}"
        );
        last = data;
    }
    assert!(id.as_str().is_some_and(|id| id.starts_with("resp_")), "{answer:?}");
    last
}

fn streamed(body: Value) -> Value {
    with(body, &json!({"stream": true}))
}

const TOOLS: &str = r#"[{"type": "function", "name": "weather", "description": "The weather.", "strict": false,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]"#;

fn with_tool(body: Value) -> Value {
    with(body, &json!({"tools": serde_json::from_str::<Value>(TOOLS).unwrap()}))
}

#[tokio::test]
async fn a_model_of_any_provider_answers_with_a_response_that_can_be_read_again() {
    let stand = Stand::start().await;
    for model in MODELS {
        let usage = Usage { input_tokens: 100, cached_tokens: 60, output_tokens: 7, ..Usage::default() };
        stand.mock.script_once(Behaviour::text("Hello.").usage(usage));
        let body = with(ask(model, "x"), &json!({"instructions": "Be brief.", "metadata": {"team": "blue"}}));
        let answer = stand.respond(&body).await;
        let response = answer.json();
        assert_eq!(
            (answer.status, &response["object"], &response["status"]),
            (200, &json!("response"), &json!("completed"))
        );
        assert_eq!((text_of(&response).as_str(), &response["store"]), ("Hello.", &json!(true)), "{model}");
        assert_eq!((&response["instructions"], &response["metadata"]), (&json!("Be brief."), &json!({"team": "blue"})));
        let usage = &response["usage"];
        assert_eq!(
            (&usage["input_tokens"], &usage["input_tokens_details"]["cached_tokens"], &usage["output_tokens"]),
            (&json!(100), &json!(60), &json!(7)),
            "{model}: wire 22"
        );
        assert!(stand.told().contains("Be brief."), "{model}");
        let read = stand.get(&format!("/v1/responses/{}", id_of(&answer))).await;
        assert_eq!((read.status, read.json()), (200, response), "{model}");
        // Instructions are no part of the thread.
        assert_eq!(stand.thread(&answer.conversation()).await, ["user: x", "assistant: Hello."], "{model}");
    }
}

#[tokio::test]
async fn wire_28_a_stream_of_any_provider_ends_with_usage_and_is_read_again_the_same() {
    let stand = Stand::start().await;
    for model in MODELS {
        let usage = Usage { input_tokens: 100, cached_tokens: 60, output_tokens: 7, ..Usage::default() };
        stand.mock.script_once(Behaviour::new().usage(usage).pings(2, 0));
        let answer = stand.respond(&streamed(ask(model, "x"))).await;
        let last = ended(&answer);
        assert_eq!(
            (&last["type"], text_of(&last["response"]).as_str()),
            (&json!("response.completed"), DEFAULT_CONTENT)
        );
        let usage = &last["response"]["usage"];
        assert_eq!((&usage["input_tokens"], &usage["total_tokens"]), (&json!(100), &json!(107)), "{model}");
        let read = stand.get(&format!("/v1/responses/{}", id_of(&answer))).await;
        assert_eq!((read.status, &read.json()), (200, &last["response"]), "{model}");

        let word = ["length", "max_tokens", "MAX_TOKENS"][MODELS.iter().position(|one| *one == model).unwrap()];
        stand.mock.script_once(Behaviour::text("cut").finish_reason(word));
        let last = ended(&stand.respond(&streamed(ask(model, "x"))).await);
        assert_eq!(
            (&last["type"], &last["response"]["incomplete_details"]["reason"]),
            (&json!("response.incomplete"), &json!("max_output_tokens")),
            "{model}"
        );
    }
}

#[tokio::test]
async fn wire_28_a_stream_that_breaks_ends_as_failed_and_is_kept_so() {
    let stand = Stand::with_config(CALLED_ONCE).await;
    for model in MODELS {
        for script in [
            Behaviour::new().chunks(6).cut_after_chunks(3),
            Behaviour::new().chunks(6).error_inside_200(3, ErrorShape::Native),
        ] {
            stand.mock.script_once(script);
            let answer = stand.respond(&streamed(ask(model, "x"))).await;
            let last = ended(&answer);
            assert_eq!(
                (&last["type"], &last["response"]["status"], &last["response"]["error"]["code"]),
                (&json!("response.failed"), &json!("failed"), &json!("server_error")),
                "{model}: {}",
                answer.text()
            );
            let said = text_of(&last["response"]);
            assert!(!said.is_empty() && DEFAULT_CONTENT.starts_with(&said), "{model}: {said}");
            let read = stand.get(&format!("/v1/responses/{}", id_of(&answer))).await.json();
            assert_eq!((&read["status"], text_of(&read)), (&json!("failed"), said), "{model}");
        }
        // Before any output it is a status, and nothing is kept.
        stand.mock.script_once(Behaviour::error(500));
        let failed = stand.respond(&streamed(ask(model, "x"))).await;
        assert_eq!((failed.status, failed.json()["error"]["message"].is_string()), (502, true), "{model}");
    }
    assert_eq!(stand.conversations().await, 2 * MODELS.len());
}

#[tokio::test]
async fn wire_29_a_response_is_gone_on_from_the_moment_its_stream_has_ended() {
    let stand = Stand::start().await;
    for model in MODELS {
        let first = stand.respond(&streamed(ask(model, "My cat is Filemon."))).await;
        let mut previous = id_of(&first);
        for turn in 0..5 {
            let body = with(
                ask(model, format!("turn {turn}")),
                &json!({"previous_response_id": previous, "stream": turn % 2 == 0}),
            );
            let answer = stand.respond(&body).await;
            previous = id_of(&answer);
            let told = stand.told();
            assert!(told.contains("Filemon") && told.contains(&format!("turn {turn}")), "{model}: {told}");
            assert_eq!(answer.conversation(), first.conversation(), "{model}");
        }
        assert_eq!(stand.thread(&first.conversation()).await.len(), 12, "{model}");
    }
}

#[tokio::test]
async fn wire_29_a_loop_of_tools_goes_round_by_previous_response_id_at_every_provider() {
    let stand = Stand::start().await;
    for model in MODELS {
        for stream in [false, true] {
            stand.mock.script_once(
                Behaviour::new()
                    .tool_call_with_id("call_a", "weather", json!({"city": "Oslo"}))
                    .tool_call_with_id("call_b", "weather", json!({}))
                    .tool_index(ToolIndex::Omit),
            );
            let first = stand.respond(&with(with_tool(ask(model, "And in Oslo?")), &json!({"stream": stream}))).await;
            let response = stand.get(&format!("/v1/responses/{}", id_of(&first))).await.json();
            let calls = calls_of(&response);
            assert_eq!(
                (&calls[0]["arguments"], &calls[1]["arguments"]),
                (&json!("{\"city\":\"Oslo\"}"), &json!("{}")),
                "{model}"
            );
            let outputs: Vec<Value> = calls
                .iter()
                .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "17 degrees"}))
                .collect();
            stand.mock.script_once(Behaviour::text("17 degrees it is."));
            let body = with(with_tool(ask(model, outputs)), &json!({"previous_response_id": id_of(&first)}));
            let second = stand.respond(&body).await;
            assert_eq!(text_of(&second.json()), "17 degrees it is.", "{model}: {second:?}");
            let told = stand.told();
            assert!(told.contains("17 degrees") && told.matches("And in Oslo?").count() == 1, "{model}: {told}");
            let thread = stand.thread(&first.conversation()).await;
            assert_eq!(thread.len(), 5, "{model}: {thread:?}");
        }
    }
}

#[tokio::test]
async fn wire_29_only_the_key_that_made_a_response_finds_it() {
    let stand = Stand::start().await;
    let id = id_of(&stand.respond(&ask("gpt-4o", "secret")).await);
    let others = [stand.create_key(&[]).await.text, stand.key_of_project("other").await];
    let calls = stand.mock.stats().calls;
    for key in others {
        let body = with(ask("gpt-4o", "x"), &json!({"previous_response_id": id}));
        let refused = stand.respond_as(&key, &body).await;
        assert_eq!(error_of(&refused), (400, "previous_response_not_found".to_owned()));
        assert_eq!(refused.json()["error"]["param"], "previous_response_id");
        let referring = ask(
            "gpt-4o",
            json!([{"type": "item_reference", "id": format!("msg_{}_0", &id[5..])}, {"role": "user", "content": "x"}]),
        );
        assert_eq!(stand.respond_as(&key, &referring).await.status, 400);
        for (method, path) in [
            (Method::GET, format!("/v1/responses/{id}")),
            (Method::DELETE, format!("/v1/responses/{id}")),
            (Method::POST, format!("/v1/responses/{id}/cancel")),
            (Method::GET, format!("/v1/responses/{id}/input_items")),
        ] {
            let request = stand.client.request(method, format!("{}{path}", stand.server.url())).bearer_auth(&key);
            let answer = Answer::of(request).await;
            assert_eq!(error_of(&answer), (404, "response_not_found".to_owned()), "{path}");
            assert!(!answer.text().contains("secret"));
        }
    }
    for unknown in ["resp_1", "resp_0199c0de000070008000000000000009"] {
        let body = with(ask("gpt-4o", "x"), &json!({"previous_response_id": unknown}));
        assert_eq!(error_of(&stand.respond(&body).await), (400, "previous_response_not_found".to_owned()));
        assert_eq!(stand.get(&format!("/v1/responses/{unknown}")).await.status, 404);
    }
    assert_eq!((stand.mock.stats().calls, stand.conversations().await), (calls, 1));
}

#[tokio::test]
async fn wire_29_a_rotated_key_goes_on_from_what_the_old_one_made() {
    let stand = Stand::start().await;
    let key = stand.create_key(&[]).await;
    let id = id_of(&stand.respond_as(&key.text, &ask("gpt-4o", "Filemon")).await);
    let output = stand.privet(&["keys", "rotate", &key.id, "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let new: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answer = stand
        .respond_as(new["key"].as_str().unwrap(), &with(ask("gpt-4o", "x"), &json!({"previous_response_id": id})))
        .await;
    assert!(answer.status == 200 && stand.told().contains("Filemon"), "{answer:?}");
}

#[tokio::test]
async fn a_branch_holds_what_was_said_up_to_its_response_and_is_a_conversation_of_its_own() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().echo());
    let go_on = async |from: &str, text: &str| {
        stand.respond(&with(ask("gpt-4o", text), &json!({"previous_response_id": from}))).await
    };
    let first = stand.respond(&ask("gpt-4o", "one")).await;
    let root = id_of(&first);
    let second = go_on(&root, "two").await;
    let third = go_on(&id_of(&second), "three").await;
    assert_eq!(third.conversation(), first.conversation());

    let branch = go_on(&root, "zwei").await;
    assert_ne!(branch.conversation(), first.conversation());
    let users =
        |thread: Vec<String>| -> Vec<String> { thread.into_iter().filter(|said| said.starts_with("user")).collect() };
    assert_eq!(users(stand.sent_thread()), ["user: one", "user: zwei"]);
    let on = go_on(&id_of(&branch), "drei").await;
    assert_eq!(on.conversation(), branch.conversation());
    assert_eq!(users(stand.sent_thread()), ["user: one", "user: zwei", "user: drei"]);
    // The trunk goes on as if nothing had been.
    let fourth = go_on(&id_of(&third), "four").await;
    assert_eq!(fourth.conversation(), first.conversation());
    assert_eq!(users(stand.sent_thread()), ["user: one", "user: two", "user: three", "user: four"]);
    // Each conversation is one thread, for whoever reads it or goes on in it.
    assert_eq!(users(stand.thread(&first.conversation()).await).len(), 4);
    assert_eq!(users(stand.thread(&branch.conversation()).await), ["user: one", "user: zwei", "user: drei"]);
    let chat = json!({"model": "gpt-4o", "metadata": {"conversation_id": branch.conversation()}, "messages": [{"role": "user", "content": "vier"}]});
    assert_eq!(stand.chat(chat).await.status, 200);
    assert_eq!(users(stand.sent_thread()), ["user: one", "user: zwei", "user: drei", "user: vier"]);
    // What a chat added is not what the response ended with.
    go_on(&id_of(&on), "fünf").await;
    assert_eq!(users(stand.sent_thread()), ["user: one", "user: zwei", "user: drei", "user: fünf"]);
    // Its own input is listed, not what was copied.
    let items = stand.get(&format!("/v1/responses/{}/input_items", id_of(&branch))).await.json();
    assert_eq!(items["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn many_who_go_on_from_one_response_at_once_do_not_mix() {
    let stand = Stand::start().await;
    stand.mock.script(Behaviour::new().echo());
    let root = id_of(&stand.respond(&ask("gpt-4o", "root")).await);
    let asked = (0..12).map(|number| {
        let body = with(ask("gpt-4o", format!("fan {number}")), &json!({"previous_response_id": root}));
        let stand = &stand;
        async move { id_of(&stand.respond(&body).await) }
    });
    let made = futures_util::future::join_all(asked).await;
    for (number, id) in made.iter().enumerate() {
        stand.respond(&with(ask("gpt-4o", "on"), &json!({"previous_response_id": id}))).await;
        let thread: Vec<String> = stand.sent_thread().into_iter().filter(|said| said.starts_with("user")).collect();
        assert_eq!(thread, ["user: root".to_owned(), format!("user: fan {number}"), "user: on".to_owned()]);
    }
}

#[tokio::test]
async fn a_conversation_goes_on_through_responses_and_chats_alike() {
    let stand = Stand::start().await;
    let first = stand.chat(json!({"model": "gpt-4o", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Filemon"}]})).await;
    let id = first.conversation();
    let named = format!("conv_{}", id.replace('-', ""));
    for conversation in [json!(id), json!({"id": named})] {
        let answer = stand.respond(&with(ask("claude-sonnet-4-5", "x"), &json!({"conversation": conversation}))).await;
        assert_eq!((answer.status, answer.conversation()), (200, id.clone()), "{answer:?}");
        let named = conversation.get("id").unwrap_or(&conversation);
        assert_eq!(&answer.json()["conversation"]["id"], named);
        let told = stand.told();
        assert!(told.contains("Filemon") && told.contains("Be brief."), "{told}");
        // From there by the response, with all that was said before.
        let on = stand.respond(&with(ask("gpt-4o", "y"), &json!({"previous_response_id": id_of(&answer)}))).await;
        assert!(on.conversation() == id && stand.told().contains("Filemon"), "{}", stand.told());
    }
    assert_eq!(stand.thread(&id).await.len(), 11);
    let header = stand.post("/v1/responses", ask("gpt-4o", "z").to_string()).header("x-conversation-id", &id);
    assert_eq!(Answer::of(header).await.conversation(), id);
    let unknown = with(ask("gpt-4o", "x"), &json!({"conversation": "0198c0de-0000-7000-8000-000000000000"}));
    assert_eq!(error_of(&stand.respond(&unknown).await), (404, "conversation_not_found".to_owned()));
    // Deleted, it takes its responses along.
    let last = stand.respond(&with(ask("gpt-4o", "x"), &json!({"conversation": id}))).await;
    assert_eq!(stand.delete(&format!("/api/conversations/{id}")).await.status, 204);
    assert_eq!(stand.get(&format!("/v1/responses/{}", id_of(&last))).await.status, 404);
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_not() {
    let stand = Stand::start().await;
    let previous = id_of(&stand.respond(&ask("gpt-4o", "Filemon")).await);
    for stream in [false, true] {
        let body =
            with(ask("gpt-4o", "x"), &json!({"store": false, "stream": stream, "previous_response_id": previous}));
        let answer = stand.respond(&body).await;
        assert!(answer.header("x-conversation-id").is_none() && stand.told().contains("Filemon"), "{answer:?}");
        assert_eq!(stand.get(&format!("/v1/responses/{}", id_of(&answer))).await.status, 404);
        let on = with(ask("gpt-4o", "x"), &json!({"previous_response_id": id_of(&answer)}));
        assert_eq!(error_of(&stand.respond(&on).await), (400, "previous_response_not_found".to_owned()));
    }
    assert_eq!(stand.conversations().await, 1);

    for (record, store, kept) in
        [("continued", json!(null), false), ("continued", json!(true), true), ("none", json!(true), false)]
    {
        let stand = Stand::with_config(&format!("[history]\nrecord = \"{record}\"\n")).await;
        let answer = stand.respond(&with(ask("gpt-4o", "x"), &json!({"store": store}))).await;
        assert_eq!((answer.status, &answer.json()["store"]), (200, &json!(kept)), "{record}");
        assert_eq!(stand.get(&format!("/v1/responses/{}", id_of(&answer))).await.status == 200, kept, "{record}");
        let on = stand.respond(&with(ask("gpt-4o", "x"), &json!({"previous_response_id": id_of(&answer)}))).await;
        assert_eq!(on.status == 200, kept, "{record}: {on:?}");
    }
}

#[tokio::test]
async fn a_deleted_response_is_gone_and_what_others_build_on_stays() {
    let stand = Stand::start().await;
    let first = stand.respond(&ask("gpt-4o", "one")).await;
    let second = stand.respond(&with(ask("gpt-4o", "two"), &json!({"previous_response_id": id_of(&first)}))).await;
    let path = |answer: &Answer| format!("/v1/responses/{}", id_of(answer));
    let deleted = stand.delete(&path(&first)).await;
    assert_eq!(deleted.json(), json!({"id": id_of(&first), "object": "response", "deleted": true}));
    assert_eq!((stand.get(&path(&first)).await.status, stand.delete(&path(&first)).await.status), (404, 404));
    let on = with(ask("gpt-4o", "x"), &json!({"previous_response_id": id_of(&first)}));
    assert_eq!(error_of(&stand.respond(&on).await), (400, "previous_response_not_found".to_owned()));
    let third = stand.respond(&with(ask("gpt-4o", "three"), &json!({"previous_response_id": id_of(&second)}))).await;
    assert!(stand.told().contains("one") && third.conversation() == first.conversation());
    // From the end on, what was said goes too; with the last response, the conversation.
    assert_eq!(stand.delete(&path(&third)).await.status, 200);
    assert_eq!(stand.thread(&first.conversation()).await.len(), 4);
    assert_eq!(stand.delete(&path(&second)).await.status, 200);
    assert_eq!(stand.conversations().await, 0);
}

#[tokio::test]
async fn what_a_response_was_asked_is_listed_page_by_page() {
    let stand = Stand::start().await;
    let input: Vec<Value> = (0..5).map(|number| json!({"role": "user", "content": format!("item {number}")})).collect();
    let id = id_of(&stand.respond(&ask("gpt-4o", input)).await);
    let list = async |query: &str| stand.get(&format!("/v1/responses/{id}/input_items{query}")).await;
    let texts = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["content"][0]["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = list("").await.json();
    assert_eq!(
        (texts(&all), &all["object"], &all["has_more"]),
        ((0..5).rev().map(|number| format!("item {number}")).collect(), &json!("list"), &json!(false))
    );
    let mut seen = Vec::new();
    let mut query = "?order=asc&limit=2".to_owned();
    loop {
        let page = list(&query).await.json();
        assert_eq!(page["first_id"], page["data"][0]["id"]);
        seen.extend(texts(&page));
        if page["has_more"] == false {
            break;
        }
        query = format!("?order=asc&limit=2&after={}", page["last_id"].as_str().unwrap());
    }
    assert_eq!(seen, (0..5).map(|number| format!("item {number}")).collect::<Vec<_>>());
    for wrong in ["?limit=0", "?limit=101", "?order=up", "?after=msg_1"] {
        assert_eq!(list(wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn an_item_that_is_kept_can_be_referred_to() {
    let stand = Stand::start().await;
    stand.mock.script_once(Behaviour::new().thinking("Hm.", "EqQB+/==").tool_call_with_id(
        "toolu_1",
        "weather",
        json!({"city": "Oslo"}),
    ));
    let body = with_tool(ask("claude-sonnet-4-5", "And in Oslo?"));
    let first = stand.respond(&body).await.json();
    let mut input = vec![json!({"role": "user", "content": "And in Oslo?"})];
    input.extend(
        first["output"].as_array().unwrap().iter().map(|item| json!({"type": "item_reference", "id": item["id"]})),
    );
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "17"}));
    let answer = stand.respond(&with(with_tool(ask("claude-sonnet-4-5", input)), &json!({"store": false}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = stand.told();
    // What goes back to the provider is the thought with its signature, as it came.
    assert!(told.contains("EqQB+/==") && told.contains("toolu_1"), "{told}");
    let unknown =
        ask("gpt-4o", json!([{"type": "item_reference", "id": "msg_68af"}, {"role": "user", "content": "x"}]));
    let refused = stand.respond(&unknown).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("input[0].id")));
}

#[tokio::test]
async fn wire_21_thinking_goes_back_to_its_provider_with_and_without_a_memory_of_ours() {
    let stand = Stand::start().await;
    let model = "claude-sonnet-4-5";
    let script = || {
        Behaviour::new().thinking("Hm.", "EqQB+/==").redacted_thinking("EmwK==").tool_call_with_id(
            "toolu_1",
            "weather",
            json!({}),
        )
    };
    let output = json!({"type": "function_call_output", "call_id": "toolu_1", "output": "17"});
    stand.mock.script_once(script());
    let first = stand.respond(&with_tool(ask(model, "x"))).await;
    stand.respond(&with(with_tool(ask(model, json!([output]))), &json!({"previous_response_id": id_of(&first)}))).await;
    let kept = stand.told();
    assert!(kept.contains("EqQB+/==") && kept.contains("EmwK=="), "{kept}");

    stand.mock.script_once(script());
    let more = json!({"store": false, "include": ["reasoning.encrypted_content"]});
    let first = stand.respond(&with(with_tool(ask(model, "x")), &more)).await.json();
    let mut input = vec![json!({"role": "user", "content": "x"})];
    input.extend(first["output"].as_array().unwrap().clone());
    input.push(output);
    stand.respond(&with(with_tool(ask(model, input)), &more)).await;
    assert_eq!(stand.told(), kept, "a client that keeps all itself says the same");
}

#[tokio::test]
async fn a_response_is_made_while_its_client_waits() {
    let stand = Stand::start().await;
    let id = id_of(&stand.respond(&ask("gpt-4o", "x")).await);
    let cancelled = Answer::of(stand.post(&format!("/v1/responses/{id}/cancel"), "")).await;
    assert_eq!(cancelled.status, 400);
    assert!(cancelled.text().contains("Cannot cancel a synchronous response"), "{cancelled:?}");
    let background = stand.respond(&with(ask("gpt-4o", "x"), &json!({"background": true}))).await;
    assert_eq!((background.status, &background.json()["error"]["param"]), (400, &json!("background")));
    assert_eq!(stand.get(&format!("/v1/responses/{id}?stream=true")).await.status, 400);
}

#[tokio::test]
async fn wire_26_tools_that_openai_runs_are_a_400_and_cost_nothing() {
    let stand = Stand::start().await;
    for model in MODELS {
        let answer = stand.respond(&with(ask(model, "x"), &json!({"tools": [{"type": "web_search"}]}))).await;
        assert_eq!(error_of(&answer), (400, "unsupported_by_provider".to_owned()), "{model}");
        assert_eq!(answer.json()["error"]["param"], "tools[0].type");
    }
    assert_eq!((stand.mock.stats().calls, stand.conversations().await), (0, 0));
}

#[tokio::test]
async fn wire_04_and_34_each_response_is_metered_and_reading_is_free() {
    let stand = Stand::start().await;
    let poor = stand.create_key(&["--budget", "0.000001/day"]).await;
    let refused = stand.respond_as(&poor.text, &ask("gpt-4o", "x")).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (402, Some("false")), "{refused:?}");
    assert_eq!(stand.mock.stats().calls, 0);
    let key = stand.create_key(&["--budget", "1/day"]).await;
    for stream in [false, true] {
        let id = id_of(&stand.respond_as(&key.text, &with(ask("gpt-4o", "x"), &json!({"stream": stream}))).await);
        let get = stand.client.get(format!("{}/v1/responses/{id}", stand.server.url())).bearer_auth(&key.text);
        assert_eq!(Answer::of(get).await.status, 200);
    }
    assert_eq!(stand.mock.stats().calls, 2);
    let used = stand.get("/api/usage").await.json().to_string();
    assert!(used.contains("\"calls\":2"), "{used}");
}

#[tokio::test]
async fn wire_07_a_repeated_request_is_answered_as_before() {
    let stand = Stand::start().await;
    for stream in [false, true] {
        let body = with(ask("gemini-2.5-flash", "x"), &json!({"stream": stream}));
        let again = async || {
            let request =
                stand.post("/v1/responses", body.to_string()).header("idempotency-key", format!("k-{stream}"));
            Answer::of(request).await
        };
        let (first, second) = (again().await, again().await);
        assert_eq!(
            (first.status, &first.body, second.header("idempotency-replayed")),
            (200, &second.body, Some("true"))
        );
    }
    assert_eq!(stand.mock.stats().calls, 2);
}

#[tokio::test]
async fn tokens_are_counted_by_providers_that_count() {
    let stand = Stand::start().await;
    let count = async |body: &Value| Answer::of(stand.post("/v1/responses/input_tokens", body.to_string())).await;
    for model in ["claude-sonnet-4-5", "gemini-2.5-flash"] {
        let counted = count(&ask(model, "How many?")).await;
        assert_eq!((counted.status, &counted.json()["object"]), (200, &json!("response.input_tokens")), "{counted:?}");
        assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    }
    assert_eq!(count(&ask("gpt-4o", "x")).await.status, 400);
    let previous = with(ask("claude-sonnet-4-5", "x"), &json!({"previous_response_id": "resp_1"}));
    assert_eq!(count(&previous).await.status, 400);
}

#[tokio::test]
async fn a_prompt_leads_and_one_generation_tells_it_all() {
    let stand = Stand::start().await;
    let made = json!({"name": "Guide", "prompt": [{"role": "system", "content": "Speak as {{who}}."}], "labels": ["production"]});
    let editor = stand.create_key(&["--scopes", "prompts"]).await;
    let request = stand.client.post(format!("{}/api/prompts", stand.server.url())).bearer_auth(&editor.text);
    let put = Answer::of(request.header("content-type", "application/json").body(made.to_string())).await;
    assert_eq!(put.status, 201, "{put:?}");
    let prompt = json!({"name": "Guide", "variables": {"who": "Alice"}}).to_string();
    let body = with(
        ask("gpt-4o", "hello"),
        &json!({"instructions": "Be brief.", "metadata": {"prompt": prompt}, "stream": true}),
    );
    let answer = stand.respond(&body).await;
    assert_eq!(stand.sent_thread(), ["system: Speak as Alice.", "system: Be brief.", "user: hello"]);
    assert_eq!(stand.thread(&answer.conversation()).await.len(), 2);
    let trace = stand.get(&format!("/api/traces/{}", answer.header("x-privet-trace-id").unwrap())).await.json();
    let generations: Vec<&Value> = trace["steps"]
        .as_array()
        .unwrap_or_else(|| panic!("{trace}"))
        .iter()
        .filter(|observation| observation["type"] == "GENERATION")
        .collect();
    assert_eq!(generations.len(), 1, "{trace}");
    let told = generations[0].to_string();
    for part in ["Speak as Alice.", "Be brief.", "hello", DEFAULT_CONTENT] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
