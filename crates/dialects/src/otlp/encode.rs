//! Observations as spans, for any collector: Langfuse's attributes, and OpenTelemetry's for generative models beside them.
//!
//! Ids that are OpenTelemetry's stay what they are; any other becomes one by its hash, the same each time.

use std::collections::BTreeMap;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, Level, Observation, ObservationType, Trace};
use prost::Message as _;
use serde_json::{Map, Value};

use super::wire::{
    AnyValue, AnyValueKind, ArrayValue, ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, KeyValueList,
    Resource, ResourceSpans, Scope, ScopeSpans, Span, Status,
};

const SERVICE: &str = "privet";
const NANOS_PER_DOLLAR: f64 = 1e9;
const KIND_INTERNAL: i32 = 1;
const KIND_CLIENT: i32 = 3;
const STATUS_OK: i32 = 1;
const STATUS_ERROR: i32 = 2;
const ID_CONTEXT: &str = "privet otlp id v1";

/// An observation to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub project_name: String,
    /// The trace that it belongs to; its input and output are told if they are there.
    pub trace: Trace,
    /// The observation.
    pub observation: Observation,
}

/// An export of these, as protobuf.
#[must_use]
pub fn encode_export(observations: &[Outgoing]) -> Vec<u8> {
    let mut by_origin: BTreeMap<(String, String), ResourceSpans> = BTreeMap::new();
    for outgoing in observations {
        let metadata = &outgoing.observation.metadata;
        let (resource, scope) = (metadata.get("resourceAttributes"), metadata.get("scope"));
        let told = format!("{}\n{}", json(resource), json(scope));
        let origin = by_origin.entry((outgoing.project_name.clone(), told)).or_insert_with(|| ResourceSpans {
            resource: Some(resource_of(outgoing, resource)),
            scope_spans: vec![ScopeSpans { scope: Some(scope_of(scope)), spans: Vec::new() }],
        });
        for scope_spans in &mut origin.scope_spans {
            scope_spans.spans.push(span(outgoing));
        }
    }
    ExportTraceServiceRequest { resource_spans: by_origin.into_values().collect() }.encode_to_vec()
}

/// How many spans a collector says that it did not keep, and why; `None` if it kept all.
#[must_use]
pub fn decode_reply(body: &[u8]) -> Option<(u64, String)> {
    let partial = ExportTraceServiceResponse::decode(body).ok()?.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    (rejected > 0).then_some((rejected, partial.error_message))
}

fn json(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}

fn resource_of(outgoing: &Outgoing, said: Option<&Value>) -> Resource {
    let mut attributes: Vec<KeyValue> = members(said).map(|(name, value)| attribute(name, any(value))).collect();
    if !attributes.iter().any(|attribute| attribute.key == "service.name") {
        attributes.push(text("service.name", SERVICE));
    }
    attributes.push(text("privet.project", &outgoing.project_name));
    Resource { attributes }
}

