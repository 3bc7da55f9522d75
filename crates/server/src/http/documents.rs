//! `/api/documents`: a document is read apart, cut into pieces, and each piece is a memory. What is told of it is what its pieces say.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64;
use privet_domain::id::{DocumentId, ProjectId};
use privet_domain::memory::{MemoryId, MemoryKind, NewMemory};
use privet_domain::time::Timestamp;
use privet_engine::Engine;
use privet_engine::keyring::Caller;
use privet_engine::memory::document::apart::{ReadError, Reader};
use privet_engine::memory::document::{ChunkLimits, DocumentKind, chunk};
use privet_engine::memory::scope_of;
use privet_store::{Document, DocumentList, Forgotten, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::authenticate::{Authenticated, ForChat, ForRead};
use super::body::{JsonBody, off_the_runtime};
use super::conversations::{PathId, Queried, decode};
use super::docs::NativeError;
use super::error::ApiError;
use super::memories::{DeletedMemories, forget, instant, name, off, page_limit, rfc3339, speaks_for_itself, wrong};
use super::router::Http;
use super::surface::{Failure, Native};

/// A document takes a process, much memory and much writing: so many are worked on at once, the others wait.
static DESKS: Semaphore = Semaphore::const_new(2);
/// Reading one takes no longer.
const DESK_WAIT: Duration = Duration::from_secs(30);
/// Whoever has waited in vain is told to come back after so long.
const DESK_PASSES_IN: Duration = Duration::from_secs(10);
/// A step of writing has so many bytes of text, if a piece has not more by itself: other writes come between.
const STEP_BYTES: usize = 512 * 1024;

/// A document to remember.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDocument {
    /// `text`, `markdown`, `html` or `pdf`.
    r#type: String,
    /// The document, where it is text.
    content: Option<String>,
    /// The document in base64: a PDF, or any other.
    content_base64: Option<String>,
    /// What it is called; what it calls itself where it is not said.
    title: Option<String>,
    /// Where it is from: a file's name, an address.
    source: Option<String>,
    /// Whose it is; the key's user where it is not said.
    user: Option<String>,
    /// When it was written, RFC 3339; now where it is not said.
    created_at: Option<String>,
    /// When it is to be forgotten, RFC 3339.
    expires_at: Option<String>,
}

/// A document that is remembered.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddedDocument {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DocumentId,
    /// What it is called.
    title: Option<String>,
    /// Its pieces, in order.
    #[schema(value_type = Vec<uuid::Uuid>)]
    memories: Vec<MemoryId>,
}

/// A document, as its pieces say.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DocumentId,
    /// What its first piece stands under: its title, and the headings below it.
    title: Option<String>,
    /// Where it is from: a file's name, an address.
    source: Option<String>,
    /// Whose it is.
    user: String,
    /// How many pieces it has; `GET /api/memories?document_id=` lists them.
    pieces: u64,
    /// When it was written, RFC 3339.
    created_at: String,
    /// When it is to be forgotten, RFC 3339.
    expires_at: Option<String>,
}

impl From<Document> for DocumentView {
    fn from(document: Document) -> Self {
        Self {
            id: document.id,
            title: document.title,
            source: document.source,
            user: document.user,
            pieces: document.pieces,
            created_at: rfc3339(document.created_at),
            expires_at: document.expires_at.map(rfc3339),
        }
    }
}

/// A page of documents, the latest added first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentsView {
    data: Vec<DocumentView>,
    /// Give it as `cursor` to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Which documents to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DocumentsQuery {
    /// Only those of this user.
    user: Option<String>,
    /// At most so many; 50 by default, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Remember a document: text, Markdown, HTML or PDF, cut where its structure allows it.
