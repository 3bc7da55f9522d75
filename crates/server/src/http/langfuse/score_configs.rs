//! `/api/public/score-configs`: what scores that name a configuration must be like.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use privet_domain::id::ScoreConfigId;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{ScoreCategory, ScoreConfig, ScoreType};
use privet_engine::keyring::Caller;
use privet_store::{Count, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::query::{Named, PAGE_MAX, PageMeta, Params, missing, skipped};
use super::traces::Listed;
use crate::http::authenticate::{Authenticated, ForRead, ForTraces};
use crate::http::body::JsonBody;
use crate::http::docs::LangfuseError;
use crate::http::error::{ApiError, Issue};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

/// What a configuration is given; of a change, what is to be changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreConfigBody {
    /// The name of its scores.
    name: Option<String>,
    /// `NUMERIC`, `CATEGORICAL`, `BOOLEAN` or `TEXT`. It cannot be changed.
    data_type: Option<String>,
    /// The words of a categorical one.
    #[schema(value_type = Option<Vec<Object>>)]
    categories: Option<Vec<ScoreCategory>>,
    /// The least value of a numeric one.
    min_value: Option<f64>,
    /// The greatest value of a numeric one.
    max_value: Option<f64>,
    /// What it is for.
    description: Option<String>,
    /// Nobody may score by it any more.
    is_archived: Option<bool>,
}

/// A configuration.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreConfigView {
    id: String,
    name: String,
    created_at: String,
    updated_at: String,
    project_id: Uuid,
    data_type: &'static str,
    is_archived: bool,
    min_value: Option<f64>,
    max_value: Option<f64>,
    #[schema(value_type = Option<Vec<Object>>)]
    categories: Option<Vec<ScoreCategory>>,
    description: Option<String>,
}

/// The score configurations, the newest first.
#[utoipa::path(
    get, path = "/api/public/score-configs", tag = "Langfuse",
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
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    params: Params,
) -> Result<Response, Failure<Langfuse>> {
    let (page, limit) = (params.page()?, params.limit(PAGE_MAX)?);
    let all = http.engine.store.score_configs(caller.project_id).await?;
    let count = Count { items: u64::try_from(all.len()).unwrap_or(u64::MAX), is_more: false };
    let skip = usize::try_from(skipped(page, limit)).unwrap_or(usize::MAX);
    let shown = all.into_iter().skip(skip).take(usize::try_from(limit).unwrap_or(usize::MAX));
    let data: Vec<_> = shown.map(|config| view(config, caller.project_id.as_uuid())).collect();
    Ok(Json(Listed { data, meta: PageMeta::new(page, limit, count) }).into_response())
}

/// Make a score configuration.
#[utoipa::path(
    post, path = "/api/public/score-configs", tag = "Langfuse", request_body = ScoreConfigBody,
    responses(
        (status = 200, description = "The configuration", body = ScoreConfigView),
        (status = 400, description = "A field is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Json<ScoreConfigView>, Failure<Langfuse>> {
    let body = parse(&bytes)?;
    let said = body
        .data_type
        .as_deref()
        .ok_or_else(|| wrong("dataType", "say `NUMERIC`, `CATEGORICAL`, `BOOLEAN` or `TEXT`"))?;
    let score_type = said.parse::<ScoreType>().map_err(|error| wrong("dataType", &error.to_string()))?;
    let now = http.engine.clock.now();
    let config = ScoreConfig {
        id: ScoreConfigId::new(),
        name: body.name.unwrap_or_default(),
        score_type,
        categories: body.categories.unwrap_or_default(),
        minimum: body.min_value,
        maximum: body.max_value,
        description: body.description,
        is_archived: body.is_archived.unwrap_or(false),
        created_at: now,
        updated_at: now,
    };
    let config = config.checked().map_err(|fault| wrong("", &fault.to_string()))?;
    http.engine.store.keep_score_config(caller.project_id, &config).await?;
    Ok(Json(view(config, caller.project_id.as_uuid())))
}

/// A score configuration.
#[utoipa::path(
    get, path = "/api/public/score-configs/{id}", tag = "Langfuse",
    params(("id" = String, Path, description = "The configuration")),
    responses(
        (status = 200, description = "The configuration", body = ScoreConfigView),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such configuration", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    Named(id): Named<String>,
) -> Result<Json<ScoreConfigView>, Failure<Langfuse>> {
    let config = find(&http, &caller, &id).await?;
    Ok(Json(view(config, caller.project_id.as_uuid())))
}

/// Change or archive a score configuration. Scores that are there stay as they are.
#[utoipa::path(
    patch, path = "/api/public/score-configs/{id}", tag = "Langfuse", request_body = ScoreConfigBody,
    params(("id" = String, Path, description = "The configuration")),
    responses(
        (status = 200, description = "The configuration as it is now", body = ScoreConfigView),
        (status = 400, description = "A field is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `traces`", body = LangfuseError),
        (status = 404, description = "There is no such configuration", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
    ),
    security(("key" = ["traces"])),
)]
pub(crate) async fn update(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForTraces>,
    Named(id): Named<String>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Json<ScoreConfigView>, Failure<Langfuse>> {
    let body = parse(&bytes)?;
    let before = find(&http, &caller, &id).await?;
    if body.data_type.as_deref().is_some_and(|said| said != before.score_type.as_str()) {
        return Err(wrong("dataType", "the type cannot be changed; make another configuration").into());
    }
    let config = ScoreConfig {
        name: body.name.unwrap_or(before.name),
        categories: body.categories.unwrap_or(before.categories),
        minimum: body.min_value.or(before.minimum),
        maximum: body.max_value.or(before.maximum),
        description: body.description.or(before.description),
        is_archived: body.is_archived.unwrap_or(before.is_archived),
        updated_at: http.engine.clock.now(),
        ..before
    };
    let config = config.checked().map_err(|fault| wrong("", &fault.to_string()))?;
    http.engine.store.keep_score_config(caller.project_id, &config).await?;
    Ok(Json(view(config, caller.project_id.as_uuid())))
}

fn parse(bytes: &[u8]) -> Result<ScoreConfigBody, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| wrong("", &error.to_string()))
}

fn wrong(field: &str, what: &str) -> ApiError {
    ApiError::invalid_data(vec![Issue::at(field, what)])
}

async fn find(http: &Http, caller: &Caller, id: &str) -> Result<ScoreConfig, ApiError> {
    let unknown = |error| missing(error, "score configuration", id);
    let parsed = id.parse::<ScoreConfigId>().map_err(|_| unknown(StoreError::NotFound))?;
    http.engine.store.score_config(caller.project_id, parsed).await.map_err(unknown)
}

fn view(config: ScoreConfig, project_id: Uuid) -> ScoreConfigView {
    let has_words = matches!(config.score_type, ScoreType::Boolean | ScoreType::Categorical);
    ScoreConfigView {
        id: config.id.to_string(),
        name: config.name,
        created_at: NanoTimestamp::from(config.created_at).to_string(),
        updated_at: NanoTimestamp::from(config.updated_at).to_string(),
        project_id,
        data_type: config.score_type.as_str(),
        is_archived: config.is_archived,
        min_value: config.minimum,
        max_value: config.maximum,
        categories: has_words.then_some(config.categories),
        description: config.description,
    }
}
