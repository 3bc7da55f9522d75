//! Pairs the client's dialect with the provider's. The client's is OpenAI's chat.
//!
//! The same dialect is passed on as its own bytes; another goes through the canonical form.

use bytes::Bytes;

use crate::canonical::{ChatRequest, FinishReason, Message, Part, Usage};
use crate::collect::Collector;
use crate::openai::chat_request::{Forward, IncomingChat, MaxTokensField};
use crate::openai::relay::Relay;
use crate::openai::stream_encoder::StreamEncoder;
use crate::openai::{chat_response, error};
use crate::sse::SseEvent;
use crate::{BadRequest, Dialect, Unsupported, UpstreamFault, anthropic, gemini};

/// A request that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is wrong.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The provider's dialect cannot express it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// How a request is written for a provider.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// What the limit of output tokens must be called; `None` leaves it.
    pub max_tokens_field: Option<MaxTokensField>,
    /// The limit of output tokens for a dialect that demands one.
    pub default_max_tokens: u64,
    /// The limit of output tokens for a request that names none, in whatever dialect; `None` leaves it without.
    pub output_limit: Option<u64>,
    /// The service tier of a request that names none; `None` leaves it without. Only OpenAI's dialect has a word for it.
    pub service_tier: Option<&'static str>,
}

/// An answer in the canonical form.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The provider's id.
    pub id: String,
    /// The model that answered, by the provider's name.
    pub model: String,
    /// One message for each answer asked for.
    pub messages: Vec<Message>,
    /// Why each ended; `None` if it was cut.
    pub finishes: Vec<Option<FinishReason>>,
    /// Tokens, where the provider says them.
    pub usage: Option<Usage>,
    /// Whether these are all: the count of a stream comes with its end, and what was told before is of a part.
    pub is_counted: bool,
    /// The service tier that the provider says it served in.
    pub tier: Option<String>,
}

impl Answer {
    /// Whether there is anything of it, be it an empty beginning.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !self.id.is_empty() || !self.messages.is_empty() || self.usage.is_some()
    }

    /// The bytes of all that the model wrote, as far as it came: words, shown reasoning and calls. Each of its tokens that can
    /// be seen covers at least one.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        let parts = self.messages.iter().flat_map(|message| &message.parts);
        let bytes = parts.map(|part| match part {
            Part::Text { text } | Part::Refusal { text } | Part::Thinking { text, .. } => text.len(),
            Part::RedactedThinking { data } => data.len(),
            Part::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
            _ => 0,
        });
        bytes.sum::<usize>() as u64
    }
}

/// A whole answer, for the client and for the record.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeAnswer {
    /// The body for the client.
    pub body: Bytes,
    /// What it says.
    pub answer: Answer,
}

/// Writes a request in the provider's dialect.
///
/// # Errors
/// When it is wrong, or the dialect cannot express it.
pub fn encode_request(
    incoming: &IncomingChat,
    model: &str,
    history: &[Message],
    outbound: Dialect,
    options: &EncodeOptions,
) -> Result<Bytes, RequestError> {
    let canonical = || -> Result<ChatRequest, BadRequest> {
        let request = incoming.to_canonical(model, history)?;
        let max_output_tokens = request.max_output_tokens.or(options.output_limit);
        Ok(ChatRequest { max_output_tokens, ..request })
    };
    let body = match outbound {
        Dialect::OpenAiChat => {
            let EncodeOptions { max_tokens_field, output_limit, service_tier, .. } = *options;
            return Ok(incoming.forward(&Forward { model, history, max_tokens_field, output_limit, service_tier }));
        }
        Dialect::AnthropicMessages => anthropic::request::encode(&canonical()?, options.default_max_tokens)?,
        Dialect::Gemini => gemini::request::encode(&canonical()?)?,
    };
    Ok(Bytes::from(body))
}

/// Reads a whole answer.
///
/// # Errors
/// When it is none.
pub fn decode_response(outbound: Dialect, body: Bytes, created: i64) -> Result<WholeAnswer, UpstreamFault> {
    let response = match outbound {
        Dialect::OpenAiChat => return chat_response::pass(body),
        Dialect::AnthropicMessages => anthropic::response::decode(&body)?,
        Dialect::Gemini => gemini::response::decode(&body)?,
    };
    let body = chat_response::encode(&response, created);
    let answer = Answer {
        id: response.id,
        model: response.model,
        finishes: response.choices.iter().map(|choice| choice.finish.clone()).collect(),
        messages: response.choices.into_iter().map(|choice| choice.message).collect(),
        usage: response.usage,
        is_counted: response.usage.is_some(),
        tier: response.tier,
    };
    Ok(WholeAnswer { body, answer })
}

