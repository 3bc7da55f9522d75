//! Observations as spans, for any collector: with Langfuse's attributes, so that a larger Langfuse understands all of them, and
//! OpenTelemetry's for generative models.

use privet_domain::trace::{JsonText, Level, Observation, ObservationType, Trace};
use prost::Message as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::wire::{
    AnyValue, AnyValueKind, ArrayValue, ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope,
    ScopeSpans, Span, Status,
};

const STATUS_ERROR: i32 = 2;
/// SPAN_KIND_INTERNAL and SPAN_KIND_CLIENT.
const KIND_INTERNAL: i32 = 1;
const KIND_CLIENT: i32 = 3;
const NANOS_PER_DOLLAR: f64 = 1e9;

/// An export of observations, each with its trace where that is known, as protobuf.
#[must_use]
pub fn encode_export(observations: &[(Observation, Option<Trace>)], version: &str) -> Vec<u8> {
    let spans = observations.iter().map(|(observation, trace)| span(observation, trace.as_ref())).collect();
    let scope = Scope { name: "privet".to_owned(), version: version.to_owned(), attributes: Vec::new() };
    let resource = Resource { attributes: vec![text("service.name", "privet")] };
    let of_resource =
        ResourceSpans { resource: Some(resource), scope_spans: vec![ScopeSpans { scope: Some(scope), spans }] };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }.encode_to_vec()
}

fn span(one: &Observation, trace: Option<&Trace>) -> Span {
    let nanos = |nanos: i64| u64::try_from(nanos).unwrap_or(0);
    let mut attributes = of_observation(one);
    if let Some(trace) = trace {
        of_trace(&mut attributes, trace, one.parent_id.is_none());
    }
    let failed = one.level == Level::Error;
    let message = one.status_message.clone().unwrap_or_default();
    let calls_model = matches!(one.observation_type, ObservationType::Generation | ObservationType::Embedding);
    Span {
        trace_id: id::<16>(one.trace_id.as_str()).to_vec(),
        span_id: id::<8>(one.id.as_str()).to_vec(),
        parent_span_id: one.parent_id.as_ref().map(|parent| id::<8>(parent.as_str()).to_vec()).unwrap_or_default(),
        name: one.name.clone().unwrap_or_else(|| one.observation_type.as_str().to_lowercase()),
        kind: if calls_model { KIND_CLIENT } else { KIND_INTERNAL },
        start_time_unix_nano: nanos(one.start.as_nanos()),
        end_time_unix_nano: nanos(one.end.unwrap_or(one.start).as_nanos()),
        attributes,
        events: Vec::new(),
        status: failed.then_some(Status { message, code: STATUS_ERROR }),
    }
}

/// An id in OpenTelemetry's form: its bytes where it is one, else a hash of it, always the same.
fn id<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    // Zero is no id.
    let is_hex = text.len() == 2 * N
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0');
    if is_hex {
        for (place, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *place = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
        return bytes;
    }
    let hash = blake3::hash(text.as_bytes());
    for (place, byte) in bytes.iter_mut().zip(hash.as_bytes()) {
        *place = *byte;
    }
    bytes
}

fn of_observation(one: &Observation) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("langfuse.observation.type", &one.observation_type.as_str().to_lowercase()),
        text("langfuse.observation.level", one.level.as_str()),
        text("langfuse.environment", &one.environment),
    ];
    let mut add = |name: &str, value: Option<String>| attributes.extend(value.map(|value| text(name, &value)));
    add("langfuse.observation.status_message", one.status_message.clone());
    add("langfuse.version", one.version.clone());
    add("langfuse.observation.input", one.input.as_ref().map(plain));
    add("langfuse.observation.output", one.output.as_ref().map(plain));
    add("langfuse.observation.model.name", one.model.clone());
    add("gen_ai.request.model", one.model.clone());
    add("langfuse.observation.model.parameters", object(&one.model_parameters, one.model_parameters.is_empty()));
    add("langfuse.observation.usage_details", object(&one.usage, one.usage.is_empty()));
    let costs: serde_json::Map<String, Value> =
        one.cost.iter().map(|(kind, nanos)| (kind.clone(), json!(nanos.as_i64() as f64 / NANOS_PER_DOLLAR))).collect();
    add("langfuse.observation.cost_details", object(&costs, costs.is_empty()));
    add("langfuse.observation.completion_start_time", one.completion_start.map(|at| at.to_string()));
    add("langfuse.observation.prompt.name", one.prompt.as_ref().map(|prompt| prompt.name.clone()));
    attributes
        .extend(one.prompt.as_ref().map(|prompt| number("langfuse.observation.prompt.version", prompt.version.into())));
    if one.total_tokens() > 0 {
        let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        attributes.push(number("gen_ai.usage.input_tokens", count(one.input_tokens())));
        attributes.push(number("gen_ai.usage.output_tokens", count(one.output_tokens())));
    }
    for (name, value) in &one.metadata {
        attributes.push(text(&format!("langfuse.observation.metadata.{name}"), &as_text(value)));
    }
    attributes
}

