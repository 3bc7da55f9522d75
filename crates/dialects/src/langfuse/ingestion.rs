//! `POST /api/public/ingestion`: a batch of events. Each is judged alone: a bad one keeps none of the others out.

use std::collections::{HashMap, HashSet};

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{ObservationId, ScoreId, TraceBatch, TraceId, TracePatch, mend_surrogates};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Invalid, content, environment, metadata, name, observation, score};
use crate::traced_text::{LIST_MAX, shortened};

/// The longest id of an event, in bytes.
const EVENT_ID_BYTES_MAX: usize = 800;

/// The body is no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The body is no batch of events: {0}. Send {{\"batch\": [{{\"id\", \"type\", \"timestamp\", \"body\"}}]}}.")]
pub struct BadBatch(String);

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: String,
    /// The score that it is.
    pub score: Option<ScoreId>,
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
    /// Events that were read, each once.
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
struct Event<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Which events a sender may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// All of them.
    #[default]
    All,
    /// Scores alone.
    Scores,
}

/// Reads a batch. The order of its events does not matter: patches are joined by their times.
///
/// # Errors
/// When it is no batch at all.
pub fn decode_batch(body: &[u8], allowed: Allowed) -> Result<Batch, BadBatch> {
    let body = mend_surrogates(body);
    let wire: Wire<'_> = serde_json::from_slice(&body).map_err(|error| BadBatch(shortened(&error.to_string())))?;
    let mut reading = Reading { allowed, ..Reading::default() };
    let mut seen = HashSet::new();
    let mut later = Vec::new();
    for raw in wire.batch {
        let event: Event<'_> = match serde_json::from_str(raw.get()) {
            Ok(event) => event,
            Err(error) => {
                reading.reject(id_of(raw), Invalid::shape(&error));
                continue;
            }
        };
        // Sent twice in one batch it is the same event.
        if !seen.insert(event.id.clone()) {
            continue;
        }
        if event.id.is_empty() || event.id.len() > EVENT_ID_BYTES_MAX {
            reading.reject(shortened(&event.id), Invalid(format!("`id` has 1 to {EVENT_ID_BYTES_MAX} bytes")));
            continue;
        }
        // A change may leave out the trace that its beginning names.
        match event.kind.ends_with("-update") {
            true => later.push(event),
            false => reading.read(event),
        }
    }
    later.into_iter().for_each(|event| reading.read(event));
    reading.batch.batch.traces.sort_by_key(|patch| (patch.at, patch.timestamp));
    Ok(reading.batch)
}

/// The id of an event that is wrong otherwise.
fn id_of(raw: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    serde_json::from_str::<Identified>(raw.get()).map(|event| shortened(&event.id)).unwrap_or_default()
}

/// A batch that is being read.
#[derive(Default)]
struct Reading {
    allowed: Allowed,
    batch: Batch,
    /// The traces of the observations that were read.
    traces: HashMap<ObservationId, TraceId>,
}

impl Reading {
    fn read(&mut self, event: Event<'_>) {
        let id = event.id.clone();
        match self.add(event) {
            Ok(score) => self.batch.accepted.push(Accepted { id, score }),
            Err(error) => self.reject(id, error),
        }
    }

    fn reject(&mut self, id: String, Invalid(reason): Invalid) {
        self.batch.rejected.push(Rejected { id, reason });
    }

    /// Gives the id of the score, if it is one.
    fn add(&mut self, event: Event<'_>) -> Result<Option<ScoreId>, Invalid> {
        let at = NanoTimestamp::parse(&event.timestamp).ok_or_else(|| {
            let given = shortened(&event.timestamp);
            Invalid(format!("`timestamp` must be a time such as 2026-11-25T10:00:00.000Z, not `{given}`"))
        })?;
        let batch = &mut self.batch.batch;
        match event.kind.as_str() {
            "trace-create" if self.allowed == Allowed::All => batch.traces.push(trace(event.body, &event.id, at)?),
            "score-create" => {
                let score = score::decode(event.body, &event.id, at)?;
                let id = score.id.clone();
                batch.scores.push(score);
                return Ok(Some(id));
            }
            // What an SDK says of itself is nobody's trace.
            "sdk-log" => {}
            _ if self.allowed == Allowed::Scores => {
                return Err(Invalid(
                    "a public key alone may only send `score-create`; send the pair of keys".to_owned(),
                ));
            }
            kind => {
                let about = observation::About { kind, event_id: &event.id, at, traces: &self.traces };
                let patch = observation::decode(&about, event.body)?;
                self.traces.entry(patch.id.clone()).or_insert_with(|| patch.trace_id.clone());
                batch.observations.push(patch);
            }
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraceBody<'a> {
    id: Option<String>,
    timestamp: Option<String>,
    name: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    environment: Option<String>,
    release: Option<String>,
    version: Option<String>,
    public: Option<bool>,
    tags: Option<Vec<String>>,
    metadata: Option<Value>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

fn trace(body: &RawValue, event_id: &str, at: NanoTimestamp) -> Result<TracePatch, Invalid> {
    let body: TraceBody<'_> = serde_json::from_str(body.get()).map_err(|error| Invalid::shape(&error))?;
    let id = body.id.as_deref().unwrap_or(event_id).parse().map_err(|error| Invalid(format!("`body.id`: {error}")))?;
    let mut patch = TracePatch::new(id, at);
    patch.timestamp = Some(time(body.timestamp.as_deref(), "timestamp")?.unwrap_or(at));
    patch.name = name("name", body.name)?;
    patch.user_id = name("userId", body.user_id)?;
    patch.session_id = name("sessionId", body.session_id)?;
    patch.environment = environment(body.environment)?;
    patch.release = name("release", body.release)?;
    patch.version = name("version", body.version)?;
    patch.public = body.public;
    patch.tags = tags(body.tags.unwrap_or_default())?;
    patch.metadata = metadata(body.metadata);
    patch.input = content("input", body.input)?;
    patch.output = content("output", body.output)?;
    Ok(patch)
}

fn tags(tags: Vec<String>) -> Result<Vec<String>, Invalid> {
    if tags.len() > LIST_MAX {
        return Err(Invalid(format!("`tags` are {}; at most {LIST_MAX} are kept", tags.len())));
    }
    tags.into_iter().filter_map(|tag| name("tags", Some(tag)).transpose()).collect()
}

/// A time, if it is given.
pub(super) fn time(text: Option<&str>, name: &str) -> Result<Option<NanoTimestamp>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let parsed = NanoTimestamp::parse(text);
    parsed.map(Some).ok_or_else(|| Invalid(format!("`body.{name}` must be a time, not `{}`", shortened(text))))
}

#[cfg(test)]
mod tests {
    use privet_domain::trace::{JsonText, Observation, PatchKind};
    use serde_json::json;

    use super::*;

    fn decode(batch: Value) -> Batch {
        decode_batch(json!({"batch": batch, "metadata": {}}).to_string().as_bytes(), Allowed::All).unwrap()
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
        assert_eq!(accepted, ["1", "5"]);
        let rejected: Vec<&str> = batch.rejected.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(rejected, ["2", "3", "4", ""]);
        assert!(batch.rejected[0].reason.contains("poem-create"), "{:?}", batch.rejected);
        assert!(batch.rejected[1].reason.contains("`LOUD` is none of DEBUG"), "{:?}", batch.rejected);
        assert_eq!(batch.batch.traces.len(), 1, "the same event once");
        assert!(decode_batch(b"{}", Allowed::All).is_err());
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
