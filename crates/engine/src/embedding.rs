//! Embeddings: route, call, translate. Nothing is recorded.

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_dialects::openai::error::reported;
use privet_dialects::{Dialect, UpstreamFault, gemini};
use privet_providers::{UpstreamAnswer, UpstreamBody};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::Engine;
use crate::completion::CompletionError;

/// An answer in OpenAI's shape.
pub struct EmbeddingsReply {
    /// The provider's headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Engine {
    /// Embeds texts with the provider of the request's model.
    ///
    /// # Errors
    /// When the model is unknown, its provider has no embeddings, or the call fails.
    pub async fn embed(&self, incoming: &IncomingEmbeddings) -> Result<EmbeddingsReply, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let call = self.calls.track_future(self.call_embedder(incoming));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(CompletionError::ShuttingDown),
            reply = call => reply,
        }
    }

    async fn call_embedder(&self, incoming: &IncomingEmbeddings) -> Result<EmbeddingsReply, CompletionError> {
        let target = self.router.resolve(Some(&incoming.model))?;
        let is_gemini = target.provider.dialect() == Dialect::Gemini;
        let body = if is_gemini {
            gemini::embeddings::encode(incoming, &target.model)?
        } else {
            incoming.forward(&target.model)
        };
        let UpstreamAnswer { headers, body } = target.provider.embeddings(&target.model, body).await?;
        let fault = |fault| target.provider.fault(fault);
        let body = match body {
            UpstreamBody::Whole(body) if is_gemini => {
                gemini::embeddings::decode(&body, incoming, &target.model).map_err(fault)?
            }
            UpstreamBody::Whole(body) => check(&body).map(|()| body).map_err(fault)?,
            UpstreamBody::Stream(_) => {
                let reason = "a stream in answer to an embeddings request".to_owned();
                return Err(fault(UpstreamFault::Malformed(reason)).into());
            }
        };
        Ok(EmbeddingsReply { headers, body })
    }
}

/// A body that passes as it is must at least be a list of vectors, and none of the errors that some servers put in a 200.
fn check(body: &[u8]) -> Result<(), UpstreamFault> {
    let malformed = |reason: String| UpstreamFault::Malformed(reason);
    let text = std::str::from_utf8(body).map_err(|error| malformed(error.to_string()))?;
    let List { data, error } = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if data.is_some() && error.is_none() {
        return Ok(());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    match reported(&value) {
        Some((status, error)) => {
            Err(UpstreamFault::Reported { status, kind: error.kind.unwrap_or_default(), message: error.message })
        }
        None => Err(malformed("there is no `data`".to_owned())),
    }
}

/// The head of an embeddings answer; the vectors stay unread.
#[derive(Deserialize)]
struct List {
    data: Option<Vec<IgnoredAny>>,
    error: Option<IgnoredAny>,
}