fn of_trace(attributes: &mut Vec<KeyValue>, trace: &Trace, is_root: bool) {
    let mut add = |name: &str, value: Option<&String>| attributes.extend(value.map(|value| text(name, value)));
    add("langfuse.trace.name", trace.name.as_ref());
    add("user.id", trace.user_id.as_ref());
    add("session.id", trace.session_id.as_ref());
    add("langfuse.release", trace.release.as_ref());
    if !trace.tags.is_empty() {
        let values = trace.tags.iter().map(|tag| any(AnyValueKind::StringValue(tag.clone()))).collect();
        let tags = any(AnyValueKind::ArrayValue(ArrayValue { values }));
        attributes.push(KeyValue { key: "langfuse.trace.tags".to_owned(), value: Some(tags) });
    }
    if is_root {
        // Once is enough.
        for (name, content) in [("langfuse.trace.input", &trace.input), ("langfuse.trace.output", &trace.output)] {
            attributes.extend(content.as_ref().map(|content| text(name, &plain(content))));
        }
        for (name, value) in &trace.metadata {
            attributes.push(text(&format!("langfuse.trace.metadata.{name}"), &as_text(value)));
        }
    }
}

fn plain(content: &JsonText) -> String {
    content.as_str().to_owned()
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn any(kind: AnyValueKind) -> AnyValue {
    AnyValue { value: Some(kind) }
}

fn text(name: &str, value: &str) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(any(AnyValueKind::StringValue(value.to_owned()))) }
}

fn number(name: &str, value: i64) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(any(AnyValueKind::IntValue(value))) }
}

/// The JSON of an object that is not empty.
fn object<T: Serialize>(value: &T, is_empty: bool) -> Option<String> {
    (!is_empty).then(|| serde_json::to_string(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use privet_domain::time::NanoTimestamp;
    use privet_domain::trace::{ObservationPatch, PatchKind, PromptLink, TracePatch};

    use super::*;
    use crate::otlp::decode_protobuf;

    #[test]
    fn what_is_exported_reads_back_as_it_was() {
        let at = NanoTimestamp::from_nanos(1_790_000_000_123_456_789);
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut patch = ObservationPatch::new(
            trace_id.parse().unwrap(),
            "00f067aa0ba902b7".parse().unwrap(),
            PatchKind::Create,
            at,
        );
        patch.observation_type = Some(ObservationType::Generation);
        patch.name = Some("Answer".to_owned());
        patch.end = Some(NanoTimestamp::from_nanos(at.as_nanos() + 1_000));
        patch.input = Some(JsonText::from_json_or_text(r#"[{"role":"user","content":"hi"}]"#));
        patch.output = Some(JsonText::string("hello"));
        patch.model = Some("gpt-4o".to_owned());
        patch.usage = Some([("input".to_owned(), 3), ("output".to_owned(), 4)].into());
        patch.cost = Some([("total".to_owned(), privet_domain::money::Nanos::new(47_500))].into());
        patch.prompt = Some(PromptLink { name: "Answer".to_owned(), version: 2 });
        patch.level = Some(Level::Error);
        patch.status_message = Some("boom".to_owned());
        let observation: Observation = Observation::begin(patch.clone());
        let mut trace = TracePatch::new(trace_id.parse().unwrap(), at);
        trace.name = Some("n".to_owned());
        trace.user_id = Some("ada".to_owned());
        trace.tags = vec!["a".to_owned()];
        let trace: Trace = Trace::begin(trace);
        let export = decode_protobuf(&encode_export(&[(observation.clone(), Some(trace))], "1")).unwrap();
        let read = &export.batch.observations[0];
        assert_eq!((&read.id, &read.trace_id, read.start, read.end), (&patch.id, &patch.trace_id, Some(at), patch.end));
        assert_eq!((&read.input, &read.output, &read.usage), (&patch.input, &patch.output, &patch.usage));
        assert_eq!((&read.cost, &read.prompt, &read.level), (&patch.cost, &patch.prompt, &patch.level));
        assert_eq!(read.status_message, patch.status_message);
        let said = &export.batch.traces[0];
        assert_eq!((said.name.as_deref(), said.user_id.as_deref()), (Some("n"), Some("ada")));
        assert_eq!(said.tags, ["a"]);
        // An id of another form becomes one of OpenTelemetry's, always the same.
        assert_eq!(id::<8>("not hex"), id::<8>("not hex"));
        assert_ne!(id::<8>("not hex"), id::<8>("other"));
    }
}