#[utoipa::path(
    post, path = "/api/documents", tag = "Memory", request_body = NewDocument,
    responses(
        (status = 201, description = "It is remembered", body = AddedDocument),
        (status = 400, description = "A field is wrong, the document cannot be read, or nothing is remembered here", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 413, description = "The body is too large", body = NativeError),
        (status = 503, description = "Too many documents wait, or no process can be started to read it; `retry-after` says how long to wait", body = NativeError),
        (status = 507, description = "The disk is full", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn create(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    body: JsonBody<Native>,
) -> Result<(StatusCode, Json<AddedDocument>), Failure<Native>> {
    http.engine.memory.as_ref().ok_or_else(off)?;
    // The body waits as it came, before anything is made of it.
    let desk = desk().await?;
    let new: NewDocument = decode(&body.bytes)?;
    let kind: DocumentKind = new.r#type.parse().map_err(|_| wrong("type", "must be text, markdown, html or pdf"))?;
    let file = match (new.content, new.content_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => BASE64
            .decode(base64.as_bytes())
            .map_err(|error| wrong("content_base64", &format!("is no base64: {error}")))?,
        _ => return Err(ApiError::bad_request("Send the document as `content` or as `content_base64`.").into()),
    };
    let title = new.title.map(|title| name("title", title)).transpose()?;
    let source = new.source.map(|source| name("source", source)).transpose()?;
    let scope = scope_of(&caller, new.user.map(|user| name("user", user)).transpose()?);
    let now = http.engine.clock.now();
    let created_at = new.created_at.as_deref().map(|at| instant("created_at", at)).transpose()?.unwrap_or(now);
    let expires_at: Option<Timestamp> = new.expires_at.as_deref().map(|at| instant("expires_at", at)).transpose()?;

    let reader = Reader::new().map_err(|error| unreadable(ReadError::Process(error)))?;
    let document = reader.read(kind, &file).await.map_err(unreadable)?;
    let title = title.or_else(|| document.title.clone());
    let chunks = off_the_runtime(file.len(), move || chunk(&document, &ChunkLimits::default())).await?;
    let chunks = chunks.map_err(|error| unreadable(error.into()))?;
    let id = DocumentId::new();
    let pieces = chunks.into_iter().map(|piece| {
        let place = piece.path(title.as_deref());
        let memory_id = MemoryId::of_piece(id, piece.position);
        let mut memory = NewMemory::new(memory_id, scope.clone(), MemoryKind::Document, piece.text, created_at);
        memory.document = Some(id);
        memory.seq = i64::from(piece.position);
        memory.title = Some(place).filter(|place| !place.is_empty());
        memory.source.clone_from(&source);
        memory.expires_at = expires_at;
        memory
    });
    let pieces: Vec<NewMemory> = pieces.collect();
    let memories = pieces.iter().map(|piece| piece.id).collect();
    let (engine, project) = (http.engine.clone(), caller.project_id);
    let kept = http.engine.see_through(async move {
        let kept = keep(&engine, project, id, &pieces, now).await;
        drop(desk);
        kept
    });
    kept.await?;
    Ok((StatusCode::CREATED, Json(AddedDocument { id, title, memories })))
}

/// The documents that are remembered, the latest added first.
#[utoipa::path(
    get, path = "/api/documents", tag = "Memory", params(DocumentsQuery),
    responses(
        (status = 200, description = "A page", body = DocumentsView),
        (status = 400, description = "A parameter is wrong", body = NativeError),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn list(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    Queried(query): Queried<DocumentsQuery>,
) -> Result<Json<DocumentsView>, Failure<Native>> {
    let limit = page_limit(query.limit)?;
    // A key of a user of its own sees that user's documents alone.
    let user = (query.user.is_some() || speaks_for_itself(&caller)).then(|| scope_of(&caller, query.user).user);
    let after = query.cursor.as_deref().map(str::parse::<DocumentId>).transpose();
    let after = after.map_err(|_| wrong("cursor", "must be a `next_cursor`"))?;
    let page = http.engine.store.documents(caller.project_id, &DocumentList { user, after, limit }).await?;
    let data = page.documents.into_iter().map(DocumentView::from).collect();
    Ok(Json(DocumentsView { data, next_cursor: page.next.map(|next| next.to_string()) }))
}

/// A document. `GET /api/memories?document_id=` lists its pieces.
#[utoipa::path(
    get, path = "/api/documents/{id}", tag = "Memory",
    params(("id" = uuid::Uuid, Path, description = "The document")),
    responses(
        (status = 200, description = "The document", body = DocumentView),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `read`", body = NativeError),
        (status = 404, description = "There is no such document", body = NativeError),
    ),
    security(("key" = ["read"])),
)]
pub(crate) async fn read(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForRead>,
    PathId(id): PathId<DocumentId>,
) -> Result<Json<DocumentView>, Failure<Native>> {
    Ok(Json(find(&http, &caller, id).await?.into()))
}

/// Forget a document: all its pieces, with their words and vectors.
#[utoipa::path(
    delete, path = "/api/documents/{id}", tag = "Memory",
    params(("id" = uuid::Uuid, Path, description = "The document")),
    responses(
        (status = 200, description = "How many pieces are gone", body = DeletedMemories),
        (status = 401, description = "No valid key", body = NativeError),
        (status = 403, description = "The key has not the scope `chat`", body = NativeError),
        (status = 404, description = "There is no such document", body = NativeError),
    ),
    security(("key" = ["chat"])),
)]
pub(crate) async fn delete(
    State(http): State<Http>,
    Authenticated { caller, .. }: Authenticated<Native, ForChat>,
    PathId(id): PathId<DocumentId>,
) -> Result<Json<DeletedMemories>, Failure<Native>> {
    find(&http, &caller, id).await?;
    Ok(Json(DeletedMemories { deleted: forget(&http, &caller, Forgotten::Document(id)).await? }))
}

