//! Pairs the client's dialect with the provider's.
//!
//! The same dialect is passed on as its own bytes; another goes through the canonical form. A request is here, and a whole
//! answer; a stream is in [`crate::stream`].

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::canonical::{ChatRequest, ChatResponse, FinishReason, Message, Part, Usage};
use crate::incoming::Incoming;
use crate::openai::chat_request::{Forward, MaxTokensField};
use crate::openai::chat_response;
use crate::openai::request::Wording;
use crate::responses::echo::Echo;
use crate::{BadRequest, Dialect, Inbound, Unsupported, UpstreamFault, anthropic, gemini, openai, responses};

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
    /// The service tier of a request that names none; `None` leaves it without. Only OpenAI's dialects have a word for it.
    pub service_tier: Option<&'static str>,
}

/// An answer in the canonical form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
            Part::Other { dialect: Dialect::OpenAiResponses, value } => value.to_string().len(),
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

/// For whom an answer is written.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What the client speaks.
    pub inbound: Inbound,
    /// What a response says of its request; of dialects whose answers say nothing of it there is none.
    pub echo: Option<Arc<Echo>>,
}

impl From<Inbound> for Asker {
    fn from(inbound: Inbound) -> Self {
        Self { inbound, echo: None }
    }
}

/// Writes a request in the provider's dialect.
///
/// # Errors
/// When it is wrong, or the dialect cannot express it.
pub fn encode_request(
    incoming: &Incoming,
    model: &str,
    history: &[Message],
    outbound: Dialect,
    options: &EncodeOptions,
) -> Result<Bytes, RequestError> {
    let EncodeOptions { max_tokens_field, output_limit, service_tier, .. } = *options;
    match (incoming, outbound) {
        (Incoming::OpenAiChat(chat), Dialect::OpenAiChat) => {
            refuse_foreign(history)?;
            return Ok(chat.forward(&Forward { model, history, max_tokens_field, output_limit, service_tier }));
        }
        (Incoming::AnthropicMessages(messages), Dialect::AnthropicMessages) => {
            return Ok(messages.forward(model, history)?);
        }
        (Incoming::OpenAiResponses(request), Dialect::OpenAiResponses) => {
            let forward = responses::forward::Forward { model, history, output_limit, service_tier };
            return Ok(request.forward(&forward).map_err(|refusal| incoming.in_its_words(refusal))?);
        }
        (Incoming::Gemini(generate), Dialect::Gemini) => return Ok(generate.forward(model, history, output_limit)?),
        _ => {}
    }
    encode_canonical(incoming, incoming.to_canonical(model, history)?, outbound, options)
}

/// Writes a request's meaning in the provider's dialect.
pub(crate) fn encode_canonical(
    incoming: &Incoming,
    request: ChatRequest,
    outbound: Dialect,
    options: &EncodeOptions,
) -> Result<Bytes, RequestError> {
    let EncodeOptions { max_tokens_field, default_max_tokens, output_limit, service_tier } = *options;
    let request = ChatRequest { max_output_tokens: request.max_output_tokens.or(output_limit), ..request };
    let body = match outbound {
        Dialect::OpenAiChat => openai::request::encode(&request, Wording { max_tokens_field, service_tier }),
        Dialect::AnthropicMessages => anthropic::request::encode(&request, default_max_tokens),
        Dialect::Gemini => gemini::request::encode(&request),
        Dialect::OpenAiResponses => responses::request::encode(&request, service_tier),
    };
    Ok(Bytes::from(body.map_err(|refusal| incoming.in_its_words(refusal))?))
}

/// Refuses earlier messages that hold what only another dialect's providers know.
fn refuse_foreign(history: &[Message]) -> Result<(), Unsupported> {
    let mut parts = history.iter().flat_map(|message| &message.parts);
    if parts.any(|part| matches!(part, Part::Other { dialect, .. } if *dialect != Dialect::OpenAiChat)) {
        let message =
            "The conversation holds parts that only the provider which made them knows; go on with a model of it.";
        return Err(Unsupported::new("conversation_id", message));
    }
    Ok(())
}

/// Reads a whole answer, and writes it for the client.
///
/// # Errors
/// When it is none.
pub fn decode_response(
    asker: impl Into<Asker>,
    outbound: Dialect,
    body: Bytes,
    created: i64,
) -> Result<WholeAnswer, UpstreamFault> {
    let Asker { inbound, echo } = asker.into();
    match (inbound, outbound) {
        (Inbound::OpenAiChat, Dialect::OpenAiChat) => return chat_response::pass(body),
        (Inbound::AnthropicMessages, Dialect::AnthropicMessages) => return anthropic::response::pass(body),
        (Inbound::Gemini, Dialect::Gemini) => return gemini::response::pass(body),
        (Inbound::OpenAiResponses, Dialect::OpenAiResponses) => {
            return responses::response::pass(body, &echo.unwrap_or_default());
        }
        _ => {}
    }
    let mut response = match outbound {
        Dialect::OpenAiChat => chat_response::decode(&body)?,
        Dialect::AnthropicMessages => anthropic::response::decode(&body)?,
        Dialect::Gemini => gemini::response::decode(&body)?,
        Dialect::OpenAiResponses => responses::response::decode(&body)?,
    };
    for choice in &mut response.choices {
        choice.message.parts.retain(|part| !is_foreign(part, inbound));
    }
    let body = encode_answer(&Asker { inbound, echo }, &response, created);
    Ok(WholeAnswer { body, answer: Answer::from(response) })
}

/// Whether only another dialect has a part: it was not asked for in this one, and could not be sent back.
pub(crate) fn is_foreign(part: &Part, inbound: Inbound) -> bool {
    matches!(part, Part::Other { dialect, .. } if *dialect != inbound.dialect())
}

/// Writes a whole answer for the client. `created` is in seconds since 1970, for an answer that does not say.
pub(crate) fn encode_answer(asker: &Asker, response: &ChatResponse, created: i64) -> Bytes {
    match asker.inbound {
        Inbound::OpenAiChat => chat_response::encode(response, created),
        Inbound::AnthropicMessages => anthropic::answer::encode(response),
        Inbound::OpenAiResponses => responses::answer::encode(response, &asker.echo.clone().unwrap_or_default()),
        Inbound::Gemini => gemini::answer::encode(response),
    }
}

impl From<ChatResponse> for Answer {
    fn from(response: ChatResponse) -> Self {
        Self {
            id: response.id,
            model: response.model,
            finishes: response.choices.iter().map(|choice| choice.finish.clone()).collect(),
            messages: response.choices.into_iter().map(|choice| choice.message).collect(),
            usage: response.usage,
            is_counted: response.usage.is_some(),
            tier: response.tier,
        }
    }
}
