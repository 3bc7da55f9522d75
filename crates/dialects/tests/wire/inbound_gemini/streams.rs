//! Streams of each provider as Gemini's clients get them.

use privet_dialects::canonical::Part;
use privet_dialects::stream::{StreamFailure, StreamTranslation};
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{OPTIONS, calls_of, read, relay, relay_pieces};
use super::requests::parse;

const STREAMS: [(Dialect, &str); 4] = [
    (Dialect::OpenAiChat, include_str!("../../../testdata/openai_stream_tools.sse")),
    (Dialect::AnthropicMessages, include_str!("../../../testdata/anthropic_stream_thinking_tools.sse")),
    (Dialect::Gemini, include_str!("../../../testdata/gemini_stream_tools.sse")),
    (Dialect::OpenAiResponses, include_str!("../../../testdata/responses_stream_tools.sse")),
];

/// A stream of OpenAI's with these deltas.
fn chat_stream(deltas: &[Value], finish: &str) -> String {
    let chunk = |choice: Value| format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [choice]}));
    let mut stream: String =
        deltas.iter().map(|delta| chunk(json!({"index": 0, "delta": delta, "finish_reason": null}))).collect();
    stream += &chunk(json!({"index": 0, "delta": {}, "finish_reason": finish}));
    stream += "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
    stream + "data: [DONE]\n\n"
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn more(index: u32, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

#[test]
fn each_providers_stream_reads_as_geminis() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        assert_eq!(relayed.outcome, Ok(()), "{dialect:?}");
        let seen = read(&relayed.all());
        assert_eq!(seen.finish.as_deref(), Some("STOP"), "{dialect:?}");
        assert_eq!(seen.calls(), calls_of(&relayed.answer), "{dialect:?}");
        assert!(seen.usage["totalTokenCount"].is_u64(), "{dialect:?}: {seen:?}");
        assert!(seen.ids.iter().all(|id| *id == relayed.answer.id), "{dialect:?}: {:?}", seen.ids);
        insta::assert_snapshot!(format!("generate_{dialect:?}"), relayed.all());
    }
}

#[test]
fn a_stream_of_geminis_is_its_own_bytes() {
    let (dialect, stream) = STREAMS[2];
    let whole = stream.replace("\r\n", "\n");
    let whole = if whole.ends_with("\n\n") { whole } else { whole.trim_end().to_owned() + "\n\n" };
    assert_eq!(relay(dialect, stream).all(), whole);
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let event =
        json!({"candidates": [{"content": {"parts": [picture], "role": "model"}, "index": 0}], "responseId": "r"});
    let end = json!({"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "serviceTier": "PRIORITY"}});
    let relayed = relay(dialect, &format!("data: {event}\n\ndata: {end}\n\n"));
    assert_eq!((relayed.live, relayed.closing), (format!("data: {event}\n\n"), format!("data: {end}\n\n")));
    assert_eq!(relayed.answer.messages[0].parts, [Part::Other { dialect, value: picture }]);
    assert_eq!(relayed.answer.tier.as_deref(), Some("priority"));
}

#[test]
fn the_end_of_an_answer_is_held_back() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        assert!(!relayed.live.contains("finishReason") && relayed.closing.contains("finishReason"), "{dialect:?}");
    }
}

#[test]
fn wire_11_calls_whose_pieces_come_by_turns_are_whole_and_in_their_order() {
    let stream = chat_stream(
        &[
            json!({"role": "assistant", "content": "Hi"}),
            call(0, "a", "f", "{\"x\""),
            call(1, "b", "g", "{"),
            json!({"content": " there"}),
            more(0, ": 1}"),
            more(1, "}"),
            call(2, "c", "h", ""),
        ],
        "tool_calls",
    );
    let relayed = relay(Dialect::OpenAiChat, &stream);
    let seen = read(&relayed.all());
    let expected =
        [("f", json!({"x": 1})), ("g", json!({})), ("h", json!({}))].map(|(name, args)| (name.to_owned(), args));
    assert_eq!(seen.calls(), expected);
    assert_eq!(seen.text(false), "Hi there");
}

#[test]
fn wire_13_cut_arguments_arrive_with_the_reason() {
    let stream = chat_stream(&[call(0, "a", "f", "{\"x\": \"y")], "length");
    let relayed = relay(Dialect::OpenAiChat, &stream);
    let seen = read(&relayed.all());
    assert_eq!(seen.calls(), [("f".to_owned(), json!({"INVALID_JSON": "{\"x\": \"y"}))]);
    assert_eq!(seen.finish.as_deref(), Some("MAX_TOKENS"));
}

