//! A span as an observation, and what it says of its trace.
//!
//! Langfuse's own attributes come first; then OpenTelemetry's conventions for generative models
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>), OpenInference's
//! (<https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>) and those of Vercel's AI SDK. What none of
//! them names stays in the metadata.

use std::collections::BTreeMap;

use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{
    Level, ObservationId, ObservationPatch, ObservationType, PatchKind, PromptLink, TraceId, TracePatch,
};
use serde_json::{Map, Value, json};

use super::attributes::{Attributes, decoded};
use super::message::take_spread;
use super::wire::{Event, Scope, Span};
use crate::langfuse::amount;

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
    environment: Option<String>,
    release: Option<String>,
    decodes_metadata: bool,
}

impl Origin {
    pub(super) fn new(resource: &Attributes, scope: Scope) -> Self {
        let major = scope.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let is_python = resource.text(&["telemetry.sdk.language"]).is_none_or(|language| language == "python");
        let decodes_metadata =
            scope.name == LANGFUSE_SCOPE && is_python && major.is_some_and(|major| major >= JSON_METADATA_SINCE);
        let environment =
            resource.text(&["langfuse.environment", "deployment.environment.name", "deployment.environment"]);
        let release = resource.text(&["langfuse.release", "service.version"]);
        let attributes = Attributes::of(scope.attributes).into_object();
        let scope = json!({"name": scope.name, "version": scope.version, "attributes": attributes});
        Self { resource: resource.clone().into_object(), scope, environment, release, decodes_metadata }
    }
}

/// Reads a span. What it says of its trace is none where it says nothing.
pub(super) fn read(span: Span, origin: &Origin) -> Result<(Option<TracePatch>, ObservationPatch), String> {
    let trace_id = id::<16>(&span.trace_id).map(TraceId::from_bytes).ok_or_else(|| bad_id("trace", &span))?;
    let id_of_span = id::<8>(&span.span_id).map(ObservationId::from_bytes).ok_or_else(|| bad_id("span", &span))?;
    let parent = id::<8>(&span.parent_span_id).map(ObservationId::from_bytes);
    let start = instant(span.start_time_unix_nano).ok_or_else(|| format!("span `{}` begins at no time", span.name))?;
    let mut attributes = Attributes::of(span.attributes);
    let is_root = parent.is_none() || attributes.take(&["langfuse.internal.as_root"]) == Some(Value::Bool(true));
    let mut trace = trace(&mut attributes, trace_id.clone(), start, origin);
    let mut observation = ObservationPatch::new(trace_id, id_of_span, PatchKind::Create, start);
    observation.parent_id = parent;
    observation.start = Some(start);
    observation.end = instant(span.end_time_unix_nano).map(|end| end.max(start));
    observation.environment = trace.environment.clone();
    observation.version = trace.version.clone();
    observation.observation_type = Some(observation_type(&mut attributes));
    contents(&mut observation, &mut attributes);
    model(&mut observation, &mut attributes);
    outcome(&mut observation, &mut attributes, span.status, &span.events);
    observation.metadata = metadata(&mut attributes, origin, &span.events);
    if is_root {
        trace.name.get_or_insert_with(|| span.name.clone());
        trace.input = trace.input.or_else(|| observation.input.clone());
        trace.output = trace.output.or_else(|| observation.output.clone());
    }
    observation.name = Some(span.name);
    let says_something = is_root || says_something(&trace);
    Ok((says_something.then_some(trace), observation))
}

fn bad_id(what: &str, span: &Span) -> String {
    format!("span `{}` has no valid {what} id", span.name.chars().take(100).collect::<String>())
}

/// Zero is no id (W3C Trace Context, section 3.2.2).
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| id.iter().any(|byte| *byte != 0))
}

fn instant(nanos: u64) -> Option<NanoTimestamp> {
    i64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(NanoTimestamp::from_nanos)
}

fn trace(attributes: &mut Attributes, id: TraceId, start: NanoTimestamp, origin: &Origin) -> TracePatch {
    let mut trace = TracePatch::new(id, start);
    trace.timestamp = Some(start);
    trace.name = attributes.take_text(&["langfuse.trace.name"]);
    trace.user_id = attributes.take_text(&["user.id", "langfuse.user.id"]);
    trace.session_id = attributes.take_text(&["session.id", "langfuse.session.id", "gen_ai.conversation.id"]);
    trace.input = attributes.take_content(&["langfuse.trace.input"]);
    trace.output = attributes.take_content(&["langfuse.trace.output"]);
    trace.public = attributes.take(&["langfuse.trace.public"]).map(|value| decoded(value) == Value::Bool(true));
    trace.tags = attributes.take(&["langfuse.trace.tags", "tag.tags"]).map(tags).unwrap_or_default();
    trace.environment = attributes.take_text(&["langfuse.environment"]).or_else(|| origin.environment.clone());
    trace.release = attributes.take_text(&["langfuse.release"]).or_else(|| origin.release.clone());
    trace.version = attributes.take_text(&["langfuse.version"]);
    trace.metadata = named_metadata(attributes, "langfuse.trace.metadata", origin);
    trace
}

