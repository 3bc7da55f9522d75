//! `POST /api/feedback`: what an end user thought of an answer or a conversation.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_domain::trace::{Score, ScoreTarget, ScoreType};
use privet_engine::traces::feedback::{About, Feedback, Judgement};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::authenticate::{Authenticated, ForChat};
use super::body::JsonBody;
use super::conversations::decode;
use super::docs::NativeError;
use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Native};

const DEFAULT_NAME: &str = "feedback";
const NAME_CHARS_MAX: usize = 100;
const WORD_CHARS_MAX: usize = 500;
const COMMENT_CHARS_MAX: usize = 5_000;
const USER_CHARS_MAX: usize = 200;

/// What somebody thought. Exactly one of `trace_id`, `request_id` and `conversation_id` says of what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFeedback {
    /// The trace: the header `x-privet-trace-id` of an answer.
    trace_id: Option<String>,
    /// The request: the header `x-request-id` of an answer.
    request_id: Option<String>,
    /// The conversation: the header `x-conversation-id` of an answer.
    conversation_id: Option<String>,
    /// `up`, `down`, true, false, a number or another word.
    #[serde(alias = "score")]
    #[schema(value_type = Object)]
    value: Value,
    /// In words.
    comment: Option<String>,
    /// What is measured; `feedback` where it is not said.
    name: Option<String>,
    /// Who thought it, where the key is the application's. The same user's second feedback replaces the first.
    user: Option<String>,
}

/// Feedback as it is kept: a score.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackView {
    /// The score's id.
    id: String,
    /// The trace that it is of.
    trace_id: Option<String>,
    /// The conversation that it is of.
    conversation_id: Option<String>,
    /// What is measured.
    name: String,
    /// `NUMERIC`, `BOOLEAN` or `CATEGORICAL`.
    r#type: String,
    /// The number, true or false, or the word.
    #[schema(value_type = Object)]
    value: Value,
    /// In words.
    comment: Option<String>,
    /// Who thought it.
    user: Option<String>,
    /// When, RFC 3339.
    at: String,
}

/// Keep what an end user thought of an answer or a conversation.
///
/// It becomes a score of the trace or the session. A second feedback of the same name by the same user replaces the first.
#[utoipa::path(
    post, path = "/api/feedback", tag = "Traces",
    request_body = NewFeedback,
    responses(
        (status = 201, description = "It is kept", body = FeedbackView),
        (status = 400, description = "The feedback is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "No such trace or conversation in the key's project", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    body: JsonBody<Native>,
) -> Result<(StatusCode, Json<FeedbackView>), Failure<Native>> {
    let feedback = read(decode(&body.bytes)?)?;
    let score = http.engine.give_feedback(&caller, feedback).await?;
    Ok((StatusCode::CREATED, Json(score.into())))
}

fn read(new: NewFeedback) -> Result<Feedback, ApiError> {
    let about = match (new.trace_id, new.request_id, new.conversation_id) {
        (Some(trace), None, None) => {
            About::Trace(trace.parse().map_err(|error| wrong("trace_id", &format!("is wrong: {error}")))?)
        }
        (None, Some(request), None) => {
            About::Request(request.parse().map_err(|_| wrong("request_id", "must be a UUID, as in `x-request-id`"))?)
        }
        (None, None, Some(conversation)) => {
            About::Conversation(bounded("conversation_id", conversation, privet_domain::trace::ID_BYTES_MAX)?)
        }
        _ => {
            let message =
                "Name what the feedback is of: exactly one of `trace_id`, `request_id` and `conversation_id`.";
            return Err(ApiError::bad_request(message));
        }
    };
    let value = match new.value {
        Value::Bool(good) => Judgement::Good(good),
        Value::String(word) if word == "up" => Judgement::Good(true),
        Value::String(word) if word == "down" => Judgement::Good(false),
        Value::String(word) => Judgement::Word(bounded("value", word, WORD_CHARS_MAX)?),
        value => Judgement::Number(
            value.as_f64().ok_or_else(|| wrong("value", "must be `up`, `down`, true, false, a number or a word"))?,
        ),
    };
    let bounded_if = |name, text: Option<String>, chars| text.map(|text| bounded(name, text, chars)).transpose();
    Ok(Feedback {
        about,
        name: bounded_if("name", new.name, NAME_CHARS_MAX)?.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        value,
        comment: bounded_if("comment", new.comment, COMMENT_CHARS_MAX)?,
        user: bounded_if("user", new.user, USER_CHARS_MAX)?,
    })
}

fn bounded(name: &str, text: String, chars_max: usize) -> Result<String, ApiError> {
    if text.is_empty() || text.chars().count() > chars_max {
        return Err(wrong(name, &format!("must have 1 to {chars_max} characters")));
    }
    Ok(text)
}

fn wrong(name: &str, what: &str) -> ApiError {
    ApiError::bad_request(format!("`{name}` {what}.")).at(name)
}

impl From<Score> for FeedbackView {
    fn from(score: Score) -> Self {
        let (trace_id, conversation_id) = match score.target {
            ScoreTarget::Trace(trace, _) => (Some(trace.to_string()), None),
            ScoreTarget::Session(session) => (None, Some(session)),
            ScoreTarget::DatasetRun(_) => (None, None),
        };
        let value = match score.score_type {
            ScoreType::Numeric => json!(score.value),
            ScoreType::Boolean => json!(score.value == 1.0),
            ScoreType::Categorical | ScoreType::Text | ScoreType::Correction => json!(score.text),
        };
        Self {
            id: score.id.to_string(),
            trace_id,
            conversation_id,
            name: score.name,
            r#type: score.score_type.to_string(),
            value,
            comment: score.comment,
            user: score.author_user_id,
            at: score.timestamp.to_string(),
        }
    }
}
