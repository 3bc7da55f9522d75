//! Whole answers of each provider as responses.

use privet_dialects::translate::decode_response;
use privet_dialects::{Dialect, UpstreamFault};
use serde_json::{Value, json};

use super::client::{ID, asker};

const ANTHROPIC: &str = include_str!("../../../testdata/anthropic_response.json");
const GEMINI: &str = include_str!("../../../testdata/gemini_response.json");

fn seen(more: &Value, dialect: Dialect, body: &str) -> Value {
    let whole = decode_response(asker(more), dialect, body.to_owned().into(), 0).unwrap();
    serde_json::from_slice(&whole.body).unwrap()
}

fn openai(message: Value, finish: &str) -> String {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024", "service_tier": "default", "choices": [
        {"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 3}}})
    .to_string()
}

#[test]
fn an_answer_of_each_provider_is_a_response() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let message = json!({"role": "assistant", "content": "Hi.", "reasoning_content": "Hm.", "tool_calls": [call("a", "{\"x\": 1}"), call("b", "")]});
    let include = json!({"include": ["reasoning.encrypted_content"]});
    insta::assert_json_snapshot!(
        "response_OpenAiChat",
        seen(&json!({}), Dialect::OpenAiChat, &openai(message, "tool_calls"))
    );
    insta::assert_json_snapshot!("response_AnthropicMessages", seen(&include, Dialect::AnthropicMessages, ANTHROPIC));
    insta::assert_json_snapshot!("response_Gemini", seen(&include, Dialect::Gemini, GEMINI));
}

#[test]
fn a_response_says_what_its_request_said() {
    let more = json!({
        "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "top_p": 1, "tool_choice": "none", "user": "ada",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}], "parallel_tool_calls": false,
        "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "metadata": {"a": "b"}, "previous_response_id": ID,
    });
    let body = seen(&more, Dialect::OpenAiChat, &openai(json!({"content": "x"}), "stop"));
    for name in [
        "instructions",
        "max_output_tokens",
        "temperature",
        "top_p",
        "tool_choice",
        "user",
        "tools",
        "parallel_tool_calls",
        "metadata",
        "previous_response_id",
    ] {
        assert_eq!(body[name], more[name], "{name}");
    }
    assert_eq!(body["text"], json!({"verbosity": "low", "format": {"type": "text"}}));
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": null}));
    assert_eq!(
        (&body["id"], &body["object"], &body["created_at"]),
        (&json!(ID), &json!("response"), &json!(1_760_000_000))
    );
    assert_eq!((&body["model"], &body["service_tier"]), (&json!("gpt-4o-2024"), &json!("default")));
}

#[test]
fn wire_22_usage_counts_nothing_twice() {
    let usage = &seen(&json!({}), Dialect::OpenAiChat, &openai(json!({"content": "x"}), "stop"))["usage"];
    let expected = json!({
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 107,
    });
    assert_eq!(usage, &expected);
    let anthropic: Value = serde_json::from_str(ANTHROPIC).unwrap();
    let usage = &seen(&json!({}), Dialect::AnthropicMessages, ANTHROPIC)["usage"];
    let told = |name: &str| anthropic["usage"][name].as_u64().unwrap_or(0);
    let all = told("input_tokens") + told("cache_read_input_tokens") + told("cache_creation_input_tokens");
    assert_eq!(usage["input_tokens"], all, "Anthropic's input excludes what is cached, this one includes it");
}

#[test]
fn wire_13_a_cut_call_is_told_as_it_is() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1"}});
    let body = seen(&json!({}), Dialect::OpenAiChat, &openai(json!({"content": null, "tool_calls": [call]}), "length"));
    assert_eq!(
        (&body["status"], &body["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let item = &body["output"][0];
    assert_eq!((&item["arguments"], &item["status"]), (&json!("{\"x\": [1"), &json!("incomplete")));
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for dialect in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        for body in ["", "{}", "[]", "null", "{\"error\": 5"] {
            let fault = decode_response(asker(&json!({})), dialect, body.into(), 0).unwrap_err();
            assert!(matches!(fault, UpstreamFault::Malformed(_)), "{dialect:?} {body}: {fault:?}");
        }
    }
}
