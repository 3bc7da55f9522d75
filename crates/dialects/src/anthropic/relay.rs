//! A stream of Anthropic's passed on as its own bytes: read to collect the answer, changed only where a client would stumble.
//!
//! What is mended: an event without its `event:` line, by which official clients tell events apart, and a second `message_start`.
//! `message_start` and pings wait for the first content, so that a failure before it is still a failure of the whole request.

use bytes::Bytes;

use super::stream::{Seen, StreamDecoder};
use super::stream_encoder::{COMMENT, PING};
use crate::UpstreamFault;
use crate::collect::Collector;
use crate::sse::{SseEvent, write_event};

/// A stream being relayed.
#[derive(Debug, Default)]
pub struct Relay {
    decoder: StreamDecoder,
    /// `message_start`, until something follows it.
    start: Option<Vec<u8>>,
    has_start: bool,
    has_begun: bool,
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
        let seen = self.decoder.read(event, &mut events)?;
        for event in &events {
            collector.event(event);
        }
        match seen {
            Seen::Nothing => {}
            Seen::Start if self.has_start => {}
            Seen::Start => {
                self.has_start = true;
                let mut start = Vec::new();
                write(event, "message_start", &mut start);
                self.start = Some(start);
            }
            Seen::Ping if !self.has_begun => {}
            Seen::Ping => write(event, "ping", out),
            Seen::Event(kind) => {
                self.has_begun = true;
                out.extend(self.start.take().unwrap_or_default());
                write(event, &kind, out);
            }
        }
        Ok(())
    }

    /// Whether the end of the message was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }

    /// What says that the stream lives.
    #[must_use]
    pub fn keep_alive(&self) -> Bytes {
        if self.has_begun { PING } else { COMMENT }
    }
}

fn write(event: &SseEvent, kind: &str, out: &mut Vec<u8>) {
    write_event(out, Some(event.event.as_deref().unwrap_or(kind)), &event.data);
}
