//! A chat on its way over the targets of its route, until one answers: holds, calls, pauses, and what each call did cost.
//!
//! Each call of a provider that may cost has a hold of its own, durable before it is made, and a settlement of its own. One that
//! surely cost nothing leaves its hold to the next call of the same target. The turn of the conversation begins with the first
//! hold and ends with the last settlement (docs/adr/0013).

mod begin;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use privet_dialects::UpstreamFault;
use privet_dialects::shaping::Again;
use privet_dialects::stream::StreamOptions;
use privet_dialects::translate::{Answer, WholeAnswer};
use privet_domain::id::RequestId;
use privet_domain::time::Timestamp;
use privet_domain::trace::PromptLink;
use privet_providers::{ChatCall, OnDisconnect};
use privet_store::Settlement;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptFailure, Opened, open};
use super::cache::CacheTold;
use super::compose::{Gathered, Turn};
use super::relay::Relay;
use super::shaped::{Shape, StructuredTold, Unfit};
use super::{ChatCommand, CompletionError, record, usage};
use crate::Engine;
use crate::admission::{CallOrder, Inherited};
use crate::course::{Attempt, Course, Next};
use crate::health::Pass;
use crate::linked_media::FetchedMedia;
use crate::memory::Recollection;
use crate::router::order::Draw;
use crate::router::{Route, Target};
use crate::settlement::{OpenCall, TokensUsed, Used};
use crate::switchboard::Stoppable;
use crate::traces::{CallTrace, Ended, FailedAttempt, WayTold};

/// What a chat is made of before it is sent.
pub(super) struct Prepared<'a> {
    pub(super) command: &'a ChatCommand,
    pub(super) gathered: &'a Gathered<'a>,
    /// The prompt that stands in front of the thread.
    pub(super) prompt: Option<PromptLink>,
    /// What was recalled for it.
    pub(super) recollection: Option<&'a Recollection>,
    /// When the request came.
    pub(super) began: Timestamp,
    /// What the cache did for it.
    pub(super) cache: Option<CacheTold>,
    /// The answer that is kept for it, and who gave it.
    pub(super) kept: Option<(Answer, Target)>,
}

/// A chat that is answered, and what must be written of it in the end.
pub(super) struct Landed {
    pub(super) target: Target,
    pub(super) opened: Opened,
    pub(super) call: OpenCall,
    pub(super) turn: Option<Turn>,
    pub(super) trace: Option<CallTrace>,
}

/// A chat on its way.
struct Journey<'a> {
    engine: &'a Arc<Engine>,
    prepared: Prepared<'a>,
    left: &'a CancellationToken,
    course: Course,
    hedge_after: Option<Duration>,
    /// The turn, once it has begun: `Some(None)` where none is kept.
    turn: Option<Option<Turn>>,
    trace: Option<CallTrace>,
    /// The calls under way: one, or two that race.
    flights: Vec<Flying>,
    /// What was fetched of the links in the request, for providers that do not follow them.
    fetched: FetchedMedia,
    /// So that a switch stops the chat between two calls too.
    stoppable: Option<Arc<Stoppable>>,
    /// The schema that its answer must keep to, once a target is called that does not by itself.
    shape: Option<Shape>,
    /// What did not fit the schema, once it is asked for again.
    again: Option<Again>,
    /// How the answer came to fit it.
    structured: Option<StructuredTold>,
}

/// A call whose hold is durable.
struct Flight {
    attempt: Attempt,
    call: OpenCall,
    body: Bytes,
    created: i64,
    /// Whether a stream is asked of the provider.
    streams: bool,
    /// Whether its answer must be fitted to a schema here.
    is_shaped: bool,
}

/// A call that is made.
struct Flying {
    flight: Flight,
    pass: Pass,
}

/// How calls under way ended.
enum Flown {
    Landed(Box<Flight>, Opened),
    /// The last of them failed.
    Failed(Box<Flight>, AttemptFailure),
    /// They were broken off.
    Interrupted(CompletionError),
}

