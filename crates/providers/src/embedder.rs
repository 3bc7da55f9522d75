//! The embedder over a provider: one batch of texts, one call, checked vectors.
//!
//! The parts are apart, so that who meters the call can use them around a call of their own: [`write_batch`], [`read_batch`] and
//! [`failure`] are pure. Batching and retrying are the caller's.

use std::time::Duration;

use bytes::Bytes;
use privet_dialects::openai::embeddings::{self, IncomingEmbeddings};
use privet_dialects::{BadRequest, Dialect, UpstreamFault, gemini};
use privet_domain::memory::embedder::{
    EmbedError, EmbedFuture, EmbedLimits, Embedded, Embedder, VectorFault, check_vectors,
};
use privet_domain::time::{Clock, Timestamp};

use crate::body::{UpstreamAnswer, UpstreamBody};
use crate::error::ProviderError;
use crate::provider::{EmbeddingsCall, Provider};

/// Which vectors are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingModel {
    /// The provider's own name of the model.
    pub model: String,
    /// The length of the vectors.
    pub dimensions: usize,
    /// Whether the model is asked to shorten its vectors to that length. Otherwise it is what the model gives by itself.
    pub shortened: bool,
}

impl EmbeddingModel {
    fn asked_dimensions(&self) -> Option<u32> {
        self.shortened.then(|| u32::try_from(self.dimensions).ok()).flatten()
    }
}

/// A request for a batch of texts in OpenAI's dialect, as the engine takes it from clients.
///
/// # Errors
/// When there are no texts.
pub fn write_batch(model: &EmbeddingModel, texts: &[&str]) -> Result<IncomingEmbeddings, BadRequest> {
    IncomingEmbeddings::parse(embeddings::write_request(&model.model, texts, model.asked_dimensions()))
}

/// The vectors of an answer in OpenAI's dialect.
///
/// # Errors
/// When it does not hold one good vector for each text.
pub fn read_batch(body: &[u8], texts: usize, dimensions: usize) -> Result<Embedded, EmbedError> {
    let vectors = embeddings::read_vectors(body, texts).map_err(|fault| failure_of_fault(&fault))?;
    check_vectors(&vectors, dimensions).map_err(|(_, fault)| match fault {
        VectorFault::Dimensions { .. } => EmbedError::SetUp { reason: fault.to_string() },
        // Seen of servers that run out of memory, and of texts that break a model.
        VectorFault::NotFinite | VectorFault::Zero if texts > 1 => EmbedError::Refused { reason: fault.to_string() },
        VectorFault::NotFinite | VectorFault::Zero => EmbedError::Transient { reason: fault.to_string() },
    })?;
    let tokens = embeddings::usage(body).map(|usage| usage.input);
    Ok(Embedded { vectors, tokens })
}

/// What helps against a failed call.
#[must_use]
pub fn failure(error: &ProviderError, now: Timestamp) -> EmbedError {
    let reason = error.to_string();
    match error {
        ProviderError::Connect { .. } | ProviderError::Timeout { .. } => EmbedError::Transient { reason },
        ProviderError::NotOffered { .. } => EmbedError::SetUp { reason },
        ProviderError::Fault { fault, .. } => failure_of_fault(fault),
        ProviderError::Status { .. } if error.is_out_of_money() => EmbedError::SetUp { reason },
        ProviderError::Status { status, .. } => by_status(*status, reason, error.retry_after(now)),
    }
}

fn failure_of_fault(fault: &UpstreamFault) -> EmbedError {
    let reason = fault.to_string();
    match fault {
        UpstreamFault::Reported { status: Some(status), .. } => by_status(*status, reason, None),
        UpstreamFault::Reported { status: None, .. } | UpstreamFault::Malformed(_) | UpstreamFault::Cut => {
            EmbedError::Transient { reason }
        }
    }
}

fn by_status(status: u16, reason: String, retry_after: Option<Duration>) -> EmbedError {
    match status {
        429 => EmbedError::RateLimited { retry_after, reason },
        // Overloaded, and it says for how long.
        503 | 529 if retry_after.is_some() => EmbedError::RateLimited { retry_after, reason },
        401..=407 => EmbedError::SetUp { reason },
        408 | 409 | 425 | 500.. => EmbedError::Transient { reason },
        _ => EmbedError::Refused { reason },
    }
}

