//! The step of a trace that tells what was recalled: every candidate, how it was found, and why it is in or out.

use privet_domain::id::RequestId;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{
    JsonText, Level, ObservationId, ObservationPatch, ObservationType, PatchKind, TraceId, TraceParent,
};
use serde_json::{Value, json};

use super::trace_id_of;
use crate::completion::ChatCommand;
use crate::memory::{Considered, Recollection};

const NAME: &str = "recall";
/// So many candidates are told, and so much of each text.
const CANDIDATES_TOLD: usize = 50;
const TEXT_CHARS_TOLD: usize = 200;

/// The step's id: the other half of the space in which the call's own lies.
fn id_of(request: RequestId) -> ObservationId {
    let (_, random) = request.as_uuid().as_u64_pair();
    ObservationId::from_bytes((!random).to_be_bytes())
}

/// Where calls stand that are made to recall something for a chat.
pub(crate) fn place_of_recall(command: &ChatCommand) -> TraceParent {
    let span_id = id_of(command.request_id);
    match command.trace.parent() {
        Some(parent) => parent.at(span_id),
        None => TraceParent { trace_id: trace_id_of(command.request_id), span_id, sampled: true, state: None },
    }
}

/// The step. Without `keeps_content` it tells of no text.
pub(super) fn step(
    command: &ChatCommand,
    trace: &TraceId,
    recollection: &Recollection,
    keeps_content: bool,
) -> ObservationPatch {
    let at = recollection.began.into();
    let mut step = ObservationPatch::new(trace.clone(), id_of(command.request_id), PatchKind::Create, at);
    step.observation_type = Some(ObservationType::Retriever);
    step.name = Some(NAME.to_owned());
    step.start = Some(at);
    step.end = Some(recollection.ended.into());
    step.parent_id = command.trace.parent().map(|parent| parent.span_id.clone());
    step.level = Some(if recollection.degraded.is_some() { Level::Warning } else { Level::Default });
    step.status_message = recollection.degraded.clone();
    let told = recollection.considered.iter().take(CANDIDATES_TOLD);
    let candidates: Vec<Value> = told.map(|one| candidate(one, keeps_content)).collect();
    step.output = Some(JsonText::of(&json!({"candidates": candidates, "considered": recollection.considered.len()})));
    if keeps_content {
        step.input = Some(JsonText::string(&recollection.question));
    }
    step
}

/// A candidate as it is told, here and by the API's `explain`.
pub(crate) fn candidate(one: &Considered, keeps_content: bool) -> Value {
    let scores = &one.scores;
    let legs: Vec<Value> = scores
        .legs
        .iter()
        .map(|leg| {
            json!({
                "method": leg.leg.method.as_str(), "representation": leg.leg.representation.as_str(), "rank": leg.rank,
                "score": leg.raw, "weighted": leg.weighted, "counts": leg.counts,
            })
        })
        .collect();
    let mut told = json!({
        "id": one.memory.id.to_string(), "kind": one.memory.kind.as_str(), "created_at": NanoTimestamp::from(one.memory.created_at).to_string(),
        "score": scores.score, "dense": scores.dense, "sparse": scores.sparse, "fused": scores.fused,
        "recency": scores.recency, "reranked": scores.reranked, "legs": legs, "in": one.reason.is_in(), "reason": one.reason.as_str(),
    });
    if keeps_content {
        told["text"] = one.memory.text.chars().take(TEXT_CHARS_TOLD).collect::<String>().into();
    }
    told
}