fn scope_of(said: Option<&Value>) -> Scope {
    let member = |name: &str| said?.get(name)?.as_str().map(str::to_owned);
    let attributes = said.and_then(|scope| scope.get("attributes"));
    Scope {
        name: member("name").filter(|name| !name.is_empty()).unwrap_or_else(|| SERVICE.to_owned()),
        version: member("version").unwrap_or_default(),
        attributes: members(attributes).map(|(name, value)| attribute(name, any(value))).collect(),
    }
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn span(outgoing: &Outgoing) -> Span {
    let Outgoing { project, trace, observation, .. } = outgoing;
    let mut attributes = Vec::new();
    trace_attributes(&mut attributes, trace);
    observation_attributes(&mut attributes, observation);
    model_attributes(&mut attributes, observation);
    if id_bytes::<16>(observation.trace_id.as_str()).is_none() {
        attributes.push(text("privet.trace_id", observation.trace_id.as_str()));
    }
    if id_bytes::<8>(observation.id.as_str()).is_none() {
        attributes.push(text("privet.observation_id", observation.id.as_str()));
    }
    let is_model = matches!(observation.observation_type, ObservationType::Generation | ObservationType::Embedding);
    let failed = observation.level == Level::Error;
    Span {
        trace_id: id::<16>(*project, observation.trace_id.as_str()).to_vec(),
        span_id: id::<8>(*project, observation.id.as_str()).to_vec(),
        parent_span_id: observation
            .parent_id
            .as_ref()
            .map(|parent| id::<8>(*project, parent.as_str()).to_vec())
            .unwrap_or_default(),
        name: observation.name.clone().unwrap_or_else(|| observation.observation_type.as_str().to_lowercase()),
        kind: if is_model { KIND_CLIENT } else { KIND_INTERNAL },
        start_time_unix_nano: nanos(observation.start),
        end_time_unix_nano: nanos(observation.end.unwrap_or(observation.start)),
        attributes,
        status: Some(Status {
            message: observation.status_message.clone().filter(|_| failed).unwrap_or_default(),
            code: if failed { STATUS_ERROR } else { STATUS_OK },
        }),
        ..Span::default()
    }
}

fn trace_attributes(attributes: &mut Vec<KeyValue>, trace: &Trace) {
    let mut optional = |name: &str, value: Option<&String>| attributes.extend(value.map(|value| text(name, value)));
    optional("langfuse.trace.name", trace.name.as_ref());
    optional("user.id", trace.user_id.as_ref());
    optional("session.id", trace.session_id.as_ref());
    optional("gen_ai.conversation.id", trace.session_id.as_ref());
    optional("langfuse.release", trace.release.as_ref());
    if !trace.tags.is_empty() {
        let values = trace.tags.iter().map(|tag| any(&Value::from(tag.as_str()))).collect();
        attributes.push(attribute("langfuse.trace.tags", value(AnyValueKind::ArrayValue(ArrayValue { values }))));
    }
    if trace.public {
        attributes.push(attribute("langfuse.trace.public", value(AnyValueKind::BoolValue(true))));
    }
    attributes.extend(trace.input.as_ref().map(|content| text("langfuse.trace.input", &content_text(content))));
    attributes.extend(trace.output.as_ref().map(|content| text("langfuse.trace.output", &content_text(content))));
    for (name, said) in &trace.metadata {
        attributes.push(text(&format!("langfuse.trace.metadata.{name}"), &metadata_text(said)));
    }
}

fn observation_attributes(attributes: &mut Vec<KeyValue>, observation: &Observation) {
    let kind = observation.observation_type.as_str().to_lowercase();
    attributes.push(text("langfuse.observation.type", &kind));
    attributes.push(text("langfuse.observation.level", observation.level.as_str()));
    attributes.push(text("langfuse.environment", &observation.environment));
    let mut optional = |name: &str, value: Option<&String>| attributes.extend(value.map(|value| text(name, value)));
    optional("langfuse.version", observation.version.as_ref());
    optional("langfuse.observation.status_message", observation.status_message.as_ref());
    let input = observation.input.as_ref().map(content_text);
    let output = observation.output.as_ref().map(content_text);
    optional("langfuse.observation.input", input.as_ref());
    optional("langfuse.observation.output", output.as_ref());
    for (name, said) in &observation.metadata {
        match (name.as_str(), said) {
            ("resourceAttributes" | "scope", _) => {}
            // What no reader understood goes on as it came.
            ("attributes", Value::Object(members)) => {
                attributes.extend(members.iter().map(|(name, value)| attribute(name, any(value))));
            }
            _ => attributes.push(text(&format!("langfuse.observation.metadata.{name}"), &metadata_text(said))),
        }
    }
}

fn model_attributes(attributes: &mut Vec<KeyValue>, observation: &Observation) {
    let operation = match observation.observation_type {
        ObservationType::Generation => Some("chat"),
        ObservationType::Embedding => Some("embeddings"),
        ObservationType::Tool => Some("execute_tool"),
        ObservationType::Agent => Some("invoke_agent"),
        _ => None,
    };
    attributes.extend(operation.map(|operation| text("gen_ai.operation.name", operation)));
    if let Some(model) = &observation.model {
        for name in ["langfuse.observation.model.name", "gen_ai.request.model", "gen_ai.response.model"] {
            attributes.push(text(name, model));
        }
    }
    if !observation.model_parameters.is_empty() {
        let parameters = Value::Object(observation.model_parameters.clone()).to_string();
        attributes.push(text("langfuse.observation.model.parameters", &parameters));
    }
    if !observation.usage.is_empty() {
        let usage: Map<String, Value> =
            observation.usage.iter().map(|(kind, tokens)| (kind.clone(), Value::from(*tokens))).collect();
        attributes.push(text("langfuse.observation.usage_details", &Value::Object(usage).to_string()));
        attributes.push(count("gen_ai.usage.input_tokens", observation.input_tokens()));
        attributes.push(count("gen_ai.usage.output_tokens", observation.output_tokens()));
    }
    if !observation.cost.is_empty() {
        let cost: Map<String, Value> =
            observation.cost.iter().map(|(kind, cost)| (kind.clone(), Value::from(dollars(*cost)))).collect();
        attributes.push(text("langfuse.observation.cost_details", &Value::Object(cost).to_string()));
    }
    if let Some(at) = observation.completion_start {
        attributes.push(text("langfuse.observation.completion_start_time", &at.to_string()));
    }
    if let Some(prompt) = &observation.prompt {
        attributes.push(text("langfuse.observation.prompt.name", &prompt.name));
        attributes.push(count("langfuse.observation.prompt.version", u64::from(prompt.version)));
    }
}

/// A content as a reader that takes JSON or text will read it: JSON; a text as it is, unless it would be read as JSON.
fn content_text(content: &JsonText) -> String {
    match serde_json::from_str(content.as_str()) {
        Ok(Value::String(said)) if JsonText::from_json_or_text(&said) == *content => said,
        _ => content.as_str().to_owned(),
    }
}

fn metadata_text(said: &Value) -> String {
    match said {
        Value::String(text) => text.clone(),
        said => said.to_string(),
    }
}

fn dollars(cost: Nanos) -> f64 {
    cost.as_i64() as f64 / NANOS_PER_DOLLAR
}

fn nanos(at: NanoTimestamp) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(0)
}

