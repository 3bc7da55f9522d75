//! Gemini's dialect at its own edge: what goes out on the wire, and what an answer from it means.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may end in a panic")]

use std::collections::HashSet;

use bytes::Bytes;
use privet_dialects::canonical::{
    ChatEvent, ChatRequest, FinishReason, Message, Part, Reasoning, ResponseFormat, Role, Source, Tool, ToolChoice,
    Usage,
};
use privet_dialects::gemini::stream::StreamDecoder;
use privet_dialects::gemini::{embeddings, request, response};
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_dialects::sse::{SseDecoder, SseEvent};
use privet_dialects::{Dialect, UpstreamFault};
use serde_json::{Map, Value, json};

const STREAM: &str = include_str!("../testdata/gemini_stream_tools.sse");
const ODD: &str = include_str!("../testdata/gemini_stream_odd.sse");
const RESPONSE: &str = include_str!("../testdata/gemini_response.json");
const BLOCKED: &str = include_str!("../testdata/gemini_blocked.json");

fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extra: Map::new() }
}

fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

fn call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Part {
    let signature = signature.map(str::to_owned);
    Part::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature }
}

fn result(call_id: &str, content: Vec<Part>, is_error: bool) -> Message {
    said(Role::Tool, vec![Part::ToolResult { call_id: call_id.into(), content, is_error }])
}

fn base64(media_type: &str) -> Source {
    Source::Base64 { media_type: media_type.into(), data: "AAAA".into() }
}

fn thread() -> Vec<Message> {
    let url = |url: &str| Source::Url { url: url.into() };
    vec![
        Message::text(Role::System, "Be brief."),
        Message::text(Role::User, "Look:"),
        said(
            Role::User,
            vec![
                Part::Image { source: url("https://x.test/a.PNG?size=2"), detail: None },
                Part::Image { source: url("https://x.test/picture"), detail: None },
                Part::Image { source: base64("image/png"), detail: Some("low".into()) },
                Part::File { source: base64("application/pdf"), filename: Some("a.pdf".into()) },
                Part::Audio { data: "BBBB".into(), format: "wav".into() },
            ],
        ),
        said(
            Role::Assistant,
            vec![
                Part::Thinking { text: "hm".into(), signature: Some("anthropic's".into()) },
                Part::RedactedThinking { data: "anthropic's".into() },
                text("I'll check."),
                call("c1", "weather", "{\"city\": \"Łódź\", \"days\": 1.0}", Some("c2ln+/==")),
                call("c2", "time", "", None),
            ],
        ),
        result("c1", vec![text("{\"celsius\": 21}")], false),
        result("c2", vec![text("no clock"), Part::Image { source: base64("image/png"), detail: None }], true),
        said(Role::Assistant, vec![call("c1", "time", "{}", None)]),
        result("c1", vec![text("half past nine")], false),
        Message::text(Role::User, "And now?"),
        Message::text(Role::Developer, "Answer in Polish."),
    ]
}

fn tools() -> Vec<Tool> {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false});
    vec![
        Tool { name: "weather".into(), description: Some("Weather".into()), parameters: Some(schema), strict: None },
        Tool { name: "time".into(), description: None, parameters: None, strict: None },
    ]
}

fn asked() -> ChatRequest {
    ChatRequest {
        model: "gemini-2.5-flash".into(),
        messages: vec![Message::text(Role::User, "hi")],
        ..ChatRequest::default()
    }
}

fn everything() -> ChatRequest {
    ChatRequest {
        messages: thread(),
        tools: tools(),
        tool_choice: Some(ToolChoice::Named("weather".into())),
        max_output_tokens: Some(800),
        temperature: Some(1.5),
        top_p: Some(0.9),
        top_k: Some(40),
        frequency_penalty: Some(0.5),
        presence_penalty: Some(-0.5),
        seed: Some(7),
        stop: vec!["END".into()],
        choices: Some(2),
        logprobs: Some(3),
        response_format: Some(ResponseFormat::JsonSchema {
            name: "n".into(),
            description: None,
            schema: json!({"type": "object"}),
            strict: Some(true),
        }),
        reasoning: Some(Reasoning::Effort("medium".into())),
        user: Some("u-1".into()),
        ..asked()
    }
}

