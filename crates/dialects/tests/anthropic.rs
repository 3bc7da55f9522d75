//! Anthropic's dialect at its own edge: what goes out on the wire, and what an answer from it means.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may end in a panic")]

use privet_dialects::anthropic::stream::StreamDecoder;
use privet_dialects::anthropic::{request, response};
use privet_dialects::canonical::{
    ChatEvent, ChatRequest, FinishReason, Message, Part, Reasoning, ResponseFormat, Role, Source, Tool, ToolChoice,
    Usage,
};
use privet_dialects::sse::{SseDecoder, SseEvent};
use privet_dialects::{Dialect, UpstreamFault};
use serde_json::{Map, Value, json};

const STREAM: &str = include_str!("../testdata/anthropic_stream_thinking_tools.sse");
const ODD: &str = include_str!("../testdata/anthropic_stream_odd.sse");
const RESPONSE: &str = include_str!("../testdata/anthropic_response.json");

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extra: Map::new() }
}

fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature: Some("gemini's".into()) }
}

fn result(call_id: &str, content: Vec<Part>, is_error: bool) -> Message {
    said(Role::Tool, vec![Part::ToolResult { call_id: call_id.into(), content, is_error }])
}

fn png() -> Source {
    Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() }
}

fn thread() -> Vec<Message> {
    let pdf = Source::Base64 { media_type: "application/pdf".into(), data: "JVBERi0=".into() };
    let note = Source::Base64 { media_type: "text/markdown".into(), data: "IyBIacWC".into() };
    vec![
        Message::text(Role::System, "Be brief."),
        Message::text(Role::User, "Look:"),
        said(
            Role::User,
            vec![
                Part::Image { source: Source::Url { url: "https://x.test/a.png".into() }, detail: Some("low".into()) },
                Part::Image { source: png(), detail: None },
                Part::File { source: pdf, filename: Some("a.pdf".into()) },
                Part::File { source: note, filename: None },
            ],
        ),
        said(
            Role::Assistant,
            vec![
                Part::Thinking { text: "  two\u{a0}cities\n".into(), signature: Some("EqQB+/==".into()) },
                Part::RedactedThinking { data: "Emw/KA==".into() },
                text("I'll check."),
                call("functions.weather:0", "weather", "{\"city\": \"Łódź\", \"days\": 1.0}"),
                call("call_2", "time", ""),
            ],
        ),
        result("functions.weather:0", vec![text("sunny"), Part::Image { source: png(), detail: None }], false),
        result("call_2", vec![text("no clock")], true),
        Message::text(Role::User, "And now?"),
        Message::text(Role::Developer, "Answer in Polish."),
    ]
}

fn tools() -> Vec<Tool> {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    vec![
        Tool {
            name: "weather".into(),
            description: Some("Weather".into()),
            parameters: Some(schema),
            strict: Some(true),
        },
        Tool { name: "time".into(), description: None, parameters: None, strict: None },
    ]
}

fn asked() -> ChatRequest {
    ChatRequest {
        model: "claude-sonnet-4-5".into(),
        messages: vec![Message::text(Role::User, "hi")],
        ..ChatRequest::default()
    }
}

fn encode(request: &ChatRequest) -> Value {
    serde_json::from_slice(&request::encode(request, 4096).unwrap()).unwrap()
}

fn refused(request: &ChatRequest) -> String {
    request::encode(request, 4096).unwrap_err().param
}

fn events(stream: &str) -> Vec<SseEvent> {
    let mut decoder = SseDecoder::default();
    decoder.push(stream.as_bytes());
    decoder.finish();
    std::iter::from_fn(|| decoder.next_event()).map(Result::unwrap).collect()
}

fn decode(stream: &str) -> (Vec<ChatEvent>, bool) {
    let (mut decoder, mut out) = (StreamDecoder::default(), Vec::new());
    for event in events(stream) {
        decoder.event(&event, &mut out).unwrap();
    }
    (out, decoder.is_complete())
}

/// One line for each event, so that a snapshot reads like the stream.
fn lines(events: &[ChatEvent]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}

#[test]
fn a_thread_with_everything_in_it_is_written() {
    let request = ChatRequest {
        messages: thread(),
        tools: tools(),
        parallel_tool_calls: Some(false),
        max_output_tokens: Some(8000),
        temperature: Some(1.0),
        stop: vec!["END".into()],
        response_format: Some(ResponseFormat::JsonSchema {
            name: "n".into(),
            description: None,
            schema: json!({"type": "object", "additionalProperties": false}),
            strict: Some(true),
        }),
        reasoning: Some(Reasoning::Effort("medium".into())),
        user: Some("u-1".into()),
        stream: true,
        ..asked()
    };
    insta::assert_json_snapshot!(encode(&request));
}

