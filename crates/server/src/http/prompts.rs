//! `/api/prompts`: list, make, read, delete, compare, and who needs whom. Labels are in `labels.rs`, filling and trying in
//! `filling.rs`.

pub(crate) mod filling;
pub(crate) mod labels;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use privet_domain::prompt::{PromptBody, Selector, readable, unified_diff};
use privet_engine::prompt::{Editor, Form, ListFilter, NewPrompt, Prompt, PromptError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForPrompts, ForRead};
use super::body::JsonBody;
use super::conversations::{Queried, decode};
use super::docs::NativeError;
use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Native};
use crate::prompt_view::{HeadView, PromptView, UseView};

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 500;

/// A prompt's name in the path; its slashes are written `%2F`.
pub(crate) struct PathName(pub(crate) String);

impl FromRequestParts<Http> for PathName {
    type Rejection = Failure<Native>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        match Path::<String>::from_request_parts(parts, http).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ApiError::bad_request("The path is not valid UTF-8.").into()),
        }
    }
}

/// Which prompts to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The page, from 1.
    #[param(minimum = 1)]
    page: Option<usize>,
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Words that the name, a tag or the highest version's text holds.
    q: Option<String>,
    /// Only what is in this folder, at any depth.
    folder: Option<String>,
    /// Only versions with this label.
    label: Option<String>,
    /// Only prompts with this tag.
    tag: Option<String>,
}

/// A version by its number or by a label; the one in production when absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct VersionQuery {
    /// Its number.
    version: Option<u32>,
    /// A label that points to it.
    label: Option<String>,
    /// `false` leaves the references to other prompts as they are written.
    resolve: Option<bool>,
}

/// Which versions to delete; all when absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// This one.
    version: Option<u32>,
    /// The one that this label points to.
    label: Option<String>,
}

/// Two versions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffQuery {
    /// The older: a number or a label.
    from: String,
    /// The newer: a number or a label; `latest` when absent.
    to: Option<String>,
}

/// A version to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPromptBody {
    /// The prompt's name. Slashes are folders.
    name: String,
    /// A text, or an array of messages `{"role", "content"}` and placeholders `{"type": "placeholder", "name"}`.
    #[schema(value_type = Value)]
    prompt: PromptBody,
    /// Whatever goes along with it: model, temperature.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Labels that shall point to it.
    #[serde(default)]
    labels: Vec<String>,
    /// The tags of all versions; as they were when absent.
    tags: Option<Vec<String>>,
    /// Why it is made.
    commit_message: Option<String>,
    /// Refuse if another version than this is the highest; 0 for a new prompt.
    base_version: Option<u32>,
}

/// A prompt in the list.
#[derive(Serialize, ToSchema)]
pub(crate) struct PromptSummaryView {
    /// Its name.
    name: String,
    /// `text` or `chat`.
    r#type: &'static str,
    /// Its versions.
    versions: Vec<u32>,
    /// Their labels.
    labels: Vec<String>,
    /// Its tags.
    tags: Vec<String>,
    /// When a version was last made or labelled, RFC 3339.
    updated_at: String,
}

/// A page of prompts, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct PromptList {
    data: Vec<PromptSummaryView>,
    /// This page, from 1.
    page: usize,
    /// How many fit on it.
    limit: usize,
    /// How many there are on all pages.
    total: usize,
}

/// All versions of a prompt.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionList {
    /// The versions, the highest first, without their texts.
    data: Vec<HeadView>,
}

/// What changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct PromptDiff {
    /// The older version.
    from: u32,
    /// The newer version.
    to: u32,
    /// The difference as `diff -u` writes it; empty if there is none.
    diff: String,
}

/// Who needs a prompt.
#[derive(Serialize, ToSchema)]
pub(crate) struct UseList {
    /// Versions of other prompts in which it stands.
    data: Vec<UseView>,
}

/// How many versions went.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedVersions {
    /// So many.
    deleted: u64,
}

