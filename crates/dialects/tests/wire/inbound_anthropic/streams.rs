//! Streams of each provider as Anthropic's clients get them.

use privet_dialects::canonical::Part;
use privet_dialects::stream::{StreamFailure, StreamOptions, StreamTranslation};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{calls_of, read, relay, relay_pieces};

const STREAMS: [(Dialect, &str); 4] = [
    (Dialect::OpenAiChat, include_str!("../../../testdata/openai_stream_tools.sse")),
    (Dialect::AnthropicMessages, include_str!("../../../testdata/anthropic_stream_thinking_tools.sse")),
    (Dialect::Gemini, include_str!("../../../testdata/gemini_stream_tools.sse")),
    (Dialect::OpenAiResponses, include_str!("../../../testdata/responses_stream_tools.sse")),
];

/// A stream of OpenAI's with these deltas.
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

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn more(index: u32, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

#[test]
fn each_providers_stream_reads_as_messages() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        assert_eq!(relayed.outcome, Ok(()), "{dialect:?}");
        insta::assert_snapshot!(format!("messages_{dialect:?}"), relayed.all());
    }
}

#[test]
fn wire_18_a_stream_of_anthropics_is_its_own_bytes_with_an_event_line_on_each_event() {
    let (dialect, stream) = STREAMS[1];
    // What comes before the first content waits for it, and the rest is untouched.
    let early_ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    assert_eq!(relay(dialect, stream).all().replace(early_ping, ""), stream.replace(early_ping, ""));
    let without_lines: String =
        stream.lines().filter(|line| !line.starts_with("event:")).map(|line| format!("{line}\n")).collect();
    assert_eq!(relay(dialect, &without_lines).all(), relay(dialect, stream).all());
}

#[test]
fn wire_19_a_stream_begins_with_one_message_start_and_blocks_stand_one_behind_the_other() {
    // The reader insists on it.
    for (dialect, stream) in STREAMS {
        let seen = read(&relay(dialect, stream).all());
        assert!(seen.is_complete && seen.message["stop_reason"] == "tool_use", "{dialect:?}: {seen:?}");
    }
    let (dialect, stream) = STREAMS[1];
    let start = &stream[..stream.find("\n\n").unwrap() + 2];
    assert_eq!(
        relay(dialect, &format!("{start}{stream}")).all(),
        relay(dialect, stream).all(),
        "a second one is left out"
    );
}

#[test]
fn wire_19_thinking_closes_before_text_opens() {
    let stream = chat_stream(
        &[
            json!({"role": "assistant", "content": "", "reasoning_content": "Hm"}),
            json!({"reasoning_content": "m."}),
            json!({"content": "Hi"}),
            json!({"content": " you"}),
        ],
        "stop",
    );
    let relayed = relay(Dialect::OpenAiChat, &stream);
    let seen = read(&relayed.all());
    let blocks =
        [json!({"type": "thinking", "thinking": "Hmm.", "signature": ""}), json!({"type": "text", "text": "Hi you"})];
    assert_eq!(seen.blocks, blocks);
}

#[test]
fn the_collected_answer_is_what_the_client_saw() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        let seen = read(&relayed.all());
        assert_eq!(seen.calls(), calls_of(&relayed.answer), "{dialect:?}");
        assert_eq!(seen.text("text", "text"), relayed.answer.messages[0].plain_text(), "{dialect:?}");
        assert!(relayed.answer.usage.is_some() && relayed.answer.is_counted, "{dialect:?}");
    }
}

#[test]
fn the_end_is_held_back_until_all_is_recorded() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        assert!(!relayed.live.contains("stop_reason\":\"") && !relayed.live.contains("message_stop"), "{dialect:?}");
        assert!(
            relayed.closing.trim_end().ends_with("data: {\"type\":\"message_stop\"}"),
            "{dialect:?} {}",
            relayed.closing
        );
        let live = read(&relayed.live);
        assert!(!live.is_complete && live.message["stop_reason"].is_null(), "{dialect:?}");
    }
}

