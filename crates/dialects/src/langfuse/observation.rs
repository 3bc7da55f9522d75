//! Events of observations: `span-create`, `generation-update`, `tool-create` …

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{ObservationPatch, ObservationType, PatchKind, PromptLink, UnknownName};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ingestion::{content, time};
use super::usage::{costs, usage};
use super::{Invalid, metadata};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    id: Option<String>,
    trace_id: Option<String>,
    #[serde(rename = "type")]
    observation_type: Option<String>,
    name: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    completion_start_time: Option<String>,
    parent_observation_id: Option<String>,
    level: Option<String>,
    status_message: Option<String>,
    version: Option<String>,
    environment: Option<String>,
    model: Option<String>,
    model_parameters: Option<Map<String, Value>>,
    usage: Option<Value>,
    usage_details: Option<Value>,
    cost_details: Option<Map<String, Value>>,
    prompt_name: Option<String>,
    prompt_version: Option<u32>,
    metadata: Option<Value>,
    input: Option<Value>,
    output: Option<Value>,
}

/// Reads the body of an event of this kind.
pub(super) fn decode(kind: &str, body: Value, at: NanoTimestamp) -> Result<ObservationPatch, Invalid> {
    let (of, patch_kind) = kind_of(kind)?;
    let body: Body = serde_json::from_value(body).map_err(|error| Invalid(format!("`body`: {error}")))?;
    let missing = || Invalid("`body.id` is missing: an observation needs one".to_owned());
    let id = body.id.as_deref().ok_or_else(missing)?;
    let wrong = |name: &str, error: &dyn std::fmt::Display| Invalid(format!("`body.{name}`: {error}"));
    let trace_id = body.trace_id.as_deref().unwrap_or(id).parse().map_err(|error| wrong("traceId", &error))?;
    let mut patch = ObservationPatch::new(trace_id, id.parse().map_err(|error| wrong("id", &error))?, patch_kind, at);
    let named = |name: &str, error: UnknownName| wrong(name, &error);
    patch.observation_type = match (of, body.observation_type) {
        (Some(of), _) => Some(of),
        (None, Some(said)) => Some(said.parse().map_err(|error| named("type", error))?),
        (None, None) => None,
    };
    patch.start = time(body.start_time.as_deref(), "startTime")?.or((patch_kind == PatchKind::Create).then_some(at));
    patch.end = time(body.end_time.as_deref(), "endTime")?;
    patch.completion_start = time(body.completion_start_time.as_deref(), "completionStartTime")?;
    let parent = body.parent_observation_id.map(|parent| parent.parse()).transpose();
    patch.parent_id = parent.map_err(|error| wrong("parentObservationId", &error))?;
    patch.level = body.level.map(|level| level.parse()).transpose().map_err(|error| named("level", error))?;
    patch.name = body.name;
    patch.status_message = body.status_message;
    patch.version = body.version;
    patch.environment = body.environment;
    patch.model = body.model;
    patch.model_parameters = body.model_parameters;
    let (counted, priced) = usage(body.usage)?;
    let (details, _) = usage(body.usage_details)?;
    patch.usage = details.or(counted);
    patch.cost = costs(body.cost_details)?.or(priced);
    patch.prompt = body.prompt_name.zip(body.prompt_version).map(|(name, version)| PromptLink { name, version });
    patch.metadata = metadata(body.metadata);
    patch.input = content(body.input);
    patch.output = content(body.output);
    Ok(patch)
}

/// The type that the event's name says, if it says one.
fn kind_of(kind: &str) -> Result<(Option<ObservationType>, PatchKind), Invalid> {
    let unknown = || {
        Invalid(format!(
            "no event is called `{kind}`; there are trace-create, score-create, and span, generation, event, agent, tool, chain, \
             retriever, evaluator, embedding, guardrail or observation with -create or -update"
        ))
    };
    let (of, action) = kind.rsplit_once('-').ok_or_else(unknown)?;
    let patch_kind = match action {
        "create" => PatchKind::Create,
        "update" => PatchKind::Update,
        _ => return Err(unknown()),
    };
    match of {
        "observation" => Ok((None, patch_kind)),
        of => Ok((Some(of.parse().map_err(|_| unknown())?), patch_kind)),
    }
}
