//! `/api/conversations`: list, make, read, delete, export.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use privet_domain::id::ConversationId;
use privet_engine::conversation::{self, Transcript};
use privet_engine::keyring::Caller;
use privet_store::{StoreError, StoredMessage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForChat, ForRead};
use super::body::JsonBody;
use super::chat::parse_conversation_id;
use super::docs::NativeError;
use super::error::{ApiError, shortened};
use super::router::Http;
use super::surface::{Failure, Native};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;

/// Where a page begins and how long it is.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A conversation without its messages.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ConversationId,
    /// The user that it is of: whom its first request named, or whose key it was.
    user_id: String,
    /// When it began, RFC 3339.
    created_at: String,
    /// When it was last added to or edited, RFC 3339.
    updated_at: String,
}

/// A page of conversations, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationList {
    data: Vec<ConversationView>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A conversation with its messages.
#[derive(Serialize, ToSchema)]
pub(crate) struct TranscriptView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ConversationId,
    /// When it began, RFC 3339.
    created_at: String,
    /// When it was last added to or edited, RFC 3339.
    updated_at: String,
    /// Its messages, in order.
    messages: Vec<MessageView>,
}

/// A message.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageView {
    /// Its id.
    uuid: String,
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    role: String,
    /// The speaker's name, where given.
    name: Option<String>,
    /// Its text.
    content: String,
    /// When it was said, RFC 3339.
    created_at: String,
    /// When it was last edited, RFC 3339.
    updated_at: String,
    /// `incomplete` for an answer that was cut; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// All parts of a message that is more than text: images, tool calls, reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    parts: Option<Value>,
}

/// A conversation to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    /// Its id, if you want to choose it.
    #[schema(value_type = Option<uuid::Uuid>)]
    id: Option<String>,
}

/// An id in the path; what is no UUID is not found.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: std::str::FromStr + Send> FromRequestParts<Http> for PathId<T> {
    type Rejection = Failure<Native>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        let text = match Path::<String>::from_request_parts(parts, http).await {
            Ok(Path(text)) => text,
            Err(_) => return Err(ApiError::bad_request("The path is not valid UTF-8.").into()),
        };
        let id = text
            .parse()
            .map_err(|_| ApiError::not_found(format!("`{}` is not an id: ids are UUIDs.", shortened(&text))))?;
        Ok(Self(id))
    }
}

/// A query string in the shape of this surface.
pub(crate) struct Queried<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Http> for Queried<T> {
    type Rejection = Failure<Native>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        match Query::<T>::from_request_parts(parts, http).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::bad_request(error.body_text()).into()),
        }
    }
}

/// The conversations of the key's project, newest first.
#[utoipa::path(
    get, path = "/api/conversations", tag = "Conversations",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = ConversationList),
        (status = 400, description = "The cursor or the limit is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<PageQuery>,
) -> Result<Json<ConversationList>, Failure<Native>> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("`limit` is between 1 and {PAGE_MAX}.")).into());
    }
    let cursor = query.cursor.as_deref().map(|cursor| {
        cursor.parse().map_err(|_| ApiError::bad_request("`cursor` is not one: give `next_cursor` of the page before."))
    });
    let page = conversation::list(&http.engine.store, &caller, cursor.transpose()?, limit).await?;
    Ok(Json(ConversationList {
        data: page.conversations.into_iter().map(ConversationView::from).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Make an empty conversation.
#[utoipa::path(
    post, path = "/api/conversations", tag = "Conversations",
    request_body(content = Option<NewConversation>),
    responses(
        (status = 201, description = "The conversation", body = ConversationView),
        (status = 400, description = "The body is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 408, description = "The body came too slowly", body = NativeError),
        (status = 409, description = "The id is taken", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    body: JsonBody<Native>,
) -> Result<Response, Failure<Native>> {
    let new: Option<NewConversation> = if body.bytes.trim_ascii().is_empty() { None } else { decode(&body.bytes)? };
    let id = new.and_then(|new| new.id).as_deref().map(parse_conversation_id).transpose()?;
    let made = conversation::create(&http.engine.store, &caller, id, http.engine.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(ConversationView::from(made))).into_response())
}

/// A conversation with its messages.
#[utoipa::path(
    get, path = "/api/conversations/{id}", tag = "Conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation")),
    responses(
        (status = 200, description = "The conversation", body = TranscriptView),
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
    PathId(id): PathId<ConversationId>,
) -> Result<Json<TranscriptView>, Failure<Native>> {
    let transcript = conversation::read(&http.engine.store, &caller, id).await.map_err(|error| missing(error, id))?;
    Ok(Json(transcript.into()))
}

/// Delete a conversation with its messages.
#[utoipa::path(
    delete, path = "/api/conversations/{id}", tag = "Conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation")),
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
    PathId(id): PathId<ConversationId>,
) -> Result<StatusCode, Failure<Native>> {
    let deleted = http.engine.store.delete_conversation(caller.project_id, id, http.engine.clock.now()).await;
    deleted.map_err(|error| missing(error, id))?;
    Ok(StatusCode::NO_CONTENT)
}