#[test]
fn wire_20_usage_is_cumulative_and_wire_22_counts_nothing_twice() {
    let told = |dialect, stream: &str| {
        let usage = read(&relay(dialect, stream).all()).message["usage"].clone();
        ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"]
            .map(|name| usage[name].as_u64().unwrap_or(0))
    };
    assert_eq!(told(Dialect::OpenAiChat, &chat_stream(&[json!({"content": "a"})], "stop")), [4, 5, 0, 4]);
    assert_eq!(told(STREAMS[1].0, STREAMS[1].1), [25, 1000, 300, 95]);
    let (dialect, stream) = STREAMS[2];
    let usage = relay(dialect, stream).answer.usage.unwrap();
    assert_eq!(told(dialect, stream), [usage.input - usage.cached_input, usage.cached_input, 0, usage.output]);
    let start = read(&relay(dialect, stream).live).message["usage"].clone();
    assert_eq!(start["input_tokens"], usage.input - usage.cached_input, "Gemini counts the input at once");
}

#[test]
fn wire_21_signatures_come_to_the_client_to_the_byte() {
    let seen = read(&relay(STREAMS[1].0, STREAMS[1].1).all());
    assert_eq!(seen.blocks[0]["signature"], "EqQBCkYIARgCKkAb+/==");
    assert_eq!(seen.blocks[1], json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4="}));
    let stream = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hm.\",\"thought\":true}]}}]}\n\ndata: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"id\":\"c1\",\"name\":\"f\",\"args\":{}},\"thoughtSignature\":\"c2ln+/==\"}]},\"finishReason\":\"STOP\"}]}\n\n";
    let seen = read(&relay(Dialect::Gemini, stream).all());
    assert_eq!(seen.blocks[0], json!({"type": "thinking", "thinking": "Hm.", "signature": "gemini:c2ln+/=="}));
    assert_eq!(seen.blocks[1]["type"], "tool_use");
}

#[test]
fn wire_11_calls_whose_pieces_come_by_turns_stay_apart() {
    let stream = chat_stream(
        &[
            call(0, "a", "f", ""),
            call(1, "b", "g", ""),
            more(0, "{\"x\""),
            more(1, "{\"y\""),
            more(0, ":{\"z\":1}}"),
            more(1, ":2}"),
            json!({"content": "done"}),
        ],
        "tool_calls",
    );
    let relayed = relay(Dialect::OpenAiChat, &stream);
    let seen = read(&relayed.all());
    assert_eq!(seen.calls(), [("f".to_owned(), json!({"x": {"z": 1}})), ("g".to_owned(), json!({"y": 2}))]);
    assert_eq!(seen.text("text", "text"), "done");
}

#[test]
fn wire_11_a_call_is_shown_as_it_comes_once_the_one_before_is_whole() {
    let stream = chat_stream(
        &[call(0, "a", "f", "{\"x\":"), more(0, "1}"), call(1, "b", "g", "{\"y\":"), more(1, "2")],
        "length",
    );
    let live = relay(Dialect::OpenAiChat, &stream).live;
    assert!(live.contains("\"partial_json\":\"{\\\"y\\\":\"") && live.contains("\"partial_json\":\"2\""), "{live}");
}

#[test]
fn wire_12_a_call_without_arguments_has_an_empty_object() {
    let stream = chat_stream(&[call(0, "a", "f", ""), call(1, "b", "g", "{\"y\":2}")], "tool_calls");
    assert_eq!(
        read(&relay(Dialect::OpenAiChat, &stream).all()).calls(),
        [("f".to_owned(), json!({})), ("g".to_owned(), json!({"y": 2}))]
    );
}

#[test]
fn wire_13_cut_arguments_arrive_as_they_are() {
    let stream = chat_stream(&[call(0, "a", "f", "{\"x\": [1,")], "length");
    let seen = read(&relay(Dialect::OpenAiChat, &stream).all());
    assert_eq!(seen.calls(), [("f".to_owned(), json!("{\"x\": [1,"))]);
    assert_eq!(seen.message["stop_reason"], "max_tokens");
}

#[test]
fn wire_24_a_refusal_and_a_call_are_told_by_their_words() {
    let stop = |deltas: &[Value], finish: &str| {
        read(&relay(Dialect::OpenAiChat, &chat_stream(deltas, finish)).all()).message["stop_reason"].clone()
    };
    assert_eq!(stop(&[json!({"refusal": "No"}), json!({"refusal": "."})], "stop"), "refusal");
    assert_eq!(stop(&[call(0, "a", "f", "{}")], "stop"), "tool_use");
    assert_eq!(stop(&[json!({"content": "a"})], "content_filter"), "refusal");
    assert_eq!(stop(&[json!({"content": "a"})], "stop"), "end_turn");
}

#[test]
fn an_answer_of_nothing_is_a_message() {
    for (dialect, stream) in [
        (Dialect::OpenAiChat, chat_stream(&[], "stop")),
        (Dialect::Gemini, "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n".to_owned()),
    ] {
        let relayed = relay(dialect, &stream);
        assert_eq!(relayed.live, "", "{dialect:?}");
        let seen = read(&relayed.all());
        assert!(seen.is_complete && seen.blocks.is_empty(), "{dialect:?}: {seen:?}");
    }
    // Some servers do not say why they end.
    let silent =
        chat_stream(&[json!({"content": "a"})], "stop").replace("\"finish_reason\":\"stop\"", "\"finish_reason\":null");
    let seen = read(&relay(Dialect::OpenAiChat, &silent).all());
    assert_eq!((seen.is_complete, seen.text("text", "text").as_str()), (true, "a"));
}

#[test]
fn wire_14_nothing_goes_out_before_there_is_content() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let relayed = relay(Dialect::AnthropicMessages, &format!("{start}{error}"));
    assert_eq!(relayed.live, "");
    assert!(matches!(relayed.outcome, Err(UpstreamFault::Reported { status: Some(529), .. })), "{:?}", relayed.outcome);
    let role = "data: {\"id\":\"1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    assert_eq!(relay(Dialect::OpenAiChat, role).live, "");
}

