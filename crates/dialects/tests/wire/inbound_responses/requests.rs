//! Requests of the Responses API as each provider gets them.

use privet_dialects::Dialect;
use privet_dialects::canonical::{Message, Part, Role, Source};
use privet_dialects::incoming::Incoming;
use privet_dialects::responses::incoming::{IncomingResponses, Referenced};
use privet_dialects::responses::output::{ItemStyle, input_items};
use privet_dialects::translate::{EncodeOptions, RequestError, encode_request};
use privet_dialects::unbounded_field::Escape;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::client::{ID, birth, parse};

const FULL: &str = include_str!("../../../testdata/responses_request_full.json");
const DIALECTS: [Dialect; 4] =
    [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini, Dialect::OpenAiResponses];

fn encode_for(incoming: IncomingResponses, history: &[Message], dialect: Dialect) -> Result<Value, RequestError> {
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let body = encode_request(&incoming.into(), "the-model", history, dialect, &options)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn simple(more: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn encode(more: &Value, dialect: Dialect) -> Result<Value, RequestError> {
    encode_for(parse(&simple(more)), &[], dialect)
}

fn param_of(error: &RequestError) -> String {
    match error {
        RequestError::BadRequest(error) => error.param.clone().unwrap_or_default(),
        RequestError::Unsupported(error) => error.param.clone(),
    }
}

#[test]
fn a_full_request_in_each_dialect() {
    let whole: Value = serde_json::from_str(FULL).unwrap();
    for dialect in DIALECTS {
        let body = encode_for(parse(&whole), &[], dialect).unwrap();
        insta::assert_json_snapshot!(format!("responses_{dialect:?}"), body);
    }
}

#[test]
fn a_text_alone_is_a_message_of_the_users() {
    for (input, expected) in [
        (json!("hi"), json!([{"role": "user", "content": "hi"}])),
        (json!([{"role": "user", "content": "hi"}]), json!([{"role": "user", "content": "hi"}])),
        (
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]),
        ),
    ] {
        assert_eq!(encode(&json!({"input": input}), Dialect::OpenAiChat).unwrap()["messages"], expected);
    }
}

#[test]
fn history_stands_behind_the_instructions_and_in_front_of_the_input() {
    let history = [Message::text(Role::User, "before"), Message::text(Role::Assistant, "yes")];
    let request = simple(
        &json!({"instructions": "Be brief.", "input": [{"role": "developer", "content": "Now."}, {"role": "user", "content": "x"}]}),
    );
    let mut incoming = Incoming::from(parse(&request));
    incoming.set_lead(vec![Message::text(Role::System, "Prompt.")]);
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let body = encode_request(&incoming, "m", &history, Dialect::OpenAiChat, &options).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let said: Vec<&str> =
        body["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Prompt.", "Be brief.", "before", "yes", "Now.", "x"]);
    assert!(incoming.messages().len() == 2, "instructions are no part of the thread");
}

