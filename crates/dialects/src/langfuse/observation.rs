//! Events of observations: `span-create`, `generation-update`, `tool-create` …

use std::collections::HashMap;

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{
    ObservationId, ObservationPatch, ObservationType, PatchKind, PromptLink, TraceId, UnknownName,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::ingestion::time;
use super::usage::{costs, usage};
use super::{Invalid, content, environment, metadata, name, prose};
use crate::traced_text::shortened;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
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
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// What is known of an event besides its body.
pub(super) struct About<'a> {
    /// Its type.
    pub(super) kind: &'a str,
    /// Its own id.
    pub(super) event_id: &'a str,
    /// Its time.
    pub(super) at: NanoTimestamp,
    /// The traces of the batch's observations, as far as it is read.
    pub(super) traces: &'a HashMap<ObservationId, TraceId>,
}

/// Reads the body of an event.
pub(super) fn decode(about: &About<'_>, body: &RawValue) -> Result<ObservationPatch, Invalid> {
    let (of, kind) = kind_of(about.kind)?;
    let body: Body<'_> = serde_json::from_str(body.get()).map_err(|error| Invalid::shape(&error))?;
    let start = time(body.start_time.as_deref(), "startTime")?;
    // Some SDKs send a change before the beginning and date it so: what begins is older than all that changes it.
    let at = match kind {
        PatchKind::Create => start.unwrap_or(about.at).min(about.at),
        PatchKind::Update => about.at,
    };
    let (trace_id, id) = ids(about, kind, &body)?;
    let mut patch = ObservationPatch::new(trace_id, id, kind, at);
    patch.observation_type = match (of, body.observation_type) {
        (Some(of), _) => Some(of),
        (None, Some(said)) => Some(said.parse().map_err(|error| misnamed("type", &error))?),
        (None, None) => None,
    };
    patch.start = start.or((kind == PatchKind::Create).then_some(about.at));
    patch.end = time(body.end_time.as_deref(), "endTime")?;
    patch.completion_start = time(body.completion_start_time.as_deref(), "completionStartTime")?;
    let parent = body.parent_observation_id.filter(|parent| !parent.is_empty()).map(|parent| parent.parse());
    patch.parent_id = parent.transpose().map_err(|error| wrong("parentObservationId", &error))?;
    patch.level = body.level.map(|level| level.parse()).transpose().map_err(|error| misnamed("level", &error))?;
    patch.name = name("name", body.name)?;
    patch.status_message = prose("statusMessage", body.status_message)?;
    patch.version = name("version", body.version)?;
    patch.environment = environment(body.environment)?;
    patch.model = name("model", body.model)?;
    patch.model_parameters = body.model_parameters.map(flat);
    let (counted, priced) = usage(body.usage)?;
    let (details, _) = usage(body.usage_details)?;
    patch.usage = details.or(counted);
    patch.cost = costs(body.cost_details)?.or(priced);
    let prompt = name("promptName", body.prompt_name)?.zip(body.prompt_version);
    patch.prompt = prompt.map(|(name, version)| PromptLink { name, version });
    patch.metadata = metadata(body.metadata);
    patch.input = content("input", body.input)?;
    patch.output = content("output", body.output)?;
    Ok(patch)
}

/// The ids of the trace and of the observation.
fn ids(about: &About<'_>, kind: PatchKind, body: &Body<'_>) -> Result<(TraceId, ObservationId), Invalid> {
    let own = body.id.as_deref().or((kind == PatchKind::Create).then_some(about.event_id));
    let missing = || Invalid("`body.id` is missing: say which observation changes".to_owned());
    let own = own.ok_or_else(missing)?;
    let id: ObservationId = own.parse().map_err(|error| wrong("id", &error))?;
    if let Some(trace) = body.trace_id.as_deref() {
        return Ok((trace.parse().map_err(|error| wrong("traceId", &error))?, id));
    }
    match (about.traces.get(&id), kind) {
        (Some(trace), _) => Ok((trace.clone(), id)),
        // What stands alone is a trace by itself.
        (None, PatchKind::Create) => Ok((own.parse().map_err(|error| wrong("id", &error))?, id)),
        (None, PatchKind::Update) => {
            Err(Invalid("`body.traceId` is missing: name the trace of the observation that changes".to_owned()))
        }
    }
}

fn wrong(field: &str, error: &dyn std::fmt::Display) -> Invalid {
    Invalid(format!("`body.{field}`: {error}"))
}

fn misnamed(field: &str, error: &UnknownName) -> Invalid {
    wrong(field, error)
}

/// Parameters with one value each: lists and objects become their JSON, as in Langfuse.
pub(crate) fn flat(parameters: Map<String, Value>) -> Map<String, Value> {
    let said = parameters.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| match value {
        Value::Array(_) | Value::Object(_) => (name, Value::String(value.to_string())),
        value => (name, value),
    })
    .collect()
}

/// The type that the event's name says, if it says one.
fn kind_of(kind: &str) -> Result<(Option<ObservationType>, PatchKind), Invalid> {
    let unknown = || {
        Invalid(format!(
            "no event is called `{}`; there are trace-create, score-create, and span, generation, event, agent, tool, chain, \
             retriever, evaluator, embedding, guardrail or observation with -create or -update",
            shortened(kind)
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
