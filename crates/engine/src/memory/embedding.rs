//! Vectors of texts. They are asked for as a client asks for embeddings: limits, ledger and traces hold for memory too.

use std::sync::Arc;

use privet_domain::id::RequestId;
use privet_domain::memory::embedder::{EmbedError, Purpose};
use privet_domain::memory::{BadEmbedding, Embedding};
use privet_domain::time::Timestamp;
use privet_providers::embedder::{EmbeddingModel, failure, read_batch, write_batch};
use privet_store::Embedder;

use super::{Memory, MemorySettings};
use crate::Engine;
use crate::admission::Refused;
use crate::completion::CompletionError;
use crate::embedding::EmbeddingsCommand;
use crate::keyring::Caller;
use crate::traces::RequestTrace;

/// Texts to embed, and who pays for it.
pub(super) struct ToEmbed<'a> {
    pub(super) caller: &'a Caller,
    pub(super) embedder: &'a Embedder,
    pub(super) purpose: Purpose,
    pub(super) texts: &'a [&'a str],
    pub(super) trace: RequestTrace,
}

impl Engine {
    /// The vectors of questions, in their order, by the embedder that recall uses. Many at once, as an evaluation asks.
    ///
    /// # Errors
    /// When the embedder fails, or none is active.
    pub async fn embed_questions(
        self: &Arc<Self>,
        memory: &Memory,
        caller: &Caller,
        questions: &[&str],
    ) -> Result<Vec<Embedding>, EmbedError> {
        let active = memory.active();
        let embedder = active.ok_or_else(|| EmbedError::SetUp { reason: "no embedder is active".to_owned() })?;
        let (purpose, trace) = (Purpose::Query, RequestTrace::default());
        let to_embed = ToEmbed { caller, embedder: &embedder, purpose, texts: questions, trace };
        let mut embeddings = Vec::with_capacity(questions.len());
        self.embed_texts(&memory.settings, to_embed, &mut embeddings).await?;
        Ok(embeddings)
    }

    /// Embeds one word with an embedder that is to be used: whether it answers, and with vectors of its dimensions.
    ///
    /// # Errors
    /// When it does not.
    pub async fn try_embedder(
        self: &Arc<Self>,
        memory: &Memory,
        caller: &Caller,
        embedder: &Embedder,
    ) -> Result<(), EmbedError> {
        let (purpose, trace) = (Purpose::Memory, RequestTrace::default());
        let to_embed = ToEmbed { caller, embedder, purpose, texts: &["privet"], trace };
        self.embed_texts(&memory.settings, to_embed, &mut Vec::new()).await
    }

    /// Adds the vectors of texts, in their order. Several calls, where one does not take all: when one fails, the vectors of those
    /// before it are there, for they are paid.
    pub(super) async fn embed_texts(
        self: &Arc<Self>,
        settings: &MemorySettings,
        to_embed: ToEmbed<'_>,
        embeddings: &mut Vec<Embedding>,
    ) -> Result<(), EmbedError> {
        let ToEmbed { caller, embedder, purpose, texts, trace } = to_embed;
        let prefix = settings.prefixes.of(purpose);
        let prepared: Vec<_> = texts.iter().map(|text| settings.limits.prepare(prefix, text)).collect();
        let model = EmbeddingModel {
            model: format!("{}/{}", embedder.provider, embedder.model),
            dimensions: embedder.dimensions,
            shortened: false,
        };
        // A question stands in the trace of its chat already; other texts stand in no trace.
        let traces_texts = trace.parent().is_some();
        for batch in settings.limits.batches(&prepared) {
            let batch: Vec<&str> = prepared.get(batch).unwrap_or_default().iter().map(AsRef::as_ref).collect();
            let refused = |reason: String| EmbedError::Refused { reason };
            let incoming = write_batch(&model, &batch).map_err(|error| refused(error.to_string()))?;
            let command = EmbeddingsCommand {
                caller: caller.clone(),
                request_id: RequestId::new(),
                incoming,
                trace: trace.clone(),
                traces_texts,
            };
            let reply = self.embed(command).await.map_err(|error| what_helps(&error, self.clock.now()))?;
            let embedded = read_batch(&reply.body, batch.len(), embedder.dimensions)?;
            for vector in embedded.vectors {
                let embedding = Embedding::new(&vector, embedder.dimensions);
                embeddings
                    .push(embedding.map_err(|error: BadEmbedding| EmbedError::SetUp { reason: error.to_string() })?);
            }
        }
        Ok(())
    }
}

fn what_helps(error: &CompletionError, now: Timestamp) -> EmbedError {
    let reason = error.to_string();
    match error {
        CompletionError::Provider(error) => failure(error, now),
        // Money comes back with the next window, tokens and places in a moment; what else refuses, somebody must change.
        CompletionError::Refused(
            Refused::Requests(_) | Refused::Tokens(_) | Refused::Crowded(_) | Refused::NoMoney(..),
        ) => EmbedError::RateLimited { retry_after: None, reason },
        CompletionError::Refused(_) => EmbedError::SetUp { reason },
        CompletionError::UnknownModel(_) | CompletionError::Unsupported(_) => EmbedError::SetUp { reason },
        CompletionError::BadRequest(_) => EmbedError::Refused { reason },
        _ => EmbedError::Transient { reason },
    }
}