#[test]
fn what_a_model_is_told_beside_the_thread_goes_by_its_dialects_names() {
    let more = json!({
        "max_output_tokens": 7, "reasoning": {"effort": "high"}, "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k", "user": "ada", "metadata": {"a": "b"}, "store": true,
        "stream_options": {"include_obfuscation": false}, "include": ["reasoning.encrypted_content"], "top_logprobs": 0, "background": false,
        "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"},
    });
    let sent = encode(&more, Dialect::OpenAiChat).unwrap();
    let expected = json!({
        "model": "the-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "reasoning_effort": "high",
        "response_format": {"type": "json_object"}, "verbosity": "low", "service_tier": "flex", "safety_identifier": "s",
        "prompt_cache_key": "k", "user": "ada",
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "f"}},
    });
    assert_eq!(sent, expected);
    let plain = encode(&json!({}), Dialect::Gemini).unwrap();
    let hints = json!({"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"a": "b"}, "store": false, "text": {"verbosity": "low"}});
    assert_eq!(encode(&hints, Dialect::Gemini).unwrap(), plain);
}

#[test]
fn wire_26_what_only_openais_servers_do_is_refused_by_its_name_and_never_dropped() {
    let item = |item: Value| json!({"input": [{"role": "user", "content": "x"}, item]});
    for (more, param) in [
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (
            json!({"tools": [{"type": "function", "name": "f"}, {"type": "file_search", "vector_store_ids": []}]}),
            "tools[1].type",
        ),
        (json!({"tools": [{"type": "custom", "name": "grep"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function", "name": "f", "defer_loading": true}]}), "tools[0].defer_loading"),
        (json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}), "tool_choice.type"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"context_management": [{"type": "compaction"}]}), "context_management"),
        (json!({"reasoning": {"effort": "low", "context": "all"}}), "reasoning.context"),
        (json!({"text": {"tone": "warm"}}), "text.tone"),
        (json!({"brand_new": 1}), "brand_new"),
        (item(json!({"type": "web_search_call", "id": "ws_1", "status": "completed"})), "input[1]"),
        (item(json!({"role": "user", "content": [{"type": "input_video", "x": 1}]})), "input[1].content[0]"),
    ] {
        // To a provider of the same API it passes.
        let sent = encode(&more, Dialect::OpenAiResponses).unwrap();
        for (name, value) in more.as_object().unwrap() {
            assert_eq!(&sent[name], value, "{more}");
        }
        for dialect in &DIALECTS[..3] {
            let error = encode(&more, *dialect).expect_err(&more.to_string());
            assert!(matches!(error, RequestError::Unsupported(_)), "{more}: {error:?}");
            assert_eq!(param_of(&error), param, "{more}: {error:?}");
        }
    }
    // What one provider lacks is told by the names that this client knows.
    let more = json!({"text": {"format": {"type": "json_object"}}});
    let error = encode(&more, Dialect::AnthropicMessages).unwrap_err();
    assert!(param_of(&error) == "text.format" && !error.to_string().contains("response_format"), "{error}");
}

#[test]
fn wrong_requests_name_the_field() {
    for (more, param) in [
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [5]}), "input[0]"),
        (json!({"input": [{"role": "robot", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}), "input[0].content[0].text"),
        (json!({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}), "input[0].arguments"),
        (json!({"input": [{"type": "function_call_output", "call_id": "c"}]}), "input[0].output"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "JVBE"}]}]}),
            "input[0].content[0].file_data",
        ),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0].id"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"model": 7}), "model"),
        (json!({"instructions": ["x"]}), "instructions"),
        (json!({"background": true}), "background"),
        (json!({"conversation": {}}), "conversation"),
        (json!({"previous_response_id": ID, "conversation": "conv_1"}), "previous_response_id"),
        (json!({"include": "x"}), "include"),
    ] {
        let body = simple(&more).to_string();
        let error = IncomingResponses::parse(body.into(), birth(), &Referenced::new()).expect_err(&more.to_string());
        assert_eq!(error.param.as_deref(), Some(param), "{more}: {error}");
    }
    assert_eq!(
        parse(&simple(&json!({"max_output_tokens": 0}))).output_limit().unwrap_err().param.as_deref(),
        Some("max_output_tokens")
    );
}

#[test]
fn a_reference_stands_for_the_item_that_is_kept() {
    let body = simple(&json!({"input": [{"type": "item_reference", "id": "msg_x"}, {"role": "user", "content": "x"}]}))
        .to_string();
    assert_eq!(IncomingResponses::references(&body.clone().into()).unwrap(), ["msg_x"]);
    let kept = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "kept"}]});
    let referenced = Referenced::from([("msg_x".to_owned(), kept)]);
    let incoming = IncomingResponses::parse(body.into(), birth(), &referenced).unwrap();
    assert_eq!(incoming.messages[0], Message::text(Role::Assistant, "kept"));
    // One that leads to itself leads nowhere.
    let circle = json!({"type": "item_reference", "id": "msg_x"});
    let referenced = Referenced::from([("msg_x".to_owned(), circle.clone())]);
    let body = simple(&json!({"input": [circle]})).to_string();
    assert!(IncomingResponses::parse(body.into(), birth(), &referenced).is_err());
}

#[test]
fn another_providers_reasoning_goes_to_nobody_else() {
    for sealed in ["gAAAAABo", "anthropic:QUJDREVG", "gemini:QUJDREVG"] {
        let input = json!([
            {"role": "user", "content": "x"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": sealed},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ]);
        for dialect in DIALECTS {
            let sent = encode(&json!({"input": input}), dialect).unwrap().to_string();
            let goes = match dialect {
                Dialect::OpenAiChat => false,
                Dialect::AnthropicMessages => sealed.starts_with("anthropic:"),
                Dialect::Gemini => sealed.starts_with("gemini:"),
                Dialect::OpenAiResponses => !sealed.contains(':'),
            };
            let signature = sealed.rsplit(':').next().unwrap();
            assert_eq!(sent.contains(signature), goes, "{dialect:?} {sealed}: {sent}");
        }
    }
}

#[test]
fn the_size_counts_all_that_a_model_reads() {
    let size = |more: &Value| parse(&simple(more)).size(&[]);
    let plain = size(&json!({}));
    assert!(size(&json!({"instructions": "x".repeat(100)})).text_tokens >= plain.text_tokens + 100);
    let tool = json!({"tools": [{"type": "function", "name": "f", "description": "x".repeat(200)}]});
    assert!(size(&tool).text_tokens >= plain.text_tokens + 1_200);
    let format =
        json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"description": "x".repeat(300)}}}});
    assert!(size(&format).text_tokens >= plain.text_tokens + 800);
    let picture = json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}, {"type": "input_file", "file_id": "f"}]}]});
    assert_eq!((size(&picture).images, size(&picture).unknown_parts), (1, 1));
}

