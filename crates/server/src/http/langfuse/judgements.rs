//! Scores, read: `/api/public/scores`, `/api/public/v2/scores` and `/api/public/v3/scores`; and deleted.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use privet_domain::trace::{ScoreId, ScoreSource, ScoreTarget, ScoreType};
use privet_engine::keyring::Caller;
use privet_store::{
    Comparison, Condition, JudgedColumn, Page, ScoreColumn, StoredScore, Test, TraceColumn, TraceWithTotals,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::filter::{joined, score_column};
use super::query::{Named, PAGE_MAX, PageMeta, Params, counted_by_page, missing, skipped, wrong};
use super::traces::Listed;
use super::views::ScoreView;
use crate::http::authenticate::{Authenticated, ForRead, ForTraces};
use crate::http::docs::LangfuseError;
use crate::http::error::{ApiError, shortened};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// A score, with what is known of the trace that it judges.
#[derive(Serialize)]
struct ScoreOfList {
    #[serde(flatten)]
    score: ScoreView,
    trace: Option<Value>,
}

/// Scores, newest first.
#[utoipa::path(
    get, path = "/api/public/v2/scores", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
        ("name" = Option<String>, Query, description = "Only of this name"),
        ("userId" = Option<String>, Query, description = "Only of this user's traces"),
        ("traceTags" = Option<Vec<String>>, Query, description = "Only of traces with all of these tags"),
        ("traceId" = Option<String>, Query, description = "Only of this trace"),
        ("observationId" = Option<String>, Query, description = "Only of one of these observations, with commas"),
        ("sessionId" = Option<String>, Query, description = "Only of this session"),
        ("datasetRunId" = Option<String>, Query, description = "Only of this run of a data set"),
        ("source" = Option<String>, Query, description = "API, EVAL or ANNOTATION"),
        ("dataType" = Option<String>, Query, description = "NUMERIC, BOOLEAN, CATEGORICAL, TEXT or CORRECTION"),
        ("configId" = Option<String>, Query, description = "Only of this configuration"),
        ("scoreIds" = Option<String>, Query, description = "Only these, with commas"),
        ("operator" = Option<String>, Query, description = "How `value` is compared: <, >, <=, >=, =, !="),
        ("value" = Option<f64>, Query, description = "A number for `operator`"),
        ("environment" = Option<Vec<String>>, Query, description = "Only of one of these environments"),
        ("fromTimestamp" = Option<String>, Query, description = "Only those of this instant or later"),
        ("toTimestamp" = Option<String>, Query, description = "Only those before this instant"),
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
    Ok(page(&http, &caller, &params).await?)
}

