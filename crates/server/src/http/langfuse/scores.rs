//! `POST /api/public/scores`: one judgement, or several.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use privet_dialects::langfuse::{Invalid, Scores, decode_scores};
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Score, TraceBatch};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::authenticate::{Authenticated, ForScores};
use crate::http::body::{JsonBody, off_the_runtime};
use crate::http::docs::LangfuseError;
use crate::http::error::{ApiError, Issue};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// Judges a trace, an observation, a session or a run: one score, or a list of them.
///
/// A score with an id that is there already takes its place. A public key alone may do this, for feedback from a browser.
#[utoipa::path(
    post, path = "/api/public/scores", tag = "Langfuse", request_body = Object,
    responses(
        (status = 200, description = "The id of the score", body = Object),
        (status = 202, description = "All of the list are kept", body = Object),
        (status = 207, description = "Some of the list are kept; what is wrong with the others", body = Object),
        (status = 400, description = "A score is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
        (status = 507, description = "The disk is full", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForScores>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Response, Failure<Langfuse>> {
    let now = NanoTimestamp::from(http.engine.clock.now());
    let read = off_the_runtime(bytes.len(), move || decode_scores(&bytes, now, || Uuid::now_v7().to_string()));
    let read = read.await?.map_err(|error| ApiError::invalid_data(vec![Issue::at("", error.to_string())]))?;
    let (scores, mut refused, is_list) = match read {
        Scores::One(score) => (vec![(0, *score)], Vec::new(), false),
        Scores::List { scores, rejected } => {
            let told = |(place, Invalid(reason))| (place, reason);
            (scores, rejected.into_iter().map(told).collect(), true)
        }
    };
    let held = http.engine.hold_to_configs(caller.project_id, scores).await?;
    refused.extend(held.refused);
    if let (false, Some((_, reason))) = (is_list, refused.first()) {
        return Err(ApiError::invalid_data(vec![Issue::at("", reason.as_str())]).into());
    }
    let scores: Vec<Score> = held.kept.into_iter().map(|(_, score)| score).collect();
    let (accepted, first) = (scores.len(), scores.first().map(|score| score.id.clone()));
    let batch = TraceBatch { scores, ..TraceBatch::default() };
    http.engine.traces.record(caller.project_id, batch).await?;
    if let (false, Some(id)) = (is_list, first) {
        return Ok(Json(json!({"id": id.as_str()})).into_response());
    }
    if refused.is_empty() {
        return Ok((StatusCode::ACCEPTED, Json(json!({"message": "Accepted"}))).into_response());
    }
    refused.sort_by_key(|(place, _)| *place);
    let errors: Vec<Value> = refused.iter().map(|(place, reason)| json!({"index": place, "message": reason})).collect();
    let body = json!({"accepted": accepted, "rejected": refused.len(), "errors": errors});
    Ok((StatusCode::MULTI_STATUS, Json(body)).into_response())
}
