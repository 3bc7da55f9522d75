//! The course of a request over the targets of its route: who is called, who is called again, who comes next, and what was tried.
//!
//! It decides and remembers; calling, holding money and settling are the operation's.

mod notes;
mod verdict;

use std::collections::VecDeque;
use std::time::Duration;

use privet_domain::id::{CALLS_MAX, RequestId};
use privet_domain::time::Timestamp;
use privet_providers::{Deadline, KeyChoice, ProviderError};
use tokio::time::Instant;

use crate::Engine;
use crate::admission::Refused;
use crate::completion::CompletionError;
use crate::linked_media::LinkedMediaError;
use crate::router::order::{Draw, Standing, order};
use crate::router::{Route, Target};
pub(crate) use notes::Notes;
pub(crate) use verdict::Next;
pub use verdict::RetrySettings;
use verdict::{Situation, verdict};

/// The course of one request.
pub(crate) struct Course {
    ahead: VecDeque<Target>,
    settings: RetrySettings,
    /// When the request must have ended.
    pub(crate) deadline: Deadline,
    /// What was tried.
    pub(crate) notes: Notes,
    /// How many calls stand in the ledger.
    calls: u8,
    /// How often the present target was called again.
    repeated: u32,
    /// How often it was called with another key.
    rotated: usize,
}

/// A call of a target.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) target: Target,
    pub(crate) key: Option<KeyChoice>,
    /// Whether it is called only because there is no better one.
    pub(crate) is_last_resort: bool,
    pub(crate) began: Instant,
    /// The same by the clock.
    pub(crate) began_at: Timestamp,
}

impl Course {
    /// Over these targets, in their order.
    pub(crate) fn new(targets: Vec<Target>, deadline: Deadline, settings: RetrySettings) -> Self {
        let ahead = targets.into();
        Self { ahead, settings, deadline, notes: Notes::default(), calls: 0, repeated: 0, rotated: 0 }
    }

    /// The next target.
    pub(crate) fn take_target(&mut self) -> Option<Target> {
        (self.repeated, self.rotated) = (0, 0);
        self.ahead.pop_front()
    }

    /// The next target, to be called beside the present one.
    pub(crate) fn take_target_beside(&mut self) -> Option<Target> {
        self.ahead.pop_front()
    }

    /// A target that could not be called beside another comes next all the same.
    pub(crate) fn give_back(&mut self, target: Target) {
        self.ahead.push_front(target);
    }

    /// The id of the next call in the ledger; `None` when the request has made as many as it may.
    pub(crate) fn take_call(&mut self, request: RequestId) -> Option<RequestId> {
        let number = (self.calls < CALLS_MAX).then_some(self.calls)?;
        self.calls += 1;
        Some(request.of_call(number))
    }

    /// What is left until the request must have ended.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        self.deadline.at.saturating_duration_since(now)
    }

    /// Notes a failed call, puts its key aside if it is at fault, and says what to do next.
    pub(crate) fn after(&mut self, attempt: &Attempt, error: &ProviderError, at: Timestamp) -> Next {
        let now = Instant::now();
        let Attempt { target, key, .. } = attempt;
        let (failure, retry_after) = (error.failure(), error.retry_after(at));
        target.provider.set_key_aside(*key, &target.model, failure, retry_after, now);
        let (keys, _) = target.provider.key_counts(now);
        let situation = Situation {
            failure,
            forbids_repeating: error.forbids_repeating(),
            retry_after,
            repeated: self.repeated,
            has_other_key: self.rotated + 1 < keys && target.provider.free_keys(&target.model, now) > 0,
            has_other_target: !self.ahead.is_empty(),
            is_last_resort: attempt.is_last_resort,
            remaining: self.remaining(now),
        };
        let next = verdict(&situation, &self.settings, crate::chance::fraction());
        match next {
            Next::Again(_) => self.repeated += 1,
            Next::OtherKey => self.rotated += 1,
            Next::Target | Next::End => {}
        }
        self.note_failure(attempt, error, next.as_str());
        next
    }

    /// Notes a failed call, of which nothing follows.
    pub(crate) fn note_failure(&mut self, attempt: &Attempt, error: &ProviderError, then: &'static str) {
        self.notes.failed(&attempt.target, error, attempt.began.elapsed(), then);
        count(&attempt.target, error.failure().as_str());
    }

    /// Notes the call that answered.
    pub(crate) fn note_answer(&mut self, attempt: &Attempt) {
        attempt.target.provider.take_key_back(attempt.key, &attempt.target.model);
        self.notes.answered(&attempt.target, attempt.began.elapsed());
        count(&attempt.target, "answered");
    }

    /// Notes a call that another one was faster than.
    pub(crate) fn note_overtaken(&mut self, attempt: &Attempt) {
        self.notes.overtaken(&attempt.target, attempt.began.elapsed());
        count(&attempt.target, "overtaken");
    }

    /// Notes why a target is not called, and says whether others may be: where the reason is the target's own.
    pub(crate) fn passes_over(&mut self, target: &Target, error: &CompletionError) -> bool {
        match (reason_to_skip(error), error) {
            (Some(why), _) => self.notes.skipped(target, why),
            // One that is refused before anything was called is told as an error, and nothing else.
            (None, CompletionError::Refused(refused)) if self.calls > 1 => self.notes.skipped(target, refused.gate()),
            (None, _) => {}
        }
        reason_to_skip(error).is_some()
    }
}

