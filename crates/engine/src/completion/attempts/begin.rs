//! How a call of a chat begins: admitted, held for, written in the provider's dialect; with the first, the turn and the trace begin.

use std::time::Duration;

use bytes::Bytes;
use privet_dialects::Unsupported;
use privet_dialects::shaping::Shaping;
use privet_domain::id::ConversationId;
use privet_store::StoreError;
use tokio::time::Instant;

use super::super::shaped::Shape;
use super::super::{CompletionError, Sending, admit, compose, encode};
use super::{Flight, Journey, Prepared};
use crate::admission::CallOrder;
use crate::linked_media::{LinkedMediaError, OpenLinks};
use crate::router::Target;
use crate::settlement::OpenCall;
use crate::traces::{CallTrace, ChatFacts};

impl Journey<'_> {
    /// Admits the first target that may be called.
    pub(super) async fn begin_first(&mut self) -> Result<Flight, CompletionError> {
        let mut refusal = None;
        while let Some(target) = self.course.take_target() {
            let order = CallOrder { inherits: None, patience: self.course.remaining(Instant::now()) };
            match self.begin(target.clone(), order).await {
                Ok(flight) => return Ok(flight),
                // What is told is why the first was not called: it is the one that was asked for.
                Err(error) if self.course.passes_over(&target, &error) => {
                    refusal.get_or_insert((error, target));
                }
                Err(error) => {
                    refusal = Some((error, target));
                    break;
                }
            }
        }
        Err(self.refuse(refusal).await)
    }

    /// No target could be called at all.
    async fn refuse(&mut self, refusal: Option<(CompletionError, Target)>) -> CompletionError {
        let Some((error, target)) = refusal else { return CompletionError::Stopped };
        let command = self.prepared.command;
        if let CompletionError::Refused(refused) = &error {
            let asked = command.incoming.model();
            self.engine.note_refusal(&command.caller, command.request_id, asked, refused);
        }
        let facts = self.facts(&target, command.conversation_id, None);
        self.engine.trace_refusal(&error, || CallTrace::of_chat(&facts)).await;
        self.tell_way(None);
        error
    }

    /// Admits a call and makes its hold durable; with the first, what the client said.
    pub(super) async fn begin(&mut self, target: Target, order: CallOrder) -> Result<Flight, CompletionError> {
        let (command, gathered) = (self.prepared.command, self.prepared.gathered);
        // Only so many calls of a request have ids: more would be a course that does not end.
        let call_id = self.course.take_call(command.request_id).ok_or(CompletionError::Stopped)?;
        let is_shaped = self.is_shaped(&target)?;
        loop {
            let sending = self.sending(is_shaped);
            let admission = admit(self.engine, command, (&target, sending), gathered, (call_id, order.clone())).await?;
            let body = encode(command, (&target, sending), &gathered.history, &admission)?;
            let body = self.close_links(&target, body).await?;
            let begun = match &self.turn {
                None => compose::begin(self.engine, command, gathered, &admission).await.map(Some),
                Some(_) => {
                    let begun = self.engine.store.begin_call(admission.hold.clone(), None).await;
                    begun.map(|()| None).map_err(CompletionError::from)
                }
            };
            match begun {
                Ok(turn) => {
                    let output_limit = admission.output_limit;
                    let (hold, terms) = admission.into_durable();
                    if let Some(turn) = turn {
                        self.turn = Some(turn);
                        self.begin_trace(&target, output_limit);
                    }
                    self.stoppable = Some(terms.stoppable.clone());
                    let created = self.engine.clock.now().as_seconds();
                    let call = OpenCall { hold, terms };
                    let streams = command.incoming.stream() && !is_shaped;
                    let attempt = self.engine.attempt(target);
                    return Ok(Flight { attempt, call, body, created, streams, is_shaped });
                }
                // Another server took this one for dead: the money must be had anew.
                Err(CompletionError::Store(StoreError::Fenced)) => {
                    self.engine.budgets.begin_anew(admission.hold.replica_id).await?;
                }
                Err(CompletionError::Store(error)) => {
                    self.engine.give_up(admission, &error);
                    return Err(error.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts what stands at the ends of links in their place, if the target does not follow them.
    async fn close_links(&mut self, target: &Target, body: Bytes) -> Result<Bytes, CompletionError> {
        let Some(open) = OpenLinks::of(target, self.prepared.command.incoming.dialect(), &body) else {
            return Ok(body);
        };
        if !open.are_in(&self.fetched) {
            if !self.flights.is_empty() {
                return Err(LinkedMediaError::NotYet.into());
            }
            let mut fetched = std::mem::take(&mut self.fetched);
            let patience = self.course.remaining(Instant::now());
            tokio::select! {
                biased;
                error = self.interrupted() => return Err(error),
                done = self.engine.fetch_links(&open, &mut fetched, patience) => done?,
            }
            self.fetched = fetched;
        }
        Ok(open.close(&body, &self.fetched))
    }

    /// Whether the target must be helped to keep to a schema.
    fn is_shaped(&mut self, target: &Target) -> Result<bool, Unsupported> {
        if self.prepared.kept.is_some() {
            return Ok(false);
        }
        let shape = Shape::read(self.engine, &self.prepared.command.incoming, target)?;
        let is_shaped = shape.is_some();
        // An answer under way may still have to fit it.
        self.shape = shape.or(self.shape.take());
        Ok(is_shaped)
    }

    /// How the request goes to a target.
    fn sending(&self, is_shaped: bool) -> Sending<'_> {
        match &self.shape {
            _ if self.prepared.kept.is_some() => Sending::Kept,
            Some(shape) if is_shaped => {
                Sending::Shaped(Shaping { instructions: shape.instructions(), again: self.again.as_ref() })
            }
            _ => Sending::AsItCame,
        }
    }

    fn begin_trace(&mut self, target: &Target, output_limit: Option<u64>) {
        if !self.engine.traces.requests {
            return;
        }
        let turn = self.turn.as_ref().and_then(Option::as_ref).map(|turn| turn.conversation_id);
        let facts = self.facts(target, turn.or(self.prepared.command.conversation_id), output_limit);
        self.trace = Some(CallTrace::of_chat(&facts));
    }

    pub(super) fn facts<'b>(
        &'b self,
        target: &'b Target,
        conversation_id: Option<ConversationId>,
        output_limit: Option<u64>,
    ) -> ChatFacts<'b> {
        let Prepared { command, gathered, prompt, recollection, began, .. } = &self.prepared;
        ChatFacts {
            command,
            history: &gathered.history,
            target,
            conversation_id,
            prompt: prompt.clone(),
            recollection: *recollection,
            output_limit,
            began: *began,
        }
    }

    /// Another call beside the one that takes its time: of the next target, or of the same. It waits for no money.
    pub(super) async fn begin_hedge(&mut self) -> Option<Flight> {
        if self.left.is_cancelled() {
            return None;
        }
        let beside = self.course.take_target_beside();
        let is_new = beside.is_some();
        let same = self.flights.first().map(|flying| flying.flight.attempt.target.clone());
        let target = beside.or(same)?;
        let order = CallOrder { inherits: None, patience: Duration::ZERO };
        match self.begin(target.clone(), order).await {
            Ok(flight) => Some(flight),
            Err(error) => {
                tracing::debug!(%error, "no second call is made beside the one that takes its time");
                if is_new && !self.course.passes_over(&target, &error) {
                    self.course.give_back(target);
                }
                None
            }
        }
    }
}
