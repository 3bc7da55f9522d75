//! What holds for a stream of any dialect.

use privet_dialects::{Dialect, UpstreamFault};
use proptest::prelude::*;

use crate::client::{content, of_answer, options, read, relay, relay_pieces, with_usage};

const STREAMS: [(Dialect, &str); 4] = [
    (Dialect::OpenAiChat, include_str!("../../testdata/openai_stream_tools.sse")),
    (Dialect::AnthropicMessages, include_str!("../../testdata/anthropic_stream_thinking_tools.sse")),
    (Dialect::Gemini, include_str!("../../testdata/gemini_stream_tools.sse")),
    (Dialect::OpenAiResponses, include_str!("../../testdata/responses_stream_tools.sse")),
];

#[test]
fn each_dialects_stream_reads_as_chat_chunks() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, with_usage(), stream);
        assert_eq!(relayed.outcome, Ok(()), "{dialect:?}");
        insta::assert_snapshot!(format!("stream_{dialect:?}"), relayed.all());
    }
}

#[test]
fn the_collected_answer_is_what_the_client_saw() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, options(), stream);
        let seen = read(&relayed.all());
        assert_eq!(content(&seen.choices), of_answer(&relayed.answer), "{dialect:?}");
        assert_eq!(relayed.answer.finishes.len(), 1);
        insta::assert_snapshot!(format!("answer_{dialect:?}"), format!("{:#?}", relayed.answer));
    }
}

#[test]
fn the_finish_usage_and_done_are_held_back() {
    for (dialect, stream) in STREAMS {
        let relayed = relay(dialect, with_usage(), stream);
        let live = read(&relayed.live);
        assert!(!live.done && live.usage.is_none(), "{dialect:?}");
        assert_eq!(live.choices[0].finish, None, "{dialect:?}");
        assert!(relayed.closing.ends_with("data: [DONE]\n\n"), "{dialect:?}");
        let seen = read(&relayed.all());
        assert_eq!(seen.choices[0].finish.as_deref(), Some("tool_calls"), "{dialect:?}");
    }
}

#[test]
fn wire_09_usage_goes_out_only_when_asked_for() {
    for (dialect, stream) in STREAMS {
        let silent = relay(dialect, options(), stream);
        assert_eq!(read(&silent.all()).usage, None, "{dialect:?}");
        let told = relay(dialect, with_usage(), stream);
        let usage = read(&told.all()).usage.unwrap();
        assert_eq!(
            usage["total_tokens"].as_u64(),
            Some(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
        );
        // Either way the bill knows.
        assert!(silent.answer.usage.is_some() && silent.answer.usage == told.answer.usage, "{dialect:?}");
    }
}

#[test]
fn wire_10_the_role_is_first_and_done_is_last() {
    for (dialect, stream) in STREAMS {
        // The reader insists on the role.
        assert!(read(&relay(dialect, options(), stream).all()).done, "{dialect:?}");
    }
}

#[test]
fn wire_12_a_call_without_arguments_has_an_empty_object() {
    for (dialect, stream) in STREAMS.into_iter().skip(1) {
        let seen = read(&relay(dialect, options(), stream).all());
        let call = seen.choices[0].calls.last().unwrap();
        assert_eq!((call.name.as_str(), call.arguments.as_str()), ("get_time", "{}"), "{dialect:?}");
    }
}

#[test]
fn a_stream_that_ends_before_its_end_is_cut_and_keeps_what_came() {
    for (dialect, stream) in STREAMS {
        let half = &stream[..stream.find("🌤").unwrap()];
        let half = &half[..half.rfind("\n\n").unwrap() + 2];
        let relayed = relay(dialect, with_usage(), half);
        assert_eq!(relayed.outcome, Err(UpstreamFault::Cut), "{dialect:?}");
        assert!(!relayed.live.contains("[DONE]") && !relayed.live.contains("finish_reason\":\""), "{dialect:?}");
        assert_eq!(content(&read(&relayed.live).choices), of_answer(&relayed.answer), "{dialect:?}");
    }
}

#[test]
fn an_empty_stream_is_cut() {
    for (dialect, _) in STREAMS {
        for body in ["", ": comment\n\n", "\n\n\n"] {
            assert_eq!(relay(dialect, options(), body).outcome, Err(UpstreamFault::Cut), "{dialect:?}");
        }
    }
}

#[test]
fn wire_16_a_bad_line_does_not_kill_a_stream() {
    for (dialect, stream) in STREAMS {
        let whole = relay(dialect, with_usage(), stream);
        for bad in [
            "data: {\"broken\n\n",
            "data: not json\n\n",
            "data:\n\n",
            "retry: 5\n\n",
            "data: {\"choices\": 7}\n\n",
            "nonsense\n\n",
        ] {
            let at = stream.find("\n\n").unwrap() + 2;
            let with_bad = format!("{}{bad}{}", &stream[..at], &stream[at..]);
            let relayed = relay(dialect, with_usage(), &with_bad);
            assert_eq!(relayed.outcome, Ok(()), "{dialect:?} {bad}");
            assert_eq!(relayed.answer.messages, whole.answer.messages, "{dialect:?} {bad}");
            assert_eq!(read(&relayed.all()), read(&whole.all()), "{dialect:?} {bad}");
        }
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
            let split = relay_pieces(dialect, with_usage(), &pieces);
            let whole = relay(dialect, with_usage(), &stream);
            prop_assert_eq!(split.all(), whole.all());
            prop_assert_eq!(split.answer.messages, whole.answer.messages);
        }
    }

    #[test]
    fn a_stream_with_lost_bytes_is_answered_without_a_panic(from in 0.0..1.0_f64, length in 0usize..200) {
        for (dialect, stream) in STREAMS {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
            let from = (from * stream.len() as f64) as usize;
            let to = (from + length).min(stream.len());
            let _ = relay_pieces(dialect, with_usage(), &[&stream.as_bytes()[..from], &stream.as_bytes()[to..]]);
        }
    }
}
