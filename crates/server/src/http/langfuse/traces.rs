//! `/api/public/traces`: reading and deleting traces.

use axum::Json;
use axum::extract::{Path, Query, State};
use privet_domain::trace::{BadTraceId, TraceId};
use privet_store::{Filter, Operator};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::{ListQuery, Named, wrong};
use super::view;
use crate::http::authenticate::{Authenticated, ForRead, ForTraces};
use crate::http::body::JsonBody;
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// What the query's names filter by.
pub(super) const NAMES: &[Named] = &[
    ("userId", "userId", Operator::Equal),
    ("name", "name", Operator::Equal),
    ("sessionId", "sessionId", Operator::Equal),
    ("version", "version", Operator::Equal),
    ("release", "release", Operator::Equal),
    ("environment", "environment", Operator::AnyOf),
    ("tags", "tags", Operator::AllOf),
    ("fromTimestamp", "timestamp", Operator::AtLeast),
    ("toTimestamp", "timestamp", Operator::Less),
];

/// Traces, the newest first.
///
/// Filtered by `userId`, `name`, `sessionId`, `version`, `release`, `environment`, `tags` (all of them), `fromTimestamp`,
/// `toTimestamp`, and by `filter`, a JSON array of conditions; ordered by `orderBy` (`timestamp.desc`); in pages of `limit` (50).
#[utoipa::path(
    get, path = "/api/public/traces", tag = "Langfuse",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
        ("filter" = Option<String>, Query, description = "A JSON array of conditions"),
        ("orderBy" = Option<String>, Query, description = "A column and `asc` or `desc`"),
        ("fields" = Option<String>, Query, description = "Groups of fields: core, io, scores, observations, metrics"),
    ),
    responses(
        (status = 200, description = "A page of traces", body = Object),
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
    let store = &http.engine.traces.store;
    let listed = store.list_traces(caller.project_id, &query.filters(NAMES)?, &page, query.wants("io")).await?;
    let ids: Vec<TraceId> = listed.items.iter().map(|item| item.trace.id.clone()).collect();
    let mut members = store.members_of(caller.project_id, &ids).await?;
    let data: Vec<Value> = listed
        .items
        .iter()
        .map(|item| {
            let mut trace = view::trace(item, &caller.project_shown.id);
            let ids = |of: Option<Vec<String>>| json!(of.unwrap_or_default());
            trace.insert("observations".to_owned(), ids(members.observations.remove(&item.trace.id)));
            trace.insert("scores".to_owned(), ids(members.scores.remove(&item.trace.id)));
            Value::Object(trace)
        })
        .collect();
    Ok(Json(json!({"data": data, "meta": paging.meta(listed.total)})))
}

/// A trace with its observations and scores.
#[utoipa::path(
    get, path = "/api/public/traces/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The trace's id")),
    responses(
        (status = 200, description = "The trace", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No such trace in the project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let (store, shown) = (&http.engine.traces.store, &caller.project_shown.id);
    let id = parse(&id)?;
    let unknown = |error| found(error, "Trace", id.as_str());
    let trace = store.trace(caller.project_id, &id).await.map_err(unknown)?;
    let observations = store.observations_of(caller.project_id, &id).await?;
    let scores = store.scores_of(caller.project_id, &id).await?;
    let mut view = view::trace(&trace, shown);
    let observations: Vec<Value> = observations.iter().map(|one| view::observation(one, shown)).collect();
    view.insert("observations".to_owned(), observations.into());
    let scores: Vec<Value> = scores.iter().map(|score| view::score(score, shown)).collect();
    view.insert("scores".to_owned(), scores.into());
    Ok(Json(Value::Object(view)))
}

/// Deletes a trace with its observations and scores. Sums of days stay.
#[utoipa::path(
    delete, path = "/api/public/traces/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The trace's id")),
    responses(
        (status = 200, description = "It is deleted", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 404, description = "No such trace in the project", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let id = parse(&id)?;
    let deleted = http.engine.traces.store.delete_traces(caller.project_id, std::slice::from_ref(&id)).await?;
    if deleted == 0 {
        return Err(not_found("Trace", id.as_str()).into());
    }
    Ok(Json(json!({"message": "Trace deleted successfully"})))
}

#[derive(Deserialize)]
struct Several {
    #[serde(rename = "traceIds")]
    trace_ids: Vec<String>,
}

/// So many traces are deleted at once.
const DELETED_MAX: usize = 1_000;

/// Deletes traces with their observations and scores: those of the body's `traceIds`. Unknown ones are passed over.
#[utoipa::path(
    delete, path = "/api/public/traces", tag = "Langfuse", request_body = Object,
    responses(
        (status = 200, description = "They are deleted", body = Object),
        (status = 400, description = "The body is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete_several(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let Several { trace_ids } =
        serde_json::from_slice(&bytes).map_err(|error| wrong("traceIds", format!("must be a list of ids: {error}")))?;
    if trace_ids.len() > DELETED_MAX {
        return Err(wrong("traceIds", format!("may name {DELETED_MAX} traces at once; send several requests")).into());
    }
    let ids = trace_ids.iter().map(|id| parse(id)).collect::<Result<Vec<TraceId>, ApiError>>()?;
    http.engine.traces.store.delete_traces(caller.project_id, &ids).await?;
    Ok(Json(json!({"message": "Traces deleted successfully"})))
}

fn parse(id: &str) -> Result<TraceId, ApiError> {
    id.parse().map_err(|error: BadTraceId| wrong("traceId", error.to_string()))
}

/// Of what a project has not, the surface says so in its clients' words.
pub(super) fn found(error: privet_store::StoreError, what: &str, id: &str) -> ApiError {
    match error {
        privet_store::StoreError::NotFound => not_found(what, id),
        error => error.into(),
    }
}

pub(super) fn not_found(what: &str, id: &str) -> ApiError {
    ApiError::not_found(format!("{what} {id} not found within authorized project"))
}

/// A condition that a column is a text.
pub(super) fn equal(column: &str, value: &str) -> Filter {
    let value = privet_store::FilterValue::Text(value.to_owned());
    Filter { column: column.to_owned(), key: None, operator: Operator::Equal, value }
}