/// All conversations of the key's project as JSON lines, one conversation a line, newest first.
#[utoipa::path(
    get, path = "/api/conversations/export", tag = "Conversations",
    responses(
        (status = 200, description = "One conversation a line, as `GET /api/conversations/{id}` shows it",
         body = String, content_type = "application/x-ndjson"),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 429, description = "Too many requests; `retry-after` says how long to wait", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn export(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
) -> Result<Response, Failure<Native>> {
    let lines = stream::try_unfold(Export { http, caller, page: Page::First }, Export::next_lines);
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// An export under way. A page at a time is in memory; an error breaks the body off, so that no cut looks whole.
struct Export {
    http: Http,
    caller: Caller,
    page: Page,
}

enum Page {
    First,
    After(ConversationId),
    Done,
}

impl Export {
    async fn next_lines(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let before = match self.page {
            Page::First => None,
            Page::After(id) => Some(id),
            Page::Done => return Ok(None),
        };
        let store = &self.http.engine.store;
        let page = conversation::list(store, &self.caller, before, PAGE_DEFAULT).await?;
        let mut lines = Vec::new();
        for conversation in page.conversations {
            let messages = store.messages(self.caller.project_id, conversation.id).await?;
            let view = TranscriptView::from(Transcript { conversation, messages });
            let line = serde_json::to_vec(&view).map_err(|error| StoreError::Damaged(error.to_string()))?;
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        self.page = page.next.map_or(Page::Done, Page::After);
        Ok(Some((Bytes::from(lines), self)))
    }
}

/// Decodes a JSON body of this surface; an error names the field at fault.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let wrong = |error: &serde_json::Error| ApiError::bad_request(format!("The body is wrong: {error}."));
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = shortened(&error.path().to_string());
        let is_whole = error.inner().is_syntax() || error.inner().is_eof() || path == ".";
        if is_whole {
            wrong(error.inner())
        } else {
            ApiError::bad_request(format!("`{path}` is wrong: {}.", error.inner()))
        }
    })?;
    json.end().map_err(|error| wrong(&error))?;
    Ok(value)
}

fn missing(error: StoreError, id: ConversationId) -> ApiError {
    match error {
        StoreError::NotFound => ApiError::not_found(format!("There is no conversation `{id}` in this project.")),
        error => error.into(),
    }
}

impl From<privet_store::Conversation> for ConversationView {
    fn from(conversation: privet_store::Conversation) -> Self {
        Self {
            id: conversation.id,
            user_id: conversation.user_id,
            created_at: conversation.created_at.to_string(),
            updated_at: conversation.updated_at.to_string(),
        }
    }
}

impl From<Transcript> for TranscriptView {
    fn from(transcript: Transcript) -> Self {
        Self {
            id: transcript.conversation.id,
            created_at: transcript.conversation.created_at.to_string(),
            updated_at: transcript.conversation.updated_at.to_string(),
            messages: transcript.messages.into_iter().map(MessageView::from).collect(),
        }
    }
}

impl From<StoredMessage> for MessageView {
    fn from(message: StoredMessage) -> Self {
        let payload = message.payload.as_deref().and_then(|payload| serde_json::from_str::<Value>(payload).ok());
        Self {
            uuid: message.id.to_string(),
            role: message.role,
            name: message.name,
            content: message.content,
            created_at: message.created_at.to_string(),
            updated_at: message.updated_at.to_string(),
            status: (message.status == privet_store::MessageStatus::Incomplete).then_some("incomplete"),
            parts: payload.and_then(|mut payload| payload.get_mut("parts").map(Value::take)),
        }
    }
}
