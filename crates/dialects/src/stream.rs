//! A stream from the provider to the client: each event is read in the provider's dialect, collected, and written in the client's.
//!
//! The same dialect is passed on as its own bytes. Of two dialects one reads and the other writes, and what is between them are
//! canonical events: [`Reader`] has an arm for each that providers speak, [`Writer`] one for each that clients speak.

use bytes::Bytes;

use crate::canonical::ChatEvent;
use crate::collect::Collector;
use crate::openai::relay::Relay;
use crate::openai::stream_encoder::{self, StreamEncoder};
use crate::sse::SseEvent;
use crate::translate::{Answer, Asker};
use crate::{Dialect, Inbound, UpstreamFault, anthropic, gemini, openai, responses};

/// How a stream is written for the client.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Whether the client asked for the usage, where its dialect leaves that to it.
    pub include_usage: bool,
    /// How many answers were asked for.
    pub choices: u32,
    /// Seconds since 1970, for a provider that does not say.
    pub created: i64,
}

/// A stream of the provider's on its way to the client.
pub struct StreamTranslation {
    inbound: Inbound,
    way: Way,
    collector: Collector,
    choices: u32,
    /// Everything from the last finish on: held back until the answer is recorded.
    tail: Vec<u8>,
    received_bytes: usize,
    /// Whether the provider closed the stream after a proper end.
    is_closed: bool,
}

/// More than the longest answer of any model, chunk by chunk: a provider that goes on forever does not fill the memory.
const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;
/// More than the last finish, the usage and what some servers add after them.
const TAIL_BYTES_MAX: usize = 1024 * 1024;

/// How a stream gets from one dialect to the other.
enum Way {
    /// OpenAI's chat to itself.
    ChatRelay(Relay),
    /// Anthropic's messages to themselves.
    MessagesRelay(Box<anthropic::relay::Relay>),
    /// Gemini's to itself.
    GeminiRelay(Box<gemini::relay::Relay>),
    /// OpenAI's responses to themselves.
    ResponsesRelay(Box<responses::relay::Relay>),
    /// Between two dialects.
    Translated(Box<Translator>),
}

struct Translator {
    reader: Reader,
    writer: Writer,
}

/// Reads the provider's events.
enum Reader {
    OpenAiChat(openai::stream::StreamDecoder),
    Anthropic(anthropic::stream::StreamDecoder),
    Gemini(gemini::stream::StreamDecoder),
    Responses(responses::stream::StreamDecoder),
}

impl Reader {
    fn event(&mut self, event: &SseEvent, events: &mut Vec<ChatEvent>) -> Result<(), UpstreamFault> {
        match self {
            Self::OpenAiChat(decoder) => decoder.event(event, events),
            Self::Anthropic(decoder) => decoder.event(event, events),
            Self::Gemini(decoder) => decoder.event(event, events),
            Self::Responses(decoder) => decoder.event(event, events),
        }
    }

    /// Whether all of the answer is there, as far as can be told before the body's end.
    fn is_complete(&self) -> bool {
        match self {
            Self::OpenAiChat(decoder) => decoder.is_complete(),
            Self::Anthropic(decoder) => decoder.is_complete(),
            Self::Gemini(decoder) => decoder.is_complete(),
            Self::Responses(decoder) => decoder.is_complete(),
        }
    }

    /// Whether the provider has said its last word: nothing that follows belongs to the answer.
    fn is_done(&self) -> bool {
        match self {
            Self::OpenAiChat(decoder) => decoder.is_done(),
            Self::Anthropic(decoder) => decoder.is_complete(),
            // Gemini has no last word: the usage may come after the finish.
            Self::Gemini(_) => false,
            Self::Responses(decoder) => decoder.is_complete(),
        }
    }
}

/// Writes the client's events.
pub(crate) enum Writer {
    OpenAiChat(StreamEncoder),
    AnthropicMessages(anthropic::stream_encoder::StreamEncoder),
    OpenAiResponses(Box<responses::stream_encoder::StreamEncoder>),
    Gemini(gemini::stream_encoder::StreamEncoder),
}

impl Writer {
    pub(crate) fn new(asker: &Asker, options: StreamOptions) -> Self {
        match asker.inbound {
            Inbound::OpenAiChat => Self::OpenAiChat(StreamEncoder::new(options.created, options.include_usage)),
            Inbound::AnthropicMessages => Self::AnthropicMessages(anthropic::stream_encoder::StreamEncoder::default()),
            Inbound::OpenAiResponses => {
                let echo = asker.echo.clone().unwrap_or_default();
                Self::OpenAiResponses(Box::new(responses::stream_encoder::StreamEncoder::new(echo)))
            }
            Inbound::Gemini => Self::Gemini(gemini::stream_encoder::StreamEncoder::default()),
        }
    }