fn encode(request: &ChatRequest) -> Value {
    serde_json::from_slice(&request::encode(request).unwrap()).unwrap()
}

fn refused(request: &ChatRequest) -> String {
    request::encode(request).unwrap_err().param
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

fn ids(answer: &str) -> Vec<String> {
    let answer = response::decode(answer.as_bytes()).unwrap();
    let parts = answer.choices.iter().flat_map(|choice| &choice.message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolCall { id, .. } => Some(id.clone()),
            _ => None,
        })
        .collect()
}

fn calls(response_id: &str) -> String {
    let parts = json!([{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "args": {}}}]);
    let candidate = |index: u32| json!({"content": {"parts": parts}, "finishReason": "STOP", "index": index});
    json!({"candidates": [candidate(0), candidate(1)], "responseId": response_id}).to_string()
}

#[test]
fn a_thread_with_everything_in_it_is_written() {
    insta::assert_json_snapshot!(encode(&everything()));
}

#[test]
fn a_newer_model_is_given_a_level_and_no_call_without_a_signature() {
    let body = encode(&ChatRequest { model: "gemini-3.1-pro-preview".into(), ..everything() });
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"thinkingLevel": "medium", "includeThoughts": true}));
    let signatures = |content: usize| -> Vec<Value> {
        let parts = body["contents"][content]["parts"].as_array().unwrap();
        parts
            .iter()
            .filter(|part| part.get("functionCall").is_some())
            .map(|part| part["thoughtSignature"].clone())
            .collect()
    };
    assert_eq!(signatures(1), [json!("c2ln+/=="), Value::Null]);
    assert_eq!(signatures(3), [json!("skip_thought_signature_validator")]);
}

#[test]
fn a_plain_request_has_nothing_but_what_was_asked() {
    let expected = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    assert_eq!(encode(&asked()), expected);
    assert_eq!(encode(&ChatRequest { stream: true, choices: Some(1), ..asked() }), expected);
}

#[test]
fn tool_choices_are_written() {
    let strict = || tools().into_iter().map(|tool| Tool { strict: Some(true), ..tool }).collect();
    for (choice, tools, expected) in [
        (None, tools(), Value::Null),
        (None, strict(), json!({"mode": "VALIDATED"})),
        (Some(ToolChoice::Auto), tools(), json!({"mode": "AUTO"})),
        (Some(ToolChoice::None), strict(), json!({"mode": "NONE"})),
        (Some(ToolChoice::Required), tools(), json!({"mode": "ANY"})),
        (Some(ToolChoice::Named("time".into())), tools(), json!({"mode": "ANY", "allowedFunctionNames": ["time"]})),
    ] {
        let body = encode(&ChatRequest { tools, tool_choice: choice, ..asked() });
        assert_eq!(body["toolConfig"]["functionCallingConfig"], expected);
    }
}