/// How a stream is written for the client.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Whether the client asked for the usage.
    pub include_usage: bool,
    /// How many answers were asked for.
    pub choices: u32,
    /// Seconds since 1970, for a provider that does not say.
    pub created: i64,
}

/// A stream of the provider's on its way to the client.
pub struct StreamTranslation {
    way: Way,
    collector: Collector,
    options: StreamOptions,
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

enum Way {
    Relay(Relay),
    Anthropic(anthropic::stream::StreamDecoder, StreamEncoder),
    Gemini(gemini::stream::StreamDecoder, StreamEncoder),
}

impl StreamTranslation {
    /// For one stream.
    #[must_use]
    pub fn new(outbound: Dialect, options: StreamOptions) -> Self {
        let encoder = || StreamEncoder::new(options.created, options.include_usage);
        let way = match outbound {
            Dialect::OpenAiChat => Way::Relay(Relay::new(options.include_usage)),
            Dialect::AnthropicMessages => Way::Anthropic(anthropic::stream::StreamDecoder::default(), encoder()),
            Dialect::Gemini => Way::Gemini(gemini::stream::StreamDecoder::default(), encoder()),
        };
        Self { way, collector: Collector::default(), options, tail: Vec::new(), received_bytes: 0, is_closed: false }
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
        let finished_before = self.collector.has_finished(self.options.choices);
        let mut events = Vec::new();
        match &mut self.way {
            Way::Relay(relay) => {
                let begins = out.len();
                let event_begins = relay.event(event, &mut self.collector, out)?;
                if self.collector.has_finished(self.options.choices) {
                    // The finish of the last answer is where the tail begins: pieces that were missing stand before it.
                    let kept = if finished_before { begins } else { event_begins };
                    self.tail.extend_from_slice(out.get(kept..).unwrap_or_default());
                    out.truncate(kept);
                }
                return Ok(());
            }
            Way::Anthropic(decoder, _) => decoder.event(event, &mut events)?,
            Way::Gemini(decoder, _) => decoder.event(event, &mut events)?,
        }
        if let Way::Anthropic(_, encoder) | Way::Gemini(_, encoder) = &mut self.way {
            for event in &events {
                self.collector.event(event);
                let held = self.collector.has_finished(self.options.choices);
                encoder.event(event, if held { &mut self.tail } else { out });
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
            Way::Relay(relay) => relay.is_done() || self.collector.has_finished(self.options.choices),
            Way::Anthropic(decoder, _) => decoder.is_complete(),
            Way::Gemini(decoder, _) => decoder.is_complete(),
        }
    }

    /// Whether the provider has said its last word: nothing that follows belongs to the answer.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.way {
            Way::Relay(relay) => relay.is_done(),
            Way::Anthropic(decoder, _) => decoder.is_complete(),
            // Gemini has no last word: the usage may come after the finish.
            Way::Gemini(..) => false,
        }
    }

    /// Whether anything of an answer came that a client can use, or its end. Its head alone is nothing.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.collector.has_output()
    }

    /// The held-back end: the last finish, the usage if it was asked for, and `[DONE]`.
    #[must_use]
    pub fn closing(&mut self) -> Vec<u8> {
        let mut tail = std::mem::take(&mut self.tail);
        if let Way::Anthropic(_, encoder) | Way::Gemini(_, encoder) = &mut self.way {
            encoder.usage(&mut tail);
        }
        tail.extend_from_slice(END_OF_STREAM);
        tail
    }

    /// What has come so far.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = self.collector.answer();
        // Of several answers one may be at its end before the next has begun.
        let all_ended = self.is_closed || self.is_done() || self.collector.has_finished(self.options.choices);
        answer.is_counted &= all_ended;
        answer
    }
}

/// The last bytes of a stream that is complete, and of no other.
pub const END_OF_STREAM: &[u8] = b"data: [DONE]\n\n";

/// An event for a failure in the middle of a stream.
#[must_use]
pub fn error_event(message: &str, kind: &str, code: &str) -> Vec<u8> {
    error::event(message, kind, code).to_vec()
}