#[test]
fn wire_14_a_cut_stream_has_no_reason_for_its_end_and_keeps_what_came() {
    for (dialect, stream) in STREAMS {
        let half = &stream[..stream.find("🌤").unwrap()];
        let half = &half[..half.rfind("\n\n").unwrap() + 2];
        let relayed = relay(dialect, half);
        assert_eq!(relayed.outcome, Err(UpstreamFault::Cut), "{dialect:?}");
        let seen = read(&relayed.live);
        assert_eq!(seen.finish, None, "{dialect:?}");
        assert_eq!(seen.text(false), relayed.answer.messages[0].plain_text(), "{dialect:?}");
        let mut translation = StreamTranslation::new(Inbound::Gemini, dialect, OPTIONS);
        let failure = StreamFailure { message: "why", is_upstream: true, code: "upstream_cut", request_id: "r" };
        let failed = String::from_utf8(translation.failure(&failure)).unwrap();
        let error: Value = serde_json::from_str(failed.strip_prefix("data: ").unwrap()).unwrap();
        // The official clients look for the error as the first member, and for its code.
        assert!(failed.starts_with("data: {\"error\":") && failed.ends_with("\n\n"), "{failed}");
        assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!(503), &json!("UNAVAILABLE")));
        assert_eq!(translation.closing().is_empty(), dialect == Dialect::Gemini);
    }
}

#[test]
fn wire_16_a_bad_line_does_not_kill_a_stream() {
    for (dialect, stream) in STREAMS {
        let whole = relay(dialect, stream);
        for bad in
            ["data: {\"broken\n\n", "data: not json\n\n", "data:\n\n", "retry: 5\n\n", "nonsense\n\n", ": ping\n\n"]
        {
            let at = stream.find("\n\n").unwrap() + 2;
            let relayed = relay(dialect, &format!("{}{bad}{}", &stream[..at], &stream[at..]));
            assert_eq!((relayed.outcome.clone(), relayed.all()), (Ok(()), whole.all()), "{dialect:?} {bad}");
        }
    }
}

#[test]
fn wire_17_silence_is_filled_with_what_no_client_takes_for_an_event() {
    for (dialect, stream) in STREAMS {
        let translation = StreamTranslation::new(Inbound::Gemini, dialect, OPTIONS);
        assert_eq!(translation.keep_alive(), "\n");
        let all = relay(dialect, stream).all();
        assert_eq!(read(&all.replace("\n\n", "\n\n\n")), read(&all));
    }
}

#[test]
fn what_a_client_sends_back_is_what_was_recorded() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, stream);
        let mut contents = vec![json!({"role": "user", "parts": [{"text": "a"}]})];
        contents.extend(read(&relayed.all()).contents);
        contents.push(json!({"role": "user", "parts": [{"text": "b"}]}));
        let sent = parse(&json!({"contents": contents}));
        assert_eq!(sent.messages.len(), 3);
        let said = |parts: &[Part]| -> Vec<Part> {
            parts
                .iter()
                .map(|part| match part.clone() {
                    Part::ToolCall { id, name, arguments, signature } => {
                        // Of a call without an id the id is made, and of no meaning.
                        let id = if privet_dialects::gemini::is_minted(&id) { String::new() } else { id };
                        let arguments = serde_json::from_str::<Value>(&arguments).unwrap().to_string();
                        Part::ToolCall { id, name, arguments, signature }
                    }
                    part => part,
                })
                .collect()
        };
        assert_eq!(said(&sent.messages[1].parts), said(&relayed.answer.messages[0].parts), "{dialect:?}");
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
        let mut deltas: Vec<Value> = calls.iter().enumerate()
            .map(|(index, (name, ..))| call(u32::try_from(index).unwrap(), &format!("c{index}"), name, "")).collect();
        let mut waiting: Vec<std::collections::VecDeque<Value>> = inputs.iter().enumerate().map(|(index, input)| {
            let arguments: Vec<char> = input.to_string().chars().collect();
            arguments.chunks(5).map(|piece| more(u32::try_from(index).unwrap(), &piece.iter().collect::<String>())).collect()
        }).collect();
        let mut order = order.into_iter().cycle();
        while waiting.iter().any(|pieces| !pieces.is_empty()) {
            let open: Vec<usize> = (0..waiting.len()).filter(|&call| !waiting[call].is_empty()).collect();
            let chosen = open[order.next().unwrap() % open.len()];
            deltas.push(waiting[chosen].pop_front().unwrap());
        }
        let relayed = relay(Dialect::OpenAiChat, &chat_stream(&deltas, "tool_calls"));
        let expected: Vec<(String, Value)> = calls.iter().map(|(name, ..)| name.clone()).zip(inputs).collect();
        prop_assert_eq!(read(&relayed.all()).calls(), expected.clone());
        prop_assert_eq!(calls_of(&relayed.answer), expected);
    }
}
