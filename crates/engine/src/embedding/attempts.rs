//! Embeddings on their way over the targets of their route, until one answers. As with chats each call that may cost has a hold and
//! a settlement of its own; one that surely cost nothing leaves its hold to the next call of the same target.

use std::sync::Arc;
use std::time::Duration;

use privet_domain::time::Timestamp;
use privet_providers::ProviderError;
use privet_store::{CallKind, Settlement};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{EmbeddingsCommand, EmbeddingsReply, call_embedder, used};
use crate::Engine;
use crate::admission::{Applicant, CallOrder, Inherited, OutputWish};
use crate::completion::CompletionError;
use crate::course::{Attempt, Course, Next};
use crate::router::Target;
use crate::settlement::{OpenCall, TokensUsed};
use crate::switchboard::Stoppable;
use crate::traces::{CallTrace, Ended, FailedAttempt, WayTold};

/// Embeddings on their way.
pub(super) struct Journey<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) command: &'a EmbeddingsCommand,
    pub(super) left: &'a CancellationToken,
    pub(super) course: Course,
    /// When the request came.
    pub(super) began: Timestamp,
    pub(super) trace: Option<CallTrace>,
    /// So that a switch stops the request between two calls too.
    pub(super) stoppable: Option<Arc<Stoppable>>,
}

/// A call whose hold is durable.
struct Flight {
    attempt: Attempt,
    call: OpenCall,
}

