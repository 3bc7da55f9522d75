//! Whole answers of each provider as Anthropic's clients get them.

use privet_dialects::canonical::{FinishReason, Part};
use privet_dialects::translate::{WholeAnswer, decode_response};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

const ANTHROPIC: &str = include_str!("../../../testdata/anthropic_response.json");
const GEMINI: &str = include_str!("../../../testdata/gemini_response.json");
const RESPONSE: &str = include_str!("../../../testdata/responses_response.json");

fn whole(dialect: Dialect, body: impl Into<bytes::Bytes>) -> WholeAnswer {
    decode_response(Inbound::AnthropicMessages, dialect, body.into(), 0).unwrap()
}

fn seen(dialect: Dialect, body: &Value) -> Value {
    serde_json::from_slice(&whole(dialect, body.to_string()).body).unwrap()
}

fn openai(message: Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [
        {"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 3}}})
}

#[test]
fn an_answer_of_anthropics_is_its_own_bytes() {
    let answer = whole(Dialect::AnthropicMessages, ANTHROPIC);
    assert_eq!(answer.body, ANTHROPIC);
    let of_chat = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, ANTHROPIC.into(), 0).unwrap();
    assert_eq!(answer.answer, of_chat.answer, "what is recorded is the same");
}

#[test]
fn an_answer_of_each_other_provider_is_a_message() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let message = json!({"role": "assistant", "content": "Hi.", "reasoning_content": "Hm.", "tool_calls": [call("a", "{\"x\": 1}"), call("b", "")]});
    insta::assert_json_snapshot!("message_OpenAiChat", seen(Dialect::OpenAiChat, &openai(message, "tool_calls")));
    insta::assert_json_snapshot!("message_Gemini", seen(Dialect::Gemini, &serde_json::from_str(GEMINI).unwrap()));
    let response = serde_json::from_str(RESPONSE).unwrap();
    insta::assert_json_snapshot!("message_OpenAiResponses", seen(Dialect::OpenAiResponses, &response));
}

#[test]
fn wire_22_cached_tokens_are_told_apart_and_never_twice() {
    let usage = &seen(Dialect::OpenAiChat, &openai(json!({"content": "x"}), "stop"))["usage"];
    let told = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"]
        .map(|name| usage[name].as_u64().unwrap());
    assert_eq!(told, [40, 60, 0, 7]);
    assert_eq!(usage["output_tokens_details"]["thinking_tokens"], 3);
    // There and back.
    let body =
        json!({"type": "message", "id": "m", "model": "m", "content": [], "stop_reason": "end_turn", "usage": usage});
    let back = whole(Dialect::AnthropicMessages, body.to_string()).answer.usage.unwrap();
    assert_eq!((back.input, back.cached_input, back.output, back.reasoning), (100, 60, 7, 3));
}

#[test]
fn wire_24_every_reason_to_stop_has_a_word() {
    for (finish, word) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        ("brand_new", "brand_new"),
    ] {
        assert_eq!(seen(Dialect::OpenAiChat, &openai(json!({"content": "x"}), finish))["stop_reason"], word);
    }
    let calls = json!({"content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(
        seen(Dialect::OpenAiChat, &openai(calls, "stop"))["stop_reason"],
        "tool_use",
        "whoever calls waits for the result"
    );
    let refusal = seen(Dialect::OpenAiChat, &openai(json!({"content": null, "refusal": "No."}), "stop"));
    assert_eq!(
        (&refusal["stop_reason"], &refusal["content"]),
        (&json!("refusal"), &json!([{"type": "text", "text": "No."}]))
    );
    for (finish, word) in [
        ("STOP", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("SAFETY", "refusal"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
    ] {
        let body = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": finish}]});
        assert_eq!(seen(Dialect::Gemini, &body)["stop_reason"], word);
    }
    for word in [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ] {
        let body = json!({"type": "message", "id": "m", "model": "m", "content": [], "stop_reason": word, "usage": {"input_tokens": 1, "output_tokens": 1}});
        assert_eq!(seen(Dialect::AnthropicMessages, &body)["stop_reason"], word);
        assert_ne!(
            whole(Dialect::AnthropicMessages, body.to_string()).answer.finishes,
            [Some(FinishReason::Other(word.into()))]
        );
    }
}

#[test]
fn wire_13_cut_arguments_are_kept_under_a_name_of_their_own() {
    let cut = json!({"content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1,"}}]});
    let message = seen(Dialect::OpenAiChat, &openai(cut, "length"));
    assert_eq!(message["content"][0]["input"], json!({"INVALID_JSON": "{\"x\": [1,"}));
    assert_eq!(message["stop_reason"], "max_tokens");
}

