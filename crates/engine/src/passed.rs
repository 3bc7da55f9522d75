//! Calls whose request and answer pass as they are: pictures and moderations. Admitted and settled as embeddings are, with the most
//! that they can cost held before. The trace has the words that were asked, and no picture.
//!
//! They are asked once, of the first model of their name: a picture is too dear to be made twice unseen.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use privet_dialects::UpstreamFault;
use privet_dialects::canonical::Usage;
use privet_dialects::openai::passed::{Endpoint, IncomingPassed};
use privet_domain::id::RequestId;
use privet_providers::{PassedCall, UpstreamBody};
use privet_store::CallKind;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::admission::{Applicant, CallOrder, OutputWish};
use crate::completion::CompletionError;
use crate::keyring::Caller;
use crate::owned::Owned;
use crate::plain_call;
use crate::router::Target;
use crate::settlement::{TokensUsed, Used};
use crate::traces::{CallTrace, Ended, RequestTrace, WayTold};

/// More tokens than a picture has in any documentation, where the price book does not say: the dearest of `gpt-image-1` has 6,240
/// (<https://platform.openai.com/docs/guides/image-generation#cost-and-latency>).
const PICTURE_TOKENS_MAX: u64 = 50_000;
/// What the price book is asked for where the request leaves quality or size to the provider: any of its tiers may hold.
const ANY_GRADE: &str = "auto";

/// A request that passes as it is.
pub struct PassedCommand {
    /// Who asks.
    pub caller: Caller,
    /// The id of the request, for the logs and the ledger.
    pub request_id: RequestId,
    /// The request.
    pub incoming: IncomingPassed,
    /// Where the request stands in its client's trace, and where its own is told.
    pub trace: RequestTrace,
}

/// An answer as the provider wrote it.
pub struct PassedReply {
    /// The provider's headers that concern the client.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The tokens that it says.
    usage: Option<Usage>,
}

impl Engine {
    /// Passes a request to the provider of its model.
    ///
    /// Dropping the future cancels the call at the provider; what it may have used is charged.
    ///
    /// # Errors
    /// When the model is unknown, its provider has no such endpoint, a limit refuses, or the call fails.
    pub async fn pass(self: &Arc<Self>, command: PassedCommand) -> Result<PassedReply, CompletionError> {
        if self.calls.is_closed() {
            return Err(CompletionError::ShuttingDown);
        }
        let left = CancellationToken::new();
        Owned::new(run(self.clone(), command, left.clone()), left, self.calls.clone()).await
    }

    /// The service tier of pictures: by quality and size, where the model's row in the price book has prices by them.
    fn grade_of(&self, incoming: &IncomingPassed, target: &Target) -> Option<String> {
        let price = self.prices.find(target.provider.name(), &target.model, self.clock.now())?;
        if incoming.endpoint != Endpoint::Images || price.tiers.is_empty() {
            return None;
        }
        let named = incoming.grade.clone().filter(|grade| price.tiers.contains_key(grade));
        Some(named.unwrap_or_else(|| ANY_GRADE.to_owned()))
    }
}

/// `left` is cancelled when nobody waits for the answer any more.
async fn run(
    engine: Arc<Engine>,
    command: PassedCommand,
    left: CancellationToken,
) -> Result<PassedReply, CompletionError> {
    let incoming = &command.incoming;
    let route = engine.router.resolve(Some(&incoming.model))?;
    let target = route.first();
    let began = engine.clock.now();
    let grade = engine.grade_of(incoming, target);
    let applicant = Applicant {
        caller: &command.caller,
        call_id: command.request_id,
        kind: kind_of(incoming.endpoint),
        asked_model: Some(&incoming.model),
        target,
        size: incoming.size(),
        output: match incoming.endpoint {
            Endpoint::Images => {
                OutputWish::Answers { count: incoming.pictures, limit: Some(PICTURE_TOKENS_MAX), sets_default: false }
            }
            Endpoint::Moderations => OutputWish::None,
        },
        tier: grade.as_deref(),
        sets_tier: false,
        unbounded: incoming.unbounded_field(),
        order: CallOrder { inherits: None, patience: Duration::ZERO },
    };
    let call = match engine.begin_plain(&applicant).await {
        Ok(call) => call,
        Err(error) => {
            if let CompletionError::Refused(refused) = &error {
                engine.note_refusal(&command.caller, command.request_id, Some(&incoming.model), refused);
            }
            engine.trace_refusal(&error, || CallTrace::of_passed(&command, target, began)).await;
            return Err(error);
        }
    };
    let trace = engine.traces.requests.then(|| CallTrace::of_passed(&command, target, began));
    let stopped = call.terms.stoppable.stop.clone();
    let called = tokio::select! {
        biased;
        () = left.cancelled() => Err(CompletionError::ClientLeft),
        () = engine.stop.cancelled() => Err(CompletionError::ShuttingDown),
        () = stopped.cancelled() => Err(CompletionError::Stopped),
        called = ask(&command, target, trace.as_ref()) => called,
    };
    let ended = match &called {
        Ok(_) => Ended::Unseen,
        Err(error) => Ended::without_answer(error),
    };
    let answered_by = called.is_ok().then(|| (target.provider.name().to_owned(), target.model.clone()));
    command.trace.tell_way(WayTold { answered_by, ..WayTold::default() });
    engine.settle(call, used(&called), None, trace.map(|trace| (trace, ended))).await?;
    called
}

async fn ask(
    command: &PassedCommand,
    target: &Target,
    trace: Option<&CallTrace>,
) -> Result<PassedReply, CompletionError> {
    let incoming = &command.incoming;
    let parent = CallTrace::parent_of_call(trace, &command.trace);
    let call = PassedCall {
        endpoint: incoming.endpoint,
        model: &target.model,
        body: incoming.forward(&target.model),
        trace_parent: parent.as_ref(),
    };
    let answer = target.provider.pass(call).await?;
    let fault = |fault| target.provider.fault(fault);
    match answer.body {
        UpstreamBody::Whole(body) => {
            let usage = incoming.check(&body).map_err(fault)?;
            Ok(PassedReply { headers: answer.headers, body, usage })
        }
        UpstreamBody::Stream(_) => {
            Err(fault(UpstreamFault::Malformed("a stream in place of an answer".to_owned())).into())
        }
    }
}

/// How much a call has used. What nobody counted may be all that was asked for: a picture is no text whose bytes would tell.
fn used(called: &Result<PassedReply, CompletionError>) -> Used {
    let counted = |reply: &PassedReply| reply.usage.map_or(TokensUsed::Unknown, TokensUsed::Reported);
    let used = plain_call::used(called.as_ref().map(counted));
    match used.tokens {
        TokensUsed::Bytes(_) => Used { tokens: TokensUsed::Unknown, ..used },
        _ => used,
    }
}

const fn kind_of(endpoint: Endpoint) -> CallKind {
    match endpoint {
        Endpoint::Images => CallKind::Images,
        Endpoint::Moderations => CallKind::Moderation,
    }
}