/// Why a target is passed over, where it is the target's own.
const fn reason_to_skip(error: &CompletionError) -> Option<&'static str> {
    match error {
        CompletionError::Refused(Refused::SwitchedOff(_)) => Some("switched-off"),
        CompletionError::Refused(Refused::Model(_)) => Some("model-not-allowed"),
        CompletionError::Refused(Refused::Unpriced(_)) => Some("unpriced"),
        CompletionError::Refused(Refused::Unbounded(_)) => Some("cost-unbounded"),
        CompletionError::Refused(Refused::Tier { .. }) => Some("tier-unpriced"),
        CompletionError::Unsupported(_) => Some("unsupported"),
        CompletionError::Beyond(_) => Some("beyond-the-model"),
        // Another provider may fetch for itself. A call beside another one comes again.
        CompletionError::LinkedMedia(LinkedMediaError::NotYet) => None,
        CompletionError::LinkedMedia(_) => Some("image-not-fetched"),
        _ => None,
    }
}

fn count(target: &Target, outcome: &'static str) {
    let provider = target.provider.name().to_owned();
    metrics::counter!("privet_attempts_total", "provider" => provider, "outcome" => outcome).increment(1);
}

impl Engine {
    /// The course of a chat. What is drawn by weight stays with its conversation.
    pub(crate) fn course(&self, route: &Route, draw: Draw) -> Course {
        let now = Instant::now();
        let targets = order(route, draw, |target| self.standing(target, now));
        self.course_over(route, targets, now)
    }

    /// The course of embeddings: never to another model, whose vectors are others.
    pub(crate) fn course_of_embeddings(&self, route: &Route) -> Course {
        let now = Instant::now();
        let mut targets = order(route, Draw::Chance(crate::chance::number()), |target| self.standing(target, now));
        targets.retain(|target| target.model == route.first().model);
        self.course_over(route, targets, now)
    }

    /// The course of an answer that is kept here, to who gave it.
    pub(crate) fn course_to(&self, route: &Route, target: Target) -> Course {
        self.course_over(route, vec![target], Instant::now())
    }

    fn course_over(&self, route: &Route, targets: Vec<Target>, now: Instant) -> Course {
        let longest = targets.iter().map(|target| target.provider.timeouts_for(&target.model).total).max();
        let after = route.timeout.or(longest).unwrap_or_default();
        Course::new(targets, Deadline { at: now + after, after }, self.retries)
    }

    fn standing(&self, target: &Target, now: Instant) -> Standing {
        if !self.health.lets_in(target, now) {
            Standing::Failing
        } else if target.provider.free_keys(&target.model, now) == 0 {
            Standing::Limited
        } else {
            Standing::Good
        }
    }

    /// A call of a target, with the key whose turn it is.
    pub(crate) fn attempt(&self, target: Target) -> Attempt {
        let now = Instant::now();
        let key = target.provider.choose_key(&target.model, now);
        let is_last_resort = !self.health.lets_in(&target, now);
        Attempt { target, key, is_last_resort, began: now, began_at: self.clock.now() }
    }
}
