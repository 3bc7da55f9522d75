//! Anthropic's answers as an OpenAI client gets them.

use privet_dialects::canonical::{FinishReason, Part, Usage};
use privet_dialects::translate::decode_response;
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use serde_json::{Value, json};

use crate::client::{Relayed, content, of_answer, options, read, with_usage};

const STREAM: &str = include_str!("../../testdata/anthropic_stream_thinking_tools.sse");
const RESPONSE: &str = include_str!("../../testdata/anthropic_response.json");

fn relay(stream: &str) -> Relayed {
    crate::client::relay(Dialect::AnthropicMessages, with_usage(), stream)
}

fn whole(body: &Value) -> privet_dialects::translate::WholeAnswer {
    decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, body.to_string().into(), 1_760_000_000).unwrap()
}

fn response(stop_reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [{"type": "text", "text": "a"}],
        "stop_reason": stop_reason, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 4}})
}

#[test]
fn a_whole_answer_is_a_chat_completion() {
    let whole =
        decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, RESPONSE.into(), 1_760_000_000).unwrap();
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    insta::assert_json_snapshot!(body);
    insta::assert_debug_snapshot!(whole.answer);
}

#[test]
fn wire_12_a_tool_use_without_input_has_an_empty_object() {
    let whole = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, RESPONSE.into(), 0).unwrap();
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(body["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"], "{}");
}

#[test]
fn wire_13_a_cut_tool_input_arrives_as_it_is() {
    let stream = STREAM
        .replace("lo\\\"}\"}}", "lo\"}}")
        .replace("\"stop_reason\":\"tool_use\"", "\"stop_reason\":\"max_tokens\"");
    let relayed = relay(&stream);
    let seen = read(&relayed.all());
    assert_eq!(seen.choices[0].calls[0].arguments, "{\"city\": \"Oslo");
    assert_eq!(seen.choices[0].finish.as_deref(), Some("length"));
    assert_eq!(content(&seen.choices), of_answer(&relayed.answer));
}

#[test]
fn wire_17_a_ping_becomes_a_comment() {
    let live = relay(STREAM).live;
    assert!(live.lines().any(|line| line.starts_with(": ping")), "{live}");
}

