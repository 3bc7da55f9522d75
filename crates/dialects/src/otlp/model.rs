//! What kind of step a span is, and of a model's call the model, its parameters, what was used and what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{ObservationPatch, ObservationType, PromptLink};
use serde_json::{Map, Value};

use super::attributes::Attributes;
use crate::langfuse::{amount, flat};
use crate::traced_text::{LIST_MAX, NAME_BYTES_MAX, kept};

/// Tokens by kind. More than this nobody uses in one call, and sums of it fit.
type Usage = BTreeMap<String, u64>;
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// Takes it from the attributes.
pub(super) fn read(observation: &mut ObservationPatch, attributes: &mut Attributes) -> Result<(), String> {
    let observation_type = observation_type(attributes);
    observation.observation_type = Some(observation_type);
    let model = attributes.take_text(&[
        "langfuse.observation.model.name",
        "gen_ai.response.model",
        "gen_ai.request.model",
        "llm.model_name",
        "llm.response.model",
        "embedding.model_name",
        "ai.response.model",
        "ai.model.id",
    ]);
    observation.model = kept("model", model, NAME_BYTES_MAX)?;
    let parameters = attributes.take_object(&["langfuse.observation.model.parameters", "llm.invocation_parameters"]);
    let requested = attributes.take_prefixed("gen_ai.request.");
    let parameters = flat(parameters.unwrap_or(requested));
    observation.model_parameters = (!parameters.is_empty()).then_some(parameters);
    observation.usage = attributes.take_object(&["langfuse.observation.usage_details"]).map(counted);
    observation.cost = attributes.take_object(&["langfuse.observation.cost_details"]).and_then(priced);
    // An agent's span repeats the sums of the calls inside it: counted there as well, all would be counted twice.
    if matches!(observation_type, ObservationType::Generation | ObservationType::Embedding) {
        observation.usage = observation.usage.take().or_else(|| conventional_usage(attributes));
        let total = attributes.take(&["gen_ai.usage.cost", "llm.cost.total"]);
        let total = total.and_then(|total| priced(Map::from_iter([("total".to_owned(), total)])));
        observation.cost = observation.cost.take().or(total);
    }
    observation.completion_start = first_token(attributes, observation.at);
    let prompt = attributes.take_text(&["langfuse.observation.prompt.name", "langfuse.prompt.name"]);
    let version = attributes.take_count(&["langfuse.observation.prompt.version", "langfuse.prompt.version"]);
    let version = version.and_then(|version| u32::try_from(version).ok());
    let prompt = kept("langfuse.observation.prompt.name", prompt, NAME_BYTES_MAX)?.zip(version);
    observation.prompt = prompt.map(|(name, version)| PromptLink { name, version });
    Ok(())
}

fn observation_type(attributes: &mut Attributes) -> ObservationType {
    let said = attributes.take_text(&["langfuse.observation.type"]).and_then(|said| said.parse().ok());
    let operation = attributes.text(&["gen_ai.operation.name", "llm.request.type"]);
    let by_operation = match operation.as_deref() {
        Some("chat" | "text_completion" | "generate_content" | "completion") => Some(ObservationType::Generation),
        Some("embeddings" | "embedding") => Some(ObservationType::Embedding),
        Some("execute_tool") => Some(ObservationType::Tool),
        Some("invoke_agent" | "create_agent") => Some(ObservationType::Agent),
        Some("retrieval") => Some(ObservationType::Retriever),
        Some("invoke_workflow") => Some(ObservationType::Chain),
        _ => None,
    };
    let kind = attributes.take_text(&["openinference.span.kind"]).map(|kind| kind.to_ascii_uppercase());
    let by_kind = match kind.as_deref() {
        Some("LLM") => Some(ObservationType::Generation),
        Some("RERANKER") => Some(ObservationType::Retriever),
        Some(kind) => kind.parse().ok(),
        None => None,
    };
    let by_vercel = attributes.text(&["ai.operationId"]).map(|id| match id.as_str() {
        "ai.toolCall" => ObservationType::Tool,
        id if id.ends_with(".doEmbed") => ObservationType::Embedding,
        id if id.ends_with(".doGenerate") || id.ends_with(".doStream") => ObservationType::Generation,
        // It stands around the others, and repeats their sums.
        _ => ObservationType::Span,
    });
    let names_model = [
        "langfuse.observation.model.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "llm.model_name",
        "llm.response.model",
    ];
    let by_model = names_model.iter().any(|name| attributes.has(name)).then_some(ObservationType::Generation);
    said.or(by_operation).or(by_kind).or(by_vercel).or(by_model).unwrap_or(ObservationType::Span)
}

/// When the first token came: as it is said, or so long after the start.
fn first_token(attributes: &mut Attributes, start: NanoTimestamp) -> Option<NanoTimestamp> {
    let said = attributes.take_text(&["langfuse.observation.completion_start_time"]);
    let millis = attributes.take_float(&["ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"]);
    let seconds = attributes.take_float(&["gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"]);
    if let Some(said) = said.and_then(|time| NanoTimestamp::parse(time.trim_matches('"'))) {
        return Some(said);
    }
    let wait = Duration::try_from_secs_f64(seconds.or(millis.map(|millis| millis / 1e3))?).ok()?;
    let wait = i64::try_from(wait.as_nanos()).ok()?;
    Some(NanoTimestamp::from_nanos(start.as_nanos().checked_add(wait)?))
}

/// Langfuse's own kinds; what is no number of tokens is left out.
fn counted(details: Map<String, Value>) -> Usage {
    let count = |value: &Value| {
        let float =
            || value.as_f64().filter(|count| (0.0..=TOKENS_MAX as f64).contains(count)).map(|count| count as u64);
        value.as_u64().or_else(float).filter(|count| *count <= TOKENS_MAX)
    };
    let named = details.into_iter().filter(|(kind, _)| kind.len() <= NAME_BYTES_MAX).take(LIST_MAX);
    named.filter_map(|(kind, value)| Some((kind, count(&value)?))).collect()
}

fn priced(details: Map<String, Value>) -> Option<BTreeMap<String, Nanos>> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let named = details.into_iter().filter(|(kind, _)| kind.len() <= NAME_BYTES_MAX).take(LIST_MAX);
    let costs: BTreeMap<String, Nanos> =
        named.filter_map(|(kind, value)| Some((kind, amount(number(&value)?).ok()?))).collect();
    (!costs.is_empty()).then_some(costs)
}

/// Tokens by kind. OpenTelemetry's and OpenInference's input includes what was cached; kinds here are apart.
fn conventional_usage(attributes: &mut Attributes) -> Option<Usage> {
    let mut take = |names: &[&str]| attributes.take_count(names).map(|count| count.min(TOKENS_MAX));
    let input = take(&[
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
    ]);
    let output = take(&[
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ]);
    let total =
        take(&["gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total", "ai.usage.tokens"]);
    let cached = take(&[
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "ai.usage.cachedInputTokens",
    ]);
    let written = take(&[
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ]);
    let reasoning = take(&[
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
    let kinds: Usage = kinds.into_iter().filter_map(|(kind, count)| Some((kind.to_owned(), count?))).collect();
    (!kinds.is_empty()).then_some(kinds)
}
