//! A stream of Gemini's passed on as its own bytes, event by event, and read to collect the answer. Nothing is mended: an event that
//! is no JSON is left out, since it would end an official client's reading.

use super::stream::StreamDecoder;
use crate::UpstreamFault;
use crate::collect::Collector;
use crate::sse::{SseEvent, write_event};

/// A stream being relayed.
#[derive(Debug, Default)]
pub struct Relay {
    decoder: StreamDecoder,
}

impl Relay {
    /// Takes in an event: collects it, and writes it for the client.
    ///
    /// # Errors
    /// When it reports an error. An event that cannot be read is skipped.
    pub fn event(
        &mut self,
        event: &SseEvent,
        collector: &mut Collector,
        out: &mut Vec<u8>,
    ) -> Result<(), UpstreamFault> {
        let mut events = Vec::new();
        if !self.decoder.read(event, &mut events)? {
            return Ok(());
        }
        for event in &events {
            collector.event(event);
        }
        write_event(out, event.event.as_deref(), &event.data);
        Ok(())
    }

    /// Whether every answer that began has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }
}