#[test]
fn a_plain_request_has_nothing_but_what_was_asked() {
    let expected = json!({"model": "claude-sonnet-4-5", "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(encode(&asked()), expected);
}

#[test]
fn a_newer_model_is_told_its_effort_beside_the_schema() {
    let schema = json!({"type": "object"});
    let format =
        ResponseFormat::JsonSchema { name: "n".into(), description: None, schema: schema.clone(), strict: None };
    let request = ChatRequest {
        model: "claude-opus-4-8".into(),
        reasoning: Some(Reasoning::Effort("high".into())),
        response_format: Some(format),
        ..asked()
    };
    let body = encode(&request);
    assert_eq!(body["thinking"], json!({"type": "adaptive"}));
    assert_eq!(body["output_config"], json!({"effort": "high", "format": {"type": "json_schema", "schema": schema}}));
}

#[test]
fn tool_choices_are_written() {
    for (choice, parallel, expected) in [
        (None, None, Value::Null),
        (None, Some(true), Value::Null),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true})),
        (Some(ToolChoice::Auto), None, json!({"type": "auto"})),
        (Some(ToolChoice::None), Some(false), json!({"type": "none"})),
        (Some(ToolChoice::Required), Some(false), json!({"type": "any", "disable_parallel_tool_use": true})),
        (Some(ToolChoice::Named("time".into())), None, json!({"type": "tool", "name": "time"})),
    ] {
        let request = ChatRequest { tools: tools(), tool_choice: choice, parallel_tool_calls: parallel, ..asked() };
        assert_eq!(encode(&request)["tool_choice"], expected);
    }
}

#[test]
fn what_anthropic_cannot_do_is_refused_by_openais_name() {
    let cases = [
        ("temperature", ChatRequest { temperature: Some(1.2), ..asked() }),
        ("n", ChatRequest { choices: Some(2), ..asked() }),
        ("logprobs", ChatRequest { logprobs: Some(0), ..asked() }),
        ("frequency_penalty", ChatRequest { frequency_penalty: Some(0.5), ..asked() }),
        ("presence_penalty", ChatRequest { presence_penalty: Some(-0.5), ..asked() }),
        ("seed", ChatRequest { seed: Some(1), ..asked() }),
        ("response_format", ChatRequest { response_format: Some(ResponseFormat::JsonObject), ..asked() }),
        ("logit_bias", ChatRequest { extra: Map::from_iter([("logit_bias".into(), json!({"1": 2}))]), ..asked() }),
        ("messages", ChatRequest { messages: vec![Message::text(Role::System, "s")], ..asked() }),
    ];
    for (param, request) in cases {
        assert_eq!(refused(&request), param);
    }
    let kind = |kind: &str| Source::Base64 { media_type: kind.into(), data: "AAAA".into() };
    for part in [
        Part::Audio { data: "AA".into(), format: "wav".into() },
        Part::Image { source: Source::FileId { id: "file-1".into() }, detail: None },
        Part::Image { source: Source::Url { url: "ftp://x/a.png".into() }, detail: None },
        Part::File { source: Source::FileId { id: "file-1".into() }, filename: None },
        Part::File { source: kind("application/zip"), filename: None },
        Part::Other { dialect: Dialect::OpenAiChat, value: json!({"type": "brand_new"}) },
        call("c", "f", "{\"cut"),
        call("c", "f", "[1]"),
    ] {
        let request = ChatRequest { messages: vec![said(Role::User, vec![part])], ..asked() };
        assert_eq!(refused(&request), "messages");
    }
}

#[test]
fn values_that_change_nothing_are_no_reason_to_refuse() {
    let extra = Map::from_iter([("store".to_owned(), json!(true)), ("verbosity".to_owned(), json!("low"))]);
    let request = ChatRequest {
        choices: Some(1),
        frequency_penalty: Some(0.0),
        presence_penalty: Some(0.0),
        response_format: Some(ResponseFormat::Text),
        parallel_tool_calls: Some(false),
        tool_choice: Some(ToolChoice::Auto),
        extra,
        ..asked()
    };
    assert_eq!(encode(&request), encode(&asked()));
}

#[test]
fn what_does_not_go_with_reasoning_is_refused() {
    let asked = || ChatRequest { reasoning: Some(Reasoning::Effort("low".into())), tools: tools(), ..asked() };
    for (param, request) in [
        ("temperature", ChatRequest { temperature: Some(0.2), ..asked() }),
        ("top_k", ChatRequest { top_k: Some(5), ..asked() }),
        ("top_p", ChatRequest { top_p: Some(0.5), ..asked() }),
        ("tool_choice", ChatRequest { tool_choice: Some(ToolChoice::Required), ..asked() }),
        ("reasoning_effort", ChatRequest { max_output_tokens: Some(1000), ..asked() }),
    ] {
        assert_eq!(refused(&request), param);
    }
}

#[test]
fn wire_21_thinking_comes_back_to_the_byte() {
    let answer = response::decode(RESPONSE.as_bytes()).unwrap();
    let turn = answer.choices[0].message.clone();
    let messages = vec![Message::text(Role::User, "q"), turn, result("toolu_07", vec![text("x")], false)];
    let sent = String::from_utf8(request::encode(&ChatRequest { messages, ..asked() }, 4096).unwrap()).unwrap();
    for block in [
        r#"{"type":"thinking","thinking":"Simple.","signature":"sig+/=="}"#,
        r#"{"type":"redacted_thinking","data":"opaque=="}"#,
        r#"{"type":"tool_use","id":"toolu_07","name":"get_weather","input":{"city":"Łódź"}}"#,
    ] {
        assert!(RESPONSE.contains(block) && sent.contains(block), "{block}");
    }
}