#[test]
fn what_gemini_cannot_do_is_refused_by_openais_name() {
    let cases = [
        ("logprobs", ChatRequest { logprobs: Some(0), stream: true, ..asked() }),
        ("logit_bias", ChatRequest { extra: Map::from_iter([("logit_bias".into(), json!({"1": 2}))]), ..asked() }),
        ("messages", ChatRequest { messages: vec![Message::text(Role::System, "s")], ..asked() }),
        ("messages", ChatRequest { messages: vec![result("unknown", vec![text("x")], false)], ..asked() }),
        (
            "reasoning_effort",
            ChatRequest { model: "gemini-3-pro-preview".into(), reasoning: Some(Reasoning::Off), ..asked() },
        ),
    ];
    for (param, request) in cases {
        assert_eq!(refused(&request), param);
    }
    for part in [
        Part::Image { source: Source::FileId { id: "file-1".into() }, detail: None },
        Part::File { source: Source::Url { url: "JVBERi0=".into() }, filename: None },
        Part::Other { dialect: Dialect::OpenAiChat, value: json!({"type": "brand_new"}) },
        call("c", "f", "{\"cut", None),
        call("c", "f", "[1]", None),
    ] {
        let request = ChatRequest { messages: vec![said(Role::User, vec![part])], ..asked() };
        assert_eq!(refused(&request), "messages");
    }
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
fn wire_11_calls_count_without_gaps_in_an_odd_stream_of_two_answers() {
    let (events, is_complete) = decode(ODD);
    assert!(is_complete);
    insta::assert_snapshot!(lines(&events));
}

#[test]
fn wire_12_a_call_without_arguments_is_an_empty_object() {
    for stream in [STREAM, ODD] {
        let (events, _) = decode(stream);
        let last = events.iter().rev().find_map(|event| match event {
            ChatEvent::ToolArguments { delta, .. } => Some(delta.as_str()),
            _ => None,
        });
        assert_eq!(last, Some("{}"));
    }
}

#[test]
fn wire_21_a_signature_goes_back_with_its_call_unchanged() {
    let turn = response::decode(RESPONSE.as_bytes()).unwrap().choices[0].message.clone();
    let messages = vec![Message::text(Role::User, "q"), turn];
    let body = encode(&ChatRequest { messages, ..asked() });
    let part = &body["contents"][1]["parts"][1];
    assert_eq!((&part["functionCall"]["name"], &part["thoughtSignature"]), (&json!("get_time"), &json!("c2ln")));
}

#[test]
fn minted_ids_repeat_for_an_answer_and_differ_within_it_and_between_turns() {
    let first = ids(&calls("r-1"));
    assert_eq!(first, ids(&calls("r-1")));
    let mut all = first.clone();
    all.extend(ids(&calls("r-2")));
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 8);
    // OpenAI takes up to 40 characters back, Anthropic these alone.
    let is_safe = |id: &String| {
        id.len() <= 40 && id.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
    };
    assert!(all.iter().all(is_safe), "{all:?}");
}

#[test]
fn a_streamed_call_has_the_id_of_the_whole_answer() {
    let whole = ids(&calls("r-1"));
    let (events, _) = decode(&format!("data: {}\n\n", calls("r-1")));
    let streamed: Vec<String> = events
        .into_iter()
        .filter_map(|event| match event {
            ChatEvent::ToolCall { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(streamed, whole);
}

#[test]
fn wire_20_usage_is_replaced_and_never_added() {
    let (events, _) = decode(ODD);
    let last = events.iter().rev().find_map(|event| match event {
        ChatEvent::Usage(usage) => Some(*usage),
        _ => None,
    });
    assert_eq!(last, Some(Usage { input: 23, output: 21, reasoning: 6, ..Usage::default() }));
}

#[test]
fn wire_24_all_finish_reasons_map() {
    for (reason, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("IMAGE_SAFETY", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Other("MALFORMED_FUNCTION_CALL".into())),
    ] {
        let body = json!({"candidates": [{"finishReason": reason}], "responseId": "r", "modelVersion": "m"});
        let answer = response::decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.choices[0].finish.as_ref(), Some(&expected));
        let (events, is_complete) = decode(&format!("data: {body}\n\n"));
        assert_eq!(events[1], ChatEvent::Finish { choice: 0, reason: expected });
        assert!(is_complete);
    }
    assert_eq!(response::decode(calls("r").as_bytes()).unwrap().choices[0].finish, Some(FinishReason::ToolCalls));
}

#[test]
fn a_blocked_prompt_is_an_empty_answer_that_a_filter_ended() {
    let answer = response::decode(BLOCKED.as_bytes()).unwrap();
    assert_eq!(answer.choices[0].finish, Some(FinishReason::ContentFilter));
    assert_eq!(answer.choices[0].message.parts, []);
    let (events, is_complete) = decode(&format!("data: {}\n\n", BLOCKED.trim()));
    assert!(is_complete);
    assert!(events.contains(&ChatEvent::Finish { choice: 0, reason: FinishReason::ContentFilter }));
}

#[test]
fn log_probabilities_are_read_in_openais_form() {
    let token = |token: &str, value: f64| json!({"token": token, "tokenId": 1, "logProbability": value});
    let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "logprobsResult":
        {"chosenCandidates": [token("a", -0.5)], "topCandidates": [{"candidates": [token("a", -0.5), token("ł", -2.0)]}]}}]});
    let answer = response::decode(body.to_string().as_bytes()).unwrap();
    let expected = json!({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs":
        [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "ł", "logprob": -2.0, "bytes": [197, 130]}]}], "refusal": null});
    assert_eq!(answer.choices[0].logprobs.as_ref(), Some(&expected));
}

