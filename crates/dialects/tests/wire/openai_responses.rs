//! Providers that are spoken to in the Responses API, for clients of any dialect.

use privet_dialects::anthropic::incoming::IncomingMessages;
use privet_dialects::canonical::{FinishReason, Message, Part, Role, Source};
use privet_dialects::incoming::Incoming;
use privet_dialects::openai::chat_request::IncomingChat;
use privet_dialects::responses::incoming::{IncomingResponses, Referenced};
use privet_dialects::translate::{EncodeOptions, RequestError, decode_response, encode_request};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::client::{options, relay, with_usage};

const RESPONSE: &str = include_str!("../../testdata/responses_response.json");
const STREAM: &str = include_str!("../../testdata/responses_stream_tools.sse");

fn encode_for(model: &str, incoming: &Incoming, history: &[Message]) -> Result<Value, RequestError> {
    let options =
        EncodeOptions { max_tokens_field: None, default_max_tokens: 4096, output_limit: None, service_tier: None };
    let body = encode_request(incoming, model, history, Dialect::OpenAiResponses, &options)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn chat(more: &Value) -> Incoming {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    IncomingChat::parse(body.to_string().into()).unwrap().into()
}

fn answer(body: &Value) -> Result<privet_dialects::translate::Answer, UpstreamFault> {
    decode_response(Inbound::OpenAiChat, Dialect::OpenAiResponses, body.to_string().into(), 0).map(|whole| whole.answer)
}

#[test]
fn a_chat_and_a_messages_request_are_written_as_responses() {
    let chat = chat(&json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "parallel_tool_calls": false, "max_completion_tokens": 9, "reasoning_effort": "low", "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "stream": true, "user": "ada", "service_tier": "flex", "prompt_cache_key": "k", "store": true, "metadata": {"a": "b"},
    }));
    insta::assert_json_snapshot!("chat", encode_for("gpt-5", &chat, &[]).unwrap());
    let full = include_str!("../../testdata/anthropic_request_full.json");
    let mut full: Value = serde_json::from_str(full).unwrap();
    for member in ["stop_sequences", "top_k"] {
        full.as_object_mut().unwrap().remove(member);
    }
    let messages = Incoming::from(IncomingMessages::parse(full.to_string().into()).unwrap());
    insta::assert_json_snapshot!("messages", encode_for("gpt-4o", &messages, &[]).unwrap());
}

#[test]
fn nothing_is_kept_there_and_what_is_encrypted_is_asked_for_where_it_is() {
    let sent = |model: &str| encode_for(model, &chat(&json!({"store": true})), &[]).unwrap();
    let reasoning = sent("gpt-5-mini");
    assert_eq!((&reasoning["store"], &reasoning["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    // Those that do not reason refuse it.
    assert_eq!((&sent("gpt-4o")["store"], sent("gpt-4o").get("include")), (&json!(false), None));
}

#[test]
fn what_the_api_lacks_is_refused_by_the_clients_name() {
    for (more, param) in [
        (json!({"stop": "END"}), "stop"),
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"seed": 7}), "seed"),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"logit_bias": {"1": 5}}), "logit_bias"),
        (json!({"brand_new": 1}), "brand_new"),
    ] {
        match encode_for("gpt-5", &chat(&more), &[]) {
            Err(RequestError::Unsupported(refusal)) => assert_eq!(refusal.param, param),
            other => panic!("{more}: {other:?}"),
        }
    }
    assert!(encode_for("gpt-5", &chat(&json!({"frequency_penalty": 0, "n": 1, "logprobs": false})), &[]).is_ok());
}

#[test]
fn wire_22_an_answer_is_read_with_all_its_tokens() {
    let whole = answer(&serde_json::from_str(RESPONSE).unwrap()).unwrap();
    let usage = whole.usage.unwrap();
    assert_eq!((usage.input, usage.cached_input, usage.output, usage.reasoning), (1325, 1024, 95, 64));
    assert_eq!((whole.tier.as_deref(), &whole.finishes[0]), (Some("default"), &Some(FinishReason::ToolCalls)));
    let Part::Thinking { text, signature } = &whole.messages[0].parts[0] else { panic!("{whole:?}") };
    assert_eq!((text.as_str(), signature.as_deref()), ("The user wants \n\ntwo cities.", Some("openai:gAAAAABo+/==")));
    let Part::ToolCall { arguments, .. } = &whole.messages[0].parts[3] else { panic!("{whole:?}") };
    assert_eq!(arguments, "{}", "wire 12");
    // Streamed it is the same.
    let streamed = relay(Dialect::OpenAiResponses, with_usage(), STREAM).answer;
    assert_eq!((streamed.messages, streamed.usage, streamed.finishes), (whole.messages, whole.usage, whole.finishes));
}