impl Journey<'_> {
    /// Calls the targets until one answers, and settles what the calls did cost.
    pub(super) async fn run(mut self) -> Result<EmbeddingsReply, CompletionError> {
        let mut flight = self.begin_first().await?;
        loop {
            let called = self.fly(&flight).await;
            match called {
                Ok(reply) => {
                    self.course.note_answer(&flight.attempt);
                    self.tell_way(Some(&flight.attempt.target));
                    let used = used(&Ok(&reply));
                    let trace = self.trace.take().map(|trace| (trace, Ended::Unseen));
                    self.engine.settle(flight.call, used, None, trace).await?;
                    return Ok(reply);
                }
                Err(CompletionError::Provider(error)) => flight = self.go_on(flight, error).await?,
                Err(error) => return Err(self.give_up(Some(flight.call), error).await),
            }
        }
    }

    /// Admits the first target that may be called.
    async fn begin_first(&mut self) -> Result<Flight, CompletionError> {
        let mut refusal = None;
        while let Some(target) = self.course.take_target() {
            let order = CallOrder { inherits: None, patience: self.course.remaining(Instant::now()) };
            match self.begin(target.clone(), order).await {
                Ok(flight) => return Ok(flight),
                Err(error) if self.course.passes_over(&target, &error) => {
                    refusal.get_or_insert((error, target));
                }
                Err(error) => {
                    refusal = Some((error, target));
                    break;
                }
            }
        }
        let Some((error, target)) = refusal else { return Err(CompletionError::Stopped) };
        let command = self.command;
        if let CompletionError::Refused(refused) = &error {
            self.engine.note_refusal(&command.caller, command.request_id, Some(&command.incoming.model), refused);
        }
        self.engine.trace_refusal(&error, || CallTrace::of_embeddings(command, &target, self.began)).await;
        self.tell_way(None);
        Err(error)
    }

    /// Admits a call and makes its hold durable.
    async fn begin(&mut self, target: Target, order: CallOrder) -> Result<Flight, CompletionError> {
        let command = self.command;
        let call_id = self.course.take_call(command.request_id).ok_or(CompletionError::Stopped)?;
        let applicant = Applicant {
            caller: &command.caller,
            call_id,
            kind: CallKind::Embeddings,
            asked_model: Some(&command.incoming.model),
            target: &target,
            size: command.incoming.size(),
            output: OutputWish::None,
            tier: None,
            sets_tier: false,
            unbounded: command.incoming.unbounded_field(),
            order,
        };
        let call = self.engine.begin_plain(&applicant).await?;
        self.stoppable = Some(call.terms.stoppable.clone());
        if self.trace.is_none() && self.engine.traces.requests {
            self.trace = Some(CallTrace::of_embeddings(command, &target, self.began));
        }
        Ok(Flight { attempt: self.engine.attempt(target), call })
    }

    async fn fly(&mut self, flight: &Flight) -> Result<EmbeddingsReply, CompletionError> {
        let target = &flight.attempt.target;
        if let Some(trace) = &mut self.trace {
            trace.turn_to(target, Some(&self.command.incoming.model));
        }
        let pass = self.engine.health.begin(target, Instant::now());
        let parent = CallTrace::parent_of_call(self.trace.as_ref(), &self.command.trace);
        let called = tokio::select! {
            biased;
            error = self.interrupted() => Err(error),
            called = call_embedder(self.command, &flight.attempt, parent, self.course.deadline) => called,
        };
        match &called {
            Ok(_) => pass.answered(Instant::now()),
            Err(CompletionError::Provider(error)) => pass.failed(error, Instant::now(), self.engine.clock.now()),
            Err(_) => drop(pass),
        }
        called
    }

    /// Resolves when the request must not go on.
    async fn interrupted(&self) -> CompletionError {
        let stopped = async {
            match &self.stoppable {
                Some(stoppable) => stoppable.stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled() => CompletionError::ClientLeft,
            () = self.engine.stop.cancelled() => CompletionError::ShuttingDown,
            () = stopped => CompletionError::Stopped,
        }
    }

    /// After a call failed: the next one, or why there is none.
    async fn go_on(&mut self, failed: Flight, error: ProviderError) -> Result<Flight, CompletionError> {
        let next = self.course.after(&failed.attempt, &error, self.engine.clock.now());
        let pause = match next {
            Next::Again(pause) => pause,
            Next::OtherKey | Next::Target | Next::End => Duration::ZERO,
        };
        let Flight { attempt, call } = failed;
        if next == Next::End {
            self.trace_failure(&attempt, &error, next, None);
            return Err(self.give_up(Some(call), error.into()).await);
        }
        let error = CompletionError::Provider(error);
        let used = used(&Err(&error));
        if next != Next::Target && used.tokens == TokensUsed::Nothing {
            // It cost nothing: its hold stands for the next call as well.
            self.trace_error(&attempt, &error, next, None);
            return match self.pause(pause).await {
                None => Ok(Flight { attempt: self.engine.attempt(attempt.target), call }),
                Some(error) => Err(self.give_up_unused(call, error).await),
            };
        }
        let (settlement, inherited) = self.engine.settle_attempt(call, used).await;
        self.trace_error(&attempt, &error, next, Some(&settlement));
        if let Some(error) = self.pause(pause).await {
            return Err(self.give_up(None, error).await);
        }
        if next != Next::Target {
            return match self.begin(attempt.target, self.order_after(inherited)).await {
                Ok(flight) => Ok(flight),
                Err(_) => Err(self.give_up(None, error).await),
            };
        }
        while let Some(target) = self.course.take_target() {
            match self.begin(target.clone(), self.order_after(inherited.clone())).await {
                Ok(flight) => return Ok(flight),
                Err(reason) if self.course.passes_over(&target, &reason) => {}
                Err(_) => break,
            }
        }
        Err(self.give_up(None, error).await)
    }

    fn order_after(&self, inherited: Inherited) -> CallOrder {
        CallOrder { inherits: Some(inherited), patience: self.course.remaining(Instant::now()) }
    }

    async fn pause(&self, pause: Duration) -> Option<CompletionError> {
        tokio::select! {
            biased;
            error = self.interrupted() => Some(error),
            () = sleep(pause) => None,
        }
    }

    /// Settles the last call, if it is not settled, and ends the trace.
    async fn give_up(&mut self, call: Option<OpenCall>, error: CompletionError) -> CompletionError {
        self.tell_way(None);
        let trace = self.trace.take();
        let ended = Ended::without_answer(&error);
        match call {
            Some(call) => {
                let traced = trace.map(|trace| (trace, ended));
                if let Err(failure) = self.engine.settle(call, used(&Err(&error)), None, traced).await {
                    return failure.into();
                }
            }
            None => {
                let traced = trace.map(|trace| trace.end_unsettled(&ended, self.engine.clock.now()));
                self.engine.traces.record_call(traced).await;
            }
        }
        error
    }

    /// The same for a hold under which no call is being made.
    async fn give_up_unused(&mut self, call: OpenCall, error: CompletionError) -> CompletionError {
        let nothing = super::nothing_used();
        self.engine.settle_attempt(call, nothing).await;
        self.give_up(None, error).await
    }

    fn trace_error(&mut self, attempt: &Attempt, error: &CompletionError, then: Next, settled: Option<&Settlement>) {
        if let CompletionError::Provider(error) = error {
            self.trace_failure(attempt, error, then, settled);
        }
    }

    fn trace_failure(&mut self, attempt: &Attempt, error: &ProviderError, then: Next, settled: Option<&Settlement>) {
        let is_only_one = then == Next::End && !self.course.notes.is_worth_telling();
        let ended = self.engine.clock.now();
        if let Some(trace) = self.trace.as_mut().filter(|_| !is_only_one) {
            trace.failed(&FailedAttempt {
                attempt,
                ended,
                reason: error.to_string(),
                kind: error.failure().as_str(),
                status: error.status(),
                then: then.as_str(),
                settlement: settled,
            });
        }
    }

    /// Tells the client and the trace which way the request took.
    fn tell_way(&mut self, answered_by: Option<&Target>) {
        let way = WayTold::of(answered_by, &self.course.notes);
        if let Some(trace) = &mut self.trace {
            trace.tell_way(&way);
        }
        self.command.trace.tell_way(way);
    }
}