/// OpenTelemetry's form of an id.
fn id<const N: usize>(project: ProjectId, text: &str) -> [u8; N] {
    id_bytes(text).unwrap_or_else(|| {
        let mut hasher = blake3::Hasher::new_derive_key(ID_CONTEXT);
        hasher.update(project.as_uuid().as_bytes()).update(text.as_bytes());
        let mut bytes = [0; N];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    })
}

/// The bytes of an id that has them: lower-case hexadecimal digits, and not only zeros.
fn id_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.len() == 2 * N && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

fn attribute(name: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value) }
}

fn text(name: &str, said: &str) -> KeyValue {
    attribute(name, value(AnyValueKind::StringValue(said.to_owned())))
}

fn count(name: &str, count: u64) -> KeyValue {
    attribute(name, value(AnyValueKind::IntValue(i64::try_from(count).unwrap_or(i64::MAX))))
}

const fn value(kind: AnyValueKind) -> AnyValue {
    AnyValue { value: Some(kind) }
}

fn any(json: &Value) -> AnyValue {
    let kind = match json {
        Value::Null => return AnyValue { value: None },
        Value::Bool(truth) => AnyValueKind::BoolValue(*truth),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| AnyValueKind::DoubleValue(number.as_f64().unwrap_or(0.0)), AnyValueKind::IntValue),
        Value::String(said) => AnyValueKind::StringValue(said.clone()),
        Value::Array(values) => AnyValueKind::ArrayValue(ArrayValue { values: values.iter().map(any).collect() }),
        Value::Object(members) => {
            let values = members.iter().map(|(name, value)| attribute(name, any(value))).collect();
            AnyValueKind::KvlistValue(KeyValueList { values })
        }
    };
    value(kind)
}

#[cfg(test)]
mod tests {
    use privet_domain::trace::{ObservationPatch, PatchKind, PromptLink, TracePatch};
    use serde_json::json;

    use super::*;
    use crate::otlp::decode_protobuf;

