//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).
//!
//! Reads events that are split anywhere, with any line ending, with or without a space after the colon. Memory is bounded.

use bytes::{Bytes, BytesMut};

use crate::UpstreamFault;

/// A line or an event longer than this is an error: no provider sends one.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its `event:` line.
    pub event: Option<String>,
    /// Its `data:` lines, joined by newlines.
    pub data: Bytes,
}

/// Reads events from pieces of bytes.
#[derive(Debug, Default)]
pub struct SseDecoder {
    buffer: BytesMut,
    /// So many bytes of the buffer hold no line ending.
    scanned: usize,
    started: bool,
    ended: bool,
    failed: bool,
    event: Option<String>,
    data: Option<Bytes>,
    /// Where an event has several `data:` lines: all of them so far. They grow in place, so that many lines cost no more than
    /// their bytes.
    joined: Vec<u8>,
}

impl SseDecoder {
    /// Takes in a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Says that no more pieces come: an event without its empty line counts as whole.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The next event; `None` until more is pushed.
    ///
    /// An error is the end: a line that is too long cannot be skipped in bounded memory.
    pub fn next_event(&mut self) -> Option<Result<SseEvent, UpstreamFault>> {
        while !self.failed {
            let Some(line) = self.next_line() else {
                if self.buffer.len() > EVENT_BYTES_MAX {
                    return Some(Err(self.too_long()));
                }
                return if self.ended { self.dispatch().map(Ok) } else { None };
            };
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Some(Ok(event));
                }
                continue;
            }
            self.field(&line);
            let first_bytes = self.data.as_ref().map_or(0, Bytes::len);
            if first_bytes.max(self.joined.len()) > EVENT_BYTES_MAX {
                return Some(Err(self.too_long()));
            }
        }
        None
    }

    fn too_long(&mut self) -> UpstreamFault {
        self.failed = true;
        self.buffer = BytesMut::new();
        UpstreamFault::Malformed(format!("an event is longer than {EVENT_BYTES_MAX} bytes"))
    }

    /// A line without its ending. A `\r` at the very end of the buffer waits for the `\n` that may follow.
    fn next_line(&mut self) -> Option<Bytes> {
        if !self.started {
            if self.buffer.len() < BYTE_ORDER_MARK.len() && !self.ended && BYTE_ORDER_MARK.starts_with(&self.buffer) {
                return None;
            }
            if self.buffer.starts_with(BYTE_ORDER_MARK) {
                let _ = self.buffer.split_to(BYTE_ORDER_MARK.len());
            }
            self.started = true;
        }
        let found = memchr::memchr2(b'\n', b'\r', self.buffer.get(self.scanned..)?);
        let Some(at) = found.map(|at| at + self.scanned) else {
            self.scanned = self.buffer.len();
            return self.last_line();
        };
        let ending = match (self.buffer.get(at), self.buffer.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(b'\r'), None) if !self.ended => {
                self.scanned = at;
                return None;
            }
            _ => 1,
        };
        let mut line = self.buffer.split_to(at + ending);
        line.truncate(at);
        self.scanned = 0;
        Some(line.freeze())
    }

    fn last_line(&mut self) -> Option<Bytes> {
        if !self.ended || self.buffer.is_empty() {
            return None;
        }
        self.scanned = 0;
        Some(self.buffer.split().freeze())
    }

    fn field(&mut self, line: &Bytes) {
        let (name, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return,
            Some(colon) => {
                let space = usize::from(line.get(colon + 1) == Some(&b' '));
                (line.slice(..colon), line.slice(colon + 1 + space..))
            }
            None => (line.clone(), Bytes::new()),
        };
        match &*name {
            b"data" => match &self.data {
                None => self.data = Some(value),
                Some(first) => {
                    if self.joined.is_empty() {
                        self.joined.extend_from_slice(first);
                    }
                    self.joined.push(b'\n');
                    self.joined.extend_from_slice(&value);
                }
            },
            b"event" => self.event = Some(String::from_utf8_lossy(&value).into_owned()),
            // `id` and `retry` are for reconnecting, which no provider offers.
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.event.take();
        let first = self.data.take()?;
        let data = if self.joined.is_empty() { first } else { Bytes::from(std::mem::take(&mut self.joined)) };
        // A stream is UTF-8, decoded with replacement (the specification, 9.2.5): what is passed on must be text to strict readers.
        let data = match std::str::from_utf8(&data) {
            Ok(_) => data,
            Err(_) => Bytes::from(String::from_utf8_lossy(&data).into_owned()),
        };
        Some(SseEvent { event, data })
    }
}

/// Writes an event of one data line.
pub fn write_event(out: &mut Vec<u8>, event: Option<&str>, data: &[u8]) {
    if let Some(event) = event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    for line in data.split(|&byte| byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut decoder = SseDecoder::default();
        let mut events = Vec::new();
        let mut take = |decoder: &mut SseDecoder| {
            while let Some(event) = decoder.next_event() {
                let event = event.unwrap();
                events.push((event.event, String::from_utf8_lossy(&event.data).into_owned()));
            }
        };
        for piece in pieces {
            decoder.push(piece);
            take(&mut decoder);
        }
        decoder.finish();
        take(&mut decoder);
        events
    }

    const ODD: &str = "\u{feff}: comment\r\ndata:no space\r\n\r\nevent: ping\ndata: one\ndata: two\n\n\nid: 7\rdata: cr\r\rdata: unterminated";

    #[test]
    fn wire_16_odd_framing_is_read() {
        let expected: Vec<(Option<String>, String)> = vec![
            (None, "no space".into()),
            (Some("ping".into()), "one\ntwo".into()),
            (None, "cr".into()),
            (None, "unterminated".into()),
        ];
        assert_eq!(read(&[ODD.as_bytes()]), expected);
    }

    #[test]
    fn a_line_without_end_is_an_error_and_takes_no_more_memory() {
        let mut decoder = SseDecoder::default();
        let piece = vec![b'x'; 1024 * 1024];
        let mut failed = false;
        for _ in 0..10 {
            decoder.push(&piece);
            failed |= matches!(decoder.next_event(), Some(Err(_)));
        }
        assert!(failed && decoder.next_event().is_none());
    }

    #[test]
    fn a_million_data_lines_cost_no_more_than_their_bytes() {
        let mut decoder = SseDecoder::default();
        decoder.push(&b"data:\n".repeat(1_000_000));
        decoder.push(b"data: x\n\n");
        let event = decoder.next_event().unwrap().unwrap();
        assert_eq!(event.data.len(), 1_000_001);
        assert!(event.data.ends_with(b"\nx"));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write_event(&mut out, Some("message"), b"{\"a\":1}");
        write_event(&mut out, None, b"two\nlines");
        assert_eq!(read(&[&out]), vec![(Some("message".into()), "{\"a\":1}".into()), (None, "two\nlines".into())]);
    }

    proptest! {
        #[test]
        fn wire_16_events_split_anywhere_are_the_same(cuts in proptest::collection::vec(0..ODD.len(), 0..8)) {
            let bytes = ODD.as_bytes();
            let mut cuts = cuts;
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut decoder = SseDecoder::default();
            decoder.push(&bytes);
            decoder.finish();
            while decoder.next_event().is_some() {}
        }
    }
}