/// Scores, newest first, as the first version of this list.
#[utoipa::path(
    get, path = "/api/public/scores", tag = "Langfuse",
    params(
        ("page" = Option<u32>, Query, description = "From 1 on"),
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
    ),
    responses(
        (status = 200, description = "A page", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_old(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    Ok(page(&http, &caller, &params).await?)
}

async fn page(http: &Http, caller: &Caller, params: &Params) -> Result<Response, ApiError> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let conditions = joined(params, simple(params)?, score_column)?;
    let store = &http.engine.traces.store;
    let list = store.list_scores(caller.project_id, &conditions, &Page::Skip(skipped(page, limit), limit)).await?;
    let count = match counted_by_page(page, limit, list.scores.len(), list.next.is_none()) {
        Some(count) => count,
        None => store.count_scores(caller.project_id, &conditions).await?,
    };
    let of_trace = |score: &StoredScore| match &score.score.target {
        ScoreTarget::Trace(trace, _) => Some(trace.clone()),
        _ => None,
    };
    let traces = store.traces_by_id(caller.project_id, list.scores.iter().filter_map(of_trace)).await?;
    let shown = |score: StoredScore| {
        let trace = of_trace(&score).and_then(|id| traces.get(&id)).map(trace_context);
        ScoreOfList { score: ScoreView::new(score, &caller.project_shown.id), trace }
    };
    let data: Vec<_> = list.scores.into_iter().map(shown).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

fn trace_context(TraceWithTotals { trace, .. }: &TraceWithTotals) -> Value {
    json!({
        "userId": trace.user_id, "tags": trace.tags, "environment": trace.environment, "sessionId": trace.session_id,
        "name": trace.name,
    })
}

/// The conditions of single parameters.
fn simple(params: &Params) -> Result<Vec<Condition<ScoreColumn>>, ApiError> {
    let mut conditions = Vec::new();
    for (name, column) in [
        ("name", JudgedColumn::Name),
        ("traceId", JudgedColumn::Trace),
        ("sessionId", JudgedColumn::Session),
        ("datasetRunId", JudgedColumn::DatasetRun),
        ("configId", JudgedColumn::Config),
        ("source", JudgedColumn::Source),
        ("dataType", JudgedColumn::Type),
    ] {
        conditions.extend(params.text(name).map(|value| Condition::is(column.into(), value)));
    }
    conditions.extend(params.text("userId").map(|user| Condition::is(ScoreColumn::OfTrace(TraceColumn::User), user)));
    for (name, column) in [("observationId", JudgedColumn::Observation), ("scoreIds", JudgedColumn::Id)] {
        let ids = params.parts(name);
        if !ids.is_empty() {
            conditions.push(Condition { column: column.into(), test: Test::AnyOf(ids) });
        }
    }
    let tags: Vec<String> =
        params.all("traceTags").iter().flat_map(|tags| tags.split(',')).map(str::to_owned).collect();
    if !tags.is_empty() {
        conditions.push(Condition { column: ScoreColumn::OfTrace(TraceColumn::Tags), test: Test::AllOf(tags) });
    }
    let environments = params.all("environment");
    if !environments.is_empty() {
        conditions.push(Condition { column: JudgedColumn::Environment.into(), test: Test::AnyOf(environments) });
    }
    if let Some(value) = params.parsed::<f64>("value", "a number")? {
        let comparison = match params.text("operator") {
            None | Some("=") => Comparison::Equal,
            Some("!=") => Comparison::Unequal,
            Some(">") => Comparison::More,
            Some(">=") => Comparison::AtLeast,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::AtMost,
            Some(_) => return Err(wrong("operator", "one of <, >, <=, >=, =, !=")),
        };
        conditions.push(Condition { column: JudgedColumn::Value.into(), test: Test::Number(comparison, value) });
    }
    conditions.extend(in_time(params)?);
    Ok(conditions)
}

fn in_time(params: &Params) -> Result<Vec<Condition<ScoreColumn>>, ApiError> {
    let from = params.time("fromTimestamp")?.map(|at| Condition::since(JudgedColumn::Timestamp.into(), at));
    let until = params.time("toTimestamp")?.map(|at| Condition::before(JudgedColumn::Timestamp.into(), at));
    Ok(from.into_iter().chain(until).collect())
}

/// A score.
#[utoipa::path(
    get, path = "/api/public/v2/scores/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The score")),
    responses(
        (status = 200, description = "The score", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such score in the key's project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<ScoreId>,
) -> Result<Response, Failure<Langfuse>> {
    Ok(one(&http, &caller, &id).await?)
}

/// A score, as the first version of this route.
#[utoipa::path(
    get, path = "/api/public/scores/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The score")),
    responses(
        (status = 200, description = "The score", body = Object),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such score in the key's project", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read_old(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<ScoreId>,
) -> Result<Response, Failure<Langfuse>> {
    Ok(one(&http, &caller, &id).await?)
}

async fn one(http: &Http, caller: &Caller, id: &ScoreId) -> Result<Response, ApiError> {
    let found = http.engine.traces.store.score(caller.project_id, id).await;
    let score = found.map_err(|error| missing(error, "score", id.as_str()))?;
    Ok(Json(ScoreView::new(score, &caller.project_shown.id)).into_response())
}

