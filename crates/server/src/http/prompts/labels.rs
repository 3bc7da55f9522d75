//! Labels of prompts: pointing them to a version, taking them away, and protecting them.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use privet_engine::prompt::Editor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::authenticate::{Authenticated, ForAdmin, ForPrompts, ForRead};
use super::super::body::JsonBody;
use super::super::conversations::decode;
use super::super::docs::NativeError;
use super::super::error::ApiError;
use super::super::router::Http;
use super::super::surface::{Failure, Native};
use super::PathName;
use crate::prompt_view::PromptView;

/// A prompt's name and a label in the path.
pub(crate) struct PathLabel {
    name: String,
    label: String,
}

impl FromRequestParts<Http> for PathLabel {
    type Rejection = Failure<Native>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        match Path::<(String, String)>::from_request_parts(parts, http).await {
            Ok(Path((name, label))) => Ok(Self { name, label }),
            Err(_) => Err(ApiError::bad_request("The path is not valid UTF-8.").into()),
        }
    }
}

/// Where a label shall point.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelTarget {
    /// To this version.
    version: u32,
}

/// Labels that only administrators move.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProtectedLabels {
    /// In order.
    data: Vec<String>,
}

/// Let a label point to a version, and no longer to another. What is fetched by the label changes at once.
#[utoipa::path(
    put, path = "/api/prompts/{name}/labels/{label}", tag = "Prompts", request_body = LabelTarget,
    params(
        ("name" = String, Path, description = "The prompt; its slashes are written `%2F`"),
        ("label" = String, Path, description = "The label"),
    ),
    responses(
        (status = 200, description = "The version", body = PromptView),
        (status = 400, description = "The label or the body is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `prompts`, or the label is protected", body = NativeError),
        (status = 404, description = "There is no such version", body = NativeError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn put(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForPrompts>,
    PathLabel { name, label }: PathLabel,
    body: JsonBody<Native>,
) -> Result<Json<PromptView>, Failure<Native>> {
    let LabelTarget { version } = decode(&body.bytes)?;
    let (engine, editor) = (&http.engine, Editor::calling(&caller));
    let prompt = engine.prompts.label(&editor, &name, version, &[label], engine.clock.now()).await?;
    Ok(Json(PromptView::of(&prompt)))
}

/// Take a label away from whichever version has it.
#[utoipa::path(
    delete, path = "/api/prompts/{name}/labels/{label}", tag = "Prompts",
    params(
        ("name" = String, Path, description = "The prompt; its slashes are written `%2F`"),
        ("label" = String, Path, description = "The label"),
    ),
    responses(
        (status = 204, description = "No version has it any more"),
        (status = 400, description = "The label is wrong, or moves by itself", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `prompts`, or the label is protected", body = NativeError),
        (status = 404, description = "No version has it", body = NativeError),
        (status = 409, description = "Other prompts need it", body = NativeError),
    ),
    security(("key" = ["prompts"])),
)]
pub(crate) async fn remove(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForPrompts>,
    PathLabel { name, label }: PathLabel,
) -> Result<StatusCode, Failure<Native>> {
    let (engine, editor) = (&http.engine, Editor::calling(&caller));
    engine.prompts.unlabel(&editor, &name, &label, engine.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The labels that only keys with the scope `admin` move.
#[utoipa::path(
    get, path = "/api/protected-labels", tag = "Prompts",
    responses(
        (status = 200, description = "The labels", body = ProtectedLabels),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list_protected(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
) -> Result<Json<ProtectedLabels>, Failure<Native>> {
    Ok(Json(ProtectedLabels { data: http.engine.prompts.protected(caller.project_id).await? }))
}

/// Protect a label in the key's project: only keys with the scope `admin` move it or delete what it points to.
#[utoipa::path(
    put, path = "/api/protected-labels/{label}", tag = "Prompts",
    params(("label" = String, Path, description = "The label")),
    responses(
        (status = 204, description = "It is protected"),
        (status = 400, description = "It is no label, or moves by itself", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn protect(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathName(label): PathName,
) -> Result<StatusCode, Failure<Native>> {
    http.engine.prompts.protect(caller.project_id, &label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let everybody who may change prompts move a label again.
#[utoipa::path(
    delete, path = "/api/protected-labels/{label}", tag = "Prompts",
    params(("label" = String, Path, description = "The label")),
    responses(
        (status = 204, description = "It is not protected"),
        (status = 400, description = "It is no label", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `admin`", body = NativeError),
    ),
    security(("key" = ["admin"])),
)]
pub(crate) async fn unprotect(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForAdmin>,
    PathName(label): PathName,
) -> Result<StatusCode, Failure<Native>> {
    http.engine.prompts.unprotect(caller.project_id, &label).await?;
    Ok(StatusCode::NO_CONTENT)
}