    pub(crate) fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match self {
            Self::OpenAiChat(encoder) => encoder.event(event, out),
            Self::AnthropicMessages(encoder) => encoder.event(event, out),
            Self::OpenAiResponses(encoder) => encoder.event(event, out),
            Self::Gemini(encoder) => encoder.event(event, out),
        }
    }

    /// Writes what ends a stream that is complete.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::OpenAiChat(encoder) => encoder.close(out),
            Self::AnthropicMessages(encoder) => encoder.close(out),
            Self::OpenAiResponses(encoder) => encoder.close(out),
            Self::Gemini(encoder) => encoder.close(out),
        }
    }

    fn keep_alive(&self) -> Bytes {
        match self {
            Self::OpenAiChat(_) => stream_encoder::KEEP_ALIVE,
            Self::AnthropicMessages(encoder) => encoder.keep_alive(),
            Self::OpenAiResponses(_) => responses::stream_encoder::KEEP_ALIVE,
            Self::Gemini(_) => gemini::stream_encoder::KEEP_ALIVE,
        }
    }

    fn failure(&self, failure: &StreamFailure<'_>) -> Vec<u8> {
        match self {
            Self::OpenAiChat(_) => stream_encoder::failure(failure),
            Self::AnthropicMessages(_) => anthropic::error::event(failure),
            Self::OpenAiResponses(encoder) => encoder.failure(failure),
            Self::Gemini(_) => gemini::error::event(failure),
        }
    }
}

impl StreamTranslation {
    /// For one stream.
    #[must_use]
    pub fn new(asker: impl Into<Asker>, outbound: Dialect, options: StreamOptions) -> Self {
        let asker = asker.into();
        let inbound = asker.inbound;
        let translated =
            |reader| Way::Translated(Box::new(Translator { reader, writer: Writer::new(&asker, options) }));
        let way = match (inbound, outbound) {
            (Inbound::OpenAiChat, Dialect::OpenAiChat) => Way::ChatRelay(Relay::new(options.include_usage)),
            (Inbound::AnthropicMessages, Dialect::AnthropicMessages) => Way::MessagesRelay(Box::default()),
            (Inbound::Gemini, Dialect::Gemini) => Way::GeminiRelay(Box::default()),
            (Inbound::OpenAiResponses, Dialect::OpenAiResponses) => {
                let echo = asker.echo.clone().unwrap_or_default();
                Way::ResponsesRelay(Box::new(responses::relay::Relay::new(echo)))
            }
            (_, Dialect::OpenAiChat) => translated(Reader::OpenAiChat(openai::stream::StreamDecoder::default())),
            (_, Dialect::AnthropicMessages) => {
                translated(Reader::Anthropic(anthropic::stream::StreamDecoder::default()))
            }
            (_, Dialect::Gemini) => translated(Reader::Gemini(gemini::stream::StreamDecoder::default())),
            (_, Dialect::OpenAiResponses) => translated(Reader::Responses(responses::stream::StreamDecoder::default())),
        };
        let collector = Collector::default();
        let choices = options.choices;
        Self { inbound, way, collector, choices, tail: Vec::new(), received_bytes: 0, is_closed: false }
    }

    /// Takes in an event and writes what the client may see of it now.
    ///
    /// # Errors
    /// When the provider reports an error.
    pub fn event(&mut self, event: &SseEvent, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        self.received_bytes = self.received_bytes.saturating_add(event.data.len());
        if self.received_bytes > STREAM_BYTES_MAX || self.tail.len() > TAIL_BYTES_MAX {
            return Err(UpstreamFault::Malformed("its stream does not end within any sensible length".to_owned()));
        }
        match &mut self.way {
            Way::ChatRelay(relay) => {
                let finished_before = self.collector.has_finished(self.choices);
                let begins = out.len();
                let event_begins = relay.event(event, &mut self.collector, out)?;
                if self.collector.has_finished(self.choices) {
                    // The finish of the last answer is where the tail begins: pieces that were missing stand before it.
                    let kept = if finished_before { begins } else { event_begins };
                    self.tail.extend_from_slice(out.get(kept..).unwrap_or_default());
                    out.truncate(kept);
                }
            }
            Way::MessagesRelay(relay) => {
                let begins = out.len();
                relay.event(event, &mut self.collector, out)?;
                if self.collector.has_finished(self.choices) {
                    self.tail.extend_from_slice(out.get(begins..).unwrap_or_default());
                    out.truncate(begins);
                }
            }
            Way::GeminiRelay(relay) => {
                let begins = out.len();
                relay.event(event, &mut self.collector, out)?;
                if self.collector.has_finished(self.choices) {
                    self.tail.extend_from_slice(out.get(begins..).unwrap_or_default());
                    out.truncate(begins);
                }
            }
            Way::ResponsesRelay(relay) => {
                let begins = out.len();
                relay.event(event, &mut self.collector, out)?;
                if self.collector.has_finished(self.choices) {
                    self.tail.extend_from_slice(out.get(begins..).unwrap_or_default());
                    out.truncate(begins);
                }
            }
            Way::Translated(translator) => {
                let mut events = Vec::new();
                let read = translator.reader.event(event, &mut events);
                let own = self.inbound.dialect();
                // What only another dialect has was not asked for in this one, and could not be sent back.
                let is_foreign =
                    |event: &ChatEvent| matches!(event, ChatEvent::Other { dialect, .. } if *dialect != own);
                for event in events.iter().filter(|event| !is_foreign(event)) {
                    self.collector.event(event);
                    let held = self.collector.has_finished(self.choices);
                    translator.writer.event(event, if held { &mut self.tail } else { out });
                }
                read?;
            }
        }
        Ok(())
    }

