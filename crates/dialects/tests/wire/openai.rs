//! OpenAI-compatible providers: a relay that touches only what a client would choke on.

use privet_dialects::canonical::{FinishReason, Part, Usage};
use privet_dialects::stream::StreamOptions;
use privet_dialects::translate::decode_response;
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use serde_json::{Value, json};

use crate::client::{Call, Relayed, content, of_answer, options, read, with_usage};

const TOOLS: &str = include_str!("../../testdata/openai_stream_tools.sse");

fn relay(options: StreamOptions, stream: &str) -> Relayed {
    crate::client::relay(Dialect::OpenAiChat, options, stream)
}

/// A stream of the given choices' chunks and a proper end.
fn stream_of(choices: &[Value]) -> String {
    let chunk = |choice: &Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    choices.iter().map(chunk).collect::<String>() + "data: [DONE]\n\n"
}

fn delta(delta: &Value) -> Value {
    json!({"index": 0, "delta": delta, "finish_reason": null})
}

fn finish(reason: &str) -> Value {
    json!({"index": 0, "delta": {}, "finish_reason": reason})
}

fn calls(stream: &str) -> Vec<Call> {
    let relayed = relay(options(), stream);
    assert_eq!(relayed.outcome, Ok(()));
    let seen = read(&relayed.all());
    assert_eq!(content(&seen.choices), of_answer(&relayed.answer));
    seen.choices[0].calls.clone()
}

fn call(id: &str, name: &str, arguments: &str) -> Call {
    Call { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn a_proper_stream_is_relayed_to_the_byte() {
    assert_eq!(relay(with_usage(), TOOLS).all(), TOOLS);
}

#[test]
fn wire_09_a_usage_field_beside_choices_stays() {
    let stream = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}\n\n";
    assert_eq!(relay(options(), stream).live, stream);
}

#[test]
fn usage_on_the_finish_chunk_is_counted() {
    let stream = stream_of(&[delta(&json!({"role": "assistant", "content": "a"}))]).replace("data: [DONE]\n\n", "")
        + "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\ndata: [DONE]\n\n";
    let usage = relay(options(), &stream).answer.usage;
    assert_eq!(usage, Some(Usage { input: 7, output: 3, ..Usage::default() }));
}

#[test]
fn wire_10_a_missing_role_is_added_and_a_missing_done_too() {
    let stream = stream_of(&[delta(&json!({"content": "a"})), delta(&json!({"content": "b"})), finish("stop")]);
    let seen = read(&relay(options(), &stream.replace("data: [DONE]\n\n", "")).all());
    assert_eq!((seen.choices[0].text.as_str(), seen.done), ("ab", true));
}

#[test]
fn done_without_a_finish_reason_is_an_end() {
    let stream = stream_of(&[delta(&json!({"role": "assistant", "content": "a"}))]);
    let relayed = relay(options(), &stream);
    assert_eq!(relayed.outcome, Ok(()));
    assert!(relayed.all().ends_with("data: [DONE]\n\n"));
}

#[test]
fn wire_11_gaps_in_tool_indexes_are_closed() {
    let stream = stream_of(&[
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 1, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        ),
        delta(
            &json!({"tool_calls": [{"index": 4, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}),
        ),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&stream), [call("a", "f", "{}"), call("b", "g", "{}")]);
}

#[test]
fn wire_11_repeated_tool_indexes_are_told_apart_by_id() {
    let stream = stream_of(&[
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
        ),
        delta(
            &json!({"tool_calls": [{"index": 0, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"y\""}}]}),
        ),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":2}"}}]})),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&stream), [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")]);
}

#[test]
fn wire_11_omitted_tool_indexes_are_assigned() {
    let stream = stream_of(&[
        delta(&json!({"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]})),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&stream), [call("a", "f", "{}"), call("b", "f", "{}")]);
}

#[test]
fn wire_11_interleaved_calls_stay_apart() {
    let stream = stream_of(&[
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        ),
        delta(
            &json!({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]}),
        ),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\""}}]})),
        delta(
            &json!({"tool_calls": [{"index": 1, "function": {"arguments": "{\"y\""}}, {"index": 0, "function": {"arguments": ":1}"}}]}),
        ),
        delta(&json!({"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}]})),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&stream), [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")]);
}

