//! Embeddings: route, call, translate. Nothing is recorded.

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::openai::embeddings::IncomingEmbeddings;
use privet_dialects::{Dialect, gemini};
use privet_providers::{ProviderError, UpstreamAnswer, UpstreamBody};

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
        let target = self.router.resolve(Some(&incoming.model))?;
        let is_gemini = target.provider.dialect() == Dialect::Gemini;
        let body = if is_gemini {
            gemini::embeddings::encode(incoming, &target.model)?
        } else {
            incoming.forward(&target.model)
        };
        let UpstreamAnswer { headers, body } = target.provider.embeddings(&target.model, body).await?;
        let fault = |fault| ProviderError::Fault { provider: target.provider.name().to_owned(), fault };
        let body = match body {
            UpstreamBody::Whole(body) if is_gemini => {
                gemini::embeddings::decode(&body, incoming, &target.model).map_err(fault)?
            }
            UpstreamBody::Whole(body) => body,
            UpstreamBody::Stream(_) => {
                let reason = "a stream in answer to an embeddings request".to_owned();
                return Err(fault(privet_dialects::UpstreamFault::Malformed(reason)).into());
            }
        };
        Ok(EmbeddingsReply { headers, body })
    }
}
