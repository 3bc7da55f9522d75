//! Gemini's answers as an OpenAI client gets them.

use std::collections::HashSet;

use privet_dialects::canonical::{FinishReason, Part, Usage};
use privet_dialects::stream::StreamOptions;
use privet_dialects::translate::{WholeAnswer, decode_response};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use serde_json::{Value, json};

use crate::client::{Relayed, options, read, with_usage};

const STREAM: &str = include_str!("../../testdata/gemini_stream_tools.sse");
const RESPONSE: &str = include_str!("../../testdata/gemini_response.json");
const BLOCKED: &str = include_str!("../../testdata/gemini_blocked.json");

fn relay(options: StreamOptions, stream: &str) -> Relayed {
    crate::client::relay(Dialect::Gemini, options, stream)
}

fn whole(body: &str) -> WholeAnswer {
    decode_response(Inbound::OpenAiChat, Dialect::Gemini, body.to_owned().into(), 1_760_000_000).unwrap()
}

#[test]
fn a_whole_answer_is_a_chat_completion() {
    let whole = whole(RESPONSE);
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    insta::assert_json_snapshot!(body);
    insta::assert_debug_snapshot!(whole.answer);
}

#[test]
fn wire_22_usage_counts_thoughts_as_output_and_cached_as_input() {
    let expected = Usage { input: 50, cached_input: 16, output: 42, reasoning: 12, ..Usage::default() };
    assert_eq!(relay(with_usage(), STREAM).answer.usage, Some(expected));
    let expected = Usage { input: 8, output: 12, reasoning: 7, ..Usage::default() };
    assert_eq!(whole(RESPONSE).answer.usage, Some(expected));
}

#[test]
fn calls_get_ids_that_differ_and_repeat() {
    let ids = |relayed: &Relayed| -> Vec<String> {
        read(&relayed.all()).choices[0].calls.iter().map(|call| call.id.clone()).collect()
    };
    let first = ids(&relay(options(), STREAM));
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(first, ids(&relay(options(), STREAM)));
}

#[test]
fn wire_21_a_thought_signature_is_kept() {
    let answer = relay(options(), STREAM).answer;
    let signatures: Vec<Option<&str>> = answer.messages[0]
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall { signature, .. } => Some(signature.as_deref()),
            _ => None,
        })
        .collect();
    assert_eq!(signatures, [Some("c2ln+/=="), None, None]);
}

#[test]
fn a_stop_with_calls_is_tool_calls() {
    assert_eq!(relay(options(), STREAM).answer.finishes, [Some(FinishReason::ToolCalls)]);
    assert_eq!(whole(RESPONSE).answer.finishes, [Some(FinishReason::ToolCalls)]);
}

#[test]
fn wire_24_all_finish_reasons_map() {
    let cases = [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
    ];
    for (reason, expected) in cases {
        let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}, "finishReason": reason}], "modelVersion": "m", "responseId": "r"}).to_string();
        let sent: Value = serde_json::from_slice(&whole(&body).body).unwrap();
        assert_eq!(sent["choices"][0]["finish_reason"], expected, "{reason}");
        let relayed = relay(options(), &format!("data: {body}\n\n"));
        assert_eq!(read(&relayed.all()).choices[0].finish.as_deref(), Some(expected), "{reason}");
    }
}

#[test]
fn a_blocked_prompt_is_a_content_filter() {
    let blocked = whole(BLOCKED);
    assert_eq!(blocked.answer.finishes, [Some(FinishReason::ContentFilter)]);
    let relayed = relay(with_usage(), &format!("data: {BLOCKED}\n"));
    assert_eq!(relayed.outcome, Ok(()));
    let seen = read(&relayed.all());
    assert_eq!((seen.choices[0].finish.as_deref(), seen.done), (Some("content_filter"), true));
}

#[test]
fn a_candidate_without_content_is_an_answer() {
    let body = r#"{"candidates":[{"finishReason":"MAX_TOKENS","index":0}],"usageMetadata":{"promptTokenCount":3,"thoughtsTokenCount":9,"totalTokenCount":12},"modelVersion":"m","responseId":"r"}"#;
    assert_eq!(whole(body).answer.finishes, [Some(FinishReason::Length)]);
    assert_eq!(
        read(&relay(options(), &format!("data: {body}\n\n")).all()).choices[0].finish.as_deref(),
        Some("length")
    );
}

#[test]
fn several_candidates_of_a_stream_stay_apart() {
    let chunk = |candidates: Value| {
        format!("data: {}\n\n", json!({"candidates": candidates, "modelVersion": "m", "responseId": "r"}))
    };
    let text =
        |index: u32, text: &str| json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": index});
    let mut end = text(1, "d");
    end["finishReason"] = json!("MAX_TOKENS");
    let stream = chunk(json!([text(0, "a"), text(1, "c")]))
        + &chunk(json!([{"content": {"parts": [{"text": "b"}]}, "index": 0, "finishReason": "STOP"}]))
        + &chunk(json!([end]));
    let relayed = relay(StreamOptions { choices: 2, ..options() }, &stream);
    assert_eq!(relayed.outcome, Ok(()));
    let seen = read(&relayed.all());
    assert_eq!(seen.choices.iter().map(|choice| choice.text.as_str()).collect::<Vec<_>>(), ["ab", "cd"]);
    assert_eq!(relayed.answer.finishes, [Some(FinishReason::Stop), Some(FinishReason::Length)]);
}

#[test]
fn wire_15_an_error_inside_a_200_is_reported() {
    let body = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    let expected =
        UpstreamFault::Reported { status: Some(503), kind: "UNAVAILABLE".into(), message: "overloaded".into() };
    assert_eq!(decode_response(Inbound::OpenAiChat, Dialect::Gemini, body.into(), 0).unwrap_err(), expected);
    assert_eq!(relay(options(), &format!("data: {body}\n\n")).outcome, Err(expected));
}
