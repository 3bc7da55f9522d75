//! `POST /api/public/ingestion`: traces, observations and scores in a batch of events, as Langfuse's older SDKs send them.

use std::collections::HashMap;
use std::mem;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_dialects::json_limits::{self, JsonLimits};
use privet_dialects::langfuse::{Allowed, Batch, Rejected, decode_batch};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::authenticate::{Authenticated, ForScores};
use crate::http::body::{UnpackedBody, off_the_runtime};
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// A batch holds many members.
const LIMITS: JsonLimits = JsonLimits { depth_max: 100, members_max: 2_000_000 };

/// What became of each event.
#[derive(Serialize, ToSchema)]
pub(crate) struct IngestionReply {
    /// Events that are kept.
    successes: Vec<IngestionSuccess>,
    /// Events that are not, and why.
    errors: Vec<IngestionFailure>,
}

/// An event that is kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct IngestionSuccess {
    /// The event's id.
    id: String,
    /// 201.
    status: u16,
}

/// An event that is not kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct IngestionFailure {
    /// The event's id.
    id: String,
    /// 400.
    status: u16,
    /// What is wrong with it.
    message: String,
    /// The class of the error.
    error: &'static str,
}

/// Traces, observations and scores in a batch of events.
///
/// Each event is judged alone: a bad one keeps no other out. When the answer comes, all that it calls kept is kept. A public key
/// alone may send scores, as web pages do.
#[utoipa::path(
    post, path = "/api/public/ingestion", tag = "Langfuse", request_body = Object,
    responses(
        (status = 207, description = "What became of each event", body = IngestionReply),
        (status = 400, description = "No batch", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
        (status = 507, description = "The disk is full", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, by_public_key, .. }: Authenticated<Langfuse, ForScores>,
    UnpackedBody { bytes, place, .. }: UnpackedBody<Langfuse>,
) -> Result<(StatusCode, Json<IngestionReply>), Failure<Langfuse>> {
    let allowed = if by_public_key { Allowed::Scores } else { Allowed::All };
    let decoded = off_the_runtime(bytes.len(), move || {
        json_limits::check(&bytes, &LIMITS)?;
        decode_batch(&bytes, allowed).map_err(|error| ApiError::bad_request(error.to_string()))
    });
    let Batch { mut batch, accepted, mut rejected } = decoded.await??;
    let scores = mem::take(&mut batch.scores).into_iter().map(|score| (score.id.clone(), score)).collect();
    let held = http.engine.hold_to_configs(caller.project_id, scores).await?;
    batch.scores = held.kept.into_iter().map(|(_, score)| score).collect();
    let refused: HashMap<_, _> = held.refused.into_iter().collect();
    let (accepted, turned): (Vec<_>, Vec<_>) =
        accepted.into_iter().partition(|event| event.score.as_ref().is_none_or(|score| !refused.contains_key(score)));
    rejected.extend(turned.into_iter().map(|event| {
        let reason = event.score.and_then(|score| refused.get(&score).cloned()).unwrap_or_default();
        Rejected { id: event.id, reason }
    }));
    http.engine.traces.record(caller.project_id, batch).await?;
    drop(place);
    let successes = accepted.into_iter().map(|event| IngestionSuccess { id: event.id, status: 201 }).collect();
    let errors = rejected.into_iter().map(|event| IngestionFailure {
        id: event.id,
        status: 400,
        message: event.reason,
        error: "InvalidRequestError",
    });
    Ok((StatusCode::MULTI_STATUS, Json(IngestionReply { successes, errors: errors.collect() })))
}
