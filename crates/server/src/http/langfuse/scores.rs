//! `POST /api/public/scores`: one judgement, or several.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use privet_dialects::langfuse::decode_score;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::TraceBatch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::authenticate::{Authenticated, ForScores};
use crate::http::body::JsonBody;
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
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("The body is not valid JSON: {error}")))?;
    let now = NanoTimestamp::from(http.engine.clock.now());
    let read = |body| decode_score(body, now, &Uuid::now_v7().to_string());
    if let Value::Array(bodies) = body {
        let (mut scores, mut errors) = (Vec::new(), Vec::new());
        for (index, body) in bodies.into_iter().enumerate() {
            match read(body) {
                Ok(score) => scores.push(score),
                Err(error) => errors.push(json!({"index": index, "message": error.to_string()})),
            }
        }
        let accepted = scores.len();
        http.engine.traces.record(caller.project_id, TraceBatch { scores, ..TraceBatch::default() }).await?;
        return Ok(match errors.is_empty() {
            true => (StatusCode::ACCEPTED, Json(json!({"message": "Accepted"}))).into_response(),
            false => {
                let told = json!({"accepted": accepted, "rejected": errors.len(), "errors": errors});
                (StatusCode::MULTI_STATUS, Json(told)).into_response()
            }
        });
    }
    let score = read(body).map_err(|error| ApiError::invalid_data(vec![Issue::at("", error.to_string())]))?;
    let id = score.id.clone();
    http.engine.traces.record(caller.project_id, TraceBatch { scores: vec![score], ..TraceBatch::default() }).await?;
    Ok(Json(json!({"id": id.as_str()})).into_response())
}
