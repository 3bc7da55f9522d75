//! Scores as Langfuse's SDKs send them, by the batch of events and by `POST /api/public/scores`.

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{
    DEFAULT_ENVIRONMENT, ObservationId, Score, ScoreSource, ScoreTarget, ScoreType, TraceId, mend_surrogates,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Invalid, environment, metadata, name, prose};
use crate::traced_text::shortened;

/// The longest text of a score, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// What `POST /api/public/scores` was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Scores {
    /// One.
    One(Box<Score>),
    /// A list; some of it may be wrong.
    List {
        /// Those that are right, with their places in the list.
        scores: Vec<(usize, Score)>,
        /// The places of the others, and what is wrong with them.
        rejected: Vec<(usize, Invalid)>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    id: Option<String>,
    trace_id: Option<String>,
    session_id: Option<String>,
    observation_id: Option<String>,
    dataset_run_id: Option<String>,
    name: String,
    value: Option<Value>,
    string_value: Option<String>,
    data_type: Option<String>,
    comment: Option<String>,
    config_id: Option<String>,
    environment: Option<String>,
    metadata: Option<Value>,
    timestamp: Option<String>,
    source: Option<String>,
    author_user_id: Option<String>,
}

/// Reads a score or a list of them. A score without an id gets a new one.
///
/// # Errors
/// When it is neither, or the one score is wrong.
pub fn decode_scores(body: &[u8], at: NanoTimestamp, mut new_id: impl FnMut() -> String) -> Result<Scores, Invalid> {
    let body = mend_surrogates(body);
    let raw: &RawValue = serde_json::from_slice(&body).map_err(|error| Invalid::shape(&error))?;
    if !raw.get().starts_with('[') {
        return Ok(Scores::One(Box::new(decode(raw, &new_id(), at)?)));
    }
    let list: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|error| Invalid::shape(&error))?;
    let (mut scores, mut rejected) = (Vec::with_capacity(list.len()), Vec::new());
    for (place, raw) in list.into_iter().enumerate() {
        match decode(raw, &new_id(), at) {
            Ok(score) => scores.push((place, score)),
            Err(error) => rejected.push((place, error)),
        }
    }
    Ok(Scores::List { scores, rejected })
}

/// Reads a score. Without an id of its own it has the event's, so that an event sent again makes no second score.
pub(super) fn decode(body: &RawValue, event_id: &str, at: NanoTimestamp) -> Result<Score, Invalid> {
    let body: Body = serde_json::from_str(body.get()).map_err(|error| Invalid::shape(&error))?;
    let id = body.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(event_id);
    let id = id.parse().map_err(|error| Invalid(format!("`id`: {error}")))?;
    let target = target(&body)?;
    let (score_type, value, text) = value(&body)?;
    let timestamp = super::ingestion::time(body.timestamp.as_deref(), "timestamp")?.unwrap_or(at);
    let source = body.source.as_deref().map(str::parse).transpose();
    let nameless = || Invalid("`name` is empty: say what is judged".to_owned());
    Ok(Score {
        id,
        target,
        name: name("name", Some(body.name))?.ok_or_else(nameless)?,
        score_type,
        value,
        text: prose("value", text)?,
        comment: prose("comment", body.comment)?,
        source: source.map_err(|error| Invalid(format!("`source`: {error}")))?.unwrap_or(ScoreSource::Api),
        author_user_id: name("authorUserId", body.author_user_id)?,
        config_id: name("configId", body.config_id)?,
        environment: environment(body.environment)?.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()),
        metadata: metadata(body.metadata),
        timestamp,
    })
}

/// The one thing that is judged; an empty id is none.
fn target(body: &Body) -> Result<ScoreTarget, Invalid> {
    let given = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
    let observation = given(&body.observation_id);
    match (given(&body.trace_id), given(&body.session_id), given(&body.dataset_run_id)) {
        (Some(trace), None, None) => {
            let wrong = |field: &str, error: &dyn std::fmt::Display| Invalid(format!("`{field}`: {error}"));
            let trace: TraceId = trace.parse().map_err(|error| wrong("traceId", &error))?;
            let observation: Option<ObservationId> =
                observation.map(|id| id.parse()).transpose().map_err(|error| wrong("observationId", &error))?;
            Ok(ScoreTarget::Trace(trace, observation))
        }
        (None, session @ Some(_), None) if observation.is_none() => {
            Ok(ScoreTarget::Session(name("sessionId", session)?.unwrap_or_default()))
        }
        (None, None, run @ Some(_)) if observation.is_none() => {
            Ok(ScoreTarget::DatasetRun(name("datasetRunId", run)?.unwrap_or_default()))
        }
        _ => Err(Invalid(
            "a score needs exactly one of `traceId` (with an `observationId` or without), `sessionId` and `datasetRunId`"
                .to_owned(),
        )),
    }
}

