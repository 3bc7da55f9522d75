//! Whole answers of each provider as Gemini's clients get them.

use privet_dialects::canonical::{FinishReason, Part};
use privet_dialects::translate::{WholeAnswer, decode_response};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::parse;

const ANTHROPIC: &str = include_str!("../../../testdata/anthropic_response.json");
const GEMINI: &str = include_str!("../../../testdata/gemini_response.json");
const RESPONSE: &str = include_str!("../../../testdata/responses_response.json");

fn whole(dialect: Dialect, body: impl Into<bytes::Bytes>) -> WholeAnswer {
    decode_response(Inbound::Gemini, dialect, body.into(), 0).unwrap()
}

fn seen(dialect: Dialect, body: &str) -> Value {
    serde_json::from_slice(&whole(dialect, body.to_owned()).body).unwrap()
}

fn openai(message: Value, finish: &str) -> String {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [
        {"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 3}}})
    .to_string()
}

#[test]
fn an_answer_of_geminis_is_its_own_bytes_and_recorded_as_for_others() {
    let answer = whole(Dialect::Gemini, GEMINI);
    assert_eq!(answer.body, GEMINI);
    let of_chat = decode_response(Inbound::OpenAiChat, Dialect::Gemini, GEMINI.into(), 0).unwrap();
    assert_eq!(answer.answer, of_chat.answer);
    // What only this dialect has is kept for the next turn, and told to no other client.
    let code = json!({"executableCode": {"language": "PYTHON", "code": "print(1)"}});
    let body =
        json!({"candidates": [{"content": {"parts": [code, {"text": "1"}]}, "finishReason": "STOP"}]}).to_string();
    let kept = whole(Dialect::Gemini, body.clone()).answer.messages.remove(0).parts;
    assert_eq!(kept[0], Part::Other { dialect: Dialect::Gemini, value: code });
    let of_chat = decode_response(Inbound::OpenAiChat, Dialect::Gemini, body.into(), 0).unwrap();
    assert_eq!(of_chat.answer.messages[0].parts, [Part::Text { text: "1".into() }]);
}

#[test]
fn an_answer_of_each_other_provider_is_a_candidate() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let message = json!({"role": "assistant", "content": "Hi.", "reasoning_content": "Hm.", "tool_calls": [call("a", "{\"x\": 1}"), call("b", "")]});
    let openai: Value = seen(Dialect::OpenAiChat, &openai(message, "tool_calls"));
    insta::assert_json_snapshot!("candidate_OpenAiChat", openai);
    insta::assert_json_snapshot!("candidate_AnthropicMessages", seen(Dialect::AnthropicMessages, ANTHROPIC));
    insta::assert_json_snapshot!("candidate_OpenAiResponses", seen(Dialect::OpenAiResponses, RESPONSE));
}

#[test]
fn wire_21_signed_thoughts_come_back_to_the_byte() {
    let content = &seen(Dialect::AnthropicMessages, ANTHROPIC)["candidates"][0]["content"];
    let thread = json!({"contents": [{"parts": [{"text": "a"}]}, content, {"parts": [{"text": "b"}]}]});
    let sent = &parse(&thread).messages[1].parts;
    let recorded = &whole(Dialect::AnthropicMessages, ANTHROPIC).answer.messages[0].parts;
    assert_eq!(sent, recorded);
    assert_eq!(sent[0], Part::Thinking { text: "Simple.".into(), signature: Some("sig+/==".into()) });
    assert_eq!(sent[1], Part::RedactedThinking { data: "opaque==".into() });
}

#[test]
fn wire_22_cached_tokens_are_in_the_prompt_and_thoughts_are_told_apart() {
    let usage = &seen(Dialect::OpenAiChat, &openai(json!({"content": "x"}), "stop"))["usageMetadata"];
    assert_eq!(
        *usage,
        json!({"promptTokenCount": 100, "candidatesTokenCount": 4, "totalTokenCount": 107, "cachedContentTokenCount": 60,
               "thoughtsTokenCount": 3})
    );
    let of_anthropic = &seen(Dialect::AnthropicMessages, ANTHROPIC)["usageMetadata"];
    assert_eq!((&of_anthropic["promptTokenCount"], &of_anthropic["cachedContentTokenCount"]), (&json!(45), &json!(5)));
}

#[test]
fn wire_24_every_reason_to_stop_has_a_word() {
    for (finish, word, message) in [
        ("stop", "STOP", None),
        ("tool_calls", "STOP", None),
        ("length", "MAX_TOKENS", None),
        ("content_filter", "SAFETY", None),
        ("insufficient_system_resource", "OTHER", Some("insufficient_system_resource")),
    ] {
        let candidate = &seen(Dialect::OpenAiChat, &openai(json!({"content": "x"}), finish))["candidates"][0];
        let told =
            (candidate["finishReason"].as_str().unwrap(), candidate.get("finishMessage").and_then(Value::as_str));
        assert_eq!(told, (word, message), "{finish}");
    }
    let refused =
        &seen(Dialect::OpenAiChat, &openai(json!({"content": null, "refusal": "no"}), "stop"))["candidates"][0];
    assert_eq!((&refused["finishReason"], &refused["content"]["parts"]), (&json!("SAFETY"), &json!([{"text": "no"}])));
    let paused = json!({"type": "message", "id": "m", "content": [], "stop_reason": "pause_turn"}).to_string();
    assert_eq!(seen(Dialect::AnthropicMessages, &paused)["candidates"][0]["finishReason"], "OTHER");
}

#[test]
fn wire_13_arguments_that_were_cut_stand_under_a_name_of_their_own() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": \"y"}});
    let answer = whole(Dialect::OpenAiChat, openai(json!({"content": null, "tool_calls": [call]}), "length"));
    let seen: Value = serde_json::from_slice(&answer.body).unwrap();
    let candidate = &seen["candidates"][0];
    assert_eq!(candidate["content"]["parts"][0]["functionCall"]["args"], json!({"INVALID_JSON": "{\"x\": \"y"}));
    assert_eq!(
        (&candidate["finishReason"], &answer.answer.finishes[0]),
        (&json!("MAX_TOKENS"), &Some(FinishReason::Length))
    );
}

