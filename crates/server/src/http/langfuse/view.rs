//! Traces, observations and scores in the shapes that Langfuse's clients read. Costs are US dollars, times ISO with milliseconds,
//! durations seconds.

use std::time::Duration;

use privet_domain::money::Nanos;
use privet_domain::trace::{JsonText, Observation, ScoreTarget, ScoreType, Trace};
use privet_store::{StoredScore, TraceWithTotals};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const NANOS_PER_DOLLAR: f64 = 1e9;

/// An amount as clients have it.
pub(super) fn dollars(nanos: Nanos) -> f64 {
    nanos.as_i64() as f64 / NANOS_PER_DOLLAR
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A content as JSON.
pub(super) fn content(json: Option<&JsonText>) -> Value {
    json.and_then(|json| serde_json::from_str(json.as_str()).ok()).unwrap_or(Value::Null)
}

/// A trace without what belongs to it.
pub(super) fn trace(TraceWithTotals { trace, totals }: &TraceWithTotals, project: &str) -> Map<String, Value> {
    let latency = totals.ended_at.map_or(0.0, |end| seconds(end.since(trace.timestamp)));
    let Value::Object(view) = json!({
        "id": trace.id,
        "projectId": project,
        "timestamp": trace.timestamp,
        "name": trace.name,
        "input": content(trace.input.as_ref()),
        "output": content(trace.output.as_ref()),
        "sessionId": trace.session_id,
        "userId": trace.user_id,
        "release": trace.release,
        "version": trace.version,
        "metadata": trace.metadata,
        "tags": trace.tags,
        "public": trace.public,
        "bookmarked": false,
        "environment": trace.environment,
        "externalId": null,
        "createdAt": trace.timestamp,
        "updatedAt": totals.ended_at.unwrap_or(trace.timestamp),
        "htmlPath": format!("/project/{project}/traces/{}", trace.id),
        "latency": latency,
        "totalCost": dollars(totals.cost),
    }) else {
        return Map::new();
    };
    view
}

/// An observation as the first version of the list has it.
pub(super) fn observation(one: &Observation, project: &str) -> Value {
    let cost = |kind: &str| one.cost.get(kind).copied().map(dollars);
    let mut view = json!({
        "id": one.id,
        "traceId": one.trace_id,
        "projectId": project,
        "type": one.observation_type,
        "name": one.name,
        "startTime": one.start,
        "endTime": one.end,
        "completionStartTime": one.completion_start,
        "model": one.model,
        "modelParameters": one.model_parameters,
        "input": content(one.input.as_ref()),
        "output": content(one.output.as_ref()),
        "version": one.version,
        "metadata": one.metadata,
        "usage": {
            "input": one.input_tokens(), "output": one.output_tokens(), "total": one.total_tokens(), "unit": "TOKENS",
            "inputCost": cost("input"), "outputCost": cost("output"), "totalCost": dollars(one.total_cost()),
        },
        "level": one.level,
        "statusMessage": one.status_message,
        "parentObservationId": one.parent_id,
        "environment": one.environment,
        "promptId": null,
        "modelId": null,
        "inputPrice": null,
        "outputPrice": null,
        "totalPrice": null,
        "unit": "TOKENS",
    });
    if let Some(members) = view.as_object_mut() {
        members.extend(figures(one));
    }
    view
}

/// What both versions have: prompt, tokens, costs and durations.
fn figures(one: &Observation) -> Map<String, Value> {
    let costs: Map<String, Value> =
        one.cost.iter().map(|(kind, nanos)| (kind.clone(), json!(dollars(*nanos)))).collect();
    let prompt = one.prompt.as_ref();
    let Value::Object(figures) = json!({
        "promptName": prompt.map(|prompt| &prompt.name),
        "promptVersion": prompt.map(|prompt| prompt.version),
        "usageDetails": one.usage,
        "costDetails": costs,
        "calculatedInputCost": one.cost.get("input").copied().map(dollars),
        "calculatedOutputCost": one.cost.get("output").copied().map(dollars),
        "calculatedTotalCost": (!one.cost.is_empty()).then(|| dollars(one.total_cost())),
        "promptTokens": one.input_tokens(),
        "completionTokens": one.output_tokens(),
        "totalTokens": one.total_tokens(),
        "latency": one.end.map(|end| seconds(end.since(one.start))),
        "timeToFirstToken": one.completion_start.map(|first| seconds(first.since(one.start))),
        "createdAt": one.start,
        "updatedAt": one.end.unwrap_or(one.start),
    }) else {
        return Map::new();
    };
    figures
}

/// An observation as the second version of the list has it: groups of fields, contents as texts of JSON, and its trace's words.
pub(super) fn observation_v2(
    one: &Observation,
    trace: Option<&Trace>,
    project: &str,
    wants: impl Fn(&str) -> bool,
) -> Value {
    let mut view = Map::new();
    let mut add = |members: Value| {
        if let Value::Object(members) = members {
            view.extend(members);
        }
    };
    add(json!({
        "id": one.id, "traceId": one.trace_id, "projectId": project, "startTime": one.start, "endTime": one.end,
        "type": one.observation_type, "parentObservationId": one.parent_id, "isRootObservation": one.parent_id.is_none(),
    }));
    if wants("basic") || wants("core") {
        add(json!({
            "name": one.name, "level": one.level, "statusMessage": one.status_message, "version": one.version,
            "environment": one.environment, "bookmarked": false, "public": trace.is_some_and(|trace| trace.public),
            "userId": trace.and_then(|trace| trace.user_id.clone()),
            "sessionId": trace.and_then(|trace| trace.session_id.clone()),
        }));
    }
    if wants("time") {
        add(json!({
            "completionStartTime": one.completion_start, "createdAt": one.start, "updatedAt": one.end.unwrap_or(one.start),
        }));
    }
    if wants("io") {
        add(json!({"input": one.input.as_ref().map(text), "output": one.output.as_ref().map(text)}));
    }
    if wants("metadata") {
        add(json!({"metadata": one.metadata}));
    }
    if wants("model") {
        add(
            json!({"model": one.model, "providedModelName": one.model, "modelParameters": one.model_parameters, "internalModelId": null, "modelId": null}),
        );
    }
    let figures = figures(one);
    let pick = |names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| ((*name).to_owned(), figures.get(*name).cloned().unwrap_or(Value::Null)))
            .collect::<Map<_, _>>()
            .into()
    };
    if wants("usage") {
        add(pick(&["usageDetails", "costDetails"]));
        add(json!({"totalCost": dollars(one.total_cost())}));
    }
    if wants("prompt") {
        add(pick(&["promptName", "promptVersion"]));
        add(json!({"promptId": null}));
    }
    if wants("metrics") {
        add(pick(&["latency", "timeToFirstToken"]));
    }
    if wants("trace_context") || wants("trace") {
        add(json!({
            "traceName": trace.and_then(|trace| trace.name.clone()),
            "tags": trace.map(|trace| trace.tags.clone()),
            "release": trace.and_then(|trace| trace.release.clone()),
        }));
    }
    Value::Object(view)
}