#[test]
fn wire_28_usage_is_read_from_each_end_and_a_failure_is_one() {
    let stream = |kind: &str, more: &Value| {
        let mut response = json!({"id": "r", "model": "m", "status": kind, "output": [], "usage": {"input_tokens": 3, "output_tokens": 2}});
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ended = json!({"type": format!("response.{kind}"), "response": response});
        let said = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"});
        relay(Dialect::OpenAiResponses, options(), &format!("data: {said}\n\ndata: {ended}\n\n"))
    };
    for (kind, more, finish) in [
        ("completed", json!({}), FinishReason::Stop),
        ("incomplete", json!({"incomplete_details": {"reason": "max_output_tokens"}}), FinishReason::Length),
        ("incomplete", json!({"incomplete_details": {"reason": "content_filter"}}), FinishReason::ContentFilter),
    ] {
        let relayed = stream(kind, &more);
        assert_eq!((&relayed.outcome, &relayed.answer.finishes[0]), (&Ok(()), &Some(finish)), "{kind}");
        assert!(relayed.answer.usage.is_some_and(|usage| usage.input == 3) && relayed.answer.is_counted, "{kind}");
    }
    let failed = stream("failed", &json!({"error": {"code": "server_error", "message": "It broke."}}));
    assert!(
        matches!(&failed.outcome, Err(UpstreamFault::Reported { status: Some(500), message, .. }) if message == "It broke."),
        "{failed:?}"
    );
    assert!(failed.answer.usage.is_some_and(|usage| usage.output == 2), "what it counted is known all the same");
    assert!(!failed.closing.contains("[DONE]"));
    let error = "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"Slow down.\",\"param\":null}\n\n";
    let outcome = relay(Dialect::OpenAiResponses, options(), error).outcome;
    assert!(matches!(&outcome, Err(UpstreamFault::Reported { status: Some(429), .. })), "{outcome:?}");
}

#[test]
fn an_answer_that_is_none_is_a_fault() {
    for body in
        [json!({"status": "completed"}), json!({"output": [], "status": "queued"}), json!([]), json!({"output": 5})]
    {
        assert!(matches!(answer(&body), Err(UpstreamFault::Malformed(_))), "{body}");
    }
    let failed =
        json!({"id": "r", "status": "failed", "output": [], "error": {"code": "server_error", "message": "m"}});
    assert!(matches!(answer(&failed), Err(UpstreamFault::Reported { status: Some(500), .. })));
}

#[test]
fn a_stream_of_whole_items_or_of_the_response_alone_is_read() {
    let text = |relayed: &crate::client::Relayed| relayed.answer.messages[0].plain_text();
    let item = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let done = |index: u64, item: &Value| {
        format!("data: {}\n\n", json!({"type": "response.output_item.done", "output_index": index, "item": item}))
    };
    let ended = json!({"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": [item, call]}});
    for stream in [format!("{}{}data: {ended}\n\n", done(0, &item), done(1, &call)), format!("data: {ended}\n\n")] {
        let relayed = relay(Dialect::OpenAiResponses, options(), &stream);
        assert_eq!((&relayed.outcome, text(&relayed).as_str()), (&Ok(()), "Hi"), "{stream}");
        assert_eq!(relayed.answer.messages[0].parts.len(), 2, "{stream}");
        assert_eq!(relayed.answer.finishes[0], Some(FinishReason::ToolCalls));
    }
}

fn message() -> impl Strategy<Value = Message> {
    let made = |role: Role, parts: Vec<Part>| Message { role, name: None, parts, extra: Map::new() };
    let text = || "[a-zA-Z é\"\\\\]{1,12}".prop_map(|text| Part::Text { text });
    let asked = move || {
        prop_oneof![
            text(),
            Just(Part::Image { source: Source::Url { url: "https://x/y.png".into() }, detail: Some("low".into()) }),
            Just(Part::Image {
                source: Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() },
                detail: None
            }),
            Just(Part::File {
                source: Source::Base64 { media_type: "application/pdf".into(), data: "AA==".into() },
                filename: Some("a.pdf".into())
            }),
            Just(Part::File { source: Source::Url { url: "https://x/y.pdf".into() }, filename: None }),
        ]
    };
    let answered = prop_oneof![
        text(),
        "[a-z]{1,9}".prop_map(|text| Part::Refusal { text }),
        ("[a-z]{0,9}", "[a-z+/=]{1,8}")
            .prop_map(|(text, sealed)| Part::Thinking { text, signature: Some(format!("openai:{sealed}")) }),
        ("[a-z0-9_]{1,9}", "[a-z]{1,9}").prop_map(|(id, name)| Part::ToolCall {
            id,
            name,
            arguments: "{\"x\": 1.0}".into(),
            signature: None
        }),
    ];
    prop_oneof![
        proptest::collection::vec(asked(), 1..4).prop_map(move |parts| made(Role::User, parts)),
        proptest::collection::vec(answered, 1..5).prop_map(move |parts| made(Role::Assistant, parts)),
        ("[a-z0-9_]{1,9}", proptest::collection::vec(asked(), 1..3)).prop_map(move |(call_id, content)| {
            made(Role::Tool, vec![Part::ToolResult { call_id, content, is_error: false }])
        }),
    ]
}

proptest! {
    /// What is sent is read as what was said, reasoning included.
    #[test]
    fn a_thread_goes_to_the_provider_without_a_loss(messages in proptest::collection::vec(message(), 1..6)) {
        let sent = encode_for("gpt-5", &chat(&json!({})), &messages).unwrap();
        let back = IncomingResponses::parse(json!({"input": sent["input"]}).to_string().into(), crate::inbound_responses::client::birth(), &Referenced::new()).unwrap();
        let said = |messages: &[Message]| -> Vec<(Role, Vec<Part>)> {
            let mut said: Vec<(Role, Vec<Part>)> = Vec::new();
            for message in messages {
                match said.last_mut() {
                    Some((role, parts)) if *role == message.role && *role != Role::Tool => parts.extend(message.parts.clone()),
                    _ => said.push((message.role, message.parts.clone())),
                }
            }
            said
        };
        let mut expected = messages;
        expected.push(Message::text(Role::User, "hi"));
        prop_assert_eq!(said(&back.messages), said(&expected));
    }
}