fn says_something(trace: &TracePatch) -> bool {
    trace.name.is_some()
        || trace.user_id.is_some()
        || trace.session_id.is_some()
        || trace.input.is_some()
        || trace.output.is_some()
        || trace.public.is_some()
        || trace.version.is_some()
        || !trace.tags.is_empty()
        || !trace.metadata.is_empty()
}

fn tags(value: Value) -> Vec<String> {
    match decoded(value) {
        Value::Array(tags) => tags.into_iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
        Value::String(tag) if !tag.is_empty() => vec![tag],
        _ => Vec::new(),
    }
}

/// `NAME` as an object, and `NAME.*` one by one.
fn named_metadata(attributes: &mut Attributes, name: &str, origin: &Origin) -> Map<String, Value> {
    let mut metadata = attributes.take_object(&[name]).unwrap_or_default();
    for (key, value) in attributes.take_prefixed(&format!("{name}.")) {
        let is_structure = value.as_str().is_some_and(|text| text.starts_with(['{', '[']));
        let value = if origin.decodes_metadata || is_structure { decoded(value) } else { value };
        metadata.insert(key, value);
    }
    metadata
}

fn observation_type(attributes: &mut Attributes) -> ObservationType {
    let said = attributes.take_text(&["langfuse.observation.type"]).and_then(|said| said.parse().ok());
    let operation = attributes.text(&["gen_ai.operation.name"]);
    let by_operation = match operation.as_deref() {
        Some("chat" | "text_completion" | "generate_content" | "completion") => Some(ObservationType::Generation),
        Some("embeddings") => Some(ObservationType::Embedding),
        Some("execute_tool") => Some(ObservationType::Tool),
        Some("invoke_agent" | "create_agent") => Some(ObservationType::Agent),
        _ => None,
    };
    let kind = attributes.take_text(&["openinference.span.kind"]).map(|kind| kind.to_ascii_uppercase());
    let by_kind = match kind.as_deref() {
        Some("LLM") => Some(ObservationType::Generation),
        Some("RERANKER") => Some(ObservationType::Retriever),
        Some(kind) => kind.parse().ok(),
        None => None,
    };
    let vercel = attributes.text(&["ai.operationId"]).unwrap_or_default();
    let by_vercel = match vercel.as_str() {
        "ai.toolCall" => Some(ObservationType::Tool),
        id if id.ends_with(".doEmbed") => Some(ObservationType::Embedding),
        id if id.ends_with(".doGenerate") || id.ends_with(".doStream") => Some(ObservationType::Generation),
        _ => None,
    };
    let names_model =
        ["langfuse.observation.model.name", "gen_ai.request.model", "gen_ai.response.model", "llm.model_name"];
    let by_model = names_model.iter().any(|name| attributes.has(name)).then_some(ObservationType::Generation);
    said.or(by_operation).or(by_kind).or(by_vercel).or(by_model).unwrap_or(ObservationType::Span)
}

fn contents(observation: &mut ObservationPatch, attributes: &mut Attributes) {
    observation.input = attributes
        .take_content(&["langfuse.observation.input", "gen_ai.input.messages"])
        .or_else(|| take_spread(attributes, "gen_ai.prompt."))
        .or_else(|| take_spread(attributes, "llm.input_messages."))
        .or_else(|| {
            attributes.take_content(&[
                "input.value",
                "ai.prompt.messages",
                "ai.prompt",
                "ai.toolCall.args",
                "gen_ai.tool.call.arguments",
            ])
        });
    observation.output = attributes
        .take_content(&["langfuse.observation.output", "gen_ai.output.messages"])
        .or_else(|| take_spread(attributes, "gen_ai.completion."))
        .or_else(|| take_spread(attributes, "llm.output_messages."))
        .or_else(|| {
            attributes.take_content(&[
                "output.value",
                "ai.response.text",
                "ai.response.object",
                "ai.response.toolCalls",
                "ai.toolCall.result",
                "gen_ai.tool.call.result",
            ])
        });
    attributes.take(&["input.mime_type", "output.mime_type"]);
}

