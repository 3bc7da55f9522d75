//! Embeddings: route, admit, call, translate, settle. The money is recorded, and a trace of the texts; the vectors are not.
//!
//! Another target stands in only where it has the same model: vectors of two models have nothing to do with each other.

mod attempts;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::openai::embeddings::{self, IncomingEmbeddings};
use privet_dialects::openai::error::reported;
use privet_dialects::{Dialect, UpstreamFault, gemini};
use privet_domain::id::RequestId;
use privet_domain::trace::TraceParent;
use privet_providers::{Deadline, EmbeddingsCall, UpstreamAnswer, UpstreamBody};
use privet_store::Outcome;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::completion::CompletionError;
use crate::course::Attempt;
use crate::keyring::Caller;
use crate::owned::Owned;
use crate::plain_call;
use crate::settlement::{TokensUsed, Used};
use crate::traces::RequestTrace;
use attempts::Journey;

/// An answer in OpenAI's shape.
pub struct EmbeddingsReply {
    /// The provider's headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Texts to embed.
pub struct EmbeddingsCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs and the ledger.
    pub request_id: RequestId,
    /// The request, in OpenAI's dialect.
    pub incoming: IncomingEmbeddings,
    /// Where the request stands in its client's trace, and where its own is told.
    pub trace: RequestTrace,
    /// Whether the trace holds the texts. What is remembered is kept in one place, from which it can be erased.
    pub traces_texts: bool,
}

impl Engine {
    /// Embeds texts with the provider of the request's model.
    ///
    /// Dropping the future cancels the call at the provider; what it may have used is charged.
    ///
    /// # Errors
    /// When the model is unknown, its provider has no embeddings, a limit refuses, or the call fails.
    pub async fn embed(self: &Arc<Self>, command: EmbeddingsCommand) -> Result<EmbeddingsReply, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let left = CancellationToken::new();
        Owned::new(run(self.clone(), command, left.clone()), left, self.calls.clone()).await
    }
}

/// `left` is cancelled when nobody waits for the reply any more.
async fn run(
    engine: Arc<Engine>,
    command: EmbeddingsCommand,
    left: CancellationToken,
) -> Result<EmbeddingsReply, CompletionError> {
    let route = engine.router.resolve(Some(&command.incoming.model))?;
    let (course, began) = (engine.course_of_embeddings(&route), engine.clock.now());
    let (command, left) = (&command, &left);
    let journey = Journey { engine: &engine, command, left, course, began, trace: None, stoppable: None };
    Box::pin(journey.run()).await
}

async fn call_embedder(
    command: &EmbeddingsCommand,
    Attempt { target, key, .. }: &Attempt,
    trace_parent: Option<TraceParent>,
    deadline: Deadline,
) -> Result<EmbeddingsReply, CompletionError> {
    let incoming = &command.incoming;
    let is_gemini = target.provider.dialect() == Dialect::Gemini;
    let body =
        if is_gemini { gemini::embeddings::encode(incoming, &target.model)? } else { incoming.forward(&target.model) };
    let call = EmbeddingsCall { model: &target.model, body, trace_parent, key: *key, deadline: Some(deadline) };
    let UpstreamAnswer { headers, body } = target.provider.embeddings(call).await?;
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

/// How much a call has used.
fn used(called: &Result<&EmbeddingsReply, &CompletionError>) -> Used {
    let counted =
        |reply: &EmbeddingsReply| embeddings::usage(&reply.body).map_or(TokensUsed::Bytes(0), TokensUsed::Reported);
    plain_call::used(called.map(counted))
}

const fn nothing_used() -> Used {
    Used { outcome: Outcome::Failed, tokens: TokensUsed::Nothing, tier: None }
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
