//! A small model of embeddings in this process, as a provider: it is asked in OpenAI's dialect and costs nothing. It has nothing else.
//! A build without the feature `local-embedder` knows of it, and says so where one is configured.

use std::path::Path;

use bytes::Bytes;

use crate::body::UpstreamAnswer;
use crate::error::ProviderError;
#[cfg(feature = "local-embedder")]
use crate::local_embedder::LocalEmbedder;

/// A model in a folder, as a provider.
#[derive(Clone)]
pub struct LocalProvider {
    name: String,
    /// What the folder is called.
    model: String,
    #[cfg(feature = "local-embedder")]
    embedder: std::sync::Arc<LocalEmbedder>,
    #[cfg(not(feature = "local-embedder"))]
    embedder: std::convert::Infallible,
}

impl std::fmt::Debug for LocalProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalProvider").field("name", &self.name).field("model", &self.model).finish_non_exhaustive()
    }
}

/// Why a folder is no provider.
#[derive(Debug, thiserror::Error)]
pub enum LocalSetupError {
    /// The model cannot be loaded.
    #[cfg(feature = "local-embedder")]
    #[error(transparent)]
    Model(#[from] crate::local_embedder::LocalModelError),
    /// This build loads none.
    #[cfg(not(feature = "local-embedder"))]
    #[error(
        "this build loads no models of its own: build it with `cargo build --release -p privet-server --features local-embedder`"
    )]
    NotBuilt,
}

impl LocalProvider {
    /// Loads the model of a folder. It takes seconds and blocks.
    ///
    /// # Errors
    /// When it is none, or this build loads none.
    pub fn load(name: &str, folder: &Path) -> Result<Self, LocalSetupError> {
        #[cfg(feature = "local-embedder")]
        {
            let model = folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
            let embedder = std::sync::Arc::new(LocalEmbedder::load(folder)?);
            Ok(Self { name: name.to_owned(), model: model.into_owned(), embedder })
        }
        #[cfg(not(feature = "local-embedder"))]
        {
            let _ = (name, folder);
            Err(LocalSetupError::NotBuilt)
        }
    }

    /// Its name, the first half of `provider/model`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its model. It answers to any: a folder holds one.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What it does not do.
    pub(crate) fn lacks(&self, what: &'static str) -> ProviderError {
        ProviderError::NotOffered { provider: self.name.clone(), what }
    }

    /// Embeds the texts of a request in OpenAI's dialect.
    ///
    /// # Errors
    /// When the request is wrong, or the model fails.
    #[cfg(feature = "local-embedder")]
    pub(crate) async fn embeddings(&self, body: Bytes) -> Result<UpstreamAnswer, ProviderError> {
        use http::HeaderMap;
        use privet_dialects::UpstreamFault;
        use privet_dialects::openai::embeddings::{IncomingEmbeddings, encode_response};
        use privet_domain::memory::embedder::{EmbedLimits, Embedder as _};
        use privet_domain::memory::pack::estimate_tokens;

        use crate::body::UpstreamBody;

        let refused = |message: String| ProviderError::Fault {
            provider: self.name.clone(),
            fault: UpstreamFault::Reported { status: Some(400), kind: "invalid_request_error".to_owned(), message },
        };
        let request = IncomingEmbeddings::parse(body).map_err(|error| refused(error.to_string()))?;
        let texts = request.texts.ok_or_else(|| refused("it embeds texts, and no tokens".to_owned()))?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let EmbedLimits { texts_max, .. } = self.embedder.limits();
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(texts_max) {
            let embedded = self.embedder.embed(batch).await.map_err(|error| ProviderError::Fault {
                provider: self.name.clone(),
                fault: UpstreamFault::Reported {
                    status: Some(500),
                    kind: "server_error".to_owned(),
                    message: error.to_string(),
                },
            })?;
            vectors.extend(embedded.vectors);
        }
        let tokens = texts.iter().map(|text| estimate_tokens(text) as u64).sum();
        let body = encode_response(&self.model, &vectors, request.base64, tokens);
        Ok(UpstreamAnswer { headers: HeaderMap::new(), body: UpstreamBody::Whole(body) })
    }

    /// There is no such provider in this build.
    #[cfg(not(feature = "local-embedder"))]
    #[expect(clippy::unused_async, reason = "as with a model")]
    pub(crate) async fn embeddings(&self, _body: Bytes) -> Result<UpstreamAnswer, ProviderError> {
        match self.embedder {}
    }
}