/// The prompts of the key's project, by name.
#[utoipa::path(
    get, path = "/api/prompts", tag = "Prompts", params(ListQuery),
    responses(
        (status = 200, description = "A page", body = PromptList),
        (status = 400, description = "The query is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<ListQuery>,
) -> Result<Json<PromptList>, Failure<Native>> {
    let (page, limit) = (query.page.unwrap_or(1), query.limit.unwrap_or(PAGE_DEFAULT));
    if page < 1 || !(1..=PAGE_MAX).contains(&limit) {
        let message = format!("`page` begins with 1, and `limit` is between 1 and {PAGE_MAX}.");
        return Err(ApiError::bad_request(message).into());
    }
    let filter = ListFilter {
        text: query.q,
        folder: query.folder.map(|folder| folder.trim_matches('/').to_owned()),
        label: query.label,
        tag: query.tag,
        ..ListFilter::default()
    };
    let engine = &http.engine;
    engine.begin_prompts(caller.project_id).await?;
    let found = engine.prompts.list(caller.project_id, &filter, page, limit).await?;
    let view = |prompt: privet_engine::prompt::PromptSummary| PromptSummaryView {
        name: prompt.name,
        r#type: prompt.kind.as_str(),
        versions: prompt.versions,
        labels: prompt.labels,
        tags: prompt.tags,
        updated_at: prompt.updated_at.to_string(),
    };
    Ok(Json(PromptList { data: found.prompts.into_iter().map(view).collect(), page, limit, total: found.total }))
}

/// Make a version of a prompt, and the prompt with the first. Versions are never changed.
#[utoipa::path(
    post, path = "/api/prompts", tag = "Prompts", request_body = NewPromptBody,
    responses(
        (status = 201, description = "The version", body = PromptView),
        (status = 400, description = "A field is wrong, or it refers to a prompt that cannot stand in it", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `prompts`, or a label is protected", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 409, description = "`base_version` is not the highest", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForPrompts>,
    body: JsonBody<Native>,
) -> Result<Response, Failure<Native>> {
    let body: NewPromptBody = decode(&body.bytes)?;
    let new = NewPrompt {
        name: body.name,
        body: body.prompt,
        config: body.config.unwrap_or_default(),
        labels: body.labels,
        tags: body.tags,
        commit_message: body.commit_message,
        base: body.base_version,
    };
    let made = http.engine.prompts.create(&Editor::calling(&caller), new, http.engine.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(PromptView::of(&made))).into_response())
}

/// A version of a prompt, with the prompts that stand in it.
#[utoipa::path(
    get, path = "/api/prompts/{name}", tag = "Prompts",
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`"), VersionQuery),
    responses(
        (status = 200, description = "The version", body = PromptView),
        (status = 400, description = "The query is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such prompt, version or label", body = NativeError),
        (status = 409, description = "It cannot be put together: a prompt that stands in it is missing", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathName(name): PathName,
    Queried(query): Queried<VersionQuery>,
) -> Result<Json<PromptView>, Failure<Native>> {
    let selector = Selector::read(query.version, query.label.as_deref()).map_err(PromptError::from)?;
    let form = if query.resolve == Some(false) { Form::Raw } else { Form::Resolved };
    let prompt = http.engine.prompts.fetch_as(caller.project_id, &name, &selector, form).await?;
    Ok(Json(PromptView::of(&prompt)))
}

/// Delete a version, the version of a label, or all versions of a prompt.
#[utoipa::path(
    delete, path = "/api/prompts/{name}", tag = "Prompts",
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`"), DeleteQuery),
    responses(
        (status = 200, description = "How many went", body = DeletedVersions),
        (status = 400, description = "The query is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `prompts`, or a label is protected", body = NativeError),
        (status = 404, description = "There is no such prompt, version or label", body = NativeError),
        (status = 409, description = "Other prompts need it", body = NativeError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForPrompts>,
    PathName(name): PathName,
    Queried(query): Queried<DeleteQuery>,
) -> Result<Json<DeletedVersions>, Failure<Native>> {
    let which = match (query.version, query.label.as_deref()) {
        (None, None) => None,
        (version, label) => Some(Selector::read(version, label).map_err(PromptError::from)?),
    };
    let (engine, editor) = (&http.engine, Editor::calling(&caller));
    let deleted = engine.prompts.delete(&editor, &name, which.as_ref(), engine.clock.now()).await?;
    Ok(Json(DeletedVersions { deleted }))
}

/// All versions of a prompt, without their texts.
#[utoipa::path(
    get, path = "/api/prompts/{name}/versions", tag = "Prompts",
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`")),
    responses(
        (status = 200, description = "The versions", body = VersionList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such prompt", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn versions(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathName(name): PathName,
) -> Result<Json<VersionList>, Failure<Native>> {
    let heads = http.engine.prompts.versions(caller.project_id, &name).await?;
    Ok(Json(VersionList { data: heads.iter().map(HeadView::of).collect() }))
}

/// What changed between two versions.
#[utoipa::path(
    get, path = "/api/prompts/{name}/diff", tag = "Prompts",
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`"), DiffQuery),
    responses(
        (status = 200, description = "The difference", body = PromptDiff),
        (status = 400, description = "The query is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such prompt, version or label", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn diff(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathName(name): PathName,
    Queried(query): Queried<DiffQuery>,
) -> Result<Json<PromptDiff>, Failure<Native>> {
    let fetch = async |which: &str| {
        let selector = match which.parse() {
            Ok(version) => Selector::Version(version),
            Err(_) => Selector::read(None, Some(which)).map_err(PromptError::from)?,
        };
        http.engine.prompts.fetch_as(caller.project_id, &name, &selector, Form::Raw).await
    };
    let (from, to) = (fetch(&query.from).await?, fetch(query.to.as_deref().unwrap_or("latest")).await?);
    let text = |prompt: &Prompt| readable(&prompt.body, &prompt.config);
    let title = |prompt: &Prompt| format!("{} version {}", prompt.head.name, prompt.head.version);
    let diff = unified_diff((&title(&from), &text(&from)), (&title(&to), &text(&to)));
    Ok(Json(PromptDiff { from: from.head.version, to: to.head.version, diff }))
}

/// The versions of other prompts in which a prompt stands.
#[utoipa::path(
    get, path = "/api/prompts/{name}/used-by", tag = "Prompts",
    params(("name" = String, Path, description = "The prompt; its slashes are written `%2F`")),
    responses(
        (status = 200, description = "Who needs it", body = UseList),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such prompt", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn used_by(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathName(name): PathName,
) -> Result<Json<UseList>, Failure<Native>> {
    let uses = http.engine.prompts.uses(caller.project_id, &name).await?;
    Ok(Json(UseList { data: uses.into_iter().map(UseView::from).collect() }))
}