#[test]
fn wire_18_an_error_event_inside_a_200_is_reported() {
    let head = &STREAM[..STREAM.find("🌤").unwrap()];
    let head = &head[..head.rfind("\n\n").unwrap() + 2];
    let stream = format!(
        "{head}event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}}}\n\n"
    );
    let relayed = relay(&stream);
    match relayed.outcome {
        Err(UpstreamFault::Reported { kind, message, .. }) => {
            assert_eq!((kind.as_str(), message.as_str()), ("overloaded_error", "Overloaded"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(relayed.answer.messages[0].plain_text(), "I'll check ");
}

#[test]
fn wire_20_usage_of_a_stream_is_set_and_not_added() {
    // message_start says 1 output token, the deltas 40 and then 95.
    let expected = Usage {
        input: 25 + 300 + 1000,
        cached_input: 1000,
        cache_write_5m: 200,
        cache_write_1h: 100,
        output: 95,
        ..Usage::default()
    };
    assert_eq!(relay(STREAM).answer.usage, Some(expected));
}

#[test]
fn wire_20_a_delta_that_repeats_the_input_replaces_it() {
    let stream = STREAM.replace(
        "\"usage\":{\"output_tokens\":95}",
        "\"usage\":{\"input_tokens\":30,\"cache_creation_input_tokens\":300,\"cache_read_input_tokens\":1000,\"output_tokens\":95}",
    );
    let usage = relay(&stream).answer.usage.unwrap();
    assert_eq!((usage.input, usage.cached_input, usage.output), (1330, 1000, 95));
    assert_eq!(usage.cache_write_5m + usage.cache_write_1h, 300);
}

#[test]
fn wire_21_thinking_and_signatures_are_kept_to_the_byte() {
    let expected = [
        Part::Thinking { text: "The user wants two cities.".into(), signature: Some("EqQBCkYIARgCKkAb+/==".into()) },
        Part::RedactedThinking { data: "EmwKAhgBEgy3va3pzix/LafPsn4=".into() },
    ];
    let answer = relay(STREAM).answer;
    assert_eq!(answer.messages[0].parts[..2], expected);
    let whole = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, RESPONSE.into(), 0).unwrap();
    let expected = [
        Part::Thinking { text: "Simple.".into(), signature: Some("sig+/==".into()) },
        Part::RedactedThinking { data: "opaque==".into() },
    ];
    assert_eq!(whole.answer.messages[0].parts[..2], expected);
}

#[test]
fn wire_22_cached_tokens_are_part_of_prompt_tokens_and_never_counted_twice() {
    let whole = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, RESPONSE.into(), 0).unwrap();
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    let usage = &body["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(45), &json!(42), &json!(87))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 5);
    let counted = whole.answer.usage.unwrap();
    assert_eq!((counted.input, counted.cached_input, counted.cache_write_5m, counted.cache_write_1h), (45, 5, 20, 10));
}

#[test]
fn wire_22_cache_writes_without_their_ages_count_as_five_minutes() {
    let mut body = response("end_turn");
    body["usage"] = json!({"input_tokens": 1, "cache_creation_input_tokens": 7, "cache_read_input_tokens": null, "output_tokens": 2});
    let usage = whole(&body).answer.usage.unwrap();
    assert_eq!((usage.input, usage.cached_input, usage.cache_write_5m, usage.cache_write_1h), (8, 0, 7, 0));
}

#[test]
fn wire_24_all_stop_reasons_map() {
    let cases = [
        ("end_turn", "stop", FinishReason::Stop),
        ("stop_sequence", "stop", FinishReason::Stop),
        ("max_tokens", "length", FinishReason::Length),
        ("model_context_window_exceeded", "length", FinishReason::Length),
        ("tool_use", "tool_calls", FinishReason::ToolCalls),
        ("refusal", "content_filter", FinishReason::ContentFilter),
        ("pause_turn", "stop", FinishReason::Pause),
        ("brand_new", "brand_new", FinishReason::Other("brand_new".into())),
    ];
    for (reason, wire, canonical) in cases {
        let whole = whole(&response(reason));
        let body: Value = serde_json::from_slice(&whole.body).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], wire, "{reason}");
        assert_eq!(whole.answer.finishes, [Some(canonical.clone())], "{reason}");

        let relayed = relay(&STREAM.replace("\"stop_reason\":\"tool_use\"", &format!("\"stop_reason\":\"{reason}\"")));
        assert_eq!(read(&relayed.all()).choices[0].finish.as_deref(), Some(wire), "{reason}");
        assert_eq!(relayed.answer.finishes, [Some(canonical)], "{reason}");
    }
}

#[test]
fn a_stream_without_message_stop_is_cut() {
    let stream = STREAM.replace("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", "");
    assert_eq!(relay(&stream).outcome, Err(UpstreamFault::Cut));
}

#[test]
fn an_answer_without_content_is_an_answer() {
    let mut body = response("refusal");
    body["content"] = json!([]);
    let whole = whole(&body);
    let sent: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(sent["choices"][0]["message"]["role"], "assistant");
    assert_eq!(whole.answer.messages.len(), 1);
}

#[test]
fn an_error_body_inside_a_200_is_reported() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    let fault = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, body.into(), 0).unwrap_err();
    assert!(matches!(fault, UpstreamFault::Reported { kind, .. } if kind == "overloaded_error"));
}

#[test]
fn unknown_events_and_blocks_pass_by() {
    let at = STREAM.find("event: content_block_start").unwrap();
    let odd = "event: future_event\ndata: {\"type\":\"future_event\",\"x\":1}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":9,\"content_block\":{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":9}\n\n";
    let relayed = relay(&format!("{}{odd}{}", &STREAM[..at], &STREAM[at..]));
    assert_eq!(relayed.outcome, Ok(()));
    assert_eq!(
        read(&relayed.all()),
        read(&crate::client::relay(Dialect::AnthropicMessages, with_usage(), STREAM).all())
    );
    let _ = options();
}
