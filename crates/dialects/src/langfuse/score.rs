//! Scores as Langfuse's SDKs send them, by the batch of events and by `POST /api/public/scores`.

use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{DEFAULT_ENVIRONMENT, Score, ScoreSource, ScoreTarget, ScoreType};
use serde::Deserialize;
use serde_json::Value;

use super::{Invalid, metadata};

/// The longest text of a score, in characters.
const TEXT_CHARS_MAX: usize = 500;
const NAME_CHARS_MAX: usize = 500;

/// A score as it came.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoreBody {
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
}

/// Reads a score that stands alone.
///
/// # Errors
/// With what is wrong.
pub fn decode_score(body: Value, at: NanoTimestamp, new_id: &str) -> Result<Score, Invalid> {
    decode(body, Some(new_id), at)
}

/// Reads a score. Without an id of its own it has the event's, so that an event sent again makes no second score.
pub(super) fn decode(body: Value, event_id: Option<&str>, at: NanoTimestamp) -> Result<Score, Invalid> {
    let body: ScoreBody = serde_json::from_value(body).map_err(|error| Invalid(format!("`body`: {error}")))?;
    let id = body.id.as_deref().or(event_id).unwrap_or_default();
    if body.name.is_empty() || body.name.chars().count() > NAME_CHARS_MAX {
        return Err(Invalid(format!("`name` must have 1 to {NAME_CHARS_MAX} characters")));
    }
    let target = target(&body)?;
    let (score_type, value, text) = value(&body)?;
    let timestamp = super::ingestion::time(body.timestamp.as_deref(), "timestamp")?.unwrap_or(at);
    Ok(Score {
        id: id.parse().map_err(|error| Invalid(format!("`id`: {error}")))?,
        target,
        name: body.name,
        score_type,
        value,
        text,
        comment: body.comment,
        source: ScoreSource::Api,
        author_user_id: None,
        config_id: body.config_id,
        environment: body.environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()),
        metadata: metadata(body.metadata),
        timestamp,
    })
}

fn target(body: &ScoreBody) -> Result<ScoreTarget, Invalid> {
    let wrong = |name: &str, error: &dyn std::fmt::Display| Invalid(format!("`{name}`: {error}"));
    match (&body.trace_id, &body.session_id, &body.dataset_run_id) {
        (Some(trace), None, None) => {
            let observation = body.observation_id.as_deref().map(str::parse).transpose();
            let observation = observation.map_err(|error| wrong("observationId", &error))?;
            Ok(ScoreTarget::Trace(trace.parse().map_err(|error| wrong("traceId", &error))?, observation))
        }
        (None, Some(session), None) if body.observation_id.is_none() => Ok(ScoreTarget::Session(session.clone())),
        (None, None, Some(run)) if body.observation_id.is_none() => Ok(ScoreTarget::DatasetRun(run.clone())),
        _ => Err(Invalid(
            "a score needs exactly one of `traceId` (with an `observationId` or without), `sessionId` and `datasetRunId`"
                .to_owned(),
        )),
    }
}

/// The type, as it is said or as the value shows it; the number; the text.
fn value(body: &ScoreBody) -> Result<(ScoreType, f64, Option<String>), Invalid> {
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
    let wanted = |what: &str| Invalid(format!("`value` of a score of this type must be {what}, not {given}"));
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
        decode_score(body, NanoTimestamp::from_nanos(1), "new")
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