/// Calls a provider and nothing else: no limit is asked and nothing is metered. For a check of a configuration; the engine calls
/// through its own admission.
pub struct ProviderEmbedder<C> {
    provider: Provider,
    model: EmbeddingModel,
    limits: EmbedLimits,
    clock: C,
}

impl<C: Clock> ProviderEmbedder<C> {
    /// Over a provider.
    #[must_use]
    pub const fn new(provider: Provider, model: EmbeddingModel, limits: EmbedLimits, clock: C) -> Self {
        Self { provider, model, limits, clock }
    }

    async fn call(&self, texts: &[&str]) -> Result<Embedded, EmbedError> {
        let refused = |reason: String| EmbedError::Refused { reason };
        if texts.is_empty() {
            return Ok(Embedded { vectors: Vec::new(), tokens: Some(0) });
        }
        let incoming = write_batch(&self.model, texts).map_err(|error| refused(error.to_string()))?;
        let model = &self.model.model;
        let is_gemini = self.provider.dialect() == Dialect::Gemini;
        let body: Bytes = if is_gemini {
            gemini::embeddings::encode(&incoming, model).map_err(|error| refused(error.to_string()))?
        } else {
            incoming.forward(model)
        };
        let call = EmbeddingsCall { model, body, trace_parent: None, key: None, deadline: None };
        let called = self.provider.embeddings(call).await;
        let UpstreamAnswer { body, .. } = called.map_err(|error| failure(&error, self.clock.now()))?;
        match body {
            UpstreamBody::Whole(body) if is_gemini => {
                let body =
                    gemini::embeddings::decode(&body, &incoming, model).map_err(|fault| failure_of_fault(&fault))?;
                read_batch(&body, texts.len(), self.model.dimensions)
            }
            UpstreamBody::Whole(body) => read_batch(&body, texts.len(), self.model.dimensions),
            UpstreamBody::Stream(_) => {
                Err(EmbedError::Transient { reason: "a stream in answer to an embeddings request".to_owned() })
            }
        }
    }
}

impl<C: Clock> Embedder for ProviderEmbedder<C> {
    fn dimensions(&self) -> usize {
        self.model.dimensions
    }

    fn limits(&self) -> EmbedLimits {
        self.limits
    }

    fn embed<'a>(&'a self, texts: &'a [&'a str]) -> EmbedFuture<'a> {
        Box::pin(self.call(texts))
    }
}

#[cfg(test)]
mod tests {
    use privet_domain::time::SystemClock;
    use privet_testkit::upstream::{Behaviour, MockUpstream};

    use super::*;
    use crate::http_provider::{HttpClients, HttpProvider};
    use crate::settings::{OnDisconnect, ProviderKind, ProviderSettings, Timeouts};

    fn embedder(kind: ProviderKind, base_url: String, model: EmbeddingModel) -> ProviderEmbedder<SystemClock> {
        let settings = ProviderSettings {
            name: "mock".to_owned(),
            kind,
            folder: None,
            base_url,
            api_keys: Vec::new(),
            timeouts: Timeouts::default(),
            model_timeouts: Vec::new(),
            on_disconnect: OnDisconnect::Cancel,
            max_tokens_field: None,
            structured_output: None,
            api: crate::settings::OpenAiApi::Chat,
            images_by_url: None,
        };
        let provider = HttpProvider::new(settings, &mut HttpClients::default()).unwrap();
        let provider = Provider::Http(Box::new(provider));
        ProviderEmbedder::new(provider, model, EmbedLimits::default(), SystemClock)
    }

    fn small(dimensions: usize) -> EmbeddingModel {
        EmbeddingModel { model: "tiny-embedder".to_owned(), dimensions, shortened: false }
    }

    fn openai(mock: &MockUpstream, dimensions: usize) -> ProviderEmbedder<SystemClock> {
        embedder(ProviderKind::OpenAi, format!("{}/v1", mock.base_url()), small(dimensions))
    }