    /// Says that the provider's body ended.
    ///
    /// # Errors
    /// [`UpstreamFault::Cut`] when it had no proper end.
    pub fn end(&mut self) -> Result<(), UpstreamFault> {
        self.is_closed = self.is_complete();
        if self.is_closed { Ok(()) } else { Err(UpstreamFault::Cut) }
    }

    /// Whether all of the answer is there, as far as can be told before the body's end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.way {
            Way::ChatRelay(relay) => relay.is_done() || self.collector.has_finished(self.choices),
            Way::MessagesRelay(relay) => relay.is_complete(),
            Way::GeminiRelay(relay) => relay.is_complete(),
            Way::ResponsesRelay(relay) => relay.is_complete(),
            Way::Translated(translator) => translator.reader.is_complete(),
        }
    }

    /// Whether the provider has said its last word: nothing that follows belongs to the answer.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.way {
            Way::ChatRelay(relay) => relay.is_done(),
            Way::MessagesRelay(relay) => relay.is_complete(),
            // Gemini has no last word: the usage may come after the finish.
            Way::GeminiRelay(_) => false,
            Way::ResponsesRelay(relay) => relay.is_complete(),
            Way::Translated(translator) => translator.reader.is_done(),
        }
    }

    /// The held-back end: the last finish, the usage where it is told, and whatever ends a stream in the client's dialect.
    #[must_use]
    pub fn closing(&mut self) -> Vec<u8> {
        let mut tail = std::mem::take(&mut self.tail);
        match &mut self.way {
            Way::ChatRelay(_) => tail.extend_from_slice(stream_encoder::END_OF_STREAM),
            // Its last event is among what was held back.
            Way::MessagesRelay(_) | Way::GeminiRelay(_) | Way::ResponsesRelay(_) => {}
            Way::Translated(translator) => translator.writer.close(&mut tail),
        }
        tail
    }

    /// What tells the client, and whatever stands between, that the stream is alive.
    #[must_use]
    pub fn keep_alive(&self) -> Bytes {
        match &self.way {
            Way::ChatRelay(_) => stream_encoder::KEEP_ALIVE,
            Way::MessagesRelay(relay) => relay.keep_alive(),
            Way::GeminiRelay(_) => gemini::stream_encoder::KEEP_ALIVE,
            Way::ResponsesRelay(_) => responses::stream_encoder::KEEP_ALIVE,
            Way::Translated(translator) => translator.writer.keep_alive(),
        }
    }

    /// The event of a failure after which nothing follows.
    #[must_use]
    pub fn failure(&self, failure: &StreamFailure<'_>) -> Vec<u8> {
        match &self.way {
            Way::ChatRelay(_) => stream_encoder::failure(failure),
            Way::MessagesRelay(_) => anthropic::error::event(failure),
            Way::GeminiRelay(_) => gemini::error::event(failure),
            Way::ResponsesRelay(relay) => relay.failure(failure),
            Way::Translated(translator) => translator.writer.failure(failure),
        }
    }

    /// Whether anything of an answer came that a client can use, or its end. Its head alone is nothing.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.collector.has_output() || matches!(&self.way, Way::ResponsesRelay(relay) if relay.is_at_work())
    }

    /// What has come so far.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = self.collector.answer();
        // Of several answers one may be at its end before the next has begun.
        let all_ended = self.is_closed || self.is_done() || self.collector.has_finished(self.choices);
        answer.is_counted &= all_ended;
        answer
    }
}

/// Why a stream ends in the middle.
#[derive(Clone, Copy, Debug)]
pub struct StreamFailure<'a> {
    /// For people.
    pub message: &'a str,
    /// Whether it is the provider's.
    pub is_upstream: bool,
    /// Stable, for programs.
    pub code: &'a str,
    /// The request's id, for dialects that tell it.
    pub request_id: &'a str,
}
