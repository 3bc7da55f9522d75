//! Batches of events and scores of Langfuse's SDKs.

use privet_dialects::langfuse::{Allowed, Scores, decode_batch, decode_scores};
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Observation, TraceBatch};

use crate::told;

fn read(body: &str) -> TraceBatch {
    let batch = decode_batch(body.as_bytes(), Allowed::All).unwrap();
    assert_eq!(batch.rejected, []);
    batch.batch
}

#[test]
fn what_npm_3_sends_is_understood() {
    insta::assert_json_snapshot!(told::batch(&read(include_str!("../../testdata/langfuse/npm3.json"))));
}

#[test]
fn what_python_2_sends_is_understood() {
    insta::assert_json_snapshot!(told::batch(&read(include_str!("../../testdata/langfuse/python2.json"))));
}

#[test]
fn scores_of_npm_5_are_understood() {
    insta::assert_json_snapshot!(told::batch(&read(include_str!("../../testdata/langfuse/npm5_scores.json"))));
}

#[test]
fn a_list_of_scores_of_python_5_is_understood() {
    let body = include_bytes!("../../testdata/langfuse/python5_scores.json");
    let read = decode_scores(body, NanoTimestamp::from_nanos(1), || "new".to_owned()).unwrap();
    let Scores::List { scores, rejected } = read else { panic!("{read:?}") };
    assert_eq!(rejected, []);
    insta::assert_json_snapshot!(scores.iter().map(|(_, score)| told::score(score)).collect::<Vec<_>>());
}

#[test]
fn npm_3_dates_a_change_before_its_beginning_and_the_change_stays() {
    let body = r#"{"batch": [
        {"id": "1", "type": "generation-update", "timestamp": "2026-11-25T08:38:39.352Z",
         "body": {"id": "g", "traceId": "t", "model": "gpt-4o-2024-08-06", "endTime": "2026-11-25T08:38:39.351Z"}},
        {"id": "2", "type": "generation-create", "timestamp": "2026-11-25T08:38:39.353Z",
         "body": {"id": "g", "traceId": "t", "model": "gpt-4o", "startTime": "2026-11-25T08:38:39.350Z"}}
    ]}"#;
    let patches = read(body).observations;
    for order in [[0, 1], [1, 0]] {
        let mut joined: Observation = Observation::begin(patches[order[0]].clone());
        joined.fold(patches[order[1]].clone());
        assert_eq!(joined.model.as_deref(), Some("gpt-4o-2024-08-06"), "{order:?}");
    }
}

#[test]
fn a_change_without_its_trace_finds_it_in_the_batch_or_is_refused() {
    let event = |id: &str, kind: &str, body: &str| {
        format!(r#"{{"id": "{id}", "type": "{kind}", "timestamp": "2026-11-25T08:00:00Z", "body": {body}}}"#)
    };
    let body = [
        event("1", "span-update", r#"{"id": "s", "output": 1}"#),
        event("2", "span-create", r#"{"id": "s", "traceId": "t"}"#),
        event("3", "span-update", r#"{"id": "unheard", "output": 1}"#),
        event("4", "span-create", r#"{"id": "alone"}"#),
    ];
    let batch = decode_batch(format!(r#"{{"batch": [{}]}}"#, body.join(",")).as_bytes(), Allowed::All).unwrap();
    let traces: Vec<_> = batch.batch.observations.iter().map(|o| (o.id.as_str(), o.trace_id.as_str())).collect();
    assert_eq!(traces, [("s", "t"), ("alone", "alone"), ("s", "t")]);
    assert_eq!(batch.rejected.len(), 1);
    assert!(batch.rejected[0].reason.contains("`body.traceId` is missing"), "{:?}", batch.rejected);
}

#[test]
fn a_public_key_sends_scores_alone() {
    let body = include_bytes!("../../testdata/langfuse/npm3.json");
    let batch = decode_batch(body, Allowed::Scores).unwrap();
    assert_eq!((batch.batch.scores.len(), batch.accepted.len(), batch.rejected.len()), (4, 4, 10));
    assert!(batch.batch.traces.is_empty() && batch.batch.observations.is_empty());
}