#[test]
fn wire_14_a_cut_stream_has_no_clean_end_and_keeps_what_came() {
    for (dialect, stream) in STREAMS {
        let half = &stream[..stream.find("🌤").unwrap()];
        let half = &half[..half.rfind("\n\n").unwrap() + 2];
        let relayed = relay(dialect, half);
        assert_eq!(relayed.outcome, Err(UpstreamFault::Cut), "{dialect:?}");
        let seen = read(&relayed.live);
        assert!(!seen.is_complete && seen.message["stop_reason"].is_null(), "{dialect:?}");
        assert_eq!(seen.text("text", "text"), relayed.answer.messages[0].plain_text(), "{dialect:?}");
    }
}

#[test]
fn wire_17_silence_is_filled_with_a_ping_once_the_stream_has_begun() {
    let options = StreamOptions { include_usage: true, choices: 1, created: 0 };
    for (dialect, stream) in STREAMS {
        let mut translation = StreamTranslation::new(Inbound::AnthropicMessages, dialect, options);
        assert_eq!(translation.keep_alive(), ": keep-alive\n\n", "message_start is the first event");
        let mut decoder = privet_dialects::sse::SseDecoder::default();
        let half = &stream[..stream.find("🌤").unwrap()];
        decoder.push(&half.as_bytes()[..half.rfind("\n\n").unwrap() + 2]);
        let mut live = Vec::new();
        while let Some(event) = decoder.next_event() {
            translation.event(&event.unwrap(), &mut live).unwrap();
        }
        live.extend_from_slice(&translation.keep_alive());
        let seen = read(std::str::from_utf8(&live).unwrap());
        assert!(seen.pings > 0, "{dialect:?}");
        let failure = StreamFailure { message: "why", is_upstream: true, code: "upstream_cut", request_id: "r" };
        let failed = String::from_utf8(translation.failure(&failure)).unwrap();
        assert_eq!(
            failed,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"why\",\"details\":{\"error_code\":\"upstream_cut\",\"param\":null}},\"request_id\":\"r\"}\n\n"
        );
    }
}

#[test]
fn what_only_anthropic_has_passes_and_is_kept_for_the_next_turn() {
    let (dialect, stream) = STREAMS[1];
    let at = stream.find("event: content_block_start").unwrap();
    let odd = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":9,\"content_block\":{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":{}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"query\\\": \\\"x\\\"}\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":9}\n\nevent: future_event\ndata: {\"type\":\"future_event\"}\n\n";
    let relayed = relay(dialect, &format!("{}{odd}{}", &stream[..at], &stream[at..]));
    assert!(relayed.live.contains(odd), "{}", relayed.live);
    let value = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}});
    assert_eq!(relayed.answer.messages[0].parts[0], Part::Other { dialect, value });
}

