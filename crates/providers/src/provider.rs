//! A provider of either kind.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::openai::audio::{AudioEndpoint, WrittenForm};
use privet_dialects::openai::passed::Endpoint;
use privet_dialects::{Dialect, UpstreamFault};
use privet_domain::trace::TraceParent;
use tokio::time::Instant;

use crate::body::UpstreamAnswer;
use crate::error::ProviderError;
use crate::failure::FailureKind;
use crate::http_provider::HttpProvider;
use crate::keys::KeyChoice;
use crate::local::LocalProvider;
use crate::offline;
use crate::settings::{OnDisconnect, StructuredOutput, Timeouts};

/// When a call must have ended, whatever its provider's own limits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The instant.
    pub at: Instant,
    /// How long that is after the beginning of the request, for people.
    pub after: Duration,
}

/// What of a client's request besides its body goes on to a provider of the same dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedHead {
    /// Headers, such as `anthropic-beta`. They hold in place of the provider's own of the same name.
    pub headers: HeaderMap,
    /// The query, such as `beta=true`.
    pub query: Option<&'static str>,
}

/// A call of a chat endpoint.
#[derive(Debug)]
pub struct ChatCall<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The request in the provider's dialect.
    pub body: Bytes,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Seconds since 1970, for a provider that has no clock of its own.
    pub created: i64,
    /// Where the client's trace goes on at the provider, if there is one.
    pub trace_parent: Option<TraceParent>,
    /// What the client said beside its body, if the provider speaks its dialect.
    pub passed: Option<&'a PassedHead>,
    /// With which of the provider's keys; `None` takes the next.
    pub key: Option<KeyChoice>,
    /// When it must have ended.
    pub deadline: Option<Deadline>,
}

/// A question how many tokens a request has.
#[derive(Debug)]
pub struct CountCall<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The question in the provider's dialect.
    pub body: Bytes,
    /// What the client said beside its body, if the provider speaks its dialect.
    pub passed: Option<&'a PassedHead>,
}

/// A count, as the provider wrote it.
#[derive(Debug)]
pub struct Counted {
    /// Its headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A call whose request and answer pass as they are.
#[derive(Debug)]
pub struct PassedCall<'a> {
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The request.
    pub body: Bytes,
    /// Where the client's trace goes on at the provider, if there is one.
    pub trace_parent: Option<&'a TraceParent>,
}

/// A call with a text to speak, or with a recording.
#[derive(Debug)]
pub struct AudioCall<'a> {
    /// What is asked for.
    pub endpoint: AudioEndpoint,
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The request, and its content type.
    pub request: WrittenForm,
    /// Where the client's trace goes on at the provider, if there is one.
    pub trace_parent: Option<&'a TraceParent>,
}

/// A call of the embeddings endpoint.
#[derive(Debug)]
pub struct EmbeddingsCall<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// The request in the provider's dialect.
    pub body: Bytes,
    /// Where the client's trace goes on at the provider, if there is one.
    pub trace_parent: Option<TraceParent>,
    /// With which of the provider's keys; `None` takes the next.
    pub key: Option<KeyChoice>,
    /// When it must have ended.
    pub deadline: Option<Deadline>,
}

/// A provider.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Over HTTP.
    Http(Box<HttpProvider>),
    /// Built in.
    Offline,
    /// A model of embeddings in this process.
    Local(LocalProvider),
}