#[test]
fn what_nobody_can_bound_is_found() {
    let field = |more: &Value| parse(&simple(more)).unbounded_field().map(|field| (field.name, field.escapes));
    for (more, name, escapes) in [
        (json!({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}), "tools[1]", Escape::Fee),
        (json!({"tools": 5}), "tools", Escape::Fee),
        (json!({"prompt": {"id": "p"}}), "prompt", Escape::Model),
        (json!({"Max_Output_Tokens": 5}), "Max_Output_Tokens", Escape::Size),
    ] {
        assert_eq!(field(&more), Some((name.to_owned(), escapes)), "{more}");
    }
    assert_eq!(field(&serde_json::from_str(FULL).unwrap()), None);
}

fn text_part() -> impl Strategy<Value = Part> {
    "[a-zA-Z é\"\\\\]{1,12}".prop_map(|text| Part::Text { text })
}

fn asked_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        text_part(),
        Just(Part::Image { source: Source::Url { url: "https://x/y.png".into() }, detail: Some("low".into()) }),
        Just(Part::Image {
            source: Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() },
            detail: None
        }),
        Just(Part::Image { source: Source::FileId { id: "file-1".into() }, detail: None }),
        Just(Part::File {
            source: Source::Base64 { media_type: "application/pdf".into(), data: "AA==".into() },
            filename: Some("a.pdf".into())
        }),
        Just(Part::File { source: Source::Url { url: "https://x/y.pdf".into() }, filename: None }),
        Just(Part::Audio { data: "AA==".into(), format: "wav".into() }),
    ]
}

fn answered_part() -> impl Strategy<Value = Part> {
    let signature = || proptest::option::of("[a-z+/=]{1,8}");
    prop_oneof![
        text_part(),
        "[a-z]{1,9}".prop_map(|text| Part::Refusal { text }),
        ("[a-z]{1,9}", signature()).prop_map(|(text, signature)| Part::Thinking { text, signature }),
        "[a-z]{1,9}".prop_map(|data| Part::RedactedThinking { data }),
        ("[a-z0-9_]{1,9}", "[a-z]{1,9}", signature()).prop_map(|(id, name, signature)| Part::ToolCall {
            id,
            name,
            arguments: "{\"x\": 1.0}".into(),
            signature
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let made = |role: Role, parts: Vec<Part>| Message { role, name: None, parts, extra: Map::new() };
    let results = ("[a-z0-9_]{1,9}", proptest::collection::vec(asked_part(), 1..3));
    prop_oneof![
        (
            prop_oneof![Just(Role::User), Just(Role::System), Just(Role::Developer)],
            proptest::collection::vec(asked_part(), 1..4)
        )
            .prop_map(move |(role, parts)| made(role, parts)),
        proptest::collection::vec(answered_part(), 1..5).prop_map(move |parts| made(Role::Assistant, parts)),
        results.prop_map(move |(call_id, content)| {
            made(Role::Tool, vec![Part::ToolResult { call_id, content, is_error: false }])
        }),
    ]
}

/// The thread with what one side says in a row made one, as a reader has it.
fn joined(messages: Vec<Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::new();
    for message in messages {
        match joined.last_mut() {
            Some(last) if last.role == Role::Assistant && message.role == Role::Assistant => {
                last.parts.extend(message.parts)
            }
            _ => joined.push(message),
        }
    }
    joined
}

proptest! {
    #[test]
    fn a_thread_goes_there_and_back_without_a_loss(messages in proptest::collection::vec(message(), 1..6)) {
        let messages = joined(messages);
        let style = ItemStyle { response: birth().id, seals: true, is_cut: false };
        let items = input_items(&messages, style);
        let back = parse(&json!({"model": "m", "input": items}));
        prop_assert_eq!(back.messages, messages);
    }
}
