//! Server-sent events: wherever they are split, they are the same; and a line break in an event's data is the only one there is.

use privet_dialects::UpstreamFault;
use privet_dialects::sse::{SseDecoder, SseEvent};

pub(crate) fn check(input: &[u8]) {
    let whole = read(&[input]);
    assert_eq!(whole, read(&pieces(input)), "events are the same however they are split");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(whole, read(&bytes), "events are the same byte by byte");
    for event in whole.iter().flatten() {
        assert!(!event.data.contains(&b'\r'), "a carriage return ends a line");
        assert!(event.event.as_ref().is_none_or(|name| !name.contains(['\n', '\r'])), "a name is one line");
    }
}

fn read(pieces: &[&[u8]]) -> Vec<Result<SseEvent, UpstreamFault>> {
    let mut decoder = SseDecoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(event) = decoder.next_event() {
            events.push(event);
        }
    }
    decoder.finish();
    while let Some(event) = decoder.next_event() {
        events.push(event);
    }
    events
}

/// The input in pieces of lengths that it says itself.
pub(crate) fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = input;
    while let Some(&first) = rest.first() {
        let length = usize::from(first % 13).max(1).min(rest.len());
        let (piece, more) = rest.split_at(length);
        pieces.push(piece);
        rest = more;
    }
    pieces
}
