//! `/api/public/observations` and `/api/public/v2/observations`: reading observations, by numbered pages and by cursor.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use privet_domain::trace::{BadTraceId, Trace, TraceId};
use privet_store::{Filter, Operator};
use serde_json::{Value, json};

use super::query::{ListQuery, Named, cursor, wrong};
use super::traces::found;
use super::view;
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::error::ApiError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

const NAMES: &[Named] = &[
    ("name", "name", Operator::Equal),
    ("userId", "userId", Operator::Equal),
    ("sessionId", "sessionId", Operator::Equal),
    ("type", "type", Operator::Equal),
    ("traceId", "traceId", Operator::Equal),
    ("level", "level", Operator::Equal),
    ("parentObservationId", "parentObservationId", Operator::Equal),
    ("environment", "environment", Operator::AnyOf),
    ("fromStartTime", "startTime", Operator::AtLeast),
    ("toStartTime", "startTime", Operator::Less),
    ("version", "version", Operator::Equal),
    ("promptName", "promptName", Operator::Equal),
];

/// Observations, the newest first.
///
/// Filtered by `name`, `userId`, `type`, `traceId`, `level`, `parentObservationId`, `environment`, `fromStartTime`, `toStartTime`,
/// `version`, `promptName`, and by `filter`, a JSON array of conditions.
#[utoipa::path(
    get, path = "/api/public/observations", tag = "Langfuse",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
        ("filter" = Option<String>, Query, description = "A JSON array of conditions"),
    ),
    responses(
        (status = 200, description = "A page of observations", body = Object),
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
    let listed = store.list_observations(caller.project_id, &filters(&query)?, &page).await?;
    let data: Vec<Value> = listed.items.iter().map(|one| view::observation(one, &caller.project_shown.id)).collect();
    Ok(Json(json!({"data": data, "meta": paging.meta(listed.total)})))
}

/// An observation.
#[utoipa::path(
    get, path = "/api/public/observations/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The observation's id")),
    responses(
        (status = 200, description = "The observation", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No such observation in the project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let parsed = id.parse().map_err(|error: BadTraceId| wrong("observationId", error.to_string()))?;
    let one = http.engine.traces.store.observation(caller.project_id, &parsed).await;
    let one = one.map_err(|error| found(error, "Observation", &id))?;
    Ok(Json(view::observation(&one, &caller.project_shown.id)))
}

/// Observations by cursor, the newest first, in groups of fields.
///
/// `fields` names groups: core, basic, time, io, metadata, model, usage, prompt, metrics, trace_context. Contents are texts of JSON.
#[utoipa::path(
    get, path = "/api/public/v2/observations", tag = "Langfuse",
    params(
        ("cursor" = Option<String>, Query, description = "`meta.cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
        ("fields" = Option<String>, Query, description = "Groups of fields, with commas between them"),
        ("filter" = Option<String>, Query, description = "A JSON array of conditions"),
    ),
    responses(
        (status = 200, description = "A page of observations", body = Object),
        (status = 400, description = "The query is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_v2(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let page = query.page_after()?;
    let store = &http.engine.traces.store;
    let listed = store.list_observations(caller.project_id, &filters(&query)?, &page).await?;
    let mut ids: Vec<TraceId> = listed.items.iter().map(|one| one.trace_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let traces = store.traces_with(caller.project_id, &ids).await?;
    let traces: HashMap<TraceId, Trace> = traces.into_iter().map(|item| (item.trace.id.clone(), item.trace)).collect();
    let shown = &caller.project_shown.id;
    // The original gives the basic groups where none is named.
    let wants = |group: &str| match query.one("fields") {
        None => matches!(group, "core" | "basic"),
        Some(_) => query.wants(group),
    };
    let data = listed.items.iter().map(|one| view::observation_v2(one, traces.get(&one.trace_id), shown, wants));
    let next = listed.items.last().filter(|_| listed.has_more).map(|one| cursor(one.start, one.id.as_str()));
    Ok(Json(json!({"data": data.collect::<Vec<_>>(), "meta": {"cursor": next}})))
}

fn filters(query: &ListQuery) -> Result<Vec<Filter>, ApiError> {
    query.filters(NAMES)
}