impl Provider {
    /// What it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Http(http) => http.settings().dialect(),
            Self::Offline | Self::Local(_) => Dialect::OpenAiChat,
        }
    }

    /// Its name, the first half of `provider/model`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Http(http) => &http.settings().name,
            Self::Offline => offline::NAME,
            Self::Local(local) => local.name(),
        }
    }

    /// What to do with a call whose client left.
    #[must_use]
    pub fn on_disconnect(&self) -> OnDisconnect {
        match self {
            Self::Http(http) => http.settings().on_disconnect,
            Self::Offline | Self::Local(_) => OnDisconnect::Cancel,
        }
    }

    /// Who keeps its answers to a JSON Schema; `None` where it depends on the model.
    #[must_use]
    pub fn structured_output(&self) -> Option<StructuredOutput> {
        match self {
            Self::Http(http) => http.settings().structured_output,
            Self::Offline | Self::Local(_) => None,
        }
    }

    /// The error of an answer of this provider's that is none.
    #[must_use]
    pub fn fault(&self, fault: UpstreamFault) -> ProviderError {
        match self {
            Self::Http(http) => http.fault(fault),
            Self::Offline | Self::Local(_) => ProviderError::Fault { provider: self.name().to_owned(), fault },
        }
    }

    /// Calls the chat endpoint.
    ///
    /// # Errors
    /// When no answer begins.
    pub async fn chat(&self, call: ChatCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.chat(call).await,
            Self::Offline => offline::chat(&call),
            Self::Local(local) => Err(local.lacks("chats")),
        }
    }

    /// Asks how many tokens a request has.
    ///
    /// # Errors
    /// When it fails, or the provider does not count.
    pub async fn count_tokens(&self, call: CountCall<'_>) -> Result<Counted, ProviderError> {
        match self {
            Self::Http(http) => http.count_tokens(call).await,
            Self::Offline => offline::count_tokens(&call),
            Self::Local(local) => Err(local.lacks("count of tokens")),
        }
    }

    /// Calls the embeddings endpoint.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn embeddings(&self, call: EmbeddingsCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.embeddings(call).await,
            Self::Offline => offline::embeddings(&call.body),
            Self::Local(local) => local.embeddings(call.body).await,
        }
    }

    /// How long a call of a model may take.
    #[must_use]
    pub fn timeouts_for(&self, model: &str) -> Timeouts {
        match self {
            Self::Http(http) => http.settings().timeouts_for(model),
            Self::Offline | Self::Local(_) => Timeouts::default(),
        }
    }

    /// The key for the next call of a model: the one whose turn it is of those that are not put aside.
    #[must_use]
    pub fn choose_key(&self, model: &str, now: Instant) -> Option<KeyChoice> {
        match self {
            Self::Http(http) => Some(http.keys().choose(model, now)),
            Self::Offline | Self::Local(_) => None,
        }
    }

    /// How many of its keys a model may be called with now.
    #[must_use]
    pub fn free_keys(&self, model: &str, now: Instant) -> usize {
        match self {
            Self::Http(http) => http.keys().free(model, now),
            Self::Offline | Self::Local(_) => 1,
        }
    }

    /// How many keys it has, and how many of them are put aside.
    #[must_use]
    pub fn key_counts(&self, now: Instant) -> (usize, usize) {
        match self {
            Self::Http(http) if !http.settings().api_keys.is_empty() => (http.keys().count(), http.keys().aside(now)),
            Self::Http(_) | Self::Offline | Self::Local(_) => (0, 0),
        }
    }

    /// Puts a key aside, if the failure of a call with it says so. `wait` is how long the provider asks to wait.
    pub fn set_key_aside(
        &self,
        key: Option<KeyChoice>,
        model: &str,
        failure: FailureKind,
        wait: Option<Duration>,
        now: Instant,
    ) {
        if let (Self::Http(http), Some(key)) = (self, key) {
            http.keys().set_aside(key, model, failure, wait, now);
        }
    }

    /// A call with the key was answered: whatever was said of it before does not hold any more.
    pub fn take_key_back(&self, key: Option<KeyChoice>, model: &str) {
        if let (Self::Http(http), Some(key)) = (self, key) {
            http.keys().take_back(key, model);
        }
    }

    /// Calls the endpoint that judges how well texts fit a question, where the provider has one beside OpenAI's dialect.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn rerank(
        &self,
        model: &str,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.rerank(model, body, trace_parent).await,
            Self::Offline => Err(ProviderError::NotOffered { provider: offline::NAME.to_owned(), what: "reranking" }),
            Self::Local(local) => Err(local.lacks("reranking")),
        }
    }

    /// Passes a request as it is, where the provider speaks OpenAI's dialect.
    ///
    /// # Errors
    /// When it fails, or the provider has no such endpoint.
    pub async fn pass(&self, call: PassedCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.pass(call).await,
            Self::Offline => {
                Err(ProviderError::NotOffered { provider: offline::NAME.to_owned(), what: call.endpoint.what() })
            }
            Self::Local(local) => Err(local.lacks(call.endpoint.what())),
        }
    }

    /// Passes a text to speak or a recording, where the provider speaks OpenAI's dialect. Among the answer's headers is its content
    /// type.
    ///
    /// # Errors
    /// When it fails, or the provider has no such endpoint.
    pub async fn audio(&self, call: AudioCall<'_>) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.audio(call).await,
            Self::Offline => {
                Err(ProviderError::NotOffered { provider: offline::NAME.to_owned(), what: call.endpoint.what() })
            }
            Self::Local(local) => Err(local.lacks(call.endpoint.what())),
        }
    }

    /// The provider's models, by its own names.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn models(&self) -> Result<Vec<String>, ProviderError> {
        match self {
            Self::Http(http) => http.models().await,
            Self::Offline => Ok(offline::MODELS.iter().map(|&model| model.to_owned()).collect()),
            Self::Local(local) => Ok(vec![local.model().to_owned()]),
        }
    }
}
