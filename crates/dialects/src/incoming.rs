//! A client's request, in whichever dialect it came.
//!
//! Each dialect that clients speak has a type that reads its requests, and an arm in [`each`]. What an arm must have is what the
//! methods here call; the compiler names what is missing. How answers go back is in [`crate::translate`].

use serde_json::{Map, Value};

use crate::anthropic::incoming::IncomingMessages;
use crate::canonical::{ChatRequest, Message};
use crate::gemini::incoming::IncomingGenerate;
use crate::openai::chat_request::IncomingChat;
use crate::request_size::RequestSize;
use crate::responses::incoming::IncomingResponses;
use crate::translate::{Asker, RequestError};
use crate::unbounded_field::UnboundedField;
use crate::{BadRequest, Dialect, Inbound, Unsupported, anthropic, gemini, responses};

/// A request as it came.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// OpenAI's chat completions.
    OpenAiChat(IncomingChat),
    /// Anthropic's messages.
    AnthropicMessages(IncomingMessages),
    /// OpenAI's responses.
    OpenAiResponses(IncomingResponses),
    /// Gemini's `generateContent`.
    Gemini(IncomingGenerate),
}

/// Members that make no difference to an answer.
const NOT_ASKED: [&str; 8] = [
    "model",
    "stream",
    "stream_options",
    "metadata",
    "store",
    "conversation_id",
    "conversation",
    "previous_response_id",
];

/// Does the same with the request of any dialect.
macro_rules! each {
    ($incoming:expr, $request:ident => $done:expr) => {
        match $incoming {
            Incoming::OpenAiChat($request) => $done,
            Incoming::AnthropicMessages($request) => $done,
            Incoming::OpenAiResponses($request) => $done,
            Incoming::Gemini($request) => $done,
        }
    };
}

impl Incoming {
    /// What the client speaks.
    #[must_use]
    pub const fn dialect(&self) -> Inbound {
        match self {
            Self::OpenAiChat(_) => Inbound::OpenAiChat,
            Self::AnthropicMessages(_) => Inbound::AnthropicMessages,
            Self::OpenAiResponses(_) => Inbound::OpenAiResponses,
            Self::Gemini(_) => Inbound::Gemini,
        }
    }

    /// For whom answers are written.
    #[must_use]
    pub fn asker(&self) -> Asker {
        match self {
            Self::OpenAiResponses(request) => Asker { inbound: self.dialect(), echo: Some(request.echo.clone()) },
            Self::OpenAiChat(_) | Self::AnthropicMessages(_) | Self::Gemini(_) => self.dialect().into(),
        }
    }

    /// Says whether the response that it makes can be read later. Only the Responses API tells its clients.
    pub fn set_kept(&mut self, is_kept: bool) {
        if let Self::OpenAiResponses(request) = self {
            request.set_kept(is_kept);
        }
    }

    /// The request as one of the Responses API, if it is one: it goes on from a response, and makes one.
    #[must_use]
    pub const fn as_responses(&self) -> Option<&IncomingResponses> {
        match self {
            Self::OpenAiResponses(request) => Some(request),
            Self::OpenAiChat(_) | Self::AnthropicMessages(_) | Self::Gemini(_) => None,
        }
    }

