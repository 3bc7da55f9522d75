//! `/api/messages/{uuid}`: read, edit, delete one message.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_domain::id::MessageId;
use privet_engine::conversation;
use privet_store::StoreError;
use serde::Deserialize;
use utoipa::ToSchema;

use super::authenticate::{Authenticated, ForChat, ForRead};
use super::body::JsonBody;
use super::conversations::{MessageView, PathId, decode};
use super::docs::NativeError;
use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Native};

/// What to change of a message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageEdit {
    /// The new text. Images, tool calls and other parts stay.
    content: String,
}

/// A message.
#[utoipa::path(
    get, path = "/api/messages/{uuid}", tag = "Conversations",
    params(("uuid" = uuid::Uuid, Path, description = "The message")),
    responses(
        (status = 200, description = "The message", body = MessageView),
        (status = 400, description = "The path is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is none with this id in the key's project", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<MessageId>,
) -> Result<Json<MessageView>, Failure<Native>> {
    let message = http.engine.store.message(caller.project_id, id).await.map_err(|error| missing(error, id))?;
    Ok(Json(message.into()))
}

/// Change the text of a message.
#[utoipa::path(
    patch, path = "/api/messages/{uuid}", tag = "Conversations",
    params(("uuid" = uuid::Uuid, Path, description = "The message")),
    request_body = MessageEdit,
    responses(
        (status = 200, description = "The message as it is now", body = MessageView),
        (status = 400, description = "The body is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "There is none with this id in the key's project", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn edit(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    PathId(id): PathId<MessageId>,
    body: JsonBody<Native>,
) -> Result<Json<MessageView>, Failure<Native>> {
    let edit: MessageEdit = decode(&body.bytes)?;
    if edit.content.contains('\0') {
        return Err(ApiError::bad_request("`content` holds a NUL character, which no database keeps as text.").into());
    }
    let now = http.engine.clock.now();
    let edited = conversation::edit_message(&http.engine.store, &caller, id, &edit.content, now).await;
    Ok(Json(edited.map_err(|error| missing(error, id))?.into()))
}

/// Delete a message.
#[utoipa::path(
    delete, path = "/api/messages/{uuid}", tag = "Conversations",
    params(("uuid" = uuid::Uuid, Path, description = "The message")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The path is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "There is none with this id in the key's project", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    PathId(id): PathId<MessageId>,
) -> Result<StatusCode, Failure<Native>> {
    let now = http.engine.clock.now();
    http.engine.store.delete_message(caller.project_id, id, now).await.map_err(|error| missing(error, id))?;
    Ok(StatusCode::NO_CONTENT)
}

fn missing(error: StoreError, id: MessageId) -> ApiError {
    match error {
        StoreError::NotFound => ApiError::not_found(format!("There is no message `{id}` in this project.")),
        error => error.into(),
    }
}
