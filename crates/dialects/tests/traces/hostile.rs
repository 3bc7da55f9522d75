//! Whatever comes: an answer, and never a panic. And the order in which pieces come does not matter.

use privet_dialects::langfuse::{Allowed, decode_batch, decode_scores};
use privet_dialects::otlp::{decode_json, decode_protobuf};
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Observation, Trace};
use proptest::prelude::*;
use serde_json::{Value, json};

const NPM3: &str = include_str!("../../testdata/langfuse/npm3.json");
const NPM5: &str = include_str!("../../testdata/otlp/npm5.json");
const PYTHON5: &[u8] = include_bytes!("../../testdata/otlp/python5.bin");

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("batch".to_owned()),
        Just("id".to_owned()),
        Just("type".to_owned()),
        Just("timestamp".to_owned()),
        Just("body".to_owned()),
        Just("usage".to_owned()),
        Just("resourceSpans".to_owned()),
        Just("scopeSpans".to_owned()),
        Just("spans".to_owned()),
        Just("attributes".to_owned()),
        Just("value".to_owned()),
        ".{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("span-create")),
        Just(json!("2026-11-25T08:38:39.352Z")),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Reads a body as everything that it could be.
fn read_all(body: &[u8]) {
    let _ = decode_batch(body, Allowed::All);
    let _ = decode_scores(body, NanoTimestamp::from_nanos(1), || "new".to_owned());
    let _ = decode_json(body);
    let _ = decode_protobuf(body);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_all(&body);
    }

    #[test]
    fn any_json_is_answered(body in any_json()) {
        read_all(body.to_string().as_bytes());
        let event = json!({"id": "1", "type": "generation-create", "timestamp": "2026-11-25T08:38:39Z", "body": body});
        let batch = decode_batch(json!({"batch": [event, body]}).to_string().as_bytes(), Allowed::All).unwrap();
        prop_assert!(batch.accepted.len() + batch.rejected.len() <= 2);
    }

    #[test]
    fn what_was_damaged_on_its_way_is_answered(at in 0_usize..9_000, byte in any::<u8>()) {
        for sound in [NPM3.as_bytes(), NPM5.as_bytes(), PYTHON5] {
            let mut body = sound.to_vec();
            let length = body.len();
            body[at % length] = byte;
            read_all(&body);
            read_all(&sound[..at % length]);
        }
    }

    #[test]
    fn the_order_of_events_does_not_matter(keys in proptest::collection::vec(any::<u32>(), 14)) {
        let body: Value = serde_json::from_str(NPM3).unwrap();
        let mut events: Vec<(u32, Value)> =
            keys.into_iter().zip(body["batch"].as_array().unwrap().clone()).collect();
        let in_order = joined(&events);
        events.sort_by_key(|(key, _)| *key);
        prop_assert_eq!(joined(&events), in_order);
    }
}

/// The trace and its observations, of events that come one by one.
fn joined(events: &[(u32, Value)]) -> (Option<Trace>, Vec<Observation>) {
    let mut trace: Option<Trace> = None;
    let mut observations: Vec<Observation> = Vec::new();
    for (_, event) in events {
        let body = json!({"batch": [event]}).to_string();
        let batch = decode_batch(body.as_bytes(), Allowed::All).unwrap().batch;
        for patch in batch.traces {
            match &mut trace {
                Some(trace) => trace.fold(patch),
                None => trace = Some(Trace::begin(patch)),
            }
        }
        for patch in batch.observations {
            match observations.iter_mut().find(|known| known.id == patch.id) {
                Some(known) => known.fold(patch),
                None => observations.push(Observation::begin(patch)),
            }
        }
    }
    observations.sort_by(|one, other| one.id.cmp(&other.id));
    (trace, observations)
}

#[test]
fn what_no_column_takes_is_refused_with_its_event() {
    let event = |id: usize, kind: &str, body: Value| json!({"id": id.to_string(), "type": kind, "timestamp": "2026-11-25T08:38:39Z", "body": body});
    let bad = [
        ("trace-create", json!({"id": "t", "userId": "a\0b"}), "`userId` holds the character NUL"),
        ("trace-create", json!({"id": "t", "sessionId": "s".repeat(2_000)}), "`sessionId` has 2000 bytes"),
        ("trace-create", json!({"id": "t".repeat(300)}), "`body.id`"),
        ("trace-create", json!({"id": "t", "tags": vec!["x"; 200]}), "`tags` are 200"),
        ("trace-create", json!({"id": "t", "public": "p".repeat(100_000)}), "invalid type"),
        ("span-create", json!({"id": "s", "traceId": "t", "startTime": "soon"}), "`body.startTime`"),
        ("span-create", json!({"id": "s", "traceId": "t", "statusMessage": "x".repeat(100_000)}), "`statusMessage`"),
        ("generation-create", json!({"id": "s", "traceId": "t", "usage": {"input": -1}}), "`input`"),
        ("generation-create", json!({"id": "s", "traceId": "t", "usageDetails": {"input": 1e300}}), "`input`"),
        ("generation-create", json!({"id": "s", "traceId": "t", "costDetails": {"input": -0.5}}), "a cost must be"),
        ("score-create", json!({"traceId": "t", "name": "", "value": 1}), "`name` is empty"),
        ("score-create", json!({"traceId": "t", "name": "n", "value": "v\0"}), "`value` holds the character NUL"),
        ("x".repeat(10_000).as_str(), json!({}), "no event is called"),
    ]
    .map(|(kind, body, reason)| (kind.to_owned(), body, reason));
    let mut events: Vec<Value> =
        bad.iter().enumerate().map(|(id, (kind, body, _))| event(id, kind, body.clone())).collect();
    events.push(event(99, "trace-create", json!({"id": "good", "name": "half \u{1f600}"})));
    let body = json!({"batch": events}).to_string().replace("\u{1f600}", "\\ud83d");
    let batch = decode_batch(body.as_bytes(), Allowed::All).unwrap();
    assert_eq!(batch.accepted.len(), 1);
    assert_eq!(batch.batch.traces[0].name.as_deref(), Some("half \u{fffd}"));
    assert_eq!(batch.rejected.len(), bad.len());
    for (rejected, (_, _, reason)) in batch.rejected.iter().zip(&bad) {
        assert!(rejected.reason.contains(reason) && rejected.reason.len() < 1_000, "{reason}: {rejected:?}");
    }
}

#[test]
fn numbers_beyond_all_bounds_and_deep_texts_cannot_poison_a_reader() {
    let body = br#"{"batch": [{"id": "1", "type": "trace-create", "timestamp": "2026-11-25T08:38:39Z", "body":
        {"id": "t", "input": [1e999]}}]}"#;
    let batch = decode_batch(body, Allowed::All).unwrap();
    assert!(batch.rejected[0].reason.contains("beyond all bounds"), "{:?}", batch.rejected);
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "4f958d7cd9c23edcf65a70c07aae72aa", "spanId": "1c75a5c38aaa06ca", "startTimeUnixNano": 5,
        "attributes": [{"key": "langfuse.observation.input", "value": {"stringValue": deep}},
            {"key": "langfuse.observation.metadata.deep", "value": {"stringValue": deep}}],
    }]}]}]});
    let export = decode_json(export.to_string().as_bytes()).unwrap();
    let patch = &export.batch.observations[0];
    assert_eq!(patch.input.as_ref().unwrap().as_str(), format!("\"{deep}\""));
    assert_eq!(patch.metadata["deep"], json!(deep));
}
