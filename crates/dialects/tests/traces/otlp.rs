//! Spans of Langfuse's newer SDKs, and of OpenTelemetry's with the conventions of others.

use privet_dialects::otlp::{Export, decode_json, decode_protobuf};
use privet_domain::trace::{ObservationPatch, ObservationType, Trace};
use serde_json::{Value, json};

use crate::told;

fn whole(export: Export) -> Value {
    assert_eq!((export.rejected, &export.reasons), (0, &vec![]));
    told::batch(&export.batch)
}

#[test]
fn what_python_5_sends_is_understood() {
    insta::assert_json_snapshot!(whole(decode_protobuf(include_bytes!("../../testdata/otlp/python5.bin")).unwrap()));
}

#[test]
fn what_npm_5_sends_is_understood() {
    insta::assert_json_snapshot!(whole(decode_json(include_bytes!("../../testdata/otlp/npm5.json")).unwrap()));
}

#[test]
fn what_opentelemetry_sends_is_understood_by_its_conventions_and_openinferences() {
    let export = decode_protobuf(include_bytes!("../../testdata/otlp/otel_python.bin")).unwrap();
    insta::assert_json_snapshot!(whole(export));
}

/// An export of one span with these attributes, in JSON.
fn span(attributes: Value, more: Value) -> Value {
    let Value::Object(attributes) = attributes else { panic!("an object") };
    let value = |value: &Value| match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        value => value.clone(),
    };
    let attributes: Vec<Value> =
        attributes.iter().map(|(key, given)| json!({"key": key, "value": value(given)})).collect();
    let mut span = json!({
        "traceId": "4f958d7cd9c23edcf65a70c07aae72aa", "spanId": "1c75a5c38aaa06ca", "name": "step",
        "startTimeUnixNano": "1795595894842000001", "endTimeUnixNano": "1795595894942000001", "attributes": attributes,
    });
    span.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "any", "version": "1"}, "spans": [span]}]}]})
}

fn one(attributes: Value) -> ObservationPatch {
    let export = decode_json(span(attributes, json!({})).to_string().as_bytes()).unwrap();
    assert_eq!(export.reasons, Vec::<String>::new());
    export.batch.observations.into_iter().next().unwrap()
}

fn usage(patch: &ObservationPatch) -> Value {
    serde_json::to_value(&patch.usage).unwrap()
}

#[test]
fn what_was_cached_and_thought_is_counted_apart() {
    let patch = one(json!({
        "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.cache_read.input_tokens": 80, "gen_ai.usage.cache_creation.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 20,
    }));
    let expected = json!({
        "input": 15, "input_cached_tokens": 80, "input_cache_creation": 5, "output": 30, "output_reasoning_tokens": 20,
        "total": 150,
    });
    assert_eq!(usage(&patch), expected);
}

#[test]
fn an_agents_sums_are_not_counted_again() {
    let patch = one(json!({
        "gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100,
    }));
    assert_eq!((patch.observation_type, &patch.usage), (Some(ObservationType::Agent), &None));
    assert_eq!(patch.metadata["attributes"]["gen_ai.usage.input_tokens"], json!(100));
    let outer = one(json!({"ai.operationId": "ai.generateText", "ai.model.id": "gpt-4o", "ai.usage.promptTokens": 9}));
    assert_eq!((outer.observation_type, outer.usage), (Some(ObservationType::Span), None));
}

#[test]
fn each_conventions_names_say_what_kind_of_step_it_is() {
    for (attribute, value, expected) in [
        ("langfuse.observation.type", "Guardrail", ObservationType::Guardrail),
        ("gen_ai.operation.name", "chat", ObservationType::Generation),
        ("gen_ai.operation.name", "embeddings", ObservationType::Embedding),
        ("gen_ai.operation.name", "execute_tool", ObservationType::Tool),
        ("gen_ai.operation.name", "invoke_agent", ObservationType::Agent),
        ("openinference.span.kind", "LLM", ObservationType::Generation),
        ("openinference.span.kind", "RERANKER", ObservationType::Retriever),
        ("openinference.span.kind", "EVALUATOR", ObservationType::Evaluator),
        ("ai.operationId", "ai.streamText.doStream", ObservationType::Generation),
        ("ai.operationId", "ai.toolCall", ObservationType::Tool),
        ("llm.model_name", "claude-x", ObservationType::Generation),
        ("http.route", "/", ObservationType::Span),
    ] {
        assert_eq!(one(json!({attribute: value})).observation_type, Some(expected), "{attribute} {value}");
    }
}