#[test]
fn wire_12_a_call_without_arguments_has_an_empty_object() {
    for arguments in ["", "{}"] {
        let call = json!({"content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]});
        assert_eq!(seen(Dialect::OpenAiChat, &openai(call, "tool_calls"))["content"][0]["input"], json!({}));
    }
}

#[test]
fn wire_21_geminis_signature_stands_before_its_call() {
    let body = json!({"candidates": [{"content": {"parts": [
        {"text": "thought", "thought": true}, {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}}]}, "finishReason": "STOP"}]});
    let content = seen(Dialect::Gemini, &body)["content"].clone();
    let kinds: Vec<&str> = content.as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "thinking", "tool_use", "tool_use"]);
    assert_eq!(content[1], json!({"type": "thinking", "thinking": "", "signature": "gemini:c2ln"}));
}

#[test]
fn what_only_anthropic_has_is_kept_for_the_next_turn_and_hidden_from_other_clients() {
    let block = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}});
    let body = json!({"type": "message", "id": "m", "model": "m", "content": [block, {"type": "text", "text": "found"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": 1}}});
    let parts = whole(Dialect::AnthropicMessages, body.to_string()).answer.messages[0].parts.clone();
    assert_eq!(parts[0], Part::Other { dialect: Dialect::AnthropicMessages, value: block });
    let of_chat = decode_response(Inbound::OpenAiChat, Dialect::AnthropicMessages, body.to_string().into(), 0).unwrap();
    assert_eq!(of_chat.answer.messages[0].parts, parts[1..]);
}

#[test]
fn wire_15_an_error_inside_a_200_is_seen() {
    for (dialect, body) in [
        (Dialect::OpenAiChat, r#"{"error":{"message":"boom","type":"t","code":503}}"#),
        (Dialect::AnthropicMessages, r#"{"type":"error","error":{"type":"overloaded_error","message":"boom"}}"#),
        (Dialect::Gemini, r#"{"error":{"code":503,"message":"boom","status":"UNAVAILABLE"}}"#),
    ] {
        let fault = decode_response(Inbound::AnthropicMessages, dialect, body.into(), 0).unwrap_err();
        assert!(
            matches!(&fault, UpstreamFault::Reported { message, .. } if message == "boom"),
            "{dialect:?} {fault:?}"
        );
    }
}

#[test]
fn what_is_no_answer_is_malformed() {
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        for body in ["", "{", "[]", "<html>", "{}", "null", "{\"choices\":1}", "{\"content\":1}", "{\"candidates\":7}"]
        {
            let outcome = decode_response(Inbound::AnthropicMessages, dialect, body.into(), 0);
            assert!(matches!(outcome, Err(UpstreamFault::Malformed(_))), "{dialect:?} {body}: {outcome:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_answer_of_openai_reads_back_as_what_it_was(text in "\\PC{1,30}", x in any::<i32>(), name in "[a-z]{1,9}") {
        let arguments = json!({"x": x}).to_string();
        let message = json!({"content": text, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]});
        let first = whole(Dialect::OpenAiChat, openai(message, "tool_calls").to_string());
        let again = whole(Dialect::AnthropicMessages, first.body.clone());
        prop_assert_eq!(&again.answer.messages, &first.answer.messages);
        prop_assert_eq!(&again.answer.finishes, &first.answer.finishes);
        prop_assert_eq!(again.answer.usage, first.answer.usage);
    }
}
