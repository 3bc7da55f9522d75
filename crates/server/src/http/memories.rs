//! `/api/memories`: what is remembered: add, find, list, read, change, delete. Searching is in `search.rs`.

pub(crate) mod search;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use privet_domain::id::{ConversationId, DocumentId};
use privet_domain::memory::{Memory, MemoryFilter, MemoryId, MemoryKind, NewMemory};
use privet_domain::time::{NanoTimestamp, Timestamp};
use privet_engine::api_key::DEFAULT_USER;
use privet_engine::keyring::Caller;
use privet_engine::memory::scope_of;
use privet_store::{Forgotten, MemoryList, MemoryUpdate, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForChat, ForRead};
use super::body::JsonBody;
use super::conversations::{PathId, Queried, decode};
use super::docs::NativeError;
use super::error::ApiError;
use super::router::Http;
use super::surface::{Failure, Native};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;
/// So many memories come in one request.
const ADDED_MAX: usize = 1_000;
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// So many bytes of texts and metadata come in one request: they are written in one transaction, and other writes wait for it.
const ADDED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Who says what a model is to obey. Nothing that is remembered may pass for it.
const ROLES_OF_AUTHORITY: [&str; 4] = ["system", "developer", "tool", "function"];
const NAME_CHARS_MAX: usize = 200;
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Something to remember.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMemoryBody {
    /// The text.
    text: String,
    /// `note` (the default), `fact`, `message` or `document`.
    kind: Option<String>,
    /// Who said it: `user`, `assistant` or a name, but not `system`, `developer`, `tool` or `function`.
    role: Option<String>,
    /// Whose it is; the key's user where it is not said. A key of a user of its own remembers for that user alone.
    user: Option<String>,
    /// The conversation that it belongs to. When that is deleted, it goes too.
    #[schema(value_type = Option<uuid::Uuid>)]
    conversation_id: Option<String>,
    /// When it was said, RFC 3339; now where it is not said.
    created_at: Option<String>,
    /// When it is to be forgotten, RFC 3339.
    expires_at: Option<String>,
    /// What it is called.
    title: Option<String>,
    /// Whatever else is to be kept with it: an object.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// One, or several: what is documented of the body.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is read as the one or the other, so that errors name the field")]
pub(crate) enum NewMemories {
    /// Several.
    Many(Vec<NewMemoryBody>),
    /// One.
    One(Box<NewMemoryBody>),
}

/// What was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddedMemories {
    /// The ids, in the order of the request.
    #[schema(value_type = Vec<uuid::Uuid>)]
    ids: Vec<MemoryId>,
}

/// What is to change of a memory. What is absent stays; null takes away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryChange {
    /// A new text; the old one stays in the history.
    text: Option<String>,
    /// What it is called.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    /// What is kept with it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Value>>,
    /// When it is to be forgotten, RFC 3339.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
}

/// A memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub(super) id: MemoryId,
    /// The text.
    pub(super) text: String,
    /// `message`, `document`, `note` or `fact`.
    pub(super) kind: &'static str,
    /// Who said it.
    pub(super) role: Option<String>,
    /// Whose it is.
    pub(super) user: String,
    /// The conversation that it belongs to.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub(super) conversation_id: Option<ConversationId>,
    /// The document that it is a piece of.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub(super) document_id: Option<DocumentId>,
    /// What it is called.
    pub(super) title: Option<String>,
    /// Where it is from: a file's name, an address.
    pub(super) source: Option<String>,
    /// When it was said, RFC 3339.
    pub(super) created_at: String,
    /// When it was last changed, RFC 3339.
    pub(super) updated_at: String,
    /// When it is to be forgotten, RFC 3339.
    pub(super) expires_at: Option<String>,
    /// How often it was given a text: 1 at first.
    pub(super) version: i64,
    /// What is kept with it.
    #[schema(value_type = Object)]
    pub(super) metadata: Value,
}