fn model(observation: &mut ObservationPatch, attributes: &mut Attributes) {
    observation.model = attributes.take_text(&[
        "langfuse.observation.model.name",
        "gen_ai.response.model",
        "gen_ai.request.model",
        "llm.model_name",
        "embedding.model_name",
        "ai.response.model",
        "ai.model.id",
    ]);
    let parameters = attributes.take_object(&["langfuse.observation.model.parameters", "llm.invocation_parameters"]);
    let requested = attributes.take_prefixed("gen_ai.request.");
    let parameters = parameters.unwrap_or(requested);
    observation.model_parameters = (!parameters.is_empty()).then_some(parameters);
    observation.usage = usage(attributes);
    observation.cost = cost(attributes);
    let first = attributes.take_text(&["langfuse.observation.completion_start_time"]);
    observation.completion_start = first.and_then(|time| NanoTimestamp::parse(time.trim_matches('"')));
    let name = attributes.take_text(&["langfuse.observation.prompt.name"]);
    let version = attributes.take_count(&["langfuse.observation.prompt.version"]);
    let version = version.and_then(|version| u32::try_from(version).ok());
    observation.prompt = name.zip(version).map(|(name, version)| PromptLink { name, version });
}

/// Tokens by kind. OpenTelemetry's and OpenInference's input includes what was cached; kinds here are apart.
fn usage(attributes: &mut Attributes) -> Option<BTreeMap<String, u64>> {
    if let Some(details) = attributes.take_object(&["langfuse.observation.usage_details"]) {
        let counts = details
            .into_iter()
            .filter_map(|(kind, count)| Some((kind, count.as_u64().or_else(|| Some(count.as_f64()? as u64))?)));
        return Some(counts.collect());
    }
    let input = attributes.take_count(&[
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
    ]);
    let output = attributes.take_count(&[
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ]);
    let total =
        attributes.take_count(&["gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"]);
    let cached = attributes.take_count(&[
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "ai.usage.cachedInputTokens",
    ]);
    let written = attributes.take_count(&[
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ]);
    let reasoning = attributes.take_count(&[
        "gen_ai.usage.reasoning.output_tokens",
        "llm.token_count.completion_details.reasoning",
        "ai.usage.reasoningTokens",
    ]);
    let apart = |sum: Option<u64>, parts: &[Option<u64>]| {
        sum.map(|sum| parts.iter().flatten().fold(sum, |left, part| left.saturating_sub(*part)))
    };
    let kinds = [
        ("input", apart(input, &[cached, written])),
        ("input_cached_tokens", cached),
        ("input_cache_creation", written),
        ("output", apart(output, &[reasoning])),
        ("output_reasoning_tokens", reasoning),
        ("total", total.or_else(|| Some(input?.saturating_add(output.unwrap_or(0))))),
    ];
    let kinds: BTreeMap<String, u64> =
        kinds.into_iter().filter_map(|(kind, count)| Some((kind.to_owned(), count?))).collect();
    (!kinds.is_empty()).then_some(kinds)
}

fn cost(attributes: &mut Attributes) -> Option<BTreeMap<String, Nanos>> {
    let details = attributes.take_object(&["langfuse.observation.cost_details"]);
    let total = attributes.take(&["gen_ai.usage.cost", "llm.cost.total"]);
    let details = details.or_else(|| Some(Map::from_iter([("total".to_owned(), total?)])))?;
    let cost: BTreeMap<String, Nanos> =
        details.into_iter().filter_map(|(kind, value)| Some((kind, amount(value.as_f64()?).ok()?))).collect();
    (!cost.is_empty()).then_some(cost)
}

fn outcome(
    observation: &mut ObservationPatch,
    attributes: &mut Attributes,
    status: Option<super::wire::Status>,
    events: &[Event],
) {
    let status = status.unwrap_or_default();
    let said = attributes.take_text(&["langfuse.observation.level"]).and_then(|level| level.parse().ok());
    let failed = (status.code == STATUS_ERROR).then_some(Level::Error);
    observation.level = Some(said.or(failed).unwrap_or(Level::Default));
    let exception = || {
        let event = events.iter().find(|event| event.name == "exception")?;
        Attributes::of(event.attributes.clone()).take_text(&["exception.message", "exception.type"])
    };
    let message = attributes.take_text(&["langfuse.observation.status_message"]);
    observation.status_message =
        message.or_else(|| Some(status.message).filter(|message| !message.is_empty())).or_else(exception);
}

/// What was said by name, what nobody understood, and where it comes from.
fn metadata(attributes: &mut Attributes, origin: &Origin, events: &[Event]) -> Map<String, Value> {
    let mut metadata = named_metadata(attributes, "langfuse.observation.metadata", origin);
    attributes.take(&["langfuse.internal.is_app_root"]);
    let rest = std::mem::take(attributes).into_object();
    if !rest.is_empty() {
        metadata.insert("attributes".to_owned(), Value::Object(rest));
    }
    if !events.is_empty() {
        let told = events.iter().map(|event| {
            let time = instant(event.time_unix_nano).map(|time| time.to_string());
            json!({"name": event.name, "time": time, "attributes": Attributes::of(event.attributes.clone()).into_object()})
        });
        metadata.insert("events".to_owned(), told.collect());
    }
    metadata.insert("resourceAttributes".to_owned(), Value::Object(origin.resource.clone()));
    metadata.insert("scope".to_owned(), origin.scope.clone());
    metadata
}