    fn outgoing(trace_id: &str, id: &str) -> Outgoing {
        let at = NanoTimestamp::from_nanos(1_790_000_000_000_000_007);
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut trace = TracePatch::new(trace_id.parse().unwrap(), at);
        trace.name = Some("checkout".to_owned());
        trace.user_id = Some("ada".to_owned());
        trace.session_id = Some("s1".to_owned());
        trace.tags = vec!["a".to_owned(), "b".to_owned()];
        trace.input = Some(JsonText::string("hello"));
        trace.metadata = object(json!({"plan": {"tier": 2}}));
        let mut step = ObservationPatch::new(trace_id.parse().unwrap(), id.parse().unwrap(), PatchKind::Create, at);
        step.observation_type = Some(ObservationType::Generation);
        step.name = Some("Answer".to_owned());
        step.end = Some(NanoTimestamp::from_nanos(1_790_000_000_500_000_000));
        step.level = Some(Level::Error);
        step.status_message = Some("it broke".to_owned());
        step.input = Some(JsonText::from_json_or_text(r#"[{"role":"user","content":"hi"}]"#));
        step.output = Some(JsonText::string("123"));
        step.model = Some("gpt-4o".to_owned());
        step.model_parameters = Some(object(json!({"temperature": 0.5})));
        step.usage = Some(BTreeMap::from([("input".to_owned(), 10), ("output".to_owned(), 2)]));
        step.cost = Some(BTreeMap::from([("total".to_owned(), Nanos::new(12_500))]));
        step.prompt = Some(PromptLink { name: "Answer".to_owned(), version: 3 });
        step.metadata = object(json!({
            "provider": "openai", "attributes": {"http.method": "POST"},
            "resourceAttributes": {"service.name": "shop"}, "scope": {"name": "lib", "version": "1"},
        }));
        Outgoing {
            project: "019aa2c0-0000-7000-8000-000000000001".parse().unwrap(),
            project_name: "web".to_owned(),
            trace: Trace::begin(trace),
            observation: Observation::begin(step),
        }
    }

    #[test]
    fn what_is_sent_reads_back() {
        let sent = outgoing("0123456789abcdef0123456789abcdef", "0123456789abcdef");
        let export = decode_protobuf(&encode_export(std::slice::from_ref(&sent))).unwrap();
        assert_eq!((export.accepted, export.rejected), (1, 0));
        let trace: Trace = Trace::begin(export.batch.traces[0].clone());
        let read: Observation = Observation::begin(export.batch.observations[0].clone());
        let (told, step) = (&sent.trace, &sent.observation);
        assert_eq!((&trace.id, &trace.name, &trace.user_id), (&told.id, &told.name, &told.user_id));
        assert_eq!((&trace.session_id, &trace.tags, &trace.input), (&told.session_id, &told.tags, &told.input));
        assert_eq!(trace.metadata, told.metadata);
        assert_eq!((&read.id, &read.name, read.start, read.end), (&step.id, &step.name, step.start, step.end));
        assert_eq!((&read.input, &read.output), (&step.input, &step.output));
        assert_eq!((read.level, &read.status_message), (step.level, &step.status_message));
        assert_eq!((&read.model, &read.model_parameters), (&step.model, &step.model_parameters));
        assert_eq!((&read.usage, &read.cost, &read.prompt), (&step.usage, &step.cost, &step.prompt));
        assert_eq!(read.observation_type, step.observation_type);
        assert_eq!(read.metadata["provider"], "openai");
        assert_eq!(read.metadata["attributes"]["http.method"], "POST");
        assert_eq!(read.metadata["resourceAttributes"]["service.name"], "shop");
        assert_eq!(read.metadata["scope"]["name"], "lib");
    }

    #[test]
    fn an_id_of_another_form_is_mapped_the_same_each_time_and_told() {
        let twice = [outgoing("my trace", "my step"), outgoing("my trace", "my other step")];
        let export = decode_protobuf(&encode_export(&twice)).unwrap();
        let [first, second] = export.batch.observations.as_slice() else { panic!("two observations") };
        assert_eq!((first.trace_id.as_str().len(), first.id.as_str().len()), (32, 16));
        assert_eq!(first.trace_id, second.trace_id);
        assert_ne!(first.id, second.id);
        assert_eq!(first.metadata["attributes"]["privet.observation_id"], "my step");
        assert_eq!(encode_export(&twice), encode_export(&twice));
    }

    #[test]
    fn a_reply_tells_what_was_not_kept() {
        assert_eq!(decode_reply(&[]), None);
        assert_eq!(decode_reply(&super::super::encode_reply(0, "")), None);
        assert_eq!(decode_reply(&super::super::encode_reply(2, "too old")), Some((2, "too old".to_owned())));
    }
}