/// Calls the targets of a route until one answers.
pub(super) async fn travel(
    engine: &Arc<Engine>,
    prepared: Prepared<'_>,
    route: &Route,
    left: &CancellationToken,
) -> Result<Landed, CompletionError> {
    let conversation = prepared.gathered.conversation_id().filter(|_| route.sticky);
    let draw = conversation.map_or_else(|| Draw::Chance(crate::chance::number()), Draw::Conversation);
    let course = match &prepared.kept {
        Some((_, target)) => engine.course_to(route, target.clone()),
        None => engine.course(route, draw),
    };
    let journey = Journey {
        engine,
        prepared,
        left,
        course,
        hedge_after: route.hedge_after,
        turn: None,
        trace: None,
        flights: Vec::new(),
        fetched: FetchedMedia::default(),
        stoppable: None,
        shape: None,
        again: None,
        structured: None,
    };
    Box::pin(journey.run()).await
}

impl Journey<'_> {
    async fn run(mut self) -> Result<Landed, CompletionError> {
        let mut flight = self.begin_first().await?;
        if let Some((answer, _)) = self.prepared.kept.take() {
            let kept = Opened::Kept(Box::new(self.replayed(answer, flight.created)));
            return Ok(self.land(flight, kept));
        }
        loop {
            match Box::pin(self.fly(flight)).await {
                Flown::Landed(landed, opened) => match self.fitted(&landed, opened) {
                    Ok(opened) => return Ok(self.land(*landed, opened)),
                    Err(unfit) => flight = self.ask_again(*landed, *unfit).await?,
                },
                Flown::Failed(failed, failure) => flight = self.go_on(*failed, failure).await?,
                Flown::Interrupted(error) => return Err(self.break_off(error).await),
            }
        }
    }

    fn land(mut self, flight: Flight, opened: Opened) -> Landed {
        if let Some(trace) = &mut self.trace {
            trace.turn_to(&flight.attempt.target, self.prepared.command.incoming.model());
        }
        self.tell_way(Some(&flight.attempt.target));
        let Flight { attempt, call, .. } = flight;
        Landed { target: attempt.target, opened, call, turn: self.turn.flatten(), trace: self.trace }
    }

    /// An answer that is there, written as the client asked for it.
    fn replayed(&self, answer: Answer, created: i64) -> WholeAnswer {
        let incoming = &self.prepared.command.incoming;
        let asker = incoming.asker();
        let options = StreamOptions { include_usage: incoming.include_usage(), choices: incoming.choices(), created };
        let body = if incoming.stream() {
            answer.replay_streamed(&asker, options)
        } else {
            answer.replay_whole(&asker, created)
        };
        WholeAnswer { body, answer }
    }

    /// The answer as its schema wants it, where that is not the provider's to see to.
    fn fitted(&mut self, flight: &Flight, opened: Opened) -> Result<Opened, Box<Unfit>> {
        match (&self.shape, opened) {
            (Some(shape), Opened::Whole(whole, headers)) if flight.is_shaped => {
                let answer = shape.fit(whole.answer)?;
                self.structured = Some(match self.again {
                    Some(_) => StructuredTold::Repaired,
                    None => StructuredTold::Emulated,
                });
                Ok(Opened::Whole(Box::new(self.replayed(answer, flight.created)), headers))
            }
            (_, opened) => Ok(opened),
        }
    }

    /// An answer does not fit its schema: the model is told, once.
    async fn ask_again(&mut self, unfitting: Flight, unfit: Unfit) -> Result<Flight, CompletionError> {
        const THEN: &str = "repair";
        let Unfit { answer, again } = unfit;
        self.course.notes.take_answer_back();
        let target = unfitting.attempt.target.clone();
        let reason = format!("its answer does not keep to the schema: {}", again.complaint);
        let error = target.provider.fault(UpstreamFault::Malformed(reason));
        let used = usage::of_complete(&answer, &target);
        let failure = AttemptFailure { error, begun: Some(Box::new(answer)) };
        if self.again.take().is_some() {
            return self.go_on(unfitting, failure).await;
        }
        self.again = Some(again);
        self.course.note_failure(&unfitting.attempt, &failure.error, THEN);
        let (settlement, inherited) = self.engine.settle_attempt(unfitting.call, used).await;
        self.trace_failure(&unfitting.attempt, &failure, THEN, Some(&settlement));
        match self.begin(target, self.order_after(inherited)).await {
            Ok(flight) => Ok(flight),
            Err(error) => Err(self.give_up(None, first_of(failure.error.into(), error)).await),
        }
    }

    /// Makes the call, and another beside it if it takes its time and the route allows that. The first answer wins.
    async fn fly(&mut self, first: Flight) -> Flown {
        let mut under_way = FuturesUnordered::new();
        under_way.push(self.take_off(first));
        let mut hedge_at = self.hedge_after.map(|after| Instant::now() + after);
        loop {
            tokio::select! {
                biased;
                error = self.interrupted() => return Flown::Interrupted(error),
                Some((call, outcome)) = under_way.next() => {
                    let Some(at) = self.flights.iter().position(|flying| flying.flight.call.hold.id == call) else { continue };
                    let Flying { flight, pass } = self.flights.swap_remove(at);
                    match outcome {
                        Ok(opened) => {
                            pass.answered(Instant::now());
                            self.flights.iter().for_each(|flying| self.course.note_overtaken(&flying.flight.attempt));
                            self.course.note_answer(&flight.attempt);
                            // The others are cancelled at their providers before they are settled.
                            drop(under_way);
                            self.settle_overtaken().await;
                            return Flown::Landed(Box::new(flight), opened);
                        }
                        Err(AttemptFailure { error, begun }) => {
                            pass.failed(&error, Instant::now(), self.engine.clock.now());
                            let failure = AttemptFailure { error, begun };
                            if self.flights.is_empty() {
                                return Flown::Failed(Box::new(flight), failure);
                            }
                            self.settle_beside(flight, &failure).await;
                        }
                    }
                }
                () = sleep_until(hedge_at.unwrap_or_else(Instant::now)), if hedge_at.is_some() => {
                    hedge_at = None;
                    if let Some(second) = self.begin_hedge().await {
                        under_way.push(self.take_off(second));
                    }
                }
            }
        }
    }

    /// Begins to wait for the answer of a call.
    fn take_off(
        &mut self,
        flight: Flight,
    ) -> impl Future<Output = (RequestId, Result<Opened, AttemptFailure>)> + Send + 'static + use<> {
        let Prepared { command, began, .. } = &self.prepared;
        let Flight { attempt: Attempt { target, key, .. }, call, body, created, streams, .. } = &flight;
        if let Some(trace) = &mut self.trace {
            trace.turn_to(target, command.incoming.model());
        }
        let (engine, target, body, key) = (self.engine.clone(), target.clone(), body.clone(), *key);
        let (id, created, stream, deadline) = (call.hold.id, *created, *streams, self.course.deadline);
        let trace_parent = CallTrace::parent_of_call(self.trace.as_ref(), &command.trace);
        let (asker, passed) = (command.incoming.asker(), command.passed_to(&target).cloned());
        let relay = Relay::new(command, &target, created, *began);
        let pass = self.engine.health.begin(&target, Instant::now());
        self.flights.push(Flying { flight, pass });
        async move {
            let call = ChatCall {
                model: &target.model,
                body,
                stream,
                created,
                trace_parent,
                passed: passed.as_ref(),
                key,
                deadline: Some(deadline),
            };
            (id, Box::pin(open(&engine, (asker, &target), call, relay)).await)
        }
    }

    /// Resolves when the calls must not go on.
    async fn interrupted(&self) -> CompletionError {
        let drains = |flying: &Flying| flying.flight.attempt.target.provider.on_disconnect() == OnDisconnect::Drain;
        let drains = !self.flights.is_empty() && self.flights.iter().all(drains);
        let stopped = async {
            match &self.stoppable {
                Some(stoppable) => stoppable.stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let first_stopped = async {
            match self.flights.first() {
                Some(flying) => flying.flight.call.terms.stoppable.stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled(), if !drains => CompletionError::ClientLeft,
            () = self.engine.stop.cancelled() => CompletionError::ShuttingDown,
            () = stopped => CompletionError::Stopped,
            () = first_stopped => CompletionError::Stopped,
        }
    }

    /// After a call failed: the next one, or why there is none.
    async fn go_on(&mut self, failed: Flight, failure: AttemptFailure) -> Result<Flight, CompletionError> {
        let now = self.engine.clock.now();
        let next = if self.left.is_cancelled() {
            self.course.note_failure(&failed.attempt, &failure.error, Next::End.as_str());
            Next::End
        } else {
            self.course.after(&failed.attempt, &failure.error, now)
        };
        let used = failure.used(failed.streams, &failed.attempt.target);
        match next {
            Next::End => {
                self.trace_failure(&failed.attempt, &failure, next.as_str(), None);
                let error = CompletionError::from(failure.error);
                Err(self.give_up(Some((failed.call, used)), error).await)
            }
            Next::OtherKey => self.again(failed, failure, used, Duration::ZERO, next.as_str()).await,
            Next::Again(wait) => self.again(failed, failure, used, wait, next.as_str()).await,
            Next::Target => {
                let Flight { attempt, call, .. } = failed;
                let (settlement, inherited) = self.engine.settle_attempt(call, used).await;
                self.trace_failure(&attempt, &failure, next.as_str(), Some(&settlement));
                self.turn_to_next(inherited, failure.error.into()).await
            }
        }
    }

    /// The same target once more, after a pause.
    async fn again(
        &mut self,
        failed: Flight,
        failure: AttemptFailure,
        used: Used,
        pause: Duration,
        then: &'static str,
    ) -> Result<Flight, CompletionError> {
        if used.tokens == TokensUsed::Nothing {
            // It cost nothing: its hold stands for the next call as well.
            self.trace_failure(&failed.attempt, &failure, then, None);
            if let Some(error) = self.pause(pause).await {
                return Err(self.give_up(Some((failed.call, used)), error).await);
            }
            let attempt = self.engine.attempt(failed.attempt.target);
            return Ok(Flight { attempt, ..failed });
        }
        let Flight { attempt, call, .. } = failed;
        let (settlement, inherited) = self.engine.settle_attempt(call, used).await;
        self.trace_failure(&attempt, &failure, then, Some(&settlement));
        if let Some(error) = self.pause(pause).await {
            return Err(self.give_up(None, error).await);
        }
        let order = self.order_after(inherited);
        match self.begin(attempt.target, order).await {
            Ok(flight) => Ok(flight),
            Err(error) => Err(self.give_up(None, first_of(failure.error.into(), error)).await),
        }
    }

    /// The first of the further targets that may be called.
    async fn turn_to_next(
        &mut self,
        inherited: Inherited,
        failure: CompletionError,
    ) -> Result<Flight, CompletionError> {
        self.again = None;
        while let Some(target) = self.course.take_target() {
            match self.begin(target.clone(), self.order_after(inherited.clone())).await {
                Ok(flight) => return Ok(flight),
                Err(error) if self.course.passes_over(&target, &error) => {}
                Err(error) => return Err(self.give_up(None, first_of(failure, error)).await),
            }
        }
        Err(self.give_up(None, failure).await)
    }

    fn order_after(&self, inherited: Inherited) -> CallOrder {
        CallOrder { inherits: Some(inherited), patience: self.course.remaining(Instant::now()) }
    }

    /// Waits, unless the chat must not go on.
    async fn pause(&self, pause: Duration) -> Option<CompletionError> {
        tokio::select! {
            biased;
            error = self.interrupted() => Some(error),
            () = sleep(pause) => None,
        }
    }

    /// Settles a call that failed while another is under way.
    async fn settle_beside(&mut self, flight: Flight, failure: &AttemptFailure) {
        const THEN: &str = "other-call";
        let used = failure.used(flight.streams, &flight.attempt.target);
        self.course.note_failure(&flight.attempt, &failure.error, THEN);
        let (settlement, _) = self.engine.settle_attempt(flight.call, used).await;
        self.trace_failure(&flight.attempt, failure, THEN, Some(&settlement));
        if let (Some(trace), Some(flying)) = (&mut self.trace, self.flights.first()) {
            trace.turn_to(&flying.flight.attempt.target, self.prepared.command.incoming.model());
        }
    }

    /// Settles the calls that another was faster than. They were cancelled, and may have cost all that they hold.
    async fn settle_overtaken(&mut self) {
        for Flying { flight, pass } in std::mem::take(&mut self.flights) {
            drop(pass);
            let used = usage::of_overtaken(flight.streams, &flight.attempt.target);
            let (settlement, _) = self.engine.settle_attempt(flight.call, used).await;
            let ended = self.engine.clock.now();
            if let Some(trace) = &mut self.trace {
                trace.failed(&FailedAttempt {
                    attempt: &flight.attempt,
                    ended,
                    reason: "another call answered first".to_owned(),
                    kind: "overtaken",
                    status: None,
                    then: "other-call",
                    settlement: Some(&settlement),
                });
            }
        }
    }

    /// Ends a chat whose calls were broken off.
    async fn break_off(&mut self, error: CompletionError) -> CompletionError {
        let mut calls = Vec::new();
        for Flying { flight, .. } in std::mem::take(&mut self.flights) {
            let used = usage::of_broken_off(&error, flight.streams, &flight.attempt.target);
            calls.push((flight.call, used));
        }
        let last = calls.pop();
        for (call, used) in calls {
            self.engine.settle_attempt(call, used).await;
        }
        self.give_up(last, error).await
    }

    /// Takes the turn back, and settles the last call if it is not settled.
    async fn give_up(&mut self, call: Option<(OpenCall, Used)>, error: CompletionError) -> CompletionError {
        self.tell_way(None);
        let (turn, trace) = (self.turn.take().flatten(), self.trace.take());
        match call {
            Some((call, used)) => {
                record::withdraw(self.engine, super::Ending { turn, call, trace, keep: None }, used, &error).await;
            }
            None => {
                record::withdraw_turn(self.engine, turn, trace.map(|trace| (trace, Ended::without_answer(&error))))
                    .await
            }
        }
        error
    }

    fn trace_failure(
        &mut self,
        attempt: &Attempt,
        failure: &AttemptFailure,
        then: &'static str,
        settlement: Option<&Settlement>,
    ) {
        let is_only_one = then == Next::End.as_str() && !self.course.notes.is_worth_telling();
        let ended = self.engine.clock.now();
        if let Some(trace) = self.trace.as_mut().filter(|_| !is_only_one) {
            trace.failed(&FailedAttempt {
                attempt,
                ended,
                reason: failure.error.to_string(),
                kind: failure.error.failure().as_str(),
                status: failure.error.status(),
                then,
                settlement,
            });
        }
    }

    /// Tells the client and the trace which way the request took.
    fn tell_way(&mut self, answered_by: Option<&Target>) {
        // Whoever may not have an answer is not told whether there is one.
        let cache = self.prepared.cache.filter(|_| answered_by.is_some());
        let structured = self.structured;
        let way = WayTold { cache, structured, ..WayTold::of(answered_by, &self.course.notes) };
        if let Some(trace) = &mut self.trace {
            trace.tell_way(&way);
        }
        self.prepared.command.trace.tell_way(way);
    }
}

/// Of a provider's failure and of why no other call could be made, what the client is told: a limit that stands in the way of a
/// second try is no news to it, a store that fails is.
fn first_of(failure: CompletionError, error: CompletionError) -> CompletionError {
    match error {
        CompletionError::Store(_) | CompletionError::BadRequest(_) => error,
        _ => failure,
    }
}
