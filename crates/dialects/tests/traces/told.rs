//! Pieces of traces as JSON, without what they do not say.

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, ObservationPatch, Score, TraceBatch, TracePatch};
use serde_json::{Map, Value, json};

/// A batch for a snapshot.
pub(crate) fn batch(batch: &TraceBatch) -> Value {
    json!({
        "traces": batch.traces.iter().map(trace).collect::<Vec<_>>(),
        "observations": batch.observations.iter().map(observation).collect::<Vec<_>>(),
        "scores": batch.scores.iter().map(score).collect::<Vec<_>>(),
    })
}

fn nanos(at: &Option<NanoTimestamp>) -> Value {
    at.map_or(Value::Null, |at| at.as_nanos().into())
}

fn content(json: &Option<JsonText>) -> Value {
    json.as_ref().map_or(Value::Null, |json| serde_json::from_str(json.as_str()).unwrap())
}

fn said(fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("an object") };
    let is_empty = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
    };
    fields.into_iter().filter(|(_, value)| !is_empty(value)).collect()
}

fn trace(patch: &TracePatch) -> Value {
    said(json!({
        "id": patch.id, "at": patch.at.as_nanos(), "timestamp": nanos(&patch.timestamp), "name": patch.name,
        "user": patch.user_id, "session": patch.session_id, "release": patch.release, "version": patch.version,
        "environment": patch.environment, "input": content(&patch.input), "output": content(&patch.output),
        "public": patch.public, "tags": patch.tags, "metadata": patch.metadata,
    }))
}

fn observation(patch: &ObservationPatch) -> Value {
    let prompt = patch.prompt.as_ref().map(|prompt| json!([prompt.name, prompt.version]));
    said(json!({
        "id": patch.id, "trace": patch.trace_id, "at": patch.at.as_nanos(), "kind": format!("{:?}", patch.kind),
        "parent": patch.parent_id, "type": patch.observation_type, "name": patch.name, "start": nanos(&patch.start),
        "end": nanos(&patch.end), "first_token": nanos(&patch.completion_start), "level": patch.level,
        "status": patch.status_message, "version": patch.version, "environment": patch.environment,
        "input": content(&patch.input), "output": content(&patch.output), "metadata": patch.metadata,
        "model": patch.model, "parameters": patch.model_parameters, "usage": patch.usage, "cost_nanos": patch.cost,
        "prompt": prompt,
    }))
}

pub(crate) fn score(score: &Score) -> Value {
    said(json!({
        "id": score.id, "target": format!("{:?}", score.target), "name": score.name, "type": score.score_type,
        "value": score.value, "text": score.text, "comment": score.comment, "source": score.source,
        "config": score.config_id, "environment": score.environment, "metadata": score.metadata,
        "timestamp": score.timestamp.as_nanos(),
    }))
}
