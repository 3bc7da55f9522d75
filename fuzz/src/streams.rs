//! A stream of any provider for any client: wherever it is split it comes out the same, and what comes out is a stream of the
//! client's dialect. One that has its end still has it for whoever reads it.

use privet_dialects::sse::SseDecoder;
use privet_dialects::stream::{StreamFailure, StreamOptions, StreamTranslation};
use privet_dialects::translate::Answer;
use privet_dialects::{Dialect, Inbound, UpstreamFault};
use serde_json::Value;

use crate::sse::pieces;

pub(crate) fn check(inbound: Inbound, outbound: Dialect, input: &[u8]) {
    let whole = relay(inbound, outbound, &[input]);
    let split = relay(inbound, outbound, &pieces(input));
    assert_eq!(whole, split, "a stream is the same however it is split");
    let written = [&whole.live[..], &whole.closing].concat();
    readable(&written);
    if whole.outcome.is_ok() && inbound.dialect() != outbound {
        let again = relay(inbound, inbound.dialect(), &[&written]);
        assert_eq!(again.outcome, Ok(()), "an end stays one:\n{}", String::from_utf8_lossy(&written));
    }
}

#[derive(Debug, PartialEq)]
struct Relayed {
    live: Vec<u8>,
    closing: Vec<u8>,
    outcome: Result<(), UpstreamFault>,
    answer: Answer,
}

fn relay(inbound: Inbound, outbound: Dialect, pieces: &[&[u8]]) -> Relayed {
    let options = StreamOptions { include_usage: true, choices: 1, created: 1_760_000_000 };
    let mut decoder = SseDecoder::default();
    let mut translation = StreamTranslation::new(inbound, outbound, options);
    let mut live = Vec::new();
    let mut outcome = Ok(());
    for piece in pieces.iter().map(Some).chain([None]) {
        match piece {
            Some(piece) => decoder.push(piece),
            None => decoder.finish(),
        }
        while let Some(event) = decoder.next_event() {
            if outcome.is_ok() && !translation.is_done() {
                outcome = event.and_then(|event| translation.event(&event, &mut live));
            }
        }
        let _ = (translation.keep_alive(), translation.has_output());
    }
    let outcome = outcome.and_then(|()| translation.end());
    let closing = if outcome.is_ok() {
        translation.closing()
    } else {
        let failure = StreamFailure { message: "m", is_upstream: true, code: "c", request_id: "r" };
        translation.failure(&failure)
    };
    Relayed { live, closing, outcome, answer: translation.answer() }
}

/// Every event is JSON, or the last word of OpenAI's streams.
fn readable(stream: &[u8]) {
    let mut decoder = SseDecoder::default();
    decoder.push(stream);
    decoder.finish();
    while let Some(event) = decoder.next_event() {
        let Ok(event) = event else { return };
        let is_json = serde_json::from_slice::<Value>(&event.data).is_ok();
        assert!(is_json || &event.data[..] == b"[DONE]", "an event is JSON: {}", String::from_utf8_lossy(&event.data));
    }
}