    #[tokio::test]
    async fn texts_are_embedded_by_providers_of_both_dialects() {
        let mock = MockUpstream::start().await;
        let gemini_model = EmbeddingModel { model: "gemini-embedding-001".to_owned(), dimensions: 16, shortened: true };
        for embedder in [openai(&mock, 8), embedder(ProviderKind::Gemini, mock.base_url(), gemini_model)] {
            let Embedded { vectors, tokens } = embedder.embed(&["my cat", "the sky", "my cat"]).await.unwrap();
            assert_eq!(vectors.len(), 3);
            assert!(vectors.iter().all(|vector| vector.len() == embedder.dimensions()));
            assert!(vectors[0] == vectors[2] && vectors[0] != vectors[1]);
            assert!(tokens.is_some_and(|tokens| tokens > 0));
        }
        assert_eq!(mock.stats().calls, 2);
    }

    #[tokio::test]
    async fn no_texts_are_no_call() {
        let mock = MockUpstream::start().await;
        assert_eq!(openai(&mock, 8).embed(&[]).await.unwrap().vectors, Vec::<Vec<f32>>::new());
        assert_eq!(mock.stats().calls, 0);
    }

    #[tokio::test]
    async fn vectors_of_another_length_are_refused() {
        let mock = MockUpstream::start().await;
        let error = openai(&mock, 9).embed(&["text"]).await.unwrap_err();
        assert!(matches!(&error, EmbedError::SetUp { reason } if reason.contains("8 dimensions")), "{error}");
    }

    #[tokio::test]
    async fn failures_are_told_apart_by_what_helps() {
        let mock = MockUpstream::start().await;
        let embedder = openai(&mock, 8);
        let failed = async |behaviour: Behaviour| {
            mock.script_once(behaviour);
            embedder.embed(&["text"]).await.unwrap_err()
        };
        let limited = failed(Behaviour::error(429).header("retry-after", "7")).await;
        assert!(
            matches!(limited, EmbedError::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 7),
            "{limited}"
        );
        assert!(limited.passes());
        let out_of_money = failed(Behaviour::error(429).error_code("insufficient_quota")).await;
        assert!(matches!(out_of_money, EmbedError::SetUp { .. }), "{out_of_money}");
        assert!(matches!(failed(Behaviour::error(400)).await, EmbedError::Refused { .. }));
        assert!(matches!(failed(Behaviour::error(401)).await, EmbedError::SetUp { .. }));
        assert!(matches!(failed(Behaviour::error(404)).await, EmbedError::SetUp { .. }));
        assert!(matches!(failed(Behaviour::error(500)).await, EmbedError::Transient { .. }));
        assert!(matches!(failed(Behaviour::new().raw_body("<html>")).await, EmbedError::Transient { .. }));
        let inside = "{\"error\":{\"message\":\"too long\",\"code\":413}}";
        assert!(matches!(failed(Behaviour::new().raw_body(inside)).await, EmbedError::Refused { .. }));
    }

    #[tokio::test]
    async fn a_provider_that_is_not_there_may_come_back() {
        let mock = MockUpstream::start().await;
        let gone = openai(&mock, 8);
        drop(mock);
        assert!(matches!(gone.embed(&["text"]).await, Err(EmbedError::Transient { .. })));
        let anthropic = embedder(ProviderKind::Anthropic, "http://127.0.0.1:9".to_owned(), small(8));
        assert!(matches!(anthropic.embed(&["text"]).await, Err(EmbedError::SetUp { .. })));
    }

    #[test]
    fn vectors_that_point_nowhere_are_no_vectors() {
        let body = |vectors: &str| format!("{{\"data\":[{vectors}]}}");
        let zero = body("{\"embedding\":[0,0]}");
        assert!(matches!(read_batch(zero.as_bytes(), 1, 2), Err(EmbedError::Transient { .. })));
        let one_of_two = body("{\"embedding\":[1,0]},{\"embedding\":[0,0]}");
        assert!(matches!(read_batch(one_of_two.as_bytes(), 2, 2), Err(EmbedError::Refused { .. })));
        let infinite = body("{\"embedding\":\"AACAfwAAgH8=\"}");
        assert!(matches!(read_batch(infinite.as_bytes(), 1, 2), Err(EmbedError::Transient { .. })));
    }

    #[test]
    fn a_batch_is_written_as_clients_write_it() {
        let model = EmbeddingModel { model: "openai/m".to_owned(), dimensions: 256, shortened: true };
        let incoming = write_batch(&model, &["a", "b"]).unwrap();
        assert_eq!(incoming.forward("m"), "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":256}");
        assert!(write_batch(&model, &[]).is_err());
    }
}