#[test]
fn wire_16_a_bad_line_does_not_kill_a_stream() {
    for (dialect, stream) in STREAMS {
        let whole = relay(dialect, stream);
        for bad in ["data: {\"broken\n\n", "data: not json\n\n", "data:\n\n", "retry: 5\n\n", "nonsense\n\n"] {
            let at = stream.find("\n\n").unwrap() + 2;
            let relayed = relay(dialect, &format!("{}{bad}{}", &stream[..at], &stream[at..]));
            assert_eq!((relayed.outcome.clone(), relayed.all()), (Ok(()), whole.all()), "{dialect:?} {bad}");
        }
    }
}

#[test]
fn what_a_client_sends_back_is_what_was_recorded() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        let content = read(&relayed.all()).content();
        let body = json!({"max_tokens": 5, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}, {"role": "user", "content": "b"}]});
        let sent = super::requests::parse(&body);
        let said = |parts: &[Part]| -> Vec<Part> {
            let shown = parts.iter().filter(|part| !matches!(part, Part::Thinking { signature: None, .. }));
            shown
                .map(|part| match part.clone() {
                    Part::ToolCall { id, name, arguments, signature } => {
                        let arguments = serde_json::from_str::<Value>(&arguments).unwrap().to_string();
                        Part::ToolCall { id, name, arguments, signature }
                    }
                    part => part,
                })
                .collect()
        };
        assert_eq!(said(&sent.messages[1].parts), said(&relayed.answer.messages[0].parts));
    }
}

proptest! {
    #[test]
    fn wire_16_a_stream_split_anywhere_is_the_same(cuts in proptest::collection::vec(0.0..1.0_f64, 0..6), crlf: bool) {
        for (dialect, stream) in STREAMS {
            let stream = if crlf { stream.replace('\n', "\r\n") } else { stream.to_owned() };
            let bytes = stream.as_bytes();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (split, whole) = (relay_pieces(dialect, &pieces), relay(dialect, &stream));
            prop_assert_eq!(split.all(), whole.all());
            prop_assert_eq!(split.answer, whole.answer);
        }
    }

    #[test]
    fn calls_in_any_order_of_their_pieces_are_what_they_are(
        calls in proptest::collection::vec(("[a-z]{1,6}", any::<i16>(), "\\PC{0,9}"), 1..4),
        order in proptest::collection::vec(0..100_usize, 40),
    ) {
        let inputs: Vec<Value> = calls.iter().map(|(_, x, text)| json!({"x": x, "text": text})).collect();
        let mut waiting: Vec<std::collections::VecDeque<Value>> = calls.iter().zip(&inputs).enumerate().map(|(index, ((name, ..), input))| {
            let index = u32::try_from(index).unwrap();
            let arguments: Vec<char> = input.to_string().chars().collect();
            let pieces = arguments.chunks(5).map(|piece| more(index, &piece.iter().collect::<String>()));
            std::iter::once(call(index, &format!("c{index}"), name, "")).chain(pieces).collect()
        }).collect();
        let mut deltas = Vec::new();
        let mut order = order.into_iter().cycle();
        while waiting.iter().any(|pieces| !pieces.is_empty()) {
            let open: Vec<usize> = (0..waiting.len()).filter(|&call| !waiting[call].is_empty()).collect();
            // A call's head comes no earlier than the one before it.
            let begun = |call: usize| waiting[call].len() <= inputs[call].to_string().chars().count().div_ceil(5);
            let open: Vec<usize> = open.into_iter().filter(|&call| call == 0 || begun(call) || begun(call - 1)).collect();
            let chosen = open[order.next().unwrap() % open.len()];
            deltas.push(waiting[chosen].pop_front().unwrap());
        }
        let relayed = relay(Dialect::OpenAiChat, &chat_stream(&deltas, "tool_calls"));
        let seen = read(&relayed.all());
        let expected: Vec<(String, Value)> = calls.iter().map(|(name, ..)| name.clone()).zip(inputs).collect();
        prop_assert_eq!(seen.calls(), expected.clone());
        prop_assert_eq!(calls_of(&relayed.answer), expected);
    }
}
