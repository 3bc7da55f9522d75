//! `/api/public/v2/prompts`: prompts as Langfuse's SDKs read and write them.
//!
//! Names come with their slashes escaped or not: the older SDKs do not escape them.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use privet_domain::prompt::{PromptBody, Selector};
use privet_domain::time::Timestamp;
use privet_domain::trace::PromptLink;
use privet_engine::keyring::Caller;
use privet_engine::prompt::{Condition, Editor, Form, ListFilter, NewPrompt, Prompt, PromptError, PromptSummary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::http::authenticate::{Authenticated, ForPrompts, ForRead};
use crate::http::body::JsonBody;
use crate::http::docs::LangfuseError;
use crate::http::error::{ApiError, Issue};
use crate::http::router::Http;
use crate::http::surface::{Failure, Langfuse};

const PAGE_DEFAULT: usize = 10;
const PAGE_MAX: usize = 100;

/// Which prompts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LangfusePromptsQuery {
    /// The whole name.
    name: Option<String>,
    /// Only versions with this label.
    label: Option<String>,
    /// Only prompts with this tag.
    tag: Option<String>,
    /// The page, from 1.
    page: Option<String>,
    /// At most so many; 10 by default, 100 at most.
    limit: Option<String>,
    /// Only versions changed at this instant or later.
    #[serde(rename = "fromUpdatedAt")]
    from_updated_at: Option<String>,
    /// Only versions changed before this instant.
    #[serde(rename = "toUpdatedAt")]
    to_updated_at: Option<String>,
    /// A JSON array of conditions, in place of the other filters.
    filter: Option<String>,
}

/// Which version; the one in production when absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LangfusePromptQuery {
    /// Its number.
    version: Option<String>,
    /// A label that points to it.
    label: Option<String>,
    /// `false` leaves the references to other prompts as they are written.
    resolve: Option<String>,
}

/// A version to make.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    name: String,
    r#type: Option<String>,
    prompt: Value,
    config: Option<Value>,
    labels: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    commit_message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labelling {
    new_labels: Vec<String>,
}

/// A version.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LangfusePrompt {
    id: String,
    project_id: String,
    name: String,
    version: u32,
    /// `text` or `chat`.
    r#type: &'static str,
    /// A text, or an array of messages and placeholders.
    #[schema(value_type = Value)]
    prompt: Value,
    #[schema(value_type = Object)]
    config: Value,
    labels: Vec<String>,
    tags: Vec<String>,
    commit_message: Option<String>,
    created_by: String,
    created_at: String,
    updated_at: String,
    /// Which prompts stand in it; null if none do.
    #[schema(value_type = Option<Object>)]
    resolution_graph: Option<Value>,
}

/// A page of prompts.
#[derive(Serialize, ToSchema)]
pub(crate) struct LangfusePromptList {
    data: Vec<LangfusePromptMeta>,
    meta: LangfusePageMeta,
}

/// A prompt in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LangfusePromptMeta {
    name: String,
    /// `text` or `chat`.
    r#type: &'static str,
    versions: Vec<u32>,
    labels: Vec<String>,
    tags: Vec<String>,
    last_updated_at: String,
    #[schema(value_type = Object)]
    last_config: Value,
}

/// Where a page stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LangfusePageMeta {
    page: usize,
    limit: usize,
    total_items: usize,
    total_pages: usize,
}

/// The prompts of the key's project.
#[utoipa::path(
    get, path = "/api/public/v2/prompts", tag = "Langfuse", params(LangfusePromptsQuery),
    responses(
        (status = 200, description = "A page", body = LangfusePromptList),
        (status = 400, description = "The query is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    query: Result<Query<LangfusePromptsQuery>, QueryRejection>,
) -> Result<Json<LangfusePromptList>, Failure<Langfuse>> {
    let query = queried(query)?;
    let page = number("page", query.page.as_deref())?.unwrap_or(1);
    let limit = number("limit", query.limit.as_deref())?.unwrap_or(PAGE_DEFAULT);
    if page < 1 || !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("pages begin with 1 and have 1 to {PAGE_MAX} prompts");
        return Err(ApiError::invalid_data(vec![Issue::at("limit", message)]).into());
    }
    let found = http.engine.prompts.list(caller.project_id, &filter(query)?, page, limit).await.map_err(told)?;
    let meta = LangfusePageMeta { page, limit, total_items: found.total, total_pages: found.total.div_ceil(limit) };
    Ok(Json(LangfusePromptList { data: found.prompts.into_iter().map(LangfusePromptMeta::from).collect(), meta }))
}

