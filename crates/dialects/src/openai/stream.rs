//! A streamed answer of chat completions, event by event, for a client of another dialect.

use super::chunk::ChunkReader;
use crate::UpstreamFault;
use crate::canonical::ChatEvent;
use crate::sse::SseEvent;

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    reader: ChunkReader,
    has_started: bool,
    has_finished: bool,
}

impl StreamDecoder {
    /// Reads an event. One that cannot be read is skipped: it does not end the stream.
    ///
    /// # Errors
    /// When the event reports an error.
    pub fn event(&mut self, event: &SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        let from = out.len();
        self.reader.read(event, out)?;
        let mut read = out.split_off(from);
        // Each chunk names the answer anew; some servers begin with one that names none.
        read.retain(|event| match event {
            ChatEvent::Start { id, .. } => !id.is_empty() && !std::mem::replace(&mut self.has_started, true),
            ChatEvent::Finish { .. } => {
                self.has_finished = true;
                true
            }
            _ => true,
        });
        out.append(&mut read);
        Ok(())
    }

    /// Whether `[DONE]` came: nothing that follows belongs to the answer.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Whether all of the answer is there: some servers leave `[DONE]` out.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.reader.is_done() || self.has_finished
    }
}
