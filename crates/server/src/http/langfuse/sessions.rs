//! `/api/public/sessions`: what traces say of their sessions.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_store::{Condition, Page, TraceColumn, TraceOrder, TraceQuery};
use serde::Serialize;
use serde_json::{Map, Value};

use super::query::{Named, PAGE_MAX, PageMeta, Params, counted_by_page, missing, skipped};
use super::traces::{Listed, in_time_and_environment};
use super::views::{TraceView, session};
use crate::http::authenticate::{Authenticated, ForRead};
use crate::http::docs::LangfuseError;
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// So many traces of a session are shown with it.
const TRACES_MAX: u32 = 1_000;

/// A session with its traces.
#[derive(Serialize)]
struct SessionView {
    #[serde(flatten)]
    session: Map<String, Value>,
    traces: Vec<TraceView>,
}

/// Sessions, the one that began last first.
#[utoipa::path(
    get, path = "/api/public/sessions", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
        ("fromTimestamp" = Option<String>, Query, description = "Only with traces that began at this instant or later"),
        ("toTimestamp" = Option<String>, Query, description = "Only with traces that began before this instant"),
        ("environment" = Option<Vec<String>>, Query, description = "Only with traces of one of these environments"),
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
    let conditions = in_time_and_environment(&params)?;
    let store = &http.engine.traces.store;
    let sessions = store.list_sessions(caller.project_id, &conditions, skipped(page, limit), limit).await?;
    let is_last = u32::try_from(sessions.len()).is_ok_and(|count| count < limit);
    let count = match counted_by_page(page, limit, sessions.len(), is_last) {
        Some(count) => count,
        None => store.count_sessions(caller.project_id, &conditions).await?,
    };
    let data: Vec<_> = sessions.iter().map(|one| session(one, &caller.project_shown.id)).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

/// A session with its traces, oldest first; of more than a thousand the first thousand.
#[utoipa::path(
    get, path = "/api/public/sessions/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "The session", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "No trace of the key's project names it", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<String>,
) -> Result<Response, Failure<Langfuse>> {
    let store = &http.engine.traces.store;
    let found = store.session(caller.project_id, &id).await.map_err(|error| missing(error, "session", &id))?;
    let query = TraceQuery {
        conditions: vec![Condition::is(TraceColumn::Session, &id)],
        order: TraceOrder::Timestamp,
        is_descending: false,
        page: Page::Skip(0, TRACES_MAX),
        has_contents: true,
    };
    let project = &caller.project_shown.id;
    let traces = store.list_traces(caller.project_id, &query).await?.traces;
    let traces = traces.into_iter().map(|one| TraceView::new(one.trace, &one.totals, project, true)).collect();
    Ok(Json(SessionView { session: session(&found, project), traces }).into_response())
}