#[test]
fn wire_11_an_id_repeated_on_every_piece_is_one_call() {
    let piece = |arguments: &str| {
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]}),
        )
    };
    let stream = stream_of(&[piece("{\"x\""), piece(":1}"), finish("tool_calls")]);
    assert_eq!(calls(&stream), [call("a", "f", "{\"x\":1}")]);
}

#[test]
fn wire_12_empty_arguments_of_a_stream_become_an_object() {
    let stream = stream_of(&[
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        ),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&stream), [call("a", "f", "{}")]);
}

#[test]
fn wire_12_a_call_that_begins_in_the_finish_chunk_gets_its_object_after_its_head() {
    let call = json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}});
    let stream = stream_of(&[
        json!({"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}),
    ]);
    assert_eq!(calls(&stream), [self::call("a", "f", "{}")]);
}

#[test]
fn wire_13_cut_tool_json_arrives_as_it_is() {
    let stream = stream_of(&[
        delta(
            &json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1,"}}]}),
        ),
        finish("length"),
    ]);
    let seen = read(&relay(options(), &stream).all());
    assert_eq!(seen.choices[0].calls, [call("a", "f", "{\"x\": [1,")]);
    assert_eq!(seen.choices[0].finish.as_deref(), Some("length"));
}

#[test]
fn wire_15_an_error_inside_a_200_stream_is_seen() {
    let errors = [
        (r#"{"object":"error","message":"boom","type":"BadRequestError","param":null,"code":400}"#, Some(400)),
        (r#"{"error":{"message":"boom","type":"server_error","param":null,"code":null}}"#, None),
        (
            r#"{"error":{"object":"error","message":"boom","type":"InternalServerError","param":null,"code":500}}"#,
            Some(500),
        ),
        (r#"{"error":"boom"}"#, None),
        (r#"{"error":{"code":429,"message":"boom"},"choices":[]}"#, Some(429)),
    ];
    for (error, expected) in errors {
        for before in [
            "",
            "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}]}\n\n",
        ] {
            let relayed = relay(options(), &format!("{before}data: {error}\n\ndata: [DONE]\n\n"));
            assert_eq!(relayed.live, before, "{error}");
            match relayed.outcome {
                Err(UpstreamFault::Reported { status, message, .. }) => {
                    assert_eq!((status, message.as_str()), (expected, "boom"), "{error}")
                }
                other => panic!("{error}: {other:?}"),
            }
        }
    }
}

#[test]
fn several_choices_are_held_back_from_the_first_finish_of_the_last() {
    let chunk =
        |index: u32, delta: Value, finish: Value| json!({"index": index, "delta": delta, "finish_reason": finish});
    let stream = stream_of(&[
        chunk(0, json!({"role": "assistant", "content": "a"}), Value::Null),
        chunk(1, json!({"role": "assistant", "content": "b"}), Value::Null),
        chunk(0, json!({}), json!("stop")),
        chunk(1, json!({"content": "c"}), Value::Null),
        chunk(1, json!({}), json!("length")),
    ]);
    let relayed = relay(StreamOptions { choices: 2, ..options() }, &stream);
    let seen = read(&relayed.all());
    assert_eq!(seen.choices.iter().map(|choice| choice.text.as_str()).collect::<Vec<_>>(), ["a", "bc"]);
    assert_eq!(relayed.answer.finishes, [Some(FinishReason::Stop), Some(FinishReason::Length)]);
    assert!(relayed.closing.contains("length"));
    assert!(relayed.live.contains("\"c\""), "a choice that goes on is not held back for another");
}

#[test]
fn odd_chunks_that_change_nothing_pass() {
    // Azure's first chunk, a legacy function call, unknown fields, a null delta content.
    let stream = "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n".to_owned()
        + TOOLS;
    let relayed = relay(options(), &stream);
    assert_eq!(relayed.outcome, Ok(()));
    assert_eq!(relayed.answer.messages, relay(options(), TOOLS).answer.messages);
    assert_eq!(relayed.answer.id, "chatcmpl-9");
}

#[test]
fn what_follows_done_is_not_read() {
    let relayed = relay(with_usage(), &(TOOLS.to_owned() + TOOLS));
    assert_eq!((relayed.all().as_str(), relayed.outcome), (TOOLS, Ok(())));
}

#[test]
fn a_stream_that_goes_on_after_its_finish_does_not_fill_the_memory() {
    let stream = stream_of(&[delta(&json!({"role": "assistant", "content": "a"})), finish("stop")]);
    let stream = stream.replace("data: [DONE]\n\n", "")
        + &stream_of(&[delta(&json!({"content": "x".repeat(1000)}))]).replace("data: [DONE]\n\n", "").repeat(2000);
    assert!(matches!(relay(options(), &stream).outcome, Err(UpstreamFault::Malformed(_))));
}

#[test]
fn reasoning_under_either_name_is_collected() {
    for field in ["reasoning_content", "reasoning"] {
        let stream = stream_of(&[
            delta(&json!({"role": "assistant", field: "Hm"})),
            delta(&json!({field: "m."})),
            delta(&json!({"content": "Hi"})),
            finish("stop"),
        ]);
        let relayed = relay(options(), &stream);
        assert_eq!(relayed.live, stream.split_inclusive("\n\n").take(3).collect::<String>());
        let parts = &relayed.answer.messages[0].parts;
        assert!(matches!(&parts[..], [Part::Thinking { text, .. }, Part::Text { .. }] if text == "Hmm."), "{parts:?}");
    }
}

#[test]
fn a_whole_answer_is_relayed_to_the_byte() {
    let body = "{ \"id\":\"chatcmpl-2\", \"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi \\ud83c\\udf24\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12,\"cost\":1.0},\"x\":1e400 }\n";
    let whole = decode_response(Inbound::OpenAiChat, Dialect::OpenAiChat, body.into(), 0).unwrap();
    assert_eq!(whole.body, body);
    assert_eq!(whole.answer.messages[0].plain_text(), "Hi 🌤");
    assert_eq!(whole.answer.finishes, [Some(FinishReason::Stop)]);
    assert_eq!(whole.answer.usage, Some(Usage { input: 9, output: 3, ..Usage::default() }));
}

#[test]
fn wire_12_empty_arguments_of_a_whole_answer_become_an_object() {
    let body = json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "kept": 1.5, "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}, {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"x\":1}"}}]}}]});
    let whole = decode_response(Inbound::OpenAiChat, Dialect::OpenAiChat, body.to_string().into(), 0).unwrap();
    let sent: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(sent["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(sent["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"], "{\"x\":1}");
    assert_eq!(sent["kept"], 1.5);
    assert!(matches!(&whole.answer.messages[0].parts[0], Part::ToolCall { arguments, .. } if arguments == "{}"));
}

#[test]
fn wire_15_an_error_inside_a_200_answer_is_seen() {
    for body in [
        r#"{"error":{"message":"boom","type":"t","code":503}}"#,
        r#"{"object":"error","message":"boom","type":"t","code":503}"#,
    ] {
        let fault = decode_response(Inbound::OpenAiChat, Dialect::OpenAiChat, body.into(), 0).unwrap_err();
        assert_eq!(fault, UpstreamFault::Reported { status: Some(503), kind: "t".into(), message: "boom".into() });
    }
}

#[test]
fn a_whole_answer_that_is_none_is_malformed() {
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        for body in [
            "",
            "{",
            "[]",
            "<html>",
            "{}",
            "null",
            "{\"choices\":[]}",
            "{\"choices\":1}",
            "{\"content\":1}",
            "{\"candidates\":7}",
        ] {
            let outcome = decode_response(Inbound::OpenAiChat, dialect, body.into(), 0);
            assert!(matches!(outcome, Err(UpstreamFault::Malformed(_))), "{dialect:?} {body}: {outcome:?}");
        }
    }
}
