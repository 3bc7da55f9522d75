//! A span as an observation, and what it says of its trace.
//!
//! Langfuse's own attributes come first; then OpenTelemetry's conventions for generative models
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>), OpenInference's
//! (<https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>) and those of Vercel's AI SDK. What none of
//! them names stays in the metadata.

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Level, ObservationId, ObservationPatch, PatchKind, TraceId, TracePatch};
use serde_json::{Map, Value, json};

use super::attributes::{Attributes, decoded};
use super::wire::{Event, Scope, Span, Status};
use super::{content, model, trace};
use crate::traced_text::{NAME_BYTES_MAX, PROSE_BYTES_MAX, clipped, shortened};

/// OTLP's status of what failed.
const STATUS_ERROR: i32 = 2;
/// The libraries by which Langfuse's SDKs make spans.
const LANGFUSE_SCOPE: &str = "langfuse-sdk";
/// From this major version on, the Python SDK writes every value of metadata as JSON, texts too.
const JSON_METADATA_SINCE: u32 = 5;

/// What the spans of one library in one process have in common.
pub(super) struct Origin {
    resource: Map<String, Value>,
    scope: Value,
    pub(super) environment: Option<String>,
    pub(super) release: Option<String>,
    /// Whether a text of metadata is the JSON of one.
    decodes_texts: bool,
}

impl Origin {
    pub(super) fn new(resource: &Attributes, scope: Scope) -> Self {
        let major = scope.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let is_python = resource.text(&["telemetry.sdk.language"]).is_none_or(|language| language == "python");
        let decodes_texts =
            scope.name == LANGFUSE_SCOPE && is_python && major.is_some_and(|major| major >= JSON_METADATA_SINCE);
        let environment =
            resource.text(&["langfuse.environment", "deployment.environment.name", "deployment.environment"]);
        let release = resource.text(&["langfuse.release", "service.version"]);
        let attributes = Attributes::of(scope.attributes).into_object();
        let scope = json!({"name": scope.name, "version": scope.version, "attributes": attributes});
        Self { resource: resource.clone().into_object(), scope, environment, release, decodes_texts }
    }
}

/// Reads a span, and what it says of its trace.
pub(super) fn read(span: Span, origin: &Origin) -> Result<(Vec<TracePatch>, ObservationPatch), String> {
    let about = shortened(&span.name);
    let missing = |what: &str| format!("span `{about}` has no valid {what}");
    let trace_id = id::<16>(&span.trace_id).map(TraceId::from_bytes).ok_or_else(|| missing("trace id"))?;
    let id_of_span = id::<8>(&span.span_id).map(ObservationId::from_bytes).ok_or_else(|| missing("span id"))?;
    let start = instant(span.start_time_unix_nano).ok_or_else(|| missing("start"))?;
    let parent = id::<8>(&span.parent_span_id).map(ObservationId::from_bytes);
    let mut attributes = Attributes::of(span.attributes);
    let refused = |reason| format!("span `{about}`: {reason}");
    let is_app_root = ["langfuse.internal.as_root", "langfuse.internal.is_app_root"]
        .map(|name| attributes.take(&[name]).map(decoded) == Some(Value::Bool(true)));
    let mut trace = trace::read(&mut attributes, trace_id.clone(), start, origin).map_err(refused)?;
    let mut observation = ObservationPatch::new(trace_id, id_of_span, PatchKind::Create, start);
    observation.parent_id = parent;
    observation.name = Some(clipped(span.name, NAME_BYTES_MAX));
    observation.start = Some(start);
    observation.end = instant(span.end_time_unix_nano).map(|end| end.max(start));
    observation.environment = trace.said.environment.clone();
    observation.version = trace.said.version.clone();
    model::read(&mut observation, &mut attributes).map_err(refused)?;
    content::read(&mut observation, &mut attributes, &span.events);
    outcome(&mut observation, &mut attributes, span.status, &span.events);
    observation.metadata = metadata(&mut attributes, origin, span.events);
    // What called the application's first span is often not sent.
    if observation.parent_id.is_none() || is_app_root.contains(&true) {
        trace.stand_for(&observation, observation.parent_id.is_none());
    }
    Ok((trace.into_patches(), observation))
}

/// Zero is no id (W3C Trace Context, section 3.2.2).
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| id.iter().any(|byte| *byte != 0))
}

fn instant(nanos: u64) -> Option<NanoTimestamp> {
    i64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(NanoTimestamp::from_nanos)
}

fn outcome(observation: &mut ObservationPatch, attributes: &mut Attributes, status: Option<Status>, events: &[Event]) {
    let status = status.unwrap_or_default();
    let said = attributes.take_text(&["langfuse.observation.level"]).and_then(|level| level.parse().ok());
    let failed = (status.code == STATUS_ERROR).then_some(Level::Error);
    observation.level = Some(said.or(failed).unwrap_or(Level::Default));
    let exception = || {
        let event = events.iter().find(|event| event.name == "exception")?;
        let mut said = Attributes::of(event.attributes.clone());
        let parts = [said.take_text(&["exception.type"]), said.take_text(&["exception.message"])];
        Some(parts.into_iter().flatten().collect::<Vec<_>>().join(": ")).filter(|text| !text.is_empty())
    };
    let message = attributes.take_text(&["langfuse.observation.status_message"]);
    let message = message.or_else(|| Some(status.message).filter(|message| !message.is_empty())).or_else(exception);
    observation.status_message = message.map(|message| clipped(message, PROSE_BYTES_MAX));
}

/// What was said by name, what nobody understood, and where it comes from.
fn metadata(attributes: &mut Attributes, origin: &Origin, events: Vec<Event>) -> Map<String, Value> {
    let mut metadata = named_metadata(attributes, "langfuse.observation.metadata", origin);
    metadata.extend(named_metadata(attributes, "ai.telemetry.metadata", origin));
    let rest = std::mem::take(attributes).into_object();
    if !rest.is_empty() {
        metadata.insert("attributes".to_owned(), Value::Object(rest));
    }
    let events: Vec<Value> = events.into_iter().filter(|event| !content::is_message(&event.name)).map(told).collect();
    if !events.is_empty() {
        metadata.insert("events".to_owned(), Value::Array(events));
    }
    metadata.insert("resourceAttributes".to_owned(), Value::Object(origin.resource.clone()));
    metadata.insert("scope".to_owned(), origin.scope.clone());
    metadata
}

fn told(event: Event) -> Value {
    let time = instant(event.time_unix_nano).map(|time| time.to_string());
    json!({"name": event.name, "time": time, "attributes": Attributes::of(event.attributes).into_object()})
}

/// `NAME` as an object, and `NAME.*` one by one.
pub(super) fn named_metadata(attributes: &mut Attributes, name: &str, origin: &Origin) -> Map<String, Value> {
    let mut metadata = attributes.take_object(&[name]).unwrap_or_default();
    for (key, value) in attributes.take_prefixed(&format!("{name}.")) {
        metadata.insert(key, named_value(value, origin));
    }
    metadata
}

/// SDKs write values that are no texts as their JSON; some write texts so as well.
fn named_value(value: Value, origin: &Origin) -> Value {
    let Value::String(text) = value else { return value };
    match decoded(Value::String(text.clone())) {
        Value::String(inner) if origin.decodes_texts => Value::String(inner),
        Value::String(_) => Value::String(text),
        // A number that would be written otherwise is a text, such as the number of an order.
        Value::Number(number) if number.to_string() != text => Value::String(text),
        other => other,
    }
}
