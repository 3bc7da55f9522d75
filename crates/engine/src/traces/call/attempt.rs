//! The steps of a trace that tell of the calls that did not answer: which model, what happened, and what was done then.

use privet_domain::id::RequestId;
use privet_domain::time::Timestamp;
use privet_domain::trace::{Level, ObservationId, ObservationPatch, ObservationType, PatchKind, TraceId};
use privet_store::{Settlement, UsageSource};
use serde_json::{Value, json};

use super::{observation_id_of, shortened, tokens};
use crate::course::Attempt;

const NAME: &str = "attempt";
/// Spreads the ids of steps over the space in which those of calls lie.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A call that did not answer.
pub(crate) struct FailedAttempt<'a> {
    pub(crate) attempt: &'a Attempt,
    pub(crate) ended: Timestamp,
    /// What happened.
    pub(crate) reason: String,
    /// Of which kind it is.
    pub(crate) kind: &'static str,
    /// The status, where the provider said one.
    pub(crate) status: Option<u16>,
    /// What was done then.
    pub(crate) then: &'static str,
    /// What it cost, where it has a settlement of its own.
    pub(crate) settlement: Option<&'a Settlement>,
}

/// The step, the `number`th of its call.
pub(super) fn step(trace: &TraceId, request: RequestId, number: usize, failed: &FailedAttempt<'_>) -> ObservationPatch {
    let FailedAttempt { attempt, ended, reason, kind, status, then, settlement } = failed;
    let at = attempt.began_at.into();
    let mut step = ObservationPatch::new(trace.clone(), id_of(request, number), PatchKind::Create, at);
    step.parent_id = Some(observation_id_of(request));
    step.name = Some(NAME.to_owned());
    step.start = Some(at);
    step.end = Some((*ended).into());
    step.level = Some(Level::Warning);
    step.status_message = Some(shortened(reason));
    step.model = Some(attempt.target.model.clone());
    step.observation_type = Some(ObservationType::Span);
    let facts = json!({
        "provider": attempt.target.provider.name(), "model": attempt.target.model, "error": kind, "status": status,
        "ms": u64::try_from(attempt.began.elapsed().as_millis()).unwrap_or(u64::MAX), "then": then,
    });
    if let Value::Object(facts) = facts {
        step.metadata = facts.into_iter().filter(|(_, value)| !value.is_null()).collect();
    }
    if let Some(settlement) = settlement.filter(|settlement| settlement.source != UsageSource::Nothing) {
        step.observation_type = Some(ObservationType::Generation);
        step.usage = Some(tokens::usage(&settlement.usage));
        step.cost = tokens::cost(settlement);
        step.metadata.insert("call_id".to_owned(), settlement.hold.id.to_string().into());
        if settlement.source == UsageSource::Bounded {
            step.metadata.insert("usage_source".to_owned(), Value::from("bounded"));
        }
    }
    step
}

fn id_of(request: RequestId, number: usize) -> ObservationId {
    let (_, random) = request.as_uuid().as_u64_pair();
    let steps = u64::try_from(number).unwrap_or(u64::MAX).wrapping_add(1);
    ObservationId::from_bytes(random.wrapping_add(steps.wrapping_mul(STEP)).to_be_bytes())
}
