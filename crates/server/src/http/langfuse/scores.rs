//! `/api/public/scores` and its later versions: judgements, written one by one or several, read and deleted.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use privet_dialects::langfuse::{Invalid, Scores, decode_scores};
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{BadTraceId, ScoreId, TraceBatch};
use privet_store::Operator;
use serde_json::{Value, json};
use uuid::Uuid;

use super::query::{ListQuery, Named, cursor, wrong};
use super::traces::found;
use super::view;
use crate::http::authenticate::{Authenticated, ForRead, ForScores, ForTraces};
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
    let record = async |scores| {
        let batch = TraceBatch { scores, ..TraceBatch::default() };
        http.engine.traces.record(caller.project_id, batch).await
    };
    match read {
        Scores::One(score) => {
            let id = score.id.clone();
            record(vec![*score]).await?;
            Ok(Json(json!({"id": id.as_str()})).into_response())
        }
        Scores::List { scores, rejected } => {
            let accepted = scores.len();
            record(scores).await?;
            if rejected.is_empty() {
                return Ok((StatusCode::ACCEPTED, Json(json!({"message": "Accepted"}))).into_response());
            }
            let told = |(index, error): &(usize, Invalid)| json!({"index": index, "message": error.to_string()});
            let errors: Vec<Value> = rejected.iter().map(told).collect();
            let body = json!({"accepted": accepted, "rejected": rejected.len(), "errors": errors});
            Ok((StatusCode::MULTI_STATUS, Json(body)).into_response())
        }
    }
}

const NAMES: &[Named] = &[
    ("name", "name", Operator::AnyOf),
    ("userId", "userId", Operator::Equal),
    ("traceId", "traceId", Operator::AnyOf),
    ("observationId", "observationId", Operator::AnyOf),
    ("sessionId", "sessionId", Operator::AnyOf),
    ("datasetRunId", "datasetRunId", Operator::AnyOf),
    ("experimentId", "datasetRunId", Operator::AnyOf),
    ("id", "id", Operator::AnyOf),
    ("scoreIds", "id", Operator::AnyOf),
    ("source", "source", Operator::Equal),
    ("dataType", "dataType", Operator::Equal),
    ("configId", "configId", Operator::Equal),
    ("environment", "environment", Operator::AnyOf),
    ("fromTimestamp", "timestamp", Operator::AtLeast),
    ("toTimestamp", "timestamp", Operator::Less),
];

/// Scores, the newest first.
#[utoipa::path(
    get, path = "/api/public/v2/scores", tag = "Langfuse",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
        ("filter" = Option<String>, Query, description = "A JSON array of conditions"),
    ),
    responses(
        (status = 200, description = "A page of scores", body = Object),
        (status = 400, description = "The query is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let (paging, page) = query.page()?;
    let listed = http.engine.traces.store.list_scores(caller.project_id, &query.filters(NAMES)?, &page).await?;
    let data: Vec<Value> = listed.items.iter().map(|score| view::score(score, &caller.project_shown.id)).collect();
    Ok(Json(json!({"data": data, "meta": paging.meta(listed.total)})))
}

/// Scores by cursor, the newest first, each with one value of its type.
#[utoipa::path(
    get, path = "/api/public/v3/scores", tag = "Langfuse",
    params(
        ("cursor" = Option<String>, Query, description = "`meta.cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
    ),
    responses(
        (status = 200, description = "A page of scores", body = Object),
        (status = 400, description = "The query is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_v3(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let page = query.page_after()?;
    let listed = http.engine.traces.store.list_scores(caller.project_id, &query.filters(NAMES)?, &page).await?;
    let next = listed.items.last().filter(|_| listed.has_more);
    let next = next.map(|stored| cursor(stored.score.timestamp, stored.score.id.as_str()));
    let data: Vec<Value> = listed.items.iter().map(|score| view::score_v3(score, &caller.project_shown.id)).collect();
    Ok(Json(json!({"data": data, "meta": {"cursor": next, "limit": page.limit}})))
}

/// A score.
#[utoipa::path(
    get, path = "/api/public/v2/scores/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The score's id")),
    responses(
        (status = 200, description = "The score", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No such score in the project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let score = http.engine.traces.store.score(caller.project_id, &parse(&id)?).await;
    let score = score.map_err(|error| found(error, "Score", &id))?;
    Ok(Json(view::score(&score, &caller.project_shown.id)))
}

/// Deletes a score.
#[utoipa::path(
    delete, path = "/api/public/scores/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The score's id")),
    responses(
        (status = 204, description = "It is deleted"),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 404, description = "No such score in the project", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure<Langfuse>> {
    let deleted = http.engine.traces.store.delete_score(caller.project_id, &parse(&id)?).await;
    deleted.map_err(|error| found(error, "Score", &id))?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<ScoreId, ApiError> {
    id.parse().map_err(|error: BadTraceId| wrong("scoreId", error.to_string()))
}
