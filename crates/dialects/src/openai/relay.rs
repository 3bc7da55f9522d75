//! A stream of chunks passed on as its own bytes: read lightly to collect the answer, changed only where it is broken.
//!
//! What is mended: a first delta without its role, indices of tool calls that are missing, repeated or have gaps, and a tool
//! call without arguments. What is left out: the usage when the client did not ask for it.

use serde_json::Value;

use super::chunk::{ChunkReader, Read};
use crate::UpstreamFault;
use crate::collect::Collector;
use crate::sse::{SseEvent, write_event};

/// A stream being relayed.
#[derive(Debug)]
pub struct Relay {
    include_usage: bool,
    reader: ChunkReader,
}

impl Relay {
    /// For one stream.
    #[must_use]
    pub fn new(include_usage: bool) -> Self {
        Self { include_usage, reader: ChunkReader::default() }
    }

    /// Whether `[DONE]` came.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Takes in an event: collects it, and writes it to the end of `out` for the client. Gives where in `out` the event itself
    /// begins: what it wrote before are pieces that were missing.
    ///
    /// # Errors
    /// When it reports an error. An event that cannot be read is skipped.
    pub fn event(
        &mut self,
        event: &SseEvent,
        collector: &mut Collector,
        out: &mut Vec<u8>,
    ) -> Result<usize, UpstreamFault> {
        let repair = match self.reader.read(event, collector)? {
            Read::Nothing => return Ok(out.len()),
            Read::Usage if !self.include_usage => return Ok(out.len()),
            Read::Usage => None,
            Read::Piece(repair) => Some(repair),
        };
        for (choice, call) in repair.iter().flat_map(|repair| &repair.ended) {
            write_arguments(*choice, *call, event, out);
        }
        let begins = out.len();
        match repair.and_then(|repair| repair.apply(event)) {
            Some(mended) => write_event(out, None, &mended),
            None => write_event(out, event.event.as_deref(), &event.data),
        }
        Ok(begins)
    }
}

/// A piece before the finish that gives a call its arguments.
fn write_arguments(choice: u32, call: u32, event: &SseEvent, out: &mut Vec<u8>) {
    let Ok(mut piece) = serde_json::from_slice::<Value>(&event.data) else { return };
    piece["choices"] = serde_json::json!([{
        "index": choice, "finish_reason": null,
        "delta": {"tool_calls": [{"index": call, "function": {"arguments": "{}"}}]},
    }]);
    if let Some(fields) = piece.as_object_mut() {
        fields.shift_remove("usage");
    }
    write_event(out, None, piece.to_string().as_bytes());
}
