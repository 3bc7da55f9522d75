//! Reranking: a model judges how well each of some texts fits a question. Admitted and settled as embeddings are; its trace says that
//! it was called, and holds no texts. It is asked once: who waits for it would rather go on without it than wait for another try.

use std::sync::Arc;
use std::time::Duration;

use privet_dialects::UpstreamFault;
use privet_dialects::openai::rerank::{self, RerankRequest};
use privet_domain::id::RequestId;
use privet_providers::UpstreamBody;
use privet_store::CallKind;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::admission::{Applicant, CallOrder, OutputWish};
use crate::completion::CompletionError;
use crate::keyring::Caller;
use crate::owned::Owned;
use crate::plain_call;
use crate::router::Target;
use crate::settlement::TokensUsed;
use crate::traces::{CallTrace, Ended, RequestTrace};

/// Texts to judge.
pub struct RerankCommand {
    /// Who asks, and pays.
    pub caller: Caller,
    /// The id of the request, for the logs and the ledger.
    pub request_id: RequestId,
    /// The model, as a client would name it.
    pub model: String,
    /// What is asked.
    pub query: String,
    /// The texts.
    pub documents: Vec<String>,
    /// Where the call stands in a trace.
    pub trace: RequestTrace,
}

/// Scores of texts, and what was counted.
struct Judged {
    scores: Vec<Option<f64>>,
    tokens: TokensUsed,
}

impl Engine {
    /// How well each text fits, in their order, greater is better; `None` where the model does not say.
    ///
    /// Dropping the future cancels the call at the provider; what it may have used is charged.
    ///
    /// # Errors
    /// When the model is unknown, its provider does not rerank, a limit refuses, or the call fails.
    pub async fn rerank(self: &Arc<Self>, command: RerankCommand) -> Result<Vec<Option<f64>>, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let left = CancellationToken::new();
        Owned::new(run(self.clone(), command, left.clone()), left, self.calls.clone()).await
    }
}

/// `left` is cancelled when nobody waits for the scores any more.
async fn run(
    engine: Arc<Engine>,
    command: RerankCommand,
    left: CancellationToken,
) -> Result<Vec<Option<f64>>, CompletionError> {
    let route = engine.router.resolve(Some(&command.model))?;
    let target = route.first();
    let began = engine.clock.now();
    let documents: Vec<&str> = command.documents.iter().map(String::as_str).collect();
    let request = RerankRequest { query: &command.query, documents: &documents };
    let applicant = Applicant {
        caller: &command.caller,
        call_id: command.request_id,
        kind: CallKind::Rerank,
        asked_model: Some(&command.model),
        target,
        size: request.size(),
        output: OutputWish::None,
        tier: None,
        sets_tier: false,
        unbounded: None,
        order: CallOrder { inherits: None, patience: Duration::ZERO },
    };
    let call = engine.begin_plain(&applicant).await?;
    let trace = engine.traces.requests.then(|| CallTrace::of_rerank(&command, target, began));
    let stopped = call.terms.stoppable.stop.clone();
    let called = tokio::select! {
        biased;
        () = left.cancelled() => Err(CompletionError::ClientLeft),
        () = engine.stop.cancelled() => Err(CompletionError::ShuttingDown),
        () = stopped.cancelled() => Err(CompletionError::Stopped),
        called = judge(&command, &request, target, trace.as_ref()) => called,
    };
    let used = plain_call::used(called.as_ref().map(|judged| judged.tokens));
    let ended = match &called {
        Ok(_) => Ended::Unseen,
        Err(error) => Ended::without_answer(error),
    };
    engine.settle(call, used, None, trace.map(|trace| (trace, ended))).await?;
    called.map(|judged| judged.scores)
}

async fn judge(
    command: &RerankCommand,
    request: &RerankRequest<'_>,
    target: &Target,
    trace: Option<&CallTrace>,
) -> Result<Judged, CompletionError> {
    let parent = CallTrace::parent_of_call(trace, &command.trace);
    let answer = target.provider.rerank(&target.model, request.encode(&target.model), parent.as_ref()).await?;
    let fault = |fault| target.provider.fault(fault);
    match answer.body {
        UpstreamBody::Whole(body) => {
            let scores = rerank::read_scores(&body, request.documents.len()).map_err(fault)?;
            let tokens = rerank::usage(&body).map_or(TokensUsed::Bytes(0), TokensUsed::Reported);
            Ok(Judged { scores, tokens })
        }
        UpstreamBody::Stream(_) => {
            let reason = "a stream in answer to a rerank request".to_owned();
            Err(fault(UpstreamFault::Malformed(reason)).into())
        }
    }
}
