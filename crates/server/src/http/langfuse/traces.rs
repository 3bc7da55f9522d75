//! `/api/public/traces`: list, read, delete.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::trace::TraceId;
use privet_store::{Condition, Page, Test, TraceColumn, TraceOrder, TraceQuery};
use serde::Deserialize;
use serde_json::json;

use super::filter::{joined, trace_column};
use super::query::{Named, PAGE_MAX, PageMeta, Params, counted_by_page, missing, skipped, wrong};
use super::views::{ObservationView, ScoreView, Shown, TraceDetails, is_of_old_type, trace_of_list};
use crate::http::authenticate::{Authenticated, ForRead, ForTraces};
use crate::http::body::JsonBody;
use crate::http::docs::LangfuseError;
use crate::http::error::{ApiError, Issue};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// So many traces are deleted by one request.
const DELETED_MAX: usize = 1_000;

/// Traces to delete.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraceIds {
    trace_ids: Vec<TraceId>,
}

/// Traces, newest first.
#[utoipa::path(
    get, path = "/api/public/traces", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
        ("userId" = Option<String>, Query, description = "Only of this user"),
        ("name" = Option<String>, Query, description = "Only of this name"),
        ("sessionId" = Option<String>, Query, description = "Only of this session"),
        ("tags" = Option<Vec<String>>, Query, description = "Only with all of these tags"),
        ("version" = Option<String>, Query, description = "Only of this version"),
        ("release" = Option<String>, Query, description = "Only of this release"),
        ("environment" = Option<Vec<String>>, Query, description = "Only of one of these environments"),
        ("fromTimestamp" = Option<String>, Query, description = "Only those that began at this instant or later"),
        ("toTimestamp" = Option<String>, Query, description = "Only those that began before this instant"),
        ("orderBy" = Option<String>, Query, description = "`timestamp.desc` by default"),
        ("fields" = Option<String>, Query, description = "Of core, io, scores, observations, metrics; all by default"),
        ("filter" = Option<String>, Query, description = "A JSON list of conditions"),
    ),
    responses(
        (status = 200, description = "A page", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let (order, is_descending) = order(params.text("orderBy"))?;
    let shown = Shown::of(&params.parts("fields"));
    let conditions = joined(&params, simple(&params)?, trace_column)?;
    let store = &http.engine.traces.store;
    let query = TraceQuery {
        conditions,
        order,
        is_descending,
        page: Page::Skip(skipped(page, limit), limit),
        has_contents: shown.contents,
    };
    let list = store.list_traces(caller.project_id, &query).await?;
    let traces = list.traces;
    let is_last = u32::try_from(traces.len()).is_ok_and(|count| count < limit);
    let count = match counted_by_page(page, limit, traces.len(), is_last) {
        Some(count) => count,
        None => store.count_traces(caller.project_id, &query.conditions).await?,
    };
    let mut within = match shown.observations || shown.scores {
        true => {
            let ids: Vec<TraceId> = traces.iter().map(|trace| trace.trace.id.clone()).collect();
            store.ids_within(caller.project_id, &ids).await?
        }
        false => std::collections::HashMap::new(),
    };
    let project = &caller.project_shown.id;
    let shown_trace = |trace: privet_store::TraceWithTotals| {
        let mut within = within.remove(&trace.trace.id).unwrap_or_default();
        if !shown.observations {
            within.observations.clear();
        }
        if !shown.scores {
            within.scores.clear();
        }
        trace_of_list(trace, project, shown, within)
    };
    let data: Vec<_> = traces.into_iter().map(shown_trace).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

/// A page of a list.
#[derive(serde::Serialize)]
pub(crate) struct Listed<T, M> {
    pub(crate) data: Vec<T>,
    pub(crate) meta: M,
}

/// The conditions of single parameters.
fn simple(params: &Params) -> Result<Vec<Condition<TraceColumn>>, ApiError> {
    let mut conditions = Vec::new();
    for (name, column) in [
        ("userId", TraceColumn::User),
        ("name", TraceColumn::Name),
        ("sessionId", TraceColumn::Session),
        ("version", TraceColumn::Version),
        ("release", TraceColumn::Release),
    ] {
        conditions.extend(params.text(name).map(|value| Condition::is(column, value)));
    }
    conditions.extend(in_time_and_environment(params)?);
    let tags = params.all("tags");
    if !tags.is_empty() {
        conditions.push(Condition { column: TraceColumn::Tags, test: Test::AllOf(tags) });
    }
    Ok(conditions)
}

/// The conditions on the beginning and on the environment.
pub(crate) fn in_time_and_environment(params: &Params) -> Result<Vec<Condition<TraceColumn>>, ApiError> {
    let mut conditions = Vec::new();
    conditions.extend(params.time("fromTimestamp")?.map(|at| Condition::since(TraceColumn::Timestamp, at)));
    conditions.extend(params.time("toTimestamp")?.map(|at| Condition::before(TraceColumn::Timestamp, at)));
    let environments = params.all("environment");
    if !environments.is_empty() {
        conditions.push(Condition { column: TraceColumn::Environment, test: Test::AnyOf(environments) });
    }
    Ok(conditions)
}

fn order(text: Option<&str>) -> Result<(TraceOrder, bool), ApiError> {
    let Some(text) = text else { return Ok((TraceOrder::Timestamp, true)) };
    let (field, direction) = text.rsplit_once('.').unwrap_or((text, "asc"));
    let order = match field {
        "timestamp" => TraceOrder::Timestamp,
        "id" => TraceOrder::Id,
        "name" => TraceOrder::Name,
        "userId" => TraceOrder::User,
        "sessionId" => TraceOrder::Session,
        "release" => TraceOrder::Release,
        "version" => TraceOrder::Version,
        "latency" => TraceOrder::Latency,
        "totalCost" => TraceOrder::Cost,
        "totalTokens" => TraceOrder::Tokens,
        // All are equal by these.
        "public" | "bookmarked" => TraceOrder::Timestamp,
        _ => {
            return Err(wrong(
                "orderBy",
                "`FIELD.asc` or `FIELD.desc`, FIELD one of timestamp, id, name, userId, sessionId, release, version, \
                 latency, totalCost, totalTokens",
            ));
        }
    };
    match direction.to_ascii_lowercase().as_str() {
        "asc" => Ok((order, false)),
        "desc" => Ok((order, true)),
        _ => Err(wrong("orderBy", "`FIELD.asc` or `FIELD.desc`")),
    }
}

/// A trace with its observations and scores.
#[utoipa::path(
    get, path = "/api/public/traces/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The trace")),
    responses(
        (status = 200, description = "The trace", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such trace in the key's project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<TraceId>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let shown = Shown::of(&params.parts("fields"));
    let store = &http.engine.traces.store;
    let trace = store.trace(caller.project_id, &id).await.map_err(|error| missing(error, "trace", id.as_str()))?;
    let project = &caller.project_shown.id;
    let observations = match shown.observations {
        true => store.observations_of(caller.project_id, &id).await?,
        false => Vec::new(),
    };
    let scores = if shown.scores { store.scores_of(caller.project_id, &id).await? } else { Vec::new() };
    let observations: Vec<_> = observations.into_iter().map(|one| ObservationView::new(one, project)).collect();
    let scores: Vec<_> =
        scores.into_iter().filter(is_of_old_type).map(|score| ScoreView::new(score, project)).collect();
    Ok(Json(TraceDetails::new(trace, project, shown, observations, scores)).into_response())
}

/// Deletes a trace with its observations and scores.
#[utoipa::path(
    delete, path = "/api/public/traces/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The trace")),
    responses(
        (status = 200, description = "It is gone", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 404, description = "There is no such trace in the key's project", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    Named(id): Named<TraceId>,
) -> Result<Response, Failure<Langfuse>> {
    let deleted = http.engine.traces.store.delete_traces(caller.project_id, std::slice::from_ref(&id)).await?;
    if deleted.traces == 0 {
        return Err(missing(privet_store::StoreError::NotFound, "trace", id.as_str()).into());
    }
    Ok(Json(json!({"message": "Trace deleted successfully"})).into_response())
}

/// Deletes traces with their observations and scores. Those that are not there are left out.
#[utoipa::path(
    delete, path = "/api/public/traces", tag = "Langfuse", request_body = Object,
    responses(
        (status = 200, description = "They are gone", body = Object),
        (status = 400, description = "The body is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete_many(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Response, Failure<Langfuse>> {
    let wrong = |message: String| ApiError::invalid_data(vec![Issue::at("traceIds", message)]);
    let ids =
        serde_json::from_slice::<TraceIds>(&bytes).map_err(|error| wrong(format!("must be a list of ids: {error}")))?;
    if ids.trace_ids.is_empty() || ids.trace_ids.len() > DELETED_MAX {
        return Err(wrong(format!("must hold 1 to {DELETED_MAX} ids")).into());
    }
    http.engine.traces.store.delete_traces(caller.project_id, &ids.trace_ids).await?;
    Ok(Json(json!({"message": "Traces deleted successfully"})).into_response())
}