/// A memory with all that is known of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeMemoryView {
    #[serde(flatten)]
    memory: MemoryView,
    /// How it is described in other words, by whoever imported it or by the model of `memory.describer`.
    representations: Vec<RepresentationView>,
}

/// A text in other words.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepresentationView {
    /// `summary`, `facts` or `questions`, each fact and each question being one; `text` is another wording that was imported.
    kind: &'static str,
    /// The words.
    text: String,
}

/// A page of memories, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoriesView {
    data: Vec<MemoryView>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A text that a memory had before.
#[derive(Serialize, ToSchema)]
pub(crate) struct FormerTextView {
    /// Which it was, from 1.
    version: i64,
    /// The text.
    text: String,
    /// When another took its place, RFC 3339.
    changed_at: String,
}

/// The texts that a memory had before.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryHistory {
    /// The latest first.
    data: Vec<FormerTextView>,
}

/// Which memories to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MemoriesQuery {
    /// Only those of this user.
    user: Option<String>,
    /// Only those of this conversation.
    #[param(value_type = Option<uuid::Uuid>)]
    conversation_id: Option<String>,
    /// Only the pieces of this document.
    #[param(value_type = Option<uuid::Uuid>)]
    document_id: Option<String>,
    /// Only `message`, `document`, `note` or `fact`.
    kind: Option<String>,
    /// Only those said at this time or later, RFC 3339.
    since: Option<String>,
    /// Only those said before this time, RFC 3339.
    until: Option<String>,
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Whose memories to delete: exactly one of these.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForgetQuery {
    /// All of this user.
    user: Option<String>,
    /// All of this conversation.
    #[param(value_type = Option<uuid::Uuid>)]
    conversation_id: Option<String>,
}

/// How many were deleted.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedMemories {
    pub(super) deleted: u64,
}

