//! A stream as `streamGenerateContent` writes it without `alt=sse`: one JSON array, an element at a time.

use crate::sse::SseDecoder;

/// Turns the events of a stream into the elements of an array.
#[derive(Debug, Default)]
pub struct JsonArray {
    decoder: SseDecoder,
    has_begun: bool,
}

impl JsonArray {
    /// The bytes for a piece of the stream. What holds no event keeps the connection alive: blanks do the same in an array.
    pub fn piece(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        self.decoder.push(bytes);
        // Privet wrote the stream: there is no event that it could not read.
        while let Some(Ok(event)) = self.decoder.next_event() {
            out.extend_from_slice(if std::mem::replace(&mut self.has_begun, true) { b",\r\n" } else { b"[" });
            out.extend_from_slice(&event.data);
        }
        if out.len() == from {
            out.push(b'\n');
        }
    }

    /// The end of the array.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.push(b'[');
        }
        out.extend_from_slice(b"]\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_elements_however_they_are_cut() {
        let stream = b"\ndata: {\"a\":1}\n\ndata: {\"b\":\"]\"}\n\n\ndata: {\"error\":{}}\n\n";
        for size in [1, 2, 7, stream.len()] {
            let (mut array, mut out) = (JsonArray::default(), Vec::new());
            stream.chunks(size).for_each(|piece| array.piece(piece, &mut out));
            array.end(&mut out);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value, serde_json::json!([{"a": 1}, {"b": "]"}, {"error": {}}]), "{size}");
        }
        let mut out = Vec::new();
        JsonArray::default().end(&mut out);
        assert_eq!(out, b"[]\n");
    }
}