/// A content as its JSON text.
fn text(json: &JsonText) -> &str {
    // What is no JSON was never written.
    serde_json::from_str::<&RawValue>(json.as_str()).map_or("null", |_| json.as_str())
}

/// A score as the first two versions have it.
pub(super) fn score(stored: &StoredScore, project: &str) -> Value {
    let score = &stored.score;
    let (trace, observation, session, run) = target(&score.target);
    json!({
        "id": score.id,
        "projectId": project,
        "traceId": trace,
        "observationId": observation,
        "sessionId": session,
        "datasetRunId": run,
        "name": score.name,
        "dataType": score.score_type,
        "value": score.value,
        // A numeric score has the member all the same: clients tell the types by it.
        "stringValue": if score.score_type == ScoreType::Numeric { None } else { score.text.as_ref() },
        "comment": score.comment,
        "source": score.source,
        "authorUserId": score.author_user_id,
        "configId": score.config_id,
        "queueId": null,
        "environment": score.environment,
        "metadata": score.metadata,
        "timestamp": score.timestamp,
        "createdAt": stored.created_at,
        "updatedAt": stored.updated_at,
    })
}

/// A score as the third version has it: one value of its type, and what it is of.
pub(super) fn score_v3(stored: &StoredScore, project: &str) -> Value {
    let score = &stored.score;
    let value = match score.score_type {
        ScoreType::Numeric => json!(score.value),
        ScoreType::Boolean => json!(score.value == 1.0),
        ScoreType::Categorical | ScoreType::Text | ScoreType::Correction => json!(score.text),
    };
    let subject = match target(&score.target) {
        (Some(trace), Some(observation), ..) => json!({"kind": "observation", "id": observation, "traceId": trace}),
        (Some(trace), ..) => json!({"kind": "trace", "id": trace}),
        (_, _, Some(session), _) => json!({"kind": "session", "id": session}),
        (_, _, _, run) => json!({"kind": "experiment", "id": run}),
    };
    json!({
        "id": score.id,
        "projectId": project,
        "name": score.name,
        "dataType": score.score_type,
        "value": value,
        "source": score.source,
        "timestamp": score.timestamp,
        "environment": score.environment,
        "createdAt": stored.created_at,
        "updatedAt": stored.updated_at,
        "comment": score.comment,
        "configId": score.config_id,
        "metadata": score.metadata,
        "authorUserId": score.author_user_id,
        "queueId": null,
        "subject": subject,
    })
}

type Target<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn target(target: &ScoreTarget) -> Target<'_> {
    match target {
        ScoreTarget::Trace(trace, observation) => {
            (Some(trace.as_str()), observation.as_ref().map(|id| id.as_str()), None, None)
        }
        ScoreTarget::Session(session) => (None, None, Some(session), None),
        ScoreTarget::DatasetRun(run) => (None, None, None, Some(run)),
    }
}