/// Remember something: one thing, or up to 1,000 with 2 MiB of texts and metadata.
#[utoipa::path(
    post, path = "/api/memories", tag = "Memory", request_body = NewMemories,
    responses(
        (status = 201, description = "They are remembered", body = AddedMemories),
        (status = 400, description = "A field is wrong, or nothing is remembered here", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    body: JsonBody<Native>,
) -> Result<(StatusCode, Json<AddedMemories>), Failure<Native>> {
    let memory = http.engine.memory.as_ref().ok_or_else(off)?;
    // Not by trying both: the error of the one that was meant says which field is wrong.
    let is_array = body.bytes.trim_ascii_start().starts_with(b"[");
    let new =
        if is_array { decode::<Vec<NewMemoryBody>>(&body.bytes)? } else { vec![decode::<NewMemoryBody>(&body.bytes)?] };
    if new.is_empty() || new.len() > ADDED_MAX {
        return Err(ApiError::bad_request(format!("Send 1 to {ADDED_MAX} memories at once.")).into());
    }
    let now = http.engine.clock.now();
    let memories: Vec<NewMemory> = new.into_iter().map(|one| read_new(&caller, one, now)).collect::<Result<_, _>>()?;
    let bytes: usize = memories.iter().map(|one| one.text.len() + one.metadata.as_ref().map_or(0, String::len)).sum();
    if bytes > ADDED_BYTES_MAX {
        let message = format!(
            "These memories have {bytes} bytes of texts and metadata, and {ADDED_BYTES_MAX} are the most at once: send \
             them in several requests."
        );
        return Err(ApiError::bad_request(message).into());
    }
    for conversation in memories.iter().filter_map(|one| one.conversation) {
        http.engine.store.conversation(caller.project_id, conversation).await.map_err(|error| match error {
            StoreError::NotFound => wrong("conversation_id", "is no conversation of this project"),
            error => error.into(),
        })?;
    }
    memory.add(&memories, now).await?;
    Ok((StatusCode::CREATED, Json(AddedMemories { ids: memories.iter().map(|one| one.id).collect() })))
}

/// What is remembered, newest first.
#[utoipa::path(
    get, path = "/api/memories", tag = "Memory", params(MemoriesQuery),
    responses(
        (status = 200, description = "A page", body = MemoriesView),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<MemoriesQuery>,
) -> Result<Json<MemoriesView>, Failure<Native>> {
    let limit = page_limit(query.limit)?;
    // A key of a user of its own sees that user's memories alone.
    let user = (query.user.is_some() || speaks_for_itself(&caller)).then(|| scope_of(&caller, query.user).user);
    let filter = filter(query.kind, query.conversation_id, query.since, query.until)?;
    let document = query.document_id.as_deref().map(document_id).transpose()?;
    let after = query.cursor.as_deref().map(cursor).transpose()?;
    let list = MemoryList { user, document, filter, after, limit };
    let page = http.engine.store.memories(caller.project_id, &list).await?;
    let next = page.next.map(|(at, id)| format!("{}-{id}", at.as_micros()));
    Ok(Json(MemoriesView { data: page.memories.into_iter().map(MemoryView::from).collect(), next_cursor: next }))
}

/// A memory.
#[utoipa::path(
    get, path = "/api/memories/{id}", tag = "Memory",
    params(("id" = uuid::Uuid, Path, description = "The memory")),
    responses(
        (status = 200, description = "The memory", body = WholeMemoryView),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such memory", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<MemoryId>,
) -> Result<Json<WholeMemoryView>, Failure<Native>> {
    let memory = find(&http, &caller, id).await?;
    let described = http.engine.store.descriptions_of(caller.project_id, id).await?.into_iter();
    let representations =
        described.map(|one| RepresentationView { kind: one.representation.as_str(), text: one.text }).collect();
    Ok(Json(WholeMemoryView { memory: memory.into(), representations }))
}

/// The texts that a memory had before.
#[utoipa::path(
    get, path = "/api/memories/{id}/history", tag = "Memory",
    params(("id" = uuid::Uuid, Path, description = "The memory")),
    responses(
        (status = 200, description = "The texts, the latest first", body = MemoryHistory),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such memory", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn history(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<MemoryId>,
) -> Result<Json<MemoryHistory>, Failure<Native>> {
    find(&http, &caller, id).await?;
    let former = http.engine.store.memory_history(caller.project_id, id).await?;
    let told = former.into_iter().map(|one| FormerTextView {
        version: one.version,
        text: one.text,
        changed_at: rfc3339(one.changed_at),
    });
    Ok(Json(MemoryHistory { data: told.collect() }))
}

/// Change a memory.
#[utoipa::path(
    patch, path = "/api/memories/{id}", tag = "Memory", request_body = MemoryChange,
    params(("id" = uuid::Uuid, Path, description = "The memory")),
    responses(
        (status = 200, description = "The memory as it is now", body = MemoryView),
        (status = 400, description = "A field is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "There is no such memory", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn update(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    PathId(id): PathId<MemoryId>,
    body: JsonBody<Native>,
) -> Result<Json<MemoryView>, Failure<Native>> {
    let memory = http.engine.memory.as_ref().ok_or_else(off)?;
    let change: MemoryChange = decode(&body.bytes)?;
    find(&http, &caller, id).await?;
    let update = MemoryUpdate {
        text: change.text.map(text).transpose()?,
        title: change.title.map(|title| title.map(|title| name("title", title)).transpose()).transpose()?,
        metadata: change.metadata.map(|metadata| metadata.map(object).transpose()).transpose()?,
        expires_at: change.expires_at.map(|at| at.map(|at| instant("expires_at", &at)).transpose()).transpose()?,
        representations: Vec::new(),
    };
    let changed = memory.change(caller.project_id, id, &update, http.engine.clock.now()).await?;
    Ok(Json(changed.into()))
}

/// Forget a memory: the text, its history, words and vectors.
#[utoipa::path(
    delete, path = "/api/memories/{id}", tag = "Memory",
    params(("id" = uuid::Uuid, Path, description = "The memory")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "There is no such memory", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    PathId(id): PathId<MemoryId>,
) -> Result<StatusCode, Failure<Native>> {
    find(&http, &caller, id).await?;
    http.engine.store.delete_memory(caller.project_id, id, http.engine.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget all memories of a user, or of a conversation.
#[utoipa::path(
    delete, path = "/api/memories", tag = "Memory", params(ForgetQuery),
    responses(
        (status = 200, description = "How many are gone", body = DeletedMemories),
        (status = 400, description = "Say whose: `user` or `conversation_id`", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`, or speaks for another user", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn delete_many(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    Queried(query): Queried<ForgetQuery>,
) -> Result<Json<DeletedMemories>, Failure<Native>> {
    let which = match (query.user, query.conversation_id) {
        (Some(user), None) => {
            if scope_of(&caller, Some(user.clone())).user != user {
                let message = format!("This key speaks for the user `{}` alone.", caller.user_id);
                return Err(ApiError::new(StatusCode::FORBIDDEN, "not_your_user", message).into());
            }
            Forgotten::User(user)
        }
        (None, Some(conversation)) => {
            let conversation = conversation_id(&conversation)?;
            match speaks_for_itself(&caller) {
                true => Forgotten::UserInConversation(caller.user_id.to_string(), conversation),
                false => Forgotten::Conversation(conversation),
            }
        }
        _ => {
            return Err(ApiError::bad_request("Say whose memories to delete: `user` or `conversation_id`.").into());
        }
    };
    Ok(Json(DeletedMemories { deleted: forget(&http, &caller, which).await? }))
}

/// Forgets to the end, though the client leaves.
pub(super) async fn forget(http: &Http, caller: &Caller, which: Forgotten) -> Result<u64, StoreError> {
    let (store, project, now) = (http.engine.store.clone(), caller.project_id, http.engine.clock.now());
    http.engine.see_through(async move { store.forget(project, &which, now).await }).await
}

fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

pub(super) fn speaks_for_itself(caller: &Caller) -> bool {
    &*caller.user_id != DEFAULT_USER
}

/// The memory, if the caller may see it.
async fn find(http: &Http, caller: &Caller, id: MemoryId) -> Result<Memory, ApiError> {
    let unknown = || ApiError::not_found(format!("There is no memory `{id}` in this project."));
    match http.engine.store.memory(caller.project_id, id).await {
        Ok(memory) if speaks_for_itself(caller) && memory.scope.user != *caller.user_id => Err(unknown()),
        Ok(memory) => Ok(memory),
        Err(StoreError::NotFound) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn read_new(caller: &Caller, new: NewMemoryBody, now: Timestamp) -> Result<NewMemory, ApiError> {
    let kind = new.kind.as_deref().map(|kind| kind.parse::<MemoryKind>()).transpose();
    let kind = kind.map_err(|error| wrong("kind", &error.to_string()))?.unwrap_or(MemoryKind::Note);
    let created_at = new.created_at.as_deref().map(|at| instant("created_at", at)).transpose()?.unwrap_or(now);
    let user = new.user.map(|user| name("user", user)).transpose()?;
    let scope = scope_of(caller, user);
    let mut memory = NewMemory::new(MemoryId::new(), scope, kind, text(new.text)?, created_at);
    memory.role = new.role.map(role).transpose()?;
    memory.conversation = new.conversation_id.as_deref().map(conversation_id).transpose()?;
    memory.expires_at = new.expires_at.as_deref().map(|at| instant("expires_at", at)).transpose()?;
    memory.title = new.title.map(|title| name("title", title)).transpose()?;
    memory.metadata = new.metadata.map(object).transpose()?;
    Ok(memory)
}

pub(super) fn off() -> ApiError {
    ApiError::bad_request("Nothing is remembered here: `memory.enabled` is false.")
}

/// How many stand on a page.
pub(super) fn page_limit(asked: Option<u32>) -> Result<u32, ApiError> {
    let limit = asked.unwrap_or(PAGE_DEFAULT);
    let is_within = (1..=PAGE_MAX).contains(&limit);
    is_within.then_some(limit).ok_or_else(|| wrong("limit", &format!("must be from 1 to {PAGE_MAX}")))
}

pub(super) fn wrong(field: &str, what: &str) -> ApiError {
    ApiError::bad_request(format!("`{field}` {what}.")).at(field)
}

fn text(text: String) -> Result<String, ApiError> {
    match text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
        true => Err(wrong("text", &format!("must say something, in at most {TEXT_BYTES_MAX} bytes"))),
        false => Ok(text.replace('\0', "\u{fffd}")),
    }
}

pub(super) fn name(field: &str, name: String) -> Result<String, ApiError> {
    let is_name = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    is_name.then_some(name).ok_or_else(|| wrong(field, &format!("must have 1 to {NAME_CHARS_MAX} characters")))
}

fn role(role: String) -> Result<String, ApiError> {
    if ROLES_OF_AUTHORITY.iter().any(|one| role.trim().eq_ignore_ascii_case(one)) {
        let roles = ROLES_OF_AUTHORITY.join("`, `");
        return Err(wrong("role", &format!("must be `user`, `assistant` or a name, and none of `{roles}`")));
    }
    name("role", role)
}

fn object(value: Value) -> Result<String, ApiError> {
    let json = value.to_string();
    let is_object = value.is_object() && json.len() <= METADATA_BYTES_MAX;
    is_object
        .then_some(json)
        .ok_or_else(|| wrong("metadata", &format!("must be an object of at most {METADATA_BYTES_MAX} bytes")))
}

fn conversation_id(text: &str) -> Result<ConversationId, ApiError> {
    text.parse().map_err(|_| wrong("conversation_id", "must be a UUID"))
}

fn document_id(text: &str) -> Result<DocumentId, ApiError> {
    text.parse().map_err(|_| wrong("document_id", "must be a UUID"))
}

pub(super) fn instant(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).ok_or_else(|| wrong(field, "must be a time such as 2026-11-25T10:00:00Z"))
}

fn cursor(text: &str) -> Result<(Timestamp, MemoryId), ApiError> {
    let parts = text.split_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
    parts.map(|(at, id)| (Timestamp::from_micros(at), id)).ok_or_else(|| wrong("cursor", "must be a `next_cursor`"))
}

pub(super) fn filter(
    kind: Option<String>,
    conversation: Option<String>,
    since: Option<String>,
    until: Option<String>,
) -> Result<MemoryFilter, ApiError> {
    let kind = kind.map(|kind| kind.parse()).transpose();
    Ok(MemoryFilter {
        kind: kind.map_err(|error: privet_domain::memory::BadMemoryName| wrong("kind", &error.to_string()))?,
        since: since.map(|at| instant("since", &at)).transpose()?,
        until: until.map(|at| instant("until", &at)).transpose()?,
        conversation: conversation.as_deref().map(conversation_id).transpose()?,
        exclude_conversation: None,
    })
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    NanoTimestamp::from(at).to_string()
}

impl From<Memory> for MemoryView {
    fn from(memory: Memory) -> Self {
        let metadata = memory.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok());
        Self {
            id: memory.id,
            text: memory.text,
            kind: memory.kind.as_str(),
            role: memory.role,
            user: memory.scope.user,
            conversation_id: memory.conversation,
            document_id: memory.document,
            title: memory.title,
            source: memory.source,
            created_at: rfc3339(memory.created_at),
            updated_at: rfc3339(memory.updated_at),
            expires_at: memory.expires_at.map(rfc3339),
            version: memory.version,
            metadata: metadata.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        }
    }
}
