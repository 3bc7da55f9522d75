//! Streams of each provider as events of a response.

use privet_dialects::stream::{StreamFailure, StreamOptions, StreamTranslation};
use privet_dialects::{Dialect, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{ID, asker, read, read_later, relay, relay_pieces};

const STREAMS: [(Dialect, &str); 4] = [
    (Dialect::OpenAiChat, include_str!("../../../testdata/openai_stream_tools.sse")),
    (Dialect::AnthropicMessages, include_str!("../../../testdata/anthropic_stream_thinking_tools.sse")),
    (Dialect::Gemini, include_str!("../../../testdata/gemini_stream_tools.sse")),
    (Dialect::OpenAiResponses, include_str!("../../../testdata/responses_stream_tools.sse")),
];

/// A stream of OpenAI's chat completions with these deltas.
fn chat_stream(deltas: &[Value], finish: &str) -> String {
    let chunk = |choice: Value| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let mut stream: String =
        deltas.iter().map(|delta| chunk(json!({"index": 0, "delta": delta, "finish_reason": null}))).collect();
    stream += &chunk(json!({"index": 0, "delta": {}, "finish_reason": finish}));
    stream += "data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\n";
    stream + "data: [DONE]\n\n"
}

fn call(index: u32, id: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]})
}

fn more(index: u32, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

#[test]
fn each_providers_stream_reads_as_a_response() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(&json!({"include": ["reasoning.encrypted_content"]}), dialect, stream);
        assert_eq!(relayed.outcome, Ok(()), "{dialect:?}");
        insta::assert_snapshot!(format!("responses_{dialect:?}"), relayed.all());
    }
}

#[test]
fn wire_28_one_id_created_first_numbers_without_holes_and_an_end_with_usage() {
    // The reader insists on order, numbers and pieces.
    for (dialect, stream) in STREAMS {
        for more in [json!({}), json!({"include": ["reasoning.encrypted_content"]})] {
            let seen = read(&relay(&more, dialect, stream).all());
            assert_eq!((seen.is_ended(), &seen.response["id"]), (true, &json!(ID)), "{dialect:?}: {seen:?}");
            assert_eq!(seen.response["status"], "completed", "{dialect:?}");
            let usage = &seen.response["usage"];
            let total = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
            assert_eq!(usage["total_tokens"], total, "{dialect:?}");
        }
    }
}

#[test]
fn wire_28_each_reason_to_stop_has_its_end() {
    for (finish, status, reason) in [
        ("stop", "completed", Value::Null),
        ("tool_calls", "completed", Value::Null),
        ("length", "incomplete", json!({"reason": "max_output_tokens"})),
        ("content_filter", "incomplete", json!({"reason": "content_filter"})),
        ("odd", "incomplete", json!({"reason": "odd"})),
    ] {
        let seen =
            read(&relay(&json!({}), Dialect::OpenAiChat, &chat_stream(&[json!({"content": "Hi"})], finish)).all());
        assert_eq!((&seen.response["status"], &seen.response["incomplete_details"]), (&json!(status), &reason));
        assert_eq!(seen.response["output"][0]["status"], status, "{finish}");
        assert_eq!(seen.response["usage"]["input_tokens_details"]["cached_tokens"], 5, "{finish}");
    }
}

#[test]
fn wire_28_a_failure_in_the_middle_ends_as_failed_and_nothing_looks_clean() {
    let failure = StreamFailure { message: "It broke.", is_upstream: true, code: "upstream_cut", request_id: "r" };
    let options = StreamOptions { include_usage: true, choices: 1, created: 0 };
    for (dialect, stream) in STREAMS {
        let half = &stream[..stream.find("🌤").unwrap()];
        let half = &half[..half.rfind("\n\n").unwrap() + 2];
        let relayed = relay(&json!({}), dialect, half);
        assert_eq!(relayed.outcome, Err(UpstreamFault::Cut), "{dialect:?}");
        let mut translation = StreamTranslation::new(asker(&json!({})), dialect, options);
        let mut decoder = privet_dialects::sse::SseDecoder::default();
        decoder.push(half.as_bytes());
        let mut out = Vec::new();
        while let Some(event) = decoder.next_event() {
            translation.event(&event.unwrap(), &mut out).unwrap();
        }
        out.extend(translation.failure(&failure));
        let seen = read(&String::from_utf8(out).unwrap());
        assert_eq!(
            (&seen.response["status"], &seen.response["error"]),
            (&json!("failed"), &json!({"code": "server_error", "message": "It broke."})),
            "{dialect:?}"
        );
        assert_eq!(seen.response["output"].as_array().unwrap().len(), seen.items.len(), "what came is told");
        // Before anything came, the beginning comes with the end.
        let silent = StreamTranslation::new(asker(&json!({})), dialect, options);
        let seen = read(&String::from_utf8(silent.failure(&failure)).unwrap());
        assert_eq!(seen.kinds, ["response.created", "response.in_progress", "response.failed"], "{dialect:?}");
    }
}

#[test]
fn the_end_is_held_back_until_all_is_recorded() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(&json!({}), dialect, stream);
        let live = read(&relayed.live);
        assert!(!live.is_ended(), "{dialect:?}: {live:?}");
        // The same dialect passes as it comes; of another the last item is closed by its end.
        assert_eq!(live.done.last().unwrap().is_null(), dialect != Dialect::OpenAiResponses, "{dialect:?}");
        assert!(relayed.closing.contains("event: response.completed\n"), "{dialect:?}");
    }
}