/// The type, as it is said or as the value shows it; the number; the text.
fn value(body: &Body) -> Result<(ScoreType, f64, Option<String>), Invalid> {
    let said = body.data_type.as_deref().map(str::parse::<ScoreType>).transpose();
    let said = said.map_err(|error| Invalid(format!("`dataType`: {error}")))?;
    let given = body.value.clone().or_else(|| body.string_value.clone().map(Value::String)).unwrap_or(Value::Null);
    let number = match &given {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        value => value.as_f64(),
    };
    let text = given.as_str().map(str::to_owned);
    let inferred = match &given {
        Value::Bool(_) => ScoreType::Boolean,
        Value::String(_) => ScoreType::Categorical,
        _ => ScoreType::Numeric,
    };
    let wanted = |what: &str| {
        Invalid(format!("`value` of a score of this type must be {what}, not {}", shortened(&given.to_string())))
    };
    match said.unwrap_or(inferred) {
        ScoreType::Numeric => Ok((ScoreType::Numeric, number.ok_or_else(|| wanted("a number"))?, None)),
        ScoreType::Boolean => {
            let truth = number.filter(|number| *number == 0.0 || *number == 1.0).ok_or_else(|| wanted("0 or 1"))?;
            let word = if truth == 1.0 { "True" } else { "False" };
            Ok((ScoreType::Boolean, truth, Some(word.to_owned())))
        }
        ScoreType::Categorical => Ok((ScoreType::Categorical, 0.0, Some(text.ok_or_else(|| wanted("a text"))?))),
        ScoreType::Text => {
            let text = text.filter(|text| (1..=TEXT_CHARS_MAX).contains(&text.chars().count()));
            Ok((ScoreType::Text, 0.0, Some(text.ok_or_else(|| wanted("a text of 1 to 500 characters"))?)))
        }
        ScoreType::Correction => Ok((ScoreType::Correction, 0.0, Some(text.ok_or_else(|| wanted("a text"))?))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Score, Invalid> {
        match decode_scores(body.to_string().as_bytes(), NanoTimestamp::from_nanos(1), || "new".to_owned())? {
            Scores::One(score) => Ok(*score),
            Scores::List { .. } => panic!("one was sent"),
        }
    }

    #[test]
    fn types_are_inferred_and_checked() {
        let of = |value: Value| read(json!({"traceId": "t", "name": "n", "value": value})).unwrap();
        assert_eq!((of(json!(0.5)).score_type, of(json!(0.5)).value), (ScoreType::Numeric, 0.5));
        assert_eq!((of(json!(true)).score_type, of(json!(true)).value), (ScoreType::Boolean, 1.0));
        assert_eq!(of(json!("good")).text.as_deref(), Some("good"));
        let boolean = read(json!({"traceId": "t", "name": "n", "value": 1, "dataType": "BOOLEAN"})).unwrap();
        assert_eq!(boolean.text.as_deref(), Some("True"));
        for (value, kind) in
            [(json!(2), "BOOLEAN"), (json!("x"), "NUMERIC"), (json!(1), "CATEGORICAL"), (json!(1), "LOUD")]
        {
            assert!(read(json!({"traceId": "t", "name": "n", "value": value, "dataType": kind})).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_score_has_exactly_one_target() {
        assert!(read(json!({"name": "n", "value": 1})).is_err());
        assert!(read(json!({"name": "n", "value": 1, "traceId": "t", "sessionId": "s"})).is_err());
        assert!(read(json!({"name": "n", "value": 1, "sessionId": "s", "observationId": "o"})).is_err());
        let session = read(json!({"name": "n", "value": 1, "sessionId": "s"})).unwrap();
        assert_eq!(session.target, ScoreTarget::Session("s".to_owned()));
        assert_eq!(session.id.as_str(), "new");
    }
}