#[test]
fn an_error_is_reported_with_its_status() {
    let body = r#"{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}"#;
    let expected =
        UpstreamFault::Reported { status: Some(429), kind: "RESOURCE_EXHAUSTED".into(), message: "quota".into() };
    for body in [body.to_owned(), format!("[{body}]")] {
        assert_eq!(response::decode(body.as_bytes()).unwrap_err(), expected);
        let event = &events(&format!("data: {body}\n\n"))[0];
        assert_eq!(StreamDecoder::default().event(event, &mut Vec::new()).unwrap_err(), expected);
    }
}

#[test]
fn what_is_no_answer_is_malformed_and_skipped_in_a_stream() {
    for body in ["", "{}", "[]", "null", "<html>", "{\"candidates\":[]}", "{\"candidates\":7}"] {
        assert!(matches!(response::decode(body.as_bytes()), Err(UpstreamFault::Malformed(_))), "{body}");
    }
    assert_eq!(decode("data: {}\n\ndata: <html>\n\ndata: [DONE]\n\n"), (vec![], false));
}

#[test]
fn embeddings_are_asked_in_geminis_shape_and_answered_in_openais() {
    let incoming = |body: &str| IncomingEmbeddings::parse(Bytes::from(body.to_owned())).unwrap();
    let asked = incoming(r#"{"model":"g/e","input":["one","dwadzieścia"],"dimensions":2}"#);
    let body: Value = serde_json::from_slice(&embeddings::encode(&asked, "gemini-embedding-001").unwrap()).unwrap();
    insta::assert_json_snapshot!(body);

    let answer = r#"{"embeddings":[{"values":[1.0,0.5]},{"values":[-1,0]}]}"#;
    let read = |answer: &str| embeddings::decode(answer.as_bytes(), &asked, "gemini-embedding-001");
    let reply: Value = serde_json::from_slice(&read(answer).unwrap()).unwrap();
    assert_eq!(reply["data"][1]["embedding"], json!([-1.0, 0.0]));
    // 3 and 12 bytes, rounded up to tokens of 4.
    assert_eq!(reply["usage"]["prompt_tokens"], 4);
    let counted = answer.replace("]}]}", "]}],\"usageMetadata\":{\"promptTokenCount\":9}}");
    let reply: Value = serde_json::from_slice(&read(&counted).unwrap()).unwrap();
    assert_eq!(reply["usage"]["prompt_tokens"], 9);

    assert!(matches!(read(r#"{"embeddings":[{"values":[1]}]}"#), Err(UpstreamFault::Malformed(_))));
    let error = r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#;
    assert!(matches!(read(error), Err(UpstreamFault::Reported { status: Some(400), .. })));
    let tokens = incoming(r#"{"model":"g/e","input":[1,2]}"#);
    assert_eq!(embeddings::encode(&tokens, "e").unwrap_err().param, "input");
}
