//! A provider of either kind.

use bytes::Bytes;
use privet_dialects::{Dialect, UpstreamFault};
use privet_domain::trace::TraceParent;

use crate::body::UpstreamAnswer;
use crate::error::ProviderError;
use crate::http_provider::HttpProvider;
use crate::offline;
use crate::settings::OnDisconnect;

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
}

/// A provider.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Over HTTP.
    Http(Box<HttpProvider>),
    /// Built in.
    Offline,
}

impl Provider {
    /// What it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Http(http) => http.settings().kind.dialect(),
            Self::Offline => Dialect::OpenAiChat,
        }
    }

    /// Its name, the first half of `provider/model`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Http(http) => &http.settings().name,
            Self::Offline => offline::NAME,
        }
    }

    /// What to do with a call whose client left.
    #[must_use]
    pub fn on_disconnect(&self) -> OnDisconnect {
        match self {
            Self::Http(http) => http.settings().on_disconnect,
            Self::Offline => OnDisconnect::Cancel,
        }
    }

    /// The error of an answer of this provider's that is none.
    #[must_use]
    pub fn fault(&self, fault: UpstreamFault) -> ProviderError {
        match self {
            Self::Http(http) => http.fault(fault),
            Self::Offline => ProviderError::Fault { provider: offline::NAME.to_owned(), fault },
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
        }
    }

    /// Calls the embeddings endpoint with a body in the provider's dialect, as a part of the client's trace if there is one.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn embeddings(
        &self,
        model: &str,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.embeddings(model, body, trace_parent).await,
            Self::Offline => offline::embeddings(&body),
        }
    }

    /// Calls the endpoint that judges how well texts fit a question, where the provider has one beside OpenAI's dialect.
    ///
    /// # Errors
    /// When it fails, or the provider has none.
    pub async fn rerank(
        &self,
        body: Bytes,
        trace_parent: Option<&TraceParent>,
    ) -> Result<UpstreamAnswer, ProviderError> {
        match self {
            Self::Http(http) => http.rerank(body, trace_parent).await,
            Self::Offline => Err(ProviderError::NotOffered { provider: offline::NAME.to_owned(), what: "reranking" }),
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
        }
    }
}
