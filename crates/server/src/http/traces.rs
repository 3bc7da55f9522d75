//! `/api/traces`, `/api/sessions`, `/api/users`, `/api/scores` and `/api/metrics/daily`: what the project's requests and agents did,
//! by when, for whom and at what cost. Lists go on from a cursor.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::TraceId;
use privet_store::{
    Comparison, Condition, DailyQuery, Days, Dimension, JudgedColumn, Page, Place, ScoreColumn, StoreError, Test,
    TraceColumn, TraceOrder, TraceQuery,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForRead, ForTraces};
use super::conversations::{PathId, Queried};
use super::docs::NativeError;
use super::error::{ApiError, shortened};
use super::router::Http;
use super::surface::{Failure, Native};
use crate::trace_view::{DayView, ScoreDetail, SessionView, TraceDetail, TraceSummary, UserView};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;
/// So many sums of days are given at once.
const DAYS_MAX: u32 = 10_000;
const NANOS_PER_DOLLAR: f64 = 1e9;

/// Which traces.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TraceFilter {
    /// Only of this user.
    user_id: Option<String>,
    /// Only of this session.
    session_id: Option<String>,
    /// Only of this name.
    name: Option<String>,
    /// Only with all of these tags, with commas.
    tags: Option<String>,
    /// Only of one of these environments, with commas.
    environment: Option<String>,
    /// Only of this release.
    release: Option<String>,
    /// Only of this version.
    version: Option<String>,
    /// Only those that began at this instant or later, RFC 3339.
    since: Option<String>,
    /// Only those that began before this instant, RFC 3339.
    until: Option<String>,
    /// Only those with a failed observation, or only those without.
    has_errors: Option<bool>,
    /// Only those that took so long or longer, in milliseconds.
    latency_ms_min: Option<f64>,
    /// Only those that cost so much or more, in nano-dollars.
    cost_nanos_min: Option<f64>,
    /// Only those of so many tokens or more.
    total_tokens_min: Option<f64>,
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Traces, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct TraceList {
    data: Vec<TraceSummary>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Sessions, the one that began last first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionList {
    data: Vec<SessionView>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Users, the one seen last first.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserList {
    data: Vec<UserView>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Scores, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoreList {
    data: Vec<ScoreDetail>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Sums of days, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DayList {
    data: Vec<DayView>,
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPage {
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which scores.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScoreFilter {
    /// Only of this trace and of its observations.
    trace_id: Option<String>,
    /// Only of this session.
    session_id: Option<String>,
    /// Only of this name.
    name: Option<String>,
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which sums of days.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DayFilter {
    /// `model`, `prompt`, `user`, `tag` or `name`; in all when absent.
    by: Option<String>,
    /// Only of this model, prompt, user or tag.
    value: Option<String>,
    /// Only of one of these environments, with commas.
    environment: Option<String>,
    /// From this day on, such as `2026-11-25`.
    since: Option<String>,
    /// Up to this day, without it.
    until: Option<String>,
}

fn limit(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    match (1..=PAGE_MAX).contains(&limit) {
        true => Ok(limit),
        false => Err(ApiError::bad_request(format!("`limit` is between 1 and {PAGE_MAX}.")).at("limit")),
    }
}

fn no_cursor() -> ApiError {
    ApiError::bad_request("`cursor` is not one: give `next_cursor` of the page before.").at("cursor")
}

fn page(cursor: Option<&str>, page_limit: Option<u32>) -> Result<Page, ApiError> {
    let place: Option<Place> = cursor.map(|cursor| cursor.parse().map_err(|_| no_cursor())).transpose()?;
    Ok(Page::After(place, limit(page_limit)?))
}

/// After how many, for lists that are not kept in an order of time.
fn skip(cursor: Option<&str>) -> Result<u64, ApiError> {
    cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| no_cursor()))
}

fn next_skip(skip: u64, limit: u32, shown: usize) -> Option<String> {
    u32::try_from(shown).is_ok_and(|shown| shown == limit).then(|| (skip + u64::from(limit)).to_string())
}

fn instant(name: &str, text: Option<&str>) -> Result<Option<NanoTimestamp>, ApiError> {
    let read = |text: &str| {
        NanoTimestamp::parse(text).ok_or_else(|| {
            let message = format!(
                "`{name}`: `{}` is no instant; write RFC 3339 such as `2026-11-25T00:00:00Z`.",
                shortened(text)
            );
            ApiError::bad_request(message).at(name)
        })
    };
    text.map(read).transpose()
}

fn words(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split(',').map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl TraceFilter {
    fn conditions(&self) -> Result<Vec<Condition<TraceColumn>>, ApiError> {
        let mut conditions = Vec::new();
        for (column, value) in [
            (TraceColumn::User, &self.user_id),
            (TraceColumn::Session, &self.session_id),
            (TraceColumn::Name, &self.name),
            (TraceColumn::Release, &self.release),
            (TraceColumn::Version, &self.version),
        ] {
            conditions.extend(value.as_deref().map(|value| Condition::is(column, value)));
        }
        let (tags, environments) = (words(self.tags.as_deref()), words(self.environment.as_deref()));
        if !tags.is_empty() {
            conditions.push(Condition { column: TraceColumn::Tags, test: Test::AllOf(tags) });
        }
        if !environments.is_empty() {
            conditions.push(Condition { column: TraceColumn::Environment, test: Test::AnyOf(environments) });
        }
        let (since, until) = (instant("since", self.since.as_deref())?, instant("until", self.until.as_deref())?);
        conditions.extend(since.map(|at| Condition::since(TraceColumn::Timestamp, at)));
        conditions.extend(until.map(|at| Condition::before(TraceColumn::Timestamp, at)));
        for (column, least) in [
            (TraceColumn::Latency, self.latency_ms_min.map(|millis| millis / 1_000.0)),
            (TraceColumn::Cost, self.cost_nanos_min.map(|nanos| nanos / NANOS_PER_DOLLAR)),
            (TraceColumn::TotalTokens, self.total_tokens_min),
        ] {
            conditions.extend(least.map(|least| Condition { column, test: Test::Number(Comparison::AtLeast, least) }));
        }
        conditions.extend(self.has_errors.map(|has_errors| {
            let comparison = if has_errors { Comparison::More } else { Comparison::Equal };
            Condition { column: TraceColumn::Errors, test: Test::Number(comparison, 0.0) }
        }));
        Ok(conditions)
    }
}

/// The project's traces, newest first, without their contents.
#[utoipa::path(
    get, path = "/api/traces", tag = "Traces",
    params(TraceFilter),
    responses(
        (status = 200, description = "A page", body = TraceList),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(filter): Queried<TraceFilter>,
) -> Result<Json<TraceList>, Failure<Native>> {
    let query = TraceQuery {
        conditions: filter.conditions()?,
        order: TraceOrder::Timestamp,
        is_descending: true,
        page: page(filter.cursor.as_deref(), filter.limit)?,
        has_contents: false,
    };
    let list = http.engine.traces.store.list_traces(caller.project_id, &query).await?;
    let data = list.traces.iter().map(TraceSummary::from).collect();
    Ok(Json(TraceList { data, next_cursor: list.next.map(|place| place.to_string()) }))
}

/// A trace with its observations and scores.
#[utoipa::path(
    get, path = "/api/traces/{id}", tag = "Traces",
    params(("id" = String, Path, description = "The trace")),
    responses(
        (status = 200, description = "The trace", body = TraceDetail),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is none with this id in the key's project", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<TraceId>,
) -> Result<Json<TraceDetail>, Failure<Native>> {
    let store = &http.engine.traces.store;
    let trace = store.trace(caller.project_id, &id).await.map_err(|error| missing(error, "trace", id.as_str()))?;
    let observations = store.observations_of(caller.project_id, &id).await?;
    let scores = store.scores_of(caller.project_id, &id).await?;
    Ok(Json(TraceDetail::new(trace, observations, scores)))
}

/// Delete a trace with its observations and scores. The sums of days stay.
#[utoipa::path(
    delete, path = "/api/traces/{id}", tag = "Traces",
    params(("id" = String, Path, description = "The trace")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `traces`", body = NativeError),
        (status = 404, description = "There is none with this id in the key's project", body = NativeError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForTraces>,
    PathId(id): PathId<TraceId>,
) -> Result<StatusCode, Failure<Native>> {
    let deleted = http.engine.traces.store.delete_traces(caller.project_id, std::slice::from_ref(&id)).await?;
    match deleted.traces {
        0 => Err(missing(StoreError::NotFound, "trace", id.as_str()).into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// The project's sessions: the traces that name one, summed up; the one that began last first.
#[utoipa::path(
    get, path = "/api/sessions", tag = "Traces",
    params(ListPage),
    responses(
        (status = 200, description = "A page", body = SessionList),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn sessions(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<ListPage>,
) -> Result<Json<SessionList>, Failure<Native>> {
    let (skip, limit) = (skip(query.cursor.as_deref())?, limit(query.limit)?);
    let sessions = http.engine.traces.store.list_sessions(caller.project_id, &[], skip, limit).await?;
    let next_cursor = next_skip(skip, limit, sessions.len());
    Ok(Json(SessionList { data: sessions.into_iter().map(SessionView::from).collect(), next_cursor }))
}

/// A session; `GET /api/traces?session_id=` lists its traces.
#[utoipa::path(
    get, path = "/api/sessions/{id}", tag = "Traces",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "No trace of the key's project names it", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn session(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<String>,
) -> Result<Json<SessionView>, Failure<Native>> {
    let found = http.engine.traces.store.session(caller.project_id, &id).await;
    Ok(Json(found.map_err(|error| missing(error, "session", &id))?.into()))
}

/// The users whom the project's traces name, by what they did since the first day; the one seen last first.
#[utoipa::path(
    get, path = "/api/users", tag = "Traces",
    params(ListPage),
    responses(
        (status = 200, description = "A page", body = UserList),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn users(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<ListPage>,
) -> Result<Json<UserList>, Failure<Native>> {
    let (skip, limit) = (skip(query.cursor.as_deref())?, limit(query.limit)?);
    let users = http.engine.traces.store.list_users(caller.project_id, Days::default(), skip, limit).await?;
    let next_cursor = next_skip(skip, limit, users.len());
    Ok(Json(UserList { data: users.into_iter().map(UserView::from).collect(), next_cursor }))
}

/// A user, by what he did since the first day.
#[utoipa::path(
    get, path = "/api/users/{id}", tag = "Traces",
    params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = UserView),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "No trace of the key's project ever named him", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn user(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<String>,
) -> Result<Json<UserView>, Failure<Native>> {
    let found = http.engine.traces.store.user(caller.project_id, &id).await;
    Ok(Json(found.map_err(|error| missing(error, "user", &id))?.into()))
}

/// The project's scores, newest first.
#[utoipa::path(
    get, path = "/api/scores", tag = "Traces",
    params(ScoreFilter),
    responses(
        (status = 200, description = "A page", body = ScoreList),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn scores(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(filter): Queried<ScoreFilter>,
) -> Result<Json<ScoreList>, Failure<Native>> {
    let mut conditions: Vec<Condition<ScoreColumn>> = Vec::new();
    for (column, value) in [
        (JudgedColumn::Trace, &filter.trace_id),
        (JudgedColumn::Session, &filter.session_id),
        (JudgedColumn::Name, &filter.name),
    ] {
        conditions.extend(value.as_deref().map(|value| Condition::is(column.into(), value)));
    }
    let page = page(filter.cursor.as_deref(), filter.limit)?;
    let list = http.engine.traces.store.list_scores(caller.project_id, &conditions, &page).await?;
    let data = list.scores.into_iter().map(ScoreDetail::from).collect();
    Ok(Json(ScoreList { data, next_cursor: list.next.map(|place| place.to_string()) }))
}

/// The sums of days (UTC), newest first: in all, or by model, prompt, user or tag. They stay when traces expire.
#[utoipa::path(
    get, path = "/api/metrics/daily", tag = "Traces",
    params(DayFilter),
    responses(
        (status = 200, description = "One row for each day, value and environment; at most 10,000", body = DayList),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn days(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(filter): Queried<DayFilter>,
) -> Result<Json<DayList>, Failure<Native>> {
    let by = match filter.by.as_deref() {
        None => Dimension::All,
        Some("model") => Dimension::Model,
        Some("prompt") => Dimension::Prompt,
        Some("user") => Dimension::User,
        Some("tag") => Dimension::Tag,
        Some(_) => {
            return Err(ApiError::bad_request("`by` is one of `model`, `prompt`, `user`, `tag`.").at("by").into());
        }
    };
    let day = |name: &str, text: Option<&str>| -> Result<Option<i64>, ApiError> {
        // A day alone is the instant at which it begins.
        let text = text
            .map(|text| if text.len() == "2026-11-25".len() { format!("{text}T00:00:00Z") } else { text.to_owned() });
        Ok(instant(name, text.as_deref())?.map(NanoTimestamp::day))
    };
    let query = DailyQuery {
        by,
        values: filter.value.into_iter().collect(),
        environments: words(filter.environment.as_deref()),
        days: Days { from: day("since", filter.since.as_deref())?, until: day("until", filter.until.as_deref())? },
        limit: DAYS_MAX,
    };
    let sums = http.engine.traces.store.daily_sums(caller.project_id, &query).await?;
    Ok(Json(DayList { data: sums.into_iter().map(DayView::from).collect() }))
}

fn missing(error: StoreError, what: &str, id: &str) -> ApiError {
    match error {
        StoreError::NotFound => ApiError::not_found(format!("There is no {what} `{}` in this project.", shortened(id))),
        error => error.into(),
    }
}