#[test]
fn messages_spread_over_attributes_or_events_are_put_together() {
    let patch = one(json!({
        "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "hey", "gen_ai.prompt.0.role": "system",
        "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "hi",
    }));
    assert_eq!(patch.input.unwrap().as_str(), r#"[{"role":"system"},{"content":"hey","role":"user"}]"#);
    assert_eq!(patch.output.unwrap().as_str(), r#"[{"content":"hi","role":"assistant"}]"#);
    assert_eq!(patch.metadata.get("attributes"), None);
    let content = |text: &str| json!([{"key": "content", "value": {"stringValue": text}}]);
    let events = json!({"events": [
        {"name": "gen_ai.user.message", "attributes": content("hey")},
        {"name": "gen_ai.choice", "attributes": content("hi")},
        {"name": "first token", "timeUnixNano": "1795595894842000001"},
    ]});
    let export = decode_json(span(json!({}), events).to_string().as_bytes()).unwrap();
    let patch = &export.batch.observations[0];
    assert_eq!(patch.input.as_ref().unwrap().as_str(), r#"[{"role":"user","content":"hey"}]"#);
    assert_eq!(patch.output.as_ref().unwrap().as_str(), r#"[{"content":"hi"}]"#);
    assert_eq!(patch.metadata["events"].as_array().unwrap().len(), 1);
}

#[test]
fn a_value_that_says_it_is_text_stays_text() {
    let patch = one(json!({"input.value": "[1]", "input.mime_type": "text/plain", "output.value": "[1]"}));
    assert_eq!((patch.input.unwrap().as_str(), patch.output.unwrap().as_str()), (r#""[1]""#, "[1]"));
}

#[test]
fn numbers_that_are_names_stay_texts_in_metadata() {
    let metadata = one(json!({
        "langfuse.observation.metadata.n": "3", "langfuse.observation.metadata.order": "12345678901234567890123",
        "langfuse.observation.metadata.quoted": "\"x\"", "langfuse.observation.metadata.list": "[1]",
    }))
    .metadata;
    assert_eq!((&metadata["n"], &metadata["list"]), (&json!(3), &json!([1])));
    assert_eq!((&metadata["order"], &metadata["quoted"]), (&json!("12345678901234567890123"), &json!("\"x\"")));
}

#[test]
fn a_bad_span_keeps_no_other_out() {
    let mut export = span(json!({}), json!({}));
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
    let sound = spans[0].clone();
    for (field, value) in [
        ("traceId", json!("00000000000000000000000000000000")),
        ("traceId", json!("xyz")),
        ("traceId", json!(null)),
        ("spanId", json!("0000000000000000")),
        ("spanId", json!("1c75")),
        ("startTimeUnixNano", json!("0")),
        ("startTimeUnixNano", json!("soon")),
        ("attributes", json!([{"key": "user.id", "value": {"stringValue": "a\0b"}}])),
        ("attributes", json!([{"key": "session.id", "value": {"stringValue": "x".repeat(2_000)}}])),
    ] {
        let mut bad = sound.clone();
        bad[field] = value;
        spans.push(bad);
    }
    let export = decode_json(export.to_string().as_bytes()).unwrap();
    assert_eq!((export.accepted, export.rejected), (1, 9));
    assert!(export.reasons[0].contains("span `step` has no valid trace id"), "{:?}", export.reasons);
}

#[test]
fn loose_json_is_read() {
    let export = span(
        json!({}),
        json!({
            "attributes": [
                {"key": "empty", "value": {}}, {"key": "none", "value": null}, {"key": "nan", "value": {"doubleValue": "NaN"}},
                {"key": "whole", "value": {"intValue": 5}}, {"key": "text", "value": {"intValue": "7"}},
                {"key": "bytes", "value": {"bytesValue": "AAE="}}, {"key": "new", "value": {"futureValue": [1]}},
            ],
            "events": null, "links": null, "status": {"code": "STATUS_CODE_ERROR", "message": null}, "kind": "SPAN_KIND_CLIENT",
            "parentSpanId": "", "startTimeUnixNano": 1_795_595_894_842_000_001_u64, "name": "caf\u{e9} \u{1f600}",
        }),
    );
    let body = export.to_string().replace("\u{1f600}", "\\ud83d");
    let export = decode_json(body.as_bytes()).unwrap();
    let patch = &export.batch.observations[0];
    let expected = json!({
        "empty": null, "none": null, "nan": null, "whole": 5, "text": 7, "bytes": "AAE=", "new": null,
    });
    assert_eq!(patch.metadata["attributes"], expected);
    assert_eq!(patch.name.as_deref(), Some("caf\u{e9} \u{fffd}"));
    assert_eq!(patch.level.unwrap().as_str(), "ERROR");
    assert_eq!(patch.start.unwrap().as_nanos(), 1_795_595_894_842_000_001);
}

#[test]
fn what_is_supposed_of_a_trace_gives_way_to_what_is_said() {
    let root = span(json!({"session.id": "s", "langfuse.trace.name": "asked"}), json!({}));
    let inner = json!({"parentSpanId": "1c75a5c38aaa06ca", "spanId": "2c75a5c38aaa06ca", "name": "app",
        "startTimeUnixNano": "1795595894842000002"});
    let app = span(json!({"gen_ai.conversation.id": "c", "langfuse.internal.is_app_root": true}), inner);
    let patches = |export: &Value| decode_json(export.to_string().as_bytes()).unwrap().batch.traces;
    let alone: Trace = Trace::begin(patches(&app)[0].clone());
    assert_eq!((alone.name.as_deref(), alone.session_id.as_deref()), (Some("app"), Some("c")));
    for order in [[&root, &app], [&app, &root]] {
        let mut all = order.into_iter().flat_map(patches);
        let mut joined: Trace = Trace::begin(all.next().unwrap());
        all.for_each(|patch| joined.fold(patch));
        assert_eq!((joined.name.as_deref(), joined.session_id.as_deref()), (Some("asked"), Some("s")));
        assert_eq!(joined.timestamp.as_nanos(), 1_795_595_894_842_000_001);
    }
}
