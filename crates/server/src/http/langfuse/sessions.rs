//! `/api/public/sessions`: the conversations that traces belong to. A session begins with the first trace that names it.

use axum::Json;
use axum::extract::{Path, Query, State};
use privet_store::{Operator, Page};
use serde_json::{Value, json};

use super::query::{ListQuery, Named};
use super::traces::{equal, not_found};
use super::view;
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

const NAMES: &[Named] = &[
    ("environment", "environment", Operator::AnyOf),
    ("fromTimestamp", "timestamp", Operator::AtLeast),
    ("toTimestamp", "timestamp", Operator::Less),
];
/// Of a session so many traces are told.
const TRACES_MAX: u32 = 1_000;

/// Sessions, the latest begun first.
#[utoipa::path(
    get, path = "/api/public/sessions", tag = "Langfuse",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("limit" = Option<u32>, Query, description = "Up to 100"),
    ),
    responses(
        (status = 200, description = "A page of sessions", body = Object),
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
    let listed = http.engine.traces.store.list_sessions(caller.project_id, &query.filters(NAMES)?, &page).await?;
    let data: Vec<Value> = listed
        .items
        .iter()
        .map(|session| {
            json!({
                "id": session.id, "createdAt": session.created_at, "projectId": caller.project_shown.id,
                "environment": session.environment, "countTraces": session.traces, "totalCost": view::dollars(session.cost),
                "totalTokens": session.total_tokens,
            })
        })
        .collect();
    Ok(Json(json!({"data": data, "meta": paging.meta(listed.total)})))
}

/// A session with its traces, the first first.
#[utoipa::path(
    get, path = "/api/public/sessions/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The session's id")),
    responses(
        (status = 200, description = "The session", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No such session in the project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure<Langfuse>> {
    let order = Some(("timestamp".to_owned(), false));
    let page = Page { order, ..Page::first(TRACES_MAX) };
    let filters = [equal("sessionId", &id)];
    let listed = http.engine.traces.store.list_traces(caller.project_id, &filters, &page, true).await?;
    let Some(first) = listed.items.first() else { return Err(not_found("Session", &id).into()) };
    let shown = &caller.project_shown.id;
    let traces: Vec<Value> = listed.items.iter().map(|item| Value::Object(view::trace(item, shown))).collect();
    Ok(Json(json!({
        "id": id, "createdAt": first.trace.timestamp, "projectId": shown, "environment": first.trace.environment,
        "traces": traces,
    })))
}