    /// The model, if one is named.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        each!(self, request => request.model.as_deref())
    }

    /// The thread; at least one message.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        each!(self, request => &request.messages)
    }

    /// What is put in front of the thread on the way to the provider, and is not part of it.
    #[must_use]
    pub fn lead(&self) -> &[Message] {
        each!(self, request => &request.lead)
    }

    /// Puts messages in front of the thread, and of what leads it already.
    pub fn set_lead(&mut self, mut lead: Vec<Message>) {
        each!(self, request => {
            lead.append(&mut request.lead);
            request.lead = lead;
        });
    }

    /// Whether a stream is asked for.
    #[must_use]
    pub const fn stream(&self) -> bool {
        each!(self, request => request.stream)
    }

    /// Whether a stream should end with the usage, where the dialect leaves that to the client.
    #[must_use]
    pub const fn include_usage(&self) -> bool {
        match self {
            Self::OpenAiChat(chat) => chat.include_usage,
            Self::AnthropicMessages(_) | Self::OpenAiResponses(_) | Self::Gemini(_) => true,
        }
    }

    /// How many answers are asked for; at least 1.
    #[must_use]
    pub const fn choices(&self) -> u32 {
        match self {
            Self::OpenAiChat(chat) => chat.choices,
            Self::AnthropicMessages(_) | Self::OpenAiResponses(_) => 1,
            Self::Gemini(generate) => generate.choices,
        }
    }

    /// The conversation that it continues, as its body names it.
    #[must_use]
    pub fn conversation_id(&self) -> Option<&str> {
        each!(self, request => request.conversation_id.as_deref())
    }

    /// Whether it may be kept; `None` leaves that to the server.
    #[must_use]
    pub const fn store(&self) -> Option<bool> {
        each!(self, request => request.store)
    }

    /// The request's `metadata`, which also describes its trace; empty where there is none.
    #[must_use]
    pub fn metadata(&self) -> Map<String, Value> {
        each!(self, request => request.metadata())
    }

    /// The end user, as the application names them.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        each!(self, request => request.user())
    }

    /// The parameters of the model, by the names that they have in the dialect.
    #[must_use]
    pub fn parameters(&self) -> Map<String, Value> {
        each!(self, request => request.parameters())
    }

    /// The tools, as their JSON.
    #[must_use]
    pub fn tools_json(&self) -> Option<&str> {
        each!(self, request => request.tools_json())
    }

    /// All members of the body that the answer may depend on, as the client wrote them: whatever the canonical form does not know is
    /// among them. What only says how the answer is given, kept and told is left out, and so is the model's name.
    #[must_use]
    pub fn asked(&self) -> Map<String, Value> {
        let object = match self {
            Self::OpenAiChat(request) => request.object(),
            Self::AnthropicMessages(request) => request.object(),
            Self::OpenAiResponses(request) => request.object(),
            Self::Gemini(request) => request.object(),
        };
        let member = |name: &str| Some((name.to_owned(), object.decode::<Value>(name).ok()??));
        object.keys().filter(|name| !NOT_ASKED.contains(name)).filter_map(member).collect()
    }

    /// Whether the model shall think before it answers.
    #[must_use]
    pub fn asks_for_thinking(&self) -> bool {
        each!(self, request => request.asks_for_thinking())
    }

    /// The JSON Schema that the answer must keep to, if there is one.
    #[must_use]
    pub fn answer_schema(&self) -> Option<Value> {
        each!(self, request => request.answer_schema())
    }

    /// The most output tokens of one answer, as the request names it.
    ///
    /// # Errors
    /// When it is no whole number that makes sense.
    pub fn output_limit(&self) -> Result<Option<u64>, BadRequest> {
        each!(self, request => request.output_limit())
    }

    /// The service tier that the request names to a provider of this dialect. But for OpenAI's two, it is not translated between dialects:
    /// it is a wish for speed.
    ///
    /// # Errors
    /// When it is no text.
    pub fn service_tier(&self, outbound: Dialect) -> Result<Option<String>, BadRequest> {
        let own = self.dialect().dialect();
        if own != outbound && !(own.is_openais() && outbound.is_openais()) {
            return Ok(None);
        }
        each!(self, request => request.service_tier())
    }

    /// The most that the request can be counted as, with what leads it and earlier messages.
    #[must_use]
    pub fn size(&self, history: &[Message]) -> RequestSize {
        each!(self, request => request.size(history))
    }

    /// The first member that nobody can bound, if there is one.
    #[must_use]
    pub fn unbounded_field(&self) -> Option<UnboundedField> {
        each!(self, request => request.unbounded_field())
    }

    /// A refusal by the names that the client's dialect has for its fields: providers' encoders have OpenAI's.
    pub(crate) fn in_its_words(&self, refusal: Unsupported) -> Unsupported {
        match self {
            Self::OpenAiChat(_) => refusal,
            Self::AnthropicMessages(_) => refusal.renamed(&anthropic::incoming::NAMES),
            Self::OpenAiResponses(_) => refusal.renamed(&responses::incoming::NAMES),
            Self::Gemini(_) => refusal.renamed(&gemini::incoming::NAMES),
        }
    }

    /// The whole request in the canonical form, earlier messages put behind its leading instructions.
    ///
    /// # Errors
    /// With the field that is of a wrong type, or that no other dialect can express.
    pub fn to_canonical(&self, model: &str, history: &[Message]) -> Result<ChatRequest, RequestError> {
        each!(self, request => request.to_canonical(model, history))
    }
}

impl From<IncomingMessages> for Incoming {
    fn from(messages: IncomingMessages) -> Self {
        Self::AnthropicMessages(messages)
    }
}

impl From<IncomingResponses> for Incoming {
    fn from(responses: IncomingResponses) -> Self {
        Self::OpenAiResponses(responses)
    }
}

impl From<IncomingGenerate> for Incoming {
    fn from(generate: IncomingGenerate) -> Self {
        Self::Gemini(generate)
    }
}

impl From<IncomingChat> for Incoming {
    fn from(chat: IncomingChat) -> Self {
        Self::OpenAiChat(chat)
    }
}