/// A place to work on a document, when it is this one's turn.
async fn desk() -> Result<SemaphorePermit<'static>, ApiError> {
    timeout(DESK_WAIT, DESKS.acquire()).await.ok().and_then(Result::ok).ok_or_else(busy)
}

/// Keeps a document's pieces in steps, all or none.
async fn keep(
    engine: &Engine,
    project: ProjectId,
    id: DocumentId,
    pieces: &[NewMemory],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(memory) = &engine.memory else { return Ok(()) };
    let mut rest = pieces;
    while !rest.is_empty() {
        let mut taken = 0;
        let fits = |piece: &&NewMemory| {
            taken += piece.text.len();
            taken <= STEP_BYTES
        };
        let (step, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        if let Err(error) = memory.add(step, now).await {
            if let Err(error) = engine.store.forget(project, &Forgotten::Document(id), now).await {
                tracing::warn!(%error, document = %id, "a document of which some pieces could not be written is not taken away");
            }
            return Err(error);
        }
        rest = others;
    }
    Ok(())
}

/// The document, if the caller may see it.
async fn find(http: &Http, caller: &Caller, id: DocumentId) -> Result<Document, ApiError> {
    let unknown = || ApiError::not_found(format!("There is no document `{id}` in this project."));
    match http.engine.store.document(caller.project_id, id).await {
        Ok(document) if speaks_for_itself(caller) && document.user != *caller.user_id => Err(unknown()),
        Ok(document) => Ok(document),
        Err(StoreError::NotFound) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn unreadable(error: ReadError) -> ApiError {
    match error {
        ReadError::Document(error) => ApiError::bad_request(format!("The document cannot be read: {error}")),
        ReadError::Process(error) => {
            tracing::error!(%error, "no process can be started to read a document");
            busy()
        }
    }
}

fn busy() -> ApiError {
    let seconds = DESK_PASSES_IN.as_secs();
    let message = format!("The document cannot be read now. Repeat the request in {seconds} s.");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_in(DESK_PASSES_IN)
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_document_that_waits_too_long_is_told_when_to_come_back() {
        let (first, _second) = (desk().await.unwrap(), desk().await.unwrap());
        let error = desk().await.unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
        assert_eq!(error.headers[header::RETRY_AFTER], "10");
        drop(first);
        assert!(desk().await.is_ok());
    }
}