#[test]
fn what_is_read_later_is_what_the_stream_ended_with() {
    for (dialect, stream) in STREAMS {
        for more in [json!({}), json!({"include": ["reasoning.encrypted_content"], "instructions": "Be brief."})] {
            let asker = asker(&more);
            let relayed = relay_pieces(&asker, dialect, &[stream.as_bytes()]);
            let (mut kept, mut told) = (read_later(&asker, &relayed), read(&relayed.all()).response);
            if dialect == Dialect::OpenAiResponses {
                // What is kept is what Privet says of the request; the provider has more to say of it.
                let common = ["id", "created_at", "status", "model", "output", "store", "instructions", "usage"];
                for response in [&mut kept, &mut told] {
                    response.as_object_mut().unwrap().retain(|name, _| common.contains(&name.as_str()));
                    response["usage"].as_object_mut().unwrap().retain(|name, _| name.ends_with("_tokens"));
                }
            }
            assert_eq!(kept, told, "{dialect:?}");
        }
    }
}

#[test]
fn wire_11_calls_that_come_by_turns_stay_apart() {
    let deltas = [
        call(0, "a", "{\"x\":"),
        call(1, "b", ""),
        more(0, "1"),
        more(1, "{\"y\""),
        more(0, "}"),
        more(1, ":2}"),
        call(2, "c", ""),
    ];
    let relayed = relay(&json!({}), Dialect::OpenAiChat, &chat_stream(&deltas, "tool_calls"));
    let seen = read(&relayed.all());
    let calls: Vec<(&str, &str)> =
        seen.done.iter().map(|item| (item["call_id"].as_str().unwrap(), item["arguments"].as_str().unwrap())).collect();
    assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{\"y\":2}"), ("c", "{}")], "wire 12: none is an object");
}

#[test]
fn reasoning_words_and_refusals_have_their_own_events() {
    let deltas = [
        json!({"role": "assistant", "content": "", "reasoning_content": "Hm"}),
        json!({"reasoning_content": "m."}),
        json!({"content": "Hi"}),
        json!({"content": " you"}),
        json!({"refusal": "No."}),
    ];
    let seen = read(&relay(&json!({}), Dialect::OpenAiChat, &chat_stream(&deltas, "stop")).all());
    let output = &seen.response["output"];
    assert_eq!(output[0]["summary"], json!([{"type": "summary_text", "text": "Hmm."}]));
    assert_eq!(output[0].get("encrypted_content"), None);
    let said = json!([
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi you"},
        {"type": "refusal", "refusal": "No."},
    ]);
    assert_eq!((&output[1]["role"], &output[1]["content"]), (&json!("assistant"), &said));
    assert!(seen.kinds.contains(&"response.refusal.done".to_owned()));
}

#[test]
fn wire_21_what_must_go_back_is_told_where_it_is_asked_for_and_read_again() {
    use super::client::parse;
    for (dialect, stream) in &STREAMS[1..] {
        let relayed = relay(&json!({"include": ["reasoning.encrypted_content"]}), *dialect, stream);
        let mut input = read(&relayed.all()).response["output"].as_array().unwrap().clone();
        input.insert(0, json!({"role": "user", "content": "x"}));
        let back = parse(&json!({"model": "m", "input": input}));
        assert_eq!(back.messages[1].parts, relayed.answer.messages[0].parts, "{dialect:?}");
    }
}

proptest! {
    #[test]
    fn a_stream_split_anywhere_is_the_same(cuts in proptest::collection::vec(0.0..1.0_f64, 0..6)) {
        let asker = asker(&json!({}));
        for (dialect, stream) in STREAMS {
            let bytes = stream.as_bytes();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let split = relay_pieces(&asker, dialect, &pieces);
            prop_assert_eq!(split.all(), relay(&json!({}), dialect, stream).all());
        }
    }

    /// Whatever a model says in whatever order: the stream is sound, and what is read later is the same.
    #[test]
    fn any_answer_is_the_same_streamed_and_read_later(pieces in proptest::collection::vec((0u8..5, "[a-z ]{0,5}"), 0..12), seals: bool) {
        let mut calls = 0;
        let deltas: Vec<Value> = pieces.into_iter().map(|(kind, text)| match kind {
            0 => json!({"content": text}),
            1 => json!({"reasoning_content": text}),
            2 => json!({"refusal": format!("{text}!")}),
            3 => {
                calls += 1;
                call(calls - 1, &format!("c{calls}"), &format!("{{\"a\":\"{text}\"}}"))
            }
            _ => json!({}),
        }).collect();
        let include = if seals { json!({"include": ["reasoning.encrypted_content"]}) } else { json!({}) };
        let asker = asker(&include);
        let relayed = relay_pieces(&asker, Dialect::OpenAiChat, &[chat_stream(&deltas, "stop").as_bytes()]);
        let seen = read(&relayed.all());
        prop_assert!(seen.is_ended());
        if !relayed.answer.messages.is_empty() {
            prop_assert_eq!(read_later(&asker, &relayed), seen.response);
        }
    }
}