#[test]
fn reasoning_of_another_provider_is_not_sent() {
    let turn = said(Role::Assistant, vec![Part::Thinking { text: "hm".into(), signature: None }, text("a")]);
    let request = ChatRequest { messages: vec![Message::text(Role::User, "q"), turn], ..asked() };
    assert_eq!(encode(&request)["messages"][1]["content"], json!([{"type": "text", "text": "a"}]));
}

#[test]
fn an_answer_is_read() {
    insta::assert_debug_snapshot!(response::decode(RESPONSE.as_bytes()).unwrap());
}

#[test]
fn a_stream_is_read() {
    let (events, is_complete) = decode(STREAM);
    assert!(is_complete);
    insta::assert_snapshot!(lines(&events));
}

#[test]
fn wire_11_interleaved_calls_stay_apart_and_count_without_gaps() {
    let (events, is_complete) = decode(ODD);
    assert!(is_complete);
    insta::assert_snapshot!(lines(&events));
}

#[test]
fn wire_12_a_call_without_arguments_is_an_empty_object() {
    let (events, _) = decode(STREAM);
    let arguments: String = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::ToolArguments { index: 1, delta, .. } => Some(delta.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(arguments, "{}");
}

#[test]
fn wire_20_usage_is_replaced_and_never_added() {
    let (events, _) = decode(STREAM);
    let counts: Vec<Usage> = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Usage(usage) => Some(*usage),
            _ => None,
        })
        .collect();
    assert_eq!(counts.iter().map(|usage| usage.output).collect::<Vec<_>>(), [1, 40, 95]);
    assert!(counts.iter().all(|usage| usage.input == 1325));
}

#[test]
fn wire_22_cached_tokens_are_part_of_the_input_once() {
    let usage = response::decode(RESPONSE.as_bytes()).unwrap().usage.unwrap();
    let expected = Usage {
        input: 10 + 30 + 5,
        cached_input: 5,
        cache_write_5m: 20,
        cache_write_1h: 10,
        output: 42,
        ..Usage::default()
    };
    assert_eq!(usage, expected);
}

#[test]
fn wire_24_all_stop_reasons_map() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("refusal", FinishReason::ContentFilter),
        ("pause_turn", FinishReason::Pause),
        ("new_reason", FinishReason::Other("new_reason".into())),
    ] {
        let body =
            json!({"id": "m", "type": "message", "model": "c", "content": [], "stop_reason": reason}).to_string();
        assert_eq!(response::decode(body.as_bytes()).unwrap().choices[0].finish.as_ref(), Some(&expected));
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
        let (events, _) = decode(&format!("event: message_delta\ndata: {delta}\n\n"));
        assert_eq!(events, [ChatEvent::Finish { choice: 0, reason: expected }]);
    }
}

#[test]
fn an_error_is_reported_with_its_status() {
    for (kind, status) in [
        ("invalid_request_error", Some(400)),
        ("authentication_error", Some(401)),
        ("permission_error", Some(403)),
        ("not_found_error", Some(404)),
        ("request_too_large", Some(413)),
        ("rate_limit_error", Some(429)),
        ("api_error", Some(500)),
        ("overloaded_error", Some(529)),
        ("new_error", None),
    ] {
        let body = json!({"type": "error", "error": {"type": kind, "message": "m"}}).to_string();
        let expected = UpstreamFault::Reported { status, kind: kind.into(), message: "m".into() };
        assert_eq!(response::decode(body.as_bytes()).unwrap_err(), expected);
        for name in ["event: error\n", ""] {
            let event = &events(&format!("{name}data: {body}\n\n"))[0];
            assert_eq!(StreamDecoder::default().event(event, &mut Vec::new()).unwrap_err(), expected);
        }
    }
}

#[test]
fn what_is_no_message_is_malformed() {
    for body in ["", "{}", "[]", "null", "<html>", "{\"id\":\"m\",\"type\":\"message\"}", "{\"content\":[]}"] {
        assert!(matches!(response::decode(body.as_bytes()), Err(UpstreamFault::Malformed(_))), "{body}");
    }
}

#[test]
fn a_cut_stream_is_not_complete() {
    let (_, is_complete) = decode(STREAM.split("event: message_stop").next().unwrap());
    assert!(!is_complete);
}

#[test]
fn a_message_that_says_nothing_leaves_no_gap_between_turns() {
    let silent = said(Role::Assistant, vec![Part::Thinking { text: "hm".into(), signature: None }, text("")]);
    let messages = vec![Message::text(Role::User, "a"), silent, Message::text(Role::User, "b")];
    let sent = encode(&ChatRequest { messages, ..asked() });
    let expected = json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    assert_eq!(sent["messages"], expected);
}
