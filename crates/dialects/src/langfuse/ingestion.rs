//! `POST /api/public/ingestion`: a batch of events. Each is judged alone: a bad one keeps none of the others out.

use std::collections::HashSet;

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{JsonText, TraceBatch, TracePatch};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Invalid, metadata, observation, score};

/// The body is no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The body is no batch of events: {0}. Send {{\"batch\": [{{\"id\", \"type\", \"timestamp\", \"body\"}}]}}.")]
pub struct BadBatch(String);

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: String,
}

/// An event that was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its id; empty if it has none.
    pub id: String,
    /// Why not.
    pub reason: String,
}

/// What a batch holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The pieces of traces, and scores.
    pub batch: TraceBatch,
    /// Events that were read, in their order.
    pub accepted: Vec<Accepted>,
    /// The others.
    pub rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    body: Value,
}

/// Reads a batch. The order of its events does not matter: patches are joined by their times.
///
/// # Errors
/// When it is no batch at all.
pub fn decode_batch(body: &[u8]) -> Result<Batch, BadBatch> {
    let wire: Wire<'_> = serde_json::from_slice(body).map_err(|error| BadBatch(error.to_string()))?;
    let mut batch = Batch::default();
    let mut seen = HashSet::new();
    for raw in wire.batch {
        let event: Event = match serde_json::from_str(raw.get()) {
            Ok(event) => event,
            Err(error) => {
                batch.rejected.push(Rejected { id: id_of(raw), reason: error.to_string() });
                continue;
            }
        };
        let id = event.id.clone();
        // Sent twice in one batch it is the same event.
        let outcome = if seen.insert(id.clone()) { read(event, &mut batch.batch) } else { Ok(()) };
        match outcome {
            Ok(()) => batch.accepted.push(Accepted { id }),
            Err(Invalid(reason)) => batch.rejected.push(Rejected { id, reason }),
        }
    }
    Ok(batch)
}

/// The id of an event that is wrong otherwise.
fn id_of(raw: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    serde_json::from_str::<Identified>(raw.get()).map(|event| event.id).unwrap_or_default()
}

fn read(event: Event, batch: &mut TraceBatch) -> Result<(), Invalid> {
    let at = NanoTimestamp::parse(&event.timestamp).ok_or_else(|| {
        Invalid(format!("`timestamp` must be a time such as 2026-11-25T10:00:00.000Z, not `{}`", event.timestamp))
    })?;
    match event.kind.as_str() {
        "trace-create" => batch.traces.push(trace(event.body, &event.id, at)?),
        "score-create" => batch.scores.push(score::decode(event.body, Some(&event.id), at)?),
        // What an SDK says of itself is nobody's trace.
        "sdk-log" => {}
        kind => batch.observations.push(observation::decode(kind, event.body, at)?),
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraceBody {
    id: Option<String>,
    timestamp: Option<String>,
    name: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    environment: Option<String>,
    release: Option<String>,
    version: Option<String>,
    public: Option<bool>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    output: Option<Value>,
}

fn trace(body: Value, event_id: &str, at: NanoTimestamp) -> Result<TracePatch, Invalid> {
    let body: TraceBody = serde_json::from_value(body).map_err(|error| Invalid(format!("`body`: {error}")))?;
    let id = body.id.as_deref().unwrap_or(event_id).parse().map_err(|error| Invalid(format!("`body.id`: {error}")))?;
    let mut patch = TracePatch::new(id, at);
    patch.timestamp = Some(time(body.timestamp.as_deref(), "timestamp")?.unwrap_or(at));
    patch.name = body.name;
    patch.user_id = body.user_id;
    patch.session_id = body.session_id;
    patch.environment = body.environment;
    patch.release = body.release;
    patch.version = body.version;
    patch.public = body.public;
    patch.tags = body.tags.unwrap_or_default();
    patch.metadata = metadata(body.metadata);
    patch.input = content(body.input);
    patch.output = content(body.output);
    Ok(patch)
}

/// A content; null is none.
pub(super) fn content(value: Option<Value>) -> Option<JsonText> {
    value.filter(|value| !value.is_null()).map(|value| JsonText::of(&value))
}

/// A time, if it is given.
pub(super) fn time(text: Option<&str>, name: &str) -> Result<Option<NanoTimestamp>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let parsed = NanoTimestamp::parse(text);
    parsed.map(Some).ok_or_else(|| Invalid(format!("`body.{name}` must be a time, not `{text}`")))
}

#[cfg(test)]
mod tests {
    use privet_domain::trace::{Observation, PatchKind};
    use serde_json::json;

    use super::*;

    fn decode(batch: Value) -> Batch {
        decode_batch(json!({"batch": batch, "metadata": {}}).to_string().as_bytes()).unwrap()
    }

    fn event(id: &str, kind: &str, body: Value) -> Value {
        json!({"id": id, "type": kind, "timestamp": "2026-11-25T10:00:00.000Z", "body": body})
    }

    #[test]
    fn one_bad_event_keeps_no_other_out() {
        let batch = decode(json!([
            event("1", "trace-create", json!({"id": "t", "name": "n"})),
            event("2", "poem-create", json!({"id": "p"})),
            event("3", "span-create", json!({"id": "s", "traceId": "t", "level": "LOUD"})),
            {"id": "4", "type": "trace-create"},
            7,
            event("5", "sdk-log", json!({"log": "x"})),
            event("1", "trace-create", json!({"id": "t", "name": "again"})),
        ]));
        let accepted: Vec<&str> = batch.accepted.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(accepted, ["1", "5", "1"]);
        let rejected: Vec<&str> = batch.rejected.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(rejected, ["2", "3", "4", ""]);
        assert!(batch.rejected[0].reason.contains("poem-create"), "{:?}", batch.rejected);
        assert!(batch.rejected[1].reason.contains("`LOUD` is none of DEBUG"), "{:?}", batch.rejected);
        assert_eq!(batch.batch.traces.len(), 1, "the same event once");
        assert!(decode_batch(b"{}").is_err());
    }

    #[test]
    fn an_update_sent_before_its_creation_in_the_same_millisecond_wins() {
        let batch = decode(json!([
            event(
                "2",
                "generation-update",
                json!({"id": "g", "traceId": "t", "output": "done", "endTime": "2026-11-25T10:00:01Z"})
            ),
            event(
                "1",
                "generation-create",
                json!({"id": "g", "traceId": "t", "name": "n", "output": "begun",
                "model": "gpt-4o", "usage": {"promptTokens": 3, "completionTokens": 4}})
            ),
        ]));
        let mut patches = batch.batch.observations;
        patches.sort_by_key(|patch| (patch.at, patch.kind));
        assert_eq!(patches[0].kind, PatchKind::Create);
        let mut patches = patches.into_iter();
        let mut joined: Observation = Observation::begin(patches.next().unwrap());
        joined.fold(patches.next().unwrap());
        assert_eq!(joined.output, Some(JsonText::string("done")));
        assert_eq!((joined.name.as_deref(), joined.input_tokens(), joined.output_tokens()), (Some("n"), 3, 4));
    }

    #[test]
    fn metadata_that_is_no_object_is_kept_under_its_name() {
        let batch = decode(json!([event("1", "trace-create", json!({"id": "t", "metadata": ["a"]}))]));
        assert_eq!(Value::from(batch.batch.traces[0].metadata.clone()), json!({"metadata": ["a"]}));
    }
}
