//! What comes back from a provider: a whole body, or a stream of bytes under its time limits.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use tokio::time::{Instant, timeout_at};

use crate::error::{ProviderError, TimeoutStage};

/// A provider's answer with status 200.
#[derive(Debug)]
pub struct UpstreamAnswer {
    /// Its headers that concern the client (`x-ratelimit-*`).
    pub headers: HeaderMap,
    /// Its body, in the provider's dialect.
    pub body: UpstreamBody,
}

/// The body of an answer.
#[derive(Debug)]
pub enum UpstreamBody {
    /// All of it.
    Whole(Bytes),
    /// Server-sent events, as they come.
    Stream(ByteStream),
}

/// A stream of bytes. Dropping it cancels the call at the provider.
#[derive(Debug)]
pub struct ByteStream {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Http(Box<HttpSource>),
    Memory(VecDeque<Bytes>),
}

#[derive(Debug)]
struct HttpSource {
    response: reqwest::Response,
    limits: Limits,
}

/// The time limits of a call under way.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) provider: String,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
    pub(crate) deadline: Instant,
}

impl ByteStream {
    pub(crate) fn http(response: reqwest::Response, limits: Limits) -> Self {
        Self { source: Source::Http(Box::new(HttpSource { response, limits })) }
    }

    pub(crate) fn memory(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self { source: Source::Memory(pieces.into_iter().collect()) }
    }

    /// The next bytes; `None` at the end. Cancel-safe: a piece is lost only with the stream.
    ///
    /// # Errors
    /// When the provider cuts the stream or a time limit passes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        match &mut self.source {
            Source::Memory(pieces) => Ok(pieces.pop_front()),
            Source::Http(http) => next_chunk(&mut http.response, &http.limits).await,
        }
    }
}

/// Reads a whole body, at most `bytes_max`.
pub(crate) async fn read_whole(
    mut response: reqwest::Response,
    limits: &Limits,
    bytes_max: usize,
) -> Result<Bytes, ProviderError> {
    let mut body = match next_chunk(&mut response, limits).await? {
        Some(first) => first,
        None => return Ok(Bytes::new()),
    };
    let mut joined: Option<Vec<u8>> = None;
    while let Some(more) = next_chunk(&mut response, limits).await? {
        let whole = joined.get_or_insert_with(|| std::mem::take(&mut body).to_vec());
        if whole.len().saturating_add(more.len()) > bytes_max {
            let fault = UpstreamFault::Malformed(format!("its answer is longer than {bytes_max} bytes"));
            return Err(ProviderError::Fault { provider: limits.provider.clone(), fault });
        }
        whole.extend_from_slice(&more);
    }
    Ok(joined.map_or(body, Bytes::from))
}

async fn next_chunk(response: &mut reqwest::Response, limits: &Limits) -> Result<Option<Bytes>, ProviderError> {
    let idle_until = Instant::now() + limits.idle;
    let until = idle_until.min(limits.deadline);
    match timeout_at(until, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(_)) => Err(ProviderError::Fault { provider: limits.provider.clone(), fault: UpstreamFault::Cut }),
        Err(_) => {
            let (stage, after) = if limits.deadline <= idle_until {
                (TimeoutStage::Total, limits.total)
            } else {
                (TimeoutStage::Idle, limits.idle)
            };
            Err(ProviderError::Timeout { provider: limits.provider.clone(), stage, after })
        }
    }
}