/// Make a version of a prompt, and the prompt with the first.
#[utoipa::path(
    post, path = "/api/public/v2/prompts", tag = "Langfuse", request_body = Object,
    responses(
        (status = 201, description = "The version", body = LangfusePrompt),
        (status = 400, description = "A field is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `prompts`, or a label is protected", body = LangfuseError),
        (status = 413, description = "The body is too large", body = LangfuseError),
        (status = 507, description = "The disk is full", body = LangfuseError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForPrompts>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Response, Failure<Langfuse>> {
    let new = read_creation(&bytes)?;
    let now = http.engine.clock.now();
    let made = http.engine.prompts.create(&Editor::calling(&caller), new, now).await.map_err(told)?;
    Ok((StatusCode::CREATED, Json(view(&made, &caller))).into_response())
}

/// A version of a prompt, with the prompts that stand in it.
#[utoipa::path(
    get, path = "/api/public/v2/prompts/{name}", tag = "Langfuse",
    params(("name" = String, Path, description = "The prompt"), LangfusePromptQuery),
    responses(
        (status = 200, description = "The version", body = LangfusePrompt),
        (status = 400, description = "The query is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `read`", body = LangfuseError),
        (status = 404, description = "There is no such prompt, version or label", body = LangfuseError),
        (status = 409, description = "A prompt that stands in it is missing", body = LangfuseError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForRead>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<LangfusePromptQuery>, QueryRejection>,
) -> Result<Json<LangfusePrompt>, Failure<Langfuse>> {
    let (Path(name), query) = (name.map_err(no_text)?, queried(query)?);
    let selector = selector(&query)?.unwrap_or_else(Selector::production);
    let form = if query.resolve.as_deref() == Some("false") { Form::Raw } else { Form::Resolved };
    let prompt = http.engine.prompts.fetch_as(caller.project_id, &name, &selector, form).await.map_err(told)?;
    Ok(Json(view(&prompt, &caller)))
}

/// Delete a version, the version of a label, or all versions.
#[utoipa::path(
    delete, path = "/api/public/v2/prompts/{name}", tag = "Langfuse",
    params(("name" = String, Path, description = "The prompt"), LangfusePromptQuery),
    responses(
        (status = 204, description = "They are gone"),
        (status = 400, description = "The query is wrong, or other prompts need it", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `prompts`, or a label is protected", body = LangfuseError),
        (status = 404, description = "There is no such prompt, version or label", body = LangfuseError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForPrompts>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<LangfusePromptQuery>, QueryRejection>,
) -> Result<StatusCode, Failure<Langfuse>> {
    let (Path(name), query) = (name.map_err(no_text)?, queried(query)?);
    let (which, now) = (selector(&query)?, http.engine.clock.now());
    http.engine.prompts.delete(&Editor::calling(&caller), &name, which.as_ref(), now).await.map_err(told)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let labels point to a version. Those that it has stay; they are taken away by
/// `DELETE /api/prompts/{name}/labels/{label}`.
#[utoipa::path(
    patch, path = "/api/public/v2/prompts/{name}/versions/{version}", tag = "Langfuse", request_body = Object,
    params(("name" = String, Path, description = "The prompt"), ("version" = u32, Path, description = "The version")),
    responses(
        (status = 200, description = "The version", body = LangfusePrompt),
        (status = 400, description = "A field is wrong", body = LangfuseError),
        (status = 401, description = "No valid key", body = LangfuseError),
        (status = 403, description = "The key has not the scope `prompts`, or a label is protected", body = LangfuseError),
        (status = 404, description = "There is no such version", body = LangfuseError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn label(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Langfuse, ForPrompts>,
    place: Result<Path<(String, String)>, PathRejection>,
    JsonBody { bytes, .. }: JsonBody<Langfuse>,
) -> Result<Json<LangfusePrompt>, Failure<Langfuse>> {
    let Path((name, version)) = place.map_err(no_text)?;
    let version = number("version", Some(&version))?.unwrap_or(0);
    let Labelling { new_labels } = serde_json::from_slice(&bytes).map_err(|error| wrong("newLabels", error))?;
    let (editor, now) = (Editor::calling(&caller), http.engine.clock.now());
    let prompt = http.engine.prompts.label(&editor, &name, version, &new_labels, now).await.map_err(told)?;
    Ok(Json(view(&prompt, &caller)))
}

/// [`read`] for a name whose slashes are not escaped.
pub(crate) async fn read_with_slashes(
    http: State<Http>,
    caller: Authenticated<Langfuse, ForRead>,
    name: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<LangfusePromptQuery>, QueryRejection>,
) -> Result<Json<LangfusePrompt>, Failure<Langfuse>> {
    let Path((head, rest)) = name.map_err(no_text)?;
    read(http, caller, Ok(Path(format!("{head}/{rest}"))), query).await
}

/// [`delete`] for a name whose slashes are not escaped.
pub(crate) async fn delete_with_slashes(
    http: State<Http>,
    caller: Authenticated<Langfuse, ForPrompts>,
    name: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<LangfusePromptQuery>, QueryRejection>,
) -> Result<StatusCode, Failure<Langfuse>> {
    let Path((head, rest)) = name.map_err(no_text)?;
    delete(http, caller, Ok(Path(format!("{head}/{rest}"))), query).await
}

/// [`label`] for a name whose slashes are not escaped.
pub(crate) async fn label_with_slashes(
    http: State<Http>,
    caller: Authenticated<Langfuse, ForPrompts>,
    place: Result<Path<(String, String)>, PathRejection>,
    body: JsonBody<Langfuse>,
) -> Result<Json<LangfusePrompt>, Failure<Langfuse>> {
    let Path((head, rest)) = place.map_err(no_text)?;
    let Some((folder, version)) = rest.rsplit_once("/versions/") else {
        return Err(ApiError::not_found("There is no such route; PATCH goes to `NAME/versions/VERSION`.").into());
    };
    label(http, caller, Ok(Path((format!("{head}/{folder}"), version.to_owned()))), body).await
}

fn read_creation(bytes: &[u8]) -> Result<NewPrompt, ApiError> {
    let creation: Creation = serde_json::from_slice(bytes).map_err(|error| wrong("", error))?;
    let body = PromptBody::from_json(creation.prompt).map_err(|reason| wrong("prompt", reason))?;
    if creation.r#type.is_some_and(|kind| kind != body.kind().as_str()) {
        let message = "`type` is `text` with a string, and `chat` with an array of messages";
        return Err(wrong("type", message));
    }
    Ok(NewPrompt {
        name: creation.name,
        body,
        config: creation.config.unwrap_or_default(),
        labels: creation.labels.unwrap_or_default(),
        tags: creation.tags,
        commit_message: creation.commit_message,
        base: None,
    })
}

fn filter(query: LangfusePromptsQuery) -> Result<ListFilter, ApiError> {
    if let Some(json) = &query.filter {
        let conditions = Condition::read_all(json).map_err(|error| wrong("filter", error))?;
        return Ok(ListFilter { conditions, ..ListFilter::default() });
    }
    let instant = |name: &str, text: Option<&str>| match text.map(Timestamp::parse) {
        None => Ok(None),
        Some(Some(at)) => Ok(Some(at)),
        Some(None) => Err(wrong(name, "it is no instant; write ISO 8601")),
    };
    Ok(ListFilter {
        updated_from: instant("fromUpdatedAt", query.from_updated_at.as_deref())?,
        updated_before: instant("toUpdatedAt", query.to_updated_at.as_deref())?,
        name: query.name,
        label: query.label,
        tag: query.tag,
        ..ListFilter::default()
    })
}

fn selector(query: &LangfusePromptQuery) -> Result<Option<Selector>, ApiError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let version = number("version", given(&query.version).as_deref())?;
    match (version, given(&query.label)) {
        (None, None) => Ok(None),
        (version, label) => {
            Selector::read(version, label.as_deref()).map(Some).map_err(|error| wrong("version", error))
        }
    }
}

fn view(prompt: &Prompt, caller: &Caller) -> LangfusePrompt {
    let head = &prompt.head;
    LangfusePrompt {
        id: id(&prompt.link()),
        project_id: caller.project_shown.id.clone(),
        name: head.name.clone(),
        version: head.version,
        r#type: head.kind.as_str(),
        // A body holds texts and JSON alone, which always serialise.
        prompt: serde_json::to_value(&prompt.body).unwrap_or_default(),
        config: prompt.config.clone(),
        labels: head.labels.clone(),
        tags: head.tags.clone(),
        commit_message: head.commit_message.clone(),
        created_by: head.author.clone(),
        created_at: head.created_at.to_string(),
        updated_at: head.updated_at.to_string(),
        resolution_graph: graph(prompt),
    }
}

fn graph(prompt: &Prompt) -> Option<Value> {
    let node = |link: &PromptLink| json!({"name": link.name, "version": link.version, "id": id(link)});
    let mut dependencies: Map<String, Value> = Map::new();
    for (parent, part) in &prompt.parts {
        let parts = dependencies.entry(id(parent)).or_insert_with(|| json!([]));
        if let Some(parts) = parts.as_array_mut() {
            parts.push(node(part));
        }
    }
    (!dependencies.is_empty()).then(|| json!({"root": node(&prompt.link()), "dependencies": dependencies}))
}

/// The id of a version, in the only form in which this surface needs one.
fn id(link: &PromptLink) -> String {
    format!("{}@{}", link.name, link.version)
}

impl From<PromptSummary> for LangfusePromptMeta {
    fn from(prompt: PromptSummary) -> Self {
        Self {
            name: prompt.name,
            r#type: prompt.kind.as_str(),
            versions: prompt.versions,
            labels: prompt.labels,
            tags: prompt.tags,
            last_updated_at: prompt.updated_at.to_string(),
            last_config: prompt.config,
        }
    }
}

fn number<T: std::str::FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, ApiError> {
    text.map(|text| text.parse().map_err(|_| wrong(name, "it is no whole number"))).transpose()
}

fn queried<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|error| ApiError::bad_request(error.body_text()))
}

fn told(error: PromptError) -> ApiError {
    ApiError::of_langfuse_prompt(error)
}

fn wrong(field: &str, reason: impl ToString) -> ApiError {
    ApiError::invalid_data(vec![Issue::at(field, reason.to_string())])
}

fn no_text(_: PathRejection) -> ApiError {
    ApiError::bad_request("The path is not valid UTF-8.")
}