/// Deletes a score.
#[utoipa::path(
    delete, path = "/api/public/scores/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The score")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 404, description = "There is no such score in the key's project", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    Named(id): Named<ScoreId>,
) -> Result<StatusCode, Failure<Langfuse>> {
    let deleted = http.engine.traces.store.delete_score(caller.project_id, &id).await;
    deleted.map_err(|error| missing(error, "score", id.as_str()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Scores, newest first, each value in its own type.
#[utoipa::path(
    get, path = "/api/public/v3/scores", tag = "Langfuse",
    params(
        ("limit" = Option<u32>, Query, description = "Up to 100; 50 by default"),
        ("cursor" = Option<String>, Query, description = "`cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Groups of fields, with commas: details, subject, annotation"),
        ("id" = Option<String>, Query, description = "Only these, with commas; so are the following"),
        ("name" = Option<String>, Query, description = "Only of these names"),
        ("source" = Option<String>, Query, description = "Only of these sources"),
        ("dataType" = Option<String>, Query, description = "Only of these types"),
        ("environment" = Option<String>, Query, description = "Only of these environments"),
        ("configId" = Option<String>, Query, description = "Only of these configurations"),
        ("authorUserId" = Option<String>, Query, description = "Only of these authors"),
        ("value" = Option<String>, Query, description = "Only these values; needs one `dataType`"),
        ("valueMin" = Option<f64>, Query, description = "Only values from this on; needs `dataType=NUMERIC`"),
        ("valueMax" = Option<f64>, Query, description = "Only values up to this; needs `dataType=NUMERIC`"),
        ("traceId" = Option<String>, Query, description = "Only of these traces"),
        ("sessionId" = Option<String>, Query, description = "Only of these sessions"),
        ("observationId" = Option<String>, Query, description = "Only of these observations; needs `traceId`"),
        ("experimentId" = Option<String>, Query, description = "Only of these runs of data sets"),
        ("fromTimestamp" = Option<String>, Query, description = "Only those of this instant or later"),
        ("toTimestamp" = Option<String>, Query, description = "Only those before this instant"),
    ),
    responses(
        (status = 200, description = "A page", body = Object),
        (status = 400, description = "A parameter is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_typed(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let limit = params.limit(PAGE_MAX)?;
    let fields = params.parts("fields");
    if let Some(unknown) = fields.iter().find(|field| !["details", "subject", "annotation"].contains(&field.as_str())) {
        return Err(wrong("fields", &format!("of details, subject, annotation, not `{}`", shortened(unknown))).into());
    }
    let page = Page::After(params.cursor()?, limit);
    let list = http.engine.traces.store.list_scores(caller.project_id, &typed(&params)?, &page).await?;
    let project = &caller.project_shown.id;
    let data: Vec<_> = list.scores.into_iter().map(|score| typed_view(score, project, &fields)).collect();
    let mut meta = Map::from_iter([("limit".to_owned(), json!(limit))]);
    if let Some(next) = list.next {
        meta.insert("cursor".to_owned(), json!(next.to_string()));
    }
    Ok(Json(Listed { data, meta }).into_response())
}

fn typed(params: &Params) -> Result<Vec<Condition<ScoreColumn>>, ApiError> {
    let mut conditions = Vec::new();
    let mut any_of = |column: JudgedColumn, values: Vec<String>| {
        if !values.is_empty() {
            conditions.push(Condition { column: column.into(), test: Test::AnyOf(values) });
        }
    };
    for (name, column) in [
        ("id", JudgedColumn::Id),
        ("name", JudgedColumn::Name),
        ("environment", JudgedColumn::Environment),
        ("configId", JudgedColumn::Config),
        ("authorUserId", JudgedColumn::Author),
        ("traceId", JudgedColumn::Trace),
        ("sessionId", JudgedColumn::Session),
        ("observationId", JudgedColumn::Observation),
        ("experimentId", JudgedColumn::DatasetRun),
    ] {
        any_of(column, params.parts(name));
    }
    if params.text("observationId").is_some() && params.text("traceId").is_none() {
        return Err(wrong("traceId", "given along with `observationId`"));
    }
    let subjects = ["traceId", "sessionId", "experimentId"].iter().filter(|name| params.text(name).is_some()).count();
    if subjects > 1 {
        return Err(wrong("traceId", "given without `sessionId` and `experimentId`: a score has one subject"));
    }
    let types: Vec<ScoreType> = parsed(params, "dataType")?;
    any_of(JudgedColumn::Type, types.iter().map(ToString::to_string).collect());
    let sources: Vec<ScoreSource> = parsed(params, "source")?;
    any_of(JudgedColumn::Source, sources.iter().map(ToString::to_string).collect());
    conditions.extend(in_value(params, &types)?);
    conditions.extend(in_time(params)?);
    Ok(conditions)
}

fn parsed<T: std::str::FromStr<Err = privet_domain::trace::UnknownName>>(
    params: &Params,
    name: &str,
) -> Result<Vec<T>, ApiError> {
    let read = |part: String| {
        part.parse().map_err(|error: privet_domain::trace::UnknownName| wrong(name, &format!("known: {error}")))
    };
    params.parts(name).into_iter().map(read).collect()
}

/// The conditions on the value, which only make sense for one type.
fn in_value(params: &Params, types: &[ScoreType]) -> Result<Vec<Condition<ScoreColumn>>, ApiError> {
    let mut conditions = Vec::new();
    let is_numeric = types == [ScoreType::Numeric];
    for (name, comparison) in [("valueMin", Comparison::AtLeast), ("valueMax", Comparison::AtMost)] {
        let Some(value) = params.parsed::<f64>(name, "a number")? else { continue };
        if !is_numeric {
            return Err(wrong(name, "given along with `dataType=NUMERIC`"));
        }
        conditions.push(Condition { column: JudgedColumn::Value.into(), test: Test::Number(comparison, value) });
    }
    let values = params.parts("value");
    if values.is_empty() {
        return Ok(conditions);
    }
    let numbers: Option<Vec<f64>> = match types {
        [ScoreType::Categorical] => {
            conditions.push(Condition { column: JudgedColumn::Text.into(), test: Test::AnyOf(values) });
            return Ok(conditions);
        }
        [ScoreType::Numeric] => {
            values.iter().map(|value| value.parse().ok().filter(|value: &f64| value.is_finite())).collect()
        }
        [ScoreType::Boolean] => {
            values.iter().map(|value| value.parse::<bool>().ok().map(|value| f64::from(u8::from(value)))).collect()
        }
        _ => return Err(wrong("value", "given along with one `dataType`: NUMERIC, BOOLEAN or CATEGORICAL")),
    };
    let numbers = numbers.ok_or_else(|| wrong("value", "numbers, or true and false for BOOLEAN"))?;
    conditions.push(Condition { column: JudgedColumn::Value.into(), test: Test::NumberAnyOf(numbers) });
    Ok(conditions)
}

fn typed_view(StoredScore { score, created_at, updated_at }: StoredScore, project: &str, fields: &[String]) -> Value {
    let at = |at: privet_domain::time::Timestamp| privet_domain::time::NanoTimestamp::from(at);
    let mut view = json!({
        "id": score.id, "projectId": project, "name": score.name, "dataType": score.score_type, "source": score.source,
        "timestamp": score.timestamp, "environment": score.environment, "createdAt": at(created_at), "updatedAt": at(updated_at),
        "value": match score.score_type {
            ScoreType::Numeric => json!(score.value),
            ScoreType::Boolean => json!(score.value != 0.0),
            ScoreType::Categorical | ScoreType::Text | ScoreType::Correction => json!(score.text.unwrap_or_default()),
        },
    });
    // The original shows no group where none is named; that more is shown harms no client.
    let has = |group: &str| fields.is_empty() || fields.iter().any(|field| field == group);
    let mut add = |name: &str, value: Value| {
        if let Some(members) = view.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    if has("details") {
        add("comment", json!(score.comment));
        add("configId", json!(score.config_id));
        add("metadata", Value::Object(score.metadata));
    }
    if has("annotation") {
        add("authorUserId", json!(score.author_user_id));
        add("queueId", Value::Null);
    }
    if has("subject") {
        add("subject", subject(&score.target));
    }
    view
}

fn subject(target: &ScoreTarget) -> Value {
    match target {
        ScoreTarget::Trace(trace, None) => json!({"kind": "trace", "id": trace}),
        ScoreTarget::Trace(trace, Some(observation)) => {
            json!({"kind": "observation", "id": observation, "traceId": trace})
        }
        ScoreTarget::Session(session) => json!({"kind": "session", "id": session}),
        ScoreTarget::DatasetRun(run) => json!({"kind": "experiment", "id": run}),
    }
}