#[test]
fn several_answers_are_several_candidates_with_their_logprobs() {
    let choice =
        |index: u32, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
    let body = json!({"id": "c", "model": "m", "choices": [choice(0, "a"), choice(1, "b")]}).to_string();
    let candidates = &seen(Dialect::OpenAiChat, &body)["candidates"];
    assert_eq!((&candidates[0]["index"], &candidates[1]["index"]), (&json!(0), &json!(1)));
    assert_eq!(candidates[1]["content"]["parts"], json!([{"text": "b"}]));
}

#[test]
fn wire_15_an_error_inside_a_200_is_seen() {
    for (dialect, body) in [
        (Dialect::OpenAiChat, r#"{"error":{"message":"overloaded","type":"t","code":503}}"#),
        (Dialect::AnthropicMessages, r#"{"type":"error","error":{"type":"overloaded_error","message":"overloaded"}}"#),
        (Dialect::Gemini, r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#),
    ] {
        let fault = decode_response(Inbound::Gemini, dialect, body.into(), 0).unwrap_err();
        assert!(matches!(&fault, UpstreamFault::Reported { message, .. } if message == "overloaded"), "{fault:?}");
    }
    for body in ["", "<html>", "{}", "[]", "{\"candidates\":5}"] {
        let outcome = decode_response(Inbound::Gemini, Dialect::Gemini, body.into(), 0);
        assert!(matches!(outcome, Err(UpstreamFault::Malformed(_))), "{body}");
    }
}

proptest! {
    #[test]
    fn an_answer_sent_back_by_the_client_is_the_answer(
        thoughts in proptest::collection::vec(("\\PC{1,9}", "[A-Za-z0-9+/=]{1,20}"), 0..3),
        redacted in proptest::option::of("[A-Za-z0-9+/=]{1,20}"),
        words in "\\PC{1,20}",
        calls in proptest::collection::vec(("[a-z0-9_]{1,9}", "[a-z_]{1,9}", "[a-z]{0,9}"), 0..3),
    ) {
        let mut content: Vec<Value> = thoughts.iter()
            .map(|(text, signature)| json!({"type": "thinking", "thinking": text, "signature": signature})).collect();
        content.extend(redacted.iter().map(|data| json!({"type": "redacted_thinking", "data": data})));
        content.push(json!({"type": "text", "text": words}));
        content.extend(calls.iter().map(|(id, name, x)| json!({"type": "tool_use", "id": id, "name": name, "input": {"x": x}})));
        let body = json!({"type": "message", "id": "m", "model": "m", "content": content, "stop_reason": "end_turn"}).to_string();
        let answer = whole(Dialect::AnthropicMessages, body);
        let seen: Value = serde_json::from_slice(&answer.body).unwrap();
        let thread = json!({"contents": [{"parts": [{"text": "a"}]}, seen["candidates"][0]["content"], {"parts": [{"text": "b"}]}]});
        prop_assert_eq!(&parse(&thread).messages[1].parts, &answer.answer.messages[0].parts);
    }
}
